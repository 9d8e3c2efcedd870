//! Bodies that take long to unpack are unpacked beside the core, one at a time, so that sends and heartbeats go on meanwhile.
//!
//! ```text
//!   a body from a broker ──quick?──yes──► unpacked at once ─────────────────────► pulled / asked_unpacked
//!                           └─no──► waits for its turn ──► Action::Unpack ──► unpacked ──┘
//! ```
//!
//! A queue is not pulled on before its last answer is unpacked, so its messages keep their order. One that finds too much
//! waiting is refused: a pull is made again, a broker that asks is told.

use super::instance::Instance;
use super::packed::{Packed, Unpacked};
use super::time::Time;
use super::waiter::Then;

impl Instance {
    /// Has it unpacked, now or when its turn comes, and goes on then.
    pub(super) fn unpack(&mut self, packed: Packed, then: Then, now: Time) {
        if packed.is_quick() {
            return self.go_on(then, Ok(packed.unpack()), now);
        }
        let unpacking = &mut self.unpacking;
        if unpacking.waiting_bytes > 0 && unpacking.waiting_bytes + packed.bytes() > WAITING_BYTES_MAX {
            return self.go_on(then, Err("too much waits to be unpacked"), now);
        }
        unpacking.waiting_bytes += packed.bytes();
        unpacking.waiting.push_back((packed, then));
        self.unpack_next();
    }

    /// The shell is done with an `Action::Unpack`; `None` if it could not be carried out.
    pub fn unpacked(&mut self, unpacked: Option<Unpacked>, now: Time) {
        let then = self.unpacking.under_way.take();
        self.unpack_next();
        if let Some(then) = then {
            self.go_on(then, unpacked.ok_or("it could not be unpacked"), now);
        }
    }

    fn unpack_next(&mut self) {
        let unpacking = &mut self.unpacking;
        if unpacking.under_way.is_none()
            && let Some((packed, then)) = unpacking.waiting.pop_front()
        {
            unpacking.waiting_bytes -= packed.bytes();
            unpacking.under_way = Some(then);
            self.actions.push_back(super::Action::Unpack(packed));
        }
    }

    fn go_on(&mut self, then: Then, unpacked: Result<Unpacked, &'static str>, now: Time) {
        match then {
            Then::Pulled { group, run, header } => {
                let messages = unpacked.map(|unpacked| match unpacked {
                    Unpacked::Records(messages) => messages,
                    Unpacked::Body(_) => unreachable!("a pull brings records"),
                });
                self.pulled(&group, run, &header, messages, now);
            }
            Then::Asked { link, codec, command } => {
                self.asked_unpacked(link, codec, &command, unpacked, now);
            }
        }
    }
}

/// Four of the largest frames.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;
