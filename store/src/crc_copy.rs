//! FENCE: copies a body and takes its CRC-32 on the way, so that its bytes are read once.
//!
//! ```text
//!   | first 64 bytes .. | rest: blocks of 64 ................ |      the first block overlaps the second by what is missing
//!   '- length % 64 bytes, zeros before them -> lanes ─ fold ─▶ 16 bytes with the same remainder ─▶ 8 ─▶ the remainder
//! ```
//!
//! With 512-bit carry-less multiplication (x86-64 since Ice Lake and Zen 4). Other processors, and short bodies: a copy, and then
//! crc32fast. Folding is that of Gopal and others, *Fast CRC Computation for Generic Polynomials Using PCLMULQDQ* (2009).
#![allow(unsafe_code)] // A fence, listed in docs/UNSAFE.md.

use std::sync::LazyLock;

use crc32fast::Hasher;

/// Copies `from` over `to`, which is as long, and returns the CRC-32 of it.
#[inline]
pub fn copy(from: &[u8], to: &mut [u8]) -> u32 {
    assert!(from.len() == to.len());
    let means: &Means = &MEANS;
    #[cfg(target_arch = "x86_64")]
    if means.has_wide && from.len() >= wide::BLOCK_BYTES {
        // SAFETY: the processor has been asked for every feature that the function is compiled for.
        // WHY: they are no part of the instruction set that the rest of the program is compiled for.
        return unsafe { wide::copy(from, to) };
    }
    to.copy_from_slice(from);
    let mut hasher = means.hasher.clone();
    hasher.update(from);
    hasher.finalize()
}

/// What the processor can, asked once.
struct Means {
    hasher: Hasher,
    #[cfg(target_arch = "x86_64")]
    has_wide: bool,
}

static MEANS: LazyLock<Means> = LazyLock::new(|| Means {
    hasher: Hasher::new(),
    #[cfg(target_arch = "x86_64")]
    has_wide: wide::is_here(),
});

#[cfg(target_arch = "x86_64")]
mod wide {
    use std::arch::x86_64::*;

    pub const BLOCK_BYTES: usize = 64;

    type Block = [u8; BLOCK_BYTES];

    pub fn is_here() -> bool {
        is_x86_feature_detected!("vpclmulqdq")
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vbmi2")
    }

    #[target_feature(enable = "vpclmulqdq,avx512f,avx512bw,avx512vbmi2")]
    pub fn copy(from: &[u8], to: &mut [u8]) -> u32 {
        assert!(from.len() == to.len());
        let first = load(from.first_chunk().expect("asked by the caller"));
        store(first, to.first_chunk_mut().expect("as long"));
        // Zeros at the front of a message do not change its remainder. What CRC-32 begins with does: it turns over the first
        // four bytes, of which some may lie in the second block.
        let odd = from.len() % BLOCK_BYTES;
        let (begin, rest_from) = if odd == 0 { (0, BLOCK_BYTES) } else { (BLOCK_BYTES - odd, odd) };
        let ones = _mm512_set1_epi8(-1);
        let aligned = _mm512_maskz_expand_epi8(!0 << begin, first);
        let head = _mm512_xor_si512(aligned, _mm512_maskz_mov_epi8(0xf << begin, ones));
        let (blocks, _) = from[rest_from..].as_chunks::<BLOCK_BYTES>();
        let (places, _) = to[rest_from..].as_chunks_mut::<BLOCK_BYTES>();
        let Some((second, blocks)) = blocks.split_first() else { return finish(head) };
        let (second_place, places) = places.split_first_mut().expect("as many");
        let in_second = if odd == 0 { 0 } else { 0xf_u64 >> odd.min(4) };
        let second = load(second);
        store(second, second_place);
        let second = _mm512_xor_si512(second, _mm512_maskz_mov_epi8(in_second, ones));
        fold(head, second, blocks, places)
    }

    /// Goes on with two blocks that have been copied, copying the others.
    #[inline]
    #[target_feature(enable = "vpclmulqdq,avx512f")]
    fn fold(head: __m512i, second: __m512i, blocks: &[Block], places: &mut [Block]) -> u32 {
        let by_one = distance::<512>();
        let Some(([third, fourth], blocks)) = blocks.split_first_chunk() else {
            return finish(chain(onto(head, by_one, second), by_one, blocks, places));
        };
        let ([third_place, fourth_place], places) = places.split_first_chunk_mut().expect("as many");
        let mut lanes = [head, second, pass(third, third_place), pass(fourth, fourth_place)];
        let by_four = distance::<{ 4 * 512 }>();
        let (fours, left) = blocks.as_chunks::<4>();
        let (four_places, left_places) = places.as_chunks_mut::<4>();
        for (four, four_places) in fours.iter().zip(four_places) {
            for ((lane, block), place) in lanes.iter_mut().zip(four).zip(four_places) {
                *lane = onto(*lane, by_four, pass(block, place));
            }
        }
        let [a, b, c, d] = lanes;
        let (ab, cd) = (onto(a, by_one, b), onto(c, by_one, d));
        finish(chain(onto(ab, distance::<{ 2 * 512 }>(), cd), by_one, left, left_places))
    }

    /// One block after the other.
    #[inline]
    #[target_feature(enable = "vpclmulqdq,avx512f")]
    fn chain(mut lane: __m512i, by_one: __m512i, blocks: &[Block], places: &mut [Block]) -> __m512i {
        for (block, place) in blocks.iter().zip(places) {
            lane = onto(lane, by_one, pass(block, place));
        }
        lane
    }

    /// Copies a block and returns it.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn pass(from: &Block, to: &mut Block) -> __m512i {
        let block = load(from);
        store(block, to);
        block
    }

    /// `next`, and in each of its 128-bit lanes what is congruent to that lane of `lanes`, which lies the distance before it.
    #[inline]
    #[target_feature(enable = "vpclmulqdq,avx512f")]
    fn onto(lanes: __m512i, distance: __m512i, next: __m512i) -> __m512i {
        let front = _mm512_clmulepi64_epi128::<0x00>(lanes, distance);
        let back = _mm512_clmulepi64_epi128::<0x11>(lanes, distance);
        _mm512_ternarylogic_epi64::<XOR_OF_THREE>(front, back, next)
    }

    /// The CRC of a message that is congruent to these bytes, begun with zero.
    #[inline]
    #[target_feature(enable = "vpclmulqdq,avx512f")]
    fn finish(lanes: __m512i) -> u32 {
        // Each lane onto the last one, by its own distance; the last one stays as it is.
        let ([a, b], [c, d], [e, f]) = const { (factors(384), factors(256), factors(128)) };
        let distances = _mm512_set_epi64(0, 0, f, e, d, c, b, a);
        let last = _mm512_maskz_mov_epi64(0b1100_0000, lanes);
        let folded = onto(lanes, distances, last);
        let halves = _mm256_xor_si256(_mm512_castsi512_si256(folded), _mm512_extracti64x4_epi64::<1>(folded));
        !remainder(_mm_xor_si128(_mm256_castsi256_si128(halves), _mm256_extracti128_si256::<1>(halves)))
    }

    /// What 16 bytes with 32 zero bits behind them leave when divided by the polynomial.
    #[inline]
    #[target_feature(enable = "vpclmulqdq,avx512f")]
    fn remainder(bytes: __m128i) -> u32 {
        // A factor in the high half stands nowhere off, so what stands 64 bits too far to the front gets 32 bits shorter each time.
        let by_64 = const { power(63) << 32 };
        let by_64 = _mm_set_epi64x(POLYNOMIAL_33, by_64);
        let back = _mm_unpackhi_epi64(_mm_setzero_si128(), bytes);
        let of_96 = _mm_xor_si128(_mm_clmulepi64_si128::<0x00>(bytes, by_64), back);
        let of_64 = _mm_xor_si128(_mm_clmulepi64_si128::<0x00>(of_96, by_64), of_96);
        let of_64 = _mm_unpackhi_epi64(of_64, _mm_setzero_si128());
        let front = _mm_slli_epi64::<32>(of_64);
        let shorter = _mm_unpackhi_epi64(_mm_clmulepi64_si128::<0x00>(front, by_64), _mm_setzero_si128());
        let rest = _mm_xor_si128(shorter, _mm_srli_epi64::<32>(of_64));
        // The last 32 by Barrett: how often the polynomial goes into it, and what that leaves.
        let low_32 = _mm_set_epi64x(0, 0xffff_ffff);
        let times = _mm_clmulepi64_si128::<0x00>(_mm_and_si128(rest, low_32), _mm_set_epi64x(0, QUOTIENT_33));
        let taken = _mm_clmulepi64_si128::<0x10>(_mm_and_si128(times, low_32), by_64);
        (_mm_cvtsi128_si64(_mm_xor_si128(rest, taken)) as u64 >> 32) as u32
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn distance<const BITS: u32>() -> __m512i {
        let [front, back] = const { factors(BITS) };
        _mm512_set_epi64(back, front, back, front, back, front, back, front)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load(block: &Block) -> __m512i {
        // SAFETY: a reference to 64 bytes is good for reading them; the load needs no alignment.
        // WHY: the intrinsic takes a pointer.
        unsafe { _mm512_loadu_si512(block.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn store(block: __m512i, place: &mut Block) {
        // SAFETY: a reference to 64 bytes is good for writing them; the store needs no alignment.
        // WHY: the intrinsic takes a pointer.
        unsafe { _mm512_storeu_si512(place.as_mut_ptr().cast(), block) }
    }

    /// What the two halves of 128 bits are multiplied with, to stand that many bits further on. The product of two numbers
    /// with their bits in reverse stands one bit off, and a factor of 32 bits in the low half of 64 stands 32 off.
    const fn factors(bits: u32) -> [i64; 2] {
        [power(bits + 31), power(bits - 33)]
    }

    /// x to this power, modulo the polynomial of CRC-32, in reverse: the highest of its 32 bits is x to the power of 0.
    const fn power(mut exponent: u32) -> i64 {
        let mut value = 1_u32 << 31;
        while exponent > 0 {
            value = (value >> 1) ^ if value & 1 == 1 { POLYNOMIAL } else { 0 };
            exponent -= 1;
        }
        value as i64
    }

    /// In reverse, without the bit of x to the power of 32; with it.
    const POLYNOMIAL: u32 = 0xEDB8_8320;
    const POLYNOMIAL_33: i64 = (POLYNOMIAL as i64) << 1 | 1;
    /// How often it goes into x to the power of 64, in reverse.
    const QUOTIENT_33: i64 = 0x1_F701_1641;
    const XOR_OF_THREE: i32 = 0x96;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the copy is a copy and the CRC the one of crc32fast, at every length and place. Method: all lengths up to some groups
    /// of blocks, some long ones, at odd places; what lies around the target stays.
    #[test]
    fn copies_with_the_crc_of_crc32fast() {
        let bytes: Vec<u8> = (0..40_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for len in (0..1_600).chain([2_048, 4_095, 4_097, 32_768, 39_000]) {
            let (begin, place) = (len % 67, len % 61);
            let from = &bytes[begin..begin + len];
            let mut to = vec![0xa5; place + len + 70];
            assert_eq!(copy(from, &mut to[place..place + len]), crc32fast::hash(from), "{len} bytes");
            assert_eq!(&to[place..place + len], from);
            assert!(to[..place].iter().chain(&to[place + len..]).all(|byte| *byte == 0xa5));
        }
    }
}
