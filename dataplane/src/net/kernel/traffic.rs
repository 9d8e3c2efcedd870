//! Reads and writes of one connection's socket, and what an end or an error on it means.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;

use super::KernelNet;
use super::tx::Phase;
use crate::net::ConnId;
use crate::net::events::Pending;
use crate::time::TurnTime;

impl KernelNet {
    /// Reads once from the next hungry socket.
    pub(super) fn read_one(&mut self, slot: u32, now: &TurnTime) {
        let conn = &mut self.tx.slots[slot as usize];
        let Some(stream) = conn.stream.as_mut() else { return };
        match conn.phase {
            Phase::Open => (),
            Phase::Flushing | Phase::Lingering => return self.throw_away(slot),
            Phase::Free | Phase::Reset | Phase::Dead => return,
        }
        let ring = &mut self.rx.slots[slot as usize].ring;
        let room = ring.room();
        if room == 0 {
            return; // `consume` makes it hungry again.
        }
        let (first, second) = ring.free();
        let read = stream.read_vectored(&mut [IoSliceMut::new(first), IoSliceMut::new(second)]);
        match read {
            Ok(0) => {
                conn.peer_finished = true;
                self.tx.events.raise(slot, &mut conn.pending, Pending::FINISHED);
            }
            Ok(len) => {
                ring.filled(len);
                conn.bytes_in += len as u64;
                conn.heard_ns = now.mono_ns;
                self.tx.events.raise(slot, &mut conn.pending, Pending::READABLE);
                // Less than there was room for: the socket is empty, and what comes later rings again. All there was
                // room for: `consume` makes it hungry again. An end that came with these bytes does not ring again.
                if len < room && conn.end_seen {
                    conn.is_hungry = true;
                    self.hungry.push_back(slot);
                }
            }
            Err(error) if is_transient(&error) && !conn.is_deaf => (),
            Err(_) if self.rx.slots[slot as usize].ring.is_empty() => self.tx.lose(slot),
            Err(_) => self.tx.reset(slot),
        }
    }

    /// It cannot be written to any more. What came before that may still lie in the socket.
    fn deafen(&mut self, slot: u32) {
        let conn = &mut self.tx.slots[slot as usize];
        if conn.phase != Phase::Open {
            return self.tx.lose(slot);
        }
        conn.is_deaf = true;
        conn.ring.clear();
        if conn.wants_room {
            self.tx.deaf_has_room(slot);
        }
        let conn = &mut self.tx.slots[slot as usize];
        if !conn.is_hungry {
            conn.is_hungry = true;
            self.hungry.push_back(slot);
        }
    }

    /// After our close: the peer's bytes have no reader. Its end, or an error, is what we wait for.
    fn throw_away(&mut self, slot: u32) {
        let conn = &mut self.tx.slots[slot as usize];
        let Some(stream) = conn.stream.as_mut() else { return };
        let mut scrap = [0; 4096];
        match stream.read(&mut scrap) {
            Ok(0) if conn.phase == Phase::Lingering => self.tx.lose(slot),
            Ok(0) => conn.peer_finished = true,
            Ok(_) => {
                conn.is_hungry = true;
                self.hungry.push_back(slot);
            }
            Err(error) if is_transient(&error) => (),
            Err(_) => self.tx.lose(slot),
        }
    }

    /// Writes once: everything that is queued, if the socket takes it.
    pub(super) fn write_one(&mut self, slot: u32, now: &TurnTime) {
        let conn = &mut self.tx.slots[slot as usize];
        let Some(stream) = conn.stream.as_mut() else { return };
        if !conn.ring.is_empty() {
            let (first, second) = conn.ring.readable();
            match stream.write_vectored(&[IoSlice::new(first), IoSlice::new(second)]) {
                Ok(len) => {
                    conn.ring.consume(len);
                    conn.bytes_out += len as u64;
                }
                Err(error) if is_transient(&error) => (), // epoll tells when there is room again.
                Err(_) => return self.deafen(slot),
            }
        }
        let conn = &mut self.tx.slots[slot as usize];
        if conn.wants_room && conn.phase == Phase::Open && conn.ring.room() >= self.limits.tx_ring_bytes / 4 {
            conn.wants_room = false;
            self.tx.events.raise(slot, &mut conn.pending, Pending::WRITABLE);
        }
        if conn.phase == Phase::Flushing && !conn.ring.is_empty() && !conn.is_timed {
            conn.is_timed = true;
            let id = ConnId { slot, generation: conn.generation };
            self.flushing.push_back((id, now.mono_ns + FLUSH_NANOS_MAX));
        }
        if conn.phase == Phase::Flushing && conn.ring.is_empty() {
            let ended = conn.stream.as_ref().is_none_or(|stream| stream.shutdown(Shutdown::Write).is_err());
            if ended || conn.peer_finished {
                return self.tx.lose(slot);
            }
            conn.phase = Phase::Lingering;
            let id = ConnId { slot, generation: conn.generation };
            self.lingering.push_back((id, now.mono_ns + LINGER_NANOS_MAX));
            if !conn.is_hungry {
                conn.is_hungry = true;
                self.hungry.push_back(slot);
            }
        }
    }

    /// Ends those that we have closed and whose peers have had their time.
    pub(super) fn end_closed(&mut self, now: &TurnTime) {
        for (queue, phase) in [(&mut self.lingering, Phase::Lingering), (&mut self.flushing, Phase::Flushing)]
        {
            while let Some((id, _)) = queue.front().copied().filter(|(_, until_ns)| *until_ns <= now.mono_ns)
            {
                queue.pop_front();
                let conn = &self.tx.slots[id.slot as usize];
                if conn.generation == id.generation && conn.phase == phase {
                    self.tx.lose(id.slot);
                }
            }
        }
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// How long a connection we have closed may keep its slot until the peer closes it too.
const LINGER_NANOS_MAX: u64 = 2_000_000_000;
/// How long a connection we have closed may take to bring out what was sent before; the userspace stack gives as long.
const FLUSH_NANOS_MAX: u64 = 60_000_000_000;
