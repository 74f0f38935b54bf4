//! Memory that does not come from the global allocator.
#![allow(unsafe_code, clippy::unwrap_used, reason = "makes memory and frees it, in tests")]

use std::ptr::NonNull;
use std::sync::Mutex;

use safer_ring_buf::{AllocError, BufferPool, ForeignMemory, IoBuf, Origin, OwnedBuffer};

const SIZE: usize = 64;

/// Addresses that were freed. The tests have memory of their own, so they do not disturb each other.
static FREED: Mutex<Vec<usize>> = Mutex::new(Vec::new());

/// # Safety
/// `ptr` is from [`memory`].
unsafe fn release(ptr: NonNull<u8>, capacity: usize) {
    assert_eq!(capacity, SIZE, "the capacity that the memory was made with");
    FREED.lock().unwrap().push(ptr.addr().get());
    // The memory is leaked on purpose: its address is not used again, so a second release is seen.
}

// SAFETY: `release` may be called anywhere and does not unwind if the library is right.
static ORIGIN: Origin = unsafe { Origin::new(1, release) };

fn memory() -> (ForeignMemory, usize) {
    let ptr = NonNull::from(Box::leak(Box::new([0xAAu8; SIZE]))).cast::<u8>();
    // SAFETY: leaked, so it is valid for ever and nobody else has it; the alignment is 1.
    (unsafe { ForeignMemory::new(ptr, SIZE, &ORIGIN) }, ptr.addr().get())
}

fn freed(address: usize) -> usize {
    FREED.lock().unwrap().iter().filter(|freed| **freed == address).count()
}

#[test]
fn foreign_memory_is_freed_once_by_its_origin() {
    let (unused, at) = memory();
    drop(unused);
    assert_eq!(freed(at), 1);

    let (memory, at) = memory();
    let mut buffer = OwnedBuffer::from(memory);
    assert_eq!((buffer.len(), buffer.capacity(), buffer.align()), (0, SIZE, 1));
    assert_eq!(buffer.extend_from_slice(b"here"), 4);
    let copy = buffer.clone();
    let (lease, rest) = buffer.lend();
    assert_eq!(lease.ptr().addr(), at);
    // SAFETY: lease and rest come from the call above, and nobody used the memory.
    let buffer = unsafe { OwnedBuffer::reclaim(lease, rest) };
    let buffer = buffer.into_vec().expect_err("a vector would give it to the allocator");
    assert_eq!(freed(at), 0);
    drop(buffer);
    assert_eq!(freed(at), 1);
    assert_eq!(copy, *b"here", "the copy has memory of its own");
}

#[test]
fn a_pool_of_foreign_memory_makes_no_other() {
    let ((first, a), (second, b)) = (memory(), memory());
    let pool = BufferPool::of_foreign(SIZE, vec![first, second]).unwrap();
    let taken = (pool.take().unwrap(), pool.take().unwrap());
    assert!(pool.take().is_none());
    let mut places = [taken.0.as_ptr().addr(), taken.1.as_ptr().addr()];
    places.sort_unstable();
    let mut expected = [a, b];
    expected.sort_unstable();
    assert_eq!(places, expected);
    assert!(taken.0.is_empty(), "what is in the memory is not shown");
    drop(taken.0);
    assert_eq!(pool.stats().available, 1);
    drop(pool);
    assert_eq!(freed(a) + freed(b), 1, "the one that was at home");
    drop(taken.1);
    assert_eq!((freed(a), freed(b)), (1, 1));

    let (small, at) = memory();
    let refused = BufferPool::of_foreign(SIZE + 1, vec![small]);
    assert_eq!(refused.unwrap_err(), AllocError::TooLarge);
    assert_eq!(freed(at), 1);
}
