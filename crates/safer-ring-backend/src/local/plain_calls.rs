//! Plain calls in place of entries: which ones a ring makes, and how many it has made.

use std::cell::Cell;

use super::LocalCell;
use crate::driver::Snapshot;
use crate::features::Features;
use crate::mode::PlainCall;
use crate::plain::Permit;

/// Plain calls between two looks at the ring. Then an entry and a turn give the other tasks their time: what is done at once
/// ends no poll.
const AT_A_STRETCH: u32 = 128;

#[derive(Debug)]
pub(super) struct PlainCalls {
    permit: Permit,
    /// How many more until the next look.
    left: Cell<u32>,
    made: Cell<u64>,
}

impl PlainCalls {
    pub(super) fn new(features: &Features) -> Self {
        let (left, made) = (Cell::new(AT_A_STRETCH), Cell::new(0));
        Self { permit: Permit::of(features), left, made }
    }

    /// The ring has been looked at.
    #[inline(always)]
    pub(super) fn refresh(&self) {
        self.left.set(AT_A_STRETCH);
    }

    pub(super) fn add_to(&self, sum: &mut Snapshot) {
        sum.add_plain_operations(self.made.get());
    }
}

impl LocalCell {
    /// Whether a lone send, or a lone read at an offset, may be a plain call. A send shares nothing with others but the system
    /// call, and costs more in the table than that. A read that waits for others does share one, so only one that has no
    /// company is.
    #[inline(always)]
    pub(crate) fn calls_plainly(&self, call: PlainCall) -> bool {
        let PlainCalls { permit, left, .. } = &self.plain;
        left.get() != 0
            && permit.holds()
            && (call == PlainCall::Send || self.driver.borrow().is_alone())
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
