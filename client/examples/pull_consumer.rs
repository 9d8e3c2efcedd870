//! Reads a topic from its beginning to its end: cargo run --example pull_consumer -- 127.0.0.1:9876 my-topic

use client::{ClientConfig, PullConsumer, PullConsumerConfig, PullStatus};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let name_server = args.next().unwrap_or_else(|| "127.0.0.1:9876".to_owned());
    let topic = args.next().unwrap_or_else(|| "ExampleTopic".to_owned());

    let consumer =
        PullConsumer::new(ClientConfig::new(&name_server), PullConsumerConfig::new("example-puller"));
    consumer.start().await?;

    for queue in consumer.queues(&topic).await? {
        let mut offset = consumer.min_offset(&queue).await?;
        loop {
            let result = consumer.pull(&queue, "*", offset, 32).await?;
            for message in &result.messages {
                println!("{queue} at {}: {}", message.queue_offset, String::from_utf8_lossy(message.body()));
            }
            offset = result.next_begin_offset;
            if result.status == PullStatus::NoNewMessage {
                break;
            }
        }
        consumer.commit(&queue, offset).await?;
    }

    consumer.shutdown().await;
    Ok(())
}
