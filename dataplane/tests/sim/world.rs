//! One world in one thread: an appliance, clients, the link between them, and the only clock.
//!
//! ```text
//!   at each instant: clients ⇄ link ⇄ appliance until nothing moves; then the clock jumps to what comes next
//! ```
//!
//! Everything random comes from the seed. Killing the appliance drops it between two turns without a word, as
//! kill -9 would; what its medium keeps is the medium's business.

use crate::client::Client;
use crate::link::{Faults, Link};
use dataplane::device::mac_for;
use dataplane::device::sim::SimDevice;
use dataplane::rng::Rng;
use dataplane::time::{Clock, SimClock, TurnTime};
use std::net::Ipv4Addr;
use std::time::Duration;

/// What is being tested: a stack with something on top. One turn of it, at a time it is told.
pub trait Appliance {
    fn turn(&mut self, now: &TurnTime) -> u32;

    /// Its machine has stopped within the last turn: it must not get another one.
    fn has_died(&self) -> bool {
        false
    }
}

/// Makes an appliance on a new network card; called at the start and after each kill.
pub type Boot = Box<dyn FnMut(SimDevice, &mut Rng, &TurnTime) -> Box<dyn Appliance>>;

pub struct World {
    pub clock: SimClock,
    pub rng: Rng,
    pub link: Link,
    pub clients: Vec<Client>,
    /// How often the appliance has been killed.
    pub deaths: usize,
    /// Until then the appliance gets no turn.
    pub still_until_ns: u64,
    appliance: Option<Box<dyn Appliance>>,
    boot: Boot,
    boots_rng: Rng,
}

impl World {
    /// A running appliance and `clients` clients that know its address.
    pub fn new(seed: u64, clients: usize, faults: impl FnOnce(&mut Rng) -> Faults, boot: Boot) -> Self {
        let mut rng = Rng::from_seed(seed);
        let faults = faults(&mut rng);
        let mut link = Link::new(faults, rng.fork());
        let clients = (0..clients)
            .map(|index| {
                let (client, port) =
                    Client::new(Ipv4Addr::new(10, 77, 0, 100 + index as u8), APPLIANCE, &mut rng);
                link.plug(client.mac, port);
                client
            })
            .collect();
        let boots_rng = rng.fork();
        let clock = SimClock::new(WALL_MS_AT_START);
        let mut world = Self {
            clock,
            rng,
            link,
            clients,
            deaths: 0,
            still_until_ns: 0,
            appliance: None,
            boot,
            boots_rng,
        };
        world.start();
        world
    }

    pub fn now(&mut self) -> TurnTime {
        self.clock.read()
    }

    /// Starts the appliance on a new network card with the old address.
    pub fn start(&mut self) {
        assert!(self.appliance.is_none());
        let (device, port) = SimDevice::plain(mac_for(APPLIANCE), MTU);
        self.link.plug(mac_for(APPLIANCE), port);
        let now = self.clock.read();
        self.appliance = Some((self.boot)(device, &mut self.boots_rng, &now));
    }

    pub fn is_up(&self) -> bool {
        self.appliance.is_some()
    }

    /// kill -9: between two turns, without a word to anybody.
    pub fn kill(&mut self) {
        self.link.unplug(mac_for(APPLIANCE));
        self.deaths += usize::from(self.appliance.take().is_some());
    }

    /// SIGSTOP, or a paused virtual machine: the appliance gets no turn for so long, and what comes for it waits at its card.
    pub fn stand_still(&mut self, time: Duration) {
        self.still_until_ns = self.now().mono_ns + time.as_nanos() as u64;
    }

    /// Everything that happens at this instant, then on to the next one.
    pub fn step(&mut self) {
        let now = self.clock.read();
        for _ in 0..ROUNDS_PER_INSTANT_MAX {
            for client in &mut self.clients {
                client.turn(&now);
            }
            let mut moved = self.link.carry(now.mono_ns);
            if let Some(appliance) = &mut self.appliance
                && self.still_until_ns <= now.mono_ns
            {
                moved += u64::from(appliance.turn(&now));
            }
            moved += self.link.carry(now.mono_ns);
            if self.appliance.as_ref().is_some_and(|appliance| appliance.has_died()) {
                self.kill();
            }
            if moved == 0 {
                break;
            }
        }
        let tick_ns = now.mono_ns + TICK_NANOS;
        let next_ns = self.link.next_arrival_ns().map_or(tick_ns, |arrival_ns| arrival_ns.min(tick_ns));
        self.clock.advance(Duration::from_nanos(next_ns.saturating_sub(now.mono_ns).max(1_000)));
    }
}

pub const APPLIANCE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const MTU: usize = 1500;
const WALL_MS_AT_START: i64 = 1_700_000_000_000;
/// Timers need no finer steps than this; frames get their exact time.
const TICK_NANOS: u64 = 1_000_000;
const ROUNDS_PER_INSTANT_MAX: usize = 64;
