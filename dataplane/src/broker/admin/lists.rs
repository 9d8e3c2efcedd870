//! Lists of topics (18) and of groups (225): all that is listed is made, or nothing when one is refused.
//!
//! ```text
//! listed --checked, some a turn--> checked --put, some a turn--> the table --> the answer
//! ```

use std::collections::VecDeque;
use std::{fmt, vec};

use super::super::long_work::LongWork;
use super::super::{Broker, Refusal, ReplyTo, Request};
use crate::limits::LONG_WORK_PER_TURN_MAX;
use crate::outbox::Outbox;
use crate::time::TurnTime;

/// What such a list makes.
pub(super) trait Listed: fmt::Debug + Send + Sized + 'static {
    /// As the request has it.
    type Body: fmt::Debug + Send;
    /// What those of the list that have been checked would add to the table.
    type More: fmt::Debug + Default + Send;

    fn check(listed: Self::Body, more: &mut Self::More, broker: &Broker) -> Result<Self, Refusal>;

    /// Others may have taken the room since it was checked.
    fn put(self, broker: &mut Broker, now_ms: i64) -> Result<(), Refusal>;
}

#[derive(Debug)]
struct List<L: Listed> {
    listed: vec::IntoIter<L::Body>,
    more: L::More,
    checked: VecDeque<L>,
    refused: Option<Refusal>,
}

impl Broker {
    pub(super) fn put_list<L: Listed>(&mut self, listed: Vec<L::Body>, req: &Request<'_>, out: &mut Outbox) {
        let list = List::<L> {
            listed: listed.into_iter(),
            more: L::More::default(),
            checked: VecDeque::new(),
            refused: None,
        };
        self.begin_work(list, req, out);
    }
}

impl<L: Listed> LongWork for List<L> {
    fn go_on(&mut self, to: ReplyTo, broker: &mut Broker, now: &TurnTime, out: &mut Outbox) -> bool {
        for _ in 0..LONG_WORK_PER_TURN_MAX {
            // After a refusal the rest is only thrown away, and no faster.
            let goes_on = self.refused.is_none();
            let taken = if let Some(listed) = self.listed.next() {
                let check = || L::check(listed, &mut self.more, broker);
                goes_on.then(check).transpose().map(|checked| self.checked.extend(checked))
            } else if let Some(checked) = self.checked.pop_front() {
                if goes_on { checked.put(broker, now.wall_ms) } else { Ok(()) }
            } else {
                match self.refused.take() {
                    Some(refusal) => {
                        broker.counters.refusals += 1;
                        out.refuse(to, &refusal);
                    }
                    None => out.done(to),
                }
                return true;
            };
            if let Err(refusal) = taken {
                self.refused = Some(refusal);
            }
        }
        false
    }
}
