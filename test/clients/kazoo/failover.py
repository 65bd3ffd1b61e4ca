"""What becomes of kazoo's sessions, ephemerals and watches when servers of an ensemble of three die."""

import queue
import threading

from kazoo.client import KazooState
from kazoo.exceptions import ConnectionLoss, OperationTimeoutError
from kazoo.protocol.states import EventType

from suite import HOSTS, PATIENCE, ask, case, client, main, port, same, stop, together, until, wait

ADDRS = HOSTS.split(",")


def other_than(p):
    """The connect string of the servers that don't have that port."""
    return ",".join(a for a in ADDRS if not a.endswith(":%d" % p))


class Moving:
    """A client, and what it needs to see its server die under it."""

    def __init__(self):
        self.states = []
        self.c = client(timeout=20.0)
        self.c.add_listener(self.states.append)
        self.session = self.c.client_id

    def move(self):
        """Kills the client's server and returns its port once the client is connected elsewhere."""
        p = port(self.c)
        del self.states[:]
        ask("kill %d" % p)
        until("the client notices", lambda: KazooState.SUSPENDED in self.states)
        until("the client is connected again", lambda: self.states[-1] == KazooState.CONNECTED)
        assert KazooState.LOST not in self.states, self.states
        same(self.c.client_id, self.session)
        assert port(self.c) != p
        return p


def retried(c, f, *args, **kw):
    """kazoo's own retry, which tries anew what failed for a lost connection."""
    return c.retry(f, *args, **kw)


@case
def same_session():
    m = Moving()
    m.move()
    same(m.c.retry(m.c.exists, "/none"), None)


@case
def ephemeral_kept():
    m = Moving()
    m.c.create("/kept", b"mine", ephemeral=True)
    czxid = m.c.exists("/kept").czxid
    p = m.move()
    stat = retried(m.c, m.c.exists, "/kept")
    same((stat.czxid, stat.ephemeralOwner), (czxid, m.session[0]))
    ask("start %d" % p)
    # The one that was away has it too.
    back = client(hosts="127.0.0.1:%d" % p)
    until("the restarted server knows the ephemeral", lambda: back.exists("/kept"))
    same(back.exists("/kept").czxid, czxid)


@case
def watches_fire():
    # kazoo sets no watches again by itself: it calls them with an event that says so. (Its DataWatch
    # and ChildrenWatch do; see recipes_go_on.)
    m = Moving()
    m.c.ensure_path("/w/data")
    m.c.ensure_path("/w/kids")
    seen = queue.Queue()

    def look():
        retried(m.c, m.c.get, "/w/data", watch=seen.put)
        retried(m.c, m.c.get_children, "/w/kids", watch=seen.put)
        retried(m.c, m.c.exists, "/w/later", watch=seen.put)

    look()
    p = m.move()
    for _ in range(3):
        same(seen.get(timeout=PATIENCE).type, EventType.NONE)
    look()
    elsewhere = client(hosts=other_than(p))
    retried(elsewhere, elsewhere.set, "/w/data", b"changed")
    retried(elsewhere, elsewhere.create, "/w/kids/k")
    retried(elsewhere, elsewhere.create, "/w/later")
    got = []
    for _ in range(3):
        e = seen.get(timeout=PATIENCE)
        got.append((e.path, e.type))
    same(got, [("/w/data", EventType.CHANGED), ("/w/kids", EventType.CHILD), ("/w/later", EventType.CREATED)])


@case
def recipes_go_on():
    m = Moving()
    m.c.ensure_path("/r/kids")
    data, kids = [], []
    m.c.DataWatch("/r/data")(lambda d, s: data.append(d))
    m.c.ChildrenWatch("/r/kids")(lambda k: kids.append(sorted(k)))
    n = m.c.Counter("/r/count")
    n += 1
    q = m.c.Queue("/r/queue")
    q.put(b"before")
    party = m.c.Party("/r/party", "me")
    party.join()
    p = m.move()
    elsewhere = client(hosts=other_than(p))
    retried(elsewhere, elsewhere.create, "/r/data", b"1")
    retried(elsewhere, elsewhere.create, "/r/kids/k")
    until("DataWatch", lambda: data and data[-1] == b"1")
    until("ChildrenWatch", lambda: kids and kids[-1] == ["k"])
    n += 1
    elsewhere.sync("/")
    same(elsewhere.Counter("/r/count").value, 2)
    same(q.get(), b"before")
    same(list(elsewhere.Party("/r/party")), ["me"])


@case
def lock_kept():
    m = Moving()
    held = m.c.Lock("/lock", "holder")
    assert held.acquire()
    p = port(m.c)
    rival = client(hosts=other_than(p))
    want = rival.Lock("/lock", "rival")
    got = threading.Event()
    t = threading.Thread(target=lambda: want.acquire() and got.set(), daemon=True)
    t.start()
    until("the rival waits", lambda: held.contenders() == ["holder", "rival"])
    same(m.move(), p)
    same(retried(m.c, held.contenders), ["holder", "rival"])
    assert not got.is_set()
    held.release()
    wait(got, "the rival's turn")
    want.release()


@case
def leader_dies():
    clients = [client(hosts=a, timeout=20.0) for a in ADDRS]
    sessions = [c.client_id for c in clients]
    for i, c in enumerate(clients):
        c.create("/leader%d" % i, ephemeral=True)
    leader = int(ask("leader"))
    ask("kill %d" % leader)
    # Only the leader's own client lost its server; it knows no other, so it waits for it.
    for i, c in enumerate(clients):
        if not ADDRS[i].endswith(":%d" % leader):
            retried(c, c.set, "/leader%d" % i, b"after")
    ask("start %d" % leader)
    for i, c in enumerate(clients):
        until("client %d is connected" % i, lambda: c.connected)
        same(c.client_id, sessions[i])
        for j in range(3):
            same(retried(c, c.exists, "/leader%d" % j).ephemeralOwner, sessions[j][0])


@case
def writes_once():
    """What was acknowledged while servers die is there, once. What was not may be there, once."""
    c = client(timeout=20.0)
    c.create("/once")
    acked, unknown = [], []
    stop_, first = threading.Event(), threading.Event()

    def write(w):
        me = client(timeout=20.0)
        i = 0
        while not stop_.is_set():
            name = "%d-%d" % (w, i)
            i += 1
            try:
                me.create_async("/once/" + name).get(timeout=PATIENCE)
                acked.append(name)
                if len(acked) > 50:
                    first.set()
            except (ConnectionLoss, OperationTimeoutError):
                unknown.append(name)
                until("connected", lambda: me.connected)
        return i

    result = []
    t = threading.Thread(target=lambda: result.append(together(3, write)), daemon=True)
    t.start()
    wait(first, "writes go through")
    leader = int(ask("leader"))
    ask("kill %d" % leader)
    n = len(acked)
    until("writes go through again", lambda: len(acked) > n + 50)
    ask("start %d" % leader)
    n = len(acked)
    until("and with all three", lambda: len(acked) > n + 50)
    stop_.set()
    t.join(PATIENCE)
    assert result, "a writer failed"
    for a in ADDRS:
        one = client(hosts=a)
        one.sync("/once")
        there = one.get_children("/once")
        same(len(there), len(set(there)))
        missing = set(acked) - set(there)
        assert not missing, "acknowledged and gone: %s" % sorted(missing)
        extra = set(there) - set(acked) - set(unknown)
        assert not extra, "never asked for: %s" % sorted(extra)


@case
def ephemerals_everywhere():
    """An ephemeral ends with its session on every server, one that was down meanwhile included."""
    m = client(hosts=ADDRS[0])
    m.create("/everywhere", ephemeral=True)
    down = int(ADDRS[2].split(":")[1])
    other = client(hosts=ADDRS[1])
    ask("kill %d" % down)
    assert retried(other, other.exists, "/everywhere")
    until("connected", lambda: m.connected)
    stop(m)
    until("the ephemeral is gone", lambda: retried(other, other.exists, "/everywhere") is None)
    ask("start %d" % down)
    for a in ADDRS:
        c = client(hosts=a)
        c.sync("/")
        same(c.exists("/everywhere"), None)


@case
def session_ends():
    """A client whose server is gone for longer than its session learns so, and starts anew."""
    lonely = client(hosts=ADDRS[0], timeout=2.0)
    p = int(ADDRS[0].split(":")[1])
    lonely.create("/lonely", ephemeral=True)
    old = lonely.client_id
    states = []
    lonely.add_listener(states.append)
    elsewhere = client(hosts=other_than(p), timeout=20.0)
    assert elsewhere.exists("/lonely")
    ask("kill %d" % p)
    until("the session expires", lambda: retried(elsewhere, elsewhere.exists, "/lonely") is None)
    ask("start %d" % p)
    until("the client has lost its session", lambda: KazooState.LOST in states)
    until("and has a new one", lambda: states[-1] == KazooState.CONNECTED and lonely.client_id[0] != old[0])
    same(lonely.retry(lonely.exists, "/lonely"), None)
    lonely.create("/lonely", ephemeral=True)


main(after=lambda: ask("restore"))
