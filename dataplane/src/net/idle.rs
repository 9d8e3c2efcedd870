//! When a shard with nothing to do may sleep, and who may wake it.
//!
//! ```text
//!   last work ──── spin ────▶ asleep in poll(2) ──▶ traffic | timer | Waker | max
//!              grows when sleeps turn out short, shrinks when they are long
//! ```
//!
//! A core of a loaded broker never sleeps; a quiet laptop's nearly always does.

use crate::time::TurnTime;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Wakes a sleeping shard. Costs no system call while the shard is awake.
#[derive(Clone, Debug)]
pub struct Waker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    asleep: AtomicBool,
    wanted: AtomicBool,
    bell: Option<UnixStream>,
}

impl Waker {
    /// A waker with nobody to wake: for worlds in which nothing ever sleeps.
    pub fn idle() -> Self {
        Self {
            shared: Arc::new(Shared {
                asleep: AtomicBool::new(false),
                wanted: AtomicBool::new(false),
                bell: None,
            }),
        }
    }

    pub fn wake(&self) {
        self.shared.wanted.store(true, Ordering::SeqCst);
        if self.shared.asleep.load(Ordering::SeqCst)
            && let Some(mut bell) = self.shared.bell.as_ref()
        {
            // A full pipe has rung enough already; a closed one has nobody to hear it.
            let _rung = bell.write(&[1]);
        }
    }
}

/// The sleeper's side.
#[derive(Debug)]
pub struct Idle {
    shared: Arc<Shared>,
    bell: Option<UnixStream>,
    worked_at_ns: u64,
    slept_from_ns: Option<u64>,
    spin_ns: u64,
    spin_ns_min: u64,
    spin_ns_max: u64,
}

/// How long a shard spins before it sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spin {
    /// Between a little and a lot, by what sleeping turned out to be worth.
    Adaptive,
    /// Never sleeps: for a core that is ours alone.
    Always,
}

impl Idle {
    pub fn new(spin: Spin) -> std::io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        let (spin_ns_min, spin_ns_max) = match spin {
            Spin::Adaptive => (SPIN_NANOS_MIN, SPIN_NANOS_MAX),
            Spin::Always => (u64::MAX, u64::MAX),
        };
        Ok(Self {
            shared: Arc::new(Shared {
                asleep: AtomicBool::new(false),
                wanted: AtomicBool::new(false),
                bell: Some(theirs),
            }),
            bell: Some(ours),
            worked_at_ns: 0,
            slept_from_ns: None,
            spin_ns: SPIN_NANOS_START.clamp(spin_ns_min, spin_ns_max),
            spin_ns_min,
            spin_ns_max,
        })
    }

    /// For the simulator, where time moves only between turns.
    pub fn never() -> Self {
        Self {
            shared: Waker::idle().shared,
            bell: None,
            worked_at_ns: 0,
            slept_from_ns: None,
            spin_ns: u64::MAX,
            spin_ns_min: u64::MAX,
            spin_ns_max: u64::MAX,
        }
    }

    pub fn waker(&self) -> Waker {
        Waker { shared: Arc::clone(&self.shared) }
    }

    /// The descriptor to poll beside one's own.
    pub fn bell_fd(&self) -> Option<RawFd> {
        self.bell.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// Called at the top of every turn; learns from the sleep that has just ended, if one has.
    pub fn begin_turn(&mut self, now: &TurnTime) {
        let Some(from_ns) = self.slept_from_ns.take() else { return };
        let slept_ns = now.mono_ns.saturating_sub(from_ns);
        if slept_ns < SLEEP_NANOS_SHORT {
            self.spin_ns = self.spin_ns.saturating_mul(2);
        } else if slept_ns > SLEEP_NANOS_LONG {
            self.spin_ns /= 2;
        }
        self.spin_ns = self.spin_ns.clamp(self.spin_ns_min, self.spin_ns_max);
    }

    pub fn worked(&mut self, now: &TurnTime) {
        self.worked_at_ns = now.mono_ns;
    }

    /// Whether the spin after the last work is over.
    pub fn may_sleep(&self, now: &TurnTime) -> bool {
        now.mono_ns.saturating_sub(self.worked_at_ns) >= self.spin_ns
    }

    /// Runs `sleep` if the spin is over and nobody wants us. `sleep` polls and may be told to return at once.
    pub fn sleep_with(&mut self, now: &TurnTime, max: Duration, sleep: impl FnOnce(Duration)) {
        if !self.may_sleep(now) {
            // Others may have waited for this core; a spin that starves them helps nobody.
            std::hint::spin_loop();
            return;
        }
        self.shared.asleep.store(true, Ordering::SeqCst);
        if !self.shared.wanted.load(Ordering::SeqCst) && !max.is_zero() {
            self.slept_from_ns = Some(now.mono_ns);
            sleep(max);
        }
        self.shared.asleep.store(false, Ordering::SeqCst);
        self.shared.wanted.store(false, Ordering::SeqCst);
        if let Some(bell) = self.bell.as_mut() {
            let mut rung = [0; 64];
            // Nothing to read is the usual case.
            while self.slept_from_ns.is_some() && matches!(bell.read(&mut rung), Ok(64)) {}
        }
    }
}

const SPIN_NANOS_MIN: u64 = 20_000;
const SPIN_NANOS_START: u64 = 200_000;
const SPIN_NANOS_MAX: u64 = 2_000_000;
/// A sleep shorter than this was not worth its wake-up.
const SLEEP_NANOS_SHORT: u64 = 1_000_000;
/// After a sleep longer than this, the next spin may be shorter.
const SLEEP_NANOS_LONG: u64 = 4_000_000;

const _: () = assert!(SPIN_NANOS_MIN <= SPIN_NANOS_START && SPIN_NANOS_START <= SPIN_NANOS_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mono_ns: u64) -> TurnTime {
        TurnTime { mono_ns, wall_ms: 0 }
    }

    /// Goal: no sleep within the spin, sleep after it. Method: move the clock over the edge.
    #[test]
    fn spins_before_it_sleeps() {
        let mut idle = Idle::new(Spin::Adaptive).unwrap();
        idle.worked(&at(0));
        idle.sleep_with(&at(SPIN_NANOS_START - 1), Duration::from_secs(1), |_| panic!("too early"));
        let mut slept = false;
        idle.sleep_with(&at(SPIN_NANOS_START), Duration::from_secs(1), |_| slept = true);
        assert!(slept);
    }

    /// Goal: a wake before the sleep is not lost. Method: wake first, then try to sleep.
    #[test]
    fn early_wake_is_kept() {
        let mut idle = Idle::new(Spin::Adaptive).unwrap();
        idle.waker().wake();
        idle.sleep_with(&at(SPIN_NANOS_MAX), Duration::from_secs(1), |_| panic!("a wake was lost"));
        let mut slept = false;
        idle.sleep_with(&at(SPIN_NANOS_MAX), Duration::from_secs(1), |_| slept = true);
        assert!(slept, "one wake is good for one sleep");
    }

    /// Goal: the spin follows the traffic. Method: short sleeps, then long ones.
    #[test]
    fn spin_adapts() {
        let mut idle = Idle::new(Spin::Adaptive).unwrap();
        let mut now_ns = SPIN_NANOS_MAX;
        let mut sleep_for = |idle: &mut Idle, ns: u64| {
            idle.sleep_with(&at(now_ns), Duration::from_secs(1), |_| ());
            now_ns += ns;
            idle.begin_turn(&at(now_ns));
        };
        for _ in 0..10 {
            sleep_for(&mut idle, SLEEP_NANOS_SHORT / 2);
        }
        assert_eq!(idle.spin_ns, SPIN_NANOS_MAX);
        for _ in 0..10 {
            sleep_for(&mut idle, SLEEP_NANOS_LONG * 2);
        }
        assert_eq!(idle.spin_ns, SPIN_NANOS_MIN);
    }
}
