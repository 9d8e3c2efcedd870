//! The shell around the core: kernel sockets, the clock, and the tasks that wait.
//!
//! ```text
//!   API call ──► with / ask ──┐                         ┌──► Connect: a task per connection
//!   bytes in ──► received ────┼──► core, under one lock ─┼──► Write: the connection's queue ──► its writer
//!   timer    ──► tick ────────┘                         ├──► Answer: the waiting call
//!                                                       └──► Consume, Check: a task that calls the listener
//! ```
//!
//! The lock is held for a step of the core and for handing out what it decided, never across a wait.

use crate::core::{Action, Addr, Answer, Check, Consumed, Instance, LinkId, Settings, TaskId, Time, Token};
use crate::core::{TransactionState, offsets::Offsets};
use crate::error::ClientError;
use crate::message::{MessageExt, MessageQueue};
use bytes::{Buf, BytesMut};
use protocol::RemotingCommand;
use protocol::code::response;
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::{AbortHandle, JoinHandle};

/// Calls a listener with messages.
pub(crate) type Listener =
    Arc<dyn Fn(Vec<Arc<MessageExt>>) -> Pin<Box<dyn Future<Output = Consumed> + Send>> + Send + Sync>;

/// Asks a transaction listener; runs where it may block.
pub(crate) type Checker = Arc<dyn Fn(&MessageExt) -> TransactionState + Send + Sync>;

/// An operation under way.
pub(crate) struct Pending(Result<oneshot::Receiver<Result<Answer, ClientError>>, ClientError>);

impl Pending {
    pub async fn end(self) -> Result<Answer, ClientError> {
        self.0?.await.unwrap_or(Err(ClientError::ShutDown))
    }

    /// The end of a question about a route.
    pub async fn queues(self) -> Result<Vec<MessageQueue>, ClientError> {
        match self.end().await? {
            Answer::Queues(queues) => Ok(queues),
            other => unreachable!("a route ends with queues, not with {other:?}"),
        }
    }

    /// The end of a call: the answer, whatever its code.
    pub async fn reply(self) -> Result<RemotingCommand, ClientError> {
        match self.end().await? {
            Answer::Reply(answer) => Ok(answer),
            other => unreachable!("a call ends with its answer, not with {other:?}"),
        }
    }

    /// The end of a call that must be a yes.
    pub async fn success(self) -> Result<RemotingCommand, ClientError> {
        let answer = self.reply().await?;
        match answer.code {
            response::SUCCESS => Ok(answer),
            code => Err(ClientError::Refused { code, remark: answer.remark }),
        }
    }
}

/// What a caller waited for before it began an operation; free again when the operation has ended.
pub(crate) type Room = [OwnedSemaphorePermit; 2];

/// Who is told the end of an operation.
struct Waits {
    told: oneshot::Sender<Result<Answer, ClientError>>,
    _room: Option<Room>,
}

/// One running client instance.
pub(crate) struct Shell {
    inner: Mutex<Inner>,
    timer_moved: Notify,
    runtime: Handle,
    started: Instant,
    offset_dir: PathBuf,
    saved: Notify,
}

struct Inner {
    core: Instance,
    links: HashMap<LinkId, Wire>,
    waiting: HashMap<Token, Waits>,
    token_last: Token,
    listeners: HashMap<Arc<str>, Listener>,
    checkers: HashMap<String, Checker>,
    /// Writers that still have something to bring out after their link was closed.
    closing: Vec<JoinHandle<()>>,
    timer: Option<AbortHandle>,
    timer_at: Option<Duration>,
    /// The newest offsets of each broadcasting group that are not in its file, and whether a task is writing such.
    unsaved: BTreeMap<Arc<str>, String>,
    is_saving: bool,
}

/// The shell's side of a connection.
struct Wire {
    out: mpsc::UnboundedSender<Vec<u8>>,
    link_task: AbortHandle,
    writer: Option<JoinHandle<()>>,
}

impl Shell {
    pub fn start(settings: Settings) -> Arc<Shell> {
        let offset_dir = offset_dir(&settings.client_id);
        Shell::start_in(offset_dir, settings)
    }

    fn start_in(offset_dir: PathBuf, settings: Settings) -> Arc<Shell> {
        let inner = Inner {
            core: Instance::new(settings),
            links: HashMap::new(),
            waiting: HashMap::new(),
            token_last: 0,
            listeners: HashMap::new(),
            checkers: HashMap::new(),
            closing: Vec::new(),
            timer: None,
            timer_at: None,
            unsaved: BTreeMap::new(),
            is_saving: false,
        };
        let shell = Arc::new(Shell {
            inner: Mutex::new(inner),
            timer_moved: Notify::new(),
            runtime: Handle::current(),
            started: Instant::now(),
            offset_dir,
            saved: Notify::new(),
        });
        let timer = shell.runtime.spawn(shell.clone().run_timer()).abort_handle();
        shell.lock().timer = Some(timer);
        shell
    }

    /// One step of the core, and all that follows from it.
    pub fn with<R>(self: &Arc<Shell>, step: impl FnOnce(&mut Instance, Time) -> R) -> R {
        let mut inner = self.lock();
        let result = step(&mut inner.core, self.now());
        self.carry_out(&mut inner);
        result
    }

    /// Begins an operation of the core. It is under way from here on, whether anybody waits for its end or not.
    pub fn ask(
        self: &Arc<Shell>,
        step: impl FnOnce(&mut Instance, Token, Time) -> Result<(), ClientError>,
    ) -> Pending {
        self.ask_in(None, step)
    }

    /// The same for an operation that takes up room until it ends.
    pub fn ask_in(
        self: &Arc<Shell>,
        room: Option<Room>,
        step: impl FnOnce(&mut Instance, Token, Time) -> Result<(), ClientError>,
    ) -> Pending {
        let (told, hears) = oneshot::channel();
        let mut inner = self.lock();
        inner.token_last += 1;
        let token = inner.token_last;
        inner.waiting.insert(token, Waits { told, _room: room });
        let begun = step(&mut inner.core, token, self.now());
        if begun.is_err() {
            inner.waiting.remove(&token);
        }
        self.carry_out(&mut inner);
        Pending(begun.map(|()| hears))
    }

    /// A step that starts a group; if it does, the group has its listener before the first message.
    pub fn start_group(
        self: &Arc<Shell>,
        group: &str,
        listener: Listener,
        step: impl FnOnce(&mut Instance, Time) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        let mut inner = self.lock();
        step(&mut inner.core, self.now())?;
        inner.listeners.insert(Arc::from(group), listener);
        self.carry_out(&mut inner);
        Ok(())
    }

    pub fn set_checker(&self, group: &str, checker: Checker) {
        self.lock().checkers.insert(group.to_owned(), checker);
    }

    /// Waits until the offsets of broadcasting groups are in their files, for as long as a disk may take.
    pub async fn saved(&self) {
        let all = async {
            loop {
                let saved = self.saved.notified();
                if !self.lock().is_saving {
                    return;
                }
                saved.await;
            }
        };
        if tokio::time::timeout(SAVE_WAIT, all).await.is_err() {
            log::error!(
                "the offsets in {} could not be kept within {SAVE_WAIT:?}",
                self.offset_dir.display()
            );
        }
    }

    /// Ends everything; waits a moment for what was said or written last to get out.
    pub async fn close(self: &Arc<Shell>) {
        self.saved().await;
        let since = Instant::now();
        while self.lock().core.has_words_waiting() && since.elapsed() < CLOSE_WAIT {
            tokio::time::sleep(CLOSE_POLL).await; // Offsets, say, for a broker whose connection is being made again.
        }
        let closing = {
            let mut inner = self.lock();
            inner.core.close(self.now());
            self.carry_out(&mut inner);
            inner.waiting.clear();
            inner.listeners.clear();
            inner.checkers.clear();
            if let Some(timer) = inner.timer.take() {
                timer.abort();
            }
            std::mem::take(&mut inner.closing)
        };
        let all = async {
            for writer in closing {
                // A writer that panicked has nothing more to bring out.
                let _ = writer.await;
            }
        };
        if tokio::time::timeout(CLOSE_WAIT, all).await.is_err() {
            log::warn!("some connections did not take what was written last");
        }
    }

    /// The offsets a broadcasting group kept from its last life.
    pub fn kept_offsets(&self, group: &str) -> Result<Offsets, ClientError> {
        let path = self.offset_dir.join(group).join("offsets.json");
        for path in [path.clone(), path.with_extension("json.bak")] {
            match std::fs::read(&path) {
                Ok(text) => match crate::offset_file::read(&text) {
                    Ok(offsets) => return Ok(offsets),
                    Err(reason) => log::warn!("{} does not read: {reason}", path.display()),
                },
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let what = format!("the offsets in {}", path.display());
                    return Err(ClientError::Io { what, reason: error.to_string() });
                }
            }
        }
        Ok(Offsets::default())
    }

    pub fn runtime(&self) -> Handle {
        self.runtime.clone()
    }

    fn now(&self) -> Time {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Time { mono: self.started.elapsed(), wall_ms: wall.as_millis() as i64 }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no step of the core panics")
    }

    fn carry_out(self: &Arc<Shell>, inner: &mut Inner) {
        while let Some(action) = inner.core.next_action() {
            match action {
                Action::Connect { link, addr } => {
                    let (out, frames) = mpsc::unbounded_channel();
                    let task = self.runtime.spawn(self.clone().run_link(link, addr, frames));
                    inner.links.insert(link, Wire { out, link_task: task.abort_handle(), writer: None });
                }
                Action::Write { link, bytes } => {
                    if let Some(wire) = inner.links.get(&link) {
                        // A writer that is gone has said so, or is about to: the core hears of it.
                        let _ = wire.out.send(bytes);
                    }
                }
                Action::Close { link } => self.close_wire(inner, link),
                Action::Answer { token, answer } => {
                    if let Some(waits) = inner.waiting.remove(&token) {
                        // Whoever asked may have lost interest.
                        let _ = waits.told.send(answer);
                    }
                }
                Action::Consume { group, task, messages } => match inner.listeners.get(&group) {
                    Some(listener) => {
                        let listener = listener.clone();
                        self.runtime.spawn(self.clone().consume(listener, group, task, messages));
                    }
                    None => log::error!("group {group} has no listener"),
                },
                Action::Check(check) => match inner.checkers.get(&*check.group) {
                    Some(checker) => {
                        let checker = checker.clone();
                        self.runtime.spawn(self.clone().check(checker, check));
                    }
                    None => {
                        log::warn!("group {} is asked about a transaction but has no listener", check.group);
                        inner.core.check_dropped();
                    }
                },
                Action::SaveOffsets { group, json } => {
                    inner.unsaved.insert(group, json);
                    if !inner.is_saving {
                        inner.is_saving = true;
                        self.runtime.spawn(self.clone().run_saver());
                    }
                }
            }
        }
        let deadline = inner.core.next_deadline();
        let is_sooner = deadline.is_some_and(|at| inner.timer_at.is_none_or(|planned| at < planned));
        if is_sooner {
            inner.timer_at = deadline;
            self.timer_moved.notify_one();
        }
    }

    /// For a moment the writer brings out what it has, and the reader goes on, so that the peer's last words do not reset the
    /// connection under ours. A peer that stands still would hold both, and what is to be written, for ever.
    fn close_wire(self: &Arc<Shell>, inner: &mut Inner, link: LinkId) {
        let Some(Wire { out, link_task, writer }) = inner.links.remove(&link) else {
            return;
        };
        drop(out);
        match writer {
            Some(writer) => {
                let writing = writer.abort_handle();
                inner.closing.retain(|writer| !writer.is_finished());
                inner.closing.push(writer);
                self.runtime.spawn(async move {
                    tokio::time::sleep(CLOSE_WAIT).await;
                    link_task.abort();
                    writing.abort();
                });
            }
            None => link_task.abort(), // Still connecting.
        }
    }

    async fn run_timer(self: Arc<Shell>) {
        loop {
            let at = {
                let mut inner = self.lock();
                inner.timer_at = inner.core.next_deadline();
                inner.timer_at
            };
            match at {
                Some(at) => {
                    tokio::select! {
                        () = tokio::time::sleep_until((self.started + at).into()) => {}
                        () = self.timer_moved.notified() => {}
                    }
                }
                None => self.timer_moved.notified().await,
            }
            self.with(|core, now| core.tick(now));
        }
    }

    /// Makes a connection and reads it to its end.
    async fn run_link(self: Arc<Shell>, link: LinkId, addr: Addr, frames: mpsc::UnboundedReceiver<Vec<u8>>) {
        let connected = async {
            let stream = TcpStream::connect(&*addr).await?;
            stream.set_nodelay(true)?;
            Ok::<TcpStream, io::Error>(stream)
        };
        let (mut reader, writer) = match connected.await {
            Ok(stream) => stream.into_split(),
            Err(error) => return self.down(link, &error.to_string()),
        };
        let writer = self.runtime.spawn(self.clone().run_writer(link, writer, frames));
        {
            let mut inner = self.lock();
            match inner.links.get_mut(&link) {
                Some(wire) => wire.writer = Some(writer),
                None => return writer.abort(), // Given up meanwhile.
            }
            let now = self.now();
            inner.core.link_up(link, now);
            self.carry_out(&mut inner);
        }
        let mut bytes = BytesMut::with_capacity(READ_BYTES);
        let reason = loop {
            bytes.reserve(READ_BYTES);
            match reader.read_buf(&mut bytes).await {
                Ok(0) => break "the peer closed it".to_owned(),
                Ok(_) => {}
                Err(error) => break error.to_string(),
            }
            let taken = self.with(|core, now| core.received(link, &bytes, now));
            bytes.advance(taken);
            if !self.lock().links.contains_key(&link) {
                bytes.clear(); // Closed on our side: what still comes is for nobody.
            }
        };
        self.down(link, &reason);
    }

    async fn run_writer(
        self: Arc<Shell>,
        link: LinkId,
        mut writer: OwnedWriteHalf,
        mut frames: mpsc::UnboundedReceiver<Vec<u8>>,
    ) {
        while let Some(mut batch) = frames.recv().await {
            // What has piled up meanwhile goes with it, in one call of the kernel.
            while batch.len() < WRITE_BYTES
                && let Ok(next) = frames.try_recv()
            {
                batch.extend_from_slice(&next);
            }
            if let Err(error) = writer.write_all(&batch).await {
                return self.down(link, &error.to_string());
            }
            self.with(|core, _| core.written(link, batch.len()));
        }
        // The other side may have gone first; then there is nothing to end.
        let _ = writer.shutdown().await;
    }

    /// Writes what is unsaved, one file after another, so that the newest offsets are the last ones written.
    async fn run_saver(self: Arc<Shell>) {
        loop {
            let (group, json) = {
                let mut inner = self.lock();
                match inner.unsaved.pop_first() {
                    Some(unsaved) => unsaved,
                    None => {
                        inner.is_saving = false;
                        self.saved.notify_waiters();
                        return;
                    }
                }
            };
            let dir = self.offset_dir.join(&*group);
            let place = dir.display().to_string();
            let saved = tokio::task::spawn_blocking(move || save_offsets(&dir, &json)).await;
            if let Err(error) = saved.unwrap_or_else(|error| Err(io::Error::other(error))) {
                log::error!("the offsets of {group} could not be kept in {place}: {error}");
            }
        }
    }

    fn down(self: &Arc<Shell>, link: LinkId, reason: &str) {
        let mut inner = self.lock();
        if let Some(writer) = inner.links.remove(&link).and_then(|wire| wire.writer) {
            writer.abort(); // The peer has gone: there is nobody to bring it out to.
        }
        let now = self.now();
        inner.core.link_down(link, reason, now);
        self.carry_out(&mut inner);
    }

    async fn consume(
        self: Arc<Shell>,
        listener: Listener,
        group: Arc<str>,
        task: TaskId,
        messages: Vec<Arc<MessageExt>>,
    ) {
        // A task of its own, so that a listener that panics takes nobody with it.
        let result = match self.runtime.spawn(async move { listener(messages).await }).await {
            Ok(result) => result,
            Err(error) => {
                log::error!("the listener of {group} panicked: {error}");
                Consumed::Panicked
            }
        };
        self.with(|core, now| core.consumed(&group, task, result, now));
    }

    async fn check(self: Arc<Shell>, checker: Checker, check: Box<Check>) {
        let asked = check.clone();
        let state = tokio::task::spawn_blocking(move || checker(&asked.message)).await;
        let state = state.unwrap_or(TransactionState::Unknown);
        self.with(|core, now| core.checked(&check, state, now));
    }
}

/// The address this machine talks to name servers from. No packet is sent: the kernel is asked which it would use.
pub(crate) fn local_ip(name_servers: &[String]) -> IpAddr {
    let from = |to: &str| -> io::Result<IpAddr> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(to)?;
        Ok(socket.local_addr()?.ip())
    };
    let found = name_servers
        .iter()
        .map(String::as_str)
        .chain([ELSEWHERE])
        .find_map(|to| from(to).ok().filter(|ip| !ip.is_loopback() && !ip.is_unspecified()));
    found.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// Nanoseconds since 1970: what makes the name of an instance unlike any other, and the seed of its choices.
pub(crate) fn wall_nanos() -> u128 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos()
}

fn offset_dir(client_id: &str) -> PathBuf {
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
    home.join(".rocketmq_offsets").join(client_id)
}

/// Written beside and renamed, with the one before kept: a crash leaves one of them whole.
fn save_offsets(dir: &std::path::Path, json: &str) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let path = dir.join("offsets.json");
    let fresh = path.with_extension("json.tmp");
    std::fs::write(&fresh, json)?;
    if path.exists() {
        std::fs::rename(&path, path.with_extension("json.bak"))?;
    }
    std::fs::rename(&fresh, &path)
}

const READ_BYTES: usize = 64 * 1024;
const WRITE_BYTES: usize = 256 * 1024;
const CLOSE_WAIT: Duration = Duration::from_secs(1);
const CLOSE_POLL: Duration = Duration::from_millis(2);
const SAVE_WAIT: Duration = Duration::from_secs(10);
/// An address nobody has (TEST-NET-1): the way there is the default route.
const ELSEWHERE: &str = "192.0.2.1:9";

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    fn settings(write_bytes_max: usize) -> Settings {
        let config = crate::config::ClientConfig::new("127.0.0.1:1");
        Settings {
            config: crate::config::ClientConfig { write_bytes_max, ..config },
            client_id: "here@1".to_owned(),
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            pid: 1,
            seed: 1,
        }
    }

    fn shell(write_bytes_max: usize) -> Arc<Shell> {
        Shell::start(settings(write_bytes_max))
    }

    /// Goal: what was told on the way out gets there, also when the connection was still to be made.
    #[tokio::test]
    async fn the_last_words_get_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr: Addr = listener.local_addr().unwrap().to_string().into();
        let shell = shell(1 << 20);
        let _pending = shell.ask(|core, token, now| {
            let command = RemotingCommand::request(15).oneway().field("commitOffset", 7);
            core.call(token, &addr, command, Duration::from_secs(3), now);
            Ok(())
        });
        shell.close().await;
        let came = tokio::time::timeout(Duration::from_secs(5), listener.accept()).await;
        let (mut peer, _) = came.expect("a connection was made").unwrap();
        let mut got = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(5), peer.read_to_end(&mut got)).await;
        read.expect("the connection has an end").unwrap();
        assert!(String::from_utf8_lossy(&got).contains("commitOffset"), "{} bytes came", got.len());
    }

    /// Goal: the offsets that a broadcasting group had last are the ones in its file, once we are closed. Method: a thousand
    /// versions of three groups, as fast as can be, then the end at once.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_newest_offsets_are_kept() {
        let dir = std::env::temp_dir().join(format!("ab-offsets-{}", std::process::id()));
        let settings = settings(1 << 20);
        let shell = Shell::start_in(dir.clone(), settings);
        for number in 1..=1000 {
            for group in ["a", "b", "c"] {
                let queue = crate::message::MessageQueue::new("T", "x", 0);
                let json = crate::offset_file::write(&[(queue, number)].into_iter().collect());
                shell.with(|core, _| core.save(group, json));
            }
        }
        shell.close().await;
        for group in ["a", "b", "c"] {
            let kept: Vec<i64> =
                shell.kept_offsets(group).unwrap().iter().map(|(_, offset)| offset).collect();
            assert_eq!(kept, [1000], "{group}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }

    /// Goal: what waits for a peer that does not read is bounded, and the bound is gone once it reads. Method: one-way requests
    /// of 1 MiB until one is refused; then the peer reads all that was taken, and another one.
    #[tokio::test]
    async fn what_waits_for_a_peer_is_bounded() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr: Addr = listener.local_addr().unwrap().to_string().into();
        let shell = shell(4 << 20);
        let tell = || {
            shell.ask(|core, token, now| {
                let command = RemotingCommand::request(10).oneway().body(vec![7; 1 << 20]);
                core.call(token, &addr, command, Duration::from_secs(60), now);
                Ok(())
            })
        };
        let first = tell();
        let (mut peer, _) = listener.accept().await.unwrap();
        first.reply().await.unwrap();
        let mut taken = 1;
        let refusal = loop {
            match tell().reply().await {
                Ok(_) => taken += 1,
                Err(error) => break error,
            }
            assert!(taken < 64, "the kernel has room for some of it, not for all");
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        assert!(matches!(refusal, ClientError::TooFast { max, .. } if max == 4 << 20), "{refusal}");
        let mut rest = vec![0; taken << 20];
        peer.read_exact(&mut rest).await.unwrap();
        let again = tokio::time::timeout(Duration::from_secs(20), async {
            while tell().reply().await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        again.await.expect("there is room again");
    }

    /// Goal: a broker that stands still does not keep a connection, its thread of writing and what was to be written for ever,
    /// once the connection was given up. Method: 64 MiB to a peer that reads nothing until we have closed: it gets a part of
    /// it and then the end.
    #[tokio::test]
    async fn a_peer_that_does_not_read_keeps_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr: Addr = listener.local_addr().unwrap().to_string().into();
        let shell = shell(128 << 20);
        for _ in 0..8 {
            let command = RemotingCommand::request(10).body(vec![7; 8 << 20]);
            let _pending = shell.ask(|core, token, now| {
                core.call(token, &addr, command, Duration::from_secs(60), now);
                Ok(())
            });
        }
        let (mut peer, _) = listener.accept().await.unwrap();
        peer.read_exact(&mut [0; 1024]).await.unwrap();
        shell.close().await;
        tokio::time::sleep(CLOSE_WAIT).await;
        let (mut got, mut bytes) = (0, vec![0; 1 << 20]);
        while let Ok(len @ 1..) = peer.read(&mut bytes).await {
            got += len;
        }
        assert!(got < 60 << 20, "{got} bytes came after the end");
    }
}
