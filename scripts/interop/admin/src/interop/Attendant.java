package interop;

import java.nio.charset.StandardCharsets;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;

/** A push consumer and a producer, which has its messages traced, that stay on line while mqadmin asks about them. */
final class Attendant {
    private final AtomicInteger got = new AtomicInteger();

    /** Producer group and consumer group bear the same name. */
    void attend(String namesrv, String topic, String group, int messages) throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(namesrv);
        consumer.setInstanceName("attendant");
        consumer.setHeartbeatBrokerInterval(2_000);
        consumer.setPersistConsumerOffsetInterval(500);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (list, context) -> {
            got.addAndGet(list.size());
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        DefaultMQProducer producer = new DefaultMQProducer(group, true, null);
        producer.setNamesrvAddr(namesrv);
        producer.setInstanceName("attendant");
        producer.start();
        for (int i = 0; i < messages; i++) {
            SendResult sent = producer.send(new Message(topic, "A", "k" + i, ("attended " + i).getBytes(StandardCharsets.UTF_8)));
            System.out.println("sent " + sent.getMsgId());
        }
        await(messages);
    }

    void await(int messages) throws Exception {
        long deadline = System.currentTimeMillis() + 30_000;
        while (got.get() < messages && System.currentTimeMillis() < deadline) {
            Thread.sleep(20);
        }
        System.out.println(got.get() + " attended");
    }
}
