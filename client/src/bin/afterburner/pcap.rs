//! `afterburner pcap`: frames of the brokers of a dataplane on this host as its userspace stacks see them, for tcpdump, tshark
//! and Wireshark.
//!
//! ```text
//! shard 0 ─ pcapng blocks ─┐
//! shard 1 ─ pcapng blocks ─┴▶ whole ones only, one interface for each shard ─▶ file or stdout
//!
//! Ctrl-C, --count or --duration: our ends are shut, the brokers send the rest and their statistics
//! ```

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, IsTerminal, Read, Write};
use std::net::{Ipv4Addr, Shutdown};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use serde_json::json;

use crate::Outcome;
use crate::sight::Broker;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    broker: Broker,
    /// Write to this file; `-` is standard output, as is nothing when it is piped on
    #[arg(short, long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Only TCP from or to this port; each shard has its own
    #[arg(long)]
    port: Option<u16>,
    /// Only packets from or to this address
    #[arg(long, value_name = "IPV4")]
    peer: Option<Ipv4Addr>,
    /// Keep so many bytes of each frame
    #[arg(short, long, value_name = "BYTES")]
    snaplen: Option<u32>,
    /// Stop after so many frames
    #[arg(short, long)]
    count: Option<u64>,
    /// Stop after so long
    #[arg(long, value_name = "SECONDS")]
    duration: Option<f64>,
    /// Take what the flight recorder holds (flightRecorderBytes) instead of capturing
    #[arg(long, conflicts_with_all = ["port", "peer", "snaplen", "count", "duration"])]
    recorder: bool,
}

pub fn run(args: Args) -> Outcome {
    let mut output = output(&args)?;
    let question = match args.recorder {
        true => json!({ "ask": "recorder" }),
        false => json!({
            "ask": "capture", "port": args.port, "peer": args.peer, "snapBytes": args.snaplen,
        }),
    };
    let wait = args.duration.map(Duration::try_from_secs_f64).transpose();
    let wait = wait.map_err(|error| format!("--duration: {error}"))?;
    let answers = args.broker.ask(&question)?;
    let failed = |error: io::Error| format!("the capture ended early: {error}");
    let (mut sources, mut ends) = (Vec::new(), Vec::new());
    for answer in answers {
        let ours = answer.rest.get_ref().try_clone().map_err(failed)?;
        ours.set_read_timeout(None).map_err(failed)?;
        ends.push(ours);
        sources.push(answer.rest);
    }
    let enders = ends.iter().map(UnixStream::try_clone).collect::<io::Result<Vec<_>>>().map_err(failed)?;
    std::thread::spawn(move || end_in_time(&enders, wait));
    let merged = merge(sources, &mut output, args.count, || shut(&ends));
    let Counted { frames, lost } = match merged {
        // Who reads our output has enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
        merged => merged.map_err(failed)?,
    };
    eprintln!("{frames} frames{}", if lost > 0 { format!(", {lost} lost") } else { String::new() });
    Ok(ExitCode::SUCCESS)
}

/// Has the brokers send the rest and end.
fn shut(ends: &[UnixStream]) {
    for end in ends {
        let _ = end.shutdown(Shutdown::Write); // Gone already: then it ends anyway.
    }
}

fn output(args: &Args) -> Result<Box<dyn Write>, String> {
    match &args.write {
        Some(path) if path.as_os_str() != "-" => match File::create(path) {
            Ok(file) => Ok(Box::new(file)),
            Err(error) => Err(format!("cannot write {}: {error}", path.display())),
        },
        None if io::stdout().is_terminal() => {
            Err("frames are no text: --write FILE, or pipe them on, as in: afterburner pcap | tcpdump -nr -"
                .into())
        }
        _ => Ok(Box::new(io::stdout())),
    }
}

/// Shuts our ends at Ctrl-C or when the time is over.
fn end_in_time(ends: &[UnixStream], wait: Option<Duration>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    // Without a runtime Ctrl-C ends us the hard way, between two blocks at worst.
    let Ok(runtime) = runtime else { return };
    runtime.block_on(async {
        let over = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            () = over => {}
        }
    });
    shut(ends);
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counted {
    frames: u64,
    lost: u64,
}

/// Passes whole blocks of all sources on until their ends, but no more than `max` frames; `enough` is called when there
/// are so many. Each source is an interface of one section.
fn merge<R: Read + Send + 'static>(
    mut sources: Vec<BufReader<R>>,
    output: &mut impl Write,
    max: Option<u64>,
    enough: impl Fn(),
) -> io::Result<Counted> {
    for (at, source) in sources.iter_mut().enumerate() {
        copy_head(source, output, at == 0)?;
    }
    output.flush()?;
    let (passed, runs) = sync_channel(RUNS_MAX);
    for (at, source) in (0_u32..).zip(sources) {
        let passed = passed.clone();
        std::thread::spawn(move || pass_on(source, at, &passed));
    }
    drop(passed); // The last source to end ends the loop.
    let merged = write_runs(&runs, output, max, &enough);
    if merged.is_err() {
        enough();
    }
    merged
}

/// The description of one interface; and that of the section, if it is the first.
fn copy_head(input: &mut BufReader<impl Read>, output: &mut impl Write, is_first: bool) -> io::Result<()> {
    let mut block = Vec::new();
    while read_block(input, &mut block)? {
        let kind = kind_of(&block);
        if kind != Some(SECTION) || is_first {
            output.write_all(&block)?;
        }
        if kind == Some(INTERFACE) {
            return Ok(());
        }
    }
    Ok(()) // It died so early; the others go on.
}

/// Sends runs of whole blocks until the end, with the number of their interface in them.
fn pass_on(mut input: BufReader<impl Read>, interface: u32, passed: &SyncSender<io::Result<Vec<u8>>>) {
    let (mut run, mut block) = (Vec::new(), Vec::new());
    loop {
        let read = read_block(&mut input, &mut block);
        let more = matches!(read, Ok(true));
        if more {
            if let (Some(PACKET | STATISTICS), Some(number)) = (kind_of(&block), block.get_mut(8..12)) {
                number.copy_from_slice(&interface.to_le_bytes());
            }
            run.extend_from_slice(&block);
        }
        let is_whole = !more || input.buffer().is_empty() || run.len() >= RUN_BYTES;
        if is_whole && !run.is_empty() && passed.send(Ok(std::mem::take(&mut run))).is_err() {
            return; // Nobody wants it any more.
        }
        if let Err(error) = read {
            let _ = passed.send(Err(error));
        }
        if !more {
            return;
        }
    }
}

fn write_runs(
    runs: &Receiver<io::Result<Vec<u8>>>,
    output: &mut impl Write,
    max: Option<u64>,
    enough: &impl Fn(),
) -> io::Result<Counted> {
    let mut counted = Counted::default();
    let is_full = |frames: u64| max.is_some_and(|max| frames >= max);
    for run in runs {
        let run = run?;
        let mut blocks = run.as_slice();
        while let Some((block, rest)) = length_of(blocks).and_then(|len| blocks.split_at_checked(len)) {
            blocks = rest;
            match kind_of(block) {
                Some(PACKET) if is_full(counted.frames) => continue,
                Some(PACKET) => counted.frames += 1,
                Some(STATISTICS) => counted.lost += lost_of(block).unwrap_or(0),
                _ => {}
            }
            output.write_all(block)?;
            if is_full(counted.frames) {
                enough();
            }
        }
        output.flush()?;
    }
    Ok(counted)
}

fn kind_of(block: &[u8]) -> Option<u32> {
    block.first_chunk().copied().map(u32::from_le_bytes)
}

/// What the block that these bytes begin with says of its length.
fn length_of(blocks: &[u8]) -> Option<usize> {
    blocks.get(4..8)?.first_chunk().copied().map(u32::from_le_bytes).map(|len| len as usize)
}

/// The next block, whole; false at the end.
fn read_block(input: &mut impl Read, block: &mut Vec<u8>) -> io::Result<bool> {
    block.resize(8, 0);
    match input.read_exact(block) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(false),
        read => read?,
    }
    let len = block.last_chunk().copied().map_or(0, u32::from_le_bytes) as usize;
    if !(12..=BLOCK_BYTES_MAX).contains(&len) || !len.is_multiple_of(4) {
        return Err(io::Error::new(ErrorKind::InvalidData, "what the broker sent is no pcapng"));
    }
    block.resize(len, 0);
    match input.read_exact(&mut block[8..]) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false), // The broker died in the middle of it.
        read => read.map(|()| true),
    }
}

/// The option `isb_ifdrop` of a block of statistics.
fn lost_of(block: &[u8]) -> Option<u64> {
    let mut options = block.get(20..)?;
    loop {
        let (head, rest) = options.split_first_chunk::<4>()?;
        let (code, len) = (u16::from_le_bytes([head[0], head[1]]), u16::from_le_bytes([head[2], head[3]]));
        if code == OPTION_LOST {
            return rest.first_chunk().copied().map(u64::from_le_bytes);
        }
        if code == 0 {
            return None;
        }
        options = rest.get(usize::from(len).next_multiple_of(4)..)?;
    }
}

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
const STATISTICS: u32 = 5;
const OPTION_LOST: u16 = 5;
const BLOCK_BYTES_MAX: usize = 1 << 20;
/// Blocks are passed on together up to so many bytes, and so many times before the reader must have come along.
const RUN_BYTES: usize = 256 << 10;
const RUNS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn block(kind: u32, content: &[u8]) -> Vec<u8> {
        let len = 12 + content.len() as u32;
        [&kind.to_le_bytes()[..], &len.to_le_bytes(), content, &len.to_le_bytes()].concat()
    }

    fn statistics(lost: u64) -> Vec<u8> {
        let options =
            [&[4, 0, 8, 0][..], &9_u64.to_le_bytes(), &[5, 0, 8, 0], &lost.to_le_bytes(), &[0; 4]].concat();
        block(STATISTICS, &[&[0; 12][..], &options].concat())
    }

    fn packet(interface: u32, at: u32) -> Vec<u8> {
        block(PACKET, &[interface.to_le_bytes(), at.to_le_bytes()].concat())
    }

    fn capture(packets: u32, lost: u64) -> Vec<u8> {
        let packets: Vec<u8> = (0..packets).flat_map(|at| packet(0, at)).collect();
        [block(SECTION, &[7; 16]), block(INTERFACE, &[1; 8]), packets, statistics(lost)].concat()
    }

    fn merged(inputs: Vec<Vec<u8>>, max: Option<u64>, enough: impl Fn()) -> io::Result<(Counted, Vec<u8>)> {
        let mut output = Vec::new();
        let sources = inputs.into_iter().map(|input| BufReader::new(io::Cursor::new(input))).collect();
        merge(sources, &mut output, max, enough).map(|counted| (counted, output))
    }

    /// Goal: so many frames and not one more, but the statistics behind them; half a block never gets out.
    #[test]
    fn whole_blocks_up_to_the_count() {
        let input = [capture(5, 3), block(PACKET, &[0; 40])[..30].to_vec()].concat();
        let enough = Cell::new(false);
        let (counted, output) = merged(vec![input.clone()], Some(2), || enough.set(true)).unwrap();
        assert_eq!((counted, enough.get()), (Counted { frames: 2, lost: 3 }, true));
        assert_eq!(output.len(), 28 + 20 + 2 * 20 + statistics(3).len());
        let (all, _) = merged(vec![input], None, || ()).unwrap();
        assert_eq!(all, Counted { frames: 5, lost: 3 });
    }

    /// Goal: several shards are one section with an interface each, and every frame names its own.
    #[test]
    fn each_shard_is_an_interface() {
        let (counted, output) =
            merged(vec![capture(5, 3), capture(7, 1), capture(0, 0)], None, || ()).unwrap();
        assert_eq!(counted, Counted { frames: 12, lost: 4 });
        let (mut kinds, mut packets, mut rest) = (Vec::new(), [0; 3], output.as_slice());
        while let Some((block, after)) = length_of(rest).and_then(|len| rest.split_at_checked(len)) {
            rest = after;
            kinds.push(kind_of(block).unwrap());
            if kind_of(block) == Some(PACKET) {
                packets[block[8] as usize] += 1;
            }
        }
        assert_eq!((packets, rest.len()), ([5, 7, 0], 0));
        assert_eq!(kinds[..4], [SECTION, INTERFACE, INTERFACE, INTERFACE]);
        assert_eq!(kinds.iter().filter(|&&kind| kind == STATISTICS).count(), 3);
    }

    #[test]
    fn nonsense_ends_it() {
        for len in [0_u32, 11, 13, u32::MAX] {
            let nonsense = [&PACKET.to_le_bytes()[..], &len.to_le_bytes(), &[0; 64]].concat();
            for input in [nonsense.clone(), [capture(2, 0), nonsense].concat()] {
                let error = merged(vec![input], None, || ()).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidData);
            }
        }
    }
}
