//! A test in a process of its own: to count descriptors, to measure the CPU, to fork, to get signals.

use std::process::Command;
use std::time::Duration;

const VARIABLE: &str = "SAFER_RING_TEST_ALONE";

/// Runs `body` in a new process in which no other test runs. `name` is the full name of the calling test.
#[track_caller]
pub(crate) fn alone(name: &str, body: impl FnOnce() + Send + 'static) {
    run_alone(name, &[], body);
}

/// The same, whatever backend the environment asks for.
#[track_caller]
pub(crate) fn alone_with_any_backend(name: &str, body: impl FnOnce() + Send + 'static) {
    run_alone(name, &["SAFER_RING_BACKEND"], body);
}

#[track_caller]
fn run_alone(name: &str, forgotten: &[&str], body: impl FnOnce() + Send + 'static) {
    if std::env::var_os(VARIABLE).is_some_and(|chosen| chosen == name) {
        // Its poller is one for the process, with descriptors of its own: there before anybody counts.
        #[cfg(feature = "smol")]
        // A timer would not do: one that is over when it is first looked at needs no poller.
        drop(smol::Async::<std::os::unix::net::UnixStream>::pair().unwrap());
        super::within_deadline(body);
        return;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--test-threads=1", "--nocapture"]).env(VARIABLE, name);
    for variable in forgotten {
        command.env_remove(variable);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    let skipped = complaints.lines().filter(|line| line.starts_with("skipped"));
    skipped.for_each(|line| eprintln!("{line}"));
    assert!(output.status.success(), "{name}: {}\n{said}\n{complaints}", output.status);
    assert!(said.contains("1 passed"), "{name} is not the name of a test:\n{said}");
}

/// Descriptors that this process has open.
pub(crate) fn descriptors() -> usize {
    // The one that reads the directory is in it, now and at every other count.
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// What each open descriptor is, for a message.
pub(crate) fn describe_descriptors() -> Vec<String> {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    let links = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    links.map(|link| link.display().to_string()).collect()
}

/// CPU time that all threads of this process have used.
pub(crate) fn cpu_time() -> Duration {
    usage().0
}

/// That, and how often one of them has gone to sleep or been put aside.
pub(crate) fn usage() -> (Duration, i64) {
    // SAFETY: a structure of numbers; zeroes are a valid value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: writes the structure above.
    assert_eq!(unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) }, 0);
    let time = |t: libc::timeval| {
        Duration::new(t.tv_sec.try_into().unwrap(), 1000 * u32::try_from(t.tv_usec).unwrap())
    };
    (time(usage.ru_utime) + time(usage.ru_stime), usage.ru_nvcsw + usage.ru_nivcsw)
}
