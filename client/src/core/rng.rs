//! Seeded randomness for choices that only need to be spread: a first queue, a name server, a broker to ask.
//!
//! Not for secrets. The generator is SplitMix64: one addition and three mixes a number, any seed is good.

/// A stream of numbers that its seed decides.
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
}

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng { state: seed }
    }

    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; the bias of the remainder does not matter for bounds of a few thousand.
    pub fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0);
        usize::try_from(self.next_u64() % bound as u64).expect("below a usize")
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;

    /// Goal: a seed decides the stream, and every value below a small bound turns up.
    #[test]
    fn a_seed_decides_the_stream() {
        let (mut one, mut two) = (Rng::new(7), Rng::new(7));
        let mut seen = [0_u32; 5];
        for _ in 0..1000 {
            let number = one.below(5);
            assert_eq!(number, two.below(5));
            seen[number] += 1;
        }
        assert!(seen.iter().all(|&count| count > 100), "{seen:?}");
    }
}
