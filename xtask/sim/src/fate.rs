//! An operation and its fate.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use safer_ring::{Ended, Mode, Operation, Payload};

use crate::script::Fate;

/// Microseconds in which everything ends that was begun.
pub(crate) const LONG: u32 = 1_000_000_000;

/// What became of it.
#[derive(Debug)]
pub(crate) enum Met<T> {
    /// It has ended.
    Ended(T),
    /// It was cancelled, and has done nothing.
    Cancelled,
    /// It was dropped before it began.
    Unborn,
    /// It was dropped on its way.
    Dropped,
}

/// Polls an operation so many times, with turns for others in between.
pub(crate) async fn poll_some<F: Future + Unpin>(
    operation: &mut F,
    count: u8,
) -> Option<F::Output> {
    let mut left = count;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match Pin::new(&mut *operation).poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    })
    .await
}

/// Lets an operation meet its fate.
pub(crate) async fn meet<M: Mode, P: Payload>(
    mut operation: Operation<M, P>,
    fate: Fate,
) -> Met<P::Output>
where
    Operation<M, P>: Unpin,
{
    match fate {
        Fate::Await => Met::Ended(operation.await),
        Fate::Limit(us) => {
            Met::Ended(operation.timeout(Duration::from_micros(u64::from(us))).await)
        }
        Fate::Drop(polls) => match poll_some(&mut operation, polls).await {
            Some(output) => Met::Ended(output),
            None if polls == 0 => Met::Unborn,
            None => Met::Dropped,
        },
        Fate::Cancel(polls) => match poll_some(&mut operation, polls).await {
            Some(output) => Met::Ended(output),
            None => match operation.cancel().await {
                Ended::Completed(output) => Met::Ended(output),
                Ended::Cancelled(_) => Met::Cancelled,
            },
        },
    }
}
