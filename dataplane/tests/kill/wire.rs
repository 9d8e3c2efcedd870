//! A bare producer and reader: frames over one blocking socket, and the stored record read by its published offsets
//! rather than by our own codec, so that the oracle does not share our mistakes.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::awake;
use protocol::command::RemotingCommand;
use protocol::frame::{self, Codec, Found};

const TOPIC: &str = "KillTopic";
const SEND_MESSAGE_V2: i32 = 310;
const PULL_MESSAGE: i32 = 11;
const SUBSCRIPTION_POSTED: i32 = 4;
/// A broker that says nothing for so long says nothing any more.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a reader looks whether its patience is over.
const LOOK: Duration = Duration::from_millis(500);

pub struct Ack {
    pub opaque: i32,
    pub code: i32,
    pub remark: String,
    pub queue_offset: i64,
}

pub struct Message {
    pub queue_offset: i64,
    pub body: Vec<u8>,
}

pub struct Peer {
    stream: TcpStream,
    input: Vec<u8>,
    start: usize,
}

impl Peer {
    /// Tries for a while: the broker may be starting.
    pub fn connect(address: SocketAddr) -> Peer {
        let deadline = awake::now() + PATIENCE;
        loop {
            match TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
                Ok(stream) => {
                    stream.set_nodelay(true).expect("a connected socket takes options");
                    stream.set_read_timeout(Some(LOOK)).expect("a connected socket takes options");
                    stream.set_write_timeout(Some(PATIENCE)).expect("a connected socket takes options");
                    return Peer { stream, input: Vec::new(), start: 0 };
                }
                Err(error) => assert!(awake::now() < deadline, "cannot connect to {address}: {error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn send(&mut self, queue: i32, opaque: i32, body: &[u8]) -> io::Result<()> {
        let mut command = RemotingCommand::request(SEND_MESSAGE_V2)
            .field("a", "PG_kill")
            .field("b", TOPIC)
            .field("c", "TBW102")
            .field("d", 4)
            .field("e", queue)
            .field("f", 0)
            .field("g", 1_700_000_000_000_i64)
            .field("h", 0)
            .field("i", "KEYS\u{1}k\u{2}")
            .field("j", 0)
            .field("m", false)
            .body(body.to_vec());
        command.opaque = opaque;
        self.stream.write_all(&command.encode(Codec::Json))
    }

    pub fn next_ack(&mut self) -> io::Result<Ack> {
        let answer = self.next_command()?;
        let offset = answer.ext("queueOffset").and_then(|text| text.parse().ok()).unwrap_or(-1);
        Ok(Ack {
            opaque: answer.opaque,
            code: answer.code,
            remark: answer.remark.clone().unwrap_or_default(),
            queue_offset: offset,
        })
    }

    /// The messages from `offset` on; none at the queue's end.
    pub fn pull(&mut self, queue: i32, offset: i64) -> Vec<Message> {
        let request = RemotingCommand::request(PULL_MESSAGE)
            .field("consumerGroup", "CG_kill")
            .field("topic", TOPIC)
            .field("queueId", queue)
            .field("queueOffset", offset)
            .field("maxMsgNums", 32)
            .field("sysFlag", SUBSCRIPTION_POSTED)
            .field("commitOffset", 0)
            .field("suspendTimeoutMillis", 0)
            .field("subscription", "*")
            .field("subVersion", 0);
        self.stream.write_all(&request.encode(Codec::Json)).expect("the reader's connection holds");
        let answer = self.next_command().expect("the reader's connection holds");
        match answer.code {
            0 => messages(&answer.body),
            19 => Vec::new(),
            code => panic!("pull of queue {queue} at {offset}: code {code}, {:?}", answer.remark),
        }
    }

    fn next_command(&mut self) -> io::Result<RemotingCommand> {
        loop {
            match frame::find(&self.input[self.start..]).expect("the broker sends whole frames") {
                Found::Whole { frame, bytes_len } => {
                    let command = RemotingCommand::from_frame(&frame).expect("the broker sends good headers");
                    self.start += bytes_len;
                    return Ok(command);
                }
                Found::Need { .. } => {
                    self.input.drain(..self.start);
                    self.start = 0;
                    let mut more = [0; 64 << 10];
                    let len = awake::read(&mut self.stream, &mut more, PATIENCE)?;
                    if len == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    self.input.extend_from_slice(&more[..len]);
                }
            }
        }
    }
}

/// Splits a pull answer's body by the record layout (IPv4 hosts).
fn messages(mut body: &[u8]) -> Vec<Message> {
    let mut all = Vec::new();
    while !body.is_empty() {
        let total = u32::from_be_bytes(body[..4].try_into().expect("four bytes")) as usize;
        let record = &body[..total];
        let queue_offset = i64::from_be_bytes(record[20..28].try_into().expect("eight bytes"));
        let len = u32::from_be_bytes(record[84..88].try_into().expect("four bytes")) as usize;
        let crc = u32::from_be_bytes(record[8..12].try_into().expect("four bytes"));
        assert_eq!(crc32fast::hash(&record[88..88 + len]) & 0x7fff_ffff, crc, "body CRC at {queue_offset}");
        all.push(Message { queue_offset, body: record[88..88 + len].to_vec() });
        body = &body[total..];
    }
    all
}
