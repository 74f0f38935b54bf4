//! Adapters of streams behave as tokio's own types: each program here runs over both.
#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::Poll;

use common::flavour::{Flavour, over_both, over_pipes};
use common::pattern;
use futures_util::future::join;
use futures_util::{SinkExt, StreamExt as _};
use tokio::io::{
    AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio_util::codec::{Framed, LengthDelimitedCodec, LinesCodec};

over_both!(
    reads_give_what_is_there,
    the_end_comes_again_and_again,
    nothing_read_is_nothing_lost,
    a_write_to_a_peer_that_is_gone_fails,
    shutdown_ends_one_direction,
    shutdown_twice_and_after_the_peer_is_no_error,
    a_write_after_shutdown_fails,
    slices_are_written_in_order,
    lines_are_read,
    exact_reads_meet_an_early_end,
    copy_moves_everything,
    copy_goes_both_ways,
    halves_work_at_the_same_time,
    what_was_accepted_arrives,
    a_flush_waits_for_the_peer_to_make_room,
    lines_are_framed,
    messages_are_framed,
    the_drop_of_an_end_is_the_end,
);

over_pipes!(
    reads_give_what_is_there,
    the_end_comes_again_and_again,
    nothing_read_is_nothing_lost,
    a_write_to_a_peer_that_is_gone_fails,
    slices_are_written_in_order,
    lines_are_read,
    exact_reads_meet_an_early_end,
    what_was_accepted_arrives,
    a_flush_waits_for_the_peer_to_make_room,
    messages_are_framed,
    the_drop_of_an_end_is_the_end,
);

async fn reads_give_what_is_there<F: Flavour>(flavour: F) {
    let (mut a, mut b) = flavour.pair();
    a.write_all(b"0123456789").await.unwrap();
    a.flush().await.unwrap();
    let mut part = [0; 4];
    assert_eq!(b.read(&mut part).await.unwrap(), 4);
    assert_eq!(&part, b"0123");
    assert_eq!(b.read(&mut part).await.unwrap(), 4);
    assert_eq!(&part, b"4567");
    assert_eq!(b.read(&mut part).await.unwrap(), 2);
    assert_eq!(&part, b"8967");
    a.write_all(b"more").await.unwrap();
    let mut all = Vec::with_capacity(100);
    assert_eq!(b.read_buf(&mut all).await.unwrap(), 4);
    assert_eq!(all, b"more");
}

async fn the_end_comes_again_and_again<F: Flavour>(flavour: F) {
    let (mut a, mut b) = flavour.pair();
    a.write_all(b"end").await.unwrap();
    drop(a);
    let mut all = Vec::new();
    assert_eq!(b.read_to_end(&mut all).await.unwrap(), 3);
    assert_eq!(all, b"end");
    for _ in 0..3 {
        assert_eq!(b.read(&mut [0; 8]).await.unwrap(), 0);
    }
}

/// Behind what was accepted, and though the half that reads lives on, where the two are handles of their own.
async fn the_drop_of_an_end_is_the_end<F: Flavour>(flavour: F) {
    let (a, b) = flavour.pair();
    let (mut from_a, mut to_b) = F::halves(a);
    let (mut from_b, mut to_a) = F::halves(b);
    let sent = pattern(LARGE);
    let write = async {
        to_b.write_all(&sent).await.unwrap();
        if F::APART {
            drop(to_b);
        } else {
            to_b.shutdown().await.unwrap();
        }
    };
    let mut got = Vec::new();
    join(write, from_b.read_to_end(&mut got)).await.1.unwrap();
    assert!(got == sent);
    to_a.write_all(b"back").await.unwrap();
    drop((to_a, from_b));
    got.clear();
    from_a.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"back");
}

async fn nothing_read_is_nothing_lost<F: Flavour>(flavour: F) {
    let (mut a, mut b) = flavour.pair();
    assert_eq!(a.write(&[]).await.unwrap(), 0);
    assert_eq!(a.write_vectored(&[IoSlice::new(&[])]).await.unwrap(), 0);
    a.write_all(b"x").await.unwrap();
    assert_eq!(b.read(&mut []).await.unwrap(), 0);
    assert_eq!(b.read_u8().await.unwrap(), b'x');
}

async fn a_write_to_a_peer_that_is_gone_fails<F: Flavour>(flavour: F) {
    let (mut a, b) = flavour.pair();
    drop(b);
    let block = vec![1; 100_000];
    let error = loop {
        if let Err(error) = a.write_all(&block).await {
            break error;
        }
    };
    let lost = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
    assert!(lost.contains(&error.kind()), "{error}");
    assert!(error.raw_os_error().is_some(), "{error}: the kernel's own");
}

async fn shutdown_ends_one_direction<F: Flavour>(flavour: F) {
    let (mut a, mut b) = flavour.pair();
    a.write_all(b"question").await.unwrap();
    a.shutdown().await.unwrap();
    let mut all = Vec::new();
    b.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"question");
    b.write_all(b"answer").await.unwrap();
    b.shutdown().await.unwrap();
    all.clear();
    a.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"answer");
}

async fn shutdown_twice_and_after_the_peer_is_no_error<F: Flavour>(flavour: F) {
    let (mut a, mut b) = flavour.pair();
    a.shutdown().await.unwrap();
    a.shutdown().await.unwrap();
    assert_eq!(b.read(&mut [0; 8]).await.unwrap(), 0);
    drop(a);
    b.shutdown().await.unwrap();
    b.shutdown().await.unwrap();
}

async fn a_write_after_shutdown_fails<F: Flavour>(flavour: F) {
    let (mut a, _b) = flavour.pair();
    a.shutdown().await.unwrap();
    let mut result = a.write_all(b"late").await;
    if result.is_ok() {
        // Accepted, and told by the next call.
        result = a.flush().await;
    }
    assert_eq!(result.unwrap_err().kind(), ErrorKind::BrokenPipe);
}

async fn slices_are_written_in_order<F: Flavour>(flavour: F) {
    let (mut a, mut b) = flavour.pair();
    assert!(a.is_write_vectored());
    let parts = [IoSlice::new(b"one "), IoSlice::new(b""), IoSlice::new(b"two")];
    assert_eq!(a.write_vectored(&parts).await.unwrap(), 7);
    let mut got = [0; 7];
    b.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"one two");
}

async fn lines_are_read<F: Flavour>(flavour: F) {
    let (mut a, b) = flavour.pair();
    a.write_all(b"first\nsecond\r\n\nlast").await.unwrap();
    drop(a);
    let mut lines = BufReader::with_capacity(3, b).lines();
    let mut got = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        got.push(line);
    }
    assert_eq!(got, ["first", "second", "", "last"]);
}

async fn exact_reads_meet_an_early_end<F: Flavour>(flavour: F) {
    let (mut a, mut b) = flavour.pair();
    a.write_all(b"abc").await.unwrap();
    drop(a);
    let error = b.read_exact(&mut [0; 4]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
}

const LARGE: usize = 1 << 20;

async fn copy_moves_everything<F: Flavour>(flavour: F) {
    let (mut a, mut b) = flavour.pair();
    let (mut c, mut d) = flavour.pair();
    let sent = pattern(LARGE);
    let write = async {
        a.write_all(&sent).await.unwrap();
        a.shutdown().await.unwrap();
    };
    let copy = async {
        let count = tokio::io::copy(&mut b, &mut c).await.unwrap();
        c.shutdown().await.unwrap();
        count
    };
    let mut got = Vec::new();
    let read = d.read_to_end(&mut got);
    let (((), count), read) = join(join(write, copy), read).await;
    assert_eq!((count, read.unwrap()), (u64::try_from(LARGE).unwrap(), LARGE));
    assert!(got == sent);
}

async fn copy_goes_both_ways<F: Flavour>(flavour: F) {
    let (mut client, mut front) = flavour.pair();
    let (mut back, mut server) = flavour.pair();
    let sent = pattern(LARGE / 4);
    let serve = async {
        let mut request = Vec::new();
        server.read_to_end(&mut request).await.unwrap();
        request.reverse();
        server.write_all(&request).await.unwrap();
        server.shutdown().await.unwrap();
    };
    let ask = async {
        client.write_all(&sent).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let through = tokio::io::copy_bidirectional(&mut front, &mut back);
    let (((), answer), counts) = join(join(serve, ask), through).await;
    let len = u64::try_from(sent.len()).unwrap();
    assert_eq!(counts.unwrap(), (len, len));
    assert!(answer.into_iter().rev().eq(sent));
}

async fn halves_work_at_the_same_time<F: Flavour>(flavour: F) {
    let (a, b) = flavour.pair();
    let sent = pattern(LARGE / 2);
    let both = |stream| async {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let write = async {
            for part in sent.chunks(70_000) {
                writer.write_all(part).await.unwrap();
            }
            writer.shutdown().await.unwrap();
        };
        let mut got = Vec::new();
        let (read, ()) = join(reader.read_to_end(&mut got), write).await;
        read.unwrap();
        got
    };
    let (one, other) = join(both(a), both(b)).await;
    assert!(one == sent && other == sent);
}

/// Polls a write once.
async fn try_write<W: AsyncWrite + Unpin>(
    writer: &mut W,
    bytes: &[u8],
) -> Poll<std::io::Result<usize>> {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *writer).poll_write(cx, bytes))).await
}

/// Writes until the peer, who does not read, has no more room; gives what was accepted.
async fn fill<W: AsyncWrite + Unpin>(writer: &mut W, from: &[u8]) -> usize {
    let mut accepted = 0;
    let mut refusals = 0;
    // A call that is pending may only have had to wait for a turn.
    while refusals < 50 {
        match try_write(writer, &from[accepted..]).await {
            Poll::Ready(count) => accepted += count.unwrap(),
            Poll::Pending => {
                refusals += 1;
                let mut yielded = false;
                poll_fn(|cx| {
                    cx.waker().wake_by_ref();
                    if std::mem::replace(&mut yielded, true) {
                        Poll::Ready(())
                    } else {
                        Poll::Pending
                    }
                })
                .await;
            }
        }
    }
    accepted
}

async fn what_was_accepted_arrives<F: Flavour>(flavour: F) {
    let (mut a, mut b) = flavour.pair();
    let all = pattern(1 << 20).repeat(32);
    let accepted = fill(&mut a, &all).await;
    assert!(0 < accepted && accepted < all.len(), "writing is bounded");
    // Not flushed, not polled again, and gone.
    drop(a);
    let mut got = Vec::new();
    b.read_to_end(&mut got).await.unwrap();
    assert_eq!(got.len(), accepted);
    assert!(got == all[..accepted]);
}

async fn a_flush_waits_for_the_peer_to_make_room<F: Flavour>(flavour: F) {
    let (mut a, mut b) = flavour.pair();
    let all = pattern(1 << 20).repeat(32);
    let accepted = fill(&mut a, &all).await;
    let read = async {
        let mut got = vec![0; accepted];
        b.read_exact(&mut got).await.unwrap();
        got
    };
    let (flushed, got) = join(a.flush(), read).await;
    flushed.unwrap();
    assert!(got == all[..accepted]);
    a.write_all(b"and on").await.unwrap();
    let mut got = [0; 6];
    b.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"and on");
}

async fn lines_are_framed<F: Flavour>(flavour: F) {
    let (a, b) = flavour.pair();
    let mut a = Framed::new(a, LinesCodec::new());
    let mut b = Framed::new(b, LinesCodec::new());
    let write = async {
        for number in 0..1000 {
            a.feed(format!("line {number}")).await.unwrap();
        }
        SinkExt::<String>::close(&mut a).await.unwrap();
    };
    let read = async {
        let mut count = 0;
        while let Some(line) = b.next().await {
            assert_eq!(line.unwrap(), format!("line {count}"));
            count += 1;
        }
        count
    };
    assert_eq!(join(write, read).await.1, 1000);
}

async fn messages_are_framed<F: Flavour>(flavour: F) {
    let (a, b) = flavour.pair();
    let mut a = Framed::new(a, LengthDelimitedCodec::new());
    let mut b = Framed::new(b, LengthDelimitedCodec::new());
    for size in [0, 1, 8191, 8192, 8193, 300_000] {
        let message = pattern(size);
        let (sent, got) = join(a.send(&message[..]), b.next()).await;
        sent.unwrap();
        assert!(got.unwrap().unwrap() == message, "{size}");
    }
}

/// Calls that are always ready give way to what is beside them: tokio's budget, in both.
async fn ready_calls_give_way<F: Flavour>(flavour: F) {
    const WRITES: u32 = 200;
    const READS: u32 = 5000;
    let (mut a, mut b) = flavour.pair();
    // As many small writes as any socket has room for.
    let turns = turns_beside(async |begun| {
        begun();
        for _ in 0..WRITES {
            a.write_all(&[7]).await.unwrap();
        }
    });
    assert!(turns.await > 0, "{WRITES} writes, and 128 calls are a turn's");
    a.write_all(&[7; 5000]).await.unwrap();
    a.flush().await.unwrap();
    b.read_exact(&mut [0; 200]).await.unwrap();
    let turns = turns_beside(async |begun| {
        let mut byte = [0];
        b.read_exact(&mut byte).await.unwrap();
        // That one may have had to wait.
        begun();
        for _ in 1..READS {
            b.read_exact(&mut byte).await.unwrap();
        }
    });
    let turns = turns.await;
    assert!(turns > READS / 256, "{turns} turns beside {READS} reads");
}

/// How often what is beside `calls` had its turn, from when these say that they have begun.
async fn turns_beside(calls: impl AsyncFnOnce(&dyn Fn())) -> u32 {
    let (begun, done) = (Cell::new(false), Cell::new(false));
    let calls = async {
        calls(&|| begun.set(true)).await;
        done.set(true);
    };
    let turns = async {
        let mut turns = 0;
        while !done.get() {
            turns += u32::from(begun.get());
            let mut yielded = false;
            poll_fn(|cx| {
                cx.waker().wake_by_ref();
                if std::mem::replace(&mut yielded, true) { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        }
        turns
    };
    join(calls, turns).await.1
}

over_both!(@ budget_of_theirs, TheirUnix; ready_calls_give_way);
over_both!(@ budget_of_ours, OurUnix::<OnTokio>(ring::<OnTokio>()); ready_calls_give_way);
over_both!(@ budget_of_ours_over_tcp, OurTcp::<OnTokio>(ring::<OnTokio>()); ready_calls_give_way);
