//! The poller of a tokio runtime.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Handle, Id};

use super::Bell;

/// Runtimes without I/O (`enable_io`). An identity may be used again by a later runtime, whose rings are heard by the
/// reactor then.
static WITHOUT_IO: Mutex<Vec<Id>> = Mutex::new(Vec::new());

/// Whether the calling thread belongs to a runtime, as far as it can be seen.
#[inline]
pub(super) fn is_here() -> bool {
    // The first is one look at the thread; the second counts references.
    tokio::task::try_id().is_some() || Handle::try_current().is_ok()
}

#[derive(Debug)]
pub(super) struct Place {
    bell: AsyncFd<Bell>,
    runtime: Id,
}

impl Place {
    pub(super) fn new(bell: Bell) -> Option<Self> {
        let runtime = Handle::try_current().ok()?.id();
        let without_io = || WITHOUT_IO.lock().unwrap_or_else(PoisonError::into_inner);
        if without_io().contains(&runtime) {
            return None;
        }
        let made = catch_unwind(AssertUnwindSafe(|| {
            #[allow(
                deprecated,
                reason = "its successor is of 1.54; `Bell` keeps what that asks for"
            )]
            AsyncFd::with_interest(bell, Interest::READABLE)
        }));
        let Ok(made) = made else {
            // Tokio's only way to say that the runtime has no I/O.
            without_io().push(runtime);
            return None;
        };
        made.ok().map(|bell| Self { bell, runtime })
    }

    /// Whether the calling thread belongs to the same runtime; or to a later one with its identity, where [`Place::arm`]
    /// tells that the first has ended.
    pub(super) fn is_here(&self) -> bool {
        Handle::try_current().is_ok_and(|here| here.id() == self.runtime)
    }

    pub(super) fn arm(&self, context: &mut Context<'_>) -> bool {
        loop {
            match self.bell.poll_read_ready(context) {
                Poll::Pending => return true,
                Poll::Ready(Ok(mut signal)) => signal.clear_ready(),
                Poll::Ready(Err(_)) => return false,
            }
        }
    }
}
