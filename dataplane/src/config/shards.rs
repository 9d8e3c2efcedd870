//! The settings of each of several shards, out of those of the first.
//!
//! ```text
//!             brokerName  listenPort  storePathRootDir  device=tap:ab0  address
//! shard 0     broker-a    10911       /data/store                ab0    10.77.0.2/24       as written
//! shard 1     broker-a-1  10921       /data/store/shard-1        ab0-1  10.77.1.2/24       10 ports, one network further
//! ```
//!
//! A shard is a whole master broker to everybody outside, and its folder a whole store. Everything else is the same for
//! all: sizes and limits are those of each shard.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::network::{Device, Network};
use super::settings::Config;
use crate::speaker::Speaker;

impl Config {
    /// Whose the log lines of this shard are.
    pub fn speaker(&self) -> Speaker {
        (self.cores.shards() > 1).then(|| self.broker_name.as_str().into())
    }

    /// The settings of shard `number`.
    pub fn of_shard(&self, number: usize) -> Config {
        let mut config = self.clone();
        if number == 0 {
            return config;
        }
        config.broker_name = format!("{}-{number}", self.broker_name);
        config.listen_port = port(self.listen_port, number).expect("checked when the settings were read");
        config.ha_listen_port =
            port(self.ha_listen_port, number).expect("checked when the settings were read");
        config.store_path_root_dir = shard_folder(&self.store_path_root_dir, number);
        if let Device::Tap { name } = &self.device {
            config.device = Device::Tap { name: format!("{name}-{number}") };
            config.address = self.address.further(number).expect("checked when the settings were read");
            config.gateway = self.gateway.and_then(|gateway| {
                Network { ip: gateway, ..self.address }.further(number).map(|gateway| gateway.ip)
            });
            // An address that is told to clients and is not the TAP's leads here by somebody else's doing, port by port.
            let moved = |ip: Option<IpAddr>| match ip {
                Some(IpAddr::V4(ip)) if ip == self.address.ip => Some(IpAddr::V4(config.address.ip)),
                told => told,
            };
            (config.broker_ip1, config.broker_ip2) = (moved(self.broker_ip1), moved(self.broker_ip2));
        }
        config
    }
}

/// Where a shard's store lies, given the first one's.
pub fn shard_folder(root: &Path, number: usize) -> PathBuf {
    match number {
        0 => root.to_owned(),
        _ => root.join(format!("shard-{number}")),
    }
}

/// What stands in the way of as many shards as there are cores listed: each fault with its fix.
pub(super) fn faults(config: &Config) -> Vec<String> {
    let count = config.cores.shards();
    if count == 1 {
        return Vec::new();
    }
    let mut wrong = Vec::new();
    let mut demand = |holds: bool, fix: String| {
        if !holds {
            wrong.push(fix);
        }
    };
    let last = count - 1;
    let highest = usize::from(u16::MAX) - last * PORT_STEP;
    // Replication has the port above.
    let fits = usize::from(config.listen_port) < highest;
    demand(
        fits,
        format!(
            "listenPort={}: {count} shards take a port each, {PORT_STEP} apart: write one up to {}",
            config.listen_port,
            highest - 1
        ),
    );
    demand(
        !fits || usize::from(config.ha_listen_port) <= highest,
        format!(
            "haListenPort={}: {count} shards tell a port each, {PORT_STEP} apart: write one up to {highest}",
            config.ha_listen_port
        ),
    );
    demand(
        config.store_path_commit_log.is_none(),
        "storePathCommitLog names one folder, and each shard has its own: remove it, or write one core"
            .to_owned(),
    );
    if let Device::Tap { name } = &config.device {
        demand(
            name.len() + last.to_string().len() < INTERFACE_NAME_MAX,
            format!(
                "device=tap:{name}: the last of {count} shards would have {name}-{last}, more than the 15 letters of an interface: write a shorter one, as in tap:ab0"
            ),
        );
        demand(
            config.address.further(last).is_some(),
            format!(
                "address={}/{}: there are no {count} networks from here on for {count} shards: write a lower one, as in 10.77.0.2/24",
                config.address.ip, config.address.prefix_len
            ),
        );
    }
    wrong
}

fn port(first: u16, number: usize) -> Option<u16> {
    u16::try_from(usize::from(first) + number * PORT_STEP).ok()
}

/// VIP and replication ports lie beside a broker's own.
const PORT_STEP: usize = 10;
/// Letters of an interface's name.
const INTERFACE_NAME_MAX: usize = 15;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::{Host, Override, Setting as _, Sources, load};
    use super::*;

    fn loaded(settings: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        let flags = settings
            .iter()
            .map(|(key, value)| Override { flag: "--set", key: (*key).into(), value: (*value).into() })
            .collect();
        let host = Host { name: Some("box".into()), home: Some("/home/me".into()), address: None };
        load(&Sources { flags, ..Sources::default() }, &host)
            .map(|loaded| loaded.config)
            .map_err(|errors| errors.0)
    }

    /// Goal: no two shards have a name, a folder, a port, a device or an address in common, and the first is as written.
    #[test]
    fn each_shard_is_a_broker_of_its_own() {
        let config =
            loaded(&[("cores", "2,3,4"), ("brokerName", "broker-a"), ("gateway", "10.77.0.254")]).unwrap();
        assert_eq!(config.of_shard(0), config);
        let second = config.of_shard(2);
        assert_eq!(second.broker_name, "broker-a-2");
        assert_eq!((second.listen_port, second.ha_listen_port), (10931, 10932));
        assert_eq!(second.store_path_root_dir, Path::new("/home/me/store/shard-2"));
        assert_eq!(
            (second.device.show(), second.address.show()),
            ("tap:ab0-2".into(), "10.77.2.2/24".into())
        );
        assert_eq!(second.gateway, Some(Ipv4Addr::new(10, 77, 2, 254)));
        assert_eq!(second.broker_ip1, Some(IpAddr::V4(second.address.ip)));
        assert_eq!(second.broker_ip2, second.broker_ip1);
    }

    /// Goal: with kernel sockets shards differ by their ports, and an address told to clients stays what was written.
    #[test]
    fn shards_on_kernel_sockets_share_the_address() {
        let config = loaded(&[("cores", "0,1"), ("device", "kernel:127.0.0.1")]).unwrap();
        let second = config.of_shard(1);
        assert_eq!((second.device.show(), second.listen_port), ("kernel:127.0.0.1".into(), 10921));
        assert_eq!(second.broker_ip1, config.broker_ip1);
        let config = loaded(&[("cores", "0,1"), ("brokerIP1", "198.51.100.1")]).unwrap();
        assert_eq!(config.of_shard(1).broker_ip1, config.broker_ip1);
    }

    #[test]
    fn what_does_not_do_for_so_many_is_refused_with_the_fix() {
        for (setting, fix) in [
            (("listenPort", "65530"), "write one up to 65524"),
            (("haListenPort", "65526"), "write one up to 65525"),
            (("storePathCommitLog", "/x"), "remove it"),
            (("device", "tap:fourteen-chars"), "15 letters"),
            (("address", "223.255.255.2/24"), "write a lower one"),
        ] {
            let found = loaded(&[("cores", "0,1"), setting]).unwrap_err();
            assert!(found.len() == 1 && found[0].contains(fix), "{setting:?}: {found:?}");
            assert!(loaded(&[("cores", "0"), setting]).is_ok(), "{setting:?}: one shard may");
        }
        assert!(loaded(&[("cores", "0,1"), ("listenPort", "65524")]).is_ok());
        assert!(loaded(&[("cores", "0,1"), ("device", "tap:thirteen-char")]).is_ok());
    }
}
