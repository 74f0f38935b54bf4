//! The command as a user runs it: output, files, exit codes, and a machine where io_uring is blocked.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]

use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

use serde_json::Value;

fn bench(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_safer-ring"));
    command.arg("bench").args(arguments);
    command
}

/// Slices so short that only the plumbing is tested; the figures mean nothing.
const TINY: [&str; 7] = ["--quick", "--slice-ms", "2", "--rounds", "2", "--file-mib", "8"];

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn rows<'a>(report: &'a Value, scenario: &str) -> Vec<&'a Value> {
    let rows = report["results"].as_array().unwrap();
    rows.iter().filter(|row| row["scenario"] == scenario).collect()
}

fn io_uring_works(report: &Value) -> bool {
    let setup = report["machine"]["setup"].as_array().unwrap();
    let works =
        setup.iter().any(|s| s.as_str().unwrap().starts_with("raw:") && s != "raw: not available");
    if !works {
        eprintln!("io_uring is not available here: only the other rows are checked");
    }
    works
}

#[test]
fn a_short_run_gives_a_table_json_and_html() {
    let dir = tempfile::tempdir().unwrap();
    let (json, html) = (dir.path().join("b.json"), dir.path().join("b.html"));
    let output = bench(&TINY)
        .args(["--only", "nop-qd1,read-4k-cached-qd1", "--json"])
        .arg(&json)
        .arg("--report")
        .arg(&html)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let text = stdout(&output);
    assert!(text.contains("read-4k-cached-qd1") && text.contains("CPU vs raw"));
    assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");

    let report: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    for key in ["cpu", "cores", "kernel", "filesystem", "date", "command", "version"] {
        assert!(!report["machine"][key].is_null(), "{key}");
    }
    let reads = rows(&report, "read-4k-cached-qd1");
    let names: Vec<_> = reads.iter().map(|row| row["impl"].as_str().unwrap()).collect();
    assert!(names.contains(&"std") && names.contains(&"tokio"), "{names:?}");
    for row in &reads {
        for key in ["ops_per_s", "cpu_ns_per_op", "p50_us", "p99_us", "peak_rss_kb"] {
            assert!(row[key].as_f64().unwrap() > 0.0, "{key} of {row}");
        }
        assert!(row["p99_us"].as_f64() >= row["p50_us"].as_f64());
    }
    if io_uring_works(&report) {
        for name in ["raw", "raw-registered", "safer-ring/local", "safer-ring/shared"] {
            assert!(names.contains(&name), "{names:?}");
        }
        // Its row, or why there is none: an older kernel, a limit of locked memory.
        let absent = report["notes"].to_string().contains("safer-ring/registered: absent");
        assert_ne!(names.contains(&"safer-ring/registered"), absent, "{}", report["notes"]);
        assert!(rows(&report, "nop-qd1").iter().all(|row| row["impl"] != "safer-ring/registered"));
        let raw = rows(&report, "nop-qd1").into_iter().find(|row| row["impl"] == "raw").unwrap();
        assert_eq!(raw["x_raw"], 1.0);
        assert_eq!(raw["enters_per_op"], 1.0);
        assert_eq!(raw["allocs_per_op"], 0.0);
    }
    assert!(std::fs::read_to_string(&html).unwrap().contains("<svg"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
}

/// The names of all scenarios, as the program lists them.
fn scenarios() -> Vec<String> {
    let output = bench(&["--only", "no-such-thing"]).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    let (_, names) = message.split_once("there are: ").unwrap();
    names.lines().next().unwrap().split(", ").map(|name| name.trim().to_owned()).collect()
}

#[test]
fn every_scenario_runs() {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("b.json");
    let output = bench(&TINY).arg("--json").arg(&json).output().unwrap();
    assert!(output.status.success(), "{}", stdout(&output));
    let report: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let notes = report["notes"].to_string();
    let all = scenarios();
    assert_eq!(all.len(), 15, "{all:?}");
    let rings = io_uring_works(&report);
    for scenario in &all {
        let rows = rows(&report, scenario);
        let has = |name: &str| {
            let there = rows.iter().any(|row| row["impl"] == name);
            // A file system without direct I/O, say: told, with the reason.
            there || notes.contains(&format!("{scenario}, {name}: absent: "))
        };
        let (nop, many) = (scenario.starts_with("nop-"), scenario.starts_with("mt-"));
        // There is no call that does nothing, and a local ring belongs to one thread.
        assert_ne!(has("std"), nop, "{scenario}: {notes}");
        assert_ne!(has("tokio"), nop, "{scenario}: {notes}");
        assert_ne!(has("safer-ring/fallback"), many, "{scenario}: {notes}");
        if rings {
            assert!(has("raw") && has("safer-ring/shared"), "{scenario}: {notes}");
            assert_ne!(has("safer-ring/local"), many, "{scenario}: {notes}");
        }
    }
    assert!(!notes.contains("FAILED"), "{notes}");
}

#[test]
fn multi_thread_reads_stand_beside_all_that_programs_use() {
    let dir = tempfile::tempdir().unwrap();
    let (json, html) = (dir.path().join("b.json"), dir.path().join("b.html"));
    let output = bench(&TINY)
        .args(["--only", "mt-*", "--json"])
        .arg(&json)
        .arg("--report")
        .arg(&html)
        .output()
        .unwrap();
    let text = stdout(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
    let page = std::fs::read_to_string(&html).unwrap();

    let report: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let workers = report["machine"]["workers"].as_u64().unwrap();
    assert!(workers >= 2 && text.contains(&format!("workers       {workers} ")), "{text}");
    let ours = ["raw", "safer-ring/shared"];
    let others = ["std", "tokio", "tokio-fs", "pread-pool"];
    for scenario in ["mt-read-cached-1", "mt-read-cached-32"] {
        let rows = rows(&report, scenario);
        let names: Vec<_> = rows.iter().map(|row| row["impl"].as_str().unwrap()).collect();
        let wanted = others.iter().chain(ours.iter().filter(|_| io_uring_works(&report)));
        for name in wanted {
            assert!(names.contains(name), "{scenario}: {names:?}");
            assert!(text.contains(name) && page.contains(name), "{name}");
        }
        assert!(text.contains(scenario) && page.contains(scenario));
        for row in &rows {
            assert_eq!(
                row["enters_per_op"].is_null(),
                others.contains(&row["impl"].as_str().unwrap()),
                "{row}"
            );
            assert!(row["peak_rss_kb"].as_u64().unwrap() > 0, "{row}");
        }
    }
}

#[test]
fn arguments_that_make_no_sense_exit_with_2() {
    for arguments in [
        ["--only", "nop-qd1,no-such-thing"].as_slice(),
        &["--dir", "/no/such/dir"],
        &["--instr", "--quick"],
        &["--no-such-flag"],
    ] {
        let output = bench(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
    let output = bench(&["--only", "no-such-thing"]).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("read-1m-direct-qd8"), "{message}");
}

#[test]
fn an_output_that_cannot_be_written_exits_with_1() {
    let output =
        bench(&TINY).args(["--only", "nop-qd1", "--json", "/no/such/dir/b.json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/no/such/dir/b.json"));
}

#[test]
fn counting_without_valgrind_exits_with_3() {
    let output = bench(&["--instr"]).env("PATH", "/no/such/dir").output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("valgrind"));
}

/// A filter that answers `io_uring_setup(2)` with EPERM, as container runtimes do.
fn block_io_uring() -> std::io::Result<()> {
    const LOAD_NUMBER: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let statement = |code, k| libc::sock_filter { code, jt: 0, jf: 0, k };
    let setup = u32::try_from(libc::SYS_io_uring_setup).unwrap();
    let mut filter = [
        statement(LOAD_NUMBER, 0),
        libc::sock_filter { code: JUMP_IF_EQUAL, jt: 0, jf: 1, k: setup },
        statement(RETURN, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        statement(RETURN, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    // SAFETY: PR_SET_NO_NEW_PRIVS takes four numbers.
    let quiet = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: the program and its four instructions outlive the call, which copies them.
    let loaded =
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    if quiet == 0 && loaded == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

#[test]
fn where_io_uring_is_blocked_the_rest_runs_and_the_reason_is_given() {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("b.json");
    let mut command = bench(&TINY);
    command.args(["--only", "read-4k-cached-qd1,mt-read-cached-32,echo-1", "--json"]).arg(&json);
    // SAFETY: between fork and exec only prctl(2) is called, which is async-signal-safe; nothing allocates.
    unsafe { command.pre_exec(block_io_uring) };
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = stdout(&output);
    assert!(text.contains("raw rows are absent") && text.contains("seccomp"), "{text}");
    let report: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    for scenario in ["read-4k-cached-qd1", "mt-read-cached-32", "echo-1"] {
        let rows = rows(&report, scenario);
        assert!(
            rows.iter().any(|row| row["impl"] == "std")
                && rows.iter().any(|row| row["impl"] == "tokio")
        );
        assert!(rows.iter().all(|row| row["impl"] != "raw"));
        assert!(rows.iter().all(|row| row["x_raw"].is_null()));
    }
}
