//! Where in a queue a time lies: a search by halves, of messages in memory and on disk alike, that does not believe every clock.
//!
//! ```text
//! times   1 2 3 F F ? 4 5 6     F: from the future, told by a clock that was set forward and back again; ?: cannot be read
//!                 '-----▶'      a look at one of them asks the first behind them that can be believed
//! ```
//!
//! The official broker believes them all, and its answer depends on which of them it happens to look at.

use std::ops::Range;

use crate::retention::is_in_future;

/// Which end SEARCH_OFFSET_BY_TIMESTAMP wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Boundary {
    /// The first message stored at that time or later.
    #[default]
    Lower,
    /// The last message stored at that time or earlier.
    Upper,
}

/// A search by store time. Messages from the future, and such as cannot be read, before the one that is found are as good as it.
#[derive(Clone, Copy, Debug)]
pub struct ByTime {
    pub timestamp: i64,
    pub boundary: Boundary,
    pub now_ms: i64,
}

impl ByTime {
    /// The offset in `offsets`: their start when all were stored after the time, their end (`Upper`: the last) when all were before it.
    /// `time_from` tells the store time of the message at an offset, with that offset, or of the first one behind it that there is; `None`:
    /// it cannot be read.
    pub fn search<E>(
        &self,
        offsets: Range<i64>,
        mut time_from: impl FnMut(i64) -> Result<Option<(i64, i64)>, E>,
    ) -> Result<i64, E> {
        let (mut low, mut high) = (offsets.start, offsets.end);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.before(middle..high, &mut time_from)? {
                Some(offset) => low = offset + 1,
                None => high = middle,
            }
        }
        Ok(match self.boundary {
            Boundary::Lower => low,
            Boundary::Upper => (low - 1).max(offsets.start),
        })
    }

    /// Whether what the search is for lies behind the first of these messages that tells: then its offset. What lies behind all of them is
    /// known to be late enough.
    pub fn before<E>(
        &self,
        offsets: Range<i64>,
        mut time_from: impl FnMut(i64) -> Result<Option<(i64, i64)>, E>,
    ) -> Result<Option<i64>, E> {
        let told = time_from(offsets.start)?;
        let first = told.map_or(offsets.start, |(first, _)| first);
        if first >= offsets.end {
            return Ok(None);
        }
        let believed = match told.filter(|(_, time)| !is_in_future(*time, self.now_ms)) {
            Some(told) => Some(told),
            None => self.first_believed(first..offsets.end, time_from)?.or(told),
        };
        let Some((offset, time)) = believed else { return Ok(None) };
        let is_before = match self.boundary {
            Boundary::Lower => time < self.timestamp,
            Boundary::Upper => time <= self.timestamp,
        };
        Ok(is_before.then_some(offset))
    }

    /// The first message that can be believed, and its time, when the first one of all cannot. There are two borders for each run of
    /// those, of which any may be found.
    fn first_believed<E>(
        &self,
        offsets: Range<i64>,
        mut time_from: impl FnMut(i64) -> Result<Option<(i64, i64)>, E>,
    ) -> Result<Option<(i64, i64)>, E> {
        let mut believed = |at: i64| -> Result<Option<(i64, i64)>, E> {
            let told = time_from(at)?;
            Ok(told.filter(|(offset, time)| *offset < offsets.end && !is_in_future(*time, self.now_ms)))
        };
        // Ever longer strides to one that can; then back to the first, by halves.
        let (mut doubted, mut stride) = (offsets.start, 1);
        let (mut high, mut found) = loop {
            let at = doubted.saturating_add(stride).min(offsets.end - 1);
            if at <= doubted {
                return Ok(None);
            }
            if let Some(found) = believed(at)? {
                break (at, found);
            }
            doubted = at;
            stride = stride.saturating_mul(2);
        };
        while high - doubted > 1 {
            let middle = doubted + (high - doubted) / 2;
            match believed(middle)? {
                Some(earlier) => (high, found) = (middle, earlier),
                None => doubted = middle,
            }
        }
        Ok(Some(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_000_000;
    const FUTURE_MS: i64 = NOW_MS * 2;

    /// `None`: a message that cannot be read.
    fn search(times: &[Option<i64>], timestamp: i64, boundary: Boundary) -> i64 {
        let by_time = ByTime { timestamp, boundary, now_ms: NOW_MS };
        let mut looks = 0;
        let found = by_time.search::<()>(0..times.len() as i64, |at| {
            looks += 1;
            Ok(times[at as usize].map(|time| (at, time)))
        });
        assert!(looks <= 400, "{looks} looks");
        found.unwrap()
    }

    /// Goal: the first message that can be believed and is late enough is found, or the first of those that cannot just before it, with a bounded
    /// number of looks. Method: a run of such messages, of any length, anywhere among others; every time.
    fn a_run_is_passed_over(time_in_run: impl Fn(i64) -> Option<i64>) {
        let count = 40;
        for (start, len) in (0..count).flat_map(|start| (0..=count - start).map(move |len| (start, len))) {
            let run = start..start + len;
            let time_of = |nth: i64| if run.contains(&nth) { time_in_run(nth) } else { Some(nth * 10) };
            let times: Vec<Option<i64>> = (0..count).map(time_of).collect();
            let sane: Vec<i64> = (0..count).filter(|nth| !run.contains(nth)).collect();
            for timestamp in (-5..count * 10).step_by(5) {
                let lower = sane.iter().rfind(|nth| **nth * 10 < timestamp).map_or(0, |nth| nth + 1);
                assert_eq!(search(&times, timestamp, Boundary::Lower), lower, "{run:?} {timestamp}");
                let upper = sane.iter().rfind(|nth| **nth * 10 <= timestamp).copied().unwrap_or(0);
                assert_eq!(search(&times, timestamp, Boundary::Upper), upper, "{run:?} {timestamp}");
            }
            let behind_all = if times[39].is_some() { count } else { start };
            assert_eq!(search(&times, i64::MAX, Boundary::Lower), behind_all);
        }
    }

    /// B-5. Goal and method: above.
    #[test]
    fn a_run_from_the_future_is_passed_over() {
        a_run_is_passed_over(|nth| Some(FUTURE_MS + nth));
    }

    /// B-5. Goal and method: above.
    #[test]
    fn a_run_that_cannot_be_read_is_passed_over() {
        a_run_is_passed_over(|_| None);
    }
}
