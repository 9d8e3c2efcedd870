//! The buffer a header is written into, and how values go into it.
//!
//! Too much is noticed once, at the end: `at` runs on past the buffer, and nothing is written there. What is written is
//! mostly a few bytes long, so copies are moves rather than calls.

use std::fmt;

use super::Text;
use crate::decimal::{self, Decimal};
use crate::{escape, scan};

/// The buffer and how much of it is used. `at` runs on past its end, so that too much is noticed once, at the end.
pub struct Out<'b> {
    pub(super) buffer: &'b mut [u8],
    pub(super) at: usize,
}

impl<'b> Out<'b> {
    /// Moves it out, for a while.
    #[inline]
    pub(super) fn take(&mut self) -> Out<'b> {
        Out { buffer: std::mem::take(&mut self.buffer), at: self.at }
    }

    /// Bytes whose number is known here: one or two moves.
    #[inline]
    pub(super) fn put<const LEN: usize>(&mut self, bytes: &[u8; LEN]) {
        if let Some(target) = self.buffer.get_mut(self.at..).and_then(|free| free.first_chunk_mut()) {
            *target = *bytes;
        }
        self.at += LEN;
    }

    #[inline]
    pub(super) fn put_slice(&mut self, bytes: &[u8]) {
        if let Some(target) = self.buffer.get_mut(self.at..).and_then(|free| free.get_mut(..bytes.len())) {
            copy_short(target, bytes);
        }
        self.at += bytes.len();
    }

    /// Three pieces with one look at the room; the middle one is short.
    #[inline]
    pub(super) fn put_between<const HEAD: usize, const TAIL: usize>(
        &mut self,
        head: &[u8; HEAD],
        middle: &[u8],
        tail: &[u8; TAIL],
    ) {
        let len = HEAD + middle.len() + TAIL;
        if let Some(target) = self.buffer.get_mut(self.at..).and_then(|free| free.get_mut(..len))
            && let Some((target_head, rest)) = target.split_first_chunk_mut()
            && let Some((target_middle, target_tail)) = rest.split_last_chunk_mut()
        {
            *target_head = *head;
            copy_short(target_middle, middle);
            *target_tail = *tail;
        }
        self.at += len;
    }

    /// Writes at `len_at` how many bytes were written behind it.
    #[inline]
    pub(super) fn put_len_since(&mut self, len_at: usize) {
        let len = self.at - len_at - WORD_BYTES;
        self.put_at(len_at, &(len as u32).to_be_bytes());
    }

    #[inline]
    pub(super) fn put_at(&mut self, at: usize, bytes: &[u8; WORD_BYTES]) {
        if let Some(target) = self.buffer.get_mut(at..).and_then(|free| free.first_chunk_mut()) {
            *target = *bytes;
        }
    }

    #[inline]
    pub(super) fn put_number(&mut self, value: i64) {
        match value {
            0..=9 => self.put(&[b'0' + value as u8]),
            _ => {
                let len = decimal::text_len(value);
                if let Some(target) = self.buffer.get_mut(self.at..).and_then(|free| free.get_mut(..len)) {
                    decimal::write(value, target);
                }
                self.at += len;
            }
        }
    }

    #[inline]
    pub(super) fn put_escaped(&mut self, bytes: &[u8]) {
        let free = self.buffer.get_mut(self.at..).unwrap_or_default();
        self.at += escape(free, bytes);
    }
}

/// Writes a text's inside to the front of `free`, as far as it fits, and returns how long it is.
fn escape(free: &mut [u8], bytes: &[u8]) -> usize {
    if free.len() >= ESCAPE_BYTES_MAX * bytes.len() + ROOM_BEHIND_BYTES {
        return escape_parts(free, bytes);
    }
    let mut out = Out { buffer: free, at: 0 };
    let mut rest = bytes;
    while let Some(clean) = scan::find_unsafe(rest) {
        let (run, tail) = rest.split_at(clean);
        out.put_slice(run);
        let Some((byte, tail)) = tail.split_first() else { break };
        out.put_slice(escape::of(*byte));
        rest = tail;
    }
    out.put_slice(rest);
    out.at
}

/// Copies 16 bytes at a time, where there is room enough for anything: what is too much of them is written over by the
/// next. None of them waits for those before to be looked through.
fn escape_parts(free: &mut [u8], bytes: &[u8]) -> usize {
    let (parts, tail) = bytes.as_chunks::<PART_BYTES>();
    let mut len = 0;
    for part in parts {
        len = escape_part(free, len, *part, PART_BYTES);
    }
    escape_part(free, len, scan::tail_part(tail).to_le_bytes(), tail.len())
}

/// Writes the first `left` bytes of a part at `len` and returns where they end.
#[inline]
fn escape_part(free: &mut [u8], len: usize, part: [u8; PART_BYTES], left: usize) -> usize {
    put_chunk(free, len, &part);
    match scan::unsafe_places(part) & ((1 << left) - 1) {
        0 => len + left,
        places => escape_places(free, len, u128::from_le_bytes(part), left, places),
    }
}

/// The same where `places` are to be escaped.
fn escape_places(free: &mut [u8], mut len: usize, mut part: u128, mut left: usize, mut places: u32) -> usize {
    loop {
        let clean = places.trailing_zeros() as usize;
        part >>= 8 * clean;
        let escape = escape::of(part as u8);
        match escape.first_chunk::<ESCAPE_BYTES_MAX>() {
            Some(unicode) => put_chunk(free, len + clean, unicode),
            None => put_chunk(free, len + clean, escape.first_chunk::<2>().unwrap_or(b"\\\\")),
        }
        part >>= 8;
        places >>= clean + 1;
        len += clean + escape.len();
        left -= clean + 1;
        put_chunk(free, len, &part.to_le_bytes());
        if places == 0 {
            return len + left;
        }
    }
}

#[inline]
fn put_chunk<const LEN: usize>(free: &mut [u8], at: usize, bytes: &[u8; LEN]) {
    if let Some(target) = free.get_mut(at..).and_then(|free| free.first_chunk_mut()) {
        *target = *bytes;
    }
}

/// `copy_from_slice` without a call, for the lengths that names and values have: two moves that may overlap.
#[inline]
pub(super) fn copy_short(target: &mut [u8], bytes: &[u8]) {
    assert!(target.len() == bytes.len());
    // The longest first, as ids are.
    match bytes.len() {
        64.. => target.copy_from_slice(bytes),
        32.. => copy_ends::<32>(target, bytes),
        16.. => copy_ends::<16>(target, bytes),
        8.. => copy_ends::<8>(target, bytes),
        4.. => copy_ends::<4>(target, bytes),
        2.. => copy_ends::<2>(target, bytes),
        _ => copy_ends::<1>(target, bytes),
    }
}

#[inline]
fn copy_ends<const LEN: usize>(target: &mut [u8], bytes: &[u8]) {
    if let (Some(target), Some(bytes)) = (target.first_chunk_mut::<LEN>(), bytes.first_chunk()) {
        *target = *bytes;
    }
    if let (Some(target), Some(bytes)) = (target.last_chunk_mut::<LEN>(), bytes.last_chunk()) {
        *target = *bytes;
    }
}

/// A value of a field. Not for others to implement, since it is done on the writer's inside.
pub trait Put {
    /// Between the quotes.
    fn put_json(&self, out: &mut Out<'_>);
    /// Behind the length.
    fn put_binary(&self, out: &mut Out<'_>);
}

impl Put for Text<'_> {
    #[inline]
    fn put_json(&self, out: &mut Out<'_>) {
        match self.plain_bytes() {
            Some(bytes) => out.put_escaped(bytes),
            None => self.for_each_run(|run| out.put_escaped(run)),
        }
    }
    #[inline]
    fn put_binary(&self, out: &mut Out<'_>) {
        match self.plain_bytes() {
            Some(bytes) => out.put_slice(bytes),
            None => self.for_each_run(|run| out.put_slice(run)),
        }
    }
}

/// The types that are written through another one.
macro_rules! put_as {
    ($($ty:ty, $value:ident => $as:expr;)*) => {
        $(impl Put for $ty {
            fn put_json(&self, out: &mut Out<'_>) {
                let $value = *self;
                $as.put_json(out)
            }
            fn put_binary(&self, out: &mut Out<'_>) {
                let $value = *self;
                $as.put_binary(out)
            }
        })*
    };
}

put_as! {
    &str, value => Text::from(value);
    &String, value => Text::from(value);
    i64, value => Text::new(Decimal::new(value).as_bytes());
    i32, value => i64::from(value);
    bool, value => Text::new(if value { b"true" } else { b"false" });
}

/// Takes formatted text, escaping it.
pub(super) struct Escaping<'o, 'b>(pub(super) &'o mut Out<'b>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.put_escaped(text.as_bytes());
        Ok(())
    }
}

/// Takes formatted text as it is.
pub(super) struct Plain<'o, 'b>(pub(super) &'o mut Out<'b>);

impl fmt::Write for Plain<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.put_slice(text.as_bytes());
        Ok(())
    }
}

pub(super) const WORD_BYTES: usize = 4;
/// `\u001F`.
const ESCAPE_BYTES_MAX: usize = 6;
const PART_BYTES: usize = 16;
/// What `escape_parts` may write too much.
const ROOM_BEHIND_BYTES: usize = PART_BYTES;
