//! Memory of connections that have gone quiet: their rings' pages go back to the system, and come again when touched.
//!
//! ```text
//!   bytes move ─▶ stamp ─▶ seconds pass ─▶ both rings empty, nothing held behind a hole ─▶ pages given back
//! ```
//!
//! smoltcp's rings cannot change their size, but the pages under them can come and go: an idle connection holds none, a
//! trickle one or two, a busy one all of them.

use super::Core;
use super::conn::{Conn, Phase};
use super::stamps::second;
use crate::net::packet::Tcp;
use crate::time::TurnTime;

impl Conn {
    /// Notes how far bytes may have been written into the receive ring: behind what is readable while there is a hole.
    pub fn note_data(&mut self, tcp: &Tcp) {
        let rcv_next = self.rcv_next();
        let capacity = self.socket().recv_capacity() as i32;
        let start = tcp.seq.wrapping_sub(rcv_next) as i32;
        let end = start.wrapping_add(tcp.data_bytes as i32).min(capacity);
        if start < capacity && end > self.rcv_high.wrapping_sub(rcv_next) as i32 {
            self.rcv_high = rcv_next.wrapping_add(end as u32);
        }
    }

    /// Neither ring holds a byte that anybody could still ask for.
    fn has_empty_rings(&self) -> bool {
        let socket = self.socket();
        let has_no_hole = self.rcv_next().wrapping_sub(self.rcv_high) as i32 >= 0;
        socket.recv_queue() == 0 && socket.send_queue() == 0 && has_no_hole
    }
}

impl Core {
    /// Between other work: now and then a look at some slots.
    pub fn give_back_quiet(&mut self, now: &TurnTime) {
        if now.mono_ns >= self.tx.stamps.due_ns {
            self.tx.stamps.due_ns = now.mono_ns + STEP_NANOS;
            self.give_back_some(now);
        }
    }

    /// With nothing else to do: true if there may be more to give back at once.
    pub fn give_back_when_idle(&mut self, now: &TurnTime) -> bool {
        self.give_back_some(now) == GIVEN_PER_STEP_MAX
    }

    /// Looks at the next slots; gives back what is not needed, and says how many it was.
    fn give_back_some(&mut self, now: &TurnTime) -> u64 {
        let now_s = second(now.mono_ns);
        let slots = self.tx.conns.len();
        let mut given = 0;
        for _ in 0..SLOTS_PER_STEP.min(slots) {
            let slot = self.tx.stamps.at;
            self.tx.stamps.at = if slot + 1 < slots { slot + 1 } else { 0 };
            let stamp = self.tx.stamps.seconds[slot];
            if stamp == 0 || now_s.saturating_sub(stamp) < QUIET_SECONDS {
                continue;
            }
            let conn = &self.tx.conns[slot];
            let is_unused = match conn.phase {
                Phase::Free => true,
                Phase::Open | Phase::Orphan => conn.has_empty_rings(),
                Phase::Handshake | Phase::Reset | Phase::Dead => false,
            };
            if is_unused {
                self.tx.stamps.seconds[slot] = 0;
                self.tx.give_back(slot as u32);
                given += 1;
            }
            if given == GIVEN_PER_STEP_MAX {
                break;
            }
        }
        self.counters.rings_given_back += given;
        given
    }
}

/// Long enough that a busy connection is never taken for a quiet one.
const QUIET_SECONDS: u32 = 5;
const STEP_NANOS: u64 = 1_000_000;
/// Four cache lines of stamps.
const SLOTS_PER_STEP: usize = 64;
/// Each is a system call of a few microseconds, in a turn that others wait for.
const GIVEN_PER_STEP_MAX: u64 = 4;
