//! A shard's numbers as JSON: flat maps of counts, so that two answers can be subtracted, and histograms as pairs.

use serde_json::{Map, Value, json};

use crate::counters::Tell;
use crate::measure::histogram::Histogram;
use crate::sight::stats::StatsPage;

/// `stats` of the answer. `counts` only ever grow; `levels` go up and down.
pub fn json(page: &StatsPage) -> Value {
    let mut counts = Map::new();
    let mut group = |name: &str, each: &dyn Fn(&mut Tell<'_>)| {
        let mut members = Map::new();
        each(&mut |name, count| {
            members.insert(camel(name), count.into());
        });
        counts.insert(name.to_owned(), members.into());
    };
    group("requests", &|tell| page.requests.each(tell));
    group("sessions", &|tell| page.sessions.each(tell));
    group("outbox", &|tell| page.outbox.each(tell));
    group("net", &|tell| page.net.iter().for_each(|&(name, count)| tell(name, count)));
    group("polls", &|tell| {
        tell("elapsed_ns", page.now_ns);
        tell("turns", page.turns);
        tell("busy_turns", page.busy_turns);
        tell("busy_ns", page.busy_ns);
        tell("allocations", page.now.allocations);
    });
    let mut times = Map::new();
    let disk = ["diskWrite", "diskSync", "diskRead"].into_iter().zip(&page.disk);
    for (name, histogram) in page.stages.named().into_iter().chain([("turn", &page.busy)]).chain(disk) {
        times.insert(name.to_owned(), histogram_json(histogram));
    }
    let now = &page.now;
    json!({
        "counts": counts,
        "levels": {
            "connections": now.connections,
            "heldPulls": now.held_pulls,
            "errands": now.errands,
            "unwrittenBytes": now.unwritten_bytes,
            "unsyncedBytes": now.unsynced_bytes,
            "logReadOnly": u8::from(now.log_read_only),
            "diskFull": u8::from(now.disk_full),
        },
        "times": times,
    })
}

/// `[[longest ns of a bucket, how many], ..]` and the longest of all.
fn histogram_json(histogram: &Histogram) -> Value {
    let buckets: Vec<(u64, u64)> = histogram.buckets().collect();
    json!({ "count": histogram.count(), "maxNs": histogram.max(), "buckets": buckets })
}

/// `drop_not_ours` as JSON writes it: `dropNotOurs`.
fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let mut text = words.next().unwrap_or_default().to_owned();
    for word in words {
        let (first, rest) = word.split_at(word.len().min(1));
        text += &first.to_uppercase();
        text += rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: every number is there under its name. Method: a page with a few that are not zero.
    #[test]
    fn every_count_has_its_name() {
        let mut page = StatsPage::new();
        page.requests.put_messages = 7;
        page.net.push(("drop_not_ours", 3));
        page.stages.whole.record(5);
        page.disk[1].record(7);
        page.now.log_read_only = true;
        let json = json(&page);
        assert_eq!(json["counts"]["requests"]["putMessages"], 7);
        assert_eq!(json["counts"]["net"]["dropNotOurs"], 3);
        assert_eq!(json["times"]["whole"], json!({ "count": 1, "maxNs": 5, "buckets": [[5, 1]] }));
        assert_eq!(json["times"]["diskSync"]["maxNs"], 7);
        assert_eq!(json["levels"]["logReadOnly"], 1);
        assert_eq!(json["counts"]["polls"]["busyNs"], 0);
    }
}
