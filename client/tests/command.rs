//! The command as a shell sees it.

#![allow(clippy::unwrap_used)] // A test.

use std::process::{Command, Stdio};

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
