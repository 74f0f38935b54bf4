//! Vectored reads and writes, on a real kernel.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]

mod common;

use std::fs::File;
use std::io::Seek as _;
use std::os::fd::OwnedFd;

use common::{Exec, content, everywhere, file_with, must_fail, pattern, with_ring};
use safer_ring::{BufferPool, Fd, IoBuf as _, Mode, OwnedBuffer};

everywhere!(
    vectored_reads_and_writes_keep_the_order,
    a_short_vectored_read_fills_the_front_only,
    boxes_keep_their_length_when_a_read_does_not_reach_them,
    failed_vectored_operations_return_every_buffer,
    too_many_buffers_are_refused_and_come_back,
    as_many_buffers_as_are_allowed_work,
    no_buffers_move_no_bytes,
    vectored_operations_work_on_pipes,
    slices_and_pooled_buffers_can_be_vectored,
    a_dropped_vectored_read_gives_its_buffers_back_to_the_pool,
    more_than_two_gib_in_a_vector_are_cut,
);

fn pipe<M: Mode>() -> (Fd<M>, Fd<M>) {
    let (reader, writer) = std::io::pipe().unwrap();
    (Fd::new(OwnedFd::from(reader)), Fd::new(OwnedFd::from(writer)))
}

fn vectored_reads_and_writes_keep_the_order<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = file_with(b"");
        let parts = vec![b"one".to_vec(), Vec::new(), b"two".to_vec(), b"three".to_vec()];
        let (n, parts) = ring.write_vectored_at(&file, parts, 2).await.unwrap();
        assert_eq!(n, 11);
        assert_eq!(parts, [&b"one"[..], b"", b"two", b"three"]);
        assert_eq!(content(&file), b"\0\0onetwothree");
        let room = vec![Vec::with_capacity(4), Vec::with_capacity(1), Vec::with_capacity(100)];
        let (n, read) = ring.read_vectored_at(&file, room, 2).await.unwrap();
        assert_eq!(n, 11);
        assert_eq!(read, [&b"onet"[..], b"w", b"othree"]);
        // At the cursor: each goes on where the last one stopped.
        File::from(file.duplicate().unwrap()).rewind().unwrap();
        let (n, read) = ring.read_vectored(&file, vec![vec![9; 2], vec![9; 3]]).await.unwrap();
        assert_eq!((n, &read[0][..], &read[1][..]), (5, &b"\0\0"[..], &b"one"[..]));
        let (n, _) = ring.write_vectored(&file, vec!["T", "WO"]).await.unwrap();
        assert_eq!(n, 3);
        assert_eq!(content(&file), b"\0\0oneTWOthree");
    });
}

fn a_short_vectored_read_fills_the_front_only<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = file_with(b"12345");
        let room = vec![vec![9; 3], vec![9; 3], vec![9; 3]];
        let (n, read) = ring.read_vectored_at(&file, room, 0).await.unwrap();
        assert_eq!(n, 5);
        assert_eq!(read, [&b"123"[..], b"45", b""], "unreached buffers are empty");
        let (n, read) = ring.read_vectored_at(&file, read, 5).await.unwrap();
        assert_eq!((n, read.iter().map(Vec::len).sum::<usize>()), (0, 0));
    });
}

fn boxes_keep_their_length_when_a_read_does_not_reach_them<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = file_with(b"12345");
        let room: Vec<Box<[u8]>> = vec![Box::from([9; 3]), Box::from([9; 3]), Box::from([9; 3])];
        let (n, read) = ring.read_vectored_at(&file, room, 0).await.unwrap();
        assert_eq!(n, 5);
        assert_eq!(
            (&read[0][..], &read[1][..], &read[2][..]),
            (&b"123"[..], &b"45\x09"[..], &[9; 3][..])
        );
    });
}

fn failed_vectored_operations_return_every_buffer<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (reader, writer) = pipe();
        let parts = vec![b"one".to_vec(), b"two".to_vec()];
        let parts = must_fail(ring.write_vectored(&reader, parts).await, libc::EBADF);
        assert_eq!(parts, [b"one", b"two"]);
        let parts = must_fail(ring.read_vectored(&writer, parts).await, libc::EBADF);
        assert_eq!(parts, [b"one", b"two"], "a failed read changes no length");
        drop(reader);
        let parts = must_fail(ring.write_vectored(&writer, parts).await, libc::EPIPE);
        assert_eq!(parts, [b"one", b"two"]);
    });
}

fn too_many_buffers_are_refused_and_come_back<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = file_with(b"");
        let error = ring.write_vectored(&file, vec!["x"; 1025]).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        assert!(
            error.to_string().contains("1025") && error.to_string().contains("1024"),
            "{error}"
        );
        assert_eq!(error.into_buffer().len(), 1025);
        let error = ring.read_vectored_at(&file, vec![vec![1]; 1025], 0).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        assert!(error.into_buffer().iter().all(|buffer| buffer == &[1]));
        assert_eq!(content(&file), b"");
    });
}

fn as_many_buffers_as_are_allowed_work<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let data = pattern(1024 * 3);
        let file = file_with(b"");
        let parts: Vec<Vec<u8>> = data.chunks(3).map(<[u8]>::to_vec).collect();
        let (n, parts) = ring.write_vectored(&file, parts).await.unwrap();
        assert_eq!(n, data.len());
        assert_eq!(content(&file), data);
        let room: Vec<Vec<u8>> = parts.into_iter().map(|_| Vec::with_capacity(3)).collect();
        let (n, read) = ring.read_vectored_at(&file, room, 0).await.unwrap();
        assert_eq!(n, data.len());
        assert_eq!(read.concat(), data);
    });
}

fn no_buffers_move_no_bytes<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = file_with(b"content");
        let (n, none) = ring.read_vectored(&file, Vec::<Vec<u8>>::new()).await.unwrap();
        assert_eq!((n, none.len()), (0, 0));
        let (n, none) = ring.write_vectored(&file, Vec::<&'static str>::new()).await.unwrap();
        assert_eq!((n, none.len()), (0, 0));
        let (n, empty) = ring.write_vectored(&file, vec!["", ""]).await.unwrap();
        assert_eq!((n, empty.len()), (0, 2));
        assert_eq!(content(&file), b"content");
    });
}

fn vectored_operations_work_on_pipes<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (reader, writer) = pipe();
        let read = ring.read_vectored(&reader, vec![Vec::with_capacity(2), Vec::with_capacity(9)]);
        let write = ring.write_vectored(&writer, vec!["ab", "cd", "e"]);
        let (read, write) = futures_util::join!(read, write);
        assert_eq!(write.unwrap().0, 5);
        let (n, read) = read.unwrap();
        assert_eq!(n, 5);
        assert_eq!(read, [&b"ab"[..], b"cde"]);
    });
}

fn slices_and_pooled_buffers_can_be_vectored<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = file_with(b"0123456789");
        let slices = vec![vec![b'.'; 5].slice(1..3), vec![b'.'; 5].slice(4..)];
        let (n, slices) = ring.read_vectored_at(&file, slices, 0).await.unwrap();
        assert_eq!(n, 3);
        let whole: Vec<Vec<u8>> = slices.into_iter().map(safer_ring::Slice::into_inner).collect();
        assert_eq!(whole, [b".01..", b"....2"]);
        let pool = BufferPool::new(2, 4);
        let pooled = vec![pool.take().unwrap(), pool.take().unwrap()];
        let (n, pooled) = ring.read_vectored_at(&file, pooled, 0).await.unwrap();
        assert_eq!((n, &pooled[0][..], &pooled[1][..]), (8, &b"0123"[..], &b"4567"[..]));
        let (n, pooled) = ring.write_vectored_at(&file, pooled, 1).await.unwrap();
        assert_eq!(n, 8);
        assert_eq!(content(&file), b"0012345679");
        drop(pooled);
        assert!(pool.take().is_some());
    });
}

fn a_dropped_vectored_read_gives_its_buffers_back_to_the_pool<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (reader, _writer) = pipe();
        let pool = BufferPool::new(2, 64);
        let pooled = vec![pool.take().unwrap(), pool.take().unwrap()];
        let mut read = ring.read_vectored(&reader, pooled);
        assert!(futures_util::poll!(&mut read).is_pending());
        assert!(pool.take().is_none());
        drop(read);
        // It stays armed for the next one. They come back after the kernel's last completion.
        reader.settle().await.unwrap();
        let first = pool.acquire().await;
        let second = pool.acquire().await;
        drop((first, second));
    });
}

fn more_than_two_gib_in_a_vector_are_cut<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let null = Fd::new(File::options().write(true).open("/dev/null").unwrap());
        let parts = vec![OwnedBuffer::new(2 << 30), OwnedBuffer::new(1 << 30)];
        let (n, parts) = ring.write_vectored(&null, parts).await.unwrap();
        assert_eq!((n, parts.len(), parts[1].len()), (0x7fff_f000, 2, 1 << 30));
    });
}
