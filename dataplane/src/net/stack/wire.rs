//! Between smoltcp and the device: one packet in, the frames it causes out.
//!
//! ```text
//!   segment ─▶ Wire::receive ─▶ smoltcp ─▶ Wire::transmit ─▶ Ethernet header, checksums, offload ─▶ device
//! ```

use crate::device::{DeviceCaps, DeviceTx, Mac, TxOffload};
use crate::net::packet::{
    self, ETHERNET_BYTES, ETHERTYPE_IPV4, IPV4_BYTES, PROTOCOL_TCP, TCP_CHECKSUM_AT, Tcp, flag,
};
use smoltcp::phy::{self, ChecksumCapabilities, DeviceCapabilities, Medium, PacketMeta};
use smoltcp::time::Instant;
use std::net::Ipv4Addr;
use std::num::{NonZeroU16, NonZeroUsize};

/// What went out for one connection, for RFC 5961, for stack/recovery and for the caller's budget.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    pub frames: u32,
    /// The number after the highest one sent.
    pub snd_next: u32,
    /// What we acknowledged last, and the window we announced with it.
    pub ack: u32,
    pub window: u16,
    /// Something has left by which smoltcp knows how large a window it has announced, as it counts from then on.
    pub tells_window: bool,
    /// Frames with bytes that had been sent before, and the numbers of these.
    pub resent: u32,
    pub again: Option<(u32, u32)>,
}

/// smoltcp's device for the time of one call: at most one packet in, any number of frames out.
pub struct Wire<'a, T> {
    pub packet: Option<&'a [u8]>,
    pub tx: &'a mut T,
    pub caps: &'a DeviceCaps,
    pub to: Mac,
    pub sent: &'a mut Sent,
}

pub struct InToken<'a>(&'a [u8]);

pub struct OutToken<'a, T> {
    tx: &'a mut T,
    caps: &'a DeviceCaps,
    to: Mac,
    sent: &'a mut Sent,
    segment_bytes: Option<NonZeroU16>,
}

/// What smoltcp is told about a device: whole IP packets, checksums none of its business.
pub fn capabilities(caps: &DeviceCaps) -> DeviceCapabilities {
    let mut told = DeviceCapabilities::default();
    told.medium = Medium::Ip;
    told.max_transmission_unit = caps.mtu;
    told.checksum = ChecksumCapabilities::ignored();
    told.segmentation.tcpv4 = caps.tso_bytes_max.and_then(NonZeroUsize::new);
    told
}

impl<T: DeviceTx> phy::Device for Wire<'_, T> {
    type RxToken<'b>
        = InToken<'b>
    where
        Self: 'b;
    type TxToken<'b>
        = OutToken<'b, T>
    where
        Self: 'b;

    fn receive(&mut self, now: Instant) -> Option<(InToken<'_>, OutToken<'_, T>)> {
        let packet = self.packet.take()?;
        Some((InToken(packet), self.transmit(now)?))
    }

    fn transmit(&mut self, _now: Instant) -> Option<OutToken<'_, T>> {
        Some(OutToken {
            tx: &mut *self.tx,
            caps: self.caps,
            to: self.to,
            sent: &mut *self.sent,
            segment_bytes: None,
        })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        capabilities(self.caps)
    }
}

impl phy::RxToken for InToken<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(self.0)
    }
}

impl<T: DeviceTx> phy::TxToken for OutToken<'_, T> {
    fn set_meta(&mut self, meta: PacketMeta) {
        self.segment_bytes = meta.segmentation_offload_size;
    }

    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, packet_bytes: usize, write: F) -> R {
        let Self { tx, caps, to, sent, segment_bytes } = self;
        if !tx.has_room() {
            // Only while a packet is taken in: the answer is lost, as if on the way, and the peer asks again.
            return write(&mut [0; ANSWER_BYTES_MAX][..packet_bytes]);
        }
        let mut result = None;
        tx.send(ETHERNET_BYTES + packet_bytes, |frame| {
            let (ethernet, packet) =
                frame.split_first_chunk_mut::<ETHERNET_BYTES>().expect("the frame was made this long");
            packet::write_ethernet(ethernet, to, caps.mac, ETHERTYPE_IPV4);
            result = Some(write(packet));
            finish(packet, caps, segment_bytes, sent)
        });
        result.expect("a device calls `fill` once")
    }
}

/// Completes what smoltcp has left open in an IPv4 packet with a TCP segment, and notes what it says.
fn finish(
    packet: &mut [u8],
    caps: &DeviceCaps,
    segment_bytes: Option<NonZeroU16>,
    sent: &mut Sent,
) -> TxOffload {
    let (header, segment) =
        packet.split_first_chunk_mut::<IPV4_BYTES>().expect("smoltcp writes an IPv4 header");
    packet::finish_ipv4(header);
    let address = |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
    let pseudo = packet::pseudo_sum(address(12), address(16), PROTOCOL_TCP, segment.len());
    let tcp = Tcp::parse(segment).expect("smoltcp writes a TCP header");

    sent.frames += 1;
    if tcp.flags & flag::RST != 0 {
        // Its number is what was asked about, which is none of ours.
        return seal(segment, pseudo, tcp.header_bytes, caps, segment_bytes);
    }
    (sent.ack, sent.window) = (tcp.ack, tcp.window);
    // Of what may be a keep-alive or a window probe, one byte long, smoltcp takes no note.
    sent.tells_window |= tcp.flags & flag::SYN == 0 && tcp.data_bytes != 1;
    let next = tcp.seq.wrapping_add(tcp.sequence_len());
    let is_ahead = next.wrapping_sub(sent.snd_next) as i32 > 0;
    // A SYN begins the count. A keep-alive carries one byte before its time; a retransmission ends before what has been sent.
    if is_ahead || tcp.flags & flag::SYN != 0 {
        sent.snd_next = next;
    } else if tcp.data_bytes == 0 && tcp.flags == flag::ACK {
        // After a timeout smoltcp acknowledges from where it sends again, which lies before the peer's window: the peer
        // would drop the acknowledgement. RFC 9293 wants SND.NXT here. (Found by the simulator: both ends timed out at
        // once, and neither heard the other again.)
        segment[SEQUENCE_AT..SEQUENCE_AT + 4].copy_from_slice(&sent.snd_next.to_be_bytes());
    } else if tcp.data_bytes > 1 || next != sent.snd_next {
        sent.resent += 1; // One byte that ends where we are is a keep-alive.
        sent.again = Some((sent.again.map_or(tcp.seq, |(from, _)| from), next));
    }
    seal(segment, pseudo, tcp.header_bytes, caps, segment_bytes)
}

/// Writes the checksum of a TCP segment, or begins it and says what the device has to do.
pub fn seal(
    segment: &mut [u8],
    pseudo: u64,
    tcp_header_bytes: usize,
    caps: &DeviceCaps,
    segment_bytes: Option<NonZeroU16>,
) -> TxOffload {
    let checksum_at = TCP_CHECKSUM_AT..TCP_CHECKSUM_AT + 2;
    if caps.completes_checksums {
        segment[checksum_at].copy_from_slice(&packet::fold(pseudo).to_be_bytes());
        let header_bytes = ETHERNET_BYTES + IPV4_BYTES + tcp_header_bytes;
        return TxOffload {
            checksum_start: (ETHERNET_BYTES + IPV4_BYTES) as u16,
            checksum_offset: TCP_CHECKSUM_AT as u16,
            header_bytes: if segment_bytes.is_some() { header_bytes as u16 } else { 0 },
            segment_bytes: segment_bytes.map_or(0, NonZeroU16::get),
        };
    }
    segment[checksum_at.clone()].copy_from_slice(&[0, 0]);
    let checksum = !packet::fold(pseudo + packet::sum(segment));
    segment[checksum_at].copy_from_slice(&checksum.to_be_bytes());
    TxOffload::default()
}

const SEQUENCE_AT: usize = 4;
/// What smoltcp answers to a packet at once has no data: two headers with all their options.
const ANSWER_BYTES_MAX: usize = 120;

/// A device that only says what it can do: for making interfaces.
pub struct Described<'a>(pub &'a DeviceCaps);

impl phy::Device for Described<'_> {
    type RxToken<'b>
        = InToken<'b>
    where
        Self: 'b;
    type TxToken<'b>
        = NoToken
    where
        Self: 'b;

    fn receive(&mut self, _now: Instant) -> Option<(InToken<'_>, NoToken)> {
        None
    }

    fn transmit(&mut self, _now: Instant) -> Option<NoToken> {
        None
    }

    fn capabilities(&self) -> DeviceCapabilities {
        capabilities(self.0)
    }
}

/// There is none.
pub enum NoToken {}

impl phy::TxToken for NoToken {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, _packet_bytes: usize, _write: F) -> R {
        match self {}
    }
}
