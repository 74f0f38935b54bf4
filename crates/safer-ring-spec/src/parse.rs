//! Reading specifications from a text.
//!
//! A text is one of these; which, is found out:
//!
//! - specifications themselves, each with its title (`sys_name - What it does`) in the first column;
//! - C code with specifications in its comments (`/** .. */`);
//! - a patch to such code, also inside of a mail or of a page that shows one: what it adds is read;
//! - what a kernel shows in `/sys/kernel/debug/kapi/specs/`.

use std::collections::{BTreeMap, HashSet};

use crate::diagnostic::{Diagnostic, Findings, Place};
use crate::grammar::{TELLING, is_name};
use crate::model::Specification;
use crate::read::debugfs;
use crate::read::lower::{Lowered, lower};
use crate::read::section::{RawSpec, sections};
use crate::read::source::{Form, candidates, form};

/// What was found in a text.
#[derive(Clone, Debug, Default)]
pub struct Document {
    /// The specifications, in their order.
    pub specifications: Vec<Located>,
    /// What is wrong, in the order of the places.
    pub diagnostics: Vec<Diagnostic>,
}

/// A specification, and where its parts are.
#[derive(Clone, Debug)]
pub struct Located {
    /// The specification.
    pub specification: Specification,
    /// Where its title is.
    pub place: Place,
    /// Where its statements are, by their ids.
    pub places: BTreeMap<String, Place>,
}

/// Reads all specifications of a text. `file` is its name, for the diagnostics.
///
/// Comments of C code that are no specifications are passed over; a comment is one if it says from where the call may
/// be made (`contexts:`) and has another key of the grammar.
#[must_use]
pub fn parse(file: &str, text: &str) -> Document {
    let mut findings = Findings::new(file);
    let specifications = match form(text) {
        Form::Debugfs => read_debugfs(text, &mut findings),
        form => read_candidates(form, text, &mut findings),
    };
    if specifications.is_empty() {
        let expected =
            "a title (`sys_name - What it does`) with `contexts:` and other keys below it";
        findings.error(Place { line: 1, column: 1 }, "there is no specification in here", expected);
    }
    Document { specifications, diagnostics: findings.finish() }
}

/// Reads a text that may not be UTF-8: what is none is replaced, with a diagnostic.
#[must_use]
pub fn parse_bytes(file: &str, bytes: &[u8]) -> Document {
    let text = String::from_utf8_lossy(bytes);
    let mut document = parse(file, &text);
    if let Err(error) = std::str::from_utf8(bytes) {
        let before = String::from_utf8_lossy(bytes.get(..error.valid_up_to()).unwrap_or_default());
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let number = |n| u32::try_from(n).unwrap_or(u32::MAX);
        let mut findings = Findings::new(file);
        let place = Place { line: number(line), column: number(column) };
        findings.warning(place, "this is not UTF-8; it is replaced", "UTF-8");
        document.diagnostics.extend(findings.finish());
        document.diagnostics.sort_by_key(|diagnostic| diagnostic.place);
    }
    document
}

fn read_candidates(form: Form, text: &str, findings: &mut Findings) -> Vec<Located> {
    let mut specifications = Vec::new();
    for candidate in candidates(form, text, findings) {
        // What is found in a comment counts only if it is a specification.
        if form != Form::Plain {
            let mut inside = Findings::new("");
            if verdict(&sections(&candidate, &mut inside)) == Verdict::Other {
                continue;
            }
        }
        let raw = sections(&candidate, findings);
        let verdict = verdict(&raw);
        if raw.name.is_empty() {
            findings.error(raw.place, "a text without a title", "`sys_name - What it does`");
            continue;
        }
        if verdict != Verdict::Specification {
            findings.error(
                raw.place,
                "nothing says from where the call may be made",
                "`contexts: ..`",
            );
            if form != Form::Plain {
                continue;
            }
        }
        let place = raw.place;
        let lowered = lower(raw, candidate.defines.as_deref(), findings);
        specifications.push(located(lowered, place, findings));
    }
    specifications
}

/// What a candidate is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// A specification.
    Specification,
    /// One without contexts.
    NoContext,
    /// Something else.
    Other,
}

fn verdict(raw: &RawSpec) -> Verdict {
    let has = |keys: &[&str]| raw.sections.iter().any(|s| keys.contains(&s.key.as_str()));
    // Several keys of the grammar together are no accident; one alone may be a word in prose.
    let telling = raw.sections.iter().filter(|s| TELLING.contains(&s.key.as_str())).count();
    match (has(&["contexts", "context-flags"]), telling) {
        (true, 1..) => Verdict::Specification,
        (false, 2..) => Verdict::NoContext,
        _ => Verdict::Other,
    }
}

fn read_debugfs(text: &str, findings: &mut Findings) -> Vec<Located> {
    let raw = debugfs::read(text, findings);
    if !is_name(&raw.name) {
        findings.error(raw.place, "what the kernel shows has no name", "`Name: sys_..`");
        return Vec::new();
    }
    let place = raw.place;
    let lowered = lower(raw, None, findings);
    vec![located(lowered, place, findings)]
}

/// Puts the places to the names of the statements, and looks for names that are given twice.
fn located(lowered: Lowered, place: Place, findings: &mut Findings) -> Located {
    let Lowered { specification, places } = lowered;
    let mut by_id = BTreeMap::new();
    let mut seen = HashSet::new();
    for (statement, place) in specification.statements().iter().zip(places) {
        if !seen.insert(statement.id.clone()) {
            let message = format!("the id `{}` is given twice", statement.id);
            findings.warning(place, message, "an id of its own for each statement");
        }
        by_id.entry(statement.id.clone()).or_insert(place);
    }
    Located { specification, place, places: by_id }
}
