//! Linked operations: one after the other, in as few submissions as the kernel allows.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use safer_ring_core::Completion;
use safer_ring_sys::Errno;

use crate::driver::Driver;
use crate::error::Failure;
use crate::mode::Mode;
use crate::operation::{Held, Operation};
use crate::payload::{Payload, sealed::Sealed};
use crate::wake::give_way;

/// What has become of a chain so far.
#[derive(Clone, Copy, Debug, Default)]
#[allow(unnameable_types, reason = "part of a sealed trait")]
pub struct Broken(Option<Failure>);

/// A member of a chain that has ended: it may have ended the chain, or have been ended by it.
pub(crate) struct Chained<'a> {
    pub(crate) broken: &'a mut Broken,
    /// Its place, counted from 0.
    pub(crate) member: u16,
    /// Bytes that it had to move for the chain to go on.
    pub(crate) wanted: Option<u32>,
}

impl Chained<'_> {
    /// The result of the member, in the light of what came before it.
    pub(crate) fn judge(&mut self, completion: Completion) -> Result<u32, Failure> {
        let (broken, member) = (&mut self.broken.0, self.member);
        let result = Errno::from_result(completion.res);
        match (result, *broken) {
            (Err(Errno::CANCELED), Some(failure)) => return Err(failure),
            // A kernel that looks at all members before it begins ends those before the one that it refuses as well.
            (Err(errno), Some(Failure::ChainFailed { errno: Errno::CANCELED, .. })) => {
                *broken = Some(Failure::ChainFailed { member, errno });
            }
            (Err(errno), None) => *broken = Some(Failure::ChainFailed { member, errno }),
            (Ok(moved), None) => {
                if let Some(wanted) = self.wanted.filter(|wanted| moved < *wanted) {
                    *broken = Some(Failure::ChainShort { member, wanted, moved });
                }
            }
            _ => {}
        }
        result.map_err(Failure::Os)
    }
}

/// What can be a member of a chain: an [`Operation`] or a shorter [`Chain`]. Sealed.
#[allow(private_interfaces, reason = "the driver's types are no part of the public contract")]
pub trait ChainLink<M: Mode>: Sealed {
    /// What it gives.
    type Result;
    /// Operations in it.
    const LEN: u16;
    /// Whether all of them can be linked.
    #[doc(hidden)]
    const LINKS: bool;
    /// Whether nothing can follow it.
    #[doc(hidden)]
    const ENDS: bool;
    /// The ring, if everything in it has yet to start.
    #[doc(hidden)]
    fn ring_of(&self) -> Option<M::Ring>;
    /// Whether the kernel has all of the opcodes: a plain system call cannot be linked.
    #[doc(hidden)]
    fn has_opcodes(&self, driver: &Driver<M::Guard>) -> bool;
    /// What has to happen on the descriptors before it can start.
    #[doc(hidden)]
    fn held(&mut self, waker: &Waker) -> Held;
    #[doc(hidden)]
    fn enlist_all(&mut self, cell: &M::Cell, driver: &mut Driver<M::Guard>, following: u16);
    #[doc(hidden)]
    fn refuse_all(&mut self, failure: Failure);
    #[doc(hidden)]
    fn poll_all(&mut self, waker: &Waker, broken: &mut Broken, member: u16) -> Poll<Self::Result>;
}

impl<M: Mode, P: Payload> Sealed for Operation<M, P> {}
impl<M: Mode, A: ChainLink<M>, B: ChainLink<M>> Sealed for Chain<M, A, B> {}

impl<M: Mode, P: Payload> ChainLink<M> for Operation<M, P> {
    type Result = P::Output;
    const LEN: u16 = 1;
    const LINKS: bool = P::LINKS;
    const ENDS: bool = P::AFTER_CHAIN;

    fn ring_of(&self) -> Option<M::Ring> {
        self.ring().cloned()
    }

    fn has_opcodes(&self, driver: &Driver<M::Guard>) -> bool {
        self.op().is_some_and(|op| driver.backend().has_opcode_for(op))
    }

    fn held(&mut self, waker: &Waker) -> Held {
        self.ask_linked(waker)
    }

    fn enlist_all(&mut self, cell: &M::Cell, driver: &mut Driver<M::Guard>, following: u16) {
        self.enlist(cell, driver, following);
    }

    fn refuse_all(&mut self, failure: Failure) {
        self.refuse(failure);
    }

    fn poll_all(&mut self, waker: &Waker, broken: &mut Broken, member: u16) -> Poll<Self::Result> {
        self.poll_live(waker, Some((broken, member)))
    }
}

/// Operations that run one after the other: `a.then(b).then(c)`.
///
/// The members go to the kernel in one submission, as a unit (`IOSQE_IO_LINK`). Each starts after the one
/// before it has succeeded *in full*: an error ends the chain, and so does a short read or write. The members
/// that did not run say so with their buffers back ([`Failure::ChainShort`], [`Failure::ChainFailed`]).
/// The output is one result for each member: `(a, b)`, and `((a, b), c)` for three.
///
/// Kernels from 6.0 on would start what is behind a sync, `fallocate`, `ftruncate`, `statx`, shutdown, or change of a
/// directory (rename, unlink, mkdir, symlink, link) that has failed. So what is behind one of these is a submission of its
/// own, made when it has succeeded; the order and the results are the same.
///
/// An interrupted member ends no chain. The kernel gives it back with those behind it (`EINTR`, an `ECANCELED` that nobody
/// asked for, as when the thread that submitted it has ended, or `EAGAIN` of a descriptor that does not block), and none of
/// them has done anything: they are submitted again, in order, as a chain of the rest, where a single operation would be.
/// After 1024 times in a row with the same member in front the interruption is told, as any other error. Not tried again are
/// a member that has no single second try (a close, a connect, a raw entry), nor, where the kernel does not say which of the
/// two has ended the chain, one behind a raw entry or behind a transfer of messages with `MSG_WAITALL`.
///
/// Before kernel 5.17, a member that is refused for the way its descriptor was opened (`EBADF`) ends the chain before it
/// begins: those before it have not run either, and fail with `ECANCELED`.
///
/// All run on the ring of the first. An operation that the kernel has no opcode for, and a timer, cannot be a member:
/// the whole chain is refused with `EOPNOTSUPP` or `EINVAL`. A close can be the last member only (else `EINVAL`), and is
/// handed over by itself when the chain is polled after the others have succeeded: for the kernel, a close that a chain has
/// not come to looks like one that has failed. A chain longer than its submission queue is refused with
/// [`Failure::ChainTooLong`]. Dropping a chain drops its members, each by its own rule, but receives and accepts are
/// cancelled: those behind them would wait for a peer with nobody waiting for the chain.
///
/// A chain starts after what dropped operations still do on the descriptors of its members; dropped before that, it
/// never runs. It cannot hand out what arrived for a dropped receive, and is refused with [`Failure::Unreceived`] until
/// that has been received.
#[must_use = "a chain does nothing until it is awaited"]
pub struct Chain<M: Mode, A: ChainLink<M>, B: ChainLink<M>> {
    first: A,
    second: B,
    first_result: Option<A::Result>,
    broken: Broken,
    started: bool,
}

impl<M: Mode, A: ChainLink<M>, B: ChainLink<M>> Unpin for Chain<M, A, B> {}

impl<M: Mode, A: ChainLink<M>, B: ChainLink<M>> Chain<M, A, B> {
    pub(crate) fn new(first: A, second: B) -> Self {
        Self { first, second, first_result: None, broken: Broken::default(), started: false }
    }

    /// Appends one more operation.
    pub fn then<Q: Payload>(self, next: Operation<M, Q>) -> Chain<M, Self, Operation<M, Q>> {
        Chain::new(self, next)
    }

    /// Tells whether what has become of it may be looked at now.
    fn start(&mut self) -> bool {
        self.started = true;
        self.hand_over().unwrap_or_else(|failure| {
            self.refuse_all(failure);
            true
        })
    }

    fn hand_over(&mut self) -> Result<bool, Failure> {
        let (Some(ring), Some(_)) = (self.first.ring_of(), self.second.ring_of()) else {
            // A member was refused when it was made (`EINVAL` stands for that in the others): nothing runs.
            return Err(Failure::ChainFailed { member: 0, errno: Errno::INVAL });
        };
        let (cell, _hold) = M::cell(ring)?;
        if !<Self as ChainLink<M>>::LINKS {
            return Err(Failure::Os(Errno::INVAL));
        }
        let members = <Self as ChainLink<M>>::LEN;
        let handed_over = M::with(&cell, |driver| {
            driver.reserve(members)?;
            if !self.has_opcodes(driver) {
                return Err(Failure::Os(Errno::OPNOTSUPP));
            }
            driver.touch();
            self.enlist_all(&cell, driver, 0);
            let looks = M::goes_on(&cell);
            if M::INLINE {
                driver.flush();
                M::park(driver, &cell);
            }
            Ok(looks)
        });
        handed_over.unwrap_or(Ok(true))
    }
}

impl<M: Mode, A: ChainLink<M>, B: ChainLink<M>> ChainLink<M> for Chain<M, A, B> {
    type Result = (A::Result, B::Result);
    const LEN: u16 = A::LEN + B::LEN;
    const LINKS: bool = A::LINKS && !A::ENDS && B::LINKS;
    const ENDS: bool = B::ENDS;

    fn ring_of(&self) -> Option<M::Ring> {
        self.second.ring_of()?;
        self.first.ring_of()
    }

    fn has_opcodes(&self, driver: &Driver<M::Guard>) -> bool {
        self.first.has_opcodes(driver) && self.second.has_opcodes(driver)
    }

    fn held(&mut self, waker: &Waker) -> Held {
        match self.first.held(waker) {
            Held::Free => self.second.held(waker),
            held => held,
        }
    }

    fn enlist_all(&mut self, cell: &M::Cell, driver: &mut Driver<M::Guard>, following: u16) {
        self.first.enlist_all(cell, driver, B::LEN + following);
        self.second.enlist_all(cell, driver, following);
    }

    fn refuse_all(&mut self, failure: Failure) {
        self.first.refuse_all(failure);
        self.second.refuse_all(failure);
    }

    fn poll_all(&mut self, waker: &Waker, broken: &mut Broken, member: u16) -> Poll<Self::Result> {
        if self.first_result.is_none() {
            match self.first.poll_all(waker, broken, member) {
                Poll::Ready(result) => self.first_result = Some(result),
                Poll::Pending => return Poll::Pending,
            }
        }
        match self.second.poll_all(waker, broken, member + A::LEN) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(second) => match self.first_result.take() {
                Some(first) => Poll::Ready((first, second)),
                None => Poll::Pending,
            },
        }
    }
}

impl<M: Mode, A: ChainLink<M>, B: ChainLink<M>> Future for Chain<M, A, B> {
    type Output = (A::Result, B::Result);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if !this.started {
            match this.held(cx.waker()) {
                Held::Free => {
                    if !this.start() {
                        return give_way(cx.waker());
                    }
                }
                Held::Waits => return Poll::Pending,
                Held::Fails(failure) => {
                    this.started = true;
                    this.refuse_all(failure);
                }
            }
        }
        let mut broken = this.broken;
        let polled = this.poll_all(cx.waker(), &mut broken, 0);
        this.broken = broken;
        if polled.is_pending() {
            M::waits();
        }
        polled
    }
}

impl<M: Mode, A: ChainLink<M>, B: ChainLink<M>> fmt::Debug for Chain<M, A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain")
            .field("members", &<Self as ChainLink<M>>::LEN)
            .finish_non_exhaustive()
    }
}
