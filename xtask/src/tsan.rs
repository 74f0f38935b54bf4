//! `cargo xtask tsan`: tests with threads in them, the conformance suite on shared rings, wake-ups across threads, and the
//! torture, under the thread sanitizer.
//!
//! The standard library is compiled with it too (component `rust-src`): a library that the sanitizer does not see makes it
//! report what is no race, such as the end of an `Arc`, and overlook others. The stable compiler is told that it may
//! (`RUSTC_BOOTSTRAP`).
//!
//! What it does not show: what the kernel writes, which it does not see; fences, of which it knows nothing (the barrier of
//! `RingBackend::listen` is modelled in `backend/src/tests/announce.rs`); what these runs did not do.

use std::path::Path;
use std::process::Command;

use crate::built::{self, Built};
use crate::{Outcome, torture, workspace};

/// Tests with threads in them: the units of these packages, and those programs of the face crate that are about executors,
/// threads that end, and the runtime.
const TESTS: &str = "--package safer-ring-buf --package safer-ring-backend --package safer-ring \
                     --features safer-ring/runtime,safer-ring/tokio,safer-ring/smol,safer-ring/futures \
                     --lib --test executors --test listener --test teardown --test runtime_tasks";

/// The programs that are run.
const PROGRAMS: &str = "--package safer-ring-cli --package safer-ring-conformance --bin safer-ring \
                        --bin safer-ring-conformance";

/// Environments of the suite in which many threads use a ring, or the library's own do.
const ENVIRONMENTS: &[&str] =
    &["uring-shared", "uring-shared-tiny", "fallback-shared", "fallback-shared-threads"];

/// Wake-ups of each lane of the soak: a tenth of what an optimised one does in seconds.
const WAKES: &str = "10000";

/// Seconds of the torture, shared by the two kinds of ring.
const SECONDS: &str = "20";

/// Runs the tests, then the programs; all of them, also after one has failed.
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
    let mut findings = Vec::new();
    let mut tests = cargo("test")?;
    tests.arg("--no-fail-fast").args(TESTS.split_whitespace());
    findings.extend(workspace::run(&mut tests).err().map(|e| format!("tests: {e}")));
    let programs = built::by(cargo("build")?.args(PROGRAMS.split_whitespace()))?;
    let of = |package: &str, name: &str| built::find(&programs, package, name).map(command);
    let mut suite = of("safer-ring-conformance", "safer-ring-conformance")?;
    suite.args(ENVIRONMENTS.iter().flat_map(|name| ["--env", *name]));
    findings.extend(workspace::run(&mut suite).err().map(|e| format!("conformance: {e}")));
    let mut soak = of("safer-ring-cli", "safer-ring")?;
    soak.args(["soak", "--wakes", WAKES]);
    findings.extend(workspace::run_tool(&mut soak, "soak", "what stood still is above").err());
    let mut tortured = of("safer-ring-cli", "safer-ring")?;
    findings.extend(torture::end(tortured.args(["torture", "--seconds", SECONDS])).err());
    if findings.is_empty() { Ok(()) } else { Err(format!("tsan: {}", findings.join("; "))) }
}

/// What is no race, with the reasons.
const SUPPRESSIONS: &str = "xtask/tsan-suppressions.txt";

/// A report ends the process at its end with an error, and not at once: others may follow.
fn options() -> String {
    let suppressions = workspace::root().join(SUPPRESSIONS);
    format!("halt_on_error=0 exitcode=66 suppressions={}", suppressions.display())
}

fn command(program: &Built) -> Command {
    let mut command = program.command();
    command.env("TSAN_OPTIONS", options());
    command
}

fn cargo(command: &str) -> Outcome<Command> {
    let mut cargo = workspace::cargo();
    cargo.args([command, "-Zbuild-std", "--target", &workspace::host()?, "--target-dir"]);
    cargo.arg(workspace::target_directory()?.join("tsan"));
    cargo.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Zsanitizer=thread");
    cargo.env("TSAN_OPTIONS", options());
    Ok(cargo)
}
