//! One load on one server: what it is made of, and the looks around it.

use super::frames::{Template, send_request};
use super::load::{self, Load, Outcome};
use super::pull::{self, PullLoad};
use super::report::Round;
use super::server::{Usage, Used, Who};
use super::target::{self, Target};
use super::{Args, CodecName, LoadKind, LoadOf, SMALL_BYTES, beside, interrupt, rota};
use protocol::frame::Codec;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

pub fn measure(load: &LoadOf, target: &Target, args: &Args) -> Result<Round, String> {
    let LoadOf { kind, connections } = *load;
    let writers = usize::from(connections).clamp(8, WRITERS_MAX);
    let queues = writers * usize::from(args.pull_queues.max(1));
    let topic = format!("Bench_{}_{queues}", args.size);
    if !target.only_answers_sends {
        target::create_topic(target.addr, &topic, queues)?;
    }
    let send = sends(load, target, args, &topic, queues);
    let pulls = matches!(kind, LoadKind::Pull | LoadKind::Beside);
    let from = if pulls { target::ends(target.addr, &topic, queues)? } else { Vec::new() };
    let pull = PullLoad {
        addr: target.addr,
        topic: topic.clone(),
        queues,
        from,
        codec: codec(args),
        connections: usize::from(connections),
        queues_each: usize::from(args.pull_queues).min(queues),
        count: 32,
        yields: send.yields,
        warmup: send.warmup,
        measured: send.measured,
    };
    let one_pulls = PullLoad { connections: 1, queues_each: ONE_PULLS.min(queues), ..pull.clone() };
    if pulls {
        let filler = LoadOf { kind: LoadKind::Pull, connections };
        let sent = fill(&sends(&filler, target, args, &topic, queues), queues)?;
        until_readable(target.addr, &topic, &pull.from, sent)?;
    }
    let idle: io::Result<Vec<TcpStream>> = (0..args.idle).map(|_| idle(target)).collect();
    let _idle = idle.map_err(|error| format!("cannot open {} idle connections: {error}", args.idle))?;
    let mut look = Look::new(target.who.clone());
    let mut later = look.clone();
    let (mut begins, mut ends) = (|| look.take(true), || later.take(false));
    let size = send.size as u64;
    let of_sends = |outcome: Outcome| (outcome.messages * size, outcome);
    let (bytes, outcome) = match kind {
        LoadKind::Pull => pull::run(&pull, &mut begins, &mut ends).map(|(it, pulled)| (pulled.bytes, it)),
        LoadKind::Beside => {
            let both = beside::run(&send, &one_pulls, &mut begins, &mut ends);
            both.map(|(outcome, pulled)| (pulled.bytes, outcome))
        }
        LoadKind::Rota => rota::run(&send, &mut begins, &mut ends).map(of_sends),
        LoadKind::Ping | LoadKind::Small | LoadKind::Pipeline | LoadKind::Open => {
            load::run(&send, &mut begins, &mut ends).map(of_sends)
        }
    }
    .map_err(|error| error.to_string())?;
    let (used, client) = look.until(&later);
    Ok(Round { outcome, used, client, bytes })
}

fn codec(args: &Args) -> Codec {
    match args.codec {
        CodecName::Json => Codec::Json,
        CodecName::Binary => Codec::Binary,
    }
}

/// The sending half of a load; of `Pull` the messages that will be pulled.
fn sends(load: &LoadOf, target: &Target, args: &Args, topic: &str, queues: usize) -> Load {
    let kind = load.kind;
    let seconds = |seconds: f64| Duration::from_secs_f64(seconds.clamp(0.0, 86_400.0));
    let (connections, window, batch) = match kind {
        LoadKind::Ping | LoadKind::Small | LoadKind::Beside => (1, 1, 1),
        LoadKind::Open => (usize::from(load.connections), OPEN_WINDOW, usize::from(args.batch)),
        LoadKind::Pipeline | LoadKind::Pull | LoadKind::Rota => {
            (usize::from(load.connections), usize::from(args.window), usize::from(args.batch))
        }
    };
    let size = if matches!(kind, LoadKind::Small | LoadKind::Beside) { SMALL_BYTES } else { args.size };
    Load {
        addr: target.addr,
        templates: (0..queues as i32)
            .map(|queue| Template::new(&send_request(topic, queue, size, batch), codec(args)))
            .collect(),
        size,
        connections,
        window,
        batch,
        rate: (kind == LoadKind::Open).then_some(args.rate / batch as f64),
        yields: target.shares_our_core,
        limit: u64::MAX,
        warmup: seconds(args.warmup),
        measured: seconds(args.seconds),
    }
}

/// Gives every queue messages to be pulled: as many as are in memory for certain. Returns how many.
fn fill(send: &Load, queues: usize) -> Result<u64, String> {
    let send = Load {
        connections: queues, // Each connection writes to a queue of its own.
        window: 16,
        limit: FILL_BYTES / (send.size * send.batch + RECORD_BYTES) as u64,
        warmup: Duration::ZERO,
        measured: FILL_TIME_MAX,
        ..send.clone()
    };
    let filled = load::run(&send, &mut || (), &mut || ()).map_err(|error| error.to_string())?;
    match filled.first_refusal {
        Some(code) => Err(format!("the broker refuses messages to pull later: code {code}")),
        None if filled.messages < queues as u64 => Err("the broker takes no messages".to_owned()),
        None => Ok(filled.messages),
    }
}

/// Waits until all messages that went into the queues behind `from` can be read: the official broker makes the entries of what it
/// has acknowledged later, after a heavy load by many seconds.
fn until_readable(addr: SocketAddr, topic: &str, from: &[i64], sent: u64) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        let ends = target::ends(addr, topic, from.len())?;
        let readable: i64 = ends.iter().zip(from).map(|(end, from)| end - from).sum();
        if readable >= sent.cast_signed() {
            return Ok(());
        }
        interrupt::check().map_err(|error| error.to_string())?;
        if begun.elapsed() > READABLE_TIME_MAX {
            return Err(format!(
                "of {sent} messages sent to {addr} only {readable} can be read after {} s: is it still busy with an earlier load?",
                READABLE_TIME_MAX.as_secs()
            ));
        }
        thread::sleep(READABLE_POLL);
    }
}

/// A connection that says nothing; the kernel forgets it at once when it is closed.
fn idle(target: &Target) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(target.addr)?;
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    Ok(stream)
}

/// The server and this thread at one moment.
#[derive(Clone)]
struct Look {
    who: Option<Who>,
    server: Option<Usage>,
    client: Option<Usage>,
}

impl Look {
    fn new(who: Option<Who>) -> Look {
        Look { who, server: None, client: None }
    }

    fn take(&mut self, begins: bool) {
        self.server = self.who.as_ref().and_then(|who| who.look(begins));
        self.client = Who::Thread(rustix::thread::gettid().as_raw_nonzero().get()).look(begins);
    }

    fn until(&self, later: &Look) -> (Option<Used>, Used) {
        let used = |from: Option<Usage>, to: Option<Usage>| Some(from?.until(to?));
        (used(self.server, later.server), used(self.client, later.client).unwrap_or_default())
    }
}

const OPEN_WINDOW: usize = 4096;
/// More connections share queues.
const WRITERS_MAX: usize = 64;
/// Pulls under way of the one connection that pulls beside a small one.
const ONE_PULLS: usize = 8;
/// A quarter of the hot log, so that all of it is pulled from memory again and again.
const FILL_BYTES: u64 = 128 << 20;
/// What a stored message has besides its body, about.
const RECORD_BYTES: usize = 200;
/// For servers that are slow.
const FILL_TIME_MAX: Duration = Duration::from_secs(2);
const READABLE_TIME_MAX: Duration = Duration::from_secs(60);
const READABLE_POLL: Duration = Duration::from_millis(20);
