//! Figures in README.md are those of the code: how many scenarios, environments and planted mistakes there are, and the
//! instructions of `instr-baseline.json`.

use std::collections::BTreeMap;
use std::fmt;

use syn::visit::{self, Visit};
use syn::{Expr, Item, Lit};

use super::Sources;
use crate::{instr, mutants};

/// The document with the figures.
pub(super) const README: &str = "README.md";
const TABLES: &str = "crates/safer-ring-conformance/src/scenarios/";
const ENVIRONMENTS: (&str, &str) =
    ("crates/safer-ring-conformance/src/environments.rs", "ENVIRONMENTS");

/// Rows of README's table of instructions: how each begins, and what its scenario is called in the stored one.
const ROWS: &[(&str, &str)] = &[
    ("| nop, one at a time |", "nop-qd1"),
    ("| nop, 64 in a batch |", "nop-qd64"),
    ("| 4 KiB cached read, one at a time |", "read-4k-cached-qd1"),
    ("| 4 KiB cached read, 32 in a batch |", "read-4k-cached-qd32"),
];
/// The head of that table, and whose instructions are in its columns.
const HEAD: &str = "| | raw | local | shared |";
const COLUMNS: [&str; 3] = ["raw", "safer-ring/local", "safer-ring/shared"];

/// What can be counted without running anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Figures {
    scenarios: usize,
    environments: usize,
    mistakes: usize,
}

impl Figures {
    /// Those of the code.
    pub(crate) fn of(sources: &Sources) -> Self {
        let mut rows = Calls { macros: 0, rows: 0 };
        for (_, (source, _)) in sources.iter().filter(|(path, _)| path.starts_with(TABLES)) {
            rows.visit_file(&source.tree);
        }
        let mut environments = Calls { macros: 0, rows: 0 };
        let items = sources.get(ENVIRONMENTS.0).map(|(source, _)| source.tree.items.as_slice());
        for item in items.unwrap_or_default() {
            match item {
                Item::Const(item) if item.ident == ENVIRONMENTS.1 => {
                    environments.visit_item_const(item);
                }
                _ => {}
            }
        }
        Self { scenarios: rows.macros, environments: environments.rows, mistakes: mutants::count() }
    }

    /// As README has them, each with what it stands for.
    fn words(self) -> [String; 2] {
        let Self { scenarios, environments, mistakes } = self;
        [
            format!("{scenarios} scenarios in {environments} environments"),
            format!("{mistakes} planted mistakes"),
        ]
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().join(", "))
    }
}

/// Counts rows: of the tables of scenarios, which are macros, and of that of the environments, which are calls with a name.
struct Calls {
    macros: usize,
    rows: usize,
}

impl<'ast> Visit<'ast> for Calls {
    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        self.macros += usize::from(mac.path.is_ident("row"));
        visit::visit_macro(self, mac);
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        let row = matches!(&*call.func, Expr::Path(path) if path.path.is_ident("row"));
        let named =
            matches!(call.args.first(), Some(Expr::Lit(lit)) if matches!(lit.lit, Lit::Str(_)));
        self.rows += usize::from(row && named);
        visit::visit_expr_call(self, call);
    }
}

/// Compares README, if there is one, with what was counted and with the `stored` instructions, as JSON.
pub(super) fn check(
    documents: &BTreeMap<String, String>,
    figures: Figures,
    stored: &str,
) -> Vec<String> {
    let Some(text) = documents.get(README) else { return Vec::new() };
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut findings: Vec<String> = figures
        .words()
        .into_iter()
        .filter(|words| !has(&flat, words))
        .map(|words| format!("{README}: it must say \"{words}\" (cargo xtask badges)"))
        .collect();
    match instr::stored(stored) {
        Ok(rows) => findings.extend(instructions(text, &rows)),
        Err(message) => findings.push(message),
    }
    findings
}

/// Whether `words` are there, and not as the end of a longer number.
fn has(text: &str, words: &str) -> bool {
    let before = |at: usize| text.get(..at).and_then(|text| text.chars().next_back());
    text.match_indices(words)
        .any(|(at, _)| before(at).is_none_or(|c| !c.is_ascii_digit() && c != ','))
}

/// The table of instructions against the stored one; each figure is rounded.
fn instructions(text: &str, stored: &instr::Rows) -> Vec<String> {
    let table = text.split_once(HEAD).map_or("", |(_, table)| table);
    let mut findings = Vec::new();
    for (label, scenario) in ROWS {
        let wanted: Option<Vec<String>> = COLUMNS
            .iter()
            .map(|column| {
                let count = stored.get(&((*scenario).to_owned(), (*column).to_owned()))?;
                Some(format!("{count:.0}"))
            })
            .collect();
        let Some(wanted) = wanted else {
            findings.push(format!("{}: rows of {scenario} are missing", instr::BASELINE));
            continue;
        };
        let row = format!("{label} {} |", wanted.join(" | "));
        if !table.lines().any(|line| line == row) {
            findings.push(format!("{README}: by {} it must have \"{row}\"", instr::BASELINE));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUITE: &[(&str, &str)] = &[
        (
            "crates/safer-ring-conformance/src/scenarios/files.rs",
            "const TABLE: &[Scenario] = &[row!(Success, a, [Nop], \"1\"), row!(Error, b, [Nop], \"2\").but(&[])];\n\
             fn row() { other!(); }",
        ),
        (
            "crates/safer-ring-conformance/src/environments.rs",
            "pub const ENVIRONMENTS: &[Environment] = { use Tag::*; &[row(\"a\", \"\", &[]).with(1), row(\"b\", \"\", &[]), \
             row(\"c\", \"\", &[])] };\n\
             const OTHER: u8 = row(\"d\");",
        ),
    ];
    const STORED: &str = r#"{"rustc": "1", "arch": "x", "instr": [
        {"scenario": "nop-qd1", "impl": "raw", "instr_per_op": 172.0},
        {"scenario": "nop-qd1", "impl": "safer-ring/local", "instr_per_op": 368.6},
        {"scenario": "nop-qd1", "impl": "safer-ring/shared", "instr_per_op": 530.4}]}"#;

    fn readme(text: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(README.to_owned(), text.to_owned())])
    }

    #[test]
    fn rows_are_counted() {
        let figures = Figures::of(&super::super::planted(SUITE));
        assert_eq!((figures.scenarios, figures.environments), (2, 3));
        assert!(figures.mistakes > 50);
    }

    #[test]
    fn figures_that_are_not_those_of_the_code_are_found() {
        let figures = Figures { scenarios: 337, environments: 32, mistakes: 59 };
        let right = "337 scenarios in 32\nenvironments (`x`), 59 planted mistakes";
        let found = |text: &str| {
            let findings = check(&readme(text), figures, STORED);
            findings.into_iter().filter(|finding| finding.contains("badges")).count()
        };
        assert_eq!(found(right), 0);
        assert_eq!(found(&right.replace("337", "336")), 1);
        assert_eq!(found(&right.replace("59", "159")), 1);
        assert_eq!(found("nothing"), 2);
        assert_eq!(check(&BTreeMap::new(), figures, STORED), Vec::<String>::new());
    }

    #[test]
    fn instructions_that_are_not_the_stored_ones_are_found() {
        let stored = instr::stored(STORED).unwrap();
        let row = "| nop, one at a time | 172 | 369 | 530 |";
        let text = format!("| nop, one at a time | 197 | 1.04 |\n\n{HEAD}\n|---|\n{row}\n");
        let findings = |text: &str| {
            let all = instructions(text, &stored);
            all.into_iter().filter(|finding| finding.contains(README)).collect::<Vec<_>>()
        };
        assert_eq!(findings(&text), Vec::<String>::new());
        let finding = format!("{README}: by {} it must have \"{row}\"", instr::BASELINE);
        assert_eq!(findings(&text.replace("369", "376")), [finding.as_str()]);
        // The rows of another table do not count.
        assert_eq!(findings(row), [finding]);
        let missing = instructions(&text, &stored);
        assert_eq!(missing.len(), 3, "{missing:?}");
    }
}
