//! Requests that nobody thought of: every code, with fields and bodies that are near the right ones or far from them.
//!
//! `FUZZ_SECONDS` and `FUZZ_SEED` as for `tests/fuzz`.

use std::time::{Duration, Instant};

use dataplane::net::{ConnId, Net};
use dataplane::rng::Rng;
use protocol::RemotingCommand;
use protocol::code::request;
use protocol::frame::Codec;

use crate::requests::{pull, send};
use crate::world::World;

/// W-11. Goal: no request ends the broker, whatever its fields say, and others are served after it. Method: random ones on a few
/// connections that come and go, while time passes; then a send and a pull.
#[test]
fn any_request_is_survived() {
    let setting = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let (seconds, seed) = (setting("FUZZ_SECONDS"), setting("FUZZ_SEED"));
    let seed = seed.unwrap_or_else(|| seconds.map_or(1, |_| Rng::from_os().next_u64() >> 32));
    let began = Instant::now();
    let mut worlds = 0;
    loop {
        one_world(seed + worlds);
        worlds += 1;
        match seconds {
            Some(seconds) if began.elapsed() < Duration::from_secs(seconds) => (),
            None if worlds < 4 => (),
            _ => break,
        }
    }
    println!("seeds {seed} to {}", seed + worlds - 1);
}

fn one_world(seed: u64) {
    let mut rng = Rng::from_seed(seed);
    let mut world = World::new();
    ["T", "U", "%RETRY%G"].iter().for_each(|topic| world.topic(topic, 4));
    let mut conns: Vec<ConnId> = (0..4).map(|_| world.connect()).collect();
    let mut log = Vec::new();
    for _ in 0..500 {
        let at = rng.below(4) as usize;
        if !world.shard.net.is_open(conns[at]) || rng.below(100) == 0 {
            world.shard.net.reset(conns[at]);
            conns[at] = world.connect();
        }
        let command = any(&mut rng);
        log.push(command.code);
        let codec = if rng.chance(0.5) { Codec::Json } else { Codec::Binary };
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            world.post(conns[at], command.clone(), codec);
            match rng.below(20) {
                0 => world.pass(1_500),
                1..4 => world.pass(10),
                4..15 => _ = world.turn(),
                _ => (),
            }
            while world.next(conns[at]).is_some() {}
        }));
        assert!(done.is_ok(), "seed {seed}: {command:?} after {log:?}");
    }
    world.pass(3_000);
    let conn = world.connect();
    world.topic("Last", 1);
    world.shard.broker.config = Default::default();
    assert_eq!(world.call(conn, send("Last", 0, "", b"alive")).code, 0, "seed {seed}");
    assert_eq!(world.call(conn, pull("Last", 0, 0)).code, 0, "seed {seed}");
    assert!(world.shard.net.conns_len() > 0);
}

fn any(rng: &mut Rng) -> RemotingCommand {
    let code = match rng.below(10) {
        0..5 => request::ALL[rng.below(request::ALL.len() as u64) as usize].0,
        5 => rng.next_u32() as i32,
        _ => OFTEN[rng.below(OFTEN.len() as u64) as usize],
    };
    let mut command = RemotingCommand::request(code);
    let share = [0.5, 1.0, 1.0, 1.0][rng.below(4) as usize];
    for name in NAMES {
        if rng.chance(share) {
            command = command.field(*name, value(rng, name));
        }
    }
    if rng.chance(0.1) {
        command = command.oneway();
    }
    let body = body(rng, code);
    command.body(body)
}

fn value(rng: &mut Rng, name: &str) -> String {
    if rng.below(150) == 0 {
        let all = [TOPICS, PROPERTIES, &["9223372036854775808", "1.5", "true"]].concat();
        return one_of(rng, &all).to_string();
    }
    match name {
        "topic" | "b" | "originTopic" | "c" | "defaultTopic" => one_of(rng, TOPICS).into(),
        "a" | "group" | "consumerGroup" | "producerGroup" | "srcGroup" | "destGroup" | "groupName"
        | "compareGroup" => one_of(rng, GROUPS).into(),
        "i" | "properties" => {
            (0..rng.below(4)).map(|_| one_of(rng, PROPERTIES).to_string()).collect::<String>()
        }
        "subscription" | "expressionType" | "key" | "attributes" | "topicFilterType" => {
            one_of(rng, TEXTS).into()
        }
        "k"
        | "m"
        | "unitMode"
        | "batch"
        | "order"
        | "isForce"
        | "offline"
        | "fromTransactionCheck"
        | "committed"
        | "setZeroIfNotFound"
        | "jstackEnable"
        | "isOrder" => one_of(rng, &["true", "false", "false", "false"]).into(),
        "sysFlag" | "f" => one_of(rng, &["0", "2", "4", "6", "7", "8", "12", "-1"]).into(),
        "commitLogOffset" | "offset" if rng.chance(0.5) => rng.below(100_000).to_string(),
        "suspendTimeoutMillis" if rng.chance(0.7) => "1000".into(),
        "msgId" | "originMsgId" | "offsetMsgId" => {
            format!(
                "7F00000100002A9F{:016X}",
                if rng.chance(0.8) { rng.below(50_000) } else { rng.next_u64() }
            )
        }
        _ if rng.chance(0.9) => rng.below(4).to_string(),
        "d" | "e" | "h" | "j" | "l" | "queueId" | "flag" | "reconsumeTimes" | "maxMsgNums" | "perm" => {
            one_of(rng, &NUMBERS[..6]).into()
        }
        _ => one_of(rng, NUMBERS).into(),
    }
}

fn body(rng: &mut Rng, code: i32) -> Vec<u8> {
    let mut body = match rng.below(8) {
        0..6 if code == request::HEART_BEAT => BODIES[0].as_bytes().to_vec(),
        0..6 if matches!(code, request::LOCK_BATCH_MQ | request::UNLOCK_BATCH_MQ) => {
            BODIES[1].as_bytes().to_vec()
        }
        0..6 if code == request::QUERY_ASSIGNMENT => BODIES[2].as_bytes().to_vec(),
        0..3 => one_of(rng, BODIES).as_bytes().to_vec(),
        3 => {
            let mut batch = Vec::new();
            for _ in 0..1 + rng.below(4) {
                let properties = one_of(rng, PROPERTIES).as_bytes();
                let message = protocol::batch::BatchMessage { flag: 0, body: b"of a batch", properties };
                protocol::batch::push(&mut batch, &message);
            }
            batch
        }
        4..6 => vec![b'x'; 1 + rng.below(5_000) as usize],
        6 => format!("{}={}", one_of(rng, SETTINGS), one_of(rng, NUMBERS)).into_bytes(),
        _ => Vec::new(),
    };
    for _ in 0..rng.below(3) {
        if !body.is_empty() && rng.chance(0.2) {
            let at = rng.below(body.len() as u64) as usize;
            body[at] = [b'0', b'9', b'-', b'"', b'{', b'}', b'[', b']', 0, 0xff][rng.below(10) as usize];
        }
    }
    body
}

fn one_of<'a>(rng: &mut Rng, all: &[&'a str]) -> &'a str {
    all[rng.below(all.len() as u64) as usize]
}

const OFTEN: &[i32] = &[
    request::SEND_MESSAGE,
    request::SEND_MESSAGE_V2,
    request::SEND_MESSAGE_V2,
    request::SEND_BATCH_MESSAGE,
    request::PULL_MESSAGE,
    request::PULL_MESSAGE,
    request::HEART_BEAT,
    request::CONSUMER_SEND_MSG_BACK,
    request::END_TRANSACTION,
    request::UPDATE_CONSUMER_OFFSET,
    request::SEARCH_OFFSET_BY_TIMESTAMP,
    request::UPDATE_AND_CREATE_TOPIC,
    request::DELETE_TOPIC_IN_BROKER,
    request::INVOKE_BROKER_TO_RESET_OFFSET,
    request::QUERY_ASSIGNMENT,
    request::GET_CONSUME_STATS,
    request::QUERY_MESSAGE,
    request::VIEW_MESSAGE_BY_ID,
    request::LOCK_BATCH_MQ,
];
const TOPICS: &[&str] = &[
    "T",
    "T",
    "T",
    "T",
    "T",
    "T",
    "T",
    "U",
    "U",
    "%RETRY%G",
    "%DLQ%G",
    "TBW102",
    "SCHEDULE_TOPIC_XXXX",
    "RMQ_SYS_TRANS_HALF_TOPIC",
    "RMQ_SYS_TRANS_OP_HALF_TOPIC",
    "DefaultCluster_REPLY_TOPIC",
    "New",
    "%RETRY%",
    "",
    "not a topic",
];
const GROUPS: &[&str] = &["G", "G", "H", "CID_RMQ_SYS_TRANS", "", "%", "TOOLS_CONSUMER"];
/// Those of 32 bits first.
const NUMBERS: &[&str] = &[
    "0",
    "-1",
    "65535",
    "65536",
    "2147483647",
    "-2147483648",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775808",
];
const PROPERTIES: &[&str] = &[
    "",
    "TAGS\u{1}A\u{2}",
    "KEYS\u{1}k l\u{2}",
    "DELAY\u{1}1\u{2}",
    "DELAY\u{1}-2147483648\u{2}",
    "DELAY\u{1}2147483647\u{2}",
    "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}G\u{2}",
    "TRAN_PREPARED_QUEUE_OFFSET\u{1}-9223372036854775808\u{2}",
    "TRAN_PREPARED_QUEUE_OFFSET\u{1}9223372036854775807\u{2}",
    "TRANSACTION_CHECK_TIMES\u{1}-2147483648\u{2}",
    "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}9223372036854775807\u{2}",
    "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}0\u{2}",
    "REAL_TOPIC\u{1}T\u{2}REAL_QID\u{1}-7\u{2}",
    "RETRY_TOPIC\u{1}\u{2}RECONSUME_TIME\u{1}9999999999\u{2}",
    "MAX_RECONSUME_TIMES\u{1}-1\u{2}UNIQ_KEY\u{1}u\u{2}",
    "REPLY_TO_CLIENT\u{1}c\u{2}CORRELATION_ID\u{1}d\u{2}TTL\u{1}-1\u{2}",
    "TIMER_DELAY_SEC\u{1}1\u{2}WAIT\u{1}false\u{2}",
    "\u{1}\u{2}\u{1}",
];
const TEXTS: &[&str] = &["", "*", "A || B", "||", "TAG", "SQL92", "a > 1", "k", "+a=b,-c", "=", "MULTI_TAG"];
const SETTINGS: &[&str] = &[
    "maxMessageSize",
    "brokerPermission",
    "validateSystemTopicWhenUpdateTopic",
    "maxTransferCountOnMessageInMemory",
    "maxTransferBytesOnMessageInMemory",
    "longPollingEnable",
    "shortPollingTimeMills",
    "transactionCheckMax",
    "transactionTimeOut",
    "transactionCheckInterval",
    "fileReservedTime",
    "messageDelayLevel",
    "defaultTopicQueueNums",
    "serverChannelMaxIdleTimeSeconds",
];
const BODIES: &[&str] = &[
    r#"{"clientID":"c","consumerDataSet":[{"groupName":"G","consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING","consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","subscriptionDataSet":[{"topic":"T","subString":"A","tagsSet":["A"],"codeSet":[65],"subVersion":9223372036854775807,"classFilterMode":false,"expressionType":"TAG"}],"unitMode":true}],"producerDataSet":[{"groupName":"G"}]}"#,
    r#"{"consumerGroup":"G","clientId":"c","mqSet":[{"topic":"T","brokerName":"broker-a","queueId":-1},{"topic":"T","brokerName":"broker-a","queueId":2147483647}]}"#,
    r#"{"topic":"T","consumerGroup":"G","clientId":"c","strategyName":"AVG","messageModel":"CLUSTERING"}"#,
    r#"{"topicConfigList":[{"topicName":"T","readQueueNums":0,"writeQueueNums":-5,"perm":6},{"topicName":"New","readQueueNums":65535,"writeQueueNums":1,"perm":2}]}"#,
    r#"{"groupName":"G","retryMaxTimes":-1,"retryQueueNums":2147483647,"consumeEnable":true}"#,
    r#"{"offsetTable":{"T@G":{"0":9223372036854775807}}}"#,
    "{}",
    "[]",
    "null",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
];
const NAMES: &[&str] = &[
    "a",
    "b",
    "c",
    "d",
    "e",
    "f",
    "g",
    "h",
    "i",
    "j",
    "k",
    "l",
    "m",
    "topic",
    "group",
    "consumerGroup",
    "producerGroup",
    "groupName",
    "srcGroup",
    "destGroup",
    "compareGroup",
    "defaultTopic",
    "defaultTopicQueueNums",
    "queueId",
    "queueOffset",
    "maxMsgNums",
    "maxMsgBytes",
    "sysFlag",
    "commitOffset",
    "suspendTimeoutMillis",
    "subscription",
    "subVersion",
    "expressionType",
    "bornTimestamp",
    "flag",
    "properties",
    "reconsumeTimes",
    "unitMode",
    "batch",
    "maxReconsumeTimes",
    "offset",
    "delayLevel",
    "originMsgId",
    "originTopic",
    "tranStateTableOffset",
    "commitLogOffset",
    "commitOrRollback",
    "fromTransactionCheck",
    "msgId",
    "timestamp",
    "boundaryType",
    "committed",
    "setZeroIfNotFound",
    "readQueueNums",
    "writeQueueNums",
    "perm",
    "topicFilterType",
    "topicSysFlag",
    "order",
    "attributes",
    "isForce",
    "offline",
    "clientAddr",
    "clientId",
    "clientID",
    "brokerName",
    "key",
    "maxNum",
    "beginTimestamp",
    "endTimestamp",
    "index",
    "count",
    "statsName",
    "statsKey",
    "jstackEnable",
    "isOrder",
    "bname",
    "brokerAddr",
    "bornHost",
    "storeHost",
    "storeTimestamp",
    "cleanOffset",
    "transactionId",
];
