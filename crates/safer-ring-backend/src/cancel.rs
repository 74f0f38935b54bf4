//! Ending an operation early, and learning what became of it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::beside;
use crate::error::Failure;
use crate::member::Member;
use crate::mode::Mode;
use crate::operation::Operation;
use crate::payload::{self, Payload, Sleep};

/// How an operation ended whose cancellation was asked.
pub enum Ended<P: Payload> {
    /// It had ended before it could be cancelled, or could not be: this is what awaiting it would have given. Nothing of
    /// it is lost.
    Completed(P::Output),
    /// It was cancelled and has done nothing. What was lent comes back.
    Cancelled(P::Lent),
}

impl<P: Payload> Ended<P> {
    fn new(output: P::Output) -> Self {
        match P::unless_cancelled(output) {
            Ok(output) => Self::Completed(output),
            Err(lent) => Self::Cancelled(lent),
        }
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled(_))
    }
}

impl<P: Payload> fmt::Debug for Ended<P>
where
    P::Output: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Completed(output) => f.debug_tuple("Completed").field(output).finish(),
            Self::Cancelled(_) => f.write_str("Cancelled"),
        }
    }
}

impl<M: Mode, P: Payload> Operation<M, P> {
    /// Cancels the operation, and gives how it ended, with the buffer in either case. One that has not started never
    /// does.
    ///
    /// The kernel decides: what it is doing already (a read from a disk) it finishes, and the result is
    /// [`Ended::Completed`]. A receive that has taken bytes in, even a part of what it was asked for, is completed with
    /// them. `IORING_OP_ASYNC_CANCEL` of io_uring_enter(2), kernel 5.5.
    ///
    /// # Dropping
    /// As dropping the operation, whose cancellation goes on.
    pub fn cancel(self) -> Cancel<M, P> {
        Cancel { operation: self, asked: false }
    }

    /// Cancels the operation after `after`, counted from the first poll of this future; the operation may have started
    /// before. Its output is as without a time limit; one that was cancelled for it fails with
    /// [`std::io::ErrorKind::TimedOut`] ([`Failure::TimedOut`]) and its buffer. An operation that ended in the last moment
    /// has its result. Where its ring has been closed, the limit is over at once.
    ///
    /// # Dropping
    /// As dropping the operation.
    pub fn timeout(self, after: Duration) -> Timed<M, P> {
        Timed::new(self, Limit::After(after))
    }

    /// As [`Operation::timeout`], at a point in time. On a ring of a simulated world ([`crate::sim`]) this is a time of
    /// its clock; one of the machine's clock is taken for as long from now.
    ///
    /// # Dropping
    /// As dropping the operation.
    pub fn deadline(self, at: Instant) -> Timed<M, P> {
        Timed::new(self, Limit::At(at))
    }
}

/// The future of [`Operation::cancel`].
#[must_use = "the buffer is in the outcome"]
#[derive(Debug)]
pub struct Cancel<M: Mode, P: Payload> {
    operation: Operation<M, P>,
    asked: bool,
}

impl<M: Mode, P: Payload> Future for Cancel<M, P> {
    type Output = Ended<P>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if !this.asked {
            this.asked = true;
            this.operation.request_cancel();
        }
        Pin::new(&mut this.operation).poll(cx).map(Ended::new)
    }
}

impl<M: Mode, P: Payload> Member<M, P> {
    /// Cancels the member; see [`Operation::cancel`].
    pub fn cancel(self) -> CancelMember<M, P> {
        CancelMember { member: self, asked: false }
    }
}

/// The future of [`Member::cancel`].
#[must_use = "the buffer is in the outcome"]
#[derive(Debug)]
pub struct CancelMember<M: Mode, P: Payload> {
    member: Member<M, P>,
    asked: bool,
}

impl<M: Mode, P: Payload> Future for CancelMember<M, P> {
    type Output = Ended<P>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if !this.asked {
            this.asked = true;
            this.member.request_cancel();
        }
        Pin::new(&mut this.member).poll(cx).map(Ended::new)
    }
}

/// When the time is over.
#[derive(Clone, Copy, Debug)]
enum Limit {
    After(Duration),
    At(Instant),
}

impl Limit {
    fn left<M: Mode>(self, ring: &M::Ring) -> Duration {
        match self {
            Self::After(after) => after,
            Self::At(at) => beside::left::<M>(ring, at),
        }
    }
}

/// The future of [`Operation::timeout`] and [`Operation::deadline`].
#[must_use = "an operation does nothing until it is awaited"]
pub struct Timed<M: Mode, P: Payload> {
    operation: Operation<M, P>,
    /// For the timer.
    ring: Option<M::Ring>,
    limit: Limit,
    /// Made when the operation does not end at once.
    timer: Option<Operation<M, Sleep>>,
    expired: bool,
}

/// As for [`Operation`].
impl<M: Mode, P: Payload> Unpin for Timed<M, P> {}

impl<M: Mode, P: Payload> Timed<M, P> {
    fn new(operation: Operation<M, P>, limit: Limit) -> Self {
        Self { ring: operation.any_ring(), operation, limit, timer: None, expired: false }
    }

    /// Whether the time is over; if not, the waker is woken when it is.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        if self.timer.is_none() {
            // Without its ring, which has been closed, there is no timer to be had: the operation ends now.
            let Some(ring) = self.ring.take() else { return true };
            let left = self.limit.left::<M>(&ring);
            if left.is_zero() {
                return true;
            }
            self.timer = Some(Operation::new(&ring, Ok(payload::timeout::<M>(left))));
        }
        match &mut self.timer {
            // A timer that cannot be had (the table is full) ends the wait too: the limit is kept.
            Some(timer) => Pin::new(timer).poll(cx).is_ready(),
            None => false,
        }
    }
}

impl<M: Mode, P: Payload> Future for Timed<M, P> {
    type Output = P::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<P::Output> {
        let this = self.get_mut();
        let mut polled = Pin::new(&mut this.operation).poll(cx);
        if polled.is_pending() && !this.expired && this.poll_timer(cx) {
            this.expired = true;
            this.timer = None;
            this.operation.request_cancel();
            polled = Pin::new(&mut this.operation).poll(cx);
        }
        if !this.expired {
            return polled;
        }
        polled.map(|output| match P::unless_cancelled(output) {
            Ok(output) => output,
            Err(lent) => P::failed(Failure::TimedOut, lent),
        })
    }
}

impl<M: Mode, P: Payload> fmt::Debug for Timed<M, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timed")
            .field("operation", &self.operation)
            .field("expired", &self.expired)
            .finish_non_exhaustive()
    }
}
