//! The command as a shell sees it.

#![allow(clippy::unwrap_used)] // A test.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Goal: a reader that has seen enough, as in `afterburner check | head -1`, ends the command without a word.
/// Method: close the pipe before anything is written.
#[test]
fn a_closed_pipe_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_afterburner"))
        .arg("check")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success(), "{}", output.status);
}

/// Goal: a bench that is told to stop does so soon, says which load has no figures, and fails. Method: a minute's load on its own
/// stub, interrupted when it runs.
#[test]
fn an_interrupted_bench_ends_soon() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_afterburner"))
        .args([
            "bench",
            "--compare",
            "stub",
            "--loads",
            "ping",
            "--warmup",
            "0",
            "--seconds",
            "60",
            "--rounds",
            "2",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let pid = rustix::process::Pid::from_child(&child);
    std::thread::sleep(Duration::from_secs(1));
    assert!(child.try_wait().unwrap().is_none(), "it runs");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(output.status.code(), Some(1), "{}", output.status);
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("stopped before its end"), "{told}");
}
