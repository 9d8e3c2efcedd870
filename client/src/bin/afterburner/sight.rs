//! Looks into the brokers of a dataplane on this host, one for each shard, through the sockets in their stores' folders.
//!
//! ```text
//! --socket PATH | --store FOLDER | the folders `up` and a dataplane use by default | the one store of this host with a broker
//!   FOLDER/afterburner.sock, FOLDER/shard-1/afterburner.sock, ..       --shard: one of them
//!   -> one line of JSON, the question -> one line of JSON, the answer
//! ```

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

/// Which broker is meant.
#[derive(clap::Args, Clone, Debug)]
pub struct Broker {
    /// The store's folder, as given to `up` or as storePathRootDir.
    /// When not given: that of `up`, else that of a dataplane, in the home folder, else the only one in use on this host
    #[arg(long, value_name = "FOLDER")]
    store: Option<PathBuf>,
    /// The socket itself
    #[arg(long, value_name = "PATH", conflicts_with = "store")]
    socket: Option<PathBuf>,
    /// Of several shards this one alone: its number, or its broker's name
    #[arg(long, value_name = "SHARD")]
    shard: Option<String>,
}

/// Who answered.
#[derive(Debug, Deserialize)]
pub struct About {
    pub name: String,
    pub address: String,
    pub device: String,
    #[serde(default)]
    pub shard: usize,
    /// The core it polls on, when it is pinned.
    pub core: Option<usize>,
}

impl About {
    /// One line about it.
    pub fn line(&self) -> String {
        let core = self.core.map_or_else(String::new, |core| format!(", core {core}"));
        format!("{} at {}, {}{core}", self.name, self.address, self.device)
    }
}

/// What a shard answered.
#[derive(Debug)]
pub struct Answer {
    pub about: About,
    /// The first line.
    pub value: Value,
    /// The connection behind it.
    pub rest: BufReader<UnixStream>,
}

impl Broker {
    /// The one that listens there.
    pub fn at(socket: PathBuf) -> Broker {
        Broker { store: None, socket: Some(socket), shard: None }
    }

    /// Asks every shard that is meant; their answers in the order of the shards.
    pub fn ask(&self, question: &Value) -> Result<Vec<Answer>, String> {
        let mut paths = self.listening()?;
        if let Some(wanted) = &self.shard {
            let mut there = Vec::new();
            for path in std::mem::take(&mut paths) {
                let about = ask(&path, &json!({ "ask": "stats" }))?.about;
                if about.name == *wanted || about.shard.to_string() == *wanted {
                    paths.push(path);
                }
                there.push(format!("{} ({})", about.shard, about.name));
            }
            if paths.is_empty() {
                return Err(format!("there is no shard {wanted}; there are {}", there.join(", ")));
            }
        }
        paths.iter().map(|path| ask(path, question)).collect()
    }

    /// The sockets at which somebody listens: of the first folder where somebody does.
    fn listening(&self) -> Result<Vec<PathBuf>, String> {
        let mut tried = Vec::new();
        for sockets in self.candidates() {
            let found = alive(&sockets)?;
            if !found.is_empty() {
                return Ok(found);
            }
            tried.extend(sockets.first().map(|path| path.display().to_string()));
        }
        let is_open = self.store.is_none() && self.socket.is_none();
        let table = std::fs::read_to_string(UNIX_SOCKETS).ok().filter(|_| is_open).unwrap_or_default();
        match &stores_in_use(&table).into_iter().collect::<Vec<_>>()[..] {
            [] => {}
            [store] => return alive(&sockets(store)),
            several => {
                let folders: Vec<String> =
                    several.iter().map(|store| format!("--store {}", store.display())).collect();
                return Err(format!("several brokers run on this host: say which, {}", folders.join(" or ")));
            }
        }
        Err(format!(
            "no broker of this host listens at {}; is it running? --store FOLDER names another store",
            tried.join(" nor ")
        ))
    }

    /// For each folder that may be meant the sockets of the shards that may be there.
    fn candidates(&self) -> Vec<Vec<PathBuf>> {
        if let Some(socket) = &self.socket {
            return vec![vec![socket.clone()]];
        }
        let folders = match &self.store {
            Some(folder) => vec![folder.join("store"), folder.clone()],
            None => {
                let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
                vec![home.join("afterburner/store"), home.join("store")]
            }
        };
        folders.iter().map(|folder| sockets(folder)).collect()
    }
}

/// The sockets of the shards of a store.
fn sockets(store: &Path) -> Vec<PathBuf> {
    let further = (1..SHARDS_MAX).map(|number| store.join(format!("shard-{number}")));
    std::iter::once(store.to_owned()).chain(further).map(|folder| folder.join(SOCKET)).collect()
}

/// Those at which somebody listens.
fn alive(sockets: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for path in sockets {
        match UnixStream::connect(path) {
            Ok(_probe) => found.push(path.clone()),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Err(format!(
                    "{}: permission denied; be the user that the broker runs as, or root",
                    path.display()
                ));
            }
            Err(_) => {} // Not there, or nobody listens: the next one.
        }
    }
    Ok(found)
}

/// Stores with a socket in the kernel's table, where each has the name that it was bound with.
fn stores_in_use(table: &str) -> BTreeSet<PathBuf> {
    let store = |line: &str| {
        let path = Path::new(line.get(line.find('/')?..)?);
        let folder = path.parent().filter(|_| path.file_name().is_some_and(|name| name == BOUND_AS))?;
        let is_shard = folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("shard-"));
        Some(if is_shard { folder.parent()? } else { folder }.to_owned())
    };
    table.lines().filter_map(store).collect()
}

/// Asks one shard.
fn ask(path: &Path, question: &Value) -> Result<Answer, String> {
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => HUNG_UP.to_owned(),
        _ => format!("the broker at {} does not answer: {error}", path.display()),
    };
    let mut stream = UnixStream::connect(path).map_err(failed)?;
    stream.set_read_timeout(Some(ANSWER_WAIT_MAX)).map_err(failed)?;
    writeln!(stream, "{question}").map_err(failed)?;
    let mut rest = BufReader::new(stream);
    let mut line = String::new();
    rest.read_line(&mut line).map_err(failed)?;
    if line.is_empty() {
        return Err(HUNG_UP.into());
    }
    let value: Value = serde_json::from_str(&line).map_err(|error| {
        format!("the broker's answer makes no sense ({error}); is it of another version?")
    })?;
    match value.get("error") {
        Some(error) => Err(error.as_str().unwrap_or_default().to_owned()),
        None => Ok(Answer { about: part(&value, "broker")?, value, rest }),
    }
}

/// Takes one part out of an answer.
pub fn part<T: for<'de> Deserialize<'de>>(answer: &Value, name: &str) -> Result<T, String> {
    T::deserialize(&answer[name])
        .map_err(|error| format!("the broker's answer has no {name} that makes sense: {error}"))
}

const HUNG_UP: &str = "the broker hung up: it is stopping, or too many look into it already";
const SOCKET: &str = "afterburner.sock";
/// A broker binds its socket under this name, and renames it when its rights are set.
const BOUND_AS: &str = "afterburner.new";
const UNIX_SOCKETS: &str = "/proc/net/unix";
/// As many as a dataplane runs.
const SHARDS_MAX: usize = 64;
/// The broker itself gives its shard 3 s.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread::JoinHandle;

    use super::*;

    /// Answers `times` questions as shard `number` would.
    fn shard(store: &Path, number: usize, times: usize) -> JoinHandle<()> {
        let path = &sockets(store)[number];
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).unwrap();
        std::thread::spawn(move || {
            let mut answered = 0;
            while answered < times {
                let mut line = String::new();
                let mut stream = BufReader::new(listener.accept().unwrap().0);
                if stream.read_line(&mut line).unwrap() == 0 {
                    continue; // Somebody who only looked whether we are here.
                }
                answered += 1;
                let name = format!("b-{number}");
                let about =
                    json!({ "name": name, "address": "a:1", "device": "tap:x", "shard": number, "core": 3 });
                writeln!(stream.get_mut(), "{}", json!({ "broker": about, "asked": line.trim() })).unwrap();
            }
        })
    }

    /// Goal: a broker that runs on some other folder is found. Method: a table as in /proc/net/unix with a store of two shards
    /// (and a connection to one), another store, and sockets that are none of ours.
    #[test]
    fn stores_in_use_are_found() {
        let table = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            c3ab: 00000002 00000000 00010000 0001 01 14376446 /tmp/a b/store/afterburner.new\n\
            c3ac: 00000003 00000000 00000000 0001 03 14376447 /tmp/a b/store/afterburner.new\n\
            c3ad: 00000002 00000000 00010000 0001 01 14376448 /tmp/a b/store/shard-1/afterburner.new\n\
            c3ae: 00000002 00000000 00010000 0001 01 14376449 /data/store/afterburner.new\n\
            c3af: 00000002 00000000 00000000 0002 01 14376450 @/abstract\n\
            c3b0: 00000002 00000000 00000000 0002 01 14376451\n\
            c3b1: 00000002 00000000 00010000 0001 01 14376452 /run/other.sock\n";
        let found: Vec<PathBuf> = stores_in_use(table).into_iter().collect();
        assert_eq!(found, [Path::new("/data/store"), Path::new("/tmp/a b/store")]);
    }

    /// Goal: all shards of the first store that lives answer, in order; `--shard` means one of them, by number or name;
    /// a socket that nobody listens at is passed over.
    #[test]
    fn every_shard_is_asked_or_the_one_that_is_meant() {
        let folder = std::env::temp_dir().join(format!("afterburner-cli-sight-{}", std::process::id()));
        let store = folder.join("store");
        let threads = [shard(&store, 0, 4), shard(&store, 2, 6)];
        std::fs::create_dir_all(store.join("shard-1")).unwrap();
        drop(UnixListener::bind(&sockets(&store)[1]).unwrap()); // As a kill leaves it.
        let broker = |shard: Option<&str>| Broker {
            store: Some(folder.clone()),
            socket: None,
            shard: shard.map(str::to_owned),
        };
        let names = |shard| {
            let answers = broker(shard).ask(&json!({ "ask": "conns" }))?;
            Ok::<_, String>(answers.iter().map(|answer| answer.about.name.clone()).collect::<Vec<_>>())
        };
        assert_eq!(names(None).unwrap(), ["b-0", "b-2"]);
        assert_eq!(names(Some("2")).unwrap(), ["b-2"]);
        assert_eq!(names(Some("b-2")).unwrap(), ["b-2"]);
        assert_eq!(names(Some("1")).unwrap_err(), "there is no shard 1; there are 0 (b-0), 2 (b-2)");
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        std::fs::remove_dir_all(&folder).unwrap();
        let error = broker(None).ask(&json!({})).unwrap_err();
        assert!(error.contains("store/afterburner.sock nor") && !error.contains("shard-1"), "{error}");
    }
}
