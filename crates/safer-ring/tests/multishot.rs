//! Receives that complete again and again: one entry of the ring for all that arrives on a socket.
//!
//! Where a ring has none (the fallback, older kernels), the same programs run on one receive after the other.
#![cfg(feature = "futures")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::io::{ErrorKind, Read as _, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use common::net::{ended, poll_once, tcp_pair, turn};
use common::{Exec, everywhere, pattern, with_built, with_ring};
use futures_util::future::{Either, join, select};
use futures_util::{Stream, StreamExt as _};
use rustix::net::sockopt;
use safer_ring::net::TcpStream;
use safer_ring::{Fd, Interest, Mode, RecvStream, Ring, RingBuffer, RingOf};

everywhere!(
    a_stream_of_receives_is_one_submission,
    what_is_received_can_be_sent_on,
    buffers_that_run_out_end_no_stream,
    a_burst_finds_more_buffers_than_a_ring_begins_with,
    a_dropped_stream_of_receives_keeps_the_order,
    a_receive_takes_what_a_stream_of_receives_has_taken_in,
    a_receive_that_waits_already_is_not_starved_by_a_stream_of_receives,
    two_streams_of_receives_share_what_arrives,
    a_slow_reader_holds_its_peer_back,
    the_end_comes_behind_what_arrived,
    an_error_comes_behind_what_arrived,
    a_socket_that_is_not_connected_says_so,
    a_peek_sees_what_was_taken_in,
    a_poll_waits_beside_a_stream_of_receives,
    a_socket_that_does_not_block_is_received_from,
    a_ring_with_a_stream_of_receives_is_drained,
    a_ring_ends_under_a_stream_of_receives,
    a_restricted_ring_receives_one_by_one,
);

fn poll_next<S: Stream + Unpin>(stream: &mut S) -> Poll<Option<S::Item>> {
    Pin::new(stream).poll_next(&mut Context::from_waker(Waker::noop()))
}

fn pair<M: Mode>(ring: &RingOf<M>) -> (std::net::TcpStream, TcpStream<M>) {
    let (far, near) = tcp_pair();
    (far, TcpStream::from_fd(ring, Fd::new(near)))
}

/// The same, with a stream of receives that the kernel has.
async fn armed<M: Mode>(ring: &RingOf<M>) -> (std::net::TcpStream, TcpStream<M>, RecvStream<M>) {
    let (far, near) = pair(ring);
    let mut arrives = near.recv_stream();
    assert!(poll_next(&mut arrives).is_pending());
    turn(ring).await;
    (far, near, arrives)
}

/// The next bytes, which must come.
async fn some<S>(arrives: &mut S) -> RingBuffer
where
    S: Stream<Item = std::io::Result<RingBuffer>> + Unpin,
{
    arrives.next().await.unwrap().unwrap()
}

fn a_stream_of_receives_is_one_submission<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (mut far, _near, mut arrives) = armed(&ring).await;
        let before = ring.snapshot().submitted;
        for number in 0..200_u8 {
            far.write_all(&[number; 3]).unwrap();
            assert_eq!(some(&mut arrives).await[..], [number; 3]);
        }
        let submitted = ring.snapshot().submitted - before;
        if ring.features().has_multishot_receive() {
            assert_eq!(submitted, 0, "{:?}", ring.snapshot());
        } else {
            assert!(submitted >= 199, "one for each");
        }
    });
}

fn what_is_received_can_be_sent_on<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (mut far, near) = pair(&ring);
        let echo = async {
            let mut arrives = near.recv_stream();
            while let Some(buffer) = arrives.next().await {
                near.write_all(buffer.unwrap().into_inner()).await.unwrap();
            }
            near.shutdown(std::net::Shutdown::Write).await.unwrap();
        };
        let sent = pattern(3_000_000);
        let mut writer = far.try_clone().unwrap();
        let whole = sent.clone();
        let write = thread::spawn(move || {
            writer.write_all(&whole).unwrap();
            writer.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let read = thread::spawn(move || {
            let mut got = Vec::new();
            far.read_to_end(&mut got).unwrap();
            got
        });
        echo.await;
        write.join().unwrap();
        assert!(read.join().unwrap() == sent);
    });
}

fn buffers_that_run_out_end_no_stream<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (mut far, near) = pair(&ring);
        let mut arrives = near.recv_stream();
        let mut held = Vec::new();
        let mut all = true;
        // More than the 1024 that the kernel picks from, and as many again that one receive after the other uses.
        for number in 0..3000_u16 {
            far.write_all(&number.to_le_bytes()).unwrap();
            let mut next = arrives.next();
            let mut came = poll_once(&mut next);
            for _ in 0..200 {
                if came.is_ready() {
                    break;
                }
                ring.timeout(Duration::from_millis(1)).await.unwrap();
                came = poll_once(&mut next);
            }
            let Poll::Ready(buffer) = came else {
                all = false;
                break;
            };
            held.push(buffer.unwrap().unwrap());
        }
        let count = held.len();
        assert!(!all && count >= 1024, "{count} buffers: it waits while all of them are out");
        // They come back, and it goes on where it was.
        let values: Vec<u8> = held.iter().flat_map(|buffer| buffer.to_vec()).collect();
        drop(held);
        let mut got = values;
        while got.len() < 2 * (count + 1) {
            got.extend_from_slice(&some(&mut arrives).await);
        }
        let wanted: Vec<u8> =
            (0..=u16::try_from(count).unwrap()).flat_map(u16::to_le_bytes).collect();
        assert!(got == wanted);
    });
}

/// Has 200 streams of receives find something at once, so that the ring lends more buffers.
async fn burst<M: Mode>(ring: &RingOf<M>) {
    let mut pairs: Vec<_> = (0..200_u8).map(|_| pair(ring)).collect();
    let mut streams: Vec<_> = pairs.iter().map(|(_, near)| near.recv_stream()).collect();
    for round in 0..5_u8 {
        for arrives in &mut streams {
            assert!(poll_next(arrives).is_pending());
        }
        turn(ring).await;
        // All of them before the ring looks.
        for (number, (far, _)) in (0..).zip(&mut pairs) {
            far.write_all(&[number, round]).unwrap();
        }
        for (number, arrives) in (0..).zip(&mut streams) {
            assert_eq!(some(arrives).await[..], [number, round]);
        }
    }
}

fn a_burst_finds_more_buffers_than_a_ring_begins_with<E: Exec>() {
    with_ring::<E>(256, async |ring| burst(&ring).await);
}

fn a_dropped_stream_of_receives_keeps_the_order<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (mut far, near) = pair(&ring);
        let sent = pattern(4000);
        let mut got = Vec::new();
        for (number, chunk) in sent.chunks(10).enumerate() {
            let mut arrives = near.recv_stream();
            let before = poll_next(&mut arrives);
            if let Poll::Ready(buffer) = before {
                got.extend_from_slice(&buffer.unwrap().unwrap());
            }
            if number % 3 == 0 {
                turn(&ring).await;
            }
            far.write_all(chunk).unwrap();
            if number % 2 == 0 {
                turn(&ring).await;
            }
            drop(arrives);
            if number % 5 == 0 {
                let (count, buffer) = near.read(Vec::with_capacity(7)).await.unwrap();
                assert_eq!(count, buffer.len());
                got.extend_from_slice(&buffer);
            }
        }
        while got.len() < sent.len() {
            got.extend_from_slice(&near.read(Vec::with_capacity(512)).await.unwrap().1);
        }
        assert!(got == sent);
        ended(&ring).await;
    });
}

fn a_receive_takes_what_a_stream_of_receives_has_taken_in<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        if !ring.features().has_multishot_receive() {
            return println!(
                "skipped: no multishot receives here, and of two receives the first is served first"
            );
        }
        let (mut far, near, mut arrives) = armed(&ring).await;
        far.write_all(b"one, two").unwrap();
        let read = near.read(Vec::with_capacity(4)).await.unwrap();
        assert_eq!(read.1, b"one,");
        // The rest of it, and then what comes by itself.
        assert_eq!(some(&mut arrives).await[..], *b" two");
        far.write_all(b"three").unwrap();
        assert_eq!(some(&mut arrives).await[..], *b"three");
    });
}

fn a_receive_that_waits_already_is_not_starved_by_a_stream_of_receives<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        for round in 0..20 {
            let (mut far, near) = tcp_pair();
            // One that does not block waits as a poll, behind which the kernel gives to whoever asks first.
            near.set_nonblocking(round % 2 == 0).unwrap();
            let near = TcpStream::from_fd(&ring, Fd::new(near));
            let mut waits = near.read(Vec::with_capacity(4));
            assert!(poll_once(&mut waits).is_pending());
            turn(&ring).await;
            let mut arrives = near.recv_stream();
            assert!(poll_next(&mut arrives).is_pending());
            turn(&ring).await;
            far.write_all(b"1234").unwrap();
            // To each of them one of two messages.
            let (first, second) = match select(waits, arrives.next()).await {
                Either::Left((read, next)) => {
                    far.write_all(b"5678").unwrap();
                    (read.unwrap().1, next.await.unwrap().unwrap().to_vec())
                }
                Either::Right((next, waits)) => {
                    far.write_all(b"5678").unwrap();
                    (next.unwrap().unwrap().to_vec(), waits.await.unwrap().1)
                }
            };
            assert_eq!((&first[..], &second[..]), (&b"1234"[..], &b"5678"[..]));
        }
    });
}

fn two_streams_of_receives_share_what_arrives<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (mut far, near) = pair(&ring);
        let (mut one, mut other) = (near.recv_stream(), near.recv_stream());
        for round in 0..50_u8 {
            far.write_all(&[round]).unwrap();
            let first = if round % 2 == 0 { &mut one } else { &mut other };
            assert_eq!(some(first).await[..], [round]);
        }
        assert!(poll_next(&mut other).is_pending());
        // The one that has armed it goes.
        drop(one);
        far.write_all(b"still").unwrap();
        assert_eq!(some(&mut other).await[..], *b"still");
    });
}

fn a_slow_reader_holds_its_peer_back<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        // There are buffers enough to take in far more.
        burst(&ring).await;
        let (mut far, near) = pair(&ring);
        far.set_nonblocking(true).unwrap();
        let mut arrives = near.recv_stream();
        assert!(poll_next(&mut arrives).is_pending());
        let sent = pattern(32_000_000);
        let mut from = 0;
        let mut stalls = 0;
        // Nobody reads, but the ring looks often: until it does, the kernel takes in what comes. A pause for what is on its
        // way, each time that the peer cannot go on.
        while stalls < 50 && from < sent.len() {
            match far.write(&sent[from..sent.len().min(from + 100_000)]) {
                Ok(count) => {
                    (from, stalls) = (from + count, 0);
                    turn(&ring).await;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    stalls += 1;
                    ring.timeout(Duration::from_millis(2)).await.unwrap();
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert!(from < sent.len(), "the peer waits");
        let kept = near.fd().kept_bytes();
        assert!(kept <= 100 * 16 * 1024, "{kept} bytes were taken in ahead");
        far.set_nonblocking(false).unwrap();
        let writer = thread::spawn(move || drop(far));
        let mut got = 0;
        while let Some(buffer) = arrives.next().await {
            let buffer = buffer.unwrap();
            assert!(buffer[..] == sent[got..got + buffer.len()]);
            got += buffer.len();
        }
        writer.join().unwrap();
        assert_eq!(got, from);
    });
}

fn the_end_comes_behind_what_arrived<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (mut far, near, mut arrives) = armed(&ring).await;
        far.write_all(b"last words").unwrap();
        drop(far);
        turn(&ring).await;
        assert_eq!(some(&mut arrives).await[..], *b"last words");
        for _ in 0..3 {
            assert!(arrives.next().await.is_none());
        }
        assert_eq!(near.read(Vec::with_capacity(4)).await.unwrap().0, 0);
    });
}

fn an_error_comes_behind_what_arrived<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (mut far, _near, mut arrives) = armed(&ring).await;
        far.write_all(b"then").unwrap();
        assert_eq!(some(&mut arrives).await[..], *b"then");
        assert!(poll_next(&mut arrives).is_pending());
        // A reset in place of an end.
        sockopt::set_socket_linger(&far, Some(Duration::ZERO)).unwrap();
        drop(far);
        let error = arrives.next().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert!(arrives.next().await.is_none(), "told once");
    });
}

fn a_socket_that_is_not_connected_says_so<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let odd = TcpStream::from_fd(&ring, Fd::new(listener));
        let error = odd.recv_stream().next().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected);
        // The ring has not lost anything by that.
        let (mut far, near) = pair(&ring);
        far.write_all(b"well").unwrap();
        assert_eq!(some(&mut near.recv_stream()).await[..], *b"well");
    });
}

fn a_peek_sees_what_was_taken_in<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        if !ring.features().has_multishot_receive() {
            return println!(
                "skipped: no multishot receives here, and a receive takes what a peek beside it would see"
            );
        }
        let (mut far, near, mut arrives) = armed(&ring).await;
        far.write_all(b"look").unwrap();
        assert_eq!(near.peek(Vec::with_capacity(2)).await.unwrap().1, b"lo");
        assert_eq!(some(&mut arrives).await[..], *b"look");
    });
}

fn a_poll_waits_beside_a_stream_of_receives<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (mut far, near, mut arrives) = armed(&ring).await;
        let fd = near.fd().clone();
        let write = async {
            ring.timeout(Duration::from_millis(2)).await.unwrap();
            far.write_all(b"ready").unwrap();
        };
        let (ready, ()) = join(ring.poll(&fd, Interest::READABLE), write).await;
        ready.unwrap();
        assert_eq!(some(&mut arrives).await[..], *b"ready");
    });
}

fn a_socket_that_does_not_block_is_received_from<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (mut far, near) = tcp_pair();
        near.set_nonblocking(true).unwrap();
        let near = TcpStream::from_fd(&ring, Fd::new(near));
        let mut arrives = near.recv_stream();
        for round in 0..50_u8 {
            assert!(poll_next(&mut arrives).is_pending());
            turn(&ring).await;
            far.write_all(&[round]).unwrap();
            assert_eq!(some(&mut arrives).await[..], [round]);
        }
    });
}

fn a_ring_with_a_stream_of_receives_is_drained<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (mut far, _near, mut arrives) = armed(&ring).await;
        far.write_all(b"before").unwrap();
        if ring.features().has_multishot_receive() {
            let left = ring.drain(Instant::now() + common::deadline() / 2).await;
            assert!(left.is_complete(), "{left:?}");
        }
        assert_eq!(some(&mut arrives).await[..], *b"before");
        far.write_all(b"behind").unwrap();
        assert_eq!(some(&mut arrives).await[..], *b"behind");
    });
}

fn a_ring_ends_under_a_stream_of_receives<E: Exec>() {
    for round in 0..10 {
        let ring = E::builder(Ring::builder().entries(8)).build().unwrap();
        let (mut far, near) = pair(&ring);
        let fd = near.fd().clone();
        let arrives = E::run(&ring, async {
            let mut arrives = near.recv_stream();
            assert!(poll_next(&mut arrives).is_pending());
            // Sometimes the kernel has the entry, and sometimes something to tell.
            if round % 2 == 0 {
                turn(&ring).await;
            }
            if round % 3 == 0 {
                far.write_all(b"left").unwrap();
            }
            arrives
        });
        if round % 4 < 2 {
            drop(arrives);
            drop((near, ring));
        } else {
            drop((near, ring, arrives));
        }
        let end = Instant::now() + common::deadline() / 2;
        while fd.holders() > 1 {
            assert!(Instant::now() < end, "nothing holds the descriptor any more");
            thread::sleep(Duration::from_millis(1));
        }
        assert!(fd.kept_bytes() <= 4);
    }
}

fn a_restricted_ring_receives_one_by_one<E: Exec>() {
    with_built::<E>(Ring::builder().entries(8).restricted(true), async |ring| {
        assert!(!ring.features().has_multishot_receive());
        let (mut far, near) = pair(&ring);
        let mut arrives = near.recv_stream();
        for round in 0..20_u8 {
            far.write_all(&[round]).unwrap();
            assert_eq!(some(&mut arrives).await[..], [round]);
        }
    });
}
