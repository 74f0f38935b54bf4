//! The program's side of a ring of provided buffers.
//!
//! # Safety
//! Writes entries and the tail into memory that the kernel reads: the entries of a ring that it was told of
//! ([`Uring::register_buf_ring`](crate::Uring::register_buf_ring)). All of it lies in the ring's own mapping.
//!
//! Tests: receives_pick_buffers_of_a_ring_in_turn
#![allow(unsafe_code, reason = "memory that is shared with the kernel")]

use core::mem::offset_of;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU16, Ordering};

use crate::mmap::Mapping;
use crate::uapi::address;
use crate::uapi::register::{Buf, BufReg};
use crate::{Errno, uapi};

/// Buffers for the kernel to pick from (`IORING_REGISTER_PBUF_RING`, kernel 5.19). The memory is not handed down to a
/// forked child.
#[derive(Debug)]
pub struct BufRing {
    memory: Mapping,
    first: NonNull<Buf>,
    entries: u16,
    tail: u16,
}

// SAFETY: the pointer leads into the mapping, which is the ring's own and belongs to the process.
unsafe impl Send for BufRing {}

impl BufRing {
    /// An empty ring of `entries` entries: a power of two, at most 32768.
    ///
    /// # Errors
    /// `EINVAL` for another number; those of `mmap(2)`.
    pub fn new(entries: u16) -> Result<Self, Errno> {
        if !entries.is_power_of_two() || entries > 1 << 15 {
            return Err(Errno::INVAL);
        }
        let memory = Mapping::anonymous(size_of::<Buf>() * usize::from(entries))?;
        let first = memory.at::<Buf>(0, u32::from(entries)).ok_or(Errno::INVAL)?;
        Ok(Self { memory, first, entries, tail: 0 })
    }

    /// How it is registered, as group `bgid`.
    #[must_use]
    pub fn description(&self, bgid: u16) -> BufReg {
        let ring_addr = address(self.memory.start().as_ptr());
        BufReg { ring_addr, ring_entries: u32::from(self.entries), bgid, ..BufReg::default() }
    }

    /// Number of entries.
    #[must_use]
    pub fn entries(&self) -> u16 {
        self.entries
    }

    /// Adds a buffer of `len` bytes. The kernel may pick it after the next [`publish`](Self::publish).
    ///
    /// # Safety
    /// At most [`entries`](Self::entries) buffers are in the ring that no completion has named. If the ring is registered:
    /// the memory is as [`Uring::register_buf_ring`](crate::Uring::register_buf_ring) asks.
    pub unsafe fn push(&mut self, memory: *mut u8, len: u32, bid: u16) {
        let place = uapi::index(u32::from(self.tail & (self.entries - 1)));
        // SAFETY: `place` is less than `entries`, and the mapping has so many. The kernel does not read an entry between
        // the completion that named its buffer and the publication of the tail behind it (contract). Field by field: the
        // last one of entry 0 is the tail.
        unsafe {
            let entry = self.first.add(place).as_ptr();
            (&raw mut (*entry).addr).write(address(memory));
            (&raw mut (*entry).len).write(len);
            (&raw mut (*entry).bid).write(bid);
        }
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel what was pushed.
    pub fn publish(&mut self) {
        // SAFETY: inside the first entry and aligned; only read by the kernel, and only written here.
        let tail = unsafe {
            let field = self.first.as_ptr().byte_add(offset_of!(Buf, resv)).cast::<u16>();
            AtomicU16::from_ptr(field)
        };
        tail.store(self.tail, Ordering::Release);
    }
}
