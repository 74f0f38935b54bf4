//! The traits of `hyper::rt`.

use std::fmt;
use std::io::{self, IoSlice};
use std::ops::Deref as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

#[cfg(feature = "runtime")]
use hyper::rt::Executor;
use hyper::rt::{Read, ReadBufCursor, Sleep, Timer, Write};
use safer_ring_backend::{Mode, Operation, payload};
use send_wrapper::SendWrapper;

use super::exclusive::Exclusive;
use super::{AsyncStream, Readable, Writable};
use crate::{Local, Ring, Shared, local};

impl<S: Readable> Read for AsyncStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let want = buf.remaining();
        self.get_mut().poll_take(cx, want, |bytes| buf.put_slice(bytes)).map_ok(drop)
    }
}

impl<S: Writable> Write for AsyncStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_put(cx, std::iter::once(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_put(cx, bufs.iter().map(IoSlice::deref))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_settle(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_end(cx)
    }
}

/// Starts the tasks of hyper on the thread of a [`Runtime`](crate::Runtime) that asks for them: hyper's HTTP/2 has a task
/// for each stream and connection. They need not be `Send`, and end with the runtime if not before.
///
/// ```
/// use hyper::server::conn::http2;
/// use safer_ring::io::RuntimeExecutor;
///
/// let _server = http2::Builder::new(RuntimeExecutor::new());
/// ```
///
/// # Panics
/// Where it is asked to start one outside of a runtime, as [`runtime::spawn`](crate::runtime::spawn): serve connections in
/// tasks of the runtime, or inside of its `block_on`.
#[cfg(feature = "runtime")]
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct RuntimeExecutor {}

#[cfg(feature = "runtime")]
impl RuntimeExecutor {
    /// For whatever runtime the calling thread is in when a task is started.
    pub fn new() -> Self {
        Self {}
    }
}

#[cfg(feature = "runtime")]
impl<F: Future + 'static> Executor<F> for RuntimeExecutor {
    #[track_caller]
    fn execute(&self, future: F) {
        // Its result goes nowhere, as hyper wants it.
        drop(crate::runtime::spawn(future));
    }
}

/// Timers of a ring for any thread, as hyper wants them. They are entries in a heap of the ring: no thread, and no timer of
/// another runtime.
///
/// A timer that cannot be had (the ring's table cannot grow) is over at once: a time limit is kept rather than forgotten.
#[derive(Clone, Debug)]
pub struct RingTimer {
    ring: Ring,
}

impl RingTimer {
    /// Timers of `ring`.
    pub fn new(ring: &Ring) -> Self {
        Self { ring: ring.clone() }
    }
}

impl Timer for RingTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(RingSleep(Exclusive::new(self.ring.timeout(duration))))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.sleep(self.ring.until(deadline))
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, new_deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<RingSleep>() {
            Some(mut sleep) => *sleep.0.get() = self.ring.timeout(self.ring.until(new_deadline)),
            None => *sleep = self.sleep_until(new_deadline),
        }
    }
}

struct RingSleep(Exclusive<Operation<Shared, payload::Sleep>>);

impl Future for RingSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        over(self.0.get(), cx)
    }
}

impl Sleep for RingSleep {}

/// Timers of a local ring, as hyper wants them.
///
/// hyper asks for `Send + Sync`, which nothing of a local ring is. So each access looks whether it takes place on the thread
/// that made the timer. On another one a sleep is over at once, and what is dropped there is leaked.
///
/// As for [`RingTimer`], a timer that cannot be had is over at once.
pub struct LocalTimer {
    ring: OnThread<local::Ring>,
}

impl LocalTimer {
    /// Timers of `ring`, for this thread.
    pub fn new(ring: &local::Ring) -> Self {
        Self { ring: OnThread::new(ring.clone()) }
    }

    fn timeout(&self, duration: Duration) -> LocalSleep {
        LocalSleep(self.ring.get().map(|ring| OnThread::new(ring.timeout(duration))))
    }

    /// On another thread there is no ring to ask, and a sleep is over at once.
    fn until(&self, deadline: Instant) -> Duration {
        self.ring.get().map_or(Duration::ZERO, |ring| ring.until(deadline))
    }
}

impl Clone for LocalTimer {
    fn clone(&self) -> Self {
        Self { ring: OnThread(self.ring.get().cloned().map(SendWrapper::new)) }
    }
}

impl fmt::Debug for LocalTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalTimer").finish_non_exhaustive()
    }
}

impl Timer for LocalTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(self.timeout(duration))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.sleep(self.until(deadline))
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, new_deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<LocalSleep>() {
            Some(mut sleep) => *sleep = self.timeout(self.until(new_deadline)),
            None => *sleep = self.sleep_until(new_deadline),
        }
    }
}

struct LocalSleep(Option<OnThread<Operation<Local, payload::Sleep>>>);

impl Future for LocalSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.0.as_mut().and_then(OnThread::get_mut) {
            Some(timer) => over(timer, cx),
            None => Poll::Ready(()),
        }
    }
}

impl Sleep for LocalSleep {}

/// What one thread may use and any may hold.
struct OnThread<T>(Option<SendWrapper<T>>);

impl<T> OnThread<T> {
    fn new(value: T) -> Self {
        Self(Some(SendWrapper::new(value)))
    }

    fn get(&self) -> Option<&T> {
        self.0.as_ref().filter(|wrapper| wrapper.valid()).map(|wrapper| &**wrapper)
    }

    fn get_mut(&mut self) -> Option<&mut T> {
        self.0.as_mut().filter(|wrapper| wrapper.valid()).map(|wrapper| &mut **wrapper)
    }
}

impl<T> Drop for OnThread<T> {
    fn drop(&mut self) {
        if let Some(wrapper) = self.0.take_if(|wrapper| !wrapper.valid()) {
            // Dropping it here would panic.
            std::mem::forget(wrapper);
        }
    }
}

fn over<M: Mode>(timer: &mut Operation<M, payload::Sleep>, cx: &mut Context<'_>) -> Poll<()> {
    Pin::new(timer).poll(cx).map(drop)
}
