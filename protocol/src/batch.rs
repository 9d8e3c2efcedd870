//! The body of a batch (SEND_BATCH_MESSAGE, or any send with `batch` = true).
//!
//! ```text
//! | total i32 | magic i32 = 0 | crc i32 = 0 | flag i32 | body_len i32 | body .. | properties_len i16 | properties .. |
//! ```
//!
//! One after the other, no count in front. `total` counts the whole unit, itself included.

use thiserror::Error;

/// One message of a batch body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchMessage<'a> {
    pub flag: i32,
    pub body: &'a [u8],
    pub properties: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BatchError {
    /// A unit is cut off, or its lengths contradict each other.
    #[error("batch unit at byte {at} is not whole")]
    Unit { at: usize },
}

/// The messages of a batch body. After an error the iterator ends.
pub fn iter(body: &[u8]) -> Messages<'_> {
    Messages { all: body.len(), rest: body }
}

/// Bytes that [`push`] adds.
pub fn encoded_len(body: &[u8], properties: &[u8]) -> usize {
    FIXED_BYTES + body.len() + properties.len()
}

/// Adds one message to a batch body. The lengths must fit their fields (i32, i16): the limits on messages see to it.
pub fn push(out: &mut Vec<u8>, message: &BatchMessage<'_>) {
    let total = encoded_len(message.body, message.properties);
    assert!(total <= i32::MAX as usize);
    assert!(message.properties.len() <= i16::MAX as usize);
    out.extend_from_slice(&(total as u32).to_be_bytes());
    out.extend_from_slice(&[0; 8]); // magic and CRC: the broker makes its own.
    out.extend_from_slice(&message.flag.to_be_bytes());
    out.extend_from_slice(&(message.body.len() as u32).to_be_bytes());
    out.extend_from_slice(message.body);
    out.extend_from_slice(&(message.properties.len() as u16).to_be_bytes());
    out.extend_from_slice(message.properties);
}

/// Iterator of [`iter`].
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    all: usize,
    rest: &'a [u8],
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<BatchMessage<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let at = self.all - self.rest.len();
        match split_unit(self.rest) {
            Some((message, rest)) => {
                self.rest = rest;
                Some(Ok(message))
            }
            None => {
                self.rest = &[];
                Some(Err(BatchError::Unit { at }))
            }
        }
    }
}

fn split_unit(bytes: &[u8]) -> Option<(BatchMessage<'_>, &[u8])> {
    let (total, _) = bytes.split_first_chunk()?;
    let total = usize::try_from(i32::from_be_bytes(*total)).ok()?;
    let (unit, rest) = bytes.split_at_checked(total)?;
    let (_total_magic_crc, unit) = unit.split_at_checked(12)?;
    let (flag, unit) = unit.split_first_chunk()?;
    let (body_len, unit) = unit.split_first_chunk()?;
    let (body, unit) = unit.split_at_checked(usize::try_from(i32::from_be_bytes(*body_len)).ok()?)?;
    let (properties_len, properties) = unit.split_first_chunk()?;
    if usize::try_from(i16::from_be_bytes(*properties_len)).ok()? != properties.len() {
        return None;
    }
    Some((BatchMessage { flag: i32::from_be_bytes(*flag), body, properties }, rest))
}

const FIXED_BYTES: usize = 22;
