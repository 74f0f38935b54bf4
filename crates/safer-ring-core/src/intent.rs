//! What to do next, in order: lists threaded through the slots.
//!
//! An operation that waits is in the queue, a request to cancel is in the list of cancels, and a
//! slot is never in two lists at once (only what is in flight can be cancelled by request). So a
//! list needs no memory of its own, is never full, and gives up any member in constant time:
//! neither an operation nor a cancel can be lost for lack of room.

use crate::key::position;
use crate::slot::Slot;

/// The end mark of a list: the index of no slot.
pub(crate) const NONE: u32 = u32::MAX;

/// A first-in, first-out list of slots.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Fifo {
    head: u32,
    tail: u32,
    len: u32,
}

impl Fifo {
    pub(crate) const fn new() -> Fifo {
        Fifo { head: NONE, tail: NONE, len: 0 }
    }

    #[inline]
    pub(crate) fn head(&self) -> u32 {
        self.head
    }

    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    #[inline]
    pub(crate) fn tail(&self) -> u32 {
        self.tail
    }

    pub(crate) fn push_back<R>(&mut self, slots: &mut [Slot<R>], index: u32) {
        if let Some(slot) = slots.get_mut(position(index)) {
            slot.prev = self.tail;
            slot.next = NONE;
        }
        self.append(slots, index);
    }

    /// As `push_back`, for a slot that has [`Fifo::tail`] as its `prev` and nothing as its `next`.
    #[inline]
    pub(crate) fn append<R>(&mut self, slots: &mut [Slot<R>], index: u32) {
        match slots.get_mut(position(self.tail)) {
            Some(last) => last.next = index,
            None => self.head = index,
        }
        self.tail = index;
        self.len += 1;
    }

    /// In front of `before`, which is in the list.
    pub(crate) fn insert_before<R>(&mut self, slots: &mut [Slot<R>], before: u32, index: u32) {
        let Some(after) = slots.get_mut(position(before)) else { return };
        let prev = core::mem::replace(&mut after.prev, index);
        let prev = if before == self.head { NONE } else { prev };
        if let Some(slot) = slots.get_mut(position(index)) {
            slot.prev = prev;
            slot.next = before;
        }
        match slots.get_mut(position(prev)) {
            Some(slot) => slot.next = index,
            None => self.head = index,
        }
        self.len += 1;
    }

    /// Takes the first member out, whose `next` this is. What it leaves at the head keeps an old
    /// `prev`, which nothing reads: a head has none.
    #[inline]
    pub(crate) fn pop_front(&mut self, next: u32) {
        self.head = next;
        self.len -= 1;
        if next == NONE {
            self.tail = NONE;
        }
    }

    /// Takes a member out, wherever it is.
    pub(crate) fn remove<R>(&mut self, slots: &mut [Slot<R>], index: u32) {
        let Some(slot) = slots.get(position(index)) else { return };
        let next = slot.next;
        let prev = if index == self.head { NONE } else { slot.prev };
        match slots.get_mut(position(prev)) {
            Some(slot) => slot.next = next,
            None => self.head = next,
        }
        match slots.get_mut(position(next)) {
            Some(slot) => slot.prev = prev,
            None => self.tail = prev,
        }
        self.len -= 1;
    }
}
