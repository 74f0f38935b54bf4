//! The driver: a table and a backend, and the one place where an operation becomes the kernel's.
//!
//! It is single-threaded and runs no foreign code while it works: wakers and dead resources are
//! collected and handed out ([`Driver::aftermath`]) for the wrapper to fire and drop once its lock or
//! borrow is released.
//!
//! # Safety
//! One call of [`Backend::submit`], in `submit_owned`. It wants memory and descriptors that outlive the operation. They are
//! owned by a slot of the table, which gives them out only after the final completion (invariant 3),
//! and leaks them if it is dropped earlier (invariant 6). The others adopt descriptors that a
//! completion has just delivered to an operation whose owner is gone (invariant 9).
//!
//! Tests: ten_thousand_operations_through_eight_entries, a_failed_enter_keeps_the_operation, a_late_open_is_closed_and_counted
#![allow(unsafe_code, reason = "the single call of Backend::submit, and adoption of descriptors")]

use std::fmt;
use std::mem::ManuallyDrop;
use std::os::fd::RawFd;
use std::task::Waker;
use std::time::Duration;

use safer_ring_buf::Lease;
use safer_ring_core::{Completion, Group, Key, Limits, Op, Orphaned, Outcome, Polled, Staged, Table, Tag};
use safer_ring_sys::{Errno, fork};

use crate::adopt::adopt;
use crate::backend::{Backend, Submission, Submitted, Wait};
use crate::clock;
use crate::error::Failure;
use crate::fd::Guard;
use crate::payload::{self, Done, Payload, bury_close};
use crate::chain::Chained;
use crate::request::Resources;
use crate::root;
use crate::uring::UringBackend;

/// Slots a table may grow to: far above any ring, only to bound memory.
const MAX_SLOTS: u32 = 1 << 24;
/// Operations that the kernel may have at a time. More than the completion queue holds: what does not fit there
/// waits in the kernel (`IORING_FEAT_NODROP`, which every backend has) and `reap` fetches it. A limit at the
/// size of the queue would let that many idle receives hold back the sends that they wait for.
const MAX_IN_FLIGHT: u32 = 1 << 22;
/// Attempts at an `enter` that the kernel refuses for lack of resources, before the caller is let go.
const ENTER_TRIES: u32 = 16;
/// Operations that are handed over alone between two turns.
const CREDIT: u32 = 16;
/// Turns without credit after an operation that did not end at once.
const DISTRUST: u32 = 256;
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

/// An operation that was not taken in.
pub(crate) struct Refused<K> {
    pub(crate) failure: Failure,
    pub(crate) resources: Box<Resources<K>>,
}

impl<K> Refused<K> {
    #[cold]
    pub(crate) fn new(failure: Failure, resources: ManuallyDrop<Resources<K>>) -> Self {
        Self { failure, resources: Box::new(ManuallyDrop::into_inner(resources)) }
    }
}

/// Whether a ring of one thread works on one operation at a time.
///
/// Then waiting with it for others that could share its system call is in vain, and an operation that ends
/// inside the call (a read from the page cache) need not put its task to sleep: it is handed over when it is
/// first polled. A turn that hands over a single operation, with nothing else in the table, gives credit for
/// some more. When the credit is used up, or an operation does not end at once, there is a turn again, which
/// also lets other tasks of the thread run.
#[derive(Clone, Copy, Debug, Default)]
struct Alone {
    /// Operations that were put into the backend's queue since it was last handed over.
    fresh: u32,
    /// Operations that may still be handed over alone.
    credit: u32,
    /// Turns to go until credit is given again.
    distrust: u32,
}

impl Alone {
    #[inline(always)]
    fn turn(&mut self, operations: u32) {
        let single = self.fresh == 1 && operations == 1;
        self.fresh = 0;
        self.credit = if single && self.distrust == 0 { CREDIT } else { 0 };
        self.distrust = self.distrust.saturating_sub(1);
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
    /// Whether something is in `aftermath`.
    dirty: bool,
    /// Intermediate completions of multishot operations, until their owner takes them.
    more: Vec<(Key, Completion)>,
    /// Results of operations that were answered at once, to be completed after staging.
    immediate: Vec<(u64, i32)>,
    /// Armed kernel timers; the lease holds the timespec until the timer's completion.
    timers: Vec<Option<(Lease, u64)>>,
    /// The wake descriptor became readable.
    rung: bool,
    /// A kernel timer has ended, and the next one may have to be armed.
    timer_ended: bool,
    /// The waker of the `block_on` that runs now, and what stands for it in the slots: firing it is a
    /// flag, not a call.
    root: Option<Waker>,
    stand_in: Waker,
    root_woken: bool,
    alone: Alone,
    /// Whether the reactor watches this ring.
    pub(crate) watched: bool,
    epoch: u32,
    counters: Counters,
}

impl<K: Guard, B: Backend> Driver<K, B> {
    /// Joins a backend with `entries` submission entries with an empty table.
    ///
    /// # Errors
    /// As `mmap(2)`, for the page that tells a forked child apart.
    pub fn new(backend: B, entries: u32) -> Result<Self, Errno> {
        Ok(Self {
            table: Table::new(Limits {
                max_slots: MAX_SLOTS,
                max_in_flight: MAX_IN_FLIGHT,
                max_chain: entries,
            }),
            backend,
            aftermath: Aftermath { wakers: Vec::with_capacity(64), ..Aftermath::default() },
            dirty: false,
            more: Vec::new(),
            immediate: Vec::new(),
            timers: Vec::new(),
            rung: false,
            timer_ended: false,
            root: None,
            stand_in: root::stand_in(),
            root_woken: false,
            alone: Alone::default(),
            watched: false,
            epoch: fork::arm()?,
            counters: Counters::default(),
        })
    }

    /// Whether this process made the driver; a forked child must not touch it (invariant 15).
    #[inline(always)]
    pub(crate) fn is_ours(&self) -> bool {
        fork::current() == self.epoch
    }

    pub(crate) fn backend(&self) -> &B {
        &self.backend
    }

    /// Takes an operation in.
    #[inline(always)]
    pub(crate) fn submit(
        &mut self,
        op: Op,
        resources: ManuallyDrop<Resources<K>>,
    ) -> Result<Key, Refused<K>> {
        if self.is_ours() {
            if self.backend.room() > 0 && self.table.may_go_at_once() {
                return Ok(self.submit_at_once(op, resources));
            } else if self.table.make_room() {
                return Ok(self.table.insert_into_room(op, resources));
            }
        }
        // Boxed, so that the short way above moves the resources once and not through here.
        Err(self.refuse(Box::new(ManuallyDrop::into_inner(resources))))
    }

    /// Past the queue, which is empty, into the backend's.
    #[inline(always)]
    fn submit_at_once(&mut self, op: Op, resources: ManuallyDrop<Resources<K>>) -> Key {
        // Described while the compiler knows the operation; the name comes with the slot.
        let words = describe(0, &op, &resources, false, None);
        let Some(key) = self.table.insert_in_flight(op, resources) else {
            return Key::new(u32::MAX, 0);
        };
        self.alone.fresh += 1;
        let user_data = key.user_data(Tag::Operation);
        let submission = Submission { user_data, ..words };
        let submitted = submit_owned(&mut self.backend, &submission);
        if let Submitted::Done(result) = submitted {
            self.immediate.push((user_data, result));
        }
        key
    }

    #[cold]
    fn refuse(&self, resources: Box<Resources<K>>) -> Refused<K> {
        let failure = if self.is_ours() { Failure::Exhausted } else { Failure::Forked };
        Refused { failure, resources }
    }

    /// Takes in a member of a chain; `following` more come right after it.
    pub(crate) fn submit_linked(
        &mut self,
        op: Op,
        resources: ManuallyDrop<Resources<K>>,
        following: u16,
    ) -> Result<Key, Refused<K>> {
        self.table
            .insert_linked(op, ManuallyDrop::into_inner(resources), following)
            .map_err(|(_, resources)| self.refuse(Box::new(resources)))
    }

    /// Takes in a timer that ends `after` from now.
    pub(crate) fn submit_timer(
        &mut self,
        resources: ManuallyDrop<Resources<K>>,
        after: Duration,
    ) -> Result<Key, Refused<K>> {
        let resources = ManuallyDrop::into_inner(resources);
        if !self.is_ours() {
            return Err(self.refuse(Box::new(resources)));
        }
        let deadline = clock::now_ns().saturating_add(clock::ns(after));
        self.table
            .insert_deadline(Op::Timeout, resources, deadline)
            .map_err(|(_, resources)| self.refuse(Box::new(resources)))
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

    /// Whether something waits to be handed to the kernel.
    #[inline]
    pub(crate) fn has_queued(&self) -> bool {
        self.is_ours() && (self.table.has_queued() || self.backend.pending() > 0)
    }

    /// Whether an operation has ended; if not, `waker` is woken when it does.
    #[inline(always)]
    pub(crate) fn poll(&mut self, key: Key, waker: &Waker) -> bool {
        let waker = if self.is_root(waker) { &self.stand_in } else { waker };
        !matches!(self.table.poll(key, waker), Polled::Pending)
    }

    /// [`Driver::poll`] of an operation that was submitted just now.
    #[inline(always)]
    pub(crate) fn attach(&mut self, key: Key, waker: &Waker) {
        if self.is_root(waker) {
            self.table.attach(key, root::stand_in());
        } else {
            self.table.poll(key, waker);
        }
    }

    /// Whether all members of a group have ended; if not, `waker` is woken when they have.
    #[inline(always)]
    pub(crate) fn poll_group(&mut self, group: Group, waker: &Waker) -> bool {
        let waker = if self.is_root(waker) { &self.stand_in } else { waker };
        self.table.poll_group(group, waker)
    }

    #[inline(always)]
    fn is_root(&self, waker: &Waker) -> bool {
        self.root.as_ref().is_some_and(|root| root.will_wake(waker))
    }

    /// From now on this is the waker of the running `block_on`; gives the one it replaces.
    pub(crate) fn set_root(&mut self, root: Option<Waker>) -> Option<Waker> {
        // What the other `block_on` waits for may have ended meanwhile.
        self.root_woken = true;
        std::mem::replace(&mut self.root, root)
    }

    /// Whether the running `block_on` was woken since the last call.
    #[inline]
    pub(crate) fn take_root_woken(&mut self) -> bool {
        std::mem::take(&mut self.root_woken)
    }

    /// The output of an operation that has ended; its rest again if it has not.
    #[inline(always)]
    pub(crate) fn finish<P: Payload>(
        &mut self,
        key: Key,
        rest: P::Rest,
        broken: Option<&mut Chained<'_>>,
    ) -> Result<P::Output, P::Rest> {
        let Some((resources, completion)) = self.table.take_result(key) else { return Err(rest) };
        let result = match broken {
            None => Errno::from_result(completion.res).map_err(Failure::Os),
            Some(chained) => chained.judge(completion),
        };
        let more = if P::KEEPS_ALL { self.take_more(key) } else { Vec::new() };
        let done = Done { result, flags: completion.flags, more };
        // In this order nothing is live that a panic on the way would have to drop, but for the guards.
        let Resources { lease, fd, other } = ManuallyDrop::into_inner(resources);
        let output = payload::finish::<P>(lease, rest, done);
        // One that was the last handle closes its descriptor here.
        drop((fd, other));
        Ok(output)
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
        if !self.more.is_empty() {
            drop(self.take_more(key));
        }
        match self.table.orphan(key) {
            Orphaned::NotSubmitted(resources) => self.keep_dead(resources),
            Orphaned::Finished(op, resources, completion) => self.bury(op, resources, completion),
            Orphaned::Running { .. } | Orphaned::Unknown => {}
        }
    }

    /// Moves what waits in the table into the backend's queue, as far as there is room.
    #[inline]
    pub(crate) fn stage(&mut self) {
        if self.table.has_queued() {
            self.stage_queued();
        }
        if !self.immediate.is_empty() {
            self.finish_immediate();
        }
    }

    fn stage_queued(&mut self) {
        // Room can only grow behind our back.
        let mut room = self.backend.room();
        loop {
            match self.table.stage(room) {
                None => break,
                Some(Staged::Operation { user_data, op, resources, link, poll_first, .. }) => {
                    let submission = describe(user_data, op, resources, link, poll_first);
                    let submitted = submit_owned(&mut self.backend, &submission);
                    if let Submitted::Done(result) = submitted {
                        self.immediate.push((user_data, result));
                        continue;
                    }
                }
                Some(Staged::Cancel { user_data, target }) => {
                    self.backend.cancel(user_data, target);
                }
            }
            room -= 1;
        }
    }

    #[cold]
    fn finish_immediate(&mut self) {
        while let Some((user_data, result)) = self.immediate.pop() {
            self.counters.plain_calls += 1;
            self.complete(user_data, result, 0);
            if self.immediate.is_empty() {
                // One that was interrupted is queued again, and no completion would bring anybody here.
                self.stage_queued();
            }
        }
    }

    /// Hands everything that waits to the kernel and reaps what is there, without waiting.
    #[inline]
    pub(crate) fn flush(&mut self) {
        if self.is_ours() {
            self.hand_over();
            if self.table.next_deadline() == Some(0) {
                self.expire();
            }
        }
    }

    #[inline]
    fn hand_over(&mut self) {
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

    /// Hands over an operation that was submitted just now, if it is the only one and such operations have
    /// ended at once lately; see [`Alone`]. Tells whether it did.
    #[inline(always)]
    pub(crate) fn hand_over_if_alone(&mut self) -> bool {
        if self.alone.credit == 0 || self.alone.fresh != 1 {
            return false;
        }
        self.alone.fresh = 0;
        self.alone.credit -= 1;
        // An error is met again when the thread waits, as are further completions.
        let _ = self.enter(Wait::No);
        if let Some(cqe) = self.backend.pop() {
            self.complete(cqe.user_data, cqe.res, cqe.flags);
        }
        true
    }

    /// An operation that was handed over alone has not ended: others like it will not either.
    #[cold]
    pub(crate) fn was_in_vain(&mut self) {
        self.alone.credit = 0;
        self.alone.distrust = DISTRUST;
    }

    /// Hands over what waits and sleeps until a completion, a deadline of the table or `limit`.
    pub(crate) fn wait(&mut self, limit: Option<Duration>) {
        if !self.is_ours() {
            // Nothing will ever complete here; what is submitted is refused.
            std::thread::sleep(HOPELESS_PAUSE);
            return;
        }
        self.stage();
        if self.table.has_queued() {
            // More than one queue full: it goes before anybody sleeps.
            self.flush();
        }
        let operations = self.table.len();
        self.alone.turn(operations);
        let idle = !self.root_woken && !self.dirty && !self.backend.ready();
        let wait = match (idle, self.table.next_deadline(), limit) {
            (false, _, _) => Wait::No,
            (true, None, None) => Wait::One,
            (true, deadline, limit) => bounded_wait(deadline, limit),
        };
        if self.enter(wait).is_err() && idle && !self.dirty {
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

    /// Ends the timers of the table that are due, and takes in what came about without the kernel.
    #[inline]
    pub(crate) fn expire(&mut self) {
        if let Some(deadline) = self.table.next_deadline() {
            self.expire_until(deadline);
        }
    }

    #[cold]
    fn expire_until(&mut self, deadline: u64) {
        // What is there already hides the timers behind it, so the clock is read for it too.
        let now = clock::now_ns();
        if deadline > now {
            return;
        }
        while let Some(outcome) = self.table.expire(now) {
            self.settle(outcome);
        }
    }

    /// One `enter`.
    #[inline]
    fn enter(&mut self, wait: Wait) -> Result<(), Errno> {
        self.counters.enters += 1;
        match self.backend.enter(wait) {
            Ok(()) => Ok(()),
            Err(errno) => self.enter_again(wait, errno),
        }
    }

    /// Repeats an `enter` while a signal or a shortage of the kernel gets in the way.
    #[cold]
    fn enter_again(&mut self, wait: Wait, mut errno: Errno) -> Result<(), Errno> {
        for attempt in 0..=ENTER_TRIES {
            match errno {
                // The caller's loop looks at its deadlines again before it waits again.
                Errno::INTR if wait != Wait::No => return Ok(()),
                Errno::INTR => {}
                Errno::TIME => return Ok(()),
                Errno::AGAIN | Errno::BUSY | Errno::NOMEM => {
                    self.counters.enter_refusals += 1;
                    let queued = self.table.queued();
                    self.reap();
                    let requeued = self.table.queued() > queued;
                    // Each of these must be seen to before anybody sleeps.
                    if self.dirty || self.root_woken || self.rung || requeued {
                        return Ok(());
                    }
                    if attempt < ENTER_TRIES {
                        shortage_pause(attempt);
                    }
                }
                fatal => {
                    self.fail_pending(fatal);
                    return Err(fatal);
                }
            }
            if attempt == ENTER_TRIES {
                break;
            }
            self.counters.enters += 1;
            match self.backend.enter(wait) {
                Ok(()) => return Ok(()),
                Err(next) => errno = next,
            }
        }
        Err(errno)
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
    pub(crate) fn reap(&mut self) {
        while let Some(cqe) = self.backend.pop() {
            self.complete(cqe.user_data, cqe.res, cqe.flags);
        }
    }

    #[inline(always)]
    fn complete(&mut self, user_data: u64, result: i32, flags: u32) {
        match self.table.complete_plain(user_data, result, flags) {
            Some(Some(waker)) => self.wake(waker),
            Some(None) => {}
            None => self.complete_other(user_data, result, flags),
        }
    }

    #[inline(never)]
    fn complete_other(&mut self, user_data: u64, result: i32, flags: u32) {
        let outcome = self.table.complete_other(user_data, result, flags);
        self.settle(outcome);
    }

    #[inline(always)]
    fn wake(&mut self, waker: Waker) {
        if root::is_stand_in(&waker) {
            // Dropping it would do nothing either, by a call.
            std::mem::forget(waker);
            self.root_woken = true;
        } else {
            self.aftermath.wakers.push(waker);
            self.dirty = true;
        }
    }

    fn settle(&mut self, outcome: Outcome<Resources<K>>) {
        match outcome {
            Outcome::Wake(waker) => waker.into_iter().for_each(|waker| self.wake(waker)),
            Outcome::Release { op, resources, completion } => {
                self.bury(op, resources, completion);
            }
            Outcome::More { key, completion } => {
                let orphaned = self.table.state(key).is_none_or(|state| state.orphaned);
                if !orphaned {
                    self.more.push((key, completion));
                }
            }
            Outcome::Internal { tag, key } => self.internal(tag, key),
            Outcome::Retired(waker) => {
                self.aftermath.retired.push(waker);
                self.dirty = true;
            }
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
        if matches!(op, Op::Close { .. }) {
            // SAFETY: the lease of a close, and its result.
            return unsafe { bury_close(resources.lease, completion.res) };
        }
        self.keep_dead(resources);
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
            self.timer_ended = true;
        }
    }

    /// Whether the wake descriptor became readable since the last call.
    pub(crate) fn take_rung(&mut self) -> bool {
        std::mem::take(&mut self.rung)
    }

    fn keep_dead(&mut self, resources: Resources<K>) {
        self.aftermath.dead.push(resources);
        self.dirty = true;
    }

    /// Whether something must happen outside the lock.
    #[inline(always)]
    pub(crate) fn has_aftermath(&self) -> bool {
        self.dirty
    }

    /// Hands it out, in exchange for an empty (and reused) one.
    pub(crate) fn aftermath(&mut self, spare: Aftermath<K>) -> Aftermath<K> {
        self.dirty = false;
        std::mem::replace(&mut self.aftermath, spare)
    }

    /// Whether nothing is queued, in flight, or waiting for its owner.
    pub(crate) fn is_idle(&self) -> bool {
        self.table.is_empty() && self.table.in_flight() == 0
    }

    /// Whether nothing is left but armed timers, which end when the driver is dropped.
    pub(crate) fn is_over(&self) -> bool {
        let timers = self.timers.iter().flatten().count();
        self.table.is_empty() && u32::try_from(timers).is_ok_and(|n| n == self.table.in_flight())
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
        self.timer_ended = false;
        let Some(deadline) = self.table.next_deadline() else { return };
        if self.timers.iter().flatten().any(|(_, armed)| *armed <= deadline) {
            return;
        }
        if self.backend.room() == 0 {
            self.flush();
            if self.backend.room() == 0 {
                // The kernel takes nothing now; whoever tries again arms it.
                self.timer_ended = true;
                return;
            }
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

    /// Whether a timer's completion was reaped by somebody who has not armed the next one since.
    #[inline(always)]
    pub(crate) fn wants_timer(&self) -> bool {
        self.timer_ended
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
fn bounded_wait(deadline: Option<u64>, limit: Option<Duration>) -> Wait {
    let left = deadline
        .map(|deadline| Duration::from_nanos(deadline.saturating_sub(clock::now_ns())))
        .unwrap_or(Duration::MAX);
    Wait::For(limit.map_or(left, |limit| limit.min(left)))
}

#[cold]
fn shortage_pause(attempt: u32) {
    if attempt < 4 {
        std::thread::yield_now();
    } else {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Gives an operation to the backend: one that a slot owns, in the words that [`describe`] made of it.
#[inline(always)]
fn submit_owned<B: Backend>(backend: &mut B, submission: &Submission<'_>) -> Submitted {
    // SAFETY: `submit` wants room, which both callers have seen, and memory and descriptors that stay until the
    // final completion.
    // - Both are owned by the slot that `user_data` names; the ways out of the table (`take_result`, and the
    //   outcomes of `complete` and `orphan`) give them out only after the final completion (invariant 3),
    //   and staging is one-way (invariant 7).
    // - `Request` pairs each op with memory of the right kind and size.
    // - A table dropped with work in flight leaks it (invariant 6).
    unsafe { backend.submit(submission) }
}

#[inline(always)]
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
