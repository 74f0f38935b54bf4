//! The poller of a tokio runtime.

use std::future::poll_fn;
use std::os::fd::{AsRawFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Handle, Id};

use super::Bell;

/// Runtimes without I/O (`enable_io`). An identity may be used again by a later runtime, whose rings are heard by the
/// reactor then.
static WITHOUT_IO: Mutex<Vec<Id>> = Mutex::new(Vec::new());

/// Whether the calling thread belongs to a runtime, as far as it can be seen.
#[inline]
pub(super) fn is_here() -> bool {
    // The first is one look at the thread; the second counts references.
    tokio::task::try_id().is_some() || Handle::try_current().is_ok()
}

#[derive(Debug)]
pub(super) struct Place {
    bell: AsyncFd<Bell>,
    runtime: Id,
}

/// Puts a descriptor into the poller of the calling thread's runtime. `None` if there is no such, or it takes nothing.
fn register<T: AsRawFd>(descriptor: T) -> Option<(AsyncFd<T>, Id)> {
    let runtime = Handle::try_current().ok()?.id();
    let without_io = || WITHOUT_IO.lock().unwrap_or_else(PoisonError::into_inner);
    if without_io().contains(&runtime) {
        return None;
    }
    let made = catch_unwind(AssertUnwindSafe(|| {
        #[allow(
            deprecated,
            reason = "its successor is of 1.54; both that come here keep what that asks for"
        )]
        AsyncFd::with_interest(descriptor, Interest::READABLE)
    }));
    let Ok(made) = made else {
        // Tokio's only way to say that the runtime has no I/O.
        without_io().push(runtime);
        return None;
    };
    made.ok().map(|made| (made, runtime))
}

/// The table of the wakers of tokio's tasks, as an address; 0 until it has been learnt.
static TASKS: AtomicUsize = AtomicUsize::new(0);
/// A task that is to learn it is on its way.
static LEARNING: AtomicBool = AtomicBool::new(false);

/// Lets another one try if it does not get to run.
struct Learning;

impl Drop for Learning {
    fn drop(&mut self) {
        LEARNING.store(false, Ordering::Relaxed);
    }
}

/// Whether this is the waker of a task of tokio, which makes progress only if the runtime runs. `None` if that is not known
/// yet: there is no way to ask, so a task that does nothing else looks at its own, once in the process.
pub(crate) fn is_task(waker: &Waker) -> Option<bool> {
    if !is_here() {
        return Some(false);
    }
    match TASKS.load(Ordering::Relaxed) {
        0 => {
            learn();
            None
        }
        known => Some(ptr::from_ref(waker.vtable()).addr() == known),
    }
}

#[cold]
fn learn() {
    let Ok(runtime) = Handle::try_current() else { return };
    if !LEARNING.swap(true, Ordering::Relaxed) {
        let learning = Learning;
        runtime.spawn(poll_fn(move |context| {
            let _learning = &learning;
            TASKS.store(ptr::from_ref(context.waker().vtable()).addr(), Ordering::Relaxed);
            Poll::Ready(())
        }));
    }
}

/// A socket in the poller of a runtime, which tells when something has arrived.
#[derive(Debug)]
pub(crate) struct Arrived(AsyncFd<Number>);

/// The number of a socket that stays open as long as this is there: a promise of who makes it.
#[derive(Debug)]
struct Number(RawFd);

impl AsRawFd for Number {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

impl Arrived {
    /// Puts a socket into the poller of the calling thread's runtime, for as long as this lives, which must not be longer than
    /// the socket is open. `None` if there is no runtime, or it takes nothing, or has that socket already.
    pub(crate) fn new(socket: RawFd) -> Option<Self> {
        register(Number(socket)).map(|(socket, _)| Self(socket))
    }

    /// Whether something has arrived since the last time that this was so; `None` if the runtime has ended.
    pub(crate) fn poll(&self, waker: &Waker) -> Poll<Option<()>> {
        self.0.poll_read_ready(&mut Context::from_waker(waker)).map(|arrived| {
            // What arrives after this is an event of its own. The end of the stream stays.
            arrived.ok().map(|mut arrived| arrived.clear_ready())
        })
    }
}

impl Place {
    pub(super) fn new(bell: Bell) -> Option<Self> {
        register(bell).map(|(bell, runtime)| Self { bell, runtime })
    }

    /// Whether the calling thread belongs to the same runtime; or to a later one with its identity, where [`Place::arm`]
    /// tells that the first has ended.
    pub(super) fn is_here(&self) -> bool {
        Handle::try_current().is_ok_and(|here| here.id() == self.runtime)
    }

    pub(super) fn arm(&self, context: &mut Context<'_>) -> bool {
        loop {
            match self.bell.poll_read_ready(context) {
                Poll::Pending => return true,
                Poll::Ready(Ok(mut signal)) => signal.clear_ready(),
                Poll::Ready(Err(_)) => return false,
            }
        }
    }
}
