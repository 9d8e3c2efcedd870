//! The log: memory, files, offsets. Has never heard of a socket.
//!
//! ```text
//!                 shard thread                          cold threads
//! Store ── append ─▶ hot log ══ published ══▶ ColdStore::step ─▶ commitlog/, consumequeue/, checkpoint
//!       ◀─ bytes ──     │                                             │
//!       ◀─ units ──  hot units      ColdReader ◀── what is not hot ───┘
//! ```
//!
//! `open` recovers a directory in RocketMQ's own layout and hands out the two halves. The shard's half (`Store`) never
//! blocks; the cold half (`ColdStore`) does one bounded `step` at a time, driven by whoever owns the thread, so that a
//! simulator can drive it too. Everything the store asks of the machine goes through one seam, `Medium`.

pub mod arena;
mod brief;
mod by_time;
mod checkpoint;
pub mod cold;
mod commitlog;
pub mod config;
pub mod config_files;
mod consumequeue;
mod crc_copy;
mod disk;
pub mod dispatch;
pub mod error;
mod files;
pub mod ground;
mod holes;
mod identity;
mod index;
pub mod inspect;
pub mod latency;
mod marks;
pub mod medium;
pub mod offsets;
mod progress;
mod pull;
pub mod read_ahead;
pub mod reader;
pub mod real_medium;
pub mod recovery;
pub mod retention;
mod shared;
#[cfg(feature = "sim")]
pub mod sim_medium;
pub mod store;
mod trash;
mod units;
mod walk;
mod wanted;
pub mod writers;

pub use by_time::{Boundary, ByTime};
pub use cold::{ColdStore, Work};
pub use config::{FlushMode, IndexShape, StoreConfig};
pub use dispatch::entry_tags_code;
pub use error::{AppendError, MediumError, StoreError};
pub use ground::{Ground, Haste};
pub use holes::Mended;
pub use index::hash::KeyKind;
pub use index::query::{IndexEnd, KeyQuery};
pub use marks::Removed;
pub use medium::{HotKind, Medium};
pub use offsets::{LogRange, PhysicalOffset, QueueIndex, QueueOffset, Unit};
pub use pull::{ColdPull, PullLimits};
pub use read_ahead::ReadAhead;
pub use reader::{ColdReader, KeysFound};
pub use real_medium::RealMedium;
pub use recovery::{HotFound, Recovery, open};
pub use retention::{Cause, Retention, Space};
pub use shared::SharedBytes;
pub use store::{Appended, BatchAppendError, BatchAppended, QueueFound, Store, UnitAt};
pub use trash::Trash;
pub use writers::Writers;
