//! When the disk thread rests, and how deeply.
//!
//! ```text
//! looks that find work ..... again at once while there is a backlog
//! idle for an instant ...... again, when the core is free    (SYNC_FLUSH: an answer brings the next send)
//! idle for a moment ........ short naps          (the shard makes no system call for us)
//! idle for longer .......... deep sleep          (whoever brings work wakes us with one)
//! ```
//!
//! Under ASYNC_FLUSH nobody waits for the disk, so nobody wakes us for an append, and a nap is as long as the load lets it be: each
//! look costs whoever else has this core some 20 µs, and some hundreds a second show at the 99th percentile of 100,000 sends a
//! second. So every look is to find about as much as is written best at once, and ends its nap with a tick of the scheduler, which
//! disturbs that core anyway. Only sends that find the log full wake us. Under SYNC_FLUSH a send waits for the next look. A thread
//! that runs as soon as it is woken (urgent.rs) sleeps deeply at once; one that may not stays awake for an instant, since a full core
//! would let it wait, and naps as briefly as the kernel can until the broker is quiet.
//! Pure: what was found goes in, how to rest comes out.

use std::time::Duration;

/// What to do before the next look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    Again,
    /// Again, after whoever else wants this core.
    Yield,
    /// Sleep without being woken: nobody needs to make a system call for us.
    Nap(Duration),
    /// Park until woken or until the time is over.
    Park(Duration),
}

/// Who waits for the thread, and how it comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Nobody waits (ASYNC_FLUSH).
    Lazy,
    /// Sends wait (SYNC_FLUSH).
    Attentive,
    /// Sends wait, and who is woken runs at once.
    Urgent,
}

/// The policy of one thread.
#[derive(Debug)]
pub struct Nap {
    manner: Manner,
    idle_looks: u32,
    /// The next nap under ASYNC_FLUSH, and what was written since the last.
    lazy: Duration,
    gathered: u64,
}

impl Nap {
    pub fn new(manner: Manner) -> Nap {
        Nap { manner, idle_looks: 0, lazy: ASYNC_NAP_MAX, gathered: 0 }
    }

    /// `more`: there is a backlog. `found`: the bytes that were written.
    pub fn rest(&mut self, found: u64, more: bool) -> Rest {
        if found > 0 {
            self.idle_looks = 0;
        } else {
            self.idle_looks = self.idle_looks.saturating_add(1);
        }
        self.gathered += found;
        if more {
            return Rest::Again;
        }
        self.lazy = next_nap(self.lazy, std::mem::take(&mut self.gathered));
        match self.manner {
            Manner::Urgent => Rest::Park(PARK_MAX),
            Manner::Attentive if self.idle_looks < SYNC_YIELDS => Rest::Yield,
            Manner::Attentive if self.idle_looks < SYNC_IDLE_LOOKS => Rest::Nap(SYNC_NAP),
            Manner::Attentive => Rest::Park(PARK_MAX),
            Manner::Lazy => Rest::Park(self.lazy),
        }
    }
}

/// The nap in which what is best written at once gathers, when so much did in the last one.
fn next_nap(last: Duration, gathered: u64) -> Duration {
    let enough = last.as_nanos() * u128::from(ASYNC_BYTES) / u128::from(gathered.max(1));
    let enough = Duration::from_nanos(enough.try_into().unwrap_or(u64::MAX));
    enough.min(2 * last).clamp(ASYNC_NAP_MIN, ASYNC_NAP_MAX)
}

/// About as long as a sync takes: the next send most often comes within that time of the last answer.
const SYNC_YIELDS: u32 = 128;
/// With the kernel's usual slack this comes out near 100 µs.
const SYNC_NAP: Duration = Duration::from_micros(40);
/// Some 20 ms without work.
const SYNC_IDLE_LOOKS: u32 = SYNC_YIELDS + 200;
/// A quiet broker looks around this often anyway.
const PARK_MAX: Duration = Duration::from_secs(1);
/// At 3 GB/s the hot log takes 15 MB until the tick after it.
const ASYNC_NAP_MIN: Duration = Duration::from_millis(1);
/// Nobody wakes us for an append, so this bounds, with the slack, how long one stays out of the files: at 3 GB/s it is 54 MB.
const ASYNC_NAP_MAX: Duration = Duration::from_millis(14);
/// How much longer a nap under ASYNC_FLUSH may be: long enough to meet a tick of the usual 250 a second.
pub const ASYNC_NAP_SLACK: Duration = Duration::from_millis(4);
/// What a look is to find: as much as one step writes.
const ASYNC_BYTES: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a waiting send is looked at soon, and a quiet broker costs nothing.
    #[test]
    fn sync_naps_are_short_until_it_is_quiet() {
        let mut nap = Nap::new(Manner::Attentive);
        assert_eq!(nap.rest(1, true), Rest::Again);
        assert_eq!(nap.rest(1, false), Rest::Yield);
        let yields = (0..1_000).take_while(|_| nap.rest(0, false) == Rest::Yield).count();
        assert_eq!(yields, SYNC_YIELDS as usize - 1);
        let naps = (0..1_000).take_while(|_| nap.rest(0, false) == Rest::Nap(SYNC_NAP)).count();
        assert_eq!(naps, (SYNC_IDLE_LOOKS - SYNC_YIELDS) as usize - 1);
        assert_eq!(nap.rest(0, false), Rest::Park(PARK_MAX));
        assert_eq!(nap.rest(1, false), Rest::Yield, "work makes it attentive again");
    }

    /// Goal: a thread that is woken for every send does not take the core from others in between.
    #[test]
    fn who_is_woken_sleeps_at_once() {
        let mut nap = Nap::new(Manner::Urgent);
        assert_eq!(nap.rest(1, true), Rest::Again);
        assert_eq!(nap.rest(1, false), Rest::Park(PARK_MAX));
    }

    /// Goal: each look finds about as much, at every load. Method: a steady load, and what it brings in each nap.
    #[test]
    fn async_naps_are_as_long_as_the_load_lets_them_be() {
        for (bytes_per_ms, nap_ms) in
            [(0, 14.0), (1, 14.0), (140_000, 14.0), (600_000, 6.9), (30_000_000, 1.0)]
        {
            let mut nap = Nap::new(Manner::Lazy);
            let mut last = ASYNC_NAP_MAX;
            for _ in 0..20 {
                let found = bytes_per_ms * u64::try_from(last.as_micros()).unwrap() / 1_000;
                let Rest::Park(time) = nap.rest(found, false) else { panic!("nobody waits") };
                last = time;
            }
            assert!((last.as_secs_f64() * 1e3 - nap_ms).abs() < 0.2, "{last:?} at {bytes_per_ms} bytes/ms");
        }
    }

    /// Goal: a backlog makes it attentive, and a quiet broker lets it rest again. Method: many steps before a rest, then none.
    #[test]
    fn async_naps_count_all_that_was_written_between_them() {
        let mut nap = Nap::new(Manner::Lazy);
        for _ in 0..100 {
            assert_eq!(nap.rest(ASYNC_BYTES, true), Rest::Again);
        }
        assert_eq!(nap.rest(0, false), Rest::Park(ASYNC_NAP_MIN));
        assert_eq!(nap.rest(0, false), Rest::Park(2 * ASYNC_NAP_MIN));
        for _ in 0..10 {
            nap.rest(0, false);
        }
        assert_eq!(nap.rest(0, false), Rest::Park(ASYNC_NAP_MAX));
    }
}
