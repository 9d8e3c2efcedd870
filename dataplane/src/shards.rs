//! All brokers of this process, one for each shard: started one after another, stopped at the same time.
//!
//! ```text
//! start: shard 0, shard 1, ..: each opens its store, serves, registers     one that fails: those before it are stopped
//! stop:  all sign off and finish at once; what went wrong is told when all have ended
//! ```
//!
//! They share nothing but the process: store, threads, name-server connections and the socket to look in are each
//! shard's own. So a thread that panics is the end of all of them ([`abort_on_panic`]): a broker without one of its
//! threads would go on and not keep its promises, and the next start recovers every shard.

use std::panic;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use store::{Medium, StoreConfig};

use crate::net::Net;
use crate::plan::ShardPlan;
use crate::rng::Rng;
use crate::run::{RunError, Running};
use crate::speaker::{Speaker, speak_for};

/// The running shards, in their order.
pub struct Shards {
    running: Vec<(String, Running)>,
}

/// A shard that did not start, or did not stop cleanly.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {error}")]
pub struct ShardError {
    /// The broker's name.
    pub name: String,
    pub error: RunError,
}

impl Shards {
    /// Returns when all serve; they may not be registered yet.
    pub fn start<N: Net + Send + 'static>(
        nets: impl IntoIterator<Item = N>,
        plans: &[ShardPlan],
        store_config: impl Fn(&ShardPlan) -> StoreConfig,
        medium: &Arc<dyn Medium>,
    ) -> Result<Shards, ShardError> {
        let mut shards = Shards { running: Vec::with_capacity(plans.len()) };
        for (net, plan) in nets.into_iter().zip(plans) {
            let name = plan.config.broker_name.clone();
            let started = speak_for(plan.config.speaker(), || {
                Running::start(net, plan, store_config(plan), Arc::clone(medium), Rng::from_os())
                    .inspect(Running::announce_remarks)
            });
            match started {
                Ok(running) => shards.running.push((name, running)),
                Err(error) => {
                    if let Err(another) = shards.stop() {
                        log::error!("while stopping again: {another}");
                    }
                    return Err(ShardError { name, error });
                }
            }
        }
        Ok(shards)
    }

    /// Each broker's name and itself.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Running)> {
        self.running.iter().map(|(name, running)| (name.as_str(), running))
    }

    /// Whether all name servers know all shards within this time.
    pub fn wait_until_known(&self, max: Duration) -> bool {
        let until = Instant::now() + max;
        let left = || until.saturating_duration_since(Instant::now());
        self.running.iter().all(|(_, running)| running.wait_until_known(left()))
    }

    /// Stops all at once. Of several that do not stop cleanly the first is returned, the others are in the log.
    pub fn stop(self) -> Result<(), ShardError> {
        let stopped: Vec<_> = thread::scope(|scope| {
            let has_several = self.running.len() > 1;
            let stops: Vec<_> = self
                .running
                .into_iter()
                .map(|(name, running)| {
                    let speaker: Speaker = has_several.then(|| name.as_str().into());
                    let stop = move || running.stop().map_err(|error| ShardError { name, error });
                    scope.spawn(move || speak_for(speaker, stop))
                })
                .collect();
            let joined = stops.into_iter().map(thread::ScopedJoinHandle::join);
            joined.map(|stopped| stopped.unwrap_or_else(|panic| panic::resume_unwind(panic))).collect()
        });
        let mut errors = stopped.into_iter().filter_map(Result::err);
        let first = errors.next();
        errors.for_each(|error| log::error!("{error}"));
        first.map_or(Ok(()), Err)
    }
}

/// From now on the process ends when any of its threads panics, after a line that says what that means.
pub fn abort_on_panic() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |found| {
        report(found);
        let thread = thread::current();
        eprintln!(
            "afterburner-dataplane: thread {} failed, so all shards of this process end now. What was acknowledged is in \
             the hot logs and the files: start again, and it is recovered",
            thread.name().unwrap_or("without a name")
        );
        std::process::abort();
    }));
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use super::*;

    /// Goal: one thread's panic ends the process, with a line that names the thread and says what to do. Method: this
    /// very test in a process of its own, where a thread panics while the main one waits.
    #[test]
    fn a_panic_ends_the_process_with_a_clear_line() {
        const CHILD: &str = "AFTERBURNER_TEST_PANICS";
        if std::env::var_os(CHILD).is_some() {
            abort_on_panic();
            let thread = thread::Builder::new().name("ab-shard-1".into());
            let failing = thread.spawn(|| panic!("on purpose")).unwrap();
            thread::sleep(Duration::from_secs(60));
            failing.join().unwrap();
        }
        let this = std::env::current_exe().unwrap();
        let test = "shards::tests::a_panic_ends_the_process_with_a_clear_line";
        let began = Instant::now();
        let ended =
            Command::new(this).args([test, "--exact", "--nocapture"]).env(CHILD, "1").output().unwrap();
        assert!(began.elapsed() < Duration::from_secs(50), "it ended when the main thread did");
        assert!(ended.status.signal().is_some(), "{:?}", ended.status);
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(
            said.contains("on purpose") && said.contains("thread ab-shard-1 failed, so all shards"),
            "{said}"
        );
    }
}
