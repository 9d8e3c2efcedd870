//! A heartbeat that is not known by its bytes, on its way into the tables.
//!
//! ```text
//! body --checked as a whole--> NewBeat --some groups a turn (long_work.rs)--> consumers, producers; group and %RETRY%group made
//! ```

use std::sync::Arc;
use std::vec;

use protocol::body::{ConsumerData, HeartbeatData, ProducerData, SubscriptionData};
use protocol::code::response;
use protocol::names;

use super::beats::{Beat, answer_heartbeat};
use super::client::{Client, check_client_id};
use super::consumers::{GroupKind, Subscription, TAG};
use super::filter::check_subscription;
use super::long_work::LongWork;
use super::room::NotMade;
use super::send_checks::TOPIC_SYS_FLAG_UNIT_SUB;
use super::{Broker, Refusal, ReplyTo, Request};
use crate::limits::{
    BEAT_BYTES_MAX, CONSUMER_GROUPS_PER_CONN_MAX, LONG_WORK_PER_TURN_MAX, NAME_BYTES_MAX,
    SUBSCRIPTIONS_BYTES_MAX,
};
use crate::net::ConnId;
use crate::outbox::Outbox;
use crate::time::TurnTime;

/// What is left of it.
#[derive(Debug)]
pub struct NewBeat {
    client: Arc<Client>,
    consumers: vec::IntoIter<ConsumerData>,
    producers: vec::IntoIter<ProducerData>,
    without_subs: bool,
    fingerprinted: bool,
    /// A group changed.
    changed: bool,
    /// Why one of them was not taken; the others are.
    refused: Option<Refusal>,
    /// Its bytes, for the short way.
    body: Option<Box<[u8]>>,
}

impl LongWork for NewBeat {
    fn ends_with_its_client(&self) -> bool {
        true
    }

    fn go_on(&mut self, to: ReplyTo, broker: &mut Broker, now: &TurnTime, out: &mut Outbox) -> bool {
        broker.take_some(self, to.conn, now.wall_ms);
        if self.consumers.len() > 0 || self.producers.len() > 0 {
            return false;
        }
        broker.beat_taken(self, to, out);
        true
    }
}

impl Broker {
    /// Checks a heartbeat and takes what of it one turn may take.
    #[cold]
    pub(super) fn new_heartbeat(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        if self.ops.is_full() || self.leaving.is_full() {
            return Err(Refusal::no_room());
        }
        let data: HeartbeatData = self.json_list(req, items_of)?;
        self.check_heartbeat(req.conn, &data)?;
        let fingerprinted = data.heartbeat_fingerprint != 0;
        let client = Arc::new(Client {
            id: data.client_id.as_str().into(),
            language: req.header.language,
            version: req.header.version,
        });
        self.peers.named(req.conn, &client);
        let beat = NewBeat {
            client,
            consumers: data.consumer_data_set.into_iter(),
            producers: data.producer_data_set.into_iter(),
            without_subs: fingerprinted && data.without_sub,
            fingerprinted,
            changed: false,
            refused: None,
            body: (req.body.len() <= BEAT_BYTES_MAX).then(|| req.body.into()),
        };
        self.begin_work(beat, req, out);
        Ok(())
    }

    fn beat_taken(&mut self, beat: &mut NewBeat, to: ReplyTo, out: &mut Outbox) {
        let &mut NewBeat { fingerprinted, changed, .. } = beat;
        if let Some(refusal) = beat.refused.take() {
            self.counters.refusals += 1;
            return out.refuse(to, &refusal);
        }
        if let Some(body) = beat.body.take() {
            self.beats.keep(to.conn, Beat { body, tables: self.table_marks(), fingerprinted });
        }
        answer_heartbeat(to, changed || !fingerprinted, out);
    }

    fn take_some(&mut self, beat: &mut NewBeat, conn: ConnId, now_ms: i64) {
        let mut items = 0;
        while items < LONG_WORK_PER_TURN_MAX {
            if let Some(consumer) = beat.consumers.next() {
                items += 1 + consumer.subscription_data_set.len();
                match self.consumer_beat(conn, &beat.client, &consumer, beat.without_subs, now_ms) {
                    Ok(changed) => beat.changed |= changed,
                    // What the client is in already it stays in.
                    Err(refusal) => {
                        beat.refused.get_or_insert(refusal);
                    }
                }
            } else if let Some(producer) = beat.producers.next() {
                items += 1;
                match self.producers.check_room(&producer.group_name, conn) {
                    Ok(()) => {
                        self.producers.register(&producer.group_name, conn, &beat.client, now_ms);
                    }
                    Err(full) => {
                        beat.refused.get_or_insert(full.into());
                    }
                }
            } else {
                return;
            }
        }
    }

    /// What a client is told when it wants to be kept with more than one of its kind needs. Nothing of its heartbeat is taken then.
    fn check_heartbeat(&self, conn: ConnId, data: &HeartbeatData) -> Result<(), Refusal> {
        check_client_id(&data.client_id)?;
        if let Some(long) =
            data.producer_data_set.iter().find(|group| group.group_name.len() > NAME_BYTES_MAX)
        {
            let len = long.group_name.len();
            let remark = format!(
                "a producer group's name has {len} bytes, more than the {NAME_BYTES_MAX} it may have"
            );
            return Err(Refusal::new(response::SYSTEM_ERROR, remark));
        }
        let joined = self.consumers.groups_of(conn);
        let is_new =
            |group: &&ConsumerData| joined.is_none_or(|joined| !joined.contains(group.group_name.as_str()));
        let groups =
            joined.map_or(0, |joined| joined.len()) + data.consumer_data_set.iter().filter(is_new).count();
        if groups > CONSUMER_GROUPS_PER_CONN_MAX {
            let remark = format!(
                "one connection would be in {groups} consumer groups, more than the {CONSUMER_GROUPS_PER_CONN_MAX} it may be in"
            );
            return Err(Refusal::new(response::SYSTEM_ERROR, remark));
        }
        for group in &data.consumer_data_set {
            group.subscription_data_set.iter().try_for_each(check_subscription)?;
        }
        self.check_room(&data.consumer_data_set)
    }

    /// Whether what these groups subscribe can be kept.
    fn check_room<'a>(&self, groups: impl IntoIterator<Item = &'a ConsumerData>) -> Result<(), Refusal> {
        let wanted = groups.into_iter().map(|group| {
            let subscribed = group.subscription_data_set.iter().map(subscription_bytes);
            (group.group_name.as_str(), subscribed.sum::<usize>())
        });
        if !self.consumers.has_room_for(wanted) {
            let remark = format!(
                "no room for more subscriptions: those of all consumer groups take {SUBSCRIPTIONS_BYTES_MAX} bytes at most"
            );
            return Err(Refusal::new(response::SYSTEM_ERROR, remark));
        }
        Ok(())
    }

    /// One consumer group of a heartbeat. True when it changed.
    fn consumer_beat(
        &mut self,
        conn: ConnId,
        client: &Arc<Client>,
        consumer: &ConsumerData,
        without_subs: bool,
        now_ms: i64,
    ) -> Result<bool, Refusal> {
        // Others may have taken the room since it was checked.
        self.check_room([consumer])?;
        let group = consumer.group_name.as_str();
        self.consumers.check_room(group, conn)?;
        let auto_create = self.config.auto_create_subscription_group;
        let config = match self.groups.find_or_create(group, auto_create, now_ms, &mut self.ops) {
            Ok(config) => config.clone(),
            // As 5.x: the client is answered as if all were well, and never gets a queue.
            Err(NotMade::NotAllowed) => return Ok(false),
            Err(NotMade::NoRoom(full)) => return Err(full.into()),
        };
        let subscribed = &consumer.subscription_data_set;
        let is_order =
            |sub: &SubscriptionData| self.topics.config(&sub.topic).is_some_and(|topic| topic.order);
        let order = subscribed.iter().any(is_order);
        let order = if without_subs { None } else { Some(order) };
        let unit_flag = if consumer.unit_mode { TOPIC_SYS_FLAG_UNIT_SUB } else { 0 };
        let retry_topic = names::retry_topic(group);
        self.topics.create_for_group(
            &retry_topic,
            config.retry_queue_nums,
            order,
            unit_flag,
            now_ms,
            &mut self.ops,
        )?;
        let listed = (!without_subs).then(|| subscribed.iter().map(subscription).collect());
        let changed = self.consumers.register(group, kind(consumer), listed, conn, client, now_ms);
        if changed && config.notify_consumer_ids_changed_enable {
            self.notify_members(group);
        }
        Ok(changed)
    }
}

/// What it takes to take it: groups and subscriptions.
fn items_of(data: &HeartbeatData) -> usize {
    let consumers = data.consumer_data_set.iter().map(|group| 1 + group.subscription_data_set.len());
    consumers.sum::<usize>() + data.producer_data_set.len()
}

fn kind(consumer: &ConsumerData) -> GroupKind {
    GroupKind {
        consume_type: consumer.consume_type,
        model: consumer.message_model,
        from_where: consumer.consume_from_where,
    }
}

fn subscription(data: &SubscriptionData) -> Subscription {
    Subscription {
        topic: data.topic.as_str().into(),
        expression_type: if data.is_tag() { TAG.into() } else { data.expression_type.as_str().into() },
        sub_string: data.sub_string.as_str().into(),
        tags: data.tags_set.iter().map(|tag| tag.as_str().into()).collect(),
        codes: data.code_set.iter().copied().collect(),
        sub_version: data.sub_version,
        class_filter_mode: data.class_filter_mode,
    }
}

/// What `subscription` of it takes.
fn subscription_bytes(data: &SubscriptionData) -> usize {
    let expression_type = if data.is_tag() { TAG } else { &data.expression_type };
    let tags = data.tags_set.iter().map(String::len);
    Subscription::bytes_of([&data.topic, expression_type, &data.sub_string], tags, data.code_set.len())
}
