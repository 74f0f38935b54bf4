//! What is freed is freed with the size and the alignment that it was allocated with: by an allocator that remembers.
#![allow(unsafe_code, clippy::unwrap_used, reason = "tests")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use safer_ring_buf::{BufferPool, IoBuf, IoBufMut, OwnedBuffer};

/// Frees with another layout, and all frees of what is aligned for direct I/O.
static WRONG: AtomicU64 = AtomicU64::new(0);
static ALIGNED: AtomicU64 = AtomicU64::new(0);

/// Bytes in front of an allocation for its layout; more where its alignment is larger.
const ROOM: usize = 16;

/// The system's, with the layout in front of each allocation.
struct Remembering;

/// The layout with room in front, and how much that is.
fn with_room(layout: Layout) -> (Layout, usize) {
    let room = layout.align().max(ROOM);
    let size = layout.size().saturating_add(room);
    (Layout::from_size_align(size, room).unwrap_or(layout), room)
}

/// Where the layout of what was given is.
fn remembered(given: *mut u8) -> *mut [usize; 2] {
    given.wrapping_sub(ROOM).cast()
}

// SAFETY: what the system gives is passed on, behind a place for the layout; the alignment of that place is not less than what
// was asked for.
unsafe impl GlobalAlloc for Remembering {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (whole, room) = with_room(layout);
        // SAFETY: the size is not zero.
        let start = unsafe { System.alloc(whole) };
        if start.is_null() {
            return start;
        }
        let given = start.wrapping_add(room);
        // SAFETY: `room` bytes are in front of what is given, aligned for numbers, and two of them fit there.
        unsafe { remembered(given).write([layout.size(), layout.align()]) };
        given
    }

    unsafe fn dealloc(&self, given: *mut u8, layout: Layout) {
        // SAFETY: written by `alloc`.
        let [size, align] = unsafe { remembered(given).read() };
        if (size, align) != (layout.size(), layout.align()) {
            WRONG.fetch_add(1, Ordering::Relaxed);
        }
        if align >= 512 {
            ALIGNED.fetch_add(1, Ordering::Relaxed);
        }
        let was = Layout::from_size_align(size, align).unwrap_or(layout);
        let (whole, room) = with_room(was);
        // SAFETY: what the system has given, with that layout.
        unsafe { System.dealloc(given.wrapping_sub(room), whole) };
    }
}

#[global_allocator]
static ALLOCATOR: Remembering = Remembering;

/// Lends a buffer, and makes it whole again; and lends it once more, to drop it as it is lent.
fn lend<B: IoBufMut>(make: impl Fn() -> B) {
    let (lease, rest) = make().lend();
    // SAFETY: the parts of one buffer, which nobody uses; no byte is said to be filled.
    drop(unsafe { B::reclaim_filled(lease, rest, 0) });
    let (lease, rest) = make().lend();
    drop((lease, rest));
}

fn constant<B: IoBuf>(make: impl Fn() -> B) {
    let (lease, rest) = make().lend();
    // SAFETY: as above.
    drop(unsafe { B::reclaim(lease, rest) });
    drop(make().lend());
}

#[test]
fn what_is_freed_has_the_layout_of_its_allocation() {
    for size in [1, 100, 4096, 10_000] {
        lend(|| vec![0_u8; size]);
        lend(|| Vec::<u8>::with_capacity(size));
        lend(|| vec![0_u8; size].into_boxed_slice());
        lend(|| OwnedBuffer::new(size));
        constant(|| "x".repeat(size));
        for align in [1, 64, 512, 4096] {
            lend(|| OwnedBuffer::aligned(size, align).unwrap());
            // Into a vector where that has the same layout, and back where it has not.
            match OwnedBuffer::aligned(size, align).unwrap().into_vec() {
                Ok(vector) => drop(vector),
                Err(buffer) => drop(buffer),
            }
            for pool in [
                BufferPool::aligned(3, size, align).unwrap(),
                BufferPool::contiguous(3, size, align).unwrap(),
            ] {
                lend(|| pool.take().unwrap());
                let last = pool.take().unwrap();
                drop(pool);
                drop(last);
            }
        }
    }
    assert_eq!(WRONG.load(Ordering::Relaxed), 0, "freed with another layout");
    let aligned = ALIGNED.load(Ordering::Relaxed);
    assert!(aligned > 30, "only {aligned} were aligned");
    a_wrong_one_is_counted();
}

/// That the allocator would have seen it.
fn a_wrong_one_is_counted() {
    let before = WRONG.load(Ordering::Relaxed);
    let layout = Layout::from_size_align(64, 64).unwrap();
    // SAFETY: the size is not zero.
    let given = unsafe { ALLOCATOR.alloc(layout) };
    // SAFETY: just allocated. The layout is wrong, which this allocator counts, and then does without.
    unsafe { ALLOCATOR.dealloc(given, Layout::from_size_align(64, 1).unwrap()) };
    assert_eq!(WRONG.load(Ordering::Relaxed), before + 1);
}
