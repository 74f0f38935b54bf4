//! What a type must promise to be lent.
//!
//! # Safety
//!
//! This file needs `unsafe` to declare the two traits and their unsafe functions; it has no unsafe block.
#![allow(unsafe_code, reason = "declares the unsafe traits")]

use std::ops::RangeBounds;

use crate::lease::Lease;
use crate::slice::Slice;

/// A buffer that can be lent for the kernel to read from: the source of a write or a send.
///
/// # Safety
///
/// An implementation promises:
/// * the lease made by [`lend`](IoBuf::lend) satisfies the contract of [`Lease::from_owner`]: the memory stays where it is
///   while lease and rest are moved, and is freed when the lease is dropped, and not before;
/// * its [`init_len`](Lease::init_len) is [`len_init`](IoBuf::len_init);
/// * its [`capacity`](Lease::capacity) is zero unless the type is [`IoBufMut`];
/// * [`lend`](IoBuf::lend) and [`reclaim`](IoBuf::reclaim) use no ring and do not block: a ring calls them while it works;
/// * [`as_init`](IoBuf::as_init) is the same initialised memory, and neither its length nor [`len_max`](IoBuf::len_max)
///   changes through a shared reference or through writing bytes.
#[diagnostic::on_unimplemented(
    message = "safer-ring does not accept `{Self}` as a buffer: lend an owned one on the heap, such as `Vec<u8>` or `Box<[u8]>`",
    label = "this cannot be lent to the kernel",
    note = "`&[u8]` and `&mut [u8]` cannot be lent: the kernel may use the memory after the borrow ends; \
            pass an owned buffer such as `OwnedBuffer`, `Vec<u8>` or `Box<[u8]>`, which comes back with the result",
    note = "`[u8; N]` cannot be lent: it moves with its owner; put it into a `Box`"
)]
pub unsafe trait IoBuf: Sized + Send + 'static {
    /// What stays with the caller while the memory is lent: plain data such as the bounds of a slice; `()` for most types.
    type Rest: Send + 'static;

    /// Turns the buffer into raw parts.
    fn lend(self) -> (Lease, Self::Rest);

    /// Makes the buffer whole again, with the length it had.
    ///
    /// # Safety
    ///
    /// `lease` and `rest` come from one call of `lend` of this type, and the kernel no longer uses the memory.
    unsafe fn reclaim(lease: Lease, rest: Self::Rest) -> Self;

    /// The initialised bytes.
    fn as_init(&self) -> &[u8];

    /// Number of initialised bytes: what a write sends.
    #[inline]
    fn len_init(&self) -> usize {
        self.as_init().len()
    }

    /// The furthest end a slice of this buffer may have, in bytes: what a read may fill if the kernel may write to the
    /// buffer, else what a write sends.
    #[inline]
    fn len_max(&self) -> usize {
        self.len_init()
    }

    /// Restricts the next operation to a part of the buffer. [`Slice::into_inner`] gives the whole back.
    ///
    /// The start must be within the initialised bytes, the end within [`len_max`](IoBuf::len_max). Without an end, a read
    /// fills up to the capacity and a write sends up to the length. A write never sends more than the initialised part.
    ///
    /// # Panics
    ///
    /// If the range is out of bounds, as slicing does in the standard library; [`try_slice`](IoBuf::try_slice) does not.
    #[inline]
    #[track_caller]
    fn slice(self, range: impl RangeBounds<usize>) -> Slice<Self> {
        Slice::of(self, range)
    }

    /// As [`slice`](IoBuf::slice), for a range that may be out of bounds.
    ///
    /// # Errors
    ///
    /// The buffer itself, if the range is out of bounds.
    #[inline]
    fn try_slice(self, range: impl RangeBounds<usize>) -> Result<Slice<Self>, Self> {
        Slice::try_of(self, range)
    }
}

/// A buffer that can be lent for the kernel to write into: the target of a read or a receive.
///
/// # Safety
///
/// An implementation promises, besides what [`IoBuf`] asks:
/// * the [`capacity`](Lease::capacity) of its leases is [`capacity_mut`](IoBufMut::capacity_mut);
/// * [`reclaim_filled`](IoBufMut::reclaim_filled) shows no byte beyond `filled` that was not initialised before;
/// * [`as_init_mut`](IoBufMut::as_init_mut) is the memory of [`as_init`](IoBuf::as_init).
#[diagnostic::on_unimplemented(
    message = "safer-ring cannot read into `{Self}`",
    label = "the kernel cannot write into this",
    note = "a read needs a buffer that is owned and writable, such as `OwnedBuffer`, `Vec<u8>`, `Box<[u8]>` or `PooledBuffer`; it comes back with the result",
    note = "`&mut [u8]` cannot be lent: the kernel may use the memory after the borrow ends; \
            `[u8; N]` cannot be lent: it moves with its owner; put it into a `Box`"
)]
pub unsafe trait IoBufMut: IoBuf {
    /// Number of bytes a read may fill.
    #[inline]
    fn capacity_mut(&self) -> usize {
        self.len_max()
    }

    /// The initialised bytes, to be changed in place.
    fn as_init_mut(&mut self) -> &mut [u8];

    /// Makes the buffer whole again after a read: the kernel initialised the first `filled` bytes.
    ///
    /// Types that have a length get the length `filled`, cut to the capacity: a number from a kernel is not trusted.
    ///
    /// # Safety
    ///
    /// As [`reclaim`](IoBuf::reclaim); and each of the first `filled` bytes of the lease that lies within its capacity is
    /// initialised, by the kernel or before.
    unsafe fn reclaim_filled(lease: Lease, rest: Self::Rest, filled: usize) -> Self;
}
