//! A name server in this process, and the real dataplane as a child with two shards: on kernel sockets or TAPs.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use controlplane::config::Config;
use controlplane::namesrv::NameServer;
use controlplane::namesrv::kv::KvTable;
use controlplane::server::Server;

/// Ports and a folder that nobody else has.
pub struct Place {
    pub folder: PathBuf,
    /// The name server's; the first shard has the tenth from here, the second the twentieth.
    pub port: u16,
}

impl Place {
    pub fn new(test: &str) -> Place {
        let folder = std::env::temp_dir().join(format!("afterburner-shards-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Place { folder, port: free_ports() }
    }

    pub fn name_server(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where a shard listens.
    pub fn shard_port(&self, number: u16) -> u16 {
        self.port + 10 * (number + 1)
    }

    /// Runs a name server until the test's runtime ends.
    pub fn serve_names(&self) {
        let mut config = Config::new(&self.folder.display().to_string(), None);
        config.read_argument(&format!("listenPort={}", self.port)).unwrap();
        let server = Server::bind(|now| NameServer::new(config, KvTable::default(), now)).unwrap();
        tokio::spawn(server.run(std::future::pending()));
    }

    /// The dataplane with these settings, one `KEY=VALUE` a line, beside those every test has.
    pub fn dataplane(&self, settings: &str) -> Command {
        let fixed = format!(
            "namesrvAddr={}\nbrokerName=broker-s\nlistenPort={}\nhotLogBytes=64M\nstorePathRootDir={2}/store\nhotLogPath={2}/hot",
            self.name_server(),
            self.shard_port(0),
            self.folder.display()
        );
        let mut command = Command::new(env!("CARGO_BIN_EXE_afterburner-dataplane"));
        for setting in fixed.lines().chain(settings.lines()) {
            command.arg("--set").arg(setting);
        }
        command
    }

    /// Starts it and waits until so many brokers have said that they are ready.
    pub fn start(&self, settings: &str, shards: usize) -> Process {
        let mut child = self
            .dataplane(settings)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut errors = child.stderr.take().unwrap();
        let said = std::thread::spawn(move || {
            let mut said = String::new();
            let _ = errors.read_to_string(&mut said); // What has come by then is what there is.
            said
        });
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.by_ref().map(Result::unwrap).filter(|line| line.contains("boot success"));
        let ready: Vec<String> = ready.take(shards).collect();
        if ready.len() < shards {
            panic!("it ended before it was ready: {}", said.join().unwrap());
        }
        std::thread::spawn(move || lines.for_each(drop)); // Nobody may block on a full pipe.
        Process { child, ready, said: Some(said) }
    }

    /// Starts it where it must not start; returns what it says.
    pub fn refused(&self, settings: &str) -> String {
        let output = self.dataplane(settings).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        said
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("everything is kept in {}", self.folder.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// The running dataplane.
pub struct Process {
    child: Child,
    /// The official line of each shard.
    pub ready: Vec<String>,
    said: Option<std::thread::JoinHandle<String>>,
}

impl Process {
    pub fn kill_9(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and a clean end; returns what it wrote to its error output.
    pub fn stop(mut self) -> String {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg("-TERM").arg(pid).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
        self.said.take().unwrap().join().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill(); // Over already, unless a test failed.
        let _ = self.child.wait();
    }
}

/// Two cores of this machine, as a setting; none, with a word why, where there is one only.
pub fn two_cores() -> Option<String> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    match cores.as_slice() {
        [first, second, ..] => Some(format!("cores={},{}", first.id, second.id)),
        _ => {
            println!("skipped: two shards need two cores");
            None
        }
    }
}

/// The first of 30 ports of which those we use are free on loopback.
fn free_ports() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = (std::process::id() % 33) as u16;
    for _ in 0..33 {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let first = 24_000 + (begin + step) % 33 * 30;
        let used = [0, 8, 10, 18, 20].map(|port| TcpListener::bind(("127.0.0.1", first + port)));
        if used.iter().all(Result::is_ok) {
            return first;
        }
    }
    panic!("no free ports");
}
