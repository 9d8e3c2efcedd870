//! The socket in the store's folder through which operators look into this broker.
//!
//! ```text
//! <storePathRootDir>/afterburner.sock    only for the user the broker runs as, and root
//!   -> {"ask":"conns"}\n                 one line
//!   <- {"broker":{..},"conns":[..]}\n    one line, or {"error":"..."}; frames follow it as bytes
//! ```
//!
//! An ordinary thread accepts, one more serves each who asks; the shard is asked piece by piece (crate::sight). Why a
//! socket and no request code: docs/adr/0006-a-socket-to-look-in.md.

mod asker;
mod frames;
mod recorder;
mod rows;
mod totals;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::net::watch::Recording;
use crate::sight::SightEnds;
use crate::speaker;
use asker::Asker;
use recorder::FlightWriter;

/// Who answers; stands in every answer.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    pub name: String,
    pub address: String,
    pub device: String,
    /// Which of the process's shards.
    pub shard: usize,
    /// The core it polls on, when it is pinned.
    pub core: Option<usize>,
    pub pid: u32,
    pub version: &'static str,
}

/// What can be asked.
#[derive(Debug, Deserialize)]
#[serde(tag = "ask", rename_all = "camelCase", deny_unknown_fields)]
enum Question {
    Conns,
    Stats,
    Capture(frames::Wanted),
    Recorder,
}

/// The listening thread.
pub struct SightServer {
    path: PathBuf,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What every conversation shares.
struct Shared {
    about: About,
    asker: Asker,
    under_way: Arc<AtomicUsize>,
    /// Held by who captures.
    capturing: Mutex<()>,
    recorder_bytes: usize,
    stop: AtomicBool,
}

impl SightServer {
    /// Listens in `folder`, in place of whoever did before: the store's lock says that we are alone here.
    pub fn start(
        folder: &Path,
        about: About,
        ends: SightEnds,
        recorder_bytes: usize,
    ) -> io::Result<SightServer> {
        let path = folder.join(SOCKET);
        let listener = listen_at(&path)?;
        let SightEnds { ask, answers, recorder } = ends;
        let writer = FlightWriter { about: about.clone(), ends: recorder, folder: folder.join("flight") };
        let shared = Arc::new(Shared {
            about,
            asker: Asker::new(ask, answers),
            under_way: Arc::default(),
            capturing: Mutex::new(()),
            recorder_bytes,
            stop: AtomicBool::new(false),
        });
        let shares = Arc::clone(&shared);
        let mut threads = vec![speaker::spawn("ab-sight", move || accept(&listener, &shares))?];
        if recorder_bytes > 0 {
            let shares = Arc::clone(&shared);
            let first = Box::new(Recording::new(recorder_bytes));
            threads.push(speaker::spawn("ab-flight", move || writer.run(first, &shares.stop))?);
        }
        Ok(SightServer { path, shared, threads })
    }

    /// Listens no more. Conversations under way end by themselves.
    pub fn stop(self) {
        self.shared.stop.store(true, Ordering::Release);
        if UnixStream::connect(&self.path).is_ok() {
            for thread in self.threads {
                thread.thread().unpark();
                let _ = thread.join(); // A panic in it has been printed.
            }
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The socket appears under its name with its rights already set.
fn listen_at(path: &Path) -> io::Result<UnixListener> {
    let fresh = path.with_extension("new");
    let _ = std::fs::remove_file(&fresh); // Of a start that was killed between the next lines.
    let listener = UnixListener::bind(&fresh)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&fresh, path)?;
    Ok(listener)
}

fn accept(listener: &UnixListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        let Ok(mut stream) = stream else {
            std::thread::sleep(Duration::from_millis(100)); // Out of descriptors, most likely.
            continue;
        };
        let Some(seat) = Seat::take(&shared.under_way) else {
            // Fits into a socket's buffer, so it does not wait; who is gone needs no answer.
            let _ = writeln!(stream, "{}", json!({ "error": "too many look into this broker at once" }));
            continue;
        };
        let shared = Arc::clone(shared);
        // No thread, no answer: the asker sees its connection close.
        let _ = speaker::spawn("ab-look", move || {
            let _seat = seat;
            // Who is gone needs no answer.
            let _ = converse(stream, &shared);
        });
    }
}

/// A place among those who look; free again however the conversation ends, also when it never began.
struct Seat(Arc<AtomicUsize>);

impl Seat {
    fn take(under_way: &Arc<AtomicUsize>) -> Option<Seat> {
        let seat = Seat(Arc::clone(under_way));
        (under_way.fetch_add(1, Ordering::AcqRel) < CONVERSATIONS_MAX).then_some(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// One question, one answer.
fn converse(mut stream: UnixStream, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(TALK_WAIT_MAX))?;
    stream.set_write_timeout(Some(TALK_WAIT_MAX))?;
    let mut line = String::new();
    BufReader::new((&stream).take(QUESTION_BYTES_MAX)).read_line(&mut line)?;
    let answer = match serde_json::from_str::<Question>(&line) {
        Err(error) => Err(format!("no such question: {error}")),
        Ok(Question::Conns) => conns(shared).map(Some),
        Ok(Question::Stats) => stats(shared).map(Some),
        Ok(Question::Capture(wanted)) => frames::capture(&mut stream, shared, &wanted)?.map(|()| None),
        Ok(Question::Recorder) => frames::recorder(&mut stream, shared)?.map(|()| None),
    };
    match answer.unwrap_or_else(|sentence| Some(json!({ "error": sentence }))) {
        Some(answer) => writeln!(stream, "{answer}"),
        None => Ok(()), // Frames have been sent.
    }
}

fn conns(shared: &Shared) -> Result<Value, String> {
    let conns = shared.asker.all_conns()?;
    Ok(json!({ "broker": shared.about, "conns": conns }))
}

fn stats(shared: &Shared) -> Result<Value, String> {
    let page = shared.asker.stats()?;
    Ok(json!({ "broker": shared.about, "stats": totals::json(&page) }))
}

/// The socket's name in the store's folder.
pub const SOCKET: &str = "afterburner.sock";
const CONVERSATIONS_MAX: usize = 8;
const QUESTION_BYTES_MAX: u64 = 4096;
/// How long who asks may keep us waiting.
const TALK_WAIT_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a conversation whose thread could not be started takes no place for ever. Method: closures that are dropped
    /// without a run, as a failed start drops them, more often than there are places.
    #[test]
    fn a_place_is_free_again_without_a_conversation() {
        let under_way = Arc::default();
        for _ in 0..3 * CONVERSATIONS_MAX {
            let seat = Seat::take(&under_way).expect("all places are free");
            drop(move || drop(seat));
        }
        let seats: Vec<Seat> = std::iter::from_fn(|| Seat::take(&under_way)).collect();
        assert_eq!(seats.len(), CONVERSATIONS_MAX);
        assert_eq!(under_way.load(Ordering::Acquire), CONVERSATIONS_MAX, "who is refused takes none");
    }
}
