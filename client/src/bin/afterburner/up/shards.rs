//! How many shards the broker that `up` starts will run, and what each needs on this host: memory, and a TAP.
//!
//! ```text
//! --set cores=2,3, else `cores` of the broker's file, else one      shard 1: ab0-1, one network further (as the broker does)
//! ```
//!
//! What makes no sense here is left to the broker, which says so when it starts.

use std::path::Path;

use protocol::config_text;

use super::network::Network;

/// How many cores are listed.
pub fn count(set: &[String], file: Option<&Path>) -> usize {
    let set =
        set.iter().rev().find_map(|pair| Some(pair.split_once('=').filter(|pair| pair.0.trim() == KEY)?.1));
    let listed = |cores: &str| cores.split(',').count();
    set.map(listed).unwrap_or_else(|| {
        let entries =
            file.and_then(|file| config_text::parse(&std::fs::read(file).ok()?).ok()).unwrap_or_default();
        entries.iter().rev().find(|entry| entry.key == KEY).map_or(1, |entry| listed(&entry.value))
    })
}

/// The TAP of each shard and the broker's address on it; fewer when addresses end.
pub fn taps(name: &str, address: Network, count: usize) -> Vec<(String, Network)> {
    let tap = |number: usize| Some((tap_name(name, number), address.further(number)?));
    (0..count).map_while(tap).collect()
}

/// The TAP of a shard, given the first one's.
pub fn tap_name(first: &str, number: usize) -> String {
    match number {
        0 => first.to_owned(),
        _ => format!("{first}-{number}"),
    }
}

const KEY: &str = "cores";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_counted_as_the_broker_reads_them() {
        let file = std::env::temp_dir().join(format!("afterburner-up-shards-{}", std::process::id()));
        std::fs::write(&file, "brokerName=a\ncores = 1,2,3\n").unwrap();
        let count = |set: &[&str], file: Option<&Path>| {
            super::count(&set.iter().map(|&pair| pair.to_owned()).collect::<Vec<_>>(), file)
        };
        assert_eq!((count(&[], None), count(&["hotLogBytes=1G"], None)), (1, 1));
        assert_eq!((count(&["cores=2,3"], None), count(&["cores=2,3", "cores=auto"], None)), (2, 1));
        assert_eq!((count(&[], Some(&file)), count(&["cores=0,1"], Some(&file))), (3, 2));
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    fn each_shard_has_a_tap_and_a_network() {
        let taps = taps("ab0", "10.77.0.2/24".parse().unwrap(), 2);
        let shown: Vec<String> = taps.iter().map(|(name, network)| format!("{name} {network}")).collect();
        assert_eq!(shown, ["ab0 10.77.0.2/24", "ab0-1 10.77.1.2/24"]);
        assert_eq!(super::taps("ab0", "255.255.255.2/24".parse().unwrap(), 3).len(), 1);
    }
}
