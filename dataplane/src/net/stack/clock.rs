//! smoltcp's time for one connection: ours, times a factor.
//!
//! smoltcp's shortest wait for an acknowledgement is one second, with no knob but the time it is told. While a connection
//! is being made, its time passes `stackClock` times as fast, so that a lost answer to a SYN is repeated sooner. Then
//! stack/recovery sees to loss, and smoltcp's time passes as ours does, so that its own timer, which sends everything
//! again, is the last resort.

use smoltcp::time::Instant as StackInstant;

#[derive(Clone, Copy, Debug)]
pub struct StackClock {
    factor: u32,
    /// smoltcp's time when ours was `since_ns`.
    base_us: u64,
    since_ns: u64,
}

impl StackClock {
    pub fn new(factor: u32, now_ns: u64) -> Self {
        assert!(factor > 0);
        Self { factor, base_us: now_ns / 1_000, since_ns: now_ns }
    }

    /// From now on time passes `factor` times as fast as ours; it does not jump.
    pub fn set_factor(&mut self, factor: u32, now_ns: u64) {
        assert!(factor > 0);
        *self = Self { factor, base_us: self.micros_at(now_ns), since_ns: now_ns };
    }

    pub fn at(&self, now_ns: u64) -> StackInstant {
        StackInstant::from_micros(self.micros_at(now_ns) as i64)
    }

    fn micros_at(&self, now_ns: u64) -> u64 {
        self.base_us + (now_ns - self.since_ns) / 1_000 * u64::from(self.factor)
    }

    /// Our time at which smoltcp's is this; never before it.
    pub fn real_ns(&self, at: StackInstant) -> u64 {
        let ahead_us = (at.total_micros() as u64).saturating_sub(self.base_us);
        self.since_ns + ahead_us.div_ceil(self.factor.into()) * 1_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: times turned round come back not earlier, and less than a step later; changing the factor does not jump.
    #[test]
    fn turns_round() {
        let mut clock = StackClock::new(20, 7_654_321);
        for now_ns in [7_654_321, 7_655_320, 8_000_000, 123_456_789_012] {
            let there = clock.at(now_ns);
            assert!(now_ns.abs_diff(clock.real_ns(there)) <= 1_000);
            assert!(clock.at(clock.real_ns(there)) >= there);
        }
        let before = clock.at(200_000_000_000);
        clock.set_factor(1, 200_000_000_000);
        assert_eq!(clock.at(200_000_000_000), before);
        assert_eq!((clock.at(201_000_000_000) - before).total_millis(), 1_000);
        assert!(clock.real_ns(before) <= 200_000_000_000);
    }
}
