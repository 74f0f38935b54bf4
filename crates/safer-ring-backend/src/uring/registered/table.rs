//! Whose table of registered memory it is: the kernel's, or a simulated one's.
//!
//! # Safety
//! Hands memory on, with the promise that it came with.
//!
//! Tests: reads_and_writes_name_registered_memory, registered_memory_comes_and_goes
#![allow(unsafe_code, reason = "hands on the contract of registered memory")]

use safer_ring_sys::{Errno, Uring, iovec};

use crate::sim::Port;
use crate::uring::other::Other;
use crate::uring::setup::steadily;

pub(in crate::uring) enum Table<'a> {
    Kernel(&'a Uring),
    World(&'a Port),
}

impl<'a> Table<'a> {
    /// That of a ring, if its features say that it registers memory.
    pub(in crate::uring) fn of(ring: &'a Uring, other: Option<&'a Other>) -> Self {
        match other {
            Some(Other::World(port)) => Table::World(port),
            _ => Table::Kernel(ring),
        }
    }

    /// Makes it, with so many empty places.
    pub(super) fn make(&self, places: u16) -> Result<(), Errno> {
        steadily(|| match self {
            Table::Kernel(ring) => ring.register_buffers_sparse(places.into()),
            Table::World(port) => port.make_slots(places.into()),
        })
    }

    /// Fills a slot, or empties it.
    ///
    /// # Safety
    /// As [`Uring::buffers_update`] for this part, for the kernel of the ring whatever it is.
    pub(super) unsafe fn fill(&self, slot: u16, part: iovec) -> Result<(), Errno> {
        let (start, len) = (part.iov_base.addr(), part.iov_len);
        steadily(|| match self {
            // SAFETY: the contract is the same.
            Table::Kernel(ring) => unsafe { ring.buffers_update(slot.into(), &[part]) }.map(drop),
            Table::World(port) => port.fill_slot(slot, start, len),
        })
    }
}
