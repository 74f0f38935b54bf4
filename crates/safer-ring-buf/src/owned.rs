//! A buffer with an alignment of its own and a capacity that does not change.

use std::borrow::{Borrow, BorrowMut};
use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::foreign::ForeignMemory;
use crate::memory::{AllocError, Filled, RawBuf};

/// A buffer on the heap with a fixed capacity, a length, and if need be an alignment (for `O_DIRECT`).
///
/// It dereferences to its initialised bytes. A read fills it from the start to its capacity and sets its length; nothing
/// reallocates it, so its address stays the same as long as it lives.
#[derive(Default)]
pub struct OwnedBuffer {
    filled: Filled<RawBuf>,
}

impl OwnedBuffer {
    /// A buffer of `size` zero bytes; its length and its capacity are `size`.
    ///
    /// # Panics
    ///
    /// If `size` exceeds `isize::MAX`, as `Vec` does. Without memory the process aborts, as with `Vec`;
    /// [`aligned`](OwnedBuffer::aligned) with the alignment 1 gives an error in both cases.
    #[must_use]
    #[track_caller]
    pub fn new(size: usize) -> OwnedBuffer {
        OwnedBuffer { filled: Filled::zeroed_or_abort(size) }
    }

    /// An empty buffer with room for exactly `size` bytes, which are not initialised and cannot be seen before a read or
    /// [`extend_from_slice`](OwnedBuffer::extend_from_slice) fills them.
    ///
    /// # Panics
    ///
    /// As [`new`](OwnedBuffer::new).
    #[must_use]
    #[track_caller]
    pub fn with_capacity(size: usize) -> OwnedBuffer {
        OwnedBuffer { filled: Filled::empty(RawBuf::allocate_or_abort(size, 1, false)) }
    }

    /// A buffer of `size` zero bytes at an address that is a multiple of `align`, for files opened with `O_DIRECT`.
    ///
    /// Such files also want lengths and offsets that are multiples of their block size; `size` is not rounded.
    ///
    /// # Errors
    ///
    /// If `align` is not a power of two, if the size is too large, or if there is no memory.
    pub fn aligned(size: usize, align: usize) -> Result<OwnedBuffer, AllocError> {
        Ok(OwnedBuffer { filled: Filled::zeroed(size, align)? })
    }

    /// As [`aligned`](OwnedBuffer::aligned), but empty, as [`with_capacity`](OwnedBuffer::with_capacity).
    ///
    /// # Errors
    ///
    /// As [`aligned`](OwnedBuffer::aligned).
    pub fn aligned_with_capacity(size: usize, align: usize) -> Result<OwnedBuffer, AllocError> {
        Ok(OwnedBuffer { filled: Filled::empty(RawBuf::allocate(size, align, false)?) })
    }

    #[inline]
    pub(crate) fn from_filled(filled: Filled<RawBuf>) -> OwnedBuffer {
        OwnedBuffer { filled }
    }

    #[inline]
    pub(crate) fn into_filled(self) -> Filled<RawBuf> {
        self.filled
    }

    /// Number of initialised bytes.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.filled.bytes().len()
    }

    /// Whether no byte is initialised.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of bytes the buffer has room for; a read fills at most so many.
    #[inline]
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.filled.capacity()
    }

    /// The alignment the buffer was made with, in bytes. Its address may happen to be aligned better.
    #[inline]
    #[must_use]
    pub fn align(&self) -> usize {
        self.filled.align()
    }

    /// Sets the length to zero.
    #[inline]
    pub fn clear(&mut self) {
        self.filled.truncate(0);
    }

    /// Shortens the buffer to `len` bytes; does nothing if it is shorter.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.filled.truncate(len);
    }

    /// Sets the length to `len`, or to the capacity if that is less, and returns it. New bytes are zero.
    pub fn resize(&mut self, len: usize) -> usize {
        self.filled.resize(len)
    }

    /// Appends as many of `bytes` as there is room for, and returns how many that were.
    #[must_use = "bytes that do not fit are left out"]
    pub fn extend_from_slice(&mut self, bytes: &[u8]) -> usize {
        self.filled.extend_from_slice(bytes)
    }

    /// The buffer as a vector, without a copy.
    ///
    /// # Errors
    ///
    /// The buffer itself, if its [`align`](OwnedBuffer::align) is not 1, or if its memory is not from the global
    /// allocator: a vector would free it in another way.
    pub fn into_vec(self) -> Result<Vec<u8>, OwnedBuffer> {
        self.filled.into_vec().map_err(OwnedBuffer::from_filled)
    }
}

impl From<Vec<u8>> for OwnedBuffer {
    /// Takes over the allocation of the vector, with its length and its capacity.
    fn from(vec: Vec<u8>) -> OwnedBuffer {
        OwnedBuffer { filled: Filled::from_vec(vec) }
    }
}

impl From<ForeignMemory> for OwnedBuffer {
    /// An empty buffer with this memory.
    fn from(memory: ForeignMemory) -> OwnedBuffer {
        OwnedBuffer { filled: Filled::empty(memory.into_raw()) }
    }
}

impl From<&[u8]> for OwnedBuffer {
    /// Copies the bytes.
    fn from(bytes: &[u8]) -> OwnedBuffer {
        OwnedBuffer::from(bytes.to_vec())
    }
}

impl Deref for OwnedBuffer {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.filled.bytes()
    }
}

impl DerefMut for OwnedBuffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        self.filled.bytes_mut()
    }
}

impl AsRef<[u8]> for OwnedBuffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsMut<[u8]> for OwnedBuffer {
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl Borrow<[u8]> for OwnedBuffer {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl BorrowMut<[u8]> for OwnedBuffer {
    fn borrow_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl Clone for OwnedBuffer {
    /// A buffer of the same bytes, capacity and alignment, from the global allocator.
    fn clone(&self) -> OwnedBuffer {
        let mut copy =
            Filled::empty(RawBuf::allocate_or_abort(self.capacity(), self.align(), false));
        copy.extend_from_slice(self);
        OwnedBuffer { filled: copy }
    }
}

impl PartialEq for OwnedBuffer {
    /// Compares the bytes.
    fn eq(&self, other: &OwnedBuffer) -> bool {
        **self == **other
    }
}

impl Eq for OwnedBuffer {}

impl PartialEq<[u8]> for OwnedBuffer {
    fn eq(&self, other: &[u8]) -> bool {
        **self == *other
    }
}

impl PartialEq<&[u8]> for OwnedBuffer {
    fn eq(&self, other: &&[u8]) -> bool {
        **self == **other
    }
}

impl<const N: usize> PartialEq<[u8; N]> for OwnedBuffer {
    fn eq(&self, other: &[u8; N]) -> bool {
        **self == *other
    }
}

impl fmt::Debug for OwnedBuffer {
    /// Lengths only: the bytes may be many, and secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedBuffer")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .field("align", &self.align())
            .finish()
    }
}
