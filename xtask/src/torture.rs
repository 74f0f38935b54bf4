//! `cargo xtask torture`: a minute of random drops, as it is shipped and under the address sanitizer.

use std::process::Command;

use crate::{Outcome, workspace};

/// Seconds of a run, shared by the two kinds of ring.
const SECONDS: &str = "60";
/// The same where every access is checked.
const CHECKED_SECONDS: &str = "30";

/// How the program is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Build {
    /// Optimised, with the toolchain in use.
    Release,
    /// As it is developed, so with every assertion, and with the address sanitizer, which the stable compiler is told that it
    /// may use (`RUSTC_BOOTSTRAP`). The standard library is as it was shipped: its own accesses are not looked at, but all
    /// memory is.
    Asan,
}

/// Runs the torture program.
///
/// # Errors
/// It found something, or it cannot be built.
pub(crate) fn run(build: Build) -> Outcome {
    let mut command = workspace::cargo();
    command.args(["run", "-p", "safer-ring-cli"]);
    let seconds = match build {
        Build::Release => {
            command.arg("--release");
            SECONDS
        }
        Build::Asan => {
            // With a target named, build scripts and macros are not instrumented.
            command.args(["--target", &workspace::host()?, "--target-dir"]);
            command.arg(workspace::target_directory()?.join("asan"));
            command.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Zsanitizer=address");
            // Memory that a reused stack frame hides would be missed without it.
            command.env("ASAN_OPTIONS", "detect_stack_use_after_return=1");
            CHECKED_SECONDS
        }
    };
    end(command.args(["--", "torture", "--seconds", seconds]))
}

/// Runs it to its end.
///
/// # Errors
/// It found something, or cannot be started.
pub(crate) fn end(command: &mut Command) -> Outcome {
    workspace::run_tool(command, "torture", "the seed is above")
}
