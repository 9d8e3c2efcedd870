//! From the connections to the device: the dirty ones in turn, a few frames each.
//!
//! ```text
//!   dirty ─▶ recovery: again what is lost ─▶ smoltcp: what is new, acknowledgements ─▶ wheel: when to look again
//! ```

use super::conn::{ORPHAN_NANOS, Phase};
use super::wheel::NEVER;
use super::wire::Wire;
use super::{Core, ends, engine};
use crate::device::DeviceTx;
use crate::time::TurnTime;
use smoltcp::socket::tcp::State;

/// How far a connection came.
pub enum Progress {
    Done,
    More,
    NoRoom,
}

impl Core {
    /// Sends what the dirty connections have to send: first those with little, then those with much, some frames each and
    /// as far as a turn's bytes go. So a small answer does not wait for large ones of other connections.
    pub fn put_out(&mut self, tx: &mut impl DeviceTx, now: &TurnTime, frames_max: usize) -> u32 {
        self.probe_survivors(tx);
        let (mut frames, mut bytes) = (0, 0);
        while frames < frames_max as u32 {
            let Some(slot) = self.tx.dirty.pop_front() else { break };
            let has_much = self.tx.conns[slot as usize].tx_view.len() > LITTLE_BYTES_MAX;
            match if has_much { Progress::More } else { self.visit(slot, tx, now, &mut frames) } {
                Progress::Done => (),
                Progress::More => self.tx.bulky.push_back(slot),
                Progress::NoRoom => {
                    self.tx.dirty.push_front(slot);
                    break;
                }
            }
        }
        // One at least: those with little could use up every turn's frames.
        while let Some(slot) = self.tx.bulky.pop_front() {
            let from = self.tx.conns[slot as usize].snd_next;
            match self.visit(slot, tx, now, &mut frames) {
                Progress::Done => (),
                Progress::More => self.tx.bulky.push_back(slot),
                Progress::NoRoom => {
                    self.tx.bulky.push_front(slot);
                    break;
                }
            }
            bytes += self.tx.conns[slot as usize].snd_next.wrapping_sub(from);
            if bytes >= self.bulk_bytes_per_turn() || frames >= frames_max as u32 {
                break;
            }
        }
        self.counters.frames_out += u64::from(frames);
        frames
    }

    /// A device that cuts nothing takes much in small frames, and a turn as long as all of them.
    fn bulk_bytes_per_turn(&self) -> u32 {
        match self.tx.hurry {
            Some(little_answers) if self.caps.tso_bytes_max.is_none() => {
                (BULK_BYTES_IN_HURRY * little_answers.max(1) as u32).min(BULK_BYTES_PER_TURN)
            }
            _ => BULK_BYTES_PER_TURN,
        }
    }

    /// One connection's turn. Unless it is done, it stays marked, for the caller to put into a queue.
    fn visit(&mut self, slot: u32, tx: &mut impl DeviceTx, now: &TurnTime, frames: &mut u32) -> Progress {
        self.tx.conns[slot as usize].is_dirty = false;
        let progress = self.put_out_one(slot, tx, now, frames);
        let is_marked_again = self.tx.conns[slot as usize].is_dirty;
        assert!(!is_marked_again, "sending marks nobody");
        self.tx.conns[slot as usize].is_dirty = !matches!(progress, Progress::Done);
        progress
    }

    pub fn put_out_one(
        &mut self,
        slot: u32,
        tx: &mut impl DeviceTx,
        now: &TurnTime,
        frames: &mut u32,
    ) -> Progress {
        let may_give_up = self.has_read_for(GIVE_UP_BEHIND_NANOS_MAX, now);
        let conn = &mut self.tx.conns[slot as usize];
        if !may_give_up && ends::gives_up_ns(conn) <= now.mono_ns {
            self.wheel.set(slot, now.mono_ns + RETRY_NANOS);
            return Progress::Done;
        }
        match conn.phase {
            Phase::Free | Phase::Reset | Phase::Dead => return Progress::Done,
            Phase::Handshake if conn.deadline_ns <= now.mono_ns => {
                self.counters.handshakes_expired += 1;
                self.let_go(slot);
                return Progress::Done;
            }
            Phase::Orphan => {
                ends::throw_away(conn);
                if conn.deadline_ns <= now.mono_ns {
                    let is_undelivered = conn.socket().send_queue() > 0;
                    let is_hopeful =
                        conn.heard_ns + ORPHAN_NANOS > now.mono_ns && conn.orphan_ends_ns > now.mono_ns;
                    if conn.socket().state() == State::TimeWait {
                        self.let_go(slot);
                        return Progress::Done;
                    }
                    if is_undelivered && is_hopeful {
                        conn.deadline_ns = now.mono_ns + ORPHAN_NANOS;
                    } else {
                        conn.socket_mut().abort();
                    }
                }
            }
            Phase::Handshake | Phase::Open => (),
        }
        if conn.phase != Phase::Handshake {
            *frames += self.speak_again(slot, tx, now);
        }
        let bulk_bytes = self.bulk_bytes_per_turn();
        let conn = &mut self.tx.conns[slot as usize];
        let stack_now = conn.clock.at(now.mono_ns);
        let mut sent = conn.sent();
        let from = sent.snd_next;
        let mut next = None;
        let progress = loop {
            if !tx.has_room() {
                break Progress::NoRoom;
            }
            let frames_before = sent.frames;
            let mut wire = Wire { packet: None, tx, caps: &self.caps, to: conn.mac, sent: &mut sent };
            self.iface.poll_egress(stack_now, &mut wire, &mut conn.set);
            next = self.iface.poll_at(stack_now, &conn.set);
            if next.is_none_or(|at| at > stack_now) || sent.frames == frames_before {
                break Progress::Done;
            }
            if sent.frames >= FRAMES_PER_CONN_MAX || sent.snd_next.wrapping_sub(from) >= bulk_bytes {
                break Progress::More;
            }
        };
        *frames += sent.frames;
        engine::note_sent(conn, &sent, now, &mut self.counters.loss);
        if conn.socket().state() == State::Closed && conn.socket().remote_endpoint().is_none() {
            self.let_go(slot);
            return Progress::Done;
        }
        // What smoltcp wants now and could not do now is tried again in a while.
        let mut due_ns = next.map_or(NEVER, |at| conn.clock.real_ns(at));
        if conn.phase != Phase::Handshake {
            due_ns = due_ns.min(conn.recovery.deadline_ns());
        }
        if matches!(conn.phase, Phase::Handshake | Phase::Orphan) {
            due_ns = due_ns.min(conn.deadline_ns);
        }
        if matches!(progress, Progress::Done) {
            self.wheel.set(slot, due_ns.max(now.mono_ns + RETRY_NANOS));
        }
        self.tx.check_room(slot);
        progress
    }
}

/// After this a connection waits until the other ones have had their turn.
const FRAMES_PER_CONN_MAX: u32 = 4;
/// What may wait in a send ring without being counted as much.
const LITTLE_BYTES_MAX: usize = 16 * 1024;
/// One large frame, or some dozens of small ones: as long as that the others wait.
const BULK_BYTES_PER_TURN: u32 = 48 * 1024;
/// One frame of an Ethernet, for each answer to somebody who waits: about a microsecond by AF_XDP, and two more of the peer's where
/// that is on the same core.
const BULK_BYTES_IN_HURRY: u32 = 1024;
/// A shard that was stopped (SIGSTOP, a paused virtual machine) has this long to take in what waits for it, before it gives up
/// those whose time has passed. Floods have it as well, and hold what is bounded.
const GIVE_UP_BEHIND_NANOS_MAX: u64 = 1_000_000_000;
/// smoltcp wants something now that it cannot do now.
const RETRY_NANOS: u64 = 1_000_000;
