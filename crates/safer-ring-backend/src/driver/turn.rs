//! The turn: operations to the kernel, completions from it, and the waits between.
//!
//! # Safety
//! The call of [`Backend::submit`], for an operation that a slot of the table owns; see `submit_owned`. The memory of a close
//! that was taken back from the queue is told so.
//!
//! Tests: ten_thousand_operations_through_eight_entries, a_failed_enter_keeps_the_operation
#![allow(unsafe_code, reason = "the single call of Backend::submit; the memory of a close")]

use std::ptr::NonNull;
use std::task::Waker;
use std::time::Duration;

use safer_ring_core::{Op, Outcome, Staged, Tag, decode};
use safer_ring_sys::{Cqe, Errno};

use super::Driver;
use crate::backend::{Backend, Submission, Submitted, Wait};
use crate::fd::Guard;
use crate::notes::Note;
use crate::payload::hand_over_close;
use crate::request::Resources;
use crate::root;

/// Attempts at an `enter` that the kernel refuses for lack of resources, before the caller is let go.
const ENTER_TRIES: u32 = 16;
/// Operations that are handed over alone between two turns.
const CREDIT: u32 = 16;
/// Turns without credit after an operation that did not end at once.
const DISTRUST: u32 = 256;
/// Rounds of a turn until other threads get theirs.
const PATIENCE: u32 = 64;
/// Pause between attempts where waiting in the ring is impossible.
const HOPELESS_PAUSE: Duration = Duration::from_millis(10);

/// Whether a ring of one thread works on one operation at a time.
///
/// Then waiting with it for others that could share its system call is in vain, and an operation that ends
/// inside the call (a read from the page cache) need not put its task to sleep: it is handed over when it is
/// first polled. A turn that hands over a single operation, with nothing else in the table, gives credit for
/// some more. When the credit is used up, or an operation does not end at once, there is a turn again, which
/// also lets other tasks of the thread run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Alone {
    /// Operations that were put into the backend's queue since it was last handed over.
    pub(super) fresh: u32,
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

impl<K: Guard, B: Backend> Driver<K, B> {
    /// Moves what waits in the table into the backend's queue, as far as there is room. Gives the room in which the rest
    /// does not fit, if there is a rest.
    #[inline]
    pub(crate) fn stage(&mut self) -> u32 {
        let mut room = 0;
        if self.table.has_queued() {
            room = self.stage_queued();
        }
        if !self.immediate.is_empty() {
            self.finish_immediate();
        }
        room
    }

    fn stage_queued(&mut self) -> u32 {
        // Room can only grow behind our back.
        let mut room = self.backend.room();
        loop {
            match self.table.stage(room) {
                None => break,
                Some(Staged::Operation { user_data, op, resources, link, poll_first, .. }) => {
                    let submission = describe(user_data, *op, resources, link, poll_first);
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
        if self.table.has_queued() { room } else { 0 }
    }

    #[inline(never)]
    fn finish_immediate(&mut self) {
        while let Some((user_data, result)) = self.immediate.pop() {
            self.counters.plain_calls += 1;
            self.complete(user_data, result, 0);
            if self.immediate.is_empty() && self.table.has_queued() {
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
            while self.table.next_deadline() == Some(0) {
                self.expire();
                if !self.table.has_queued() {
                    break;
                }
                // What has ended without the kernel let go what waited for it.
                self.hand_over();
            }
            self.notice_drained();
        }
    }

    #[inline]
    fn notice_drained(&mut self) {
        if !self.drainers.is_empty() {
            self.wake_drainers();
        }
    }

    /// Goes on until nothing is left that could be handed over, since nobody else may have a reason to come: what a
    /// completion puts back into the queue goes too, and so does what waits for the room that a polling kernel thread
    /// makes without a word.
    #[inline]
    fn hand_over(&mut self) {
        let mut rounds = 0;
        loop {
            let room = self.stage();
            let pending = self.backend.pending();
            let mut left = 0;
            if pending > 0 {
                self.hush();
                let fresh = self.table.in_flight() <= pending;
                let entered = self.enter(if fresh { Wait::Fresh } else { Wait::No });
                self.reap();
                if entered.is_err() {
                    return;
                }
                left = self.backend.pending();
            }
            if self.table.has_queued() {
                if !self.may_stage_more(room, left, rounds) {
                    return;
                }
                rounds += 1;
            } else if left == 0 || left >= pending {
                // Without progress the rest goes with the next round (a polling kernel thread, a shortage).
                return;
            }
        }
    }

    /// Whether to look again at what waits in the table: it did not fit into so much room (see [`Driver::stage`]), and so
    /// many entries have not been taken since.
    #[cold]
    fn may_stage_more(&mut self, room: u32, left: u32, rounds: u32) -> bool {
        if self.backend.room() > room {
            if rounds % PATIENCE == PATIENCE - 1 {
                // Perhaps a request to cancel, again and again, of what a kernel thread is to take up that gets no processor.
                self.backend.pause(Duration::ZERO);
            }
            return true;
        }
        // Else it is completions that it waits for, or a kernel that takes nothing now.
        let room_comes = left > 0 && self.backend.takes_by_itself();
        if room_comes {
            shortage_pause(&mut self.backend, rounds);
        }
        room_comes
    }

    /// Whether [`Driver::hand_over_if_alone`] would hand over an operation that was submitted now.
    #[inline(always)]
    pub(crate) fn is_alone(&self) -> bool {
        self.alone.credit != 0 && self.alone.fresh == 0
    }

    /// An operation has ended in place of one that [`Driver::is_alone`] was asked for.
    #[inline(always)]
    pub(crate) fn was_alone(&mut self) {
        self.alone.credit = self.alone.credit.saturating_sub(1);
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
        if self.backend.is_wide() {
            self.reap_wide();
        } else if let Some(cqe) = self.backend.pop() {
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
            self.backend.pause(HOPELESS_PAUSE);
            return;
        }
        self.stage();
        if self.table.has_queued() {
            // More than one queue full: it goes before anybody sleeps.
            self.flush();
        }
        let operations = self.table.len();
        self.alone.turn(operations);
        // A bell that was heard on the way here is not watched any more, and a sleep would be deaf.
        let idle = !self.rung && !self.root_woken && !self.dirty && !self.backend.ready();
        let wait = match (idle, self.table.next_deadline(), limit) {
            (false, _, _) => Wait::No,
            (true, None, None) => Wait::One,
            (true, deadline, limit) => bounded_wait(deadline, limit, self.backend.now_ns()),
        };
        if self.enter(wait).is_err() && idle && !self.dirty {
            // What the kernel did not take is queued or has failed; do not spin on a broken ring.
            self.backend.pause(HOPELESS_PAUSE);
        }
        if idle {
            self.touch();
        }
        self.reap();
        self.expire();
        self.notice_drained();
    }

    /// Hands over what waits and takes in what is there, without sleeping.
    pub(crate) fn look(&mut self) {
        if self.is_ours() {
            self.stage();
            self.hush();
            // What was not taken goes with the next round.
            let _ = self.enter(Wait::No);
            self.reap();
            self.expire();
            self.notice_drained();
        }
    }

    /// Takes in what the kernel has posted, and hands over what that has queued. No system call if there is neither.
    pub(crate) fn take_in(&mut self) {
        if self.is_ours() {
            self.backend.gather();
            self.reap();
            self.expire();
            self.flush();
        }
    }

    /// What ends inside of the system call that follows is found by its caller: nobody else needs to hear of it.
    #[inline]
    fn hush(&mut self) {
        if self.loud {
            self.loud = false;
            self.backend.hush();
        }
    }

    /// See [`Driver::take_unheard`].
    #[cold]
    pub(crate) fn set_unheard(&mut self) {
        self.unheard = true;
    }

    /// The same as [`Driver::take_unheard`], which it leaves as it is.
    #[inline(always)]
    pub(crate) fn is_unheard(&self) -> bool {
        self.unheard
    }

    /// Whether somebody else should hear of this ring's completions.
    #[inline(always)]
    pub(crate) fn take_unheard(&mut self) -> bool {
        std::mem::take(&mut self.unheard)
    }

    /// Whether the kernel has anything.
    pub(crate) fn is_busy(&self) -> bool {
        self.table.in_flight() > 0
    }

    /// Completions that have been taken in, as a measure of progress.
    pub(crate) fn taken_in(&self) -> u64 {
        let stats = self.table.stats();
        stats.completed.wrapping_add(stats.stale).wrapping_add(stats.cancel_requested)
    }

    /// Whether completions may come that nobody would hear of.
    #[inline(always)]
    pub(crate) fn must_listen(&self) -> bool {
        !self.loud && self.table.in_flight() > 0
    }

    /// From now on completions are announced; what has come before is taken in. Tells whether anything has.
    pub(crate) fn listen(&mut self) -> bool {
        self.loud = true;
        let came = self.is_ours() && self.backend.listen();
        if came {
            self.take_in();
        }
        came
    }

    /// When the next timer of the table is due, by the clock of the backend.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.table.next_deadline()
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
        let now = self.backend.now_ns();
        if deadline > now {
            return;
        }
        while let Some(outcome) = self.table.expire(now) {
            self.settle(outcome);
        }
        if !self.watches.is_empty() {
            self.end_overdue();
        }
    }

    /// One `enter`.
    #[inline]
    pub(super) fn enter(&mut self, wait: Wait) -> Result<(), Errno> {
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
                Errno::INTR if !matches!(wait, Wait::No | Wait::Fresh) => return Ok(()),
                Errno::INTR => {}
                Errno::TIME => return Ok(()),
                Errno::AGAIN | Errno::BUSY | Errno::NOMEM => {
                    self.counters.enter_refusals += 1;
                    self.aftermath.notes.push(Note::EnterRefused { errno });
                    let queued = self.waiting();
                    self.reap();
                    let requeued = self.waiting() > queued;
                    // Each of these must be seen to before anybody sleeps.
                    if self.dirty || self.root_woken || self.rung || requeued {
                        return Ok(());
                    }
                    if attempt < ENTER_TRIES {
                        shortage_pause(&mut self.backend, attempt);
                    }
                }
                fatal => {
                    self.aftermath.notes.push(Note::EnterFailed { errno: fatal });
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

    /// Operations and requests to cancel that wait to be staged.
    fn waiting(&self) -> u32 {
        self.table.queued() + self.table.cancels_queued()
    }

    /// `enter` will never work again: what the kernel has not seen ends with its error.
    #[cold]
    fn fail_pending(&mut self, errno: Errno) {
        let mut unseen = Vec::new();
        self.backend.retract(&mut |user_data| unseen.push(user_data));
        for user_data in unseen {
            self.take_back_close(user_data);
            self.complete(user_data, -errno.raw_os_error(), 0);
        }
    }

    /// An entry that the kernel has not seen: where it is that of a close, the descriptor is open.
    fn take_back_close(&mut self, user_data: u64) {
        let Some((Tag::Operation, key)) = decode(user_data) else { return };
        if let Some((Op::Close { .. }, resources)) = self.table.get(key) {
            // SAFETY: the memory of a close that is still in the table, and its entry is in no queue any more.
            unsafe { hand_over_close(resources.lease.ptr(), false) };
        }
    }

    /// Takes in all completions that are there.
    pub(crate) fn reap(&mut self) {
        if self.backend.is_wide() {
            return self.reap_wide();
        }
        loop {
            while let Some(cqe) = self.backend.pop() {
                self.complete(cqe.user_data, cqe.res, cqe.flags);
            }
            if !self.backend.refill() {
                return;
            }
        }
    }

    #[inline(always)]
    pub(super) fn complete(&mut self, user_data: u64, result: i32, flags: u32) {
        match self.table.complete_plain(user_data, result, flags) {
            Some(Some(waker)) => self.wake(waker),
            Some(None) => {}
            None => self.complete_other(user_data, result, flags),
        }
    }

    #[inline(never)]
    fn complete_other(&mut self, user_data: u64, result: i32, flags: u32) {
        let cqe = Cqe { user_data, res: result, flags };
        let Some(Cqe { user_data, res, flags }) = self.backend.resume(cqe) else { return };
        if res == -Errno::CANCELED.raw_os_error() {
            self.believe_clock(user_data);
        }
        let outcome = self.table.complete(user_data, res, flags);
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
            Outcome::Release { key, op, resources, completion } => {
                self.bury(Some(key), op, resources, completion);
            }
            Outcome::More { key, completion } => self.go_on(key, completion),
            Outcome::Internal { tag, key } => self.internal(tag, key),
            Outcome::Retired(waker) => {
                self.aftermath.retired.push(waker);
                self.dirty = true;
            }
            Outcome::Requeued | Outcome::CancelDone | Outcome::Ignored => {}
        }
    }
}

#[cold]
fn bounded_wait(deadline: Option<u64>, limit: Option<Duration>, now: u64) -> Wait {
    let left = deadline
        .map(|deadline| Duration::from_nanos(deadline.saturating_sub(now)))
        .unwrap_or(Duration::MAX);
    Wait::For(limit.map_or(left, |limit| limit.min(left)))
}

#[cold]
fn shortage_pause(backend: &mut impl Backend, attempt: u32) {
    backend.pause(if attempt < 4 { Duration::ZERO } else { Duration::from_millis(1) });
}

/// Gives an operation to the backend: one that a slot owns, in the words that [`describe`] made of it.
#[inline(always)]
pub(super) fn submit_owned<B: Backend>(backend: &mut B, submission: &Submission) -> Submitted {
    // SAFETY: `submit` wants room, which both callers have seen, and memory and descriptors that stay until the
    // final completion.
    // - Both are owned by the slot that `user_data` names; the ways out of the table (`take_result` and
    //   `take_success`, and the outcomes of `complete` and `orphan`) give them out only after the final completion
    //   (invariant 3), and staging is one-way (invariant 7).
    // - `Request` pairs each op with memory of the right kind and size.
    // - A table dropped with work in flight leaks it (invariant 6).
    unsafe { backend.submit(submission) }
}

#[inline(always)]
pub(super) fn describe<K: Guard>(
    user_data: u64,
    op: Op,
    resources: &Resources<K>,
    link: bool,
    poll_first: Option<u32>,
) -> Submission {
    let (fd, class) = match &resources.fd {
        Some(fd) => (fd.raw(), Some(NonNull::from(fd.class()))),
        None => (-1, None),
    };
    Submission {
        user_data,
        op,
        fd,
        other: resources.other.as_ref().map_or(-1, Guard::raw),
        ptr: resources.lease.ptr(),
        init: resources.lease.init_len(),
        capacity: resources.lease.capacity(),
        link,
        begun: 0,
        poll_first,
        class,
    }
}
