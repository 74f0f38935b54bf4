//! What arrives with more than its bytes: datagrams with a sender.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::SocketAddr as UnixAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use safer_ring_backend::payload::{self, Received, RecvMsg};
use safer_ring_backend::sys::sockopt::{SOL_UDP, UDP_GRO};
use safer_ring_backend::{Mode, OpError, Operation};
use safer_ring_buf::IoBufMut;

use super::handle::Handle;
use crate::{Address, ControlMessage};

const MSG_TRUNC: u32 = 0x20;

/// A received datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram<B, A = SocketAddr> {
    /// Bytes received.
    pub count: usize,
    /// The buffer.
    pub buffer: B,
    /// Who sent it.
    pub address: A,
    /// Whether the datagram was longer than the buffer; what did not fit is lost.
    pub truncated: bool,
}

/// Datagrams of one sender and one length, joined by the kernel into one receive (`UDP_GRO`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segments<B> {
    /// Bytes received.
    pub count: usize,
    /// The buffer.
    pub buffer: B,
    /// Who sent them.
    pub address: SocketAddr,
    /// Whether they were longer than the buffer; what did not fit is lost.
    pub truncated: bool,
    /// Bytes of each datagram; the last may be shorter. It is `count` if nothing was joined.
    pub segment_size: usize,
}

/// The result of a receive, in the form that it is wanted in.
type Shape<B, T> = fn(Received<B>) -> Result<T, OpError<B>>;

/// The future of a receive that gives more than bytes.
///
/// # Dropping
/// As [`Ring::recv_msg`](crate::RingOf::recv_msg).
#[must_use = "an operation does nothing until it is awaited"]
pub struct Reception<M: Mode, B: IoBufMut, T> {
    operation: Operation<M, RecvMsg<B>>,
    shape: Shape<B, T>,
}

impl<M: Mode, B: IoBufMut, T> Reception<M, B, T> {
    /// recvmsg(2) with room for `control_len` bytes of control data.
    pub(crate) fn new(
        handle: &Handle<M>,
        buffer: B,
        control_len: usize,
        flags: u32,
        shape: Shape<B, T>,
    ) -> Self {
        let request = payload::recv_msg(&handle.fd, buffer, control_len, flags);
        Self { operation: handle.ring.try_start(request), shape }
    }
}

impl<M: Mode, B: IoBufMut, T> Unpin for Reception<M, B, T> {}

impl<M: Mode, B: IoBufMut, T> Future for Reception<M, B, T> {
    type Output = Result<T, OpError<B>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let received = ready!(Pin::new(&mut this.operation).poll(cx));
        Poll::Ready(received.and_then(this.shape))
    }
}

impl<M: Mode, B: IoBufMut, T> fmt::Debug for Reception<M, B, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reception").field("operation", &self.operation).finish_non_exhaustive()
    }
}

/// Receives a datagram and the IP address of its sender.
#[cfg(feature = "futures")]
pub(crate) fn receive_ip<M: Mode, B: IoBufMut>(
    handle: &Handle<M>,
    buffer: B,
) -> Reception<M, B, Datagram<B>> {
    Reception::new(handle, buffer, 0, 0, from_ip)
}

/// Receives a datagram and the Unix address of its sender.
#[cfg(feature = "futures")]
pub(crate) fn receive_unix<M: Mode, B: IoBufMut>(
    handle: &Handle<M>,
    buffer: B,
) -> Reception<M, B, Datagram<B, UnixAddr>> {
    Reception::new(handle, buffer, 0, 0, from_unix)
}

fn no_sender<B>(buffer: B) -> OpError<B> {
    let error = io::Error::new(io::ErrorKind::InvalidData, "the kernel named no sender");
    OpError::new(error, buffer)
}

/// A datagram with the IP address of its sender.
pub(crate) fn from_ip<B>(received: Received<B>) -> Result<Datagram<B>, OpError<B>> {
    let Received { count, buffer, address, flags, .. } = received;
    match address.and_then(|address| address.ip()) {
        Some(address) => Ok(Datagram { count, buffer, address, truncated: flags & MSG_TRUNC != 0 }),
        None => Err(no_sender(buffer)),
    }
}

/// A datagram with the Unix address of its sender, which may have none.
pub(crate) fn from_unix<B>(received: Received<B>) -> Result<Datagram<B, UnixAddr>, OpError<B>> {
    let Received { count, buffer, address, flags, .. } = received;
    let address = match address {
        Some(Address::Unix(address)) => Ok(address),
        // An empty path is how std says that there is no name.
        _ => UnixAddr::from_pathname(""),
    };
    match address {
        Ok(address) => Ok(Datagram { count, buffer, address, truncated: flags & MSG_TRUNC != 0 }),
        Err(error) => Err(OpError::new(error, buffer)),
    }
}

/// Datagrams that may have been joined.
pub(crate) fn joined<B>(mut received: Received<B>) -> Result<Segments<B>, OpError<B>> {
    let control = std::mem::take(&mut received.control);
    let size = control.iter().find_map(|message| match message {
        ControlMessage::Other { level: SOL_UDP, kind: UDP_GRO, data } => {
            usize::try_from(i32::from_ne_bytes(*data.first_chunk()?)).ok()
        }
        _ => None,
    });
    let Datagram { count, buffer, address, truncated } = from_ip(received)?;
    let segment_size = size.filter(|size| *size > 0).unwrap_or(count);
    Ok(Segments { count, buffer, address, truncated, segment_size })
}
