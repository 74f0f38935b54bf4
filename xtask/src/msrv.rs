//! `cargo xtask msrv`: the declared minimum Rust version is true.

use std::process::Command;

use serde_json::Value;

use crate::workspace::{array, text};
use crate::{Outcome, workspace};

/// Major, minor and patch.
type Version = (u32, u32, u32);

/// Checks the dependencies' own minimum versions, and builds with the declared toolchain where it is
/// installed.
///
/// # Errors
/// A dependency needs a newer Rust, the lint that guards the standard library is off, or the build
/// with the declared toolchain fails.
pub(crate) fn run() -> Outcome {
    let metadata = workspace::metadata(&["--locked"])?;
    let declared = declared(&metadata)?;
    println!("msrv: rust-version is {declared}");
    let (newer, silent) = dependencies(&metadata, &declared)?;
    if !newer.is_empty() {
        return Err(format!("msrv: these need a newer Rust: {}", newer.join(", ")));
    }
    if !silent.is_empty() {
        println!("msrv: these declare no rust-version: {}", silent.join(", "));
    }
    lint_is_denied(&workspace::read(&workspace::root(), "Cargo.toml")?)?;

    let list = workspace::output_of(Command::new("rustup").args(["toolchain", "list"]));
    let Some(toolchain) = installed(&list.unwrap_or_default(), &declared) else {
        println!(
            "skipped: toolchain {declared} is not installed; \
             clippy::incompatible_msrv is the check that runs"
        );
        return Ok(());
    };
    let target = workspace::target_directory()?.join("msrv");
    let mut command = Command::new("rustup");
    command.current_dir(workspace::root()).stdin(std::process::Stdio::null());
    // What the running cargo tells its children would send the older one to the newer compiler.
    command
        .env_remove("CARGO")
        .env_remove("RUSTC")
        .env_remove("RUSTDOC")
        .env_remove("RUSTUP_TOOLCHAIN");
    command.args(["run", &toolchain, "cargo", "check", "--workspace", "--locked", "--target-dir"]);
    let status = command.arg(target).status().map_err(|e| format!("cannot run rustup: {e}"))?;
    if status.success() {
        println!("msrv: the workspace builds with {toolchain}");
        Ok(())
    } else {
        Err(format!("msrv: the workspace does not build with {toolchain}"))
    }
}

/// The one `rust-version` of all members.
fn declared(metadata: &Value) -> Outcome<String> {
    let members = array(metadata, "workspace_members");
    let mut found: Option<String> = None;
    for package in array(metadata, "packages") {
        if !members.iter().any(|id| id.as_str() == Some(text(package, "id"))) {
            continue;
        }
        let version = text(package, "rust_version");
        match &found {
            _ if version.is_empty() => {
                return Err(format!("msrv: {} declares no rust-version", text(package, "name")));
            }
            Some(other) if other != version => {
                return Err(format!("msrv: members declare both {other} and {version}"));
            }
            _ => found = Some(version.to_owned()),
        }
    }
    found.ok_or_else(|| "msrv: the workspace has no members".to_owned())
}

/// Dependencies that need a newer Rust than `declared`, and those that do not say.
fn dependencies(metadata: &Value, declared: &str) -> Outcome<(Vec<String>, Vec<String>)> {
    let limit = version(declared)?;
    let mut newer = Vec::new();
    let mut silent = Vec::new();
    for package in array(metadata, "packages") {
        let name = format!("{} {}", text(package, "name"), text(package, "version"));
        match text(package, "rust_version") {
            "" => silent.push(name),
            needs if version(needs)? > limit => newer.push(format!("{name} (Rust {needs})")),
            _ => {}
        }
    }
    Ok((newer, silent))
}

fn version(text: &str) -> Outcome<Version> {
    let mut parts = text.split('.').map(str::parse::<u32>);
    let mut part = || parts.next().unwrap_or(Ok(0));
    match (part(), part(), part()) {
        (Ok(major), Ok(minor), Ok(patch)) => Ok((major, minor, patch)),
        _ => Err(format!("msrv: \"{text}\" is no version")),
    }
}

/// `clippy::incompatible_msrv` is denied in the manifest of the workspace.
fn lint_is_denied(manifest: &str) -> Outcome {
    let lints = manifest.split("[workspace.lints.clippy]").nth(1).unwrap_or_default();
    let denied = lints.lines().take_while(|line| !line.starts_with('[')).any(|line| {
        let setting = line.split('#').next().unwrap_or_default().split_once('=');
        setting.is_some_and(|(name, level)| {
            name.trim() == "incompatible_msrv" && matches!(level.trim(), "\"deny\"" | "\"forbid\"")
        })
    });
    if denied {
        return Ok(());
    }
    Err("msrv: Cargo.toml must deny clippy::incompatible_msrv in [workspace.lints.clippy]"
        .to_owned())
}

/// The installed toolchain for a version, from the output of `rustup toolchain list`.
fn installed(list: &str, declared: &str) -> Option<String> {
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    let mut matching = names.filter(|name| {
        let rest = name.strip_prefix(declared);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.']))
    });
    matching.next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_declared_toolchain_is_taken() {
        let list = "stable-x86_64 (default)\n1.8.0-x86_64\n1.88.0-x86_64-unknown-linux-gnu\n";
        assert_eq!(installed(list, "1.88").as_deref(), Some("1.88.0-x86_64-unknown-linux-gnu"));
        assert_eq!(installed(list, "1.8").as_deref(), Some("1.8.0-x86_64"));
        assert_eq!(installed(list, "1.87"), None);
        assert_eq!(installed("1.880.0-x86_64", "1.88"), None);
        assert_eq!(installed("", "1.88"), None);
    }

    #[test]
    fn a_dependency_that_needs_a_newer_rust_is_found() {
        let package = |name: &str, needs: Option<&str>| serde_json::json!({"name": name, "version": "1.0.0", "rust_version": needs});
        let metadata = serde_json::json!({"packages": [
            package("old", Some("1.9")), package("same", Some("1.88.0")),
            package("new", Some("1.88.1")), package("quiet", None),
        ]});
        let (newer, silent) = dependencies(&metadata, "1.88").unwrap();
        assert_eq!(newer, ["new 1.0.0 (Rust 1.88.1)"]);
        assert_eq!(silent, ["quiet 1.0.0"]);
        assert!(version("1.x").is_err());
    }

    #[test]
    fn members_declare_one_version() {
        let metadata = |b: Option<&str>| {
            serde_json::json!({"workspace_members": ["a", "b"], "packages": [
                {"id": "a", "name": "a", "rust_version": "1.88"},
                {"id": "b", "name": "b", "rust_version": b},
                {"id": "other", "name": "other", "rust_version": "1.60"},
            ]})
        };
        assert_eq!(declared(&metadata(Some("1.88"))).unwrap(), "1.88");
        assert!(declared(&metadata(Some("1.90"))).is_err());
        assert!(declared(&metadata(None)).is_err());
    }

    #[test]
    fn the_lint_has_to_be_denied_in_its_section() {
        let denied = "[workspace.lints.clippy]\nincompatible_msrv = \"deny\" # why\n";
        assert!(lint_is_denied(denied).is_ok());
        for text in [
            "[workspace.lints.clippy]\nincompatible_msrv = \"warn\"\n",
            "[workspace.lints.clippy]\n# incompatible_msrv = \"deny\"\n",
            "[workspace.lints.clippy]\n[other]\nincompatible_msrv = \"deny\"\n",
            "",
        ] {
            assert!(lint_is_denied(text).is_err(), "{text}");
        }
    }
}
