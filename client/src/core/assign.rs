//! Who consumes what: how the queues of a topic are shared out among the members of a group.
//!
//! Every member runs this by itself over the same sorted lists and must come to the same answer, so the arithmetic is
//! RocketMQ's own (its AllocateMessageQueueStrategy classes).

use crate::message::MessageQueue;

/// The ways of sharing out; all members of a group must use the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Neighbouring queues in equal runs.
    #[default]
    Average,
    /// Dealt like cards.
    AverageByCircle,
}

impl Strategy {
    pub fn name(self) -> &'static str {
        match self {
            Strategy::Average => "AVG",
            Strategy::AverageByCircle => "AVG_BY_CIRCLE",
        }
    }

    /// The queues of `own` among `queues`, both lists sorted. A member that is not in the list gets none.
    pub fn assign(self, own: &str, queues: &[MessageQueue], members: &[String]) -> Vec<MessageQueue> {
        let Some(index) = members.iter().position(|member| member == own) else {
            return Vec::new();
        };
        match self {
            Strategy::Average => average(index, queues, members.len()),
            Strategy::AverageByCircle => queues.iter().skip(index).step_by(members.len()).cloned().collect(),
        }
    }
}

fn average(index: usize, queues: &[MessageQueue], members: usize) -> Vec<MessageQueue> {
    let spare = queues.len() % members;
    let share = match queues.len() / members {
        0 => 1,
        each => each + usize::from(index < spare),
    };
    let start = if index < spare { index * share } else { index * share + spare };
    queues.iter().skip(start).take(share).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(count: i32) -> Vec<MessageQueue> {
        (0..count).map(|id| MessageQueue::new("T", "a", id)).collect()
    }

    fn shares(strategy: Strategy, queue_count: i32, member_count: usize) -> Vec<Vec<i32>> {
        let members: Vec<String> = (0..member_count).map(|number| format!("client-{number}")).collect();
        let queues = queues(queue_count);
        let of = |member: &String| strategy.assign(member, &queues, &members);
        members.iter().map(|member| of(member).iter().map(|queue| queue.queue_id).collect()).collect()
    }

    /// Goal: the worked cases of the average rule.
    #[test]
    fn the_average_gives_runs() {
        assert_eq!(shares(Strategy::Average, 8, 3), [vec![0, 1, 2], vec![3, 4, 5], vec![6, 7]]);
        assert_eq!(shares(Strategy::Average, 4, 2), [vec![0, 1], vec![2, 3]]);
        assert_eq!(shares(Strategy::Average, 2, 3), [vec![0], vec![1], vec![]]);
        assert_eq!(shares(Strategy::AverageByCircle, 5, 2), [vec![0, 2, 4], vec![1, 3]]);
    }

    /// Goal: whatever the numbers, each queue has exactly one owner and shares differ by one at most.
    #[test]
    fn every_queue_has_one_owner() {
        for strategy in [Strategy::Average, Strategy::AverageByCircle] {
            for queue_count in 0..20 {
                for member_count in 1..20 {
                    let shares = shares(strategy, queue_count, member_count);
                    let mut all: Vec<i32> = shares.iter().flatten().copied().collect();
                    all.sort_unstable();
                    assert_eq!(all, (0..queue_count).collect::<Vec<_>>());
                    let sizes = shares.iter().map(Vec::len);
                    assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
                }
            }
        }
    }

    /// Goal: a member the broker does not list gets nothing rather than somebody else's queues.
    #[test]
    fn a_stranger_gets_nothing() {
        assert!(Strategy::Average.assign("x", &queues(4), &["y".to_owned()]).is_empty());
    }
}
