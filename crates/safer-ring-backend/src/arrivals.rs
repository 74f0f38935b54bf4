//! What arrives on a socket, taken in by a multishot receive.

use std::fmt;
use std::os::fd::AsFd as _;
use std::task::{Poll, Waker, ready};

use safer_ring_buf::{BufferPool, PooledBuffer};
use safer_ring_sys::Errno;

use crate::error::Failure;
use crate::fd::{Fd, Guard as _, Taker, cancel_takers};
use crate::mode::{Mode, PlainCall};
use crate::plain;
use crate::runtime::{Arrived, task_of};
use crate::stream::{NO_TICKET, Next, Ticket};
use crate::wake::give_way;

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
    /// Whether a runtime may tell what arrives, in place of an armed receive.
    may_be_told: bool,
    arrived: Option<Arrived>,
}

/// The answer of [`Arrivals::poll`].
#[derive(Debug)]
pub enum Arrival {
    /// What arrived; never empty.
    Buffer(PooledBuffer),
    /// The end, or a message without a byte in it.
    End,
    /// It takes an ordinary receive to go on: where the end has been taken in, after an error, for bytes that were left over, where
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
            may_be_told: M::INLINE && M::world(ring).is_none(),
            arrived: None,
        })
    }

    /// What arrived. Pending while nothing has; `waker` is woken then.
    pub fn poll(&mut self, waker: &Waker) -> Poll<Arrival> {
        if !M::goes_on_outside(&self.ring) {
            return give_way(waker);
        }
        loop {
            let Self { guard, ticket, .. } = self;
            match guard.with_stream(|stream| stream.next_buffer(waker, ticket)) {
                Next::Buffer(buffer) => {
                    self.fresh = false;
                    return Poll::Ready(Arrival::Buffer(buffer));
                }
                Next::Wait(old) => {
                    drop(old);
                    self.disarm_to_be_told(waker);
                    M::waits();
                    return Poll::Pending;
                }
                Next::Arm if self.is_told(waker) => {
                    if let Some(arrival) = ready!(self.poll_told(waker)) {
                        return Poll::Ready(arrival);
                    }
                }
                Next::Arm if !self.fresh && self.arm() => self.fresh = true,
                // Once more would end as it did.
                Next::Arm | Next::Other => {
                    self.fresh = false;
                    return Poll::Ready(Arrival::Receive);
                }
            }
        }
    }

    /// Whether a runtime tells what arrives, to a task that needs that runtime in any case: whoever else waits must not depend
    /// on somebody being in its poller.
    #[inline]
    fn is_told(&mut self, waker: &Waker) -> bool {
        // A child has not the poller of its parent, and what that one waits for is not the child's.
        if !self.may_be_told || !M::is_ours(&self.ring) {
            return false;
        }
        let Some(task) = task_of(waker) else { return false };
        if self.arrived.as_mut().is_some_and(|arrived| arrived.is_for(task)) {
            return true;
        }
        // Out of the one before it is in the other.
        self.arrived = None;
        self.arrived = Arrived::new(self.guard.raw(), task);
        self.may_be_told = self.arrived.is_some();
        self.may_be_told
    }

    /// What was armed before it was known that this is a task, or where it was none, gives way to the runtime.
    #[inline]
    fn disarm_to_be_told(&mut self, waker: &Waker) {
        if self.may_be_told && self.armed.is_some() && task_of(waker).is_some() {
            self.fresh = false;
            cancel_takers::<M>(self.armed.take().into_iter().collect());
        }
    }

    /// Takes what the runtime has told of. `None` when there was nothing, or the runtime has ended.
    fn poll_told(&mut self, waker: &Waker) -> Poll<Option<Arrival>> {
        let Self { ring, guard, ticket, arrived: Some(arrived), pool, .. } = self else {
            return Poll::Ready(None);
        };
        let told = match arrived.poll(waker) {
            Poll::Ready(Some(told)) => told,
            Poll::Ready(None) => {
                self.arrived = None;
                return Poll::Ready(None);
            }
            Poll::Pending => {
                let (there, old) = guard.with_stream(|stream| stream.listen(waker, ticket));
                drop(old);
                M::waits();
                return if there { Poll::Ready(None) } else { Poll::Pending };
            }
        };
        // Without a buffer it waits where receives do that have none.
        let Some(buffer) = pool.take() else { return Poll::Ready(Some(Arrival::Receive)) };
        Poll::Ready(match plain::receive(guard.as_fd(), buffer) {
            // The end is told again, as often as somebody asks.
            Ok(end) if end.is_empty() => Some(Arrival::End),
            // What is told is an edge. A receive that brings less than there was room for is no sign that nothing is left: it stops
            // at urgent data, at descriptors, credentials, messages and records as well. So the next one finds out.
            Ok(buffer) => {
                M::count_plain(ring, PlainCall::Receive);
                Some(Arrival::Buffer(buffer))
            }
            Err((Errno::AGAIN, _)) => {
                told.all_taken();
                None
            }
            Err((Errno::INTR, _)) => None,
            Err((Errno::NOTSOCK, _)) => Some(Arrival::Receive),
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
        self.arrived = None;
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
