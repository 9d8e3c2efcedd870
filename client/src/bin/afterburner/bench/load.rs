//! The loads: one thread that sends, polls and measures; no task per message, no lock, no allocation while it runs.
//!
//! ```text
//!   closed   each of C connections keeps up to W requests under way, and fills up when a quarter of them is answered
//!   open     request k is due at start + k / rate, whether replies come or not; latency counts from when it was due,
//!            so a server that stalls is charged for everything that had to wait (no coordinated omission)
//! ```
//!
//! One at a time on one connection (`ping`) is the closed load with C = W = 1.

use super::conn::Conn;
use super::frames::{Template, glance};
use hdrhistogram::Histogram;
use protocol::code::response;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What a load is made of.
#[derive(Clone, Debug)]
pub struct Load {
    pub addr: SocketAddr,
    /// Connection c takes the c-th, over again.
    pub templates: Vec<Template>,
    pub connections: usize,
    pub window: usize,
    /// Messages in one request.
    pub batch: usize,
    /// Requests a second; `None` is a closed loop.
    pub rate: Option<f64>,
    pub warmup: Duration,
    pub measured: Duration,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub messages: u64,
    pub took: Duration,
    /// Nanoseconds.
    pub latency: Histogram<u64>,
    /// Replies that say no, and the code of the first.
    pub refused: u64,
    pub first_refusal: Option<i32>,
    /// Requests of an open loop that had no reply at the end.
    pub unanswered: u64,
}

impl Outcome {
    pub fn new() -> Outcome {
        Outcome {
            messages: 0,
            took: Duration::ZERO,
            latency: Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3).expect("the bounds are sound"),
            refused: 0,
            first_refusal: None,
            unanswered: 0,
        }
    }

    pub fn record(&mut self, latency_ns: u64) {
        self.latency.saturating_record(latency_ns);
    }

    pub fn refuse(&mut self, code: i32) {
        self.refused += 1;
        self.first_refusal.get_or_insert(code);
    }
}

/// Runs a load to its end. `begins` and `ends` are called around the measured part.
pub fn run(load: &Load, begins: &mut dyn FnMut(), ends: &mut dyn FnMut()) -> io::Result<Outcome> {
    let mut lanes = Vec::new();
    for number in 0..load.connections {
        let template = load.templates[number % load.templates.len()].clone();
        lanes.push(Lane::new(Conn::connect(load.addr)?, template, load.window));
    }
    let mut outcome = Outcome::new();
    let start = Instant::now();
    drive(load, &mut lanes, start, load.warmup, &mut outcome)?;
    let mut outcome = Outcome::new();
    begins();
    let from = Instant::now();
    drive(load, &mut lanes, start, load.warmup + load.measured, &mut outcome)?;
    outcome.took = from.elapsed();
    ends();
    finish(&mut lanes, start, &mut outcome)?;
    Ok(outcome)
}

/// A connection and the requests under way on it. An opaque is a place in `since`.
struct Lane {
    conn: Conn,
    template: Template,
    free: Vec<u32>,
    /// When each request under way was sent, or due: nanoseconds since the start.
    since: Vec<u64>,
}

impl Lane {
    fn new(conn: Conn, template: Template, window: usize) -> Lane {
        let slots = u32::try_from(window).expect("a window is small");
        Lane { conn, template, free: (0..slots).rev().collect(), since: vec![0; window] }
    }

    fn push(&mut self, since_ns: u64) {
        if let Some(slot) = self.free.pop() {
            self.since[slot as usize] = since_ns;
            self.conn.push(&self.template, slot);
        }
    }

    /// Takes the replies that are there.
    fn receive(&mut self, start: Instant, batch: u64, outcome: &mut Outcome) -> io::Result<usize> {
        let (free, since) = (&mut self.free, &self.since);
        let mut now_ns = 0;
        self.conn.receive(|frame| {
            let Some(glance) = glance(frame) else { return };
            if now_ns == 0 {
                now_ns = nanos(start.elapsed());
            }
            if let Some(since_ns) = since.get(glance.opaque as usize) {
                outcome.record(now_ns.saturating_sub(*since_ns));
                free.push(glance.opaque);
                if glance.code == response::SUCCESS {
                    outcome.messages += batch
                } else {
                    outcome.refuse(glance.code)
                }
            }
        })
    }
}

fn drive(
    load: &Load,
    lanes: &mut [Lane],
    start: Instant,
    until: Duration,
    outcome: &mut Outcome,
) -> io::Result<()> {
    match load.rate {
        Some(rate) => drive_open(load, lanes, start, until, rate, outcome),
        None => drive_closed(load, lanes, start, until, outcome),
    }
}

fn drive_closed(
    load: &Load,
    lanes: &mut [Lane],
    start: Instant,
    until: Duration,
    outcome: &mut Outcome,
) -> io::Result<()> {
    let (batch, until_ns) = (load.batch as u64, nanos(until));
    let refill = load.window.div_ceil(REFILL_PARTS);
    loop {
        let mut idle = load.window > 1;
        for lane in lanes.iter_mut() {
            let received = lane.receive(start, batch, outcome)?;
            idle &= received == 0;
            if lane.free.len() >= refill {
                let now_ns = nanos(start.elapsed());
                if now_ns >= until_ns {
                    return Ok(());
                }
                while !lane.free.is_empty() {
                    lane.push(now_ns);
                }
                lane.conn.flush()?;
            } else if lane.conn.waiting() > 0 {
                lane.conn.flush()?;
            } else if received == 0 {
                std::hint::spin_loop();
            }
        }
        if nanos(start.elapsed()) >= until_ns {
            return Ok(());
        }
        if idle {
            std::thread::yield_now(); // The broker's cold threads may have to share this core.
        }
    }
}

fn drive_open(
    load: &Load,
    lanes: &mut [Lane],
    start: Instant,
    until: Duration,
    rate: f64,
    outcome: &mut Outcome,
) -> io::Result<()> {
    let batch = load.batch as u64;
    let began = start.elapsed();
    let gap_ns = 1e9 / rate;
    let mut sent = 0_u64;
    let due_ns = |number: u64| nanos(began) + (number as f64 * gap_ns) as u64;
    loop {
        let now = start.elapsed();
        if now >= until {
            return Ok(());
        }
        let now_ns = nanos(now);
        while due_ns(sent) <= now_ns {
            let lane = &mut lanes[sent as usize % load.connections];
            if lane.free.is_empty() || lane.conn.waiting() > OPEN_WAITING_MAX {
                break; // It stays due, and its wait counts.
            }
            lane.push(due_ns(sent));
            sent += 1;
        }
        for lane in lanes.iter_mut() {
            if lane.conn.waiting() > 0 {
                lane.conn.flush()?;
            }
            lane.receive(start, batch, outcome)?;
        }
    }
}

/// Takes the replies still out, for a while, so that a connection is not cut under a server at work.
fn finish(lanes: &mut [Lane], start: Instant, outcome: &mut Outcome) -> io::Result<()> {
    let until = start.elapsed() + DRAIN_LIMIT;
    let mut late = Outcome::new();
    for lane in lanes.iter_mut() {
        while lane.free.len() < lane.since.len() && start.elapsed() < until {
            lane.conn.flush()?;
            lane.receive(start, 0, &mut late)?;
        }
        outcome.unanswered += (lane.since.len() - lane.free.len()) as u64;
    }
    Ok(())
}

fn nanos(since: Duration) -> u64 {
    since.as_secs() * 1_000_000_000 + u64::from(since.subsec_nanos())
}

/// A connection writes again when this part of its window is free: so a reply does not cost a system call of its own, and
/// at least three quarters of the window are always under way.
const REFILL_PARTS: usize = 4;
const LATENCY_MAX_NS: u64 = 60_000_000_000;
const DRAIN_LIMIT: Duration = Duration::from_secs(2);
const OPEN_WAITING_MAX: usize = 1 << 20;
