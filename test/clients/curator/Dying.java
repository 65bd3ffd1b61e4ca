import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicIntegerArray;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.atomic.PromotedToLock;
import org.apache.curator.framework.recipes.barriers.DistributedBarrier;
import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;
import org.apache.curator.framework.recipes.cache.ChildData;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.NodeCache;
import org.apache.curator.framework.recipes.cache.PathChildrenCache;
import org.apache.curator.framework.recipes.cache.TreeCache;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.LeaderLatchListener;
import org.apache.curator.framework.recipes.leader.LeaderSelector;
import org.apache.curator.framework.recipes.leader.LeaderSelectorListenerAdapter;
import org.apache.curator.framework.recipes.locks.InterProcessLock;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;
import org.apache.curator.framework.recipes.nodes.GroupMember;
import org.apache.curator.framework.recipes.queue.DistributedQueue;
import org.apache.curator.framework.recipes.queue.MultiItem;
import org.apache.curator.framework.recipes.queue.QueueBuilder;
import org.apache.curator.framework.recipes.queue.QueueConsumer;
import org.apache.curator.framework.recipes.queue.QueuePutListener;
import org.apache.curator.framework.recipes.queue.QueueSerializer;
import org.apache.curator.framework.recipes.queue.SimpleDistributedQueue;
import org.apache.curator.framework.recipes.shared.SharedCount;
import org.apache.curator.framework.recipes.shared.VersionedValue;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.ExponentialBackoffRetry;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.data.Stat;

/**
 * Each of Curator's recipes at work in an ensemble of three, while the server of two of its users dies and comes back.
 * Sessions outlive it, so what a recipe promises holds throughout. Curator itself sends again what it got no answer
 * for; what comes of that is told where it matters.
 */
@SuppressWarnings("deprecation") // the old caches are what is in use
public final class Dying extends Driver {
    interface Step {
        void run(int i) throws Exception;
    }

    /** Calls f for client i when it is that one's turn. */
    interface Turn {
        void run(int i, Case f) throws Exception;
    }

    /** Four clients on three servers. The first ones, two at least, are on the server that will die. */
    static final class Crew {
        static final int N = 4;

        final List<CuratorFramework> cs = new ArrayList<>();
        final int victim;
        final int hurt; // how many are on it
        final AtomicIntegerArray losses = new AtomicIntegerArray(N); // of the connection, which Curator tells
        final AtomicIntegerArray done = new AtomicIntegerArray(N); // turns
        final AtomicInteger ended = new AtomicInteger(); // sessions; none may
        final AtomicBoolean over = new AtomicBoolean();

        Crew() throws Exception {
            Map<Integer, List<CuratorFramework>> at = new HashMap<>();
            for (int i = 0; i < N; i++) {
                CuratorFramework c = client();
                at.computeIfAbsent(port(c), p -> new ArrayList<>()).add(c);
            }
            victim = at.keySet().stream().max((a, b) -> at.get(a).size() - at.get(b).size()).get();
            cs.addAll(at.remove(victim));
            hurt = cs.size();
            at.values().forEach(cs::addAll);
            for (int i = 0; i < N; i++) {
                int me = i;
                cs.get(i).getConnectionStateListenable().addListener((f, s) -> {
                    if (s == ConnectionState.SUSPENDED) {
                        losses.incrementAndGet(me);
                    } else if (s == ConnectionState.LOST) {
                        ended.incrementAndGet();
                    }
                });
            }
        }

        CuratorFramework get(int i) {
            return cs.get(i);
        }

        void fresh() throws Exception {
            for (CuratorFramework c : cs) {
                Driver.fresh(c);
            }
        }

        static int sum(AtomicIntegerArray a) {
            return IntStream.range(0, N).map(a::get).sum();
        }

        /** Kills the server, and returns once all that were on it are connected elsewhere. */
        void kill() throws Exception {
            ask("kill " + victim);
            checkUntil("they notice", () -> IntStream.range(0, hurt).allMatch(i -> losses.get(i) > 0));
            checkUntil("they are connected again", () -> cs.stream().allMatch(c -> c.getZookeeperClient().isConnected()));
        }

        void start() throws Exception {
            ask("start " + victim);
            checkSame(ended.get(), 0);
        }

        /** Sees the clients in who take turns before the server dies, while it is gone, and when it is back. */
        void live(List<? extends Future<?>> all, int... who) throws Exception {
            turns("before", all, 5, who);
            kill();
            turns("without the server", all, 5, who);
            start();
            turns("with all servers", all, 3, who);
        }

        private void turns(String when, List<? extends Future<?>> all, int more, int... who) throws Exception {
            int[] want = new int[N];
            for (int i : who) {
                want[i] = done.get(i) + more;
            }
            checkUntil("turns " + when, () -> {
                for (Future<?> f : all) {
                    if (f.isDone()) {
                        f.get(); // throws what ended it
                    }
                }
                return IntStream.of(who).allMatch(i -> done.get(i) >= want[i]);
            });
        }

        /** Has step repeated for each client, and the server die and come back meanwhile. */
        void work(Step step, int... who) throws Exception {
            ExecutorService pool = Executors.newFixedThreadPool(N);
            List<Future<Void>> all = new ArrayList<>();
            try {
                for (int i = 0; i < N; i++) {
                    int me = i;
                    all.add(pool.submit(() -> {
                        while (!over.get()) {
                            step.run(me);
                            done.incrementAndGet(me);
                        }
                        return null;
                    }));
                }
                live(all, who.length > 0 ? who : new int[] {0, 1, 2, 3});
                over.set(true);
                for (Future<Void> f : all) {
                    f.get(PATIENCE_S, TimeUnit.SECONDS);
                }
            } finally {
                over.set(true);
                pool.shutdownNow();
            }
        }
    }

    /** Somewhere that only so many may be at a time. */
    static final class Room {
        final int most;
        final AtomicInteger inside = new AtomicInteger();
        final AtomicInteger worst = new AtomicInteger();

        Room(int most) {
            this.most = most;
        }

        void enter() {
            int n = inside.incrementAndGet();
            worst.accumulateAndGet(n, Math::max);
            check(n <= most, n + " are in, and at most " + most + " may be");
        }

        void leave() {
            inside.decrementAndGet();
        }

        void checkNever() {
            check(worst.get() <= most, worst + " were in at once, and at most " + most + " may be");
        }
    }

    /** Counts up in two steps, which loses counts unless whoever does it is alone. */
    static void count(CuratorFramework c, String path) throws Exception {
        int n = Integer.parseInt(text(c.getData().forPath(path)));
        c.setData().forPath(path, bytes("" + (n + 1)));
    }

    static void alone(Crew crew, String path, Turn turn) throws Exception {
        crew.get(0).create().forPath(path, bytes("0"));
        crew.fresh();
        Room room = new Room(1);
        crew.work(i -> turn.run(i, () -> {
            room.enter();
            count(crew.get(i), path);
            room.leave();
        }));
        crew.fresh();
        checkSame(Integer.parseInt(text(crew.get(0).getData().forPath(path))), Crew.sum(crew.done));
    }

    /** Holds a lock during f. */
    static void locked(InterProcessLock lock, Case f) throws Exception {
        check(lock.acquire(PATIENCE_S, TimeUnit.SECONDS), "not acquired");
        try {
            f.run();
        } finally {
            lock.release();
        }
    }

    // --- the cases

    static void mutex() throws Exception {
        Crew crew = new Crew();
        List<InterProcessMutex> locks = crew.cs.stream().map(c -> new InterProcessMutex(c, "/mutex")).collect(Collectors.toList());
        alone(crew, "/mutexcount", (i, f) -> locked(locks.get(i), f));
        checkSame(crew.get(0).getChildren().forPath("/mutex").size(), 0);
    }

    static void readWriteLock() throws Exception {
        Crew crew = new Crew();
        crew.get(0).create().forPath("/rwcount", bytes("0"));
        crew.fresh();
        List<InterProcessReadWriteLock> locks = crew.cs.stream().map(c -> new InterProcessReadWriteLock(c, "/rw")).collect(Collectors.toList());
        Room writers = new Room(1);
        Room readers = new Room(2);
        crew.work(i -> {
            if (i % 2 == 0) {
                locked(locks.get(i).writeLock(), () -> {
                    writers.enter();
                    checkSame(readers.inside.get(), 0);
                    count(crew.get(i), "/rwcount");
                    writers.leave();
                });
            } else {
                locked(locks.get(i).readLock(), () -> {
                    readers.enter();
                    checkSame(writers.inside.get(), 0);
                    readers.leave();
                });
            }
        });
        crew.fresh();
        checkSame(Integer.parseInt(text(crew.get(0).getData().forPath("/rwcount"))), crew.done.get(0) + crew.done.get(2));
    }

    static void semaphore() throws Exception {
        Crew crew = new Crew();
        List<InterProcessSemaphoreV2> all = crew.cs.stream().map(c -> new InterProcessSemaphoreV2(c, "/semaphore", 2)).collect(Collectors.toList());
        Room room = new Room(2);
        crew.work(i -> {
            Lease lease = all.get(i).acquire(PATIENCE_S, TimeUnit.SECONDS);
            check(lease != null, "not acquired");
            room.enter();
            Thread.sleep(30); // so that a third would find two
            room.leave();
            all.get(i).returnLease(lease);
        });
        crew.fresh();
        checkSame(all.get(0).getParticipantNodes().size(), 0);
    }

    /**
     * Each latch is closed when it has led. One whose connection is lost leads no longer, and says so before another
     * can.
     */
    static void leaderLatch() throws Exception {
        Crew crew = new Crew();
        Room lead = new Room(1);
        crew.work(i -> {
            AtomicBoolean leads = new AtomicBoolean();
            LeaderLatchListener listener = new LeaderLatchListener() {
                @Override
                public void isLeader() {
                    leads.set(true);
                    lead.enter();
                }

                @Override
                public void notLeader() {
                    if (leads.getAndSet(false)) {
                        lead.leave();
                    }
                }
            };
            LeaderLatch latch = new LeaderLatch(crew.get(i), "/latch", "" + i);
            latch.addListener(listener);
            latch.start();
            check(latch.await(PATIENCE_S, TimeUnit.SECONDS), "it does not come to lead");
            Thread.sleep(5);
            latch.removeListener(listener);
            listener.notLeader();
            latch.close();
        });
        lead.checkNever();
    }

    static void leaderSelector() throws Exception {
        Crew crew = new Crew();
        Room lead = new Room(1);
        List<LeaderSelector> all = new ArrayList<>();
        for (int i = 0; i < Crew.N; i++) {
            int me = i;
            LeaderSelector s = new LeaderSelector(crew.get(i), "/selector", new LeaderSelectorListenerAdapter() {
                @Override
                public void takeLeadership(CuratorFramework c) throws Exception {
                    try {
                        lead.enter();
                        Thread.sleep(5); // or until it is told that the connection is lost
                    } finally {
                        lead.leave();
                        crew.done.incrementAndGet(me);
                    }
                }
            });
            s.autoRequeue();
            s.start();
            all.add(s);
        }
        crew.live(List.of(), 0, 1, 2, 3);
        for (LeaderSelector s : all) {
            s.close();
        }
        lead.checkNever();
    }

    /** The tree below path as the server of c has it: each path and its data. */
    static Map<String, String> there(CuratorFramework c, String path) throws Exception {
        Map<String, String> out = new TreeMap<>();
        out.put(path, text(c.getData().forPath(path)));
        for (String name : c.getChildren().forPath(path)) {
            out.putAll(there(c, path + "/" + name));
        }
        return out;
    }

    static Map<String, String> cached(TreeCache cache, String path) {
        Map<String, String> out = new TreeMap<>();
        ChildData data = cache.getCurrentData(path);
        Map<String, ChildData> kids = cache.getCurrentChildren(path);
        if (data != null) {
            out.put(path, text(data.getData()));
        }
        if (kids != null) {
            kids.keySet().forEach(name -> out.putAll(cached(cache, path + "/" + name)));
        }
        return out;
    }

    /** The last client changes the tree below path, n times: nodes come, change and go. */
    static void change(Crew crew, String path) throws Exception {
        CuratorFramework c = crew.get(3);
        int n = crew.done.get(3);
        String dir = path + "/" + (n % 2 == 0 ? "a" : "b");
        c.create().orSetData().creatingParentsIfNeeded().forPath(dir + "/" + n, bytes("" + n));
        c.setData().forPath(dir, bytes("" + n));
        if (n % 5 >= 3) {
            c.delete().quietly().forPath(dir + "/" + (n - 2));
        }
    }

    /** Clients on the server that dies have caches, which are like the tree in the end. */
    static void treeCache() throws Exception {
        Crew crew = new Crew();
        crew.get(0).create().creatingParentsIfNeeded().forPath("/tree/a");
        crew.fresh();
        List<TreeCache> caches = List.of(new TreeCache(crew.get(0), "/tree"), new TreeCache(crew.get(1), "/tree"));
        for (TreeCache cache : caches) {
            cache.start();
        }
        crew.work(i -> {
            if (i == 3) {
                change(crew, "/tree");
            }
            Thread.sleep(5);
        }, 3);
        Map<String, String> want = there(crew.get(3), "/tree");
        for (TreeCache cache : caches) {
            checkUntil("the cache is like the tree", () -> cached(cache, "/tree").equals(want));
            cache.close();
        }
    }

    static void curatorCache() throws Exception {
        Crew crew = new Crew();
        crew.get(0).create().creatingParentsIfNeeded().forPath("/cache/a");
        crew.fresh();
        List<CuratorCache> caches = List.of(CuratorCache.build(crew.get(0), "/cache"), CuratorCache.build(crew.get(1), "/cache"));
        caches.forEach(CuratorCache::start);
        crew.work(i -> {
            if (i == 3) {
                change(crew, "/cache");
            }
            Thread.sleep(5);
        }, 3);
        Map<String, String> want = there(crew.get(3), "/cache");
        for (CuratorCache cache : caches) {
            checkUntil("the cache is like the tree", () -> want.equals(
                cache.stream().collect(Collectors.toMap(ChildData::getPath, d -> text(d.getData())))));
            cache.close();
        }
    }

    /** One znode, and the children of one. */
    static void nodeCache() throws Exception {
        Crew crew = new Crew();
        crew.get(0).create().creatingParentsIfNeeded().forPath("/nc/a", bytes(""));
        crew.fresh();
        NodeCache node = new NodeCache(crew.get(0), "/nc/a");
        node.start(true);
        PathChildrenCache kids = new PathChildrenCache(crew.get(1), "/nc/a", true);
        kids.start(PathChildrenCache.StartMode.BUILD_INITIAL_CACHE);
        crew.work(i -> {
            if (i == 3) {
                change(crew, "/nc");
            }
            Thread.sleep(5);
        }, 3);
        Map<String, String> want = there(crew.get(3), "/nc/a");
        String data = want.remove("/nc/a");
        checkUntil("the node is known as it is", () -> data.equals(text(node.getCurrentData().getData())));
        checkUntil("the children are known as they are", () -> want.equals(
            kids.getCurrentData().stream().collect(Collectors.toMap(ChildData::getPath, d -> text(d.getData())))));
        node.close();
        kids.close();
    }

    static void checkCount(Crew crew, long n) {
        int all = Crew.sum(crew.done);
        // What Curator was not told of, it does again.
        check(all <= n && n <= all + Crew.sum(crew.losses), n + " for " + all + " turns and " + crew.losses + " lost connections");
    }

    static void atomicLong() throws Exception {
        Crew crew = new Crew();
        List<DistributedAtomicLong> all = crew.cs.stream().map(c -> new DistributedAtomicLong(c, "/atomic", new ExponentialBackoffRetry(5, 3, 50),
            PromotedToLock.builder().lockPath("/atomiclock").timeout(PATIENCE_S, TimeUnit.SECONDS).build())).collect(Collectors.toList());
        crew.work(i -> {
            while (!all.get(i).increment().succeeded()) {
                // others were faster
            }
        });
        crew.fresh();
        checkCount(crew, all.get(0).get().postValue());
    }

    static void sharedCount() throws Exception {
        Crew crew = new Crew();
        List<SharedCount> all = crew.cs.stream().map(c -> new SharedCount(c, "/shared", 0)).collect(Collectors.toList());
        for (SharedCount n : all) {
            n.start();
        }
        crew.work(i -> {
            VersionedValue<Integer> v;
            do {
                v = all.get(i).getVersionedValue();
            } while (!all.get(i).trySetCount(v, v.getValue() + 1));
        });
        crew.fresh();
        int n = ByteBuffer.wrap(crew.get(0).getData().forPath("/shared")).getInt();
        checkCount(crew, n);
        for (SharedCount c : all) {
            checkUntil("each knows the count", () -> c.getCount() == n);
            c.close();
        }
    }

    static void barrier() throws Exception {
        Crew crew = new Crew();
        DistributedBarrier b = new DistributedBarrier(crew.get(3), "/barrier");
        b.setBarrier();
        crew.fresh();
        AtomicBoolean removed = new AtomicBoolean();
        ExecutorService pool = Executors.newFixedThreadPool(3);
        List<Future<Void>> all = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            CuratorFramework c = crew.get(i);
            all.add(pool.submit(() -> {
                check(new DistributedBarrier(c, "/barrier").waitOnBarrier(PATIENCE_S, TimeUnit.SECONDS), "not let through");
                check(removed.get(), "let through too early");
                return null;
            }));
        }
        crew.kill();
        crew.fresh();
        check(all.stream().noneMatch(Future::isDone), "somebody does not wait");
        removed.set(true);
        b.removeBarrier();
        for (Future<Void> f : all) {
            f.get(PATIENCE_S, TimeUnit.SECONDS);
        }
        pool.shutdownNow();
        crew.start();
    }

    static void doubleBarrier() throws Exception {
        Crew crew = new Crew();
        CuratorFramework other = crew.get(3);
        other.create().forPath("/dbarrier");
        crew.fresh();
        AtomicBoolean last = new AtomicBoolean();
        AtomicInteger entered = new AtomicInteger();
        ExecutorService pool = Executors.newFixedThreadPool(3);
        List<Future<Void>> all = new ArrayList<>();
        Step join = i -> all.add(pool.submit(() -> {
            DistributedDoubleBarrier d = new DistributedDoubleBarrier(crew.get(i), "/dbarrier", 3);
            try {
                check(d.enter(PATIENCE_S, TimeUnit.SECONDS), "can't enter");
            } catch (KeeperException.ConnectionLossException e) {
                // It stops to wait when the connection is lost, and stays a member.
            }
            checkUntil("the barrier opens", () -> crew.get(i).checkExists().forPath("/dbarrier/ready") != null);
            check(last.get(), "it opened too early");
            entered.incrementAndGet();
            checkUntil("all are in", () -> entered.get() == 3);
            check(d.leave(PATIENCE_S, TimeUnit.SECONDS), "can't leave");
            return null;
        }));
        join.run(0);
        join.run(1);
        checkUntil("two wait", () -> other.getChildren().forPath("/dbarrier").size() == 2);
        crew.kill();
        crew.fresh();
        checkSame(other.getChildren().forPath("/dbarrier").size(), 2);
        last.set(true);
        join.run(2);
        for (Future<Void> f : all) {
            f.get(PATIENCE_S, TimeUnit.SECONDS);
        }
        pool.shutdownNow();
        crew.start();
        crew.fresh();
        checkSame(other.getChildren().forPath("/dbarrier"), List.of());
    }

    /** What is put into a queue, and what is taken out of it. */
    static final class Goods {
        final AtomicInteger next = new AtomicInteger();
        final Set<String> tried = ConcurrentHashMap.newKeySet();
        final Set<String> put = ConcurrentHashMap.newKeySet();
        final Map<String, Integer> took = new ConcurrentHashMap<>(); // how often

        String one() {
            String v = "" + next.getAndIncrement();
            tried.add(v);
            return v;
        }

        void take(String v) {
            took.merge(v, 1, Integer::sum);
        }

        Set<String> lacks() {
            Set<String> out = new HashSet<>(put);
            out.removeAll(took.keySet());
            return out;
        }

        void checkAll(int mayLack, int mayRepeat) {
            check(tried.containsAll(took.keySet()), "something came out that was never put");
            check(lacks().size() <= mayLack, "put, and never taken: " + lacks());
            int more = took.values().stream().mapToInt(n -> n - 1).sum();
            check(more <= mayRepeat, more + " came out more than once");
        }
    }

    static void queue() throws Exception {
        Crew crew = new Crew();
        List<SimpleDistributedQueue> all = crew.cs.stream().map(c -> new SimpleDistributedQueue(c, "/queue")).collect(Collectors.toList());
        crew.get(0).create().forPath("/queue");
        crew.fresh();
        Goods goods = new Goods();
        crew.work(i -> {
            if (i % 2 == 0) {
                String v = goods.one();
                check(all.get(i).offer(bytes(v)), "not taken");
                goods.put.add(v);
                Thread.sleep(10); // so that those who take keep up
            } else {
                byte[] v = all.get(i).poll(50, TimeUnit.MILLISECONDS);
                if (v != null) {
                    goods.take(text(v));
                }
            }
        });
        crew.fresh();
        for (byte[] v; (v = all.get(3).poll()) != null; ) {
            goods.take(text(v));
        }
        // Whose connection is lost over the answer puts it again, and never gets what was taken out for him.
        goods.checkAll(crew.losses.get(1) + crew.losses.get(3), crew.losses.get(0) + crew.losses.get(2));
    }

    static DistributedQueue<String> distributedQueue(CuratorFramework c, QueueConsumer<String> consumer) throws Exception {
        DistributedQueue<String> q = QueueBuilder.builder(c, consumer, new QueueSerializer<String>() {
            @Override
            public byte[] serialize(String s) {
                return bytes(s);
            }

            @Override
            public String deserialize(byte[] b) {
                return new String(b, StandardCharsets.UTF_8);
            }
        }, "/dqueue").lockPath("/dqueuelocks").buildQueue();
        q.start();
        return q;
    }

    /** With locks, which keep an entry until it has been worked on. */
    static void queueWithLocks() throws Exception {
        Crew crew = new Crew();
        Goods goods = new Goods();
        List<DistributedQueue<String>> all = new ArrayList<>();
        for (int i = 0; i < Crew.N; i++) {
            boolean puts = i % 2 == 0;
            DistributedQueue<String> q = distributedQueue(crew.get(i), puts ? null : new Consumer(goods));
            if (puts) {
                q.getPutListenerContainer().addListener(new QueuePutListener<String>() {
                    @Override
                    public void putCompleted(String v) {
                        goods.put.add(v);
                    }

                    @Override
                    public void putMultiCompleted(MultiItem<String> items) {
                        throw new AssertionError("nobody puts many");
                    }
                });
            }
            all.add(q);
        }
        crew.work(i -> {
            if (i % 2 == 0) {
                all.get(i).put(goods.one());
            }
            Thread.sleep(10);
        });
        for (int i = 0; i < Crew.N; i += 2) {
            check(all.get(i).flushPuts(PATIENCE_S, TimeUnit.SECONDS), "not all was put");
        }
        // What is locked by one who does not know it is free when his session ends.
        for (int i = 1; i < Crew.N; i += 2) {
            all.get(i).close();
            crew.get(i).close();
        }
        fresh(crew.get(2));
        DistributedQueue<String> rest = distributedQueue(crew.get(2), new Consumer(goods));
        checkUntil("all is taken that was put", () -> goods.lacks().isEmpty());
        rest.close();
        goods.checkAll(0, Crew.sum(crew.losses));
    }

    static final class Consumer implements QueueConsumer<String> {
        final Goods goods;

        Consumer(Goods goods) {
            this.goods = goods;
        }

        @Override
        public void consumeMessage(String v) {
            goods.take(v);
        }

        @Override
        public void stateChanged(CuratorFramework c, ConnectionState s) {
            // the queue goes on by itself
        }
    }

    static void groupMember() throws Exception {
        Crew crew = new Crew();
        List<GroupMember> all = new ArrayList<>();
        for (int i = 0; i < Crew.N; i++) {
            all.add(new GroupMember(crew.get(i), "/group", "" + i, bytes("" + i)));
        }
        for (int i = 0; i < 3; i++) {
            all.get(i).start();
        }
        checkUntil("three are there", () -> all.subList(0, 3).stream().allMatch(m -> m.getCurrentMembers().size() == 3));
        List<Long> before = members(crew, 3);
        crew.kill();
        all.get(3).start();
        checkUntil("four are there", () -> all.stream().allMatch(m -> m.getCurrentMembers().size() == 4));
        checkSame(members(crew, 3), before);
        crew.start();
        all.get(1).close();
        all.remove(1);
        checkUntil("three are left", () -> all.stream().allMatch(m -> m.getCurrentMembers().keySet().equals(Set.of("0", "2", "3"))));
        for (GroupMember m : all) {
            m.close();
        }
    }

    /** When each of the first n became a member: a znode that outlives its server is the same one. */
    static List<Long> members(Crew crew, int n) throws Exception {
        crew.fresh();
        List<Long> out = new ArrayList<>();
        for (int i = 0; i < n; i++) {
            Stat st = crew.get(3).checkExists().forPath("/group/" + i);
            check(st != null, i + " is no member");
            checkSame(st.getEphemeralOwner(), session(crew.get(i)));
            out.add(st.getCzxid());
        }
        return out;
    }

    static void transaction() throws Exception {
        Crew crew = new Crew();
        crew.get(0).create().creatingParentsIfNeeded().forPath("/tx/a");
        crew.get(0).create().forPath("/tx/b");
        crew.fresh();
        Set<String> acked = ConcurrentHashMap.newKeySet();
        Set<String> unknown = ConcurrentHashMap.newKeySet();
        crew.work(i -> {
            CuratorFramework c = crew.get(i);
            String name = i + "-" + crew.done.get(i);
            try {
                c.transaction().forOperations(
                    c.transactionOp().create().forPath("/tx/a/" + name),
                    c.transactionOp().create().forPath("/tx/b/" + name),
                    c.transactionOp().setData().forPath("/tx", bytes(name)));
                acked.add(name);
            } catch (KeeperException.ConnectionLossException | KeeperException.NodeExistsException e) {
                unknown.add(name); // a retry finds its own work
            }
        });
        crew.fresh();
        Set<String> a = new HashSet<>(crew.get(0).getChildren().forPath("/tx/a"));
        checkSame(new HashSet<>(crew.get(0).getChildren().forPath("/tx/b")), a);
        check(a.containsAll(acked), "an answered transaction is gone");
        check(unknown.size() <= Crew.sum(crew.losses), unknown + " are unknown, with " + crew.losses + " lost connections");
        acked.addAll(unknown);
        check(acked.containsAll(a), "something is there that nobody wrote");
    }

    public static void main(String[] args) throws Exception {
        hosts = args[0];
        run("mutex", Dying::mutex);
        run("read_write_lock", Dying::readWriteLock);
        run("semaphore", Dying::semaphore);
        run("leader_latch", Dying::leaderLatch);
        run("leader_selector", Dying::leaderSelector);
        run("tree_cache", Dying::treeCache);
        run("curator_cache", Dying::curatorCache);
        run("node_cache", Dying::nodeCache);
        run("atomic_long", Dying::atomicLong);
        run("shared_count", Dying::sharedCount);
        run("barrier", Dying::barrier);
        run("double_barrier", Dying::doubleBarrier);
        run("queue", Dying::queue);
        run("queue_with_locks", Dying::queueWithLocks);
        run("group_member", Dying::groupMember);
        run("transaction", Dying::transaction);
        System.exit(failed == 0 ? 0 : 1);
    }
}
