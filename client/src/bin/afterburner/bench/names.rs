//! What a bench calls its devices, and which networks it takes: by its process's id, so that two beside each other do not
//! meet; and what one that was killed left behind is known for what it is, and removed by the next.

use crate::up::network::{self, Network, ip};
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

/// What `prefix` is called in this process.
pub fn of(prefix: &str) -> String {
    format!("{prefix}{}", std::process::id())
}

/// The broker's address in the network of this process.
pub fn subnet(first: u8) -> Network {
    let third = first + (std::process::id() % NETWORKS) as u8;
    Network { address: Ipv4Addr::new(10, 77, third, 2), prefix_len: 24 }
}

/// Removes devices and namespaces of benches that are no more.
pub fn sweep() {
    for (folder, prefixes, object) in
        [("/sys/class/net", &[TAP, LOAD_END][..], "link"), ("/run/netns", &[NAMESPACE][..], "netns")]
    {
        for name in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = name.file_name().to_string_lossy().into_owned();
            if prefixes.iter().any(|prefix| is_left_behind(&name, prefix)) {
                // Without the right to, they stay, and do no harm.
                let _ = ip(&[object, "delete", &name]);
                let _ = fs::remove_file(network::marker(&name));
            }
        }
    }
}

fn is_left_behind(name: &str, prefix: &str) -> bool {
    let pid = name.strip_prefix(prefix).and_then(|pid| pid.parse::<u32>().ok());
    pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
}

pub const TAP: &str = "ab-bt";
pub const LOAD_END: &str = "ab-bl";
pub const NIC: &str = "ab-bn";
pub const NAMESPACE: &str = "ab-bench-";
/// Third bytes of addresses: NETWORKS each.
pub const TAP_NETWORKS: u8 = 64;
pub const VETH_NETWORKS: u8 = 160;
const NETWORKS: u32 = 96;

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: only what carries the id of a process that is no more is removed.
    #[test]
    fn the_living_keep_their_devices() {
        assert!(!is_left_behind(&of(TAP), TAP));
        assert!(is_left_behind("ab-bt4294967295", TAP));
        assert!(!is_left_behind("ab-btx", TAP));
        assert!(!is_left_behind("eth0", TAP));
        assert!(of(LOAD_END).len() <= 15, "the kernel's limit");
    }
}
