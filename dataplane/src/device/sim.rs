//! The simulated device: two queues of frames, and nobody in between.
//!
//! The far end is a [`SimPort`]: a test or the simulator's link puts frames in and takes frames out.

use super::{Device, DeviceCaps, DeviceRx, DeviceTx, FRAME_BYTES_MAX, Mac, Received, TxOffload};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::Duration;

/// A frame on its way, with what the sender left for the device to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SimFrame {
    pub bytes: Vec<u8>,
    pub offload: TxOffload,
}

#[derive(Debug, Default)]
struct Queues {
    to_stack: VecDeque<SimFrame>,
    from_stack: VecDeque<SimFrame>,
    from_stack_max: usize,
    spare: Vec<Vec<u8>>,
}

/// The stack's end.
#[derive(Debug)]
pub struct SimDevice {
    caps: DeviceCaps,
    rx: SimRx,
    tx: SimTx,
}

/// The world's end.
#[derive(Clone, Debug)]
pub struct SimPort {
    queues: Rc<RefCell<Queues>>,
}

#[derive(Debug)]
pub struct SimRx {
    queues: Rc<RefCell<Queues>>,
    lent: Vec<u8>,
}

#[derive(Debug)]
pub struct SimTx {
    queues: Rc<RefCell<Queues>>,
}

impl SimDevice {
    /// A plain network card: every checksum is computed and verified in software, nothing is segmented.
    pub fn plain(mac: Mac, mtu: usize) -> (Self, SimPort) {
        Self::new(DeviceCaps {
            mac,
            mtu,
            tso_bytes_max: None,
            completes_checksums: false,
            leaves_checksums_partial: false,
        })
    }

    pub fn new(caps: DeviceCaps) -> (Self, SimPort) {
        let queues = Rc::new(RefCell::new(Queues { from_stack_max: usize::MAX, ..Queues::default() }));
        let device = Self {
            caps,
            rx: SimRx { queues: Rc::clone(&queues), lent: Vec::new() },
            tx: SimTx { queues: Rc::clone(&queues) },
        };
        (device, SimPort { queues })
    }
}

impl SimPort {
    /// Puts a frame where the stack will find it.
    pub fn give(&self, frame: &[u8]) {
        let mut queues = self.queues.borrow_mut();
        let mut bytes = queues.spare.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(frame);
        queues.to_stack.push_back(SimFrame { bytes, offload: TxOffload::default() });
    }

    /// Takes the oldest frame the stack has sent. Hand its bytes back with `recycle`.
    pub fn take(&self) -> Option<SimFrame> {
        self.queues.borrow_mut().from_stack.pop_front()
    }

    /// Frames' memory is used again, so that a long simulation allocates little.
    pub fn recycle(&self, bytes: Vec<u8>) {
        let mut queues = self.queues.borrow_mut();
        if queues.spare.len() < SPARE_FRAMES_MAX {
            queues.spare.push(bytes);
        }
    }

    /// The device has room for this many frames that nobody has taken yet.
    pub fn set_room(&self, frames: usize) {
        self.queues.borrow_mut().from_stack_max = frames;
    }
}

impl DeviceRx for SimRx {
    fn receive(&mut self) -> Option<Received<'_>> {
        let mut queues = self.queues.borrow_mut();
        let frame = queues.to_stack.pop_front()?;
        let spare = std::mem::replace(&mut self.lent, frame.bytes);
        if queues.spare.len() < SPARE_FRAMES_MAX {
            queues.spare.push(spare);
        }
        Some(Received { frame: &self.lent, checksum_is_good: false })
    }
}

impl DeviceTx for SimTx {
    fn has_room(&mut self) -> bool {
        let queues = self.queues.borrow();
        queues.from_stack.len() < queues.from_stack_max
    }

    fn send(&mut self, frame_bytes: usize, fill: impl FnOnce(&mut [u8]) -> TxOffload) {
        assert!(frame_bytes <= FRAME_BYTES_MAX);
        let mut queues = self.queues.borrow_mut();
        let mut bytes = queues.spare.pop().unwrap_or_default();
        bytes.clear();
        bytes.resize(frame_bytes, 0);
        let offload = fill(&mut bytes);
        queues.from_stack.push_back(SimFrame { bytes, offload });
    }
}

impl Device for SimDevice {
    type Rx = SimRx;
    type Tx = SimTx;

    fn caps(&self) -> DeviceCaps {
        self.caps
    }

    fn split(&mut self) -> (&mut SimRx, &mut SimTx) {
        (&mut self.rx, &mut self.tx)
    }

    /// Time does not pass here: the world moves it.
    fn wait(&mut self, _bell: Option<RawFd>, _max: Duration) {}
}

const SPARE_FRAMES_MAX: usize = 1024;
