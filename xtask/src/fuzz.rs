//! `cargo xtask fuzz`: new inputs for the targets, for a time; see the head of the crate safer-ring-fuzz.
//!
//! The stable compiler has all that this needs: LLVM's pass that counts what is reached (`-C passes=sancov-module`), and a
//! loop that is the project's own.

use std::fs;
use std::process::{Child, Command};

use crate::built::{self, Built};
use crate::{Outcome, workspace};

/// A target: a test that calls `safer_ring_fuzz::drive`.
struct Target {
    name: &'static str,
    /// The program with the test: the package and the kind.
    program: (&'static str, &'static str),
    /// The full name of the test.
    test: &'static str,
}

const TARGETS: &[Target] = &[
    Target { name: "table", program: ("safer-ring-core", "lib"), test: "tests::fuzz::table" },
    Target {
        name: "driver",
        program: ("safer-ring-backend", "lib"),
        test: "tests::fuzz::driver_against_a_kernel",
    },
    Target {
        name: "adapters",
        program: ("safer-ring-fuzz", "test"),
        test: "adapters_beside_a_reference",
    },
    Target { name: "builder", program: ("safer-ring-fuzz", "test"), test: "builders_of_any_kind" },
];

/// Programs of all targets at once, so that what is below them is built once.
const BUILD: &str =
    "test --no-run -p safer-ring-core -p safer-ring-backend -p safer-ring-fuzz --lib --test face";

/// Counters of what is reached. A count for each edge, looked at by the crate's own loop.
const COUNTERS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3 \
                        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters";
/// Targets that run at a time.
const ABREAST: usize = 2;

/// What a run is asked to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan<'a> {
    /// One target, or all.
    target: Option<&'a str>,
    seconds: u32,
    seed: u64,
    keep: bool,
}

/// Runs one target or all of them.
///
/// # Errors
/// An input fails, or the options are wrong.
pub(crate) fn command(options: &[&str]) -> Outcome {
    run(&plan(options)?)
}

fn plan<'a>(options: &[&'a str]) -> Outcome<Plan<'a>> {
    let mut plan = Plan { target: None, seconds: 60, seed: 1, keep: false };
    let mut options = options.iter().copied();
    while let Some(option) = options.next() {
        let mut number = || {
            let text = options.next().unwrap_or_default();
            text.parse::<u64>().map_err(|_| format!("fuzz: {option} takes a number"))
        };
        match option {
            "--seconds" => plan.seconds = number()?.try_into().unwrap_or(u32::MAX),
            "--seed" => plan.seed = number()?,
            "--keep" => plan.keep = true,
            name if TARGETS.iter().any(|target| target.name == name) => plan.target = Some(name),
            other => {
                let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
                return Err(format!(
                    "fuzz: neither option nor target: {other} ({})",
                    names.join(", ")
                ));
            }
        }
    }
    Ok(plan)
}

fn run(plan: &Plan<'_>) -> Outcome {
    let chosen: Vec<&Target> = TARGETS
        .iter()
        .filter(|target| plan.target.is_none_or(|name| name == target.name))
        .collect();
    let programs = built::by(&mut cargo()?)?;
    let mut failed = Vec::new();
    for together in chosen.chunks(ABREAST) {
        let mut running = Vec::new();
        for target in together {
            running.push((target.name, start(target, plan, &programs)?));
        }
        for (name, mut child) in running {
            let status = child.wait().map_err(|e| format!("fuzz: {name}: {e}"))?;
            if !status.success() {
                failed.push(name);
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("fuzz: {} failed", failed.join(", "))) }
}

fn start(target: &Target, plan: &Plan<'_>, programs: &[Built]) -> Outcome<Child> {
    let found = workspace::target_directory()?.join("fuzz-found");
    fs::create_dir_all(&found).map_err(|e| format!("cannot make {}: {e}", found.display()))?;
    let program = programs
        .iter()
        .find(|program| (program.package.as_str(), program.kind.as_str()) == target.program)
        .ok_or_else(|| format!("fuzz: cargo names no program of {}", target.name))?;
    let mut command = program.command();
    command.args(["--exact", target.test, "--nocapture"]);
    command.env("SAFER_RING_FUZZ_SECONDS", plan.seconds.to_string());
    command.env("SAFER_RING_FUZZ_SEED", plan.seed.to_string());
    command.env("SAFER_RING_FUZZ_DIRECTORY", found);
    if plan.keep {
        command.env("SAFER_RING_FUZZ_KEEP", "1");
    }
    command.spawn().map_err(|e| format!("fuzz: cannot run {command:?}: {e}"))
}

/// cargo, with counters. Named a target, it compiles build scripts and macros without them.
fn cargo() -> Outcome<Command> {
    let mut command = workspace::cargo();
    command.args(BUILD.split_whitespace());
    command.args(["--target", &workspace::host()?, "--target-dir"]);
    command.arg(workspace::target_directory()?.join("fuzz"));
    // What is not ours does little of the work.
    command.args(["--config", "profile.dev.package.\"*\".opt-level=0"]);
    command.env("RUSTFLAGS", COUNTERS).env("CARGO_PROFILE_DEV_OPT_LEVEL", "1");
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_a_corpus_and_no_corpus_is_left_over() {
        let directory = workspace::root().join("crates/safer-ring-fuzz/corpus");
        let mut there: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        there.sort();
        let mut names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        names.sort_unstable();
        assert_eq!(there, names);
    }

    #[test]
    fn options_are_read() {
        let minute = Plan { target: None, seconds: 60, seed: 1, keep: false };
        assert_eq!(plan(&[]), Ok(minute));
        let one = Plan { target: Some("table"), seconds: 5, seed: 9, keep: true };
        assert_eq!(plan(&["table", "--seed", "9", "--seconds", "5", "--keep"]), Ok(one));
        assert!(plan(&["--seconds", "long"]).is_err());
        assert!(plan(&["tabel"]).is_err());
    }
}
