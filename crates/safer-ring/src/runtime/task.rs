//! Tasks: a future that is guarded against its own panics, and the handle that its result goes to.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;
use safer_ring_buf::quietly;
use safer_ring_buf::sync::{ForkMutex, ForkMutexGuard};

use super::worker::Seat;

/// Why a task has no result.
pub struct JoinError {
    /// In a lock, so that the error is `Sync`, which `io::Error` wants.
    panic: Option<Mutex<Box<dyn Any + Send>>>,
}

impl JoinError {
    pub(super) fn cancelled() -> Self {
        Self { panic: None }
    }

    pub(super) fn panicked(payload: Box<dyn Any + Send>) -> Self {
        Self { panic: Some(Mutex::new(payload)) }
    }

    /// Whether the task was aborted, or its thread or runtime has ended.
    pub fn is_cancelled(&self) -> bool {
        self.panic.is_none()
    }

    /// Whether the task panicked.
    pub fn is_panic(&self) -> bool {
        self.panic.is_some()
    }

    /// What the task panicked with, for [`std::panic::resume_unwind`].
    ///
    /// # Errors
    /// The error itself, if the task did not panic.
    pub fn try_into_panic(self) -> Result<Box<dyn Any + Send>, Self> {
        match self.panic {
            Some(payload) => Ok(payload.into_inner().unwrap_or_else(PoisonError::into_inner)),
            None => Err(self),
        }
    }

    /// The text of the panic, if it was one.
    fn text(&self) -> Option<String> {
        let payload = self.panic.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or_else(|| payload.downcast_ref::<String>().cloned())
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.is_panic(), self.text()) {
            (false, _) => f.write_str("the task was cancelled"),
            (true, None) => f.write_str("the task panicked"),
            (true, Some(text)) => write!(f, "the task panicked: {text}"),
        }
    }
}

impl Error for JoinError {}

impl From<JoinError> for io::Error {
    fn from(error: JoinError) -> Self {
        io::Error::other(error)
    }
}

/// Where a task and its handle meet.
pub(super) struct Desk<T> {
    aborted: AtomicBool,
    state: ForkMutex<State<T>>,
}

struct State<T> {
    result: Option<Result<T, JoinError>>,
    /// A result was delivered.
    over: bool,
    /// Nobody will ask for the result.
    detached: bool,
    /// Who waits for it.
    waiter: Option<Waker>,
    /// The task, to be woken when it is aborted.
    task: Option<Waker>,
}

impl<T> State<T> {
    fn new() -> Self {
        Self { result: None, over: false, detached: false, waiter: None, task: None }
    }
}

impl<T> Desk<T> {
    pub(super) fn new() -> Arc<Self> {
        let state = ForkMutex::new(State::new());
        Arc::new(Self { aborted: AtomicBool::new(false), state })
    }

    fn lock(&self) -> ForkMutexGuard<'_, State<T>> {
        self.state.lock_or(State::new)
    }

    #[inline]
    fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Acquire)
    }

    /// Whom to wake when it is aborted.
    pub(super) fn set_task(&self, task: Waker) {
        self.lock().task = Some(task);
    }

    fn deliver(&self, result: Result<T, JoinError>) {
        let (waiter, task, unwanted) = {
            let mut state = self.lock();
            if state.over {
                return;
            }
            state.over = true;
            let unwanted = if state.detached {
                Some(result)
            } else {
                state.result = Some(result);
                None
            };
            (state.waiter.take(), state.task.take(), unwanted)
        };
        // Foreign code, so not under the lock.
        quietly(|| drop((task, unwanted)));
        if let Some(waiter) = waiter {
            quietly(|| waiter.wake());
        }
    }
}

impl<T> Drop for Desk<T> {
    fn drop(&mut self) {
        let result = self.state.get_mut().and_then(|state| state.result.take());
        quietly(|| drop(result));
    }
}

/// The side of the desk that owes a result: "cancelled", if it is dropped without one.
pub(super) struct Deliver<T> {
    desk: Arc<Desk<T>>,
}

impl<T> Deliver<T> {
    pub(super) fn new(desk: &Arc<Desk<T>>) -> Self {
        Self { desk: Arc::clone(desk) }
    }

    #[inline]
    pub(super) fn is_aborted(&self) -> bool {
        self.desk.is_aborted()
    }

    pub(super) fn desk(&self) -> Arc<Desk<T>> {
        Arc::clone(&self.desk)
    }

    pub(super) fn deliver(&self, result: Result<T, JoinError>) {
        self.desk.deliver(result);
    }

    /// Runs `work`, and delivers what it panics with.
    pub(super) fn catch<R>(&self, work: impl FnOnce() -> R) -> Option<R> {
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(value) => Some(value),
            Err(payload) => {
                self.deliver(Err(JoinError::panicked(payload)));
                None
            }
        }
    }
}

impl<T> Drop for Deliver<T> {
    fn drop(&mut self) {
        self.desk.deliver(Err(JoinError::cancelled()));
    }
}

pin_project! {
    /// A future that lets no panic out, neither of its polls nor of its destructor.
    pub(super) struct Guarded<F: Future> {
        #[pin]
        future: Option<F>,
        deliver: Deliver<F::Output>,
        // After the result is delivered.
        seat: Seat,
    }

    impl<F: Future> PinnedDrop for Guarded<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut future = this.project().future;
            quietly(|| future.set(None));
        }
    }
}

impl<F: Future> Guarded<F> {
    pub(super) fn new(future: F, deliver: Deliver<F::Output>, seat: Seat) -> Self {
        Self { future: Some(future), deliver, seat }
    }
}

impl<F: Future> Future for Guarded<F> {
    type Output = ();

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let result = if this.deliver.is_aborted() {
            Err(JoinError::cancelled())
        } else {
            let Some(future) = this.future.as_mut().as_pin_mut() else { return Poll::Ready(()) };
            match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(output)) => Ok(output),
                Err(payload) => Err(JoinError::panicked(payload)),
            }
        };
        // Before its result is out, so that whoever has that finds all gone that the task owned.
        quietly(|| this.future.set(None));
        this.deliver.deliver(result);
        Poll::Ready(())
    }
}

/// The result of a task, when it has one: [`spawn`](super::spawn), [`Handle::spawn_on`](super::Handle::spawn_on),
/// [`spawn_blocking`](super::spawn_blocking).
///
/// # Errors
/// Awaiting it gives a [`JoinError`] when the task panicked, was aborted, or its runtime has ended.
///
/// # Dropping
/// The task goes on without it.
pub struct JoinHandle<T> {
    desk: Arc<Desk<T>>,
}

impl<T> JoinHandle<T> {
    pub(super) fn new(desk: Arc<Desk<T>>) -> Self {
        Self { desk }
    }

    /// Ends the task: its future is dropped on its thread, which drops the operations that it waits for. A task that
    /// has ended keeps its result. A call of [`spawn_blocking`](super::spawn_blocking) ends only if it has not begun.
    ///
    /// The end comes later: await the handle to see it.
    pub fn abort(&self) {
        abort(&self.desk);
    }

    /// Aborts the task from elsewhere, without its result.
    pub fn abort_handle(&self) -> AbortHandle
    where
        T: Send + 'static,
    {
        let desk: Arc<Desk<T>> = Arc::clone(&self.desk);
        AbortHandle { desk }
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.desk.lock().over
    }
}

fn abort<T>(desk: &Desk<T>) {
    desk.aborted.store(true, Ordering::Release);
    let task = desk.lock().task.clone();
    if let Some(task) = task {
        task.wake();
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.desk.lock();
        if let Some(result) = state.result.take() {
            return Poll::Ready(result);
        }
        let same = state.waiter.as_ref().is_some_and(|waiter| waiter.will_wake(cx.waker()));
        if !same {
            let old = state.waiter.replace(cx.waker().clone());
            drop(state);
            // Foreign code, so not under the lock.
            drop(old);
        }
        Poll::Pending
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        let (waiter, result) = {
            let mut state = self.desk.lock();
            state.detached = true;
            (state.waiter.take(), state.result.take())
        };
        // Foreign destructors: nothing of a task panics into those who hold its handle.
        quietly(|| drop((waiter, result)));
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").field("finished", &self.is_finished()).finish()
    }
}

trait Abort: Send + Sync {
    fn abort(&self);
    fn is_finished(&self) -> bool;
}

impl<T: Send> Abort for Desk<T> {
    fn abort(&self) {
        abort(self);
    }

    fn is_finished(&self) -> bool {
        self.lock().over
    }
}

/// Ends a task from anywhere: [`JoinHandle::abort_handle`].
#[derive(Clone)]
pub struct AbortHandle {
    desk: Arc<dyn Abort>,
}

impl AbortHandle {
    /// See [`JoinHandle::abort`].
    pub fn abort(&self) {
        self.desk.abort();
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.desk.is_finished()
    }
}

impl fmt::Debug for AbortHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbortHandle").field("finished", &self.is_finished()).finish()
    }
}
