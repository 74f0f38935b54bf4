//! Plain calls in place of entries: which ones a ring makes, and how many it has made.

use std::cell::Cell;

use safer_ring_sys::fork;

use super::LocalCell;
use crate::driver::Snapshot;
use crate::features::Features;
use crate::mode::PlainCall;
use crate::stream::Sides;
use crate::uring::may_call_plainly;

/// Plain calls between two looks at the ring. Then an entry and a turn give the other tasks their time: what is done at once
/// ends no poll.
const AT_A_STRETCH: u32 = 128;

#[derive(Debug)]
pub(super) struct PlainCalls {
    /// [`fork::current`] of the process that may make them; 0 if none may.
    epoch: u32,
    /// How many more until the next look.
    left: Cell<u32>,
    made: Cell<u64>,
}

impl PlainCalls {
    pub(super) fn new(features: &Features) -> Self {
        let epoch = if may_call_plainly(features) { fork::current() } else { 0 };
        Self { epoch, left: Cell::new(AT_A_STRETCH), made: Cell::new(0) }
    }

    /// The ring has been looked at.
    #[inline(always)]
    pub(super) fn refresh(&self) {
        self.left.set(AT_A_STRETCH);
    }

    pub(super) fn add_to(&self, sum: &mut Snapshot) {
        let ended = self.made.get();
        sum.submitted += ended;
        sum.completed += ended;
        sum.plain_calls += ended;
    }
}

impl LocalCell {
    /// Whether a lone send, or a lone read at an offset, may be a plain call. A send shares nothing with others but the system
    /// call, and costs more in the table than that. A read that waits for others does share one, so only one that has no
    /// company is. Never in a forked child, which is refused.
    #[inline(always)]
    pub(crate) fn calls_plainly(&self, side: Sides) -> bool {
        let PlainCalls { epoch, left, .. } = &self.plain;
        left.get() != 0
            && *epoch != 0
            && *epoch == fork::current()
            && (side.meets(Sides::GIVES) || self.driver.borrow().is_alone())
    }

    /// Counts one.
    #[inline(always)]
    pub(crate) fn count_plain(&self, call: PlainCall) {
        if call == PlainCall::Read {
            self.driver.borrow_mut().was_alone();
        }
        let PlainCalls { left, made, .. } = &self.plain;
        left.set(left.get().saturating_sub(1));
        made.set(made.get() + 1);
    }
}
