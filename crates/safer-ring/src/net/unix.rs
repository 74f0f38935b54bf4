//! What Unix sockets have in common, and their listeners.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::SocketAddr;
use std::path::Path;

use safer_ring_backend::payload::{Received, SendMsg};
use safer_ring_backend::{Mode, OpError, Operation, Shared, beside};
use safer_ring_buf::IoBuf;

use super::handle::{self, Handle, common_methods};
use super::unix_stream::UnixStream;
use crate::{Address, Control, ControlMessage, Fd, RingOf, SocketKind};

const BACKLOG: u32 = 1024;
/// `SOCK_STREAM` and `SOCK_DGRAM`.
pub(super) const STREAM: u32 = 1;
pub(super) const DATAGRAM: u32 = 2;
const MSG_CTRUNC: u32 = 0x8;
/// `SCM_MAX_FD`: descriptors in one message.
const MAX_FDS: usize = 253;
/// `sizeof(struct cmsghdr)`, and of a descriptor in it.
const CONTROL_HEADER: usize = 16;
const CONTROL_FD: usize = 4;

/// Who made the other end of a Unix socket, as it was at that time: `SO_PEERCRED` of unix(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UCred {
    /// Process; `None` if it is in a PID namespace that this process does not see.
    pub pid: Option<u32>,
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
}

pub(crate) fn peer_cred(fd: &impl AsFd) -> io::Result<UCred> {
    let found = beside::sockopt::peer_credentials(fd)?;
    let pid = u32::try_from(found.pid).ok().filter(|pid| *pid != 0);
    Ok(UCred { pid, uid: found.uid, gid: found.gid })
}

/// Bytes that came with descriptors.
#[derive(Debug)]
pub struct ReceivedFds<B> {
    /// Bytes received.
    pub count: usize,
    /// The buffer.
    pub buffer: B,
    /// The descriptors, close-on-exec.
    pub fds: Vec<OwnedFd>,
    /// Whether more came than there was room for (`MSG_CTRUNC`); the kernel has closed those.
    pub fds_truncated: bool,
}

/// Room for so many descriptors, and not one more.
pub(crate) fn control_len(fds: usize) -> usize {
    match fds.min(MAX_FDS) {
        0 => 0,
        fds => CONTROL_HEADER + CONTROL_FD * fds,
    }
}

pub(crate) fn with_fds<B>(received: Received<B>) -> Result<ReceivedFds<B>, OpError<B>> {
    let Received { count, buffer, control, flags, .. } = received;
    let mut fds = Vec::new();
    for message in control {
        if let ControlMessage::Descriptors(some) = message {
            fds.extend(some);
        }
    }
    Ok(ReceivedFds { count, buffer, fds, fds_truncated: flags & MSG_CTRUNC != 0 })
}

/// A send with descriptors, or the reason why there is none.
pub(crate) fn send_with_fds<M: Mode, B: IoBuf, F: AsFd>(
    handle: &Handle<M>,
    buffer: B,
    fds: &[F],
) -> Operation<M, SendMsg<B>> {
    let mut control = Control::new();
    if !fds.is_empty()
        && let Err(error) = control.descriptors(fds)
    {
        return handle.ring.try_start(Err(Err(OpError::new(error, buffer))));
    }
    handle.ring.send_msg(&handle.fd, buffer, None, control)
}

/// A new socket for Unix addresses.
pub(crate) async fn socket<M: Mode>(ring: &RingOf<M>, kind: SocketKind) -> io::Result<Fd<M>> {
    const AF_UNIX: u16 = 1;
    ring.socket(&Address::Other { family: AF_UNIX, bytes: Vec::new() }, kind).await
}

/// A Unix socket that accepts connections; [`std::os::unix::net::UnixListener`] on a ring.
///
/// ```
/// use safer_ring::Ring;
/// use safer_ring::net::{UnixListener, UnixStream};
///
/// # pollster::block_on(async {
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("socket");
/// let ring = Ring::new(64)?;
/// let listener = UnixListener::bind(&ring, &path).await?;
/// let client = UnixStream::connect(&ring, &path).await?;
/// let (server, _) = listener.accept().await?;
/// assert_eq!(server.peer_cred()?.pid, Some(std::process::id()));
/// client.write_all("hello").await?;
/// assert_eq!(server.read(vec![0; 100]).await?.1, b"hello");
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
pub struct UnixListener<M: Mode = Shared> {
    handle: Handle<M>,
}

impl<M: Mode> UnixListener<M> {
    /// Listens at a path, which must not exist yet, with room for 1024 connections that wait: bind(2), listen(2).
    /// Dropping the listener does not remove the path.
    ///
    /// # Errors
    /// Those of socket(2), bind(2), listen(2): `EADDRINUSE`. `InvalidInput` for a path of more than 107 bytes.
    ///
    /// # Dropping
    /// The socket is closed; the path may be there.
    pub async fn bind(ring: &RingOf<M>, path: impl AsRef<Path>) -> io::Result<Self> {
        Self::bind_addr(ring, &SocketAddr::from_pathname(path)?).await
    }

    /// [`bind`](UnixListener::bind) to an address, which may be an abstract one
    /// ([`from_abstract_name`](std::os::linux::net::SocketAddrExt::from_abstract_name)).
    ///
    /// # Errors
    /// As there.
    ///
    /// # Dropping
    /// As there.
    pub async fn bind_addr(ring: &RingOf<M>, address: &SocketAddr) -> io::Result<Self> {
        let fd = socket(ring, SocketKind::Stream).await?;
        ring.bind(&fd, address.clone()).await?;
        ring.listen(&fd, BACKLOG).await?;
        Ok(Self::from_fd(ring, fd))
    }

    /// Waits for a connection: accept4(2). Gives it and the address of its peer, which is unnamed in most cases.
    ///
    /// # Errors
    /// Those of accept(2), after which the listener still works: `EMFILE` above all.
    ///
    /// # Dropping
    /// Nothing is lost: a connection that arrives all the same goes to the next accept on this listener.
    pub async fn accept(&self) -> io::Result<(UnixStream<M>, SocketAddr)> {
        let Handle { ring, fd } = &self.handle;
        let (fd, address) = ring.accept(fd).await?;
        let stream = UnixStream::from_fd(ring, fd);
        let address = match address {
            Some(Address::Unix(address)) => address,
            _ => stream.peer_addr()?,
        };
        Ok((stream, address))
    }

    /// The address it is bound to: getsockname(2).
    ///
    /// # Errors
    /// Those of getsockname(2), and `EMFILE`: the descriptor is duplicated for the call.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        beside::local_unix(self)
    }

    /// The error that is pending on the socket (`SO_ERROR`), which is cleared.
    ///
    /// # Errors
    /// Those of getsockopt(2).
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        handle::take_error(self)
    }
}

common_methods!(UnixListener, std::os::unix::net::UnixListener);
