//! Memory mappings that a forked child does not get (`MADV_DONTFORK`).
//!
//! # Safety
//! Maps and unmaps memory. A [`Mapping`] owns its range: nothing else unmaps it, and in a forked
//! child, where the range is not mapped, it unmaps nothing.
//!
//! Tests: fork_drop_leak_and_failure, nops_complete_under_every_combination_of_flags
#![allow(unsafe_code, reason = "mmap(2)")]

use core::ffi::c_void;
use core::ptr::NonNull;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use crate::{Errno, fork, uapi};

/// An owned mapping, readable and writable. Unmapped when dropped.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    length: usize,
    epoch: u32,
}

// SAFETY: a mapping belongs to the process, not to a thread, and `Mapping` gives out only raw
// pointers.
unsafe impl Send for Mapping {}
// SAFETY: as above: through `&Mapping` nothing but an address and a length can be read.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `length` bytes of `fd`, shared and populated, from `offset`.
    ///
    /// # Errors
    /// Those of `mmap(2)`, `madvise(2)` and [`fork::arm`].
    pub fn of(fd: BorrowedFd<'_>, length: usize, offset: u64) -> Result<Mapping, Errno> {
        Mapping::new(length, libc::MAP_SHARED | libc::MAP_POPULATE, fd.as_raw_fd(), offset)
    }

    /// Maps `length` bytes of new, zeroed, private memory. Page-aligned.
    ///
    /// # Errors
    /// Those of `mmap(2)`, `madvise(2)` and [`fork::arm`].
    pub fn anonymous(length: usize) -> Result<Mapping, Errno> {
        Mapping::new(length, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    }

    fn new(length: usize, kind: i32, fd: RawFd, offset: u64) -> Result<Mapping, Errno> {
        let epoch = fork::arm()?;
        let offset = libc::off_t::try_from(offset).map_err(|_| Errno::OVERFLOW)?;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice replaces nothing.
        let start = unsafe { libc::mmap(core::ptr::null_mut(), length, access, kind, fd, offset) };
        if start == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let start = NonNull::new(start.cast::<u8>()).ok_or(Errno::FAULT)?;
        let mapping = Mapping { start, length, epoch };
        // SAFETY: advice on the mapping made above.
        if unsafe { libc::madvise(mapping.start_void(), length, libc::MADV_DONTFORK) } != 0 {
            return Err(Errno::last());
        }
        Ok(mapping)
    }

    fn start_void(&self) -> *mut c_void {
        self.start.as_ptr().cast()
    }

    /// The first byte.
    #[must_use]
    pub fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Length in bytes, as asked for.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// A pointer to `count` values of `T` at `offset` bytes, all of them inside the mapping and
    /// aligned; `None` if they are not.
    #[must_use]
    pub fn at<T>(&self, offset: u32, count: u32) -> Option<NonNull<T>> {
        let offset = uapi::index(offset);
        let end = uapi::index(count).checked_mul(size_of::<T>())?.checked_add(offset)?;
        let aligned = offset.is_multiple_of(align_of::<T>());
        if end > self.length || !aligned {
            return None;
        }
        // SAFETY: `offset <= end <= length`, and the mapping is one allocation of `length` bytes.
        let place = unsafe { self.start.byte_add(offset) };
        Some(place.cast())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if fork::current() == self.epoch {
            // SAFETY: the range is this mapping's own and this process made it. The pointers given
            // out are raw: those who use them answer for the mapping being alive.
            unsafe { libc::munmap(self.start_void(), self.length) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_inside_and_aligned_or_not_there() {
        let mapping = Mapping::anonymous(4096).unwrap();
        assert!(mapping.at::<u32>(4092, 1).is_some());
        assert!(mapping.at::<u32>(4092, 2).is_none());
        assert!(mapping.at::<u32>(4096, 0).is_some());
        assert!(mapping.at::<u32>(4100, 0).is_none());
        assert!(mapping.at::<u32>(2, 1).is_none());
        assert!(mapping.at::<u64>(u32::MAX, u32::MAX).is_none());
        let last = mapping.at::<u8>(4095, 1).unwrap();
        // SAFETY: `at` gave a pointer to one byte inside the mapping, which is alive.
        unsafe { last.write(7) };
        // SAFETY: as above.
        assert_eq!(unsafe { last.read() }, 7);
    }

    #[test]
    fn an_empty_mapping_is_an_error() {
        assert_eq!(Mapping::anonymous(0).unwrap_err(), Errno::INVAL);
    }
}
