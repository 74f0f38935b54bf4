//! The torture command as a user runs it: each scenario alone, for a short time and with a fixed seed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Exit code where io_uring is not available.
const UNAVAILABLE: i32 = 3;

fn torture(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_safer-ring"));
    command.arg("torture").args(arguments);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The report of a run that passed; `None` where there is no io_uring.
fn passed(output: &Output) -> Option<Value> {
    let (said, complaints) = (text(&output.stdout), text(&output.stderr));
    if output.status.code() == Some(UNAVAILABLE) {
        eprintln!("io_uring is not available here, nothing is checked: {complaints}");
        return None;
    }
    assert_eq!(output.status.code(), Some(0), "{said}\n{complaints}");
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(report["passed"], true);
    assert_eq!(report["verdict"], "lost 0, duplicated 0, leaked 0");
    assert_eq!(report["failures"].as_array().unwrap().len(), 0);
    for mode in report["modes"].as_array().unwrap() {
        assert_eq!(mode["fds_before"], mode["fds_after"], "{mode:#}");
        for zero in ["live_buffers", "orphans_left", "stale_completions"] {
            assert_eq!(mode[zero], 0, "{zero} in {mode:#}");
        }
        assert!(mode["drops"].as_u64().unwrap() > 100, "{mode:#}");
        assert!(mode["operations"].as_u64() > mode["drops"].as_u64(), "{mode:#}");
        let points = mode["drops_by_point"].as_object().unwrap();
        let sum: u64 = points.values().map(|n| n.as_u64().unwrap()).sum();
        assert_eq!(Some(sum), mode["drops"].as_u64());
    }
    Some(report)
}

/// Runs one scenario in both modes, and gives what each mode reports.
fn run(scenario: &str) -> Vec<Value> {
    let output =
        torture(&["--seconds", "2", "--seed", "11", "--json", "--only", scenario]).output();
    let Some(report) = passed(&output.unwrap()) else { return Vec::new() };
    assert_eq!(report["seed"], 11);
    assert_eq!(report["scenarios"][0], scenario);
    let modes = report["modes"].as_array().unwrap().clone();
    let names: Vec<_> = modes.iter().map(|mode| mode["mode"].as_str().unwrap()).collect();
    assert_eq!(names, ["local", "shared"]);
    modes
}

fn number(mode: &Value, table: &str, row: &str) -> u64 {
    mode[table][row].as_u64().unwrap_or_else(|| panic!("{table}, {row}: {mode:#}"))
}

/// Bytes go both ways through a stream, and the peer gets all that was sent in full.
fn streams(scenario: &str) {
    for mode in run(scenario) {
        for table in ["bytes_sent", "bytes_received_and_verified", "bytes_verified_by_the_peer"] {
            assert!(number(&mode, table, scenario) > 0, "{mode:#}");
        }
        let sent = number(&mode, "bytes_sent", scenario);
        assert!(number(&mode, "bytes_verified_by_the_peer", scenario) <= sent, "{mode:#}");
        assert!(mode["streams"].as_u64() > Some(0), "{mode:#}");
    }
}

#[test]
fn dropped_receives_and_sends_of_tcp_lose_nothing() {
    streams("tcp");
}

#[test]
fn dropped_receives_and_sends_of_unix_sockets_lose_nothing() {
    streams("unix");
}

#[test]
fn dropped_reads_and_writes_of_pipes_lose_nothing() {
    streams("pipes");
}

#[test]
fn dropped_receives_and_sends_of_datagrams_lose_nothing() {
    for mode in run("udp") {
        assert!(mode["datagrams_sent"].as_u64() > Some(0), "{mode:#}");
        assert!(mode["datagrams_received"].as_u64() > Some(0), "{mode:#}");
    }
}

#[test]
fn dropped_accepts_lose_no_connection() {
    for mode in run("accept") {
        let accepted = mode["connections_accepted"].as_u64().unwrap();
        assert!(accepted > 0 && Some(accepted) <= mode["connections_made"].as_u64(), "{mode:#}");
    }
}

#[test]
fn dropped_writes_of_files_are_done() {
    for mode in run("files") {
        assert!(number(&mode, "blocks_verified", "files") > 0);
        assert!(number(&mode, "drops_by_operation", "write") > 0);
        assert!(number(&mode, "drops_by_operation", "fsync") > 0);
    }
}

#[test]
fn dropped_direct_writes_are_done() {
    let output =
        torture(&["--seconds", "2", "--seed", "11", "--json", "--only", "direct,opens"]).output();
    let Some(report) = passed(&output.unwrap()) else { return };
    if report["skipped"].as_array().is_some_and(|skipped| !skipped.is_empty()) {
        eprintln!("no direct I/O here: {}", report["skipped"]);
        return;
    }
    for mode in report["modes"].as_array().unwrap() {
        assert!(number(mode, "blocks_verified", "direct") > 0);
    }
}

#[test]
fn late_descriptors_are_closed() {
    for mode in run("opens") {
        assert!(number(&mode, "drops_by_operation", "open") > 0);
        if mode["mode"] == "local" {
            assert!(mode["late_descriptors_closed"].as_u64() > Some(0), "{mode:#}");
        }
    }
}

#[test]
fn a_run_can_end_after_a_number_of_drops_and_all_scenarios_run_side_by_side() {
    let output = torture(&["--drops", "20000", "--seed", "3", "--json"]).output().unwrap();
    let Some(report) = passed(&output) else { return };
    assert!(report["drops"].as_u64().unwrap() >= 20_000);
    assert_eq!(report["scenarios"].as_array().unwrap().len(), 8);
    assert!(report["peak_rss_kb"].as_u64().unwrap() > 0);
}

#[test]
fn the_table_ends_with_the_verdict() {
    let arguments = ["--drops", "2000", "--seed", "5", "--only", "files", "--mode", "local"];
    let output = torture(&arguments).output().unwrap();
    if output.status.code() == Some(UNAVAILABLE) {
        return;
    }
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    assert_eq!(said.lines().last(), Some("verdict: lost 0, duplicated 0, leaked 0"));
    assert!(said.contains("seed 5") && said.contains("before the first poll"), "{said}");
    assert!(said.lines().all(|line| line.chars().count() <= 120), "{said}");
    // Progress is for terminals.
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn an_interrupt_ends_the_run_early_with_its_report() {
    let mut child = torture(&["--seconds", "1000", "--json", "--only", "files"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The interrupt is caught from the moment that lanes run; they are seen by their open file.
    let id = child.id();
    let limit = Instant::now() + Duration::from_secs(20);
    let works = |id: u32| {
        let fds = std::fs::read_dir(format!("/proc/{id}/fd")).into_iter().flatten().flatten();
        let mut links = fds.filter_map(|fd| std::fs::read_link(fd.path()).ok());
        links.any(|link| link.to_string_lossy().contains("(deleted)"))
    };
    while !works(id) && child.try_wait().unwrap().is_none() && Instant::now() < limit {
        std::thread::yield_now();
    }
    let pid = rustix::process::Pid::from_child(&child);
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
    let report = {
        let output = child.wait_with_output().unwrap();
        if output.status.code() == Some(UNAVAILABLE) {
            return;
        }
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{report:#}");
        report
    };
    assert_eq!(report["passed"], true);
    assert_eq!(report["modes"].as_array().unwrap().len(), 1);
}

#[test]
fn arguments_that_make_no_sense_exit_with_2() {
    for arguments in [
        ["--only", "tcp,no-such-thing"].as_slice(),
        &["--mode", "remote"],
        &["--seconds", "0"],
        &["--seconds", "many"],
        &["--drops", "10", "--seconds", "10"],
        &["--seed", "x"],
        &["--dir", "/no/such/dir"],
        &["--no-such-flag"],
    ] {
        let output = torture(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty());
    }
    let output = torture(&["--only", "no-such-thing"]).output().unwrap();
    let message = text(&output.stderr);
    assert!(message.contains("no-such-thing") && message.contains("pipes"), "{message}");
}
