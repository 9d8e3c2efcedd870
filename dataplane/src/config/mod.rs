//! Configuration: parsed once into a checked type.
//!
//! ```text
//! -n, --set  over  NAMESRV_ADDR  over  -c FILE  over  default
//!              \________ each key: honoured | accepted without effect (a warning) | unknown (an error) ________/
//! ```
//!
//! The file is RocketMQ's own (`protocol::config_text`). Keys with effect are the table in `settings.rs`; keys of the
//! official broker that have none here are in `without_effect.rs`; docs/COMPAT.md lists both. Deliberately absent:
//! the address server (`fetchNamesrvAddrByAddressServer`) and any key that names a command to run.

mod faults;
mod load;
mod network;
mod settings;
mod shards;
mod value;
mod without_effect;

pub use load::{ChangeError, ConfigErrors, Host, Loaded, Override, Sources, load};
pub use network::{Device, HostPort, NamesrvList, Network};
pub use settings::Config;
pub use shards::shard_folder;
pub use value::{BrokerRole, Bytes, Cores, DelayLevels, FlushDiskType, Hours, Permission, Setting, Share};

/// What a start prints when the keys are wrong or have no effect; and what the COMPAT table is checked against.
pub fn keys_without_effect() -> impl Iterator<Item = (&'static str, &'static str)> {
    without_effect::GROUPS.iter().flat_map(|group| group.keys.iter().map(|&key| (key, group.why)))
}

/// Keys that may have one value only until the feature exists, with that value and the way out.
pub fn keys_of_missing_features() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    without_effect::MISSING_FEATURES.iter().map(|missing| (missing.key, missing.only, missing.fix))
}

/// What is shown of keys without effect: those of missing features, and those that tools ask for by name.
pub fn shown_without_effect() -> impl Iterator<Item = (&'static str, &'static str)> {
    let missing = without_effect::MISSING_FEATURES.iter().map(|missing| (missing.key, missing.only));
    missing.chain(without_effect::SHOWN.iter().copied())
}
