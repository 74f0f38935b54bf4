//! Each operation has scenarios in the conformance suite: that it works, that it fails with what was lent back, and that
//! it is dropped or cancelled.

use std::collections::{BTreeMap, BTreeSet};

use syn::parse::{Parse, ParseStream};
use syn::visit::{self, Visit};
use syn::{Ident, Token, bracketed};

use super::Sources;

const OPERATIONS: (&str, &str) = ("crates/safer-ring-core/src/op.rs", "Op");
const KINDS: (&str, &str) = ("crates/safer-ring-conformance/src/scenario.rs", "OpKind");
const TABLES: &str = "crates/safer-ring-conformance/src/scenarios/";

/// What each operation needs: one of the classes of each line.
const NEEDED: &[&[&str]] = &[&["Success"], &["Error"], &["Drop", "Cancel"]];

/// Operations that cannot have one, and why.
const EXCEPT: &[(&str, &str, &str)] =
    &[("Pipe", "Error", "it fails only where the whole process has no descriptors left")];

/// Compares the operations with the rows of the tables. Without the suite there is nothing to check.
pub(super) fn check(sources: &Sources) -> Vec<String> {
    let (operations, kinds) = (variants(sources, OPERATIONS), variants(sources, KINDS));
    let mut rows = Rows::default();
    for (path, (source, _)) in sources.iter().filter(|(path, _)| path.starts_with(TABLES)) {
        rows.path.clone_from(path);
        rows.visit_file(&source.tree);
    }
    if operations.is_empty() || kinds.is_empty() {
        return Vec::new();
    }
    let mut findings = rows.findings;
    if operations != kinds {
        let apart: Vec<_> = operations.symmetric_difference(&kinds).cloned().collect();
        findings.push(format!("{} and {} differ: {}", OPERATIONS.1, KINDS.1, apart.join(", ")));
    }
    for operation in &operations {
        let has = |class: &str| rows.seen.get(operation).is_some_and(|set| set.contains(class));
        for classes in NEEDED {
            let excused =
                EXCEPT.iter().any(|(op, class, _)| op == operation && classes.contains(class));
            let found = classes.iter().any(|class| has(class));
            if !found && !excused {
                let wanted = classes.join(" or ");
                findings.push(format!("{TABLES}: no scenario of class {wanted} names {operation}"));
            }
            if found && excused {
                findings
                    .push(format!("xtask/src/tidy/scenarios.rs: {operation} has {classes:?} now"));
            }
        }
    }
    findings
}

/// The names of the variants of an enum.
fn variants(sources: &Sources, (path, name): (&str, &str)) -> BTreeSet<String> {
    let items = sources.get(path).map(|(source, _)| source.tree.items.as_slice());
    let found = items.unwrap_or_default().iter().find_map(|item| match item {
        syn::Item::Enum(item) if item.ident == name => Some(item),
        _ => None,
    });
    found.into_iter().flat_map(|item| &item.variants).map(|v| v.ident.to_string()).collect()
}

/// The first three arguments of `row!`.
struct Row {
    class: Ident,
    operations: Vec<Ident>,
}

impl Parse for Row {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let class = input.parse()?;
        input.parse::<Token![,]>()?;
        input.parse::<Ident>()?;
        input.parse::<Token![,]>()?;
        let list;
        bracketed!(list in input);
        let operations = list.parse_terminated(Ident::parse, Token![,])?.into_iter().collect();
        input.parse::<proc_macro2::TokenStream>()?;
        Ok(Self { class, operations })
    }
}

#[derive(Default)]
struct Rows {
    path: String,
    seen: BTreeMap<String, BTreeSet<String>>,
    findings: Vec<String>,
}

impl<'ast> Visit<'ast> for Rows {
    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        if mac.path.is_ident("row") {
            match mac.parse_body::<Row>() {
                Ok(row) => {
                    for operation in row.operations {
                        let classes = self.seen.entry(operation.to_string()).or_default();
                        classes.insert(row.class.to_string());
                    }
                }
                Err(error) => self.findings.push(format!("{}: row!: {error}", self.path)),
            }
        }
        visit::visit_macro(self, mac);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPS: (&str, &str) =
        ("crates/safer-ring-core/src/op.rs", "pub enum Op { Nop, Read { offset: u64 } }");
    const SAME: (&str, &str) =
        ("crates/safer-ring-conformance/src/scenario.rs", "pub enum OpKind { Nop, Read }");

    fn found(rows: &str) -> Vec<String> {
        let table = format!("const TABLE: &[Scenario] = &[{rows}\n];");
        let path = "crates/safer-ring-conformance/src/scenarios/files.rs";
        check(&super::super::planted(&[OPS, SAME, (path, &table)]))
    }

    const WHOLE: &str = r#"
        row!(Success, a, [Nop, Read], "1"), row!(Error, b, [Nop, Read], "2").but(&[]),
        row!(Cancel, c, [Nop], "3"), row!(Drop, d, [Read], "4"),"#;

    #[test]
    fn each_operation_has_its_scenarios() {
        assert_eq!(found(WHOLE), Vec::<String>::new());
    }

    #[test]
    fn a_gap_is_found() {
        let gap = WHOLE.replace("row!(Drop, d, [Read], \"4\"),", "");
        let finding = format!("{TABLES}: no scenario of class Drop or Cancel names Read");
        assert_eq!(found(&gap), [finding]);
        let gap = WHOLE.replace("[Nop, Read], \"1\"", "[Read], \"1\"");
        assert_eq!(found(&gap), [format!("{TABLES}: no scenario of class Success names Nop")]);
        // Commented out is not there.
        let gap = WHOLE.replace("row!(Cancel", "// row!(Cancel");
        assert_eq!(
            found(&gap),
            [
                format!("{TABLES}: no scenario of class Drop or Cancel names Nop"),
                format!("{TABLES}: no scenario of class Drop or Cancel names Read"),
            ]
        );
    }

    #[test]
    fn a_new_operation_is_found() {
        let more = ("crates/safer-ring-core/src/op.rs", "pub enum Op { Nop, Read, Madvise }");
        let table = format!("const TABLE: &[Scenario] = &[{WHOLE}];");
        let path = "crates/safer-ring-conformance/src/scenarios/files.rs";
        let findings = check(&super::super::planted(&[more, SAME, (path, &table)]));
        assert_eq!(findings.len(), 4, "{findings:?}");
        assert_eq!(findings[0], "Op and OpKind differ: Madvise");
    }
}
