//! One instance a client id: services of the same id share connections, heartbeats and routes.

use crate::config::{ClientConfig, INSTANCE_DEFAULT};
use crate::core::Settings;
use crate::net::{self, Shell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};

/// A service's hold on its instance. Give it back with `release`.
pub(crate) struct Share {
    pub shell: Arc<Shell>,
    pub client_id: String,
}

/// Joins the instance of this client id, or starts it. `own` gives an instance that nobody named a name of its own.
pub(crate) fn join(mut config: ClientConfig, own: bool) -> Share {
    if own && config.instance_name == INSTANCE_DEFAULT {
        config.instance_name = format!("{}#{}", std::process::id(), net::wall_nanos());
    }
    if config.name_servers.is_empty()
        && let Ok(named) = std::env::var("NAMESRV_ADDR")
    {
        config.name_servers = ClientConfig::new(&named).name_servers;
    }
    let found = net::local_ip(&config.name_servers);
    let ip_text = config.client_ip.clone().unwrap_or_else(|| found.to_string());
    let client_id = config.client_id(&ip_text);
    let mut instances = instances();
    let instance = instances.entry(client_id.clone()).or_insert_with(|| {
        let seed = net::wall_nanos() as u64 ^ (u64::from(std::process::id()) << 32);
        let ip = ip_text.parse::<IpAddr>().unwrap_or(found);
        let settings = Settings { config, client_id: client_id.clone(), ip, pid: std::process::id(), seed };
        Shared { shell: Shell::start(settings), users: 0 }
    });
    instance.users += 1;
    Share { shell: instance.shell.clone(), client_id }
}

/// Leaves an instance; the last to leave closes it.
pub(crate) async fn leave(client_id: &str) {
    if let Some(shell) = without_users(client_id) {
        shell.close().await;
    }
}

/// The same for those who cannot wait.
pub(crate) fn leave_in_background(client_id: &str) {
    if let Some(shell) = without_users(client_id) {
        shell.runtime().spawn(async move { shell.close().await });
    }
}

fn without_users(client_id: &str) -> Option<Arc<Shell>> {
    let mut instances = instances();
    let instance = instances.get_mut(client_id)?;
    instance.users -= 1;
    if instance.users > 0 {
        return None;
    }
    instances.remove(client_id).map(|shared| shared.shell)
}

struct Shared {
    shell: Arc<Shell>,
    users: usize,
}

fn instances() -> MutexGuard<'static, HashMap<String, Shared>> {
    static INSTANCES: LazyLock<Mutex<HashMap<String, Shared>>> = LazyLock::new(Mutex::default);
    INSTANCES.lock().expect("nothing panics while the table is held")
}
