//! A TCP socket before it listens or is connected.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use safer_ring_backend::beside::sockopt;
use safer_ring_backend::payload::Plain;
use safer_ring_backend::{Mode, OpError, Operation, Shared, beside};

use super::handle::{self, Handle, common_methods};
use super::options::{self, Keepalive, buffer_options, ip_options, tcp_options};
use super::tcp::{TcpListener, TcpStream};
use crate::{Address, Fd, RingOf, SocketKind};

/// A TCP socket that has not been used yet: for options that count from the start, and to bind before connecting.
///
/// ```
/// # use safer_ring::Ring;
/// # use safer_ring::net::{TcpSocket, TcpStream};
/// # pollster::block_on(async {
/// # let ring = Ring::new(64)?;
/// let socket = TcpSocket::new_v4(&ring).await?;
/// socket.set_reuseport(true)?;
/// socket.set_recv_buffer_size(64 * 1024)?;
/// socket.bind("127.0.0.1:0".parse().unwrap()).await?;
/// let listener = socket.listen(16).await?;
/// # TcpStream::connect(&ring, listener.local_addr()?).await?;
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
pub struct TcpSocket<M: Mode = Shared> {
    handle: Handle<M>,
}

impl<M: Mode> TcpSocket<M> {
    /// A socket for IPv4: socket(2).
    ///
    /// # Errors
    /// Those of socket(2).
    ///
    /// # Dropping
    /// A socket that still arrives is closed.
    pub async fn new_v4(ring: &RingOf<M>) -> io::Result<Self> {
        Self::new_for(ring, &SocketAddr::from(([0, 0, 0, 0], 0))).await
    }

    /// A socket for IPv6, and for IPv4 if it is bound to `::` and not [`only_v6`](TcpSocket::set_only_v6): socket(2).
    ///
    /// # Errors
    /// Those of socket(2): `EAFNOSUPPORT`.
    ///
    /// # Dropping
    /// A socket that still arrives is closed.
    pub async fn new_v6(ring: &RingOf<M>) -> io::Result<Self> {
        Self::new_for(ring, &SocketAddr::from(([0_u16; 8], 0))).await
    }

    /// A socket for addresses of the family of `address`: socket(2).
    ///
    /// # Errors
    /// Those of socket(2).
    ///
    /// # Dropping
    /// A socket that still arrives is closed.
    pub async fn new_for(ring: &RingOf<M>, address: &SocketAddr) -> io::Result<Self> {
        let fd = ring.socket(&Address::Ip(*address), SocketKind::Stream).await?;
        Ok(Self::from_fd(ring, fd))
    }

    /// Gives it an address: bind(2). Kernel 6.11, before that a plain system call.
    ///
    /// # Errors
    /// Those of bind(2): `EADDRINUSE`, `EADDRNOTAVAIL`.
    ///
    /// # Dropping
    /// It runs to its end.
    pub fn bind(&self, address: SocketAddr) -> Operation<M, Plain> {
        self.handle.ring.bind(&self.handle.fd, address)
    }

    /// Listens, with room for `backlog` connections that wait (at most `net.core.somaxconn`): listen(2). Kernel 6.11,
    /// before that a plain system call.
    ///
    /// # Errors
    /// Those of listen(2).
    ///
    /// # Dropping
    /// The socket is closed.
    pub async fn listen(self, backlog: u32) -> io::Result<TcpListener<M>> {
        let Handle { ring, fd } = self.handle;
        ring.listen(&fd, backlog).await?;
        Ok(TcpListener::from_fd(&ring, fd))
    }

    /// Connects: connect(2).
    ///
    /// # Errors
    /// Those of connect(2); the socket is closed.
    ///
    /// # Dropping
    /// The attempt is cancelled and the socket closed. The peer may have seen a connection.
    pub async fn connect(self, address: SocketAddr) -> io::Result<TcpStream<M>> {
        let Handle { ring, fd } = self.handle;
        ring.connect(&fd, address).await?;
        Ok(TcpStream::from_fd(&ring, fd))
    }

    /// Whether sockets may be bound to one address together, and share its connections (`SO_REUSEPORT`).
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub fn set_reuseport(&self, reuse: bool) -> io::Result<()> {
        Ok(sockopt::set_socket_reuseport(self, reuse)?)
    }

    /// Whether sockets may be bound to one address together.
    ///
    /// # Errors
    /// Those of getsockopt(2).
    pub fn reuseport(&self) -> io::Result<bool> {
        Ok(sockopt::socket_reuseport(self)?)
    }

    /// Whether an IPv6 socket leaves IPv4 alone (`IPV6_V6ONLY`).
    ///
    /// # Errors
    /// Those of setsockopt(2): `ENOPROTOOPT` on an IPv4 socket, `EINVAL` once it is bound.
    pub fn set_only_v6(&self, only: bool) -> io::Result<()> {
        Ok(sockopt::set_ipv6_v6only(self, only)?)
    }

    /// Whether an IPv6 socket leaves IPv4 alone.
    ///
    /// # Errors
    /// Those of getsockopt(2): `EOPNOTSUPP` on an IPv4 socket.
    pub fn only_v6(&self) -> io::Result<bool> {
        Ok(sockopt::ipv6_v6only(self)?)
    }
}

common_methods!(TcpSocket, std::net::TcpStream);
ip_options!(TcpSocket);
tcp_options!(TcpSocket);
buffer_options!(TcpSocket);
