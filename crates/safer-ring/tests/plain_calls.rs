//! Operations that are plain calls first, since nothing would share an entry's system call: on a real kernel.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::cell::Cell;
use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use common::net::never_full;
use common::{file_with, in_memory, of_the_kernel, pattern, within_deadline};
use futures_util::future::{join, join_all};
use rustix::fs::Advice;
use safer_ring::sys::opcode;
use safer_ring::{Fd, Local, Mode, Ring, RingOf};

/// Reads of a descriptor before one is tried as a plain call, and more.
const SOME: u64 = 20;
/// Reads after a miss that are not tried, and more.
const MANY: u64 = 100;

fn ring() -> Ring {
    of_the_kernel().entries(16).build().unwrap()
}

/// Whether operations are plain calls here; says so if not.
fn calls_plainly<M: Mode>(ring: &RingOf<M>) -> bool {
    let plain = ring.features().supports(opcode::SENDMSG_ZC);
    if !plain {
        println!("skipped: before kernel 6.0 every operation has an entry");
    }
    plain
}

/// Whether files can tell what is in memory.
fn files_tell() -> bool {
    let tell = !in_memory(&std::env::temp_dir());
    if !tell {
        println!("skipped: files are in memory here, and do not tell that");
    }
    tell
}

/// Reads all of `content` so many times; gives how many of these were plain calls.
async fn read(ring: &Ring, file: &Fd, content: &[u8], times: u64) -> u64 {
    let before = ring.snapshot().plain_calls;
    for _ in 0..times {
        let buffer = Vec::with_capacity(content.len());
        let (n, buffer) = ring.read_at_owned(file, buffer, 0).await.unwrap();
        assert!(n == content.len() && buffer == content);
    }
    ring.snapshot().plain_calls - before
}

#[test]
fn reads_of_what_is_in_memory_are_plain_calls() {
    within_deadline(|| {
        pollster::block_on(async {
            let (ring, content) = (ring(), pattern(4096));
            let file = file_with(&content);
            let plain = read(&ring, &file, &content, SOME).await;
            if calls_plainly(&ring) && files_tell() {
                assert!((1..SOME).contains(&plain), "{plain}");
                assert_eq!(read(&ring, &file, &content, SOME).await, SOME);
                assert_eq!(ring.snapshot().enters, SOME - plain);
            }
        });
    });
}

#[test]
fn a_read_that_is_not_all_in_memory_is_the_rings() {
    within_deadline(|| {
        pollster::block_on(async {
            let (ring, content) = (ring(), pattern(1 << 20));
            let file = file_with(&content);
            read(&ring, &file, &content, SOME).await;
            rustix::fs::fsync(&file).unwrap();
            for advice in [Advice::Random, Advice::DontNeed] {
                rustix::fs::fadvise(&file, 0, None, advice).unwrap();
            }
            // A part of it comes back, and is what a plain call finds.
            rustix::io::pread(&file, &mut [0; 4096], 0).unwrap();
            read(&ring, &file, &content, 2).await;
            // Nothing of it is there.
            rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).unwrap();
            read(&ring, &file, &content, 2).await;
            let again = read(&ring, &file, &content, MANY).await;
            if calls_plainly(&ring) && files_tell() {
                assert!(again > 0, "it is in memory again");
            }
        });
    });
}

#[test]
fn the_end_of_a_file_is_the_rings() {
    within_deadline(|| {
        pollster::block_on(async {
            let (ring, content) = (ring(), pattern(5000));
            let file = file_with(&content);
            read(&ring, &file, &content, SOME).await;
            for (at, there) in [(0, 5000), (4096, 904), (5000, 0), (9000, 0)] {
                for _ in 0..MANY {
                    let buffer = Vec::with_capacity(8192);
                    let (n, buffer) = ring.read_at_owned(&file, buffer, at).await.unwrap();
                    assert_eq!((n, buffer.len()), (there, there));
                    assert!(buffer == content[content.len() - there..]);
                }
            }
        });
    });
}

#[test]
fn errors_of_reads_come_with_the_buffer() {
    within_deadline(|| {
        pollster::block_on(async {
            let ring = ring();
            let directory: Fd = Fd::new(std::fs::File::open("/").unwrap());
            let write_only = std::fs::File::options().write(true).open("/dev/null").unwrap();
            let write_only: Fd = Fd::new(write_only);
            for _ in 0..SOME {
                let error = ring.read_at_owned(&directory, vec![7; 9], 0).await.unwrap_err();
                assert_eq!(error.error.raw_os_error(), Some(libc::EISDIR));
                assert_eq!(error.buffer, [7; 9]);
                let error = ring.read_at_owned(&write_only, vec![7; 9], 0).await.unwrap_err();
                assert_eq!(error.error.raw_os_error(), Some(libc::EBADF));
                assert_eq!(error.buffer, [7; 9]);
            }
        });
    });
}

#[test]
fn a_send_that_does_not_fit_goes_on_in_the_ring() {
    within_deadline(|| {
        pollster::block_on(async {
            const MSG_WAITALL: u32 = 0x100;
            let ring = ring();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let near: Fd = Fd::new(listener.accept().unwrap().0);
            let all = pattern(8_000_000);
            let reader = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(50));
                let mut got = vec![0; 8_000_000];
                far.read_exact(&mut got).unwrap();
                got
            });
            let (sent, all) = ring.send_with(&near, all, MSG_WAITALL).await.unwrap();
            if calls_plainly(&ring) {
                assert_eq!(sent, 8_000_000);
                assert!(reader.join().unwrap() == all);
            }
        });
    });
}

fn local() -> RingOf<Local> {
    of_the_kernel().entries(64).local().build().unwrap()
}

#[test]
fn sends_of_a_local_ring_are_plain_calls() {
    within_deadline(|| {
        let ring = local();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let near: Fd<Local> = Fd::new(listener.accept().unwrap().0);
        ring.block_on(async {
            for _ in 0..MANY {
                assert_eq!(
                    ring.send(&near, b"some".to_vec()).await.unwrap(),
                    (4, b"some".to_vec())
                );
            }
        });
        let mut got = vec![0; 400];
        far.read_exact(&mut got).unwrap();
        assert_eq!(got, b"some".repeat(100));
        let snapshot = ring.snapshot();
        assert_eq!((snapshot.submitted, snapshot.completed), (MANY, MANY));
        if calls_plainly(&ring) {
            assert_eq!(snapshot.plain_calls, MANY);
        }
    });
}

#[test]
fn a_read_of_a_local_ring_is_a_plain_call_when_it_has_no_company() {
    within_deadline(|| {
        let (ring, content) = (local(), pattern(4096));
        let file: Fd<Local> = file_with(&content);
        let read = async || {
            let (n, buffer) = ring.read_at_owned(&file, vec![0; 4096], 0).await.unwrap();
            assert!(n == 4096 && buffer == content);
        };
        ring.block_on(async {
            for _ in 0..MANY {
                read().await;
            }
        });
        let alone = ring.snapshot().plain_calls;
        if calls_plainly(&ring) && files_tell() {
            assert!((MANY / 2..MANY).contains(&alone), "{alone}");
        }
        // Those that wait together are one system call.
        ring.block_on(ring.nop()).unwrap();
        ring.block_on(join_all((0..2 * SOME).map(|_| read())));
        let before = ring.snapshot();
        ring.block_on(join_all((0..2 * SOME).map(|_| read())));
        let after = ring.snapshot();
        assert_eq!(after.plain_calls, before.plain_calls);
        if calls_plainly(&ring) && files_tell() {
            assert_eq!(after.enters, before.enters + 1);
        }
    });
}

/// What is sent at once ends no poll, so a task that only sends would keep the thread.
#[test]
fn a_task_that_sends_all_the_time_lets_others_run() {
    within_deadline(|| {
        let ring = local();
        let (near, _far) = never_full();
        let over = Cell::new(false);
        let sends = async {
            let (mut buffer, mut sent) = (vec![7; 8], 0_u64);
            while !over.get() {
                buffer = ring.send(&near, buffer).await.unwrap().1;
                sent += 1;
            }
            sent
        };
        let other = async {
            ring.timeout(Duration::from_millis(5)).await.unwrap();
            over.set(true);
        };
        let (sent, ()) = ring.block_on(join(sends, other));
        assert!(sent > 0);
    });
}
