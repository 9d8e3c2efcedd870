//! The roll of open connections, kept where a kill -9 leaves it, so that the next process can tell their peers.
//!
//! ```text
//!   | peer ip 4 | peer port 2 | our port 2 | peer mac 6 | 1 | 0 |   one record for each slot; all zero: nobody
//! ```
//!
//! A peer that waits for an answer sends nothing, so a restarted broker could not refuse it: it would wait for its own
//! timeout. At start each one on the roll gets a segment that cannot be in its window; it answers with what it has got
//! (RFC 9293, 3.10.7.4), and that answer, belonging to nobody, is reset. Some at a time: a device has room for so many
//! frames, and what answers all at once would find no room on its way to us. Written when a connection opens or ends,
//! never in between.

use super::Core;
use super::conn::Conn;
use crate::device::DeviceTx;
use crate::net::front::Ends;
use std::fs::{File, OpenOptions};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The roll we write.
pub struct Roll {
    file: Option<File>,
}

impl Roll {
    /// Keeps no roll.
    pub fn none() -> Self {
        Self { file: None }
    }

    /// Reads who was connected before, and starts an empty roll in the same file.
    pub fn open(path: &Path) -> io::Result<(Self, Vec<Ends>)> {
        let old = match std::fs::read(path) {
            Ok(old) => old,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let (records, _torn) = old.as_chunks::<RECORD_BYTES>();
        let survivors = records.iter().filter_map(parse).collect();
        let file = OpenOptions::new().create(true).write(true).truncate(true).open(path)?;
        Ok((Self { file: Some(file) }, survivors))
    }

    pub fn enter(&mut self, slot: u32, conn: &Conn) {
        let ends = Ends {
            peer: *conn.peer.ip(),
            peer_port: conn.peer.port(),
            our_port: conn.local.port(),
            mac: conn.mac,
        };
        self.write(slot, &record(&ends));
    }

    pub fn strike(&mut self, slot: u32) {
        self.write(slot, &[0; RECORD_BYTES]);
    }

    fn write(&mut self, slot: u32, record: &[u8; RECORD_BYTES]) {
        if let Some(file) = &self.file
            && let Err(error) = file.write_all_at(record, u64::from(slot) * RECORD_BYTES as u64)
        {
            log::warn!(
                "the roll of connections cannot be kept, peers will learn of a crash more slowly: {error}"
            );
            self.file = None;
        }
    }
}

impl Core {
    /// Asks the next of those who were connected to the process before us, as far as the device has room.
    pub fn probe_survivors(&mut self, tx: &mut impl DeviceTx) {
        for _ in 0..PROBES_PER_TURN.min(self.survivors.len()) {
            if tx.has_room()
                && let Some((survivor, seq)) = self.survivors.pop()
            {
                self.front.probe(&survivor, seq, tx);
            }
        }
    }
}

/// Somebody who had a connection with the process before us.
fn parse(record: &[u8; RECORD_BYTES]) -> Option<Ends> {
    let [a, b, c, d, p0, p1, o0, o1, m0, m1, m2, m3, m4, m5, is_there, _] = *record;
    (is_there == 1).then_some(Ends {
        peer: Ipv4Addr::new(a, b, c, d),
        peer_port: u16::from_be_bytes([p0, p1]),
        our_port: u16::from_be_bytes([o0, o1]),
        mac: [m0, m1, m2, m3, m4, m5],
    })
}

fn record(ends: &Ends) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    record[..4].copy_from_slice(&ends.peer.octets());
    record[4..6].copy_from_slice(&ends.peer_port.to_be_bytes());
    record[6..8].copy_from_slice(&ends.our_port.to_be_bytes());
    record[8..14].copy_from_slice(&ends.mac);
    record[14] = 1;
    record
}

const RECORD_BYTES: usize = 16;
/// Their answers come at once where peers are on this host, and a TAP holds a few hundred frames (`txqueuelen`).
const PROBES_PER_TURN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: who was there is found again, who left is not. Method: records written, one struck, read back.
    #[test]
    fn survivors_are_found() {
        let path = std::env::temp_dir().join(format!("afterburner-roll-{}", std::process::id()));
        let survivor = |port| Ends {
            peer: Ipv4Addr::new(10, 0, 0, 7),
            peer_port: port,
            our_port: 10911,
            mac: [1, 2, 3, 4, 5, 6],
        };
        let (mut roll, none) = Roll::open(&path).unwrap();
        assert!(none.is_empty());
        for slot in 0..3 {
            roll.write(slot, &record(&survivor(1000 + slot as u16)));
        }
        roll.strike(1);
        let (_, survivors) = Roll::open(&path).unwrap();
        assert_eq!(survivors, [survivor(1000), survivor(1002)]);
        let (_, survivors) = Roll::open(&path).unwrap();
        assert!(survivors.is_empty());
        std::fs::remove_file(&path).unwrap();
    }
}
