//! `cargo xtask soak`: wake-ups across threads, counted, on every kind of ring and runtime.

use crate::{Outcome, workspace};

/// Wake-ups of each lane: some seconds.
pub(crate) const SHORT: u64 = 100_000;
/// Wake-ups of each lane: minutes.
pub(crate) const FULL: u64 = 10_000_000;
/// The program's exit code where io_uring is not available.
const UNAVAILABLE: i32 = 3;

/// Runs the soak program.
///
/// # Errors
/// A wake-up was lost, or the program cannot be built.
pub(crate) fn run(wakes: u64) -> Outcome {
    let mut command = workspace::cargo();
    command.args(["run", "--release", "-p", "safer-ring-cli", "--", "soak"]);
    command.args(["--wakes", &wakes.to_string()]);
    let status = command.status().map_err(|e| format!("soak: cannot run cargo: {e}"))?;
    match status.code() {
        Some(0) => Ok(()),
        Some(UNAVAILABLE) => {
            println!("skipped: soak: io_uring is not available here");
            Ok(())
        }
        _ => Err(format!("soak: {status}; what stood still is above")),
    }
}
