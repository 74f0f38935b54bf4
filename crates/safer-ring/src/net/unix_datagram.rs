//! Unix datagram sockets.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::SocketAddr;
use std::path::Path;

use safer_ring_backend::beside::sockopt;
use safer_ring_backend::payload::{Read, SendMsg, Settled, Write};
use safer_ring_backend::{Mode, OpError, Operation, Shared, beside};
use safer_ring_buf::{IoBuf, IoBufMut};

use super::datagram::{self, Datagram, Reception};
use super::handle::{self, Handle, common_methods};
use super::options::buffer_options;
use super::unix::{self, ReceivedFds};
use crate::{Control, Fd, RingOf, Shutdown, SocketKind};

/// A Unix datagram socket; [`std::os::unix::net::UnixDatagram`] on a ring. See unix(7).
///
/// ```
/// # use safer_ring::Ring;
/// # use safer_ring::net::UnixDatagram;
/// # pollster::block_on(async {
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("socket");
/// # let ring = Ring::new(64)?;
/// let receiver = UnixDatagram::bind(&ring, &path).await?;
/// let sender = UnixDatagram::unbound(&ring).await?;
/// sender.send_to("a datagram", &path).await?;
/// let got = receiver.recv_from(vec![0; 100]).await?;
/// assert!(got.buffer == b"a datagram" && got.address.is_unnamed() && !got.truncated);
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
pub struct UnixDatagram<M: Mode = Shared> {
    handle: Handle<M>,
}

impl<M: Mode> UnixDatagram<M> {
    /// A socket at a path, which must not exist yet: bind(2). Dropping the socket does not remove the path.
    ///
    /// # Errors
    /// Those of socket(2), bind(2): `EADDRINUSE`. `InvalidInput` for a path of more than 107 bytes.
    ///
    /// # Dropping
    /// The socket is closed; the path may be there.
    pub async fn bind(ring: &RingOf<M>, path: impl AsRef<Path>) -> io::Result<Self> {
        Self::bind_addr(ring, &SocketAddr::from_pathname(path)?).await
    }

    /// A socket at an address, which may be an abstract one
    /// ([`from_abstract_name`](std::os::linux::net::SocketAddrExt::from_abstract_name)).
    ///
    /// # Errors
    /// As [`bind`](UnixDatagram::bind).
    ///
    /// # Dropping
    /// As [`bind`](UnixDatagram::bind).
    pub async fn bind_addr(ring: &RingOf<M>, address: &SocketAddr) -> io::Result<Self> {
        let socket = Self::unbound(ring).await?;
        ring.bind(socket.fd(), address.clone()).await?;
        Ok(socket)
    }

    /// A socket without an address: it can send, and receive once it is connected.
    ///
    /// # Errors
    /// Those of socket(2).
    ///
    /// # Dropping
    /// A socket that still arrives is closed.
    pub async fn unbound(ring: &RingOf<M>) -> io::Result<Self> {
        Ok(Self::from_fd(ring, unix::socket(ring, SocketKind::Datagram).await?))
    }

    /// Two sockets that are connected to each other: socketpair(2), a plain system call.
    ///
    /// # Errors
    /// Those of socketpair(2): `EMFILE`.
    pub fn pair(ring: &RingOf<M>) -> io::Result<(Self, Self)> {
        if let Some(made) = beside::pair::<M>(ring.inner(), unix::DATAGRAM) {
            return made.map(|(a, b)| (Self::from_fd(ring, a), Self::from_fd(ring, b)));
        }
        let (a, b) = std::os::unix::net::UnixDatagram::pair()?;
        Ok((Self::from_std(ring, a), Self::from_std(ring, b)))
    }

    /// Sets the peer of [`send`](UnixDatagram::send): connect(2).
    ///
    /// # Errors
    /// Those of connect(2): `ENOENT`, `ECONNREFUSED`, `EPROTOTYPE`. `InvalidInput` for a path of more than 107 bytes.
    ///
    /// # Dropping
    /// The socket may have been connected.
    pub async fn connect(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.connect_addr(&SocketAddr::from_pathname(path)?).await
    }

    /// [`connect`](UnixDatagram::connect) to an address.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Dropping
    /// As there.
    pub async fn connect_addr(&self, address: &SocketAddr) -> io::Result<()> {
        let Handle { ring, fd } = &self.handle;
        ring.connect(fd, address.clone()).await
    }

    /// Sends the buffer's initialised bytes as a datagram to the peer: send(2). Waits while the peer's queue is full.
    ///
    /// # Errors
    /// Those of send(2), with the buffer: `ENOTCONN`, `ECONNREFUSED`, `EMSGSIZE`.
    ///
    /// # Dropping
    /// The send runs to its end, before later ones; its error comes with the next send, shutdown or close.
    pub fn send<B: IoBuf>(&self, buffer: B) -> Operation<M, Write<B>> {
        self.handle.write(buffer)
    }

    /// Receives a datagram, of which what does not fit into the buffer is lost: recv(2).
    /// [`recv_from`](UnixDatagram::recv_from) tells whether it fitted.
    ///
    /// # Errors
    /// Those of recv(2), with the buffer.
    ///
    /// # Dropping
    /// Nothing is lost: the receive stays armed, and its datagram goes to the next receive on this socket.
    pub fn recv<B: IoBufMut>(&self, buffer: B) -> Operation<M, Read<B>> {
        self.handle.read(buffer)
    }

    /// Receives a datagram and leaves it where it is: recv(2) with `MSG_PEEK`.
    ///
    /// # Errors
    /// Those of recv(2), with the buffer.
    ///
    /// # Dropping
    /// Cancels; nothing is lost, since nothing is taken.
    pub fn peek<B: IoBufMut>(&self, buffer: B) -> Operation<M, Read<B>> {
        self.handle.peek(buffer)
    }

    /// Sends the buffer's initialised bytes as a datagram to the socket at a path: sendmsg(2).
    ///
    /// # Errors
    /// Those of sendmsg(2), with the buffer: `ENOENT`, `ECONNREFUSED`, `EMSGSIZE`. `InvalidInput` for a path of more
    /// than 107 bytes.
    ///
    /// # Dropping
    /// As [`send`](UnixDatagram::send).
    pub fn send_to<B: IoBuf>(&self, buffer: B, path: impl AsRef<Path>) -> Operation<M, SendMsg<B>> {
        match SocketAddr::from_pathname(path) {
            Ok(address) => self.send_to_addr(buffer, &address),
            Err(error) => self.handle.ring.try_start(Err(Err(OpError::new(error, buffer)))),
        }
    }

    /// [`send_to`](UnixDatagram::send_to) an address.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Dropping
    /// As there.
    pub fn send_to_addr<B: IoBuf>(
        &self,
        buffer: B,
        address: &SocketAddr,
    ) -> Operation<M, SendMsg<B>> {
        let Handle { ring, fd } = &self.handle;
        ring.send_msg(fd, buffer, Some(&address.clone().into()), Control::new())
    }

    /// Receives a datagram with its sender's address, and whether it fitted: recvmsg(2).
    ///
    /// # Errors
    /// Those of recvmsg(2), with the buffer.
    ///
    /// # Dropping
    /// As [`Ring::recv_msg`](crate::RingOf::recv_msg).
    pub fn recv_from<B: IoBufMut>(&self, buffer: B) -> Reception<M, B, Datagram<B, SocketAddr>> {
        Reception::new(&self.handle, buffer, 0, 0, datagram::from_unix)
    }

    /// Sends a datagram with descriptors to the peer: sendmsg(2) with `SCM_RIGHTS`. At most 253. They are duplicated
    /// now: the caller's may be closed at any time.
    ///
    /// # Errors
    /// Those of [`send`](UnixDatagram::send) and sendmsg(2): `EMFILE`, `EINVAL` for too many.
    ///
    /// # Dropping
    /// As [`send`](UnixDatagram::send).
    pub fn send_with_fds<B: IoBuf, F: AsFd>(
        &self,
        buffer: B,
        fds: &[F],
    ) -> Operation<M, SendMsg<B>> {
        unix::send_with_fds(&self.handle, buffer, fds)
    }

    /// Receives a datagram with up to `max` descriptors, close-on-exec: recvmsg(2).
    ///
    /// # Errors
    /// Those of recvmsg(2), with the buffer.
    ///
    /// # Dropping
    /// As [`Ring::recv_msg`](crate::RingOf::recv_msg).
    pub fn recv_with_fds<B: IoBufMut>(
        &self,
        buffer: B,
        max: usize,
    ) -> Reception<M, B, ReceivedFds<B>> {
        Reception::new(&self.handle, buffer, unix::control_len(max), 0, unix::with_fds)
    }

    /// Ends one or both directions: shutdown(2).
    ///
    /// # Errors
    /// Those of shutdown(2): `ENOTCONN`.
    ///
    /// # Dropping
    /// It runs to its end.
    pub fn shutdown(&self, how: impl Into<Shutdown>) -> Operation<M, Settled> {
        self.handle.ring.shutdown(&self.handle.fd, how)
    }

    /// The address it is bound to: getsockname(2).
    ///
    /// # Errors
    /// Those of getsockname(2), and `EMFILE`: the descriptor is duplicated for the call.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        beside::local_unix(self)
    }

    /// The address of the peer, if it is connected: getpeername(2).
    ///
    /// # Errors
    /// Those of getpeername(2): `ENOTCONN`; `EMFILE`: the descriptor is duplicated for the call.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        beside::peer_unix(self)
    }

    /// The error that is pending on the socket (`SO_ERROR`), which is cleared.
    ///
    /// # Errors
    /// Those of getsockopt(2).
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        handle::take_error(self)
    }
}

common_methods!(UnixDatagram, std::os::unix::net::UnixDatagram);
buffer_options!(UnixDatagram);
