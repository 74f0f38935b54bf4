//! Memory with an alignment, and how much of it is initialised.
//!
//! # Safety
//!
//! This file needs `unsafe` to allocate with an alignment (the standard containers cannot) and to show the initialised
//! part of the memory. It rests on two invariants.
//!
//! * **Layout.** A [`RawBuf`] of a capacity above zero owns its memory. If its origin has no function of its own, it is an
//!   allocation of the global allocator made with exactly the layout (`capacity`, `align` of the origin), and is freed
//!   once, with the same layout; else that function frees it, once.
//! * **Length.** The first `len` bytes of a [`Filled`] are initialised and `len` is at most the capacity.
//!
//! Tests: owned_buffer_has_the_habits_of_a_container, alignment, aligned_buffers, a_read_into_a_slice_keeps_the_rest
#![allow(unsafe_code, reason = "allocates with an alignment")]

use std::alloc::{self, Layout};
use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::slice;

use crate::foreign::Origin;

/// The global allocator, with the alignment two to the power of the index. A buffer has one word for where its memory
/// came from, and this is what it points to.
#[expect(
    clippy::indexing_slicing,
    reason = "computed at compile time, where a wrong index is an error"
)]
static HEAP: [Origin; 63] = {
    let mut table = [const { Origin::heap(1) }; 63];
    let mut power = 0;
    while power < table.len() {
        table[power] = Origin::heap(1 << power);
        power += 1;
    }
    table
};
/// The same for parts of a [`Slab`].
#[expect(clippy::indexing_slicing, reason = "as above")]
static PARTS: [Origin; 63] = {
    let mut table = [const { Origin::part(1) }; 63];
    let mut power = 0;
    while power < table.len() {
        table[power] = Origin::part(1 << power);
        power += 1;
    }
    table
};
static BYTES: Origin = Origin::heap(1);

/// Why a buffer cannot be allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AllocError {
    /// The alignment is not a power of two.
    Align,
    /// The size, rounded up to the alignment, exceeds `isize::MAX`.
    TooLarge,
    /// The allocator has no memory.
    OutOfMemory,
}

impl fmt::Display for AllocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AllocError::Align => "the alignment of a buffer must be a power of two",
            AllocError::TooLarge => {
                "the size of a buffer, rounded up to its alignment, is too large"
            }
            AllocError::OutOfMemory => "no memory for a buffer",
        })
    }
}

impl std::error::Error for AllocError {}

impl From<AllocError> for io::Error {
    fn from(error: AllocError) -> io::Error {
        let kind = match error {
            AllocError::Align | AllocError::TooLarge => io::ErrorKind::InvalidInput,
            AllocError::OutOfMemory => io::ErrorKind::OutOfMemory,
        };
        io::Error::new(kind, error)
    }
}

/// The layout of a buffer, checked.
fn layout(capacity: usize, align: usize) -> Result<Layout, AllocError> {
    if !align.is_power_of_two() {
        return Err(AllocError::Align);
    }
    Layout::from_size_align(capacity, align).map_err(|_| AllocError::TooLarge)
}

/// Memory without a length.
pub(crate) struct RawBuf {
    ptr: NonNull<u8>,
    capacity: usize,
    origin: &'static Origin,
}

// SAFETY: it owns its allocation alone.
unsafe impl Send for RawBuf {}
// SAFETY: a shared reference gives only the address.
unsafe impl Sync for RawBuf {}

impl RawBuf {
    /// Allocates `capacity` bytes, zeroed or as they come.
    pub(crate) fn allocate(
        capacity: usize,
        align: usize,
        zeroed: bool,
    ) -> Result<RawBuf, AllocError> {
        let layout = layout(capacity, align)?;
        let power = usize::try_from(align.trailing_zeros()).unwrap_or(usize::MAX);
        let origin = HEAP.get(power).ok_or(AllocError::TooLarge)?;
        let ptr = if capacity == 0 {
            // Aligned, not null, and never used: there is no byte.
            ptr::without_provenance_mut(align)
        } else if zeroed {
            // SAFETY: the size is not zero.
            unsafe { alloc::alloc_zeroed(layout) }
        } else {
            // SAFETY: the size is not zero.
            unsafe { alloc::alloc(layout) }
        };
        let ptr = NonNull::new(ptr).ok_or(AllocError::OutOfMemory)?;
        Ok(RawBuf { ptr, capacity, origin })
    }

    /// Takes over memory under the contract of `ForeignMemory::new`.
    pub(crate) fn foreign(ptr: NonNull<u8>, capacity: usize, origin: &'static Origin) -> RawBuf {
        RawBuf { ptr, capacity, origin }
    }

    /// As `allocate`, with the standard library's habit for errors: abort without memory, panic if the layout is absurd.
    #[track_caller]
    pub(crate) fn allocate_or_abort(capacity: usize, align: usize, zeroed: bool) -> RawBuf {
        match RawBuf::allocate(capacity, align, zeroed) {
            Ok(raw) => raw,
            Err(error) => match layout(capacity, align) {
                Ok(layout) => alloc::handle_alloc_error(layout),
                Err(_) => panic!("{error}"),
            },
        }
    }

    /// Whether `allocate` accepts these numbers.
    pub(crate) fn check(capacity: usize, align: usize) -> Result<(), AllocError> {
        layout(capacity, align).map(|_| ())
    }

    /// Takes over the allocation of a vector; its length comes with it.
    pub(crate) fn from_vec(vec: Vec<u8>) -> (RawBuf, usize) {
        let mut vec = ManuallyDrop::new(vec);
        let (len, capacity) = (vec.len(), vec.capacity());
        match NonNull::new(vec.as_mut_ptr()) {
            // A vector of bytes has the layout (capacity, 1), and nothing to free without a capacity.
            Some(ptr) => (RawBuf { ptr, capacity, origin: &BYTES }, len),
            None => (RawBuf::default(), 0),
        }
    }

    #[inline]
    pub(crate) fn ptr(&self) -> *mut u8 {
        self.ptr.as_ptr()
    }

    #[inline]
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }
}

impl Default for RawBuf {
    /// No memory.
    #[inline]
    fn default() -> RawBuf {
        RawBuf { ptr: NonNull::dangling(), capacity: 0, origin: &BYTES }
    }
}

impl Drop for RawBuf {
    #[inline]
    fn drop(&mut self) {
        if self.capacity == 0 {
            return;
        }
        if let Some(release) = self.origin.release {
            // SAFETY: the contract of `Origin::new` and `ForeignMemory::new`; freed once (invariant "Layout").
            unsafe { release(self.ptr, self.capacity) }
        } else if let Ok(layout) = layout(self.capacity, self.origin.align) {
            // SAFETY: allocated with this layout, freed once (invariant "Layout").
            unsafe { alloc::dealloc(self.ptr.as_ptr(), layout) }
        }
    }
}

/// One allocation for many buffers, which do not free it: this does.
pub(crate) struct Slab {
    memory: RawBuf,
    stride: usize,
}

impl Slab {
    /// An allocation of zero bytes, and the `count` buffers of `size` bytes that it is cut into. They must not be used when
    /// the slab is gone.
    pub(crate) fn cut(
        count: usize,
        size: usize,
        align: usize,
    ) -> Result<(Slab, Vec<RawBuf>), AllocError> {
        let stride = layout(size, align)?.pad_to_align().size();
        let total = stride.checked_mul(count).ok_or(AllocError::TooLarge)?;
        let memory = RawBuf::allocate(total, align, true)?;
        let power = usize::try_from(align.trailing_zeros()).unwrap_or(usize::MAX);
        let origin = PARTS.get(power).ok_or(AllocError::TooLarge)?;
        // The address of part `n` is in the allocation, and not null; no two parts have a byte in common.
        let part = |n: usize| {
            let ptr = memory.ptr.as_ptr().wrapping_add(n * stride);
            NonNull::new(ptr).map(|ptr| RawBuf::foreign(ptr, size, origin))
        };
        let parts = (0..count).filter_map(part).collect();
        Ok((Slab { memory, stride }, parts))
    }

    pub(crate) fn start(&self) -> *mut u8 {
        self.memory.ptr()
    }

    pub(crate) fn len(&self) -> usize {
        self.memory.capacity
    }

    /// From one buffer to the next, in bytes.
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }
}

/// What owns a [`RawBuf`].
///
/// # Safety
///
/// `raw` always gives the same memory, which nobody else uses.
pub(crate) unsafe trait Memory {
    fn raw(&self) -> &RawBuf;
}

// SAFETY: it is its own memory, and owns it alone.
unsafe impl Memory for RawBuf {
    #[inline]
    fn raw(&self) -> &RawBuf {
        self
    }
}

/// Memory of which the first `len` bytes are initialised.
#[derive(Default)]
pub(crate) struct Filled<M> {
    memory: M,
    len: usize,
}

impl<M: Memory> Filled<M> {
    /// # Safety
    ///
    /// The first `len` bytes are initialised, and `len` is at most the capacity.
    #[inline]
    pub(crate) unsafe fn new(memory: M, len: usize) -> Filled<M> {
        Filled { memory, len }
    }

    #[inline]
    pub(crate) fn empty(memory: M) -> Filled<M> {
        Filled { memory, len: 0 }
    }

    #[inline]
    pub(crate) fn into_parts(self) -> (M, usize) {
        (self.memory, self.len)
    }

    #[inline]
    pub(crate) fn capacity(&self) -> usize {
        self.memory.raw().capacity
    }

    #[inline]
    pub(crate) fn align(&self) -> usize {
        self.memory.raw().origin.align
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the first `len` bytes are initialised (invariant "Length") and borrowed with `self`.
        unsafe { slice::from_raw_parts(self.memory.raw().ptr(), self.len) }
    }

    #[inline]
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the first `len` bytes are initialised (invariant "Length") and borrowed with `self`.
        unsafe { slice::from_raw_parts_mut(self.memory.raw().ptr(), self.len) }
    }

    /// Where the next byte goes.
    fn tail(&mut self) -> *mut u8 {
        self.memory.raw().ptr().wrapping_add(self.len)
    }

    #[inline]
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    pub(crate) fn resize(&mut self, len: usize) -> usize {
        let len = len.min(self.capacity());
        if let Some(grown) = len.checked_sub(self.len) {
            // SAFETY: `self.len + grown` is at most the capacity, so the bytes are inside the allocation.
            unsafe { self.tail().write_bytes(0, grown) };
        }
        self.len = len;
        len
    }

    pub(crate) fn extend_from_slice(&mut self, bytes: &[u8]) -> usize {
        let fits = bytes.len().min(self.capacity() - self.len);
        // SAFETY: `self.len + fits` is at most the capacity; a borrowed slice does not overlap memory behind our length.
        unsafe { self.tail().copy_from_nonoverlapping(bytes.as_ptr(), fits) };
        self.len += fits;
        fits
    }
}

impl Filled<RawBuf> {
    /// `len` zero bytes, or an error.
    pub(crate) fn zeroed(len: usize, align: usize) -> Result<Filled<RawBuf>, AllocError> {
        RawBuf::allocate(len, align, true).map(|memory| Filled { memory, len })
    }

    /// `len` zero bytes; see `allocate_or_abort`.
    #[track_caller]
    pub(crate) fn zeroed_or_abort(len: usize) -> Filled<RawBuf> {
        Filled { memory: RawBuf::allocate_or_abort(len, 1, true), len }
    }

    /// Without a copy, if the layout is that of a vector.
    pub(crate) fn into_vec(self) -> Result<Vec<u8>, Filled<RawBuf>> {
        if self.memory.origin.align != 1 || self.memory.origin.release.is_some() {
            return Err(self);
        }
        let memory = ManuallyDrop::new(self.memory);
        // SAFETY: allocated by the global allocator with the layout (capacity, 1), of which `len` bytes are initialised;
        // `memory` is not dropped. With the capacity zero the pointer dangles, as that of a vector does.
        Ok(unsafe { Vec::from_raw_parts(memory.ptr(), self.len, memory.capacity) })
    }

    pub(crate) fn from_vec(vec: Vec<u8>) -> Filled<RawBuf> {
        let (memory, len) = RawBuf::from_vec(vec);
        Filled { memory, len }
    }
}
