//! Handshakes that cost no memory until they are finished: what we would have to remember is in our sequence number.
//!
//! ```text
//!   SYN, but too many are half open ─▶ SYN|ACK whose number is the cookie ─▶ forgotten
//!   ACK of a cookie ─▶ the SYN is made again from it ─▶ smoltcp takes it ─▶ smoltcp takes the ACK ─▶ open
//!
//!   cookie:  | keyed hash of addresses, the peer's number, time and offer: 24 bits | segment size 3 | scale 4 | SACK 1 |
//! ```
//!
//! Used only while more handshakes are half open than may be, so a flood of SYNs neither fills memory nor keeps others
//! out. A stranger who guesses a cookie (one in eight million tries) gets a connection, which he could have had anyway.
//! The price, as everywhere: an answer that is lost is not sent again by us but asked for again by the peer.

use super::Core;
use super::flows::FlowKey;
use super::gauge::Gauge;
use super::options;
use super::outward::Progress;
use crate::device::{DeviceTx, TxOffload};
use crate::net::front::{Budget, Segment};
use crate::net::packet::{self, IPV4_BYTES, PROTOCOL_TCP, TCP_BYTES, Tcp, flag};
use crate::rng::KeyedHash;
use crate::time::TurnTime;

/// What is remembered of all handshakes together.
pub struct Cookies {
    budget: Budget,
    /// Until when cookies that we have given are good.
    good_until_ns: u64,
}

/// What a SYN offers, as far as a cookie can hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Offer {
    /// Index in `SEGMENT_BYTES`.
    segment_class: u8,
    /// `NO_SCALE` for none.
    scale: u8,
    sack: bool,
}

impl Cookies {
    pub fn new() -> Self {
        Self { budget: Budget::per_second(COOKIES_PER_SECOND_MAX), good_until_ns: 0 }
    }
}

impl Core {
    /// Answers a SYN and forgets it.
    #[cold]
    pub fn answer_and_forget(
        &mut self,
        key: FlowKey,
        segment: &Segment<'_>,
        tx: &mut impl DeviceTx,
        now: &TurnTime,
    ) {
        let offer = if tx.has_room() && self.cookies.budget.take(now) { Offer::read(segment) } else { None };
        let Some(offer) = offer else {
            self.counters.syns_dropped += 1;
            return;
        };
        let cookie = cookie(&self.hash, key, segment.tcp.seq, slot_of(now), offer);
        let Some(slot) = self.begin(key, segment, cookie, tx, now) else {
            self.counters.syns_dropped += 1;
            return;
        };
        self.answer_once(slot, tx, now);
        self.tx.free_slot(slot);
        self.cookies.good_until_ns = now.mono_ns + COOKIE_NANOS;
        self.counters.cookies_given += 1;
    }

    /// Takes a segment that acknowledges a cookie for the connection it opens; false if it does not.
    pub fn redeem(
        &mut self,
        key: FlowKey,
        segment: &Segment<'_>,
        tx: &mut impl DeviceTx,
        now: &TurnTime,
    ) -> bool {
        if now.mono_ns >= self.cookies.good_until_ns {
            return false; // The usual case: nobody has been given one.
        }
        let (given, first) = (segment.tcp.ack.wrapping_sub(1), segment.tcp.seq.wrapping_sub(1));
        let offer = Offer::from_bits(given as u8);
        let time = slot_of(now);
        let is_ours = [time, time.wrapping_sub(1)]
            .iter()
            .any(|time| cookie(&self.hash, key, first, *time, offer) == given);
        if !is_ours {
            return false;
        }
        let bytes = offer.syn(segment, first, self.config.address.ip);
        let tcp = Tcp {
            seq: first,
            ack: 0,
            flags: flag::SYN,
            header_bytes: SYN_HEADER_BYTES,
            data_bytes: 0,
            ..segment.tcp
        };
        let syn = Segment { packet: &bytes, tcp, ..*segment };
        let Some(slot) = self.begin(key, &syn, given, &mut Nowhere, now) else {
            self.counters.syns_dropped += 1;
            return true; // No place: silence, as for a SYN.
        };
        self.answer_once(slot, &mut Nowhere, now);
        let conn = &mut self.tx.conns[slot as usize];
        (conn.gauge, conn.answers) = (Gauge::default(), 0); // How long the answer was on its way is not known.
        self.flows.insert(key, slot);
        self.half_open += 1;
        self.tx.mark_dirty(slot);
        self.counters.cookies_taken += 1;
        self.take_in_known(slot, segment, tx, now);
        true
    }

    /// Lets smoltcp send its SYN|ACK.
    fn answer_once(&mut self, slot: u32, tx: &mut impl DeviceTx, now: &TurnTime) {
        let mut frames = 0;
        let progress = self.put_out_one(slot, tx, now, &mut frames);
        assert!(matches!(progress, Progress::Done));
        self.counters.frames_out += u64::from(frames);
        self.wheel.set(slot, super::wheel::NEVER);
    }
}

impl Offer {
    /// None if it asks for segments too small to serve in need.
    fn read(segment: &Segment<'_>) -> Option<Self> {
        let offered = options::offer(options::of(segment));
        let segment_bytes = offered.mss.filter(|bytes| *bytes > 0).unwrap_or(SEGMENT_BYTES_DEFAULT);
        let segment_class = SEGMENT_BYTES.iter().rposition(|class| *class <= segment_bytes)? as u8;
        Some(Self { segment_class, scale: offered.window_shift.unwrap_or(NO_SCALE), sack: offered.sack })
    }

    fn bits(self) -> u8 {
        self.segment_class << 5 | self.scale << 1 | u8::from(self.sack)
    }

    fn from_bits(bits: u8) -> Self {
        Self { segment_class: bits >> 5, scale: bits >> 1 & 15, sack: bits & 1 != 0 }
    }

    /// The SYN again, as far as it matters; checksums were looked at before.
    fn syn(self, answer: &Segment<'_>, seq: u32, us: std::net::Ipv4Addr) -> [u8; SYN_BYTES] {
        let mut bytes = [0; SYN_BYTES];
        let (ip, rest) = bytes.split_first_chunk_mut::<IPV4_BYTES>().expect("room for all headers");
        packet::write_ipv4(ip, answer.from, us, PROTOCOL_TCP, SYN_HEADER_BYTES);
        let (tcp, options) = rest.split_first_chunk_mut::<TCP_BYTES>().expect("room for all headers");
        Tcp { seq, ack: 0, flags: flag::SYN, header_bytes: SYN_HEADER_BYTES, data_bytes: 0, ..answer.tcp }
            .write(tcp);
        tcp[12] = ((SYN_HEADER_BYTES) as u8 / 4) << 4;
        let [high, low] = SEGMENT_BYTES[usize::from(self.segment_class)].to_be_bytes();
        options.fill(NO_OPERATION);
        options[..4].copy_from_slice(&[2, 4, high, low]);
        if self.scale != NO_SCALE {
            options[4..7].copy_from_slice(&[3, 3, self.scale]);
        }
        if self.sack {
            options[8..10].copy_from_slice(&[4, 2]);
        }
        bytes
    }
}

fn cookie(hash: &KeyedHash, key: FlowKey, peer_seq: u32, time: u32, offer: Offer) -> u32 {
    // Two words, where initial sequence numbers are hashes of one: neither tells of the other.
    let bits = u32::from(offer.bits());
    let what = u64::from(peer_seq) << 32 | u64::from(time << 8 | bits);
    (hash.of_words(&[key.as_word(), what]) as u32) << 8 | bits
}

fn slot_of(now: &TurnTime) -> u32 {
    (now.mono_ns / SLOT_NANOS) as u32
}

/// Where an answer goes that has been sent before.
struct Nowhere;

impl DeviceTx for Nowhere {
    fn has_room(&mut self) -> bool {
        true
    }

    fn send(&mut self, frame_bytes: usize, fill: impl FnOnce(&mut [u8]) -> TxOffload) {
        fill(&mut [0; ANSWER_BYTES_MAX][..frame_bytes]);
    }
}

/// Ascending; the last that is not above what the peer offers is used.
const SEGMENT_BYTES: [u16; 8] = [216, 536, 1_024, 1_220, 1_360, 1_440, 1_460, 8_960];
/// RFC 9293, 3.7.1: without an option.
const SEGMENT_BYTES_DEFAULT: u16 = 536;
const NO_SCALE: u8 = 15;
const NO_OPERATION: u8 = 1;
const SYN_HEADER_BYTES: usize = TCP_BYTES + 12;
const SYN_BYTES: usize = IPV4_BYTES + SYN_HEADER_BYTES;
/// Headers with all their options.
const ANSWER_BYTES_MAX: usize = 14 + 60 + 60;
/// A cookie is good in its slot of time and in the next one.
const SLOT_NANOS: u64 = 16_000_000_000;
const COOKIE_NANOS: u64 = 2 * SLOT_NANOS;
/// Each is a frame out for a frame in; beyond them SYNs are dropped, and their senders try again.
const COOKIES_PER_SECOND_MAX: u32 = 20_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use std::net::Ipv4Addr;

    /// Goal: a cookie holds the whole offer, and differs with everything it stands for. Method: all offers; then one thing
    /// changed at a time.
    #[test]
    fn cookies_hold_the_offer() {
        let hash = KeyedHash::new(&mut Rng::from_seed(1));
        let key = |port| FlowKey::new(Ipv4Addr::new(10, 0, 0, 1), port, 10911);
        for bits in 0..=255u8 {
            let offer = Offer::from_bits(bits);
            assert_eq!(offer.bits(), bits);
            assert_eq!(cookie(&hash, key(1), 7, 3, offer) as u8, bits);
        }
        let offer = Offer::from_bits(0x4d);
        let one = cookie(&hash, key(1), 7, 3, offer);
        assert_ne!(one, cookie(&hash, key(2), 7, 3, offer));
        assert_ne!(one, cookie(&hash, key(1), 8, 3, offer));
        assert_ne!(one, cookie(&hash, key(1), 7, 4, offer));
        assert_ne!(one >> 8, cookie(&hash, key(1), 7, 3, Offer::from_bits(0x4c)) >> 8);
    }
}
