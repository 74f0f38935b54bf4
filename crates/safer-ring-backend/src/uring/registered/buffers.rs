//! Memory of pools that is registered with a ring (`IORING_REGISTER_BUFFERS2`, kernel 5.19): its pages are pinned once, and
//! not by each operation.
//!
//! Nobody names a slot. The entry of a positional read or write whose memory lies in what is registered becomes the entry
//! that names it, which does the same. The memory of an operation is that of a buffer of the pool, which keeps it
//! allocated, and so does what is here: no other memory has an address in between.
//!
//! # Safety
//! Registering is a promise that the memory stays: [`PoolMemory`] is kept here until it is unregistered or the ring closed.
//!
//! Tests: reads_and_writes_name_registered_memory, what_is_unregistered_is_read_as_before
#![allow(unsafe_code, reason = "tells the kernel of memory")]

use safer_ring_buf::PoolMemory;
use safer_ring_core::CURSOR;
use safer_ring_sys::{Errno, Sqe, iovec, opcode};

use super::table::Table;

/// Places in the kernel's table.
const SLOTS: u16 = 64;
/// The most that one of them holds (io_uring_register(2), IORING_REGISTER_BUFFERS).
const LARGEST: usize = 1 << 30;

/// What is registered with one ring.
#[derive(Default)]
pub(in crate::uring) struct Buffers {
    /// The first address of all parts, and how far they reach.
    start: usize,
    reach: usize,
    parts: Vec<Part>,
    /// The kernel has a table of [`SLOTS`] places.
    has_table: bool,
    /// Entries that were given a slot.
    used: u64,
}

/// What one slot holds.
struct Part {
    start: usize,
    end: usize,
    slot: u16,
    memory: PoolMemory,
}

impl Buffers {
    /// Entries that named registered memory.
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// Whether there is anything.
    pub(super) fn is_some(&self) -> bool {
        self.reach != 0
    }

    /// Lets the entry of a read or write name the memory at this address by its slot, if it has one.
    pub(super) fn name(&mut self, sqe: &mut Sqe, address: *mut u8) {
        let Some(slot) = self.slot_of(address, sqe.off) else { return };
        sqe.opcode = match sqe.opcode {
            opcode::READ => opcode::READ_FIXED,
            _ => opcode::WRITE_FIXED,
        };
        sqe.buf_index = slot;
    }

    /// The slot that a read or write at this offset names for the memory at this address, if it has one.
    pub(super) fn slot_of(&mut self, address: *mut u8, offset: u64) -> Option<u16> {
        let address = address.addr();
        // At the cursor there are pipes and terminals, which gain nothing by it.
        if address.wrapping_sub(self.start) >= self.reach || offset == CURSOR {
            return None;
        }
        let mine = |part: &&Part| (part.start..part.end).contains(&address);
        let slot = self.parts.iter().find(mine)?.slot;
        self.used += 1;
        Some(slot)
    }

    /// Registers the memory of a pool; nothing happens if it is registered.
    pub(super) fn add(&mut self, table: &Table<'_>, memory: &PoolMemory) -> Result<(), Errno> {
        if self.parts.iter().any(|part| part.memory == *memory) {
            return Ok(());
        }
        while let Some(over) = self.parts.iter().find(|part| part.memory.is_over()) {
            let over = over.memory.clone();
            self.remove(table, &over)?;
        }
        if !self.has_table {
            table.make(SLOTS)?;
            self.has_table = true;
        }
        let added = self.add_parts(table, memory);
        self.measure();
        if added.is_err() {
            // Its first parts, if it has several.
            self.remove(table, memory)?;
        }
        added
    }

    fn add_parts(&mut self, table: &Table<'_>, memory: &PoolMemory) -> Result<(), Errno> {
        // No buffer lies in two slots.
        let stride = memory.stride().max(1);
        let most = LARGEST / stride * stride;
        if most == 0 {
            return Err(Errno::FBIG);
        }
        for from in (0..memory.len()).step_by(most) {
            let start = memory.start().wrapping_add(from);
            let len = most.min(memory.len() - from);
            let slot = self.free_slot().ok_or(Errno::NOSPC)?;
            fill(table, slot, iovec { iov_base: start.cast(), iov_len: len }, memory)?;
            let (start, end) = (start.addr(), start.addr() + len);
            self.parts.push(Part { start, end, slot, memory: memory.clone() });
        }
        Ok(())
    }

    fn free_slot(&self) -> Option<u16> {
        (0..SLOTS).find(|slot| self.parts.iter().all(|part| part.slot != *slot))
    }

    /// Undoes that. What is in flight keeps its pages.
    pub(super) fn remove(&mut self, table: &Table<'_>, memory: &PoolMemory) -> Result<(), Errno> {
        while let Some(at) = self.parts.iter().position(|part| part.memory == *memory) {
            let nothing = iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
            let slot = self.parts.get(at).map_or(0, |part| part.slot);
            fill(table, slot, nothing, memory)?;
            self.parts.swap_remove(at);
            self.measure();
        }
        Ok(())
    }

    fn measure(&mut self) {
        self.start = self.parts.iter().map(|part| part.start).min().unwrap_or(0);
        let end = self.parts.iter().map(|part| part.end).max().unwrap_or(0);
        self.reach = end - self.start;
    }
}

/// Fills a slot, or empties it.
fn fill(table: &Table<'_>, slot: u16, part: iovec, _keep: &PoolMemory) -> Result<(), Errno> {
    // SAFETY: the part lies in the memory of a pool, which the caller keeps in `Buffers` until the slot is emptied or the
    // ring is closed. Operations that name it have a buffer of the pool as their lease, which keeps it as well.
    unsafe { table.fill(slot, part) }
}
