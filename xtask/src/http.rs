//! `cargo xtask http`: a load with clients that go away, against the HTTP examples and the same servers on tokio.

use crate::{Outcome, workspace};

const EXAMPLES: &str = "build --release -p safer-ring --example axum_files --example hyper_local \
                        --features tokio,hyper,runtime";

/// Builds the examples, then builds and runs the load, which takes `options`.
///
/// # Errors
/// Something cannot be built, a client saw an error, a descriptor was leaked, memory grew.
pub(crate) fn run(options: &[&str]) -> Outcome {
    cargo(&EXAMPLES.split_whitespace().collect::<Vec<_>>())?;
    cargo(&[&["run", "--release", "-p", "xtask-http", "--"], options].concat())
}

fn cargo(arguments: &[&str]) -> Outcome {
    let mut command = workspace::cargo();
    let status = command.args(arguments).status().map_err(|e| format!("cannot run cargo: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("http: {status}")) }
}
