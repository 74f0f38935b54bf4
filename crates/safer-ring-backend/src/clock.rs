//! The monotonic clock, as nanoseconds since the process first asked.
//!
//! The table takes the time as a parameter; this is the only place that reads it.
//!
//! # Safety
//! One call of the C library, since the standard library does not have the coarse clock.
//!
//! Tests: the_oldest_operation_is_known
#![allow(unsafe_code, reason = "clock_gettime(2) for the coarse clock")]

use std::sync::OnceLock;
use std::time::{Duration, Instant};

static BASE: OnceLock<Instant> = OnceLock::new();

/// Nanoseconds of `CLOCK_MONOTONIC` since the first call in this process.
pub(crate) fn now_ns() -> u64 {
    ns(BASE.get_or_init(Instant::now).elapsed())
}

/// Milliseconds of `CLOCK_MONOTONIC_COARSE`, cut to 32 bits: a few nanoseconds to read, right to a few milliseconds.
pub(crate) fn coarse_ms() -> u32 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: clock_gettime(2) writes one timespec, which is a local of this function.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut now) };
    let ms = now.tv_sec.wrapping_mul(1000).wrapping_add(now.tv_nsec / 1_000_000);
    let [.., a, b, c, d] = ms.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// A duration in nanoseconds; more than 584 years are cut to that.
pub(crate) fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
