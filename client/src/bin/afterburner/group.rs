//! `afterburner group`: consumer groups, and how far behind they are.

use std::process::ExitCode;

use client::admin::body::SubscriptionGroupConfig;

use crate::Outcome;
use crate::cluster_access::{Cluster, Listed, block_on, on_masters, print_table, with_admin};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// All groups and what they still have to consume
    List(Listed),
    /// Make a group on every master, or change it there
    Create {
        #[command(flatten)]
        cluster: Cluster,
        /// The consumer group
        #[arg(short, long)]
        group: String,
        /// How often a failed message is tried again
        #[arg(long, default_value_t = 16)]
        retries: i32,
    },
    /// Delete a group and its offsets on every master
    Delete {
        #[command(flatten)]
        cluster: Cluster,
        /// The consumer group
        #[arg(short, long)]
        group: String,
    },
}

pub fn run(args: Args) -> Outcome {
    block_on(async move {
        match args.what {
            What::List(listed) => list(listed).await,
            What::Create { cluster, group, retries } => create(&cluster, group, retries).await,
            What::Delete { cluster, group } => delete(&cluster, &group).await,
        }
    })
}

async fn list(Listed { cluster, all }: Listed) -> Outcome {
    let read = with_admin(&cluster, async |admin| {
        let mut rows = Vec::new();
        for master in admin.masters(None).await? {
            for group in admin.groups(&master.addr).await? {
                if !all && protocol::names::is_system_group(&group.group_name) {
                    continue;
                }
                let stats = admin.consume_stats(&master.addr, &group.group_name).await?;
                let behind: i64 =
                    stats.offset_table.values().map(|at| at.broker_offset - at.consumer_offset).sum();
                rows.push(vec![
                    group.group_name,
                    master.broker_name.clone(),
                    stats.offset_table.len().to_string(),
                    behind.to_string(),
                    group.retry_max_times.to_string(),
                ]);
            }
        }
        Ok(rows)
    });
    let mut rows = read.await?;
    rows.sort();
    print_table(&["group", "broker", "queues", "behind", "retries"], &rows, &[2, 3, 4]);
    Ok(ExitCode::SUCCESS)
}

async fn create(cluster: &Cluster, group_name: String, retry_max_times: i32) -> Outcome {
    let config =
        SubscriptionGroupConfig { group_name, retry_max_times, ..SubscriptionGroupConfig::default() };
    let made = on_masters(cluster, None, async |admin, addr| admin.create_group(addr, &config).await);
    for (master, ()) in made.await? {
        println!("{} is on {} ({})", config.group_name, master.broker_name, master.addr);
    }
    Ok(ExitCode::SUCCESS)
}

async fn delete(cluster: &Cluster, group: &str) -> Outcome {
    let gone = on_masters(cluster, None, async |admin, addr| admin.delete_group(addr, group).await);
    let gone = gone.await?;
    for (master, _) in gone.iter().filter(|(_, was_there)| *was_there) {
        println!("{group} is deleted on {} ({})", master.broker_name, master.addr);
    }
    match gone.iter().any(|(_, was_there)| *was_there) {
        true => Ok(ExitCode::SUCCESS),
        false => {
            Err(format!("no broker has a group {group}; `afterburner group list` shows those that there are"))
        }
    }
}
