//! The poller of a tokio runtime.

use std::future::poll_fn;
use std::os::fd::{AsRawFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use safer_ring_buf::sync::ForkMutex;
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::runtime::{Handle, Id};

use super::{Bell, Ours};

pub(crate) use ::tokio::task::Id as TaskId;

/// Runtimes without I/O (`enable_io`). An identity may be used again by a later runtime, whose rings are heard by the
/// reactor then.
static WITHOUT_IO: ForkMutex<Vec<Id>> = ForkMutex::new(Vec::new());

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

/// Whether the calling thread belongs to this runtime.
fn runs_here(runtime: Id) -> bool {
    Handle::try_current().is_ok_and(|here| here.id() == runtime)
}

/// Puts a descriptor into the poller of the calling thread's runtime. `None` if there is no such, or it takes nothing.
fn register<T: AsRawFd>(descriptor: T) -> Option<(AsyncFd<T>, Id)> {
    let runtime = Handle::try_current().ok()?.id();
    if WITHOUT_IO.lock().contains(&runtime) {
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
        WITHOUT_IO.lock().push(runtime);
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

/// The task that polls, if this is its waker: a task of tokio, which makes progress only if its runtime runs. There is no way to
/// ask for that, so a task that does nothing else looks at its own, once in the process; before that, none is known.
#[inline]
pub(crate) fn task_of(waker: &Waker) -> Option<TaskId> {
    let task = tokio::task::try_id()?;
    match TASKS.load(Ordering::Relaxed) {
        0 => {
            learn();
            None
        }
        known => (ptr::from_ref(waker.vtable()).addr() == known).then_some(task),
    }
}

#[cold]
fn learn() {
    let Ok(runtime) = Handle::try_current() else { return };
    if TASKS.load(Ordering::Relaxed) == 0 && !LEARNING.swap(true, Ordering::Relaxed) {
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
pub(crate) struct Arrived {
    socket: Ours<AsyncFd<Number>>,
    runtime: Id,
    /// One of that runtime's.
    task: TaskId,
}

/// What a runtime has told of a socket, until all of it has been taken.
pub(crate) struct Told<'a>(AsyncFdReadyGuard<'a, Number>);

impl Told<'_> {
    /// A receive has found nothing: what arrives from now on is told anew. The end of the stream stays.
    pub(crate) fn all_taken(mut self) {
        self.0.clear_ready();
    }
}

/// The number of a socket that stays open as long as this is there: a promise of who makes it.
#[derive(Debug)]
struct Number(RawFd);

impl AsRawFd for Number {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

impl Arrived {
    /// Puts a socket into the poller of the runtime of `task`, which runs here, for as long as this lives, which must not be longer
    /// than the socket is open. `None` if the runtime takes nothing, or has that socket already.
    pub(crate) fn new(socket: RawFd, task: TaskId) -> Option<Self> {
        let (socket, runtime) = register(Number(socket))?;
        Some(Self { socket: Ours::new(socket), runtime, task })
    }

    /// Whether `task`, which runs here, belongs to that runtime: another may run while nobody is in that one's poller.
    #[inline]
    pub(crate) fn is_for(&mut self, task: TaskId) -> bool {
        if self.task != task {
            if !runs_here(self.runtime) {
                return false;
            }
            self.task = task;
        }
        true
    }

    /// Whether something has arrived that has not been taken; `None` if the runtime has ended.
    #[inline]
    pub(crate) fn poll(&self, waker: &Waker) -> Poll<Option<Told<'_>>> {
        let told = self.socket.poll_read_ready(&mut Context::from_waker(waker));
        told.map(|told| told.ok().map(Told))
    }
}

impl Place {
    pub(super) fn new(bell: Bell) -> Option<Self> {
        learn();
        register(bell).map(|(bell, runtime)| Self { bell, runtime })
    }

    /// Whether the calling thread belongs to the same runtime; or to a later one with its identity, where [`Place::arm`]
    /// tells that the first has ended.
    pub(super) fn is_here(&self) -> bool {
        runs_here(self.runtime)
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
