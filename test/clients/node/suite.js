// What the users of node-zookeeper-client do, and what becomes of it when their server dies. Prints one line for each
// case and asks the Go test to kill and start servers: driver_test.go says how.
//
//   node suite.js alone|dies HOSTS MODULES
'use strict';

const assert = require('assert');
const crypto = require('crypto');
const path = require('path');
const readline = require('readline');

const [, , which, hosts, modules] = process.argv;
const zk = require(path.join(modules, 'node-zookeeper-client'));

// Bounds every wait for something that must happen. It is meant for a busy machine.
const PATIENCE = 60000;

const { EPHEMERAL, EPHEMERAL_SEQUENTIAL, PERSISTENT_SEQUENTIAL } = zk.CreateMode;

const answers = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
async function ask(line) {
  process.stdout.write(`@${line}\n`);
  return (await answers.next()).value;
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(what, condition) {
  for (const end = Date.now() + PATIENCE; ; await sleep(20)) {
    const v = await condition();
    if (v) return v;
    if (Date.now() > end) throw new Error(`not within ${PATIENCE} ms: ${what}`);
  }
}

function within(what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${PATIENCE} ms: ${what}`)), PATIENCE);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

let clients = [];

// A Client is one of the library's, with promises for its callbacks.
class Client {
  constructor(addrs, options) {
    this.zk = zk.createClient(addrs || hosts, { sessionTimeout: 20000, spinDelay: 50, retries: 0, ...options });
    this.states = [];
    this.zk.on('state', (s) => this.states.push(s));
    clients.push(this);
  }

  async open() {
    const up = new Promise((resolve) => this.zk.once('connected', resolve));
    this.zk.connect();
    await within('a connection', up);
    return this;
  }

  call(name, ...args) {
    return within(name, new Promise((resolve, reject) => {
      this.zk[name](...args, (err, ...out) => (err ? reject(err) : resolve(out.length > 1 ? out : out[0])));
    }));
  }

  // sure calls again what failed because the connection was lost.
  async sure(name, ...args) {
    return until(name, async () => {
      try {
        return { v: await this.call(name, ...args) };
      } catch (e) {
        if (e.code !== zk.Exception.CONNECTION_LOSS) throw e;
        return null;
      }
    }).then((r) => r.v);
  }

  // gone removes a node; that it is not there is as good, since a call whose answer was lost may have removed it.
  async gone(p) {
    try {
      await this.sure('remove', p, -1);
    } catch (e) {
      if (e.code !== zk.Exception.NO_NODE) throw e;
    }
  }

  create(p, data, mode) {
    return this.call('create', p, Buffer.from(data || ''), zk.ACL.OPEN_ACL_UNSAFE, mode || zk.CreateMode.PERSISTENT);
  }

  async data(p) { return (await this.call('getData', p))[0].toString(); }

  id() { return this.zk.getSessionId().toString('hex'); }

  port() { return this.zk.connectionManager.socket.remotePort; }

  close() {
    return new Promise((resolve) => {
      this.zk.once('disconnected', resolve);
      this.zk.close();
      setTimeout(resolve, 2000); // it was not connected
    });
  }
}

const client = (addrs, options) => new Client(addrs, options).open();

async function fails(code, promise) {
  try {
    await promise;
  } catch (e) {
    assert.strictEqual(e.getName && e.getName(), code, e);
    return;
  }
  throw new Error(`no error, and it should be ${code}`);
}

// A seen is a watcher and the events that it got.
function seen() {
  const f = (event) => f.events.push(`${event.getName()} ${event.getPath()}`);
  f.events = [];
  f.first = () => until('an event', () => f.events[0]);
  return f;
}

// enlist makes an ephemeral sequence node once, also when a connection is lost over it: by a name of its own it finds
// what it was not told of.
async function enlist(c, dir) {
  const own = `${crypto.randomUUID()}-`;
  for (;;) {
    try {
      return path.basename(await c.create(`${dir}/${own}`, '', EPHEMERAL_SEQUENTIAL));
    } catch (e) {
      if (e.code !== zk.Exception.CONNECTION_LOSS) throw e;
    }
    await c.sure('setData', dir, Buffer.from(''), -1); // what is read after a write is no older than what was sent before it
    const mine = (await c.sure('getChildren', dir))[0].find((name) => name.startsWith(own));
    if (mine) return mine;
  }
}

// lock is the recipe: a sequence node, and a watch on the one before it.
async function lock(c, dir) {
  const mine = await enlist(c, dir);
  const number = (name) => Number(name.slice(-10));
  for (;;) {
    const [names] = await c.sure('getChildren', dir);
    names.sort((a, b) => number(a) - number(b));
    const at = names.indexOf(mine);
    assert.notStrictEqual(at, -1, 'the lock is lost');
    if (at === 0) return { release: () => c.gone(`${dir}/${mine}`), name: mine };
    await new Promise((resolve, reject) => {
      c.zk.exists(`${dir}/${names[at - 1]}`, resolve, (err, stat) => {
        if (err && err.code !== zk.Exception.CONNECTION_LOSS) reject(err);
        else if (err || !stat) resolve();
      });
    });
  }
}

const alone = {
  async nodes() {
    const c = await client();
    assert.strictEqual(await c.create('/nodes', 'one'), '/nodes');
    const [data, stat] = await c.call('getData', '/nodes');
    assert.strictEqual(data.toString(), 'one');
    assert.strictEqual(stat.version, 0);
    assert.strictEqual(stat.dataLength, 3);
    assert.strictEqual((await c.call('setData', '/nodes', Buffer.from('two'), 0)).version, 1);
    await fails('BAD_VERSION', c.call('setData', '/nodes', Buffer.from('x'), 0));
    await fails('NODE_EXISTS', c.create('/nodes'));
    await c.create('/nodes/a');
    await c.create('/nodes/b');
    const [names, parent] = await c.call('getChildren', '/nodes');
    assert.deepStrictEqual(names.sort(), ['a', 'b']);
    assert.strictEqual(parent.numChildren, 2);
    await fails('NOT_EMPTY', c.call('remove', '/nodes', -1));
    await fails('NO_NODE', c.call('getData', '/none'));
    assert.strictEqual(await c.call('exists', '/none'), null);
    await c.call('removeRecursive', '/nodes', -1);
    assert.strictEqual(await c.call('exists', '/nodes'), null);
  },

  async mkdirp() {
    const c = await client();
    await c.call('mkdirp', '/mk/a/b/c');
    await c.call('mkdirp', '/mk/a/b/c');
    assert.strictEqual((await c.call('exists', '/mk/a/b')).numChildren, 1);
    assert.strictEqual((await c.call('exists', '/mk/a/b/c')).numChildren, 0);
  },

  async sequence() {
    const c = await client();
    await c.create('/seq');
    assert.strictEqual(await c.create('/seq/n-', '', PERSISTENT_SEQUENTIAL), '/seq/n-0000000000');
    assert.strictEqual(await c.create('/seq/n-', '', EPHEMERAL_SEQUENTIAL), '/seq/n-0000000001');
    assert.strictEqual((await c.call('exists', '/seq/n-0000000001')).ephemeralOwner.toString('hex'), c.id());
    await fails('NO_CHILDREN_FOR_EPHEMERALS', c.create('/seq/n-0000000001/x'));
  },

  async transaction() {
    const c = await client();
    const run = (t) => within('transaction', new Promise((resolve) => t.commit((err, results) => resolve([err, results]))));
    let [err, results] = await run(c.zk.transaction().create('/tx').create('/tx/a', Buffer.from('1')).setData('/tx/a', Buffer.from('2'), 0).check('/tx/a', 1));
    assert.ifError(err);
    assert.strictEqual(results.length, 4);
    assert.strictEqual(await c.data('/tx/a'), '2');
    [err, results] = await run(c.zk.transaction().setData('/tx/a', Buffer.from('3'), -1).check('/tx/a', 7).remove('/tx/a'));
    assert.strictEqual(err.getName(), 'BAD_VERSION');
    assert.strictEqual(await c.data('/tx/a'), '2');
  },

  async acl() {
    const c = await client();
    c.zk.addAuthInfo('digest', Buffer.from('ann:secret'));
    await c.call('create', '/mine', Buffer.from('x'), zk.ACL.CREATOR_ALL_ACL, zk.CreateMode.PERSISTENT);
    const [acl, stat] = await c.call('getACL', '/mine');
    assert.strictEqual(acl[0].id.scheme, 'digest');
    assert.strictEqual(stat.aversion, 0);
    const other = await client();
    await fails('NO_AUTH', other.call('getData', '/mine'));
    other.zk.addAuthInfo('digest', Buffer.from('ann:secret'));
    assert.strictEqual(await other.data('/mine'), 'x');
    await c.call('setACL', '/mine', zk.ACL.READ_ACL_UNSAFE, 0);
    await fails('NO_AUTH', c.call('setData', '/mine', Buffer.from('y'), -1));
  },

  async watches() {
    const c = await client();
    const other = await client();
    await other.create('/w');
    const [data, kids, absent, gone] = [seen(), seen(), seen(), seen()];
    await c.call('getData', '/w', data);
    await c.call('getChildren', '/w', kids);
    await c.call('exists', '/w/new', absent);
    await other.call('setData', '/w', Buffer.from('1'), -1);
    await other.create('/w/new');
    assert.strictEqual(await data.first(), 'NODE_DATA_CHANGED /w');
    assert.strictEqual(await kids.first(), 'NODE_CHILDREN_CHANGED /w');
    assert.strictEqual(await absent.first(), 'NODE_CREATED /w/new');
    await c.call('exists', '/w/new', gone);
    await other.call('remove', '/w/new', -1);
    assert.strictEqual(await gone.first(), 'NODE_DELETED /w/new');
    await other.call('setData', '/w', Buffer.from('2'), -1);
    await c.call('exists', '/w');
    assert.strictEqual(data.events.length, 1);
  },

  async many_in_flight() {
    const c = await client();
    await c.create('/many');
    await Promise.all([...Array(2000).keys()].map((i) => c.create(`/many/${i}`, `${i}`)));
    assert.strictEqual((await c.call('getChildren', '/many'))[0].length, 2000);
    const got = await Promise.all([...Array(2000).keys()].map((i) => c.data(`/many/${i}`)));
    got.forEach((v, i) => assert.strictEqual(v, `${i}`));
  },

  async lock_recipe() {
    const admin = await client();
    await admin.create('/lock');
    let holders = 0;
    let turns = 0;
    await Promise.all([...Array(6).keys()].map(async () => {
      const c = await client();
      for (let n = 0; n < 5; n += 1) {
        const l = await lock(c, '/lock');
        holders += 1;
        assert.strictEqual(holders, 1, 'two have the lock');
        await sleep(1);
        holders -= 1;
        turns += 1;
        await l.release();
      }
    }));
    assert.strictEqual(turns, 30);
  },

  async chroot() {
    const c = await client();
    await c.create('/root');
    const below = await client(`${hosts}/root`);
    assert.strictEqual(await below.create('/x', 'in it'), '/x');
    assert.strictEqual(await c.data('/root/x'), 'in it');
  },

  async ephemerals_end_with_close() {
    const c = await client();
    const other = await client();
    await c.create('/short', '', EPHEMERAL);
    const gone = seen();
    await other.call('exists', '/short', gone);
    await c.close();
    assert.strictEqual(await gone.first(), 'NODE_DELETED /short');
  },
};

// move kills the client's server and returns its port once the client is connected elsewhere.
async function move(c) {
  const port = c.port();
  const id = c.id();
  c.states = [];
  await ask(`kill ${port}`);
  await until('the client notices', () => c.states.includes(zk.State.DISCONNECTED));
  await until('the client is connected again', () => c.states[c.states.length - 1] === zk.State.SYNC_CONNECTED);
  assert.ok(!c.states.includes(zk.State.EXPIRED));
  assert.strictEqual(c.id(), id);
  assert.notStrictEqual(c.port(), port);
  return port;
}

// A Crew is four clients on three servers; the first two are on the one that will die.
class Crew {
  async open() {
    this.all = await Promise.all([...Array(4)].map(() => client()));
    const on = (port) => this.all.filter((c) => c.port() === port);
    const crowd = this.all.map((c) => on(c.port())).find((cs) => cs.length > 1);
    this.victim = crowd[0].port();
    this.all = [...crowd, ...this.all.filter((c) => !crowd.includes(c))];
    this.all.forEach((c) => { c.states = []; });
    return this;
  }

  losses() { return this.all.reduce((n, c) => n + c.states.filter((s) => s === zk.State.DISCONNECTED).length, 0); }

  // work has step(client, its number) repeated for each of them until the server has died and come back, and each had
  // turns before, meanwhile and after. It returns how many turns there were.
  async work(step) {
    const done = this.all.map(() => 0);
    let stop = false;
    let failed;
    const steps = this.all.map(async (c, i) => {
      while (!stop) {
        await step(c, i);
        done[i] += 1;
      }
    });
    const all = Promise.all(steps).catch((e) => { failed = e; });
    const turns = async (when, more) => {
      const want = done.map((n) => n + more);
      await until(`turns ${when}`, () => failed || done.every((n, i) => n >= want[i]));
      if (failed) throw failed;
    };
    try {
      await turns('before', 10);
      await ask(`kill ${this.victim}`);
      await until('the clients notice', () => this.all.slice(0, 2).every((c) => c.states.includes(zk.State.DISCONNECTED)));
      await turns('without the server', 10);
      await ask(`start ${this.victim}`);
      await turns('with all servers', 5);
    } finally {
      stop = true;
    }
    await within('the last turns', all);
    if (failed) throw failed;
    this.all.forEach((c) => assert.ok(!c.states.includes(zk.State.EXPIRED)));
    return done.reduce((a, b) => a + b);
  }
}

const dies = {
  async session_moves() {
    const c = await client();
    await c.create('/kept', 'mine', EPHEMERAL);
    const before = await c.call('exists', '/kept');
    const port = await move(c);
    const after = await c.sure('exists', '/kept');
    assert.deepStrictEqual([after.czxid, after.ephemeralOwner], [before.czxid, before.ephemeralOwner]);
    await ask(`start ${port}`);
    const back = await client(`127.0.0.1:${port}`);
    await until('the restarted server has it', () => back.call('exists', '/kept'));
  },

  async watches_move() {
    const c = await client();
    await c.create('/w');
    const [data, kids, absent] = [seen(), seen(), seen()];
    await c.call('getData', '/w', data);
    await c.call('getChildren', '/w', kids);
    await c.call('exists', '/w/n', absent);
    await move(c);
    const other = await client();
    await other.sure('setData', '/w', Buffer.from('1'), -1);
    await other.sure('create', '/w/n', Buffer.from(''), zk.ACL.OPEN_ACL_UNSAFE, zk.CreateMode.PERSISTENT);
    assert.strictEqual(await data.first(), 'NODE_DATA_CHANGED /w');
    assert.strictEqual(await kids.first(), 'NODE_CHILDREN_CHANGED /w');
    assert.strictEqual(await absent.first(), 'NODE_CREATED /w/n');
  },

  async lock_goes_on() {
    const admin = await client();
    await admin.create('/lock');
    const c = await client();
    const mine = await lock(c, '/lock');
    const other = await client();
    let got = false;
    const waits = lock(other, '/lock').then((l) => { got = true; return l; });
    await until('both stand in line', async () => (await admin.call('getChildren', '/lock'))[0].length === 2);
    await move(c);
    assert.ok((await c.sure('exists', `/lock/${mine.name}`)), 'the lock is lost with its server');
    assert.ok(!got, 'two have the lock');
    await mine.release();
    await within('the lock', waits);
  },

  async lock_turns() {
    const crew = await new Crew().open();
    await crew.all[0].create('/turns', '0');
    await crew.all[0].create('/turnslock');
    let inside = 0;
    const turns = await crew.work(async (c) => {
      const l = await lock(c, '/turnslock');
      inside += 1;
      assert.strictEqual(inside, 1, 'two have the lock');
      // Reading and writing in two steps loses counts unless the lock holds.
      const n = Number((await c.sure('getData', '/turns'))[0]);
      await c.sure('setData', '/turns', Buffer.from(`${n + 1}`), -1);
      inside -= 1;
      await l.release();
    });
    assert.strictEqual(await crew.all[0].data('/turns'), `${turns}`);
    assert.deepStrictEqual((await crew.all[0].call('getChildren', '/turnslock'))[0], []);
  },

  async transactions() {
    const crew = await new Crew().open();
    const [first] = crew.all;
    await first.call('mkdirp', '/tx/a');
    await first.create('/tx/b');
    const [acked, unknown] = [new Set(), new Set()];
    let n = 0;
    await crew.work(async (c) => {
      n += 1;
      const name = `${n}`;
      const t = c.zk.transaction().create(`/tx/a/${name}`).create(`/tx/b/${name}`).setData('/tx', Buffer.from(name), -1);
      const err = await within('transaction', new Promise((resolve) => t.commit(resolve)));
      if (!err) acked.add(name);
      else if (err.code === zk.Exception.CONNECTION_LOSS) unknown.add(name);
      else throw err;
    });
    await first.create('/tx/end'); // so that what it reads is no older
    const [a] = await first.call('getChildren', '/tx/a');
    const [b] = await first.call('getChildren', '/tx/b');
    assert.deepStrictEqual(a.sort(), b.sort());
    assert.deepStrictEqual([...acked].filter((name) => !a.includes(name)), [], 'answered and gone');
    assert.deepStrictEqual(a.filter((name) => !acked.has(name) && !unknown.has(name)), [], 'never asked for');
  },

  // A hundred requests of each client are under way at any time.
  async many_in_flight_when_it_dies() {
    const crew = await new Crew().open();
    await crew.all[0].create('/many');
    const [acked, unknown] = [[], new Set()];
    let n = 0;
    await crew.work((c) => Promise.all([...Array(100)].map(async () => {
      n += 1;
      const name = `${n}`;
      try {
        await c.create(`/many/${name}`, name, EPHEMERAL);
        acked.push(name);
      } catch (e) {
        if (e.code !== zk.Exception.CONNECTION_LOSS) throw e;
        unknown.add(name);
      }
    })));
    assert.ok(crew.losses() > 0);
    await crew.all[0].create('/end');
    const there = new Set((await crew.all[0].call('getChildren', '/many'))[0]);
    assert.deepStrictEqual(acked.filter((name) => !there.has(name)), [], 'answered and gone');
    acked.forEach((name) => there.delete(name));
    assert.deepStrictEqual([...there].filter((name) => !unknown.has(name)), [], 'never asked for');
  },

  // Each client follows a value that the last one writes, by a watch that it sets anew each time.
  async watches_follow() {
    const crew = await new Crew().open();
    const writer = crew.all[3];
    await writer.create('/followed', '0');
    const seen = crew.all.slice(0, 3).map(() => []);
    const follow = async (c, i) => {
      const values = seen[i];
      while (!values.includes('end')) {
        await new Promise((resolve, reject) => {
          c.zk.getData('/followed', resolve, (err, data) => {
            if (!err) values.push(data.toString());
            if (err && err.code !== zk.Exception.CONNECTION_LOSS) reject(err);
            else if (err || data.toString() === 'end') resolve();
          });
        });
      }
    };
    await Promise.all(crew.all.map((c) => until('it is there', () => c.call('exists', '/followed'))));
    const followers = Promise.all(crew.all.slice(0, 3).map(follow));
    let n = 0;
    await crew.work(async (c) => {
      if (c === writer) {
        n += 1;
        await c.sure('setData', '/followed', Buffer.from(`${n}`), -1);
      }
      await sleep(5);
    });
    await writer.sure('setData', '/followed', Buffer.from('end'), -1);
    await within('the last value', followers);
    seen.forEach((values) => {
      assert.strictEqual(values.pop(), 'end');
      values.forEach((v, i) => assert.ok(i === 0 || Number(v) >= Number(values[i - 1]), `${v} after ${values[i - 1]}`));
    });
  },

  async leader_dies() {
    const c = await client();
    await c.create('/count', '0');
    const leader = await ask('leader');
    let writes = 0;
    let stop = false;
    const writer = (async () => {
      while (!stop) {
        await c.sure('setData', '/count', Buffer.from(`${writes + 1}`), -1);
        writes += 1;
      }
    })();
    await until('writes', () => writes > 20);
    await ask(`kill ${leader}`);
    const before = writes;
    await until('writes after the leader', () => writes > before + 20);
    stop = true;
    await writer;
    assert.strictEqual(await c.data('/count'), `${writes}`);
  },

  async session_ends() {
    const c = await client(undefined, { sessionTimeout: 4000 });
    await c.create('/ends', '', EPHEMERAL);
    const other = await client();
    const gone = seen();
    await other.call('exists', '/ends', gone);
    c.zk.connectionManager.socket.destroy(); // and it comes back with its session
    await until('the client is back', async () => {
      try { return await c.call('exists', '/ends'); } catch (e) { return null; }
    });
    assert.strictEqual(gone.events.length, 0);
    await c.close();
    assert.strictEqual(await gone.first(), 'NODE_DELETED /ends');
  },
};

(async () => {
  let failed = 0;
  for (const [name, f] of Object.entries({ alone, dies }[which])) {
    try {
      await f();
      process.stdout.write(`ok ${name}\n`);
    } catch (e) {
      failed += 1;
      console.error(e);
      process.stdout.write(`fail ${name}: ${String(e).replace(/\n/g, ' ')}\n`);
    }
    await Promise.all(clients.map((c) => c.close()));
    clients = [];
    if (which === 'dies') await ask('restore');
  }
  process.exit(failed ? 1 : 0);
})();
