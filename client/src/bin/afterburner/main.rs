//! The `afterburner` command: one file per subcommand.
//!
//! To add one: a file with `pub struct Args` (clap) and `pub fn run(args: Args) -> Outcome`, a `mod` line, a variant
//! of `Command` and its arm in `main`. A subcommand that needs tokio builds its own runtime inside `run`.

mod bench;
mod check;
mod cluster;
mod cluster_access;
mod conns;
mod consume;
mod group;
mod host;
mod pcap;
mod query;
mod send;
mod sight;
mod stats;
mod stop;
mod store;
mod topic;
mod tune;
mod tuning;
mod up;

use std::panic;
use std::process::{self, ExitCode};

use clap::{Parser, Subcommand};

/// What a subcommand comes to: its exit code, or the one sentence that says what went wrong and what to do about it.
pub type Outcome = Result<ExitCode, String>;

#[derive(Parser)]
#[command(
    name = "afterburner",
    version,
    about = "Run Afterburner, and talk to it or to any RocketMQ cluster"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the name server and the broker on this host until Ctrl-C
    Up(up::Args),
    /// Say what this host lacks to run at full speed, why it matters, and the command that mends it
    Check(check::Args),
    /// Change what can be changed about this host while it runs, and undo it
    Tune(tune::Args),
    /// Measure how fast a broker takes and gives messages, and what that costs it
    Bench(bench::Args),
    /// Send messages
    Send(send::Args),
    /// Receive messages
    Consume(consume::Args),
    /// Find messages by key, by id, by queue offset or by time
    Query(query::Args),
    /// List, make, delete and look at topics
    Topic(topic::Args),
    /// List, make and delete consumer groups
    Group(group::Args),
    /// List the brokers
    Cluster(cluster::Args),
    /// Look at the connections of a broker on this host
    Conns(conns::Args),
    /// Look at what a broker on this host counts and measures: polls, requests, drops, stages of a send
    Stats(stats::Args),
    /// Capture frames of a broker on this host for tcpdump, tshark or Wireshark
    Pcap(pcap::Args),
    /// Look at a store directory: inspect, verify, repair
    Store(store::Args),
    #[command(hide = true)]
    RunChild(up::ChildArgs),
}

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    end_with_the_reader();
    let outcome = match Cli::parse().command {
        Command::Up(args) => up::run(args),
        Command::Check(args) => check::run(args),
        Command::Tune(args) => tune::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Send(args) => send::run(args),
        Command::Consume(args) => consume::run(args),
        Command::Query(args) => query::run(args),
        Command::Topic(args) => topic::run(args),
        Command::Group(args) => group::run(args),
        Command::Cluster(args) => cluster::run(args),
        Command::Conns(args) => conns::run(args),
        Command::Stats(args) => stats::run(args),
        Command::Pcap(args) => pcap::run(args),
        Command::Store(args) => store::run(args),
        Command::RunChild(args) => up::run_child(args),
    };
    outcome.unwrap_or_else(|sentence| {
        eprintln!("afterburner: {sentence}");
        ExitCode::FAILURE
    })
}

/// `afterburner conns | head` ends when its reader does, and says nothing about it. The standard library makes a panic of
/// a line that nobody takes.
fn end_with_the_reader() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |found| {
        let said = found.payload().downcast_ref::<String>();
        if said.is_some_and(|said| said.starts_with("failed printing to stdout: Broken pipe")) {
            process::exit(0);
        }
        usual(found);
    }));
}
