//! Frames that the NIC put into another shard's queue, on their way to their owner.
//!
//! ```text
//!   shard 0: queues 0, 2 ─▶ TCP to a port of shard 1? ─▶ copied into a parcel of shard 0's ─▶ inbox of shard 1
//!                                                              ▲─────── empty parcel ◀───────┘
//! ```
//!
//! Which queue a flow comes by is the NIC's choice (RSS), unless its filters steer by port; then nothing crosses. A flow
//! comes by one queue, so its frames stay in order. What is no TCP, or to a port of nobody, is answered by whoever has
//! it: that takes no memory of anything. A shard whose parcels are all under way drops, and counts; TCP sends again.

use super::MTU_MAX;
use crate::lane::{LaneIn, LaneOut, lane};

/// One shard's end of it.
pub struct Crossing {
    own: usize,
    /// Ports, and the shard that owns each.
    owners: Vec<(u16, usize)>,
    inbox: LaneOut<Box<Parcel>>,
    /// Of every shard, in order.
    inboxes: Vec<LaneIn<Box<Parcel>>>,
    /// Ours that have come back.
    empty: LaneOut<Box<Parcel>>,
    /// Where those of each shard go back to.
    emptied: Vec<LaneIn<Box<Parcel>>>,
    /// The parcel whose frame is lent.
    lent: Option<Box<Parcel>>,
    /// Shards that were given something since they were last woken.
    given: Vec<bool>,
    sent: u64,
    taken: u64,
    dropped: u64,
}

/// A frame and where its memory belongs.
struct Parcel {
    home: usize,
    len: usize,
    bytes: [u8; FRAME_BYTES_MAX],
}

impl Crossing {
    /// The ends of as many shards as there are lists of ports.
    pub fn between(ports: &[Vec<u16>]) -> Vec<Crossing> {
        let count = ports.len();
        let owners: Vec<(u16, usize)> = ports
            .iter()
            .enumerate()
            .flat_map(|(shard, ports)| ports.iter().map(move |&port| (port, shard)))
            .collect();
        // Room for every parcel there is, so that none is ever in the way.
        let (inboxes, takers): (Vec<_>, Vec<_>) = (0..count).map(|_| lane(count * PARCELS)).unzip();
        let (emptied, empties): (Vec<_>, Vec<_>) = (0..count).map(|_| lane(PARCELS)).unzip();
        for (home, emptied) in emptied.iter().enumerate() {
            for _ in 0..PARCELS {
                let parcel = Box::new(Parcel { home, len: 0, bytes: [0; FRAME_BYTES_MAX] });
                assert!(emptied.push(parcel).is_ok());
            }
        }
        let ends = takers.into_iter().zip(empties).enumerate();
        ends.map(|(own, (inbox, empty))| Crossing {
            own,
            owners: owners.clone(),
            inbox,
            inboxes: inboxes.clone(),
            empty,
            emptied: emptied.clone(),
            lent: None,
            given: vec![false; count],
            sent: 0,
            taken: 0,
            dropped: 0,
        })
        .collect()
    }

    /// What to call when something has come for this shard, which may sleep.
    pub fn woken_by(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.inbox.woken_by(wake);
    }

    /// Sends a frame to its owner. False if that is this shard.
    pub fn sends(&mut self, frame: &[u8]) -> bool {
        let owner = tcp_port(frame).and_then(|port| self.owners.iter().find(|owner| owner.0 == port));
        let Some(&(_, to)) = owner.filter(|owner| owner.1 != self.own) else { return false };
        let parcel = if frame.len() <= FRAME_BYTES_MAX { self.empty.pop() } else { None };
        let Some(mut parcel) = parcel else {
            self.dropped += 1;
            return true;
        };
        parcel.len = frame.len();
        parcel.bytes[..frame.len()].copy_from_slice(frame);
        assert!(self.inboxes[to].push(parcel).is_ok(), "an inbox has room for every parcel");
        self.given[to] = true;
        self.sent += 1;
        true
    }

    /// Whether another shard has sent a frame: it is lent by [`Self::frame`] until the next call.
    pub fn take(&mut self) -> bool {
        if let Some(parcel) = self.lent.take() {
            let home = parcel.home;
            assert!(self.emptied[home].push(parcel).is_ok(), "a shard has room for its own parcels");
        }
        self.lent = self.inbox.pop();
        self.taken += u64::from(self.lent.is_some());
        self.lent.is_some()
    }

    /// What was taken last.
    pub fn frame(&self) -> &[u8] {
        self.lent.as_ref().map_or(&[], |parcel| &parcel.bytes[..parcel.len])
    }

    /// Wakes those who were given something. Once a turn; no system call for who is awake.
    pub fn finish_turn(&mut self) {
        for (inbox, given) in self.inboxes.iter().zip(&mut self.given) {
            if std::mem::take(given) {
                inbox.wake();
            }
        }
    }

    /// Frames sent to others, taken from others, and dropped since the owner was too far behind.
    pub fn counters(&self) -> (u64, u64, u64) {
        (self.sent, self.taken, self.dropped)
    }
}

/// The port that a whole TCP segment over IPv4 is for.
fn tcp_port(frame: &[u8]) -> Option<u16> {
    let word = |at: usize| Some(u16::from_be_bytes(*frame.get(at..)?.first_chunk()?));
    let is_tcp = word(12)? == 0x0800 && word(20)? & 0x3fff == 0 && *frame.get(23)? == TCP;
    let header_bytes = usize::from(frame.get(14)? & 0x0f) * 4;
    if is_tcp { word(14 + header_bytes + 2) } else { None }
}

const TCP: u8 = 6;
const FRAME_BYTES_MAX: usize = MTU_MAX + 14;
/// Frames of one shard that may be under way: 1.8 MiB.
const PARCELS: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A segment to a port, with a number in it; IPv4 with some bytes of options.
    fn segment(port: u16, number: u8) -> Vec<u8> {
        let mut frame = vec![0; 80];
        (frame[12], frame[14], frame[23], frame[79]) = (0x08, 0x46, TCP, number);
        frame[14 + 24 + 2..][..2].copy_from_slice(&port.to_be_bytes());
        frame
    }

    /// Goal: frames go to the owner of their port, in order, and their memory comes back; the owner is woken once a turn.
    #[test]
    fn frames_go_to_the_owner_of_their_port() {
        let mut ends = Crossing::between(&[vec![1, 2], vec![11, 12], vec![21]]);
        let woken = Arc::new(AtomicU32::new(0));
        let bell = Arc::clone(&woken);
        ends[1].woken_by(move || {
            bell.fetch_add(1, Ordering::Relaxed);
        });
        for round in 0..100 {
            for number in 0..20 {
                assert!(ends[0].sends(&segment(11, number)));
                assert!(ends[2].sends(&segment(12, number)));
            }
            assert!(!ends[0].sends(&segment(2, 0)), "its own");
            assert!(!ends[0].sends(&segment(7, 0)), "nobody's");
            ends[0].finish_turn();
            ends[2].finish_turn();
            assert_eq!(woken.load(Ordering::Relaxed), 2 * (round + 1));
            for number in 0..20 {
                for from in [11, 12] {
                    assert!(ends[1].take());
                    assert_eq!(ends[1].frame(), segment(from, number));
                }
            }
            assert!(!ends[1].take());
        }
        assert_eq!(ends[0].counters(), (2_000, 0, 0));
        assert_eq!(ends[1].counters(), (0, 4_000, 0));
    }

    /// Goal: an owner that does not take costs no more memory; what does not fit is counted, and others are served.
    #[test]
    fn an_owner_that_is_behind_loses_frames_and_nothing_else() {
        let mut ends = Crossing::between(&[vec![1], vec![11], vec![21]]);
        for number in 0..600_u32 {
            assert!(ends[0].sends(&segment(11, number as u8)));
        }
        assert_eq!(ends[0].counters(), (512, 0, 88));
        assert!(ends[1].sends(&segment(1, 7)));
        assert!(ends[0].take() && ends[0].frame() == segment(1, 7));
        while ends[1].take() {}
        assert!(ends[0].sends(&segment(21, 9)) && ends[2].take());
        assert_eq!(ends[0].counters(), (513, 1, 88));
    }

    #[test]
    fn only_whole_segments_have_a_port() {
        assert_eq!(tcp_port(&segment(10_921, 0)), Some(10_921));
        for (at, byte) in [(12, 0x86), (20, 0x20), (21, 1), (23, 17)] {
            let mut frame = segment(10_921, 0);
            frame[at] = byte;
            assert_eq!(tcp_port(&frame), None, "byte {at}");
        }
        let frame = segment(10_921, 0);
        for len in 0..42 {
            assert_eq!(tcp_port(&frame[..len]), None, "{len} bytes");
        }
    }
}
