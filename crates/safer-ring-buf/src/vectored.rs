//! A list of buffers for one vectored operation.
//!
//! # Safety
//!
//! This file has the unsafe functions that make the list of buffers whole again, and lends the array the kernel reads
//! (`struct iovec`). The array and the leases it points into have one owner, which is dropped as a whole.
//!
//! Tests: vectored_write_lists_every_buffer, vectored_read_fills_in_order, vectored_limits
#![allow(unsafe_code, reason = "lends an array of addresses")]

use std::fmt;
use std::marker::PhantomData;

use crate::lease::{Lease, RawBox};
use crate::traits::{IoBuf, IoBufMut};

/// The most buffers one operation takes (`UIO_MAXIOV` of the kernel).
pub const MAX_BUFFERS: usize = 1024;

/// Address and length in bytes of one buffer, laid out as the `struct iovec` of `readv(2)`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct IoVec {
    /// Address of the first byte.
    pub base: *mut u8,
    /// Number of bytes.
    pub len: usize,
}

// SAFETY: plain numbers; whoever follows the address proves that it may.
unsafe impl Send for IoVec {}

/// Owner of everything a vectored operation uses.
struct Entries {
    iovecs: RawBox<[IoVec]>,
    leases: Box<[Lease]>,
}

/// What stays with the caller while the buffers of a vectored operation are lent.
pub struct VectoredRest<B: IoBuf> {
    rests: Vec<B::Rest>,
}

impl<B: IoBuf> fmt::Debug for VectoredRest<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VectoredRest").field("count", &self.rests.len()).finish()
    }
}

/// Lends a list of buffers as one lease, for vectored reads and writes.
///
/// [`ptr`](Lease::ptr) of that lease is an array of [`IoVec`] at a stable address; both its lengths are the size of the
/// array in bytes. The buffers live as long as the lease.
pub struct Vectored<B>(PhantomData<fn(B) -> B>);

impl<B> fmt::Debug for Vectored<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vectored")
    }
}

impl<B: IoBuf> Vectored<B> {
    /// Lends the initialised bytes of each buffer. Also gives the number of entries.
    ///
    /// # Errors
    ///
    /// The list itself, if it has more than [`MAX_BUFFERS`] entries.
    pub fn lend_for_write(buffers: Vec<B>) -> Result<(Lease, u32, VectoredRest<B>), Vec<B>> {
        Vectored::lend_with(buffers, Lease::init_len)
    }

    /// The sum of the initialised lengths in bytes: what a write sends. `None` if it exceeds `usize`.
    #[must_use]
    pub fn total_init(buffers: &[B]) -> Option<usize> {
        buffers.iter().try_fold(0_usize, |sum, buffer| sum.checked_add(buffer.len_init()))
    }

    /// Makes the buffers whole again, with the lengths they had, in their order.
    ///
    /// # Safety
    ///
    /// `lease` and `rest` come from one call of a function of this type that lends, and the kernel no longer uses the
    /// memory.
    #[must_use]
    pub unsafe fn reclaim(lease: Lease, rest: VectoredRest<B>) -> Vec<B> {
        // SAFETY: `lend_with` stored `Entries`.
        let entries = unsafe { lease.into_owner::<Entries>() };
        let leases = entries.leases.into_iter();
        leases
            .zip(rest.rests)
            // SAFETY: both lists are in the order in which `lend_with` made them, so each pair is one buffer's.
            .map(|(lease, rest)| unsafe { B::reclaim(lease, rest) })
            .collect()
    }

    fn lend_with(
        buffers: Vec<B>,
        len: impl Fn(&Lease) -> usize,
    ) -> Result<(Lease, u32, VectoredRest<B>), Vec<B>> {
        let count = match u32::try_from(buffers.len()) {
            Ok(count) if buffers.len() <= MAX_BUFFERS => count,
            _ => return Err(buffers),
        };
        let (leases, rests): (Vec<Lease>, Vec<B::Rest>) = buffers.into_iter().map(B::lend).unzip();
        let iovecs: Box<[IoVec]> =
            leases.iter().map(|lease| IoVec { base: lease.ptr(), len: len(lease) }).collect();
        let size = size_of_val(&*iovecs);
        let entries = Entries { iovecs: RawBox::new(iovecs), leases: leases.into_boxed_slice() };
        let ptr = entries.iovecs.as_ptr().cast::<u8>();
        // SAFETY: the array has `size` initialised bytes (no padding: two words), owned by `entries` alone and not moved
        // with it.
        Ok((unsafe { Lease::from_owner(ptr, size, size, entries) }, count, VectoredRest { rests }))
    }
}

impl<B: IoBufMut> Vectored<B> {
    /// Lends each buffer up to its capacity. Also gives the number of entries.
    ///
    /// # Errors
    ///
    /// The list itself, if it has more than [`MAX_BUFFERS`] entries.
    pub fn lend_for_read(buffers: Vec<B>) -> Result<(Lease, u32, VectoredRest<B>), Vec<B>> {
        Vectored::lend_with(buffers, Lease::capacity)
    }

    /// The sum of the capacities in bytes: what a read may fill. `None` if it exceeds `usize`.
    #[must_use]
    pub fn total_capacity(buffers: &[B]) -> Option<usize> {
        buffers.iter().try_fold(0_usize, |sum, buffer| sum.checked_add(buffer.capacity_mut()))
    }

    /// Makes the buffers whole again after a read of `filled` bytes in all: they were filled in order, each up to its
    /// capacity. A buffer the read did not reach is treated as after a read of zero bytes.
    ///
    /// # Safety
    ///
    /// `lease` and `rest` come from one call of [`lend_for_read`](Vectored::lend_for_read) of this type, the kernel no
    /// longer uses the memory, and it initialised the first `filled` bytes (as far as there are so many) in the order of
    /// the array.
    #[must_use]
    pub unsafe fn reclaim_filled(lease: Lease, rest: VectoredRest<B>, filled: usize) -> Vec<B> {
        // SAFETY: `lend_with` stored `Entries`.
        let entries = unsafe { lease.into_owner::<Entries>() };
        let mut left = filled;
        let leases = entries.leases.into_iter();
        leases
            .zip(rest.rests)
            .map(|(lease, rest)| {
                let here = left.min(lease.capacity());
                left -= here;
                // SAFETY: both lists are in the order in which `lend_with` made them, so each pair is one buffer's; the
                // kernel fills a buffer before it starts the next, so `here` bytes are initialised.
                unsafe { B::reclaim_filled(lease, rest, here) }
            })
            .collect()
    }
}
