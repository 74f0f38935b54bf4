//! `cargo xtask http`: a load with clients that go away, against the HTTP examples and the same servers on tokio.

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
    let (programs, options) = if options == [SMOKE] {
        (built::tested()?, &["--quick"][..])
    } else {
        (built::by(workspace::cargo().args(BUILD.split_whitespace()))?, options)
    };
    let mut load = built::find(&programs, LOAD, LOAD)?.command();
    // Where a file is that an option names.
    workspace::run(load.args(options).current_dir(workspace::root()))
        .map_err(|e| format!("http: {e}"))
}
