//! T-xdp. Our stack on a NIC that the host keeps using, against the kernel's TCP: AF_XDP on a veth pair between two
//! namespaces of the test's own. Says "skipped: why" where that cannot be.

#![allow(clippy::unwrap_used)] // All of it is tests.

mod broker;
#[path = "../common/mod.rs"]
mod common;
mod place;
#[path = "../kill/wire.rs"]
#[allow(dead_code)]
mod wire;

use common::{PATIENCE, Running, awake};
use dataplane::device::Device;
use dataplane::device::xdp::{MTU_MAX, Polling, Scope, Steering, Xdp, XdpConfig, XdpError};
use dataplane::net::Net;
use dataplane::net::front::Address;
use dataplane::net::stack::{Stack, StackConfig};
use dataplane::rng::Rng;
use dataplane::time::{Clock, RealClock};
use place::{APPLIANCE, HOST, NIC, PEER, PEER_NIC, Place};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const PORT: u16 = 10911;
const SURVIVORS: usize = 3_000;

fn config(ip: Ipv4Addr, scope: Scope) -> XdpConfig {
    XdpConfig {
        interface: NIC.into(),
        steering: Steering { ip, scope },
        polling: Polling { need_wakeup: true, busy_poll_micros: 0 },
    }
}

/// The device, waiting for the one before it to be gone.
fn open(config: &XdpConfig) -> Result<Xdp, XdpError> {
    let until = awake::now() + Duration::from_secs(2);
    loop {
        match Xdp::open(config) {
            Err(error) if error.is_busy() && awake::now() < until => {
                std::thread::sleep(Duration::from_millis(10));
            }
            opened => return opened,
        }
    }
}

fn stack(place: &Place, xdp: &XdpConfig, change: impl FnOnce(&mut StackConfig)) -> Stack<Xdp> {
    let mut config = StackConfig::new(Address { ip: xdp.steering.ip, prefix_len: 24, gateway: None });
    config.limits.conns_max = 4_000;
    change(&mut config);
    let device = place.on_host(|| open(xdp)).unwrap();
    Stack::new(device, config, &mut Rng::from_os()).unwrap()
}

/// An echo server at an address of its own; none, with a word why, where that cannot be.
fn start() -> Option<(Place, Running)> {
    let place = Place::new()?;
    let server = Running::start(stack(&place, &config(APPLIANCE, Scope::Alone), |_| ()), PORT).unwrap();
    Some((place, server))
}

/// Goal: bytes go both ways unharmed, in small and large pieces. Method: echoes, compared.
#[test]
fn echoes() {
    let Some((place, server)) = start() else { return };
    place.on_peer(|| {
        common::ping_pong(APPLIANCE, PORT);
        common::bulk(APPLIANCE, PORT, 64 << 20);
    });
    assert_eq!(server.stop().0, 2);
}

/// Goal: a thousand connections at once do not mix, and all are told opened and closed; and ends look to the peer as they
/// are called. Method: bursts, then count.
#[test]
fn many_connections() {
    let Some((place, server)) = start() else { return };
    place.on_peer(|| {
        common::many(APPLIANCE, PORT, 1_000);
        server.until_ended(1_000); // So many ends at once may be more than the device's queue holds.
        common::churn(APPLIANCE, PORT, 300);
        server.until_ended(1_300);
        (0..20).for_each(|_| common::ends(APPLIANCE, PORT));
    });
    server.until_ended(1_340);
    assert_eq!(server.stop(), (1_340, 1_340));
}

/// Goal: two shards share a NIC, each with its queue and its ports: whichever queue a flow comes by, its owner has it, and
/// nothing is lost on the way. Method: connections to both, by both queues; then the devices' own counts. One shard more
/// than there are queues is refused.
#[test]
fn two_shards_on_one_card() {
    let Some(place) = Place::with_queues(2) else { return };
    let xdp = config(APPLIANCE, Scope::Alone);
    let firsts = [PORT, PORT + 10];
    let ports = firsts.map(|first| (first..first + 3).collect::<Vec<u16>>());
    let refused = place.on_host(|| Xdp::open_shards(&xdp, &[&ports[..], &[vec![1]]].concat()).err().unwrap());
    assert!(refused.to_string().contains("2 receive queues, and each of 3 shards needs one"), "{refused}");
    let devices = place.on_host(|| Xdp::open_shards(&xdp, &ports)).unwrap();
    let done = AtomicBool::new(false);
    let crossed: Vec<_> = std::thread::scope(|scope| {
        let shards: Vec<_> = devices
            .into_iter()
            .zip(firsts)
            .map(|(device, first)| {
                let done = &done;
                scope.spawn(move || echo_until(done, device, first))
            })
            .collect();
        let clients = std::panic::catch_unwind(|| place.on_peer(|| firsts.map(talk_to_a_shard)));
        done.store(true, Ordering::Relaxed);
        let crossed = shards.into_iter().map(|shard| shard.join().unwrap()).collect();
        clients.unwrap();
        crossed
    });
    println!("sent to the other, taken from it, dropped: {crossed:?}");
    let [(sent, taken, lost), (sent_back, taken_back, lost_back)] = crossed[..] else { panic!("two shards") };
    assert!(sent > 0 && sent_back > 0, "flows come by both queues");
    assert!(taken_back <= sent && taken <= sent_back && lost + lost_back == 0);
}

fn talk_to_a_shard(first: u16) {
    common::many(APPLIANCE, first, 100);
    common::ping_pong(APPLIANCE, first);
    common::bulk(APPLIANCE, first, 8 << 20);
    common::ends(APPLIANCE, first);
}

/// One shard: echoes until it is told to end. Returns what crossed to and from the other.
fn echo_until(done: &AtomicBool, device: Xdp, first: u16) -> (u64, u64, u64) {
    let mut config = StackConfig::new(Address { ip: APPLIANCE, prefix_len: 24, gateway: None });
    config.limits.conns_max = 1_000;
    let mut stack = Stack::new(device, config, &mut Rng::from_os()).unwrap();
    let waker = stack.waker();
    stack.device().woken_by(move || waker.wake());
    let mut echo = common::Echo::new(&mut stack, first).unwrap();
    let mut clock = RealClock::start();
    while !done.load(Ordering::Relaxed) {
        let now = clock.read();
        if echo.turn(&mut stack, &now) == 0 {
            stack.idle_wait(&now, Duration::from_millis(20));
        }
    }
    assert_eq!(echo.opened, 104);
    stack.device().crossed()
}

/// Goal: every way of driving the sockets works. Method: echoes without need-wakeup, and with busy polling.
#[test]
fn every_way_of_polling() {
    for polling in [
        Polling { need_wakeup: false, busy_poll_micros: 0 },
        Polling { need_wakeup: true, busy_poll_micros: 20 },
    ] {
        let Some(place) = Place::new() else { return };
        let xdp = XdpConfig { polling, ..config(APPLIANCE, Scope::Alone) };
        let _server = Running::start(stack(&place, &xdp, |_| ()), PORT).unwrap();
        place.on_peer(|| {
            common::ping_pong(APPLIANCE, PORT);
            common::bulk(APPLIANCE, PORT, 8 << 20);
        });
    }
}

/// Goal: no system call but to send, and no more of them than frames; nothing is lost or found wrong on the way.
/// Method: the server's turns on this thread, echoes from another one, then the device's and the kernel's own counts.
#[test]
fn system_calls_are_few() {
    let Some(place) = Place::new() else { return };
    let mut stack = stack(&place, &config(APPLIANCE, Scope::Alone), |_| ());
    let mut echo = common::Echo::new(&mut stack, PORT).unwrap();
    let done = AtomicBool::new(false);
    let mut turns = 0;
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            place.on_peer(|| {
                common::ping_pong(APPLIANCE, PORT);
                common::bulk(APPLIANCE, PORT, 4 << 20);
            });
            done.store(true, Ordering::Relaxed);
        });
        let mut clock = RealClock::start();
        while !done.load(Ordering::Relaxed) && !client.is_finished() {
            echo.turn(&mut stack, &clock.read());
            turns += 1;
        }
    });
    let counted = stack.device().counters();
    assert!(counted.frames_in > 4_000 && counted.frames_out > 4_000, "{counted:?}");
    assert!(counted.kicks <= turns, "{counted:?} in {turns} turns");
    assert!(counted.kicks - counted.kicks_refused <= counted.frames_out, "{counted:?}");
    assert_eq!((counted.kernel.invalid, counted.kernel.rx_dropped), (0, 0), "{counted:?}");
}

/// Goal: while the appliance is busy on the NIC, the host's own TCP, UDP and ping on the same NIC go on; the appliance
/// answers ping at its own address; and what was sent to the host never came to us. Method: all of it at once.
#[test]
fn the_hosts_traffic_is_untouched() {
    let Some((place, server)) = start() else { return };
    let host = HostServices::start(&place, 22);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            place.on_peer(|| {
                while !done.load(Ordering::Relaxed) {
                    common::bulk(APPLIANCE, PORT, 1 << 20);
                }
            });
        });
        place.on_peer(|| {
            for round in 0..100 {
                host.ask(HOST, 22, round);
                assert!(pings(HOST, round), "the host does not answer ping {round}");
                assert!(pings(APPLIANCE, round), "the appliance does not answer ping {round}");
            }
        });
        done.store(true, Ordering::Relaxed);
    });
    // The other way round too: the host as a client, on its own NIC.
    let peer = place.on_peer(|| TcpListener::bind((PEER, 2_222)).unwrap());
    place.on_host(|| {
        let mut stream = TcpStream::connect((PEER, 2_222)).unwrap();
        let mut accepted = peer.accept().unwrap().0;
        stream.write_all(b"out").unwrap();
        accepted.read_exact(&mut [0; 3]).unwrap();
    });
    assert!(server.stop().0 >= 1);
}

/// Goal: at an address that is the host's too, our port is ours and everything else is the host's: its SSH, its ping, its
/// ARP; and when we are gone the host answers for our port at once. Method: the same services at one address.
#[test]
fn an_address_shared_with_the_host() {
    let Some(place) = Place::new() else { return };
    let xdp = config(HOST, Scope::Shared { ports: vec![PORT, PORT + 1, PORT + 2] });
    let server = Running::start(stack(&place, &xdp, |_| ()), PORT).unwrap();
    let host = HostServices::start(&place, 22);
    let mut waiting = place.on_peer(|| {
        common::ping_pong(HOST, PORT);
        for round in 0..50 {
            host.ask(HOST, 22, round);
            assert!(pings(HOST, round));
        }
        let refused = TcpStream::connect((HOST, PORT + 3)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "the host refuses for its other ports");
        let mut stream = common::connect(HOST, PORT);
        stream.write_all(b"before").unwrap();
        stream.read_exact(&mut [0; 6]).unwrap();
        stream
    });
    drop(server); // Nothing is sent: this is what kill -9 looks like from outside.
    let died = awake::now();
    waiting.write_all(b"after").unwrap();
    let error =
        awake::read(&mut waiting, &mut [0; 16], PATIENCE).expect_err("the host knows no such connection");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let late = awake::now() - died;
    assert!(late < Duration::from_secs(1), "{late:?}");
    place.on_peer(|| host.ask(HOST, 22, 0));
}

/// Goal: each peer of a process that died learns at once when it is back, whether it sends or waits. Method: drop the stack
/// without a word while it has more connections than a ring has frames, start another one in its place, and read: the answer
/// is a reset.
#[test]
fn a_restart_resets_old_connections() {
    if !common::may_connect(SURVIVORS) {
        return;
    }
    let Some(place) = Place::new() else { return };
    let roll = std::env::temp_dir().join(format!("afterburner-xdp-roll-{}", std::process::id()));
    let start = || {
        let xdp = config(APPLIANCE, Scope::Alone);
        let stack = stack(&place, &xdp, |config| config.roll_path = Some(roll.clone()));
        Running::start(stack, PORT).unwrap()
    };
    let server = start();
    let mut streams: Vec<_> =
        place.on_peer(|| (0..SURVIVORS).map(|_| common::connect(APPLIANCE, PORT)).collect());
    for stream in &mut streams {
        stream.write_all(b"before").unwrap();
        stream.read_exact(&mut [0; 6]).unwrap();
    }
    drop(server);

    let _server = start();
    let restarted = awake::now();
    let (sending, waiting) = streams.split_first_mut().unwrap();
    // The reset may be here before the bytes are: then it is the write that tells, and only it.
    let told = sending.write_all(b"after").and_then(|()| sending.read_exact(&mut [0; 5]));
    assert_eq!(told.expect_err("the old connection is gone").kind(), ErrorKind::ConnectionReset);
    for stream in waiting {
        let error = awake::read(stream, &mut [0; 16], PATIENCE).expect_err("the old connection is gone");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    let late = awake::now() - restarted;
    assert!(late < Duration::from_secs(1), "{late:?}");
    place.on_peer(|| common::ping_pong(APPLIANCE, PORT));
    std::fs::remove_file(&roll).unwrap();
}

/// Goal: what cannot work is refused with the command that mends it. Method: one interface of each kind.
#[test]
fn refusals_say_what_to_do() {
    let Some(place) = Place::new() else { return };
    let refused = |interface: &str| {
        let xdp = XdpConfig { interface: interface.into(), ..config(APPLIANCE, Scope::Alone) };
        match place.on_host(|| Xdp::open(&xdp)) {
            Err(error) => error,
            Ok(_) => panic!("{interface} was taken"),
        }
    };
    let says = |error: &XdpError, fix: &str| {
        let text = error.to_string();
        assert!(text.contains(fix), "{text}");
    };
    says(&refused("no/such"), "1 to 15 letters");
    says(&refused("ab-none"), "`ip link`");
    says(&refused("lo"), "no Ethernet interface");

    assert!(place.ip(&["link", "set", NIC, "down"]));
    says(&refused(NIC), "`ip link set ab-x0 up`");
    assert!(place.ip(&["link", "set", NIC, "up"]));

    assert!(place.ip(&["link", "set", NIC, "mtu", "9000"]));
    says(&refused(NIC), "`ip link set ab-x0 mtu 1500`");
    assert!(place.ip(&["link", "set", NIC, "mtu", "1500"]));

    // The peer of a veth sends what the program must take.
    let peer_mtu = |mtu: &str| {
        let mut set = std::process::Command::new("ip");
        set.args(["-n", &place.peer, "link", "set", PEER_NIC, "mtu", mtu]);
        assert!(set.status().unwrap().success());
    };
    peer_mtu("9000");
    says(&refused(NIC), "of its peer");
    peer_mtu("1500");

    if place.ip(&["link", "add", "ab-br0", "type", "bridge"]) && place.ip(&["link", "set", "ab-br0", "up"]) {
        let error = refused("ab-br0");
        assert!(matches!(error, XdpError::NotNative { .. }), "{error}");
        says(&error, "generic mode (SKB) is not used");
    } else {
        println!("skipped: an interface without native XDP (a bridge could not be made)");
    }

    let _first = place.on_host(|| open(&config(APPLIANCE, Scope::Alone))).unwrap();
    let error = refused(NIC);
    assert!(error.is_busy(), "{error}");
    says(&error, "`ip link set ab-x0 xdp off`");
}

/// Goal: the largest MTU that is allowed works, and every queue of an interface is taken. Method: a veth of three queues
/// with that MTU, and connections enough to meet them all.
#[test]
fn large_frames_over_several_queues() {
    let Some(place) = Place::new() else { return };
    assert!(place.ip(&["link", "del", NIC]));
    let mtu = MTU_MAX.to_string();
    let (host, peer) = (format!("{HOST}/24"), format!("{PEER}/24"));
    assert!(place.ip(&[
        "link",
        "add",
        NIC,
        "mtu",
        &mtu,
        "numrxqueues",
        "3",
        "numtxqueues",
        "3",
        "type",
        "veth",
        "peer",
        "name",
        PEER_NIC,
        "mtu",
        &mtu,
        "numrxqueues",
        "3",
        "numtxqueues",
        "3",
        "netns",
        &place.peer,
    ]));
    assert!(place.ip(&["address", "add", &host, "dev", NIC]) && place.ip(&["link", "set", NIC, "up"]));
    let on_peer = |arguments: &[&str]| {
        let mut command = std::process::Command::new("ip");
        assert!(command.args(["-n", &place.peer]).args(arguments).status().unwrap().success());
    };
    on_peer(&["address", "add", &peer, "dev", PEER_NIC]);
    on_peer(&["link", "set", PEER_NIC, "up"]);

    let stack = stack(&place, &config(APPLIANCE, Scope::Alone), |_| ());
    assert_eq!(stack.device().caps().mtu, MTU_MAX);
    let _server = Running::start(stack, PORT).unwrap();
    place.on_peer(|| {
        common::bulk(APPLIANCE, PORT, 16 << 20);
        common::many(APPLIANCE, PORT, 200);
    });
}

/// Services of the host's own, on the NIC that the appliance uses.
struct HostServices {
    stop: std::sync::Arc<AtomicBool>,
}

impl HostServices {
    /// Echoes over TCP and UDP, by the kernel.
    fn start(place: &Place, port: u16) -> Self {
        let (listener, udp) = place
            .on_host(|| (TcpListener::bind((HOST, port)).unwrap(), UdpSocket::bind((HOST, port)).unwrap()));
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut word = [0; 4];
                // A peer that goes away early is its own affair.
                let _echoed = stream.read_exact(&mut word).and_then(|()| stream.write_all(&word));
            }
        });
        let until = std::sync::Arc::clone(&stop);
        std::thread::spawn(move || {
            udp.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            let mut datagram = [0; 64];
            while !until.load(Ordering::Relaxed) {
                if let Ok((len, from)) = udp.recv_from(&mut datagram) {
                    let _sent = udp.send_to(&datagram[..len], from);
                }
            }
        });
        Self { stop }
    }

    /// Asks both services, from the peer.
    fn ask(&self, ip: Ipv4Addr, port: u16, round: u32) {
        let mut stream = common::connect(ip, port);
        stream.write_all(&round.to_be_bytes()).unwrap();
        let mut back = [0; 4];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(u32::from_be_bytes(back), round);

        let socket = UdpSocket::bind((PEER, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket.send_to(&round.to_be_bytes(), (ip, port)).unwrap();
        assert_eq!(received(&socket, &mut back), 4);
        assert_eq!(u32::from_be_bytes(back), round);
    }
}

/// One datagram; a limit would be interrupted whenever the process stood still.
fn received(socket: &UdpSocket, into: &mut [u8]) -> usize {
    loop {
        match socket.recv(into) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            received => return received.unwrap(),
        }
    }
}

impl Drop for HostServices {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// One echo request of 1,000 bytes and its answer, over a raw socket.
fn pings(ip: Ipv4Addr, round: u32) -> bool {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut request = vec![0_u8; 1_008];
    request[0] = 8;
    request[4..8].copy_from_slice(&round.to_be_bytes());
    let sum = request.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum::<u32>();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    request[2..4].copy_from_slice(&sum.to_be_bytes());
    socket.send_to(&request, &SocketAddr::from((ip, 0)).into()).unwrap();
    let until = awake::now() + Duration::from_secs(2);
    let mut answer = [0; 2_000];
    while awake::now() < until {
        let Ok(len) = awake::read(&mut &socket, &mut answer, Duration::from_secs(2)) else { return false };
        // The socket hears every ICMP message of this namespace, IPv4 header first.
        let is_ours = len == 20 + request.len() && answer[20] == 0 && answer[24..28] == request[4..8];
        if is_ours && answer[12..16] == ip.octets() {
            return true;
        }
    }
    false
}
