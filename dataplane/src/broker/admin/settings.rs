//! The configuration of a running broker: show all, change what may be changed.

use protocol::code::response;
use protocol::{config_text, fastjson};

use super::super::persist_ops::PersistOp;
use super::super::{Broker, Refusal, Request};
use super::invalid;
use crate::config::ChangeError;
use crate::outbox::{Body, Outbox};

impl Broker {
    /// Code 25: all lines of the body, or none when one is refused. Nothing is written back to the file: what is
    /// changed here holds until the next start.
    pub(super) fn update_settings(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
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

    /// Code 26.
    pub(super) fn all_settings(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let mut entries = self.config.entries();
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
}
