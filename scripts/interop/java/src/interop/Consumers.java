package interop;

import java.lang.reflect.Method;
import java.util.List;
import java.util.function.Consumer;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;

/** Push consumers as a user writes them; one source for the 4.9 and the 5.x client. */
final class Consumers {
    private static final int ROUND_MILLIS = 2_000;

    private final String namesrv;
    private final String run;

    Consumers(String namesrv, String run) {
        this.namesrv = namesrv;
        this.run = run;
    }

    /**
     * A name of its own in every process, for the broker finds a client by it. The client's rounds for routes and heartbeats
     * come every 2 s, not every 30 s, so that what it missed at its start on a busy machine costs seconds.
     */
    void setUp(ClientConfig client, String instance) {
        client.setNamesrvAddr(namesrv);
        client.setInstanceName(instance + "_" + run);
        client.setPollNameServerInterval(ROUND_MILLIS);
        client.setHeartbeatBrokerInterval(ROUND_MILLIS);
    }

    /** The same with the client's own rounds. */
    DefaultMQPushConsumer makeAsShipped(String group, String instance, String topic, String tags) throws Exception {
        ClientConfig shipped = new ClientConfig();
        DefaultMQPushConsumer consumer = make(group, instance, topic, tags);
        consumer.setPollNameServerInterval(shipped.getPollNameServerInterval());
        consumer.setHeartbeatBrokerInterval(shipped.getHeartbeatBrokerInterval());
        return consumer;
    }

    DefaultMQPushConsumer make(String group, String instance, String topic, String tags) throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        setUp(consumer, instance);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, tags);
        return consumer;
    }

    DefaultMQPushConsumer concurrent(String group, String instance, String topic, String tags,
        Consumer<MessageExt> each) throws Exception {
        DefaultMQPushConsumer consumer = make(group, instance, topic, tags);
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(each);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        return consumer;
    }

    DefaultMQPushConsumer orderly(String group, String instance, String topic, Consumer<List<MessageExt>> each)
        throws Exception {
        DefaultMQPushConsumer consumer = make(group, instance, topic, "*");
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            each.accept(messages);
            return ConsumeOrderlyStatus.SUCCESS;
        });
        consumer.start();
        return consumer;
    }

    /** MessageModel lives in another package in 5.x; the setter's own parameter type tells which. */
    @SuppressWarnings({"unchecked", "rawtypes"})
    static void broadcasting(DefaultMQPushConsumer consumer) throws Exception {
        for (Method method : DefaultMQPushConsumer.class.getMethods()) {
            if (method.getName().equals("setMessageModel")) {
                method.invoke(consumer, Enum.valueOf((Class) method.getParameterTypes()[0], "BROADCASTING"));
                return;
            }
        }
        throw new IllegalStateException("setMessageModel is gone from this client");
    }
}
