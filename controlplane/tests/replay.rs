//! Recorded conversations with the official name server 5.5.0, held again with ours.
//!
//! Codes, remarks, fields and bodies must agree; the order of entries in sets may differ, and exception texts are ours.
#![allow(clippy::unwrap_used)] // In a test, the place where it stops says enough.

mod world;

use protocol::frame::{self, Found};
use protocol::{RemotingCommand, fastjson};
use serde_json::Value;
use world::{Broker, World};

/// Goal: all hand-made requests of the probe, good and bad, get the official answers.
/// Method: register the broker of the recording with its topics first, then the whole list in its order.
#[test]
fn the_probe() {
    let items = load("probe-5.5.0.json", |item| item["server"] == "namesrv");
    let answer = |name: &str| items.iter().find(|item| item["name"] == name).unwrap()["response"].clone();
    let mut world = World::new(&[]);
    let topics = body(&answer("topics by cluster"))["topicList"].clone();
    let version = body(&answer("data version"));
    let broker = Broker {
        cluster: "DefaultCluster",
        name: "broker-a",
        addr: "127.0.0.2:31011",
        version: (version["counter"].as_i64().unwrap(), 0, version["timestamp"].as_i64().unwrap()),
        topics: topics
            .as_array()
            .unwrap()
            .iter()
            .map(|name| &*name.as_str().unwrap().to_owned().leak())
            .collect(),
        ..Broker::default()
    };
    assert_eq!(world.register(&broker).code, 0);
    assert_eq!(items.len(), 25);
    items.iter().for_each(|item| hold(&mut world, item));
}

/// Goal: what the official mqadmin asks is answered as it was. Method: as above, with the broker's own registration.
#[test]
fn mqadmin() {
    let items = load("mqadmin-5.5.0.json", |item| item["server"] == "namesrv");
    let registration = command(items.iter().find(|item| item["code"] == 103).unwrap());
    let mut world = World::new(&[]);
    assert_eq!(world.ask(registration.clone()).code, 0);
    for item in &items {
        if item["code"] == 205 {
            // Four topics were made between this frame and the registration that was recorded.
            let mut grown = fastjson::from_slice::<Value>(&registration.body).unwrap();
            let wrapper = &mut grown["topicConfigSerializeWrapper"];
            wrapper["dataVersion"]["counter"] = 99.into();
            for name in ["T1", "T2", "T3", "T4"] {
                wrapper["topicConfigTable"][name] = Broker::default().topic(name);
            }
            let mut again = registration.clone().body(grown.to_string().into_bytes());
            again.ext_fields.retain(|(name, _)| name != "bodyCrc32");
            assert_eq!(world.ask(again).code, 0);
        }
        hold(&mut world, item);
    }
}

/// Goal: the registrations and goodbyes of official brokers are taken, checksums included.
#[test]
fn registrations() {
    for file in ["register-broker.json", "client-4.9.8-json.json"] {
        let items = load(file, |item| item["code"] == 103 || item["code"] == 104);
        assert!(!items.is_empty());
        let mut world = World::new(&[]);
        items.iter().for_each(|item| hold(&mut world, item));
        assert_eq!(world.perm("TBW102"), 7);
        assert_eq!(world.addresses("DefaultCluster"), ["0=127.0.0.2:31011"]);
    }
}

/// Goal: what a 4.9.8 client asks before its first send. Method: an unknown topic, then the template.
#[test]
fn the_first_questions_of_a_client() {
    let items = load("client-4.9.8-json.json", |item| item["code"] == 103 || item["code"] == 105);
    let mut world = World::new(&[]);
    items.iter().for_each(|item| hold(&mut world, item));
}

/// Goal: a compressed registration says the same as a plain one. Method: the pair of codec.json, with checksums.
#[test]
fn a_compressed_registration() {
    let codec: Value = serde_json::from_str(&vector("codec.json")).unwrap();
    let pair = &codec["registerBrokerBody"];
    let route = |compressed: bool, bytes: Vec<u8>, crc: &Value| {
        let mut world = World::new(&[]);
        let mut command = Broker::default().registration().body(bytes);
        command.ext_fields.retain(|(name, _)| name != "compressed" && name != "bodyCrc32");
        let command = command.field("compressed", compressed).field("bodyCrc32", crc);
        let reply = world.ask(command);
        assert_eq!((reply.code, reply.remark), (0, None));
        let topics = world.ask(world::ask(206, &[])).body;
        let topics: Value = fastjson::from_slice(&topics).unwrap();
        let names = topics["topicList"].as_array().unwrap().clone();
        assert!(!names.is_empty());
        names.iter().map(|name| world.route(name.as_str().unwrap()).unwrap()).collect::<Vec<_>>()
    };
    let plain = pair["plain_json"].as_str().unwrap().as_bytes().to_vec();
    let compressed = hex(pair["compressed_hex"].as_str().unwrap());
    assert_eq!(route(false, plain, &pair["plain_crc32"]), route(true, compressed, &pair["compressed_crc32"]));
}

/// Asks what was asked and compares with what was answered.
fn hold(world: &mut World, item: &Value) {
    let command = command(item);
    let what = format!("{} {} {:?}", item["name"], command.code, command.ext_fields);
    let expected = &item["response"];
    let reply = world.ask(command);
    assert_eq!(i64::from(reply.code), expected["code"].as_i64().unwrap(), "{what}: {:?}", reply.remark);
    assert_eq!(reply.remark.as_deref(), expected["remark"].as_str(), "{what}");
    let fields = expected["extFields"].as_object().cloned().unwrap_or_default();
    let count = |fields: &[(&str, String)]| fields.len();
    assert_eq!(count(&reply.fields), fields.len(), "{what}");
    for (name, value) in &reply.fields {
        assert_eq!(fields.get(*name).and_then(Value::as_str), Some(value.as_str()), "{what}: {name}");
    }
    match expected["bodyLength"].as_u64() {
        None | Some(0) => assert!(reply.body.is_empty(), "{what}"),
        Some(_) => {
            assert_eq!(sorted(fastjson::from_slice(&reply.body).unwrap()), sorted(body(expected)), "{what}")
        }
    }
}

fn command(item: &Value) -> RemotingCommand {
    let bytes = hex(item["request_hex"].as_str().unwrap());
    match frame::find(&bytes).unwrap() {
        Found::Whole { frame, bytes_len } if bytes_len == bytes.len() => {
            RemotingCommand::from_frame(&frame).unwrap()
        }
        _ => panic!("{} is not one frame", item["name"]),
    }
}

fn body(response: &Value) -> Value {
    fastjson::from_slice(response["bodyText"].as_str().unwrap().as_bytes()).unwrap()
}

/// Topic lists are sets.
fn sorted(mut value: Value) -> Value {
    if let Some(list) = value.get_mut("topicList").and_then(Value::as_array_mut) {
        list.sort_by_key(Value::to_string);
    }
    value
}

fn load(file: &str, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    let content: Value = serde_json::from_str(&vector(file)).unwrap();
    content["items"].as_array().unwrap().iter().filter(|item| wanted(item)).cloned().collect()
}

fn vector(file: &str) -> String {
    let path = format!("{}/../protocol/tests/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
