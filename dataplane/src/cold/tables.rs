//! The broker's tables at a start: read from `config/*.json`, as the mirror keeps them and as the shard uses them.
//!
//! ```text
//! config/*.json (else .bak) --load--> Mirror --start--> Topics, Groups, ConsumerOffsets, delay offsets
//!                                                '----> ops: what every broker has and these files lacked
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use protocol::body::{self, Body};
use protocol::fastjson;
use store::config_files::{self, Loaded};
use store::{ColdReader, Medium, MediumError, QueueFound, QueueOffset, StoreError};
use thiserror::Error;

use crate::broker::group_config::GroupConfig;
use crate::broker::groups::Groups;
use crate::broker::offsets::{ConsumerOffsets, StoredOffset};
use crate::broker::persist_ops::PersistOps;
use crate::broker::topic_config::{PERM_READ, PERM_WRITE, TopicConfig};
use crate::broker::topics::{TopicSettings, Topics};
use crate::config::Config;
use crate::limits::QUEUES_PER_TOPIC_MAX;

use super::mirror::{ConfigFile, Mirror};

/// What a broker is started with.
#[derive(Debug)]
pub struct StartTables {
    pub topics: Topics,
    pub groups: Groups,
    pub offsets: ConsumerOffsets,
    /// Delay level and the next entry to deliver.
    pub delay_offsets: Vec<(u8, i64)>,
    /// What was not in the files yet.
    pub ops: PersistOps,
}

/// Reads the files of the directory `config/`. A file that is missing leaves its table empty, and one that was damaged falls back to its
/// `.bak`. With what somebody has written and nobody can take there is no start: to go on without would be to lose it with the next change.
pub fn load(medium: &dyn Medium, dir: &Path) -> Result<Mirror, LoadError> {
    fn one<T: Body + Default>(medium: &dyn Medium, dir: &Path, file: ConfigFile) -> Result<T, LoadError> {
        let read = |bytes: &[u8]| match T::decode(bytes) {
            Ok(table) => Some(Ok(table)),
            Err(error) => fastjson::is_object(bytes).then_some(Err(error)),
        };
        let name = file.name();
        match config_files::load(medium, &dir.join(name), read)? {
            Loaded::Value(Ok(table)) => Ok(table),
            Loaded::Value(Err(error)) => Err(TableFault::Unfit { file: name, error }.into()),
            Loaded::Missing => Ok(T::default()),
            Loaded::Broken => Err(TableFault::Broken { file: name }.into()),
        }
    }
    let mut mirror = Mirror::default();
    mirror.topics = one(medium, dir, ConfigFile::Topics)?;
    mirror.groups = one(medium, dir, ConfigFile::SubscriptionGroups)?;
    mirror.offsets = one(medium, dir, ConfigFile::ConsumerOffsets)?;
    mirror.delays = one(medium, dir, ConfigFile::DelayOffsets)?;
    Ok(mirror)
}

/// Why there are no tables.
#[derive(Debug, Error)]
pub enum LoadError {
    #[error(transparent)]
    Medium(#[from] MediumError),
    #[error(transparent)]
    Table(#[from] TableFault),
}

/// What is in a file and can be in no table.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TableFault {
    /// Queues are walked through, and each is a file.
    #[error(
        "{file}: the {kind} \"{name}\" has {field} {value}, where 0 to {QUEUES_PER_TOPIC_MAX} are possible; correct the number or take the entry out of the \
         file, and start again (nothing was changed; {file}.bak is the version before)"
    )]
    Number { file: &'static str, kind: &'static str, name: String, field: &'static str, value: i32 },
    /// It is whole, and says something that does not exist.
    #[error(
        "{file}: {error}; correct that place, or move the file away to go on with {file}.bak, the version before, and start again (nothing was \
         changed)"
    )]
    Unfit { file: &'static str, error: fastjson::Error },
    #[error(
        "{file}: neither it nor {file}.bak can be read; bring one of them back from a copy, or move them away to start without what was in them \
         (nothing was changed)"
    )]
    Broken { file: &'static str },
}

/// Whether a broker can be started with these tables.
pub fn check(mirror: &Mirror) -> Result<(), TableFault> {
    let queues = 0..=QUEUES_PER_TOPIC_MAX;
    for topic in mirror.topics.topic_config_table.values() {
        for (field, value) in
            [("readQueueNums", topic.read_queue_nums), ("writeQueueNums", topic.write_queue_nums)]
        {
            if !queues.contains(&value) {
                let (file, name) = (ConfigFile::Topics.name(), topic.topic_name.clone());
                return Err(TableFault::Number { file, kind: "topic", name, field, value });
            }
        }
    }
    // Fewer than none are none, which administrators may have said.
    for group in mirror.groups.subscription_group_table.values() {
        let value = group.retry_queue_nums;
        if value > QUEUES_PER_TOPIC_MAX {
            let (file, name) = (ConfigFile::SubscriptionGroups.name(), group.group_name.clone());
            return Err(TableFault::Number { file, kind: "group", name, field: "retryQueueNums", value });
        }
    }
    Ok(())
}

/// Makes the shard's tables out of the mirror's. A table without a version gets one that begins now.
pub fn start(config: &Config, mirror: &Mirror, now_ms: i64) -> StartTables {
    let mut ops = PersistOps::new();
    let version = |version: body::DataVersion| match version.timestamp {
        0 => body::DataVersion::new(now_ms).into(),
        _ => version.into(),
    };
    let topics = mirror.topics.topic_config_table.values().map(TopicConfig::from);
    let topics =
        Topics::new(topic_settings(config), topics, version(mirror.topics.data_version), now_ms, &mut ops);
    let groups = mirror.groups.subscription_group_table.values().map(GroupConfig::from);
    let groups = Groups::new(groups, version(mirror.groups.data_version), now_ms, &mut ops);
    let mut offsets = ConsumerOffsets::default();
    for (row, queues) in &mirror.offsets.offset_table {
        let Some((topic, group)) = row.split_once('@') else { continue };
        for (&queue_id, &offset) in queues {
            offsets.load(StoredOffset { topic, group, queue_id, offset });
        }
    }
    let delays = mirror.delays.offset_table.iter();
    let delay_offsets =
        delays.filter_map(|(&level, &offset)| Some((u8::try_from(level).ok()?, offset))).collect();
    StartTables { topics, groups, offsets, delay_offsets, ops }
}

/// Topics that hold messages and are in no table: the kill came between their first message and their file. They come
/// back with as many queues as hold messages, and no fewer than a producer's default. Returns how many there were.
///
/// `tables_ms`: the version of the topic table that was read. A topic whose last message is older than that was deleted,
/// and stays so.
pub fn bring_back(
    start: &mut StartTables,
    tables_ms: i64,
    queues: &[QueueFound],
    reader: &mut ColdReader,
    now_ms: i64,
) -> Result<usize, StoreError> {
    let mut lost: BTreeMap<&str, i32> = BTreeMap::new();
    for queue in queues.iter().filter(|queue| queue.max > queue.min) {
        if start.topics.find(&queue.topic).is_some() {
            continue;
        }
        let last = reader.entry(&queue.topic, queue.queue_id, QueueOffset(queue.max.0 - 1))?;
        let Some(last) = last else { continue };
        if reader.store_time(last.physical)?.is_some_and(|stored_ms| stored_ms >= tables_ms) {
            let queues = lost.entry(&queue.topic).or_default();
            *queues = (*queues).max(queue.queue_id + 1);
        }
    }
    for (topic, queues) in &lost {
        let queues = if topic.starts_with('%') { *queues } else { (*queues).max(PRODUCER_QUEUES) };
        start.topics.put(TopicConfig::new(topic, queues, PERM_READ | PERM_WRITE), now_ms, &mut start.ops);
    }
    Ok(lost.len())
}

/// What a client asks for when its first message makes a topic (`defaultTopicQueueNums` of a producer).
const PRODUCER_QUEUES: i32 = 4;

fn topic_settings(config: &Config) -> TopicSettings {
    TopicSettings {
        broker_name: config.broker_name.as_str().into(),
        cluster_name: config.broker_cluster_name.as_str().into(),
        auto_create: config.auto_create_topic_enable,
        template_queues: i32::try_from(config.default_topic_queue_nums).unwrap_or(i32::MAX),
        cluster_topic: config.cluster_topic_enable,
        broker_topic: config.broker_topic_enable,
        trace_topic: config.trace_topic_enable.then(|| config.msg_trace_topic_name.as_str().into()),
        delay_levels: i32::try_from(config.message_delay_level.delays_ms().len()).unwrap_or(i32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use protocol::record::RecordDraft;
    use store::sim_medium::SimMedium;
    use store::{IndexShape, RealMedium, StoreConfig};

    use super::*;
    use crate::broker::persist_ops::PersistOp;

    fn directory(name: &str) -> std::path::PathBuf {
        let dir = std::env::temp_dir().join(format!("ab-tables-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// Goal: a topic whose entry was lost with a kill comes back, and one that was deleted does not. Method: messages
    /// in two topics that no table has; the table's version lies between their times.
    #[test]
    fn topics_lost_with_a_kill_come_back() {
        let medium: Arc<dyn Medium> = Arc::new(SimMedium::new(7));
        let mut settings = StoreConfig::new("/store");
        settings.commitlog_file_bytes = 8 << 20;
        settings.hot_bytes = 24 << 20;
        settings.hot_segments = 4;
        settings.index_shape = IndexShape { slots: 64, entries: 2_000 };
        let (mut store, _cold, _) = store::open(settings.clone(), Arc::clone(&medium)).unwrap();
        for (topic, queue_id, stored_ms) in
            [("Deleted", 0, 1_000), ("Lost", 5, 3_000), ("%RETRY%G", 0, 3_000)]
        {
            let host = "127.0.0.1:1".parse().unwrap();
            let draft = RecordDraft::plain(topic.as_bytes(), queue_id, host, b"b");
            let queue = store.queue(topic, queue_id);
            store.append(queue, &draft, 0, stored_ms).unwrap();
        }
        drop((store, _cold));
        let (_store, cold, found) = store::open(settings, medium).unwrap();
        let config = Config { broker_name: "b".into(), ..Config::default() };
        let mut loaded = start(&config, &Mirror::default(), 9_000);
        let mut reader = cold.new_reader();
        assert_eq!(bring_back(&mut loaded, 2_000, &found.queues, &mut reader, 9_000).unwrap(), 2);
        let queues = |topic: &str| loaded.topics.config(topic).map(|config| config.read_queue_nums);
        assert_eq!((queues("Lost"), queues("%RETRY%G"), queues("Deleted")), (Some(6), Some(1), None));
    }

    /// Goal: what is written is what the next start finds. Method: through real files, twice, and once through a `.bak`.
    #[test]
    fn tables_survive_a_restart() {
        let dir = directory("restart");
        let medium = RealMedium::new();
        let config = Config { broker_name: "b".into(), ..Config::default() };
        let mut mirror = load(&medium, &dir).unwrap();
        let mut first = start(&config, &mirror, 1_000);
        assert!(first.topics.find("TBW102").is_some());
        first.topics.put(TopicConfig::new("T", 4, 6), 2_000, &mut first.ops);
        first.ops.push(PersistOp::OffsetCommitted {
            group: "G".into(),
            topic: "T".into(),
            queue_id: 1,
            offset: 9,
        });
        first.ops.push(PersistOp::DelayOffset { level: 3, offset: 5 });
        while let Some(op) = first.ops.pop() {
            mirror.apply(op);
        }
        for file in ConfigFile::ALL {
            let text = mirror.take_text(file, 3_000);
            for _ in 0..2 {
                config_files::replace(&medium, &dir.join(file.name()), text.as_bytes()).unwrap();
            }
        }
        std::fs::write(dir.join("topics.json"), b"{\"dataVersion\":").unwrap();
        let again = start(&config, &load(&medium, &dir).unwrap(), 4_000);
        assert_eq!(again.topics.config("T").unwrap().read_queue_nums, 4);
        assert_eq!(again.topics.version(), first.topics.version());
        assert_eq!(again.groups.version(), first.groups.version());
        assert_eq!(again.offsets.committed("G", "T", 1), Some(9));
        assert_eq!(again.delay_offsets, [(3, 5)]);
        assert!(again.ops.is_empty(), "nothing was missing the second time");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    /// Goal: a number that would be walked through 2^31 times stops the start, with words that say where it is and what to do; the largest
    /// that may be does not. Method: files as they might lie there, each field in turn.
    #[test]
    fn numbers_out_of_range_stop_the_start() {
        let medium = SimMedium::new(1);
        let dir = Path::new("/config");
        medium.create_dir(dir).unwrap();
        let check_with = |file: &str, text: String| {
            config_files::replace(&medium, &dir.join(file), text.as_bytes()).unwrap();
            check(&load(&medium, dir).unwrap())
        };
        for (field, other) in [("readQueueNums", "writeQueueNums"), ("writeQueueNums", "readQueueNums")] {
            let topics = |queues: i64| {
                let topic = format!(r#"{{"topicName":"T","{field}":{queues},"{other}":8}}"#);
                check_with("topics.json", format!(r#"{{"topicConfigTable":{{"T":{topic}}}}}"#))
            };
            for wrong in [i64::from(i32::MAX), 65_536, -1] {
                let said = topics(wrong).unwrap_err().to_string();
                let wanted = format!(
                    r#"topics.json: the topic "T" has {field} {wrong}, where 0 to 65535 are possible; correct the number"#
                );
                assert!(said.starts_with(&wanted), "{said}");
            }
            assert_eq!(topics(65_535), Ok(()));
        }
        let groups = |queues: i64| {
            let group = format!(r#"{{"groupName":"G","retryQueueNums":{queues}}}"#);
            check_with("subscriptionGroup.json", format!(r#"{{"subscriptionGroupTable":{{"G":{group}}}}}"#))
        };
        let said = groups(i64::from(i32::MAX)).unwrap_err().to_string();
        let wanted = r#"subscriptionGroup.json: the group "G" has retryQueueNums 2147483647, where"#;
        assert!(said.starts_with(wanted), "{said}");
        assert_eq!(groups(65_535), Ok(()));
    }

    /// Goal: what a hand or a newer broker has written and this one cannot take stops the start with words that say where it is: neither is it
    /// passed over with all that stands beside it, nor is the version before taken in its place. Method: values that no table can have, in
    /// each file, over a good version; unknown fields beside them are no matter.
    #[test]
    fn what_no_table_can_have_stops_the_start() {
        let topics = |topic: &str| format!(r#"{{"topicConfigTable":{{"T":{{"topicName":"T",{topic}}}}}}}"#);
        let groups =
            |group: &str| format!(r#"{{"subscriptionGroupTable":{{"G":{{"groupName":"G",{group}}}}}}}"#);
        let smaller = "a smaller number before what is expected at byte ";
        let files = [
            (ConfigFile::Topics, topics(r#""readQueueNums":2147483648"#), smaller),
            (ConfigFile::Topics, topics(r#""topicSysFlag": 4294967296"#), smaller),
            (ConfigFile::Topics, topics(r#""perm":99999999999999999999"#), "a smaller number before what is"),
            (ConfigFile::Topics, topics(r#""order":7"#), "a boolean before what is"),
            (ConfigFile::Topics, topics(r#""topicFilterType":"NEW_TAG""#), "no TopicFilterType is named"),
            (ConfigFile::Topics, topics(r#""attributes":[1]"#), "an object expected"),
            (ConfigFile::SubscriptionGroups, groups(r#""brokerId":[]"#), "a value expected"),
            (ConfigFile::SubscriptionGroups, groups(r#""retryMaxTimes":2147483648"#), "a smaller number"),
            (ConfigFile::ConsumerOffsets, r#"{"offsetTable":{"T@G":{"first":1}}}"#.into(), "a number before"),
            (ConfigFile::DelayOffsets, r#"{"offsetTable":{2147483648:1}}"#.into(), "a smaller number"),
        ];
        let (mut older, config) = (filled(1), Config { broker_name: "b".into(), ..Config::default() });
        for (file, text, wanted) in files {
            let (medium, dir) = (SimMedium::new(1), Path::new("/config"));
            medium.create_dir(dir).unwrap();
            let path = dir.join(file.name());
            config_files::replace(&medium, &path, older.take_text(file, 9_000).as_bytes()).unwrap();
            config_files::replace(&medium, &path, text.as_bytes()).unwrap();
            let Err(error) = load(&medium, dir) else { panic!("{text} was passed over") };
            let said = error.to_string();
            assert!(said.starts_with(&format!("{}: {wanted}", file.name())), "{said}");
            assert!(said.contains("correct that place"), "{said}");
        }
        let (medium, dir) = (SimMedium::new(1), Path::new("/config"));
        medium.create_dir(dir).unwrap();
        let newer = topics(r#""order":"true","newField":{"deep":[99999999999]},"readQueueNums":"9""#);
        config_files::replace(&medium, &dir.join("topics.json"), newer.as_bytes()).unwrap();
        let tables = start(&config, &load(&medium, dir).unwrap(), 1);
        assert_eq!(
            tables.topics.config("T").map(|topic| (topic.order, topic.read_queue_nums)),
            Some((true, 9))
        );
    }

    /// D-8. Goal: each of the four files, damaged in any way, falls back to its `.bak`, and what the damaged one held last is all that is
    /// lost. Method: two versions of each; the newer one cut at every length, made garbage of several kinds, removed; then both.
    #[test]
    fn every_damaged_file_falls_back() {
        let medium = SimMedium::new(1);
        let dir = Path::new("/config");
        medium.create_dir(dir).unwrap();
        let (mut older, mut newer) = (filled(1), filled(2));
        for file in ConfigFile::ALL {
            let texts = [&mut older, &mut newer].map(|mirror| mirror.take_text(file, 9_000));
            assert_ne!(texts[0], texts[1]);
            let path = dir.join(file.name());
            for text in &texts {
                config_files::replace(&medium, &path, text.as_bytes()).unwrap();
            }
            let text_read = || load(&medium, dir).unwrap().take_text(file, 9_000);
            assert_eq!(text_read(), texts[1]);
            let bytes = texts[1].as_bytes();
            let cut = (0..bytes.len()).map(|len| bytes[..len].to_vec());
            let garbage =
                [b"[]".to_vec(), b"null x".to_vec(), vec![0; bytes.len()], vec![0xFF; 9], b"<a/>".to_vec()];
            for damaged in cut.chain(garbage) {
                let damage = medium.create(&path, damaged.len() as u64).unwrap();
                damage.write_at(0, &damaged).unwrap();
                let read = text_read();
                assert_eq!(read, texts[0], "{} as {:?}", file.name(), String::from_utf8_lossy(&damaged));
            }
            medium.remove(&path).unwrap();
            assert_eq!(text_read(), texts[0], "{} removed", file.name());
            let mut bak = path.clone().into_os_string();
            bak.push(".bak");
            medium.create(Path::new(&bak), 0).unwrap();
            assert_eq!(text_read(), Mirror::default().take_text(file, 9_000), "nothing was in it");
            medium.create(Path::new(&bak), 5).unwrap();
            let said = load(&medium, dir).unwrap_err().to_string();
            let wanted =
                format!("{0}: neither it nor {0}.bak can be read; bring one of them back", file.name());
            assert!(said.starts_with(&wanted), "{said}");
            config_files::replace(&medium, &path, bytes).unwrap();
        }
    }

    /// Tables with a row in each, all of which tell the version.
    fn filled(version: i64) -> Mirror {
        let config = Config { broker_name: "b".into(), ..Config::default() };
        let mut mirror = Mirror::default();
        let mut tables = start(&config, &mirror, 1_000 * version);
        let number = version as i32;
        tables.topics.put(TopicConfig::new("T", number, 6), 2_000 * version, &mut tables.ops);
        let (group, topic) = ("G".into(), "T".into());
        tables.ops.push(PersistOp::OffsetCommitted { group, topic, queue_id: 1, offset: version });
        tables.ops.push(PersistOp::DelayOffset { level: 3, offset: version });
        while let Some(op) = tables.ops.pop() {
            mirror.apply(op);
        }
        mirror
    }

    /// Goal: files of the official broker are understood. Method: its forms, bare keys and a proxy's offset included.
    #[test]
    fn files_of_the_official_broker_are_read() {
        let dir = directory("official");
        let files = [
            (
                "consumerOffset.json",
                "{\n\t\"offsetTable\":{\n\t\t\"T@G\":{0:2,1:3\n\t\t},\"T@G@broadcast\":{0:7}\n\t}\n}",
            ),
            ("delayOffset.json", "{\n\t\"offsetTable\":{\n\t\t1:4,\n\t\t3:1\n\t}\n}"),
        ];
        for (name, text) in files {
            std::fs::write(dir.join(name), text).unwrap();
        }
        let mirror = load(&RealMedium::new(), &dir).unwrap();
        let tables = start(&Config { broker_name: "b".into(), ..Config::default() }, &mirror, 1);
        assert_eq!(tables.offsets.committed("G", "T", 1), Some(3));
        assert_eq!(tables.offsets.committed("G@broadcast", "T", 0), Some(7));
        assert_eq!(tables.delay_offsets, [(1, 4), (3, 1)]);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
