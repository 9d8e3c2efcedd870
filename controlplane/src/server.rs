//! Sockets and the clock around the name server's tables.
//!
//! ```text
//! accept -> one task a connection: read -> frames -> look (read lock) | apply (write lock) -> write
//! every scanNotActiveBrokerInterval: tick -> close connections whose brokers went silent
//! effects: files are replaced off the tasks' threads, one at a time; brokers are told over a connection of their own
//! ```
//!
//! Bodies are decoded before the lock is taken, large and compressed ones beside the tasks and few at a time, as each may
//! take 256 MiB; nothing waits while holding the lock. A connection that breaks the
//! framing is closed, alone; one on which nothing moves for serverChannelMaxIdleTimeSeconds too. An idle connection
//! holds no buffer, and what all hold of large requests that are not whole, and of large answers that are not read, is bounded (room.rs).

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use protocol::frame::{self, Found, Frame};
use protocol::{RemotingCommand, WireError};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{sleep, timeout};

use crate::namesrv::liveness::{Channel, Millis};
use crate::namesrv::request::{Refusal, Request};
use crate::namesrv::route::MinIdChange;
use crate::namesrv::{Effects, NameServer, Reply};
use crate::persist;
use crate::room::Room;

use self::inbox::Inbox;
use self::outbox::Outbox;

mod inbox;
mod outbox;
mod share;
#[cfg(test)]
mod tests;

pub struct Server {
    listener: TcpListener,
    shared: Arc<Shared>,
}

struct Shared {
    state: RwLock<NameServer>,
    clock: Instant,
    /// Held while a file is replaced, so that the newest text is the last one written.
    files: tokio::sync::Mutex<()>,
    /// Turns to decode a large body.
    decoding: Arc<Semaphore>,
    /// Reads what a request asks. A field, so that a test can have one that panics.
    decode: fn(&RemotingCommand) -> Result<Request, Refusal>,
    inboxes: Mutex<Room>,
    outboxes: Mutex<Room>,
    /// Dropping a sender closes its connection.
    connections: Mutex<HashMap<Channel, oneshot::Sender<()>>>,
}

impl Server {
    /// Binds the address of the settings. Must be called inside a tokio runtime.
    pub fn bind(make: impl FnOnce(Millis) -> NameServer) -> io::Result<Self> {
        Self::bind_with(make, Request::read)
    }

    fn bind_with(
        make: impl FnOnce(Millis) -> NameServer,
        decode: fn(&RemotingCommand) -> Result<Request, Refusal>,
    ) -> io::Result<Self> {
        let state = make(0);
        let settings = state.settings();
        let socket = if settings.bind.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(settings.bind)?;
        let listener = socket.listen(settings.socket_backlog)?;
        let shared = Shared {
            state: RwLock::new(state),
            clock: Instant::now(),
            files: tokio::sync::Mutex::new(()),
            decoding: Arc::new(Semaphore::new(DECODING_MAX)),
            decode,
            inboxes: Mutex::new(Room::new(BYTES_SUM_MAX)),
            outboxes: Mutex::new(Room::new(BYTES_SUM_MAX)),
            connections: Mutex::new(HashMap::new()),
        };
        Ok(Self { listener, shared: Arc::new(shared) })
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` is ready, then closes every connection.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self { listener, shared } = self;
        tokio::select! {
            () = stop => {}
            () = accept(&listener, &shared) => {}
            () = scan(&shared) => {}
        }
        lock(&shared.connections).clear();
    }
}

async fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut number = 0;
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                log::warn!("cannot accept a connection: {error}");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        number += 1;
        let (place, closed) = Place::take(shared, Channel(number));
        tokio::spawn(async move {
            tokio::select! {
                _ = closed => {}
                result = place.shared.serve(stream, place.channel) => if let Err(error) = result {
                    log::info!("connection {} closed: {error}", place.channel.0);
                }
            }
        });
    }
}

/// The place of a connection in the tables. However its task ends, by a panic too, it leaves them with all that was
/// registered over it.
struct Place {
    shared: Arc<Shared>,
    channel: Channel,
}

impl Place {
    /// Also gives what is ready when the connection is to be closed.
    fn take(shared: &Arc<Shared>, channel: Channel) -> (Self, oneshot::Receiver<()>) {
        let (closer, closed) = oneshot::channel();
        lock(&shared.connections).insert(channel, closer);
        (Self { shared: Arc::clone(shared), channel }, closed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.shared.connections).remove(&self.channel);
        let effects = self.shared.write().close(self.channel);
        self.shared.tell(effects);
    }
}

async fn scan(shared: &Arc<Shared>) {
    loop {
        let interval = shared.read().settings().scan_interval;
        sleep(interval).await;
        let effects = shared.write().tick(shared.now());
        shared.tell(effects);
    }
}

/// Why a connection was closed from this side.
#[derive(Debug, thiserror::Error)]
enum Close {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("nothing moved for too long")]
    Idle,
    #[error("requests that are not whole, or answers that are not read, take too much memory")]
    NoRoom,
}

impl Shared {
    /// One connection, until the peer closes it or it must be closed.
    async fn serve(self: &Arc<Self>, stream: TcpStream, channel: Channel) -> Result<(), Close> {
        stream.set_nodelay(true)?;
        let idle_limit = self.read().settings().idle_limit;
        let mut inbox = Inbox::new(self, channel);
        let mut outbox = Outbox::new(self, channel);
        loop {
            let mut whole = true;
            while whole && !outbox.is_full() {
                let used_len = match frame::find(&inbox.bytes)? {
                    Found::Need { .. } => 0,
                    Found::Whole { frame, bytes_len } => {
                        inbox.got_whole();
                        if let Some(answer) = self.answer(&frame, channel).await? {
                            outbox.put(&answer)?;
                        }
                        bytes_len
                    }
                };
                inbox.answered(used_len);
                whole = used_len > 0;
            }
            if !outbox.is_empty() {
                inbox.count()?; // Nothing of it is being answered while its peer takes its time to read.
                outbox.drain(&stream, idle_limit).await?;
            }
            if whole {
                continue;
            }
            if !inbox.fill(&stream, idle_limit).await? {
                return Ok(());
            }
        }
    }

    async fn answer(
        self: &Arc<Self>,
        frame: &Frame<'_>,
        channel: Channel,
    ) -> Result<Option<Vec<u8>>, WireError> {
        let command = RemotingCommand::from_frame(frame)?;
        if command.is_response() {
            return Ok(None); // Nothing is ever asked over an accepted connection.
        }
        let opaque = command.opaque;
        let oneway = command.is_oneway();
        let reply = match self.read_request(command).await {
            Err(refusal) => refusal.into(),
            Ok(Request::Query(query)) => self.read().look(query, self.now()),
            Ok(Request::Change(change)) => {
                let (reply, effects) = self.write().apply(&change, channel, self.now());
                match self.keep(&effects).await {
                    Ok(()) => {
                        self.tell(effects);
                        reply
                    }
                    Err(sentence) => {
                        log::error!("{sentence}");
                        Reply::error(sentence)
                    }
                }
            }
        };
        Ok((!oneway).then(|| into_command(reply, opaque).encode(frame.codec)))
    }

    /// Decodes beside the tasks what would hold their thread for long: a registration of thousands of topics, and whatever
    /// is compressed, which may be small and become large.
    async fn read_request(&self, command: RemotingCommand) -> Result<Request, Refusal> {
        let is_packed = command.ext("compressed").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        if command.body.len() < BIG_BODY_BYTES && !is_packed {
            return (self.decode)(&command);
        }
        let turn = Arc::clone(&self.decoding).acquire_owned().await.expect("it is never closed");
        let decode = self.decode;
        let decoded = move || {
            let _turn = turn; // Until it is decoded, though its connection be closed meanwhile.
            decode(&command)
        };
        tokio::task::spawn_blocking(decoded).await.expect("decoding does not panic")
    }

    /// Writes the files that are out of date.
    async fn keep(&self, effects: &Effects) -> Result<(), String> {
        if !effects.kv_changed && !effects.config_changed {
            return Ok(());
        }
        let _turn = self.files.lock().await;
        let mut files = Vec::new();
        {
            let state = self.read();
            if effects.kv_changed {
                files.push((state.settings().kv_config_path.clone(), persist::kv_text(state.kv())));
            }
            if effects.config_changed {
                files.push((state.settings().config_store_path.clone(), state.config().to_text()));
            }
        }
        let write = move || {
            files.iter().try_for_each(|(path, text)| {
                persist::replace(path, text).map_err(|error| {
                    format!("changed, but not kept: cannot write {}: {error}", path.display())
                })
            })
        };
        tokio::task::spawn_blocking(write).await.expect("replacing a file does not panic")
    }

    /// Carries out what a change asks of other connections.
    fn tell(&self, effects: Effects) {
        let mut connections = lock(&self.connections);
        for channel in &effects.close {
            connections.remove(channel);
        }
        drop(connections);
        for change in effects.notify {
            for address in change.to.clone() {
                let frame = min_id_frame(&change);
                tokio::spawn(async move {
                    if let Err(error) = send_oneway(&address, &frame).await {
                        log::warn!("cannot tell {address} about its lowest broker id: {error}");
                    }
                });
            }
        }
    }

    fn now(&self) -> Millis {
        Millis::try_from(self.clock.elapsed().as_millis()).expect("half a billion years fit")
    }

    fn read(&self) -> RwLockReadGuard<'_, NameServer> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, NameServer> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn into_command(reply: Reply, opaque: i32) -> RemotingCommand {
    let mut command = RemotingCommand::response(reply.code, opaque).body(reply.body);
    command.remark = reply.remark;
    command.ext_fields = reply.fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    command
}

fn min_id_frame(change: &MinIdChange) -> Vec<u8> {
    let mut command = RemotingCommand::request(protocol::code::request::NOTIFY_MIN_BROKER_ID_CHANGE)
        .oneway()
        .field("minBrokerId", change.min_broker_id)
        .field("brokerName", &change.broker_name)
        .field("minBrokerAddr", &change.min_broker_addr);
    if let Some(address) = &change.offline_broker_addr {
        command = command.field("offlineBrokerAddr", address);
    }
    if let Some(address) = &change.ha_broker_addr {
        command = command.field("haBrokerAddr", address);
    }
    command.encode(protocol::Codec::Json)
}

async fn send_oneway(address: &str, frame: &[u8]) -> io::Result<()> {
    let send = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(frame).await?;
        stream.shutdown().await
    };
    timeout(NOTIFY_LIMIT, send).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// About 300 topics, a millisecond of decoding.
const BIG_BODY_BYTES: usize = 64 << 10;
const DECODING_MAX: usize = 4;
/// Of requests and of answers: 16 of the largest at a time, or some hundred registrations of a thousand topics.
const BYTES_SUM_MAX: usize = 256 << 20;
/// Long enough for file descriptors to come free again, short enough that nobody notices.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const NOTIFY_LIMIT: Duration = Duration::from_secs(3);
