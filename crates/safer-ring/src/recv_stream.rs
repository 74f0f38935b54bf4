//! What arrives on a stream, in buffers that the ring lends.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use safer_ring_backend::{Arrival, Arrivals, Mode, Shared};

use crate::net::{self, Handle, OwnedReadHalf, TcpStream, UnixStream};
use crate::pipe::PipeReader;
use crate::{Fd, ReadRingBuffer, RingBuffer, RingOf};

/// The bytes of a stream, in buffers of up to 16 KiB that the ring lends, without a copy and without an allocation. It ends
/// where the peer ends its side. With the feature `futures` it is a `Stream`.
///
/// Made by `recv_stream` of the types that read, of which it is a handle. A buffer goes back to the ring when it is dropped;
/// while all of them (1024) are out, the stream waits.
///
/// On a socket one entry of the ring serves all receives (`IORING_RECV_MULTISHOT`, kernel 6.0), and the kernel picks the buffer
/// when something has arrived: one that waits for its peer holds none. What arrives is taken in ahead of the calls. When 32
/// buffers wait it is cancelled, and what the kernel does not take in until it hears of that waits in the socket.
/// In a task of tokio, with the feature `tokio`, the runtime's poller tells of what arrives in place of that entry, and it is taken
/// when it is asked for: nothing is in flight then, and nothing is taken ahead.
///
/// On a socket that keeps messages apart each is one buffer, cut off behind 16 KiB, and one without a byte in it looks like the end,
/// behind which it goes on.
///
/// Otherwise (pipes, the fallback, rings that are [`restricted`](crate::Builder::restricted), older kernels) it is one receive
/// after the other, and one that waits holds a buffer.
///
/// Receives of other kinds beside it are for who does not mind which of them gets what comes next.
///
/// # Errors
/// Those of recv(2), as items. It goes on after them.
///
/// # Dropping
/// Nothing is lost: what was taken in, and what a receive under way still brings, goes to the next on any handle of the
/// stream. A multishot receive is cancelled, so that it takes in no more than that.
#[must_use = "nothing is received unless it is asked"]
pub struct RecvStream<M: Mode = Shared> {
    ring: RingOf<M>,
    fd: Fd<M>,
    /// On a socket.
    arrivals: Option<Arrivals<M>>,
    /// Where that cannot go on.
    receive: Option<ReadRingBuffer<M>>,
}

impl<M: Mode> RecvStream<M> {
    fn of_pipe(ring: &RingOf<M>, fd: &Fd<M>) -> Self {
        Self { ring: ring.clone(), fd: fd.clone(), arrivals: None, receive: None }
    }

    fn of_socket(ring: &RingOf<M>, fd: &Fd<M>) -> Self {
        let arrivals = Arrivals::new(ring.inner(), fd, ring.lender().pool());
        Self { ring: ring.clone(), fd: fd.clone(), arrivals, receive: None }
    }

    /// The next bytes; `None` at the end. The future may be dropped at any time: it is the stream that receives.
    #[expect(clippy::should_implement_trait, reason = "the name that streams have for it")]
    pub fn next(&mut self) -> impl Future<Output = Option<io::Result<RingBuffer>>> + Unpin {
        poll_fn(|cx| self.poll_receive(cx))
    }

    /// [`RecvStream::next`] for futures that are written by hand.
    pub fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<RingBuffer>>> {
        let Self { ring, fd, arrivals, receive } = self;
        if let (Some(arrivals), None) = (arrivals, &receive) {
            match ready!(arrivals.poll(cx.waker())) {
                Arrival::Buffer(buffer) => return Poll::Ready(Some(Ok(RingBuffer(buffer)))),
                Arrival::Failed(failure) => return Poll::Ready(Some(Err(failure.into()))),
                Arrival::End => return Poll::Ready(None),
                Arrival::Receive => {}
            }
        }
        let operation = receive.get_or_insert_with(|| ring.read_ring_buffer(fd));
        let received = ready!(Pin::new(operation).poll(cx));
        *receive = None;
        Poll::Ready(match received {
            Ok((0, _)) => None,
            Ok((_, buffer)) => Some(Ok(buffer)),
            Err(error) => Some(Err(error)),
        })
    }
}

impl<M: Mode> Unpin for RecvStream<M> {}

impl<M: Mode> fmt::Debug for RecvStream<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvStream").field("fd", &self.fd).finish_non_exhaustive()
    }
}

macro_rules! recv_stream {
    ($type:ident, $new:ident) => {
        impl<M: Mode> $type<M> {
            /// What arrives, in buffers that the ring lends; see [`RecvStream`](crate::RecvStream).
            pub fn recv_stream(&self) -> RecvStream<M> {
                RecvStream::$new(self.ring(), self.fd())
            }
        }
    };
}
recv_stream!(TcpStream, of_socket);
recv_stream!(UnixStream, of_socket);
recv_stream!(PipeReader, of_pipe);

impl<S: net::Stream> OwnedReadHalf<S> {
    /// What arrives, in buffers that the ring lends; see [`RecvStream`](crate::RecvStream).
    pub fn recv_stream(&self) -> RecvStream<S::Mode> {
        let Handle { ring, fd } = self.handle();
        RecvStream::of_socket(ring, fd)
    }
}

impl<M: Mode> RingOf<M> {
    /// What arrives on a connected stream socket, in buffers that the ring lends; see [`RecvStream`].
    pub fn recv_stream(&self, fd: &Fd<M>) -> RecvStream<M> {
        RecvStream::of_socket(self, fd)
    }
}
