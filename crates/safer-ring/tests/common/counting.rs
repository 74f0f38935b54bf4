//! An allocator that counts: for the test binaries that measure allocations, which include this file as a module.
//!
//! Calls are counted on every thread but that of the test harness, which prints, and so allocates, when a test takes longer
//! than a minute.
//!
//! # Safety
//! The allocator hands every call on to the system's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use safer_ring::Ring;

#[allow(dead_code, reason = "a part of it")]
#[path = "naps.rs"]
mod naps;

struct Counting;

static CALLS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Whether calls of this thread are counted, if that is known. Constant and without a destructor: it needs no memory.
    static COUNTS: Cell<Option<bool>> = const { Cell::new(None) };
}

/// Whether the calling thread is none of the harness.
fn counts_here() -> bool {
    let find_out = |counts: &Cell<Option<bool>>| {
        let main = rustix::thread::gettid() == rustix::process::getpid();
        counts.set(Some(!main));
        !main
    };
    COUNTS.with(|counts| counts.get().unwrap_or_else(|| find_out(counts)))
}

fn count() {
    if counts_here() {
        CALLS.fetch_add(1, Ordering::Relaxed);
    }
}

/// What has been counted so far.
pub(crate) fn calls() -> u64 {
    CALLS.load(Ordering::Relaxed)
}

/// To be called by a test before it measures: with one thread for tests, the harness runs it on its own.
pub(crate) fn start() {
    COUNTS.set(Some(true));
    let before = calls();
    drop(std::hint::black_box(Box::new(1)));
    assert!(calls() > before, "allocations are counted");
}

/// To be awaited before a shared ring is measured: the start of the reactor's thread takes memory, and on a busy machine
/// it may still be about that when its ring has long been at work. Behind a few sleeps it is at work too.
pub(crate) async fn settled(ring: &Ring) -> io::Result<()> {
    while naps::naps_if_begun().is_none_or(|naps| naps < 3) {
        ring.timeout(Duration::from_millis(1)).await?;
    }
    Ok(())
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.realloc(ptr, layout, size) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What was measured, and how many allocations there were.
pub(crate) type Found = Vec<(&'static str, u64)>;

/// Counts the allocations of `OPERATIONS` runs of a step, after `WARM_UP` others: constants of the test.
macro_rules! measure {
    ($found:ident, $name:literal, $step:expr) => {{
        for _ in 0..WARM_UP {
            $step;
        }
        let before = counting::calls();
        for _ in 0..OPERATIONS {
            $step;
        }
        $found.push(($name, counting::calls() - before));
    }};
}
pub(crate) use measure;
