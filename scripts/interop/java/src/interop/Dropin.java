package interop;

import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.zip.CRC32;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * One store, several brokers one after the other: writes messages of every kind and notes what was acknowledged, and checks that a
 * broker serves all that was noted.
 *
 * <pre>
 * Dropin write NAMESRV PHASE LEDGER     appends to the ledger
 * Dropin read  NAMESRV LEDGER STOP      every line of the ledger: same place, same bytes, found by key; no hole in a queue.
 *                                       After STOP=KILL a delayed message may have been delivered again
 * </pre>
 */
public final class Dropin {
    private static final String TOPIC = "DropIn";
    private static final String LATER = "DropInLater";
    private static final int EACH = 60;
    private int passed;
    private int failed;
    private boolean mayRepeat;
    private final java.util.TreeSet<String> twice = new java.util.TreeSet<>();

    public static void main(String[] args) throws Exception {
        Dropin dropin = new Dropin();
        if (args[0].equals("write")) {
            dropin.write(args[1], args[2], Path.of(args[3]));
        } else {
            dropin.read(args[1], Path.of(args[2]), args[3].equals("KILL"));
        }
        System.out.println("drop-in " + args[0] + ": " + dropin.passed + " passed, " + dropin.failed + " failed");
        System.exit(dropin.failed == 0 ? 0 : 1);
    }

    /** A line of the ledger. Messages that are delivered later have no place yet. */
    private record Noted(String kind, String topic, int queue, long offset, String id, long crc, String key, String tag) {
        static Noted parse(String line) {
            String[] words = line.split("\t", -1);
            return new Noted(words[0], words[1], Integer.parseInt(words[2]), Long.parseLong(words[3]), words[4],
                Long.parseLong(words[5]), words[6], words[7]);
        }

        @Override
        public String toString() {
            return String.join("\t", kind, topic, "" + queue, "" + offset, id, "" + crc, key, tag);
        }

        boolean isLater() {
            return topic.equals(LATER);
        }
    }

    private void write(String namesrv, String phase, Path ledger) throws Exception {
        List<Noted> notes = new ArrayList<>();
        DefaultMQProducer producer = new DefaultMQProducer("PG_dropin");
        producer.setNamesrvAddr(namesrv);
        producer.setSendMsgTimeout(20_000);
        producer.start();
        for (int i = 0; i < EACH; i++) {
            Message message = new Message(TOPIC, i % 3 == 0 ? "TagA" : "TagB", phase + "-k" + i + " " + phase + "-all",
                body(phase, "plain", i, 10 + i));
            note(notes, "plain", message, send(producer, message));
            message = new Message(TOPIC, body(phase, "bare", i, 100));
            note(notes, "bare", message, send(producer, message));
            message = new Message(TOPIC, "TagC", phase + "-c" + i, body(phase, "compressed", i, 20_000 + i));
            note(notes, "compressed", message, send(producer, message));
        }
        for (int i = 0; i < EACH / 10; i++) {
            List<Message> batch = new ArrayList<>();
            for (int j = 0; j < 5; j++) {
                batch.add(new Message(TOPIC, "TagBatch", phase + "-b" + i + "x" + j, body(phase, "batch", i * 5 + j, 50)));
            }
            SendResult sent = producer.send(batch);
            check("a batch is stored", sent.getSendStatus() == SendStatus.SEND_OK, sent);
            String[] ids = sent.getMsgId().split(",");
            for (int j = 0; j < 5; j++) {
                MessageQueue queue = sent.getMessageQueue();
                notes.add(new Noted("batch", TOPIC, queue.getQueueId(), sent.getQueueOffset() + j, ids[j],
                    crc(batch.get(j).getBody()), batch.get(j).getKeys(), "TagBatch"));
            }
        }
        for (int i = 0; i < 5; i++) {
            Message message = new Message(LATER, "TagDelay", phase + "-d" + i, body(phase, "delayed", i, 30));
            message.setDelayTimeLevel(3);
            note(notes, "delayed", message, send(producer, message));
        }
        producer.shutdown();
        transactions(namesrv, phase, notes);
        try (PrintWriter out = new PrintWriter(Files.newBufferedWriter(ledger, java.nio.file.StandardOpenOption.CREATE,
            java.nio.file.StandardOpenOption.APPEND))) {
            notes.forEach(out::println);
        }
        check("messages were written and noted", notes.size() > EACH * 3, notes.size());
    }

    /** Committed ones, rolled back ones, and ones that are left open for whoever owns the store next. */
    private void transactions(String namesrv, String phase, List<Noted> notes) throws Exception {
        TransactionMQProducer producer = transactional(namesrv, false);
        for (int i = 0; i < 9; i++) {
            Message message = new Message(LATER, "TagTx", phase + "-t" + i, body(phase, "half", i, 40));
            SendResult sent = producer.sendMessageInTransaction(message, i % 3);
            check("a half message is stored", sent.getSendStatus() == SendStatus.SEND_OK, sent);
            notes.add(new Noted(new String[] {"committed", "rolledback", "open"}[i % 3], LATER, -1, -1, sent.getMsgId(),
                crc(message.getBody()), phase + "-t" + i, "TagTx"));
        }
        producer.shutdown();
    }

    private static TransactionMQProducer transactional(String namesrv, boolean commits) throws Exception {
        TransactionMQProducer producer = new TransactionMQProducer("PG_dropin_tx");
        producer.setNamesrvAddr(namesrv);
        producer.setSendMsgTimeout(20_000);
        producer.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message message, Object arg) {
                return new LocalTransactionState[] {LocalTransactionState.COMMIT_MESSAGE,
                    LocalTransactionState.ROLLBACK_MESSAGE, LocalTransactionState.UNKNOW}[(Integer) arg];
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                // The same as it was told, should the broker ask once more; what was left open is committed by who comes later.
                String key = message.getKeys();
                boolean rollsBack = Integer.parseInt(key.substring(key.lastIndexOf("-t") + 2)) % 3 == 1;
                if (rollsBack) {
                    return LocalTransactionState.ROLLBACK_MESSAGE;
                }
                return commits ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.UNKNOW;
            }
        });
        producer.start();
        return producer;
    }

    private void read(String namesrv, Path ledger, boolean killed) throws Exception {
        mayRepeat = killed;
        List<Noted> notes = new ArrayList<>();
        for (String line : Files.readAllLines(ledger)) {
            notes.add(Noted.parse(line));
        }
        TransactionMQProducer producer = transactional(namesrv, true);
        // The broker asks who is there about the open ones; a producer that sends nothing must be made known.
        producer.getDefaultMQProducerImpl().getMqClientFactory().updateTopicRouteInfoFromNameServer(LATER);
        producer.getDefaultMQProducerImpl().getMqClientFactory().sendHeartbeatToAllBrokerWithLock();
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer("CG_dropin");
        consumer.setNamesrvAddr(namesrv);
        consumer.start();
        Map<String, MessageExt> places = new HashMap<>();
        Map<String, MessageExt> ids = new HashMap<>();
        long deadline = System.currentTimeMillis() + 90_000;
        long wanted = notes.stream().filter(note -> note.isLater() && !note.kind.equals("rolledback")).count();
        do {
            ids.clear();
            readTopic(consumer, LATER, new HashMap<>(), ids);
            Thread.sleep(500);
        } while (ids.size() < wanted && System.currentTimeMillis() < deadline);
        check("delayed and committed messages are delivered once each", ids.size() == wanted, ids.size() + " of " + wanted);
        readTopic(consumer, TOPIC, places, ids);
        Map<String, int[]> kinds = new HashMap<>();
        for (Noted note : notes) {
            int[] count = kinds.computeIfAbsent(note.kind, kind -> new int[2]);
            MessageExt found = note.isLater() ? ids.get(note.id) : places.get(note.queue + "@" + note.offset);
            boolean rolledBack = note.kind.equals("rolledback");
            boolean good = rolledBack ? found == null : found != null && crc(found.getBody()) == note.crc
                && note.id.equals(found.getMsgId()) && note.key.equals(String.valueOf(found.getKeys() == null ? "" : found.getKeys()))
                && note.tag.equals(found.getTags() == null ? "" : found.getTags());
            count[good ? 0 : 1]++;
            if (!good && count[1] == 1) {
                System.out.println("          first bad one: " + note + " is " + found);
            }
        }
        kinds.forEach((kind, count) -> check(kind + " messages: place, bytes, key and tag", count[1] == 0,
            count[0] + " good, " + count[1] + " bad"));
        check("nothing is delivered twice", twice.isEmpty(), twice);
        byKey(producer, notes);
        consumer.shutdown();
        producer.shutdown();
    }

    /** Every fifth message by its first key and by its unique key. */
    private void byKey(DefaultMQProducer producer, List<Noted> notes) throws Exception {
        int asked = 0;
        int missing = 0;
        String first = "";
        for (int i = 0; i < notes.size(); i += 5) {
            Noted note = notes.get(i);
            if (note.key.isEmpty() || note.isLater()) {
                continue;
            }
            asked++;
            String key = note.key.split(" ")[0];
            boolean found;
            try {
                found = producer.queryMessage(note.topic, key, 32, 0, Long.MAX_VALUE).getMessageList().stream()
                    .anyMatch(message -> message.getMsgId().equals(note.id));
            } catch (Exception none) {
                found = false;
            }
            if (!found) {
                missing++;
                first = first.isEmpty() ? note.toString() : first;
            }
        }
        check("messages are found by key", asked > 0 && missing == 0, asked + " asked, " + missing + " missing, first " + first);
    }

    private void readTopic(DefaultMQPullConsumer consumer, String topic, Map<String, MessageExt> places, Map<String, MessageExt> ids)
        throws Exception {
        for (MessageQueue queue : consumer.fetchSubscribeMessageQueues(topic)) {
            long offset = consumer.minOffset(queue);
            long max = consumer.maxOffset(queue);
            while (offset < max) {
                PullResult result = consumer.pull(queue, "*", offset, 32);
                if (result.getPullStatus() != PullStatus.FOUND) {
                    check("queue " + queue.getQueueId() + " of " + topic + " has no hole", false, result + " at " + offset);
                    break;
                }
                for (MessageExt message : result.getMsgFoundList()) {
                    if (message.getQueueOffset() != offset) {
                        check("offsets of " + queue + " follow each other", false, message.getQueueOffset() + " at " + offset);
                    }
                    offset = message.getQueueOffset() + 1;
                    places.put(queue.getQueueId() + "@" + message.getQueueOffset(), message);
                    boolean again = ids.put(message.getMsgId(), message) != null && topic.equals(LATER);
                    if (again && !(mayRepeat && "TagDelay".equals(message.getTags()))) {
                        twice.add(message.getKeys() + " at " + message.getQueueOffset());
                    }
                }
            }
        }
    }

    private SendResult send(DefaultMQProducer producer, Message message) throws Exception {
        SendResult sent = producer.send(message);
        if (sent.getSendStatus() != SendStatus.SEND_OK) {
            check("a message is stored", false, sent);
        }
        return sent;
    }

    private static void note(List<Noted> notes, String kind, Message message, SendResult sent) {
        boolean later = message.getTopic().equals(LATER);
        notes.add(new Noted(kind, message.getTopic(), later ? -1 : sent.getMessageQueue().getQueueId(),
            later ? -1 : sent.getQueueOffset(), sent.getMsgId(), crc(message.getBody()),
            message.getKeys() == null ? "" : message.getKeys(), message.getTags() == null ? "" : message.getTags()));
    }

    private static byte[] body(String phase, String kind, int nth, int bytes) {
        byte[] body = new byte[bytes];
        Arrays.fill(body, (byte) ('a' + nth % 26));
        byte[] head = (phase + ":" + kind + ":" + nth + ":").getBytes(StandardCharsets.UTF_8);
        System.arraycopy(head, 0, body, 0, Math.min(head.length, bytes));
        return body;
    }

    private static long crc(byte[] bytes) {
        CRC32 crc = new CRC32();
        crc.update(bytes);
        return crc.getValue();
    }

    private void check(String what, boolean good, Object seen) {
        if (good) {
            passed++;
            System.out.println("  ok      " + what);
        } else {
            failed++;
            System.out.println("  FAILED  " + what + ": " + seen);
        }
    }
}
