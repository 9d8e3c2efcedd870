//! The loads: one thread that sends, polls and measures; no task per message, no lock, no allocation while it runs.
//!
//! ```text
//!   closed   each of C connections keeps up to W requests under way, and fills up when a quarter of them is answered
//!   open     request k is due at start + k / rate, whether replies come or not; latency counts from when it was due,
//!            so a server that stalls is charged for everything that had to wait (no coordinated omission)
//! ```
//!
//! One at a time on one connection (`ping`) is the closed load with C = W = 1. Looking at the server takes a moment in
//! which nobody takes replies, so a moment after the look is not measured either; what was served then counts for costs.

use super::conn::Conn;
use super::frames::{Template, glance};
use super::interrupt;
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
    /// Bytes of a message's body.
    pub size: usize,
    pub connections: usize,
    pub window: usize,
    /// Messages in one request.
    pub batch: usize,
    /// Requests a second; `None` is a closed loop.
    pub rate: Option<f64>,
    /// Lets others run on this core whenever there is nothing to read: a server that is free to use it may have to.
    pub yields: bool,
    /// A closed loop ends after so many messages, if the time has not come before.
    pub limit: u64,
    pub warmup: Duration,
    pub measured: Duration,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub messages: u64,
    pub took: Duration,
    /// Messages between the two looks at the server: those measured, and the few around them.
    pub served: u64,
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
            served: 0,
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
    let mut driven = |start: Instant, until: Duration, outcome: &mut Outcome| match load.rate {
        Some(rate) => drive_open(load, &mut lanes, start, until, rate, outcome),
        None => drive_closed(load, &mut lanes, start, until, outcome),
    };
    let (start, mut outcome) = phases(load.warmup, load.measured, begins, ends, &mut driven)?;
    finish(&mut lanes, start, &mut outcome)?;
    Ok(outcome)
}

/// Drives the load until the time since `start`, and puts what came into the outcome.
pub type Drive<'a> = dyn FnMut(Instant, Duration, &mut Outcome) -> io::Result<()> + 'a;

/// Warming up, a look, settling, what is measured, another look.
pub fn phases(
    warmup: Duration,
    measured: Duration,
    begins: &mut dyn FnMut(),
    ends: &mut dyn FnMut(),
    drive: &mut Drive<'_>,
) -> io::Result<(Instant, Outcome)> {
    let start = Instant::now();
    let mut drive = |until: Duration, outcome: &mut Outcome| {
        drive(start, until, outcome)?;
        interrupt::check()
    };
    drive(warmup, &mut Outcome::new())?;
    begins();
    let mut settling = Outcome::new();
    drive(start.elapsed() + SETTLE, &mut settling)?;
    let mut outcome = Outcome::new();
    let from = Instant::now();
    drive(start.elapsed() + measured, &mut outcome)?;
    outcome.took = from.elapsed();
    outcome.served = settling.messages + outcome.messages;
    ends();
    Ok((start, outcome))
}

/// A connection and the requests under way on it. An opaque is a place in `since`.
pub struct Lane {
    pub conn: Conn,
    template: Template,
    free: Vec<u32>,
    /// When each request under way was sent, or due: nanoseconds since the start.
    since: Vec<u64>,
}

impl Lane {
    pub fn new(conn: Conn, template: Template, window: usize) -> Lane {
        let slots = u32::try_from(window).expect("a window is small");
        Lane { conn, template, free: (0..slots).rev().collect(), since: vec![0; window] }
    }

    pub fn is_idle(&self) -> bool {
        self.free.len() == self.since.len()
    }

    pub fn push(&mut self, since_ns: u64) {
        if let Some(slot) = self.free.pop() {
            self.since[slot as usize] = since_ns;
            self.conn.push(&self.template, slot);
        }
    }

    /// Takes the replies that are there.
    pub fn receive(&mut self, start: Instant, batch: u64, outcome: &mut Outcome) -> io::Result<usize> {
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
        let mut idle = load.window > 1 || load.yields;
        for lane in lanes.iter_mut() {
            let received = lane.receive(start, batch, outcome)?;
            idle &= received == 0;
            if lane.free.len() >= refill {
                let now_ns = nanos(start.elapsed());
                if now_ns >= until_ns || outcome.messages >= load.limit {
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
        if is_over(start, until) {
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
        if is_over(start, until) {
            return Ok(());
        }
        let now_ns = nanos(start.elapsed());
        while due_ns(sent) <= now_ns {
            let lane = &mut lanes[sent as usize % load.connections];
            if lane.free.is_empty() || lane.conn.waiting() > OPEN_WAITING_MAX {
                break; // It stays due, and its wait counts.
            }
            lane.push(due_ns(sent));
            sent += 1;
        }
        let mut received = 0;
        for lane in lanes.iter_mut() {
            if lane.is_idle() {
                continue; // A call of the kernel for nothing would delay the others.
            }
            if lane.conn.waiting() > 0 {
                lane.conn.flush()?;
            }
            received += lane.receive(start, batch, outcome)?;
        }
        if received > 0 {
            continue;
        }
        let gap_ns = due_ns(sent).saturating_sub(nanos(start.elapsed()));
        if gap_ns > 2 * WAKING_NS && lanes.iter().all(Lane::is_idle) {
            std::thread::sleep(Duration::from_nanos(gap_ns - WAKING_NS));
        } else if load.yields {
            std::thread::yield_now();
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

/// Whether the time since `start` is past `until`, or nobody wants to know any more.
pub fn is_over(start: Instant, until: Duration) -> bool {
    start.elapsed() >= until || interrupt::is_asked()
}

pub fn nanos(since: Duration) -> u64 {
    since.as_secs() * 1_000_000_000 + u64::from(since.subsec_nanos())
}

/// A connection writes again when this part of its window is free: so a reply does not cost a system call of its own, and
/// at least three quarters of the window are always under way.
const REFILL_PARTS: usize = 4;
/// Longer than a look at the server takes, and its answers to what was under way meanwhile.
const SETTLE: Duration = Duration::from_millis(20);
const LATENCY_MAX_NS: u64 = 60_000_000_000;
const DRAIN_LIMIT: Duration = Duration::from_secs(2);
/// Nobody is late who wakes so long before: who sleeps in the gaps between requests is not the one whom the kernel makes
/// wait when the server's cold threads want this core.
const WAKING_NS: u64 = 80_000;
const OPEN_WAITING_MAX: usize = 1 << 20;
