//! One non-blocking connection that writes many frames at a time and reads as much as there is.

use super::frames::Template;
use protocol::frame::{self, Found, Frame};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

pub struct Conn {
    stream: TcpStream,
    out: Vec<u8>,
    out_sent: usize,
    bytes: Vec<u8>,
    /// What is read lies here: from `begin` to `end`.
    begin: usize,
    end: usize,
    /// Most bytes of one read.
    read_max: usize,
}

impl Conn {
    pub fn connect(addr: SocketAddr) -> io::Result<Conn> {
        let stream = TcpStream::connect_timeout(&addr, CONNECT_LIMIT)?;
        Conn::new(stream)
    }

    pub fn new(stream: TcpStream) -> io::Result<Conn> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let (begin, end, read_max) = (0, 0, READ_BYTES);
        Ok(Conn { stream, out: Vec::new(), out_sent: 0, bytes: vec![0; READ_BYTES], begin, end, read_max })
    }

    /// One of thousands: little memory, and the kernel forgets it at once when it is closed, so that the next round
    /// finds ports.
    pub fn one_of_many(addr: SocketAddr) -> io::Result<Conn> {
        let mut conn = Conn::connect(addr)?;
        socket2::SockRef::from(&conn.stream).set_linger(Some(Duration::ZERO))?;
        conn.bytes = vec![0; READ_BYTES_OF_MANY];
        Ok(conn)
    }

    /// Reads so many bytes at a time at most: who has other things to do comes back to them sooner.
    pub fn in_sips(self, read_max: usize) -> Conn {
        Conn { read_max, ..self }
    }

    /// Puts a frame behind those that wait to be written.
    pub fn push(&mut self, template: &Template, opaque: u32) {
        template.push_to(&mut self.out, opaque);
    }

    /// Bytes that wait to be written.
    pub fn waiting(&self) -> usize {
        self.out.len() - self.out_sent
    }

    /// Writes what waits, as far as the kernel takes it.
    pub fn flush(&mut self) -> io::Result<()> {
        while self.waiting() > 0 {
            match self.stream.write(&self.out[self.out_sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => self.out_sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.out_sent = 0;
        Ok(())
    }

    /// Reads once and hands out every whole frame. Gives the bytes read; none is no error.
    pub fn receive(&mut self, mut each: impl FnMut(&Frame<'_>)) -> io::Result<usize> {
        let room = self.bytes.len().min(self.end + self.read_max);
        let read = match self.stream.read(&mut self.bytes[self.end..room]) {
            Ok(0) => {
                return Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed the connection"));
            }
            Ok(read) => read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(0);
            }
            Err(error) => return Err(error),
        };
        self.end += read;
        loop {
            let found = frame::find(&self.bytes[self.begin..self.end]);
            match found.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))? {
                Found::Whole { frame, bytes_len } => {
                    each(&frame);
                    self.begin += bytes_len;
                }
                Found::Need { bytes_len } => {
                    self.make_room(bytes_len);
                    return Ok(read);
                }
            }
        }
    }

    /// The frame that has begun gets room for its end.
    fn make_room(&mut self, frame_len: usize) {
        if self.begin == self.end {
            self.begin = 0;
            self.end = 0;
        } else if self.bytes.len() - self.begin < frame_len.max(self.bytes.len() / 2) {
            self.bytes.copy_within(self.begin..self.end, 0);
            self.end -= self.begin;
            self.begin = 0;
        }
        if self.bytes.len() < frame_len {
            self.bytes.resize(frame_len, 0);
        }
    }
}

const READ_BYTES: usize = 512 * 1024;
const READ_BYTES_OF_MANY: usize = 4 * 1024;
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
