//! Frames from the NIC: off the rx ring of each queue, lent, and their chunks back onto the fill ring. Of several shards each
//! has some of the queues, and passes on what is another's.

use super::crossing::Crossing;
use super::ring::{In, Out};
use super::socket::{RxRings, Socket};
use super::umem::Area;
use crate::device::{DeviceRx, Received};
use libc::xdp_desc;
use std::sync::Arc;

/// The queues of one shard, in turn.
pub struct XdpRx {
    queues: Vec<RxQueue>,
    /// To and from other shards, when there are some.
    crossing: Option<Crossing>,
    /// What the others have sent comes before our own queues this time.
    others_first: bool,
    /// Frames passed on in this turn.
    passed_on: usize,
    /// The queue that is looked at next.
    at: usize,
    /// Frames taken from it in a row.
    run: u32,
    /// The chunk that the last frame lies in, and its queue: given back at the next look.
    lent: Option<(usize, u64)>,
    /// Our own calls run the driver: a look that finds nothing makes it look.
    busy_polls: bool,
    /// The queue to wake at the end of the turn.
    to_wake: Option<usize>,
    frames: u64,
}

struct RxQueue {
    socket: Arc<Socket>,
    rx: In<xdp_desc>,
    fill: Out<u64>,
    area: Area,
}

impl XdpRx {
    pub fn new(busy_polls: bool, crossing: Option<Crossing>) -> Self {
        let (others_first, passed_on) = (false, 0);
        Self {
            queues: Vec::new(),
            crossing,
            others_first,
            passed_on,
            at: 0,
            run: 0,
            lent: None,
            busy_polls,
            to_wake: None,
            frames: 0,
        }
    }

    /// Adds a queue, with all of its chunks given to the kernel.
    pub fn add(&mut self, socket: Arc<Socket>, rings: RxRings, area: Area) {
        let RxRings { rx, mut fill } = rings;
        for chunk in area.addresses() {
            assert!(fill.has_room());
            fill.push(chunk);
        }
        fill.publish();
        self.queues.push(RxQueue { socket, rx, fill, area });
    }

    pub fn frames(&self) -> u64 {
        self.frames
    }

    pub fn crossing(&self) -> Option<&Crossing> {
        self.crossing.as_ref()
    }

    /// Shows the kernel the chunks that came back, and wakes it if it waits for them. At most one system call.
    pub fn finish_turn(&mut self, may_call: bool) {
        self.passed_on = 0;
        if let Some(crossing) = &mut self.crossing {
            crossing.finish_turn();
        }
        for queue in &mut self.queues {
            queue.fill.publish();
        }
        if may_call && let Some(index) = self.to_wake.take() {
            // Nothing to receive, or busy: the next turn looks again.
            let _woken = self.queues[index].socket.wake_rx();
        }
    }

    /// The next queue with a frame, and the frame's descriptor.
    fn next(&mut self) -> Option<(usize, xdp_desc)> {
        // Once more than there are queues: one that has had its run comes again when the others have nothing.
        for _ in 0..=self.queues.len() {
            let index = self.at;
            let queue = &mut self.queues[index];
            if self.run < RUN_MAX
                && let Some(descriptor) = queue.rx.pop()
            {
                queue.rx.release();
                self.run += 1;
                return Some((index, descriptor));
            }
            queue.fill.publish();
            if self.busy_polls || queue.fill.needs_wakeup() {
                self.to_wake = Some(index);
            }
            self.run = 0;
            self.at = if index + 1 < self.queues.len() { index + 1 } else { 0 };
        }
        None
    }
}

impl XdpRx {
    /// Gives the chunk of the last frame back.
    fn give_back(&mut self) {
        if let Some((index, chunk)) = self.lent.take() {
            let queue = &mut self.queues[index];
            // There is room for each of the queue's chunks twice: see `Socket::rings`.
            assert!(queue.fill.has_room());
            queue.fill.push(chunk);
            if queue.fill.unpublished() >= GIVE_BACK_MAX {
                queue.fill.publish();
            }
        }
    }

    /// The next frame of our queues that is ours, as queue and descriptor; others' are passed on.
    fn next_of_ours(&mut self) -> Option<(usize, xdp_desc)> {
        while self.passed_on < PASSED_ON_MAX {
            let (index, descriptor) = self.next()?;
            self.frames += 1;
            self.lent = Some((index, descriptor.addr & !(super::umem::CHUNK_BYTES as u64 - 1)));
            let Some(crossing) = &mut self.crossing else { return Some((index, descriptor)) };
            if !crossing.sends(self.queues[index].area.frame(descriptor.addr, descriptor.len as usize)) {
                return Some((index, descriptor));
            }
            self.passed_on += 1;
            self.give_back();
        }
        None
    }

    /// Whether another shard has sent us a frame, which then is lent.
    fn take_others(&mut self) -> bool {
        self.crossing.as_mut().is_some_and(Crossing::take)
    }
}

impl DeviceRx for XdpRx {
    fn receive(&mut self) -> Option<Received<'_>> {
        self.give_back();
        let others_first = self.others_first;
        self.others_first = !others_first;
        let mut is_others = others_first && self.take_others();
        if !is_others {
            if let Some((index, descriptor)) = self.next_of_ours() {
                let frame = self.queues[index].area.frame(descriptor.addr, descriptor.len as usize);
                return Some(Received { frame, checksum_is_good: false });
            }
            is_others = !others_first && self.take_others();
        }
        let crossing = self.crossing.as_ref().filter(|_| is_others)?;
        Some(Received { frame: crossing.frame(), checksum_is_good: false })
    }
}

/// Frames taken from one queue before the next one has its turn.
const RUN_MAX: u32 = 64;
/// Frames passed on to other shards in one turn: our own connections wait for them.
const PASSED_ON_MAX: usize = 256;
/// Chunks that may have come back without the kernel knowing.
const GIVE_BACK_MAX: u32 = 32;
