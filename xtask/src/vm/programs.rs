//! What runs in a guest: one table. A new program is a line in [`PROGRAMS`]; a test of the face crate that cannot run there
//! is a line in `ELSEWHERE`, with its reason.

use std::collections::BTreeSet;
use std::time::Duration;

use super::build::Target;

/// The variable that chooses the backend of every ring.
const BACKEND: &str = "SAFER_RING_BACKEND=fallback";

/// A program, and how it is run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Program {
    pub(super) target: Target,
    /// What it is given, before the words of the command line.
    arguments: &'static [&'static str],
    /// Settings of its environment.
    settings: &'static [&'static str],
    /// Whether it runs on the fallback too.
    both: bool,
    /// Whether it is among the few that continuous integration runs.
    pub(super) quick: bool,
    /// The exit code, other than 0, that says that it cannot run on this kernel.
    pub(super) unavailable: Option<i32>,
    /// Statements that it has to find contradicted, each with its kernel.
    contradicted: &'static [(&'static str, &'static str)],
}

/// One line of the list in a guest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) program: Program,
    /// On the fallback, or on what the library chooses.
    pub(super) fallback: bool,
}

/// Tests of the face crate.
const fn face(name: &'static str) -> Program {
    test("safer-ring", name, true)
}

const fn test(package: &'static str, name: &'static str, both: bool) -> Program {
    let target = Target::Test(package, name);
    Program {
        target,
        arguments: &[],
        settings: &[],
        both,
        quick: false,
        unavailable: None,
        contradicted: &[],
    }
}

/// Unit tests of a library.
const fn unit(package: &'static str, library: &'static str) -> Program {
    Program { target: Target::Unit(package, library), ..test(package, library, false) }
}

/// A program with arguments, which says by its exit code how it went.
const fn program(
    package: &'static str,
    name: &'static str,
    arguments: &'static [&'static str],
) -> Program {
    Program { target: Target::Program(package, name), arguments, ..test(package, name, true) }
}

/// Every program, in the order in which they run.
pub(super) const PROGRAMS: &[Program] = &[
    test("safer-ring-sys", "kernels", false).in_short(),
    test("safer-ring-sys", "queues", false),
    test("safer-ring-sys", "register", false).in_short(),
    test("safer-ring-sys", "ring", false).in_short(),
    test("safer-ring-sys", "process", false),
    test("safer-ring-sys", "sockopt", false),
    test("safer-ring-sys", "aio", false),
    unit("safer-ring-backend", "safer_ring_backend"),
    face("detect").in_short(),
    // The machine is the test's own: it may turn the switch of the system.
    face("detect_switch").with(&["SAFER_RING_TEST_SWITCH=1"]).in_short(),
    face("fallback"),
    face("builder"),
    face("files").in_short(),
    face("paths"),
    face("pipes"),
    face("pipe_types"),
    face("tcp"),
    face("udp"),
    face("unix"),
    face("vectored"),
    face("special").in_short(),
    face("cursor"),
    // Many thousands of timers take minutes on an emulated processor.
    face("cancel")
        .but(&["--skip", "ten_thousand_operations", "--skip", "a_hundred_thousand_timers"])
        .in_short(),
    face("drops"),
    face("drop_transfers"),
    face("adoption"),
    face("adoption_sends"),
    face("teardown"),
    face("closing"),
    face("process"),
    face("executors"),
    face("listener"),
    face("listener_smol"),
    face("idle"),
    face("allocations"),
    face("tracing"),
    face("fs_files"),
    face("fs_dirs"),
    face("fs_paths"),
    face("fs_transfers"),
    face("net_tcp"),
    face("net_udp"),
    face("net_unix"),
    face("net_transfer"),
    face("net_sigpipe"),
    face("io_aborts"),
    face("io_allocations"),
    face("io_ends"),
    face("io_files"),
    face("io_futures"),
    face("io_hyper"),
    face("io_streams"),
    face("aio"),
    face("aio_ends"),
    face("contract"),
    // It asks the ring that the library chooses.
    face("sim_differential").once(),
    face("runtime_end"),
    face("runtime_io"),
    face("runtime_os"),
    face("runtime_place"),
    face("runtime_tasks"),
    face("runtime_time"),
    // Both kinds of ring. Nothing is too slow on an emulated processor before a minute.
    program("safer-ring-cli", "safer-ring", &["torture", "--seconds", "4", "--patience", "60"])
        .unavailable(3)
        .in_short(),
    // What differs with the kernel is in the setup and in the calls, not in the fallback.
    program("safer-ring-conformance", "safer-ring-conformance", CONFORMANCE).once(),
    program("safer-ring-cli", "safer-ring", &["spec", "check", "all", "--dir", "/tmp"])
        .with(&["NO_COLOR=1"])
        .contradicts(CONTRADICTED)
        .once(),
];

/// What old kernels do otherwise than the specifications say, which are of 6.18 and later: docs/SPEC.md has the reasons.
const CONTRADICTED: &[(&str, &str)] = &[
    ("5.10", "io_submit/EAGAIN/nowait-pipe"),
    ("5.10", "io_uring_enter/EAGAIN/nowait"),
    // Pipes and sockets of 6.1 and older have no way not to wait: EOPNOTSUPP.
    ("6.1", "io_submit/EAGAIN/nowait-pipe"),
    ("6.1", "io_uring_enter/EAGAIN/nowait"),
];

/// Three environments of the suite: the best rings of the kernel, and the fallback beside them.
const CONFORMANCE: &[&str] =
    &["--dir", "/tmp", "--env", "uring-local", "--env", "uring-shared", "--env", "fallback-shared"];

/// Tests of the face crate that are not in [`PROGRAMS`], and why.
#[cfg(test)]
const ELSEWHERE: &[(&str, &str)] = &[
    ("examples", "it runs the examples, which it looks for in cargo's directories"),
    ("http_examples", "it runs the examples, which it looks for in cargo's directories"),
    ("sim", "its kernel is a simulated one"),
    ("sim_crash", "its kernel is a simulated one"),
    ("sim_net", "its kernel is a simulated one"),
];

impl Program {
    /// Among those that continuous integration runs.
    const fn in_short(mut self) -> Self {
        self.quick = true;
        self
    }

    /// With words for the test harness that leave something out.
    const fn but(mut self, words: &'static [&'static str]) -> Self {
        self.arguments = words;
        self
    }

    const fn with(mut self, settings: &'static [&'static str]) -> Self {
        self.settings = settings;
        self
    }

    /// Not on the fallback a second time.
    const fn once(mut self) -> Self {
        self.both = false;
        self
    }

    const fn unavailable(mut self, code: i32) -> Self {
        self.unavailable = Some(code);
        self
    }

    const fn contradicts(mut self, statements: &'static [(&'static str, &'static str)]) -> Self {
        self.contradicted = statements;
        self
    }

    /// Whether it has found what it has to find on this kernel, if that makes it fail: these statements contradicted, and no
    /// others.
    pub(super) fn has_found(&self, kernel: &str, said: &[String]) -> bool {
        let known = self.contradicted.iter().filter(|(name, _)| *name == kernel);
        let known: BTreeSet<&str> = known.map(|(_, statement)| *statement).collect();
        let found = said.iter().filter_map(|line| line.strip_suffix(": contradicted"));
        !known.is_empty() && known == found.collect()
    }

    /// Whether its output is that of the test harness.
    pub(super) fn is_tests(&self) -> bool {
        !matches!(self.target, Target::Program(..))
    }

    /// What it is called in the guest and in the table.
    pub(super) fn name(&self) -> String {
        let name = self.target.name();
        match self.target {
            Target::Test("safer-ring", _) => name.to_owned(),
            Target::Test(package, _) => {
                format!("{}/{name}", package.trim_start_matches("safer-ring-"))
            }
            Target::Unit(package, _) => {
                format!("{}/unit", package.trim_start_matches("safer-ring-"))
            }
            Target::Program(..) => {
                // A subcommand, if it has any.
                let first = self.arguments.first().filter(|word| !word.starts_with('-'));
                first.map_or_else(|| name.to_owned(), |first| format!("{name} {first}"))
            }
        }
    }

    /// What its file is called in the guest.
    pub(super) fn file(&self) -> String {
        format!("{}.{}", self.target.package(), self.target.name())
    }

    /// The lines of the list for it.
    pub(super) fn runs(self) -> impl Iterator<Item = Run> {
        let kinds = if self.both { &[false, true][..] } else { &[false] };
        kinds.iter().map(move |&fallback| Run { program: self, fallback })
    }
}

impl Run {
    /// Longer than it takes on a busy machine.
    pub(super) fn limit(self) -> Duration {
        Duration::from_secs(240)
    }

    pub(super) fn settings(self) -> Vec<&'static str> {
        let backend = self.fallback.then_some(BACKEND);
        self.program.settings.iter().copied().chain(backend).collect()
    }

    /// Its arguments, with the words that choose among tests.
    pub(super) fn arguments<'a>(self, words: &[&'a str]) -> Vec<&'a str> {
        let own = self.program.arguments;
        if self.program.is_tests() {
            // What a test that passed has skipped is in its output.
            [own, &["--show-output"], words].concat()
        } else {
            own.to_vec()
        }
    }

    /// Its row in the table.
    pub(super) fn title(self) -> String {
        let name = self.program.name();
        if self.fallback { format!("{name}, fallback") } else { name }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    #[test]
    fn every_test_of_the_face_crate_runs_in_a_guest_or_there_is_a_reason() {
        let here = |name: &str| {
            PROGRAMS.iter().any(|program| program.target == Target::Test("safer-ring", leak(name)))
        };
        fn leak(name: &str) -> &'static str {
            String::leak(name.to_owned())
        }
        let mut found = BTreeSet::new();
        for path in workspace::files(&workspace::root()).unwrap() {
            let name = path
                .strip_prefix("crates/safer-ring/tests/")
                .and_then(|path| path.strip_suffix(".rs"))
                .filter(|name| !name.contains('/'));
            let Some(name) = name else { continue };
            let reason = ELSEWHERE.iter().any(|(other, why)| *other == name && !why.is_empty());
            assert!(here(name) != reason, "{name} is in one of the two tables");
            found.insert(name.to_owned());
        }
        let gone = |(name, _): &&(&str, &str)| !found.contains(*name);
        assert_eq!(ELSEWHERE.iter().find(gone), None);
    }

    #[test]
    fn no_two_rows_have_the_same_name() {
        let titles: Vec<String> =
            PROGRAMS.iter().flat_map(|program| program.runs()).map(Run::title).collect();
        assert_eq!(titles.iter().collect::<BTreeSet<_>>().len(), titles.len());
    }

    #[test]
    fn a_check_fails_unless_it_finds_what_the_kernel_is_known_for() {
        let check = PROGRAMS.iter().find(|program| program.name() == "safer-ring spec").unwrap();
        let said = |lines: &[&str]| lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>();
        let two = ["io_submit/EAGAIN/nowait-pipe", "io_uring_enter/EAGAIN/nowait"];
        let mut lines: Vec<String> = two.map(|id| format!("{id}: contradicted")).into();
        lines.push("io_submit/buffer-is-lent: not testable here".to_owned());
        assert!(check.has_found("6.1", &lines));
        assert!(!check.has_found("7.3", &lines), "it is known for nothing");
        assert!(!check.has_found("6.1", &lines[1..]), "one of them holds");
        lines.push("io_setup/EINVAL/zero: contradicted".to_owned());
        assert!(!check.has_found("6.1", &lines));
        assert!(!check.has_found("6.1", &said(&["it could not be done"])));
        let other = PROGRAMS.iter().find(|program| program.name() == "drops").unwrap();
        assert!(!other.has_found("6.1", &[]));
    }

    #[test]
    fn tests_take_a_filter_and_programs_do_not() {
        let of = |name: &str| {
            let program = PROGRAMS.iter().find(|program| program.name() == name).unwrap();
            program.runs().last().unwrap()
        };
        assert_eq!(of("drops").arguments(&["x"]), ["--show-output", "x"]);
        assert_eq!(of("drops").settings(), [BACKEND]);
        assert_eq!(of("sys/kernels").settings(), [""; 0]);
        assert_eq!(of("safer-ring torture").arguments(&["x"])[0], "torture");
        assert!(!of("safer-ring torture").arguments(&["x"]).contains(&"x"));
    }
}
