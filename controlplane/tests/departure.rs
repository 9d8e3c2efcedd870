//! Rules N-11 to N-14 (docs/PROMISES.md): how brokers leave, and what they leave behind.
#![allow(clippy::unwrap_used)] // In a test, the place where it stops says enough.

mod world;

use controlplane::namesrv::liveness::Channel;
use protocol::code::request;
use world::{Broker, World, ask};

/// N-11. Goal: goodbye takes the address, the empty broker, its cluster and its topics.
#[test]
fn unregistering_takes_everything_of_the_last_address() {
    let mut world = World::new(&[]);
    world.register(&Broker { filters: vec!["f:1"], ..Broker::default() });
    assert_eq!(world.ask(Broker::default().unregistration()).code, 0);
    assert_eq!(world.route("A"), None);
    assert_eq!(world.cluster_info(), r#"{"brokerAddrTable":{},"clusterAddrTable":{}}"#);
}

/// N-11. Goal: a topic stays with the slave's address when only the master goes.
#[test]
fn topics_stay_with_the_slave() {
    let mut world = World::new(&[]);
    world.register(&Broker::default());
    world.register(&Broker::slave());
    world.ask(Broker::default().unregistration());
    assert_eq!(world.addresses("A"), ["1=10.0.0.2:10911"]);
    assert_eq!(world.perm("A"), 6);
}

/// N-11. Goal: a topic of two brokers loses only the queues of the one that goes.
#[test]
fn other_brokers_keep_their_queues() {
    let mut world = World::new(&[]);
    world.register(&Broker::default());
    world.register(&Broker {
        name: "broker-b",
        addr: "10.0.0.5:10911",
        topics: vec!["A", "Z"],
        ..Broker::default()
    });
    world.ask(Broker::default().unregistration());
    let route = world.route("A").unwrap();
    assert_eq!(route["queueDatas"].as_array().unwrap().len(), 1);
    assert_eq!(route["brokerDatas"][0]["brokerName"], "broker-b");
    assert_eq!(world.route("B"), None);
}

#[test]
fn unknown_brokers_say_goodbye_politely() {
    let mut world = World::new(&[]);
    world.register(&Broker::default());
    let stranger = Broker { name: "zz", addr: "9.9.9.9:1", ..Broker::default() };
    assert_eq!(world.ask(stranger.unregistration()).code, 0);
    assert_eq!(world.ask(ask(request::UNREGISTER_BROKER, &[])).code, 0);
    assert!(world.route("A").is_some());
}

/// N-12. Goal: closing the registering connection takes the broker out at once; closing another does nothing.
#[test]
fn a_closed_channel_takes_its_brokers() {
    let mut world = World::new(&[]);
    world.ask_on(7, Broker::default().registration());
    world.close(8);
    assert!(world.route("A").is_some());
    world.close(7);
    assert_eq!(world.route("A"), None);
}

/// N-12. Goal: a broker that came back by a new connection survives the end of the old one.
#[test]
fn an_old_channel_does_not_take_a_broker_that_came_back() {
    let mut world = World::new(&[]);
    world.ask_on(7, Broker::default().registration());
    world.ask_on(9, Broker::default().registration());
    world.close(7);
    assert!(world.route("A").is_some());
}

/// N-12. Goal: all brokers of one connection go with it (a container registers several).
#[test]
fn a_channel_may_carry_several_brokers() {
    let mut world = World::new(&[]);
    let other =
        Broker { name: "broker-b", addr: "10.0.0.5:10911", topics: vec!["X", "Y"], ..Broker::default() };
    world.ask_on(7, Broker::default().registration());
    world.ask_on(7, other.registration());
    world.close(7);
    assert_eq!((world.route("A"), world.route("X")), (None, None));
}

/// N-12. Goal: one address under several names and in several clusters goes whole, and memory with it. Method: many of each by
/// one connection, some with a goodbye that takes the last sign of life from the others; then the connection closes.
#[test]
fn an_address_of_many_names_leaves_nothing_behind() {
    let mut world = World::new(&[]);
    let nothing = world.cluster_info();
    let names = ["n1", "n2", "n3", "n4"];
    for name in names {
        world.ask_on(7, Broker { name, ..Broker::default() }.registration());
    }
    world.close(7);
    assert_eq!((world.route("A"), world.cluster_info()), (None, nothing.clone()), "at once");
    for cluster in ["C", "D"] {
        for name in names {
            world.ask_on(8, Broker { name, cluster, ..Broker::default() }.registration());
        }
    }
    let goodbye = [("clusterName", "C"), ("brokerName", "n1"), ("brokerAddr", Broker::default().addr)];
    world.ask_on(8, ask(request::UNREGISTER_BROKER, &goodbye));
    world.close(8);
    world.server.tick(5_000);
    assert_eq!((world.route("A"), world.cluster_info()), (None, nothing), "with the next scan");
}

/// N-13. Goal: silence longer than the time-out ends a broker and closes its channel; 120 s unless it asks for less.
#[test]
fn silence_ends_a_broker() {
    let mut world = World::new(&[]);
    let hasty = Broker {
        name: "hasty",
        addr: "10.0.0.5:10911",
        topics: vec!["X", "Y"],
        more: vec![("heartbeatTimeoutMillis", "3000")],
        ..Broker::default()
    };
    world.ask_on(7, Broker::default().registration());
    world.ask_on(8, hasty.registration());
    assert!(world.server.tick(3_000).close.is_empty());
    assert_eq!(world.server.tick(3_001).close, [Channel(8)]);
    assert_eq!(world.route("X"), None);
    assert!(world.server.tick(120_000).close.is_empty());
    assert_eq!(world.server.tick(120_001).close, [Channel(7)]);
    assert_eq!(world.route("A"), None);
}

/// N-13. Goal: registrations, data version queries and heartbeats are signs of life; route queries are not.
#[test]
fn signs_of_life() {
    for code in [request::REGISTER_BROKER, request::QUERY_DATA_VERSION, request::BROKER_HEARTBEAT] {
        let mut world = World::new(&[]);
        let broker = Broker::default();
        world.register(&broker);
        world.now = 100_000;
        let command = if code == request::REGISTER_BROKER { broker.registration() } else { broker.ask(code) };
        assert_eq!(world.ask(command).code, 0);
        assert!(world.server.tick(220_000).close.is_empty(), "{code}");
        assert!(!world.server.tick(220_001).close.is_empty(), "{code}");
    }
    let mut world = World::new(&[]);
    world.register(&Broker::default());
    world.now = 100_000;
    world.route("A");
    assert!(!world.server.tick(120_001).close.is_empty());
}

/// N-14. Goal: a master that may be stood in for leaves its topics read-only, and the slave shows as master.
#[test]
fn a_slave_stands_in_for_a_dead_master() {
    let acting = |broker: Broker| Broker { more: vec![("enableActingMaster", "true")], ..broker };
    let mut world = World::new(&["supportActingMaster=true"]);
    world.register(&acting(Broker::default()));
    world.register(&acting(Broker { id: 3, ..Broker::slave() }));
    assert_eq!(world.addresses("A"), ["0=10.0.0.1:10911", "3=10.0.0.2:10911"]);
    world.ask(Broker::default().unregistration());
    assert_eq!(world.addresses("A"), ["0=10.0.0.2:10911"]);
    assert_eq!(world.perm("A"), 4);
    let members = [("clusterName", "C"), ("brokerName", "broker-a")];
    let reply = world.ask(ask(request::GET_BROKER_MEMBER_GROUP, &members));
    assert!(
        String::from_utf8_lossy(&reply.body).contains(r#""brokerAddrs":{3:"10.0.0.2:10911"}"#),
        "the true id"
    );
}

/// N-14. Goal: members hear of a new lowest id, when notifyMinBrokerIdChanged=true and only then.
#[test]
fn members_hear_of_a_new_lowest_id() {
    let acting = |broker: Broker| Broker { more: vec![("enableActingMaster", "true")], ..broker };
    for (setting, hears) in [("true", 1), ("false", 0)] {
        let mut world = World::new(&[&format!("notifyMinBrokerIdChanged={setting}")]);
        world.ask_on(2, acting(Broker::slave()).registration());
        let (_, effects) = world.ask_on(1, acting(Broker::default()).registration());
        assert_eq!(effects.notify.len(), hears);
        if let Some(change) = effects.notify.first() {
            assert_eq!(change.to, ["10.0.0.2:10911"], "those that were here before");
            assert_eq!((change.min_broker_id, change.min_broker_addr.as_str()), (0, "10.0.0.1:10911"));
            assert_eq!(change.ha_broker_addr.as_deref(), Some("10.0.0.1:109119"));
        }
        let effects = world.close(1);
        assert_eq!(effects.notify.len(), hears);
        if let Some(change) = effects.notify.first() {
            assert_eq!(change.to, ["10.0.0.2:10911"], "those that remain");
            assert_eq!(
                (change.min_broker_id, change.offline_broker_addr.as_deref()),
                (1, Some("10.0.0.1:10911"))
            );
        }
    }
}
