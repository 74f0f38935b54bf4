//! Memory that does not come from the global allocator: mapped pages, on a node of choice.
//!
//! # Safety
//!
//! This file needs `unsafe` because only who makes such memory knows that it is valid, and how to free it. Invariant
//! "Origin": the memory of a buffer is freed once, by the function of its [`Origin`], or by the global allocator with the
//! origin's alignment if there is none.
//!
//! Tests: foreign_memory_is_freed_once_by_its_origin, a_pool_of_foreign_memory_makes_no_other
#![allow(unsafe_code, reason = "declares the contract of memory from elsewhere")]

use std::fmt;
use std::ptr::NonNull;

use crate::memory::RawBuf;

/// Where memory came from: its alignment, and how it is freed. A `static` of who makes the memory.
#[derive(Debug)]
pub struct Origin {
    pub(crate) align: usize,
    /// `None`: the global allocator.
    pub(crate) release: Option<Release>,
}

/// Frees memory of this many bytes.
type Release = unsafe fn(NonNull<u8>, usize);

/// # Safety
/// None is needed.
unsafe fn nothing(_: NonNull<u8>, _: usize) {}

impl Origin {
    /// Memory whose address is a multiple of `align`, which is freed by `release` with its address and capacity.
    ///
    /// # Safety
    ///
    /// * `release` may be called on any thread, with each [`ForeignMemory`] that names this origin, once.
    /// * It does not unwind.
    #[must_use]
    pub const unsafe fn new(align: usize, release: Release) -> Origin {
        Origin { align, release: Some(release) }
    }

    pub(crate) const fn heap(align: usize) -> Origin {
        Origin { align, release: None }
    }

    /// A part of an allocation that somebody else frees.
    pub(crate) const fn part(align: usize) -> Origin {
        Origin { align, release: Some(nothing) }
    }
}

/// Memory from elsewhere that is to become a buffer: [`OwnedBuffer::from`](crate::OwnedBuffer),
/// [`BufferPool::of_foreign`](crate::BufferPool::of_foreign). Dropping it frees it.
pub struct ForeignMemory {
    raw: RawBuf,
}

impl ForeignMemory {
    /// Takes over `capacity` bytes at `ptr`.
    ///
    /// # Safety
    ///
    /// * `ptr` is valid for reads and writes of `capacity` bytes until `origin` frees them, and a multiple of its alignment.
    /// * Nobody else uses these bytes, and they may be used on any thread.
    /// * They may be freed with the function of `origin`, which the caller does not do itself.
    #[must_use]
    pub unsafe fn new(ptr: NonNull<u8>, capacity: usize, origin: &'static Origin) -> ForeignMemory {
        ForeignMemory { raw: RawBuf::foreign(ptr, capacity, origin) }
    }

    /// Number of bytes.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.raw.capacity()
    }

    pub(crate) fn into_raw(self) -> RawBuf {
        self.raw
    }
}

impl fmt::Debug for ForeignMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeignMemory").field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}
