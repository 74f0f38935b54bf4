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

/// Milliseconds of `CLOCK_MONOTONIC_COARSE`, cut to 32 bits: a few nanoseconds to read, right to a few milliseconds.
pub(crate) fn coarse_ms() -> u32 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    let ms = now.tv_sec.wrapping_mul(1000).wrapping_add(now.tv_nsec / 1_000_000);
    let [.., a, b, c, d] = ms.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// A duration in nanoseconds; more than 584 years are cut to that.
pub(crate) fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
