//! The table: operations in, things to submit out, results out.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;
use core::mem::ManuallyDrop;
use core::task::Waker;

use crate::chain::Link;
use crate::deadline::Deadlines;
use crate::group::{Group, Groups};
use crate::intent::{Fifo, NONE};
use crate::key::position;
use crate::slot::{CANCEL_IN_FLIGHT, CANCEL_QUEUED, CANCEL_WANTED, ORPHAN, Slot, State, StateView};
use crate::{Completion, Key, Limits, Op, Outcome, Polled, Staged, Stats, Tag};

/// Operations and what they have lent to the kernel. See the [crate](crate) for the contract.
#[cfg_attr(test, derive(Clone))]
pub struct Table<R> {
    pub(crate) slots: Vec<Slot<R>>,
    /// First of the list of free slots.
    pub(crate) free: u32,
    /// Slots that are not free.
    pub(crate) used: u32,
    /// `limits.operations()`, read for each operation.
    pub(crate) operation_limit: u32,
    /// Not beside `used`: two neighbours that grow together are counted in a vector register, with twice the instructions.
    pub(crate) in_flight: u32,
    /// Members of the chain being staged that are still to come.
    pub(crate) chain_left: u32,
    /// Members of the chain being inserted that are still to come.
    pub(crate) open_left: u32,
    /// First member of the chain being inserted.
    pub(crate) open_head: u32,
    pub(crate) queue: Fifo,
    pub(crate) cancels: Fifo,
    pub(crate) cancels_in_flight: u32,
    pub(crate) internal: u32,
    pub(crate) orphans: u32,
    pub(crate) stats: Stats,
    /// Operations that were inserted and staged in one step, counted once for both; part of [`Table::stats`].
    pub(crate) at_once: u64,
    pub(crate) deadlines: Deadlines,
    pub(crate) groups: Groups,
    /// What came about without the kernel, for [`Table::expire`] to hand out.
    pub(crate) ready: VecDeque<Outcome<R>>,
    pub(crate) limits: Limits,
    /// What new operations are stamped with.
    pub(crate) now: u32,
    /// Beside the slots, for members of chains.
    pub(crate) links: Vec<Link>,
}

impl<R> Table<R> {
    /// An empty table; see [`Limits::normalised`] for what becomes of odd limits.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let limits = limits.normalised();
        Table {
            slots: Vec::new(),
            free: NONE,
            used: 0,
            in_flight: 0,
            operation_limit: limits.operations(),
            chain_left: 0,
            open_left: 0,
            open_head: NONE,
            queue: Fifo::new(),
            cancels: Fifo::new(),
            cancels_in_flight: 0,
            internal: 0,
            orphans: 0,
            stats: Stats::default(),
            at_once: 0,
            deadlines: Deadlines::new(),
            groups: Groups::new(),
            ready: VecDeque::new(),
            limits,
            now: 0,
            links: Vec::new(),
        }
    }

    /// Tells what time it is, in a unit of the driver's choice, for [`StateView::since`]. Nothing else depends on it.
    /// Operations that take one of the short ways are stamped when they are first polled, members of a group when that is.
    #[inline]
    pub fn set_now(&mut self, now: u32) {
        self.now = now;
    }

    /// Queues an operation.
    ///
    /// # Errors
    ///
    /// Gives it back when the table is full, while a chain is being inserted, and for
    /// [`Op::Timeout`], which needs a deadline.
    #[inline(always)]
    pub fn insert(&mut self, op: Op, resources: R) -> Result<Key, (Op, R)> {
        if self.open_left != 0 || matches!(op, Op::Timeout) {
            return Err((op, resources));
        }
        self.enqueue(op, resources, 0, 0)
    }

    /// Arms a timer that completes with `-ETIME` in the first [`Table::expire`] at or after
    /// `deadline_ns`. Nothing of it reaches the kernel.
    ///
    /// # Errors
    ///
    /// Gives it back when the table is full, counting the slots that a chain being inserted still
    /// needs, and for any operation but [`Op::Timeout`].
    pub fn insert_deadline(
        &mut self,
        op: Op,
        resources: R,
        deadline_ns: u64,
    ) -> Result<Key, (Op, R)> {
        let taken = self.used + self.open_left;
        if !matches!(op, Op::Timeout) || taken >= self.limits.max_slots {
            return Err((op, resources));
        }
        let now = self.now;
        let Some((index, slot)) = self.vacant() else { return Err((op, resources)) };
        slot.arm(op, resources);
        slot.since = now;
        let key = slot.key(index);
        self.used += 1;
        self.stats.inserted += 1;
        self.deadlines.arm(&mut self.slots, index, deadline_ns);
        Ok(key)
    }

    #[inline(always)]
    pub(crate) fn enqueue(
        &mut self,
        op: Op,
        resources: R,
        bits: u8,
        following: u16,
    ) -> Result<Key, (Op, R)> {
        let (tail, now) = (self.queue.tail(), self.now);
        let Some((index, slot)) = self.vacant() else { return Err((op, resources)) };
        slot.occupy(op, resources, bits, following);
        slot.since = now;
        slot.prev = tail;
        slot.next = NONE;
        let key = slot.key(index);
        self.used += 1;
        self.stats.inserted += 1;
        self.queue.append(&mut self.slots, index);
        Ok(key)
    }

    /// A free slot, taken from the list of free ones.
    #[inline(always)]
    fn vacant(&mut self) -> Option<(u32, &mut Slot<R>)> {
        if self.free == NONE {
            self.grow()?;
        }
        let index = self.free;
        let slot = self.slots.get_mut(position(index))?;
        self.free = slot.next;
        Some((index, slot))
    }

    #[cold]
    fn grow(&mut self) -> Option<()> {
        let index = u32::try_from(self.slots.len()).ok()?;
        if index >= self.limits.max_slots {
            return None;
        }
        self.slots.push(Slot::empty());
        self.free = index;
        Some(())
    }

    /// The next thing to give to the kernel, if it fits into `room` submission entries.
    ///
    /// One-way: what is handed out is in flight, and stays so until its final completion has been
    /// given to [`Table::complete`], whatever the system call that submits it returns. Requests
    /// to cancel come first. A chain comes out member by member, and only when all of it fits;
    /// the caller goes on until the last member (`link` is false) before it submits.
    #[inline(always)]
    pub fn stage(&mut self, room: u32) -> Option<Staged<'_, R>> {
        if room == 0 {
            return None;
        }
        if self.cancels.head() != NONE
            && let Some((user_data, target)) = self.stage_cancel()
        {
            return Some(Staged::Cancel { user_data, target });
        }
        let index = self.queue.head();
        let slot = self.slots.get(position(index))?;
        let (following, next) = (slot.following, slot.next);
        let plain = following == 0 && self.chain_left == 0 && self.in_flight < self.operation_limit;
        // Each way looks up the slot for itself: the common one has done so already.
        let slot = if plain {
            self.unqueue(next);
            self.slots.get_mut(position(index))?
        } else {
            if !self.admit(index, following, room) {
                return None;
            }
            self.unqueue(next);
            self.cancel_late(index);
            self.slots.get_mut(position(index))?
        };
        self.in_flight += 1;
        self.stats.staged += 1;
        let poll_first = slot.stage();
        let key = slot.key(index);
        Some(Staged::Operation {
            key,
            user_data: key.word(),
            op: slot.op(),
            resources: slot.resources()?,
            link: following != 0,
            poll_first,
        })
    }

    #[inline(always)]
    fn unqueue(&mut self, next: u32) {
        if !planted!(StagedTwice) {
            self.queue.pop_front(next);
        }
    }

    /// Queues the request to cancel an operation that was to be cancelled while the kernel, having
    /// the front of its chain, already expected it. Only now is there something to cancel.
    #[cold]
    fn cancel_late(&mut self, index: u32) {
        if let Some(slot) = self.slots.get_mut(position(index))
            && slot.has(CANCEL_WANTED)
            && slot.op().can_be_recalled()
        {
            slot.bits |= CANCEL_QUEUED;
            self.cancels.push_back(&mut self.slots, index);
        }
    }

    /// Whether the operation at the head of the queue may go, where that needs thought.
    #[cold]
    fn admit(&mut self, index: u32, following: u16, room: u32) -> bool {
        if self.chain_left > 0 {
            self.chain_left -= 1;
            return true;
        }
        if index == self.open_head {
            return false;
        }
        let after = u32::from(following);
        let entries = after + 1;
        let fits = entries <= room || planted!(ChainSplit);
        // With nothing of the table's in flight, whatever is at the head may go: a chain of the
        // greatest length must not wait for room that the driver's own completions never leave.
        let counted = self.in_flight.saturating_add(entries) <= self.operation_limit
            || self.in_flight == self.internal;
        if fits && counted {
            self.chain_left = after;
        }
        fits && counted
    }

    /// The next request to cancel and its target. Not inside a chain, which it would cut. One may
    /// always be in flight, however full the ring is: it is what makes room.
    #[cold]
    fn stage_cancel(&mut self) -> Option<(u64, u64)> {
        let chained = self.chain_left > 0 && !planted!(CancelInsideChain);
        let one = self.cancels_in_flight == 0 && !planted!(CancelWaitsForRoom);
        let full = self.in_flight >= self.limits.max_in_flight && !one;
        if chained || full {
            return None;
        }
        let index = self.cancels.head();
        let slot = self.slots.get_mut(position(index))?;
        self.cancels.pop_front(slot.next);
        slot.bits = slot.bits & !CANCEL_QUEUED | CANCEL_IN_FLIGHT;
        let key = slot.key(index);
        self.in_flight += 1;
        self.cancels_in_flight += 1;
        self.stats.staged += 1;
        Some((key.user_data(Tag::Cancel), key.user_data(Tag::Operation)))
    }

    /// The operation and what it works on.
    #[inline]
    #[must_use]
    pub fn get(&self, key: Key) -> Option<(&Op, &R)> {
        let slot = self.find(key)?;
        Some((slot.op(), slot.resources()?))
    }

    /// The state of an operation.
    #[must_use]
    pub fn state(&self, key: Key) -> Option<StateView> {
        let slot = self.find(key)?;
        slot.view(self.since(slot))
    }

    #[inline]
    fn find(&self, key: Key) -> Option<&Slot<R>> {
        self.slots.get(position(key.index())).filter(|slot| slot.stamp == key.stamp())
    }

    #[inline]
    pub(crate) fn find_mut(&mut self, key: Key) -> Option<&mut Slot<R>> {
        self.slots.get_mut(position(key.index())).filter(|slot| slot.stamp == key.stamp())
    }

    /// Asks whether an operation is done and, if not, stores the waker for its completion.
    #[inline]
    pub fn poll(&mut self, key: Key, waker: &Waker) -> Polled {
        let now = self.now;
        let Some(slot) = self.find_mut(key) else { return Polled::Unknown };
        match slot.state() {
            State::Done => return Polled::Ready,
            State::Free | State::Draining => return Polled::Unknown,
            _ if slot.has(ORPHAN) => return Polled::Unknown,
            _ => {}
        }
        if slot.waker.as_ref().is_some_and(|old| old.will_wake(waker) || planted!(FirstWakerKept)) {
            return Polled::Pending;
        }
        match slot.waker.replace(waker.clone()) {
            Some(old) => self.ready.push_back(Outcome::Retired(old)),
            // As in `attach`.
            None => slot.since = now,
        }
        Polled::Pending
    }

    /// Whether [`Table::take`] has a result.
    #[inline(always)]
    #[must_use]
    pub fn is_done(&self, key: Key) -> bool {
        self.find(key).is_some_and(|slot| slot.state() == State::Done)
    }

    /// The result of an operation that is done.
    #[must_use]
    pub fn result(&self, key: Key) -> Option<i32> {
        let slot = self.find(key)?;
        (slot.state() == State::Done).then(|| slot.completion().res)
    }

    /// The operation, its resources and its result, once it is done: the only way out for an
    /// owner who stayed.
    #[inline]
    pub fn take(&mut self, key: Key) -> Option<(Op, R, Completion)> {
        if !self.is_done(key) {
            return None;
        }
        self.release(key.index())
    }

    /// Makes sure that the next [`Table::insert_into_room`] finds a slot. `false` when the table is
    /// full, and while a chain is being inserted.
    #[inline(always)]
    pub fn make_room(&mut self) -> bool {
        self.open_left == 0 && self.has_slot()
    }

    /// [`Table::insert`] into the slot that [`Table::make_room`] has just made sure of: the
    /// resources go straight into it, without a way back. Not for [`Op::Timeout`].
    /// `ManuallyDrop` spares the code for a panic on the way, which would keep a copy of them in
    /// memory.
    ///
    /// Where there is no free slot, because nobody asked, the resources are leaked and the key
    /// names nothing.
    #[inline(always)]
    pub fn insert_into_room(&mut self, op: Op, resources: ManuallyDrop<R>) -> Key {
        let tail = self.queue.tail();
        let index = self.free;
        let Some(slot) = self.slots.get_mut(position(index)) else {
            return Key::from_stamp(NONE, 0);
        };
        self.free = slot.next;
        slot.occupy(op, ManuallyDrop::into_inner(resources), 0, 0);
        slot.prev = tail;
        slot.next = NONE;
        let key = slot.key(index);
        self.used += 1;
        self.stats.inserted += 1;
        self.queue.append(&mut self.slots, index);
        key
    }

    /// Whether anything waits to be staged.
    #[inline(always)]
    #[must_use]
    pub fn has_queued(&self) -> bool {
        self.queue.head() != NONE || self.cancels.head() != NONE
    }

    /// [`StateView::since`] of this operation is the time it is now.
    pub fn begin_anew(&mut self, key: Key) {
        let now = self.now;
        if let Some(slot) = self.find_mut(key) {
            slot.since = now;
        }
    }

    /// Whether an operation may go to the kernel at once, because nothing waits that would be
    /// staged before it; makes sure of a slot for [`Table::insert_in_flight`].
    #[inline(always)]
    pub fn may_go_at_once(&mut self) -> bool {
        // A chain that is being inserted or staged has members in the queue.
        self.queue.head() == NONE
            && (self.cancels.head() == NONE || planted!(AheadOfCancels))
            && (self.in_flight < self.operation_limit || planted!(AtOnceIntoFullRing))
            && self.has_slot()
    }

    /// Whether there is a free slot, if need be a new one. It is the question that the look-up of the slot asks as well, so
    /// that it is asked once.
    #[inline(always)]
    fn has_slot(&mut self) -> bool {
        position(self.free) < self.slots.len() || self.grow().is_some()
    }

    /// Inserts and stages in one step, after [`Table::may_go_at_once`]: the operation is in flight
    /// from now on, with its key as `user_data`, and must be submitted. Otherwise as
    /// [`Table::insert_into_room`]; `None` in place of a key that names nothing. With a group it is a member of it from
    /// the beginning, as after [`Table::join_new`].
    #[inline(always)]
    pub fn insert_in_flight(
        &mut self,
        op: Op,
        resources: ManuallyDrop<R>,
        group: Option<Group>,
    ) -> Option<Key> {
        let index = self.free;
        let slot = self.slots.get_mut(position(index))?;
        self.free = slot.next;
        slot.occupy(op, ManuallyDrop::into_inner(resources), 0, 0);
        slot.stage();
        // A free slot is in no group.
        if let Some(group) = group
            && let Some(number) = self.groups.enter(group)
        {
            slot.group = number;
        }
        self.used += 1;
        if !planted!(AtOnceNotCounted) {
            self.in_flight += 1;
        }
        self.at_once += 1;
        Some(slot.key(index))
    }

    /// [`Table::join`] for an operation that was inserted just now: it is not done, has its owner
    /// and is in no group. None of this is looked at.
    #[inline(always)]
    pub fn join_new(&mut self, group: Group, key: Key) {
        if let Some(slot) = self.slots.get_mut(position(key.index())) {
            slot.group = self.groups.enter(group).unwrap_or(NONE);
        }
    }

    /// [`Table::poll`] for an operation that is known to be new: it is not done, has its owner and
    /// has not been polled. None of this is looked at, and a waker it had would be dropped here. It
    /// counts as inserted now.
    #[inline(always)]
    pub fn attach(&mut self, key: Key, waker: Waker) {
        if let Some(slot) = self.slots.get_mut(position(key.index())) {
            slot.waker = Some(waker);
            slot.since = self.now;
        }
    }

    /// As [`Table::take`], without the operation, which an owner knows and need not copy. The
    /// caller drops the resources, or what it makes of them.
    #[inline(always)]
    pub fn take_result(&mut self, key: Key) -> Option<(ManuallyDrop<R>, Completion)> {
        if !self.is_done(key) {
            return None;
        }
        let slot = self.vacate(key.index())?;
        let completion = slot.completion();
        slot.carry_out().map(|resources| (ManuallyDrop::new(resources), completion))
    }

    /// [`Table::take_result`] of an operation that has succeeded, with its result and its flags. `None` for one that has
    /// failed, or whose request to cancel has not been answered: it stays where it is, and what it needs besides is done on
    /// the longer way only.
    #[inline(always)]
    pub fn take_success(&mut self, key: Key) -> Option<(ManuallyDrop<R>, u32, u32)> {
        let slot = self.find(key)?;
        let Completion { res, flags } = slot.completion();
        // One by one, and each a way out: an answer that is put together is looked at once more. Where a request to cancel
        // is still out there is more to do than to free the slot.
        if slot.state() != State::Done || res < 0 || slot.has(CANCEL_IN_FLIGHT) {
            return None;
        }
        let resources = self.vacate(key.index())?.carry_out()?;
        Some((ManuallyDrop::new(resources), res.cast_unsigned(), flags))
    }

    /// What the operation was that has been taken, as long as no other one has moved into its slot. For the error path:
    /// [`Table::take_result`] copies nothing that an owner seldom needs.
    #[must_use]
    pub fn left(&self, key: Key) -> Option<Op> {
        let slot = self.slots.get(position(key.index()))?;
        slot.was_last(key).then(|| *slot.op())
    }

    /// Moves everything out of a slot that the kernel does not use, and frees it.
    #[inline]
    pub(crate) fn release(&mut self, index: u32) -> Option<(Op, R, Completion)> {
        let slot = self.vacate(index)?;
        let (op, completion) = (*slot.op(), slot.completion());
        slot.carry_out().map(|resources| (op, resources, completion))
    }

    /// The only exit: a slot that the kernel does not use, free from now on, whose resources are
    /// to be carried out at once.
    #[inline(always)]
    fn vacate(&mut self, index: u32) -> Option<&mut Slot<R>> {
        let slot = self.slots.get_mut(position(index))?;
        if !slot.vacate() {
            return None;
        }
        if slot.state() == State::Free {
            slot.next = self.free;
            self.free = index;
            self.used -= 1;
        }
        Some(slot)
    }

    /// Frees a slot whose request to cancel was the last thing awaited.
    pub(crate) fn drained(&mut self, index: u32) {
        let Some(slot) = self.slots.get_mut(position(index)) else { return };
        slot.drained();
        slot.next = self.free;
        self.free = index;
        self.used -= 1;
    }

    /// A new group without members, which counts as done.
    pub fn group(&mut self) -> Group {
        self.groups.create()
    }

    /// Makes an operation a member, until it is done or loses its owner. One that is done already
    /// does not count. It leaves the group it was in.
    pub fn join(&mut self, group: Group, key: Key) {
        let Some(slot) = self.find_mut(key) else { return };
        let waiting = !matches!(slot.state(), State::Done | State::Free | State::Draining);
        if !waiting || slot.has(ORPHAN) {
            return;
        }
        let old = slot.group;
        let new = self.groups.enter(group).unwrap_or(NONE);
        if let Some(slot) = self.find_mut(key) {
            slot.group = new;
        }
        if let Some(waker) = self.groups.leave(old) {
            self.ready.push_back(Outcome::Wake(Some(waker)));
        }
    }

    /// Whether all members are done; if not, stores the waker for the last of them. A group that
    /// does not exist is done.
    pub fn poll_group(&mut self, group: Group, waker: &Waker) -> bool {
        let (done, old) = self.groups.poll(group, waker, self.now);
        if let Some(old) = old {
            self.ready.push_back(Outcome::Retired(old));
        }
        done
    }

    /// Ends a group. Its members go on, each for itself.
    pub fn drop_group(&mut self, group: Group) {
        if let Some(waker) = self.groups.disown(group) {
            self.ready.push_back(Outcome::Retired(waker));
        }
    }

    /// Counts one submission of the driver's own ([`Tag::Timer`], [`Tag::Wake`]) as in flight,
    /// until [`Table::complete`] sees a final completion with such a tag.
    pub fn expect_internal(&mut self) {
        self.internal += 1;
        self.in_flight += 1;
    }

    /// Takes one [`Table::expect_internal`] back: its completion will not come.
    pub fn internal_done(&mut self) {
        if self.internal > 0 {
            self.internal -= 1;
            self.in_flight -= 1;
        }
    }
}

impl<R> Table<R> {
    /// Forgets all resources, those included that the kernel does not use. For a forked child,
    /// whose table is a copy of one that still belongs to the parent.
    pub fn abandon(&mut self) {
        for slot in &mut self.slots {
            slot.forget();
        }
        self.ready.drain(..).for_each(core::mem::forget);
    }
}

impl<R> Drop for Table<R> {
    /// Forgets what the kernel may still use, and drops the rest.
    fn drop(&mut self) {
        for slot in &mut self.slots {
            slot.abandon();
        }
    }
}

impl<R> fmt::Debug for Table<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("len", &self.used)
            .field("queued", &self.queue.len())
            .field("in_flight", &self.in_flight)
            .field("orphans", &self.orphans)
            .field("limits", &self.limits)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
