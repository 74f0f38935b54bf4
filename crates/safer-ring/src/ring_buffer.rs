//! Buffers that the ring lends.

use std::fmt;
use std::ops::{Deref, DerefMut};

use safer_ring_buf::{BufferPool, PooledBuffer};

/// Size of a lent buffer, in bytes.
const SIZE: usize = 16 * 1024;
/// Most buffers that a ring has lent at a time; they are made when they are first needed.
const COUNT: usize = 1024;

/// The pool behind `read_ring_buffer`.
#[derive(Clone, Debug)]
pub(crate) struct Lender {
    pool: BufferPool,
}

impl Lender {
    pub(crate) fn new() -> Self {
        Self { pool: BufferPool::new(COUNT, SIZE) }
    }

    pub(crate) fn pool(&self) -> &BufferPool {
        &self.pool
    }
}

/// Bytes in a buffer of the ring's own, given back when it is dropped. It reads as `&[u8]`.
pub struct RingBuffer(pub(crate) PooledBuffer);

impl RingBuffer {
    /// The buffer itself, to be lent to another operation: `ring.send(&socket, view.into_inner())`.
    pub fn into_inner(self) -> PooledBuffer {
        self.0
    }
}

impl Deref for RingBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for RingBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl fmt::Debug for RingBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingBuffer").field("len", &self.0.len()).finish()
    }
}
