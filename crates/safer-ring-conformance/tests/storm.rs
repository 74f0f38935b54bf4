//! The scenarios in a storm of signals: a signal that interrupts a call ends no operation, and changes no result.
#![allow(unsafe_code, clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use safer_ring_conformance::{Class, ENVIRONMENTS, OpKind, Outcome, Scenario, all, run_all};

/// Set in the child, which gets the signals.
const VARIABLE: &str = "SAFER_RING_TEST_STORM";

/// Environments of each backend and each kind of ring.
const WHERE: &[&str] =
    &["uring-local", "uring-shared", "fallback-local", "fallback-local-threads", "fallback-shared"];

/// Between two signals to all threads.
const PAUSE: Duration = Duration::from_micros(300);

static SIGNALS: AtomicU64 = AtomicU64::new(0);

extern "C" fn count_signal(_: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

/// Lets SIGUSR1 interrupt system calls: a handler without `SA_RESTART`.
fn interrupt() {
    // SAFETY: a structure of numbers; zeroes are an empty mask and no flags.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(libc::c_int) = count_signal;
    #[allow(clippy::as_conversions, reason = "as the C library has it")]
    let address = handler as usize;
    action.sa_sigaction = address;
    // SAFETY: the handler only counts.
    let set = unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()) };
    assert_eq!(set, 0);
}

/// Sends a signal to every thread of the process but this one.
fn strike(process: libc::pid_t, own: libc::pid_t) {
    for entry in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let thread: Option<libc::pid_t> =
            entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(thread) = thread.filter(|thread| *thread != own) {
            // SAFETY: three numbers. A thread that has ended meanwhile is an error, which changes nothing.
            unsafe { libc::syscall(libc::SYS_tgkill, process, thread, libc::SIGUSR1) };
        }
    }
}

/// Rows that a signal must not change: what is seen is a result, and not how many calls it took.
fn rows() -> Vec<Scenario> {
    let classes = [Class::Success, Class::Error, Class::Short, Class::Eof, Class::Cancel];
    all().into_iter().filter(|scenario| classes.contains(&scenario.class)).collect()
}

fn in_the_storm() {
    interrupt();
    let over = &AtomicBool::new(false);
    let failures = std::thread::scope(|scope| {
        scope.spawn(move || {
            // SAFETY: a call without arguments.
            let own = unsafe { libc::gettid() };
            // SAFETY: as above.
            let process = unsafe { libc::getpid() };
            while !over.load(Ordering::Relaxed) {
                strike(process, own);
                std::thread::sleep(PAUSE);
            }
        });
        let mut failures = Vec::new();
        for name in WHERE {
            let environment = ENVIRONMENTS.iter().find(|other| other.name == *name).unwrap();
            match run_all(&rows(), environment, Path::new(env!("CARGO_TARGET_TMPDIR"))) {
                Err(why) => eprintln!("skipped: {name}: {why}"),
                Ok(findings) => {
                    let passed =
                        findings.iter().filter(|finding| finding.outcome == Outcome::Passed);
                    eprintln!("{name}: {} of {} passed", passed.count(), findings.len());
                    let failed = findings
                        .into_iter()
                        .filter(|finding| matches!(finding.outcome, Outcome::Failed { .. }));
                    failures.extend(failed.map(|finding| (*name, finding)));
                }
            }
        }
        over.store(true, Ordering::Relaxed);
        failures
    });
    assert!(failures.is_empty(), "{failures:#?}");
    let signals = SIGNALS.load(Ordering::Relaxed);
    assert!(signals > 1000, "only {signals} signals");
}

#[test]
fn every_operation_works_in_a_storm_of_signals() {
    if std::env::var_os(VARIABLE).is_some() {
        in_the_storm();
        return;
    }
    let name = "every_operation_works_in_a_storm_of_signals";
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--test-threads=1", "--nocapture"]).env(VARIABLE, "1");
    let output = command.output().unwrap();
    let (said, complaints) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    complaints.lines().filter(|line| line.starts_with("skipped")).for_each(|l| eprintln!("{l}"));
    assert!(output.status.success(), "{}\n{said}\n{complaints}", output.status);
    assert!(said.contains("1 passed"), "{name} is not the name of a test:\n{said}");
}

#[test]
fn the_storm_meets_every_operation() {
    let rows = rows();
    let of = |class: Class| -> BTreeSet<OpKind> {
        let rows = rows.iter().filter(|scenario| scenario.class == class);
        rows.flat_map(|scenario| scenario.ops.iter().copied()).collect()
    };
    assert_eq!(of(Class::Success).len(), 34);
    assert!(of(Class::Cancel).len() > 5, "{:?}", of(Class::Cancel));
}
