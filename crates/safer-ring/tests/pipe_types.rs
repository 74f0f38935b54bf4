//! `PipeReader`, `PipeWriter`, FIFOs.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::net::{closes_on_exec, poll_once, settled};
use common::{Exec, must_fail, must_fail_plainly, pattern, with_ring};
use futures_util::future::join;
use safer_ring::pipe::{PipeReader, PipeWriter, pipe};
use safer_ring::{BackendKind, Fd, Interest, IoBuf as _, Mode, OpenOptions, RingOf};

common::everywhere! {
    a_pipe_carries_bytes_and_ends,
    a_pipe_without_a_reader_is_an_error_with_the_buffer,
    a_large_transfer_crosses_a_small_pipe,
    a_write_that_breaks_off_says_how_much_was_taken,
    vectored_transfers_keep_the_order,
    each_end_refuses_the_other_direction,
    the_capacity_is_set_and_told,
    pipes_of_std_come_and_go,
    a_shared_end_does_not_become_one_of_std,
    non_blocking_pipes_work,
    a_child_process_is_written_to_and_read_from,
    a_fifo_waits_for_the_other_side,
    a_fifo_whose_open_is_dropped_opens_later,
    a_path_that_is_no_fifo_is_refused,
    dropped_pipes_are_closed,
}

fn a_pipe_carries_bytes_and_ends<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (reader, writer) = pipe(&ring).await.unwrap();
        assert!(closes_on_exec(&reader) && closes_on_exec(&writer));
        assert_eq!(writer.write(b"some".to_vec()).await.unwrap(), (4, b"some".to_vec()));
        assert_eq!(reader.read(Vec::with_capacity(9)).await.unwrap(), (4, b"some".to_vec()));
        let (got, _) = join(reader.read_exact(vec![0; 4]), writer.write_all("more")).await;
        assert_eq!(got.unwrap(), b"more");
        writer.write_all("last").await.unwrap();
        writer.close().await.unwrap();
        let error = reader.read_exact(Vec::with_capacity(9)).await.unwrap_err();
        assert_eq!((error.kind(), error.transferred), (ErrorKind::UnexpectedEof, 4));
        assert_eq!(error.buffer, b"last");
        assert_eq!(reader.read(vec![0; 9]).await.unwrap(), (0, vec![]));
        assert_eq!(reader.read_exact(Vec::new()).await.unwrap(), b"");
    });
}

fn a_pipe_without_a_reader_is_an_error_with_the_buffer<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (reader, writer) = pipe(&ring).await.unwrap();
        reader.close().await.unwrap();
        // A child that another test starts has a copy of the reader until it runs its program.
        ring.poll(writer.fd(), Interest::HANG_UP).await.unwrap();
        assert_eq!(must_fail(writer.write(b"kept".to_vec()).await, libc::EPIPE), b"kept");
        let error = writer.write_all(b"kept".to_vec()).await.unwrap_err();
        assert_eq!((error.kind(), error.transferred), (ErrorKind::BrokenPipe, 0));
        assert_eq!(error.into_buffer(), b"kept");
        let error = writer.write_all_vectored(vec!["a", "b"]).await.unwrap_err();
        assert_eq!((error.kind(), error.into_buffer()), (ErrorKind::BrokenPipe, vec!["a", "b"]));
        assert_eq!(writer.write_all(Vec::new()).await.unwrap(), b"");
    });
}

fn a_large_transfer_crosses_a_small_pipe<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (reader, writer) = pipe(&ring).await.unwrap();
        writer.set_capacity(4096).unwrap();
        let (sent, got) =
            join(writer.write_all(pattern(300_000)), reader.read_exact(vec![0; 300_000])).await;
        assert!(sent.unwrap() == got.unwrap());
        let part = pattern(300_000).slice(100..200_100);
        let (sent, got) = join(writer.write_all(part), reader.read_exact(vec![0; 200_000])).await;
        assert!(got.unwrap() == sent.unwrap().into_inner()[100..200_100]);
    });
}

fn a_write_that_breaks_off_says_how_much_was_taken<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (reader, writer) = pipe(&ring).await.unwrap();
        writer.set_capacity(4096).unwrap();
        let take = async {
            let got = reader.read_exact(vec![0; 50_000]).await.unwrap();
            drop(reader);
            got
        };
        let (error, got) = join(writer.write_all(pattern(100_000)), take).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe, "{error}");
        assert!(error.transferred >= 50_000 && error.transferred < 60_000, "{error}");
        assert!(error.buffer == pattern(100_000) && got == pattern(100_000)[..50_000]);
    });
}

fn vectored_transfers_keep_the_order<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (reader, writer) = pipe(&ring).await.unwrap();
        let (n, _) = writer.write_vectored(vec!["one", "", "three"]).await.unwrap();
        assert_eq!(n, 8);
        let (n, parts) = reader.read_vectored(vec![vec![0; 5], vec![0; 5]]).await.unwrap();
        assert_eq!((n, parts), (8, vec![b"oneth".to_vec(), b"ree".to_vec()]));
        let parts: Vec<_> = (1..40).map(|n| pattern(n * 301)).collect();
        let all = parts.concat();
        let (sent, got) =
            join(writer.write_all_vectored(parts), reader.read_exact(vec![0; all.len()])).await;
        assert!(sent.unwrap().concat() == all && got.unwrap() == all);
    });
}

fn each_end_refuses_the_other_direction<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (reader, writer) = pipe(&ring).await.unwrap();
        let wrong = PipeWriter::from_fd(&ring, reader.fd().clone());
        assert_eq!(must_fail(wrong.write(b"kept".to_vec()).await, libc::EBADF), b"kept");
        let error = wrong.write_all(b"kept".to_vec()).await.unwrap_err();
        assert_eq!(error.error.raw_os_error(), Some(libc::EBADF));
        let wrong = PipeReader::from_fd(&ring, writer.fd().clone());
        let error = wrong.read_exact(vec![7; 4]).await.unwrap_err();
        assert_eq!((error.error.raw_os_error(), error.buffer), (Some(libc::EBADF), vec![7; 4]));
    });
}

fn the_capacity_is_set_and_told<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (reader, writer) = pipe(&ring).await.unwrap();
        assert_eq!(reader.capacity().unwrap(), writer.capacity().unwrap());
        // The kernel takes the next power of two.
        assert_eq!(writer.set_capacity(100_000).unwrap(), 131_072);
        assert_eq!(reader.capacity().unwrap(), 131_072);
        writer.write_all(vec![1; 100_000]).await.unwrap();
        must_fail_plainly(reader.set_capacity(4096), libc::EBUSY);
        reader.read_exact(vec![0; 100_000]).await.unwrap();
        assert_eq!(reader.set_capacity(4096).unwrap(), 4096);
        assert_eq!(writer.capacity().unwrap(), 4096);
        let file = PipeReader::from_fd(&ring, common::file_with(b""));
        must_fail_plainly(file.capacity(), libc::EBADF);
    });
}

fn pipes_of_std_come_and_go<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let reader = PipeReader::from_std(&ring, reader);
        writer.write_all(b"from std").unwrap();
        assert_eq!(reader.read(vec![0; 100]).await.unwrap().1, b"from std");
        let writer = PipeWriter::from_std(&ring, writer);
        writer.write_all("to std").await.unwrap();
        drop(writer.into_std().unwrap());
        let mut text = String::new();
        reader.into_std().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "to std");
    });
}

fn a_shared_end_does_not_become_one_of_std<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (reader, writer) = pipe(&ring).await.unwrap();
        let mut waits = reader.read(vec![0; 4]);
        assert!(poll_once(&mut waits).is_pending());
        let reader = reader.into_std().unwrap_err();
        writer.write_all("done").await.unwrap();
        waits.await.unwrap();
        reader.into_std().unwrap();
        let shared = writer.fd().clone();
        let error = writer.close().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceBusy);
        drop(shared);
        PipeWriter::from_fd(&ring, error.buffer.unwrap()).close().await.unwrap();
    });
}

fn non_blocking_pipes_work<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let options = rustix::pipe::PipeFlags::NONBLOCK | rustix::pipe::PipeFlags::CLOEXEC;
        let (reader, writer) = rustix::pipe::pipe_with(options).unwrap();
        let reader = PipeReader::from_owned(&ring, reader);
        let writer = PipeWriter::from_owned(&ring, writer);
        let mut waits = reader.read(vec![0; 4]);
        assert!(poll_once(&mut waits).is_pending());
        writer.write_all("late").await.unwrap();
        assert_eq!(waits.await.unwrap().1, b"late");
        let (sent, got) =
            join(writer.write_all(pattern(300_000)), reader.read_exact(vec![0; 300_000])).await;
        assert!(sent.unwrap() == got.unwrap());
    });
}

fn a_child_process_is_written_to_and_read_from<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let mut child = Command::new("sh")
            .args(["-c", "cat; echo done >&2"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = PipeWriter::from_owned(&ring, child.stdin.take().unwrap());
        let stdout = PipeReader::from_owned(&ring, child.stdout.take().unwrap());
        let stderr = PipeReader::from_owned(&ring, child.stderr.take().unwrap());
        let write = async {
            let sent = stdin.write_all(pattern(200_000)).await.unwrap();
            stdin.close().await.unwrap();
            sent
        };
        let (sent, got) = join(write, stdout.read_exact(vec![0; 200_000])).await;
        assert!(got.unwrap() == sent);
        assert_eq!(stdout.read(vec![0; 1]).await.unwrap().0, 0);
        assert_eq!(stderr.read_exact(vec![0; 5]).await.unwrap(), b"done\n");
        assert!(child.wait().unwrap().success());
    });
}

/// A FIFO in a directory that goes away with the handle. Its path has been looked up, so that the kernel has it in its
/// cache.
fn fifo() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    assert!(path.exists());
    (dir, path)
}

/// Polls an open until only its other side can end it: the kernel is waiting in it.
async fn waits_in_kernel<M: Mode, T>(
    ring: &RingOf<M>,
    open: &mut (impl Future<Output = T> + Unpin),
) {
    // Two operations come first, and how long they take is not known; the third is in flight for as long as nobody
    // opens the other side.
    for _ in 0..20 {
        assert!(poll_once(open).is_pending(), "opened without the other side");
        ring.nop().await.unwrap();
        ring.timeout(std::time::Duration::from_millis(1)).await.unwrap();
    }
}

fn a_fifo_waits_for_the_other_side<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (_dir, path) = fifo();
        let mut reader = Box::pin(PipeReader::open(&ring, &path));
        waits_in_kernel(&ring, &mut reader).await;
        let (reader, writer) = join(reader, PipeWriter::open(&ring, &path)).await;
        let (reader, writer) = (reader.unwrap(), writer.unwrap());
        assert!(closes_on_exec(&reader) && closes_on_exec(&writer));
        writer.write_all("through").await.unwrap();
        assert_eq!(reader.read_exact(vec![0; 7]).await.unwrap(), b"through");
        // A read waits, as from a blocking descriptor.
        let mut waits = reader.read(vec![0; 4]);
        assert!(poll_once(&mut waits).is_pending());
        drop(writer);
        assert_eq!(waits.await.unwrap().0, 0);
        drop(reader);
        // The other way round.
        let mut writer = Box::pin(PipeWriter::open(&ring, &path));
        waits_in_kernel(&ring, &mut writer).await;
        let (writer, reader) = join(writer, PipeReader::open(&ring, &path)).await;
        writer.unwrap().write_all("again").await.unwrap();
        assert_eq!(reader.unwrap().read_exact(vec![0; 5]).await.unwrap(), b"again");
    });
}

fn a_fifo_whose_open_is_dropped_opens_later<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        if ring.features().backend == BackendKind::Fallback {
            eprintln!("skipped: an open that a thread has begun cannot be ended by the fallback");
            return;
        }
        let (_dir, path) = fifo();
        let mut writer = Box::pin(PipeWriter::open(&ring, &path));
        waits_in_kernel(&ring, &mut writer).await;
        drop(writer);
        settled(&ring).await;
        // Nobody is left who would write: this open waits.
        let mut reader = Box::pin(PipeReader::open(&ring, &path));
        waits_in_kernel(&ring, &mut reader).await;
        let (reader, writer) = join(reader, PipeWriter::open(&ring, &path)).await;
        writer.unwrap().write_all("x").await.unwrap();
        assert_eq!(reader.unwrap().read_exact(vec![0; 1]).await.unwrap(), b"x");
    });
}

fn a_path_that_is_no_fifo_is_refused<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let dir = tempfile::tempdir().unwrap();
        let kind = |error: std::io::Error| error.kind();
        let open = async |path: &Path| PipeReader::open(&ring, path).await.err().map(kind);
        assert_eq!(open(dir.path()).await, Some(ErrorKind::InvalidInput));
        let file = dir.path().join("file");
        File::create(&file).unwrap().write_all(b"kept").unwrap();
        assert_eq!(open(&file).await, Some(ErrorKind::InvalidInput));
        let written = PipeWriter::open(&ring, &file).await.err().map(kind);
        assert_eq!(written, Some(ErrorKind::InvalidInput));
        assert_eq!(std::fs::read(&file).unwrap(), b"kept");
        assert_eq!(open(&dir.path().join("none")).await, Some(ErrorKind::NotFound));
        assert_eq!(open(Path::new("a\0b")).await, Some(ErrorKind::InvalidInput));
        // One that is there already can be opened for both directions, without waiting, and taken over.
        let (_dir, path) = fifo();
        let both = OpenOptions::new().read(true).write(true);
        let fd: Fd<E::M> = ring.open(&path, &both).await.unwrap();
        let reader = PipeReader::open(&ring, &path).await.unwrap();
        PipeWriter::from_fd(&ring, fd).write_all("both").await.unwrap();
        assert_eq!(reader.read_exact(vec![0; 4]).await.unwrap(), b"both");
    });
}

fn dropped_pipes_are_closed<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (reader, writer) = pipe(&ring).await.unwrap();
        // An operation in flight keeps the end that it uses.
        let mut waits = reader.read(vec![0; 4]);
        assert!(poll_once(&mut waits).is_pending());
        drop(reader);
        writer.write_all("kept").await.unwrap();
        assert_eq!(waits.await.unwrap().1, b"kept");
        must_fail(writer.write("x").await, libc::EPIPE);
    });
}
