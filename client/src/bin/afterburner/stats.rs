//! `afterburner stats`: what the brokers of a dataplane on this host count and measure, since their start or during a
//! while: core by core in one table, when there are several, then each with everything.
//!
//! ```text
//! answer now ─(--during S)─▶ answer later ─▶ later - now: counts, buckets of histograms
//! ```

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::Outcome;
use crate::cluster_access::print_table;
use crate::sight::{self, About, Answer, Broker};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    broker: Broker,
    /// Show what happens during so many seconds from now, instead of everything since the start
    #[arg(long, value_name = "SECONDS")]
    during: Option<f64>,
    /// Print one JSON document instead
    #[arg(long)]
    json: bool,
}

/// As the broker tells it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Stats {
    /// By group, then by name: they only grow.
    counts: Map<String, Value>,
    levels: Map<String, Value>,
    times: Map<String, Value>,
}

/// One histogram.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Times {
    count: u64,
    max_ns: u64,
    buckets: Vec<(u64, u64)>,
}

pub fn run(args: Args) -> Outcome {
    let mut shards = ask(&args.broker)?;
    if let Some(seconds) = args.during {
        let pause = Duration::try_from_secs_f64(seconds).map_err(|error| format!("--during: {error}"))?;
        std::thread::sleep(pause);
        let later = ask(&args.broker)?;
        let is_same = |earlier: &Shard, later: &Shard| earlier.broker["pid"] == later.broker["pid"];
        if later.len() != shards.len()
            || !shards.iter().zip(&later).all(|(earlier, later)| is_same(earlier, later))
        {
            return Err("the broker was started again meanwhile".into());
        }
        let pairs = later.into_iter().zip(&shards);
        shards = pairs
            .map(|(later, earlier)| Ok(Shard { stats: later.stats.since(&earlier.stats)?, ..later }))
            .collect::<Result<_, String>>()?;
    }
    if args.json {
        println!("{}", json!({ "brokers": shards }));
        return Ok(ExitCode::SUCCESS);
    }
    if shards.len() > 1 {
        let rows = shards.iter().map(Shard::summary).collect::<Result<Vec<_>, _>>()?;
        print_table(&SUMMARY, &rows, &SUMMARY_NUMBERS);
        println!();
    }
    for (at, shard) in shards.iter().enumerate() {
        if at > 0 {
            println!();
        }
        println!("{}", shard.about.line());
        print!("{}", describe(&shard.stats)?);
        print_times(&shard.stats)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One shard's answer.
#[derive(Serialize)]
struct Shard {
    /// As the broker tells it.
    broker: Value,
    #[serde(skip)]
    about: About,
    stats: Stats,
}

fn ask(broker: &Broker) -> Result<Vec<Shard>, String> {
    let answers = broker.ask(&json!({ "ask": "stats" }))?;
    let shard = |answer: Answer| {
        let stats = sight::part(&answer.value, "stats")?;
        Ok(Shard { broker: answer.value["broker"].clone(), about: answer.about, stats })
    };
    answers.into_iter().map(shard).collect()
}

impl Shard {
    /// Its line in the table of all.
    fn summary(&self) -> Result<Vec<String>, String> {
        let (about, stats) = (&self.about, &self.stats);
        let busy = stats.count("polls", "busyNs") as f64 / stats.count("polls", "elapsedNs").max(1) as f64;
        let turns = stats.times_of("turn")?;
        let turn_p99_ns = turns.histogram()?.value_at_quantile(0.99);
        Ok(vec![
            about.shard.to_string(),
            about.core.map_or_else(|| "-".to_owned(), |core| core.to_string()),
            about.name.clone(),
            about.address.clone(),
            stats.levels.get("connections").and_then(Value::as_u64).unwrap_or(0).to_string(),
            stats.count("requests", "putMessages").to_string(),
            stats.count("requests", "pulls").to_string(),
            format!("{:.2}", 100.0 * busy),
            if turns.count == 0 { "-".to_owned() } else { format!("{:.1}", turn_p99_ns as f64 / 1e3) },
        ])
    }
}

impl Stats {
    /// What happened since an earlier answer of the same broker.
    fn since(mut self, earlier: &Stats) -> Result<Stats, String> {
        for (group, members) in &mut self.counts {
            let Some(members) = members.as_object_mut() else { continue };
            for (name, count) in members {
                let before = earlier.count(group, name);
                *count = count.as_u64().unwrap_or(0).saturating_sub(before).into();
            }
        }
        let names: Vec<String> = self.times.keys().cloned().collect();
        for name in names {
            let since = self.times_of(&name)?.since(&earlier.times_of(&name)?);
            self.times.insert(name, json!(since));
        }
        Ok(self)
    }

    fn count(&self, group: &str, name: &str) -> u64 {
        self.counts.get(group).and_then(|members| members[name].as_u64()).unwrap_or(0)
    }

    /// Names and counts of a group that are not zero.
    fn group(&self, group: &str) -> impl Iterator<Item = (&str, u64)> {
        let members = self.counts.get(group).and_then(Value::as_object).into_iter().flatten();
        members.filter_map(|(name, count)| Some((name.as_str(), count.as_u64().filter(|&count| count > 0)?)))
    }

    fn times_of(&self, name: &str) -> Result<Times, String> {
        let times = self.times.get(name).cloned().unwrap_or_else(|| json!(Times::default()));
        serde_json::from_value(times).map_err(|error| format!("the broker's times of {name}: {error}"))
    }
}

impl Times {
    /// The longest of the difference is known by its bucket only, unless it is the longest of all.
    fn since(&self, earlier: &Times) -> Times {
        let before =
            |end: u64| earlier.buckets.iter().find(|bucket| bucket.0 == end).map_or(0, |bucket| bucket.1);
        let differences = self.buckets.iter().map(|&(end, count)| (end, count.saturating_sub(before(end))));
        let buckets: Vec<_> = differences.filter(|&(_, count)| count > 0).collect();
        let max_ns = buckets.last().map_or(0, |&(end, _)| end.min(self.max_ns));
        Times { count: self.count.saturating_sub(earlier.count), max_ns, buckets }
    }

    fn histogram(&self) -> Result<Histogram<u64>, String> {
        let odd = |error: &dyn std::fmt::Display| format!("times that make no sense: {error}");
        let mut histogram = Histogram::new(3).map_err(|error| odd(&error))?;
        for &(end, count) in &self.buckets {
            histogram.record_n(end.min(self.max_ns), count).map_err(|error| odd(&error))?;
        }
        Ok(histogram)
    }
}

/// The lines above the table.
fn describe(stats: &Stats) -> Result<String, String> {
    let mut text = String::new();
    let mut line = |name: &str, content: String| {
        let _ = writeln!(text, "  {name:12}{content}"); // A String takes everything.
    };
    let polls = |name| stats.count("polls", name);
    let share = |part: u64, whole: u64| 100.0 * part as f64 / whole.max(1) as f64;
    line(
        "polls",
        format!(
            "{} turns in {:.1} s, {:.2} % of them with work, {:.2} % of the time",
            polls("turns"),
            polls("elapsedNs") as f64 / 1e9,
            share(polls("busyTurns"), polls("turns")),
            share(polls("busyNs"), polls("elapsedNs")),
        ),
    );
    for group in ["requests", "sessions", "outbox"] {
        line(group, listed(stats.group(group)));
    }
    let is_drop = |name: &str| name.starts_with("drop") || matches!(name, "synsDropped" | "resetsIgnored");
    line("network", listed(stats.group("net").filter(|(name, _)| !is_drop(name))));
    line("dropped", listed(stats.group("net").filter(|(name, _)| is_drop(name))));
    line(
        "now",
        listed(stats.levels.iter().map(|(name, level)| (name.as_str(), level.as_u64().unwrap_or(0)))),
    );
    Ok(text)
}

fn listed<'a>(counts: impl Iterator<Item = (&'a str, u64)>) -> String {
    let all: Vec<String> = counts.map(|(name, count)| format!("{name} {count}")).collect();
    if all.is_empty() { "nothing".to_owned() } else { all.join(", ") }
}

fn print_times(stats: &Stats) -> Result<(), String> {
    let mut rows = Vec::new();
    for (name, what) in STAGES {
        let times = stats.times_of(name)?;
        if times.count == 0 {
            continue;
        }
        let histogram = times.histogram()?;
        let micros = |ns: u64| format!("{:.1}", ns as f64 / 1e3);
        let mut row = vec![name.to_owned(), times.count.to_string()];
        row.extend([0.5, 0.99, 0.999].map(|quantile| micros(histogram.value_at_quantile(quantile))));
        row.push(micros(times.max_ns));
        row.push(what.to_owned());
        rows.push(row);
    }
    print_table(&["stage", "count", "p50 us", "p99", "p99.9", "max", ""], &rows, &[1, 2, 3, 4, 5]);
    Ok(())
}

/// In the order of a send's walk; then what the loop and the disk take.
const STAGES: [(&str, &str); 9] = [
    ("parsed", "its segment came -> its header is read"),
    ("appended", "-> it is in the hot log"),
    ("durable", "-> it is on the disk (SYNC_FLUSH)"),
    ("replied", "-> its answer is with the network"),
    ("whole", "all of these"),
    ("turn", "turns of the polling loop with work"),
    ("diskWrite", "the disk: a run of the log written"),
    ("diskSync", "the disk: the log synced"),
    ("diskRead", "the disk: a block of old messages read"),
];

const SUMMARY: [&str; 9] =
    ["shard", "core", "broker", "address", "conns", "messages in", "pulls", "busy %", "turn p99 us"];
const SUMMARY_NUMBERS: [usize; 7] = [0, 1, 4, 5, 6, 7, 8];

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a core's line tells whose it is and how busy it is.
    #[test]
    fn a_line_for_each_core() {
        let about = json!({ "name": "b-1", "address": "a:1", "device": "kernel", "shard": 1, "core": null });
        let shard =
            Shard { about: About::deserialize(&about).unwrap(), broker: about, stats: stats(7, 1, 1_900) };
        assert_eq!(shard.summary().unwrap(), ["1", "-", "b-1", "a:1", "2", "7", "0", "25.00", "-"]);
        assert!(serde_json::to_value(&shard).unwrap()["broker"]["shard"].is_u64());
    }

    fn stats(puts: u64, bucket: u64, max_ns: u64) -> Stats {
        serde_json::from_value(json!({
            "counts": {
                "requests": { "putMessages": puts },
                "net": { "dropNotOurs": 3, "framesIn": puts },
                "polls": { "turns": 10 * puts, "busyTurns": puts, "busyNs": 250_000_000, "elapsedNs": 1_000_000_000 },
            },
            "levels": { "connections": 2 },
            "times": { "whole": { "count": bucket + 1, "maxNs": max_ns, "buckets": [[10, 1], [2_000, bucket]] } },
        }))
        .unwrap()
    }

    #[test]
    fn lines_are_for_people() {
        let text = describe(&stats(7, 1, 1_900)).unwrap();
        assert!(text.contains("70 turns in 1.0 s, 10.00 % of them with work, 25.00 % of the time"), "{text}");
        assert!(
            text.contains("network     framesIn 7\n") && text.contains("dropped     dropNotOurs 3\n"),
            "{text}"
        );
        assert!(text.contains("sessions    nothing\n"), "{text}");
    }

    /// Goal: a difference shows only what happened between. Method: subtract an earlier answer.
    #[test]
    fn differences_show_what_happened_between() {
        let since = stats(12, 9, 1_900).since(&stats(7, 4, 1_500)).unwrap();
        assert_eq!((since.count("requests", "putMessages"), since.count("net", "dropNotOurs")), (5, 0));
        let whole = since.times_of("whole").unwrap();
        assert_eq!((whole.count, whole.max_ns, whole.buckets.clone()), (5, 1_900, vec![(2_000, 5)]));
        assert_eq!(whole.histogram().unwrap().len(), 5);
        assert_eq!(since.levels["connections"], 2);
    }
}
