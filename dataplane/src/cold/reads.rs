//! Answers the shard's questions from the files: pulls of what is no longer hot, old records, searches by time.
//!
//! ```text
//! shard --lane<ColdRequest>--> step: ColdReader reads --lane<ColdReply>--> shard, woken
//! ```
//!
//! One bounded `step` at a time, so that a thread or the simulator may drive it. Questions are answered in the order
//! they came; an answer that finds its lane full waits here, and no further question is taken then, nor while
//! the answers that the shard has not taken have as many bytes as they may.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use store::{ColdReader, KeyQuery, QueueOffset, ReadAhead, StoreError};

use crate::broker::errands::{Answer, ColdEnds, ColdReply, Question, Stretch};

/// The life of a thread that reads ahead.
pub fn run_ahead(ahead: &ReadAhead, stop: &Arc<AtomicBool>) {
    ahead.add_helper();
    while !stop.load(Ordering::Acquire) {
        ahead.help(PATIENCE);
    }
}

/// Also how long a stop may wait for it.
const PATIENCE: Duration = Duration::from_millis(200);

/// The cold half of a shard's errands.
pub struct Reads {
    ends: ColdEnds,
    reader: ColdReader,
    /// An answer that found the lane full.
    unsent: Option<ColdReply>,
}

impl Reads {
    pub fn new(ends: ColdEnds, reader: ColdReader) -> Reads {
        Reads { ends, reader, unsent: None }
    }

    /// The ends of the lanes, for who sleeps between steps and must be woken.
    pub fn ends(&self) -> &ColdEnds {
        &self.ends
    }

    /// Answers up to `questions_max` questions. Returns how many it answered; 0 means there is nothing to do now.
    pub fn step(&mut self, questions_max: u32) -> u32 {
        let mut answered = 0;
        while answered < questions_max {
            let reply = match self.unsent.take() {
                Some(reply) => reply,
                None => {
                    if self.ends.untaken.is_full() {
                        break;
                    }
                    let Some(request) = self.ends.requests.pop() else { break };
                    let answer =
                        self.answer(request.question).unwrap_or_else(|e| Answer::Failed(e.to_string()));
                    self.ends.untaken.add(&answer);
                    ColdReply { token: request.token, answer }
                }
            };
            if let Err(reply) = self.ends.replies.push(reply) {
                self.unsent = Some(reply);
                break;
            }
            answered += 1;
        }
        if answered > 0 {
            self.ends.replies.wake();
        }
        answered
    }

    fn answer(&mut self, question: Question) -> Result<Answer, StoreError> {
        let reader = &mut self.reader;
        Ok(match question {
            Question::Pull(ask) => {
                let mut wants = |code| ask.filter.matches(code);
                Answer::Pulled(reader.read_pull(
                    &ask.topic,
                    ask.queue_id,
                    ask.offsets,
                    &ask.limits,
                    &mut wants,
                )?)
            }
            Question::Bytes(range) => Answer::Bytes(reader.read_range(range)?),
            Question::Record(physical) => Answer::Bytes(reader.read_record(physical)?),
            Question::SearchByTime { topic, queue_id, offsets, timestamp_ms, boundary } => {
                Answer::Offset(reader.search_by_time(&topic, queue_id, offsets, timestamp_ms, boundary)?)
            }
            Question::StoreTimes(places) => {
                let mut times = Vec::with_capacity(places.len());
                for place in &places {
                    let unit = reader.entry(&place.topic, place.queue_id, place.offset)?;
                    let time = unit.map(|unit| reader.store_time(unit.physical)).transpose()?;
                    times.push(time.flatten().unwrap_or(0));
                }
                Answer::StoreTimes(times)
            }
            Question::SearchTimes { stretches, timestamp_ms } => {
                let mut found = Vec::with_capacity(stretches.len());
                for Stretch { topic, queue_id, offsets, boundary } in stretches {
                    found.push(reader.search_by_time(&topic, queue_id, offsets, timestamp_ms, boundary)?);
                }
                Answer::Offsets(found)
            }
            Question::Make(parts) => Answer::Bytes(Some(parts.body())),
            Question::Read { body, read } => {
                let what = read(&body);
                Answer::Read(body, what)
            }
            Question::ByKey(ask) => {
                let query = KeyQuery {
                    topic: &ask.topic,
                    key: &ask.key,
                    kind: ask.kind,
                    max: ask.max,
                    begin: ask.begin_ms,
                    end: ask.end_ms,
                };
                Answer::Keys(reader.find_by_key(&query, ask.bytes_max)?)
            }
            Question::Units { topic, queue_id, offsets } => {
                let mut units = Vec::new();
                for offset in offsets.start.0..offsets.end.0 {
                    match reader.entry(&topic, queue_id, QueueOffset(offset))? {
                        Some(unit) => units.push(unit),
                        None => break,
                    }
                }
                Answer::Units(units)
            }
        })
    }
}
