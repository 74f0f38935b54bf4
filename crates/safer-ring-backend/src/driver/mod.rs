//! The driver: a table and a backend, and the one place where an operation becomes the kernel's.
//!
//! It is single-threaded and runs no foreign code while it works, but for the clone of a waker and for
//! `IoBuf::reclaim`, whose contract forbids the use of a ring: wakers and dead resources are
//! collected and handed out ([`Driver::aftermath`]) for the wrapper to fire and drop once its lock or
//! borrow is released.

mod aftermath;
mod believed;
mod forked;
mod give_up;
mod memory;
mod multishot;
mod orphan;
mod raw;
mod snapshot;
mod timers;
mod turn;

use std::fmt;
use std::mem::ManuallyDrop;
use std::task::Waker;
use std::time::Duration;

use safer_ring_buf::Lease;
use safer_ring_core::{Completion, Group, Key, Limits, Op, Phase, Polled, Table, Tag};
use safer_ring_sys::{Errno, fork};

use crate::asked::Asked;
use crate::backend::{Backend, Submission, Submitted, Wait};
use crate::chain::Chained;
use crate::clock;
use crate::error::Failure;
use crate::fd::Guard;
use crate::notes::{Note, Notes};
use crate::payload::{self, Done, More, Payload};
use crate::request::Resources;
use crate::root;
use crate::uring::RingBackend;
use crate::wake::conclude;

pub(crate) use aftermath::{Aftermath, Nudge};
use give_up::Watch;
pub use snapshot::{InFlight, Snapshot};
use turn::{Alone, describe, submit_owned};

/// Slots a table may grow to: far above any ring, only to bound memory.
const MAX_SLOTS: u32 = 1 << 24;
/// Operations that the kernel may have at a time. More than the completion queue holds: what does not fit there
/// waits in the kernel (`IORING_FEAT_NODROP`, which every backend has) and `reap` fetches it. A limit at the
/// size of the queue would let that many idle receives hold back the sends that they wait for.
const MAX_IN_FLIGHT: u32 = 1 << 22;
/// How long dropping a driver waits for what is in flight, in steps of [`DRAIN_STEP`].
const DRAIN_STEPS: u32 = 20;
const DRAIN_STEP: Duration = Duration::from_millis(10);

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

/// Counters of the driver itself; the table keeps its own.
#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    enters: u64,
    enter_refusals: u64,
    adopted_fds: u64,
    adopted_connections: u64,
    adopted_bytes: u64,
    plain_calls: u64,
}

/// A table of operations and the backend that runs them.
pub struct Driver<K: Guard, B: Backend = RingBackend> {
    pub(crate) table: Table<Resources<K>>,
    backend: B,
    aftermath: Aftermath<K>,
    /// Whether something is in `aftermath`.
    dirty: bool,
    /// Intermediate completions of multishot operations, until their owner takes them.
    more: Vec<(Key, Completion, [u64; 2])>,
    /// Second halves of last completions, for the owners of raw operations.
    last_halves: Vec<(Key, [u64; 2])>,
    /// That of the completion being taken in.
    second_half: [u64; 2],
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
    /// Whether completions are announced to whoever watches this ring.
    loud: bool,
    /// The one who watches it is the wrong one for a thread that has left something in flight.
    unheard: bool,
    epoch: u32,
    counters: Counters,
    /// Leads here, for descriptors that keep an armed operation.
    home: Option<K::Home>,
    /// The last handle on the ring is gone.
    closing: bool,
    /// Who waits until nothing is in flight, by the number of the wait.
    drainers: Vec<(u64, Waker)>,
    /// Receives that are cancelled so that they find what arrived for a dropped one beside them.
    nudged: Vec<Key>,
    /// Sends without owners that are to end in time.
    watches: Vec<Watch>,
}

impl<K: Guard, B: Backend> Driver<K, B> {
    /// Joins a backend with `entries` submission entries with an empty table.
    ///
    /// # Errors
    /// As `mmap(2)`, for the page that tells a forked child apart.
    pub fn new(backend: B, entries: u32) -> Result<Self, Errno> {
        let limits =
            Limits { max_slots: MAX_SLOTS, max_in_flight: MAX_IN_FLIGHT, max_chain: entries };
        let mut table = Table::new(limits);
        table.set_now(backend.coarse_ms());
        Ok(Self {
            table,
            backend,
            aftermath: Aftermath::prepared(64),
            dirty: false,
            more: Vec::new(),
            last_halves: Vec::new(),
            second_half: [0; 2],
            immediate: Vec::new(),
            timers: Vec::new(),
            rung: false,
            timer_ended: false,
            root: None,
            stand_in: root::stand_in(),
            root_woken: false,
            alone: Alone::default(),
            loud: false,
            unheard: false,
            epoch: fork::arm()?,
            counters: Counters::default(),
            home: None,
            closing: false,
            drainers: Vec::new(),
            nudged: Vec::new(),
            watches: Vec::new(),
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

    pub(crate) fn backend_mut(&mut self) -> &mut B {
        &mut self.backend
    }

    /// Takes an operation in, as a member of a group if there is one.
    #[inline(always)]
    pub(crate) fn submit(
        &mut self,
        op: Op,
        resources: ManuallyDrop<Resources<K>>,
        group: Option<Group>,
    ) -> Result<Key, Refused<K>> {
        if self.is_ours() {
            if self.backend.has_room() && self.table.may_go_at_once() {
                return Ok(self.submit_at_once(op, resources, group, 0));
            } else if self.table.make_room() {
                let key = self.table.insert_into_room(op, resources);
                if let Some(group) = group {
                    self.table.join_new(group, key);
                }
                return Ok(key);
            }
        }
        // Boxed, so that the short way above moves the resources once and not through here.
        Err(self.refuse(Box::new(ManuallyDrop::into_inner(resources))))
    }

    /// [`Driver::submit`] of a send, so many bytes of which a plain call has sent: the ring goes on with the rest. Gives back what it
    /// cannot go on with now.
    #[cold]
    pub(crate) fn submit_begun(
        &mut self,
        op: Op,
        resources: ManuallyDrop<Resources<K>>,
        begun: u32,
    ) -> Result<Key, ManuallyDrop<Resources<K>>> {
        let goes_on = self.is_ours()
            && self.backend.continues_sends()
            && self.backend.has_room()
            && self.table.may_go_at_once();
        if goes_on { Ok(self.submit_at_once(op, resources, None, begun)) } else { Err(resources) }
    }

    /// Past the queue, which is empty, into the backend's.
    #[inline(always)]
    fn submit_at_once(
        &mut self,
        op: Op,
        resources: ManuallyDrop<Resources<K>>,
        group: Option<Group>,
        begun: u32,
    ) -> Key {
        // Described while the compiler knows the operation; the name comes with the slot.
        let words = describe(0, op, &resources, false, None);
        let Some(key) = self.table.insert_in_flight(op, resources, group) else { return no_key() };
        self.alone.fresh += 1;
        let user_data = key.user_data(Tag::Operation);
        let submission = Submission { user_data, begun, ..words };
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

    /// Takes in a member of a chain; `following` more come right after it, once it has moved as much as is `wanted`.
    pub(crate) fn submit_linked(
        &mut self,
        op: Op,
        resources: ManuallyDrop<Resources<K>>,
        following: u16,
        wanted: Option<u32>,
    ) -> Result<Key, Refused<K>> {
        self.table
            .insert_linked(op, ManuallyDrop::into_inner(resources), following, wanted)
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
        let deadline = self.backend.now_ns().saturating_add(clock::ns(after));
        self.table
            .insert_deadline(Op::Timeout, resources, deadline)
            .map_err(|(_, resources)| self.refuse(Box::new(resources)))
    }

    /// Looks at the clock, for the ages of operations that start from now on.
    #[inline]
    pub(crate) fn touch(&mut self) {
        self.table.set_now(self.backend.coarse_ms());
    }

    /// [`Driver::touch`], for the age of this operation too: it has begun to wait.
    #[inline]
    pub(crate) fn touch_one(&mut self, key: Key) {
        self.touch();
        self.table.begin_anew(key);
    }

    /// Whether nothing is in flight or waits for it, and nothing can come back from it; if not, `waker` is woken when
    /// that is so. Receives that only wait for a next one are cancelled.
    pub(crate) fn poll_drained(&mut self, wait: u64, waker: &Waker) -> bool {
        if !self.is_ours() {
            return true;
        }
        self.cancel_kept();
        if self.is_drained() {
            return true;
        }
        match self.drainers.iter_mut().find(|(other, _)| *other == wait) {
            Some((_, old)) if old.will_wake(waker) => {}
            Some((_, old)) => {
                self.aftermath.retired.push(std::mem::replace(old, waker.clone()));
                self.dirty = true;
            }
            None => self.drainers.push((wait, waker.clone())),
        }
        false
    }

    /// Somebody waits no more until nothing is in flight.
    pub(crate) fn end_drain(&mut self, wait: u64) {
        if let Some(at) = self.drainers.iter().position(|(other, _)| *other == wait) {
            self.aftermath.retired.push(self.drainers.swap_remove(at).1);
            self.dirty = true;
        }
    }

    fn is_drained(&self) -> bool {
        let table = &self.table;
        table.operations_in_flight() == 0 && table.queued() == 0 && table.cancels_queued() == 0
    }

    #[cold]
    fn wake_drainers(&mut self) {
        if self.is_drained() {
            self.aftermath.wakers.extend(self.drainers.drain(..).map(|(_, waker)| waker));
            self.dirty = true;
        }
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
        self.touch();
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
        let judged = broken.map(|chained| chained.judge(completion));
        let more = if P::KEEPS_ALL { self.take_more(key) } else { More::default() };
        let result =
            judged.unwrap_or_else(|| Errno::from_result(completion.res).map_err(Failure::Os));
        let done = Done { result, flags: completion.flags, more };
        if done.result.is_err() {
            if P::ACCEPTS {
                self.accept_failed(&resources, completion);
            }
            return Ok(failed_output::<K, P>(resources, rest, done, self.table.left(key)));
        }
        Ok(output_of::<K, P>(resources, rest, done))
    }

    /// [`Driver::finish`] out of line.
    #[inline(never)]
    pub(crate) fn finish_late<P: Payload>(
        &mut self,
        key: Key,
        rest: P::Rest,
    ) -> Result<P::Output, P::Rest> {
        self.finish::<P>(key, rest, None)
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

    /// Notes what happened, to be told outside.
    #[cold]
    fn note(&mut self, note: Note) {
        self.aftermath.notes.push(note);
        self.dirty |= Notes::ON;
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

    /// What the kernel has and what waits for it, without timers.
    pub(crate) fn operations(&self) -> impl Iterator<Item = InFlight> {
        let now = self.backend.coarse_ms();
        // In a forked child nothing is: it is the parent's.
        let ours = self.is_ours();
        self.table.iter().filter_map(move |(_, op, state, resources)| {
            if !ours || matches!(state.phase, Phase::Done | Phase::Armed) {
                return None;
            }
            Some(InFlight {
                name: op.name(),
                age: Duration::from_millis(u64::from(now.wrapping_sub(state.since))),
                fd: resources.fd.as_ref().map(Guard::raw),
                phase: state.phase,
                orphaned: state.orphaned,
                cancelling: state.cancelling,
            })
        })
    }

    /// The figures of this driver.
    pub fn snapshot(&self) -> Snapshot {
        let table = self.table.stats();
        let (helped, named) = (self.backend.helped(), self.backend.named());
        let oldest = self.operations().max_by_key(|operation| operation.age);
        Snapshot {
            rings: 1,
            in_flight: u64::from(self.table.in_flight()),
            queued: u64::from(self.table.queued()),
            orphans: u64::from(self.table.orphans()),
            kept: if self.table.orphans() > 0 {
                u64::try_from(self.kept().count()).unwrap_or(u64::MAX)
            } else {
                0
            },
            oldest,
            submitted: table.inserted,
            completed: table.completed,
            cancelled: table.cancelled,
            cancel_requests: table.cancel_requested,
            cancel_races: table.cancel_races,
            orphaned: table.orphaned,
            adopted_fds: self.counters.adopted_fds,
            adopted_connections: self.counters.adopted_connections,
            adopted_bytes: self.counters.adopted_bytes,
            requeued: table.requeued,
            stale_completions: table.stale,
            enters: self.counters.enters,
            enter_refusals: self.counters.enter_refusals,
            plain_calls: self.counters.plain_calls,
            registered_buffers: named.buffers,
            registered_files: named.files,
            threaded: helped.threads,
            aio: helped.aio,
        }
    }
}

/// The output of an operation that has succeeded.
#[inline(always)]
pub(crate) fn output_of<K: Guard, P: Payload>(
    resources: ManuallyDrop<Resources<K>>,
    rest: P::Rest,
    done: Done,
) -> P::Output {
    let Resources { lease, fd, other } = ManuallyDrop::into_inner(resources);
    // What would be dropped by a panic on the way has to be kept in memory for it. So the guards go first, one after the
    // other, and the lease after them: a panic in their drop would leak the rest.
    let (lease, fd) = (ManuallyDrop::new(lease), ManuallyDrop::new(fd));
    if let Some(other) = other {
        drop_other(other);
    }
    // One that was the last handle closes its descriptor here.
    drop(ManuallyDrop::into_inner(fd));
    payload::finish::<P>(ManuallyDrop::into_inner(lease), rest, done)
}

/// [`output_of`] of one that has failed, with a note of what it has asked for.
#[cold]
#[inline(never)]
pub(crate) fn failed_output<K: Guard, P: Payload>(
    resources: ManuallyDrop<Resources<K>>,
    rest: P::Rest,
    done: Done,
    op: Option<Op>,
) -> P::Output {
    let Resources { lease, fd, other } = ManuallyDrop::into_inner(resources);
    let asked = op.map_or(Asked::NOTHING, |op| Asked::of(&op, &lease));
    drop((other, fd));
    let mut output = payload::finish::<P>(lease, rest, done);
    P::note(&mut output, asked);
    output
}

/// The name of nothing. Out of line, or it is prepared each time.
#[cold]
#[inline(never)]
fn no_key() -> Key {
    Key::new(u32::MAX, 0)
}

/// Two operations in all have a second descriptor.
#[cold]
#[inline(never)]
fn drop_other<K>(other: K) {
    drop(other);
}

impl<K: Guard, B: Backend> Drop for Driver<K, B> {
    /// Waits a bounded time for what is in flight; the table leaks what is left (invariant 6).
    fn drop(&mut self) {
        if !self.is_ours() {
            // The parent's kernel objects: the child neither cancels nor frees (invariant 15).
            self.table.abandon();
            self.backend.leak_buffers();
            self.timers.drain(..).for_each(std::mem::forget);
            return;
        }
        self.close();
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
            self.expire();
        }
        self.timers.drain(..).for_each(std::mem::forget);
        self.backend.unregister_files();
        self.give_up_streams();
        let operations = self.table.operations_in_flight();
        if operations > 0 {
            self.backend.leak_buffers();
            self.note(Note::LeftBehind { operations });
        }
        let Aftermath { wakers, dead, retired, notes, .. } = &mut self.aftermath;
        notes.tell();
        conclude(dead, retired, wakers);
    }
}

impl<K: Guard, B: Backend> fmt::Debug for Driver<K, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("snapshot", &self.snapshot()).finish_non_exhaustive()
    }
}
