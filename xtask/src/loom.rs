//! `cargo xtask loom`: what is concurrent, under the model checker.
//!
//! The code is compiled with the checker's primitives in place of the standard library's (`src/sync.rs` of
//! safer-ring-buf), into a directory of its own, since the flag would have everything built anew.

use std::path::{Path, PathBuf};

use crate::{Outcome, workspace};

/// The packages with models, which are in modules of these names.
const PACKAGES: &[&str] = &["safer-ring-buf", "safer-ring-backend"];
const MODULES: &[&str] = &["models::", "announce::"];

/// Runs the models.
///
/// # Errors
/// One of them has found an interleaving that is wrong.
pub(crate) fn run() -> Outcome {
    let mut command = workspace::cargo();
    command.args(["test", "--lib"]);
    for package in PACKAGES {
        command.args(["--package", package]);
    }
    command.arg("--target-dir").arg(directory(&workspace::target_directory()?));
    command.arg("--").args(MODULES).env("RUSTFLAGS", flags());
    workspace::run(&mut command).map_err(|e| format!("loom: {e}"))
}

/// The flags of the compiler.
pub(crate) fn flags() -> &'static str {
    "--cfg safer_ring_loom"
}

/// Where it builds, below the directory of all builds.
pub(crate) fn directory(target: &Path) -> PathBuf {
    target.join("loom")
}
