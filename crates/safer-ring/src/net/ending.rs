//! Ending a transfer of many steps early, and learning how far it came.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use safer_ring_backend::sys::Errno;
use safer_ring_backend::{Failure, Mode, Operation, beside};

use crate::op::Sleep;
use crate::{RingOf, TransferError};

/// A transfer that can be ended. Sealed.
#[allow(unnameable_types, reason = "sealed: nobody else implements what asks for it")]
pub trait Transfer:
    Future<Output = Result<<Self as Transfer>::Lent, TransferError<<Self as Transfer>::Lent>>> + Unpin
{
    /// How its ring is held.
    type Mode: Mode;
    /// What was lent to it.
    type Lent;
    #[doc(hidden)]
    fn ring(&self) -> &RingOf<Self::Mode>;
    #[doc(hidden)]
    fn request_cancel(&mut self);
}

/// The future of `cancel` of a transfer.
#[must_use = "the buffer is in the outcome"]
pub struct CancelTransfer<T> {
    transfer: T,
    asked: bool,
}

/// The future of `timeout` and `deadline` of a transfer.
#[must_use = "a transfer does nothing until it is awaited"]
pub struct TimedTransfer<T: Transfer> {
    transfer: T,
    limit: Limit,
    /// Made when the transfer does not end at once.
    timer: Option<Operation<T::Mode, Sleep>>,
    expired: bool,
}

/// When the time is over.
#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
    After(Duration),
    At(Instant),
}

impl<T> CancelTransfer<T> {
    pub(super) fn new(transfer: T) -> Self {
        Self { transfer, asked: false }
    }
}

impl<T: Transfer> Future for CancelTransfer<T> {
    type Output = T::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T::Output> {
        let this = self.get_mut();
        if !this.asked {
            this.asked = true;
            this.transfer.request_cancel();
        }
        Pin::new(&mut this.transfer).poll(cx)
    }
}

impl<T: Transfer> TimedTransfer<T> {
    pub(super) fn new(transfer: T, limit: Limit) -> Self {
        Self { transfer, limit, timer: None, expired: false }
    }

    /// Whether the time is over; if not, the waker is woken when it is.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        if self.timer.is_none() {
            let ring = self.transfer.ring();
            let left = match self.limit {
                Limit::After(after) => after,
                Limit::At(at) => beside::left::<T::Mode>(ring.inner(), at),
            };
            if left.is_zero() {
                return true;
            }
            self.timer = Some(ring.timeout(left));
        }
        // A timer that cannot be had ends the wait too: the limit is kept.
        self.timer.as_mut().is_none_or(|timer| Pin::new(timer).poll(cx).is_ready())
    }
}

impl<T: Transfer> Unpin for TimedTransfer<T> {}

impl<T: Transfer> Future for TimedTransfer<T> {
    type Output = T::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T::Output> {
        let this = self.get_mut();
        let mut polled = Pin::new(&mut this.transfer).poll(cx);
        if polled.is_pending() && !this.expired && this.is_late(cx) {
            this.expired = true;
            this.timer = None;
            this.transfer.request_cancel();
            polled = Pin::new(&mut this.transfer).poll(cx);
        }
        if !this.expired {
            return polled;
        }
        polled.map(|ended| {
            ended.map_err(|failed| {
                let cancelled = Errno::CANCELED.raw_os_error();
                if failed.error.raw_os_error() != Some(cancelled) {
                    return failed;
                }
                let error: io::Error = Failure::TimedOut.into();
                TransferError::new(error, failed.buffer, failed.transferred)
            })
        })
    }
}

impl<T> fmt::Debug for CancelTransfer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelTransfer").field("asked", &self.asked).finish_non_exhaustive()
    }
}

impl<T: Transfer> fmt::Debug for TimedTransfer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimedTransfer").field("expired", &self.expired).finish_non_exhaustive()
    }
}

/// The three endings of a transfer: its type, what its buffers are, what was lent.
macro_rules! endings {
    ($type:ident, $buffer:ident, $lent:ty) => {
        impl<M: Mode, B: $buffer> super::ending::Transfer for $type<M, B> {
            type Mode = M;
            type Lent = $lent;

            fn ring(&self) -> &crate::RingOf<M> {
                &self.handle.ring
            }

            fn request_cancel(&mut self) {
                self.ends = true;
                if let Step::Running(operation) = &mut self.step {
                    operation.request_cancel();
                }
            }
        }

        impl<M: Mode, B: $buffer> $type<M, B> {
            /// Cancels the step under way, and gives how the transfer ended: done, or with an error that has the buffer and
            /// says how many bytes were moved before. That of the cancellation is `ECANCELED`, by its number. One that has not
            /// started never does.
            ///
            /// # Dropping
            /// As dropping the transfer, whose cancellation goes on.
            pub fn cancel(self) -> super::CancelTransfer<Self> {
                super::CancelTransfer::new(self)
            }

            /// Ends the transfer `after` the first poll of this future: it fails with
            /// [`TimedOut`](std::io::ErrorKind::TimedOut), its buffer, and how many bytes were moved. One that ended in the
            /// last moment has its result.
            ///
            /// # Dropping
            /// As dropping the transfer.
            pub fn timeout(self, after: std::time::Duration) -> super::TimedTransfer<Self> {
                super::TimedTransfer::new(self, super::ending::Limit::After(after))
            }

            /// As [`timeout`](Self::timeout), at a point in time, which may be one of the ring's clock
            /// ([`Ring::now`](crate::RingOf::now)).
            ///
            /// # Dropping
            /// As dropping the transfer.
            pub fn deadline(self, at: std::time::Instant) -> super::TimedTransfer<Self> {
                super::TimedTransfer::new(self, super::ending::Limit::At(at))
            }
        }
    };
}
pub(super) use endings;
