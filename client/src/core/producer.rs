//! Producer groups come and go.

use super::instance::Instance;
use super::order::{Producer, Template};
use super::time::Time;
use crate::config::ProducerConfig;
use crate::error::{ClientError, Service};
use std::collections::HashMap;
use std::sync::Arc;

impl Instance {
    /// Adds a producer group; an instance has each group once.
    pub fn producer_start(&mut self, config: ProducerConfig, now: Time) -> Result<(), ClientError> {
        let group: Arc<str> = Arc::from(config.group.as_str());
        if self.producers.contains_key(&group) {
            return Err(ClientError::GroupTaken { service: Service::Producer, group: config.group });
        }
        self.start(now);
        self.producers.insert(group, Producer { config, topics: HashMap::new(), is_told: true });
        self.heartbeat_all(now);
        Ok(())
    }

    /// Takes a producer group away and tells the brokers. What it still has under way goes on.
    pub fn producer_stop(&mut self, group: &str, now: Time) {
        if self.producers.remove(group).is_some() {
            self.unregister(Some(group), None, now);
        }
    }

    /// The producer that sends on behalf of consumers, made when first needed.
    pub(super) fn inner_producer(&mut self) -> Arc<str> {
        let group: Arc<str> = Arc::from(INNER_GROUP);
        self.producers.entry(group.clone()).or_insert_with(|| Producer {
            config: ProducerConfig::new(INNER_GROUP),
            topics: HashMap::new(),
            is_told: false,
        });
        group
    }

    pub(super) fn template_of(&self, group: &str) -> Option<Template> {
        let config = &self.producers.get(group)?.config;
        Some(Template {
            topic: Arc::from(config.create_topic_key.as_str()),
            queues: config.default_topic_queues,
        })
    }
}

const INNER_GROUP: &str = "CLIENT_INNER_PRODUCER";
