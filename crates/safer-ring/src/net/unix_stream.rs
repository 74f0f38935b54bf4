//! Unix stream sockets.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use safer_ring_backend::beside::sockopt;
use safer_ring_backend::payload::{Read, ReadVectored, SendMsg, Settled, Write, WriteVectored};
use safer_ring_backend::{Mode, OpError, Operation, Shared, beside};
use safer_ring_buf::{IoBuf, IoBufMut};

use super::datagram::Reception;
use super::handle::{self, Handle, common_methods, read_methods, write_methods};
use super::options::buffer_options;
use super::split::{self, OwnedReadHalf, OwnedWriteHalf, ReadHalf, Stream, WriteHalf};
use super::transfer::{ReadExact, WriteAll, WriteAllVectored};
use super::unix::{self, ReceivedFds, UCred};
use crate::{Fd, RingOf, Shutdown, SocketKind};

/// A Unix stream; [`std::os::unix::net::UnixStream`] on a ring. See unix(7).
///
/// Each direction may be used by a task of its own, as of a [`TcpStream`](super::TcpStream).
///
/// ```
/// use std::io::Read;
/// use safer_ring::Ring;
/// use safer_ring::net::UnixStream;
///
/// # pollster::block_on(async {
/// let ring = Ring::new(64)?;
/// let (a, b) = UnixStream::pair(&ring)?;
/// // Pass an open file to the other side.
/// a.send_with_fds("a file", &[std::fs::File::open("/proc/self/status")?]).await?;
/// let got = b.recv_with_fds(vec![0; 100], 1).await?;
/// assert_eq!(&got.buffer[..], b"a file");
/// let mut file = std::fs::File::from(got.fds.into_iter().next().unwrap());
/// let mut text = String::new();
/// file.read_to_string(&mut text)?;
/// assert!(text.starts_with("Name:"));
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
pub struct UnixStream<M: Mode = Shared> {
    handle: Handle<M>,
}

impl<M: Mode> UnixStream<M> {
    /// Connects to a socket at a path: connect(2).
    ///
    /// # Errors
    /// Those of socket(2), connect(2): `ENOENT`, `ECONNREFUSED`. `InvalidInput` for a path of more than 107 bytes.
    ///
    /// # Dropping
    /// The attempt is cancelled and the socket closed. The peer may have seen a connection.
    pub async fn connect(ring: &RingOf<M>, path: impl AsRef<Path>) -> io::Result<Self> {
        Self::connect_addr(ring, &SocketAddr::from_pathname(path)?).await
    }

    /// [`connect`](UnixStream::connect) to an address, which may be an abstract one
    /// ([`from_abstract_name`](std::os::linux::net::SocketAddrExt::from_abstract_name)).
    ///
    /// # Errors
    /// As there.
    ///
    /// # Dropping
    /// As there.
    pub async fn connect_addr(ring: &RingOf<M>, address: &SocketAddr) -> io::Result<Self> {
        let fd = unix::socket(ring, SocketKind::Stream).await?;
        ring.connect(&fd, address.clone()).await?;
        Ok(Self::from_fd(ring, fd))
    }

    /// Two sockets that are connected to each other: socketpair(2), a plain system call.
    ///
    /// # Errors
    /// Those of socketpair(2): `EMFILE`.
    pub fn pair(ring: &RingOf<M>) -> io::Result<(Self, Self)> {
        if let Some(made) = beside::pair::<M>(ring.inner(), unix::STREAM) {
            return made.map(|(a, b)| (Self::from_fd(ring, a), Self::from_fd(ring, b)));
        }
        let (a, b) = std::os::unix::net::UnixStream::pair()?;
        Ok((Self::from_std(ring, a), Self::from_std(ring, b)))
    }

    fn handle(&self) -> &Handle<M> {
        &self.handle
    }

    read_methods!(M);
    write_methods!(M);

    /// Sends the buffer's initialised bytes, and descriptors with the first of them: sendmsg(2) with `SCM_RIGHTS`. May
    /// send fewer bytes, but all descriptors, at most 253. They are duplicated now: the caller's may be closed at any
    /// time.
    ///
    /// # Errors
    /// Those of [`write`](UnixStream::write) and sendmsg(2), with the buffer: `EMFILE`, `EINVAL` for too many.
    /// `InvalidInput` for descriptors without a byte, which the kernel would drop.
    ///
    /// # Dropping
    /// As [`write`](UnixStream::write).
    pub fn send_with_fds<B: IoBuf, F: AsFd>(
        &self,
        buffer: B,
        fds: &[F],
    ) -> Operation<M, SendMsg<B>> {
        if buffer.len_init() == 0 && !fds.is_empty() {
            let error = io::Error::new(
                io::ErrorKind::InvalidInput,
                "descriptors travel with a byte: the buffer is empty",
            );
            return self.handle.ring.try_start(Err(Err(OpError::new(error, buffer))));
        }
        unix::send_with_fds(&self.handle, buffer, fds)
    }

    /// Receives into `buffer`, and up to `max` descriptors that were sent with the bytes: recvmsg(2). They are
    /// close-on-exec. Bytes with descriptors end a receive, so those that belong to different sends are not mixed.
    ///
    /// # Errors
    /// As [`read`](UnixStream::read).
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

    /// Ends one or both directions: shutdown(2). It waits for dropped sends, but for `Shutdown::Read`.
    /// [`abort`](Self::abort) waits for nothing.
    ///
    /// # Errors
    /// Those of shutdown(2): `ENOTCONN`.
    ///
    /// # Dropping
    /// It runs to its end.
    pub fn shutdown(&self, how: impl Into<Shutdown>) -> Operation<M, Settled> {
        self.handle.ring.shutdown(&self.handle.fd, how)
    }

    /// The address it is bound to, unnamed in most cases: getsockname(2).
    ///
    /// # Errors
    /// Those of getsockname(2), and `EMFILE`: the descriptor is duplicated for the call.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        beside::local_unix(self)
    }

    /// The address of the peer: getpeername(2).
    ///
    /// # Errors
    /// Those of getpeername(2): `ENOTCONN`; `EMFILE`: the descriptor is duplicated for the call.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        beside::peer_unix(self)
    }

    /// Who the peer was when it connected or listened: `SO_PEERCRED`.
    ///
    /// # Errors
    /// Those of getsockopt(2).
    pub fn peer_cred(&self) -> io::Result<UCred> {
        unix::peer_cred(self)
    }

    /// The error that is pending on the socket (`SO_ERROR`), which is cleared.
    ///
    /// # Errors
    /// Those of getsockopt(2).
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        handle::take_error(self)
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

impl<M: Mode> Stream for UnixStream<M> {
    type Mode = M;
}

impl<M: Mode> split::sealed::Split<M> for UnixStream<M> {
    fn handle(&self) -> &Handle<M> {
        &self.handle
    }

    fn from_handle(handle: Handle<M>) -> Self {
        Self { handle }
    }
}

common_methods!(UnixStream, std::os::unix::net::UnixStream);
buffer_options!(UnixStream);
