//! Keeps this broker known to its name servers.
//!
//! ```text
//! keeper thread --Tables (watch: newest wins)--> one task a name server --REGISTER_BROKER--> name server
//!                                                    | closed, silent, refused: again, 20 to 400 ms apart (backoff.rs)
//! main <--Standing (who knows us)--------------------'
//! ```
//!
//! A name server forgets a broker whose connection closes, so a connection stays open between registrations, and
//! its end is the sign of a restart: we come back at once. Each server has its own task, so that a dead one delays
//! nobody. All run in one ordinary thread on the kernel's sockets. Deliberately absent: compressed, split and
//! single-topic registrations, which official name servers need no more than ours.

mod backoff;
mod link;
mod standing;
#[cfg(test)]
mod tests;

pub use standing::Standing;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use crate::config::HostPort;
use crate::rng::Rng;
use crate::speaker;
use backoff::Backoff;
use link::Link;

/// Who registers.
#[derive(Debug, Clone)]
pub struct Identity {
    pub cluster: String,
    pub broker_name: String,
    pub broker_id: u64,
    /// `ip:port` that clients are told.
    pub broker_addr: String,
    /// `ip:port` that replicas are told.
    pub ha_server_addr: String,
}

/// How often and how long.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub period: Duration,
    pub answer_wait_max: Duration,
}

/// The body of a registration, made once for all name servers. The newest replaces what was not sent yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables {
    pub body: Bytes,
    /// `DataVersion.counter` of the topic table in it.
    pub counter: i64,
}

/// The running registration. `leave` ends it and waits; when it is dropped its thread says goodbye alone.
pub struct Registrar {
    thread: JoinHandle<()>,
    stop: watch::Sender<bool>,
    standing: Arc<Standing>,
}

impl Registrar {
    /// Connects to every server at once and registers as soon as `tables` has been sent the first body.
    pub fn start(
        servers: &[HostPort],
        identity: Identity,
        pace: Pace,
        tables: watch::Receiver<Option<Tables>>,
        rng: &mut Rng,
    ) -> std::io::Result<Self> {
        let standing = Arc::new(Standing::new(servers.len()));
        let (stop, stopped) = watch::channel(false);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build()?;
        let links: Vec<Link> = servers
            .iter()
            .enumerate()
            .map(|(index, server)| Link {
                index,
                server: server.clone(),
                identity: identity.clone(),
                pace,
                tables: tables.clone(),
                stopped: stopped.clone(),
                standing: Arc::clone(&standing),
                complained: None,
                backoff: Backoff::new(rng.fork()),
            })
            .collect();
        let thread = speaker::spawn("ab-namesrv", move || {
            runtime.block_on(async {
                let tasks: Vec<_> = links.into_iter().map(|link| tokio::spawn(link.keep())).collect();
                for task in tasks {
                    // A task ends by itself when it is told to stop; one that panicked has said so.
                    let _ = task.await;
                }
            });
            // A name that is still being looked up would hold us until the resolver gives up.
            runtime.shutdown_background();
        })?;
        Ok(Self { thread, stop, standing })
    }

    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Unregisters from every name server that knows us; takes a second at most.
    pub fn leave(self) {
        self.stop.send_replace(true);
        // The thread only waits for its tasks, each of which is bounded by GOODBYE_WAIT_MAX.
        let _ = self.thread.join();
    }
}
