//! A number for each thread, never used twice in a process.
//!
//! A registered ring index belongs to one thread: on another it is invalid or means another ring.
//! The address of a thread-local would not do, since a new thread can get that of a dead one.

use core::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// Belongs to no thread.
pub(crate) const NOBODY: u64 = 0;

/// The value of a thread that has not asked for its number yet; it can own nothing.
const UNNUMBERED: u64 = u64::MAX;

std::thread_local! {
    static NUMBER: Cell<u64> = const { Cell::new(UNNUMBERED) };
}

/// Whether `owner` is the calling thread. One load from thread-local memory and a comparison.
#[inline]
pub(crate) fn is_current(owner: u64) -> bool {
    NUMBER.with(Cell::get) == owner
}

/// The number of the calling thread.
pub(crate) fn current() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NUMBER.with(|number| {
        if number.get() == UNNUMBERED {
            number.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        number.get()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_not_reused() {
        let mine = current();
        assert!(is_current(mine) && !is_current(NOBODY));
        let mut seen = vec![mine];
        for _ in 0..50 {
            let (number, other_is_me) =
                std::thread::spawn(move || (current(), is_current(mine))).join().unwrap();
            assert!(!other_is_me);
            assert!(!seen.contains(&number));
            seen.push(number);
        }
        assert_eq!(current(), mine);
    }
}
