//! The future of one operation.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use safer_ring_core::{Completion, Key, Op};
use safer_ring_sys::Errno;

use crate::chain::Chain;
use crate::driver::Driver;
use crate::error::Failure;
use crate::mode::Mode;
use crate::payload::{self, Done, Payload};
use crate::request::{Request, Resources};

/// An operation that gives back what was lent to it.
///
/// It does nothing until it is first polled: then the buffer, the descriptor and all else that the kernel
/// needs move into the ring, which keeps them until the kernel is done, whatever becomes of this future.
/// It is `Unpin` and `'static`; with [`Shared`](crate::Shared) it is `Send`.
///
/// # Dropping it
/// Before the first poll: the buffer is dropped, nothing has happened. Later: an operation that only waits or
/// reads is cancelled, one that changes something runs to its end; either way its memory is freed after the
/// kernel's last completion, and a descriptor that still arrives is closed and counted.
#[must_use = "an operation does nothing until it is awaited or submitted with its batch"]
pub struct Operation<M: Mode, P: Payload> {
    state: State<M, P>,
}

enum State<M: Mode, P: Payload> {
    Ready { ring: M::Ring, request: Request<M::Guard, P> },
    Live(Live<M, P>),
    /// Refused before it began.
    Failed(P::Output),
    Over,
}

struct Live<M: Mode, P: Payload> {
    cell: M::Cell,
    key: Key,
    /// Bytes it was asked to move, for chains.
    wanted: Option<u32>,
    rest: P::Rest,
}

/// Nothing is pinned in place: the kernel's view is in the ring, never in the future.
impl<M: Mode, P: Payload> Unpin for Operation<M, P> {}

type Taken<K> = (Op, Resources<K>, Completion);

impl<M: Mode, P: Payload> Operation<M, P> {
    /// An operation on `ring`; an `Err` is its output, given when it is awaited.
    #[inline]
    pub fn new(ring: &M::Ring, request: Result<Request<M::Guard, P>, P::Output>) -> Self {
        let state = match request {
            Ok(request) => State::Ready { ring: ring.clone(), request },
            Err(output) => State::Failed(output),
        };
        Self { state }
    }

    /// Runs `next` after this operation, and only if this one succeeds in full: one submission of linked
    /// entries. See [`Chain`].
    pub fn then<Q: Payload>(self, next: Operation<M, Q>) -> Chain<M, Self, Operation<M, Q>> {
        Chain::new(self, next)
    }

    /// The ring of an operation that has not started.
    pub(crate) fn ring(&self) -> Option<&M::Ring> {
        match &self.state {
            State::Ready { ring, .. } => Some(ring),
            _ => None,
        }
    }

    /// Puts the operation into the table without handing it to the kernel; afterwards it is live or
    /// has failed.
    pub(crate) fn enlist(
        &mut self,
        cell: &M::Cell,
        driver: &mut Driver<M::Guard>,
        following: u16,
    ) -> Option<Key> {
        let State::Ready { request, .. } = std::mem::replace(&mut self.state, State::Over) else {
            return None;
        };
        let (op, resources, rest) = request.into_parts();
        let wanted = P::wanted(&op, &resources.lease, &rest);
        match P::submit(driver, op, resources, &rest, following) {
            Ok(key) => {
                self.state = State::Live(Live { cell: cell.clone(), key, wanted, rest });
                Some(key)
            }
            Err((failure, resources)) => {
                self.state = State::Failed(payload::refuse::<M, P>(resources, rest, failure));
                None
            }
        }
    }

    /// Ends an operation that has not started with `failure`.
    pub(crate) fn refuse(&mut self, failure: Failure) {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Ready { request, .. } => {
                let (_, resources, rest) = request.into_parts();
                self.state = State::Failed(payload::refuse::<M, P>(resources, rest, failure));
            }
            other => self.state = other,
        }
    }

    #[inline]
    fn start(&mut self, waker: &Waker) -> Poll<P::Output> {
        let State::Ready { ring, request } = std::mem::replace(&mut self.state, State::Over) else {
            // Polled again after its end: there is nothing to give and nobody to wake.
            return Poll::Pending;
        };
        let (op, resources, rest) = request.into_parts();
        let cell = match M::cell(ring) {
            Ok(cell) => cell,
            Err(failure) => return Poll::Ready(payload::refuse::<M, P>(resources, rest, failure)),
        };
        let begun = M::with(&cell, |driver| {
            let key = P::submit(driver, op, resources, &rest, 0)?;
            if M::INLINE {
                driver.flush();
                if let Some(taken) = driver.take(key) {
                    return Ok(Begun::Ended(key, taken));
                }
            }
            driver.poll(key, waker);
            M::park(driver, &cell);
            Ok(Begun::Pending(key))
        });
        match begun {
            Some(Ok(Begun::Pending(key))) => {
                self.state = State::Live(Live { cell, key, wanted: None, rest });
                Poll::Pending
            }
            Some(Ok(Begun::Ended(key, taken))) => {
                Poll::Ready(finish::<M, P>(&cell, key, taken, rest, None))
            }
            Some(Err((failure, resources))) => {
                Poll::Ready(payload::refuse::<M, P>(resources, rest, failure))
            }
            // A ring closes only after its last handle is gone, and this operation held one.
            None => Poll::Pending,
        }
    }

    /// Polls an operation that has been put into the table; `broken` is what has ended its chain so far.
    pub(crate) fn poll_live(
        &mut self,
        waker: &Waker,
        broken: Option<&mut Option<Failure>>,
        member: u16,
    ) -> Poll<P::Output> {
        let State::Live(live) = &mut self.state else {
            return match std::mem::replace(&mut self.state, State::Over) {
                State::Failed(output) => Poll::Ready(output),
                other => {
                    self.state = other;
                    Poll::Pending
                }
            };
        };
        let (cell, key) = (&live.cell, live.key);
        let taken = M::with(cell, |driver| {
            if !driver.poll(key, waker) {
                if M::INLINE && driver.has_queued() {
                    driver.flush();
                    M::park(driver, cell);
                }
                return None;
            }
            driver.take(key)
        });
        let Some(Some(taken)) = taken else {
            // It may have ended in the flush; then its waker has fired.
            return Poll::Pending;
        };
        let State::Live(live) = std::mem::replace(&mut self.state, State::Over) else {
            return Poll::Pending;
        };
        let failure = broken.and_then(|broken| judge(broken, taken.2, live.wanted, member));
        Poll::Ready(finish::<M, P>(&live.cell, live.key, taken, live.rest, failure))
    }
}

enum Begun<K> {
    Pending(Key),
    Ended(Key, Taken<K>),
}

/// What a chain's member says of the rest of the chain, and what it suffered from an earlier one.
fn judge(
    broken: &mut Option<Failure>,
    completion: Completion,
    wanted: Option<u32>,
    member: u16,
) -> Option<Failure> {
    match u32::try_from(completion.res) {
        Ok(moved) => {
            if let Some(wanted) = wanted.filter(|wanted| moved < *wanted) {
                broken.get_or_insert(Failure::ChainShort { member, wanted, moved });
            }
            None
        }
        Err(_) => {
            let errno = Errno::from_result(completion.res).err()?;
            if errno == Errno::CANCELED && broken.is_some() {
                return *broken;
            }
            broken.get_or_insert(Failure::ChainFailed { member, errno });
            None
        }
    }
}

#[inline]
fn finish<M: Mode, P: Payload>(
    cell: &M::Cell,
    key: Key,
    (op, resources, completion): Taken<M::Guard>,
    rest: P::Rest,
    failure: Option<Failure>,
) -> P::Output {
    let result = match failure {
        Some(failure) => Err(failure),
        None => Errno::from_result(completion.res).map_err(Failure::Os),
    };
    let more = if matches!(op, Op::Raw) {
        M::with(cell, |driver| driver.take_more(key)).unwrap_or_default()
    } else {
        Vec::new()
    };
    payload::finish::<M, P>(resources, rest, Done { result, flags: completion.flags, more })
}

impl<M: Mode, P: Payload> Future for Operation<M, P> {
    type Output = P::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<P::Output> {
        let this = self.get_mut();
        match this.state {
            State::Ready { .. } => this.start(cx.waker()),
            _ => this.poll_live(cx.waker(), None, 0),
        }
    }
}

impl<M: Mode, P: Payload> Drop for Operation<M, P> {
    #[inline]
    fn drop(&mut self) {
        if let State::Live(live) = &self.state {
            let key = live.key;
            M::with(&live.cell, |driver| {
                driver.orphan(key);
                if M::INLINE {
                    // A cancellation, if one was queued, must reach the kernel now.
                    driver.flush();
                }
            });
        }
    }
}

impl<M: Mode, P: Payload> fmt::Debug for Operation<M, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Ready { request, .. } => return request.fmt(f),
            State::Live(live) => return f.debug_tuple("Operation").field(&live.key).finish(),
            State::Failed(_) => "refused",
            State::Over => "over",
        };
        f.debug_tuple("Operation").field(&state).finish()
    }
}
