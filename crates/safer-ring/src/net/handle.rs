//! What every socket and pipe end is made of: a ring and a descriptor.

use std::io;
use std::os::fd::OwnedFd;

use safer_ring_backend::payload::{Close, Read, ReadVectored, Write, WriteVectored};
use safer_ring_backend::{Mode, Operation};
use safer_ring_buf::{IoBuf, IoBufMut};

use super::transfer::{ReadExact, Via, WriteAll, WriteAllVectored};
use crate::{Fd, RingOf};

const MSG_PEEK: u32 = 0x2;

/// A ring and a descriptor of it.
#[allow(unnameable_types, reason = "of a sealed trait")]
#[derive(Debug)]
pub struct Handle<M: Mode> {
    pub(crate) ring: RingOf<M>,
    pub(crate) fd: Fd<M>,
}

impl<M: Mode> Clone for Handle<M> {
    fn clone(&self) -> Self {
        Self { ring: self.ring.clone(), fd: self.fd.clone() }
    }
}

impl<M: Mode> Handle<M> {
    pub(crate) fn new(ring: &RingOf<M>, fd: Fd<M>) -> Self {
        Self { ring: ring.clone(), fd }
    }

    /// The descriptor, unless something else shares it.
    pub(crate) fn into_owned(self) -> Result<OwnedFd, Self> {
        let Self { ring, fd } = self;
        fd.try_into_owned().map_err(|fd| Self { ring, fd })
    }

    pub(crate) fn close(self) -> Operation<M, Close<M>> {
        self.ring.close(self.fd)
    }

    pub(crate) fn read<B: IoBufMut>(&self, buffer: B) -> Operation<M, Read<B>> {
        self.ring.recv(&self.fd, buffer)
    }

    pub(crate) fn peek<B: IoBufMut>(&self, buffer: B) -> Operation<M, Read<B>> {
        self.ring.recv_with(&self.fd, buffer, MSG_PEEK)
    }

    pub(crate) fn write<B: IoBuf>(&self, buffer: B) -> Operation<M, Write<B>> {
        self.ring.send(&self.fd, buffer)
    }

    pub(crate) fn read_exact<B: IoBufMut>(&self, buffer: B) -> ReadExact<M, B> {
        ReadExact::new(self.clone(), Via::Socket, buffer)
    }

    pub(crate) fn write_all<B: IoBuf>(&self, buffer: B) -> WriteAll<M, B> {
        WriteAll::new(self.clone(), Via::Socket, buffer)
    }

    pub(crate) fn read_vectored<B: IoBufMut>(
        &self,
        buffers: Vec<B>,
    ) -> Operation<M, ReadVectored<B>> {
        self.ring.read_vectored(&self.fd, buffers)
    }

    pub(crate) fn write_vectored<B: IoBuf>(
        &self,
        buffers: Vec<B>,
    ) -> Operation<M, WriteVectored<B>> {
        self.ring.write_vectored(&self.fd, buffers)
    }

    pub(crate) fn write_all_vectored<B: IoBuf>(&self, buffers: Vec<B>) -> WriteAllVectored<M, B> {
        WriteAllVectored::new(self.clone(), buffers)
    }
}

/// The error pending on a socket (`SO_ERROR`), which is cleared.
pub(crate) fn take_error(fd: &impl std::os::fd::AsFd) -> io::Result<Option<io::Error>> {
    Ok(rustix::net::sockopt::socket_error(fd)?.err().map(Into::into))
}

/// What all types here have in common: ways in and out of the standard library, the parts, the end.
macro_rules! common_methods {
    ($type:ident, $std:ty) => {
        impl<M: Mode> $type<M> {
            /// Takes over one of the standard library's; a non-blocking one (as tokio's are) works as well as any.
            pub fn from_std(ring: &RingOf<M>, std: $std) -> Self {
                Self::from_fd(ring, Fd::new(std))
            }

            /// Takes a handle on a descriptor of this kind. Whether it is of this kind is for the operations to find
            /// out (`ENOTSOCK`, `EOPNOTSUPP`).
            pub fn from_fd(ring: &RingOf<M>, fd: Fd<M>) -> Self {
                Self { handle: Handle::new(ring, fd) }
            }

            /// The standard library's type, in the blocking mode that the descriptor has: blocking if it was made
            /// here.
            ///
            /// # Errors
            /// `self`, while something else shares the descriptor: a clone of [`fd`](Self::fd), a half, or an
            /// operation in flight. A dropped operation counts until the kernel is done with it.
            pub fn into_std(self) -> Result<$std, Self> {
                match self.handle.into_owned() {
                    Ok(fd) => Ok(fd.into()),
                    Err(handle) => Err(Self { handle }),
                }
            }

            /// The descriptor, for operations that are methods of the ring.
            pub fn fd(&self) -> &Fd<M> {
                &self.handle.fd
            }

            /// The ring that its operations run on.
            pub fn ring(&self) -> &RingOf<M> {
                &self.handle.ring
            }

            /// Closes it and reports what close(2) reports. Dropping it closes it too, in silence.
            ///
            /// # Errors
            /// As [`Ring::close`](crate::RingOf::close): `ResourceBusy`, with the descriptor in the error, while
            /// something else shares it.
            ///
            /// # Dropping
            /// It runs to its end; before the first poll, the descriptor is closed all the same.
            pub fn close(self) -> Operation<M, Close<M>> {
                self.handle.close()
            }
        }

        impl<M: Mode> AsFd for $type<M> {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.handle.fd.as_fd()
            }
        }

        impl<M: Mode> fmt::Debug for $type<M> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($type)).field("fd", &self.handle.fd).finish()
            }
        }
    };
}
pub(crate) use common_methods;

/// The methods that read from a stream socket, for the stream and its reading halves.
macro_rules! read_methods {
    ($mode:ty) => {
        /// Receives into `buffer`, up to its capacity (bytes): recv(2). 0 bytes are a peer that has ended its side,
        /// or a buffer without room.
        ///
        /// # Errors
        /// Those of recv(2), with the buffer.
        ///
        /// # Dropping
        /// Nothing is lost: the receive stays armed, and what it brings goes to the next receive on this socket, in
        /// order.
        pub fn read<B: IoBufMut>(&self, buffer: B) -> Operation<$mode, Read<B>> {
            self.handle().read(buffer)
        }

        /// Receives until `buffer` is full, up to its capacity (bytes); lend a slice of it to receive less.
        ///
        /// # Errors
        /// `UnexpectedEof` if the peer ends its side before that; those of recv(2). The buffer is in the error, with
        /// the number of bytes received before.
        ///
        /// # Dropping
        /// See [`ReadExact`](crate::net::ReadExact).
        pub fn read_exact<B: IoBufMut>(&self, buffer: B) -> ReadExact<$mode, B> {
            self.handle().read_exact(buffer)
        }

        /// Receives into many buffers, one after the other: readv(2). At most 1024 buffers.
        ///
        /// # Errors
        /// Those of readv(2), with the buffers; `InvalidInput` for too many.
        ///
        /// # Dropping
        /// As [`Ring::read_vectored`](crate::RingOf::read_vectored).
        pub fn read_vectored<B: IoBufMut>(
            &self,
            buffers: Vec<B>,
        ) -> Operation<$mode, ReadVectored<B>> {
            self.handle().read_vectored(buffers)
        }

        /// Receives and leaves the bytes where they are, so that the next receive gets them again: recv(2) with
        /// `MSG_PEEK`.
        ///
        /// # Errors
        /// Those of recv(2), with the buffer.
        ///
        /// # Dropping
        /// Cancels; nothing is lost, since nothing is taken.
        pub fn peek<B: IoBufMut>(&self, buffer: B) -> Operation<$mode, Read<B>> {
            self.handle().peek(buffer)
        }
    };
}
pub(crate) use read_methods;

/// The methods that write to a stream socket, for the stream and its writing halves.
macro_rules! write_methods {
    ($mode:ty) => {
        /// Sends the buffer's initialised bytes: send(2) with `MSG_NOSIGNAL`. May send fewer; the count says how many.
        ///
        /// # Errors
        /// Those of send(2), with the buffer: `EPIPE` and `ECONNRESET` for a closed peer.
        ///
        /// # Dropping
        /// The send runs to its end, before later ones; its error comes with the next send, shutdown or close.
        pub fn write<B: IoBuf>(&self, buffer: B) -> Operation<$mode, Write<B>> {
            self.handle().write(buffer)
        }

        /// Sends all of the buffer's initialised bytes.
        ///
        /// # Errors
        /// As [`write`](Self::write), and `WriteZero` where nothing more is taken. The buffer is in the error, with
        /// the number of bytes that the kernel took before: not all of them need have reached the peer.
        ///
        /// # Dropping
        /// See [`WriteAll`](crate::net::WriteAll).
        pub fn write_all<B: IoBuf>(&self, buffer: B) -> WriteAll<$mode, B> {
            self.handle().write_all(buffer)
        }

        /// Sends many buffers, one after the other: writev(2). At most 1024 buffers. May send fewer bytes than there
        /// are.
        ///
        /// # Errors
        /// Those of writev(2), with the buffers; `InvalidInput` for too many. With a closed peer the process gets
        /// `SIGPIPE`, which Rust programs ignore by default, besides `EPIPE`: writev(2) has no flag against it.
        ///
        /// # Dropping
        /// As [`Ring::write_vectored`](crate::RingOf::write_vectored).
        pub fn write_vectored<B: IoBuf>(
            &self,
            buffers: Vec<B>,
        ) -> Operation<$mode, WriteVectored<B>> {
            self.handle().write_vectored(buffers)
        }

        /// Sends all of many buffers, at most 1024.
        ///
        /// # Errors
        /// As [`write_vectored`](Self::write_vectored), and `WriteZero` where nothing more is taken. The buffers are
        /// in the error, with the number of bytes that the kernel took before.
        ///
        /// # Dropping
        /// The step under way runs to its end; what follows it is not sent.
        pub fn write_all_vectored<B: IoBuf>(&self, buffers: Vec<B>) -> WriteAllVectored<$mode, B> {
            self.handle().write_all_vectored(buffers)
        }
    };
}
pub(crate) use write_methods;
