//! Programs without shared libraries: a guest has none.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{Outcome, workspace};

/// Named, so that build scripts and macros are built as usual.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The program of a package.
pub(super) fn program(package: &str, directory: &Path) -> Outcome<PathBuf> {
    build(&["build", "-p", package], package, directory)
}

/// A test program of a package: `tests/name.rs`.
pub(super) fn test(package: &str, name: &str, directory: &Path) -> Outcome<PathBuf> {
    build(&["test", "--no-run", "-p", package, "--test", name], name, directory)
}

fn build(arguments: &[&str], name: &str, directory: &Path) -> Outcome<PathBuf> {
    let mut command = workspace::cargo();
    command.args(arguments).args(["--message-format", "json", "--target", TARGET, "--target-dir"]);
    command.arg(directory.join("build"));
    command.env("RUSTFLAGS", "-C target-feature=+crt-static");
    let text = workspace::output_of(&mut command)?;
    executable(&text, name).ok_or_else(|| format!("cargo names no program {name}"))
}

/// The path of the program with this name in cargo's messages.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages.lines().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let own =
            message.get("target").is_some_and(|target| workspace::text(target, "name") == name);
        let path = message.get("executable")?.as_str()?;
        own.then(|| PathBuf::from(path))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_in_the_messages() {
        let messages = r#"
{"reason":"compiler-artifact","target":{"name":"numa"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"other"},"executable":"/t/other-1"}
{"reason":"compiler-artifact","target":{"name":"numa"},"executable":"/t/numa-1"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages, "numa"), Some(PathBuf::from("/t/numa-1")));
        assert_eq!(executable(messages, "none"), None);
    }
}
