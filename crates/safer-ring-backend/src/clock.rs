//! The monotonic clock, as nanoseconds since the process first asked.
//!
//! The table takes the time as a parameter; this is the only place that reads it.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

static BASE: OnceLock<Instant> = OnceLock::new();

/// Nanoseconds of `CLOCK_MONOTONIC` since the first call in this process.
pub(crate) fn now_ns() -> u64 {
    ns(BASE.get_or_init(Instant::now).elapsed())
}

/// A duration in nanoseconds; more than 584 years are cut to that.
pub(crate) fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
