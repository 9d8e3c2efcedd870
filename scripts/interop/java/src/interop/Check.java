package interop;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.function.BooleanSupplier;

/** Counts what held and what did not; one line each, and a total that a test runner can read. */
final class Check {
    private int passed;
    private int failed;

    interface Scenario {
        void run() throws Exception;
    }

    void scenario(String name, Scenario scenario) {
        long start = System.nanoTime();
        try {
            scenario.run();
            report(true, String.format("  ok      %-46s %6d ms%n", name, (System.nanoTime() - start) / 1_000_000));
        } catch (Throwable error) {
            StringBuilder text = new StringBuilder(String.format("  FAILED  %-46s %s%n", name, error));
            StackTraceElement[] at = error.getStackTrace();
            for (int i = 0; i < Math.min(4, at.length); i++) {
                text.append("            at ").append(at[i]).append('\n');
            }
            if (error.getCause() != null) {
                text.append("            because ").append(error.getCause()).append('\n');
            }
            report(false, text.toString());
        }
    }

    /** Runs the scenarios in their order, so many at a time: most of their time is waiting. */
    void together(int atATime, Map<String, Scenario> scenarios) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(atATime);
        List<Future<?>> running = new ArrayList<>();
        scenarios.forEach((name, scenario) -> running.add(threads.submit(() -> scenario(name, scenario))));
        for (Future<?> each : running) {
            each.get();
        }
        threads.shutdown();
    }

    private synchronized void report(boolean holds, String text) {
        if (holds) {
            passed++;
        } else {
            failed++;
        }
        System.out.print(text);
        System.out.flush();
    }

    synchronized int finish(String title) {
        System.out.printf("%s: %d passed, %d failed%n", title, passed, failed);
        return failed == 0 ? 0 : 1;
    }

    static void that(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }

    static <T> void same(T expected, T actual, String what) {
        that(expected == null ? actual == null : expected.equals(actual),
            what + ": expected " + expected + ", got " + actual);
    }

    /** Waits until the condition holds; the text is computed only when it never does. */
    static void await(long millis, BooleanSupplier condition, Callable<String> state) throws Exception {
        long deadline = System.currentTimeMillis() + millis;
        while (!condition.getAsBoolean()) {
            that(System.currentTimeMillis() < deadline, "not within " + millis + " ms: " + state.call());
            Thread.sleep(5);
        }
    }
}
