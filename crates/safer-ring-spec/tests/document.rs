//! `docs/SPEC.md` says what is so: its example is read without complaint, and its table is that of the specifications.
//!
//! `SAFER_RING_WRITE=1 cargo test -p safer-ring-spec --test document` writes the table anew.

use std::fmt::Write;
use std::path::PathBuf;

use safer_ring_spec::{parse, shipped};

const BEGIN: &str =
    "<!-- disagreements: written by a test of safer-ring-spec, see CONTRIBUTING.md -->\n";
const END: &str = "<!-- end -->";

fn document() -> (PathBuf, String) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/SPEC.md");
    let text = std::fs::read_to_string(&path).expect("a file of the repository");
    (path, text)
}

/// A row for each statement that disagrees with another text.
fn table() -> String {
    let mut table =
        String::from("\n| statement | what is so | what another text says |\n|---|---|---|\n");
    for spec in shipped() {
        for statement in spec.statements() {
            if let Some(other) = &statement.common.disagrees {
                let cell = |text: &str| text.replace('|', "\\|");
                let text = cell(&statement.text);
                writeln!(table, "| `{}` | {text} | {} |", statement.id, cell(other))
                    .expect("a string");
            }
        }
    }
    table.push('\n');
    table
}

#[test]
fn the_table_is_that_of_the_specifications() {
    let (path, text) = document();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (old, after) = rest.split_once(END).unwrap();
    let new = table();
    assert!(new.lines().count() > 10);
    if std::env::var_os("SAFER_RING_WRITE").is_some() {
        std::fs::write(path, format!("{before}{BEGIN}{new}{END}{after}")).unwrap();
    } else {
        assert_eq!(old, new, "run this test with SAFER_RING_WRITE=1");
    }
}

#[test]
fn the_example_is_read_without_complaint_and_each_statement_is_accounted_for() {
    let (_, text) = document();
    let example = text.split_once("```spec\n").unwrap().1.split_once("```").unwrap().0;
    let found = parse("docs/SPEC.md", example);
    assert!(found.diagnostics.is_empty(), "{:#?}", found.diagnostics);
    let spec = &found.specifications[0].specification;
    let statements = spec.statements();
    assert_eq!(statements.len(), 14);
    for statement in &statements {
        assert!(statement.common.id.is_some() || !statement.wants_probe(), "{}", statement.id);
        for other in &statement.common.covered_by {
            assert!(spec.statement(other).is_some_and(|s| s.wants_probe()), "{other}");
        }
    }
}

#[test]
fn the_keys_of_the_document_are_those_of_the_grammar() {
    let (_, text) = document();
    let keys = text.split_once("### Keys").unwrap().1.split_once("### Numbers").unwrap().0;
    let words: Vec<&str> = keys.split('`').skip(1).step_by(2).collect();
    // Whatever is printed as a key is documented.
    for spec in shipped() {
        for line in safer_ring_spec::print::text(&spec, safer_ring_spec::Generation::Short).lines()
        {
            let key = line.trim_start().split(':').next().unwrap();
            let is_key = line.starts_with("  ") && !line.starts_with("   ") && line.contains(": ");
            let simple = key.chars().all(|c| c.is_ascii_lowercase() || c == '-');
            if is_key && simple && !key.starts_with('-') {
                assert!(words.contains(&key), "{}: {line}", spec.name);
            }
        }
    }
}
