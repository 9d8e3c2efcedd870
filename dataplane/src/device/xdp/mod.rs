//! AF_XDP: frames for our address come from the NIC's driver straight into memory of ours; the host keeps the rest.
//!
//! ```text
//!   wire ─▶ driver ─▶ steer ─┬─▶ ours: rx ring of the frame's queue ─▶ XdpRx          XdpTx ─▶ tx ring ─▶ driver ─▶ wire
//!                            └─▶ else: the host's own stack
//! ```
//!
//! Rings ([`ring`]), memory ([`umem`]), program ([`asm`], [`steer`], [`bpf`]) and sockets ([`socket`]) are our own, over
//! system calls. One device takes every receive queue of the interface and sends on the first. Native mode only:
//! the kernel's generic mode would hand over large segments that do not fit a chunk, which then vanish without a word.
//! Several shards on one interface have a device each, with a share of the queues: shard n of N has queues n, n + N, ..,
//! sends on its first, and passes on what is another's ([`crossing`]). Nothing here is global.

mod asm;
mod bpf;
mod crossing;
mod error;
mod interface;
mod ring;
mod rx;
mod socket;
mod steer;
#[cfg(test)]
mod tests;
mod tx;
mod umem;

pub use error::XdpError;
pub use interface::Interface;
pub use rx::XdpRx;
pub use socket::{Polling, SocketCounters};
pub use steer::{Scope, Steering};
pub use tx::XdpTx;

use super::{Device, DeviceCaps};
use crate::counters::Tell;
use bpf::{Link, Program, SocketMap};
use crossing::Crossing;
use socket::{Headroom, Sizes, Socket};
use std::io;
use std::os::fd::{AsFd, RawFd};
use std::sync::Arc;
use std::time::Duration;
use tx::TxMode;
use umem::{Area, Umem};

/// Which interface, what of it, and how.
#[derive(Clone, Debug)]
pub struct XdpConfig {
    pub interface: String,
    pub steering: Steering,
    pub polling: Polling,
}

/// Frames and system calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XdpCounters {
    pub frames_in: u64,
    pub frames_out: u64,
    pub kicks: u64,
    pub kicks_refused: u64,
    /// Over all queues.
    pub kernel: SocketCounters,
}

pub struct Xdp {
    /// First, so that it goes first: the host has its traffic back before the sockets close. Of several shards the last
    /// one to end lets go; before that the host has the traffic of queues whose sockets are closed.
    _link: Arc<Link>,
    caps: DeviceCaps,
    rx: XdpRx,
    tx: XdpTx,
    sockets: Vec<Arc<Socket>>,
    /// The sockets, and a place for the bell.
    polled: Vec<libc::pollfd>,
    is_zero_copy: bool,
}

/// One queue of the interface, taken.
struct Queue {
    socket: Arc<Socket>,
    rx: (socket::RxRings, Area),
    tx: Option<(socket::TxRings, Area)>,
    is_zero_copy: bool,
    has_metadata: bool,
}

impl Xdp {
    /// Takes the interface for one shard.
    pub fn open(config: &XdpConfig) -> Result<Self, XdpError> {
        let mut devices = Self::open_shards(config, &[Vec::new()])?;
        Ok(devices.pop().expect("as many devices as shards"))
    }

    /// Takes the interface for as many shards as there are lists: frames to the ports of a list are for that shard.
    pub fn open_shards(config: &XdpConfig, ports: &[Vec<u16>]) -> Result<Vec<Self>, XdpError> {
        let name = config.interface.as_str();
        let shards = u32::try_from(ports.len()).expect("fewer shards than cores");
        let found = suitable(name, shards)?;
        let failed = |what| move |error| XdpError::of(what, name, error);
        let map = SocketMap::new(found.rx_queues).map_err(failed("make a map of sockets"))?;
        let program = Program::load(&steer::program(&config.steering, map.raw()))
            .map_err(failed("load the program"))?;
        let link = program
            .attach(found.index)
            .map_err(|error| XdpError::of_attach(name, &found.driver, found.rx_queues, error))?;
        let link = Arc::new(link);
        let mut crossings = if shards > 1 { Crossing::between(ports) } else { Vec::new() }.into_iter();
        let (mut devices, mut is_huge) = (Vec::new(), true);
        for shard in 0..shards {
            let queues = (shard..found.rx_queues).step_by(ports.len());
            let rx = XdpRx::new(config.polling.busy_poll_micros > 0, crossings.next());
            let (device, in_huge_pages) =
                Self::on_queues(queues, &found, config, &map, Arc::clone(&link), rx)?;
            is_huge &= in_huge_pages;
            devices.push(device);
        }
        let is_zero_copy = devices.iter().all(Self::is_zero_copy);
        tell(name, &found, shards, is_zero_copy, is_huge);
        Ok(devices)
    }

    /// One shard's device. Whether all of its memory lies in huge pages is told beside it.
    fn on_queues(
        queues: impl Iterator<Item = u32>,
        found: &Interface,
        config: &XdpConfig,
        map: &SocketMap,
        link: Arc<Link>,
        mut rx: XdpRx,
    ) -> Result<(Self, bool), XdpError> {
        let failed = |error| XdpError::of("steer a queue", &config.interface, error);
        let (mut tx, mut sockets, mut is_zero_copy, mut is_huge) = (None, Vec::new(), true, true);
        for index in queues {
            let (queue, in_huge_pages) = Queue::take(found, index, tx.is_none(), config)?;
            map.set(index, queue.socket.as_fd()).map_err(failed)?;
            is_zero_copy &= queue.is_zero_copy;
            is_huge &= in_huge_pages;
            if let Some((rings, area)) = queue.tx {
                let mode = TxMode {
                    need_wakeup: config.polling.need_wakeup,
                    // The copying path completes checksums itself; of drivers we do not know which can.
                    completes_checksums: queue.has_metadata && !queue.is_zero_copy,
                };
                tx = Some((XdpTx::new(Arc::clone(&queue.socket), rings, area, mode), mode));
            }
            rx.add(Arc::clone(&queue.socket), queue.rx.0, queue.rx.1);
            sockets.push(queue.socket);
        }
        let (tx, mode) = tx.expect("the first queue sends, and there is a first");
        let caps = DeviceCaps {
            mac: found.mac,
            mtu: found.mtu,
            tso_bytes_max: None,
            completes_checksums: mode.completes_checksums,
            leaves_checksums_partial: found.driver == VETH,
        };
        let mut polled: Vec<_> = sockets.iter().map(|socket| poll_entry(socket.raw())).collect();
        polled.push(poll_entry(-1));
        Ok((Self { _link: link, caps, rx, tx, sockets, polled, is_zero_copy }, is_huge))
    }

    /// What to call when another shard has a frame for this one, which may sleep.
    pub fn woken_by(&self, wake: impl Fn() + Send + Sync + 'static) {
        if let Some(crossing) = self.rx.crossing() {
            crossing.woken_by(wake);
        }
    }

    /// Frames sent to other shards, taken from them, and dropped on the way.
    pub fn crossed(&self) -> (u64, u64, u64) {
        self.rx.crossing().map_or((0, 0, 0), Crossing::counters)
    }

    /// Whether the driver hands over frames without copying them.
    pub fn is_zero_copy(&self) -> bool {
        self.is_zero_copy
    }

    pub fn counters(&self) -> XdpCounters {
        let (frames_out, kicks, kicks_refused) = self.tx.counters();
        let mut kernel = SocketCounters::default();
        for counted in self.sockets.iter().filter_map(|socket| socket.counters().ok()) {
            kernel.rx_ring_full += counted.rx_ring_full;
            kernel.rx_no_chunk += counted.rx_no_chunk;
            kernel.rx_dropped += counted.rx_dropped;
            kernel.invalid += counted.invalid;
        }
        XdpCounters { frames_in: self.rx.frames(), frames_out, kicks, kicks_refused, kernel }
    }
}

impl Queue {
    /// Whether its memory lies in huge pages is told beside it.
    fn take(
        found: &Interface,
        index: u32,
        sends: bool,
        config: &XdpConfig,
    ) -> Result<(Self, bool), XdpError> {
        let name = config.interface.as_str();
        let failed = |what| move |error| XdpError::of(what, name, error);
        let tx_chunks = if sends { TX_CHUNKS } else { 0 };
        let umem = Umem::new(RX_CHUNKS + tx_chunks).map_err(failed("take memory for frames"))?;
        let (rx_area, tx_area) = umem.split(RX_CHUNKS);
        let (socket, has_metadata) = match Socket::open(&umem, Headroom::TxMetadata) {
            // Older kernels know no metadata; then checksums are ours to compute.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                (Socket::open(&umem, Headroom::None), false)
            }
            opened => (opened, true),
        };
        let socket = socket.map_err(failed("open an AF_XDP socket"))?;
        let sizes = Sizes { rx: RX_CHUNKS, tx: tx_chunks };
        let (rx, tx) = socket.rings(sizes).map_err(failed("map the rings"))?;
        socket
            .bind(found.index, index, config.polling)
            .map_err(|error| XdpError::of_bind(name, index, error))?;
        socket.allow_bursts(TX_CHUNKS);
        let is_zero_copy = socket.is_zero_copy().map_err(failed("ask for the mode"))?;
        let queue = Self {
            socket: Arc::new(socket),
            rx: (rx, rx_area),
            tx: tx.map(|rings| (rings, tx_area)),
            is_zero_copy,
            has_metadata,
        };
        Ok((queue, umem.is_huge()))
    }
}

impl Device for Xdp {
    type Rx = XdpRx;
    type Tx = XdpTx;

    fn caps(&self) -> DeviceCaps {
        self.caps
    }

    fn split(&mut self) -> (&mut XdpRx, &mut XdpTx) {
        (&mut self.rx, &mut self.tx)
    }

    fn kick(&mut self) {
        let called = self.tx.kick();
        self.rx.finish_turn(!called);
    }

    fn count(&self, tell: &mut Tell<'_>) {
        let counted = self.counters();
        tell("device_frames_in", counted.frames_in);
        tell("device_frames_out", counted.frames_out);
        tell("device_kicks", counted.kicks);
        tell("device_kicks_refused", counted.kicks_refused);
        tell("drop_rx_ring_full", counted.kernel.rx_ring_full);
        tell("drop_rx_no_chunk", counted.kernel.rx_no_chunk);
        tell("drop_rx_other", counted.kernel.rx_dropped);
        tell("drop_invalid_descriptor", counted.kernel.invalid);
        let (sent, taken, dropped) = self.crossed();
        tell("device_crossed_out", sent);
        tell("device_crossed_in", taken);
        tell("drop_crossing_full", dropped);
    }

    fn wait(&mut self, bell: Option<RawFd>, max: Duration) {
        let (last, sockets) = self.polled.split_last_mut().expect("made with a place for the bell");
        *last = poll_entry(bell.unwrap_or(-1));
        let bell = std::slice::from_mut(last);
        if sockets.iter().any(|socket| socket.revents & BROKEN != 0) {
            // The interface is down or deleted: it would answer so at once for ever. The bell still wakes us.
            sockets.iter_mut().for_each(|socket| socket.revents = 0);
            return socket::poll(bell, max);
        }
        socket::poll(&mut self.polled, max);
    }
}

/// The interface, if frames can be taken off it.
fn suitable(name: &str, shards: u32) -> Result<Interface, XdpError> {
    let owned = || name.to_owned();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || !name.bytes().all(is_plain) {
        return Err(XdpError::BadName { name: owned() });
    }
    let found = Interface::look(name).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => XdpError::NoInterface { name: owned() },
        _ => XdpError::of("look at", name, error),
    })?;
    if !found.is_ethernet {
        return Err(XdpError::NotEthernet { name: owned() });
    }
    if !found.is_up {
        return Err(XdpError::Down { name: owned() });
    }
    if found.mtu > MTU_MAX {
        return Err(XdpError::MtuTooBig { name: owned(), mtu: found.mtu, max: MTU_MAX });
    }
    if found.rx_queues > QUEUES_MAX * shards {
        return Err(XdpError::TooManyQueues { name: owned(), queues: found.rx_queues, max: QUEUES_MAX });
    }
    if found.rx_queues < shards {
        return Err(XdpError::TooFewQueues { name: owned(), queues: found.rx_queues, shards });
    }
    Ok(found)
}

/// Says how frames cross, and warns when that is not the best way.
fn tell(name: &str, found: &Interface, shards: u32, is_zero_copy: bool, is_huge: bool) {
    let driver = if found.driver.is_empty() { "its driver" } else { &found.driver };
    log::info!(
        "{name}: AF_XDP in {driver}, {}, receive queues: {}",
        if is_zero_copy { "zero copy" } else { "copy mode" },
        found.rx_queues
    );
    if !is_zero_copy {
        log::warn!(
            "{name}: {driver} offers no zero copy, so the kernel copies every frame and each turn that sends makes a \
             system call: right for trying out, not what this device is for"
        );
    }
    if !is_huge {
        let pages = (RX_CHUNKS * found.rx_queues + TX_CHUNKS * shards).div_ceil(CHUNKS_PER_HUGE_PAGE);
        log::info!("{name}: no {pages} huge pages for frames, ordinary pages serve (sysctl vm.nr_hugepages)");
    }
}

fn poll_entry(descriptor: RawFd) -> libc::pollfd {
    libc::pollfd { fd: descriptor, events: libc::POLLIN, revents: 0 }
}

const VETH: &str = "veth";
/// The longest packet whose frame fits a chunk beside what drivers keep there.
pub const MTU_MAX: usize = 3_490;
/// Each costs its chunks: 8 MiB.
const QUEUES_MAX: u32 = 16;
const RX_CHUNKS: u32 = 2_048;
const TX_CHUNKS: u32 = 2_048;
const CHUNKS_PER_HUGE_PAGE: u32 = 512;
const BROKEN: libc::c_short = libc::POLLERR | libc::POLLHUP | libc::POLLNVAL;

const _: () = assert!(RX_CHUNKS.is_power_of_two() && TX_CHUNKS.is_power_of_two());
