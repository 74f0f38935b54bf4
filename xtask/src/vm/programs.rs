//! What runs in a guest: one table. A new program is a line in [`PROGRAMS`]; a test of the face crate that cannot run there
//! is a line in `ELSEWHERE`, with its reason.

use std::time::Duration;

use super::build::Target;

/// The variable that chooses the backend of every ring.
const BACKEND: &str = "SAFER_RING_BACKEND=fallback";

/// What the output of a program is, and says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// That of the test harness.
    Tests,
    /// That of the conformance suite, in the environment of this name.
    Suite(&'static str),
    /// The report of `safer-ring spec check`, as JSON.
    Check,
    /// Any: how it went is in the exit code.
    Other,
}

/// A program, and how it is run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Program {
    pub(super) target: Target,
    pub(super) kind: Kind,
    /// What it is given, before the words of the command line.
    arguments: &'static [&'static str],
    /// Settings of its environment.
    settings: &'static [&'static str],
    /// Whether it runs on the fallback too.
    both: bool,
    /// Whether its tests start programs of the system.
    pub(super) starts_others: bool,
    /// Whether it is among the few that continuous integration runs.
    pub(super) quick: bool,
    /// The exit code, other than 0, that says that it cannot run on this kernel.
    pub(super) unavailable: Option<i32>,
    /// Kernels that cannot give the environment of the suite. All others must.
    pub(super) lacking: &'static [&'static str],
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
    Program {
        target: Target::Test(package, name),
        kind: Kind::Tests,
        arguments: &[],
        settings: &[],
        both,
        starts_others: false,
        quick: false,
        unavailable: None,
        lacking: &[],
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
    let target = Target::Program(package, name);
    Program { target, kind: Kind::Other, arguments, ..test(package, name, true) }
}

/// The conformance suite in one environment. What differs with the kernel is in the setup and in the calls: each
/// environment chooses its backend itself.
const fn suite(environment: &'static str) -> Program {
    let program = program("safer-ring-conformance", "safer-ring-conformance", CONFORMANCE);
    Program { kind: Kind::Suite(environment), both: false, unavailable: Some(3), ..program }
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
    // What is found out about io_uring is not of another backend.
    face("detect").once().in_short(),
    // The machine is the test's own: it may turn the switch of the system.
    face("detect_switch").with(&["SAFER_RING_TEST_SWITCH=1"]).once().in_short(),
    face("fallback"),
    face("builder"),
    face("files").in_short(),
    face("paths"),
    face("pipes"),
    face("pipe_types").starts_others(),
    face("tcp"),
    face("udp"),
    face("unix"),
    face("vectored"),
    face("registered"),
    // Rings of the kernel, by themselves.
    face("registered_files").once(),
    face("special").in_short(),
    // Completions of 32 bytes are io_uring's alone.
    face("wide").once().in_short(),
    face("cursor"),
    face("flags"),
    face("panics"),
    // Many thousands of timers take minutes on an emulated processor.
    face("cancel")
        .but(&["--skip", "ten_thousand_operations", "--skip", "a_hundred_thousand_timers"])
        .in_short(),
    face("drops"),
    face("drop_transfers"),
    face("crowd"),
    face("adoption"),
    face("adoption_sends"),
    face("teardown"),
    face("closing"),
    face("answers"),
    face("giving_up"),
    face("errors"),
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
    face("multishot"),
    face("told").once(),
    face("plain_calls").once(),
    face("fairness").once(),
    face("aio"),
    face("aio_ends"),
    face("contract"),
    // It asks the ring that the library chooses.
    face("sim_differential").once(),
    face("runtime_end"),
    face("runtime_io"),
    face("runtime_os").starts_others(),
    face("runtime_place"),
    face("runtime_tasks"),
    face("runtime_time"),
    // Both kinds of ring. Nothing is too slow on an emulated processor before a minute.
    program("safer-ring-cli", "safer-ring", &["torture", "--seconds", "4", "--patience", "60"])
        .unavailable(3)
        .in_short(),
    suite("uring-local").in_short(),
    suite("uring-local-defer").lacking(&["5.10"]),
    suite("uring-local-coop").lacking(&["5.10"]),
    suite("uring-local-bare"),
    suite("uring-local-sqarray"),
    suite("uring-local-sqpoll"),
    suite("uring-local-wide").lacking(&["5.10"]),
    suite("uring-local-tiny"),
    suite("uring-local-restricted"),
    suite("uring-local-plain"),
    suite("uring-shared").in_short(),
    suite("uring-shared-coop").lacking(&["5.10"]),
    suite("uring-shared-no-sqarray").lacking(&["5.10", "6.1"]),
    suite("uring-shared-bare"),
    suite("uring-shared-sqarray"),
    suite("uring-shared-sqpoll"),
    suite("uring-shared-wide").lacking(&["5.10"]),
    suite("uring-shared-tiny"),
    suite("uring-shared-restricted"),
    suite("uring-shared-plain"),
    suite("fallback-local"),
    suite("fallback-local-tiny"),
    suite("fallback-local-no-aio"),
    suite("fallback-local-no-nowait"),
    suite("fallback-local-threads"),
    suite("fallback-shared").in_short(),
    suite("fallback-shared-tiny"),
    suite("fallback-shared-threads"),
    program("safer-ring-cli", "safer-ring", &["spec", "check", "all", "--json", "--dir", "/tmp"])
        .with(&["NO_COLOR=1"])
        .of_kind(Kind::Check)
        .once()
        .in_short(),
];

/// What the suite is given in every environment. What it skips, it says.
const CONFORMANCE: &[&str] = &["--dir", "/tmp", "--verbose", "--env"];

/// Since 6.6 tmpfs, which is all that a guest has, takes direct I/O; and it aligns it itself.
const NO_DIRECT_IO: &[&str] = &["5.10", "6.1"];
const EVERYWHERE: &[&str] = &["5.10", "6.1", "6.12", "7.3"];

/// Scenarios that find out themselves that they cannot be shown, each with the kernels: on any other they must be shown.
pub(super) const NOT_SHOWN: &[(&str, &[&str])] = &[
    ("direct_reads_and_writes", NO_DIRECT_IO),
    ("a_direct_read_near_the_end", NO_DIRECT_IO),
    ("a_direct_read_that_is_not_aligned", EVERYWHERE),
    ("a_direct_write_that_extends", NO_DIRECT_IO),
    ("a_dropped_direct_read_releases_its_buffer_after_its_end", NO_DIRECT_IO),
    ("a_dropped_ring_keeps_direct_reads_alive", NO_DIRECT_IO),
    ("direct_reads_are_counted_where_aio_does_them", NO_DIRECT_IO),
];

/// Tests of the face crate that are not in [`PROGRAMS`], and why.
#[cfg(test)]
const ELSEWHERE: &[(&str, &str)] = &[
    ("examples", "it runs the examples, which it looks for in cargo's directories"),
    ("http_examples", "it runs the examples, which it looks for in cargo's directories"),
    ("sim", "its kernel is a simulated one"),
    ("sim_chains", "its kernel is a simulated one"),
    ("sim_crash", "its kernel is a simulated one"),
    ("sim_faults", "its kernel is a simulated one"),
    ("sim_multishot", "its kernel is a simulated one"),
    ("sim_net", "its kernel is a simulated one"),
    ("sim_registered", "its kernel is a simulated one"),
    ("sim_types", "its kernel is a simulated one"),
];

impl Program {
    /// Among those that continuous integration runs.
    const fn in_short(mut self) -> Self {
        self.quick = true;
        self
    }

    const fn starts_others(mut self) -> Self {
        self.starts_others = true;
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
    pub(super) const fn once(mut self) -> Self {
        self.both = false;
        self
    }

    const fn unavailable(mut self, code: i32) -> Self {
        self.unavailable = Some(code);
        self
    }

    const fn lacking(mut self, kernels: &'static [&'static str]) -> Self {
        self.lacking = kernels;
        self
    }

    const fn of_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Whether words can choose among what it runs.
    pub(super) fn takes_words(&self) -> bool {
        matches!(self.kind, Kind::Tests | Kind::Suite(_))
    }

    /// Whether it is meant by a name of the command line: its own, or the first word of it.
    pub(super) fn is_named(&self, word: &str) -> bool {
        let name = self.name();
        name.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    }

    /// What it is called in the guest and in the table.
    pub(super) fn name(&self) -> String {
        let name = self.target.name();
        if let Kind::Suite(environment) = self.kind {
            return format!("conformance {environment}");
        }
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
    /// After that it is ended: longer than any takes on a busy machine.
    pub(super) fn limit(self) -> Duration {
        Duration::from_secs(240)
    }

    /// What most take less than, on a busy machine. The suite and the check took up to 145 s beside three times as much
    /// other work as there are processors.
    pub(super) fn usual(self) -> Duration {
        match self.program.kind {
            Kind::Tests | Kind::Other => Duration::from_secs(20),
            Kind::Suite(_) | Kind::Check => Duration::from_secs(150),
        }
    }

    pub(super) fn settings(self) -> Vec<&'static str> {
        let backend = self.fallback.then_some(BACKEND);
        self.program.settings.iter().copied().chain(backend).collect()
    }

    /// Its arguments, with the words that choose among tests.
    pub(super) fn arguments<'a>(self, words: &[&'a str]) -> Vec<&'a str> {
        let own = self.program.arguments;
        match self.program.kind {
            // What a test that passed has skipped is in its output.
            Kind::Tests => [own, &["--show-output"], words].concat(),
            Kind::Suite(environment) => {
                let only = words.first().map_or(Vec::new(), |word| vec!["--only", *word]);
                [own, &[environment], &only].concat()
            }
            Kind::Check | Kind::Other => own.to_vec(),
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
    use std::collections::BTreeSet;

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
    fn every_environment_of_the_machine_has_a_row() {
        let path = workspace::root().join("crates/safer-ring-conformance/tests/environments.rs");
        let text = std::fs::read_to_string(path).unwrap();
        let rows = text.lines().filter_map(|line| line.strip_suffix("\";")?.split_once(" = \""));
        let there: Vec<&str> = rows.map(|(_, name)| name).collect();
        let here: Vec<&str> = PROGRAMS
            .iter()
            .filter_map(|program| match program.kind {
                Kind::Suite(name) => Some(name),
                _ => None,
            })
            .collect();
        // Like `sim` of `ELSEWHERE`: a simulated kernel is the same on every one.
        let of_machine = there.iter().filter(|name| !name.starts_with("sim-"));
        assert!(there.len() > 20);
        assert_eq!(here, of_machine.copied().collect::<Vec<_>>());
    }

    #[test]
    fn a_name_is_whole_or_its_first_word() {
        let named = |word: &str| PROGRAMS.iter().filter(|program| program.is_named(word)).count();
        assert_eq!((named("drops"), named("drop"), named("conformance uring-local")), (1, 0, 1));
        assert!(named("conformance") > 20 && named("conform") == 0);
    }

    #[test]
    fn tests_and_the_suite_take_a_filter_and_programs_do_not() {
        let of = |name: &str| {
            let program = PROGRAMS.iter().find(|program| program.name() == name).unwrap();
            program.runs().last().unwrap()
        };
        assert_eq!(of("drops").arguments(&["x"]), ["--show-output", "x"]);
        assert_eq!(of("drops").settings(), [BACKEND]);
        assert_eq!(of("sys/kernels").settings(), [""; 0]);
        assert_eq!(of("safer-ring torture").arguments(&["x"])[0], "torture");
        assert!(!of("safer-ring torture").arguments(&["x"]).contains(&"x"));
        let suite = of("conformance uring-local");
        assert_eq!(suite.arguments(&[]).last(), Some(&"uring-local"));
        assert_eq!(suite.arguments(&["x"])[4..], ["uring-local", "--only", "x"]);
    }
}
