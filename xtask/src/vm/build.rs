//! The programs of a guest: built without shared libraries, or those of `cargo test --workspace` with theirs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::built::{self, Built};
use crate::workspace::output_of;
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

/// The first process of a guest.
pub(super) const INIT: Target = Target::Program("xtask-guest", "xtask-guest");

impl Target {
    /// Whether it is this program.
    fn is(self, program: &Built) -> bool {
        program.name == self.name()
            && program.package == self.package()
            && program.test != matches!(self, Target::Program(..))
    }

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

/// Programs for a guest.
#[derive(Debug)]
pub(super) struct Programs {
    found: Vec<Built>,
    /// Cargo's temporary directory for tests, which is compiled into them.
    pub(super) temporary: PathBuf,
    /// Shared libraries that they need, the loader among them.
    pub(super) libraries: BTreeSet<PathBuf>,
}

impl Programs {
    /// Those of `cargo test --workspace`, or a build of their own; see the two below.
    pub(super) fn of(
        tested: bool,
        targets: &[Target],
        every: &[Target],
        directory: &Path,
    ) -> Outcome<Programs> {
        if tested {
            Self::tested(targets, directory)
        } else {
            Self::alone(targets, every, directory)
        }
    }

    /// The first process, and programs of many packages with all features, in as few runs of cargo as there are ways to
    /// build. `every`: all that there are. Their packages are named whichever are wanted, since they decide the features of
    /// what all depend on: else a different choice would build everything anew.
    fn alone(targets: &[Target], every: &[Target], directory: &Path) -> Outcome<Programs> {
        let mut found = Vec::new();
        for arguments in runs(targets, every) {
            found.extend(built::programs(&cargo(arguments, directory)?));
        }
        let init = ["build", "-p", INIT.package()].map(str::to_owned).to_vec();
        found.extend(built::programs(&cargo(init, directory)?));
        let temporary = directory.join("build").join(TARGET).join("tmp");
        Ok(Programs { found, temporary, libraries: BTreeSet::new() })
    }

    /// The same of what `cargo test --workspace` builds, for those who have built that: without their symbols, in
    /// `directory`.
    fn tested(targets: &[Target], directory: &Path) -> Outcome<Programs> {
        let temporary = workspace::target_directory()?.join("tmp");
        let mut all = Programs { found: built::tested()?, temporary, libraries: BTreeSet::new() };
        let stripped = directory.join("tested");
        let made = std::fs::create_dir_all(&stripped);
        made.map_err(|e| format!("cannot make {}: {e}", stripped.display()))?;
        let wanted: BTreeSet<Target> = targets.iter().copied().chain([INIT]).collect();
        for target in wanted {
            let small = stripped.join(format!("{}.{}", target.package(), target.name()));
            let program = all.find_mut(target)?;
            let mut strip = Command::new("strip");
            output_of(strip.arg("-o").arg(&small).arg(&program.program))?;
            let told = output_of(Command::new("ldd").arg(&program.program))?;
            program.program = small;
            all.libraries.extend(libraries(&told));
        }
        Ok(all)
    }

    /// Where a program is.
    pub(super) fn path(&self, target: Target) -> Outcome<&Path> {
        let found = self.found.iter().find(|program| target.is(program));
        found
            .map(|program| program.program.as_path())
            .ok_or_else(|| format!("cargo names no program {}", target.name()))
    }

    fn find_mut(&mut self, target: Target) -> Outcome<&mut Built> {
        let found = self.found.iter_mut().find(|program| target.is(program));
        found.ok_or_else(|| format!("cargo names no program {}", target.name()))
    }
}

/// The paths in what ldd(1) says.
fn libraries(told: &str) -> impl Iterator<Item = PathBuf> {
    told.lines().filter_map(|line| {
        let words = line.split_whitespace();
        words.filter(|word| word.starts_with('/')).map(PathBuf::from).next()
    })
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
        let (temporary, libraries) = (PathBuf::new(), BTreeSet::new());
        let programs = Programs { found: built::programs(MESSAGES), temporary, libraries };
        let found = |target| programs.path(target).ok();
        assert_eq!(found(Target::Test("xtask-guest", "numa")), Some(Path::new("/t/numa-1")));
        assert_eq!(found(Target::Test("other", "numa")), None);
        assert_eq!(found(Target::Program("cli", "ring")), Some(Path::new("/t/ring")));
        assert_eq!(found(Target::Unit("cli", "ring")), Some(Path::new("/t/ring-test")));
        assert_eq!(found(Target::Test("cli", "none")), None);
    }

    #[test]
    fn shared_libraries_are_found_in_what_ldd_says() {
        let told = "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x00007f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let found: Vec<PathBuf> = libraries(told).collect();
        assert_eq!(found, ["/lib/x/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from));
        assert_eq!(libraries("\tstatically linked\n").count(), 0);
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
