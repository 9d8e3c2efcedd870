//! Which queues a member of a group consumes, when the broker decides (code 400).
//!
//! ```text
//! 400 --> route of the topic, from a name server (cold/routes.rs) --> all its queues, all members of the group, sorted
//! queues          0 1 2 3 4 5 6 7   members a b c
//! AVG             a a a b b b c c
//! AVG_BY_CIRCLE   a b c a b c a b
//! ```
//!
//! A client asks one broker and takes its word for all of them, so the queues of other brokers must be dealt too. When no
//! name server can be asked the answer is an error, and the client rebalances by itself. All members get disjoint parts
//! that cover the whole, whichever of them asks, as long as they see the same lists. Long lists are dealt beside the shard.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use protocol::body::{
    Body as _, MessageModel, MessageQueue, MessageQueueAssignment, MessageRequestMode,
    QueryAssignmentRequestBody, QueryAssignmentResponseBody,
};
use protocol::code::response;

use crate::broker::client::{Client, check_client_id};
use crate::broker::errands::Make;
use crate::broker::topic_config::PERM_READ;
use crate::broker::{Broker, Refusal, ReplyTo, Request};
use crate::lane::{LaneIn, LaneOut, lane};
use crate::limits::{NAME_BYTES_MAX, QUEUES_PER_TOPIC_MAX, ROUTE_LANE_MAX};
use crate::outbox::Outbox;

/// What a name server is asked.
#[derive(Debug)]
pub struct RouteQuestion {
    pub topic: String,
}

/// What it answered: brokers with their readable queues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteAnswer {
    Queues(Vec<(String, i32)>),
    /// No name server knows the topic (yet).
    Unknown,
    /// No name server answered.
    Unreachable,
}

/// The shard's side of cold/routes.rs. Answers come in the order of the questions.
pub struct Routes {
    questions: LaneIn<RouteQuestion>,
    answers: LaneOut<RouteAnswer>,
    waiting: VecDeque<(ReplyTo, QueryAssignmentRequestBody)>,
}

/// The thread's side.
pub struct RouteEnds {
    pub questions: LaneOut<RouteQuestion>,
    pub answers: LaneIn<RouteAnswer>,
}

impl Routes {
    /// Both sides of a pair of lanes.
    pub fn new() -> (Routes, RouteEnds) {
        let (questions_in, questions) = lane(ROUTE_LANE_MAX);
        let (answers, answers_out) = lane(ROUTE_LANE_MAX);
        let routes = Routes { questions: questions_in, answers: answers_out, waiting: VecDeque::new() };
        (routes, RouteEnds { questions, answers })
    }

    /// Who is woken when an answer has come.
    pub fn woken_by(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.answers.woken_by(wake);
    }
}

impl Broker {
    /// Code 400.
    pub(super) fn query_assignment(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let asked: QueryAssignmentRequestBody = self.json(req)?;
        // It is kept until the route has come.
        check_client_id(&asked.client_id)?;
        if [&asked.topic, &asked.consumer_group, &asked.strategy_name]
            .iter()
            .any(|name| name.len() > NAME_BYTES_MAX)
        {
            let remark = format!(
                "a topic, group or strategy to deal by has a name of more than {NAME_BYTES_MAX} bytes"
            );
            return Err(Refusal::new(response::SYSTEM_ERROR, remark));
        }
        let Some(routes) = &mut self.routes else {
            // No name server at all: this broker is the whole cluster.
            self.assign(req.reply_to(), asked, RouteAnswer::Unknown, out);
            return Ok(());
        };
        let question = RouteQuestion { topic: asked.topic.clone() };
        if routes.waiting.len() >= ROUTE_LANE_MAX || routes.questions.push(question).is_err() {
            return Err(Refusal::new(response::SYSTEM_ERROR, NO_ROUTE));
        }
        routes.questions.wake();
        routes.waiting.push_back((req.reply_to(), asked));
        Ok(())
    }

    /// Deals the queues whose route has come.
    pub(super) fn take_routes(&mut self, out: &mut Outbox) {
        while let Some(routes) = &mut self.routes
            && let Some(answer) = routes.answers.pop()
        {
            let (to, asked) = routes.waiting.pop_front().expect("one answer for one question");
            self.assign(to, asked, answer, out);
        }
    }

    fn assign(
        &mut self,
        to: ReplyTo,
        asked: QueryAssignmentRequestBody,
        route: RouteAnswer,
        out: &mut Outbox,
    ) {
        let brokers = match route {
            RouteAnswer::Queues(brokers) => brokers,
            RouteAnswer::Unknown => self.own_queues(&asked.topic),
            RouteAnswer::Unreachable => {
                return out.refuse(to, &Refusal::new(response::SYSTEM_ERROR, NO_ROUTE));
            }
        };
        let members = self.consumers.group(&asked.consumer_group).map(|group| group.members());
        let members = members.map(|all| all.iter().map(|member| member.client.clone()).collect());
        let deal = Deal { asked, brokers, members };
        self.put_list_together(to, false, deal.len(), deal, out);
    }

    /// This broker's queues of a topic that consumers may read.
    fn own_queues(&self, topic: &str) -> Vec<(String, i32)> {
        let config = self.topics.config(topic).filter(|config| config.perm & PERM_READ != 0);
        config.map(|config| (self.config.broker_name.clone(), config.read_queue_nums)).into_iter().collect()
    }
}

/// What an answer is made of.
#[derive(Debug)]
struct Deal {
    asked: QueryAssignmentRequestBody,
    brokers: Vec<(String, i32)>,
    /// None: nobody is in the group.
    members: Option<Vec<Arc<Client>>>,
}

impl Deal {
    /// Queues and clients.
    fn len(&self) -> usize {
        let queues = self.brokers.iter().map(|(_, queues)| usize::try_from(*queues).unwrap_or(0));
        queues.fold(self.members.as_ref().map_or(0, Vec::len), usize::saturating_add)
    }

    fn assignments(&self) -> Option<Vec<MessageQueueAssignment>> {
        let Deal { asked, brokers, members } = self;
        if brokers.is_empty() {
            return None;
        }
        let named = |(broker, queues): &(String, i32)| {
            let broker = broker.clone();
            (0..(*queues).min(QUEUES_PER_TOPIC_MAX))
                .map(move |queue_id| MessageQueue::new(asked.topic.clone(), broker.clone(), queue_id))
        };
        let mut queues: Vec<MessageQueue> = brokers.iter().flat_map(named).collect();
        queues.sort_by(|a, b| (&a.broker_name, a.queue_id).cmp(&(&b.broker_name, b.queue_id)));
        let dealt: Vec<usize> = match asked.message_model {
            MessageModel::Broadcasting => (0..queues.len()).collect(),
            MessageModel::Clustering => {
                let strategy = Strategy::from_name(&asked.strategy_name)?;
                let mut clients: Vec<&str> = members.as_ref()?.iter().map(|client| &*client.id).collect();
                clients.sort_unstable();
                clients.dedup();
                match clients.binary_search(&asked.client_id.as_str()) {
                    Ok(client) => strategy.allocate(queues.len(), clients.len(), client).collect(),
                    Err(_) => Vec::new(),
                }
            }
        };
        let assignment = |at: usize| MessageQueueAssignment {
            attachments: None,
            message_queue: queues.get(at).expect("dealt from these").clone(),
            mode: MessageRequestMode::Pull,
        };
        Some(dealt.into_iter().map(assignment).collect())
    }
}

impl Make for Deal {
    fn body(self: Box<Self>) -> Vec<u8> {
        match self.assignments() {
            Some(message_queue_assignments) => {
                QueryAssignmentResponseBody { message_queue_assignments }.encode()
            }
            // Nothing to go by: the client leaves its queues as they are.
            None => b"{}".to_vec(),
        }
    }
}

/// The strategies an official broker knows; clients that rebalance themselves know more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    Avg,
    AvgByCircle,
}

impl Strategy {
    pub fn from_name(name: &str) -> Option<Strategy> {
        match name {
            "AVG" => Some(Strategy::Avg),
            "AVG_BY_CIRCLE" => Some(Strategy::AvgByCircle),
            _ => None,
        }
    }

    /// Positions of the queues of client number `client` of `clients`.
    pub fn allocate(self, queues: usize, clients: usize, client: usize) -> impl Iterator<Item = usize> {
        assert!(client < clients);
        let (range, step) = match self {
            Strategy::Avg => (average(queues, clients, client), 1),
            Strategy::AvgByCircle => (client..queues.max(client), clients),
        };
        range.step_by(step)
    }
}

/// The first `queues % clients` clients get one more than the others; with fewer queues than clients, one or none.
fn average(queues: usize, clients: usize, client: usize) -> Range<usize> {
    let rest = queues % clients;
    let size = if queues <= clients { 1 } else { queues / clients + usize::from(client < rest) };
    let start = if client < rest { client * size } else { client * size + rest };
    let start = start.min(queues);
    start..(start + size).min(queues)
}

const NO_ROUTE: &str = "the route of the topic is not known: rebalance at the client";

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(strategy: Strategy, queues: usize, clients: usize) -> Vec<Vec<usize>> {
        (0..clients).map(|client| strategy.allocate(queues, clients, client).collect()).collect()
    }

    /// Goal: the book's examples. Method: eight queues, three clients; more clients than queues.
    #[test]
    fn queues_are_dealt_as_the_clients_would() {
        assert_eq!(parts(Strategy::Avg, 8, 3), [vec![0, 1, 2], vec![3, 4, 5], vec![6, 7]]);
        assert_eq!(parts(Strategy::AvgByCircle, 8, 3), [vec![0, 3, 6], vec![1, 4, 7], vec![2, 5]]);
        assert_eq!(parts(Strategy::Avg, 2, 4), [vec![0], vec![1], vec![], vec![]]);
        assert_eq!(parts(Strategy::AvgByCircle, 2, 4), [vec![0], vec![1], vec![], vec![]]);
        assert_eq!(parts(Strategy::Avg, 0, 2), [vec![0; 0], vec![]]);
    }

    /// Goal: nothing is left out and nothing is given twice. Method: all small tables.
    #[test]
    fn every_queue_has_exactly_one_client() {
        for strategy in [Strategy::Avg, Strategy::AvgByCircle] {
            for queues in 0..40 {
                for clients in 1..40 {
                    let mut all: Vec<_> = parts(strategy, queues, clients).concat();
                    all.sort_unstable();
                    assert_eq!(all, (0..queues).collect::<Vec<_>>(), "{strategy:?} {queues} {clients}");
                }
            }
        }
    }
}
