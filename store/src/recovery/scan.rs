//! A walk over the commitlog's files, record by record: what is whole, and what has no queue entry yet.

use protocol::record::{RecordError, RecordView, Unit as LogUnit};

use super::Recovery;
use super::window::Window;
use crate::brief::{Brief, Labels};
use crate::consumequeue::Dispatched;
use crate::disk::Disk;
use crate::error::StoreError;
use crate::offsets::PhysicalOffset;
use crate::progress::Progress;

pub(super) struct Scan {
    pub end: PhysicalOffset,
    pub cut: Option<RecordError>,
    pub gap: bool,
}

/// Looks at every unit from `from` on, CRC included, and collects the entries that the queues lack.
pub(super) fn scan(
    disk: &mut Disk,
    from: PhysicalOffset,
    progress: &mut Progress,
    recovery: &mut Recovery,
) -> Result<Scan, StoreError> {
    let mut scan = Scan { end: from, cut: None, gap: false };
    let mut records = 0_u64;
    let mut window = Window::new(from);
    let total = disk.log.file_end();
    while scan.end < total {
        window.at = scan.end;
        let left = disk.log.left_in_file(scan.end);
        let unit = window.unit(&mut disk.log)?;
        match unit {
            Ok(LogUnit::Blank { bytes_left }) if u64::from(bytes_left) == left => {
                scan.end = scan.end.plus(left);
            }
            Ok(LogUnit::Blank { bytes_left }) => {
                scan.cut = Some(RecordError::Size { declared: bytes_left as usize });
                break;
            }
            Ok(LogUnit::Record(view)) => {
                let problem = check(&view, scan.end).err();
                if let Some(error) = problem.or(is_torn(&view, left).then_some(RecordError::Crc)) {
                    scan.cut = Some(error);
                    break;
                }
                let dispatched = disk.dispatch(&Brief::of(&view), &Labels::of(view.properties));
                scan.end = scan.end.plus(view.bytes.len() as u64);
                records += 1;
                if dispatched == Dispatched::Gap {
                    scan.gap = true;
                    break;
                }
            }
            Err(error) => {
                // Zeros are what was never written: the ordinary end.
                scan.cut = (error != RecordError::Magic { magic: 0 }).then_some(error);
                break;
            }
        }
        if records.is_multiple_of(RECORDS_PER_WRITE) {
            disk.queues.write_out()?;
            let (done, all) = (scan.end.since(from) >> 20, total.since(from) >> 20);
            progress.at("commitlog, at most", done, all, "MiB");
        }
    }
    recovery.scanned_bytes += scan.end.since(from);
    recovery.scanned_records += records;
    Ok(scan)
}

pub(super) fn check(view: &RecordView<'_>, at: PhysicalOffset) -> Result<(), RecordError> {
    if view.physical_offset != at.0 {
        return Err(RecordError::Size { declared: view.bytes.len() });
    }
    if view.crc_holds() { Ok(()) } else { Err(RecordError::Crc) }
}

/// Whether a sector of what follows the body, which no CRC covers, is as it was before anything was written: the power was cut
/// before it reached the disk. `left`: bytes to the end of the file, whose size is a whole number of sectors, or nearly always.
fn is_torn(view: &RecordView<'_>, left: u64) -> bool {
    let end = view.bytes.len();
    // Within a sector too, after a kill within the write: it ends anywhere. No topic has a zero, and no properties end with one.
    if view.topic.contains(&0) || view.bytes.last() == Some(&0) && !view.properties.is_empty() {
        return true;
    }
    let length_bytes = if view.properties.is_empty() { PROPERTIES_LENGTH_BYTES } else { 0 }; // Zero, and rightly so.
    let mut from = end - view.properties.len() - PROPERTIES_LENGTH_BYTES - view.topic.len();
    while from < end - length_bytes {
        let sector_left = (left as usize - from - 1) % SECTOR_BYTES + 1;
        let to = end.min(from + sector_left);
        if view.bytes[from..to].iter().all(|byte| *byte == 0) {
            return true;
        }
        from = to;
    }
    false
}

const RECORDS_PER_WRITE: u64 = 16_384;
const SECTOR_BYTES: usize = 512;
const PROPERTIES_LENGTH_BYTES: usize = 2;
