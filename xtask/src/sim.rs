//! `cargo xtask sim`: random programs in simulated worlds, by seed.

use std::process::Command;

use crate::{Outcome, workspace};

/// Together with the command-line tool, so that both take the same build of the library.
const BUILD: &str = "build --release -p safer-ring-cli -p xtask-sim --bin xtask-sim";

/// Runs the seeds that the options say.
///
/// # Errors
/// A seed fails; it is shown, with as few steps as it fails with.
pub(crate) fn run(options: &[&str]) -> Outcome {
    workspace::run_cargo(BUILD.split_whitespace()).map_err(|e| format!("sim: {e}"))?;
    let program = workspace::target_directory()?.join("release").join("xtask-sim");
    workspace::run(Command::new(program).args(options))
        .map_err(|e| format!("sim: {e}; the seeds are above"))
}
