//! How far queues and groups have come: shown, reset and cloned.

use dataplane::broker::group_config::GroupConfig;
use protocol::body::{
    ConsumeStats, MessageQueue, QueryConsumeQueueResponseBody, ResetOffsetBody, TopicStatsTable,
};
use protocol::code::{request as codes, response};
use protocol::record::RecordView;

use super::{ask, decode, fill, refused};
use crate::requests::{send, set};
use crate::world::World;

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
