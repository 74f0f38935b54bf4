//! The adapters as `futures-io` knows them, and the `Stream`s of connections and of what arrives.
#![cfg(feature = "futures")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::io::{ErrorKind, IoSliceMut, Read as _, SeekFrom, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use common::net::{poll_once, until};
use common::{Exec, everywhere, pattern, with_ring};
use futures_util::future::join;
use futures_util::io::{copy, copy_buf};
use futures_util::{
    AsyncBufReadExt as _, AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _, Stream,
    StreamExt as _,
};
use safer_ring::BackendKind;
use safer_ring::fs::File;
use safer_ring::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};
use safer_ring::pipe;

everywhere!(
    bytes_go_both_ways,
    lines_are_read_without_a_copy,
    closing_flushes_and_ends_the_direction,
    a_file_is_copied_to_a_stream,
    a_file_is_sought_in,
    a_close_that_is_dropped_goes_on,
    a_seek_that_is_dropped_has_not_happened,
    calls_that_are_dropped_lose_nothing,
    connections_come_and_none_is_lost,
    unix_connections_come,
    an_error_does_not_end_the_connections,
    a_stream_of_buffers_ends_with_its_peer,
    a_dropped_stream_of_buffers_loses_nothing,
    datagrams_come_with_their_senders,
);

fn bytes_go_both_ways<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, b) = UnixStream::pair(&ring).unwrap();
        let (mut a, mut b) = (a.into_io(), b.into_io());
        let sent = pattern(1_000_000);
        let write = async {
            a.write_all(&sent).await.unwrap();
            a.close().await.unwrap();
            let mut answer = String::new();
            a.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer, "1000000");
        };
        let mut got = Vec::new();
        let read = async {
            b.read_to_end(&mut got).await.unwrap();
            b.write_all(got.len().to_string().as_bytes()).await.unwrap();
            b.close().await.unwrap();
        };
        join(write, read).await;
        assert!(got == sent);
        assert_eq!(a.read(&mut []).await.unwrap(), 0);
        assert_eq!(a.write(&[]).await.unwrap(), 0);
    });
}

fn lines_are_read_without_a_copy<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
        far.write_all(b"one\ntwo\nthree").unwrap();
        drop(far);
        let mut near = UnixStream::from_std(&ring, near).into_io();
        assert_eq!(near.fill_buf().await.unwrap(), b"one\ntwo\nthree");
        near.consume_unpin(4);
        let lines: Vec<_> = near.lines().map(Result::unwrap).collect().await;
        assert_eq!(lines, ["two", "three"]);
    });
}

fn closing_flushes_and_ends_the_direction<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, b) = UnixStream::pair(&ring).unwrap();
        let (mut a, mut b) = (a.into_io(), b.into_io());
        a.write_all(b"last").await.unwrap();
        a.close().await.unwrap();
        let told = match a.write_all(b"late").await {
            Ok(()) => a.flush().await,
            told => told,
        };
        assert_eq!(told.unwrap_err().kind(), ErrorKind::BrokenPipe);
        let mut got = Vec::new();
        b.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"last");
    });
}

fn a_file_is_copied_to_a_stream<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let mut std = tempfile::tempfile().unwrap();
        let all = pattern(300_000);
        std.write_all(&all).unwrap();
        std::io::Seek::rewind(&mut std).unwrap();
        let mut file = File::from_std(&ring, std).into_io();
        let (a, b) = UnixStream::pair(&ring).unwrap();
        let (mut a, b) = (a.into_io(), b.into_io());
        let send = async {
            copy_buf(&mut file, &mut a).await.unwrap();
            a.close().await.unwrap();
        };
        let mut got = Vec::new();
        let (count, ()) = join(copy(b, &mut got), send).await;
        assert_eq!(count.unwrap(), 300_000);
        assert!(got == all);
    });
}

fn a_file_is_sought_in<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let mut file = File::from_std(&ring, tempfile::tempfile().unwrap()).into_io();
        file.write_all(b"0123456789").await.unwrap();
        assert_eq!(file.seek(SeekFrom::Current(-4)).await.unwrap(), 6);
        let mut two = [0; 2];
        file.read_exact(&mut two).await.unwrap();
        assert_eq!((&two, file.stream_position().await.unwrap()), (b"67", 8));
        assert_eq!(file.seek(SeekFrom::End(-1)).await.unwrap(), 9);
        file.write_all(b"XY").await.unwrap();
        file.close().await.unwrap();
        file.seek(SeekFrom::Start(8)).await.unwrap();
        let mut rest = Vec::new();
        file.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"8XY");
    });
}

/// Polls a stream once, with nobody to be woken.
fn poll_next<S: Stream + Unpin>(stream: &mut S) -> Poll<Option<S::Item>> {
    Pin::new(stream).poll_next(&mut Context::from_waker(Waker::noop()))
}

fn connections_come_and_none_is_lost<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let listener = TcpListener::bind(&ring, "127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut ports = Vec::new();
        for _ in 0..10 {
            // An accept is armed when the stream is dropped; its connection is the next one's.
            assert!(poll_next(&mut listener.incoming()).is_pending());
            let mut incoming = listener.incoming();
            let (client, server) = join(TcpStream::connect(&ring, address), incoming.next()).await;
            let (client, server) = (client.unwrap(), server.unwrap().unwrap());
            let port = client.local_addr().unwrap().port();
            assert_eq!(server.peer_addr().unwrap().port(), port);
            assert!(!ports.contains(&port));
            ports.push(port);
            let (mut client, mut server) = (client.into_io(), server.into_io());
            client.write_all(b"x").await.unwrap();
            client.close().await.unwrap();
            let mut got = Vec::new();
            server.read_to_end(&mut got).await.unwrap();
            assert_eq!(got, b"x");
        }
    });
}

fn unix_connections_come<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = UnixListener::bind(&ring, &path).await.unwrap();
        let (client, server) =
            join(UnixStream::connect(&ring, &path), listener.incoming().next()).await;
        client.unwrap().write_all("hello").await.unwrap();
        let server = server.unwrap().unwrap();
        assert_eq!(server.read(vec![0; 10]).await.unwrap().1, b"hello");
    });
}

fn an_error_does_not_end_the_connections<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        // Not listening yet: an error. Listening then: a connection.
        let address = "127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap();
        let fd = ring.socket(&address.into(), safer_ring::SocketKind::Stream).await.unwrap();
        ring.bind(&fd, address).await.unwrap();
        let listener = TcpListener::from_fd(&ring, fd.clone());
        let mut incoming = listener.incoming();
        let error = incoming.next().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        ring.listen(&fd, 8).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, server) = join(TcpStream::connect(&ring, address), incoming.next()).await;
        client.unwrap();
        server.unwrap().unwrap();
    });
}

fn a_stream_of_buffers_ends_with_its_peer<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, b) = UnixStream::pair(&ring).unwrap();
        let sent = pattern(200_000);
        let write = async {
            let sent = a.write_all(sent.clone()).await.unwrap();
            drop(a);
            sent
        };
        let read = async {
            let mut got = Vec::new();
            let mut arrives = b.recv_stream();
            while let Some(buffer) = arrives.next().await {
                got.extend_from_slice(&buffer.unwrap());
            }
            assert!(arrives.next().await.is_none());
            got
        };
        let (sent, got) = join(write, read).await;
        assert!(got == sent);

        let (reader, writer) = pipe::pipe(&ring).await.unwrap();
        writer.write_all("pipe").await.unwrap();
        drop(writer);
        let mut arrives = reader.recv_stream();
        assert_eq!(&arrives.next().await.unwrap().unwrap()[..], b"pipe");
        assert!(arrives.next().await.is_none());
    });
}

fn a_dropped_stream_of_buffers_loses_nothing<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, b) = UnixStream::pair(&ring).unwrap();
        let (reader, _writer) = b.into_split();
        for round in 0..50_u8 {
            assert!(poll_next(&mut reader.recv_stream()).is_pending());
            a.write_all(vec![round]).await.unwrap();
            assert_eq!(&reader.recv_stream().next().await.unwrap().unwrap()[..], [round]);
        }
    });
}

fn datagrams_come_with_their_senders<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let receiver = UdpSocket::bind(&ring, "127.0.0.1:0").await.unwrap();
        let sender = UdpSocket::bind(&ring, "127.0.0.1:0").await.unwrap();
        let target = receiver.local_addr().unwrap();
        assert!(poll_next(&mut receiver.recv_stream()).is_pending());
        let mut arrives = receiver.recv_stream();
        for size in [3, 0, 16_384, 20_000] {
            sender.send_to(pattern(size), target).await.unwrap();
            let got = arrives.next().await.unwrap().unwrap();
            assert_eq!(got.address, sender.local_addr().unwrap());
            assert_eq!(got.truncated, size > 16_384);
            assert_eq!(got.buffer[..], pattern(size)[..size.min(16_384)]);
            assert_eq!(got.count, size.min(16_384));
        }
        let (one, other) = UnixDatagram::pair(&ring).unwrap();
        let mut arrives = other.recv_stream();
        let mut next = arrives.next();
        assert!(poll_once(&mut next).is_pending());
        one.send("unix").await.unwrap();
        assert_eq!(&next.await.unwrap().unwrap().buffer[..], b"unix");
        drop(receiver);
        until(&ring, "buffers are back", || ring.snapshot().orphans <= ring.snapshot().kept).await;
    });
}

fn a_close_that_is_dropped_goes_on<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut near = UnixStream::from_std(&ring, a).into_io();
        let sent = pattern(2_000_000);
        let mut accepted = 0;
        while let Poll::Ready(count) = poll_once(&mut near.write(&sent[accepted..])) {
            accepted += count.unwrap();
        }
        // Its flush waits for the peer: the direction has not ended.
        assert!(poll_once(&mut near.close()).is_pending());
        let mut got = vec![0; accepted];
        let reader = std::thread::spawn(move || {
            far.read_exact(&mut got).unwrap();
            (far, got)
        });
        near.flush().await.unwrap();
        near.write_all(b"more").await.unwrap();
        let mut polls = 0;
        while poll_once(&mut near.close()).is_pending() {
            polls += 1;
            ring.nop().await.unwrap();
        }
        println!("closed by poll {polls}");
        near.close().await.unwrap();
        let (mut far, mut got) = reader.join().unwrap();
        assert!(got == sent[..accepted]);
        got.clear();
        far.read_to_end(&mut got).unwrap();
        assert_eq!(got, b"more");
    });
}

fn a_seek_that_is_dropped_has_not_happened<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let mut file = File::from_std(&ring, tempfile::tempfile().unwrap()).into_io();
        let local = std::any::TypeId::of::<E::M>() == std::any::TypeId::of::<safer_ring::Local>();
        // The fallback does what it can at once.
        let later = local && ring.features().backend == BackendKind::IoUring;
        let mut written = 0;
        for _ in 0..20 {
            file.write_all(&[7; 50]).await.unwrap();
            written += 50;
            match poll_once(&mut file.seek(SeekFrom::Start(3))) {
                // The write was under way.
                Poll::Pending => {}
                Poll::Ready(place) => {
                    assert!(place.unwrap() == 3 && !later, "a local ring writes later");
                    file.seek(SeekFrom::End(0)).await.unwrap();
                }
            }
            assert_eq!(file.stream_position().await.unwrap(), written);
        }
    });
}

fn calls_that_are_dropped_lose_nothing<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut near = UnixStream::from_std(&ring, near).into_io();
        for round in 0..50_u8 {
            let mut part = [0; 8];
            assert!(poll_once(&mut near.read(&mut part)).is_pending());
            assert!(poll_once(&mut near.fill_buf()).is_pending());
            assert!(
                poll_once(&mut near.read_vectored(&mut [IoSliceMut::new(&mut part)])).is_pending()
            );
            far.write_all(&[round; 5]).unwrap();
            near.read_exact(&mut part[..5]).await.unwrap();
            assert_eq!(part[..5], [round; 5]);
        }
    });
}
