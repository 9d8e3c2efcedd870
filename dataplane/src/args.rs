//! The command line: the flags of the official broker, and `--set` for any key.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Parser;

use crate::config::{Config, Override, Sources, keys_of_missing_features, keys_without_effect};

/// A broker that speaks the RocketMQ protocol through a TCP stack of its own.
#[derive(Debug, Default, Parser)]
#[command(
    version,
    after_help = "Flags win over NAMESRV_ADDR, that over the file, that over the defaults.\n\
    Without privileges: --set device=kernel. With a TAP device clients on this host reach 10.77.0.2:10911.\n\
    Stop it with SIGTERM or Ctrl-C: it signs off from the name servers and leaves its files complete.",
    after_long_help = "Examples:\n\
    \x20 afterburner-dataplane -n 127.0.0.1:9876 --set brokerName=broker-a\n\
    \x20 afterburner-dataplane -c broker.conf --set device=kernel:127.0.0.1\n\
    \x20 NAMESRV_ADDR='10.0.0.1:9876;10.0.0.2:9876' afterburner-dataplane -p\n\n\
    Flags win over NAMESRV_ADDR, that over the file, that over the defaults.\n\
    Without privileges: --set device=kernel. With a TAP device clients on this host reach 10.77.0.2:10911.\n\
    Stop it with SIGTERM or Ctrl-C: it signs off from the name servers and leaves its files complete."
)]
pub struct Args {
    /// Properties file, as RocketMQ's broker.conf
    #[arg(short = 'c', long = "configFile", value_name = "FILE")]
    pub config_file: Option<PathBuf>,

    /// Name servers, as in '10.0.0.1:9876;10.0.0.2:9876'
    #[arg(short = 'n', long = "namesrvAddr", value_name = "ADDRS")]
    pub namesrv_addr: Option<String>,

    /// Any key of the file, as in hotLogBytes=1G; may be given many times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// Print all settings and exit
    #[arg(short = 'p', long = "printConfigItem")]
    pub print_all: bool,

    /// Print the important settings and exit
    #[arg(short = 'm', long = "printImportantConfig")]
    pub print_important: bool,

    /// List every key with its default, what it is for, and which have no effect here; then exit
    #[arg(long = "help-keys")]
    pub help_keys: bool,
}

/// What the command line says that is no flag and no setting.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ArgsError {
    #[error("--set {0}: write --set KEY=VALUE")]
    NoPair(String),
    #[error("-c {}: {error}; give a file that can be read", path.display())]
    File { path: PathBuf, error: String },
}

impl Args {
    /// Where the configuration comes from. `namesrv_addr`: the environment's.
    pub fn sources(&self, namesrv_addr: Option<String>) -> Result<Sources, ArgsError> {
        let file = match &self.config_file {
            None => None,
            Some(path) => match std::fs::read(path) {
                Ok(bytes) => Some((path.clone(), bytes)),
                Err(error) => return Err(ArgsError::File { path: path.clone(), error: error.to_string() }),
            },
        };
        let mut flags = Vec::new();
        if let Some(value) = &self.namesrv_addr {
            flags.push(Override { flag: "-n", key: "namesrvAddr".into(), value: value.clone() });
        }
        for pair in &self.set {
            let (key, value) = pair.split_once('=').ok_or_else(|| ArgsError::NoPair(pair.clone()))?;
            flags.push(Override { flag: "--set", key: key.trim().into(), value: value.into() });
        }
        Ok(Sources { file, namesrv_addr, flags })
    }
}

/// The text of `-p` and `-m`: properties that could be a file.
pub fn print_settings(config: &Config, important_only: bool) -> String {
    let mut text = String::new();
    for (key, value) in config.entries() {
        if !important_only || IMPORTANT.contains(&key) {
            writeln!(text, "{key}={value}").expect("a String takes everything");
        }
    }
    text
}

/// The text of `--help-keys`.
pub fn explain_keys() -> String {
    let mut text = String::from("Keys with effect:\n");
    let mut put = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    for (key, default) in Config::default().entries() {
        let about = Config::explain(key).unwrap_or_default();
        let default = if default.is_empty() { String::new() } else { format!(" [{default}]") };
        put(format!("  {key:34} {about}{default}"));
    }
    put("\nKeys of features that are not in this release:".into());
    for (key, only, _) in keys_of_missing_features() {
        put(format!("  {key:34} must be {only}"));
    }
    put("\nKeys of the official broker that are accepted and have no effect:".into());
    for (key, why) in keys_without_effect() {
        put(format!("  {key:34} {why}"));
    }
    text
}

const IMPORTANT: [&str; 16] = [
    "brokerClusterName",
    "brokerName",
    "brokerId",
    "brokerRole",
    "brokerIP1",
    "brokerIP2",
    "namesrvAddr",
    "listenPort",
    "storePathRootDir",
    "flushDiskType",
    "brokerPermission",
    "defaultTopicQueueNums",
    "autoCreateTopicEnable",
    "autoCreateSubscriptionGroup",
    "device",
    "hotLogBytes",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Host, load};

    fn parse(args: &[&str]) -> Args {
        Args::try_parse_from([&["afterburner-dataplane"], args].concat()).unwrap()
    }

    #[test]
    fn the_flags_of_the_official_broker() {
        let args = parse(&["-c", "/etc/broker.conf", "-n", "a:1;b:2", "-p", "-m"]);
        assert_eq!(args.config_file, Some("/etc/broker.conf".into()));
        assert_eq!(args.namesrv_addr.as_deref(), Some("a:1;b:2"));
        assert!(args.print_all && args.print_important);
        assert!(!parse(&[]).print_all);
    }

    #[test]
    fn set_takes_any_key_and_wants_a_pair() {
        let args = parse(&["--set", "hotLogBytes=1G", "--set", "messageDelayLevel=1s 2s", "-n", "a:1"]);
        let sources = args.sources(Some("env:1".into())).unwrap();
        assert_eq!(sources.flags.len(), 3);
        assert_eq!(
            (sources.flags[2].key.as_str(), sources.flags[2].value.as_str()),
            ("messageDelayLevel", "1s 2s")
        );
        assert_eq!(parse(&["--set", "x"]).sources(None), Err(ArgsError::NoPair("x".into())));
        let error = parse(&["-c", "/no/such/file"]).sources(None).unwrap_err().to_string();
        assert!(error.starts_with("-c /no/such/file: "), "{error}");
    }

    /// Goal: what `-p` prints is a file that gives the same settings.
    #[test]
    fn printed_settings_are_a_file() {
        let host = Host { name: Some("box".into()), home: Some("/home/me".into()), address: None };
        let sources = parse(&["-n", "a:1", "--set", "brokerIP1=10.0.0.9"]).sources(None).unwrap();
        let config = load(&sources, &host).unwrap().config;
        let text = print_settings(&config, false);
        let again = Sources { file: Some(("x".into(), text.into_bytes())), ..Sources::default() };
        assert_eq!(load(&again, &host).unwrap().config, config);
        assert_eq!(print_settings(&config, true).lines().count(), IMPORTANT.len());
    }

    /// Goal: docs/COMPAT.md lists what the code knows. Method: look for the row of every key.
    #[test]
    fn every_key_is_documented() {
        let text = include_str!("../../docs/COMPAT.md");
        for (key, default) in Config::default().entries() {
            let at_run_time = if Config::is_changeable(key) { "yes" } else { "" };
            let default = if default.is_empty() { default } else { format!("`{default}`") };
            let row = format!("| `{key}` | {default} | {at_run_time} | ");
            assert!(text.contains(&row), "{row}");
        }
        for (key, only, _) in keys_of_missing_features() {
            assert!(text.contains(&format!("| `{key}` | `{only}` |")), "{key}");
        }
        for (key, why) in keys_without_effect() {
            let row = text.lines().find(|line| line.starts_with(&format!("| {why} | ")));
            assert!(row.is_some_and(|row| row.contains(&format!("`{key}`"))), "{key}");
        }
    }

    /// Goal: docs/COMPAT.md lists nothing that the code does not know. Method: each key of its tables, looked for in the code.
    #[test]
    fn nothing_else_is_documented() {
        let text = include_str!("../../docs/COMPAT.md");
        let between = |from: &str, to: &str| {
            let after = text.split_once(from).unwrap().1;
            after.split_once(to).unwrap().0
        };
        let key = |row: &'static str| row.strip_prefix("| `").and_then(|row| row.split('`').next());
        for key in between("### With effect", "### That promise").lines().filter_map(key) {
            assert!(Config::KEYS.contains(&key), "{key}");
        }
        for key in between("### That promise", "### Accepted without").lines().filter_map(key) {
            let is_missing = keys_of_missing_features().any(|(missing, _, _)| missing == key);
            assert!(is_missing || Config::KEYS.contains(&key), "{key}");
        }
        for row in between("### Accepted without", "\n## ").lines().filter_map(|row| row.strip_prefix("| ")) {
            let (why, keys) = row.split_once(" | ").unwrap();
            for key in keys.split('`').skip(1).step_by(2) {
                assert!(keys_without_effect().any(|known| known == (key, why)), "{key}");
            }
        }
    }

    #[test]
    fn every_key_is_explained() {
        let text = explain_keys();
        for key in Config::KEYS {
            assert!(text.contains(&format!("  {key} ")), "{key}");
            assert!(Config::explain(key).is_some_and(|about| !about.is_empty()), "{key}");
        }
    }
}
