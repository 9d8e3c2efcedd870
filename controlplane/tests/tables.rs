//! What operators and clients look up, and the switches operators throw (rules N-15 to N-20, docs/PROMISES.md).
#![allow(clippy::unwrap_used)] // In a test, the place where it stops says enough.

mod world;

use protocol::code::request;
use world::{Broker, World, ask};

fn text(world: &mut World, code: i32, fields: &[(&str, &str)]) -> String {
    let reply = world.ask(ask(code, fields));
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
    String::from_utf8(reply.body.to_vec()).unwrap()
}

/// N-15. Goal: the route answer has two forms. Method: versions on both sides of the threshold, and the wish.
#[test]
fn keys_are_quoted_for_those_who_need_it() {
    let mut world = World::new(&[]);
    world.register(&Broker { topics: vec!["A", "é"], ..Broker::default() });
    let mut form = |version: i32, fields: &[(&str, &str)]| {
        let mut command = ask(request::GET_ROUTEINFO_BY_TOPIC, fields);
        command.version = version;
        let body = String::from_utf8(world.ask(command).body.to_vec()).unwrap();
        assert!(body.is_ascii() || version < 401, "quoted answers escape what is not ASCII");
        body.contains(r#"{"0":"10.0.0.1:10911"}"#)
    };
    assert!(form(401, &[("topic", "A")]));
    assert!(form(513, &[("topic", "é")]));
    assert!(!form(400, &[("topic", "A")]));
    assert!(form(300, &[("topic", "A"), ("acceptStandardJsonOnly", "true")]));
}

/// N-15. Goal: an unknown topic is 17 with the official words.
#[test]
fn an_unknown_topic_has_no_route() {
    let mut world = World::new(&[]);
    let reply = world.ask(ask(request::GET_ROUTEINFO_BY_TOPIC, &[("topic", "T")]));
    let words = "No topic route info in name server for the topic: T\n\
                 See https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";
    assert_eq!((reply.code, reply.remark.as_deref()), (17, Some(words)));
}

/// N-15. Goal: order settings are shown only when they are switched on and there.
#[test]
fn order_settings_show_in_the_route() {
    let mut world = World::new(&[]);
    world.register(&Broker::default());
    let kv = [("namespace", "ORDER_TOPIC_CONFIG"), ("key", "A"), ("value", "broker-a:2")];
    world.ask(ask(request::PUT_KV_CONFIG, &kv));
    assert_eq!(world.route("A").unwrap().get("orderTopicConf"), None);
    world.ask(ask(request::UPDATE_NAMESRV_CONFIG, &[]).body("orderMessageEnable=true"));
    assert_eq!(world.route("A").unwrap()["orderTopicConf"], "broker-a:2");
    assert_eq!(world.route("B").unwrap().get("orderTopicConf"), None);
}

/// N-15. Goal: a name server that should wait for its brokers says so, for as long as it is told to.
#[test]
fn a_young_name_server_may_be_told_to_wait() {
    let mut world = World::new(&["needWaitForService=true", "waitSecondsForService=3"]);
    world.register(&Broker::default());
    world.now = 2_999;
    let reply = world.ask(ask(request::GET_ROUTEINFO_BY_TOPIC, &[("topic", "A")]));
    assert_eq!((reply.code, reply.remark.as_deref()), (1, Some("name server not ready")));
    world.now = 3_000;
    assert!(world.route("A").is_some());
}

/// N-16. Goal: the write switch acts on every topic of a broker until its data version changes.
#[test]
fn the_write_switch_lasts_until_the_broker_has_news() {
    let mut world = World::new(&[]);
    world.register(&Broker { perm: 7, ..Broker::default() });
    let name = [("brokerName", "broker-a")];
    let reply = world.ask(ask(request::WIPE_WRITE_PERM_OF_BROKER, &name));
    assert_eq!(reply.fields, [("wipeTopicCount", "2".to_owned())]);
    assert_eq!(world.perm("A"), 5);
    world.register(&Broker::default());
    assert_eq!(world.perm("A"), 5, "the same data version");
    let reply = world.ask(ask(request::ADD_WRITE_PERM_OF_BROKER, &name));
    assert_eq!(reply.fields, [("addTopicCount", "2".to_owned())]);
    assert_eq!(world.perm("A"), 6);
    world.ask(ask(request::WIPE_WRITE_PERM_OF_BROKER, &name));
    world.register(&Broker { perm: 7, version: (2, 0, 9), ..Broker::default() });
    assert_eq!(world.perm("A"), 7);
    let reply = world.ask(ask(request::WIPE_WRITE_PERM_OF_BROKER, &[("brokerName", "zz")]));
    assert_eq!(reply.fields, [("wipeTopicCount", "0".to_owned())]);
}

/// N-17. Goal: a topic is forgotten everywhere, or in one cluster.
#[test]
fn topics_are_deleted() {
    let mut world = World::new(&[]);
    world.register(&Broker::default());
    world.register(&Broker { cluster: "D", name: "broker-d", addr: "10.0.0.9:10911", ..Broker::default() });
    let mut delete = |fields: &[(&str, &str)]| {
        assert_eq!(world.ask(ask(request::DELETE_TOPIC_IN_NAMESRV, fields)).code, 0);
        let names =
            |topic: &str, world: &mut World| world.route(topic).map(|route| route["queueDatas"].to_string());
        (names("A", &mut world), names("B", &mut world))
    };
    let (a, _) = delete(&[("topic", "A"), ("clusterName", "nope")]);
    assert!(a.unwrap().contains("broker-a"));
    let (a, b) = delete(&[("topic", "A"), ("clusterName", "C")]);
    assert!(!a.as_ref().unwrap().contains("broker-a") && a.unwrap().contains("broker-d"));
    assert!(b.unwrap().contains("broker-a"));
    let (a, b) = delete(&[("topic", "B"), ("clusterName", "")]);
    assert!(a.is_some() && b.is_none());
}

/// N-17. Goal: queues may be added to a topic by hand, of known brokers only.
#[test]
fn topics_are_registered_by_hand() {
    let mut world = World::new(&[]);
    world.register(&Broker::default());
    let mut register = |topic: &str, brokers: &[&str]| {
        let queues: Vec<String> = brokers
            .iter()
            .map(|name| {
                format!(r#"{{"brokerName":"{name}","perm":6,"readQueueNums":3,"topicSysFlag":0,"writeQueueNums":3}}"#)
            })
            .collect();
        let body = format!(r#"{{"queueDatas":[{}]}}"#, queues.join(","));
        let command = ask(request::REGISTER_TOPIC_IN_NAMESRV, &[("topic", topic)]).body(body.into_bytes());
        assert_eq!(world.ask(command).code, 0);
        world.route(topic).map(|route| route["queueDatas"].as_array().unwrap().len())
    };
    assert_eq!(register("R", &["broker-a"]), Some(1));
    assert_eq!(register("S", &["broker-a", "zz"]), None);
    assert_eq!(register("A", &["zz", "broker-a"]), Some(1));
    assert_eq!(register("U", &[]), None);
    assert_eq!(world.ask(ask(request::REGISTER_TOPIC_IN_NAMESRV, &[("topic", "U")])).code, 0, "no body");
}

/// N-18. Goal: the lists. Method: two clusters, units, and each list.
#[test]
fn lists() {
    let mut world = World::new(&[]);
    assert_eq!(text(&mut world, request::GET_SYSTEM_TOPIC_LIST_FROM_NS, &[]), r#"{"topicList":[]}"#);
    let unit = |cluster, name, addr, flags, topics| Broker {
        cluster,
        name,
        addr,
        flags,
        topics,
        ..Broker::default()
    };
    world.register(&unit("C", "b0", "10.0.0.1:1", 0, vec!["N", "M"]));
    world.register(&unit("C", "b1", "10.0.0.2:1", 1, vec!["U", "M"]));
    world.register(&unit("D", "b2", "10.0.0.3:1", 2, vec!["S", "M"]));
    world.register(&unit("D", "b3", "10.0.0.4:1", 3, vec!["V", "M"]));
    let mut list = |code: i32, fields: &[(&str, &str)]| text(&mut world, code, fields);
    assert_eq!(
        list(request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, &[]),
        r#"{"topicList":["M","N","S","U","V"]}"#
    );
    assert_eq!(list(request::GET_TOPICS_BY_CLUSTER, &[("cluster", "C")]), r#"{"topicList":["M","N","U"]}"#);
    assert_eq!(list(request::GET_TOPICS_BY_CLUSTER, &[("cluster", "zz")]), r#"{"topicList":[]}"#);
    assert_eq!(
        list(request::GET_SYSTEM_TOPIC_LIST_FROM_NS, &[]),
        r#"{"brokerAddr":"10.0.0.1:1","topicList":["C","D","b0","b1","b2","b3"]}"#
    );
    assert_eq!(list(request::GET_UNIT_TOPIC_LIST, &[]), r#"{"topicList":["U","V"]}"#);
    assert_eq!(list(request::GET_HAS_UNIT_SUB_TOPIC_LIST, &[]), r#"{"topicList":["S","V"]}"#);
    assert_eq!(list(request::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST, &[]), r#"{"topicList":["S"]}"#);
}

/// N-18. Goal: lists can be switched off; the system list always answers.
#[test]
fn lists_can_be_switched_off() {
    let mut world = World::new(&["enableTopicList=false", "enableAllTopicList=false"]);
    for code in [
        request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER,
        request::GET_TOPICS_BY_CLUSTER,
        request::GET_UNIT_TOPIC_LIST,
        request::GET_HAS_UNIT_SUB_TOPIC_LIST,
        request::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST,
    ] {
        let reply = world.ask(ask(code, &[("cluster", "C")]));
        assert_eq!((reply.code, reply.remark.as_deref()), (1, Some("disable")), "{code}");
    }
    assert_eq!(world.ask(ask(request::GET_SYSTEM_TOPIC_LIST_FROM_NS, &[])).code, 0);
}

/// N-19. Goal: QUERY_DATA_VERSION says whether a version is news, and what is known.
#[test]
fn data_versions_are_compared() {
    let mut world = World::new(&[]);
    world.register(&Broker::default());
    let mut query = |broker: &Broker, body: &str| {
        let command = broker.ask(request::QUERY_DATA_VERSION).body(body.to_owned());
        let reply = world.ask(command);
        (
            reply.code,
            reply.fields.first().map(|field| field.1.clone()),
            String::from_utf8(reply.body.to_vec()).unwrap(),
        )
    };
    let known = r#"{"counter":1,"stateVersion":0,"timestamp":1700000000000}"#.to_owned();
    let broker = Broker::default();
    assert_eq!(query(&broker, &known), (0, Some("false".into()), known.clone()));
    assert_eq!(query(&broker, r#"{"counter":1,"timestamp":1700000000000}"#).1.as_deref(), Some("false"));
    assert_eq!(query(&broker, r#"{"counter":2}"#), (0, Some("true".into()), known.clone()));
    assert_eq!(query(&broker, ""), (0, Some("true".into()), known));
    assert_eq!(query(&Broker::slave(), "{}"), (0, Some("true".into()), String::new()));
    assert_eq!(query(&broker, "{\"counter\":zz").0, 1);
}

/// N-20. Goal: settings by key and namespace, with the official words for what is not there.
#[test]
fn kv_settings() {
    let mut world = World::new(&[]);
    let key = [("namespace", "N"), ("key", "k")];
    let reply = world.ask(ask(request::GET_KV_CONFIG, &key));
    assert_eq!((reply.code, reply.remark.as_deref()), (22, Some("No config item, Namespace: N Key: k")));
    let reply = world.ask(ask(request::GET_KVLIST_BY_NAMESPACE, &key));
    assert_eq!((reply.code, reply.remark.as_deref()), (22, Some("No config item, Namespace: N")));
    let reply = world.ask(ask(request::PUT_KV_CONFIG, &[("key", "k"), ("value", "v")]));
    assert_eq!((reply.code, reply.remark.as_deref()), (1, Some("namespace or key is null")));

    let put = ask(request::PUT_KV_CONFIG, &[("namespace", "N"), ("key", "k"), ("value", "v")]);
    let (reply, effects) = world.ask_on(1, put);
    assert_eq!((reply.code, effects.kv_changed), (0, true));
    assert_eq!(world.ask(ask(request::GET_KV_CONFIG, &key)).fields, [("value", "v".to_owned())]);
    assert_eq!(text(&mut world, request::GET_KVLIST_BY_NAMESPACE, &key), r#"{"table":{"k":"v"}}"#);

    assert!(world.ask_on(1, ask(request::DELETE_KV_CONFIG, &key)).1.kv_changed);
    assert!(!world.ask_on(1, ask(request::DELETE_KV_CONFIG, &key)).1.kv_changed);
    assert_eq!(text(&mut world, request::GET_KVLIST_BY_NAMESPACE, &key), r#"{"table":{}}"#);

    assert_eq!(world.ask(ask(request::PUT_KV_CONFIG, &key)).code, 0, "no value");
    assert_eq!(world.ask(ask(request::GET_KV_CONFIG, &key)).code, 22);
}

/// N-20. Goal: settings of the server itself are shown and changed at once; black-listed ones are not.
#[test]
fn settings_of_the_server() {
    let mut world = World::new(&[]);
    let change = |text: &str| ask(request::UPDATE_NAMESRV_CONFIG, &[]).body(text.to_owned());
    let (reply, effects) = world.ask_on(1, change("enableAllTopicList=false\nzork=1\n"));
    assert_eq!((reply.code, reply.remark, effects.config_changed), (0, None, true));
    assert_eq!(world.ask(ask(request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, &[])).code, 1);
    let shown = text(&mut world, request::GET_NAMESRV_CONFIG, &[]);
    assert!(shown.contains("enableAllTopicList=false\n") && !shown.contains("zork"));
    let (reply, effects) = world.ask_on(1, change("kvConfigPath=/etc/passwd"));
    assert_eq!((reply.code, reply.remark.as_deref()), (16, Some("Can not update config in black list.")));
    assert!(!effects.config_changed);
    assert_eq!(world.ask(change("")).code, 0);
}

/// Goal: codes of other servers are refused with the official words.
#[test]
fn unknown_codes_are_refused() {
    let mut world = World::new(&[]);
    for code in [10, 905, 77_777, -5, i32::MAX] {
        let reply = world.ask(ask(code, &[]));
        assert_eq!((reply.code, reply.remark), (3, Some(format!(" request type {code} not supported"))));
    }
}
