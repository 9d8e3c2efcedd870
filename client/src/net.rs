//! The shell around the core: kernel sockets, the clock, and the tasks that wait.
//!
//! ```text
//!   API call ──► with / ask ──┐                         ┌──► Connect: a task per connection
//!   bytes in ──► received ────┼──► core, under one lock ─┼──► Write: the connection's queue ──► its writer
//!   timer    ──► tick ────────┘                         ├──► Answer: the waiting call
//!                                                       ├──► Consume, Check: a task that calls the listener
//!                                                       └──► Unpack: a thread that may take its time
//! ```
//!
//! The lock is held for a step of the core and for handing out what it decided, never across a wait.

mod kept;
#[cfg(test)]
mod tests;
mod wire;

use self::wire::Wire;
use crate::core::{
    Action, Answer, Check, Consumed, Instance, LinkId, Packed, Settings, TaskId, Time, Token,
    TransactionState,
};
use crate::error::ClientError;
use crate::message::{MessageExt, MessageQueue};
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
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot};
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

impl Shell {
    pub fn start(settings: Settings) -> Arc<Shell> {
        let offset_dir = kept::offset_dir(&settings.client_id);
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
                Action::Connect { link, addr } => self.open_wire(inner, link, addr),
                Action::Write { link, bytes } => {
                    if let Some(wire) = inner.links.get(&link) {
                        wire.write(bytes);
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
                Action::Unpack(packed) => {
                    self.runtime.spawn(self.clone().unpack(packed));
                }
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

    async fn unpack(self: Arc<Shell>, packed: Packed) {
        let unpacked = tokio::task::spawn_blocking(move || packed.unpack()).await;
        if let Err(error) = &unpacked {
            log::error!("what a broker sent could not be unpacked: {error}");
        }
        self.with(|core, now| core.unpacked(unpacked.ok(), now));
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

const CLOSE_WAIT: Duration = Duration::from_secs(1);
const CLOSE_POLL: Duration = Duration::from_millis(2);
/// An address nobody has (TEST-NET-1): the way there is the default route.
const ELSEWHERE: &str = "192.0.2.1:9";
