//! Why there is no AF_XDP device; each says what to do about it.

use std::io;

#[derive(Debug, thiserror::Error)]
pub enum XdpError {
    #[error("the interface name {name:?} is not 1 to 15 letters, digits, '-', '_' or '.'")]
    BadName { name: String },
    #[error("there is no interface {name}: look with `ip link`, and write device=xdp:NAME")]
    NoInterface { name: String },
    #[error(
        "{name} is no Ethernet interface: AF_XDP takes frames from an Ethernet NIC or a veth; use device=tap or device=kernel"
    )]
    NotEthernet { name: String },
    #[error("{name} is down: run `ip link set {name} up`")]
    Down { name: String },
    #[error(
        "{name} has an MTU of {mtu}, and frames longer than a page are not taken: run `ip link set {name} mtu 1500` (at most {max})"
    )]
    MtuTooBig { name: String, mtu: usize, max: usize },
    #[error(
        "{name} has {queues} receive queues, and one polling thread takes {max} at most: run `ethtool -L {name} combined 1`"
    )]
    TooManyQueues { name: String, queues: u32, max: u32 },
    #[error(
        "{name} has {queues} receive queues, and each of {shards} shards needs one: run `ethtool -L {name} combined {shards}`, \
         or list fewer cores"
    )]
    TooFewQueues { name: String, queues: u32, shards: u32 },
    #[error(
        "may not take frames from {name}: run as root, or give the program the rights with `setcap \
         cap_net_admin,cap_net_raw,cap_bpf,cap_ipc_lock+ep afterburner-dataplane`, or use device=kernel"
    )]
    NotAllowed { name: String },
    #[error(
        "the driver of {name} ({driver}) has no native XDP. The kernel's generic mode (SKB) is not used: it hands over \
         large segments that fit no buffer and loses them without a word. Use another NIC, device=tap or device=kernel"
    )]
    NotNative { name: String, driver: String },
    #[error(
        "{name} is taken: another process has an XDP program or a socket on it, see `ip link show {name}`; stop it, or \
         remove a program left behind with `ip link set {name} xdp off`"
    )]
    Busy { name: String },
    #[error(
        "the driver of {name} ({driver}) does not take a program as it is set up: {error}. Usual causes: an MTU that is \
         too big, of {name} or, of a veth, of its peer (`ip link set NAME mtu 1500`); receive offloads that join frames \
         (`ethtool -K {name} lro off rx-gro-hw off`)"
    )]
    Unsuitable { name: String, driver: String, error: io::Error },
    #[error(
        "the driver of {name} ({driver}) has no queues to spare for a program ({queues} are in use): halve them with \
         `ethtool -L {name} combined N`; of a veth, give it as many receive queues as its peer has transmit queues"
    )]
    Queues { name: String, driver: String, queues: u32 },
    #[error(
        "no memory may be locked for frames of {name}: raise `ulimit -l` (LimitMEMLOCK=infinity in a unit file), or run as root"
    )]
    NoLockedMemory { name: String },
    #[error("this kernel has no AF_XDP (CONFIG_XDP_SOCKETS): use device=tap or device=kernel")]
    NoAfXdp,
    #[error("cannot {what} for {name}: {error}")]
    System { what: &'static str, name: String, error: io::Error },
}

impl XdpError {
    /// Somebody may let go in a moment: a process that has just died, as a rule.
    pub fn is_busy(&self) -> bool {
        matches!(self, XdpError::Busy { .. })
    }

    pub(super) fn of(what: &'static str, name: &str, error: io::Error) -> Self {
        let name = name.to_owned();
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::NotAllowed { name },
            Some(libc::EAFNOSUPPORT | libc::ESOCKTNOSUPPORT) => Self::NoAfXdp,
            Some(libc::ENOBUFS) => Self::NoLockedMemory { name },
            Some(libc::ENETDOWN) => Self::Down { name },
            Some(libc::ENODEV) => Self::NoInterface { name },
            _ => Self::System { what, name, error },
        }
    }

    pub(super) fn of_attach(name: &str, driver: &str, queues: u32, error: io::Error) -> Self {
        let (name, driver) = (name.to_owned(), driver.to_owned());
        match error.raw_os_error() {
            Some(libc::EOPNOTSUPP) => Self::NotNative { name, driver },
            Some(libc::EBUSY | libc::EEXIST) => Self::Busy { name },
            Some(libc::EINVAL | libc::ERANGE | libc::E2BIG | libc::EMSGSIZE) => {
                Self::Unsuitable { name, driver, error }
            }
            Some(libc::ENOSPC | libc::ENOMEM) => Self::Queues { name, driver, queues },
            _ => Self::of("attach the program", &name, error),
        }
    }

    pub(super) fn of_bind(name: &str, queue: u32, error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EBUSY) => Self::Busy { name: name.to_owned() },
            _ => Self::of(if queue == 0 { "take the first queue" } else { "take a queue" }, name, error),
        }
    }
}
