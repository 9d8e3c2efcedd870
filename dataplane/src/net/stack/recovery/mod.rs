//! What to do about loss, for one connection: which bytes to send again and when, and how much may be on its way.
//!
//! ```text
//!   sent ─▶ flight ─▶ heard: acknowledged | reported beyond a hole | reported twice
//!             │                                  │                       └─▶ it was needless: be slower, take back
//!             │                                  └─▶ lost ─▶ again at once (on a far path: after a quarter round trip)
//!             └─▶ no news: one segment again as a probe ─▶ still none: all of it is lost, again from the start, backing off
//! ```
//!
//! smoltcp keeps the bytes, the handshake and the receiving side; its own timer starts at a second, knows no selective
//! acknowledgements, and is left to be the last resort. Sans-IO: it is told what happened and when, and says what to do.
//! RFC 6298 (timer), 6675 (scoreboard), 8985 (probe, patience with reordering), 2883 (needless ones), 9438 (window).

mod board;
mod rtt;
#[cfg(test)]
mod tests;
mod window;

use super::options::{Block, Sacks};
use super::wheel::NEVER;
use crate::counters::count_fields;
use board::{Board, is_before};
use rtt::Rtt;
use window::Window;

/// What the stack has done about loss, over all connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LossCounters {
    /// Times that later bytes showed earlier ones to be missing.
    pub holes: u64,
    /// Segments sent again because there was no news of the last ones.
    pub probes: u64,
    pub timeouts: u64,
    /// Probes, holes and timeouts after which the peer reported that it had had the bytes already.
    pub needless: u64,
    /// Questions to a peer that takes nothing whether it takes something now.
    pub nudges: u64,
    pub repeated_frames: u64,
    pub repeated_bytes: u64,
}

count_fields!(LossCounters: holes, probes, timeouts, needless, nudges, repeated_frames, repeated_bytes);

/// Why something was sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Probe,
    Hole,
    Timeout,
}

/// What has been sent again for one cause and is not known to have been needless: from where to where, and how often.
#[derive(Clone, Copy, Debug)]
struct Repeats {
    cause: Cause,
    from: u32,
    to: u32,
    at_ns: u64,
    count: u32,
}

/// An episode of loss: over when everything sent before its beginning has arrived.
#[derive(Clone, Copy, Debug)]
struct Episode {
    until: u32,
    by_timeout: bool,
    /// The window was left as it is.
    is_borne: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Recovery {
    mss: u32,
    /// The first number not acknowledged, and the first never sent.
    una: u32,
    next: u32,
    /// Where smoltcp believes it is: behind `next` after its own timeout.
    engine_next: u32,
    board: Board,
    rtt: Rtt,
    window: Window,
    /// A number that was sent once only, and when.
    timed: Option<(u32, u64)>,
    episode: Option<Episode>,
    /// Timeouts in a row; or nudges.
    backoff: u32,
    /// The last news, or what stands for it: when the flight began, when something was sent again.
    news_ns: u64,
    sent_ns: u64,
    is_probing: bool,
    /// A probe is on its way; it ends here.
    probe_end: Option<u32>,
    /// The next repetition leaves even if the window is full.
    is_urgent: bool,
    /// When what lies in holes is lost; `NEVER` while there is no hole.
    patience_ends_ns: u64,
    /// How often reordering was taken for loss.
    reorders: u32,
    /// Episodes since the last such mistake.
    calm: u32,
    /// Rounds of repetitions, for telling which arrived.
    serial: u32,
    serial_ns: u64,
    repeats: Option<Repeats>,
    is_stalled: bool,
}

impl Recovery {
    /// Begins when the peer has acknowledged our SYN: `una` is our first data byte. `handshake` is what that took, if it
    /// was answered at the first try.
    pub fn new(now_ns: u64, mss: u32, una: u32, handshake_ns: Option<u64>) -> Self {
        assert!(mss > 0);
        let mut rtt = Rtt::default();
        if let Some(handshake_ns) = handshake_ns {
            rtt.sample(now_ns, handshake_ns);
        }
        Self {
            mss,
            una,
            next: una,
            engine_next: una,
            board: Board::new(una),
            rtt,
            window: Window::new(mss),
            timed: None,
            episode: None,
            backoff: 0,
            news_ns: now_ns,
            sent_ns: now_ns,
            is_probing: false,
            probe_end: None,
            is_urgent: false,
            patience_ends_ns: NEVER,
            reorders: 0,
            calm: 0,
            serial: 0,
            serial_ns: 0,
            repeats: None,
            is_stalled: false,
        }
    }

    pub fn una(&self) -> u32 {
        self.una
    }

    /// How many numbers have been sent and not acknowledged.
    pub fn flight(&self) -> u32 {
        self.next.wrapping_sub(self.una)
    }

    /// None before the first round trip.
    pub fn smoothed_rtt_ns(&self) -> Option<u64> {
        Some(self.rtt.smoothed_ns()).filter(|rtt_ns| *rtt_ns > 0)
    }

    /// How far beyond `una` smoltcp may send now: what the window leaves, whole segments only.
    pub fn limit(&self) -> u32 {
        // Its last resort is to begin again at `una`: then what lay beyond is on its way no more.
        let has_begun_again = is_before(self.engine_next, self.next);
        if has_begun_again || self.episode.is_some_and(|episode| episode.by_timeout) {
            return self.window.bytes();
        }
        let ahead = self.engine_next.wrapping_sub(self.una);
        if self.board.first_lost().is_some() {
            return ahead;
        }
        let room = self.window.bytes().saturating_sub(self.pipe());
        ahead + room / self.mss * self.mss
    }

    /// What is believed to be on its way.
    fn pipe(&self) -> u32 {
        self.flight() - self.board.sacked_bytes() - self.board.lost_bytes()
    }

    /// smoltcp has sent new numbers, up to `next`.
    pub fn sent(&mut self, now_ns: u64, next: u32) {
        assert!(is_before(self.next, next));
        if self.flight() == 0 {
            self.news_ns = now_ns;
            self.backoff = if self.is_stalled { self.backoff } else { 0 };
        }
        if self.timed.is_none() && self.board.is_empty() {
            self.timed = Some((next, now_ns));
        }
        self.next = next;
        self.engine_next = next;
        self.sent_ns = now_ns;
    }

    /// smoltcp has sent something again: its last resort, or the answer to a third acknowledgement from a peer that does
    /// not report what it has.
    pub fn sent_again(&mut self, now_ns: u64, from: u32, to: u32, counters: &mut LossCounters) {
        let is_within = !is_before(from, self.una) && is_before(from, to) && !is_before(self.next, to);
        if is_within {
            self.engine_next = to;
            self.begin(false);
            let serial = self.next_serial(now_ns);
            // Without room for the note it may be sent once more.
            let _noted = self.board.resent(from, to, self.next, serial);
            self.repeated(now_ns, Cause::Timeout, from, to, counters);
        }
    }

    /// A segment of the peer's: everything before `una` has arrived, and what `sacks` reports.
    pub fn heard(&mut self, now_ns: u64, una: u32, sacks: &Sacks, counters: &mut LossCounters) {
        let (twice, blocks) = sacks.split(una);
        let mut is_news = false;
        if una != self.una {
            assert!(is_before(self.una, una));
            assert!(!is_before(self.next, una));
            self.advance(now_ns, una, twice.is_some(), counters);
            is_news = true;
        }
        for &(from, to) in blocks {
            let is_possible = !is_before(from, self.una) && is_before(from, to) && !is_before(self.next, to);
            if is_possible && self.board.sack(from, to) {
                self.measure(now_ns, to);
                is_news = true;
            }
        }
        if let Some(block) = twice {
            self.needless(block, counters);
        }
        if is_news {
            self.news_ns = now_ns;
            // A probe that still waits for room in the device asks for news; there may be nothing left to ask about.
            self.is_probing = false;
            self.look_for_holes(now_ns, counters);
        }
    }

    fn advance(&mut self, now_ns: u64, una: u32, is_reported_twice: bool, counters: &mut LossCounters) {
        if let Some(repeats) = self.repeats
            && repeats.from == self.una
            && !self.is_local()
            && now_ns - repeats.at_ns < self.rtt.min_ns() / 2
        {
            // Nobody answers so quickly: this acknowledges what was sent first (RFC 3522, without its timestamps). On a
            // local network a turn takes longer than an answer, and nothing can be told.
            self.take_back(repeats.cause, counters);
        }
        self.measure(now_ns, una);
        let flight = self.flight();
        self.window.note_arrived(una.wrapping_sub(self.una));
        if self.episode.is_none_or(|episode| episode.by_timeout || episode.is_borne) {
            self.window.acked(una.wrapping_sub(self.una), flight);
        }
        self.una = una;
        if is_before(self.engine_next, una) {
            self.engine_next = una;
        }
        self.board.advance(una);
        self.backoff = 0;
        if let Some(end) = self.probe_end
            && !is_before(una, end)
        {
            self.probe_end = None;
            if !is_reported_twice {
                self.rtt.probe_was_needed();
                if !self.bears_loss() {
                    self.window.lost(self.is_local());
                }
            }
        }
        if let Some(episode) = self.episode
            && !is_before(una, episode.until)
        {
            self.episode = None;
            if episode.by_timeout && !is_reported_twice {
                self.rtt.timeout_was_needed();
            }
        }
        if self.flight() == 0 {
            self.patience_ends_ns = NEVER;
            self.is_urgent = false;
        }
    }

    fn measure(&mut self, now_ns: u64, arrived_to: u32) {
        if let Some((number, sent_ns)) = self.timed
            && !is_before(arrived_to, number)
        {
            self.rtt.sample(now_ns, now_ns - sent_ns);
            self.timed = None;
        }
    }

    /// The peer reports that it has got `block` twice.
    fn needless(&mut self, block: Block, counters: &mut LossCounters) {
        // It may be the network that has made two of one: then nothing was sent again.
        if let Some(repeats) = &mut self.repeats
            && !is_before(block.0, repeats.from)
            && !is_before(repeats.to, block.1)
        {
            repeats.count -= 1;
            if repeats.count == 0 {
                let cause = repeats.cause;
                self.take_back(cause, counters);
            }
        }
    }

    fn take_back(&mut self, cause: Cause, counters: &mut LossCounters) {
        counters.needless += 1;
        self.repeats = None;
        self.probe_end = None;
        self.window.take_back();
        match cause {
            Cause::Probe => self.rtt.probe_was_needless(),
            Cause::Hole => {
                self.reorders = (self.reorders + 1).min(REORDERS_MAX);
                self.calm = 0;
            }
            Cause::Timeout => {
                self.rtt.timeout_was_needless();
                self.board.none_lost();
                self.episode = None;
            }
        }
    }

    fn look_for_holes(&mut self, now_ns: u64, counters: &mut LossCounters) {
        let patience_ns = self.patience_ns();
        // Three segments beyond a hole are enough, where the path has kept the order so far (RFC 6675).
        let is_sure = patience_ns == 0
            || now_ns >= self.patience_ends_ns
            || self.reorders == 0 && self.board.sacked_bytes() >= SEGMENTS_BEYOND * self.mss;
        let lost_before = self.board.lost_bytes();
        if self.board.find_lost(is_sure) {
            counters.holes += 1;
            self.window.note_lost(self.board.lost_bytes() - lost_before);
            self.begin(false);
            self.is_urgent = true;
        }
        if !self.board.has_hole() {
            self.patience_ends_ns = NEVER;
        } else if self.patience_ends_ns == NEVER {
            self.patience_ends_ns = now_ns + patience_ns;
        }
    }

    /// How long bytes may be late, behind later ones, before they are lost (RFC 8985, 6.2). Nothing on a local network,
    /// where that is less than a tick.
    fn patience_ns(&self) -> u64 {
        let quarter = self.rtt.min_ns() / 4;
        match self.reorders {
            0 if quarter < TICK_NANOS => 0,
            reorders => (quarter.max(TICK_NANOS) * u64::from(1 + reorders))
                .min(self.rtt.smoothed_ns().max(TICK_NANOS)),
        }
    }

    fn begin(&mut self, by_timeout: bool) {
        let is_borne = !by_timeout && self.bears_loss();
        if by_timeout {
            self.window.timed_out(self.backoff > 0);
        } else if self.episode.is_some_and(|episode| !episode.is_borne || is_borne) {
            return;
        } else if !is_borne {
            self.window.lost(self.is_local());
        }
        self.calm += 1;
        if self.calm.is_multiple_of(CALM_EPISODES) {
            self.reorders = self.reorders.saturating_sub(1);
        }
        self.repeats = None;
        self.episode = Some(Episode { until: self.next, by_timeout, is_borne });
    }

    fn bears_loss(&self) -> bool {
        self.is_local() && self.window.bears_loss()
    }

    fn is_local(&self) -> bool {
        (1..TICK_NANOS).contains(&self.rtt.min_ns())
    }

    /// When [`Self::due`] is to be called; `NEVER` if all is quiet.
    pub fn deadline_ns(&self) -> u64 {
        if self.flight() == 0 && !self.is_stalled {
            return NEVER;
        }
        let wait_ns = (self.rtt.timeout_ns() << self.backoff).min(rtt::TIMEOUT_NANOS_MAX);
        let mut at_ns = self.news_ns + wait_ns;
        if self.is_stalled {
            return at_ns;
        }
        if self.may_probe() {
            at_ns = at_ns.min(self.probe_at_ns());
        }
        at_ns.min(self.patience_ends_ns)
    }

    fn may_probe(&self) -> bool {
        let is_quiet = self.board.is_empty() && self.episode.is_none() && self.backoff == 0;
        is_quiet && self.probe_end.is_none() && self.flight() > 0
    }

    fn probe_at_ns(&self) -> u64 {
        self.sent_ns.max(self.news_ns) + self.rtt.probe_wait_ns()
    }

    /// Time has passed. Then see [`Self::next_repeat`]. True if the peer is to be asked whether it takes something now.
    pub fn due(&mut self, now_ns: u64, counters: &mut LossCounters) -> bool {
        if now_ns < self.deadline_ns() {
            return false;
        }
        if self.is_stalled {
            counters.nudges += 1;
            self.back_off(now_ns);
            return true;
        }
        if now_ns >= self.patience_ends_ns {
            self.look_for_holes(now_ns, counters);
        } else if self.may_probe() && now_ns >= self.probe_at_ns() {
            self.is_probing = true;
        } else {
            counters.timeouts += 1;
            self.board.all_lost(self.next, self.backoff > 0);
            self.begin(true);
            self.back_off(now_ns);
            self.probe_end = None;
            self.patience_ends_ns = NEVER;
            self.is_urgent = true;
        }
        false
    }

    fn back_off(&mut self, now_ns: u64) {
        self.backoff = (self.backoff + 1).min(BACKOFF_MAX);
        self.news_ns = now_ns;
    }

    /// Bytes wait for a window that is closed; or no more so. What gets no answer then is no sign of loss.
    pub fn stall(&mut self, now_ns: u64, is_stalled: bool) {
        if is_stalled != self.is_stalled {
            self.is_stalled = is_stalled;
            self.news_ns = now_ns;
            self.backoff = 0;
        }
    }

    /// We ourselves did nothing from one time to the other. What is noted as sent within it left before its end only, and
    /// nobody could answer sooner.
    pub fn held_up(&mut self, from_ns: u64, to_ns: u64) {
        for at_ns in [&mut self.sent_ns, &mut self.news_ns] {
            if (from_ns..to_ns).contains(at_ns) {
                *at_ns = to_ns;
            }
        }
    }

    /// What is to be sent again now, at most about `bytes_max` of it, and is taken to have been. Ask again until there is
    /// nothing.
    pub fn next_repeat(
        &mut self,
        now_ns: u64,
        bytes_max: u32,
        counters: &mut LossCounters,
    ) -> Option<(u32, u32)> {
        if std::mem::take(&mut self.is_probing) {
            // The last segment: news of it tells what of the others is missing.
            let from = self.next.wrapping_sub(self.flight().min(self.mss));
            counters.probes += 1;
            self.repeats = None;
            self.probe_end = Some(self.next);
            self.news_ns = now_ns;
            let serial = self.next_serial(now_ns);
            let _noted = self.board.resent(from, self.next, self.next, serial);
            self.repeated(now_ns, Cause::Probe, from, self.next, counters);
            return Some((from, self.next));
        }
        let (from, end) = self.board.first_lost()?;
        let room = self.window.bytes().saturating_sub(self.pipe());
        if room < self.mss && !std::mem::take(&mut self.is_urgent) {
            return None;
        }
        let whole_segments = room.min(bytes_max) / self.mss * self.mss;
        let to = from.wrapping_add(end.wrapping_sub(from).min(whole_segments.max(self.mss)));
        let serial = self.next_serial(now_ns);
        if !self.board.resent(from, to, self.next, serial) {
            return None; // The timer sees to it.
        }
        self.is_urgent = false;
        self.news_ns = now_ns;
        let is_timeout = self.episode.is_some_and(|episode| episode.by_timeout);
        let cause = if is_timeout { Cause::Timeout } else { Cause::Hole };
        self.repeated(now_ns, cause, from, to, counters);
        Some((from, to))
    }

    fn repeated(&mut self, now_ns: u64, cause: Cause, from: u32, to: u32, counters: &mut LossCounters) {
        let bytes = u64::from(to.wrapping_sub(from));
        counters.repeated_frames += 1;
        counters.repeated_bytes += bytes;
        self.timed = None; // Karn: an acknowledgement no longer says of which.
        match &mut self.repeats {
            Some(repeats) => {
                repeats.count += 1;
                repeats.to = if is_before(repeats.to, to) { to } else { repeats.to };
            }
            None => self.repeats = Some(Repeats { cause, from, to, at_ns: now_ns, count: 1 }),
        }
    }

    /// What is sent again at one time is one round.
    fn next_serial(&mut self, now_ns: u64) -> u32 {
        if self.serial_ns != now_ns {
            self.serial_ns = now_ns;
            self.serial += 1;
        }
        self.serial
    }
}

/// 2^12 times the timeout of a local network is 40 s.
const BACKOFF_MAX: u32 = 12;
const REORDERS_MAX: u32 = 15;
/// RFC 8985, 6.2.
const CALM_EPISODES: u32 = 16;
const SEGMENTS_BEYOND: u32 = 3;
/// The wheel's resolution.
const TICK_NANOS: u64 = 1 << 20;

/// Ten thousand connections have one each.
const _: () = assert!(size_of::<Recovery>() <= 768);
