//! Looks into a broker on this host through the socket in its store's folder.
//!
//! ```text
//! --socket PATH | --store FOLDER | the folders `up` and a dataplane use by default
//!   -> one line of JSON, the question -> one line of JSON, the answer
//! ```

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

/// Which broker is meant.
#[derive(clap::Args, Clone, Debug)]
pub struct Broker {
    /// The store's folder, as given to `up` or as storePathRootDir.
    /// When not given: that of `up`, else that of a dataplane, in the home folder
    #[arg(long, value_name = "FOLDER")]
    store: Option<PathBuf>,
    /// The socket itself
    #[arg(long, value_name = "PATH", conflicts_with = "store")]
    socket: Option<PathBuf>,
}

/// Who answered.
#[derive(Debug, Deserialize)]
pub struct About {
    pub name: String,
    pub address: String,
    pub device: String,
}

impl Broker {
    /// The one that listens there.
    pub fn at(socket: PathBuf) -> Broker {
        Broker { store: None, socket: Some(socket) }
    }

    /// Asks, and returns the first line of the answer and the connection behind it.
    pub fn ask(&self, question: &Value) -> Result<(Value, BufReader<UnixStream>), String> {
        let mut stream = self.connect()?;
        let failed = |error: std::io::Error| match error.kind() {
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => HUNG_UP.to_owned(),
            _ => format!("the broker does not answer: {error}"),
        };
        stream.set_read_timeout(Some(ANSWER_WAIT_MAX)).map_err(failed)?;
        writeln!(stream, "{question}").map_err(failed)?;
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).map_err(failed)?;
        if line.is_empty() {
            return Err(HUNG_UP.into());
        }
        let answer: Value = serde_json::from_str(&line).map_err(|error| {
            format!("the broker's answer makes no sense ({error}); is it of another version?")
        })?;
        match answer.get("error") {
            Some(error) => Err(error.as_str().unwrap_or_default().to_owned()),
            None => Ok((answer, reader)),
        }
    }

    fn connect(&self) -> Result<UnixStream, String> {
        let tried = self.candidates();
        for path in &tried {
            match UnixStream::connect(path) {
                Ok(stream) => return Ok(stream),
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                    return Err(format!(
                        "{}: permission denied; be the user that the broker runs as, or root",
                        path.display()
                    ));
                }
                Err(_) => {} // Not there, or nobody listens: the next one.
            }
        }
        let tried: Vec<String> = tried.iter().map(|path| path.display().to_string()).collect();
        Err(format!(
            "no broker of this host listens at {}; is it running? --store FOLDER names another store",
            tried.join(" nor ")
        ))
    }

    fn candidates(&self) -> Vec<PathBuf> {
        if let Some(socket) = &self.socket {
            return vec![socket.clone()];
        }
        let folders = match &self.store {
            Some(folder) => vec![folder.join("store"), folder.clone()],
            None => {
                let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
                vec![home.join("afterburner/store"), home.join("store")]
            }
        };
        folders.iter().map(|folder| folder.join(SOCKET)).collect()
    }
}

/// Takes one part out of an answer.
pub fn part<T: for<'de> Deserialize<'de>>(answer: &Value, name: &str) -> Result<T, String> {
    T::deserialize(&answer[name])
        .map_err(|error| format!("the broker's answer has no {name} that makes sense: {error}"))
}

const HUNG_UP: &str = "the broker hung up: it is stopping, or too many look into it already";
const SOCKET: &str = "afterburner.sock";
/// The broker itself gives its shard 3 s.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);
