//! The doctor as a user runs it: exit codes, text and JSON, and machines where io_uring is blocked.
#![allow(unsafe_code, clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

#[path = "../../safer-ring/tests/common/seccomp.rs"]
mod seccomp;

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output};

use seccomp::{Calls, Deed, confine};
use serde_json::Value;

const VARIABLE: &str = "SAFER_RING_BACKEND";

fn doctor(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_safer-ring"));
    command.arg("doctor").args(arguments).env_remove(VARIABLE);
    command
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{}", output.status))
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
fn json(command: &mut Command) -> (i32, Value) {
    let output = command.output().unwrap();
    let value = serde_json::from_slice(&output.stdout).unwrap();
    (code(&output), value)
}

fn works() -> bool {
    let (code, found) = json(&mut doctor(&["--json"]));
    if code != 0 {
        eprintln!("skipped: io_uring does not work here: {}", found["reason"]);
    }
    code == 0
}

#[test]
fn where_io_uring_works_the_code_is_0_and_the_features_are_told() {
    if !works() {
        return;
    }
    let (code, found) = json(&mut doctor(&["--json"]));
    assert_eq!(
        (code, &found["verdict"], &found["backend"]),
        (0, &"io_uring".into(), &"io_uring".into())
    );
    assert_eq!((&found["cause"], found["fix"].as_array().unwrap().len()), (&Value::Null, 0));
    for ring in ["local", "shared"] {
        let opcodes = found["features"][ring]["opcodes"].as_array().unwrap();
        assert!(opcodes.contains(&"READ".into()), "{opcodes:?}");
    }
    assert!(found["numa"]["nodes"][0]["cpus"][0].is_u64(), "{}", found["numa"]);
    let output = doctor(&[]).output().unwrap();
    let text = text(&output);
    assert_eq!(text.lines().next(), Some("verdict    io_uring works here"));
    assert!(!text.contains('\x1b'), "a pipe is no terminal");
    for label in ["kernel", "confined", "blocked", "rings", "features", "limits", "numa"] {
        assert!(text.lines().any(|line| line.starts_with(label)), "{label}: {text}");
    }
}

#[test]
fn under_a_filter_the_code_is_1_and_the_cause_is_named() {
    if !works() {
        return;
    }
    for (calls, deed, cause, answer) in [
        (Calls::All, Deed::Errno(libc::EPERM), "seccomp", "EPERM"),
        (Calls::All, Deed::Errno(libc::ENOSYS), "seccomp", "ENOSYS"),
        (Calls::Setup, Deed::Errno(libc::EPERM), "seccomp-setup", "EPERM"),
        (Calls::Enter, Deed::Errno(libc::EPERM), "seccomp-enter", "EPERM"),
        (Calls::Register, Deed::Errno(libc::EPERM), "seccomp-register", "EPERM"),
        (Calls::All, Deed::Kill, "seccomp-kills", "killed"),
        (Calls::All, Deed::Trap, "seccomp-kills", "killed"),
    ] {
        let (code, found) = json(confine(&mut doctor(&["--json"]), calls, deed));
        assert_eq!((code, &found["cause"]), (1, &cause.into()), "{found}");
        assert_eq!(found["backend"], "fallback");
        let list = found["calls"].as_array().unwrap();
        let blocked: Vec<&Value> = list.iter().filter(|call| call["blocked"] == true).collect();
        assert!(!blocked.is_empty(), "{found}");
        assert!(
            blocked.iter().all(|call| call["by"] == cause && call["answer"] == answer),
            "{found}"
        );
        let fix = found["fix"][0].as_str().unwrap();
        assert!(fix.contains("io_uring_setup, io_uring_enter and io_uring_register"), "{fix}");
        let output = confine(&mut doctor(&[]), calls, deed).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output).contains("because    a seccomp filter"), "{}", text(&output));
    }
}

#[test]
fn the_environment_is_heeded() {
    let (code, found) = json(doctor(&["--json"]).env(VARIABLE, "fallback"));
    assert_eq!(
        (code, &found["cause"], &found["chosen_by"]),
        (1, &"environment".into(), &"environment".into())
    );
    let (code, found) = json(doctor(&["--json"]).env(VARIABLE, "nonsense"));
    assert_eq!((code, &found["verdict"], &found["backend"]), (2, &"error".into(), &Value::Null));
    assert!(found["error"].as_str().unwrap().contains("auto, io_uring or fallback"), "{found}");
    // Strict, and not to be had.
    let mut strict = doctor(&["--json"]);
    let (code, found) =
        json(confine(strict.env(VARIABLE, "io_uring"), Calls::All, Deed::Errno(libc::EPERM)));
    assert_eq!((code, &found["verdict"], &found["cause"]), (2, &"error".into(), &"seccomp".into()));
}

#[test]
fn what_is_used_up_is_an_error() {
    if !works() {
        return;
    }
    let mut command = doctor(&["--json"]);
    // One more than the three that it is given: enough for a ring, and not for what it shall read.
    let limit = libc::rlimit { rlim_cur: 4, rlim_max: 4 };
    let lower = move || {
        // SAFETY: reads the structure that this closure owns.
        match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: in the child, one system call and no allocation.
    let (code, found) = json(unsafe { command.pre_exec(lower) });
    assert_eq!((code, &found["cause"]), (2, &"descriptors".into()), "{found}");
    assert!(found["fix"][0].as_str().unwrap().contains("RLIMIT_NOFILE, now 4"), "{found}");
}

#[test]
fn a_path_is_looked_at_and_a_missing_one_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let (_, found) = json(&mut doctor(&["--json", "--path", path]));
    assert!(found["path"]["filesystem"].is_string(), "{found}");
    let missing = dir.path().join("none");
    let (code, found) = json(&mut doctor(&["--json", "--path", missing.to_str().unwrap()]));
    assert_eq!((code, &found["path"]), (2, &Value::Null));
    assert!(found["error"].as_str().unwrap().contains("No such file"), "{found}");
}

#[test]
fn the_help_tells_the_exit_codes() {
    let output = doctor(&["--help"]).output().unwrap();
    let help = text(&output).split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "0 if rings are io_uring",
        "1 if they are the fallback",
        "2 if there is no ring",
        "NO_COLOR",
    ] {
        assert!(help.contains(part), "{part}: {help}");
    }
}
