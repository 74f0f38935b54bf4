//! Where the buffers of a group are lent: to the kernel, or to a simulated one.
//!
//! # Safety
//! Hands a buffer on, with the promise that it came with.
//!
//! Tests: a_stream_of_receives_is_one_submission, streams_of_receives_give_every_byte_in_order
#![allow(unsafe_code, reason = "hands on the contract of lent buffers")]

use safer_ring_sys::BufRing;

use crate::sim::Shelf;

pub(super) enum Source {
    Kernel(BufRing),
    World(Shelf),
}

impl Source {
    /// Adds a buffer of `len` bytes, which may be picked after the next [`Source::publish`].
    ///
    /// # Safety
    /// As [`BufRing::push`], for the kernel of the ring whatever it is.
    #[inline]
    pub(super) unsafe fn push(&mut self, memory: *mut u8, len: u32, bid: u16) {
        match self {
            // SAFETY: the contract is the same.
            Source::Kernel(ring) => unsafe { ring.push(memory, len, bid) },
            // SAFETY: likewise.
            Source::World(shelf) => unsafe { shelf.push(memory, len, bid) },
        }
    }

    /// Shows what was pushed.
    #[inline]
    pub(super) fn publish(&mut self) {
        match self {
            Source::Kernel(ring) => ring.publish(),
            Source::World(shelf) => shelf.publish(),
        }
    }
}
