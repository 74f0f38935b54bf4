//! What can be seen of the reasons why io_uring might be refused here.

use std::fmt;
use std::io::{self, Read as _};

use rustix::process::{Resource, getrlimit};
use safer_ring_sys::Errno;
use safer_ring_sys::trial::{Answers, Call};

/// What was seen of this process and its system. A field is `None` where it could not be read, or was not looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Evidence {
    /// The answers to the three system calls, each asked apart. Not asked where nothing failed, and where a filter may
    /// end the process for it.
    pub calls: Option<Answers>,
    /// The call at which a filter has killed the child that tried them.
    pub killed_at: Option<Call>,
    /// `Seccomp:` of this thread (proc_pid_status(5)): 0 off, 1 strict, 2 filter.
    pub seccomp: Option<u32>,
    /// Number of its filters, kernel 5.9.
    pub seccomp_filters: Option<u32>,
    /// `kernel.io_uring_disabled`, kernel 6.6 and some older ones of distributions: 0 allowed for all, 1 for the members
    /// of a group, 2 for nobody.
    pub io_uring_disabled: Option<u32>,
    /// `kernel.io_uring_group`: that group; -1 for none.
    pub io_uring_group: Option<i64>,
    /// Whether this thread is a member of it.
    pub in_io_uring_group: Option<bool>,
    /// Whether this thread has `CAP_SYS_ADMIN`.
    pub sys_admin: Option<bool>,
    /// Whether this thread has `CAP_IPC_LOCK`, for which no limit on locked memory holds.
    pub ipc_lock: Option<bool>,
    /// `RLIMIT_MEMLOCK` in bytes; `None` without a limit.
    pub memlock: Option<u64>,
    /// `RLIMIT_NOFILE`, the number of descriptors; `None` without a limit.
    pub nofile: Option<u64>,
    /// The security modules of the kernel, from `/sys/kernel/security/lsm`, which containers seldom see.
    pub security_modules: Option<Vec<String>>,
    /// The label that a security module has given to this process.
    pub security_label: Option<String>,
    /// The kernel's release, as `uname -r`.
    pub release: String,
    /// The kernel's version, as `uname -v`.
    pub version: String,
    /// What looks like a container: a hint for the advice, never a reason.
    pub container: Option<String>,
}

/// Capabilities by number: capabilities(7).
const CAP_IPC_LOCK: u32 = 14;
const CAP_SYS_ADMIN: u32 = 21;

impl Evidence {
    /// All that can be seen. Reads some files, and with `ask` makes the three system calls.
    pub(crate) fn gather(ask: bool) -> Self {
        let status = read_status();
        let mut found = Self::brief(&Confinement::in_status(&status));
        found.calls = ask.then(Answers::here);
        found.io_uring_disabled = number("/proc/sys/kernel/io_uring_disabled");
        found.io_uring_group = number("/proc/sys/kernel/io_uring_group");
        found.take_status(&status);
        found.security_modules = read("/sys/kernel/security/lsm")
            .map(|list| list.trim().split(',').map(str::to_owned).collect());
        found.security_label = read("/proc/thread-self/attr/current")
            .map(|label| label.trim_end_matches(['\0', '\n']).to_owned())
            .filter(|label| !label.is_empty());
        found.container = container();
        found
    }

    /// What costs no file: limits, the kernel's name, and what is known of filters.
    pub(crate) fn brief(confinement: &Confinement) -> Self {
        let name = rustix::system::uname();
        Self {
            seccomp: confinement.mode,
            seccomp_filters: confinement.filters,
            memlock: getrlimit(Resource::Memlock).current,
            nofile: getrlimit(Resource::Nofile).current,
            release: name.release().to_string_lossy().into_owned(),
            version: name.version().to_string_lossy().into_owned(),
            ..Self::default()
        }
    }

    /// Capabilities and groups, of proc_pid_status(5). `io_uring_group` is there already.
    fn take_status(&mut self, status: &str) {
        let set = field(status, "CapEff").and_then(|text| u64::from_str_radix(text, 16).ok());
        let has = |bit: u32| set.map(|set| set & (1 << bit) != 0);
        self.ipc_lock = has(CAP_IPC_LOCK);
        self.sys_admin = has(CAP_SYS_ADMIN);
        // The kernel compares the last of the four group ids, and the supplementary ones.
        let own = field(status, "Gid").and_then(|ids| ids.split_whitespace().last());
        let more = field(status, "Groups").unwrap_or_default().split_whitespace();
        let mut ids = own.into_iter().chain(more).filter_map(|id| id.parse::<i64>().ok());
        self.in_io_uring_group = match self.io_uring_group {
            Some(group) if own.is_some() => Some(ids.any(|id| id == group)),
            _ => None,
        };
    }

    /// Major and minor number of the kernel's release.
    #[must_use]
    pub fn kernel(&self) -> Option<(u32, u32)> {
        let mut numbers = self.release.split(|c: char| !c.is_ascii_digit());
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }

    /// Whether this is gVisor, which is not Linux: by the names that it gives itself.
    #[must_use]
    pub fn is_gvisor(&self) -> bool {
        // Every version of it so far has this build date.
        self.release.contains("gvisor") || self.version.contains("Sun Jan 10 15:06:54 PST 2016")
    }

    /// Whether a filter is in force, as far as that is known.
    #[must_use]
    pub fn is_filtered(&self) -> bool {
        self.seccomp.is_none_or(|mode| mode != 0)
    }

    /// Whether the switch of the system forbids io_uring to this thread.
    #[must_use]
    pub fn is_switched_off(&self) -> bool {
        match self.io_uring_disabled {
            Some(2) => true,
            Some(1) => self.in_io_uring_group != Some(true) && self.sys_admin != Some(true),
            _ => false,
        }
    }
}

/// A call and what it was answered.
pub(crate) fn answer(f: &mut fmt::Formatter<'_>, calls: &Answers, call: Call) -> fmt::Result {
    match calls.to(call) {
        Ok(_) => write!(f, "{call} ok"),
        Err(errno) => write!(f, "{call} {errno:?}"),
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kernel {}", self.release)?;
        if let Some(calls) = &self.calls {
            for call in [Call::Setup, Call::Enter, Call::Register] {
                f.write_str(", ")?;
                answer(f, calls, call)?;
            }
        }
        if let Some(call) = self.killed_at {
            write!(f, ", {call} kills")?;
        }
        if let Some(mode) = self.seccomp {
            write!(f, ", seccomp {mode}")?;
        }
        if let Some(value) = self.io_uring_disabled {
            write!(f, ", kernel.io_uring_disabled {value}")?;
        }
        if let (Some(bytes), Some(false)) = (self.memlock, self.ipc_lock) {
            write!(f, ", memlock {} KiB", bytes / 1024)?;
        }
        if let Some(label) = &self.security_label {
            write!(f, ", label {label}")?;
        }
        Ok(())
    }
}

/// What is known of the seccomp filters of a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Confinement {
    /// 0 off, 1 strict, 2 filter.
    pub(crate) mode: Option<u32>,
    /// Kernel 5.9.
    pub(crate) filters: Option<u32>,
}

impl Confinement {
    /// Looks at the calling thread.
    ///
    /// # Errors
    /// `EMFILE` or `ENFILE` if there is no descriptor left to look with. Any other failure is an unknown.
    pub(crate) fn of_this_thread() -> Result<Self, Errno> {
        match read_page(THREAD_STATUS).or_else(|_| read_page(STATUS)) {
            Ok(text) => Ok(Self::in_status(&text)),
            Err(error) => match errno_of(&error) {
                Some(errno @ (Errno::MFILE | Errno::NFILE)) => Err(errno),
                _ => Ok(Self::default()),
            },
        }
    }

    fn in_status(status: &str) -> Self {
        let number = |key| field(status, key).and_then(|text| text.parse().ok());
        Self { mode: number("Seccomp"), filters: number("Seccomp_filters") }
    }
}

/// Filters belong to threads; the second is the process's first thread, for kernels before 3.17.
const THREAD_STATUS: &str = "/proc/thread-self/status";
const STATUS: &str = "/proc/self/status";

fn read_status() -> String {
    read_page(THREAD_STATUS).or_else(|_| read_page(STATUS)).unwrap_or_default()
}

/// The first page of a file below `/proc`, which is all of a status, in one read: the kernel makes the text anew for
/// each, and this is done for each ring.
fn read_page(path: &str) -> io::Result<String> {
    let mut page = [0; 4096];
    let length = std::fs::File::open(path)?.read(&mut page)?;
    Ok(String::from_utf8_lossy(page.get(..length).unwrap_or_default()).into_owned())
}

fn errno_of(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().and_then(Errno::from_raw_os_error)
}

/// The value of the line that begins with the key and a colon.
fn field<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(name, _)| *name == key).map(|(_, value)| value.trim())
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn number<T: std::str::FromStr>(path: &str) -> Option<T> {
    read(path)?.trim().parse().ok()
}

/// Marks that container managers leave. They say nothing about filters, and some are left where there is no container.
fn container() -> Option<String> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let there = |path: &str| std::path::Path::new(path).exists();
    if variable("KUBERNETES_SERVICE_HOST").is_some() {
        return Some("kubernetes".to_owned());
    }
    if there("/run/.containerenv") {
        return Some("podman".to_owned());
    }
    if there("/.dockerenv") {
        return Some("docker".to_owned());
    }
    variable("container")
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS_OF_A_CONTAINER: &str = "Name:\tcat\nUid:\t1000\t1000\t1000\t1000\nGid:\t1000\t1000\t1000\t997\n\
        Groups:\t4 27 \nCapEff:\t0000000000004000\nNoNewPrivs:\t0\nSeccomp:\t2\nSeccomp_filters:\t1\n";

    fn with_group(group: i64) -> Evidence {
        let mut evidence = Evidence { io_uring_group: Some(group), ..Evidence::default() };
        evidence.take_status(STATUS_OF_A_CONTAINER);
        evidence
    }

    #[test]
    fn a_status_tells_filters_capabilities_and_groups() {
        let confinement = Confinement::in_status(STATUS_OF_A_CONTAINER);
        assert_eq!(confinement, Confinement { mode: Some(2), filters: Some(1) });
        let evidence = with_group(27);
        assert_eq!((evidence.ipc_lock, evidence.sys_admin), (Some(true), Some(false)));
        assert_eq!(evidence.in_io_uring_group, Some(true));
        assert_eq!(with_group(997).in_io_uring_group, Some(true), "the file system's group id");
        assert_eq!(with_group(1000).in_io_uring_group, Some(false), "the other ids do not count");
        assert_eq!(Confinement::in_status(""), Confinement::default());
    }

    #[test]
    fn the_switch_is_off_for_those_it_means() {
        let mut evidence = with_group(27);
        for (value, group, admin, off) in [
            (0, false, false, false),
            (1, false, false, true),
            (1, true, false, false),
            (1, false, true, false),
            (2, true, true, true),
        ] {
            evidence.io_uring_disabled = Some(value);
            evidence.in_io_uring_group = Some(group);
            evidence.sys_admin = Some(admin);
            assert_eq!(evidence.is_switched_off(), off, "{value} {group} {admin}");
        }
    }

    #[test]
    fn a_release_begins_with_two_numbers() {
        let of = |release: &str| {
            Evidence { release: release.to_owned(), ..Evidence::default() }.kernel()
        };
        assert_eq!(of("6.18.44-fc-v595"), Some((6, 18)));
        assert_eq!(of("5.4-rc1"), Some((5, 4)));
        assert_eq!(of("4.19.0-gvisor"), Some((4, 19)));
        assert_eq!(of("what"), None);
    }

    #[test]
    fn this_process_is_looked_at() {
        let evidence = Evidence::gather(true);
        assert!(evidence.kernel().is_some() && evidence.calls.is_some(), "{evidence:?}");
        assert_eq!(evidence.seccomp, Confinement::of_this_thread().unwrap().mode);
        assert!(evidence.to_string().contains("io_uring_enter E"), "{evidence}");
    }
}
