//! What arrives on a socket, taken in by a multishot receive.

use std::fmt;
use std::os::fd::AsFd as _;
use std::task::{Poll, Waker, ready};

use safer_ring_buf::{BufferPool, PooledBuffer};
use safer_ring_sys::Errno;

use crate::error::Failure;
use crate::fd::{Fd, Guard as _, Taker, cancel_takers};
use crate::mode::Mode;
use crate::plain;
use crate::runtime::{Arrived, is_task};
use crate::stream::{NO_TICKET, Next, Ticket};

/// Asks for what a multishot receive takes in (`IORING_RECV_MULTISHOT`, kernel 6.0), and arms it when there is none.
///
/// One entry serves many receives, and the kernel picks the buffer when there is something to put into it: a socket that is
/// quiet holds none. It ends by itself when many buffers wait to be taken, and is armed again by the next call.
///
/// # Dropping
/// What is armed is cancelled. What it has taken in, or takes in until then, goes to the next receive on the descriptor.
pub struct Arrivals<M: Mode> {
    ring: M::Ring,
    /// Not a handle: whoever has it has one of those.
    guard: M::Guard,
    /// For what is received without the kernel picking a buffer.
    pool: BufferPool,
    ticket: Ticket,
    armed: Option<Taker<M>>,
    /// It was armed, and nothing has come of it yet.
    fresh: bool,
    /// Where a runtime tells what arrives, in place of an armed receive.
    told: Told,
}

/// What is known of a runtime that might tell.
#[derive(Debug)]
enum Told {
    /// Nobody has asked for one.
    Unknown,
    /// It tells. `some`: it has told, and what has arrived has not all been taken.
    By { arrived: Arrived, some: bool },
    /// There is none.
    Never,
}

/// The answer of [`Arrivals::poll`].
#[derive(Debug)]
pub enum Arrival {
    /// What arrived; never empty.
    Buffer(PooledBuffer),
    /// It takes an ordinary receive to go on: at the end of the stream, after an error, for bytes that were left over, where
    /// no buffer is free, and where the kernel refuses a multishot one.
    Receive,
    /// The error of a receive.
    Failed(Failure),
}

impl<M: Mode> Arrivals<M> {
    /// For a connected stream socket; `None` on a ring without multishot receives. Nothing is armed yet. It does not count as
    /// a handle of the descriptor, but keeps it open.
    pub fn new(ring: &M::Ring, fd: &Fd<M>, pool: &BufferPool) -> Option<Self> {
        M::features(ring).has_multishot_receive().then(|| Self {
            ring: ring.clone(),
            guard: fd.guard(),
            pool: pool.clone(),
            ticket: NO_TICKET,
            armed: None,
            fresh: false,
            // A world has its own sockets.
            told: if M::INLINE && M::world(ring).is_none() { Told::Unknown } else { Told::Never },
        })
    }

    /// What arrived. Pending while nothing has; `waker` is woken then.
    pub fn poll(&mut self, waker: &Waker) -> Poll<Arrival> {
        loop {
            let Self { guard, ticket, .. } = self;
            match guard.with_stream(|stream| stream.next_buffer(waker, ticket)) {
                Next::Buffer(buffer) => {
                    self.fresh = false;
                    return Poll::Ready(Arrival::Buffer(buffer));
                }
                Next::Wait(old) => {
                    drop(old);
                    return Poll::Pending;
                }
                Next::Arm => match self.is_told(waker) {
                    Some(true) => {
                        if let Some(arrival) = ready!(self.poll_told(waker)) {
                            return Poll::Ready(arrival);
                        }
                    }
                    Some(false) if !self.fresh && self.arm() => self.fresh = true,
                    // Once more would end as it did; and what is armed would stay when it is known.
                    Some(false) | None => {
                        self.fresh = false;
                        return Poll::Ready(Arrival::Receive);
                    }
                },
                Next::Other => {
                    self.fresh = false;
                    return Poll::Ready(Arrival::Receive);
                }
            }
        }
    }

    /// Whether a runtime tells what arrives, to a task that needs that runtime in any case: whoever else waits must not depend
    /// on somebody being in its poller. `None` if that is not known yet.
    #[inline]
    fn is_told(&mut self, waker: &Waker) -> Option<bool> {
        if matches!(self.told, Told::Never) || !is_task(waker)? {
            return Some(false);
        }
        if matches!(self.told, Told::Unknown) {
            // Looked at once without being told: it may not be a connected socket.
            let arrived = Arrived::new(self.guard.raw());
            self.told = arrived.map_or(Told::Never, |arrived| Told::By { arrived, some: true });
        }
        Some(!matches!(self.told, Told::Never))
    }

    /// Takes what the runtime has told of. `None` when there was nothing, or the runtime has ended.
    fn poll_told(&mut self, waker: &Waker) -> Poll<Option<Arrival>> {
        let Self { guard, ticket, told: Told::By { arrived, some }, pool, .. } = self else {
            return Poll::Ready(None);
        };
        if !*some {
            match arrived.poll(waker) {
                Poll::Ready(Some(())) => *some = true,
                Poll::Ready(None) => {
                    self.told = Told::Never;
                    return Poll::Ready(None);
                }
                Poll::Pending => {
                    let (there, old) = guard.with_stream(|stream| stream.listen(waker, ticket));
                    drop(old);
                    return if there { Poll::Ready(None) } else { Poll::Pending };
                }
            }
        }
        // Without a buffer it waits where receives do that have none.
        let Some(buffer) = pool.take() else { return Poll::Ready(Some(Arrival::Receive)) };
        let room = buffer.capacity();
        Poll::Ready(match plain::receive(guard.as_fd(), buffer) {
            // The end is told again, as often as somebody asks.
            Ok(end) if end.is_empty() => Some(Arrival::Receive),
            Ok(buffer) => {
                // What comes after one that did not fill its buffer is told of.
                *some = buffer.len() == room;
                Some(Arrival::Buffer(buffer))
            }
            Err((Errno::AGAIN, _)) => {
                *some = false;
                None
            }
            Err((Errno::INTR, _)) => None,
            Err((errno, _)) => Some(Arrival::Failed(Failure::Os(errno))),
        })
    }

    #[cold]
    fn arm(&mut self) -> bool {
        let Ok((cell, _hold)) = M::cell(self.ring.clone()) else { return false };
        let Some(mut driver) = M::enter(&cell) else { return false };
        let taker = driver.arm(self.guard.clone());
        if M::INLINE {
            driver.flush();
            driver.touch();
        }
        M::park(&mut driver, &cell);
        M::leave(&cell, driver);
        self.armed = taker.map(|(home, key)| (Some(home), key));
        self.armed.is_some()
    }
}

impl<M: Mode> Unpin for Arrivals<M> {}

impl<M: Mode> Drop for Arrivals<M> {
    fn drop(&mut self) {
        // While the socket is open.
        self.told = Told::Never;
        if self.ticket != NO_TICKET {
            drop(self.guard.with_stream(|stream| stream.leave(self.ticket)));
        }
        if let Some(taker) = self.armed.take() {
            cancel_takers::<M>(vec![taker]);
        }
    }
}

impl<M: Mode> fmt::Debug for Arrivals<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrivals").field("fd", &self.guard.raw()).finish_non_exhaustive()
    }
}
