//! Which frames are ours: the program that the kernel runs on each frame the NIC receives.
//!
//! ```text
//!   frame ─▶ ARP for our address? ─────────────────┐
//!        └─▶ IPv4 to our address? ─▶ TCP [our port] ├─▶ redirect to the socket of the frame's queue
//!                                └─▶ ICMP echo ─────┘
//!   everything else, and everything when that queue has no socket ─▶ pass: the host sees it as if we were not here
//! ```
//!
//! The program redirects or passes; it never drops, never answers, and writes nothing. Pieces of packets go to the
//! host unless they are TCP to an address that is ours alone, where the stack counts and drops them.

use super::asm::{Asm, Insn, Label, Reg, Width};
use std::net::Ipv4Addr;

/// What is taken off the NIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steering {
    pub ip: Ipv4Addr,
    pub scope: Scope,
}

/// Whose the address is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Ours alone: all TCP to it, echo requests, and ARP for it.
    Alone,
    /// The host's too: TCP to these ports, and nothing else; the host answers ARP and ping itself.
    Shared { ports: Vec<u16> },
}

/// The program's instructions; `sockets` is the descriptor of the map from queue to socket.
pub fn program(steering: &Steering, sockets: i32) -> Vec<Insn> {
    let mut asm = Asm::default();
    let (take, pass) = (asm.label(), asm.label());
    asm.copy(CONTEXT, Reg(1));
    asm.load(Width::Word, DATA, CONTEXT, CONTEXT_DATA);
    asm.load(Width::Word, END, CONTEXT, CONTEXT_DATA_END);
    require(&mut asm, ETHERNET_BYTES + IPV4_BYTES, pass);
    asm.load(Width::Half, VALUE, DATA, 12);
    match &steering.scope {
        Scope::Alone => {
            let ipv4 = asm.label();
            asm.jump_if_equal(VALUE, wire16(0x0800), ipv4);
            asm.jump_if_other(VALUE, wire16(0x0806), pass);
            require(&mut asm, ETHERNET_BYTES + ARP_BYTES, pass);
            asm.load(Width::Word, VALUE, DATA, ARP_TARGET_AT);
            asm.jump_if_equal(VALUE, wire32(steering.ip), take);
            asm.jump(pass);
            asm.place(ipv4);
            asm.load(Width::Word, VALUE, DATA, IP_TO_AT);
            asm.jump_if_other(VALUE, wire32(steering.ip), pass);
            asm.load(Width::Byte, VALUE, DATA, IP_PROTOCOL_AT);
            asm.jump_if_equal(VALUE, TCP, take);
            asm.jump_if_other(VALUE, ICMP, pass);
            find_payload(&mut asm, 8, pass);
            asm.load(Width::Byte, VALUE, PAYLOAD, 0);
            asm.jump_if_equal(VALUE, ICMP_ECHO, take);
        }
        Scope::Shared { ports } => {
            asm.jump_if_other(VALUE, wire16(0x0800), pass);
            asm.load(Width::Word, VALUE, DATA, IP_TO_AT);
            asm.jump_if_other(VALUE, wire32(steering.ip), pass);
            asm.load(Width::Byte, VALUE, DATA, IP_PROTOCOL_AT);
            asm.jump_if_other(VALUE, TCP, pass);
            find_payload(&mut asm, 4, pass);
            asm.load(Width::Half, VALUE, PAYLOAD, 2);
            for port in ports {
                asm.jump_if_equal(VALUE, wire16(*port), take);
            }
        }
    }
    asm.jump(pass);
    asm.place(take);
    // A queue without a socket falls back to `pass`.
    asm.load(Width::Word, Reg(2), CONTEXT, CONTEXT_RX_QUEUE);
    asm.load_map(Reg(1), sockets);
    asm.set(Reg(3), XDP_PASS);
    asm.call(REDIRECT_MAP);
    asm.exit();
    asm.place(pass);
    asm.set(Reg(0), XDP_PASS);
    asm.exit();
    asm.finish()
}

/// Frames shorter than this pass: the verifier wants to see that we look at nothing behind their end.
fn require(asm: &mut Asm, bytes: i32, pass: Label) {
    asm.copy(SCRATCH, DATA);
    asm.add(SCRATCH, bytes);
    asm.jump_if_above(SCRATCH, END, pass);
}

/// Points `PAYLOAD` behind the IPv4 header, whose length varies, at `bytes` bytes that are there; pieces pass.
fn find_payload(asm: &mut Asm, bytes: i32, pass: Label) {
    asm.load(Width::Half, VALUE, DATA, IP_FRAGMENT_AT);
    asm.and(VALUE, wire16(0x3fff));
    asm.jump_if_other(VALUE, 0, pass);
    asm.load(Width::Byte, VALUE, DATA, IP_HEADER_AT);
    asm.and(VALUE, 0x0f);
    asm.shift_left(VALUE, 2);
    asm.copy(PAYLOAD, DATA);
    asm.add_register(PAYLOAD, VALUE);
    asm.add(PAYLOAD, ETHERNET_BYTES);
    asm.copy(SCRATCH, PAYLOAD);
    asm.add(SCRATCH, bytes);
    asm.jump_if_above(SCRATCH, END, pass);
}

/// A number of the wire as a load of two bytes finds it on this machine.
fn wire16(value: u16) -> i32 {
    i32::from(u16::from_ne_bytes(value.to_be_bytes()))
}

fn wire32(ip: Ipv4Addr) -> i32 {
    i32::from_ne_bytes(ip.octets())
}

// Registers that keep their meaning through the program.
const DATA: Reg = Reg(2);
const END: Reg = Reg(3);
const SCRATCH: Reg = Reg(4);
const VALUE: Reg = Reg(5);
const CONTEXT: Reg = Reg(6);
const PAYLOAD: Reg = Reg(7);

// Fields of the kernel's `struct xdp_md`.
const CONTEXT_DATA: i16 = 0;
const CONTEXT_DATA_END: i16 = 4;
const CONTEXT_RX_QUEUE: i16 = 16;

const XDP_PASS: i32 = 2;
const REDIRECT_MAP: i32 = 51;

const ETHERNET_BYTES: i32 = 14;
const IPV4_BYTES: i32 = 20;
const ARP_BYTES: i32 = 28;
const ARP_TARGET_AT: i16 = 14 + 24;
const IP_HEADER_AT: i16 = 14;
const IP_FRAGMENT_AT: i16 = 14 + 6;
const IP_PROTOCOL_AT: i16 = 14 + 9;
const IP_TO_AT: i16 = 14 + 16;
const TCP: i32 = 6;
const ICMP: i32 = 1;
const ICMP_ECHO: i32 = 8;
