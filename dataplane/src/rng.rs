//! SEAM: randomness. Seeded, so that a simulated world can be run again from one number.
//!
//! [`Rng`] is for choices that need no secrecy (which frame the simulated link loses, which queue a reader starts with).
//! [`KeyedHash`] is SipHash-2-4: for what a stranger must not foresee or steer (initial sequence numbers, hash tables
//! filled from the network).

use std::hash::{BuildHasher, RandomState};

/// A small fast generator (xoshiro256++), seeded from one number.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The same seed gives the same numbers, for ever.
    pub fn from_seed(seed: u64) -> Self {
        let mut mix = seed;
        let state = [(); 4].map(|()| split_mix(&mut mix));
        Self { state }
    }

    /// The real half of the seam: a seed from the operating system.
    pub fn from_os() -> Self {
        Self::from_seed(os_entropy())
    }

    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    pub fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    /// A number in `0..bound`. The bias is below `bound / 2^64`.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0);
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// True once in `1 / probability` times.
    pub fn chance(&mut self, probability: f64) -> bool {
        ((self.next_u64() >> 11) as f64) < probability * (1u64 << 53) as f64
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let random = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&random[..chunk.len()]);
        }
    }

    /// A generator of its own for one part of the world, so that one part's draws do not move another's.
    pub fn fork(&mut self) -> Self {
        Self::from_seed(self.next_u64())
    }
}

/// SipHash-2-4 with a secret key.
#[derive(Clone, Copy)]
pub struct KeyedHash {
    key: [u64; 2],
}

impl KeyedHash {
    pub fn new(rng: &mut Rng) -> Self {
        Self { key: [rng.next_u64(), rng.next_u64()] }
    }

    /// A secret key that no generator of 64 bits of state stands behind.
    pub fn from_os() -> Self {
        Self { key: [os_entropy(), os_entropy()] }
    }

    pub fn of_words(&self, words: &[u64]) -> u64 {
        let mut sip = self.start();
        for word in words {
            sip_word(&mut sip, *word);
        }
        sip_finish(sip, (words.len() as u64 * 8) << 56)
    }

    pub fn of_bytes(&self, bytes: &[u8]) -> u64 {
        let mut sip = self.start();
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            sip_word(&mut sip, u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        last[7] = bytes.len() as u8;
        sip_finish(sip, u64::from_le_bytes(last))
    }

    fn start(&self) -> [u64; 4] {
        let [k0, k1] = self.key;
        [
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ]
    }
}

fn sip_word(sip: &mut [u64; 4], word: u64) {
    sip[3] ^= word;
    sip_round(sip);
    sip_round(sip);
    sip[0] ^= word;
}

fn sip_finish(mut sip: [u64; 4], last: u64) -> u64 {
    sip_word(&mut sip, last);
    sip[2] ^= 0xff;
    for _ in 0..4 {
        sip_round(&mut sip);
    }
    sip[0] ^ sip[1] ^ sip[2] ^ sip[3]
}

fn sip_round([a, b, c, d]: &mut [u64; 4]) {
    *a = a.wrapping_add(*b);
    *c = c.wrapping_add(*d);
    *b = b.rotate_left(13) ^ *a;
    *d = d.rotate_left(16) ^ *c;
    *a = a.rotate_left(32).wrapping_add(*d);
    *c = c.wrapping_add(*b);
    *d = d.rotate_left(21) ^ *a;
    *b = b.rotate_left(17) ^ *c;
    *c = c.rotate_left(32);
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The standard library's hash keys are the operating system's randomness, without a system call of our own.
fn os_entropy() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a world is remade by its seed. Method: two generators, one seed; a third, another seed.
    #[test]
    fn same_seed_same_numbers() {
        let draw = |seed| {
            let mut rng = Rng::from_seed(seed);
            [(); 8].map(|()| rng.next_u64())
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    /// Goal: bounds and odds hold. Method: count over many draws.
    #[test]
    fn below_and_chance_are_fair() {
        let mut rng = Rng::from_seed(1);
        let mut counts = [0u32; 10];
        let mut hits = 0;
        for _ in 0..100_000 {
            counts[rng.below(10) as usize] += 1;
            hits += u32::from(rng.chance(0.01));
        }
        assert!(counts.iter().all(|count| (9_000..11_000).contains(count)), "{counts:?}");
        assert!((800..1_200).contains(&hits), "{hits}");
        assert!(!rng.chance(0.0));
        assert!(rng.chance(1.0));
    }

    /// Goal: it is SipHash-2-4. Method: the vector in appendix A of the SipHash paper.
    #[test]
    fn sip_hash_vector() {
        let hash = KeyedHash { key: [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908] };
        let bytes: [u8; 15] = std::array::from_fn(|i| i as u8);
        assert_eq!(hash.of_bytes(&bytes), 0xa129_ca61_49be_45e5);
        let words = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        let same: [u8; 16] = std::array::from_fn(|i| i as u8);
        assert_eq!(hash.of_words(&words), hash.of_bytes(&same));
    }
}
