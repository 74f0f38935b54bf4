//! What only the fallback does. That it does what io_uring does is shown by all the other tests, which run on it with
//! `SAFER_RING_BACKEND=fallback`.
#![allow(unsafe_code, clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, UdpSocket as StdUdpSocket};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use common::net::poll_once;
use common::{Exec, everywhere, file_with, lacks_direct_rules, must_fail, pattern, with_built};
use safer_ring::sys::{Sqe, opcode};
use safer_ring::{
    BackendChoice, BackendKind, Builder, Ended, FallbackParts, FallocateMode, Fd, OwnedBuffer,
    RenameMode, Ring, SetupError, Shared,
};

everywhere!(
    it_says_what_it_is,
    direct_files_on_the_fallback_use_aio,
    a_part_that_is_left_out_is_done_by_threads,
    the_wrong_end_of_a_pipe_does_not_wait_for_ever,
    an_extending_direct_write_goes_to_a_thread,
    cached_reads_need_no_thread,
    a_read_that_ends_at_the_end_of_the_file_needs_no_thread,
    files_in_memory_need_no_thread,
    an_entry_for_the_kernel_is_refused,
    every_name_is_served_by_a_thread,
    a_poll_that_was_cancelled_does_not_hide_the_next_file,
    a_socket_with_only_an_error_to_tell_is_not_asked_all_the_time,
    a_number_that_is_used_again_is_another_file,
);

fn fallback() -> Builder<Shared> {
    Ring::builder().entries(16).backend(BackendChoice::Only(BackendKind::Fallback))
}

/// A file opened with `O_DIRECT`, unless its file system knows none.
fn direct_file(content: &[u8]) -> Option<File> {
    if lacks_direct_rules() {
        println!("skipped: files are in memory here, where direct I/O has no rules");
        return None;
    }
    let file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    std::fs::write(file.path(), content).unwrap();
    file.as_file().sync_all().unwrap();
    // What is in the page cache has to leave it before a direct write, which that does not wait for.
    // SAFETY: posix_fadvise(2) takes no pointer.
    let advised = unsafe {
        use std::os::fd::AsRawFd as _;
        libc::posix_fadvise(file.as_file().as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED)
    };
    assert_eq!(advised, 0);
    let mut options = OpenOptions::new();
    match options.read(true).write(true).custom_flags(libc::O_DIRECT).open(file.path()) {
        Ok(direct) => Some(direct),
        Err(error) => {
            eprintln!("skipped: no direct I/O on this file system: {error}");
            None
        }
    }
}

fn aligned(content: &[u8]) -> OwnedBuffer {
    let mut buffer = OwnedBuffer::aligned(content.len(), 4096).unwrap();
    buffer.copy_from_slice(content);
    buffer
}

fn it_says_what_it_is<E: Exec>() {
    with_built::<E>(fallback(), async |ring| {
        assert_eq!(ring.features().backend, BackendKind::Fallback);
        assert_eq!(ring.report().backend, Some(BackendKind::Fallback));
        assert!(ring.features().to_string().starts_with("fallback"), "{}", ring.features());
        assert!(!ring.features().supports(opcode::READ));
    });
}

fn direct_files_on_the_fallback_use_aio<E: Exec>() {
    const BLOCK: usize = 4096;
    let Some(file) = direct_file(&pattern(8 * BLOCK)) else { return };
    with_built::<E>(fallback(), async |ring| {
        let file: Fd<E::M> = Fd::new(file);
        let buffer = aligned(&[0; BLOCK]);
        let (count, buffer) = ring.read_at_owned(&file, buffer, 4096).await.unwrap();
        assert_eq!((count, &buffer[..]), (BLOCK, &pattern(8 * BLOCK)[BLOCK..2 * BLOCK]));
        let (count, _) = ring.write_at_owned(&file, buffer, 0).await.unwrap();
        assert_eq!(count, BLOCK);
        ring.fsync(&file).await.unwrap();
        let snapshot = ring.snapshot();
        assert_eq!((snapshot.aio, snapshot.threaded), (3, 0), "{snapshot:?}");
    });
}

fn a_part_that_is_left_out_is_done_by_threads<E: Exec>() {
    const BLOCK: usize = 4096;
    let Some(file) = direct_file(&pattern(2 * BLOCK)) else { return };
    let parts = FallbackParts { aio: false, nowait: false };
    with_built::<E>(fallback().fallback_parts(parts), async |ring| {
        let direct: Fd<E::M> = Fd::new(file);
        let (count, buffer) =
            ring.read_at_owned(&direct, aligned(&[0; BLOCK]), 4096).await.unwrap();
        assert_eq!((count, &buffer[..]), (BLOCK, &pattern(2 * BLOCK)[BLOCK..]));
        ring.fsync(&direct).await.unwrap();
        // Cached, and for a thread all the same, unless the file system is one in memory.
        let cached = file_with(&pattern(1000));
        let (count, buffer) = ring.read_at_owned(&cached, vec![0; 2000], 0).await.unwrap();
        assert_eq!((count, buffer), (1000, pattern(1000)));
        let snapshot = ring.snapshot();
        assert_eq!(snapshot.aio, 0, "{snapshot:?}");
        assert!(snapshot.threaded >= 2, "{snapshot:?}");
    });
}

/// As on kernels before 6.4, whose pipes do not know `RWF_NOWAIT`.
fn the_wrong_end_of_a_pipe_does_not_wait_for_ever<E: Exec>() {
    let parts = FallbackParts { aio: true, nowait: false };
    with_built::<E>(fallback().fallback_parts(parts), async |ring| {
        let (reader, writer) = ring.pipe(safer_ring::PipeOptions::Stream).await.unwrap();
        let error = ring.read_owned(&writer, b"kept".to_vec()).await.unwrap_err();
        assert_eq!((error.raw_os_error(), &error.buffer[..]), (Some(libc::EBADF), &b"kept"[..]));
        let error = ring.write_owned(&reader, b"kept".to_vec()).await.unwrap_err();
        assert_eq!((error.raw_os_error(), &error.buffer[..]), (Some(libc::EBADF), &b"kept"[..]));
    });
}

fn an_extending_direct_write_goes_to_a_thread<E: Exec>() {
    const BLOCK: usize = 4096;
    let Some(file) = direct_file(&[]) else { return };
    with_built::<E>(fallback(), async |ring| {
        let file: Fd<E::M> = Fd::new(file);
        let buffer = aligned(&pattern(BLOCK));
        let (count, buffer) = ring.write_at_owned(&file, buffer, 0).await.unwrap();
        assert_eq!(count, BLOCK);
        let (count, buffer) = ring.read_at_owned(&file, buffer, 0).await.unwrap();
        assert_eq!((count, &buffer[..]), (BLOCK, &pattern(BLOCK)[..]));
        assert!(ring.snapshot().threaded <= 1, "ext4 refuses, other file systems need not");
    });
}

fn cached_reads_need_no_thread<E: Exec>() {
    with_built::<E>(fallback(), async |ring| {
        let file = file_with(&pattern(100_000));
        for at in 0..20_usize {
            let offset = u64::try_from(at * 1000).unwrap();
            let (count, buffer) = ring.read_at_owned(&file, vec![0; 1000], offset).await.unwrap();
            assert_eq!((count, &buffer[..]), (1000, &pattern(100_000)[at * 1000..][..1000]));
        }
        assert_eq!(ring.snapshot().threaded, 0);
    });
}

fn a_read_that_ends_at_the_end_of_the_file_needs_no_thread<E: Exec>() {
    with_built::<E>(fallback(), async |ring| {
        let file = file_with(&pattern(1000));
        let (count, _) = ring.read_at_owned(&file, vec![0; 4096], 0).await.unwrap();
        assert_eq!(count, 1000);
        let (count, _) = ring.read_at_owned(&file, vec![0; 4096], 1000).await.unwrap();
        assert_eq!(count, 0);
        assert_eq!(ring.snapshot().threaded, 0);
    });
}

fn files_in_memory_need_no_thread<E: Exec>() {
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else {
        eprintln!("skipped: there is no /dev/shm");
        return;
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(dir.path().join("file"))
        .unwrap();
    with_built::<E>(fallback(), async |ring| {
        let file: Fd<E::M> = Fd::new(file);
        ring.write_at_owned(&file, pattern(5000), 0).await.unwrap();
        let (count, buffer) = ring.read_at_owned(&file, vec![0; 6000], 0).await.unwrap();
        assert_eq!((count, &buffer[..5000]), (5000, &pattern(5000)[..]));
        assert_eq!(ring.snapshot().threaded, 0);
    });
}

fn an_entry_for_the_kernel_is_refused<E: Exec>() {
    with_built::<E>(fallback(), async |ring| {
        let entry = Sqe { opcode: opcode::NOP, ..Sqe::default() };
        // SAFETY: a no-op without memory or descriptor.
        let output = unsafe { ring.raw(entry, None, "kept") }.await;
        assert_eq!(output.result.unwrap_err().raw_os_error(), Some(libc::EOPNOTSUPP));
        assert_eq!(output.keep, "kept");
    });
}

fn every_name_is_served_by_a_thread<E: Exec>() {
    with_built::<E>(fallback(), async |ring| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let before = ring.snapshot().threaded;
        let options = safer_ring::OpenOptions::new().write(true).create(true);
        let file = ring.open(&path, &options).await.unwrap();
        ring.fallocate(&file, FallocateMode::Allocate, 0, 4096).await.unwrap();
        ring.rename(&path, dir.path().join("other"), RenameMode::Replace).await.unwrap();
        ring.unlink(dir.path().join("other")).await.unwrap();
        assert_eq!(ring.snapshot().threaded - before, 4);
        let gone = ring.open(&path, &safer_ring::OpenOptions::new().read(true)).await.unwrap_err();
        assert_eq!(gone.kind(), std::io::ErrorKind::NotFound);
    });
}

/// What the poller was told of a number must not be believed once nobody waits there.
fn a_poll_that_was_cancelled_does_not_hide_the_next_file<E: Exec>() {
    with_built::<E>(fallback(), async |ring| {
        for _ in 0..2 {
            let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
            let near: Fd<E::M> = Fd::new(near);
            let mut receive = ring.recv(&near, vec![0; 8]);
            assert!(poll_once(&mut receive).is_pending());
            assert!(matches!(receive.cancel().await, Ended::Cancelled(_)));
            let mut receive = ring.recv(&near, vec![0; 8]);
            assert!(poll_once(&mut receive).is_pending());
            std::io::Write::write_all(&mut far, b"here").unwrap();
            assert_eq!(receive.await.unwrap().1, b"here");
            let mut receive = ring.recv(&near, vec![0; 8]);
            assert!(poll_once(&mut receive).is_pending());
            assert!(matches!(receive.cancel().await, Ended::Cancelled(_)));
            // The same number is another file in the next round.
        }
    });
}

/// An error queue that nobody reads keeps a socket "ready" for ever.
fn a_socket_with_only_an_error_to_tell_is_not_asked_all_the_time<E: Exec>() {
    with_built::<E>(fallback(), async |ring| {
        let socket = StdUdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let on = 1_i32;
        // SAFETY: IP_RECVERR takes an int, which is on this stack.
        let set = unsafe {
            use std::os::fd::AsRawFd as _;
            let (fd, on) = (socket.as_raw_fd(), (&raw const on).cast());
            libc::setsockopt(fd, libc::SOL_IP, libc::IP_RECVERR, on, 4)
        };
        assert_eq!(set, 0);
        let closed = StdUdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        socket.send_to(b"nobody listens", closed).unwrap();
        let peer = StdUdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        let fd: Fd<E::M> = Fd::new(socket);
        // The error itself is told once; what it leaves is in the queue.
        let error = ring.recv(&fd, vec![0; 16]).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED));
        let mut receive = ring.recv(&fd, vec![0; 16]);
        assert!(poll_once(&mut receive).is_pending());
        let before = ring.snapshot().enters;
        ring.timeout(Duration::from_millis(200)).await.unwrap();
        let turns = ring.snapshot().enters - before;
        assert!(turns < 200, "{turns} turns while there was nothing to do");
        peer.send_to(b"at last", address).unwrap();
        let (count, buffer) = receive.await.unwrap();
        assert_eq!(&buffer[..count], b"at last");
    });
}

/// What is known of a number must not outlive the file that had it.
fn a_number_that_is_used_again_is_another_file<E: Exec>() {
    with_built::<E>(fallback(), async |ring| {
        for round in 0..20_u8 {
            let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
            // Keeps the poller's entry for the last file alive.
            let _kept = near.try_clone().unwrap();
            let (near, far): (Fd<E::M>, Fd<E::M>) = (Fd::new(near), Fd::new(far));
            let mut receive = ring.recv(&near, vec![0; 8]);
            assert!(poll_once(&mut receive).is_pending());
            ring.send(&far, vec![round; 4]).await.unwrap();
            assert_eq!(receive.await.unwrap().1, [round; 4]);
            drop((near, far));
            let file = file_with(&[round; 3]);
            let (count, buffer) = ring.read_at_owned(&file, vec![0; 8], 0).await.unwrap();
            assert_eq!(&buffer[..count], [round; 3]);
        }
    });
}

#[test]
fn modes_of_io_uring_are_refused_where_the_fallback_was_asked_for() {
    for builder in [fallback().sqpoll(Duration::from_millis(5)), fallback().iopoll(true)] {
        let error = builder.build().unwrap_err();
        assert!(matches!(error, SetupError::Conflict { .. }), "{error}");
        assert!(error.to_string().contains("fallback"), "{error}");
    }
}

#[test]
fn a_wrong_buffer_for_direct_io_is_the_same_error_as_with_io_uring() {
    let Some(file) = direct_file(&pattern(8192)) else { return };
    let ring = fallback().local().build().unwrap();
    let file = Fd::new(file);
    let buffer = ring.block_on(ring.read_at_owned(&file, vec![0; 100], 1));
    assert_eq!(must_fail(buffer, libc::EINVAL).len(), 100);
}
