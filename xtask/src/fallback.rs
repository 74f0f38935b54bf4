//! `cargo xtask fallback`: the public tests of the library with the fallback forced.
//!
//! It runs the programs that `cargo test --workspace` builds.

use crate::{Outcome, built};

/// The package whose tests are the public ones.
const FACE: &str = "safer-ring";

/// Builds what is not built yet, and runs each program, with `words` for the test harness.
///
/// # Errors
/// Something cannot be built, or names the programs that failed.
pub(crate) fn run(words: &[&str]) -> Outcome {
    let mut suites = built::tested()?;
    suites.retain(|program| program.package == FACE && program.kind == "test");
    if suites.is_empty() {
        return Err(format!("{FACE} has no tests"));
    }
    let mut failed = Vec::new();
    for suite in &suites {
        println!("     Running {} on the fallback", suite.name);
        let mut command = suite.command();
        command.args(words).env("SAFER_RING_BACKEND", "fallback");
        let status = command.status().map_err(|e| format!("cannot run {command:?}: {e}"))?;
        if !status.success() {
            failed.push(format!("{} ({status})", suite.name));
        }
    }
    println!("fallback: {} programs, {} failed", suites.len(), failed.len());
    if failed.is_empty() { Ok(()) } else { Err(format!("fallback: {}", failed.join(", "))) }
}
