//! What has become of the bytes on their way, as far as the peer has told: the scoreboard of RFC 6675.
//!
//! ```text
//!   una                                                            next
//!    | Lost | Sacked | Resent | Sacked ..... | Sent, nothing known ..|
//!    '-------------- spans, at most 24 ------'
//! ```
//!
//! Empty while nothing is missing. A fixed size: what does not fit is not noted, which costs a retransmission more, or
//! waits for the timer; never a wrong byte.

/// The state of one run of sequence numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Sent once; no news.
    Sent,
    /// To be sent again.
    Lost,
    /// Sent again, when `next` was the next new number, in the `serial`-th round.
    Resent { next: u32, serial: u32 },
    /// The peer has it.
    Sacked,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    /// The number after its last; it begins where the one before it ends.
    end: u32,
    state: State,
}

#[derive(Clone, Copy, Debug)]
pub struct Board {
    /// The first number that is not acknowledged.
    una: u32,
    spans: [Span; SPANS_MAX],
    len: usize,
    /// The latest round of which something has arrived.
    arrived_serial: u32,
}

impl Board {
    pub fn new(una: u32) -> Self {
        Self { una, spans: [NOTHING; SPANS_MAX], len: 0, arrived_serial: 0 }
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Everything before `una` has arrived.
    pub fn advance(&mut self, una: u32) {
        let mut gone = 0;
        for span in &self.spans[..self.len] {
            if let State::Resent { serial, .. } = span.state {
                let starts = if gone == 0 { self.una } else { self.spans[gone - 1].end };
                if is_before(starts, una) {
                    self.arrived_serial = self.arrived_serial.max(serial);
                }
            }
            if is_before(una, span.end) {
                break;
            }
            gone += 1;
        }
        self.spans.copy_within(gone..self.len, 0);
        self.len -= gone;
        self.una = una;
        // What is left may be news of bytes about which nothing has to be remembered.
        while self.len > 0 && self.spans[self.len - 1].state == State::Sent {
            self.len -= 1;
        }
    }

    /// The peer has these. True if that was news.
    pub fn sack(&mut self, from: u32, to: u32) -> bool {
        let mut serial = self.arrived_serial;
        let mut is_news = is_before(self.covered(), to);
        for (starts, span) in self.iter() {
            if span.state != State::Sacked && is_before(starts, to) && is_before(from, span.end) {
                is_news = true;
                if let State::Resent { serial: again, .. } = span.state {
                    serial = serial.max(again);
                }
            }
        }
        if !is_news || !self.set(from, to, State::Sacked) {
            return false;
        }
        self.arrived_serial = serial;
        true
    }

    /// These have been sent again. False if there is no room to note it.
    pub fn resent(&mut self, from: u32, to: u32, next: u32, serial: u32) -> bool {
        self.set(from, to, State::Resent { next, serial })
    }

    /// Concludes from later bytes that have arrived that earlier ones have not: those that were sent once if `with_sent`,
    /// and those whose later repetition is known to be lost. True if there was any.
    pub fn find_lost(&mut self, with_sent: bool) -> bool {
        let Some(top) = self.sacked_to() else { return false };
        let arrived_serial = self.arrived_serial;
        let mut found = false;
        for span in &mut self.spans[..self.len] {
            if is_before(top, span.end) {
                break;
            }
            let is_lost = match span.state {
                State::Sent => with_sent,
                State::Resent { next, serial } => is_before(next, top) || serial < arrived_serial,
                State::Lost | State::Sacked => false,
            };
            if is_lost {
                span.state = State::Lost;
                found = true;
            }
        }
        if found {
            self.join();
        }
        found
    }

    /// Nothing that was not reported has arrived, up to `next`. Reports are disbelieved if `with_sacked`: a peer may
    /// drop what it has reported.
    pub fn all_lost(&mut self, next: u32, with_sacked: bool) {
        if with_sacked {
            self.clear();
        }
        for span in &mut self.spans[..self.len] {
            if span.state != State::Sacked {
                span.state = State::Lost;
            }
        }
        self.join();
        let covered = self.covered();
        if is_before(covered, next) && !self.set(covered, next, State::Lost) {
            self.clear();
            self.set(self.una, next, State::Lost);
        }
    }

    /// Nothing is lost after all.
    pub fn none_lost(&mut self) {
        for span in &mut self.spans[..self.len] {
            if span.state == State::Lost {
                span.state = State::Sent;
            }
        }
        self.join();
    }

    /// The first run to be sent again.
    pub fn first_lost(&self) -> Option<(u32, u32)> {
        let (starts, span) = self.iter().find(|(_, span)| span.state == State::Lost)?;
        Some((starts, span.end))
    }

    /// Whether bytes that were sent once lie below others that have arrived.
    pub fn has_hole(&self) -> bool {
        self.sacked_to().is_some_and(|top| {
            self.iter().any(|(_, span)| span.state == State::Sent && !is_before(top, span.end))
        })
    }

    pub fn sacked_bytes(&self) -> u32 {
        self.bytes(|state| state == State::Sacked)
    }

    pub fn lost_bytes(&self) -> u32 {
        self.bytes(|state| state == State::Lost)
    }

    fn bytes(&self, which: impl Fn(State) -> bool) -> u32 {
        self.iter()
            .filter(|(_, span)| which(span.state))
            .map(|(starts, span)| span.end.wrapping_sub(starts))
            .sum()
    }

    fn sacked_to(&self) -> Option<u32> {
        let last = self.spans[..self.len].iter().rfind(|span| span.state == State::Sacked)?;
        Some(last.end)
    }

    fn covered(&self) -> u32 {
        if self.len == 0 { self.una } else { self.spans[self.len - 1].end }
    }

    fn iter(&self) -> impl Iterator<Item = (u32, &Span)> {
        let mut starts = self.una;
        self.spans[..self.len].iter().map(move |span| (std::mem::replace(&mut starts, span.end), span))
    }

    /// Gives a run a state, whatever was there. False, and nothing changed, if that takes too many spans.
    fn set(&mut self, from: u32, to: u32, state: State) -> bool {
        assert!(is_before(from, to));
        assert!(!is_before(from, self.una));
        let mut made = Self { len: 0, ..*self };
        let mut fits = true;
        for (starts, span) in self.iter() {
            // The part before the run, and the part after it.
            fits &= made.push(starts, earlier(span.end, from), span.state);
            if !is_before(span.end, to) {
                fits &= made.push_run(from, to, state);
            }
            fits &= made.push(later(starts, to), span.end, span.state);
        }
        if is_before(self.covered(), to) {
            fits &= made.push(later(self.covered(), self.una), from, State::Sent);
            fits &= made.push_run(from, to, state);
        }
        if fits {
            *self = made;
        }
        fits
    }

    /// As `push`, once: the run may be met again at the end of a later span.
    fn push_run(&mut self, from: u32, to: u32, state: State) -> bool {
        !is_before(self.covered(), to) || self.push(from, to, state)
    }

    fn push(&mut self, from: u32, to: u32, state: State) -> bool {
        if !is_before(from, to) {
            return true;
        }
        if self.len > 0 && self.spans[self.len - 1].state == state {
            self.spans[self.len - 1].end = to;
            return true;
        }
        if self.len == SPANS_MAX {
            return false;
        }
        self.spans[self.len] = Span { end: to, state };
        self.len += 1;
        true
    }

    /// Makes one span of neighbours in the same state.
    fn join(&mut self) {
        let mut made = Self { len: 0, ..*self };
        for (starts, span) in self.iter() {
            let fits = made.push(starts, span.end, span.state);
            assert!(fits);
        }
        *self = made;
    }
}

/// Whether `a` comes before `b` in sequence space.
pub fn is_before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

fn earlier(a: u32, b: u32) -> u32 {
    if is_before(a, b) { a } else { b }
}

fn later(a: u32, b: u32) -> u32 {
    if is_before(a, b) { b } else { a }
}

const SPANS_MAX: usize = 24;
const NOTHING: Span = Span { end: 0, state: State::Sent };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    const BYTES: usize = 300;

    /// Every byte's state, one by one: slow and plain.
    struct Model {
        una: usize,
        state: [State; BYTES],
    }

    fn compare(board: &Board, model: &Model, base: u32) {
        let mut at = model.una;
        for (starts, span) in board.iter() {
            assert_eq!(starts.wrapping_sub(base) as usize, at);
            let end = span.end.wrapping_sub(base) as usize;
            assert!(at < end);
            assert!(model.state[at..end].iter().all(|state| *state == span.state));
            at = end;
        }
        assert!(model.state[at..].iter().all(|state| *state == State::Sent));
    }

    /// Goal: spans say what single bytes would say, over the wrap of sequence numbers too. Method: random marks on both.
    #[test]
    fn agrees_with_single_bytes() {
        for seed in 0..400 {
            let mut rng = Rng::from_seed(seed);
            let base =
                if rng.chance(0.5) { u32::MAX - rng.below(BYTES as u64) as u32 } else { rng.next_u32() };
            let mut board = Board::new(base);
            let mut model = Model { una: 0, state: [State::Sent; BYTES] };
            for _ in 0..60 {
                let from = model.una + rng.below((BYTES - model.una) as u64) as usize;
                let to = from + 1 + rng.below((BYTES - from) as u64) as usize;
                let (first, end) = (base.wrapping_add(from as u32), base.wrapping_add(to as u32));
                match rng.below(4) {
                    0 | 1 => {
                        let news = model.state[from..to].iter().any(|state| *state != State::Sacked);
                        if board.sack(first, end) {
                            assert!(news);
                            model.state[from..to].fill(State::Sacked);
                        }
                    }
                    2 => {
                        if board.resent(first, end, end, 7) {
                            model.state[from..to].fill(State::Resent { next: end, serial: 7 });
                        }
                    }
                    _ => {
                        let una = model.una + rng.below(4).min((BYTES - 1 - model.una) as u64) as usize;
                        model.state[..una].fill(State::Sent);
                        model.una = una;
                        board.advance(base.wrapping_add(una as u32));
                    }
                }
                compare(&board, &model, base);
                let sacked = model.state[model.una..].iter().filter(|state| **state == State::Sacked).count();
                assert_eq!(board.sacked_bytes() as usize, sacked);
            }
        }
    }

    /// Goal: what lies below arrived bytes is lost; a repetition is lost when something sent after it has arrived.
    #[test]
    fn finds_what_is_lost() {
        let mut board = Board::new(1000);
        assert!(board.sack(2000, 3000));
        assert!(board.has_hole());
        assert!(!board.find_lost(false), "one is given time");
        assert!(board.find_lost(true));
        assert_eq!(board.first_lost(), Some((1000, 2000)));
        assert!(board.resent(1000, 2000, 4000, 1));
        assert_eq!(board.first_lost(), None);
        assert!(board.sack(3000, 4000));
        assert!(!board.find_lost(true), "all that has arrived was sent before it");
        assert!(board.sack(4000, 5000));
        assert!(board.find_lost(true));
        assert_eq!(board.first_lost(), Some((1000, 2000)));
        board.advance(5000);
        assert!(board.is_empty());
    }

    /// Goal: of two repetitions the earlier one is lost if the later one has arrived.
    #[test]
    fn finds_a_lost_repetition_by_a_later_one() {
        let mut board = Board::new(0);
        assert!(board.sack(100, 200));
        assert!(board.sack(300, 400));
        assert!(board.find_lost(true));
        assert!(board.resent(0, 100, 400, 1));
        assert!(board.resent(200, 300, 400, 2));
        assert!(board.sack(200, 300));
        assert!(board.find_lost(true));
        assert_eq!(board.first_lost(), Some((0, 100)));
    }

    /// Goal: after a timeout everything unreported is lost, and reports are dropped when they are disbelieved.
    #[test]
    fn loses_all() {
        let mut board = Board::new(0);
        assert!(board.sack(100, 200));
        board.all_lost(500, false);
        assert_eq!((board.first_lost(), board.lost_bytes()), (Some((0, 100)), 400));
        board.all_lost(500, true);
        assert_eq!((board.first_lost(), board.lost_bytes()), (Some((0, 500)), 500));
    }

    /// Goal: too many holes are not noted, and do no harm. Method: more of them than there is room for.
    #[test]
    fn bears_too_many_holes() {
        let mut board = Board::new(0);
        let noted = (0..100).filter(|hole| board.sack(hole * 20 + 10, hole * 20 + 20)).count();
        assert_eq!(noted, SPANS_MAX / 2);
        board.all_lost(4000, false);
        assert_eq!(board.first_lost().map(|(from, _)| from), Some(0));
    }
}
