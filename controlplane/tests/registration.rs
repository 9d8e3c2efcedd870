//! Rules N-1 to N-10 (docs/PROMISES.md): what a registration does, rule by rule.
#![allow(clippy::unwrap_used)] // In a test, the place where it stops says enough.

mod world;

use protocol::code::request;
use serde_json::json;
use world::{Broker, World, ask};

/// N-1. Goal: a body whose checksum is wrong changes nothing. Method: a wrong, a right and no checksum.
#[test]
fn a_wrong_checksum_is_refused() {
    let mut world = World::new(&[]);
    let with_crc = |crc: &str| {
        let mut command = Broker::default().registration();
        command.ext_fields.retain(|(name, _)| name != "bodyCrc32");
        command.field("bodyCrc32", crc)
    };
    let reply = world.ask(with_crc("12345"));
    assert_eq!((reply.code, reply.remark.as_deref()), (1, Some("crc32 not match")));
    assert_eq!(world.route("A"), None);

    let mut checksum = flate2::Crc::new();
    checksum.update(&Broker::default().registration().body);
    assert_eq!(world.ask(with_crc(&(checksum.sum() & 0x7fff_ffff).to_string())).code, 0);
    assert_eq!(world.ask(with_crc("0")).code, 0);
    assert!(world.route("A").is_some());
}

/// N-2, N-6. Goal: a first registration makes cluster, broker and topics.
#[test]
fn a_first_registration_makes_the_route() {
    let mut world = World::new(&[]);
    let reply = world.register(&Broker::default());
    assert_eq!((reply.code, reply.remark, reply.fields.len(), reply.body.len()), (0, None, 0, 0));
    assert_eq!(
        world.route("A").unwrap(),
        json!({
            "brokerDatas": [{
                "brokerAddrs": {"0": "10.0.0.1:10911"}, "brokerName": "broker-a", "cluster": "C",
                "enableActingMaster": false,
            }],
            "filterServerTable": {},
            "queueDatas": [{
                "brokerName": "broker-a", "perm": 6, "readQueueNums": 4, "topicSysFlag": 0, "writeQueueNums": 4,
            }],
        })
    );
}

/// N-3. Goal: one record for each address. Method: a slave comes back as master.
#[test]
fn an_address_has_one_id() {
    let mut world = World::new(&[]);
    world.register(&Broker::default());
    world.register(&Broker::slave());
    assert_eq!(world.addresses("A"), ["0=10.0.0.1:10911", "1=10.0.0.2:10911"]);
    world.register(&Broker { id: 0, ..Broker::slave() });
    assert_eq!(world.addresses("A"), ["0=10.0.0.2:10911"]);
}

/// N-4. Goal: the holder of an id with newer state keeps it; equal or newer state takes it over.
#[test]
fn a_newcomer_with_older_state_is_ignored() {
    let mut world = World::new(&[]);
    let at = |addr, state| Broker { addr, version: (1, state, 9), ..Broker::default() };
    world.register(&at("10.0.0.1:10911", 5));
    let reply = world.register(&at("10.0.0.3:10911", 4));
    assert_eq!((reply.code, reply.fields.len()), (0, 0));
    assert_eq!(world.addresses("A"), ["0=10.0.0.1:10911"]);
    world.register(&at("10.0.0.3:10911", 5));
    assert_eq!(world.addresses("A"), ["0=10.0.0.3:10911"]);
}

/// N-5. Goal: empty records of refused registrations do not gather. Method: a thousand names, then a scan; a broker that lives
/// stays.
#[test]
fn empty_records_go_with_the_next_scan() {
    let mut world = World::new(&[]);
    world.register(&Broker::default());
    let before = world.cluster_info();
    for number in 0..1_000 {
        let name: &'static str = format!("refused-{number}").leak();
        let single = Broker { name, addr: "10.0.0.9:1", topics: vec!["S"], ..Broker::default() };
        assert_eq!(world.register(&single).code, 1);
    }
    world.server.tick(5_000);
    assert_eq!(world.cluster_info(), before);
    assert!(world.route("A").is_some());
}

/// N-5. Goal: a single topic is taken only from a broker that registered in full. Its empty record stays behind
/// until the next scan.
#[test]
fn a_single_topic_needs_a_full_registration_first() {
    let mut world = World::new(&[]);
    let single = Broker { topics: vec!["S"], version: (2, 0, 9), ..Broker::default() };
    let reply = world.register(&single);
    assert_eq!((reply.code, reply.remark.as_deref()), (1, Some("register broker failed")));
    assert_eq!(world.route("S"), None);
    assert!(world.cluster_info().contains(r#""broker-a":{"brokerAddrs":{},"#));
    assert!(world.cluster_info().contains(r#""clusterAddrTable":{"C":["broker-a"]}"#));

    assert_eq!(world.register(&Broker::default()).code, 0);
    assert_eq!(world.register(&single).code, 0);
    assert!(world.route("S").is_some());
}

/// N-7. Goal: topics are replaced only when the data version differs, or the topic lacks this broker.
#[test]
fn a_known_data_version_changes_nothing_but_adds_what_is_missing() {
    let mut world = World::new(&[]);
    world.register(&Broker::default());
    world.register(&Broker { perm: 4, topics: vec!["A", "B", "N"], ..Broker::default() });
    assert_eq!((world.perm("A"), world.perm("N")), (6, 4));
    world.register(&Broker { perm: 4, version: (2, 0, 9), ..Broker::default() });
    assert_eq!(world.perm("A"), 4);
}

/// N-7. Goal: every part of the data version counts.
#[test]
fn data_versions_are_compared_whole() {
    for version in [(2, 0, 5), (1, 1, 5), (1, 0, 6)] {
        let mut world = World::new(&[]);
        world.register(&Broker { version: (1, 0, 5), ..Broker::default() });
        world.register(&Broker { version, perm: 2, ..Broker::default() });
        assert_eq!(world.perm("A"), 2, "{version:?}");
    }
}

/// N-7. Goal: topics that a broker no longer names stay, unless deleteTopicWithBrokerRegistration=true.
#[test]
fn topics_are_forgotten_only_when_told_to() {
    let fewer = Broker { topics: vec!["A", "D"], version: (2, 0, 9), ..Broker::default() };
    for (setting, stays) in [("false", true), ("true", false)] {
        let mut world = World::new(&[&format!("deleteTopicWithBrokerRegistration={setting}")]);
        world.register(&Broker::default());
        world.register(&fewer);
        assert_eq!(world.route("B").is_some(), stays);
        assert!(world.route("A").is_some() && world.route("D").is_some());
    }
}

/// N-7. Goal: a slave's topics count only when it is the lowest of those that may act as master; then read-only.
#[test]
fn topics_are_taken_from_the_master_or_a_prime_slave() {
    let mut world = World::new(&[]);
    world.register(&Broker { topics: vec!["S", "T"], ..Broker::slave() });
    assert_eq!(world.route("S"), None, "an old slave brings no topics");

    let acting = Broker { more: vec![("enableActingMaster", "true")], ..Broker::slave() };
    world.register(&Broker { topics: vec!["S", "T"], version: (2, 0, 9), ..acting.clone() });
    assert_eq!(world.perm("S"), 4, "the prime slave is read-only");

    world.register(&Broker { topics: vec!["U", "V"], id: 3, addr: "10.0.0.4:10911", ..acting.clone() });
    assert_eq!(world.route("U"), None, "only the lowest slave counts");

    let willing = Broker { more: vec![("enableActingMaster", "false")], ..Broker::slave() };
    world.register(&Broker { topics: vec!["W", "X"], version: (3, 0, 9), ..willing });
    assert_eq!(world.perm("W"), 6, "a prime slave that does not act keeps its permission");
}

/// N-8. Goal: filter servers are listed by address and an empty list removes them.
#[test]
fn filter_servers_come_and_go() {
    let mut world = World::new(&[]);
    world.register(&Broker { filters: vec!["10.0.0.1:9999"], ..Broker::default() });
    assert_eq!(world.route("A").unwrap()["filterServerTable"], json!({"10.0.0.1:10911": ["10.0.0.1:9999"]}));
    world.register(&Broker::default());
    assert_eq!(world.route("A").unwrap()["filterServerTable"], json!({}));
}

/// N-9. Goal: a slave learns its living master. Method: with master, without, and as master.
#[test]
fn a_slave_is_told_its_master() {
    let mut world = World::new(&[]);
    assert!(world.register(&Broker::slave()).fields.is_empty());
    assert!(world.register(&Broker::default()).fields.is_empty());
    let fields = world.register(&Broker::slave()).fields;
    let text: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(text, ["haServerAddr=10.0.0.1:109119", "masterAddr=10.0.0.1:10911"]);
}

/// N-10. Goal: the answer carries the order settings: none, empty, full, and none when switched off.
#[test]
fn the_answer_carries_order_settings() {
    let body =
        |world: &mut World| String::from_utf8(world.register(&Broker::default()).body.to_vec()).unwrap();
    let kv = [("namespace", "ORDER_TOPIC_CONFIG"), ("key", "T"), ("value", "broker-a:2")];
    let mut world = World::new(&[]);
    assert_eq!(body(&mut world), "");
    world.ask(ask(request::PUT_KV_CONFIG, &kv));
    assert_eq!(body(&mut world), r#"{"table":{"T":"broker-a:2"}}"#);
    world.ask(ask(request::DELETE_KV_CONFIG, &kv));
    assert_eq!(body(&mut world), r#"{"table":{}}"#);

    let mut world = World::new(&["returnOrderTopicConfigToBroker=false"]);
    world.ask(ask(request::PUT_KV_CONFIG, &kv));
    assert_eq!(body(&mut world), "");
}

/// Goal: bodies of every age are read. Method: none, the bare table of brokers before 3.0.11, null tables, garbage.
#[test]
fn bodies_of_every_age_are_read() {
    let mut world = World::new(&[]);
    let with_body = |body: &[u8], version: i32| {
        let mut command = Broker::default().registration().body(body.to_vec());
        command.version = version;
        command
    };
    assert_eq!(world.ask(with_body(b"", 513)).code, 0);
    let old = br#"{"dataVersion":{"counter":1,"timestamp":5},"topicConfigTable":{"OA":{"topicName":"OA"},"OB":{"perm":4}}}"#;
    assert_eq!(world.ask(with_body(old, 30)).code, 0);
    assert_eq!(world.route("OA").unwrap()["queueDatas"][0]["readQueueNums"], 16, "fields that are missing");
    assert_eq!(world.ask(with_body(b"{}", 513)).code, 0);
    let reply = world.ask(with_body(b"{nope", 513));
    assert_eq!(reply.code, 1);
    assert!(reply.remark.unwrap().starts_with("Failed to decode RegisterBrokerBody"));
}

/// Goal: a registration that does not say who registers leaves nothing behind. (The official server keeps a broker
/// without a name.)
#[test]
fn a_nameless_broker_is_refused() {
    for missing in ["clusterName", "brokerName", "brokerAddr", "brokerId"] {
        let mut world = World::new(&[]);
        let mut command = Broker::default().registration();
        command.ext_fields.retain(|(name, _)| name != missing);
        let reply = world.ask(command);
        assert_eq!((reply.code, reply.remark), (1, Some(format!("the custom field <{missing}> is null"))));
        assert_eq!(world.cluster_info(), r#"{"brokerAddrTable":{},"clusterAddrTable":{}}"#);
    }
}

/// Goal: zones are remembered, and a client that asks for its zone sees only that, but always brokers without master.
#[test]
fn zones_narrow_a_route() {
    let mut world = World::new(&[]);
    world.register(&Broker { more: vec![("__ZONE_NAME", "z1")], ..Broker::default() });
    world.register(&Broker { name: "broker-b", addr: "10.0.0.5:10911", ..Broker::default() });
    let mut brokers = |zone: &str| {
        let fields = [("topic", "A"), ("__ZONE_MODE", "true"), ("__ZONE_NAME", zone)];
        let reply = world.ask(ask(request::GET_ROUTEINFO_BY_TOPIC, &fields));
        let text = String::from_utf8(reply.body.to_vec()).unwrap();
        ["broker-a", "broker-b"].map(|name| text.contains(&format!(r#""brokerName":"{name}""#)))
    };
    assert_eq!(brokers("z1"), [true, true]);
    assert_eq!(brokers("z2"), [false, true]);
}

/// Goal: the queues of static topics are passed on as they came.
#[test]
fn static_topics_are_passed_on() {
    let mut world = World::new(&[]);
    let mut body = Broker::default().body();
    let info = json!({
        "bname": "broker-a", "currIdMap": {"0": 0}, "dirty": false, "epoch": 5, "scope": "__global__", "topic": "A",
        "totalQueues": 2,
    });
    body["topicConfigSerializeWrapper"]["topicQueueMappingInfoMap"] = json!({ "A": info });
    world.ask(Broker::default().registration().body(body.to_string().into_bytes()));
    assert_eq!(world.route("A").unwrap()["topicQueueMappingByBroker"], json!({ "broker-a": info }));
    assert_eq!(world.route("B").unwrap().get("topicQueueMappingByBroker"), None);
}
