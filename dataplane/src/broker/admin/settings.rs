//! The configuration of a running broker: show all, change what may be changed.

use std::fmt;

use protocol::code::response;
use protocol::{config_text, fastjson};
use store::QueueIndex;

use super::super::long_work::LongWork;
use super::super::persist_ops::PersistOp;
use super::super::{Broker, Refusal, ReplyTo, Request};
use super::invalid;
use crate::config::{ChangeError, shown_without_effect};
use crate::limits::{EMPTIED_WAITING_MAX, ROWS_PER_TURN_MAX, SETTINGS_BYTES_MAX};
use crate::outbox::{Body, Outbox};
use crate::time::TurnTime;

impl Broker {
    /// Code 25: all lines of the body, or none when one is refused. Nothing is written back to the file: what is
    /// changed here holds until the next start.
    pub(super) fn update_settings(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        if req.body.len() > SETTINGS_BYTES_MAX {
            return Err(Refusal::body_too_long(req.body.len(), SETTINGS_BYTES_MAX));
        }
        let entries = config_text::parse(req.body).map_err(|error| invalid(error.to_string()))?;
        let pairs = entries.iter().map(|entry| (entry.key.as_str(), entry.value.as_str()));
        let changed = self.config.changed(pairs).map_err(|error| match error {
            ChangeError::NotAllowed(why) => {
                let remark = format!("Can not update config in black list. {why}");
                Refusal::new(response::NO_PERMISSION, remark)
            }
            ChangeError::Value(fix) => invalid(fix),
        })?;
        let permission = changed.broker_permission;
        let permission_changed = permission != self.config.broker_permission;
        let now = changed.entries();
        let news = self.config.entries().into_iter().zip(&now).filter(|(before, now)| before != *now);
        let news: Vec<String> = news.map(|(_, (key, value))| format!("{key}={value}")).collect();
        if !news.is_empty() {
            let told = format!("{}: set by {}", news.join(", "), self.peers.text(req.conn)).into();
            self.ops.push(PersistOp::SettingsChanged { told });
        }
        self.config = changed;
        self.config_changed();
        self.admin.config_version = self.admin.config_version.next(req.now.wall_ms);
        if permission_changed {
            let version = self.topics.touch(req.now.wall_ms);
            self.ops.push(PersistOp::PermissionChanged { permission: permission.0, version });
        }
        out.done(req.reply_to());
        Ok(())
    }

    /// Code 26: what has an effect, and what stands for a feature that is not there.
    pub(super) fn all_settings(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let mut entries = self.config.entries();
        entries.extend(shown_without_effect().map(|(key, value)| (key, value.to_owned())));
        entries.sort_unstable_by_key(|&(key, _)| key);
        let text = config_text::write(entries.iter().map(|(key, value)| (*key, value.as_str())));
        let version = fastjson::to_string(&self.admin.config_version);
        out.reply(
            req.reply_to(),
            response::SUCCESS,
            |w| w.field("version", version.as_str()),
            Body::Owned(text.into_bytes()),
        );
        Ok(())
    }

    /// Code 329.
    pub(super) fn delete_expired(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        self.store.ask_to_clean();
        out.done(req.reply_to());
        Ok(())
    }

    /// Code 306: the files of queues whose messages have all expired go, with those of topics that are there and of those that are not.
    pub(super) fn clean_expired_queues(
        &mut self,
        req: &Request<'_>,
        out: &mut Outbox,
    ) -> Result<(), Refusal> {
        self.remove_emptied(false, req, out)
    }

    /// Code 316: as 306, of topics that are not there any more. A queue with messages stays until they have expired: rebuilt from the
    /// log, it could not tell them from those of a topic made again under that name.
    pub(super) fn clean_unused_topics(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        self.remove_emptied(true, req, out)
    }

    fn remove_emptied(
        &mut self,
        unused_only: bool,
        req: &Request<'_>,
        out: &mut Outbox,
    ) -> Result<(), Refusal> {
        self.check_place_for_work()?;
        let waiting = self.store.asked_to_remove();
        if waiting >= EMPTIED_WAITING_MAX {
            let remark = format!(
                "{waiting} queues of earlier requests wait to be looked at: ask again when the disk has come that far"
            );
            return Err(Refusal::new(response::SYSTEM_ERROR, remark));
        }
        let queues = Box::new(self.store.queues());
        self.begin_work(Emptied { unused_only, queues }, req, out);
        Ok(())
    }
}

/// Codes 306 and 316 on their way through the queues.
struct Emptied {
    unused_only: bool,
    queues: Box<dyn Iterator<Item = QueueIndex> + Send>,
}

impl fmt::Debug for Emptied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emptied").field("unused_only", &self.unused_only).finish_non_exhaustive()
    }
}

impl LongWork for Emptied {
    fn go_on(&mut self, to: ReplyTo, broker: &mut Broker, _now: &TurnTime, out: &mut Outbox) -> bool {
        for _ in 0..ROWS_PER_TURN_MAX {
            let Some(queue) = self.queues.next() else {
                out.done(to);
                return true;
            };
            let (topic, _) = broker.store.queue_name(queue);
            let is_there = broker.topics.find(topic).is_some();
            let stays = self.unused_only && is_there || broker.topics.is_system(topic);
            if !stays {
                broker.store.ask_to_remove_emptied(queue);
            }
        }
        false
    }
}
