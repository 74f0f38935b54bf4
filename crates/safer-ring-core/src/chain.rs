//! Chains: members that the kernel starts one after the other, and what becomes of an interrupted one.
//!
//! The kernel ends a chain at its first member that does not succeed in full: those behind it end with `-ECANCELED`. A
//! member that was only interrupted has done nothing, and where it stood alone it would be tried again. In a chain it
//! is held ([`State::Held`]) until the kernel has given back all of those behind it, and then they go into the queue
//! again, in order, as a chain of the rest. Completions come in any order, so one that was cancelled is held as well,
//! until it is known what has ended the chain.
//!
//! Behind some operations a kernel goes on although they have failed (`Op::fails_unseen`). What is behind such a one is
//! held too, from the beginning, and goes into the queue when it has succeeded.
//!
//! The members of a chain that have not ended form a list. One that has succeeded leaves it at the front. One that has
//! failed takes all others out of it: they are [`LOOSE`], and end as the kernel says.

use core::mem;

use crate::intent::NONE;
use crate::key::position;
use crate::limits::CHAIN_TRIES;
use crate::outcome::{EAGAIN, ECANCELED, EINTR, RESTARTS};
use crate::slot::{CANCEL_WANTED, LINKED, LOOSE, MORE_SEEN, State};
use crate::table::Table;
use crate::{Completion, Key, Op, Outcome};

/// The place of a member in its chain; it belongs to the slot of the same index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Link {
    before: u32,
    after: u32,
    /// What it has to move for the chain to go on, where less does not fail it.
    wanted: Option<u32>,
    /// How often the chain has begun again with this member.
    tries: u16,
    /// The one in front has succeeded, and may have ended the chain all the same.
    doubtful: bool,
    /// To be polled for before the chain begins again.
    as_poll: bool,
    /// The kernel has never had it.
    fresh: bool,
}

impl Link {
    const ALONE: Link = Link {
        before: NONE,
        after: NONE,
        wanted: None,
        tries: 0,
        doubtful: false,
        as_poll: false,
        fresh: false,
    };
}

impl<R> Table<R> {
    /// Queues a member of a chain, of which `following` more are inserted directly after it. The
    /// kernel starts each after the one before has succeeded (`IOSQE_IO_LINK`); where one fails,
    /// those after it end with `-ECANCELED`. The chain is staged as a unit, once it is complete.
    /// `wanted` is what its result must reach for the chain to go on, where less is no error.
    ///
    /// Behind an operation whose failure a kernel may not see, the rest is staged when that has succeeded.
    ///
    /// A member that comes back undone, as one that is [queued again](Outcome::Requeued) alone, is queued again with all
    /// that are behind it: when the kernel has given back these too, and as a chain of the rest.
    ///
    /// # Errors
    ///
    /// Gives the operation back when the table has no room for the whole rest of the chain (see
    /// [`Table::reserve`]), when the chain is longer than [`Limits::max_chain`](crate::Limits::max_chain), when `following`
    /// is not one less than that of the member before, and for [`Op::Timeout`].
    pub fn insert_linked(
        &mut self,
        op: Op,
        resources: R,
        following: u16,
        wanted: Option<u32>,
    ) -> Result<Key, (Op, R)> {
        let after = u32::from(following);
        let fits = match self.open_left {
            0 => self.reserve(after.saturating_add(1)),
            left => after + 1 == left,
        };
        if !fits || matches!(op, Op::Timeout) {
            return Err((op, resources));
        }
        if self.open_left == 0 && following == 0 {
            return self.enqueue(op, resources, 0, 0);
        }
        let head = self.open_left == 0;
        let before = if head { NONE } else { self.queue.tail() };
        let key = self.enqueue(op, resources, LINKED, following)?;
        self.link(key.index(), before, wanted);
        if head {
            self.open_head = key.index();
        }
        self.open_left = after;
        if after == 0 {
            let head = mem::replace(&mut self.open_head, NONE);
            self.split(head);
        }
        Ok(key)
    }

    /// Whether a chain of `members` can be inserted now: it is not longer than
    /// [`Limits::max_chain`](crate::Limits::max_chain) and there are slots for all of it.
    #[must_use]
    pub fn reserve(&self, members: u32) -> bool {
        members <= self.limits.max_chain
            && self.open_left == 0
            && members <= self.limits.max_slots - self.used
    }

    /// A member joins the chain of the one `before` it, or begins one.
    pub(crate) fn link(&mut self, index: u32, before: u32, wanted: Option<u32>) {
        let at = position(index);
        if self.links.len() <= at {
            self.links.resize(at + 1, Link::ALONE);
        }
        if let Some(link) = self.links.get_mut(at) {
            *link = Link { before, wanted, ..Link::ALONE };
        }
        if let Some(link) = self.links.get_mut(position(before)) {
            link.after = index;
        }
    }

    /// A chain is complete, and in the queue. What the kernel is not to link waits outside of that.
    pub(crate) fn split(&mut self, head: u32) {
        let mut at = self.number(head);
        while let Some(link) = self.place(at) {
            self.queue.remove(&mut self.slots, at);
            let own = position(at);
            if let (Some(slot), Some(link)) = (self.slots.get_mut(own), self.links.get_mut(own)) {
                slot.following = 0;
                slot.hold(Completion { res: ECANCELED, flags: 0 });
                link.fresh = true;
            }
            at = link.after;
        }
    }

    /// Numbers the members from `front` on that the kernel is to link. Gives the first one behind them.
    fn number(&mut self, front: u32) -> u32 {
        let (mut members, mut end) = (0u16, front);
        while let Some(link) = self.place(end) {
            let slot = self.slots.get(position(end));
            let last = slot.is_some_and(|slot| slot.op().fails_unseen());
            members = members.saturating_add(1);
            end = link.after;
            if last && !planted!(ChainNotSplit) {
                break;
            }
        }
        let mut at = front;
        while at != end
            && let Some(link) = self.place(at)
        {
            members = members.saturating_sub(1);
            if let Some(slot) = self.slots.get_mut(position(at)) {
                slot.following = if planted!(ChainUnlinked) { 0 } else { members };
            }
            at = link.after;
        }
        end
    }

    /// The place of a member that has not left its chain.
    pub(crate) fn place(&self, index: u32) -> Option<Link> {
        let slot = self.slots.get(position(index))?;
        let member = slot.has(LINKED) && !slot.is_loose();
        if member { self.links.get(position(index)).copied() } else { None }
    }

    /// The kernel gives an operation back without having done anything: it is to be tried again. As a member of a chain it
    /// waits for those behind it. `false` for others.
    pub(crate) fn hold(&mut self, index: u32, completion: Completion, as_poll: bool) -> bool {
        if self.place(index).is_none() {
            return false;
        }
        let (at, Completion { res, flags }) = (position(index), completion);
        let res = if RESTARTS.contains(&res) { EINTR } else { res };
        if let (Some(slot), Some(link)) = (self.slots.get_mut(at), self.links.get_mut(at)) {
            // A poll that is over says nothing of the operation.
            let res = if slot.state() == State::Polling { EAGAIN } else { res };
            link.as_poll = as_poll;
            slot.hold(Completion { res, flags });
        }
        self.resume(index);
        true
    }

    /// The kernel has ended a member of a chain. It may be held all the same, if it was cancelled for one in front that is
    /// not back yet.
    pub(crate) fn end_member(&mut self, index: u32, completion: Completion) -> Outcome<R> {
        let Some(link) = self.place(index) else { return self.settle(index, completion) };
        let Some(slot) = self.slots.get(position(index)) else { return Outcome::Ignored };
        let cancelled = completion.res == ECANCELED;
        if cancelled && link.before != NONE && !slot.has(CANCEL_WANTED | MORE_SEEN) {
            self.hold(index, completion, false);
            return Outcome::Requeued;
        }
        let hides = slot.op().hides_failure();
        let moved = u32::try_from(completion.res).ok();
        let enough = |moved| link.wanted.is_none_or(|wanted| moved >= wanted);
        let whole = moved.is_some_and(|moved| enough(moved) || planted!(ShortGoesOn));
        let before = self.detach(index);
        if cancelled || planted!(OvertakenGoesOn) {
            self.resume(before);
        } else {
            // It has run, so those in front are over, however they ended.
            self.loosen(self.front(before));
        }
        if !whole {
            self.loosen(link.after);
        } else if let Some(next) = self.links.get_mut(position(link.after)) {
            next.doubtful = hides;
            self.resume(link.after);
        }
        self.settle(index, completion)
    }

    /// A member leaves before the kernel has it: those in front are a shorter chain, those behind end, where they are held.
    pub(crate) fn unlink(&mut self, index: u32) {
        let Some(link) = self.place(index) else { return };
        let before = self.detach(index);
        self.loosen(link.after);
        self.resume(before);
    }

    /// Takes a member out of the list, which becomes two. Gives the last one of the first.
    fn detach(&mut self, index: u32) -> u32 {
        let Some(Link { before, after, .. }) = self.place(index) else { return NONE };
        if let Some(link) = self.links.get_mut(position(before)) {
            link.after = NONE;
        }
        if let Some(link) = self.links.get_mut(position(after)) {
            link.before = NONE;
        }
        if let Some(slot) = self.slots.get_mut(position(index)) {
            slot.bits |= LOOSE;
        }
        before
    }

    /// The first of the list that `index` is in.
    fn front(&self, index: u32) -> u32 {
        let mut front = index;
        while let Some(link) = self.place(front)
            && link.before != NONE
        {
            front = link.before;
        }
        front
    }

    /// All from this one on are no chain any more. Those that are held end as the kernel has said.
    fn loosen(&mut self, first: u32) {
        let mut at = first;
        while let Some(link) = self.place(at) {
            let Some(slot) = self.slots.get_mut(position(at)) else { return };
            slot.bits |= LOOSE;
            if slot.state() == State::Held {
                let completion = slot.completion();
                let outcome = self.settle(at, completion);
                self.announce(outcome);
            }
            at = link.after;
        }
    }

    /// Begins the chain again that `index` is in, if all of it is back; ends it if that cannot be.
    fn resume(&mut self, index: u32) {
        let front = self.front(index);
        if !self.is_held(front) {
            return;
        }
        if !self.begins_again(front) {
            return self.loosen(front);
        }
        let mut at = front;
        while let Some(link) = self.place(at) {
            if !self.is_held(at) {
                return;
            }
            at = link.after;
        }
        self.begin_again(front);
    }

    fn is_held(&self, index: u32) -> bool {
        self.slots.get(position(index)).is_some_and(|slot| slot.state() == State::Held)
    }

    /// Whether what has ended the chain at its front is no reason to end it.
    fn begins_again(&self, front: u32) -> bool {
        let (Some(link), Some(slot)) = (self.place(front), self.slots.get(position(front))) else {
            return false;
        };
        match slot.completion().res {
            EAGAIN => true,
            _ if link.fresh => true,
            ECANCELED if link.doubtful => false,
            _ => slot.op().restarts() && link.tries < CHAIN_TRIES,
        }
    }

    fn begin_again(&mut self, front: u32) {
        let (at, polls) = (position(front), self.links.get(position(front)));
        if polls.is_some_and(|link| link.as_poll) {
            // Alone: the one behind it is not to start when the descriptor is ready.
            if let Some(slot) = self.slots.get_mut(at) {
                slot.following = 0;
            }
            return self.requeue(front, true);
        }
        if let (Some(slot), Some(link)) = (self.slots.get(at), self.links.get_mut(at)) {
            link.tries += u16::from(slot.completion().res != EAGAIN && !link.fresh);
        }
        let end = self.number(front);
        let mut at = front;
        while at != end
            && let Some(link) = self.place(at)
        {
            if let Some(link) = self.links.get_mut(position(at)) {
                link.fresh = false;
            }
            self.requeue(at, false);
            at = link.after;
        }
    }
}
