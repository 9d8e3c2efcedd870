//! Producer, consumer and admin library.
