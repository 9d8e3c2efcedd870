//! A stack on a simulated cable, and whoever holds the other end: frames go in, turns are taken, frames come out.

use crate::wire::{Out, Seg};
use dataplane::device::sim::{SimDevice, SimPort};
use dataplane::net::stack::Stack;
use dataplane::net::{Net, NetEvent};
use dataplane::time::{Clock, SimClock};
use std::borrow::Borrow;

/// A stack, its clock, and the far end of its cable.
pub struct Cable {
    pub stack: Stack<SimDevice>,
    pub port: SimPort,
    pub clock: SimClock,
    pub events: Vec<NetEvent>,
}

impl Cable {
    /// A few turns at one instant.
    pub fn turns(&mut self) {
        for _ in 0..4 {
            let now = self.clock.read();
            self.stack.ingress(&now, BURST);
            self.events.extend(std::iter::from_fn(|| self.stack.next_event()));
            self.stack.egress(&now, BURST);
        }
    }

    pub fn drain(&mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.port.take()).map(|frame| frame.bytes).collect()
    }

    /// This frame in; what comes out.
    pub fn give(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        self.port.give(frame);
        self.turns();
        self.drain()
    }

    pub fn give_seg(&mut self, seg: impl Borrow<Seg>) -> Vec<Out> {
        self.give(&seg.borrow().frame()).iter().map(|frame| Out::parse(frame)).collect()
    }

    pub fn take_events(&mut self) -> Vec<NetEvent> {
        std::mem::take(&mut self.events)
    }
}

/// All that a test has given.
const BURST: usize = 4096;
