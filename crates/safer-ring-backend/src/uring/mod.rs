//! The io_uring backend: one mapped ring.
//!
//! # Liveness
//! * More completions may be due than the completion queue holds: the kernel keeps those that do not fit
//!   (`IORING_FEAT_NODROP`), says so in the queue's flags, and `refill` asks for them.
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

mod group;
mod other;
mod prep;
mod registered;
mod setup;
mod source;
mod whole;

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use safer_ring_buf::{Lease, PoolMemory, PooledBuffer};
use safer_ring_core::Op;
use safer_ring_sys::{
    Cqe, Cqe32, Errno, Sqe, Sqe128, Timespec, Uring, enter, feat, opcode, setup as setup_flag,
    sq_ring,
};

use crate::backend::{Backend, Helped, Named, Submission, Submitted, Wait, wait_outside};
use crate::clock;
use crate::config::Config;
use crate::engine::{Class, is_stream};
use crate::features::Features;
use crate::payload::{address, hand_over_close, sanitize};
use crate::placement::place_workers;
use crate::plain;

use group::Buffers;
use other::Other;
pub(crate) use prep::{MAX_TRANSFER, transfer};
use registered::{Registered, Table};
pub(crate) use setup::{may_call_plainly, used};
use whole::{Next, Steps};

/// One ring: of the kernel, or of an engine in this program (`engine/`).
pub struct RingBackend {
    ring: Uring,
    /// Who is on the other side of the queues, if not the kernel.
    engine: Option<Other>,
    /// An `enter` is not just a call: there is an engine, or a polling kernel thread.
    special: bool,
    features: Features,
    /// Flags of every `enter`.
    enter_flags: u32,
    /// Which of them apply where nothing was in flight.
    fresh_flags: u32,
    can_wait_with_timeout: bool,
    /// Whether completions can be kept from being announced without losing one.
    can_hush: bool,
    /// Its completions have 32 bytes.
    wide: bool,
    /// Submissions have 128 bytes.
    wide_entries: bool,
    /// All of the hot operations (`prep::hot`) are to be used as they are.
    all_hot: bool,
    /// Transfers in steps.
    steps: Steps,
    /// The kernel needs them for all that ask for all of their bytes.
    needs_steps: bool,
    /// A send may have been begun by a plain call.
    continues_sends: bool,
    buffers: Buffers,
    registered: Registered,
}

impl RingBackend {
    /// What this ring can do.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// Whether completions appear only while somebody enters the ring.
    pub(crate) fn must_poll(&self) -> bool {
        self.features.has_setup_flag(setup_flag::IOPOLL)
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }

    /// Whether it can be woken by a descriptor of this process.
    pub(crate) fn has_bell(&self) -> bool {
        self.engine.as_ref().is_none_or(Other::has_bell)
    }

    /// Whether its time is that of a simulated world.
    pub(crate) fn is_simulated(&self) -> bool {
        matches!(self.engine, Some(Other::World(_)))
    }

    /// Whether a kernel thread takes what is queued.
    pub(crate) fn has_sqpoll(&self) -> bool {
        self.features.has_setup_flag(setup_flag::SQPOLL)
    }

    /// Lets `enter` name the ring by its index in the calling thread's table, which saves the look-up
    /// of the descriptor. Only an optimisation: a refusal changes nothing.
    pub(crate) fn register_own_fd(&mut self) {
        if self.engine.is_none() {
            let _ = self.ring.register_ring_fd();
        }
    }

    /// Undoes that, if it was done by this thread.
    pub(crate) fn unregister_own_fd(&mut self) {
        let _ = self.ring.unregister_ring_fd();
    }

    /// The place in the calling thread's table, if it has one.
    pub(crate) fn own_index(&self) -> Option<RawFd> {
        self.ring.registered_index()
    }

    /// Frees a place in that table which a ring has left that was dropped on another thread.
    pub(crate) fn free_index(&self, index: RawFd) {
        // It keeps a dead ring's memory if it fails, and nothing else.
        let _ = self.ring.free_ring_index(index);
    }

    /// The calling thread goes on with a ring that another one made: what belongs to the thread, and not to the ring, is
    /// asked for again. Wishes, as on the thread that made it.
    #[cold]
    pub(crate) fn adopt_thread(&mut self, config: &Config) {
        // Workers are a thread's only once it has used a ring; naming it in its table counts. Kernel 5.18.
        if self.ring.registered_index().is_some() {
            if config.place.workers().is_some() {
                let _ = place_workers(&self.ring, &config.place);
            }
            if let Some(mut limits) = config.io_wq_limits {
                let _ = self.ring.iowq_max_workers(&mut limits);
            }
        }
    }

    /// As on a kernel before 6.1.
    #[cfg(test)]
    pub(crate) fn with_steps(mut self) -> Self {
        self.needs_steps = true;
        self.all_hot = false;
        self
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
    pub(crate) fn push_timer(&mut self, user_data: u64, lease: &Lease, after: Duration) {
        if let Some(engine) = &mut self.engine {
            engine.timer(user_data, after);
            return self.count();
        }
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
        if let Some(engine) = &mut self.engine {
            engine.watch(user_data, fd);
            return self.count();
        }
        let sqe = Sqe {
            opcode: opcode::POLL_ADD,
            fd,
            op_flags: prep::poll_word(prep::POLLIN),
            user_data,
            ..Sqe::default()
        };
        self.push(&sqe);
    }

    /// The number of its table of registered files, if it has one; see [`Class::place`](crate::Class).
    pub(crate) fn file_table(&self) -> Option<u32> {
        self.registered.files.ring()
    }

    /// A file leaves its place in that table.
    pub(crate) fn unregister_file(&mut self, place: u32) {
        self.registered.files.unregister(&self.ring, place);
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
unsafe impl Backend for RingBackend {
    #[inline]
    fn room(&self) -> u32 {
        self.ring.sq_room()
    }

    #[inline(always)]
    fn has_room(&mut self) -> bool {
        self.ring.sq_has_room()
    }

    #[inline(always)]
    unsafe fn submit(&mut self, submission: &Submission) -> Submitted {
        if self.all_hot
            && submission.poll_first.is_none()
            && submission.begun == 0
            && let Some(sqe) = prep::hot(submission)
        {
            // SAFETY: the contract of `submit`: the operation's memory lives, and there is room. Not a ring of
            // large entries (`setup`).
            let entry = unsafe { self.ring.push_in_room(&sqe) };
            if self.registered.name(entry, submission)
                && let Some(class) = Class::of(submission)
            {
                self.registered.files.register(&self.ring, class, submission.fd);
            }
            return Submitted::Queued;
        }
        // SAFETY: the contract is the same.
        unsafe { self.submit_any(*submission) }
    }

    fn cancel(&mut self, user_data: u64, target: u64) {
        if let Some(engine) = &mut self.engine {
            engine.cancel(user_data, target);
            return self.count();
        }
        let target = self.steps.cancel(target);
        let sqe =
            Sqe { opcode: opcode::ASYNC_CANCEL, fd: -1, addr: target, user_data, ..Sqe::default() };
        self.push(&sqe);
    }

    #[inline(always)]
    fn enter(&mut self, wait: Wait) -> Result<(), Errno> {
        if self.special {
            return self.enter_special(wait);
        }
        self.enter_kernel(wait, self.enter_flags)
    }

    #[inline(always)]
    fn pop(&mut self) -> Option<Cqe> {
        // Setup never asks for completions of both sizes in one queue.
        if self.wide { self.ring.pop() } else { self.ring.pop_small() }
    }

    #[inline(always)]
    fn is_wide(&self) -> bool {
        self.wide
    }

    fn pop_wide(&mut self) -> Option<Cqe32> {
        self.ring.pop32()
    }

    #[inline]
    fn refill(&mut self) -> bool {
        self.ring.sq_flags() & sq_ring::CQ_OVERFLOW != 0 && self.fetch_overflowed()
    }

    #[inline]
    fn pending(&self) -> u32 {
        self.ring.sq_pending()
    }

    fn continues_sends(&self) -> bool {
        self.continues_sends
    }

    fn takes_by_itself(&self) -> bool {
        self.has_sqpoll()
    }

    #[inline]
    fn ready(&self) -> bool {
        self.ring.cq_ready() > 0
    }

    #[inline]
    fn hush(&mut self) {
        self.ring.set_silent(self.can_hush);
    }

    #[inline]
    fn listen(&mut self) -> bool {
        self.ring.set_silent(false);
        // The kernel writes its tail, and then looks whether it is to be silent; here it is the other way round. With a
        // full barrier on both sides one of the two sees the other.
        fence(Ordering::SeqCst);
        self.ready()
    }

    fn retract(&mut self, each: &mut dyn FnMut(u64)) {
        while let Some(entry) = self.ring.take_back() {
            let name = self.engine.as_mut().and_then(|engine| engine.retract());
            let own = || self.steps.retract(entry.user_data);
            each(name.unwrap_or_else(own));
        }
    }

    #[inline(always)]
    fn resume(&mut self, cqe: Cqe) -> Option<Cqe> {
        // In registers: what is passed in memory is read back in another width than it was written in, which waits.
        if self.steps.is_empty() { Some(cqe) } else { self.resume_step(cqe) }
    }

    fn gather(&mut self) {
        self.engine.iter_mut().for_each(|engine| engine.gather());
    }

    fn buffer_group(&mut self) -> Result<u16, Errno> {
        self.buffers
            .number((&self.ring, self.engine.as_ref()), self.features.has_multishot_receive())
    }

    fn take_picked(&mut self, flags: u32, count: usize, enters: u64) -> Option<PooledBuffer> {
        self.buffers.take(flags, count, enters)
    }

    fn multishot_failed(&mut self, errno: Errno, enters: u64) {
        self.buffers.failed(errno, enters);
    }

    fn leak_buffers(&mut self) {
        self.buffers.leak();
    }

    fn register_memory(&mut self, memory: &PoolMemory) -> Result<(), Errno> {
        if !self.features.has_registered_buffers() {
            return Err(Errno::OPNOTSUPP);
        }
        let table = Table::of(&self.ring, self.engine.as_ref());
        self.registered.add(&table, memory)
    }

    fn unregister_memory(&mut self, memory: &PoolMemory) -> Result<(), Errno> {
        // An entry that the kernel has not looked at yet may name it.
        if self.pending() > 0 {
            return Err(Errno::BUSY);
        }
        let table = Table::of(&self.ring, self.engine.as_ref());
        self.registered.remove(&table, memory)
    }

    fn named(&self) -> Named {
        self.registered.named()
    }

    fn unregister_files(&mut self) {
        self.registered.files.unregister_all(&self.ring);
    }

    fn helped(&self) -> Helped {
        self.engine.as_ref().map(|engine| engine.helped()).unwrap_or_default()
    }

    #[inline]
    fn now_ns(&self) -> u64 {
        self.engine.as_ref().map_or_else(clock::now_ns, Other::now_ns)
    }

    #[inline]
    fn coarse_ms(&self) -> u32 {
        match &self.engine {
            Some(Other::World(port)) => port.coarse_ms(),
            _ => clock::coarse_ms(),
        }
    }

    fn pause(&mut self, pause: Duration) {
        let passed = self.engine.as_mut().is_some_and(|engine| engine.pause(pause));
        if !passed {
            wait_outside(pause);
        }
    }

    fn has_news(&self) -> bool {
        self.ready() || self.engine.as_ref().is_some_and(|engine| engine.has_news())
    }
}

impl RingBackend {
    #[cold]
    fn resume_step(&mut self, cqe: Cqe) -> Option<Cqe> {
        let sqe = match self.steps.resume(cqe) {
            Next::Tell(cqe) => return Some(cqe),
            Next::Again(sqe) => sqe,
        };
        if self.ring.sq_room() == 0 {
            // What an error leaves makes no room, and then this was the last step.
            let _ = self.enter(Wait::No);
        }
        if self.ring.sq_room() == 0 {
            return Some(self.steps.give_up(&sqe));
        }
        self.push(&sqe);
        // Now: nobody else may have a reason to enter. What an error leaves goes with the next.
        let _ = self.enter(Wait::No);
        None
    }

    /// The kernel holds completions back for lack of room: there is room now.
    #[cold]
    fn fetch_overflowed(&mut self) -> bool {
        if let Some(engine) = &mut self.engine {
            engine.refill();
        } else if self.ring.enter(0, self.enter_flags, None).is_err() {
            return false;
        }
        self.ready()
    }

    /// Any operation (by value, so that the short way need not keep it in memory), looked up among what the kernel supports.
    ///
    /// # Safety
    /// As [`Backend::submit`].
    #[inline(never)]
    unsafe fn submit_any(&mut self, submission: Submission) -> Submitted {
        let submission = &submission;
        let closes = matches!(submission.op, Op::Close { .. });
        if closes && (self.engine.is_some() || self.features.supports(opcode::CLOSE)) {
            // SAFETY: the contract of `submit`: the memory of this operation, which nobody uses now.
            unsafe { hand_over_close(submission.ptr, true) };
        }
        if let Some(engine) = &mut self.engine {
            if let Some(pause) = prep::pause_of(submission.poll_first) {
                engine.timer(submission.user_data, pause);
                self.count();
                return Submitted::Queued;
            }
            let slot = self.registered.slot_of(submission);
            // SAFETY: the contract is the same.
            unsafe { engine.submit(submission, slot) };
            self.count();
            return Submitted::Queued;
        }
        let mut sqe = prep::prepare(submission);
        if matches!(submission.op, Op::Raw) {
            // SAFETY: the memory of a raw operation starts with the entry that its caller prepared
            // (`payload::raw`, the only constructor of `Op::Raw`).
            let prepared = unsafe { submission.ptr.cast::<Sqe128>().read() };
            sqe = sanitize(prepared.sqe, submission.user_data, submission.link);
            if self.wide_entries {
                // SAFETY: the contract of `submit`, whose memory is that of the whole entry.
                let pushed = unsafe { self.ring.push128(&Sqe128 { sqe, ..prepared }) };
                debug_assert!(pushed.is_ok(), "the driver asks for room before it submits");
                return Submitted::Queued;
            }
        } else if !self.features.supports(sqe.opcode) {
            // SAFETY: the contract of `submit` covers the length of the call.
            let result = unsafe { plain::perform(submission) };
            return Submitted::Done(result.unwrap_or(-Errno::OPNOTSUPP.raw_os_error()));
        }
        if submission.begun > 0 {
            self.steps.begin_late(submission.begun, &mut sqe);
        } else if self.needs_steps {
            self.steps.begin(submission, || is_stream(submission), &mut sqe);
        }
        if submission.poll_first.is_none()
            && self.registered.name(&mut sqe, submission)
            && let Some(class) = Class::of(submission)
        {
            self.registered.files.register(&self.ring, class, submission.fd);
        }
        self.push(&sqe);
        Submitted::Queued
    }

    /// One call, with the flags that each has.
    #[inline(always)]
    fn enter_kernel(&mut self, wait: Wait, flags: u32) -> Result<(), Errno> {
        let result = match wait {
            Wait::No => self.ring.enter(0, flags, None),
            Wait::Fresh => self.ring.enter(0, flags & self.fresh_flags, None),
            Wait::One => self.ring.enter(1, flags, None),
            Wait::For(limit) if self.can_wait_with_timeout => {
                self.ring.enter(1, flags, Some(&to_timespec(limit)))
            }
            Wait::For(limit) => return self.enter_and_poll(limit),
        };
        result.map(drop)
    }

    /// A polling kernel thread takes entries when it comes to them. While the queue is full, more may wait behind it,
    /// and nobody would be told of the room: then `enter` waits for it (`IORING_ENTER_SQ_WAIT`, kernel 5.10), or for a
    /// signal.
    #[inline(never)]
    fn enter_special(&mut self, wait: Wait) -> Result<(), Errno> {
        if let Some(engine) = &mut self.engine {
            self.ring.publish();
            return engine.enter(wait);
        }
        let full = self.ring.sq_room() == 0 && self.features.has_feature(feat::SQPOLL_NONFIXED);
        let wait_for_room = if full { enter::SQ_WAIT } else { 0 };
        self.enter_kernel(wait, self.enter_flags | wait_for_room)
    }

    /// The entry itself is in the engine's queue; here it takes a place.
    fn count(&mut self) {
        let counted = self.ring.push_place();
        debug_assert!(counted.is_ok(), "the driver asks for room before it submits");
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
            begun: 0,
            poll_first: None,
            class: None,
        };
        if let Some(engine) = &self.engine {
            return engine.runs(op);
        }
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

impl fmt::Debug for RingBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingBackend").field("features", &self.features).finish_non_exhaustive()
    }
}
