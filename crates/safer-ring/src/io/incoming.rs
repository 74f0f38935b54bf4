//! Connections, as a `Stream`.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use safer_ring_backend::payload::Accept;
use safer_ring_backend::{Mode, Operation};

use crate::Fd;
use crate::RingOf;
use crate::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// A listener whose connections an [`Incoming`] gives: [`TcpListener`], [`UnixListener`]. Sealed.
pub trait Listener: sealed::Listens<<Self as Listener>::Mode> {
    /// How its ring is held.
    type Mode: Mode;
    /// What it accepts.
    type Stream;

    #[doc(hidden)]
    fn accepted(ring: &RingOf<Self::Mode>, fd: Fd<Self::Mode>) -> Self::Stream;
}

mod sealed {
    #[allow(unnameable_types, reason = "sealed: nobody else implements what asks for it")]
    pub trait Listens<M> {}
}

/// The connections of a listener, as a `Stream` that never ends.
///
/// Made by `incoming` of the listener, of which it is a handle: it may outlive it, and goes into a task of its own.
///
/// # Errors
/// Those of accept(2), after which it goes on. Where the reason stays (`EMFILE`: no descriptor is left), so does the error:
/// wait a little before polling again.
///
/// # Dropping
/// As an accept of the listener: a connection that arrives all the same goes to its next one.
#[must_use = "streams do nothing unless they are polled"]
pub struct Incoming<L: Listener> {
    ring: RingOf<L::Mode>,
    fd: Fd<L::Mode>,
    accept: Option<Operation<L::Mode, Accept<L::Mode>>>,
}

impl<L: Listener> Incoming<L> {
    fn new(ring: &RingOf<L::Mode>, fd: &Fd<L::Mode>) -> Self {
        Self { ring: ring.clone(), fd: fd.clone(), accept: None }
    }
}

impl<L: Listener> Unpin for Incoming<L> {}

impl<L: Listener> Stream for Incoming<L> {
    type Item = io::Result<L::Stream>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { ring, fd, accept } = self.get_mut();
        let operation = accept.get_or_insert_with(|| ring.accept(fd));
        let accepted = ready!(Pin::new(operation).poll(cx));
        *accept = None;
        Poll::Ready(Some(accepted.map(|(fd, _)| L::accepted(ring, fd))))
    }
}

impl<L: Listener> fmt::Debug for Incoming<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("fd", &self.fd).finish_non_exhaustive()
    }
}

macro_rules! listener {
    ($listener:ident, $stream:ident) => {
        impl<M: Mode> sealed::Listens<M> for $listener<M> {}

        impl<M: Mode> Listener for $listener<M> {
            type Mode = M;
            type Stream = $stream<M>;

            fn accepted(ring: &RingOf<M>, fd: Fd<M>) -> $stream<M> {
                $stream::from_fd(ring, fd)
            }
        }

        impl<M: Mode> $listener<M> {
            /// The connections, as a `Stream`; see [`Incoming`](crate::io::Incoming). One accept after the other.
            pub fn incoming(&self) -> Incoming<Self> {
                Incoming::new(self.ring(), self.fd())
            }
        }
    };
}
listener!(TcpListener, TcpStream);
listener!(UnixListener, UnixStream);
