//! Sockets.

use safer_ring_backend::payload::{
    self, Accept, Plain, Read, RecvMsg, SendMsg, Settled, Socket, Unit, Write, WriteVectored,
};
use safer_ring_backend::{Mode, Operation};
use safer_ring_buf::{IoBuf, IoBufMut};

use crate::{Address, Control, Fd, RingOf};

/// What a socket carries: the type argument of socket(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketKind {
    /// Bytes in order (`SOCK_STREAM`).
    Stream,
    /// Single messages (`SOCK_DGRAM`).
    Datagram,
    /// Messages in order (`SOCK_SEQPACKET`).
    SeqPacket,
}

impl SocketKind {
    fn number(self) -> u32 {
        match self {
            Self::Stream => 1,
            Self::Datagram => 2,
            Self::SeqPacket => 5,
        }
    }
}

/// Which half of a connection to shut down: shutdown(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// No more is received.
    Read,
    /// No more is sent; the peer sees the end.
    Write,
    /// Both.
    Both,
}

impl From<std::net::Shutdown> for Shutdown {
    fn from(how: std::net::Shutdown) -> Self {
        match how {
            std::net::Shutdown::Read => Self::Read,
            std::net::Shutdown::Write => Self::Write,
            std::net::Shutdown::Both => Self::Both,
        }
    }
}

impl<M: Mode> RingOf<M> {
    /// Receives into `buffer`: recv(2). 0 bytes are a peer that has shut down its side.
    ///
    /// # Errors
    /// Those of recv(2); `EINTR` and `EAGAIN` are handled inside, so a non-blocking socket works as any other.
    ///
    /// # Dropping
    /// Nothing is lost: it stays armed, and its bytes go to the next receive on this descriptor, in order, or to one that
    /// waits already. See [`Operation`].
    #[inline]
    pub fn recv<B: IoBufMut>(&self, fd: &Fd<M>, buffer: B) -> Operation<M, Read<B>> {
        self.start(payload::recv(fd, buffer))
    }

    /// [`Ring::recv`](crate::RingOf::recv) with flags of recv(2): `MSG_PEEK`, `MSG_WAITALL`, `MSG_DONTWAIT`,
    /// `MSG_OOB` and `MSG_ERRQUEUE`.
    ///
    /// Kernels before 6.1 can lose what a receive with `MSG_WAITALL` has when it is cancelled: there it is several receives,
    /// one after the other, without the flag.
    ///
    /// # Errors
    /// As there; with `MSG_DONTWAIT`, `EAGAIN` too. `InvalidInput` for other flags, since with some the kernel counts bytes
    /// that it has not written: TCP does with `MSG_TRUNC` (tcp(7)). That a datagram was cut is told by
    /// [`Ring::recv_msg`](crate::RingOf::recv_msg).
    ///
    /// # Dropping
    /// As there, but it is cancelled with `MSG_WAITALL`, of which the part that it has is kept for the next one; with
    /// `MSG_PEEK`, which takes nothing; and with `MSG_OOB` and `MSG_ERRQUEUE`. What those two have taken in at that moment
    /// is dropped, since it is no part of the stream.
    #[inline]
    pub fn recv_with<B: IoBufMut>(
        &self,
        fd: &Fd<M>,
        buffer: B,
        flags: u32,
    ) -> Operation<M, Read<B>> {
        self.try_start(payload::recv_with(fd, buffer, flags))
    }

    /// Sends the buffer's initialised bytes: send(2) with `MSG_NOSIGNAL`. May send fewer.
    ///
    /// # Errors
    /// Those of send(2): `EPIPE` and `ECONNRESET` for a closed peer. That of an earlier one whose future was dropped
    /// ([`Failure::Earlier`](crate::Failure::Earlier)), told once; then nothing was sent.
    ///
    /// # Dropping
    /// It runs to its end with all of its bytes, before later ones on this handle; its error is told to the next of them, or
    /// to the next shutdown or close. See [`Operation`].
    #[inline]
    pub fn send<B: IoBuf>(&self, fd: &Fd<M>, buffer: B) -> Operation<M, Write<B>> {
        self.start(payload::send(fd, buffer))
    }

    /// [`Ring::send`](crate::RingOf::send) with flags of send(2): `MSG_MORE`, `MSG_OOB`, `MSG_EOR`, `MSG_DONTWAIT`,
    /// `MSG_WAITALL`, `MSG_CONFIRM` and `MSG_DONTROUTE`.
    ///
    /// # Errors
    /// As there; with `MSG_DONTWAIT`, `EAGAIN` too. `InvalidInput` for other flags: with `MSG_ZEROCOPY` the kernel reads the
    /// buffer after the operation has given it back.
    ///
    /// # Dropping
    /// As there.
    #[inline]
    pub fn send_with<B: IoBuf>(&self, fd: &Fd<M>, buffer: B, flags: u32) -> Operation<M, Write<B>> {
        self.try_start(payload::send_with(fd, buffer, flags))
    }

    /// Sends many buffers, one after the other: sendmsg(2) with `MSG_NOSIGNAL`, so that a closed peer is an error and no
    /// signal, as it is with [`Ring::write_vectored`](crate::RingOf::write_vectored). At most 1024 buffers; a datagram
    /// is made of all of them. May send fewer bytes than there are.
    ///
    /// # Errors
    /// As [`Ring::send`](crate::RingOf::send); `InvalidInput` for too many buffers.
    ///
    /// # Dropping
    /// As [`Ring::send`](crate::RingOf::send).
    pub fn send_vectored<B: IoBuf>(
        &self,
        fd: &Fd<M>,
        buffers: Vec<B>,
    ) -> Operation<M, WriteVectored<B>> {
        self.try_start(payload::send_vectored(fd, buffers, 0))
    }

    /// Receives a message with its sender's address and up to `control_len` bytes of control data: recvmsg(2).
    /// Descriptors in it arrive owned and close-on-exec. Before kernel 6.1 `MSG_WAITALL` is left out: a cancelled one
    /// could lose what it has.
    ///
    /// # Errors
    /// Those of recvmsg(2); `InvalidInput` for more than 1 MiB of control data.
    ///
    /// # Dropping
    /// As [`Ring::recv`](crate::RingOf::recv), with the address and the control data, if the next receive asks for them.
    pub fn recv_msg<B: IoBufMut>(
        &self,
        fd: &Fd<M>,
        buffer: B,
        control_len: usize,
    ) -> Operation<M, RecvMsg<B>> {
        self.try_start(payload::recv_msg(fd, buffer, control_len, 0))
    }

    /// Sends a message, to `address` if the socket is not connected, with control data: sendmsg(2).
    ///
    /// # Errors
    /// Those of sendmsg(2); an earlier one as for [`Ring::send`](crate::RingOf::send).
    ///
    /// # Dropping
    /// As [`Ring::send`](crate::RingOf::send).
    pub fn send_msg<B: IoBuf>(
        &self,
        fd: &Fd<M>,
        buffer: B,
        address: Option<&Address>,
        control: Control,
    ) -> Operation<M, SendMsg<B>> {
        self.try_start(payload::send_msg(fd, buffer, address, control, 0))
    }

    /// Accepts a connection: accept4(2). The new descriptor closes on exec. The address is `None` where the kernel
    /// gives none.
    ///
    /// # Errors
    /// Those of accept(2): `EMFILE` above all.
    ///
    /// # Dropping
    /// Nothing is lost: it stays armed, and its connection goes to the next accept on this descriptor, or to one that waits
    /// already.
    pub fn accept(&self, fd: &Fd<M>) -> Operation<M, Accept<M>> {
        self.start(payload::accept(fd))
    }

    /// Connects a socket: connect(2).
    ///
    /// # Errors
    /// Those of connect(2).
    ///
    /// # Dropping
    /// Cancels; the socket may have connected all the same.
    pub fn connect(&self, fd: &Fd<M>, address: impl Into<Address>) -> Operation<M, Plain> {
        self.try_start(payload::connect(fd, &address.into()))
    }

    /// Makes a socket for addresses of the family of `like`: socket(2), close-on-exec. Kernel 5.19, before that a
    /// plain system call.
    ///
    /// # Errors
    /// Those of socket(2).
    ///
    /// # Dropping
    /// A socket that still arrives is closed.
    pub fn socket(&self, like: &Address, kind: SocketKind) -> Operation<M, Socket<M>> {
        self.socket_raw(u32::from(like.family()), kind.number(), 0)
    }

    /// Makes a socket from the numbers of socket(2).
    ///
    /// # Errors
    /// Those of socket(2).
    ///
    /// # Dropping
    /// A socket that still arrives is closed.
    pub fn socket_raw(&self, domain: u32, kind: u32, protocol: u32) -> Operation<M, Socket<M>> {
        self.start(payload::socket(domain, kind, protocol))
    }

    /// Gives a socket its address: bind(2). Kernel 6.11, before that a plain system call.
    ///
    /// # Errors
    /// Those of bind(2).
    ///
    /// # Dropping
    /// It runs to its end.
    pub fn bind(&self, fd: &Fd<M>, address: impl Into<Address>) -> Operation<M, Plain> {
        self.try_start(payload::bind(fd, &address.into()))
    }

    /// Lets a socket accept connections: listen(2). Kernel 6.11, before that a plain system call.
    ///
    /// # Errors
    /// Those of listen(2).
    ///
    /// # Dropping
    /// It runs to its end.
    pub fn listen(&self, fd: &Fd<M>, backlog: u32) -> Operation<M, Unit> {
        self.start(payload::listen(fd, backlog))
    }

    /// Ends one or both halves of a connection: shutdown(2). Kernel 5.11, before that a plain system call.
    ///
    /// # Errors
    /// Those of shutdown(2). Of the writing side, that of a send whose future was dropped, told once; then nothing was shut
    /// down.
    ///
    /// # Dropping
    /// It runs to its end, behind sends that were dropped before it.
    pub fn shutdown(&self, fd: &Fd<M>, how: impl Into<Shutdown>) -> Operation<M, Settled> {
        let how = match how.into() {
            Shutdown::Read => 0,
            Shutdown::Write => 1,
            Shutdown::Both => 2,
        };
        self.start(payload::shutdown(fd, how))
    }
}
