//! What arrives, as a `Stream` of buffers that the ring lends.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::SocketAddr as UnixAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use safer_ring_backend::{Mode, Shared};
use safer_ring_buf::{Acquire, PooledBuffer};

use crate::net::{self, Datagram, Handle, OwnedReadHalf, Reception, TcpStream, UdpSocket};
use crate::net::{UnixDatagram, UnixStream};
use crate::pipe::PipeReader;
use crate::{Fd, ReadRingBuffer, RingBuffer, RingOf};

/// The bytes of a stream, as a `Stream` of buffers of up to 16 KiB that the ring lends, without a copy and without an
/// allocation. It ends where the peer ends its side.
///
/// Made by `recv_stream` of the types that read, of which it is a handle. A buffer goes back to the ring when it is dropped;
/// while all of them (1024) are out, the stream waits. One that waits for its peer holds one.
///
/// # Errors
/// Those of recv(2), as items. It goes on after them.
///
/// # Dropping
/// Nothing is lost: a receive under way stays armed, and what it brings goes to the next on any handle of the stream.
#[must_use = "streams do nothing unless they are polled"]
pub struct RecvStream<M: Mode = Shared> {
    ring: RingOf<M>,
    fd: Fd<M>,
    receive: Option<ReadRingBuffer<M>>,
}

impl<M: Mode> RecvStream<M> {
    fn new(ring: &RingOf<M>, fd: &Fd<M>) -> Self {
        Self { ring: ring.clone(), fd: fd.clone(), receive: None }
    }
}

impl<M: Mode> Unpin for RecvStream<M> {}

impl<M: Mode> Stream for RecvStream<M> {
    type Item = io::Result<RingBuffer>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { ring, fd, receive } = self.get_mut();
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

impl<M: Mode> fmt::Debug for RecvStream<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvStream").field("fd", &self.fd).finish_non_exhaustive()
    }
}

macro_rules! recv_stream {
    ($type:ident) => {
        impl<M: Mode> $type<M> {
            /// What arrives, as a `Stream` of buffers that the ring lends; see [`RecvStream`](crate::io::RecvStream).
            pub fn recv_stream(&self) -> RecvStream<M> {
                RecvStream::new(self.ring(), self.fd())
            }
        }
    };
}
recv_stream!(TcpStream);
recv_stream!(UnixStream);
recv_stream!(PipeReader);

impl<S: net::Stream> OwnedReadHalf<S> {
    /// What arrives, as a `Stream` of buffers that the ring lends; see [`RecvStream`](crate::io::RecvStream).
    pub fn recv_stream(&self) -> RecvStream<S::Mode> {
        let Handle { ring, fd } = self.handle();
        RecvStream::new(ring, fd)
    }
}

type Receives<M, A> = Reception<M, PooledBuffer, Datagram<PooledBuffer, A>>;

/// The datagrams of a socket, as a `Stream` that never ends, each with its sender and in a buffer of 16 KiB that the ring
/// lends. A longer one is cut, and says so ([`Datagram::truncated`]); for those use `recv_from` with a buffer that
/// holds them.
///
/// Made by `recv_stream` of [`UdpSocket`] and [`UnixDatagram`], of which it is a handle. Buffers as for [`RecvStream`].
///
/// # Errors
/// Those of recvmsg(2), as items: `ECONNREFUSED` for an earlier datagram of a connected socket. It goes on after them.
///
/// # Dropping
/// Nothing is lost: a receive under way stays armed, and its datagram goes to the next on any handle of the socket.
#[must_use = "streams do nothing unless they are polled"]
pub struct Datagrams<M: Mode = Shared, A = SocketAddr> {
    handle: Handle<M>,
    begin: fn(&Handle<M>, PooledBuffer) -> Receives<M, A>,
    step: Step<M, A>,
}

enum Step<M: Mode, A> {
    Idle,
    Acquire(Acquire),
    Receive(Receives<M, A>),
}

impl<M: Mode, A> Unpin for Datagrams<M, A> {}

impl<M: Mode, A> Stream for Datagrams<M, A> {
    type Item = io::Result<Datagram<RingBuffer, A>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            match &mut this.step {
                Step::Idle => {
                    this.step = Step::Acquire(this.handle.ring.lender().pool().acquire());
                }
                Step::Acquire(acquire) => {
                    let buffer = ready!(Pin::new(acquire).poll(cx));
                    this.step = Step::Receive((this.begin)(&this.handle, buffer));
                }
                Step::Receive(receive) => {
                    let received = ready!(Pin::new(receive).poll(cx));
                    this.step = Step::Idle;
                    return Poll::Ready(Some(match received {
                        Ok(Datagram { count, buffer, address, truncated }) => {
                            let buffer = RingBuffer(buffer);
                            Ok(Datagram { count, buffer, address, truncated })
                        }
                        Err(failed) => Err(failed.into()),
                    }));
                }
            }
        }
    }
}

impl<M: Mode, A> fmt::Debug for Datagrams<M, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datagrams").field("fd", &self.handle.fd).finish_non_exhaustive()
    }
}

impl<M: Mode> UdpSocket<M> {
    /// The datagrams, as a `Stream`; see [`Datagrams`](crate::io::Datagrams).
    pub fn recv_stream(&self) -> Datagrams<M> {
        let handle = Handle::new(self.ring(), self.fd().clone());
        Datagrams { handle, begin: net::receive_ip, step: Step::Idle }
    }
}

impl<M: Mode> UnixDatagram<M> {
    /// The datagrams, as a `Stream`; see [`Datagrams`](crate::io::Datagrams).
    pub fn recv_stream(&self) -> Datagrams<M, UnixAddr> {
        let handle = Handle::new(self.ring(), self.fd().clone());
        Datagrams { handle, begin: net::receive_unix, step: Step::Idle }
    }
}
