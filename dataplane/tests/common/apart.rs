//! A network of a test's own: runs beside it on the same machine have the same addresses and names of interfaces.

#![allow(dead_code, clippy::unwrap_used)] // Each test program uses its part; all of it is tests.

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Runs `work`, and the threads and processes that it starts, in a network namespace that is gone afterwards; in the host's
/// where there may be none.
pub fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("ab-apart-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    if !ip(&["netns", "add", &name]) {
        return work();
    }
    let _gone = Gone(name.clone());
    ip(&["-n", &name, "link", "set", "lo", "up"]);
    within(&name, work)
}

struct Gone(String);

impl Drop for Gone {
    fn drop(&mut self) {
        ip(&["netns", "del", &self.0]);
    }
}

/// Runs `work` on a thread in that network namespace.
pub fn within<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
    let file = File::open(format!("/run/netns/{namespace}")).unwrap();
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        });
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Whether `ip` did it.
pub fn ip(arguments: &[&str]) -> bool {
    let ran = Command::new("ip").args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    ran.is_ok_and(|status| status.success())
}
