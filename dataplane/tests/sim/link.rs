//! The simulated network: a switch whose cables delay, lose, repeat, reorder and damage frames, all by one seed.
//!
//! ```text
//!   port A ─▶ fate by dice ─▶ in flight, by time of arrival ─▶ port with the frame's destination address
//! ```

use dataplane::device::Mac;
use dataplane::device::sim::SimPort;
use dataplane::net::packet::BROADCAST;
use dataplane::rng::Rng;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What may happen to a frame. Probabilities are per frame.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    pub delay_ns: u64,
    /// Up to this much more, at random; frames still arrive in order.
    pub jitter_ns: u64,
    pub loss: f64,
    /// Only frames from here are lost; anybody's if none.
    pub loss_from: Option<Mac>,
    pub duplicate: f64,
    /// Arrives up to `reorder_ns` later than it should, behind others.
    pub reorder: f64,
    pub reorder_ns: u64,
    /// One bit is flipped.
    pub damage: f64,
}

impl Faults {
    /// A cable of no length.
    pub fn none() -> Self {
        Self {
            delay_ns: 0,
            jitter_ns: 0,
            loss: 0.0,
            loss_from: None,
            duplicate: 0.0,
            reorder: 0.0,
            reorder_ns: 1,
            damage: 0.0,
        }
    }

    /// Some bad day, different for each seed.
    pub fn random(rng: &mut Rng) -> Self {
        let mut rarely =
            |most: f64| if rng.chance(0.5) { most * (rng.below(1000) as f64 / 1000.0) } else { 0.0 };
        let (loss, duplicate, reorder, damage) = (rarely(0.05), rarely(0.05), rarely(0.1), rarely(0.01));
        Self {
            delay_ns: 10_000 + rng.below(2_000_000),
            jitter_ns: rng.below(500_000),
            loss,
            loss_from: None,
            duplicate,
            reorder,
            reorder_ns: 1 + rng.below(5_000_000),
            damage,
        }
    }
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinkCounters {
    pub carried: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub reordered: u64,
    pub damaged: u64,
    pub nobody: u64,
}

pub struct Link {
    pub faults: Faults,
    pub counters: LinkCounters,
    rng: Rng,
    ports: Vec<(Mac, SimPort)>,
    in_flight: BinaryHeap<Reverse<InFlight>>,
    frames: u64,
    last_arrival_ns: u64,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct InFlight {
    arrives_ns: u64,
    /// Frames that arrive at the same time do so in the order they were sent.
    number: u64,
    bytes: Vec<u8>,
}

impl Link {
    pub fn new(faults: Faults, rng: Rng) -> Self {
        Self {
            faults,
            counters: LinkCounters::default(),
            rng,
            ports: Vec::new(),
            in_flight: BinaryHeap::new(),
            frames: 0,
            last_arrival_ns: 0,
        }
    }

    /// Plugs a cable in; whoever had this address before is unplugged.
    pub fn plug(&mut self, mac: Mac, port: SimPort) {
        self.unplug(mac);
        self.ports.push((mac, port));
    }

    pub fn unplug(&mut self, mac: Mac) {
        self.ports.retain(|(other, _)| *other != mac);
    }

    /// Takes what was sent, hands over what arrives by now; returns how many frames moved.
    pub fn carry(&mut self, now_ns: u64) -> u64 {
        let mut moved = 0;
        for index in 0..self.ports.len() {
            while let Some(frame) = self.ports[index].1.take() {
                moved += 1;
                self.send(frame.bytes, now_ns);
            }
        }
        while self.in_flight.peek().is_some_and(|Reverse(next)| next.arrives_ns <= now_ns) {
            let Some(Reverse(frame)) = self.in_flight.pop() else { break };
            moved += 1;
            self.deliver(&frame.bytes);
        }
        moved
    }

    pub fn next_arrival_ns(&self) -> Option<u64> {
        self.in_flight.peek().map(|Reverse(next)| next.arrives_ns)
    }

    fn send(&mut self, mut bytes: Vec<u8>, now_ns: u64) {
        let faults = self.faults;
        let may_be_lost = faults.loss_from.is_none_or(|from| bytes.get(6..12) == Some(&from[..]));
        if may_be_lost && self.rng.chance(faults.loss) {
            self.counters.lost += 1;
            return;
        }
        if self.rng.chance(faults.damage) {
            self.counters.damaged += 1;
            let bit = self.rng.below(bytes.len() as u64 * 8) as usize;
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        if self.rng.chance(faults.duplicate) {
            self.counters.duplicated += 1;
            self.fly(bytes.clone(), now_ns);
        }
        self.fly(bytes, now_ns);
    }

    fn fly(&mut self, bytes: Vec<u8>, now_ns: u64) {
        let faults = self.faults;
        let on_time_ns = now_ns + faults.delay_ns + self.rng.below(faults.jitter_ns + 1);
        let arrives_ns = if self.rng.chance(faults.reorder) {
            self.counters.reordered += 1;
            on_time_ns + self.rng.below(faults.reorder_ns)
        } else {
            self.last_arrival_ns = self.last_arrival_ns.max(on_time_ns);
            self.last_arrival_ns
        };
        self.frames += 1;
        self.in_flight.push(Reverse(InFlight { arrives_ns, number: self.frames, bytes }));
    }

    fn deliver(&mut self, bytes: &[u8]) {
        let Some(to) = bytes.first_chunk::<6>() else { return };
        let mut heard = false;
        for (mac, port) in &self.ports {
            if mac == to || *to == BROADCAST {
                port.give(bytes);
                heard = true;
            }
        }
        self.counters.carried += u64::from(heard);
        self.counters.nobody += u64::from(!heard);
    }
}
