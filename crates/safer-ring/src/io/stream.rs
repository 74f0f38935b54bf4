//! The adapter of streams.

use std::fmt;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use safer_ring_backend::payload::Read;
use safer_ring_backend::{Arrivals, Mode, Operation};

use super::ahead::Ahead;
use super::writer::Writer;
use crate::net::{self, Handle, OwnedReadHalf, OwnedWriteHalf, Split, TcpStream, UnixStream};
use crate::pipe::{PipeReader, PipeWriter};

/// Most bytes that are read ahead, unless something else is asked for.
const READ: usize = 64 * 1024;
/// Bytes of each of the two buffers to write from.
const WRITE: usize = 32 * 1024;
/// No buffer is larger, whatever is asked for.
pub(super) const LARGEST: usize = 1 << 30;

/// What an [`AsyncStream`] is made of: a stream, a half of one, an end of a pipe. Sealed.
pub trait Endpoint: sealed::End<<Self as Endpoint>::Mode> + 'static {
    /// How its ring is held.
    type Mode: Mode;
}

/// An [`Endpoint`] to read from. Sealed.
pub trait Readable: Endpoint {}

/// An [`Endpoint`] to write to. Sealed.
pub trait Writable: Endpoint {}

pub(super) mod sealed {
    use crate::net::Handle;
    use safer_ring_backend::Mode;

    #[allow(unnameable_types, reason = "sealed: nobody else implements what asks for it")]
    pub trait End<M: Mode>: Sized {
        /// Whether recv(2) and send(2) work on it, rather than read(2) and write(2).
        #[doc(hidden)]
        const SOCKET: bool;
        #[doc(hidden)]
        fn handle(&self) -> &Handle<M>;
        #[doc(hidden)]
        fn from_handle(handle: Handle<M>) -> Self;
        /// It is to go and to end nothing: another takes its place, or its direction has ended.
        #[doc(hidden)]
        fn keep_open(&mut self) {}
    }
}

/// A stream as the traits of tokio, futures and hyper know it.
///
/// Which traits it has depends on the features of this crate and on what it is made of: with `tokio` it is
/// `tokio::io::{AsyncRead, AsyncBufRead, AsyncWrite}`, with `futures` the same of `futures-io`, with `hyper`
/// `hyper::rt::{Read, Write}`. Over a [`Shared`](crate::Shared) ring it is `Send`, and works in `tokio::spawn`.
///
/// # Reading
/// On a socket one entry of the ring serves all reads (`IORING_RECV_MULTISHOT`, kernel 6.0): the kernel picks a buffer of 16 KiB
/// when something arrives, and a connection that is quiet holds none. Otherwise (pipes, the fallback, older kernels) a
/// read fills a buffer of the adapter, which begins with 8 KiB and grows while reads fill it. Calls take from either:
/// `poll_fill_buf` without a copy, `poll_read` with one. A call that is dropped (the loser of a `select!`) loses nothing: the
/// read belongs to the adapter, and the next call goes on with it.
///
/// # Writing
/// A write copies its bytes into one of two buffers and sends them at once. It returns how many bytes were accepted. What
/// was accepted is sent in full and in order, also if nothing is called any more and if the adapter is dropped. On a
/// shared ring the kernel nearly always takes the bytes inside the call; on a local one it does when `block_on` next
/// waits. Until it has, one more write is accepted, which follows the first; then writes are pending until a buffer
/// comes back. There is no flush to be forgotten: nothing is held back.
///
/// * A write that fails inside its call returns the error; nothing of it was accepted. The error of one that was left to
///   the ring is returned by the next write, flush or shutdown, once; what was accepted behind it is not sent, as bytes
///   that follow a hole are worse than missing ones.
/// * `poll_flush` waits until the kernel has taken all that was accepted. `poll_shutdown` flushes, then ends the
///   direction: shutdown(2). That the connection is gone (`ENOTCONN`) is no error there. An end of a pipe is only
///   flushed: what ends it is dropping it.
/// * `poll_write_vectored` gathers the slices in one buffer.
///
/// # Dropping
/// Accepted bytes are sent, then the descriptor is closed, unless another handle shares it. A peer that does not read makes
/// that as long as it likes, unless there is a limit ([`AsyncStream::with_send_limit`]). Such a handle (the other half,
/// a clone of the `Fd`) gets what was read ahead, in order, and what an armed read brings. An adapter of an
/// [`OwnedWriteHalf`] ends its direction behind the accepted bytes, as the half does.
pub struct AsyncStream<S: Endpoint> {
    stream: S,
    ahead: Ahead<S::Mode>,
    writer: Writer<S::Mode>,
}

impl<S: Endpoint> AsyncStream<S> {
    /// An adapter with buffers of its own of up to 64 KiB to read into and of 32 KiB, two of them, to write from. They are
    /// allocated when they are first needed.
    pub fn new(stream: S) -> Self {
        Self::with_capacities(READ, WRITE, stream)
    }

    /// An adapter whose own buffers are of up to `read` bytes to read into and of `write` bytes, two of them, to write from.
    /// Each is at least 1 byte and at most 1 GiB.
    ///
    /// `read` does not bound what comes at a time where the kernel picks the buffer (a socket, see
    /// [above](AsyncStream#reading)): that is up to 16 KiB, the size of the ring's buffers.
    pub fn with_capacities(read: usize, write: usize, stream: S) -> Self {
        let Handle { ring, fd } = stream.handle();
        let arrivals =
            if S::SOCKET { Arrivals::new(ring.inner(), fd, ring.lender().pool()) } else { None };
        let ahead = Ahead::new(read.clamp(1, LARGEST), arrivals);
        Self { stream, ahead, writer: Writer::new(write.clamp(1, LARGEST)) }
    }

    /// Bounds how long a reader may take for what the kernel has not taken at once, one buffer of the adapter: one that has not
    /// ended by then is cancelled, and the next write, flush or shutdown fails with `TimedOut`. `None`, as it is at first:
    /// it waits as long as the peer likes. The limit is the descriptor's, and goes on when the adapter is dropped: it bounds
    /// how long accepted bytes keep the connection then. [`Fd::set_send_limit`](crate::Fd::set_send_limit).
    ///
    /// hyper and axum only drop their connections, so a server on an open network wants one.
    #[must_use]
    pub fn with_send_limit(self, limit: Option<Duration>) -> Self {
        self.stream.handle().fd.set_send_limit(limit);
        self
    }

    /// Ends the connection at once: accepted bytes that were not sent are lost, and so are those that have arrived. Of a socket
    /// as [`TcpStream::abort`], of a pipe as [`PipeWriter::abort`]. The descriptor is closed when the adapter is dropped,
    /// unless another handle shares it.
    pub fn abort(&self) {
        let handle = self.stream.handle();
        if S::SOCKET {
            handle.abort();
        } else {
            handle.ring.give_up(&handle.fd);
        }
    }

    /// The stream, for its addresses and options. What it receives by itself is missing here.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The bytes that were read ahead and not yet taken.
    pub fn buffer(&self) -> &[u8] {
        self.ahead.rest()
    }

    /// The stream. Bytes that were read ahead are given back to it ([`Fd::unread`](crate::Fd::unread)), a read that is
    /// armed stays so, and accepted bytes are sent: the stream goes on where the adapter stood. The error of an accepted
    /// write comes with its next write, shutdown, `settle` or close.
    pub fn into_inner(mut self) -> S {
        self.stream.keep_open();
        S::from_handle(self.stream.handle().clone())
    }

    fn begin(handle: &Handle<S::Mode>, buffer: Vec<u8>) -> Operation<S::Mode, Read<Vec<u8>>> {
        let Handle { ring, fd } = handle;
        if S::SOCKET { ring.recv(fd, buffer) } else { ring.read_owned(fd, buffer) }
    }

    #[cfg(any(feature = "tokio", feature = "futures"))]
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let handle = self.stream.handle();
        self.ahead.poll_fill(cx, |buffer| Self::begin(handle, buffer))
    }

    /// Takes up to `want` bytes: `put` is given them.
    pub(super) fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        want: usize,
        put: impl FnOnce(&[u8]),
    ) -> Poll<io::Result<usize>> {
        let handle = self.stream.handle();
        self.ahead.poll_take(cx, want, |buffer| Self::begin(handle, buffer), put)
    }

    #[cfg(any(feature = "tokio", feature = "futures"))]
    pub(super) fn take(&mut self, count: usize) {
        self.ahead.consume(count);
    }

    pub(super) fn poll_put<'a>(
        &mut self,
        cx: &mut Context<'_>,
        parts: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Poll<io::Result<usize>> {
        self.writer.poll_write(cx, self.stream.handle(), S::SOCKET, parts)
    }

    pub(super) fn poll_settle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer.poll_flush(cx, self.stream.handle())
    }

    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = ready!(self.writer.poll_shutdown(cx, self.stream.handle(), S::SOCKET));
        if ended.is_ok() {
            self.stream.keep_open();
        }
        Poll::Ready(ended)
    }
}

/// Nothing in it refers to itself.
impl<S: Endpoint> Unpin for AsyncStream<S> {}

impl<S: Endpoint> Drop for AsyncStream<S> {
    fn drop(&mut self) {
        let fd = &self.stream.handle().fd;
        if !self.ahead.rest().is_empty() && fd.handles() > 1 {
            fd.unread(self.ahead.take_rest());
        }
    }
}

impl<S: Endpoint> From<S> for AsyncStream<S> {
    fn from(stream: S) -> Self {
        Self::new(stream)
    }
}

impl<S: Endpoint> fmt::Debug for AsyncStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncStream")
            .field("fd", &self.stream.handle().fd)
            .field("read_ahead", &self.ahead.rest().len())
            .finish_non_exhaustive()
    }
}

/// Makes adapters of a type: its kind of descriptor, how it is made, its directions.
macro_rules! endpoint {
    (
        ($($generics:tt)*) $type:ty, $mode:ty, socket: $socket:literal,
        $from:expr, $handle:expr $(, keep_open: $keep_open:expr)?
    ) => {
        impl<$($generics)*> sealed::End<$mode> for $type {
            const SOCKET: bool = $socket;

            fn handle(&self) -> &Handle<$mode> {
                $handle(self)
            }

            fn from_handle(handle: Handle<$mode>) -> Self {
                $from(handle)
            }

            $(fn keep_open(&mut self) {
                $keep_open(self);
            })?
        }

        impl<$($generics)*> Endpoint for $type {
            type Mode = $mode;
        }

        impl<$($generics)*> $type {
            /// The stream as the traits of tokio, futures and hyper know it; see [`AsyncStream`].
            pub fn into_io(self) -> AsyncStream<Self> {
                AsyncStream::new(self)
            }
        }
    };
}

endpoint!((M: Mode) TcpStream<M>, M, socket: true, Split::from_handle, Split::handle);
endpoint!((M: Mode) UnixStream<M>, M, socket: true, Split::from_handle, Split::handle);
endpoint!((M: Mode) PipeReader<M>, M, socket: false, PipeReader::from_handle, PipeReader::handle);
endpoint!((M: Mode) PipeWriter<M>, M, socket: false, PipeWriter::from_handle, PipeWriter::handle);
endpoint!(
    (S: net::Stream + 'static) OwnedReadHalf<S>, S::Mode, socket: true,
    |handle| OwnedReadHalf::of(S::from_handle(handle)), OwnedReadHalf::handle
);
endpoint!(
    (S: net::Stream + 'static) OwnedWriteHalf<S>, S::Mode, socket: true,
    |handle| OwnedWriteHalf::of(S::from_handle(handle)), OwnedWriteHalf::handle,
    keep_open: OwnedWriteHalf::keep_open
);

impl<M: Mode> Readable for TcpStream<M> {}
impl<M: Mode> Readable for UnixStream<M> {}
impl<M: Mode> Readable for PipeReader<M> {}
impl<S: net::Stream + 'static> Readable for OwnedReadHalf<S> {}
impl<M: Mode> Writable for TcpStream<M> {}
impl<M: Mode> Writable for UnixStream<M> {}
impl<M: Mode> Writable for PipeWriter<M> {}
impl<S: net::Stream + 'static> Writable for OwnedWriteHalf<S> {}
