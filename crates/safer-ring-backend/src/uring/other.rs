//! Who is on the other side of queues in plain memory.
//!
//! # Safety
//! Hands a submission on, with the promise that it came with.
//!
//! Tests: it_says_what_it_is, files_keep_what_was_written
#![allow(unsafe_code, reason = "hands on the contract of Backend::submit")]

use std::os::fd::RawFd;
use std::time::Duration;

use safer_ring_core::Op;
use safer_ring_sys::Errno;

use crate::backend::{Helped, Submission, Wait};
use crate::clock;
use crate::engine::Engine;
use crate::sim::{Port, Shelf};

/// A kernel that is no kernel.
pub(super) enum Other {
    /// The fallback.
    Engine(Box<Engine>),
    /// A simulated one.
    World(Box<Port>),
}

/// The same call on whoever it is.
macro_rules! either {
    ($self:ident, $other:ident => $call:expr) => {
        match $self {
            Other::Engine($other) => $call,
            Other::World($other) => $call,
        }
    };
}

impl Other {
    /// `slot`: where its memory is registered. Only a world registers any.
    ///
    /// # Safety
    /// As `Backend::submit`.
    pub(super) unsafe fn submit(&mut self, submission: &Submission, slot: Option<u16>) {
        match self {
            // SAFETY: the contract is the same.
            Other::Engine(engine) => unsafe { engine.submit(submission) },
            // SAFETY: likewise.
            Other::World(port) => unsafe { port.submit(submission, slot) },
        }
    }

    pub(super) fn cancel(&mut self, user_data: u64, target: u64) {
        either!(self, other => other.cancel(user_data, target));
    }

    pub(super) fn timer(&mut self, user_data: u64, after: Duration) {
        either!(self, other => other.timer(user_data, after));
    }

    pub(super) fn watch(&mut self, user_data: u64, fd: RawFd) {
        match self {
            Other::Engine(engine) => engine.watch(user_data, fd),
            // A bell of this process: `has_bell` says that nobody watches one.
            Other::World(_) => {}
        }
    }

    pub(super) fn retract(&mut self) -> Option<u64> {
        either!(self, other => other.retract())
    }

    pub(super) fn enter(&mut self, wait: Wait) -> Result<(), Errno> {
        either!(self, other => other.enter(wait))
    }

    pub(super) fn gather(&mut self) {
        either!(self, other => other.gather());
    }

    pub(super) fn refill(&mut self) {
        either!(self, other => other.refill());
    }

    pub(super) fn helped(&self) -> Helped {
        match self {
            Other::Engine(engine) => engine.helped(),
            Other::World(_) => Helped::default(),
        }
    }

    pub(super) fn has_news(&self) -> bool {
        either!(self, other => other.has_news())
    }

    /// Whether a bell of this process can be watched.
    pub(super) fn has_bell(&self) -> bool {
        matches!(self, Other::Engine(_))
    }

    pub(super) fn now_ns(&self) -> u64 {
        match self {
            Other::Engine(_) => clock::now_ns(),
            Other::World(port) => port.now_ns(),
        }
    }

    /// Lets time go by; `false` if that is for the caller to do.
    pub(super) fn pause(&mut self, pause: Duration) -> bool {
        match self {
            Other::Engine(_) => false,
            Other::World(port) => {
                port.pause(pause);
                true
            }
        }
    }

    /// A group of buffers that its receives pick from, if it has such receives.
    pub(super) fn shelf(&self, number: u16) -> Option<Shelf> {
        match self {
            Other::Engine(_) => None,
            Other::World(port) => Some(port.shelf(number)),
        }
    }

    /// Whether it runs this operation.
    pub(super) fn runs(&self, op: &Op) -> bool {
        !matches!(op, Op::Raw)
    }
}
