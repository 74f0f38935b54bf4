//! A dropped future loses nothing: what arrives for it is handed to the next operation of its kind.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};

use common::net::{closes_on_exec, drop_receive, ended, pipe, poll_once, turn, unix_pair, until};
use common::tracked::Morgue;
use common::{Exec, everywhere, failure, pattern, with_ring};
use safer_ring::{Address, Control, ControlMessage, Failure, Fd, Mode, RingOf};

everywhere! {
    a_dropped_receive_before_while_and_after_data_arrives,
    a_smaller_buffer_takes_a_part,
    a_dropped_vectored_receive_keeps_its_bytes,
    a_vectored_receive_takes_kept_bytes,
    a_dropped_receive_costs_no_system_call,
    receives_dropped_in_turn_keep_the_order,
    bytes_are_found_by_other_kinds_of_receive,
    a_peek_sees_kept_bytes,
    the_end_of_a_stream_is_not_lost,
    an_error_of_a_dropped_receive_is_told_to_the_next,
    a_dropped_receive_that_waits_for_all_gives_back_its_part,
    a_dropped_datagram_keeps_its_address_and_boundary,
    a_dropped_message_keeps_its_descriptors,
    a_dropped_read_of_a_pipe_is_kept,
    a_dropped_read_at_the_cursor_of_a_file_is_kept,
    a_nonblocking_socket_keeps_what_a_dropped_receive_took,
    a_dropped_accept_before_while_and_after_a_client_connects,
    dropping_a_listener_closes_kept_connections,
    dropping_a_stream_ends_its_armed_receive,
    dropping_a_ring_ends_armed_receives_and_keeps_what_arrived,
    a_descriptor_with_kept_bytes_is_not_given_away,
    a_poll_sees_kept_bytes,
    a_splice_does_not_pass_kept_bytes,
    a_member_of_a_batch_takes_kept_bytes,
    bytes_that_were_unread_come_first,
    settling_a_stream_keeps_its_bytes,
    a_second_live_receive_is_not_starved_by_a_dropped_one,
    buffers_of_dropped_receives_are_released,
    a_waiting_receive_that_is_dropped_leaves_no_waker_behind,
    what_a_dropped_receive_did_wrong_is_not_told_to_the_next,
}

/// The same where something may be there already, which is given.
fn drop_or_take<M: Mode>(ring: &RingOf<M>, fd: &Fd<M>, size: usize) -> Vec<u8> {
    match poll_once(&mut ring.recv(fd, Vec::with_capacity(size))) {
        std::task::Poll::Ready(received) => received.unwrap().1,
        std::task::Poll::Pending => Vec::new(),
    }
}

fn a_dropped_receive_before_while_and_after_data_arrives<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, mut far) = UnixStream::pair().unwrap();
        let near = Fd::new(near);
        // Before: the data comes when nobody is left, and is waited for.
        drop_receive(&ring, &near, 64);
        turn(&ring).await;
        let mut next = ring.recv(&near, Vec::with_capacity(64));
        assert!(poll_once(&mut next).is_pending());
        far.write_all(b"before").unwrap();
        let (n, bytes) = next.await.unwrap();
        assert_eq!((n, &bytes[..]), (6, &b"before"[..]));
        // While: it is there, and nobody has looked.
        drop_receive(&ring, &near, 64);
        far.write_all(b"while").unwrap();
        turn(&ring).await;
        let (n, bytes) = ring.recv(&near, Vec::with_capacity(64)).await.unwrap();
        assert_eq!((n, &bytes[..]), (5, &b"while"[..]));
        // After: the result is there, and the future is dropped without having been polled again.
        let mut receive = ring.recv(&near, Vec::with_capacity(64));
        assert!(poll_once(&mut receive).is_pending());
        far.write_all(b"after").unwrap();
        until(&ring, "the receive has ended", || {
            ring.snapshot().completed >= ring.snapshot().submitted - 1
        })
        .await;
        drop(receive);
        let (n, bytes) = ring.recv(&near, Vec::with_capacity(64)).await.unwrap();
        assert_eq!((n, &bytes[..]), (5, &b"after"[..]));
        assert_eq!(ring.snapshot().adopted_bytes, 16);
    });
}

fn a_smaller_buffer_takes_a_part<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, mut far) = UnixStream::pair().unwrap();
        let near = Fd::new(near);
        drop_receive(&ring, &near, 100);
        far.write_all(&pattern(100)).unwrap();
        let mut all = Vec::new();
        for size in [1, 30, 0, 60, 100] {
            let (n, bytes) = ring.recv(&near, Vec::with_capacity(size)).await.unwrap();
            assert_eq!(n, bytes.len());
            assert!(n <= size);
            all.extend(bytes);
        }
        assert_eq!(all, pattern(100));
    });
}

fn a_dropped_vectored_receive_keeps_its_bytes<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, mut far) = UnixStream::pair().unwrap();
        let near = Fd::new(near);
        let buffers: Vec<Vec<u8>> = vec![Vec::with_capacity(3), Vec::new(), Vec::with_capacity(5)];
        let mut receive = ring.read_vectored(&near, buffers);
        assert!(poll_once(&mut receive).is_pending());
        drop(receive);
        far.write_all(b"abcdefghij").unwrap();
        let (n, bytes) = ring.recv(&near, Vec::with_capacity(64)).await.unwrap();
        assert_eq!((n, &bytes[..]), (8, &b"abcdefgh"[..]));
        let (_, bytes) = ring.recv(&near, Vec::with_capacity(64)).await.unwrap();
        assert_eq!(bytes, b"ij");
    });
}

fn a_vectored_receive_takes_kept_bytes<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, mut far) = UnixStream::pair().unwrap();
        let near = Fd::new(near);
        drop_receive(&ring, &near, 64);
        far.write_all(b"abcdefgh").unwrap();
        let buffers: Vec<Vec<u8>> = vec![Vec::with_capacity(3), Vec::new(), Vec::with_capacity(2)];
        let (n, buffers) = ring.read_vectored(&near, buffers).await.unwrap();
        assert_eq!((n, buffers), (5, vec![b"abc".to_vec(), Vec::new(), b"de".to_vec()]));
        let (_, bytes) = ring.read_owned(&near, Vec::with_capacity(64)).await.unwrap();
        assert_eq!(bytes, b"fgh");
    });
}

fn a_dropped_receive_costs_no_system_call<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, mut far) = UnixStream::pair().unwrap();
        let near = Fd::new(near);
        drop_receive(&ring, &near, 64);
        turn(&ring).await;
        let before = ring.snapshot();
        for _ in 0..100 {
            // Dropped, issued again, dropped again.
            drop_receive(&ring, &near, 64);
        }
        let after = ring.snapshot();
        assert_eq!((after.enters, after.submitted), (before.enters, before.submitted));
        assert_eq!(after.cancel_requests, 0);
        far.write_all(b"x").unwrap();
        assert_eq!(ring.recv(&near, vec![0; 4]).await.unwrap().1, b"x");
    });
}

fn receives_dropped_in_turn_keep_the_order<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, mut far) = UnixStream::pair().unwrap();
        let near = Fd::new(near);
        let sent = pattern(5000);
        let mut got = Vec::new();
        let (mut at, mut round) = (0, 0);
        while got.len() < sent.len() {
            round += 1;
            let end = (at + 1 + round * 7 % 60).min(sent.len());
            got.extend(drop_or_take(&ring, &near, 1 + round * 13 % 40));
            far.write_all(&sent[at..end]).unwrap();
            at = end;
            if round % 3 == 0 {
                turn(&ring).await;
            }
            let (_, bytes) =
                ring.recv(&near, Vec::with_capacity(1 + round * 5 % 90)).await.unwrap();
            got.extend(bytes);
            if at == sent.len() {
                while got.len() < sent.len() {
                    got.extend(ring.recv(&near, Vec::with_capacity(77)).await.unwrap().1);
                }
            } else if round % 4 == 0 {
                // The rest is left for the receives of the next rounds.
                got.extend(drop_or_take(&ring, &near, 9));
            }
        }
        assert_eq!(got, sent);
    });
}

fn bytes_are_found_by_other_kinds_of_receive<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, mut far) = UnixStream::pair().unwrap();
        let near = Fd::new(near);
        drop_receive(&ring, &near, 64);
        far.write_all(b"one").unwrap();
        let received = ring.recv_msg(&near, vec![0; 64], 64).await.unwrap();
        assert_eq!((received.count, &received.buffer[..]), (3, &b"one"[..]));
        assert!(received.control.is_empty() && received.flags == 0);
        let mut message = ring.recv_msg(&near, vec![0; 64], 64);
        assert!(poll_once(&mut message).is_pending());
        drop(message);
        far.write_all(b"two").unwrap();
        assert_eq!(ring.read_owned(&near, vec![0; 64]).await.unwrap().1, b"two");
        let mut lent = ring.read_ring_buffer(&near);
        assert!(poll_once(&mut lent).is_pending());
        drop(lent);
        far.write_all(b"three").unwrap();
        assert_eq!(ring.recv(&near, vec![0; 64]).await.unwrap().1, b"three");
        drop_receive(&ring, &near, 64);
        far.write_all(b"four").unwrap();
        assert_eq!(&ring.read_ring_buffer(&near).await.unwrap().1[..], b"four");
    });
}

const MSG_PEEK: u32 = 2;
const MSG_WAITALL: u32 = 0x100;

fn a_peek_sees_kept_bytes<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, mut far) = UnixStream::pair().unwrap();
        let near = Fd::new(near);
        drop_receive(&ring, &near, 64);
        far.write_all(b"look").unwrap();
        for _ in 0..2 {
            assert_eq!(ring.recv_with(&near, vec![0; 3], MSG_PEEK).await.unwrap().1, b"loo");
        }
        assert_eq!(ring.recv(&near, vec![0; 64]).await.unwrap().1, b"look");
        // A peek that is dropped takes nothing.
        far.write_all(b"again").unwrap();
        let mut peek = ring.recv_with(&near, vec![0; 64], MSG_PEEK);
        let _ = poll_once(&mut peek);
        drop(peek);
        assert_eq!(ring.recv(&near, vec![0; 64]).await.unwrap().1, b"again");
    });
}

fn the_end_of_a_stream_is_not_lost<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, mut far) = UnixStream::pair().unwrap();
        let near = Fd::new(near);
        drop_receive(&ring, &near, 64);
        far.write_all(b"last").unwrap();
        turn(&ring).await;
        assert_eq!(ring.recv(&near, vec![0; 64]).await.unwrap().1, b"last");
        drop_receive(&ring, &near, 64);
        drop(far);
        for _ in 0..2 {
            assert_eq!(ring.recv(&near, vec![0; 64]).await.unwrap().0, 0);
        }
    });
}

fn an_error_of_a_dropped_receive_is_told_to_the_next<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (client, server) = common::net::tcp_pair();
        let client = Fd::new(client);
        drop_receive(&ring, &client, 64);
        turn(&ring).await;
        // Bytes that nobody has read make the close a reset.
        (&*client_of(&client)).write_all(b"unread").unwrap();
        server.peek(&mut [0; 6]).unwrap();
        drop(server);
        let error = ring.recv(&client, vec![7; 64]).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
        assert_eq!(error.into_buffer(), [7; 64]);
        assert_eq!(ring.recv(&client, vec![0; 64]).await.unwrap().0, 0);
    });
}

/// A second descriptor of a handle's socket, for plain calls.
fn client_of<M: Mode>(fd: &Fd<M>) -> Box<TcpStream> {
    Box::new(TcpStream::from(fd.duplicate().unwrap()))
}

fn a_dropped_receive_that_waits_for_all_gives_back_its_part<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, mut far) = common::net::tcp_pair();
        let near = Fd::new(near);
        let mut receive = ring.recv_with(&near, vec![0; 100], MSG_WAITALL);
        assert!(poll_once(&mut receive).is_pending());
        far.write_all(b"a part").unwrap();
        turn(&ring).await;
        turn(&ring).await;
        drop(receive);
        let mut got = Vec::new();
        while got.len() < 6 {
            got.extend(ring.recv(&near, Vec::with_capacity(4)).await.unwrap().1);
        }
        assert_eq!(got, b"a part");
    });
}

fn a_dropped_datagram_keeps_its_address_and_boundary<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let receiver = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = receiver.local_addr().unwrap();
        let receiver = Fd::new(receiver);
        let mut message = ring.recv_msg(&receiver, vec![0; 64], 0);
        assert!(poll_once(&mut message).is_pending());
        drop(message);
        sender.send_to(b"first", to).unwrap();
        let received = ring.recv_msg(&receiver, vec![0; 64], 0).await.unwrap();
        assert_eq!(&received.buffer[..], b"first");
        let from = received.address.and_then(|address| address.ip());
        assert_eq!(from, Some(sender.local_addr().unwrap()));
        // Too small a buffer cuts a datagram; the rest does not become the next one.
        drop_receive(&ring, &receiver, 64);
        sender.send_to(b"second", to).unwrap();
        let received = ring.recv_msg(&receiver, vec![0; 3], 0).await.unwrap();
        assert_eq!((&received.buffer[..], received.flags & 0x20), (&b"sec"[..], 0x20));
        drop_receive(&ring, &receiver, 64);
        sender.send_to(b"", to).unwrap();
        sender.send_to(b"third", to).unwrap();
        assert_eq!(ring.recv(&receiver, vec![0; 64]).await.unwrap().0, 0, "an empty datagram");
        assert_eq!(ring.recv(&receiver, vec![0; 64]).await.unwrap().1, b"third");
    });
}

fn a_dropped_message_keeps_its_descriptors<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, far) = UnixDatagram::pair().unwrap();
        let (near, far) = (Fd::new(near), Fd::new(far));
        for room in [64, 0] {
            let mut message = ring.recv_msg(&near, vec![0; 64], 64);
            assert!(poll_once(&mut message).is_pending());
            drop(message);
            let (reader, writer) = std::io::pipe().unwrap();
            let mut control = Control::new();
            control.descriptors(&[writer]).unwrap();
            ring.send_msg(&far, b"take it".to_vec(), None::<&Address>, control).await.unwrap();
            let received = ring.recv_msg(&near, vec![0; 64], room).await.unwrap();
            assert_eq!(&received.buffer[..], b"take it");
            if room > 0 {
                let [ControlMessage::Descriptors(fds)] = &received.control[..] else {
                    panic!("{received:?}");
                };
                assert!(closes_on_exec(&fds[0]));
            } else {
                // No room: they are closed, as recvmsg(2) does it, and it says so.
                assert!(received.control.is_empty());
                assert_eq!(received.flags & 8, 8);
            }
            drop(received);
            let mut end = Vec::new();
            std::fs::File::from(std::os::fd::OwnedFd::from(reader)).read_to_end(&mut end).unwrap();
        }
    });
}

fn a_dropped_read_of_a_pipe_is_kept<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (reader, writer) = pipe();
        let (reader, mut writer) = (Fd::new(reader), std::fs::File::from(writer));
        for round in 0..20u8 {
            let mut read = ring.read_owned(&reader, Vec::with_capacity(64));
            assert!(poll_once(&mut read).is_pending());
            drop(read);
            writer.write_all(&[round; 9]).unwrap();
            let (n, bytes) = ring.read_owned(&reader, Vec::with_capacity(64)).await.unwrap();
            assert_eq!((n, bytes), (9, vec![round; 9]));
        }
    });
}

fn a_dropped_read_at_the_cursor_of_a_file_is_kept<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let content = pattern(100_000);
        let file = common::file_with(&content);
        let mut got = Vec::new();
        while got.len() < content.len() {
            let mut read = ring.read_owned(&file, Vec::with_capacity(700));
            if let std::task::Poll::Ready(Ok((_, bytes))) = poll_once(&mut read) {
                got.extend(bytes);
            }
            drop(read);
            got.extend(ring.read_owned(&file, Vec::with_capacity(400)).await.unwrap().1);
        }
        assert_eq!(got, content);
    });
}

fn a_nonblocking_socket_keeps_what_a_dropped_receive_took<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, mut far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let near = Fd::new(near);
        for round in 0..20u8 {
            drop_receive(&ring, &near, 64);
            turn(&ring).await;
            far.write_all(&[round; 9]).unwrap();
            let (n, bytes) = ring.recv(&near, Vec::with_capacity(64)).await.unwrap();
            assert_eq!((n, bytes), (9, vec![round; 9]));
        }
    });
}

fn a_dropped_accept_before_while_and_after_a_client_connects<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let listener = Fd::new(listener);
        let drop_accept = || {
            let mut accept = ring.accept(&listener);
            assert!(poll_once(&mut accept).is_pending());
        };
        let mut clients = Vec::new();
        let mut connect = || {
            clients.push(TcpStream::connect(address).unwrap());
            clients.last().unwrap().local_addr().unwrap()
        };
        let expect = async |peer: std::net::SocketAddr| {
            let (fd, address) = ring.accept(&listener).await.unwrap();
            assert_eq!(address.and_then(|address| address.ip()), Some(peer));
            assert!(closes_on_exec(&fd));
            assert_eq!(TcpStream::from(fd.duplicate().unwrap()).peer_addr().unwrap(), peer);
        };
        drop_accept();
        let peer = connect();
        expect(peer).await;
        // Two at once: one for the dropped accept, one for the next.
        drop_accept();
        let (one, other) = (connect(), connect());
        turn(&ring).await;
        expect(one).await;
        expect(other).await;
        let mut accept = ring.accept(&listener);
        assert!(poll_once(&mut accept).is_pending());
        let peer = connect();
        until(&ring, "the accept has ended", || {
            ring.snapshot().completed >= ring.snapshot().submitted - 1
        })
        .await;
        drop(accept);
        expect(peer).await;
        assert_eq!(ring.snapshot().adopted_connections, 3);
        assert_eq!(ring.snapshot().adopted_fds, 0);
    });
}

fn dropping_a_listener_closes_kept_connections<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        for arrives_first in [true, false] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let listener = Fd::new(listener);
            let mut accept = ring.accept(&listener);
            assert!(poll_once(&mut accept).is_pending());
            drop(accept);
            turn(&ring).await;
            let mut client = TcpStream::connect(address).unwrap();
            if arrives_first {
                turn(&ring).await;
            }
            drop(listener);
            ended(&ring).await;
            // The end of the connection, as a close or, where it was still in the backlog, as a reset.
            let end = client.read(&mut [0; 8]);
            assert!(matches!(&end, Ok(0)) || end.is_err(), "{end:?}");
            assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
        }
    });
}

fn dropping_a_stream_ends_its_armed_receive<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let morgue = Morgue::new();
        let (near, mut far) = UnixStream::pair().unwrap();
        let near = Fd::new(near);
        let other = near.clone();
        let mut receive = ring.recv(&near, morgue.buffer(64));
        assert!(poll_once(&mut receive).is_pending());
        drop(receive);
        turn(&ring).await;
        drop(near);
        turn(&ring).await;
        assert_eq!(morgue.alive(), 1, "the other handle may still receive");
        drop(other);
        until(&ring, "released", || morgue.alive() == 0).await;
        assert_eq!(far.read(&mut [0; 8]).unwrap(), 0, "the descriptor is closed");
        morgue.assert_untouched();
    });
}

fn dropping_a_ring_ends_armed_receives_and_keeps_what_arrived<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let morgue = Morgue::new();
        let other = RingOf::<E::M>::new(8).unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        let (idle, _idle_far) = unix_pair();
        let near = Fd::new(near);
        for fd in [&near, &idle] {
            let mut receive = other.recv(fd, morgue.buffer(64));
            assert!(poll_once(&mut receive).is_pending());
        }
        far.write_all(b"kept").unwrap();
        drop(other);
        until(&ring, "the idle one is released", || morgue.alive() <= 1).await;
        far.write_all(b" and more").unwrap();
        let mut got = Vec::new();
        while got.len() < 13 {
            got.extend(ring.recv(&near, Vec::with_capacity(64)).await.unwrap().1);
        }
        assert_eq!(got, b"kept and more");
        until(&ring, "all are released", || morgue.alive() == 0).await;
    });
}

fn a_descriptor_with_kept_bytes_is_not_given_away<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut near = Fd::new(near);
        drop_receive(&ring, &near, 64);
        near = near.try_into_owned().expect_err("a receive is armed");
        far.write_all(b"kept").unwrap();
        ended(&ring).await;
        near = near.try_into_owned().expect_err("bytes wait in it");
        assert_eq!(ring.recv(&near, vec![0; 64]).await.unwrap().1, b"kept");
        near.try_into_owned().expect("nothing is left in it");
    });
}

fn a_poll_sees_kept_bytes<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, mut far) = UnixStream::pair().unwrap();
        let near = Fd::new(near);
        let readable = safer_ring::Interest::READABLE;
        // Kept bytes make it ready.
        drop_receive(&ring, &near, 64);
        far.write_all(b"kept").unwrap();
        ended(&ring).await;
        assert!(ring.poll(&near, readable).await.unwrap() & 1 == 1);
        assert_eq!(ring.recv(&near, vec![0; 64]).await.unwrap().1, b"kept");
        // An armed receive would take what the poll waits for: it is ended.
        drop_receive(&ring, &near, 64);
        turn(&ring).await;
        let mut poll = ring.poll(&near, readable);
        assert!(poll_once(&mut poll).is_pending());
        far.write_all(b"more").unwrap();
        assert!(poll.await.unwrap() & 1 == 1);
        assert_eq!(ring.recv(&near, vec![0; 64]).await.unwrap().1, b"more");
    });
}

fn a_splice_does_not_pass_kept_bytes<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, mut far) = UnixStream::pair().unwrap();
        let near = Fd::new(near);
        let (reader, writer) = pipe();
        let (reader, writer) = (Fd::new(reader), Fd::new(writer));
        drop_receive(&ring, &near, 2);
        far.write_all(b"first second").unwrap();
        ended(&ring).await;
        let splice =
            |len| ring.splice(&near, None, &writer, None, len, safer_ring::SpliceFlags::NONE);
        let error = splice(100).await.unwrap_err();
        assert_eq!(failure(&error), Some(Failure::Unreceived));
        assert_eq!(ring.recv(&near, vec![0; 64]).await.unwrap().1, b"fi");
        assert_eq!(splice(100).await.unwrap(), 10);
        assert_eq!(ring.read_owned(&reader, vec![0; 64]).await.unwrap().1, b"rst second");
    });
}

fn a_member_of_a_batch_takes_kept_bytes<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, mut far) = UnixStream::pair().unwrap();
        let near = Fd::new(near);
        drop_receive(&ring, &near, 64);
        turn(&ring).await;
        let mut batch = ring.batch();
        let receive = batch.add(ring.recv(&near, vec![0; 64]));
        let nop = batch.add(ring.nop());
        batch.submit().await;
        nop.await.unwrap();
        far.write_all(b"kept").unwrap();
        assert_eq!(receive.await.unwrap().1, b"kept");
        drop_receive(&ring, &near, 64);
        let dropped = batch.add(ring.recv(&near, vec![0; 64]));
        drop(dropped);
        let cancelled = batch.add(ring.recv(&near, vec![5; 64]));
        assert!(cancelled.cancel().await.is_cancelled());
        far.write_all(b"more").unwrap();
        assert_eq!(ring.recv(&near, vec![0; 64]).await.unwrap().1, b"more");
    });
}

fn bytes_that_were_unread_come_first<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, mut far) = UnixStream::pair().unwrap();
        let near: Fd<E::M> = Fd::new(near);
        far.write_all(b"GET / HTTP/1.1").unwrap();
        let (_, start) = ring.recv(&near, Vec::with_capacity(4)).await.unwrap();
        assert_eq!(start, b"GET ");
        near.clone().unread(start);
        near.unread(Vec::new());
        assert_eq!(ring.recv(&near, vec![0; 64]).await.unwrap().1, b"GET ");
        assert_eq!(ring.recv(&near, vec![0; 64]).await.unwrap().1, b"/ HTTP/1.1");
        // A receive that waits for a dropped one is woken by them.
        drop_receive(&ring, &near, 64);
        let mut receive = ring.recv(&near, vec![0; 64]);
        assert!(poll_once(&mut receive).is_pending());
        near.unread(b"back".to_vec());
        assert_eq!(receive.await.unwrap().1, b"back");
    });
}

fn settling_a_stream_keeps_its_bytes<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, mut far) = UnixStream::pair().unwrap();
        let near: Fd<E::M> = Fd::new(near);
        near.settle().await.unwrap();
        drop_receive(&ring, &near, 64);
        turn(&ring).await;
        near.settle().await.unwrap();
        ended(&ring).await;
        assert_eq!(near.holders(), 1, "no receive is armed");
        drop_receive(&ring, &near, 64);
        far.write_all(b"kept").unwrap();
        near.settle().await.unwrap();
        assert_eq!(ring.recv(&near, vec![0; 64]).await.unwrap().1, b"kept");
    });
}

fn a_second_live_receive_is_not_starved_by_a_dropped_one<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, mut far) = UnixStream::pair().unwrap();
        let near = Fd::new(near);
        let mut dropped = ring.recv(&near, vec![0; 64]);
        assert!(poll_once(&mut dropped).is_pending());
        let mut live = ring.recv(&near, vec![0; 64]);
        assert!(poll_once(&mut live).is_pending());
        turn(&ring).await;
        drop(dropped);
        turn(&ring).await;
        far.write_all(b"for the one that waits").unwrap();
        assert_eq!(live.await.unwrap().1, b"for the one that waits");
        // Cancelled by its owner, it stays cancelled.
        let mut dropped = ring.recv(&near, vec![0; 64]);
        assert!(poll_once(&mut dropped).is_pending());
        let mut live = ring.recv(&near, vec![6; 64]);
        assert!(poll_once(&mut live).is_pending());
        turn(&ring).await;
        drop(dropped);
        let safer_ring::Ended::Cancelled(buffer) = live.cancel().await else { panic!() };
        assert_eq!(buffer, [6; 64]);
    });
}

fn buffers_of_dropped_receives_are_released<E: Exec>() {
    with_ring::<E>(64, async |ring| {
        let morgue = Morgue::new();
        let (near, mut far) = UnixStream::pair().unwrap();
        let near = Fd::new(near);
        for _ in 0..50 {
            let mut receive = ring.recv(&near, morgue.buffer(64));
            assert!(poll_once(&mut receive).is_pending());
            drop(receive);
            far.write_all(b"abc").unwrap();
            let (_, bytes) = ring.recv(&near, vec![0; 64]).await.unwrap();
            assert_eq!(bytes, b"abc");
            assert_eq!(morgue.alive(), 0, "handed out and released");
        }
        let mut receive = ring.recv(&near, morgue.buffer(64));
        assert!(poll_once(&mut receive).is_pending());
        drop(receive);
        far.write_all(b"never received").unwrap();
        ended(&ring).await;
        assert_eq!(morgue.alive(), 1);
        drop(near);
        assert_eq!(morgue.alive(), 0);
    });
}

/// The dropped accept and the one that waits are in kernel rings of different threads.
#[test]
fn a_connection_for_a_dropped_accept_reaches_an_accept_of_another_thread() {
    common::within_deadline(|| {
        let ring = common::net::shared(8);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let listener = Fd::new(listener);
        for _ in 0..20 {
            let mut accept = ring.accept(&listener);
            assert!(poll_once(&mut accept).is_pending());
            let (ready, waits) = std::sync::mpsc::channel();
            let (other, same) = (ring.clone(), listener.clone());
            let thread = std::thread::spawn(move || {
                let mut accept = other.accept(&same);
                assert!(poll_once(&mut accept).is_pending());
                ready.send(()).unwrap();
                pollster::block_on(accept).unwrap()
            });
            waits.recv().unwrap();
            // First in the queue of the kernel, and without an owner.
            drop(accept);
            let client = TcpStream::connect(address).unwrap();
            let (_, peer) = thread.join().unwrap();
            assert_eq!(peer.and_then(|peer| peer.ip()), Some(client.local_addr().unwrap()));
        }
    });
}

fn a_waiting_receive_that_is_dropped_leaves_no_waker_behind<E: Exec>() {
    struct Count;
    impl std::task::Wake for Count {
        fn wake(self: std::sync::Arc<Self>) {}
    }
    with_ring::<E>(8, async |ring| {
        let (near, mut far) = UnixStream::pair().unwrap();
        let near = Fd::new(near);
        drop_receive(&ring, &near, 64);
        let count = std::sync::Arc::new(Count);
        for _ in 0..100 {
            let mut receive = ring.recv(&near, vec![0; 8]);
            for _ in 0..3 {
                let waker = std::task::Waker::from(std::sync::Arc::clone(&count));
                let mut context = std::task::Context::from_waker(&waker);
                assert!(std::pin::Pin::new(&mut receive).poll(&mut context).is_pending());
            }
            drop(receive);
            assert_eq!(std::sync::Arc::strong_count(&count), 1);
        }
        far.write_all(b"kept").unwrap();
        assert_eq!(ring.recv(&near, vec![0; 64]).await.unwrap().1, b"kept");
    });
}

fn what_a_dropped_receive_did_wrong_is_not_told_to_the_next<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        // Not a socket: no news for the read.
        let file = common::file_with(b"content");
        let mut receive = ring.recv(&file, vec![0; 8]);
        let _ = poll_once(&mut receive);
        drop(receive);
        assert_eq!(ring.read_owned(&file, vec![0; 8]).await.unwrap().1, b"content");
        // Without room: not the end of the stream.
        let (near, mut far) = UnixStream::pair().unwrap();
        let near = Fd::new(near);
        far.write_all(b"kept").unwrap();
        let mut receive = ring.recv(&near, Vec::<u8>::new());
        let _ = poll_once(&mut receive);
        drop(receive);
        assert_eq!(ring.recv(&near, vec![0; 64]).await.unwrap().1, b"kept");
    });
}
