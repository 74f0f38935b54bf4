//! Closing ends what dropped futures have left on a descriptor, and tells their errors.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use common::net::{poll_once, shared, tcp_pair, until};
use common::{Exec, deadline, everywhere, failure, pattern, with_ring, within_deadline};
use safer_ring::fs::File;
use safer_ring::net::{TcpListener, TcpStream, UdpSocket, UnixStream};
use safer_ring::pipe::{PipeReader, PipeWriter};
use safer_ring::{Failure, Fd};

everywhere! {
    a_close_ends_an_armed_receive,
    a_close_ends_an_armed_accept,
    a_close_waits_for_a_dropped_send,
    a_close_waits_for_a_dropped_write_of_a_pipe,
    a_close_right_after_dropped_operations_is_not_refused,
    the_error_of_a_dropped_send_is_told_by_the_close,
    a_close_of_a_shared_descriptor_disturbs_nothing,
    a_close_beside_a_live_operation_is_refused,
    a_dropped_close_closes,
    into_std_works_after_settling,
    into_std_is_refused_while_bytes_wait,
    kept_connections_are_closed_with_their_listener,
    a_file_is_closed_after_its_dropped_writes,
}

const MUCH: usize = 2_000_000;

fn a_close_ends_an_armed_receive<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, mut far) = tcp_pair();
        let near = TcpStream::from_std(&ring, near);
        assert!(poll_once(&mut near.read(vec![0; 64])).is_pending());
        ring.nop().await.unwrap();
        near.close().await.unwrap();
        assert_eq!(far.read(&mut [0; 8]).unwrap(), 0, "the peer sees the end");
        let (near, mut far) = std::io::pipe().unwrap();
        let near = PipeReader::from_std(&ring, near);
        assert!(poll_once(&mut near.read(vec![0; 64])).is_pending());
        near.close().await.unwrap();
        assert_eq!(far.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
        let socket = UdpSocket::bind(&ring, "127.0.0.1:0").await.unwrap();
        assert!(poll_once(&mut socket.recv_from(vec![0; 64])).is_pending());
        socket.close().await.unwrap();
        assert_eq!(ring.snapshot().kept, 0);
    });
}

fn a_close_ends_an_armed_accept<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let listener = TcpListener::bind(&ring, "127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut accept = Box::pin(listener.accept());
        assert!(poll_once(&mut accept).is_pending());
        drop(accept);
        ring.nop().await.unwrap();
        listener.close().await.unwrap();
        std::net::TcpStream::connect(address).unwrap_err();
    });
}

fn a_close_waits_for_a_dropped_send<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, mut far) = tcp_pair();
        let near = TcpStream::from_std(&ring, near);
        let mut write = near.write_all(pattern(MUCH * 5));
        assert!(poll_once(&mut write).is_pending());
        drop(write);
        let reader = thread::spawn(move || {
            let mut all = Vec::new();
            far.read_to_end(&mut all).unwrap();
            all
        });
        near.close().await.unwrap();
        assert!(reader.join().unwrap() == pattern(MUCH * 5));
    });
}

fn a_close_waits_for_a_dropped_write_of_a_pipe<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (mut far, near) = std::io::pipe().unwrap();
        let near = PipeWriter::from_std(&ring, near);
        let mut write = near.write_all(pattern(MUCH));
        assert!(poll_once(&mut write).is_pending());
        drop(write);
        let reader = thread::spawn(move || {
            let mut all = Vec::new();
            far.read_to_end(&mut all).unwrap();
            all
        });
        near.close().await.unwrap();
        assert!(reader.join().unwrap() == pattern(MUCH));
    });
}

fn a_close_right_after_dropped_operations_is_not_refused<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        for round in 0..200 {
            let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
            let near = UnixStream::from_std(&ring, near);
            let mut read = near.read(vec![0; 64]);
            assert!(poll_once(&mut read).is_pending());
            let mut write = near.write(vec![0; 10]);
            let _ = poll_once(&mut write);
            drop((read, write));
            match round % 4 {
                0 => {}
                1 => far.write_all(b"arrives").unwrap(),
                2 => far.shutdown(Shutdown::Write).unwrap(),
                _ => {
                    far.write_all(b"arrives").unwrap();
                    ring.nop().await.unwrap();
                }
            }
            near.close().await.unwrap();
        }
    });
}

/// Memory that takes its time to be freed.
struct Slow(Vec<u8>);

impl AsRef<[u8]> for Slow {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        thread::sleep(Duration::from_millis(4));
    }
}

/// A thread that has seen the end of a dropped operation gives up its share of the descriptor a moment later.
#[test]
fn a_close_waits_until_other_threads_let_go() {
    common::within_deadline(|| {
        let ring = common::net::shared(8);
        for _ in 0..20 {
            let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
            let near = UnixStream::from_std(&ring, near);
            let mut write = near.write_all(bytes::Bytes::from_owner(Slow(pattern(MUCH))));
            assert!(poll_once(&mut write).is_pending());
            drop(write);
            far.read_exact(&mut vec![0; MUCH]).unwrap();
            while ring.snapshot().orphans > 0 {
                thread::yield_now();
            }
            pollster::block_on(near.close()).unwrap();
        }
    });
}

fn the_error_of_a_dropped_send_is_told_by_the_close<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, far) = UnixStream::pair(&ring).unwrap();
        let mut write = near.write_all(pattern(MUCH));
        assert!(poll_once(&mut write).is_pending());
        drop(write);
        ring.nop().await.unwrap();
        drop(far);
        let error = near.close().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        assert!(matches!(failure(&error.error), Some(Failure::Earlier { .. })), "{error}");
        assert!(error.buffer.is_none(), "it is closed all the same");
    });
}

fn a_close_of_a_shared_descriptor_disturbs_nothing<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, mut far) = tcp_pair();
        let near = TcpStream::from_std(&ring, near);
        let other = near.fd().clone();
        assert!(poll_once(&mut near.read(vec![0; 64])).is_pending());
        let mut write = near.write_all(pattern(MUCH * 5));
        assert!(poll_once(&mut write).is_pending());
        drop(write);
        // Nobody reads what is sent: it does not wait for that.
        let error = near.close().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceBusy);
        let near = TcpStream::from_fd(&ring, error.buffer.unwrap());
        assert_eq!(ring.snapshot().kept, 1, "the receive is armed");
        drop(other);
        far.write_all(b"kept").unwrap();
        assert_eq!(near.read(vec![0; 64]).await.unwrap().1, b"kept");
        far.shutdown(Shutdown::Both).unwrap();
        drop(far);
        near.close().await.unwrap_err();
    });
}

fn a_close_beside_a_live_operation_is_refused<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
        let near = UnixStream::from_std(&ring, near);
        let mut read = near.read(vec![0; 64]);
        assert!(poll_once(&mut read).is_pending());
        let error = near.close().await.unwrap_err();
        assert!(matches!(failure(&error.error), Some(Failure::Busy { .. })), "{error}");
        let near = UnixStream::from_fd(&ring, error.buffer.unwrap());
        far.write_all(b"live").unwrap();
        assert_eq!(read.await.unwrap().1, b"live");
        near.close().await.unwrap();
    });
}

fn a_dropped_close_closes<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        for polls in 0..3 {
            let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
            let near = UnixStream::from_std(&ring, near);
            assert!(poll_once(&mut near.read(vec![0; 64])).is_pending());
            let mut close = Box::pin(near.close());
            for _ in 0..polls {
                if poll_once(&mut close).is_ready() {
                    break;
                }
            }
            drop(close);
            far.set_nonblocking(true).unwrap();
            until(&ring, "it is closed", || matches!(far.read(&mut [0; 8]), Ok(0))).await;
        }
    });
}

fn into_std_works_after_settling<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, mut far) = tcp_pair();
        let near = TcpStream::from_std(&ring, near);
        assert!(poll_once(&mut near.read(vec![0; 64])).is_pending());
        let near = near.into_std().unwrap_err();
        assert!(poll_once(&mut near.read(vec![0; 64])).is_pending(), "it still works");
        let near = near.into_std().unwrap_err();
        near.settle().await.unwrap();
        let mut near = near.into_std().unwrap();
        far.write_all(b"std").unwrap();
        let mut got = [0; 3];
        near.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"std");
        let file = File::from_fd(&ring, common::file_with(&[]));
        drop(Box::pin(file.write_all(pattern(MUCH))));
        let mut write = file.write(pattern(MUCH));
        let _ = poll_once(&mut write);
        drop(write);
        file.settle().await.unwrap();
        let file = file.into_std().unwrap();
        assert_eq!(file.metadata().unwrap().len(), u64::try_from(MUCH).unwrap());
    });
}

fn into_std_is_refused_while_bytes_wait<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
        let near = UnixStream::from_std(&ring, near);
        assert!(poll_once(&mut near.read(vec![0; 64])).is_pending());
        far.write_all(b"wait").unwrap();
        near.settle().await.unwrap();
        let near = near.into_std().unwrap_err();
        assert_eq!(near.read(vec![0; 64]).await.unwrap().1, b"wait");
        near.settle().await.unwrap();
        near.into_std().unwrap();
    });
}

fn kept_connections_are_closed_with_their_listener<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let listener = TcpListener::bind(&ring, "127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut accept = Box::pin(listener.accept());
        assert!(poll_once(&mut accept).is_pending());
        drop(accept);
        let mut client = std::net::TcpStream::connect(address).unwrap();
        until(&ring, "it is kept", || ring.snapshot().adopted_connections == 1).await;
        listener.close().await.unwrap();
        assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
    });
}

fn a_file_is_closed_after_its_dropped_writes<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let file = File::create(&ring, &path).await.unwrap();
        for at in 0..10 {
            let mut write = file.write_at(vec![1; 100_000], at * 100_000);
            let _ = poll_once(&mut write);
        }
        file.close().await.unwrap();
        assert!(std::fs::read(&path).unwrap() == [1; 1_000_000]);
        let fd: Fd<E::M> = common::file_with(b"content");
        let file = File::from_fd(&ring, fd);
        file.fd().unread(b"waits".to_vec());
        file.close().await.unwrap();
    });
}

/// Whoever takes in the end of a dropped send closes the socket, if its handles are gone; with `SO_LINGER` that waits for
/// the peer, here for an hour.
#[test]
fn a_close_that_lingers_holds_nobody_else_up() {
    within_deadline(|| {
        let ring = shared(16);
        let (near, mut far) = tcp_pair();
        rustix::net::sockopt::set_socket_linger(&near, Some(Duration::from_secs(3600))).unwrap();
        near.set_nonblocking(true).unwrap();
        while (&near).write(&[0; 1 << 16]).is_ok() {}
        near.set_nonblocking(false).unwrap();
        let near: Fd = Fd::new(near);
        let mut send = ring.send(&near, vec![1; 100_000]);
        assert!(poll_once(&mut send).is_pending());
        drop(send);
        drop(near);
        let mut room = vec![0; 1 << 16];
        let end = Instant::now() + deadline() / 2;
        // Not by the ring: the reactor is to take the end in.
        while ring.snapshot().orphans > 0 {
            assert!(Instant::now() < end, "{:?}", ring.snapshot());
            assert_ne!(far.read(&mut room).unwrap(), 0);
            thread::sleep(Duration::from_millis(1));
        }
        let (other, mut source) = std::os::unix::net::UnixStream::pair().unwrap();
        let other: Fd = Fd::new(other);
        let writer = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            source.write_all(b"x").unwrap();
        });
        assert_eq!(pollster::block_on(ring.recv(&other, vec![0; 8])).unwrap().1, b"x");
        writer.join().unwrap();
        // The rest was sent all the same, and then the end.
        let mut rest = 0;
        loop {
            match far.read(&mut room).unwrap() {
                0 => break,
                count => rest += count,
            }
        }
        assert!(rest > 0);
    });
}
