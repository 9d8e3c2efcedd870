//! Settings that say where on the network: devices, networks, name servers.

use std::fmt;
use std::net::Ipv4Addr;

use super::value::Setting;

/// `host:port`; the host may be a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    pub host: String,
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Name servers in the order given, none twice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NamesrvList(pub Vec<HostPort>);

impl Setting for NamesrvList {
    fn parse(text: &str) -> Result<Self, String> {
        let mut list = Vec::new();
        for address in text.split(';').map(str::trim).filter(|address| !address.is_empty()) {
            let wanted = || {
                format!(
                    "`{address}` is no name server address: write host:port, as in 10.0.0.1:9876;10.0.0.2:9876"
                )
            };
            let (host, port) = address.rsplit_once(':').ok_or_else(wanted)?;
            let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            let host = match bare {
                Some(inside) if inside.parse::<std::net::Ipv6Addr>().is_ok() => inside,
                None if is_host_name(host) => host,
                _ => return Err(wanted()),
            };
            let port = port.parse().ok().filter(|&port: &u16| port != 0).ok_or_else(wanted)?;
            let found = HostPort { host: host.to_owned(), port };
            if !list.contains(&found) {
                list.push(found);
            }
        }
        Ok(Self(list))
    }
    fn show(&self) -> String {
        self.0.iter().map(HostPort::to_string).collect::<Vec<_>>().join(";")
    }
}

/// A name of letters, digits, `-`, `_` and `.`; one of digits and dots alone must be an IPv4 address.
fn is_host_name(host: &str) -> bool {
    let word = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    let numeric = host.chars().all(|c| c.is_ascii_digit() || c == '.');
    word && (!numeric || host.parse::<Ipv4Addr>().is_ok())
}

/// Where frames come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    Tap { name: String },
    Xdp { interface: String },
    Kernel { ip: Option<Ipv4Addr> },
}

impl Setting for Device {
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (kind, detail) = text.split_once(':').unwrap_or((text, ""));
        match (kind, detail) {
            ("tap", "") => Ok(Self::Tap { name: "ab0".into() }),
            ("tap", name) if is_interface_name(name) => Ok(Self::Tap { name: name.into() }),
            ("tap", _) => {
                Err("a TAP name has 1 to 15 letters, digits, `-`, `_` or `.`, as in tap:ab0".into())
            }
            ("kernel", "") => Ok(Self::Kernel { ip: None }),
            ("kernel", ip) => Ipv4Addr::parse(ip)
                .map(|ip| Self::Kernel { ip: Some(ip) })
                .map_err(|_| "write kernel or kernel:IP, as in kernel:127.0.0.1".into()),
            ("xdp", name) if is_interface_name(name) => Ok(Self::Xdp { interface: name.into() }),
            ("xdp", _) => Err("write the name of a network interface, as in xdp:eth1".into()),
            _ => Err("write tap, tap:NAME, xdp:INTERFACE, kernel or kernel:IP".into()),
        }
    }
    fn show(&self) -> String {
        match self {
            Self::Tap { name } => format!("tap:{name}"),
            Self::Xdp { interface } => format!("xdp:{interface}"),
            Self::Kernel { ip: None } => "kernel".into(),
            Self::Kernel { ip: Some(ip) } => format!("kernel:{ip}"),
        }
    }
}

fn is_interface_name(name: &str) -> bool {
    (1..16).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// An address with the length of its network's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    pub ip: Ipv4Addr,
    pub prefix_len: u8,
}

impl Network {
    pub const DEFAULT: Self = Self { ip: Ipv4Addr::new(10, 77, 0, 2), prefix_len: 24 };

    pub fn contains(self, other: Ipv4Addr) -> bool {
        (self.ip.to_bits() ^ other.to_bits()) >> (32 - self.prefix_len) == 0
    }

    /// The same address of the network that lies so many networks further; none when addresses end before.
    pub fn further(self, networks: usize) -> Option<Self> {
        let step = u32::try_from(networks).ok()?.checked_mul(1 << (32 - self.prefix_len))?;
        let ip = Ipv4Addr::from_bits(self.ip.to_bits().checked_add(step)?);
        let is_usable = !ip.is_loopback() && !ip.is_multicast() && !ip.is_broadcast();
        is_usable.then_some(Self { ip, ..self })
    }

    /// The first address of the network that is not ours: the host's end of a TAP.
    pub fn host_end(self) -> Ipv4Addr {
        let first = self.ip.to_bits() & (u32::MAX << (32 - self.prefix_len)) | 1;
        Ipv4Addr::from_bits(if first == self.ip.to_bits() { first + 1 } else { first })
    }
}

impl Setting for Network {
    fn parse(text: &str) -> Result<Self, String> {
        let wanted = "write an IPv4 address and a prefix length from 8 to 30, as in 10.77.0.2/24";
        let (ip, prefix_len) = text.trim().split_once('/').ok_or(wanted)?;
        let ip: Ipv4Addr = ip.parse().map_err(|_| wanted)?;
        let prefix_len: u8 = prefix_len.parse().map_err(|_| wanted)?;
        if !(8..=30).contains(&prefix_len) {
            return Err(wanted.into());
        }
        let host_bits = u32::MAX >> prefix_len;
        let host = ip.to_bits() & host_bits;
        if host == 0 || host == host_bits {
            return Err("this is the network's own or its broadcast address: take one between them".into());
        }
        if ip.is_loopback() || ip.is_multicast() || ip.is_unspecified() {
            return Err(
                "this address cannot be given to a device: take a private one, as in 10.77.0.2/24".into()
            );
        }
        Ok(Self { ip, prefix_len })
    }
    fn show(&self) -> String {
        format!("{}/{}", self.ip, self.prefix_len)
    }
}

#[cfg(test)]
mod tests {
    use super::super::value::tests::{refused, same};
    use super::*;

    /// Goal: what is shown is read back as the same value. Method: one of each form of each type.
    #[test]
    fn what_is_shown_is_read_back() {
        same::<Device>(&["tap", "tap:x-1", "xdp:eth1", "kernel", "kernel:127.0.0.1"]);
        same::<Network>(&["10.77.0.2/24", "192.168.1.254/30"]);
        same::<NamesrvList>(&["", "a:1;b:2", " a:1 ; [::1]:9876;", "a:1;a:1"]);
    }

    #[test]
    fn bad_values_are_refused_with_the_fix() {
        refused::<Device>(&["tapp", "", "ethernet:eth0"], "tap:NAME, xdp:INTERFACE, kernel or kernel:IP");
        refused::<Device>(&["xdp", "xdp:", "xdp:a/b", "xdp:sixteencharacter"], "xdp:eth1");
        refused::<Device>(&["tap:a name", "tap:sixteencharacter"], "1 to 15");
        refused::<Device>(&["kernel:eth0"], "kernel:127.0.0.1");
        refused::<Network>(&["10.77.0.2", "10.77.0.2/31", "x/24", "10.77.0.2/x"], "10.77.0.2/24");
        refused::<Network>(&["10.77.0.0/24", "10.77.0.255/24"], "between them");
        refused::<NamesrvList>(
            &["localhost", "a:0", "a:65536", "1.2.3:9876", "::1:9876", "a b:1", ":9876"],
            "host:port",
        );
    }

    #[test]
    fn the_host_end_of_a_tap_is_the_first_other_address() {
        let network = Network::parse("10.77.0.2/24").unwrap();
        assert_eq!(network.host_end(), Ipv4Addr::new(10, 77, 0, 1));
        assert_eq!(Network::parse("10.77.0.1/24").unwrap().host_end(), Ipv4Addr::new(10, 77, 0, 2));
        assert!(network.contains(Ipv4Addr::new(10, 77, 0, 9)));
        assert!(!network.contains(Ipv4Addr::new(10, 77, 1, 9)));
    }
}
