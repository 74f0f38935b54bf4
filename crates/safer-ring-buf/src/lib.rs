//! Owned buffers that can be lent to the kernel and come back.
//!
//! An asynchronous read or write needs memory that stays where it is until the kernel has finished with it, whatever
//! happens to the future that asked for it. A borrow cannot promise that. This crate therefore *moves* a buffer into a
//! [`Lease`]: its address, its length, its capacity and a function that frees it. While an operation is in flight the
//! buffer exists only as that lease; after the final completion the lease becomes the buffer again, or is dropped, which
//! frees the memory (or gives it back to its pool) exactly once.
//!
//! # Which types are accepted, and what comes back
//!
//! | type | writes and sends ([`IoBuf`]) | reads and receives ([`IoBufMut`]) | length after a read of `n` bytes |
//! |---|---|---|---|
//! | [`OwnedBuffer`] | yes | up to its capacity | `n` |
//! | [`PooledBuffer`] | yes | up to its capacity | `n` |
//! | `Vec<u8>` | yes | up to its capacity | `n` |
//! | `Box<[u8]>`, `Box<[u8; N]>` | yes | the whole box | unchanged |
//! | `String` | yes | no | |
//! | `&'static [u8]`, `&'static [u8; N]`, `&'static str` | yes | no | |
//! | `Arc<[u8]>`, `Arc<Vec<u8>>` | yes | no | |
//! | `bytes::Bytes` (feature `bytes`) | yes | no | |
//! | `bytes::BytesMut` (feature `bytes`) | yes | up to its capacity | `n` |
//! | [`Slice<B>`] | the initialised part of its range | its range, to the capacity of `B` | of `B`: the larger of the old one and `begin + n` |
//!
//! A read fills a buffer from its start, so that the same buffer can be written next: what is sent is what was read.
//! When an operation fails or is cancelled, the length is what it was before.
//!
//! A list of buffers for one vectored operation is lent through [`Vectored`].
//!
//! ```
//! use safer_ring_buf::{IoBuf, IoBufMut, OwnedBuffer};
//!
//! let (lease, rest) = OwnedBuffer::new(4096).lend();
//! assert_eq!(lease.capacity(), 4096);
//! // The kernel would now write five bytes to `lease.ptr()`; here they stay the zeros they were.
//! // SAFETY: lease and rest come from the call above; nobody uses the pointer; the first five bytes are initialised.
//! let buffer = unsafe { OwnedBuffer::reclaim_filled(lease, rest, 5) };
//! assert_eq!(&buffer[..], &[0; 5]);
//! assert_eq!(buffer.capacity(), 4096);
//! ```
#![deny(unsafe_code)]

mod filled_buffer;
mod foreign;
mod fork_mutex;
mod impls;
mod lease;
mod memory;
#[cfg(all(test, safer_ring_loom))]
mod models;
mod owned;
mod pool;
mod quiet;
mod slice;
#[doc(hidden)]
pub mod sync;
mod traits;
mod vectored;

pub use foreign::{ForeignMemory, Origin};
pub use lease::Lease;
pub use memory::AllocError;
pub use owned::OwnedBuffer;
pub use pool::{Acquire, BufferPool, PoolMemory, PoolStats, PooledBuffer};
#[doc(hidden)]
pub use quiet::quietly;
pub use slice::{Slice, SliceRest};
pub use traits::{IoBuf, IoBufMut};
pub use vectored::{IoVec, MAX_BUFFERS, Vectored, VectoredRest};
