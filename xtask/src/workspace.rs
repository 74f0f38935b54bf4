//! Where things are: the root, cargo's view of the packages, and the repository's own files.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use walkdir::WalkDir;

use crate::Outcome;

/// The tool's exit code where io_uring is not available.
const UNAVAILABLE: i32 = 3;

/// One package of the workspace, as far as the checks need it.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    /// Name in its manifest.
    pub(crate) name: String,
    /// Names of what it needs to be built or to run; development dependencies are not among them.
    pub(crate) dependencies: Vec<String>,
    /// Kind (`lib`, `bin`, `test`, ...) and root file, relative to the workspace.
    pub(crate) targets: Vec<(String, String)>,
    /// Names of its features, without `default`; for the test of `ci` that the suite has them all.
    #[cfg_attr(not(test), expect(dead_code, reason = "see above"))]
    pub(crate) features: Vec<String>,
    /// Directory of its manifest, relative to the workspace.
    pub(crate) directory: String,
}

/// The workspace root: the directory above this package, fixed when the tool was compiled by cargo.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// The cargo that started this tool, with no standard input.
pub(crate) fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(root()).stdin(std::process::Stdio::null());
    forget_package(&mut command);
    command
}

/// Takes out what the cargo that started this tool has told it of its package. Build scripts that look at it would run anew,
/// and what is behind them would be built again, whenever cargo is started by another one.
pub(crate) fn forget_package(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
}

/// Runs a command and gives back its standard output; its failure carries its standard error.
pub(crate) fn output_of(command: &mut Command) -> Outcome<String> {
    let output = command.output().map_err(|e| format!("cannot run {command:?}: {e}"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?} failed ({}):\n{stderr}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|e| format!("{command:?}: {e}"))
}

/// The messages of a build by cargo, in JSON; what it prints for people is shown.
pub(crate) fn build_messages(command: &mut Command) -> Outcome<String> {
    command.args(["--message-format", "json-render-diagnostics"]).stderr(Stdio::inherit());
    output_of(command)
}

/// Runs a command, whose failure is its exit code.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let status = command.status().map_err(|e| format!("cannot run {command:?}: {e}"))?;
    if status.success() { Ok(()) } else { Err(status.to_string()) }
}

/// Runs the command-line tool for a check called `name`; where io_uring is not available that is skipped. A failure is told
/// with a `hint`.
pub(crate) fn run_tool(command: &mut Command, name: &str, hint: &str) -> Outcome {
    let status = command.status().map_err(|e| format!("{name}: cannot run cargo: {e}"))?;
    match status.code() {
        Some(0) => Ok(()),
        Some(UNAVAILABLE) => {
            println!("skipped: {name}: io_uring is not available here");
            Ok(())
        }
        _ => Err(format!("{name}: {status}; {hint}")),
    }
}

/// The target triple of this machine.
pub(crate) fn host() -> Outcome<String> {
    let version = output_of(Command::new("rustc").arg("-vV"))?;
    let line = version.lines().find_map(|line| line.strip_prefix("host: "));
    line.map(str::to_owned).ok_or_else(|| "rustc names no host".to_owned())
}

/// `cargo metadata` as JSON.
pub(crate) fn metadata(extra: &[&str]) -> Outcome<Value> {
    let text = output_of(cargo().args(["metadata", "--format-version", "1"]).args(extra))?;
    serde_json::from_str(&text).map_err(|e| format!("cargo metadata: {e}"))
}

/// The directory cargo builds into.
pub(crate) fn target_directory() -> Outcome<PathBuf> {
    let metadata = metadata(&["--no-deps"])?;
    let path = metadata.get("target_directory").and_then(Value::as_str);
    path.map(PathBuf::from).ok_or_else(|| "cargo metadata names no target directory".to_owned())
}

/// The members of the workspace.
pub(crate) fn packages() -> Outcome<Vec<Package>> {
    Ok(packages_in(&metadata(&["--no-deps"])?, &root()))
}

/// The packages named in the output of `cargo metadata --no-deps`.
pub(crate) fn packages_in(metadata: &Value, root: &Path) -> Vec<Package> {
    let relative = |path: &str| {
        Path::new(path).strip_prefix(root).unwrap_or(Path::new(path)).display().to_string()
    };
    let mut packages = Vec::new();
    for package in array(metadata, "packages") {
        let dependencies = array(package, "dependencies")
            .iter()
            .filter(|dependency| text(dependency, "kind") != "dev")
            .map(|dependency| text(dependency, "name").to_owned())
            .collect();
        let targets = array(package, "targets").iter().map(|target| {
            let kind = array(target, "kind").first().and_then(Value::as_str).unwrap_or_default();
            (kind.to_owned(), relative(text(target, "src_path")))
        });
        let features = package.get("features").and_then(Value::as_object);
        let manifest = relative(text(package, "manifest_path"));
        packages.push(Package {
            name: text(package, "name").to_owned(),
            dependencies,
            targets: targets.collect(),
            features: features
                .into_iter()
                .flat_map(|map| map.keys().filter(|name| *name != "default").cloned())
                .collect(),
            directory: manifest.trim_end_matches("Cargo.toml").trim_end_matches('/').to_owned(),
        });
    }
    packages
}

/// A string member of a JSON object; empty when it is absent or null.
pub(crate) fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// An array member of a JSON object; empty when it is absent.
pub(crate) fn array<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Every text file the house rules look at, relative to `root`, sorted: build output and version
/// control left out.
pub(crate) fn files(root: &Path) -> Outcome<Vec<String>> {
    let mut found = Vec::new();
    let walk = WalkDir::new(root).sort_by_file_name().into_iter();
    for entry in walk.filter_entry(|entry| {
        let name = entry.file_name().to_string_lossy();
        entry.depth() == 0 || !(entry.file_type().is_dir() && (name == "target" || name == ".git"))
    }) {
        let entry = entry.map_err(|e| format!("cannot list files: {e}"))?;
        if entry.file_type().is_file()
            && let Ok(path) = entry.path().strip_prefix(root)
        {
            found.push(path.display().to_string());
        }
    }
    Ok(found)
}

/// Reads a file of the repository.
pub(crate) fn read(root: &Path, path: &str) -> Outcome<String> {
    std::fs::read_to_string(root.join(path)).map_err(|e| format!("cannot read {path}: {e}"))
}

/// Writes a file of the repository.
pub(crate) fn write(root: &Path, path: &str, text: &str) -> Outcome {
    std::fs::write(root.join(path), text).map_err(|e| format!("cannot write {path}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_reduced_to_normal_and_build_dependencies() {
        let metadata = serde_json::json!({"packages": [{
            "name": "a",
            "manifest_path": "/r/crates/a/Cargo.toml",
            "dependencies": [
                {"name": "normal", "kind": null},
                {"name": "build", "kind": "build"},
                {"name": "only-tests", "kind": "dev"},
            ],
            "features": {"default": [], "extra": []},
            "targets": [{"kind": ["lib"], "src_path": "/r/crates/a/src/lib.rs"}],
        }]});
        let packages = packages_in(&metadata, Path::new("/r"));
        assert_eq!(packages.len(), 1);
        assert_eq!(packages[0].dependencies, ["normal", "build"]);
        assert_eq!(packages[0].targets, [("lib".to_owned(), "crates/a/src/lib.rs".to_owned())]);
        assert_eq!(packages[0].features, ["extra"]);
        assert_eq!(packages[0].directory, "crates/a");
    }

    #[test]
    fn build_output_is_not_listed() {
        let listed = files(&root()).unwrap();
        assert!(listed.contains(&"xtask/src/main.rs".to_owned()));
        assert!(
            !listed.iter().any(|path| path.starts_with("target/") || path.starts_with(".git/"))
        );
    }
}
