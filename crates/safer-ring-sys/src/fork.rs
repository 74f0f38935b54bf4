//! Whether this is still the process that made a thing, without a system call.
//!
//! The rings of a process are not those of its forked children: a child that submits, reaps or
//! unregisters would corrupt its parent. Each process that calls [`arm`] has an epoch, a number that
//! none of its ancestors had. It stands on one page that the kernel zeroes in a forked child
//! (`MADV_WIPEONFORK`, Linux 4.14), so a child reads 0 until it arms itself. A thing remembers the
//! epoch in which it was made and is alive while [`current`] is still the same.
//!
//! gVisor and kernels before 4.14 cannot zero a page on fork. There `pthread_atfork(3)` does it, which the `fork` of the C
//! library calls, though not a `clone(2)` past it.
//!
//! The epoch is not the process id: ids come back, and repeat across pid namespaces.
//!
//! # Safety
//! Maps the page and reads it through a pointer that is never unmapped once published.
//!
//! Tests: fork_drop_leak_and_failure, a_child_is_known_where_the_kernel_wipes_no_page
#![allow(unsafe_code, reason = "one page of shared memory with a property of its own")]

use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use crate::Errno;

/// Stands for the page until the first [`arm`]. Never written.
static UNARMED: AtomicU32 = AtomicU32::new(0);

static PAGE: AtomicPtr<AtomicU32> = AtomicPtr::new((&raw const UNARMED).cast_mut());

/// The last epoch given in this process or in an ancestor: ordinary memory, which a child inherits.
static LAST: AtomicU32 = AtomicU32::new(0);

/// The epoch of this process; 0 if it has not called [`arm`], as in a forked child.
#[inline]
#[must_use]
pub fn current() -> u32 {
    page().load(Ordering::Relaxed)
}

/// Gives this process an epoch unless it has one, and returns it; never 0. Safe to call from any
/// thread, any number of times.
///
/// # Errors
/// `ENOMEM` if the page cannot be mapped, or nothing can be found to zero it on fork.
pub fn arm() -> Result<u32, Errno> {
    let epoch = current();
    if epoch != 0 {
        return Ok(epoch);
    }
    if core::ptr::eq(page(), &UNARMED) {
        publish(map_page()?);
    }
    let mut next = 0;
    while next == 0 {
        next = LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
    }
    match page().compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => Ok(next),
        Err(first) => Ok(first),
    }
}

#[inline]
fn page() -> &'static AtomicU32 {
    let page = PAGE.load(Ordering::Acquire);
    // SAFETY: either `UNARMED` or a page that `publish` made visible. Neither is ever unmapped, and
    // both are only accessed as an `AtomicU32`.
    unsafe { &*page }
}

/// Makes `page` the page, unless another thread was faster.
fn publish(page: *mut AtomicU32) {
    let unarmed = (&raw const UNARMED).cast_mut();
    if PAGE.compare_exchange(unarmed, page, Ordering::Release, Ordering::Relaxed).is_err() {
        // SAFETY: mapped by `map_page` with this length; it was never published.
        unsafe { libc::munmap(page.cast(), PAGE_LENGTH) };
    }
}

/// The kernel rounds up to whole pages.
const PAGE_LENGTH: usize = size_of::<AtomicU32>();

fn map_page() -> Result<*mut AtomicU32, Errno> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new anonymous mapping at an address of the kernel's choice replaces nothing.
    let page = unsafe { libc::mmap(core::ptr::null_mut(), PAGE_LENGTH, access, kind, -1, 0) };
    if page == libc::MAP_FAILED {
        return Err(Errno::last());
    }
    // SAFETY: advice on the mapping made above.
    let wiped = unsafe { libc::madvise(page, PAGE_LENGTH, libc::MADV_WIPEONFORK) } == 0;
    // SAFETY: the handler may run at any time, also between any two instructions of a program with threads: it loads a
    // pointer and stores a number.
    if !wiped && unsafe { libc::pthread_atfork(None, None, Some(wipe)) } != 0 {
        // SAFETY: the mapping made above, which nobody else knows.
        unsafe { libc::munmap(page, PAGE_LENGTH) };
        return Err(Errno::NOMEM);
    }
    Ok(page.cast())
}

/// In a forked child: what the kernel does elsewhere. The page is private, so the child has a copy.
extern "C" fn wipe() {
    // `UNARMED` is 0 already, and an ancestor's handler may run before a page is published.
    if !core::ptr::eq(page(), &UNARMED) {
        page().store(0, Ordering::Relaxed);
    }
}
