//! Directories: made, read and removed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]

mod common;

use std::collections::BTreeSet;
use std::fs as std_fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use common::net::poll_once;
use common::{Exec, everywhere, must_fail_plainly, with_ring};
use safer_ring::fs::{self, DirBuilder};
use safer_ring::{Mode, RingOf};

everywhere!(
    one_directory_is_made_and_removed,
    missing_parents_are_made,
    making_all_fails_where_something_else_is,
    the_mode_of_new_directories_is_chosen,
    a_thousand_entries_are_read,
    many_portions_are_read,
    entries_tell_what_they_are,
    reading_fails_as_opening_does,
    a_dropped_read_of_an_entry_loses_none,
    entries_outlive_the_path_of_their_directory,
    a_tree_is_removed,
    removing_a_tree_does_not_follow_links,
    removing_a_link_to_a_tree_leaves_the_tree,
    removing_all_of_no_directory_is_refused,
);

fn one_directory_is_made_and_removed<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(&ring, at("a")).await.unwrap();
        assert!(at("a").is_dir());
        must_fail_plainly(fs::create_dir(&ring, at("a")).await, libc::EEXIST);
        must_fail_plainly(fs::create_dir(&ring, at("b/c")).await, libc::ENOENT);
        must_fail_plainly(DirBuilder::new().create(&ring, at("b/c")).await, libc::ENOENT);
        std_fs::write(at("a/file"), "").unwrap();
        must_fail_plainly(fs::remove_dir(&ring, at("a")).await, libc::ENOTEMPTY);
        must_fail_plainly(fs::remove_dir(&ring, at("a/file")).await, libc::ENOTDIR);
        std_fs::remove_file(at("a/file")).unwrap();
        fs::remove_dir(&ring, at("a")).await.unwrap();
        assert!(!at("a").exists());
    });
}

fn missing_parents_are_made<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir_all(&ring, at("a/b/c/d")).await.unwrap();
        assert!(at("a/b/c/d").is_dir());
        fs::create_dir_all(&ring, at("a/b/c/d")).await.unwrap();
        fs::create_dir_all(&ring, at("a/b/x/")).await.unwrap();
        assert!(at("a/b/x").is_dir());
        symlink("a", at("link")).unwrap();
        fs::create_dir_all(&ring, at("link")).await.unwrap();
        fs::create_dir_all(&ring, at("link/new/er")).await.unwrap();
        assert!(at("a/new/er").is_dir());
        fs::create_dir_all(&ring, "/").await.unwrap();
        fs::create_dir_all(&ring, ".").await.unwrap();
        fs::create_dir_all(&ring, "").await.unwrap();
        // Relative, below a directory that is there.
        let relative = tempfile::tempdir_in(".").unwrap();
        let name = Path::new(relative.path().file_name().unwrap());
        fs::create_dir_all(&ring, name.join("p/q")).await.unwrap();
        assert!(relative.path().join("p/q").is_dir());
    });
}

fn making_all_fails_where_something_else_is<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std_fs::write(at("file"), "").unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        must_fail_plainly(fs::create_dir_all(&ring, at("file")).await, libc::EEXIST);
        must_fail_plainly(fs::create_dir_all(&ring, at("file/a/b")).await, libc::ENOTDIR);
        must_fail_plainly(fs::create_dir_all(&ring, at("dangling")).await, libc::EEXIST);
        let zero = fs::create_dir_all(&ring, at("a\0b")).await.unwrap_err();
        assert_eq!(zero.kind(), std::io::ErrorKind::InvalidInput);
    });
}

fn the_mode_of_new_directories_is_chosen<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let mode = |name: &str| std_fs::metadata(at(name)).unwrap().permissions().mode() & 0o777;
        DirBuilder::new().mode(0o700).create(&ring, at("one")).await.unwrap();
        let builder = DirBuilder::new().recursive(true).mode(0o500);
        builder.create(&ring, at("two")).await.unwrap();
        assert_eq!((mode("one"), mode("two")), (0o700, 0o500));
        DirBuilder::new().recursive(true).mode(0o700).create(&ring, at("x/y")).await.unwrap();
        assert_eq!((mode("x"), mode("x/y")), (0o700, 0o700));
    });
}

/// All names in a directory; each once.
async fn names<M: Mode>(ring: &RingOf<M>, path: &Path) -> BTreeSet<String> {
    let mut entries = fs::read_dir(ring, path).await.unwrap();
    let mut names = BTreeSet::new();
    while let Some(entry) = entries.next_entry().await.unwrap() {
        let name = entry.file_name().to_str().unwrap().to_owned();
        assert_eq!(entry.path(), path.join(&name));
        assert!(names.insert(name), "each once");
    }
    assert!(entries.next_entry().await.unwrap().is_none(), "the end stays");
    names
}

fn filled(count: usize) -> (tempfile::TempDir, BTreeSet<String>) {
    let directory = tempfile::tempdir().unwrap();
    let names: BTreeSet<_> = (0..count).map(|number| format!("entry-{number}")).collect();
    for name in &names {
        std_fs::File::create(directory.path().join(name)).unwrap();
    }
    (directory, names)
}

fn a_thousand_entries_are_read<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (directory, expected) = filled(1_000);
        assert_eq!(names(&ring, directory.path()).await, expected);
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(names(&ring, empty.path()).await, BTreeSet::new());
    });
}

fn many_portions_are_read<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (directory, expected) = filled(2_500);
        assert_eq!(names(&ring, directory.path()).await, expected);
    });
}

fn entries_tell_what_they_are<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std_fs::write(at("file"), "12345").unwrap();
        std_fs::create_dir(at("dir")).unwrap();
        symlink("dir", at("link")).unwrap();
        let _listener = UnixListener::bind(at("socket")).unwrap();
        let mut entries = fs::read_dir(&ring, directory.path()).await.unwrap();
        let mut seen = 0;
        while let Some(entry) = entries.next_entry().await.unwrap() {
            let (kind, metadata) =
                (entry.file_type().await.unwrap(), entry.metadata().await.unwrap());
            let name = entry.file_name().to_str().unwrap();
            match name {
                "file" => assert!(kind.is_file() && metadata.len() == 5),
                "dir" => assert!(kind.is_dir()),
                "link" => assert!(kind.is_symlink() && metadata.is_symlink(), "not followed"),
                _ => assert!(kind.is_socket(), "{name}: {kind:?}"),
            }
            assert_eq!(kind, metadata.file_type());
            assert_eq!(entry.ino(), std_fs::symlink_metadata(at(name)).unwrap().ino());
            seen += 1;
        }
        assert_eq!(seen, 4, "without . and ..");
    });
}

fn reading_fails_as_opening_does<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        must_fail_plainly(fs::read_dir(&ring, "/does/not/exist").await, libc::ENOENT);
        must_fail_plainly(fs::read_dir(&ring, "/proc/self/exe").await, libc::ENOTDIR);
        let directory = tempfile::tempdir().unwrap();
        std_fs::write(directory.path().join("gone"), "").unwrap();
        let mut entries = fs::read_dir(&ring, directory.path()).await.unwrap();
        let entry = entries.next_entry().await.unwrap().unwrap();
        std_fs::remove_file(entry.path()).unwrap();
        must_fail_plainly(entry.metadata().await, libc::ENOENT);
    });
}

fn a_dropped_read_of_an_entry_loses_none<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (directory, expected) = filled(100);
        let mut entries = fs::read_dir(&ring, directory.path()).await.unwrap();
        let mut names = BTreeSet::new();
        // The first poll starts a call on a helper thread.
        if let std::task::Poll::Ready(entry) = poll_once(&mut Box::pin(entries.next_entry())) {
            names.insert(entry.unwrap().unwrap().file_name().to_str().unwrap().to_owned());
        }
        while let Some(entry) = entries.next_entry().await.unwrap() {
            names.insert(entry.file_name().to_str().unwrap().to_owned());
        }
        assert_eq!(names, expected);
    });
}

fn entries_outlive_the_path_of_their_directory<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let (old, new) = (directory.path().join("old"), directory.path().join("new"));
        std_fs::create_dir(&old).unwrap();
        std_fs::write(old.join("file"), "12345").unwrap();
        let mut entries = fs::read_dir(&ring, &old).await.unwrap();
        std_fs::rename(&old, &new).unwrap();
        let entry = entries.next_entry().await.unwrap().unwrap();
        drop(entries);
        assert_eq!(entry.metadata().await.unwrap().len(), 5);
    });
}

fn a_tree_is_removed<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        for path in ["a/b/c/d/e", "a/b2", "a3/x", "empty"] {
            std_fs::create_dir_all(root.join(path)).unwrap();
        }
        for number in 0..200 {
            std_fs::write(root.join(format!("a/b/{number}")), "x").unwrap();
            std_fs::create_dir(root.join(format!("a3/{number}"))).unwrap();
        }
        symlink("a", root.join("link")).unwrap();
        let _socket = UnixListener::bind(root.join("a/socket")).unwrap();
        fs::remove_dir_all(&ring, &root).await.unwrap();
        assert!(!root.exists());
        assert_eq!(std_fs::read_dir(directory.path()).unwrap().count(), 0);
        must_fail_plainly(fs::remove_dir_all(&ring, &root).await, libc::ENOENT);
    });
}

fn removing_a_tree_does_not_follow_links<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std_fs::create_dir_all(at("precious/inner")).unwrap();
        std_fs::write(at("precious/inner/file"), "keep").unwrap();
        std_fs::create_dir_all(at("root/sub")).unwrap();
        symlink(at("precious"), at("root/absolute")).unwrap();
        symlink("../../precious", at("root/sub/relative")).unwrap();
        symlink(at("precious/inner/file"), at("root/file")).unwrap();
        fs::remove_dir_all(&ring, at("root")).await.unwrap();
        assert!(!at("root").exists());
        assert_eq!(std_fs::read(at("precious/inner/file")).unwrap(), b"keep");
    });
}

fn removing_a_link_to_a_tree_leaves_the_tree<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std_fs::create_dir(at("precious")).unwrap();
        std_fs::write(at("precious/file"), "keep").unwrap();
        for slash in ["", "/", "/."] {
            symlink("precious", at("link")).unwrap();
            fs::remove_dir_all(&ring, format!("{}{slash}", at("link").display())).await.unwrap();
            assert!(std_fs::symlink_metadata(at("link")).is_err(), "the link is removed");
            assert_eq!(std_fs::read(at("precious/file")).unwrap(), b"keep");
        }
    });
}

fn removing_all_of_no_directory_is_refused<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std_fs::write(&path, "keep").unwrap();
        must_fail_plainly(fs::remove_dir_all(&ring, &path).await, libc::ENOTDIR);
        assert_eq!(std_fs::read(&path).unwrap(), b"keep");
        must_fail_plainly(fs::remove_dir_all(&ring, "").await, libc::ENOENT);
    });
}
