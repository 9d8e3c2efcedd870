//! Figures as a table for people and as JSON for programs.

use super::load::Outcome;
use super::server::Used;
use serde::Serialize;
use std::time::Duration;

/// One subject under one load, round by round.
pub struct Row {
    pub subject: String,
    pub load: String,
    pub shape: String,
    pub connections: usize,
    pub size: usize,
    rounds: Vec<Round>,
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
    pub fn new(subject: &str, load: &str, shape: &str, connections: usize, size: usize) -> Row {
        let (subject, load, shape) = (subject.to_owned(), load.to_owned(), shape.to_owned());
        Row { subject, load, shape, connections, size, rounds: Vec::new() }
    }

    pub fn add(&mut self, round: Round) {
        self.rounds.push(round);
    }

    pub fn has_run(&self) -> bool {
        !self.rounds.is_empty()
    }

    pub fn figures(&self) -> Figures {
        let rounds = &self.rounds;
        let middle = |each: fn(&Round) -> f64| median(rounds.iter().map(each).collect());
        let middle_of_known =
            |each: fn(&Round) -> Option<f64>| rounds.iter().map(each).collect::<Option<Vec<_>>>().map(median);
        let sum = |each: fn(&Round) -> u64| rounds.iter().map(each).sum();
        let sum_of_known = |each: fn(&Used) -> Option<u64>| {
            rounds.iter().map(|round| each(round.used.as_ref()?)).sum::<Option<u64>>()
        };
        let own_kib = |round: Option<&Round>| round?.used?.own_kib;
        Figures {
            subject: self.subject.clone(),
            load: self.load.clone(),
            shape: self.shape.clone(),
            connections: self.connections,
            message_bytes: self.size,
            rounds: rounds.len(),
            seconds: rounds.iter().map(|round| round.outcome.took.as_secs_f64()).sum(),
            messages: sum(|round| round.outcome.messages),
            msg_per_s: middle(Round::rate),
            msg_per_s_min: rounds.iter().map(Round::rate).fold(f64::INFINITY, f64::min),
            msg_per_s_max: rounds.iter().map(Round::rate).fold(0.0, f64::max),
            mb_per_s: middle(|round| rate(round.bytes, round.outcome.took) / 1e6),
            latency_us: Latency {
                p50: middle(|round| round.micros_at(0.5)),
                p90: middle(|round| round.micros_at(0.9)),
                p99: middle(|round| round.micros_at(0.99)),
                p99_9: middle(|round| round.micros_at(0.999)),
                p99_99: middle(|round| round.micros_at(0.9999)),
                max: rounds.iter().map(|round| round.micros_at(1.0)).fold(0.0, f64::max),
            },
            p99_us_min: rounds.iter().map(|round| round.micros_at(0.99)).fold(f64::INFINITY, f64::min),
            p99_us_max: rounds.iter().map(|round| round.micros_at(0.99)).fold(0.0, f64::max),
            server_cpu_s_per_million: middle_of_known(|round| Some(round.per_million(round.used?.cpu_s))),
            server_ns_per_msg: middle_of_known(|round| Some(round.per_million(round.used?.busy_s()) * 1e3)),
            server_faults_minor: sum_of_known(|used| Some(used.faults_minor)),
            server_faults_major: sum_of_known(|used| Some(used.faults_major)),
            shard_faults: sum_of_known(|used| used.shard_faults),
            shard_allocations: sum_of_known(|used| used.shard_allocations),
            server_own_kib_begin: own_kib(rounds.first()).map(|kib| kib.0),
            server_own_kib_end: own_kib(rounds.last()).map(|kib| kib.1),
            client_cpu_s_per_million: middle(|round| round.per_million(round.client.cpu_s)),
            refused: sum(|round| round.outcome.refused),
            first_refusal: rounds.iter().find_map(|round| round.outcome.first_refusal),
            unanswered: sum(|round| round.outcome.unanswered),
        }
    }
}

impl Round {
    fn rate(&self) -> f64 {
        rate(self.outcome.messages, self.outcome.took)
    }

    fn micros_at(&self, quantile: f64) -> f64 {
        self.outcome.latency.value_at_quantile(quantile) as f64 / 1e3
    }

    fn per_million(&self, cpu_s: f64) -> f64 {
        cpu_s * 1e6 / self.outcome.served.max(1) as f64
    }
}

/// The one in the middle, or between the two there.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let upper = values.len() / 2;
    match values.get(upper) {
        Some(value) if values.len() % 2 == 1 => *value,
        Some(value) => (value + values[upper - 1]) / 2.0,
        None => 0.0,
    }
}

/// One row as it is told: rates, times and costs are the median of its rounds, so that a pause of the machine in one of them
/// does not decide; `max` is of all of them, and counts are sums.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    pub subject: String,
    pub load: String,
    pub shape: String,
    pub connections: usize,
    pub message_bytes: usize,
    pub rounds: usize,
    pub seconds: f64,
    pub messages: u64,
    pub msg_per_s: f64,
    pub msg_per_s_min: f64,
    pub msg_per_s_max: f64,
    pub mb_per_s: f64,
    pub latency_us: Latency,
    pub p99_us_min: f64,
    pub p99_us_max: f64,
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

    /// Goal: figures are those of the round in the middle, counts are sums, and the table's columns stand under each other.
    #[test]
    fn rounds_make_a_row() {
        let rounds =
            [(1_000_000, 5_000), (9_000_000, 50_000), (2_000_000, 7_000)].map(|(messages, latency_ns)| {
                let mut outcome = Outcome::new();
                outcome.messages = messages;
                outcome.served = messages;
                outcome.took = Duration::from_secs(1);
                outcome.record(latency_ns);
                let own_kib = Some((messages, 2 * messages));
                let used = Some(Used { cpu_s: 1.0, faults_minor: 2, own_kib, ..Used::default() });
                Round { outcome, used, client: Used::default(), bytes: messages }
            });
        let mut row = Row::new("tap", "send", "1 x 1", 1, 1024);
        rounds.into_iter().for_each(|round| row.add(round));
        let figures = row.figures();
        assert_eq!((figures.messages, figures.server_faults_minor), (12_000_000, Some(6)));
        assert!((figures.msg_per_s - 2e6).abs() < 1.0);
        assert!((figures.server_ns_per_msg.unwrap() - 500.0).abs() < 1e-6);
        assert_eq!((figures.msg_per_s_min, figures.msg_per_s_max), (1e6, 9e6));
        let p99 = (figures.p99_us_min, figures.latency_us.p99, figures.p99_us_max);
        assert_eq!(p99, (5.003, 7.003, 50.015), "the histogram's buckets, at their ends");
        assert_eq!(figures.latency_us.max, p99.2);
        let kib = (figures.server_own_kib_begin, figures.server_own_kib_end);
        assert_eq!(kib, (Some(1_000_000), Some(4_000_000)), "of the first look, and of the last");
        let text = table(&[figures]);
        let ends: Vec<usize> =
            text.lines().map(|line| line.find("msg/s").or(line.find("2,000,000")).unwrap()).collect();
        assert_eq!(ends[0] + "msg/s".len(), ends[1] + "2,000,000".len());
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_two() {
        assert_eq!(median(vec![4.0, 1.0, 2.0, 9.0]), 3.0);
        assert_eq!(median(vec![]), 0.0);
    }

    #[test]
    fn thousands_are_set_apart() {
        let texts = [0.4, 999.0, 1000.0, 1_234_567.0].map(thousands);
        assert_eq!(texts, ["0", "999", "1,000", "1,234,567"]);
    }
}
