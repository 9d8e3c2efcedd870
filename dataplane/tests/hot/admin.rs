//! The administrators' desks, over the whole shard. Expected codes, remarks and bodies are those of mqadmin-5.5.0.json
//! and probe-5.5.0.json.

use std::time::Duration;

use dataplane::broker::group_config::GroupConfig;
use protocol::RemotingCommand;
use protocol::body::{
    Body, ConsumeStats, ConsumerConnection, ConsumerOffsetSerializeWrapper, GroupList, HARuntimeInfo,
    KVTable, MessageQueue, ProducerConnection, ProducerTableInfo, QueryConsumeQueueResponseBody,
    QuerySubscriptionResponseBody, ResetOffsetBody, SubscriptionGroupConfig, SubscriptionGroupWrapper,
    TopicConfig, TopicConfigSerializeWrapper, TopicList, TopicStatsTable,
};
use protocol::code::{request as codes, response};
use protocol::properties::{self, key};
use protocol::record::RecordView;

use crate::requests::{create_topic, pull, send, set};
use crate::world::World;

fn ask(code: i32, fields: &[(&str, &str)]) -> RemotingCommand {
    fields.iter().fold(RemotingCommand::request(code), |command, (name, value)| command.field(*name, value))
}

fn refused(answer: &RemotingCommand, code: i32, remark: &str) {
    assert_eq!((answer.code, answer.remark.as_deref()), (code, Some(remark)));
}

fn decode<T: Body>(answer: &RemotingCommand) -> T {
    assert_eq!(answer.code, response::SUCCESS, "{:?}", answer.remark);
    T::decode(&answer.body).unwrap()
}

/// A message per call, half a MiB each, so that a few dozen of them leave the hot log.
fn fill(world: &mut World, conn: dataplane::net::ConnId, topic: &str, messages: usize) {
    let body = vec![b'x'; 512 << 10];
    for _ in 0..messages {
        let answer = world.call(conn, send(topic, 0, "", &body));
        assert_eq!(answer.code, response::SUCCESS, "{:?}", answer.remark);
        world.clock.advance(Duration::from_millis(10));
    }
    world.pass(50);
}

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

/// Goal: who is connected is shown as the tool reads it, and who is not gets the code it counts on.
#[test]
fn clients_by_group() {
    let mut world = World::new();
    let conn = world.connect();
    let offline = world.call(conn, ask(codes::GET_CONSUMER_CONNECTION_LIST, &[("consumerGroup", "CG")]));
    refused(&offline, response::CONSUMER_NOT_ONLINE, "the consumer group[CG] not online");
    let unknown = world.call(conn, ask(codes::GET_PRODUCER_CONNECTION_LIST, &[("producerGroup", "PG")]));
    refused(&unknown, response::SYSTEM_ERROR, "the producer group[PG] not exist");

    let client = world.connect();
    let beat = r#"{"clientID":"192.0.2.2@bg","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"CG","messageModel":"CLUSTERING","subscriptionDataSet":[{"classFilterMode":false,"codeSet":[2598919],"expressionType":"TAG","subString":"TagA","subVersion":1,"tagsSet":["TagA"],"topic":"T"}],"unitMode":false}],"producerDataSet":[{"groupName":"PG"}]}"#;
    let beat = RemotingCommand::request(codes::HEART_BEAT).body(beat.as_bytes().to_vec());
    world.post(client, beat, protocol::Codec::Json);
    world.pass(2);

    let consumers: ConsumerConnection =
        decode(&world.call(conn, ask(codes::GET_CONSUMER_CONNECTION_LIST, &[("consumerGroup", "CG")])));
    assert_eq!(consumers.connection_set.len(), 1);
    assert_eq!(consumers.connection_set[0].client_id, "192.0.2.2@bg");
    assert_eq!(consumers.connection_set[0].client_addr, "127.0.0.1:50206");
    assert_eq!(consumers.subscription_table["T"].sub_string, "TagA");
    let producers: ProducerConnection =
        decode(&world.call(conn, ask(codes::GET_PRODUCER_CONNECTION_LIST, &[("producerGroup", "PG")])));
    assert_eq!(producers.connection_set.len(), 1);
    let all: ProducerTableInfo = decode(&world.call(conn, ask(codes::GET_ALL_PRODUCER_INFO, &[])));
    assert_eq!(all.data["PG"][0].remote_ip, "/127.0.0.1:50206");
    let topics: TopicList =
        decode(&world.call(conn, ask(codes::QUERY_TOPICS_BY_CONSUMER, &[("group", "CG")])));
    assert!(topics.topic_list.contains(&"T".to_owned()));
    assert_eq!(topics.broker_addr.as_deref(), Some("127.0.0.2:10911"));
    let fields = [("group", "CG"), ("topic", "T")];
    let subscription: QuerySubscriptionResponseBody =
        decode(&world.call(conn, ask(codes::QUERY_SUBSCRIPTION_BY_CONSUMER, &fields)));
    assert!(subscription.subscription_data.unwrap().code_set.contains(&2_598_919));
    world.shard.broker.offsets.commit("OLD", "T", 0, 1).unwrap();
    let groups: GroupList =
        decode(&world.call(conn, ask(codes::QUERY_TOPIC_CONSUME_BY_WHO, &[("topic", "T")])));
    assert_eq!(groups.group_list, ["CG", "OLD"]);
}

/// Goal: a running broker takes the changes of the allow-list, and tells the name servers of a permission.
#[test]
fn settings_of_a_running_broker() {
    let mut world = World::new();
    let conn = world.connect();
    let update =
        |text: &str| RemotingCommand::request(codes::UPDATE_BROKER_CONFIG).body(text.as_bytes().to_vec());
    let before = world.shard.broker.topics.version();
    assert_eq!(world.call(conn, update("traceOn=false\n")).code, response::SUCCESS);
    assert!(!world.shard.broker.config.trace_on);
    assert_eq!(world.shard.broker.topics.version(), before);
    world.topic("T", 1);
    let sent = world.call(conn, send("T", 0, "", b"x"));
    assert_eq!(sent.ext("TRACE_ON"), Some("false"), "what was made of the settings is made again");
    let stored = world.call(conn, pull("T", 0, 0)).body;
    let stored = RecordView::parse(&stored).unwrap();
    assert_eq!(properties::get_str(stored.properties, key::TRACE_ON), Some("false"));
    let before = world.shard.broker.topics.version();
    assert_eq!(world.call(conn, update("brokerPermission=4\n")).code, response::SUCCESS);
    assert!(world.shard.broker.topics.version() != before, "the name servers must take the table anew");
    let path = world.call(conn, update("traceOn=true\nstorePathRootDir=/etc\n"));
    assert_eq!(path.code, response::NO_PERMISSION);
    assert!(path.remark.unwrap().starts_with("Can not update config in black list."));
    assert!(!world.shard.broker.config.trace_on, "all or nothing");
    assert_eq!(world.call(conn, update("traceOn=perhaps\n")).code, response::INVALID_PARAMETER);
    let shown = world.call(conn, ask(codes::GET_BROKER_CONFIG, &[]));
    let text = String::from_utf8(shown.body.to_vec()).unwrap();
    assert!(text.contains("\nbrokerName=broker-a\n") && text.contains("\nbrokerPermission=4\n"), "{text}");
    assert!(shown.ext("version").unwrap().contains("\"counter\":2"));
}

/// Goal: every key that exportConfigs reads is shown, once, and those without effect with what the official broker shows. Method: beside the settings
/// of an official broker, none of which has filterServerNums.
#[test]
fn settings_have_what_the_tools_read() {
    let official = include_str!("../vectors/broker-5.5.0.properties");
    let mut world = World::new();
    let conn = world.connect();
    let shown = world.call(conn, ask(codes::GET_BROKER_CONFIG, &[]));
    let shown = String::from_utf8(shown.body.to_vec()).unwrap();
    for key in [
        "brokerClusterName",
        "brokerId",
        "brokerName",
        "brokerRole",
        "fileReservedTime",
        "flushDiskType",
        "maxMessageSize",
        "messageDelayLevel",
        "msgTraceTopicName",
        "slaveReadEnable",
        "traceOn",
        "traceTopicEnable",
        "useTLS",
        "autoCreateTopicEnable",
        "autoCreateSubscriptionGroup",
    ] {
        let is_it = |line: &&str| line.strip_prefix(key).is_some_and(|rest| rest.starts_with('='));
        let lines: Vec<&str> = shown.lines().filter(is_it).collect();
        assert_eq!(lines.len(), 1, "{key}");
        if ["slaveReadEnable", "useTLS"].contains(&key) {
            assert_eq!(official.lines().find(is_it), Some(lines[0]));
        }
    }
}

/// Goal: every key that clusterList and brokerStatus read is there and has the form they split.
#[test]
fn runtime_info_has_what_the_tools_read() {
    let mut world = World::new();
    let conn = world.connect();
    world.topic("T", 1);
    for _ in 0..5 {
        world.call(conn, send("T", 0, "", b"x"));
    }
    world.pass(1_500);
    let info: KVTable = decode(&world.call(conn, ask(codes::GET_BROKER_RUNTIME_INFO, &[])));
    let value = |key: &str| info.table.get(key).unwrap_or_else(|| panic!("{key} is missing")).as_str();
    for key in ["putTps", "getTransferredTps", "getTotalTps", "getFoundTps", "getMissTps"] {
        let numbers: Vec<f64> = value(key).split(' ').map(|number| number.parse().unwrap()).collect();
        assert_eq!(numbers.len(), 3, "{key}");
    }
    assert!(value("putTps").starts_with("5.") || value("putTps").starts_with("4."), "{}", value("putTps"));
    for key in [
        "msgPutTotalYesterdayMorning",
        "msgPutTotalTodayMorning",
        "msgGetTotalYesterdayMorning",
        "msgGetTotalTodayMorning",
        "msgGetTotalTodayNow",
        "pageCacheLockTimeMills",
        "earliestMessageTimeStamp",
        "sendThreadPoolQueueSize",
        "sendThreadPoolQueueHeadWaitTimeMills",
        "pullThreadPoolQueueSize",
        "pullThreadPoolQueueHeadWaitTimeMills",
        "ackThreadPoolQueueSize",
        "ackThreadPoolQueueHeadWaitTimeMills",
        "timerReadBehind",
        "timerOffsetBehind",
        "timerCongestNum",
    ] {
        value(key).parse::<i64>().unwrap_or_else(|_| panic!("{key}"));
    }
    assert_eq!(value("msgPutTotalTodayNow"), "5");
    assert_eq!(value("brokerVersionDesc"), "V5_5_0");
    value("commitLogDiskRatio").parse::<f64>().unwrap();
    value("timerEnqueueTps").parse::<f64>().unwrap();
    assert_eq!(value("commitLogMinOffset"), "0");
    assert!(value("runtime").starts_with("[ 0 days, "));
    let ha: HARuntimeInfo = decode(&world.call(conn, ask(codes::GET_BROKER_HA_STATUS, &[])));
    assert!(ha.master && ha.master_commit_log_max_offset > 0);
}

/// Goal: times are those of the messages, also when they have left memory. Method: 60 MiB through a hot log of 24.
#[test]
fn offsets_carry_the_times_of_hot_and_cold_messages() {
    let mut world = World::new();
    let conn = world.connect();
    world.topic("T", 2);
    let missing = world.call(conn, ask(codes::GET_TOPIC_STATS_INFO, &[("topic", "nonono")]));
    refused(&missing, response::TOPIC_NOT_EXIST, "topic[nonono] not exist");
    world.call(conn, send("T", 1, "", b"early"));
    let early_ms = dataplane::time::Clock::read(&mut world.clock).wall_ms;
    fill(&mut world, conn, "T", 120);
    assert!(world.shard.broker.store.hot_start().0 > 20 << 20, "the first messages are cold");
    let stats: TopicStatsTable =
        decode(&world.call(conn, ask(codes::GET_TOPIC_STATS_INFO, &[("topic", "T")])));
    let queue = |id| MessageQueue::new("T", "broker-a", id);
    let (hot, cold) = (stats.offset_table[&queue(0)], stats.offset_table[&queue(1)]);
    assert_eq!((hot.min_offset, hot.max_offset), (0, 120));
    assert!(hot.last_update_timestamp > early_ms);
    assert_eq!((cold.max_offset, cold.last_update_timestamp), (1, early_ms));

    world.shard.broker.groups.put(GroupConfig::new("G"), 0, &mut world.shard.broker.ops);
    world.shard.broker.offsets.commit("G", "T", 0, 1).unwrap();
    world.shard.broker.offsets.pulled("G", "T", 0, 33);
    let stats: ConsumeStats =
        decode(&world.call(conn, ask(codes::GET_CONSUME_STATS, &[("consumerGroup", "G")])));
    let first = stats.offset_table[&queue(0)];
    assert_eq!((first.broker_offset, first.consumer_offset, first.pull_offset), (120, 1, 33));
    assert!((early_ms..early_ms + 50).contains(&first.last_timestamp));
    assert_eq!(stats.offset_table[&queue(1)].consumer_offset, 0);
    let unknown: ConsumeStats =
        decode(&world.call(conn, ask(codes::GET_CONSUME_STATS, &[("consumerGroup", "nobody")])));
    assert!(unknown.offset_table.is_empty());
    // A topic counts once, however often it is named.
    let list = "BenchmarkTest;".repeat(50_000);
    let often: ConsumeStats = decode(
        &world
            .call(conn, ask(codes::GET_CONSUME_STATS, &[("consumerGroup", "nobody"), ("topicList", &list)])),
    );
    assert_eq!(often.offset_table.len(), 1024);
    let all = world.call(conn, ask(codes::GET_BROKER_CONSUME_STATS, &[("isOrder", "false")]));
    let all: protocol::body::ConsumeStatsList = decode(&all);
    assert_eq!((all.total_diff, all.total_inflight_diff), (119 + 1, 32));

    let view =
        |offset: i64| ask(codes::VIEW_MESSAGE_BY_ID, &[("offset", &offset.to_string()), ("topic", "T")]);
    let answer = world.call(conn, view(0));
    assert_eq!(RecordView::parse(&answer.body).unwrap().body, b"early");
    let last = world.call(
        conn,
        ask(
            codes::QUERY_CONSUME_QUEUE,
            &[("topic", "T"), ("queueId", "0"), ("index", "119"), ("count", "9")],
        ),
    );
    let last: QueryConsumeQueueResponseBody = decode(&last);
    assert_eq!((last.min_queue_index, last.max_queue_index, last.queue_data.len()), (0, 120, 1));
    let answer = world.call(conn, view(last.queue_data[0].physic_offset));
    assert_eq!(RecordView::parse(&answer.body).unwrap().queue_offset, 119);
    for offset in [1, 77_777_777_777, -1] {
        let remark = format!("can not find message by the offset, {offset}");
        refused(&world.call(conn, view(offset)), response::SYSTEM_ERROR, &remark);
    }
    let whole = [("topic", "T"), ("queueId", "0"), ("index", "0"), ("count", "1000")];
    let whole: QueryConsumeQueueResponseBody =
        decode(&world.call(conn, ask(codes::QUERY_CONSUME_QUEUE, &whole)));
    assert_eq!(whole.queue_data.len(), 120, "cold and hot entries");
    assert_eq!((whole.filter_data, whole.subscription_data), (None, None));
}

/// Goal: code 321 with a group says what the group subscribes, or that it is not there, in the official words. Method: a group that
/// is on line, and one that nobody knows; a queue with a message and one without.
#[test]
fn entries_are_shown_with_the_subscription_of_a_group() {
    let mut world = World::new();
    let (conn, member) = (world.connect(), world.connect());
    world.topic("T", 2);
    fill(&mut world, conn, "T", 1);
    let beat = r#"{"clientID":"c1","producerDataSet":[],"consumerDataSet":[{"groupName":"G","consumeType":"CONSUME_PASSIVELY",
        "messageModel":"CLUSTERING","consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","subscriptionDataSet":[
        {"topic":"T","subString":"A","tagsSet":["A"],"codeSet":[65],"subVersion":7}]}]}"#;
    let beat = RemotingCommand::request(codes::HEART_BEAT).body(beat.as_bytes().to_vec());
    assert_eq!(world.call(member, beat).code, response::SUCCESS);
    let mut shown = |group: &str, queue_id: &str| -> QueryConsumeQueueResponseBody {
        let fields =
            [("topic", "T"), ("queueId", queue_id), ("index", "0"), ("count", "1"), ("consumerGroup", group)];
        decode(&world.call(conn, ask(codes::QUERY_CONSUME_QUEUE, &fields)))
    };
    for queue_id in ["0", "1"] {
        let known = shown("G", queue_id);
        let subscription = known.subscription_data.unwrap();
        assert_eq!((&*subscription.sub_string, subscription.sub_version), ("A", 7));
        assert_eq!(known.filter_data.as_deref(), Some("null"));
        let unknown = shown("nobody", queue_id);
        assert_eq!(unknown.subscription_data, None);
        assert_eq!(unknown.filter_data.as_deref(), Some("nobody@T is not online!"));
    }
}

/// D-10. Goal: messages are found by key, unique key and tag, newest first, with the official header; what is not there is 22 with the
/// official words. Method: a few messages, hot or written out; the header of an empty index is the probe's.
#[test]
fn messages_are_found_by_key() {
    let mut world = World::new();
    let conn = world.connect();
    world.topic("T", 2);
    let query = |key: &str| {
        ask(
            codes::QUERY_MESSAGE,
            &[
                ("topic", "T"),
                ("key", key),
                ("maxNum", "64"),
                ("beginTimestamp", "0"),
                ("endTimestamp", "9223372036854775807"),
            ],
        )
    };
    let not_found = "can not find message, maybe time range not correct";
    let empty = world.call(conn, query("nokey"));
    refused(&empty, response::QUERY_NOT_FOUND, not_found);
    assert_eq!(empty.ext("indexLastUpdateTimestamp"), Some("0"));
    assert_eq!(empty.ext("indexLastUpdatePhyoffset"), Some("0"));
    for (unique, keys, body) in [("U1", "k1 k2", "one"), ("U2", "k2", "two"), ("U3", "", "three")] {
        let mut list = format!("UNIQ_KEY\u{1}{unique}\u{2}TAGS\u{1}TagA\u{2}");
        if !keys.is_empty() {
            list.push_str(&format!("KEYS\u{1}{keys}\u{2}"));
        }
        assert_eq!(world.call(conn, send("T", 0, &list, body.as_bytes())).code, response::SUCCESS);
    }
    world.clock.advance(Duration::from_millis(20));
    world.pass(50);
    let bodies = |answer: &RemotingCommand| {
        assert_eq!(answer.code, response::SUCCESS, "{:?}", answer.remark);
        let (mut rest, mut bodies) = (&answer.body[..], Vec::new());
        while !rest.is_empty() {
            let size = u32::from_be_bytes(*rest.first_chunk().unwrap()) as usize;
            let view = RecordView::parse(&rest[..size]).unwrap();
            bodies.push(String::from_utf8(view.body.to_vec()).unwrap());
            rest = &rest[size..];
        }
        bodies
    };
    assert_eq!(bodies(&world.call(conn, query("k1"))), ["one"]);
    let both = world.call(conn, query("k2"));
    assert_eq!(bodies(&both), ["two", "one"]);
    assert!(both.ext("indexLastUpdatePhyoffset").unwrap().parse::<i64>().unwrap() > 0);
    let one = world.call(conn, set(query("k2"), "maxNum", 1));
    assert_eq!(bodies(&one), ["two"]);
    let unique = query("U3").field("_UNIQUE_KEY_QUERY", "true").field("indexType", "U");
    assert_eq!(bodies(&world.call(conn, unique)), ["three"]);
    let tagged = world.call(conn, query("TagA").field("indexType", "T"));
    assert_eq!(bodies(&tagged), ["three", "two", "one"]);
    refused(&world.call(conn, query("TagA")), response::QUERY_NOT_FOUND, not_found);
    let early = world.call(conn, set(query("k1"), "endTimestamp", 1));
    refused(&early, response::QUERY_NOT_FOUND, not_found);
}

/// Goal: a group is moved by time, to the end, and one queue to an offset; the next pull of each queue is told.
#[test]
fn a_group_is_reset() {
    let mut world = World::new();
    let conn = world.connect();
    world.topic("T", 2);
    world.shard.broker.groups.put(GroupConfig::new("G"), 0, &mut world.shard.broker.ops);
    fill(&mut world, conn, "T", 120);
    let reset = |fields: &[(&str, &str)]| {
        let base = ask(
            codes::INVOKE_BROKER_TO_RESET_OFFSET,
            &[("group", "G"), ("topic", "T"), ("isForce", "true"), ("timestamp", "-1")],
        );
        fields.iter().fold(base, |command, (name, value)| set(command, name, value))
    };
    refused(&world.call(conn, reset(&[("topic", "U")])), response::TOPIC_NOT_EXIST, "Topic U does not exist");
    refused(
        &world.call(conn, reset(&[("group", "H")])),
        response::SUBSCRIPTION_GROUP_NOT_EXIST,
        "Group H does not exist",
    );
    let queue = |id| MessageQueue::new("T", "broker-a", id);
    let moved: ResetOffsetBody = decode(&world.call(conn, reset(&[])));
    assert_eq!(moved.offset_table, [(queue(0), 120), (queue(1), 0)].into());

    let view = ask(codes::VIEW_MESSAGE_BY_ID, &[("offset", "0")]);
    let first_ms = RecordView::parse(&world.call(conn, view).body).unwrap().store_timestamp;
    let moved: ResetOffsetBody =
        decode(&world.call(conn, reset(&[("timestamp", &(first_ms + 1).to_string())])));
    assert_eq!(moved.offset_table[&queue(0)], 1, "found in the files");
    assert_eq!(world.shard.broker.offsets.committed("G", "T", 0), Some(1));

    let one = reset(&[("queueId", "0"), ("offset", "100")]);
    let moved: ResetOffsetBody = decode(&world.call(conn, one));
    assert_eq!(moved.offset_table, [(queue(0), 100)].into());
    let beyond = world.call(conn, reset(&[("queueId", "0"), ("offset", "122")]));
    refused(&beyond, response::SYSTEM_ERROR, "Target offset 122 not in consume queue range [0-120]");
    assert_eq!(world.shard.broker.offsets.take_reset("G", "T", 0), Some(100));
}

/// Goal: a group takes over the offsets of another, and an unknown figure is refused with the official words.
#[test]
fn offsets_are_cloned_and_unknown_figures_refused() {
    let mut world = World::new();
    let conn = world.connect();
    world.topic("T", 2);
    world.shard.broker.offsets.commit("A", "T", 1, 5).unwrap();
    let clone = ask(
        codes::CLONE_GROUP_OFFSET,
        &[("srcGroup", "A"), ("destGroup", "B"), ("topic", "T"), ("offline", "true")],
    );
    assert_eq!(world.call(conn, clone).code, response::SUCCESS);
    assert_eq!(world.shard.broker.offsets.committed("B", "T", 1), Some(5));
    let figure =
        ask(codes::VIEW_BROKER_STATS_DATA, &[("statsName", "GROUP_GET_NUMS"), ("statsKey", "T_c49@CG_bgb")]);
    let remark = "The stats <GROUP_GET_NUMS> <T_c49@CG_bgb> not exist";
    refused(&world.call(conn, figure), response::SYSTEM_ERROR, remark);
}

/// Goal: a message is given to one client and its result comes back. Method: once hot, once out of the files.
#[test]
fn a_client_consumes_a_message_for_an_administrator() {
    let mut world = World::new();
    let conn = world.connect();
    world.topic("T", 1);
    let sent = world.call(conn, send("T", 0, "", b"eat this"));
    let msg_id = sent.ext("msgId").unwrap().to_owned();
    let order = |client: &str| {
        ask(
            codes::CONSUME_MESSAGE_DIRECTLY,
            &[("consumerGroup", "CG"), ("clientId", client), ("msgId", &msg_id), ("topic", "T")],
        )
    };
    let remark = "The Consumer <CG> <nobody> not online";
    refused(&world.call(conn, order("nobody")), response::SYSTEM_ERROR, remark);
    let client = world.connect();
    let beat = r#"{"clientID":"me","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"CG","messageModel":"CLUSTERING","subscriptionDataSet":[],"unitMode":false}],"producerDataSet":[]}"#;
    let mut beat = RemotingCommand::request(codes::HEART_BEAT).body(beat.as_bytes().to_vec());
    beat.version = protocol::version::V5_5_0;
    world.post(client, beat, protocol::Codec::Json);
    world.pass(2);
    while world.next(client).is_some() {}
    for round in 0..2 {
        let opaque = world.post(conn, order("me"), protocol::Codec::Json);
        world.pass(5);
        let relayed = world.next(client).expect("the order reaches the client");
        assert_eq!(
            (relayed.code, relayed.ext("brokerName")),
            (codes::CONSUME_MESSAGE_DIRECTLY, Some("broker-a"))
        );
        assert_eq!(relayed.ext("msgId"), Some(msg_id.as_str()));
        assert_eq!(RecordView::parse(&relayed.body).unwrap().body, b"eat this");
        let result = RemotingCommand::response(response::SUCCESS, relayed.opaque).body(&b"{}"[..]);
        assert!(world.shard.net.feed(client, &result.encode(protocol::Codec::Json)) > 0);
        world.pass(2);
        let answer = world.next(conn).expect("the client's answer is relayed");
        assert_eq!((answer.opaque, answer.code, &answer.body[..]), (opaque, response::SUCCESS, &b"{}"[..]));
        if round == 0 {
            fill(&mut world, conn, "T", 100);
            assert!(world.shard.broker.store.hot_start().0 > 0);
        }
    }
}

/// Goal: what nobody serves says so.
#[test]
fn unknown_codes_are_refused() {
    let mut world = World::new();
    let conn = world.connect();
    refused(
        &world.call(conn, RemotingCommand::request(9999)),
        response::REQUEST_CODE_NOT_SUPPORTED,
        " request type 9999 not supported",
    );
}
