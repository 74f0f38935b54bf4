//! What is ready whenever it is polled gives way now and then: to timers, to other tasks, to other branches of its own task.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::Read as _;
use std::os::unix::net::UnixStream;
#[cfg(feature = "tokio")]
use std::pin::Pin;
#[cfg(feature = "tokio")]
use std::sync::Mutex;
use std::task::{Poll, ready};
use std::time::Duration;

use common::net::never_full;
use common::{file_with, of_the_kernel, pattern, within_deadline};
use futures_util::future::{select, try_join};
use safer_ring::{Fd, Ring};

/// More than may be done in one poll.
const TIMES: usize = 1000;
/// As much as tokio allows a task between two of its turns, and the one that has given way.
const AT_ONCE: usize = 129;

fn ring() -> Ring {
    of_the_kernel().entries(16).build().unwrap()
}

/// Does `work` so many times; gives the most that has been done in one poll.
async fn most_in_one_poll<F: Future>(mut work: impl FnMut() -> F, times: usize) -> usize {
    let (mut now, mut done, mut most) = (Box::pin(work()), 0, 0);
    poll_fn(|cx| {
        for row in 1.. {
            let _ = ready!(now.as_mut().poll(cx));
            now = Box::pin(work());
            (done, most) = (done + 1, most.max(row));
            if done == times {
                break;
            }
        }
        Poll::Ready(most)
    })
    .await
}

/// Runs `work`, some of which ends at once, under a plain `block_on`.
#[track_caller]
fn gives_way<F: Future>(work: impl FnMut() -> F) {
    let most = pollster::block_on(most_in_one_poll(work, TIMES));
    assert!((2..=AT_ONCE).contains(&most), "{most} in one poll");
}

#[test]
fn operations_that_end_as_they_are_handed_over_give_way() {
    within_deadline(|| {
        let ring = ring();
        gives_way(|| async { ring.nop().await.unwrap() });
    });
}

#[test]
fn reads_of_what_is_in_memory_give_way() {
    within_deadline(|| {
        let (ring, file) = (ring(), file_with(&pattern(4096)));
        gives_way(|| async {
            assert_eq!(ring.read_at_owned(&file, vec![0; 16], 0).await.unwrap().0, 16)
        });
    });
}

#[test]
fn sends_give_way_and_keep_their_order() {
    /// Twice as many have room in the socket, so that none waits for that.
    const PAIRS: usize = 100;

    within_deadline(|| {
        let ring = ring();
        let (near, mut far) = UnixStream::pair().unwrap();
        let near: Fd = Fd::new(near);
        let sent = Cell::new(0);
        let pair = || {
            let number = sent.replace(sent.get() + 1);
            // Both are begun before the first is polled again.
            let send = |part| ring.send(&near, vec![number, part]);
            try_join(send(1), send(2))
        };
        let most = pollster::block_on(most_in_one_poll(pair, PAIRS));
        assert!((2..PAIRS).contains(&most), "{most} in one poll");
        drop(near);
        let mut received = Vec::new();
        far.read_to_end(&mut received).unwrap();
        let numbers = 0..u8::try_from(PAIRS).unwrap();
        let expected: Vec<_> = numbers.flat_map(|number| [number, 1, number, 2]).collect();
        assert_eq!(received, expected);
    });
}

#[test]
fn receives_of_what_is_there_give_way() {
    within_deadline(|| {
        let ring = ring();
        let (near, mut far) = UnixStream::pair().unwrap();
        std::io::Write::write_all(&mut far, &[1; TIMES]).unwrap();
        let near: Fd = Fd::new(near);
        gives_way(|| async { assert_eq!(ring.recv(&near, vec![0; 1]).await.unwrap().0, 1) });
    });
}

#[test]
fn batches_and_chains_give_way() {
    within_deadline(|| {
        let ring = ring();
        gives_way(|| async {
            let mut batch = ring.batch();
            let members = [(); 4].map(|()| batch.nop());
            batch.submit().await;
            for member in members {
                member.await.unwrap();
            }
        });
        gives_way(|| async {
            let (first, second) = ring.nop().then(ring.nop()).await;
            first.and(second).unwrap();
        });
    });
}

#[test]
fn a_timer_is_seen_beside_sends_that_never_wait() {
    within_deadline(|| {
        let ring = ring();
        let (near, _far) = never_full();
        let sends = Box::pin(async {
            loop {
                ring.send(&near, vec![7; 8]).await.unwrap();
            }
        });
        let timer = ring.timeout(Duration::from_millis(5));
        pollster::block_on(select(sends, timer));
    });
}

/// A single thread, whose other tasks have no other chance.
#[test]
fn a_task_that_reads_all_the_time_lets_the_others_of_a_runtime_run() {
    within_deadline(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (ring, file) = (ring(), file_with(&pattern(4096)));
        runtime.block_on(async {
            let reads = tokio::spawn(async move {
                loop {
                    ring.read_at_owned(&file, vec![0; 16], 0).await.unwrap();
                }
            });
            tokio::time::sleep(Duration::from_millis(5)).await;
            reads.abort();
            assert!(reads.await.unwrap_err().is_cancelled());
        });
    });
}

/// The most that a stream of receives gives in one poll, of a peer that is far ahead; in a task, or in none.
#[cfg(feature = "tokio")]
async fn most_received_in_one_poll() -> usize {
    use common::net::{greet, message_pair};
    use rustix::net::{SendFlags, SocketType, send};

    // Each message is a receive of its own.
    let (near, mut far) = message_pair(SocketType::SEQPACKET);
    let mut stream = ring().recv_stream(&near);
    drop(near);
    greet(&mut stream, &mut far).await;
    let stream = Mutex::new(stream);
    let next = || poll_fn(|cx| Pin::new(&mut stream.lock().unwrap().next()).poll(cx));
    let ahead = (0..TIMES).take_while(|_| send(&far, b"x", SendFlags::DONTWAIT).is_ok()).count();
    assert!(ahead > AT_ONCE, "{ahead}");
    most_in_one_poll(next, ahead).await
}

#[cfg(feature = "tokio")]
#[test]
fn a_stream_of_receives_whose_peer_is_ahead_gives_way() {
    within_deadline(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let most = runtime.block_on(most_received_in_one_poll());
        assert!((1..=AT_ONCE).contains(&most), "{most} in one poll of no task");
        let most = runtime.block_on(async { tokio::spawn(most_received_in_one_poll()).await });
        let most = most.unwrap();
        assert!((2..=AT_ONCE).contains(&most), "{most} in one poll");
    });
}

/// They do not wait for what they begin, so they give way before that.
#[cfg(feature = "tokio")]
#[test]
fn writes_of_an_adapter_give_way() {
    use tokio::io::AsyncWrite as _;

    within_deadline(|| {
        let ring = ring();
        let (near, _far) = UnixStream::pair().unwrap();
        let stream = safer_ring::net::UnixStream::from_std(&ring, near).into_io();
        let stream = Mutex::new(stream);
        let write = || poll_fn(|cx| Pin::new(&mut *stream.lock().unwrap()).poll_write(cx, b"x"));
        let most = pollster::block_on(most_in_one_poll(write, 200));
        assert!((2..=AT_ONCE).contains(&most), "{most} in one poll");
        assert_eq!(ring.snapshot().in_flight, 0);
    });
}
