"""kazoo's calls and recipes against a server that stays up."""

import queue
import socket
import struct
import threading
import time

from kazoo.client import KazooState
from kazoo.exceptions import (
    APIError, AuthFailedError, BadVersionError, InvalidACLError, LockTimeout, NoAuthError,
    NoChildrenForEphemeralsError, NodeExistsError, NoNodeError, NotEmptyError, RolledBackError,
    RuntimeInconsistency,
)
from kazoo.protocol.states import EventType
from kazoo.recipe.cache import TreeCache, TreeEvent
from kazoo.recipe.queue import LockingQueue
from kazoo.security import CREATOR_ALL_ACL, OPEN_ACL_UNSAFE, READ_ACL_UNSAFE, make_acl, make_digest_acl

from suite import HOSTS, PATIENCE, case, client, main, raises, same, stop, together, until, wait


@case
def server_version():
    # kazoo parses the version line of envi.
    v = client().server_version()
    assert len(v) == 3 and v >= (3, 8, 0), v


@case
def nodes():
    c = client()
    same(c.create("/nodes", b"one"), "/nodes")
    value, stat = c.get("/nodes")
    same(value, b"one")
    same((stat.version, stat.cversion, stat.aversion, stat.numChildren, stat.dataLength), (0, 0, 0, 0, 3))
    same(stat.ephemeralOwner, 0)
    same(stat.czxid, stat.mzxid)
    assert abs(stat.ctime / 1000 - time.time()) < 60, stat

    path, stat = c.create("/nodes/b", b"", include_data=True)
    same(path, "/nodes/b")
    same(stat.dataLength, 0)
    c.create("/nodes/a/x/y", b"deep", makepath=True)
    same(sorted(c.get_children("/nodes")), ["a", "b"])
    children, stat = c.get_children("/nodes", include_data=True)
    same((sorted(children), stat.numChildren, stat.cversion), (["a", "b"], 2, 2))

    before = c.exists("/nodes")
    stat = c.set("/nodes", b"two!")
    same((stat.version, stat.dataLength, stat.czxid), (1, 4, before.czxid))
    assert stat.mzxid > before.mzxid
    same(c.get("/nodes")[0], b"two!")
    same(c.exists("/nodes/none"), None)
    same(c.sync("/nodes"), "/nodes")

    c.ensure_path("/nodes/p/q/r")
    c.ensure_path("/nodes/p/q/r")
    c.create("/nodes/grüße", b"utf-8")
    same(c.get("/nodes/grüße")[0], b"utf-8")
    assert "grüße" in c.get_children("/nodes")
    c.delete("/nodes/b")
    c.delete("/nodes", recursive=True)
    same(c.exists("/nodes"), None)


@case
def versions():
    c = client()
    c.create("/versions")
    raises(BadVersionError, c.set, "/versions", b"", version=1)
    same(c.set("/versions", b"x", version=0).version, 1)
    raises(BadVersionError, c.delete, "/versions", version=0)
    raises(BadVersionError, c.set_acls, "/versions", OPEN_ACL_UNSAFE, version=5)
    same(c.set_acls("/versions", OPEN_ACL_UNSAFE, version=0).aversion, 1)
    c.delete("/versions", version=1)


@case
def errors():
    c = client()
    c.ensure_path("/errors/child")
    raises(NodeExistsError, c.create, "/errors")
    raises(NoNodeError, c.create, "/none/child")
    raises(NoNodeError, c.get, "/none")
    raises(NoNodeError, c.set, "/none", b"")
    raises(NoNodeError, c.delete, "/none")
    raises(NoNodeError, c.get_children, "/none")
    raises(NoNodeError, c.get_acls, "/none")
    raises(NotEmptyError, c.delete, "/errors")
    c.create("/errors/eph", ephemeral=True)
    raises(NoChildrenForEphemeralsError, c.create, "/errors/eph/child")
    raises(InvalidACLError, c.create, "/errors/acl", acl=[make_acl("nosuch", "x", all=True)])
    same(c.exists("/errors/acl"), None)


@case
def sequence():
    c = client()
    c.create("/sequence")
    same(c.create("/sequence/a-", sequence=True), "/sequence/a-0000000000")
    same(c.create("/sequence/b-", sequence=True), "/sequence/b-0000000001")
    c.delete("/sequence/a-0000000000")
    # The number counts the children that were ever made, not those that are there.
    path, stat = c.create("/sequence/a-", sequence=True, ephemeral=True, include_data=True)
    same(path, "/sequence/a-0000000002")
    same(stat.ephemeralOwner, c.client_id[0])


@case
def big_values():
    c = client()
    big = bytes(range(256)) * 4000  # 1,024,000 bytes: just below jute.maxbuffer
    c.create("/big", big)
    same(c.get("/big")[0], big)
    small, c2 = b"x" * 70000, client()
    c2.set("/big", small)
    same(c.get("/big")[0], small)


@case
def many_in_flight():
    c = client()
    c.create("/many")
    made = [c.create_async("/many/n-", b"%d" % i, sequence=True) for i in range(2000)]
    same([m.get(timeout=PATIENCE) for m in made], ["/many/n-%010d" % i for i in range(2000)])
    same(len(c.get_children("/many")), 2000)
    read = [c.get_async("/many/n-%010d" % i) for i in range(2000)]
    for i, r in enumerate(read):
        same(r.get(timeout=PATIENCE)[0], b"%d" % i)
    gone = [c.delete_async("/many/n-%010d" % i) for i in range(2000)]
    for g in gone:
        g.get(timeout=PATIENCE)
    same(c.exists("/many").numChildren, 0)


@case
def transactions():
    c = client()
    c.create("/t", b"start")
    t = c.transaction()
    t.create("/t/a", b"1")
    t.create("/t/s-", b"2", sequence=True)
    t.check("/t", version=0)
    t.set_data("/t", b"changed")
    t.create("/t/gone")
    t.delete("/t/gone")
    t.create("/t/eph", ephemeral=True)
    r = t.commit()
    same(r[:3], ["/t/a", "/t/s-0000000001", True])
    same(r[3].version, 1)
    same(r[4:], ["/t/gone", True, "/t/eph"])
    same(sorted(c.get_children("/t")), ["a", "eph", "s-0000000001"])
    same(c.exists("/t/eph").ephemeralOwner, c.client_id[0])
    zxid = {c.exists(p).czxid for p in ("/t/a", "/t/s-0000000001", "/t/eph")}
    same(len(zxid), 1)  # one transaction

    t = c.transaction()
    t.create("/t/b", b"")
    t.set_data("/t/a", b"")
    t.check("/t", version=99)
    t.delete("/t/a")
    r = t.commit()
    same([type(x) for x in r], [RolledBackError, RolledBackError, BadVersionError, RuntimeInconsistency])
    same(c.exists("/t/b"), None)
    same(c.get("/t/a")[0], b"1")

    # A transaction sees its own earlier parts.
    t = c.transaction()
    t.create("/t/p")
    t.create("/t/p/q")
    t.delete("/t/p")
    r = t.commit()
    same([type(x) for x in r], [RolledBackError, RolledBackError, NotEmptyError])
    same(c.transaction().commit(), [])


@case
def acl():
    owner, other = client(), client()
    owner.add_auth("digest", "owner:secret")
    owner.create("/acl", b"mine", acl=CREATOR_ALL_ACL)
    acls, stat = owner.get_acls("/acl")
    same(len(acls), 1)
    same((acls[0].id.scheme, acls[0].perms), ("digest", 31))
    same(acls[0].id, make_digest_acl("owner", "secret", all=True).id)
    raises(NoAuthError, other.get, "/acl")
    raises(NoAuthError, other.set, "/acl", b"")
    raises(NoAuthError, other.create, "/acl/child")
    raises(NoAuthError, other.get_children, "/acl")
    raises(NoAuthError, other.set_acls, "/acl", OPEN_ACL_UNSAFE)

    owner.set_acls("/acl", READ_ACL_UNSAFE + CREATOR_ALL_ACL)
    same(other.get("/acl")[0], b"mine")
    raises(NoAuthError, other.set, "/acl", b"")
    owner.create("/acl/child", b"", acl=[make_acl("ip", "127.0.0.1", read=True)])
    same(other.get("/acl/child")[0], b"")
    raises(NoAuthError, other.delete, "/acl/child")  # needs delete on the parent
    owner.delete("/acl/child")


@case
def add_auth():
    owner, other = client(), client()
    owner.create("/auth", b"x", acl=[make_digest_acl("ann", "pw", all=True)])
    raises(NoAuthError, other.get, "/auth")
    other.add_auth("digest", "ann:wrong")
    raises(NoAuthError, other.get, "/auth")
    other.add_auth("digest", "ann:pw")
    same(other.get("/auth")[0], b"x")
    c = client(auth_data=[("digest", "ann:pw")])
    same(c.get("/auth")[0], b"x")
    c.delete("/auth")


@case
def bad_auth():
    c = client()
    raises(AuthFailedError, c.add_auth, "nosuch", "x:y")


@case
def chroot():
    c = client()
    c.ensure_path("/root")
    inner = client(hosts=HOSTS + "/root")
    same(inner.create("/a/b", b"x", makepath=True), "/a/b")
    same(c.get("/root/a/b")[0], b"x")
    same(inner.create("/a/s-", sequence=True), "/a/s-0000000001")
    seen = queue.Queue()
    inner.get("/a/b", watch=seen.put)
    c.set("/root/a/b", b"y")
    same(seen.get(timeout=PATIENCE).path, "/a/b")


@case
def watches():
    c, other = client(), client()
    seen = queue.Queue()

    def event():
        e = seen.get(timeout=PATIENCE)
        return e.type, e.path

    c.exists("/w", watch=seen.put)
    other.create("/w", b"")
    same(event(), (EventType.CREATED, "/w"))
    c.get("/w", watch=seen.put)
    other.set("/w", b"1")
    same(event(), (EventType.CHANGED, "/w"))
    other.set("/w", b"2")  # nobody watches: a watch fires once
    c.get_children("/w", watch=seen.put)
    other.create("/w/a")
    same(event(), (EventType.CHILD, "/w"))
    c.get_children("/w", watch=seen.put)
    other.delete("/w/a")
    same(event(), (EventType.CHILD, "/w"))
    c.get("/w", watch=seen.put)
    other.delete("/w")
    same(event(), (EventType.DELETED, "/w"))
    # The event of a write comes before its new value can be read.
    order = []
    other.create("/w", b"0")
    for i in range(50):
        fired = threading.Event()
        c.get("/w", watch=lambda e: (order.append("event"), fired.set()))
        other.set("/w", b"%d" % i)
        until("the new value", lambda: c.get("/w")[0] == b"%d" % i)
        wait(fired, "the event")
    same(len(order), 50)
    assert seen.empty()


@case
def data_watch():
    c, other = client(), client()
    seen = queue.Queue()

    @c.DataWatch("/dw")
    def changed(data, stat, event):
        seen.put((data, stat.version if stat else None, event.type if event else None))

    def next_(): return seen.get(timeout=PATIENCE)

    same(next_(), (None, None, None))
    other.create("/dw", b"a")
    same(next_(), (b"a", 0, EventType.CREATED))
    for i in range(20):
        other.set("/dw", b"%d" % i)
        same(next_(), (b"%d" % i, i + 1, EventType.CHANGED))
    other.delete("/dw")
    same(next_(), (None, None, EventType.DELETED))
    other.create("/dw", b"again")
    same(next_(), (b"again", 0, EventType.CREATED))


@case
def children_watch():
    c, other = client(), client()
    c.create("/cw")
    seen = queue.Queue()

    @c.ChildrenWatch("/cw")
    def changed(children):
        seen.put(sorted(children))

    same(seen.get(timeout=PATIENCE), [])
    other.create("/cw/a")
    same(seen.get(timeout=PATIENCE), ["a"])
    other.create("/cw/b")
    same(seen.get(timeout=PATIENCE), ["a", "b"])
    other.delete("/cw/a")
    same(seen.get(timeout=PATIENCE), ["b"])


@case
def tree_cache():
    c, other = client(), client()
    c.ensure_path("/tc/a")
    ready, seen = threading.Event(), queue.Queue()
    cache = TreeCache(c, "/tc")

    def listen(e):
        if e.event_type == TreeEvent.INITIALIZED:
            ready.set()
        elif ready.is_set():
            seen.put((e.event_type, e.event_data.path))

    cache.listen(listen)
    cache.start()
    wait(ready, "the cache is filled")
    other.create("/tc/a/b", b"1")
    same(seen.get(timeout=PATIENCE), (TreeEvent.NODE_ADDED, "/tc/a/b"))
    other.set("/tc/a/b", b"2")
    same(seen.get(timeout=PATIENCE), (TreeEvent.NODE_UPDATED, "/tc/a/b"))
    same(cache.get_data("/tc/a/b").data, b"2")
    same(cache.get_children("/tc/a"), frozenset(["b"]))
    other.delete("/tc/a/b")
    same(seen.get(timeout=PATIENCE), (TreeEvent.NODE_REMOVED, "/tc/a/b"))
    cache.close()


@case
def lock():
    n, turns = 5, 10
    clients = [client() for _ in range(n)]
    clients[0].create("/lockcount", b"0")

    def work(i):
        c = clients[i]
        for _ in range(turns):
            with c.Lock("/lock", str(i)):
                # Reading and writing in two steps loses counts unless the lock holds.
                v = int(c.get("/lockcount")[0])
                c.set("/lockcount", b"%d" % (v + 1))

    together(n, work)
    same(clients[0].get("/lockcount")[0], b"%d" % (n * turns))
    same(clients[0].get_children("/lock"), [])


@case
def lock_contenders():
    a, b = client(), client()
    la, lb = a.Lock("/lockc", "a"), b.Lock("/lockc", "b")
    assert la.acquire()
    assert not lb.acquire(blocking=False)
    t = threading.Thread(target=lambda: together(1, lambda i: lb.acquire(timeout=PATIENCE)))
    t.start()
    until("b waits", lambda: la.contenders() == ["a", "b"])
    la.release()
    t.join(PATIENCE)
    assert lb.is_acquired
    # The holder goes without a word, the next one gets it.
    assert not la.acquire(blocking=False)
    stop(b)
    assert la.acquire(timeout=PATIENCE)
    la.release()


@case
def lock_timeout():
    a, b = client(), client()
    held = a.Lock("/lockt", "a")
    held.acquire()
    raises(LockTimeout, b.Lock("/lockt", "b").acquire, timeout=0.3)
    until("only the holder is left", lambda: held.contenders() == ["a"])
    held.release()


@case
def lock_read_write():
    a, b, c = client(), client(), client()
    r1, r2, w = a.ReadLock("/lockrw", "r1"), b.ReadLock("/lockrw", "r2"), c.WriteLock("/lockrw", "w")
    assert r1.acquire() and r2.acquire()
    assert not w.acquire(blocking=False)
    r1.release()
    r2.release()
    assert w.acquire()
    assert not r1.acquire(blocking=False)
    w.release()
    assert r1.acquire()
    r1.release()


@case
def semaphore():
    clients = [client() for _ in range(4)]
    inside, most = [0], [0]
    mu = threading.Lock()

    def work(i):
        for _ in range(3):
            with clients[i].Semaphore("/sem", str(i), max_leases=2):
                with mu:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                time.sleep(0.02)
                with mu:
                    inside[0] -= 1

    together(4, work)
    assert most[0] <= 2, most


@case
def election():
    n = 4
    clients = [client() for _ in range(n)]
    elections = [clients[i].Election("/election", "c%d" % i) for i in range(n)]
    leading, order, together_ = threading.Lock(), [], []
    gate = threading.Event()

    def lead(i):
        if not leading.acquire(blocking=False):
            together_.append(i)
            return
        order.append(i)
        if len(order) == 1:
            gate.wait(PATIENCE)
        leading.release()

    t = threading.Thread(target=lambda: together(n, lambda i: elections[i].run(lead, i)))
    t.start()
    until("all stand for election", lambda: len(elections[0].contenders()) == n)
    want = [int(c[1:]) for c in elections[0].contenders()]
    gate.set()
    t.join(PATIENCE)
    assert not t.is_alive()
    same(together_, [])
    same(order, want)


@case
def barrier():
    a, b = client(), client()
    bar = a.Barrier("/barrier")
    bar.create()
    assert not b.Barrier("/barrier").wait(timeout=0.2)
    passed = []
    t = threading.Thread(target=lambda: passed.append(b.Barrier("/barrier").wait(timeout=PATIENCE)))
    t.start()
    assert bar.remove()
    t.join(PATIENCE)
    same(passed, [True])
    assert not bar.remove()


@case
def double_barrier():
    n = 3
    clients = [client() for _ in range(n)]
    entered, left = [], []

    def work(i):
        b = clients[i].DoubleBarrier("/dbarrier", n)
        b.enter()
        assert b.participating
        entered.append(i)
        until("all are in", lambda: len(entered) == n)
        b.leave()
        left.append(i)

    together(n, work)
    same(sorted(left), [0, 1, 2])


@case
def queue_recipe():
    c, other = client(), client()
    q = c.Queue("/queue")
    for v in (b"one", b"two", b"three"):
        q.put(v)
    q.put(b"urgent", priority=10)
    same(len(q), 4)
    o = other.Queue("/queue")
    same([o.get() for _ in range(5)], [b"urgent", b"one", b"two", b"three", None])

    # Two consumers share what a producer puts; each entry goes to one of them.
    for i in range(40):
        q.put(b"%d" % i)
    got = together(2, lambda i: [v for v in iter((q, o)[i].get, None)])
    same(sorted(int(v) for g in got for v in g), list(range(40)))


@case
def locking_queue():
    a, b = client(), client()
    qa, qb = a.LockingQueue("/lq"), b.LockingQueue("/lq")
    qa.put(b"one")
    qa.put_all([b"two", b"three"])
    same(qa.get(timeout=PATIENCE), b"one")
    same(qa.get(timeout=PATIENCE), b"one")  # held, not consumed
    same(qb.get(timeout=PATIENCE), b"two")
    assert qa.holds_lock() and qa.consume()
    assert qb.consume()
    # A consumer that goes before it consumed gives the entry back.
    same(qb.get(timeout=PATIENCE), b"three")
    stop(b)
    same(qa.get(timeout=PATIENCE), b"three")
    assert qa.consume()
    same(qa.get(timeout=0.2), None)


@case
def counter():
    clients = [client() for _ in range(4)]

    def work(i):
        n = clients[i].Counter("/counter")
        for _ in range(10):
            n += 1
        n -= 2

    together(4, work)
    same(clients[0].Counter("/counter").value, 32)
    f = clients[0].Counter("/counterf", default=1.0)
    f += 1.5
    same(clients[1].Counter("/counterf", default=1.0).value, 2.5)


@case
def party():
    a, b = client(), client()
    pa, pb = a.Party("/party", "a"), b.Party("/party", "b")
    pa.join()
    pb.join()
    same(sorted(pa), ["a", "b"])
    same(len(pb), 2)
    pa.leave()
    same(list(pb), ["b"])
    stop(b)
    same(list(pa), [])
    s = a.ShallowParty("/sparty", "s")
    s.join()
    same(list(s), ["s"])


@case
def partitioner():
    names = "abcdef"

    def work(i):
        c = client()
        p = c.SetPartitioner("/partitions", set(names), identifier=str(i), time_boundary=0.2)
        end = time.monotonic() + PATIENCE
        while not (p.acquired and len(list(p)) == 3):
            assert time.monotonic() < end, "no share of 3: %s" % p.state
            if p.release:
                p.release_set()
            elif p.allocating:
                p.wait_for_acquire(timeout=1)
            time.sleep(0.02)
        return list(p)

    same(sorted(sum(together(2, work), [])), list(names))


@case
def lease():
    import datetime
    a, b = client(), client()
    hour = datetime.timedelta(hours=1)
    assert a.NonBlockingLease("/lease", hour, identifier="a")
    assert not b.NonBlockingLease("/lease", hour, identifier="b")
    assert a.MultiNonBlockingLease(2, "/leases", hour, identifier="a")
    assert b.MultiNonBlockingLease(2, "/leases", hour, identifier="b")
    assert not b.MultiNonBlockingLease(2, "/leases", hour, identifier="c")


@case
def ephemerals_end_with_close():
    a, b = client(), client()
    a.create("/eph")
    a.create("/eph/one", ephemeral=True)
    a.create("/eph/s-", ephemeral=True, sequence=True)
    same(len(b.get_children("/eph")), 2)
    gone = threading.Event()
    b.exists("/eph/one", watch=lambda e: gone.set() if e.type == EventType.DELETED else None)
    stop(a)
    wait(gone, "the event of the ephemeral's end")
    same(b.get_children("/eph"), [])


@case
def ephemerals_end_with_expiry():
    # A client that goes without closing its session: kazoo can't, so this one is made of bytes.
    host, port_ = HOSTS.split("/")[0].split(",")[0].split(":")
    s = socket.create_connection((host, int(port_)), timeout=PATIENCE)

    def send(b): s.sendall(struct.pack(">i", len(b)) + b)

    def receive():
        f = s.makefile("rb")
        n, = struct.unpack(">i", f.read(4))
        return f.read(n)

    send(struct.pack(">iqiqi16sb", 0, 0, 2000, 0, 16, b"", 0))
    _, timeout, session = struct.unpack(">iiq", receive()[:16])
    assert session != 0 and timeout >= 2000
    path = b"/expires"
    acl_ = struct.pack(">iii5si6s", 1, 31, 5, b"world", 6, b"anyone")
    send(struct.pack(">iii", 1, 1, len(path)) + path + struct.pack(">i", -1) + acl_ + struct.pack(">i", 1))
    xid, _, err = struct.unpack(">iqi", receive()[:16])
    same((xid, err), (1, 0))
    c = client()
    same(c.exists("/expires").ephemeralOwner, session)
    gone = threading.Event()
    c.exists("/expires", watch=lambda e: gone.set() if e.type == EventType.DELETED else None)
    s.close()
    assert c.exists("/expires"), "the ephemeral went with the connection, not with the session"
    wait(gone, "the session expires")
    same(c.exists("/expires"), None)


@case
def session_taken_over():
    # Two clients with one session: closing it in one of them ends it for the other, which is told.
    a = client()
    states = queue.Queue()
    a.add_listener(lambda s: states.put(s))
    a.create("/taken", ephemeral=True)
    old = a.client_id
    b = client(client_id=old)
    same(b.client_id, old)
    stop(b)
    got = []
    until("the first client loses its session", lambda: got.append(states.get(timeout=PATIENCE)) or KazooState.LOST in got)
    until("it has a new one", lambda: a.connected and a.client_id and a.client_id[0] != old[0])
    same(a.retry(a.exists, "/taken"), None)


main()
