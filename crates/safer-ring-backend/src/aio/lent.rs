//! Buffers on their way to the kernel and back.
//!
//! # Safety
//! A [`Lent`] is made whole again by the functions of the [`Way`] that made it, and each consumes it.
//!
//! Tests: reads_and_writes_give_their_buffers_back, vectored_transfers_keep_the_order
#![allow(unsafe_code, reason = "reclaiming buffers from leases")]

use safer_ring_buf::{IoBuf, IoBufMut, Lease, Vectored, VectoredRest};
use safer_ring_sys::address;

use super::command::Buffers;

/// The buffers of a command as raw parts. Dropping it frees them.
pub(super) struct Lent<B: IoBuf> {
    lease: Lease,
    rest: Rest<B>,
    /// Bytes, or of several buffers their number.
    length: usize,
    /// The most bytes that can be moved.
    limit: usize,
}

enum Rest<B: IoBuf> {
    None,
    One(B::Rest),
    Many(VectoredRest<B>),
}

/// The buffers, if there are too many of them.
type Lends<B> = Result<Lent<B>, Buffers<B>>;

/// How buffers are lent for a command and made whole after it.
pub(super) struct Way<B: IoBuf> {
    lend: fn(Buffers<B>) -> Lends<B>,
    /// # Safety
    /// The kernel no longer uses the memory, and has initialised as many bytes as it has told, in order.
    filled: unsafe fn(Lent<B>, usize) -> Buffers<B>,
}

impl<B: IoBuf> Clone for Way<B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: IoBuf> Copy for Way<B> {}

impl<B: IoBuf> Way<B> {
    /// The kernel reads the initialised bytes.
    pub(super) const WRITE: Way<B> = Way { lend: lend_for_write, filled: written };

    /// # Errors
    /// The buffers, if there are more than 1024.
    pub(super) fn lend(self, buffers: Buffers<B>) -> Lends<B> {
        (self.lend)(buffers)
    }

    /// The buffers after a success that moved `bytes`.
    ///
    /// # Safety
    /// `lent` was made by this way, the kernel no longer uses the memory, and of a read it has initialised the first
    /// `bytes` of it, as far as there are so many.
    pub(super) unsafe fn moved(self, lent: Lent<B>, bytes: usize) -> Buffers<B> {
        // SAFETY: the caller's promise.
        unsafe { (self.filled)(lent, bytes) }
    }
}

impl<B: IoBufMut> Way<B> {
    /// The kernel fills the capacity.
    pub(super) const READ: Way<B> = Way { lend: lend_for_read, filled: read };
}

impl<B: IoBuf> Lent<B> {
    pub(super) fn address(&self) -> u64 {
        address(self.lease.ptr())
    }

    /// `aio_nbytes`.
    pub(super) fn length(&self) -> u64 {
        u64::try_from(self.length).unwrap_or(u64::MAX)
    }

    /// What a kernel says was moved, cut to what there is.
    pub(super) fn cut(&self, bytes: i64) -> usize {
        usize::try_from(bytes).unwrap_or(0).min(self.limit)
    }

    /// The buffers as they were.
    ///
    /// # Safety
    /// The kernel has never used the memory, or no longer does.
    pub(super) unsafe fn back(self) -> Buffers<B> {
        match self.rest {
            Rest::None => Buffers::None,
            // SAFETY: lease and rest come from one `lend` of this buffer; the kernel has ended (contract).
            Rest::One(rest) => Buffers::One(unsafe { B::reclaim(self.lease, rest) }),
            // SAFETY: as above, of one call of `Vectored`.
            Rest::Many(rest) => Buffers::Many(unsafe { Vectored::reclaim(self.lease, rest) }),
        }
    }
}

fn lend_for_write<B: IoBuf>(buffers: Buffers<B>) -> Lends<B> {
    Ok(match buffers {
        Buffers::None => Lent { lease: Lease::empty(), rest: Rest::None, length: 0, limit: 0 },
        Buffers::One(buffer) => {
            let (lease, rest) = buffer.lend();
            let length = lease.init_len();
            Lent { lease, rest: Rest::One(rest), length, limit: length }
        }
        Buffers::Many(buffers) => {
            let limit = Vectored::total_init(&buffers).unwrap_or(usize::MAX);
            let length = buffers.len();
            let (lease, _, rest) = Vectored::lend_for_write(buffers).map_err(Buffers::Many)?;
            Lent { lease, rest: Rest::Many(rest), length, limit }
        }
    })
}

fn lend_for_read<B: IoBufMut>(buffers: Buffers<B>) -> Lends<B> {
    Ok(match buffers {
        Buffers::None => Lent { lease: Lease::empty(), rest: Rest::None, length: 0, limit: 0 },
        Buffers::One(buffer) => {
            let (lease, rest) = buffer.lend();
            let length = lease.capacity();
            Lent { lease, rest: Rest::One(rest), length, limit: length }
        }
        Buffers::Many(buffers) => {
            let limit = Vectored::total_capacity(&buffers).unwrap_or(usize::MAX);
            let length = buffers.len();
            let (lease, _, rest) = Vectored::lend_for_read(buffers).map_err(Buffers::Many)?;
            Lent { lease, rest: Rest::Many(rest), length, limit }
        }
    })
}

/// # Safety
/// As [`Lent::back`].
unsafe fn written<B: IoBuf>(lent: Lent<B>, _: usize) -> Buffers<B> {
    // SAFETY: the caller's promise.
    unsafe { lent.back() }
}

/// # Safety
/// As [`Lent::back`]; the lease was made for a read, and the kernel has initialised its first `bytes` in order.
unsafe fn read<B: IoBufMut>(lent: Lent<B>, bytes: usize) -> Buffers<B> {
    match lent.rest {
        Rest::None => Buffers::None,
        Rest::One(rest) => {
            // SAFETY: lease and rest come from one `lend`; the kernel has ended, and wrote `bytes` (contract).
            Buffers::One(unsafe { B::reclaim_filled(lent.lease, rest, bytes) })
        }
        Rest::Many(rest) => {
            // SAFETY: as above, of one call of `Vectored::lend_for_read`.
            Buffers::Many(unsafe { Vectored::reclaim_filled(lent.lease, rest, bytes) })
        }
    }
}
