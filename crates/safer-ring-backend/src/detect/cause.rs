//! From what went wrong, and what can be seen, to why: pure functions.

use std::fmt;

use safer_ring_sys::Errno;
use safer_ring_sys::trial::{Answers, Call};

use super::evidence::Evidence;
use super::proof::Flaw;

/// Why a ring is not io_uring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// A seccomp filter answers all three system calls with an error, as the default profiles of Docker, containerd and
    /// Podman do.
    Seccomp,
    /// A seccomp filter refuses io_uring_setup(2) only.
    SeccompSetup,
    /// A seccomp filter refuses io_uring_enter(2): a ring can be made, and takes nothing.
    SeccompEnter,
    /// A seccomp filter refuses io_uring_register(2): a ring works, but the settings asked for, or a ring for many threads,
    /// need that call.
    SeccompRegister,
    /// A seccomp filter ends the process at one of the calls (`SIGSYS`). Seen in a child.
    SeccompKills,
    /// A filter is in force, and no child could be made to find out whether it kills.
    Unprobed,
    /// The sysctl `kernel.io_uring_disabled`.
    Sysctl,
    /// A security module (SELinux and its like).
    SecurityModule,
    /// The kernel was built without io_uring, or is older than 5.1.
    NoKernelSupport,
    /// The kernel has io_uring, and lacks what this library needs: it is older than 5.6.
    TooOld,
    /// `EOPNOTSUPP`, without a filter in sight: a managed platform.
    NotSupported,
    /// What looks like io_uring is not Linux's: a ring that completes what it has not done, or that lacks what every kernel
    /// has, as in some versions of gVisor.
    Untrue,
    /// Opcodes that every kernel has are refused inside of the ring: restrictions that the parent has set for the task,
    /// kernel 7.0.
    TaskRestriction,
    /// `RLIMIT_MEMLOCK` is too small.
    Memlock,
    /// The kernel has no memory for a ring.
    Memory,
    /// `RLIMIT_NOFILE` is reached.
    Descriptors,
    /// The system has no descriptor left.
    SystemDescriptors,
    /// The environment variable `SAFER_RING_BACKEND` asks for another backend.
    Environment,
    /// The builder asks for another backend.
    Builder,
    /// None of the above explains it.
    Unknown,
}

impl Cause {
    /// A short name that stays the same, for logs and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Seccomp => "seccomp",
            Self::SeccompSetup => "seccomp-setup",
            Self::SeccompEnter => "seccomp-enter",
            Self::SeccompRegister => "seccomp-register",
            Self::SeccompKills => "seccomp-kills",
            Self::Unprobed => "unprobed",
            Self::Sysctl => "sysctl",
            Self::SecurityModule => "security-module",
            Self::NoKernelSupport => "no-kernel-support",
            Self::TooOld => "too-old",
            Self::NotSupported => "not-supported",
            Self::Untrue => "untrue",
            Self::TaskRestriction => "task-restriction",
            Self::Memlock => "memlock",
            Self::Memory => "memory",
            Self::Descriptors => "descriptors",
            Self::SystemDescriptors => "system-descriptors",
            Self::Environment => "environment",
            Self::Builder => "builder",
            Self::Unknown => "unknown",
        }
    }

    /// Whether something is used up, rather than forbidden or missing: it may work later, and
    /// [`BackendChoice::Auto`](crate::BackendChoice::Auto) does not fall back for it by itself.
    #[must_use]
    pub fn is_exhaustion(self) -> bool {
        matches!(self, Self::Memlock | Self::Memory | Self::Descriptors | Self::SystemDescriptors)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Seccomp => "a seccomp filter refuses the io_uring system calls",
            Self::SeccompSetup => "a seccomp filter refuses io_uring_setup",
            Self::SeccompEnter => "a seccomp filter refuses io_uring_enter",
            Self::SeccompRegister => "a seccomp filter refuses io_uring_register",
            Self::SeccompKills => "a seccomp filter kills the process at an io_uring system call",
            Self::Unprobed => {
                "a seccomp filter is in force, and no child could be made to find out whether it kills"
            }
            Self::Sysctl => "the sysctl kernel.io_uring_disabled forbids it",
            Self::SecurityModule => "a security module denies it",
            Self::NoKernelSupport => "the kernel has no io_uring",
            Self::TooOld => "the kernel's io_uring is older than 5.6",
            Self::NotSupported => "the platform does not support it",
            Self::Untrue => "what looks like io_uring here is an imitation that does not do what it says",
            Self::TaskRestriction => {
                "opcodes that every kernel has are refused to this task (restrictions of kernel 7.0)"
            }
            Self::Memlock => "the limit on locked memory is too small",
            Self::Memory => "the kernel has no memory for a ring",
            Self::Descriptors => "the process has no descriptor left",
            Self::SystemDescriptors => "the system has no descriptor left",
            Self::Environment => "SAFER_RING_BACKEND says so",
            Self::Builder => "the builder says so",
            Self::Unknown => "nothing that was looked at explains it",
        })
    }
}

/// What went wrong on the way to a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// A child was killed at this call.
    Killed(Call),
    /// There might be a filter that kills, and no child tells.
    Unprobed(Option<Errno>),
    /// There was no descriptor to look with.
    Blind(Errno),
    /// A ring could not be made.
    Failed(Errno),
    /// A ring was made, and one of the calls that make it useful was refused.
    Refused(Errno),
    /// The proof failed.
    Flawed(Flaw),
}

impl Trouble {
    /// The error number that there was.
    pub(crate) fn errno(self) -> Option<Errno> {
        match self {
            Self::Failed(errno) | Self::Refused(errno) | Self::Blind(errno) => Some(errno),
            Self::Flawed(Flaw::Setup(errno) | Flaw::Enter(errno) | Flaw::Denied(errno)) => {
                Some(errno)
            }
            Self::Unprobed(errno) => errno,
            Self::Killed(_) | Self::Flawed(Flaw::Untrue | Flaw::Silent) => None,
        }
    }

    /// The call that kills.
    pub(crate) fn killer(self) -> Option<Call> {
        match self {
            Self::Killed(call) => Some(call),
            _ => None,
        }
    }

    /// Whether the three calls may be made in this process.
    pub(crate) fn may_ask(self) -> bool {
        !matches!(self, Self::Killed(_) | Self::Unprobed(_) | Self::Blind(_))
    }
}

/// What filters, switches and modules answer; a kernel answers these system calls so for no other reason.
pub(crate) fn is_refusal(errno: Errno) -> bool {
    matches!(errno, Errno::PERM | Errno::ACCESS | Errno::NOSYS | Errno::OPNOTSUPP)
}

fn refuses(calls: &Answers, call: Call) -> bool {
    calls.to(call).is_err_and(is_refusal)
}

/// Why.
pub(crate) fn classify(trouble: Trouble, evidence: &Evidence) -> Cause {
    match trouble {
        Trouble::Killed(_) => Cause::SeccompKills,
        Trouble::Unprobed(_) => Cause::Unprobed,
        Trouble::Flawed(flaw) if evidence.is_gvisor() && !matches!(flaw, Flaw::Setup(_)) => {
            Cause::Untrue
        }
        Trouble::Flawed(Flaw::Untrue | Flaw::Silent) => Cause::Untrue,
        Trouble::Flawed(Flaw::Denied(errno)) => denied(errno, evidence),
        Trouble::Flawed(Flaw::Enter(errno)) => entered(errno, evidence),
        Trouble::Blind(errno) | Trouble::Failed(errno) | Trouble::Flawed(Flaw::Setup(errno)) => {
            set_up(errno, evidence)
        }
        Trouble::Refused(_) => match &evidence.calls {
            Some(calls) if refuses(calls, Call::Register) => Cause::SeccompRegister,
            _ => Cause::Unknown,
        },
    }
}

/// A completion with an error for what cannot fail.
fn denied(errno: Errno, evidence: &Evidence) -> Cause {
    match errno {
        // `IORING_OP_READ` is of kernel 5.6.
        Errno::INVAL if evidence.kernel().is_some_and(|kernel| kernel < (5, 6)) => Cause::TooOld,
        Errno::ACCESS | Errno::PERM | Errno::INVAL | Errno::OPNOTSUPP => Cause::TaskRestriction,
        _ => Cause::Unknown,
    }
}

/// A ring that takes nothing.
fn entered(errno: Errno, evidence: &Evidence) -> Cause {
    match errno {
        Errno::NOMEM => memory(evidence),
        errno if is_refusal(errno) && evidence.is_filtered() => Cause::SeccompEnter,
        errno if is_refusal(errno) => Cause::Untrue,
        _ => Cause::Unknown,
    }
}

fn memory(evidence: &Evidence) -> Cause {
    // Kernels from 5.12 to 6.13 do not count rings as locked memory.
    let counts = evidence.kernel().is_none_or(|kernel| !((5, 12)..=(6, 13)).contains(&kernel));
    match evidence.memlock {
        Some(_) if counts && evidence.ipc_lock != Some(true) => Cause::Memlock,
        _ => Cause::Memory,
    }
}

/// No ring at all.
fn set_up(errno: Errno, evidence: &Evidence) -> Cause {
    match errno {
        Errno::MFILE => Cause::Descriptors,
        Errno::NFILE => Cause::SystemDescriptors,
        Errno::NOMEM | Errno::AGAIN => memory(evidence),
        Errno::INVAL if evidence.is_gvisor() => Cause::Untrue,
        Errno::INVAL if evidence.kernel().is_none_or(|kernel| kernel < (5, 6)) => Cause::TooOld,
        errno if is_refusal(errno) => refused(errno, evidence),
        _ => Cause::Unknown,
    }
}

/// No ring, by an answer that others than the kernel may give.
fn refused(errno: Errno, evidence: &Evidence) -> Cause {
    let Some(calls) = &evidence.calls else { return Cause::Unknown };
    let others = [Call::Enter, Call::Register].map(|call| refuses(calls, call));
    match (calls.setup, others) {
        // The plainest ring can be made: what the library cannot do without is missing, or it changed just now.
        (Ok(_), [true, _]) => Cause::SeccompEnter,
        (Ok(_), [false, true]) => Cause::SeccompRegister,
        (Ok(_), [false, false]) if errno == Errno::NOSYS => Cause::TooOld,
        (Ok(_), [false, false]) => Cause::Unknown,
        (Err(_), [true, true]) => all_refused(errno, evidence),
        (Err(_), _) => setup_refused(errno, evidence),
    }
}

/// All three calls, which no switch or module does.
fn all_refused(errno: Errno, evidence: &Evidence) -> Cause {
    let lacks = evidence.is_gvisor() || evidence.kernel().is_some_and(|kernel| kernel < (5, 1));
    match errno {
        Errno::NOSYS if lacks || !evidence.is_filtered() => Cause::NoKernelSupport,
        // A kernel with io_uring has the switch from 6.6 on, so one without it has been built so.
        Errno::NOSYS
            if evidence.seccomp.is_some()
                && evidence.io_uring_disabled.is_none()
                && evidence.kernel().is_some_and(|kernel| kernel >= (6, 6)) =>
        {
            Cause::NoKernelSupport
        }
        _ if evidence.is_filtered() => Cause::Seccomp,
        Errno::OPNOTSUPP => Cause::NotSupported,
        _ => Cause::Unknown,
    }
}

/// io_uring_setup(2) alone.
fn setup_refused(errno: Errno, evidence: &Evidence) -> Cause {
    match errno {
        Errno::PERM if evidence.is_switched_off() => Cause::Sysctl,
        // Filters seldom answer so, modules always.
        Errno::ACCESS if may_mediate(evidence) => Cause::SecurityModule,
        _ if evidence.is_filtered() => Cause::SeccompSetup,
        Errno::PERM if may_mediate(evidence) && evidence.security_modules.is_some() => {
            Cause::SecurityModule
        }
        Errno::NOSYS => Cause::NoKernelSupport,
        Errno::OPNOTSUPP => Cause::NotSupported,
        _ => Cause::Unknown,
    }
}

/// Whether a security module with a say in io_uring is there, or may be.
fn may_mediate(evidence: &Evidence) -> bool {
    let Some(modules) = &evidence.security_modules else { return true };
    modules.iter().any(|name| matches!(name.as_str(), "selinux" | "smack" | "apparmor" | "bpf"))
}
