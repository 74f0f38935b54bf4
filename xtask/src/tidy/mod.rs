//! `cargo xtask tidy`: the house rules, each a function from texts to findings.

mod arrows;
mod figures;
mod length;
mod links;
mod linux;
mod modules;
mod optin;
mod scenarios;
mod submit;
mod words;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::counts::{self, Numbers, Sections};
use crate::facts::{self, Facts};
use crate::source::Source;
use crate::{Outcome, instr, mutants, workspace};

use figures::Figures;
pub(crate) use modules::test_only_files;

/// Exceptions from the length rules; its numbers may only go down.
const RATCHET: &str = "tidy-ratchet.toml";
/// Allowed number of unsafe sites, per file.
const BUDGET: &str = "unsafe-budget.toml";

const RATCHET_COMMENT: &str = "\
Files and functions that are longer than the rules allow, with the code lines they have now.
The numbers may only go down: `cargo xtask tidy` fails when one is exceeded, when one is larger
than needed, and when one is higher than in an earlier version of this file.";

const BUDGET_COMMENT: &str = "\
Unsafe sites per file: blocks, impls, functions, traits, extern blocks and attributes.
`cargo xtask tidy` fails when a file has more or fewer. `cargo xtask tidy --fix` lowers numbers and
adds new files; a number is raised by hand, where a reviewer sees it.";

/// Every parsed Rust file of the workspace with its facts, by path.
pub(crate) type Sources = BTreeMap<String, (Source, Facts)>;

/// Parses every Rust file among `files`; what cannot be parsed becomes a finding.
pub(crate) fn parse_all(root: &Path, files: &[String]) -> Outcome<(Sources, Vec<String>)> {
    let mut sources = Sources::new();
    let mut findings = Vec::new();
    for path in files.iter().filter(|path| path.ends_with(".rs")) {
        match Source::parse(path, &workspace::read(root, path)?) {
            Ok(source) => {
                let facts = facts::collect(&source);
                sources.insert(path.clone(), (source, facts));
            }
            Err(message) => findings.push(message),
        }
    }
    Ok((sources, findings))
}

/// Runs every check. With `fix`, the ratchet and the budget are tightened first.
///
/// # Errors
/// The findings, a line each.
pub(crate) fn run(fix: bool) -> Outcome {
    let root = workspace::root();
    let files = workspace::files(&root)?;
    let packages = workspace::packages()?;
    let (sources, mut findings) = parse_all(&root, &files)?;

    findings.extend(arrows::check(&packages));
    let older = history(&root, RATCHET);
    findings.extend(ratchet(&root, &sources, &older, fix)?);
    findings.extend(budget(&root, &sources, fix)?);
    findings.extend(optin::check(&packages, &sources));
    findings.extend(submit::check(&sources));
    findings.extend(linux::check(&sources));
    let tests = sources.values().flat_map(|(_, facts)| facts.tests.iter().map(String::as_str));
    findings.extend(mutants::check(&root, &tests.collect()));
    findings.extend(scenarios::check(&sources));
    findings.extend(modules::check(&packages, &sources));
    let mut documents = BTreeMap::new();
    for path in files.iter().filter(|path| words::is_checked(path)) {
        let text = workspace::read(&root, path)?;
        findings.extend(words::check(path, &text));
        if path.ends_with(".md") {
            documents.insert(path.clone(), text);
        }
    }
    findings.extend(links::check(&documents, &|path: &str| root.join(path).exists()));
    let instructions = workspace::read(&root, instr::BASELINE)?;
    findings.extend(figures::check(&documents, Figures::of(&sources), &instructions));

    if findings.is_empty() {
        println!(
            "tidy: {} Rust files, {} documents, {} earlier versions of {RATCHET}: nothing found",
            sources.len(),
            documents.len(),
            older.len()
        );
        return Ok(());
    }
    let count = findings.len();
    Err(format!(
        "{}\ntidy: {count} finding{}",
        findings.join("\n"),
        if count == 1 { "" } else { "s" }
    ))
}

/// Prints the figures of the suite that README has, as they are in the code.
///
/// # Errors
/// A file cannot be read.
pub(crate) fn badges() -> Outcome {
    let root = workspace::root();
    let (sources, findings) = parse_all(&root, &workspace::files(&root)?)?;
    if !findings.is_empty() {
        return Err(findings.join("\n"));
    }
    println!("{}", Figures::of(&sources));
    Ok(())
}

/// The numbers in a file of the repository; none when there is no such file.
fn stored(root: &Path, file: &str) -> Outcome<Sections> {
    if !root.join(file).exists() {
        return Ok(Sections::new());
    }
    counts::parse(file, &workspace::read(root, file)?)
}

/// File and function lengths against the ratchet file and its `older` versions.
fn ratchet(root: &Path, sources: &Sources, older: &[String], fix: bool) -> Outcome<Vec<String>> {
    let measured = length::measure(sources);
    let mut allowed = stored(root, RATCHET)?;
    let mut findings = Vec::new();
    let known: Vec<&str> = measured.iter().map(|group| group.section).collect();
    for section in allowed.keys().filter(|name| !known.contains(&name.as_str())) {
        findings
            .push(format!("{RATCHET}: there is no section [{section}]: use {}", known.join(", ")));
    }
    if fix {
        let mut tight = Sections::new();
        for group in &measured {
            let before = allowed.remove(group.section).unwrap_or_default();
            let numbers = counts::tighten(group.limit, &group.actual, &before, false);
            tight.insert(group.section.to_owned(), numbers);
        }
        workspace::write(root, RATCHET, &counts::render(RATCHET_COMMENT, &tight))?;
        allowed = tight;
    }
    for group in &measured {
        let none = Numbers::new();
        let entries = allowed.get(group.section).unwrap_or(&none);
        findings.extend(counts::judge(group.limit, &group.actual, entries, RATCHET, "code lines"));
    }
    for older in older {
        // An older version that cannot be read any more says nothing about this one.
        if let Ok(older) = counts::parse(RATCHET, older) {
            let risen = counts::risen(&allowed, &older);
            findings.extend(risen.iter().map(|what| format!("{RATCHET}: {what}")));
        }
    }
    Ok(findings)
}

/// Every committed version of a file; none where there is no git or no history.
fn history(root: &Path, file: &str) -> Vec<String> {
    let git = |arguments: &[&str]| {
        workspace::output_of(Command::new("git").current_dir(root).args(arguments)).ok()
    };
    let commits = git(&["log", "--format=%H", "--", file]).unwrap_or_default();
    commits.lines().filter_map(|commit| git(&["show", &format!("{commit}:{file}")])).collect()
}

/// Unsafe sites per file against the budget file.
fn budget(root: &Path, sources: &Sources, fix: bool) -> Outcome<Vec<String>> {
    let counted = sources.iter().filter(|(_, (_, facts))| !facts.sites.is_empty());
    let actual: Numbers =
        counted.map(|(path, (_, facts))| (path.clone(), facts.sites.len())).collect();
    let mut sections = stored(root, BUDGET)?;
    let mut allowed = sections.remove("").unwrap_or_default();
    let mut findings: Vec<String> =
        sections.keys().map(|name| format!("{BUDGET}: there is no section [{name}]")).collect();
    if fix {
        allowed = counts::tighten(0, &actual, &allowed, true);
        let sections = Sections::from([(String::new(), allowed.clone())]);
        workspace::write(root, BUDGET, &counts::render(BUDGET_COMMENT, &sections))?;
    }
    findings.extend(counts::judge(0, &actual, &allowed, BUDGET, "unsafe sites"));
    Ok(findings)
}

/// Sources from texts, for the tests of the checks.
#[cfg(test)]
pub(crate) fn planted(files: &[(&str, &str)]) -> Sources {
    let parsed = files.iter().map(|&(path, text)| {
        let source = Source::parse(path, text).unwrap();
        let facts = facts::collect(&source);
        (path.to_owned(), (source, facts))
    });
    parsed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> std::path::PathBuf {
        let directory = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        directory
    }

    #[test]
    fn fix_lists_new_unsafe_files_and_lowers_but_does_not_raise() {
        let root = scratch("budget");
        let two = planted(&[("a.rs", "fn f() { unsafe { g() }; unsafe { g() } }")]);
        let one = planted(&[("a.rs", "fn f() { unsafe { g() } }")]);
        let unlisted = budget(&root, &two, false).unwrap();
        assert_eq!(unlisted, ["a.rs: 2 unsafe sites, the limit is 0"]);
        assert!(budget(&root, &two, true).unwrap().is_empty());
        let fewer = budget(&root, &one, false).unwrap();
        assert_eq!(fewer, ["unsafe-budget.toml: \"a.rs\" = 2: lower it to 1"]);
        assert!(budget(&root, &one, true).unwrap().is_empty());
        let more = budget(&root, &two, true).unwrap();
        assert_eq!(more, ["a.rs: 2 unsafe sites, and unsafe-budget.toml allows 1"]);
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn the_ratchet_makes_no_exception_by_itself_and_cannot_be_raised_again() {
        let root = scratch("ratchet");
        let body = "    g();\n".repeat(80);
        let long = planted(&[("xtask/src/a.rs", &format!("fn f() {{\n{body}}}\n"))]);
        let finding = "xtask/src/a.rs::f: 82 code lines, the limit is 70";
        assert_eq!(ratchet(&root, &long, &[], true).unwrap(), [finding]);
        let entry = |n: usize| format!("[functions]\n\"xtask/src/a.rs::f\" = {n}\n");
        workspace::write(&root, RATCHET, &entry(82)).unwrap();
        assert!(ratchet(&root, &long, &[], false).unwrap().is_empty());

        let older = [entry(75)];
        let raised = ratchet(&root, &long, &older, false).unwrap();
        let expected = "tidy-ratchet.toml: \"xtask/src/a.rs::f\" went up from 75 to 82";
        assert_eq!(raised, [expected]);
        std::fs::remove_dir_all(root).unwrap();
    }
}
