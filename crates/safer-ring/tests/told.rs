//! Streams of receives in tasks of tokio, whose poller tells them what arrives: on a real kernel.
#![cfg(feature = "tokio")]
#![allow(unsafe_code, clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::future::poll_fn;
use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::task::Poll;
use std::time::Duration;

use common::alone::alone;
use common::child::in_child;
use common::flavour::{self, Flavour as _};
use common::net::{greet, message_pair};
use common::{failure, of_the_kernel, pattern, within_deadline};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketType, sockopt};
use safer_ring::{Failure, Fd, RecvStream, Ring};
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};
use tokio::runtime::{Builder, Runtime};

fn threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn ring() -> Ring {
    of_the_kernel().entries(16).build().unwrap()
}

/// A connected socket, and its peer.
fn pair() -> (Fd, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (Fd::new(listener.accept().unwrap().0), far)
}

/// A stream that has been greeted in this task, with its ring, its socket and the peer.
async fn told() -> (Ring, Fd, TcpStream, RecvStream) {
    let (ring, (near, mut far)) = (ring(), pair());
    let mut stream = ring.recv_stream(&near);
    greet(&mut stream, &mut far).await;
    (ring, near, far, stream)
}

/// [`greet`] as a task of a runtime.
fn greet_in(
    runtime: &Runtime,
    mut stream: RecvStream,
    mut far: TcpStream,
) -> (RecvStream, TcpStream) {
    runtime.block_on(async {
        let greeted = tokio::spawn(async move {
            greet(&mut stream, &mut far).await;
            (stream, far)
        });
        greeted.await.unwrap()
    })
}

/// Runs `body` as a task of a runtime with two threads.
fn in_a_task(body: impl Future<Output = ()> + Send + 'static) {
    within_deadline(|| threads().block_on(async { tokio::spawn(body).await.unwrap() }));
}

/// Has `near` greeted by `far` in a task with a runtime of its own, whose poller nobody is in while the task runs. Then `send` sends all
/// that is to come at once, and it must arrive in these pieces.
fn arrives_in_pieces<T: Write + Send + 'static>(
    (near, mut far): (Fd, T),
    send: impl FnOnce(&mut T) + Send + 'static,
    pieces: &'static [&'static [u8]],
) {
    within_deadline(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let task = runtime.spawn(async move {
            let ring = ring();
            let mut stream = ring.recv_stream(&near);
            greet(&mut stream, &mut far).await;
            send(&mut far);
            for piece in pieces {
                assert_eq!(stream.next().await.unwrap().unwrap()[..], **piece);
            }
            // And the next edge is heard of.
            greet(&mut stream, &mut far).await;
        });
        runtime.block_on(task).unwrap();
    });
}

fn unix_pair() -> (Fd, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    (Fd::new(near), far)
}

/// Whether streams are told here: the ring has them in another way than one by one.
fn tells(ring: &Ring) -> bool {
    ring.features().has_multishot_receive()
}

#[test]
fn what_arrives_is_taken_without_an_entry() {
    in_a_task(async {
        let (ring, _near, mut far, mut stream) = told().await;
        let before = ring.snapshot().submitted;
        for n in 0..100u8 {
            far.write_all(&[n; 10]).unwrap();
            assert_eq!(stream.next().await.unwrap().unwrap()[..], [n; 10]);
        }
        if tells(&ring) {
            assert_eq!(ring.snapshot().submitted, before);
        }
        // One that waits has nothing in flight, and is woken.
        let waits = tokio::spawn(async move { stream.next().await.unwrap().unwrap().to_vec() });
        tokio::time::sleep(Duration::from_millis(50)).await;
        if tells(&ring) {
            assert_eq!(ring.snapshot().in_flight, 0);
        }
        far.write_all(b"late").unwrap();
        assert_eq!(waits.await.unwrap(), b"late");
    });
}

#[test]
fn a_stream_that_began_to_wait_before_its_task_was_known_is_told_later() {
    in_a_task(async {
        let (ring, (near, mut far)) = (ring(), pair());
        let mut stream = ring.recv_stream(&near);
        // No task: what waits is armed in the ring.
        let sender = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            far.write_all(b"blocked").unwrap();
            far
        });
        assert_eq!(pollster::block_on(stream.next()).unwrap().unwrap()[..], *b"blocked");
        let mut far = sender.join().unwrap();
        greet(&mut stream, &mut far).await;
        let waits = tokio::spawn(async move { stream.next().await.unwrap().unwrap().to_vec() });
        tokio::time::sleep(Duration::from_millis(50)).await;
        if tells(&ring) {
            assert_eq!(ring.snapshot().in_flight, 0);
        }
        far.write_all(b"told").unwrap();
        assert_eq!(waits.await.unwrap(), b"told");
    });
}

#[test]
fn a_stream_leaves_a_runtime_that_nobody_runs() {
    within_deadline(|| {
        let (ring, (near, mut far)) = (ring(), pair());
        let mut stream = ring.recv_stream(&near);
        let idle = Builder::new_current_thread().enable_all().build().unwrap();
        (stream, far) = greet_in(&idle, stream, far);
        // It lives, and nobody is in its poller.
        drop(greet_in(&threads(), stream, far));
        drop(idle);
    });
}

#[test]
fn much_that_arrives_is_taken_in_order_to_the_end() {
    in_a_task(async {
        let (_ring, _near, mut far, mut stream) = told().await;
        let all = pattern(3_000_000);
        let sent = all.clone();
        let sender = std::thread::spawn(move || far.write_all(&sent).unwrap());
        let mut got = Vec::new();
        while let Some(some) = stream.next().await {
            got.extend_from_slice(&some.unwrap());
        }
        sender.join().unwrap();
        assert!(got == all);
        assert!(stream.next().await.is_none(), "the end stays");
    });
}

#[test]
fn bytes_behind_urgent_data_are_not_left_in_the_socket() {
    let send = |far: &mut TcpStream| {
        far.write_all(b"abc").unwrap();
        assert_eq!(rustix::net::send(far.as_fd(), b"X", SendFlags::OOB), Ok(1));
        far.write_all(b"def").unwrap();
    };
    arrives_in_pieces(pair(), send, &[b"abc", b"def"]);
}

#[test]
fn bytes_behind_a_message_with_descriptors_are_not_left_in_the_socket() {
    let send = |far: &mut UnixStream| {
        let file = [far.as_fd()];
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut room);
        assert!(control.push(SendAncillaryMessage::ScmRights(&file)));
        let bytes = [IoSlice::new(b"abc")];
        let sent = rustix::net::sendmsg(file[0], &bytes, &mut control, SendFlags::empty()).unwrap();
        assert_eq!(sent, 3);
        (&*far).write_all(b"def").unwrap();
    };
    arrives_in_pieces(unix_pair(), send, &[b"abc", b"def"]);
}

#[test]
fn bytes_of_another_sender_are_not_left_in_the_socket() {
    let (near, far) = unix_pair();
    sockopt::set_socket_passcred(&near, true).unwrap();
    let send = |far: &mut UnixStream| {
        far.write_all(b"abc").unwrap();
        let other = OwnedFd::from(far.try_clone().unwrap());
        let mut echo = Command::new("printf");
        assert!(echo.arg("def").stdout(Stdio::from(other)).status().unwrap().success());
    };
    arrives_in_pieces((near, far), send, &[b"abc", b"def"]);
}

#[test]
fn a_message_behind_another_is_not_left_in_the_socket() {
    for kind in [SocketType::SEQPACKET, SocketType::DGRAM] {
        let send = |far: &mut UnixStream| {
            for message in [&b"first"[..], b"second", b"3"] {
                far.write_all(message).unwrap();
            }
        };
        arrives_in_pieces(message_pair(kind), send, &[b"first", b"second", b"3"]);
    }
}

#[test]
fn a_stream_that_goes_takes_nothing_with_it() {
    in_a_task(async {
        let (ring, near, mut far, mut stream) = told().await;
        for n in 0..50u8 {
            drop(futures_util::poll!(stream.next()));
            drop(stream);
            far.write_all(&[n; 3]).unwrap();
            let (count, bytes) = ring.recv(&near, vec![0; 8]).await.unwrap();
            assert_eq!((count, &bytes[..3]), (3, &[n; 3][..]));
            stream = ring.recv_stream(&near);
            far.write_all(b"next").unwrap();
            assert_eq!(stream.next().await.unwrap().unwrap()[..], *b"next");
        }
    });
}

#[test]
fn a_stream_that_is_told_is_woken_for_what_is_given_back() {
    in_a_task(async {
        let (_ring, near, _far, mut stream) = told().await;
        let waits = tokio::spawn(async move { stream.next().await.unwrap().unwrap().to_vec() });
        tokio::time::sleep(Duration::from_millis(50)).await;
        near.unread(b"back".to_vec());
        assert_eq!(waits.await.unwrap(), b"back");
    });
}

#[test]
fn the_error_of_a_connection_is_told_once() {
    in_a_task(async {
        let (ring, near, far, mut stream) = told().await;
        // Unread bytes make a reset of the close.
        ring.send(&near, b"unread".to_vec()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        drop(far);
        let error = stream.next().await.unwrap().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
        assert!(stream.next().await.is_none());
    });
}

#[test]
fn what_is_no_socket_is_read() {
    in_a_task(async {
        let ring = ring();
        let (near, mut far) = std::io::pipe().unwrap();
        let near: Fd = Fd::new(std::os::fd::OwnedFd::from(near));
        let mut stream = ring.recv_stream(&near);
        for _ in 0..3 {
            tokio::task::yield_now().await;
            far.write_all(b"hello").unwrap();
            assert_eq!(stream.next().await.unwrap().unwrap()[..], *b"hello");
        }
        drop(far);
        assert!(stream.next().await.is_none());
    });
}

#[test]
fn two_streams_of_a_socket_share_what_arrives() {
    in_a_task(async {
        let (ring, (near, mut far)) = (ring(), pair());
        let mut tasks = Vec::new();
        for _ in 0..2 {
            let mut stream = ring.recv_stream(&near);
            tasks.push(tokio::spawn(async move {
                let mut got = 0;
                while let Some(some) = stream.next().await {
                    got += some.unwrap().len();
                }
                got
            }));
        }
        for _ in 0..200 {
            far.write_all(&[7; 100]).unwrap();
            tokio::task::yield_now().await;
        }
        drop(far);
        let mut got = 0;
        for task in tasks {
            got += task.await.unwrap();
        }
        assert_eq!(got, 20_000);
    });
}

#[test]
fn a_task_that_blocks_its_only_thread_on_a_stream_goes_on() {
    within_deadline(|| {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            tokio::spawn(async {
                let (ring, (near, mut far)) = (ring(), pair());
                let mut stream = ring.recv_stream(&near);
                greet(&mut stream, &mut far).await;
                let sender = std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_millis(100));
                    far.write_all(b"rescue").unwrap();
                    far
                });
                // Nobody is in the poller of this runtime meanwhile.
                let got = pollster::block_on(stream.next()).unwrap().unwrap();
                assert_eq!(got[..], *b"rescue");
                drop(sender.join().unwrap());
            })
            .await
            .unwrap();
        });
    });
}

#[test]
fn a_stream_outlives_the_runtime_that_told_it() {
    within_deadline(|| {
        let (ring, (near, mut far)) = (ring(), pair());
        let mut stream = ring.recv_stream(&near);
        let first = threads();
        (stream, far) = greet_in(&first, stream, far);
        drop(first);
        for _ in 0..2 {
            (stream, far) = greet_in(&threads(), stream, far);
        }
        far.write_all(b"without").unwrap();
        assert_eq!(pollster::block_on(stream.next()).unwrap().unwrap()[..], *b"without");
    });
}

/// The tests of adapters in tasks (`common/flavour.rs`) are of such streams: nothing is in flight for a read that waits.
#[test]
fn a_read_in_a_task_has_no_entry() {
    within_deadline(|| {
        flavour::in_a_task(|| async {
            let ring = ring();
            let unix = flavour::OurUnix::<flavour::OnPollster>(ring.clone());
            let (mut far, mut near) = unix.pair();
            let mut byte = [0];
            let polled = poll_fn(|cx| {
                let mut room = ReadBuf::new(&mut byte);
                Poll::Ready(Pin::new(&mut near).poll_read(cx, &mut room).is_pending())
            });
            assert!(polled.await);
            if tells(&ring) {
                assert_eq!(ring.snapshot().in_flight, 0);
            }
            far.write_all(b"x").await.unwrap();
            assert_eq!(near.read_u8().await.unwrap(), b'x');
        });
    });
}

/// What the pollers of this process watch.
fn watched() -> Vec<String> {
    let entries = std::fs::read_dir("/proc/self/fdinfo").unwrap();
    let texts = entries.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok());
    let lines = texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
    let mut watched: Vec<String> =
        lines.filter(|line| line.starts_with("tfd:")).map(|line| line[..20].to_owned()).collect();
    watched.sort();
    watched
}

#[test]
fn a_forked_child_takes_nothing_out_of_its_parents_poller() {
    alone("a_forked_child_takes_nothing_out_of_its_parents_poller", || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let task = runtime.spawn(async {
            let (ring, near, mut far, mut stream) = told().await;
            // Heard of by the runtime as well.
            let (other, mut other_far) = unix_pair();
            let mut wait = Some(ring.recv(&other, vec![0; 8]));
            assert!(futures_util::poll!(wait.as_mut().unwrap()).is_pending());
            assert!(futures_util::poll!(stream.next()).is_pending());
            let before = watched();
            far.write_all(b"mine").unwrap();
            let mut all = Some((ring, near, stream, other));
            let status = poll_fn(|cx| {
                Poll::Ready(in_child(|| {
                    // SAFETY: takes no pointer. A child that hangs is ended.
                    unsafe { libc::alarm(20) };
                    let (ring, near, mut stream, other) = all.take().unwrap();
                    let Poll::Ready(Some(Err(error))) = stream.poll_receive(cx) else { return 1 };
                    if failure(&error) != Some(Failure::Forked) {
                        return 2;
                    }
                    drop((stream, wait.take()));
                    drop((ring, near, other));
                    0
                }))
            });
            assert_eq!(status.await, 0, "the step of the child that went wrong");
            assert_eq!(watched(), before);
            let (_ring, _near, mut stream, _other) = all.take().unwrap();
            assert_eq!(stream.next().await.unwrap().unwrap()[..], *b"mine");
            greet(&mut stream, &mut far).await;
            other_far.write_all(b"theirs").unwrap();
            assert_eq!(wait.take().unwrap().await.unwrap().1, b"theirs");
        });
        runtime.block_on(task).unwrap();
    });
}
