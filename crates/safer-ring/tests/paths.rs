//! Operations on paths and directories, on a real kernel.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]

mod common;

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::time::{Duration, SystemTime};

use common::{Exec, everywhere, must_fail_plainly, of_the_kernel, with_built, with_ring};
use safer_ring::{Fd, Mode, OpenHow, OpenOptions, RenameMode, RingOf, sys::opcode};

everywhere!(
    open_follows_its_options,
    open_refuses_what_excludes_itself,
    open_fails_as_open_does,
    open_at_starts_from_its_directory,
    openat2_controls_how_a_path_is_walked,
    opened_files_close_on_exec,
    paths_with_a_zero_byte_are_refused,
    statx_tells_the_size,
    statx_sees_links_and_open_files,
    paths_are_made_renamed_linked_and_removed,
    paths_are_made_renamed_linked_and_removed_without_opcodes,
    path_operations_fail_as_their_system_calls_do,
    path_operations_fail_alike_without_opcodes,
    a_path_operation_that_is_dropped_in_flight_runs_to_its_end,
);

/// What a ring needs to be told to run path operations as plain calls.
const PLAIN: [u8; 6] = [
    opcode::FTRUNCATE,
    opcode::RENAMEAT,
    opcode::UNLINKAT,
    opcode::MKDIRAT,
    opcode::SYMLINKAT,
    opcode::LINKAT,
];

fn open_follows_its_options<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let new = OpenOptions::new().write(true).create_new(true).mode(0o640);
        let file = ring.open(&path, &new).await.unwrap();
        ring.write_owned(&file, "content").await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777 & !0o640, 0);
        must_fail_plainly(ring.open(&path, &new).await, libc::EEXIST);
        let read = ring.open(&path, &OpenOptions::new().read(true)).await.unwrap();
        assert_eq!(ring.read_owned(&read, Vec::with_capacity(9)).await.unwrap().1, b"content");
        let both = OpenOptions::new().read(true).write(true).truncate(true);
        let both = ring.open(&path, &both).await.unwrap();
        assert_eq!(ring.statx_fd(&both).await.unwrap().len(), 0);
        let custom = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY as u32);
        must_fail_plainly(ring.open(&path, &custom).await, libc::ENOTDIR);
        ring.open(directory.path(), &custom).await.unwrap();
        let unnamed = OpenOptions::new().write(true).custom_flags(libc::O_TMPFILE as u32);
        ring.open(directory.path(), &unnamed).await.unwrap();
    });
}

fn open_refuses_what_excludes_itself<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        for options in [
            OpenOptions::new(),
            OpenOptions::new().read(true).create(true),
            OpenOptions::new().read(true).truncate(true),
            OpenOptions::new().append(true).truncate(true),
        ] {
            let error = ring.open("/dev/null", &options).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{options:?}");
        }
        assert_eq!(ring.snapshot().submitted, 0, "the kernel is not asked");
    });
}

fn open_fails_as_open_does<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let read = OpenOptions::new().read(true);
        must_fail_plainly(ring.open("/does/not/exist", &read).await, libc::ENOENT);
        must_fail_plainly(ring.open("", &read).await, libc::ENOENT);
        must_fail_plainly(ring.open("/dev/null/below", &read).await, libc::ENOTDIR);
        must_fail_plainly(ring.open("/", &OpenOptions::new().write(true)).await, libc::EISDIR);
        let long = "x".repeat(5000);
        must_fail_plainly(ring.open(&long, &read).await, libc::ENAMETOOLONG);
        assert_eq!(ring.snapshot().adopted_fds, 0);
    });
}

fn open_at_starts_from_its_directory<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("inner"), b"inner").unwrap();
        let dir = Fd::new(File::open(directory.path()).unwrap());
        let read = OpenOptions::new().read(true);
        let file = ring.open_at(&dir, "inner", &read).await.unwrap();
        assert_eq!(ring.read_owned(&file, Vec::with_capacity(9)).await.unwrap().1, b"inner");
        must_fail_plainly(ring.open_at(&dir, "outer", &read).await, libc::ENOENT);
        must_fail_plainly(ring.open_at(&file, "inner", &read).await, libc::ENOTDIR);
        let absolute = directory.path().join("inner");
        ring.open_at(&file, &absolute, &read).await.unwrap();
    });
}

fn openat2_controls_how_a_path_is_walked<E: Exec>() {
    const RESOLVE_NO_SYMLINKS: u64 = 4;
    const RESOLVE_BENEATH: u64 = 8;
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("inner"), b"inner").unwrap();
        std::os::unix::fs::symlink("inner", directory.path().join("symbolic")).unwrap();
        let dir = Fd::new(File::open(directory.path()).unwrap());
        let how = OpenHow { resolve: RESOLVE_BENEATH, ..OpenHow::default() };
        ring.openat2(Some(&dir), "inner", how).await.unwrap();
        ring.openat2(Some(&dir), "symbolic", how).await.unwrap();
        must_fail_plainly(ring.openat2(Some(&dir), "../x", how).await, libc::EXDEV);
        must_fail_plainly(ring.openat2(Some(&dir), "/dev/null", how).await, libc::EXDEV);
        let how = OpenHow { resolve: RESOLVE_NO_SYMLINKS, ..how };
        must_fail_plainly(ring.openat2(Some(&dir), "symbolic", how).await, libc::ELOOP);
        let how = OpenHow { mode: 0o600, ..OpenHow::default() };
        let mode_without_creation = ring.openat2(None, "/dev/null", how).await;
        must_fail_plainly(mode_without_creation, libc::EINVAL);
        let flags = (libc::O_CREAT | libc::O_RDWR) as u64;
        let how = OpenHow { flags, mode: 0o600, resolve: 0 };
        let made = ring.openat2(Some(&dir), "made", how).await.unwrap();
        ring.write_owned(&made, "made").await.unwrap();
        assert_eq!(fs::read(directory.path().join("made")).unwrap(), b"made");
        let unknown = OpenHow { resolve: 1 << 60, ..OpenHow::default() };
        must_fail_plainly(ring.openat2(None, "/dev/null", unknown).await, libc::EINVAL);
    });
}

fn opened_files_close_on_exec<E: Exec>() {
    fn closes_on_exec<M: Mode>(fd: &Fd<M>) -> bool {
        // SAFETY: fcntl(2) on an open descriptor, without a pointer.
        let flags = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_GETFD) };
        flags >= 0 && flags & libc::FD_CLOEXEC != 0
    }
    with_ring::<E>(8, async |ring| {
        let file = ring.open("/dev/null", &OpenOptions::new().read(true)).await.unwrap();
        assert!(closes_on_exec(&file));
        let file = ring.openat2(None, "/dev/null", OpenHow::default()).await.unwrap();
        assert!(closes_on_exec(&file));
    });
}

fn paths_with_a_zero_byte_are_refused<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let bad = "with\0zero";
        let invalid = |error: io::Error| assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        invalid(ring.open(bad, &OpenOptions::new().read(true)).await.unwrap_err());
        invalid(ring.openat2(None, bad, OpenHow::default()).await.unwrap_err());
        invalid(ring.statx(bad).await.unwrap_err());
        invalid(ring.statx_link(bad).await.unwrap_err());
        invalid(ring.unlink(bad).await.unwrap_err());
        invalid(ring.rmdir(bad).await.unwrap_err());
        invalid(ring.mkdir(bad, 0o700).await.unwrap_err());
        invalid(ring.rename(bad, "good", RenameMode::Replace).await.unwrap_err());
        invalid(ring.rename("good", bad, RenameMode::Replace).await.unwrap_err());
        invalid(ring.symlink(bad, "good").await.unwrap_err());
        invalid(ring.symlink("good", bad).await.unwrap_err());
        invalid(ring.link(bad, "good").await.unwrap_err());
        invalid(ring.link("good", bad).await.unwrap_err());
        assert_eq!(ring.snapshot().submitted, 0);
    });
}

fn statx_tells_the_size<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, [0; 12_345]).unwrap();
        let metadata = ring.statx(&path).await.unwrap();
        let std = fs::metadata(&path).unwrap();
        assert_eq!((metadata.len(), metadata.is_empty()), (12_345, false));
        assert!(metadata.is_file() && !metadata.is_dir() && !metadata.is_symlink());
        assert_eq!(metadata.inode(), std.ino());
        assert_eq!(metadata.mode(), std.mode());
        assert_eq!((metadata.uid(), metadata.gid()), (std.uid(), std.gid()));
        assert_eq!(u64::from(metadata.links()), std.nlink());
        assert_eq!(metadata.blocks(), std.blocks());
        assert_eq!(u64::from(metadata.block_size()), std.blksize());
        assert_eq!(metadata.modified(), Some(std.modified().unwrap()));
        assert_eq!(metadata.accessed(), Some(std.accessed().unwrap()));
        assert_eq!(metadata.created(), std.created().ok());
        // Times before 1970 count backwards.
        let early = SystemTime::UNIX_EPOCH - Duration::from_millis(1_500);
        File::options().write(true).open(&path).unwrap().set_modified(early).unwrap();
        assert_eq!(ring.statx(&path).await.unwrap().modified(), Some(early));
        assert!(ring.statx(directory.path()).await.unwrap().is_dir());
        must_fail_plainly(ring.statx(directory.path().join("none")).await, libc::ENOENT);
    });
}

fn statx_sees_links_and_open_files<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let (path, symbolic) = (directory.path().join("file"), directory.path().join("symbolic"));
        fs::write(&path, b"content").unwrap();
        ring.symlink(&path, &symbolic).await.unwrap();
        assert!(ring.statx_link(&symbolic).await.unwrap().is_symlink());
        assert_eq!(ring.statx(&symbolic).await.unwrap().len(), 7);
        let file = Fd::new(File::open(&path).unwrap());
        fs::remove_file(&path).unwrap();
        let metadata = ring.statx_fd(&file).await.unwrap();
        assert_eq!((metadata.len(), metadata.links()), (7, 0), "open, without a name");
        must_fail_plainly(ring.statx(&symbolic).await, libc::ENOENT);
        ring.statx_link(&symbolic).await.unwrap();
    });
}

async fn walk_through<M: Mode>(ring: &RingOf<M>) {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    ring.mkdir(at("dir"), 0o700).await.unwrap();
    assert_eq!(fs::metadata(at("dir")).unwrap().permissions().mode() & 0o777, 0o700);
    fs::write(at("a"), b"a").unwrap();
    fs::write(at("b"), b"bb").unwrap();
    ring.rename(at("a"), at("dir/a"), RenameMode::Replace).await.unwrap();
    assert!(!at("a").exists());
    assert_eq!(fs::read(at("dir/a")).unwrap(), b"a");
    let taken = ring.rename(at("b"), at("dir/a"), RenameMode::NoReplace).await;
    must_fail_plainly(taken, libc::EEXIST);
    ring.rename(at("b"), at("dir/a"), RenameMode::Exchange).await.unwrap();
    assert_eq!(
        (fs::read(at("b")).unwrap(), fs::read(at("dir/a")).unwrap()),
        (b"a".to_vec(), b"bb".to_vec())
    );
    ring.rename(at("b"), at("dir/a"), RenameMode::Replace).await.unwrap();
    assert_eq!(fs::read(at("dir/a")).unwrap(), b"a");
    ring.rename(at("dir/a"), at("new"), RenameMode::NoReplace).await.unwrap();
    ring.link(at("new"), at("hard")).await.unwrap();
    assert_eq!(fs::metadata(at("hard")).unwrap().nlink(), 2);
    ring.symlink("new", at("soft")).await.unwrap();
    assert_eq!(fs::read_link(at("soft")).unwrap().to_str(), Some("new"));
    let file = Fd::new(File::options().write(true).open(at("soft")).unwrap());
    ring.ftruncate(&file, 3).await.unwrap();
    assert_eq!(fs::read(at("hard")).unwrap(), b"a\0\0");
    for name in ["soft", "hard", "new"] {
        ring.unlink(at(name)).await.unwrap();
        assert!(fs::symlink_metadata(at(name)).is_err());
    }
    ring.rmdir(at("dir")).await.unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

async fn fail_in_turn<M: Mode>(ring: &RingOf<M>) {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir_all(at("full/inner")).unwrap();
    fs::write(at("file"), b"content").unwrap();
    must_fail_plainly(ring.mkdir(at("full"), 0o700).await, libc::EEXIST);
    must_fail_plainly(ring.mkdir(at("none/inner"), 0o700).await, libc::ENOENT);
    must_fail_plainly(ring.rmdir(at("full")).await, libc::ENOTEMPTY);
    must_fail_plainly(ring.rmdir(at("file")).await, libc::ENOTDIR);
    must_fail_plainly(ring.rmdir(at("none")).await, libc::ENOENT);
    must_fail_plainly(ring.unlink(at("full")).await, libc::EISDIR);
    must_fail_plainly(ring.unlink(at("none")).await, libc::ENOENT);
    must_fail_plainly(ring.unlink("").await, libc::ENOENT);
    must_fail_plainly(ring.link(at("none"), at("new")).await, libc::ENOENT);
    must_fail_plainly(ring.link(at("file"), at("full")).await, libc::EEXIST);
    must_fail_plainly(ring.symlink("x", at("file")).await, libc::EEXIST);
    must_fail_plainly(ring.symlink("", at("empty")).await, libc::ENOENT);
    let modes = [RenameMode::Replace, RenameMode::NoReplace, RenameMode::Exchange];
    for mode in modes {
        must_fail_plainly(ring.rename(at("none"), at("new"), mode).await, libc::ENOENT);
    }
    let onto = ring.rename(at("file"), at("full"), RenameMode::Replace).await;
    must_fail_plainly(onto, libc::EISDIR);
    let exchange = ring.rename(at("file"), at("none"), RenameMode::Exchange).await;
    must_fail_plainly(exchange, libc::ENOENT);
    let (_reader, writer) = io::pipe().unwrap();
    let pipe = Fd::new(std::os::fd::OwnedFd::from(writer));
    must_fail_plainly(ring.ftruncate(&pipe, 0).await, libc::EINVAL);
    assert_eq!(fs::read(at("file")).unwrap(), b"content");
}

fn paths_are_made_renamed_linked_and_removed<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        walk_through(&ring).await;
        assert!(ring.snapshot().plain_calls == 0 || !ring.features().supports(opcode::FTRUNCATE));
    });
}

fn paths_are_made_renamed_linked_and_removed_without_opcodes<E: Exec>() {
    with_built::<E>(of_the_kernel().entries(8).without_opcodes(&PLAIN), async |ring| {
        walk_through(&ring).await;
        assert_eq!(ring.snapshot().plain_calls, 13);
    });
}

fn path_operations_fail_as_their_system_calls_do<E: Exec>() {
    with_ring::<E>(8, async |ring| fail_in_turn(&ring).await);
}

fn path_operations_fail_alike_without_opcodes<E: Exec>() {
    with_built::<E>(of_the_kernel().entries(8).without_opcodes(&PLAIN), async |ring| {
        fail_in_turn(&ring).await;
        let snapshot = ring.snapshot();
        assert_eq!(snapshot.plain_calls, snapshot.submitted);
    });
}

fn a_path_operation_that_is_dropped_in_flight_runs_to_its_end<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("made");
        let mut mkdir = ring.mkdir(&path, 0o700);
        let polled = futures_util::poll!(&mut mkdir);
        // A local ring hands over when its thread next waits: let it, then drop.
        if polled.is_pending() {
            ring.nop().await.unwrap();
        }
        drop(mkdir);
        while !path.exists() {
            ring.timeout(Duration::from_millis(1)).await.unwrap();
        }
    });
}
