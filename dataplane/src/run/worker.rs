//! The threads of a broker: each with the flag that ends it, and how others wake the polling one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::error::RunError;
use crate::net::Waker;
use crate::speaker;

/// A thread and the flag that ends it.
pub struct Worker<T> {
    pub thread: JoinHandle<T>,
    pub stop: Arc<AtomicBool>,
}

impl<T: Send + 'static> Worker<T> {
    pub fn start(
        name: String,
        body: impl FnOnce(&Arc<AtomicBool>) -> T + Send + 'static,
    ) -> Result<Worker<T>, RunError> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = speaker::spawn(name, move || body(&stopped)).map_err(RunError::Thread)?;
        Ok(Worker { thread, stop })
    }

    pub fn end(self) -> std::thread::Result<T> {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        self.thread.join()
    }
}

/// What wakes the polling thread, for the other end of a lane.
pub fn wakes(waker: &Waker) -> impl Fn() + Send + Sync + 'static {
    let waker = waker.clone();
    move || waker.wake()
}
