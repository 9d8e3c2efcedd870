//! Finds one RemotingCommand frame at the front of a run of bytes.
//!
//! ```text
//! | total u32 | codec u8 | header_len u24 | header .. | body .. |
//!             '------------- counted by `total` -------------'
//! ```
//!
//! Sans-IO: no socket, no clock, no allocation; a `Frame` borrows the caller's bytes.
//! Implements rules W-1 to W-4 (docs/PROMISES.md).

use crate::error::WireError;
use crate::header::{Header, SendFields, binary, json};

/// How a header is written: every frame says it by its own byte, and an answer need not echo the request's (W-4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Codec {
    #[default]
    Json,
    Binary,
}

/// One whole frame, as it lies in the caller's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub codec: Codec,
    pub header: &'a [u8],
    pub body: &'a [u8],
}

/// What lies at the front of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// Not whole yet: ask again when at least `bytes_len` bytes are there.
    Need { bytes_len: usize },
    /// A whole frame, which takes the first `bytes_len` bytes.
    Whole { frame: Frame<'a>, bytes_len: usize },
}

/// Never panics and never looks past the frame, whatever the bytes are.
pub fn find(bytes: &[u8]) -> Result<Found<'_>, WireError> {
    let Some((prefix, rest)) = bytes.split_first_chunk() else {
        return Ok(Found::Need { bytes_len: WORD_BYTES });
    };
    let total = u32::from_be_bytes(*prefix) as usize;
    if total > FRAME_BYTES_MAX - WORD_BYTES {
        return Err(WireError::FrameTooBig { total }); // W-2: refused before it is buffered.
    }
    if total < WORD_BYTES {
        return Err(WireError::FrameTooSmall { total });
    }
    let Some((word, _)) = rest.split_first_chunk::<WORD_BYTES>() else {
        return Ok(Found::Need { bytes_len: WORD_BYTES + total });
    };
    let word = u32::from_be_bytes(*word);
    let codec = Codec::from_byte((word >> 24) as u8)?;
    let header_len = (word & HEADER_LEN_MASK) as usize;
    if header_len > total - WORD_BYTES {
        return Err(WireError::HeaderTooLong { header: header_len, total }); // W-3: also before it is buffered.
    }
    let Some((payload, _next)) = rest.split_at_checked(total) else {
        return Ok(Found::Need { bytes_len: WORD_BYTES + total });
    };
    let (_, payload) = payload.split_at(WORD_BYTES);
    let (header, body) = payload.split_at(header_len);
    Ok(Found::Whole { frame: Frame { codec, header, body }, bytes_len: WORD_BYTES + total })
}

impl<'a> Frame<'a> {
    /// Reads the header in place, in one walk. Its fields are checked here, so that nothing read from them later fails
    /// for its form.
    #[inline]
    pub fn header(&self) -> Result<Header<'a>, WireError> {
        let mut header = Header::default();
        self.read_header(&mut header)?;
        Ok(header)
    }

    /// The same into a fresh header that already lies where it is wanted: it is too large to be moved for nothing.
    #[inline]
    pub fn read_header(&self, header: &mut Header<'a>) -> Result<(), WireError> {
        self.read(header, None)
    }

    /// The same; if it is a send's, its fields go straight to `send`, which is a fresh one, too.
    #[inline]
    pub fn read_request(&self, header: &mut Header<'a>, send: &mut SendFields<'a>) -> Result<(), WireError> {
        self.read(header, Some(send))
    }

    #[inline]
    fn read(&self, header: &mut Header<'a>, send: Option<&mut SendFields<'a>>) -> Result<(), WireError> {
        match self.codec {
            Codec::Json => json::read(self.header, header, send),
            Codec::Binary => binary::read(self.header, header, send),
        }
    }
}

impl Codec {
    pub fn from_byte(byte: u8) -> Result<Codec, WireError> {
        match byte {
            0 => Ok(Codec::Json),
            1 => Ok(Codec::Binary),
            _ => Err(WireError::CodecUnknown { byte }),
        }
    }

    pub fn to_byte(self) -> u8 {
        match self {
            Codec::Json => 0,
            Codec::Binary => 1,
        }
    }
}

const WORD_BYTES: usize = 4;
const HEADER_LEN_MASK: u32 = 0x00FF_FFFF;

/// A whole frame, its length field included, as the official decoder counts it.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The two words before the header.
pub const PREFIX_BYTES: usize = 2 * WORD_BYTES;
/// What the 24 bits of a header length can say.
pub const HEADER_BYTES_MAX: usize = HEADER_LEN_MASK as usize;

const _: () = assert!(FRAME_BYTES_MAX <= u32::MAX as usize);
const _: () = assert!(PREFIX_BYTES < FRAME_BYTES_MAX);
