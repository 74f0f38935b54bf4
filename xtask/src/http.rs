//! `cargo xtask http`: a load with clients that go away, against the HTTP examples and the same servers on tokio.

use std::process::Command;

use crate::{Outcome, built, workspace};

/// The load and the examples together, so that what both need is built once.
const BUILD: &str = "build --release -p xtask-http -p safer-ring --features safer-ring/tokio,safer-ring/hyper,\
                     safer-ring/runtime --bin xtask-http --example axum_files --example hyper_local";
const LOAD: &str = "xtask-http";

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
        let mut command = built::find(&programs, "http", LOAD)?.command();
        command.arg("--quick");
        command
    } else {
        workspace::run_cargo(BUILD.split_whitespace()).map_err(|e| format!("http: {e}"))?;
        let program = workspace::target_directory()?.join("release").join(LOAD);
        let mut command = Command::new(program);
        command.args(options);
        command
    };
    workspace::run(&mut command).map_err(|e| format!("http: {e}"))
}
