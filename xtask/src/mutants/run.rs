//! Planting a mistake, and looking whether its test fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use super::{Mutant, Suite};
use crate::{Outcome, loom, workspace};

/// Seconds after which a test counts as one that hangs, which it may because of the mistake.
const LIMIT: &str = "120";
/// What timeout(1) exits with then.
const HANGS: i32 = 124;

/// How a test went.
enum Went {
    Passed,
    Failed(&'static str),
    /// No verdict: it does not compile, or nothing has that name.
    Not(String),
}

/// Plants each of them.
pub(super) fn all(mutants: &[&Mutant]) -> Outcome {
    let tree = workspace::target_directory()?.join("mutants");
    copy(&workspace::root(), &tree)?;
    let mut wrong = Vec::new();
    let mut tried: Vec<&Mutant> = Vec::new();
    for mutant in mutants {
        // A test that fails by itself would find everything.
        if tried.iter().any(|other| same_test(other, mutant)) {
            continue;
        }
        tried.push(mutant);
        match test(&tree, mutant)? {
            Went::Passed => {}
            Went::Failed(_) => wrong.push(format!("{} fails without a mistake", mutant.test)),
            Went::Not(why) => wrong.push(format!("{}: {why}", mutant.test)),
        }
    }
    if !wrong.is_empty() {
        return Err(format!("mutants: {}", wrong.join("\nmutants: ")));
    }
    let mut found = 0;
    for mutant in mutants {
        let start = Instant::now();
        let path = tree.join(mutant.file);
        let text = read(&path)?;
        write(&path, &text.replacen(mutant.find, mutant.replace, 1))?;
        let went = test(&tree, mutant);
        write(&path, &text)?;
        let verdict = match went? {
            Went::Failed(how) => {
                found += 1;
                format!("found: {how}")
            }
            Went::Passed => {
                wrong.push(format!("{}: {} passes all the same", mutant.name, mutant.test));
                "NOT FOUND".to_owned()
            }
            Went::Not(why) => {
                wrong.push(format!("{}: {why}", mutant.name));
                "NO VERDICT".to_owned()
            }
        };
        println!("{:>6.1} s  {:<32} {verdict}", start.elapsed().as_secs_f64(), mutant.name);
    }
    println!("mutants: {found} of {} found", mutants.len());
    if wrong.is_empty() { Ok(()) } else { Err(format!("mutants: {}", wrong.join("\nmutants: "))) }
}

fn same_test(one: &Mutant, other: &Mutant) -> bool {
    one.package == other.package && one.suite == other.suite && one.test == other.test
}

/// Builds and runs the test of a mistake, in the copy as it is now.
fn test(tree: &Path, mutant: &Mutant) -> Outcome<Went> {
    let build = cargo(tree, mutant, &["--no-run"])?.output();
    let build = build.map_err(|e| format!("mutants: cannot run cargo: {e}"))?;
    if !build.status.success() {
        let text = String::from_utf8_lossy(&build.stderr);
        let errors: Vec<&str> = text.lines().filter(|line| line.starts_with("error")).collect();
        return Ok(Went::Not(format!("it does not compile: {}", errors.join("; "))));
    }
    let run = cargo(tree, mutant, &["--", mutant.test])?.output();
    let run = run.map_err(|e| format!("mutants: cannot run timeout(1): {e}"))?;
    if run.status.code() == Some(HANGS) {
        return Ok(Went::Failed("its test hangs"));
    }
    if !run.status.success() {
        return Ok(Went::Failed("its test fails"));
    }
    if passed(&String::from_utf8_lossy(&run.stdout)) == 0 {
        return Ok(Went::Not(format!("nothing called {} has run", mutant.test)));
    }
    Ok(Went::Passed)
}

/// How many tests have passed, by the output of cargo.
fn passed(output: &str) -> u32 {
    let counts = output.lines().filter_map(|line| {
        line.strip_prefix("test result: ok. ")?.split_whitespace().next()?.parse::<u32>().ok()
    });
    counts.sum()
}

fn cargo(tree: &Path, mutant: &Mutant, more: &[&str]) -> Outcome<Command> {
    let target = workspace::target_directory()?;
    let mut command = Command::new("timeout");
    let run = more.first() == Some(&"--");
    // A build has all the time it needs: the machine may be busy.
    command.args(["--kill-after=10", if run { LIMIT } else { "0" }]);
    command.arg(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["test", "--package", mutant.package]);
    match mutant.suite {
        Suite::Lib => command.arg("--lib"),
        Suite::Test(name) => command.args(["--all-features", "--test", name]),
        Suite::Model => command.arg("--lib").env("RUSTFLAGS", loom::flags()),
    };
    let target = if mutant.suite == Suite::Model { loom::directory(&target) } else { target };
    command.args(more).current_dir(tree).env("CARGO_TARGET_DIR", target);
    workspace::forget_package(&mut command);
    command.stdin(Stdio::null()).env("RUST_BACKTRACE", "0");
    Ok(command)
}

/// Makes `tree` the same as the files of the workspace. What is the same stays as it is, so that cargo has little to do.
fn copy(root: &Path, tree: &Path) -> Outcome {
    let files = workspace::files(root)?;
    for path in &files {
        let from = root.join(path);
        let to = tree.join(path);
        let bytes = fs::read(&from).map_err(|e| format!("cannot read {path}: {e}"))?;
        if fs::read(&to).is_ok_and(|there| there == bytes) {
            continue;
        }
        if let Some(directory) = to.parent() {
            fs::create_dir_all(directory)
                .map_err(|e| format!("cannot make {}: {e}", directory.display()))?;
        }
        fs::write(&to, bytes).map_err(|e| format!("cannot write {}: {e}", to.display()))?;
    }
    // A file that is gone could be a test that is not there any more.
    for path in workspace::files(tree)? {
        if !files.contains(&path) {
            let gone: PathBuf = tree.join(&path);
            fs::remove_file(&gone).map_err(|e| format!("cannot remove {}: {e}", gone.display()))?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> Outcome<String> {
    fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))
}

fn write(path: &Path, text: &str) -> Outcome {
    fs::write(path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_that_have_passed_are_counted() {
        let output = "running 2 tests\ntest result: ok. 2 passed; 0 failed; 0 ignored\n\
                      test result: ok. 1 passed; 0 failed\ntest result: FAILED. 3 passed; 1 failed\n";
        assert_eq!(passed(output), 3);
        assert_eq!(passed("error: no such thing\n"), 0);
    }
}
