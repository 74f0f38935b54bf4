//! `cargo xtask containers`: the programs inside real containers and sandboxes, which block io_uring in different ways.
//!
//! What each environment must lead to is one table, [`CASES`]. In each, the doctor has to say so, the benchmark has to
//! measure the library, and the echo server has to serve.
//!
//! * [`rootfs`]: a directory with the programs and the libraries they need, as the root of each container.
//! * [`start`]: the command that starts a container or a sandbox.
//! * [`inside`]: the part that runs in it, which is this program too.

pub(crate) mod inside;
mod rootfs;
mod start;

use std::process::Command;

use serde_json::Value;

use crate::{Outcome, built, workspace};
use rootfs::Rootfs;
use start::{Starter, Tool};

/// A profile of the shape of Docker's: what it does not name fails with `EPERM`, and it does not name io_uring.
const DOCKER_SHAPE: &str = include_str!("containers/docker-shape.json");
/// The command of the program that adds io_uring to a profile.
const GENERATOR: &[&str] = &["doctor", "--seccomp-profile"];

/// Which seccomp profile a container has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Profile {
    /// The tool's own.
    Default,
    /// [`DOCKER_SHAPE`].
    Docker,
    /// The same, as [`GENERATOR`] gives it back.
    DockerAndIoUring,
}

/// What an environment leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Expected {
    /// Exit code of the doctor.
    code: i32,
    backend: &'static str,
    /// One of these, by their names in the doctor's report; `null` there if nothing is wrong.
    causes: &'static [&'static str],
}

/// An environment, and what it leads to.
#[derive(Debug, Clone, Copy)]
struct Case {
    tool: Tool,
    profile: Profile,
    expected: Expected,
}

const IO_URING: Expected = Expected { code: 0, backend: "io_uring", causes: &[] };
const fn fallback(causes: &'static [&'static str]) -> Expected {
    Expected { code: 1, backend: "fallback", causes }
}
const fn case(tool: Tool, profile: Profile, expected: Expected) -> Case {
    Case { tool, profile, expected }
}

/// Every environment that is tried.
const CASES: [Case; 7] = [
    // ENOSYS.
    case(Tool::Podman, Profile::Default, fallback(&["seccomp"])),
    // EPERM.
    case(Tool::Podman, Profile::Docker, fallback(&["seccomp"])),
    case(Tool::Podman, Profile::DockerAndIoUring, IO_URING),
    case(Tool::Rootless, Profile::Default, fallback(&["seccomp"])),
    case(Tool::Rootless, Profile::Docker, fallback(&["seccomp"])),
    case(Tool::Rootless, Profile::DockerAndIoUring, IO_URING),
    // A kernel of its own: older versions make a ring that is not one, newer ones none.
    case(Tool::Runsc, Profile::Default, fallback(&["untrue", "too-old", "no-kernel-support"])),
];

impl Case {
    fn name(&self) -> String {
        let profile = match (self.tool, self.profile) {
            (Tool::Runsc, _) => "",
            (_, Profile::Default) => ", its own profile",
            (_, Profile::Docker) => ", a profile like Docker's",
            (_, Profile::DockerAndIoUring) => ", a profile like Docker's and io_uring",
        };
        format!("{}{profile}", self.tool.name())
    }
}

/// Runs every case that this machine has the tools for.
///
/// # Errors
/// Something in a container was not as the table says, or the programs do not build.
pub(crate) fn run() -> Outcome {
    let present: Vec<Tool> = [Tool::Podman, Tool::Rootless, Tool::Runsc]
        .into_iter()
        .filter(|tool| match tool.lacks() {
            None => true,
            Some(reason) => {
                println!("skipped: containers, {}: {reason}", tool.name());
                false
            }
        })
        .collect();
    if present.is_empty() {
        return Ok(());
    }
    let programs = built::tested()?;
    let program = &built::find(&programs, "safer-ring-cli", "safer-ring")?.program;
    let echo = &built::find(&programs, "safer-ring", inside::ECHO)?.program;
    let rootfs = Rootfs::new(program, echo)?;
    let starter = Starter::new(&rootfs)?;
    rootfs.write("docker.json", DOCKER_SHAPE)?;
    let mut generator = Command::new(program);
    generator.args(GENERATOR).arg(rootfs.beside("docker.json"));
    rootfs.write("docker-io_uring.json", &workspace::output_of(&mut generator)?)?;

    let mut wrong = Vec::new();
    for tool in present {
        if let Err(reason) = starter.try_out(tool) {
            println!("skipped: containers, {}: it starts nothing here: {reason}", tool.name());
            continue;
        }
        for case in CASES.iter().filter(|case| case.tool == tool) {
            let profile = match case.profile {
                Profile::Default => None,
                Profile::Docker => Some("docker.json"),
                Profile::DockerAndIoUring => Some("docker-io_uring.json"),
            };
            let faults = match starter.run(tool, profile, &["/xtask", "inside"]) {
                Ok(text) => judge(case, &text),
                Err(message) => vec![message],
            };
            println!("{}: {}", case.name(), if faults.is_empty() { "ok" } else { "FAILED" });
            wrong.extend(faults.into_iter().map(|fault| format!("{}: {fault}", case.name())));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("containers:\n{}", wrong.join("\n"))) }
}

/// What differs from the table in the report that came out of a container.
fn judge(case: &Case, text: &str) -> Vec<String> {
    let report = text.lines().find_map(|line| line.strip_prefix(inside::REPORT));
    let Some(report) = report.and_then(|json| serde_json::from_str::<Value>(json).ok()) else {
        return vec![format!("no report:\n{text}")];
    };
    let Expected { code, backend, causes } = case.expected;
    let at = |path: &str| report.pointer(path).cloned().unwrap_or(Value::Null);
    let mut wrong = Vec::new();
    let mut check = |path: &str, expected: Value| {
        let found = at(path);
        if found != expected {
            wrong.push(format!("{path} is {found}, expected {expected}"));
        }
    };
    check("/doctor/code", code.into());
    check("/doctor/report/backend", backend.into());
    check("/bench/code", 0.into());
    check("/echo/code", 0.into());
    check("/echo/bytes", inside::ECHO_BYTES.into());
    if case.tool != Tool::Runsc {
        // The profile is in force: nothing else about the container was opened.
        check("/seccomp", "2".into());
    }
    let cause = at("/doctor/report/cause");
    if !cause.as_str().map_or(causes.is_empty(), |cause| causes.contains(&cause)) {
        wrong.push(format!("/doctor/report/cause is {cause}, expected one of {causes:?}"));
    }
    let rows = workspace::array(&report, "rows");
    for scenario in inside::SCENARIOS {
        let ours = |row: &Value| {
            workspace::text(row, "scenario") == scenario
                && workspace::text(row, "impl").starts_with("safer-ring/")
        };
        if !rows.iter().any(ours) {
            wrong.push(format!("bench has no row of the library in {scenario}"));
        }
    }
    for part in ["doctor", "bench", "echo"] {
        let said = at(&format!("/{part}/said"));
        let failed = wrong.iter().any(|fault| fault.contains(part));
        if let Some(said) = said.as_str().filter(|said| failed && !said.trim().is_empty()) {
            wrong.push(format!("the {part} said: {}", said.trim()));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report() -> Value {
        json!({
            "seccomp": "2",
            "doctor": { "code": 1, "report": { "backend": "fallback", "cause": "seccomp" } },
            "bench": { "code": 0, "said": "it is slow" },
            "echo": { "code": 0, "bytes": inside::ECHO_BYTES, "said": "it is late" },
            "rows": inside::SCENARIOS.map(|name| json!({ "scenario": name, "impl": "safer-ring/local" })),
        })
    }

    fn faults(case: &Case, report: &Value) -> Vec<String> {
        judge(case, &format!("noise\n{}{report}\n", inside::REPORT))
    }

    #[test]
    fn a_report_like_the_table_has_no_faults_and_each_difference_is_one() {
        let case = &CASES[0];
        assert_eq!(faults(case, &report()), [""; 0]);
        assert!(judge(case, "it crashed")[0].contains("it crashed"));
        for (path, value, said) in [
            ("/doctor/code", json!(0), "/doctor/code is 0, expected 1"),
            ("/doctor/report/backend", json!("io_uring"), "expected \"fallback\""),
            ("/doctor/report/cause", Value::Null, "cause is null, expected one of [\"seccomp\"]"),
            ("/bench/code", json!(1), "/bench/code is 1"),
            ("/echo/bytes", json!(1), "/echo/bytes is 1"),
            ("/seccomp", json!("0"), "/seccomp is \"0\""),
            ("/rows/0/impl", json!("std"), "bench has no row of the library"),
        ] {
            let mut report = report();
            *report.pointer_mut(path).unwrap() = value;
            let found = faults(case, &report);
            assert!(found[0].contains(said), "{found:?}");
            let explained = found.iter().any(|fault| fault.contains("said: it is"));
            let speaks = path.starts_with("/bench")
                || path.starts_with("/echo")
                || path.starts_with("/rows");
            assert_eq!(explained, speaks, "only the part that failed: {found:?}");
        }
    }

    #[test]
    fn each_kind_of_environment_is_in_the_table_once() {
        let names: std::collections::BTreeSet<String> = CASES.iter().map(Case::name).collect();
        assert_eq!(names.len(), CASES.len());
        let shape: Value = serde_json::from_str(DOCKER_SHAPE).unwrap();
        assert_eq!(shape["defaultErrnoRet"], 1);
        assert!(!DOCKER_SHAPE.contains("io_uring"), "the generator has something to do");
    }
}
