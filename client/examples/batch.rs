//! Sends a hundred messages as one request: cargo run --example batch -- 127.0.0.1:9876 my-topic

use client::{ClientConfig, Message, Producer, ProducerConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let name_server = args.next().unwrap_or_else(|| "127.0.0.1:9876".to_owned());
    let topic = args.next().unwrap_or_else(|| "ExampleTopic".to_owned());

    let producer = Producer::new(ClientConfig::new(&name_server), ProducerConfig::new("example-batch"));
    producer.start().await?;

    let messages = (0..100).map(|number| Message::new(&topic, format!("message {number}"))).collect();
    let result = producer.send_batch(messages).await?;
    println!("stored in {} from {} on", result.queue, result.queue_offset);

    producer.shutdown().await;
    Ok(())
}
