//! `afterburner send`: one message with this body, or many of a size, as fast as asked for.
//!
//! Each message carries the name of its run and its number, so that `afterburner consume --verify` can tell whether
//! all came through, once and in order.

use std::collections::VecDeque;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use client::{ClientError, Message, Producer, ProducerConfig, SendResult, SendStatus};
use hdrhistogram::Histogram;
use tokio::task::JoinHandle;

use crate::Outcome;
use crate::cluster_access::{Cluster, Progress, block_on, explain};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    cluster: Cluster,
    /// The topic; brokers that make topics by themselves make it
    #[arg(short, long)]
    topic: String,
    /// Text of the message; when not given, filled up to --size
    #[arg(short, long)]
    body: Option<String>,
    /// How many messages
    #[arg(short, long, default_value_t = 1)]
    count: u64,
    /// Bytes of each message, without --body; from 4096 on they are sent compressed, as official clients do
    #[arg(short, long, default_value_t = 100)]
    size: usize,
    /// The tag consumers select by
    #[arg(long)]
    tag: Option<String>,
    /// Keys to look the message up by; {} becomes its number
    #[arg(long, value_delimiter = ',')]
    keys: Vec<String>,
    /// NAME=VALUE of the application; may be given many times
    #[arg(long = "property", value_name = "NAME=VALUE")]
    properties: Vec<String>,
    /// Deliver later: 1 is 1 s, 2 is 5 s, .. 18 is 2 h
    #[arg(long, value_name = "LEVEL")]
    delay_level: Option<u32>,
    /// Messages a second at most
    #[arg(short, long)]
    rate: Option<f64>,
    /// Sends under way at the same time; 1 waits for each answer, and tries up to three brokers
    #[arg(short, long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    window: u16,
    /// Do not ask for answers
    #[arg(long)]
    oneway: bool,
    /// The producer group
    #[arg(short, long, default_value = "afterburner-send")]
    group: String,
    /// Print what happened as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Outcome {
    block_on(async move {
        let producer = Producer::new(args.cluster.config()?, ProducerConfig::new(&args.group));
        producer.start().await.map_err(explain)?;
        let sent = send_all(&producer, &args).await;
        producer.shutdown().await;
        let mut tally = sent?;
        if tally.sent == 0
            && !args.json
            && let Some(error) = tally.first_error.take()
        {
            return Err(explain(error));
        }
        tally.report(&args);
        Ok(if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

async fn send_all(producer: &Producer, args: &Args) -> Result<Tally, String> {
    let run = run_name();
    let mut tally = Tally::new(run.clone());
    let mut progress = Progress::new();
    let mut under_way: VecDeque<JoinHandle<(Result<SendResult, ClientError>, Duration)>> = VecDeque::new();
    let began = Instant::now();
    for number in 0..args.count {
        if let Some(rate) = args.rate.filter(|rate| *rate > 0.0) {
            tokio::time::sleep_until((began + Duration::from_secs_f64(number as f64 / rate)).into()).await;
        }
        let message = message(args, &run, number).map_err(|error| error.to_string())?;
        let since = Instant::now();
        if args.oneway {
            let sent = producer.send_oneway(message).await;
            tally.count(sent.map(|()| None), since.elapsed());
        } else if args.window == 1 {
            let sent = producer.send(message).await;
            tally.count(sent.map(Some), since.elapsed());
        } else {
            let end = producer.send_async(message).await.map_err(explain)?;
            under_way.push_back(tokio::spawn(async move { (end.await, since.elapsed()) }));
            while under_way.len() >= args.window.into()
                || under_way.front().is_some_and(JoinHandle::is_finished)
            {
                tally.end(under_way.pop_front()).await;
            }
        }
        progress.show(|| tally.line(args.count, began.elapsed()));
        if tally.failed > FAILURES_MAX {
            break;
        }
    }
    while !under_way.is_empty() {
        tally.end(under_way.pop_front()).await;
        progress.show(|| tally.line(args.count, began.elapsed()));
    }
    progress.clear();
    tally.took = began.elapsed();
    Ok(tally)
}

fn message(args: &Args, run: &str, number: u64) -> Result<Message, ClientError> {
    let body = match &args.body {
        Some(text) => text.clone(),
        None => format!("{:.<size$}", format!("message {number} of {run} "), size = args.size.max(1)),
    };
    let body = if args.body.is_none() { body[..args.size.max(1)].to_owned() } else { body };
    let mut message = Message::new(&args.topic, body)
        .with_property(RUN_PROPERTY, run)?
        .with_property(NUMBER_PROPERTY, number.to_string())?;
    if let Some(tag) = &args.tag {
        message = message.with_tag(tag);
    }
    if !args.keys.is_empty() {
        message = message.with_keys(args.keys.iter().map(|key| key.replace("{}", &number.to_string())));
    }
    if let Some(level) = args.delay_level {
        message = message.with_delay_level(level);
    }
    for pair in &args.properties {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        message = message.with_property(name, value)?;
    }
    Ok(message)
}

struct Tally {
    run: String,
    sent: u64,
    failed: u64,
    first_error: Option<ClientError>,
    last: Option<SendResult>,
    latency: Histogram<u64>,
    took: Duration,
}

impl Tally {
    fn new(run: String) -> Tally {
        // Values out of bounds are counted as the highest, but those of a histogram that grows as the lowest.
        let latency = Histogram::new_with_bounds(1, LATENCY_MAX_MICROS, 3).expect("the bounds are sound");
        Tally { run, sent: 0, failed: 0, first_error: None, last: None, latency, took: Duration::ZERO }
    }

    async fn end(&mut self, under_way: Option<JoinHandle<(Result<SendResult, ClientError>, Duration)>>) {
        if let Some(under_way) = under_way {
            match under_way.await {
                Ok((result, took)) => self.count(result.map(Some), took),
                Err(_) => self.failed += 1,
            }
        }
    }

    fn count(&mut self, result: Result<Option<SendResult>, ClientError>, took: Duration) {
        match result {
            Ok(result) => {
                self.sent += 1;
                self.latency.saturating_record(took.as_micros() as u64);
                self.last = result.or(self.last.take());
            }
            Err(error) => {
                self.failed += 1;
                self.first_error.get_or_insert(error);
            }
        }
    }

    fn line(&self, count: u64, took: Duration) -> String {
        let rate = self.sent as f64 / took.as_secs_f64().max(1e-9);
        let percent = self.sent * 100 / count.max(1);
        format!("sent {} of {count} ({percent} %), {rate:.0}/s, {} failed", self.sent, self.failed)
    }

    fn report(&self, args: &Args) {
        let seconds = self.took.as_secs_f64();
        let rate = self.sent as f64 / seconds.max(1e-9);
        let at = |quantile: f64| self.latency.value_at_quantile(quantile) as f64 / 1e3;
        if args.json {
            let last = self.last.as_ref().map(|last| {
                serde_json::json!({
                    "status": status_name(last.status), "msgId": last.msg_id, "offsetMsgId": last.offset_msg_id,
                    "broker": &*last.queue.broker_name, "queueId": last.queue.queue_id,
                    "queueOffset": last.queue_offset,
                })
            });
            let text = serde_json::json!({
                "topic": args.topic, "run": self.run, "sent": self.sent, "failed": self.failed,
                "seconds": seconds, "perSecond": rate, "p50Ms": at(0.5), "p99Ms": at(0.99),
                "maxMs": self.latency.max() as f64 / 1e3, "last": last,
                "error": self.first_error.as_ref().map(ToString::to_string),
            });
            return println!("{text:#}");
        }
        match &self.last {
            Some(last) if args.count == 1 => {
                println!(
                    "{} {} in {} at {}",
                    status_name(last.status),
                    last.msg_id,
                    last.queue,
                    last.queue_offset
                );
            }
            _ => println!(
                "sent {} messages to {} in {seconds:.2} s: {rate:.0}/s, p50 {:.2} ms, p99 {:.2} ms, {} failed",
                self.sent,
                args.topic,
                at(0.5),
                at(0.99),
                self.failed
            ),
        }
        if let Some(error) = &self.first_error {
            eprintln!("afterburner: the first failure: {}", explain(error.clone()));
        }
    }
}

fn status_name(status: SendStatus) -> &'static str {
    match status {
        SendStatus::Ok => "SEND_OK",
        SendStatus::FlushDiskTimeout => "FLUSH_DISK_TIMEOUT",
        SendStatus::FlushSlaveTimeout => "FLUSH_SLAVE_TIMEOUT",
        SendStatus::SlaveNotAvailable => "SLAVE_NOT_AVAILABLE",
        SendStatus::Oneway => "SENT_ONEWAY",
    }
}

/// Unlike that of any other run: the time in nanoseconds and the process.
fn run_name() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}", since.as_nanos(), std::process::id())
}

pub const RUN_PROPERTY: &str = "afterburnerRun";
pub const NUMBER_PROPERTY: &str = "afterburnerNumber";
/// After so many there is no point in going on.
const FAILURES_MAX: u64 = 100;

/// The longest latency that is told: a minute is longer than any send may take.
const LATENCY_MAX_MICROS: u64 = 60_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a send that took long is told as such. Method: results of a millisecond, of five and of two seconds.
    #[test]
    fn long_latencies_are_told() {
        let mut tally = Tally::new("run".into());
        for ms in [1, 5, 2_000] {
            tally.count(Ok(None), Duration::from_millis(ms));
        }
        let told = |quantile: f64| tally.latency.value_at_quantile(quantile) / 1_000;
        assert_eq!([told(0.3), told(0.5), told(0.99)], [1, 5, 2_000]);
    }
}
