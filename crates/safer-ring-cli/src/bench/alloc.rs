//! A global allocator that counts allocations without disturbing what it counts.
//!
//! One counter per thread up to 64 threads (shared beyond that), each in a cache line of its own, increments relaxed:
//! an allocation costs one uncontended add more. Code that does not allocate pays nothing.
//!
//! # Safety
//! `GlobalAlloc` is an unsafe trait; every method forwards to [`System`] with its arguments unchanged, so the contract
//! that holds for the caller holds for the call.
//!
//! Tests: allocations_are_counted, other_threads_are_counted
#![allow(unsafe_code, reason = "GlobalAlloc is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

const SHARDS: usize = 64;

#[repr(align(128))]
struct Shard(AtomicU64);

static COUNTS: [Shard; SHARDS] = [const { Shard(AtomicU64::new(0)) }; SHARDS];
static NEXT_SHARD: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// This thread's shard, `usize::MAX` until its first allocation. Const-initialised and without a destructor, so it
    /// can be used inside an allocator at any moment of a thread's life.
    static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
    /// The allocations of this thread alone.
    static OWN: Cell<u64> = const { Cell::new(0) };
}

/// Heap allocations (including reallocations) of the calling thread so far: for work that stays on one thread, where
/// a thread of an earlier implementation that is only now coming to its end must not count.
pub(crate) fn own_allocations() -> u64 {
    OWN.with(Cell::get)
}

/// Heap allocations (including reallocations) of this process so far.
pub(crate) fn allocations() -> u64 {
    COUNTS.iter().map(|shard| shard.0.load(Ordering::Relaxed)).sum()
}

#[inline]
fn note() {
    OWN.with(|own| own.set(own.get() + 1));
    let shard = SHARD.with(|cell| {
        if cell.get() == usize::MAX {
            cell.set(NEXT_SHARD.fetch_add(1, Ordering::Relaxed) % SHARDS);
        }
        cell.get()
    });
    if let Some(shard) = COUNTS.get(shard) {
        shard.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The system allocator with a counter.
#[derive(Debug)]
pub(crate) struct Counting;

// SAFETY: each method forwards its arguments unchanged to `System`, which satisfies the trait's contract; `note` does
// not allocate and does not unwind.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note();
        // SAFETY: the caller's promise about `block`, `layout` and `new_size` is passed on; `System` made the block.
        unsafe { System.realloc(block, layout, new_size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise about `block` and `layout` is passed on; `System` made the block.
        unsafe { System.dealloc(block, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocations_are_counted() {
        let before = allocations();
        let kept: Vec<Box<u64>> = (0..100).map(|n| std::hint::black_box(Box::new(n))).collect();
        assert!(allocations() - before >= 100, "{} boxes", kept.len());
    }

    #[test]
    fn own_allocations_leave_other_threads_out() {
        let before = own_allocations();
        let kept = std::hint::black_box(vec![1_u8; 64]);
        assert_eq!(own_allocations() - before, 1, "{} bytes", kept.len());
        let seen = std::thread::spawn(|| {
            let before = own_allocations();
            let kept = std::hint::black_box(vec![1_u8; 64]);
            (own_allocations() - before, kept)
        });
        assert_eq!(seen.join().unwrap().0, 1);
    }

    #[test]
    fn other_threads_are_counted() {
        let before = allocations();
        std::thread::spawn(|| {
            for n in 0..100_u64 {
                drop(std::hint::black_box(Box::new(n)));
            }
        })
        .join()
        .unwrap();
        assert!(allocations() - before >= 100);
    }
}
