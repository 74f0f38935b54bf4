//! The catalogue, the tables and the documents say the same.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use safer_ring_conformance::catalogue::{DROPS, Entry, PEER_BUGS, PITFALLS, Shown};
use safer_ring_conformance::{ENVIRONMENTS, Expect, OpKind, Tag, all};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn document(name: &str) -> String {
    std::fs::read_to_string(root().join("docs").join(name)).unwrap()
}

/// All Rust sources of the workspace's crates, in one text.
fn sources() -> String {
    fn collect(directory: &Path, text: &mut String) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, text);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let mut text = String::new();
    for entry in std::fs::read_dir(root().join("crates")).unwrap() {
        let path = entry.unwrap().path();
        // What it has itself are scenarios, but for what it does with all of them.
        let own = path.ends_with("safer-ring-conformance");
        for part in if own { &["tests"][..] } else { &["src", "tests"] } {
            if path.join(part).is_dir() {
                collect(&path.join(part), &mut text);
            }
        }
    }
    text
}

fn entries() -> impl Iterator<Item = &'static Entry> {
    [DROPS, PITFALLS, PEER_BUGS].into_iter().flatten()
}

#[test]
fn scenarios_of_the_catalogue_exist() {
    let names: BTreeSet<_> = all().iter().map(|scenario| scenario.name).collect();
    for (title, shown) in entries() {
        if let Shown::By(scenarios) | Shown::Both(scenarios, _) = shown {
            assert!(!scenarios.is_empty(), "{title}");
            for scenario in *scenarios {
                assert!(names.contains(scenario), "{title}: there is no scenario {scenario}");
            }
        }
    }
}

#[test]
fn tests_of_the_catalogue_exist() {
    let sources = sources();
    for (title, shown) in entries() {
        if let Shown::Elsewhere(tests) | Shown::Both(_, tests) = shown {
            assert!(!tests.is_empty(), "{title}");
            for test in *tests {
                let there = [format!("fn {test}("), format!("fn {test}<")]
                    .iter()
                    .any(|f| sources.contains(f));
                assert!(there, "{title}: there is no test {test}");
            }
        }
    }
}

#[test]
fn names_are_given_once() {
    let scenarios = all();
    let names: BTreeSet<_> = scenarios.iter().map(|scenario| scenario.name).collect();
    assert_eq!(names.len(), scenarios.len());
    for (title, _) in entries() {
        assert_eq!(entries().filter(|(other, _)| other == title).count(), 1, "{title}");
    }
}

/// The bold words at the beginning of each row of a document's tables.
fn titles(text: &str) -> BTreeSet<&str> {
    text.lines().filter_map(|line| line.strip_prefix("| **")?.split("**").next()).collect()
}

fn of(entries: &'static [Entry]) -> BTreeSet<&'static str> {
    entries.iter().map(|(title, _)| *title).collect()
}

#[test]
fn every_class_of_bugs_of_other_libraries_is_in_the_catalogue() {
    assert_eq!(titles(&document("OTHER-LIBRARIES.md")), of(PEER_BUGS));
}

#[test]
fn every_pitfall_is_in_the_catalogue() {
    assert_eq!(titles(&document("PITFALLS.md")), of(PITFALLS));
}

#[test]
fn every_row_of_what_differs_is_shown_and_no_scenario_names_another() {
    let text = document("BACKENDS.md");
    let (_, table) = text.split_once("## What differs").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let cell = |line: &'static str| line.strip_prefix("| ")?.split(" | ").next();
    let table: &'static str = Box::leak(table.to_owned().into_boxed_str());
    let rows: BTreeSet<&str> =
        table.lines().filter_map(cell).filter(|row| *row != "what").collect();
    let mut shown: BTreeSet<&str> = BTreeSet::new();
    for scenario in all() {
        for (tag, expect) in scenario.except {
            if let Expect::Differs { row, seen } = expect {
                assert!(rows.contains(row), "{}: there is no row {row}", scenario.name);
                assert!(!seen.is_empty(), "{} on {tag:?}", scenario.name);
                shown.insert(row);
            }
        }
    }
    assert_eq!(rows, shown);
}

#[test]
fn the_environments_differ_in_what_they_say() {
    for environment in ENVIRONMENTS {
        let backends = [Tag::Uring, Tag::Fallback, Tag::Sim];
        let of = backends.iter().filter(|tag| environment.is(**tag)).count();
        assert_eq!(of, 1, "{environment:?}");
        assert_ne!(environment.is(Tag::Local), environment.is(Tag::Shared), "{environment:?}");
        let same = |other: &&_| std::ptr::eq(*other, environment);
        let named = ENVIRONMENTS.iter().filter(|other| other.name == environment.name);
        assert!(named.clone().all(|other| same(&other)) && named.count() == 1);
    }
}

#[test]
fn scenarios_of_operations_name_them() {
    let used: BTreeSet<OpKind> =
        all().iter().flat_map(|scenario| scenario.ops.iter().copied()).collect();
    assert_eq!(used.len(), 34, "{used:?}");
}
