//! No allocation per message, on either network: counted on the thread that serves.

#![allow(clippy::unwrap_used)] // All of it is tests.

mod common;

use common::Echo;
use dataplane::alloc::{self, Counting};
use dataplane::device::mac_for;
use dataplane::device::tap::{Tap, TapConfig, TapError};
use dataplane::lane::lane;
use dataplane::net::front::Address;
use dataplane::net::kernel::KernelNet;
use dataplane::net::pcapng::Way;
use dataplane::net::stack::{Stack, StackConfig};
use dataplane::net::watch::{Capture, Filter, Recording, Watch};
use dataplane::net::{Net, NetLimits, Spin};
use dataplane::rng::Rng;
use dataplane::time::{Clock, RealClock, TurnTime};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PORT: u16 = 10_951;

/// Serves connections one after another, each with messages of every size; returns what was allocated between the
/// opening of the 41st and of the 81st.
fn allocations(mut net: impl Net, ip: Ipv4Addr) -> u64 {
    let mut echo = Echo::new(&mut net, PORT).unwrap();
    let client = std::thread::spawn(move || {
        let mut rng = Rng::from_seed(31);
        // One that has just ended may keep its place while the next one comes: there are places for more than one.
        drop((0..4).map(|_| common::connect(ip, PORT)).collect::<Vec<_>>());
        for _ in 0..100 {
            let mut stream = common::connect(ip, PORT);
            for _ in 0..50 {
                let message = vec![7; 1 + rng.below(60_000) as usize];
                stream.write_all(&message).unwrap();
                stream.read_exact(&mut vec![0; message.len()]).unwrap();
            }
            stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        }
    });
    let mut clock = RealClock::start();
    let mut turn_until = |net: &mut _, is_enough: &dyn Fn(&Echo) -> bool| {
        while !is_enough(&echo) {
            let now = clock.read();
            echo.turn(net, &now);
        }
        alloc::on_this_thread()
    };
    let before = turn_until(&mut net, &|echo| echo.opened >= 41);
    let after = turn_until(&mut net, &|echo| echo.opened >= 81);
    turn_until(&mut net, &|_| client.is_finished());
    client.join().unwrap();
    after - before
}

/// Goal: nothing is allocated per message or per connection once the first ones have been there.
#[test]
fn nothing_is_allocated_in_steady_state() {
    let net = KernelNet::new(IpAddr::V4(Ipv4Addr::LOCALHOST), NetLimits::default(), Spin::Always).unwrap();
    assert_eq!(allocations(net, Ipv4Addr::LOCALHOST), 0, "kernel");

    let ip = Ipv4Addr::new(10, 77, 19, 2);
    let host = Some((Ipv4Addr::new(10, 77, 19, 1), 24));
    let config = TapConfig { name: "ab-netal".into(), mac: mac_for(ip), host, persist: false };
    let tap = match Tap::open(&config) {
        Ok(tap) => tap,
        Err(error @ (TapError::NoTun | TapError::NotAllowed { .. })) => return println!("skipped: {error}"),
        Err(error) => panic!("{error}"),
    };
    let mut config = StackConfig::new(Address { ip, prefix_len: 24, gateway: None });
    config.spin = Spin::Always;
    let stack = Stack::new(tap, config, &mut Rng::from_os()).unwrap();
    assert_eq!(allocations(stack, ip), 0, "tap");
}

/// Goal: frames that are recorded and captured cost no allocation: the memory was brought.
#[test]
fn watching_frames_allocates_nothing() {
    let mut watch = Watch::default();
    watch.record_into(Box::new(Recording::new(64 << 10)));
    let (empty, empties) = lane(4);
    let (fulls, full) = lane(4);
    for _ in 0..4 {
        assert!(empty.push(Vec::with_capacity(8 << 10)).is_ok());
    }
    let capture = Capture::new(Filter::default(), usize::MAX, empties, fulls);
    assert!(watch.capture_into(Some(Box::new(capture))).is_none());
    let frame = [7; 1_514];
    let before = alloc::on_this_thread();
    for mono_ns in 0..1_000 {
        watch.see(Way::In, &frame, &TurnTime { mono_ns, wall_ms: 0 });
        if let Some(chunk) = full.pop() {
            let mut blocks = chunk.blocks;
            blocks.clear();
            assert!(empty.push(blocks).is_ok());
        }
    }
    assert_eq!(alloc::on_this_thread() - before, 0);
}
