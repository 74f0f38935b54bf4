//! What every socket and pipe end is made of: a ring and a descriptor.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use safer_ring_backend::payload::{self, Read, ReadVectored, Write, WriteVectored};
use safer_ring_backend::{Mode, OpError, Operation, beside};
use safer_ring_buf::{IoBuf, IoBufMut};

use super::transfer::{ReadExact, Via, WriteAll, WriteAllVectored};
use crate::{Fd, RingOf};

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

    pub(crate) async fn settle(&self) -> io::Result<()> {
        self.fd.settle().await?;
        released(&self.ring, &self.fd).await
    }

    pub(crate) async fn close(self) -> Result<(), OpError<Option<Fd<M>>>> {
        close(&self.ring, self.fd).await
    }

    /// What becomes of a socket that is aborted: in this order, so that nothing goes on with what is cut short.
    pub(crate) fn abort(&self) {
        self.ring.give_up(&self.fd);
        beside::reset(&self.fd);
    }

    pub(crate) fn read<B: IoBufMut>(&self, buffer: B) -> Operation<M, Read<B>> {
        self.ring.recv(&self.fd, buffer)
    }

    pub(crate) fn peek<B: IoBufMut>(&self, buffer: B) -> Operation<M, Read<B>> {
        self.ring.recv_with(&self.fd, buffer, payload::PEEK)
    }

    pub(crate) fn write<B: IoBuf>(&self, buffer: B) -> Operation<M, Write<B>> {
        self.ring.send(&self.fd, buffer)
    }

    pub(crate) fn read_exact<B: IoBufMut>(&self, buffer: B) -> ReadExact<M, B> {
        ReadExact::new(self.clone(), Via::Socket, buffer)
    }

    pub(crate) fn read_exact_n<B: IoBufMut>(&self, buffer: B, count: usize) -> ReadExact<M, B> {
        ReadExact::new(self.clone(), Via::Socket, buffer).of(count)
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
        self.ring.send_vectored(&self.fd, buffers)
    }

    pub(crate) fn write_all_vectored<B: IoBuf>(&self, buffers: Vec<B>) -> WriteAllVectored<M, B> {
        WriteAllVectored::new(self.clone(), Via::Socket, buffers)
    }
}

/// How long the memory of a dropped operation may take from its end to its release, in steps of a millisecond.
const RELEASE_STEPS: u32 = 20;

/// Waits until a descriptor without other handles has no operation either. The end of a dropped operation is known a
/// moment before another thread, which has seen it, gives up its share. An operation whose future is alive does not go
/// away: then it is not waited for long.
pub(crate) async fn released<M: Mode>(ring: &RingOf<M>, fd: &Fd<M>) -> io::Result<()> {
    for _ in 0..RELEASE_STEPS {
        if fd.handles() > 1 || fd.holders() <= 1 {
            break;
        }
        ring.timeout(Duration::from_millis(1)).await?;
    }
    Ok(())
}

/// Ends what dropped futures have left on the descriptor, and closes it. An error of theirs comes before that of the close.
pub(crate) async fn close<M: Mode>(
    ring: &RingOf<M>,
    fd: Fd<M>,
) -> Result<(), OpError<Option<Fd<M>>>> {
    let mut earlier = Ok(());
    if fd.handles() == 1 {
        earlier = fd.settle().await;
        // A ring that takes no timer takes no close either, and says so.
        let _ = released(ring, &fd).await;
    }
    let closed = ring.close(fd).await;
    match (earlier, closed) {
        (Ok(()), closed) => closed,
        (Err(error), closed) => {
            let buffer = closed.err().and_then(|failed| failed.buffer);
            Err(OpError::new(error, buffer))
        }
    }
}

/// The error pending on a socket (`SO_ERROR`), which is cleared.
pub(crate) fn take_error(fd: &impl std::os::fd::AsFd) -> io::Result<Option<io::Error>> {
    Ok(beside::sockopt::socket_error(fd)?.map(Into::into))
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
            /// operation in flight; while a dropped receive or accept is armed or a dropped send runs, which
            /// [`settle`](Self::settle) ends; and while what a dropped one has brought waits to be taken.
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

            /// Waits until nothing of dropped futures works on it any more: armed receives and accepts are cancelled,
            /// and what they have brought stays for the next; sends run to their end. For
            /// [`into_std`](Self::into_std); [`close`](Self::close) does it by itself.
            ///
            /// # Errors
            /// That of a send whose future was dropped, told once.
            ///
            /// # Dropping
            /// Nothing is lost.
            pub async fn settle(&self) -> io::Result<()> {
                self.handle.settle().await
            }

            /// Closes it and reports what close(2) reports, after what dropped futures have left: armed receives and
            /// accepts are cancelled, sends run to their end, which takes as long as their peer likes. Bytes and connections
            /// that wait to be taken are dropped. Dropping it closes it too, in silence.
            ///
            /// # Errors
            /// `ResourceBusy`, with the descriptor in the error, while another handle or an operation whose future is
            /// alive shares it; of an operation that is known only after some 20 ms, in which it might have ended. That of a
            /// send whose future was dropped; the descriptor is closed all the same, unless it is in the error. Those of
            /// close(2).
            ///
            /// # Dropping
            /// The descriptor is closed once dropped sends have ended.
            pub async fn close(self) -> Result<(), OpError<Option<Fd<M>>>> {
                self.handle.close().await
            }
        }

        impl<M: Mode> TryFrom<$type<M>> for $std {
            type Error = $type<M>;

            #[doc = concat!("[`", stringify!($type), "::into_std`].")]
            fn try_from(own: $type<M>) -> Result<Self, $type<M>> {
                own.into_std()
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

        /// Receives until `buffer` is full, up to its capacity (bytes). The capacity of a `Vec` may be larger than its
        /// length: [`read_exact_n`](Self::read_exact_n) receives a number of bytes.
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

        /// Receives `count` bytes, not more, into the first `count` bytes of `buffer`. A buffer that was longer stays so,
        /// with its old bytes behind them.
        ///
        /// # Errors
        /// As [`read_exact`](Self::read_exact); `InvalidInput` if the buffer has no room for so many. Then nothing is
        /// received.
        ///
        /// # Dropping
        /// See [`ReadExact`](crate::net::ReadExact).
        pub fn read_exact_n<B: IoBufMut>(&self, buffer: B, count: usize) -> ReadExact<$mode, B> {
            self.handle().read_exact_n(buffer, count)
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

        /// Sends many buffers, one after the other: sendmsg(2) with `MSG_NOSIGNAL`. At most 1024 buffers. May send fewer
        /// bytes than there are.
        ///
        /// # Errors
        /// As [`write`](Self::write), with the buffers; `InvalidInput` for too many.
        ///
        /// # Dropping
        /// As [`write`](Self::write).
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
        /// See [`WriteAllVectored`](crate::net::WriteAllVectored).
        pub fn write_all_vectored<B: IoBuf>(&self, buffers: Vec<B>) -> WriteAllVectored<$mode, B> {
            self.handle().write_all_vectored(buffers)
        }

        /// Ends the connection at once, whoever else has a handle on it: a TCP connection is reset, of a Unix socket both
        /// directions are ended. What dropped futures have left is cancelled, sends too: bytes that were accepted and not
        /// yet sent are lost, and that is the meaning of it. What has arrived for the next receive is dropped. Operations
        /// whose futures are alive end with an error, or with the end of the stream. Nothing is sent on it any more
        /// ([`Failure::GivenUp`](crate::Failure)). The descriptor is closed when the last handle is dropped.
        ///
        /// For a peer that does not read: dropping the stream, `shutdown` and `close` leave a send that was dropped on its
        /// way, and with it the descriptor, for as long as the peer likes. This waits for nothing.
        ///
        /// connect(2) with `AF_UNSPEC`, or shutdown(2); [`Ring::give_up`](crate::RingOf::give_up).
        pub fn abort(&self) {
            self.handle().abort();
        }

        /// Bounds how long a send may take from when its future is dropped; one that has not ended by then is cancelled.
        /// `None`, as it is at first: it runs to its end. What waits behind it is not sent, and its error, of the kind
        /// `TimedOut`, comes with the next send, shutdown or close. For sends that are dropped from now on;
        /// [`Fd::set_send_limit`](crate::Fd::set_send_limit).
        ///
        /// With adapters (`into_io`) every write that the kernel does not take at once counts as dropped, so
        /// this bounds how long a peer may take for one buffer of the adapter.
        pub fn set_send_limit(&self, limit: Option<Duration>) {
            self.handle().fd.set_send_limit(limit);
        }

        /// How long a dropped send may take.
        pub fn send_limit(&self) -> Option<Duration> {
            self.handle().fd.send_limit()
        }
    };
}
pub(crate) use write_methods;
