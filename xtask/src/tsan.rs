//! `cargo xtask tsan`: tests and the torture program under the thread sanitizer.
//!
//! The standard library is compiled with it too (component `rust-src`): a library that the sanitizer does not see makes it
//! report what is no race, such as the end of an `Arc`, and overlook others. The stable compiler is told that it may
//! (`RUSTC_BOOTSTRAP`).
//!
//! What it does not show: what the kernel writes, which it does not see; fences, of which it knows nothing (the barrier of
//! `RingBackend::listen` is modelled in `backend/src/tests/announce.rs`); what these runs did not do.

use std::path::Path;
use std::process::Command;

use crate::{Outcome, workspace};

/// Seconds of torture.
const SECONDS: &str = "30";
/// The program's exit code where io_uring is not available.
const UNAVAILABLE: i32 = 3;
/// Packages whose own tests have threads in them.
const PACKAGES: &[&str] = &["safer-ring-buf", "safer-ring-backend"];
/// Tests that are left out: the model checker switches stacks by itself.
const LEFT_OUT: &[&str] = &["announce"];

/// Runs the tests, then the torture program.
///
/// # Errors
/// A race is reported, or something cannot be built.
pub(crate) fn run() -> Outcome {
    let root = workspace::output_of(Command::new("rustc").args(["--print", "sysroot"]))?;
    let source = Path::new(root.trim()).join("lib/rustlib/src/rust/library/std");
    if !source.exists() {
        println!(
            "skipped: tsan: no source of the standard library (rustup component add rust-src)"
        );
        return Ok(());
    }
    let mut tests = cargo("test")?;
    for package in PACKAGES {
        tests.args(["--package", package]);
    }
    tests.args(["--lib", "--"]);
    for name in LEFT_OUT {
        tests.args(["--skip", name]);
    }
    let status = tests.status().map_err(|e| format!("tsan: cannot run cargo: {e}"))?;
    if !status.success() {
        return Err(format!("tsan: {status}"));
    }
    let mut torture = cargo("run")?;
    torture.args(["--package", "safer-ring-cli", "--", "torture", "--seconds", SECONDS]);
    let status = torture.status().map_err(|e| format!("tsan: cannot run cargo: {e}"))?;
    match status.code() {
        Some(0) => Ok(()),
        Some(UNAVAILABLE) => {
            println!("skipped: tsan: torture: io_uring is not available here");
            Ok(())
        }
        _ => Err(format!("tsan: torture: {status}; the seed is above")),
    }
}

fn cargo(what: &str) -> Outcome<Command> {
    let mut command = workspace::cargo();
    command.args([what, "-Zbuild-std", "--target", &workspace::host()?, "--target-dir"]);
    command.arg(workspace::target_directory()?.join("tsan"));
    command.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Zsanitizer=thread");
    // A report ends the process at its end with an error, and not at once: others may follow.
    command.env("TSAN_OPTIONS", "halt_on_error=0 exitcode=66");
    Ok(command)
}
