//! Rust files that cargo never compiles: no `mod` names them, or no target does.

use std::collections::{BTreeMap, BTreeSet};

use crate::facts::is_test_only;
use crate::workspace::Package;

use super::Sources;

/// Files that are compiled, each with whether that is for tests only.
type Reached = BTreeMap<String, bool>;

/// Files under a package's `src` that no `mod` leads to, and files beside the test, example and
/// benchmark targets that are no target.
pub(super) fn check(packages: &[Package], sources: &Sources) -> Vec<String> {
    let mut findings = Vec::new();
    for package in packages {
        let reached = reach(package, sources);
        for path in sources.keys() {
            let below = path.strip_prefix(package.directory.as_str());
            let Some(below) = below.and_then(|rest| rest.strip_prefix('/')) else { continue };
            if reached.contains_key(path) {
                continue;
            }
            let parts: Vec<&str> = below.split('/').collect();
            match parts.as_slice() {
                ["src", ..] => findings.push(format!("{path}: no `mod` names this file")),
                ["tests" | "examples" | "benches", _] => {
                    findings.push(format!("{path}: this file is no target of {}", package.name));
                }
                _ => {}
            }
        }
    }
    findings
}

/// Files under `src` that are only compiled for tests.
pub(crate) fn test_only_files(packages: &[Package], sources: &Sources) -> BTreeSet<String> {
    let reached = packages.iter().flat_map(|package| reach(package, sources));
    reached.filter(|(_, test_only)| *test_only).map(|(path, _)| path).collect()
}

/// Follows the `mod` items from every target of a package.
fn reach(package: &Package, sources: &Sources) -> Reached {
    let mut reached = Reached::new();
    for (kind, root) in &package.targets {
        let directory = parent(root).to_owned();
        follow(root, &directory, kind == "test" || kind == "bench", sources, &mut reached);
    }
    reached
}

/// Marks a file and what its `mod` items name; `directory` is where its children are.
fn follow(path: &str, directory: &str, test: bool, sources: &Sources, reached: &mut Reached) {
    match reached.get_mut(path) {
        // Seen before, and this way adds nothing: a file is for tests only if every way to it is.
        Some(test_only) if !*test_only || test => return,
        Some(test_only) => *test_only = test,
        None => {
            reached.insert(path.to_owned(), test);
        }
    }
    if let Some((source, _)) = sources.get(path) {
        items(
            &source.tree.items,
            Place { file: path, directory, inline: false },
            test,
            sources,
            reached,
        );
    }
}

/// Where some items stand: their file, and the directory in which a `mod` looks for its file.
#[derive(Clone, Copy)]
struct Place<'p> {
    file: &'p str,
    directory: &'p str,
    inline: bool,
}

fn items(
    list: &[syn::Item],
    place: Place<'_>,
    test: bool,
    sources: &Sources,
    reached: &mut Reached,
) {
    for item in list {
        let syn::Item::Mod(module) = item else { continue };
        let test = test || is_test_only(&module.attrs);
        let name = module.ident.to_string();
        let name = name.trim_start_matches("r#");
        let children = join(place.directory, name);
        if let Some((_, inner)) = &module.content {
            let place = Place { file: place.file, directory: &children, inline: true };
            items(inner, place, test, sources, reached);
        } else if let Some(named) = path_attribute(&module.attrs) {
            // Relative to the directory of the file, inside an inline module to its own directory.
            let base = if place.inline { place.directory } else { parent(place.file) };
            let file = join(base, &named);
            follow(&file, parent(&file), test, sources, reached);
        } else {
            for file in [format!("{children}.rs"), format!("{children}/mod.rs")] {
                if sources.contains_key(&file) {
                    follow(&file, &children, test, sources, reached);
                }
            }
        }
    }
}

/// The value of `#[path = ".."]`.
fn path_attribute(attributes: &[syn::Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| match &attribute.meta {
        syn::Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    })
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// Joins with `.` and `..` resolved.
fn join(directory: &str, relative: &str) -> String {
    let mut parts: Vec<&str> = directory.split('/').filter(|part| !part.is_empty()).collect();
    for part in relative.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::super::planted;
    use super::*;

    fn package() -> Package {
        let target = |kind: &str, path: &str| (kind.to_owned(), path.to_owned());
        Package {
            name: "a".to_owned(),
            dependencies: Vec::new(),
            targets: vec![
                target("lib", "crates/a/src/lib.rs"),
                target("test", "crates/a/tests/used.rs"),
            ],
            features: Vec::new(),
            directory: "crates/a".to_owned(),
        }
    }

    fn sources() -> Sources {
        planted(&[
            (
                "crates/a/src/lib.rs",
                "mod one; mod two; mod inline { mod deep; } #[cfg(test)] mod tests;",
            ),
            ("crates/a/src/one.rs", "mod child; #[path = \"other/odd.rs\"] mod odd;"),
            ("crates/a/src/one/child.rs", ""),
            ("crates/a/src/other/odd.rs", ""),
            ("crates/a/src/two/mod.rs", "mod child;"),
            ("crates/a/src/two/child.rs", ""),
            ("crates/a/src/inline/deep.rs", ""),
            ("crates/a/src/tests.rs", "mod more;"),
            ("crates/a/src/tests/more.rs", ""),
            ("crates/a/tests/used.rs", "mod common;"),
            ("crates/a/tests/common/mod.rs", ""),
            ("crates/a/tests/ui/case.rs", ""),
            ("crates/ab/src/lib.rs", ""),
        ])
    }

    #[test]
    fn every_way_to_name_a_file_is_followed() {
        assert_eq!(check(&[package()], &sources()), Vec::<String>::new());
        let tests = test_only_files(&[package()], &sources());
        assert!(tests.contains("crates/a/src/tests/more.rs"));
        assert!(!tests.contains("crates/a/src/one/child.rs"));
    }

    #[test]
    fn files_nobody_compiles_are_found() {
        let mut sources = sources();
        sources.extend(planted(&[("crates/a/src/dead.rs", ""), ("crates/a/tests/dead.rs", "")]));
        let findings = check(&[package()], &sources);
        assert_eq!(
            findings,
            [
                "crates/a/src/dead.rs: no `mod` names this file",
                "crates/a/tests/dead.rs: this file is no target of a",
            ]
        );
    }
}
