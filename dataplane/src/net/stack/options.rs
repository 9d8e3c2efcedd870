//! TCP options, as far as the stack itself looks at them: what a SYN offers, and selective acknowledgements.
//!
//! ```text
//!   | kind | length | value ..    kind | length | value ..    0: end   1: padding |
//! ```
//!
//! Never panics and never looks past the options, whatever the bytes are.

use crate::net::front::Segment;
use crate::net::packet::TCP_BYTES;

/// What the peer's SYN offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    pub mss: Option<u16>,
    /// How far its window fields are to be shifted, if it and we shift them.
    pub window_shift: Option<u8>,
    pub sack: bool,
}

/// A run of sequence numbers that the peer has: from the first to before the second.
pub type Block = (u32, u32);

/// The blocks of one selective acknowledgement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sacks {
    blocks: [Block; BLOCKS_MAX],
    len: usize,
}

impl Sacks {
    pub fn blocks(&self) -> &[Block] {
        &self.blocks[..self.len]
    }

    /// Splits off a report that something came twice (RFC 2883): the first block, if it lies below what is acknowledged
    /// or within the second block.
    pub fn split(&self, ack: u32) -> (Option<Block>, &[Block]) {
        let Some((first, rest)) = self.blocks().split_first() else { return (None, &[]) };
        let is_below = ack.wrapping_sub(first.1) as i32 >= 0;
        let is_within = rest.first().is_some_and(|second| {
            first.0.wrapping_sub(second.0) as i32 >= 0 && second.1.wrapping_sub(first.1) as i32 >= 0
        });
        if is_below || is_within { (Some(*first), rest) } else { (None, self.blocks()) }
    }
}

/// The bytes of a segment's options.
pub fn of<'a>(segment: &Segment<'a>) -> &'a [u8] {
    let after_options = segment.packet.len() - segment.tcp.data_bytes;
    let options_bytes = segment.tcp.header_bytes - TCP_BYTES;
    &segment.packet[after_options - options_bytes..after_options]
}

pub fn offer(options: &[u8]) -> Offer {
    let mut offer = Offer::default();
    walk(options, |kind, value| match (kind, value) {
        (KIND_MSS, [high, low]) => offer.mss = Some(u16::from_be_bytes([*high, *low])),
        (KIND_WINDOW_SHIFT, [shift]) => offer.window_shift = Some((*shift).min(WINDOW_SHIFT_MAX)),
        (KIND_SACK_PERMITTED, []) => offer.sack = true,
        _ => (),
    });
    offer
}

pub fn sacks(options: &[u8]) -> Sacks {
    let mut sacks = Sacks::default();
    walk(options, |kind, value| {
        if kind != KIND_SACK {
            return;
        }
        let (words, _) = value.as_chunks::<4>();
        let (pairs, _) = words.as_chunks::<2>();
        for [from, to] in pairs.iter().take(BLOCKS_MAX - sacks.len) {
            sacks.blocks[sacks.len] = (u32::from_be_bytes(*from), u32::from_be_bytes(*to));
            sacks.len += 1;
        }
    });
    sacks
}

fn walk(mut options: &[u8], mut see: impl FnMut(u8, &[u8])) {
    while let Some((&kind, rest)) = options.split_first() {
        match kind {
            KIND_END => return,
            KIND_PADDING => options = rest,
            _ => {
                let Some((&length, rest)) = rest.split_first() else { return };
                let Some(value_bytes) = usize::from(length).checked_sub(2) else { return };
                let Some((value, rest)) = rest.split_at_checked(value_bytes) else { return };
                see(kind, value);
                options = rest;
            }
        }
    }
}

const KIND_END: u8 = 0;
const KIND_PADDING: u8 = 1;
const KIND_MSS: u8 = 2;
const KIND_WINDOW_SHIFT: u8 = 3;
const KIND_SACK_PERMITTED: u8 = 4;
const KIND_SACK: u8 = 5;
/// RFC 7323, 2.3.
const WINDOW_SHIFT_MAX: u8 = 14;
/// More do not fit into 40 bytes of options.
const BLOCKS_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// Goal: what Linux offers is understood. Method: the options of its SYN.
    #[test]
    fn reads_an_offer() {
        let linux = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
        assert_eq!(offer(&linux), Offer { mss: Some(1460), window_shift: Some(7), sack: true });
        assert_eq!(offer(&[]), Offer::default());
        assert_eq!(offer(&[3, 3, 200]).window_shift, Some(14));
    }

    /// Goal: blocks come in order, and a report of a repetition is told from them. Method: one of each (RFC 2883, 4).
    #[test]
    fn reads_blocks() {
        let option = |blocks: &[Block]| {
            let mut bytes = vec![1, 1, 5, 2 + 8 * blocks.len() as u8];
            for (from, to) in blocks {
                bytes.extend_from_slice(&from.to_be_bytes());
                bytes.extend_from_slice(&to.to_be_bytes());
            }
            sacks(&bytes)
        };
        let plain = option(&[(5500, 6000), (4500, 5000)]);
        assert_eq!(plain.split(4000), (None, &[(5500, 6000), (4500, 5000)][..]));
        let below = option(&[(3000, 3500), (4500, 5000)]);
        assert_eq!(below.split(4000), (Some((3000, 3500)), &[(4500, 5000)][..]));
        let within = option(&[(5000, 5500), (4500, 6000)]);
        assert_eq!(within.split(4000), (Some((5000, 5500)), &[(4500, 6000)][..]));
        let over_zero = option(&[(0xffff_fff0, 0x10)]);
        assert_eq!(over_zero.split(0xffff_ff00), (None, &[(0xffff_fff0, 0x10)][..]));
        assert_eq!(option(&[]).split(1), (None, &[][..]));
    }

    /// Goal: no bytes make it panic. Method: random bytes.
    #[test]
    fn takes_anything() {
        let mut rng = Rng::from_seed(9);
        let mut bytes = [0; 40];
        for _ in 0..100_000 {
            let len = rng.below(41) as usize;
            rng.fill(&mut bytes);
            if rng.chance(0.5) {
                bytes[0] = 5;
                bytes[1] = rng.below(42) as u8;
            }
            let _offer = offer(&bytes[..len]);
            assert!(sacks(&bytes[..len]).blocks().len() <= BLOCKS_MAX);
        }
    }
}
