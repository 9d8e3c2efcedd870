//! `afterburner pcap`: frames of a broker on this host as its userspace stack sees them, for tcpdump, tshark and Wireshark.
//!
//! ```text
//! broker ─ pcapng blocks ─▶ whole ones only ─▶ file or stdout       Ctrl-C, --count or --duration: our end is shut,
//!                                                                   the broker sends the rest and its statistics
//! ```

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, IsTerminal, Read, Write};
use std::net::{Ipv4Addr, Shutdown};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
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
    /// Only TCP from or to this port
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
    let (_, mut frames) = args.broker.ask(&question)?;
    let wait = args.duration.map(Duration::try_from_secs_f64).transpose();
    let wait = wait.map_err(|error| format!("--duration: {error}"))?;
    let failed = |error: io::Error| format!("the capture ended early: {error}");
    let ours = frames.get_ref().try_clone().map_err(failed)?;
    ours.set_read_timeout(None).map_err(failed)?;
    let ender = ours.try_clone().map_err(failed)?;
    std::thread::spawn(move || end_in_time(&ender, wait));
    let counted = copy_blocks(&mut frames, &mut output, args.count, || {
        let _ = ours.shutdown(Shutdown::Write); // Gone already: then it ends anyway.
    });
    let Counted { frames, lost } = match counted {
        // Who reads our output has enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
        counted => counted.map_err(failed)?,
    };
    eprintln!("{frames} frames{}", if lost > 0 { format!(", {lost} lost") } else { String::new() });
    Ok(ExitCode::SUCCESS)
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

/// Shuts our end at Ctrl-C or when the time is over.
fn end_in_time(stream: &UnixStream, wait: Option<Duration>) {
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
    let _ = stream.shutdown(Shutdown::Write);
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counted {
    frames: u64,
    lost: u64,
}

/// Passes whole blocks on until the end, but no more than `max` frames; `enough` is called when there are so many.
fn copy_blocks(
    input: &mut BufReader<impl Read>,
    output: &mut impl Write,
    max: Option<u64>,
    enough: impl Fn(),
) -> io::Result<Counted> {
    let mut counted = Counted::default();
    let mut block = Vec::new();
    let is_full = |frames: u64| max.is_some_and(|max| frames >= max);
    while read_block(input, &mut block)? {
        match block.first_chunk().copied().map(u32::from_le_bytes) {
            Some(PACKET) if is_full(counted.frames) => continue,
            Some(PACKET) => counted.frames += 1,
            Some(STATISTICS) => counted.lost = lost_of(&block).unwrap_or(0),
            _ => {}
        }
        output.write_all(&block)?;
        if is_full(counted.frames) {
            enough();
        }
        if input.buffer().is_empty() {
            output.flush()?;
        }
    }
    output.flush()?;
    Ok(counted)
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

const PACKET: u32 = 6;
const STATISTICS: u32 = 5;
const OPTION_LOST: u16 = 5;
const BLOCK_BYTES_MAX: usize = 1 << 20;

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

    /// Goal: so many frames and not one more, but the statistics behind them; half a block never gets out.
    #[test]
    fn whole_blocks_up_to_the_count() {
        let packets: Vec<u8> = (0..5_u32).flat_map(|at| block(PACKET, &at.to_le_bytes())).collect();
        let input =
            [block(0x0a0d_0d0a, &[7; 16]), packets, statistics(3), block(PACKET, &[0; 40])[..30].to_vec()]
                .concat();
        let (mut output, enough) = (Vec::new(), Cell::new(false));
        let counted =
            copy_blocks(&mut BufReader::new(&input[..]), &mut output, Some(2), || enough.set(true)).unwrap();
        assert_eq!((counted, enough.get()), (Counted { frames: 2, lost: 3 }, true));
        assert_eq!(output.len(), 28 + 2 * 16 + statistics(3).len());
        let all = copy_blocks(&mut BufReader::new(&input[..]), &mut io::sink(), None, || ()).unwrap();
        assert_eq!(all, Counted { frames: 5, lost: 3 });
    }

    #[test]
    fn nonsense_ends_it() {
        for len in [0_u32, 11, 13, u32::MAX] {
            let input = [&PACKET.to_le_bytes()[..], &len.to_le_bytes(), &[0; 64]].concat();
            let error =
                copy_blocks(&mut BufReader::new(&input[..]), &mut io::sink(), None, || ()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData);
        }
    }
}
