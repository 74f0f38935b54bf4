//! Many operations, one `io_uring_enter`, one wake-up.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use safer_ring_core::Group;

use crate::driver::Refused;
use crate::error::Failure;
use crate::member::Member;
use crate::mode::Mode;
use crate::operation::Operation;
use crate::payload::{self, Payload};
use crate::request::Request;
use crate::wake::give_way;

/// Collects operations and submits them together.
///
/// Each operation that is added is a handle with the result of that member; [`Batch::submit`] hands all of
/// them to the kernel in one call and ends when the last one has. A batch can be filled and submitted again;
/// that allocates nothing.
///
/// Members run concurrently and in no order; for an order see [`Chain`](crate::Chain). A member whose handle is
/// dropped is an operation whose future is dropped; the others go on. A batch that is dropped without
/// `submit` leaves its members queued: they go with the next submission of their ring, or when a handle is awaited.
///
/// A member on a descriptor on which a dropped operation still works, or for which something arrived after its future
/// was gone, comes after that: it is no part of the one call, the batch does not wait for it, and its handle does.
pub struct Batch<M: Mode> {
    ring: M::Ring,
    /// Of the thread that added the first member; all members live in it.
    open: Option<(M::Cell, Group)>,
}

impl<M: Mode> Batch<M> {
    /// An empty batch on `ring`.
    pub fn new(ring: &M::Ring) -> Self {
        Self { ring: ring.clone(), open: None }
    }

    /// Adds an operation.
    #[inline(always)]
    pub fn add<P: Payload>(&mut self, request: Request<M::Guard, P>) -> Member<M, P> {
        if request.must_ask() {
            return Member::later(Operation::new(&self.ring, Ok(request)).waiting());
        }
        let (op, resources, rest) = request.into_parts();
        let (cell, group) = match self.open() {
            Ok(open) => open,
            Err(failure) => {
                let refused = Refused::new(failure, resources);
                return Member::failed(Some(payload::refuse::<M::Guard, P>(refused, rest)));
            }
        };
        let Some(mut driver) = M::enter(cell) else { return Member::failed(None) };
        match P::submit(&mut driver, op, resources, &rest, Some(*group)) {
            Ok(key) => {
                M::leave(cell, driver);
                Member::live(cell.clone(), key, rest)
            }
            Err(refused) => {
                M::leave(cell, driver);
                Member::failed(Some(payload::refuse::<M::Guard, P>(refused, rest)))
            }
        }
    }

    /// Adds an operation that was made for a ring; it runs on the ring of the batch. One that runs already goes on
    /// where it is, and the batch does not wait for it.
    pub fn add_operation<P: Payload>(&mut self, operation: Operation<M, P>) -> Member<M, P> {
        match operation.into_request() {
            Ok(request) => self.add(request),
            Err(member) => member,
        }
    }

    #[inline(always)]
    fn open(&mut self) -> Result<&(M::Cell, Group), Failure> {
        if self.open.is_none() {
            let (cell, _) = M::cell(self.ring.clone())?;
            let group = M::with(&cell, |driver| driver.table.group()).ok_or(Failure::Exhausted)?;
            self.open = Some((cell, group));
        }
        self.open.as_ref().ok_or(Failure::Exhausted)
    }

    /// Hands all members to the kernel and waits until the last one has ended.
    ///
    /// The results are in the handles, which are ready then. Dropping the returned future cancels nothing.
    pub fn submit(&mut self) -> SubmitBatch<'_, M> {
        SubmitBatch { batch: self }
    }
}

impl<M: Mode> Drop for Batch<M> {
    fn drop(&mut self) {
        if let Some((cell, group)) = self.open.take() {
            M::with(&cell, |driver| driver.table.drop_group(group));
        }
    }
}

impl<M: Mode> fmt::Debug for Batch<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("open", &self.open.is_some()).finish_non_exhaustive()
    }
}

/// Waits for the members of a [`Batch`].
#[must_use = "a batch is submitted when this is awaited"]
#[derive(Debug)]
pub struct SubmitBatch<'a, M: Mode> {
    batch: &'a mut Batch<M>,
}

impl<M: Mode> Future for SubmitBatch<'_, M> {
    type Output = ();

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some((cell, group)) = &self.batch.open else { return Poll::Ready(()) };
        let over = M::with(cell, |driver| {
            if M::INLINE {
                driver.flush();
                driver.touch();
            }
            if driver.poll_group(*group, cx.waker()) {
                return true;
            }
            M::park(driver, cell);
            false
        });
        match over {
            Some(false) => {
                M::waits();
                Poll::Pending
            }
            Some(true) if !M::goes_on(cell) => give_way(cx.waker()),
            _ => Poll::Ready(()),
        }
    }
}
