//! Errors of Linux AIO, with what to do about them.

use std::fmt;
use std::io;

use safer_ring_buf::{IoBuf, MAX_BUFFERS};
use safer_ring_sys::Errno;

use crate::contract::rules;

use super::command::Command;
use super::context::Ticket;

/// The most commands for which `io_setup(2)` makes a context.
pub(super) const MAX_CAPACITY: u32 = 1 << 22;

/// Why there is no context, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetupError {
    /// The capacity is outside 1..=4194304.
    Capacity {
        /// What was asked for.
        asked: u32,
    },
    /// The commands of all contexts on this machine, those of containers included, have a limit (`EAGAIN`).
    Exhausted {
        /// What was asked for.
        asked: u32,
        /// What all contexts of the machine have, `/proc/sys/fs/aio-nr`, where that can be read.
        used: Option<u64>,
        /// The limit, `/proc/sys/fs/aio-max-nr`, where that can be read.
        limit: Option<u64>,
    },
    /// There is no AIO for this process: `ENOSYS`, `EPERM`, `EACCES`.
    Unavailable {
        /// The kernel's answer.
        errno: Errno,
    },
    /// Another answer of the kernel, such as `ENOMEM`.
    Os {
        /// The kernel's answer.
        errno: Errno,
    },
}

impl SetupError {
    pub(super) fn of(errno: Errno, asked: u32) -> SetupError {
        let number = |name: &str| -> Option<u64> {
            std::fs::read_to_string(format!("/proc/sys/fs/{name}")).ok()?.trim().parse().ok()
        };
        match errno {
            Errno::AGAIN => {
                let (used, limit) = (number("aio-nr"), number("aio-max-nr"));
                SetupError::Exhausted { asked, used, limit }
            }
            Errno::NOSYS | Errno::PERM | Errno::ACCESS => SetupError::Unavailable { errno },
            errno => SetupError::Os { errno },
        }
    }

    /// The kernel's answer, where there was one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            SetupError::Capacity { .. } => None,
            SetupError::Exhausted { .. } => Some(Errno::AGAIN),
            SetupError::Unavailable { errno } | SetupError::Os { errno } => Some(*errno),
        }
    }
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SetupError::Capacity { asked } => {
                write!(f, "an AIO context has room for 1 to {MAX_CAPACITY} commands, not {asked}")
            }
            SetupError::Exhausted { asked, used, limit } => {
                write!(f, "no room for {asked} more AIO commands on this machine")?;
                if let (Some(used), Some(limit)) = (used, limit) {
                    write!(f, " ({used} of {limit} are taken, by all processes and containers)")?;
                }
                f.write_str(
                    "; raise the limit on the host (`sysctl fs.aio-max-nr=1048576`) or ask for fewer",
                )
            }
            SetupError::Unavailable { errno: errno @ Errno::NOSYS } => write!(
                f,
                "Linux AIO is not available: {errno}; the kernel is built without CONFIG_AIO or a seccomp filter hides \
                 the system calls; use a thread pool"
            ),
            SetupError::Unavailable { errno } => write!(
                f,
                "Linux AIO is not allowed: {errno}; the container's seccomp profile must allow io_setup, io_submit, \
                 io_getevents, io_cancel and io_destroy, or use a thread pool"
            ),
            SetupError::Os { errno } => {
                write!(f, "no AIO context could be made: {errno}")?;
                let causes = rules::causes("io_setup", errno.name().unwrap_or_default());
                match causes.first() {
                    Some(cause) => write!(f, "; {}; {}", cause.rule.text, cause.rule.fix),
                    None => Ok(()),
                }
            }
        }
    }
}

impl std::error::Error for SetupError {}

impl From<SetupError> for io::Error {
    fn from(error: SetupError) -> Self {
        let kind = match &error {
            SetupError::Capacity { .. } => io::ErrorKind::InvalidInput,
            SetupError::Exhausted { .. } => io::ErrorKind::QuotaExceeded,
            SetupError::Unavailable { errno } | SetupError::Os { errno } => {
                io::Error::from(*errno).kind()
            }
        };
        io::Error::new(kind, error)
    }
}

/// Why a call on a context did nothing, or did not do all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The kernel's answer.
    Os(Errno),
    /// The context has as many commands in flight as it has room for.
    Full {
        /// Its room.
        capacity: usize,
    },
    /// The context belongs to the parent process.
    Forked,
    /// The offset is above `i64::MAX`.
    Offset,
    /// More than 1024 buffers in one command.
    TooManyBuffers,
    /// Flags or a priority on a sync or a poll.
    NoTransfer,
    /// The level of a priority is above 7.
    Level,
    /// The ticket's event has been fetched.
    Ended,
    /// The command cannot be cancelled: it is no poll, or it has ended and its event can be fetched.
    NotCancellable,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Os(errno) => errno.fmt(f),
            Error::Full { capacity } => {
                write!(f, "the context has room for {capacity} commands; fetch events first")
            }
            Error::Forked => f.write_str(
                "this AIO context belongs to the parent process; make a new one after fork(2)",
            ),
            Error::Offset => write!(f, "a file offset is at most {}", i64::MAX),
            Error::TooManyBuffers => {
                write!(f, "more than {MAX_BUFFERS} buffers in one vectored command")
            }
            Error::NoTransfer => f.write_str("only reads and writes have flags and a priority"),
            Error::Level => f.write_str("the level of an I/O priority is 0 to 7"),
            Error::Ended => f.write_str("the event of this command has been fetched"),
            Error::NotCancellable => f.write_str(
                "only polls that still wait can be cancelled; the event of this command will come",
            ),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::Os(errno) => return errno.into(),
            Error::Full { .. } => io::ErrorKind::WouldBlock,
            Error::Forked | Error::NotCancellable => io::ErrorKind::Unsupported,
            Error::Ended => io::ErrorKind::NotFound,
            Error::Offset | Error::TooManyBuffers | Error::NoTransfer | Error::Level => {
                io::ErrorKind::InvalidInput
            }
        };
        io::Error::new(kind, error)
    }
}

/// A submission that was refused, in part or as a whole. Nothing is lost: what was taken has its tickets here, everything
/// else is here with its buffers.
///
/// `?` turns it into an [`io::Error`], which drops the buffers of `rest` and the tickets of `taken`.
pub struct SubmitError<'f, B: IoBuf> {
    /// Why the first command of `rest` was refused. Those behind it were not tried.
    pub error: Error,
    /// Commands that were taken before; their events will come.
    pub taken: Vec<Ticket>,
    /// Commands that the kernel does not have, in their order.
    pub rest: Vec<Command<'f, B>>,
}

impl<B: IoBuf> fmt::Debug for SubmitError<'_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubmitError")
            .field("error", &self.error)
            .field("taken", &self.taken.len())
            .field("rest", &self.rest.len())
            .finish()
    }
}

impl<B: IoBuf> SubmitError<'_, B> {
    /// Why the kernel has refused the first command of `rest`: the causes that its fields and its descriptor show, then those
    /// that they do not exclude. Empty if it was not the kernel that refused, or if no rule is known to be broken.
    ///
    /// The descriptor, which the command still borrows, is looked at: some system calls that read.
    #[must_use]
    pub fn causes(&self) -> Vec<rules::Cause> {
        match (self.error, self.rest.first()) {
            (Error::Os(errno), Some(first)) => first.explain(errno),
            _ => Vec::new(),
        }
    }
}

impl<B: IoBuf> fmt::Display for SubmitError<'_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)?;
        match self.causes().first() {
            Some(cause) if cause.shown => write!(f, "; {}; {}", cause.rule.text, cause.rule.fix),
            _ => Ok(()),
        }
    }
}

impl<B: IoBuf> std::error::Error for SubmitError<'_, B> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl<B: IoBuf> From<SubmitError<'_, B>> for io::Error {
    fn from(error: SubmitError<'_, B>) -> Self {
        error.error.into()
    }
}
