//! Which queues a member of a group consumes, when the broker decides (code 400).
//!
//! ```text
//! queues  0 1 2 3 4 5 6 7   clients a b c
//! AVG             a a a b b b c c
//! AVG_BY_CIRCLE   a b c a b c a b
//! ```
//!
//! Pure: sorted queues and clients in, positions of the queues out. All members get disjoint parts that cover the
//! whole, whichever of them asks, as long as they see the same lists.

use std::ops::Range;

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
