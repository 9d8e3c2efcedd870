//! Whole tables are put together beside the shard, so that nobody waits for a large one.

use std::collections::BTreeSet;
use std::sync::Arc;

use protocol::RemotingCommand;
use protocol::body::{
    Body, Connection, ConsumeStats, ConsumeStatsList, ConsumerConnection, ConsumerOffsetSerializeWrapper,
    GetConsumerListByGroupResponseBody, MessageModel, ProducerConnection, ProducerTableInfo,
    QueryAssignmentRequestBody, QueryAssignmentResponseBody, SubscriptionGroupWrapper,
    TopicConfigAndMappingSerializeWrapper, TopicList, TopicStatsTable,
};
use protocol::code::request;
use protocol::frame::Codec;

use dataplane::broker::client::Client;
use dataplane::broker::group_config::GroupConfig;
use dataplane::broker::offsets::Whose;
use dataplane::limits::{LONG_WORK_PER_TURN_MAX, QUEUES_COUNTED_PER_TURN_MAX, ROWS_PER_TURN_MAX};
use dataplane::net::ConnId;
use dataplane::time::Clock;

use crate::client::{consumer, heartbeat, subscription};
use crate::requests::send;
use crate::world::World;

/// Asks for a table; returns its body, how often the shard allocated in the turns that took the question and gave the answer, and how many
/// turns there were.
fn ask(world: &mut World, conn: ConnId, command: RemotingCommand) -> (Vec<u8>, u64, usize) {
    let opaque = world.next_opaque();
    let bytes = RemotingCommand { opaque, ..command }.encode(Codec::Json);
    assert_eq!(world.shard.net.feed(conn, &bytes), bytes.len());
    let mut allocated = 0;
    for turns in (1..200).step_by(2) {
        let now = world.clock.read();
        let before = dataplane::alloc::on_this_thread();
        world.shard.turn(&now);
        allocated += dataplane::alloc::on_this_thread() - before;
        world.turn();
        if let Some(answer) = std::iter::from_fn(|| world.next(conn)).find(|answer| answer.opaque == opaque) {
            assert_eq!(answer.code, 0, "{answer:?}");
            return (answer.body.to_vec(), allocated, turns);
        }
    }
    panic!("no answer came");
}

/// Goal: the shard does little for an answer that holds a whole table, and the answer holds all of it. Method: tables of 3,000 entries; count
/// the shard's allocations, of which each entry takes several when it is written out, and the turns, of which each copies some entries only.
#[test]
fn tables_are_written_out_beside_the_shard() {
    const ENTRIES: usize = 3_000;
    let mut world = World::new();
    let conn = world.connect();
    for at in (0..ENTRIES).rev() {
        world.topic(&format!("T{at:04}"), 4);
        let broker = &mut world.shard.broker;
        broker.groups.put(GroupConfig::new(&format!("G{at:04}")), 0, &mut broker.ops);
        for queue_id in 0..4 {
            broker.offsets.commit(&format!("G{at:04}"), "T", queue_id, at as i64).unwrap();
        }
    }
    let producers: Vec<String> = (0..ENTRIES).map(|at| format!("P{at:04}")).collect();
    world.done(conn, heartbeat("c", vec![], &producers.iter().map(String::as_str).collect::<Vec<_>>()));
    world.pass(1_000);
    let mut allocated = Vec::new();
    let mut table = |world: &mut World, code| {
        let (body, count, turns) = ask(world, conn, RemotingCommand::request(code));
        allocated.push((code, count, turns));
        body
    };
    let topics = table(&mut world, request::GET_ALL_TOPIC_CONFIG);
    let topics = TopicConfigAndMappingSerializeWrapper::decode(&topics).unwrap().topic_config_table;
    assert_eq!(topics.keys().filter(|name| name.starts_with('T') && name.len() == 5).count(), ENTRIES);
    let system = table(&mut world, request::GET_SYSTEM_TOPIC_LIST_FROM_BROKER);
    let system = TopicList::decode(&system).unwrap().topic_list;
    assert!(system.iter().any(|name| name == "TBW102") && !system.iter().any(|name| name == "T0000"));
    let groups = table(&mut world, request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG);
    let groups = SubscriptionGroupWrapper::decode(&groups).unwrap().subscription_group_table;
    assert_eq!(groups.keys().filter(|name| name.starts_with('G')).count(), ENTRIES);
    let offsets = table(&mut world, request::GET_ALL_CONSUMER_OFFSET);
    let offsets = ConsumerOffsetSerializeWrapper::decode(&offsets).unwrap().offset_table;
    assert_eq!(offsets.len(), ENTRIES);
    let of_one = |at: i64| [(0, at), (1, at), (2, at), (3, at)].into();
    assert_eq!((offsets.get("T@G0000"), offsets.get("T@G2999")), (Some(&of_one(0)), Some(&of_one(2_999))));
    let groups = ProducerTableInfo::decode(&table(&mut world, request::GET_ALL_PRODUCER_INFO)).unwrap().data;
    assert_eq!(groups.len(), ENTRIES);
    assert!(groups.values().all(|infos| infos.len() == 1 && infos[0].client_id == "c"));
    assert!(groups.values().all(|infos| infos[0].remote_ip == "/127.0.0.1:50206"));
    let turns_min = ENTRIES / ROWS_PER_TURN_MAX;
    assert!(allocated.iter().all(|&(_, count, turns)| count < 100 && turns > turns_min), "{allocated:?}");
}

/// B-15. Goal: lists of very many members hold nobody up, and have all of them. Method: groups of 3,000; count the shard's allocations, of which each
/// member takes several when it is written out.
#[test]
fn many_members_are_listed_beside_the_shard() {
    const MEMBERS: u32 = 3_000;
    let mut world = World::new();
    let conn = world.connect();
    world.done(conn, heartbeat("c", vec![consumer("G", vec![subscription("T", 1)])], &["PG"]));
    let broker = &mut world.shard.broker;
    let (kind, first) = {
        let group = broker.consumers.group("G").unwrap();
        (group.kind, group.members()[0].client.clone())
    };
    for slot in 1_000..1_000 + MEMBERS {
        let client = Arc::new(Client { id: format!("c{slot}").into(), ..(*first).clone() });
        let other = ConnId { slot, generation: 1 };
        broker.consumers.register("G", kind, None, other, &client, i64::MAX);
        broker.producers.register("PG", other, &client, i64::MAX);
    }
    let mut asked = |code, field: &str, name: &str| {
        let (body, allocated, _) = ask(&mut world, conn, RemotingCommand::request(code).field(field, name));
        assert!(allocated < 100, "{code}: {allocated}");
        body
    };
    let ids = asked(request::GET_CONSUMER_LIST_BY_GROUP, "consumerGroup", "G");
    let ids = GetConsumerListByGroupResponseBody::decode(&ids).unwrap().consumer_id_list;
    let consumers = asked(request::GET_CONSUMER_CONNECTION_LIST, "consumerGroup", "G");
    let consumers = ConsumerConnection::decode(&consumers).unwrap();
    assert_eq!(consumers.subscription_table.keys().collect::<Vec<_>>(), ["T"]);
    let producers = asked(request::GET_PRODUCER_CONNECTION_LIST, "producerGroup", "PG");
    let producers = ProducerConnection::decode(&producers).unwrap().connection_set;
    let shown = |connections: Vec<Connection>| -> BTreeSet<String> {
        assert!(connections.iter().any(|one| one.client_addr == "127.0.0.1:50206"));
        connections.into_iter().map(|one| one.client_id).collect()
    };
    let all: BTreeSet<String> = ids.into_iter().collect();
    assert!(all.len() == MEMBERS as usize + 1 && all.contains("c") && all.contains("c3999"));
    assert!(shown(consumers.connection_set.into_iter().collect()) == all);
    assert!(shown(producers.into_iter().collect()) == all);
}

/// Goal: a topic that very many groups have read goes without holding anybody up, as does a group that has read very many topics, and nothing of
/// either is left. Method: thousands of offsets of each; count those that a turn removes.
#[test]
fn offsets_are_removed_over_turns() {
    const ROWS: usize = 3_000;
    let mut world = World::new();
    let conn = world.connect();
    world.topic("T", 4);
    for at in 0..ROWS {
        let broker = &mut world.shard.broker;
        broker.offsets.commit(&format!("G{at}"), "T", 1, 7).unwrap();
        broker.offsets.commit("G", &format!("T{at}"), 1, 7).unwrap();
    }
    world.pass(10_000);
    let topic = RemotingCommand::request(request::DELETE_TOPIC_IN_BROKER).field("topic", "T");
    let group = RemotingCommand::request(request::DELETE_SUBSCRIPTIONGROUP)
        .field("groupName", "G")
        .field("cleanOffset", true);
    for (command, whose) in [(topic, Whose::Topic("T".into())), (group, Whose::Group("G".into()))] {
        assert_eq!(world.shard.broker.offsets.rows_of(&whose), ROWS);
        let bytes = command.encode(Codec::Json);
        assert_eq!(world.shard.net.feed(conn, &bytes), bytes.len());
        let mut left = ROWS;
        for _ in 0..2 * ROWS / LONG_WORK_PER_TURN_MAX {
            world.turn();
            let now_left = world.shard.broker.offsets.rows_of(&whose);
            assert!(left - now_left <= 2 * LONG_WORK_PER_TURN_MAX, "{} in one turn", left - now_left);
            left = now_left;
        }
        assert_eq!((left, world.next(conn).map(|answer| answer.code)), (0, Some(0)));
        world.pass(1_000);
    }
    assert!(world.kept.offsets.offset_table.is_empty());
}

/// Goal: the shard does little for a deal of very many queues, and all are dealt. Method: a topic of 10,000; count the shard's allocations, of
/// which each queue takes several.
#[test]
fn many_queues_are_dealt_beside_the_shard() {
    let mut world = World::new();
    let conn = world.connect();
    world.topic("T", 10_000);
    world.done(conn, heartbeat("c", vec![consumer("G", vec![subscription("T", 1)])], &[]));
    let asked = QueryAssignmentRequestBody {
        topic: "T".into(),
        consumer_group: "G".into(),
        client_id: "c".into(),
        strategy_name: "AVG".into(),
        message_model: MessageModel::Clustering,
    };
    let command = RemotingCommand::request(request::QUERY_ASSIGNMENT).body(asked.encode());
    let (body, allocated, _) = ask(&mut world, conn, command);
    let dealt = QueryAssignmentResponseBody::decode(&body).unwrap().message_queue_assignments;
    assert_eq!(dealt.len(), 10_000);
    assert!(allocated < 100, "{allocated}");
}

/// Goal: questions about very many queues hold nobody up, and their answers have all queues. Method: a topic and groups with thousands; count
/// the turns until the answer, of which each takes some queues only, and the shard's allocations.
#[test]
fn many_queues_are_counted_over_many_turns() {
    const QUEUES: i32 = 10_000;
    let mut world = World::new();
    let conn = world.connect();
    world.topic("T", QUEUES);
    world.topic("U", 3);
    world.done(conn, send("T", QUEUES - 1, "", b"x"));
    for group in ["G", "H"] {
        let broker = &mut world.shard.broker;
        broker.groups.put(GroupConfig::new(group), 0, &mut broker.ops);
        broker.offsets.commit(group, "T", QUEUES - 1, 1).unwrap();
        broker.offsets.commit(group, "U", 1, 0).unwrap();
    }
    world.pass(1_000);
    let mut took = Vec::new();
    let mut table = |world: &mut World, command: RemotingCommand, queues: i32| {
        let (body, allocated, turns) = ask(world, conn, command);
        took.push((allocated, turns, queues as usize / QUEUES_COUNTED_PER_TURN_MAX as usize));
        body
    };
    let asked = RemotingCommand::request(request::GET_TOPIC_STATS_INFO).field("topic", "T");
    let topic = TopicStatsTable::decode(&table(&mut world, asked, QUEUES)).unwrap().offset_table;
    assert_eq!(topic.len(), QUEUES as usize);
    let ends: Vec<_> = topic.iter().filter(|(_, offset)| offset.max_offset > 0).collect();
    assert!(ends.len() == 1 && ends[0].0.queue_id == QUEUES - 1 && ends[0].1.last_update_timestamp > 0);
    let asked = RemotingCommand::request(request::GET_CONSUME_STATS).field("consumerGroup", "G");
    let group = ConsumeStats::decode(&table(&mut world, asked, QUEUES)).unwrap().offset_table;
    assert_eq!(group.len(), QUEUES as usize + 3);
    assert_eq!(
        group.values().map(|offset| (offset.consumer_offset, offset.broker_offset)).max(),
        Some((1, 1))
    );
    let asked = RemotingCommand::request(request::GET_BROKER_CONSUME_STATS).field("isOrder", false);
    let all = ConsumeStatsList::decode(&table(&mut world, asked, 2 * QUEUES)).unwrap();
    for group in ["G", "H"] {
        let stats = all.consume_stats_list.iter().find_map(|entry| entry.get(group)).unwrap();
        let queues: Vec<_> = stats.iter().map(|of_topic| of_topic.offset_table.len()).collect();
        assert_eq!(queues, [QUEUES as usize, 3]);
    }
    assert!(took.iter().all(|&(allocated, turns, least)| allocated < 200 && turns >= least), "{took:?}");
}
