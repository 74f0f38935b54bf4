//! `cargo xtask asan`: the conformance suite, simulated worlds and the torture under the address sanitizer.
//!
//! They are built as they are developed, so with every assertion, and with the sanitizer, which the stable compiler is told
//! that it may use (`RUSTC_BOOTSTRAP`). The standard library is as it was shipped: its own accesses are not looked at, but all
//! memory is.
//!
//! What it does not show: what the kernel writes, which it does not see. That is what the scenarios about released memory look
//! at themselves (`conformance/src/morgue.rs`).

use std::process::Command;

use crate::built::{self, Built};
use crate::{Outcome, torture, workspace};

const BUILD: &str = "build -p safer-ring-cli -p safer-ring-conformance -p xtask-sim --bin safer-ring \
                     --bin safer-ring-conformance --bin xtask-sim";

/// Environments of the suite: each backend and each kind of ring. All of them are `cargo xtask asan --full`.
const ENVIRONMENTS: &[&str] = &[
    "uring-local",
    "uring-shared",
    "fallback-local",
    "fallback-shared",
    "sim-local",
    "sim-shared",
];

/// Seeds of simulated worlds, as `cargo xtask sim` takes them.
const SEEDS: &str = "0..300";
/// The same where all is run.
const MANY_SEEDS: &str = "0..20000";

/// Seconds of the torture, shared by the two kinds of ring: a run in which every access is checked.
const SECONDS: &str = "25";

/// How much is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// What continuous integration runs.
    Short,
    /// Every environment, and many seeds.
    Full,
    /// The torture alone.
    Torture,
}

/// Builds the programs and runs them one after the other; all of them, also after one has failed.
///
/// # Errors
/// The sanitizer has found something, a program has, or something cannot be built.
pub(crate) fn run(part: Part) -> Outcome {
    let programs = built::by(&mut cargo()?)?;
    let of = |package: &str, name: &str| built::find(&programs, package, name).map(command);
    let mut findings = Vec::new();
    if part != Part::Torture {
        let mut suite = of("safer-ring-conformance", "safer-ring-conformance")?;
        suite.args(suite_arguments(part)).arg("--dir").arg(directory()?);
        // Futures are forgotten there, and rings that leak what the kernel may still use.
        suite.env("ASAN_OPTIONS", format!("{OPTIONS}:detect_leaks=0"));
        findings.extend(workspace::run(&mut suite).err().map(|e| format!("conformance: {e}")));
        let mut worlds = of("xtask-sim", "xtask-sim")?;
        worlds.args(["--seeds", if part == Part::Full { MANY_SEEDS } else { SEEDS }]);
        // Rings are dropped there with work in flight, and leak what a kernel may still use.
        worlds.env("ASAN_OPTIONS", format!("{OPTIONS}:detect_leaks=0"));
        findings.extend(workspace::run(&mut worlds).err().map(|e| format!("sim: {e}")));
    }
    let mut tortured = of("safer-ring-cli", "safer-ring")?;
    findings.extend(torture::end(tortured.args(["torture", "--seconds", SECONDS])).err());
    if findings.is_empty() { Ok(()) } else { Err(format!("asan: {}", findings.join("; "))) }
}

fn suite_arguments(part: Part) -> Vec<&'static str> {
    let chosen = if part == Part::Full { &[] } else { ENVIRONMENTS };
    chosen.iter().flat_map(|name| ["--env", *name]).collect()
}

/// Memory that a reused stack frame hides would be missed without it.
const OPTIONS: &str = "detect_stack_use_after_return=1";

fn command(program: &Built) -> Command {
    let mut command = program.command();
    command.env("ASAN_OPTIONS", OPTIONS).current_dir(workspace::root());
    command
}

/// Where the suite has its files: on a disk, or there would be no direct I/O.
fn directory() -> Outcome<std::path::PathBuf> {
    let directory = workspace::target_directory()?.join("conformance");
    std::fs::create_dir_all(&directory)
        .map_err(|e| format!("asan: {}: {e}", directory.display()))?;
    Ok(directory)
}

fn cargo() -> Outcome<Command> {
    let mut cargo = workspace::cargo();
    // With a target named, build scripts and macros are not instrumented.
    cargo.args(BUILD.split_whitespace()).args(["--target", &workspace::host()?, "--target-dir"]);
    cargo.arg(workspace::target_directory()?.join("asan"));
    cargo.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Zsanitizer=address");
    Ok(cargo)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environments_are_those_of_the_suite() {
        let path = workspace::root().join("crates/safer-ring-conformance/tests/environments.rs");
        let text = std::fs::read_to_string(path).unwrap();
        for name in ENVIRONMENTS {
            assert!(text.contains(&format!(" = \"{name}\";")), "{name}");
        }
        assert_eq!(suite_arguments(Part::Short)[..2], ["--env", "uring-local"]);
        assert_eq!(suite_arguments(Part::Full), [""; 0], "all of them");
    }
}
