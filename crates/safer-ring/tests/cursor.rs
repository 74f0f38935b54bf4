//! The cursor of a file: where it is, how it is moved, and what dropped operations mean for it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::io::{ErrorKind, SeekFrom, Write as _};

use common::net::poll_once;
use common::{Exec, content, everywhere, file_with, pattern, with_ring};
use safer_ring::fs::File;
use safer_ring::{Fd, SpliceFlags};

everywhere! {
    the_cursor_moves_as_that_of_std,
    bytes_of_a_dropped_read_count_as_not_read,
    a_seek_drops_what_was_kept,
    a_seek_that_fails_changes_nothing,
    the_end_seen_by_a_dropped_read_is_forgotten_by_a_seek,
    a_seek_waits_for_dropped_writes,
    a_pipe_has_no_cursor_and_keeps_its_bytes,
    the_offset_that_means_the_cursor_is_refused,
}

fn the_cursor_moves_as_that_of_std<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = File::from_fd(&ring, file_with(&pattern(100)));
        let places = [
            SeekFrom::Start(10),
            SeekFrom::Current(5),
            SeekFrom::Current(-15),
            SeekFrom::End(-1),
            SeekFrom::End(50),
            SeekFrom::Start(99),
        ];
        let mut std = tempfile::tempfile().unwrap();
        std.write_all(&pattern(100)).unwrap();
        std::io::Seek::rewind(&mut std).unwrap();
        for place in places {
            let there = file.seek(place).await.unwrap();
            assert_eq!(there, std::io::Seek::seek(&mut std, place).unwrap());
            assert_eq!(file.stream_position().await.unwrap(), there);
        }
        assert_eq!(file.read(vec![0; 10]).await.unwrap().1, &pattern(100)[99..]);
        file.rewind().await.unwrap();
        assert_eq!(file.read_exact(vec![0; 3]).await.unwrap(), &pattern(3)[..]);
        assert_eq!(file.stream_position().await.unwrap(), 3);
    });
}

fn bytes_of_a_dropped_read_count_as_not_read<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = File::from_fd(&ring, file_with(&pattern(100)));
        for round in 0..20 {
            file.rewind().await.unwrap();
            // Where the file is in memory it may be done at once.
            let mut begin = 0;
            let mut read = file.read(vec![0; 30]);
            if poll_once(&mut read).is_ready() {
                begin = 30;
            }
            drop(read);
            file.fd().unread(Vec::new());
            assert_eq!(file.stream_position().await.unwrap(), begin, "round {round}");
            let place = file.seek(SeekFrom::Current(7)).await.unwrap();
            assert_eq!(place, begin + 7);
            let at = usize::try_from(place).unwrap();
            assert_eq!(file.read(vec![0; 5]).await.unwrap().1, &pattern(100)[at..at + 5]);
        }
        // The same, certain to have kept something.
        let bytes = file.seek(SeekFrom::Start(20)).await.unwrap();
        let read = file.read_exact(vec![0; 30]).await.unwrap();
        file.fd().unread(read);
        assert_eq!(file.stream_position().await.unwrap(), bytes);
        assert_eq!(file.read(vec![0; 10]).await.unwrap().1, &pattern(100)[20..30]);
        assert_eq!(file.stream_position().await.unwrap(), 30);
        assert_eq!(file.seek(SeekFrom::Current(-5)).await.unwrap(), 25);
        assert_eq!(file.read(vec![0; 10]).await.unwrap().1, &pattern(100)[25..35]);
    });
}

fn a_seek_drops_what_was_kept<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = File::from_fd(&ring, file_with(&pattern(100)));
        for place in [SeekFrom::Start(40), SeekFrom::End(-60), SeekFrom::Current(40)] {
            file.rewind().await.unwrap();
            let read = file.read_exact(vec![0; 10]).await.unwrap();
            file.fd().unread(read);
            assert_eq!(file.seek(place).await.unwrap(), 40);
            assert_eq!(file.fd().kept_bytes(), 0);
            assert_eq!(file.read(vec![0; 10]).await.unwrap().1, &pattern(100)[40..50]);
        }
    });
}

fn a_seek_that_fails_changes_nothing<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = File::from_fd(&ring, file_with(&pattern(100)));
        let read = file.read_exact(vec![0; 10]).await.unwrap();
        file.fd().unread(read);
        for place in [SeekFrom::Current(-1), SeekFrom::End(-101), SeekFrom::Start(u64::MAX)] {
            let error = file.seek(place).await.unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{place:?}");
        }
        assert_eq!(file.stream_position().await.unwrap(), 0);
        assert_eq!(file.read_exact(vec![0; 20]).await.unwrap(), &pattern(100)[..20]);
    });
}

fn the_end_seen_by_a_dropped_read_is_forgotten_by_a_seek<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = File::from_fd(&ring, file_with(b"content"));
        for _ in 0..20 {
            file.seek(SeekFrom::End(0)).await.unwrap();
            let _ = poll_once(&mut file.read(vec![0; 10]));
            file.rewind().await.unwrap();
            assert_eq!(file.read(vec![0; 10]).await.unwrap().1, b"content");
        }
    });
}

fn a_seek_waits_for_dropped_writes<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = File::from_fd(&ring, file_with(b""));
        for round in 1..=5 {
            let _ = poll_once(&mut file.write(vec![1; 1_000_000]));
            let end = round * 1_000_000;
            assert_eq!(file.seek(SeekFrom::Current(-2)).await.unwrap(), end - 2);
            assert_eq!(file.seek(SeekFrom::Current(2)).await.unwrap(), end);
        }
        assert!(content(file.fd()) == [1; 5_000_000]);
    });
}

fn a_pipe_has_no_cursor_and_keeps_its_bytes<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, mut far) = std::io::pipe().unwrap();
        let file = File::from_fd(&ring, Fd::new(near));
        assert!(poll_once(&mut file.read(vec![0; 10])).is_pending());
        far.write_all(b"kept").unwrap();
        for place in [SeekFrom::Start(0), SeekFrom::Current(0), SeekFrom::End(0)] {
            let error = file.seek(place).await.unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ESPIPE));
        }
        assert_eq!(file.stream_position().await.unwrap_err().raw_os_error(), Some(libc::ESPIPE));
        assert_eq!(file.read(vec![0; 10]).await.unwrap().1, b"kept");
    });
}

fn the_offset_that_means_the_cursor_is_refused<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let fd = file_with(b"content");
        let submitted = ring.snapshot().submitted;
        let error = ring.read_at_owned(&fd, b"read".to_vec(), u64::MAX).await.unwrap_err();
        assert_eq!((error.kind(), &error.buffer[..]), (ErrorKind::InvalidInput, &b"read"[..]));
        let error = ring.write_at_owned(&fd, "write", u64::MAX).await.unwrap_err();
        assert_eq!((error.kind(), error.buffer), (ErrorKind::InvalidInput, "write"));
        let error = ring.read_vectored_at(&fd, vec![vec![1]], u64::MAX).await.unwrap_err();
        assert_eq!((error.kind(), error.buffer), (ErrorKind::InvalidInput, vec![vec![1]]));
        let error = ring.write_vectored_at(&fd, vec!["a", "b"], u64::MAX).await.unwrap_err();
        assert_eq!((error.kind(), error.buffer), (ErrorKind::InvalidInput, vec!["a", "b"]));
        let mut batch = ring.batch();
        let read = batch.read_at(&fd, b"read".to_vec(), u64::MAX);
        let write = batch.write_at(&fd, "write", u64::MAX);
        batch.submit().await;
        let error = read.await.unwrap_err();
        assert_eq!((error.kind(), &error.buffer[..]), (ErrorKind::InvalidInput, &b"read"[..]));
        let error = write.await.unwrap_err();
        assert_eq!((error.kind(), error.buffer), (ErrorKind::InvalidInput, "write"));
        let (_reader, writer) = std::io::pipe().unwrap();
        let splice = ring.splice(&fd, Some(u64::MAX), &Fd::new(writer), None, 7, SpliceFlags::NONE);
        assert_eq!(splice.await.unwrap_err().kind(), ErrorKind::InvalidInput);
        // The plain ones are refused by the kernel, the others before it. The cursor has not moved in any case.
        assert_eq!(ring.snapshot().submitted, submitted + 4);
        assert_eq!(ring.read_owned(&fd, vec![0; 10]).await.unwrap().1, b"content");
        let error = ring.read_at_owned(&fd, vec![0; 1], u64::MAX - 1).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "the kernel's own answer");
    });
}
