//! The driver: a table and a backend, and the one place where an operation becomes the kernel's.
//!
//! It is single-threaded and runs no foreign code while it works: wakers and dead resources are
//! collected and handed out ([`Driver::aftermath`]) for the wrapper to fire and drop once its lock or
//! borrow is released.
//!
//! # Safety
//! One unsafe call: [`Backend::submit`] wants memory and descriptors that outlive the operation. They are
//! owned by a slot of the table, which gives them out only after the final completion (invariant 3),
//! and leaks them if it is dropped earlier (invariant 6). The others adopt descriptors that a
//! completion has just delivered to an operation whose owner is gone (invariant 9).
//!
//! Tests: ten_thousand_operations_through_eight_entries, a_failed_enter_keeps_the_operation, a_late_open_is_closed_and_counted
#![allow(unsafe_code, reason = "the single call of Backend::submit, and adoption of descriptors")]

use std::fmt;
use std::os::fd::RawFd;
use std::task::Waker;
use std::time::Duration;

use safer_ring_buf::Lease;
use safer_ring_core::{Completion, Key, Limits, Op, Orphaned, Outcome, Polled, Staged, Table, Tag};
use safer_ring_sys::{Cqe, Errno, fork};

use crate::adopt::adopt;
use crate::backend::{Backend, Submission, Submitted, Wait};
use crate::clock;
use crate::error::Failure;
use crate::fd::Guard;
use crate::payload::close_did_not_run;
use crate::request::Resources;
use crate::uring::UringBackend;

/// Completions copied out of the ring at a time.
const REAP_BATCH: usize = 64;
/// Slots a table may grow to: far above any ring, only to bound memory.
const MAX_SLOTS: u32 = 1 << 24;
/// Attempts at an `enter` that the kernel refuses for lack of resources, before the caller is let go.
const ENTER_TRIES: u32 = 16;
/// How long dropping a driver waits for what is in flight, in steps of [`DRAIN_STEP`].
const DRAIN_STEPS: u32 = 20;
const DRAIN_STEP: Duration = Duration::from_millis(10);
/// Pause between attempts where waiting in the ring is impossible.
const HOPELESS_PAUSE: Duration = Duration::from_millis(10);

/// What has to happen outside the driver's lock: wakers to fire, dead resources to drop.
pub(crate) struct Aftermath<K> {
    pub(crate) wakers: Vec<Waker>,
    pub(crate) dead: Vec<Resources<K>>,
    /// Wakers to drop without firing them.
    pub(crate) retired: Vec<Waker>,
}

impl<K> Default for Aftermath<K> {
    fn default() -> Self {
        Self { wakers: Vec::new(), dead: Vec::new(), retired: Vec::new() }
    }
}

impl<K> Aftermath<K> {
    pub(crate) fn is_empty(&self) -> bool {
        self.wakers.is_empty() && self.dead.is_empty() && self.retired.is_empty()
    }
}

/// Counters of the driver itself; the table keeps its own.
#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    enters: u64,
    enter_refusals: u64,
    adopted_fds: u64,
    plain_calls: u64,
}

/// What a ring is doing and has done. All figures but the first four only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Kernel rings.
    pub rings: u64,
    /// Completions that the kernel still owes, those of cancellations and of the ring's own
    /// operations included.
    pub in_flight: u64,
    /// Operations that wait for a place in the queue.
    pub queued: u64,
    /// Operations in flight whose future is gone.
    pub orphans: u64,
    /// Operations accepted.
    pub submitted: u64,
    /// Operations that ended.
    pub completed: u64,
    /// Operations that ended with `ECANCELED`.
    pub cancelled: u64,
    /// Cancellations asked for.
    pub cancel_requests: u64,
    /// Cancellations that came too late: the operation had its result.
    pub cancel_races: u64,
    /// Operations whose future was dropped before they ended.
    pub orphaned: u64,
    /// Descriptors that arrived after their future was gone, and were closed.
    pub adopted_fds: u64,
    /// Operations that were put back after `EINTR` or `EAGAIN`.
    pub requeued: u64,
    /// Completions that belonged to nothing: stale, duplicate or unknown.
    pub stale_completions: u64,
    /// Calls of `io_uring_enter`.
    pub enters: u64,
    /// Calls of `io_uring_enter` that the kernel refused for lack of resources.
    pub enter_refusals: u64,
    /// Operations run as a plain system call, since the kernel has no opcode for them.
    pub plain_calls: u64,
}

impl std::ops::AddAssign for Snapshot {
    fn add_assign(&mut self, o: Self) {
        self.rings += o.rings;
        self.in_flight += o.in_flight;
        self.queued += o.queued;
        self.orphans += o.orphans;
        self.submitted += o.submitted;
        self.completed += o.completed;
        self.cancelled += o.cancelled;
        self.cancel_requests += o.cancel_requests;
        self.cancel_races += o.cancel_races;
        self.orphaned += o.orphaned;
        self.adopted_fds += o.adopted_fds;
        self.requeued += o.requeued;
        self.stale_completions += o.stale_completions;
        self.enters += o.enters;
        self.enter_refusals += o.enter_refusals;
        self.plain_calls += o.plain_calls;
    }
}

/// A table of operations and the backend that runs them.
pub struct Driver<K: Guard, B: Backend = UringBackend> {
    pub(crate) table: Table<Resources<K>>,
    backend: B,
    aftermath: Aftermath<K>,
    /// Intermediate completions of multishot operations, until their owner takes them.
    more: Vec<(Key, Completion)>,
    /// Results of operations that were answered at once, to be completed after staging.
    immediate: Vec<(u64, i32)>,
    cqes: Box<[Cqe]>,
    /// Armed kernel timers; the lease holds the timespec until the timer's completion.
    timers: Vec<Option<(Lease, u64)>>,
    /// The wake descriptor became readable.
    rung: bool,
    /// Whether the reactor watches this ring.
    pub(crate) watched: bool,
    epoch: u32,
    counters: Counters,
}

impl<K: Guard, B: Backend> Driver<K, B> {
    /// Joins a backend with an empty table that never has more than `completions` in flight.
    ///
    /// # Errors
    /// As `mmap(2)`, for the page that tells a forked child apart.
    pub fn new(backend: B, completions: u32, entries: u32) -> Result<Self, Errno> {
        Ok(Self {
            table: Table::new(Limits {
                max_slots: MAX_SLOTS,
                max_in_flight: completions,
                max_chain: entries.min(completions),
            }),
            backend,
            aftermath: Aftermath { wakers: Vec::with_capacity(64), ..Aftermath::default() },
            more: Vec::new(),
            immediate: Vec::new(),
            cqes: vec![Cqe::default(); REAP_BATCH].into_boxed_slice(),
            timers: Vec::new(),
            rung: false,
            watched: false,
            epoch: fork::arm()?,
            counters: Counters::default(),
        })
    }

    /// Whether this process made the driver; a forked child must not touch it (invariant 15).
    #[inline]
    pub(crate) fn is_ours(&self) -> bool {
        fork::current() == self.epoch
    }

    pub(crate) fn backend(&self) -> &B {
        &self.backend
    }

    /// Takes an operation in; `following` more members of its chain come right after it.
    #[inline]
    pub(crate) fn submit(
        &mut self,
        op: Op,
        resources: Resources<K>,
        following: u16,
    ) -> Result<Key, (Failure, Resources<K>)> {
        if !self.is_ours() {
            return Err((Failure::Forked, resources));
        }
        let key = if following == 0 {
            self.table.insert(op, resources)
        } else {
            self.table.insert_linked(op, resources, following)
        };
        key.map_err(|(_, resources)| (Failure::Exhausted, resources))
    }

    /// Takes in a timer that ends `after` from now.
    pub(crate) fn submit_timer(
        &mut self,
        resources: Resources<K>,
        after: Duration,
    ) -> Result<Key, (Failure, Resources<K>)> {
        if !self.is_ours() {
            return Err((Failure::Forked, resources));
        }
        let deadline = clock::now_ns().saturating_add(clock::ns(after));
        self.table
            .insert_deadline(Op::Timeout, resources, deadline)
            .map_err(|(_, resources)| (Failure::Exhausted, resources))
    }

    /// Whether a chain of so many members can be taken in.
    pub(crate) fn reserve(&self, members: u16) -> Result<(), Failure> {
        let limit = self.table.limits().max_chain;
        if u32::from(members) > limit {
            return Err(Failure::ChainTooLong { members, limit });
        }
        if !self.is_ours() {
            return Err(Failure::Forked);
        }
        if self.table.reserve(u32::from(members)) { Ok(()) } else { Err(Failure::Exhausted) }
    }

    /// Whether something waits that could go to the kernel.
    #[inline]
    pub(crate) fn has_queued(&self) -> bool {
        self.table.queued() > 0
    }

    /// Whether an operation has ended; if not, `waker` is woken when it does.
    #[inline]
    pub(crate) fn poll(&mut self, key: Key, waker: &Waker) -> bool {
        !matches!(self.table.poll(key, waker), Polled::Pending)
    }

    /// The result and the resources of an operation that has ended.
    #[inline]
    pub(crate) fn take(&mut self, key: Key) -> Option<(Op, Resources<K>, Completion)> {
        self.table.take(key)
    }

    /// Intermediate completions of `key`, in order.
    pub(crate) fn take_more(&mut self, key: Key) -> Vec<Completion> {
        let mut taken = Vec::new();
        self.more.retain(|(owner, completion)| {
            let mine = *owner == key;
            if mine {
                taken.push(*completion);
            }
            !mine
        });
        taken
    }

    /// The owner of an operation is gone.
    pub(crate) fn orphan(&mut self, key: Key) {
        if !self.is_ours() {
            return;
        }
        match self.table.orphan(key) {
            Orphaned::NotSubmitted(resources) => self.aftermath.dead.push(resources),
            Orphaned::Finished(op, resources, completion) => self.bury(op, resources, completion),
            Orphaned::Running { .. } | Orphaned::Unknown => {}
        }
    }

    /// Moves what waits in the table into the backend's queue, as far as there is room.
    #[inline]
    pub(crate) fn stage(&mut self) {
        loop {
            let room = self.backend.room();
            match self.table.stage(room) {
                None => break,
                Some(Staged::Operation { user_data, op, resources, link, poll_first, .. }) => {
                    let submission = describe(user_data, op, resources, link, poll_first);
                    // SAFETY: `submit` wants memory and descriptors that stay until the final completion.
                    // - Both are owned by the slot that `user_data` names; `Table::take` and the
                    //   outcomes of `complete` and `orphan` give them out only after the final
                    //   completion (invariant 3), and staging is one-way (invariant 7).
                    // - `Request` pairs each op with memory of the right kind and size.
                    // - A table dropped with work in flight leaks it (invariant 6).
                    let submitted = unsafe { self.backend.submit(&submission) };
                    if let Submitted::Done(result) = submitted {
                        self.counters.plain_calls += 1;
                        self.immediate.push((user_data, result));
                    }
                }
                Some(Staged::Cancel { user_data, target }) => {
                    self.backend.cancel(user_data, target);
                }
            }
        }
        if !self.immediate.is_empty() {
            self.finish_immediate();
        }
    }

    #[cold]
    fn finish_immediate(&mut self) {
        while let Some((user_data, result)) = self.immediate.pop() {
            self.complete(user_data, result, 0);
        }
    }

    /// Hands everything that waits to the kernel and reaps what is there, without waiting.
    #[inline]
    pub(crate) fn flush(&mut self) {
        if !self.is_ours() {
            return;
        }
        loop {
            self.stage();
            let pending = self.backend.pending();
            if pending == 0 {
                return;
            }
            let entered = self.enter(Wait::No);
            self.reap();
            // Without progress the rest goes with the next round (a polling kernel thread, a shortage).
            if entered.is_err() || self.backend.pending() == pending {
                return;
            }
            if self.backend.pending() == 0 && self.table.queued() == 0 {
                return;
            }
        }
    }

    /// Hands over what waits and sleeps until a completion, a deadline of the table or `limit`.
    pub(crate) fn wait(&mut self, limit: Option<Duration>) {
        if !self.is_ours() {
            // Nothing will ever complete here; what is submitted is refused.
            std::thread::sleep(HOPELESS_PAUSE);
            return;
        }
        self.stage();
        let wait = match (self.table.next_deadline(), limit) {
            (None, None) => Wait::One,
            (None, Some(limit)) => Wait::For(limit),
            (Some(deadline), limit) => {
                let left = Duration::from_nanos(deadline.saturating_sub(clock::now_ns()));
                Wait::For(limit.map_or(left, |limit| limit.min(left)))
            }
        };
        let idle = self.aftermath.is_empty() && !self.backend.ready();
        if self.enter(if idle { wait } else { Wait::No }).is_err() && idle && self.aftermath.is_empty() {
            // What the kernel did not take is queued or has failed; do not spin on a broken ring.
            std::thread::sleep(HOPELESS_PAUSE);
        }
        self.reap();
        self.expire();
    }

    /// Hands over what waits and takes in what is there, without sleeping.
    pub(crate) fn look(&mut self) {
        if self.is_ours() {
            self.stage();
            // What was not taken goes with the next round.
            let _ = self.enter(Wait::No);
            self.reap();
            self.expire();
        }
    }

    /// Ends the timers of the table that are due.
    pub(crate) fn expire(&mut self) {
        let Some(deadline) = self.table.next_deadline() else { return };
        let now = clock::now_ns();
        if deadline > now {
            return;
        }
        while let Some(outcome) = self.table.expire(now) {
            self.settle(outcome);
        }
    }

    /// One `enter`, repeated while a signal or a shortage of the kernel gets in the way.
    fn enter(&mut self, wait: Wait) -> Result<(), Errno> {
        for attempt in 0..ENTER_TRIES {
            self.counters.enters += 1;
            let Err(errno) = self.backend.enter(wait) else { return Ok(()) };
            match errno {
                // The caller's loop looks at its deadlines again before it waits again.
                Errno::INTR if wait != Wait::No => return Ok(()),
                Errno::INTR => {}
                Errno::TIME => return Ok(()),
                Errno::AGAIN | Errno::BUSY | Errno::NOMEM => {
                    self.counters.enter_refusals += 1;
                    self.reap();
                    if !self.aftermath.wakers.is_empty() {
                        return Ok(());
                    }
                    shortage_pause(attempt);
                }
                fatal => {
                    self.fail_pending(fatal);
                    return Err(fatal);
                }
            }
        }
        Err(Errno::AGAIN)
    }

    /// `enter` will never work again: what the kernel has not seen ends with its error.
    #[cold]
    fn fail_pending(&mut self, errno: Errno) {
        let mut unseen = Vec::new();
        self.backend.retract(&mut |user_data| unseen.push(user_data));
        for user_data in unseen {
            self.complete(user_data, -errno.raw_os_error(), 0);
        }
    }

    /// Takes in all completions that are there.
    #[inline]
    pub(crate) fn reap(&mut self) {
        loop {
            let count = self.backend.reap(&mut self.cqes);
            for index in 0..count {
                let Some(cqe) = self.cqes.get(index).copied() else { break };
                self.complete(cqe.user_data, cqe.res, cqe.flags);
            }
            if count < REAP_BATCH {
                return;
            }
        }
    }

    #[inline]
    fn complete(&mut self, user_data: u64, result: i32, flags: u32) {
        let outcome = self.table.complete(user_data, result, flags);
        self.settle(outcome);
    }

    #[inline]
    fn settle(&mut self, outcome: Outcome<Resources<K>>) {
        match outcome {
            Outcome::Wake(None) => {}
            Outcome::Wake(Some(waker)) => self.aftermath.wakers.push(waker),
            outcome => self.settle_rare(outcome),
        }
    }

    fn settle_rare(&mut self, outcome: Outcome<Resources<K>>) {
        match outcome {
            Outcome::Wake(waker) => self.aftermath.wakers.extend(waker),
            Outcome::Release { op, resources, completion } => {
                self.bury(op, resources, completion);
            }
            Outcome::More { key, completion } => self.more.push((key, completion)),
            Outcome::Internal { tag, key } => self.internal(tag, key),
            Outcome::Retired(waker) => self.aftermath.retired.push(waker),
            Outcome::Requeued | Outcome::CancelDone | Outcome::Ignored => {}
        }
    }

    /// The operation of a dead owner has ended: closes what it made, keeps the rest for dropping.
    fn bury(&mut self, op: Op, resources: Resources<K>, completion: Completion) {
        if op.creates_descriptor() && completion.res >= 0 {
            self.counters.adopted_fds += 1;
            // SAFETY: the op makes a descriptor, `res` is its first and only result, and the future
            // that would have owned it is gone.
            drop(unsafe { adopt(completion.res) });
        }
        if op.creates_pair() && completion.res >= 0 {
            // The state in the lease owns both and closes them.
            self.counters.adopted_fds += 2;
        }
        if let (Op::Close { fd }, Err(errno)) = (op, Errno::from_result(completion.res)) {
            if close_did_not_run(errno) {
                // SAFETY: `payload::close` made the number of an owned descriptor, and the kernel has
                // not closed it.
                drop(unsafe { adopt(fd) });
            }
        }
        self.aftermath.dead.push(resources);
    }

    fn internal(&mut self, tag: Tag, key: Key) {
        if tag == Tag::Wake {
            self.rung = true;
        }
        if tag == Tag::Timer && key.generation() == 1 {
            let index = usize::try_from(key.index()).unwrap_or(usize::MAX);
            if let Some(timer) = self.timers.get_mut(index) {
                *timer = None;
            }
            self.expire();
        }
    }

    /// Whether the wake descriptor became readable since the last call.
    pub(crate) fn take_rung(&mut self) -> bool {
        std::mem::take(&mut self.rung)
    }

    /// What must happen outside the lock, if anything.
    #[inline]
    pub(crate) fn has_aftermath(&self) -> bool {
        !self.aftermath.is_empty()
    }

    /// Hands it out, in exchange for an empty (and reused) one.
    pub(crate) fn aftermath(&mut self, spare: Aftermath<K>) -> Aftermath<K> {
        std::mem::replace(&mut self.aftermath, spare)
    }

    /// Whether nothing is queued, in flight, or waiting for its owner.
    pub(crate) fn is_idle(&self) -> bool {
        self.table.is_empty() && self.table.in_flight() == 0
    }

    /// The figures of this driver.
    pub fn snapshot(&self) -> Snapshot {
        let table = self.table.stats();
        Snapshot {
            rings: 1,
            in_flight: u64::from(self.table.in_flight()),
            queued: u64::from(self.table.queued()),
            orphans: u64::from(self.table.orphans()),
            submitted: table.inserted,
            completed: table.completed,
            cancelled: table.cancelled,
            cancel_requests: table.cancel_requested,
            cancel_races: table.cancel_races,
            orphaned: table.orphaned,
            adopted_fds: self.counters.adopted_fds,
            requeued: table.requeued,
            stale_completions: table.stale,
            enters: self.counters.enters,
            enter_refusals: self.counters.enter_refusals,
            plain_calls: self.counters.plain_calls,
        }
    }
}

impl<K: Guard> Driver<K, UringBackend> {
    /// Makes sure the kernel posts a completion when the table's next deadline is due: for waiters
    /// that sleep in a poller, which knows nothing of the deadlines.
    pub(crate) fn arm_timer(&mut self) {
        let Some(deadline) = self.table.next_deadline() else { return };
        if self.timers.iter().flatten().any(|(_, armed)| *armed <= deadline) {
            return;
        }
        if self.backend.room() == 0 {
            // The operations that fill the queue are on their way; the next round arms it.
            return;
        }
        let left = deadline.saturating_sub(clock::now_ns());
        let free = self.timers.iter().position(Option::is_none);
        let index = free.unwrap_or(self.timers.len());
        let timer = Some((UringBackend::timespec(Duration::from_nanos(left)), deadline));
        match self.timers.get_mut(index) {
            Some(slot) => *slot = timer,
            None => self.timers.push(timer),
        }
        let name = timer_name(u32::try_from(index).unwrap_or(u32::MAX));
        if let Some(Some((lease, _))) = self.timers.get(index) {
            self.table.expect_internal();
            self.backend.push_timer(name, lease);
        }
    }

    /// Makes sure a completion is posted when `fd` becomes readable, unless that is armed already.
    pub(crate) fn arm_wake(&mut self, fd: RawFd) -> bool {
        if self.backend.room() == 0 {
            return false;
        }
        self.table.expect_internal();
        self.backend.push_poll(Key::new(0, 1).user_data(Tag::Wake), fd);
        true
    }
}

impl<K: Guard, B: Backend> Driver<K, B> {
    fn cancel_timers(&mut self) {
        for index in 0..self.timers.len() {
            if self.timers.get(index).is_some_and(Option::is_some) && self.backend.room() > 0 {
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                self.table.expect_internal();
                let cancel = Key::new(index, 2).user_data(Tag::Timer);
                self.backend.cancel(cancel, timer_name(index));
            }
        }
    }
}

/// The name of the armed timer with this index; its cancellation has generation 2.
fn timer_name(index: u32) -> u64 {
    Key::new(index, 1).user_data(Tag::Timer)
}

#[cold]
fn shortage_pause(attempt: u32) {
    if attempt < 4 {
        std::thread::yield_now();
    } else {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[inline]
fn describe<'a, K: Guard>(
    user_data: u64,
    op: &'a Op,
    resources: &Resources<K>,
    link: bool,
    poll_first: Option<u32>,
) -> Submission<'a> {
    Submission {
        user_data,
        op,
        fd: resources.fd.as_ref().map_or(-1, Guard::raw),
        other: resources.other.as_ref().map_or(-1, Guard::raw),
        ptr: resources.lease.ptr(),
        init: resources.lease.init_len(),
        capacity: resources.lease.capacity(),
        link,
        poll_first,
    }
}

impl<K: Guard, B: Backend> Drop for Driver<K, B> {
    /// Waits a bounded time for what is in flight; the table leaks what is left (invariant 6).
    fn drop(&mut self) {
        if !self.is_ours() {
            // The parent's kernel objects: the child neither cancels nor frees (invariant 15).
            self.table.abandon();
            self.timers.drain(..).for_each(std::mem::forget);
            return;
        }
        self.cancel_timers();
        for step in 0..DRAIN_STEPS {
            if self.table.is_empty() && self.timers.iter().all(Option::is_none) {
                break;
            }
            if step == DRAIN_STEPS / 2 {
                self.table.cancel_all();
            }
            self.stage();
            // What cannot be handed over stays in the table, which leaks it below.
            let _ = self.enter(Wait::For(DRAIN_STEP));
            self.reap();
        }
        self.timers.drain(..).for_each(std::mem::forget);
    }
}

impl<K: Guard, B: Backend> fmt::Debug for Driver<K, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("snapshot", &self.snapshot()).finish_non_exhaustive()
    }
}
