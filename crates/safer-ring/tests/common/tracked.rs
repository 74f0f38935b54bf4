//! A buffer whose release is seen, and whose memory is watched afterwards.

use std::alloc::{Layout, alloc, dealloc};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use safer_ring::{IoBuf, IoBufMut};
use safer_ring_buf::Lease;

const ALIGN: usize = 4096;
/// What released memory is filled with.
const DEAD: u8 = 0xA5;

/// Counts the buffers made from it, and keeps their memory once they are released.
#[derive(Default)]
pub(crate) struct Morgue {
    alive: AtomicUsize,
    dead: Mutex<Vec<(usize, usize)>>,
}

impl Morgue {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A buffer of so many bytes, all zero, aligned for direct I/O.
    pub(crate) fn buffer(self: &Arc<Self>, len: usize) -> Tracked {
        // SAFETY: the size is not zero (asserted by the layout of a page at least).
        let start = unsafe { alloc(layout(len)) };
        assert!(!start.is_null());
        // SAFETY: just allocated with this size.
        unsafe { start.write_bytes(0, len) };
        self.alive.fetch_add(1, Ordering::SeqCst);
        Tracked { start, len, filled: len, morgue: Arc::clone(self) }
    }

    /// Buffers that have not been released.
    pub(crate) fn alive(&self) -> usize {
        self.alive.load(Ordering::SeqCst)
    }

    /// Buffers that have been released.
    pub(crate) fn released(&self) -> usize {
        self.dead.lock().unwrap().len()
    }

    /// Fails if anything was written to a buffer after its release.
    #[track_caller]
    pub(crate) fn assert_untouched(&self) {
        // A copy: to fail must not poison what the drop of the morgue needs.
        let dead = self.dead.lock().unwrap().clone();
        for (start, len) in &dead {
            let start = std::ptr::with_exposed_provenance::<u8>(*start);
            for at in 0..*len {
                // SAFETY: the memory is kept until the morgue is dropped. Volatile, since the fault that is looked
                // for is that somebody else writes to it.
                let byte = unsafe { start.wrapping_add(at).read_volatile() };
                assert_eq!(byte, DEAD, "byte {at} of {len} was written after the release");
            }
        }
    }
}

impl Drop for Morgue {
    fn drop(&mut self) {
        for (start, len) in self.dead.lock().unwrap().drain(..) {
            // SAFETY: allocated with this layout, and given up by its buffer.
            unsafe { dealloc(std::ptr::with_exposed_provenance_mut(start), layout(len)) };
        }
    }
}

fn layout(len: usize) -> Layout {
    assert!(len > 0);
    Layout::from_size_align(len, ALIGN).unwrap()
}

/// A buffer whose release is seen.
pub(crate) struct Tracked {
    start: *mut u8,
    len: usize,
    filled: usize,
    morgue: Arc<Morgue>,
}

// SAFETY: it is the only owner of its memory.
unsafe impl Send for Tracked {}

impl Tracked {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.as_init()
    }

    pub(crate) fn fill(&mut self, byte: u8) {
        self.as_init_mut().fill(byte);
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        // SAFETY: the only owner of `len` bytes.
        unsafe { self.start.write_bytes(DEAD, self.len) };
        self.morgue.dead.lock().unwrap().push((self.start.expose_provenance(), self.len));
        self.morgue.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

impl std::fmt::Debug for Tracked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracked").field("len", &self.len).finish_non_exhaustive()
    }
}

// SAFETY: heap memory that does not move with its owner and lives as long as it.
unsafe impl IoBuf for Tracked {
    type Rest = ();

    fn lend(self) -> (Lease, ()) {
        let (start, len, filled) = (self.start, self.len, self.filled);
        // SAFETY: `len` initialised bytes that only this owner uses.
        (unsafe { Lease::from_owner(start, filled, len, self) }, ())
    }

    unsafe fn reclaim(lease: Lease, (): ()) -> Self {
        // SAFETY: `lend` stored a `Tracked`.
        unsafe { lease.into_owner() }
    }

    fn as_init(&self) -> &[u8] {
        // SAFETY: all bytes are initialised from the start.
        unsafe { std::slice::from_raw_parts(self.start, self.filled) }
    }

    fn len_max(&self) -> usize {
        self.len
    }
}

// SAFETY: as above; all bytes are initialised at all times.
unsafe impl IoBufMut for Tracked {
    fn as_init_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_init`, and this is the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.filled) }
    }

    unsafe fn reclaim_filled(lease: Lease, (): (), filled: usize) -> Self {
        // SAFETY: `lend` stored a `Tracked`.
        let mut this = unsafe { lease.into_owner::<Self>() };
        this.filled = filled.min(this.len);
        this
    }
}
