//! The states of a slot, and the only code that changes one.
//!
//! Each change is a method here, and each ends in [`Slot::go`], which knows the legal ones. The
//! graph that the tests observe is kept in `tests/transitions.dot`.

use core::mem;
use core::task::Waker;

use crate::intent::NONE;
use crate::key::{FIRST_STAMP, NEXT_GENERATION};
use crate::outcome::PAUSE;
use crate::{Completion, Key, Op};

/// What a slot is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(crate) enum State {
    /// In the list of free slots.
    Free,
    /// In the queue, to be staged.
    Queued,
    /// In the queue, to be staged as a poll, or as a pause.
    QueuedPoll,
    /// The kernel has the operation.
    InFlight,
    /// The kernel has the poll or the pause that goes before the operation.
    Polling,
    /// A timer, in the heap of deadlines.
    Armed,
    /// A member of a chain that the kernel has given back undone, until all behind it are back; or one that is not to go
    /// there before the one in front has succeeded.
    Held,
    /// The result is here and has not been taken.
    Done,
    /// The resources have left; the request to cancel has not been answered yet.
    Draining,
}

/// The owner is gone.
pub(crate) const ORPHAN: u8 = 1 << 0;
/// A cancellation was asked; it holds until the operation ends.
pub(crate) const CANCEL_WANTED: u8 = 1 << 1;
/// The request to cancel is in the queue of cancels.
pub(crate) const CANCEL_QUEUED: u8 = 1 << 2;
/// The kernel has the request to cancel.
pub(crate) const CANCEL_IN_FLIGHT: u8 = 1 << 3;
/// Member of a chain.
pub(crate) const LINKED: u8 = 1 << 4;
/// A completion with `F_MORE` was seen: the operation has had an effect.
pub(crate) const MORE_SEEN: u8 = 1 << 5;
/// Polling its descriptor failed: `-EAGAIN` is the answer from now on.
pub(crate) const NO_POLL: u8 = 1 << 6;
/// Of a member of a chain: it has left that, or the chain has ended. Nothing of it is tried again.
pub(crate) const LOOSE: u8 = 1 << 7;
/// The same bit, of an operation that stands alone: it has come back from the kernel undone; its word counts how often.
const CAME_BACK: u8 = LOOSE;

/// How often in a row an operation is tried again of which the kernel says that nothing was done. A signal or a thread that
/// has ended is over soon; a file can answer the same for ever, and then it is the answer.
pub(crate) const MOST_TRIES: i32 = if cfg!(test) { 2 } else { 128 };
/// How often a descriptor may say that it is ready and then not be, as where several wait for the same, before there are
/// pauses: one after every second time from then on.
const MOST_READY: i32 = if cfg!(test) { 1 } else { 8 };
/// Pauses grow up to 2^5 ms.
const LONGEST_PAUSE: u32 = 5;
/// Where the word counts false readiness; interruptions are below.
const READY_SHIFT: u32 = 16;

/// Where an operation is, for reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Waiting for room, or as a member of a chain for others of it.
    Queued,
    /// In the kernel.
    InFlight,
    /// In the kernel as a poll: the descriptor was not ready.
    Polling,
    /// A timer that runs.
    Armed,
    /// Completed and not yet taken.
    Done,
}

/// The state of one operation, for reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StateView {
    /// Where it is.
    pub phase: Phase,
    /// Its owner is gone.
    pub orphaned: bool,
    /// Its cancellation was asked.
    pub cancelling: bool,
    /// It is a member of a chain.
    pub linked: bool,
    /// When it was started, on the clock of [`Table::set_now`](crate::Table::set_now).
    pub since: u32,
}

#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Slot<R> {
    /// Generation and tag of the present use.
    pub(crate) stamp: u32,
    state: State,
    pub(crate) bits: u8,
    /// Members of the chain after this one.
    pub(crate) following: u16,
    /// Next in the one list the slot is in: free slots, queue, or cancels.
    pub(crate) next: u32,
    /// Previous in that list; for a timer its place in the heap.
    pub(crate) prev: u32,
    /// Number of its group, or `NONE`.
    pub(crate) group: u32,
    /// When it was started, where no group knows.
    pub(crate) since: u32,
    completion: Completion,
    pub(crate) waker: Option<Waker>,
    op: Op,
    resources: Option<R>,
}

impl<R> Slot<R> {
    pub(crate) const fn empty() -> Self {
        Slot {
            stamp: FIRST_STAMP,
            state: State::Free,
            bits: 0,
            following: 0,
            next: NONE,
            prev: NONE,
            group: NONE,
            since: 0,
            completion: Completion { res: 0, flags: 0 },
            waker: None,
            op: Op::Nop,
            resources: None,
        }
    }

    #[inline]
    pub(crate) fn state(&self) -> State {
        self.state
    }

    #[inline]
    pub(crate) fn has(&self, bit: u8) -> bool {
        self.bits & bit != 0
    }

    /// A member of a chain that has left it, or whose chain has ended.
    #[inline]
    pub(crate) fn is_loose(&self) -> bool {
        self.bits & (LINKED | LOOSE) == LINKED | LOOSE
    }

    #[inline]
    pub(crate) fn op(&self) -> &Op {
        &self.op
    }

    #[inline]
    pub(crate) fn resources(&self) -> Option<&R> {
        self.resources.as_ref()
    }

    #[inline]
    pub(crate) fn completion(&self) -> Completion {
        self.completion
    }

    #[inline]
    pub(crate) fn key(&self, index: u32) -> Key {
        Key::from_stamp(index, self.stamp)
    }

    /// Whether the kernel may use the resources.
    #[inline]
    pub(crate) fn in_kernel(&self) -> bool {
        matches!(self.state, State::InFlight | State::Polling)
    }

    #[inline]
    pub(crate) fn in_queue(&self) -> bool {
        matches!(self.state, State::Queued | State::QueuedPoll)
    }

    /// For [`Slot::asks_again`].
    pub(crate) fn count_from_zero(&mut self) {
        if !self.has(MORE_SEEN) {
            self.completion.flags = 0;
        }
    }

    /// Whether to ask once more, after a request to cancel has found nothing although the kernel has the operation. One
    /// that waits for a peer can be on its way from one place to another there, and in neither: then it goes on to
    /// wait, and nobody is left who would end it. What waits for a disk is in no place at all, and ends by itself.
    ///
    /// Such an operation has one completion, so that until then its word is free to count in.
    pub(crate) fn asks_again(&mut self) -> bool {
        let alone = !self.has(LINKED | MORE_SEEN) && self.in_kernel();
        let again = alone && self.completion.flags < self.op.may_be_missed();
        if again {
            self.completion.flags += 1;
        }
        again
    }

    /// Whether to try once more, after the kernel has done nothing: it was interrupted, or (`not_ready`) what it works on was not
    /// ready. That may go on for as long as the peer likes.
    ///
    /// Such an operation has no completion yet, so that its word is free to count in.
    pub(crate) fn comes_back(&mut self, not_ready: bool) -> bool {
        if self.has(LINKED) {
            // Its chain counts.
            return true;
        }
        if !self.has(CAME_BACK) {
            self.bits |= CAME_BACK;
            self.completion.res = 0;
        }
        let word = &mut self.completion.res;
        let (ready, tries) = (*word >> READY_SHIFT, *word & 0xffff);
        if not_ready {
            // From the end of the count it goes on in the same steps.
            let next = if ready < 0x7ffe { ready + 1 } else { 0x7ffd };
            *word = next << READY_SHIFT;
            return true;
        }
        *word = (ready << READY_SHIFT) | (tries + 1).min(0xffff);
        tries < MOST_TRIES
    }

    /// The next interruption is its result.
    pub(crate) fn comes_back_no_more(&mut self) {
        self.comes_back(false);
        if !self.has(LINKED) {
            self.completion.res |= 0xffff;
        }
    }

    /// The milliseconds of the pause that goes first, where it is to be a pause.
    pub(crate) fn pause(&self) -> Option<u32> {
        let counts = self.has(CAME_BACK) && !self.has(LINKED);
        let over = if counts { self.completion.res >> READY_SHIFT } else { 0 };
        let over = u32::try_from(over - MOST_READY).unwrap_or(0);
        (over % 2 == 1).then(|| 1 << (over / 2).min(LONGEST_PAUSE))
    }

    /// In flight, and nothing but its completion is to be considered.
    #[inline(always)]
    pub(crate) fn is_plain_in_flight(&self) -> bool {
        self.state == State::InFlight && self.bits & !CAME_BACK == 0
    }

    pub(crate) fn view(&self, since: u32) -> Option<StateView> {
        let phase = match self.state {
            State::Free | State::Draining => return None,
            State::Queued | State::QueuedPoll | State::Held => Phase::Queued,
            State::InFlight => Phase::InFlight,
            State::Polling => Phase::Polling,
            State::Armed => Phase::Armed,
            State::Done => Phase::Done,
        };
        let (orphaned, cancelling) = (self.has(ORPHAN), self.has(CANCEL_WANTED));
        let linked = self.has(LINKED);
        Some(StateView { phase, orphaned, cancelling, linked, since })
    }

    /// An operation moves in, to be staged.
    #[inline(always)]
    pub(crate) fn occupy(&mut self, op: Op, resources: R, bits: u8, following: u16) {
        self.fill(op, resources, bits, following);
        self.go(State::Queued);
    }

    /// A timer moves in.
    pub(crate) fn arm(&mut self, op: Op, resources: R) {
        self.fill(op, resources, 0, 0);
        self.go(State::Armed);
    }

    #[inline(always)]
    fn fill(&mut self, op: Op, resources: R, bits: u8, following: u16) {
        self.op = op;
        // A free slot holds nothing. Saying so with `forget` spares the drop of the old value,
        // and were it ever untrue, the mistake would leak rather than free.
        mem::forget(self.resources.replace(resources));
        // Last, as the state after it: neighbours, which are written as one word where nothing comes between.
        self.bits = bits;
        self.following = following;
    }

    /// To the kernel; the events to wait for where a poll goes first, or a pause.
    #[inline(always)]
    pub(crate) fn stage(&mut self) -> Option<u32> {
        if self.state == State::Queued {
            self.go(State::InFlight);
            return None;
        }
        self.go(State::Polling);
        match self.pause() {
            Some(milliseconds) => Some(PAUSE | milliseconds),
            None => self.op.poll_events(),
        }
    }

    /// Back from the kernel, which has done nothing.
    pub(crate) fn requeue(&mut self, as_poll: bool) {
        self.go(if as_poll { State::QueuedPoll } else { State::Queued });
    }

    /// Back from the kernel, which has done nothing, or out of the queue, until its chain goes on.
    pub(crate) fn hold(&mut self, completion: Completion) {
        self.go(State::Held);
        self.completion = completion;
    }

    /// One result of several.
    pub(crate) fn note(&mut self, completion: Completion) {
        self.completion = completion;
        self.bits |= MORE_SEEN;
    }

    /// The result is final.
    #[inline(always)]
    pub(crate) fn finish(&mut self, completion: Completion) {
        self.go(State::Done);
        self.completion = completion;
    }

    /// Free from now on, or as soon as the request to cancel has been answered; what it held is
    /// for [`Slot::carry_out`]. Refused while the kernel may use it.
    #[inline(always)]
    pub(crate) fn vacate(&mut self) -> bool {
        let held =
            matches!(self.state, State::InFlight | State::Polling | State::Free | State::Draining);
        if held {
            return false;
        }
        if self.has(CANCEL_IN_FLIGHT) && !planted!(CancelOutlivesSlot) {
            self.go(State::Draining);
        } else {
            self.go(State::Free);
            self.retire_stamp();
        }
        true
    }

    /// Whether it is free, and this operation was the last one in it.
    pub(crate) fn was_last(&self, key: Key) -> bool {
        let retired = key.stamp().wrapping_add(NEXT_GENERATION);
        self.state == State::Free && self.stamp == retired
    }

    /// The resources move out: the only way for them to leave. Last of all, so that they are
    /// copied once, from the slot to the caller.
    #[inline(always)]
    pub(crate) fn carry_out(&mut self) -> Option<R> {
        if self.in_kernel() { None } else { self.resources.take() }
    }

    /// The request to cancel has been answered and nothing else is awaited.
    pub(crate) fn drained(&mut self) {
        self.go(State::Free);
        self.retire_stamp();
    }

    #[inline]
    fn retire_stamp(&mut self) {
        if !planted!(GenerationKept) {
            self.stamp = self.stamp.wrapping_add(NEXT_GENERATION);
        }
    }

    /// The table is dropped: what the kernel may still use is forgotten, never freed.
    pub(crate) fn abandon(&mut self) {
        if self.in_kernel() && !planted!(DropFrees) {
            self.forget();
        }
    }

    /// Whatever it holds is forgotten.
    pub(crate) fn forget(&mut self) {
        mem::forget(self.resources.take());
    }

    /// What a planted mistake does that gives the resources away too early.
    #[cfg(test)]
    pub(crate) fn rob(&mut self) {
        drop(self.resources.take());
    }

    #[inline(always)]
    fn go(&mut self, to: State) {
        #[cfg(test)]
        crate::tests::graph::observe(self.state, to);
        debug_assert!(legal(self.state, to), "{:?} does not become {to:?}", self.state);
        self.state = to;
    }
}

/// The edges of the state graph.
const fn legal(from: State, to: State) -> bool {
    use State::{Armed, Done, Draining, Free, Held, InFlight, Polling, Queued, QueuedPoll};
    matches!(
        (from, to),
        (Free, Queued | Armed)
            | (Queued, InFlight | Held | Done | Free)
            | (QueuedPoll, Polling | Done | Free)
            | (InFlight, Done | Held | Queued | QueuedPoll)
            | (Polling, Done | Held | Queued)
            | (Held, Done | Free | Queued | QueuedPoll)
            | (Armed, Done | Free)
            | (Done, Free | Draining)
            | (Draining, Free)
    )
}
