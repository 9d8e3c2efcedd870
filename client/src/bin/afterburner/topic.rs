//! `afterburner topic`: list, create, delete, and where a topic's queues are and how far they reach.

use std::process::ExitCode;

use client::ClientError;
use client::admin::body::{MASTER_ID, TopicConfig};

use crate::Outcome;
use crate::cluster_access::{Cluster, Listed, block_on, no_masters, on_masters, print_table, with_admin};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Names of all topics
    List(Listed),
    /// Make a topic on every master, or change it there
    Create {
        #[command(flatten)]
        cluster: Cluster,
        /// The topic
        #[arg(short, long)]
        topic: String,
        /// Queues on each broker
        #[arg(short, long, default_value_t = 8)]
        queues: i32,
        /// 2 write, 4 read, 6 both
        #[arg(short, long, default_value_t = 6)]
        perm: i32,
        /// Only on the masters of this cluster
        #[arg(short, long, value_name = "CLUSTER")]
        cluster_name: Option<String>,
    },
    /// Delete a topic with its messages
    Delete {
        #[command(flatten)]
        cluster: Cluster,
        /// The topic
        #[arg(short, long)]
        topic: String,
        /// Only on the masters of this cluster
        #[arg(short, long, value_name = "CLUSTER")]
        cluster_name: Option<String>,
    },
    /// Which brokers have the topic, and with how many queues
    Route {
        #[command(flatten)]
        cluster: Cluster,
        /// The topic
        #[arg(short, long)]
        topic: String,
    },
    /// The offsets of every queue
    Status {
        #[command(flatten)]
        cluster: Cluster,
        /// The topic
        #[arg(short, long)]
        topic: String,
    },
}

pub fn run(args: Args) -> Outcome {
    block_on(async move {
        match args.what {
            What::List(listed) => list(listed).await,
            What::Create { cluster, topic, queues, perm, cluster_name } => {
                create(&cluster, &TopicConfig::new(topic, queues, perm), cluster_name.as_deref()).await
            }
            What::Delete { cluster, topic, cluster_name } => {
                delete(&cluster, &topic, cluster_name.as_deref()).await
            }
            What::Route { cluster, topic } => route(&cluster, &topic).await,
            What::Status { cluster, topic } => status(&cluster, &topic).await,
        }
    })
}

async fn list(Listed { cluster, all }: Listed) -> Outcome {
    let topics = with_admin(&cluster, async |admin| {
        let info = admin.cluster().await?;
        let own = |topic: &String| {
            protocol::names::is_system_topic(topic)
                || topic.ends_with(protocol::names::REPLY_TOPIC_POSTFIX)
                || info.cluster_addr_table.contains_key(topic)
                || info.broker_addr_table.contains_key(topic)
        };
        let mut topics = admin.topics().await?;
        topics.retain(|topic| all || !own(topic));
        Ok(topics)
    });
    for topic in topics.await? {
        println!("{topic}");
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(cluster: &Cluster, config: &TopicConfig, name: Option<&str>) -> Outcome {
    let made = on_masters(cluster, name, async |admin, addr| admin.create_topic(addr, config).await);
    for (master, ()) in made.await? {
        println!(
            "{} has {} queues on {} ({})",
            config.topic_name, config.write_queue_nums, master.broker_name, master.addr
        );
    }
    Ok(ExitCode::SUCCESS)
}

async fn delete(cluster: &Cluster, topic: &str, name: Option<&str>) -> Outcome {
    let done = with_admin(cluster, async |admin| {
        let had = admin.delete_topic(topic, name).await?;
        Ok((had, admin.masters(name).await?))
    });
    let (had, masters) = done.await?;
    for master in &had {
        println!("{topic} is deleted on {} ({})", master.broker_name, master.addr);
    }
    match (had.is_empty(), masters.is_empty()) {
        (false, _) => Ok(ExitCode::SUCCESS),
        (true, true) => Err(no_masters(name)),
        (true, false) => {
            Err(format!("no broker has a topic {topic}; `afterburner topic list` shows those that there are"))
        }
    }
}

async fn route(cluster: &Cluster, topic: &str) -> Outcome {
    let route = with_admin(cluster, async |admin| admin.route(topic).await).await?;
    let mut rows = Vec::new();
    for queues in &route.queue_datas {
        let Some(broker) = route.broker_datas.iter().find(|broker| broker.broker_name == queues.broker_name)
        else {
            continue;
        };
        let addrs: Vec<String> =
            broker.broker_addrs.iter().map(|(id, addr)| format!("{id}={addr}")).collect();
        rows.push(vec![
            broker.cluster.clone(),
            broker.broker_name.clone(),
            addrs.join(" "),
            queues.read_queue_nums.to_string(),
            queues.write_queue_nums.to_string(),
            queues.perm.to_string(),
        ]);
    }
    print_table(&["cluster", "broker", "addresses", "read", "write", "perm"], &rows, &[3, 4, 5]);
    Ok(ExitCode::SUCCESS)
}

async fn status(cluster: &Cluster, topic: &str) -> Outcome {
    let read = with_admin(cluster, async |admin| {
        let mut queues = Vec::new();
        for broker in admin.route(topic).await?.broker_datas {
            let addr = broker.broker_addrs.get(&MASTER_ID).cloned();
            let addr = addr.ok_or(ClientError::NoBroker { broker: broker.broker_name })?;
            queues.extend(admin.topic_stats(&addr, topic).await?.offset_table);
        }
        Ok(queues)
    });
    let mut queues = read.await?;
    queues.sort_by(|one, two| one.0.cmp(&two.0));
    let total: i64 = queues.iter().map(|(_, offsets)| offsets.max_offset - offsets.min_offset).sum();
    let rows: Vec<Vec<String>> = queues
        .into_iter()
        .map(|(queue, offsets)| {
            let number = |number: i64| number.to_string();
            let count = offsets.max_offset - offsets.min_offset;
            vec![
                queue.broker_name,
                queue.queue_id.to_string(),
                number(offsets.min_offset),
                number(offsets.max_offset),
                number(count),
                number(offsets.last_update_timestamp),
            ]
        })
        .collect();
    let head = ["broker", "queue", "min", "max", "messages", "last stored (ms)"];
    print_table(&head, &rows, &[1, 2, 3, 4, 5]);
    println!("{total} messages");
    Ok(ExitCode::SUCCESS)
}
