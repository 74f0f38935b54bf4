//! Which crate may depend on which: the shape of the workspace, as a list.

use crate::workspace::Package;

/// Each member of the workspace and the members it may depend on. The leaves (core, buf, spec, sys) do not
/// know each other; only the backend sees core, buf and sys.
const ALLOWED: &[(&str, &[&str])] = &[
    ("safer-ring", &["safer-ring-backend", "safer-ring-buf"]),
    (
        "safer-ring-backend",
        &["safer-ring-buf", "safer-ring-core", "safer-ring-spec", "safer-ring-sys"],
    ),
    ("safer-ring-buf", &[]),
    // The raw baseline loops of the benchmark sit on the raw layer.
    ("safer-ring-cli", &["safer-ring", "safer-ring-probe", "safer-ring-spec", "safer-ring-sys"]),
    // Scenarios use what users use.
    ("safer-ring-conformance", &["safer-ring"]),
    ("safer-ring-core", &[]),
    // Its tests are programs against the others.
    ("safer-ring-misuse", &[]),
    // The tests of the others use it.
    ("safer-ring-fuzz", &[]),
    ("safer-ring-probe", &["safer-ring-spec", "safer-ring-sys"]),
    ("safer-ring-spec", &[]),
    ("safer-ring-sys", &[]),
    ("xtask", &[]),
    // Its tests use safer-ring; the first process of a virtual machine uses nothing.
    ("xtask-guest", &[]),
    // It runs the examples of safer-ring as programs.
    ("xtask-http", &[]),
    // Programs in simulated worlds.
    ("xtask-sim", &["safer-ring"]),
];

/// Crates that may depend on nothing at all.
const WITHOUT_DEPENDENCIES: &[&str] = &["safer-ring-core"];

/// Compares the dependencies of the members with the list; development dependencies are free.
pub(super) fn check(packages: &[Package]) -> Vec<String> {
    let mut findings = Vec::new();
    for package in packages {
        let name = package.name.as_str();
        let Some((_, allowed)) = ALLOWED.iter().find(|(member, _)| *member == name) else {
            findings.push(format!("{name}: say in xtask/src/tidy/arrows.rs what it may depend on"));
            continue;
        };
        for dependency in &package.dependencies {
            let dependency = dependency.as_str();
            let ours = packages.iter().any(|package| package.name == dependency);
            if ours && !allowed.contains(&dependency) {
                findings.push(format!("{name} must not depend on {dependency}"));
            }
            if !ours && WITHOUT_DEPENDENCIES.contains(&name) {
                findings.push(format!("{name} must have no dependencies, and has {dependency}"));
            }
        }
    }
    for (name, _) in ALLOWED {
        if !packages.iter().any(|package| package.name == *name) {
            findings.push(format!("xtask/src/tidy/arrows.rs lists {name}, which is no member"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(changed: &str, dependencies: &[&str]) -> Vec<Package> {
        let package = |name: &str| Package {
            name: name.to_owned(),
            dependencies: if name == changed {
                dependencies.iter().map(|&name| name.to_owned()).collect()
            } else {
                Vec::new()
            },
            targets: Vec::new(),
            features: Vec::new(),
            directory: String::new(),
        };
        ALLOWED.iter().map(|(name, _)| package(name)).collect()
    }

    #[test]
    fn an_arrow_that_is_not_on_the_list_is_found() {
        let planted = members("safer-ring-buf", &["safer-ring-sys", "bytes"]);
        assert_eq!(check(&planted), ["safer-ring-buf must not depend on safer-ring-sys"]);
        assert!(check(&members("safer-ring-backend", &["safer-ring-sys", "libc"])).is_empty());
    }

    #[test]
    fn the_core_has_no_dependencies_at_all() {
        let planted = members("safer-ring-core", &["bitflags"]);
        let finding = "safer-ring-core must have no dependencies, and has bitflags";
        assert_eq!(check(&planted), [finding]);
    }

    #[test]
    fn members_and_list_have_to_agree() {
        let mut planted = members("", &[]);
        planted.last_mut().unwrap().name = "newcomer".to_owned();
        let findings = check(&planted);
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert!(findings[0].starts_with("newcomer:") && findings[1].contains("lists xtask"));
    }
}
