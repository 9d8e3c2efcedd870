//! What brokers send packed, and what is in it.

use super::incoming;
use crate::message::MessageExt;
use bytes::Bytes;
use std::sync::Arc;

/// What a broker sent, as it came.
#[derive(Debug)]
pub enum Packed {
    /// Stored records, one after another.
    Records { body: Bytes, broker: Arc<str> },
    /// The compressed body of one message.
    Body { body: Bytes, flags: i32 },
}

#[derive(Debug)]
pub enum Unpacked {
    Records(Vec<MessageExt>),
    Body(Result<Bytes, String>),
}

impl Packed {
    /// May take long; needs nothing of the core.
    pub fn unpack(self) -> Unpacked {
        match self {
            Packed::Records { body, broker } => Unpacked::Records(incoming::records(&body, &broker)),
            Packed::Body { body, flags } => {
                let body = incoming::inflate(&body, flags, incoming::BODY_BYTES_MAX);
                Unpacked::Body(body.map(Bytes::from).map_err(|error| error.to_string()))
            }
        }
    }

    /// Whether it is unpacked sooner than handed to somebody.
    pub(super) fn is_quick(&self) -> bool {
        match self {
            Packed::Records { body, .. } => body.len() < QUICK_BYTES && !incoming::has_compressed(body),
            Packed::Body { .. } => false,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Packed::Records { body, .. } | Packed::Body { body, .. } => body.len(),
        }
    }
}

/// Some 50 messages of 1 KiB, which are copied sooner than another thread is woken.
const QUICK_BYTES: usize = 64 * 1024;
