//! `cargo xtask soak`: wake-ups across threads, counted, on every kind of ring and runtime.

use crate::{Outcome, workspace};

/// Wake-ups of each lane: some seconds.
pub(crate) const SHORT: u64 = 100_000;
/// Wake-ups of each lane: minutes.
pub(crate) const FULL: u64 = 10_000_000;

/// Runs the soak program; in full, once more with what another poller hears of, which is another build.
///
/// # Errors
/// A wake-up was lost, or the program cannot be built.
pub(crate) fn run(wakes: u64) -> Outcome {
    run_with(wakes, &[], &[])?;
    if wakes < FULL {
        return Ok(());
    }
    run_with(wakes, &["--features", "smol"], &["--only", "threads/smol"])
}

fn run_with(wakes: u64, features: &[&str], lanes: &[&str]) -> Outcome {
    let mut command = workspace::cargo();
    command.args(["run", "--release", "-p", "safer-ring-cli"]).args(features);
    command.args(["--", "soak", "--wakes", &wakes.to_string()]).args(lanes);
    workspace::run_tool(&mut command, "soak", "what stood still is above")
}
