//! Topics and groups by hand, one by one and in lists, and whole tables.

use protocol::RemotingCommand;
use protocol::body::{
    Body, ConsumerOffsetSerializeWrapper, SubscriptionGroupConfig, SubscriptionGroupList,
    SubscriptionGroupWrapper, TopicConfig, TopicConfigSerializeWrapper, TopicList,
};
use protocol::code::{request as codes, response};

use super::{ask, decode, refused};
use crate::requests::{create_topic, set};
use crate::world::World;

/// Goal: topics are made, shown, changed and deleted, and bad ones refused with the official words.
#[test]
fn topics_by_hand() {
    let mut world = World::new();
    let conn = world.connect();
    assert_eq!(world.call(conn, create_topic("T", 4)).code, response::SUCCESS);
    let shown: TopicConfig =
        decode(&world.call(conn, ask(codes::GET_TOPIC_CONFIG, &[("topic", "T"), ("lo", "true")])));
    assert_eq!(shown, TopicConfig::new("T", 4, 6));
    let version = world.shard.broker.topics.version();
    world.call(conn, create_topic("T", 4));
    assert_eq!(world.shard.broker.topics.version(), version, "the same again is no change");
    world.call(conn, create_topic("T", 8).field("attributes", "+message.type=FIFO"));
    let shown: TopicConfig = decode(&world.call(conn, ask(codes::GET_TOPIC_CONFIG, &[("topic", "T")])));
    assert_eq!((shown.read_queue_nums, shown.attributes.len()), (8, 1));
    assert_eq!(world.shard.broker.topics.version().counter, version.counter + 1);

    let bad = world.call(conn, create_topic("a b", 1));
    let characters =
        "The specified topic: a b, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$";
    refused(&bad, response::INVALID_PARAMETER, characters);
    let system = "The topic[TBW102] is conflict with system topic.";
    refused(&world.call(conn, create_topic("TBW102", 1)), response::INVALID_PARAMETER, system);
    refused(
        &world.call(conn, ask(codes::DELETE_TOPIC_IN_BROKER, &[("topic", "TBW102")])),
        response::INVALID_PARAMETER,
        system,
    );
    assert_eq!(world.call(conn, set(create_topic("U", 1), "perm", 99)).code, response::INVALID_PARAMETER);
    assert_eq!(
        world.call(conn, set(create_topic("U", 1), "readQueueNums", -1)).code,
        response::INVALID_PARAMETER
    );
    assert_eq!(
        world.call(conn, create_topic("U", 1).field("attributes", "+cleanup.policy=COMPACTION")).code,
        response::SYSTEM_ERROR
    );
    assert!(world.shard.broker.topics.find("U").is_none());

    assert_eq!(
        world.call(conn, ask(codes::DELETE_TOPIC_IN_BROKER, &[("topic", "T")])).code,
        response::SUCCESS
    );
    let gone = world.call(conn, ask(codes::GET_TOPIC_CONFIG, &[("topic", "T")]));
    refused(&gone, response::TOPIC_NOT_EXIST, "No topic in this broker. topic: T");
    assert_eq!(
        world.call(conn, ask(codes::DELETE_TOPIC_IN_BROKER, &[("topic", "T")])).code,
        response::SUCCESS
    );
}

/// Goal: the attributes of topics in a list are taken and refused as those of one topic are, with the official words; a list of topics as
/// they are is no change. Method: each way, then what is there.
#[test]
fn a_list_of_topics_has_attributes() {
    let mut world = World::new();
    let conn = world.connect();
    let list = |queues: i32, attributes: &[(&str, &str)]| {
        let pair = |(key, value): &(&str, &str)| (key.to_string(), value.to_string());
        let attributes = attributes.iter().map(pair).collect();
        let topic_config_list = vec![TopicConfig { attributes, ..TopicConfig::new("T", queues, 6) }];
        RemotingCommand::request(codes::UPDATE_AND_CREATE_TOPIC_LIST)
            .body(protocol::body::CreateTopicListRequestBody { topic_config_list }.encode())
    };
    let error = response::SYSTEM_ERROR;
    let only_add = "only add attribute is supported while creating topic. key: essage.type";
    refused(&world.call(conn, list(4, &[("message.type", "FIFO")])), error, only_add);
    refused(&world.call(conn, list(4, &[("+x", "y")])), error, "unsupported key: x");
    let mixed = "MIXED message type is not supported.";
    refused(&world.call(conn, list(4, &[("+message.type", "MIXED")])), response::INVALID_PARAMETER, mixed);
    refused(&world.call(conn, list(4, &[("", "y")])), error, "kv string format wrong.");
    assert!(world.shard.broker.topics.find("T").is_none());
    let attributes = |world: &World| world.shard.broker.topics.config("T").unwrap().attributes.clone();
    assert_eq!(world.call(conn, list(4, &[("+message.type", "FIFO"), ("+queue.type", "SimpleCQ")])).code, 0);
    assert_eq!(
        attributes(&world).into_iter().collect::<Vec<_>>(),
        [("message.type".to_owned(), "FIFO".to_owned()), ("queue.type".to_owned(), "SimpleCQ".to_owned())]
    );
    let version = world.shard.broker.topics.version();
    assert_eq!(world.call(conn, list(4, &[("message.type", "FIFO"), ("queue.type", "SimpleCQ")])).code, 0);
    assert_eq!(world.shard.broker.topics.version(), version, "as it is");
    let fixed = "attempt to update an unchangeable attribute. key: queue.type";
    refused(&world.call(conn, list(4, &[("+queue.type", "SimpleCQ")])), error, fixed);
    assert_eq!(world.call(conn, list(8, &[])).code, 0);
    assert_eq!(attributes(&world).len(), 2, "what is not named stays");
    assert_eq!(world.call(conn, list(8, &[("-message.type", "")])).code, 0);
    assert_eq!(attributes(&world).len(), 1);
}

/// Goal: the attributes of a group are taken and refused as those of a topic are, alone (200) and in a list (225), with the official words; those that
/// are not named stay, and a group as it is is no change. Method: each way, then what is there.
#[test]
fn groups_have_attributes() {
    for listed in [false, true] {
        let mut world = World::new();
        let conn = world.connect();
        let put = |retries: i32, attributes: &[(&str, &str)]| {
            let pair = |(key, value): &(&str, &str)| (key.to_string(), value.to_string());
            let attributes = attributes.iter().map(pair).collect();
            let config = SubscriptionGroupConfig {
                attributes,
                retry_max_times: retries,
                ..SubscriptionGroupConfig::new("G")
            };
            match listed {
                true => RemotingCommand::request(codes::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST)
                    .body(SubscriptionGroupList { group_config_list: vec![config] }.encode()),
                false => {
                    RemotingCommand::request(codes::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP).body(config.encode())
                }
            }
        };
        let error = response::SYSTEM_ERROR;
        for (key, value, words) in [
            ("a", "b", "kv string format wrong."),
            (
                "priority.factor",
                "100",
                "only add attribute is supported while creating topic. key: riority.factor",
            ),
            ("+x", "y", "unsupported key: x"),
            ("+message.type", "MIXED", "unsupported key: message.type"),
            ("+lite.bind.topic", "T", "unsupported key: lite.bind.topic"),
            ("+priority.factor", "50", "value is not in set: priority.factor=50, this broker takes 100"),
        ] {
            refused(&world.call(conn, put(16, &[(key, value)])), error, words);
        }
        assert!(world.shard.broker.groups.get("G").is_none());
        let attributes = |world: &World| world.shard.broker.groups.get("G").unwrap().attributes.clone();
        let both = [("+priority.factor", "100"), ("+lite.sub.model", "Shared")];
        assert_eq!(world.call(conn, put(16, &both)).code, response::SUCCESS);
        let kept = attributes(&world);
        assert_eq!(kept.keys().collect::<Vec<_>>(), ["lite.sub.model", "priority.factor"]);
        let as_it_is = [("priority.factor", "100"), ("lite.sub.model", "Shared")];
        assert_eq!(world.call(conn, put(16, &as_it_is)).code, response::SUCCESS);
        assert_eq!(world.call(conn, put(3, &[])).code, response::SUCCESS);
        assert_eq!(attributes(&world), kept, "what is not named stays");
        let gone = "attempt to delete a nonexistent key: x";
        refused(&world.call(conn, put(3, &[("-x", "")])), error, gone);
        assert_eq!(world.call(conn, put(3, &[("-priority.factor", "")])).code, response::SUCCESS);
        assert_eq!(attributes(&world).len(), 1);
    }
}

/// Goal: a list of topics is taken whole or not at all.
#[test]
fn a_list_of_topics_is_all_or_nothing() {
    let mut world = World::new();
    let conn = world.connect();
    let list = |names: [&str; 2]| {
        let topic_config_list = names.map(|name| TopicConfig::new(name, 2, 6)).to_vec();
        RemotingCommand::request(codes::UPDATE_AND_CREATE_TOPIC_LIST)
            .body(protocol::body::CreateTopicListRequestBody { topic_config_list }.encode())
    };
    assert_eq!(world.call(conn, list(["A", "b c"])).code, response::INVALID_PARAMETER);
    assert!(world.shard.broker.topics.find("A").is_none());
    assert_eq!(world.call(conn, list(["A", "B"])).code, response::SUCCESS);
    assert!(world.shard.broker.topics.find("B").is_some());
}

/// Goal: groups are made, shown and deleted, with the fields the tool sends.
#[test]
fn groups_by_hand() {
    let mut world = World::new();
    let conn = world.connect();
    let config = SubscriptionGroupConfig {
        consume_broadcast_enable: false,
        retry_max_times: 5,
        ..SubscriptionGroupConfig::new("CG_adm")
    };
    let update = RemotingCommand::request(codes::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP).body(config.encode());
    assert_eq!(world.call(conn, update).code, response::SUCCESS);
    let shown: SubscriptionGroupConfig =
        decode(&world.call(conn, ask(codes::GET_SUBSCRIPTIONGROUP_CONFIG, &[("group", "CG_adm")])));
    assert_eq!(shown, config);
    let bad = SubscriptionGroupConfig::new("bad group").encode();
    let many = RemotingCommand::request(codes::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP)
        .body(r#"{"groupName":"CG_many","retryQueueNums":2147483647}"#);
    refused(&world.call(conn, many), 29, "retryQueueNums must be from 0 to 65535.");
    let bad = RemotingCommand::request(codes::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP).body(bad);
    assert_eq!(world.call(conn, bad).code, response::INVALID_PARAMETER);
    world.shard.broker.offsets.commit("CG_adm", "T", 0, 7).unwrap();
    let delete = |clean: &str| {
        ask(codes::DELETE_SUBSCRIPTIONGROUP, &[("groupName", "CG_adm"), ("cleanOffset", clean)])
    };
    assert_eq!(world.call(conn, delete("false")).code, response::SUCCESS);
    assert_eq!(world.shard.broker.offsets.committed("CG_adm", "T", 0), Some(7));
    assert_eq!(world.call(conn, delete("true")).code, response::SUCCESS);
    assert_eq!(world.shard.broker.offsets.committed("CG_adm", "T", 0), None);
    let gone = world.call(conn, ask(codes::GET_SUBSCRIPTIONGROUP_CONFIG, &[("group", "CG_adm")]));
    refused(&gone, response::SUBSCRIPTION_GROUP_NOT_EXIST, "No group in this broker. group: CG_adm");
}

/// Goal: whole tables come whole to 4.9 and in pages to 5.x.
#[test]
fn whole_tables() {
    let mut world = World::new();
    let conn = world.connect();
    world.topic("T", 4);
    world.shard.broker.offsets.commit("G", "T", 1, 9).unwrap();
    let answer = world.call(conn, ask(codes::GET_ALL_TOPIC_CONFIG, &[]));
    let all: TopicConfigSerializeWrapper = decode(&answer);
    assert_eq!(answer.ext("totalTopicNum"), Some(all.topic_config_table.len().to_string().as_str()));
    assert_eq!(all.topic_config_table["T"], TopicConfig::new("T", 4, 6));
    let paged =
        ask(codes::GET_ALL_TOPIC_CONFIG, &[("topicSeq", "2"), ("maxTopicNum", "3"), ("dataVersion", "")]);
    let page: TopicConfigSerializeWrapper = decode(&world.call(conn, paged));
    assert!(page.topic_config_table.keys().eq(all.topic_config_table.keys().skip(2).take(3)));
    let groups: SubscriptionGroupWrapper =
        decode(&world.call(conn, ask(codes::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, &[])));
    assert!(groups.subscription_group_table.contains_key("TOOLS_CONSUMER"));
    let offsets: ConsumerOffsetSerializeWrapper =
        decode(&world.call(conn, ask(codes::GET_ALL_CONSUMER_OFFSET, &[])));
    assert_eq!(offsets.offset_table["T@G"], [(1, 9)].into());
    let system: TopicList = decode(&world.call(conn, ask(codes::GET_SYSTEM_TOPIC_LIST_FROM_BROKER, &[])));
    for name in [
        "TBW102",
        "SCHEDULE_TOPIC_XXXX",
        "broker-a",
        "DefaultCluster",
        "DefaultCluster_REPLY_TOPIC",
        "CHECKPOINT_TOPIC",
    ] {
        assert!(system.topic_list.iter().any(|topic| topic == name), "{name}");
    }
    assert!(!system.topic_list.contains(&"T".to_owned()));
}
