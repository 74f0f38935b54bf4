//! A buffer with an alignment of its own and a capacity that does not change.

use std::borrow::{Borrow, BorrowMut};
use std::fmt;

use crate::filled_buffer::filled_buffer;
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

filled_buffer!(OwnedBuffer, RawBuf);

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
