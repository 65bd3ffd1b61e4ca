"""kazoo on a server that is alone, in read-only mode, and its way back to one that takes writes."""

from kazoo.exceptions import NotReadOnlyCallError
from kazoo.protocol.states import KazooState, KeeperState

from suite import HOSTS, ask, case, client, main, port, raises, same, until

ADDRS = HOSTS.split(",")


def leave(p):
    """Kills all servers but the one with that port."""
    for a in ADDRS:
        if not a.endswith(":%d" % p):
            ask("kill " + a.rpartition(":")[2])


@case
def reads_and_comes_back():
    w = client(timeout=20.0)
    w.create("/ro", b"1")
    here = port(w)
    leave(here)
    c = client(read_only=True, timeout=20.0)
    same(c.client_state, KeeperState.CONNECTED_RO)
    same(port(c), here)
    same(c.get("/ro")[0], b"1")
    same(c.get_children("/zookeeper"), ["config", "quota"])
    raises(NotReadOnlyCallError, c.set, "/ro", b"2")
    raises(NotReadOnlyCallError, c.create, "/ro2")
    raises(NotReadOnlyCallError, c.sync, "/ro")
    alone = c.client_id[0]
    states = []
    c.add_listener(states.append)
    ask("restore")
    # It asks the others whether one of them takes writes, and leaves for it by itself.
    until("it is on a server that takes writes", lambda: c.client_state == KeeperState.CONNECTED)
    assert KazooState.SUSPENDED in states or KazooState.LOST in states, states
    c.retry(c.set, "/ro", b"2")
    assert c.client_id[0] != alone
    # The writer's session has waited all the while.
    w.retry(w.sync, "/ro")
    same(w.retry(w.get, "/ro")[0], b"2")


@case
def watches_there():
    w = client(timeout=20.0)
    w.create("/rw", b"1")
    here = port(w)
    leave(here)
    c = client(read_only=True, timeout=20.0)
    same(c.client_state, KeeperState.CONNECTED_RO)
    seen = []
    c.DataWatch("/rw")(lambda d, s: seen.append(d))
    same(seen, [b"1"])
    ask("restore")
    w.retry(w.set, "/rw", b"2")
    until("the watch goes on on the next server", lambda: seen[-1] == b"2")


main(after=lambda: ask("restore"))
