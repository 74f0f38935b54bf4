//! Errors: the smallest type that is true, with the buffer in it.

use std::error::Error;
use std::fmt;
use std::io;

use safer_ring_sys::Errno;

use crate::asked::Asked;
use crate::contract::rules::{self, Call, RingSetup};
use crate::detect::{Cause, Report, VARIABLE};

/// A failed operation and the buffer that was lent to it.
///
/// `?` turns it into an [`io::Error`] where the buffer is not wanted; [`OpError::into_buffer`] keeps
/// the buffer where it is. Of the kernel's own errors that is the bare error, whose number (`raw_os_error`) stays and whose
/// text does not name the likely cause: print the `OpError` itself where that is wanted. For `?` into an error type of your
/// own, there is [`WithoutBuffer`].
pub struct OpError<B> {
    /// What went wrong.
    pub error: io::Error,
    /// The buffer as it was lent; on a cancelled or failed read its length is unchanged.
    pub buffer: B,
    asked: Asked,
}

impl<B> OpError<B> {
    /// Pairs an error with the buffer that comes back with it.
    pub fn new(error: impl Into<io::Error>, buffer: B) -> Self {
        Self { error: error.into(), buffer, asked: Asked::NOTHING }
    }

    /// What the operation had asked for.
    pub(crate) fn note(&mut self, asked: Asked) {
        self.asked = asked;
    }

    /// Why the kernel has refused this read or write: the causes that are left, those first that its offset, its length and
    /// the address of its buffer speak for. Empty for other operations, and where no rule is known to be broken.
    ///
    /// Of the descriptor nothing is known any more, and it is not looked at: no system call is made. So no cause is
    /// [`shown`](rules::Cause::shown). For an open file, [`explain`](rules::explain) with its facts tells more.
    #[must_use]
    pub fn causes(&self) -> Vec<rules::Cause> {
        let errno = self.raw_os_error().and_then(Errno::from_raw_os_error);
        errno.map_or_else(Vec::new, |errno| self.asked.causes(errno))
    }

    /// The one cause that stands out.
    fn likely(&self) -> Option<rules::Cause> {
        let mut causes = self.causes();
        let stands_out = causes.len() == 1 || causes.first().is_some_and(|c| !c.found.is_empty());
        stands_out.then(|| causes.swap_remove(0))
    }

    /// The buffer, without the error.
    pub fn into_buffer(self) -> B {
        self.buffer
    }

    /// Both parts.
    pub fn into_parts(self) -> (io::Error, B) {
        (self.error, self.buffer)
    }

    /// Shorthand for `self.error.kind()`.
    pub fn kind(&self) -> io::ErrorKind {
        self.error.kind()
    }

    /// Shorthand for `self.error.raw_os_error()`.
    pub fn raw_os_error(&self) -> Option<i32> {
        self.error.raw_os_error()
    }
}

/// With the likely cause, as `Display`: this is what `unwrap` and a failed `main` show.
impl<B> fmt::Debug for OpError<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("OpError");
        text.field("error", &self.error);
        if let Some(cause) = self.likely() {
            text.field("likely", &Advice(&cause));
        }
        text.finish_non_exhaustive()
    }
}

/// The error, and behind it the likely cause with what to do about it, where one cause stands out.
impl<B> fmt::Display for OpError<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)?;
        match self.likely() {
            Some(cause) => {
                f.write_str("; likely: ")?;
                advice(f, &cause)
            }
            None => Ok(()),
        }
    }
}

struct Advice<'a>(&'a rules::Cause);

impl fmt::Debug for Advice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        advice(f, self.0)
    }
}

fn advice(f: &mut fmt::Formatter<'_>, cause: &rules::Cause) -> fmt::Result {
    f.write_str(cause.rule.text)?;
    if !cause.found.is_empty() {
        write!(f, ", {}", cause.found)?;
    }
    write!(f, "; {}", cause.rule.fix)
}

impl<B> Error for OpError<B> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}

impl<B> From<OpError<B>> for io::Error {
    fn from(e: OpError<B>) -> Self {
        e.error
    }
}

/// Results without the buffer in their error.
///
/// `?` turns an [`OpError`] into an [`io::Error`], but not by way of that into another type, such as one of your own that has a
/// `From<io::Error>`. Then leave the buffer away first:
///
/// ```
/// # use safer_ring_backend as safer_ring;
/// use safer_ring::{OpError, WithoutBuffer};
///
/// struct MyError(std::io::Error);
///
/// impl From<std::io::Error> for MyError {
///     fn from(error: std::io::Error) -> Self {
///         Self(error)
///     }
/// }
///
/// fn count(read: Result<(usize, Vec<u8>), OpError<Vec<u8>>>) -> Result<usize, MyError> {
///     let (n, _buffer) = read.without_buffer()?;
///     Ok(n)
/// }
/// # assert!(count(Err(OpError::new(std::io::ErrorKind::Other, Vec::new()))).is_err());
/// ```
pub trait WithoutBuffer {
    /// What there is without an error.
    type Value;

    /// The result with an [`io::Error`]; the buffer in the error is dropped.
    ///
    /// # Errors
    /// The error that there was.
    fn without_buffer(self) -> io::Result<Self::Value>;
}

impl<T, B> WithoutBuffer for Result<T, OpError<B>> {
    type Value = T;

    fn without_buffer(self) -> io::Result<T> {
        self.map_err(Into::into)
    }
}

impl<T, B> WithoutBuffer for Result<T, TransferError<B>> {
    type Value = T;

    fn without_buffer(self) -> io::Result<T> {
        self.map_err(Into::into)
    }
}

/// A transfer of many steps (read exactly, write all) that ended early: the error, the buffer, and how far it came.
///
/// `?` turns it into an [`io::Error`], as with [`OpError`].
pub struct TransferError<B> {
    /// What went wrong; `UnexpectedEof` where a source ended too early, `WriteZero` where nothing more was taken.
    pub error: io::Error,
    /// The buffer; of a read, its first [`transferred`](TransferError::transferred) bytes are what was read.
    pub buffer: B,
    /// Bytes that were moved before the error.
    pub transferred: usize,
}

impl<B> TransferError<B> {
    /// Puts the parts together.
    pub fn new(error: impl Into<io::Error>, buffer: B, transferred: usize) -> Self {
        Self { error: error.into(), buffer, transferred }
    }

    /// The buffer, without the error.
    pub fn into_buffer(self) -> B {
        self.buffer
    }

    /// Shorthand for `self.error.kind()`.
    pub fn kind(&self) -> io::ErrorKind {
        self.error.kind()
    }
}

impl<B> fmt::Debug for TransferError<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransferError")
            .field("error", &self.error)
            .field("transferred", &self.transferred)
            .finish_non_exhaustive()
    }
}

impl<B> fmt::Display for TransferError<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} after {} bytes", self.error, self.transferred)
    }
}

impl<B> Error for TransferError<B> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}

impl<B> From<TransferError<B>> for io::Error {
    fn from(e: TransferError<B>) -> Self {
        e.error
    }
}

/// Why an operation did not succeed, before it becomes an [`io::Error`]. All but [`Failure::Os`] can be got back
/// from that: `error.get_ref()?.downcast_ref::<Failure>()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The kernel's own answer.
    Os(Errno),
    /// An earlier member of the chain moved fewer bytes than it was asked to, which ends a chain.
    ChainShort {
        /// The member, counted from 0.
        member: u16,
        /// Bytes it was asked to move.
        wanted: u32,
        /// Bytes it moved.
        moved: u32,
    },
    /// An earlier member of the chain failed, which ends a chain.
    ChainFailed {
        /// The member, counted from 0.
        member: u16,
        /// Its error.
        errno: Errno,
    },
    /// The chain has more members than one submission to this ring can carry.
    ChainTooLong {
        /// Members of the chain.
        members: u16,
        /// What the ring can carry.
        limit: u32,
    },
    /// The ring belongs to the parent process.
    Forked,
    /// The ring has been closed, or its table cannot grow any more.
    Exhausted,
    /// The descriptor is in use elsewhere and cannot be closed by this handle.
    Busy {
        /// Handles and operations that share it, besides the one given.
        others: usize,
    },
    /// An earlier write or send whose future was dropped has failed. Told once, by the next one, or by the next sync,
    /// shutdown or close.
    Earlier {
        /// Its error.
        errno: Errno,
    },
    /// A write whose future was dropped moved only a part, and the rest could not follow.
    EarlierShort {
        /// Bytes it was asked to move.
        wanted: u64,
        /// Bytes it moved.
        moved: u64,
    },
    /// What arrived for a dropped receive waits on this descriptor, and this operation cannot hand it out.
    Unreceived,
    /// The time given to the operation is over, and it was cancelled.
    TimedOut,
    /// The descriptor was given up, as `abort` of a stream does: nothing is sent or written on it any more.
    GivenUp,
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Os(errno)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Os(errno) => errno.fmt(f),
            Self::ChainShort { member, wanted, moved } => write!(
                f,
                "not run: member {member} of the chain moved {moved} of {wanted} bytes, and a short transfer ends a chain"
            ),
            Self::ChainFailed { member, errno } => {
                write!(f, "not run: member {member} of the chain failed with {errno}")
            }
            Self::ChainTooLong { members, limit } => write!(
                f,
                "a chain of {members} operations does not fit into one submission of {limit}; build the ring with more entries"
            ),
            Self::Forked => f.write_str(
                "this ring belongs to the parent process; make a new ring after fork(2)",
            ),
            Self::Exhausted => f.write_str(
                "the ring cannot take one more operation: too many are waiting; await some first",
            ),
            Self::Busy { others } => write!(
                f,
                "the descriptor is shared by {others} other handles or operations; drop or await them first"
            ),
            Self::Earlier { errno } => {
                write!(f, "an earlier write whose future was dropped has failed: {errno}")
            }
            Self::EarlierShort { wanted, moved } => write!(
                f,
                "an earlier write whose future was dropped moved {moved} of {wanted} bytes"
            ),
            Self::Unreceived => f.write_str(
                "bytes of a dropped receive wait on this descriptor; receive them first",
            ),
            Self::TimedOut => f.write_str("the operation took longer than it was given"),
            Self::GivenUp => f.write_str(
                "the descriptor was given up (`abort`, `give_up`); nothing is sent on it any more",
            ),
        }
    }
}

impl Error for Failure {}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        let kind = match failure {
            Failure::Os(errno) => return errno.into(),
            // Not `Interrupted`, which invites to try this member again.
            Failure::ChainShort { .. } | Failure::ChainFailed { .. } => io::ErrorKind::Other,
            Failure::ChainTooLong { .. } => io::ErrorKind::InvalidInput,
            Failure::Forked => io::ErrorKind::Unsupported,
            Failure::Exhausted => io::ErrorKind::OutOfMemory,
            Failure::Busy { .. } | Failure::Unreceived => io::ErrorKind::ResourceBusy,
            Failure::Earlier { errno } => io::Error::from(errno).kind(),
            Failure::EarlierShort { .. } => io::ErrorKind::WriteZero,
            Failure::TimedOut => io::ErrorKind::TimedOut,
            Failure::GivenUp => io::ErrorKind::ConnectionAborted,
        };
        Self::new(kind, failure)
    }
}

/// Why a ring could not be made, with what to do about it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetupError {
    /// The number of entries is outside 1..=32768.
    Entries {
        /// What was asked for.
        asked: u32,
    },
    /// Two settings exclude each other.
    Conflict {
        /// Which, in words.
        what: &'static str,
    },
    /// io_uring is not to be had, and nothing else may be used in its place: because the builder or the environment
    /// says so, because the cause is exhaustion, or because there is nothing else.
    NoBackend {
        /// Why, and what to do about it.
        report: Box<Report>,
    },
    /// The environment variable `SAFER_RING_BACKEND` has a value that is none.
    Environment {
        /// That value.
        value: String,
    },
    /// A backend is not to be had in this process: `ENOSYS`, `EPERM`, `EACCES`, `EOPNOTSUPP`. Of io_uring this becomes
    /// [`SetupError::NoBackend`], with the cause.
    Unavailable {
        /// The kernel's answer to the plainest set-up.
        errno: Errno,
    },
    /// A limit was met: `EMFILE`, `ENFILE`, `ENOMEM`.
    Limit {
        /// The kernel's answer after the ring was made as small as is useful.
        errno: Errno,
    },
    /// The kernel refused a ring with a mode that was asked for explicitly, SQPOLL or IOPOLL: `EINVAL` of
    /// io_uring_setup(2).
    Mode {
        /// What was asked for, in its plainest form.
        call: RingSetup,
        /// The kernel's answer.
        errno: Errno,
    },
    /// The kernel refused a setting that was asked for explicitly.
    Refused {
        /// The step that failed.
        step: &'static str,
        /// The kernel's answer.
        errno: Errno,
    },
}

impl SetupError {
    /// What was found out about a backend that is not to be had.
    pub fn report(&self) -> Option<&Report> {
        match self {
            Self::NoBackend { report } => Some(report),
            _ => None,
        }
    }

    /// Why io_uring is not to be had, if that is the error.
    pub fn cause(&self) -> Option<Cause> {
        self.report()?.cause
    }

    /// The kernel's answer, where there was one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::NoBackend { report } => report.errno,
            Self::Unavailable { errno }
            | Self::Limit { errno }
            | Self::Mode { errno, .. }
            | Self::Refused { errno, .. } => Some(*errno),
            Self::Entries { .. } | Self::Conflict { .. } | Self::Environment { .. } => None,
        }
    }

    fn advice(&self) -> &'static str {
        if let Self::NoBackend { .. } = self {
            // The report has its own.
            return "";
        }
        let Some(errno) = self.errno() else { return "" };
        match errno {
            Errno::NOSYS => {
                "; the kernel is older than 5.6 or a seccomp filter hides the system call"
            }
            Errno::PERM => {
                "; check `sysctl kernel.io_uring_disabled` (0 allows it) and the container's seccomp \
                 profile (it must allow io_uring_setup, io_uring_enter and io_uring_register)"
            }
            Errno::ACCESS => "; a security module (SELinux, AppArmor, Smack) denies io_uring",
            Errno::NOMEM => "; raise RLIMIT_MEMLOCK (`ulimit -l`) or ask for fewer entries",
            Errno::MFILE => "; raise RLIMIT_NOFILE (`ulimit -n`) or close descriptors",
            Errno::NFILE => "; the system-wide limit fs.file-max is reached",
            _ => "",
        }
    }
}

/// The text of `Display` behind the name: this is what `unwrap` and a failed `main` show.
impl fmt::Debug for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Entries { .. } => "Entries",
            Self::Conflict { .. } => "Conflict",
            Self::NoBackend { .. } => "NoBackend",
            Self::Environment { .. } => "Environment",
            Self::Unavailable { .. } => "Unavailable",
            Self::Limit { .. } => "Limit",
            Self::Mode { .. } => "Mode",
            Self::Refused { .. } => "Refused",
        };
        write!(f, "{name}({self})")
    }
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entries { asked } => {
                write!(f, "a ring has 1 to {} entries, not {asked}", crate::MAX_ENTRIES)
            }
            Self::Conflict { what } => f.write_str(what),
            Self::NoBackend { report } => report.fmt(f),
            Self::Environment { value } => write!(
                f,
                "{VARIABLE} is {value:?}, which is no backend: set it to auto, io_uring or fallback, or unset it"
            ),
            Self::Unavailable { errno } => write!(f, "io_uring is not available: {errno}"),
            Self::Limit { errno } => write!(f, "io_uring could not be set up: {errno}"),
            Self::Mode { call, errno } => {
                write!(f, "the kernel refused SQPOLL, IOPOLL or completions of 32 bytes: {errno}")?;
                // Of the kernel and the CPUs more is known than of the memory: all of it was this library's own.
                let call = Call::RingSetup(*call);
                let name = errno.name().unwrap_or_default();
                let causes = rules::explain(name, &call, &crate::contract::machine());
                match causes.first() {
                    Some(cause) if cause.shown => {
                        f.write_str("; ")?;
                        advice(f, cause)
                    }
                    _ => Ok(()),
                }
            }
            Self::Refused { step, errno } => write!(f, "the kernel refused {step}: {errno}"),
        }?;
        f.write_str(self.advice())
    }
}

impl Error for SetupError {}

impl From<SetupError> for io::Error {
    fn from(e: SetupError) -> Self {
        let kind = match &e {
            SetupError::Entries { .. }
            | SetupError::Conflict { .. }
            | SetupError::Environment { .. } => io::ErrorKind::InvalidInput,
            SetupError::NoBackend { report } if report.errno.is_none() => {
                io::ErrorKind::Unsupported
            }
            _ => e.errno().map_or(io::ErrorKind::Other, |errno| io::Error::from(errno).kind()),
        };
        Self::new(kind, e)
    }
}
