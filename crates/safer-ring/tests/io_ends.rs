//! Where adapters begin and end: halves, pipes, the way back, errors that come late, and what a handle beside them sees.
#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::io::{ErrorKind, Read as _, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use common::net::{poll_once, settled, until};
use common::{Exec, everywhere, pattern, with_built, with_ring};
use futures_util::future::join;
use safer_ring::io::AsyncStream;
use safer_ring::net::UnixStream;
use safer_ring::{Mode, Ring, RingOf, pipe};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

everywhere!(
    what_was_read_ahead_goes_back_to_the_stream,
    an_armed_read_goes_on_beside_the_adapter,
    a_dropped_adapter_leaves_its_bytes_to_the_other_handle,
    accepted_bytes_follow_the_stream_back,
    halves_read_and_write_apart,
    the_adapter_of_a_write_half_ends_the_direction_behind_what_it_accepted,
    a_write_half_that_leaves_its_adapter_ends_nothing,
    a_pipe_is_written_and_read,
    a_full_pipe_gets_everything_in_order,
    a_late_error_is_told_once_and_nothing_follows_the_hole,
    a_late_error_is_told_by_a_shutdown,
    writing_is_bounded_by_two_buffers,
    dropping_closes_after_what_was_accepted,
    a_flush_and_a_shutdown_wait_for_the_kernel_to_take_all,
    the_buffer_grows_while_reads_fill_it,
    the_capacity_bounds_the_buffer_of_the_adapter_and_not_the_rings,
);

/// An adapter with small buffers, and the other end as the standard library has it.
fn beside_std<M: Mode>(
    ring: &RingOf<M>,
    capacity: usize,
) -> (AsyncStream<UnixStream<M>>, std::os::unix::net::UnixStream) {
    let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
    let near = UnixStream::from_std(ring, near);
    (AsyncStream::with_capacities(capacity, capacity, near), far)
}

/// Polls a write once, with nobody to be woken.
fn try_write<W: AsyncWrite + Unpin>(writer: &mut W, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
    Pin::new(writer).poll_write(&mut Context::from_waker(Waker::noop()), bytes)
}

/// Writes until the peer has no more room and both buffers are full; gives what was accepted.
async fn fill<M: Mode>(
    ring: &RingOf<M>,
    writer: &mut AsyncStream<UnixStream<M>>,
    bytes: &[u8],
) -> usize {
    let mut accepted = 0;
    for _ in 0..20 {
        while let Poll::Ready(count) = try_write(writer, &bytes[accepted..]) {
            accepted += count.unwrap();
        }
        ring.nop().await.unwrap();
    }
    accepted
}

fn what_was_read_ahead_goes_back_to_the_stream<E: Exec>() {
    // In a buffer that the kernel picks, and, where a ring may not have those, in one of the adapter's.
    for restricted in [false, true] {
        let builder = Ring::builder().entries(8).restricted(restricted);
        with_built::<E>(builder, async |ring| {
            let (mut near, mut far) = beside_std(&ring, 4096);
            far.write_all(b"one two three").unwrap();
            let mut word = [0; 4];
            near.read_exact(&mut word).await.unwrap();
            assert_eq!((&word, near.buffer()), (b"one ", &b"two three"[..]));
            let near = near.into_inner();
            assert_eq!(near.fd().kept_bytes(), 9);
            assert_eq!(near.read(vec![0; 4]).await.unwrap().1, b"two ");
            let mut near = near.into_io();
            far.write_all(b" four").unwrap();
            drop(far);
            let mut rest = String::new();
            near.read_to_string(&mut rest).await.unwrap();
            assert_eq!(rest, "three four");
        });
    }
}

fn an_armed_read_goes_on_beside_the_adapter<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (mut near, mut far) = beside_std(&ring, 4096);
        let mut byte = [0];
        {
            let mut read = Box::pin(near.read(&mut byte));
            assert!(poll_once(&mut read).is_pending());
        }
        ring.nop().await.unwrap();
        let near = near.into_inner();
        far.write_all(b"late").unwrap();
        assert_eq!(near.read(vec![0; 10]).await.unwrap().1, b"late");
        near.close().await.unwrap();
    });
}

fn a_dropped_adapter_leaves_its_bytes_to_the_other_handle<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, mut far) = beside_std(&ring, 4096);
        let (reader, writer) = near.into_inner().into_split();
        for round in 0..50_u8 {
            // One byte is taken, one is read ahead, and one comes when a read is armed and its adapter is gone.
            let mut adapter = UnixStream::from_fd(&ring, writer.as_ref().fd().clone()).into_io();
            far.write_all(&[round, 100]).unwrap();
            assert_eq!(adapter.read_u8().await.unwrap(), round);
            if round % 2 == 0 {
                adapter.read_u8().await.unwrap();
                let mut read = Box::pin(adapter.read_u8());
                assert!(poll_once(&mut read).is_pending());
                drop(read);
                drop(adapter);
                far.write_all(&[101]).unwrap();
                assert_eq!(reader.read(vec![0; 10]).await.unwrap().1, [101]);
            } else {
                drop(adapter);
                far.write_all(&[101]).unwrap();
                let got = reader.read_exact(vec![0; 2]).await.unwrap();
                assert_eq!(got, [100, 101]);
            }
        }
    });
}

fn accepted_bytes_follow_the_stream_back<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (mut near, far) = beside_std(&ring, 100_000);
        let sent = pattern(1 << 20).repeat(8);
        let accepted = fill(&ring, &mut near, &sent).await;
        assert!(accepted > 100_000);
        let near = near.into_inner();
        let mut far = UnixStream::from_std(&ring, far).into_io();
        let mut got = Vec::new();
        let write = async {
            near.write_all("and then this").await.unwrap();
            near.shutdown(std::net::Shutdown::Write).await.unwrap();
        };
        join(write, far.read_to_end(&mut got)).await.1.unwrap();
        assert!(got.len() == accepted + 13 && got[..accepted] == sent[..accepted]);
        assert_eq!(&got[accepted..], b"and then this");
    });
}

fn halves_read_and_write_apart<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, b) = UnixStream::pair(&ring).unwrap();
        let (reader, writer) = a.into_split();
        let (mut reader, mut writer) = (reader.into_io(), writer.into_io());
        let mut b = b.into_io();
        let echo = async {
            let (mut from, mut to) = tokio::io::split(&mut b);
            tokio::io::copy(&mut from, &mut to).await.unwrap();
            to.shutdown().await.unwrap();
        };
        let write = async {
            writer.write_all(&pattern(500_000)).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let mut got = Vec::new();
        join(join(echo, write), reader.read_to_end(&mut got)).await.1.unwrap();
        assert!(got == pattern(500_000));
        let whole = reader.into_inner().reunite(writer.into_inner()).unwrap();
        whole.close().await.map_err(|error| error.error).unwrap();
    });
}

fn the_adapter_of_a_write_half_ends_the_direction_behind_what_it_accepted<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, b) = UnixStream::pair(&ring).unwrap();
        let (reader, writer) = a.into_split();
        let mut writer = AsyncStream::with_capacities(1, 1 << 20, writer);
        let sent = pattern(4 << 20);
        let mut accepted = 0;
        // The second of them is in no kernel yet.
        while let Poll::Ready(count) = try_write(&mut writer, &sent[accepted..]) {
            accepted += count.unwrap();
        }
        assert!(accepted > 1 << 20, "{accepted}");
        drop(writer);
        let mut got = Vec::new();
        b.into_io().read_to_end(&mut got).await.unwrap();
        assert!(got == sent[..accepted]);
        reader.as_ref().settle().await.unwrap();
    });
}

fn a_write_half_that_leaves_its_adapter_ends_nothing<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, b) = UnixStream::pair(&ring).unwrap();
        let (_reader, writer) = a.into_split();
        let mut writer = writer.into_io();
        writer.write_all(b"one ").await.unwrap();
        let writer = writer.into_inner();
        writer.write_all(b"two").await.unwrap();
        assert_eq!(b.read_exact(vec![0; 7]).await.unwrap(), b"one two");
        // The half that came back is as good as the first.
        drop(writer.into_io());
        assert_eq!(b.read(vec![0; 1]).await.unwrap().0, 0);
    });
}

fn a_pipe_is_written_and_read<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (reader, writer) = pipe::pipe(&ring).await.unwrap();
        let (mut reader, mut writer) = (reader.into_io(), writer.into_io());
        writer.write_all(b"one\ntwo").await.unwrap();
        // A pipe has no end but the last writer's.
        writer.shutdown().await.unwrap();
        let mut line = String::new();
        reader.read_line(&mut line).await.unwrap();
        assert_eq!(line, "one\n");
        drop(writer);
        line.clear();
        reader.read_to_string(&mut line).await.unwrap();
        assert_eq!(line, "two");
        let (reader, writer) = pipe::pipe(&ring).await.unwrap();
        drop(reader);
        let mut writer = writer.into_io();
        let told = match writer.write_all(b"nobody").await {
            Ok(()) => writer.flush().await,
            told => told,
        };
        assert_eq!(told.unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

/// A pipe takes a part of a write, which the ring continues without a call of the adapter.
fn a_full_pipe_gets_everything_in_order<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (reader, writer) = pipe::pipe(&ring).await.unwrap();
        let mut writer = AsyncStream::with_capacities(1, 50_000, writer);
        let sent = pattern(400_000);
        let mut accepted = 0;
        for _ in 0..20 {
            while let Poll::Ready(count) = try_write(&mut writer, &sent[accepted..]) {
                accepted += count.unwrap();
            }
            ring.nop().await.unwrap();
        }
        assert!(accepted > 65_536 && accepted < 200_000, "{accepted}");
        let got = reader.read_exact(vec![0; accepted]).await.unwrap();
        assert!(got == sent[..accepted]);
        drop(writer);
        assert_eq!(reader.read(vec![0; 10]).await.unwrap().0, 0);
    });
}

fn a_late_error_is_told_once_and_nothing_follows_the_hole<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (mut near, far) = beside_std(&ring, 100_000);
        let sent = pattern(1 << 20).repeat(8);
        fill(&ring, &mut near, &sent).await;
        drop(far);
        settled(&ring).await;
        let error = near.flush().await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPIPE), "{error}");
        near.flush().await.unwrap();
        // What is new fails for itself.
        let told = match near.write_all(b"more").await {
            Ok(()) => near.flush().await,
            told => told,
        };
        assert_eq!(told.unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

fn a_late_error_is_told_by_a_shutdown<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (mut near, far) = beside_std(&ring, 100_000);
        fill(&ring, &mut near, &pattern(1 << 20).repeat(8)).await;
        drop(far);
        let error = near.shutdown().await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPIPE), "{error}");
        near.shutdown().await.unwrap();
    });
}

fn writing_is_bounded_by_two_buffers<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, far) = UnixStream::pair(&ring).unwrap();
        let mut near = AsyncStream::with_capacities(10, 10, near);
        // The socket is full first.
        while ring.send_with(near.get_ref().fd(), vec![0; 4096], 0x40).await.is_ok() {}
        while ring.send_with(near.get_ref().fd(), vec![0; 1], 0x40).await.is_ok() {}
        let mut accepted = 0;
        while let Poll::Ready(count) = try_write(&mut near, &[1; 7]) {
            let count = count.unwrap();
            accepted += count;
            assert!(accepted <= 20, "a write is one buffer, and there are two");
        }
        assert_eq!(accepted, 14);
        let mut far = far.into_io();
        let drained = async {
            let mut got = Vec::new();
            while got.last() != Some(&9) {
                far.read_buf(&mut got).await.unwrap();
            }
            got.iter().filter(|byte| **byte == 1).count()
        };
        let (written, ones) = join(near.write_all(&[9]), drained).await;
        written.unwrap();
        assert_eq!(ones, 14);
    });
}

fn dropping_closes_after_what_was_accepted<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (mut near, mut far) = beside_std(&ring, 100_000);
        let sent = pattern(1 << 20).repeat(8);
        let accepted = fill(&ring, &mut near, &sent).await;
        drop(near);
        let reader = std::thread::spawn(move || {
            let mut got = Vec::new();
            far.read_to_end(&mut got).unwrap();
            got
        });
        until(&ring, "the peer has seen the end", || reader.is_finished()).await;
        let got = reader.join().unwrap();
        assert!(got == sent[..accepted], "{} of {accepted}", got.len());
    });
}

fn a_flush_and_a_shutdown_wait_for_the_kernel_to_take_all<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (mut near, far) = beside_std(&ring, 100_000);
        let sent = pattern(1 << 20).repeat(8);
        let accepted = fill(&ring, &mut near, &sent).await;
        for _ in 0..20 {
            let cx = &mut Context::from_waker(Waker::noop());
            assert!(Pin::new(&mut near).poll_flush(cx).is_pending());
            assert!(Pin::new(&mut near).poll_shutdown(cx).is_pending());
            ring.nop().await.unwrap();
        }
        let mut far = UnixStream::from_std(&ring, far).into_io();
        let mut got = Vec::new();
        let (ended, _) = join(near.shutdown(), far.read_to_end(&mut got)).await;
        ended.unwrap();
        assert!(got == sent[..accepted]);
    });
}

fn the_buffer_grows_while_reads_fill_it<E: Exec>() {
    // Without multishot receives.
    with_built::<E>(Ring::builder().entries(8).restricted(true), async |ring| {
        let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut near = UnixStream::from_std(&ring, near).into_io();
        let mut sizes = Vec::new();
        far.write_all(&pattern(150_000)).unwrap();
        while sizes.iter().sum::<usize>() < 150_000 {
            let size = near.fill_buf().await.unwrap().len();
            near.consume(size);
            sizes.push(size);
        }
        assert_eq!(sizes[0], 8192);
        assert!(sizes.iter().all(|size| *size <= 65_536) && sizes.contains(&32_768), "{sizes:?}");
    });
}

fn the_capacity_bounds_the_buffer_of_the_adapter_and_not_the_rings<E: Exec>() {
    for restricted in [false, true] {
        with_built::<E>(Ring::builder().entries(8).restricted(restricted), async |ring| {
            let (mut near, mut far) = beside_std(&ring, 10);
            far.write_all(&pattern(100)).unwrap();
            let kernel_picks = ring.features().has_multishot_receive() && !restricted;
            let size = near.fill_buf().await.unwrap().len();
            assert_eq!(size, if kernel_picks { 100 } else { 10 });
            // A pipe has no other buffer than the adapter's.
            let (reader, writer) = pipe::pipe(&ring).await.unwrap();
            writer.write_all(pattern(100)).await.unwrap();
            let mut reader = AsyncStream::with_capacities(10, 10, reader);
            assert_eq!(reader.fill_buf().await.unwrap().len(), 10);
        });
    }
}
