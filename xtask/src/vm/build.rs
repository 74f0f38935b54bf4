//! Programs without shared libraries: a guest has none.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::built::{self, Built};
use crate::{Outcome, workspace};

/// Named, so that build scripts and macros are built as usual.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// No debug information and no symbols: all programs are in the guest's memory, twice while it boots.
const SETTINGS: [(&str, &str); 3] = [
    ("RUSTFLAGS", "-C target-feature=+crt-static"),
    ("CARGO_PROFILE_DEV_DEBUG", "none"),
    ("CARGO_PROFILE_DEV_STRIP", "symbols"),
];

/// A program that cargo makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// A program of a package: package and name.
    Program(&'static str, &'static str),
    /// The test program `tests/name.rs` of a package: package and name.
    Test(&'static str, &'static str),
    /// The unit tests of a library, with the names of the package and of the library.
    Unit(&'static str, &'static str),
}

impl Target {
    pub(super) fn package(self) -> &'static str {
        match self {
            Self::Program(package, _) | Self::Test(package, _) | Self::Unit(package, _) => package,
        }
    }

    /// Its name in cargo's messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Program(_, name) | Self::Test(_, name) | Self::Unit(_, name) => name,
        }
    }
}

/// The program of a package, with its default features.
pub(super) fn program(package: &'static str, directory: &Path) -> Outcome<PathBuf> {
    one(&["build", "-p", package], Target::Program(package, package), directory)
}

/// A test program of a package, with its default features.
pub(super) fn test(
    package: &'static str,
    name: &'static str,
    directory: &Path,
) -> Outcome<PathBuf> {
    let arguments = ["test", "--no-run", "-p", package, "--test", name];
    one(&arguments, Target::Test(package, name), directory)
}

fn one(arguments: &[&str], target: Target, directory: &Path) -> Outcome<PathBuf> {
    let arguments = arguments.iter().map(|&word| word.to_owned()).collect();
    executable(&cargo(arguments, directory)?, target)
        .ok_or_else(|| format!("cargo names no program {}", target.name()))
}

/// Programs of many packages with all features, in as few runs of cargo as there are ways to build. `every`: all that there
/// are. Their packages are named whichever are wanted, since they decide the features of what all depend on: else a
/// different choice would build everything anew.
pub(super) fn all(targets: &[Target], every: &[Target], directory: &Path) -> Outcome<Vec<PathBuf>> {
    let mut messages = String::new();
    for arguments in runs(targets, every) {
        messages.push_str(&cargo(arguments, directory)?);
    }
    let path = |target: &Target| {
        executable(&messages, *target)
            .ok_or_else(|| format!("cargo names no program {}", target.name()))
    };
    targets.iter().map(path).collect()
}

/// The arguments of each run. `cargo build` makes programs and the tests under `tests/` at once, so that what both need is
/// built once; unit tests are a run of their own, since in it libraries are built as tests.
fn runs(targets: &[Target], every: &[Target]) -> Vec<Vec<String>> {
    let is_unit = |target: &&Target| matches!(target, Target::Unit(..));
    let (units, others): (BTreeSet<Target>, BTreeSet<Target>) = targets.iter().partition(is_unit);
    let run = |begin: &[&str], targets: BTreeSet<Target>| {
        let mut arguments: Vec<String> = begin.iter().map(|&word| word.to_owned()).collect();
        let unit = targets.iter().any(|target| is_unit(&target));
        let kind = every.iter().filter(|target| is_unit(target) == unit);
        let packages: BTreeSet<&str> = kind.map(|target| target.package()).collect();
        arguments.extend(packages.into_iter().flat_map(|name| ["-p".to_owned(), name.to_owned()]));
        for target in targets {
            match target {
                Target::Program(_, name) => arguments.extend(["--bin".to_owned(), name.to_owned()]),
                Target::Test(_, name) => arguments.extend(["--test".to_owned(), name.to_owned()]),
                Target::Unit(..) => {}
            }
        }
        arguments
    };
    let mut all = Vec::new();
    if !others.is_empty() {
        all.push(run(&["build", "--all-features"], others));
    }
    if !units.is_empty() {
        all.push(run(&["test", "--no-run", "--all-features", "--lib"], units));
    }
    all
}

/// Runs cargo; its messages.
fn cargo(arguments: Vec<String>, directory: &Path) -> Outcome<String> {
    let mut command = workspace::cargo();
    command.args(arguments);
    command.args(["--target", TARGET, "--target-dir"]).arg(directory.join("build"));
    workspace::build_messages(command.envs(SETTINGS))
}

/// Where cargo's temporary directory for tests is, which is compiled into them.
pub(super) fn temporary(directory: &Path) -> PathBuf {
    directory.join("build").join(TARGET).join("tmp")
}

/// The path of a program in cargo's messages.
fn executable(messages: &str, target: Target) -> Option<PathBuf> {
    let right = |program: &Built| {
        program.name == target.name()
            && program.package == target.package()
            && program.test != matches!(target, Target::Program(..))
    };
    built::programs(messages).into_iter().find(right).map(|found| found.program)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGES: &str = r##"
{"package_id":"path+file:///r/numa#0.1.0","manifest_path":"/M","target":{"kind":[""],"name":"numa"},"profile":{"test":false},"executable":null}
{"package_id":"path+file:///g#xtask-guest@0.1.0","manifest_path":"/M","target":{"kind":[""],"name":"numa"},"profile":{"test":true},"executable":"/t/numa-1"}
{"package_id":"path+file:///r/x/cli#0.1.0","manifest_path":"/M","target":{"kind":[""],"name":"ring"},"profile":{"test":true},"executable":"/t/ring-test"}
{"package_id":"path+file:///r/x/cli#0.1.0","manifest_path":"/M","target":{"kind":[""],"name":"ring"},"profile":{"test":false},"executable":"/t/ring"}
{"reason":"build-finished","success":true}"##;

    #[test]
    fn the_program_is_found_in_the_messages() {
        let found = |target| executable(MESSAGES, target);
        assert_eq!(found(Target::Test("xtask-guest", "numa")), Some(PathBuf::from("/t/numa-1")));
        assert_eq!(found(Target::Test("other", "numa")), None);
        assert_eq!(found(Target::Program("cli", "ring")), Some(PathBuf::from("/t/ring")));
        assert_eq!(found(Target::Unit("cli", "ring")), Some(PathBuf::from("/t/ring-test")));
        assert_eq!(found(Target::Test("cli", "none")), None);
    }

    #[test]
    fn programs_and_tests_are_one_run_of_cargo_and_unit_tests_another() {
        let targets = [
            Target::Unit("backend", "backend"),
            Target::Test("face", "drops"),
            Target::Program("cli", "ring"),
            Target::Test("face", "drops"),
        ];
        let every = [&targets[..], &[Target::Test("sys", "ring")]].concat();
        let lines: Vec<String> = runs(&targets, &every).iter().map(|run| run.join(" ")).collect();
        assert_eq!(
            lines,
            [
                "build --all-features -p cli -p face -p sys --bin ring --test drops",
                "test --no-run --all-features --lib -p backend",
            ]
        );
        assert!(runs(&[], &every).is_empty());
    }
}
