//! `afterburner query`: finds messages by key, by id, by queue offset or by time.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use client::query::IndexedBy;
use client::{Admin, ClientError, MessageExt, MessageQueue};

use crate::Outcome;
use crate::cluster_access::{Cluster, block_on, print_table, with_admin};

#[derive(clap::Args)]
#[command(after_help = "Examples:
  afterburner query key order-4711 --topic Orders
  afterburner query id 0A4D000200002A9F0000000000000000
  afterburner query offset 100 --queue 2 --topic Orders --max 5 --json
  afterburner query time --topic Orders --from 2h --to 1h

Exit code 1: there is no such message.")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Messages with this key (KEYS), unique id or tag, newest first
    Key {
        #[command(flatten)]
        common: Common,
        #[arg(short, long)]
        topic: String,
        #[arg(value_name = "KEY")]
        key: String,
        /// KEY is a tag; of the official brokers only those of 5.5 keep an index of tags
        #[arg(long)]
        tag: bool,
        /// Stored then or later: milliseconds since 1970, or how long ago, as 90s, 10m, 2h, 3d
        #[arg(long, default_value = "0", value_parser = parse_time)]
        from: i64,
        /// Stored before; as --from
        #[arg(long, default_value = "0s", value_parser = parse_time)]
        to: i64,
    },
    /// The message with this id: that of its sender (with --topic), or that of its place, which brokers call msgId
    Id {
        #[command(flatten)]
        common: Common,
        #[arg(value_name = "ID")]
        id: String,
        #[arg(short, long)]
        topic: Option<String>,
    },
    /// What lies in a queue from an offset on
    Offset {
        #[command(flatten)]
        common: Common,
        #[arg(short, long)]
        topic: String,
        #[arg(value_name = "OFFSET")]
        offset: i64,
        #[arg(short, long)]
        queue: i32,
        /// Whose queue; may be left out where one broker has the topic
        #[arg(short, long, value_name = "NAME")]
        broker: Option<String>,
    },
    /// What was stored in a span of time, oldest first
    Time {
        #[command(flatten)]
        common: Common,
        #[arg(short, long)]
        topic: String,
        /// Stored then or later: milliseconds since 1970, or how long ago, as 90s, 10m, 2h, 3d
        #[arg(long, default_value = "10m", value_parser = parse_time)]
        from: i64,
        /// Stored before; as --from
        #[arg(long, default_value = "0s", value_parser = parse_time)]
        to: i64,
    },
}

#[derive(clap::Args)]
struct Common {
    #[command(flatten)]
    cluster: Cluster,
    /// Messages at most
    #[arg(short, long, default_value_t = 32)]
    max: u32,
    /// Print each message as one JSON object a line, with its whole body and properties
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Outcome {
    block_on(async move {
        let common = match &args.what {
            What::Key { common, .. }
            | What::Id { common, .. }
            | What::Offset { common, .. }
            | What::Time { common, .. } => common,
        };
        let mut found =
            with_admin(&common.cluster, async |admin| find(admin, &args.what, common.max).await).await?;
        found.truncate(common.max as usize);
        if found.is_empty() {
            return Err(nothing(&args.what).to_owned());
        }
        if common.json {
            found.iter().for_each(|message| println!("{}", object(message)));
        } else {
            print_messages(&found);
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn find(admin: &Admin, what: &What, max: u32) -> Result<Vec<MessageExt>, ClientError> {
    match what {
        What::Key { topic, key, tag, from, to, .. } => {
            let by = if *tag { IndexedBy::Tag } else { IndexedBy::Key };
            let mut found = admin.find_messages(topic, by, key, *from..*to, max).await?;
            if found.is_empty() && !tag {
                found = admin.find_messages(topic, IndexedBy::UniqueId, key, *from..*to, max).await?;
            }
            Ok(found)
        }
        What::Id { id, topic, .. } => {
            let mut found = Vec::new();
            if let Some(topic) = topic {
                found = admin.find_messages(topic, IndexedBy::UniqueId, id, 0..i64::MAX, max).await?;
            }
            if found.is_empty() {
                found.extend(admin.view_message(topic.as_deref(), id).await?);
            }
            Ok(found)
        }
        What::Offset { topic, offset, queue, broker, .. } => {
            let queues = admin.queues_of(topic).await?;
            let named =
                |name: &MessageQueue| broker.as_ref().is_none_or(|broker| **broker == *name.broker_name);
            let mut fits =
                queues.iter().map(|(name, _)| name).filter(|name| name.queue_id == *queue && named(name));
            match (fits.next(), fits.next()) {
                (Some(queue), None) => admin.messages_from(queue, *offset, max).await,
                (Some(_), Some(_)) => {
                    Err(ClientError::NoBroker { broker: "more than one; say --broker".into() })
                }
                (None, _) => Err(ClientError::NoBroker { broker: format!("with queue {queue} of {topic}") }),
            }
        }
        What::Time { topic, from, to, .. } => admin.messages_between(topic, *from..*to, max).await,
    }
}

/// Why there may be nothing.
fn nothing(what: &What) -> &'static str {
    match what {
        What::Key { .. } => "no message with that key; --from and --to may leave it out, or it has expired",
        What::Id { topic: None, .. } => {
            "no message lies there; an id that a sender made is looked up in its topic: --topic NAME"
        }
        What::Id { .. } => "no message with that id; it may have expired",
        What::Offset { .. } => {
            "no message at that offset or later; afterburner topic status tells the offsets"
        }
        What::Time { .. } => "no message was stored then; --from and --to may leave it out",
    }
}

/// A message as JSON.
pub fn object(message: &MessageExt) -> serde_json::Value {
    let properties: BTreeMap<&str, &str> = message.properties().collect();
    serde_json::json!({
        "topic": message.topic(), "broker": &*message.queue.broker_name, "queueId": message.queue.queue_id,
        "queueOffset": message.queue_offset, "msgId": message.msg_id(), "offsetMsgId": message.offset_msg_id,
        "commitLogOffset": message.commit_log_offset, "storeSize": message.store_bytes,
        "bornTimestamp": message.born_timestamp, "bornHost": message.born_host.to_string(),
        "storeTimestamp": message.store_timestamp, "storeHost": message.store_host.to_string(),
        "reconsumeTimes": message.reconsume_times, "body": String::from_utf8_lossy(message.body()),
        "properties": properties,
    })
}

fn print_messages(messages: &[MessageExt]) {
    let row = |message: &MessageExt| {
        vec![
            message.queue.broker_name.to_string(),
            message.queue.queue_id.to_string(),
            message.queue_offset.to_string(),
            message.store_timestamp.to_string(),
            message.msg_id().to_owned(),
            message.tag().unwrap_or("").to_owned(),
            message.keys().collect::<Vec<_>>().join(" "),
            shortened(message.body()),
        ]
    };
    let rows: Vec<Vec<String>> = messages.iter().map(row).collect();
    let head = ["broker", "queue", "offset", "stored (ms)", "id", "tag", "keys", "body"];
    print_table(&head, &rows, &[1, 2, 3]);
}

/// The beginning of a body, on one line.
fn shortened(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let mut shown: String =
        text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(BODY_CHARS).collect();
    if text.chars().count() > BODY_CHARS {
        shown.push('…');
    }
    shown
}

/// Milliseconds since 1970, or so long ago.
fn parse_time(text: &str) -> Result<i64, String> {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
    time_of(text, now_ms)
        .ok_or_else(|| "write milliseconds since 1970, or how long ago: 90s, 10m, 2h, 3d".into())
}

fn time_of(text: &str, now_ms: i64) -> Option<i64> {
    if let Ok(ms) = text.parse::<i64>() {
        return (ms >= 0).then_some(ms);
    }
    let unit_ms = match text.chars().last()? {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => return None,
    };
    let count: i64 = text[..text.len() - 1].parse().ok().filter(|count| *count >= 0)?;
    // "0s" is now; what is stored in this very moment is meant as well.
    Some(now_ms.saturating_sub(count.saturating_mul(unit_ms)).max(0) + i64::from(count == 0) * SKEW_MS)
}

const BODY_CHARS: usize = 60;
/// Clocks of brokers may be ahead of ours by so much.
const SKEW_MS: i64 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: times are read as they are meant, and nothing else is. Method: one of each.
    #[test]
    fn times_are_read() {
        let now = 1_700_000_000_000;
        assert_eq!(time_of("1600000000000", now), Some(1_600_000_000_000));
        assert_eq!(time_of("90s", now), Some(now - 90_000));
        assert_eq!(time_of("10m", now), Some(now - 600_000));
        assert_eq!(time_of("3d", now), Some(now - 3 * 86_400_000));
        assert_eq!(time_of("0s", now), Some(now + SKEW_MS));
        assert_eq!(time_of("99999999999999d", now), Some(0));
        for bad in ["", "s", "-5m", "-1", "soon", "5 m", "1µ"] {
            assert_eq!(time_of(bad, now), None, "{bad}");
        }
    }

    /// Goal: a body takes one line of a table, whatever is in it.
    #[test]
    fn bodies_are_shortened() {
        assert_eq!(shortened(b"a\nb"), "a b");
        assert_eq!(shortened("中".repeat(61).as_bytes()).chars().count(), 61);
        assert_eq!(shortened(b"\xff"), "\u{FFFD}");
    }
}
