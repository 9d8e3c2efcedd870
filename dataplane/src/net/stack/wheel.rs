//! A timer wheel with one timer for each connection. Setting, moving and firing cost the same however many there are.
//!
//! ```text
//!   fine wheel:    256 buckets of about 1 ms     lists through the connections' own nodes
//!   coarse wheel:  256 buckets of about 268 ms   spilled into the fine one as time reaches them
//! ```
//!
//! Lazy: a timer that moves away stays where it is, and is put right when its old time comes. That is the usual case
//! (every segment moves the retransmission and keep-alive times), and it costs one comparison.

#[derive(Clone, Copy, Debug)]
struct Node {
    /// When it should fire; `NEVER` for not at all.
    due_ns: u64,
    /// Which bucket it lies in; `NOWHERE` for none.
    bucket: u16,
    /// The beginning of that bucket's time: it will be looked at no later than that.
    looked_at_ns: u64,
    next: u32,
    prev: u32,
}

#[derive(Debug)]
pub struct Wheel {
    nodes: Vec<Node>,
    /// First node of each bucket: the fine ones, then the coarse ones.
    heads: [u32; FINE + COARSE],
    /// The fine tick that is to be looked at next.
    tick: u64,
}

pub const NEVER: u64 = u64::MAX;

impl Wheel {
    pub fn with_capacity(timers_max: usize) -> Self {
        let idle = Node { due_ns: NEVER, bucket: NOWHERE, looked_at_ns: NEVER, next: NONE, prev: NONE };
        Self { nodes: vec![idle; timers_max], heads: [NONE; FINE + COARSE], tick: 0 }
    }

    /// Sets when `timer` fires; `NEVER` stops it.
    pub fn set(&mut self, timer: u32, due_ns: u64) {
        let node = &mut self.nodes[timer as usize];
        node.due_ns = due_ns;
        if due_ns < node.looked_at_ns {
            self.unlink(timer);
            self.link(timer);
        }
    }

    /// Fires what is due: calls `fire` with each such timer, which is stopped before. It must be set again to fire again.
    pub fn advance(&mut self, now_ns: u64, mut fire: impl FnMut(u32)) {
        let until = now_ns >> TICK_SHIFT;
        if until.saturating_sub(self.tick) > (FINE * COARSE) as u64 {
            // A leap over a whole turn of both wheels (a machine that slept): every bucket's time has come.
            self.tick = until;
            (0..FINE + COARSE).for_each(|bucket| self.relink_bucket(bucket, now_ns, &mut fire));
        }
        while self.tick <= until {
            if self.tick.is_multiple_of(FINE as u64) {
                let coarse = FINE + (self.tick >> FINE_SHIFT) as usize % COARSE;
                self.relink_bucket(coarse, now_ns, &mut fire);
            }
            let fine = (self.tick % FINE as u64) as usize;
            self.tick += 1;
            self.relink_bucket(fine, now_ns, &mut fire);
        }
    }

    /// A time before which nothing fires: exact within the fine wheel, early beyond it.
    pub fn next_ns(&self) -> u64 {
        for tick in self.tick..self.tick + FINE as u64 {
            let is_coarse_edge = tick.is_multiple_of(FINE as u64);
            if self.heads[(tick % FINE as u64) as usize] != NONE
                || is_coarse_edge && self.heads[FINE + (tick >> FINE_SHIFT) as usize % COARSE] != NONE
            {
                return tick << TICK_SHIFT;
            }
        }
        (self.tick + FINE as u64) << TICK_SHIFT
    }

    fn relink_bucket(&mut self, bucket: usize, now_ns: u64, fire: &mut impl FnMut(u32)) {
        let mut timer = std::mem::replace(&mut self.heads[bucket], NONE);
        while timer != NONE {
            let node = &mut self.nodes[timer as usize];
            let next = node.next;
            node.bucket = NOWHERE;
            node.looked_at_ns = NEVER;
            (node.next, node.prev) = (NONE, NONE);
            if node.due_ns <= now_ns {
                node.due_ns = NEVER;
                fire(timer);
            } else {
                self.link(timer);
            }
            timer = next;
        }
    }

    fn link(&mut self, timer: u32) {
        let due_ns = self.nodes[timer as usize].due_ns;
        if due_ns == NEVER {
            return;
        }
        // A bucket is looked at when its tick is over, so that what is in it is due then.
        let tick = ((due_ns >> TICK_SHIFT) + 1).max(self.tick);
        let coarse_now = self.tick.div_ceil(FINE as u64);
        let (bucket, tick) = if tick < self.tick + FINE as u64 {
            ((tick % FINE as u64) as usize, tick)
        } else {
            let coarse = (tick >> FINE_SHIFT).clamp(coarse_now, coarse_now + COARSE as u64 - 1);
            (FINE + coarse as usize % COARSE, coarse << FINE_SHIFT)
        };
        let head = std::mem::replace(&mut self.heads[bucket], timer);
        if head != NONE {
            self.nodes[head as usize].prev = timer;
        }
        let node = &mut self.nodes[timer as usize];
        node.bucket = bucket as u16;
        node.looked_at_ns = tick << TICK_SHIFT;
        (node.next, node.prev) = (head, NONE);
    }

    fn unlink(&mut self, timer: u32) {
        let node = self.nodes[timer as usize];
        if node.bucket == NOWHERE {
            return;
        }
        if node.prev == NONE {
            self.heads[node.bucket as usize] = node.next;
        } else {
            self.nodes[node.prev as usize].next = node.next;
        }
        if node.next != NONE {
            self.nodes[node.next as usize].prev = node.prev;
        }
        let node = &mut self.nodes[timer as usize];
        node.bucket = NOWHERE;
        node.looked_at_ns = NEVER;
        (node.next, node.prev) = (NONE, NONE);
    }
}

const NONE: u32 = u32::MAX;
const NOWHERE: u16 = u16::MAX;
/// 2^20 ns, about a millisecond.
const TICK_SHIFT: u32 = 20;
const FINE_SHIFT: u32 = 8;
const FINE: usize = 1 << FINE_SHIFT;
const COARSE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// Goal: a leap of any length costs little, and nothing is lost in it. Method: timers near and far, a leap of years.
    #[test]
    fn leaps_over_years() {
        let mut wheel = Wheel::with_capacity(4);
        let year_ns = 365 * 86_400_000_000_000u64;
        for (timer, due_ns) in [(0, 5), (1, 100_000_000_000), (2, 30 * year_ns), (3, 31 * year_ns)] {
            wheel.set(timer, due_ns);
        }
        let mut fired = Vec::new();
        wheel.advance(30 * year_ns + 5_000_000, |timer| fired.push(timer));
        fired.sort_unstable();
        assert_eq!(fired, [0, 1, 2]);
        wheel.set(0, 30 * year_ns + 50_000_000);
        wheel.advance(30 * year_ns + 60_000_000, |timer| fired.push(timer));
        assert_eq!(fired, [0, 1, 2, 0]);
        wheel.advance(31 * year_ns + 5_000_000, |timer| fired.push(timer));
        assert_eq!(fired, [0, 1, 2, 0, 3]);
    }

    /// Goal: everything fires once, never early, at most two ticks late. Method: random sets and steps beside a list.
    #[test]
    fn fires_on_time() {
        let mut rng = Rng::from_seed(11);
        for _ in 0..20 {
            let mut wheel = Wheel::with_capacity(50);
            let mut due = [NEVER; 50];
            let mut now_ns = 0;
            for _ in 0..20_000 {
                let timer = rng.below(50) as u32;
                let spans_ns = [0, 900_000, 30_000_000, 400_000_000, 90_000_000_000];
                let due_ns = match rng.below(6) {
                    5 => NEVER,
                    pick => now_ns + rng.below(spans_ns[pick as usize] + 1),
                };
                wheel.set(timer, due_ns);
                due[timer as usize] = due_ns;
                let earliest_ns = due.iter().copied().min().unwrap();
                assert!(wheel.next_ns() <= earliest_ns.saturating_add(2 << TICK_SHIFT));
                let pick = rng.below(3) as usize;
                now_ns += rng.below([1_000, 2_000_000, 600_000_000][pick]);
                wheel.advance(now_ns, |timer| {
                    assert!(due[timer as usize] <= now_ns, "early");
                    due[timer as usize] = NEVER;
                });
                for due_ns in due {
                    assert!(
                        due_ns == NEVER || due_ns + (2 << TICK_SHIFT) > now_ns,
                        "late: {due_ns} at {now_ns}"
                    );
                }
            }
        }
    }

    /// Goal: a timer that keeps moving away costs no list work. Method: move it; it stays in its bucket.
    #[test]
    fn moving_away_is_lazy() {
        let mut wheel = Wheel::with_capacity(1);
        wheel.set(0, 200_000_000);
        let bucket = wheel.nodes[0].bucket;
        for step in 1..100 {
            wheel.set(0, 200_000_000 + step * 1_000_000);
            assert_eq!(wheel.nodes[0].bucket, bucket);
        }
        let mut fired_ns = 0;
        for now_ns in (0..1_000_000_000).step_by(1_000_000) {
            wheel.advance(now_ns, |_| fired_ns = now_ns);
        }
        assert!((299_000_000..303_000_000).contains(&fired_ns), "{fired_ns}");
    }
}
