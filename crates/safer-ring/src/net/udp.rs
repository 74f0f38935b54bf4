//! UDP.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use safer_ring_backend::beside::sockopt;
use safer_ring_backend::payload::{self, Read, SendMsg, Write};
use safer_ring_backend::sys::sockopt::{SOL_UDP, UDP_SEGMENT};
use safer_ring_backend::{Mode, OpError, Operation, Shared, beside};
use safer_ring_buf::{IoBuf, IoBufMut};

use super::addr::{self, ToSocketAddrs};
use super::datagram::{self, Datagram, Reception, Segments};
use super::handle::{self, Handle, common_methods};
use super::options::{self, buffer_options, ip_options};
use crate::{Address, Control, Fd, RingOf, SocketKind};

/// `CMSG_SPACE(sizeof(int))`: the size of joined datagrams.
const GRO_CONTROL: usize = 24;

/// A UDP socket; [`std::net::UdpSocket`] on a ring. See udp(7).
///
/// ```
/// use safer_ring::Ring;
/// use safer_ring::net::UdpSocket;
///
/// # pollster::block_on(async {
/// let ring = Ring::new(64)?;
/// let a = UdpSocket::bind(&ring, "127.0.0.1:0").await?;
/// let b = UdpSocket::bind(&ring, "127.0.0.1:0").await?;
/// a.send_to("a datagram", b.local_addr()?).await?;
/// let got = b.recv_from(vec![0; 4]).await?;
/// assert_eq!((got.count, &got.buffer[..]), (4, &b"a da"[..]));
/// assert_eq!(got.address, a.local_addr()?);
/// assert!(got.truncated);
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
pub struct UdpSocket<M: Mode = Shared> {
    pub(super) handle: Handle<M>,
}

impl<M: Mode> UdpSocket<M> {
    /// A socket bound to the first of the addresses that can be: bind(2). Port 0 takes a free one.
    ///
    /// # Errors
    /// Of the last address that was tried: those of socket(2), bind(2). Those of a name's look-up.
    ///
    /// # Dropping
    /// The socket is closed.
    pub async fn bind(ring: &RingOf<M>, addr: impl ToSocketAddrs) -> io::Result<Self> {
        addr::first!(ring, addr, |address| Self::bind_one(ring, address))
    }

    async fn bind_one(ring: &RingOf<M>, address: SocketAddr) -> io::Result<Self> {
        let fd = ring.socket(&Address::Ip(address), SocketKind::Datagram).await?;
        ring.bind(&fd, address).await?;
        Ok(Self::from_fd(ring, fd))
    }

    /// Sets the peer of [`send`](UdpSocket::send), and the only one whose datagrams are received: connect(2). The first
    /// of the addresses that is taken.
    ///
    /// # Errors
    /// Of the last address that was tried: those of connect(2). Those of a name's look-up.
    ///
    /// # Dropping
    /// The socket may have been connected.
    pub async fn connect(&self, addr: impl ToSocketAddrs) -> io::Result<()> {
        let Handle { ring, fd } = &self.handle;
        addr::first!(ring, addr, |address| ring.connect(fd, address))
    }

    /// The address of the peer, if it is connected: getpeername(2).
    ///
    /// # Errors
    /// Those of getpeername(2): `ENOTCONN`.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        beside::peer_ip(self)
    }

    /// Sends the buffer's initialised bytes as a datagram to the peer: send(2).
    ///
    /// # Errors
    /// Those of send(2), with the buffer: `EDESTADDRREQ`, `EMSGSIZE`; `ECONNREFUSED` for an earlier datagram.
    ///
    /// # Dropping
    /// The send runs to its end, before later ones; its error comes with the next send or close.
    pub fn send<B: IoBuf>(&self, buffer: B) -> Operation<M, Write<B>> {
        self.handle.write(buffer)
    }

    /// Receives a datagram, of which what does not fit into the buffer is lost: recv(2).
    /// [`recv_from`](UdpSocket::recv_from) tells whether it fitted.
    ///
    /// # Errors
    /// Those of recv(2), with the buffer: `ECONNREFUSED` for an earlier datagram of a connected socket.
    ///
    /// # Dropping
    /// Nothing is lost: the receive stays armed, and its datagram goes to the next receive on this socket.
    pub fn recv<B: IoBufMut>(&self, buffer: B) -> Operation<M, Read<B>> {
        self.handle.read(buffer)
    }

    /// Receives a datagram and leaves it where it is: recv(2) with `MSG_PEEK`.
    ///
    /// # Errors
    /// As [`recv`](UdpSocket::recv).
    ///
    /// # Dropping
    /// Cancels; nothing is lost, since nothing is taken.
    pub fn peek<B: IoBufMut>(&self, buffer: B) -> Operation<M, Read<B>> {
        self.handle.peek(buffer)
    }

    /// Sends the buffer's initialised bytes as a datagram to `target`: sendmsg(2).
    ///
    /// # Errors
    /// Those of sendmsg(2), with the buffer: `EMSGSIZE`, `EACCES` for a broadcast that is not allowed.
    ///
    /// # Dropping
    /// As [`send`](UdpSocket::send).
    pub fn send_to<B: IoBuf>(&self, buffer: B, target: SocketAddr) -> Operation<M, SendMsg<B>> {
        let Handle { ring, fd } = &self.handle;
        ring.send_msg(fd, buffer, Some(&target.into()), Control::new())
    }

    /// Receives a datagram with its sender's address, and whether it fitted: recvmsg(2).
    ///
    /// # Errors
    /// As [`recv`](UdpSocket::recv).
    ///
    /// # Dropping
    /// As [`Ring::recv_msg`](crate::RingOf::recv_msg).
    pub fn recv_from<B: IoBufMut>(&self, buffer: B) -> Reception<M, B, Datagram<B>> {
        Reception::new(&self.handle, buffer, 0, 0, datagram::from_ip)
    }

    /// Receives a datagram with its sender's address and leaves it where it is: recvmsg(2) with `MSG_PEEK`.
    ///
    /// # Errors
    /// As [`recv`](UdpSocket::recv).
    ///
    /// # Dropping
    /// Cancels; nothing is lost, since nothing is taken.
    pub fn peek_from<B: IoBufMut>(&self, buffer: B) -> Reception<M, B, Datagram<B>> {
        Reception::new(&self.handle, buffer, 0, payload::PEEK, datagram::from_ip)
    }

    /// Sends the buffer as datagrams of `segment_size` bytes, the last one shorter, in one call: sendmsg(2) with
    /// `UDP_SEGMENT`. To `target`, or to the peer of a connected socket. Kernel 4.18.
    ///
    /// # Errors
    /// Those of sendmsg(2), with the buffer: `EINVAL` for more datagrams than the kernel makes of one send (64, newer
    /// kernels more), `EINVAL` or `EMSGSIZE` for datagrams that do not fit into a packet, `EMSGSIZE` for more than
    /// 65,507 bytes together. `InvalidInput` for a size of 0.
    ///
    /// # Dropping
    /// As [`send`](UdpSocket::send).
    pub fn send_segments<B: IoBuf>(
        &self,
        buffer: B,
        segment_size: u16,
        target: Option<SocketAddr>,
    ) -> Operation<M, SendMsg<B>> {
        let Handle { ring, fd } = &self.handle;
        let mut control = Control::new();
        let refused = if segment_size == 0 {
            // For the kernel it would mean "whole".
            Some(io::Error::new(io::ErrorKind::InvalidInput, "a segment has at least one byte"))
        } else {
            control.push(SOL_UDP, UDP_SEGMENT, &segment_size.to_ne_bytes()).err()
        };
        match refused {
            Some(error) => ring.try_start(Err(Err(OpError::new(error, buffer)))),
            None => ring.send_msg(fd, buffer, target.map(Address::from).as_ref(), control),
        }
    }

    /// Receives a datagram, or, after [`set_gro`](UdpSocket::set_gro), several of one sender that the kernel has joined,
    /// with their size: recvmsg(2). A buffer of 65,536 bytes holds what can come.
    ///
    /// # Errors
    /// As [`recv`](UdpSocket::recv).
    ///
    /// # Dropping
    /// As [`Ring::recv_msg`](crate::RingOf::recv_msg).
    pub fn recv_segments<B: IoBufMut>(&self, buffer: B) -> Reception<M, B, Segments<B>> {
        Reception::new(&self.handle, buffer, GRO_CONTROL, 0, datagram::joined)
    }
}

common_methods!(UdpSocket, std::net::UdpSocket);
ip_options!(UdpSocket);
buffer_options!(UdpSocket);
