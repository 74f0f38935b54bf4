//! Endings that do not come from the kernel: owners that leave, cancellation, deadlines.

use crate::intent::NONE;
use crate::key::position;
use crate::outcome::{ECANCELED, ETIME};
use crate::slot::{CANCEL_IN_FLIGHT, CANCEL_QUEUED, CANCEL_WANTED, LINKED, ORPHAN, State};
use crate::table::Table;
use crate::{Completion, Key, OnDrop, Orphaned, Outcome};

const CANCELLED: Completion = Completion { res: ECANCELED, flags: 0 };

impl<R> Table<R> {
    /// The owner of an operation is gone: its future was dropped.
    ///
    /// [`Op::on_drop`](crate::Op::on_drop) decides. What is to finish runs to its end, whether the
    /// kernel has it or it waits in the queue: how far it had come when its owner left is not to
    /// make a difference to a file. The others come back from the queue, as a timer does. Where the
    /// kernel has it, or has the front of its chain, what is to be cancelled is cancelled by
    /// request, and what is to be kept stays as it is, unless it is a member of a chain, which is
    /// cancelled. A member that leaves a queued chain ends those after it with `-ECANCELED`. A
    /// result nobody has taken comes back.
    pub fn orphan(&mut self, key: Key) -> Orphaned<R> {
        let index = key.index();
        let Some(slot) = self.find_mut(key) else { return Orphaned::Unknown };
        if slot.has(ORPHAN) {
            return Orphaned::Unknown;
        }
        let state = slot.state();
        let on_drop = match slot.op().on_drop() {
            // A chain goes on only when it has ended, and nobody would know what that waits for.
            OnDrop::Keep if slot.has(LINKED) => OnDrop::Cancel,
            on_drop => on_drop,
        };
        let finishes = on_drop == OnDrop::Finish && !planted!(TakenBackFromQueue);
        self.leave(index);
        let goes_on = match state {
            State::Free | State::Draining => return Orphaned::Unknown,
            State::Done => {
                return match self.release(index) {
                    Some((op, resources, completion)) => {
                        Orphaned::Finished(op, resources, completion)
                    }
                    None => Orphaned::Unknown,
                };
            }
            State::Armed => false,
            State::Held => finishes,
            State::Queued | State::QueuedPoll => finishes || self.in_staged_chain(index),
            State::InFlight | State::Polling => true,
        };
        if !goes_on {
            self.withdraw(index);
            return match self.release(index) {
                Some((_, resources, _)) => Orphaned::NotSubmitted(resources),
                None => Orphaned::Unknown,
            };
        }
        self.adopt(index, on_drop)
    }

    /// Keeps an operation that has lost its owner.
    fn adopt(&mut self, index: u32, on_drop: OnDrop) -> Orphaned<R> {
        self.orphans += 1;
        self.stats.orphaned += 1;
        if let Some(slot) = self.slots.get_mut(position(index)) {
            #[cfg(test)]
            if planted!(FreedOnOrphan) {
                slot.rob();
            }
            slot.bits |= ORPHAN;
        }
        if on_drop == OnDrop::Cancel || (on_drop == OnDrop::Keep && planted!(KeptIsCancelled)) {
            self.request_cancel(index);
        }
        let slot = self.slots.get(position(index));
        Orphaned::Running { cancelled: slot.is_some_and(|slot| slot.has(CANCEL_WANTED)) }
    }

    /// Asks for the cancellation of an operation whose owner stays. Its end is announced like any
    /// other: by a completion, or by [`Table::expire`] for what the kernel does not have, which is
    /// done at once with `-ECANCELED`. `false` when nothing is left to cancel.
    pub fn cancel(&mut self, key: Key) -> bool {
        let index = key.index();
        let Some(slot) = self.find_mut(key) else { return false };
        match slot.state() {
            State::Free | State::Draining | State::Done => return false,
            State::InFlight | State::Polling => self.request_cancel(index),
            State::Queued | State::QueuedPoll if self.in_staged_chain(index) => {
                self.request_cancel(index);
            }
            State::Queued | State::QueuedPoll | State::Held | State::Armed => {
                self.stats.cancel_requested += 1;
                self.withdraw(index);
                let outcome = self.settle(index, CANCELLED);
                self.announce(outcome);
            }
        }
        true
    }

    /// The next completion of the operation is its result, though it says that nothing was done: a file
    /// has said so, and says it once.
    pub fn believe(&mut self, key: Key) {
        if let Some(slot) = self.find_mut(key)
            && slot.in_kernel()
        {
            slot.comes_back_no_more();
        }
    }

    /// Asks for the cancellation of everything, once more for what an earlier request has not
    /// ended; timers and queued operations end at once. Gives the number of requests to cancel
    /// that wait to be staged.
    pub fn cancel_all(&mut self) -> u32 {
        let mut index = 0;
        while let Some(slot) = self.slots.get(position(index)) {
            self.cancel(slot.key(index));
            index += 1;
        }
        self.cancels.len()
    }

    /// Marks an operation as to be cancelled, and queues the request if the kernel has it, may be
    /// asked to give it up, and none is under way.
    pub(crate) fn request_cancel(&mut self, index: u32) {
        let Some(slot) = self.slots.get_mut(position(index)) else { return };
        #[cfg(test)]
        if planted!(FreedOnCancel) {
            slot.rob();
        }
        if !slot.has(CANCEL_WANTED) {
            slot.bits |= CANCEL_WANTED;
            slot.count_from_zero();
            self.stats.cancel_requested += 1;
        }
        let under_way = slot.has(CANCEL_QUEUED | CANCEL_IN_FLIGHT);
        let lost = planted!(CancelLost) && self.in_flight >= self.operation_limit;
        if slot.in_kernel() && slot.op().can_be_recalled() && !under_way && !lost {
            slot.bits |= CANCEL_QUEUED;
            self.cancels.push_back(&mut self.slots, index);
        }
    }

    /// Takes what the kernel does not have out of the queue or the heap. The rest of a chain ends.
    fn withdraw(&mut self, index: u32) {
        self.unlink(index);
        let Some(slot) = self.slots.get(position(index)) else { return };
        if slot.state() == State::Armed {
            if !planted!(TimerLeftArmed) {
                self.deadlines.disarm(&mut self.slots, index);
            }
        } else if slot.in_queue() {
            if slot.has(LINKED) {
                self.cut_chain(index);
            }
            if !planted!(LeftInQueue) {
                self.queue.remove(&mut self.slots, index);
            }
        }
    }

    /// Ends a queued chain before the member `index`: those in front make up a shorter chain,
    /// those behind end with `-ECANCELED`, as in the kernel when a member fails.
    fn cut_chain(&mut self, index: u32) {
        let Some(slot) = self.slots.get(position(index)) else { return };
        let (following, mut at) = (slot.following, slot.prev);
        let mut head = index;
        let mut expected = following;
        while head != self.queue.head()
            && let Some(before) = self.slots.get_mut(position(at))
            && before.has(LINKED)
            && before.following > 0
            && before.following - 1 == expected
        {
            expected = before.following;
            before.following -= following + 1;
            head = at;
            at = before.prev;
        }
        if self.open_head == head {
            self.open_head = NONE;
            self.open_left = 0;
        }
        for left in (0..following).rev() {
            let Some(slot) = self.slots.get(position(index)) else { return };
            let next = slot.next;
            let member = self.slots.get(position(next));
            if !member.is_some_and(|slot| slot.has(LINKED) && slot.following == left) {
                return;
            }
            self.queue.remove(&mut self.slots, next);
            let outcome = self.settle(next, CANCELLED);
            self.announce(outcome);
        }
    }

    /// Whether a queued operation belongs to the chain that is being staged: the kernel has its
    /// predecessor, which expects it.
    fn in_staged_chain(&self, index: u32) -> bool {
        let mut at = self.queue.head();
        for _ in 0..self.chain_left {
            if at == index {
                return true;
            }
            at = self.slots.get(position(at)).map_or(NONE, |slot| slot.next);
        }
        false
    }

    /// Nobody waits for the operation any more: its waker is handed back, its group goes on
    /// without it.
    fn leave(&mut self, index: u32) {
        let Some(slot) = self.slots.get_mut(position(index)) else { return };
        let group = core::mem::replace(&mut slot.group, NONE);
        if let Some(waker) = slot.waker.take() {
            self.ready.push_back(Outcome::Retired(waker));
        }
        if let Some(waker) = self.groups.leave(group) {
            self.ready.push_back(Outcome::Wake(Some(waker)));
        }
    }

    pub(crate) fn announce(&mut self, outcome: Outcome<R>) {
        if !matches!(outcome, Outcome::Wake(None)) {
            self.ready.push_back(outcome);
        }
    }

    /// When [`Table::expire`] is to be called next, on the clock of the deadlines; 0 when it has
    /// something to hand out already.
    #[inline]
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        if self.ready.is_empty() { self.deadlines.next() } else { Some(0) }
    }

    /// What came about without the kernel: operations that were cancelled before it had them,
    /// wakers that are no longer needed, timers that are due at `now_ns`. To be called, until
    /// `None`, in each turn of the driver.
    pub fn expire(&mut self, now_ns: u64) -> Option<Outcome<R>> {
        if let Some(outcome) = self.ready.pop_front() {
            return Some(outcome);
        }
        let index = self.deadlines.pop_due(&mut self.slots, now_ns)?;
        Some(self.settle(index, Completion { res: ETIME, flags: 0 }))
    }
}
