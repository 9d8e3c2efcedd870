//! The polling broker on pinned cores.
