//! Pieces of an index file under way to the disk.
//!
//! As the log's runs (writers.rs): whoever has a thread to spare writes them, and who waits for one that nobody took writes it himself. They
//! are finished in order. What was begun and failed is still in the tail, and is begun again.

use std::sync::Arc;

use super::tail::Piece;
use crate::error::MediumError;
use crate::medium::MediumFile;
use crate::writers::{Bytes, Place, Write, Writers};

/// The writers of one index, and how many pieces they have.
pub(crate) struct Out {
    writers: Arc<Writers>,
    under_way: usize,
}

impl Out {
    pub fn new(writers: Writers) -> Self {
        Self { writers: Arc::new(writers), under_way: 0 }
    }

    pub fn writers(&self) -> Arc<Writers> {
        Arc::clone(&self.writers)
    }

    pub fn under_way(&self) -> usize {
        self.under_way
    }

    /// Begins a piece, without its first `skip` bytes.
    pub fn begin(&mut self, file: Arc<dyn MediumFile>, piece: Arc<Piece>, skip: usize) {
        let place = Place { file, from: piece.from() + skip as u64 };
        self.writers.begin(Write { place, run: Bytes::Index(piece, skip) });
        self.under_way += 1;
    }

    /// Waits for the first piece, if there is one; or only looks whether it is done. When it has failed, all are given up.
    pub fn finish(&mut self, waits: bool) -> Option<Result<(), MediumError>> {
        let done = if waits { self.writers.finish() } else { self.writers.finish_done() };
        match &done {
            Some(Ok(())) => self.under_way -= 1,
            Some(Err(_)) => self.abandon(),
            None => {}
        }
        done
    }

    /// None is being written when this returns.
    pub fn abandon(&mut self) {
        self.writers.abandon();
        self.under_way = 0;
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        // Nobody shall write to the files of a store that may be opened again.
        self.writers.abandon();
        self.writers.close();
    }
}
