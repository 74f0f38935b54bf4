//! What is worth telling: events of the `tracing` crate, where that feature is on.
//!
//! A subscriber is foreign code and may use a ring itself. So what happens under a driver's lock or borrow is noted, and
//! told when the lock is released. Without the feature all of this is nothing.

use std::os::fd::RawFd;

#[cfg(feature = "tracing")]
use safer_ring_buf::quietly;
use safer_ring_sys::Errno;

use crate::detect::Report;
use crate::error::Failure;
use crate::features::Features;

/// Something that happened inside a driver.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "tracing"), expect(dead_code, reason = "read where they are told"))]
pub(crate) enum Note {
    /// Bytes arrived for a dropped receive and wait for the next.
    BytesKept { fd: RawFd, bytes: usize },
    /// A connection arrived for a dropped accept and waits for the next.
    ConnectionKept { fd: RawFd },
    /// A descriptor arrived that nobody waits for, and was closed.
    ClosedLate { op: &'static str },
    /// A write or send without owner failed; the next one is told.
    EarlierFailed { fd: RawFd, failure: Failure },
    /// A live receive was started again, to find what arrived for a dropped one beside it.
    Nudged { fd: RawFd },
    /// The kernel refused a call for lack of resources; it is repeated.
    EnterRefused { errno: Errno },
    /// The kernel will take nothing any more.
    EnterFailed { errno: Errno },
    /// A ring ended with operations that the kernel still has: their memory is leaked.
    LeftBehind { operations: u32 },
}

/// Notes that have not been told.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    #[cfg(feature = "tracing")]
    list: Vec<Note>,
}

impl Notes {
    /// Whether anybody could listen.
    pub(crate) const ON: bool = cfg!(feature = "tracing");

    /// Keeps a note.
    #[inline]
    pub(crate) fn push(&mut self, note: Note) {
        #[cfg(feature = "tracing")]
        self.list.push(note);
        #[cfg(not(feature = "tracing"))]
        let _ = note;
    }

    /// Tells all of them. Not under a lock, and no panic of who listens goes on.
    pub(crate) fn tell(&mut self) {
        #[cfg(feature = "tracing")]
        self.list.drain(..).for_each(|note| quietly(|| events::tell(note)));
    }
}

/// A ring was made: with which backend, and why.
pub(crate) fn decided(report: &Report) {
    #[cfg(feature = "tracing")]
    quietly(|| events::decided(report));
    #[cfg(not(feature = "tracing"))]
    let _ = report;
}

/// A ring was made, or a further kernel ring of it.
pub(crate) fn opened(features: &Features) {
    #[cfg(feature = "tracing")]
    quietly(|| tracing::debug!(target: "safer_ring", %features, "kernel ring opened"));
    #[cfg(not(feature = "tracing"))]
    let _ = features;
}

#[cfg(feature = "tracing")]
mod events {
    use tracing::{debug, error, trace, warn};

    use super::Note;
    use crate::detect::Report;

    pub(super) fn decided(report: &Report) {
        if report.is_io_uring() {
            debug!(target: "safer_ring", backend = "io_uring", "backend chosen");
        } else {
            let cause = report.cause.map_or("", crate::detect::Cause::name);
            warn!(target: "safer_ring", backend = "fallback", cause, %report, "backend chosen");
        }
    }

    pub(super) fn tell(note: Note) {
        match note {
            Note::BytesKept { fd, bytes } => {
                debug!(target: "safer_ring", fd, bytes, "bytes of a dropped receive kept for the next");
            }
            Note::ConnectionKept { fd } => {
                debug!(target: "safer_ring", fd, "connection of a dropped accept kept for the next");
            }
            Note::ClosedLate { op } => {
                debug!(target: "safer_ring", op, "descriptor closed that nobody waited for");
            }
            Note::EarlierFailed { fd, failure } => {
                warn!(target: "safer_ring", fd, %failure, "write without owner failed");
            }
            Note::Nudged { fd } => {
                trace!(target: "safer_ring", fd, "receive started again beside a dropped one");
            }
            Note::EnterRefused { errno } => {
                debug!(target: "safer_ring", %errno, "io_uring_enter refused, repeated");
            }
            Note::EnterFailed { errno } => {
                error!(target: "safer_ring", %errno, "io_uring_enter failed for good");
            }
            Note::LeftBehind { operations } => {
                warn!(target: "safer_ring", operations, "ring ended with operations in flight; memory leaked");
            }
        }
    }
}
