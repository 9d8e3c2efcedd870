//! A dataplane of this test's own, with a folder, a port and, as root, a TAP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::RemotingCommand;
use protocol::code::request;
use protocol::frame::{Codec, Found, find};
use serde_json::Value;

/// One broker at a time: they share a network.
static ALONE: Mutex<()> = Mutex::new(());

pub struct Broker {
    pub address: SocketAddr,
    pub folder: PathBuf,
    arguments: Vec<String>,
    child: Option<Child>,
    tap: Option<String>,
    _alone: MutexGuard<'static, ()>,
}

impl Broker {
    /// `settings`: more lines `KEY=VALUE`.
    pub fn start(test: &str, settings: &str) -> Broker {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let id = std::process::id();
        let folder = std::env::temp_dir().join(format!("afterburner-sight-{id}-{test}"));
        std::fs::create_dir_all(&folder).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let tap = format!("ab-see{}", id % 10_000);
        let tap = may_make_taps(&tap).then_some(tap);
        let (device, ip) = match &tap {
            Some(name) => (format!("device=tap:{name}\naddress=10.78.4.2/24"), "10.78.4.2"),
            None => {
                println!("skipped: TAP (needs root and /dev/net/tun); the kernel device stands in");
                ("device=kernel:127.0.0.1".to_owned(), "127.0.0.1")
            }
        };
        let fixed = format!(
            "brokerName=broker-sight\nlistenPort={port}\ncores=none\nhotLogBytes=64M\n\
             storePathRootDir={0}/store\nhotLogPath={0}/hot",
            folder.display()
        );
        let arguments =
            [&*fixed, &*device, settings].iter().flat_map(|lines| lines.lines()).map(str::to_owned).collect();
        let address = format!("{ip}:{port}").parse().unwrap();
        let mut broker = Broker { address, folder, arguments, child: None, tap, _alone: alone };
        broker.start_again();
        broker
    }

    pub fn start_again(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_afterburner-dataplane"));
        for setting in &self.arguments {
            command.arg("--set").arg(setting);
        }
        let log = std::fs::File::create(self.log_file()).unwrap();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the binary that cargo built starts");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("boot success")), "it ended before it was ready");
        std::thread::spawn(move || lines.for_each(drop)); // Nobody may block on a full pipe.
        self.child = Some(child);
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// What it has said on stderr since it was started.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap()
    }

    pub fn is_tap(&self) -> bool {
        self.tap.is_some()
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.join("store/afterburner.sock")
    }

    pub fn ask(&self, question: &Value) -> Value {
        self.ask_raw(format!("{question}\n").as_bytes())
    }

    /// None when it hangs up.
    pub fn try_ask(&self, question: &Value) -> Option<Value> {
        self.try_ask_raw(format!("{question}\n").as_bytes())
    }

    pub fn try_ask_raw(&self, question: &[u8]) -> Option<Value> {
        self.send_line(question).ok()
    }

    pub fn ask_raw(&self, question: &[u8]) -> Value {
        self.send_line(question).unwrap()
    }

    fn send_line(&self, question: &[u8]) -> std::io::Result<Value> {
        let mut stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.write_all(question)?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        Ok(serde_json::from_str(&answer)?)
    }

    pub fn kill_9(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM, and a clean end.
    pub fn stop(&mut self) {
        let mut child = self.child.take().unwrap();
        assert!(Command::new("kill").arg("-TERM").arg(child.id().to_string()).status().unwrap().success());
        assert!(child.wait().unwrap().success());
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            println!("the store is kept in {}", self.folder.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// Sends a request and waits for its answer.
pub fn call(stream: &mut TcpStream, command: RemotingCommand) -> RemotingCommand {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(&command.encode(Codec::Json)).unwrap();
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        if let Found::Whole { frame, .. } = find(&bytes).unwrap() {
            return RemotingCommand::from_frame(&frame).unwrap();
        }
        let len = stream.read(&mut buffer).unwrap();
        assert!(len > 0, "hung up");
        bytes.extend_from_slice(&buffer[..len]);
    }
}

/// Stores one message.
pub fn send(stream: &mut TcpStream, body: &[u8]) {
    let send = RemotingCommand::request(request::SEND_MESSAGE)
        .field("producerGroup", "P1")
        .field("topic", "TBW102")
        .field("defaultTopic", "TBW102")
        .field("defaultTopicQueueNums", 4)
        .field("queueId", 0)
        .field("sysFlag", 0)
        .field("bornTimestamp", 0)
        .field("flag", 0)
        .field("properties", "")
        .body(body.to_vec());
    assert_eq!(call(stream, send).code, 0);
}

/// Whether the dataplane will be able to make one; it goes with the process.
fn may_make_taps(name: &str) -> bool {
    let ip = |arguments: &[&str]| {
        Command::new("ip").args(arguments).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    ip(&["tuntap", "add", "dev", name, "mode", "tap"]) && ip(&["link", "delete", name])
}
