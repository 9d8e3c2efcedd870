//! What recovery found, as operators read it.

use store::{HotFound, Recovery};

use crate::plan::Amount;

/// Tells it in the log.
pub fn announce(found: &Recovery) {
    log::info!(
        "log from {} to {}, {} queues; last stop {}; {} and {} records looked at in {} ms",
        found.min,
        found.max,
        found.queues.len(),
        if found.clean { "clean" } else { "not clean" },
        Amount(found.scanned_bytes),
        found.scanned_records,
        found.ms
    );
    match found.hot {
        HotFound::None => {}
        HotFound::Replayed => log::info!(
            "{} and {} records of the hot log were not in the files yet: they are now",
            Amount(found.replayed_bytes),
            found.replayed_records
        ),
        HotFound::Diverged => {
            log::warn!(
                "another broker has written these files since: {} records that only the hot log had are appended again",
                found.replayed_records
            );
        }
        HotFound::Detached => log::warn!(
            "the files end before the hot log found begins, so they are older than it: not replayed"
        ),
    }
    if let Some((at, error)) = &found.cut {
        log::warn!("the log ends at {at}, where {error}");
    }
    log::info!("hot log in {}", found.hot_kind);
    for remark in &found.remarks {
        log::warn!("{remark}");
    }
}
