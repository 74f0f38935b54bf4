//! Misuse that must not compile, each for its own reason, and neighbouring use that must.
//!
//! Each program in `ui` says at its top which error it is refused with (`//@ expect: E0382`) and what the
//! message must contain (`//@ says: ...`). The files next to them are the whole output of the compiler that
//! is pinned for this repository.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn misuse_does_not_compile_and_its_neighbours_do() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/pass/*.rs");
    cases.compile_fail("tests/ui/*.rs");
}

fn programs() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui");
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut programs: Vec<_> =
        files.filter(|path| path.extension() == Some("rs".as_ref())).collect();
    programs.sort();
    programs
}

/// What the first lines of a program say after `//@ key:`.
fn marks<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("//@ "));
    lines.filter_map(|mark| mark.strip_prefix(key)?.strip_prefix(": ")).collect()
}

#[test]
fn each_program_is_refused_for_its_own_reason_only() {
    let programs = programs();
    assert!(programs.len() >= 25, "only {} programs", programs.len());
    for program in programs {
        let name = program.file_name().unwrap().display();
        let text = fs::read_to_string(&program).unwrap();
        let said = fs::read_to_string(program.with_extension("stderr")).unwrap();
        let [code] = marks(&text, "expect")[..] else { panic!("{name}: one error is expected") };
        assert!(said.contains(&format!("error[{code}]: ")), "{name}: not {code}:\n{said}");
        let errors = said.lines().filter(|line| line.starts_with("error"));
        let others: Vec<_> =
            errors.filter(|line| !line.starts_with(&format!("error[{code}]"))).collect();
        assert!(others.is_empty(), "{name}: also refused for {others:?}");
        assert!(!said.contains("warning"), "{name}: a warning hides the reason:\n{said}");
        let messages = marks(&text, "says");
        assert!(!messages.is_empty(), "{name}: says nothing");
        for message in messages {
            assert!(said.contains(message), "{name}: `{message}` is missing in:\n{said}");
        }
    }
}
