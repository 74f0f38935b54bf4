//! `cargo xtask fallback`: the public tests of the library with the fallback forced.
//!
//! It runs the programs that `cargo test --workspace` builds. Cargo itself, asked for these tests alone, would choose other
//! features for the packages below them, and build all of those anew.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{Outcome, workspace};

/// The package whose tests are the public ones.
const FACE: &str = "safer-ring";

/// A program of tests, and the directory of its package.
#[derive(Debug, PartialEq, Eq)]
struct Suite {
    name: String,
    program: PathBuf,
    package: PathBuf,
}

/// Builds what is not built yet, and runs each program, with `words` for the test harness.
///
/// # Errors
/// Something cannot be built, or names the programs that failed.
pub(crate) fn run(words: &[&str]) -> Outcome {
    let mut build = workspace::cargo();
    build.args(["test", "--workspace", "--no-run"]);
    let suites = suites(&workspace::build_messages(&mut build)?);
    if suites.is_empty() {
        return Err(format!("{FACE} has no tests"));
    }
    let mut failed = Vec::new();
    for suite in &suites {
        println!("     Running {} on the fallback", suite.name);
        let mut command = Command::new(&suite.program);
        command.args(words).current_dir(&suite.package).env("CARGO_MANIFEST_DIR", &suite.package);
        command.env("SAFER_RING_BACKEND", "fallback").stdin(Stdio::null());
        let status = command.status().map_err(|e| format!("cannot run {command:?}: {e}"))?;
        if !status.success() {
            failed.push(format!("{} ({status})", suite.name));
        }
    }
    println!("fallback: {} programs, {} failed", suites.len(), failed.len());
    if failed.is_empty() { Ok(()) } else { Err(format!("fallback: {}", failed.join(", "))) }
}

/// The public tests in cargo's messages.
fn suites(messages: &str) -> Vec<Suite> {
    let suite = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        let program = PathBuf::from(message.get("executable")?.as_str()?);
        let target = message.get("target")?;
        let kinds = workspace::array(target, "kind");
        let package = PathBuf::from(workspace::text(&message, "manifest_path"));
        let package = package.parent()?.to_owned();
        let public = package.ends_with(FACE) && kinds.iter().any(|kind| kind == "test");
        let name = workspace::text(target, "name").to_owned();
        public.then_some(Suite { name, program, package })
    };
    messages.lines().filter_map(suite).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tests_of_the_face_crate_are_run() {
        let messages = r#"
{"manifest_path":"/r/crates/safer-ring/Cargo.toml","target":{"kind":["test"],"name":"drops"},"executable":"/t/drops-1"}
{"manifest_path":"/r/crates/safer-ring/Cargo.toml","target":{"kind":["lib"],"name":"safer_ring"},"executable":"/t/lib-1"}
{"manifest_path":"/r/crates/safer-ring/Cargo.toml","target":{"kind":["example"],"name":"cat"},"executable":"/t/cat"}
{"manifest_path":"/r/crates/safer-ring/Cargo.toml","target":{"kind":["test"],"name":"none"},"executable":null}
{"manifest_path":"/r/crates/safer-ring-sys/Cargo.toml","target":{"kind":["test"],"name":"ring"},"executable":"/t/ring-1"}
{"reason":"build-finished","success":true}"#;
        let drops = Suite {
            name: "drops".to_owned(),
            program: PathBuf::from("/t/drops-1"),
            package: PathBuf::from("/r/crates/safer-ring"),
        };
        assert_eq!(suites(messages), [drops]);
    }
}
