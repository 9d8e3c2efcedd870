//! Our stack on a real TAP, against the kernel's TCP. Says "skipped: why" where that cannot be.

#![allow(clippy::unwrap_used)] // All of it is tests.

mod common;

use common::apart::apart;
use common::{Echo, PATIENCE, Running, awake};
use dataplane::device::mac_for;
use dataplane::device::tap::{Tap, TapConfig, TapError};
use dataplane::net::front::Address;
use dataplane::net::stack::{Stack, StackConfig};
use dataplane::rng::Rng;
use std::io::{ErrorKind, Read, Write};
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

const PORT: u16 = 10911;
const SURVIVORS: usize = 3_000;

/// The address of the appliance and the host's end, and the interface's name: one network for each test.
fn place(net: u8) -> (TapConfig, StackConfig) {
    let ip = Ipv4Addr::new(10, 77, net, 2);
    let tap = TapConfig {
        name: format!("ab-net{net}"),
        mac: mac_for(ip),
        host: Some((Ipv4Addr::new(10, 77, net, 1), 24)),
        persist: false,
    };
    let mut config = StackConfig::new(Address { ip, prefix_len: 24, gateway: None });
    config.limits.conns_max = 4_000;
    (tap, config)
}

/// A stack on a TAP of its own; none, with a word why, where there may be no TAP.
fn stack(net: u8) -> Option<(Stack<Tap>, Ipv4Addr)> {
    let (tap, config) = place(net);
    stack_with(&tap, config)
}

fn stack_with(tap: &TapConfig, config: StackConfig) -> Option<(Stack<Tap>, Ipv4Addr)> {
    let ip = config.address.ip;
    let until = awake::now() + Duration::from_secs(2);
    let tap = loop {
        match Tap::open(tap) {
            Ok(tap) => break tap,
            // A process that has just died may not have let go yet.
            Err(TapError::Busy { .. }) if awake::now() < until => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error @ (TapError::NoTun | TapError::NotAllowed { .. })) => {
                println!("skipped: {error}");
                return None;
            }
            Err(error) => panic!("{error}"),
        }
    };
    Some((Stack::new(tap, config, &mut Rng::from_os()).unwrap(), ip))
}

fn start(net: u8) -> Option<(Running, Ipv4Addr)> {
    let (stack, ip) = stack(net)?;
    Some((Running::start(stack, PORT).unwrap(), ip))
}

/// Goal: bytes go both ways unharmed, in small and large pieces. Method: echoes, compared.
#[test]
fn echoes() {
    apart(|| {
        let Some((server, ip)) = start(10) else { return };
        common::ping_pong(ip, PORT);
        common::bulk(ip, PORT, 256 << 20);
        assert_eq!(server.stop().0, 2);
    });
}

/// Goal: a thousand connections at once do not mix, and all are told opened and closed. Method: bursts, then count.
#[test]
fn many_connections() {
    apart(|| {
        let Some((server, ip)) = start(11) else { return };
        common::many(ip, PORT, 1_000);
        server.until_ended(1_000); // So many ends at once may be more than the device's queue holds.
        common::churn(ip, PORT, 300);
        server.until_ended(1_300);
        assert_eq!(server.stop(), (1_300, 1_300));
    });
}

/// Goal: close, abort and refusal look to the peer as they are called.
#[test]
fn ends() {
    apart(|| {
        let Some((_server, ip)) = start(12) else { return };
        for _ in 0..20 {
            common::ends(ip, PORT);
        }
    });
}

/// T-32. Goal: what came before a reset is served. Method: a peer that sends and resets while nobody looks.
#[test]
fn last_words() {
    apart(|| {
        let Some((mut stack, ip)) = stack(22) else { return };
        let echo = Echo::new(&mut stack, PORT).unwrap();
        common::last_words(stack, echo, ip);
    });
}

/// Goal: the host's own tools find us. Method: ping, and the host's neighbour table.
#[test]
fn answers_ping() {
    apart(|| {
        let Some((_server, ip)) = start(13) else { return };
        let Ok(ping) =
            Command::new("ping").args(["-c", "3", "-i", "0.2", "-s", "1000", &ip.to_string()]).output()
        else {
            println!("skipped: no ping on this machine");
            return;
        };
        assert!(ping.status.success(), "{}", String::from_utf8_lossy(&ping.stdout));
    });
}

/// Goal: a peer of a process that died learns at once when it is back. Method: drop the stack without a word, start
/// another one in its place, and send: the answer is a reset.
#[test]
fn a_restart_resets_old_connections() {
    apart(|| {
        let Some((server, ip)) = start(14) else { return };
        let mut stream = common::connect(ip, PORT);
        stream.write_all(b"before").unwrap();
        stream.read_exact(&mut [0; 6]).unwrap();
        drop(server); // Nothing is sent: this is what kill -9 looks like from outside.

        let Some((_server, _)) = start(14) else { return };
        let restarted = awake::now();
        stream.write_all(b"after").unwrap();
        let error = awake::read(&mut stream, &mut [0; 16], PATIENCE).expect_err("the old connection is gone");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let late = awake::now() - restarted;
        assert!(late < Duration::from_secs(1), "{late:?}");

        let mut fresh = common::connect(ip, PORT);
        fresh.write_all(b"again").unwrap();
        fresh.read_exact(&mut [0; 5]).unwrap();
    });
}

/// Goal: peers that only wait learn of a crash too, at the restart, each of them however many they are. Method: as above,
/// with a roll, and more peers than a TAP holds frames, who only read.
#[test]
fn a_restart_resets_waiting_connections() {
    if !common::may_connect(SURVIVORS) {
        return;
    }
    apart(|| {
        let roll = std::env::temp_dir().join(format!("afterburner-tap-roll-{}", std::process::id()));
        let with_roll = || {
            let (tap, mut config) = place(16);
            config.roll_path = Some(roll.clone());
            stack_with(&tap, config)
        };
        let Some((stack, ip)) = with_roll() else { return };
        let server = Running::start(stack, PORT).unwrap();
        let mut streams: Vec<_> = (0..SURVIVORS).map(|_| common::connect(ip, PORT)).collect();
        for stream in &mut streams {
            stream.write_all(b"before").unwrap();
            stream.read_exact(&mut [0; 6]).unwrap();
        }
        drop(streams.pop()); // An orderly end is not on the roll.
        drop(server);

        let Some((stack, _)) = with_roll() else { return };
        let restarted = awake::now();
        let _server = Running::start(stack, PORT).unwrap();
        for stream in &mut streams {
            let error = awake::read(stream, &mut [0; 16], PATIENCE).expect_err("the old connection is gone");
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
        let late = awake::now() - restarted;
        assert!(late < Duration::from_secs(1), "{late:?}");
        std::fs::remove_file(&roll).unwrap();
    });
}

/// Goal: bytes arrive unharmed though one segment in fifty is lost either way, and an exchange of which one is lost takes
/// milliseconds, where the host's route lets its own TCP be as quick. Method: bulk, then small exchanges, slow ones counted.
#[test]
fn loss_costs_little() {
    apart(|| {
        let (tap, mut config) = place(20);
        config.loss = 0.02;
        let Some((stack, ip)) = stack_with(&tap, config) else { return };
        let server = Running::start(stack, PORT).unwrap();
        let route =
            ["10.77.20.0/24", "dev", &tap.name, "proto", "kernel", "scope", "link", "src", "10.77.20.1"];
        let quick =
            Command::new("ip").args(["route", "change"]).args(route).args(["rto_min", "4ms"]).status();
        if !quick.is_ok_and(|status| status.success()) {
            println!("skipped: the route's rto_min cannot be set here");
            return;
        }
        let mut stream = common::connect(ip, PORT);
        let slow = (0..1_000)
            .filter(|number: &u32| {
                let sent = Instant::now();
                let mut back = [0; 4];
                stream.write_all(&number.to_le_bytes()).unwrap();
                stream.read_exact(&mut back).unwrap();
                assert_eq!(back, number.to_le_bytes());
                sent.elapsed() > Duration::from_millis(100)
            })
            .count();
        // Some forty of them have lost a segment. A busy machine may stop anybody for a while.
        assert!(slow < 10, "{slow} of 1000 were slow");
        common::bulk(ip, PORT, 8 << 20);
        drop(stream);
        server.stop();
    });
}

/// Goal: a second broker on the same interface is told so. Method: open it twice.
#[test]
fn a_taken_interface_says_so() {
    apart(|| {
        let Some((_stack, _)) = stack(15) else { return };
        let error = Tap::open(&place(15).0).expect_err("it is taken");
        assert!(matches!(error, TapError::Busy { .. }), "{error}");
        let unnamed = TapConfig { name: "no/such".into(), ..place(15).0 };
        assert!(matches!(Tap::open(&unnamed), Err(TapError::BadName { .. })));
    });
}
