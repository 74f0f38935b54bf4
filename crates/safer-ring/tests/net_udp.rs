//! `UdpSocket`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use common::net::{closes_on_exec, loopbacks, poll_once};
use common::{Exec, must_fail, must_fail_plainly, pattern, with_ring};
use safer_ring::net::UdpSocket;
use safer_ring::{IoBuf as _, Mode, RingOf};

common::everywhere! {
    datagrams_go_both_ways_over_each_family,
    a_cut_datagram_says_so,
    a_connected_socket_hears_its_peer_only,
    sends_to_nobody_are_errors_with_the_buffer,
    names_are_looked_up,
    a_peek_takes_nothing,
    empty_datagrams_arrive,
    non_blocking_sockets_of_std_work,
    a_shared_socket_does_not_become_one_of_std,
    options_are_kept,
    broadcast_has_to_be_allowed,
    groups_are_joined_and_left,
    one_send_becomes_many_datagrams,
    gro_joins_what_gso_has_split,
    segments_out_of_range_are_refused,
}

async fn local<M: Mode>(ring: &RingOf<M>) -> UdpSocket<M> {
    UdpSocket::bind(ring, "127.0.0.1:0").await.unwrap()
}

fn datagrams_go_both_ways_over_each_family<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let addresses = loopbacks();
        if addresses.len() < 2 {
            eprintln!("skipped: IPv6, this machine has {addresses:?}");
        }
        for address in addresses {
            let a = UdpSocket::bind(&ring, address).await.unwrap();
            let b = UdpSocket::bind(&ring, address).await.unwrap();
            assert!(closes_on_exec(&a));
            let (n, sent) = a.send_to(b"one".to_vec(), b.local_addr().unwrap()).await.unwrap();
            assert_eq!((n, &*sent), (3, &b"one"[..]));
            let got = b.recv_from(Vec::with_capacity(100)).await.unwrap();
            assert_eq!((got.count, &*got.buffer, got.truncated), (3, &b"one"[..], false));
            assert_eq!(got.address, a.local_addr().unwrap());
            b.send_to("two", got.address).await.unwrap();
            assert_eq!(a.recv(vec![0; 100]).await.unwrap(), (3, b"two".to_vec()));
        }
    });
}

fn a_cut_datagram_says_so<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = (local(&ring).await, local(&ring).await);
        let target = b.local_addr().unwrap();
        for text in ["too long", "next", "exactly"] {
            a.send_to(text, target).await.unwrap();
        }
        let got = b.recv_from(vec![0; 3]).await.unwrap();
        assert_eq!((got.count, &*got.buffer, got.truncated), (3, &b"too"[..], true));
        // The rest of it is gone; the next receive gets the next datagram.
        let got = b.recv_segments(vec![0; 2]).await.unwrap();
        assert_eq!((got.count, &*got.buffer, got.truncated), (2, &b"ne"[..], true));
        let got = b.recv_from(vec![0; 7]).await.unwrap();
        assert_eq!((got.count, &*got.buffer, got.truncated), (7, &b"exactly"[..], false));
        // Only a part of a buffer may be filled.
        a.send_to("part", target).await.unwrap();
        let got = b.recv_from(vec![b'-'; 6].slice(1..3)).await.unwrap();
        assert_eq!((got.buffer.into_inner(), got.truncated), (b"-pa---".to_vec(), true));
    });
}

fn a_connected_socket_hears_its_peer_only<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b, c) = (local(&ring).await, local(&ring).await, local(&ring).await);
        must_fail_plainly(a.peer_addr(), libc::ENOTCONN);
        a.connect(b.local_addr().unwrap()).await.unwrap();
        assert_eq!(a.peer_addr().unwrap(), b.local_addr().unwrap());
        c.send_to("from c", a.local_addr().unwrap()).await.unwrap();
        b.send_to("from b", a.local_addr().unwrap()).await.unwrap();
        assert_eq!(a.recv(vec![0; 100]).await.unwrap().1, b"from b");
        assert_eq!(a.send("to b").await.unwrap().0, 4);
        assert_eq!(b.recv_from(vec![0; 100]).await.unwrap().address, a.local_addr().unwrap());
    });
}

fn sends_to_nobody_are_errors_with_the_buffer<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let a = local(&ring).await;
        assert_eq!(must_fail(a.send(b"kept".to_vec()).await, libc::EDESTADDRREQ), b"kept");
        let long = vec![1; 70_000];
        let failed = a.send_to(long, a.local_addr().unwrap()).await;
        assert_eq!(must_fail(failed, libc::EMSGSIZE).len(), 70_000);
        // That nobody listens is told by the next operation.
        let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        a.connect(nobody).await.unwrap();
        a.send("lost").await.unwrap();
        assert_eq!(must_fail(a.recv(vec![7; 4]).await, libc::ECONNREFUSED), [7; 4]);
        a.send("lost").await.unwrap();
        assert_eq!(must_fail(a.recv_from(vec![7; 4]).await, libc::ECONNREFUSED), [7; 4]);
        a.send("lost").await.unwrap();
        ring.poll(a.fd(), safer_ring::Interest::ERROR).await.unwrap();
        let error = a.take_error().unwrap().expect("somebody refused");
        assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED));
    });
}

fn names_are_looked_up<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let a = UdpSocket::bind(&ring, "localhost:0").await.unwrap();
        let address = a.local_addr().unwrap();
        assert!(address.ip().is_loopback());
        let b = UdpSocket::bind(&ring, (address.ip(), 0)).await.unwrap();
        b.connect(("localhost", address.port())).await.unwrap();
        must_fail_plainly(UdpSocket::bind(&ring, address).await, libc::EADDRINUSE);
        let other = UdpSocket::bind(&ring, [address, SocketAddr::new(address.ip(), 0)]).await;
        assert_ne!(other.unwrap().local_addr().unwrap(), address);
    });
}

fn a_peek_takes_nothing<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = (local(&ring).await, local(&ring).await);
        a.send_to("bytes", b.local_addr().unwrap()).await.unwrap();
        assert_eq!(b.peek(vec![0; 3]).await.unwrap(), (3, b"byt".to_vec()));
        let seen = b.peek_from(vec![0; 3]).await.unwrap();
        assert_eq!((&*seen.buffer, seen.truncated), (&b"byt"[..], true));
        assert_eq!(seen.address, a.local_addr().unwrap());
        let got = b.recv_from(vec![0; 10]).await.unwrap();
        assert_eq!((&*got.buffer, got.truncated), (&b"bytes"[..], false));
    });
}

fn empty_datagrams_arrive<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = (local(&ring).await, local(&ring).await);
        assert_eq!(a.send_to("", b.local_addr().unwrap()).await.unwrap().0, 0);
        let got = b.recv_from(vec![0; 4]).await.unwrap();
        assert_eq!((got.count, got.buffer, got.truncated), (0, vec![], false));
        assert_eq!(got.address, a.local_addr().unwrap());
    });
}

fn non_blocking_sockets_of_std_work<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let a = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        a.set_nonblocking(true).unwrap();
        let a = UdpSocket::from_std(&ring, a);
        let b = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut receive = a.recv(vec![0; 10]);
        assert!(poll_once(&mut receive).is_pending());
        b.send_to(b"late", a.local_addr().unwrap()).unwrap();
        assert_eq!(receive.await.unwrap().1, b"late");
        let mut receive = a.recv_from(vec![0; 10]);
        assert!(poll_once(&mut receive).is_pending());
        b.send_to(b"later", a.local_addr().unwrap()).unwrap();
        let got = receive.await.unwrap();
        assert_eq!((&*got.buffer, got.address), (&b"later"[..], b.local_addr().unwrap()));
        let a = a.into_std().unwrap();
        let error = a.recv(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock, "the mode is as it was");
    });
}

fn a_shared_socket_does_not_become_one_of_std<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let a = local(&ring).await;
        let shared = UdpSocket::from_fd(&ring, a.fd().clone());
        let a = a.into_std().unwrap_err();
        assert_eq!(a.close().await.unwrap_err().kind(), ErrorKind::ResourceBusy);
        // The refused close has given up its own handle.
        shared.close().await.unwrap();
    });
}

fn options_are_kept<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        for address in loopbacks() {
            let a = UdpSocket::bind(&ring, address).await.unwrap();
            for on in [true, false] {
                a.set_broadcast(on).unwrap();
                assert_eq!(a.broadcast().unwrap(), on);
                a.set_multicast_loop(on).unwrap();
                assert_eq!(a.multicast_loop().unwrap(), on);
                a.set_gro(on).unwrap();
                assert_eq!(a.gro().unwrap(), on);
            }
            a.set_ttl(77).unwrap();
            a.set_multicast_ttl(5).unwrap();
            assert_eq!((a.ttl().unwrap(), a.multicast_ttl().unwrap()), (77, 5));
            must_fail_plainly(a.set_multicast_ttl(256), libc::EINVAL);
            a.set_recv_buffer_size(30_000).unwrap();
            a.set_send_buffer_size(20_000).unwrap();
            let sizes = (a.recv_buffer_size().unwrap(), a.send_buffer_size().unwrap());
            assert_eq!(sizes, (60_000, 40_000));
        }
    });
}

fn broadcast_has_to_be_allowed<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let a = local(&ring).await;
        let everybody = "127.255.255.255:9".parse().unwrap();
        let refused = a.send_to(b"kept".to_vec(), everybody).await;
        assert_eq!(must_fail(refused, libc::EACCES), b"kept");
        a.set_broadcast(true).unwrap();
        a.send_to("to all", everybody).await.unwrap();
    });
}

fn groups_are_joined_and_left<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let group = Ipv4Addr::new(239, 255, 77, 1);
        let receiver = UdpSocket::bind(&ring, (Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
        receiver.join_multicast_v4(group, Ipv4Addr::LOCALHOST).unwrap();
        let again = receiver.join_multicast_v4(group, Ipv4Addr::LOCALHOST);
        must_fail_plainly(again, libc::EADDRINUSE);
        // What comes from the loopback address goes out, and comes in, on its interface.
        let sender = local(&ring).await;
        let target = SocketAddr::from((group, receiver.local_addr().unwrap().port()));
        sender.send_to("to the group", target).await.unwrap();
        let got = receiver.recv_from(vec![0; 100]).await.unwrap();
        assert_eq!(
            (&*got.buffer, got.address),
            (&b"to the group"[..], sender.local_addr().unwrap())
        );
        receiver.leave_multicast_v4(group, Ipv4Addr::LOCALHOST).unwrap();
        let again = receiver.leave_multicast_v4(group, Ipv4Addr::LOCALHOST);
        must_fail_plainly(again, libc::EADDRNOTAVAIL);
        let no_group = receiver.join_multicast_v4(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST);
        must_fail_plainly(no_group, libc::EINVAL);
        if loopbacks().len() < 2 {
            eprintln!("skipped: groups of IPv6");
            return;
        }
        // The loopback interface has the index 1.
        let group: Ipv6Addr = "ff01::77:1".parse().unwrap();
        let receiver = UdpSocket::bind(&ring, "[::]:0").await.unwrap();
        receiver.join_multicast_v6(&group, 1).unwrap();
        receiver.leave_multicast_v6(&group, 1).unwrap();
        must_fail_plainly(receiver.leave_multicast_v6(&group, 1), libc::EADDRNOTAVAIL);
    });
}

fn one_send_becomes_many_datagrams<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = (local(&ring).await, local(&ring).await);
        let target = b.local_addr().unwrap();
        let (n, sent) = a.send_segments(pattern(2500), 1000, Some(target)).await.unwrap();
        assert!(n == 2500 && sent == pattern(2500));
        for piece in sent.chunks(1000) {
            let got = b.recv_segments(vec![0; 65_536]).await.unwrap();
            assert_eq!((got.count, got.segment_size), (piece.len(), piece.len()));
            assert!(got.buffer == piece && !got.truncated);
        }
        a.connect(target).await.unwrap();
        a.send_segments(pattern(20), 10, None).await.unwrap();
        assert_eq!(b.recv(vec![0; 100]).await.unwrap().0, 10);
        assert_eq!(b.recv(vec![0; 100]).await.unwrap().0, 10);
    });
}

fn gro_joins_what_gso_has_split<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = (local(&ring).await, local(&ring).await);
        b.set_gro(true).unwrap();
        a.send_segments(pattern(2500), 1000, Some(b.local_addr().unwrap())).await.unwrap();
        let got = b.recv_segments(vec![0; 65_536]).await.unwrap();
        if got.count == 1000 && !common::kernel_is(6, 0) {
            return println!("skipped: this kernel splits on the loopback what GRO would join");
        }
        assert_eq!((got.count, got.segment_size), (2500, 1000));
        assert!(got.buffer == pattern(2500) && !got.truncated);
        assert_eq!(got.address, a.local_addr().unwrap());
        // A single datagram is its own segment.
        a.send_to("single", b.local_addr().unwrap()).await.unwrap();
        let got = b.recv_segments(vec![0; 100]).await.unwrap();
        assert_eq!((got.count, got.segment_size), (6, 6));
    });
}

fn segments_out_of_range_are_refused<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let a = local(&ring).await;
        let own = a.local_addr().unwrap();
        let error = a.send_segments(b"kept".to_vec(), 0, Some(own)).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.into_buffer()),
            (ErrorKind::InvalidInput, b"kept".to_vec())
        );
        // More datagrams than one send may become.
        let failed = a.send_segments(vec![1; 1000], 1, Some(own)).await;
        assert_eq!(must_fail(failed, libc::EINVAL).len(), 1000);
        let failed = a.send_segments(b"kept".to_vec(), 2, None).await;
        assert_eq!(must_fail(failed, libc::EDESTADDRREQ), b"kept");
    });
}
