//! One topic's route, as a producer and as a consumer see it, and the table of brokers that all routes feed.
//!
//! ```text
//! queueDatas  --writable, broker has a master-->  publish: 0..writeQueueNums of each broker
//!             --readable-->                       readable: 0..readQueueNums of each broker
//! orderTopicConf "a:4;b:4", when there  ------->  publish, instead
//! ```

use super::links::Addr;
use crate::message::MessageQueue;
use protocol::body::{BrokerData, MASTER_ID, PERM_READ, PERM_WRITE, TopicRouteData};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    pub publish: Vec<MessageQueue>,
    pub readable: Vec<MessageQueue>,
    /// Broker name → broker id → address.
    pub brokers: BTreeMap<Arc<str>, BTreeMap<i64, Addr>>,
    /// Made from the template topic's route, because nobody has created this topic yet.
    pub is_borrowed: bool,
}

impl Route {
    /// `queues_max` bounds the queues of a route borrowed from the template topic.
    pub fn new(topic: &str, data: &TopicRouteData, queues_max: Option<i32>) -> Route {
        let brokers: BTreeMap<Arc<str>, BTreeMap<i64, Addr>> = data
            .broker_datas
            .iter()
            .map(|broker| (Arc::from(broker.broker_name.as_str()), addresses(broker)))
            .collect();
        let mut route = Route { brokers, is_borrowed: queues_max.is_some(), ..Route::default() };
        let topic: Arc<str> = Arc::from(topic);
        let cap = |count: i32| queues_max.map_or(count, |max| count.min(max));
        for data in &data.queue_datas {
            let Some((broker, addrs)) = route.brokers.get_key_value(data.broker_name.as_str()) else {
                continue;
            };
            let queues = |count: i32| {
                (0..cap(count)).map(|queue_id| MessageQueue {
                    topic: topic.clone(),
                    broker_name: broker.clone(),
                    queue_id,
                })
            };
            if data.perm & PERM_WRITE != 0 && addrs.contains_key(&MASTER_ID) {
                let room = QUEUES_MAX - route.publish.len();
                route.publish.extend(queues(data.write_queue_nums).take(room));
            }
            if data.perm & PERM_READ != 0 {
                let room = QUEUES_MAX - route.readable.len();
                route.readable.extend(queues(data.read_queue_nums).take(room));
            }
        }
        if let Some(order) = data.order_topic_conf.as_deref().filter(|order| !order.is_empty()) {
            route.publish = ordered(&topic, order);
        }
        if route.publish.len().max(route.readable.len()) == QUEUES_MAX {
            log::error!(
                "topic {topic} is said to have {QUEUES_MAX} queues or more: no more than that are used"
            );
        }
        route.publish.sort();
        route.readable.sort();
        route
    }
}

fn addresses(broker: &BrokerData) -> BTreeMap<i64, Addr> {
    broker.broker_addrs.iter().map(|(id, addr)| (*id, Arc::from(addr.as_str()))).collect()
}

/// `broker:queues;broker:queues`; what does not read as that is passed over.
fn ordered(topic: &Arc<str>, order: &str) -> Vec<MessageQueue> {
    let parts = order.split(';').filter_map(|part| {
        let (broker, count) = part.split_once(':')?;
        Some((Arc::<str>::from(broker), count.trim().parse::<i32>().ok()?))
    });
    let queue = |broker: &Arc<str>, queue_id| MessageQueue {
        topic: topic.clone(),
        broker_name: broker.clone(),
        queue_id,
    };
    parts.flat_map(|(broker, count)| (0..count).map(move |id| queue(&broker, id))).take(QUEUES_MAX).collect()
}

/// Where brokers are, and which version each said it is.
#[derive(Debug, Default)]
pub struct Brokers {
    addrs: BTreeMap<Arc<str>, BTreeMap<i64, Addr>>,
    versions: HashMap<Addr, i32>,
}

impl Brokers {
    /// A route came in: its brokers are where it says they are.
    pub fn learn(&mut self, route: &Route) {
        for (name, addrs) in &route.brokers {
            self.addrs.insert(name.clone(), addrs.clone());
        }
    }

    pub fn master(&self, name: &str) -> Option<&Addr> {
        self.addrs.get(name)?.get(&MASTER_ID)
    }

    /// The broker of this id, else the next one of that name, else any of them; with whether it is a slave.
    pub fn to_pull_from(&self, name: &str, id: i64) -> Option<(&Addr, bool)> {
        let addrs = self.addrs.get(name)?;
        let found = addrs
            .get_key_value(&id)
            .or_else(|| addrs.get_key_value(&id.saturating_add(1)))
            .or_else(|| addrs.iter().next());
        found.map(|(id, addr)| (addr, *id != MASTER_ID))
    }

    /// Every known broker process: name, id, address.
    pub fn all(&self) -> impl Iterator<Item = (&Arc<str>, i64, &Addr)> {
        self.addrs.iter().flat_map(|(name, addrs)| addrs.iter().map(move |(id, addr)| (name, *id, addr)))
    }

    pub fn name_of(&self, addr: &str) -> Option<(&Arc<str>, i64)> {
        self.all().find(|(_, _, known)| &***known == addr).map(|(name, id, _)| (name, id))
    }

    /// Drops the addresses that no route names any more.
    pub fn keep_only(&mut self, in_routes: &BTreeSet<Addr>) {
        for addrs in self.addrs.values_mut() {
            addrs.retain(|_, addr| in_routes.contains(addr));
        }
        self.addrs.retain(|_, addrs| !addrs.is_empty());
        self.versions.retain(|addr, _| in_routes.contains(addr));
    }

    pub fn set_version(&mut self, addr: &Addr, version: i32) {
        self.versions.insert(addr.clone(), version);
    }

    /// What the broker said in its last heartbeat answer.
    pub fn version(&self, addr: &str) -> Option<i32> {
        self.versions.get(addr).copied()
    }
}

/// Queues of one topic that are believed in; the official console makes a few thousand at most.
pub(crate) const QUEUES_MAX: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::route_data;

    fn ids(queues: &[MessageQueue]) -> Vec<(&str, i32)> {
        queues.iter().map(|queue| (&*queue.broker_name, queue.queue_id)).collect()
    }

    /// Goal: permissions and the lack of a master decide what a queue is good for.
    #[test]
    fn queues_are_sorted_by_what_they_are_good_for() {
        let data = route_data(&[
            ("b", &[(0, "b:1")], 6, 2, 1),
            ("a", &[(0, "a:1"), (1, "a:2")], 4, 1, 4),
            ("c", &[(1, "c:2")], 6, 1, 1),
        ]);
        let route = Route::new("T", &data, None);
        assert_eq!(ids(&route.publish), [("b", 0), ("b", 1)]);
        assert_eq!(ids(&route.readable), [("a", 0), ("a", 1), ("a", 2), ("a", 3), ("b", 0), ("c", 0)]);
    }

    /// Goal: a borrowed route has no more queues than the topic will be created with.
    #[test]
    fn a_borrowed_route_is_capped() {
        let data = route_data(&[("a", &[(0, "a:1")], 7, 8, 8)]);
        let route = Route::new("T", &data, Some(4));
        assert_eq!((route.publish.len(), route.readable.len()), (4, 4));
        assert!(route.is_borrowed);
        assert_eq!(&*route.publish[0].topic, "T");
    }

    /// Goal: an order configuration replaces what the queue data says; an empty one does not.
    #[test]
    fn an_order_configuration_wins() {
        let mut data = route_data(&[("a", &[(0, "a:1")], 6, 8, 8)]);
        data.order_topic_conf = Some("a:2;b:1;nonsense".to_owned());
        assert_eq!(ids(&Route::new("T", &data, None).publish), [("a", 0), ("a", 1), ("b", 0)]);
        data.order_topic_conf = Some(String::new());
        assert_eq!(Route::new("T", &data, None).publish.len(), 8);
    }

    /// Goal: counts of queues that no broker has make no more queues than a topic may have. Method: every way to name a
    /// count, with the greatest, the smallest and many together.
    #[test]
    fn absurd_counts_are_bounded() {
        for count in [0, -1, i32::MIN] {
            let route = Route::new("T", &route_data(&[("a", &[(0, "a:1")], 6, count, count)]), None);
            assert!(route.publish.is_empty() && route.readable.is_empty());
        }
        let row: crate::core::testing::BrokerRow<'_> = ("a", &[(0, "a:1")], 6, i32::MAX, i32::MAX);
        let mut data = route_data(&[row; 3]);
        let route = Route::new("T", &data, None);
        assert_eq!((route.publish.len(), route.readable.len()), (QUEUES_MAX, QUEUES_MAX));
        data.order_topic_conf = Some("a:2147483647;b:2147483647".to_owned());
        assert_eq!(Route::new("T", &data, None).publish.len(), QUEUES_MAX);
    }

    /// Goal: the broker to pull from is the one suggested, else the next, else any; and a slave is known as one.
    #[test]
    fn a_puller_finds_some_broker() {
        let mut brokers = Brokers::default();
        brokers.learn(&Route::new("T", &route_data(&[("a", &[(0, "a:0"), (2, "a:2")], 6, 1, 1)]), None));
        let pulled = |id| brokers.to_pull_from("a", id).map(|(addr, slave)| (&**addr, slave));
        assert_eq!(pulled(0), Some(("a:0", false)));
        assert_eq!(pulled(1), Some(("a:2", true)));
        assert_eq!(pulled(7), Some(("a:0", false)));
        assert_eq!(pulled(i64::MAX), Some(("a:0", false)));
        assert!(brokers.to_pull_from("b", 0).is_none());
        brokers.keep_only(&BTreeSet::from([Arc::from("a:2")]));
        assert!(brokers.master("a").is_none());
        assert_eq!(brokers.name_of("a:2").map(|(name, id)| (&**name, id)), Some(("a", 2)));
    }
}
