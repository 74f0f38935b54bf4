//! Random programs in simulated worlds: `cargo xtask sim`.
//!
//! A seed makes a script (`script.rs`) and a world. The script's lanes are tasks that use the library as programs do, and drop,
//! cancel and limit what they start; each checks what it gets against what must be there (`streams.rs`, `files.rs`,
//! `accepts.rs`, `names.rs`). A seed that fails is run again with fewer steps (`shrink.rs`), and what is left is shown with its
//! trace.
#![forbid(unsafe_code)]

mod accepts;
mod chains;
mod cursor;
mod fate;
mod files;
mod flows;
mod journal;
mod names;
mod run;
mod script;
mod shrink;
mod storm;
mod streams;
mod talks;
mod totals;

use std::process::ExitCode;

use script::Script;

/// Steps of a script unless asked otherwise.
const STEPS: usize = 40;
/// Seeds that fail and are shown; the others are counted.
const SHOWN: usize = 3;
/// Seeds in which everything that is counted happens.
const MANY: u64 = 1000;
/// Last lines of the trace that are shown.
const LINES: usize = 60;

const USAGE: &str = "usage: cargo xtask sim --seed N | --seeds A..B [--steps N]";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
struct Task {
    first: u64,
    end: u64,
    steps: usize,
}

fn parse(words: &[String]) -> Option<Task> {
    let mut task = Task { first: 0, end: 0, steps: STEPS };
    for pair in words.chunks(2) {
        let [option, value] = pair else { return None };
        match option.as_str() {
            "--seed" => {
                task.first = value.parse().ok()?;
                task.end = task.first.checked_add(1)?;
            }
            "--seeds" => {
                let (first, end) = value.split_once("..")?;
                (task.first, task.end) = (first.parse().ok()?, end.parse().ok()?);
            }
            "--steps" => task.steps = value.parse().ok()?,
            _ => return None,
        }
    }
    (task.first < task.end).then_some(task)
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some(task) = parse(&words) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    // A panic of a lane is a finding like any other, and is shown with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    let (mut failed, mut totals) = (0, totals::Totals::default());
    for seed in task.first..task.end {
        let script = Script::new(seed, task.steps);
        match run::run(&script) {
            Ok(totals_of_one) => {
                totals.add(&totals_of_one);
                if task.end - task.first == 1 {
                    println!("{script}trace {:x}", totals_of_one.hash);
                }
            }
            Err(failure) => {
                failed += 1;
                if failed <= SHOWN {
                    show(&script, &failure);
                } else {
                    println!("seed {seed} fails: {}", failure.what);
                }
            }
        }
    }
    let seeds = task.end - task.first;
    println!("{seeds} seeds, {failed} failed; {totals}");
    let missing = if seeds >= MANY && task.steps >= STEPS { totals.missing() } else { Vec::new() };
    if !missing.is_empty() {
        println!("what has never happened: {}", missing.join(", "));
    }
    if failed == 0 && missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A seed that fails, with as few steps as it still fails with.
fn show(script: &Script, failure: &run::Failure) {
    let (small, last) = shrink::shrink(script, failure);
    println!("seed {} fails: {}", script.seed, failure.what);
    println!("with {} of {} steps: {}", small.steps.len(), script.steps.len(), last.what);
    print!("{small}");
    let skipped = last.trace.len().saturating_sub(LINES);
    for line in last.trace.iter().skip(skipped) {
        println!("  {line}");
    }
    println!("again: cargo xtask sim --seed {} --steps {}", script.seed, script.asked);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Option<Task> {
        parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn seeds_and_steps_are_read() {
        assert_eq!(words("--seed 5"), Some(Task { first: 5, end: 6, steps: STEPS }));
        assert_eq!(words("--seeds 1..9 --steps 3"), Some(Task { first: 1, end: 9, steps: 3 }));
        for wrong in ["", "--seed", "--seed x", "--seeds 9..1", "--steps 4", "--what 1"] {
            assert_eq!(words(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn seeds_pass_and_say_the_same_each_time() {
        let mut totals = totals::Totals::default();
        for seed in 0..300 {
            let script = Script::new(seed, STEPS);
            let first = run::run(&script).unwrap_or_else(|failure| {
                panic!("seed {seed}: {}\n{}", failure.what, failure.trace.join("\n"))
            });
            if seed < 60 {
                let again = run::run(&script).unwrap_or_else(|failure| panic!("{}", failure.what));
                assert_eq!(first.hash, again.hash, "seed {seed}");
            }
            totals.add(&first);
        }
        assert_eq!(totals.missing(), [""; 0], "{totals}");
    }
}
