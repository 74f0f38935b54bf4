//! The specifications that come with this crate: in our own words, from what kernels were seen to do.

use crate::model::Specification;
use crate::parse::{Document, parse};

/// File names and texts, in the order in which they are listed.
const TEXTS: &[(&str, &str)] = &[
    ("io_setup.txt", include_str!("../specs/io_setup.txt")),
    ("io_submit.txt", include_str!("../specs/io_submit.txt")),
    ("io_getevents.txt", include_str!("../specs/io_getevents.txt")),
    ("io_cancel.txt", include_str!("../specs/io_cancel.txt")),
    ("io_destroy.txt", include_str!("../specs/io_destroy.txt")),
    ("io_uring_setup.txt", include_str!("../specs/io_uring_setup.txt")),
    ("io_uring_enter.txt", include_str!("../specs/io_uring_enter.txt")),
    ("io_uring_register.txt", include_str!("../specs/io_uring_register.txt")),
];

/// The texts of the specifications that come with this crate, with their file names.
#[must_use]
pub fn shipped_texts() -> &'static [(&'static str, &'static str)] {
    TEXTS
}

/// The specifications that come with this crate.
#[must_use]
pub fn shipped() -> Vec<Specification> {
    documents().flat_map(|document| document.specifications).map(|s| s.specification).collect()
}

/// The one of them with this name, with or without `sys_`.
#[must_use]
pub fn find(name: &str) -> Option<Specification> {
    let name = name.strip_prefix("sys_").unwrap_or(name);
    let mut all = documents().flat_map(|document| document.specifications);
    all.find(|s| s.specification.name == name).map(|s| s.specification)
}

fn documents() -> impl Iterator<Item = Document> {
    TEXTS.iter().map(|(file, text)| parse(file, text))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::diagnostic::Severity;

    #[test]
    fn they_are_read_without_complaint_but_for_the_kernels_limits() {
        for document in documents() {
            assert_eq!(document.specifications.len(), 1);
            for finding in &document.diagnostics {
                assert_eq!(finding.severity, Severity::Note, "{finding}");
                assert!(
                    finding.message.starts_with("the kernel's own structures hold"),
                    "{finding}"
                );
            }
        }
    }

    #[test]
    fn each_statement_has_a_name_or_says_why_it_needs_none() {
        for spec in shipped() {
            for statement in spec.statements() {
                let named = statement.common.id.is_some();
                assert!(named || !statement.wants_probe(), "{}", statement.id);
                assert!(statement.id.starts_with(&format!("{}/", spec.name)), "{}", statement.id);
                assert!(!statement.text.is_empty() || !named, "{}", statement.id);
                assert!(statement.common.unknown.is_empty(), "{}", statement.id);
            }
            assert!(spec.unknown.is_empty() && spec.remarks.is_none(), "{}", spec.name);
        }
    }

    #[test]
    fn names_are_unique_and_those_that_are_referred_to_exist() {
        let specs = shipped();
        let statements: Vec<_> = specs.iter().flat_map(Specification::statements).collect();
        let ids: HashSet<&str> = statements.iter().map(|s| s.id.as_str()).collect();
        assert_eq!(ids.len(), statements.len());
        let probed: HashSet<&str> =
            statements.iter().filter(|s| s.wants_probe()).map(|s| s.id.as_str()).collect();
        for statement in &statements {
            for other in &statement.common.covered_by {
                assert!(probed.contains(other.as_str()), "{}: {other}", statement.id);
            }
        }
    }

    #[test]
    fn most_statements_can_be_tested() {
        let probes = |prefix: &str| {
            let specs = shipped().into_iter().filter(|spec| spec.name.starts_with(prefix));
            let count =
                |spec: Specification| spec.statements().iter().filter(|s| s.wants_probe()).count();
            specs.map(count).sum::<usize>()
        };
        let uring = probes("io_uring_");
        let aio = probes("io_") - uring;
        assert!(aio >= 180 && uring >= 200, "{aio} of AIO, {uring} of io_uring");
    }

    #[test]
    fn they_are_found_by_either_name() {
        assert_eq!(find("sys_io_submit"), find("io_submit"));
        assert!(find("io_submit").is_some() && find("io_pgetevents").is_none());
    }
}
