//! Frames to the NIC: written into a free chunk, put on the tx ring, sent with one system call a turn.

use super::ring::{In, Out};
use super::socket::{Socket, TX_METADATA_BYTES, TxRings, checksum_metadata};
use super::umem::{Area, CHUNK_BYTES};
use crate::device::{DeviceTx, TxOffload};
use libc::xdp_desc;
use std::sync::Arc;

pub struct XdpTx {
    socket: Arc<Socket>,
    tx: Out<xdp_desc>,
    completion: In<u64>,
    area: Area,
    /// Chunks that are ours; the last one used is used next, since it is in the cache.
    free: Vec<u64>,
    /// The kernel may have to be told of frames on the ring.
    pending: bool,
    /// The kernel says when it wants to be told; if not, it always is.
    need_wakeup: bool,
    completes_checksums: bool,
    frames: u64,
    kicks: u64,
    kicks_refused: u64,
}

/// How a sender works.
#[derive(Clone, Copy, Debug)]
pub struct TxMode {
    pub need_wakeup: bool,
    pub completes_checksums: bool,
}

impl XdpTx {
    pub fn new(socket: Arc<Socket>, rings: TxRings, area: Area, mode: TxMode) -> Self {
        let mut free: Vec<u64> = area.addresses().collect();
        free.reverse();
        Self {
            socket,
            tx: rings.tx,
            completion: rings.completion,
            area,
            free,
            pending: false,
            need_wakeup: mode.need_wakeup,
            completes_checksums: mode.completes_checksums,
            frames: 0,
            kicks: 0,
            kicks_refused: 0,
        }
    }

    /// Makes what was sent leave. Whether that took a system call.
    pub fn kick(&mut self) -> bool {
        self.tx.publish();
        let is_crowded = self.free.len() * 2 < self.area.len();
        let mut called = false;
        if (self.pending || is_crowded) && (!self.need_wakeup || self.tx.needs_wakeup()) {
            called = true;
            self.kicks += 1;
            // Copied frames go a batch at a time, and a busy driver says so: what is left goes with the next turn.
            self.kicks_refused += u64::from(self.socket.wake_tx().is_err());
        }
        if self.pending {
            self.pending = self.tx.waiting() > 0;
        }
        self.reclaim();
        called
    }

    /// Frames sent, system calls for them, and those that were to be repeated.
    pub fn counters(&self) -> (u64, u64, u64) {
        (self.frames, self.kicks, self.kicks_refused)
    }

    /// Takes back the chunks of frames that have left.
    fn reclaim(&mut self) {
        let mut reclaimed = 0;
        while let Some(at) = self.completion.pop() {
            self.free.push(at & !(CHUNK_BYTES as u64 - 1));
            reclaimed += 1;
        }
        if reclaimed > 0 {
            self.completion.release();
        }
    }
}

impl DeviceTx for XdpTx {
    fn has_room(&mut self) -> bool {
        if self.free.is_empty() {
            self.reclaim();
        }
        !self.free.is_empty() && self.tx.has_room()
    }

    fn send(&mut self, frame_bytes: usize, fill: impl FnOnce(&mut [u8]) -> TxOffload) {
        assert!(frame_bytes <= CHUNK_BYTES - FRAME_AT);
        let chunk = self.free.pop().expect("`has_room` has said so");
        let at = chunk + FRAME_AT as u64;
        let offload = fill(self.area.frame_mut(at, frame_bytes));
        assert!(offload.segment_bytes == 0);
        // What is shorter than Ethernet's least is filled up here: not every driver does it.
        let len = frame_bytes.max(ETHERNET_BYTES_MIN);
        if len > frame_bytes {
            self.area.frame_mut(at + frame_bytes as u64, len - frame_bytes).fill(0);
        }
        let mut options = 0;
        if offload.checksum_start > 0 {
            assert!(self.completes_checksums);
            let metadata = checksum_metadata(offload.checksum_start, offload.checksum_offset);
            let before = at - TX_METADATA_BYTES as u64;
            self.area.frame_mut(before, TX_METADATA_BYTES).copy_from_slice(&metadata);
            options = libc::XDP_TX_METADATA;
        }
        self.tx.push(xdp_desc { addr: at, len: len as u32, options });
        self.pending = true;
        self.frames += 1;
    }
}

/// Where a frame begins in its chunk: behind what is said about it.
const FRAME_AT: usize = 64;
/// Without the checksum that the hardware adds.
const ETHERNET_BYTES_MIN: usize = 60;

const _: () = assert!(FRAME_AT >= TX_METADATA_BYTES);
