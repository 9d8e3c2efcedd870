//! A server that does nothing but answer sends: the load generator's own ceiling.
//!
//! It reads as the generator does and answers each request with a SEND answer made beforehand. What a load does against
//! it is the most that this generator, on this machine, can show of any server over loopback.

use super::conn::Conn;
use super::frames::{Template, request_opaque};
use protocol::RemotingCommand;
use protocol::Text;
use protocol::code::response;
use protocol::frame::Codec;
use protocol::headers::SendMessageResponseHeader;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread::JoinHandle;

pub struct Stub {
    pub addr: SocketAddr,
    pub thread_id: i32,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Stub {
    /// On a thread of its own, pinned to `core`.
    pub fn start(core: Option<usize>) -> io::Result<Stub> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let thread_id = Arc::new(AtomicI32::new(0));
        let (stopped, told) = (stop.clone(), thread_id.clone());
        let thread = std::thread::spawn(move || {
            super::pin(core);
            told.store(rustix::thread::gettid().as_raw_nonzero().get(), Ordering::Release);
            serve(&listener, &stopped);
        });
        while thread_id.load(Ordering::Acquire) == 0 {
            std::thread::yield_now();
        }
        Ok(Stub { addr, thread_id: thread_id.load(Ordering::Acquire), stop, thread: Some(thread) })
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // It ends by itself; one that panicked has ended too.
            let _ = thread.join();
        }
    }
}

fn serve(listener: &TcpListener, stop: &AtomicBool) {
    let answers = [Codec::Json, Codec::Binary].map(|codec| Template::new(&answer(), codec));
    let mut conns: Vec<Conn> = Vec::new();
    let mut waiting = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        match listener.accept().and_then(|(stream, _)| Conn::new(stream)) {
            Ok(conn) => conns.push(conn),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => log::warn!("the stub could not accept: {error}"),
        }
        // Accepting costs a call of the kernel: once in many rounds is enough.
        for _ in 0..ROUNDS_PER_ACCEPT {
            conns.retain_mut(|conn| {
                waiting.clear();
                let received = conn.receive(|frame| waiting.extend(request_opaque(frame)));
                for &(codec, opaque) in &waiting {
                    conn.push(&answers[usize::from(codec == Codec::Binary)], opaque);
                }
                received.is_ok() && (conn.waiting() == 0 || conn.flush().is_ok())
            });
        }
    }
}

fn answer() -> RemotingCommand {
    let header = SendMessageResponseHeader {
        msg_id: Text::new(b"7F00000100002A9F0000000000000000"),
        queue_id: 0,
        queue_offset: 123_456,
        transaction_id: Some(Text::new(b"7F000001000100000000000000000001")),
        batch_uniq_id: None,
        recall_handle: None,
    };
    let answer = RemotingCommand::response(response::SUCCESS, 0).with(&header);
    answer.field("MSG_REGION", "DefaultRegion").field("TRACE_ON", "true")
}

const ROUNDS_PER_ACCEPT: usize = 256;
