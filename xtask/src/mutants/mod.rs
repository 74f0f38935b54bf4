//! `cargo xtask mutants`: would the tests notice? Known mistakes are put into the real code, one by one, and for each the
//! test that is to find it must fail.
//!
//! The code that is changed is a copy below `target/mutants`, which builds into the directory of all other builds, so that
//! only this workspace's own crates are compiled for it.

mod list;
mod run;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use crate::{Outcome, workspace};

/// Where a test is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Suite {
    /// In the library itself.
    Lib,
    /// In a file below `tests`.
    Test(&'static str),
    /// Under the model checker; see `cargo xtask loom`.
    Model,
}

/// A mistake.
#[derive(Debug)]
struct Mutant {
    name: &'static str,
    /// The rule that it breaks.
    breaks: &'static str,
    file: &'static str,
    /// Text that occurs exactly once in the file, and what the mistake has in its place.
    find: &'static str,
    replace: &'static str,
    /// The package with the test that must fail.
    package: &'static str,
    suite: Suite,
    /// Its name.
    test: &'static str,
}

/// Which mistakes are planted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Choice<'a> {
    /// All of them.
    All,
    /// So many, another part of the list for each commit.
    Some(usize),
    /// Those whose names contain this.
    Named(&'a str),
}

/// Plants the chosen mistakes; `--some N` and a part of a name choose.
///
/// # Errors
/// Mistakes that nothing has found, or that do not fit the code any more.
pub(crate) fn command(options: &[&str]) -> Outcome {
    let choice = match *options {
        [] => Choice::All,
        ["--some", count] => {
            Choice::Some(count.parse().map_err(|_| format!("no number: {count}"))?)
        }
        [name] => Choice::Named(name),
        _ => return Err("mutants: either --some N or a part of a name".to_owned()),
    };
    run(choice)
}

/// See [`command`].
///
/// # Errors
/// The same.
pub(crate) fn run(choice: Choice<'_>) -> Outcome {
    let stale = misfits(&workspace::root());
    if !stale.is_empty() {
        return Err(stale.join("\n"));
    }
    let chosen = choose(choice);
    if chosen.is_empty() {
        return Err("mutants: no mistake has such a name".to_owned());
    }
    run::all(&chosen)
}

fn choose(choice: Choice<'_>) -> Vec<&'static Mutant> {
    match choice {
        Choice::All => list::all().collect(),
        Choice::Named(part) => list::all().filter(|mutant| mutant.name.contains(part)).collect(),
        Choice::Some(count) => {
            let head = workspace::output_of(
                Command::new("git").current_dir(workspace::root()).args(["rev-parse", "HEAD"]),
            );
            let length = self::count();
            let start = start_of(&head.unwrap_or_default(), length);
            list::all().cycle().skip(start).take(count.min(length)).collect()
        }
    }
}

/// Where in a list a commit begins.
fn start_of(commit: &str, length: usize) -> usize {
    let digits = commit.get(..8).unwrap_or_default();
    let number = u32::from_str_radix(digits, 16).unwrap_or(0);
    usize::try_from(number).unwrap_or(0) % length.max(1)
}

/// How many there are.
pub(crate) fn count() -> usize {
    list::all().count()
}

/// Mistakes that do not fit the code below `root`.
fn misfits(root: &Path) -> Vec<String> {
    let mut findings = Vec::new();
    for mutant in list::all() {
        let text = workspace::read(root, mutant.file).unwrap_or_default();
        let times = text.matches(mutant.find).count();
        if times != 1 {
            let (name, file) = (mutant.name, mutant.file);
            findings.push(format!(
                "xtask/src/mutants/list: {name}: its text is {times} times in {file}, not once"
            ));
        }
    }
    findings
}

/// What `cargo xtask tidy` looks at: that each mistake still fits the code and names a test that there is, once.
pub(crate) fn check(root: &Path, tests: &BTreeSet<&str>) -> Vec<String> {
    let mut findings = misfits(root);
    let mut names = BTreeSet::new();
    for mutant in list::all() {
        if !tests.contains(mutant.test) {
            let (name, test) = (mutant.name, mutant.test);
            findings.push(format!("xtask/src/mutants/list: {name}: no test is called {test}"));
        }
        if !names.insert(mutant.name) {
            findings.push(format!("xtask/src/mutants/list: {} is there twice", mutant.name));
        }
    }
    findings
}

/// The section of SAFETY.md.
pub(crate) fn write_table(document: &mut String) {
    document.push_str(
        "\n## Planted mistakes\n\nEach of these is put into the code by `cargo xtask mutants`, alone, and the test beside it \
         must fail then.\nContinuous integration plants a few, others for each commit; that all of them still fit the \
         code is checked\neach time.\n\n| mistake | the rule that it breaks | in | found by |\n|---|---|---|---|\n",
    );
    for mutant in list::all() {
        let by = match mutant.suite {
            Suite::Lib | Suite::Test(_) => "",
            Suite::Model => " (model checker)",
        };
        let Mutant { name, breaks, file, test, .. } = mutant;
        let short =
            file.strip_prefix("crates/safer-ring").unwrap_or(file).trim_start_matches(['-', '/']);
        let _ = writeln!(document, "| {name} | {breaks} | [{short}]({file}) | `{test}`{by} |");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_chooses_where_to_begin() {
        assert_eq!(start_of("0000000a17b8", 7), 3);
        assert_eq!(start_of("ffffffff", 1), 0);
        assert_eq!(start_of("", 7), 0);
    }

    #[test]
    fn a_mistake_that_fits_nothing_is_reported() {
        let nowhere = Path::new("/nonexistent");
        assert_eq!(misfits(nowhere).len(), list::all().count());
        assert!(check(nowhere, &BTreeSet::new()).len() >= 2 * list::all().count());
    }

    #[test]
    fn every_mistake_changes_something() {
        for mutant in list::all() {
            assert_ne!(mutant.find, mutant.replace, "{}", mutant.name);
        }
    }

    #[test]
    fn names_choose() {
        assert_eq!(choose(Choice::Named("drop-frees")).len(), 1);
        assert_eq!(choose(Choice::Some(3)).len(), 3);
        assert!(choose(Choice::Named("no such mistake")).is_empty());
    }
}
