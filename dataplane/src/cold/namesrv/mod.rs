//! Keeps this broker known to its name servers.
//!
//! ```text
//! keeper thread --Tables (watch: newest wins)--> one task a name server --REGISTER_BROKER--> name server
//!                                                    | closed, silent, refused: again, 20 to 400 ms apart
//! main <--Standing (who knows us)--------------------'
//! ```
//!
//! A name server forgets a broker whose connection closes, so a connection stays open between registrations, and
//! its end is the sign of a restart: we come back at once. Each server has its own task, so that a dead one delays
//! nobody. All run in one ordinary thread on the kernel's sockets. Deliberately absent: compressed, split and
//! single-topic registrations, which official name servers need no more than ours.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use protocol::code::{request, response};
use protocol::frame::{self, Codec, Found};
use protocol::{RemotingCommand, WireError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::broker::announce::Announced;
use crate::config::HostPort;

/// Who registers.
#[derive(Debug, Clone)]
pub struct Identity {
    pub cluster: String,
    pub broker_name: String,
    pub broker_id: u64,
    /// `ip:port` that clients are told.
    pub broker_addr: String,
    /// `ip:port` that replicas are told.
    pub ha_server_addr: String,
}

/// How often and how long.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub period: Duration,
    pub answer_wait_max: Duration,
}

/// The body of a registration, made once for all name servers. The newest replaces what was not sent yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables {
    pub body: Bytes,
    /// `DataVersion.counter` of the topic table in it.
    pub counter: i64,
}

/// The running registration. `leave` ends it and waits; when it is dropped its thread says goodbye alone.
pub struct Registrar {
    thread: JoinHandle<()>,
    stop: watch::Sender<bool>,
    standing: Arc<Standing>,
}

impl Registrar {
    /// Connects to every server at once and registers as soon as `tables` has been sent the first body.
    pub fn start(
        servers: &[HostPort],
        identity: Identity,
        pace: Pace,
        tables: watch::Receiver<Option<Tables>>,
    ) -> std::io::Result<Self> {
        let standing = Arc::new(Standing::new(servers.len()));
        let (stop, stopped) = watch::channel(false);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build()?;
        let links: Vec<Link> = servers
            .iter()
            .enumerate()
            .map(|(index, server)| Link {
                index,
                server: server.clone(),
                identity: identity.clone(),
                pace,
                tables: tables.clone(),
                stopped: stopped.clone(),
                standing: Arc::clone(&standing),
                complained: None,
            })
            .collect();
        let thread = std::thread::Builder::new().name("ab-namesrv".into()).spawn(move || {
            runtime.block_on(async {
                let tasks: Vec<_> = links.into_iter().map(|link| tokio::spawn(link.keep())).collect();
                for task in tasks {
                    // A task ends by itself when it is told to stop; one that panicked has said so.
                    let _ = task.await;
                }
            });
        })?;
        Ok(Self { thread, stop, standing })
    }

    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Unregisters from every name server that knows us; takes a second at most.
    pub fn leave(self) {
        self.stop.send_replace(true);
        // The thread only waits for its tasks, each of which is bounded by GOODBYE_WAIT_MAX.
        let _ = self.thread.join();
    }
}

/// Which name servers know us now, and which topic table of ours they were told last.
#[derive(Debug)]
pub struct Standing {
    told: Mutex<Vec<Option<i64>>>,
    changed: Condvar,
    announced: Announced,
}

impl Standing {
    fn new(servers: usize) -> Self {
        Self {
            told: Mutex::new(vec![None; servers]),
            changed: Condvar::new(),
            announced: Announced::default(),
        }
    }

    /// `told`: the table this server has accepted; `None` when it does not know us.
    fn set(&self, index: usize, told: Option<i64>) {
        let mut all = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = all.get_mut(index) {
            *entry = told;
        }
        let least = all.iter().flatten().min().copied().unwrap_or(i64::MAX);
        self.announced.tell(least);
        self.changed.notify_all();
    }

    /// For the shard, which lets a new topic's first answer wait until clients can find it.
    pub fn announced(&self) -> Announced {
        self.announced.clone()
    }

    /// How many of how many know us.
    pub fn count(&self) -> (usize, usize) {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        (told.iter().flatten().count(), told.len())
    }

    /// Waits until all know us or the time is over; says whether all do.
    pub fn wait_for_all(&self, max: Duration) -> bool {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let (told, _) = self
            .changed
            .wait_timeout_while(told, max, |told| told.iter().any(Option::is_none))
            .unwrap_or_else(PoisonError::into_inner);
        told.iter().all(Option::is_some)
    }
}

/// One name server.
struct Link {
    index: usize,
    server: HostPort,
    identity: Identity,
    pace: Pace,
    tables: watch::Receiver<Option<Tables>>,
    stopped: watch::Receiver<bool>,
    standing: Arc<Standing>,
    /// When trouble was last logged, so that a dead server does not fill the log.
    complained: Option<Instant>,
}

/// Why a connection is given up.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    #[error("no connection within {} ms", CONNECT_WAIT_MAX.as_millis())]
    ConnectTimeout,
    #[error("closed the connection")]
    Closed,
    #[error("connection broke: {0}")]
    Broken(#[from] std::io::Error),
    #[error("sent something that is no frame: {0}")]
    Wire(#[from] WireError),
    #[error("did not answer within {0} ms")]
    Silent(u128),
}

/// A connection with what it is waiting for.
struct Session {
    stream: TcpStream,
    received: Vec<u8>,
    last_opaque: i32,
    /// Opaque of the registration under way, and when its answer is overdue.
    /// The table that was sent with it.
    asked_counter: i64,
    asked: Option<(i32, Instant)>,
    /// When to register again by the clock.
    due: Instant,
}

impl Link {
    async fn keep(mut self) {
        let mut pause = PAUSE_MIN;
        while !*self.stopped.borrow() {
            let lost = match self.connect().await {
                Ok(stream) => {
                    pause = PAUSE_MIN;
                    match self.serve(stream).await {
                        Ok(()) => break,
                        Err(lost) => lost,
                    }
                }
                Err(lost) => lost,
            };
            self.standing.set(self.index, None);
            self.complain(&lost);
            tokio::select! {
                () = sleep(pause) => {}
                () = told_to_stop(&mut self.stopped) => {}
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
        self.standing.set(self.index, None);
    }

    async fn connect(&mut self) -> Result<TcpStream, Lost> {
        let connecting = TcpStream::connect((self.server.host.as_str(), self.server.port));
        tokio::select! {
            connected = timeout(CONNECT_WAIT_MAX, connecting) => match connected {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true)?;
                    Ok(stream)
                }
                Ok(Err(error)) => Err(Lost::Connect(error)),
                Err(_) => Err(Lost::ConnectTimeout),
            },
            () = told_to_stop(&mut self.stopped) => Err(Lost::Closed),
        }
    }

    /// Registers, and again whenever it is due, until we stop (`Ok`) or the connection is lost.
    async fn serve(&mut self, stream: TcpStream) -> Result<(), Lost> {
        let mut session = Session {
            stream,
            received: Vec::new(),
            last_opaque: 0,
            asked: None,
            asked_counter: 0,
            due: Instant::now(),
        };
        self.tables.mark_changed();
        loop {
            let wake_at = session.asked.map_or(session.due, |(_, overdue)| overdue);
            let may_ask = session.asked.is_none();
            tokio::select! {
                biased;
                () = told_to_stop(&mut self.stopped) => {
                    self.unregister(&mut session).await;
                    return Ok(());
                }
                read = session.stream.read_buf(&mut session.received) => {
                    if read? == 0 {
                        return Err(Lost::Closed);
                    }
                    self.take_frames(&mut session).await?;
                }
                changed = self.tables.changed(), if may_ask => match changed {
                    Ok(()) => self.register(&mut session).await?,
                    // Nobody will send tables any more: we are being stopped.
                    Err(_) => told_to_stop(&mut self.stopped).await,
                },
                () = sleep_until(wake_at) => {
                    if session.asked.is_some() {
                        return Err(Lost::Silent(self.pace.answer_wait_max.as_millis()));
                    }
                    self.register(&mut session).await?;
                }
            }
        }
    }

    async fn register(&mut self, session: &mut Session) -> Result<(), Lost> {
        let now = Instant::now();
        session.due = now + self.pace.period;
        let Some(Tables { body, counter }) = self.tables.borrow_and_update().clone() else { return Ok(()) };
        let opaque = session.send(register_command(&self.identity, body), self.pace.answer_wait_max).await?;
        session.asked = Some((opaque, now + self.pace.answer_wait_max));
        session.asked_counter = counter;
        Ok(())
    }

    /// Answers to us, and the odd request of a name server, which is none of ours.
    async fn take_frames(&mut self, session: &mut Session) -> Result<(), Lost> {
        loop {
            let (command, bytes_len) = match frame::find(&session.received)? {
                Found::Need { .. } => return Ok(()),
                Found::Whole { frame, bytes_len } => (RemotingCommand::from_frame(&frame)?, bytes_len),
            };
            session.received.drain(..bytes_len);
            if !command.is_response() {
                if !command.is_oneway() {
                    let refusal =
                        RemotingCommand::response(response::REQUEST_CODE_NOT_SUPPORTED, command.opaque)
                            .remark(format!(" request type {} not supported", command.code));
                    session.write(&refusal.encode(Codec::Json), self.pace.answer_wait_max).await?;
                }
                continue;
            }
            if session.asked.is_some_and(|(opaque, _)| opaque == command.opaque) {
                session.asked = None;
                self.take_answer(session, &command);
            }
        }
    }

    fn take_answer(&mut self, session: &mut Session, answer: &RemotingCommand) {
        let accepted = answer.code == response::SUCCESS;
        self.standing.set(self.index, accepted.then_some(session.asked_counter));
        if accepted {
            if self.complained.take().is_some() {
                log::info!("name server {} knows us again", self.server);
            }
        } else {
            log::warn!(
                "name server {} refused the registration: code {} {}",
                self.server,
                answer.code,
                answer.remark.as_deref().unwrap_or_default()
            );
            session.due = Instant::now() + REFUSED_PAUSE;
        }
    }

    /// Best effort: a name server that does not hear it notices the closed connection.
    async fn unregister(&mut self, session: &mut Session) {
        if self.standing.told.lock().unwrap_or_else(PoisonError::into_inner)[self.index].is_none() {
            return;
        }
        let goodbye = async {
            let opaque = session.send(unregister_command(&self.identity), GOODBYE_WAIT_MAX).await?;
            session.asked = Some((opaque, Instant::now() + GOODBYE_WAIT_MAX));
            while session.asked.is_some() {
                if session.stream.read_buf(&mut session.received).await? == 0 {
                    return Err(Lost::Closed);
                }
                self.take_frames(session).await?;
            }
            Ok(())
        };
        match timeout(GOODBYE_WAIT_MAX, goodbye).await {
            Ok(Ok(())) => {}
            Ok(Err(lost)) => log::warn!("name server {} {lost} while we unregistered", self.server),
            Err(_) => log::warn!("name server {} did not answer when we unregistered", self.server),
        }
    }

    /// One line when trouble begins, then one a minute.
    fn complain(&mut self, lost: &Lost) {
        let now = Instant::now();
        if self.complained.is_none_or(|last| now - last >= COMPLAINT_PERIOD) {
            self.complained = Some(now);
            log::warn!("name server {} {lost}; trying again until it is back", self.server);
        }
    }
}

impl Session {
    /// Sends a request and returns its opaque.
    async fn send(&mut self, mut command: RemotingCommand, wait_max: Duration) -> Result<i32, Lost> {
        self.last_opaque += 1;
        command.opaque = self.last_opaque;
        self.write(&command.encode(Codec::Json), wait_max).await?;
        Ok(command.opaque)
    }

    async fn write(&mut self, bytes: &[u8], wait_max: Duration) -> Result<(), Lost> {
        match timeout(wait_max, self.stream.write_all(bytes)).await {
            Ok(written) => Ok(written?),
            Err(_) => Err(Lost::Silent(wait_max.as_millis())),
        }
    }
}

/// Returns when `leave` was called or the registrar is gone.
async fn told_to_stop(stopped: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which is the same order.
    let _ = stopped.wait_for(|&stop| stop).await;
}

fn register_command(identity: &Identity, body: Bytes) -> RemotingCommand {
    // Java compares the checksum as a positive int.
    let crc = crc32fast::hash(&body) & 0x7fff_ffff;
    RemotingCommand::request(request::REGISTER_BROKER)
        .field("brokerName", &identity.broker_name)
        .field("brokerAddr", &identity.broker_addr)
        .field("clusterName", &identity.cluster)
        .field("haServerAddr", &identity.ha_server_addr)
        .field("brokerId", identity.broker_id)
        .field("enableActingMaster", false)
        .field("compressed", false)
        .field("bodyCrc32", crc)
        .body(body)
}

fn unregister_command(identity: &Identity) -> RemotingCommand {
    RemotingCommand::request(request::UNREGISTER_BROKER)
        .field("brokerName", &identity.broker_name)
        .field("brokerAddr", &identity.broker_addr)
        .field("clusterName", &identity.cluster)
        .field("brokerId", identity.broker_id)
}

/// Pauses between attempts; the longest keeps a repair well under a second.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(400);
/// A name server that takes longer than this to accept is tried again with a fresh SYN.
const CONNECT_WAIT_MAX: Duration = Duration::from_millis(1_000);
const GOODBYE_WAIT_MAX: Duration = Duration::from_millis(1_000);
/// After a registration was refused by code.
const REFUSED_PAUSE: Duration = Duration::from_millis(1_000);
const COMPLAINT_PERIOD: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Instant;

    use super::*;

    /// A scripted name server: it reads one request at a time and answers as told.
    struct Peer(TcpStream);

    impl Peer {
        fn accept(listener: &TcpListener) -> Peer {
            let (stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            Peer(stream)
        }

        fn read(&mut self) -> RemotingCommand {
            let mut bytes = vec![0; 4];
            self.0.read_exact(&mut bytes).unwrap();
            let rest = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
            bytes.resize(4 + rest, 0);
            self.0.read_exact(&mut bytes[4..]).unwrap();
            match frame::find(&bytes).unwrap() {
                Found::Whole { frame, .. } => RemotingCommand::from_frame(&frame).unwrap(),
                Found::Need { .. } => panic!("a whole frame was read"),
            }
        }

        fn answer(&mut self, asked: &RemotingCommand, code: i32) {
            let answer = RemotingCommand::response(code, asked.opaque);
            self.0.write_all(&answer.encode(Codec::Json)).unwrap();
        }
    }

    fn listen() -> (TcpListener, HostPort) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, HostPort { host: "127.0.0.1".into(), port })
    }

    fn start(servers: &[HostPort]) -> (Registrar, watch::Sender<Option<Tables>>) {
        let identity = Identity {
            cluster: "C".into(),
            broker_name: "b".into(),
            broker_id: 0,
            broker_addr: "10.0.0.1:10911".into(),
            ha_server_addr: "10.0.0.1:10912".into(),
        };
        let pace = Pace { period: Duration::from_secs(30), answer_wait_max: Duration::from_secs(3) };
        let (tables, newest) = watch::channel(Some(Tables { body: Bytes::from_static(b"{}"), counter: 1 }));
        (Registrar::start(servers, identity, pace, newest).unwrap(), tables)
    }

    /// Goal: the first frame is a complete registration. Method: read it and compare every field.
    #[test]
    fn registers_at_once_with_every_field() {
        let (listener, server) = listen();
        let (registrar, _tables) = start(&[server]);
        let mut peer = Peer::accept(&listener);
        let asked = peer.read();
        assert_eq!(asked.code, request::REGISTER_BROKER);
        for (name, value) in [
            ("brokerName", "b"),
            ("brokerAddr", "10.0.0.1:10911"),
            ("clusterName", "C"),
            ("haServerAddr", "10.0.0.1:10912"),
            ("brokerId", "0"),
            ("enableActingMaster", "false"),
            ("compressed", "false"),
            ("bodyCrc32", &(crc32fast::hash(b"{}") & 0x7fff_ffff).to_string()),
        ] {
            assert_eq!(asked.ext(name), Some(value), "{name}");
        }
        assert_eq!(&asked.body[..], b"{}");
        assert_eq!(registrar.standing().count(), (0, 1));
        peer.answer(&asked, response::SUCCESS);
        assert!(registrar.standing().wait_for_all(Duration::from_secs(5)));
    }

    /// Goal: a changed table is told within milliseconds, and several changes during one registration are told once.
    #[test]
    fn a_change_is_told_at_once_and_changes_are_joined() {
        let (listener, server) = listen();
        let (_registrar, tables) = start(&[server]);
        let mut peer = Peer::accept(&listener);
        let first = peer.read();
        for version in ["a", "b", "c"] {
            tables.send_replace(Some(Tables { body: Bytes::from(version), counter: 1 }));
        }
        peer.answer(&first, response::SUCCESS);
        let began = Instant::now();
        let second = peer.read();
        assert!(began.elapsed() < Duration::from_millis(500));
        assert_eq!(&second.body[..], b"c");
        assert!(second.opaque != first.opaque);
        peer.answer(&second, response::SUCCESS);
        peer.0.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert!(peer.0.read(&mut [0]).is_err(), "nothing more is sent");
    }

    /// Goal: a name server that restarts knows us again in under a second. Method: close, and stay away a while.
    #[test]
    fn a_restarted_name_server_is_told_again() {
        let (listener, server) = listen();
        let (registrar, _tables) = start(std::slice::from_ref(&server));
        let mut peer = Peer::accept(&listener);
        let asked = peer.read();
        peer.answer(&asked, response::SUCCESS);
        assert!(registrar.standing().wait_for_all(Duration::from_secs(5)));
        drop(peer);
        drop(listener);
        std::thread::sleep(Duration::from_millis(700));
        assert_eq!(registrar.standing().count(), (0, 1));
        let listener = TcpListener::bind((server.host.as_str(), server.port)).unwrap();
        let back = Instant::now();
        let mut peer = Peer::accept(&listener);
        assert_eq!(peer.read().code, request::REGISTER_BROKER);
        assert!(back.elapsed() < Duration::from_millis(900), "{:?}", back.elapsed());
    }

    /// Goal: a dead and a silent name server do not delay a third one.
    #[test]
    fn a_dead_name_server_delays_nobody() {
        let (dead_listener, dead) = listen();
        drop(dead_listener);
        let (_silent_listener, silent) = listen();
        let (listener, live) = listen();
        let began = Instant::now();
        let (registrar, _tables) = start(&[dead, silent, live]);
        let mut peer = Peer::accept(&listener);
        let asked = peer.read();
        peer.answer(&asked, response::SUCCESS);
        assert!(began.elapsed() < Duration::from_millis(500));
        assert!(!registrar.standing().wait_for_all(Duration::from_millis(50)));
        assert_eq!(registrar.standing().count(), (1, 3));
    }

    #[test]
    fn leaving_unregisters_from_those_who_know_us() {
        let (listener, server) = listen();
        let (registrar, _tables) = start(&[server]);
        let mut peer = Peer::accept(&listener);
        let asked = peer.read();
        peer.answer(&asked, response::SUCCESS);
        assert!(registrar.standing().wait_for_all(Duration::from_secs(5)));
        let leaving = std::thread::spawn(move || registrar.leave());
        let goodbye = peer.read();
        assert_eq!(goodbye.code, request::UNREGISTER_BROKER);
        assert_eq!(goodbye.ext("brokerAddr"), Some("10.0.0.1:10911"));
        assert_eq!(goodbye.ext("brokerId"), Some("0"));
        peer.answer(&goodbye, response::SUCCESS);
        leaving.join().unwrap();
    }

    /// Goal: garbage or a refusal costs that connection or a second, nothing else.
    #[test]
    fn garbage_and_refusals_are_survived() {
        let (listener, server) = listen();
        let (registrar, _tables) = start(&[server]);
        let mut peer = Peer::accept(&listener);
        peer.read();
        peer.0.write_all(&[0xff; 64]).unwrap();
        let mut peer = Peer::accept(&listener);
        let asked = peer.read();
        peer.answer(&asked, response::SYSTEM_ERROR);
        let again = peer.read();
        assert_eq!(registrar.standing().count(), (0, 1));
        peer.answer(&again, response::SUCCESS);
        assert!(registrar.standing().wait_for_all(Duration::from_secs(5)));
    }

    /// Goal: a request of the name server's own is answered, not taken for an answer.
    #[test]
    fn requests_of_a_name_server_are_refused_politely() {
        let (listener, server) = listen();
        let (_registrar, _tables) = start(&[server]);
        let mut peer = Peer::accept(&listener);
        let _asked = peer.read();
        let mut strange = RemotingCommand::request(905);
        strange.opaque = 77;
        peer.0.write_all(&strange.encode(Codec::Json)).unwrap();
        let answer = peer.read();
        assert_eq!((answer.code, answer.opaque), (response::REQUEST_CODE_NOT_SUPPORTED, 77));
    }
}
