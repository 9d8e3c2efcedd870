//! Delay levels: "1s 5s 10s .." as milliseconds, and the level of a retry.

/// messageDelayLevel, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelayLevels {
    delays_ms: Vec<i64>,
}

impl DelayLevels {
    /// Parses the configuration's text: numbers with a unit s, m, h or d. None when a part is not such a delay.
    pub fn parse(text: &str) -> Option<DelayLevels> {
        let mut delays_ms = Vec::new();
        for part in text.split_ascii_whitespace() {
            let (number, unit) = part.split_at_checked(part.len().checked_sub(1)?)?;
            let unit_ms = match unit {
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return None,
            };
            let number: i64 = number.parse().ok().filter(|number| *number >= 0)?;
            delays_ms.push(number.checked_mul(unit_ms)?);
        }
        (1..=LEVELS_MAX).contains(&delays_ms.len()).then_some(DelayLevels { delays_ms })
    }

    /// How many there are; also the highest level, and the number of queues of the schedule topic.
    pub fn count(&self) -> i32 {
        self.delays_ms.len() as i32
    }

    /// A level above the highest counts as the highest (message.md §8). `level` is at least 1.
    pub fn clamp(&self, level: i32) -> i32 {
        level.clamp(1, self.count())
    }

    pub fn delay_ms(&self, level: i32) -> i64 {
        *self.delays_ms.get(self.clamp(level) as usize - 1).expect("a clamped level is there")
    }
}

impl Default for DelayLevels {
    fn default() -> DelayLevels {
        DelayLevels::parse(DELAY_LEVELS_DEFAULT).expect("the default parses")
    }
}

/// The level of a retry when the consumer left the choice to the broker: 10 s for the first, 2 h at last.
pub fn retry_level(reconsume_times: i32) -> i32 {
    RETRY_LEVEL_FIRST.saturating_add(reconsume_times)
}

pub const DELAY_LEVELS_DEFAULT: &str = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h";
/// More levels than anybody configures; each costs a queue and a look per 100 ms.
pub const LEVELS_MAX: usize = 128;
const RETRY_LEVEL_FIRST: i32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_levels_are_those_of_the_book() {
        let levels = DelayLevels::default();
        let seconds: Vec<_> = (1..=levels.count()).map(|level| levels.delay_ms(level) / 1000).collect();
        let expected =
            [1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200];
        assert_eq!(seconds, expected);
        assert_eq!((levels.clamp(19), levels.clamp(1), levels.delay_ms(99)), (18, 1, 7_200_000));
        assert_eq!(levels.delay_ms(retry_level(0)), 10_000);
        assert_eq!(levels.delay_ms(retry_level(i32::MAX)), 7_200_000);
    }

    #[test]
    fn what_is_no_delay_is_refused() {
        for text in ["", "1", "s", "1x", "-1s", "1s 5", "1é", "9223372036854775807d"] {
            assert_eq!(DelayLevels::parse(text), None, "{text}");
        }
        assert_eq!(DelayLevels::parse("2d").unwrap().delay_ms(1), 172_800_000);
    }
}
