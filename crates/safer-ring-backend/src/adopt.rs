//! Descriptors that the kernel made: from a number in a completion to an owner.
//!
//! # Safety
//! A completion's result is only a number. It names a descriptor that nobody owns yet exactly when
//! the operation was one that makes a descriptor and this is its first and only look at the result.
//!
//! Tests: a_late_open_is_closed_and_counted, descriptors_received_in_a_dropped_message_are_closed
#![allow(unsafe_code, reason = "OwnedFd::from_raw_fd is the only way to own what the kernel made")]

use std::os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use crate::sim;

/// What an operation works on: a descriptor of this process, or a number of a simulated kernel.
#[derive(Debug)]
pub enum Descriptor {
    /// Closed by close(2).
    Real(OwnedFd),
    /// Closed in its world.
    Simulated(sim::Number),
}

impl AsFd for Descriptor {
    #[inline(always)]
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Real(fd) => fd.as_fd(),
            Self::Simulated(number) => number.as_fd(),
        }
    }
}

impl IntoRawFd for Descriptor {
    fn into_raw_fd(self) -> RawFd {
        match self {
            Self::Real(fd) => fd.into_raw_fd(),
            Self::Simulated(number) => number.into_raw_fd(),
        }
    }
}

impl From<OwnedFd> for Descriptor {
    fn from(fd: OwnedFd) -> Self {
        Self::Real(fd)
    }
}

/// Owns the descriptor that the kernel has just made.
///
/// # Safety
/// `fd` is a non-negative result of an operation that makes a descriptor (or a number the kernel
/// wrote into an operation's memory for that purpose), and it is adopted once.
pub(crate) unsafe fn adopt(fd: RawFd) -> Descriptor {
    if sim::is_simulated(fd) {
        return Descriptor::Simulated(sim::Number::adopt(fd));
    }
    // SAFETY: by this function's contract.
    Descriptor::Real(unsafe { adopt_real(fd) })
}

/// [`adopt`] for what only the kernel makes.
///
/// # Safety
/// As [`adopt`], and the number is not one of a simulated kernel.
pub(crate) unsafe fn adopt_real(fd: RawFd) -> OwnedFd {
    // SAFETY: by this function's contract `fd` is open and has no other owner.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
