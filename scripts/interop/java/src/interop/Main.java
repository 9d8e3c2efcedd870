package interop;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.exception.RequestTimeoutException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * What a user's program does, done by the official client: Main NAMESRV TITLE [MESSAGES [shipped]].
 * Every scenario uses topics and groups of its own, so that a run can be repeated on the same broker, and several runs and
 * several scenarios can go on at a time. With `shipped` a failed message comes back to a client with its own rounds of 30 s.
 */
public final class Main {
    private static final int QUEUES = 4; // What an auto-created topic gets from a producer's default.
    private static final int AT_A_TIME = 3;

    private final Consumers consumers;
    private final String run = Long.toString(System.currentTimeMillis() % 100_000_000, 36) + "_"
        + Long.toString(ProcessHandle.current().pid(), 36);
    private final int messages;
    private DefaultMQProducer producer;

    private Main(String namesrv, int messages) {
        this.messages = messages;
        this.consumers = new Consumers(namesrv, run);
    }

    public static void main(String[] args) throws Exception {
        Main main = new Main(args[0], args.length > 2 ? Integer.parseInt(args[2]) : 20_000);
        boolean shipped = args.length > 3 && args[3].equals("shipped");
        Check check = new Check();
        main.producer = main.startProducer("PG_main");
        String retry = "retry: a failed message comes back" + (shipped ? ", as shipped" : "");
        Thread slow = new Thread(() -> check.scenario(retry, () -> main.retry(shipped)));
        slow.start();
        check.together(AT_A_TIME, main.scenarios());
        check.scenario(main.messages + " messages: none lost, none doubled, in order", main::volume);
        slow.join();
        main.producer.shutdown();
        int status = check.finish(args[1]);
        System.out.flush();
        Runtime.getRuntime().halt(status); // Client threads that linger must not keep the run alive.
    }

    /** Those that wait longest come first. */
    private Map<String, Check.Scenario> scenarios() {
        Map<String, Check.Scenario> all = new LinkedHashMap<>();
        all.put("request-reply", this::requestReply);
        all.put("rebalance: two consumers share, one takes over", this::rebalance);
        all.put("push broadcasting: everyone gets everything", this::broadcasting);
        all.put("restart: a group goes on where it stopped", this::restart);
        all.put("long poll: a message wakes a waiting consumer", this::longPoll);
        all.put("delay level 1: delivered after 1 s", this::delay);
        all.put("transaction: commit shows, rollback does not", this::transaction);
        all.put("send sync: id, queue, offset, body and properties", this::sendSync);
        all.put("send async: every callback, every offset once", this::sendAsync);
        all.put("send one-way: all arrive", this::sendOneway);
        all.put("send batch: consecutive offsets, all arrive", this::sendBatch);
        all.put("queue selector: one key, one queue, in order", this::selector);
        all.put("big bodies: compressed and 3 MiB", this::bigBodies);
        all.put("tags: only the subscribed ones", this::tags);
        all.put("pull: offsets, found, no new message", this::pull);
        all.put("lite pull: assign, seek, poll", this::litePull);
        return all;
    }

    private DefaultMQProducer startProducer(String group) throws Exception {
        DefaultMQProducer made = new DefaultMQProducer(group + "_" + run);
        consumers.setUp(made, group);
        made.setSendMsgTimeout(10_000);
        made.setDefaultTopicQueueNums(QUEUES);
        made.start();
        return made;
    }

    private String topic(String name) {
        return "IT_" + name + "_" + run;
    }

    private String group(String name) {
        return "CG_" + name + "_" + run;
    }

    private static Message message(String topic, String tag, String key, String body) {
        return new Message(topic, tag, key, body.getBytes(StandardCharsets.UTF_8));
    }

    private static String text(MessageExt message) {
        return new String(message.getBody(), StandardCharsets.UTF_8);
    }

    private void sendSync() throws Exception {
        String topic = topic("sync");
        List<MessageExt> got = new CopyOnWriteArrayList<>();
        Set<String> sent = new HashSet<>();
        for (int i = 0; i < 100; i++) {
            Message message = message(topic, "TagA", "key" + i + " other" + i, "body " + i + " \u4e2d\u6587");
            message.putUserProperty("colour", "bl\u00fce \"" + i + "\"");
            message.setFlag(i);
            SendResult result = producer.send(message);
            Check.same(SendStatus.SEND_OK, result.getSendStatus(), "status");
            Check.same(32, result.getOffsetMsgId().length(), "length of the offset message id");
            sent.add(result.getMsgId());
        }
        DefaultMQPushConsumer consumer = consumers.concurrent(group("sync"), "sync", topic, "*", got::add);
        Check.await(60_000, () -> got.size() >= 100, () -> got.size() + " of 100");
        consumer.shutdown();
        Set<String> received = new HashSet<>();
        for (MessageExt message : got) {
            received.add(message.getMsgId());
            int i = message.getFlag();
            Check.same("body " + i + " \u4e2d\u6587", text(message), "body");
            Check.same("key" + i + " other" + i, message.getKeys(), "keys");
            Check.same("TagA", message.getTags(), "tag");
            Check.same("bl\u00fce \"" + i + "\"", message.getUserProperty("colour"), "user property");
        }
        Check.same(sent, received, "ids");
    }

    private void sendAsync() throws Exception {
        String topic = topic("async");
        producer.send(message(topic, "A", "first", "first"));
        int count = 2_000;
        CountDownLatch done = new CountDownLatch(count);
        Set<String> places = ConcurrentHashMap.newKeySet();
        AtomicReference<Throwable> problem = new AtomicReference<>();
        for (int i = 0; i < count; i++) {
            producer.send(message(topic, "A", "k" + i, "async " + i), new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    places.add(result.getMessageQueue().getQueueId() + "@" + result.getQueueOffset());
                    done.countDown();
                }

                @Override
                public void onException(Throwable error) {
                    problem.set(error);
                    done.countDown();
                }
            });
        }
        Check.that(done.await(60, TimeUnit.SECONDS), done.getCount() + " callbacks missing");
        Check.same(null, problem.get(), "error");
        Check.same(count, places.size(), "distinct places");
    }

    private void sendOneway() throws Exception {
        String topic = topic("oneway");
        producer.send(message(topic, "A", "first", "first"));
        for (int i = 0; i < 500; i++) {
            producer.sendOneway(message(topic, "A", "k" + i, "oneway " + i));
        }
        Set<String> got = ConcurrentHashMap.newKeySet();
        DefaultMQPushConsumer consumer = consumers.concurrent(group("oneway"), "oneway", topic, "*", m -> got.add(text(m)));
        Check.await(60_000, () -> got.size() == 501, () -> got.size() + " of 501");
        consumer.shutdown();
    }

    private void sendBatch() throws Exception {
        String topic = topic("batch");
        producer.send(message(topic, "A", "first", "first"));
        int received = 1;
        for (int round = 0; round < 10; round++) {
            List<Message> batch = new ArrayList<>();
            for (int i = 0; i < 32; i++) {
                batch.add(message(topic, "Tag" + i % 2, "k" + round + "_" + i, "batch " + round + " " + i));
            }
            SendResult result = producer.send(batch);
            Check.same(SendStatus.SEND_OK, result.getSendStatus(), "status");
            Check.same(32, result.getOffsetMsgId().split(",").length, "ids in the answer");
            received += 32;
        }
        int expected = received;
        Set<String> got = ConcurrentHashMap.newKeySet();
        DefaultMQPushConsumer consumer = consumers.concurrent(group("batch"), "batch", topic, "*", m -> got.add(text(m)));
        Check.await(60_000, () -> got.size() == expected, () -> got.size() + " of " + expected);
        consumer.shutdown();
    }

    private void selector() throws Exception {
        String topic = topic("selector");
        Map<Integer, List<String>> byQueue = new ConcurrentHashMap<>();
        for (int i = 0; i < 400; i++) {
            int order = i % 8;
            SendResult result = producer.send(message(topic, "A", "o" + order, order + ":" + i / 8),
                (queues, message, key) -> queues.get((Integer) key % queues.size()), order);
            Check.same(order % QUEUES, result.getMessageQueue().getQueueId(), "queue of the key");
        }
        DefaultMQPushConsumer consumer = consumers.orderly(group("selector"), "selector", topic, list -> {
            for (MessageExt message : list) {
                byQueue.computeIfAbsent(message.getQueueId(), q -> Collections.synchronizedList(new ArrayList<>()))
                    .add(text(message));
            }
        });
        Check.await(60_000, () -> byQueue.values().stream().mapToInt(List::size).sum() >= 400,
            () -> byQueue.values().stream().mapToInt(List::size).sum() + " of 400");
        consumer.shutdown();
        for (List<String> list : byQueue.values()) {
            Map<String, Integer> next = new HashMap<>();
            for (String each : list) {
                String[] parts = each.split(":");
                Check.same(next.getOrDefault(parts[0], 0), Integer.valueOf(parts[1]), "order of key " + parts[0]);
                next.merge(parts[0], 1, (a, b) -> Integer.parseInt(parts[1]) + 1);
                next.put(parts[0], Integer.parseInt(parts[1]) + 1);
            }
        }
    }

    private void bigBodies() throws Exception {
        String topic = topic("big");
        int[] sizes = {1, 4_095, 4_096, 65_536, 1_000_000, 3 << 20};
        Map<Integer, byte[]> sent = new HashMap<>();
        for (int size : sizes) {
            byte[] body = new byte[size];
            new java.util.Random(size).nextBytes(body);
            for (int i = 0; i < size / 2; i++) {
                body[i] = (byte) (i / 64); // Half compresses, half does not.
            }
            sent.put(size, body);
            producer.send(new Message(topic, "A", "s" + size, body));
        }
        List<MessageExt> got = new CopyOnWriteArrayList<>();
        DefaultMQPushConsumer consumer = consumers.concurrent(group("big"), "big", topic, "*", got::add);
        Check.await(60_000, () -> got.size() >= sizes.length, () -> got.size() + " of " + sizes.length);
        consumer.shutdown();
        for (MessageExt message : got) {
            byte[] expected = sent.get(Integer.parseInt(message.getKeys().substring(1)));
            Check.that(java.util.Arrays.equals(expected, message.getBody()), "body of " + message.getKeys());
        }
    }

    private void tags() throws Exception {
        String topic = topic("tags");
        for (int i = 0; i < 90; i++) {
            producer.send(message(topic, "Tag" + (char) ('A' + i % 3), "k" + i, "t" + i));
        }
        List<String> got = new CopyOnWriteArrayList<>();
        DefaultMQPushConsumer consumer =
            consumers.concurrent(group("tags"), "tags", topic, "TagA || TagC", m -> got.add(m.getTags()));
        Check.await(60_000, () -> got.size() >= 60, () -> got.size() + " of 60");
        Thread.sleep(300);
        consumer.shutdown();
        Check.same(60, got.size(), "messages");
        Check.that(!got.contains("TagB"), "a tag that was not asked for");
    }

    private void broadcasting() throws Exception {
        String topic = topic("broadcast");
        producer.send(message(topic, "A", "k", "before"));
        List<Set<String>> got = List.of(ConcurrentHashMap.newKeySet(), ConcurrentHashMap.newKeySet());
        List<DefaultMQPushConsumer> running = new ArrayList<>();
        for (int i = 0; i < 2; i++) {
            Set<String> mine = got.get(i);
            DefaultMQPushConsumer consumer = consumers.make(group("broadcast"), "broadcast" + i, topic, "*");
            Consumers.broadcasting(consumer);
            consumer.registerMessageListener((MessageListenerConcurrently) (list, context) -> {
                list.forEach(m -> mine.add(text(m)));
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            consumer.start();
            running.add(consumer);
        }
        Check.await(60_000, () -> got.get(0).size() == 1 && got.get(1).size() == 1, () -> "first message: " + got);
        for (int i = 0; i < 200; i++) {
            producer.send(message(topic, "A", "k" + i, "b" + i));
        }
        Check.await(60_000, () -> got.get(0).size() == 201 && got.get(1).size() == 201,
            () -> got.get(0).size() + " and " + got.get(1).size() + " of 201");
        running.forEach(DefaultMQPushConsumer::shutdown);
    }

    private void pull() throws Exception {
        String topic = topic("pull");
        for (int i = 0; i < 100; i++) {
            producer.send(message(topic, "A", "k" + i, "p" + i));
        }
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer(group("pull"));
        consumers.setUp(consumer, "pull");
        consumer.start();
        Set<String> got = new HashSet<>();
        for (MessageQueue queue : consumer.fetchSubscribeMessageQueues(topic)) {
            long offset = consumer.minOffset(queue);
            long end = consumer.maxOffset(queue);
            while (offset < end) {
                PullResult result = consumer.pull(queue, "*", offset, 10);
                Check.same(PullStatus.FOUND, result.getPullStatus(), "status at " + offset);
                Check.same(end, result.getMaxOffset(), "maxOffset");
                for (MessageExt message : result.getMsgFoundList()) {
                    Check.same(offset++, message.getQueueOffset(), "queue offset");
                    got.add(text(message));
                }
                Check.same(offset, result.getNextBeginOffset(), "nextBeginOffset");
            }
            Check.same(PullStatus.NO_NEW_MSG, consumer.pull(queue, "*", end, 10).getPullStatus(), "at the end");
            Check.same(PullStatus.OFFSET_ILLEGAL, consumer.pull(queue, "*", end + 5, 10).getPullStatus(), "beyond");
            consumer.updateConsumeOffset(queue, end);
            Check.same(0L, consumer.searchOffset(queue, 0), "search from the beginning of time");
            Check.same(end, consumer.searchOffset(queue, System.currentTimeMillis() + 60_000), "search in the future");
        }
        Check.same(100, got.size(), "messages");
        consumer.shutdown();
    }

    private void litePull() throws Exception {
        String topic = topic("lite");
        for (int i = 0; i < 100; i++) {
            producer.send(message(topic, "A", "k" + i, "l" + i));
        }
        DefaultLitePullConsumer consumer = new DefaultLitePullConsumer(group("lite"));
        consumers.setUp(consumer, "lite");
        consumer.setAutoCommit(false);
        consumer.start();
        List<MessageQueue> queues = new ArrayList<>(consumer.fetchMessageQueues(topic));
        consumer.assign(queues);
        Set<String> got = new HashSet<>();
        // A pull that fails just after a seek forgets where to: in the official client the channel that the seek closed may do that.
        for (int attempt = 1; attempt <= 5 && got.size() < 100; attempt++) {
            for (MessageQueue queue : queues) {
                seekToBegin(consumer, queue);
            }
            long deadline = System.currentTimeMillis() + 10_000;
            while (got.size() < 100 && System.currentTimeMillis() < deadline) {
                consumer.poll(500).forEach(m -> got.add(text(m)));
            }
        }
        Check.same(100, got.size(), "messages");
        consumer.shutdown();
    }

    /** To seek, the client interrupts a pull under way, which may close the connection that the next call was about to use. */
    private static void seekToBegin(DefaultLitePullConsumer consumer, MessageQueue queue) throws Exception {
        for (int attempt = 1; ; attempt++) {
            try {
                consumer.seek(queue, 0);
                return;
            } catch (MQClientException error) {
                if (attempt == 5) {
                    throw error;
                }
                Thread.sleep(200);
            }
        }
    }

    private void longPoll() throws Exception {
        String topic = topic("longpoll");
        producer.send(message(topic, "A", "k", "first"));
        Map<String, Long> seen = new ConcurrentHashMap<>();
        DefaultMQPushConsumer consumer = consumers.concurrent(group("longpoll"), "longpoll", topic, "*",
            m -> seen.put(text(m), System.nanoTime()));
        Check.await(60_000, () -> seen.containsKey("first"), () -> "the first message");
        long worst = 0;
        for (int i = 0; i < 50; i++) {
            String body = "wake " + i;
            Thread.sleep(20);
            long start = System.nanoTime();
            producer.send(message(topic, "A", "k" + i, body));
            Check.await(10_000, () -> seen.containsKey(body), () -> body);
            worst = Math.max(worst, seen.get(body) - start);
        }
        consumer.shutdown();
        Check.that(worst < 1_000_000_000L, "slowest wake-up took " + worst / 1_000_000 + " ms");
    }

    private void rebalance() throws Exception {
        String topic = topic("rebalance");
        producer.send(message(topic, "A", "k", "0"));
        Map<Integer, Set<Integer>> queuesOf = new ConcurrentHashMap<>();
        Set<String> got = ConcurrentHashMap.newKeySet();
        List<DefaultMQPushConsumer> running = new ArrayList<>();
        for (int i = 0; i < 2; i++) {
            int me = i;
            queuesOf.put(me, ConcurrentHashMap.newKeySet());
            running.add(consumers.concurrent(group("rebalance"), "rebalance" + i, topic, "*", m -> {
                got.add(text(m));
                queuesOf.get(me).add(m.getQueueId());
            }));
        }
        Check.await(60_000, () -> {
            try {
                return running.get(0).getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet()
                    .stream().filter(q -> q.getTopic().equals(topic)).count() == 2
                    && running.get(1).getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet()
                    .stream().filter(q -> q.getTopic().equals(topic)).count() == 2;
            } catch (RuntimeException error) {
                return false;
            }
        }, () -> "two queues each");
        queuesOf.values().forEach(Set::clear);
        sendNumbers(topic, 1, 400);
        Check.await(60_000, () -> got.size() == 400, () -> got.size() + " of 400");
        Set<Integer> both = new HashSet<>(queuesOf.get(0));
        both.retainAll(queuesOf.get(1));
        Check.same(Set.of(), both, "queues read by both");
        running.get(0).shutdown();
        sendNumbers(topic, 400, 800);
        Check.await(60_000, () -> got.size() == 800, () -> got.size() + " of 800 after one consumer left");
        running.get(1).shutdown();
    }

    private void sendNumbers(String topic, int from, int to) throws Exception {
        for (int i = from; i < to; i++) {
            producer.send(message(topic, "A", "k" + i, Integer.toString(i)));
        }
    }

    private void restart() throws Exception {
        String topic = topic("restart");
        sendNumbers(topic, 0, 300);
        List<String> first = new CopyOnWriteArrayList<>();
        DefaultMQPushConsumer consumer = consumers.concurrent(group("restart"), "restart", topic, "*", m -> first.add(text(m)));
        consumer.setAwaitTerminationMillisWhenShutdown(5_000); // Else what the listener has just got may not count as done.
        Check.await(60_000, () -> first.size() >= 300, () -> first.size() + " of 300");
        consumer.shutdown();
        sendNumbers(topic, 300, 600);
        List<String> second = new CopyOnWriteArrayList<>();
        consumer = consumers.concurrent(group("restart"), "restart2", topic, "*", m -> second.add(text(m)));
        Check.await(60_000, () -> second.size() >= 300, () -> second.size() + " of 300");
        Thread.sleep(500);
        consumer.shutdown();
        Check.same(300, first.size(), "messages before");
        Check.same(300, second.size(), "messages after");
        Check.same(600, new HashSet<>(join(first, second)).size(), "distinct messages");
    }

    private static List<String> join(List<String> a, List<String> b) {
        List<String> all = new ArrayList<>(a);
        all.addAll(b);
        return all;
    }

    private void delay() throws Exception {
        String topic = topic("delay");
        producer.send(message(topic, "A", "k", "plain"));
        Map<String, Long> seen = new ConcurrentHashMap<>();
        DefaultMQPushConsumer consumer = consumers.concurrent(group("delay"), "delay", topic, "*",
            m -> seen.put(text(m), System.currentTimeMillis()));
        Check.await(60_000, () -> seen.containsKey("plain"), () -> "the plain message");
        long start = System.currentTimeMillis();
        Message late = message(topic, "A", "k", "late");
        late.setDelayTimeLevel(1);
        producer.send(late);
        Check.await(6_000, () -> seen.containsKey("late"), () -> "the delayed message");
        consumer.shutdown();
        long took = seen.get("late") - start;
        Check.that(took >= 950 && took < 3_000, "1 s of delay took " + took + " ms");
    }

    private void retry(boolean shipped) throws Exception {
        String topic = topic("retry");
        DefaultMQPushConsumer consumer = shipped ? consumers.makeAsShipped(group("retry"), "retry", topic, "*")
            : consumers.make(group("retry"), "retry", topic, "*");
        producer.send(message(topic, "A", "k", "again"));
        List<Integer> tries = new CopyOnWriteArrayList<>();
        consumer.registerMessageListener((MessageListenerConcurrently) (list, context) -> {
            MessageExt message = list.get(0);
            Check.same(topic, message.getTopic(), "topic that the listener sees");
            tries.add(message.getReconsumeTimes());
            context.setDelayLevelWhenNextConsume(1);
            return message.getReconsumeTimes() == 0 ? ConsumeConcurrentlyStatus.RECONSUME_LATER
                : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        Check.await(60_000, () -> tries.size() >= 2, () -> "tries " + tries); // The retry topic's route comes with a later round.
        consumer.shutdown();
        Check.same(List.of(0, 1), new ArrayList<>(tries), "reconsumeTimes");
    }

    private void transaction() throws Exception {
        String topic = topic("transaction");
        producer.send(message(topic, "A", "k", "plain"));
        TransactionMQProducer sender = new TransactionMQProducer("PG_tx_" + run);
        consumers.setUp(sender, "tx");
        sender.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
                return (LocalTransactionState) argument;
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                return LocalTransactionState.COMMIT_MESSAGE;
            }
        });
        sender.start();
        List<MessageExt> got = new CopyOnWriteArrayList<>();
        DefaultMQPushConsumer consumer = consumers.concurrent(group("transaction"), "transaction", topic, "*", got::add);
        for (int i = 0; i < 10; i++) {
            sender.sendMessageInTransaction(message(topic, "A", "c" + i, "commit " + i), LocalTransactionState.COMMIT_MESSAGE);
            sender.sendMessageInTransaction(message(topic, "A", "r" + i, "rollback " + i), LocalTransactionState.ROLLBACK_MESSAGE);
        }
        Check.await(60_000, () -> got.size() >= 11, () -> got.size() + " of 11");
        Thread.sleep(300);
        consumer.shutdown();
        sender.shutdown();
        Check.same(11, got.size(), "messages");
        Check.that(got.stream().noneMatch(m -> text(m).startsWith("rollback")), "a message that was rolled back");
    }

    private void requestReply() throws Exception {
        String topic = topic("request");
        producer.send(message(topic, "A", "k", "warm"));
        DefaultMQProducer answers = startProducer("PG_answers");
        DefaultMQPushConsumer consumer = consumers.make(group("request"), "request", topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (list, context) -> {
            for (MessageExt message : list) {
                if (text(message).startsWith("ask")) {
                    try {
                        answers.send(MessageUtil.createReplyMessage(message,
                            ("answer to " + text(message)).getBytes(StandardCharsets.UTF_8)));
                    } catch (Exception error) {
                        if (!text(message).equals("ask first")) {
                            System.out.println("            reply: " + error + " because " + error.getCause());
                        }
                    }
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.setAwaitTerminationMillisWhenShutdown(5_000); // The replier hears of its success after the requester.
        consumer.start();
        awaitFirstAnswer(topic);
        for (int i = 0; i < 5; i++) {
            Message answer = producer.request(message(topic, "A", "k" + i, "ask " + i), 60_000);
            Check.same("answer to ask " + i, new String(answer.getBody(), StandardCharsets.UTF_8), "answer");
        }
        consumer.shutdown();
        answers.shutdown();
    }

    /** Before its first heartbeat the broker does not know the 4.9 producer, and drops an answer to it. */
    private void awaitFirstAnswer(String topic) throws Exception {
        for (int attempt = 0; attempt < 12; attempt++) {
            try {
                producer.request(message(topic, "A", "k", "ask first"), 5_000);
                return;
            } catch (RequestTimeoutException error) {
                Thread.sleep(500);
            }
        }
        throw new AssertionError("no answer to the first request within a minute");
    }

    /** One sender a queue, so that the order within a queue is known; both kinds of push consumer read all. */
    private void volume() throws Exception {
        String topic = topic("volume");
        producer.send(message(topic, "A", "k", "0:0"), (queues, m, k) -> queues.get(0), null);
        int each = messages / QUEUES;
        List<Integer>[] inOrder = new List[QUEUES];
        for (int i = 0; i < QUEUES; i++) {
            inOrder[i] = Collections.synchronizedList(new ArrayList<>());
        }
        AtomicInteger ordered = new AtomicInteger();
        Map<String, AtomicInteger> times = new ConcurrentHashMap<>();
        AtomicInteger loose = new AtomicInteger();
        DefaultMQPushConsumer orderly = consumers.orderly(group("volumeO"), "volumeO", topic, list -> {
            for (MessageExt message : list) {
                String[] parts = text(message).split(":");
                Check.same(Integer.parseInt(parts[0]), message.getQueueId(), "queue");
                inOrder[message.getQueueId()].add(Integer.valueOf(parts[1]));
                ordered.incrementAndGet();
            }
        });
        DefaultMQPushConsumer concurrent = consumers.concurrent(group("volumeC"), "volumeC", topic, "*", m -> {
            times.computeIfAbsent(text(m), k -> new AtomicInteger()).incrementAndGet();
            loose.incrementAndGet();
        });
        AtomicReference<Throwable> problem = new AtomicReference<>();
        List<Thread> senders = new ArrayList<>();
        for (int q = 0; q < QUEUES; q++) {
            int queue = q;
            Thread sender = new Thread(() -> {
                try {
                    for (int i = queue == 0 ? 1 : 0; i < each; i++) {
                        SendResult result = producer.send(message(topic, "A", "k" + i, queue + ":" + i),
                            (queues, m, k) -> queues.get(queue), null);
                        Check.same((long) i, result.getQueueOffset(), "offset in queue " + queue);
                    }
                } catch (Throwable error) {
                    problem.set(error);
                }
            });
            sender.start();
            senders.add(sender);
        }
        for (Thread sender : senders) {
            sender.join();
        }
        Check.same(null, problem.get(), "sender");
        int expected = each * QUEUES;
        Check.await(120_000, () -> ordered.get() >= expected && loose.get() >= expected,
            () -> ordered + " in order and " + loose + " concurrently of " + expected);
        Thread.sleep(500);
        orderly.shutdown();
        concurrent.shutdown();
        Check.same(expected, times.size(), "distinct messages");
        Check.same(expected, loose.get(), "deliveries, concurrent");
        Check.same(expected, ordered.get(), "deliveries, orderly");
        for (List<Integer> list : inOrder) {
            for (int i = 0; i < each; i++) {
                Check.same(i, list.get(i), "order");
            }
        }
    }
}
