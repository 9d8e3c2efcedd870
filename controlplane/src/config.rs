//! The name server's settings: RocketMQ's own keys, in a properties file, on the command line, or by code 318.
//!
//! ```text
//! --set key=value   over   the file of -c   over   the environment (ROCKETMQ_HOME)   over   the table below
//! ```
//!
//! Start-up is strict: a key nobody knows, or a value that does not fit, stops it with a sentence that says the fix.
//! Changes at run time are as lenient as those of the official server, which scripts rely on: what does not fit is
//! passed over. Keys marked `quiet` are accepted, kept and shown, but tune machinery that this server does not have.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use protocol::config_text::{self, ConfigTextError, Entry};

/// All settings as text, by key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    values: BTreeMap<&'static str, String>,
}

/// The settings that mean something here, read out of the text once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub bind: SocketAddr,
    pub kv_config_path: PathBuf,
    pub config_store_path: PathBuf,
    pub order_message_enable: bool,
    pub return_order_topic_config_to_broker: bool,
    pub support_acting_master: bool,
    pub notify_min_broker_id_changed: bool,
    pub delete_topic_with_broker_registration: bool,
    pub enable_all_topic_list: bool,
    pub enable_topic_list: bool,
    /// How long after the start routes are withheld; nothing when needWaitForService is off.
    pub wait_for_service: Duration,
    pub scan_interval: Duration,
    pub idle_limit: Duration,
    pub socket_backlog: u32,
    pub selector_threads: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("{origin}: unknown key `{key}`{hint}")]
    UnknownKey { origin: Origin, key: String, hint: Hint },
    #[error("{origin}: `{key}={value}`: {needs}")]
    BadValue { origin: Origin, key: &'static str, value: String, needs: &'static str },
    #[error("--set {0}: write it as key=value")]
    NotAPair(String),
    #[error("{file}: {error}")]
    Text { file: String, error: ConfigTextError },
}

/// Where a setting was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    File { name: String, line: usize },
    CommandLine,
}

/// The key that was probably meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint(Option<&'static str>);

/// What code 318 may not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlackListed;

impl Config {
    /// The defaults. `home` is where the KV file goes unless told; `rocketmq_home` is ROCKETMQ_HOME, if there is one.
    pub fn new(home: &str, rocketmq_home: Option<String>) -> Self {
        let mut values: BTreeMap<_, _> = KEYS.iter().map(|key| (key.name, key.default.to_owned())).collect();
        values.insert("kvConfigPath", format!("{home}/namesrv/kvConfig.json"));
        values.insert("configStorePath", format!("{home}/namesrv/namesrv.properties"));
        values.insert("rocketmqHome", rocketmq_home.unwrap_or_default());
        Self { values }
    }

    /// Takes the text of the `-c` file, to which later changes will be written back.
    pub fn read_file(&mut self, name: &str, bytes: &[u8]) -> Result<(), ConfigError> {
        let entries =
            config_text::parse(bytes).map_err(|error| ConfigError::Text { file: name.to_owned(), error })?;
        for Entry { line, key, value } in entries {
            self.set(Origin::File { name: name.to_owned(), line }, &key, &value)?;
        }
        self.values.insert("configStorePath", name.to_owned());
        Ok(())
    }

    /// Takes one `--set key=value`.
    pub fn read_argument(&mut self, argument: &str) -> Result<(), ConfigError> {
        let (key, value) =
            argument.split_once('=').ok_or_else(|| ConfigError::NotAPair(argument.to_owned()))?;
        self.set(Origin::CommandLine, key.trim(), value)
    }

    fn set(&mut self, origin: Origin, name: &str, value: &str) -> Result<(), ConfigError> {
        let Some(key) = find(name) else {
            let hint = Hint(config_text::nearest(name, KEYS.iter().map(|key| key.name)));
            return Err(ConfigError::UnknownKey { origin, key: name.to_owned(), hint });
        };
        let value = value.trim().to_owned();
        if let Err(needs) = key.kind.check(&value) {
            return Err(ConfigError::BadValue { origin, key: key.name, value, needs });
        }
        self.values.insert(key.name, value);
        Ok(())
    }

    /// Code 318: takes what is known and fits, passes over the rest. Nothing is taken when a key is black-listed.
    pub fn update(&mut self, entries: &[Entry]) -> Result<(), BlackListed> {
        let black_list = self.text("configBlackList").split(';');
        let black: Vec<&str> = black_list.chain(BLACK_LIST_ALWAYS).map(str::trim).collect();
        if entries.iter().any(|entry| black.contains(&entry.key.as_str())) {
            return Err(BlackListed);
        }
        for Entry { key: name, value, .. } in entries {
            let Some(key) = find(name) else { continue };
            match key.kind {
                Kind::Bool => {
                    self.values.insert(key.name, value.trim().eq_ignore_ascii_case("true").to_string());
                }
                kind if kind.check(value.trim()).is_ok() => {
                    self.values.insert(key.name, value.trim().to_owned());
                }
                _ => log::warn!("updateNamesrvConfig: {name}={value} does not fit and is passed over"),
            }
        }
        Ok(())
    }

    /// All settings, sorted, one `key=value` a line: `-p`, code 319 and the file.
    pub fn to_text(&self) -> String {
        config_text::write(self.values.iter().map(|(key, value)| (*key, value.as_str())))
    }

    pub fn settings(&self) -> Settings {
        let seconds = |key| Duration::from_secs(self.number(key));
        Settings {
            bind: SocketAddr::new(
                self.text("bindAddress").parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
                u16::try_from(self.number("listenPort")).expect("checked as a port when it was set"),
            ),
            kv_config_path: self.text("kvConfigPath").into(),
            config_store_path: self.text("configStorePath").into(),
            order_message_enable: self.flag("orderMessageEnable"),
            return_order_topic_config_to_broker: self.flag("returnOrderTopicConfigToBroker"),
            support_acting_master: self.flag("supportActingMaster"),
            notify_min_broker_id_changed: self.flag("notifyMinBrokerIdChanged"),
            delete_topic_with_broker_registration: self.flag("deleteTopicWithBrokerRegistration"),
            enable_all_topic_list: self.flag("enableAllTopicList"),
            enable_topic_list: self.flag("enableTopicList"),
            wait_for_service: match self.flag("needWaitForService") {
                true => seconds("waitSecondsForService"),
                false => Duration::ZERO,
            },
            scan_interval: Duration::from_millis(self.number("scanNotActiveBrokerInterval").max(1)),
            idle_limit: match self.number("serverChannelMaxIdleTimeSeconds") {
                0 => Duration::MAX,
                limit => Duration::from_secs(limit),
            },
            socket_backlog: u32::try_from(self.number("serverSocketBacklog")).unwrap_or(u32::MAX),
            selector_threads: usize::try_from(self.number("serverSelectorThreads")).unwrap_or(1).max(1),
        }
    }

    fn text(&self, key: &'static str) -> &str {
        self.values.get(key).expect("every key has a default")
    }

    fn flag(&self, key: &'static str) -> bool {
        self.text(key).eq_ignore_ascii_case("true")
    }

    fn number(&self, key: &'static str) -> u64 {
        self.text(key).parse().expect("checked as a number when it was set")
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File { name, line } => write!(out, "{name}, line {line}"),
            Self::CommandLine => out.write_str("--set"),
        }
    }
}

impl std::fmt::Display for Hint {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(known) => write!(out, "; did you mean `{known}`?"),
            None => out.write_str("; `-p` lists the known ones"),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Bool,
    Number,
    Port,
    Address,
    Text,
}

impl Kind {
    fn check(self, value: &str) -> Result<(), &'static str> {
        let fits = match self {
            Self::Bool => value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false"),
            Self::Number => value.parse::<u32>().is_ok(),
            Self::Port => value.parse::<u16>().is_ok(),
            Self::Address => value.parse::<IpAddr>().is_ok(),
            Self::Text => true,
        };
        if fits { Ok(()) } else { Err(self.needs()) }
    }

    fn needs(self) -> &'static str {
        match self {
            Self::Bool => "write true or false",
            Self::Number => "write a whole number from 0",
            Self::Port => "write a port, 0 to 65535",
            Self::Address => "write an address of this host, as in 0.0.0.0",
            Self::Text => "write any text",
        }
    }
}

struct Key {
    name: &'static str,
    kind: Kind,
    default: &'static str,
}

fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

const fn key(name: &'static str, kind: Kind, default: &'static str) -> Key {
    Key { name, kind, default }
}

/// Paths that a stranger must not move, whatever configBlackList says.
const BLACK_LIST_ALWAYS: [&str; 4] = ["rocketmqHome", "configBlackList", "configStorePath", "kvConfigPath"];

/// Every key of the official 5.5.0 name server, in its order.
const KEYS: &[Key] = &[
    key("bindAddress", Kind::Address, "0.0.0.0"),
    key("clientRequestThreadPoolNums", Kind::Number, "8"), // quiet
    key("clientRequestThreadPoolQueueCapacity", Kind::Number, "50000"), // quiet
    key("clusterTest", Kind::Bool, "false"),               // quiet
    key("configBlackList", Kind::Text, "configBlackList;configStorePath;kvConfigPath"),
    key("configStorePath", Kind::Text, ""),
    key("defaultThreadPoolNums", Kind::Number, "16"), // quiet
    key("defaultThreadPoolQueueCapacity", Kind::Number, "10000"), // quiet
    key("deleteTopicWithBrokerRegistration", Kind::Bool, "false"),
    key("enableAllTopicList", Kind::Bool, "true"),
    key("enableControllerInNamesrv", Kind::Bool, "false"), // quiet
    key("enableShutdownGracefully", Kind::Bool, "false"),  // quiet
    key("enableTopicList", Kind::Bool, "true"),
    key("kvConfigPath", Kind::Text, ""),
    key("listenPort", Kind::Port, "9876"),
    key("needWaitForService", Kind::Bool, "false"),
    key("notifyMinBrokerIdChanged", Kind::Bool, "false"),
    key("orderMessageEnable", Kind::Bool, "false"),
    key("productEnvName", Kind::Text, "center"), // quiet
    key("returnOrderTopicConfigToBroker", Kind::Bool, "true"),
    key("rocketmqHome", Kind::Text, ""), // quiet
    key("scanNotActiveBrokerInterval", Kind::Number, "5000"),
    key("serverAsyncSemaphoreValue", Kind::Number, "64"), // quiet
    key("serverCallbackExecutorThreads", Kind::Number, "0"), // quiet
    key("serverChannelMaxIdleTimeSeconds", Kind::Number, "120"),
    key("serverNettyWorkerGroupEnable", Kind::Bool, "true"), // quiet
    key("serverOnewaySemaphoreValue", Kind::Number, "256"),  // quiet
    key("serverPooledByteBufAllocatorEnable", Kind::Bool, "true"), // quiet
    key("serverSelectorThreads", Kind::Number, "3"),
    key("serverSocketBacklog", Kind::Number, "1024"),
    key("serverSocketRcvBufSize", Kind::Number, "0"), // quiet
    key("serverSocketSndBufSize", Kind::Number, "0"), // quiet
    key("serverWorkerThreads", Kind::Number, "8"),    // quiet
    key("shutdownWaitTimeSeconds", Kind::Number, "30"), // quiet
    key("supportActingMaster", Kind::Bool, "false"),
    key("unRegisterBrokerQueueCapacity", Kind::Number, "3000"), // quiet
    key("useEpollNativeSelector", Kind::Bool, "false"),         // quiet
    key("waitSecondsForService", Kind::Number, "45"),
    key("writeBufferHighWaterMark", Kind::Number, "0"), // quiet
    key("writeBufferLowWaterMark", Kind::Number, "0"),  // quiet
];

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config::new("/home/u", None)
    }

    fn update(config: &mut Config, text: &str) -> Result<(), BlackListed> {
        config.update(&config_text::parse(text.as_bytes()).unwrap())
    }

    /// Goal: the defaults are those of NamesrvConfig and NettyServerConfig. Method: the whole text against a listing taken from
    /// an official 5.5.0 server.
    #[test]
    fn the_defaults_are_the_official_ones() {
        let text = Config::new("/home/u", Some("/opt/mq".into())).to_text();
        assert_eq!(text, include_str!("../tests/data/namesrv-defaults-5.5.0.properties"));
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let mut config = config();
        config.read_file("/etc/ns.conf", b"listenPort = 1\norderMessageEnable=TRUE\n").unwrap();
        config.read_argument("listenPort=9999").unwrap();
        let settings = config.settings();
        assert_eq!(settings.bind.port(), 9999);
        assert!(settings.order_message_enable);
        assert_eq!(settings.config_store_path, PathBuf::from("/etc/ns.conf"));
        assert_eq!(settings.kv_config_path, PathBuf::from("/home/u/namesrv/kvConfig.json"));
    }

    /// Goal: a mistake stops the start with a sentence that names the place and the fix.
    #[test]
    fn mistakes_are_explained() {
        let say = |text: &str| config().read_file("ns.conf", text.as_bytes()).unwrap_err().to_string();
        assert_eq!(say("a=1"), "ns.conf, line 1: unknown key `a`; `-p` lists the known ones");
        assert_eq!(
            say("\nlistenport=1"),
            "ns.conf, line 2: unknown key `listenport`; did you mean `listenPort`?"
        );
        assert_eq!(say("listenPort=98760"), "ns.conf, line 1: `listenPort=98760`: write a port, 0 to 65535");
        assert_eq!(
            say("needWaitForService=yes"),
            "ns.conf, line 1: `needWaitForService=yes`: write true or false"
        );
        assert!(say("bindAddress=localhost").contains("0.0.0.0"));
        assert!(say("k=\\u00").contains("ns.conf"));
        let error = config().read_argument("listenPort").unwrap_err().to_string();
        assert_eq!(error, "--set listenPort: write it as key=value");
    }

    /// Goal: code 318 as the official server does it. Method: known, unknown, unfit and black-listed keys.
    #[test]
    fn an_update_takes_what_fits() {
        let mut config = config();
        update(&mut config, "zork=1\nwaitSecondsForService=46\nlistenPort=abc\nenableTopicList=nonsense\n")
            .unwrap();
        assert_eq!(config.text("waitSecondsForService"), "46");
        assert_eq!(config.text("listenPort"), "9876");
        assert_eq!(config.text("enableTopicList"), "false");
        assert!(!config.to_text().contains("zork"));
    }

    #[test]
    fn black_listed_keys_are_refused_as_a_whole() {
        let mut config = config();
        for key in ["rocketmqHome", "configBlackList", "configStorePath", "kvConfigPath"] {
            assert_eq!(
                update(&mut config, &format!("waitSecondsForService=46\n{key}=/tmp\n")),
                Err(BlackListed)
            );
        }
        assert_eq!(config.text("waitSecondsForService"), "45");
        config.read_argument("configBlackList=productEnvName").unwrap();
        assert_eq!(update(&mut config, "productEnvName=x"), Err(BlackListed));
    }

    #[test]
    fn waiting_for_service_needs_both_keys() {
        let mut config = config();
        assert_eq!(config.settings().wait_for_service, Duration::ZERO);
        config.read_argument("needWaitForService=true").unwrap();
        assert_eq!(config.settings().wait_for_service, Duration::from_secs(45));
    }
}
