//! What a host is like, what that means for speed, and what can be changed about it while it runs.
//!
//! ```text
//! facts.rs, nic.rs, threads.rs: /proc, /sys, ethtool --> Facts --rules.rs, shards.rs--> findings --knobs.rs--> written, and undone
//! ```
//!
//! Only facts.rs, nic.rs and threads.rs look at the host and only knobs.rs changes it, so the rules are tested with made-up hosts.

mod core_sets;
pub mod facts;
pub mod finding;
pub mod knobs;
pub mod nic;
pub mod rules;
pub mod shards;
#[cfg(test)]
mod tests;
pub mod threads;

use serde_json::{Value, json};

use finding::{Finding, Fix};

/// One line, and a second with what mends it on the cores that were listed.
pub fn print(finding: &Finding, listed: &[usize]) {
    match &finding.lack {
        None => println!("ok    {:<WIDTH$} {}", finding.what, finding.found),
        Some(lack) => {
            println!("lacks {:<WIDTH$} {}; {}", finding.what, finding.found, lack.why);
            println!("      {:<WIDTH$} -> {}", "", command(finding.what, &lack.fix, listed));
        }
    }
}

pub fn json(finding: &Finding, listed: &[usize]) -> Value {
    let lack = finding.lack.as_ref();
    json!({
        "what": finding.what,
        "ok": lack.is_none(),
        "found": finding.found,
        "why": lack.map(|lack| lack.why),
        "fix": lack.map(|lack| command(finding.what, &lack.fix, listed)),
        "canTune": lack.is_some_and(|lack| matches!(lack.fix, Fix::Write(_))),
    })
}

/// What a person would type: for many files, the command that writes them.
fn command(what: &str, fix: &Fix, listed: &[usize]) -> String {
    match fix {
        Fix::Write(changes) if changes.len() > CHANGES_SHOWN => {
            let cores =
                if listed.is_empty() { String::new() } else { format!(" --cores {}", shards::list(listed)) };
            format!("afterburner tune{cores} --only '{what}' (as root)")
        }
        _ => fix.text(),
    }
}

const CHANGES_SHOWN: usize = 2;
/// Of the longest name.
const WIDTH: usize = 22;
