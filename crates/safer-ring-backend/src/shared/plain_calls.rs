//! Plain calls in place of entries: whether a ring makes them, and how many each thread has made.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{SEATS, SharedRing, budget, lock};
use crate::driver::Snapshot;
use crate::mode::PlainCall;

/// Plain calls of the thread of a kernel ring, which go past that one's lock.
#[derive(Debug, Default)]
pub(super) struct PlainCalls {
    operations: AtomicU64,
    receives: AtomicU64,
}

impl PlainCalls {
    #[inline]
    fn count(&self, call: PlainCall) {
        let counter = match call {
            PlainCall::Send | PlainCall::Read => &self.operations,
            PlainCall::Receive => &self.receives,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_to(&self, sum: &mut Snapshot) {
        let ended = self.operations.load(Ordering::Relaxed);
        sum.add_plain_operations(ended);
        sum.plain_calls += self.receives.load(Ordering::Relaxed);
    }
}

impl SharedRing {
    /// Whether an operation that nothing is handed over with may be a plain call. Where the task is to give way it gets an entry,
    /// which keeps its place among others and its result until the next poll.
    #[inline(always)]
    pub(crate) fn calls_plainly(&self) -> bool {
        self.permit.holds() && budget::take()
    }

    /// Counts a plain call, with the kernel ring of the thread.
    #[inline]
    pub(crate) fn count_plain(self: &Arc<Self>, call: PlainCall) {
        let counted = SEATS.try_with(|seats| {
            let seats = seats.try_borrow().ok()?;
            let seat = seats.iter().find(|seat| seat.ring_id == self.id)?;
            seat.cell.plain.count(call);
            Some(())
        });
        if !matches!(counted, Ok(Some(()))) {
            self.count_first(call);
        }
    }

    /// The first of a thread, which has no kernel ring yet. Where it cannot have one, there is at least the first.
    #[cold]
    fn count_first(self: &Arc<Self>, call: PlainCall) {
        let seat = self.take_seat().ok().or_else(|| lock(&self.cells).all.first().cloned());
        seat.into_iter().for_each(|cell| cell.plain.count(call));
    }
}
