import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.reflect.Method;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.retry.ExponentialBackoffRetry;
import org.apache.zookeeper.ZooKeeper;

/**
 * What the programs of this folder have in common. They speak to the Go test that started them as driver_test.go says.
 * Each has one ensemble, whose hosts it is told, and closes the clients of a case when that ends.
 */
abstract class Driver {
    /** Bounds every wait for something that must happen. Meant for a busy machine. */
    static final long PATIENCE_S = 60;

    static String hosts;
    static final BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
    static final List<CuratorFramework> clients = Collections.synchronizedList(new ArrayList<>());

    interface Case {
        void run() throws Exception;
    }

    static int failed;

    static void run(String name, Case c) throws Exception {
        try {
            c.run();
            System.out.println("ok " + name);
        } catch (Throwable e) {
            failed++;
            e.printStackTrace();
            int line = 0;
            for (StackTraceElement f : e.getStackTrace()) {
                if (f.getClassName().indexOf('.') < 0 && !f.getMethodName().startsWith("check")) {
                    line = f.getLineNumber();
                    break;
                }
            }
            System.out.println("fail " + name + ": line " + line + ": " + String.valueOf(e).replace('\n', ' '));
        }
        for (CuratorFramework f : clients) {
            f.close();
        }
        clients.clear();
        ask("restore");
    }

    static String ask(String line) throws Exception {
        System.out.println("@" + line);
        return in.readLine();
    }

    static void check(boolean ok, String what) {
        if (!ok) {
            throw new AssertionError(what);
        }
    }

    static void checkSame(Object got, Object want) {
        check(Objects.equals(got, want), "got " + got + ", want " + want);
    }

    static void checkUntil(String what, Callable<Boolean> condition) throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE_S);
        while (!condition.call()) {
            check(System.nanoTime() < end, "not within " + PATIENCE_S + " s: " + what);
            Thread.sleep(20);
        }
    }

    static <T> T checkNext(BlockingQueue<T> q, String what) throws Exception {
        T v = q.poll(PATIENCE_S, TimeUnit.SECONDS);
        check(v != null, "not within " + PATIENCE_S + " s: " + what);
        return v;
    }

    static CuratorFramework client() throws Exception {
        return client(hosts);
    }

    static CuratorFramework client(String where) throws Exception {
        CuratorFramework c = CuratorFrameworkFactory.builder()
            .connectString(where)
            .sessionTimeoutMs(20000)
            .connectionTimeoutMs(15000)
            .retryPolicy(new ExponentialBackoffRetry(50, 29, 1000))
            .build();
        c.start();
        clients.add(c);
        check(c.blockUntilConnected((int) PATIENCE_S, TimeUnit.SECONDS), "no connection");
        return c;
    }

    static byte[] bytes(String s) {
        return s.getBytes(StandardCharsets.UTF_8);
    }

    static String text(byte[] b) {
        return b == null ? null : new String(b, StandardCharsets.UTF_8);
    }

    /** Runs one task for each client at the same time. */
    static void together(int n, java.util.function.IntFunction<Callable<Void>> task) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(n);
        try {
            List<Future<Void>> all = new ArrayList<>();
            for (int i = 0; i < n; i++) {
                all.add(pool.submit(task.apply(i)));
            }
            for (Future<Void> f : all) {
                f.get(PATIENCE_S, TimeUnit.SECONDS);
            }
        } finally {
            pool.shutdownNow();
        }
    }

    static long session(CuratorFramework c) throws Exception {
        return c.getZookeeperClient().getZooKeeper().getSessionId();
    }

    /** Lets c see all that other clients have written by now: its server may be behind theirs. */
    static void fresh(CuratorFramework c) throws Exception {
        CountDownLatch done = new CountDownLatch(1);
        c.sync().inBackground((f, e) -> done.countDown()).forPath("/");
        check(done.await(PATIENCE_S, TimeUnit.SECONDS), "sync is not answered");
    }

    /** The port of the server that c is connected to. */
    static int port(CuratorFramework c) throws Exception {
        Method m = ZooKeeper.class.getDeclaredMethod("testableRemoteSocketAddress");
        m.setAccessible(true);
        return ((InetSocketAddress) m.invoke(c.getZookeeperClient().getZooKeeper())).getPort();
    }

    static String hostsWithout(int port) {
        List<String> out = new ArrayList<>(Arrays.asList(hosts.split(",")));
        out.removeIf(h -> h.endsWith(":" + port));
        return String.join(",", out);
    }
}
