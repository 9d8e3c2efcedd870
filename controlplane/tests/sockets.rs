//! The name server over real sockets: framing, closing, one-way calls, files, and the program itself.
#![allow(clippy::unwrap_used)] // In a test, the place where it stops says enough.

mod world;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use controlplane::config::Config;
use controlplane::namesrv::NameServer;
use controlplane::persist;
use controlplane::server::Server;
use protocol::code::request;
use protocol::frame::{self, Found};
use protocol::{Codec, RemotingCommand};
use tokio::sync::oneshot;
use world::{Broker, ask};

/// A server in a thread of its own; it stops when this is dropped.
struct Running {
    address: SocketAddr,
    folder: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    fn start(name: &str, settings: &[&str]) -> Self {
        let folder = std::env::temp_dir().join(format!("controlplane-{name}-{}", std::process::id()));
        let mut config = Config::new(folder.to_str().unwrap(), None);
        config.read_argument("bindAddress=127.0.0.1").unwrap();
        config.read_argument("listenPort=0").unwrap();
        settings.iter().for_each(|setting| config.read_argument(setting).unwrap());
        let kv = persist::load_kv(&config.settings().kv_config_path).unwrap();
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let server = Server::bind(|now| NameServer::new(config, kv, now)).unwrap();
                tell.send(server.local_addr().unwrap()).unwrap();
                server.run(async { drop(stopped.await) }).await;
            });
        });
        Self { address: told.recv().unwrap(), folder, stop: Some(stop), thread: Some(thread) }
    }

    fn connect(&self) -> Connection {
        Connection::open(self.address)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

struct Connection {
    stream: TcpStream,
    inbox: Vec<u8>,
    codec: Codec,
}

impl Connection {
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self { stream, inbox: Vec::new(), codec: Codec::Json }
    }

    fn send(&mut self, command: &RemotingCommand) {
        self.stream.write_all(&command.encode(self.codec)).unwrap();
    }

    fn receive(&mut self) -> RemotingCommand {
        loop {
            if let Found::Whole { frame, bytes_len } = frame::find(&self.inbox).unwrap() {
                assert_eq!(frame.codec, self.codec, "an answer comes in the codec of its request");
                let command = RemotingCommand::from_frame(&frame).unwrap();
                self.inbox.drain(..bytes_len);
                return command;
            }
            let mut chunk = [0; 4096];
            let len = self.stream.read(&mut chunk).unwrap();
            assert!(len > 0, "the server closed the connection");
            self.inbox.extend_from_slice(&chunk[..len]);
        }
    }

    fn call(&mut self, command: &RemotingCommand) -> RemotingCommand {
        self.send(command);
        self.receive()
    }

    /// Waits until the other side has closed.
    fn is_closed(&mut self) -> bool {
        let mut chunk = [0; 64];
        match self.stream.read(&mut chunk) {
            Ok(len) => len == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    /// Whether all of an answer so large comes before the other side closes.
    fn reads_all(&mut self, bytes_len: usize) -> bool {
        self.stream.read_exact(&mut vec![0; bytes_len]).is_ok()
    }

    fn has_route(&mut self, topic: &str) -> bool {
        self.call(&ask(request::GET_ROUTEINFO_BY_TOPIC, &[("topic", topic)])).code == 0
    }
}

/// Goal: bytes that are no frame cost their own connection only. Method: garbage, a frame too big, a header too long,
/// a header that is no JSON, while another connection goes on.
#[test]
fn bad_bytes_close_their_own_connection() {
    let server = Running::start("garbage", &[]);
    let mut good = server.connect();
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0],
        &[0, 0, 0, 8, 0, 0, 1, 0, 0, 0, 0, 0],
        &[0, 0, 0, 8, 0, 0, 0, 4, b'n', b'o', b'p', b'e'],
    ] {
        let mut bad = server.connect();
        bad.stream.write_all(bytes).unwrap();
        assert!(bad.is_closed(), "{bytes:?}");
        assert_eq!(good.call(&ask(request::GET_BROKER_CLUSTER_INFO, &[])).code, 0);
    }
}

/// Goal: frames may come in any pieces and any number. Method: three requests a byte at a time, then 2,000 at once.
#[test]
fn frames_come_in_any_pieces() {
    let server = Running::start("pieces", &[]);
    let mut connection = server.connect();
    connection.stream.set_nodelay(true).unwrap();
    let numbered = |opaque: i32| {
        let mut command = ask(request::GET_ROUTEINFO_BY_TOPIC, &[("topic", "T")]);
        command.opaque = opaque;
        command.encode(Codec::Json)
    };
    for byte in (1..=3).flat_map(numbered) {
        connection.stream.write_all(&[byte]).unwrap();
    }
    (1..=3).for_each(|opaque| assert_eq!(connection.receive().opaque, opaque));
    let many: Vec<u8> = (0..2_000).flat_map(numbered).collect();
    connection.stream.write_all(&many).unwrap();
    (0..2_000).for_each(|opaque| assert_eq!(connection.receive().opaque, opaque));
}

#[test]
fn both_codecs_are_spoken_and_one_way_calls_are_not_answered() {
    let server = Running::start("codecs", &[]);
    for codec in [Codec::Json, Codec::Binary] {
        let mut connection = Connection { codec, ..server.connect() };
        connection.send(&ask(request::GET_ROUTEINFO_BY_TOPIC, &[("topic", "T")]).oneway());
        connection.send(&ask(77_777, &[]).oneway());
        let mut put = ask(request::PUT_KV_CONFIG, &[("namespace", "N"), ("key", "k"), ("value", "\u{1}v")]);
        put.opaque = 7;
        let answer = connection.call(&put);
        assert_eq!((answer.opaque, answer.code, answer.is_response()), (7, 0, true));
        let answer = connection.call(&ask(request::GET_KV_CONFIG, &[("namespace", "N"), ("key", "k")]));
        assert_eq!(answer.ext("value"), Some("\u{1}v"));
    }
}

/// Goal: a broker whose connection closes is out of the routes at once, and back as soon as it registers again.
#[test]
fn a_closed_connection_takes_its_broker() {
    let server = Running::start("closed", &[]);
    let mut client = server.connect();
    for _ in 0..3 {
        let mut broker = server.connect();
        assert_eq!(broker.call(&Broker::default().registration()).code, 0);
        assert!(client.has_route("A"));
        drop(broker);
        let since = Instant::now();
        while client.has_route("A") {
            assert!(since.elapsed() < Duration::from_secs(1));
        }
    }
}

/// Goal: a small registration that unpacks to very much holds up nobody else. Method: a dozen of 20
/// MiB to a server with one thread, and a question behind them, which is answered before they are.
#[test]
fn compressed_bodies_hold_up_nobody() {
    let server = Running::start("packed", &[]);
    let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..128 {
        packer.write_all(&[0; 1 << 20]).unwrap();
    }
    let fields = [
        ("clusterName", "C"),
        ("brokerName", "b"),
        ("brokerAddr", "1.2.3.4:5"),
        ("brokerId", "0"),
        ("compressed", "true"),
    ];
    let mut registration = ask(request::REGISTER_BROKER, &fields);
    registration.version = 500;
    // Cut to a size that is otherwise decoded at once; what is missing is noticed at the end.
    let packed = packer.finish().unwrap();
    registration.body = packed[..packed.len().min(20 << 10)].to_vec().into();
    let mut strangers: Vec<Connection> = (0..12).map(|_| server.connect()).collect();
    strangers.iter_mut().for_each(|stranger| stranger.send(&registration));
    let mut friend = server.connect();
    friend.send(&ask(request::GET_BROKER_CLUSTER_INFO, &[]));
    assert_eq!(friend.receive().code, 0);
    let last = strangers.last_mut().unwrap();
    last.stream.set_nonblocking(true).unwrap();
    assert_eq!(
        last.stream.read(&mut [0]).unwrap_err().kind(),
        ErrorKind::WouldBlock,
        "it waits for its turn"
    );
    last.stream.set_nonblocking(false).unwrap();
    for stranger in &mut strangers {
        stranger.stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        assert_eq!(stranger.receive().code, 1);
    }
}

/// N-22. Goal: requests that never become whole do not take all memory, and keep nobody else out. Method: 20 strangers send
/// 15 MiB of a request each and stop; those that stood still for longest are closed, and a large registration gets through.
#[test]
fn unfinished_requests_are_bounded() {
    let server = Running::start("unfinished", &[]);
    let mut start = vec![0; 15 << 20];
    start[..8].copy_from_slice(&[0, 0xff, 0xff, 0xf0, 0, 0, 0, 2]);
    let mut strangers: Vec<Connection> = (0..20)
        .map(|_| {
            let mut stranger = server.connect();
            stranger.stream.write_all(&start).unwrap();
            stranger
        })
        .collect();
    for (number, stranger) in strangers[..3].iter_mut().enumerate() {
        assert!(stranger.is_closed(), "stranger {number}");
    }
    let mut friend = server.connect();
    let registration = Broker::default().registration();
    let padding = " ".repeat(1 << 20);
    let text = format!("{}{padding}", String::from_utf8_lossy(&registration.body));
    assert_eq!(friend.call(&RemotingCommand { body: text.into(), ..registration }).code, 0);
    let last = strangers.last_mut().unwrap();
    last.stream.set_nonblocking(true).unwrap();
    assert_eq!(last.stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock, "there is room for it");
}

/// N-23. Goal: answers that nobody reads do not take all memory, and keep nobody else out. Method: 40 strangers ask for 7 MiB
/// each and do not read it; those that stood still for longest are closed amid it, the others and a friend get all of it.
#[test]
fn unread_answers_are_bounded() {
    let server = Running::start("unread", &[]);
    let value = "v".repeat(7 << 20);
    let mut friend = server.connect();
    let put = ask(request::PUT_KV_CONFIG, &[("namespace", "N"), ("key", "k")]).field("value", &value);
    assert_eq!(friend.call(&put).code, 0);
    let question = ask(request::GET_KV_CONFIG, &[("namespace", "N"), ("key", "k")]);
    let mut strangers: Vec<Connection> = (0..40)
        .map(|_| {
            let mut stranger = server.connect();
            stranger.send(&question);
            assert_eq!(stranger.stream.peek(&mut [0]).unwrap(), 1);
            stranger
        })
        .collect();
    assert_eq!(friend.call(&question).ext("value"), Some(&*value));
    let whole: Vec<bool> = strangers.iter_mut().map(|stranger| stranger.reads_all(value.len())).collect();
    let cut = whole.iter().filter(|whole| !**whole).count();
    assert!((4..=6).contains(&cut), "as many are closed as must be: {whole:?}");
    assert!(!whole[0] && whole[39], "{whole:?}");
    assert_eq!(friend.call(&question).code, 0);
}

/// Goal: a connection on which nothing moves is closed; one on which something moves is not.
#[test]
fn idle_connections_are_closed() {
    let server = Running::start("idle", &["serverChannelMaxIdleTimeSeconds=1"]);
    let (mut idle, mut busy) = (server.connect(), server.connect());
    let since = Instant::now();
    for _ in 0..5 {
        busy.has_route("A");
        std::thread::sleep(Duration::from_millis(300));
    }
    assert!(idle.is_closed());
    assert!(since.elapsed() >= Duration::from_secs(1));
    assert!(!busy.has_route("A"), "still answered");
}

/// Goal: a limit of 0 is none, as in the official server, and does not shut everybody out for good.
#[test]
fn no_idle_limit_closes_nobody() {
    let server = Running::start("no-idle", &["serverChannelMaxIdleTimeSeconds=0"]);
    let mut client = server.connect();
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(50));
        assert!(!client.has_route("A"), "answered");
    }
}

/// Goal: the scan takes out a silent broker and closes its connection.
#[test]
fn a_silent_broker_is_closed() {
    let server = Running::start("silent", &["scanNotActiveBrokerInterval=20"]);
    let mut broker = server.connect();
    let hasty = Broker { more: vec![("heartbeatTimeoutMillis", "100")], ..Broker::default() };
    broker.call(&hasty.registration());
    assert!(broker.is_closed());
    assert!(!server.connect().has_route("A"));
}

/// Goal: KV settings and the server's own survive a restart; the KV file has the official form.
#[test]
fn settings_survive_a_restart() {
    let file = {
        let server = Running::start("restart", &[]);
        let mut connection = server.connect();
        let put = ask(request::PUT_KV_CONFIG, &[("namespace", "N"), ("key", "k"), ("value", "v")]);
        assert_eq!(connection.call(&put).code, 0);
        let change = ask(request::UPDATE_NAMESRV_CONFIG, &[]).body("orderMessageEnable=true");
        assert_eq!(connection.call(&change).code, 0);
        std::fs::read_to_string(server.folder.join("namesrv/namesrv.properties")).unwrap()
    };
    assert!(file.contains("orderMessageEnable=true\n"));
    let server = Running::start("restart", &[]);
    let answer = server.connect().call(&ask(request::GET_KV_CONFIG, &[("namespace", "N"), ("key", "k")]));
    assert_eq!(answer.ext("value"), Some("v"));
    let kept = std::fs::read_to_string(server.folder.join("namesrv/kvConfig.json")).unwrap();
    assert_eq!(kept, r#"{"configTable":{"N":{"k":"v"}}}"#);
    std::fs::remove_dir_all(&server.folder).unwrap();
}

/// Goal: a change that cannot be kept is not answered with success.
#[test]
fn a_change_that_cannot_be_kept_says_so() {
    let server = Running::start("unkept", &["kvConfigPath=/proc/nowhere/kvConfig.json"]);
    let put = ask(request::PUT_KV_CONFIG, &[("namespace", "N"), ("key", "k"), ("value", "v")]);
    let answer = server.connect().call(&put);
    assert_eq!(answer.code, 1);
    assert!(answer.remark.unwrap().contains("cannot write /proc/nowhere/kvConfig.json"));
}

/// Goal: members of a broker hear of a new lowest id. Method: a member that listens, and a master that comes and goes.
#[test]
fn members_are_told_of_a_new_lowest_id() {
    let server = Running::start("lowest", &["notifyMinBrokerIdChanged=true"]);
    let member = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: &'static str = member.local_addr().unwrap().to_string().leak();
    let acting = |broker: Broker| Broker { more: vec![("enableActingMaster", "true")], ..broker };
    let mut slave = server.connect();
    slave.call(&acting(Broker { addr: address, ..Broker::slave() }).registration());
    let heard = || {
        let stream = member.accept().unwrap().0;
        Connection { stream, inbox: Vec::new(), codec: Codec::Json }.receive()
    };
    let mut master = server.connect();
    master.call(&acting(Broker::default()).registration());
    let command = heard();
    assert_eq!((command.code, command.is_oneway()), (905, true));
    assert_eq!(
        (command.ext("minBrokerId"), command.ext("minBrokerAddr")),
        (Some("0"), Some("10.0.0.1:10911"))
    );
    drop(master);
    let command = heard();
    assert_eq!(
        (command.ext("minBrokerId"), command.ext("offlineBrokerAddr")),
        (Some("1"), Some("10.0.0.1:10911"))
    );
}

/// The program, killed when it is dropped.
struct Program(Child);

impl Program {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_afterburner-controlplane"));
        command
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .env("HOME", std::env::temp_dir());
        Self(command.spawn().unwrap())
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        line
    }

    /// What it says when it does not start.
    fn refuses(arguments: &[&str]) -> String {
        let mut program = Self::start(arguments);
        let mut text = String::new();
        program.0.stderr.as_mut().unwrap().read_to_string(&mut text).unwrap();
        assert!(!program.0.wait().unwrap().success(), "{arguments:?}");
        text
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Goal: ready in 100 ms with the line that scripts wait for; SIGTERM ends it well, with connections open.
#[test]
fn the_program_starts_fast_and_stops_well() {
    let since = Instant::now();
    let mut program =
        Program::start(&["-n", "ignored:1", "--set", "listenPort=0", "--set", "bindAddress=127.0.0.1"]);
    let line = program.line();
    let took = since.elapsed();
    let prefix = "The Name Server boot success. serializeType=JSON, address ";
    let address = line.trim_end().strip_prefix(prefix).unwrap_or_else(|| panic!("{line}"));
    assert!(took < Duration::from_millis(500), "{took:?}; alone on a machine it is a few ms");
    let mut connection = Connection::open(address.parse().unwrap());
    assert!(!connection.has_route("A"));
    Command::new("kill").args(["-TERM", &program.0.id().to_string()]).status().unwrap();
    assert!(program.0.wait().unwrap().success());
    assert!(connection.is_closed());
}

#[test]
fn the_program_explains_what_stops_it() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = format!("listenPort={}", holder.local_addr().unwrap().port());
    let said = Program::refuses(&["--set", "bindAddress=127.0.0.1", "--set", &port]);
    assert!(said.contains("cannot listen on 127.0.0.1:"), "{said}");
    let said = Program::refuses(&["--set", "bindAddress=192.0.2.1", "--set", "listenPort=0"]);
    assert!(
        said.contains("cannot listen on 192.0.2.1:0") && said.contains("set bindAddress to one"),
        "{said}"
    );
    let said = Program::refuses(&["-c", "/nowhere/ns.conf"]);
    assert!(said.contains("-c /nowhere/ns.conf: No such file") && said.contains("; give a file"), "{said}");
    assert!(Program::refuses(&["--set", "listenprt=1"]).contains("did you mean `listenPort`?"));
}

#[test]
fn the_program_prints_its_settings() {
    let mut program = Program::start(&["-p", "--set", "listenPort=1234"]);
    let mut text = String::new();
    program.0.stdout.as_mut().unwrap().read_to_string(&mut text).unwrap();
    assert!(program.0.wait().unwrap().success());
    assert!(text.contains("listenPort=1234\n") && text.contains("bindAddress=0.0.0.0\n"));
}
