//! A thread that others wait for goes before those that nobody waits for, also on a core that is full.
#![allow(unsafe_code)] // A fence: docs/UNSAFE.md.

use std::io;

/// From now on the calling thread runs as soon as it is woken (SCHED_RR, lowest priority of that kind). Without it a thread that sleeps
/// and wakes a thousand times a second gets, beside one that never sleeps, one scheduler tick in two: milliseconds a time. Only for
/// threads that wait most of the time. Needs CAP_SYS_NICE, or a limit on real-time priority (`ulimit -r`) above 0.
pub fn become_urgent() -> io::Result<()> {
    let lowest = libc::sched_param { sched_priority: 1 };
    // SAFETY: the thread is the calling one, so it exists; `lowest` is initialised and outlives the call, which only reads it.
    // WHY: neither the standard library nor rustix sets a thread's policy, and musl knows only this call for it.
    let error = unsafe { libc::pthread_setschedparam(libc::pthread_self(), libc::SCHED_RR, &lowest) };
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the kernel agrees, or says that we may not. Method: ask it what this thread is (field 41 of its `stat`).
    #[test]
    fn an_urgent_thread_has_the_policy() {
        let policy = || {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let behind_name = &stat[stat.rfind(')').unwrap() + 2..];
            behind_name.split(' ').nth(38).unwrap().parse::<i32>().unwrap()
        };
        std::thread::spawn(move || {
            let before = policy();
            match become_urgent() {
                Ok(()) => assert_eq!(policy(), libc::SCHED_RR),
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(libc::EPERM));
                    assert_eq!(policy(), before);
                }
            }
        })
        .join()
        .unwrap();
    }
}
