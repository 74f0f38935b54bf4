//! `cargo xtask kernels`: writes `docs/KERNELS.md` from the table of versions in safer-ring-sys.
//!
//! The versions come from the crate itself (its example `kernels` prints them). What the library does without something
//! is [`notes`], a row for each thing that it uses and that a kernel it runs on may lack; that none is forgotten is
//! checked against the list of opcodes in the backend.

mod notes;

use std::collections::BTreeSet;
use std::fmt::Write;

use syn::visit::{self, Visit};

use crate::{Outcome, workspace};
use notes::{NOTES, Note};

const FILE: &str = "docs/KERNELS.md";
/// Where the backend says which opcodes it uses.
const USED: &str = "crates/safer-ring-backend/src/uring/setup.rs";
/// The oldest kernel that the io_uring backend accepts: what it has is not worth a note.
const OLDEST: Version = (5, 6);

type Version = (u8, u8);

/// A line of the table in safer-ring-sys.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    kind: String,
    value: u32,
    name: String,
    since: Version,
}

/// The kinds in their order: as they are printed, in a heading, with the prefix of the kernel.
const KINDS: [(&str, &str, &str); 6] = [
    ("Opcode", "opcodes", "IORING_OP_"),
    ("SetupFlag", "setup flags", "IORING_SETUP_"),
    ("Feature", "features", "IORING_FEAT_"),
    ("EnterFlag", "flags of enter", "IORING_ENTER_"),
    ("EntryFlag", "flags of an entry", "IOSQE_"),
    ("RegisterOp", "register operations", "IORING_REGISTER_"),
];

/// Writes the document, or, to check, compares it.
///
/// # Errors
/// The crate does not build, a note is missing or speaks of nothing, or the document is not up to date.
pub(crate) fn run(check: bool) -> Outcome {
    let mut command = workspace::cargo();
    command.args(["run", "--quiet", "-p", "safer-ring-sys", "--example", "kernels"]);
    let entries = parse(&workspace::output_of(&mut command)?)?;
    let root = workspace::root();
    let used = used_opcodes(&workspace::read(&root, USED)?)?;
    let wrong = faults(&entries, NOTES, &used);
    if !wrong.is_empty() {
        return Err(format!("kernels: xtask/src/kernels/notes.rs:\n{}", wrong.join("\n")));
    }
    let text = document(&entries, NOTES, &used);
    if !check {
        workspace::write(&root, FILE, &text)?;
        println!("kernels: wrote {FILE}");
        return Ok(());
    }
    if workspace::read(&root, FILE).is_ok_and(|old| old == text) {
        Ok(())
    } else {
        Err(format!("kernels: {FILE} is not up to date: run `cargo xtask kernels`"))
    }
}

/// Reads what the example prints.
fn parse(text: &str) -> Outcome<Vec<Entry>> {
    let line = |line: &str| {
        let mut parts = line.split('\t');
        let (kind, value, name) = (parts.next()?, parts.next()?, parts.next()?);
        let (major, minor) = parts.next()?.split_once('.')?;
        let since = (major.parse().ok()?, minor.parse().ok()?);
        let known = KINDS.iter().any(|(known, ..)| *known == kind);
        (known && parts.next().is_none()).then_some(())?;
        let (kind, name) = (kind.to_owned(), name.to_owned());
        Some(Entry { kind, value: value.parse().ok()?, name, since })
    };
    let wrong = |text: &str| format!("kernels: cannot read \"{text}\"");
    text.lines().map(|text| line(text).ok_or_else(|| wrong(text))).collect()
}

/// The opcodes in the constants `USED..` of the backend.
fn used_opcodes(source: &str) -> Outcome<BTreeSet<String>> {
    struct Finder(BTreeSet<String>);
    impl<'ast> Visit<'ast> for Finder {
        fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
            if item.ident.to_string().starts_with("USED") {
                visit::visit_item_const(self, item);
            }
        }
        fn visit_expr_path(&mut self, path: &'ast syn::ExprPath) {
            let names: Vec<String> =
                path.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            if let [module, name] = names.as_slice()
                && module == "opcode"
            {
                self.0.insert(name.clone());
            }
        }
        // Only constants of the module count.
        fn visit_item_fn(&mut self, _: &'ast syn::ItemFn) {}
        fn visit_item_impl(&mut self, _: &'ast syn::ItemImpl) {}
    }
    let file = syn::parse_file(source).map_err(|e| format!("kernels: {USED}: {e}"))?;
    let mut finder = Finder(BTreeSet::new());
    for item in &file.items {
        if let syn::Item::Const(item) = item {
            finder.visit_item_const(item);
        }
    }
    if finder.0.is_empty() {
        return Err(format!("kernels: {USED} has no constant USED.. with the opcodes in use"));
    }
    Ok(finder.0)
}

/// Notes that speak of nothing, and things in use that have no note.
fn faults(entries: &[Entry], notes: &[Note], used: &BTreeSet<String>) -> Vec<String> {
    let mut wrong = Vec::new();
    for note in notes {
        if find(entries, note.kind, note.name).is_none() {
            wrong.push(format!("{} is no entry of kind {}", note.name, note.kind));
        }
    }
    for entry in entries.iter().filter(|entry| entry.kind == "Opcode" && entry.since > OLDEST) {
        let noted = notes.iter().any(|note| note.kind == "Opcode" && note.name == entry.name);
        if used.contains(&entry.name) && !noted {
            wrong.push(format!("{} is in use and has no note", entry.name));
        }
        if !used.contains(&entry.name) && noted {
            wrong.push(format!("{} has a note and is not in use", entry.name));
        }
    }
    wrong
}

fn find<'e>(entries: &'e [Entry], kind: &str, name: &str) -> Option<&'e Entry> {
    entries.iter().find(|entry| entry.kind == kind && entry.name == name)
}

fn version((major, minor): Version) -> String {
    format!("{major}.{minor}")
}

const HEAD: &str = "\
# Kernels: what there is since when, and what happens without it

Made by `cargo xtask kernels` from the constants of `safer-ring-sys`; not edited by hand. The test
`crates/safer-ring-sys/tests/kernels.rs` compares the versions with what the running kernel says of itself: its probe, the
setup flags that it takes, the features that it reports and, from 6.18 on, its own counts. It has run on 5.10, 6.1, 6.18
and 7.3; `cargo xtask vm numa` runs it on two of Debian's kernels.

Versions are those of mainline. A distribution can carry newer code under an older number: stable 5.10 has taken io_uring
from 5.15 in part, and the kernels of RHEL take more. So the library asks the kernel and never compares
numbers. What is blocked though the kernel has it is told in [CLOUD_SETUP.md](CLOUD_SETUP.md).

";

/// The whole document.
fn document(entries: &[Entry], notes: &[Note], used: &BTreeSet<String>) -> String {
    let mut text = HEAD.to_owned();
    text.push_str("## What the library uses, and what it does without\n\n");
    let _ = writeln!(
        text,
        "The io_uring backend needs {} and these features: `NODROP`, `SUBMIT_STABLE`, `RW_CUR_POS`. On an older kernel\n\
         it is not used. All that came later is optional. The kernel of a row is the first with which the library uses it:\n",
        version(OLDEST)
    );
    text.push_str("| kernel | what | used for | without it |\n|---|---|---|---|\n");
    let mut rows: Vec<(Version, String, &Note)> = notes
        .iter()
        .filter_map(|note| {
            let entry = find(entries, note.kind, note.name)?;
            Some((note.from.unwrap_or(entry.since), full_name(entry), note))
        })
        .collect();
    rows.sort_by_key(|(since, ..)| *since);
    for (since, name, Note { purpose, without, .. }) in rows {
        let _ = writeln!(text, "| {} | `{name}` | {purpose} | {without} |", version(since));
    }
    text.push_str(
        "\n## Everything, by kernel\n\nOpcodes in bold are those that the library uses.\n\n",
    );
    let _ = writeln!(text, "| kernel | {} |", KINDS.map(|(_, heading, _)| heading).join(" | "));
    let _ = writeln!(text, "|---|{}", "---|".repeat(KINDS.len()));
    let versions: BTreeSet<Version> = entries.iter().map(|entry| entry.since).collect();
    for since in versions {
        let cells = KINDS.map(|(kind, ..)| cell(entries, kind, since, used));
        let _ = writeln!(text, "| {} | {} |", version(since), cells.join(" | "));
    }
    text.push_str("\nPrefixes: ");
    let prefixes = KINDS.map(|(_, heading, prefix)| format!("{heading} `{prefix}`")).join(", ");
    let _ = writeln!(text, "{prefixes}; undoing a registration is `IORING_UNREGISTER_`.");
    text
}

/// The names of one kind that came with one kernel.
fn cell(entries: &[Entry], kind: &str, since: Version, used: &BTreeSet<String>) -> String {
    let here = entries.iter().filter(|entry| entry.kind == kind && entry.since == since);
    let names: Vec<String> = here
        .map(|entry| {
            let bold = kind == "Opcode" && used.contains(&entry.name);
            if bold { format!("**{}**", entry.name) } else { entry.name.clone() }
        })
        .collect();
    names.join(" ")
}

/// The kernel's own name.
fn full_name(entry: &Entry) -> String {
    let prefix = KINDS.iter().find(|(kind, ..)| *kind == entry.kind).map_or("", |kind| kind.2);
    format!("{prefix}{}", entry.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        parse("Opcode\t0\tNOP\t5.1\nOpcode\t62\tPIPE\t6.16\nSetupFlag\t8192\tDEFER_TASKRUN\t6.1\n")
            .unwrap()
    }

    fn used(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    const PIPE: Note =
        Note { kind: "Opcode", name: "PIPE", from: None, purpose: "pipes", without: "pipe2(2)" };

    #[test]
    fn lines_that_are_none_are_refused() {
        for text in
            ["Opcode\t0\tNOP", "Opcode\tx\tNOP\t5.1", "Other\t0\tNOP\t5.1", "Opcode\t0\tNOP\t5"]
        {
            assert!(parse(text).unwrap_err().contains(text), "{text}");
        }
        assert_eq!(entries()[2].since, (6, 1));
    }

    #[test]
    fn opcodes_in_use_are_those_of_the_constants() {
        let source = "const USED: [u8; 2] = [opcode::NOP, other::READ];\n\
                      const USED_NEW: &[u8] = &[opcode::PIPE];\n\
                      const OTHER: u8 = opcode::SEND;\nfn f() { let _ = opcode::RECV; }";
        assert_eq!(used_opcodes(source).unwrap(), used(&["NOP", "PIPE"]));
        assert!(used_opcodes("fn f() {}").unwrap_err().contains("no constant"));
    }

    #[test]
    fn a_note_that_is_missing_or_too_much_is_found() {
        let entries = entries();
        assert_eq!(faults(&entries, &[PIPE], &used(&["NOP", "PIPE"])), [""; 0]);
        assert_eq!(faults(&entries, &[], &used(&["PIPE"])), ["PIPE is in use and has no note"]);
        assert_eq!(faults(&entries, &[PIPE], &used(&[])), ["PIPE has a note and is not in use"]);
        let gone = Note { name: "PIPES", ..PIPE };
        assert_eq!(faults(&entries, &[gone], &used(&[])), ["PIPES is no entry of kind Opcode"]);
    }

    #[test]
    fn the_document_has_a_row_for_each_note_and_each_kernel() {
        let text = document(&entries(), &[PIPE], &used(&["PIPE"]));
        assert!(text.contains("| 6.16 | `IORING_OP_PIPE` | pipes | pipe2(2) |\n"), "{text}");
        let later = document(&entries(), &[Note { from: Some((7, 1)), ..PIPE }], &used(&["PIPE"]));
        assert!(later.contains("| 7.1 | `IORING_OP_PIPE` | pipes | pipe2(2) |\n"), "{later}");
        assert!(later.contains("| 6.16 | **PIPE** |"), "{later}");
        assert!(text.contains("| 6.1 |  | DEFER_TASKRUN |  |  |  |  |\n"), "{text}");
        assert!(text.contains("| 6.16 | **PIPE** |"), "{text}");
    }
}
