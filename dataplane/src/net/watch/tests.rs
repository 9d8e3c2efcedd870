//! What is recorded and captured, frame by frame.

use super::recording::SLOT_BYTES;
use super::*;
use crate::lane::lane;
use crate::net::packet::{self, ETHERNET_BYTES, ETHERTYPE_IPV4, IPV4_BYTES, PROTOCOL_TCP, TCP_BYTES, Tcp};
use crate::net::pcapng;
use std::net::Ipv4Addr;

const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
const US: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

fn at(mono_ns: u64) -> TurnTime {
    TurnTime { mono_ns, wall_ms: 1_000_000 + (mono_ns / 1_000_000) as i64 }
}

fn segment(from_port: u16, to_port: u16, data_bytes: usize) -> Vec<u8> {
    let mut frame = vec![0; ETHERNET_BYTES + IPV4_BYTES + TCP_BYTES + data_bytes];
    let (ethernet, rest) = frame.split_first_chunk_mut().unwrap();
    packet::write_ethernet(ethernet, [2; 6], [4; 6], ETHERTYPE_IPV4);
    let (ip, rest) = rest.split_first_chunk_mut().unwrap();
    packet::write_ipv4(ip, PEER, US, PROTOCOL_TCP, TCP_BYTES + data_bytes);
    let tcp =
        Tcp { from_port, to_port, seq: 1, ack: 1, flags: 0, window: 9, header_bytes: TCP_BYTES, data_bytes };
    tcp.write(rest.first_chunk_mut().unwrap());
    frame
}

/// The blocks of a file: kind, and content without the lengths.
fn blocks(mut file: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let mut found = Vec::new();
    while let Some((kind, rest)) = file.split_first_chunk::<4>() {
        let len = u32::from_le_bytes(*rest.first_chunk().unwrap()) as usize;
        found.push((u32::from_le_bytes(*kind), file[8..len - 4].to_vec()));
        file = &file[len..];
    }
    found
}

#[test]
fn filters_pass_what_they_name() {
    let frame = segment(40_000, 10_911, 0);
    let passes = |port, peer: Option<[u8; 4]>| Filter { port, peer: peer.map(Into::into) }.passes(&frame);
    assert!(passes(None, None) && passes(Some(10_911), None) && passes(Some(40_000), Some([10, 0, 0, 9])));
    assert!(
        !passes(Some(1), None) && !passes(None, Some([10, 0, 0, 8])) && passes(None, Some([10, 0, 0, 2]))
    );
    let arp = [[0xff; 12].as_slice(), &[8, 6], &[0; 28]].concat();
    assert!(Filter::default().passes(&arp));
    let one = Filter { port: Some(1), peer: None };
    assert!(!one.passes(&arp) && !one.passes(&[]));
}

/// Goal: the last frames are there, oldest first, heads only.
#[test]
fn a_recording_keeps_the_last_heads() {
    let mut watch = Watch::default();
    watch.set_clock(FineClock::STANDING, &at(0));
    watch.see(Way::In, &segment(1, 2, 0), &at(0)); // Nobody is there.
    watch.record_into(Box::new(Recording::new(10 * SLOT_BYTES)));
    let frame = segment(1, 2, 1_000);
    (0..25).for_each(|turn| watch.see(Way::In, &frame, &at(turn)));
    let mut recording = Box::new(Recording::new(10 * SLOT_BYTES));
    assert!(watch.swap(&mut recording));
    let mut file = Vec::new();
    recording.write(&mut file);
    let found = blocks(&file);
    assert_eq!((found.len(), recording.seen), (11, 25));
    for (turn, (kind, content)) in (15..).zip(&found[..10]) {
        let number = |at: usize| u32::from_le_bytes(content[at..at + 4].try_into().unwrap());
        let stamp_ns = u64::from(number(4)) << 32 | u64::from(number(8));
        assert_eq!((*kind, stamp_ns), (6, 1_000_000_000_000 + turn));
        assert_eq!((number(12) as usize, number(16) as usize), (HEAD_BYTES, frame.len()));
        assert_eq!(content[20..20 + HEAD_BYTES], frame[..HEAD_BYTES]);
    }
    recording.clear();
    file.clear();
    recording.write(&mut file);
    assert_eq!(blocks(&file).len(), 1);
}

/// Goal: chunks are filled, handed over and used again; without one frames are lost and counted.
#[test]
fn a_capture_fills_the_chunks_it_is_given() {
    let (empty, empties) = lane(2);
    let (fulls, full) = lane(2);
    let frame = segment(1, 2, 100);
    let room = pcapng::packet_bytes(frame.len()) * 3;
    (0..2).for_each(|_| empty.push(Vec::with_capacity(room)).unwrap());
    let mut watch = Watch::default();
    let capture = Capture::new(Filter { port: Some(2), peer: None }, usize::MAX, empties, fulls);
    assert!(watch.capture_into(Some(Box::new(capture))).is_none());
    let other = segment(3, 4, 0);
    (0..8).for_each(|turn| watch.see(Way::Out, &frame, &at(turn)));
    watch.see(Way::Out, &other, &at(9));
    let chunk = full.pop().unwrap();
    assert_eq!((blocks(&chunk.blocks).len(), chunk.seen, chunk.lost), (3, 4, 0));
    let mut again = chunk.blocks;
    again.clear();
    empty.push(again).unwrap();
    watch.see(Way::Out, &frame, &at(10));
    assert!(watch.capture_into(None).is_some());
    let chunks: Vec<Chunk> = std::iter::from_fn(|| full.pop()).collect();
    assert_eq!(chunks.iter().map(|chunk| blocks(&chunk.blocks).len()).sum::<usize>(), 4);
    assert_eq!(chunks.last().map(|chunk| (chunk.seen, chunk.lost)), Some((9, 2)));
    watch.see(Way::Out, &frame, &at(11));
    assert!(full.pop().is_none());
}
