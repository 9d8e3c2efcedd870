//! The load of many connections of which few are at work at a time: each sends one request, and when its answer is there the
//! next connection's turn has come.
//!
//! ```text
//!   connection  0 1 2 3 4 5 6 7 8 9 ..      W of them have a request under way, and all of them get their turn
//!               - - - * * * * - - -         only those are read from, so this side's cost does not grow with their number
//! ```

use super::conn::Conn;
use super::load::{Lane, Load, Outcome, is_over, nanos, phases};
use std::io;
use std::time::{Duration, Instant};

/// Runs it to its end: `load.window` requests under way in all, one at most on each of `load.connections`.
pub fn run(load: &Load, begins: &mut dyn FnMut(), ends: &mut dyn FnMut()) -> io::Result<Outcome> {
    let mut rota = Rota { lanes: Vec::with_capacity(load.connections), active: Vec::new(), next: 0 };
    for number in 0..load.connections {
        let template = load.templates[number % load.templates.len()].clone();
        rota.lanes.push(Lane::new(Conn::one_of_many(load.addr)?, template, 1));
    }
    for _ in 0..load.window.min(load.connections) {
        let number = rota.begin_next(0)?;
        rota.active.push(number);
    }
    let mut driven =
        |start: Instant, until: Duration, outcome: &mut Outcome| rota.drive(load, start, until, outcome);
    phases(load.warmup, load.measured, begins, ends, &mut driven).map(|(_, outcome)| outcome)
}

struct Rota {
    lanes: Vec<Lane>,
    /// The connections with a request under way.
    active: Vec<usize>,
    next: usize,
}

impl Rota {
    /// Sends on the next connection that has nothing under way, which there is.
    fn begin_next(&mut self, now_ns: u64) -> io::Result<usize> {
        loop {
            let number = self.next;
            self.next = (self.next + 1) % self.lanes.len();
            let lane = &mut self.lanes[number];
            if lane.is_idle() {
                lane.push(now_ns);
                lane.conn.flush()?;
                return Ok(number);
            }
        }
    }

    fn drive(
        &mut self,
        load: &Load,
        start: Instant,
        until: Duration,
        outcome: &mut Outcome,
    ) -> io::Result<()> {
        while !is_over(start, until) {
            let mut received = 0;
            for place in 0..self.active.len() {
                let lane = &mut self.lanes[self.active[place]];
                if lane.conn.waiting() > 0 {
                    lane.conn.flush()?;
                }
                received += lane.receive(start, load.batch as u64, outcome)?;
                if lane.is_idle() {
                    self.active[place] = self.begin_next(nanos(start.elapsed()))?;
                }
            }
            if load.yields && received == 0 {
                std::thread::yield_now();
            }
        }
        Ok(())
    }
}
