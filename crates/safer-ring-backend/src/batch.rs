//! Many operations, one `io_uring_enter`, one wake-up.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use safer_ring_core::Group;

use crate::error::Failure;
use crate::mode::Mode;
use crate::operation::Operation;
use crate::payload::Payload;

/// Collects operations and submits them together.
///
/// Each operation that is added is a handle with the result of that member; [`Batch::submit`] hands all of
/// them to the kernel in one call and ends when the last one has. A batch can be filled and submitted again;
/// that allocates nothing.
///
/// Members run concurrently and in no order; for an order see [`Chain`](crate::Chain). A member whose handle is
/// dropped is an operation whose future is dropped; the others go on. A batch that is dropped without
/// `submit` leaves its members queued: awaiting a handle submits them.
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

    /// Adds an operation of the same ring.
    #[inline]
    pub fn add<P: Payload>(&mut self, mut operation: Operation<M, P>) -> Operation<M, P> {
        match self.open() {
            Ok((cell, group)) => {
                M::with(cell, |driver| {
                    if let Some(key) = operation.enlist(cell, driver, 0) {
                        driver.table.join(*group, key);
                    }
                });
            }
            Err(failure) => operation.refuse(failure),
        }
        operation
    }

    /// The ring whose operations can be added.
    pub fn ring(&self) -> &M::Ring {
        &self.ring
    }

    #[inline]
    fn open(&mut self) -> Result<&(M::Cell, Group), Failure> {
        if self.open.is_none() {
            let cell = M::cell(self.ring.clone())?;
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
            }
            if driver.table.poll_group(*group, cx.waker()) {
                return true;
            }
            M::park(driver, cell);
            false
        });
        if over == Some(false) { Poll::Pending } else { Poll::Ready(()) }
    }
}
