//! Pipes, splice and tee, on a real kernel.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]

mod common;

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::Duration;

use common::{
    Exec, everywhere, file_with, must_fail, must_fail_plainly, of_the_kernel, pattern, with_built,
    with_ring,
};
use futures_util::{join, poll};
use safer_ring::{Fd, Mode, PipeOptions, RingOf, SpliceFlags, sys::opcode};

everywhere!(
    a_pipe_carries_bytes,
    a_pipe_without_an_opcode_carries_bytes,
    both_ends_close_on_exec,
    a_pipe_of_packets_keeps_them_apart,
    a_closed_pipe_ends_reads_and_fails_writes,
    each_end_refuses_the_other_direction,
    a_large_write_is_finished_by_many_reads,
    positional_operations_on_a_pipe_ignore_the_offset,
    non_blocking_pipes_wait_all_the_same,
    a_full_non_blocking_pipe_takes_the_rest_later,
    a_dropped_pipe_operation_closes_both_ends,
    splice_moves_from_a_file_into_a_pipe_and_back,
    splice_without_a_pipe_fails,
    splice_with_an_offset_on_a_pipe_fails,
    splice_at_the_end_moves_nothing,
    tee_duplicates_without_consuming,
    tee_of_something_else_fails,
);

async fn pipe<M: Mode>(ring: &RingOf<M>) -> (Fd<M>, Fd<M>) {
    ring.pipe(PipeOptions::Stream).await.unwrap()
}

/// A flag word of fcntl(2).
fn flags<M: Mode>(fd: &Fd<M>, command: i32) -> i32 {
    // SAFETY: fcntl(2) on an open descriptor, without a pointer.
    unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), command) }
}

fn set_non_blocking<M: Mode>(fd: &Fd<M>) {
    let with = flags(fd, libc::F_GETFL) | libc::O_NONBLOCK;
    // SAFETY: as above, with a number.
    let set = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_SETFL, with) };
    assert_eq!(set, 0);
}

async fn carry<M: Mode>(ring: &RingOf<M>) {
    let (reader, writer) = pipe(ring).await;
    let (n, sent) = ring.write_owned(&writer, b"through".to_vec()).await.unwrap();
    assert_eq!((n, &sent[..]), (7, &b"through"[..]));
    let (n, received) = ring.read_owned(&reader, Vec::with_capacity(100)).await.unwrap();
    assert_eq!((n, &received[..]), (7, &b"through"[..]));
    // A read that comes first waits.
    let read = ring.read_owned(&reader, received);
    let (read, write) = join!(read, ring.write_owned(&writer, "later"));
    write.unwrap();
    assert_eq!(read.unwrap().1, b"later");
}

fn a_pipe_carries_bytes<E: Exec>() {
    with_ring::<E>(8, async |ring| carry(&ring).await);
}

fn a_pipe_without_an_opcode_carries_bytes<E: Exec>() {
    with_built::<E>(of_the_kernel().entries(8).without_opcodes(&[opcode::PIPE]), async |ring| {
        carry(&ring).await;
        assert_eq!(ring.snapshot().plain_calls, 1);
        let (reader, _writer) = ring.pipe(PipeOptions::Packets).await.unwrap();
        assert_eq!(flags(&reader, libc::F_GETFD), libc::FD_CLOEXEC);
    });
}

fn both_ends_close_on_exec<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (reader, writer) = pipe(&ring).await;
        assert_eq!(flags(&reader, libc::F_GETFD), libc::FD_CLOEXEC);
        assert_eq!(flags(&writer, libc::F_GETFD), libc::FD_CLOEXEC);
        assert_eq!(flags(&reader, libc::F_GETFL) & libc::O_NONBLOCK, 0);
    });
}

fn a_pipe_of_packets_keeps_them_apart<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (reader, writer) = ring.pipe(PipeOptions::Packets).await.unwrap();
        ring.write_owned(&writer, "one").await.unwrap();
        ring.write_owned(&writer, "three").await.unwrap();
        let (_, packet) = ring.read_owned(&reader, Vec::with_capacity(100)).await.unwrap();
        assert_eq!(packet, b"one");
        let (_, packet) = ring.read_owned(&reader, Vec::with_capacity(2)).await.unwrap();
        assert_eq!(packet, b"th", "the rest of a packet is lost");
        ring.write_owned(&writer, "4").await.unwrap();
        let (_, packet) = ring.read_owned(&reader, Vec::with_capacity(9)).await.unwrap();
        assert_eq!(packet, b"4");
    });
}

fn a_closed_pipe_ends_reads_and_fails_writes<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (reader, writer) = pipe(&ring).await;
        ring.write_owned(&writer, "last").await.unwrap();
        ring.close(writer).await.unwrap();
        let (_, rest) = ring.read_owned(&reader, Vec::with_capacity(10)).await.unwrap();
        assert_eq!(rest, b"last");
        let (n, rest) = ring.read_owned(&reader, rest).await.unwrap();
        assert_eq!((n, rest.len()), (0, 0));
        let (reader, writer) = pipe(&ring).await;
        // A read that waits sees the end as well.
        let mut read = ring.read_owned(&reader, vec![7; 4]);
        assert!(poll!(&mut read).is_pending());
        drop(writer);
        assert_eq!(read.await.unwrap().0, 0);
        let (reader, writer) = pipe(&ring).await;
        drop(reader);
        let back = must_fail(ring.write_owned(&writer, b"lost".to_vec()).await, libc::EPIPE);
        assert_eq!(back, b"lost");
    });
}

fn each_end_refuses_the_other_direction<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (reader, writer) = pipe(&ring).await;
        let back = must_fail(ring.write_owned(&reader, b"kept".to_vec()).await, libc::EBADF);
        assert_eq!(must_fail(ring.read_owned(&writer, back).await, libc::EBADF), b"kept");
    });
}

fn a_large_write_is_finished_by_many_reads<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (reader, writer) = pipe(&ring).await;
        let data = pattern(1 << 20);
        let send = async {
            let mut sent = 0;
            let mut rest = data.clone();
            while sent < data.len() {
                let (n, mut back) = ring.write_owned(&writer, rest).await.unwrap();
                assert!(n > 0);
                sent += n;
                rest = back.split_off(n);
            }
        };
        let receive = async {
            let mut all = Vec::new();
            let mut buffer = Vec::with_capacity(10_000);
            while all.len() < data.len() {
                (_, buffer) = ring.read_owned(&reader, buffer).await.unwrap();
                all.extend_from_slice(&buffer);
            }
            all
        };
        let ((), all) = join!(send, receive);
        assert!(all == data, "the bytes arrive in order");
    });
}

fn positional_operations_on_a_pipe_ignore_the_offset<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (reader, writer) = pipe(&ring).await;
        ring.write_at_owned(&writer, "bytes", 1 << 40).await.unwrap();
        let (_, read) = ring.read_at_owned(&reader, Vec::with_capacity(9), 77).await.unwrap();
        assert_eq!(read, b"bytes");
    });
}

fn non_blocking_pipes_wait_all_the_same<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (reader, writer) = pipe(&ring).await;
        set_non_blocking(&reader);
        set_non_blocking(&writer);
        for _ in 0..50 {
            let mut read = ring.read_owned(&reader, vec![0; 9]);
            assert!(poll!(&mut read).is_pending());
            ring.nop().await.unwrap();
            assert!(poll!(&mut read).is_pending(), "EAGAIN does not surface");
            ring.write_owned(&writer, "bytes").await.unwrap();
            assert_eq!(read.await.unwrap().1, b"bytes");
        }
        let mut read = ring.read_vectored(&reader, vec![vec![0; 9]]);
        assert!(poll!(&mut read).is_pending());
        ring.write_vectored(&writer, vec!["by", "tes"]).await.unwrap();
        assert_eq!(read.await.unwrap().1, [b"bytes"]);
    });
}

fn a_full_non_blocking_pipe_takes_the_rest_later<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (reader, writer) = pipe(&ring).await;
        set_non_blocking(&writer);
        let size = rustix::pipe::fcntl_getpipe_size(&writer).unwrap();
        // In one write or in several: older kernels take a page at a time.
        let mut n = 0;
        while n < size {
            n += ring.write_owned(&writer, vec![1; size - n]).await.unwrap().0;
        }
        let mut write = ring.write_owned(&writer, b"more".to_vec());
        let polled = poll!(&mut write);
        assert!(polled.is_pending(), "{polled:?} behind {n} bytes");
        ring.timeout(Duration::from_millis(1)).await.unwrap();
        assert!(poll!(&mut write).is_pending());
        let (taken, _) = ring.read_owned(&reader, vec![0; 1 << 20]).await.unwrap();
        assert_eq!(taken, n);
        assert_eq!(write.await.unwrap(), (4, b"more".to_vec()));
    });
}

fn a_dropped_pipe_operation_closes_both_ends<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        drop(ring.pipe(PipeOptions::Stream));
        let mut batch = ring.batch();
        let made = batch.add(ring.pipe(PipeOptions::Stream));
        batch.submit().await;
        assert_eq!(ring.snapshot().adopted_fds, 0);
        drop(made);
        assert_eq!(ring.snapshot().adopted_fds, 2, "both ends were closed and counted");
    });
}

fn splice_moves_from_a_file_into_a_pipe_and_back<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (reader, writer) = pipe(&ring).await;
        let from = file_with(b"0123456789");
        let none = SpliceFlags::NONE;
        let n = ring.splice(&from, Some(2), &writer, None, 4, none).await.unwrap();
        assert_eq!(n, 4);
        let n = ring.splice(&from, None, &writer, None, 3, SpliceFlags::MOVE).await.unwrap();
        assert_eq!(n, 3, "the cursor did not move before");
        let n = ring.splice(&from, None, &writer, None, 3, SpliceFlags::MORE).await.unwrap();
        assert_eq!(n, 3);
        let to = file_with(b"");
        let n = ring.splice(&reader, None, &to, Some(1), 100, none).await.unwrap();
        assert_eq!(n, 10);
        let (_, content) = ring.read_at_owned(&to, Vec::with_capacity(20), 0).await.unwrap();
        assert_eq!(content, b"\x002345012345");
        // Between two pipes, into one that is read at the same time.
        let (second_reader, second_writer) = pipe(&ring).await;
        ring.write_owned(&writer, "piped").await.unwrap();
        let splice = ring.splice(&reader, None, &second_writer, None, 5, none);
        let read = ring.read_owned(&second_reader, Vec::with_capacity(5));
        let (splice, read) = join!(splice, read);
        assert_eq!((splice.unwrap(), read.unwrap().1), (5, b"piped".to_vec()));
    });
}

fn splice_without_a_pipe_fails<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (from, to) = (file_with(b"content"), file_with(b""));
        let none = SpliceFlags::NONE;
        let spliced = ring.splice(&from, Some(0), &to, Some(0), 4, none).await;
        must_fail_plainly(spliced, libc::EINVAL);
        let (reader, writer) = pipe(&ring).await;
        let wrong_end = ring.splice(&from, Some(0), &reader, None, 4, none).await;
        must_fail_plainly(wrong_end, libc::EBADF);
        drop(writer);
    });
}

fn splice_with_an_offset_on_a_pipe_fails<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (_reader, writer) = pipe(&ring).await;
        let from = file_with(b"content");
        let spliced = ring.splice(&from, Some(0), &writer, Some(1), 4, SpliceFlags::NONE).await;
        must_fail_plainly(spliced, libc::ESPIPE);
    });
}

fn splice_at_the_end_moves_nothing<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (reader, writer) = pipe(&ring).await;
        let from = file_with(b"content");
        let none = SpliceFlags::NONE;
        assert_eq!(ring.splice(&from, Some(7), &writer, None, 4, none).await.unwrap(), 0);
        assert_eq!(ring.splice(&from, Some(5), &writer, None, u32::MAX, none).await.unwrap(), 2);
        assert_eq!(ring.splice(&from, Some(5), &writer, None, 0, none).await.unwrap(), 0);
        drop(writer);
        let to = file_with(b"");
        assert_eq!(ring.splice(&reader, None, &to, None, 100, none).await.unwrap(), 2);
        assert_eq!(ring.splice(&reader, None, &to, None, 100, none).await.unwrap(), 0);
    });
}

fn tee_duplicates_without_consuming<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (reader, writer) = pipe(&ring).await;
        let (second_reader, second_writer) = pipe(&ring).await;
        ring.write_owned(&writer, "twice").await.unwrap();
        assert_eq!(ring.tee(&reader, &second_writer, 100).await.unwrap(), 5);
        let (_, first) = ring.read_owned(&reader, Vec::with_capacity(9)).await.unwrap();
        let (_, second) = ring.read_owned(&second_reader, Vec::with_capacity(9)).await.unwrap();
        assert_eq!((&first[..], &second[..]), (&b"twice"[..], &b"twice"[..]));
        drop(writer);
        assert_eq!(ring.tee(&reader, &second_writer, 100).await.unwrap(), 0, "the end");
    });
}

fn tee_of_something_else_fails<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (_reader, writer) = pipe(&ring).await;
        let file = file_with(b"content");
        must_fail_plainly(ring.tee(&file, &writer, 4).await, libc::EINVAL);
    });
}
