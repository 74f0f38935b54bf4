//! Completions: from a word of the kernel to what is to be done.

use core::task::Waker;

use crate::intent::NONE;
use crate::key::{decode, halves, position};
use crate::op::Op;
use crate::outcome::{EAGAIN, ECANCELED, EINTR, ENOENT, ETIME, F_MORE, F_NOTIF, RESTARTS};
use crate::slot::{
    CANCEL_IN_FLIGHT, CANCEL_QUEUED, CANCEL_WANTED, MORE_SEEN, NO_POLL, ORPHAN, Slot, State,
};
use crate::table::Table;
use crate::{Completion, Outcome, Tag};

/// What to do with an operation that comes back from the kernel.
enum Verdict {
    Finish(Completion),
    Requeue { as_poll: bool },
}

impl<R> Table<R> {
    /// Takes one completion entry: its `user_data`, `res` and `flags`.
    #[inline(always)]
    pub fn complete(&mut self, user_data: u64, res: i32, flags: u32) -> Outcome<R> {
        match self.complete_plain(user_data, res, flags) {
            Some(waker) => Outcome::Wake(waker),
            None => self.complete_other(user_data, res, flags),
        }
    }

    /// The common case of [`Table::complete`]: a success, the only completion of an operation with
    /// an owner, whose cancellation nobody has asked. Gives what [`Outcome::Wake`] carries; `None`
    /// when it is another case, for [`Table::complete_other`], and then nothing was done.
    #[inline(always)]
    pub fn complete_plain(
        &mut self,
        user_data: u64,
        res: i32,
        flags: u32,
    ) -> Option<Option<Waker>> {
        let (index, stamp) = halves(user_data);
        let slot = self.slots.get_mut(position(index))?;
        let plain = slot.stamp == stamp
            && slot.is_plain_in_flight()
            && res >= 0
            && flags & (F_MORE | F_NOTIF) == 0
            && !planted!(WakerDropped);
        if !plain {
            return None;
        }
        let group = slot.group;
        // Each way counts for itself: the question which it is would be asked twice.
        if group == NONE {
            slot.finish(Completion { res, flags });
            self.in_flight -= 1;
            self.stats.completed += 1;
            // Taking nothing would write it all the same.
            return Some(if slot.waker.is_none() { None } else { slot.waker.take() });
        }
        if slot.waker.is_some() {
            return None;
        }
        slot.finish(Completion { res, flags });
        slot.group = NONE;
        self.in_flight -= 1;
        self.stats.completed += 1;
        Some(self.groups.leave(group))
    }

    /// Any case of [`Table::complete`], the common one as well.
    #[inline(never)]
    pub fn complete_other(&mut self, user_data: u64, res: i32, flags: u32) -> Outcome<R> {
        let Some((tag, key)) = decode(user_data) else { return self.stray() };
        match tag {
            Tag::Operation => {}
            Tag::Cancel => return self.complete_cancel(key.index(), key.stamp(), res),
            Tag::Timer | Tag::Wake => {
                if flags & F_MORE == 0 {
                    self.internal_done();
                }
                return Outcome::Internal { tag, key };
            }
        }
        let index = key.index();
        let Some(slot) = self.slots.get_mut(position(index)) else { return self.stray() };
        let known = slot.stamp == key.stamp() || planted!(GenerationIgnored);
        let awaited =
            slot.in_kernel() || (planted!(DuplicateAccepted) && slot.state() == State::Done);
        if !known || !awaited {
            return self.stray();
        }
        if flags & F_MORE != 0 && !planted!(FinalOnMore) {
            return self.complete_more(index, Completion { res, flags });
        }
        self.complete_final(index, res, flags)
    }

    #[cold]
    fn stray(&mut self) -> Outcome<R> {
        self.stats.stale += 1;
        Outcome::Ignored
    }

    fn complete_more(&mut self, index: u32, completion: Completion) -> Outcome<R> {
        let Some(slot) = self.slots.get_mut(position(index)) else { return self.stray() };
        if slot.state() == State::Polling {
            // The poll that goes first is asked for once; only its last completion counts.
            return self.stray();
        }
        slot.note(completion);
        let key = slot.key(index);
        if slot.has(CANCEL_WANTED) {
            // It goes on although it was to end: a request that met it between two completions
            // found nothing.
            self.request_cancel(index);
        }
        if planted!(MoreCounted) {
            self.in_flight -= 1;
        }
        Outcome::More { key, completion }
    }

    fn complete_final(&mut self, index: u32, res: i32, flags: u32) -> Outcome<R> {
        self.in_flight -= 1;
        let Some(slot) = self.slots.get_mut(position(index)) else { return self.stray() };
        let verdict = judge(slot, res, flags);
        if slot.has(CANCEL_QUEUED) {
            // The request has lost its target before it was made.
            slot.bits &= !CANCEL_QUEUED;
            self.cancels.remove(&mut self.slots, index);
        }
        match verdict {
            Verdict::Finish(completion) => self.end_member(index, completion),
            Verdict::Requeue { as_poll } => {
                if !self.hold(index, Completion { res, flags }, as_poll) {
                    self.requeue(index, as_poll);
                }
                Outcome::Requeued
            }
        }
    }

    fn complete_cancel(&mut self, index: u32, stamp: u32, res: i32) -> Outcome<R> {
        let Some(slot) = self.slots.get_mut(position(index)) else { return self.stray() };
        if slot.stamp != stamp || !slot.has(CANCEL_IN_FLIGHT) {
            return self.stray();
        }
        slot.bits &= !CANCEL_IN_FLIGHT;
        if !planted!(CancelNotCounted) {
            self.in_flight -= 1;
        }
        self.cancels_in_flight -= 1;
        if slot.state() == State::Draining {
            self.drained(index);
        } else if res == ENOENT && slot.asks_again() {
            self.request_cancel(index);
        }
        Outcome::CancelDone
    }

    /// Back into the queue, behind all others but not into a chain that is being inserted.
    pub(crate) fn requeue(&mut self, index: u32, as_poll: bool) {
        self.stats.requeued += 1;
        if let Some(slot) = self.slots.get_mut(position(index)) {
            slot.requeue(as_poll);
        }
        match self.open_head {
            NONE => self.queue.push_back(&mut self.slots, index),
            head => self.queue.insert_before(&mut self.slots, head, index),
        }
    }

    /// An operation is over: records the result, and finds who is to be told.
    pub(crate) fn settle(&mut self, index: u32, completion: Completion) -> Outcome<R> {
        let Some(slot) = self.slots.get_mut(position(index)) else { return Outcome::Ignored };
        self.stats.completed += 1;
        if completion.res == ECANCELED {
            self.stats.cancelled += 1;
        } else if slot.has(CANCEL_WANTED) {
            self.stats.cancel_races += 1;
        }
        slot.finish(completion);
        if slot.has(ORPHAN) {
            let key = slot.key(index);
            self.orphans -= 1;
            return match self.release(index) {
                Some((op, resources, completion)) => {
                    Outcome::Release { key, op, resources, completion }
                }
                None => Outcome::Ignored,
            };
        }
        let own = slot.waker.take();
        let group = core::mem::replace(&mut slot.group, NONE);
        let own = if planted!(WakerDropped) { None } else { own };
        match (own, self.groups.leave(group)) {
            (Some(own), Some(group)) => {
                self.ready.push_back(Outcome::Wake(Some(group)));
                Outcome::Wake(Some(own))
            }
            (own, group) => Outcome::Wake(own.or(group)),
        }
    }
}

/// Whether the final completion of what is in `slot` ends it.
fn judge<R>(slot: &mut Slot<R>, res: i32, flags: u32) -> Verdict {
    let cancel = slot.has(CANCEL_WANTED) && !planted!(CancelLostOnRequeue);
    let cancelled = Verdict::Finish(Completion { res: ECANCELED, flags: 0 });
    // What the kernel says to itself of a call that a signal has interrupted, told by mistake: an open of a FIFO that
    // is cancelled ends so.
    let res = if RESTARTS.contains(&res) && *slot.op() != Op::Raw { EINTR } else { res };
    if slot.state() == State::Polling && !planted!(PollTakenForResult) {
        if cancel {
            return cancelled;
        }
        let paused = res == ETIME && slot.pause().is_some();
        if res < 0 && res != ECANCELED && !paused {
            // It cannot be polled. The operation itself will say what is wrong, and is not
            // polled for again: the two could go on for ever.
            slot.bits |= NO_POLL;
        }
        return Verdict::Requeue { as_poll: false };
    }
    let chained = slot.is_loose() && !planted!(ChainRequeued);
    let again = match res {
        // A connect is not tried again. Where its cancellation was asked, that is what has interrupted it.
        EINTR => slot.op().restarts() || (cancel && matches!(slot.op(), Op::Connect { .. })),
        EAGAIN => slot.op().poll_events().is_some() && !slot.has(NO_POLL),
        // Nobody asked for it: the thread that submitted it has ended, and the kernel gives up what
        // that thread was to work on. Nothing was done, or its count would be the result. A file may
        // answer so as well, and is believed in the end.
        ECANCELED => slot.op().restarts() && !cancel,
        _ => false,
    };
    if again && !chained && !slot.has(MORE_SEEN) && !planted!(InterruptionDelivered) {
        let as_poll = res == EAGAIN;
        if cancel {
            return cancelled;
        }
        if slot.comes_back(as_poll) {
            return Verdict::Requeue { as_poll };
        }
    }
    let noted =
        flags & F_NOTIF != 0 && slot.has(MORE_SEEN) && !planted!(NotificationTakenForResult);
    let res = if noted { slot.completion().res } else { res };
    Verdict::Finish(Completion { res, flags })
}
