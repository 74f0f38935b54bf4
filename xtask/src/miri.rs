//! `cargo xtask miri`: the library on a simulated kernel under an interpreter that knows undefined behaviour.
//!
//! A simulated ring needs no system call but the eventfd of its bell, so the table, the driver, the leases of buffers and the
//! simulation itself can run there: the tests of `sim/` and `beside/` in the backend.

use std::process::Command;

use crate::{Outcome, workspace};

/// Tests that are run: those of the modules with these names.
const MODULES: &[&str] = &["sim::", "beside::"];

/// Runs the tests.
///
/// # Errors
/// Undefined behaviour is found, a test fails, or something cannot be built.
pub(crate) fn run() -> Outcome {
    let installed = workspace::cargo().args(["miri", "--version"]).output();
    if !installed.is_ok_and(|output| output.status.success()) {
        println!(
            "skipped: miri: not part of this toolchain (rustup +nightly component add miri rust-src, then \
             RUSTUP_TOOLCHAIN=nightly cargo xtask miri)"
        );
        return Ok(());
    }
    workspace::run(&mut cargo()?).map_err(|e| format!("miri: {e}"))
}

fn cargo() -> Outcome<Command> {
    let mut command = workspace::cargo();
    command.args(["miri", "test", "--package", "safer-ring-backend", "--lib", "--target-dir"]);
    command.arg(workspace::target_directory()?.join("miri"));
    command.arg("--").args(MODULES);
    // The clock is read; and system calls go through the C library, whose functions the interpreter knows.
    command.env("MIRIFLAGS", "-Zmiri-disable-isolation");
    command.env("RUSTFLAGS", "--cfg rustix_use_libc");
    Ok(command)
}
