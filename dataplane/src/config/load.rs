//! From file, environment and flags to one checked `Config`, or to sentences that say what to mend.
//!
//! Pure: the bytes of the file, the environment and what the host is called come in as arguments. All errors are
//! collected, so that a file is mended in one go.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use protocol::config_text;

use super::faults::faults;
use super::network::{Device, NamesrvList};
use super::settings::Config;
use super::without_effect::{GROUPS, Group, MISSING_FEATURES};

/// One `key=value` from the command line, and the flag that carried it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    pub flag: &'static str,
    pub key: String,
    pub value: String,
}

/// Where values come from, weakest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// Name and bytes of the file given with `-c`.
    pub file: Option<(PathBuf, Vec<u8>)>,
    /// The environment variable NAMESRV_ADDR.
    pub namesrv_addr: Option<String>,
    pub flags: Vec<Override>,
}

/// What defaults are made of.
#[derive(Debug, Clone)]
pub struct Host {
    pub name: Option<String>,
    pub home: Option<PathBuf>,
    /// First address of the host that is not a loopback one.
    pub address: Option<Ipv4Addr>,
}

#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    /// One line for each key without effect.
    pub warnings: Vec<String>,
}

/// Everything that is wrong, one sentence each.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<String>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ConfigErrors {}

pub fn load(sources: &Sources, host: &Host) -> Result<Loaded, ConfigErrors> {
    let mut reading = Reading::default();
    if let Some((path, bytes)) = &sources.file {
        match config_text::parse(bytes) {
            Ok(entries) => {
                for entry in entries {
                    let place = format!("{} line {}", path.display(), entry.line);
                    reading.take(&place, &entry.key, &entry.value);
                }
            }
            Err(error) => reading.errors.push(format!("{} {error}", path.display())),
        }
    }
    if let Some(addresses) = &sources.namesrv_addr {
        reading.take("environment NAMESRV_ADDR", "namesrvAddr", addresses);
    }
    for given in &sources.flags {
        reading.take(given.flag, &given.key, &given.value);
    }
    reading.tell_idle();
    reading.complete(host);
    reading.check();
    if reading.errors.is_empty() {
        Ok(Loaded { config: reading.config, warnings: reading.warnings })
    } else {
        Err(ConfigErrors(reading.errors))
    }
}

#[derive(Default)]
struct Reading {
    config: Config,
    /// What has no effect, as it is told, by the place of its reason in `GROUPS`.
    idle: Vec<(usize, String)>,
    warnings: Vec<String>,
    errors: Vec<String>,
}

impl Reading {
    fn take(&mut self, place: &str, key: &str, value: &str) {
        match self.config.set(key, value) {
            Ok(true) => {}
            Ok(false) => self.take_without_effect(place, key, value),
            Err(fix) => self.errors.push(format!("{place}: {key}={value}: {fix}")),
        }
    }

    fn take_without_effect(&mut self, place: &str, key: &str, value: &str) {
        if let Some(missing) = MISSING_FEATURES.iter().find(|missing| missing.key == key) {
            if value.trim() != missing.only {
                self.errors.push(format!("{place}: {key}={value}: {}", missing.fix));
            }
        } else if let Some(group) = GROUPS.iter().position(|group| group.keys.contains(&key)) {
            self.idle.push((group, format!("{place}: {key}={value}")));
        } else {
            let known = Config::KEYS.iter().chain(GROUPS.iter().flat_map(|group| group.keys)).copied();
            let hint = match config_text::nearest(key, known) {
                Some(near) => format!("did you mean `{near}`? Mend or remove it"),
                None => {
                    "remove it, or look for the right one with `afterburner-dataplane --help-keys`".into()
                }
            };
            self.errors.push(format!("{place}: `{key}` is not a key: {hint}"));
        }
    }

    /// One line for each, or for all with the same reason: a file that the official broker has written holds every key it has.
    fn tell_idle(&mut self) {
        for (number, Group { why, .. }) in GROUPS.iter().enumerate() {
            let of_group: Vec<&str> = self
                .idle
                .iter()
                .filter(|(group, _)| *group == number)
                .map(|(_, told)| told.as_str())
                .collect();
            match of_group.len() {
                0..=IDLE_LINES_MAX => {
                    self.warnings.extend(of_group.iter().map(|told| format!("{told} has no effect: {why}")));
                }
                many => {
                    let keys: Vec<&str> = of_group
                        .iter()
                        .map(|told| told.rsplit_once(": ").map_or(*told, |(_, pair)| pair))
                        .collect();
                    self.warnings.push(format!("{many} keys have no effect: {why}: {}", keys.join(" ")));
                }
            }
        }
    }

    /// Fills what depends on the host or on other keys.
    fn complete(&mut self, host: &Host) {
        let config = &mut self.config;
        if config.broker_name.is_empty() {
            config.broker_name = host.name.clone().unwrap_or_else(|| "DEFAULT_BROKER".into());
        }
        if config.store_path_root_dir.as_os_str().is_empty() {
            match &host.home {
                Some(home) => config.store_path_root_dir = home.join("store"),
                None => self.errors.push("HOME is not set: write storePathRootDir=/some/directory".into()),
            }
        }
        if config.ha_listen_port == 0 {
            config.ha_listen_port = config.listen_port.saturating_add(1);
        }
        if config.broker_ip1.is_none() {
            config.broker_ip1 = match &config.device {
                Device::Tap { .. } | Device::Xdp { .. } => Some(IpAddr::V4(config.address.ip)),
                Device::Kernel { ip: Some(ip) } if !ip.is_unspecified() => Some(IpAddr::V4(*ip)),
                Device::Kernel { .. } if !config.bind_address.is_unspecified() => {
                    Some(IpAddr::V4(config.bind_address))
                }
                Device::Kernel { .. } => Some(IpAddr::V4(host.address.unwrap_or(Ipv4Addr::LOCALHOST))),
            };
        }
        if config.broker_ip2.is_none() {
            config.broker_ip2 = config.broker_ip1;
        }
    }

    fn check(&mut self) {
        self.errors.extend(faults(&self.config));
        let listens = match &self.config.device {
            Device::Kernel { ip } => Some(ip.unwrap_or(self.config.bind_address)),
            Device::Tap { .. } | Device::Xdp { .. } => None, // `address` is the whole stack's.
        };
        if let (Some(listens), Some(told)) = (listens, self.config.broker_ip1)
            && listens.is_loopback()
            && !told.is_loopback()
        {
            self.warnings.push(format!(
                "clients are told {told}, but only this host can connect to {listens}: write device=kernel or \
                 device=kernel:{told}, and no bindAddress, unless something leads them here"
            ));
        }
        if self.config.namesrv_addr == NamesrvList::default() {
            self.warnings.push(
                "no name server: clients find this broker only by its address; \
                 give -n HOST:9876, NAMESRV_ADDR or namesrvAddr"
                    .into(),
            );
        }
    }
}

impl Config {
    /// The settings with some changed in a running broker (code 25): all of them, or an error.
    pub fn changed<'a>(
        &self,
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Config, ChangeError> {
        let mut config = self.clone();
        for (key, value) in pairs {
            if !Config::is_changeable(key) {
                let why = match GROUPS.iter().find(|group| group.keys.contains(&key)) {
                    Some(group) => format!("{key} has no effect: {}", group.why),
                    None if Config::KEYS.contains(&key) => format!("{key} can be changed by a restart only"),
                    None => format!("{key} is not a key of this broker"),
                };
                return Err(ChangeError::NotAllowed(why));
            }
            config.set(key, value).map_err(|fix| ChangeError::Value(format!("{key}={value}: {fix}")))?;
        }
        match faults(&config).into_iter().next() {
            Some(fix) => Err(ChangeError::Value(fix)),
            None => Ok(config),
        }
    }
}

/// Why a change in a running broker is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeError {
    NotAllowed(String),
    Value(String),
}

/// So many keys without effect for the same reason have a line each.
const IDLE_LINES_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::super::value::{Bytes, FlushDiskType, Setting};
    use super::*;

    fn host() -> Host {
        Host {
            name: Some("box".into()),
            home: Some("/home/me".into()),
            address: Some(Ipv4Addr::new(192, 0, 2, 7)),
        }
    }

    fn with_file(text: &str) -> Sources {
        Sources { file: Some(("broker.conf".into(), text.into())), ..Sources::default() }
    }

    fn set(key: &str, value: &str) -> Override {
        Override { flag: "--set", key: key.into(), value: value.into() }
    }

    fn errors(text: &str) -> Vec<String> {
        load(&with_file(text), &host()).unwrap_err().0
    }

    #[test]
    fn defaults_are_complete_and_valid() {
        let loaded = load(&Sources::default(), &host()).unwrap();
        let config = loaded.config;
        assert_eq!(config.broker_name, "box");
        assert_eq!(config.store_path_root_dir, PathBuf::from("/home/me/store"));
        assert_eq!(config.ha_listen_port, 10912);
        assert_eq!(config.broker_ip1, Some("10.77.0.2".parse().unwrap()));
        assert_eq!(config.broker_ip2, config.broker_ip1);
        assert_eq!(loaded.warnings.len(), 1, "no name server");
    }

    #[test]
    fn flags_over_environment_over_file_over_default() {
        let mut sources = with_file("namesrvAddr=file:1\nlistenPort=1000\nhotLogBytes=1G");
        let addr = |sources: &Sources| load(sources, &host()).unwrap().config.namesrv_addr.show();
        assert_eq!(addr(&sources), "file:1");
        sources.namesrv_addr = Some("env:2".into());
        assert_eq!(addr(&sources), "env:2");
        sources.flags = vec![set("namesrvAddr", "flag:3"), set("listenPort", "2000")];
        assert_eq!(addr(&sources), "flag:3");
        let config = load(&sources, &host()).unwrap().config;
        assert_eq!((config.listen_port, config.hot_log_bytes), (2000, Bytes(1 << 30)));
    }

    /// Goal: the sample file of the official release starts us, and what has no effect is told.
    #[test]
    fn the_official_sample_file() {
        let text = "brokerClusterName = DefaultCluster\nbrokerName = broker-a\nbrokerId = 0\ndeleteWhen = 04\n\
                    fileReservedTime = 48\nbrokerRole = ASYNC_MASTER\nflushDiskType = ASYNC_FLUSH\n";
        let loaded = load(&with_file(text), &host()).unwrap();
        assert_eq!(loaded.config.broker_name, "broker-a");
        assert_eq!(loaded.config.flush_disk_type, FlushDiskType::AsyncFlush);
        assert_eq!((loaded.config.file_reserved_time, &loaded.config.delete_when.0[..]), (48, &[4][..]));
        assert!(loaded.warnings.len() == 1 && loaded.warnings[0].starts_with("no name server"));
    }

    /// Goal: the file as the official broker 5.5.0 writes it back, with every key it has, starts us; what has no effect is told, all
    /// keys of it, in lines that can be read. So are keys of 4.9 alone.
    #[test]
    fn a_file_that_the_official_broker_has_written() {
        let text = include_str!("../../tests/vectors/broker-5.5.0.properties");
        let loaded = load(&with_file(&format!("{text}\nmaxDelayTime=40\n")), &host()).unwrap();
        assert_eq!(loaded.config.broker_ip1, Some("10.0.0.5".parse().unwrap()));
        assert!(!loaded.config.trace_on && loaded.config.broker_permission.0 == 4, "as it was changed there");
        let told = loaded.warnings.join("\n");
        assert!(loaded.warnings.len() <= GROUPS.len() * IDLE_LINES_MAX, "{told}");
        for line in text.lines() {
            let key = line.split('=').next().unwrap();
            let is_idle = GROUPS.iter().any(|group| group.keys.contains(&key));
            assert_eq!(told.contains(&format!(" {key}=")), is_idle, "{key}");
        }
        let few = load(&with_file("debugLockEnable=true\nuseABSLock=true\n"), &host()).unwrap().warnings;
        assert_eq!(few.len(), 3, "{few:?}");
    }

    #[test]
    fn unknown_keys_name_the_nearest_known_one() {
        let found = errors("\nflushDiskTyp=SYNC_FLUSH\nstackclock=5\nxyzzy=1\nsendMessageThreadPoolNum=3");
        assert_eq!(
            found[0],
            "broker.conf line 2: `flushDiskTyp` is not a key: did you mean `flushDiskType`? Mend or remove it"
        );
        assert!(found[1].contains("`stackClock`"));
        assert!(found[2].contains("remove it"));
        assert!(found[3].contains("`sendMessageThreadPoolNums`"));
    }

    #[test]
    fn bad_values_stop_the_start_with_the_fix() {
        for (text, fix) in [
            ("listenPort=abc", "0 to 65535"),
            ("listenPort=2", "above 2"),
            ("address=10.77.0.2", "10.77.0.2/24"),
            ("gateway=10.78.0.1", "10.77.0.2/24"),
            ("brokerRole=SLAVE", "ASYNC_MASTER"),
            ("brokerRole=SYNC_MASTER", "ASYNC_MASTER"),
            ("brokerId=1", "brokerId=0"),
            ("aclEnable=true", "aclEnable=false"),
            ("namesrvAddr=nowhere", "host:port"),
            ("brokerIP1=0.0.0.0", "brokerIP1"),
            ("brokerIP1=localhost", "IP address"),
            ("maxMessageSize=0", "maxMessageSize"),
            ("hotLogBytes=1M", "16M"),
            ("mappedFileSizeConsumeQueue=6000001", "multiple of 20"),
            ("registerNameServerPeriod=1", "10000 to 60000"),
            ("storePathRootDir=store", "absolute path"),
            ("a=\\uzzzz", "hexadecimal"),
            ("stackClock=0", "stackClock"),
            ("device=xdp", "xdp:eth1"),
            ("xdpBusyPoll=70000", "xdpBusyPoll"),
        ] {
            let found = errors(text);
            assert!(found.iter().any(|error| error.contains(fix)), "{text}: {found:?}");
        }
        assert_eq!(errors("listenPort=x\nbrokerId=x\nnokey=").len(), 3, "all errors are told at once");
    }

    #[test]
    fn the_address_told_to_clients_is_that_of_the_device() {
        let ip1 =
            |text: &str| load(&with_file(text), &host()).unwrap().config.broker_ip1.unwrap().to_string();
        assert_eq!(ip1("device=kernel"), "192.0.2.7");
        assert_eq!(ip1("device=kernel:127.0.0.1"), "127.0.0.1");
        assert_eq!(ip1("device=kernel\nbindAddress=127.0.0.3"), "127.0.0.3");
        assert_eq!(ip1("device=kernel\nbrokerIP1=198.51.100.1"), "198.51.100.1");
        assert_eq!(ip1("address=10.9.0.7/24"), "10.9.0.7");
    }

    /// Goal: who listens for this host alone and tells other hosts an address of his is told that they cannot connect.
    #[test]
    fn an_address_behind_which_nobody_listens_is_told() {
        let warned = |text: &str| {
            let text = format!("namesrvAddr=10.0.0.1:9876\n{text}");
            load(&with_file(&text), &host()).unwrap().warnings
        };
        for lines in [
            "device=kernel:127.0.0.1\nbrokerIP1=10.0.0.5\n",
            "device=kernel\nbindAddress=127.0.0.1\nbrokerIP1=10.0.0.5\n",
        ] {
            let told = warned(lines);
            assert!(told.len() == 1 && told[0].starts_with("clients are told 10.0.0.5, but"), "{told:?}");
        }
        for lines in [
            "device=kernel:127.0.0.1\n",
            "device=kernel:10.0.0.6\nbrokerIP1=10.0.0.5\n",
            "device=kernel\nbrokerIP1=10.0.0.5\n",
        ] {
            assert_eq!(warned(lines), [""; 0]);
        }
    }

    /// Goal: code 25 changes what it may, all or nothing, and nothing else.
    #[test]
    fn a_running_broker_takes_an_allow_list_of_changes() {
        let config = load(&Sources::default(), &host()).unwrap().config;
        let changed = config.changed([("traceOn", "false"), ("brokerPermission", "4")]).unwrap();
        assert!(!changed.trace_on && !changed.broker_permission.can_write());
        for (key, value, why) in [
            ("storePathRootDir", "/tmp/x", "restart only"),
            ("namesrvAddr", "evil:1", "restart only"),
            ("fileReservedTime", "1", "restart only"),
            ("rocketmqHome", "/tmp", "has no effect"),
            ("filterServerNums", "$(reboot)", "has no effect"),
            ("xyzzy", "1", "not a key"),
        ] {
            let Err(ChangeError::NotAllowed(text)) = config.changed([("traceOn", "false"), (key, value)])
            else {
                panic!("{key} was taken");
            };
            assert!(text.contains(why), "{text}");
        }
        let Err(ChangeError::Value(_)) = config.changed([("traceOn", "perhaps")]) else { panic!("taken") };
    }

    /// Goal: no key stands in two tables. Method: count all of them.
    #[test]
    fn every_key_stands_once() {
        let mut all: Vec<&str> = Config::KEYS.to_vec();
        all.extend(MISSING_FEATURES.iter().map(|missing| missing.key));
        all.extend(GROUPS.iter().flat_map(|group| group.keys));
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
