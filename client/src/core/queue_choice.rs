//! Which queue the next message goes to: the next in turn, but not on the broker that just failed.
//!
//! The turn starts at a random queue, so that many producers started together do not march in step.

use crate::core::fault::Faults;
use crate::core::rng::Rng;
use crate::message::MessageQueue;
use std::time::Duration;

/// The place in the round of one producer over one topic.
#[derive(Debug)]
pub struct Rotor {
    turn: usize,
}

impl Rotor {
    pub fn new(rng: &mut Rng) -> Rotor {
        Rotor { turn: rng.below(1 << 20) }
    }

    /// The next queue. `avoid` is the broker the attempt before this one failed on; with `faults`, slow brokers are
    /// left alone too. When every queue is to be avoided, none is.
    pub fn next<'q>(
        &mut self,
        queues: &'q [MessageQueue],
        avoid: Option<&str>,
        faults: Option<&Faults>,
        now: Duration,
    ) -> Option<&'q MessageQueue> {
        let is_other = |queue: &MessageQueue| avoid != Some(&*queue.broker_name);
        let is_quick =
            |queue: &MessageQueue| faults.is_none_or(|faults| faults.is_available(&queue.broker_name, now));
        if let Some(queue) = self.find(queues, |queue| is_other(queue) && is_quick(queue)) {
            return Some(queue);
        }
        if let Some(queue) = self.find(queues, is_other) {
            return Some(queue);
        }
        self.find(queues, |_| true)
    }

    fn find<'q>(
        &mut self,
        queues: &'q [MessageQueue],
        fits: impl Fn(&MessageQueue) -> bool,
    ) -> Option<&'q MessageQueue> {
        for _ in queues {
            self.turn = self.turn.wrapping_add(1);
            let queue = &queues[self.turn % queues.len()];
            if fits(queue) {
                return Some(queue);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn queues(brokers: &[&str]) -> Vec<MessageQueue> {
        brokers.iter().flat_map(|broker| (0..4).map(|id| MessageQueue::new("T", broker, id))).collect()
    }

    /// Goal: each queue gets its share, in turn.
    #[test]
    fn queues_take_turns() {
        let (mut rotor, queues) = (Rotor::new(&mut Rng::new(1)), queues(&["a", "b"]));
        let mut shares = [0; 8];
        for _ in 0..800 {
            let chosen = rotor.next(&queues, None, None, Duration::ZERO).unwrap();
            shares[queues.iter().position(|queue| queue == chosen).unwrap()] += 1;
        }
        assert_eq!(shares, [100; 8]);
    }

    /// Goal: the failed broker is skipped while there is another, and used when there is none.
    #[test]
    fn the_failed_broker_is_skipped_if_it_can_be() {
        let mut rotor = Rotor::new(&mut Rng::new(2));
        let two = queues(&["a", "b"]);
        for _ in 0..50 {
            let chosen = rotor.next(&two, Some("a"), None, Duration::ZERO).unwrap();
            assert_eq!(&*chosen.broker_name, "b");
        }
        let one = queues(&["a"]);
        assert!(rotor.next(&one, Some("a"), None, Duration::ZERO).is_some());
        assert!(rotor.next(&[], None, None, Duration::ZERO).is_none());
    }

    /// Goal: with fault avoidance a slow broker gets nothing until its pause is over, unless all are slow.
    #[test]
    fn slow_brokers_are_left_alone() {
        let (mut rotor, queues) = (Rotor::new(&mut Rng::new(3)), queues(&["a", "b"]));
        let mut faults = Faults::default();
        faults.failed(&Arc::from("a"), Duration::ZERO);
        for _ in 0..50 {
            let chosen = rotor.next(&queues, None, Some(&faults), Duration::from_secs(9)).unwrap();
            assert_eq!(&*chosen.broker_name, "b");
        }
        let later = Duration::from_secs(10);
        let brokers: std::collections::BTreeSet<_> = (0..8)
            .map(|_| rotor.next(&queues, None, Some(&faults), later).unwrap().broker_name.clone())
            .collect();
        assert_eq!(brokers.len(), 2);
        faults.failed(&Arc::from("b"), Duration::ZERO);
        let chosen = rotor.next(&queues, Some("b"), Some(&faults), Duration::from_secs(1)).unwrap();
        assert_eq!(&*chosen.broker_name, "a", "all are slow: still not the one that just failed");
    }
}
