//! Delay levels: which level a message gets and how long that is.

use crate::config::DelayLevels;

/// A level above the highest counts as the highest.
pub fn clamp(levels: &DelayLevels, level: i32) -> i32 {
    level.clamp(1, count(levels))
}

/// How many levels there are; also the number of queues of the schedule topic.
pub fn count(levels: &DelayLevels) -> i32 {
    i32::try_from(levels.delays_ms().len()).expect("a line of text holds fewer")
}

/// The delay of a level from 1 on.
pub fn delay_ms(levels: &DelayLevels, level: i32) -> i64 {
    let at = clamp(levels, level) as usize - 1;
    *levels.delays_ms().get(at).expect("a clamped level is there")
}

/// The level of a retry when the consumer leaves the choice to the broker: 10 s for the first, 2 h at last.
pub fn retry_level(reconsume_times: i32) -> i32 {
    RETRY_LEVEL_FIRST.saturating_add(reconsume_times)
}

const RETRY_LEVEL_FIRST: i32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_outside_the_table_count_as_its_ends() {
        let levels = DelayLevels::default();
        assert_eq!((count(&levels), clamp(&levels, 19), clamp(&levels, 1)), (18, 18, 1));
        assert_eq!((delay_ms(&levels, 1), delay_ms(&levels, 99)), (1_000, 7_200_000));
        assert_eq!(delay_ms(&levels, retry_level(0)), 10_000);
        assert_eq!(delay_ms(&levels, retry_level(i32::MAX)), 7_200_000);
    }
}
