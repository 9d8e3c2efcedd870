//! Who is connected: consumers, producers and what they subscribe to.

use std::collections::BTreeSet;

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
use super::super::consumers::Subscription;
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
        let body = ConsumerConnection {
            connection_set: group.members().iter().map(|m| self.connection(m.conn, &m.client)).collect(),
            consume_from_where: group.kind.from_where,
            consume_type: group.kind.consume_type,
            message_model: group.kind.model,
            subscription_table: group
                .subscriptions()
                .map(|subscription| (subscription.topic.to_string(), subscription_data(subscription)))
                .collect(),
        };
        out.reply(req.reply_to(), response::SUCCESS, |w| w, Body::Owned(body.encode()));
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
        let connection_set = channels.iter().map(|c| self.connection(c.conn, &c.client)).collect();
        let body = ProducerConnection { connection_set };
        out.reply(req.reply_to(), response::SUCCESS, |w| w, Body::Owned(body.encode()));
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

    fn connection(&self, conn: ConnId, client: &Client) -> Connection {
        Connection {
            client_addr: self.peers.text(conn),
            client_id: client.id.to_string(),
            language: client.language,
            version: client.version,
        }
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
