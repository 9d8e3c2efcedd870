//! Every recorded JSON body: read into its struct, written again, and compared.

use protocol::body::*;
use protocol::code::request;
use protocol::fastjson;
use serde_json::Value;

mod vectors;
use vectors::{hex, load};

/// As a tree in which the order of sets does not matter. Keys that are objects become their text.
fn tree(bytes: &[u8]) -> Value {
    fn sort(value: &mut Value) {
        match value {
            Value::Array(items) => {
                items.iter_mut().for_each(sort);
                items.sort_by_key(|item| item.to_string());
            }
            Value::Object(map) => {
                map.values_mut().for_each(sort);
                map.sort_keys();
            }
            _ => {}
        }
    }
    let mut value = fastjson::from_slice(bytes)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(bytes)));
    sort(&mut value);
    value
}

/// All of `said` is in `ours`; what older software does not say may be there besides.
fn holds(ours: &Value, said: &Value) -> bool {
    match (ours, said) {
        (Value::Object(ours), Value::Object(said)) => {
            said.iter().all(|(name, value)| ours.get(name).is_some_and(|own| holds(own, value)))
        }
        (Value::Array(ours), Value::Array(said)) => {
            ours.len() == said.len() && ours.iter().zip(said).all(|(ours, said)| holds(ours, said))
        }
        (ours, said) => ours == said,
    }
}

/// Reads, writes, compares; `exact` when the official writer was as new as ours.
fn check<T: Body + PartialEq + std::fmt::Debug>(bytes: &[u8], exact: bool, from: &str) {
    let body = T::decode(bytes).unwrap_or_else(|error| panic!("{from}: {error}"));
    let written = body.encode();
    let (ours, said) = (tree(&written), tree(bytes));
    assert!(holds(&ours, &said), "{from}\n said {said}\n ours {ours}");
    if exact {
        assert_eq!(ours, said, "{from}");
        assert_eq!(written.len(), bytes.len(), "{from}: only the order may differ");
    }
    assert_eq!(T::decode(&written).expect("our own"), body, "{from}");
    let standard = fastjson::to_vec_standard(&body);
    assert_eq!(T::decode(&standard).expect("our own"), body, "{from}");
    let pretty = fastjson::to_string_pretty(&body);
    assert_eq!(T::decode(pretty.as_bytes()).expect("our own"), body, "{from}");
}

/// W-9. Goal: every body official software sent is understood whole. Method: by code and direction, for each frame.
#[test]
fn recorded_bodies_are_read_and_written() {
    let mut read = std::collections::BTreeMap::<String, u32>::new();
    for file in [
        "client-4.9.8-json.json",
        "client-5.5.0-binary.json",
        "mqadmin-5.5.0.json",
        "probe-5.5.0.json",
        "register-broker.json",
    ] {
        for (at, item) in load(file)["items"].as_array().expect("items").iter().enumerate() {
            let code = item["request"]["code"].as_i64().expect("a code") as i32;
            for half in ["request", "response"] {
                let Some(text) = item[format!("{half}_hex")].as_str() else { continue };
                let bytes = hex(text);
                let said_len = item[half]["bodyLength"].as_u64().expect("a length") as usize;
                let body = &bytes[bytes.len() - said_len..];
                if body.is_empty() {
                    continue;
                }
                let from = format!("{file}[{at}] {code} {half}");
                if half == "request" {
                    request_body(code, body, &from)
                } else {
                    response_body(code, body, &from)
                }
                *read.entry(format!("{code} {half}")).or_default() += 1;
            }
        }
    }
    assert!(read.len() > 40, "{read:?}");
}

fn request_body(code: i32, body: &[u8], from: &str) {
    match code {
        request::HEART_BEAT => check::<HeartbeatData>(body, from.starts_with("client-5.5.0"), from),
        request::LOCK_BATCH_MQ => check::<LockBatchRequestBody>(body, from.starts_with("client-5.5.0"), from),
        request::UNLOCK_BATCH_MQ => {
            check::<UnlockBatchRequestBody>(body, from.starts_with("client-5.5.0"), from)
        }
        request::CHECK_CLIENT_CONFIG => check::<CheckClientRequestBody>(body, true, from),
        request::REGISTER_BROKER => check::<RegisterBrokerBody>(body, !from.starts_with("probe"), from),
        request::QUERY_DATA_VERSION => check::<DataVersion>(body, true, from),
        request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => {
            check::<SubscriptionGroupConfig>(body, !from.starts_with("probe"), from);
        }
        request::QUERY_ASSIGNMENT => check::<QueryAssignmentRequestBody>(body, false, from),
        request::SET_MESSAGE_REQUEST_MODE => check::<SetMessageRequestModeRequestBody>(body, true, from),
        // Messages, and the text of config changes.
        10 | 310 | 320 | 324 | 325 | 326 | 39 | 25 | 318 => {}
        _ => panic!("{from}: {}", String::from_utf8_lossy(body)),
    }
}

fn response_body(code: i32, body: &[u8], from: &str) {
    match code {
        request::GET_ROUTEINFO_BY_TOPIC => check_route(body, from),
        request::GET_BROKER_CLUSTER_INFO => check::<ClusterInfo>(body, true, from),
        request::GET_BROKER_MEMBER_GROUP => check::<GetBrokerMemberGroupResponseBody>(body, true, from),
        request::GET_CONSUMER_LIST_BY_GROUP => check::<GetConsumerListByGroupResponseBody>(body, true, from),
        request::LOCK_BATCH_MQ => check::<LockBatchResponseBody>(body, true, from),
        206 | 224 | 304 | 305 | 311 | 312 | 313 | 343 => check::<TopicList>(body, true, from),
        request::REGISTER_BROKER | request::GET_KVLIST_BY_NAMESPACE | request::GET_BROKER_RUNTIME_INFO => {
            check::<KVTable>(body, true, from);
        }
        request::QUERY_DATA_VERSION => check::<DataVersion>(body, true, from),
        request::QUERY_TOPIC_CONSUME_BY_WHO => check::<GroupList>(body, true, from),
        request::GET_TOPIC_STATS_INFO => check::<TopicStatsTable>(body, true, from),
        request::GET_CONSUME_STATS => check::<ConsumeStats>(body, true, from),
        request::GET_BROKER_CONSUME_STATS => check::<ConsumeStatsList>(body, true, from),
        request::GET_TOPIC_CONFIG => {
            check::<TopicConfig>(body, true, from);
            check::<TopicConfigAndQueueMapping>(body, true, from);
        }
        request::GET_ALL_TOPIC_CONFIG => check::<TopicConfigAndMappingSerializeWrapper>(body, true, from),
        request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => check::<SubscriptionGroupWrapper>(body, true, from),
        request::GET_SUBSCRIPTIONGROUP_CONFIG => check::<SubscriptionGroupConfig>(body, true, from),
        request::GET_CONSUMER_CONNECTION_LIST => check::<ConsumerConnection>(body, true, from),
        request::GET_PRODUCER_CONNECTION_LIST => check::<ProducerConnection>(body, true, from),
        request::GET_ALL_PRODUCER_INFO => check::<ProducerTableInfo>(body, true, from),
        // The 4.9 client has neither POP nor its table.
        request::GET_CONSUMER_RUNNING_INFO => check::<ConsumerRunningInfo>(body, false, from),
        request::CONSUME_MESSAGE_DIRECTLY => check::<ConsumeMessageDirectlyResult>(body, true, from),
        request::INVOKE_BROKER_TO_RESET_OFFSET => check::<ResetOffsetBody>(body, true, from),
        request::INVOKE_BROKER_TO_GET_CONSUMER_STATUS => check::<GetConsumerStatusBody>(body, true, from),
        request::QUERY_CONSUME_TIME_SPAN => check::<QueryConsumeTimeSpanBody>(body, true, from),
        request::QUERY_CONSUME_QUEUE => check::<QueryConsumeQueueResponseBody>(body, true, from),
        request::VIEW_BROKER_STATS_DATA => check::<BrokerStatsData>(body, true, from),
        request::QUERY_CORRECTION_OFFSET => check::<QueryCorrectionOffsetBody>(body, true, from),
        request::QUERY_SUBSCRIPTION_BY_CONSUMER => check::<QuerySubscriptionResponseBody>(body, true, from),
        request::GET_ALL_CONSUMER_OFFSET => check::<ConsumerOffsetSerializeWrapper>(body, true, from),
        request::GET_ALL_DELAY_OFFSET => check::<DelayOffsetSerializeWrapper>(body, true, from),
        request::QUERY_ASSIGNMENT => check::<QueryAssignmentResponseBody>(body, true, from),
        request::GET_BROKER_HA_STATUS => check::<HARuntimeInfo>(body, true, from),
        // Stored messages, config texts, a binary checkpoint, and what we do not serve.
        11 | 361 | 12 | 33 | 26 | 319 | 60 | 200_050 => {}
        _ => panic!("{from}: {}", String::from_utf8_lossy(body)),
    }
}

/// The route has two forms, and ours is the official one in each, to the byte.
fn check_route(body: &[u8], from: &str) {
    check::<TopicRouteData>(body, false, from);
    let route = TopicRouteData::decode(body).expect("read before");
    let standard = body.windows(16).any(|window| window == b"\"brokerAddrs\":{\"");
    let written = if standard { route.encode_standard() } else { route.encode() };
    assert_eq!(String::from_utf8_lossy(&written), String::from_utf8_lossy(body), "{from}");
}

/// W-10. Goal: both forms of a registration, as official software makes them. Method: codec.json.
#[test]
fn registrations_are_read_in_both_forms() {
    let codec = load("codec.json");
    let vector = &codec["registerBrokerBody"];
    let plain = vector["plain_json"].as_str().expect("text").as_bytes();
    check::<RegisterBrokerBody>(plain, true, "codec.json");
    assert_eq!(Some(i64::from(body_crc32(plain))), vector["plain_crc32"].as_i64());

    let compressed = hex(vector["compressed_hex"].as_str().expect("hex"));
    let expected = vector["compressed_crc32"].as_i64().expect("a number") & 0x7FFF_FFFF;
    assert_eq!(i64::from(body_crc32(&compressed)), expected);
    let body = RegisterBrokerBody::decode_any(&compressed, true, 513).expect("official");
    let mut expected = RegisterBrokerBody::decode(plain).expect("official");
    let wrapper = &mut expected.topic_config_serialize_wrapper;
    wrapper.mapping_data_version = DataVersion::default();
    wrapper.topic_config_table.get_mut("TopicB").expect("there").order = false; // Not carried.
    assert_eq!(body, expected);

    let again = RegisterBrokerBody::decode_compressed(&body.encode_compressed(), 513).expect("our own");
    assert_eq!(again, body);
    for cut in 0..compressed.len() {
        assert!(RegisterBrokerBody::decode_compressed(&compressed[..cut], 513).is_err());
    }
}

/// W-9. Goal: config files are read, and written so that the official broker reads them. Method: store.json.
#[test]
fn config_files_are_read_and_written() {
    let store = load("store.json");
    let text = |name: &str| store["config"][name].as_str().unwrap_or_else(|| panic!("{name}")).to_owned();
    fn same<T: Body + PartialEq + std::fmt::Debug>(text: &str, name: &str) {
        let body = T::decode(text.as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let written = fastjson::to_string_pretty(&body);
        assert!(holds(&tree(written.as_bytes()), &tree(text.as_bytes())), "{name}\n{written}\n{text}");
        let sorted = |text: &str| {
            let mut lines: Vec<String> =
                text.lines().map(|line| line.trim_end_matches(',').to_owned()).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&written), sorted(text), "{name}: only the order of lines may differ");
    }
    // Two of them are recorded up to their 700th byte: keep the whole entries and close them.
    let begun = |name: &str| {
        let text = text(&format!("{name} (first 700 bytes)"));
        let end = text.rfind("\n\t\t},").expect("a whole entry");
        format!("{}\n\t\t}}\n\t}}\n}}", &text[..end])
    };
    same::<ConsumerOffsetSerializeWrapper>(&text("consumerOffset.json"), "consumerOffset.json");
    same::<DelayOffsetSerializeWrapper>(&text("delayOffset.json"), "delayOffset.json");
    same::<MessageRequestModeSerializeWrapper>(&text("messageRequestMode.json"), "messageRequestMode.json");
    same::<TopicConfigSerializeWrapper>(&begun("topics.json"), "topics.json");
    same::<SubscriptionGroupWrapper>(&begun("subscriptionGroup.json"), "subscriptionGroup.json");
    check::<KVConfigSerializeWrapper>(text("namesrv kvConfig.json").as_bytes(), true, "kvConfig.json");
}

/// W-9. A subscription as codec.json has it.
#[test]
fn subscription_data_is_read() {
    let codec = load("codec.json");
    let text = codec["subscriptionData"].to_string();
    check::<SubscriptionData>(text.as_bytes(), true, "codec.json");
}
