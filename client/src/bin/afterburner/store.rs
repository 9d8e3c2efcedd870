//! `afterburner store ..`: looks at a store directory. The broker's own program does it, which knows the files; the client does not.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::Outcome;

#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    /// inspect, verify or repair, the directory, and --json; see `afterburner store --help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

pub fn run(args: Args) -> Outcome {
    let this = std::env::current_exe().map_err(|error| format!("cannot find my own program: {error}"))?;
    let program = this.with_file_name("afterburner-dataplane");
    let error = Command::new(&program).arg("store").args(args.words).exec();
    Err(format!("cannot run {}: {error}; it belongs beside this program", program.display()))
}
