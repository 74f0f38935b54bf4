//! Firing wakers, and waking a thread that sleeps inside its ring.
//!
//! A thread that runs [`LocalCell::block_on`](crate::LocalCell::block_on) sleeps in `io_uring_enter`, where only a
//! completion can reach it. So an eventfd is watched by the ring itself: a wake from another thread
//! writes to it, the ring posts a completion, the thread returns.
//!
//! * The flag of the own thread is a plain store: completions reaped by the thread itself cost no atomic
//!   read-modify-write.
//! * A wake from another thread sets `remote` and writes the eventfd, at most once until the owner has
//!   looked. The watch is armed before each sleep, and an eventfd keeps its count, so a write between
//!   the owner's look and its sleep ends the sleep at once: no wake-up is lost.

use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Poll, Wake, Waker};

use rustix::event::{EventfdFlags, eventfd};
use safer_ring_buf::quietly;
use safer_ring_buf::sync::{AtomicBool, Ordering, thread_local};
use safer_ring_sys::Errno;

use crate::count::Count;

static NEXT_THREAD: AtomicUsize = AtomicUsize::new(1);

thread_local! {
    static THREAD: usize = NEXT_THREAD.fetch_add(1, Ordering::Relaxed);
}

/// A number for the calling thread that no other thread of the process ever has; 0 when the thread is
/// on its way out.
#[inline]
pub(crate) fn thread_id() -> usize {
    THREAD.try_with(|id| *id).unwrap_or(0)
}

/// Pending, so that others have their turn, and polled again right away.
#[cold]
pub fn give_way<T>(waker: &Waker) -> Poll<T> {
    quietly(|| waker.wake_by_ref());
    Poll::Pending
}

/// What brings a thread out of its ring.
#[derive(Debug)]
pub struct Doorbell {
    count: Count,
    rung: AtomicBool,
}

/// An eventfd that never blocks.
pub(crate) fn new_eventfd() -> Result<OwnedFd, Errno> {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(os_errno)
}

pub(crate) fn os_errno(e: rustix::io::Errno) -> Errno {
    Errno::from_raw_os_error(e.raw_os_error()).unwrap_or(Errno::IO)
}

impl Doorbell {
    pub(crate) fn new() -> Result<Arc<Self>, Errno> {
        Ok(Arc::new(Self { count: Count::new()?, rung: AtomicBool::new(false) }))
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.count.fd()
    }

    /// Ends the sleep of the thread, or its next one; at most one write until it has looked.
    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.count.add();
        }
    }

    /// Silences it, so that the next ring is heard again.
    pub(crate) fn hush(&self) {
        // In this order: a ring in between writes nothing and is heard by the swap, which sees all that came
        // before that ring; a plain store would not, and the owner could go to sleep without having seen it.
        self.count.clear();
        self.rung.swap(false, Ordering::AcqRel);
    }

    /// The sleep in a ring that watches it.
    #[cfg(all(test, safer_ring_loom))]
    pub(crate) fn sleep(&self) {
        self.count.wait();
    }
}

/// The waker of one `block_on`.
#[derive(Debug)]
pub(crate) struct LocalWake {
    owner: usize,
    own: AtomicBool,
    remote: AtomicBool,
    bell: Arc<Doorbell>,
}

impl LocalWake {
    /// Starts woken, so that the future is polled once.
    pub(crate) fn new(bell: Arc<Doorbell>) -> Arc<Self> {
        Arc::new(Self {
            owner: thread_id(),
            own: AtomicBool::new(true),
            remote: AtomicBool::new(false),
            bell,
        })
    }

    /// Whether it was woken since the last call. Only for the owner.
    #[inline]
    pub(crate) fn take(&self) -> bool {
        let own = self.own.load(Ordering::Relaxed);
        if own {
            self.own.store(false, Ordering::Relaxed);
        }
        let remote =
            self.remote.load(Ordering::Relaxed) && self.remote.swap(false, Ordering::AcqRel);
        own || remote
    }
}

impl Wake for LocalWake {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    #[inline]
    fn wake_by_ref(self: &Arc<Self>) {
        if thread_id() == self.owner {
            self.own.store(true, Ordering::Relaxed);
        } else {
            // A swap, so that the owner's sees what came before each of several wakes, and not only before the last.
            self.remote.swap(true, Ordering::AcqRel);
            self.bell.ring();
        }
    }
}

/// Drops what is dead and fires the wakers, all of which is foreign code: none of it keeps the others from running.
#[inline]
pub(crate) fn conclude<T>(dead: &mut Vec<T>, retired: &mut Vec<Waker>, wakers: &mut Vec<Waker>) {
    if !dead.is_empty() || !retired.is_empty() {
        release(dead, retired);
    }
    fire(wakers);
}

fn release<T>(dead: &mut Vec<T>, retired: &mut Vec<Waker>) {
    dead.drain(..).for_each(|value| quietly(|| drop(value)));
    retired.drain(..).for_each(|waker| quietly(|| drop(waker)));
}

/// Fires each waker, even if one panics.
#[inline(never)]
fn fire(wakers: &mut Vec<Waker>) {
    wakers.drain(..).for_each(|waker| quietly(|| waker.wake()));
}
