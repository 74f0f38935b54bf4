//! What an input has reached, by the counters that the compiler has put into the code.
//!
//! # Safety
//! The compiler's constructors tell where the counters are, as two pointers. They are counted up by plain instructions of
//! any thread, so they are looked at as atomics: a count that is lost in a race makes an input less interesting, and nothing
//! else.
//!
//! Tests: `what_is_reached_for_the_first_time_is_new`
#![allow(unsafe_code, reason = "counters that the compiler makes")]

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

/// The counters of each compiled unit.
static COUNTERS: Mutex<Vec<&'static [AtomicU8]>> = Mutex::new(Vec::new());

/// Called by each unit that was compiled with counters, before `main`.
///
/// # Safety
/// The bytes from `start` to `stop` are there as long as the process.
// SAFETY: the name is the one that LLVM reserves for this, and nothing else in a test defines it.
#[unsafe(no_mangle)]
unsafe extern "C" fn __sanitizer_cov_8bit_counters_init(start: *const u8, stop: *const u8) {
    let length = stop.addr().saturating_sub(start.addr());
    if length == 0 {
        return;
    }
    // SAFETY: the contract; bytes are as well aligned and as large as atomic ones.
    let counters = unsafe { std::slice::from_raw_parts(start.cast::<AtomicU8>(), length) };
    COUNTERS.lock().unwrap_or_else(PoisonError::into_inner).push(counters);
}

/// What has been reached so far, a byte for each counter: a bit for each range of counts.
#[derive(Debug)]
pub(crate) struct Coverage {
    counters: Vec<&'static [AtomicU8]>,
    seen: Vec<u8>,
}

impl Coverage {
    pub(crate) fn new() -> Self {
        Self::of(COUNTERS.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn of(counters: Vec<&'static [AtomicU8]>) -> Self {
        let length = counters.iter().map(|unit| unit.len()).sum();
        Self { counters, seen: vec![0; length] }
    }

    fn all(&self) -> impl Iterator<Item = &'static AtomicU8> {
        self.counters.iter().flat_map(|unit| unit.iter())
    }

    /// Before an input.
    pub(crate) fn begin(&self) {
        self.all().for_each(|counter| counter.store(0, Ordering::Relaxed));
    }

    /// Behind it: whether it has reached a place that no earlier one has, or more often.
    pub(crate) fn end(&mut self) -> bool {
        let counts = self.counters.iter().flat_map(|unit| unit.iter());
        let mut news = false;
        for (seen, counter) in self.seen.iter_mut().zip(counts) {
            let bit = range(counter.load(Ordering::Relaxed));
            news |= bit & !*seen != 0;
            *seen |= bit;
        }
        news
    }

    /// Places that were reached, of so many. `None`: there are no counters.
    pub(crate) fn reached(&self) -> Option<(usize, usize)> {
        let reached = self.seen.iter().filter(|seen| **seen != 0).count();
        (!self.seen.is_empty()).then_some((reached, self.seen.len()))
    }
}

/// The bit of a count.
fn range(count: u8) -> u8 {
    match count {
        0 => 0,
        1 => 1,
        2 => 2,
        3 => 4,
        4..=7 => 8,
        8..=15 => 16,
        16..=31 => 32,
        32..=127 => 64,
        128..=255 => 128,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reached_for_the_first_time_is_new() {
        static UNIT: [AtomicU8; 2] = [const { AtomicU8::new(0) }; 2];
        let mut coverage = Coverage::of(vec![&UNIT]);
        let mut count = |to: u8| {
            coverage.begin();
            UNIT[1].store(to, Ordering::Relaxed);
            coverage.end()
        };
        assert_eq!(
            [count(0), count(1), count(1), count(9), count(12), count(2)],
            [false, true, false, true, false, true]
        );
        assert_eq!(coverage.reached(), Some((1, 2)));
        assert_eq!(Coverage::of(Vec::new()).reached(), None);
    }
}
