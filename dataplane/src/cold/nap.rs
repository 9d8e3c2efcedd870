//! When the disk thread rests, and how deeply.
//!
//! ```text
//! looks that find work ..... again at once while there is a backlog
//! idle for an instant ...... again, when the core is free    (SYNC_FLUSH: an answer brings the next send)
//! idle for a moment ........ short naps          (the shard makes no system call for us)
//! idle for longer .......... deep sleep          (whoever brings work wakes us with one)
//! ```
//!
//! Under ASYNC_FLUSH nobody waits for the disk, so the naps are long and nobody needs to wake us for an append. Under
//! SYNC_FLUSH a send waits for the next look. A thread that runs as soon as it is woken (urgent.rs) sleeps deeply at once; one that may
//! not stays awake for an instant, since a full core would let it wait, and naps as briefly as the kernel can until the broker is quiet.
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
}

impl Nap {
    pub fn new(manner: Manner) -> Nap {
        Nap { manner, idle_looks: 0 }
    }

    /// `more`: there is a backlog. `worked`: something was found.
    pub fn rest(&mut self, worked: bool, more: bool) -> Rest {
        if worked {
            self.idle_looks = 0;
        } else {
            self.idle_looks = self.idle_looks.saturating_add(1);
        }
        if more {
            return Rest::Again;
        }
        match self.manner {
            Manner::Urgent => Rest::Park(PARK_MAX),
            Manner::Attentive if self.idle_looks < SYNC_YIELDS => Rest::Yield,
            Manner::Attentive if self.idle_looks < SYNC_IDLE_LOOKS => Rest::Nap(SYNC_NAP),
            Manner::Attentive => Rest::Park(PARK_MAX),
            Manner::Lazy if self.idle_looks < ASYNC_IDLE_LOOKS => Rest::Park(ASYNC_NAP),
            Manner::Lazy => Rest::Park(ASYNC_PARK_MAX),
        }
    }
}

/// About as long as a sync takes: the next send most often comes within that time of the last answer.
const SYNC_YIELDS: u32 = 128;
/// With the kernel's usual slack this comes out near 100 µs.
const SYNC_NAP: Duration = Duration::from_micros(40);
/// Some 20 ms without work.
const SYNC_IDLE_LOOKS: u32 = SYNC_YIELDS + 200;
/// A quiet broker looks around this often anyway.
const PARK_MAX: Duration = Duration::from_secs(1);
/// At 3 GB/s the hot log takes 3 MB meanwhile.
const ASYNC_NAP: Duration = Duration::from_millis(1);
const ASYNC_IDLE_LOOKS: u32 = 100;
/// Nobody wakes us for an append, so this bounds how long one stays out of the files: at 3 GB/s it is 30 MB.
const ASYNC_PARK_MAX: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a waiting send is looked at soon, and a quiet broker costs nothing.
    #[test]
    fn sync_naps_are_short_until_it_is_quiet() {
        let mut nap = Nap::new(Manner::Attentive);
        assert_eq!(nap.rest(true, true), Rest::Again);
        assert_eq!(nap.rest(true, false), Rest::Yield);
        let yields = (0..1_000).take_while(|_| nap.rest(false, false) == Rest::Yield).count();
        assert_eq!(yields, SYNC_YIELDS as usize - 1);
        let naps = (0..1_000).take_while(|_| nap.rest(false, false) == Rest::Nap(SYNC_NAP)).count();
        assert_eq!(naps, (SYNC_IDLE_LOOKS - SYNC_YIELDS) as usize - 1);
        assert_eq!(nap.rest(false, false), Rest::Park(PARK_MAX));
        assert_eq!(nap.rest(true, false), Rest::Yield, "work makes it attentive again");
    }

    /// Goal: a thread that is woken for every send does not take the core from others in between.
    #[test]
    fn who_is_woken_sleeps_at_once() {
        let mut nap = Nap::new(Manner::Urgent);
        assert_eq!(nap.rest(true, true), Rest::Again);
        assert_eq!(nap.rest(true, false), Rest::Park(PARK_MAX));
    }

    #[test]
    fn async_naps_are_long_and_bounded() {
        let mut nap = Nap::new(Manner::Lazy);
        assert_eq!(nap.rest(true, false), Rest::Park(ASYNC_NAP));
        for _ in 0..1_000 {
            nap.rest(false, false);
        }
        assert_eq!(nap.rest(false, false), Rest::Park(ASYNC_PARK_MAX));
        assert_eq!(nap.rest(true, true), Rest::Again);
    }
}
