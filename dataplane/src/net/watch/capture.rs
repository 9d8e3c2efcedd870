//! A live capture: frames that pass a filter become blocks of a pcapng file, in chunks that were brought.

use std::net::Ipv4Addr;

use crate::lane::{LaneIn, LaneOut};
use crate::net::packet::{ETHERTYPE_IPV4, Ethernet, Ipv4, PROTOCOL_TCP, Tcp};
use crate::net::pcapng::{self, Way};

/// Which frames are wanted. None: all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter {
    /// Either end of a TCP segment.
    pub port: Option<u16>,
    /// Sender or receiver of an IP packet.
    pub peer: Option<Ipv4Addr>,
}

impl Filter {
    pub(super) fn passes(&self, frame: &[u8]) -> bool {
        if self.port.is_none() && self.peer.is_none() {
            return true;
        }
        let ip = Ethernet::parse(frame)
            .filter(|ethernet| ethernet.ethertype == ETHERTYPE_IPV4)
            .and_then(|ethernet| Ipv4::parse(ethernet.payload).ok());
        let Some(ip) = ip else { return false };
        let is_peer = self.peer.is_none_or(|peer| ip.from == peer || ip.to == peer);
        let is_port = self.port.is_none_or(|port| {
            ip.protocol == PROTOCOL_TCP
                && Tcp::parse(ip.payload).is_some_and(|tcp| tcp.from_port == port || tcp.to_port == port)
        });
        is_peer && is_port
    }
}

/// Frames on their way to who captures: blocks of a pcapng file, in chunks that he brought.
pub struct Capture {
    filter: Filter,
    snap_bytes: usize,
    empty: LaneOut<Vec<u8>>,
    full: LaneIn<Chunk>,
    chunk: Vec<u8>,
    seen: u64,
    lost: u64,
}

/// Whole blocks, and how it stands after them.
#[derive(Debug)]
pub struct Chunk {
    pub blocks: Vec<u8>,
    /// Frames that passed the filter, and those among them for which there was no room.
    pub seen: u64,
    pub lost: u64,
}

impl Capture {
    /// `empty` brings chunks with room, `full` takes them away; a lane must hold all chunks there are.
    pub fn new(filter: Filter, snap_bytes: usize, empty: LaneOut<Vec<u8>>, full: LaneIn<Chunk>) -> Capture {
        Capture { filter, snap_bytes, empty, full, chunk: Vec::new(), seen: 0, lost: 0 }
    }

    pub(super) fn note(&mut self, stamp_ns: u64, way: Way, frame: &[u8]) {
        if !self.filter.passes(frame) {
            return;
        }
        self.seen += 1;
        let kept = &frame[..frame.len().min(self.snap_bytes)];
        if !self.has_room(pcapng::packet_bytes(kept.len())) {
            self.hand_over();
            self.chunk = self.empty.pop().unwrap_or_default();
        }
        if self.has_room(pcapng::packet_bytes(kept.len())) {
            pcapng::write_packet(&mut self.chunk, stamp_ns, way, frame.len(), kept);
        } else {
            self.lost += 1;
        }
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.chunk.capacity() - self.chunk.len() >= bytes
    }

    pub(super) fn hand_over(&mut self) {
        if self.chunk.is_empty() {
            return;
        }
        let blocks = std::mem::take(&mut self.chunk);
        let chunk = Chunk { blocks, seen: self.seen, lost: self.lost };
        // A full lane means that there are more chunks than were agreed on: nobody misses them.
        let _ = self.full.push(chunk);
    }
}

impl std::fmt::Debug for Capture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}, {} seen, {} lost", self.filter, self.seen, self.lost)
    }
}
