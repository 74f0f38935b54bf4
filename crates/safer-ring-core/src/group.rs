//! Groups: one waker for many operations, fired when the last of them is done.

use alloc::vec::Vec;
use core::task::Waker;

use crate::key::position;

/// The name of a group in one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Group {
    index: u32,
    generation: u32,
}

#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
struct Members {
    generation: u32,
    /// Members that are not done.
    pending: u32,
    /// The owner of the group is there.
    owned: bool,
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
            members.owned = true;
            return Group { index, generation: members.generation };
        }
        // A group that cannot be numbered has no members and counts as done.
        let index = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        if index != u32::MAX {
            self.all.push(Members {
                generation: 0,
                pending: 0,
                owned: true,
                waker: None,
                since: 0,
            });
        }
        Group { index, generation: 0 }
    }

    #[inline(always)]
    fn find(&mut self, group: Group) -> Option<&mut Members> {
        self.all
            .get_mut(position(group.index))
            .filter(|members| members.owned && members.generation == group.generation)
    }

    /// One more member; the number the slot keeps, 0 if there is no such group.
    #[inline(always)]
    pub(crate) fn enter(&mut self, group: Group) -> u32 {
        match self.find(group) {
            Some(members) => {
                members.pending += 1;
                group.index + 1
            }
            None => 0,
        }
    }

    /// One member less, by the number the slot kept; the waker when it was the last.
    #[inline]
    pub(crate) fn leave(&mut self, number: u32) -> Option<Waker> {
        let index = number.checked_sub(1)?;
        let members = self.all.get_mut(position(index))?;
        members.pending = members.pending.saturating_sub(1);
        if members.pending > 0 && !planted!(GroupWakesEarly) {
            return None;
        }
        if members.owned {
            return members.waker.take();
        }
        members.generation = members.generation.wrapping_add(1);
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
        let members = self.all.get(position(number.checked_sub(1)?))?;
        Some(members.since)
    }

    /// The owner is gone: nobody is woken any more. Its place is free after the last member.
    pub(crate) fn disown(&mut self, group: Group) -> Option<Waker> {
        let members = self.find(group)?;
        members.owned = false;
        let waker = members.waker.take();
        if members.pending == 0 {
            members.generation = members.generation.wrapping_add(1);
            self.free.push(group.index);
        }
        waker
    }
}
