//! A runtime: threads that each run tasks on a local ring of their own.
//!
//! ```
//! use safer_ring::{Runtime, runtime};
//! use std::time::Duration;
//!
//! # fn main() -> std::io::Result<()> {
//! let runtime = Runtime::new()?;
//! runtime.block_on(async {
//!     let ring = runtime::ring();
//!     let task = runtime::spawn(async move { ring.nop().await });
//!     runtime::sleep(Duration::from_millis(1)).await;
//!     task.await?
//! })
//! # }
//! ```
//!
//! * The calling thread runs [`Runtime::block_on`] and the tasks that it spawns; [`Builder::threads`] adds others, which
//!   [`Handle::spawn_on`] gives their tasks. A task stays on its thread, so it need not be `Send`, and everything of
//!   [`local`] works in it: no locks, and one system call for all that the ready tasks have started.
//! * [`spawn_blocking`] is for calls that block, [`sleep`], [`timeout`] and [`interval`] for time, [`signal`] for signals,
//!   [`process`] for children.
//! * [`Runtime::shutdown`] cancels the tasks of all threads, and tells what was left.
//!
//! The repository's `docs/GUIDE-runtime.md` is the chapter on it.

mod blocking;
mod builder;
mod end;
mod handle;
mod place;
mod post;
pub mod process;
pub mod signal;
mod task;
mod time;
mod worker;

use std::fmt;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

pub use blocking::spawn_blocking;
pub use builder::{Builder, StartError};
pub use end::{ShutdownReport, ThreadReport};
pub use handle::{Handle, SpawnError};
pub use place::ThreadPlacement;
pub use task::{AbortHandle, JoinError, JoinHandle};
pub use time::{
    Elapsed, Interval, MissedTicks, Sleep, Timeout, interval, interval_at, sleep, sleep_until,
    timeout, timeout_at,
};

use crate::local;
use end::{Team, end_all};
use handle::NOT_IN_RUNTIME;
use place::CallerCpus;
use worker::Worker;

/// A runtime: see the [module](self).
///
/// It belongs to the thread that made it, which is its thread 0.
///
/// # Dropping
/// As [`Runtime::shutdown`], but nothing is drained: what the kernel works on gets a fifth of a second, and other threads
/// one second to return from the tasks they are in. Those that do not are left to themselves.
pub struct Runtime {
    worker: Rc<Worker>,
    team: Team,
    over: bool,
    /// Put back last, when the ring is gone.
    _caller: Option<CallerCpus>,
}

impl Runtime {
    /// A runtime of one thread, the calling one.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn new() -> Result<Self, StartError> {
        Self::builder().build()
    }

    /// How to make a runtime that is not the default.
    pub fn builder() -> Builder {
        Builder::new()
    }

    fn assemble(worker: Rc<Worker>, team: Team, caller: Option<CallerCpus>) -> Self {
        Self { worker, team, over: false, _caller: caller }
    }

    /// Runs `future` to its end on this thread, and the tasks of this thread meanwhile. Those that have not ended then go on
    /// in the next call. The thread sleeps in its ring while nothing is ready.
    ///
    /// A call inside of a task works, as far as that: it runs the same tasks, but the task that it is in stands still.
    ///
    /// # Panics
    /// When `future` does. A task that panics tells its [`JoinHandle`].
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.worker.block_on(future)
    }

    /// Starts a task on this thread; it runs while [`Runtime::block_on`] does.
    pub fn spawn<F: Future + 'static>(&self, future: F) -> JoinHandle<F::Output> {
        self.worker.spawn(future)
    }

    /// The ring of this thread.
    pub fn ring(&self) -> &local::Ring {
        self.worker.ring()
    }

    /// The way to its threads from anywhere.
    pub fn handle(&self) -> Handle {
        self.worker.handle().clone()
    }

    /// Where each thread was put by [`Builder::placement`] when the runtime was made, in order: the CPUs, the node, and the
    /// reasons of what was refused.
    pub fn placements(&self) -> &[ThreadPlacement] {
        self.worker.handle().placements()
    }

    /// Ends the runtime. The tasks of all threads are cancelled: each future is dropped on its thread, when the thread is not
    /// inside of it. Then each ring is [drained](crate::RingOf::drain) until the deadline, which waits for what dropped tasks
    /// have started and what goes on without them, such as their sends.
    ///
    /// Let tasks that shall end by themselves do so before: by a channel, say, and their join handles.
    ///
    /// It takes about a second longer than to the deadline at most. A thread that does not return from a task by then is left
    /// to itself, and named in the report.
    pub fn shutdown(mut self, deadline: Instant) -> ShutdownReport {
        self.over = true;
        end_all(&self.worker, &mut self.team, Some(deadline))
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if !self.over {
            end_all(&self.worker, &mut self.team, None);
        }
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("worker", &self.worker).finish_non_exhaustive()
    }
}

/// The worker of the calling thread.
#[track_caller]
fn here() -> Rc<Worker> {
    let Some(worker) = Worker::current() else { panic!("{NOT_IN_RUNTIME}") };
    worker
}

/// Starts a task on the calling thread.
///
/// # Panics
/// Outside of a runtime; [`try_spawn`] gives an error.
#[track_caller]
pub fn spawn<F: Future + 'static>(future: F) -> JoinHandle<F::Output> {
    here().spawn(future)
}

/// Starts a task on the calling thread.
///
/// # Errors
/// [`SpawnError::NotInRuntime`].
pub fn try_spawn<F: Future + 'static>(future: F) -> Result<JoinHandle<F::Output>, SpawnError> {
    Worker::current().map(|worker| worker.spawn(future)).ok_or(SpawnError::NotInRuntime)
}

/// The ring of the calling thread.
///
/// # Panics
/// Outside of a runtime; [`try_ring`] gives nothing.
#[track_caller]
pub fn ring() -> local::Ring {
    here().ring().clone()
}

/// The ring of the calling thread, inside of a runtime.
pub fn try_ring() -> Option<local::Ring> {
    Worker::current().map(|worker| worker.ring().clone())
}

/// The number of the calling thread in its runtime, inside of one.
pub fn thread_index() -> Option<usize> {
    Worker::current().map(|worker| worker.index())
}

/// Lets the other tasks of the thread run once, and the ring be looked at when it is due.
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
