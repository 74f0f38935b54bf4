//! Fuzzing inside of tests: a target is a test whose body is one call of [`drive`], so it reaches what only its crate sees.
//!
//! * Under `cargo test` each target replays what is kept for it: `corpus/TARGET`, inputs that led somewhere new, and
//!   `regressions/TARGET`, inputs that have failed. A target without a corpus fails; `cargo xtask fuzz TARGET --keep` makes one.
//! * Under `cargo xtask fuzz` it makes new inputs, for a time: it changes those it has, and keeps what reaches code that
//!   nothing has reached before, or as often. The counters for that are LLVM's (`sanitizer-coverage-inline-8bit-counters`),
//!   compiled into this workspace's crates and their dependencies, not into the standard library. In a build without them
//!   the inputs are random.
//! * An input that fails is made smaller and written to `regressions`. Only panics are caught. A process that aborts or
//!   hangs leaves the input that it was at in the directory of the run, as `at-TARGET`.
#![deny(unsafe_code)]

mod bytes;
mod coverage;
mod mutate;

use std::cmp::Reverse;
use std::collections::hash_map::DefaultHasher;
use std::env;
use std::fmt;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use bytes::Bytes;
use coverage::Coverage;
use mutate::Random;

/// How long a run makes new inputs, in seconds; without it a target replays.
pub const SECONDS: &str = "SAFER_RING_FUZZ_SECONDS";
/// What the random numbers of a run start from.
pub const SEED: &str = "SAFER_RING_FUZZ_SEED";
/// Where a run keeps what it finds, as far as that is not to be committed.
pub const DIRECTORY: &str = "SAFER_RING_FUZZ_DIRECTORY";
/// Set: of all inputs that are known, a few that reach much become the corpus.
pub const KEEP: &str = "SAFER_RING_FUZZ_KEEP";

/// Most runs of an input that fails while it is made smaller.
const SHRINKING: u32 = 4000;
/// Most inputs of a corpus.
const MOST_KEPT: usize = 64;
/// Fewest inputs of a corpus: what a run of a minute finds is more.
const LEAST_KEPT: usize = 20;

/// Replays what is kept for the target `name`, or looks for more.
///
/// # Panics
/// An input fails, or a file cannot be read or written; nothing is kept for the target that could be replayed.
pub fn drive(name: &str, target: impl Fn(&[u8])) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    if !here.exists() {
        // A program that was copied to a virtual machine, say.
        eprintln!("skipped: {name}: the inputs are not on this machine");
        return;
    }
    let corpus = here.join("corpus").join(name);
    let regressions = here.join("regressions").join(name);
    let mut known = inputs(&regressions);
    known.extend(inputs(&corpus));
    let Some(seconds) = env::var(SECONDS).ok().and_then(|text| text.parse().ok()) else {
        replay(name, &target, &known);
        return;
    };
    let seed = env::var(SEED).ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let scratch = env::var_os(DIRECTORY).map_or_else(env::temp_dir, PathBuf::from);
    let found = scratch.join(name);
    known.extend(inputs(&found));
    let mut run = Run {
        target,
        coverage: Coverage::new(),
        known: Vec::new(),
        at: scratch.join(format!("at-{name}")),
        found,
        regressions,
        runs: 0,
    };
    make(&run.found);
    let mut known: Vec<Vec<u8>> = known.into_iter().map(|(_, input)| input).collect();
    known.sort_by_key(Vec::len);
    run.start(known);
    run.look(Random::new(seed), Duration::from_secs(seconds));
    if env::var_os(KEEP).is_some() {
        run.keep(&corpus);
    }
    let _ = fs::remove_file(&run.at);
    println!("fuzz {name}: seed {seed}, {run}");
}

/// Runs the target with what is kept for it.
fn replay(name: &str, target: &impl Fn(&[u8]), known: &[(PathBuf, Vec<u8>)]) {
    for (path, input) in known {
        if let Err(message) = attempt(target, input) {
            panic!("{} fails: {message}", path.display());
        }
    }
    let count = known.len();
    let enough = count >= LEAST_KEPT;
    assert!(enough, "only {count} inputs for {name}: `cargo xtask fuzz {name} --keep` makes more");
}

struct Run<T> {
    target: T,
    coverage: Coverage,
    /// Each has reached something new.
    known: Vec<Vec<u8>>,
    /// The input of the moment.
    at: PathBuf,
    found: PathBuf,
    regressions: PathBuf,
    runs: u64,
}

impl<T: Fn(&[u8])> Run<T> {
    /// Takes in those of the inputs that reach something which those before them do not.
    fn start(&mut self, inputs: Vec<Vec<u8>>) {
        for input in inputs {
            if self.run(&input) {
                self.known.push(input);
            }
        }
        if self.known.is_empty() {
            self.known.push(Vec::new());
        }
    }

    fn look(&mut self, mut random: Random, time: Duration) {
        let start = Instant::now();
        while start.elapsed() < time {
            let input = mutate::mutate(&self.known, &mut random);
            if self.run(&input) {
                write(&self.found.join(name_of(&input)), &input);
                self.known.push(input);
            }
        }
    }

    /// Runs one input; tells whether it has reached something new.
    fn run(&mut self, input: &[u8]) -> bool {
        self.runs += 1;
        write(&self.at, input);
        self.coverage.begin();
        let result = attempt(&self.target, input);
        let news = self.coverage.end();
        if let Err(message) = result {
            let small = self.shrink(input);
            let path = self.regressions.join(name_of(&small));
            make(&self.regressions);
            write(&path, &small);
            panic!("{} fails: {message}\n{small:?}", path.display());
        }
        news
    }

    /// A smaller input that fails as well: with pieces taken out, and bytes made zero.
    fn shrink(&self, input: &[u8]) -> Vec<u8> {
        let mut best = input.to_vec();
        let mut left = SHRINKING;
        let mut size = best.len().max(1);
        while size > 0 && left > 0 {
            let mut from = 0;
            while from < best.len() && left > 0 {
                let mut shorter = best.clone();
                shorter.drain(from..(from + size).min(best.len()));
                left -= 1;
                if attempt(&self.target, &shorter).is_err() {
                    best = shorter;
                } else {
                    from += size;
                }
            }
            size /= 2;
        }
        for at in 0..best.len() {
            let mut simpler = best.clone();
            if let Some(byte) = simpler.get_mut(at)
                && *byte != 0
                && left > 0
            {
                *byte = 0;
                left -= 1;
                if attempt(&self.target, &simpler).is_err() {
                    best = simpler;
                }
            }
        }
        best
    }

    /// Makes `corpus` those inputs that reach the most: the long ones first, so many as are to be in the repository.
    fn keep(&mut self, corpus: &Path) {
        let mut known = std::mem::take(&mut self.known);
        known.sort_by_key(|input| Reverse(input.len()));
        self.coverage = Coverage::new();
        self.start(known);
        for (path, _) in inputs(corpus) {
            fs::remove_file(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        }
        make(corpus);
        for input in self.known.iter().filter(|input| !input.is_empty()).take(MOST_KEPT) {
            write(&corpus.join(name_of(input)), input);
        }
    }
}

impl<T> fmt::Display for Run<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (runs, kept) = (self.runs, self.known.len());
        match self.coverage.reached() {
            Some((reached, all)) => {
                write!(f, "{runs} runs, {kept} inputs kept, {reached} of {all} places reached")
            }
            None => write!(f, "{runs} runs of random inputs: built without counters"),
        }
    }
}

/// The message of the panic, if there is one.
fn attempt(target: &impl Fn(&[u8]), input: &[u8]) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| target(input))).map_err(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        text.unwrap_or("a panic without a message").to_owned()
    })
}

/// The files of a directory, in the order of their names; none if there is no such directory.
fn inputs(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(e) => panic!("{}: {e}", directory.display()),
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let input = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        (path, input)
    };
    paths.into_iter().map(read).collect()
}

fn make(directory: &Path) {
    fs::create_dir_all(directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
}

fn write(path: &Path, input: &[u8]) {
    fs::write(path, input).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

fn name_of(input: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(target: impl Fn(&[u8])) -> Run<impl Fn(&[u8])> {
        let scratch = env::temp_dir().join(format!("safer-ring-fuzz-{}", std::process::id()));
        make(&scratch);
        let (at, found) = (scratch.join("at"), scratch.join("found"));
        let (coverage, regressions) = (Coverage::new(), scratch.join("regressions"));
        Run { target, coverage, known: vec![Vec::new()], at, found, regressions, runs: 0 }
    }

    fn kept(count: u8) -> Vec<(PathBuf, Vec<u8>)> {
        (0..count).map(|at| (PathBuf::from(format!("input-{at}")), vec![at])).collect()
    }

    #[test]
    fn each_input_that_is_kept_is_replayed() {
        let seen = std::cell::RefCell::new(Vec::new());
        replay("any", &|input| seen.borrow_mut().extend_from_slice(input), &kept(30));
        assert_eq!(seen.into_inner(), (0..30).collect::<Vec<u8>>());
        let failing = |input: &[u8]| assert_ne!(input, [29], "the last one");
        let failed = catch_unwind(|| replay("any", &failing, &kept(30))).unwrap_err();
        let message = failed.downcast_ref::<String>().unwrap();
        assert!(message.starts_with("input-29 fails: ") && message.contains("the last one"));
    }

    #[test]
    fn a_target_without_a_corpus_fails() {
        for count in [0, 19] {
            let failed = catch_unwind(|| replay("any", &|_| {}, &kept(count))).unwrap_err();
            let message = failed.downcast_ref::<String>().unwrap();
            assert!(message.contains("cargo xtask fuzz any --keep"), "{message}");
        }
        replay("any", &|_| {}, &kept(20));
    }

    #[test]
    fn what_fails_is_made_small() {
        let run = run(|input| assert!(!input.contains(&7), "a seven"));
        assert_eq!(run.shrink(&[1, 2, 7, 3, 4]), [7]);
    }

    #[test]
    fn a_failure_is_found_and_written_down() {
        let mut run = run(|input| assert!(input.len() < 3, "too long"));
        let regressions = run.regressions.clone();
        let looking = catch_unwind(AssertUnwindSafe(|| {
            run.look(Random::new(1), Duration::from_secs(60));
        }));
        assert!(looking.is_err());
        let [(_, input)] = &inputs(&regressions)[..] else { panic!("not one file") };
        assert_eq!(*input, [0, 0, 0]);
        fs::remove_dir_all(regressions.parent().unwrap()).unwrap();
    }
}
