//! New topics and the name servers: a topic's first message is answered when clients can find the topic.
//!
//! ```text
//! send makes a topic --> Announcing --> its frames wait unread --> Announced reaches its version, or the deadline
//! registrar: every server that knows us has taken the table --> Announced
//! ```
//!
//! The official broker registers before it answers; a client that starts a consumer right after its first send relies
//! on it. Without a name server that knows us nobody waits.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use hashbrown::HashMap;

use crate::broker::Broker;
use crate::broker::topics::TopicIndex;
use crate::limits::ANNOUNCE_MS_MAX;
use crate::time::TurnTime;

/// The topic table (its `DataVersion.counter`) that every name server has taken which knows us at all: written by the
/// registrar, read by the shard. With no such server it is `i64::MAX`.
#[derive(Clone, Debug)]
pub struct Announced(Arc<Told>);

struct Told {
    counter: AtomicI64,
    /// Wakes the shard, which may be asleep while nothing but this is missing.
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// Topics that name servers do not know yet. Every send looks here while there are any, so one is found among ten thousand at once.
#[derive(Debug, Default)]
pub struct Announcing {
    by_topic: HashMap<TopicIndex, Wait>,
    /// As they were made: those before are known, or late, no later than those behind. A topic that was made again stands here twice.
    in_order: VecDeque<(TopicIndex, Wait)>,
}

/// What a topic waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wait {
    counter: i64,
    deadline_ms: u64,
}

impl Announcing {
    pub fn is_empty(&self) -> bool {
        self.in_order.is_empty()
    }

    fn add(&mut self, topic: TopicIndex, wait: Wait) {
        self.by_topic.insert(topic, wait);
        self.in_order.push_back((topic, wait));
    }

    fn is_waiting(&self, topic: TopicIndex) -> bool {
        self.by_topic.contains_key(&topic)
    }

    /// Drops those that wait no longer.
    fn release(&mut self, counter: i64, now_ms: u64) {
        let over = |wait: &Wait| wait.counter <= counter || wait.deadline_ms <= now_ms;
        while let Some((topic, wait)) = self.in_order.front().filter(|(_, wait)| over(wait)) {
            if self.by_topic.get(topic) == Some(wait) {
                self.by_topic.remove(topic);
            }
            self.in_order.pop_front();
        }
    }
}

impl Default for Announced {
    fn default() -> Self {
        Self(Arc::new(Told { counter: AtomicI64::new(i64::MAX), wake: OnceLock::new() }))
    }
}

impl Announced {
    pub fn tell(&self, counter: i64) {
        self.0.counter.store(counter, Ordering::Release);
        if let Some(wake) = self.0.wake.get() {
            wake();
        }
    }

    /// How to wake the shard; the first one counts.
    pub fn woken_by(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _ = self.0.wake.set(Box::new(wake));
    }

    pub fn counter(&self) -> i64 {
        self.0.counter.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Told").field("counter", &self.counter).finish_non_exhaustive()
    }
}

impl Broker {
    /// Where to see what name servers know; without it a new topic waits for nobody.
    pub fn announced_by(&mut self, announced: Announced) {
        self.announced = announced;
    }

    /// This topic was made just now.
    #[cold]
    pub(super) fn announce(&mut self, topic: TopicIndex, now: &TurnTime) {
        let counter = self.topics.version().counter;
        self.announcing.add(topic, Wait { counter, deadline_ms: now.mono_ms() + ANNOUNCE_MS_MAX });
    }

    /// Whether name servers have yet to hear of this topic.
    #[cold]
    pub(super) fn is_being_announced(&mut self, topic: TopicIndex, now: &TurnTime) -> bool {
        self.announcing.release(self.announced.counter(), now.mono_ms());
        self.announcing.is_waiting(topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::persist_ops::PersistOps;
    use crate::broker::topic_config::TopicConfig;
    use crate::broker::topics::tests::{settings, table};

    fn topics(count: usize) -> Vec<TopicIndex> {
        let (mut topics, mut ops) = (table(settings()), PersistOps::new());
        (0..count).map(|at| topics.put(TopicConfig::new(&format!("T{at}"), 4, 6), 0, &mut ops)).collect()
    }

    /// Goal: a topic waits until name servers know its version or until it is late, also one that is made again meanwhile.
    #[test]
    fn topics_wait_for_their_version_or_their_time() {
        let (topics, mut announcing) = (topics(3), Announcing::default());
        for (at, &topic) in topics.iter().enumerate() {
            announcing.add(topic, Wait { counter: at as i64 + 1, deadline_ms: 100 + at as u64 });
        }
        announcing.add(topics[0], Wait { counter: 9, deadline_ms: 500 });
        let waiting = |announcing: &Announcing| -> Vec<bool> {
            topics.iter().map(|topic| announcing.is_waiting(*topic)).collect()
        };
        announcing.release(0, 99);
        assert_eq!(waiting(&announcing), [true, true, true]);
        announcing.release(2, 99);
        assert_eq!(waiting(&announcing), [true, false, true], "the first was made again");
        announcing.release(2, 102);
        assert_eq!(waiting(&announcing), [true, false, false]);
        announcing.release(9, 102);
        assert!(announcing.is_empty() && announcing.by_topic.is_empty());
    }

    /// Goal: however many topics are made at once, whether one of them waits is known at once. Method: as many as would take many minutes if each
    /// were looked for among all, all asked for twice, and released one by one.
    #[test]
    fn many_topics_wait_without_holding_anybody_up() {
        let (topics, mut announcing) = (topics(200_000), Announcing::default());
        for (at, &topic) in topics.iter().enumerate() {
            announcing.add(topic, Wait { counter: at as i64 + 1, deadline_ms: 1_000 });
        }
        for known in 0..=topics.len() {
            announcing.release(known as i64, 0);
            let waiting = [known.checked_sub(1), Some(known)].map(|at| {
                at.and_then(|at| topics.get(at)).is_some_and(|topic| announcing.is_waiting(*topic))
            });
            assert_eq!(waiting, [false, known < topics.len()]);
        }
        assert!(announcing.is_empty());
    }
}
