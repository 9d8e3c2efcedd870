//! Initial sequence numbers nobody can guess (RFC 6528): a clock plus a keyed hash of the connection's addresses.
//!
//! smoltcp draws its initial sequence number from the interface that takes the SYN, whose generator is seeded by us.
//! So each SYN gets an interface of its own, seeded such that the number we want is drawn. If smoltcp changed its
//! generator, the number would still be an unguessable function of the key; the tests would tell.

use super::flows::FlowKey;
use crate::rng::KeyedHash;
use crate::time::TurnTime;

/// The number the next connection with these addresses starts with.
pub fn initial_sequence(hash: &KeyedHash, key: FlowKey, now: &TurnTime) -> u32 {
    let clock = (now.mono_ns / CLOCK_NANOS) as u32;
    clock.wrapping_add(hash.of_words(&[key.as_word()]) as u32)
}

/// The seed after which smoltcp's generator draws `wanted` second: a new interface has drawn a packet number before, and
/// draws that again if it is zero. The generator multiplies and adds, then takes 32 bits whose place depends on the top
/// three; with those zero the place is bit 29, and the bits below are free to choose.
pub fn seed_for(wanted: u32) -> u64 {
    let after = |low: u64| before(u64::from(wanted) << 29 | low);
    let first = (0..8).map(after).find(|first| packet_number(*first) != 0);
    before(first.expect("one in 65,536 packet numbers is zero, not eight in a row"))
}

/// What smoltcp makes of the generator's state for a packet number.
fn packet_number(state: u64) -> u16 {
    let drawn = (state >> (29 - (state >> 61))) as u32;
    (drawn ^ drawn >> 16) as u16
}

/// The generator's state one draw earlier.
fn before(state: u64) -> u64 {
    state.wrapping_sub(GENERATOR_ADD).wrapping_mul(inverse(GENERATOR_MULTIPLY))
}

/// The inverse of an odd number modulo 2^64, by Newton's iteration: each step doubles the right bits.
const fn inverse(odd: u64) -> u64 {
    let mut guess = odd;
    let mut step = 0;
    while step < 6 {
        guess = guess.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(guess)));
        step += 1;
    }
    guess
}

const GENERATOR_MULTIPLY: u64 = 0xbb2e_fcec_3c39_611d;
const GENERATOR_ADD: u64 = 0x7590_ef39;
/// RFC 6528: the clock ticks every four microseconds.
const CLOCK_NANOS: u64 = 4_000;

const _: () = assert!(inverse(GENERATOR_MULTIPLY).wrapping_mul(GENERATOR_MULTIPLY) == 1);
