//! Who is connected: consumers, producers and what they subscribe to.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use protocol::body::{
    Body as _, Connection, ConsumerConnection, ProducerConnection, QuerySubscriptionResponseBody,
    SubscriptionData, TopicList,
};
use protocol::code::response;
use protocol::headers::{
    CustomHeader, GetConsumerConnectionListRequestHeader, GetProducerConnectionListRequestHeader,
    QuerySubscriptionByConsumerRequestHeader, QueryTopicsByConsumerRequestHeader,
};

use super::super::client::Client;
use super::super::consumers::{GroupKind, Subscription};
use super::super::errands::Make;
use super::super::{Broker, Refusal, Request};
use crate::net::ConnId;
use crate::outbox::{Body, Outbox};

impl Broker {
    /// Code 203. mqadmin counts on 206 for a group that is offline.
    pub(super) fn consumer_connections(
        &mut self,
        req: &Request<'_>,
        out: &mut Outbox,
    ) -> Result<(), Refusal> {
        let header = GetConsumerConnectionListRequestHeader::read(&req.header.fields)?;
        let name = header.consumer_group.to_cow();
        let Some(group) = self.consumers.group(&name) else {
            let remark = format!("the consumer group[{name}] not online");
            return Err(Refusal::new(response::CONSUMER_NOT_ONLINE, remark));
        };
        let online = ConsumersOnline {
            members: group.members().iter().map(|member| self.online(member.conn, &member.client)).collect(),
            kind: group.kind,
            subscriptions: group.subscriptions().cloned().collect(),
        };
        let items = online.members.len() + online.subscriptions.len();
        self.put_list_together(req.reply_to(), false, items, online, out);
        Ok(())
    }

    /// Code 204.
    pub(super) fn producer_connections(
        &mut self,
        req: &Request<'_>,
        out: &mut Outbox,
    ) -> Result<(), Refusal> {
        let header = GetProducerConnectionListRequestHeader::read(&req.header.fields)?;
        let name = header.producer_group.to_cow();
        let Some(channels) = self.producers.channels(&name) else {
            let remark = format!("the producer group[{name}] not exist");
            return Err(Refusal::new(response::SYSTEM_ERROR, remark));
        };
        let online: Vec<_> =
            channels.iter().map(|channel| self.online(channel.conn, &channel.client)).collect();
        self.put_list_together(req.reply_to(), false, online.len(), ProducersOnline(online), out);
        Ok(())
    }

    /// Code 343: what the group reads now, and what it has offsets for.
    pub(super) fn topics_of_consumer(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let header = QueryTopicsByConsumerRequestHeader::read(&req.header.fields)?;
        let name = header.group.to_cow();
        let mut topics: BTreeSet<String> =
            self.offsets.topics_of_group(&name).map(|topic| topic.to_string()).collect();
        if let Some(group) = self.consumers.group(&name) {
            topics.extend(group.subscriptions().map(|subscription| subscription.topic.to_string()));
        }
        let topic_list = topics.into_iter().collect();
        let body = TopicList { broker_addr: Some(self.address_text()), topic_list };
        out.reply(req.reply_to(), response::SUCCESS, |w| w, Body::Owned(body.encode()));
        Ok(())
    }

    /// Code 345.
    pub(super) fn subscription_of_consumer(
        &mut self,
        req: &Request<'_>,
        out: &mut Outbox,
    ) -> Result<(), Refusal> {
        let header = QuerySubscriptionByConsumerRequestHeader::read(&req.header.fields)?;
        let group = header.group.to_cow();
        let topic = header.topic.map(|topic| topic.to_cow()).unwrap_or_default();
        let found = self.consumers.group(&group).and_then(|group| group.subscription(&topic));
        let body = QuerySubscriptionResponseBody {
            subscription_data: found.map(subscription_data),
            group: group.into_owned(),
            topic: topic.into_owned(),
        };
        out.reply(req.reply_to(), response::SUCCESS, |w| w, Body::Owned(body.encode()));
        Ok(())
    }

    fn online(&self, conn: ConnId, client: &Arc<Client>) -> Online {
        Online { client: client.clone(), peer: self.peers.of(conn) }
    }
}

/// Somebody in a group, to be shown.
#[derive(Debug)]
struct Online {
    client: Arc<Client>,
    /// None: gone already.
    peer: Option<SocketAddr>,
}

impl Online {
    fn connection(&self) -> Connection {
        Connection {
            client_addr: self.peer.map_or_else(String::new, |peer| peer.to_string()),
            client_id: self.client.id.to_string(),
            language: self.client.language,
            version: self.client.version,
        }
    }
}

/// The answer to code 203.
#[derive(Debug)]
struct ConsumersOnline {
    members: Vec<Online>,
    kind: GroupKind,
    subscriptions: Vec<Subscription>,
}

impl Make for ConsumersOnline {
    fn body(self: Box<Self>) -> Vec<u8> {
        let named =
            |subscription: &Subscription| (subscription.topic.to_string(), subscription_data(subscription));
        ConsumerConnection {
            connection_set: self.members.iter().map(Online::connection).collect(),
            consume_from_where: self.kind.from_where,
            consume_type: self.kind.consume_type,
            message_model: self.kind.model,
            subscription_table: self.subscriptions.iter().map(named).collect(),
        }
        .encode()
    }
}

/// The answer to code 204.
#[derive(Debug)]
struct ProducersOnline(Vec<Online>);

impl Make for ProducersOnline {
    fn body(self: Box<Self>) -> Vec<u8> {
        ProducerConnection { connection_set: self.0.iter().map(Online::connection).collect() }.encode()
    }
}

pub(super) fn subscription_data(subscription: &Subscription) -> SubscriptionData {
    SubscriptionData {
        class_filter_mode: subscription.class_filter_mode,
        code_set: subscription.codes.iter().copied().collect(),
        expression_type: subscription.expression_type.to_string(),
        sub_string: subscription.sub_string.to_string(),
        sub_version: subscription.sub_version,
        tags_set: subscription.tags.iter().map(|tag| tag.to_string()).collect(),
        topic: subscription.topic.to_string(),
    }
}
