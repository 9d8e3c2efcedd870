//! A device that loses frames on purpose, both ways: for experiments on machines whose kernel cannot (netem).
//!
//! ```text
//!   one frame ──────────────────────────────▶ lost, or not
//!   one frame of many segments ─ 1 2 x 4 5 ─▶ | 1 2 |   | 4 5 |     each segment has its own luck, as on a wire
//! ```
//!
//! Copies what it carries, and allocates: nothing here is on the path of a broker that works.

use super::packet::{self, ETHERNET_BYTES, IPV4_BYTES, PROTOCOL_TCP, TCP_BYTES, TCP_CHECKSUM_AT, flag};
use crate::device::{DeviceRx, DeviceTx, FRAME_BYTES_MAX, Received, TxOffload};
use crate::rng::Rng;
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::ops::Range;

/// The luck of both directions.
#[derive(Debug)]
pub struct Loss {
    rx: RxLoss,
    tx: TxLoss,
}

#[derive(Debug)]
struct Dice {
    rng: Rng,
    probability: f64,
}

#[derive(Debug)]
struct RxLoss {
    dice: Dice,
    mtu: usize,
    waiting: VecDeque<(Vec<u8>, bool)>,
    lent: Vec<u8>,
}

#[derive(Debug)]
struct TxLoss {
    dice: Dice,
    frame: Vec<u8>,
}

/// The receiving half of a device, with loss.
pub struct LossyRx<'a, R> {
    inner: &'a mut R,
    loss: &'a mut RxLoss,
}

/// The sending half of a device, with loss.
pub struct LossyTx<'a, T> {
    inner: &'a mut T,
    loss: &'a mut TxLoss,
}

impl Loss {
    /// Each segment is lost with this probability. `mtu`: what longer frames are made of.
    pub fn new(probability: f64, mtu: usize, rng: &mut Rng) -> Self {
        let mut dice = || Dice { rng: rng.fork(), probability };
        Self {
            rx: RxLoss { dice: dice(), mtu, waiting: VecDeque::new(), lent: Vec::new() },
            tx: TxLoss { dice: dice(), frame: vec![0; FRAME_BYTES_MAX] },
        }
    }

    pub fn over<'a, R, T>(&'a mut self, rx: &'a mut R, tx: &'a mut T) -> (LossyRx<'a, R>, LossyTx<'a, T>) {
        (LossyRx { inner: rx, loss: &mut self.rx }, LossyTx { inner: tx, loss: &mut self.tx })
    }
}

impl Dice {
    fn lose(&mut self) -> bool {
        self.rng.chance(self.probability)
    }

    /// The runs of payload bytes that are left of so many, in segments of that length.
    fn survivors(&mut self, payload_bytes: usize, segment_bytes: usize) -> Vec<Range<usize>> {
        let mut runs: Vec<Range<usize>> = Vec::new();
        let mut at = 0;
        while at < payload_bytes {
            let end = (at + segment_bytes).min(payload_bytes);
            if !self.lose() {
                match runs.last_mut() {
                    Some(run) if run.end == at => run.end = end,
                    _ => runs.push(at..end),
                }
            }
            at = end;
        }
        runs
    }
}

impl<R: DeviceRx> DeviceRx for LossyRx<'_, R> {
    fn receive(&mut self) -> Option<Received<'_>> {
        let loss = &mut *self.loss;
        while loss.waiting.is_empty() {
            let Received { frame, checksum_is_good } = self.inner.receive()?;
            let headers_bytes = headers_bytes(frame).filter(|_| frame.len() > ETHERNET_BYTES + loss.mtu);
            let Some(headers_bytes) = headers_bytes else {
                if !loss.dice.lose() {
                    loss.waiting.push_back((frame.to_vec(), checksum_is_good));
                }
                continue;
            };
            let segment_bytes = loss.mtu + ETHERNET_BYTES - headers_bytes;
            for run in loss.dice.survivors(frame.len() - headers_bytes, segment_bytes) {
                loss.waiting.push_back((cut(frame, headers_bytes, run), checksum_is_good));
            }
        }
        let (frame, checksum_is_good) = loss.waiting.pop_front()?;
        loss.lent = frame;
        Some(Received { frame: &loss.lent, checksum_is_good })
    }
}

impl<T: DeviceTx> DeviceTx for LossyTx<'_, T> {
    fn has_room(&mut self) -> bool {
        self.inner.has_room()
    }

    fn send(&mut self, frame_bytes: usize, fill: impl FnOnce(&mut [u8]) -> TxOffload) {
        let frame = &mut self.loss.frame[..frame_bytes];
        let offload = fill(frame);
        let (headers_bytes, segment_bytes) = (offload.header_bytes.into(), offload.segment_bytes.into());
        if segment_bytes == 0 {
            if !self.loss.dice.lose() {
                put(self.inner, frame, offload);
            }
            return;
        }
        for run in self.loss.dice.survivors(frame_bytes - headers_bytes, segment_bytes) {
            let offload = if run.len() > segment_bytes {
                offload
            } else {
                TxOffload { header_bytes: 0, segment_bytes: 0, ..offload }
            };
            if self.inner.has_room() {
                put(self.inner, &cut(frame, headers_bytes, run), offload);
            }
        }
    }
}

fn put(tx: &mut impl DeviceTx, bytes: &[u8], offload: TxOffload) {
    tx.send(bytes.len(), |frame| {
        frame.copy_from_slice(bytes);
        offload
    });
}

/// How long the Ethernet, IPv4 and TCP headers of a frame are; none if it is another kind of frame.
fn headers_bytes(frame: &[u8]) -> Option<usize> {
    let ip = frame.get(ETHERNET_BYTES..)?;
    if *ip.first()? >> 4 != 4 || *ip.get(9)? != PROTOCOL_TCP {
        return None;
    }
    let ip_bytes = usize::from(ip.first()? & 0x0f) * 4;
    let tcp_bytes = usize::from(ip.get(ip_bytes + 12)? >> 4) * 4;
    Some(ETHERNET_BYTES + ip_bytes + tcp_bytes).filter(|bytes| *bytes <= frame.len())
}

/// The frame with these bytes of its payload only, as a device that cuts segments would send it. Its TCP checksum is begun
/// with the pseudo header, as the one of the whole frame was.
fn cut(frame: &[u8], headers_bytes: usize, run: Range<usize>) -> Vec<u8> {
    let (headers, payload) = frame.split_at(headers_bytes);
    let mut piece = headers.to_vec();
    piece.extend_from_slice(&payload[run.clone()]);
    let ip_bytes = usize::from(piece[ETHERNET_BYTES] & 0x0f) * 4;
    let total = (piece.len() - ETHERNET_BYTES) as u16;
    let (ip, tcp) = piece[ETHERNET_BYTES..].split_at_mut(ip_bytes);
    ip[2..4].copy_from_slice(&total.to_be_bytes());
    ip[10..12].copy_from_slice(&[0, 0]);
    let checksum = !packet::fold(packet::sum(ip));
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    let address = |at: usize| Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]);
    let pseudo = packet::pseudo_sum(address(12), address(16), PROTOCOL_TCP, tcp.len());
    tcp[TCP_CHECKSUM_AT..TCP_CHECKSUM_AT + 2].copy_from_slice(&packet::fold(pseudo).to_be_bytes());
    let seq = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]).wrapping_add(run.start as u32);
    tcp[4..8].copy_from_slice(&seq.to_be_bytes());
    if run.end < payload.len() {
        tcp[13] &= !(flag::FIN | flag::PSH);
    }
    piece
}

const _: () = assert!(FRAME_BYTES_MAX > ETHERNET_BYTES + IPV4_BYTES + TCP_BYTES);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::sim::SimDevice;
    use crate::device::{Device, DeviceCaps};
    use crate::net::packet::{Ipv4, Tcp};

    const CAPS: DeviceCaps = DeviceCaps {
        mac: [2; 6],
        mtu: 1_500,
        tso_bytes_max: Some(65_535),
        completes_checksums: true,
        leaves_checksums_partial: false,
    };
    const HEADERS_BYTES: usize = ETHERNET_BYTES + IPV4_BYTES + TCP_BYTES;

    fn frame(payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; HEADERS_BYTES];
        let (ethernet, rest) = frame.split_first_chunk_mut().unwrap();
        packet::write_ethernet(ethernet, [2; 6], [4; 6], packet::ETHERTYPE_IPV4);
        let (ip, tcp) = rest.split_first_chunk_mut().unwrap();
        let (a, b) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        packet::write_ipv4(ip, a, b, PROTOCOL_TCP, TCP_BYTES + payload.len());
        let header = Tcp {
            from_port: 1,
            to_port: 2,
            seq: u32::MAX - 5_000,
            ack: 7,
            flags: flag::ACK | flag::PSH | flag::FIN,
            window: 9,
            header_bytes: TCP_BYTES,
            data_bytes: payload.len(),
        };
        header.write(tcp.first_chunk_mut().unwrap());
        frame.extend_from_slice(payload);
        frame
    }

    /// The payload bytes of a frame and where they belong.
    fn read(frame: &[u8]) -> (usize, Vec<u8>, u8) {
        let ip = Ipv4::parse(&frame[ETHERNET_BYTES..]).unwrap();
        let tcp = Tcp::parse(ip.payload).unwrap();
        let at = tcp.seq.wrapping_sub(u32::MAX - 5_000) as usize;
        (at, ip.payload[tcp.header_bytes..].to_vec(), tcp.flags)
    }

    /// Goal: each segment of a long frame is lost on its own, the others are whole and at their place, both ways.
    #[test]
    fn segments_are_lost_one_by_one() {
        let payload: Vec<u8> = (0..14_600u32).map(|at| (at % 251) as u8).collect();
        let (mut device, port) = SimDevice::new(CAPS);
        let mut loss = Loss::new(0.1, CAPS.mtu, &mut Rng::from_seed(3));
        let (mut arrived, mut ends) = ([0usize; 2], [0; 2]);
        for _ in 0..1_000 {
            let (rx, tx) = device.split();
            let (mut rx, mut tx) = loss.over(rx, tx);
            let whole = frame(&payload);
            let offload = TxOffload {
                checksum_start: 34,
                checksum_offset: 16,
                header_bytes: HEADERS_BYTES as u16,
                segment_bytes: 1_460,
            };
            tx.send(whole.len(), |frame| {
                frame.copy_from_slice(&whole);
                offload
            });
            port.give(&whole);
            let mut pieces = Vec::new();
            while let Some(received) = rx.receive() {
                pieces.push((0, received.frame.to_vec()));
            }
            while let Some(sent) = port.take() {
                assert_eq!(sent.offload.checksum_start, 34);
                assert_eq!(sent.offload.segment_bytes > 0, sent.bytes.len() > HEADERS_BYTES + 1_460);
                pieces.push((1, sent.bytes));
            }
            for (way, piece) in pieces {
                let (at, bytes, flags) = read(&piece);
                assert_eq!(bytes, payload[at..at + bytes.len()]);
                assert_eq!(flags & flag::FIN != 0, at + bytes.len() == payload.len());
                arrived[way] += bytes.len() / 1_460;
                ends[way] += usize::from(flags & flag::FIN != 0);
            }
        }
        for way in 0..2 {
            assert!((8_800..9_200).contains(&arrived[way]), "{arrived:?} of 10000");
            assert!((850..950).contains(&ends[way]), "{ends:?} of 1000");
        }
    }

    /// Goal: short frames, and frames of other kinds, are lost whole or not at all.
    #[test]
    fn short_frames_are_lost_whole() {
        let (mut device, port) = SimDevice::new(CAPS);
        let mut loss = Loss::new(0.5, CAPS.mtu, &mut Rng::from_seed(4));
        let mut arrived = 0;
        for len in 0..2_000 {
            let bytes = vec![7; len];
            port.give(&bytes);
            let (rx, tx) = device.split();
            let (mut rx, _) = loss.over(rx, tx);
            while let Some(received) = rx.receive() {
                assert_eq!(received.frame, bytes);
                arrived += 1;
            }
        }
        assert!((900..1_100).contains(&arrived), "{arrived}");
    }
}
