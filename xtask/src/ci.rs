//! `cargo xtask ci`: every check, in order, with the time of each.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::workspace::Package;
use crate::{
    Outcome, containers, elsewhere, fuzz, http, instr, kernels, loom, msrv, mutants, nostd, safety,
    soak, tidy, torture, tsan, vm, workspace,
};

/// Mistakes that are planted in a run; all of them take too long for each.
const MUTANTS: usize = 4;

/// What a step runs.
enum Work {
    /// cargo with these arguments.
    Cargo(Vec<String>),
    /// A command of this tool.
    Own(fn() -> Outcome),
}

/// One step.
struct Step {
    name: String,
    work: Work,
    environment: &'static [(&'static str, &'static str)],
}

/// Runs every step, also after one has failed: one run shows everything that is wrong.
///
/// # Errors
/// Names the steps that failed.
pub(crate) fn run() -> Outcome {
    let mut results = Vec::new();
    let table = workspace::target_directory()?.join("bench.json");
    for step in steps(&workspace::packages()?, &table) {
        println!("==> {}", step.name);
        let start = Instant::now();
        let result = perform(&step);
        if let Err(message) = &result {
            eprintln!("{message}");
        }
        results.push((step.name, start.elapsed(), result.is_ok()));
    }
    print!("{}", summary(&results));
    let failed: Vec<&str> =
        results.iter().filter(|(_, _, ok)| !ok).map(|(name, _, _)| name.as_str()).collect();
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
}

/// The steps in their order; the benchmark writes its `table` there.
fn steps(packages: &[Package], table: &Path) -> Vec<Step> {
    let cargo = |name: &str, arguments: &str| Step {
        name: name.to_owned(),
        work: Work::Cargo(arguments.split_whitespace().map(str::to_owned).collect()),
        environment: &[],
    };
    let own = |name: &str, run: fn() -> Outcome| Step {
        name: name.to_owned(),
        work: Work::Own(run),
        environment: &[],
    };
    let mut steps = vec![
        cargo("fmt", "fmt --all --check"),
        own("tidy", || tidy::run(false)),
        cargo("clippy", "clippy --workspace --all-targets --all-features -- -D warnings"),
        cargo("test", "test --workspace --no-fail-fast"),
    ];
    // The run above has each package's default features; what a feature adds is tested apart.
    for package in packages.iter().filter(|package| !package.features.is_empty()) {
        let name = &package.name;
        steps.push(cargo(
            &format!("test {name}, all features"),
            &format!("test -p {name} --all-features --no-fail-fast"),
        ));
    }
    let mut fallback = cargo(
        "test safer-ring, on the fallback",
        // What must not compile does not depend on the backend.
        "test -p safer-ring --all-features --no-fail-fast --tests -- --skip misuse_does_not_compile",
    );
    fallback.environment = &[("SAFER_RING_BACKEND", "fallback")];
    steps.push(fallback);
    let mut doc = cargo("doc", "doc --workspace --no-deps --all-features");
    doc.environment = &[("RUSTDOCFLAGS", "-Dwarnings")];
    let mut bench =
        cargo("bench, as a smoke test", "run --release -p safer-ring-cli -- bench --quick --json");
    if let Work::Cargo(arguments) = &mut bench.work {
        arguments.push(table.display().to_string());
    }
    steps.extend([
        doc,
        cargo("examples", "build --workspace --examples"),
        own("safety", || safety::run(true)),
        own("kernels", || kernels::run(true)),
        own("no-std", nostd::run),
        own("msrv", msrv::run),
        own("elsewhere", elsewhere::run),
        own("instr", || instr::run(instr::Store::Nothing)),
        bench,
        own("http, as a smoke test", || http::run(&["--quick"])),
        own("vm numa", vm::numa),
        own("containers", containers::run),
        own("torture", || torture::run(torture::Build::Release)),
        own("soak", || soak::run(soak::SHORT)),
        own("loom", loom::run),
        own("fuzz", fuzz::minute),
        own("mutants, a few", || mutants::run(mutants::Choice::Some(MUTANTS))),
        own("torture-asan", || torture::run(torture::Build::Asan)),
        own("tsan", tsan::run),
    ]);
    steps
}

fn perform(step: &Step) -> Outcome {
    match &step.work {
        Work::Own(run) => run(),
        Work::Cargo(arguments) => {
            let mut command: Command = workspace::cargo();
            command.args(arguments).envs(step.environment.iter().copied()).env("CI", "true");
            let status = command.status().map_err(|e| format!("cannot run cargo: {e}"))?;
            if status.success() { Ok(()) } else { Err(format!("{}: {status}", step.name)) }
        }
    }
}

/// A line for each step and one for the whole.
fn summary(results: &[(String, Duration, bool)]) -> String {
    let line = |name: &str, time: Duration, word: &str| {
        format!("{:>7.1} s  {word:<6}  {name}\n", time.as_secs_f64())
    };
    let mut text: String = results
        .iter()
        .map(|(name, time, ok)| line(name, *time, if *ok { "ok" } else { "FAILED" }))
        .collect();
    let total = results.iter().map(|(_, time, _)| *time).sum();
    text.push_str(&line("total", total, ""));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_has_each_step_and_the_sum() {
        let results = [
            ("fmt".to_owned(), Duration::from_millis(1500), true),
            ("test".to_owned(), Duration::from_secs(60), false),
        ];
        let text = summary(&results);
        assert_eq!(
            text,
            "    1.5 s  ok      fmt\n   60.0 s  FAILED  test\n   61.5 s          total\n"
        );
    }

    #[test]
    fn packages_with_features_are_tested_with_them() {
        let package = |name: &str, features: &[&str]| Package {
            name: name.to_owned(),
            dependencies: Vec::new(),
            targets: Vec::new(),
            features: features.iter().map(|&name| name.to_owned()).collect(),
            directory: String::new(),
        };
        let steps =
            steps(&[package("plain", &[]), package("rich", &["extra"])], Path::new("t/bench.json"));
        let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
        assert!(names.contains(&"test rich, all features"));
        assert!(!names.iter().any(|name| name.contains("plain")));
        let bench = steps.iter().find(|step| step.name.starts_with("bench")).unwrap();
        let Work::Cargo(arguments) = &bench.work else { panic!("not cargo") };
        assert_eq!(arguments.last().unwrap(), "t/bench.json");
    }

    #[test]
    fn a_step_that_fails_is_an_error() {
        let step = Step {
            name: "wrong".to_owned(),
            work: Work::Cargo(vec!["no-such-command-of-cargo".to_owned()]),
            environment: &[],
        };
        assert!(perform(&step).unwrap_err().starts_with("wrong: "));
        let own = Step {
            name: "own".to_owned(),
            work: Work::Own(|| Err("why".to_owned())),
            environment: &[],
        };
        assert_eq!(perform(&own), Err("why".to_owned()));
    }
}
