//! Files that a ring of one thread registers by itself, since they are used often: on a real kernel.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]

mod common;

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use common::{of_the_kernel, pattern, within_deadline};
use safer_ring::{Fd, Local, Mode, OpenOptions, RingOf};

type Ring = RingOf<Local>;

/// Reads after which a file is registered.
const MANY: u64 = 64;

/// Works if nobody has the file locked.
const FREE: FlockOperation = FlockOperation::NonBlockingLockExclusive;

fn ring() -> Ring {
    of_the_kernel().entries(8).local().build().unwrap()
}

/// Whether the kernel is new enough (6.15).
fn registers(ring: &Ring) -> bool {
    ring.features().supports(safer_ring::sys::opcode::READV_FIXED)
}

fn path_with(content: &[u8]) -> tempfile::TempPath {
    let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    std::fs::write(&path, content).unwrap();
    path
}

fn open(path: &Path) -> Fd<Local> {
    Fd::new(File::options().read(true).write(true).open(path).unwrap())
}

async fn read_often<M: Mode>(ring: &RingOf<M>, file: &Fd<M>, content: &[u8]) {
    let mut buffer = Vec::with_capacity(content.len() + 1);
    for _ in 0..=MANY {
        let n;
        (n, buffer) = ring.read_at_owned(file, buffer, 0).await.unwrap();
        assert!(n == content.len() && buffer == content);
    }
}

/// Runs `go` with a file that is registered and locked. Afterwards the lock must be free, since nobody has the file open.
fn let_go(go: impl AsyncFnOnce(&Ring, Fd<Local>)) {
    let (ring, path) = (ring(), path_with(b"content"));
    ring.block_on(async {
        let file = open(&path);
        read_often(&ring, &file, b"content").await;
        assert_eq!(ring.snapshot().registered_files, u64::from(registers(&ring)));
        flock(&file, FlockOperation::LockExclusive).unwrap();
        let other = File::open(&path).unwrap();
        assert_eq!(flock(&other, FREE), Err(Errno::WOULDBLOCK));
        go(&ring, file).await;
        assert_eq!(ring.snapshot().registered_files, 0);
        flock(&other, FREE).expect("the kernel has the file open still");
    });
}

#[test]
fn a_file_is_closed_with_its_last_handle_although_it_is_registered() {
    within_deadline(|| {
        let_go(async |_, file| {
            let second = file.clone();
            drop(file);
            drop(second);
        });
    });
}

#[test]
fn a_registered_file_is_closed_by_close() {
    within_deadline(|| {
        let_go(async |ring, file| ring.close(file).await.unwrap());
    });
}

#[test]
fn a_registered_file_is_given_back() {
    within_deadline(|| {
        let_go(async |_, file| drop(File::from(file.try_into_owned().unwrap())));
    });
}

#[test]
fn a_file_is_closed_by_its_last_operation_although_it_is_registered() {
    within_deadline(|| {
        let_go(async |ring, file| {
            let (n, _) = {
                let last = ring.read_at_owned(&file, vec![0; 8], 0);
                drop(file);
                last.await.unwrap()
            };
            assert_eq!(n, 7);
        });
        // One that fails, and one that is dropped before it has ended.
        let_go(async |ring, file| {
            let last = ring.read_at_owned(&file, vec![0; 8], u64::MAX - 1);
            drop(file);
            last.await.unwrap_err();
        });
        let_go(async |ring, file| {
            let mut last = Box::pin(ring.read_at_owned(&file, vec![0; 8], 0));
            drop(file);
            drop(futures_util::poll!(&mut last));
            drop(last);
            ring.drain(Instant::now() + Duration::from_secs(60)).await;
        });
    });
}

#[test]
fn a_ring_that_ends_leaves_no_file_open() {
    within_deadline(|| {
        let path = path_with(b"content");
        let (first, second) = (ring(), ring());
        let file = open(&path);
        first.block_on(read_often(&first, &file, b"content"));
        drop(first);
        // It is of no use to the next ring that it was registered, and of no harm.
        second.block_on(read_often(&second, &file, b"content"));
        flock(&file, FlockOperation::LockExclusive).unwrap();
        drop(file);
        flock(File::open(&path).unwrap(), FREE).expect("nobody has it open");
    });
}

#[test]
fn a_file_of_two_rings_is_read_by_both() {
    within_deadline(|| {
        let (one, other) = (ring(), ring());
        let (file, its) = (open(&path_with(b"of both")), b"of both");
        let decoy = open(&path_with(b"decoy"));
        // The same place in both tables.
        other.block_on(read_often(&other, &decoy, b"decoy"));
        one.block_on(read_often(&one, &file, its));
        other.block_on(read_often(&other, &file, its));
        one.block_on(read_often(&one, &decoy, b"decoy"));
        let count = u64::from(registers(&one));
        assert_eq!([one.snapshot(), other.snapshot()].map(|s| s.registered_files), [count; 2]);
    });
}

#[test]
fn places_and_descriptors_are_used_again() {
    within_deadline(|| {
        let ring = ring();
        let paths: Vec<_> = (0..5u8).map(|n| path_with(&[n; 100])).collect();
        ring.block_on(async {
            for round in 0..60 {
                let n = round % 5;
                let file = open(&paths[n]);
                read_often(&ring, &file, &[n as u8; 100]).await;
            }
            assert_eq!(ring.snapshot().registered_files, 0);
        });
    });
}

#[test]
fn more_files_than_there_are_places_work() {
    within_deadline(|| {
        let ring = ring();
        let path = path_with(b"one of many");
        ring.block_on(async {
            let mut files = Vec::new();
            for _ in 0..300 {
                let file = open(&path);
                read_often(&ring, &file, b"one of many").await;
                files.push(file);
            }
            let registered = ring.snapshot().registered_files;
            assert_eq!(registered, if registers(&ring) { 256 } else { 0 });
            files.truncate(10);
            read_often(&ring, &open(&path), b"one of many").await;
            for file in &files {
                read_often(&ring, file, b"one of many").await;
            }
        });
    });
}

#[test]
fn only_files_are_registered() {
    within_deadline(|| {
        let ring = ring();
        ring.block_on(async {
            let (reader, writer) = std::io::pipe().unwrap();
            let (reader, writer): (Fd<Local>, Fd<Local>) = (
                Fd::new(std::os::fd::OwnedFd::from(reader)),
                Fd::new(std::os::fd::OwnedFd::from(writer)),
            );
            for _ in 0..=MANY {
                let (n, _) = ring.write_owned(&writer, b"through").await.unwrap();
                let (m, _) = ring.read_owned(&reader, vec![0; 16]).await.unwrap();
                assert_eq!((n, m), (7, 7));
            }
            assert_eq!(ring.snapshot().registered_files, 0);
            drop(writer);
            let (n, _) = ring.read_owned(&reader, vec![0; 16]).await.unwrap();
            assert_eq!(n, 0, "the end of the pipe is seen");
        });
    });
}

#[test]
fn a_registered_file_is_written_and_read_at_the_cursor() {
    within_deadline(|| {
        let (ring, path) = (ring(), path_with(b""));
        ring.block_on(async {
            let options = OpenOptions::new().read(true).write(true);
            let file = ring.open(&*path, &options).await.unwrap();
            for at in 0..200u64 {
                let (n, _) = ring.write_owned(&file, vec![at as u8; 3]).await.unwrap();
                let (m, back) = ring.read_at_owned(&file, vec![0; 3], 3 * at).await.unwrap();
                assert_eq!((n, m, back), (3, 3, vec![at as u8; 3]));
            }
            assert_eq!(ring.snapshot().registered_files, u64::from(registers(&ring)));
            ring.fsync(&file).await.unwrap();
            ring.ftruncate(&file, 30).await.unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().len(), 30);
        });
    });
}

#[test]
fn restricted_rings_and_those_of_a_polling_thread_register_nothing() {
    within_deadline(|| {
        let path = path_with(&pattern(100));
        let polled = of_the_kernel().sqpoll(Duration::from_millis(1));
        for builder in [of_the_kernel().restricted(true), polled] {
            let Ok(ring) = builder.entries(8).local().build() else { continue };
            ring.block_on(async {
                let file = open(&path);
                read_often(&ring, &file, &pattern(100)).await;
                assert_eq!(ring.snapshot().registered_files, 0);
            });
        }
        let shared = of_the_kernel().entries(8).build().unwrap();
        let file = Fd::new(File::open(&path).unwrap());
        pollster::block_on(read_often(&shared, &file, &pattern(100)));
        assert_eq!(shared.snapshot().registered_files, 0);
    });
}
