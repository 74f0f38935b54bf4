//! Groups: one waker for many operations, fired when the last of them is done.

use alloc::vec::Vec;
use core::task::Waker;

use crate::key::position;

/// The name of a group in one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Group {
    index: u32,
    stamp: u32,
}

/// Part of a stamp: the owner of the group is there. Above it is the generation, so that one comparison tells both.
const OWNED: u32 = 1;
/// Added to a stamp, changes its generation.
const NEXT_GENERATION: u32 = 2;

#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
struct Members {
    /// Generation and [`OWNED`].
    stamp: u32,
    /// Members that are not done.
    pending: u32,
    waker: Option<Waker>,
    /// When its owner began to wait for the present members.
    since: u32,
}

#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Groups {
    all: Vec<Members>,
    free: Vec<u32>,
}

impl Groups {
    pub(crate) const fn new() -> Groups {
        Groups { all: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn create(&mut self) -> Group {
        if let Some(index) = self.free.pop()
            && let Some(members) = self.all.get_mut(position(index))
        {
            members.stamp |= OWNED;
            return Group { index, stamp: members.stamp };
        }
        // A group that cannot be numbered has no members and counts as done.
        let index = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        if index != u32::MAX {
            self.all.push(Members { stamp: OWNED, pending: 0, waker: None, since: 0 });
        }
        Group { index, stamp: OWNED }
    }

    #[inline(always)]
    fn find(&mut self, group: Group) -> Option<&mut Members> {
        self.all.get_mut(position(group.index)).filter(|members| members.stamp == group.stamp)
    }

    /// One more member; the number the slot keeps, if there is such a group.
    #[inline(always)]
    pub(crate) fn enter(&mut self, group: Group) -> Option<u32> {
        self.find(group)?.pending += 1;
        Some(group.index)
    }

    /// One member less, by the number the slot kept; the waker when it was the last.
    #[inline(always)]
    pub(crate) fn leave(&mut self, index: u32) -> Option<Waker> {
        let members = self.all.get_mut(position(index))?;
        if members.pending > 1 && !planted!(GroupWakesEarly) {
            members.pending -= 1;
            return None;
        }
        self.last(index)
    }

    /// The last member leaves.
    #[cold]
    fn last(&mut self, index: u32) -> Option<Waker> {
        let members = self.all.get_mut(position(index))?;
        members.pending = members.pending.saturating_sub(1);
        if members.stamp & OWNED != 0 {
            return members.waker.take();
        }
        members.stamp = members.stamp.wrapping_add(NEXT_GENERATION);
        self.free.push(index);
        None
    }

    /// Whether all members are done, and the waker that the new one replaced.
    pub(crate) fn poll(&mut self, group: Group, waker: &Waker, now: u32) -> (bool, Option<Waker>) {
        let Some(members) = self.find(group) else { return (true, None) };
        if members.pending == 0 {
            return (true, None);
        }
        if members.waker.as_ref().is_some_and(|old| old.will_wake(waker)) {
            return (false, None);
        }
        let old = members.waker.replace(waker.clone());
        if old.is_none() {
            members.since = now;
        }
        (false, old)
    }

    /// When the owner of a member began to wait, by the number the slot kept.
    pub(crate) fn since(&self, number: u32) -> Option<u32> {
        let members = self.all.get(position(number))?;
        Some(members.since)
    }

    /// The owner is gone: nobody is woken any more. Its place is free after the last member.
    pub(crate) fn disown(&mut self, group: Group) -> Option<Waker> {
        let members = self.find(group)?;
        members.stamp &= !OWNED;
        let waker = members.waker.take();
        if members.pending == 0 {
            members.stamp = members.stamp.wrapping_add(NEXT_GENERATION);
            self.free.push(group.index);
        }
        waker
    }
}
