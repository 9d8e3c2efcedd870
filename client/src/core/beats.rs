//! Heartbeats: telling every broker in use which groups live behind this connection.
//!
//! Producers only: the masters. With consumers: the slaves too. Every 30 s, when a subscription or the share of queues
//! changed, and as the first word on every new connection to a broker, which has forgotten what the old one said.
//!
//! When there are more brokers than connections may be, those come first without whose heartbeats something goes wrong: members
//! of a group are asked of any broker of its topics, and replies come by any master. The others are only shown us by theirs.

use super::instance::Instance;
use super::links::{Addr, LinkId};
use super::time::Time;
use super::waiter::Waiter;
use crate::error::ClientError;
use protocol::RemotingCommand;
use protocol::body::MASTER_ID;
use protocol::body::{Body, ConsumeType, ConsumerData, HeartbeatData, MessageModel, ProducerData};
use protocol::code::{request, response};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

impl Instance {
    /// A connection was made: a broker is told about us before anything else.
    pub(super) fn greet(&mut self, _link: LinkId, addr: &Addr, now: Time) {
        let Some((name, id)) = self.brokers.name_of(addr) else {
            return; // A name server, or a broker that only an administrator talks to.
        };
        let name = name.clone();
        if self.wants_heartbeat(id) {
            self.heartbeat(&name, addr, false, now); // There is a connection, needed or not.
        }
    }

    /// The brokers that must hear of us: one of each name that a group consumes from, and every master while replies are
    /// awaited.
    fn needed(&self) -> BTreeSet<Addr> {
        let awaiting = self.brokers.all().filter(|(_, id, _)| *id == MASTER_ID && !self.requests.is_empty());
        let awaiting = awaiting.map(|(_, _, addr)| addr);
        let topics = self.groups.values().flat_map(|group| group.subscriptions.keys());
        let routes = topics.filter_map(|topic| self.routes.get(topic));
        let consumed = routes
            .flat_map(|route| route.brokers.keys())
            .filter_map(|name| self.brokers.to_pull_from(name, MASTER_ID).map(|(addr, _)| addr));
        awaiting.chain(consumed).cloned().collect()
    }

    pub(super) fn heartbeat_all(&mut self, now: Time) {
        let needed = self.needed();
        self.links.need(&needed);
        let mut brokers: Vec<(bool, Arc<str>, Addr)> = self
            .brokers
            .all()
            .filter(|(_, id, _)| self.wants_heartbeat(*id))
            .map(|(name, _, addr)| (needed.contains(addr), name.clone(), addr.clone()))
            .collect();
        brokers.sort_by_key(|(is_needed, ..)| !is_needed);
        let mut untold = 0;
        for (is_needed, name, addr) in &brokers {
            if !self.heartbeat(name, addr, *is_needed, now) && *is_needed {
                untold += 1;
            }
        }
        if untold > 0 && self.untold_at.is_none_or(|at| now.mono >= at + UNTOLD_PAUSE) {
            self.untold_at = Some(now.mono);
            let max = self.config().connections_max;
            log::warn!(
                "{untold} brokers get no heartbeats, as connections_max is {max}: raise it, or queues that groups here consume \
                 from them are left lying, and replies that come by them are lost"
            );
        }
    }

    pub(super) fn heartbeat_answered(
        &mut self,
        broker: &str,
        addr: &Addr,
        answer: Result<RemotingCommand, ClientError>,
    ) {
        match answer {
            Ok(answer) if answer.code == response::SUCCESS => {
                self.brokers.set_version(addr, answer.version);
            }
            Ok(answer) => {
                log::warn!("broker {broker} {addr} refused a heartbeat: {} {:?}", answer.code, answer.remark);
            }
            Err(error) => log::debug!("no heartbeat reached broker {broker}: {error}"),
        }
    }

    /// Tells every broker that a group is gone.
    pub(super) fn unregister(
        &mut self,
        producer_group: Option<&str>,
        consumer_group: Option<&str>,
        now: Time,
    ) {
        let addrs: Vec<Addr> = self.brokers.all().map(|(_, _, addr)| addr.clone()).collect();
        for addr in addrs {
            let mut command = RemotingCommand::request(request::UNREGISTER_CLIENT)
                .field("clientID", &self.settings.client_id);
            if let Some(group) = producer_group {
                command = command.field("producerGroup", group);
            }
            if let Some(group) = consumer_group {
                command = command.field("consumerGroup", group);
            }
            if self.links.is_up_to(&addr) {
                self.request(&addr, command, Waiter::Nobody, self.config().api_timeout, now);
            }
        }
    }

    /// Whether there is a connection for it, or will be.
    fn heartbeat(&mut self, name: &Arc<str>, addr: &Addr, is_needed: bool, now: Time) -> bool {
        if !self.links.is_up_to(addr) {
            return self.connect(addr, is_needed, now); // And greet then.
        }
        let body = self.heartbeat_data().encode();
        let command = RemotingCommand::request(request::HEART_BEAT).body(body);
        let waiter = Waiter::Heartbeat { broker: name.clone(), addr: addr.clone() };
        self.request(addr, command, waiter, self.config().api_timeout, now);
        true
    }

    fn wants_heartbeat(&self, broker_id: i64) -> bool {
        let has_consumers = !self.groups.is_empty() || !self.pull_groups.is_empty();
        has_consumers || (broker_id == MASTER_ID && self.producers.values().any(|producer| producer.is_told))
    }

    fn heartbeat_data(&self) -> HeartbeatData {
        let producers = self.producers.iter().filter(|(_, producer)| producer.is_told);
        let pushed = self.groups.iter().map(|(group, state)| state.heartbeat_data(group));
        let pulled = self.pull_groups.iter().map(|(group, config)| pull_data(group, config.model));
        HeartbeatData {
            client_id: self.settings.client_id.clone(),
            producer_data_set: producers
                .map(|(group, _)| ProducerData { group_name: group.to_string() })
                .collect(),
            consumer_data_set: pushed.chain(pulled).collect(),
            ..HeartbeatData::default()
        }
    }
}

fn pull_data(group: &str, model: MessageModel) -> ConsumerData {
    ConsumerData {
        group_name: group.to_owned(),
        consume_type: ConsumeType::Actively,
        message_model: model,
        ..ConsumerData::default()
    }
}

const UNTOLD_PAUSE: Duration = Duration::from_secs(60);
