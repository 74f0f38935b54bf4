//! The way to the threads of a runtime from anywhere.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::{Arc, OnceLock};

use super::place::ThreadPlacement;
use super::post::{Letter, Post};
use super::task::{Deliver, Desk, JoinHandle};
use super::worker::Worker;

/// Starts tasks on the threads of a runtime, from any thread.
///
/// It does not keep the runtime running.
#[derive(Clone)]
pub struct Handle {
    threads: Arc<OnceLock<Threads>>,
}

/// One entry for each thread.
struct Threads {
    posts: Box<[Arc<Post>]>,
    placements: Box<[ThreadPlacement]>,
}

impl Handle {
    pub(super) fn new() -> Self {
        Self { threads: Arc::default() }
    }

    /// All threads are there.
    pub(super) fn set_threads(&self, posts: Vec<Arc<Post>>, placements: Vec<ThreadPlacement>) {
        // Set once, by the builder.
        let _ = self.threads.set(Threads { posts: posts.into(), placements: placements.into() });
    }

    pub(super) fn posts(&self) -> &[Arc<Post>] {
        self.threads.get().map_or(&[], |threads| &threads.posts)
    }

    /// The handle of the runtime that this code runs in, if it runs in one.
    pub fn try_current() -> Option<Self> {
        Worker::current().map(|worker| worker.handle().clone())
    }

    /// How many threads the runtime has. They are numbered from 0, which is the one that made the runtime.
    pub fn threads(&self) -> usize {
        self.posts().len()
    }

    /// Where each thread was put when the runtime was made: [`Runtime::placements`](super::Runtime::placements).
    pub fn placements(&self) -> &[ThreadPlacement] {
        self.threads.get().map_or(&[], |threads| &threads.placements)
    }

    /// Starts a task on a thread of the runtime: `make` is sent there and makes the future, which never leaves that
    /// thread and need not be `Send`.
    ///
    /// Thread 0 runs tasks only while [`Runtime::block_on`](super::Runtime::block_on) does.
    ///
    /// ```
    /// # use safer_ring::{Runtime, runtime};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let runtime = Runtime::builder().threads(2).build()?;
    /// let handle = runtime.handle();
    /// let index = runtime.block_on(async {
    ///     handle.spawn_on(1, || async { runtime::thread_index() })?.await.map_err(std::io::Error::from)
    /// })?;
    /// assert_eq!(index, Some(1));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// There is no such thread, or it has ended. The task itself: see [`JoinHandle`].
    pub fn spawn_on<F, Fut>(
        &self,
        thread: usize,
        make: F,
    ) -> Result<JoinHandle<Fut::Output>, SpawnError>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future + 'static,
        Fut::Output: Send + 'static,
    {
        let threads = self.threads();
        let post = self.posts().get(thread).ok_or(SpawnError::NoThread { thread, threads })?;
        let desk = Desk::new();
        let deliver = Deliver::new(&desk);
        let call = move |worker: &std::rc::Rc<Worker>| {
            // Else it is told "cancelled" when this closure ends.
            if !deliver.is_aborted()
                && let Some(future) = deliver.catch(make)
            {
                worker.start(future, deliver);
            }
        };
        match post.send(Letter::Call(Box::new(call))) {
            Ok(()) => Ok(JoinHandle::new(desk)),
            Err(_) => Err(SpawnError::Ended),
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("threads", &self.threads()).finish()
    }
}

/// Why a task could not be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpawnError {
    /// The runtime has fewer threads.
    NoThread {
        /// The number that was asked for.
        thread: usize,
        /// How many there are.
        threads: usize,
    },
    /// The runtime has ended.
    Ended,
    /// This code does not run in a runtime.
    NotInRuntime,
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoThread { thread, threads } => {
                write!(f, "there is no thread {thread}: the runtime has {threads}, from 0")
            }
            Self::Ended => f.write_str("the runtime has ended"),
            Self::NotInRuntime => f.write_str(NOT_IN_RUNTIME),
        }
    }
}

pub(super) const NOT_IN_RUNTIME: &str =
    "not in a safer_ring::Runtime: call this inside of Runtime::block_on, or in a task of it";

impl Error for SpawnError {}

impl From<SpawnError> for io::Error {
    fn from(error: SpawnError) -> Self {
        let kind = match error {
            SpawnError::NoThread { .. } => io::ErrorKind::InvalidInput,
            SpawnError::Ended | SpawnError::NotInRuntime => io::ErrorKind::NotConnected,
        };
        Self::new(kind, error)
    }
}
