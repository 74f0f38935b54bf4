//! `cargo xtask safety`: the audit of every unsafe site, generated from the source.
//!
//! Sites are named by file and enclosing item, not by line, so that the document changes when the
//! unsafe code or its justification changes and at no other time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::Outcome;
use crate::facts::{self, Facts, Kind, Site};
use crate::mutants;
use crate::source::Source;
use crate::tidy::{self, Sources};
use crate::workspace::{self, Package};

const DOCUMENT: &str = "SAFETY.md";

const INTRODUCTION: &str = "\
# Unsafe code

This document is generated from the source by `cargo xtask safety`. Change the comments in the
source, not this file; continuous integration fails when the two differ.

The contract that everything below rests on: memory, descriptors, paths and addresses that an
operation uses are moved into that operation's slot when it is submitted, and nothing takes them out
before the kernel has posted the operation's final completion. Dropping or forgetting a future,
closing the ring, a failed system call and a panic elsewhere do not shorten that time; what cannot be
waited for is leaked, never freed.

How to read it: each crate denies unsafe code, and single files opt in. A file says why it needs
unsafe code and which tests exercise it. Each site stands under its file with the item it is in and
the comment that justifies it: for a block or an impl, why the obligations are met; for a function or
a trait, which obligations its user takes on. The number of sites per file is fixed in
`unsafe-budget.toml`.
";

/// One file of the document.
struct Entry<'s> {
    path: &'s str,
    why: Vec<String>,
    tests: BTreeSet<String>,
    sites: Vec<&'s Site>,
}

/// Writes the document, or with `check` compares it with what would be written.
///
/// # Errors
/// Sites without a justification, test names that no test has, or a document that is out of date.
pub(crate) fn run(check: bool) -> Outcome {
    let root = workspace::root();
    let files = workspace::files(&root)?;
    let packages = workspace::packages()?;
    let (sources, unparsed) = tidy::parse_all(&root, &files)?;
    if !unparsed.is_empty() {
        return Err(unparsed.join("\n"));
    }
    let document = generate(&packages, &sources).map_err(|findings| findings.join("\n"))?;
    if !check {
        workspace::write(&root, DOCUMENT, &document)?;
        println!("safety: wrote {DOCUMENT}");
        return Ok(());
    }
    let stored = workspace::read(&root, DOCUMENT).unwrap_or_default();
    match first_difference(&stored, &document) {
        None => {
            println!("safety: {DOCUMENT} is up to date");
            Ok(())
        }
        Some(line) => Err(format!(
            "{DOCUMENT}:{line}: not what the source says: run `cargo xtask safety` and read the change"
        )),
    }
}

/// The first line in which two texts differ, counted from 1.
fn first_difference(a: &str, b: &str) -> Option<usize> {
    if a == b {
        return None;
    }
    let same = a.lines().zip(b.lines()).take_while(|(a, b)| a == b).count();
    Some(same + 1)
}

/// The document, or what is wrong with the source.
fn generate(packages: &[Package], sources: &Sources) -> Result<String, Vec<String>> {
    let test_only = tidy::test_only_files(packages, sources);
    let known: BTreeSet<&str> =
        sources.values().flat_map(|(_, facts)| facts.tests.iter().map(String::as_str)).collect();
    let mut findings = Vec::new();
    let mut body = String::new();
    let mut totals: BTreeMap<&str, Vec<&Site>> = BTreeMap::new();
    let mut in_tests: BTreeMap<&str, usize> = BTreeMap::new();
    for package in packages {
        let within = format!("{}/", package.directory);
        let mut entries = Vec::new();
        for (path, (source, facts)) in sources.iter().filter(|(path, _)| path.starts_with(&within))
        {
            let of_tests = test_only.contains(path);
            let (of_library, others): (Vec<&Site>, Vec<&Site>) =
                facts.sites.iter().partition(|site| !of_tests && !site.in_test);
            if !others.is_empty() {
                in_tests.insert(path, others.len());
            }
            if !of_library.is_empty() {
                entries.push(entry(path, source, facts, of_library, &known, &mut findings));
            }
        }
        let sites = entries.iter().flat_map(|entry| entry.sites.iter().copied()).collect();
        totals.insert(&package.name, sites);
        write_package(&mut body, package, &entries);
    }
    if !findings.is_empty() {
        return Err(findings);
    }
    let mut document = INTRODUCTION.to_owned();
    write_totals(&mut document, &totals);
    document.push_str(&body);
    write_test_code(&mut document, &in_tests);
    mutants::write_table(&mut document);
    Ok(document)
}

/// Reads the header of a file and checks that nothing is missing.
fn entry<'s>(
    path: &'s str,
    source: &Source,
    facts: &Facts,
    sites: Vec<&'s Site>,
    known: &BTreeSet<&str>,
    findings: &mut Vec<String>,
) -> Entry<'s> {
    let header = facts::safety_section(&facts::documentation(&source.tree.attrs));
    let (why, mut tests) = split_header(&header.unwrap_or_default());
    tests.extend(test_lines(&source.text));
    // A file that only states contracts has nothing of its own to run.
    let acts = sites.iter().any(|site| !matches!(site.kind, Kind::Function | Kind::Trait));
    if acts && tests.is_empty() {
        findings.push(format!("{path}: needs a `//! Tests: name, name` line under `# Safety`"));
    }
    for name in &tests {
        let function = name.rsplit("::").next().unwrap_or(name);
        if !known.contains(function) && !facts.tests.contains(function) {
            findings.push(format!("{path}: no test is called `{name}`"));
        }
    }
    for site in sites.iter().filter(|site| site.why.is_none()) {
        let form = match site.kind {
            Kind::Function | Kind::Trait => "a `# Safety` section",
            Kind::Block | Kind::Impl | Kind::Extern | Kind::Attribute => {
                "a SAFETY comment above it"
            }
        };
        let (line, kind, item) = (site.line, site.kind, &site.item);
        findings.push(format!("{path}:{line}: the unsafe {kind} in `{item}` needs {form}"));
    }
    Entry { path, why, tests, sites }
}

/// Separates the lines of a `# Safety` section from its paragraph of test names.
fn split_header(header: &[String]) -> (Vec<String>, BTreeSet<String>) {
    let mut why = Vec::new();
    let mut tests = BTreeSet::new();
    let mut naming = false;
    for line in header {
        if let Some(first) = line.strip_prefix("Tests:") {
            naming = true;
            tests.extend(names(first));
        } else if naming && !line.is_empty() {
            tests.extend(names(line));
        } else {
            naming = false;
            why.push(line.clone());
        }
    }
    (why, tests)
}

/// Names in `// TESTS: name, name` lines.
fn test_lines(text: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("// TESTS:"));
    lines.flat_map(names).collect()
}

/// Names separated by commas, back-quotes and full stops taken off.
fn names(text: &str) -> impl Iterator<Item = String> {
    let names = text.split(',').map(|name| name.trim().trim_matches(['`', '.']).to_owned());
    names.filter(|name| !name.is_empty())
}

fn write_totals(document: &mut String, totals: &BTreeMap<&str, Vec<&Site>>) {
    document.push_str("\n| crate | blocks | impls | functions and traits | other |\n");
    document.push_str("|---|---:|---:|---:|---:|\n");
    for (name, sites) in totals {
        let count = |kinds: &[Kind]| sites.iter().filter(|site| kinds.contains(&site.kind)).count();
        let _ = writeln!(
            document,
            "| {name} | {} | {} | {} | {} |",
            count(&[Kind::Block]),
            count(&[Kind::Impl]),
            count(&[Kind::Function, Kind::Trait]),
            count(&[Kind::Extern, Kind::Attribute]),
        );
    }
}

fn write_package(body: &mut String, package: &Package, entries: &[Entry<'_>]) {
    if entries.is_empty() {
        return;
    }
    let _ = writeln!(body, "\n## {}", package.name);
    for entry in entries {
        let short = entry.path.strip_prefix(&package.directory).unwrap_or(entry.path);
        let _ = writeln!(body, "\n### [{}]({})\n", short.trim_start_matches('/'), entry.path);
        let why = paragraphs(&entry.why, "");
        if !why.is_empty() {
            let _ = writeln!(body, "{why}\n");
        }
        if !entry.tests.is_empty() {
            let tests: Vec<String> = entry.tests.iter().map(|name| format!("`{name}`")).collect();
            let _ = writeln!(body, "Tests: {}\n", tests.join(", "));
        }
        for (index, site) in entry.sites.iter().enumerate() {
            let mark = format!("{}. ", index + 1);
            let indent = " ".repeat(mark.len());
            let text = paragraphs(site.why.as_deref().unwrap_or_default(), &indent);
            let _ = writeln!(body, "{mark}**{} `{}`**: {text}", phrase(site.kind), site.item);
        }
    }
}

/// How a site is introduced.
fn phrase(kind: Kind) -> &'static str {
    match kind {
        Kind::Block => "block in",
        Kind::Impl => "unsafe",
        Kind::Function => "unsafe fn",
        Kind::Trait => "unsafe trait",
        Kind::Extern => "extern block in",
        Kind::Attribute => "unsafe attribute on",
    }
}

fn write_test_code(document: &mut String, files: &BTreeMap<&str, usize>) {
    if files.is_empty() {
        return;
    }
    document.push_str("\n## Test code\n\nUnsafe sites that are compiled for tests only.\n");
    document.push_str("\n| file | sites |\n|---|---:|\n");
    for (path, count) in files {
        let _ = writeln!(document, "| [{path}]({path}) | {count} |");
    }
}

/// Joins the lines of each paragraph and keeps list items and blank lines apart.
fn paragraphs(lines: &[String], indent: &str) -> String {
    // Each piece with what separates it from the one before.
    let mut pieces: Vec<(&str, String)> = Vec::new();
    let mut blank = false;
    for line in lines {
        let item = line.strip_prefix("* ").or_else(|| line.strip_prefix("- "));
        match (pieces.last_mut(), item) {
            _ if line.is_empty() => {}
            (Some((_, piece)), None) if !blank => {
                piece.push(' ');
                piece.push_str(line);
            }
            (_, item) => {
                let separator = if blank { "\n\n" } else { "\n" };
                pieces.push((
                    separator,
                    item.map_or_else(|| line.clone(), |text| format!("- {text}")),
                ));
            }
        }
        blank = line.is_empty();
    }
    let mut text = String::new();
    for (index, (separator, piece)) in pieces.iter().enumerate() {
        if index > 0 {
            text.push_str(separator);
            text.push_str(indent);
        }
        text.push_str(&escape(&without_item_links(piece)));
    }
    text
}

/// Turns links to Rust items, which only rustdoc can follow, into their text.
fn without_item_links(text: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once('[') {
        result.push_str(before);
        let Some((name, after)) = link.split_once(']') else {
            result.push('[');
            rest = link;
            break;
        };
        let target = after.strip_prefix('(').and_then(|after| after.split_once(')'));
        let is_code = name.len() > 2 && name.starts_with('`') && name.ends_with('`');
        match target {
            Some((target, after)) if !target.contains("://") => {
                result.push_str(name);
                rest = after;
            }
            None if is_code => {
                result.push_str(name);
                rest = after;
            }
            _ => {
                result.push('[');
                rest = link;
            }
        }
    }
    result + rest
}

/// Makes signs visible that a Markdown reader would take as markup, outside code and web links.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for (index, piece) in text.split('`').enumerate() {
        if index > 0 {
            escaped.push('`');
        }
        for c in piece.chars() {
            let markup = matches!(c, '<' | '*') || (c == '[' && !piece.contains("](http"));
            if index % 2 == 0 && markup {
                escaped.push('\\');
            }
            escaped.push(c);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "//! Maps.\n//!\n//! # Safety\n//! It maps memory,\n//! and so on.\n//!\n\
        //! Tests: maps_it, other::unmaps_it\n\
        //!\n//! - And a rule.\n//! - And another.\n#![allow(unsafe_code, reason = \"maps\")]\n\
        /// # Safety\n/// `a` is *live*.\nunsafe fn f() {}\n\
        fn g() {\n    // SAFETY: because of <this>\n    // - and that\n    unsafe { h() }\n}\n\
        #[cfg(test)]\nmod tests { #[test] fn maps_it() { unsafe { h() } } }\n";
    const TESTS: &str = "#[test]\nfn unmaps_it() { unsafe { h() } }";

    fn package() -> Package {
        let target = |kind: &str, path: &str| (kind.to_owned(), path.to_owned());
        Package {
            name: "a".to_owned(),
            dependencies: Vec::new(),
            targets: vec![
                target("lib", "crates/a/src/lib.rs"),
                target("test", "crates/a/tests/t.rs"),
            ],
            features: Vec::new(),
            directory: "crates/a".to_owned(),
        }
    }

    fn generated(file: &str) -> Result<String, Vec<String>> {
        let files = [
            ("crates/a/src/lib.rs", "mod file;"),
            ("crates/a/src/file.rs", file),
            ("crates/a/tests/t.rs", TESTS),
        ];
        generate(&[package()], &tidy::planted(&files))
    }

    #[test]
    fn the_document_holds_each_site_with_its_reason_and_tests() {
        let document = generated(FILE).unwrap();
        let expected = "## a\n\n### [src/file.rs](crates/a/src/file.rs)\n\n\
            It maps memory, and so on.\n\n- And a rule.\n- And another.\n\nTests: `maps_it`, `other::unmaps_it`\n\n\
            1. **unsafe fn `f`**: `a` is \\*live\\*.\n\
            2. **block in `g`**: because of \\<this>\n   - and that\n";
        assert!(document.contains(expected), "{document}");
        assert!(document.contains("| a | 1 | 0 | 1 | 0 |"), "{document}");
        assert!(document.contains("| [crates/a/src/file.rs](crates/a/src/file.rs) | 1 |"));
        assert!(document.contains("| [crates/a/tests/t.rs](crates/a/tests/t.rs) | 1 |"));
    }

    #[test]
    fn moving_code_to_other_lines_does_not_change_the_document() {
        let moved = FILE.replace("fn g()", "\n\n// Elsewhere.\nfn g()");
        assert_eq!(generated(FILE), generated(&moved));
    }

    #[test]
    fn a_changed_reason_changes_the_document() {
        assert_ne!(generated(FILE), generated(&FILE.replace("and that", "and more")));
    }

    #[test]
    fn what_is_missing_is_found() {
        for (from, to, finding) in [
            (
                "SAFETY: because",
                "Because",
                "crates/a/src/file.rs:18: the unsafe block in `g` needs",
            ),
            ("/// # Safety\n", "", "crates/a/src/file.rs:13: the unsafe function in `f` needs"),
            (
                "unmaps_it",
                "never_was",
                "crates/a/src/file.rs: no test is called `other::never_was`",
            ),
            ("//! Tests:", "//! Nothing:", "crates/a/src/file.rs: needs a `//! Tests:"),
        ] {
            let findings = generated(&FILE.replacen(from, to, 1)).unwrap_err();
            assert!(findings.iter().any(|found| found.starts_with(finding)), "{findings:?}");
        }
    }

    #[test]
    fn links_to_items_become_their_text() {
        for (text, plain) in [
            ("see [`Ring`] and [`push`](crate::Ring::push).", "see `Ring` and `push`."),
            ("[the ring](super::Ring) of `[u8]`", "the ring of `[u8]`"),
            ("[page](https://a.b/c) [x] [", "[page](https://a.b/c) [x] ["),
        ] {
            assert_eq!(without_item_links(text), plain);
        }
        let lines = ["a [the", "ring](Ring) b", "* c", "d", "", "e"].map(str::to_owned);
        assert_eq!(paragraphs(&lines, "  "), "a the ring b\n  - c d\n\n  e");
        assert_eq!(escape("a * [b] `* [c]` [d](http://e)"), "a \\* \\[b] `* [c]` [d](http://e)");
    }

    #[test]
    fn a_file_of_contracts_needs_no_tests() {
        let contracts = "//! # Safety\n//! Why.\n/// # Safety\n/// Rules.\nunsafe trait T {}\n";
        let document = generated(contracts).unwrap();
        let expected = "(crates/a/src/file.rs)\n\nWhy.\n\n1. **unsafe trait `T`**: Rules.\n";
        assert!(document.contains(expected), "{document}");
    }

    #[test]
    fn test_names_may_run_over_lines_and_stand_in_plain_comments() {
        let header = ["Why.", "Tests: `a`, b,", "c.", "", "More."].map(str::to_owned);
        let (why, tests) = split_header(&header);
        assert_eq!(why, ["Why.", "", "More."]);
        assert_eq!(tests, BTreeSet::from(["a", "b", "c"].map(str::to_owned)));
        assert_eq!(test_lines("x\n    // TESTS: d, e\n"), ["d", "e"]);
    }

    #[test]
    fn the_first_difference_is_named() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(first_difference("a\nb\n", "a\nc\n"), Some(2));
        assert_eq!(first_difference("a\n", "a\nb\n"), Some(2));
    }
}
