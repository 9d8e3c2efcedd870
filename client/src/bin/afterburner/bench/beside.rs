//! Big and small together: one small send at a time, while another connection pulls as fast as it can.
//!
//! One thread does both, and looks after the small one between sips of the big one, so that what is measured is the server's
//! fairness and not the reading of megabytes here.

use super::conn::Conn;
use super::load::{Lane, Load, Outcome, is_over, nanos, phases};
use super::pull::{PullLoad, Pulled, Reader};
use std::io;
use std::time::{Duration, Instant};

/// The outcome is of the small sends; what was pulled meanwhile comes with it.
pub fn run(
    small: &Load,
    big: &PullLoad,
    begins: &mut dyn FnMut(),
    ends: &mut dyn FnMut(),
) -> io::Result<(Outcome, Pulled)> {
    let mut lane = Lane::new(Conn::connect(small.addr)?, small.templates[0].clone(), 1);
    let mut reader = Reader::new(big, Conn::connect(big.addr)?.in_sips(SIP_BYTES), 0)?;
    let mut pulled = Pulled::default();
    let mut driven = |start: Instant, until: Duration, outcome: &mut Outcome| {
        pulled = Pulled::default(); // The last to begin is the one that is measured.
        let mut of_the_pulls = Outcome::new();
        while !is_over(start, until) {
            let mut received = lane.receive(start, 1, outcome)?;
            if lane.is_idle() {
                lane.push(nanos(start.elapsed()));
            }
            if lane.conn.waiting() > 0 {
                lane.conn.flush()?;
            }
            received += reader.poll(big, start, &mut of_the_pulls, &mut pulled)?;
            if small.yields && received == 0 {
                std::thread::yield_now();
            }
        }
        if let Some(code) = of_the_pulls.first_refusal {
            outcome.refuse(code);
        }
        Ok(())
    };
    let (_, outcome) = phases(small.warmup, small.measured, begins, ends, &mut driven)?;
    Ok((outcome, pulled))
}

/// Read in a microsecond or two.
const SIP_BYTES: usize = 8 * 1024;
