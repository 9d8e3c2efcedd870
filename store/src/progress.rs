//! What a start is at, told once a second while it takes that long.

use std::sync::Arc;

use crate::medium::Medium;

/// Tells of one opening.
pub(crate) struct Progress {
    medium: Arc<dyn Medium>,
    began_ms: u64,
    told_ms: u64,
}

impl Progress {
    pub fn new(medium: Arc<dyn Medium>) -> Self {
        let now_ms = medium.elapsed_ms();
        Self { medium, began_ms: now_ms, told_ms: now_ms }
    }

    /// `done` of at most `total` `units` of `what`.
    pub fn at(&mut self, what: &str, done: u64, total: u64, units: &str) {
        if let Some(line) = self.line(what, done, total, units) {
            log::info!("{line}");
        }
    }

    fn line(&mut self, what: &str, done: u64, total: u64, units: &str) -> Option<String> {
        let now_ms = self.medium.elapsed_ms();
        if now_ms - self.told_ms < PERIOD_MS {
            return None;
        }
        self.told_ms = now_ms;
        let percent = 100 * done.min(total) / total.max(1);
        let seconds = (now_ms - self.began_ms) / 1_000;
        Some(format!("starting for {seconds} s: {what} {percent} % ({done} of {total} {units})"))
    }
}

const PERIOD_MS: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim_medium::SimMedium;

    /// Goal: one line a second, with what and how far. Method: a clock that is moved.
    #[test]
    fn a_line_a_second() {
        let medium = SimMedium::new(1);
        let mut progress = Progress::new(Arc::new(medium.clone()));
        assert_eq!(progress.line("commitlog", 1, 200, "MiB"), None);
        medium.advance_ms(1_200);
        let line = progress.line("commitlog", 50, 200, "MiB");
        assert_eq!(line.as_deref(), Some("starting for 1 s: commitlog 25 % (50 of 200 MiB)"));
        assert_eq!(progress.line("commitlog", 51, 200, "MiB"), None);
        medium.advance_ms(1_000);
        assert!(progress.line("consume queues", 0, 0, "queues").unwrap().contains(" 0 % (0 of 0 queues)"));
    }
}
