//! The buffer types that are accepted.
//!
//! # Safety
//!
//! This file implements the unsafe traits. Every implementation moves the buffer, or what frees it, into the owner of a
//! lease, and hands out a pointer into the heap (or into static memory): moving the owner does not move the bytes. A type
//! the kernel may write to is the only owner of its bytes; all others get the capacity zero.
//!
//! Tests: growable_buffers, fixed_buffers, constant_buffers, shared_buffers_are_released, bytes_buffers
#![allow(unsafe_code, reason = "implements the unsafe traits")]

use std::sync::Arc;

use crate::lease::{Lease, RawBox};
use crate::memory::{Filled, Memory, RawBuf};
use crate::owned::OwnedBuffer;
use crate::pool::{Loan, PooledBuffer};
use crate::slice::{Slice, SliceRest};
use crate::traits::{IoBuf, IoBufMut};

// SAFETY: a vector owns its allocation alone; it is moved, not reallocated, while it is the owner of the lease.
unsafe impl IoBuf for Vec<u8> {
    type Rest = ();

    #[inline]
    fn lend(mut self) -> (Lease, ()) {
        let (ptr, len, capacity) = (self.as_mut_ptr(), self.len(), self.capacity());
        // SAFETY: the allocation has `capacity` bytes of which `len` are initialised, and lives as long as the vector.
        (unsafe { Lease::from_owner(ptr, len, capacity, self) }, ())
    }

    #[inline]
    unsafe fn reclaim(lease: Lease, (): ()) -> Self {
        // SAFETY: `lend` stored a `Vec<u8>`.
        unsafe { lease.into_owner::<Vec<u8>>() }
    }

    #[inline]
    fn as_init(&self) -> &[u8] {
        self
    }

    #[inline]
    fn len_max(&self) -> usize {
        self.capacity()
    }
}

// SAFETY: as above; the length is set to bytes that are initialised (contract), within the capacity.
unsafe impl IoBufMut for Vec<u8> {
    #[inline]
    fn as_init_mut(&mut self) -> &mut [u8] {
        self
    }

    #[inline]
    unsafe fn reclaim_filled(lease: Lease, (): (), filled: usize) -> Self {
        // SAFETY: `lend` stored a `Vec<u8>`.
        let mut buffer = unsafe { lease.into_owner::<Vec<u8>>() };
        let len = filled.min(buffer.capacity());
        // SAFETY: within the capacity, and initialised (contract).
        unsafe { buffer.set_len(len) };
        buffer
    }
}

// SAFETY: the box is a raw pointer while lent, so that the kernel's writes break no aliasing promise of `Box`.
unsafe impl IoBuf for Box<[u8]> {
    type Rest = ();

    #[inline]
    fn lend(self) -> (Lease, ()) {
        let len = self.len();
        let owner = RawBox::new(self);
        let ptr = owner.as_ptr().cast::<u8>();
        // SAFETY: the allocation has `len` initialised bytes and lives as long as its owner, which owns it alone.
        (unsafe { Lease::from_owner(ptr, len, len, owner) }, ())
    }

    #[inline]
    unsafe fn reclaim(lease: Lease, (): ()) -> Self {
        // SAFETY: `lend` stored a `RawBox<[u8]>`.
        unsafe { lease.into_owner::<RawBox<[u8]>>() }.into_box()
    }

    #[inline]
    fn as_init(&self) -> &[u8] {
        self
    }
}

// SAFETY: as above; all bytes are initialised at all times.
unsafe impl IoBufMut for Box<[u8]> {
    #[inline]
    fn as_init_mut(&mut self) -> &mut [u8] {
        self
    }

    #[inline]
    unsafe fn reclaim_filled(lease: Lease, (): (), _filled: usize) -> Self {
        // SAFETY: the contract of this function.
        unsafe { Self::reclaim(lease, ()) }
    }
}

// SAFETY: the box is a raw pointer while lent, so that the kernel's writes break no aliasing promise of `Box`.
unsafe impl<const N: usize> IoBuf for Box<[u8; N]> {
    type Rest = ();

    #[inline]
    fn lend(self) -> (Lease, ()) {
        let owner = RawBox::new(self);
        let ptr = owner.as_ptr().cast::<u8>();
        // SAFETY: the allocation has `N` initialised bytes and lives as long as its owner, which owns it alone.
        (unsafe { Lease::from_owner(ptr, N, N, owner) }, ())
    }

    #[inline]
    unsafe fn reclaim(lease: Lease, (): ()) -> Self {
        // SAFETY: `lend` stored a `RawBox<[u8; N]>`.
        unsafe { lease.into_owner::<RawBox<[u8; N]>>() }.into_box()
    }

    #[inline]
    fn as_init(&self) -> &[u8] {
        self.as_slice()
    }
}

// SAFETY: as above; all bytes are initialised at all times.
unsafe impl<const N: usize> IoBufMut for Box<[u8; N]> {
    #[inline]
    fn as_init_mut(&mut self) -> &mut [u8] {
        self.as_mut_slice()
    }

    #[inline]
    unsafe fn reclaim_filled(lease: Lease, (): (), _filled: usize) -> Self {
        // SAFETY: the contract of this function.
        unsafe { Self::reclaim(lease, ()) }
    }
}

// SAFETY: a string owns its allocation alone; the capacity of the lease is zero, so it stays valid UTF-8.
unsafe impl IoBuf for String {
    type Rest = ();

    #[inline]
    fn lend(mut self) -> (Lease, ()) {
        let (ptr, len) = (self.as_mut_ptr(), self.len());
        // SAFETY: the allocation has `len` initialised bytes and lives as long as the string.
        (unsafe { Lease::from_owner(ptr, len, 0, self) }, ())
    }

    #[inline]
    unsafe fn reclaim(lease: Lease, (): ()) -> Self {
        // SAFETY: `lend` stored a `String`.
        unsafe { lease.into_owner::<String>() }
    }

    #[inline]
    fn as_init(&self) -> &[u8] {
        self.as_bytes()
    }
}

// SAFETY: static memory is never freed nor written; the capacity of the lease is zero.
unsafe impl IoBuf for &'static [u8] {
    type Rest = ();

    #[inline]
    fn lend(self) -> (Lease, ()) {
        // SAFETY: valid for reads of all its bytes forever; nothing to write.
        (unsafe { Lease::from_owner(self.as_ptr().cast_mut(), self.len(), 0, self) }, ())
    }

    #[inline]
    unsafe fn reclaim(lease: Lease, (): ()) -> Self {
        // SAFETY: `lend` stored a `&'static [u8]`.
        unsafe { lease.into_owner::<&'static [u8]>() }
    }

    #[inline]
    fn as_init(&self) -> &[u8] {
        self
    }
}

// SAFETY: static memory is never freed nor written; the capacity of the lease is zero.
unsafe impl<const N: usize> IoBuf for &'static [u8; N] {
    type Rest = ();

    #[inline]
    fn lend(self) -> (Lease, ()) {
        // SAFETY: valid for reads of all its bytes forever; nothing to write.
        (unsafe { Lease::from_owner(self.as_ptr().cast_mut(), N, 0, self) }, ())
    }

    #[inline]
    unsafe fn reclaim(lease: Lease, (): ()) -> Self {
        // SAFETY: `lend` stored a `&'static [u8; N]`.
        unsafe { lease.into_owner::<&'static [u8; N]>() }
    }

    #[inline]
    fn as_init(&self) -> &[u8] {
        self.as_slice()
    }
}

// SAFETY: static memory is never freed nor written; the capacity of the lease is zero.
unsafe impl IoBuf for &'static str {
    type Rest = ();

    #[inline]
    fn lend(self) -> (Lease, ()) {
        // SAFETY: valid for reads of all its bytes forever; nothing to write.
        (unsafe { Lease::from_owner(self.as_ptr().cast_mut(), self.len(), 0, self) }, ())
    }

    #[inline]
    unsafe fn reclaim(lease: Lease, (): ()) -> Self {
        // SAFETY: `lend` stored a `&'static str`.
        unsafe { lease.into_owner::<&'static str>() }
    }

    #[inline]
    fn as_init(&self) -> &[u8] {
        self.as_bytes()
    }
}

// SAFETY: the bytes are shared and therefore not written while this handle lives; the capacity of the lease is zero.
unsafe impl IoBuf for Arc<[u8]> {
    type Rest = ();

    #[inline]
    fn lend(self) -> (Lease, ()) {
        let (ptr, len) = (Arc::as_ptr(&self).cast::<u8>().cast_mut(), self.len());
        // SAFETY: `len` initialised bytes that live as long as this handle; nothing to write.
        (unsafe { Lease::from_owner(ptr, len, 0, self) }, ())
    }

    #[inline]
    unsafe fn reclaim(lease: Lease, (): ()) -> Self {
        // SAFETY: `lend` stored an `Arc<[u8]>`.
        unsafe { lease.into_owner::<Arc<[u8]>>() }
    }

    #[inline]
    fn as_init(&self) -> &[u8] {
        self
    }
}

// SAFETY: the vector is shared and therefore not changed while this handle lives; the capacity of the lease is zero.
unsafe impl IoBuf for Arc<Vec<u8>> {
    type Rest = ();

    #[inline]
    fn lend(self) -> (Lease, ()) {
        let (ptr, len) = (self.as_ptr().cast_mut(), self.len());
        // SAFETY: `len` initialised bytes that live as long as this handle; nothing to write.
        (unsafe { Lease::from_owner(ptr, len, 0, self) }, ())
    }

    #[inline]
    unsafe fn reclaim(lease: Lease, (): ()) -> Self {
        // SAFETY: `lend` stored an `Arc<Vec<u8>>`.
        unsafe { lease.into_owner::<Arc<Vec<u8>>>() }
    }

    #[inline]
    fn as_init(&self) -> &[u8] {
        self
    }
}

// SAFETY: a loan has its memory until it is dropped, and does not exchange it.
unsafe impl Memory for Loan {
    #[inline]
    fn raw(&self) -> &RawBuf {
        Loan::raw(self)
    }
}

impl<M: Memory + Send + 'static> Filled<M> {
    #[inline]
    fn lend(self) -> Lease {
        let (memory, len) = self.into_parts();
        let (ptr, capacity) = (memory.raw().ptr(), memory.raw().capacity());
        // SAFETY: the allocation has `capacity` bytes of which `len` are initialised, and is not moved with `memory`,
        // which owns it alone and keeps it until it is dropped.
        unsafe { Lease::from_owner(ptr, len, capacity, memory) }
    }

    /// # Safety
    ///
    /// The lease was made by `lend` of this type, the kernel no longer uses the memory, and the first `len` bytes, as far
    /// as there are so many, are initialised.
    #[inline]
    unsafe fn reclaim(lease: Lease, len: usize) -> Filled<M> {
        let len = len.min(lease.capacity());
        // SAFETY: `lend` stored an `M`.
        let memory = unsafe { lease.into_owner::<M>() };
        // SAFETY: within the capacity, and initialised (contract).
        unsafe { Filled::new(memory, len) }
    }
}

// SAFETY: see `Filled::lend`.
unsafe impl IoBuf for OwnedBuffer {
    type Rest = ();

    #[inline]
    fn lend(self) -> (Lease, ()) {
        (self.into_filled().lend(), ())
    }

    #[inline]
    unsafe fn reclaim(lease: Lease, (): ()) -> Self {
        let len = lease.init_len();
        // SAFETY: the contract of this function; initialised bytes stay initialised.
        OwnedBuffer::from_filled(unsafe { Filled::reclaim(lease, len) })
    }

    #[inline]
    fn as_init(&self) -> &[u8] {
        self
    }

    #[inline]
    fn len_max(&self) -> usize {
        self.capacity()
    }
}

// SAFETY: as above; the length is set to bytes that are initialised (contract).
unsafe impl IoBufMut for OwnedBuffer {
    #[inline]
    fn as_init_mut(&mut self) -> &mut [u8] {
        self
    }

    #[inline]
    unsafe fn reclaim_filled(lease: Lease, (): (), filled: usize) -> Self {
        // SAFETY: the contract of this function.
        OwnedBuffer::from_filled(unsafe { Filled::reclaim(lease, filled) })
    }
}

// SAFETY: see `Filled::lend`. The memory goes back to the pool when its owner is dropped.
unsafe impl IoBuf for PooledBuffer {
    type Rest = ();

    #[inline]
    fn lend(self) -> (Lease, ()) {
        (self.into_filled().lend(), ())
    }

    #[inline]
    unsafe fn reclaim(lease: Lease, (): ()) -> Self {
        let len = lease.init_len();
        // SAFETY: the contract of this function; initialised bytes stay initialised.
        PooledBuffer::from_filled(unsafe { Filled::reclaim(lease, len) })
    }

    #[inline]
    fn as_init(&self) -> &[u8] {
        self
    }

    #[inline]
    fn len_max(&self) -> usize {
        self.capacity()
    }
}

// SAFETY: as above; the length is set to bytes that are initialised (contract).
unsafe impl IoBufMut for PooledBuffer {
    #[inline]
    fn as_init_mut(&mut self) -> &mut [u8] {
        self
    }

    #[inline]
    unsafe fn reclaim_filled(lease: Lease, (): (), filled: usize) -> Self {
        // SAFETY: the contract of this function.
        PooledBuffer::from_filled(unsafe { Filled::reclaim(lease, filled) })
    }
}

// SAFETY: the lease of the whole buffer, restricted to a part of it; it is made whole again before the buffer gets it back.
unsafe impl<B: IoBuf> IoBuf for Slice<B> {
    type Rest = SliceRest<B::Rest>;

    #[inline]
    fn lend(self) -> (Lease, Self::Rest) {
        let (base, asked_begin, end) = self.into_parts();
        let (mut lease, rest) = base.lend();
        let (init, capacity) = (lease.init_len(), lease.capacity());
        // What lies before the slice is initialised, so that a read leaves no gap. It is so already (`Slice::begin`).
        let begin = asked_begin.min(init);
        lease.narrow(begin, end);
        (lease, SliceRest { rest, begin, asked_begin, end, init, capacity })
    }

    #[inline]
    unsafe fn reclaim(mut lease: Lease, rest: Self::Rest) -> Self {
        // SAFETY: `lend` narrowed the lease with this begin, from these lengths.
        unsafe { lease.widen(rest.begin, rest.init, rest.capacity) };
        // SAFETY: the lease is as `B::lend` made it, and `rest.rest` came with it.
        let base = unsafe { B::reclaim(lease, rest.rest) };
        Slice::from_parts(base, rest.asked_begin, rest.end)
    }

    #[inline]
    fn as_init(&self) -> &[u8] {
        self.init()
    }

    #[inline]
    fn len_max(&self) -> usize {
        self.end().saturating_sub(self.begin())
    }
}

// SAFETY: as above; see `reclaim_filled` for the length.
unsafe impl<B: IoBufMut> IoBufMut for Slice<B> {
    #[inline]
    fn as_init_mut(&mut self) -> &mut [u8] {
        self
    }

    #[inline]
    unsafe fn reclaim_filled(mut lease: Lease, rest: Self::Rest, filled: usize) -> Self {
        let filled = filled.min(lease.capacity());
        // SAFETY: `lend` narrowed the lease with this begin, from these lengths.
        unsafe { lease.widen(rest.begin, rest.init, rest.capacity) };
        // Neither the bytes before the slice nor those behind it are lost.
        let whole = rest.init.max(rest.begin + filled);
        // SAFETY: the lease is as `B::lend` made it, and `rest.rest` came with it. The bytes before `rest.init` were
        // initialised, `rest.begin` is not behind it, and the `filled` bytes from there are initialised (contract).
        let base = unsafe { B::reclaim_filled(lease, rest.rest, whole) };
        Slice::from_parts(base, rest.asked_begin, rest.end)
    }
}

#[cfg(feature = "bytes")]
mod with_bytes {
    use bytes::{Bytes, BytesMut};

    use super::{IoBuf, IoBufMut, Lease};

    // SAFETY: the bytes are shared and therefore not written while this handle lives; the capacity of the lease is zero.
    unsafe impl IoBuf for Bytes {
        type Rest = ();

        #[inline]
        fn lend(self) -> (Lease, ()) {
            let (ptr, len) = (self.as_ptr().cast_mut(), self.len());
            // SAFETY: `len` initialised bytes that live as long as this handle; nothing to write.
            (unsafe { Lease::from_owner(ptr, len, 0, self) }, ())
        }

        #[inline]
        unsafe fn reclaim(lease: Lease, (): ()) -> Self {
            // SAFETY: `lend` stored a `Bytes`.
            unsafe { lease.into_owner::<Bytes>() }
        }

        #[inline]
        fn as_init(&self) -> &[u8] {
            self
        }
    }

    // SAFETY: the handle is the only one to its part of the allocation, which is not moved with it.
    unsafe impl IoBuf for BytesMut {
        type Rest = ();

        #[inline]
        fn lend(mut self) -> (Lease, ()) {
            let (ptr, len, capacity) = (self.as_mut_ptr(), self.len(), self.capacity());
            // SAFETY: the handle has `capacity` bytes to itself, of which `len` are initialised, as long as it lives.
            (unsafe { Lease::from_owner(ptr, len, capacity, self) }, ())
        }

        #[inline]
        unsafe fn reclaim(lease: Lease, (): ()) -> Self {
            // SAFETY: `lend` stored a `BytesMut`.
            unsafe { lease.into_owner::<BytesMut>() }
        }

        #[inline]
        fn as_init(&self) -> &[u8] {
            self
        }

        #[inline]
        fn len_max(&self) -> usize {
            self.capacity()
        }
    }

    // SAFETY: as above; the length is set to bytes that are initialised (contract), within the capacity.
    unsafe impl IoBufMut for BytesMut {
        #[inline]
        fn as_init_mut(&mut self) -> &mut [u8] {
            self
        }

        #[inline]
        unsafe fn reclaim_filled(lease: Lease, (): (), filled: usize) -> Self {
            // SAFETY: `lend` stored a `BytesMut`.
            let mut buffer = unsafe { lease.into_owner::<BytesMut>() };
            let len = filled.min(buffer.capacity());
            // SAFETY: within the capacity, and initialised (contract).
            unsafe { buffer.set_len(len) };
            buffer
        }
    }
}
