//! The topic table: what topics this broker has, and how new ones come about.
//!
//! ```text
//! name -> TopicIndex -> TopicConfig        every change -> DataVersion + 1, PersistOp::TopicChanged
//! ```
//!
//! A topic keeps its index for the life of the process, also over deletion and re-creation, so desks may keep
//! indexes and must ask for the configuration again (`get` says None while the topic is deleted). Topics come from
//! topics.json, from the list that every broker has, from a producer (auto-creation through a template that may
//! be inherited), from a consumer group (retry and dead-letter topics) and from administrators.
//!
//! The table is bounded: by what a registration with name servers can carry, by the names it has seen, since each keeps its index, and by
//! the queues they have had. At a bound what is new is refused, except for topics that every broker has and those of the files.

use std::sync::Arc;

use hashbrown::HashMap;
use protocol::names;

use super::persist_ops::{PersistOp, PersistOps};
use super::room::{NoRoom, NotMade};
use super::topic_config::{PERM_INHERIT, PERM_READ, PERM_WRITE, TopicConfig};
use super::version::DataVersion;
use crate::limits::{QUEUES_MAX, QUEUES_PER_TOPIC_MAX, TOPIC_NAMES_MAX, TOPICS_BYTES_MAX};

/// Where a topic is in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicIndex(u32);

impl TopicIndex {
    /// For tables that run beside this one.
    pub fn as_usize(self) -> usize {
        self.0 as usize
    }
}

/// What of the broker's configuration the table depends on.
#[derive(Debug, Clone)]
pub struct TopicSettings {
    pub broker_name: Arc<str>,
    pub cluster_name: Arc<str>,
    /// autoCreateTopicEnable
    pub auto_create: bool,
    /// defaultTopicQueueNums
    pub template_queues: i32,
    /// clusterTopicEnable, brokerTopicEnable
    pub cluster_topic: bool,
    pub broker_topic: bool,
    /// traceTopicEnable and msgTraceTopicName
    pub trace_topic: Option<Arc<str>>,
    /// How many delay levels there are, one queue each.
    pub delay_levels: i32,
}

/// What a list of topics would add to the table.
#[derive(Debug, Default)]
pub struct MoreTopics {
    names: usize,
    queues: usize,
    bytes: usize,
}

/// The table of one broker.
#[derive(Debug)]
pub struct Topics {
    settings: TopicSettings,
    by_name: HashMap<Arc<str>, TopicIndex>,
    slots: Vec<Option<Arc<TopicConfig>>>,
    /// The most queues that each has ever had: the store keeps every queue it has seen.
    widest: Vec<usize>,
    /// .. of all.
    queues: usize,
    /// What those that are there take of a registration.
    bytes: usize,
    /// The one that was sent to last.
    recent: TopicIndex,
    version: DataVersion,
}

impl Topics {
    /// Takes over what topics.json held and makes the topics every broker has. What is new goes to `ops`.
    pub fn new(
        settings: TopicSettings,
        loaded: impl IntoIterator<Item = TopicConfig>,
        version: DataVersion,
        now_ms: i64,
        ops: &mut PersistOps,
    ) -> Topics {
        let mut topics = Topics {
            settings,
            by_name: HashMap::new(),
            slots: Vec::new(),
            widest: Vec::new(),
            queues: 0,
            bytes: 0,
            recent: TopicIndex(0),
            version,
        };
        for mut config in loaded {
            if !topics.settings.auto_create && *config.name == *names::TBW102 {
                config.perm &= !PERM_INHERIT;
            }
            topics.place(Arc::new(config));
        }
        for config in topics.settings.clone().start_topics() {
            if topics.find(&config.name).is_none() {
                topics.put(config, now_ms, ops);
            }
        }
        topics
    }

    /// The topic by its name, if there is one now.
    pub fn find(&self, name: &str) -> Option<TopicIndex> {
        let index = *self.by_name.get(name)?;
        self.get(index).map(|_| index)
    }

    /// As `find`, for who asks for the same one again and again, as those do who send: then its name is only compared.
    #[inline]
    pub fn find_again(&mut self, name: &[u8]) -> Option<TopicIndex> {
        match self.get(self.recent) {
            Some(topic) if topic.name.as_bytes() == name => Some(self.recent),
            _ => self.find_anew(name),
        }
    }

    #[inline(never)]
    fn find_anew(&mut self, name: &[u8]) -> Option<TopicIndex> {
        let found = self.find(&String::from_utf8_lossy(name))?;
        self.recent = found;
        Some(found)
    }

    /// None while the topic is deleted.
    #[inline]
    pub fn get(&self, index: TopicIndex) -> Option<&Arc<TopicConfig>> {
        self.slots.get(index.0 as usize)?.as_ref()
    }

    pub fn config(&self, name: &str) -> Option<&Arc<TopicConfig>> {
        self.get(*self.by_name.get(name)?)
    }

    /// A producer sent to a topic that does not exist: made if the template it names exists and is inherited; a
    /// retry topic is made in any case. Not allowed: 17 is the answer.
    #[cold]
    pub fn create_for_send(
        &mut self,
        name: &str,
        template: &str,
        queues_wanted: i32,
        topic_sys_flag: i32,
        now_ms: i64,
        ops: &mut PersistOps,
    ) -> Result<TopicIndex, NotMade> {
        if let Some(index) = self.find(name) {
            return Ok(index);
        }
        let inherited = self.config(template).filter(|template| template.is_inherited());
        let config = match inherited {
            Some(template) => {
                let queues = queues_wanted.min(template.write_queue_nums).max(0);
                let mut config = TopicConfig::new(name, queues, template.perm & !PERM_INHERIT);
                config.multi_tag = template.multi_tag;
                config
            }
            None if names::is_retry_topic(name) => TopicConfig::new(name, 1, PERM_READ | PERM_WRITE),
            None => return Err(NotMade::NotAllowed),
        };
        let config = TopicConfig { topic_sys_flag, ..config };
        self.check_room([&config]).map_err(NotMade::NoRoom)?;
        Ok(self.put(config, now_ms, ops))
    }

    /// The retry or dead-letter topic of a group, made if it is missing. `order`: a group that subscribes an order
    /// topic retries in order; None leaves what is there.
    pub fn create_for_group(
        &mut self,
        name: &str,
        queues: i32,
        order: Option<bool>,
        topic_sys_flag: i32,
        now_ms: i64,
        ops: &mut PersistOps,
    ) -> Result<TopicIndex, NoRoom> {
        Ok(match self.find(name) {
            Some(index) => {
                let known = self.get(index).expect("just found");
                match order {
                    Some(order) if order != known.order => {
                        let config = TopicConfig { order, ..TopicConfig::clone(known) };
                        self.put(config, now_ms, ops)
                    }
                    _ => index,
                }
            }
            None => {
                // The group's wish may come from a file.
                let config = TopicConfig::new(name, queues.min(QUEUES_PER_TOPIC_MAX), PERM_READ | PERM_WRITE);
                let config = TopicConfig { order: order.unwrap_or(false), topic_sys_flag, ..config };
                self.check_room([&config])?;
                self.put(config, now_ms, ops)
            }
        })
    }

    /// A topic that every broker has from its start on. Administrators may delete those, too, when they have switched off what
    /// forbids it: then it is made again.
    pub fn start_topic(&mut self, name: &str, now_ms: i64, ops: &mut PersistOps) -> TopicIndex {
        match self.find(name) {
            Some(index) => index,
            None => self.restore(name, now_ms, ops),
        }
    }

    #[cold]
    fn restore(&mut self, name: &str, now_ms: i64, ops: &mut PersistOps) -> TopicIndex {
        let known = self.settings.start_topics().into_iter().find(|config| *config.name == *name);
        self.put(known.unwrap_or_else(|| TopicConfig::new(name, 1, PERM_READ | PERM_WRITE)), now_ms, ops)
    }

    /// Whether all of these may be made, or take the place of what is there.
    pub fn check_room<'a>(&self, wanted: impl IntoIterator<Item = &'a TopicConfig>) -> Result<(), NoRoom> {
        let mut more = MoreTopics::default();
        wanted.into_iter().try_for_each(|config| self.check_room_for(config, &mut more))
    }

    /// .. and this one, after those of the same list that `more` counts already.
    pub fn check_room_for(&self, config: &TopicConfig, more: &mut MoreTopics) -> Result<(), NoRoom> {
        let known = self.by_name.get(&*config.name);
        let widest = known.and_then(|index| self.widest.get(index.as_usize()));
        let registered = known.and_then(|index| self.get(*index)).map_or(0, |it| it.registered_bytes());
        more.names += usize::from(known.is_none());
        more.queues += config.queues().saturating_sub(widest.copied().unwrap_or(0));
        more.bytes += config.registered_bytes().saturating_sub(registered);
        if more.bytes > 0 && self.bytes + more.bytes > TOPICS_BYTES_MAX {
            return Err(REGISTRATION_FULL);
        }
        if more.names > 0 && self.slots.len() + more.names > TOPIC_NAMES_MAX {
            return Err(NAMES_FULL);
        }
        if more.queues > 0 && self.queues + more.queues > QUEUES_MAX {
            return Err(QUEUES_FULL);
        }
        Ok(())
    }

    /// Makes or replaces a topic; whether it may be made is asked before.
    pub fn put(&mut self, config: TopicConfig, now_ms: i64, ops: &mut PersistOps) -> TopicIndex {
        let config = Arc::new(config);
        self.version.advance(now_ms);
        ops.push(PersistOp::TopicChanged { config: config.clone(), version: self.version });
        self.place(config)
    }

    /// Moves the version on, so that name servers take the table anew, and returns it.
    pub fn touch(&mut self, now_ms: i64) -> DataVersion {
        self.version.advance(now_ms);
        self.version
    }

    /// Deletes a topic; false when it was not there.
    pub fn remove(&mut self, name: &str, now_ms: i64, ops: &mut PersistOps) -> bool {
        let Some(index) = self.find(name) else { return false };
        let config = self.slots.get_mut(index.0 as usize).and_then(Option::take).expect("just found");
        self.bytes -= config.registered_bytes();
        self.version.advance(now_ms);
        ops.push(PersistOp::TopicRemoved { topic: config.name.clone(), version: self.version });
        true
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<TopicConfig>> + '_ {
        self.slots.iter().flatten()
    }

    /// Places of topics, empty ones included: who goes through all of them goes on where he stopped.
    pub fn places(&self) -> usize {
        self.slots.len()
    }

    pub fn at(&self, place: usize) -> Option<&Arc<TopicConfig>> {
        self.slots.get(place)?.as_ref()
    }

    pub fn len(&self) -> usize {
        self.iter().count()
    }

    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    pub fn version(&self) -> DataVersion {
        self.version
    }

    pub fn settings(&self) -> &TopicSettings {
        &self.settings
    }

    /// Whether administrators may neither make nor delete it.
    pub fn is_system(&self, name: &str) -> bool {
        *name == *self.settings.cluster_name
            || *name == *self.settings.broker_name
            || names::is_system_topic(name)
    }

    /// `<cluster>_REPLY_TOPIC`
    pub fn reply_topic(&self) -> String {
        format!("{}_REPLY_TOPIC", self.settings.cluster_name)
    }

    fn place(&mut self, config: Arc<TopicConfig>) -> TopicIndex {
        let index = match self.by_name.get(&*config.name) {
            Some(&index) => index,
            None => {
                let index = TopicIndex(u32::try_from(self.slots.len()).expect("fewer than 2^32 topics"));
                self.by_name.insert(config.name.clone(), index);
                self.slots.push(None);
                self.widest.push(0);
                index
            }
        };
        let widest = self.widest.get_mut(index.as_usize()).expect("every index has its slot");
        self.queues += config.queues().saturating_sub(*widest);
        *widest = config.queues().max(*widest);
        self.bytes += config.registered_bytes();
        let slot = self.slots.get_mut(index.as_usize()).expect("every index has its slot");
        if let Some(before) = slot.replace(config) {
            self.bytes -= before.registered_bytes();
        }
        index
    }
}

impl TopicSettings {
    /// The topics every broker has.
    fn start_topics(&self) -> Vec<TopicConfig> {
        const RW: i32 = PERM_READ | PERM_WRITE;
        let mut topics = vec![
            TopicConfig::new("SELF_TEST_TOPIC", 1, RW),
            TopicConfig::new("BenchmarkTest", 1024, RW),
            TopicConfig::new("OFFSET_MOVED_EVENT", 1, RW),
            TopicConfig::new(names::SCHEDULE_TOPIC, self.delay_levels, RW),
            TopicConfig::new(names::TRANS_HALF_TOPIC, 1, RW),
            TopicConfig::new(names::TRANS_OP_HALF_TOPIC, 1, RW),
            TopicConfig::new(names::TRANS_CHECK_MAX_TIME_TOPIC, 1, RW),
            TopicConfig::new("rmq_sys_wheel_timer", 1, RW),
            TopicConfig::new(&format!("rmq_sys_REVIVE_LOG_{}", self.cluster_name), 8, RW),
            TopicConfig::new(&format!("rmq_sys_SYNC_BROKER_MEMBER_{}", self.broker_name), 1, PERM_INHERIT),
            TopicConfig::new(&format!("{}_REPLY_TOPIC", self.cluster_name), 1, RW),
        ];
        if self.auto_create {
            topics.push(TopicConfig::new(names::TBW102, self.template_queues, RW | PERM_INHERIT));
        }
        let named = |enabled: bool| if enabled { RW | PERM_INHERIT } else { PERM_INHERIT };
        topics.push(TopicConfig::new(&self.cluster_name, 16, named(self.cluster_topic)));
        topics.push(TopicConfig::new(&self.broker_name, 1, named(self.broker_topic)));
        if let Some(trace) = &self.trace_topic {
            topics.push(TopicConfig::new(trace, 1, RW));
        }
        topics
    }
}

const REGISTRATION_FULL: NoRoom = NoRoom(
    "no room for more topics: those of this broker fill the registration that name servers take; delete some that nobody needs, or make \
     this one on another broker",
);
const NAMES_FULL: NoRoom = NoRoom(
    "no room for more names of topics: this broker has seen too many since its start, deleted ones included; restart it, or make this \
     one on another broker",
);
const QUEUES_FULL: NoRoom = NoRoom(
    "no room for more queues: the topics of this broker have or have had too many since its start; write fewer for this one, or make it on \
     another broker",
);

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn settings() -> TopicSettings {
        TopicSettings {
            broker_name: "broker-a".into(),
            cluster_name: "DefaultCluster".into(),
            auto_create: true,
            template_queues: 8,
            cluster_topic: true,
            broker_topic: true,
            trace_topic: None,
            delay_levels: 18,
        }
    }

    pub fn table(settings: TopicSettings) -> Topics {
        Topics::new(settings, [], DataVersion::default(), 0, &mut PersistOps::new())
    }

    /// Goal: the topics every broker has are those of the official table. Method: compare with probe-5.5.0.json,
    /// "all topic config", less its user topics and the RocksDB ones we have no use for.
    #[test]
    fn the_start_topics_are_the_official_ones() {
        let topics = table(settings());
        let mut found: Vec<_> = topics
            .iter()
            .map(|t| (t.name.to_string(), t.read_queue_nums, t.write_queue_nums, t.perm))
            .collect();
        found.sort();
        let expected = [
            ("BenchmarkTest", 1024, 6),
            ("DefaultCluster", 16, 7),
            ("DefaultCluster_REPLY_TOPIC", 1, 6),
            ("OFFSET_MOVED_EVENT", 1, 6),
            ("RMQ_SYS_TRANS_HALF_TOPIC", 1, 6),
            ("RMQ_SYS_TRANS_OP_HALF_TOPIC", 1, 6),
            ("SCHEDULE_TOPIC_XXXX", 18, 6),
            ("SELF_TEST_TOPIC", 1, 6),
            ("TBW102", 8, 7),
            ("TRANS_CHECK_MAX_TIME_TOPIC", 1, 6),
            ("broker-a", 1, 7),
            ("rmq_sys_REVIVE_LOG_DefaultCluster", 8, 6),
            ("rmq_sys_SYNC_BROKER_MEMBER_broker-a", 1, 1),
            ("rmq_sys_wheel_timer", 1, 6),
        ];
        assert_eq!(found, expected.map(|(name, queues, perm)| (name.to_string(), queues, queues, perm)));
        assert!(
            expected.iter().all(|(name, ..)| topics.is_system(name) || *name == "DefaultCluster_REPLY_TOPIC")
        );
    }

    /// Goal: auto-creation takes the smaller queue number, drops the inherit bit, and needs an inherited template.
    #[test]
    fn producers_create_topics_through_an_inherited_template() {
        let (mut topics, mut ops) = (table(settings()), PersistOps::new());
        let before = topics.version();
        let index = topics.create_for_send("T", "TBW102", 4, 0, 77, &mut ops).unwrap();
        let config = topics.get(index).unwrap().clone();
        assert_eq!((config.read_queue_nums, config.write_queue_nums, config.perm), (4, 4, 6));
        let version = DataVersion { timestamp: 77, counter: before.counter + 1, ..before };
        assert_eq!(ops.pop(), Some(PersistOp::TopicChanged { config, version }));
        assert_eq!(topics.create_for_send("T", "TBW102", 9, 0, 78, &mut ops), Ok(index));
        assert_eq!(ops.pop(), None);
        let many = topics.create_for_send("U", "TBW102", 99, 0, 78, &mut ops).unwrap();
        assert_eq!(topics.get(many).unwrap().write_queue_nums, 8);
        for template in ["NOPE", "T"] {
            let made = topics.create_for_send("V", template, 4, 0, 78, &mut ops);
            assert_eq!(made, Err(NotMade::NotAllowed), "{template}");
        }
    }

    /// Goal: retry topics come about even without a template, with one queue.
    #[test]
    fn retry_topics_need_no_template() {
        let mut topics = table(TopicSettings { auto_create: false, ..settings() });
        let mut ops = PersistOps::new();
        assert_eq!(topics.find("TBW102"), None);
        assert_eq!(topics.create_for_send("T", "TBW102", 4, 0, 0, &mut ops), Err(NotMade::NotAllowed));
        let index = topics.create_for_send("%RETRY%G", "TBW102", 4, 0, 0, &mut ops).unwrap();
        assert_eq!(topics.get(index).unwrap().write_queue_nums, 1);
    }

    /// Goal: a TBW102 that an earlier run left in topics.json creates nothing once auto-creation is off.
    #[test]
    fn a_stored_template_loses_its_inherit_bit_when_auto_creation_is_off() {
        let stored = TopicConfig::new("TBW102", 8, 7);
        let settings = TopicSettings { auto_create: false, ..settings() };
        let mut ops = PersistOps::new();
        let mut topics = Topics::new(settings, [stored], DataVersion::default(), 0, &mut ops);
        assert_eq!(topics.config("TBW102").unwrap().perm, 6);
        assert_eq!(topics.create_for_send("T", "TBW102", 4, 0, 0, &mut ops), Err(NotMade::NotAllowed));
    }

    /// Goal: a topic keeps its index over deletion, and is not found while it is deleted.
    #[test]
    fn an_index_outlives_its_topic() {
        let (mut topics, mut ops) = (table(settings()), PersistOps::new());
        let index = topics.put(TopicConfig::new("T", 4, 6), 0, &mut ops);
        assert!(topics.remove("T", 1, &mut ops));
        assert!(!topics.remove("T", 1, &mut ops));
        assert_eq!((topics.find("T"), topics.get(index)), (None, None));
        assert_eq!(topics.put(TopicConfig::new("T", 2, 6), 2, &mut ops), index);
        assert_eq!(topics.get(index).unwrap().read_queue_nums, 2);
    }

    /// Goal: a retry topic follows whether its group subscribes an order topic.
    #[test]
    fn a_group_topic_follows_its_order_mark() {
        let (mut topics, mut ops) = (table(settings()), PersistOps::new());
        let index = topics.create_for_group("%RETRY%G", 1, Some(false), 0, 0, &mut ops).unwrap();
        assert!(ops.pop().is_some());
        topics.create_for_group("%RETRY%G", 1, Some(true), 0, 0, &mut ops).unwrap();
        assert!(ops.pop().is_some());
        topics.create_for_group("%RETRY%G", 1, None, 0, 0, &mut ops).unwrap();
        assert!(ops.pop().is_none());
        assert!(topics.get(index).unwrap().order);
    }

    /// Goal: names and queues that the table must keep are bounded, also of topics that are deleted again; who is there may be changed, and
    /// gets back what it had. Method: topics with all the queues there may be until one is refused; then names with none.
    #[test]
    fn names_and_queues_are_bounded_over_deletion() {
        let (mut topics, mut ops) = (table(settings()), PersistOps::new());
        let wide = |at: usize| TopicConfig::new(&format!("Wide{at}"), QUEUES_PER_TOPIC_MAX, 6);
        let mut made = 0;
        while topics.check_room([&wide(made)]).is_ok() && made < 100 {
            topics.put(wide(made), 0, &mut ops);
            topics.remove(&wide(made).name, 0, &mut ops);
            made += 1;
        }
        assert_eq!(made, 15, "each has 65,535 of 1,048,576, and every broker has some");
        assert_eq!(topics.check_room([&wide(20)]), Err(QUEUES_FULL));
        assert_eq!(topics.check_room([&wide(0), &wide(1), &TopicConfig::new("T", 8, 6)]), Ok(()));
        let narrow = |at: usize| TopicConfig::new(&format!("Narrow{at}"), 0, 6);
        let before = topics.slots.len();
        for at in 0..TOPIC_NAMES_MAX - before {
            assert_eq!(topics.check_room([&narrow(at)]), Ok(()), "{at}");
            topics.put(narrow(at), 0, &mut ops);
            topics.remove(&narrow(at).name, 0, &mut ops);
            while ops.pop().is_some() {}
        }
        assert_eq!(topics.check_room([&narrow(TOPIC_NAMES_MAX)]), Err(NAMES_FULL));
        assert_eq!(topics.check_room([&narrow(0), &narrow(1)]), Ok(()));
        let made = topics.create_for_group("%RETRY%G", 1, None, 0, 0, &mut ops);
        assert_eq!(made, Err(NAMES_FULL));
    }

    /// Goal: the text in remarks is Java's. Method: probe-5.5.0.json, "send queueId too big".
    #[test]
    fn a_topic_prints_as_in_official_remarks() {
        let text = TopicConfig::new("T_c49", 4, 6).to_string();
        assert_eq!(
            text,
            "TopicConfig [topicName=T_c49, readQueueNums=4, writeQueueNums=4, perm=RW-, topicFilterType=SINGLE_TAG, topicSysFlag=0, order=false, attributes={}]"
        );
    }
}
