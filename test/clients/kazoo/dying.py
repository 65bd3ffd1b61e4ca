"""Each of kazoo's recipes at work in an ensemble of three, while the server of two of its users dies and comes back.

Sessions outlive it, so what a recipe promises holds throughout; what a call whose answer was lost may have done is
told where it matters.
"""

import contextlib
import datetime
import itertools
import threading
import time

from kazoo.client import KazooState
from kazoo.exceptions import ConnectionLoss, NoNodeError, OperationTimeoutError
from kazoo.recipe.cache import TreeCache

from suite import HOSTS, PATIENCE, ask, case, client, main, same, stop, until, wait

ADDRS = HOSTS.split(",")

# What a call raises whose answer was lost: it was carried out or it was not.
LOST = (ConnectionLoss, OperationTimeoutError)

# Each case harms the next server, so that some of them harm the leader.
_victims = itertools.cycle(range(len(ADDRS)))


class Crew:
    """n clients, the first two on a server that will die."""

    def __init__(self, n=4):
        v = next(_victims)
        first = ",".join(ADDRS[v:] + ADDRS[:v])
        self.victim = ADDRS[v].split(":")[1]
        self.clients = [client(hosts=first, timeout=20.0, randomize_hosts=False) for _ in range(2)]
        self.clients += [client(timeout=20.0) for _ in range(n - 2)]
        self.losses = [0] * n  # how often each of them lost its connection
        self.ended = [0] * n  # sessions; none may
        self.done = [0] * n  # turns of work()
        self.errors = []
        for i, c in enumerate(self.clients):
            c.add_listener(lambda state, i=i: self._state(i, state))

    def __getitem__(self, i):
        return self.clients[i]

    def __iter__(self):
        return iter(self.clients)

    def _state(self, i, state):
        if state == KazooState.SUSPENDED:
            self.losses[i] += 1
        elif state == KazooState.LOST:
            self.ended[i] += 1

    def fresh(self):
        """Lets each see all that was written by now: their servers may be behind."""
        for c in self.clients:
            c.retry(c.sync, "/")

    def kill(self):
        """Kills the server of the first two, and returns once they are connected elsewhere."""
        ask("kill " + self.victim)
        until("they notice", lambda: all(self.losses[:2]))
        until("they are connected again", lambda: all(c.connected for c in self.clients))

    def start(self):
        ask("start " + self.victim)
        same(sum(self.ended), 0)

    def work(self, step, who=None, turns=5):
        """Has step(i) repeated for each client while the server dies and comes back. The clients in who take so many
        turns before, meanwhile and after; nobody else's turns are waited for."""
        n = len(self.clients)
        who = range(n) if who is None else who
        over = threading.Event()

        def repeat(i):
            try:
                while not over.is_set():
                    step(i)
                    self.done[i] += 1
            except BaseException as e:
                self.errors.append(e)
                raise

        threads = [threading.Thread(target=repeat, args=(i,), daemon=True) for i in range(n)]
        for t in threads:
            t.start()
        try:
            self._turns("before", who, turns)
            self.kill()
            self._turns("without the server", who, turns)
            self.start()
            self._turns("with all servers", who, turns)
        finally:
            over.set()
        for t in threads:
            t.join(PATIENCE)
            assert not t.is_alive(), "a thread hangs"
        if self.errors:
            raise self.errors[0]

    def _turns(self, when, who, more):
        at = list(self.done)
        until("turns " + when, lambda: self.errors or all(self.done[i] >= at[i] + more for i in who))
        if self.errors:
            raise self.errors[0]


class Room:
    """Somewhere that only so many may be at a time."""

    def __init__(self, most):
        self.most, self.inside, self.lock = most, 0, threading.Lock()

    @contextlib.contextmanager
    def entered(self):
        with self.lock:
            self.inside += 1
            n = self.inside
        assert n <= self.most, "%d are in, and at most %d may be" % (n, self.most)
        yield
        with self.lock:
            self.inside -= 1


def count(c, path):
    """Counts up in two steps, which loses counts unless whoever does it is alone."""
    n = int(c.retry(c.get, path)[0])
    c.retry(c.set, path, b"%d" % (n + 1))


def alone(crew, path, turn):
    """turn(i, f) calls f for client i when nobody else's f runs."""
    crew[0].create(path, b"0")
    crew.fresh()
    room = Room(1)

    def work(i):
        with room.entered():
            count(crew[i], path)

    crew.work(lambda i: turn(i, lambda: work(i)))
    crew.fresh()
    same(int(crew[0].get(path)[0]), sum(crew.done))


@case
def lock():
    crew = Crew()
    locks = [c.Lock("/lock", str(i)) for i, c in enumerate(crew)]

    def turn(i, f):
        with locks[i]:
            f()

    alone(crew, "/lockcount", turn)
    same(crew[0].get_children("/lock"), [])


@case
def lock_read_write():
    crew = Crew()
    crew[0].create("/rwcount", b"0")
    crew.fresh()
    locks = [(c.WriteLock, c.ReadLock)[i % 2]("/rw", str(i)) for i, c in enumerate(crew)]
    writers, readers = Room(1), Room(2)

    def step(i):
        with locks[i]:
            if i % 2 == 0:
                with writers.entered():
                    same(readers.inside, 0)
                    count(crew[i], "/rwcount")
            else:
                with readers.entered():
                    same(writers.inside, 0)

    crew.work(step)
    crew.fresh()
    same(int(crew[0].get("/rwcount")[0]), crew.done[0] + crew.done[2])


@case
def semaphore():
    crew = Crew()
    semaphores = [c.Semaphore("/sem", str(i), max_leases=2) for i, c in enumerate(crew)]
    room = Room(2)

    def step(i):
        with semaphores[i]:
            with room.entered():
                time.sleep(0.03)  # so that a third would find two

    crew.work(step)
    crew.fresh()
    same(semaphores[0].lease_holders(), [])


@case
def election():
    crew = Crew()
    elections = [c.Election("/election", str(i)) for i, c in enumerate(crew)]
    alone(crew, "/reigns", lambda i, f: elections[i].run(f))
    same(elections[0].contenders(), [])


@case
def barrier():
    crew = Crew()
    bar = crew[3].Barrier("/barrier")
    bar.create()
    crew.fresh()
    removed, passed, early = threading.Event(), [], []

    def pass_(i):
        # Its wait knows nothing of lost connections: whoever has to be sure asks again.
        b = crew[i].Barrier("/barrier")
        while not crew[i].retry(b.wait, timeout=1):
            pass
        if not removed.is_set():
            early.append(i)
        passed.append(i)

    for i in range(3):
        threading.Thread(target=pass_, args=(i,), daemon=True).start()
    crew.kill()
    crew.fresh()
    same(passed, [])
    removed.set()
    assert bar.remove()
    until("all are let through", lambda: len(passed) == 3)
    same(early, [])
    crew.start()


def again(c, f):
    """Calls f until a call of it ends, anew whenever the connection was lost: kazoo's double barrier waits for an
    event that is the old connection's. The call that waits for it is left behind."""
    over, back = threading.Event(), threading.Event()
    c.add_listener(lambda state: back.set() if state == KazooState.CONNECTED else None)

    def call():
        f()
        over.set()

    while not over.is_set():
        back.clear()
        threading.Thread(target=call, daemon=True).start()
        while not over.wait(0.02) and not back.is_set():
            pass


@case
def double_barrier():
    crew = Crew(3)
    barriers = [c.DoubleBarrier("/dbarrier", 3, str(i)) for i, c in enumerate(crew)]
    last, entered, early, left = threading.Event(), [], [], []

    def take_part(i):
        again(crew[i], barriers[i].enter)
        if not last.is_set():
            early.append(i)
        entered.append(i)
        until("all are in", lambda: len(entered) == 3)
        barriers[i].leave()
        left.append(i)

    def join(i):
        threading.Thread(target=take_part, args=(i,), daemon=True).start()

    crew[2].create("/dbarrier")
    crew.fresh()
    join(0)
    join(1)
    until("two wait", lambda: len(crew[2].get_children("/dbarrier")) == 2)
    crew.kill()
    crew.fresh()
    same(len(crew[2].get_children("/dbarrier")), 2)
    same(entered, [])
    last.set()
    join(2)
    until("all have left", lambda: len(left) == 3)
    same(early, [])
    assert not any(b.participating for b in barriers)
    crew.start()
    crew.fresh()
    same(crew[0].get_children("/dbarrier"), [])


class Goods:
    """What is put into a queue, and what is taken out of it."""

    def __init__(self):
        self.put, self.unknown, self.took = [], [], []
        self._numbers = itertools.count()

    def put_one(self, put):
        v = b"%d" % next(self._numbers)
        try:
            put(v)
        except LOST:
            self.unknown.append(v)
        else:
            self.put.append(v)
        time.sleep(0.01)  # so that those who take keep up

    def check(self, may_lack):
        same(len(set(self.took)), len(self.took))
        extra = set(self.took) - set(self.put) - set(self.unknown)
        assert not extra, "never put: %s" % sorted(extra)
        lacks = set(self.put) - set(self.took)
        assert len(lacks) <= may_lack, "put, and never taken: %s" % sorted(lacks)


@case
def queue_recipe():
    crew = Crew()
    queues = [c.Queue("/queue") for c in crew]
    goods = Goods()

    def step(i):
        if i % 2 == 0:
            goods.put_one(queues[i].put)
        else:
            v = queues[i].get()
            if v is not None:
                goods.took.append(v)

    crew.work(step)
    crew.fresh()
    goods.took += iter(queues[3].get, None)
    # It takes an entry out before it hands it over: whose connection is lost over the answer never gets it.
    goods.check(may_lack=crew.losses[1] + crew.losses[3])


@case
def locking_queue():
    crew = Crew()
    queues = [c.LockingQueue("/lq") for c in crew]
    goods = Goods()

    def consume(q, v):
        while True:
            try:
                assert q.consume(), "a lock was lost"
                break
            except NoNodeError:
                q.processing_element = None  # it was consumed the time before, and the answer lost
                break
            except LOST:
                pass
        goods.took.append(v)

    def step(i):
        if i % 2 == 0:
            goods.put_one(queues[i].put)
            return
        try:
            v = queues[i].get(timeout=0.2)
        except LOST:
            return
        if v is not None:
            consume(queues[i], v)

    crew.work(step)
    # What one of them locked without learning of it is free when its session ends.
    for i in (1, 3):
        stop(crew[i])
    c = crew[2]
    c.retry(c.sync, "/")
    for v in iter(lambda: queues[2].get(timeout=0.5), None):
        consume(queues[2], v)
    goods.check(may_lack=0)
    same((len(queues[2]), c.get_children("/lq/taken")), (0, []))


@case
def counter():
    crew = Crew()
    counters = [c.Counter("/counter") for c in crew]

    def step(i):
        counters[i] += 1
        time.sleep(0.05)  # so that the others, who wait longer each time that somebody was faster, have a chance

    crew.work(step)
    crew.fresh()
    n = counters[0].value
    # It counts again what it was not told of.
    assert sum(crew.done) <= n <= sum(crew.done) + sum(crew.losses), (n, crew.done, crew.losses)


@case
def party():
    crew = Crew()
    parties = [c.Party("/party", str(i)) for i, c in enumerate(crew)]
    shallow = [c.ShallowParty("/sparty", str(i)) for i, c in enumerate(crew)]
    for p in (parties, shallow):
        for i in range(3):
            p[i].join()
    crew.fresh()

    def step(i):
        for p in (parties, shallow):
            if i == 3:
                p[3].join()
                p[3].leave()
            else:
                same(set(p[i]) - {"3"}, {"0", "1", "2"})

    crew.work(step)
    crew.fresh()
    for p in parties + shallow:
        same(sorted(p), ["0", "1", "2"])


@case
def partitioner():
    crew = Crew(3)
    names = set("abcdefg")

    def part(i):
        return crew[i].SetPartitioner("/partitions", names, identifier=str(i), time_boundary=0.2, max_reaction_time=0.2)

    parts = [part(i) for i in range(3)]
    over = threading.Event()

    def tend(i):
        while not over.is_set():
            p = parts[i]
            if p.failed:
                parts[i] = part(i)
            elif p.release:
                p.release_set()
            elif p.allocating:
                p.wait_for_acquire(timeout=0.2)
            time.sleep(0.02)

    def shared():
        shares = [sorted(p) for p in parts]
        return all(p.acquired for p in parts) and sorted(sum(shares, [])) == sorted(names) and [sorted(p) for p in parts] == shares

    for i in range(3):
        threading.Thread(target=tend, args=(i,), daemon=True).start()
    until("each has a share", shared)
    crew.kill()
    until("each has a share again", shared)
    crew.start()
    until("each has its share", shared)
    over.set()


@case
def lease():
    crew = Crew()
    hour = datetime.timedelta(hours=1)

    def get(i):
        return crew[i].retry(crew[i].NonBlockingLease, "/lease", hour, identifier=str(i))

    assert get(0)

    def step(i):
        if i == 0:
            assert b'"holder": "0"' in crew[0].retry(crew[0].get, "/lease/lease_holder")[0]
        else:
            assert not get(i), "two have the lease"

    crew.work(step)
    assert get(0), "the lease can't be renewed"
    assert not get(1)


@case
def data_watch():
    crew = Crew(3)
    crew[2].create("/dw", b"0")
    crew.fresh()
    seen = [[], []]
    for c, s in zip(crew, seen):
        c.DataWatch("/dw", lambda data, stat, event, s=s: s.append((stat.version, data)))

    def step(i):
        if i == 2:
            crew[2].retry(crew[2].set, "/dw", b"%d" % crew.done[2])
        time.sleep(0.005)

    crew.work(step, who=[2])
    data, stat = crew[2].get("/dw")
    for s in seen:
        until("the last value", lambda: s[-1] == (stat.version, data))
        versions = [v for v, _ in s]
        same(versions, sorted(versions))


@case
def children_watch():
    crew = Crew(3)
    crew[2].create("/cw")
    crew.fresh()
    seen = [[], []]
    for c, s in zip(crew, seen):
        c.ChildrenWatch("/cw", lambda names, s=s: s.append(sorted(names)))

    def step(i):
        if i == 2:
            c, n = crew[2], crew.done[2]
            c.retry(c.ensure_path, "/cw/%d" % n)
            if n % 3 == 2:
                with contextlib.suppress(NoNodeError):  # a retry finds its own work
                    c.retry(c.delete, "/cw/%d" % (n - 1))
        time.sleep(0.005)

    crew.work(step, who=[2])
    want = sorted(crew[2].get_children("/cw"))
    for s in seen:
        until("the last children", lambda: s[-1] == want)


@case
def tree_cache():
    crew = Crew(3)
    crew[2].ensure_path("/tc/a")
    crew[2].ensure_path("/tc/b")
    crew.fresh()
    caches = [TreeCache(crew[i], "/tc") for i in range(2)]
    for t in caches:
        t.start()

    def step(i):
        if i == 2:
            c, n = crew[2], crew.done[2]
            under = "/tc/" + "ab"[n % 2]
            c.retry(c.ensure_path, "%s/%d" % (under, n))
            c.retry(c.set, under, b"%d" % n)
            if n % 5 >= 3:
                with contextlib.suppress(NoNodeError):
                    c.retry(c.delete, "%s/%d" % (under, n - 2))
        time.sleep(0.02)

    def there(path):
        names = crew[2].get_children(path)
        return {path: crew[2].get(path)[0], **{k: v for n in names for k, v in there(path + "/" + n).items()}}

    def cached(cache, path):
        data, names = cache.get_data(path), cache.get_children(path, ())
        return {path: data and data.data, **{k: v for n in names for k, v in cached(cache, path + "/" + n).items()}}

    crew.work(step, who=[2])
    want = there("/tc")
    for t in caches:
        until("the cache is like the tree", lambda: cached(t, "/tc") == want)
        t.close()


@case
def transactions():
    crew = Crew()
    crew[0].create("/t")
    for side in "ab":
        crew[0].create("/t/" + side)
    crew.fresh()
    acked, unknown = [], []

    def step(i):
        name = "%d-%d" % (i, crew.done[i])
        t = crew[i].transaction()
        t.create("/t/a/" + name)
        t.create("/t/b/" + name)
        t.set_data("/t", name.encode())
        try:
            r = t.commit()
        except LOST:
            unknown.append(name)
        else:
            same(r[:2], ["/t/a/" + name, "/t/b/" + name])
            acked.append(name)

    crew.work(step)
    crew.fresh()
    a, b = (set(crew[0].get_children("/t/" + side)) for side in "ab")
    same(a, b)
    assert set(acked) <= a <= set(acked) | set(unknown), (sorted(set(acked) - a), sorted(a - set(acked) - set(unknown)))
    same(crew[0].exists("/t").version, len(a))


main(after=lambda: ask("restore"))
