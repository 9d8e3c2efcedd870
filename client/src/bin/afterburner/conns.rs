//! `afterburner conns`: every connection of the brokers of a dataplane on this host, and how it is doing.

use std::cmp::Reverse;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Outcome;
use crate::cluster_access::print_table;
use crate::sight::{self, Broker};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    broker: Broker,
    /// What comes first
    #[arg(long, value_enum, default_value_t = Sort::Queued)]
    sort: Sort,
    /// Show this many at most; 0 shows all
    #[arg(long, default_value_t = 0)]
    limit: usize,
    /// Print one JSON document instead of a table
    #[arg(long)]
    json: bool,
}

/// Biggest first, but for names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Sort {
    /// Bytes waiting on our side, in and out
    Queued,
    /// Bytes in and out since it was opened
    Bytes,
    /// Round trip time
    Rtt,
    /// Frames with bytes that had been sent before
    Retransmits,
    /// Time the peer kept its window shut
    ZeroWindow,
    /// The oldest first
    Age,
    /// The longest silent first
    Idle,
    /// Client id, then peer
    Client,
    /// Address and port
    Peer,
}

/// One connection, as the broker tells it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Conn {
    /// Whose it is; the broker itself does not say.
    #[serde(default)]
    broker: String,
    peer: String,
    local: String,
    state: String,
    client_id: Option<String>,
    groups: Vec<String>,
    groups_count: usize,
    age_ms: u64,
    idle_ms: u64,
    rtt_micros: Option<f64>,
    retransmits: Option<u64>,
    zero_window_ms: Option<f64>,
    bytes_in: u64,
    bytes_out: u64,
    unread_bytes: u64,
    unacked_bytes: u64,
    outbox_bytes: u64,
}

pub fn run(args: Args) -> Outcome {
    let answers = args.broker.ask(&json!({ "ask": "conns" }))?;
    let mut conns = Vec::new();
    for answer in &answers {
        let mut theirs: Vec<Conn> = sight::part(&answer.value, "conns")?;
        theirs.iter_mut().for_each(|conn| conn.broker.clone_from(&answer.about.name));
        conns.append(&mut theirs);
    }
    let all = conns.len();
    sort(&mut conns, args.sort);
    if args.limit > 0 {
        conns.truncate(args.limit);
    }
    if args.json {
        let brokers: Vec<_> = answers.iter().map(|answer| &answer.value["broker"]).collect();
        println!("{}", json!({ "brokers": brokers, "connections": all, "conns": conns }));
        return Ok(ExitCode::SUCCESS);
    }
    // Of one broker everybody knows whose they are.
    let own = usize::from(answers.len() == 1);
    let rows: Vec<Vec<String>> = conns.iter().map(|conn| cells(conn).split_off(own)).collect();
    print_table(&HEAD[own..], &rows, &NUMBERS.map(|column| column - own));
    let brokers: Vec<String> = answers.iter().map(|answer| answer.about.line()).collect();
    eprintln!("{} of {all} connections of {}", rows.len(), brokers.join("; "));
    Ok(ExitCode::SUCCESS)
}

fn sort(conns: &mut [Conn], by: Sort) {
    // What the broker cannot tell counts as nothing.
    let scaled = |number: Option<f64>| (number.unwrap_or(0.0) * 1e3) as u64;
    match by {
        Sort::Queued => {
            conns.sort_by_key(|conn| Reverse(conn.unread_bytes + conn.unacked_bytes + conn.outbox_bytes));
        }
        Sort::Bytes => conns.sort_by_key(|conn| Reverse(conn.bytes_in + conn.bytes_out)),
        Sort::Rtt => conns.sort_by_key(|conn| Reverse(scaled(conn.rtt_micros))),
        Sort::Retransmits => conns.sort_by_key(|conn| Reverse(conn.retransmits)),
        Sort::ZeroWindow => conns.sort_by_key(|conn| Reverse(scaled(conn.zero_window_ms))),
        Sort::Age => conns.sort_by_key(|conn| Reverse(conn.age_ms)),
        Sort::Idle => conns.sort_by_key(|conn| Reverse(conn.idle_ms)),
        Sort::Client => conns.sort_by_key(|conn| (conn.client_id.clone(), conn.peer.clone())),
        Sort::Peer => conns.sort_by_key(|conn| conn.peer.clone()),
    }
}

fn cells(conn: &Conn) -> Vec<String> {
    let dash = || "-".to_owned();
    let more = conn.groups_count.saturating_sub(conn.groups.len());
    let mut groups = conn.groups.join(",");
    if more > 0 {
        groups += &format!(",+{more}");
    }
    vec![
        conn.broker.clone(),
        conn.peer.clone(),
        conn.local.rsplit(':').next().unwrap_or_default().to_owned(),
        conn.state.clone(),
        conn.client_id.clone().unwrap_or_else(dash),
        if groups.is_empty() { dash() } else { groups },
        conn.rtt_micros.map_or_else(dash, |micros| format!("{micros:.0}")),
        conn.retransmits.map_or_else(dash, |count| count.to_string()),
        conn.zero_window_ms.map_or_else(dash, |ms| format!("{ms:.0}")),
        amount(conn.bytes_in),
        amount(conn.bytes_out),
        amount(conn.unread_bytes),
        amount(conn.unacked_bytes + conn.outbox_bytes),
        span(conn.idle_ms),
        span(conn.age_ms),
    ]
}

/// `1.5M` for people.
pub fn amount(bytes: u64) -> String {
    let units = [("G", 1_u64 << 30), ("M", 1 << 20), ("K", 1 << 10)];
    match units.into_iter().find(|&(_, unit)| bytes >= unit) {
        Some((name, unit)) => format!("{:.1}{name}", bytes as f64 / unit as f64),
        None => bytes.to_string(),
    }
}

/// `2h03m` for people.
fn span(ms: u64) -> String {
    let s = ms / 1_000;
    match s {
        0 => format!("{ms}ms"),
        1..60 => format!("{s}s"),
        60..3_600 => format!("{}m{:02}s", s / 60, s % 60),
        3_600..86_400 => format!("{}h{:02}m", s / 3_600, s / 60 % 60),
        _ => format!("{}d{:02}h", s / 86_400, s / 3_600 % 24),
    }
}

const HEAD: [&str; 15] = [
    "broker", "peer", "port", "state", "client", "groups", "rtt us", "resent", "shut ms", "in", "out",
    "unread", "unsent", "idle", "age",
];
const NUMBERS: [usize; 9] = [6, 7, 8, 9, 10, 11, 12, 13, 14];

#[cfg(test)]
mod tests {
    use super::*;

    fn conn(peer: &str, rtt_micros: Option<f64>, outbox_bytes: u64) -> Conn {
        Conn {
            broker: "b".into(),
            peer: peer.into(),
            local: "10.77.0.2:10911".into(),
            state: "established".into(),
            client_id: None,
            groups: vec!["g1".into()],
            groups_count: 3,
            age_ms: 7_380_000,
            idle_ms: 12,
            rtt_micros,
            retransmits: None,
            zero_window_ms: Some(1.5),
            bytes_in: 2_048,
            bytes_out: 1_023,
            unread_bytes: 0,
            unacked_bytes: 0,
            outbox_bytes,
        }
    }

    /// Goal: the biggest stands first, and what is not known last.
    #[test]
    fn sorted_as_asked() {
        let mut conns = [conn("a:1", None, 5), conn("b:1", Some(7.25), 9), conn("c:1", Some(70.0), 0)];
        let order = |conns: &[Conn]| conns.iter().map(|conn| conn.peer.clone()).collect::<String>();
        sort(&mut conns, Sort::Rtt);
        assert_eq!(order(&conns), "c:1b:1a:1");
        sort(&mut conns, Sort::Queued);
        assert_eq!(order(&conns), "b:1a:1c:1");
        sort(&mut conns, Sort::Peer);
        assert_eq!(order(&conns), "a:1b:1c:1");
    }

    #[test]
    fn cells_are_for_people() {
        let cells = cells(&conn("a:1", Some(7.25), 1 << 20));
        assert_eq!(
            cells,
            [
                "b",
                "a:1",
                "10911",
                "established",
                "-",
                "g1,+2",
                "7",
                "-",
                "2",
                "2.0K",
                "1023",
                "0",
                "1.0M",
                "12ms",
                "2h03m"
            ]
        );
        assert_eq!(
            (span(999), span(61_000), span(90_000_000)),
            ("999ms".into(), "1m01s".into(), "1d01h".into())
        );
    }
}
