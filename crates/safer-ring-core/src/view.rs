//! What a table tells about itself.

use crate::slot::{Slot, StateView};
use crate::table::Table;
use crate::{Key, Limits, Op, Stats};

impl<R> Table<R> {
    /// When what is in a slot was started.
    pub(crate) fn since(&self, slot: &Slot<R>) -> u32 {
        self.groups.since(slot.group).unwrap_or(slot.since)
    }

    /// Completions outstanding: of operations, of requests to cancel, and of the driver's own.
    #[inline]
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Completions outstanding of operations and of requests to cancel: without the driver's own.
    #[inline]
    #[must_use]
    pub fn operations_in_flight(&self) -> u32 {
        self.in_flight - self.internal
    }

    /// Operations that wait to be staged, without the requests to cancel.
    #[inline]
    #[must_use]
    pub fn queued(&self) -> u32 {
        self.queue.len()
    }

    /// Requests to cancel that wait to be staged.
    #[inline]
    #[must_use]
    pub fn cancels_queued(&self) -> u32 {
        self.cancels.len()
    }

    /// Operations that go on without an owner.
    #[inline]
    #[must_use]
    pub fn orphans(&self) -> u32 {
        self.orphans
    }

    /// Slots in use, those included that only await the answer to a request to cancel.
    #[inline]
    #[must_use]
    pub fn len(&self) -> u32 {
        self.used
    }

    /// Whether no slot is in use.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// The bounds in force.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// What happened so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let at_once = self.at_once;
        let Stats { inserted, staged, .. } = self.stats;
        Stats { inserted: inserted + at_once, staged: staged + at_once, ..self.stats }
    }

    /// All operations, in the order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &Op, StateView, &R)> {
        (0..).zip(&self.slots).filter_map(|(index, slot)| {
            let view = slot.view(self.since(slot))?;
            Some((slot.key(index), slot.op(), view, slot.resources()?))
        })
    }
}
