//! A push consumer's life: shares, offsets, pulls, results.

use crate::config::{ConsumeFrom, MessageModel, PushConsumerConfig};
use crate::core::offsets::Offsets;
use crate::core::testing::*;
use crate::core::{Consumed, Subscription};
use crate::message::MessageQueue;
use protocol::RemotingCommand;
use protocol::body::{Body, GetConsumerListByGroupResponseBody, HeartbeatData, ResetOffsetBody};
use protocol::code::{request, response};
use protocol::record::sys_flag;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

pub(super) const SELF: &str = "10.0.0.9@test";

/// What a scripted broker has and knows; shared with the test.
#[derive(Default)]
pub(super) struct Shelf {
    /// Bodies and properties by queue, from offset 0.
    pub queues: BTreeMap<i32, Vec<(String, String)>>,
    pub committed: BTreeMap<i32, i64>,
    pub members: Vec<String>,
    pub locks: BTreeSet<i32>,
    /// Answers other than yes to send-backs and pulls.
    pub refuse_back: bool,
    pub pull_code: Option<i32>,
    /// Whether its bodies are compressed.
    pub is_packed: bool,
    /// Pulls that found nothing, as a broker that holds them: queue, offset, answered when somebody looks again.
    pub pulls: Vec<(i32, i64)>,
}

pub(super) type Shared = Rc<RefCell<Shelf>>;

impl Shelf {
    pub fn shared(queues: i32, each: usize) -> Shared {
        let fill = |_| (0..each).map(|number| (format!("m{number}"), String::new())).collect();
        let queues = (0..queues).map(|queue| (queue, fill(queue))).collect();
        Rc::new(RefCell::new(Shelf { queues, members: vec![SELF.to_owned()], ..Shelf::default() }))
    }
}

/// A broker that serves consumers from a shelf. A pull that finds nothing has no answer: it is held.
pub(super) fn serving(shelf: Shared) -> Script {
    Box::new(move |command| {
        let mut shelf = shelf.borrow_mut();
        let number = |name: &str| command.ext(name).and_then(|text| text.parse::<i64>().ok()).unwrap_or(-1);
        let queue = number("queueId") as i32;
        match command.code {
            request::GET_CONSUMER_LIST_BY_GROUP => {
                let body = GetConsumerListByGroupResponseBody { consumer_id_list: shelf.members.clone() };
                Some(ok().body(body.encode()))
            }
            request::QUERY_CONSUMER_OFFSET => Some(match shelf.committed.get(&queue) {
                Some(offset) => ok().field("offset", offset),
                None => refusal(response::QUERY_NOT_FOUND, "new"),
            }),
            request::GET_MAX_OFFSET => {
                Some(ok().field("offset", shelf.queues.get(&queue).map_or(0, Vec::len)))
            }
            request::SEARCH_OFFSET_BY_TIMESTAMP => Some(ok().field("offset", 2)),
            request::UPDATE_CONSUMER_OFFSET => {
                shelf.committed.insert(queue, number("commitOffset"));
                Some(ok())
            }
            request::PULL_MESSAGE => pull(&mut shelf, command, queue, number("queueOffset")),
            request::CONSUMER_SEND_MSG_BACK if shelf.refuse_back => Some(refusal(1, "no")),
            request::LOCK_BATCH_MQ => {
                let asked = protocol::body::LockBatchRequestBody::decode(&command.body).unwrap();
                let mut granted = asked.mq_set;
                granted.retain(|queue| shelf.locks.contains(&queue.queue_id));
                let body = protocol::body::LockBatchResponseBody { lock_ok_mq_set: granted };
                Some(ok().body(body.encode()))
            }
            request::SEND_MESSAGE_V2 => Some(stored(command, 0, 0)),
            _ => Some(ok()),
        }
    })
}

fn pull(shelf: &mut Shelf, command: &RemotingCommand, queue: i32, offset: i64) -> Option<RemotingCommand> {
    shelf.pulls.push((queue, offset));
    let have = shelf.queues.get(&queue).cloned().unwrap_or_default();
    let max = have.len() as i64;
    let numbers = |code: i32, next: i64| {
        RemotingCommand::response(code, 0)
            .field("suggestWhichBrokerId", 0)
            .field("nextBeginOffset", next)
            .field("minOffset", 0)
            .field("maxOffset", max)
    };
    if let Some(code) = shelf.pull_code {
        return Some(numbers(code, max));
    }
    if offset > max {
        return Some(numbers(response::PULL_OFFSET_MOVED, max));
    }
    let count: usize = command.ext("maxMsgNums").unwrap().parse().unwrap();
    let found: Vec<(i64, (String, String))> =
        (offset..).zip(have.into_iter().skip(offset as usize)).take(count).collect();
    let next = found.last().map(|(offset, _)| offset + 1)?;
    let topic = command.ext("topic").unwrap();
    let record = |(offset, (body, properties)): &(i64, (String, String))| {
        let (body, flags) = match shelf.is_packed {
            true => (zlib(body.as_bytes()), sys_flag::COMPRESSION_ZLIB | sys_flag::COMPRESSED),
            false => (body.clone().into_bytes(), 0),
        };
        record_bytes(topic, queue, *offset, &body, properties.as_bytes(), flags)
    };
    Some(numbers(0, next).body(found.iter().flat_map(record).collect::<Vec<u8>>()))
}

pub(super) fn world(queues: i32, shelf: &Shared) -> World {
    let mut world = World::new(&["T"], one_broker(queues));
    world.peer(BROKER_A, serving(shelf.clone()));
    world
}

pub(super) fn config() -> PushConsumerConfig {
    let mut config = PushConsumerConfig::new("CG");
    config.consume_from = ConsumeFrom::FirstOffset;
    config
}

pub(super) fn start(world: &mut World, config: PushConsumerConfig, expression: &str) {
    let subscriptions = vec![Subscription::tags("T", expression).unwrap()];
    world.core.push_start(config, false, subscriptions, Offsets::default(), world.now).unwrap();
    world.settle();
}

fn bodies(world: &World) -> Vec<String> {
    let text = |message: &crate::MessageExt| String::from_utf8(message.body().to_vec()).unwrap();
    world.tasks.iter().flat_map(|(_, messages)| messages.iter().map(|message| text(message))).collect()
}

/// Goal: a lone member takes all queues, begins where its offset is, and its listener gets the messages.
#[test]
fn a_lone_member_gets_everything() {
    let shelf = Shelf::shared(4, 3);
    shelf.borrow_mut().committed.insert(1, 2);
    let mut world = world(4, &shelf);
    start(&mut world, config(), "*");
    world.pass(Duration::from_millis(10));
    let mut got = bodies(&world);
    got.sort();
    assert_eq!(got, ["m0", "m0", "m0", "m1", "m1", "m1", "m2", "m2", "m2", "m2"]);
    let said = HeartbeatData::decode(&world.asked_of(BROKER_A, request::HEART_BEAT)[0].body).unwrap();
    let topics: Vec<&str> =
        said.consumer_data_set[0].subscription_data_set.iter().map(|one| one.topic.as_str()).collect();
    assert_eq!(topics, ["%RETRY%CG", "T"]);
}

/// Goal: with two members each takes its half; when one leaves, the other takes over what it left.
#[test]
fn members_share_and_take_over() {
    let shelf = Shelf::shared(4, 0);
    shelf.borrow_mut().members.push("10.0.0.1@other".to_owned());
    let mut world = world(4, &shelf);
    start(&mut world, config(), "*");
    world.pass(Duration::from_millis(10));
    let pulled =
        |shelf: &Shared| shelf.borrow().pulls.iter().map(|(queue, _)| *queue).collect::<BTreeSet<i32>>();
    assert_eq!(pulled(&shelf), BTreeSet::from([2, 3]), "ours is the greater id");
    shelf.borrow_mut().members.retain(|member| member == SELF);
    let tell =
        RemotingCommand::request(request::NOTIFY_CONSUMER_IDS_CHANGED).field("consumerGroup", "CG").oneway();
    world.tell(BROKER_A, &tell);
    world.pass(Duration::from_millis(10));
    assert_eq!(pulled(&shelf), BTreeSet::from([0, 1, 2, 3]));
    // And a newcomer gets the first half back; our offsets of it are committed first.
    shelf.borrow_mut().members.push("10.0.0.1@other".to_owned());
    world.tell(BROKER_A, &tell);
    world.pass(Duration::from_millis(10));
    let held: Vec<i32> = world.core.groups["CG"].queues.keys().map(|queue| queue.queue_id).collect();
    assert_eq!(held, [2, 3]);
}

/// Goal: where a group that has never consumed begins, by its setting.
#[test]
fn a_new_group_begins_where_it_is_told() {
    for (from, offset) in [
        (ConsumeFrom::FirstOffset, 0),
        (ConsumeFrom::LastOffset, 5),
        (ConsumeFrom::Timestamp(1_700_000_000_000), 2),
    ] {
        let shelf = Shelf::shared(1, 5);
        let mut world = world(1, &shelf);
        start(&mut world, PushConsumerConfig { consume_from: from, ..config() }, "*");
        world.pass(Duration::from_millis(10));
        assert_eq!(shelf.borrow().pulls[0], (0, offset), "{from:?}");
    }
}

/// Goal: offsets move to the smallest that is not done, and reach the broker within 5 s, one-way.
#[test]
fn offsets_follow_the_listener() {
    let shelf = Shelf::shared(1, 3);
    let mut world = world(1, &shelf);
    start(&mut world, config(), "*");
    world.pass(Duration::from_millis(10));
    assert_eq!(world.tasks.len(), 3);
    world.tasks.rotate_left(1); // The second message is done first.
    world.consume("CG", Consumed::Done);
    world.pass(Duration::from_secs(15));
    assert_eq!(shelf.borrow().committed.get(&0), Some(&0));
    world.consume("CG", Consumed::Done);
    world.consume("CG", Consumed::Done);
    world.pass(Duration::from_secs(5));
    assert_eq!(shelf.borrow().committed.get(&0), Some(&3));
    assert!(world.asked_of(BROKER_A, request::UPDATE_CONSUMER_OFFSET).iter().all(|asked| asked.is_oneway()));
    // A pull carries the offset too, once there is one.
    world.core.push_stop("CG", world.now);
    world.settle();
    assert!(world.core.groups.is_empty());
    assert_eq!(world.asked_of(BROKER_A, request::UNREGISTER_CLIENT)[0].ext("consumerGroup"), Some("CG"));
}

/// Goal: no more listener calls at a time than threads, and the queues take turns.
#[test]
fn the_listener_is_called_so_often_at_a_time() {
    let shelf = Shelf::shared(2, 30);
    let mut world = world(2, &shelf);
    start(&mut world, PushConsumerConfig { consume_threads: 4, ..config() }, "*");
    world.pass(Duration::from_millis(10));
    assert_eq!(world.tasks.len(), 4);
    let mut count = 4;
    while !world.tasks.is_empty() {
        assert!(world.tasks.len() <= 4);
        let messages = world.consume("CG", Consumed::Done);
        assert_eq!(messages.len(), 1);
        count += 1;
    }
    assert_eq!(count - 4, 60);
}

/// Goal: a failed message goes back to its broker and counts as done here.
#[test]
fn failed_messages_are_sent_back() {
    let shelf = Shelf::shared(1, 2);
    let mut world = world(1, &shelf);
    start(&mut world, config(), "*");
    world.pass(Duration::from_millis(10));
    world.consume("CG", Consumed::Again);
    world.consume("CG", Consumed::Done);
    let asked = world.asked_of(BROKER_A, request::CONSUMER_SEND_MSG_BACK);
    let fields = ["group", "originTopic", "offset", "delayLevel", "maxReconsumeTimes"];
    assert_eq!(fields.map(|name| asked[0].ext(name).unwrap()), ["CG", "T", "0", "0", "16"]);
    world.pass(Duration::from_secs(16));
    assert_eq!(shelf.borrow().committed.get(&0), Some(&2));
    assert!(world.tasks.is_empty());
}

/// Goal: what the broker will not take back goes to the retry topic as a message of its own; if that fails too, the
/// listener gets it again after 5 s.
#[test]
fn failed_messages_find_another_way() {
    let shelf = Shelf::shared(1, 1);
    shelf.borrow_mut().refuse_back = true;
    let mut world = world(1, &shelf);
    world.peer(NAME_SERVER, name_server(&["T", "%RETRY%CG"], one_broker(1)));
    start(&mut world, config(), "*");
    world.pass(Duration::from_millis(10));
    // The retry topic is served from the same shelf: its message is not looked at.
    world.tasks.retain(|(_, messages)| &*messages[0].queue.topic == "T");
    world.consume("CG", Consumed::Again);
    let asked = world.asked_of(BROKER_A, request::SEND_MESSAGE_V2);
    let fields = ["a", "b", "j", "l"].map(|name| asked[0].ext(name).unwrap());
    assert_eq!(fields, ["CLIENT_INNER_PRODUCER", "%RETRY%CG", "1", "16"]);
    let properties = asked[0].ext("i").unwrap();
    assert!(properties.contains("DELAY\u{1}3\u{2}") && properties.contains("RETRY_TOPIC\u{1}T\u{2}"));
    assert!(world.tasks.is_empty());

    let shelf = Shelf::shared(1, 1);
    shelf.borrow_mut().refuse_back = true;
    let mut world = self::world(1, &shelf); // Without a retry topic, and no template: nowhere to go.
    start(&mut world, config(), "*");
    world.pass(Duration::from_millis(10));
    world.consume("CG", Consumed::Again);
    world.pass(Duration::from_millis(4900));
    assert!(world.tasks.is_empty());
    world.pass(Duration::from_millis(200));
    let messages = world.consume("CG", Consumed::Done);
    assert_eq!(messages[0].reconsume_times, 1);
}

/// Goal: a message whose tag only shares the hash never reaches the listener, and the offset moves past it.
#[test]
fn tags_are_compared_again() {
    let shelf = Shelf::shared(1, 0);
    let tagged = |tag: &str| (tag.to_owned(), format!("TAGS\u{1}{tag}\u{2}"));
    shelf.borrow_mut().queues.insert(0, vec![tagged("BBBB"), tagged("AaAa"), tagged("BBBB")]);
    let mut world = world(1, &shelf);
    start(&mut world, config(), "AaAa");
    world.pass(Duration::from_millis(10));
    assert_eq!(bodies(&world), ["AaAa"]);
    world.consume("CG", Consumed::Done);
    shelf.borrow_mut().queues.get_mut(&0).unwrap().push(tagged("BBBB"));
    world.pass(Duration::from_secs(60));
    assert_eq!(world.core.groups["CG"].offsets.get(&MessageQueue::new("T", "broker-a", 0)), Some(4));
}

/// Goal: a queue that holds too much is not pulled until the listener has caught up.
#[test]
fn a_full_queue_is_left_alone() {
    let shelf = Shelf::shared(1, 200);
    let mut world = world(1, &shelf);
    let config = PushConsumerConfig { consume_threads: 1, pull_threshold_messages: 50, ..config() };
    start(&mut world, config, "*");
    world.pass(Duration::from_secs(1));
    assert_eq!(shelf.borrow().pulls.len(), 2, "64 are held");
    for _ in 0..20 {
        world.consume("CG", Consumed::Done);
    }
    world.pass(Duration::from_millis(50));
    assert_eq!(shelf.borrow().pulls.len(), 3);
}

/// Goal: error answers to pulls are tried again after a second, and cost no messages.
#[test]
fn refused_pulls_are_tried_again() {
    for code in [response::SYSTEM_ERROR, response::SUBSCRIPTION_NOT_LATEST, response::SUBSCRIPTION_NOT_EXIST]
    {
        let shelf = Shelf::shared(1, 1);
        shelf.borrow_mut().pull_code = Some(code);
        let mut world = world(1, &shelf);
        start(&mut world, config(), "*");
        world.pass(Duration::from_millis(999));
        assert_eq!(shelf.borrow().pulls.len(), 1, "{code}");
        shelf.borrow_mut().pull_code = None;
        world.pass(Duration::from_millis(10));
        assert_eq!(bodies(&world), ["m0"]);
    }
}

/// Goal: an offset the broker does not have is put right where it says, and committed there.
#[test]
fn an_illegal_offset_is_put_right() {
    let shelf = Shelf::shared(1, 3);
    shelf.borrow_mut().committed.insert(0, 99);
    let mut world = world(1, &shelf);
    start(&mut world, config(), "*");
    world.pass(Duration::from_millis(10));
    assert_eq!(shelf.borrow().pulls, [(0, 99), (0, 3)]);
    assert_eq!(shelf.borrow().committed.get(&0), Some(&3));
}

/// Goal: broadcasting takes all queues whatever the members, keeps offsets at home, and goes on from them.
#[test]
fn broadcasting_keeps_its_offsets_at_home() {
    let shelf = Shelf::shared(2, 2);
    shelf.borrow_mut().members = vec!["10.0.0.1@other".to_owned()];
    let mut world = world(2, &shelf);
    let config = PushConsumerConfig { model: MessageModel::Broadcasting, ..config() };
    let kept: Offsets = [(MessageQueue::new("T", "broker-a", 1), 1)].into_iter().collect();
    let subscriptions = vec![Subscription::tags("T", "*").unwrap()];
    world.core.push_start(config, false, subscriptions, kept, world.now).unwrap();
    world.pass(Duration::from_millis(10));
    let mut got = bodies(&world);
    got.sort();
    assert_eq!(got, ["m0", "m1", "m1"]);
    for result in [Consumed::Done, Consumed::Again, Consumed::Done] {
        world.consume("CG", result);
    }
    world.pass(Duration::from_secs(15));
    assert_eq!(world.count(request::UPDATE_CONSUMER_OFFSET), 0);
    assert_eq!(world.count(request::CONSUMER_SEND_MSG_BACK), 0);
    let kept = ResetOffsetBody::decode(world.saved.last().unwrap().as_bytes()).unwrap();
    assert_eq!(kept.offset_table.values().copied().collect::<Vec<_>>(), [2, 2]);
}

/// Goal: what comes in for a queue that was given up reaches nobody. Method: the answer to a pull is still out when
/// another member takes the queue.
#[test]
fn answers_for_queues_given_up_reach_nobody() {
    let shelf = Shelf::shared(1, 1);
    let mut world = world(1, &shelf);
    world.set_delay(BROKER_A, Duration::from_millis(100));
    start(&mut world, config(), "*");
    // Members, offset and pull take a tenth of a second each.
    world.pass(Duration::from_millis(250));
    assert_eq!(shelf.borrow().pulls.len(), 1);
    let queue = MessageQueue::new("T", "broker-a", 0);
    world.core.give_up("CG", &queue, world.now);
    world.pass(Duration::from_millis(100));
    assert!(world.tasks.is_empty());
}

/// Goal: messages a listener sits on for 15 minutes go back to be tried elsewhere.
#[test]
fn messages_that_take_too_long_go_back() {
    let shelf = Shelf::shared(1, 1);
    let mut world = world(1, &shelf);
    start(&mut world, config(), "*");
    world.pass(Duration::from_secs(31 * 60));
    assert_eq!(world.count(request::CONSUMER_SEND_MSG_BACK), 1);
    assert_eq!(shelf.borrow().committed.get(&0), Some(&1));
    world.consume("CG", Consumed::Done); // Too late: nothing more happens.
    world.pass(Duration::from_secs(60));
    assert_eq!(shelf.borrow().committed.get(&0), Some(&1));
}

/// Goal: subscriptions may come and go while the consumer runs.
#[test]
fn subscriptions_change_while_it_runs() {
    let shelf = Shelf::shared(1, 1);
    let mut world = world(1, &shelf);
    world.peer(NAME_SERVER, name_server(&["T", "U"], one_broker(1)));
    start(&mut world, config(), "*");
    world.pass(Duration::from_millis(10));
    world.core.subscribe("CG", Subscription::tags("U", "*").unwrap(), world.now);
    world.pass(Duration::from_millis(10));
    let topics: Vec<&str> = world.core.groups["CG"].queues.keys().map(|queue| &*queue.topic).collect();
    assert_eq!(topics, ["T", "U"]);
    world.core.unsubscribe("CG", "T", world.now);
    world.pass(Duration::from_millis(10));
    let topics: Vec<&str> = world.core.groups["CG"].queues.keys().map(|queue| &*queue.topic).collect();
    assert_eq!(topics, ["U"]);
}

/// Goal: the newest subscription is heard by brokers before pulls carry it.
#[test]
fn a_changed_share_is_told_before_it_is_pulled() {
    let shelf = Shelf::shared(1, 0);
    let mut world = world(1, &shelf);
    start(&mut world, config(), "*");
    world.pass(Duration::from_millis(10));
    let mut told = 0;
    for (_, _, command) in world.asked.iter().filter(|(_, to, _)| to == BROKER_A) {
        if command.code == request::HEART_BEAT {
            let said = HeartbeatData::decode(&command.body).unwrap();
            let of_t = said.consumer_data_set[0].subscription_data_set.iter().find(|one| one.topic == "T");
            told = told.max(of_t.map_or(0, |one| one.sub_version));
        }
        if command.code == request::PULL_MESSAGE {
            let carried: i64 = command.ext("subVersion").unwrap().parse().unwrap();
            assert!(carried <= told, "{carried} was not told yet, only {told}");
        }
    }
}
