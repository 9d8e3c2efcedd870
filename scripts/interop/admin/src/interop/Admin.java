package interop;

import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import org.apache.rocketmq.tools.command.MQAdminStartup;

/**
 * mqadmin without a new JVM for each command. A line on standard input is a token and a command line, separated by tabs;
 * the answer is what the tool printed between the lines `begin TOKEN` and `end TOKEN`. `attend` and `attended` are ours:
 * the clients that mqadmin asks about.
 */
public final class Admin {
    private Admin() {
    }

    public static void main(String[] args) throws Exception {
        PrintStream out = System.out;
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        Attendant attendant = new Attendant();
        out.println("ready");
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] words = line.split("\t", -1);
            ByteArrayOutputStream printed = new ByteArrayOutputStream();
            try (PrintStream capture = new PrintStream(printed, true, StandardCharsets.UTF_8)) {
                System.setOut(capture);
                System.setErr(capture);
                switch (words[1]) {
                    case "attend":
                        attendant.attend(words[2], words[3], words[4], Integer.parseInt(words[5]));
                        break;
                    case "attended":
                        attendant.await(Integer.parseInt(words[2]));
                        break;
                    default:
                        Fresh.command(Arrays.copyOfRange(words, 1, words.length));
                }
            }
            out.printf("begin %s%n", words[0]);
            out.write(printed.toByteArray());
            out.printf("%nend %s%n", words[0]);
            out.flush();
        }
        Runtime.getRuntime().halt(0);
    }

    /** The tool keeps its commands and finds the one of last time first, with clients that it has shut down. */
    private static final class Fresh extends MQAdminStartup {
        static void command(String[] words) {
            SUB_COMMANDS.clear();
            main0(words, null);
        }
    }
}
