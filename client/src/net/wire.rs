//! The connections of an instance: dialled, read, written and closed, a task for each of reading and writing.

use super::{CLOSE_WAIT, Inner, Shell};
use crate::core::{Addr, LinkId};
use bytes::{Buf, BytesMut};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle};

/// The shell's side of a connection.
pub(super) struct Wire {
    out: mpsc::UnboundedSender<Vec<u8>>,
    link_task: AbortHandle,
    writer: Option<JoinHandle<()>>,
}

impl Wire {
    /// Queues bytes for the writer. One that is gone has said so, or is about to: the core hears of it.
    pub(super) fn write(&self, bytes: Vec<u8>) {
        let _ = self.out.send(bytes);
    }
}

impl Shell {
    pub(super) fn open_wire(self: &Arc<Shell>, inner: &mut Inner, link: LinkId, addr: Addr) {
        let (out, frames) = mpsc::unbounded_channel();
        let task = self.runtime.spawn(self.clone().run_link(link, addr, frames));
        inner.links.insert(link, Wire { out, link_task: task.abort_handle(), writer: None });
    }

    /// For a moment the writer brings out what it has, and the reader goes on, so that the peer's last words do not reset the
    /// connection under ours. A peer that stands still would hold both, and what is to be written, for ever.
    pub(super) fn close_wire(self: &Arc<Shell>, inner: &mut Inner, link: LinkId) {
        let Some(Wire { out, link_task, writer }) = inner.links.remove(&link) else {
            return;
        };
        drop(out);
        match writer {
            Some(writer) => {
                let writing = writer.abort_handle();
                inner.closing.retain(|writer| !writer.is_finished());
                inner.closing.push(writer);
                self.runtime.spawn(async move {
                    tokio::time::sleep(CLOSE_WAIT).await;
                    link_task.abort();
                    writing.abort();
                });
            }
            None => link_task.abort(), // Still connecting.
        }
    }

    /// Makes a connection and reads it to its end.
    async fn run_link(self: Arc<Shell>, link: LinkId, addr: Addr, frames: mpsc::UnboundedReceiver<Vec<u8>>) {
        let connected = async {
            let stream = TcpStream::connect(&*addr).await?;
            stream.set_nodelay(true)?;
            Ok::<TcpStream, io::Error>(stream)
        };
        let (mut reader, writer) = match connected.await {
            Ok(stream) => stream.into_split(),
            Err(error) => return self.down(link, &error.to_string()),
        };
        let writer = self.runtime.spawn(self.clone().run_writer(link, writer, frames));
        {
            let mut inner = self.lock();
            match inner.links.get_mut(&link) {
                Some(wire) => wire.writer = Some(writer),
                None => return writer.abort(), // Given up meanwhile.
            }
            let now = self.now();
            inner.core.link_up(link, now);
            self.carry_out(&mut inner);
        }
        let mut bytes = BytesMut::with_capacity(READ_BYTES);
        let reason = loop {
            bytes.reserve(READ_BYTES);
            match reader.read_buf(&mut bytes).await {
                Ok(0) => break "the peer closed it".to_owned(),
                Ok(_) => {}
                Err(error) => break error.to_string(),
            }
            let taken = self.with(|core, now| core.received(link, &bytes, now));
            bytes.advance(taken);
            if !self.lock().links.contains_key(&link) {
                bytes.clear(); // Closed on our side: what still comes is for nobody.
            }
        };
        self.down(link, &reason);
    }

    async fn run_writer(
        self: Arc<Shell>,
        link: LinkId,
        mut writer: OwnedWriteHalf,
        mut frames: mpsc::UnboundedReceiver<Vec<u8>>,
    ) {
        while let Some(mut batch) = frames.recv().await {
            // What has piled up meanwhile goes with it, in one call of the kernel.
            while batch.len() < WRITE_BYTES
                && let Ok(next) = frames.try_recv()
            {
                batch.extend_from_slice(&next);
            }
            if let Err(error) = writer.write_all(&batch).await {
                return self.down(link, &error.to_string());
            }
            self.with(|core, _| core.written(link, batch.len()));
        }
        // The other side may have gone first; then there is nothing to end.
        let _ = writer.shutdown().await;
    }

    fn down(self: &Arc<Shell>, link: LinkId, reason: &str) {
        let mut inner = self.lock();
        if let Some(writer) = inner.links.remove(&link).and_then(|wire| wire.writer) {
            writer.abort(); // The peer has gone: there is nobody to bring it out to.
        }
        let now = self.now();
        inner.core.link_down(link, reason, now);
        self.carry_out(&mut inner);
    }
}

const READ_BYTES: usize = 64 * 1024;
const WRITE_BYTES: usize = 256 * 1024;
