//! The real dataplane as a child process, over TAP when the host gives one, else over kernel sockets.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub struct Broker {
    pub address: SocketAddr,
    pub device: String,
    /// From exec to the ready line.
    pub ready_ms: u128,
    child: Option<Child>,
    folder: PathBuf,
    tap: Option<String>,
}

impl Broker {
    pub fn start() -> Broker {
        Broker::start_at("kill", 41)
    }

    /// A broker of that name in network 10.77.`net`.0.
    pub fn start_at(name: &str, net: u8) -> Broker {
        let folder = std::env::temp_dir().join(format!("afterburner-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("the temporary folder takes a folder");
        let port = free_port();
        let tap = make_tap(name, net);
        let (device, lines, ip) = match &tap {
            Some(name) => {
                let ip = format!("10.77.{net}.2");
                (format!("tap:{name}"), format!("device=tap:{name}\naddress={ip}/24\n"), ip)
            }
            None => {
                println!("skipped: TAP (needs root and /dev/net/tun); the kernel device stands in");
                ("kernel".to_string(), "device=kernel:127.0.0.1\n".to_string(), "127.0.0.1".to_string())
            }
        };
        let store = folder.join("store");
        let config = format!(
            "brokerName=broker-{name}\nlistenPort={port}\nstorePathRootDir={}\nhotLogPath={}\nhotLogBytes=134217728\n{lines}",
            store.display(),
            folder.join("hot").display()
        );
        let mut file =
            std::fs::File::create(folder.join("broker.properties")).expect("the folder takes a file");
        file.write_all(config.as_bytes()).expect("the folder takes a file");
        let address = format!("{ip}:{port}").parse().expect("an address made of an address and a port");
        let mut broker = Broker { address, device, ready_ms: 0, child: None, folder, tap };
        broker.start_again();
        broker
    }

    pub fn start_again(&mut self) {
        let begin = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_afterburner-dataplane"))
            .arg("-c")
            .arg(self.folder.join("broker.properties"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the binary that cargo built starts");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        loop {
            let line =
                lines.next().expect("the broker ended before it was ready").expect("its output is text");
            if line.contains("boot success") {
                break;
            }
        }
        std::thread::spawn(move || lines.for_each(drop)); // Nobody may block on a full pipe.
        self.ready_ms = begin.elapsed().as_millis();
        self.child = Some(child);
    }

    /// CPU time of all its threads so far.
    pub fn cpu(&self) -> Duration {
        let id = self.child.as_ref().expect("it runs").id();
        let threads = std::fs::read_dir(format!("/proc/{id}/task")).expect("its threads can be seen");
        let nanos = threads.filter_map(Result::ok).filter_map(|thread| {
            let schedstat = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
            schedstat.split_whitespace().next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanos.sum())
    }

    pub fn kill_9(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("a child can be killed");
        child.wait().expect("a killed child ends");
    }

    /// SIGTERM, and a clean end.
    pub fn stop(&mut self) {
        let mut child = self.child.take().expect("it runs");
        let sent =
            Command::new("kill").arg("-TERM").arg(child.id().to_string()).status().expect("kill(1) runs");
        assert!(sent.success());
        let status = child.wait().expect("a child ends");
        assert!(status.success(), "a clean stop ended with {status}");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(name) = &self.tap {
            let _ = Command::new("ip").args(["link", "delete", name]).status();
        }
        if std::thread::panicking() {
            println!("the store is kept in {}", self.folder.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|socket| socket.local_addr())
        .expect("loopback has a free port")
        .port()
}

/// A persistent interface of this test, so that it outlives the process that is killed.
fn make_tap(name: &str, net: u8) -> Option<String> {
    let name = format!("ab-{name}{}", std::process::id() % 10_000);
    let host = format!("10.77.{net}.1/24");
    let ip = |arguments: &[&str]| {
        Command::new("ip").args(arguments).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    let made = ip(&["tuntap", "add", "dev", &name, "mode", "tap"])
        && ip(&["address", "add", &host, "dev", &name])
        && ip(&["link", "set", "dev", &name, "up"]);
    made.then_some(name)
}
