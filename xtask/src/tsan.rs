//! `cargo xtask tsan`: tests with threads in them, and the torture, under the thread sanitizer.
//!
//! The standard library is compiled with it too (component `rust-src`): a library that the sanitizer does not see makes it
//! report what is no race, such as the end of an `Arc`, and overlook others. The stable compiler is told that it may
//! (`RUSTC_BOOTSTRAP`).
//!
//! What it does not show: what the kernel writes, which it does not see; fences, of which it knows nothing (the barrier of
//! `RingBackend::listen` is modelled in `backend/src/tests/announce.rs`); what these runs did not do.

use std::path::Path;
use std::process::Command;

use crate::{Outcome, torture, workspace};

/// Packages whose own tests have threads in them.
const PACKAGES: &[&str] = &["safer-ring-buf", "safer-ring-backend"];

/// Seconds of the torture, shared by the two kinds of ring.
const SECONDS: &str = "20";

/// Runs the tests, then the torture.
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
    workspace::run(tests.arg("--lib")).map_err(|e| format!("tsan: tests: {e}"))?;
    let mut torture = cargo("run")?;
    torture.args(["--package", "safer-ring-cli", "--", "torture", "--seconds", SECONDS]);
    torture::end(&mut torture)
}

fn cargo(command: &str) -> Outcome<Command> {
    let mut cargo = workspace::cargo();
    cargo.args([command, "-Zbuild-std", "--target", &workspace::host()?, "--target-dir"]);
    cargo.arg(workspace::target_directory()?.join("tsan"));
    cargo.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Zsanitizer=thread");
    // A report ends the process at its end with an error, and not at once: others may follow.
    cargo.env("TSAN_OPTIONS", "halt_on_error=0 exitcode=66");
    Ok(cargo)
}
