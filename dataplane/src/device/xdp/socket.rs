//! One AF_XDP socket: its memory told to the kernel, its rings mapped, bound to one queue of one interface.
//!
//! ```text
//!   open ─▶ memory ─▶ ring sizes ─▶ mmap ─▶ bind (zero copy if the driver offers it) ─▶ frames
//! ```
#![allow(unsafe_code)] // A fence, listed in docs/UNSAFE.md.

use super::ring::{Entry, In, Layout, Memory, Out};
use super::umem::{CHUNK_BYTES, Umem};
use libc::{c_int, c_void, xdp_desc};
use rustix::net::{RecvFlags, SendFlags};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::Arc;

#[derive(Debug)]
pub struct Socket {
    descriptor: OwnedFd,
    /// The kernel has these pages pinned; they must not be used for anything else before the socket is closed.
    _umem: Arc<Umem>,
}

/// The rings of a socket that receives.
pub struct RxRings {
    pub rx: In<xdp_desc>,
    pub fill: Out<u64>,
}

/// The rings of a socket that sends.
pub struct TxRings {
    pub tx: Out<xdp_desc>,
    pub completion: In<u64>,
}

/// How many frames may be on the rings; powers of two.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub rx: u32,
    /// 0: this socket does not send.
    pub tx: u32,
}

/// How a socket is driven.
#[derive(Clone, Copy, Debug)]
pub struct Polling {
    /// The kernel sleeps until told, and says when it wants to be told.
    pub need_wakeup: bool,
    /// Our own system calls run the driver, for up to this many µs; 0: interrupts do.
    pub busy_poll_micros: u32,
}

/// What the kernel has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketCounters {
    /// Frames lost for want of room in the ring, of chunks to put them in, or for another reason.
    pub rx_ring_full: u64,
    pub rx_no_chunk: u64,
    pub rx_dropped: u64,
    /// Descriptors that the kernel found wrong: ours are not.
    pub invalid: u64,
}

impl Socket {
    pub fn open(umem: &Arc<Umem>, headroom: Headroom) -> io::Result<Self> {
        // SAFETY: no pointers are passed; the descriptor returned, if any, is new and owned by nobody else.
        // WHY: the standard library knows no such sockets.
        let descriptor = unsafe {
            let descriptor = libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
            if descriptor < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(descriptor)
        };
        let socket = Self { descriptor, _umem: Arc::clone(umem) };
        let (flags, tx_metadata_len) = match headroom {
            Headroom::None => (0, 0),
            Headroom::TxMetadata => (libc::XDP_UMEM_TX_METADATA_LEN, TX_METADATA_BYTES as u32),
        };
        let memory = libc::xdp_umem_reg {
            addr: umem.address(),
            len: umem.len_bytes() as u64,
            chunk_size: CHUNK_BYTES as u32,
            headroom: 0,
            flags,
            tx_metadata_len,
        };
        socket.set(libc::SOL_XDP, libc::XDP_UMEM_REG, &memory)?;
        Ok(socket)
    }

    /// Sizes and maps the rings. Once, before `bind`.
    pub fn rings(&self, sizes: Sizes) -> io::Result<(RxRings, Option<TxRings>)> {
        // The kernel shows a frame on the rx ring before it shows that it has taken the frame's chunk off the fill ring; so
        // a chunk may come back while its old entry still counts, at worst each of them.
        let fill_size = sizes.rx * 2;
        // Every socket that owns memory has a completion ring, whether it sends or not.
        self.set(libc::SOL_XDP, libc::XDP_UMEM_FILL_RING, &fill_size)?;
        self.set(libc::SOL_XDP, libc::XDP_UMEM_COMPLETION_RING, &sizes.tx.max(1))?;
        self.set(libc::SOL_XDP, libc::XDP_RX_RING, &sizes.rx)?;
        if sizes.tx > 0 {
            self.set(libc::SOL_XDP, libc::XDP_TX_RING, &sizes.tx)?;
        }
        let offsets: libc::xdp_mmap_offsets = self.get(libc::XDP_MMAP_OFFSETS)?;
        let (rx, rx_at) = self.ring::<xdp_desc>(libc::XDP_PGOFF_RX_RING, &offsets.rx, sizes.rx)?;
        let (fill, fill_at) =
            self.ring::<u64>(libc::XDP_UMEM_PGOFF_FILL_RING as i64, &offsets.fr, fill_size)?;
        let receiving =
            RxRings { rx: In::new(rx, &rx_at, sizes.rx), fill: Out::new(fill, &fill_at, fill_size) };
        if sizes.tx == 0 {
            return Ok((receiving, None));
        }
        let (tx, tx_at) = self.ring::<xdp_desc>(libc::XDP_PGOFF_TX_RING, &offsets.tx, sizes.tx)?;
        let page = libc::XDP_UMEM_PGOFF_COMPLETION_RING as i64;
        let (completion, completion_at) = self.ring::<u64>(page, &offsets.cr, sizes.tx)?;
        let sending = TxRings {
            tx: Out::new(tx, &tx_at, sizes.tx),
            completion: In::new(completion, &completion_at, sizes.tx),
        };
        Ok((receiving, Some(sending)))
    }

    fn ring<T: Entry>(
        &self,
        page: libc::off_t,
        offsets: &libc::xdp_ring_offset,
        size: u32,
    ) -> io::Result<(Box<dyn Memory + Send>, Layout)> {
        let at = |offset: u64| offset as usize;
        let layout = Layout {
            producer: at(offsets.producer),
            consumer: at(offsets.consumer),
            flags: at(offsets.flags),
            entries: at(offsets.desc),
        };
        let bytes = layout.entries + size as usize * size_of::<T>();
        Ok((Box::new(Mapping::new(self, page, bytes)?), layout))
    }

    /// Takes the queue. The kernel picks zero copy if the driver offers it, and copies if not.
    pub fn bind(&self, interface: u32, queue: u32, polling: Polling) -> io::Result<()> {
        if polling.busy_poll_micros > 0 {
            self.set(libc::SOL_SOCKET, SO_PREFER_BUSY_POLL, &1_i32)?;
            self.set(libc::SOL_SOCKET, libc::SO_BUSY_POLL, &(polling.busy_poll_micros as c_int))?;
            self.set(libc::SOL_SOCKET, SO_BUSY_POLL_BUDGET, &BUSY_POLL_FRAMES_MAX)?;
        }
        let address = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            sxdp_flags: if polling.need_wakeup { libc::XDP_USE_NEED_WAKEUP } else { 0 },
            sxdp_ifindex: interface,
            sxdp_queue_id: queue,
            sxdp_shared_umem_fd: 0,
        };
        // SAFETY: the address is of the type and length told, and lives for the call.
        // WHY: the standard library knows no such addresses.
        let result = unsafe {
            let length = size_of::<libc::sockaddr_xdp>() as libc::socklen_t;
            libc::bind(self.raw(), (&raw const address).cast(), length)
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Lets one system call send more than the kernel's own 32 copied frames, where it is known. Not a must.
    pub fn allow_bursts(&self, frames: u32) {
        let _older_kernels_keep_theirs = self.set(libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &frames);
        // Copied frames count against the send buffer until the NIC has sent them.
        let bytes = SEND_BUFFER_BYTES;
        let _without_the_right_it_stays = self.set(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &bytes);
    }

    /// Whether frames cross without being copied. After `bind`.
    pub fn is_zero_copy(&self) -> io::Result<bool> {
        let options: libc::xdp_options = self.get(libc::XDP_OPTIONS)?;
        Ok(options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0)
    }

    pub fn counters(&self) -> io::Result<SocketCounters> {
        let counted: libc::xdp_statistics = self.get(libc::XDP_STATISTICS)?;
        Ok(SocketCounters {
            rx_ring_full: counted.rx_ring_full,
            rx_no_chunk: counted.rx_fill_ring_empty_descs,
            rx_dropped: counted.rx_dropped,
            invalid: counted.rx_invalid_descs + counted.tx_invalid_descs,
        })
    }

    /// Tells the kernel to send what is on the tx ring. What it could not send now stays there.
    pub fn wake_tx(&self) -> io::Result<()> {
        // Not by libc, whose call is longer by what lets a thread be cancelled in it.
        rustix::net::send(&self.descriptor, &[], SendFlags::DONTWAIT).map(drop).map_err(io::Error::from)
    }

    /// Tells the kernel that there are chunks to receive into; with busy polling, receives.
    pub fn wake_rx(&self) -> io::Result<()> {
        let nothing: &mut [u8] = &mut [];
        rustix::net::recv(&self.descriptor, nothing, RecvFlags::DONTWAIT).map(drop).map_err(io::Error::from)
    }

    pub fn raw(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }

    fn set<T>(&self, level: c_int, name: c_int, value: &T) -> io::Result<()> {
        // SAFETY: the callers above pair each option with the type the kernel expects for it, which lives for the call.
        // WHY: the standard library knows none of these options.
        let result = unsafe {
            let length = size_of::<T>() as libc::socklen_t;
            libc::setsockopt(self.raw(), level, name, std::ptr::from_ref(value).cast(), length)
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn get<T: Answer>(&self, name: c_int) -> io::Result<T> {
        // SAFETY: `Answer`s are C structs of integers, for which all zero is a value; the kernel writes no more than
        // the length told.
        // WHY: the standard library knows none of these options.
        let (result, length, value) = unsafe {
            let mut value: T = std::mem::zeroed();
            let mut length = size_of::<T>() as libc::socklen_t;
            let to = (&raw mut value).cast::<c_void>();
            let result = libc::getsockopt(self.raw(), libc::SOL_XDP, name, to, &raw mut length);
            (result, length as usize, value)
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        if length < size_of::<T>() {
            return Err(io::Error::other("this kernel is too old: AF_XDP as of Linux 5.11 is needed"));
        }
        Ok(value)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Sleeps until one of the entries has something, or `max` is over.
pub fn poll(entries: &mut [libc::pollfd], max: std::time::Duration) {
    let timeout =
        libc::timespec { tv_sec: max.as_secs() as libc::time_t, tv_nsec: max.subsec_nanos().into() };
    // SAFETY: the entries and the timeout are valid for the call; no signal mask is passed.
    // WHY: a quiet broker sleeps in the kernel, with a resolution the standard library does not offer on descriptors.
    let polled = unsafe {
        libc::ppoll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, &raw const timeout, std::ptr::null())
    };
    if polled < 0 {
        entries.iter_mut().for_each(|entry| entry.revents = 0); // Interrupted: the next turn looks again.
    }
}

/// What lies before each frame to send, by agreement with the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Headroom {
    None,
    /// [`TX_METADATA_BYTES`], read for frames whose descriptor has the option [`libc::XDP_TX_METADATA`].
    TxMetadata,
}

/// Asks the kernel to complete a checksum: what to write before the frame (`struct xsk_tx_metadata`).
pub fn checksum_metadata(start: u16, offset: u16) -> [u8; TX_METADATA_BYTES] {
    let mut metadata = [0; TX_METADATA_BYTES];
    metadata[..8].copy_from_slice(&u64::from(libc::XDP_TXMD_FLAGS_CHECKSUM).to_ne_bytes());
    metadata[8..10].copy_from_slice(&start.to_ne_bytes());
    metadata[10..12].copy_from_slice(&offset.to_ne_bytes());
    metadata
}

/// Types that the kernel fills in: C structs of integers.
trait Answer {}
impl Answer for libc::xdp_mmap_offsets {}
impl Answer for libc::xdp_options {}
impl Answer for libc::xdp_statistics {}

/// A ring's memory, shared with the kernel.
struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
}

impl Mapping {
    fn new(socket: &Socket, page: libc::off_t, bytes: usize) -> io::Result<Self> {
        // SAFETY: a new mapping at a place of the kernel's choice touches no memory of ours.
        // WHY: memmap2 maps files, whose offsets it checks against their length; this offset names a ring.
        let base = unsafe {
            let (protection, flags) =
                (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_POPULATE);
            libc::mmap(std::ptr::null_mut(), bytes, protection, flags, socket.raw(), page)
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, bytes })
    }
}

impl Memory for Mapping {
    fn base(&self) -> NonNull<u8> {
        self.base
    }

    fn len_bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` at this place and length; the ring that pointed into it is gone with its owner.
        // WHY: there is no safe owner for such a mapping, see `new`.
        let _cannot_fail = unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

// SAFETY: a mapping belongs to no thread.
// WHY: it is known by a raw pointer.
unsafe impl Send for Mapping {}

/// A multiple of eight; the kernel's own struct has 16 or 24, by age.
pub const TX_METADATA_BYTES: usize = 24;
const SO_PREFER_BUSY_POLL: c_int = 69;
const SO_BUSY_POLL_BUDGET: c_int = 70;
const XDP_MAX_TX_SKB_BUDGET: c_int = 9;
const BUSY_POLL_FRAMES_MAX: c_int = 64;
const SEND_BUFFER_BYTES: c_int = 16 << 20;
