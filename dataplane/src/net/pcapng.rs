//! Frames as a pcapng file: what tcpdump, tshark and Wireshark open.
//!
//! ```text
//! | section | interface: Ethernet, nanoseconds | packet | packet | .. | statistics: how many were lost |
//! ```
//!
//! Pure functions that append to a buffer with room: a shard may call them. Little endian, whatever the machine.

/// Which way a frame went at the device's edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    In,
    Out,
}

/// What a file begins with. `comment` says what the capture is.
pub fn write_head(out: &mut Vec<u8>, interface: &str, address: &str, comment: &str) {
    block(out, SECTION, |out| {
        word(out, BYTE_ORDER);
        word(out, 1); // Version 1.0.
        out.extend_from_slice(&u64::MAX.to_le_bytes()); // Length of the section: not known.
        option(out, OPTION_COMMENT, comment.as_bytes());
        option(out, OPTION_APPLICATION, concat!("afterburner ", env!("CARGO_PKG_VERSION")).as_bytes());
        word(out, 0);
    });
    block(out, INTERFACE, |out| {
        word(out, ETHERNET);
        word(out, SNAP_BYTES_MAX);
        option(out, OPTION_NAME, interface.as_bytes());
        option(out, OPTION_DESCRIPTION, format!("the userspace stack of {address}").as_bytes());
        option(out, OPTION_RESOLUTION, &[9]); // 10^-9 s.
        word(out, 0);
    });
}

/// Bytes that `write_packet` appends for so many captured ones.
pub const fn packet_bytes(kept: usize) -> usize {
    PACKET_HEAD_BYTES + kept.next_multiple_of(4) + PACKET_TAIL_BYTES
}

/// One frame of `frame_bytes`, of which `kept` is the beginning; `stamp_ns` counts from 1970.
#[inline]
pub fn write_packet(out: &mut Vec<u8>, stamp_ns: u64, way: Way, frame_bytes: usize, kept: &[u8]) {
    block(out, PACKET, |out| {
        word(out, 0); // Of the only interface.
        word(out, (stamp_ns >> 32) as u32);
        word(out, stamp_ns as u32);
        word(out, kept.len() as u32);
        word(out, frame_bytes as u32);
        padded(out, kept);
        let direction: u32 = if way == Way::In { 1 } else { 2 };
        option(out, OPTION_PACKET_FLAGS, &direction.to_le_bytes());
        word(out, 0);
    });
}

/// What a capture ends with.
pub fn write_tail(out: &mut Vec<u8>, stamp_ns: u64, seen: u64, lost: u64) {
    block(out, STATISTICS, |out| {
        word(out, 0);
        word(out, (stamp_ns >> 32) as u32);
        word(out, stamp_ns as u32);
        option(out, OPTION_SEEN, &seen.to_le_bytes());
        option(out, OPTION_LOST, &lost.to_le_bytes());
        word(out, 0);
    });
}

/// A block knows its length at both ends.
fn block(out: &mut Vec<u8>, kind: u32, content: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    word(out, kind);
    word(out, 0);
    content(out);
    let len = (out.len() - start + 4) as u32;
    word(out, len);
    out[start + 4..start + 8].copy_from_slice(&len.to_le_bytes());
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    out.extend_from_slice(&code.to_le_bytes());
    out.extend_from_slice(&(value.len() as u16).to_le_bytes());
    padded(out, value);
}

fn padded(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
    out.extend_from_slice(&[0; 3][..bytes.len().next_multiple_of(4) - bytes.len()]);
}

fn word(out: &mut Vec<u8>, word: u32) {
    out.extend_from_slice(&word.to_le_bytes());
}

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const ETHERNET: u32 = 1;
/// What readers are told to expect; a frame with segmentation offload has up to 64 KiB and its headers.
const SNAP_BYTES_MAX: u32 = 256 << 10;
const OPTION_COMMENT: u16 = 1;
const OPTION_NAME: u16 = 2;
const OPTION_PACKET_FLAGS: u16 = 2;
const OPTION_DESCRIPTION: u16 = 3;
const OPTION_APPLICATION: u16 = 4;
const OPTION_SEEN: u16 = 4;
const OPTION_LOST: u16 = 5;
const OPTION_RESOLUTION: u16 = 9;
const PACKET_HEAD_BYTES: usize = 28;
const PACKET_TAIL_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: blocks follow each other to the end, their lengths stand at both ends, and times are whole.
    #[test]
    fn blocks_are_chained() {
        let mut file = Vec::new();
        write_head(&mut file, "ab0", "10.77.0.2:10911", "a test");
        let head_bytes = file.len();
        let stamp_ns = 1_795_178_790_123_456_789;
        for kept in 0..9 {
            let before = file.len();
            write_packet(&mut file, stamp_ns, Way::Out, 1_514, &[7; 9][..kept]);
            assert_eq!(file.len() - before, packet_bytes(kept));
        }
        write_tail(&mut file, stamp_ns, 9, 0);
        let number = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
        let (mut at, mut kinds) = (0, Vec::new());
        while at < file.len() {
            let len = number(at + 4) as usize;
            assert!(len.is_multiple_of(4) && number(at + len - 4) as usize == len);
            kinds.push(number(at));
            at += len;
        }
        assert_eq!(kinds[..2], [SECTION, INTERFACE]);
        assert_eq!((&kinds[2..11], kinds[11]), (&[PACKET; 9][..], STATISTICS));
        assert_eq!(u64::from(number(head_bytes + 12)) << 32 | u64::from(number(head_bytes + 16)), stamp_ns);
        assert_eq!((number(head_bytes + 20), number(head_bytes + 24)), (0, 1_514));
    }
}
