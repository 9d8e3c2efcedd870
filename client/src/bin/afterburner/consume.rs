//! `afterburner consume`: prints or counts what comes in, and can tell whether all of a run of `send` came through.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use client::{
    ConsumeFrom, Consumed, MessageExt, MessageModel, MessageQueue, PushConsumer, PushConsumerConfig,
};
use tokio::sync::Notify;

use crate::cluster_access::{Cluster, Progress, block_on, explain};
use crate::send::{NUMBER_PROPERTY, RUN_PROPERTY};
use crate::{Outcome, query};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    cluster: Cluster,
    /// The topic
    #[arg(short, long)]
    topic: String,
    /// The consumer group, which remembers how far it has come
    #[arg(short, long, default_value = "afterburner-consume")]
    group: String,
    /// Where a new group begins: first, last, or a time in milliseconds since 1970
    #[arg(short, long, default_value = "first", value_parser = parse_from)]
    from: ConsumeFrom,
    /// Tags to take, joined by ||
    #[arg(long, default_value = "*")]
    tag: String,
    /// Stop after so many messages
    #[arg(short, long)]
    count: Option<u64>,
    /// Stop when nothing has come for so many seconds; that is a failure if --count is not reached
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<f64>,
    /// Messages of a queue one after another
    #[arg(long)]
    orderly: bool,
    /// Every member gets every message
    #[arg(long)]
    broadcast: bool,
    /// Only count
    #[arg(short, long)]
    quiet: bool,
    /// Fail if a message of a run of `afterburner send` is missing, came twice, or out of order in its queue.
    /// Brokers that take a connection's requests in turn, as ours do, keep the order of any run; the official one
    /// only that of `send --window 1`
    #[arg(long)]
    verify: bool,
    /// Print what happened as JSON, and messages, unless --quiet, as one JSON object a line
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Outcome {
    block_on(consume(args))
}

async fn consume(args: Args) -> Outcome {
    let mut config = PushConsumerConfig::new(&args.group);
    config.consume_from = args.from;
    config.await_termination = LOOK_EVERY;
    config.model = if args.broadcast { MessageModel::Broadcasting } else { MessageModel::Clustering };
    let mut consumer = PushConsumer::new(args.cluster.config()?, config);
    consumer.subscribe(&args.topic, &args.tag).map_err(explain)?;
    let seen = Arc::new(Mutex::new(Seen::default()));
    let changed = Arc::new(Notify::new());
    let listener = {
        let (seen, changed, quiet, json, limit) =
            (seen.clone(), changed.clone(), args.quiet, args.json, args.count.unwrap_or(u64::MAX));
        move |messages: Vec<Arc<MessageExt>>| {
            let is_taken = {
                let mut seen = seen.lock().expect("nothing panics while it counts");
                let is_room = seen.received < limit;
                if is_room {
                    for message in &messages {
                        seen.take(message);
                        if !quiet {
                            print_message(message, json);
                        }
                    }
                }
                is_room
            };
            changed.notify_one();
            async move {
                if !is_taken {
                    // Beyond the count: left unanswered, so that the next run of this group gets it.
                    std::future::pending::<()>().await;
                }
                Consumed::Done
            }
        }
    };
    let is_orderly = args.orderly || args.verify;
    if is_orderly {
        consumer.listen_orderly(listener)
    } else {
        consumer.listen(listener)
    }
    consumer.start().await.map_err(explain)?;
    let began = Instant::now();
    let is_complete = wait(&args, &seen, &changed, began).await;
    consumer.shutdown().await;
    let seen = seen.lock().expect("nothing panics while it counts");
    let is_sound = seen.report(&args, began.elapsed(), is_complete);
    Ok(if is_sound && is_complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Until the count is reached, nothing has come for the timeout, or Ctrl-C. Whether all that was asked for is there.
async fn wait(args: &Args, seen: &Mutex<Seen>, changed: &Notify, began: Instant) -> bool {
    let mut progress = Progress::new();
    let silence_max = args.timeout.map(Duration::from_secs_f64);
    let mut heard = (0, Instant::now());
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let received = seen.lock().expect("nothing panics while it counts").received;
        if received != heard.0 {
            heard = (received, Instant::now());
        }
        if args.quiet {
            progress.show(|| {
                let rate = received as f64 / began.elapsed().as_secs_f64().max(1e-9);
                format!("received {received}, {rate:.0}/s")
            });
        }
        let is_complete = args.count.is_some_and(|count| received >= count);
        if is_complete || silence_max.is_some_and(|max| heard.1.elapsed() >= max) {
            progress.clear();
            return is_complete || args.count.is_none();
        }
        tokio::select! {
            () = changed.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = &mut interrupt => {
                progress.clear();
                return args.count.is_none();
            }
        }
    }
}

/// What has come in.
#[derive(Default)]
struct Seen {
    received: u64,
    bytes: u64,
    retried: u64,
    runs: BTreeMap<String, RunSeen>,
}

/// What has come of one run of `send`.
#[derive(Default)]
struct RunSeen {
    numbers: HashSet<u64>,
    duplicates: u64,
    disorder: u64,
    last: HashMap<MessageQueue, u64>,
}

impl RunSeen {
    fn missing(&self) -> u64 {
        let count = self.numbers.iter().max().map_or(0, |max| max + 1);
        count - self.numbers.len() as u64
    }
}

impl Seen {
    fn take(&mut self, message: &MessageExt) {
        self.received += 1;
        self.bytes += message.body().len() as u64;
        self.retried += u64::from(message.reconsume_times > 0);
        let number = message.property(NUMBER_PROPERTY).and_then(|number| number.parse::<u64>().ok());
        let (Some(run), Some(number)) = (message.property(RUN_PROPERTY), number) else {
            return;
        };
        let run = self.runs.entry(run.to_owned()).or_default();
        if !run.numbers.insert(number) {
            run.duplicates += 1;
        } else if run.last.insert(message.queue.clone(), number).is_some_and(|last| last > number) {
            run.disorder += 1;
        }
    }

    fn sum(&self, of: impl Fn(&RunSeen) -> u64) -> u64 {
        self.runs.values().map(of).sum()
    }

    /// What is told about the runs of `afterburner send`. That some are missing means nothing by itself: the group may have had them
    /// before, another member may have them, or they are still to come.
    fn judged(&self, is_verified: bool, is_orderly: bool) -> String {
        let (duplicates, disorder) = (self.sum(|run| run.duplicates), self.sum(|run| run.disorder));
        if is_verified && !self.runs.is_empty() {
            let (runs, missing) = (self.runs.len(), self.sum(RunSeen::missing));
            return format!(
                "; of {runs} runs of send: {missing} missing, {duplicates} twice, {disorder} out of order"
            );
        }
        let disorder = if is_orderly { disorder } else { 0 };
        let told = [(duplicates, "twice"), (disorder, "out of order")];
        told.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!(", {count} {what}")).collect()
    }

    /// Prints the end; whether the runs are whole, or nobody asked.
    fn report(&self, args: &Args, took: Duration, is_complete: bool) -> bool {
        let (missing, duplicates) = (self.sum(RunSeen::missing), self.sum(|run| run.duplicates));
        let disorder = self.sum(|run| run.disorder);
        let is_sound = !args.verify || (missing == 0 && duplicates == 0 && disorder == 0);
        let rate = self.received as f64 / took.as_secs_f64().max(1e-9);
        if args.json {
            let text = serde_json::json!({
                "topic": args.topic, "group": args.group, "received": self.received, "bytes": self.bytes,
                "retried": self.retried, "seconds": took.as_secs_f64(), "perSecond": rate,
                "runs": self.runs.len(), "missing": missing, "duplicates": duplicates, "disorder": disorder,
                "complete": is_complete,
            });
            println!("{text}");
            return is_sound;
        }
        let runs = self.judged(args.verify, args.orderly);
        let seconds = took.as_secs_f64();
        println!("received {} messages from {} in {seconds:.2} s{runs}", self.received, args.topic);
        if let Some(count) = args.count.filter(|_| !is_complete) {
            eprintln!("afterburner: {count} were expected");
        }
        is_sound
    }
}

fn print_message(message: &MessageExt, json: bool) {
    let text = String::from_utf8_lossy(message.body());
    if json {
        return println!("{}", query::object(message));
    }
    let tag = message.tag().map(|tag| format!(" [{tag}]")).unwrap_or_default();
    println!("{} at {}{tag}: {text}", message.queue, message.queue_offset);
}

fn parse_from(text: &str) -> Result<ConsumeFrom, String> {
    match text {
        "first" => Ok(ConsumeFrom::FirstOffset),
        "last" => Ok(ConsumeFrom::LastOffset),
        time => time
            .parse()
            .map(ConsumeFrom::Timestamp)
            .map_err(|_| "write first, last, or a time in milliseconds since 1970".to_owned()),
    }
}

const LOOK_EVERY: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: gaps, repeats and disorder of a run are told apart.
    #[test]
    fn runs_are_counted() {
        let mut run = RunSeen::default();
        run.numbers.extend([0, 1, 2, 5]);
        assert_eq!(run.missing(), 2);
        assert_eq!(RunSeen::default().missing(), 0);
        let mut seen = Seen::default();
        seen.runs.insert("some".into(), run);
        assert_eq!(seen.judged(false, true), "", "the group may have had them before");
        assert_eq!(seen.judged(true, false), "; of 1 runs of send: 2 missing, 0 twice, 0 out of order");
        seen.runs.get_mut("some").unwrap().duplicates = 1;
        assert_eq!(seen.judged(false, false), ", 1 twice");
        assert!(
            parse_from("first").is_ok() && parse_from("1700000000000").is_ok() && parse_from("soon").is_err()
        );
    }
}
