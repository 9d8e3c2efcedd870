//! What a network interface says of itself, by ioctl: so that it is told in the network namespace we are in.
#![allow(unsafe_code)] // A fence, listed in docs/UNSAFE.md.

use crate::device::Mac;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// An interface of this network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub index: u32,
    pub mac: Mac,
    pub mtu: usize,
    pub is_up: bool,
    pub is_ethernet: bool,
    /// As `ethtool -i` prints it; empty when the driver does not say.
    pub driver: String,
    /// Queues that receive.
    pub rx_queues: u32,
}

impl Interface {
    /// Looks at it. `NotFound`: there is none of that name. The name must be shorter than 16 bytes.
    pub fn look(name: &str) -> io::Result<Self> {
        let asked = Asked { socket: control_socket()?, name };
        let index = asked.number(libc::SIOCGIFINDEX).map_err(|error| match error.raw_os_error() {
            Some(libc::ENODEV) => io::ErrorKind::NotFound.into(),
            _ => error,
        })?;
        let (family, mac) = asked.hardware_address()?;
        let flags = asked.flags()?;
        Ok(Self {
            index: index as u32,
            mac,
            mtu: asked.number(libc::SIOCGIFMTU)?.max(0) as usize,
            is_up: flags & libc::IFF_UP as libc::c_short != 0,
            is_ethernet: family == libc::ARPHRD_ETHER,
            driver: asked.driver(),
            rx_queues: asked.rx_queues(),
        })
    }
}

struct Asked<'a> {
    socket: OwnedFd,
    name: &'a str,
}

impl Asked<'_> {
    fn request(&self) -> libc::ifreq {
        // SAFETY: all-zero is a valid value of this C struct of integers.
        // WHY: it has no other constructor.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        assert!(self.name.len() < request.ifr_name.len());
        for (to, from) in request.ifr_name.iter_mut().zip(self.name.bytes()) {
            *to = from as libc::c_char;
        }
        request
    }

    /// The index or the MTU, which the kernel puts in the same place.
    fn number(&self, what: libc::Ioctl) -> io::Result<i32> {
        let mut request = self.request();
        self.control(what, &mut request)?;
        // SAFETY: the kernel has just filled in this integer of the request.
        // WHY: the C type is a union.
        Ok(unsafe { request.ifr_ifru.ifru_ifindex })
    }

    fn flags(&self) -> io::Result<libc::c_short> {
        let mut request = self.request();
        self.control(libc::SIOCGIFFLAGS, &mut request)?;
        // SAFETY: the kernel has just filled in the flags of this request.
        // WHY: the C type is a union.
        Ok(unsafe { request.ifr_ifru.ifru_flags })
    }

    fn hardware_address(&self) -> io::Result<(u16, Mac)> {
        let mut request = self.request();
        self.control(libc::SIOCGIFHWADDR, &mut request)?;
        // SAFETY: the kernel has just filled in the hardware address of this request.
        // WHY: the C type is a union.
        let address = unsafe { request.ifr_ifru.ifru_hwaddr };
        let mut mac = [0; 6];
        for (to, from) in mac.iter_mut().zip(address.sa_data) {
            *to = from as u8;
        }
        Ok((address.sa_family, mac))
    }

    /// The driver's name (`struct ethtool_drvinfo`).
    fn driver(&self) -> String {
        let mut info = Words([0; DRIVER_INFO_WORDS]);
        info.0[0] = ETHTOOL_GDRVINFO;
        if self.ethtool(&mut info).is_err() {
            return String::new();
        }
        let bytes: Vec<u8> = info.0[1..9].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    }

    /// Queues that receive (`struct ethtool_channels`): their own and the combined ones. A driver that does not tell has
    /// one, as a rule.
    fn rx_queues(&self) -> u32 {
        let mut channels = Words([0; CHANNELS_WORDS]);
        channels.0[0] = ETHTOOL_GCHANNELS;
        match self.ethtool(&mut channels) {
            Ok(()) => (channels.0[RX_COUNT] + channels.0[COMBINED_COUNT]).max(1),
            Err(_) => 1,
        }
    }

    fn ethtool<const N: usize>(&self, command: &mut Words<N>) -> io::Result<()> {
        let mut request = self.request();
        request.ifr_ifru.ifru_data = (&raw mut command.0).cast();
        self.control(libc::SIOCETHTOOL as libc::Ioctl, &mut request)
    }

    fn control(&self, what: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
        // SAFETY: every request used above takes an `ifreq`, which lives for the call, and `ethtool` points it at a
        // structure as long as the one its command names.
        // WHY: there is no other way that needs no parser for netlink.
        let result = unsafe { libc::ioctl(self.socket.as_raw_fd(), what, std::ptr::from_mut(request)) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// A structure of ethtool's, as words.
struct Words<const N: usize>([u32; N]);

fn control_socket() -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed; the descriptor returned, if any, is new and owned by nobody else.
    // WHY: interface ioctls need some socket, and the standard library makes none that is not bound.
    unsafe {
        let descriptor = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(descriptor))
    }
}

const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
/// Command, five names of 32 bytes, 12 bytes of nothing, five counts.
const DRIVER_INFO_WORDS: usize = 1 + 5 * 8 + 3 + 5;
/// Command, then maximum and current number of rx, tx, other and combined ones.
const CHANNELS_WORDS: usize = 9;
const RX_COUNT: usize = 5;
const COMBINED_COUNT: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: an interface is understood, and one that is not there is told. Method: loopback, which every Linux has.
    #[test]
    fn loopback_tells_what_it_is() {
        let lo = Interface::look("lo").unwrap();
        assert_eq!((lo.mac, lo.is_ethernet, lo.rx_queues), ([0; 6], false, 1));
        assert!(lo.mtu > 0 && lo.index > 0);
        assert_eq!(Interface::look("no-such-one").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
