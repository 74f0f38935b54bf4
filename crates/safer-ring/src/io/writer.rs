//! Writing to a stream: what is accepted is sent, whoever looks.
//!
//! Each write is a send of its own, from a buffer of the adapter. One that the kernel takes at once has ended when the call
//! returns. One that it does not is left to the ring, as a send whose future was dropped: the ring sends all of it,
//! continues it where it is short, runs what comes after behind it, and keeps its error for the next operation. So what
//! was accepted needs no task that polls, and the buffer comes back through its pool when the kernel is done with it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use safer_ring_backend::payload::{self, Settled};
use safer_ring_backend::{Failure, Mode, Operation, give_way};
use safer_ring_buf::{Acquire, BufferPool, PooledBuffer};

use super::exclusive::Exclusive;
use crate::Shutdown;
use crate::net::Handle;

/// Buffers of an adapter: one that the kernel has, and one that waits behind it.
const BUFFERS: usize = 2;

pub(super) struct Writer<M: Mode> {
    /// Bytes of a buffer.
    capacity: usize,
    /// Where the buffers come back to; made by the first write.
    pool: Option<BufferPool>,
    /// Those that are at hand.
    idle: Exclusive<[Option<PooledBuffer>; BUFFERS]>,
    /// The place in the queue for one.
    next: Exclusive<Option<Acquire>>,
    /// Whether something was left to the ring since the last flush.
    behind: bool,
    ending: Exclusive<Option<Operation<M, Settled>>>,
}

impl<M: Mode> Writer<M> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            pool: None,
            idle: Exclusive::new([None, None]),
            next: Exclusive::new(None),
            behind: false,
            ending: Exclusive::new(None),
        }
    }

    /// Accepts as many of the bytes as fit into a buffer, and sends them.
    pub(super) fn poll_write<'a>(
        &mut self,
        cx: &mut Context<'_>,
        handle: &Handle<M>,
        is_socket: bool,
        parts: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Poll<io::Result<usize>> {
        if parts.clone().all(<[u8]>::is_empty) {
            return Poll::Ready(Ok(0));
        }
        // Nobody is told when the send that is begun below ends late, so it must not be put off.
        if M::must_give_way(handle.ring.inner()) {
            return give_way(cx.waker());
        }
        let at_hand = self.idle.get().iter_mut().find_map(Option::take);
        let mut buffer = match at_hand {
            Some(buffer) => buffer,
            None => ready!(self.poll_returned(cx)),
        };
        buffer.clear();
        for part in parts {
            if buffer.extend_from_slice(part) < part.len() {
                break;
            }
        }
        let len = buffer.len();
        let Handle { ring, fd } = handle;
        let mut send = if is_socket {
            ring.send_with(fd, buffer, payload::WAITALL)
        } else {
            ring.write_owned(fd, buffer)
        };
        // Nobody waits for it: what is accepted has its own way from here.
        match Pin::new(&mut send).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok((count, buffer))) => {
                self.keep(buffer);
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(failed)) => {
                let (error, buffer) = failed.into_parts();
                self.keep(buffer);
                Poll::Ready(Err(told(error)))
            }
            Poll::Pending => {
                drop(send);
                self.behind = true;
                Poll::Ready(Ok(len))
            }
        }
    }

    /// Waits until the kernel has taken all that was accepted.
    pub(super) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        handle: &Handle<M>,
    ) -> Poll<io::Result<()>> {
        if self.behind {
            // A buffer comes back when its send has ended, with its error kept: with all of them here, all have.
            while self.idle.get().iter().any(Option::is_none) {
                let buffer = ready!(self.poll_returned(cx));
                self.keep(buffer);
            }
            self.behind = false;
        }
        Poll::Ready(match handle.fd.take_failure() {
            Some(failure) => Err(told(failure.into())),
            None => Ok(()),
        })
    }

    /// Flushes, and ends the direction of a socket.
    pub(super) fn poll_shutdown(
        &mut self,
        cx: &mut Context<'_>,
        handle: &Handle<M>,
        is_socket: bool,
    ) -> Poll<io::Result<()>> {
        if self.ending.get().is_none() {
            ready!(self.poll_flush(cx, handle))?;
            if !is_socket {
                return Poll::Ready(Ok(()));
            }
            *self.ending.get() = Some(handle.ring.shutdown(&handle.fd, Shutdown::Write));
        }
        let Some(ending) = self.ending.get() else { return Poll::Pending };
        let ended = ready!(Pin::new(ending).poll(cx));
        *self.ending.get() = None;
        match ended {
            // The connection is gone, and the direction with it.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(told(error))),
            Ok(()) => Poll::Ready(Ok(())),
        }
    }

    /// A buffer that is not at hand: one that comes back, or the first or second of all.
    fn poll_returned(&mut self, cx: &mut Context<'_>) -> Poll<PooledBuffer> {
        let capacity = self.capacity;
        let pool = self.pool.get_or_insert_with(|| BufferPool::new(BUFFERS, capacity));
        let next = self.next.get().get_or_insert_with(|| pool.acquire());
        let buffer = ready!(Pin::new(next).poll(cx));
        *self.next.get() = None;
        Poll::Ready(buffer)
    }

    fn keep(&mut self, buffer: PooledBuffer) {
        if let Some(place) = self.idle.get().iter_mut().find(|place| place.is_none()) {
            *place = Some(buffer);
        }
    }
}

/// The error of an earlier write of this adapter is the kernel's own, as for somebody who had waited for it.
fn told(error: io::Error) -> io::Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Failure>()) {
        Some(Failure::Earlier { errno }) => (*errno).into(),
        _ => error,
    }
}
