//! `cargo xtask torture`: a minute of random drops, as it is shipped; under the address sanitizer it is a part of
//! `cargo xtask asan`.

use std::process::Command;

use crate::{Outcome, workspace};

/// Seconds of a run, shared by the two kinds of ring.
const SECONDS: &str = "60";

/// Runs the torture program, optimised, with the toolchain in use.
///
/// # Errors
/// It found something, or it cannot be built.
pub(crate) fn run() -> Outcome {
    let mut command = workspace::cargo();
    command.args(["run", "-p", "safer-ring-cli", "--release"]);
    end(command.args(["--", "torture", "--seconds", SECONDS]))
}

/// Runs it to its end.
///
/// # Errors
/// It found something, or cannot be started.
pub(crate) fn end(command: &mut Command) -> Outcome {
    workspace::run_tool(command, "torture", "the seed is above")
}
