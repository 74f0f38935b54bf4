//! `cargo xtask ci`: every check, with the time of each.
//!
//! Two steps run side by side: many wait or use one processor. Steps that build in the same directory take turns, as
//! cargo would make them, and one that takes the programs of another waits for it; of those that may run, the first of the
//! list does.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::{Outcome, workspace};

/// What differs without the optional features: who hears of completions.
const DEFAULT_FEATURES: &str = "test -p safer-ring --no-fail-fast --test executors --test adoption \
                                --test teardown --test idle --test allocations";

/// The step that builds and runs the tests of the workspace.
const TESTS: &str = "test";

/// Mistakes that are planted in a run; all of them take too long for each.
const MUTANTS: usize = 2;

/// Lines of a failed step that are printed once more.
const TOLD_AGAIN: usize = 80;

/// What is measured, to be looked at; that every scenario runs is one of the tests.
const BENCHES: &str = "nop-qd64,read-4k-cached-qd32,read-4k-direct-qd32,echo-64";

/// Steps that run at the same time.
const AT_ONCE: usize = 2;

/// What a step runs, with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Work {
    Cargo(Vec<String>),
    /// A command of this tool.
    Own(Vec<String>),
}

/// Where a step builds; one step at a time does so in each of the first two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Builds {
    Debug,
    Release,
    /// In a directory that no other step uses, or not at all.
    Apart,
}

/// One step.
#[derive(Debug, Clone)]
struct Step {
    name: String,
    builds: Builds,
    /// The step whose programs it takes.
    after: Option<&'static str>,
    work: Work,
    environment: &'static [(&'static str, &'static str)],
}

/// How a step ended.
struct Ended {
    name: String,
    time: Duration,
    /// What it said of its failure, if it failed.
    failure: Option<String>,
}

/// Runs every step, also after one has failed: one run shows everything that is wrong.
///
/// # Errors
/// Names the steps that failed.
pub(crate) fn run() -> Outcome {
    let target = workspace::target_directory()?;
    let own = own_copy(&target)?;
    let queue = Queue::new(steps(&target.join("bench.json")));
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| worker(&queue, &own));
        }
    });
    let results = queue.results();
    print!("{}", summary(&results, start.elapsed()));
    let mut failed = Vec::new();
    for step in &results {
        if let Some(failure) = &step.failure {
            println!("==> why {} failed\n{failure}", step.name);
            failed.push(step.name.as_str());
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
}

/// A copy of this program: a step of a lane may build it anew while the other lane needs it.
fn own_copy(target: &Path) -> Outcome<PathBuf> {
    let copy = target.join("ci").join("xtask");
    let copied = std::env::current_exe().and_then(|own| {
        std::fs::create_dir_all(target.join("ci"))?;
        std::fs::copy(own, &copy)
    });
    copied.map(|_| copy).map_err(|e| format!("cannot copy this program: {e}"))
}

/// The steps that have not begun, what is built now, and how the others ended.
struct Queue {
    state: Mutex<State>,
    ended: Condvar,
}

struct State {
    waiting: Vec<Step>,
    building: Vec<Builds>,
    results: Vec<Ended>,
}

impl Queue {
    fn new(waiting: Vec<Step>) -> Self {
        let state = State { waiting, building: Vec::new(), results: Vec::new() };
        Self { state: Mutex::new(state), ended: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first step that may run now, if need be after the end of another one; `None` when all have begun.
    fn next(&self) -> Option<Step> {
        let mut state = self.lock();
        loop {
            let State { building, results, .. } = &*state;
            let ended = |name: &str| results.iter().any(|ended| ended.name == name);
            let free = |step: &Step| {
                let alone = step.builds == Builds::Apart || !building.contains(&step.builds);
                alone && step.after.is_none_or(ended)
            };
            if let Some(first) = state.waiting.iter().position(free) {
                let step = state.waiting.remove(first);
                state.building.push(step.builds);
                return Some(step);
            }
            if state.waiting.is_empty() {
                return None;
            }
            state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Prints what a step has printed, as a whole, and lets the next one of its directory begin.
    fn end(&self, step: &Step, time: Duration, result: Outcome<Output>) {
        let mut state = self.lock();
        println!("==> {} ({:.1} s)", step.name, time.as_secs_f64());
        let failure = match result {
            Ok(output) => {
                let printed = String::from_utf8_lossy(&output.stdout);
                let errors = String::from_utf8_lossy(&output.stderr);
                print!("{printed}");
                eprint!("{errors}");
                (!output.status.success())
                    .then(|| format!("{}\n{}", output.status, what_failed(&printed, &errors)))
            }
            Err(message) => Some(message),
        };
        state.results.push(Ended { name: step.name.clone(), time, failure });
        if let Some(place) = state.building.iter().position(|builds| *builds == step.builds) {
            state.building.remove(place);
        }
        drop(state);
        self.ended.notify_all();
    }

    fn results(self) -> Vec<Ended> {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner).results
    }
}

/// Runs steps until none is left.
fn worker(queue: &Queue, own: &Path) {
    while let Some(step) = queue.next() {
        let start = Instant::now();
        let result = perform(&step, own);
        queue.end(&step, start.elapsed(), result);
    }
}

fn cargo(builds: Builds, name: &str, arguments: &str) -> Step {
    let arguments = arguments.split_whitespace().map(str::to_owned).collect();
    let work = Work::Cargo(arguments);
    Step { name: name.to_owned(), builds, after: None, work, environment: &[] }
}

fn own(builds: Builds, arguments: &str) -> Step {
    let words = arguments.split_whitespace().map(str::to_owned).collect();
    let (name, work) = (arguments.to_owned(), Work::Own(words));
    Step { name, builds, after: None, work, environment: &[] }
}

/// Every step; those that take long before the others of their directory, as far as one need not look at them first.
/// The benchmark writes its `table` there.
fn steps(table: &Path) -> Vec<Step> {
    let mut all = guest_steps();
    all.extend(debug_steps());
    all.extend(release_steps(table));
    all.extend(
        ["fuzz", "loom", "asan", "msrv", "tsan", "miri"].map(|name| own(Builds::Apart, name)),
    );
    all
}

/// What runs in virtual machines: the programs that the tests have built, so as not to build all of them once more.
fn guest_steps() -> Vec<Step> {
    ["vm --kernel all --quick --tested", "vm numa --tested"]
        .map(|name| Step { after: Some(TESTS), ..own(Builds::Apart, name) })
        .to_vec()
}

/// What needs no optimised build.
fn debug_steps() -> Vec<Step> {
    use Builds::{Apart, Debug};
    let with = |mut step: Step, environment| {
        step.environment = environment;
        step
    };
    vec![
        cargo(Apart, "fmt", "fmt --all --check"),
        own(Apart, "tidy"),
        own(Apart, "safety --check"),
        own(Debug, "kernels --check"),
        cargo(Debug, "clippy", "clippy --workspace --all-targets --all-features -- -D warnings"),
        // Members are built with the union of what they ask for, and this tool asks for every feature. The examples are
        // built too.
        cargo(Debug, TESTS, "test --workspace --no-fail-fast"),
        own(Debug, "fallback"),
        own(Debug, "http --smoke"),
        own(Debug, "containers"),
        own(Debug, &format!("mutants --some {MUTANTS}")),
        cargo(Debug, "test, default features", DEFAULT_FEATURES),
        with(
            cargo(Debug, "doc", "doc --workspace --no-deps --all-features"),
            &[("RUSTDOCFLAGS", "-Dwarnings")],
        ),
        own(Debug, "no-std"),
        own(Debug, "elsewhere"),
    ]
}

/// What runs optimised programs.
fn release_steps(table: &Path) -> Vec<Step> {
    use Builds::Release;
    let command =
        format!("run --release -p safer-ring-cli -- bench --quick --only {BENCHES} --json");
    let mut bench = cargo(Release, "bench, as a smoke test", &command);
    if let Work::Cargo(arguments) = &mut bench.work {
        arguments.push(table.display().to_string());
    }
    vec![
        own(Release, "instr"),
        bench,
        own(Release, "sim --seeds 0..4000"),
        own(Release, "torture"),
        own(Release, "soak"),
        own(Release, "spec-fuzz"),
    ]
}

fn perform(step: &Step, own: &Path) -> Outcome<Output> {
    let mut command = match &step.work {
        Work::Own(arguments) => {
            let mut command = Command::new(own);
            command.args(arguments).current_dir(workspace::root());
            command
        }
        Work::Cargo(arguments) => {
            let mut command = workspace::cargo();
            command.args(arguments);
            command
        }
    };
    command.envs(step.environment.iter().copied()).env("CI", "true").stdin(Stdio::null());
    command.output().map_err(|e| format!("cannot run {command:?}: {e}"))
}

/// What a failed step says of its failure: the parts of test programs about tests that failed, or the last it printed.
/// A log of everything is long, and often only its end is looked at.
fn what_failed(printed: &str, errors: &str) -> String {
    let mut within = false;
    let tests = printed.lines().filter(|line| {
        within |= *line == "failures:";
        let told = within;
        within &= !line.starts_with("test result:");
        told
    });
    let mut lines: Vec<&str> = tests.collect();
    if lines.is_empty() {
        lines = printed.lines().chain(errors.lines()).collect();
        lines.drain(..lines.len().saturating_sub(TOLD_AGAIN));
    }
    lines.truncate(TOLD_AGAIN);
    lines.join("\n")
}

/// A line for each step and one for the whole, which is less than the sum of its lanes.
fn summary(results: &[Ended], whole: Duration) -> String {
    let line = |name: &str, time: Duration, word: &str| {
        format!("{:>7.1} s  {word:<6}  {name}\n", time.as_secs_f64())
    };
    let mut text: String = results
        .iter()
        .map(|step| {
            line(&step.name, step.time, if step.failure.is_none() { "ok" } else { "FAILED" })
        })
        .collect();
    text.push_str(&line("all", whole, ""));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_has_each_step_and_the_whole() {
        let ended = |name: &str, milliseconds, failure: Option<&str>| Ended {
            name: name.to_owned(),
            time: Duration::from_millis(milliseconds),
            failure: failure.map(str::to_owned),
        };
        let results = [ended("fmt", 1500, None), ended("test", 60_000, Some("one of them"))];
        assert_eq!(
            summary(&results, Duration::from_secs(60)),
            "    1.5 s  ok      fmt\n   60.0 s  FAILED  test\n   60.0 s          all\n"
        );
    }

    #[test]
    fn every_feature_of_the_library_is_in_the_suite() {
        let manifest = include_str!("../Cargo.toml");
        let asked = manifest.lines().find(|line| line.starts_with("safer-ring = ")).unwrap();
        let packages = workspace::packages().unwrap();
        let face = packages.iter().find(|package| package.name == "safer-ring").unwrap();
        assert!(face.features.len() >= 7, "{:?}", face.features);
        for feature in &face.features {
            assert!(asked.contains(&format!("\"{feature}\"")), "{feature} is not in {asked}");
        }
    }

    #[test]
    fn a_step_that_fails_is_told() {
        let wrong = cargo(Builds::Apart, "wrong", "no-such-command-of-cargo");
        let queue = Queue::new(vec![wrong, own(Builds::Debug, "tidy")]);
        worker(&queue, Path::new("none"));
        let results = queue.results();
        let told: Vec<_> =
            results.iter().map(|step| (step.name.as_str(), step.failure.is_some())).collect();
        assert_eq!(told, [("wrong", true), ("tidy", true)], "there is no such program");
        let wrong = results[0].failure.as_deref().unwrap();
        assert!(wrong.contains("no such command"), "{wrong}");
    }

    #[test]
    fn the_failures_of_tests_are_told_once_more() {
        let good = "running 1 test\ntest a ... ok\n\ntest result: ok. 1 passed\n";
        let bad = "test b ... FAILED\n\nfailures:\n\n---- b ----\nwhy\n\nfailures:\n    b\n\ntest result: FAILED. 0\n";
        let told = what_failed(&format!("{good}{bad}{good}{bad}"), "error: 1 target failed");
        let once = "failures:\n\n---- b ----\nwhy\n\nfailures:\n    b\n\ntest result: FAILED. 0";
        assert_eq!(told, format!("{once}\n{once}"));
        assert_eq!(what_failed(good, "the last"), format!("{good}the last"));
        let long = "x\n".repeat(TOLD_AGAIN + 1);
        assert_eq!(what_failed(&long, "the last").lines().count(), TOLD_AGAIN);
    }

    #[test]
    fn a_step_waits_for_the_one_whose_programs_it_takes() {
        let tests = own(Builds::Debug, TESTS);
        let guests = Step { after: Some(TESTS), ..own(Builds::Apart, "vm") };
        let queue = Queue::new(vec![guests, tests, own(Builds::Apart, "fuzz")]);
        let begun: Vec<Step> = (0..2).map_while(|_| queue.next()).collect();
        assert_eq!((begun[0].name.as_str(), begun[1].name.as_str()), (TESTS, "fuzz"));
        queue.end(&begun[0], Duration::ZERO, Err("it failed".to_owned()));
        assert_eq!(queue.next().map(|step| step.name), Some("vm".to_owned()));
        let there = |step: &Step| {
            steps(Path::new("")).iter().any(|other| Some(other.name.as_str()) == step.after)
        };
        assert!(guest_steps().iter().all(there), "or it would wait for ever");
    }

    #[test]
    fn steps_that_build_in_one_directory_take_turns() {
        let of = |builds, name: &str| own(builds, name);
        let queue = Queue::new(vec![
            of(Builds::Debug, "a"),
            of(Builds::Debug, "b"),
            of(Builds::Release, "c"),
            of(Builds::Apart, "d"),
            of(Builds::Apart, "e"),
        ]);
        let begun: Vec<Step> = (0..4).map_while(|_| queue.next()).collect();
        let names: Vec<_> = begun.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(names, ["a", "c", "d", "e"]);
        thread::scope(|scope| {
            let waits = scope.spawn(|| (queue.next(), queue.next()));
            queue.end(&begun[0], Duration::ZERO, Err("a".to_owned()));
            let (next, none) = waits.join().unwrap();
            assert_eq!(next.map(|step| step.name), Some("b".to_owned()));
            assert!(none.is_none());
        });
    }
}
