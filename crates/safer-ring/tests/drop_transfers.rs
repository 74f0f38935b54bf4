//! Transfers of many steps lose nothing when they are dropped, whatever they had read by then.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::future::Future;
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::task::Poll;

use common::net::{poll_once, turn, until};
use common::{Exec, everywhere, pattern, with_ring};
use rustix::io::ioctl_fionread;
use safer_ring::fs::File;
use safer_ring::net::{ReadExact, TcpStream, UnixStream};
use safer_ring::pipe::PipeReader;
use safer_ring::{Fd, IoBuf as _, Mode, RingOf};

everywhere! {
    a_dropped_read_exact_of_a_socket_loses_nothing,
    a_dropped_read_exact_of_a_pipe_loses_nothing,
    read_exacts_dropped_in_turn_keep_the_order,
    a_dropped_read_exact_gives_back_what_had_been_kept,
    the_end_behind_a_dropped_read_exact_is_not_lost,
    a_read_exact_that_has_ended_gives_nothing_back,
    the_caller_s_bytes_are_not_given_to_the_stream,
    dropped_reads_at_the_cursor_lose_nothing,
    dropped_reads_of_a_file_lose_nothing,
    a_file_that_grows_is_read_to_its_end,
}

/// Bytes of one piece that arrives.
const PIECE: usize = 7;

/// When bytes arrive, seen from the drop.
#[derive(Clone, Copy, Debug)]
enum Last {
    Nothing,
    Before,
    After,
}

/// Reads all of `wanted` bytes with reads of other sizes.
async fn rest<M: Mode>(ring: &RingOf<M>, fd: &Fd<M>, wanted: usize) -> Vec<u8> {
    let mut got = Vec::new();
    while got.len() < wanted {
        let room = (wanted - got.len()).min(5);
        let (n, bytes) = ring.read_owned(fd, Vec::with_capacity(room)).await.unwrap();
        assert!(n > 0, "an end after {} of {wanted} bytes", got.len());
        got.extend(bytes);
    }
    got
}

/// Drops a `read_exact` after each number of finished steps, and looks at what the next reads give.
async fn at_every_point<M: Mode>(
    ring: &RingOf<M>,
    fd: &Fd<M>,
    mut far: impl Write,
    begin: impl Fn() -> ReadExact<M, Vec<u8>>,
) {
    for steps in 0..4 {
        for last in [Last::Nothing, Last::Before, Last::After] {
            let sent = pattern(PIECE * (steps + 2));
            let mut pieces = sent.chunks(PIECE);
            let mut read = begin();
            assert!(poll_once(&mut read).is_pending());
            for step in 0..steps {
                far.write_all(pieces.next().unwrap()).unwrap();
                let filled = format!("filled: {}, ", PIECE * (step + 1));
                until(ring, "the step has ended", || {
                    assert!(poll_once(&mut read).is_pending());
                    format!("{read:?}").contains(&filled)
                })
                .await;
            }
            match last {
                Last::Nothing => drop(read),
                Last::Before => {
                    far.write_all(pieces.next().unwrap()).unwrap();
                    turn(ring).await;
                    drop(read);
                }
                Last::After => {
                    drop(read);
                    far.write_all(pieces.next().unwrap()).unwrap();
                    turn(ring).await;
                }
            }
            for piece in pieces {
                far.write_all(piece).unwrap();
            }
            let got = rest(ring, fd, sent.len()).await;
            assert_eq!(got, sent, "{steps} steps, {last:?}");
        }
    }
}

fn a_dropped_read_exact_of_a_socket_loses_nothing<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, far) = common::net::tcp_pair();
        let near = TcpStream::from_std(&ring, near);
        at_every_point(&ring, near.fd(), far, || near.read_exact(vec![0; 100])).await;
        let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        let near = UnixStream::from_std(&ring, near);
        at_every_point(&ring, near.fd(), far, || near.read_exact(Vec::with_capacity(100))).await;
    });
}

fn a_dropped_read_exact_of_a_pipe_loses_nothing<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, far) = std::io::pipe().unwrap();
        let near = PipeReader::from_std(&ring, near);
        at_every_point(&ring, near.fd(), far, || near.read_exact(vec![0; 100])).await;
    });
}

fn read_exacts_dropped_in_turn_keep_the_order<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
        let near = UnixStream::from_std(&ring, near);
        let sent = pattern(3000);
        let (mut got, mut at, mut round) = (Vec::new(), 0, 0);
        while at < sent.len() {
            round += 1;
            let mut read = near.read_exact(vec![0; 1 + round * 17 % 60]);
            for _ in 0..round % 4 {
                if let Poll::Ready(read) = poll_once(&mut read) {
                    got.extend(read.unwrap());
                    break;
                }
                let end = (at + 1 + round * 7 % 11).min(sent.len());
                far.write_all(&sent[at..end]).unwrap();
                at = end;
                turn(&ring).await;
            }
        }
        got.extend(near.read_exact(vec![0; sent.len() - got.len()]).await.unwrap());
        assert!(got == sent);
    });
}

fn a_dropped_read_exact_gives_back_what_had_been_kept<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
        let near = UnixStream::from_std(&ring, near);
        for bytes in [b"three", b" two ", b"one, "] {
            near.fd().unread(bytes.to_vec());
        }
        let mut read = near.read_exact(vec![0; 100]);
        assert!(poll_once(&mut read).is_pending());
        drop(read);
        far.write_all(b" four").unwrap();
        assert_eq!(near.read_exact(vec![0; 20]).await.unwrap(), b"one,  two three four");
    });
}

fn the_end_behind_a_dropped_read_exact_is_not_lost<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
        let near = UnixStream::from_std(&ring, near);
        let mut read = near.read_exact(vec![0; 100]);
        far.write_all(b"all").unwrap();
        for _ in 0..3 {
            assert!(poll_once(&mut read).is_pending());
            turn(&ring).await;
        }
        drop(read);
        drop(far);
        let error = near.read_exact(vec![0; 100]).await.unwrap_err();
        assert_eq!((error.kind(), error.transferred), (ErrorKind::UnexpectedEof, 3));
        assert_eq!(&error.buffer[..3], b"all");
        assert_eq!(
            near.read(vec![0; 100]).await.unwrap().0,
            0,
            "what the error has is not read again"
        );
    });
}

fn a_read_exact_that_has_ended_gives_nothing_back<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
        let near = UnixStream::from_std(&ring, near);
        near.fd().unread(b"on".to_vec());
        far.write_all(b"ce").unwrap();
        let mut read = near.read_exact(vec![0; 4]);
        assert_eq!((&mut read).await.unwrap(), b"once");
        drop(read);
        assert_eq!(near.fd().kept_bytes(), 0);
        near.settle().await.unwrap();
        near.into_std().unwrap();
    });
}

fn the_caller_s_bytes_are_not_given_to_the_stream<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
        let near = UnixStream::from_std(&ring, near);
        near.fd().unread(b"first".to_vec());
        let mut read = near.read_exact(b"mine, and mine at the end".to_vec().slice(5..20));
        assert!(poll_once(&mut read).is_pending());
        drop(read);
        far.write_all(b", second").unwrap();
        assert_eq!(near.read_exact(vec![0; 13]).await.unwrap(), b"first, second");
    });
}

type Boxed<'a> = Pin<Box<dyn Future<Output = Vec<u8>> + 'a>>;

/// The reads at the cursor that take many steps.
fn compound<M: Mode>(file: &File<M>) -> Vec<Boxed<'_>> {
    let exact = async { file.read_exact(vec![0; 100]).await.unwrap() };
    let end = async { file.read_to_end(b"mine".to_vec()).await.unwrap().1 };
    let text = async { file.read_to_string().await.unwrap().into_bytes() };
    vec![Box::pin(exact), Box::pin(end), Box::pin(text)]
}

fn dropped_reads_at_the_cursor_lose_nothing<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, mut far) = std::io::pipe().unwrap();
        let file = File::from_fd(&ring, Fd::new(near));
        for kind in 0..3 {
            for steps in 0..4 {
                for last in [Last::Nothing, Last::Before, Last::After] {
                    // Text, for the read of a string.
                    let sent: Vec<u8> = (b'a'..=b'z').cycle().take(PIECE * (steps + 2)).collect();
                    let mut pieces = sent.chunks(PIECE);
                    let mut read = compound(&file).swap_remove(kind);
                    for _ in 0..steps {
                        far.write_all(pieces.next().unwrap()).unwrap();
                        until(&ring, "the step has ended", || {
                            assert!(poll_once(&mut read).is_pending());
                            ioctl_fionread(file.as_fd()).unwrap() == 0
                        })
                        .await;
                    }
                    match last {
                        Last::Nothing => drop(read),
                        Last::Before => {
                            far.write_all(pieces.next().unwrap()).unwrap();
                            turn(&ring).await;
                            drop(read);
                        }
                        Last::After => {
                            drop(read);
                            far.write_all(pieces.next().unwrap()).unwrap();
                        }
                    }
                    for piece in pieces {
                        far.write_all(piece).unwrap();
                    }
                    let got = rest(&ring, file.fd(), sent.len()).await;
                    assert_eq!(got, sent, "{kind}: {steps} steps, {last:?}");
                }
            }
        }
    });
}

fn dropped_reads_of_a_file_lose_nothing<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        for kind in 0..3 {
            for polls in 0..5 {
                let fd = common::file_with(&[b'x'; 200]);
                let file = File::from_fd(&ring, fd);
                file.fd().unread(b" in front".to_vec());
                file.fd().unread(b"bytes".to_vec());
                let mut read = compound(&file).swap_remove(kind);
                let mut got = Vec::new();
                for _ in 0..polls {
                    if let Poll::Ready(bytes) = poll_once(&mut read) {
                        got = bytes.strip_prefix(b"mine").map_or(bytes.clone(), <[u8]>::to_vec);
                        break;
                    }
                    turn(&ring).await;
                }
                drop(read);
                got.extend(file.read_to_end(Vec::new()).await.unwrap().1);
                assert_eq!(got.len(), 214, "{kind}, {polls} polls");
                assert!(got.starts_with(b"bytes in front") && got.ends_with(&[b'x'; 200]));
            }
        }
    });
}

fn a_file_that_grows_is_read_to_its_end<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        // Longer than it says: what was read too many comes first.
        let file = File::from_fd(&ring, common::file_with(&pattern(5000)));
        file.fd().unread(pattern(3_000_000));
        let mut all = pattern(3_000_000);
        all.extend(pattern(5000));
        let (n, bytes) = file.read_to_end(Vec::new()).await.unwrap();
        assert!(n == all.len() && bytes == all);
    });
}
