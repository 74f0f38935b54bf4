//! What arrives, as a `Stream` of buffers that the ring lends: [`RecvStream`] as one, and datagrams.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::SocketAddr as UnixAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use safer_ring_backend::{Mode, Shared};
use safer_ring_buf::{Acquire, PooledBuffer};

use crate::net::{self, Datagram, Handle, Reception, UdpSocket, UnixDatagram};
use crate::{RecvStream, RingBuffer};

impl<M: Mode> Stream for RecvStream<M> {
    type Item = io::Result<RingBuffer>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_receive(cx)
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
