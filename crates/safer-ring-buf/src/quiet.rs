//! Foreign code that runs where its panic would hit somebody else.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs foreign code whose panic must not go on: a waker, a destructor. Whoever happens to run it has no part in it, and may
/// be in a destructor of their own. The panic's message has been printed by then.
#[inline]
pub fn quietly(work: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(work)) {
        // Its destructor is foreign too.
        mem::forget(payload);
    }
}
