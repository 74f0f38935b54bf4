//! `UnixListener`, `UnixStream`, `UnixDatagram`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use common::net::{closes_on_exec, pipe, poll_once};
use common::{Exec, must_fail, must_fail_plainly, pattern, with_ring};
use futures_util::future::join;
use safer_ring::net::{UnixDatagram, UnixListener, UnixStream};
use safer_ring::{Address, Shutdown};

common::everywhere! {
    streams_talk_by_path_and_by_abstract_name,
    paths_that_are_wrong_are_errors,
    a_pair_talks_and_ends,
    a_closed_peer_is_an_error_with_the_buffer_and_no_signal,
    a_peer_is_known_by_its_credentials,
    passed_descriptors_work_and_close_on_exec,
    descriptors_without_room_are_reported,
    descriptors_want_a_byte_on_a_stream,
    more_descriptors_than_a_message_takes_are_refused,
    all_descriptors_of_a_message_arrive,
    non_blocking_sockets_of_std_work,
    halves_work_apart,
    a_shared_socket_does_not_become_one_of_std,
    datagrams_keep_their_boundaries_and_senders,
    datagrams_have_abstract_names,
    a_peer_with_the_longest_of_paths_has_an_address,
    datagrams_to_nobody_are_errors_with_the_buffer,
    datagrams_carry_descriptors,
    a_shut_down_datagram_socket_ends,
    a_full_queue_makes_the_sender_wait,
}

/// An abstract name that no other test has.
fn abstract_name() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("safer-ring-net-{}-{number}", std::process::id());
    SocketAddr::from_abstract_name(name).unwrap()
}

fn streams_talk_by_path_and_by_abstract_name<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let by_path = SocketAddr::from_pathname(&path).unwrap();
        for address in [by_path, abstract_name()] {
            let listener = UnixListener::bind_addr(&ring, &address).await.unwrap();
            let own = listener.local_addr().unwrap();
            assert_eq!(own.as_pathname(), address.as_pathname());
            assert_eq!(own.as_abstract_name(), address.as_abstract_name());
            let (client, accepted) =
                join(UnixStream::connect_addr(&ring, &address), listener.accept()).await;
            let (client, (server, peer)) = (client.unwrap(), accepted.unwrap());
            assert!(
                closes_on_exec(&listener) && closes_on_exec(&client) && closes_on_exec(&server)
            );
            assert!(peer.is_unnamed() && client.local_addr().unwrap().is_unnamed());
            assert!(server.peer_addr().unwrap().is_unnamed());
            let server_name = client.peer_addr().unwrap();
            assert_eq!(server_name.as_pathname(), address.as_pathname());
            assert_eq!(server_name.as_abstract_name(), address.as_abstract_name());
            assert_eq!(client.write(b"ping".to_vec()).await.unwrap(), (4, b"ping".to_vec()));
            assert_eq!(server.read_exact(vec![0; 4]).await.unwrap(), b"ping");
            server.write_all_vectored(vec!["po", "ng"]).await.unwrap();
            let parts = client.read_vectored(vec![vec![0; 1], vec![0; 9]]).await.unwrap().1;
            assert_eq!(parts, [b"p".to_vec(), b"ong".to_vec()]);
            assert!(listener.take_error().unwrap().is_none());
            listener.close().await.unwrap();
        }
        // Under the names of std: `bind` and `connect` take a path.
        std::fs::remove_file(&path).unwrap();
        let listener = UnixListener::bind(&ring, &path).await.unwrap();
        UnixStream::connect(&ring, &path).await.unwrap();
        listener.into_std().unwrap().accept().unwrap();
    });
}

fn paths_that_are_wrong_are_errors<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        must_fail_plainly(UnixStream::connect(&ring, &path).await, libc::ENOENT);
        drop(UnixListener::bind(&ring, &path).await.unwrap());
        must_fail_plainly(UnixStream::connect(&ring, &path).await, libc::ECONNREFUSED);
        must_fail_plainly(UnixListener::bind(&ring, &path).await, libc::EADDRINUSE);
        must_fail_plainly(UnixDatagram::bind(&ring, &path).await, libc::EADDRINUSE);
        let long = dir.path().join("x".repeat(108));
        let kind = |error: std::io::Error| error.kind();
        let invalid = Some(ErrorKind::InvalidInput);
        assert_eq!(UnixStream::connect(&ring, &long).await.err().map(kind), invalid);
        assert_eq!(UnixListener::bind(&ring, &long).await.err().map(kind), invalid);
        assert_eq!(UnixDatagram::bind(&ring, &long).await.err().map(kind), invalid);
        let socket = UnixDatagram::unbound(&ring).await.unwrap();
        assert_eq!(socket.connect(&long).await.err().map(kind), invalid);
        let error = socket.send_to(b"kept".to_vec(), &long).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.into_buffer()),
            (ErrorKind::InvalidInput, b"kept".to_vec())
        );
    });
}

fn a_pair_talks_and_ends<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = UnixStream::pair(&ring).unwrap();
        assert!(closes_on_exec(&a) && closes_on_exec(&b));
        a.write_all("last").await.unwrap();
        a.shutdown(Shutdown::Write).await.unwrap();
        assert_eq!(b.peek(vec![0; 2]).await.unwrap(), (2, b"la".to_vec()));
        let error = b.read_exact(vec![0; 10]).await.unwrap_err();
        assert_eq!((error.kind(), error.transferred), (ErrorKind::UnexpectedEof, 4));
        assert_eq!(&error.buffer[..4], b"last");
        assert_eq!(b.read(vec![0; 1]).await.unwrap().0, 0);
        b.write_all("back").await.unwrap();
        assert_eq!(a.read(vec![0; 10]).await.unwrap().1, b"back");
        a.shutdown(std::net::Shutdown::Both).await.unwrap();
        assert!(a.take_error().unwrap().is_none());
    });
}

fn a_closed_peer_is_an_error_with_the_buffer_and_no_signal<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = UnixStream::pair(&ring).unwrap();
        b.close().await.unwrap();
        assert_eq!(must_fail(a.write(b"kept".to_vec()).await, libc::EPIPE), b"kept");
        let error = a.write_all(b"kept".to_vec()).await.unwrap_err();
        assert_eq!((error.transferred, error.into_buffer()), (0, b"kept".to_vec()));
        let (reader, _writer) = pipe();
        let failed = a.send_with_fds(b"kept".to_vec(), &[reader]).await;
        assert_eq!(must_fail(failed, libc::EPIPE), b"kept");
        assert_eq!(a.recv_with_fds(vec![0; 4], 1).await.unwrap().count, 0);
    });
}

fn a_peer_is_known_by_its_credentials<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, _b) = UnixStream::pair(&ring).unwrap();
        let cred = a.peer_cred().unwrap();
        assert_eq!(cred.pid, Some(std::process::id()));
        let dir = tempfile::tempdir().unwrap();
        let owner = std::fs::metadata(dir.path()).unwrap();
        use std::os::unix::fs::MetadataExt as _;
        assert_eq!((cred.uid, cred.gid), (owner.uid(), owner.gid()));
        // Without a peer there is no process, and that is no error.
        let lonely = UnixDatagram::unbound(&ring).await.unwrap();
        let lonely = UnixStream::from_fd(&ring, lonely.fd().clone());
        assert_eq!(lonely.peer_cred().unwrap().pid, None);
        let file = UnixStream::from_fd(&ring, common::file_with(b""));
        must_fail_plainly(file.peer_cred(), libc::ENOTSOCK);
    });
}

fn passed_descriptors_work_and_close_on_exec<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = UnixStream::pair(&ring).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        let (reader, writer) = pipe();
        file.write_all(b"in the file").unwrap();
        let fds: [OwnedFd; 2] = [file.into(), writer];
        let (n, sent) = a.send_with_fds(b"two".to_vec(), &fds).await.unwrap();
        assert_eq!((n, &*sent), (3, &b"two"[..]));
        drop(fds);
        let got = b.recv_with_fds(vec![0; 100], 5).await.unwrap();
        assert_eq!((got.count, &*got.buffer, got.fds_truncated), (3, &b"two"[..], false));
        assert!(got.fds.len() == 2 && got.fds.iter().all(closes_on_exec));
        let mut fds = got.fds.into_iter();
        let mut file = File::from(fds.next().unwrap());
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "in the file");
        File::from(fds.next().unwrap()).write_all(b"through").unwrap();
        // The writing end that was passed was the last one.
        let mut text = String::new();
        File::from(reader).read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
        // Without descriptors it is a receive like any other, and the other way round.
        a.send_with_fds::<_, OwnedFd>("plain", &[]).await.unwrap();
        let got = b.recv_with_fds(vec![0; 100], 1).await.unwrap();
        assert!(got.fds.is_empty() && got.buffer == b"plain" && !got.fds_truncated);
    });
}

fn descriptors_without_room_are_reported<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = UnixStream::pair(&ring).unwrap();
        for (room, expected) in [(0, 0), (1, 1), (2, 2), (3, 3)] {
            let (reader, writer) = pipe();
            a.send_with_fds("x", &[&reader, &writer, &reader]).await.unwrap();
            let got = b.recv_with_fds(vec![0; 1], room).await.unwrap();
            assert_eq!((got.count, got.fds.len()), (1, expected));
            assert_eq!(got.fds_truncated, room < 3);
        }
    });
}

fn descriptors_want_a_byte_on_a_stream<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = UnixStream::pair(&ring).unwrap();
        let (reader, _writer) = pipe();
        let error = a.send_with_fds(Vec::new(), &[reader]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        a.write_all("x").await.unwrap();
        assert!(b.recv_with_fds(vec![0; 1], 1).await.unwrap().fds.is_empty());
    });
}

fn more_descriptors_than_a_message_takes_are_refused<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, _b) = UnixStream::pair(&ring).unwrap();
        let (reader, _writer) = pipe();
        let failed = a.send_with_fds(b"kept".to_vec(), &vec![&reader; 254]).await;
        assert_eq!(must_fail(failed, libc::EINVAL), b"kept");
    });
}

fn all_descriptors_of_a_message_arrive<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = UnixStream::pair(&ring).unwrap();
        let (reader, _writer) = pipe();
        a.send_with_fds("x", &vec![&reader; 253]).await.unwrap();
        let got = b.recv_with_fds(vec![0; 1], usize::MAX).await.unwrap();
        assert_eq!((got.fds.len(), got.fds_truncated), (253, false));
    });
}

fn non_blocking_sockets_of_std_work<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = std::os::unix::net::UnixStream::pair().unwrap();
        a.set_nonblocking(true).unwrap();
        b.set_nonblocking(true).unwrap();
        let (a, b) = (UnixStream::from_std(&ring, a), UnixStream::from_std(&ring, b));
        let mut waits = b.recv_with_fds(vec![0; 4], 1);
        assert!(poll_once(&mut waits).is_pending());
        a.write_all("late").await.unwrap();
        assert_eq!(waits.await.unwrap().buffer, b"late");
        let (sent, got) =
            join(a.write_all(pattern(2_000_000)), b.read_exact(vec![0; 2_000_000])).await;
        assert!(sent.unwrap() == got.unwrap());
        let listener = std::os::unix::net::UnixListener::bind_addr(&abstract_name()).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = UnixListener::from_std(&ring, listener);
        let address = listener.local_addr().unwrap();
        let mut accept = Box::pin(listener.accept());
        assert!(poll_once(&mut accept).is_pending());
        let client = UnixStream::connect_addr(&ring, &address).await.unwrap();
        let (server, _) = accept.await.unwrap();
        client.write_all("x").await.unwrap();
        assert_eq!(server.read_exact(vec![0; 1]).await.unwrap(), b"x");
    });
}

fn halves_work_apart<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = UnixStream::pair(&ring).unwrap();
        let (reader, writer) = a.into_split();
        let (read, write) = b.split();
        let (one, two) =
            join(writer.write_all(pattern(1_000_000)), read.read_exact(vec![0; 1_000_000])).await;
        assert!(one.unwrap() == two.unwrap());
        write.write_all("back").await.unwrap();
        write.shutdown().await.unwrap();
        assert_eq!(reader.read_exact(vec![0; 4]).await.unwrap(), b"back");
        assert_eq!(reader.read(vec![0; 4]).await.unwrap().0, 0);
        let (other, _) = UnixStream::pair(&ring).unwrap();
        let (other_reader, _other_writer) = other.into_split();
        let error = other_reader.reunite(writer).unwrap_err();
        reader.reunite(error.1).unwrap().into_std().unwrap();
    });
}

fn a_shared_socket_does_not_become_one_of_std<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = UnixDatagram::pair(&ring).unwrap();
        let mut waits = a.recv(vec![0; 4]);
        assert!(poll_once(&mut waits).is_pending());
        let a = a.into_std().unwrap_err();
        b.send("done").await.unwrap();
        waits.await.unwrap();
        a.into_std().unwrap();
        let listener = UnixListener::bind_addr(&ring, &abstract_name()).await.unwrap();
        let shared = listener.fd().clone();
        let listener = listener.into_std().unwrap_err();
        drop(shared);
        listener.into_std().unwrap();
    });
}

fn datagrams_keep_their_boundaries_and_senders<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let dir = tempfile::tempdir().unwrap();
        let (path, own) = (dir.path().join("to"), dir.path().join("from"));
        let receiver = UnixDatagram::bind(&ring, &path).await.unwrap();
        let named = UnixDatagram::bind(&ring, &own).await.unwrap();
        let unnamed = UnixDatagram::unbound(&ring).await.unwrap();
        assert_eq!(named.local_addr().unwrap().as_pathname(), Some(&*own));
        assert!(unnamed.local_addr().unwrap().is_unnamed());
        named.send_to(b"first".to_vec(), &path).await.unwrap();
        unnamed.connect(&path).await.unwrap();
        assert_eq!(unnamed.peer_addr().unwrap().as_pathname(), Some(&*path));
        unnamed.send("").await.unwrap();
        unnamed.send("third").await.unwrap();
        let got = receiver.recv_from(vec![0; 3]).await.unwrap();
        assert_eq!((got.count, &*got.buffer, got.truncated), (3, &b"fir"[..], true));
        assert_eq!(got.address.as_pathname(), Some(&*own));
        let got = receiver.recv_from(vec![0; 3]).await.unwrap();
        assert!(got.count == 0 && !got.truncated && got.address.is_unnamed());
        assert_eq!(receiver.peek(vec![0; 2]).await.unwrap(), (2, b"th".to_vec()));
        assert_eq!(receiver.recv(vec![0; 9]).await.unwrap(), (5, b"third".to_vec()));
    });
}

fn datagrams_have_abstract_names<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (to, from) = (abstract_name(), abstract_name());
        let receiver = UnixDatagram::bind_addr(&ring, &to).await.unwrap();
        let sender = UnixDatagram::bind_addr(&ring, &from).await.unwrap();
        sender.send_to_addr("hello", &to).await.unwrap();
        let got = receiver.recv_from(vec![0; 10]).await.unwrap();
        assert_eq!(got.address.as_abstract_name(), from.as_abstract_name());
        receiver.connect_addr(&got.address).await.unwrap();
        receiver.send("answer").await.unwrap();
        assert_eq!(sender.recv(vec![0; 10]).await.unwrap().1, b"answer");
    });
}

fn a_peer_with_the_longest_of_paths_has_an_address<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let dir = tempfile::tempdir().unwrap();
        // All 108 bytes of `sun_path`, without a zero at the end, which std does not make.
        let path = dir.path().join("x".repeat(108 - 1 - dir.path().as_os_str().len()));
        use std::os::unix::ffi::OsStrExt as _;
        let bytes = path.as_os_str().as_bytes().to_vec();
        let a = UnixDatagram::unbound(&ring).await.unwrap();
        let address = Address::Other { family: 1, bytes };
        ring.bind(a.fd(), address.clone()).await.unwrap();
        assert_eq!(a.local_addr().unwrap().as_pathname(), Some(&*path));
        let b = UnixDatagram::unbound(&ring).await.unwrap();
        ring.connect(b.fd(), address.clone()).await.unwrap();
        assert_eq!(b.peer_addr().unwrap().as_pathname(), Some(&*path));
        a.send_to_addr("x", &b.local_addr().unwrap()).await.unwrap_err();
        ring.send_msg(a.fd(), "to itself", Some(&address), safer_ring::Control::new())
            .await
            .unwrap();
        // Whatever is made of the address, it is a datagram.
        assert_eq!(a.recv_from(vec![0; 20]).await.unwrap().buffer, b"to itself");
    });
}

fn datagrams_to_nobody_are_errors_with_the_buffer<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let dir = tempfile::tempdir().unwrap();
        let a = UnixDatagram::unbound(&ring).await.unwrap();
        assert_eq!(must_fail(a.send(b"kept".to_vec()).await, libc::ENOTCONN), b"kept");
        let nowhere = dir.path().join("none");
        assert_eq!(must_fail(a.send_to(b"kept".to_vec(), &nowhere).await, libc::ENOENT), b"kept");
        must_fail_plainly(a.connect(&nowhere).await, libc::ENOENT);
        must_fail_plainly(a.peer_addr(), libc::ENOTCONN);
        let (a, b) = UnixDatagram::pair(&ring).unwrap();
        drop(b);
        assert_eq!(must_fail(a.send(b"kept".to_vec()).await, libc::ECONNREFUSED), b"kept");
    });
}

fn datagrams_carry_descriptors<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = UnixDatagram::pair(&ring).unwrap();
        let (reader, writer) = pipe();
        // Unlike a stream's, a datagram need not have a byte.
        a.send_with_fds("", &[&writer]).await.unwrap();
        a.send_with_fds("long", &[writer]).await.unwrap();
        let got = b.recv_with_fds(vec![0; 4], 1).await.unwrap();
        assert_eq!((got.count, got.fds.len(), got.fds_truncated), (0, 1, false));
        assert!(closes_on_exec(&got.fds[0]));
        drop(got);
        let got = b.recv_with_fds(vec![0; 2], 0).await.unwrap();
        assert_eq!((&*got.buffer, got.fds.len(), got.fds_truncated), (&b"lo"[..], 0, true));
        // The one that there was no room for has been closed: the pipe has no writer left.
        let mut text = String::new();
        File::from(reader).read_to_string(&mut text).unwrap();
        assert_eq!(text, "");
    });
}

fn a_shut_down_datagram_socket_ends<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, _b) = UnixDatagram::pair(&ring).unwrap();
        a.shutdown(Shutdown::Both).await.unwrap();
        assert_eq!(a.recv(vec![0; 4]).await.unwrap().0, 0);
        assert_eq!(must_fail(a.send(b"kept".to_vec()).await, libc::EPIPE), b"kept");
        assert!(a.take_error().unwrap().is_none());
    });
}

fn a_full_queue_makes_the_sender_wait<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = UnixDatagram::pair(&ring).unwrap();
        a.set_send_buffer_size(10_000).unwrap();
        let mut sent = 0;
        let mut waits = loop {
            let mut send = a.send(vec![sent; 1000]);
            match poll_once(&mut send) {
                std::task::Poll::Ready(result) => assert_eq!(result.unwrap().0, 1000),
                std::task::Poll::Pending if ring.snapshot().in_flight > 0 => break send,
                std::task::Poll::Pending => assert_eq!(send.await.unwrap().0, 1000),
            }
            sent += 1;
        };
        let send = async { (&mut waits).await.unwrap() };
        let receive = async {
            for number in 0..=sent {
                assert_eq!(b.recv(vec![0; 2000]).await.unwrap().1, vec![number; 1000]);
            }
        };
        join(send, receive).await;
    });
}
