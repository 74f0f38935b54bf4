//! Transfers of many steps, appends, and `O_DIRECT`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]

mod common;

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd;
use std::path::PathBuf;

use common::alone::alone;
use common::net::{pipe, poll_once};
use common::{Exec, OnLocal, OnPollster, OnTokio, everywhere, failure, pattern, with_ring};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use safer_ring::fs::{DirectAlignment, File, OpenOptions};
use safer_ring::{Failure, Fd, IoBuf as _, Mode, OwnedBuffer, Ring, RingOf, TransferError};

everywhere!(
    exact_reads_fill_the_buffer,
    an_end_inside_an_exact_read_is_told_with_what_was_read,
    exact_transfers_of_nothing_do_nothing,
    parts_of_buffers_are_transferred_and_the_rest_stays,
    short_reads_are_followed_by_others,
    short_writes_are_followed_by_others,
    errors_say_how_far_it_came,
    reading_to_the_end_appends,
    reading_to_the_end_reads_what_has_no_size,
    reading_a_string_refuses_what_is_none,
    direct_transfers_work_when_they_are_aligned,
    what_is_not_aligned_is_named_before_the_call,
    a_direct_file_of_std_is_asked_for_its_alignment,
    a_direct_read_ends_where_the_file_does,
    a_direct_append_has_no_offset_to_be_aligned,
    more_than_two_gib_is_written_in_steps,
);

fn temporary<M: Mode>(ring: &RingOf<M>, content: &[u8]) -> File<M> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    io::Seek::rewind(&mut file).unwrap();
    File::from_std(ring, file)
}

#[track_caller]
fn failed<T: std::fmt::Debug, B>(result: Result<T, TransferError<B>>) -> TransferError<B> {
    result.expect_err("it must fail")
}

fn exact_reads_fill_the_buffer<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = temporary(&ring, &pattern(100_000));
        let buffer = file.read_exact_at(vec![0; 99_000], 1_000).await.unwrap();
        assert!(buffer == pattern(100_000)[1_000..]);
        assert_eq!(file.read_exact(vec![0; 10]).await.unwrap(), &pattern(20)[..10]);
        assert_eq!(file.read_exact(vec![0; 10]).await.unwrap(), &pattern(20)[10..]);
        let boxed: Box<[u8]> = Box::from([0; 5]);
        assert_eq!(&file.read_exact_at(boxed, 5).await.unwrap()[..], &pattern(10)[5..]);
        let empty = OwnedBuffer::with_capacity(64);
        assert_eq!(&file.read_exact_at(empty, 0).await.unwrap()[..], &pattern(64)[..]);
    });
}

fn an_end_inside_an_exact_read_is_told_with_what_was_read<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = temporary(&ring, b"0123456789");
        let error = failed(file.read_exact_at(vec![b'-'; 8], 6).await);
        assert_eq!((error.kind(), error.transferred), (io::ErrorKind::UnexpectedEof, 4));
        assert_eq!(&error.buffer[..4], b"6789");
        let error = failed(file.read_exact_at(error.buffer, 10).await);
        assert_eq!((error.kind(), error.transferred), (io::ErrorKind::UnexpectedEof, 0));
        let error = failed(file.read_exact(vec![0; 11]).await);
        assert_eq!((error.kind(), error.transferred), (io::ErrorKind::UnexpectedEof, 10));
        assert_eq!(&error.buffer[..10], b"0123456789");
        assert_eq!(file.read(vec![0; 1]).await.unwrap().0, 0, "the cursor stands at the end");
    });
}

fn exact_transfers_of_nothing_do_nothing<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = temporary(&ring, b"content");
        let submitted = ring.snapshot().submitted;
        assert_eq!(file.read_exact_at(Vec::new(), 100).await.unwrap(), [0; 0]);
        assert_eq!(file.read_exact(Vec::new()).await.unwrap(), [0; 0]);
        assert_eq!(file.write_all_at("", 100).await.unwrap(), "");
        assert_eq!(file.write_all("").await.unwrap(), "");
        assert_eq!(ring.snapshot().submitted, submitted);
    });
}

fn parts_of_buffers_are_transferred_and_the_rest_stays<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = temporary(&ring, b"0123456789");
        let part = vec![b'-'; 8].slice(2..5);
        let buffer = file.read_exact_at(part, 4).await.unwrap().into_inner();
        assert_eq!(buffer, b"--456---");
        let part = b"abcdefgh".to_vec().slice(1..4);
        assert_eq!(file.write_all_at(part, 7).await.unwrap().into_inner(), b"abcdefgh");
        assert_eq!(file.read_exact_at(vec![0; 10], 0).await.unwrap(), b"0123456bcd");
    });
}

fn short_reads_are_followed_by_others<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (reader, writer) = pipe();
        let (reader, mut writer) =
            (File::from_std(&ring, reader.into()), io::PipeWriter::from(writer));
        writer.write_all(b"first").unwrap();
        let late = async {
            ring.nop().await.unwrap();
            writer.write_all(b"-second-and-more").unwrap();
        };
        let (read, ()) = futures_util::join!(reader.read_exact(vec![0; 12]), late);
        assert_eq!(read.unwrap(), b"first-second");
        drop(writer);
        let error = failed(reader.read_exact(vec![0; 100]).await);
        assert_eq!((error.kind(), error.transferred), (io::ErrorKind::UnexpectedEof, 9));
        assert_eq!(&error.buffer[..9], b"-and-more");
    });
}

fn set_non_blocking(fd: &impl AsFd) {
    let flags = fcntl_getfl(fd).unwrap();
    fcntl_setfl(fd, flags | OFlags::NONBLOCK).unwrap();
}

fn short_writes_are_followed_by_others<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (reader, writer) = pipe();
        // A write that does not wait takes what there is room for.
        set_non_blocking(&writer);
        let writer = File::from_std(&ring, writer.into());
        let drained = std::thread::spawn(move || {
            let mut all = Vec::new();
            std::fs::File::from(reader).read_to_end(&mut all).unwrap();
            all
        });
        let back = writer.write_all(pattern(1_000_000)).await.unwrap();
        assert!(back == pattern(1_000_000), "the buffer comes back as it was");
        writer.close().await.unwrap();
        assert!(drained.join().unwrap() == pattern(1_000_000));
        assert!(ring.snapshot().submitted > 2, "one step was not enough");
    });
}

fn errors_say_how_far_it_came<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let full =
            OpenOptions::new().read(true).write(true).open(&ring, "/dev/full").await.unwrap();
        let error = failed(full.write_all_at(b"data".to_vec(), 0).await);
        assert_eq!(error.error.raw_os_error(), Some(libc::ENOSPC));
        assert_eq!((error.transferred, &error.buffer[..]), (0, &b"data"[..]));
        let (reader, writer) = pipe();
        set_non_blocking(&writer);
        let writer = File::from_std(&ring, writer.into());
        let write = writer.write_all(pattern(1_000_000));
        let gone = std::thread::spawn(move || {
            let mut reader = std::fs::File::from(reader);
            reader.read_exact(&mut [0; 100_000]).unwrap();
        });
        let error = failed(write.await);
        gone.join().unwrap();
        assert_eq!(error.error.raw_os_error(), Some(libc::EPIPE));
        assert!((100_000..1_000_000).contains(&error.transferred), "{}", error.transferred);
        assert!(error.buffer == pattern(1_000_000));
        let root = File::open(&ring, "/").await.unwrap();
        let error = failed(root.read_exact(b"old".to_vec()).await);
        assert_eq!(error.error.raw_os_error(), Some(libc::EISDIR));
        assert_eq!((error.transferred, &error.buffer[..]), (0, &b"old"[..]));
        let error = failed(root.read_to_end(b"old".to_vec()).await);
        assert_eq!((error.transferred, &error.buffer[..]), (0, &b"old"[..]));
    });
}

fn reading_to_the_end_appends<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = temporary(&ring, &pattern(100_000));
        assert_eq!(file.read_exact(vec![0; 10]).await.unwrap(), &pattern(10)[..]);
        let (n, all) = file.read_to_end(b"before".to_vec()).await.unwrap();
        assert_eq!((n, &all[..6]), (99_990, &b"before"[..]));
        assert!(all[6..] == pattern(100_000)[10..]);
        assert_eq!(file.read_to_end(Vec::new()).await.unwrap(), (0, vec![]));
        let (reader, writer) = pipe();
        let reader = File::from_std(&ring, reader.into());
        let written = std::thread::spawn(move || {
            io::PipeWriter::from(writer).write_all(&pattern(300_000)).unwrap();
        });
        let (n, all) = reader.read_to_end(Vec::new()).await.unwrap();
        assert!(n == 300_000 && all == pattern(300_000), "a pipe has no size");
        written.join().unwrap();
    });
}

fn reading_to_the_end_reads_what_has_no_size<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = File::open(&ring, "/proc/self/smaps").await.unwrap();
        assert_eq!(file.metadata().await.unwrap().len(), 0);
        let text = file.read_to_string().await.unwrap();
        assert!(text.len() > 8192 && text.contains("VmFlags"), "{}", text.len());
    });
}

fn reading_a_string_refuses_what_is_none<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = temporary(&ring, "gr\u{fc}n".as_bytes());
        assert_eq!(file.read_to_string().await.unwrap(), "gr\u{fc}n");
        let file = temporary(&ring, b"gr\xfcn");
        let error = failed(file.read_to_string().await);
        assert_eq!((error.kind(), error.transferred), (io::ErrorKind::InvalidData, 4));
        assert_eq!(error.into_buffer(), b"gr\xfcn");
    });
}

/// Where `O_DIRECT` is likely to work.
fn on_disk() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().join("direct");
    (directory, path)
}

/// A direct file with this content, and its alignment; `None` where the file system has none.
async fn direct<M: Mode>(
    ring: &RingOf<M>,
    path: &std::path::Path,
    content: &[u8],
) -> Option<(File<M>, DirectAlignment)> {
    std::fs::write(path, content).unwrap();
    let options = OpenOptions::new().read(true).write(true).direct(true);
    let file = match options.open(ring, path).await {
        Ok(file) => file,
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return None,
        Err(error) => panic!("{error}"),
    };
    let alignment = file.direct_alignment().await.unwrap()?;
    Some((file, alignment))
}

fn direct_transfers_work_when_they_are_aligned<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (_directory, path) = on_disk();
        let Some((file, alignment)) = direct(&ring, &path, &pattern(65_536)).await else { return };
        let block = alignment.offset() as usize;
        let buffer = alignment.buffer(8 * block).unwrap();
        assert_eq!((buffer.len(), buffer.capacity()), (0, 8 * block));
        let buffer = file.read_exact_at(buffer, block as u64).await.unwrap();
        assert!(buffer[..] == pattern(65_536)[block..9 * block]);
        let buffer = file.write_all_at(buffer, 0).await.unwrap();
        assert!(file.read_exact(buffer).await.unwrap()[..] == pattern(65_536)[block..9 * block]);
        let two = vec![alignment.buffer(1).unwrap(), alignment.buffer(block).unwrap()];
        let (n, two) = file.read_vectored_at(two, 0).await.unwrap();
        assert!(n == 2 * block && two[1][..] == pattern(65_536)[2 * block..3 * block]);
        let plain = File::open(&ring, &path).await.unwrap();
        assert_eq!(plain.direct_alignment().await.unwrap(), Some(alignment));
        assert_eq!(plain.read_at(vec![0; 3], 1).await.unwrap().0, 3, "not direct, not checked");
    });
}

fn what_is_not_aligned_is_named_before_the_call<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (_directory, path) = on_disk();
        let Some((file, alignment)) = direct(&ring, &path, &pattern(65_536)).await else { return };
        let block = alignment.offset();
        let submitted = ring.snapshot().submitted;
        let told =
            |what: &str| format!("O_DIRECT needs {block}-byte alignment: {what} is not a multiple");
        let buffer = alignment.buffer(block as usize).unwrap();
        let error = file.read_at(buffer, 100).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string()),
            (io::ErrorKind::InvalidInput, told("offset 100"))
        );
        let error = failed(file.read_exact_at(error.buffer, 100).await);
        assert_eq!((error.error.to_string(), error.transferred), (told("offset 100"), 0));
        let buffer = error.buffer;
        let error = file.read_at(buffer.slice(..block as usize - 1), 0).await.unwrap_err();
        assert_eq!(error.to_string(), told(&format!("length {}", block - 1)));
        let mut buffer = error.buffer.into_inner();
        buffer.resize(block as usize);
        let error = failed(file.write_all(buffer.slice(..3)).await);
        assert_eq!(error.error.to_string(), told("length 3"));
        let error = file.write_vectored_at(vec![error.buffer.into_inner()], 100).await.unwrap_err();
        assert_eq!(error.to_string(), told("offset 100"));
        let mut wide = OwnedBuffer::aligned(3 * block as usize, 4096).unwrap();
        wide[0] = 7;
        if alignment.memory() > 1 {
            let error = file.read_at(wide.slice(1..=block as usize), 0).await.unwrap_err();
            assert!(error.to_string().contains("the buffer's address"), "{error}");
            wide = error.buffer.into_inner();
            assert_eq!(wide[0], 7, "the buffer comes back");
        }
        assert_eq!(ring.snapshot().submitted, submitted, "the kernel is not asked");
        // Aligned, but no offset of any file: that is not explained away.
        let error = failed(file.read_exact_at(wide, 1 << 63).await);
        assert_eq!(error.error.raw_os_error(), Some(libc::EINVAL));
    });
}

fn a_direct_file_of_std_is_asked_for_its_alignment<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (_directory, path) = on_disk();
        let Some((file, alignment)) = direct(&ring, &path, &pattern(65_536)).await else { return };
        let file = File::from_std(&ring, file.into_std().unwrap());
        let buffer = alignment.buffer(4096).unwrap();
        // A single operation has nobody who could have asked: the kernel answers.
        let error = file.read_at(buffer, 100).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
        let error = failed(file.read_exact_at(error.buffer, 100).await);
        assert!(error.error.to_string().starts_with("O_DIRECT needs "), "{}", error.error);
        file.read_exact_at(error.buffer, 0).await.unwrap();
    });
}

fn a_direct_read_ends_where_the_file_does<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (_directory, path) = on_disk();
        let Some((file, alignment)) = direct(&ring, &path, &pattern(10_000)).await else { return };
        let error = failed(file.read_exact_at(alignment.buffer(65_536).unwrap(), 0).await);
        assert_eq!((error.kind(), error.transferred), (io::ErrorKind::UnexpectedEof, 10_000));
        assert!(error.buffer[..] == pattern(10_000));
        let (n, _) = file.read_at(error.buffer, 0).await.unwrap();
        assert_eq!(n, 10_000, "a single read is short");
        let error = failed(file.read_to_end(Vec::new()).await);
        assert_eq!((error.kind(), error.transferred), (io::ErrorKind::InvalidInput, 0));
    });
}

fn a_direct_append_has_no_offset_to_be_aligned<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (_directory, path) = on_disk();
        let Some((_, alignment)) = direct(&ring, &path, &[]).await else { return };
        let options = OpenOptions::new().append(true).direct(true);
        let file = options.open(&ring, &path).await.unwrap();
        let mut buffer = alignment.buffer(1).unwrap();
        let block = buffer.resize(buffer.capacity());
        let buffer = file.write_all_at(buffer, 3).await.unwrap();
        file.write_at(buffer, 7).await.unwrap();
        assert_eq!(file.metadata().await.unwrap().len(), 2 * block as u64);
    });
}

fn more_than_two_gib_is_written_in_steps<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = OpenOptions::new().write(true).open(&ring, "/dev/null").await.unwrap();
        let submitted = ring.snapshot().submitted;
        // Never touched: /dev/null does not look at it.
        let back = file.write_all_at(vec![0; (1 << 31) + 5], 0).await.unwrap();
        assert_eq!(back.len(), (1 << 31) + 5);
        assert_eq!(ring.snapshot().submitted, submitted + 2);
    });
}

/// From here on, no file of this process grows beyond `bytes`.
fn limit_files(bytes: u64) {
    // SAFETY: signal(2) with a constant handler.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: reads the structure above.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) }, 0);
}

#[test]
fn an_append_that_is_cut_short_is_not_continued() {
    alone("an_append_that_is_cut_short_is_not_continued", || {
        limit_files(5_000);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, pattern(3_000)).unwrap();
        let ring = Ring::new(8).unwrap();
        pollster::block_on(async {
            let file = OpenOptions::new().append(true).open(&ring, &path).await.unwrap();
            let error = failed(file.write_all_at(vec![7; 8_000], 0).await);
            assert_eq!((error.kind(), error.transferred), (io::ErrorKind::Other, 2_000));
            let text = error.error.to_string();
            assert!(text.contains("2000 of 8000 bytes are in the file"), "{text}");
            assert_eq!(error.buffer.len(), 8_000);
            file.set_len(3_000).await.unwrap();
            let error = failed(file.write_all(error.buffer).await);
            assert_eq!((error.kind(), error.transferred), (io::ErrorKind::Other, 2_000));
            // The same on a file that does not append is tried again, and fails in the second step.
            let file = OpenOptions::new().write(true).open(&ring, &path).await.unwrap();
            let error = failed(file.write_all_at(error.buffer, 1_000).await);
            assert_eq!(error.error.raw_os_error(), Some(libc::EFBIG), "{}", error.error);
            assert_eq!(error.transferred, 4_000);
            // An append of which nothing is taken is the kernel's error.
            let file = OpenOptions::new().append(true).open(&ring, &path).await.unwrap();
            let error = failed(file.write_all("x").await);
            assert_eq!(error.error.raw_os_error(), Some(libc::EFBIG), "{}", error.error);
            // A copy counts the bytes of a piece that was cut short.
            let source = File::open(&ring, &path).await.unwrap();
            let target = File::create(&ring, directory.path().join("target")).await.unwrap();
            let error = source.copy_to(0, &target, 2_000, u64::MAX).await.unwrap_err();
            assert_eq!(error.error.raw_os_error(), Some(libc::EFBIG), "{}", error.error);
            assert_eq!(error.transferred, 3_000);
            // A copy to the end says as well how far it came.
            file.set_len(4_000).await.unwrap();
            let error = source.copy_to(0, &file, 0, 3_000).await.unwrap_err();
            assert_eq!((error.kind(), error.transferred), (io::ErrorKind::Other, 1_000));
        });
    });
}

/// An append that stood still in the middle, without anybody who waits for it. What follows is told, once.
fn a_dropped_append_is_cut_short<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        for (by_sync, ends_first) in [(true, true), (true, false), (false, true), (false, false)] {
            std::fs::write(&path, pattern(3_000)).unwrap();
            let log = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
            let log = Fd::new(log);
            let mut batch = ring.batch();
            let write = batch.add(ring.write_owned(&log, vec![7; 8_000]));
            let _ = poll_once(&mut batch.submit());
            if ends_first {
                ring.nop().await.unwrap();
            }
            drop(write);
            let told = if by_sync {
                ring.fsync(&log).await.expect_err("it must be told")
            } else {
                ring.write_owned(&log, b"not written".to_vec()).await.expect_err("it must").error
            };
            let short = Failure::EarlierShort { wanted: 8_000, moved: 2_000 };
            assert_eq!((failure(&told), told.kind()), (Some(short), io::ErrorKind::WriteZero));
            assert_eq!(std::fs::metadata(&path).unwrap().len(), 5_000, "nothing follows it");
            ring.fsync(&log).await.unwrap();
            let error = ring.write_owned(&log, vec![7; 10]).await.unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EFBIG), "the kernel's answer, {error}");
        }
    });
}

#[test]
fn a_dropped_append_that_is_cut_short_is_told_to_the_next() {
    alone("a_dropped_append_that_is_cut_short_is_told_to_the_next", || {
        limit_files(5_000);
        a_dropped_append_is_cut_short::<OnLocal>();
        a_dropped_append_is_cut_short::<OnPollster>();
        a_dropped_append_is_cut_short::<OnTokio>();
    });
}
