//! The load of reading: each queue has one pull under way, and the next begins where the last one ended.
//!
//! When a queue's end is reached it is begun again, so that the load runs on the messages there are.

use super::conn::Conn;
use super::frames::{Template, glance, pull_request};
use super::load::Outcome;
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
    pub codec: Codec,
    pub connections: usize,
    /// Queues of one connection, each with a pull under way.
    pub queues_each: usize,
    pub count: i32,
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
        let mut reader = Reader {
            conn: Conn::connect(load.addr)?,
            first_queue: (number * load.queues_each) as i32,
            offsets: vec![0; load.queues_each],
            since: vec![Duration::ZERO; load.queues_each],
        };
        for slot in 0..load.queues_each {
            reader.pull(load, slot, Duration::ZERO);
        }
        readers.push(reader);
    }
    let start = Instant::now();
    drive(load, &mut readers, start, load.warmup)?;
    begins();
    let from = Instant::now();
    let (mut outcome, pulled) = drive(load, &mut readers, start, load.warmup + load.measured)?;
    outcome.took = from.elapsed();
    ends();
    Ok((outcome, pulled))
}

struct Reader {
    conn: Conn,
    first_queue: i32,
    offsets: Vec<i64>,
    since: Vec<Duration>,
}

impl Reader {
    fn pull(&mut self, load: &PullLoad, slot: usize, now: Duration) {
        let queue_id = self.first_queue + slot as i32;
        let command = pull_request(&load.topic, queue_id, self.offsets[slot], load.count);
        self.conn.push(&Template::new(&command, load.codec), slot as u32);
        self.since[slot] = now;
    }
}

fn drive(
    load: &PullLoad,
    readers: &mut [Reader],
    start: Instant,
    until: Duration,
) -> io::Result<(Outcome, Pulled)> {
    let (mut outcome, mut pulled) = (Outcome::new(), Pulled::default());
    let mut again = Vec::with_capacity(load.queues_each);
    while start.elapsed() < until {
        for reader in readers.iter_mut() {
            again.clear();
            let (offsets, since) = (&mut reader.offsets, &reader.since);
            let received = reader.conn.receive(|frame| {
                let Some(glance) = glance(frame) else { return };
                let slot = glance.opaque as usize;
                let (Some(offset), Some(since)) = (offsets.get_mut(slot), since.get(slot)) else { return };
                again.push(slot);
                pulled.requests += 1;
                outcome.record((start.elapsed() - *since).as_nanos() as u64);
                match next_offset(frame) {
                    Some(next) if glance.code == response::SUCCESS => {
                        *offset = next;
                        outcome.messages += count_records(frame.body);
                        pulled.bytes += frame.body.len() as u64;
                    }
                    // The end of the queue, or a beginning that is gone meanwhile.
                    _ if glance.code == response::PULL_NOT_FOUND => *offset = 0,
                    Some(next) if glance.code == response::PULL_OFFSET_MOVED => *offset = next,
                    _ => outcome.refuse(glance.code),
                }
            })?;
            for &slot in &again {
                reader.pull(load, slot, start.elapsed());
            }
            if reader.conn.waiting() > 0 {
                reader.conn.flush()?;
            } else if received == 0 {
                std::hint::spin_loop();
            }
        }
    }
    Ok((outcome, pulled))
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
