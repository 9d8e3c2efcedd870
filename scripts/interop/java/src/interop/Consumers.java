package interop;

import java.lang.reflect.Method;
import java.util.List;
import java.util.function.Consumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;

/** Push consumers as a user writes them; one source for the 4.9 and the 5.x client. */
final class Consumers {
    private final String namesrv;

    Consumers(String namesrv) {
        this.namesrv = namesrv;
    }

    DefaultMQPushConsumer make(String group, String instance, String topic, String tags) throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(namesrv);
        consumer.setInstanceName(instance);
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
