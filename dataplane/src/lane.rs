//! SEAM: a bounded one-way lane between a shard and a cold thread.
//!
//! ```text
//! shard  --LaneIn<ColdRequest>--->  [ring]  --LaneOut-->  cold thread
//! shard  <--LaneOut<ColdReply>----  [ring]  <--LaneIn---  cold thread
//! ```
//!
//! Neither side ever waits for the other: a full lane hands the value back. The sleeping side is woken by
//! `wake`, called once after a batch of pushes; in the simulator nobody sleeps and `wake` does nothing.

use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use crossbeam::queue::ArrayQueue;

/// Makes a lane that holds at most `capacity` values.
pub fn lane<T>(capacity: usize) -> (LaneIn<T>, LaneOut<T>) {
    let ring = Arc::new(Ring { values: ArrayQueue::new(capacity), sleeper: OnceLock::new() });
    (LaneIn { ring: Arc::clone(&ring) }, LaneOut { ring })
}

/// The end that gives.
pub struct LaneIn<T> {
    ring: Arc<Ring<T>>,
}

/// The end that takes.
pub struct LaneOut<T> {
    ring: Arc<Ring<T>>,
}

/// Several may give to one lane.
impl<T> Clone for LaneIn<T> {
    fn clone(&self) -> Self {
        Self { ring: Arc::clone(&self.ring) }
    }
}

impl<T> LaneIn<T> {
    /// Puts `value` on the lane, or hands it back when the lane is full.
    pub fn push(&self, value: T) -> Result<(), T> {
        self.ring.values.push(value)
    }

    pub fn is_full(&self) -> bool {
        self.ring.values.is_full()
    }

    /// Wakes the taker if it registered itself as one that sleeps.
    pub fn wake(&self) {
        if let Some(sleeper) = self.ring.sleeper.get() {
            sleeper();
        }
    }
}

impl<T> LaneOut<T> {
    pub fn pop(&self) -> Option<T> {
        self.ring.values.pop()
    }

    pub fn is_empty(&self) -> bool {
        self.ring.values.is_empty()
    }

    /// Whether somebody may have found it full since the last value was taken, and waits to be told.
    pub fn was_full(&self) -> bool {
        self.ring.values.len() + 1 >= self.ring.values.capacity()
    }

    /// Names the thread that `LaneIn::wake` unparks. Once only; later calls change nothing.
    pub fn sleeps_as(&self, thread: Thread) {
        self.woken_by(move || thread.unpark());
    }

    /// What `LaneIn::wake` calls, for takers that do not park. Once only; later calls change nothing.
    pub fn woken_by(&self, wake: impl Fn() + Send + Sync + 'static) {
        // Deliberately not an error: a lane has one taker for life.
        let _ = self.ring.sleeper.set(Box::new(wake));
    }
}

struct Ring<T> {
    values: ArrayQueue<T>,
    sleeper: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a full lane refuses instead of waiting, and order is kept. Method: fill one of two places.
    #[test]
    fn a_full_lane_hands_the_value_back() {
        let (give, take) = lane(2);
        assert_eq!(give.push(1), Ok(()));
        assert_eq!(give.push(2), Ok(()));
        assert!(give.is_full());
        assert_eq!(give.push(3), Err(3));
        assert_eq!(take.pop(), Some(1));
        assert_eq!(give.push(3), Ok(()));
        assert_eq!((take.pop(), take.pop(), take.pop()), (Some(2), Some(3), None));
    }
}
