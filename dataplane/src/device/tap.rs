//! A TAP interface: the host's own network card, with us at the other end of its cable.
//!
//! ```text
//!   host's TCP ── ab0 (10.77.0.1) ══ /dev/net/tun ══ read, write of | virtio header 10 | Ethernet frame | ── us
//! ```
//!
//! The virtio header carries checksum and segmentation offload both ways: frames of up to 64 KiB cross in one system
//! call, and no checksum is computed on the way. Buffers are taken once; a frame is read, looked at, and gone before
//! the next one. What the kernel refuses for want of memory is kept and tried again; other errors are counted, never
//! panicked about. Attaches to an interface that is there (and may be ours without privileges), or creates one.
#![allow(unsafe_code)] // A fence, listed in docs/UNSAFE.md.

use super::{Device, DeviceCaps, DeviceRx, DeviceTx, FRAME_BYTES_MAX, Mac, Received, TxOffload};
use crate::counters::{Tell, count_fields};
use crate::touched;
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::time::Duration;

/// Which interface, and what the host's end of it should be.
#[derive(Clone, Debug)]
pub struct TapConfig {
    pub name: String,
    /// Our own hardware address.
    pub mac: Mac,
    /// The host's address and prefix length on the interface; none to leave the host's end as it is.
    pub host: Option<(Ipv4Addr, u8)>,
    /// The interface stays when we are gone.
    pub persist: bool,
}

/// Why there is no TAP; each says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    #[error("/dev/net/tun is not here: run `modprobe tun`, or use device=kernel")]
    NoTun,
    #[error(
        "may not open or create the TAP interface {name}: run as root, or have root run once `ip tuntap add dev {name} \
         mode tap vnet_hdr user $(id -un)` and `ip address add {host} dev {name}` and `ip link set {name} up`, or use \
         device=kernel"
    )]
    NotAllowed { name: String, host: String },
    #[error(
        "the TAP interface {name} is in use by another process: stop that one, or choose another name with device=tap:NAME"
    )]
    Busy { name: String },
    #[error(
        "{name} exists and is not a single-queue TAP with virtio headers: remove it with `ip link delete {name}`, or \
         choose another name with device=tap:NAME"
    )]
    Unsuitable { name: String },
    #[error("the interface name {name:?} is not 1 to 15 letters, digits, '-', '_' or '.'")]
    BadName { name: String },
    #[error("cannot {what} on the TAP interface {name}: {error}")]
    System { what: &'static str, name: String, error: io::Error },
}

/// Frames and errors, by direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TapCounters {
    pub reads: u64,
    pub read_errors: u64,
    pub writes: u64,
    pub write_retries: u64,
    pub write_errors: u64,
}

count_fields!(TapCounters: reads, read_errors, writes, write_retries, write_errors);

#[derive(Debug)]
pub struct Tap {
    caps: DeviceCaps,
    rx: TapRx,
    tx: TapTx,
}

#[derive(Debug)]
pub struct TapRx {
    file: Arc<File>,
    buffer: Box<[u8]>,
    reads: u64,
    errors: u64,
}

#[derive(Debug)]
pub struct TapTx {
    file: Arc<File>,
    buffer: Box<[u8]>,
    /// A frame the kernel had no room for, virtio header and all.
    pending_bytes: usize,
    writes: u64,
    retries: u64,
    errors: u64,
}

impl Tap {
    pub fn open(config: &TapConfig) -> Result<Self, TapError> {
        let name = &config.name;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || name.len() >= libc::IFNAMSIZ || !name.bytes().all(is_plain) {
            return Err(TapError::BadName { name: name.clone() });
        }
        let host = HostEnd::of(config)?;
        let is_new = !host.exists();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/net/tun")
            .map_err(|error| match error.kind() {
                ErrorKind::NotFound => TapError::NoTun,
                _ if error.raw_os_error() == Some(libc::ENODEV) => TapError::NoTun,
                ErrorKind::PermissionDenied => config.not_allowed(),
                _ => config.system("open /dev/net/tun", error),
            })?;
        let mut request = interface_request(name);
        request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
        control(&file, libc::TUNSETIFF, &mut request).map_err(|error| match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => config.not_allowed(),
            Some(libc::EBUSY) => TapError::Busy { name: name.clone() },
            Some(libc::EINVAL) => TapError::Unsuitable { name: name.clone() },
            _ => config.system("attach", error),
        })?;
        let mut header_bytes = VIRTIO_BYTES as libc::c_int;
        control(&file, libc::TUNSETVNETHDRSZ, &mut header_bytes)
            .map_err(|error| config.system("set the header size", error))?;
        // Very old kernels know fewer of these; then every frame comes whole and checksummed, which is as good.
        let offloads = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
        let has_offloads = control_value(&file, libc::TUNSETOFFLOAD, offloads.into()).is_ok();
        if config.persist {
            control_value(&file, libc::TUNSETPERSIST, 1).map_err(|error| config.system("persist", error))?;
        }
        if let Some((address, prefix_len)) = config.host {
            if is_new {
                host.set_mac(host_mac(address))?;
            }
            host.bring_up(address, prefix_len)?;
        }
        let mtu = host.mtu()?;
        let file = Arc::new(file);
        Ok(Self {
            caps: DeviceCaps {
                mac: config.mac,
                mtu,
                tso_bytes_max: has_offloads.then_some(u16::MAX.into()),
                completes_checksums: has_offloads,
                leaves_checksums_partial: false, // The virtio header tells of each frame.
            },
            rx: TapRx { file: Arc::clone(&file), buffer: frame_buffer(), reads: 0, errors: 0 },
            tx: TapTx { file, buffer: frame_buffer(), pending_bytes: 0, writes: 0, retries: 0, errors: 0 },
        })
    }

    pub fn counters(&self) -> TapCounters {
        TapCounters {
            reads: self.rx.reads,
            read_errors: self.rx.errors,
            writes: self.tx.writes,
            write_retries: self.tx.retries,
            write_errors: self.tx.errors,
        }
    }
}

impl TapConfig {
    fn not_allowed(&self) -> TapError {
        let host = match self.host {
            Some((address, prefix_len)) => format!("{address}/{prefix_len}"),
            None => "ADDRESS/PREFIX".to_owned(),
        };
        TapError::NotAllowed { name: self.name.clone(), host }
    }

    fn system(&self, what: &'static str, error: io::Error) -> TapError {
        TapError::System { what, name: self.name.clone(), error }
    }
}

impl Device for Tap {
    type Rx = TapRx;
    type Tx = TapTx;

    fn caps(&self) -> DeviceCaps {
        self.caps
    }

    fn split(&mut self) -> (&mut TapRx, &mut TapTx) {
        (&mut self.rx, &mut self.tx)
    }

    fn count(&self, tell: &mut Tell<'_>) {
        self.counters().each(tell);
    }

    fn wait(&mut self, bell: Option<RawFd>, max: Duration) {
        let wants_room = if self.tx.pending_bytes > 0 { libc::POLLOUT } else { 0 };
        let device = poll_entry(self.rx.file.as_raw_fd(), libc::POLLIN | wants_room);
        let bell = poll_entry(bell.unwrap_or(-1), libc::POLLIN);
        let mut entries = [device, bell];
        poll(&mut entries, max);
        if entries[0].revents & (libc::POLLERR | libc::POLLHUP | libc::POLLNVAL) != 0 {
            // The interface is down or deleted: it would answer so at once for ever. The bell still wakes us.
            poll(&mut entries[1..], max);
        }
    }
}

impl DeviceRx for TapRx {
    fn receive(&mut self) -> Option<Received<'_>> {
        // Not by libc, whose call is longer by what lets a thread be cancelled in it: a good part of a look at an empty TAP.
        match rustix::io::read(&self.file, &mut self.buffer[..]) {
            Ok(bytes) if bytes > VIRTIO_BYTES => {
                self.reads += 1;
                let (header, frame) = self.buffer[..bytes].split_at(VIRTIO_BYTES);
                let checksum_is_good = header[0] & (VIRTIO_NEEDS_CHECKSUM | VIRTIO_CHECKSUM_GOOD) != 0;
                Some(Received { frame, checksum_is_good })
            }
            Err(Errno::AGAIN) => None,
            // Interrupted, down, deleted, or nothing but a header: the next turn looks again.
            Ok(_) | Err(_) => {
                self.errors += 1;
                None
            }
        }
    }
}

impl DeviceTx for TapTx {
    fn has_room(&mut self) -> bool {
        if self.pending_bytes > 0 {
            self.retries += 1;
            self.write_out(self.pending_bytes);
        }
        self.pending_bytes == 0
    }

    fn send(&mut self, frame_bytes: usize, fill: impl FnOnce(&mut [u8]) -> TxOffload) {
        assert!(self.pending_bytes == 0);
        let total_bytes = VIRTIO_BYTES + frame_bytes;
        let (header, frame) = self.buffer[..total_bytes].split_at_mut(VIRTIO_BYTES);
        let offload = fill(frame);
        header.copy_from_slice(&virtio_header(&offload));
        self.writes += 1;
        self.write_out(total_bytes);
    }
}

impl TapTx {
    fn write_out(&mut self, total_bytes: usize) {
        self.pending_bytes = 0;
        if let Err(error) = rustix::io::write(&self.file, &self.buffer[..total_bytes]) {
            match error {
                Errno::AGAIN | Errno::INTR | Errno::NOBUFS | Errno::NOMEM => self.pending_bytes = total_bytes,
                // Down or deleted: the frame is lost as on a pulled cable, and TCP sends it again.
                _ => self.errors += 1,
            }
        }
    }
}

/// The kernel's `struct virtio_net_hdr`, in the machine's byte order.
fn virtio_header(offload: &TxOffload) -> [u8; VIRTIO_BYTES] {
    let mut header = [0; VIRTIO_BYTES];
    if offload.checksum_start > 0 {
        header[0] = VIRTIO_NEEDS_CHECKSUM;
        header[6..8].copy_from_slice(&offload.checksum_start.to_ne_bytes());
        header[8..10].copy_from_slice(&offload.checksum_offset.to_ne_bytes());
    }
    if offload.segment_bytes > 0 {
        header[1] = VIRTIO_TCP_IPV4;
        header[2..4].copy_from_slice(&offload.header_bytes.to_ne_bytes());
        header[4..6].copy_from_slice(&offload.segment_bytes.to_ne_bytes());
    }
    header
}

/// The host's end of the cable.
struct HostEnd<'a> {
    socket: OwnedFd,
    config: &'a TapConfig,
}

impl<'a> HostEnd<'a> {
    fn of(config: &'a TapConfig) -> Result<Self, TapError> {
        // SAFETY: no pointers are passed; the descriptor returned, if any, is new and owned by nobody else.
        // WHY: interface ioctls need some socket, and the standard library makes none that is not bound.
        let socket = unsafe {
            let descriptor = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
            if descriptor < 0 {
                return Err(config.system("open a control socket", io::Error::last_os_error()));
            }
            OwnedFd::from_raw_fd(descriptor)
        };
        Ok(Self { socket, config })
    }

    fn exists(&self) -> bool {
        control(&self.socket, libc::SIOCGIFINDEX, &mut interface_request(&self.config.name)).is_ok()
    }

    /// The same after every start, so that what peers and we know of each other outlives the interface.
    fn set_mac(&self, mac: Mac) -> Result<(), TapError> {
        let mut request = interface_request(&self.config.name);
        let mut data = [0; 14];
        for (to, from) in data.iter_mut().zip(mac) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_hwaddr = libc::sockaddr { sa_family: libc::ARPHRD_ETHER, sa_data: data };
        control(&self.socket, libc::SIOCSIFHWADDR, &mut request)
            .map_err(|error| self.failed("set the host's hardware address", error))
    }

    /// Sets the address and brings the interface up, as far as it is not so already.
    fn bring_up(&self, address: Ipv4Addr, prefix_len: u8) -> Result<(), TapError> {
        let mask = Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(prefix_len)).unwrap_or(0));
        if self.address(libc::SIOCGIFADDR) != Some(address)
            || self.address(libc::SIOCGIFNETMASK) != Some(mask)
        {
            self.set_address(libc::SIOCSIFADDR, address)?;
            self.set_address(libc::SIOCSIFNETMASK, mask)?;
        }
        let mut request = interface_request(&self.config.name);
        control(&self.socket, libc::SIOCGIFFLAGS, &mut request)
            .map_err(|error| self.failed("read the state", error))?;
        // SAFETY: the kernel has just filled in the flags of this request.
        // WHY: the C type is a union.
        let flags = unsafe { request.ifr_ifru.ifru_flags };
        let wanted = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        if flags & libc::IFF_UP as libc::c_short == 0 {
            request.ifr_ifru.ifru_flags = flags | wanted;
            control(&self.socket, libc::SIOCSIFFLAGS, &mut request)
                .map_err(|error| self.failed("bring the interface up", error))?;
        }
        Ok(())
    }

    fn mtu(&self) -> Result<usize, TapError> {
        let mut request = interface_request(&self.config.name);
        control(&self.socket, libc::SIOCGIFMTU, &mut request)
            .map_err(|error| self.failed("read the MTU", error))?;
        // SAFETY: the kernel has just filled in the MTU of this request.
        // WHY: the C type is a union.
        let mtu = unsafe { request.ifr_ifru.ifru_mtu };
        Ok((mtu.max(MTU_MIN) as usize).min(u16::MAX.into()))
    }

    fn address(&self, what: libc::Ioctl) -> Option<Ipv4Addr> {
        let mut request = interface_request(&self.config.name);
        control(&self.socket, what, &mut request).ok()?;
        // SAFETY: the kernel has just filled in an AF_INET address, which has the layout of `sockaddr_in`.
        // WHY: the C type is a union of address families.
        let address = unsafe { *(&raw const request.ifr_ifru.ifru_addr).cast::<libc::sockaddr_in>() };
        Some(Ipv4Addr::from_bits(u32::from_be(address.sin_addr.s_addr)))
    }

    fn set_address(&self, what: libc::Ioctl, address: Ipv4Addr) -> Result<(), TapError> {
        let mut request = interface_request(&self.config.name);
        // SAFETY: `sockaddr_in` and `sockaddr` have the same size; all its fields may be zero.
        // WHY: as above.
        unsafe {
            let mut inet: libc::sockaddr_in = std::mem::zeroed();
            inet.sin_family = libc::AF_INET as libc::sa_family_t;
            inet.sin_addr.s_addr = address.to_bits().to_be();
            request.ifr_ifru.ifru_addr = std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(inet);
        }
        control(&self.socket, what, &mut request)
            .map_err(|error| self.failed("set the host's address", error))
    }

    fn failed(&self, what: &'static str, error: io::Error) -> TapError {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => self.config.not_allowed(),
            _ => self.config.system(what, error),
        }
    }
}

/// The host's end has a hardware address of its own, which follows from its IP address as ours does.
fn host_mac(address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    [0x06, 0xab, a, b, c, d]
}

fn interface_request(name: &str) -> libc::ifreq {
    // SAFETY: all-zero is a valid value of this C struct of integers.
    // WHY: it has no other constructor.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    assert!(name.len() < request.ifr_name.len());
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request
}

/// An ioctl whose argument is a struct or an integer the kernel reads or fills in.
fn control<T>(on: &impl AsRawFd, what: libc::Ioctl, argument: &mut T) -> io::Result<()> {
    // SAFETY: the callers above pair each request with the type the kernel expects for it, which lives for the call.
    // WHY: there is no other way to set up a TAP.
    let result = unsafe { libc::ioctl(on.as_raw_fd(), what, std::ptr::from_mut(argument)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// An ioctl whose argument is a plain number.
fn control_value(on: &impl AsRawFd, what: libc::Ioctl, value: libc::c_ulong) -> io::Result<()> {
    // SAFETY: the kernel takes the value as a number and touches no memory of ours.
    // WHY: as above.
    let result = unsafe { libc::ioctl(on.as_raw_fd(), what, value) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn poll_entry(descriptor: RawFd, events: libc::c_short) -> libc::pollfd {
    libc::pollfd { fd: descriptor, events, revents: 0 }
}

fn poll(entries: &mut [libc::pollfd], max: Duration) {
    let timeout =
        libc::timespec { tv_sec: max.as_secs() as libc::time_t, tv_nsec: max.subsec_nanos().into() };
    // SAFETY: the entries and the timeout are valid for the call; no signal mask is passed.
    // WHY: a quiet broker sleeps in the kernel, with a resolution the standard library does not offer on descriptors.
    let polled = unsafe {
        libc::ppoll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, &timeout, std::ptr::null())
    };
    if polled < 0 {
        entries.iter_mut().for_each(|entry| entry.revents = 0); // Interrupted: the next turn looks again.
    }
}

/// Most frames are short: the end of a buffer may be written to for the first time after minutes.
fn frame_buffer() -> Box<[u8]> {
    touched::items(VIRTIO_BYTES + FRAME_BYTES_MAX, 0).into_boxed_slice()
}

const VIRTIO_BYTES: usize = 10;
const VIRTIO_NEEDS_CHECKSUM: u8 = 1;
const VIRTIO_CHECKSUM_GOOD: u8 = 2;
const VIRTIO_TCP_IPV4: u8 = 1;
/// What every IPv4 link must carry.
const MTU_MIN: libc::c_int = 576;
