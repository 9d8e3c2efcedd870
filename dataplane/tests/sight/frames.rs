//! Captures of the real broker, read back as a stranger would: block by block, and with tcpdump when it is there.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::broker::{self, Broker};

const BODY: &[u8] = b"these very bytes are looked for in the capture";

/// One captured frame.
struct Frame {
    stamp_ns: u64,
    frame_bytes: usize,
    kept: Vec<u8>,
    is_out: bool,
}

/// The frames of a pcapng file, and how many its end says were seen and lost.
fn read(file: &[u8]) -> (Vec<Frame>, Option<(u64, u64)>) {
    let (mut rest, mut frames, mut told) = (file, Vec::new(), None);
    while !rest.is_empty() {
        let number = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
        let len = number(4) as usize;
        assert_eq!(number(len - 4) as usize, len, "lengths stand at both ends");
        match number(0) {
            6 => {
                let kept = number(20) as usize;
                let flags_at = 28 + kept.next_multiple_of(4) + 4;
                frames.push(Frame {
                    stamp_ns: u64::from(number(12)) << 32 | u64::from(number(16)),
                    frame_bytes: number(24) as usize,
                    kept: rest[28..28 + kept].to_vec(),
                    is_out: number(flags_at) == 2,
                });
            }
            5 => told = Some((u64::from(number(24)), u64::from(number(36)))),
            _ => {}
        }
        rest = &rest[len..];
    }
    (frames, told)
}

/// Asks for frames; the line of JSON, and what follows it.
fn ask(broker: &Broker, question: &Value) -> (Value, BufReader<UnixStream>) {
    let mut stream = UnixStream::connect(broker.socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    writeln!(stream, "{question}").unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    (serde_json::from_str(&line).unwrap(), reader)
}

/// Goal: what passes the device is in the capture, both ways, in order, and tcpdump reads it.
#[test]
fn frames_are_captured_as_they_pass() {
    let broker = Broker::start("capture", "");
    let mut client = TcpStream::connect(broker.address).unwrap();
    let ours = client.local_addr().unwrap().port();
    let (head, mut stream) = ask(&broker, &json!({ "ask": "capture", "port": ours }));
    if !broker.is_tap() {
        assert!(head["error"].as_str().unwrap().contains("no frames of its own"), "{head}");
        return;
    }
    assert_eq!(head["frames"], "pcapng", "{head}");
    let (second, _) = ask(&broker, &json!({ "ask": "capture" }));
    assert!(second["error"].as_str().unwrap().contains("somebody else"), "{second}");
    let mut other = TcpStream::connect(broker.address).unwrap();
    for _ in 0..10 {
        broker::send(&mut client, BODY);
        broker::send(&mut other, b"of no interest");
    }
    stream.get_ref().shutdown(Shutdown::Write).unwrap();
    let mut file = Vec::new();
    stream.read_to_end(&mut file).unwrap();

    let (frames, told) = read(&file);
    let holds = |frame: &Frame, bytes: &[u8]| frame.kept.windows(bytes.len()).any(|window| window == bytes);
    assert_eq!(frames.iter().filter(|frame| !frame.is_out && holds(frame, BODY)).count(), 10);
    assert!(frames.iter().filter(|frame| frame.is_out).count() >= 10, "answers");
    assert!(!frames.iter().any(|frame| holds(frame, b"of no interest")));
    assert!(frames.iter().all(|frame| frame.frame_bytes == frame.kept.len()));
    assert!(frames.is_sorted_by_key(|frame| frame.stamp_ns));
    let now_ns = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    assert!(frames.iter().all(|frame| now_ns.abs_diff(frame.stamp_ns) < 60_000_000_000));
    assert_eq!(told, Some((frames.len() as u64, 0)));
    tcpdump_reads(&file, &broker.folder, frames.len());

    // Whoever comes next finds the place free.
    let (head, _) = ask(&broker, &json!({ "ask": "capture", "snapBytes": 60 }));
    assert_eq!(head["frames"], "pcapng", "{head}");
}

/// Goal: the flight recorder gives the heads of the last frames on demand, and says so when it is off.
#[test]
fn the_flight_recorder_is_read_on_demand() {
    let off = Broker::start("recorder-off", "");
    let (head, _) = ask(&off, &json!({ "ask": "recorder" }));
    assert!(head["error"].as_str().unwrap().contains("flightRecorderBytes"), "{head}");
    drop(off);
    let broker = Broker::start("recorder", "flightRecorderBytes=1M");
    let mut client = TcpStream::connect(broker.address).unwrap();
    (0..10).for_each(|_| broker::send(&mut client, &[b'x'; 400]));
    let (head, mut stream) = ask(&broker, &json!({ "ask": "recorder" }));
    if !broker.is_tap() {
        assert!(head["error"].as_str().unwrap().contains("no frames of its own"), "{head}");
        return;
    }
    let mut file = Vec::new();
    stream.read_to_end(&mut file).unwrap();
    let (frames, _) = read(&file);
    assert!(frames.iter().filter(|frame| frame.frame_bytes > 500 && frame.kept.len() == 128).count() >= 10);
    tcpdump_reads(&file, &broker.folder, frames.len());
}

/// Goal: crossing the latency bound leaves a file with the frames before it, and not one for every crossing.
#[test]
fn crossing_the_latency_bound_leaves_a_file() {
    let broker = Broker::start("bound", "flightRecorderBytes=1M\nlatencyBoundMicros=1");
    if !broker.is_tap() {
        return; // Said by `start`.
    }
    let mut client = TcpStream::connect(broker.address).unwrap();
    let folder = broker.folder.join("store/flight");
    let began = Instant::now();
    let files = loop {
        broker::send(&mut client, BODY);
        let files: Vec<_> =
            fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
        if files.first().is_some_and(|file| fs::metadata(file).unwrap().len() > 0) {
            break files;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "no file");
        std::thread::sleep(Duration::from_millis(2));
    };
    assert_eq!(files.len(), 1, "the next one only after a pause");
    // It is written in one go, but that may take a moment.
    std::thread::sleep(Duration::from_millis(300));
    let file = fs::read(&files[0]).unwrap();
    let says = b"longer than latencyBoundMicros";
    assert!(file.windows(says.len()).any(|window| window == says));
    assert!(!read(&file).0.is_empty());
}

/// When tcpdump is there, it finds as many frames.
fn tcpdump_reads(file: &[u8], folder: &Path, frames: usize) {
    let path = folder.join("capture.pcapng");
    fs::write(&path, file).unwrap();
    match Command::new("tcpdump").arg("-nr").arg(&path).output() {
        Err(error) => println!("skipped: tcpdump ({error})"),
        Ok(read) => {
            let text = String::from_utf8_lossy(&read.stdout);
            assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
            assert_eq!(text.lines().count(), frames, "{text}");
        }
    }
}
