//! Figures as a table for people and as JSON for programs.

use super::load::Outcome;
use super::server::Used;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Duration;

/// One subject under one load, over all rounds.
#[derive(Clone, Debug)]
pub struct Row {
    pub subject: String,
    pub load: String,
    pub shape: String,
    pub size: usize,
    outcome: Outcome,
    rates: Vec<f64>,
    used: Option<Used>,
    client_cpu_s: f64,
    bytes: u64,
}

/// What one round adds.
pub struct Round {
    pub outcome: Outcome,
    pub used: Option<Used>,
    pub client: Used,
    pub bytes: u64,
}

/// What could not be measured, and why.
#[derive(Clone, Debug, Serialize)]
pub struct Skipped {
    pub server: String,
    /// `None`: all of them, because the server could not be had.
    pub load: Option<String>,
    pub why: String,
}

impl std::fmt::Display for Skipped {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.load {
            Some(load) => write!(out, "failed: {}, {load}: {}", self.server, self.why),
            None => write!(out, "skipped: {}: {}", self.server, self.why),
        }
    }
}

impl Row {
    pub fn new(subject: &str, load: &str, shape: &str, size: usize) -> Row {
        Row {
            subject: subject.to_owned(),
            load: load.to_owned(),
            shape: shape.to_owned(),
            size,
            outcome: Outcome::new(),
            rates: Vec::new(),
            used: None,
            client_cpu_s: 0.0,
            bytes: 0,
        }
    }

    pub fn add(&mut self, round: Round) {
        let Round { outcome, used, client, bytes } = round;
        self.rates.push(rate(outcome.messages, outcome.took));
        self.outcome.latency.add(&outcome.latency).expect("all histograms have the same bounds");
        self.outcome.messages += outcome.messages;
        self.outcome.served += outcome.served;
        self.outcome.took += outcome.took;
        self.outcome.refused += outcome.refused;
        self.outcome.unanswered += outcome.unanswered;
        self.outcome.first_refusal = self.outcome.first_refusal.or(outcome.first_refusal);
        if let Some(used) = used {
            let sum = self.used.get_or_insert(Used { own_kib: used.own_kib, ..Used::default() });
            let add =
                |sum: &mut Option<u64>, more: Option<u64>| *sum = more.map(|more| sum.unwrap_or(0) + more);
            sum.cpu_s += used.cpu_s;
            sum.shard_cpu_s += used.shard_cpu_s;
            add(&mut sum.shard_busy_ns, used.shard_busy_ns);
            add(&mut sum.shard_faults, used.shard_faults);
            add(&mut sum.shard_allocations, used.shard_allocations);
            sum.faults_minor += used.faults_minor;
            sum.faults_major += used.faults_major;
            sum.own_kib = sum.own_kib.zip(used.own_kib).map(|(at, more)| (at.0, more.1));
        }
        self.client_cpu_s += client.cpu_s;
        self.bytes += bytes;
    }

    pub fn has_run(&self) -> bool {
        !self.rates.is_empty()
    }

    pub fn figures(&self) -> Figures {
        let Outcome { messages, took, served, latency, refused, first_refusal, unanswered } = &self.outcome;
        let per_million = |cpu_s: f64| cpu_s * 1e6 / (*served).max(1) as f64;
        Figures {
            subject: self.subject.clone(),
            load: self.load.clone(),
            shape: self.shape.clone(),
            message_bytes: self.size,
            rounds: self.rates.len(),
            seconds: took.as_secs_f64(),
            messages: *messages,
            msg_per_s: rate(*messages, *took),
            msg_per_s_min: self.rates.iter().copied().fold(f64::INFINITY, f64::min),
            msg_per_s_max: self.rates.iter().copied().fold(0.0, f64::max),
            mb_per_s: rate(self.bytes, *took) / 1e6,
            latency_us: Latency::of(latency),
            server_cpu_s_per_million: self.used.map(|used| per_million(used.cpu_s)),
            server_ns_per_msg: self.used.map(|used| {
                let polls = used.shard_cpu_s > 0.0;
                let cpu_s = if polls { used.shard_cpu_s } else { used.cpu_s };
                per_million(used.shard_busy_ns.map_or(cpu_s, |ns| ns as f64 / 1e9)) * 1e3
            }),
            server_faults_minor: self.used.map(|used| used.faults_minor),
            server_faults_major: self.used.map(|used| used.faults_major),
            shard_faults: self.used.and_then(|used| used.shard_faults),
            shard_allocations: self.used.and_then(|used| used.shard_allocations),
            server_own_kib_begin: self.used.and_then(|used| used.own_kib).map(|kib| kib.0),
            server_own_kib_end: self.used.and_then(|used| used.own_kib).map(|kib| kib.1),
            client_cpu_s_per_million: per_million(self.client_cpu_s),
            refused: *refused,
            first_refusal: *first_refusal,
            unanswered: *unanswered,
        }
    }
}

/// One row as it is told.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    pub subject: String,
    pub load: String,
    pub shape: String,
    pub message_bytes: usize,
    pub rounds: usize,
    pub seconds: f64,
    pub messages: u64,
    pub msg_per_s: f64,
    pub msg_per_s_min: f64,
    pub msg_per_s_max: f64,
    pub mb_per_s: f64,
    pub latency_us: Latency,
    pub server_cpu_s_per_million: Option<f64>,
    /// How long the turns with work took, of a server that tells; else CPU time of the threads that poll; else of all threads.
    /// Over messages.
    pub server_ns_per_msg: Option<f64>,
    pub server_faults_minor: Option<u64>,
    pub server_faults_major: Option<u64>,
    /// Of the threads that poll, of a server that tells.
    pub shard_faults: Option<u64>,
    pub shard_allocations: Option<u64>,
    pub server_own_kib_begin: Option<u64>,
    pub server_own_kib_end: Option<u64>,
    pub client_cpu_s_per_million: f64,
    pub refused: u64,
    pub first_refusal: Option<i32>,
    pub unanswered: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latency {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p99_9: f64,
    pub p99_99: f64,
    pub max: f64,
}

impl Latency {
    fn of(latency: &Histogram<u64>) -> Latency {
        let at = |quantile: f64| latency.value_at_quantile(quantile) as f64 / 1e3;
        Latency {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: latency.max() as f64 / 1e3,
        }
    }
}

/// Columns as wide as what stands in them; the first three to the left, numbers to the right.
pub fn table(rows: &[Figures]) -> String {
    let head = [
        "server",
        "load",
        "shape",
        "msg/s",
        "MB/s",
        "p50 µs",
        "p99 µs",
        "p99.9 µs",
        "p99.99 µs",
        "max µs",
        "server ns/msg",
        "CPU s/M",
        "faults",
        "allocs",
        "RSS MiB",
        "errors",
    ];
    let mut lines: Vec<Vec<String>> = vec![head.iter().map(|&text| text.to_owned()).collect()];
    lines.extend(rows.iter().map(line));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let mut row = String::new();
        for (column, cell) in line.iter().enumerate() {
            let pad = " ".repeat(widths[column] - cell.chars().count());
            row += &if column < 3 { format!("{cell}{pad}  ") } else { format!("{pad}{cell}  ") };
        }
        text += row.trim_end();
        text.push('\n');
    }
    text
}

fn line(row: &Figures) -> Vec<String> {
    let or_dash = |number: Option<String>| number.unwrap_or_else(|| "-".to_owned());
    let latency = &row.latency_us;
    vec![
        row.subject.clone(),
        row.load.clone(),
        row.shape.clone(),
        thousands(row.msg_per_s),
        format!("{:.0}", row.mb_per_s),
        micros(latency.p50),
        micros(latency.p99),
        micros(latency.p99_9),
        micros(latency.p99_99),
        micros(latency.max),
        or_dash(row.server_ns_per_msg.map(|ns| format!("{ns:.0}"))),
        or_dash(row.server_cpu_s_per_million.map(|cpu_s| format!("{cpu_s:.3}"))),
        or_dash(row.shard_faults.map(|faults| faults.to_string())),
        or_dash(row.shard_allocations.map(|allocations| allocations.to_string())),
        or_dash(row.server_own_kib_end.map(|kib| format!("{:.0}", kib as f64 / 1024.0))),
        errors(row),
    ]
}

fn errors(row: &Figures) -> String {
    let refused = row.first_refusal.map(|code| format!("{} refused, code {code}", row.refused));
    let lost = (row.unanswered > 0).then(|| format!("{} unanswered", row.unanswered));
    let all: Vec<String> = refused.into_iter().chain(lost).collect();
    if all.is_empty() { "0".to_owned() } else { all.join("; ") }
}

fn micros(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { thousands(value) }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn rate(count: u64, took: Duration) -> f64 {
    if took.is_zero() { 0.0 } else { count as f64 / took.as_secs_f64() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: rounds add up, and the table's columns stand under each other.
    #[test]
    fn rounds_add_up_to_a_row() {
        let mut row = Row::new("tap", "send", "1 x 1", 1024);
        for (messages, latency_ns) in [(1_000_000, 5_000), (3_000_000, 7_000)] {
            let mut outcome = Outcome::new();
            outcome.messages = messages;
            outcome.served = messages;
            outcome.took = Duration::from_secs(1);
            outcome.record(latency_ns);
            let used = Some(Used {
                cpu_s: 1.0,
                faults_minor: 2,
                own_kib: Some((messages, 2 * messages)),
                ..Used::default()
            });
            row.add(Round { outcome, used, client: Used::default(), bytes: messages });
        }
        let figures = row.figures();
        assert!((figures.msg_per_s - 2e6).abs() < 1.0);
        assert!((figures.server_ns_per_msg.unwrap() - 500.0).abs() < 1e-6);
        assert_eq!((figures.msg_per_s_min, figures.msg_per_s_max), (1e6, 3e6));
        let kib = (figures.server_own_kib_begin, figures.server_own_kib_end);
        assert_eq!(kib, (Some(1_000_000), Some(6_000_000)), "of the first look, and of the last");
        let text = table(&[figures]);
        let ends: Vec<usize> =
            text.lines().map(|line| line.find("msg/s").or(line.find("2,000,000")).unwrap()).collect();
        assert_eq!(ends[0] + "msg/s".len(), ends[1] + "2,000,000".len());
    }

    #[test]
    fn thousands_are_set_apart() {
        let texts = [0.4, 999.0, 1000.0, 1_234_567.0].map(thousands);
        assert_eq!(texts, ["0", "999", "1,000", "1,234,567"]);
    }
}
