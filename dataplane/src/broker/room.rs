//! Why a table does not take one more row, and what its sender is told.
//!
//! Clients name topics, groups and offsets as they like, and each name is kept. So every table has its bound (limits.rs), and at the
//! bound what is new is refused to who asked for it. What is there stays, and is changed as ever.

use protocol::code::response;

use super::Refusal;

/// The table is full. Says what may be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom(pub &'static str);

impl From<NoRoom> for Refusal {
    #[cold]
    fn from(full: NoRoom) -> Refusal {
        Refusal::new(response::SYSTEM_ERROR, full.0)
    }
}

/// Why a topic or a group was not made on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotMade {
    /// By its name, or by what the settings say. Each code has its own answer to that.
    NotAllowed,
    NoRoom(NoRoom),
}

impl NotMade {
    /// What is answered; `not_allowed` is the code's own answer.
    #[cold]
    pub fn refusal(self, not_allowed: impl FnOnce() -> Refusal) -> Refusal {
        match self {
            NotMade::NotAllowed => not_allowed(),
            NotMade::NoRoom(full) => full.into(),
        }
    }
}
