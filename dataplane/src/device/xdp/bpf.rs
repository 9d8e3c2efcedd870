//! The kernel's BPF, by its one system call: a map of sockets, a program, and the link that holds it to a NIC.
//!
//! Everything is a descriptor that the kernel closes with us: when this process dies, however it dies, the link goes,
//! the program comes off the NIC, and the host sees all of its traffic again.
#![allow(unsafe_code)] // A fence, listed in docs/UNSAFE.md.

use super::asm::Insn;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// From queue number to socket (BPF_MAP_TYPE_XSKMAP).
#[derive(Debug)]
pub struct SocketMap(OwnedFd);

/// A program that the verifier has accepted.
#[derive(Debug)]
pub struct Program(OwnedFd);

/// A program at work on an interface.
#[derive(Debug)]
pub struct Link {
    _held: OwnedFd,
}

impl SocketMap {
    pub fn new(queues: u32) -> io::Result<Self> {
        let mut ask = MapCreate {
            map_type: MAP_TYPE_XSKMAP,
            key_bytes: 4,
            value_bytes: 4,
            entries_max: queues,
            ..MapCreate::default()
        };
        Ok(Self(descriptor(call(MAP_CREATE, &mut ask)?)))
    }

    /// Frames of this queue go to this socket from now on.
    pub fn set(&self, queue: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
        let value: RawFd = socket.as_raw_fd();
        let mut ask = MapUpdate {
            map: self.0.as_raw_fd(),
            _padding: 0,
            key: (&raw const queue).expose_provenance() as u64,
            value: (&raw const value).expose_provenance() as u64,
            flags: 0,
        };
        call(MAP_UPDATE, &mut ask).map(drop)
    }

    pub fn raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Program {
    /// Hands the instructions to the verifier. What it finds wrong is in the error's text.
    pub fn load(insns: &[Insn]) -> io::Result<Self> {
        match load_with_log(insns, &mut []) {
            Ok(program) => Ok(program),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EACCES | libc::EINVAL)) => {
                let mut log = vec![0; VERIFIER_LOG_BYTES];
                let Err(again) = load_with_log(insns, &mut log) else { return Err(error) };
                let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
                let said = String::from_utf8_lossy(&log[..end]);
                let tail = said.trim_end().lines().rev().take(3).collect::<Vec<_>>();
                Err(io::Error::new(again.kind(), format!("{again}; the verifier says: {}", tail.join(" | "))))
            }
            Err(error) => Err(error),
        }
    }

    /// Puts the program to work in the driver itself, never in the kernel's generic layer.
    pub fn attach(&self, interface: u32) -> io::Result<Link> {
        let mut ask = LinkCreate {
            program: self.0.as_raw_fd(),
            interface,
            attach_type: ATTACH_XDP,
            flags: XDP_FLAGS_DRV_MODE,
        };
        Ok(Link { _held: descriptor(call(LINK_CREATE, &mut ask)?) })
    }

    /// Runs the program once on this frame, as if the first queue of some NIC had received it, and returns its verdict.
    #[cfg(test)]
    pub fn run_once(&self, frame: &[u8]) -> io::Result<u32> {
        let mut ask = TestRun {
            program: self.0.as_raw_fd(),
            data_bytes: u32::try_from(frame.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
            data: frame.as_ptr().expose_provenance() as u64,
            repeat: 1,
            ..TestRun::default()
        };
        call(PROG_TEST_RUN, &mut ask)?;
        Ok(ask.verdict)
    }
}

fn load_with_log(insns: &[Insn], log: &mut [u8]) -> io::Result<Program> {
    let mut ask = ProgLoad {
        program_type: PROG_TYPE_XDP,
        insns: u32::try_from(insns.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        insns_at: insns.as_ptr().expose_provenance() as u64,
        license_at: LICENSE.as_ptr().expose_provenance() as u64,
        log_level: u32::from(!log.is_empty()),
        log_bytes: log.len() as u32,
        log_at: if log.is_empty() { 0 } else { log.as_mut_ptr().expose_provenance() as u64 },
        name: *b"afterburner\0\0\0\0\0",
        expected_attach_type: ATTACH_XDP,
        ..ProgLoad::default()
    };
    Ok(Program(descriptor(call(PROG_LOAD, &mut ask)?)))
}

/// One `bpf(2)`. The answer, if there is one beside the result, is in `ask`.
fn call<T>(command: libc::c_int, ask: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: the functions above pair each command with its part of the kernel's `union bpf_attr`, laid out as it and
    // of the size told; the addresses in it are of slices and integers that live through the call and are as long as
    // it says. The kernel writes to `ask` and to the verifier's log only.
    // WHY: the C library has no function for this system call, and a library for it would bring C and clang along.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(ask), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// What a command that makes something has returned.
fn descriptor(result: libc::c_long) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us, close-on-exec, and nobody else knows it.
    // WHY: it comes as a number.
    unsafe { OwnedFd::from_raw_fd(result as RawFd) }
}

// Parts of the kernel's `union bpf_attr`, each from its beginning up to the last field that we set.

#[repr(C)]
#[derive(Default)]
struct MapCreate {
    map_type: u32,
    key_bytes: u32,
    value_bytes: u32,
    entries_max: u32,
    flags: u32,
}

#[repr(C)]
struct MapUpdate {
    map: i32,
    _padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    program_type: u32,
    insns: u32,
    insns_at: u64,
    license_at: u64,
    log_level: u32,
    log_bytes: u32,
    log_at: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    expected_attach_type: u32,
}

#[repr(C)]
struct LinkCreate {
    program: i32,
    interface: u32,
    attach_type: u32,
    flags: u32,
}

#[cfg(test)]
#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: i32,
    verdict: u32,
    data_bytes: u32,
    data_out_bytes: u32,
    data: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
}

const MAP_CREATE: libc::c_int = 0;
const MAP_UPDATE: libc::c_int = 2;
const PROG_LOAD: libc::c_int = 5;
#[cfg(test)]
const PROG_TEST_RUN: libc::c_int = 10;
const LINK_CREATE: libc::c_int = 28;
const MAP_TYPE_XSKMAP: u32 = 17;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
const LICENSE: &std::ffi::CStr = c"Apache-2.0";
const VERIFIER_LOG_BYTES: usize = 64 * 1024;
