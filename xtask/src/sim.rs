//! `cargo xtask sim`: random programs in simulated worlds, by seed.

use crate::{Outcome, workspace};

/// Runs the seeds that the options say.
///
/// # Errors
/// A seed fails; it is shown, with as few steps as it fails with.
pub(crate) fn run(options: &[&str]) -> Outcome {
    let mut command = workspace::cargo();
    command.args(["run", "--release", "-p", "xtask-sim", "--"]).args(options);
    let status = command.status().map_err(|e| format!("sim: cannot run cargo: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("sim: {status}; the seeds are above")) }
}
