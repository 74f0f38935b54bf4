//! Conversions between counts and the floating point that statistics need; the only place with `as`.

/// A count as a floating point number; counts above 2^53 are rounded, which no figure shown here can tell.
#[expect(
    clippy::as_conversions,
    reason = "u64 to f64 has no From; the rounding is below what is printed"
)]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// A non-negative floating point number as a count, truncated; NaN and negatives give 0, too large gives the maximum.
#[expect(
    clippy::as_conversions,
    reason = "f64 to u64 has no TryFrom; `as` saturates, which is what is wanted"
)]
pub(crate) fn whole(value: f64) -> u64 {
    value as u64
}

/// A 32-bit count as an index. Linux has no target with less than 32-bit indices.
pub(crate) fn index(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// A length as a 64-bit count.
pub(crate) fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// A length as a 32-bit count, saturating.
pub(crate) fn small(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
