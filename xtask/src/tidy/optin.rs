//! Unsafe code is denied by each crate and allowed by single files that say why.

use crate::facts;
use crate::workspace::Package;

use super::Sources;

/// Crates where no file may opt in.
const FORBIDDING: &[&str] = &["safer-ring-core", "xtask"];

/// Each crate root denies unsafe code, and each file with unsafe code opts in with a reason and
/// explains itself under a `# Safety` heading. Test targets stand on their own and are left to the
/// budget.
pub(super) fn check(packages: &[Package], sources: &Sources) -> Vec<String> {
    let mut findings = Vec::new();
    for package in packages {
        let roots = package.targets.iter().filter(|(kind, _)| kind == "lib" || kind == "bin");
        let roots: Vec<&str> = roots.map(|(_, path)| path.as_str()).collect();
        for root in &roots {
            let Some((source, _)) = sources.get(*root) else { continue };
            let forbids = lint(&source.tree.attrs, &["forbid"]).is_some();
            if FORBIDDING.contains(&package.name.as_str()) && !forbids {
                findings.push(format!("{root}: needs #![forbid(unsafe_code)]"));
            } else if !forbids && lint(&source.tree.attrs, &["deny"]).is_none() {
                findings.push(format!("{root}: needs #![deny(unsafe_code)]"));
            }
        }
        let within = format!("{}/src/", package.directory);
        let files = sources.iter().filter(|(path, _)| path.starts_with(&within));
        for (path, (source, facts)) in files {
            let Some(site) = facts.sites.iter().find(|site| !site.in_test) else { continue };
            if roots.contains(&path.as_str()) {
                let line = site.line;
                findings.push(format!("{path}:{line}: unsafe code belongs in a module of its own"));
                continue;
            }
            match lint(&source.tree.attrs, &["allow", "expect"]) {
                None => {
                    let line = site.line;
                    findings
                        .push(format!("{path}:{line}: needs #![allow(unsafe_code, reason = ..)]"));
                }
                Some(None) => findings.push(format!("{path}: allows unsafe code without a reason")),
                Some(Some(_)) => {}
            }
            if facts::safety_section(&facts::documentation(&source.tree.attrs)).is_none() {
                findings.push(format!("{path}: needs a `# Safety` section in its `//!` comment"));
            }
        }
    }
    findings
}

/// The attribute that sets one of `levels` for `unsafe_code`: `Some` when it is there, with its
/// reason when it has one that is not empty.
fn lint(attributes: &[syn::Attribute], levels: &[&str]) -> Option<Option<String>> {
    attributes.iter().find_map(|attribute| {
        let level = attribute.path().get_ident()?.to_string();
        if !levels.contains(&level.as_str()) {
            return None;
        }
        let mut named = false;
        let mut reason = None;
        let parsed = attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("reason") {
                reason = Some(meta.value()?.parse::<syn::LitStr>()?.value());
            } else {
                named |= meta.path.is_ident("unsafe_code");
            }
            Ok(())
        });
        (parsed.is_ok() && named).then(|| reason.filter(|text| !text.trim().is_empty()))
    })
}

#[cfg(test)]
mod tests {
    use super::super::planted;
    use super::*;

    const UNSAFE: &str = "fn f() { unsafe { g() } }";
    const OPTED_IN: &str = "//! Words.\n//!\n//! # Safety\n//! Because.\n\
                            #![allow(unsafe_code, reason = \"it maps memory\")]\n";

    fn findings(name: &str, root: &str, file: &str) -> Vec<String> {
        let package = Package {
            name: name.to_owned(),
            dependencies: Vec::new(),
            targets: vec![
                ("lib".to_owned(), "crates/a/src/lib.rs".to_owned()),
                ("test".to_owned(), "crates/a/tests/t.rs".to_owned()),
            ],
            features: Vec::new(),
            directory: "crates/a".to_owned(),
        };
        let files = [
            ("crates/a/src/lib.rs", root),
            ("crates/a/src/file.rs", file),
            ("crates/a/tests/t.rs", UNSAFE),
        ];
        check(&[package], &planted(&files))
    }

    #[test]
    fn a_file_that_opts_in_properly_is_fine() {
        let file = format!("{OPTED_IN}{UNSAFE}");
        assert!(findings("a", "#![deny(missing_docs, unsafe_code)]", &file).is_empty());
        let in_tests = "#[cfg(test)]\nmod tests { fn f() { unsafe { g() } } }";
        assert!(findings("a", "#![deny(unsafe_code)]", in_tests).is_empty());
    }

    #[test]
    fn each_missing_piece_is_found() {
        let file = format!("{OPTED_IN}{UNSAFE}");
        assert_eq!(findings("a", "", &file), ["crates/a/src/lib.rs: needs #![deny(unsafe_code)]"]);
        let core = findings("safer-ring-core", "#![deny(unsafe_code)]", "");
        assert_eq!(core, ["crates/a/src/lib.rs: needs #![forbid(unsafe_code)]"]);
        let in_root = findings("a", &format!("#![deny(unsafe_code)]\n{UNSAFE}"), "");
        assert_eq!(in_root, ["crates/a/src/lib.rs:2: unsafe code belongs in a module of its own"]);
        let silent = findings("a", "#![deny(unsafe_code)]", UNSAFE);
        assert_eq!(silent.len(), 2, "{silent:?}");
        let no_reason = file.replace(", reason = \"it maps memory\"", "");
        let found = findings("a", "#![deny(unsafe_code)]", &no_reason);
        assert_eq!(found, ["crates/a/src/file.rs: allows unsafe code without a reason"]);
        let no_header = file.replace("# Safety", "Safety");
        let found = findings("a", "#![deny(unsafe_code)]", &no_header);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("needs a `# Safety` section"));
    }
}
