//! A buffer as raw parts: what is left of it while the kernel works.
//!
//! # Safety
//!
//! This file holds the type erasure: an owner is written into four machine words and read back, or dropped in place, by
//! functions made for its type. It rests on three invariants.
//!
//! * **One owner.** The words of a [`Lease`] hold a valid owner of the type its `release` function was made for, from
//!   construction until the lease is consumed (`into_owner`) or dropped. Each of the two ends the lease, so the owner is
//!   used exactly once.
//! * **Stable memory.** Moving the words does not move the memory behind `ptr`; each constructor demands it.
//! * **No reference while in flight.** The words are `MaybeUninit`, so that no aliasing promise (`Box` makes one) is made
//!   when a lease is moved while the kernel writes. They have pointer type, so that pointers keep their provenance.
//!
//! Tests: without_memory, boxed_state_keeps_its_address_and_is_dropped_once, everything_can_change_threads
#![allow(unsafe_code, reason = "type erasure of a buffer's owner")]

use std::fmt;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ptr::{self, NonNull};

/// Room for an owner, in machine words; `bytes::Bytes` is the largest that is known.
type Words = [MaybeUninit<*mut u8>; 4];

/// Memory lent to an operation: address, lengths, and how to free it.
///
/// Dropping a lease frees the memory. It must therefore not be dropped while the kernel may still use the memory: the
/// operation table keeps it until the final completion, and leaks it when that never comes.
pub struct Lease {
    ptr: *mut u8,
    init: usize,
    capacity: usize,
    owner: Words,
    release: unsafe fn(&mut Words),
}

// One cache line: leases are moved into and out of the operation table on every operation.
const _: () = assert!(size_of::<Lease>() == size_of::<[usize; 8]>());

// SAFETY: a lease is its owner plus the address of memory that only this owner and the kernel use; every constructor
// demands `T: Send` of the owner, so both may be used and freed on another thread.
unsafe impl Send for Lease {}

impl Lease {
    /// A lease without memory, for operations that need none. Its address is null; it does not allocate.
    #[inline]
    #[must_use]
    pub fn empty() -> Lease {
        // SAFETY: zero bytes may be read and written at any address; `()` owns nothing.
        unsafe { Lease::from_owner(ptr::null_mut(), 0, 0, ()) }
    }

    /// Lends the memory that `owner` keeps alive. For implementations of [`IoBuf`](crate::IoBuf).
    ///
    /// `init` is the number of initialised bytes at `ptr` (what a write sends), `capacity` the number of bytes a read may
    /// fill: zero if the kernel must not write. `owner` is at most four words in size and aligned as one: anything else
    /// does not compile.
    ///
    /// # Safety
    ///
    /// Until `owner` is dropped, and however often it is moved:
    /// * `ptr` is valid for reads of `init` initialised bytes and for writes of `capacity` bytes;
    /// * nobody but the holder of the lease writes to these bytes, and nobody else reads the first `capacity` of them.
    #[inline]
    #[must_use]
    pub unsafe fn from_owner<T: Send + 'static>(
        ptr: *mut u8,
        init: usize,
        capacity: usize,
        owner: T,
    ) -> Lease {
        const {
            assert!(size_of::<T>() <= size_of::<Words>(), "the owner does not fit into a lease");
            assert!(align_of::<T>() <= align_of::<Words>(), "the owner is aligned too strictly");
        }
        let mut words: Words = [MaybeUninit::uninit(); 4];
        // SAFETY: the words are writable, large enough and aligned for a `T`: asserted above.
        unsafe { words.as_mut_ptr().cast::<T>().write(owner) };
        Lease { ptr, init, capacity, owner: words, release: release_owner::<T> }
    }

    /// Ends the lease and gives the owner back.
    ///
    /// # Safety
    ///
    /// The lease was made by [`from_owner`](Lease::from_owner) with this `T`, and the kernel no longer uses the memory.
    #[inline]
    #[must_use]
    pub unsafe fn into_owner<T: Send + 'static>(self) -> T {
        let this = ManuallyDrop::new(self);
        // SAFETY: the words hold a `T` (contract), which is read once: `this` is never dropped.
        unsafe { this.owner.as_ptr().cast::<T>().read() }
    }

    /// Lends the state of an operation (paths, a message header, the result of `statx(2)`) at a stable address:
    /// [`ptr`](Lease::ptr) is the address of the `T`, both lengths are its size.
    #[inline]
    #[must_use]
    pub fn from_box<T: Send + 'static>(state: Box<T>) -> Lease {
        let state = RawBox::new(state);
        let ptr = state.as_ptr().cast::<u8>();
        // SAFETY: the memory is a live `T` on the heap, owned by `state` alone and not moved with it. Reading `init` bytes
        // is asked of the kernel only, which copies padding as it is.
        unsafe { Lease::from_owner(ptr, size_of::<T>(), size_of::<T>(), state) }
    }

    /// Ends the lease and gives the boxed state back.
    ///
    /// # Safety
    ///
    /// The lease was made by [`from_box`](Lease::from_box) with this `T`, the kernel no longer uses it, and what the kernel
    /// wrote into it is a valid `T`.
    #[inline]
    #[must_use]
    pub unsafe fn into_box<T: Send + 'static>(self) -> Box<T> {
        // SAFETY: `from_box::<T>` stored a `RawBox<T>` (contract).
        let state = unsafe { self.into_owner::<RawBox<T>>() };
        state.into_box()
    }

    /// The same owner, with another area of what it keeps alive as the lent memory.
    ///
    /// # Safety
    ///
    /// As [`from_owner`](Lease::from_owner), for the owner of this lease.
    #[inline]
    #[must_use]
    pub unsafe fn pointing_at(mut self, ptr: *mut u8, init: usize, capacity: usize) -> Lease {
        self.ptr = ptr;
        self.init = init;
        self.capacity = capacity;
        self
    }

    /// Address of the first byte. Null for [`Lease::empty`]; dangling but aligned when there is no byte at all.
    #[inline]
    #[must_use]
    pub fn ptr(&self) -> *mut u8 {
        self.ptr
    }

    /// Number of initialised bytes: what a write sends.
    #[inline]
    #[must_use]
    pub fn init_len(&self) -> usize {
        self.init
    }

    /// Number of bytes a read may fill. Zero for memory that the kernel must not write.
    #[inline]
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Leaves the first `count` bytes out, for an operation that goes on where it stopped. A lease that was changed so is
    /// for dropping: the buffer cannot be reclaimed from it.
    #[inline]
    pub fn skip(&mut self, count: usize) {
        self.narrow(count, usize::MAX);
    }

    /// Restricts the lease to the bytes `begin..end`, cut to what there is.
    #[inline]
    pub(crate) fn narrow(&mut self, begin: usize, end: usize) {
        // `begin` lies within the allocation, or both lengths become zero and the address is not used.
        self.ptr = self.ptr.wrapping_add(begin);
        self.init = self.init.min(end).saturating_sub(begin);
        self.capacity = self.capacity.min(end).saturating_sub(begin);
    }

    /// Undoes [`narrow`](Lease::narrow).
    ///
    /// # Safety
    ///
    /// The lease was narrowed with this `begin`, and had these lengths before.
    #[inline]
    pub(crate) unsafe fn widen(&mut self, begin: usize, init: usize, capacity: usize) {
        self.ptr = self.ptr.wrapping_sub(begin);
        self.init = init;
        self.capacity = capacity;
    }
}

impl Drop for Lease {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the words hold the owner `release` was made for, and nobody has taken it: `into_owner` does not drop.
        unsafe { (self.release)(&mut self.owner) }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("ptr", &self.ptr)
            .field("init", &self.init)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

/// Drops the `T` in the words.
///
/// # Safety
///
/// The words hold a valid `T`, which is not used again.
unsafe fn release_owner<T>(words: &mut Words) {
    // SAFETY: the contract of this function.
    unsafe { words.as_mut_ptr().cast::<T>().drop_in_place() }
}

/// A `Box` without its promise that nobody else has the address: the kernel has it.
pub(crate) struct RawBox<T: ?Sized>(NonNull<T>);

// SAFETY: it owns a `T` as a box does.
unsafe impl<T: ?Sized + Send> Send for RawBox<T> {}

impl<T: ?Sized> RawBox<T> {
    #[inline]
    pub(crate) fn new(value: Box<T>) -> RawBox<T> {
        // A mutable reference from `Box::leak` and `Box::into_raw` are the same address; this form cannot be null.
        RawBox(NonNull::from(Box::leak(value)))
    }

    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut T {
        self.0.as_ptr()
    }

    #[inline]
    pub(crate) fn into_box(self) -> Box<T> {
        let this = ManuallyDrop::new(self);
        // SAFETY: the pointer came from a box, and `this` is never dropped, so it becomes a box once.
        unsafe { Box::from_raw(this.0.as_ptr()) }
    }
}

impl<T: ?Sized> Drop for RawBox<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from a box and has not become one: `into_box` does not drop.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}
