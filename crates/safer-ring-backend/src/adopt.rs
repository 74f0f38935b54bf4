//! Descriptors that the kernel made: from a number in a completion to an owner.
//!
//! # Safety
//! A completion's result is only a number. It names a descriptor that nobody owns yet exactly when
//! the operation was one that makes a descriptor and this is its first and only look at the result.
//!
//! Tests: a_late_open_is_closed_and_counted, descriptors_received_in_a_dropped_message_are_closed
#![allow(unsafe_code, reason = "OwnedFd::from_raw_fd is the only way to own what the kernel made")]

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Owns the descriptor that the kernel has just made.
///
/// # Safety
/// `fd` is a non-negative result of an operation that makes a descriptor (or a number the kernel
/// wrote into an operation's memory for that purpose), and it is adopted once.
pub(crate) unsafe fn adopt(fd: RawFd) -> OwnedFd {
    // SAFETY: by this function's contract `fd` is open and has no other owner.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
