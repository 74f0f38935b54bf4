//! `cargo xtask soak`: wake-ups across threads, counted, on every kind of ring and runtime.

use crate::{Outcome, workspace};

/// Wake-ups of each lane: some seconds.
pub(crate) const SHORT: u64 = 100_000;
/// Wake-ups of each lane: minutes.
pub(crate) const FULL: u64 = 10_000_000;

/// Runs the soak program.
///
/// # Errors
/// A wake-up was lost, or the program cannot be built.
pub(crate) fn run(wakes: u64) -> Outcome {
    let mut command = workspace::cargo();
    command.args(["run", "--release", "-p", "safer-ring-cli", "--", "soak"]);
    command.args(["--wakes", &wakes.to_string()]);
    workspace::run_tool(&mut command, "soak", "what stood still is above")
}
