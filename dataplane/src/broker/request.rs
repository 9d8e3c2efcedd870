//! What a desk is given, and what became of it. What it may keep or return is in answer.rs.

use std::net::SocketAddr;

use protocol::code::response;
use protocol::frame::Codec;
use protocol::header::{Header, SendFields, Text};

use crate::answer::{Refusal, ReplyTo};
use crate::limits::ERRAND_TEXT_BYTES_MAX;
use crate::net::ConnId;
use crate::time::TurnTime;

/// One request, lent in place from the receive ring.
pub struct Request<'a> {
    pub conn: ConnId,
    pub peer: SocketAddr,
    pub local: SocketAddr,
    /// Came in through the VIP port (`listenPort` - 2), which serves everything but pulls.
    pub vip: bool,
    pub codec: Codec,
    pub header: Header<'a>,
    /// The fields of a send, which are read with the header.
    pub send: SendFields<'a>,
    pub body: &'a [u8],
    pub now: &'a TurnTime,
}

/// What a request leaves behind while the cold thread reads for it has a length.
pub fn check_kept<'t>(texts: impl IntoIterator<Item = Text<'t>>) -> Result<(), Refusal> {
    let len: usize = texts.into_iter().map(|text| text.raw().len() + TEXT_BYTES).sum();
    if len > ERRAND_TEXT_BYTES_MAX {
        let remark = format!(
            "the fields of this request have more bytes than the {ERRAND_TEXT_BYTES_MAX} they may have"
        );
        return Err(Refusal::new(response::SYSTEM_ERROR, remark));
    }
    Ok(())
}

/// What a text takes besides its bytes.
const TEXT_BYTES: usize = 32;

impl Request<'_> {
    pub fn reply_to(&self) -> ReplyTo {
        ReplyTo {
            conn: self.conn,
            opaque: self.header.opaque,
            codec: self.codec,
            oneway: self.header.is_oneway(),
        }
    }
}

/// What became of a request that was offered to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Served {
    /// Answered, held, or on its way through the gate or the cold thread.
    Done,
    /// Nothing was done for want of room: leave the frame where it is and offer it again.
    Wait,
}
