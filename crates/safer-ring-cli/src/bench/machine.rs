//! What the figures were measured on: without it a benchmark means nothing.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};
use serde::Serialize;

/// The header of every report.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: u32,
    /// Worker threads of each multi-thread runtime, and of raw in mt scenarios.
    pub(crate) workers: u32,
    pub(crate) memory_kb: u64,
    pub(crate) arch: &'static str,
    pub(crate) kernel: String,
    pub(crate) dir: Option<String>,
    pub(crate) filesystem: Option<String>,
    /// Setup flags in use, one line per kind of ring.
    pub(crate) setup: Vec<String>,
    pub(crate) memlock_kb: Option<u64>,
    pub(crate) nofile: Option<u64>,
    /// `kernel.io_uring_disabled`; `None` where the kernel has no such switch.
    pub(crate) io_uring_disabled: Option<u32>,
    pub(crate) date: String,
    pub(crate) command: String,
    pub(crate) version: &'static str,
}

impl Machine {
    /// Looks around. `dir` is the directory of the data file, where there is one.
    pub(crate) fn look(dir: Option<&Path>) -> Self {
        let absolute = dir.and_then(|dir| fs::canonicalize(dir).ok());
        let limit = |resource, unit: u64| getrlimit(resource).current.map(|n| n / unit);
        Self {
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: crate::num::small(crate::imp::cores()),
            workers: crate::num::small(crate::imp::default_workers()),
            memory_kb: field("/proc/meminfo", "MemTotal").and_then(|v| kilobytes(&v)).unwrap_or(0),
            arch: std::env::consts::ARCH,
            kernel: read_line("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".to_owned()),
            filesystem: absolute.as_deref().and_then(filesystem_of),
            dir: absolute.map(|dir| dir.display().to_string()),
            setup: Vec::new(),
            memlock_kb: limit(Resource::Memlock, 1024),
            nofile: limit(Resource::Nofile, 1),
            io_uring_disabled: sysctl(),
            date: date(),
            command: command_line(),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

fn sysctl() -> Option<u32> {
    read_line("/proc/sys/kernel/io_uring_disabled")?.parse().ok()
}

fn read_line(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

/// The value of the first line `key : value` of a file of such lines.
pub(crate) fn field(path: &str, key: &str) -> Option<String> {
    field_of(&fs::read_to_string(path).ok()?, key)
}

fn field_of(text: &str, key: &str) -> Option<String> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim().to_owned())
}

/// `123 kB` as a number of kilobytes.
pub(crate) fn kilobytes(value: &str) -> Option<u64> {
    value.split_whitespace().next()?.parse().ok()
}

/// Type and source of the filesystem a path is on: the mount with the longest matching mount point.
pub(crate) fn filesystem_of(path: &Path) -> Option<String> {
    filesystem_in(&fs::read_to_string("/proc/self/mountinfo").ok()?, path)
}

fn filesystem_in(mountinfo: &str, path: &Path) -> Option<String> {
    let mut best: Option<(usize, String)> = None;
    for line in mountinfo.lines() {
        let Some((mount, kind)) = line.split_once(" - ") else { continue };
        let Some(point) = mount.split_whitespace().nth(4) else { continue };
        let mut kind = kind.split_whitespace();
        let (Some(name), Some(source)) = (kind.next(), kind.next()) else { continue };
        // Later lines win among equals: a mount hides what was mounted there before it.
        if path.starts_with(point) && best.as_ref().is_none_or(|(len, _)| point.len() >= *len) {
            best = Some((point.len(), format!("{name} on {source}")));
        }
    }
    best.map(|(_, text)| text)
}

fn command_line() -> String {
    let mut words = std::env::args();
    let program = words.next().unwrap_or_default();
    let name = Path::new(&program).file_name().map(|n| n.to_string_lossy().into_owned());
    let rest: Vec<String> = words.collect();
    format!("{} {}", name.unwrap_or(program), rest.join(" "))
}

fn date() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    date_of(seconds)
}

/// Seconds since the epoch as a UTC date and time.
fn date_of(seconds: u64) -> String {
    let (mut days, rest) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute) = (rest / 3600, rest % 3600 / 60);
    format!("{year}-{month:02}-{:02} {hour:02}:{minute:02} UTC", days + 1)
}

/// Why io_uring was refused, and what to do about it.
pub(crate) fn explain_refusal(errno: Option<i32>) -> String {
    let filtered = field("/proc/self/status", "Seccomp").is_some_and(|mode| mode != "0");
    explain(errno, sysctl(), filtered)
}

fn explain(errno: Option<i32>, disabled: Option<u32>, filtered: bool) -> String {
    let text = match errno {
        Some(libc::EPERM) if disabled == Some(2) => {
            "the sysctl kernel.io_uring_disabled is 2; `sysctl -w kernel.io_uring_disabled=0` allows it"
        }
        Some(libc::EPERM) if disabled == Some(1) => {
            "the sysctl kernel.io_uring_disabled is 1: only members of kernel.io_uring_group and CAP_SYS_ADMIN may use it"
        }
        Some(libc::EPERM | libc::EACCES | libc::ENOSYS) if filtered => {
            "a seccomp filter refuses it, as the default profile of container runtimes does; allow io_uring_setup, \
             io_uring_enter and io_uring_register in the profile"
        }
        Some(libc::EPERM | libc::EACCES) => "a security module or the sandbox refuses it",
        Some(libc::ENOSYS) => {
            "this kernel is older than 5.1, was built without io_uring, or is an emulation of Linux"
        }
        Some(libc::ENOMEM) => "too little memory may be locked; raise `ulimit -l`, or free memory",
        Some(libc::EMFILE | libc::ENFILE) => "too many files are open; raise `ulimit -n`",
        _ => "the kernel refuses the setup",
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(date_of(0), "1970-01-01 00:00 UTC");
        assert_eq!(date_of(951_782_399), "2000-02-28 23:59 UTC");
        assert_eq!(date_of(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(date_of(1_767_225_599), "2025-12-31 23:59 UTC");
    }

    #[test]
    fn the_longest_mount_point_names_the_filesystem() {
        let text =
            "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:5 / /tmp rw shared:1 - tmpfs none rw\n";
        assert_eq!(filesystem_in(text, Path::new("/tmp/a")).unwrap(), "tmpfs on none");
        assert_eq!(filesystem_in(text, Path::new("/tmpx")).unwrap(), "ext4 on /dev/sda1");
    }

    #[test]
    fn fields_of_proc_files() {
        let text = "MemTotal:       24682 kB\nmodel name\t: A: B\n";
        assert_eq!(field_of(text, "MemTotal").and_then(|v| kilobytes(&v)), Some(24_682));
        assert_eq!(field_of(text, "model name").as_deref(), Some("A: B"));
        assert_eq!(field_of(text, "absent"), None);
    }

    #[test]
    fn refusals_are_told_apart() {
        assert!(explain(Some(libc::EPERM), Some(2), true).contains("is 2"));
        assert!(explain(Some(libc::EPERM), Some(0), true).contains("seccomp"));
        assert!(explain(Some(libc::EPERM), Some(0), false).contains("security module"));
        assert!(explain(Some(libc::ENOSYS), None, false).contains("5.1"));
        assert!(explain(Some(libc::EMFILE), None, false).contains("ulimit -n"));
    }

    #[test]
    fn this_machine_has_a_header() {
        let machine = Machine::look(Some(Path::new("/proc")));
        assert!(machine.cores >= 1 && machine.memory_kb > 0);
        assert!(machine.filesystem.unwrap().starts_with("proc"));
    }
}
