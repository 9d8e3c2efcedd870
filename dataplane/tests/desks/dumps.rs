//! Whole tables are put together beside the shard, so that nobody waits for a large one.

use protocol::RemotingCommand;
use protocol::body::{
    Body, ConsumerOffsetSerializeWrapper, ProducerTableInfo, SubscriptionGroupWrapper,
    TopicConfigAndMappingSerializeWrapper,
};
use protocol::code::request;
use protocol::frame::Codec;

use dataplane::broker::group_config::GroupConfig;
use dataplane::net::ConnId;
use dataplane::time::Clock;

use crate::requests::heartbeat;
use crate::world::World;

/// Asks for a table; returns its body, and how often the shard allocated in the turns that took the question and gave the answer.
fn ask(world: &mut World, conn: ConnId, code: i32) -> (Vec<u8>, u64) {
    let command = RemotingCommand::request(code);
    let opaque = world.next_opaque();
    let bytes = RemotingCommand { opaque, ..command }.encode(Codec::Json);
    assert_eq!(world.shard.net.feed(conn, &bytes), bytes.len());
    let mut allocated = 0;
    for _ in 0..100 {
        let now = world.clock.read();
        let before = dataplane::alloc::on_this_thread();
        world.shard.turn(&now);
        allocated += dataplane::alloc::on_this_thread() - before;
        world.turn();
        if let Some(answer) = std::iter::from_fn(|| world.next(conn)).find(|answer| answer.opaque == opaque) {
            assert_eq!(answer.code, 0, "{answer:?}");
            return (answer.body.to_vec(), allocated);
        }
    }
    panic!("no answer to {code} came");
}

/// Goal: the shard does little for an answer that holds a whole table, and the answer holds all of it. Method: tables of 3,000 entries; count
/// the shard's allocations, of which each entry takes several when it is written out.
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
            broker.offsets.commit(&format!("G{at:04}"), "T", queue_id, at as i64);
        }
    }
    let producers: Vec<String> = (0..ENTRIES).map(|at| format!("P{at:04}")).collect();
    world.done(conn, heartbeat("c", vec![], &producers.iter().map(String::as_str).collect::<Vec<_>>()));
    world.pass(1_000);
    let mut allocated = Vec::new();
    let mut table = |world: &mut World, code| {
        let (body, count) = ask(world, conn, code);
        allocated.push((code, count));
        body
    };
    let topics = table(&mut world, request::GET_ALL_TOPIC_CONFIG);
    let topics = TopicConfigAndMappingSerializeWrapper::decode(&topics).unwrap().topic_config_table;
    assert_eq!(topics.keys().filter(|name| name.starts_with('T') && name.len() == 5).count(), ENTRIES);
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
    assert!(allocated.iter().all(|&(_, count)| count < 100), "{allocated:?}");
}
