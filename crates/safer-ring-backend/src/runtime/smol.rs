//! The poller of smol, `async-io`: one for the process, run by whoever blocks in it, else by a thread of its own.

use std::task::{Context, Poll};

use async_io::Async;

use super::Bell;

#[derive(Debug)]
pub(super) struct Place(Async<Bell>);

impl Place {
    pub(super) fn new(bell: Bell) -> Option<Self> {
        Async::new_nonblocking(bell).ok().map(Self)
    }

    pub(super) fn arm(&self, context: &mut Context<'_>) -> bool {
        loop {
            // It is asked for a level and not for an edge, so the count must be taken out before.
            let _ = rustix::io::read(self.0.get_ref(), &mut [0; 8]);
            match self.0.poll_readable(context) {
                Poll::Pending => return true,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return false,
            }
        }
    }
}
