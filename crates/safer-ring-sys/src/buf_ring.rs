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

use crate::Errno;
use crate::mmap::Mapping;
use crate::uapi::address;
use crate::uapi::register::{Buf, BufReg};

/// Buffers for the kernel to pick from (`IORING_REGISTER_PBUF_RING`, kernel 5.19). The memory is not handed down to a
/// forked child.
#[derive(Debug)]
pub struct BufRing {
    memory: Mapping,
    entries: u16,
    tail: u16,
}

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
        Ok(Self { memory, entries, tail: 0 })
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
        let place = u32::from(self.tail & (self.entries - 1));
        // SAFETY: the kernel does not read an entry between the completion that named its buffer and the publication of the
        // tail behind it (contract).
        unsafe { self.write(place, offset_of!(Buf, addr), address(memory)) };
        // SAFETY: as above.
        unsafe { self.write(place, offset_of!(Buf, len), len) };
        // SAFETY: as above.
        unsafe { self.write(place, offset_of!(Buf, bid), bid) };
        self.tail = self.tail.wrapping_add(1);
    }

    /// Writes a field of an entry. Field by field, since the last one of entry 0 is the tail.
    ///
    /// # Safety
    /// The kernel does not read the entry.
    unsafe fn write<T>(&self, place: u32, field: usize, value: T) {
        if let Some(field) = self.field(place, field) {
            // SAFETY: inside the mapping and aligned, by `field`; nobody else uses it (contract).
            unsafe { field.write(value) };
        }
    }

    /// Where a field of an entry is.
    fn field<T>(&self, place: u32, field: usize) -> Option<NonNull<T>> {
        let entry = usize::try_from(place).ok()? * size_of::<Buf>();
        self.memory.at(u32::try_from(entry + field).ok()?, 1)
    }

    /// Shows the kernel what was pushed.
    pub fn publish(&mut self) {
        if let Some(tail) = self.field::<u16>(0, offset_of!(Buf, resv)) {
            // SAFETY: inside the mapping and aligned, by `field`; the kernel only reads it, and only this writes it.
            let tail = unsafe { AtomicU16::from_ptr(tail.as_ptr()) };
            tail.store(self.tail, Ordering::Release);
        }
    }
}
