//! Requests through the queues of a ring.
//!
//! # Safety
//! What a request points to it says with an `Address`, whose memory is never freed and which Rust has no reference to.
//! Descriptors are those of the probing process.
//!
//! Tests: what_the_statements_say_holds_here
#![allow(unsafe_code, reason = "requests with addresses")]

use std::os::fd::AsRawFd;

use safer_ring_sys::{Params, Sqe, Timespec, Uring, enter};

use crate::env::{Try, result_of, unavailable};
use crate::expect::Observed;
use crate::memory::Address;
use crate::raw::Outcome;

/// A request of a ring. Where `offset` is an address too, it comes from `Address::get`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Entry {
    pub(crate) opcode: u8,
    pub(crate) flags: u8,
    pub(crate) ioprio: u16,
    pub(crate) fd: i32,
    pub(crate) buffer: Address,
    pub(crate) length: u32,
    pub(crate) offset: u64,
    pub(crate) rw_flags: u32,
    pub(crate) name: u64,
    pub(crate) index: u16,
    pub(crate) personality: u16,
    pub(crate) file_index: u32,
}

/// A ring with its queues.
pub(crate) struct Queue {
    ring: Uring,
}

impl Queue {
    pub(crate) fn new(entries: u32, flags: u32) -> Try<Queue> {
        let params = Params { flags, ..Params::default() };
        let ring =
            Uring::new(entries, params).map_err(|errno| unavailable("such a ring", errno))?;
        Ok(Queue { ring })
    }

    pub(crate) fn fd(&self) -> i32 {
        self.ring.as_raw_fd()
    }

    pub(crate) fn params(&self) -> &Params {
        self.ring.params()
    }

    pub(crate) fn push(&mut self, entry: &Entry) -> Try<()> {
        let sqe = Sqe {
            opcode: entry.opcode,
            flags: entry.flags,
            ioprio: entry.ioprio,
            fd: entry.fd,
            off: entry.offset,
            addr: entry.buffer.get(),
            len: entry.length,
            op_flags: entry.rw_flags,
            user_data: entry.name,
            buf_index: entry.index,
            personality: entry.personality,
            file_index: entry.file_index,
            ..Sqe::default()
        };
        // SAFETY: what the request has is an `Address`, whose memory is never freed.
        let pushed = unsafe { self.ring.push(&sqe) };
        pushed.map_err(|_| Observed::Unavailable("the queue is full".to_owned()))
    }

    /// Submits what was pushed, and waits for so many completions, for at most five seconds.
    pub(crate) fn enter(&mut self, wait: u32) -> Outcome {
        let limit = Timespec { tv_sec: 5, tv_nsec: 0 };
        self.ring.enter(wait, enter::GETEVENTS, Some(&limit)).map(i64::from)
    }

    /// Submits without asking for completions.
    pub(crate) fn submit(&mut self) -> Outcome {
        self.ring.enter(0, 0, None).map(i64::from)
    }

    /// Entries that the kernel has not taken.
    pub(crate) fn pending(&self) -> u32 {
        self.ring.sq_pending()
    }

    /// Completions that are there.
    pub(crate) fn ready(&self) -> u32 {
        self.ring.cq_ready()
    }

    /// The next completion: name, result, flags.
    pub(crate) fn next(&mut self) -> Option<(u64, Result<i64, safer_ring_sys::Errno>, u32)> {
        let cqe = self.ring.pop()?;
        Some((cqe.user_data, result_of(i64::from(cqe.res)), cqe.flags))
    }

    /// Runs a request to its end.
    pub(crate) fn run(&mut self, entry: &Entry) -> Try {
        self.push(entry)?;
        if let Err(errno) = self.enter(1) {
            return Ok(Observed::Returned(Err(errno)));
        }
        Ok(match self.next() {
            Some((_, result, _)) => Observed::Event(result),
            None => Observed::Seen(false, "no completion came within five seconds".to_owned()),
        })
    }

    /// Runs several requests to their ends: names and results in the order of the completions.
    pub(crate) fn all(
        &mut self,
        entries: &[Entry],
    ) -> Try<Vec<(u64, Result<i64, safer_ring_sys::Errno>)>> {
        for entry in entries {
            self.push(entry)?;
        }
        let count = u32::try_from(entries.len()).unwrap_or_default();
        self.enter(count).map_err(|errno| Observed::Returned(Err(errno)))?;
        let mut found = Vec::new();
        while let Some((name, result, _)) = self.next() {
            found.push((name, result));
        }
        Ok(found)
    }
}

/// Runs a request in a ring of its own.
pub(crate) fn run(entry: Entry) -> Try {
    Queue::new(4, 0)?.run(&entry)
}
