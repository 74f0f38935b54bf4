//! Transfers of many steps: until a buffer is full, until a buffer is sent.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use safer_ring_backend::payload::{self, Read, Write, WriteVectored};
use safer_ring_backend::sys::Errno;
use safer_ring_backend::{Failure, Mode, Operation};
use safer_ring_buf::{IoBuf, IoBufMut, Slice};

use super::ending::endings;
use super::handle::Handle;
use crate::TransferError;

/// Which system calls move the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// recv(2) and send(2).
    Socket,
    /// read(2) and write(2).
    Pipe,
}

/// Where a transfer stands.
enum Step<B, O> {
    /// Between two operations.
    Ready(B),
    /// Its buffer is lent.
    Running(O),
    Over,
}

impl<B, O> Step<B, O> {
    fn take_ready(&mut self) -> Option<B> {
        match std::mem::replace(self, Step::Over) {
            Step::Ready(buffer) => Some(buffer),
            other => {
                *self = other;
                None
            }
        }
    }
}

/// A buffer whose length does not cover what was read into it breaks the promise of `IoBufMut`.
fn lost_length<B>(buffer: B, transferred: usize) -> TransferError<B> {
    let error = io::Error::new(io::ErrorKind::InvalidInput, "the buffer has become shorter");
    TransferError::new(error, buffer, transferred)
}

/// The future of `read_exact`: the buffer, full.
///
/// # Dropping
/// Nothing is lost: the next receive, or read of the pipe, begins with the bytes of the steps that have ended, and goes on
/// with what the step under way takes in, which stays armed as a single `read` does. Before the first poll nothing has
/// happened.
#[must_use = "a transfer does nothing until it is awaited"]
pub struct ReadExact<M: Mode, B: IoBufMut> {
    handle: Handle<M>,
    via: Via,
    /// Bytes of finished steps, at the start of the buffer.
    filled: usize,
    /// The same bytes, while a step runs and they are in lent memory. Nothing for the first step, which nearly all
    /// transfers end with.
    finished: Vec<u8>,
    step: Step<B, Operation<M, Read<Slice<B>>>>,
    /// Bytes that are asked for; `None`: as many as there is room for.
    count: Option<usize>,
    /// Whether its cancellation was asked.
    ends: bool,
}

impl<M: Mode, B: IoBufMut> ReadExact<M, B> {
    pub(crate) fn new(handle: Handle<M>, via: Via, buffer: B) -> Self {
        let (finished, step) = (Vec::new(), Step::Ready(buffer));
        Self { handle, via, filled: 0, finished, step, count: None, ends: false }
    }

    /// The same, of so many bytes.
    pub(crate) fn of(mut self, count: usize) -> Self {
        self.count = Some(count);
        self
    }

    /// It ends before it is done: what has come so far is in the buffer.
    fn fail(
        &mut self,
        error: impl Into<io::Error>,
        buffer: B,
    ) -> Poll<Result<B, TransferError<B>>> {
        self.finished = Vec::new();
        Poll::Ready(Err(TransferError::new(error, buffer, self.filled)))
    }

    fn begin(&self, part: Slice<B>) -> Operation<M, Read<Slice<B>>> {
        let Handle { ring, fd } = &self.handle;
        match self.via {
            Via::Socket => ring.recv(fd, part),
            Via::Pipe => ring.read_owned(fd, part),
        }
    }
}

impl<M: Mode, B: IoBufMut> Unpin for ReadExact<M, B> {}

impl<M: Mode, B: IoBufMut> Future for ReadExact<M, B> {
    type Output = Result<B, TransferError<B>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            if let Some(buffer) = this.step.take_ready() {
                let room = buffer.capacity_mut();
                let count = this.count.unwrap_or(room);
                if count > room {
                    let error = io::Error::new(
                        io::ErrorKind::InvalidInput,
                        format!(
                            "{count} bytes do not fit into the buffer, which has room for {room}"
                        ),
                    );
                    return this.fail(error, buffer);
                }
                if this.filled >= count {
                    this.finished = Vec::new();
                    return Poll::Ready(Ok(buffer));
                }
                if this.ends {
                    return this.fail(Failure::Os(Errno::CANCELED), buffer);
                }
                let news = buffer.as_init().get(this.finished.len()..this.filled);
                this.finished.extend_from_slice(news.unwrap_or_default());
                let part = match buffer.try_slice(this.filled..count) {
                    Ok(part) => part,
                    Err(buffer) => {
                        this.finished = Vec::new();
                        return Poll::Ready(Err(lost_length(buffer, this.filled)));
                    }
                };
                this.step = Step::Running(this.begin(part));
            }
            let Step::Running(read) = &mut this.step else { return Poll::Pending };
            let ended = ready!(Pin::new(read).poll(cx));
            this.step = Step::Over;
            let (error, part) = match ended {
                Ok((0, part)) => (io::ErrorKind::UnexpectedEof.into(), part),
                Ok((count, part)) => {
                    this.filled += count;
                    this.step = Step::Ready(part.into_inner());
                    continue;
                }
                Err(error) => error.into_parts(),
            };
            return this.fail(error, part.into_inner());
        }
    }
}

impl<M: Mode, B: IoBufMut> Drop for ReadExact<M, B> {
    fn drop(&mut self) {
        // Before the step goes, so that its bytes come behind these.
        self.handle.fd.unread(std::mem::take(&mut self.finished));
    }
}

impl<M: Mode, B: IoBufMut> fmt::Debug for ReadExact<M, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadExact").field("filled", &self.filled).finish_non_exhaustive()
    }
}

/// The future of `write_all`: the buffer, whole.
///
/// # Dropping
/// From its first poll on, it runs to its end with all of its bytes, before later writes on the same handle and behind those
/// that were dropped before it; its error comes with the next write, shutdown or close. Behind one that failed it is not
/// written. Before the first poll nothing has happened.
#[must_use = "a transfer does nothing until it is awaited"]
pub struct WriteAll<M: Mode, B: IoBuf> {
    handle: Handle<M>,
    via: Via,
    /// Bytes of finished steps.
    sent: usize,
    step: Step<B, Operation<M, Write<Slice<B>>>>,
    /// Whether its cancellation was asked.
    ends: bool,
}

impl<M: Mode, B: IoBuf> WriteAll<M, B> {
    pub(crate) fn new(handle: Handle<M>, via: Via, buffer: B) -> Self {
        Self { handle, via, sent: 0, step: Step::Ready(buffer), ends: false }
    }

    fn begin(&self, part: Slice<B>) -> Operation<M, Write<Slice<B>>> {
        let Handle { ring, fd } = &self.handle;
        match self.via {
            Via::Socket => ring.send_with(fd, part, payload::WAITALL),
            Via::Pipe => ring.write_owned(fd, part),
        }
    }
}

impl<M: Mode, B: IoBuf> Unpin for WriteAll<M, B> {}

impl<M: Mode, B: IoBuf> Future for WriteAll<M, B> {
    type Output = Result<B, TransferError<B>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            if let Some(buffer) = this.step.take_ready() {
                if this.sent >= buffer.len_init() {
                    return Poll::Ready(Ok(buffer));
                }
                if this.ends {
                    let error = Failure::Os(Errno::CANCELED);
                    return Poll::Ready(Err(TransferError::new(error, buffer, this.sent)));
                }
                let part = match buffer.try_slice(this.sent..) {
                    Ok(part) => part,
                    Err(buffer) => return Poll::Ready(Err(lost_length(buffer, this.sent))),
                };
                this.step = Step::Running(this.begin(part));
            }
            let Step::Running(write) = &mut this.step else { return Poll::Pending };
            let ended = ready!(Pin::new(write).poll(cx));
            this.step = Step::Over;
            let (error, part) = match ended {
                Ok((0, part)) => (io::ErrorKind::WriteZero.into(), part),
                Ok((count, part)) => {
                    this.sent += count;
                    this.step = Step::Ready(part.into_inner());
                    continue;
                }
                Err(error) => error.into_parts(),
            };
            return Poll::Ready(Err(TransferError::new(error, part.into_inner(), this.sent)));
        }
    }
}

impl<M: Mode, B: IoBuf> fmt::Debug for WriteAll<M, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteAll").field("sent", &self.sent).finish_non_exhaustive()
    }
}

type WriteParts<M, B> = Operation<M, WriteVectored<Slice<B>>>;

/// The future of `write_all_vectored`: the buffers, whole and in order.
///
/// # Dropping
/// As [`WriteAll`].
#[must_use = "a transfer does nothing until it is awaited"]
pub struct WriteAllVectored<M: Mode, B: IoBuf> {
    handle: Handle<M>,
    via: Via,
    /// Bytes of finished steps.
    sent: usize,
    step: Step<Vec<Slice<B>>, WriteParts<M, B>>,
    /// Whether its cancellation was asked.
    ends: bool,
}

impl<M: Mode, B: IoBuf> WriteAllVectored<M, B> {
    pub(crate) fn new(handle: Handle<M>, via: Via, buffers: Vec<B>) -> Self {
        let parts = buffers.into_iter().map(|buffer| buffer.slice(..)).collect();
        Self { handle, via, sent: 0, step: Step::Ready(parts), ends: false }
    }

    fn begin(&self, parts: Vec<Slice<B>>) -> WriteParts<M, B> {
        let Handle { ring, fd } = &self.handle;
        match self.via {
            Via::Socket => ring.try_start(payload::send_vectored(fd, parts, payload::WAITALL)),
            Via::Pipe => ring.write_vectored(fd, parts),
        }
    }
}

/// The parts without their first `count` bytes; parts that are done become empty, and stay for their buffers.
fn advance<B: IoBuf>(parts: Vec<Slice<B>>, mut count: usize) -> Vec<Slice<B>> {
    let rest = |part: Slice<B>| {
        let done = part.len_init().min(count);
        count -= done;
        part.slice(done..)
    };
    parts.into_iter().map(rest).collect()
}

fn whole<B: IoBuf>(parts: Vec<Slice<B>>) -> Vec<B> {
    parts.into_iter().map(Slice::into_inner).collect()
}

impl<M: Mode, B: IoBuf> Unpin for WriteAllVectored<M, B> {}

impl<M: Mode, B: IoBuf> Future for WriteAllVectored<M, B> {
    type Output = Result<Vec<B>, TransferError<Vec<B>>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            if let Some(parts) = this.step.take_ready() {
                if parts.iter().all(|part| part.len_init() == 0) {
                    return Poll::Ready(Ok(whole(parts)));
                }
                if this.ends {
                    let error = Failure::Os(Errno::CANCELED);
                    return Poll::Ready(Err(TransferError::new(error, whole(parts), this.sent)));
                }
                this.step = Step::Running(this.begin(parts));
            }
            let Step::Running(write) = &mut this.step else { return Poll::Pending };
            let ended = ready!(Pin::new(write).poll(cx));
            this.step = Step::Over;
            let (error, parts) = match ended {
                Ok((0, parts)) => (io::ErrorKind::WriteZero.into(), parts),
                Ok((count, parts)) => {
                    this.sent += count;
                    this.step = Step::Ready(advance(parts, count));
                    continue;
                }
                Err(error) => error.into_parts(),
            };
            return Poll::Ready(Err(TransferError::new(error, whole(parts), this.sent)));
        }
    }
}

impl<M: Mode, B: IoBuf> fmt::Debug for WriteAllVectored<M, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteAllVectored").field("sent", &self.sent).finish_non_exhaustive()
    }
}

endings!(ReadExact, IoBufMut, B);
endings!(WriteAll, IoBuf, B);
endings!(WriteAllVectored, IoBuf, Vec<B>);
