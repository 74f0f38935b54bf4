//! `fs::File`: how it is opened, what it does in one operation, how it is given up.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]

mod common;

use std::fs::Permissions;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use common::net::{closes_on_exec, pipe, poll_once, settled};
use common::{Exec, everywhere, failure, must_fail, must_fail_plainly, pattern, with_ring};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use safer_ring::fs::{File, OpenOptions};
use safer_ring::{Failure, FallocateMode, Fd, Mode, Ring, RingOf};

everywhere!(
    files_are_opened_and_made,
    opening_fails_as_with_std,
    the_cursor_is_moved_by_cursor_operations_only,
    errors_give_the_buffer_back,
    vectored_forms_keep_the_order,
    an_offset_that_would_mean_the_cursor_is_refused,
    appending_files_ignore_offsets,
    a_file_of_std_is_taken_over_and_given_back,
    a_file_of_std_that_appends_is_known_to,
    a_shared_file_is_not_given_back_to_std,
    a_non_blocking_descriptor_is_waited_for,
    a_clone_has_the_same_cursor,
    close_gives_a_shared_file_back,
    an_operation_keeps_the_descriptor_of_a_dropped_file,
    lengths_and_space_are_set,
    sync_works_and_fails_as_in_the_kernel,
    metadata_is_that_of_std,
    permissions_are_set,
    a_dropped_write_is_written_all_the_same,
    opened_files_close_on_exec_and_show_themselves,
);

async fn made<M: Mode>(ring: &RingOf<M>, dir: &Path, content: &[u8]) -> File<M> {
    let path = dir.join("made");
    std::fs::write(&path, content).unwrap();
    OpenOptions::new().read(true).write(true).open(ring, path).await.unwrap()
}

fn files_are_opened_and_made<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let file = File::create(&ring, &path).await.unwrap();
        assert_eq!(file.write("content").await.unwrap(), (7, "content"));
        must_fail(file.read_at(vec![0; 9], 0).await, libc::EBADF);
        let file = File::open(&ring, &path).await.unwrap();
        assert_eq!(file.read(vec![0; 9]).await.unwrap(), (7, b"content".to_vec()));
        must_fail(file.write_at("x", 0).await, libc::EBADF);
        File::create(&ring, &path).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0, "cut by create");
        must_fail_plainly(File::create_new(&ring, &path).await, libc::EEXIST);
        let new = File::create_new(&ring, directory.path().join("new")).await.unwrap();
        new.write_at("new", 0).await.unwrap();
        assert_eq!(new.read_at(vec![0; 3], 0).await.unwrap().1, b"new");
        let options = File::options().append(true).create(true).mode(0o600);
        options.open(&ring, directory.path().join("private")).await.unwrap();
        let private = std::fs::metadata(directory.path().join("private")).unwrap();
        assert_eq!(private.permissions().mode() & 0o777, 0o600);
    });
}

fn opening_fails_as_with_std<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        must_fail_plainly(File::open(&ring, "/does/not/exist").await, libc::ENOENT);
        must_fail_plainly(File::create(&ring, "/").await, libc::EISDIR);
        let nothing = OpenOptions::new().open(&ring, "/dev/null").await.unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::InvalidInput);
        let zero = File::open(&ring, "a\0b").await.unwrap_err();
        assert_eq!(zero.kind(), io::ErrorKind::InvalidInput);
    });
}

fn the_cursor_is_moved_by_cursor_operations_only<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let file = made(&ring, directory.path(), b"0123456789").await;
        assert_eq!(file.read(vec![0; 3]).await.unwrap().1, b"012");
        assert_eq!(file.read_at(vec![0; 2], 8).await.unwrap().1, b"89");
        assert_eq!(file.write_at("z", 9).await.unwrap().0, 1);
        assert_eq!(file.write("xy").await.unwrap().0, 2);
        assert_eq!(file.read(vec![0; 100]).await.unwrap(), (5, b"5678z".to_vec()));
        assert_eq!(file.read(vec![0; 100]).await.unwrap(), (0, vec![]));
    });
}

fn errors_give_the_buffer_back<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let root = File::open(&ring, "/").await.unwrap();
        let back = must_fail(root.read(b"old".to_vec()).await, libc::EISDIR);
        assert_eq!(must_fail(root.read_at(back, 0).await, libc::EISDIR), b"old");
        let back = must_fail(root.write(b"old".to_vec()).await, libc::EBADF);
        assert_eq!(must_fail(root.write_at(back, 0).await, libc::EBADF), b"old");
        let two = vec![b"a".to_vec(), b"b".to_vec()];
        let two = must_fail(root.read_vectored(two).await, libc::EISDIR);
        let two = must_fail(root.read_vectored_at(two, 0).await, libc::EISDIR);
        let two = must_fail(root.write_vectored(two).await, libc::EBADF);
        let two = must_fail(root.write_vectored_at(two, 0).await, libc::EBADF);
        assert_eq!(two, [b"a", b"b"]);
    });
}

fn vectored_forms_keep_the_order<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let file = made(&ring, directory.path(), b"").await;
        assert_eq!(file.write_vectored(vec!["ab", "", "cd"]).await.unwrap().0, 4);
        assert_eq!(file.write_vectored_at(vec!["X", "Y"], 1).await.unwrap().0, 2);
        let (n, parts) = file.read_vectored_at(vec![vec![0; 3], vec![0; 5]], 0).await.unwrap();
        assert_eq!((n, parts), (4, vec![b"aXY".to_vec(), b"d".to_vec()]));
        let (n, parts) = file.read_vectored(vec![vec![0; 3]]).await.unwrap();
        assert_eq!((n, &parts[0][..]), (0, &b""[..]), "the cursor stands behind what was written");
        let error = file.write_vectored(vec!["x"; 1025]).await.unwrap_err();
        assert_eq!((error.kind(), error.buffer.len()), (io::ErrorKind::InvalidInput, 1025));
    });
}

fn an_offset_that_would_mean_the_cursor_is_refused<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let file = made(&ring, directory.path(), b"content").await;
        let submitted = ring.snapshot().submitted;
        must_fail(file.read_at(vec![0; 3], u64::MAX).await, libc::EINVAL);
        must_fail(file.write_at("abc", u64::MAX).await, libc::EINVAL);
        must_fail(file.read_vectored_at(vec![vec![0; 3]], u64::MAX).await, libc::EINVAL);
        must_fail(file.write_vectored_at(vec!["abc"], u64::MAX).await, libc::EINVAL);
        assert_eq!(ring.snapshot().submitted, submitted, "the kernel is not asked");
        assert_eq!(file.read(vec![0; 9]).await.unwrap().1, b"content", "the cursor has not moved");
    });
}

fn appending_files_ignore_offsets<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, "first").unwrap();
        let file = OpenOptions::new().read(true).append(true).open(&ring, &path).await.unwrap();
        file.write_at("-second", 0).await.unwrap();
        file.write_vectored_at(vec!["-", "third"], 1).await.unwrap();
        file.write_all_at("-fourth", 2).await.unwrap();
        file.write_all("-fifth").await.unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"first-second-third-fourth-fifth");
        assert_eq!(file.read_at(vec![0; 3], 2).await.unwrap().1, b"rst", "reads do not");
    });
}

fn a_file_of_std_is_taken_over_and_given_back<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let mut std_file = tempfile::tempfile().unwrap();
        std_file.write_all(b"content").unwrap();
        std_file.rewind().unwrap();
        let number = std_file.as_raw_fd();
        let file = File::from_std(&ring, std_file);
        assert_eq!(file.as_fd().as_raw_fd(), number);
        assert_eq!(file.read(vec![0; 3]).await.unwrap().1, b"con");
        let mut std_file = std::fs::File::try_from(file).unwrap();
        assert_eq!(std_file.as_raw_fd(), number, "the same descriptor");
        let mut rest = String::new();
        std_file.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "tent");
    });
}

fn a_file_of_std_that_appends_is_known_to<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let std_file = std::fs::File::options().append(true).create(true).open(&path).unwrap();
        assert!(format!("{:?}", File::from_std(&ring, std_file)).contains("append: true"));
        let std_file = std::fs::File::options().write(true).open(&path).unwrap();
        assert!(format!("{:?}", File::from_std(&ring, std_file)).contains("append: false"));
        let mut direct = std::fs::File::options();
        direct.read(true).custom_flags(libc::O_DIRECT);
        if let Ok(std_file) = direct.open(&path) {
            assert!(format!("{:?}", File::from_std(&ring, std_file)).contains("direct: true"));
        }
    });
}

fn a_shared_file_is_not_given_back_to_std<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (reader, mut writer) = io::pipe().unwrap();
        let file = File::from_fd(&ring, Fd::new(reader));
        let handle = file.fd().clone();
        let file = file.into_std().unwrap_err();
        drop(handle);
        let mut read = file.read(vec![0; 8]);
        assert!(poll_once(&mut read).is_pending());
        let file = std::fs::File::try_from(file).unwrap_err();
        writer.write_all(b"over").unwrap();
        assert_eq!(read.await.unwrap().1, b"over");
        let mut file = file.into_std().unwrap();
        drop(writer);
        assert_eq!(file.read(&mut [0; 8]).unwrap(), 0);
    });
}

fn set_non_blocking(fd: &impl AsFd) {
    let flags = fcntl_getfl(fd).unwrap();
    fcntl_setfl(fd, flags | OFlags::NONBLOCK).unwrap();
}

fn a_non_blocking_descriptor_is_waited_for<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (reader, writer) = pipe();
        set_non_blocking(&reader);
        let reader = File::from_std(&ring, reader.into());
        let mut writer = std::fs::File::from(writer);
        let late = async {
            ring.nop().await.unwrap();
            writer.write_all(b"late").unwrap();
        };
        let (read, ()) = futures_util::join!(reader.read(vec![0; 8]), late);
        assert_eq!(read.unwrap(), (4, b"late".to_vec()));
        let mut regular = std::fs::File::options();
        regular.read(true).custom_flags(libc::O_NONBLOCK);
        let regular = File::from_std(&ring, regular.open("/proc/self/exe").unwrap());
        assert_eq!(regular.read_exact_at(vec![0; 4], 0).await.unwrap(), b"\x7fELF");
    });
}

fn a_clone_has_the_same_cursor<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let file = made(&ring, directory.path(), b"0123456789").await;
        let clone = file.try_clone().unwrap();
        assert_ne!(clone.as_fd().as_raw_fd(), file.as_fd().as_raw_fd());
        assert!(closes_on_exec(&clone));
        assert_eq!(file.read(vec![0; 3]).await.unwrap().1, b"012");
        assert_eq!(clone.read(vec![0; 3]).await.unwrap().1, b"345");
        file.close().await.unwrap();
        assert_eq!(clone.read(vec![0; 3]).await.unwrap().1, b"678", "closed by itself");
    });
}

fn close_gives_a_shared_file_back<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = File::open(&ring, "/proc/self/exe").await.unwrap();
        let handle = file.fd().clone();
        let error = file.close().await.unwrap_err();
        assert_eq!(failure(&error.error), Some(Failure::Busy { others: 1 }));
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        let file = error.into_buffer().unwrap();
        assert_eq!(file.read_exact_at(vec![0; 4], 0).await.unwrap(), b"\x7fELF");
        drop(handle);
        let (reader, writer) = pipe();
        let writer = File::from_fd(&ring, Fd::<E::M>::new(writer));
        writer.close().await.unwrap();
        assert_eq!(std::fs::File::from(reader).read(&mut [0]).unwrap(), 0, "it is closed");
        file.close().await.unwrap();
    });
}

fn an_operation_keeps_the_descriptor_of_a_dropped_file<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (reader, writer) = pipe();
        let file = File::from_std(&ring, reader.into());
        let mut read = file.read(vec![0; 8]);
        assert!(poll_once(&mut read).is_pending());
        drop(file);
        std::fs::File::from(writer).write_all(b"still").unwrap();
        assert_eq!(read.await.unwrap().1, b"still");
    });
}

fn lengths_and_space_are_set<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let file = made(&ring, directory.path(), &pattern(10_000)).await;
        file.set_len(5_000).await.unwrap();
        assert_eq!(file.metadata().await.unwrap().len(), 5_000);
        file.allocate(FallocateMode::Allocate, 0, 20_000).await.unwrap();
        assert_eq!(file.metadata().await.unwrap().len(), 20_000);
        file.allocate(FallocateMode::PunchHole, 0, 4096).await.unwrap();
        let content = file.read_exact_at(vec![1; 5_000], 0).await.unwrap();
        assert!(content[..4096] == [0; 4096] && content[4096..] == pattern(5_000)[4096..]);
        must_fail_plainly(file.allocate(FallocateMode::Allocate, 0, 0).await, libc::EINVAL);
        let read_only = File::open(&ring, directory.path().join("made")).await.unwrap();
        must_fail_plainly(read_only.set_len(1).await, libc::EINVAL);
    });
}

fn sync_works_and_fails_as_in_the_kernel<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let file = made(&ring, directory.path(), b"content").await;
        file.sync_all().await.unwrap();
        file.sync_data().await.unwrap();
        let (reader, _writer) = pipe();
        let pipe = File::from_std(&ring, reader.into());
        must_fail_plainly(pipe.sync_all().await, libc::EINVAL);
        must_fail_plainly(pipe.sync_data().await, libc::EINVAL);
    });
}

fn metadata_is_that_of_std<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let file = made(&ring, directory.path(), b"content").await;
        let path = directory.path().join("made");
        std::fs::hard_link(&path, directory.path().join("other")).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let (ours, std) = (file.metadata().await.unwrap(), std::fs::metadata(&path).unwrap());
        assert_eq!((ours.ino(), ours.nlink()), (std.ino(), 2));
        assert_eq!((ours.dev(), ours.rdev()), (std.dev(), std.rdev()));
        assert_eq!(ours.permissions(), std.permissions());
        let changed = ours.changed().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(changed.as_secs(), u64::try_from(std.ctime()).unwrap());
        assert_eq!(i64::from(changed.subsec_nanos()), std.ctime_nsec());
        assert!(ours.file_type().is_file() && !ours.file_type().is_dir());
        assert_eq!(format!("{:?}", ours.file_type()), "FileType(\"file\")");
        let null = ring.statx("/dev/null").await.unwrap();
        assert!(null.file_type().is_char_device() && !null.file_type().is_block_device());
        assert_eq!(null.rdev(), std::fs::metadata("/dev/null").unwrap().rdev());
        assert!(File::open(&ring, "/").await.unwrap().metadata().await.unwrap().is_dir());
        let (reader, _writer) = pipe();
        let pipe = File::from_std(&ring, reader.into()).metadata().await.unwrap();
        assert!(pipe.file_type().is_fifo() && !pipe.file_type().is_socket());
    });
}

fn permissions_are_set<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let file = made(&ring, directory.path(), b"").await;
        file.set_permissions(Permissions::from_mode(0o604)).await.unwrap();
        assert_eq!(file.metadata().await.unwrap().mode() & 0o7777, 0o604);
    });
}

fn a_dropped_write_is_written_all_the_same<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let file = made(&ring, directory.path(), b"").await;
        let mut write = file.write_at(pattern(100_000), 7);
        let _ = poll_once(&mut write);
        drop((write, file));
        settled(&ring).await;
        let content = std::fs::read(directory.path().join("made")).unwrap();
        assert!(content[..7] == [0; 7] && content[7..] == pattern(100_000));
    });
}

fn opened_files_close_on_exec_and_show_themselves<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = File::open(&ring, "/dev/null").await.unwrap();
        assert!(closes_on_exec(&file));
        let shown = format!("{file:?}");
        assert!(shown.contains(&format!("Fd({})", file.as_fd().as_raw_fd())), "{shown}");
        assert_eq!(file.ring().features().entries, ring.features().entries);
    });
}

#[test]
fn files_and_what_they_do_are_send() {
    fn send<T: Send>(_: &T) {}
    let ring = Ring::new(8).unwrap();
    send(&File::open(&ring, "/dev/null"));
    let file = pollster::block_on(File::open(&ring, "/dev/null")).unwrap();
    send(&file);
    send(&file.read(vec![0; 8]));
    send(&file.read_exact(vec![0; 8]));
    send(&file.write_all("x"));
    send(&file.read_to_end(Vec::new()));
    send(&file.copy_to(0, &file, 0, 1));
    send(&safer_ring::fs::copy(&ring, "a", "b"));
    send(&safer_ring::fs::remove_dir_all(&ring, "a"));
    send(&safer_ring::fs::create_dir_all(&ring, "a"));
    send(&safer_ring::fs::tempfile(&ring, "a"));
    let mut entries = pollster::block_on(safer_ring::fs::read_dir(&ring, "/")).unwrap();
    send(&entries.next_entry());
    send(&entries);
    fn sync<T: Sync>(_: &T) {}
    sync(&file);
}
