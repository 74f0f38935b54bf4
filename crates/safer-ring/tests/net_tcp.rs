//! `TcpListener`, `TcpStream`, `TcpSocket`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use common::net::{closes_on_exec, loopbacks, poll_once, settled, tcp_pair};
use common::{
    Exec, failure, must_fail, must_fail_plainly, of_the_kernel, pattern, with_built, with_ring,
    within_deadline,
};
use futures_util::future::join;
use safer_ring::net::{Keepalive, OwnedReadHalf, TcpListener, TcpSocket, TcpStream};
use safer_ring::sys::opcode;
use safer_ring::{Failure, IoBuf as _, Mode, Ring, RingOf, Shutdown};

common::everywhere! {
    a_connection_over_each_family_carries_bytes,
    names_are_looked_up,
    each_address_is_tried_and_the_last_error_counts,
    names_that_do_not_exist_are_errors,
    an_address_in_use_is_refused,
    the_end_of_the_peer_is_zero_bytes_and_an_unexpected_end,
    a_closed_peer_is_an_error_with_the_buffer_and_no_signal,
    a_failed_read_gives_the_buffer_back,
    non_blocking_sockets_of_std_work,
    sockets_of_std_come_and_go,
    a_shared_socket_does_not_become_one_of_std,
    close_reports_who_shares_the_descriptor,
    vectored_transfers_keep_the_order,
    a_peek_takes_nothing,
    both_halves_work_at_once,
    owned_halves_come_together_again,
    halves_of_two_streams_do_not_come_together,
    a_dropped_write_half_ends_its_direction,
    what_a_dropped_write_half_has_accepted_comes_before_the_end,
    the_error_of_a_dropped_send_stays_when_the_half_goes,
    a_write_half_that_is_forgotten_ends_nothing,
    a_dropped_read_half_ends_nothing,
    options_are_kept,
    options_out_of_range_are_refused,
    a_socket_is_bound_before_it_connects,
    two_listeners_share_a_port,
    an_ipv6_socket_has_its_own_limits,
    a_dropped_connect_closes_its_socket,
    a_dropped_read_does_not_eat_later_bytes,
    a_dropped_accept_does_not_eat_the_next_connection,
    a_pending_error_is_taken_once,
    kernels_without_the_opcodes_have_sockets_too,
}

async fn pair<M: Mode>(ring: &RingOf<M>) -> (TcpStream<M>, TcpStream<M>) {
    let listener = TcpListener::bind(ring, "127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(ring, listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    (client, server)
}

/// An address at which nobody listens.
fn refused() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn a_connection_over_each_family_carries_bytes<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let addresses = loopbacks();
        if addresses.len() < 2 {
            eprintln!("skipped: IPv6, this machine has {addresses:?}");
        }
        for address in addresses {
            let listener = TcpListener::bind(&ring, address).await.unwrap();
            let address = listener.local_addr().unwrap();
            let (client, accepted) =
                join(TcpStream::connect(&ring, address), listener.accept()).await;
            let (client, (server, peer)) = (client.unwrap(), accepted.unwrap());
            assert_eq!(peer, client.local_addr().unwrap());
            assert_eq!(server.peer_addr().unwrap(), peer);
            assert_eq!(client.peer_addr().unwrap(), address);
            assert!(
                closes_on_exec(&listener) && closes_on_exec(&client) && closes_on_exec(&server)
            );
            let (n, sent) = client.write(b"ping".to_vec()).await.unwrap();
            assert_eq!((n, &*sent), (4, &b"ping"[..]));
            assert_eq!(server.read(Vec::with_capacity(100)).await.unwrap(), (4, b"ping".to_vec()));
            assert_eq!(server.write_all(sent).await.unwrap(), b"ping");
            assert_eq!(client.read_exact(vec![0; 4]).await.unwrap(), b"ping");
        }
    });
}

fn names_are_looked_up<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let listener = TcpListener::bind(&ring, "localhost:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        assert!(address.ip().is_loopback());
        // `localhost` may have two addresses, of which only one is listened at.
        let by_name = TcpStream::connect(&ring, ("localhost", address.port())).await.unwrap();
        assert_eq!(by_name.peer_addr().unwrap(), address);
        let text = format!("localhost:{}", address.port());
        let by_text = TcpStream::connect(&ring, text).await.unwrap();
        assert_eq!(by_text.peer_addr().unwrap(), address);
    });
}

fn each_address_is_tried_and_the_last_error_counts<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        must_fail_plainly(TcpStream::connect(&ring, refused()).await, libc::ECONNREFUSED);
        let listener = TcpListener::bind(&ring, "127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        let stream = TcpStream::connect(&ring, [refused(), good]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        // A port that nobody can connect to, then one where nobody listens.
        let unreachable = SocketAddr::from((Ipv4Addr::BROADCAST, 1));
        let failed = TcpStream::connect(&ring, &[unreachable, refused()][..]).await;
        must_fail_plainly(failed, libc::ECONNREFUSED);
        let failed = TcpStream::connect(&ring, vec![refused(), unreachable]).await;
        assert_ne!(failed.unwrap_err().raw_os_error(), Some(libc::ECONNREFUSED));
        let none: [SocketAddr; 0] = [];
        let failed = TcpStream::connect(&ring, none).await.unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::InvalidInput);
        let bound = TcpListener::bind(&ring, [good, "127.0.0.1:0".parse().unwrap()]).await.unwrap();
        assert_ne!(bound.local_addr().unwrap(), good);
    });
}

fn names_that_do_not_exist_are_errors<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        // RFC 6761: never a name of anything.
        assert!(TcpStream::connect(&ring, "nowhere.invalid:80").await.is_err());
        let no_port = TcpListener::bind(&ring, "localhost").await.unwrap_err();
        assert_eq!(no_port.kind(), ErrorKind::InvalidInput);
    });
}

fn an_address_in_use_is_refused<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let listener = TcpListener::bind(&ring, "127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        must_fail_plainly(TcpListener::bind(&ring, address).await, libc::EADDRINUSE);
        // A connection that lingers does not keep the address (`SO_REUSEADDR`).
        let client = TcpStream::connect(&ring, address).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        drop(server);
        assert_eq!(client.read(vec![0; 1]).await.unwrap().0, 0);
        listener.close().await.unwrap();
        TcpListener::bind(&ring, address).await.unwrap();
    });
}

fn the_end_of_the_peer_is_zero_bytes_and_an_unexpected_end<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = pair(&ring).await;
        a.write_all("four").await.unwrap();
        a.shutdown(Shutdown::Write).await.unwrap();
        let error = b.read_exact(Vec::with_capacity(10)).await.unwrap_err();
        assert_eq!((error.kind(), error.transferred), (ErrorKind::UnexpectedEof, 4));
        assert_eq!(error.buffer, b"four");
        assert_eq!(b.read(vec![0; 10]).await.unwrap(), (0, vec![]));
        let error = b.read_exact(vec![7; 3]).await.unwrap_err();
        assert_eq!((error.transferred, error.buffer), (0, vec![7; 3]));
        // The other direction goes on.
        b.write_all("back").await.unwrap();
        assert_eq!(a.read_exact(vec![0; 4]).await.unwrap(), b"back");
        // Nothing to be read is nothing to wait for, even from a stream that is silent.
        assert_eq!(a.read_exact(Vec::new()).await.unwrap(), b"");
        assert_eq!(a.write_all(Vec::new()).await.unwrap(), b"");
    });
}

fn a_closed_peer_is_an_error_with_the_buffer_and_no_signal<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = pair(&ring).await;
        b.set_linger(Some(Duration::ZERO)).unwrap();
        b.close().await.unwrap();
        // The reset has arrived when a receive ends with it.
        assert_eq!(must_fail(a.read(vec![7; 4]).await, libc::ECONNRESET), [7; 4]);
        assert_eq!(must_fail(a.write(b"kept".to_vec()).await, libc::EPIPE), b"kept");
        let error = a.write_all(b"kept".to_vec()).await.unwrap_err();
        assert_eq!((error.kind(), error.transferred), (ErrorKind::BrokenPipe, 0));
        assert_eq!(error.into_buffer(), b"kept");
        let error = a.write_all_vectored(vec!["a", "b"]).await.unwrap_err();
        assert_eq!((error.kind(), error.into_buffer()), (ErrorKind::BrokenPipe, vec!["a", "b"]));
        must_fail_plainly(a.shutdown(Shutdown::Write).await, libc::ENOTCONN);
    });
}

fn a_failed_read_gives_the_buffer_back<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let not_a_socket = common::file_with(b"file");
        let stream = TcpStream::from_fd(&ring, not_a_socket);
        assert_eq!(must_fail(stream.read(vec![7; 4]).await, libc::ENOTSOCK), [7; 4]);
        let error = stream.read_exact(vec![7; 4]).await.unwrap_err();
        assert_eq!(error.error.raw_os_error(), Some(libc::ENOTSOCK));
        assert_eq!((error.transferred, error.buffer), (0, vec![7; 4]));
        let many = vec![vec![0; 1]; 1025];
        let error = stream.read_vectored(many).await.unwrap_err();
        assert_eq!((error.kind(), error.buffer.len()), (ErrorKind::InvalidInput, 1025));
        let error = stream.write_all_vectored(vec!["x"; 1025]).await.unwrap_err();
        assert_eq!((error.kind(), error.buffer.len()), (ErrorKind::InvalidInput, 1025));
        must_fail_plainly(stream.shutdown(Shutdown::Both).await, libc::ENOTSOCK);
        must_fail_plainly(
            TcpListener::from_fd(&ring, stream.fd().clone()).accept().await,
            libc::ENOTSOCK,
        );
    });
}

fn non_blocking_sockets_of_std_work<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(&ring, listener);
        let address = listener.local_addr().unwrap();
        let mut accept = Box::pin(listener.accept());
        assert!(poll_once(&mut accept).is_pending());
        let client = std::net::TcpStream::connect(address).unwrap();
        client.set_nonblocking(true).unwrap();
        let client = TcpStream::from_std(&ring, client);
        let (server, peer) = accept.await.unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
        // A receive that has to wait, and more than the buffers hold.
        let sent = pattern(3_000_000);
        let (received, written) =
            join(client.read_exact(vec![0; sent.len()]), server.write_all(sent)).await;
        assert!(received.unwrap() == written.unwrap());
        let sent = pattern(3_000_000);
        let (received, written) =
            join(server.read_exact(vec![0; sent.len()]), client.write_all(sent)).await;
        assert!(received.unwrap() == written.unwrap());
        let parts = vec![pattern(1_000_000), pattern(1), pattern(1_000_000)];
        let (received, written) =
            join(server.read_exact(vec![0; 2_000_001]), client.write_all_vectored(parts)).await;
        assert!(received.unwrap() == written.unwrap().concat());
    });
}

fn sockets_of_std_come_and_go<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, mut b) = tcp_pair();
        let a = TcpStream::from_std(&ring, a);
        a.write_all("to std").await.unwrap();
        let mut text = [0; 6];
        b.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"to std");
        let mut a = std::net::TcpStream::try_from(a).unwrap();
        b.write_all(b"and back").unwrap();
        let mut text = [0; 8];
        a.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"and back");
        let listener = TcpListener::bind(&ring, "127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let listener = listener.into_std().unwrap();
        assert_eq!(listener.local_addr().unwrap(), address);
        let client = TcpStream::connect(&ring, address).await.unwrap().into_std().unwrap();
        assert_eq!(listener.accept().unwrap().1, client.local_addr().unwrap());
    });
}

fn a_shared_socket_does_not_become_one_of_std<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = pair(&ring).await;
        let shared = a.fd().clone();
        let a = a.into_std().unwrap_err();
        drop(shared);
        // An operation in flight shares it too.
        let mut read = a.read(vec![0; 4]);
        assert!(poll_once(&mut read).is_pending());
        let a = a.into_std().unwrap_err();
        b.write_all("done").await.unwrap();
        assert_eq!(read.await.unwrap().1, b"done");
        let (reader, writer) = a.into_split();
        assert!(reader.as_ref().fd().holders() == 2);
        drop(writer);
        assert_eq!(reader.as_ref().peer_addr().unwrap(), b.local_addr().unwrap());
        b.into_std().unwrap();
    });
}

fn close_reports_who_shares_the_descriptor<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = pair(&ring).await;
        let shared = a.fd().clone();
        let error = a.close().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceBusy);
        drop(shared);
        ring.close(error.buffer.unwrap()).await.unwrap();
        assert_eq!(b.read(vec![0; 1]).await.unwrap().0, 0);
    });
}

fn vectored_transfers_keep_the_order<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = pair(&ring).await;
        let (n, parts) = a.write_vectored(vec!["one", "", "three"]).await.unwrap();
        assert_eq!((n, parts), (8, vec!["one", "", "three"]));
        let (n, parts) = b.read_vectored(vec![vec![0; 2], vec![0; 5], vec![0; 9]]).await.unwrap();
        assert_eq!((n, parts), (8, vec![b"on".to_vec(), b"ethre".to_vec(), b"e".to_vec()]));
        // Far more than fits at once: what was sent is cut off in the middle of a part, and of a part's slice.
        let parts: Vec<_> = (1..60).map(|n| pattern(n * 3001).slice(n..)).collect();
        let all: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let (sent, received) =
            join(a.write_all_vectored(parts.clone()), b.read_exact(vec![0; all.len()])).await;
        assert!(received.unwrap() == all);
        assert!(sent.unwrap() == parts);
        assert_eq!(a.write_all_vectored(Vec::<&'static str>::new()).await.unwrap().len(), 0);
        assert_eq!(a.write_all_vectored(vec![""; 3]).await.unwrap(), [""; 3]);
    });
}

fn a_peek_takes_nothing<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = pair(&ring).await;
        a.write_all("bytes").await.unwrap();
        assert_eq!(b.peek(vec![0; 3]).await.unwrap(), (3, b"byt".to_vec()));
        assert_eq!(b.read_exact(vec![0; 5]).await.unwrap(), b"bytes");
    });
}

fn both_halves_work_at_once<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = pair(&ring).await;
        let sent = pattern(2_000_000);
        let (reader, writer) = a.split();
        let (echo_reader, echo_writer) = b.split();
        let echo = async {
            let mut buffer = Vec::with_capacity(10_000);
            loop {
                let (n, filled) = echo_reader.read(buffer).await.unwrap();
                if n == 0 {
                    break echo_writer.shutdown().await.unwrap();
                }
                buffer = echo_writer.write_all(filled).await.unwrap();
            }
        };
        let write = async {
            let sent = writer.write_all(sent).await.unwrap();
            writer.shutdown().await.unwrap();
            sent
        };
        let read = async {
            let all = reader.read_exact(vec![0; 2_000_000]).await.unwrap();
            assert_eq!(reader.read(vec![0; 1]).await.unwrap().0, 0);
            all
        };
        let ((sent, all), ()) = join(join(write, read), echo).await;
        assert!(sent == all);
        assert_eq!(reader.as_ref().local_addr().unwrap(), writer.as_ref().local_addr().unwrap());
    });
}

fn owned_halves_come_together_again<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = pair(&ring).await;
        let address = a.local_addr().unwrap();
        let (reader, writer) = a.into_split();
        let (got, _) = join(reader.read_exact(vec![0; 4]), b.write_all("ping")).await;
        writer.write_all(got.unwrap()).await.unwrap();
        assert_eq!(b.read_exact(vec![0; 4]).await.unwrap(), b"ping");
        let a = reader.reunite(writer).unwrap();
        assert_eq!(a.local_addr().unwrap(), address);
        let (reader, writer) = a.into_split();
        // Nothing shares the descriptor any more.
        writer.reunite(reader).unwrap().into_std().unwrap();
    });
}

fn halves_of_two_streams_do_not_come_together<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = pair(&ring).await;
        let (read_a, write_a) = a.into_split();
        let (read_b, write_b) = b.into_split();
        let error = read_a.reunite(write_b).unwrap_err();
        assert!(error.to_string().contains("not of one stream"));
        let (read_a, write_b) = (error.0, error.1);
        let error = write_a.reunite(read_b).unwrap_err();
        let (read_b, write_a) = (error.0, error.1);
        read_a.reunite(write_a).unwrap();
        read_b.reunite(write_b).unwrap();
    });
}

fn a_dropped_write_half_ends_its_direction<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = pair(&ring).await;
        let (reader, writer) = a.into_split();
        writer.write_all("last").await.unwrap();
        drop(writer);
        let mut got = b.read_exact(vec![0; 4]).await.unwrap();
        assert_eq!(got, b"last");
        got = b.read(got).await.unwrap().1;
        assert!(got.is_empty());
        // The other direction goes on.
        b.write_all("in").await.unwrap();
        assert_eq!(reader.read_exact(vec![0; 2]).await.unwrap(), b"in");
        assert!(reader.as_ref().write(b"out").await.is_err());
    });
}

fn what_a_dropped_write_half_has_accepted_comes_before_the_end<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = pair(&ring).await;
        let (reader, writer) = a.into_split();
        // More than the sockets hold: the sends are under way when their futures and the half go.
        let all = pattern(100_000).repeat(180);
        for part in all.chunks(17_000_000) {
            assert!(poll_once(&mut writer.write_all(part.to_vec())).is_pending());
        }
        drop(writer);
        let mut got = b.read_exact(vec![0; all.len()]).await.unwrap();
        assert!(got == all);
        got.truncate(1);
        assert_eq!(b.read(got).await.unwrap().0, 0);
        b.write_all("in").await.unwrap();
        assert_eq!(reader.read_exact(vec![0; 2]).await.unwrap(), b"in");
        // Nothing is left on the descriptor.
        reader.as_ref().settle().await.unwrap();
    });
}

fn the_error_of_a_dropped_send_stays_when_the_half_goes<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = pair(&ring).await;
        let (reader, writer) = a.into_split();
        assert!(poll_once(&mut writer.write_all(vec![1; 20_000_000])).is_pending());
        // Unread bytes make a reset of the close.
        b.peek(vec![0; 1]).await.unwrap();
        drop(b);
        settled(&ring).await;
        drop(writer);
        let error = reader.as_ref().settle().await.unwrap_err();
        assert!(matches!(failure(&error), Some(Failure::Earlier { .. })), "{error}");
    });
}

fn a_write_half_that_is_forgotten_ends_nothing<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = pair(&ring).await;
        let (reader, writer) = a.into_split();
        writer.forget();
        let mut waits = b.read(vec![0; 1]);
        assert!(poll_once(&mut waits).is_pending());
        reader.as_ref().write_all("x").await.unwrap();
        assert_eq!(waits.await.unwrap().1, b"x");
        // Halves that come together again end nothing either.
        let (a, far) = pair(&ring).await;
        let (reader, writer) = a.into_split();
        let a = reader.reunite(writer).unwrap();
        a.write_all("y").await.unwrap();
        assert_eq!(far.read(vec![0; 1]).await.unwrap().1, b"y");
        drop(reader_of(a));
        assert_eq!(far.read(vec![0; 1]).await.unwrap().0, 0);
    });
}

/// The reading half of a stream whose writing half was forgotten: its end is that of the socket.
fn reader_of<M: Mode>(stream: TcpStream<M>) -> OwnedReadHalf<TcpStream<M>> {
    let (reader, writer) = stream.into_split();
    writer.forget();
    reader
}

fn a_dropped_read_half_ends_nothing<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = pair(&ring).await;
        let (reader, writer) = a.into_split();
        drop(reader);
        writer.write_all("out").await.unwrap();
        assert_eq!(b.read_exact(vec![0; 3]).await.unwrap(), b"out");
        let mut waits = b.read(vec![0; 1]);
        assert!(poll_once(&mut waits).is_pending());
        drop(writer);
        assert_eq!(waits.await.unwrap().0, 0);
    });
}

fn options_are_kept<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = pair(&ring).await;
        for on in [true, false] {
            a.set_nodelay(on).unwrap();
            assert_eq!(a.nodelay().unwrap(), on);
            a.set_quickack(on).unwrap();
            assert_eq!(a.quickack().unwrap(), on);
            a.set_reuseaddr(on).unwrap();
            assert_eq!(a.reuseaddr().unwrap(), on);
        }
        a.set_ttl(42).unwrap();
        assert_eq!((a.ttl().unwrap(), b.ttl().unwrap()), (42, 64));
        assert_eq!(a.linger().unwrap(), None);
        a.set_linger(Some(Duration::from_millis(1500))).unwrap();
        assert_eq!(a.linger().unwrap(), Some(Duration::from_secs(2)));
        a.set_linger(None).unwrap();
        assert_eq!(a.linger().unwrap(), None);
        assert_eq!(a.keepalive().unwrap(), None);
        let idle = Some(Duration::from_secs(11));
        a.set_keepalive(Some(Keepalive { idle, probes: Some(3), ..Keepalive::default() })).unwrap();
        let kept = a.keepalive().unwrap().unwrap();
        assert_eq!((kept.idle, kept.probes), (idle, Some(3)));
        let all = Keepalive { idle, interval: Some(Duration::from_secs(7)), probes: Some(5) };
        a.set_keepalive(Some(all)).unwrap();
        assert_eq!(a.keepalive().unwrap(), Some(all));
        a.set_keepalive(None).unwrap();
        assert_eq!(a.keepalive().unwrap(), None);
        assert_eq!(a.user_timeout().unwrap(), None);
        for (asked, kept) in [(1_500_000, 1500), (1, 1), (1_000_001, 1001)] {
            a.set_user_timeout(Some(Duration::from_micros(asked))).unwrap();
            assert_eq!(a.user_timeout().unwrap(), Some(Duration::from_millis(kept)));
        }
        a.set_user_timeout(None).unwrap();
        assert_eq!(a.user_timeout().unwrap(), None);
        a.set_send_buffer_size(50_000).unwrap();
        a.set_recv_buffer_size(60_000).unwrap();
        assert_eq!(
            (a.send_buffer_size().unwrap(), a.recv_buffer_size().unwrap()),
            (100_000, 120_000)
        );
        // What is set is the socket's own, as the standard library sees it too.
        a.set_nodelay(true).unwrap();
        let a = a.into_std().unwrap();
        assert!(a.nodelay().unwrap());
        assert_eq!(a.ttl().unwrap(), 42);
    });
}

fn options_out_of_range_are_refused<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, _b) = pair(&ring).await;
        must_fail_plainly(a.set_ttl(256), libc::EINVAL);
        must_fail_plainly(a.set_ttl(0), libc::EINVAL);
        let keepalive = Keepalive { probes: Some(1000), ..Keepalive::default() };
        must_fail_plainly(a.set_keepalive(Some(keepalive)), libc::EINVAL);
        assert_eq!(a.keepalive().unwrap(), None);
        must_fail_plainly(a.set_linger(Some(Duration::MAX)), libc::EINVAL);
        must_fail_plainly(a.set_user_timeout(Some(Duration::MAX)), libc::EINVAL);
    });
}

fn a_socket_is_bound_before_it_connects<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let listener = TcpListener::bind(&ring, "127.0.0.1:0").await.unwrap();
        let socket = TcpSocket::new_v4(&ring).await.unwrap();
        socket.set_send_buffer_size(40_000).unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).await.unwrap();
        let own = socket.local_addr().unwrap();
        let client = socket.connect(listener.local_addr().unwrap()).await.unwrap();
        let (_server, peer) = listener.accept().await.unwrap();
        assert_eq!((peer, client.local_addr().unwrap()), (own, own));
        assert_eq!(client.send_buffer_size().unwrap(), 80_000);
        let socket = TcpSocket::new_v4(&ring).await.unwrap();
        must_fail_plainly(socket.connect(refused()).await, libc::ECONNREFUSED);
        let socket = TcpSocket::new_v4(&ring).await.unwrap();
        let taken = listener.local_addr().unwrap();
        must_fail_plainly(socket.bind(taken).await, libc::EADDRINUSE);
    });
}

fn two_listeners_share_a_port<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let first = TcpSocket::new_v4(&ring).await.unwrap();
        assert!(!first.reuseport().unwrap());
        first.set_reuseport(true).unwrap();
        assert!(first.reuseport().unwrap());
        first.bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let first = first.listen(8).await.unwrap();
        let address = first.local_addr().unwrap();
        let second = TcpSocket::new_v4(&ring).await.unwrap();
        must_fail_plainly(second.bind(address).await, libc::EADDRINUSE);
        second.set_reuseport(true).unwrap();
        second.bind(address).await.unwrap();
        assert_eq!(second.listen(8).await.unwrap().local_addr().unwrap(), address);
    });
}

fn an_ipv6_socket_has_its_own_limits<E: Exec>() {
    if loopbacks().len() < 2 {
        eprintln!("skipped: this machine has no IPv6 loopback");
        return;
    }
    with_ring::<E>(16, async |ring| {
        let socket = TcpSocket::new_v6(&ring).await.unwrap();
        socket.set_ttl(33).unwrap();
        assert_eq!(socket.ttl().unwrap(), 33);
        assert_eq!(socket.set_ttl(256).unwrap_err().kind(), ErrorKind::InvalidInput);
        socket.set_only_v6(true).unwrap();
        assert!(socket.only_v6().unwrap());
        socket.bind("[::]:0".parse().unwrap()).await.unwrap();
        let listener = socket.listen(8).await.unwrap();
        assert_eq!(listener.ttl().unwrap(), 33);
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect(&ring, ("::1", port)).await.unwrap();
        let v4 = TcpStream::connect(&ring, (Ipv4Addr::LOCALHOST, port)).await;
        must_fail_plainly(v4, libc::ECONNREFUSED);
        let v4 = TcpSocket::new_v4(&ring).await.unwrap();
        assert!(v4.set_only_v6(true).is_err() && v4.only_v6().is_err());
    });
}

fn a_dropped_connect_closes_its_socket<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        // A listener whose queue is full answers nobody: a connect that waits.
        let listener = TcpSocket::new_v4(&ring).await.unwrap();
        listener.bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let listener = listener.listen(0).await.unwrap();
        let address = listener.local_addr().unwrap();
        let first = TcpStream::connect(&ring, address).await.unwrap();
        {
            let mut waits = Box::pin(TcpStream::connect(&ring, address));
            while poll_once(&mut waits).is_pending() && ring.snapshot().in_flight == 0 {
                ring.nop().await.unwrap();
            }
        }
        common::net::settled(&ring).await;
        let (server, peer) = listener.accept().await.unwrap();
        assert_eq!(peer, first.local_addr().unwrap());
        first.write_all("x").await.unwrap();
        assert_eq!(server.read_exact(vec![0; 1]).await.unwrap(), b"x");
    });
}

fn a_dropped_read_does_not_eat_later_bytes<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = pair(&ring).await;
        for _ in 0..10 {
            let mut read = b.read(vec![0; 3]);
            assert!(poll_once(&mut read).is_pending());
            drop(read);
            let mut exact = b.read_exact(vec![0; 3]);
            assert!(poll_once(&mut exact).is_pending());
            drop(exact);
            a.write_all("in order").await.unwrap();
            assert_eq!(b.read_exact(vec![0; 8]).await.unwrap(), b"in order");
        }
    });
}

fn a_dropped_accept_does_not_eat_the_next_connection<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let listener = TcpListener::bind(&ring, "127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        for _ in 0..10 {
            let mut accept = Box::pin(listener.accept());
            assert!(poll_once(&mut accept).is_pending());
            drop(accept);
            let client = TcpStream::connect(&ring, address).await.unwrap();
            let (_server, peer) = listener.accept().await.unwrap();
            assert_eq!(peer, client.local_addr().unwrap());
        }
    });
}

fn a_pending_error_is_taken_once<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = pair(&ring).await;
        assert!(a.take_error().unwrap().is_none());
        b.set_linger(Some(Duration::ZERO)).unwrap();
        drop(b);
        // The error is there once the socket says so.
        ring.poll(a.fd(), safer_ring::Interest::HANG_UP).await.unwrap();
        let error = a.take_error().unwrap().expect("the connection was reset");
        assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
        assert!(a.take_error().unwrap().is_none());
        let listener = TcpListener::bind(&ring, "127.0.0.1:0").await.unwrap();
        assert!(listener.take_error().unwrap().is_none());
        listener.set_ttl(9).unwrap();
        assert_eq!(listener.ttl().unwrap(), 9);
    });
}

fn kernels_without_the_opcodes_have_sockets_too<E: Exec>() {
    let missing = [opcode::SOCKET, opcode::BIND, opcode::LISTEN, opcode::SHUTDOWN];
    let builder = of_the_kernel().entries(16).without_opcodes(&missing);
    with_built::<E>(builder, async |ring| {
        let (a, b) = pair(&ring).await;
        a.write_all("x").await.unwrap();
        a.shutdown(Shutdown::Write).await.unwrap();
        assert_eq!(b.read_exact(vec![0; 1]).await.unwrap(), b"x");
        assert_eq!(b.read(vec![0; 1]).await.unwrap().0, 0);
        // Two sockets, one bind, one listen, one shutdown; and the send, where the kernel sends all of what is begun (6.0).
        let sends = ring.features().supports(opcode::SENDMSG_ZC);
        assert_eq!(ring.snapshot().plain_calls, 5 + u64::from(sends));
    });
}

#[test]
fn owned_halves_work_in_two_tasks() {
    within_deadline(|| {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        runtime.block_on(async {
            let ring = Ring::new(16).unwrap();
            let listener = TcpListener::bind(&ring, "localhost:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let echo = tokio::spawn(async move {
                let (stream, _) = listener.accept().await.unwrap();
                let (reader, writer) = stream.into_split();
                let mut buffer = vec![0; 4096];
                loop {
                    let (n, filled) = reader.read(buffer).await.unwrap();
                    if n == 0 {
                        break;
                    }
                    buffer = writer.write_all(filled).await.unwrap();
                }
                writer.shutdown().await.unwrap();
            });
            let ring = ring.clone();
            let client = tokio::spawn(async move { TcpStream::connect(&ring, address).await });
            let (reader, writer) = client.await.unwrap().unwrap().into_split();
            let write = tokio::spawn(async move {
                let sent = writer.write_all(pattern(1_000_000)).await.unwrap();
                writer.shutdown().await.unwrap();
                (writer, sent)
            });
            let read = tokio::spawn(async move {
                let all = reader.read_exact(vec![0; 1_000_000]).await.unwrap();
                (reader, all)
            });
            let (writer, sent) = write.await.unwrap();
            let (reader, all) = read.await.unwrap();
            assert!(sent == all);
            echo.await.unwrap();
            reader.reunite(writer).unwrap().close().await.unwrap();
        });
    });
}

/// Compiles if every future of a shared ring can be spawned, with what it borrows borrowed for any time.
#[allow(dead_code, reason = "compiled, not run")]
fn every_future_is_send(ring: &Ring, listener: &TcpListener, stream: &TcpStream, addr: SocketAddr) {
    fn send(_: impl Send) {}
    send(TcpListener::bind(ring, "localhost:0"));
    send(TcpListener::bind(ring, &[addr][..]));
    send(TcpStream::connect(ring, ("localhost".to_owned(), 1)));
    send(listener.accept());
    send(stream.read_exact(vec![0; 1]));
    send(stream.write_all("x"));
    send(stream.write_all_vectored(vec!["x"]));
    send(async move {
        let (reader, writer) = stream.split();
        reader.read(vec![0; 1]).await.unwrap();
        writer.write(vec![0; 1]).await.unwrap();
    });
    send(async move {
        let socket = TcpSocket::new_v4(ring).await?;
        socket.bind(addr).await?;
        socket.listen(1).await
    });
    send(async move { TcpSocket::new_v6(ring).await?.connect(addr).await });
    send(safer_ring::net::UdpSocket::bind(ring, addr));
    send(safer_ring::net::UnixListener::bind(ring, "path"));
    send(safer_ring::net::UnixStream::connect(ring, "path"));
    send(safer_ring::net::UnixDatagram::bind(ring, "path"));
    send(safer_ring::pipe::PipeReader::open(ring, "path"));
    send(safer_ring::pipe::pipe(ring));
    send(async move {
        let socket = safer_ring::net::UdpSocket::bind(ring, addr).await.unwrap();
        socket.connect("localhost:1").await.unwrap();
        socket.recv_from(vec![0; 1]).await.unwrap();
        socket.recv_segments(vec![0; 1]).await.unwrap();
    });
}
