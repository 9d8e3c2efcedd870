//! The stack over the simulated device, frame by frame: this frame in, that frame expected.

#![allow(clippy::unwrap_used)] // All of it is tests.

#[path = "../attack/cable.rs"]
mod cable;
mod data;
mod ends;
mod link;
mod loss;
mod opening;
#[path = "../attack/wire.rs"]
#[allow(dead_code)]
mod wire;
mod world;

use dataplane::net::{Net, NetEvent};
use dataplane::rng::Rng;
use std::time::Duration;
use world::{World, seg};

/// Goal: no bytes make the stack panic. Method: random frames, and good ones with random damage and lengths.
#[test]
fn any_bytes_are_survived() {
    let mut rng = Rng::from_seed(77);
    let mut world = World::new();
    let (_, first) = world.open(40_000);
    for round in 0..60_000 {
        let mut frame = match rng.below(3) {
            0 => {
                let mut frame = vec![0; rng.below(120) as usize];
                rng.fill(&mut frame);
                frame
            }
            _ => {
                let mut seg = seg(rng.next_u32() as u8, 1000 + rng.below(2000) as u32, first);
                seg.from_port = 40_000 + rng.below(3) as u16;
                seg.window = rng.next_u32() as u16;
                let reach = if rng.chance(0.9) { 3 } else { 2_000 };
                seg.ack = seg.ack.wrapping_add(rng.below(reach) as u32).wrapping_sub(1);
                seg.options = vec![0; rng.below(11) as usize * 4];
                rng.fill(&mut seg.options);
                seg.data = vec![1; rng.below(1_400) as usize];
                seg.frame()
            }
        };
        if rng.chance(0.1) && !frame.is_empty() {
            let at = rng.below(frame.len() as u64) as usize;
            frame[at] ^= 1 << rng.below(8);
        }
        world.give(&frame);
        if round % 64 == 0 {
            world.wait(Duration::from_millis(rng.below(500)));
            for event in world.take_events() {
                if let NetEvent::Readable(conn) = event {
                    let (a, b) = world.stack.readable(conn);
                    let len = a.len() + b.len();
                    world.stack.send(conn, b"thanks");
                    world.stack.consume(conn, len);
                }
            }
        }
    }
}
