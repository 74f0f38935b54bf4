//! What arrives on a socket, taken in by a multishot receive.

use std::fmt;
use std::task::{Poll, Waker};

use safer_ring_buf::PooledBuffer;

use crate::fd::{Fd, Guard as _, Taker, cancel_takers};
use crate::mode::Mode;
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
    ticket: Ticket,
    armed: Option<Taker<M>>,
    /// It was armed, and nothing has come of it yet.
    fresh: bool,
}

/// The answer of [`Arrivals::poll`].
#[derive(Debug)]
pub enum Arrival {
    /// What arrived; never empty.
    Buffer(PooledBuffer),
    /// It takes an ordinary receive to go on: at the end of the stream, after an error, for bytes that were left over, where
    /// no buffer is free, and where the kernel refuses a multishot one.
    Receive,
}

impl<M: Mode> Arrivals<M> {
    /// For a connected stream socket; `None` on a ring without multishot receives. Nothing is armed yet. It does not count as
    /// a handle of the descriptor, but keeps it open.
    pub fn new(ring: &M::Ring, fd: &Fd<M>) -> Option<Self> {
        M::features(ring).has_multishot_receive().then(|| Self {
            ring: ring.clone(),
            guard: fd.guard(),
            ticket: NO_TICKET,
            armed: None,
            fresh: false,
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
                Next::Arm if !self.fresh && self.arm() => self.fresh = true,
                // Once more would end as it did.
                Next::Arm | Next::Other => {
                    self.fresh = false;
                    return Poll::Ready(Arrival::Receive);
                }
            }
        }
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
