//! The official broker's answers to recorded requests, against ours.
//!
//! Where a number depends on when something was stored, the test says so and compares the rest.

use protocol::RemotingCommand;
use protocol::body::{Body, QueryAssignmentResponseBody};
use protocol::code::{request, response};
use protocol::properties;
use serde_json::Value;

use crate::client::Message;
use crate::requests::send;
use crate::vectors::{command, items};
use crate::world::World;
use dataplane::net::ConnId;

/// What must be equal: everything but opaque and language.
fn compare(name: &str, official: &RemotingCommand, ours: &RemotingCommand) {
    let sorted = |command: &RemotingCommand| {
        let mut fields = command.ext_fields.clone();
        fields.sort();
        fields
    };
    assert_eq!(official.code, ours.code, "{name}: {ours:?}");
    assert_eq!(official.remark, ours.remark, "{name}");
    assert_eq!(official.flag, ours.flag, "{name}");
    assert_eq!(official.version, ours.version, "{name}");
    assert_eq!(sorted(official), sorted(ours), "{name}");
    assert_eq!(official.body, ours.body, "{name}");
}

/// The broker of the probe: T_c49 with 4 queues, queue 1 holding three messages, the first of them the first of the log.
fn probed(items: &[Value]) -> (World, ConnId) {
    let mut world = World::new();
    world.topic("T_c49", 4);
    let conn = world.connect();
    let found = items.iter().find(|item| item["name"] == "pull found (with subscription)").unwrap();
    for message in Message::all(&command(found, "response_hex").unwrap().body) {
        let mut list = Vec::new();
        for (name, value) in &message.properties {
            // What the broker adds, and what would send them round by another way once more.
            let ours = ["MSG_REGION", "TRACE_ON", "CLUSTER", "DELAY", "TRAN_MSG"];
            if !ours.contains(&name.as_str()) {
                properties::push(&mut list, name, value.as_bytes());
            }
        }
        world.done(conn, send("T_c49", 1, std::str::from_utf8(&list).unwrap(), &message.body));
    }
    let broker = &mut world.shard.broker;
    broker.groups.find_or_create("CGx", true, 0, &mut broker.ops).unwrap();
    (world, conn)
}

/// W-11. Goal: the desks answer good and bad requests as the official broker. Method: replay the probe's requests in
/// order.
#[test]
fn the_desks_answer_as_the_official_broker() {
    let items = items("probe-5.5.0.json");
    let (mut world, conn) = probed(&items);
    let mut compared = 0;
    for item in items.iter().filter(|item| item["server"] == "broker") {
        let name = item["name"].as_str().unwrap();
        let asked = command(item, "request_hex").unwrap();
        let official = command(item, "response_hex").unwrap();
        match asked.code {
            request::HEART_BEAT => {
                let ours = world.call(conn, asked);
                assert_eq!(ours.code, 0);
                compare(name, &official, &world.take(conn, request::NOTIFY_CONSUMER_IDS_CHANGED).remove(0));
            }
            request::GET_EARLIEST_MSG_STORETIME => {
                let ours = world.done(conn, asked);
                let (_, time) = &ours.ext_fields[0];
                assert_eq!((ours.ext_fields.len(), time.as_str()), (1, "1795178790000"), "the world's begin");
            }
            request::QUERY_ASSIGNMENT => {
                let queues = |command: &RemotingCommand| {
                    let body = QueryAssignmentResponseBody::decode(&command.body).unwrap();
                    let mut queues = body.message_queue_assignments;
                    queues.sort_by_key(|assigned| assigned.message_queue.queue_id);
                    queues
                };
                assert_eq!(queues(&official), queues(&world.done(conn, asked)), "a set, in no order");
            }
            request::QUERY_CONSUMER_OFFSET
            | request::UPDATE_CONSUMER_OFFSET
            | request::GET_MAX_OFFSET
            | request::GET_MIN_OFFSET
            | request::SEARCH_OFFSET_BY_TIMESTAMP
            | request::END_TRANSACTION
            | request::GET_CONSUMER_LIST_BY_GROUP
            | request::LOCK_BATCH_MQ
            | request::CONSUMER_SEND_MSG_BACK => compare(name, &official, &world.call(conn, asked)),
            99_999 => compare(name, &official, &world.call(conn, asked)),
            _ => continue,
        }
        compared += 1;
    }
    assert_eq!(compared, 22);
}

/// W-11. Goal: what 4.9.8 and 5.5.0 clients say at their start and end is answered as by the official broker, and the
/// broker's own calls look like its. Method: replay what needs no earlier messages; SQL92 is not built, and its check is
/// refused as by a broker without it.
#[test]
fn clients_hear_what_the_official_broker_says() {
    for file in ["client-4.9.8-json.json", "client-5.5.0-binary.json"] {
        let mut world = World::new();
        let conn = world.connect();
        let mut compared = 0;
        for item in items(file) {
            let name = item["name"].as_str().unwrap();
            let asked = command(&item, "request_hex").unwrap();
            let official = command(&item, "response_hex");
            match (asked.code, official) {
                (request::HEART_BEAT, Some(official)) => {
                    let body = String::from_utf8(asked.body.to_vec()).unwrap();
                    compare(name, &official, &world.call(conn, asked));
                    let told = world.take(conn, request::NOTIFY_CONSUMER_IDS_CHANGED);
                    assert_eq!(told.is_empty(), !body.contains("subscriptionDataSet"));
                    for notice in told {
                        let items = items(file);
                        let known = items.iter().filter_map(|item| command(item, "request_hex"));
                        let same = known.filter(|known| {
                            known.code == notice.code && known.ext_fields == notice.ext_fields
                        });
                        same.for_each(|official| compare("notice", &official, &notice));
                    }
                }
                (
                    request::GET_CONSUMER_LIST_BY_GROUP
                    | request::LOCK_BATCH_MQ
                    | request::UNLOCK_BATCH_MQ
                    | request::UNREGISTER_CLIENT,
                    Some(official),
                ) => compare(name, &official, &world.call(conn, asked)),
                (request::CHECK_CLIENT_CONFIG, Some(_)) => {
                    let ours = world.call(conn, asked);
                    let remark = "The broker does not support consumer to filter message by SQL92";
                    assert_eq!((ours.code, ours.remark.as_deref()), (response::SYSTEM_ERROR, Some(remark)));
                }
                _ => continue,
            }
            compared += 1;
        }
        assert!(compared >= 6, "{file}: {compared}");
    }
}
