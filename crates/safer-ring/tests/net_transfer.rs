//! Transfers of many steps over small socket buffers: how far they came, what a drop does to them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::io::{ErrorKind, Read as _, Write as _};

use common::net::{poll_once, settled};
use common::{Exec, everywhere, pattern, with_ring};
use futures_util::future::join;
use safer_ring::net::UnixStream;
use safer_ring::{IoBuf as _, Mode, RingOf, Shutdown};

everywhere! {
    a_large_transfer_crosses_a_small_buffer,
    a_write_that_breaks_off_says_how_much_was_taken,
    a_vectored_write_that_breaks_off_says_how_much_was_taken,
    a_read_that_breaks_off_keeps_what_came,
    a_slice_is_filled_and_nothing_else,
    a_dropped_write_all_sends_everything,
    a_dropped_vectored_write_sends_everything,
    vectored_writes_carry_empty_buffers_and_refuse_too_many,
    transfers_that_were_not_polled_do_nothing,
    a_finished_transfer_stays_finished,
}

const MUCH: usize = 1_000_000;

/// Two ends with the smallest buffer that the kernel gives.
fn narrow<M: Mode>(ring: &RingOf<M>) -> (UnixStream<M>, UnixStream<M>) {
    let (a, b) = UnixStream::pair(ring).unwrap();
    a.set_send_buffer_size(1).unwrap();
    b.set_send_buffer_size(1).unwrap();
    assert!(a.send_buffer_size().unwrap() < 10_000);
    (a, b)
}

/// Receives `count` bytes in pieces, so that the sender has to go on in steps.
async fn take<M: Mode>(stream: &UnixStream<M>, count: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < count {
        let room = (count - all.len()).min(777);
        let (n, piece) = stream.read(vec![0; room]).await.unwrap();
        assert!(n > 0);
        all.extend(piece);
    }
    all
}

fn a_large_transfer_crosses_a_small_buffer<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = narrow(&ring);
        let (sent, got) = join(a.write_all(pattern(MUCH)), take(&b, MUCH)).await;
        assert!(got == sent.unwrap());
        let (got, sent) = join(b.read_exact(vec![0; MUCH]), a.write_all(pattern(MUCH))).await;
        assert!(got.unwrap() == sent.unwrap());
    });
}

fn a_write_that_breaks_off_says_how_much_was_taken<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        for nonblocking in [false, true] {
            let (a, b) = narrow(&ring);
            let a = a.into_std().unwrap();
            a.set_nonblocking(nonblocking).unwrap();
            let a = UnixStream::from_std(&ring, a);
            let taken = async {
                let all = take(&b, MUCH / 2).await;
                drop(b);
                all
            };
            let (error, got) = join(a.write_all(pattern(MUCH)), taken).await;
            let error = error.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BrokenPipe, "{error}");
            assert!(error.transferred >= MUCH / 2 && error.transferred < MUCH, "{error}");
            assert!(error.buffer == pattern(MUCH), "the whole buffer comes back");
            assert!(got == pattern(MUCH)[..MUCH / 2]);
        }
    });
}

fn a_vectored_write_that_breaks_off_says_how_much_was_taken<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = narrow(&ring);
        let parts = vec![pattern(MUCH / 4); 4];
        let taken = async {
            take(&b, MUCH / 2).await;
            drop(b);
        };
        let (error, ()) = join(a.write_all_vectored(parts.clone()), taken).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe, "{error}");
        assert!(error.transferred >= MUCH / 2 && error.transferred < MUCH, "{error}");
        assert!(error.buffer == parts);
    });
}

fn a_read_that_breaks_off_keeps_what_came<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = narrow(&ring);
        let send = async {
            a.write_all(pattern(MUCH / 2)).await.unwrap();
            a.shutdown(Shutdown::Write).await.unwrap();
        };
        let (error, ()) = join(b.read_exact(Vec::with_capacity(MUCH)), send).await;
        let error = error.unwrap_err();
        assert_eq!((error.kind(), error.transferred), (ErrorKind::UnexpectedEof, MUCH / 2));
        assert!(error.buffer == pattern(MUCH / 2));
    });
}

fn a_slice_is_filled_and_nothing_else<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = UnixStream::pair(&ring).unwrap();
        a.write_all(b"abcdef".to_vec().slice(1..5)).await.unwrap();
        let (n, got) = b.peek(vec![0; 10]).await.unwrap();
        assert_eq!((n, &*got), (4, &b"bcde"[..]));
        let part = b.read_exact(vec![b'-'; 6].slice(2..4)).await.unwrap();
        assert_eq!(part.into_inner(), b"--bc--");
        assert_eq!(b.read_exact(vec![0; 2]).await.unwrap(), b"de");
    });
}

fn a_dropped_write_all_sends_everything<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        for nonblocking in [false, true] {
            let (a, b) = narrow(&ring);
            let a = a.into_std().unwrap();
            a.set_nonblocking(nonblocking).unwrap();
            let a = UnixStream::from_std(&ring, a);
            let mut write = a.write_all(pattern(MUCH));
            assert!(poll_once(&mut write).is_pending());
            drop(write);
            assert!(take(&b, MUCH).await == pattern(MUCH));
            settled(&ring).await;
            a.write_all("after").await.unwrap();
            assert_eq!(take(&b, 5).await, b"after");
        }
    });
}

fn a_dropped_vectored_write_sends_everything<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let parts: Vec<Vec<u8>> = (0..100).map(|at| pattern(at * 200)).collect();
        let whole = parts.concat();
        for nonblocking in [false, true] {
            let (a, b) = narrow(&ring);
            let a = a.into_std().unwrap();
            a.set_nonblocking(nonblocking).unwrap();
            let a = UnixStream::from_std(&ring, a);
            let mut all = a.write_all_vectored(parts.clone());
            assert!(poll_once(&mut all).is_pending());
            drop(all);
            assert!(take(&b, whole.len()).await == whole);
            // A single one may be short, and is not if nobody is left to be told.
            let mut before = Vec::new();
            let mut write = a.write_vectored(parts.clone());
            while let std::task::Poll::Ready(written) = poll_once(&mut write) {
                before.extend_from_slice(&whole[..written.unwrap().0]);
                write = a.write_vectored(parts.clone());
            }
            drop(write);
            assert!(take(&b, before.len()).await == before);
            assert!(take(&b, whole.len()).await == whole);
            settled(&ring).await;
            a.write_all_vectored(vec!["af", "", "ter"]).await.unwrap();
            assert_eq!(take(&b, 5).await, b"after");
        }
    });
}

fn vectored_writes_carry_empty_buffers_and_refuse_too_many<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = UnixStream::pair(&ring).unwrap();
        assert_eq!(a.write_vectored(vec!["", "a", "", "bc"]).await.unwrap().0, 3);
        assert_eq!(take(&b, 3).await, b"abc");
        let none: Vec<&'static str> = Vec::new();
        assert_eq!(a.write_vectored(none).await.unwrap(), (0, Vec::new()));
        let error = a.write_vectored(vec!["x"; 1025]).await.unwrap_err();
        assert_eq!((error.kind(), error.buffer.len()), (ErrorKind::InvalidInput, 1025));
        let (n, buffers) = a.write_vectored(vec!["x"; 1024]).await.unwrap();
        assert_eq!((n, buffers), (1024, vec!["x"; 1024]));
    });
}

fn transfers_that_were_not_polled_do_nothing<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = std::os::unix::net::UnixStream::pair().unwrap();
        let (a, mut b) = (UnixStream::from_std(&ring, a), b);
        b.write_all(b"here").unwrap();
        drop(a.write_all("never"));
        drop(a.read_exact(vec![0; 4]));
        drop(a.write_all_vectored(vec!["never"]));
        assert_eq!(a.read_exact(vec![0; 4]).await.unwrap(), b"here");
        a.close().await.unwrap();
        let mut all = Vec::new();
        b.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"");
    });
}

fn a_finished_transfer_stays_finished<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = UnixStream::pair(&ring).unwrap();
        let mut write = a.write_all("once");
        (&mut write).await.unwrap();
        assert!(poll_once(&mut write).is_pending());
        let mut read = b.read_exact(vec![0; 4]);
        assert_eq!((&mut read).await.unwrap(), b"once");
        assert!(poll_once(&mut read).is_pending());
        assert!(format!("{write:?} {read:?}").contains("sent: 4"));
    });
}
