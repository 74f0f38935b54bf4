//! Memory for the kernel to read and write, that is never Rust's.
//!
//! # Safety
//! All of it is one mapping that lives as long as the process, is used through raw pointers only, and is copied into and
//! out of. Addresses in it are the only ones with memory behind them that a probe can make ([`Address`]).
//!
//! Tests: what_is_put_can_be_got, addresses_stay_inside
#![allow(unsafe_code, reason = "a mapping, and copies into and out of it")]

use std::ptr;

use safer_ring_sys::Errno;
use safer_ring_sys::mmap::Mapping;

/// An address for the kernel: in a [`Memory`], or one where no program has anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Address(u64);

impl Address {
    pub(crate) const NULL: Address = Address(0);
    /// In the kernel's half.
    pub(crate) const KERNEL: Address = Address(0xffff_8000_0000_1000);
    /// Near the end of all addresses, so that a length overflows.
    pub(crate) const LAST: Address = Address(u64::MAX - 7);

    /// A number below 64 KiB, where Linux lets no program map anything (`vm.mmap_min_addr`), for fields that are an address
    /// at times and something else at others.
    pub(crate) const fn low(number: u16) -> Address {
        // Lossless; `u64::from` is not const.
        Address(u64::from_le_bytes([
            number.to_le_bytes()[0],
            number.to_le_bytes()[1],
            0,
            0,
            0,
            0,
            0,
            0,
        ]))
    }

    pub(crate) const fn get(self) -> u64 {
        self.0
    }
}

/// The parts of the mapping, in pages.
const PAGES: usize = 48;
const READ_ONLY: usize = 40;
const FORBIDDEN: usize = 44;

/// Pages that can be read and written; then some that can only be read, and some that cannot be touched.
pub(crate) struct Memory {
    /// Never unmapped: a process that probes ends soon.
    start: *mut u8,
    page: usize,
}

impl Memory {
    /// # Errors
    /// Those of `mmap(2)` and `mprotect(2)`.
    pub(crate) fn new(page: usize) -> Result<Memory, Errno> {
        let mapping = Mapping::anonymous(page.saturating_mul(PAGES))?;
        let start = std::mem::ManuallyDrop::new(mapping).start().as_ptr();
        let memory = Memory { start, page };
        memory.protect(READ_ONLY, libc::PROT_READ)?;
        memory.protect(FORBIDDEN, libc::PROT_NONE)?;
        Ok(memory)
    }

    /// Sets the protection of four pages from `first` on.
    fn protect(&self, first: usize, protection: i32) -> Result<(), Errno> {
        let place = self.place(first.saturating_mul(self.page));
        // SAFETY: four pages of this mapping (`first` is at most 44 of 48), of which Rust has no reference.
        let result =
            unsafe { libc::mprotect(place.cast(), self.page.saturating_mul(4), protection) };
        if result == 0 { Ok(()) } else { Err(Errno::last()) }
    }

    /// Lets forked children have a copy of it.
    ///
    /// # Errors
    /// Those of `madvise(2)`.
    pub(crate) fn share(&self) -> Result<(), Errno> {
        let length = self.page.saturating_mul(PAGES);
        // SAFETY: advice on this mapping, which stays as it is.
        let result = unsafe { libc::madvise(self.start.cast(), length, libc::MADV_DOFORK) };
        if result == 0 { Ok(()) } else { Err(Errno::last()) }
    }

    fn place(&self, offset: usize) -> *mut u8 {
        self.start.wrapping_add(offset.min(self.page.saturating_mul(PAGES)))
    }

    /// An address that can be read and written.
    pub(crate) fn at(&self, offset: usize) -> Address {
        address(self.place(offset))
    }

    /// The start of pages that can only be read. They are zeros.
    pub(crate) fn read_only(&self) -> Address {
        self.at(READ_ONLY.saturating_mul(self.page))
    }

    /// The start of pages that cannot be touched.
    pub(crate) fn forbidden(&self) -> Address {
        self.at(FORBIDDEN.saturating_mul(self.page))
    }

    /// Copies bytes in; none if they do not fit into the writable part.
    pub(crate) fn put(&self, offset: usize, bytes: &[u8]) {
        if offset.saturating_add(bytes.len()) > self.page.saturating_mul(READ_ONLY) {
            return;
        }
        // SAFETY: the bytes fit into the writable part, checked above, and nobody has a reference to it.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.place(offset), bytes.len()) };
    }

    pub(crate) fn put_u32(&self, offset: usize, value: u32) {
        self.put(offset, &value.to_ne_bytes());
    }

    pub(crate) fn put_u64(&self, offset: usize, value: u64) {
        self.put(offset, &value.to_ne_bytes());
    }

    /// Copies bytes out; zeros if they are not in the writable part.
    pub(crate) fn get<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut bytes = [0; N];
        if offset.saturating_add(N) <= self.page.saturating_mul(READ_ONLY) {
            // SAFETY: as in `put`.
            unsafe { ptr::copy_nonoverlapping(self.place(offset), bytes.as_mut_ptr(), N) };
        }
        bytes
    }

    pub(crate) fn get_u32(&self, offset: usize) -> u32 {
        u32::from_ne_bytes(self.get(offset))
    }

    pub(crate) fn get_u64(&self, offset: usize) -> u64 {
        u64::from_ne_bytes(self.get(offset))
    }

    pub(crate) fn get_i64(&self, offset: usize) -> i64 {
        i64::from_ne_bytes(self.get(offset))
    }
}

fn address(place: *mut u8) -> Address {
    Address(safer_ring_sys::address(place.cast_const()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_can_be_got() {
        let memory = Memory::new(4096).unwrap();
        memory.put_u64(8, 7);
        memory.put_u32(4096, 9);
        assert_eq!((memory.get_u64(8), memory.get_i64(8), memory.get_u32(4096)), (7, 7, 9));
        assert_eq!(memory.get_u64(0), 0);
    }

    #[test]
    fn addresses_stay_inside() {
        let memory = Memory::new(4096).unwrap();
        let start = memory.at(0).get();
        assert_eq!(memory.read_only().get() - start, 40 * 4096);
        assert_eq!(memory.forbidden().get() - start, 44 * 4096);
        assert_eq!(memory.at(usize::MAX).get() - start, 48 * 4096);
        memory.put(40 * 4096 - 1, &[1, 2]);
        assert_eq!(memory.get::<1>(40 * 4096 - 1), [0], "what does not fit is not written");
        assert_eq!(memory.get::<4>(40 * 4096 - 2), [0; 4]);
        assert_eq!(Address::low(0x1234).get(), 0x1234);
    }
}
