//! `cargo xtask ci`: every check, with the time of each.
//!
//! The steps stand in two lanes, which run side by side: a debug and a release build take different locks of cargo, and
//! many steps wait or use one processor. Within a lane the order is that of the list.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::workspace::Package;
use crate::{Outcome, workspace};

/// What differs without the optional features: who hears of completions.
const DEFAULT_FEATURES: &str = "test -p safer-ring --no-fail-fast --test executors --test adoption \
                                --test teardown --test idle --test allocations";

/// Mistakes that are planted in a run; all of them take too long for each.
const MUTANTS: usize = 4;

/// What a step runs, with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Work {
    Cargo(Vec<String>),
    /// A command of this tool.
    Own(Vec<String>),
}

/// One step.
#[derive(Debug, Clone)]
struct Step {
    name: String,
    work: Work,
    environment: &'static [(&'static str, &'static str)],
}

/// How a step ended.
struct Ended {
    name: String,
    time: Duration,
    ok: bool,
}

/// Runs every step, also after one has failed: one run shows everything that is wrong.
///
/// # Errors
/// Names the steps that failed.
pub(crate) fn run() -> Outcome {
    let target = workspace::target_directory()?;
    let own = own_copy(&target)?;
    let debug = debug_lane(&public_suite(&workspace::packages()?));
    let release = release_lane(&target.join("bench.json"));
    let start = Instant::now();
    let printing = Mutex::new(());
    let results = thread::scope(|scope| {
        let other = scope.spawn(|| lane(&release, &own, &printing));
        let mut results = lane(&debug, &own, &printing);
        let others = other.join().map_err(|_| "the lane of release builds panicked".to_owned())?;
        results.extend(others);
        Ok::<_, String>(results)
    })?;
    print!("{}", summary(&results, start.elapsed()));
    let failed: Vec<&str> =
        results.iter().filter(|step| !step.ok).map(|step| step.name.as_str()).collect();
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

/// Runs the steps of a lane; what each prints is shown when it has ended, so that lanes do not mix.
fn lane(steps: &[Step], own: &Path, printing: &Mutex<()>) -> Vec<Ended> {
    let run = |step: &Step| {
        let start = Instant::now();
        let result = perform(step, own);
        let time = start.elapsed();
        let _one = printing.lock().unwrap_or_else(PoisonError::into_inner);
        println!("==> {} ({:.1} s)", step.name, time.as_secs_f64());
        let ok = match result {
            Ok(output) => {
                print!("{}", String::from_utf8_lossy(&output.stdout));
                eprint!("{}", String::from_utf8_lossy(&output.stderr));
                if !output.status.success() {
                    println!("{}: {}", step.name, output.status);
                }
                output.status.success()
            }
            Err(message) => {
                println!("{}: {message}", step.name);
                false
            }
        };
        Ended { name: step.name.clone(), time, ok }
    };
    steps.iter().map(run).collect()
}

fn cargo(name: &str, arguments: &str) -> Step {
    let arguments = arguments.split_whitespace().map(str::to_owned).collect();
    Step { name: name.to_owned(), work: Work::Cargo(arguments), environment: &[] }
}

fn own(arguments: &str) -> Step {
    let words = arguments.split_whitespace().map(str::to_owned).collect();
    Step { name: arguments.to_owned(), work: Work::Own(words), environment: &[] }
}

/// What needs no optimised build.
fn debug_lane(suite: &[String]) -> Vec<Step> {
    let with = |mut step: Step, environment| {
        step.environment = environment;
        step
    };
    let named: Vec<String> = suite.iter().map(|name| format!("--test {name}")).collect();
    vec![
        cargo("fmt", "fmt --all --check"),
        own("tidy"),
        own("safety --check"),
        own("kernels --check"),
        cargo("clippy", "clippy --workspace --all-targets --all-features -- -D warnings"),
        // Members are built with the union of what they ask for, and this tool asks for every feature.
        cargo("test", "test --workspace --no-fail-fast"),
        with(
            cargo(
                "test, on the fallback",
                &format!("test --workspace --no-fail-fast {}", named.join(" ")),
            ),
            &[("SAFER_RING_BACKEND", "fallback")],
        ),
        cargo("test, default features", DEFAULT_FEATURES),
        with(
            cargo("doc", "doc --workspace --no-deps --all-features"),
            &[("RUSTDOCFLAGS", "-Dwarnings")],
        ),
        cargo("examples", "build --workspace --examples"),
        own("no-std"),
        own("msrv"),
        own("elsewhere"),
    ]
}

/// What runs optimised programs; the benchmark writes its `table` there.
fn release_lane(table: &Path) -> Vec<Step> {
    let mut bench =
        cargo("bench, as a smoke test", "run --release -p safer-ring-cli -- bench --quick --json");
    if let Work::Cargo(arguments) = &mut bench.work {
        arguments.push(table.display().to_string());
    }
    vec![
        own("instr"),
        bench,
        own("sim --seeds 0..6000"),
        own("torture"),
        own("soak"),
        own("http --quick"),
        own("vm numa"),
        own("vm --kernel all --quick"),
        own("containers"),
        own("loom"),
        own("fuzz"),
        own("spec-fuzz"),
        own(&format!("mutants --some {MUTANTS}")),
        own("torture --asan"),
        own("tsan"),
        own("miri"),
    ]
}

/// Names of the public suite's test programs.
fn public_suite(packages: &[Package]) -> Vec<String> {
    let face = packages.iter().filter(|package| package.name == "safer-ring");
    let tests = face.flat_map(|package| &package.targets).filter(|(kind, _)| kind == "test");
    let stem = |file: &String| Path::new(file).file_stem().map(|stem| stem.display().to_string());
    tests.filter_map(|(_, file)| stem(file)).collect()
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

/// A line for each step and one for the whole, which is less than the sum of its lanes.
fn summary(results: &[Ended], whole: Duration) -> String {
    let line = |name: &str, time: Duration, word: &str| {
        format!("{:>7.1} s  {word:<6}  {name}\n", time.as_secs_f64())
    };
    let mut text: String = results
        .iter()
        .map(|step| line(&step.name, step.time, if step.ok { "ok" } else { "FAILED" }))
        .collect();
    text.push_str(&line("all", whole, ""));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_has_each_step_and_the_whole() {
        let ended = |name: &str, milliseconds, ok| Ended {
            name: name.to_owned(),
            time: Duration::from_millis(milliseconds),
            ok,
        };
        let results = [ended("fmt", 1500, true), ended("test", 60_000, false)];
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
    fn the_fallback_runs_the_public_suite() {
        let suite = public_suite(&workspace::packages().unwrap());
        assert!(suite.len() > 40 && suite.contains(&"adoption".to_owned()), "{suite:?}");
        let steps = debug_lane(&suite);
        let step = steps.iter().find(|step| step.name == "test, on the fallback").unwrap();
        assert_eq!(step.environment, &[("SAFER_RING_BACKEND", "fallback")]);
        let Work::Cargo(arguments) = &step.work else { panic!("not cargo") };
        assert!(arguments.windows(2).any(|pair| pair == ["--test", "adoption"]));
    }

    #[test]
    fn a_step_that_fails_is_told() {
        let wrong = cargo("wrong", "no-such-command-of-cargo");
        let [ended] = &lane(&[wrong], Path::new("none"), &Mutex::new(()))[..] else { panic!() };
        assert!(!ended.ok && ended.name == "wrong");
        let [ended] = &lane(&[own("tidy")], Path::new("none"), &Mutex::new(()))[..] else {
            panic!()
        };
        assert!(!ended.ok, "there is no such program");
    }
}
