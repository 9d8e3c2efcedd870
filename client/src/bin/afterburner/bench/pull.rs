//! The load of reading: each queue has one pull under way, and the next begins where the last one ended.
//!
//! When a queue's end is reached it is begun again where this load's messages begin, so that the load runs on those, and
//! never on what lies on the disk.

use super::conn::Conn;
use super::frames::{Template, glance, pull_request};
use super::load::{Outcome, is_over, phases};
use protocol::CustomHeader;
use protocol::code::response;
use protocol::frame::{Codec, Frame};
use protocol::headers::PullMessageResponseHeader;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

#[derive(Clone, Debug)]
pub struct PullLoad {
    pub addr: SocketAddr,
    pub topic: String,
    /// How many the topic has.
    pub queues: usize,
    /// Where each queue is begun.
    pub from: Vec<i64>,
    pub codec: Codec,
    pub connections: usize,
    /// Queues of one connection, each with a pull under way.
    pub queues_each: usize,
    pub count: i32,
    /// As a sending load does.
    pub yields: bool,
    pub warmup: Duration,
    pub measured: Duration,
}

/// What came in besides what an `Outcome` says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pulled {
    pub bytes: u64,
    pub requests: u64,
}

pub fn run(
    load: &PullLoad,
    begins: &mut dyn FnMut(),
    ends: &mut dyn FnMut(),
) -> io::Result<(Outcome, Pulled)> {
    let mut readers = Vec::new();
    for number in 0..load.connections {
        readers.push(Reader::new(load, Conn::connect(load.addr)?, number * load.queues_each)?);
    }
    let mut pulled = Pulled::default();
    let mut driven = |start: Instant, until: Duration, outcome: &mut Outcome| {
        pulled = Pulled::default(); // The last to begin is the one that is measured.
        while !is_over(start, until) {
            let mut received = 0;
            for reader in readers.iter_mut() {
                received += reader.poll(load, start, outcome, &mut pulled)?;
            }
            if load.yields && received == 0 {
                std::thread::yield_now();
            }
        }
        Ok(())
    };
    let (_, outcome) = phases(load.warmup, load.measured, begins, ends, &mut driven)?;
    Ok((outcome, pulled))
}

/// One connection, and the pulls under way on it, one a queue.
pub struct Reader {
    conn: Conn,
    first_queue: usize,
    offsets: Vec<i64>,
    since: Vec<Duration>,
    /// Queues whose answer is here.
    again: Vec<usize>,
}

impl Reader {
    pub fn new(load: &PullLoad, conn: Conn, first_queue: usize) -> io::Result<Reader> {
        let mut reader = Reader {
            conn,
            first_queue: first_queue % load.queues,
            offsets: (0..load.queues_each)
                .map(|slot| load.from[(first_queue + slot) % load.queues])
                .collect(),
            since: vec![Duration::ZERO; load.queues_each],
            again: Vec::with_capacity(load.queues_each),
        };
        for slot in 0..load.queues_each {
            reader.pull(load, slot, Duration::ZERO);
        }
        reader.conn.flush()?;
        Ok(reader)
    }

    fn pull(&mut self, load: &PullLoad, slot: usize, now: Duration) {
        let queue_id = ((self.first_queue + slot) % load.queues) as i32;
        let command = pull_request(&load.topic, queue_id, self.offsets[slot], load.count);
        self.conn.push(&Template::new(&command, load.codec), slot as u32);
        self.since[slot] = now;
    }

    /// Reads once, and asks again in each queue that has answered. Gives the bytes read.
    pub fn poll(
        &mut self,
        load: &PullLoad,
        start: Instant,
        outcome: &mut Outcome,
        pulled: &mut Pulled,
    ) -> io::Result<usize> {
        let (offsets, since, again) = (&mut self.offsets, &self.since, &mut self.again);
        again.clear();
        let received = self.conn.receive(|frame| {
            let Some(glance) = glance(frame) else { return };
            let slot = glance.opaque as usize;
            let (Some(offset), Some(since)) = (offsets.get_mut(slot), since.get(slot)) else { return };
            again.push(slot);
            pulled.requests += 1;
            outcome.record(start.elapsed().saturating_sub(*since).as_nanos() as u64);
            match next_offset(frame) {
                Some(next) if glance.code == response::SUCCESS => {
                    *offset = next;
                    outcome.messages += count_records(frame.body);
                    pulled.bytes += frame.body.len() as u64;
                }
                // The end of the queue, or a beginning that is gone meanwhile.
                _ if glance.code == response::PULL_NOT_FOUND => {
                    *offset = load.from[(self.first_queue + slot) % load.queues];
                }
                Some(next) if glance.code == response::PULL_OFFSET_MOVED => *offset = next,
                _ => outcome.refuse(glance.code),
            }
        })?;
        for at in 0..self.again.len() {
            self.pull(load, self.again[at], start.elapsed());
        }
        if self.conn.waiting() > 0 {
            self.conn.flush()?;
        } else if received == 0 {
            std::hint::spin_loop();
        }
        Ok(received)
    }
}

fn next_offset(frame: &Frame<'_>) -> Option<i64> {
    let header = frame.header().ok()?;
    PullMessageResponseHeader::read(&header.fields).ok().map(|header| header.next_begin_offset)
}

/// Records one after another, by their sizes.
fn count_records(mut body: &[u8]) -> u64 {
    let mut count = 0;
    while let Some((size, _)) = body.split_first_chunk()
        && let Some(rest) = body.get(u32::from_be_bytes(*size).max(4) as usize..)
    {
        body = rest;
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::count_records;

    /// Goal: whole records are counted, a cut one is not, and a size of nothing does not hang.
    #[test]
    fn records_are_counted_by_their_sizes() {
        let record = [0, 0, 0, 6, 1, 2];
        assert_eq!(count_records(&record.repeat(3)), 3);
        assert_eq!(count_records(&record.repeat(3)[..17]), 2);
        assert_eq!(count_records(&[0; 8]), 2);
        assert_eq!(count_records(&[]), 0);
    }
}
