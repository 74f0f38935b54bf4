//! Calls that block and for which the kernel has no operation: on a thread of their own.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;

use safer_ring_buf::quietly;
use safer_ring_buf::sync::{ForkMutex, ForkMutexGuard};

/// Runs `work` on a thread of its own. Dropping the future does not stop the work; its result is dropped then.
///
/// # Errors
/// When no thread can be started (`EAGAIN`), and `Other` when `work` panicked.
pub(crate) fn unblock<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Unblock<T> {
    let desk = Arc::new(ForkMutex::new(Desk { result: None, waker: None, started: true }));
    let worker = Worker { desk: Arc::clone(&desk) };
    let thread = thread::Builder::new().name("safer-ring-call".into());
    if let Err(error) = thread.spawn(move || worker.deliver(Ok(work()))) {
        lock(&desk).result = Some(Err(error));
    }
    Unblock { desk }
}

/// Where the result is handed over.
struct Desk<T> {
    result: Option<io::Result<T>>,
    waker: Option<Waker>,
    /// No result has been delivered yet.
    started: bool,
}

fn lock<T>(desk: &ForkMutex<Desk<T>>) -> ForkMutexGuard<'_, Desk<T>> {
    // A forked child has no thread that does the work.
    desk.lock_or(|| Desk { result: None, waker: None, started: false })
}

/// The thread's end of the desk: delivers an error if the work panics.
struct Worker<T> {
    desk: Arc<ForkMutex<Desk<T>>>,
}

impl<T> Worker<T> {
    fn deliver(&self, result: io::Result<T>) {
        let waker = {
            let mut desk = lock(&self.desk);
            if !desk.started {
                return;
            }
            desk.started = false;
            desk.result = Some(result);
            desk.waker.take()
        };
        if let Some(waker) = waker {
            // Perhaps in the destructor that a panic of the call runs.
            quietly(|| waker.wake());
        }
    }
}

impl<T> Drop for Worker<T> {
    fn drop(&mut self) {
        self.deliver(Err(io::Error::other("a call on a helper thread panicked")));
    }
}

/// The future of [`unblock`].
pub(crate) struct Unblock<T> {
    desk: Arc<ForkMutex<Desk<T>>>,
}

impl<T> Unblock<T> {
    /// What has been done already.
    pub(crate) fn done(result: T) -> Self {
        let desk = Desk { result: Some(Ok(result)), waker: None, started: false };
        Self { desk: Arc::new(ForkMutex::new(desk)) }
    }
}

impl<T> Future for Unblock<T> {
    type Output = io::Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut desk = lock(&self.desk);
        if let Some(result) = desk.result.take() {
            return Poll::Ready(result);
        }
        let old = desk.waker.replace(cx.waker().clone());
        // Foreign code, so not under the lock.
        drop(desk);
        drop(old);
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_of_a_blocking_call_arrives() {
        assert_eq!(pollster::block_on(unblock(|| 7)).unwrap(), 7);
    }

    #[test]
    fn a_panic_in_a_blocking_call_is_an_error() {
        let result = pollster::block_on(unblock(|| -> u8 { panic!("on purpose") }));
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::Other);
    }
}
