//! Asking name servers for routes: on first use, every 30 s, and by way of the template topic for topics nobody created.
//!
//! ```text
//! look_up(T) ──► name server: T? ──found──► install, wake the waiters
//!                    │ 17                        ▲
//!                    └─ a producer asks ──► TBW102? ──found (at most 4 of its queues)
//!                    └─ else, or 17 again ──► the waiters hear: no route
//! a name server that fails: the next one, until all were asked
//! ```

use super::action::{Answer, Token};
use super::instance::Instance;
use super::order::Template;
use super::route::Route;
use super::time::Time;
use super::waiter::{Lookup, RouteWaiter, Waiter};
use crate::error::ClientError;
use crate::message::MessageQueue;
use protocol::RemotingCommand;
use protocol::body::{Body, TopicRouteData};
use protocol::code::{request, response};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

impl Instance {
    /// The queues of a topic a message can be sent to, by `group`'s settings for topics that do not exist.
    pub fn publish_queues(&mut self, token: Token, group: &str, topic: &str, now: Time) {
        let topic: Arc<str> = Arc::from(topic);
        if let Some(route) = self.routes.get(&topic).filter(|route| !route.publish.is_empty()) {
            let queues = route.publish.clone();
            return self.answer(token, Ok(Answer::Queues(queues)));
        }
        let template = self.template_of(group);
        self.look_up(&topic, template, Some(RouteWaiter::PublishQueues(token)), now);
    }

    /// The queues of a topic that can be read, asked afresh.
    pub fn readable_queues(&mut self, token: Token, topic: &str, now: Time) {
        self.look_up(&Arc::from(topic), None, Some(RouteWaiter::ReadableQueues(token)), now);
    }

    /// Asks the master of the queue's broker; finds out where it is first.
    pub fn call_queue(
        &mut self,
        token: Token,
        queue: MessageQueue,
        command: RemotingCommand,
        timeout: Duration,
        now: Time,
    ) {
        if let Some(addr) = self.brokers.master(&queue.broker_name).cloned() {
            return self.call(token, &addr, command, timeout, now);
        }
        let topic = queue.topic.clone();
        let waiter = RouteWaiter::QueueCall { token, queue, command: Box::new(command), timeout };
        self.look_up(&topic, None, Some(waiter), now);
    }

    /// Asks for a topic's route, once however many want it.
    pub(super) fn look_up(
        &mut self,
        topic: &Arc<str>,
        template: Option<Template>,
        waiter: Option<RouteWaiter>,
        now: Time,
    ) {
        if self.name_servers.is_empty() {
            return self.tell_waiters(
                waiter.into_iter().collect(),
                topic,
                Err(&ClientError::NoNameServer),
                now,
            );
        }
        if let Some(lookup) = self.lookups.get_mut(topic) {
            lookup.waiters.extend(waiter);
            if lookup.template.is_none() {
                lookup.template = template;
            }
            return;
        }
        let servers_left = self.name_servers.len();
        let waiters = waiter.into_iter().collect();
        self.lookups
            .insert(topic.clone(), Lookup { waiters, template, asking_template: false, servers_left });
        self.ask_name_server(topic, topic, now);
    }

    pub(super) fn route_answered(
        &mut self,
        topic: &Arc<str>,
        answer: Result<RemotingCommand, ClientError>,
        now: Time,
    ) {
        let Some(mut lookup) = self.lookups.remove(topic) else {
            return;
        };
        let found = answer.and_then(|answer| read_route(&answer));
        match found {
            Ok(Some(data)) => {
                let queues_max = lookup.template.as_ref().filter(|_| lookup.asking_template);
                let route = Route::new(topic, &data, queues_max.map(|template| template.queues));
                self.install(topic, route, now);
                self.tell_waiters(lookup.waiters, topic, Ok(()), now);
            }
            Ok(None) => {
                let template = lookup.template.clone().filter(|_| !lookup.asking_template);
                // Whoever has a route keeps it: brokers that restart come back to it.
                if let Some(template) = template.filter(|_| !self.routes.contains_key(topic)) {
                    lookup.asking_template = true;
                    lookup.servers_left = self.name_servers.len();
                    self.lookups.insert(topic.clone(), lookup);
                    return self.ask_name_server(topic, &template.topic, now);
                }
                let is_awaited =
                    lookup.waiters.iter().any(|waiter| matches!(waiter, RouteWaiter::Rebalance { .. }));
                if is_awaited && !protocol::names::is_retry_topic(topic) {
                    log::warn!("there is no topic {topic} yet; its consumers wait for it");
                }
                let error = ClientError::NoRoute { topic: topic.to_string(), reason: String::new() };
                self.tell_waiters(lookup.waiters, topic, Err(&error), now);
            }
            Err(error) => {
                self.name_server_turn += 1;
                lookup.servers_left -= 1;
                if lookup.servers_left > 0 {
                    let asked = lookup.template.as_ref().filter(|_| lookup.asking_template);
                    let asked = asked.map_or_else(|| topic.clone(), |template| template.topic.clone());
                    self.lookups.insert(topic.clone(), lookup);
                    return self.ask_name_server(topic, &asked, now);
                }
                log::warn!("no name server told the route of {topic}: {error}");
                let error = ClientError::NoRoute { topic: topic.to_string(), reason: format!(" ({error})") };
                self.tell_waiters(lookup.waiters, topic, Err(&error), now);
            }
        }
    }

    /// Asks for every topic that a producer has sent to or a group has subscribed.
    pub(super) fn refresh_routes(&mut self, now: Time) {
        let produced = self.producers.values().flat_map(|producer| producer.topics.keys());
        let subscribed = self.groups.values().flat_map(|group| group.subscriptions.keys());
        let topics: BTreeSet<Arc<str>> = produced.chain(subscribed).cloned().collect();
        for topic in topics {
            self.look_up(&topic, None, None, now);
        }
    }

    /// Forgets brokers that no route names any more, so that nobody heartbeats or asks them.
    pub(super) fn forget_offline_brokers(&mut self) {
        let in_routes = self.routes.values().flat_map(|route| route.brokers.values());
        let in_routes = in_routes.flat_map(|addrs| addrs.values().cloned()).collect();
        self.brokers.keep_only(&in_routes);
    }

    fn ask_name_server(&mut self, topic: &Arc<str>, asked: &str, now: Time) {
        let server = self.name_servers[self.name_server_turn % self.name_servers.len()].clone();
        let command = RemotingCommand::request(request::GET_ROUTEINFO_BY_TOPIC).field("topic", asked);
        let timeout = self.config().api_timeout;
        self.request(&server, command, Waiter::Route { topic: topic.clone() }, timeout, now);
    }

    fn install(&mut self, topic: &Arc<str>, route: Route, now: Time) {
        self.brokers.learn(&route);
        if !self.requests.is_empty() {
            // A reply comes by whichever broker the replier takes: each must know this client.
            self.heartbeat_all(now);
        }
        let before = self.routes.insert(topic.clone(), route);
        let after = self.routes.get(topic);
        if before.as_ref() != after {
            let readable = |route: Option<&Route>| route.map(|route| route.readable.clone());
            if readable(before.as_ref()) != readable(after) {
                self.topic_changed(topic, now);
            }
        }
    }

    fn tell_waiters(
        &mut self,
        waiters: Vec<RouteWaiter>,
        topic: &Arc<str>,
        found: Result<(), &ClientError>,
        now: Time,
    ) {
        for waiter in waiters {
            match waiter {
                RouteWaiter::Send(id) => self.send_routed(id, found, now),
                RouteWaiter::PublishQueues(token) => {
                    let queues = self.routes.get(topic).map(|route| route.publish.clone());
                    self.answer_queues(token, topic, queues, found);
                }
                RouteWaiter::ReadableQueues(token) => {
                    let queues = self.routes.get(topic).map(|route| route.readable.clone());
                    self.answer_queues(token, topic, queues, found);
                }
                RouteWaiter::QueueCall { token, queue, command, timeout } => {
                    let master = self.brokers.master(&queue.broker_name).cloned();
                    match (found, master) {
                        (Err(error), _) => self.answer(token, Err(error.clone())),
                        (Ok(()), Some(addr)) => self.call(token, &addr, *command, timeout, now),
                        (Ok(()), None) => {
                            let broker = queue.broker_name.to_string();
                            self.answer(token, Err(ClientError::NoBroker { broker }));
                        }
                    }
                }
                RouteWaiter::Rebalance { group } => {
                    if found.is_ok() {
                        self.rebalance_soon(&group, Duration::ZERO, now);
                    }
                }
            }
        }
    }

    fn answer_queues(
        &mut self,
        token: Token,
        topic: &str,
        queues: Option<Vec<MessageQueue>>,
        found: Result<(), &ClientError>,
    ) {
        let answer = match (found, queues) {
            (Err(error), _) => Err(error.clone()),
            (Ok(()), Some(queues)) if !queues.is_empty() => Ok(Answer::Queues(queues)),
            (Ok(()), _) => Err(ClientError::NoRoute { topic: topic.to_owned(), reason: String::new() }),
        };
        self.answer(token, answer);
    }
}

/// `None`: the name server knows no such topic.
fn read_route(answer: &RemotingCommand) -> Result<Option<TopicRouteData>, ClientError> {
    match answer.code {
        response::SUCCESS => {
            let data = TopicRouteData::decode(&answer.body).map_err(|error| ClientError::BadAnswer {
                addr: "the name server".to_owned(),
                reason: error.to_string(),
            })?;
            Ok(Some(data))
        }
        response::TOPIC_NOT_EXIST => Ok(None),
        code => Err(ClientError::Refused { code, remark: answer.remark.clone() }),
    }
}
