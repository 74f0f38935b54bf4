//! Timers: a binary heap whose entries know their slot, and whose slots know their entry.
//!
//! A timer that is dropped leaves at once instead of lingering until it would have fired, so a
//! program that arms and drops timers for each request holds no more than those that run. `now`
//! is a parameter; the unit is the nanosecond of whatever clock the driver uses throughout.

use alloc::vec::Vec;

use crate::key::position;
use crate::slot::Slot;

#[derive(Debug, Clone, Copy)]
struct Entry {
    deadline: u64,
    /// Order of arming, so that equal deadlines fire in that order.
    order: u64,
    index: u32,
}

impl Entry {
    fn before(&self, other: &Entry) -> bool {
        (self.deadline, self.order) < (other.deadline, other.order)
    }
}

#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Deadlines {
    heap: Vec<Entry>,
    armed: u64,
}

impl Deadlines {
    pub(crate) const fn new() -> Deadlines {
        Deadlines { heap: Vec::new(), armed: 0 }
    }

    pub(crate) fn next(&self) -> Option<u64> {
        self.heap.first().map(|entry| entry.deadline)
    }

    pub(crate) fn arm<R>(&mut self, slots: &mut [Slot<R>], index: u32, deadline: u64) {
        let place = self.heap.len();
        self.heap.push(Entry { deadline, order: self.armed, index });
        self.armed += 1;
        self.note(slots, place);
        self.up(slots, place);
    }

    /// The slot of a timer that is due; it has left the heap.
    pub(crate) fn pop_due<R>(&mut self, slots: &mut [Slot<R>], now: u64) -> Option<u32> {
        let first = *self.heap.first()?;
        if first.deadline > now {
            return None;
        }
        self.remove_at(slots, 0);
        Some(first.index)
    }

    /// Takes the timer in slot `index` out.
    pub(crate) fn disarm<R>(&mut self, slots: &mut [Slot<R>], index: u32) {
        let Some(slot) = slots.get(position(index)) else { return };
        let place = position(slot.prev);
        if self.heap.get(place).is_some_and(|entry| entry.index == index) {
            self.remove_at(slots, place);
        }
    }

    fn remove_at<R>(&mut self, slots: &mut [Slot<R>], place: usize) {
        self.heap.swap_remove(place);
        if place < self.heap.len() {
            self.note(slots, place);
            self.up(slots, place);
            self.down(slots, place);
        }
    }

    fn up<R>(&mut self, slots: &mut [Slot<R>], mut place: usize) {
        while place > 0 {
            let parent = (place - 1) / 2;
            if !self.is_before(place, parent) {
                break;
            }
            self.swap(slots, place, parent);
            place = parent;
        }
    }

    fn down<R>(&mut self, slots: &mut [Slot<R>], mut place: usize) {
        loop {
            let left = 2 * place + 1;
            let right = left + 1;
            let child = if self.is_before(right, left) { right } else { left };
            if !self.is_before(child, place) {
                break;
            }
            self.swap(slots, place, child);
            place = child;
        }
    }

    /// Whether the entry at `a` fires before that at `b`; false where either is missing.
    fn is_before(&self, a: usize, b: usize) -> bool {
        match (self.heap.get(a), self.heap.get(b)) {
            (Some(a), Some(b)) => a.before(b),
            _ => false,
        }
    }

    fn swap<R>(&mut self, slots: &mut [Slot<R>], a: usize, b: usize) {
        self.heap.swap(a, b);
        self.note(slots, a);
        self.note(slots, b);
    }

    /// Tells the slot of the entry at `place` where its entry is. The heap holds at most one
    /// entry per slot, so a place fits into 32 bits.
    fn note<R>(&self, slots: &mut [Slot<R>], place: usize) {
        if let Some(entry) = self.heap.get(place)
            && let Some(slot) = slots.get_mut(position(entry.index))
            && let Ok(place) = u32::try_from(place)
        {
            slot.prev = place;
        }
    }
}
