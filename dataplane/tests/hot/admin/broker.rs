//! What a running broker says of itself and its clients, and which of its settings may be changed.

use protocol::RemotingCommand;
use protocol::body::{
    ConsumerConnection, GroupList, HARuntimeInfo, KVTable, ProducerConnection, ProducerTableInfo,
    QuerySubscriptionResponseBody, TopicList,
};
use protocol::code::{request as codes, response};
use protocol::properties::{self, key};
use protocol::record::RecordView;

use super::{ask, decode, refused};
use crate::requests::{pull, send};
use crate::world::World;

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
    let official = include_str!("../../vectors/broker-5.5.0.properties");
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
