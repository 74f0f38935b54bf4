//! How much a thread may end at once before its executor has a turn.
//!
//! A future that is ready each time it is polled ends no poll: the task goes on for as long as its sockets take what it sends and
//! its files are in memory, and timers, other tasks of the thread and other branches of the task's own `select!` wait. So now
//! and then a future that has ended says so in its next poll, and asks for that at once. Which task it is does not matter:
//! what a thread does for many tasks in turn costs each of them next to nothing.

use std::cell::Cell;

/// As many as tokio allows a task between two of its turns.
const AT_ONCE: u32 = 128;

thread_local! {
    static LEFT: Cell<u32> = const { Cell::new(AT_ONCE) };
}

/// For what may end at once, and can be done otherwise: takes one if one is left.
#[inline(always)]
pub(super) fn take() -> bool {
    let left = LEFT.get();
    if left != 0 {
        LEFT.set(left - 1);
    }
    left != 0
}

/// For what has ended: the same, but who is told `false` gives way, and then there is as much as before.
#[inline(always)]
pub(crate) fn take_or_refresh() -> bool {
    let left = LEFT.get();
    LEFT.set(if left == 0 { AT_ONCE } else { left - 1 });
    left != 0
}

/// Whether an operation may find nothing left: it takes one for a plain call, and another for its entry. Who is told `true`
/// gives way, and then there is as much as before.
#[inline(always)]
pub(crate) fn is_spent() -> bool {
    let spent = LEFT.get() < 2;
    if spent {
        refresh();
    }
    spent
}

/// Something has to wait.
#[inline(always)]
pub(crate) fn refresh() {
    LEFT.set(AT_ONCE);
}
