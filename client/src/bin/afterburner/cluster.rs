//! `afterburner cluster`: which brokers there are, and how busy they are.

use std::collections::BTreeMap;
use std::process::ExitCode;

use client::admin::body::ClusterInfo;

use crate::Outcome;
use crate::cluster_access::{Cluster, block_on, print_table, with_admin};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    cluster: Cluster,
}

#[derive(clap::Subcommand)]
enum What {
    /// The brokers of every cluster; also what is done when nothing is said
    List {
        #[command(flatten)]
        cluster: Cluster,
    },
}

pub fn run(args: Args) -> Outcome {
    let cluster = match args.what {
        Some(What::List { cluster }) => cluster,
        None => args.cluster,
    };
    block_on(async move {
        let read = with_admin(&cluster, async |admin| {
            let info = admin.cluster().await?;
            let mut figures = BTreeMap::new();
            for broker in info.broker_addr_table.values() {
                for addr in broker.broker_addrs.values() {
                    // A broker that does not answer is listed without its figures.
                    figures.insert(addr.clone(), admin.runtime_info(addr).await);
                }
            }
            Ok((info, figures))
        });
        let (info, figures) = read.await?;
        let mut is_whole = true;
        let mut rows = Vec::new();
        for (cluster, name, id, addr) in brokers(&info) {
            let known = figures.get(addr).and_then(|figures| figures.as_ref().ok());
            is_whole &= known.is_some();
            let figure = |key: &str| known.and_then(|known| known.get(key)).cloned();
            // "10 s, 1 min and 10 min", of which the first is shown.
            let rate = |key: &str| {
                let first: f64 = figure(key)?.split(' ').next()?.parse().ok()?;
                Some(format!("{first:.1}"))
            };
            let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
            rows.push(vec![
                cluster.to_owned(),
                name.to_owned(),
                id.to_string(),
                addr.to_owned(),
                or_dash(figure("brokerVersionDesc")),
                or_dash(rate("putTps")),
                or_dash(rate("getTransferredTps")),
                or_dash(figure("msgPutTotalTodayNow")),
                if known.is_some() { "yes".to_owned() } else { "NO".to_owned() },
            ]);
        }
        let head = ["cluster", "broker", "id", "address", "version", "in/s", "out/s", "stored", "answers"];
        print_table(&head, &rows, &[2, 5, 6, 7]);
        Ok(if is_whole && !rows.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

fn brokers(info: &ClusterInfo) -> Vec<(&str, &str, i64, &str)> {
    let mut all = Vec::new();
    for (cluster, names) in &info.cluster_addr_table {
        for broker in names.iter().filter_map(|name| info.broker_addr_table.get(name)) {
            for (id, addr) in &broker.broker_addrs {
                all.push((cluster.as_str(), broker.broker_name.as_str(), *id, addr.as_str()));
            }
        }
    }
    all
}
