//! UDP over IPv4 and IPv6.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests"
)]

mod common;

use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd};

use common::net::{closes_on_exec, loopbacks, poll_once, settled};
use common::{Exec, must_fail, pattern, with_ring};
use futures_util::future::join;
use safer_ring::{Address, Control, ControlMessage, Fd, Mode, SocketKind};

common::everywhere! {
    datagrams_carry_the_address_of_their_sender,
    connected_sockets_send_and_receive,
    an_unreachable_port_is_reported_and_the_buffer_comes_back,
    the_largest_datagram_passes_and_a_larger_one_is_refused,
    a_cut_datagram_says_so,
    empty_datagrams_arrive,
    control_data_arrives,
    peeking_leaves_the_datagram,
    non_blocking_sockets_wait,
    a_dropped_receive_does_not_eat_later_datagrams,
    a_thousand_datagrams_arrive_in_order,
}

fn std_of<M: Mode>(fd: &Fd<M>) -> UdpSocket {
    fd.duplicate().unwrap().into()
}

fn pair<M: Mode>() -> (Fd<M>, Fd<M>) {
    let (a, b) = std_pair();
    (Fd::new(a), Fd::new(b))
}

fn std_pair() -> (UdpSocket, UdpSocket) {
    let a = UdpSocket::bind("127.0.0.1:0").unwrap();
    let b = UdpSocket::bind("127.0.0.1:0").unwrap();
    a.connect(b.local_addr().unwrap()).unwrap();
    b.connect(a.local_addr().unwrap()).unwrap();
    (a, b)
}

fn datagrams_carry_the_address_of_their_sender<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        for address in loopbacks() {
            let like = Address::from(address);
            let a = ring.socket(&like, SocketKind::Datagram).await.unwrap();
            let b = ring.socket(&like, SocketKind::Datagram).await.unwrap();
            assert!(closes_on_exec(&a));
            ring.bind(&a, address).await.unwrap();
            ring.bind(&b, address).await.unwrap();
            let (at_a, at_b) = (std_of(&a).local_addr().unwrap(), std_of(&b).local_addr().unwrap());
            let (got, sent) = join(
                ring.recv_msg(&b, vec![0; 100], 0),
                ring.send_msg(&a, b"there".to_vec(), Some(&at_b.into()), Control::new()),
            )
            .await;
            assert_eq!(sent.unwrap(), (5, b"there".to_vec()));
            let got = got.unwrap();
            assert_eq!((got.count, &*got.buffer), (5, &b"there"[..]));
            assert_eq!(got.address.as_ref().and_then(Address::ip), Some(at_a));
            let back = got.address.as_ref();
            ring.send_msg(&b, b"back".to_vec(), back, Control::new()).await.unwrap();
            let got = ring.recv_msg(&a, got.buffer, 0).await.unwrap();
            assert_eq!(got.address.and_then(|from| from.ip()), Some(at_b));
            assert_eq!(got.buffer, b"back");
        }
    });
}

fn connected_sockets_send_and_receive<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        for address in loopbacks() {
            let server = UdpSocket::bind(address).unwrap();
            let target = server.local_addr().unwrap();
            let client = ring.socket(&target.into(), SocketKind::Datagram).await.unwrap();
            ring.connect(&client, target).await.unwrap();
            ring.send(&client, b"ping".to_vec()).await.unwrap();
            let mut bytes = [0; 10];
            let (n, from) = server.recv_from(&mut bytes).unwrap();
            assert_eq!(&bytes[..n], b"ping");
            let mut waiting = ring.recv(&client, vec![0; 10]);
            assert!(poll_once(&mut waiting).is_pending());
            server.send_to(b"pong", from).unwrap();
            assert_eq!(waiting.await.unwrap().1, b"pong");
        }
    });
}

fn an_unreachable_port_is_reported_and_the_buffer_comes_back<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(gone).unwrap();
        let socket = Fd::new(socket);
        let mut waiting = ring.recv(&socket, b"as it was".to_vec());
        assert!(poll_once(&mut waiting).is_pending());
        ring.send(&socket, b"?".to_vec()).await.unwrap();
        assert_eq!(must_fail(waiting.await, libc::ECONNREFUSED), b"as it was");
        let unconnected = Fd::new(UdpSocket::bind("127.0.0.1:0").unwrap());
        let failed = ring.send(&unconnected, b"kept".to_vec()).await;
        assert_eq!(must_fail(failed, libc::EDESTADDRREQ), b"kept");
    });
}

fn the_largest_datagram_passes_and_a_larger_one_is_refused<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, b) = pair();
        let largest = pattern(65_507);
        assert_eq!(ring.send(&a, largest.clone()).await.unwrap().0, 65_507);
        let (n, got) = ring.recv(&b, vec![0; 70_000]).await.unwrap();
        assert!(n == 65_507 && got == largest);
        let larger = must_fail(ring.send(&a, vec![3; 65_508]).await, libc::EMSGSIZE);
        assert_eq!(larger, vec![3; 65_508]);
    });
}

fn a_cut_datagram_says_so<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, b) = pair();
        ring.send(&a, b"much too long".to_vec()).await.unwrap();
        ring.send(&a, b"fits".to_vec()).await.unwrap();
        let cut = ring.recv_msg(&b, vec![0; 4], 0).await.unwrap();
        assert_eq!((cut.count, &*cut.buffer), (4, &b"much"[..]));
        assert_ne!(cut.flags & libc::MSG_TRUNC as u32, 0);
        let whole = ring.recv_msg(&b, cut.buffer, 0).await.unwrap();
        assert_eq!(&*whole.buffer, b"fits");
        assert_eq!(whole.flags & libc::MSG_TRUNC as u32, 0);
    });
}

fn empty_datagrams_arrive<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, b) = pair();
        ring.send(&a, Vec::new()).await.unwrap();
        ring.send(&a, b"x".to_vec()).await.unwrap();
        assert_eq!(ring.recv(&b, vec![0; 4]).await.unwrap().0, 0);
        assert_eq!(ring.recv(&b, vec![0; 4]).await.unwrap().1, b"x");
    });
}

fn control_data_arrives<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, b) = pair();
        let on: libc::c_int = 1;
        // SAFETY: reads one int.
        let set = unsafe {
            libc::setsockopt(
                b.as_fd().as_raw_fd(),
                libc::IPPROTO_IP,
                libc::IP_RECVTTL,
                (&raw const on).cast(),
                size_of::<libc::c_int>() as u32,
            )
        };
        assert_eq!(set, 0);
        let mut control = Control::new();
        control.push(libc::IPPROTO_IP, libc::IP_TTL, &17i32.to_ne_bytes()).unwrap();
        ring.send_msg(&a, b"x".to_vec(), None, control).await.unwrap();
        let got = ring.recv_msg(&b, vec![0; 4], 64).await.unwrap();
        let [ControlMessage::Other { level, kind, data }] = &*got.control else {
            panic!("{:?}", got.control)
        };
        assert_eq!((*level, *kind), (libc::IPPROTO_IP, libc::IP_TTL));
        assert_eq!(&**data, &17i32.to_ne_bytes());
    });
}

fn peeking_leaves_the_datagram<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, b) = pair();
        ring.send(&a, b"look".to_vec()).await.unwrap();
        for flag in [libc::MSG_PEEK, libc::MSG_PEEK, 0] {
            assert_eq!(ring.recv_with(&b, vec![0; 9], flag as u32).await.unwrap().1, b"look");
        }
    });
}

fn non_blocking_sockets_wait<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, b) = std_pair();
        b.set_nonblocking(true).unwrap();
        let b = Fd::new(b);
        let mut plain = ring.recv(&b, vec![0; 9]);
        assert!(poll_once(&mut plain).is_pending());
        ring.nop().await.unwrap();
        a.send(b"one").unwrap();
        assert_eq!(plain.await.unwrap().1, b"one");
        let mut message = ring.recv_msg(&b, vec![0; 9], 0);
        assert!(poll_once(&mut message).is_pending());
        ring.nop().await.unwrap();
        a.send(b"two").unwrap();
        let got = message.await.unwrap();
        assert_eq!(got.buffer, b"two");
        assert_eq!(got.address.unwrap().ip(), Some(a.local_addr().unwrap()));
    });
}

fn a_dropped_receive_does_not_eat_later_datagrams<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, b) = pair();
        for round in 0..20u8 {
            let mut plain = ring.recv(&b, vec![0; 9]);
            let mut message = ring.recv_msg(&b, vec![0; 9], 16);
            assert!(poll_once(&mut plain).is_pending());
            assert!(poll_once(&mut message).is_pending());
            ring.nop().await.unwrap();
            drop((plain, message));
            settled(&ring).await;
            ring.send(&a, vec![round]).await.unwrap();
            assert_eq!(ring.recv(&b, vec![0; 9]).await.unwrap().1, [round]);
        }
    });
}

fn a_thousand_datagrams_arrive_in_order<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, b) = pair();
        // A few at a time, so that the receiver's buffer does not overflow.
        for batch in 0..100u32 {
            for number in 0..10 {
                let bytes = (batch * 10 + number).to_ne_bytes().to_vec();
                ring.send(&a, bytes).await.unwrap();
            }
            for number in 0..10 {
                let (_, got) = ring.recv(&b, vec![0; 9]).await.unwrap();
                assert_eq!(got, (batch * 10 + number).to_ne_bytes());
            }
        }
    });
}
