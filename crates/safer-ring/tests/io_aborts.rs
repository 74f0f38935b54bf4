//! Calls of adapters that are dropped in the middle: no byte is lost, none comes twice. A peer that is a plain socket counts.
//!
//! tokio's own streams run the same program, as the oracle of the test itself.
#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::pin;
use std::task::Poll;

use common::flavour::{Flavour, over_both, over_pipes};
use common::pattern;
use futures_util::StreamExt as _;
use futures_util::future::join;
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _,
    BufReader,
};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

over_both!(
    random_calls_with_random_aborts_move_every_byte_once,
    a_shutdown_that_is_dropped_goes_on,
    a_call_that_loses_a_race_loses_nothing,
    lines_that_are_given_up_in_the_middle_come_whole,
    messages_that_are_given_up_in_the_middle_come_whole,
    what_read_until_had_is_in_its_vec,
    a_read_line_that_is_given_up_takes_its_string_with_it,
);

over_pipes!(
    random_calls_with_random_aborts_move_every_byte_once,
    a_call_that_loses_a_race_loses_nothing,
    lines_that_are_given_up_in_the_middle_come_whole,
    messages_that_are_given_up_in_the_middle_come_whole,
    what_read_until_had_is_in_its_vec,
);

/// A generator of numbers: xorshift64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(end).unwrap()).unwrap()
    }
}

/// Lets the others run.
async fn give_way() {
    let mut yielded = false;
    poll_fn(|cx| {
        cx.waker().wake_by_ref();
        if std::mem::replace(&mut yielded, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Polls a call so many times, with others in between, and drops it.
async fn abort_after<T>(polls: usize, call: impl Future<Output = T>) -> Option<T> {
    let mut call = pin!(call);
    for _ in 0..polls {
        let polled = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
        if let Poll::Ready(output) = polled {
            return Some(output);
        }
        give_way().await;
    }
    None
}

/// Writes all of `bytes` by random calls, each dropped after some polls. What a call says that it accepted is accepted, and a
/// call that was dropped has accepted nothing.
async fn write_all_somehow<W: AsyncWrite + Unpin>(
    writer: &mut W,
    mut bytes: &[u8],
    dice: &mut Dice,
) {
    while !bytes.is_empty() {
        let size = [1, 10, 1000, 40_000, 200_000][dice.below(5)].min(bytes.len());
        let patience = dice.below(4);
        let accepted = match dice.below(8) {
            0 => {
                if let Some(flushed) = abort_after(patience, writer.flush()).await {
                    flushed.unwrap();
                }
                None
            }
            1 => {
                let half = size / 2;
                let parts = [
                    IoSlice::new(&bytes[..half]),
                    IoSlice::new(&[]),
                    IoSlice::new(&bytes[half..size]),
                ];
                abort_after(patience, writer.write_vectored(&parts)).await
            }
            2 => {
                let mut part = &bytes[..size];
                let before = part.len();
                // It advances the buffer by what was accepted, and only then.
                let _ = abort_after(patience, writer.write_buf(&mut part)).await;
                Some(Ok(before - part.len()))
            }
            _ => abort_after(patience, writer.write(&bytes[..size])).await,
        };
        if let Some(accepted) = accepted {
            bytes = &bytes[accepted.unwrap()..];
        }
        if dice.below(3) == 0 {
            give_way().await;
        }
    }
}

/// Reads to the end by random calls, each dropped after some polls.
async fn read_to_end_somehow<R: AsyncBufRead + Unpin>(reader: &mut R, dice: &mut Dice) -> Vec<u8> {
    let mut got = Vec::new();
    loop {
        let patience = dice.below(4);
        let before = got.len();
        let size = [1, 7, 5000, 100_000][dice.below(4)];
        let ended: Option<io::Result<usize>> = match dice.below(4) {
            0 => {
                got.reserve(size);
                let read = abort_after(patience, reader.read_buf(&mut got)).await;
                assert!(read.is_some() || got.len() == before, "a dropped call has read nothing");
                read
            }
            1 => {
                let filled = abort_after(patience, reader.fill_buf()).await;
                let filled = filled.map(|filled| filled.unwrap().to_vec());
                let taken = filled
                    .as_ref()
                    .map(|filled| if filled.is_empty() { 0 } else { 1 + dice.below(filled.len()) });
                if let (Some(filled), Some(taken)) = (filled, taken) {
                    got.extend_from_slice(&filled[..taken]);
                    reader.consume(taken);
                }
                taken.map(Ok)
            }
            _ => {
                let mut part = vec![0; size];
                let read = abort_after(patience, reader.read(&mut part)).await;
                if let Some(Ok(count)) = &read {
                    got.extend_from_slice(&part[..*count]);
                }
                read
            }
        };
        match ended {
            Some(Ok(0)) => return got,
            Some(Ok(_)) | None => {}
            Some(Err(error)) => panic!("{error}"),
        }
        if dice.below(3) == 0 {
            give_way().await;
        }
    }
}

async fn end_somehow<W: AsyncWrite + Unpin>(writer: &mut W, dice: &mut Dice) {
    loop {
        if let Some(ended) = abort_after(dice.below(3), writer.shutdown()).await {
            return ended.unwrap();
        }
    }
}

fn seed() -> u64 {
    let chosen = std::env::var("SAFER_RING_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = chosen.unwrap_or_else(|| u64::from(std::process::id()) * 7919 + 1);
    println!("SAFER_RING_SEED={seed}");
    seed
}

async fn random_calls_with_random_aborts_move_every_byte_once<F: Flavour>(flavour: F) {
    let seed = seed();
    for round in 1..4 {
        let (a, b) = flavour.pair();
        let there = pattern(300_000 * usize::try_from(round).unwrap());
        let back: Vec<u8> = there.iter().rev().copied().collect();
        let both = |stream, sent, seed| async move {
            let (reader, mut writer) = F::halves(stream);
            let (mut dice, mut other) = (Dice(seed), Dice(seed ^ 0xABCD_EF01));
            let write = async {
                write_all_somehow(&mut writer, sent, &mut dice).await;
                end_somehow(&mut writer, &mut dice).await;
                drop(writer);
            };
            let mut reader = BufReader::with_capacity(1, reader);
            join(write, read_to_end_somehow(&mut reader, &mut other)).await.1
        };
        let seed = seed.wrapping_mul(round * 2 + 1) | 1;
        let (one, other) = join(both(a, &there[..], seed), both(b, &back[..], !seed | 1)).await;
        assert!(one == back && other == there, "seed {seed}: {} {}", one.len(), other.len());
    }
}

async fn a_shutdown_that_is_dropped_goes_on<F: Flavour>(flavour: F) {
    let (mut a, mut b) = flavour.pair();
    a.write_all(b"last words").await.unwrap();
    // However many polls it got, a second call ends it.
    for polls in 0..3 {
        let _ = abort_after(polls, a.shutdown()).await;
    }
    a.shutdown().await.unwrap();
    let mut got = Vec::new();
    b.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"last words");
}

async fn a_call_that_loses_a_race_loses_nothing<F: Flavour>(flavour: F) {
    let (a, mut b) = flavour.pair();
    let mut a = BufReader::new(a);
    for round in 0..200_u8 {
        // Three kinds of calls are begun and lose, then what arrives is read in one go.
        let mut byte = [0];
        tokio::select! {
            biased;
            _ = a.read(&mut byte) => unreachable!("nothing was sent"),
            () = give_way() => {}
        }
        tokio::select! {
            biased;
            _ = a.fill_buf() => unreachable!("nothing was sent"),
            () = give_way() => {}
        }
        let mut room = Vec::with_capacity(10);
        tokio::select! {
            biased;
            _ = a.read_buf(&mut room) => unreachable!("nothing was sent"),
            () = give_way() => {}
        }
        b.write_all(&[round, round + 1]).await.unwrap();
        b.flush().await.unwrap();
        let mut got = [0; 2];
        a.read_exact(&mut got).await.unwrap();
        assert_eq!(got, [round, round + 1]);
    }
}

/// Writes a part, and waits until the reader has it in its buffer and has given none of it.
async fn half<R: AsyncBufRead + Unpin>(
    far: &mut (impl AsyncWrite + Unpin),
    part: &[u8],
    near: &mut R,
) {
    far.write_all(part).await.unwrap();
    far.flush().await.unwrap();
    assert_eq!(near.fill_buf().await.unwrap(), part);
}

async fn lines_that_are_given_up_in_the_middle_come_whole<F: Flavour>(flavour: F) {
    let (mut far, near) = flavour.pair();
    let mut lines = F::buffered(near).lines();
    for round in 0..50 {
        for part in [b"half", b" a l"] {
            half(&mut far, part, lines.get_mut()).await;
            // What it has in its buffer is taken, and more is waited for.
            assert!(abort_after(round % 3 + 1, lines.next_line()).await.is_none());
        }
        far.write_all(format!("ine {round}\n").as_bytes()).await.unwrap();
        let line = lines.next_line().await.unwrap();
        assert_eq!(line.unwrap(), format!("half a line {round}"));
    }
}

async fn messages_that_are_given_up_in_the_middle_come_whole<F: Flavour>(flavour: F) {
    let (mut far, near) = flavour.pair();
    let mut messages = Framed::new(near, LengthDelimitedCodec::new());
    for round in 0..50 {
        // In the length, then in the message.
        for part in [&[0, 0][..], &[0, 10, round]] {
            far.write_all(part).await.unwrap();
            far.flush().await.unwrap();
            // The length is not kept in that buffer once it is known.
            while messages.read_buffer().len() != if part.len() == 2 { 2 } else { 1 } {
                assert!(abort_after(1, messages.next()).await.is_none());
                give_way().await;
            }
        }
        far.write_all(&[round; 9]).await.unwrap();
        assert_eq!(messages.next().await.unwrap().unwrap()[..], [round; 10]);
    }
}

async fn what_read_until_had_is_in_its_vec<F: Flavour>(flavour: F) {
    let (mut far, near) = flavour.pair();
    let mut near = F::buffered(near);
    let mut got = b"before ".to_vec();
    half(&mut far, b"half a ", &mut near).await;
    assert!(abort_after(1, near.read_until(b'.', &mut got)).await.is_none());
    assert_eq!(got, b"before half a ");
    far.write_all(b"sentence. And more").await.unwrap();
    assert_eq!(near.read_until(b'.', &mut got).await.unwrap(), 9);
    assert_eq!(got, b"before half a sentence.");
}

/// What the guide warns of. Here as with tokio's own types, whose future it is.
async fn a_read_line_that_is_given_up_takes_its_string_with_it<F: Flavour>(flavour: F) {
    let (mut far, near) = flavour.pair();
    let mut near = F::buffered(near);
    let mut got = "before ".to_owned();
    half(&mut far, b"half a ", &mut near).await;
    assert!(abort_after(1, near.read_line(&mut got)).await.is_none());
    assert_eq!(got, "");
    far.write_all(b"line\n").await.unwrap();
    near.read_line(&mut got).await.unwrap();
    assert_eq!(got, "line\n");
}

/// A way to be sure that the whole adapter is polled, not a wrapper with a buffer of its own.
mod direct {
    use super::*;
    use common::within_deadline;
    use safer_ring::net::UnixStream;
    use safer_ring::{Mode, Ring, RingOf, local};

    async fn a_full_peer<M: Mode>(ring: RingOf<M>) {
        let seed = seed();
        for round in 0..8 {
            let (a, b) = UnixStream::pair(&ring).unwrap();
            let (mut a, mut b) = (a.into_io(), b.into_io());
            let sent = pattern(1_000_000);
            let (mut dice, mut other) = (Dice(seed + round), Dice(seed + round + 99));
            let write = async {
                write_all_somehow(&mut a, &sent, &mut dice).await;
                // Gone without a flush: what was accepted goes out.
                drop(a);
            };
            let read = read_to_end_somehow(&mut b, &mut other);
            let got = join(write, read).await.1;
            assert!(got == sent, "seed {} round {round}: {}", seed, got.len());
        }
    }

    #[test]
    fn dropped_without_a_flush_local() {
        within_deadline(|| {
            let ring = local::Ring::new(8).unwrap();
            ring.block_on(a_full_peer(ring.clone()));
        });
    }

    #[test]
    fn dropped_without_a_flush_shared() {
        within_deadline(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
            let task = runtime.spawn(a_full_peer(Ring::new(8).unwrap()));
            runtime.block_on(task).unwrap();
        });
    }

    /// Tasks that read and write are aborted at random; another goes on with the stream that it was given back.
    #[test]
    fn aborted_tasks_lose_nothing() {
        use std::sync::Arc;
        use tokio::sync::Mutex;
        within_deadline(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            let ring: Ring = Ring::new(64).unwrap();
            runtime.block_on(async {
                let (a, b) = UnixStream::pair(&ring).unwrap();
                let a = Arc::new(Mutex::new(a.into_io()));
                let mut b = b.into_io();
                let got = Arc::new(std::sync::Mutex::new(Vec::new()));
                let sent = pattern(200_000);
                let mut dice = Dice(seed() | 1);
                let mut rest = &sent[..];
                while got.lock().unwrap().len() < sent.len() {
                    let (stream, into) = (Arc::clone(&a), Arc::clone(&got));
                    let task = tokio::spawn(async move {
                        let mut stream = stream.lock().await;
                        let mut part = [0; 3000];
                        while let Ok(count @ 1..) = stream.read(&mut part).await {
                            into.lock().unwrap().extend_from_slice(&part[..count]);
                        }
                    });
                    let size = (1 + dice.below(9000)).min(rest.len());
                    b.write_all(&rest[..size]).await.unwrap();
                    rest = &rest[size..];
                    for _ in 0..dice.below(4) {
                        tokio::task::yield_now().await;
                    }
                    task.abort();
                    let _ = task.await;
                }
                assert!(*got.lock().unwrap() == sent);
            });
        });
    }

    /// Each call meets a time limit while it cannot go on; the bytes are all there afterwards.
    #[test]
    fn time_limits_lose_nothing() {
        use std::time::Duration;
        use tokio::time::timeout;
        const SOON: Duration = Duration::from_millis(2);
        within_deadline(|| {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.enable_all().build().unwrap().block_on(async {
                let ring: Ring = Ring::new(64).unwrap();
                let (a, b) = UnixStream::pair(&ring).unwrap();
                let (mut a, mut b) = (a.into_io(), b.into_io());
                let (mut part, mut room) = ([0; 8], Vec::with_capacity(8));
                assert!(timeout(SOON, a.read(&mut part)).await.is_err());
                assert!(timeout(SOON, a.read_buf(&mut room)).await.is_err());
                assert!(timeout(SOON, a.fill_buf()).await.is_err());
                let sent = pattern(20_000).repeat(200);
                let mut accepted = 0;
                while let Ok(count) = timeout(SOON, a.write(&sent[accepted..])).await {
                    accepted += count.unwrap();
                }
                assert!(accepted < sent.len());
                let slices = [IoSlice::new(&sent[accepted..])];
                assert!(timeout(SOON, a.write_vectored(&slices)).await.is_err());
                assert!(timeout(SOON, a.flush()).await.is_err());
                assert!(timeout(SOON, a.shutdown()).await.is_err());
                b.write_all(b"answer").await.unwrap();
                let mut got = vec![0; accepted];
                b.read_exact(&mut got).await.unwrap();
                assert!(got == sent[..accepted]);
                // Neither the shutdown nor the writes that were given up have happened.
                a.write_all(b"more").await.unwrap();
                a.shutdown().await.unwrap();
                got.clear();
                b.read_to_end(&mut got).await.unwrap();
                assert_eq!(got, b"more");
                drop(b);
                got.clear();
                a.read_to_end(&mut got).await.unwrap();
                assert_eq!(got, b"answer");
            });
        });
    }

    #[test]
    fn adapters_of_a_shared_ring_go_anywhere() {
        fn anywhere<T: Send + Sync + Unpin + 'static>(_: &T) {}
        let ring: Ring = Ring::new(8).unwrap();
        let (a, _) = UnixStream::pair(&ring).unwrap();
        let (reader, writer) = a.into_split();
        anywhere(&reader.into_io());
        anywhere(&writer.into_io());
        let file = safer_ring::fs::File::from_std(&ring, tempfile::tempfile().unwrap());
        anywhere(&file.into_io());
    }

    /// The same for tasks of a `Runtime`, by its own abort and its own time limit.
    #[cfg(feature = "runtime")]
    #[test]
    fn aborted_tasks_of_a_runtime_lose_nothing() {
        use safer_ring::{Runtime, runtime};
        use std::cell::RefCell;
        use std::rc::Rc;
        use std::time::Duration;
        within_deadline(|| {
            Runtime::new().unwrap().block_on(async {
                let (a, b) = UnixStream::pair(&runtime::ring()).unwrap();
                let near = Rc::new(tokio::sync::Mutex::new(a.into_io()));
                let mut far = b.into_io();
                let got = Rc::new(RefCell::new(Vec::new()));
                let sent = pattern(200_000);
                let mut dice = Dice(seed() | 1);
                let mut rest = &sent[..];
                let (mut aborted, mut late) = (0, 0);
                while got.borrow().len() < sent.len() {
                    let (stream, into) = (Rc::clone(&near), Rc::clone(&got));
                    let task = runtime::spawn(async move {
                        let mut stream = stream.lock().await;
                        let mut part = [0; 3000];
                        while let Ok(count @ 1..) = stream.read(&mut part).await {
                            into.borrow_mut().extend_from_slice(&part[..count]);
                        }
                    });
                    let size = (1 + dice.below(9000)).min(rest.len());
                    far.write_all(&rest[..size]).await.unwrap();
                    rest = &rest[size..];
                    for _ in 0..dice.below(4) {
                        runtime::yield_now().await;
                    }
                    task.abort();
                    aborted += usize::from(task.await.is_err());
                    // And one that has nothing to read at its end.
                    let mut stream = near.lock().await;
                    let mut part = [0; 3000];
                    let limit = Duration::from_micros(50);
                    match runtime::timeout(limit, stream.read(&mut part)).await {
                        Ok(count) => got.borrow_mut().extend_from_slice(&part[..count.unwrap()]),
                        Err(_) => late += 1,
                    }
                }
                assert!(*got.borrow() == sent);
                assert!(aborted > 0, "{aborted} aborted, {late} late");
                let mut part = [0; 8];
                let mut stream = near.lock().await;
                let wait = runtime::timeout(Duration::from_millis(2), stream.read(&mut part));
                assert!(wait.await.is_err());
                far.write_all(b"last").await.unwrap();
                assert_eq!(stream.read(&mut part).await.unwrap(), 4);
            });
        });
    }
}
