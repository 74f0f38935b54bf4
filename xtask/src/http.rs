//! `cargo xtask http`: a load with clients that go away, against the HTTP examples and the same servers on tokio.

use std::process::Command;

use crate::{Outcome, built, workspace};

/// The load and the examples together, so that what both need is built once.
pub(crate) const BUILD: &str = "build --release -p xtask-http -p safer-ring --features safer-ring/tokio,safer-ring/hyper,\
                                safer-ring/runtime";
const LOAD: &str = "xtask-http";
const TARGETS: &str = "--bin xtask-http --example axum_files --example hyper_local";

/// The option of this command itself: the programs that `cargo test --workspace` has built, which are not optimised. For the
/// checks; the figures are of no use.
const SMOKE: &str = "--smoke";

/// Builds the examples and the load, and runs it with these options.
///
/// # Errors
/// Something cannot be built, a client saw an error, a descriptor was leaked, memory grew.
pub(crate) fn run(options: &[&str]) -> Outcome {
    let mut command = if options == [SMOKE] {
        let programs = built::tested()?;
        let load = programs.iter().find(|program| program.name == LOAD && !program.test);
        let mut command = load.ok_or_else(|| format!("http: cargo names no {LOAD}"))?.command();
        command.arg("--quick");
        command
    } else {
        let words = BUILD.split_whitespace().chain(TARGETS.split_whitespace());
        workspace::run_cargo(words).map_err(|e| format!("http: {e}"))?;
        let program = workspace::target_directory()?.join("release").join(LOAD);
        let mut command = Command::new(program);
        command.args(options);
        command
    };
    workspace::run(&mut command).map_err(|e| format!("http: {e}"))
}
