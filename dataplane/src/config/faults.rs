//! What no single value can tell: settings that do not fit each other, or this release.

use super::network::Device;
use super::settings::Config;
use super::shards;
use super::value::{BrokerRole, Setting};
use crate::limits::QUEUES_PER_TOPIC_MAX;

/// Each fault with its fix.
pub(super) fn faults(config: &Config) -> Vec<String> {
    let mut wrong = Vec::new();
    let demand = &mut |holds: bool, fix: &str| {
        if !holds {
            wrong.push(fix.to_owned());
        }
    };
    check_role(config, demand);
    check_sizes(config, demand);
    check_network(config, demand);
    wrong.extend(shards::faults(config));
    wrong
}

/// Takes whether something holds, and what to do where it does not.
type Demand<'a> = dyn FnMut(bool, &str) + 'a;

fn check_role(config: &Config, demand: &mut Demand<'_>) {
    match config.broker_role {
        BrokerRole::AsyncMaster => {}
        BrokerRole::SyncMaster => demand(
            false,
            "brokerRole=SYNC_MASTER promises a replica, and replicas are not in this release: write brokerRole=ASYNC_MASTER",
        ),
        BrokerRole::Slave => demand(
            false,
            "brokerRole=SLAVE: replicas are not in this release: write brokerRole=ASYNC_MASTER and brokerId=0",
        ),
    }
    demand(config.broker_id == 0, "brokerId: a master has brokerId=0, and slaves are not in this release");
    demand(
        (10_000..=60_000).contains(&config.register_name_server_period),
        "registerNameServerPeriod: write a number of ms from 10000 to 60000",
    );
    demand(
        (1..=QUEUES_PER_TOPIC_MAX as u32).contains(&config.default_topic_queue_nums),
        "defaultTopicQueueNums: write 1 to 65535",
    );
}

fn check_sizes(config: &Config, demand: &mut Demand<'_>) {
    demand(
        config.mapped_file_size_consume_queue >= 20
            && config.mapped_file_size_consume_queue.is_multiple_of(20),
        "mappedFileSizeConsumeQueue: write a multiple of 20, the size of an entry (6000000 is usual)",
    );
    let frame_bytes_max = 16 << 20;
    demand(
        (1..=frame_bytes_max - (64 << 10)).contains(&config.max_message_size),
        "maxMessageSize: write a number of bytes from 1 to 16711680, so that a message fits a frame",
    );
    demand(
        config.mapped_file_size_commit_log >= 2 * u64::from(config.max_message_size),
        "mappedFileSizeCommitLog: write at least twice maxMessageSize (1073741824 is usual)",
    );
    demand(
        config.mapped_file_size_commit_log <= 1 << 31
            && config.mapped_file_size_commit_log.is_multiple_of(4096),
        "mappedFileSizeCommitLog: write a multiple of 4096 up to 2147483648",
    );
    demand(
        (16 << 20..=1 << 40).contains(&config.hot_log_bytes.0),
        "hotLogBytes: write at least 16M; a few seconds of your traffic is a good size",
    );
    demand(
        u64::from(config.max_message_size) + (128 << 10) <= config.hot_log_bytes.0 / 8,
        "maxMessageSize: a message may take an eighth of hotLogBytes at most: raise hotLogBytes or lower it",
    );
}

fn check_network(config: &Config, demand: &mut Demand<'_>) {
    demand(config.listen_port > 2, "listenPort: listenPort - 2 is served too, so write a port above 2");
    demand(
        (1..=1000).contains(&config.stack_clock),
        "stackClock: write 1 to 1000; 5 repeats an unanswered SYN-ACK after 200 ms",
    );
    demand((1..=1_000_000).contains(&config.connections_max), "connectionsMax: write 1 to 1000000");
    demand(
        config.server_channel_max_idle_time_seconds >= 1,
        "serverChannelMaxIdleTimeSeconds: write at least 1 (120 is usual)",
    );
    if let (Device::Tap { .. } | Device::Xdp { .. }, Some(gateway)) = (&config.device, config.gateway) {
        demand(
            config.address.contains(gateway) && gateway != config.address.ip,
            &format!("gateway={gateway}: write another address of the network {}", config.address.show()),
        );
    }
    demand(
        config.xdp_busy_poll <= 10_000,
        "xdpBusyPoll: write a number of µs up to 10000; 20 is usual, 0 leaves it to interrupts",
    );
    demand(
        config.broker_ip1.is_none_or(|ip| !ip.is_unspecified()),
        "brokerIP1: write the address that clients can reach, not the unspecified one",
    );
}
