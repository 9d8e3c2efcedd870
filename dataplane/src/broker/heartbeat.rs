//! The desk of the clients themselves: who is here, who left, and who must be told.
//!
//! ```text
//! 34 HEART_BEAT ------> consumers, producers; %RETRY%group made; changed? 40 to every member, the sender included
//! 35 UNREGISTER_CLIENT, closed connection, 120 s of silence -> out of every group; 40 to those who stay
//! 38 GET_CONSUMER_LIST_BY_GROUP -> client ids of the members
//! 46 CHECK_CLIENT_CONFIG -> whether its filter is one we know
//! ```
//!
//! Nearly every heartbeat says what the last one said. Its bytes are kept per connection, and while no table it
//! depends on has moved, the same bytes again only refresh the times: no parsing, no allocation.
//! Implements B-1, B-2 and B-11 (docs/PROMISES.md).

use std::sync::Arc;

use hashbrown::HashMap;
use protocol::body::{
    Body as _, CheckClientRequestBody, ConsumerData, GetConsumerListByGroupResponseBody, HeartbeatData,
    SubscriptionData,
};
use protocol::code::{request, response};
use protocol::headers::{
    CustomHeader, GetConsumerListByGroupRequestHeader, GetConsumerListByGroupResponseHeader,
    UnregisterClientRequestHeader, UnregisterClientResponseHeader,
};
use protocol::names;

use super::client::{Client, check_client_id};
use super::consumers::{GroupKind, MessageModel, Subscription, TAG};
use super::filter::check_subscription;
use super::send_checks::TOPIC_SYS_FLAG_UNIT_SUB;
use super::{Broker, Refusal, Request};
use crate::limits::{CONSUMER_GROUPS_PER_CONN_MAX, NAME_BYTES_MAX, SUBSCRIPTIONS_BYTES_MAX};
use crate::net::ConnId;
use crate::outbox::{Body, Outbox};
use crate::time::TurnTime;

/// The last heartbeat of each connection, for the short way.
#[derive(Debug, Default)]
pub struct Beats {
    by_conn: HashMap<ConnId, Beat>,
    scanned_ms: i64,
}

#[derive(Debug)]
struct Beat {
    body: Box<[u8]>,
    tables: TableMarks,
    /// A fingerprint was sent (heartbeat V2): the answer says whether the client must send everything again.
    fingerprinted: bool,
}

/// What a heartbeat's outcome depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TableMarks {
    topics: i64,
    groups: i64,
    consumers: u64,
}

impl Broker {
    /// Code 34.
    pub(super) fn heartbeat(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let tables = self.table_marks();
        let known = self.beats.by_conn.get(&req.conn);
        let (changed, fingerprinted) = match known {
            Some(beat) if beat.tables == tables && *beat.body == *req.body => {
                let fingerprinted = beat.fingerprinted;
                self.consumers.touch(req.conn, req.now.wall_ms);
                self.producers.touch(req.conn, req.now.wall_ms);
                (false, fingerprinted)
            }
            _ => self.new_heartbeat(req, out)?,
        };
        let sub_change = changed || !fingerprinted;
        out.reply(
            req.reply_to(),
            response::SUCCESS,
            |w| w.field("IS_SUPPORT_HEART_BEAT_V2", true).field("IS_SUB_CHANGE", sub_change),
            Body::None,
        );
        Ok(())
    }

    /// Takes every group of a heartbeat that is not known by its bytes. Returns whether a group changed and whether
    /// the client counts on heartbeat V2.
    #[cold]
    fn new_heartbeat(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(bool, bool), Refusal> {
        let data: HeartbeatData = req.json()?;
        self.check_heartbeat(req.conn, &data)?;
        let now_ms = req.now.wall_ms;
        let fingerprinted = data.heartbeat_fingerprint != 0;
        let without_subs = fingerprinted && data.without_sub;
        let client = Arc::new(Client {
            id: data.client_id.as_str().into(),
            language: req.header.language,
            version: req.header.version,
        });
        self.peers.named(req.conn, &client);
        let mut changed = false;
        for consumer in &data.consumer_data_set {
            changed |= self.consumer_beat(req.conn, &client, consumer, without_subs, now_ms, out);
        }
        for producer in &data.producer_data_set {
            self.producers.register(&producer.group_name, req.conn, &client, now_ms);
        }
        if req.body.len() <= BEAT_BYTES_MAX {
            let beat = Beat { body: req.body.into(), tables: self.table_marks(), fingerprinted };
            self.beats.by_conn.insert(req.conn, beat);
        }
        Ok((changed, fingerprinted))
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
        let wanted = data.consumer_data_set.iter().map(|group| {
            let subscribed = group.subscription_data_set.iter().map(|data| subscription(data).bytes());
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
        out: &mut Outbox,
    ) -> bool {
        let group = consumer.group_name.as_str();
        let auto_create = self.config.auto_create_subscription_group;
        let Some(config) = self.groups.find_or_create(group, auto_create, now_ms, &mut self.ops).cloned()
        else {
            // As 5.x: the client is answered as if all were well, and never gets a queue.
            return false;
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
        );
        let listed = (!without_subs).then(|| subscribed.iter().map(subscription).collect());
        let changed = self.consumers.register(group, kind(consumer), listed, conn, client, now_ms);
        if changed && config.notify_consumer_ids_changed_enable {
            self.notify_members(group, out);
        }
        changed
    }

    /// Code 35.
    pub(super) fn unregister_client(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let header = UnregisterClientRequestHeader::read(&req.header.fields)?;
        self.beats.by_conn.remove(&req.conn);
        if let Some(group) = header.producer_group {
            self.producers.unregister(&group.to_cow(), req.conn);
        }
        if let Some(group) = header.consumer_group {
            let group = group.to_cow();
            if self.consumers.unregister(&group, req.conn) {
                self.notify_members(&group, out);
            }
        }
        let write = UnregisterClientResponseHeader {};
        out.reply(req.reply_to(), response::SUCCESS, |w| w.with(&write), Body::None);
        Ok(())
    }

    /// Code 38.
    pub(super) fn consumer_list(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let header = GetConsumerListByGroupRequestHeader::read(&req.header.fields)?;
        let name = header.consumer_group.to_cow();
        let Some(group) = self.consumers.group(&name) else {
            let remark = format!("no consumer for this group, {name}");
            return Err(Refusal::with_empty_fields(response::SYSTEM_ERROR, remark));
        };
        let consumer_id_list = group.members().iter().map(|member| member.client.id.to_string()).collect();
        let body = GetConsumerListByGroupResponseBody { consumer_id_list }.encode();
        let write = GetConsumerListByGroupResponseHeader {};
        out.reply(req.reply_to(), response::SUCCESS, |w| w.with(&write), Body::Owned(body));
        Ok(())
    }

    /// Code 46: whether this broker can filter as the client wants, asked before the client starts.
    pub(super) fn check_client_config(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        if !req.body.is_empty() {
            let asked: CheckClientRequestBody = req.json()?;
            check_subscription(&asked.subscription_data)?;
            if !asked.subscription_data.is_tag() {
                let kind = &asked.subscription_data.expression_type;
                let remark = format!("The broker does not support consumer to filter message by {kind}");
                return Err(Refusal::new(response::SYSTEM_ERROR, remark));
            }
        }
        out.done(req.reply_to());
        Ok(())
    }

    /// The connection is gone, or its client is taken for dead: out of every group.
    pub(super) fn client_left(&mut self, conn: ConnId, out: &mut Outbox) {
        self.beats.by_conn.remove(&conn);
        self.producers.close(conn);
        while let Some(group) = self.consumers.a_group_of(conn) {
            self.consumers.unregister(&group, conn);
            self.notify_members(&group, out);
        }
    }

    /// Called every turn; every ten seconds clients without a heartbeat for too long are dropped.
    pub(super) fn scan_clients(&mut self, now: &TurnTime, out: &mut Outbox) {
        if now.wall_ms - self.beats.scanned_ms < SCAN_MS {
            return;
        }
        self.beats.scanned_ms = now.wall_ms;
        let silence_ms_max = i64::try_from(self.config.channel_expired_timeout).unwrap_or(i64::MAX);
        let mut dead = self.consumers.expired(now.wall_ms, silence_ms_max);
        dead.extend(self.producers.expired(now.wall_ms, silence_ms_max));
        dead.sort_unstable();
        dead.dedup();
        for conn in dead {
            self.client_left(conn, out);
            out.close(conn);
        }
    }

    /// Tells every member that the group changed, so that it rebalances at once. Broadcasting members have all
    /// queues anyway.
    fn notify_members(&self, group: &str, out: &mut Outbox) {
        let Some(group) = self.consumers.group(group) else { return };
        if !self.config.notify_consumer_ids_changed_enable || group.kind.model == MessageModel::Broadcasting {
            return;
        }
        for member in group.members() {
            out.request(
                member.conn,
                request::NOTIFY_CONSUMER_IDS_CHANGED,
                true,
                |w| w.field("consumerGroup", &*group.name),
                Body::None,
            );
        }
    }

    fn table_marks(&self) -> TableMarks {
        TableMarks {
            topics: self.topics.version().counter,
            groups: self.groups.version().counter,
            consumers: self.consumers.revision(),
        }
    }
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

/// Longer heartbeats are not kept and always take the long way.
const BEAT_BYTES_MAX: usize = 32 * 1024;
const SCAN_MS: i64 = 10_000;
