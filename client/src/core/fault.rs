//! Which brokers to leave alone for a while, by how long they took to answer.
//!
//! ```text
//! latency of a send   < 550 ms   550 ms   1.8 s   3 s   5 s   15 s
//! left alone for             -      2 s     5 s   6 s  10 s   30 s
//! ```
//!
//! The table is that of RocketMQ 5.x; a send that failed counts as 10 s. Off unless `send_latency_fault` is set.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// The brokers that were slow, and until when each is left alone.
#[derive(Debug, Default)]
pub struct Faults {
    until: HashMap<Arc<str>, Duration>,
}

impl Faults {
    /// A send to `broker` took `latency`.
    pub fn took(&mut self, broker: &Arc<str>, latency: Duration, now: Duration) {
        let alone = left_alone(latency);
        if alone.is_zero() {
            self.until.remove(broker);
        } else {
            self.until.insert(broker.clone(), now + alone);
        }
    }

    /// A send to `broker` did not reach it or was not answered.
    pub fn failed(&mut self, broker: &Arc<str>, now: Duration) {
        self.took(broker, FAILURE_LATENCY, now);
    }

    pub fn is_available(&self, broker: &str, now: Duration) -> bool {
        self.until.get(broker).is_none_or(|&until| now >= until)
    }
}

fn left_alone(latency: Duration) -> Duration {
    let latency_ms = latency.as_millis();
    let row = LEFT_ALONE.iter().rev().find(|(from_ms, _)| latency_ms >= *from_ms);
    Duration::from_millis(row.map_or(0, |(_, alone_ms)| *alone_ms))
}

const FAILURE_LATENCY: Duration = Duration::from_secs(10);

/// (latency from, left alone for), both in milliseconds.
const LEFT_ALONE: [(u128, u64); 5] =
    [(550, 2000), (1800, 5000), (3000, 6000), (5000, 10_000), (15_000, 30_000)];

#[cfg(test)]
mod tests {
    use super::{Faults, left_alone};
    use std::sync::Arc;
    use std::time::Duration;

    /// Goal: the 5.x table of MQFaultStrategy, at and beside its edges.
    #[test]
    fn latencies_map_to_the_documented_pauses() {
        for (latency_ms, alone_ms) in [
            (0, 0),
            (50, 0),
            (549, 0),
            (550, 2000),
            (1799, 2000),
            (1800, 5000),
            (3000, 6000),
            (4999, 6000),
            (5000, 10_000),
            (10_000, 10_000),
            (15_000, 30_000),
            (60_000, 30_000),
        ] {
            assert_eq!(
                left_alone(Duration::from_millis(latency_ms)).as_millis(),
                alone_ms,
                "{latency_ms} ms"
            );
        }
    }

    /// Goal: a failed broker is left alone for 10 s, and one good send takes it back at once.
    #[test]
    fn a_failed_broker_returns() {
        let (mut faults, broker) = (Faults::default(), Arc::from("broker-a"));
        let start = Duration::from_secs(100);
        faults.failed(&broker, start);
        assert!(!faults.is_available("broker-a", start + Duration::from_millis(9999)));
        assert!(faults.is_available("broker-a", start + Duration::from_secs(10)));
        assert!(faults.is_available("broker-b", start));
        faults.took(&broker, Duration::from_millis(3), start);
        assert!(faults.is_available("broker-a", start));
    }
}
