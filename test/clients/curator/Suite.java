import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.api.transaction.CuratorTransactionResult;
import org.apache.curator.framework.recipes.atomic.AtomicValue;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.atomic.PromotedToLock;
import org.apache.curator.framework.recipes.barriers.DistributedBarrier;
import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;
import org.apache.curator.framework.recipes.cache.ChildData;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.CuratorCacheListener;
import org.apache.curator.framework.recipes.cache.NodeCache;
import org.apache.curator.framework.recipes.cache.PathChildrenCache;
import org.apache.curator.framework.recipes.cache.TreeCache;
import org.apache.curator.framework.recipes.cache.TreeCacheEvent;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.LeaderSelector;
import org.apache.curator.framework.recipes.leader.LeaderSelectorListenerAdapter;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;
import org.apache.curator.framework.recipes.nodes.GroupMember;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.framework.recipes.queue.SimpleDistributedQueue;
import org.apache.curator.framework.recipes.shared.SharedCount;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.ExponentialBackoffRetry;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.Watcher.Event.EventType;
import org.apache.zookeeper.ZooDefs;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.Stat;

/** Curator's calls and recipes against the ensemble in args[0], and what its sessions live through. */
@SuppressWarnings("deprecation") // the old caches are what is in use
public final class Suite extends Driver {
    static void nodes() throws Exception {
        CuratorFramework c = client();
        checkSame(c.create().creatingParentsIfNeeded().forPath("/nodes/a/b", bytes("one")), "/nodes/a/b");
        Stat st = new Stat();
        checkSame(text(c.getData().storingStatIn(st).forPath("/nodes/a/b")), "one");
        checkSame(st.getVersion(), 0);
        checkSame(c.setData().withVersion(0).forPath("/nodes/a/b", bytes("two")).getVersion(), 1);
        try {
            c.setData().withVersion(0).forPath("/nodes/a/b", bytes("x"));
            check(false, "an old version was taken");
        } catch (KeeperException.BadVersionException e) {
            // as it must
        }
        c.create().orSetData().forPath("/nodes/a/b", bytes("three"));
        checkSame(text(c.getData().forPath("/nodes/a/b")), "three");
        checkSame(c.getChildren().forPath("/nodes"), List.of("a"));
        checkSame(c.checkExists().forPath("/nodes/none"), null);
        String p = c.create().withProtection().withMode(CreateMode.EPHEMERAL_SEQUENTIAL).forPath("/nodes/p-", bytes("x"));
        checkSame(c.checkExists().forPath(p).getEphemeralOwner(), session(c));
        c.create().creatingParentContainersIfNeeded().forPath("/container/x");
        c.create().compressed().forPath("/nodes/zip", bytes("z".repeat(1000)));
        checkSame(text(c.getData().decompressed().forPath("/nodes/zip")), "z".repeat(1000));
        BlockingQueue<Integer> rc = new LinkedBlockingQueue<>();
        c.create().inBackground((f, e) -> rc.add(e.getResultCode())).forPath("/nodes/bg");
        checkSame(checkNext(rc, "an answer"), 0);
        c.sync().forPath("/nodes");
        c.delete().guaranteed().deletingChildrenIfNeeded().forPath("/nodes");
        checkSame(c.checkExists().forPath("/nodes"), null);
    }

    static void acl() throws Exception {
        CuratorFramework open = client();
        CuratorFramework owner = CuratorFrameworkFactory.builder().connectString(hosts).sessionTimeoutMs(20000)
            .retryPolicy(new ExponentialBackoffRetry(50, 29, 1000)).authorization("digest", bytes("user:password")).build();
        owner.start();
        clients.add(owner);
        owner.create().withACL(ZooDefs.Ids.CREATOR_ALL_ACL).forPath("/acl", bytes("mine"));
        fresh(open);
        try {
            open.getData().forPath("/acl");
            check(false, "read without a right to");
        } catch (KeeperException.NoAuthException e) {
            // as it must
        }
        checkSame(text(owner.getData().forPath("/acl")), "mine");
        checkSame(owner.getACL().forPath("/acl").get(0).getId().getId(), "user:tpUq/4Pn5A64fVZyQ0gOJ8ZWqkY=");
        owner.setACL().withACL(ZooDefs.Ids.READ_ACL_UNSAFE).forPath("/acl");
        fresh(open);
        checkSame(text(open.getData().forPath("/acl")), "mine");
    }

    static void transaction() throws Exception {
        CuratorFramework c = client();
        c.create().forPath("/tx", bytes("0"));
        List<CuratorTransactionResult> r = c.transaction().forOperations(
            c.transactionOp().create().forPath("/tx/a", bytes("a")),
            c.transactionOp().create().withMode(CreateMode.EPHEMERAL_SEQUENTIAL).forPath("/tx/s-"),
            c.transactionOp().setData().withVersion(0).forPath("/tx", bytes("1")),
            c.transactionOp().check().withVersion(1).forPath("/tx"),
            c.transactionOp().delete().forPath("/tx/a"));
        checkSame(r.size(), 5);
        checkSame(r.get(1).getResultPath(), "/tx/s-0000000001");
        checkSame(r.get(2).getResultStat().getVersion(), 1);
        try {
            c.transaction().forOperations(
                c.transactionOp().create().forPath("/tx/b"),
                c.transactionOp().check().withVersion(9).forPath("/tx"));
            check(false, "a failed check was taken");
        } catch (KeeperException.BadVersionException e) {
            checkSame(e.getResults().size(), 2);
        }
        checkSame(c.checkExists().forPath("/tx/b"), null);
    }

    static void watches() throws Exception {
        CuratorFramework c = client();
        CuratorFramework other = client();
        BlockingQueue<WatchedEvent> seen = new LinkedBlockingQueue<>();
        Watcher w = e -> {
            if (e.getType() != EventType.None) {
                seen.add(e);
            }
        };
        c.checkExists().usingWatcher(w).forPath("/w");
        other.create().forPath("/w", bytes("0"));
        checkSame(checkNext(seen, "created").getType(), EventType.NodeCreated);
        c.getChildren().usingWatcher(w).forPath("/w");
        other.create().forPath("/w/k");
        checkSame(checkNext(seen, "children").getType(), EventType.NodeChildrenChanged);

        // A persistent watch goes on, a recursive one sees all below.
        Watcher deep = e -> {
            if (e.getType() != EventType.None) {
                seen.add(e);
            }
        };
        c.watchers().add().withMode(AddWatchMode.PERSISTENT_RECURSIVE).usingWatcher(deep).forPath("/w");
        for (int i = 0; i < 5; i++) {
            other.setData().forPath("/w/k", bytes("" + i));
            WatchedEvent e = checkNext(seen, "change " + i);
            checkSame(e.getType() + " " + e.getPath(), "NodeDataChanged /w/k");
        }
        other.create().forPath("/w/k/deep");
        WatchedEvent e = checkNext(seen, "created below");
        checkSame(e.getType() + " " + e.getPath(), "NodeCreated /w/k/deep");
        c.watchers().remove(deep).forPath("/w");
        e = checkNext(seen, "the end of the persistent watch");
        checkSame(e.getType() + " " + e.getPath(), "PersistentWatchRemoved /w");
        other.setData().forPath("/w/k", bytes("unseen"));
        c.checkExists().usingWatcher(w).forPath("/w/end");
        other.create().forPath("/w/end");
        e = checkNext(seen, "the last one");
        checkSame(e.getType() + " " + e.getPath(), "NodeCreated /w/end");
    }

    static LeaderLatch leads(List<LeaderLatch> all) {
        LeaderLatch found = null;
        for (LeaderLatch l : all) {
            if (l.hasLeadership()) {
                check(found == null, "two lead");
                found = l;
            }
        }
        return found;
    }

    static void leaderLatch() throws Exception {
        List<LeaderLatch> all = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            LeaderLatch l = new LeaderLatch(client(), "/latch", "" + i);
            l.start();
            all.add(l);
        }
        while (!all.isEmpty()) {
            checkUntil("somebody leads", () -> leads(all) != null);
            LeaderLatch l = leads(all);
            checkUntil("all take part", () -> l.getParticipants().size() == all.size());
            checkSame(l.getLeader().getId(), l.getId());
            all.remove(l);
            l.close();
        }
    }

    static void leaderSelector() throws Exception {
        BlockingQueue<String> led = new LinkedBlockingQueue<>();
        AtomicInteger inside = new AtomicInteger();
        List<LeaderSelector> all = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            String id = "" + i;
            LeaderSelector s = new LeaderSelector(client(), "/selector", new LeaderSelectorListenerAdapter() {
                @Override
                public void takeLeadership(CuratorFramework c) throws Exception {
                    if (inside.incrementAndGet() != 1) {
                        led.add("two at once");
                    }
                    led.add(id);
                    Thread.sleep(10);
                    inside.decrementAndGet();
                }
            });
            s.setId(id);
            s.start();
            all.add(s);
        }
        List<String> got = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            got.add(checkNext(led, "a leader"));
        }
        Collections.sort(got);
        checkSame(got, List.of("0", "1", "2"));
        for (LeaderSelector s : all) {
            s.close();
        }
    }

    static void mutex() throws Exception {
        CuratorFramework first = client();
        first.create().forPath("/mutexcount", bytes("0"));
        List<CuratorFramework> cs = List.of(first, client(), client(), client());
        together(4, i -> () -> {
            InterProcessMutex m = new InterProcessMutex(cs.get(i), "/mutex");
            for (int n = 0; n < 10; n++) {
                check(m.acquire(PATIENCE_S, TimeUnit.SECONDS), "not acquired");
                m.acquire(); // reentrant
                int v = Integer.parseInt(text(cs.get(i).getData().forPath("/mutexcount")));
                cs.get(i).setData().forPath("/mutexcount", bytes("" + (v + 1)));
                m.release();
                m.release();
            }
            return null;
        });
        fresh(first);
        checkSame(text(first.getData().forPath("/mutexcount")), "40");
        InterProcessMutex a = new InterProcessMutex(cs.get(0), "/mutex");
        InterProcessMutex b = new InterProcessMutex(cs.get(1), "/mutex");
        a.acquire();
        check(!b.acquire(200, TimeUnit.MILLISECONDS), "two have it");
        fresh(cs.get(0));
        checkSame(a.getParticipantNodes().size(), 1);
        a.release();
        check(b.acquire(PATIENCE_S, TimeUnit.SECONDS), "not acquired");
        b.release();
    }

    static void readWriteLock() throws Exception {
        InterProcessReadWriteLock a = new InterProcessReadWriteLock(client(), "/rw");
        InterProcessReadWriteLock b = new InterProcessReadWriteLock(client(), "/rw");
        a.readLock().acquire();
        check(b.readLock().acquire(PATIENCE_S, TimeUnit.SECONDS), "two can't read");
        b.readLock().release();
        check(!b.writeLock().acquire(200, TimeUnit.MILLISECONDS), "written while another reads");
        a.readLock().release();
        check(b.writeLock().acquire(PATIENCE_S, TimeUnit.SECONDS), "can't write");
        check(!a.readLock().acquire(200, TimeUnit.MILLISECONDS), "read while another writes");
        b.writeLock().release();
    }

    static void semaphore() throws Exception {
        List<CuratorFramework> cs = List.of(client(), client(), client(), client());
        AtomicInteger inside = new AtomicInteger();
        AtomicInteger most = new AtomicInteger();
        together(4, i -> () -> {
            InterProcessSemaphoreV2 s = new InterProcessSemaphoreV2(cs.get(i), "/semaphore", 2);
            for (int n = 0; n < 3; n++) {
                Lease l = s.acquire();
                most.accumulateAndGet(inside.incrementAndGet(), Math::max);
                Thread.sleep(10);
                inside.decrementAndGet();
                s.returnLease(l);
            }
            return null;
        });
        check(most.get() <= 2, most + " at once");
    }

    static void treeCache() throws Exception {
        CuratorFramework c = client();
        CuratorFramework other = client();
        c.create().creatingParentsIfNeeded().forPath("/tree/a/b", bytes("0"));
        BlockingQueue<TreeCacheEvent> seen = new LinkedBlockingQueue<>();
        TreeCache cache = new TreeCache(c, "/tree");
        cache.getListenable().addListener((f, e) -> seen.add(e));
        cache.start();
        while (checkNext(seen, "the cache is filled").getType() != TreeCacheEvent.Type.INITIALIZED) {
            // the nodes that were there
        }
        checkSame(text(cache.getCurrentData("/tree/a/b").getData()), "0");
        other.create().forPath("/tree/a/c", bytes("1"));
        TreeCacheEvent e = checkNext(seen, "added");
        checkSame(e.getType() + " " + e.getData().getPath(), "NODE_ADDED /tree/a/c");
        other.setData().forPath("/tree/a/c", bytes("2"));
        e = checkNext(seen, "updated");
        checkSame(e.getType() + " " + text(e.getData().getData()), "NODE_UPDATED 2");
        other.delete().forPath("/tree/a/c");
        e = checkNext(seen, "removed");
        checkSame(e.getType() + " " + e.getData().getPath(), "NODE_REMOVED /tree/a/c");
        cache.close();
    }

    static void curatorCache() throws Exception {
        CuratorFramework c = client();
        CuratorFramework other = client();
        c.create().creatingParentsIfNeeded().forPath("/cache/a", bytes("0"));
        CountDownLatch ready = new CountDownLatch(1);
        BlockingQueue<String> seen = new LinkedBlockingQueue<>();
        CuratorCache cache = CuratorCache.build(c, "/cache");
        cache.listenable().addListener(CuratorCacheListener.builder()
            .forCreates(d -> seen.add("created " + d.getPath()))
            .forChanges((o, n) -> seen.add("changed " + text(o.getData()) + " " + text(n.getData())))
            .forDeletes(d -> seen.add("deleted " + d.getPath()))
            .afterInitialized().build());
        // A listener of its own: afterInitialized drops what reports the filling of the cache.
        cache.listenable().addListener(CuratorCacheListener.builder().forInitialized(ready::countDown).build());
        cache.start();
        check(ready.await(PATIENCE_S, TimeUnit.SECONDS), "the cache is not filled");
        checkSame(text(cache.get("/cache/a").get().getData()), "0");
        for (int i = 1; i <= 5; i++) {
            other.setData().forPath("/cache/a", bytes("" + i));
            checkSame(checkNext(seen, "changed"), "changed " + (i - 1) + " " + i);
        }
        other.create().forPath("/cache/a/b");
        checkSame(checkNext(seen, "created"), "created /cache/a/b");
        other.delete().forPath("/cache/a/b");
        checkSame(checkNext(seen, "deleted"), "deleted /cache/a/b");
        cache.close();
    }

    static void nodeCache() throws Exception {
        CuratorFramework c = client();
        CuratorFramework other = client();
        NodeCache cache = new NodeCache(c, "/node/cached");
        cache.start(true);
        checkSame(cache.getCurrentData(), null);
        other.create().creatingParentsIfNeeded().forPath("/node/cached", bytes("0"));
        checkUntil("the node is seen", () -> cache.getCurrentData() != null);
        other.setData().forPath("/node/cached", bytes("1"));
        checkUntil("the change is seen", () -> text(cache.getCurrentData().getData()).equals("1"));
        other.delete().forPath("/node/cached");
        checkUntil("the end is seen", () -> cache.getCurrentData() == null);
        cache.close();

        other.create().creatingParentsIfNeeded().forPath("/kids/a");
        fresh(c);
        PathChildrenCache kids = new PathChildrenCache(c, "/kids", true);
        kids.start(PathChildrenCache.StartMode.BUILD_INITIAL_CACHE);
        checkSame(kids.getCurrentData().size(), 1);
        other.create().forPath("/kids/b", bytes("b"));
        checkUntil("the child is seen", () -> kids.getCurrentData().size() == 2);
        kids.close();
    }

    static void atomicLong() throws Exception {
        List<CuratorFramework> cs = List.of(client(), client(), client(), client());
        together(4, i -> () -> {
            DistributedAtomicLong n = new DistributedAtomicLong(cs.get(i), "/atomic", new ExponentialBackoffRetry(5, 29, 200),
                PromotedToLock.builder().lockPath("/atomiclock").timeout(PATIENCE_S, TimeUnit.SECONDS).build());
            for (int k = 0; k < 10; k++) {
                check(n.increment().succeeded(), "increment failed");
            }
            return null;
        });
        DistributedAtomicLong n = new DistributedAtomicLong(cs.get(0), "/atomic", new ExponentialBackoffRetry(5, 29, 200));
        fresh(cs.get(0));
        checkSame(n.get().postValue(), 40L);
        AtomicValue<Long> v = n.compareAndSet(40L, 7L);
        check(v.succeeded(), "not set");
        check(!n.compareAndSet(40L, 8L).succeeded(), "set over another value");
        SharedCount count = new SharedCount(cs.get(0), "/shared", 3);
        count.start();
        SharedCount same = new SharedCount(cs.get(1), "/shared", 0);
        same.start();
        check(count.trySetCount(count.getVersionedValue(), 4), "not set");
        checkUntil("the other sees it", () -> same.getCount() == 4);
        count.close();
        same.close();
    }

    static void barriers() throws Exception {
        List<CuratorFramework> cs = List.of(client(), client(), client());
        DistributedBarrier b = new DistributedBarrier(cs.get(0), "/barrier");
        b.setBarrier();
        fresh(cs.get(1));
        check(!new DistributedBarrier(cs.get(1), "/barrier").waitOnBarrier(200, TimeUnit.MILLISECONDS), "no barrier");
        ExecutorService one = Executors.newSingleThreadExecutor();
        Future<Boolean> passed = one.submit(() -> new DistributedBarrier(cs.get(1), "/barrier").waitOnBarrier(PATIENCE_S, TimeUnit.SECONDS));
        b.removeBarrier();
        check(passed.get(PATIENCE_S, TimeUnit.SECONDS), "not let through");
        one.shutdownNow();
        AtomicInteger entered = new AtomicInteger();
        together(3, i -> () -> {
            DistributedDoubleBarrier d = new DistributedDoubleBarrier(cs.get(i), "/dbarrier", 3);
            check(d.enter(PATIENCE_S, TimeUnit.SECONDS), "can't enter");
            entered.incrementAndGet();
            checkUntil("all are in", () -> entered.get() == 3);
            check(d.leave(PATIENCE_S, TimeUnit.SECONDS), "can't leave");
            return null;
        });
    }

    static void queue() throws Exception {
        CuratorFramework other = client();
        SimpleDistributedQueue a = new SimpleDistributedQueue(client(), "/queue");
        SimpleDistributedQueue b = new SimpleDistributedQueue(other, "/queue");
        for (String s : List.of("one", "two", "three")) {
            check(a.offer(bytes(s)), "not taken");
        }
        fresh(other);
        checkSame(text(b.peek()), "one");
        checkSame(text(b.take()), "one");
        checkSame(text(a.poll(PATIENCE_S, TimeUnit.SECONDS)), "two");
        checkSame(text(b.poll()), "three");
        checkSame(b.poll(100, TimeUnit.MILLISECONDS), null);
    }

    static void groupMember() throws Exception {
        GroupMember a = new GroupMember(client(), "/group", "a", bytes("A"));
        GroupMember b = new GroupMember(client(), "/group", "b", bytes("B"));
        a.start();
        b.start();
        checkUntil("both are there", () -> a.getCurrentMembers().size() == 2 && b.getCurrentMembers().size() == 2);
        checkSame(text(a.getCurrentMembers().get("b")), "B");
        b.close();
        checkUntil("one is left", () -> a.getCurrentMembers().keySet().equals(java.util.Set.of("a")));
        a.close();
    }

    /** What one client holds, through the death of its server. */
    static void serverDies() throws Exception {
        CuratorFramework c = client();
        BlockingQueue<ConnectionState> states = new LinkedBlockingQueue<>();
        c.getConnectionStateListenable().addListener((f, s) -> states.add(s));
        long session = session(c);

        PersistentNode node = new PersistentNode(c, CreateMode.EPHEMERAL, false, "/d/persistent", bytes("here"));
        node.start();
        check(node.waitForInitialCreate(PATIENCE_S, TimeUnit.SECONDS), "no persistent node");
        long czxid = c.checkExists().forPath("/d/persistent").getCzxid();
        LeaderLatch latch = new LeaderLatch(c, "/d/latch");
        latch.start();
        check(latch.await(PATIENCE_S, TimeUnit.SECONDS), "no leadership");
        InterProcessMutex mutex = new InterProcessMutex(c, "/d/mutex");
        mutex.acquire();
        String lockNode = mutex.getParticipantNodes().iterator().next();
        TreeCache tree = new TreeCache(c, "/d/tree");
        tree.start();
        // Not the same tree: Apache's servers before 3.9 mix up two kinds of watch on one path.
        CuratorCache cache = CuratorCache.build(c, "/d/cache");
        cache.start();
        for (String dir : List.of("/d/tree", "/d/cache")) {
            c.create().creatingParentsIfNeeded().forPath(dir + "/meanwhile", bytes("0"));
            c.create().forPath(dir + "/gone");
        }
        DistributedAtomicLong n = new DistributedAtomicLong(c, "/d/long", new ExponentialBackoffRetry(50, 29, 1000));
        check(n.increment().succeeded(), "not incremented");
        BlockingQueue<WatchedEvent> seen = new LinkedBlockingQueue<>();
        Watcher w = e -> {
            if (e.getType() != EventType.None) {
                seen.add(e);
            }
        };
        c.create().forPath("/d/w");
        c.getData().usingWatcher(w).forPath("/d/w");
        c.create().forPath("/d/pw");
        c.watchers().add().withMode(AddWatchMode.PERSISTENT).usingWatcher(w).forPath("/d/pw");
        checkUntil("the caches are filled", () -> tree.getCurrentData("/d/tree/gone") != null && cache.get("/d/cache/gone").isPresent());

        int port = port(c);
        CuratorFramework other = client(hostsWithout(port));
        InterProcessMutex rival = new InterProcessMutex(other, "/d/mutex");
        states.clear();
        ask("kill " + port);
        for (String dir : List.of("/d/tree", "/d/cache")) {
            other.setData().forPath(dir + "/meanwhile", bytes("1"));
            other.delete().forPath(dir + "/gone");
            other.create().forPath(dir + "/new", bytes("2"));
        }
        checkSame(checkNext(states, "suspended"), ConnectionState.SUSPENDED);
        checkSame(checkNext(states, "reconnected"), ConnectionState.RECONNECTED);
        checkSame(session(c), session);
        check(port(c) != port, "connected to a dead server");

        Stat st = c.checkExists().forPath("/d/persistent");
        checkSame(st.getCzxid(), czxid);
        checkSame(st.getEphemeralOwner(), session);
        checkSame(mutex.getParticipantNodes().iterator().next(), lockNode);
        check(!rival.acquire(200, TimeUnit.MILLISECONDS), "the lock is held by two");
        mutex.release();
        check(rival.acquire(PATIENCE_S, TimeUnit.SECONDS), "the lock was not given on");
        rival.release();
        checkUntil("it leads again", latch::hasLeadership);
        for (String p : List.of("meanwhile", "new")) {
            String want = p.equals("new") ? "2" : "1";
            checkUntil("the tree cache has " + p, () -> {
                ChildData d = tree.getCurrentData("/d/tree/" + p);
                return d != null && want.equals(text(d.getData()));
            });
            checkUntil("the cache has " + p, () -> {
                ChildData d = cache.get("/d/cache/" + p).orElse(null);
                return d != null && want.equals(text(d.getData()));
            });
        }
        checkUntil("the caches forget what is gone", () -> tree.getCurrentData("/d/tree/gone") == null && cache.get("/d/cache/gone").isEmpty());
        AtomicValue<Long> v = n.increment();
        check(v.succeeded(), "not incremented");
        checkSame(v.postValue(), 2L);

        // The watches were set again by the client, the persistent one too.
        other.setData().forPath("/d/w", bytes("x"));
        WatchedEvent e = checkNext(seen, "the data watch");
        checkSame(e.getType() + " " + e.getPath(), "NodeDataChanged /d/w");
        for (int i = 0; i < 2; i++) {
            other.setData().forPath("/d/pw", bytes("" + i));
            e = checkNext(seen, "the persistent watch");
            checkSame(e.getType() + " " + e.getPath(), "NodeDataChanged /d/pw");
        }
        check(states.isEmpty(), "then " + states);
        tree.close();
        cache.close();
        latch.close();
        node.close();
    }

    /** The leader of three dies while four clients take turns at a lock and a latch. */
    static void leaderDies() throws Exception {
        List<CuratorFramework> cs = List.of(client(), client(), client(), client());
        cs.get(0).create().forPath("/turns", bytes("0"));
        List<LeaderLatch> latches = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            LeaderLatch l = new LeaderLatch(cs.get(i), "/ld/latch", "" + i);
            l.start();
            latches.add(l);
        }
        AtomicInteger turns = new AtomicInteger();
        AtomicInteger inside = new AtomicInteger();
        AtomicInteger stop = new AtomicInteger();
        ExecutorService pool = Executors.newFixedThreadPool(4);
        List<Future<Void>> all = new ArrayList<>();
        for (CuratorFramework c : cs) {
            all.add(pool.submit(() -> {
                InterProcessMutex m = new InterProcessMutex(c, "/ld/mutex");
                while (stop.get() == 0) {
                    m.acquire();
                    // Sessions outlive the election, so the lock holds throughout.
                    check(inside.incrementAndGet() == 1, "two have the lock");
                    turns.incrementAndGet();
                    check(inside.decrementAndGet() == 0, "two have the lock");
                    m.release();
                }
                return null;
            }));
        }
        checkUntil("turns", () -> turns.get() > 20);
        int leader = Integer.parseInt(ask("leader"));
        ask("kill " + leader);
        int before = turns.get();
        checkUntil("turns again", () -> turns.get() > before + 20);
        ask("start " + leader);
        stop.set(1);
        for (Future<Void> f : all) {
            f.get(PATIENCE_S, TimeUnit.SECONDS);
        }
        pool.shutdownNow();
        checkUntil("one leads", () -> leads(latches) != null);
        for (LeaderLatch l : latches) {
            l.close();
        }
    }

    /** A session that is ended from outside: the client is told, starts anew, and its recipes with it. */
    static void sessionLost() throws Exception {
        CuratorFramework c = client();
        BlockingQueue<ConnectionState> states = new LinkedBlockingQueue<>();
        c.getConnectionStateListenable().addListener((f, s) -> states.add(s));
        PersistentNode node = new PersistentNode(c, CreateMode.EPHEMERAL, false, "/lost", bytes("here"));
        node.start();
        check(node.waitForInitialCreate(PATIENCE_S, TimeUnit.SECONDS), "no persistent node");
        LeaderLatch latch = new LeaderLatch(c, "/lostlatch");
        latch.start();
        check(latch.await(PATIENCE_S, TimeUnit.SECONDS), "no leadership");
        ZooKeeper zk = c.getZookeeperClient().getZooKeeper();
        long old = zk.getSessionId();
        CountDownLatch taken = new CountDownLatch(1);
        ZooKeeper thief = new ZooKeeper(hosts, 20000, e -> {
            if (e.getState() == Watcher.Event.KeeperState.SyncConnected) {
                taken.countDown();
            }
        }, old, zk.getSessionPasswd());
        check(taken.await(PATIENCE_S, TimeUnit.SECONDS), "the session can't be taken over");
        thief.close();
        while (checkNext(states, "the session is lost") != ConnectionState.LOST) {
            // suspended, perhaps reconnected while the session was shared
        }
        while (checkNext(states, "connected again") != ConnectionState.RECONNECTED) {
            // suspended again
        }
        check(session(c) != old, "the old session");
        checkUntil("the node is there again", () -> {
            Stat st = c.checkExists().forPath("/lost");
            return st != null && st.getEphemeralOwner() == session(c);
        });
        checkUntil("it leads again", latch::hasLeadership);
        latch.close();
        node.close();
    }

    public static void main(String[] args) throws Exception {
        hosts = args[0];
        run("nodes", Suite::nodes);
        run("acl", Suite::acl);
        run("transaction", Suite::transaction);
        run("watches", Suite::watches);
        run("leader_latch", Suite::leaderLatch);
        run("leader_selector", Suite::leaderSelector);
        run("mutex", Suite::mutex);
        run("read_write_lock", Suite::readWriteLock);
        run("semaphore", Suite::semaphore);
        run("tree_cache", Suite::treeCache);
        run("curator_cache", Suite::curatorCache);
        run("node_cache", Suite::nodeCache);
        run("atomic_long", Suite::atomicLong);
        run("barriers", Suite::barriers);
        run("queue", Suite::queue);
        run("group_member", Suite::groupMember);
        run("server_dies", Suite::serverDies);
        run("leader_dies", Suite::leaderDies);
        run("session_lost", Suite::sessionLost);
        System.exit(failed == 0 ? 0 : 1);
    }
}
