//! From a stored record to its consume queue entry: the rule for the tag code, and the 20 bytes.
//!
//! ```text
//! | physical offset i64 | size i32 | tags code i64 |
//! ```

use protocol::{hash, names};

use crate::brief::{Brief, Labels};
use crate::offsets::{PhysicalOffset, Unit};

/// Bytes of one consume queue entry.
pub const ENTRY_BYTES: usize = 20;
/// Where in an entry its size begins, sign first.
pub(crate) const SIZE_AT: usize = 8;

/// The tag code of an entry. For the schedule topic it is the delivery time: store time plus the delay of the level.
pub fn entry_tags_code(
    topic: &[u8],
    properties: &[u8],
    store_timestamp: i64,
    delay_levels_ms: &[i64],
) -> i64 {
    tags_code(topic, &Labels::of(properties), store_timestamp, delay_levels_ms)
}

#[inline]
fn tags_code(topic: &[u8], labels: &Labels<'_>, store_timestamp: i64, delay_levels_ms: &[i64]) -> i64 {
    if topic == names::SCHEDULE_TOPIC.as_bytes()
        && let Some(delay) = delay_ms(labels.delay, delay_levels_ms)
    {
        return store_timestamp + delay;
    }
    labels.tags.map_or(0, hash::tags_code_bytes)
}

/// The delay that a message asks for; a level above the highest is the highest.
fn delay_ms(level: Option<&[u8]>, delay_levels_ms: &[i64]) -> Option<i64> {
    let level: usize = str::from_utf8(level?).ok()?.parse().ok()?;
    delay_levels_ms.get(level.min(delay_levels_ms.len()).checked_sub(1)?).copied()
}

/// The entry of a record.
#[inline]
pub(crate) fn unit_of(brief: &Brief<'_>, labels: &Labels<'_>, delay_levels_ms: &[i64]) -> Unit {
    Unit {
        physical: PhysicalOffset(brief.physical_offset),
        tags_code: tags_code(brief.topic, labels, brief.store_timestamp, delay_levels_ms),
        size: brief.size,
    }
}

pub(crate) fn encode_entry(unit: &Unit) -> [u8; ENTRY_BYTES] {
    let mut entry = [0; ENTRY_BYTES];
    let (physical, rest) = entry.split_at_mut(8);
    let (size, tags_code) = rest.split_at_mut(4);
    physical.copy_from_slice(&unit.physical.0.to_be_bytes());
    size.copy_from_slice(&unit.size.to_be_bytes());
    tags_code.copy_from_slice(&unit.tags_code.to_be_bytes());
    entry
}

/// `None`: nothing was written there.
pub(crate) fn decode_entry(entry: &[u8; ENTRY_BYTES]) -> Option<Unit> {
    let (physical, rest) = entry.split_first_chunk::<8>()?;
    let (size, rest) = rest.split_first_chunk::<4>()?;
    let (tags_code, _) = rest.split_first_chunk::<8>()?;
    let physical = i64::from_be_bytes(*physical);
    let size = i32::from_be_bytes(*size);
    if physical < 0 || size <= 0 {
        return None;
    }
    let tags_code = i64::from_be_bytes(*tags_code);
    Some(Unit { physical: PhysicalOffset(physical), tags_code, size: size as u32 })
}

/// What fills the space before the first entry of a queue that does not begin at 0.
pub(crate) const BLANK_UNIT: Unit = Unit { physical: PhysicalOffset(0), tags_code: 0, size: i32::MAX as u32 };
