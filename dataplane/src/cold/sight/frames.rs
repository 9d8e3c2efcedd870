//! Frames for who asks: a live capture, or what the flight recorder holds.
//!
//! ```text
//! {"ask":"capture","port":..,"peer":..,"snapBytes":..}  -> a line of JSON, then pcapng until who asks shuts his end
//! {"ask":"recorder"}                                    -> a line of JSON, then pcapng
//! ```

use std::io::{self, ErrorKind, Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::{About, Shared};
use crate::lane::{LaneIn, LaneOut, lane};
use crate::net::pcapng;
use crate::net::watch::{Capture, Chunk, Filter, Recording};

/// What is to be captured.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Wanted {
    port: Option<u16>,
    peer: Option<Ipv4Addr>,
    snap_bytes: Option<usize>,
}

/// Our ends of a capture's lanes.
struct Chunks {
    empty: LaneIn<Vec<u8>>,
    full: LaneOut<Chunk>,
    seen: u64,
    lost: u64,
}

/// Sends frames as they pass until who asks has enough. An `Err` in the result is for him.
pub fn capture(stream: &mut UnixStream, shared: &Shared, wanted: &Wanted) -> io::Result<Result<(), String>> {
    let Ok(_only_one) = shared.capturing.try_lock() else {
        return Ok(Err("somebody else is capturing from this broker".into()));
    };
    let (mut chunks, capture) = begin(wanted);
    match shared.asker.capture(Some(capture)) {
        Err(sentence) => return Ok(Err(sentence)),
        Ok(Some(_refused)) => return Ok(Err(NO_FRAMES.into())),
        Ok(None) => {}
    }
    let sent = send_head(stream, &shared.about, "live").and_then(|()| relay(stream, shared, &mut chunks));
    // Whatever became of who asks, the shard must stop.
    let stopped = shared.asker.capture(None);
    sent?;
    chunks.pass_on(stream)?;
    let mut tail = Vec::new();
    pcapng::write_tail(&mut tail, super::super::wall_ms() as u64 * 1_000_000, chunks.seen, chunks.lost);
    stream.write_all(&tail)?;
    Ok(stopped.map(|_| ()))
}

/// Sends what the flight recorder holds; it begins anew.
pub fn recorder(stream: &mut UnixStream, shared: &Shared) -> io::Result<Result<(), String>> {
    if shared.recorder_bytes == 0 {
        return Ok(Err("the flight recorder is off: set flightRecorderBytes, as in 16M".into()));
    }
    let recording = match shared.asker.swap_recording(Box::new(Recording::new(shared.recorder_bytes))) {
        Err(sentence) => return Ok(Err(sentence)),
        Ok(None) => return Ok(Err(NO_FRAMES.into())),
        Ok(Some(recording)) => recording,
    };
    send_head(stream, &shared.about, "flight recorder")?;
    let mut blocks = Vec::new();
    recording.write(&mut blocks);
    stream.write_all(&blocks)?;
    Ok(Ok(()))
}

fn begin(wanted: &Wanted) -> (Chunks, Box<Capture>) {
    let (empty, empties) = lane(CHUNKS);
    let (fulls, full) = lane(CHUNKS);
    for _ in 0..CHUNKS {
        let mut chunk = vec![1; CHUNK_BYTES]; // Touched here, not by the shard.
        chunk.clear();
        let _ = empty.push(chunk); // The lane holds them all.
    }
    let filter = Filter { port: wanted.port, peer: wanted.peer };
    let snap_bytes = wanted.snap_bytes.unwrap_or(usize::MAX).max(SNAP_BYTES_MIN);
    let capture = Capture::new(filter, snap_bytes, empties, fulls);
    (Chunks { empty, full, seen: 0, lost: 0 }, Box::new(capture))
}

fn send_head(stream: &mut UnixStream, about: &About, what: &str) -> io::Result<()> {
    writeln!(stream, "{}", json!({ "broker": about, "frames": "pcapng" }))?;
    let mut head = Vec::new();
    let comment = format!("{what} of {} at {}, process {}", about.name, about.address, about.pid);
    pcapng::write_head(&mut head, &about.device, &about.address, &comment);
    stream.write_all(&head)
}

/// Until who asks shuts his end, or the broker stops.
fn relay(stream: &mut UnixStream, shared: &Shared, chunks: &mut Chunks) -> io::Result<()> {
    stream.set_read_timeout(Some(LOOK_EVERY))?;
    stream.set_write_timeout(Some(READER_WAIT_MAX))?;
    while !shared.stop.load(Ordering::Acquire) {
        chunks.pass_on(stream)?;
        match stream.read(&mut [0; 16]) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Chunks {
    /// Sends what there is, and gives the chunks back.
    fn pass_on(&mut self, stream: &mut UnixStream) -> io::Result<()> {
        while let Some(chunk) = self.full.pop() {
            (self.seen, self.lost) = (chunk.seen, chunk.lost);
            let mut blocks = chunk.blocks;
            stream.write_all(&blocks)?;
            blocks.clear();
            let _ = self.empty.push(blocks); // The lane holds them all.
        }
        Ok(())
    }
}

const NO_FRAMES: &str = "device=kernel has no frames of its own: tcpdump shows the kernel's";
/// At 3 GB/s a chunk lasts a third of a millisecond; a reader that is slower loses frames, and is told how many.
const CHUNKS: usize = 16;
const CHUNK_BYTES: usize = 1 << 20;
/// Ethernet, IPv4 and TCP heads are always kept.
const SNAP_BYTES_MIN: usize = 54;
const LOOK_EVERY: Duration = Duration::from_millis(5);
const READER_WAIT_MAX: Duration = Duration::from_secs(60);
