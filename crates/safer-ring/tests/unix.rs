//! Unix sockets: streams, datagrams, packets; paths, abstract names and none; control data.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests"
)]

mod common;

use std::io::{ErrorKind, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram, UnixListener, UnixStream};
use std::sync::atomic::{AtomicU32, Ordering};

use common::net::{closes_on_exec, pipe, poll_once, unix_pair, until};
use common::{
    Exec, OnLocal, OnPollster, OnTokio, must_fail, must_fail_plainly, pattern, with_ring,
    within_deadline,
};
use futures_util::future::join;
use safer_ring::{Address, Control, ControlMessage, Fd, IoBuf, Mode, Received, RingOf, SocketKind};

common::everywhere! {
    streams_talk_by_path_and_by_abstract_name,
    packets_keep_their_boundaries,
    the_longest_path_is_an_address,
    missing_and_dead_listeners_are_errors,
    a_closed_peer_ends_the_stream,
    a_closed_peer_fails_a_message_with_the_buffer,
    datagrams_to_nobody_are_refused,
    empty_datagrams_are_not_the_end,
    a_cut_datagram_says_so,
    cut_control_data_says_so_and_keeps_the_rest_whole,
    credentials_come_as_other_control_data,
    descriptors_cannot_be_pushed_as_plain_control_data,
    many_descriptors_travel_at_once,
    messages_work_on_non_blocking_sockets,
    a_message_that_is_too_long_is_refused,
    ten_megabytes_go_both_ways_at_once,
}

fn on_all(local: fn(), shared: fn(), tokio: fn()) {
    within_deadline(local);
    within_deadline(shared);
    within_deadline(tokio);
}

/// An abstract name that no other test has.
fn abstract_name() -> UnixAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("safer-ring-test-{}-{number}", std::process::id());
    UnixAddr::from_abstract_name(name).unwrap()
}

fn unix_of(address: Option<Address>) -> UnixAddr {
    match address {
        Some(Address::Unix(address)) => address,
        other => panic!("not a Unix address: {other:?}"),
    }
}

fn descriptors_in(control: Vec<ControlMessage>) -> Vec<OwnedFd> {
    let mut all = Vec::new();
    for message in control {
        match message {
            ControlMessage::Descriptors(some) => all.extend(some),
            other => panic!("not descriptors: {other:?}"),
        }
    }
    all
}

fn passing(fds: &[impl AsFd]) -> Control {
    let mut control = Control::new();
    control.descriptors(fds).unwrap();
    control
}

async fn echo_over<M: Mode>(ring: &RingOf<M>, address: UnixAddr, kind: SocketKind) {
    let like = Address::from(address.clone());
    let listener = ring.socket(&like, kind).await.unwrap();
    ring.bind(&listener, address.clone()).await.unwrap();
    ring.listen(&listener, 4).await.unwrap();
    let client = ring.socket(&like, kind).await.unwrap();
    let (connected, accepted) =
        join(ring.connect(&client, address.clone()), ring.accept(&listener)).await;
    connected.unwrap();
    let (server, peer) = accepted.unwrap();
    assert!(closes_on_exec(&server) && closes_on_exec(&client));
    // The client has no name of its own.
    if let Some(peer) = peer {
        assert!(unix_of(Some(peer)).is_unnamed());
    }
    for text in ["one", "", "three"] {
        ring.send(&client, text.as_bytes().to_vec()).await.unwrap();
    }
    let boundaries = kind == SocketKind::SeqPacket;
    let expected: &[&[u8]] = if boundaries { &[b"one", b"", b"three"] } else { &[b"onethree"] };
    for piece in expected {
        let (n, got) = ring.recv(&server, vec![0; 100]).await.unwrap();
        assert_eq!((n, &*got), (piece.len(), *piece));
    }
    let name: UnixStream = server.duplicate().unwrap().into();
    assert_eq!(name.local_addr().unwrap().as_pathname(), address.as_pathname());
    assert_eq!(name.local_addr().unwrap().as_abstract_name(), address.as_abstract_name());
}

fn streams_talk_by_path_and_by_abstract_name<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let dir = tempfile::tempdir().unwrap();
        let path = UnixAddr::from_pathname(dir.path().join("socket")).unwrap();
        echo_over(&ring, path, SocketKind::Stream).await;
        echo_over(&ring, abstract_name(), SocketKind::Stream).await;
        // A client with a name is told by its name.
        let (target, own) = (abstract_name(), abstract_name());
        let listener = Fd::new(UnixListener::bind_addr(&target).unwrap());
        let client = ring.socket(&own.clone().into(), SocketKind::Stream).await.unwrap();
        ring.bind(&client, own.clone()).await.unwrap();
        let (connected, accepted) =
            join(ring.connect(&client, target), ring.accept(&listener)).await;
        connected.unwrap();
        let peer = unix_of(accepted.unwrap().1);
        assert_eq!(peer.as_abstract_name(), own.as_abstract_name());
    });
}

fn packets_keep_their_boundaries<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let dir = tempfile::tempdir().unwrap();
        let path = UnixAddr::from_pathname(dir.path().join("socket")).unwrap();
        echo_over(&ring, path, SocketKind::SeqPacket).await;
        echo_over(&ring, abstract_name(), SocketKind::SeqPacket).await;
    });
}

fn the_longest_path_is_an_address<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let dir = tempfile::tempdir().unwrap();
        let room = 107 - dir.path().as_os_str().len() - 1;
        let path = dir.path().join("x".repeat(room));
        let address = Address::unix(&path).unwrap();
        let socket = ring.socket(&address, SocketKind::Datagram).await.unwrap();
        ring.bind(&socket, address).await.unwrap();
        let name: UnixDatagram = socket.duplicate().unwrap().into();
        assert_eq!(name.local_addr().unwrap().as_pathname(), Some(&*path));
        let sender = UnixDatagram::bind(dir.path().join("s")).unwrap();
        sender.send_to(b"x", &path).unwrap();
        let from = ring.recv_msg(&socket, vec![0; 8], 0).await.unwrap().address;
        assert_eq!(unix_of(from).as_pathname(), Some(&*dir.path().join("s")));
        let reply = Address::unix(&path).unwrap();
        let other = Fd::new(sender);
        ring.send_msg(&other, b"y".to_vec(), Some(&reply), Control::new()).await.unwrap();
        let got = ring.recv_msg(&socket, vec![0; 8], 0).await.unwrap();
        assert_eq!(got.buffer, b"y");
        let too_long = Address::unix(dir.path().join("x".repeat(room + 1)));
        assert_eq!(too_long.unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

fn missing_and_dead_listeners_are_errors<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let dir = tempfile::tempdir().unwrap();
        let missing = Address::unix(dir.path().join("none")).unwrap();
        let socket = ring.socket(&missing, SocketKind::Stream).await.unwrap();
        must_fail_plainly(ring.connect(&socket, missing).await, libc::ENOENT);
        let path = dir.path().join("dead");
        drop(UnixListener::bind(&path).unwrap());
        let dead = Address::unix(&path).unwrap();
        must_fail_plainly(ring.connect(&socket, dead.clone()).await, libc::ECONNREFUSED);
        must_fail_plainly(ring.bind(&socket, dead).await, libc::EADDRINUSE);
    });
}

fn a_closed_peer_ends_the_stream<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, b) = unix_pair();
        ring.send(&b, b"rest".to_vec()).await.unwrap();
        ring.close(b).await.unwrap();
        assert_eq!(ring.recv(&a, vec![0; 10]).await.unwrap().1, b"rest");
        assert_eq!(ring.recv(&a, vec![0; 10]).await.unwrap().0, 0);
        let end = ring.recv_msg(&a, vec![0; 10], 64).await.unwrap();
        assert_eq!((end.count, end.buffer.len(), end.control.len()), (0, 0, 0));
        assert_eq!(must_fail(ring.send(&a, b"kept".to_vec()).await, libc::EPIPE), b"kept");
        let written = ring.write_owned(&a, b"kept".to_vec()).await;
        assert_eq!(must_fail(written, libc::EPIPE), b"kept");
    });
}

fn a_closed_peer_fails_a_message_with_the_buffer<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, b) = unix_pair::<E::M>();
        drop(b);
        let (reader, writer) = pipe();
        let control = passing(&[writer]);
        let failed = ring.send_msg(&a, b"kept".to_vec(), None, control).await;
        assert_eq!(must_fail(failed, libc::EPIPE), b"kept");
        // Nobody has the writing end any more.
        assert_eq!(std::fs::File::from(reader).read(&mut [0; 1]).unwrap(), 0);
    });
}

#[test]
fn messages_carry_addresses() {
    fn body<E: Exec>() {
        with_ring::<E>(8, async |ring| {
            let dir = tempfile::tempdir().unwrap();
            let path = UnixAddr::from_pathname(dir.path().join("a")).unwrap();
            for address in [path, abstract_name()] {
                let target = Address::from(address.clone());
                let receiver = ring.socket(&target, SocketKind::Datagram).await.unwrap();
                ring.bind(&receiver, target.clone()).await.unwrap();
                let own = abstract_name();
                let named = Fd::new(UnixDatagram::bind_addr(&own).unwrap());
                let unnamed = Fd::new(UnixDatagram::unbound().unwrap());

                let text = || b"text".to_vec();
                let sent = ring.send_msg(&named, text(), Some(&target), Control::new()).await;
                assert_eq!(sent.unwrap(), (4, text()));
                let sent = ring.send_msg(&unnamed, text(), Some(&target), Control::new()).await;
                assert_eq!(sent.unwrap().0, 4);

                let got = ring.recv_msg(&receiver, vec![0; 9], 0).await.unwrap();
                assert_eq!((got.count, &*got.buffer, got.flags), (4, &b"text"[..], 0x4000_0000));
                let from = unix_of(got.address.clone());
                assert_eq!(from.as_abstract_name(), own.as_abstract_name());
                // The answer goes to where the message came from.
                ring.send_msg(&receiver, text(), got.address.as_ref(), Control::new())
                    .await
                    .unwrap();
                let back = ring.recv_msg(&named, vec![0; 9], 0).await.unwrap();
                let back = unix_of(back.address);
                assert_eq!(back.as_pathname(), address.as_pathname());
                assert_eq!(back.as_abstract_name(), address.as_abstract_name());

                let got = ring.recv_msg(&receiver, got.buffer, 0).await.unwrap();
                assert!(got.address.is_none_or(|from| unix_of(Some(from)).is_unnamed()));
            }
        });
    }
    on_all(body::<OnLocal>, body::<OnPollster>, body::<OnTokio>);
}

#[test]
fn descriptors_travel_in_messages() {
    fn body<E: Exec>() {
        with_ring::<E>(8, async |ring| {
            let (a, b) = unix_pair();
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(b"inside").unwrap();
            let (reader, writer) = pipe();
            let control = passing(&[file.as_fd(), writer.as_fd()]);
            // They were duplicated: the originals may go before the message does.
            drop((file, writer));
            ring.send_msg(&a, b"!".to_vec(), None, control).await.unwrap();
            let got = ring.recv_msg(&b, vec![0; 9], 64).await.unwrap();
            assert_eq!((got.count, &*got.buffer), (1, &b"!"[..]));
            assert_eq!(got.flags & libc::MSG_CTRUNC as u32, 0);
            let mut fds = descriptors_in(got.control);
            assert_eq!(fds.len(), 2);
            assert!(fds.iter().all(closes_on_exec));
            let writer = std::fs::File::from(fds.pop().unwrap());
            let mut file = std::fs::File::from(fds.pop().unwrap());
            let mut text = String::new();
            file.rewind().unwrap();
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text, "inside");
            (&writer).write_all(b"through").unwrap();
            drop(writer);
            // The end of the pipe shows that the sender's duplicates are gone as well.
            let mut text = String::new();
            std::fs::File::from(reader).read_to_string(&mut text).unwrap();
            assert_eq!(text, "through");
        });
    }
    on_all(body::<OnLocal>, body::<OnPollster>, body::<OnTokio>);
}

#[test]
fn descriptors_received_in_a_dropped_message_are_closed() {
    fn body<E: Exec>() {
        with_ring::<E>(8, async |ring| {
            for queued in [true, false] {
                let (a, b) = unix_pair::<E::M>();
                let (reader, writer) = pipe();
                let control = passing(&[writer]);
                let before = ring.snapshot().completed;
                if queued {
                    ring.send_msg(&a, b"!".to_vec(), None, control).await.unwrap();
                    let mut receiving = ring.recv_msg(&b, vec![0; 9], 64);
                    if let std::task::Poll::Ready(got) = poll_once(&mut receiving) {
                        drop(got);
                    } else {
                        ring.nop().await.unwrap();
                    }
                    drop(receiving);
                } else {
                    let mut receiving = ring.recv_msg(&b, vec![0; 9], 64);
                    assert!(poll_once(&mut receiving).is_pending());
                    ring.nop().await.unwrap();
                    ring.send_msg(&a, b"!".to_vec(), None, control).await.unwrap();
                    // Received by the ring, and never seen by its owner.
                    until(&ring, "the message is received", || {
                        ring.snapshot().completed >= before + 3
                    })
                    .await;
                    drop(receiving);
                }
                common::net::settled(&ring).await;
                // Kept for the next receive, until there can be none.
                drop(b);
                let mut reader = std::fs::File::from(reader);
                assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0, "all writing ends are closed");
            }
        });
    }
    on_all(body::<OnLocal>, body::<OnPollster>, body::<OnTokio>);
}

fn datagrams_to_nobody_are_refused<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let socket = Fd::new(UnixDatagram::unbound().unwrap());
        let nobody = Address::from(abstract_name());
        let failed = ring.send_msg(&socket, b"kept".to_vec(), Some(&nobody), Control::new()).await;
        assert_eq!(must_fail(failed, libc::ECONNREFUSED), b"kept");
        let failed = ring.send_msg(&socket, b"kept".to_vec(), None, Control::new()).await;
        assert_eq!(must_fail(failed, libc::ENOTCONN), b"kept");
        let long = Address::Other { family: 1, bytes: vec![1; 127] };
        let failed = ring.send_msg(&socket, b"kept".to_vec(), Some(&long), Control::new()).await;
        let error = failed.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(error.into_buffer(), b"kept");
    });
}

fn datagram_pair<M: Mode>() -> (Fd<M>, Fd<M>) {
    let (a, b) = UnixDatagram::pair().unwrap();
    (Fd::new(a), Fd::new(b))
}

fn empty_datagrams_are_not_the_end<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, b) = datagram_pair();
        ring.send(&a, Vec::new()).await.unwrap();
        ring.send_msg(&a, Vec::new(), None, Control::new()).await.unwrap();
        ring.send(&a, b"x".to_vec()).await.unwrap();
        assert_eq!(ring.recv(&b, vec![0; 4]).await.unwrap().0, 0);
        assert_eq!(ring.recv_msg(&b, vec![0; 4], 0).await.unwrap().count, 0);
        assert_eq!(ring.recv(&b, vec![0; 4]).await.unwrap().1, b"x");
    });
}

fn a_cut_datagram_says_so<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, b) = datagram_pair();
        for text in ["much too long", "fits"] {
            ring.send(&a, text.as_bytes().to_vec()).await.unwrap();
        }
        let cut = ring.recv_msg(&b, vec![0; 4], 0).await.unwrap();
        assert_eq!(&*cut.buffer, b"much");
        assert_ne!(cut.flags & libc::MSG_TRUNC as u32, 0);
        let whole = ring.recv_msg(&b, cut.buffer, 0).await.unwrap();
        assert_eq!(&*whole.buffer, b"fits", "the rest of the cut one is gone");
        assert_eq!(whole.flags & libc::MSG_TRUNC as u32, 0);
    });
}

fn cut_control_data_says_so_and_keeps_the_rest_whole<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, b) = unix_pair();
        // Room for a header and two of three descriptors, for a header alone, for nothing.
        for (room, fit) in [(16 + 8, 2), (16, 0), (8, 0), (0, 0)] {
            let (reader, writer) = pipe();
            let three = [writer.as_fd(), writer.as_fd(), writer.as_fd()];
            let control = passing(&three);
            drop(writer);
            ring.send_msg(&a, b"!".to_vec(), None, control).await.unwrap();
            let got = ring.recv_msg(&b, vec![0; 4], room).await.unwrap();
            assert_eq!(got.buffer, b"!");
            assert_ne!(got.flags & libc::MSG_CTRUNC as u32, 0, "room for {room} bytes");
            let fds = descriptors_in(got.control);
            assert_eq!(fds.len(), fit, "room for {room} bytes");
            drop(fds);
            let mut reader = std::fs::File::from(reader);
            assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0, "what did not fit is closed");
        }
    });
}

fn credentials_come_as_other_control_data<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, b) = unix_pair();
        let on: libc::c_int = 1;
        // SAFETY: reads one int.
        let set = unsafe {
            libc::setsockopt(
                b.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PASSCRED,
                (&raw const on).cast(),
                size_of::<libc::c_int>() as u32,
            )
        };
        assert_eq!(set, 0);
        let (reader, _writer) = pipe();
        // SAFETY: getuid(2) and getgid(2) cannot fail.
        let uid = unsafe { libc::getuid() };
        // SAFETY: as above.
        let gid = unsafe { libc::getgid() };
        let mut own = Vec::new();
        for number in [std::process::id(), uid, gid] {
            own.extend_from_slice(&number.to_ne_bytes());
        }
        let mut control = Control::new();
        control.push(libc::SOL_SOCKET, libc::SCM_CREDENTIALS, &own).unwrap();
        control.descriptors(&[reader]).unwrap();
        ring.send_msg(&a, b"!".to_vec(), None, control).await.unwrap();
        let Received { control, flags, .. } = ring.recv_msg(&b, vec![0; 4], 128).await.unwrap();
        assert_eq!(flags & libc::MSG_CTRUNC as u32, 0);
        let (mut credentials, mut descriptors) = (0, 0);
        for message in control {
            match message {
                ControlMessage::Descriptors(fds) => descriptors += fds.len(),
                ControlMessage::Other { level, kind, data } => {
                    assert_eq!((level, kind), (libc::SOL_SOCKET, libc::SCM_CREDENTIALS));
                    assert_eq!(data, own);
                    credentials += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((credentials, descriptors), (1, 1));
    });
}

fn descriptors_cannot_be_pushed_as_plain_control_data<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let mut control = Control::new();
        let refused = control.push(libc::SOL_SOCKET, libc::SCM_RIGHTS, &[0; 4]);
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidInput);
        // What the kernel does not know, it refuses.
        let (a, _b) = unix_pair();
        control.push(libc::SOL_SOCKET, 0x7777, b"data").unwrap();
        let failed = ring.send_msg(&a, b"kept".to_vec(), None, control).await;
        assert_eq!(must_fail(failed, libc::EINVAL), b"kept");
    });
}

fn many_descriptors_travel_at_once<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, b) = unix_pair();
        let (reader, writer) = pipe();
        let many = vec![writer.as_fd(); 250];
        let control = passing(&many);
        drop(writer);
        ring.send_msg(&a, b"!".to_vec(), None, control).await.unwrap();
        let got = ring.recv_msg(&b, vec![0; 4], 16 + 4 * 250).await.unwrap();
        let fds = descriptors_in(got.control);
        assert_eq!(fds.len(), 250);
        drop(fds);
        assert_eq!(std::fs::File::from(reader).read(&mut [0; 1]).unwrap(), 0);
    });
}

fn messages_work_on_non_blocking_sockets<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, b) = UnixDatagram::pair().unwrap();
        a.set_nonblocking(true).unwrap();
        b.set_nonblocking(true).unwrap();
        let (a, b) = (Fd::new(a), Fd::new(b));
        let sending = async {
            // Far more than the other side's queue takes at once.
            for number in 0..500u32 {
                let bytes = number.to_ne_bytes().to_vec();
                ring.send_msg(&a, bytes, None, Control::new()).await.unwrap();
            }
        };
        let receiving = async {
            for number in 0..500u32 {
                let got = ring.recv_msg(&b, vec![0; 8], 0).await.unwrap();
                assert_eq!(got.buffer, number.to_ne_bytes());
            }
        };
        join(sending, receiving).await;
    });
}

fn a_message_that_is_too_long_is_refused<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, _b) = datagram_pair();
        let huge = vec![7; 64 << 20];
        let address = huge.as_ptr();
        let huge = must_fail(ring.send(&a, huge).await, libc::EMSGSIZE);
        assert_eq!((huge.len(), huge.as_ptr()), (64 << 20, address));
    });
}

fn ten_megabytes_go_both_ways_at_once<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, b) = unix_pair();
        let bytes = pattern(10 << 20);
        let send = async |fd: &Fd<E::M>| {
            let (mut sent, mut left) = (0, bytes.clone());
            while sent < left.len() {
                let (n, back) = ring.send(fd, left.slice(sent..)).await.unwrap();
                (sent, left) = (sent + n, back.into_inner());
            }
        };
        let receive = async |fd: &Fd<E::M>| {
            let (mut all, mut buffer) = (Vec::new(), vec![0; 50_000]);
            while all.len() < bytes.len() {
                let (n, filled) = ring.recv(fd, buffer).await.unwrap();
                assert!(n > 0);
                all.extend_from_slice(&filled);
                buffer = filled;
            }
            assert!(all == bytes, "every byte arrives in order");
        };
        join(join(send(&a), send(&b)), join(receive(&a), receive(&b))).await;
    });
}
