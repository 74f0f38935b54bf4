//! The io_uring backend: one mapped ring.
//!
//! # Liveness
//! * More completions may be due than the completion queue holds: the kernel keeps those that do not fit
//!   (`IORING_FEAT_NODROP`), says so in the queue's flags, and `pop` asks for them.
//! * With `DEFER_TASKRUN` completions appear only in an `enter` with `GETEVENTS`; every `enter` here asks
//!   for them.
//!
//! # Safety
//! Pushing an entry wants memory and descriptors that stay valid until the final completion. Entries come
//! from [`Backend::submit`], whose contract is the same, from `push_timer`, whose lease the driver keeps
//! until the timer's completion, and from entries without memory (poll, cancel).
//!
//! Tests: ten_thousand_operations_through_eight_entries, a_timer_ends_a_wait
#![allow(unsafe_code, reason = "Uring::push, whose contract is Backend::submit's")]

mod plain;
mod prep;
mod setup;

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::time::Duration;

use safer_ring_buf::Lease;
use safer_ring_core::Op;
use safer_ring_sys::{
    Cqe, Errno, Sqe, Timespec, Uring, enter, feat, opcode, setup as setup_flag, sq_ring,
};

use crate::backend::{Backend, Submission, Submitted, Wait};
use crate::features::Features;
use crate::payload::{address, sanitize};

pub(crate) use prep::{MAX_TRANSFER, transfer};
pub(crate) use setup::Purpose;

/// One kernel ring.
pub struct UringBackend {
    ring: Uring,
    features: Features,
    /// Flags of every `enter`.
    enter_flags: u32,
    can_wait_with_timeout: bool,
    /// All of the hot operations (`prep::hot`) are to be used.
    all_hot: bool,
}

impl UringBackend {
    /// What this ring can do.
    pub fn features(&self) -> &Features {
        &self.features
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }

    /// Whether a kernel thread takes what is queued.
    pub(crate) fn has_sqpoll(&self) -> bool {
        self.features.has_setup_flag(setup_flag::SQPOLL)
    }

    /// Lets `enter` name the ring by its index in the calling thread's table, which saves the look-up
    /// of the descriptor. Only an optimisation: a refusal changes nothing.
    pub(crate) fn register_own_fd(&mut self) {
        let _ = self.ring.register_ring_fd();
    }

    /// As on a kernel before 5.11.
    #[cfg(test)]
    pub(crate) fn without_timed_waits(mut self) -> Self {
        self.can_wait_with_timeout = false;
        self
    }

    pub(crate) fn timespec(after: Duration) -> Lease {
        Lease::from_box(Box::new(to_timespec(after)))
    }

    /// Queues a timer; `lease` holds a [`Timespec`] and lives until the completion of `user_data`.
    pub(crate) fn push_timer(&mut self, user_data: u64, lease: &Lease) {
        let sqe = Sqe {
            opcode: opcode::TIMEOUT,
            fd: -1,
            addr: address(lease.ptr()),
            len: 1,
            user_data,
            ..Sqe::default()
        };
        self.push(&sqe);
    }

    pub(crate) fn push_poll(&mut self, user_data: u64, fd: RawFd) {
        let sqe = Sqe {
            opcode: opcode::POLL_ADD,
            fd,
            op_flags: prep::poll_word(prep::POLLIN),
            user_data,
            ..Sqe::default()
        };
        self.push(&sqe);
    }

    #[inline(always)]
    fn push(&mut self, sqe: &Sqe) {
        // SAFETY: the memory and descriptors of `sqe` stay valid until its final completion: promised by
        // the caller of `submit`; kept by the driver for timers; none for polls and cancellations.
        let pushed = unsafe { self.ring.push(sqe) };
        debug_assert!(pushed.is_ok(), "the driver asks for room before it submits");
    }
}

fn to_timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

// SAFETY: the rules of `Backend`, in their order:
// - room and pending are the ring's own indices; submit pushes at most one entry, or runs a plain
//   system call that does not block on another operation.
// - the kernel posts one completion without F_MORE per entry (io_uring(7)), and one per cancellation.
// - the kernel does not touch an operation's memory after its last completion (io_uring(7)).
// - enter passes the count of entries that the kernel has not taken, so what an error left goes next.
// - pop publishes the head before it returns (`Uring::pop`).
// - retract gives up where a kernel thread polls the queue.
unsafe impl Backend for UringBackend {
    #[inline]
    fn room(&self) -> u32 {
        self.ring.sq_room()
    }

    #[inline(always)]
    unsafe fn submit(&mut self, submission: &Submission) -> Submitted {
        if self.all_hot
            && submission.poll_first.is_none()
            && let Some(sqe) = prep::hot(submission)
        {
            // SAFETY: the contract of `submit`: the operation's memory lives, and there is room.
            unsafe { self.ring.push_in_room(&sqe) };
            return Submitted::Queued;
        }
        // SAFETY: the contract is the same.
        unsafe { self.submit_any(*submission) }
    }

    fn cancel(&mut self, user_data: u64, target: u64) {
        let sqe =
            Sqe { opcode: opcode::ASYNC_CANCEL, fd: -1, addr: target, user_data, ..Sqe::default() };
        self.push(&sqe);
    }

    #[inline(always)]
    fn enter(&mut self, wait: Wait) -> Result<(), Errno> {
        let result = match wait {
            Wait::No => self.ring.enter(0, self.flags_of_enter(), None),
            Wait::One => self.ring.enter(1, self.flags_of_enter(), None),
            Wait::For(limit) if self.can_wait_with_timeout => {
                self.ring.enter(1, self.flags_of_enter(), Some(&to_timespec(limit)))
            }
            Wait::For(limit) => return self.enter_and_poll(limit),
        };
        result.map(drop)
    }

    #[inline(always)]
    fn pop(&mut self) -> Option<Cqe> {
        if let Some(cqe) = self.ring.pop() {
            return Some(cqe);
        }
        if self.ring.sq_flags() & sq_ring::CQ_OVERFLOW != 0 { self.pop_overflowed() } else { None }
    }

    #[inline]
    fn pending(&self) -> u32 {
        self.ring.sq_pending()
    }

    #[inline]
    fn ready(&self) -> bool {
        self.ring.cq_ready() > 0
    }

    fn retract(&mut self, each: &mut dyn FnMut(u64)) {
        while let Some(entry) = self.ring.take_back() {
            each(entry.user_data);
        }
    }
}

impl UringBackend {
    /// The kernel holds completions back for lack of room: there is room now.
    #[cold]
    fn pop_overflowed(&mut self) -> Option<Cqe> {
        self.ring.enter(0, self.enter_flags, None).ok()?;
        self.ring.pop()
    }

    /// Any operation (by value, so that the short way need not keep it in memory), looked up among what the kernel supports.
    ///
    /// # Safety
    /// As [`Backend::submit`].
    #[inline(never)]
    unsafe fn submit_any(&mut self, submission: Submission) -> Submitted {
        let submission = &submission;
        let mut sqe = prep::prepare(submission);
        if matches!(submission.op, Op::Raw) {
            // SAFETY: the memory of a raw operation starts with the entry that its caller prepared
            // (`payload::raw`, the only constructor of `Op::Raw`).
            let prepared = unsafe { submission.ptr.cast::<Sqe>().read() };
            sqe = sanitize(prepared, submission.user_data, submission.link);
        } else if !self.features.supports(sqe.opcode) {
            // SAFETY: the contract of `submit` covers the length of the call.
            let result = unsafe { plain::perform(submission) };
            return Submitted::Done(result.unwrap_or(-Errno::OPNOTSUPP.raw_os_error()));
        }
        self.push(&sqe);
        Submitted::Queued
    }

    /// A polling kernel thread takes entries when it comes to them. While the queue is full, more may wait behind it,
    /// and nobody would be told of the room: then `enter` waits for it (`IORING_ENTER_SQ_WAIT`, kernel 5.10).
    #[inline(always)]
    fn flags_of_enter(&self) -> u32 {
        if self.has_sqpoll()
            && self.ring.sq_room() == 0
            && self.features.has_feature(feat::SQPOLL_NONFIXED)
        {
            return self.enter_flags | enter::SQ_WAIT;
        }
        self.enter_flags
    }

    /// Whether the kernel runs this operation, rather than a plain system call in its place.
    pub(crate) fn has_opcode_for(&self, op: &Op) -> bool {
        let nothing = Submission {
            user_data: 0,
            op: *op,
            fd: -1,
            other: -1,
            ptr: std::ptr::null_mut(),
            init: 0,
            capacity: 0,
            link: false,
            poll_first: None,
        };
        matches!(op, Op::Raw) || self.features.supports(prep::prepare(&nothing).opcode)
    }

    /// `enter` with a limit on kernels before 5.11, which have no argument for it: hand over, then
    /// wait for the ring's descriptor in poll(2).
    #[cold]
    fn enter_and_poll(&mut self, limit: Duration) -> Result<(), Errno> {
        self.ring.enter(0, self.enter_flags, None)?;
        if self.ready() {
            return Ok(());
        }
        plain::wait_readable(self.fd(), limit)
    }
}

impl fmt::Debug for UringBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UringBackend").field("features", &self.features).finish_non_exhaustive()
    }
}
