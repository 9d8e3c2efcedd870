//! New topics and the name servers: a topic's first message is answered when clients can find the topic.
//!
//! ```text
//! send makes a topic --> Announcing --> its frames wait unread --> Announced reaches its version, or the deadline
//! registrar: every server that knows us has taken the table --> Announced
//! ```
//!
//! The official broker registers before it answers; a client that starts a consumer right after its first send relies
//! on it. Without a name server that knows us nobody waits.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

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

/// A topic that name servers do not know yet.
#[derive(Clone, Copy, Debug)]
pub struct Announcing {
    topic: TopicIndex,
    counter: i64,
    deadline_ms: u64,
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
        self.announcing.push(Announcing { topic, counter, deadline_ms: now.mono_ms() + ANNOUNCE_MS_MAX });
    }

    /// Whether name servers have yet to hear of this topic.
    #[cold]
    pub(super) fn is_being_announced(&mut self, topic: TopicIndex, now: &TurnTime) -> bool {
        let counter = self.announced.counter();
        self.announcing.retain(|new| new.counter > counter && new.deadline_ms > now.mono_ms());
        self.announcing.iter().any(|new| new.topic == topic)
    }
}
