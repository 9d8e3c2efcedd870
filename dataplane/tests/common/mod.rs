//! A small server over any `Net`, and the clients that try it: the same for our stack and for the kernel's sockets.
//!
//! ```text
//!   port     echoes what comes, closes when the peer has finished
//!   port+1   closes after the first bytes
//!   port+2   resets after the first bytes
//! ```

#![allow(dead_code, clippy::unwrap_used)] // Each test program uses its part; all of it is tests.

pub mod apart;
pub mod awake;

use dataplane::net::kernel::KernelNet;
use dataplane::net::{ConnId, Net, NetEvent, NetLimits, NetRx, NetTx, Spin};
use dataplane::rng::Rng;
use dataplane::time::{Clock, RealClock, TurnTime};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::SockRef;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Whether this process may have so many connections; if not, says that a test is skipped.
pub fn may_connect(conns: usize) -> bool {
    let wanted = Some(conns as u64 + 1_000);
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: wanted, maximum: limit.maximum.max(wanted) };
    let may = limit.current >= wanted || setrlimit(Resource::Nofile, raised).is_ok();
    if !may {
        println!("skipped: may not have {conns} descriptors (ulimit -n)");
    }
    may
}

/// What the server does with what it hears.
pub struct Echo {
    port: u16,
    finishing: Vec<ConnId>,
    pub opened: u64,
    pub closed: u64,
    /// Bytes that came and were served.
    pub heard: u64,
}

impl Echo {
    pub fn new(net: &mut impl Net, port: u16) -> io::Result<Self> {
        for port in port..port + 3 {
            net.listen(port)?;
        }
        Ok(Self { port, finishing: Vec::new(), opened: 0, closed: 0, heard: 0 })
    }

    /// One turn of the shard's shape.
    pub fn turn(&mut self, net: &mut impl Net, now: &TurnTime) -> u32 {
        let mut work = net.ingress(now, 64);
        while let Some(event) = net.next_event() {
            match event {
                NetEvent::Opened { local, .. } => {
                    assert!((self.port..self.port + 3).contains(&local.port()));
                    self.opened += 1;
                }
                NetEvent::Readable(conn) | NetEvent::Writable(conn) => self.echo(net, conn),
                NetEvent::PeerFinished(conn) => {
                    self.finishing.push(conn);
                    self.echo(net, conn);
                }
                NetEvent::Closed(conn) => {
                    self.closed += 1;
                    self.finishing.retain(|other| *other != conn);
                }
            }
        }
        work += net.egress(now, 256);
        work
    }

    fn echo(&mut self, net: &mut impl Net, conn: ConnId) {
        let Some(info) = net.info(conn) else { return };
        let has_bytes = !net.readable(conn).0.is_empty();
        match info.local.port() - self.port {
            1 if has_bytes => return net.close(conn),
            2 if has_bytes => return net.abort(conn),
            _ => (),
        }
        let (rx, tx) = net.split();
        let (first, second) = rx.readable(conn);
        let mut len = tx.send(conn, first);
        if len == first.len() {
            len += tx.send(conn, second);
        }
        let is_all = len == first.len() + second.len();
        net.consume(conn, len);
        self.heard += len as u64;
        if is_all && self.finishing.contains(&conn) {
            net.close(conn);
        }
    }
}

/// Runs an echo server on a thread of its own until dropped.
pub struct Running {
    stop: Arc<AtomicBool>,
    ended: Arc<AtomicU64>,
    thread: Option<JoinHandle<(u64, u64)>>,
}

impl Running {
    pub fn start<N: Net + Send + 'static>(mut net: N, port: u16) -> io::Result<Self> {
        let mut echo = Echo::new(&mut net, port)?;
        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::new(AtomicU64::new(0));
        let (until, told) = (Arc::clone(&stop), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            let mut clock = RealClock::start();
            while !until.load(Ordering::Relaxed) {
                let now = clock.read();
                let work = echo.turn(&mut net, &now);
                told.store(echo.closed, Ordering::Relaxed);
                if work == 0 {
                    net.idle_wait(&now, Duration::from_millis(20));
                }
            }
            (echo.opened, echo.closed)
        });
        Ok(Self { stop, ended, thread: Some(thread) })
    }

    /// Waits until so many connections have been told closed.
    pub fn until_ended(&self, conns: u64) {
        let mut ended = self.ended.load(Ordering::Relaxed);
        while ended < conns {
            let more = ended + 1;
            // Long, for ends that are lost together: the peer's kernel sends them again later and later.
            eventually_in(Duration::from_secs(100), "the connections end", || {
                ended = self.ended.load(Ordering::Relaxed);
                ended >= more
            });
        }
    }

    /// Connections opened and closed.
    pub fn stop(mut self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("stopped once").join().expect("the server does not panic")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

/// A server on the host's own sockets, on ports that no outgoing connection of another test is given.
pub fn start_on_kernel_sockets() -> (Running, u16) {
    on_free_ports(|port| Running::start(kernel_net(NetLimits::default()), port))
}

pub fn kernel_net(limits: NetLimits) -> KernelNet {
    KernelNet::new(IpAddr::V4(Ipv4Addr::LOCALHOST), limits, Spin::Adaptive).unwrap()
}

/// The first ports on which `start` succeeds.
pub fn on_free_ports<T>(mut start: impl FnMut(u16) -> io::Result<T>) -> (T, u16) {
    let first = 10_000 + (std::process::id() % 5_000) as u16;
    for port in (first..30_000).step_by(4) {
        match start(port) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            started => return (started.unwrap(), port),
        }
    }
    panic!("no free ports");
}

pub fn connect(ip: Ipv4Addr, port: u16) -> TcpStream {
    try_connect(ip, port).unwrap()
}

pub fn try_connect(ip: Ipv4Addr, port: u16) -> io::Result<TcpStream> {
    // As long as the kernel tries: a limit by the wall is over when the machine stood still.
    let stream = TcpStream::connect((ip, port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Small messages come back as they went.
pub fn ping_pong(ip: Ipv4Addr, port: u16) {
    let mut stream = connect(ip, port);
    let mut rng = Rng::from_seed(21);
    for round in 0..2_000 {
        let mut sent = vec![0; 1 + rng.below(2_000) as usize];
        rng.fill(&mut sent);
        stream.write_all(&sent).unwrap();
        let mut back = vec![0; sent.len()];
        stream.read_exact(&mut back).unwrap();
        assert!(sent == back, "round {round}");
    }
}

/// A large transfer, both ways at once, byte for byte, ended by a half-close.
pub fn bulk(ip: Ipv4Addr, port: u16, bytes: usize) {
    let stream = connect(ip, port);
    let mut writer = stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        let mut rng = Rng::from_seed(22);
        let mut chunk = vec![0; 100_000];
        let mut left = bytes;
        while left > 0 {
            rng.fill(&mut chunk);
            let len = left.min(chunk.len());
            writer.write_all(&chunk[..len]).unwrap();
            left -= len;
        }
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut reader = stream;
    let mut rng = Rng::from_seed(22);
    let (mut expected, mut chunk) = (vec![0; 100_000], vec![0; 100_000]);
    let mut left = bytes;
    while left > 0 {
        rng.fill(&mut expected);
        let len = left.min(chunk.len());
        reader.read_exact(&mut chunk[..len]).unwrap();
        assert!(chunk[..len] == expected[..len], "{left} bytes before the end");
        left -= len;
    }
    assert_eq!(awake::read(&mut reader, &mut chunk, PATIENCE).unwrap(), 0, "the server closes after us");
    sender.join().unwrap();
}

/// Many connections at once, each with its own bytes, opened in one burst.
pub fn many(ip: Ipv4Addr, port: u16, conns: usize) {
    let mut streams: Vec<TcpStream> = (0..conns).map(|_| connect(ip, port)).collect();
    for round in 0..3u32 {
        for (index, stream) in streams.iter_mut().enumerate() {
            stream.write_all(&(index as u32 * 3 + round).to_be_bytes()).unwrap();
        }
        for (index, stream) in streams.iter_mut().enumerate() {
            let mut back = [0; 4];
            stream.read_exact(&mut back).unwrap();
            assert_eq!(u32::from_be_bytes(back), index as u32 * 3 + round);
        }
    }
}

/// Our `close` is an orderly end for the peer, after everything we sent; our `abort` is a reset.
pub fn ends(ip: Ipv4Addr, port: u16) {
    let mut closed = connect(ip, port + 1);
    closed.write_all(b"x").unwrap();
    assert_eq!(awake::read(&mut closed, &mut [0; 16], PATIENCE).unwrap(), 0);

    let mut aborted = connect(ip, port + 2);
    aborted.write_all(b"x").unwrap();
    let error = awake::read(&mut aborted, &mut [0; 16], PATIENCE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);

    let refused = TcpStream::connect((ip, port + 3));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

/// A peer that vanishes with a reset, again and again, leaves nothing behind. Begin with empty queues: a handshake whose
/// packets the host drops, and whose peer is gone then, is never told.
pub fn churn(ip: Ipv4Addr, port: u16, rounds: usize) {
    for round in 0..rounds {
        let mut stream = connect(ip, port);
        stream.write_all(b"hello").unwrap();
        if round % 2 == 0 {
            SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        } else {
            stream.read_exact(&mut [0; 5]).unwrap();
        }
    }
}

/// What a peer sent before it ended with a reset is served, however late we look. Method: turns stop while it sends and
/// ends.
pub fn last_words(mut net: impl Net, mut echo: Echo, ip: Ipv4Addr) {
    let port = echo.port;
    let mut clock = RealClock::start();
    let mut turn_until = |what: &str, is_so: &dyn Fn(&Echo) -> bool| {
        eventually(what, || {
            echo.turn(&mut net, &clock.read());
            is_so(&echo)
        });
    };
    for round in 1..=20 {
        let (go, gone) = (mpsc::channel(), mpsc::channel());
        let peer = std::thread::spawn(move || {
            let mut stream = connect(ip, port);
            go.1.recv().unwrap();
            stream.write_all(&[7; LAST_WORDS_BYTES]).unwrap();
            SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            drop(stream);
            gone.0.send(()).unwrap();
        });
        turn_until("it connects", &|echo| echo.opened == round);
        go.0.send(()).unwrap();
        gone.1.recv().unwrap();
        turn_until("the connection ends", &|echo| echo.closed == round);
        turn_until("all was heard", &|echo| echo.heard == round * LAST_WORDS_BYTES as u64);
        peer.join().unwrap();
    }
}

/// More than a ring of 4 KiB, less than what a peer sends before it hears of a window.
const LAST_WORDS_BYTES: usize = 9_000;

/// Waits for something to become true.
pub fn eventually(what: &str, is_so: impl FnMut() -> bool) {
    eventually_in(PATIENCE, what, is_so);
}

fn eventually_in(patience: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    let until = awake::now() + patience;
    while !is_so() {
        assert!(awake::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What comes at all comes at once; where many tests share few cores, later.
pub const PATIENCE: Duration = Duration::from_secs(30);
