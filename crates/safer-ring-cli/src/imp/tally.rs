//! Counts the bytes an echo server of many tasks has served, and says when a slice is complete.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use ::tokio::sync::Notify;

use super::lane::Lane;
use crate::bench::alloc::allocations;
use crate::bench::stats::Histogram;

/// The progress of one slice, shared by the tasks of a server.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    bytes: AtomicU64,
    target: AtomicU64,
    half: AtomicU64,
    end: AtomicU64,
    failure: Mutex<Option<io::Error>>,
    done: Notify,
}

impl Tally {
    /// A slice of `bytes` begins; no task is serving at this moment.
    pub(crate) fn begin(&self, bytes: u64) {
        self.bytes.store(0, Ordering::Relaxed);
        self.target.store(bytes, Ordering::Release);
    }

    /// `n` bytes were echoed.
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        let before = self.bytes.fetch_add(n, Ordering::AcqRel);
        let (after, target) = (before + n, self.target.load(Ordering::Relaxed));
        if before < target / 2 && after >= target / 2 {
            self.half.store(allocations(), Ordering::Relaxed);
        }
        if before < target && after >= target {
            self.end.store(allocations(), Ordering::Relaxed);
            self.done.notify_one();
        }
    }

    /// A task cannot go on; the first reason is kept.
    pub(crate) fn fail(&self, error: io::Error) {
        if let Ok(mut failure) = self.failure.lock() {
            failure.get_or_insert(error);
        }
        self.done.notify_one();
    }

    /// Waits until the slice is complete or a task has failed.
    pub(crate) async fn finished(&self) -> io::Result<()> {
        self.done.notified().await;
        match self.failure.lock().ok().and_then(|mut failure| failure.take()) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// The slice as a lane, with the latencies its clients saw.
    pub(crate) fn lane(&self, histogram: Histogram) -> Lane {
        let (half, end) = (self.half.load(Ordering::Relaxed), self.end.load(Ordering::Relaxed));
        Lane::of_server(histogram, Some(half), Some(end))
    }
}
