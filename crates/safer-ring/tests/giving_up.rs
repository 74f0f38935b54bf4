//! Peers that do not read: giving up what dropped futures have left, at once and after a time.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::io::{ErrorKind, Read as _, Write as _};
use std::time::Duration;

use common::alone::{alone, describe_descriptors, descriptors};
use common::net::{ended, poll_once, tcp_pair, turn, until};
use common::{Exec, failure, pattern, with_ring};
use futures_util::future::join;
use safer_ring::net::{TcpStream, UnixStream};
use safer_ring::sim::{Config, World};
use safer_ring::{Failure, Mode, Ring, RingOf, pipe};

common::everywhere! {
    an_aborted_connection_is_reset_and_free,
    an_aborted_unix_stream_ends_for_its_peer,
    an_aborted_pipe_ends_behind_what_is_in_it,
    live_operations_end_with_an_abort,
    a_half_aborts_the_whole,
    what_has_arrived_is_dropped_by_an_abort,
    what_waits_behind_a_send_is_given_up_with_it,
    a_dropped_send_ends_at_its_limit,
    a_send_within_its_limit_is_whole,
    a_limit_keeps_no_descriptor_open,
    a_write_all_with_a_time_limit_gives_its_buffer_back,
    a_read_exact_with_a_time_limit_says_how_far_it_came,
    a_cancelled_transfer_says_how_far_it_came,
    a_transfer_that_ends_in_time_has_its_result,
    a_number_of_bytes_is_read_whatever_the_capacity,
}

/// More than the buffers of a connection take.
const LARGE: usize = 16 << 20;
/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(20);

/// A stream whose peer does not read, with a send that was dropped while it waited.
async fn stuck<M: Mode>(ring: &RingOf<M>) -> (TcpStream<M>, std::net::TcpStream) {
    let (near, far) = tcp_pair();
    let near = TcpStream::from_std(ring, near);
    leave_a_send(ring, &near).await;
    (near, far)
}

async fn leave_a_send<M: Mode>(ring: &RingOf<M>, stream: &TcpStream<M>) {
    let mut send = stream.write_all(vec![1; LARGE]);
    assert!(poll_once(&mut send).is_pending());
    turn(ring).await;
    assert!(poll_once(&mut send).is_pending());
    drop(send);
    turn(ring).await;
    assert_eq!(ring.snapshot().orphans, 1, "the send goes on");
}

/// What the other side gets before the end, and how that is.
fn rest_of(mut far: impl std::io::Read) -> (Vec<u8>, Result<usize, ErrorKind>) {
    let mut all = Vec::new();
    let end = far.read_to_end(&mut all).map_err(|error| error.kind());
    (all, end)
}

fn an_aborted_connection_is_reset_and_free<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (near, far) = stuck(&ring).await;
        let fd = near.fd().clone();
        near.abort();
        ended(&ring).await;
        drop(near);
        assert_eq!(fd.holders(), 1, "nothing else holds the descriptor");
        let failed = ring.send(&fd, "more").await.unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::ConnectionAborted);
        assert_eq!(failure(&failed.error), Some(Failure::GivenUp));
        assert_eq!(failed.into_buffer(), "more");
        // Without an error of what was given up.
        assert!(ring.close(fd).await.is_ok());
        let (got, end) = rest_of(far);
        assert!(got.len() < LARGE, "all of it was sent");
        assert_eq!(end, Err(ErrorKind::ConnectionReset));
    });
}

fn an_aborted_unix_stream_ends_for_its_peer<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        let near = UnixStream::from_std(&ring, near);
        let mut send = near.write_all(vec![1; LARGE]);
        assert!(poll_once(&mut send).is_pending());
        turn(&ring).await;
        drop(send);
        near.abort();
        ended(&ring).await;
        assert!(near.close().await.is_ok());
        let (got, end) = rest_of(far);
        assert!(got.len() < LARGE && end.is_ok(), "{} {end:?}", got.len());
    });
}

fn an_aborted_pipe_ends_behind_what_is_in_it<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (reader, writer) = std::io::pipe().unwrap();
        let writer = pipe::PipeWriter::from_std(&ring, writer);
        let mut write = writer.write_all(vec![1; LARGE]);
        assert!(poll_once(&mut write).is_pending());
        turn(&ring).await;
        drop(write);
        writer.abort();
        ended(&ring).await;
        let failed = writer.write("behind the hole").await.unwrap_err();
        assert_eq!(failure(&failed.error), Some(Failure::GivenUp));
        assert!(writer.close().await.is_ok());
        let (got, end) = rest_of(reader);
        assert!(got.len() < LARGE && end.is_ok(), "{} {end:?}", got.len());
    });
}

fn live_operations_end_with_an_abort<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (near, far) = tcp_pair();
        let near = TcpStream::from_std(&ring, near);
        let both = join(near.read(vec![0; 8]), near.write_all(vec![1; LARGE]));
        let (abort, ring) = (near.abort_soon(&ring), &ring);
        let ((read, written), ()) = join(both, abort).await;
        assert!(!matches!(read, Ok((1.., _))), "{read:?}");
        assert!(written.is_err());
        ended(ring).await;
        assert!(matches!(near.read(vec![0; 8]).await, Ok((0, _)) | Err(_)));
        drop(far);
    });
}

/// Aborts after a turn of the ring.
trait AbortSoon<M: Mode> {
    async fn abort_soon(&self, ring: &RingOf<M>);
}

impl<M: Mode> AbortSoon<M> for TcpStream<M> {
    async fn abort_soon(&self, ring: &RingOf<M>) {
        turn(ring).await;
        self.abort();
    }
}

fn a_half_aborts_the_whole<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (near, far) = stuck(&ring).await;
        let (reader, writer) = near.into_split();
        writer.abort();
        ended(&ring).await;
        assert!(matches!(reader.read(vec![0; 8]).await, Ok((0, _)) | Err(_)));
        // At once, and not when the last handle goes.
        assert_eq!(rest_of(far).1, Err(ErrorKind::ConnectionReset));
        drop((reader, writer));
    });
}

fn what_has_arrived_is_dropped_by_an_abort<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        let near = UnixStream::from_std(&ring, near);
        let mut receive = near.read(vec![0; 8]);
        assert!(poll_once(&mut receive).is_pending());
        turn(&ring).await;
        drop(receive);
        near.fd().unread(b"given back".to_vec());
        near.abort();
        ended(&ring).await;
        assert_eq!(near.fd().kept_bytes(), 0);
        assert_eq!(near.read(vec![0; 8]).await.unwrap().0, 0);
        drop(far);
    });
}

fn what_waits_behind_a_send_is_given_up_with_it<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (near, far) = stuck(&ring).await;
        let mut second = near.write_all(vec![2; 100]);
        assert!(poll_once(&mut second).is_pending());
        drop(second);
        // This one waits, and its future stays.
        let mut third = near.write_all(vec![3; 100]);
        assert!(poll_once(&mut third).is_pending());
        near.abort();
        let failed = third.await.unwrap_err();
        assert_eq!(failure(&failed.error), Some(Failure::GivenUp));
        assert_eq!((failed.transferred, failed.buffer), (0, vec![3; 100]));
        ended(&ring).await;
        drop(near);
        assert!(rest_of(far).0.iter().all(|byte| *byte == 1));
    });
}

fn a_dropped_send_ends_at_its_limit<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (near, far) = tcp_pair();
        let near = TcpStream::from_std(&ring, near);
        near.set_send_limit(Some(SHORT));
        assert_eq!(near.send_limit(), Some(SHORT));
        leave_a_send(&ring, &near).await;
        let mut second = near.write_all(vec![2; 100]);
        assert!(poll_once(&mut second).is_pending());
        drop(second);
        ended(&ring).await;
        let failed = near.write("next").await.unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::TimedOut);
        assert!(matches!(failure(&failed.error), Some(Failure::Earlier { .. })));
        drop(near);
        // What was in the socket is sent by the kernel; nothing follows the hole.
        let (got, _) = rest_of(far);
        assert!(got.len() < LARGE && got.iter().all(|byte| *byte == 1), "{}", got.len());
    });
}

fn a_send_within_its_limit_is_whole<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (near, far) = tcp_pair();
        let near = TcpStream::from_std(&ring, near);
        near.set_send_limit(Some(LONG));
        leave_a_send(&ring, &near).await;
        let reader = std::thread::spawn(move || rest_of(far));
        near.close().await.unwrap();
        // The timer went with the send: it would keep the ring from being drained and the process from its end.
        let left = ring.operations();
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(reader.join().unwrap(), (vec![1; LARGE], Ok(LARGE)));
    });
}

fn a_limit_keeps_no_descriptor_open<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (near, far) = tcp_pair();
        let near = TcpStream::from_std(&ring, near);
        near.set_send_limit(Some(SHORT));
        leave_a_send(&ring, &near).await;
        drop(near);
        ended(&ring).await;
        until(&ring, "the send is gone", || ring.operations().is_empty()).await;
        let (got, end) = rest_of(far);
        assert!(got.len() < LARGE && end.is_ok(), "{} {end:?}", got.len());
    });
}

fn a_write_all_with_a_time_limit_gives_its_buffer_back<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (near, far) = tcp_pair();
        let near = TcpStream::from_std(&ring, near);
        let failed = near.write_all(pattern(LARGE)).timeout(SHORT).await.unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::TimedOut);
        assert_eq!(failure(&failed.error), Some(Failure::TimedOut));
        assert!(failed.transferred > 0 && failed.transferred < LARGE);
        assert!(failed.buffer == pattern(LARGE));
        assert_eq!(ring.snapshot().orphans, 0, "nothing goes on");
        let at = ring.now() + SHORT;
        let lists = near.write_all_vectored(vec![vec![1; LARGE], vec![2; 5]]).deadline(at);
        let lists = lists.await.unwrap_err();
        assert_eq!(lists.kind(), ErrorKind::TimedOut);
        assert_eq!(lists.buffer[1], [2; 5]);
        let sent = failed.transferred + lists.transferred;
        drop(near);
        let (got, end) = rest_of(far);
        assert_eq!((got.len(), end), (sent, Ok(sent)));
        assert!(got.starts_with(&failed.buffer[..failed.transferred]));
    });
}

fn a_read_exact_with_a_time_limit_says_how_far_it_came<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (near, mut far) = tcp_pair();
        let near = TcpStream::from_std(&ring, near);
        far.write_all(b"abc").unwrap();
        let failed = near.read_exact(vec![7; 8]).timeout(SHORT).await.unwrap_err();
        assert_eq!((failed.kind(), failed.transferred), (ErrorKind::TimedOut, 3));
        assert_eq!(failed.buffer, b"abc\x07\x07\x07\x07\x07");
        far.write_all(b"de").unwrap();
        assert_eq!(near.read_exact(vec![0; 2]).timeout(LONG).await.unwrap(), b"de");
        // One that is over before it begins has done nothing.
        far.write_all(b"f").unwrap();
        let failed = near.read_exact(vec![0; 2]).timeout(Duration::ZERO).await.unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::TimedOut);
        let left = 1 - failed.transferred;
        far.write_all(b"g").unwrap();
        assert_eq!(near.read_exact(vec![0; 1 + left]).await.unwrap(), &b"fg"[1 - left..]);
    });
}

fn a_cancelled_transfer_says_how_far_it_came<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (near, mut far) = tcp_pair();
        let near = TcpStream::from_std(&ring, near);
        // Not begun: it never does.
        let failed = near.write_all("never").cancel().await.unwrap_err();
        assert_eq!(failed.error.raw_os_error(), Some(libc::ECANCELED));
        assert_eq!((failed.transferred, failed.buffer), (0, "never"));
        far.write_all(b"ab").unwrap();
        let mut read = near.read_exact(vec![0; 3]);
        let begun = std::future::poll_fn(|_| {
            // Two bytes are there, and it waits for a third.
            std::task::Poll::Ready(poll_once(&mut read).is_pending())
        });
        assert!(begun.await);
        turn(&ring).await;
        turn(&ring).await;
        assert!(poll_once(&mut read).is_pending());
        let failed = read.cancel().await.unwrap_err();
        assert_eq!(failed.error.raw_os_error(), Some(libc::ECANCELED));
        assert_eq!(&failed.buffer[..failed.transferred], &b"ab"[..failed.transferred]);
        assert_eq!(failed.transferred, 2);
    });
}

fn a_transfer_that_ends_in_time_has_its_result<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (near, mut far) = tcp_pair();
        let near = TcpStream::from_std(&ring, near);
        assert_eq!(near.write_all("short").timeout(LONG).await.unwrap(), "short");
        let mut got = [0; 5];
        far.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"short");
        far.write_all(b"12345").unwrap();
        assert_eq!(near.read_exact(vec![0; 5]).timeout(LONG).await.unwrap(), b"12345");
    });
}

fn a_number_of_bytes_is_read_whatever_the_capacity<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (near, mut far) = tcp_pair();
        let near = TcpStream::from_std(&ring, near);
        let mut roomy = Vec::with_capacity(8);
        roomy.extend([9; 3]);
        far.write_all(b"abcdef").unwrap();
        let got = near.read_exact_n(roomy, 3).await.unwrap();
        assert_eq!(got, b"abc");
        let got = near.read_exact_n(got, 2).await.unwrap();
        assert_eq!(got, b"dec", "one that was longer stays so");
        assert_eq!(near.read_exact_n(Vec::<u8>::new(), 0).await.unwrap(), b"");
        let failed = near.read_exact_n(Box::new([0; 2]), 3).await.unwrap_err();
        assert_eq!((failed.kind(), failed.transferred), (ErrorKind::InvalidInput, 0));
        assert_eq!(near.read_exact_n(Box::new([0; 1]), 1).await.unwrap()[..], *b"f");
        let (reader, mut writer) = std::io::pipe().unwrap();
        let reader = pipe::PipeReader::from_std(&ring, reader);
        writer.write_all(b"xy").unwrap();
        assert_eq!(reader.read_exact_n(Vec::with_capacity(64), 2).await.unwrap(), b"xy");
    });
}

/// Leaves a send to a peer that does not read, and drops the connection: with a limit, or aborted.
fn leave_a_peer(ring: &Ring, number: usize) -> std::net::TcpStream {
    let (near, far) = tcp_pair();
    let near = TcpStream::from_std(ring, near);
    if number.is_multiple_of(2) {
        near.set_send_limit(Some(SHORT));
    }
    let mut send = near.write_all(vec![1; LARGE]);
    assert!(poll_once(&mut send).is_pending());
    drop(send);
    if !number.is_multiple_of(2) {
        near.abort();
    }
    far
}

#[test]
fn a_hundred_peers_that_do_not_read_hold_no_descriptor() {
    alone("a_hundred_peers_that_do_not_read_hold_no_descriptor", || {
        let ring = Ring::new(64).unwrap();
        pollster::block_on(async {
            // What the ring opens when somebody first waits is there before anybody counts.
            drop(leave_a_peer(&ring, 1));
            ended(&ring).await;
            ring.timeout(Duration::from_millis(1)).await.unwrap();
            let before = descriptors();
            let peers: Vec<_> = (0..100).map(|number| leave_a_peer(&ring, number)).collect();
            ended(&ring).await;
            // A thread that has taken the last of it in may still be about to close it.
            until(&ring, "all are closed", || descriptors() <= before + peers.len()).await;
            assert_eq!(descriptors(), before + peers.len(), "{:?}", describe_descriptors());
        });
    });
}

#[test]
fn a_world_knows_aborts_and_limits() {
    for seed in 0..20 {
        let mut config = Config::new(seed);
        config.socket_bytes = 1000;
        let world = World::new(config);
        let ring = world.ring().unwrap();
        let address = "127.0.0.1:80";
        world
            .block_on(async move {
                let listener = safer_ring::net::TcpListener::bind(&ring, address).await.unwrap();
                for limited in [false, true] {
                    let near = TcpStream::connect(&ring, address).await.unwrap();
                    let (far, _) = listener.accept().await.unwrap();
                    if limited {
                        near.set_send_limit(Some(LONG));
                    }
                    let mut send = near.write_all(vec![1; 5000]);
                    assert!(poll_once(&mut send).is_pending());
                    drop(send);
                    if limited {
                        until_over(&ring, LONG).await;
                        let failed = near.write("next").await.unwrap_err();
                        assert_eq!(failed.kind(), ErrorKind::TimedOut);
                    } else {
                        near.abort();
                    }
                    assert!(ring.drain(ring.now() + LONG).await.is_complete());
                    drop(near);
                    let end = far.read_exact(vec![0; 5000]).await.unwrap_err();
                    assert_eq!(end.kind() == ErrorKind::ConnectionReset, !limited, "{end}");
                }
            })
            .unwrap();
    }
}

/// Lets the time of a world go on.
async fn until_over(ring: &Ring, time: Duration) {
    ring.timeout(time * 2).await.unwrap();
}

#[cfg(feature = "tokio")]
mod adapters {
    use std::io::ErrorKind;

    use tokio::io::AsyncWriteExt as _;

    use super::common::net::{ended, tcp_pair, until};
    use super::common::{Exec, OnTokio, with_ring, within_deadline};
    use super::{LARGE, SHORT, rest_of};
    use safer_ring::net::TcpStream;

    #[test]
    fn a_write_of_an_adapter_ends_at_its_limit() {
        within_deadline(|| {
            with_ring::<OnTokio>(16, async |ring| {
                let (near, far) = tcp_pair();
                let io = TcpStream::from_std(&ring, near).into_io();
                let mut io = io.with_send_limit(Some(SHORT));
                let error = io.write_all(&vec![1; LARGE]).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::TimedOut);
                drop(io);
                assert!(rest_of(far).0.len() < LARGE);
            });
        });
    }

    fn left_behind<E: Exec>(abort: bool) {
        with_ring::<E>(16, async |ring| {
            let (near, far) = tcp_pair();
            let stream = TcpStream::from_std(&ring, near);
            let fd = stream.fd().clone();
            let mut io = stream.into_io().with_send_limit((!abort).then_some(SHORT));
            // All that the kernel takes, and what the adapter accepts beyond that.
            let mut filled = 0;
            while let Some(written) = futures_util::FutureExt::now_or_never(io.write(&[1; 32768])) {
                filled += written.unwrap();
            }
            if abort {
                io.abort();
            }
            drop(io);
            ended(&ring).await;
            until(&ring, "nothing holds it", || fd.holders() == 1).await;
            drop(fd);
            let (got, end) = rest_of(far);
            assert!(got.len() < filled);
            assert_eq!(end.is_err(), abort, "{end:?}");
        });
    }

    #[test]
    fn what_a_dropped_adapter_has_accepted_ends_at_the_limit() {
        within_deadline(|| left_behind::<OnTokio>(false));
    }

    #[test]
    fn an_adapter_is_aborted() {
        within_deadline(|| left_behind::<OnTokio>(true));
    }
}
