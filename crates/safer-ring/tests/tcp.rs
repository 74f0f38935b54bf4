//! TCP over IPv4 and IPv6.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests"
)]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use common::net::{closes_on_exec, loopbacks, poll_once, settled, tcp_pair, until};
use common::{
    Exec, OnLocal, OnPollster, OnTokio, must_fail, must_fail_plainly, pattern, with_ring,
    within_deadline,
};
use futures_util::future::join;
use safer_ring::{Address, Fd, Interest, IoBuf, Mode, Ring, RingOf, Shutdown, SocketKind};

common::everywhere! {
    sockets_are_made_bound_connected_and_talk,
    a_peer_that_shut_down_gives_zero_bytes,
    shutting_down_wakes_a_receive,
    sending_to_a_closed_peer_gives_the_buffer_back,
    a_reset_connection_gives_the_buffer_back,
    a_refused_connect_says_so,
    a_second_bind_of_an_address_is_refused,
    wrong_states_and_wrong_descriptors_are_errors,
    non_blocking_sockets_never_answer_eagain,
    a_non_blocking_socket_connects,
    dont_wait_is_honoured,
    peeking_leaves_the_bytes,
    waitall_fills_the_buffer,
    ten_megabytes_go_both_ways_at_once,
    a_short_send_says_how_much_went,
    a_dropped_accept_does_not_eat_the_next_connection,
    a_dropped_receive_does_not_eat_later_bytes,
    readiness_of_sockets_is_reported,
    a_hundred_connections_at_once,
    out_of_band_data_travels,
    empty_buffers_are_fine,
}

fn std_of<M: Mode>(fd: &Fd<M>) -> TcpStream {
    fd.duplicate().unwrap().into()
}

async fn send_all<M: Mode>(ring: &RingOf<M>, fd: &Fd<M>, mut bytes: Vec<u8>) -> Vec<u8> {
    let mut sent = 0;
    while sent < bytes.len() {
        let (n, slice) = ring.send(fd, bytes.slice(sent..)).await.unwrap();
        assert!(n > 0, "a send of a buffer that is not empty moves something");
        bytes = slice.into_inner();
        sent += n;
    }
    bytes
}

async fn recv_exact<M: Mode>(ring: &RingOf<M>, fd: &Fd<M>, len: usize) -> Vec<u8> {
    let mut all = Vec::with_capacity(len);
    let mut buffer = vec![0; 64 * 1024];
    while all.len() < len {
        let (n, filled) = ring.recv(fd, buffer).await.unwrap();
        assert!(n > 0, "the peer closed after {} of {len} bytes", all.len());
        assert_eq!(n, filled.len());
        all.extend_from_slice(&filled);
        buffer = filled;
    }
    all
}

#[test]
fn accept_gives_the_peer_and_is_close_on_exec() {
    fn body<E: Exec>() {
        with_ring::<E>(8, async |ring| {
            for address in loopbacks() {
                let listener = TcpListener::bind(address).unwrap();
                let target = listener.local_addr().unwrap();
                let listener = Fd::new(listener);
                let (client, accepted) = join(
                    async { std::thread::spawn(move || TcpStream::connect(target)) },
                    ring.accept(&listener),
                )
                .await;
                let client = client.join().unwrap().unwrap();
                let (server, peer) = accepted.unwrap();
                let peer = peer.and_then(|peer| peer.ip());
                assert_eq!(peer, Some(client.local_addr().unwrap()));
                assert_eq!(std_of(&server).local_addr().unwrap(), target);
                assert!(closes_on_exec(&server));
            }
        });
    }
    within_deadline(body::<OnLocal>);
    within_deadline(body::<OnPollster>);
    within_deadline(body::<OnTokio>);
}

fn sockets_are_made_bound_connected_and_talk<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        for address in loopbacks() {
            let like = Address::from(address);
            let listener = ring.socket(&like, SocketKind::Stream).await.unwrap();
            assert!(closes_on_exec(&listener));
            ring.bind(&listener, address).await.unwrap();
            ring.listen(&listener, 16).await.unwrap();
            let target = std_of(&listener).local_addr().unwrap();
            assert_ne!(target.port(), 0);

            let client = ring.socket(&like, SocketKind::Stream).await.unwrap();
            let (connected, accepted) =
                join(ring.connect(&client, target), ring.accept(&listener)).await;
            connected.unwrap();
            let (server, peer) = accepted.unwrap();
            assert_eq!(peer.unwrap().ip(), Some(std_of(&client).local_addr().unwrap()));

            let (n, sent) = ring.send(&client, b"over and out".to_vec()).await.unwrap();
            assert_eq!((n, &*sent), (12, &b"over and out"[..]));
            let (n, got) = ring.recv(&server, Vec::with_capacity(100)).await.unwrap();
            assert_eq!((n, &*got), (12, &b"over and out"[..]));

            ring.shutdown(&server, std::net::Shutdown::Write).await.unwrap();
            let (n, got) = ring.recv(&client, got).await.unwrap();
            assert_eq!((n, got.len()), (0, 0));
            ring.close(server).await.unwrap();
            ring.close(client).await.unwrap();
        }
    });
}

fn a_peer_that_shut_down_gives_zero_bytes<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, b) = tcp_pair();
        let (a, b) = (Fd::new(a), Fd::new(b));
        ring.send(&a, b"last words".to_vec()).await.unwrap();
        ring.shutdown(&a, Shutdown::Write).await.unwrap();
        assert_eq!(recv_exact(&ring, &b, 10).await, b"last words");
        for _ in 0..2 {
            let (n, buffer) = ring.recv(&b, Vec::with_capacity(10)).await.unwrap();
            assert_eq!(
                (n, buffer.capacity()),
                (0, 10),
                "the end is told as often as it is asked for"
            );
        }
        // The other half still works.
        ring.send(&b, b"reply".to_vec()).await.unwrap();
        assert_eq!(recv_exact(&ring, &a, 5).await, b"reply");
    });
}

fn shutting_down_wakes_a_receive<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, _b) = tcp_pair();
        let a = Fd::new(a);
        let mut waiting = ring.recv(&a, vec![0; 10]);
        assert!(poll_once(&mut waiting).is_pending());
        let (ended, shut) = join(waiting, ring.shutdown(&a, Shutdown::Both)).await;
        shut.unwrap();
        assert_eq!(ended.unwrap().0, 0);
    });
}

fn sending_to_a_closed_peer_gives_the_buffer_back<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, b) = tcp_pair();
        let a = Fd::new(a);
        drop(b);
        let mut buffer = b"nobody listens".to_vec();
        let address = buffer.as_ptr();
        let error = loop {
            match ring.send(&a, buffer).await {
                // What fits before the peer's answer arrives is accepted.
                Ok((_, back)) => buffer = back,
                Err(error) => break error,
            }
        };
        let number = error.raw_os_error().unwrap();
        assert!([libc::EPIPE, libc::ECONNRESET].contains(&number), "{error}");
        let buffer = error.into_buffer();
        assert_eq!((&*buffer, buffer.as_ptr()), (&b"nobody listens"[..], address));
    });
}

fn a_reset_connection_gives_the_buffer_back<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, b) = tcp_pair();
        let a = Fd::new(a);
        let mut waiting = ring.recv(&a, b"as it was".to_vec());
        assert!(poll_once(&mut waiting).is_pending());
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        // SAFETY: reads one `linger`.
        let set = unsafe {
            libc::setsockopt(
                b.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                (&raw const linger).cast(),
                size_of::<libc::linger>() as u32,
            )
        };
        assert_eq!(set, 0);
        drop(b);
        assert_eq!(must_fail(waiting.await, libc::ECONNRESET), b"as it was");
    });
}

fn a_refused_connect_says_so<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        for address in loopbacks() {
            let gone = TcpListener::bind(address).unwrap().local_addr().unwrap();
            let client = ring.socket(&gone.into(), SocketKind::Stream).await.unwrap();
            let error = ring.connect(&client, gone).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        }
    });
}

fn a_second_bind_of_an_address_is_refused<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = first.local_addr().unwrap();
        let second = ring.socket(&taken.into(), SocketKind::Stream).await.unwrap();
        must_fail_plainly(ring.bind(&second, taken).await, libc::EADDRINUSE);
        let foreign: SocketAddr = "192.0.2.1:0".parse().unwrap();
        must_fail_plainly(ring.bind(&second, foreign).await, libc::EADDRNOTAVAIL);
    });
}

fn wrong_states_and_wrong_descriptors_are_errors<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let address: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let socket = ring.socket(&address.into(), SocketKind::Stream).await.unwrap();
        let file = Fd::new(std::fs::File::open("/proc/self/exe").unwrap());
        let text = || b"kept".to_vec();

        assert_eq!(must_fail(ring.recv(&socket, text()).await, libc::ENOTCONN), b"kept");
        assert_eq!(must_fail(ring.send(&socket, text()).await, libc::EPIPE), b"kept");
        must_fail_plainly(ring.shutdown(&socket, Shutdown::Both).await, libc::ENOTCONN);
        assert_eq!(ring.accept(&socket).await.unwrap_err().raw_os_error(), Some(libc::EINVAL));

        assert_eq!(must_fail(ring.recv(&file, text()).await, libc::ENOTSOCK), b"kept");
        assert_eq!(must_fail(ring.send(&file, text()).await, libc::ENOTSOCK), b"kept");
        assert_eq!(ring.accept(&file).await.unwrap_err().raw_os_error(), Some(libc::ENOTSOCK));
        must_fail_plainly(ring.connect(&file, address).await, libc::ENOTSOCK);
        must_fail_plainly(ring.bind(&file, address).await, libc::ENOTSOCK);
        must_fail_plainly(ring.listen(&file, 1).await, libc::ENOTSOCK);
        must_fail_plainly(ring.shutdown(&file, Shutdown::Both).await, libc::ENOTSOCK);

        let wrong = ring.socket_raw(9999, 1, 0).await.unwrap_err();
        assert_eq!(wrong.raw_os_error(), Some(libc::EAFNOSUPPORT));
        let long = Address::Other { family: 2, bytes: vec![0; 200] };
        assert_eq!(ring.bind(&socket, long).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

fn non_blocking_sockets_never_answer_eagain<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let target = listener.local_addr().unwrap();
        let listener = Fd::new(listener);

        let mut accepting = ring.accept(&listener);
        assert!(poll_once(&mut accepting).is_pending());
        let client = TcpStream::connect(target).unwrap();
        let (server, _) = accepting.await.unwrap();
        client.set_nonblocking(true).unwrap();
        std_of(&server).set_nonblocking(true).unwrap();
        let client = Fd::new(client);

        // Receives and reads that find nothing wait.
        for read in [false, true] {
            let mut waiting = if read {
                ring.read_owned(&server, vec![0; 5])
            } else {
                ring.recv(&server, vec![0; 5])
            };
            assert!(poll_once(&mut waiting).is_pending());
            ring.nop().await.unwrap();
            assert!(poll_once(&mut waiting).is_pending());
            let (got, sent) = join(waiting, ring.send(&client, b"hello".to_vec())).await;
            sent.unwrap();
            assert_eq!(got.unwrap().1, b"hello");
        }
        let mut message = ring.recv_msg(&server, vec![0; 5], 0);
        assert!(poll_once(&mut message).is_pending());
        let vectored = b"hel".to_vec();
        let (got, sent) =
            join(message, ring.write_vectored(&client, vec![vectored, b"lo".to_vec()])).await;
        sent.unwrap();
        assert_eq!(got.unwrap().buffer, b"hello");

        // Sends that find no room wait.
        let bytes = pattern(8 << 20);
        let sending = async {
            let mut sent = 0;
            let mut left = bytes.clone();
            while sent < left.len() {
                let (n, back) = if sent % 2 == 0 {
                    ring.send(&client, left.slice(sent..)).await.unwrap()
                } else {
                    ring.write_owned(&client, left.slice(sent..)).await.unwrap()
                };
                (sent, left) = (sent + n, back.into_inner());
            }
        };
        let ((), got) = join(sending, recv_exact(&ring, &server, bytes.len())).await;
        assert!(got == bytes, "the bytes arrive in order");
    });
}

fn a_non_blocking_socket_connects<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        for address in loopbacks() {
            let listener = TcpListener::bind(address).unwrap();
            let target = listener.local_addr().unwrap();
            let client = ring.socket(&target.into(), SocketKind::Stream).await.unwrap();
            std_of(&client).set_nonblocking(true).unwrap();
            ring.connect(&client, target).await.unwrap();
            let (mut server, _) = listener.accept().unwrap();
            server.write_all(b"hi").unwrap();
            assert_eq!(recv_exact(&ring, &client, 2).await, b"hi");

            drop(listener);
            let client = ring.socket(&target.into(), SocketKind::Stream).await.unwrap();
            std_of(&client).set_nonblocking(true).unwrap();
            must_fail_plainly(ring.connect(&client, target).await, libc::ECONNREFUSED);
        }
    });
}

fn dont_wait_is_honoured<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, _b) = tcp_pair();
        let a = Fd::new(a);
        let flag = libc::MSG_DONTWAIT as u32;
        let buffer = must_fail(ring.recv_with(&a, b"same".to_vec(), flag).await, libc::EAGAIN);
        assert_eq!(buffer, b"same");
        loop {
            match ring.send_with(&a, vec![1; 1 << 20], flag).await {
                Ok((n, _)) => assert!(n > 0),
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
                    assert_eq!(error.into_buffer().len(), 1 << 20);
                    break;
                }
            }
        }
    });
}

fn peeking_leaves_the_bytes<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, mut b) = tcp_pair();
        let a = Fd::new(a);
        b.write_all(b"look").unwrap();
        for _ in 0..3 {
            let flag = libc::MSG_PEEK as u32;
            let (n, seen) = ring.recv_with(&a, vec![0; 100], flag).await.unwrap();
            assert_eq!((n, &*seen), (4, &b"look"[..]));
        }
        assert_eq!(recv_exact(&ring, &a, 4).await, b"look");
    });
}

fn waitall_fills_the_buffer<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, mut b) = tcp_pair();
        let a = Fd::new(a);
        let bytes = pattern(300_000);
        let flag = libc::MSG_WAITALL as u32;
        let mut waiting = ring.recv_with(&a, vec![0; bytes.len()], flag);
        assert!(poll_once(&mut waiting).is_pending());
        let copy = bytes.clone();
        let writer = std::thread::spawn(move || {
            for piece in copy.chunks(70_001) {
                b.write_all(piece).unwrap();
                std::thread::yield_now();
            }
            b
        });
        let (n, got) = waiting.await.unwrap();
        assert_eq!(n, bytes.len());
        assert!(got == bytes);
        // And what the other side ends early comes as far as it came.
        let mut b = writer.join().unwrap();
        b.write_all(b"not much").unwrap();
        drop(b);
        let (n, got) = ring.recv_with(&a, got, flag).await.unwrap();
        assert_eq!((n, &*got), (8, &b"not much"[..]));
    });
}

fn ten_megabytes_go_both_ways_at_once<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, b) = tcp_pair();
        let (a, b) = (Fd::new(a), Fd::new(b));
        let len = 10 << 20;
        let (there, back) = (pattern(len), pattern(len).into_iter().rev().collect::<Vec<_>>());
        let (sent, got) = join(
            join(send_all(&ring, &a, there.clone()), send_all(&ring, &b, back.clone())),
            join(recv_exact(&ring, &b, len), recv_exact(&ring, &a, len)),
        )
        .await;
        assert!(sent == (there, back));
        assert!(got == sent, "every byte arrives, in order, in both directions");
    });
}

fn a_short_send_says_how_much_went<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, mut b) = tcp_pair();
        let a = Fd::new(a);
        let bytes = pattern(64 << 20);
        let (n, bytes) = ring.send(&a, bytes).await.unwrap();
        assert!(n > 0 && n < bytes.len(), "{n} bytes: nobody reads, so the buffers fill up");
        drop(a);
        let mut got = Vec::new();
        b.read_to_end(&mut got).unwrap();
        assert!(got == bytes[..n], "exactly the reported bytes were sent");
    });
}

fn a_dropped_accept_does_not_eat_the_next_connection<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        let listener = Fd::new(listener);
        for _ in 0..20 {
            let mut accepting = ring.accept(&listener);
            assert!(poll_once(&mut accepting).is_pending());
            ring.nop().await.unwrap();
            drop(accepting);
            settled(&ring).await;
        }
        let client = TcpStream::connect(target).unwrap();
        let (_, peer) = ring.accept(&listener).await.unwrap();
        assert_eq!(peer.unwrap().ip(), Some(client.local_addr().unwrap()));
        let snapshot = ring.snapshot();
        // The first stays armed, and each accept after it waits for that one.
        assert_eq!((snapshot.orphaned, snapshot.cancelled, snapshot.adopted_fds), (1, 0, 0));
        assert_eq!(snapshot.adopted_connections, 1);
    });
}

fn a_dropped_receive_does_not_eat_later_bytes<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, mut b) = tcp_pair();
        let a = Fd::new(a);
        for round in 0..20u8 {
            let mut waiting = ring.recv(&a, vec![0; 10]);
            assert!(poll_once(&mut waiting).is_pending());
            ring.nop().await.unwrap();
            drop(waiting);
            settled(&ring).await;
            b.write_all(&[round]).unwrap();
            assert_eq!(recv_exact(&ring, &a, 1).await, [round]);
        }
    });
}

fn readiness_of_sockets_is_reported<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, mut b) = tcp_pair();
        let a = Fd::new(a);
        let events = ring.poll(&a, Interest::WRITABLE).await.unwrap();
        assert!(Interest::from_bits(events).contains(Interest::WRITABLE));
        let mut waiting = ring.poll(&a, Interest::READABLE);
        assert!(poll_once(&mut waiting).is_pending());
        b.write_all(b"x").unwrap();
        let events = Interest::from_bits(waiting.await.unwrap());
        assert!(events.contains(Interest::READABLE) && !events.contains(Interest::HANG_UP));
        drop(b);
        until(&ring, "the peer is gone", || std_of(&a).peek(&mut [0]).is_ok_and(|n| n == 1)).await;
        let interest = Interest::READABLE | Interest::from_bits(libc::POLLRDHUP as u32);
        let mut events = Interest::default();
        while !events.contains(Interest::from_bits(libc::POLLRDHUP as u32)) {
            events = Interest::from_bits(ring.poll(&a, interest).await.unwrap());
        }
    });
}

fn a_hundred_connections_at_once<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        let listener = Fd::new(listener);
        let server = async {
            let served = (0..100).map(|_| async {
                let (socket, _) = ring.accept(&listener).await.unwrap();
                let echo = recv_exact(&ring, &socket, 1000).await;
                send_all(&ring, &socket, echo).await;
            });
            futures_util::future::join_all(served).await;
        };
        let clients = (0..100u8).map(|id| {
            let ring = ring.clone();
            async move {
                let like = Address::from(target);
                let socket = ring.socket(&like, SocketKind::Stream).await.unwrap();
                ring.connect(&socket, target).await.unwrap();
                send_all(&ring, &socket, vec![id; 1000]).await;
                assert_eq!(recv_exact(&ring, &socket, 1000).await, vec![id; 1000]);
            }
        });
        join(server, futures_util::future::join_all(clients)).await;
    });
}

fn out_of_band_data_travels<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, b) = tcp_pair();
        let (a, b) = (Fd::new(a), Fd::new(b));
        let flag = libc::MSG_OOB as u32;
        ring.send_with(&a, b"!".to_vec(), flag).await.unwrap();
        let events = ring.poll(&b, Interest::PRIORITY).await.unwrap();
        assert!(Interest::from_bits(events).contains(Interest::PRIORITY));
        let (n, got) = ring.recv_with(&b, vec![0; 4], flag).await.unwrap();
        assert_eq!((n, &*got), (1, &b"!"[..]));
    });
}

fn empty_buffers_are_fine<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, mut b) = tcp_pair();
        let a = Fd::new(a);
        b.write_all(b"x").unwrap();
        let (n, buffer) = ring.recv(&a, Vec::new()).await.unwrap();
        assert_eq!((n, buffer.len()), (0, 0));
        assert_eq!(ring.send(&a, Vec::new()).await.unwrap().0, 0);
        assert_eq!(recv_exact(&ring, &a, 1).await, b"x");
    });
}

#[test]
fn an_operation_that_holds_the_last_handle_still_runs() {
    within_deadline(|| {
        let (a, mut b) = tcp_pair();
        let a: Fd = Fd::new(a);
        b.write_all(b"bytes").unwrap();
        let ring = Ring::new(8).unwrap();
        let receive = ring.recv(&a, vec![0; 10]);
        drop(ring);
        assert_eq!(pollster::block_on(receive).unwrap().1, b"bytes");

        // Also one that has to wait after its start, and one that is given up.
        let ring = Ring::new(8).unwrap();
        let mut receive = ring.recv(&a, vec![0; 10]);
        assert!(poll_once(&mut receive).is_pending());
        drop(ring);
        b.write_all(b"later").unwrap();
        assert_eq!(pollster::block_on(receive).unwrap().1, b"later");
        let mut given_up = Ring::new(8).unwrap().recv(&a, vec![0; 10]);
        assert!(poll_once(&mut given_up).is_pending());
    });
}
