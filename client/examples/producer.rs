//! Sends ten messages: cargo run --example producer -- 127.0.0.1:9876 my-topic

use client::{ClientConfig, Message, Producer, ProducerConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let name_server = args.next().unwrap_or_else(|| "127.0.0.1:9876".to_owned());
    let topic = args.next().unwrap_or_else(|| "ExampleTopic".to_owned());

    let producer = Producer::new(ClientConfig::new(&name_server), ProducerConfig::new("example-producer"));
    producer.start().await?;

    for number in 0..10 {
        let message = Message::new(&topic, format!("message {number}"))
            .with_tag("TagA")
            .with_keys([format!("key-{number}")])
            .with_property("number", number.to_string())?;
        let result = producer.send(message).await?;
        println!("{:?} {} in {} at {}", result.status, result.msg_id, result.queue, result.queue_offset);
    }

    // The same key to the same queue: its messages stay in order.
    let order_id = 4711_usize;
    let message = Message::new(&topic, "in order");
    let result = producer.send_selected(message, |queues, _| order_id % queues.len()).await?;
    println!("selected {}", result.queue);

    // Many at once: begun one after another, answered whenever.
    let mut ends = Vec::new();
    for number in 0..100 {
        ends.push(producer.send_async(Message::new(&topic, format!("async {number}"))).await?);
    }
    for end in ends {
        end.await?;
    }
    producer.send_oneway(Message::new(&topic, "whoever hears it")).await?;

    producer.shutdown().await;
    Ok(())
}
