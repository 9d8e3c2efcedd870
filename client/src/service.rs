//! What producers, consumers and admins have in common: a life, and a share of an instance while they run.
//!
//! ```text
//!   begin ──▶ join ──▶ (the service's own opening) ──▶ settle ──▶ shell, as often as wanted ──▶ stop
//!                                                        └─ failed: the share is given back
//! ```

use crate::config::ClientConfig;
use crate::core::lifecycle::Lifecycle;
use crate::error::{ClientError, Service, State};
use crate::net::Shell;
use crate::registry::{self, Share};
use std::sync::{Arc, Mutex, MutexGuard};

pub(crate) struct Membership {
    client: ClientConfig,
    held: Mutex<Held>,
}

struct Held {
    life: Lifecycle,
    share: Option<Share>,
}

impl Membership {
    pub fn new(client: ClientConfig, service: Service) -> Membership {
        Membership { client, held: Mutex::new(Held { life: Lifecycle::new(service), share: None }) }
    }

    pub fn client(&self) -> &ClientConfig {
        &self.client
    }

    /// Starting is possible once, unless it fails for a reason that may pass.
    pub fn begin(&self) -> Result<(), ClientError> {
        self.lock().life.begin()
    }

    /// A share of the instance; `own` gives one that nobody named a name of its own.
    pub fn join(&self, own: bool) -> Share {
        registry::join(self.client.clone(), own)
    }

    /// Ends the start: the service runs, or gives its share back. A group that is taken may be tried again later.
    pub async fn settle(&self, share: Share, opened: Result<(), ClientError>) -> Result<(), ClientError> {
        match &opened {
            Ok(()) => {
                let mut held = self.lock();
                held.life.started();
                held.share = Some(share);
            }
            Err(error) => {
                if matches!(error, ClientError::GroupTaken { .. }) {
                    self.lock().life.retry();
                }
                registry::leave(&share.client_id).await;
            }
        }
        opened
    }

    /// The share is the caller's to give back; none if the service does not run.
    pub fn stop(&self) -> Option<Share> {
        let mut held = self.lock();
        held.life.stop();
        held.share.take()
    }

    /// For a call that needs a running service.
    pub fn shell(&self) -> Result<Arc<Shell>, ClientError> {
        let held = self.lock();
        held.life.check()?;
        Ok(held.share.as_ref().expect("a running service has its instance").shell.clone())
    }

    /// For what matters to a running service only.
    pub fn running_shell(&self) -> Option<Arc<Shell>> {
        self.lock().share.as_ref().map(|share| share.shell.clone())
    }

    pub fn state(&self) -> State {
        self.lock().life.state()
    }

    pub fn client_id(&self) -> Option<String> {
        self.lock().share.as_ref().map(|share| share.client_id.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("nothing panics while the state is held")
    }
}
