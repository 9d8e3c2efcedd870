//! The stack without a broker: every send is answered at once with bytes made beforehand. What a broker over the same device
//! shows beyond this is the broker's own; `afterburner bench --compare bare-tap,tap,bare-xdp,xdp` starts it.
//!
//! ```text
//!   cargo run --release --example bare -- tap:ab0 10.77.0.2/24 10911 [CORE]
//!
//!   device ─▶ stack ─▶ frame found, opaque read ─▶ the answer with that opaque ─▶ stack ─▶ device       nothing is kept
//! ```

use dataplane::device::mac_for;
use dataplane::device::tap::{Tap, TapConfig};
use dataplane::device::xdp::{Polling, Scope, Steering, Xdp, XdpConfig};
use dataplane::net::front::Address;
use dataplane::net::stack::{Stack, StackConfig};
use dataplane::net::{ConnId, Net, NetEvent, NetRx, NetTx, Spin};
use dataplane::rng::Rng;
use dataplane::time::{Clock, RealClock};
use protocol::RemotingCommand;
use protocol::code::response;
use protocol::error::WireError;
use protocol::frame::{Codec, Found, Frame, find};
use std::error::Error;
use std::net::Ipv4Addr;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [device, address, port, core @ ..] = words.as_slice() else {
        return Err("usage: bare tap:NAME|xdp:INTERFACE ADDRESS/PREFIX PORT [CORE]".into());
    };
    if let Some(core) = core.first()
        && !core_affinity::set_for_current(core_affinity::CoreId { id: core.parse()? })
    {
        eprintln!("cannot pin to core {core}: figures will be noisier");
    }
    let (ip, prefix_len) = address.split_once('/').ok_or("write the address as in 10.77.0.2/24")?;
    let (ip, prefix_len): (Ipv4Addr, u8) = (ip.parse()?, prefix_len.parse()?);
    let mut config = StackConfig::new(Address { ip, prefix_len, gateway: None });
    config.spin = Spin::Always;
    let port = port.parse()?;
    match device.split_once(':') {
        Some(("tap", name)) => {
            let tap = TapConfig { name: name.to_owned(), mac: mac_for(ip), host: None, persist: false };
            serve(Stack::new(Tap::open(&tap)?, config, &mut Rng::from_os())?, port)
        }
        Some(("xdp", interface)) => {
            let xdp = XdpConfig {
                interface: interface.to_owned(),
                steering: Steering { ip, scope: Scope::Alone },
                polling: Polling { need_wakeup: true, busy_poll_micros: 0 },
            };
            serve(Stack::new(Xdp::open(&xdp)?, config, &mut Rng::from_os())?, port)
        }
        _ => Err(format!("{device} is no device: write tap:NAME or xdp:INTERFACE").into()),
    }
}

/// Until it is killed.
fn serve<N: Net>(mut net: N, port: u16) -> Result<(), Box<dyn Error>> {
    net.listen(port)?;
    let mut clock = RealClock::start();
    let mut answers = Answers::new();
    println!("boot success"); // Who has started it waits for this.
    loop {
        let now = clock.read();
        net.ingress(&now, FRAMES_PER_TURN);
        while let Some(event) = net.next_event() {
            match event {
                NetEvent::Readable(conn) | NetEvent::Writable(conn) => {
                    if answers.give(&mut net, conn).is_err() {
                        net.abort(conn);
                    }
                }
                NetEvent::PeerFinished(conn) => net.close(conn),
                NetEvent::Opened { .. } | NetEvent::Closed(_) => (),
            }
        }
        net.egress(&now, FRAMES_PER_TURN);
    }
}

/// What everybody is answered.
struct Answers {
    command: RemotingCommand,
    binary: Vec<u8>,
    /// A frame that lies across the end of a receive ring.
    joined: Vec<u8>,
}

impl Answers {
    fn new() -> Answers {
        let command = RemotingCommand::response(response::SUCCESS, 0)
            .field("msgId", "7F00000100002A9F0000000000000000")
            .field("queueId", 0)
            .field("queueOffset", 123_456)
            .field("transactionId", "7F000001000100000000000000000001")
            .field("MSG_REGION", "DefaultRegion")
            .field("TRACE_ON", "true");
        let binary = command.encode(Codec::Binary);
        Answers { command, binary, joined: Vec::new() }
    }

    /// Answers whole frames as far as the send ring has room; the rest stays for the next event.
    fn give<N: Net>(&mut self, net: &mut N, conn: ConnId) -> Result<(), WireError> {
        let (rx, tx) = net.split();
        let (first, second) = rx.readable(conn);
        let mut at = 0;
        while at < first.len() + second.len() {
            if tx.send_room(conn) < ANSWER_BYTES_MAX {
                tx.want_room(conn);
                break;
            }
            let is_first = at < first.len();
            let bytes = if is_first { &first[at..] } else { &second[at - first.len()..] };
            let found = match find(bytes)? {
                Found::Need { .. } if is_first => joined(&mut self.joined, bytes, second)?,
                found => found,
            };
            let Found::Whole { frame, bytes_len } = found else { break };
            at += bytes_len;
            let opaque = opaque(&frame)?;
            match frame.codec {
                Codec::Binary => {
                    self.binary[OPAQUE_AT..OPAQUE_AT + 4].copy_from_slice(&opaque.to_be_bytes());
                    tx.send(conn, &self.binary);
                }
                Codec::Json => {
                    self.command.opaque = opaque;
                    tx.send(conn, &self.command.encode(Codec::Json));
                }
            }
        }
        net.consume(conn, at);
        Ok(())
    }
}

/// The frame that begins with `begin` and goes on in `rest`.
fn joined<'a>(buffer: &'a mut Vec<u8>, begin: &[u8], rest: &[u8]) -> Result<Found<'a>, WireError> {
    buffer.clear();
    buffer.extend_from_slice(begin);
    while let Found::Need { bytes_len } = find(buffer)?
        && let Some(more) = rest.get(buffer.len() - begin.len()..bytes_len - begin.len())
    {
        buffer.extend_from_slice(more);
    }
    find(buffer)
}

fn opaque(frame: &Frame<'_>) -> Result<i32, WireError> {
    let place = OPAQUE_AT - PREFIX_BYTES;
    match (frame.codec, frame.header.get(place..).and_then(<[u8]>::first_chunk)) {
        (Codec::Binary, Some(word)) => Ok(i32::from_be_bytes(*word)),
        _ => frame.header().map(|header| header.opaque),
    }
}

const FRAMES_PER_TURN: usize = 256;
const PREFIX_BYTES: usize = 8;
/// In a binary frame, behind prefix, code, language and version.
const OPAQUE_AT: usize = PREFIX_BYTES + 5;
const ANSWER_BYTES_MAX: usize = 512;
