//! Reads, writes and what else is done to open files, on a real kernel.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]

mod common;

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use common::{
    Exec, content, everywhere, failure, file_with, must_fail, must_fail_plainly, pattern, with_ring,
};
use safer_ring::{
    BufferPool, Failure, FallocateMode, Fd, IoBuf, IoBufMut, Mode, OpenOptions, OwnedBuffer, RingOf,
};

everywhere!(
    read_and_write_return_the_buffer,
    a_failed_read_returns_the_buffer_unchanged,
    a_failed_write_returns_the_buffer_unchanged,
    cursor_operations_move_the_cursor_and_positional_ones_do_not,
    a_read_at_the_end_is_short_and_then_empty,
    a_read_beyond_the_end_gives_nothing_and_an_empty_buffer,
    every_buffer_type_can_be_written,
    every_writable_buffer_type_can_be_read_into,
    a_slice_is_read_into_its_place_and_nowhere_else,
    a_slice_writes_its_own_bytes_only,
    empty_buffers_are_fine,
    appended_writes_ignore_the_offset,
    direct_io_works_with_aligned_buffers,
    direct_io_with_a_wrong_offset_fails_with_the_buffer,
    a_read_of_more_than_two_gib_is_cut_and_gives_what_was_read,
    a_write_of_more_than_two_gib_is_cut_and_says_so,
    a_full_device_fails_the_write_with_the_buffer,
    fsync_and_fdatasync_work_on_files_and_fail_on_pipes,
    fallocate_reserves_keeps_punches_and_zeroes,
    ftruncate_sets_the_length,
    close_reports_and_a_shared_descriptor_is_given_back,
    a_close_that_never_starts_still_closes,
    a_close_left_in_a_dropped_batch_still_closes,
    ring_buffers_are_lent_and_come_back,
    failing_ring_buffer_reads_lose_no_buffer,
    an_operation_keeps_its_file_open,
);

fn read_only<M: Mode>() -> Fd<M> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), b"read only").unwrap();
    Fd::new(File::open(file.path()).unwrap())
}

fn write_only<M: Mode>() -> Fd<M> {
    let file = tempfile::NamedTempFile::new().unwrap();
    Fd::new(File::options().write(true).open(file.path()).unwrap())
}

fn read_and_write_return_the_buffer<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = file_with(b"");
        let data = pattern(10_000);
        let place = data.as_ptr();
        let (n, data) = ring.write_at_owned(&file, data, 0).await.unwrap();
        assert_eq!(n, 10_000);
        assert_eq!(data.as_ptr(), place, "the very same memory comes back");
        assert_eq!(data, pattern(10_000));
        let buffer = Vec::with_capacity(20_000);
        let place = buffer.as_ptr();
        let (n, buffer) = ring.read_at_owned(&file, buffer, 0).await.unwrap();
        assert_eq!((n, buffer.len()), (10_000, 10_000));
        assert_eq!(buffer.as_ptr(), place);
        assert_eq!(buffer, data);
    });
}

fn a_failed_read_returns_the_buffer_unchanged<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let before = b"before".to_vec();
        let file = write_only();
        let buffer = must_fail(ring.read_at_owned(&file, before, 0).await, libc::EBADF);
        assert_eq!(buffer, b"before");
        let buffer = must_fail(ring.read_owned(&file, buffer).await, libc::EBADF);
        assert_eq!(buffer, b"before");
        let directory = Fd::new(File::open("/").unwrap());
        let buffer = must_fail(ring.read_owned(&directory, buffer).await, libc::EISDIR);
        assert_eq!(buffer, b"before");
        let mut owned = OwnedBuffer::with_capacity(64);
        assert_eq!(owned.extend_from_slice(b"owned"), b"owned".len());
        let owned = must_fail(ring.read_owned(&file, owned).await, libc::EBADF);
        assert_eq!((&owned[..], owned.capacity()), (&b"owned"[..], 64));
        let boxed: Box<[u8]> = Box::from(*b"boxed");
        let boxed = must_fail(ring.read_owned(&file, boxed).await, libc::EBADF);
        assert_eq!(&boxed[..], b"boxed");
    });
}

fn a_failed_write_returns_the_buffer_unchanged<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = read_only();
        let back = must_fail(ring.write_owned(&file, b"data".to_vec()).await, libc::EBADF);
        assert_eq!(back, b"data");
        let back = must_fail(ring.write_at_owned(&file, back, 3).await, libc::EBADF);
        assert_eq!(back, b"data");
        let text = String::from("text");
        assert_eq!(must_fail(ring.write_owned(&file, text).await, libc::EBADF), "text");
        let shared: Arc<[u8]> = Arc::from(*b"shared");
        let back = must_fail(ring.write_owned(&file, Arc::clone(&shared)).await, libc::EBADF);
        assert!(Arc::ptr_eq(&back, &shared));
        assert_eq!(content(&file), b"read only");
    });
}

fn cursor_operations_move_the_cursor_and_positional_ones_do_not<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = file_with(b"0123456789");
        let (_, a) = ring.read_owned(&file, Vec::with_capacity(3)).await.unwrap();
        assert_eq!(a, b"012");
        let (_, b) = ring.read_at_owned(&file, Vec::with_capacity(2), 8).await.unwrap();
        assert_eq!(b, b"89");
        ring.write_owned(&file, b"xy".to_vec()).await.unwrap();
        ring.write_at_owned(&file, b"z".to_vec(), 9).await.unwrap();
        let (_, c) = ring.read_owned(&file, Vec::with_capacity(100)).await.unwrap();
        assert_eq!(c, b"5678z");
        assert_eq!(content(&file), b"012xy5678z");
    });
}

fn a_read_at_the_end_is_short_and_then_empty<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = file_with(b"short");
        let (n, buffer) = ring.read_owned(&file, vec![7; 100]).await.unwrap();
        assert_eq!((n, &buffer[..]), (5, &b"short"[..]));
        let (n, buffer) = ring.read_owned(&file, vec![7; 100]).await.unwrap();
        assert_eq!((n, buffer.len()), (0, 0));
    });
}

fn a_read_beyond_the_end_gives_nothing_and_an_empty_buffer<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = file_with(b"short");
        let (n, buffer) = ring.read_at_owned(&file, vec![7; 10], 1 << 40).await.unwrap();
        assert_eq!((n, buffer.len(), buffer.capacity()), (0, 0, 10));
        let back = ring.read_at_owned(&file, buffer, u64::MAX - 1).await;
        assert_eq!(must_fail(back, libc::EINVAL).capacity(), 10, "beyond every file");
    });
}

/// Writes `buffer` to a new file, and gives what is in the file and the buffer that came back.
async fn written<M: Mode, B: IoBuf>(ring: &RingOf<M>, buffer: B) -> (Vec<u8>, B) {
    let file = file_with(b"");
    let len = buffer.len_init();
    let (n, buffer) = ring.write_at_owned(&file, buffer, 0).await.unwrap();
    assert_eq!(n, len);
    (content(&file), buffer)
}

fn every_buffer_type_can_be_written<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        async fn check<M: Mode, B: IoBuf>(ring: &RingOf<M>, buffer: B) {
            let (content, buffer) = written(ring, buffer).await;
            assert_eq!(content, b"content!");
            assert_eq!(buffer.as_init(), b"content!");
        }
        static STATIC: [u8; 8] = *b"content!";
        let ring = &ring;
        check(ring, b"content!".to_vec()).await;
        check(ring, Box::<[u8]>::from(*b"content!")).await;
        check(ring, Box::new(*b"content!")).await;
        check(ring, String::from("content!")).await;
        check(ring, &STATIC).await;
        check(ring, &STATIC[..]).await;
        check(ring, "content!").await;
        check(ring, Arc::<[u8]>::from(*b"content!")).await;
        check(ring, Arc::new(b"content!".to_vec())).await;
        check(ring, Bytes::from_static(b"content!")).await;
        check(ring, BytesMut::from(&b"content!"[..])).await;
        let mut owned = OwnedBuffer::with_capacity(100);
        assert_eq!(owned.extend_from_slice(b"content!"), b"content!".len());
        check(ring, owned).await;
        let mut aligned = OwnedBuffer::aligned_with_capacity(100, 4096).unwrap();
        assert_eq!(aligned.extend_from_slice(b"content!"), b"content!".len());
        check(ring, aligned).await;
        let pool = BufferPool::new(1, 64);
        let mut pooled = pool.take().unwrap();
        pooled.clear();
        assert_eq!(pooled.extend_from_slice(b"content!"), b"content!".len());
        check(ring, pooled).await;
        assert!(pool.take().is_some(), "the pool has its buffer again");
        check(ring, b"<<content!>>".to_vec().slice(2..10)).await;
        check(ring, b"<<content!>>".to_vec().slice(1..).slice(1..9)).await;
    });
}

fn every_writable_buffer_type_can_be_read_into<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        async fn check<M: Mode, B: IoBufMut>(ring: &RingOf<M>, buffer: B) -> B {
            let file = file_with(b"content!");
            let (n, buffer) = ring.read_owned(&file, buffer).await.unwrap();
            assert_eq!(n, 8);
            assert_eq!(&buffer.as_init()[..8], b"content!");
            buffer
        }
        let ring = &ring;
        assert_eq!(check(ring, Vec::with_capacity(20)).await.len(), 8);
        assert_eq!(check(ring, vec![9; 20]).await.len(), 8, "a longer vector becomes shorter");
        let boxed: Box<[u8]> = Box::from([9; 12]);
        assert_eq!(&check(ring, boxed).await[..], b"content!\x09\x09\x09\x09");
        assert_eq!(&check(ring, Box::new([9; 9])).await[..], b"content!\x09");
        assert_eq!(check(ring, OwnedBuffer::with_capacity(10)).await.len(), 8);
        assert_eq!(check(ring, OwnedBuffer::new(10)).await.len(), 8);
        assert_eq!(check(ring, OwnedBuffer::aligned(4096, 512).unwrap()).await.align(), 512);
        assert_eq!(check(ring, BytesMut::with_capacity(30)).await.len(), 8);
        let pool = BufferPool::new(1, 64);
        let pooled = check(ring, pool.take().unwrap()).await;
        assert_eq!(&pooled[..], b"content!");
        assert!(pool.take().is_none());
        drop(pooled);
        assert!(pool.take().is_some());
    });
}

fn a_slice_is_read_into_its_place_and_nowhere_else<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = file_with(b"content!");
        let buffer = vec![b'.'; 10].slice(2..7);
        let (n, buffer) = ring.read_at_owned(&file, buffer, 0).await.unwrap();
        assert_eq!(n, 5);
        assert_eq!(buffer.into_inner(), b"..conte...");
        let buffer = vec![b'.'; 10].slice(4..);
        let (n, buffer) = ring.read_at_owned(&file, buffer, 6).await.unwrap();
        assert_eq!(n, 2);
        assert_eq!(buffer.into_inner(), b"....t!....");
        let back = ring.read_owned(&write_only(), vec![b'.'; 10].slice(4..8)).await;
        assert_eq!(must_fail(back, libc::EBADF).into_inner(), [b'.'; 10]);
    });
}

fn a_slice_writes_its_own_bytes_only<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = file_with(b"");
        let slice = b"0123456789".to_vec().slice(3..6);
        let (n, slice) = ring.write_owned(&file, slice).await.unwrap();
        assert_eq!(n, 3);
        assert_eq!(slice.into_inner(), b"0123456789");
        assert_eq!(content(&file), b"345");
    });
}

fn empty_buffers_are_fine<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = file_with(b"content");
        assert_eq!(ring.read_owned(&file, Vec::new()).await.unwrap().0, 0);
        assert_eq!(ring.write_owned(&file, Vec::new()).await.unwrap().0, 0);
        assert_eq!(ring.write_owned(&file, "").await.unwrap().0, 0);
        assert_eq!(ring.read_owned(&file, OwnedBuffer::new(0)).await.unwrap().0, 0);
        let room_without_bytes = Vec::with_capacity(100);
        assert_eq!(ring.write_owned(&file, room_without_bytes).await.unwrap().0, 0);
        assert_eq!(content(&file), b"content");
    });
}

fn appended_writes_ignore_the_offset<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let options = OpenOptions::new().append(true).create(true);
        let file = ring.open(&path, &options).await.unwrap();
        ring.write_at_owned(&file, "one", 100).await.unwrap();
        ring.write_owned(&file, "two").await.unwrap();
        ring.write_at_owned(&file, "three", 0).await.unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"onetwothree");
    });
}

/// A file of 64 KiB opened with `O_DIRECT` and its alignment, or `None` where the file system has none.
async fn direct_file<M: Mode>(ring: &RingOf<M>) -> Option<(Fd<M>, usize, tempfile::TempDir)> {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().join("direct");
    fs::write(&path, pattern(65_536)).unwrap();
    let options = OpenOptions::new().read(true).write(true).custom_flags(libc::O_DIRECT as u32);
    let file = match ring.open(&path, &options).await {
        Ok(file) => file,
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return None,
        Err(error) => panic!("{error}"),
    };
    let (memory, offset) =
        ring.statx_fd(&file).await.unwrap().direct_io_alignment().unwrap_or((4096, 4096));
    Some((file, memory.max(offset).max(512) as usize, directory))
}

fn direct_io_works_with_aligned_buffers<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let Some((file, align, _directory)) = direct_file(&ring).await else { return };
        let buffer = OwnedBuffer::aligned(8 * align, align).unwrap();
        let (n, mut buffer) = ring.read_at_owned(&file, buffer, align as u64).await.unwrap();
        assert_eq!(n, 8 * align);
        assert_eq!(&buffer[..], &pattern(65_536)[align..9 * align]);
        buffer.fill(0xA5);
        let (n, buffer) = ring.write_at_owned(&file, buffer, 0).await.unwrap();
        assert_eq!(n, 8 * align);
        let (n, buffer) = ring.read_at_owned(&file, buffer, 0).await.unwrap();
        assert_eq!(n, 8 * align);
        assert!(buffer.iter().all(|byte| *byte == 0xA5));
        // The end of the file: short, then empty.
        let (n, buffer) = ring.read_at_owned(&file, buffer, (65_536 - align) as u64).await.unwrap();
        assert_eq!((n, buffer.len()), (align, align));
        let (n, _) = ring.read_at_owned(&file, buffer, 65_536).await.unwrap();
        assert_eq!(n, 0);
        let pool = BufferPool::aligned(2, align, align).unwrap();
        let (n, pooled) = ring.read_at_owned(&file, pool.take().unwrap(), 0).await.unwrap();
        assert_eq!((n, pooled.align()), (align, align));
    });
}

fn direct_io_with_a_wrong_offset_fails_with_the_buffer<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let Some((file, align, directory)) = direct_file(&ring).await else { return };
        if common::in_memory(directory.path()) {
            return eprintln!("skipped: direct I/O in memory takes any offset");
        }
        let buffer = OwnedBuffer::aligned(align, align).unwrap();
        let buffer = must_fail(ring.read_at_owned(&file, buffer, 1).await, libc::EINVAL);
        assert_eq!(buffer.len(), align);
        let buffer = must_fail(ring.write_at_owned(&file, buffer, 1).await, libc::EINVAL);
        assert!(buffer.iter().all(|byte| *byte == 0));
    });
}

const HUGE: usize = 3 << 30;
const MOST: usize = 0x7fff_f000;

fn a_read_of_more_than_two_gib_is_cut_and_gives_what_was_read<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = file_with(b"content");
        // Address space, not memory: nothing touches more than the first page.
        let buffer = OwnedBuffer::with_capacity(HUGE);
        let (n, buffer) = ring.read_at_owned(&file, buffer, 0).await.unwrap();
        assert_eq!((n, &buffer[..]), (7, &b"content"[..]));
        assert_eq!(buffer.capacity(), HUGE);
        let null = Fd::new(File::open("/dev/null").unwrap());
        let (n, buffer) = ring.read_owned(&null, buffer).await.unwrap();
        assert_eq!((n, buffer.len(), buffer.capacity()), (0, 0, HUGE));
        let mut buffers = vec![buffer, OwnedBuffer::with_capacity(16)];
        (_, buffers) = ring.read_vectored_at(&file, buffers, 0).await.unwrap();
        assert_eq!(&buffers[0][..], b"content");
    });
}

fn a_write_of_more_than_two_gib_is_cut_and_says_so<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let null = Fd::new(File::options().write(true).open("/dev/null").unwrap());
        let buffer = OwnedBuffer::new(HUGE);
        let (n, buffer) = ring.write_owned(&null, buffer).await.unwrap();
        assert_eq!((n, buffer.len()), (MOST, HUGE));
        // In a chain this counts as written in full: it is the most that one operation moves.
        let (write, sync) = ring.write_owned(&null, buffer).then(ring.nop()).await;
        assert_eq!(write.unwrap().0, MOST);
        sync.unwrap();
    });
}

fn a_full_device_fails_the_write_with_the_buffer<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let full = Fd::new(File::options().write(true).open("/dev/full").unwrap());
        let back = must_fail(ring.write_owned(&full, b"lost".to_vec()).await, libc::ENOSPC);
        assert_eq!(back, b"lost");
    });
}

fn fsync_and_fdatasync_work_on_files_and_fail_on_pipes<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = file_with(b"durable");
        ring.fsync(&file).await.unwrap();
        ring.fdatasync(&file).await.unwrap();
        let (_reader, writer) = std::io::pipe().unwrap();
        let pipe = Fd::new(std::os::fd::OwnedFd::from(writer));
        must_fail_plainly(ring.fsync(&pipe).await, libc::EINVAL);
        must_fail_plainly(ring.fdatasync(&pipe).await, libc::EINVAL);
    });
}

fn fallocate_reserves_keeps_punches_and_zeroes<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = directory.path().join("file");
        fs::write(&path, [1; 16_384]).unwrap();
        let file = Fd::new(File::options().read(true).write(true).open(&path).unwrap());
        ring.fallocate(&file, FallocateMode::Allocate, 0, 32_768).await.unwrap();
        assert_eq!(ring.statx_fd(&file).await.unwrap().len(), 32_768);
        ring.fallocate(&file, FallocateMode::KeepSize, 0, 1 << 20).await.unwrap();
        let metadata = ring.statx_fd(&file).await.unwrap();
        assert_eq!(metadata.len(), 32_768);
        assert!(metadata.blocks() >= 2048, "{} blocks", metadata.blocks());
        ring.fallocate(&file, FallocateMode::PunchHole, 4096, 4096).await.unwrap();
        let zeroed = ring.fallocate(&file, FallocateMode::ZeroRange, 12_288, 4096).await;
        if common::in_memory(directory.path()) {
            must_fail_plainly(zeroed, libc::EOPNOTSUPP);
            eprintln!("skipped: fallocate(2) zeroes nothing in memory");
            fs::File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .write_all_at(&[0; 4096], 12_288)
                .unwrap();
        } else {
            zeroed.unwrap();
        }
        let content = fs::read(&path).unwrap();
        assert!(content[..4096].iter().all(|byte| *byte == 1));
        assert!(content[4096..8192].iter().all(|byte| *byte == 0));
        assert!(content[8192..12_288].iter().all(|byte| *byte == 1));
        assert!(content[12_288..].iter().all(|byte| *byte == 0));
        let none = ring.fallocate(&file, FallocateMode::Allocate, 0, 0).await;
        must_fail_plainly(none, libc::EINVAL);
        let (_reader, writer) = std::io::pipe().unwrap();
        let pipe = Fd::new(std::os::fd::OwnedFd::from(writer));
        let on_pipe = ring.fallocate(&pipe, FallocateMode::Allocate, 0, 1).await;
        must_fail_plainly(on_pipe, libc::ESPIPE);
        let read_only = ring.fallocate(&read_only(), FallocateMode::Allocate, 0, 1).await;
        must_fail_plainly(read_only, libc::EBADF);
    });
}

fn ftruncate_sets_the_length<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = file_with(b"0123456789");
        ring.ftruncate(&file, 4).await.unwrap();
        assert_eq!(content(&file), b"0123");
        ring.ftruncate(&file, 6).await.unwrap();
        assert_eq!(content(&file), b"0123\0\0");
        must_fail_plainly(ring.ftruncate(&file, u64::MAX).await, libc::EINVAL);
        must_fail_plainly(ring.ftruncate(&read_only(), 0).await, libc::EINVAL);
    });
}

/// Whether the read end of a pipe sees the end: nobody has the write end open.
fn at_end(mut reader: &std::io::PipeReader) -> bool {
    use std::os::fd::AsRawFd as _;
    let mut poll = libc::pollfd { fd: reader.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd on this stack.
    let ready = unsafe { libc::poll(&raw mut poll, 1, 10_000) };
    assert_eq!(ready, 1, "the write end is still open after ten seconds");
    reader.read(&mut [0]).unwrap() == 0
}

fn close_reports_and_a_shared_descriptor_is_given_back<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (reader, writer) = std::io::pipe().unwrap();
        let fd: Fd<E::M> = Fd::new(std::os::fd::OwnedFd::from(writer));
        let second = fd.clone();
        let error = ring.close(fd).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ResourceBusy);
        assert_eq!(failure(&error.error), Some(Failure::Busy { others: 1 }));
        let fd = error.into_buffer().expect("the handle comes back");
        drop(second);
        ring.write_owned(&fd, "still open").await.unwrap();
        ring.close(fd).await.unwrap();
        let mut reader = &reader;
        reader.read_exact(&mut [0; 10]).unwrap();
        assert!(at_end(reader));
    });
}

fn a_close_that_never_starts_still_closes<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (reader, writer) = std::io::pipe().unwrap();
        let fd = Fd::new(std::os::fd::OwnedFd::from(writer));
        drop(ring.close(fd));
        assert!(at_end(&reader));
    });
}

fn a_close_left_in_a_dropped_batch_still_closes<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut batch = ring.batch();
        let handle = batch.add(ring.close(Fd::new(std::os::fd::OwnedFd::from(writer))));
        drop(batch);
        drop(handle);
        // A local ring hands over when its thread next waits.
        ring.nop().await.unwrap();
        assert!(at_end(&reader));
    });
}

fn ring_buffers_are_lent_and_come_back<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = file_with(&pattern(40_000));
        let mut all = Vec::new();
        loop {
            let (n, view) = ring.read_ring_buffer(&file).await.unwrap();
            assert_eq!(n, view.len());
            if n == 0 {
                break;
            }
            assert!(n <= 16_384);
            all.extend_from_slice(&view);
        }
        assert_eq!(all, pattern(40_000));
        // All that there are, and one more: that read waits until one comes back.
        let zero = Fd::new(File::open("/dev/zero").unwrap());
        let mut views = Vec::new();
        for _ in 0..1024 {
            views.push(ring.read_ring_buffer(&zero).await.unwrap().1);
        }
        // Not from /dev/zero, which ends a read early when the thread has work of the kernel's pending.
        let full = file_with(&pattern(16_384));
        let mut next = std::pin::pin!(ring.read_ring_buffer(&full));
        assert!(futures_util::poll!(next.as_mut()).is_pending());
        views.pop();
        let (n, mut view) = next.await.unwrap();
        assert_eq!(n, 16_384);
        view[0] = 1;
        assert_eq!(written(&ring, view.into_inner()).await.0[0], 1);
    });
}

fn failing_ring_buffer_reads_lose_no_buffer<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = write_only();
        for _ in 0..1500 {
            must_fail_plainly(ring.read_ring_buffer(&file).await, libc::EBADF);
        }
        drop(ring.read_ring_buffer(&file));
    });
}

fn an_operation_keeps_its_file_open<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = file_with(b"kept");
        let read = ring.read_at_owned(&file, Vec::with_capacity(4), 0);
        assert_eq!(file.holders(), 2);
        drop(file);
        assert_eq!(read.await.unwrap().1, b"kept");
        let file: Fd<E::M> = file_with(b"kept");
        ring.read_at_owned(&file, Vec::with_capacity(4), 0).await.unwrap();
        assert_eq!(file.holders(), 1, "an operation that has ended holds nothing");
        assert!(file.try_into_owned().is_ok());
    });
}
