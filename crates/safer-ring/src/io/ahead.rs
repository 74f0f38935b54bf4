//! Reading ahead: into buffers that the kernel picks, or into one that the ring lends to it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use safer_ring_backend::payload::Read;
use safer_ring_backend::{Arrival, Arrivals, Mode, Operation};
use safer_ring_buf::PooledBuffer;

use super::exclusive::Exclusive;

/// Bytes of the first buffer. It grows when reads fill it.
const FIRST: usize = 8 * 1024;

/// Bytes that were read and not yet taken, and the read that fetches the next.
pub(super) struct Ahead<M: Mode> {
    buffer: Vec<u8>,
    /// What a multishot receive has brought, in place of `buffer`.
    picked: Option<PooledBuffer>,
    /// Bytes of either that have been taken.
    from: usize,
    /// Most bytes of the buffer.
    limit: usize,
    /// Has the buffer while it runs. It belongs to no call: whichever comes next goes on with it.
    reading: Exclusive<Option<Operation<M, Read<Vec<u8>>>>>,
    /// On a socket, what goes before a read.
    arrivals: Exclusive<Option<Arrivals<M>>>,
}

impl<M: Mode> Ahead<M> {
    /// Of at most `limit` bytes at a time, where no multishot receive brings what there is.
    pub(super) fn new(limit: usize, arrivals: Option<Arrivals<M>>) -> Self {
        let (reading, arrivals) = (Exclusive::new(None), Exclusive::new(arrivals));
        Self { buffer: Vec::new(), picked: None, from: 0, limit, reading, arrivals }
    }

    /// The bytes that were read and not yet taken.
    pub(super) fn rest(&self) -> &[u8] {
        let all = self.picked.as_deref().unwrap_or(&self.buffer);
        all.get(self.from..).unwrap_or_default()
    }

    /// Waits until there are such bytes. None of them: the end. `begin` makes a read into a buffer.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        begin: impl FnOnce(Vec<u8>) -> Operation<M, Read<Vec<u8>>>,
    ) -> Poll<io::Result<&[u8]>> {
        if !self.rest().is_empty() {
            return Poll::Ready(Ok(self.rest()));
        }
        if let Some(used) = self.picked.take() {
            drop(used);
            self.from = self.buffer.len();
        }
        if self.reading.get().is_none() {
            if let Some(arrivals) = self.arrivals.get() {
                match ready!(arrivals.poll(cx.waker())) {
                    Arrival::Buffer(buffer) => {
                        (self.picked, self.from) = (Some(buffer), 0);
                        return Poll::Ready(Ok(self.rest()));
                    }
                    Arrival::Failed(failure) => return Poll::Ready(Err(failure.into())),
                    // There is none left.
                    Arrival::End => return Poll::Ready(Ok(self.rest())),
                    Arrival::Receive => {}
                }
            }
            let buffer = self.empty_buffer();
            *self.reading.get() = Some(begin(buffer));
        }
        let Some(read) = self.reading.get() else { return Poll::Pending };
        let ended = ready!(Pin::new(read).poll(cx));
        *self.reading.get() = None;
        match ended {
            Ok((_, buffer)) => {
                self.buffer = buffer;
                Poll::Ready(Ok(self.rest()))
            }
            Err(failed) => {
                let (error, mut buffer) = failed.into_parts();
                buffer.clear();
                self.buffer = buffer;
                Poll::Ready(Err(error))
            }
        }
    }

    /// [`poll_fill`](Self::poll_fill), and takes up to `want` of the bytes: `put` is given them.
    pub(super) fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        want: usize,
        begin: impl FnOnce(Vec<u8>) -> Operation<M, Read<Vec<u8>>>,
        put: impl FnOnce(&[u8]),
    ) -> Poll<io::Result<usize>> {
        if want == 0 {
            return Poll::Ready(Ok(0));
        }
        let there = ready!(self.poll_fill(cx, begin))?;
        let part = there.get(..want).unwrap_or(there);
        put(part);
        let count = part.len();
        Poll::Ready(Ok(self.consume(count)))
    }

    /// So many of the bytes have been taken; not more than there are. Gives how many.
    pub(super) fn consume(&mut self, count: usize) -> usize {
        let count = count.min(self.rest().len());
        self.from += count;
        count
    }

    /// The bytes that were not taken, for somebody else to have.
    pub(super) fn take_rest(&mut self) -> Vec<u8> {
        if let Some(picked) = self.picked.take() {
            let rest = picked.get(self.from..).unwrap_or_default().to_vec();
            self.from = self.buffer.len();
            return rest;
        }
        let mut rest = std::mem::take(&mut self.buffer);
        rest.drain(..self.from.min(rest.len()));
        self.from = 0;
        rest
    }

    /// Forgets what was read ahead, and the read under way. For reads at a position, which can be repeated.
    #[cfg(any(feature = "tokio", feature = "futures"))]
    pub(super) fn discard(&mut self) {
        *self.reading.get() = None;
        self.from = self.buffer.len();
    }

    /// The buffer for the next read: twice as large if the last one has filled it.
    fn empty_buffer(&mut self) -> Vec<u8> {
        let mut buffer = std::mem::take(&mut self.buffer);
        self.from = 0;
        let room = buffer.capacity();
        if room == 0 {
            return Vec::with_capacity(FIRST.min(self.limit));
        }
        if buffer.len() == room && room < self.limit {
            return Vec::with_capacity(room.saturating_mul(2).min(self.limit));
        }
        buffer.clear();
        buffer
    }
}
