//! Descriptors as handles that an operation keeps alive.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;

use crate::mode::{Local, Mode, Shared};

/// A shared owner of a descriptor: what a slot holds while the kernel works on it.
///
/// The descriptor's number cannot be reused while a guard exists, so a queued operation can never
/// run on a file that it was not meant for.
pub trait Guard: Clone + AsFd + 'static {
    /// Takes over `fd`.
    fn new(fd: OwnedFd) -> Self;
    /// The descriptor itself if this is its only guard, else the guard again.
    fn into_owned(self) -> Result<OwnedFd, Self>;
    /// How many guards share the descriptor.
    fn holders(&self) -> usize;
    /// The descriptor's number, for a submission entry.
    #[inline]
    fn raw(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

macro_rules! guard {
    ($pointer:ident) => {
        impl Guard for $pointer<OwnedFd> {
            fn new(fd: OwnedFd) -> Self {
                $pointer::new(fd)
            }
            fn into_owned(self) -> Result<OwnedFd, Self> {
                $pointer::try_unwrap(self)
            }
            fn holders(&self) -> usize {
                $pointer::strong_count(self)
            }
        }
    };
}
guard!(Rc);
guard!(Arc);

/// A shared handle on an open descriptor, as every operation takes it.
///
/// Cloning is cheap and opens nothing. The descriptor is closed when the last handle *and* the last
/// operation that uses it are gone. Any std type that owns a descriptor can be turned into one:
///
/// ```
/// use safer_ring_backend::{Fd, Shared};
/// # fn main() -> std::io::Result<()> {
/// let file = std::fs::File::open("/dev/null")?;
/// let fd: Fd<Shared> = Fd::new(file);
/// # drop(fd); Ok(()) }
/// ```
pub struct Fd<M: Mode = Shared> {
    guard: M::Guard,
}

impl<M: Mode> Fd<M> {
    /// Takes over the descriptor of `owner`: an `OwnedFd`, a std file, socket or pipe end.
    pub fn new(owner: impl Into<OwnedFd>) -> Self {
        Self { guard: M::Guard::new(owner.into()) }
    }

    /// The descriptor itself, if no other handle and no operation in flight shares it; else the
    /// handle again.
    pub fn try_into_owned(self) -> Result<OwnedFd, Self> {
        self.guard.into_owned().map_err(|guard| Self { guard })
    }

    /// A second descriptor of the same open file (`dup(2)` with close-on-exec), for use elsewhere.
    ///
    /// # Errors
    /// As `fcntl(2)` with `F_DUPFD_CLOEXEC`: `EMFILE` above all.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.as_fd().try_clone_to_owned()
    }

    /// How many handles and operations in flight share the descriptor, this one included.
    pub fn holders(&self) -> usize {
        self.guard.holders()
    }

    pub(crate) fn guard(&self) -> M::Guard {
        self.guard.clone()
    }
}

impl<M: Mode> Clone for Fd<M> {
    fn clone(&self) -> Self {
        Self { guard: self.guard.clone() }
    }
}

impl<M: Mode> AsFd for Fd<M> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.guard.as_fd()
    }
}

impl<M: Mode> fmt::Debug for Fd<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fd").field(&self.guard.raw()).finish()
    }
}

impl From<OwnedFd> for Fd<Shared> {
    fn from(fd: OwnedFd) -> Self {
        Self::new(fd)
    }
}

impl From<OwnedFd> for Fd<Local> {
    fn from(fd: OwnedFd) -> Self {
        Self::new(fd)
    }
}
