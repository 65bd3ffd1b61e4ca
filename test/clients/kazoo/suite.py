"""How the kazoo suites run their cases and talk to the Go test that started them (driver_test.go)."""

import logging
import os
import sys
import threading
import time
import traceback

from kazoo.client import KazooClient
from kazoo.retry import KazooRetry

HOSTS = sys.argv[1]

# Bounds every wait for something that must happen. It is meant for a busy machine.
PATIENCE = 60

logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
# Servers that are down on purpose would fill the log.
logging.getLogger("kazoo.client").addFilter(lambda r: "Connection dropped" not in r.getMessage())

_cases = []


def case(f):
    """Marks a function as a case. They run in the order in which they stand."""
    _cases.append(f)
    return f


def main(after=lambda: None):
    """Runs all cases, each followed by after()."""
    failed = 0
    for f in _cases:
        try:
            f()
        except BaseException as e:  # an AssertionError like any other: the next case runs all the same
            failed += 1
            where = traceback.extract_tb(e.__traceback__)
            ours = [w for w in where if "/kazoo/lib" not in w.filename]
            line = ours[-1].lineno if ours else 0
            traceback.print_exc()
            say("fail %s: line %d: %s: %s" % (f.__name__, line, type(e).__name__, str(e).replace("\n", " ")))
        else:
            say("ok " + f.__name__)
        finally:
            for c in _clients:
                stop(c)
            _clients.clear()
            after()
    # Threads that a failed case left waiting must not keep the process.
    sys.stdout.flush()
    os._exit(1 if failed else 0)


_lock = threading.Lock()


def say(line):
    with _lock:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def ask(line):
    """Asks the Go test to do something to the servers, and returns its answer."""
    say("@" + line)
    return sys.stdin.readline().strip()


_clients = []


def client(hosts=None, timeout=10.0, **kw):
    """A started client, stopped at the end of the case."""
    c = KazooClient(
        hosts=hosts or HOSTS,
        timeout=timeout,
        connection_retry=KazooRetry(max_tries=-1, delay=0.05, max_delay=0.5),
        command_retry=KazooRetry(max_tries=-1, delay=0.05, max_delay=0.5),
        **kw
    )
    c.start(timeout=PATIENCE)
    _clients.append(c)
    return c


def stop(c):
    try:
        c.stop()
        c.close()
    except Exception:
        traceback.print_exc()


def until(what, condition):
    """Waits until condition() is true and returns its value."""
    end = time.monotonic() + PATIENCE
    while True:
        v = condition()
        if v:
            return v
        if time.monotonic() > end:
            raise AssertionError("not within %d s: %s" % (PATIENCE, what))
        time.sleep(0.02)


def wait(event, what):
    assert event.wait(PATIENCE), "not within %d s: %s" % (PATIENCE, what)


def raises(kind, f, *args, **kw):
    try:
        v = f(*args, **kw)
    except kind as e:
        return e
    raise AssertionError("%s(%r) gave %r instead of %s" % (f.__name__, args, v, kind))


def same(got, want):
    assert got == want, "got %r, want %r" % (got, want)


def together(n, f):
    """Runs f(0) … f(n-1) in threads of their own and returns what they returned."""
    out, errs = [None] * n, []

    def run(i):
        try:
            out[i] = f(i)
        except BaseException as e:
            traceback.print_exc()
            errs.append(e)

    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(PATIENCE)
        assert not t.is_alive(), "a thread hangs"
    if errs:
        raise errs[0]
    return out


def port(c):
    """The port of the server that c is connected to."""
    return c._connection._socket.getpeername()[1]
