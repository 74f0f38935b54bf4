//! TCP: listeners and streams.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use safer_ring_backend::beside::sockopt;
use safer_ring_backend::payload::{Read, ReadVectored, Settled, Write, WriteVectored};
use safer_ring_backend::{Mode, OpError, Operation, Shared, beside};
use safer_ring_buf::{IoBuf, IoBufMut};

use super::addr::{self, ToSocketAddrs};
use super::handle::{self, Handle, common_methods, read_methods, write_methods};
use super::options::{self, Keepalive, buffer_options, ip_options, tcp_options};
use super::split::{self, OwnedReadHalf, OwnedWriteHalf, ReadHalf, Stream, WriteHalf};
use super::tcp_socket::TcpSocket;
use super::transfer::{ReadExact, WriteAll, WriteAllVectored};
use crate::{Fd, RingOf, Shutdown};

/// Connections that may wait to be accepted; the kernel's limit is `net.core.somaxconn`.
const BACKLOG: u32 = 1024;

/// A TCP socket that accepts connections; [`std::net::TcpListener`] on a ring.
///
/// ```
/// use safer_ring::Ring;
/// use safer_ring::net::{TcpListener, TcpStream};
///
/// # pollster::block_on(async {
/// let ring = Ring::new(64)?;
/// let listener = TcpListener::bind(&ring, "127.0.0.1:0").await?;
/// let client = TcpStream::connect(&ring, listener.local_addr()?).await?;
/// let (server, peer) = listener.accept().await?;
/// assert_eq!(peer, client.local_addr()?);
/// client.write_all("hello").await?;
/// let (n, got) = server.read(vec![0; 100]).await?;
/// assert_eq!((n, &got[..]), (5, &b"hello"[..]));
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
pub struct TcpListener<M: Mode = Shared> {
    handle: Handle<M>,
}

/// A TCP connection; [`std::net::TcpStream`] on a ring.
///
/// Each direction may be used by a task of its own, through references or [halves](TcpStream::into_split). Within a
/// direction, start one operation after the other has ended: those that are in flight together take place in no
/// particular order.
///
/// ```
/// # use safer_ring::{IoBuf, Ring};
/// # use safer_ring::net::{TcpListener, TcpStream};
/// # pollster::block_on(async {
/// # let ring = Ring::new(64)?;
/// # let listener = TcpListener::bind(&ring, "localhost:0").await?;
/// let stream = TcpStream::connect(&ring, listener.local_addr()?).await?;
/// # let (peer, _) = listener.accept().await?;
/// stream.set_nodelay(true)?;
/// let message = stream.write_all(b"all of it".to_vec()).await?;
/// # let message = peer.write_all(message).await?;
/// // The buffer comes back; its slice says how much is to be read.
/// let reply = stream.read_exact(message.slice(..3)).await?;
/// assert_eq!(&reply[..], b"all");
/// // An error has the buffer in it, and says how far the transfer came.
/// drop(peer);
/// let error = stream.read_exact(vec![0; 100]).await.unwrap_err();
/// assert_eq!((error.transferred, error.buffer.len()), (6, 100));
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
pub struct TcpStream<M: Mode = Shared> {
    handle: Handle<M>,
}

impl<M: Mode> TcpListener<M> {
    /// Listens at the first of the addresses that can be bound, with `SO_REUSEADDR` and room for 1024 connections
    /// that wait: bind(2), listen(2). Port 0 takes a free one. For other options: [`TcpSocket`].
    ///
    /// # Errors
    /// Of the last address that was tried: those of socket(2), bind(2), listen(2). Those of a name's look-up.
    ///
    /// # Dropping
    /// The socket is closed.
    pub async fn bind(ring: &RingOf<M>, addr: impl ToSocketAddrs) -> io::Result<Self> {
        addr::first!(ring, addr, |address| Self::bind_one(ring, address))
    }

    async fn bind_one(ring: &RingOf<M>, address: SocketAddr) -> io::Result<Self> {
        let socket = TcpSocket::new_for(ring, &address).await?;
        socket.set_reuseaddr(true)?;
        socket.bind(address).await?;
        socket.listen(BACKLOG).await
    }

    /// Waits for a connection: accept4(2). Gives it and the address of its peer.
    ///
    /// # Errors
    /// Those of accept(2), after which the listener still works: `EMFILE` above all, `ECONNABORTED`.
    ///
    /// # Dropping
    /// Nothing is lost: a connection that arrives all the same goes to the next accept on this listener.
    pub async fn accept(&self) -> io::Result<(TcpStream<M>, SocketAddr)> {
        let Handle { ring, fd } = &self.handle;
        let (fd, address) = ring.accept(fd).await?;
        let stream = TcpStream::from_fd(ring, fd);
        let address = match address.and_then(|address| address.ip()) {
            Some(address) => address,
            None => stream.peer_addr()?,
        };
        Ok((stream, address))
    }
}

impl<M: Mode> TcpStream<M> {
    /// Connects to the first of the addresses that answers: connect(2). For options before that: [`TcpSocket`].
    ///
    /// # Errors
    /// Of the last address that was tried: those of socket(2), connect(2). Those of a name's look-up.
    ///
    /// # Dropping
    /// The attempt is cancelled and the socket closed. The peer may have seen a connection.
    pub async fn connect(ring: &RingOf<M>, addr: impl ToSocketAddrs) -> io::Result<Self> {
        addr::first!(ring, addr, |address| Self::connect_one(ring, address))
    }

    async fn connect_one(ring: &RingOf<M>, address: SocketAddr) -> io::Result<Self> {
        TcpSocket::new_for(ring, &address).await?.connect(address).await
    }

    fn handle(&self) -> &Handle<M> {
        &self.handle
    }

    read_methods!(M);
    write_methods!(M);

    /// Ends one or both directions: shutdown(2). The peer sees the end after what was sent before, so it waits for dropped
    /// sends, but for `Shutdown::Read`. [`abort`](Self::abort) waits for nothing.
    ///
    /// # Errors
    /// Those of shutdown(2): `ENOTCONN`.
    ///
    /// # Dropping
    /// It runs to its end.
    pub fn shutdown(&self, how: impl Into<Shutdown>) -> Operation<M, Settled> {
        self.handle.ring.shutdown(&self.handle.fd, how)
    }

    /// The address of the peer: getpeername(2).
    ///
    /// # Errors
    /// Those of getpeername(2): `ENOTCONN`.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        beside::peer_ip(self)
    }

    /// The two directions, borrowed: for two futures that are awaited together.
    pub fn split(&self) -> (ReadHalf<'_, Self>, WriteHalf<'_, Self>) {
        split::split(self)
    }

    /// The two directions as handles of their own: for two tasks. Dropping the writing one ends its direction, as with
    /// tokio's ([`OwnedWriteHalf`]); dropping the reading one ends nothing.
    pub fn into_split(self) -> (OwnedReadHalf<Self>, OwnedWriteHalf<Self>) {
        split::into_split(self)
    }
}

impl<M: Mode> Stream for TcpStream<M> {
    type Mode = M;
}

impl<M: Mode> split::sealed::Split<M> for TcpStream<M> {
    fn handle(&self) -> &Handle<M> {
        &self.handle
    }

    fn from_handle(handle: Handle<M>) -> Self {
        Self { handle }
    }
}

common_methods!(TcpListener, std::net::TcpListener);
ip_options!(TcpListener);
common_methods!(TcpStream, std::net::TcpStream);
ip_options!(TcpStream);
tcp_options!(TcpStream);
buffer_options!(TcpStream);
