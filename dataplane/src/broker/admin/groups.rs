//! Subscription groups by the hand of an administrator.

use protocol::body::{Body as _, SubscriptionGroupConfig, SubscriptionGroupList};
use protocol::code::response;
use protocol::headers::{
    CustomHeader, DeleteSubscriptionGroupRequestHeader, GetSubscriptionGroupConfigRequestHeader,
};

use super::super::group_config::GroupConfig;
use super::super::groups::{MoreGroups, is_group_name};
use super::super::offsets::Whose;
use super::super::{Broker, Refusal, Request};
use super::lists::Listed;
use super::{attributes, invalid};
use crate::limits::QUEUES_PER_TOPIC_MAX;
use crate::outbox::{Body, Outbox};

impl Broker {
    /// Code 200.
    pub(super) fn update_group(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let config: SubscriptionGroupConfig = self.json(req)?;
        let config = self.changed_group(config)?;
        self.put_group(config, req.now.wall_ms)?;
        out.done(req.reply_to());
        Ok(())
    }

    /// Code 225: all of them, or none when one is refused.
    pub(super) fn update_groups(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let items = |list: &SubscriptionGroupList| list.group_config_list.len();
        let list = self.json_list(req, items)?;
        self.put_list::<GroupConfig>(list.group_config_list, req, out);
        Ok(())
    }

    /// What becomes of a group by what is said of it. Of its attributes those that are not named stay.
    fn changed_group(&self, mut said: SubscriptionGroupConfig) -> Result<GroupConfig, Refusal> {
        check_group(&said)?;
        let changes = std::mem::take(&mut said.attributes);
        let config = GroupConfig::from(&said);
        let known = self.groups.get(&config.name);
        // What is listed as it is, without signs, is no change.
        let as_it_is = GroupConfig { attributes: changes, ..config };
        if known.is_some_and(|known| **known == as_it_is) {
            return Ok(as_it_is);
        }
        let attributes =
            attributes::change_group(known.map(|known| &known.attributes), &as_it_is.attributes)?;
        Ok(GroupConfig { attributes, ..as_it_is })
    }

    fn put_group(&mut self, config: GroupConfig, now_ms: i64) -> Result<(), Refusal> {
        self.groups.check_room([&config])?;
        if self.groups.get(&config.name).is_none_or(|known| **known != config) {
            self.groups.put(config, now_ms, &mut self.ops);
        }
        Ok(())
    }

    /// Code 352.
    pub(super) fn group_config(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let header = GetSubscriptionGroupConfigRequestHeader::read(&req.header.fields)?;
        let name = header.group.to_cow();
        let Some(config) = self.groups.get(&name) else {
            let remark = format!("No group in this broker. group: {name}");
            return Err(Refusal::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
        };
        let body = SubscriptionGroupConfig::from(&**config).encode();
        out.reply(req.reply_to(), response::SUCCESS, |w| w, Body::Owned(body));
        Ok(())
    }

    /// Code 207. A group nobody knows is gone already.
    pub(super) fn delete_group(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let header = DeleteSubscriptionGroupRequestHeader::read(&req.header.fields)?;
        let name = header.group_name.to_cow();
        // 4.9 calls the field removeOffset.
        let removes = req.header.fields.get("removeOffset").is_some_and(|text| text.parse_bool());
        let whose = (header.clean_offset || removes).then(|| Whose::Group(name.to_string()));
        whose.as_ref().map_or(Ok(()), |whose| self.check_removal(whose))?;
        self.groups.remove(&name, req.now.wall_ms, &mut self.ops);
        match whose {
            Some(whose) => self.remove_offsets(whose, req, out),
            None => out.done(req.reply_to()),
        }
        Ok(())
    }
}

impl Listed for GroupConfig {
    type Body = SubscriptionGroupConfig;
    type More = MoreGroups;

    fn check(
        listed: SubscriptionGroupConfig,
        more: &mut MoreGroups,
        broker: &Broker,
    ) -> Result<GroupConfig, Refusal> {
        let config = broker.changed_group(listed)?;
        broker.groups.check_room_for(&config, more)?;
        Ok(config)
    }

    fn put(self, broker: &mut Broker, now_ms: i64) -> Result<(), Refusal> {
        broker.put_group(self, now_ms)
    }
}

fn check_group(config: &SubscriptionGroupConfig) -> Result<(), Refusal> {
    if !is_group_name(&config.group_name) {
        return Err(invalid(format!(
            "the group name[{}] is blank, too long or has other characters than {}",
            config.group_name,
            protocol::names::LEGAL_PATTERN
        )));
    }
    if config.retry_queue_nums > QUEUES_PER_TOPIC_MAX {
        return Err(invalid(format!("retryQueueNums must be from 0 to {QUEUES_PER_TOPIC_MAX}.")));
    }
    Ok(())
}
