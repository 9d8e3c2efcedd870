//! A store on the simulated medium, and an oracle that knows every acknowledged message.
#![allow(clippy::unwrap_used)] // Tests: the helpers too.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use protocol::batch::{self, BatchMessage};
use protocol::properties;
use protocol::record::{RecordDraft, RecordView};
use store::sim_medium::SimMedium;
use store::{
    AppendError, BatchAppendError, ColdStore, IndexShape, KeyKind, KeyQuery, MediumError, PhysicalOffset,
    PullLimits, QueueOffset, Recovery, Store, StoreConfig, StoreError, UnitAt, Work,
};

pub const TOPICS: [(&str, i32); 4] = [("TopicA", 0), ("TopicA", 1), ("%RETRY%group", 0), ("T|b-2", 3)];
pub const HOSTS: [&str; 2] = ["10.0.0.1:4321", "[2001:db8::1]:99"];

/// Small enough that files roll, segments are recycled and units leave the hot window within a few hundred messages.
pub fn small_config() -> StoreConfig {
    StoreConfig {
        commitlog_file_bytes: 64 << 10,
        consumequeue_file_bytes: 20 * 50,
        hot_bytes: 3 * (32 << 10),
        hot_segments: 3,
        unit_bytes: Some(0),
        direct_bytes_min: 2_000, // Some writes go each way.
        ahead_bytes_min: 6_000,
        index_shape: IndexShape { slots: 16, entries: 150 },
        index_piece_bytes: 4096,
        ..StoreConfig::new("/store")
    }
}

/// What a test knows of a message that was acknowledged.
#[derive(Clone, Debug)]
pub struct Kept {
    pub physical: PhysicalOffset,
    pub size: u32,
    pub tags_code: i64,
    pub body: Vec<u8>,
    /// Empty: none.
    pub key: String,
    pub stored_ms: i64,
}

pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mixed = (self.0 ^ (self.0 >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed >> 11) % below.max(1)
    }
}

pub struct World {
    pub medium: SimMedium,
    pub config: StoreConfig,
    pub random: Random,
    pub now_ms: i64,
    /// Acknowledged messages of each queue of `TOPICS`, by queue offset.
    pub kept: [Vec<Kept>; TOPICS.len()],
    pub running: Option<(Store, ColdStore)>,
    /// The shard's half, while the cold half is at work and the shard goes on.
    alone: Option<Store>,
    /// Appends that the shard makes while the cold half waits for one call to its medium: at most so many.
    pub appends_meanwhile: u64,
    /// All messages have bodies of this length and records of one size, so that old bytes lie where new ones would.
    pub uniform: Option<u64>,
    places: Vec<PhysicalOffset>,
}

impl World {
    pub fn new(seed: u64, config: StoreConfig) -> Self {
        Self {
            medium: SimMedium::new(seed),
            config,
            random: Random(seed),
            now_ms: 1_700_000_000_000,
            kept: Default::default(),
            running: None,
            alone: None,
            appends_meanwhile: 0,
            uniform: None,
            places: Vec::new(),
        }
    }

    /// A new one that has lived a little.
    #[allow(dead_code)] // Not every test has one.
    pub fn lived(seed: u64, config: StoreConfig, acts: u64) -> Self {
        let mut world = Self::new(seed, config);
        world.open().unwrap();
        world.live(acts);
        world
    }

    /// `None`: killed meanwhile, or refused because of a fault of the medium.
    pub fn open(&mut self) -> Option<Recovery> {
        match store::open(self.config.clone(), Arc::new(self.medium.clone())) {
            Ok((store, cold, recovery)) => {
                self.running = Some((store, cold));
                Some(recovery)
            }
            Err(StoreError::Medium(source) | StoreError::HotLog { source }) if is_fault(&source) => None,
            Err(error) if self.medium.is_killed() => {
                assert!(error.to_string().contains("killed"), "{error}");
                None
            }
            Err(error) => panic!("cannot open: {error}"),
        }
    }

    /// So many random things, or those before it is killed.
    #[allow(dead_code)] // Not every test lives without looking.
    pub fn live(&mut self, acts: u64) {
        for _ in 0..acts {
            if self.medium.is_killed() {
                break;
            }
            self.act();
        }
    }

    /// One random thing: mostly an append, sometimes a batch, a step, a pause.
    pub fn act(&mut self) {
        match self.random.below(12) {
            7 if self.uniform.is_some() => self.append(),
            0..7 => self.append(),
            7 => self.append_batch(),
            8 => self.now_ms += self.random.below(700) as i64,
            _ => self.step(),
        }
    }

    pub fn append(&mut self) {
        let queues = if self.uniform.is_some() { 2 } else { TOPICS.len() as u64 };
        let queue = self.random.below(queues) as usize;
        let body = self.body();
        let tag = if self.uniform.is_some() {
            "TagA"
        } else {
            ["", "TagA", "中文"][self.random.below(3) as usize]
        };
        let mut properties = Vec::new();
        if !tag.is_empty() {
            properties::push(&mut properties, "TAGS", tag.as_bytes());
        }
        let (mut key, stored_ms) = (String::new(), self.now_ms);
        if self.uniform.is_some() || self.random.below(4) > 0 {
            key = format!("key{:013}", self.random.below(1 << 40));
            properties::push(&mut properties, "KEYS", format!("some {key}").as_bytes());
        }
        let hosts = [self.host(), self.host()];
        let store = match (&mut self.alone, &mut self.running) {
            (Some(store), _) | (None, Some((store, _))) => store,
            (None, None) => return,
        };
        let (topic, queue_id) = TOPICS[queue];
        let index = store.queue(topic, queue_id);
        let draft = draft(topic, queue_id, &body, &properties, hosts);
        let tags_code = properties::tags_code(&properties);
        let may_refuse = !store.has_room(draft.encoded_len());
        match store.append(index, &draft, tags_code, self.now_ms) {
            Ok(appended) => {
                assert_eq!(appended.queue_offset.0, self.kept[queue].len() as i64);
                let (physical, size) = (appended.physical, appended.size);
                self.kept[queue].push(Kept { physical, size, tags_code, body, key, stored_ms });
            }
            Err(AppendError::NoRoom) => assert!(may_refuse),
            Err(AppendError::DiskFull) => assert!(store.is_disk_full()),
            Err(AppendError::ReadOnly) => assert!(store.is_read_only()),
            Err(error) => panic!("{error}"),
        }
    }

    pub fn append_batch(&mut self) {
        let queue = self.random.below(TOPICS.len() as u64) as usize;
        let count = 1 + self.random.below(5);
        let bodies: Vec<Vec<u8>> = (0..count).map(|_| self.body()).collect();
        let mut batch = Vec::new();
        for body in &bodies {
            batch::push(&mut batch, &BatchMessage { flag: 3, body, properties: b"TAGS\x01b\x02" });
        }
        let hosts = [self.host(), self.host()];
        let Some((store, _)) = &mut self.running else { return };
        let (topic, queue_id) = TOPICS[queue];
        let index = store.queue(topic, queue_id);
        let common = draft(topic, queue_id, b"", b"", hosts);
        match store.append_batch(index, &common, batch::iter(&batch), self.now_ms, &mut self.places) {
            Ok(appended) => {
                assert_eq!(appended.first_offset.0, self.kept[queue].len() as i64);
                assert_eq!(appended.count, bodies.len());
                let mut ends = self.places[1..].iter().copied().chain([appended.end()]);
                for (body, physical) in bodies.into_iter().zip(&self.places) {
                    let size = ends.next().unwrap().since(*physical) as u32;
                    let (key, stored_ms) = (String::new(), self.now_ms);
                    let physical = *physical;
                    self.kept[queue].push(Kept { physical, size, tags_code: 98, body, key, stored_ms });
                }
            }
            Err(BatchAppendError::Append(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }

    pub fn step(&mut self) {
        self.now_ms += self.random.below(30) as i64;
        let now_ms = self.now_ms;
        if self.appends_meanwhile > 0 {
            return self.meanwhile(|cold| work(cold, now_ms));
        }
        if let Some((_, cold)) = &mut self.running {
            work(cold, now_ms);
        }
    }

    /// Lets the cold half work while the shard goes on: within every call to the medium it appends a few times.
    pub fn meanwhile(&mut self, work: impl FnOnce(&mut ColdStore)) {
        let Some((store, mut cold)) = self.running.take() else { return };
        let medium = self.medium.clone();
        self.alone = Some(store);
        let blank = World::new(0, self.config.clone());
        let shard = Arc::new(Mutex::new(std::mem::replace(self, blank)));
        let appending = Arc::clone(&shard);
        medium.set_meanwhile(Some(Box::new(move |ms| {
            let mut world = appending.lock().unwrap();
            let most = world.appends_meanwhile;
            world.now_ms += ms as i64;
            for _ in 0..world.random.below(most + 1) + ms / 10 {
                world.append();
            }
        })));
        work(&mut cold);
        medium.set_meanwhile(None);
        *self = Arc::into_inner(shard).expect("the medium has let go of it").into_inner().unwrap();
        self.running = self.alone.take().map(|store| (store, cold));
    }

    /// The process is gone, whatever it was doing.
    #[allow(dead_code)] // Not every test kills.
    pub fn kill(&mut self) {
        self.running = None;
        self.medium.restart();
    }

    /// The process is gone, and with the power all that had not reached the disk.
    #[allow(dead_code)] // Not every test kills.
    pub fn kill_or_cut(&mut self, power: bool) {
        if power {
            self.running = None;
            self.medium.power_cut();
        } else {
            self.kill();
        }
    }

    #[allow(dead_code)] // Not every test stops cleanly this way.
    pub fn close(&mut self) {
        let (store, cold) = self.running.take().expect("running");
        drop(store);
        cold.close(self.now_ms).unwrap();
    }

    #[allow(dead_code)] // Not every test does either.
    pub fn stop(&mut self, is_clean: bool) {
        if is_clean { self.close() } else { self.kill() }
    }

    /// How many messages each queue of `TOPICS` has.
    #[allow(dead_code)] // Not every test loses some.
    pub fn ends(&self) -> [usize; TOPICS.len()] {
        let (store, _) = self.running.as_ref().expect("running");
        TOPICS.map(|(topic, queue_id)| {
            store.find_queue(topic, queue_id).map_or(0, |index| store.offsets(index).end.0 as usize)
        })
    }

    /// Every acknowledged message is there, at its offset, with its bytes, and nothing else is: from the hot half where
    /// it says hot, else from the cold half, pulled in pieces.
    pub fn check(&mut self) {
        let (store, cold) = self.running.as_mut().expect("running");
        store.take_news();
        let log_min = store.min_physical();
        for (kept, (topic, queue_id)) in self.kept.iter().zip(TOPICS) {
            let Some(index) = store.find_queue(topic, queue_id) else {
                assert!(kept.is_empty(), "{topic} {queue_id} is gone");
                continue;
            };
            let first = kept.iter().filter(|kept| kept.physical < log_min).count();
            assert_eq!(
                store.offsets(index),
                QueueOffset(first as i64)..QueueOffset(kept.len() as i64),
                "{topic} {queue_id}"
            );
            let end = QueueOffset(kept.len() as i64);
            let mut offset = first;
            while offset < kept.len() {
                match store.unit(index, QueueOffset(offset as i64)) {
                    UnitAt::Hot(unit) => {
                        let expected = &kept[offset];
                        assert_eq!((unit.physical, unit.size), (expected.physical, expected.size));
                        assert_eq!(unit.tags_code, expected.tags_code);
                        match store.bytes(unit.physical, unit.size) {
                            Some(bytes) => check_record(bytes, expected, offset),
                            None => {
                                let bytes =
                                    cold.reader().read_record(unit.physical).unwrap().expect("on disk");
                                check_record(&bytes, expected, offset);
                            }
                        }
                        offset += 1;
                    }
                    UnitAt::NotHot => {
                        let limits = PullLimits {
                            messages: 7,
                            bytes: 20_000,
                            entries: 100,
                            shares: offset % 2 == 1,
                            ..PullLimits::default()
                        };
                        let mut codes = Vec::new();
                        let from = QueueOffset(offset as i64);
                        let pull = cold
                            .reader()
                            .read_pull(topic, queue_id, from..end, &limits, &mut |code| {
                                codes.push(code);
                                true
                            })
                            .unwrap();
                        assert_eq!(
                            pull.passed_over, 0,
                            "{topic} {queue_id} from {offset}: {:?}",
                            kept[offset]
                        );
                        assert!(pull.messages > 0, "{topic} {queue_id} has a hole at {offset}");
                        let bytes = [pull.bytes, pull.shared.to_vec()].concat();
                        let mut rest = &bytes[..];
                        for code in &codes[..pull.messages as usize] {
                            let size = kept[offset].size as usize;
                            assert_eq!(*code, kept[offset].tags_code, "{topic} {queue_id} at {offset}");
                            check_record(&rest[..size], &kept[offset], offset);
                            rest = &rest[size..];
                            offset += 1;
                        }
                        assert!(rest.is_empty());
                        assert_eq!(pull.next.0, offset as i64);
                    }
                    UnitAt::None => panic!("{topic} {queue_id} ends at {offset}"),
                }
            }
            assert_eq!(store.unit(index, end), UnitAt::None);
        }
        self.check_index();
    }

    #[allow(dead_code)] // Not every test kills.
    pub fn check_over_a_kill(&mut self) {
        self.check();
        self.kill();
        self.open().unwrap();
        self.check();
    }

    /// D-10. Every message is found by its key, and by its tag in the right order; nothing else is.
    pub fn check_index(&mut self) {
        let now_ms = self.now_ms;
        let (_, cold) = self.running.as_mut().expect("running");
        if cold.failure().is_some() {
            return;
        }
        cold.catch_up(now_ms);
        self.now_ms += 600; // Under ASYNC_FLUSH too.
        while matches!(cold.step(self.now_ms), Work::Did { .. }) {}
        let log_min = cold.min_physical();
        for (kept, (topic, _)) in self.kept.iter().zip(TOPICS) {
            for one in kept.iter().filter(|kept| !kept.key.is_empty()) {
                // Times in an index are whole seconds.
                let (begin, end) = (one.stored_ms - 2_000, one.stored_ms + 1_000);
                let query = KeyQuery { topic, key: &one.key, kind: KeyKind::Key, max: 9, begin, end };
                let found = cold.reader().find_by_key(&query, 1 << 20).unwrap();
                assert_eq!(
                    found.messages,
                    u32::from(one.physical >= log_min),
                    "{topic} {} at {}",
                    one.key,
                    one.physical
                );
                if found.messages == 0 {
                    continue;
                }
                check_record_of_key(&found.bytes, one);
            }
        }
        let of_topic: Vec<_> = self
            .kept
            .iter()
            .zip(TOPICS)
            .filter(|(_, name)| name.0 == "TopicA")
            .flat_map(|(kept, _)| kept)
            .collect();
        let query = KeyQuery {
            topic: "TopicA",
            key: "TagA",
            kind: KeyKind::Tag,
            max: usize::MAX,
            begin: 0,
            end: i64::MAX,
        };
        let found = cold.reader().find_by_key(&query, usize::MAX).unwrap();
        let mut expected: Vec<_> = of_topic
            .iter()
            .filter(|kept| kept.physical >= log_min)
            .filter(|kept| kept.tags_code == properties::tags_code(b"TAGS\x01TagA\x02"))
            .map(|kept| kept.physical.0)
            .collect();
        expected.sort_by_key(|physical| -physical);
        let mut places = Vec::new();
        let mut rest = &found.bytes[..];
        while !rest.is_empty() {
            let size = u32::from_be_bytes(*rest.first_chunk().unwrap()) as usize;
            places.push(RecordView::parse(&rest[..size]).unwrap().physical_offset);
            rest = &rest[size..];
        }
        places.dedup(); // What a kill had indexed twice.
        assert_eq!(places, expected);
    }

    fn body(&mut self) -> Vec<u8> {
        let len = if let Some(len) = self.uniform {
            len
        } else if self.random.below(20) == 0 {
            self.random.below(20_000)
        } else {
            self.random.below(400)
        };
        let first = self.random.below(256) as u8;
        (0..len).map(|at| first.wrapping_add(at as u8)).collect()
    }

    fn host(&mut self) -> SocketAddr {
        HOSTS[usize::from(self.uniform.is_none() && self.random.below(8) == 0)].parse().unwrap()
    }
}

/// Whether the medium was told to fail with this.
fn is_fault(error: &MediumError) -> bool {
    error.source.to_string() == "broken" || error.is_no_space()
}

/// What the cold threads do.
fn work(cold: &mut ColdStore, now_ms: i64) {
    cold.step(now_ms);
    if let (Some(writers), 0) = (cold.writers(), now_ms % 3) {
        writers.step(now_ms % 2 == 0);
    }
    if let (Some(writers), 0) = (cold.index_writers(), now_ms % 4) {
        writers.step(now_ms % 8 == 0);
    }
    if let Some(ground) = cold.ground() {
        ground.step();
    }
}

fn check_record_of_key(bytes: &[u8], expected: &Kept) {
    let view = RecordView::parse(bytes).unwrap();
    assert_eq!((view.body, view.physical_offset), (&expected.body[..], expected.physical.0));
}

fn check_record(bytes: &[u8], expected: &Kept, offset: usize) {
    let view = RecordView::parse(bytes).unwrap();
    assert!(view.crc_holds());
    assert_eq!(view.body, expected.body);
    assert_eq!(view.queue_offset, offset as i64);
    assert_eq!(view.physical_offset, expected.physical.0);
    assert_eq!(view.size(), expected.size);
}

pub fn draft<'a>(
    topic: &'a str,
    queue_id: i32,
    body: &'a [u8],
    properties: &'a [u8],
    [born_host, store_host]: [SocketAddr; 2],
) -> RecordDraft<'a> {
    RecordDraft {
        born_timestamp: 1,
        store_host,
        properties,
        ..RecordDraft::plain(topic.as_bytes(), queue_id, born_host, body)
    }
}

/// The commitlog files in order.
#[allow(dead_code)]
pub fn log_files(medium: &SimMedium) -> Vec<std::path::PathBuf> {
    medium.paths().into_iter().filter(|path| path.starts_with(Path::new("/store/commitlog"))).collect()
}
