//! The polling thread's life: turns until it is told to stop, then everybody gets what they are owed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::net::Net;
use crate::shard::Shard;
use crate::time::{Clock, RealClock};
use crate::touched;

/// The polling loop of one core.
pub fn run_shard<N: Net>(mut shard: Shard<N>, core: Option<usize>, stop: &Arc<AtomicBool>) {
    if let Some(id) = core
        && !core_affinity::set_for_current(core_affinity::CoreId { id })
    {
        log::warn!("the polling thread could not be pinned to core {id}");
    }
    touched::stack();
    let mut clock = RealClock::start();
    shard.open_sight(clock.fine(), &clock.read());
    while !stop.load(Ordering::Relaxed) {
        let now = clock.read();
        if shard.turn(&now) == 0 {
            let max = shard.nap_max();
            shard.net.idle_wait(&now, max);
        }
    }
    finish_shard(&mut shard, &mut clock);
}

/// Every connection gets what it is owed and ends; then what changed goes to the keeper.
fn finish_shard<N: Net>(shard: &mut Shard<N>, clock: &mut RealClock) {
    let began = Instant::now();
    shard.close_all();
    while shard.net.conns_len() > 0 && began.elapsed() < GOODBYE_MAX {
        let now = clock.read();
        if shard.turn(&now) == 0 {
            shard.net.idle_wait(&now, Duration::from_millis(1));
        }
    }
    while !shard.broker.keep_everything(&clock.read()) && began.elapsed() < HAND_OVER_MAX {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// How long peers may take to take what they are owed.
const GOODBYE_MAX: Duration = Duration::from_millis(500);
const HAND_OVER_MAX: Duration = Duration::from_secs(5);
