//! `cargo xtask http`: a load with clients that go away, against the HTTP examples and the same servers on tokio.

use std::process::Command;

use crate::{Outcome, workspace};

/// The load and the examples together, so that what both need is built once.
pub(crate) const BUILD: &str = "build --release -p xtask-http -p safer-ring --features safer-ring/tokio,safer-ring/hyper,\
                                safer-ring/runtime";
const TARGETS: &str = "--bin xtask-http --example axum_files --example hyper_local";

/// Builds the examples and the load, and runs it with these options.
///
/// # Errors
/// Something cannot be built, a client saw an error, a descriptor was leaked, memory grew.
pub(crate) fn run(options: &[&str]) -> Outcome {
    let words = BUILD.split_whitespace().chain(TARGETS.split_whitespace());
    workspace::run_cargo(words).map_err(|e| format!("http: {e}"))?;
    let program = workspace::target_directory()?.join("release").join("xtask-http");
    workspace::run(Command::new(program).args(options)).map_err(|e| format!("http: {e}"))
}
