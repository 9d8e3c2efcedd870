//! How the broker is known: its address, its registration with name servers, and what it asks them.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::watch;

use super::error::RunError;
use super::worker::wakes;
use crate::broker::assignment::Routes;
use crate::cold::namesrv::{Identity, Pace, Registrar, Tables};
use crate::cold::routes::RouteAsker;
use crate::config::Config;
use crate::net::Waker;
use crate::rng::Rng;

/// Where clients find it.
pub fn address(config: &Config) -> SocketAddr {
    let ip = config.broker_ip1.expect("a loaded configuration has an address");
    SocketAddr::new(ip, config.listen_port)
}

/// Registers as soon as there are tables, and again with every newer ones.
pub fn register(config: &Config, newest: watch::Receiver<Option<Tables>>) -> Result<Registrar, RunError> {
    let address = address(config);
    let ha_ip = config.broker_ip2.unwrap_or(address.ip());
    let identity = Identity {
        cluster: config.broker_cluster_name.clone(),
        broker_name: config.broker_name.clone(),
        broker_id: config.broker_id,
        broker_addr: address.to_string(),
        ha_server_addr: SocketAddr::new(ha_ip, config.ha_listen_port).to_string(),
    };
    let pace = Pace {
        period: Duration::from_millis(config.register_name_server_period),
        answer_wait_max: Duration::from_millis(config.register_broker_timeout_mills),
    };
    Registrar::start(&config.namesrv_addr.0, identity, pace, newest, &mut Rng::from_os())
        .map_err(RunError::Thread)
}

/// Both ends of the questions for routes; none where there is no name server to ask.
pub fn ask_routes(config: &Config, waker: &Waker) -> Result<(Option<Routes>, Option<RouteAsker>), RunError> {
    let servers = &config.namesrv_addr.0;
    if servers.is_empty() {
        return Ok((None, None));
    }
    let (routes, ends) = Routes::new();
    routes.woken_by(wakes(waker));
    let asker = RouteAsker::start(servers.clone(), ends).map_err(RunError::Thread)?;
    Ok((Some(routes), Some(asker)))
}
