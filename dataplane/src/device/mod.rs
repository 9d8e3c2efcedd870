//! SEAM: whole Ethernet frames in and out. Knows no TCP beyond what the hardware would be asked to do for it.
//!
//! ```text
//!   DeviceRx::receive ──▶ frame, lent until the next one        DeviceTx::send ◀── a closure that writes the frame
//! ```
//!
//! Real halves: [`tap`], [`xdp`]. Simulated half: [`sim`]. The two directions are apart so that an answer can be written while
//! the frame that asked for it is still being read.

pub mod sim;
pub mod tap;
pub mod xdp;

use crate::counters::Tell;
use std::net::Ipv4Addr;
use std::os::fd::RawFd;
use std::time::Duration;

pub type Mac = [u8; 6];

/// A locally administered hardware address that follows from the IP address, so that it is the same after a restart.
pub fn mac_for(ip: Ipv4Addr) -> Mac {
    let [a, b, c, d] = ip.octets();
    [0x02, 0xab, a, b, c, d]
}

/// What a device can do, fixed for its life.
#[derive(Clone, Copy, Debug)]
pub struct DeviceCaps {
    /// The address we answer to.
    pub mac: Mac,
    /// Longest IP packet that crosses the device unsegmented.
    pub mtu: usize,
    /// Longest IP packet the device cuts into segments for us, if it does.
    pub tso_bytes_max: Option<usize>,
    /// The device completes TCP checksums that are begun with the pseudo header's sum.
    pub completes_checksums: bool,
    /// A TCP checksum may come begun and not finished: the pseudo header's sum alone, from a sender on this host.
    pub leaves_checksums_partial: bool,
}

/// One frame as it came.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    pub frame: &'a [u8],
    /// The device vouches for the TCP checksum; the field itself may be unfinished.
    pub checksum_is_good: bool,
}

/// What the device still has to do to a frame. All zero: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxOffload {
    /// Where the checksummed part begins, from the frame's first byte; 0 for no checksum to complete.
    pub checksum_start: u16,
    /// Where in that part the sum is stored.
    pub checksum_offset: u16,
    /// Bytes of headers to repeat before each segment; 0 for no segmentation.
    pub header_bytes: u16,
    /// Payload bytes of each segment.
    pub segment_bytes: u16,
}

pub trait DeviceRx {
    /// The next frame, lent until the next call; none if there is none now.
    fn receive(&mut self) -> Option<Received<'_>>;
}

pub trait DeviceTx {
    /// Whether `send` can take a frame now.
    fn has_room(&mut self) -> bool;

    /// Lends `frame_bytes` bytes of unspecified content to `fill` and sends what it wrote. Only after `has_room`.
    fn send(&mut self, frame_bytes: usize, fill: impl FnOnce(&mut [u8]) -> TxOffload);
}

pub trait Device {
    type Rx: DeviceRx;
    type Tx: DeviceTx;

    fn caps(&self) -> DeviceCaps;

    fn split(&mut self) -> (&mut Self::Rx, &mut Self::Tx);

    /// Makes what was sent leave, for devices that gather. Once a turn.
    fn kick(&mut self) {}

    /// Tells what the device counts, by name.
    fn count(&self, _tell: &mut Tell<'_>) {}

    /// Sleeps until a frame comes, `bell` rings, or `max` is over.
    fn wait(&mut self, bell: Option<RawFd>, max: Duration);
}

/// Longest frame any device hands over or takes: the longest IP packet and its Ethernet header.
pub const FRAME_BYTES_MAX: usize = 65_535 + 14;
