//! `cargo xtask sim`: random programs in simulated worlds, by seed.

use crate::{Outcome, built, workspace};

/// Together with the command-line tool, so that both take the same build of the library.
const BUILD: &str = "build --release -p safer-ring-cli -p xtask-sim --bin xtask-sim";

/// Runs the seeds that the options say.
///
/// # Errors
/// A seed fails; it is shown, with as few steps as it fails with.
pub(crate) fn run(options: &[&str]) -> Outcome {
    let programs = built::by(workspace::cargo().args(BUILD.split_whitespace()))?;
    workspace::run(built::find(&programs, "xtask-sim", "xtask-sim")?.command().args(options))
        .map_err(|e| format!("sim: {e}; the seeds are above"))
}
