//! Functions of `fs` on paths, whole files, copies and files without a name.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]

mod common;

use std::fs as std_fs;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};

use common::alone::{alone, descriptors};
use common::net::{closes_on_exec, pipe};
use common::{Exec, everywhere, must_fail_plainly, pattern, with_ring};
use rustix::fs::{AtFlags, CWD, linkat};
use safer_ring::Ring;
use safer_ring::fs::{self, File, OpenOptions, Permissions};

everywhere!(
    whole_files_are_written_and_read,
    whole_files_fail_with_the_buffer,
    paths_are_renamed_linked_and_removed,
    links_are_read_and_paths_made_canonical,
    permissions_of_paths_are_set,
    existence_is_told_apart_from_errors,
    a_copy_has_content_and_permissions,
    a_copy_replaces_a_longer_file,
    a_copy_of_no_file_is_refused,
    a_copy_onto_itself_is_refused_and_harms_nothing,
    ranges_are_copied_between_files,
    a_copy_into_a_pipe_arrives,
    a_copy_that_fails_says_how_far_it_came,
    a_direct_file_is_copied_to_its_end,
    a_temporary_file_has_no_name,
    a_file_in_memory_has_no_path,
);

fn whole_files_are_written_and_read<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        assert!(fs::write(&ring, &path, pattern(300_000)).await.unwrap() == pattern(300_000));
        assert!(fs::read(&ring, &path).await.unwrap() == pattern(300_000));
        fs::write(&ring, &path, "short").await.unwrap();
        assert_eq!(fs::read_to_string(&ring, &path).await.unwrap(), "short");
        fs::write(&ring, &path, b"\xff".to_vec()).await.unwrap();
        let error = fs::read_to_string(&ring, &path).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(!fs::read(&ring, "/proc/self/status").await.unwrap().is_empty());
    });
}

fn whole_files_fail_with_the_buffer<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        must_fail_plainly(fs::read(&ring, "/does/not/exist").await, libc::ENOENT);
        must_fail_plainly(fs::read_to_string(&ring, "/").await, libc::EISDIR);
        let error = fs::write(&ring, "/does/not/exist", b"data".to_vec()).await.unwrap_err();
        assert_eq!(error.error.raw_os_error(), Some(libc::ENOENT));
        assert_eq!((error.transferred, &error.buffer[..]), (0, &b"data"[..]));
        let error = fs::write(&ring, "/dev/full", b"data".to_vec()).await.unwrap_err();
        assert_eq!(error.error.raw_os_error(), Some(libc::ENOSPC));
        assert_eq!(error.into_buffer(), b"data");
    });
}

fn paths_are_renamed_linked_and_removed<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std_fs::write(at("a"), "a").unwrap();
        std_fs::write(at("b"), "b").unwrap();
        fs::rename(&ring, at("a"), at("b")).await.unwrap();
        assert_eq!(std_fs::read(at("b")).unwrap(), b"a");
        fs::hard_link(&ring, at("b"), at("hard")).await.unwrap();
        assert_eq!(fs::metadata(&ring, at("b")).await.unwrap().nlink(), 2);
        fs::symlink(&ring, "b", at("soft")).await.unwrap();
        assert!(fs::symlink_metadata(&ring, at("soft")).await.unwrap().is_symlink());
        assert!(fs::metadata(&ring, at("soft")).await.unwrap().is_file());
        fs::remove_file(&ring, at("soft")).await.unwrap();
        assert!(at("b").exists(), "the link is removed, not what it says");
        must_fail_plainly(fs::remove_file(&ring, at("soft")).await, libc::ENOENT);
        must_fail_plainly(fs::remove_file(&ring, directory.path()).await, libc::EISDIR);
        must_fail_plainly(fs::rename(&ring, at("none"), at("x")).await, libc::ENOENT);
        must_fail_plainly(fs::hard_link(&ring, at("none"), at("x")).await, libc::ENOENT);
        must_fail_plainly(fs::symlink(&ring, "x", at("b")).await, libc::EEXIST);
    });
}

fn links_are_read_and_paths_made_canonical<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let root = std_fs::canonicalize(directory.path()).unwrap();
        std_fs::create_dir(root.join("dir")).unwrap();
        symlink("dir", root.join("soft")).unwrap();
        assert_eq!(fs::read_link(&ring, root.join("soft")).await.unwrap().to_str(), Some("dir"));
        must_fail_plainly(fs::read_link(&ring, root.join("dir")).await, libc::EINVAL);
        must_fail_plainly(fs::read_link(&ring, root.join("none")).await, libc::ENOENT);
        let found = fs::canonicalize(&ring, root.join("soft/../soft/.")).await.unwrap();
        assert_eq!(found, root.join("dir"));
        must_fail_plainly(fs::canonicalize(&ring, root.join("none")).await, libc::ENOENT);
    });
}

fn permissions_of_paths_are_set<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std_fs::write(&path, "").unwrap();
        fs::set_permissions(&ring, &path, Permissions::from_mode(0o640)).await.unwrap();
        assert_eq!(std_fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
        let mut permissions = fs::metadata(&ring, &path).await.unwrap().permissions();
        permissions.set_readonly(true);
        fs::set_permissions(&ring, &path, permissions).await.unwrap();
        assert_eq!(std_fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o440);
        let none = directory.path().join("none");
        let failed = fs::set_permissions(&ring, none, Permissions::from_mode(0o0)).await;
        must_fail_plainly(failed, libc::ENOENT);
    });
}

fn existence_is_told_apart_from_errors<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std_fs::write(at("file"), "").unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        assert!(fs::try_exists(&ring, at("file")).await.unwrap());
        assert!(!fs::try_exists(&ring, at("none")).await.unwrap());
        assert!(!fs::try_exists(&ring, at("dangling")).await.unwrap());
        must_fail_plainly(fs::try_exists(&ring, at("file/below")).await, libc::ENOTDIR);
    });
}

fn a_copy_has_content_and_permissions<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        // Not a whole number of pieces.
        let content = pattern(3 * 1024 * 1024 + 12_345);
        std_fs::write(&from, &content).unwrap();
        std_fs::set_permissions(&from, Permissions::from_mode(0o751)).unwrap();
        let copied = fs::copy(&ring, &from, &to).await.unwrap();
        assert_eq!(copied, content.len() as u64);
        assert!(std_fs::read(&to).unwrap() == content);
        assert_eq!(std_fs::metadata(&to).unwrap().permissions().mode() & 0o7777, 0o751);
        for len in [0, 1, 256 * 1024, 256 * 1024 + 1, 512 * 1024] {
            std_fs::write(&from, &content[..len]).unwrap();
            assert_eq!(fs::copy(&ring, &from, &to).await.unwrap(), len as u64);
            assert!(std_fs::read(&to).unwrap() == content[..len], "{len}");
        }
        // The source's size is not believed.
        let status = fs::copy(&ring, "/proc/self/status", &to).await.unwrap();
        assert!(status > 0 && std_fs::metadata(&to).unwrap().len() == status);
    });
}

fn a_copy_replaces_a_longer_file<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        std_fs::write(&from, "new").unwrap();
        std_fs::write(&to, pattern(10_000)).unwrap();
        std_fs::set_permissions(&from, Permissions::from_mode(0o600)).unwrap();
        std_fs::set_permissions(&to, Permissions::from_mode(0o666)).unwrap();
        assert_eq!(fs::copy(&ring, &from, &to).await.unwrap(), 3);
        assert_eq!(std_fs::read(&to).unwrap(), b"new");
        assert_eq!(std_fs::metadata(&to).unwrap().permissions().mode() & 0o7777, 0o600);
    });
}

fn a_copy_of_no_file_is_refused<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let to = directory.path().join("to");
        let error = fs::copy(&ring, "/", &to).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        must_fail_plainly(fs::copy(&ring, directory.path().join("none"), &to).await, libc::ENOENT);
        assert!(!to.exists());
    });
}

fn a_copy_onto_itself_is_refused_and_harms_nothing<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let (path, other) = (directory.path().join("file"), directory.path().join("other"));
        std_fs::write(&path, "precious").unwrap();
        std_fs::hard_link(&path, &other).unwrap();
        for to in [&path, &other] {
            let error = fs::copy(&ring, &path, to).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert_eq!(std_fs::read(&path).unwrap(), b"precious");
        }
    });
}

fn ranges_are_copied_between_files<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let from = File::create_new(&ring, directory.path().join("from")).await.unwrap();
        let to = File::create_new(&ring, directory.path().join("to")).await.unwrap();
        from.write_all_at(pattern(1_000_000), 0).await.unwrap();
        to.write_all_at("head", 0).await.unwrap();
        assert_eq!(from.copy_to(5, &to, 4, 600_000).await.unwrap(), 600_000);
        let all = std_fs::read(directory.path().join("to")).unwrap();
        assert!(&all[..4] == b"head" && all[4..] == pattern(1_000_000)[5..600_005]);
        assert_eq!(from.copy_to(999_990, &to, 0, 100).await.unwrap(), 10, "to the end");
        assert_eq!(from.copy_to(2_000_000, &to, 0, 100).await.unwrap(), 0);
        assert_eq!(from.copy_to(0, &to, 0, 0).await.unwrap(), 0);
        assert_eq!(to.metadata().await.unwrap().len(), 600_004, "not cut");
        assert_eq!(from.read(vec![0; 1]).await.unwrap().0, 1);
        assert_eq!(from.read(vec![0; 1]).await.unwrap().1, &pattern(2)[1..], "cursors stay");
    });
}

fn a_copy_into_a_pipe_arrives<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (source, sink) = (tempfile::tempfile().unwrap(), pipe());
        (&source).write_all(&pattern(1_000_000)).unwrap();
        let source = File::from_std(&ring, source);
        let (reader, writer) = sink;
        let drained = std::thread::spawn(move || {
            let mut all = Vec::new();
            io::Read::read_to_end(&mut std_fs::File::from(reader), &mut all).unwrap();
            all
        });
        let target = File::from_std(&ring, writer.into());
        assert_eq!(source.copy_to(0, &target, 0, u64::MAX).await.unwrap(), 1_000_000);
        target.close().await.unwrap();
        assert!(drained.join().unwrap() == pattern(1_000_000));
    });
}

fn a_copy_that_fails_says_how_far_it_came<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let source = tempfile::tempfile().unwrap();
        (&source).write_all(&pattern(1_000_000)).unwrap();
        let source = File::from_std(&ring, source);
        let full = OpenOptions::new().write(true).open(&ring, "/dev/full").await.unwrap();
        let error = source.copy_to(0, &full, 0, u64::MAX).await.unwrap_err();
        assert_eq!((error.error.raw_os_error(), error.transferred), (Some(libc::ENOSPC), 0));
        let root = File::open(&ring, "/").await.unwrap();
        let error = root.copy_to(0, &full, 0, u64::MAX).await.unwrap_err();
        assert_eq!((error.error.raw_os_error(), error.transferred), (Some(libc::EISDIR), 0));
        let error = source.copy_to(0, &full, u64::MAX, 10).await.unwrap_err();
        assert_eq!(error.error.raw_os_error(), Some(libc::EINVAL));
    });
}

fn a_direct_file_is_copied_to_its_end<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        std_fs::write(&from, pattern(600_001)).unwrap();
        let options = OpenOptions::new().read(true).direct(true);
        let source = match options.open(&ring, &from).await {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return,
            source => source.unwrap(),
        };
        let target = File::create(&ring, &to).await.unwrap();
        assert_eq!(source.copy_to(0, &target, 0, u64::MAX).await.unwrap(), 600_001);
        assert!(std_fs::read(&to).unwrap() == pattern(600_001));
    });
}

fn a_temporary_file_has_no_name<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let file = fs::tempfile(&ring, directory.path()).await.unwrap();
        file.write_all_at("content", 0).await.unwrap();
        assert_eq!(file.read_exact_at(vec![0; 7], 0).await.unwrap(), b"content");
        let metadata = file.metadata().await.unwrap();
        assert_eq!((metadata.nlink(), metadata.mode() & 0o777), (0, 0o600));
        assert_eq!(std_fs::read_dir(directory.path()).unwrap().count(), 0);
        // Nor can it get one.
        let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
        let name = directory.path().join("name");
        let linked = linkat(CWD, path, CWD, name, AtFlags::SYMLINK_FOLLOW);
        assert_eq!(linked, Err(rustix::io::Errno::NOENT));
        must_fail_plainly(fs::tempfile(&ring, "/does/not/exist").await, libc::ENOENT);
        let no_directory = fs::tempfile(&ring, "/proc/self/exe").await;
        must_fail_plainly(no_directory, libc::ENOTDIR);
    });
}

fn a_file_in_memory_has_no_path<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = fs::anonymous(&ring, "scratch").unwrap();
        assert!(closes_on_exec(&file));
        file.write_all(pattern(100_000)).await.unwrap();
        assert!(file.read_exact_at(vec![0; 100_000], 0).await.unwrap() == pattern(100_000));
        let link = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
        let link = fs::read_link(&ring, link).await.unwrap();
        assert!(link.to_str().unwrap().contains("memfd:scratch"), "{link:?}");
        let invalid = |name: &str| fs::anonymous(&ring, name).unwrap_err().raw_os_error();
        assert_eq!(invalid(&"x".repeat(250)), Some(libc::EINVAL));
        assert_eq!(invalid("a\0b"), Some(libc::EINVAL));
    });
}

#[test]
fn no_descriptor_is_left_open() {
    alone("no_descriptor_is_left_open", || {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let ring = Ring::new(8).unwrap();
        pollster::block_on(async {
            fs::write(&ring, root.join("warm"), "up").await.unwrap();
            let before = descriptors();
            fs::copy(&ring, root.join("warm"), root.join("copy")).await.unwrap();
            fs::create_dir_all(&ring, root.join("a/b/c")).await.unwrap();
            let mut entries = fs::read_dir(&ring, root).await.unwrap();
            while entries.next_entry().await.unwrap().is_some() {}
            drop(entries);
            fs::remove_dir_all(&ring, root.join("a")).await.unwrap();
            drop(fs::tempfile(&ring, root).await.unwrap());
            drop(fs::anonymous(&ring, "x").unwrap());
            assert_eq!(descriptors(), before, "{:?}", common::alone::describe_descriptors());
        });
    });
}
