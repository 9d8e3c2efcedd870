//! How operators of this host look into the broker.

use std::net::SocketAddr;

use super::worker::wakes;
use crate::cold::sight::{About, SOCKET, SightServer};
use crate::config::Setting;
use crate::net::{Net, Waker};
use crate::plan::ShardPlan;
use crate::shard::Shard;
use crate::sight::Sight;

/// Opens the broker to operators on this host; one that cannot be looked into serves all the same.
pub fn open<N: Net>(
    plan: &ShardPlan,
    address: SocketAddr,
    shard: &mut Shard<N>,
    waker: &Waker,
) -> Option<SightServer> {
    let config = &plan.config;
    let (sight, ends) = Sight::new();
    sight.woken_by(wakes(waker));
    let about = About {
        name: config.broker_name.clone(),
        address: address.to_string(),
        device: config.device.show(),
        shard: plan.number,
        core: plan.core,
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION"),
    };
    let folder = &config.store_path_root_dir;
    let recorder_bytes = config.flight_recorder_bytes.0 as usize;
    if config.latency_bound_micros > 0 && recorder_bytes == 0 {
        log::warn!("latencyBoundMicros writes nothing while flightRecorderBytes is 0; set it, as in 16M");
    }
    match SightServer::start(folder, about, ends, recorder_bytes) {
        Ok(server) => {
            shard.sight = Some(sight);
            Some(server)
        }
        Err(error) => {
            log::warn!("nobody can look in through {}: {error}", folder.join(SOCKET).display());
            None
        }
    }
}
