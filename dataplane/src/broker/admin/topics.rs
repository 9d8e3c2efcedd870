//! Topics by the hand of an administrator: make, change, delete, look.

use std::collections::{BTreeMap, BTreeSet};

use protocol::body::{self, Body as _, CreateTopicListRequestBody, GroupList};
use protocol::code::response;
use protocol::headers::{
    CreateTopicRequestHeader, CustomHeader, DeleteTopicRequestHeader, GetTopicConfigRequestHeader,
    QueryTopicConsumeByWhoRequestHeader,
};
use protocol::names;

use super::super::offsets::Whose;
use super::super::topic_config::TopicConfig;
use super::super::topics::MoreTopics;
use super::super::{Broker, Refusal, Request};
use super::lists::Listed;
use super::{attributes, invalid};
use crate::limits::QUEUES_PER_TOPIC_MAX;
use crate::outbox::{Body, Outbox};

impl Broker {
    /// Code 17.
    pub(super) fn update_topic(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let header = CreateTopicRequestHeader::read(&req.header.fields)?;
        let name = header.topic.to_cow();
        let text = header.attributes.map(|text| text.to_cow()).unwrap_or_default();
        let changes = attributes::parse(&text)?;
        let config = TopicConfig {
            read_queue_nums: header.read_queue_nums,
            write_queue_nums: header.write_queue_nums,
            perm: header.perm,
            multi_tag: header.topic_filter_type == "MULTI_TAG",
            topic_sys_flag: header.topic_sys_flag.unwrap_or(0),
            order: header.order,
            ..TopicConfig::new(&name, 0, 0)
        };
        self.check_topic(&config)?;
        let attributes = attributes::change_topic(self.attributes_of(&name), &changes)?;
        self.put_topic(TopicConfig { attributes, ..config }, req.now.wall_ms)?;
        out.done(req.reply_to());
        Ok(())
    }

    /// Code 18: all of them, or none when one is refused.
    pub(super) fn update_topics(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let items = |list: &CreateTopicListRequestBody| list.topic_config_list.len();
        let list = self.json_list(req, items)?;
        self.put_list::<TopicConfig>(list.topic_config_list, req, out);
        Ok(())
    }

    fn check_topic(&self, config: &TopicConfig) -> Result<(), Refusal> {
        names::check_topic(&config.name).map_err(|error| invalid(error.to_string()))?;
        self.refuse_system_topic(&config.name)?;
        let queues = 0..=QUEUES_PER_TOPIC_MAX;
        if !queues.contains(&config.read_queue_nums) || !queues.contains(&config.write_queue_nums) {
            return Err(invalid(format!("queue numbers must be from 0 to {QUEUES_PER_TOPIC_MAX}.")));
        }
        if !(0..PERM_END).contains(&config.perm) {
            return Err(invalid("perm must be 6 (read and write), 4 (read) or 2 (write)."));
        }
        Ok(())
    }

    fn attributes_of(&self, topic: &str) -> Option<&BTreeMap<String, String>> {
        self.topics.config(topic).map(|known| &known.attributes)
    }

    fn put_topic(&mut self, config: TopicConfig, now_ms: i64) -> Result<(), Refusal> {
        self.topics.check_room([&config])?;
        // The same again costs neither a file nor a registration.
        if self.topics.config(&config.name).is_none_or(|known| **known != config) {
            self.topics.put(config, now_ms, &mut self.ops);
        }
        Ok(())
    }

    /// Code 215. What the topic holds stays in the log until it expires; its offsets are forgotten.
    pub(super) fn delete_topic(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let header = DeleteTopicRequestHeader::read(&req.header.fields)?;
        let name = header.topic.to_cow();
        if name.trim().is_empty() {
            return Err(invalid("The specified topic is blank."));
        }
        self.refuse_system_topic(&name)?;
        let whose = Whose::Topic(name.to_string());
        self.check_removal(&whose)?;
        self.topics.remove(&name, req.now.wall_ms, &mut self.ops);
        self.remove_offsets(whose, req, out);
        Ok(())
    }

    fn refuse_system_topic(&self, name: &str) -> Result<(), Refusal> {
        if self.config.validate_system_topic_when_update_topic && self.topics.is_system(name) {
            return Err(invalid(format!("The topic[{name}] is conflict with system topic.")));
        }
        Ok(())
    }

    /// Code 351.
    pub(super) fn topic_config(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let header = GetTopicConfigRequestHeader::read(&req.header.fields)?;
        let name = header.topic.to_cow();
        let Some(config) = self.topics.config(&name) else {
            let remark = format!("No topic in this broker. topic: {name}");
            return Err(Refusal::new(response::TOPIC_NOT_EXIST, remark));
        };
        let body = body::TopicConfig::from(&**config).encode();
        out.reply(req.reply_to(), response::SUCCESS, |w| w, Body::Owned(body));
        Ok(())
    }

    /// Code 300: groups that read the topic now, and those that have offsets for it.
    pub(super) fn groups_of_topic(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let header = QueryTopicConsumeByWhoRequestHeader::read(&req.header.fields)?;
        let topic = header.topic.to_cow();
        let online = self.consumers.groups().filter(|group| group.subscription(&topic).is_some());
        let mut groups: BTreeSet<String> = online.map(|group| group.name.to_string()).collect();
        groups.extend(self.offsets.groups_of_topic(&topic).map(|group| group.to_string()));
        let body = GroupList { group_list: groups.into_iter().collect() }.encode();
        out.reply(req.reply_to(), response::SUCCESS, |w| w, Body::Owned(body));
        Ok(())
    }
}

impl Listed for TopicConfig {
    type Body = body::TopicConfig;
    type More = MoreTopics;

    fn check(
        mut listed: body::TopicConfig,
        more: &mut MoreTopics,
        broker: &Broker,
    ) -> Result<TopicConfig, Refusal> {
        let changes = std::mem::take(&mut listed.attributes);
        let mut config = TopicConfig::from(&listed);
        broker.check_topic(&config)?;
        let is_known_as_is = |known: &TopicConfig, changes: &BTreeMap<String, String>| {
            *known == TopicConfig { attributes: changes.clone(), ..config.clone() }
        };
        config.attributes = match broker.topics.config(&config.name) {
            // What is listed as it is, without signs, is no change.
            Some(known) if known.attributes == changes && is_known_as_is(known, &changes) => changes,
            known => attributes::change_topic(known.map(|known| &known.attributes), &changes)?,
        };
        broker.topics.check_room_for(&config, more)?;
        Ok(config)
    }

    fn put(self, broker: &mut Broker, now_ms: i64) -> Result<(), Refusal> {
        broker.put_topic(self, now_ms)
    }
}

/// Permission bits end below this: 8 priority, 4 read, 2 write, 1 inherit.
const PERM_END: i32 = 16;
