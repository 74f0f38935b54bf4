//! Streams of tokio and of ours, for one program that runs over both.

use std::future::Future;
use std::os::unix::net::UnixStream as StdUnix;

use safer_ring::io::AsyncStream;
use safer_ring::{Ring, RingOf, net};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Exec;
use super::net::tcp_pair;

/// Pairs of connected streams, and what runs futures that use them.
pub(crate) trait Flavour: Sized + 'static {
    /// One end.
    type Stream: AsyncRead + AsyncWrite + Unpin + 'static;
    /// Runs a future to its end.
    fn run<F: Future>(self, body: impl FnOnce(Self) -> F) -> F::Output;
    /// Two ends of a connection.
    fn pair(&self) -> (Self::Stream, Self::Stream);
}

/// Runs futures in a current-thread runtime of tokio.
fn in_tokio<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// tokio's own TCP streams.
pub(crate) struct TheirTcp;

impl Flavour for TheirTcp {
    type Stream = tokio::net::TcpStream;

    fn run<F: Future>(self, body: impl FnOnce(Self) -> F) -> F::Output {
        in_tokio(async { body(self).await })
    }

    fn pair(&self) -> (Self::Stream, Self::Stream) {
        let (a, b) = tcp_pair();
        a.set_nonblocking(true).unwrap();
        b.set_nonblocking(true).unwrap();
        (Self::Stream::from_std(a).unwrap(), Self::Stream::from_std(b).unwrap())
    }
}

/// tokio's own Unix streams.
pub(crate) struct TheirUnix;

impl Flavour for TheirUnix {
    type Stream = tokio::net::UnixStream;

    fn run<F: Future>(self, body: impl FnOnce(Self) -> F) -> F::Output {
        in_tokio(async { body(self).await })
    }

    fn pair(&self) -> (Self::Stream, Self::Stream) {
        Self::Stream::pair().unwrap()
    }
}

/// Our TCP streams.
pub(crate) struct OurTcp<E: Exec>(pub(crate) RingOf<E::M>);
/// Our Unix streams.
pub(crate) struct OurUnix<E: Exec>(pub(crate) RingOf<E::M>);

impl<E: Exec> Flavour for OurTcp<E> {
    type Stream = AsyncStream<net::TcpStream<E::M>>;

    fn run<F: Future>(self, body: impl FnOnce(Self) -> F) -> F::Output {
        let ring = self.0.clone();
        E::run(&ring, async { body(self).await })
    }

    fn pair(&self) -> (Self::Stream, Self::Stream) {
        let (a, b) = tcp_pair();
        let own = |stream| net::TcpStream::from_std(&self.0, stream).into_io();
        (own(a), own(b))
    }
}

impl<E: Exec> Flavour for OurUnix<E> {
    type Stream = AsyncStream<net::UnixStream<E::M>>;

    fn run<F: Future>(self, body: impl FnOnce(Self) -> F) -> F::Output {
        let ring = self.0.clone();
        E::run(&ring, async { body(self).await })
    }

    fn pair(&self) -> (Self::Stream, Self::Stream) {
        let (a, b) = StdUnix::pair().unwrap();
        let own = |stream| net::UnixStream::from_std(&self.0, stream).into_io();
        (own(a), own(b))
    }
}

/// A ring of either mode.
pub(crate) fn ring<E: Exec>() -> RingOf<E::M> {
    E::builder(Ring::builder().entries(64)).build().unwrap()
}

/// Makes of each generic function `name(flavour: impl Flavour)` a test for each flavour.
macro_rules! over_both {
    ($($name:ident),* $(,)?) => {
        over_both!(@ tokio_tcp, crate::common::flavour::TheirTcp; $($name)*);
        over_both!(@ tokio_unix, crate::common::flavour::TheirUnix; $($name)*);
        over_both!(@ local_tcp, crate::common::flavour::OurTcp::<crate::common::OnLocal>(
            crate::common::flavour::ring::<crate::common::OnLocal>()); $($name)*);
        over_both!(@ local_unix, crate::common::flavour::OurUnix::<crate::common::OnLocal>(
            crate::common::flavour::ring::<crate::common::OnLocal>()); $($name)*);
        over_both!(@ shared_tcp, crate::common::flavour::OurTcp::<crate::common::OnTokio>(
            crate::common::flavour::ring::<crate::common::OnTokio>()); $($name)*);
        over_both!(@ shared_unix, crate::common::flavour::OurUnix::<crate::common::OnPollster>(
            crate::common::flavour::ring::<crate::common::OnPollster>()); $($name)*);
    };
    (@ $module:ident, $flavour:expr; $($name:ident)*) => {
        mod $module {
            $(#[test] fn $name() {
                crate::common::within_deadline(|| crate::common::flavour::Flavour::run($flavour, super::$name));
            })*
        }
    };
}
pub(crate) use over_both;
