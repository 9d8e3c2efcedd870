//! One name server: connects, registers, and comes back whenever the connection is lost.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::code::{request, response};
use protocol::frame::{self, Codec, Found};
use protocol::{RemotingCommand, WireError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::backoff::Backoff;
use super::standing::Standing;
use super::{Identity, Pace, Tables};
use crate::config::HostPort;

/// One name server.
pub(super) struct Link {
    pub(super) index: usize,
    pub(super) server: HostPort,
    pub(super) identity: Identity,
    pub(super) pace: Pace,
    pub(super) tables: watch::Receiver<Option<Tables>>,
    pub(super) stopped: watch::Receiver<bool>,
    pub(super) standing: Arc<Standing>,
    /// When trouble was last logged, so that a dead server does not fill the log.
    pub(super) complained: Option<Instant>,
    pub(super) backoff: Backoff,
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
    #[error("had not taken all when we stopped")]
    Stopped,
    #[error("did not answer within {0} ms")]
    Silent(u128),
}

/// A connection with what it is waiting for.
struct Session {
    stream: TcpStream,
    received: Vec<u8>,
    last_opaque: i32,
    /// The table that was sent with the registration under way.
    asked_counter: i64,
    /// Its opaque, and when its answer is overdue.
    asked: Option<(i32, Instant)>,
    /// When to register again by the clock.
    due: Instant,
}

impl Link {
    pub(super) async fn keep(mut self) {
        while !self.is_stopped() {
            let lost = match self.connect().await {
                Ok(stream) => {
                    let began = Instant::now();
                    let lost = match self.serve(stream).await {
                        Ok(()) => break,
                        Err(lost) => lost,
                    };
                    if self.standing.is_known_to(self.index) {
                        self.backoff.worked(began.elapsed());
                    }
                    lost
                }
                Err(lost) => lost,
            };
            if self.is_stopped() {
                break;
            }
            self.standing.set(self.index, None);
            self.complain(&lost);
            tokio::select! {
                () = sleep(self.backoff.pause()) => {}
                () = told_to_stop(&mut self.stopped) => {}
            }
        }
        self.standing.set(self.index, None);
    }

    /// Told to stop, or forgotten by whoever could tell us.
    fn is_stopped(&self) -> bool {
        *self.stopped.borrow() || self.stopped.has_changed().is_err()
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
            () = told_to_stop(&mut self.stopped) => Err(Lost::Stopped),
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
        let mut stopped = self.stopped.clone();
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
                    unless_stopped(&mut stopped, self.take_frames(&mut session)).await?;
                }
                changed = self.tables.changed(), if may_ask => match changed {
                    Ok(()) => unless_stopped(&mut stopped, self.register(&mut session)).await?,
                    // Nobody will send tables any more: we are being stopped.
                    Err(_) => told_to_stop(&mut self.stopped).await,
                },
                () = sleep_until(wake_at) => {
                    if session.asked.is_some() {
                        return Err(Lost::Silent(self.pace.answer_wait_max.as_millis()));
                    }
                    unless_stopped(&mut stopped, self.register(&mut session)).await?;
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
        if !self.standing.is_known_to(self.index) {
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

/// What a peer that does not read could hold up; a connection left in the middle of a frame is of no use for a goodbye.
async fn unless_stopped(
    stopped: &mut watch::Receiver<bool>,
    work: impl Future<Output = Result<(), Lost>>,
) -> Result<(), Lost> {
    tokio::select! {
        biased;
        done = work => done,
        () = told_to_stop(stopped) => Err(Lost::Stopped),
    }
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

/// A name server that takes longer than this to accept is tried again with a fresh SYN.
const CONNECT_WAIT_MAX: Duration = Duration::from_millis(1_000);
const GOODBYE_WAIT_MAX: Duration = Duration::from_millis(1_000);
/// After a registration was refused by code.
const REFUSED_PAUSE: Duration = Duration::from_millis(1_000);
const COMPLAINT_PERIOD: Duration = Duration::from_secs(60);
