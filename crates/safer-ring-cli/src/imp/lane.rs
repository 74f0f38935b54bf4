//! What one slice of work observes about itself: latencies, and allocations in its second half.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::bench::alloc::{allocations, own_allocations};
use crate::bench::stats::Histogram;

static TIMED: AtomicBool = AtomicBool::new(true);

/// From here on no latency is taken in this process: where instructions are counted, reading the clock is not part of
/// what is counted.
pub(crate) fn without_clock() {
    TIMED.store(false, Ordering::Relaxed);
}

/// Observations of one lane (a loop, a thread or a task).
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) histogram: Histogram,
    every: u32,
    tick: u32,
    done: u64,
    ops: u64,
    next: u64,
    half: Option<u64>,
    end: Option<u64>,
    count: fn() -> u64,
}

impl Lane {
    /// A lane of `ops` operations that takes the latency of every `every`-th of them. The lead lane also counts the
    /// allocations of the process from its half to its end.
    pub(crate) fn new(every: u32, ops: u64, lead: bool) -> Self {
        let next = if lead { ops / 2 } else { u64::MAX };
        let (every, tick) =
            if TIMED.load(Ordering::Relaxed) { (every, 0) } else { (u32::MAX, u32::MAX) };
        let (half, end) = (None, None);
        let count: fn() -> u64 = allocations;
        Self { histogram: Histogram::new(), every, tick, done: 0, ops, next, half, end, count }
    }

    /// A lead lane of work that stays on the calling thread: the allocations of others do not count.
    pub(crate) fn of_one_thread(every: u32, ops: u64) -> Self {
        Self { count: own_allocations, ..Self::new(every, ops, true) }
    }

    /// What a server saw of a slice whose latencies were taken by its clients.
    pub(crate) fn of_server(histogram: Histogram, half: Option<u64>, end: Option<u64>) -> Self {
        Self { half, end, ..Self::new(1, 0, false) }.with(histogram)
    }

    fn with(mut self, histogram: Histogram) -> Self {
        self.histogram = histogram;
        self
    }

    /// An operation begins: the time, if its latency is wanted.
    #[inline]
    pub(crate) fn start(&mut self) -> Option<Instant> {
        if self.tick == 0 {
            self.tick = self.every - 1;
            return Some(Instant::now());
        }
        self.tick -= 1;
        None
    }

    /// `ops` operations that began together are finished.
    #[inline]
    pub(crate) fn stop(&mut self, started: Option<Instant>, ops: u64) {
        if let Some(started) = started {
            let ns = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.histogram.record(ns, ops);
        }
        self.done += ops;
        if self.done >= self.next {
            self.milestone();
        }
    }

    #[cold]
    fn milestone(&mut self) {
        if self.half.is_none() {
            self.half = Some((self.count)());
            self.next = self.ops;
        } else {
            self.end = Some((self.count)());
            self.next = u64::MAX;
        }
    }

    /// Adds another lane's latencies; the allocations of the lead lane stand for all, being those of the process.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.histogram.merge(&other.histogram);
        self.half = self.half.or(other.half);
        self.end = self.end.or(other.end);
    }

    /// Heap allocations of the process in the second half of the slice.
    pub(crate) fn steady_allocations(&self) -> Option<u64> {
        Some(self.end?.saturating_sub(self.half?))
    }
}

/// Merges lanes that ran side by side; the first one leads.
pub(crate) fn merge_all(lanes: impl IntoIterator<Item = Lane>) -> Lane {
    let mut lanes = lanes.into_iter();
    let mut all = lanes.next().unwrap_or_else(|| Lane::new(1, 0, false));
    for lane in lanes {
        all.merge(&lane);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocations_of_the_second_half_are_counted() {
        let mut lane = Lane::new(1, 100, true);
        let mut kept = Vec::with_capacity(100);
        for n in 0..100_u64 {
            let started = lane.start();
            if n >= 50 {
                kept.push(std::hint::black_box(Box::new(n)));
            }
            lane.stop(started, 1);
        }
        assert!(lane.steady_allocations().unwrap() >= 50, "{}", kept.len());
        assert!(lane.histogram.quantile(0.5).is_some());
    }

    #[test]
    fn only_every_nth_operation_is_timed() {
        let mut lane = Lane::new(4, 16, false);
        let timed = (0..16).filter(|_| {
            let started = lane.start();
            lane.stop(started, 1);
            started.is_some()
        });
        assert_eq!(timed.count(), 4);
        assert_eq!(lane.steady_allocations(), None);
    }
}
