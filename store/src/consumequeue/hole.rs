//! Zeros amid a queue's files, and files that are missing: entries that a fault of the disk has taken. What lies behind them is as good as
//! ever.

use crate::dispatch::{BLANK_UNIT, ENTRY_BYTES, decode_entry};
use crate::error::MediumError;
use crate::offsets::{PhysicalOffset, Unit};

/// The first entry of `from..to` that was written, and its offset. `read` reads bytes of the queue's files, each of `file_entries`.
pub(crate) fn first_written(
    from: i64,
    to: i64,
    file_entries: i64,
    mut read: impl FnMut(u64, &mut [u8]) -> Result<usize, MediumError>,
) -> Result<Option<(i64, Unit)>, MediumError> {
    let mut at = from;
    let mut entries = vec![0; ENTRY_BYTES];
    while at < to {
        let there = read(at as u64 * ENTRY_BYTES as u64, &mut entries)?;
        let (found, _) = entries[..there].as_chunks::<ENTRY_BYTES>();
        if found.is_empty() {
            // No such file.
            at += file_entries - at % file_entries;
            continue;
        }
        for entry in found {
            if at >= to {
                break;
            }
            if let Some(unit) = decode_entry(entry) {
                return Ok(Some((at, unit)));
            }
            at += 1;
        }
        // Mostly the first one is there.
        entries.resize(AT_ONCE_BYTES, 0);
    }
    Ok(None)
}

/// The first offset of `from..to` whose message lies at `physical` or later, by halves.
pub(crate) fn first_at(
    from: i64,
    to: i64,
    file_entries: i64,
    physical: PhysicalOffset,
    mut read: impl FnMut(u64, &mut [u8]) -> Result<usize, MediumError>,
) -> Result<i64, MediumError> {
    let passes = |unit: &Unit| *unit != BLANK_UNIT && unit.physical >= physical;
    let (mut low, mut high) = (from, to);
    // Most often the first one passes already.
    let mut middle = low;
    while low < high {
        // A hole says nothing: what lies behind it does.
        match first_written(middle, high, file_entries, &mut read)? {
            Some((_, unit)) if passes(&unit) => high = middle,
            Some((behind, _)) => low = behind + 1,
            None => low = high,
        }
        middle = low + (high - low) / 2;
    }
    Ok(low)
}

const AT_ONCE_BYTES: usize = 64_000;
const _: () = assert!(AT_ONCE_BYTES.is_multiple_of(ENTRY_BYTES));
