//! What the subcommands that talk to a cluster share: where it is, a runtime, tables and a progress line.

use std::future::Future;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use client::admin::Master;
use client::{Admin, ClientConfig, ClientError};
use protocol::code::response;
use protocol::frame::Codec;

use crate::Outcome;

/// Where the cluster is.
#[derive(clap::Args, Clone, Debug)]
pub struct Cluster {
    /// The name servers; when not given, NAMESRV_ADDR, else 127.0.0.1:9876
    #[arg(short = 'n', long, value_name = "HOST:PORT[;..]")]
    namesrv: Option<String>,
    /// Write requests with binary headers instead of JSON
    #[arg(long)]
    binary: bool,
}

// No doc comment: it would stand in the help in place of the subcommand's own.
#[derive(clap::Args)]
pub struct Listed {
    #[command(flatten)]
    pub cluster: Cluster,
    /// Those that brokers keep for themselves, too
    #[arg(long)]
    pub all: bool,
}

impl Cluster {
    pub fn config(&self) -> Result<ClientConfig, String> {
        let told = self.namesrv.clone().map(|named| ("-n", named));
        let named = told.or_else(|| Some(("NAMESRV_ADDR", std::env::var("NAMESRV_ADDR").ok()?)));
        let (place, named) = named.unwrap_or_else(|| ("", NAMESRV.to_owned()));
        let config = ClientConfig::new(&named);
        match config.name_servers.iter().find(|addr| !has_port(addr)) {
            Some(addr) => Err(format!(
                "{place} {named}: `{addr}` is no name server address: write HOST:PORT, as in 10.0.0.1:9876;10.0.0.2:9876"
            )),
            None => Ok(config.with_codec(if self.binary { Codec::Binary } else { Codec::Json })),
        }
    }
}

fn has_port(addr: &str) -> bool {
    addr.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

/// Runs a subcommand that waits for the network.
pub fn block_on(work: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| format!("cannot start: {error}"))?.block_on(work)
}

/// Runs what needs an admin, and ends the admin.
pub async fn with_admin<T>(
    cluster: &Cluster,
    work: impl AsyncFnOnce(&Admin) -> Result<T, ClientError>,
) -> Result<T, String> {
    let admin = Admin::new(cluster.config()?);
    let done = async {
        admin.start().await?;
        work(&admin).await
    };
    let done = done.await;
    admin.shutdown().await;
    done.map_err(explain)
}

/// Does something on one master after the other, of one cluster or of all. That there is none is an error.
pub async fn on_masters<T>(
    cluster: &Cluster,
    name: Option<&str>,
    work: impl AsyncFn(&Admin, &str) -> Result<T, ClientError>,
) -> Result<Vec<(Master, T)>, String> {
    let done = with_admin(cluster, async |admin| {
        let mut done = Vec::new();
        for master in admin.masters(name).await? {
            let of_it = work(admin, &master.addr).await?;
            done.push((master, of_it));
        }
        Ok(done)
    });
    let done = done.await?;
    if done.is_empty() { Err(no_masters(name)) } else { Ok(done) }
}

/// Why nothing was done.
pub fn no_masters(cluster: Option<&str>) -> String {
    match cluster {
        None => format!("there is no broker to do it on{UP_HINT}"),
        Some(name) => format!("no broker of cluster {name} to do it on{CLUSTERS_HINT}"),
    }
}

/// The error, and what to do about the commonest ones.
pub fn explain(error: ClientError) -> String {
    // The official name server's words go on with the address of a page that knows no more.
    if let ClientError::Refused { code: response::TOPIC_NOT_EXIST, remark: Some(remark) } = &error {
        return format!("{}{TOPICS_HINT}", remark.lines().next().unwrap_or_default());
    }
    let hint = match &error {
        ClientError::Connect { .. } => UP_HINT,
        ClientError::NoRoute { reason, .. } if reason.is_empty() => MAKE_HINT,
        ClientError::NoRoute { .. } => UP_HINT,
        _ => "",
    };
    format!("{error}{hint}")
}

/// Columns as wide as what stands in them; `numbers` are the columns set to the right.
pub fn print_table(head: &[&str], rows: &[Vec<String>], numbers: &[usize]) {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (column, cell) in cells.enumerate() {
            let pad = " ".repeat(widths[column] - cell.chars().count());
            text +=
                &if numbers.contains(&column) { format!("{pad}{cell}  ") } else { format!("{cell}{pad}  ") };
        }
        println!("{}", text.trim_end());
    };
    line(&mut head.iter().copied());
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
}

/// One line that is written over again, on a terminal; nothing elsewhere.
pub struct Progress {
    shown: Option<Instant>,
    is_terminal: bool,
}

impl Progress {
    pub fn new() -> Progress {
        Progress { shown: None, is_terminal: std::io::stderr().is_terminal() }
    }

    pub fn show(&mut self, text: impl FnOnce() -> String) {
        if self.is_terminal && self.shown.is_none_or(|at| at.elapsed() >= PROGRESS_EVERY) {
            self.shown = Some(Instant::now());
            eprint!("\r{:<78}", text());
            let _ = std::io::stderr().flush(); // A terminal that is gone shows nothing.
        }
    }

    pub fn clear(&mut self) {
        if self.shown.take().is_some() {
            eprint!("\r{:78}\r", "");
        }
    }
}

const UP_HINT: &str = "; is it running? `afterburner up` starts a cluster, -n HOST:PORT names another";
const MAKE_HINT: &str = "; make it: afterburner topic create --topic NAME";
const TOPICS_HINT: &str =
    "; `afterburner topic list` shows those that there are, `afterburner topic create` makes one";
const CLUSTERS_HINT: &str = "; `afterburner cluster` lists those that there are";
const NAMESRV: &str = "127.0.0.1:9876";
const PROGRESS_EVERY: Duration = Duration::from_millis(200);
