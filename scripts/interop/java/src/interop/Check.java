package interop;

import java.util.concurrent.Callable;
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
            passed++;
            System.out.printf("  ok      %-46s %6d ms%n", name, (System.nanoTime() - start) / 1_000_000);
        } catch (Throwable error) {
            failed++;
            System.out.printf("  FAILED  %-46s %s%n", name, error);
            StackTraceElement[] at = error.getStackTrace();
            for (int i = 0; i < Math.min(4, at.length); i++) {
                System.out.println("            at " + at[i]);
            }
            if (error.getCause() != null) {
                System.out.println("            because " + error.getCause());
            }
        }
        System.out.flush();
    }

    int finish(String title) {
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
