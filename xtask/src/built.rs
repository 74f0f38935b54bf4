//! The programs of a build, by cargo's messages: to run them without cargo, which would choose other features for a part of
//! them, and build what is below them anew.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{Outcome, workspace};

/// One program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Built {
    /// Name of its package.
    pub(crate) package: String,
    /// `lib`, `bin`, `test` or `example`.
    pub(crate) kind: String,
    /// Whether it is a program of tests.
    pub(crate) test: bool,
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    /// The directory of its package.
    directory: PathBuf,
}

impl Built {
    /// Runs it as cargo would, without input.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(&self.directory).env("CARGO_MANIFEST_DIR", &self.directory);
        command.stdin(Stdio::null());
        command
    }
}

/// All programs of `cargo test --workspace`, which are built if they are not yet.
///
/// # Errors
/// Something cannot be built.
pub(crate) fn tested() -> Outcome<Vec<Built>> {
    by(workspace::cargo().args(["test", "--workspace", "--no-run"]))
}

/// One of them that is no program of tests, by the name of its package and its own.
///
/// # Errors
/// Cargo has told of none.
pub(crate) fn find<'a>(programs: &'a [Built], package: &str, name: &str) -> Outcome<&'a Built> {
    let found = programs
        .iter()
        .find(|program| !program.test && program.package == package && program.name == name);
    found.ok_or_else(|| format!("cargo names no program {name} of {package}"))
}

/// The programs that a command of cargo builds.
///
/// # Errors
/// Something cannot be built.
pub(crate) fn by(cargo: &mut Command) -> Outcome<Vec<Built>> {
    Ok(programs(&workspace::build_messages(cargo)?))
}

/// Those in cargo's messages.
pub(crate) fn programs(messages: &str) -> Vec<Built> {
    let program = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        let program = PathBuf::from(message.get("executable")?.as_str()?);
        let target = message.get("target")?;
        let directory = PathBuf::from(workspace::text(&message, "manifest_path"));
        let directory = directory.parent()?.to_owned();
        Some(Built {
            package: package(workspace::text(&message, "package_id"))?.to_owned(),
            kind: workspace::array(target, "kind").first()?.as_str()?.to_owned(),
            test: message.pointer("/profile/test").and_then(Value::as_bool).unwrap_or(false),
            name: workspace::text(target, "name").to_owned(),
            program,
            directory,
        })
    };
    messages.lines().filter_map(program).collect()
}

/// The name in the address of a package: in front of its version, or else the end of its path.
fn package(id: &str) -> Option<&str> {
    let (path, version) = id.split_once('#')?;
    version.split_once('@').map(|(name, _)| name).or_else(|| path.rsplit('/').next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_by_package_kind_and_name() {
        let messages = r#"
{"package_id":"path+file:///safer-ring#0","manifest_path":"/f/M","target":{"kind":["test"],"name":"drops"},"profile":{"test":true},"executable":"/t/drops-1"}
{"manifest_path":"/f/M","target":{"kind":["lib"],"name":"safer_ring"},"executable":null}
{"package_id":"path+file:///h#xtask-http@0","manifest_path":"/h/M","target":{"kind":["bin"],"name":"xtask-http"},"profile":{"test":false},"executable":"/t/h"}
{"reason":"build-finished","success":true}"#;
        let program =
            |package: &str, kind: &str, test, name: &str, program: &str, directory: &str| Built {
                package: package.to_owned(),
                kind: kind.to_owned(),
                test,
                name: name.to_owned(),
                program: program.into(),
                directory: directory.into(),
            };
        let expected = [
            program("safer-ring", "test", true, "drops", "/t/drops-1", "/f"),
            program("xtask-http", "bin", false, "xtask-http", "/t/h", "/h"),
        ];
        let programs = programs(messages);
        assert_eq!(programs, expected);
        assert_eq!(find(&programs, "xtask-http", "xtask-http"), Ok(&expected[1]));
        assert!(find(&programs, "safer-ring", "drops").is_err(), "it is one of tests");
    }
}
