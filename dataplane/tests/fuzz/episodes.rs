//! New inputs for the target `stack`: steps that fit together, with much of what is seldom met otherwise: a device without
//! room, windows that are shut, timers that are due, ends in between, numbers near those that are on their way.

use dataplane::net::packet::flag;
use dataplane::rng::Rng;

pub fn fresh(rng: &mut Rng) -> Vec<u8> {
    let mut episode = Episode { rng, steps: Vec::new(), written: 0, received: 0 };
    if episode.rng.chance(0.5) {
        let kind = episode.rng.next_u32() as u8;
        episode.steps.extend([13, kind]);
    }
    for _ in 0..4 + episode.rng.below(60) {
        episode.step();
    }
    episode.steps
}

struct Episode<'a> {
    rng: &'a mut Rng,
    steps: Vec<u8>,
    /// How much the shard has written, and the peer sent, to and from the peer that speaks.
    written: u32,
    received: u32,
}

impl Episode<'_> {
    fn step(&mut self) {
        match self.rng.below(100) {
            0..20 => self.segment(),
            20..38 => self.reports(),
            38..56 => {
                let wait_ms = self.one_of(&[0, 1, 2, 4, 6, 11, 40, 200, 300, 1_100, 2_500, 11_000]);
                self.steps.push(3);
                self.word_16(wait_ms);
            }
            56..70 => {
                let room = self.one_of(&[0, 0, 1, 1, 2, 5, 255, 255]);
                self.steps.extend([8, room as u8]);
            }
            70..84 => {
                let len = self.one_of(&[1, 10, 1_459, 1_460, 1_461, 4_000, 20_000, 65_535]);
                self.steps.push(5);
                self.word_16(len);
                self.written += u32::from(len);
            }
            84..88 => self.steps.push(4),
            88..90 => {
                let how = self.rng.below(2) as u8;
                self.steps.extend([6, how]);
            }
            90..92 => {
                let (steps, peer) = (self.rng.below(8) as u8, self.rng.below(4) as u8);
                match self.rng.chance(0.5) {
                    true => self.steps.extend([10, steps]),
                    false => self.steps.extend([9, peer]),
                }
            }
            92..96 => self.begin(),
            _ => self.shake(),
        }
    }

    /// A peer connects.
    fn begin(&mut self) {
        let (peer, offer) = (self.rng.below(4) as u8, self.rng.next_u32() as u8 & 0xf7);
        let seq = [7, u32::MAX - 100, 1 << 31][self.rng.below(3) as usize];
        self.steps.extend([9, peer, 11, offer]);
        self.word_32(seq);
        (self.written, self.received) = (0, 0);
        if self.rng.chance(0.2) {
            self.segment();
        }
        if self.rng.chance(0.9) {
            self.plain(flag::ACK, 0, 0, 0xffff, 0);
        }
    }

    /// Much is sent, none of it arrives, then news of some of it.
    fn shake(&mut self) {
        self.steps.push(5);
        self.word_16(30_000);
        self.written += 30_000;
        for wait_ms in [6, 2, 20] {
            let room = self.one_of(&[0, 1, 3, 255]);
            self.steps.extend([8, room as u8, 3]);
            self.word_16(wait_ms);
            if self.rng.chance(0.5) {
                self.reports();
            }
        }
    }

    fn segment(&mut self) {
        let mut flags = flag::ACK;
        for (also, in_hundred) in [(flag::PSH, 20), (flag::FIN, 8), (flag::RST, 2), (flag::SYN, 2)] {
            flags |= if self.rng.below(100) < in_hundred { also } else { 0 };
        }
        let (ack, window) = (self.number(), self.window());
        let ahead = self.one_of(&[0, 0, 0, 0, 1, 100, 1_460, 0u16.wrapping_sub(100)]);
        let len = self.one_of(&[0, 0, 1, 100, 1_460]);
        let seq = self.received.wrapping_add(i32::from(ahead as i16) as u32);
        if ahead == 0 {
            self.received += u32::from(len);
        }
        self.plain(flags, seq, ack, window, len);
    }

    fn plain(&mut self, flags: u8, seq: u32, ack: u32, window: u16, len: u16) {
        self.steps.extend([2, flags]);
        self.word_32(seq);
        self.word_32(ack);
        self.word_16(window);
        self.steps.push(0);
        self.word_16(len);
        self.steps.extend((0..len).map(|at| at as u8));
    }

    fn reports(&mut self) {
        let (ack, window, blocks) = (self.number(), self.window(), self.rng.below(5) as u8);
        self.steps.push(12);
        self.word_32(ack);
        self.word_16(window);
        self.steps.push(blocks);
        self.word_16(self.received as u16);
        for _ in 0..blocks {
            let from = if self.rng.chance(0.8) { ack.wrapping_add(self.number() / 2) } else { self.number() };
            let len = self.one_of(&[1, 100, 1_460, 2_920, 14_600]);
            self.word_32(from);
            self.word_32(from.wrapping_add(len.into()));
        }
    }

    /// One of our numbers, most of them of bytes that are on their way.
    fn number(&mut self) -> u32 {
        let segments = self.rng.below(u64::from(self.written / 1_460) + 2) as u32;
        match self.rng.below(8) {
            0 => self.written,
            1 => self.written + 1,
            2 => self.rng.below(u64::from(self.written) + 2) as u32,
            3 => 0u32.wrapping_sub(self.rng.below(3) as u32),
            4 => self.rng.next_u32(),
            _ => segments * 1_460,
        }
    }

    fn window(&mut self) -> u16 {
        self.one_of(&[0, 0, 1, 500, 3_000, 20_000, 0xffff, 0xffff, 0xffff])
    }

    fn one_of(&mut self, values: &[u16]) -> u16 {
        values[self.rng.below(values.len() as u64) as usize]
    }

    fn word_16(&mut self, word: u16) {
        self.steps.extend(word.to_le_bytes());
    }

    fn word_32(&mut self, word: u32) {
        self.steps.extend(word.to_le_bytes());
    }
}
