//! One connection's life with loss, step by step.

use super::*;
use crate::net::stack::options;

const MSS: u32 = 1_000;
const MILLI: u64 = 1_000_000;
const FIRST: u32 = u32::MAX - 4_999; // The numbers pass zero in most tests.

/// A recovery, its clock, and what it was told.
struct Life {
    recovery: Recovery,
    counters: LossCounters,
    now_ns: u64,
}

impl Life {
    fn new(rtt_ns: u64) -> Self {
        let now_ns = 1_000 * MILLI;
        let recovery = Recovery::new(now_ns, MSS, FIRST, Some(rtt_ns));
        Self { recovery, counters: LossCounters::default(), now_ns }
    }

    fn send(&mut self, segments: u32) {
        let next = self.recovery.next.wrapping_add(segments * MSS);
        self.recovery.sent(self.now_ns, next);
    }

    /// Acknowledges `acked` segments from the beginning of all, and reports others.
    fn hear(&mut self, acked: u32, blocks: &[(u32, u32)]) {
        let number = |segment: u32| FIRST.wrapping_add(segment * MSS);
        let mut bytes = vec![5, 2 + 8 * blocks.len() as u8];
        for (from, to) in blocks {
            bytes.extend_from_slice(&number(*from).to_be_bytes());
            bytes.extend_from_slice(&number(*to).to_be_bytes());
        }
        self.recovery.heard(self.now_ns, number(acked), &options::sacks(&bytes), &mut self.counters);
    }

    /// What is sent again now: from which segment to which.
    fn repeats(&mut self) -> Vec<(u32, u32)> {
        let mut all = Vec::new();
        while let Some((from, to)) = self.recovery.next_repeat(self.now_ns, MSS, &mut self.counters) {
            let segment = |number: u32| number.wrapping_sub(FIRST) / MSS;
            all.push((segment(from), segment(to)));
            assert!(all.len() < 1_000);
        }
        all
    }

    /// Goes on to the deadline; how many ms that is.
    fn until_due(&mut self) -> u64 {
        let waited_ns = self.recovery.deadline_ns() - self.now_ns;
        self.now_ns += waited_ns;
        assert!(!self.recovery.due(self.now_ns, &mut self.counters));
        waited_ns / MILLI
    }

    fn pass(&mut self, nanos: u64) {
        self.now_ns += nanos;
    }
}

/// Goal: silence is met with one probe, then a timeout, then ever longer ones, up to a bound.
#[test]
fn backs_off() {
    let mut life = Life::new(MILLI / 20);
    life.send(3);
    let mut waits = vec![life.until_due()];
    assert_eq!(life.repeats(), [(2, 3)], "the last one");
    for _ in 0..20 {
        waits.push(life.until_due());
        assert_eq!(life.repeats(), [(0, 1)], "the first one, and no more");
    }
    assert_eq!(waits[..8], [5, 10, 20, 40, 80, 160, 320, 640]);
    assert_eq!(waits[13..].iter().max(), waits[13..].iter().min(), "bounded: {waits:?}");
    assert!(waits[20] <= 60_000);
    // News of some: the rest follows as a slow start lets it.
    life.pass(MILLI);
    life.hear(1, &[]);
    assert_eq!(life.repeats(), [(1, 2), (2, 3)]);
    life.hear(3, &[]);
    assert_eq!(life.recovery.deadline_ns(), NEVER);
}

/// Goal: a probe that had to wait for room in the device is not sent once there is news: it would repeat the last bytes for
/// nothing, or, with none on their way, no bytes at all.
#[test]
fn news_takes_a_waiting_probe_back() {
    for acked in [3, 2, 1] {
        let mut life = Life::new(MILLI / 20);
        life.send(3);
        life.until_due();
        life.pass(MILLI);
        life.hear(acked, &[]);
        assert_eq!(life.repeats(), [], "{acked} acknowledged");
        assert_eq!(life.counters.probes, 0);
    }
}

/// Goal: what tells repetitions apart counts them alone: counting turns too, it would come to its end on a busy connection in
/// half a day, and take every repetition for an old one. Method: a repetition, and looks in which nothing is to be repeated.
#[test]
fn only_repetitions_are_counted() {
    let mut life = Life::new(MILLI / 20);
    life.send(3);
    life.until_due();
    assert_eq!(life.repeats(), [(2, 3)]);
    life.hear(3, &[]);
    for _ in 0..100 {
        life.pass(MILLI);
        life.send(1);
        assert_eq!(life.repeats(), []);
    }
    assert_eq!(life.recovery.serial, 1);
}

/// Goal: new numbers put the probe off, not the timeout.
#[test]
fn sending_puts_the_probe_off() {
    let mut life = Life::new(MILLI / 20);
    for _ in 0..3 {
        life.send(1);
        life.pass(4 * MILLI);
    }
    life.now_ns -= 4 * MILLI;
    assert_eq!(life.until_due(), 2);
    assert_eq!(life.counters.timeouts, 1);
}

/// Goal: what left late is not missed early. Method: a pause over the sending; one before it, and one after it.
#[test]
fn our_own_pauses_are_no_silence() {
    for (from_ms, to_ms, wait_ms) in [(0, 20, 25), (-10, 0, 5), (1, 4, 5)] {
        let mut life = Life::new(MILLI / 20);
        let at = |ms: i64| life.now_ns.saturating_add_signed(ms * MILLI as i64);
        let (from_ns, to_ns) = (at(from_ms), at(to_ms));
        life.send(1);
        life.recovery.held_up(from_ns, to_ns);
        assert_eq!(life.until_due(), wait_ms, "{from_ms} to {to_ms}");
    }
}

/// Goal: when smoltcp begins again by itself it may send whole segments, however much was sent before (found by lying
/// reports: it went on byte by byte).
#[test]
fn the_last_resort_is_no_crawl() {
    let mut life = Life::new(MILLI / 20);
    life.send(10);
    life.until_due();
    life.repeats();
    life.until_due();
    life.repeats();
    let una = life.recovery.una();
    life.recovery.sent_again(life.now_ns, una, una.wrapping_add(MSS), &mut life.counters);
    for acked in 1..5 {
        life.pass(MILLI);
        life.hear(acked, &[]);
        assert!(life.recovery.limit() >= MSS, "{} bytes after {acked} segments", life.recovery.limit());
    }
}

/// Goal: on a local network a hole is filled at the first report; further away, only after some time or more reports.
#[test]
fn patience_grows_with_distance() {
    let mut near = Life::new(MILLI / 20);
    near.send(5);
    near.hear(0, &[(1, 2)]);
    assert_eq!(near.repeats(), [(0, 1)]);

    let mut far = Life::new(40 * MILLI);
    far.send(5);
    far.hear(0, &[(1, 2)]);
    assert_eq!(far.repeats(), []);
    assert_eq!(far.until_due(), 10);
    assert_eq!(far.repeats(), [(0, 1)]);

    let mut sure = Life::new(40 * MILLI);
    sure.send(5);
    sure.hear(0, &[(1, 4)]);
    assert_eq!(sure.repeats(), [(0, 1)]);
}

/// Goal: what was only late costs nothing: no repetition if it comes in time, and less haste after a needless one.
#[test]
fn reordering_is_learnt() {
    let mut life = Life::new(40 * MILLI);
    life.send(5);
    life.pass(40 * MILLI);
    life.hear(0, &[(1, 2)]);
    life.pass(9 * MILLI);
    life.hear(2, &[]);
    assert_eq!((life.repeats(), life.counters.holes), (vec![], 0));

    let window = life.recovery.window.bytes();
    life.hear(2, &[(3, 5)]);
    life.until_due();
    assert_eq!(life.repeats(), [(2, 3)]);
    assert!(life.recovery.window.bytes() < window);
    life.pass(35 * MILLI);
    life.hear(5, &[]);
    life.hear(5, &[(2, 3)]); // It came twice.
    assert_eq!(life.counters.needless, 1);
    assert_eq!(life.recovery.window.bytes(), window, "taken back");
    life.send(5);
    life.pass(40 * MILLI);
    life.hear(5, &[(6, 10)]);
    assert_eq!(life.repeats(), [], "four beyond the hole are no longer enough");
    assert_eq!(life.until_due(), 20);
    assert_eq!(life.repeats(), [(5, 6)]);
}

/// Goal: an answer that comes too soon to be one to the repetition takes it back. Method: a timeout shortly before it.
#[test]
fn early_news_takes_a_timeout_back() {
    let mut life = Life::new(40 * MILLI);
    life.send(8);
    life.until_due();
    assert_eq!(life.repeats(), [(7, 8)]);
    life.until_due();
    assert_eq!(life.repeats(), [(0, 1)]);
    assert_eq!(life.recovery.window.bytes(), MSS);
    let timeout_ns = life.recovery.rtt.timeout_ns();
    life.pass(3 * MILLI);
    life.hear(1, &[]);
    assert_eq!(life.counters.needless, 1);
    assert_eq!(life.recovery.window.bytes(), 11 * MSS);
    assert_eq!(life.repeats(), [], "nothing is lost after all");
    assert_eq!(life.recovery.rtt.timeout_ns(), 2 * timeout_ns);
}

/// Goal: needless probes come later and later where that helps, and a reported one does not shrink the window.
#[test]
fn needless_probes_are_learnt() {
    let mut life = Life::new(4 * MILLI);
    let mut waits = Vec::new();
    for round in 0..20 {
        life.send(1);
        let wait = life.until_due();
        assert_eq!(life.repeats().len(), 1);
        waits.push(wait);
        // The acknowledgement was only delayed: it comes with the report.
        life.pass(4 * MILLI);
        life.hear(round + 1, &[(round, round + 1)]);
    }
    assert_eq!(life.counters.needless, 20);
    assert_eq!(life.recovery.window.bytes(), 10 * MSS);
    assert_eq!(waits[0], 8);
}

/// Goal: a window limits what is on its way, in whole segments, and holes make room for what fills them.
#[test]
fn limits_the_flight() {
    let mut life = Life::new(MILLI / 20);
    assert_eq!(life.recovery.limit(), 10 * MSS);
    life.send(10);
    assert_eq!(life.recovery.limit(), 10 * MSS);
    life.hear(10, &[]);
    assert_eq!(life.recovery.limit(), 20 * MSS);
    life.send(20);
    life.hear(10, &[(11, 21)]);
    assert_eq!(life.recovery.limit(), 20 * MSS, "nothing new before the hole is filled");
    assert_eq!(life.repeats(), [(10, 11)]);
    // 20 segments shrink to 14; 9 and the repetition are on their way.
    assert_eq!(life.recovery.limit(), (20 + 4) * MSS);
}
