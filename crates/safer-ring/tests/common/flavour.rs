//! Streams of tokio and of ours, for one program that runs over both.

use std::future::Future;
use std::io::Write as _;
use std::os::unix::net::UnixStream as StdUnix;

use safer_ring::io::AsyncStream;
use safer_ring::{Fd, Ring, RingOf, net, pipe};
use tokio::io::{
    AsyncBufRead, AsyncRead, AsyncWrite, BufReader, Join, ReadHalf, WriteHalf, join, split,
};
use tokio::net::unix::pipe as their_pipe;

use super::Exec;
use super::net::tcp_pair;
pub(crate) use super::{OnLocal, OnPollster, OnTokio};

/// Pairs of connected streams, and what runs futures that use them.
pub(crate) trait Flavour: Sized + 'static {
    /// One end.
    type Stream: AsyncRead + AsyncWrite + Unpin + 'static;
    /// The same with a buffer that reads go through: its own, if it has one.
    type Buffered: AsyncBufRead + AsyncWrite + Unpin + 'static;
    /// Whether an end that is taken apart is two handles, of which the one that writes ends its direction when it is dropped.
    const APART: bool;
    /// What reads of an end that is taken apart.
    type Reader: AsyncRead + Unpin + 'static;
    /// What writes of it.
    type Writer: AsyncWrite + Unpin + 'static;
    /// Runs a future to its end.
    fn run<F: Future>(self, body: impl FnOnce(Self) -> F) -> F::Output;
    /// Two ends of a connection.
    fn pair(&self) -> (Self::Stream, Self::Stream);
    /// An end with its buffer.
    fn buffered(stream: Self::Stream) -> Self::Buffered;
    /// Takes an end apart.
    fn halves(stream: Self::Stream) -> (Self::Reader, Self::Writer);
}

/// Of a stream that has no buffer of its own and is one handle.
macro_rules! plain {
    () => {
        type Buffered = BufReader<Self::Stream>;
        whole!();

        fn buffered(stream: Self::Stream) -> Self::Buffered {
            BufReader::new(stream)
        }
    };
}

/// Of an adapter, which has one.
macro_rules! with_buffer {
    () => {
        type Buffered = Self::Stream;

        fn buffered(stream: Self::Stream) -> Self::Buffered {
            stream
        }
    };
}

/// Of a stream that is one handle.
macro_rules! whole {
    () => {
        const APART: bool = false;
        type Reader = ReadHalf<Self::Stream>;
        type Writer = WriteHalf<Self::Stream>;

        fn halves(stream: Self::Stream) -> (Self::Reader, Self::Writer) {
            split(stream)
        }
    };
}

/// Of two handles that were put together.
macro_rules! joined {
    ($reader:ty, $writer:ty) => {
        type Stream = Join<$reader, $writer>;
        const APART: bool = true;
        type Reader = $reader;
        type Writer = $writer;

        fn halves(stream: Self::Stream) -> (Self::Reader, Self::Writer) {
            stream.into_inner()
        }
    };
}

/// Runs futures in a current-thread runtime of tokio.
fn in_tokio<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// tokio's own TCP streams.
pub(crate) struct TheirTcp;

impl Flavour for TheirTcp {
    type Stream = tokio::net::TcpStream;

    plain!();

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

    plain!();

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

    with_buffer!();
    whole!();

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

    with_buffer!();
    whole!();

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

/// The owned halves of tokio's TCP streams.
pub(crate) struct TheirHalves;

impl Flavour for TheirHalves {
    joined!(tokio::net::tcp::OwnedReadHalf, tokio::net::tcp::OwnedWriteHalf);
    type Buffered = BufReader<Self::Stream>;

    fn run<F: Future>(self, body: impl FnOnce(Self) -> F) -> F::Output {
        in_tokio(async { body(self).await })
    }

    fn pair(&self) -> (Self::Stream, Self::Stream) {
        let (a, b) = TheirTcp.pair();
        let halves = |stream: tokio::net::TcpStream| {
            let (reader, writer) = stream.into_split();
            join(reader, writer)
        };
        (halves(a), halves(b))
    }

    fn buffered(stream: Self::Stream) -> Self::Buffered {
        BufReader::new(stream)
    }
}

/// Adapters of the owned halves of our TCP streams.
pub(crate) struct OurHalves<E: Exec>(pub(crate) RingOf<E::M>);

impl<E: Exec> Flavour for OurHalves<E> {
    joined!(
        AsyncStream<net::OwnedReadHalf<net::TcpStream<E::M>>>,
        AsyncStream<net::OwnedWriteHalf<net::TcpStream<E::M>>>
    );
    with_buffer!();

    fn run<F: Future>(self, body: impl FnOnce(Self) -> F) -> F::Output {
        let ring = self.0.clone();
        E::run(&ring, async { body(self).await })
    }

    fn pair(&self) -> (Self::Stream, Self::Stream) {
        let (a, b) = tcp_pair();
        let halves = |stream| {
            let (reader, writer) = net::TcpStream::from_std(&self.0, stream).into_split();
            join(reader.into_io(), writer.into_io())
        };
        (halves(a), halves(b))
    }
}

/// tokio's own pipes, one for each direction.
pub(crate) struct TheirPipes;

impl Flavour for TheirPipes {
    joined!(their_pipe::Receiver, their_pipe::Sender);
    type Buffered = BufReader<Self::Stream>;

    fn run<F: Future>(self, body: impl FnOnce(Self) -> F) -> F::Output {
        in_tokio(async { body(self).await })
    }

    fn pair(&self) -> (Self::Stream, Self::Stream) {
        let ((there, from_here), (back, from_there)) =
            (their_pipe::pipe().unwrap(), their_pipe::pipe().unwrap());
        (join(from_there, there), join(from_here, back))
    }

    fn buffered(stream: Self::Stream) -> Self::Buffered {
        BufReader::new(stream)
    }
}

/// Adapters of our pipes, one for each direction.
pub(crate) struct OurPipes<E: Exec>(pub(crate) RingOf<E::M>);

impl<E: Exec> Flavour for OurPipes<E> {
    joined!(AsyncStream<pipe::PipeReader<E::M>>, AsyncStream<pipe::PipeWriter<E::M>>);
    with_buffer!();

    fn run<F: Future>(self, body: impl FnOnce(Self) -> F) -> F::Output {
        let ring = self.0.clone();
        E::run(&ring, async { body(self).await })
    }

    fn pair(&self) -> (Self::Stream, Self::Stream) {
        let one = || {
            let (reader, writer) = super::net::pipe();
            let reader = pipe::PipeReader::from_owned(&self.0, reader);
            (reader.into_io(), pipe::PipeWriter::from_owned(&self.0, writer).into_io())
        };
        let ((from_here, there), (from_there, back)) = (one(), one());
        (join(from_there, there), join(from_here, back))
    }
}

/// Runs a future as a task of a runtime with two threads, whose poller tells its streams what arrives: that takes a runtime that
/// is known already.
pub(crate) fn in_a_task<F: Future<Output = ()> + Send + 'static>(body: impl FnOnce() -> F) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::spawn(async {
            let (near, mut far) = StdUnix::pair().unwrap();
            let Ok(ring) = super::of_the_kernel().entries(8).build() else { return };
            let mut stream = ring.recv_stream(&Fd::new(near));
            for _ in 0..2 {
                tokio::task::yield_now().await;
                far.write_all(b"hello").unwrap();
                assert_eq!(stream.next().await.unwrap().unwrap()[..], *b"hello");
            }
        })
        .await
        .unwrap();
        tokio::spawn(body()).await.unwrap();
    });
}

/// A ring of either mode.
pub(crate) fn ring<E: Exec>() -> RingOf<E::M> {
    E::builder(Ring::builder().entries(64)).build().unwrap()
}

/// Makes of each generic function `name(flavour: impl Flavour)` a test for each flavour of streams.
macro_rules! over_both {
    ($($name:ident),* $(,)?) => {
        over_both!(@ tokio_tcp, TheirTcp; $($name)*);
        over_both!(@ tokio_unix, TheirUnix; $($name)*);
        over_both!(@ tokio_halves, TheirHalves; $($name)*);
        over_both!(@ local_tcp, OurTcp::<OnLocal>(ring::<OnLocal>()); $($name)*);
        over_both!(@ local_unix, OurUnix::<OnLocal>(ring::<OnLocal>()); $($name)*);
        over_both!(@ local_halves, OurHalves::<OnLocal>(ring::<OnLocal>()); $($name)*);
        over_both!(@ shared_tcp, OurTcp::<OnTokio>(ring::<OnTokio>()); $($name)*);
        over_both!(@ shared_unix, OurUnix::<OnPollster>(ring::<OnPollster>()); $($name)*);
        over_both!(@ shared_halves, OurHalves::<OnTokio>(ring::<OnTokio>()); $($name)*);
        over_both!(@task task_tcp, OurTcp::<OnTokio>(ring::<OnTokio>()); $($name)*);
        over_both!(@task task_unix, OurUnix::<OnPollster>(ring::<OnPollster>()); $($name)*);
        over_both!(@task task_halves, OurHalves::<OnTokio>(ring::<OnTokio>()); $($name)*);
    };
    (@ $module:ident, $flavour:expr; $($name:ident)*) => {
        mod $module {
            use crate::common::{flavour::*, within_deadline};
            $(#[test] fn $name() { within_deadline(|| $flavour.run(super::$name)); })*
        }
    };
    (@task $module:ident, $flavour:expr; $($name:ident)*) => {
        mod $module {
            use crate::common::{flavour::*, within_deadline};
            $(#[test] fn $name() { within_deadline(|| in_a_task(|| super::$name($flavour))); })*
        }
    };
}
pub(crate) use over_both;

/// The same for each flavour of pipes, which nothing ends but the last writer's drop.
macro_rules! over_pipes {
    ($($name:ident),* $(,)?) => {
        over_both!(@ tokio_pipes, TheirPipes; $($name)*);
        over_both!(@ local_pipes, OurPipes::<OnLocal>(ring::<OnLocal>()); $($name)*);
        over_both!(@ shared_pipes, OurPipes::<OnTokio>(ring::<OnTokio>()); $($name)*);
        over_both!(@task task_pipes, OurPipes::<OnTokio>(ring::<OnTokio>()); $($name)*);
    };
}
pub(crate) use over_pipes;
