//! The two directions of a stream, apart.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use safer_ring_backend::payload::{Read, ReadVectored, Settled, Write, WriteVectored};
use safer_ring_backend::{Mode, Operation};
use safer_ring_buf::{IoBuf, IoBufMut};

use super::handle::{Handle, read_methods, write_methods};
use super::transfer::{ReadExact, WriteAll, WriteAllVectored};
use crate::Shutdown;

/// A connected stream that can be split: [`TcpStream`](super::TcpStream), [`UnixStream`](super::UnixStream). Sealed.
pub trait Stream: sealed::Split<<Self as Stream>::Mode> {
    /// How its ring is held.
    type Mode: Mode;
}

pub(crate) mod sealed {
    use super::Handle;
    use safer_ring_backend::Mode;

    #[allow(unnameable_types, reason = "sealed: nobody else implements what asks for it")]
    pub trait Split<M: Mode>: Sized {
        #[doc(hidden)]
        fn handle(&self) -> &Handle<M>;
        #[doc(hidden)]
        fn from_handle(handle: Handle<M>) -> Self;
    }
}

/// The reading half of a stream, borrowed.
#[derive(Debug)]
pub struct ReadHalf<'a, S: Stream>(&'a S);

/// The writing half of a stream, borrowed.
#[derive(Debug)]
pub struct WriteHalf<'a, S: Stream>(&'a S);

/// The reading half of a stream, a handle of its own. Dropping it shuts nothing down; the socket is closed when
/// both halves are gone.
#[derive(Debug)]
pub struct OwnedReadHalf<S: Stream>(S);

/// The writing half of a stream, a handle of its own. The socket is closed when both halves are gone.
///
/// # Dropping
/// Ends the direction, as with tokio's: the peer sees the end (shutdown(2)), behind everything that dropped writes have left
/// to send. It waits for nothing, and an error of such a write stays for the next operation on the descriptor.
/// [`shutdown`](OwnedWriteHalf::shutdown) tells how it went; [`forget`](OwnedWriteHalf::forget) lets the half go and the
/// direction be. A write whose future is still alive then may fail with `EPIPE`, which has its buffer: await it, or drop
/// it, before the half goes.
#[derive(Debug)]
pub struct OwnedWriteHalf<S: Stream> {
    stream: S,
    /// Whether its end is that of the direction.
    ends: bool,
}

/// Two halves that are not of one stream; they come back.
pub struct ReuniteError<S: Stream>(
    /// The reading half.
    pub OwnedReadHalf<S>,
    /// The writing half.
    pub OwnedWriteHalf<S>,
);

impl<S: Stream> fmt::Debug for ReuniteError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReuniteError").finish_non_exhaustive()
    }
}

impl<S: Stream> fmt::Display for ReuniteError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the two halves are not of one stream")
    }
}

impl<S: Stream> Error for ReuniteError<S> {}

pub(crate) fn split<S: Stream>(stream: &S) -> (ReadHalf<'_, S>, WriteHalf<'_, S>) {
    (ReadHalf(stream), WriteHalf(stream))
}

pub(crate) fn into_split<S: Stream>(stream: S) -> (OwnedReadHalf<S>, OwnedWriteHalf<S>) {
    let second = S::from_handle(stream.handle().clone());
    (OwnedReadHalf(stream), OwnedWriteHalf { stream: second, ends: true })
}

impl<S: Stream> ReadHalf<'_, S> {
    fn handle(&self) -> &Handle<S::Mode> {
        self.0.handle()
    }

    read_methods!(S::Mode);
}

impl<S: Stream> WriteHalf<'_, S> {
    fn handle(&self) -> &Handle<S::Mode> {
        self.0.handle()
    }

    write_methods!(S::Mode);

    /// Ends the direction, so that the peer sees the end after what was sent: shutdown(2).
    ///
    /// # Errors
    /// Those of shutdown(2).
    ///
    /// # Dropping
    /// It runs to its end.
    pub fn shutdown(&self) -> Operation<S::Mode, Settled> {
        let Handle { ring, fd } = self.handle();
        ring.shutdown(fd, Shutdown::Write)
    }
}

impl<S: Stream> OwnedReadHalf<S> {
    /// Of a stream whose other half, if any, is elsewhere.
    #[cfg(any(feature = "tokio", feature = "futures", feature = "hyper"))]
    pub(crate) fn of(stream: S) -> Self {
        Self(stream)
    }

    pub(crate) fn handle(&self) -> &Handle<S::Mode> {
        self.0.handle()
    }

    read_methods!(S::Mode);

    /// Makes the stream whole again.
    ///
    /// # Errors
    /// Both halves, if they are not of one stream.
    pub fn reunite(self, other: OwnedWriteHalf<S>) -> Result<S, ReuniteError<S>> {
        use std::os::fd::{AsFd as _, AsRawFd as _};
        // Two open descriptors have two numbers.
        let number = |handle: &Handle<S::Mode>| handle.fd.as_fd().as_raw_fd();
        if number(self.handle()) == number(other.handle()) {
            other.forget();
            Ok(self.0)
        } else {
            Err(ReuniteError(self, other))
        }
    }
}

impl<S: Stream> OwnedWriteHalf<S> {
    /// Of a stream whose other half, if any, is elsewhere.
    #[cfg(any(feature = "tokio", feature = "futures", feature = "hyper"))]
    pub(crate) fn of(stream: S) -> Self {
        Self { stream, ends: true }
    }

    pub(crate) fn handle(&self) -> &Handle<S::Mode> {
        self.stream.handle()
    }

    write_methods!(S::Mode);

    /// Ends the direction, so that the peer sees the end after what was sent: shutdown(2).
    ///
    /// # Errors
    /// Those of shutdown(2).
    ///
    /// # Dropping
    /// It runs to its end.
    pub fn shutdown(&self) -> Operation<S::Mode, Settled> {
        let Handle { ring, fd } = self.handle();
        ring.shutdown(fd, Shutdown::Write)
    }

    /// Makes the stream whole again.
    ///
    /// # Errors
    /// Both halves, if they are not of one stream.
    pub fn reunite(self, other: OwnedReadHalf<S>) -> Result<S, ReuniteError<S>> {
        other.reunite(self)
    }

    /// Lets the half go without ending the direction, which then lasts as long as the other half.
    pub fn forget(mut self) {
        self.keep_open();
    }

    /// Its end is not that of the direction any more.
    pub(crate) fn keep_open(&mut self) {
        self.ends = false;
    }
}

impl<S: Stream> Drop for OwnedWriteHalf<S> {
    fn drop(&mut self) {
        if self.ends {
            let Handle { ring, fd } = self.stream.handle();
            fd.end_writing(ring.inner());
        }
    }
}

// Addresses and options are the stream's.
macro_rules! stream_of {
    ($($half:ty, $stream:tt);* $(;)?) => {
        $(impl<S: Stream> AsRef<S> for $half {
            fn as_ref(&self) -> &S {
                &self.$stream
            }
        })*
    };
}
stream_of!(ReadHalf<'_, S>, 0; WriteHalf<'_, S>, 0; OwnedReadHalf<S>, 0; OwnedWriteHalf<S>, stream);
