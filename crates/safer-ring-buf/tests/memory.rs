//! Memory is freed once, with the layout it was allocated with, and new memory is not shown before it is filled.
//!
//! The allocator of this program keeps a header in front of every block, fills new memory with a pattern, wipes freed
//! memory, and never uses a block again: a second free is seen for certain.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering};

use safer_ring_buf::{BufferPool, IoBuf, IoBufMut, Lease, OwnedBuffer, Vectored};
use support::{failed_read, orphan, read, write};

const FRESH: u8 = 0xA5;
const FREED: u8 = 0xDD;
const ALIVE: usize = 0x0A11_FE00;
const DEAD: usize = 0x0DEA_D000;

static COUNTING: AtomicBool = AtomicBool::new(false);
static LIVE: AtomicIsize = AtomicIsize::new(0);
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static WRONG_LAYOUT: AtomicUsize = AtomicUsize::new(0);
static FREED_TWICE: AtomicUsize = AtomicUsize::new(0);

#[repr(C)]
struct Header {
    size: usize,
    align: usize,
    state: usize,
}

struct Checking;

/// Distance from the start of a block to its user's part, and the layout of the whole.
fn outer(layout: Layout) -> (usize, Layout) {
    let room = size_of::<Header>().next_multiple_of(layout.align().max(align_of::<Header>()));
    let align = layout.align().max(align_of::<Header>());
    (room, Layout::from_size_align(room + layout.size(), align).unwrap())
}

// SAFETY: blocks come from the system allocator, with room for a header; none is given out twice.
unsafe impl GlobalAlloc for Checking {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > isize::MAX as usize / 2 {
            return std::ptr::null_mut();
        }
        let (room, whole) = outer(layout);
        // SAFETY: the size is not zero: there is a header.
        let block = unsafe { System.alloc(whole) };
        if block.is_null() {
            return block;
        }
        let user = block.wrapping_add(room);
        let header = Header { size: layout.size(), align: layout.align(), state: ALIVE };
        // SAFETY: `room` is at least a header and a multiple of its alignment, so it fits right before the user's part.
        unsafe { user.cast::<Header>().wrapping_sub(1).write(header) };
        // SAFETY: the user's part has `size` bytes.
        unsafe { user.write_bytes(FRESH, layout.size()) };
        if COUNTING.load(Ordering::SeqCst) {
            LIVE.fetch_add(1, Ordering::SeqCst);
            ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
        }
        user
    }

    unsafe fn dealloc(&self, user: *mut u8, layout: Layout) {
        let header = user.cast::<Header>().wrapping_sub(1);
        // SAFETY: every block has a header in front, and blocks are never unmapped.
        let header = unsafe { &mut *header };
        if header.state != ALIVE {
            FREED_TWICE.fetch_add(1, Ordering::SeqCst);
            return;
        }
        header.state = DEAD;
        if (header.size, header.align) != (layout.size(), layout.align()) {
            WRONG_LAYOUT.fetch_add(1, Ordering::SeqCst);
        }
        let size = header.size;
        // SAFETY: the user's part has `size` bytes and no user any more.
        unsafe { user.write_bytes(FREED, size) };
        if COUNTING.load(Ordering::SeqCst) {
            LIVE.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

#[global_allocator]
static ALLOCATOR: Checking = Checking;

/// Runs `work` and checks that it frees what it allocates, correctly. Returns the number of allocations.
fn balanced(name: &str, work: impl FnOnce()) -> usize {
    LIVE.store(0, Ordering::SeqCst);
    ALLOCATIONS.store(0, Ordering::SeqCst);
    COUNTING.store(true, Ordering::SeqCst);
    work();
    COUNTING.store(false, Ordering::SeqCst);
    assert_eq!(WRONG_LAYOUT.load(Ordering::SeqCst), 0, "{name}: freed with another layout");
    assert_eq!(FREED_TWICE.load(Ordering::SeqCst), 0, "{name}: freed twice");
    assert_eq!(LIVE.load(Ordering::SeqCst), 0, "{name}: blocks left over");
    ALLOCATIONS.load(Ordering::SeqCst)
}

/// All ways a lent buffer can end.
fn readable<B: IoBuf>(name: &str, make: impl Fn() -> B) {
    balanced(name, || drop(make()));
    balanced(name, || orphan(make()));
    balanced(name, || drop(write(make()).1));
    balanced(name, || orphan(write(make()).1.slice(..1)));
    balanced(name, || {
        let (lease, _, _) = Vectored::lend_for_write(vec![make(), make()]).ok().unwrap();
        drop(lease);
    });
    balanced(name, || {
        let (lease, _, rest) = Vectored::lend_for_write(vec![make(), make()]).ok().unwrap();
        // SAFETY: lease and rest come from one call.
        drop(unsafe { Vectored::reclaim(lease, rest) });
    });
    // On the thread that polls nothing is allocated by lending and reclaiming.
    let buffer = make();
    let mut back = None;
    let allocations = balanced(name, || {
        let (lease, rest) = buffer.lend();
        // SAFETY: lease and rest come from one `lend`.
        back = Some(unsafe { B::reclaim(lease, rest) });
    });
    assert_eq!(allocations, 0, "{name}: lending allocates");
    drop(back);
}

fn writable<B: IoBufMut>(name: &str, make: impl Fn() -> B) {
    readable(name, &make);
    balanced(name, || drop(read(make(), b"some bytes")));
    balanced(name, || orphan(read(make(), b"some bytes").1));
    balanced(name, || drop(failed_read(make(), b"some bytes")));
    balanced(name, || drop(read(read(make(), b"0123456789").1.slice(4..), b"ab").1.into_inner()));
}

/// A length behind what was read would show the pattern of fresh memory.
fn nothing_fresh_is_shown<B: IoBufMut>(name: &str, empty: impl Fn() -> B) {
    assert!(empty().as_init().is_empty(), "{name}");
    for n in 0..=16 {
        let (_, buffer) = read(empty(), &[1; 16][..n]);
        assert_eq!(buffer.as_init(), &[1; 16][..n], "{name}");
        let half = n / 2;
        let (_, slice) = read(buffer.slice(half..), &[2; 3]);
        let buffer = slice.into_inner();
        assert!(!buffer.as_init().contains(&FRESH), "{name}");
        let buffer = failed_read(buffer, &[3; 2]);
        assert!(!buffer.as_init().contains(&FRESH), "{name}");
    }
}

fn kinds() {
    let pool = BufferPool::aligned(4, 64, 512).unwrap();
    // The first buffers of a pool stay with it: allocate them outside the counts.
    drop((0..4).map(|_| pool.take()).collect::<Vec<_>>());

    writable("OwnedBuffer", || OwnedBuffer::new(64));
    writable("OwnedBuffer, aligned", || OwnedBuffer::aligned(64, 4096).unwrap());
    writable("OwnedBuffer, from a vector", || OwnedBuffer::from(vec![0; 64]));
    writable("Vec", || vec![0; 64]);
    writable("Vec, with room", || {
        let mut vec = Vec::with_capacity(100);
        vec.extend_from_slice(b"0123");
        vec
    });
    writable("Box<[u8]>", || vec![0; 64].into_boxed_slice());
    writable("Box<[u8; N]>", || Box::new([0; 64]));
    writable("PooledBuffer", || {
        let mut buffer = pool.take().unwrap();
        buffer.resize(64);
        buffer
    });
    readable("String", || String::from("a string"));
    readable("&str", || "a string");
    readable("Arc<[u8]>", || Arc::<[u8]>::from(vec![1; 64]));
    readable("Arc<Vec<u8>>", || Arc::new(vec![1; 64]));
    #[cfg(feature = "bytes")]
    {
        use bytes::{Bytes, BytesMut};
        writable("BytesMut", || BytesMut::from([0; 64].as_slice()));
        readable("Bytes", || Bytes::from(vec![1; 64]));
        readable("Bytes, static", || Bytes::from_static(b"a string"));
        nothing_fresh_is_shown("BytesMut", || BytesMut::with_capacity(16));
    }

    nothing_fresh_is_shown("Vec", || Vec::with_capacity(16));
    nothing_fresh_is_shown("OwnedBuffer", || OwnedBuffer::with_capacity(16));
    nothing_fresh_is_shown("OwnedBuffer, aligned", || {
        OwnedBuffer::aligned_with_capacity(16, 64).unwrap()
    });
    nothing_fresh_is_shown("PooledBuffer", || BufferPool::new(1, 16).take().unwrap());
}

fn other_ways_to_free() {
    balanced("boxed state", || {
        drop(Lease::from_box(Box::new([String::from("one"), String::from("two")])));
    });
    balanced("boxed state of no size", || drop(Lease::from_box(Box::new(()))));
    balanced("empty", || drop(Lease::empty()));
    balanced("owned into a vector", || {
        let mut vec = OwnedBuffer::new(10).into_vec().unwrap();
        vec.reserve(1000);
    });
    balanced("clone", || drop(OwnedBuffer::aligned(10, 128).unwrap().clone()));
    balanced("a pool", || {
        let pool = BufferPool::aligned(3, 10, 256).unwrap();
        let (first, second) = (pool.take(), pool.take());
        drop(first);
        let (lease, ()) = second.unwrap().lend();
        drop(pool);
        drop(lease);
    });
    let mut pool = BufferPool::new(1, 10);
    drop(pool.take());
    let allocations = balanced("a pool in use", || {
        for _ in 0..100 {
            drop(pool.take().unwrap().lend());
        }
    });
    assert_eq!(allocations, 0, "a pool allocates a buffer once");
    // The last buffer to come back after its pool has gone is freed at once, not when all have come.
    let (one, two);
    pool = BufferPool::new(2, 10);
    (one, two) = (pool.take(), pool.take());
    drop(pool);
    LIVE.store(0, Ordering::SeqCst);
    COUNTING.store(true, Ordering::SeqCst);
    drop(one);
    COUNTING.store(false, Ordering::SeqCst);
    assert_eq!(LIVE.load(Ordering::SeqCst), -1);
    drop(two);
}

// Without the test harness: its main thread would allocate while the counters run.
fn main() {
    kinds();
    other_ways_to_free();
}
