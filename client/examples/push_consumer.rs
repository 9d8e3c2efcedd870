//! Prints what comes in until Ctrl-C: cargo run --example push_consumer -- 127.0.0.1:9876 my-topic

use client::{ClientConfig, ConsumeFrom, Consumed, PushConsumer, PushConsumerConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let name_server = args.next().unwrap_or_else(|| "127.0.0.1:9876".to_owned());
    let topic = args.next().unwrap_or_else(|| "ExampleTopic".to_owned());

    let mut config = PushConsumerConfig::new("example-consumer");
    config.consume_from = ConsumeFrom::FirstOffset;
    let mut consumer = PushConsumer::new(ClientConfig::new(&name_server), config);
    consumer.subscribe(&topic, "*")?;
    consumer.listen(|messages| async move {
        for message in &messages {
            let text = String::from_utf8_lossy(message.body());
            println!(
                "{} at {}: {text} (try {})",
                message.queue,
                message.queue_offset,
                message.reconsume_times + 1
            );
        }
        // `Consumed::Again` would bring them back in ten seconds, then later and later.
        Consumed::Done
    });
    consumer.start().await?;

    tokio::signal::ctrl_c().await?;
    consumer.shutdown().await;
    Ok(())
}
