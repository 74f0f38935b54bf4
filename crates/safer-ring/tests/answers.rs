//! Answers of the kernel that mean something else than they seem to: an errno of the file where one of the ring is expected.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::fuse::Fuse;
use common::net::{poll_once, until};
use common::{Exec, everywhere, must_fail, of_the_kernel, with_built, with_ring};
use safer_ring::{Fd, RingOf};

everywhere! {
    a_handle_in_the_error_of_a_close_is_open,
    a_dropped_close_closes_once,
    a_close_that_a_ring_refuses_gives_the_handle_back,
    a_chain_ends_with_a_close,
    a_chain_that_fails_leaves_its_close_undone,
    nothing_follows_a_close,
    a_dropped_chain_closes_once,
}

/// By which a ring says that it has not run an operation, and others that a file may answer.
const ERRNOS: [i32; 8] = [
    libc::ECANCELED,
    libc::EINVAL,
    libc::EOPNOTSUPP,
    libc::EACCES,
    libc::EINTR,
    libc::EIO,
    libc::EBADF,
    libc::EAGAIN,
];

/// Numbers of descriptors are the process's: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A ring of eight entries, which has opened what it needs.
fn with_warm_ring<E: Exec>(body: impl AsyncFnOnce(RingOf<E::M>)) {
    let _alone = alone();
    with_ring::<E>(8, async |ring| {
        ring.nop().await.unwrap();
        body(ring).await;
    });
}

fn is_open(number: RawFd) -> bool {
    name(number).is_some()
}

/// The file of a file system, and its number.
fn open(fuse: &Fuse) -> (File, RawFd) {
    let file = OpenOptions::new().write(true).open(fuse.path()).unwrap();
    let number = file.as_raw_fd();
    (file, number)
}

/// Which file a number leads to, if any. Sockets, and the files of [`Fuse`], have names of their own.
fn name(number: RawFd) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{number}")).ok()
}

/// Takes a number that was closed: whoever closes it again closes a file of the test. `None` if the runtime has it already.
fn take(number: RawFd) -> Option<File> {
    let file = File::open("/dev/null").unwrap();
    (file.as_raw_fd() == number).then_some(file)
}

fn a_handle_in_the_error_of_a_close_is_open<E: Exec>() {
    let Some(fuse) = Fuse::mount() else { return };
    with_warm_ring::<E>(async |ring| {
        for errno in ERRNOS {
            fuse.answers.flush.store(errno, SeqCst);
            let (file, number) = open(&fuse);
            let back = must_fail(ring.close(Fd::new(file)).await, errno);
            assert!(back.is_none(), "{errno}: a handle on what is not open");
            assert_ne!(name(number).as_ref(), Some(&fuse.path()), "it is closed");
        }
    });
}

fn a_dropped_close_closes_once<E: Exec>() {
    let Some(fuse) = Fuse::mount() else { return };
    with_warm_ring::<E>(async |ring| {
        let (mut victims, mut at_once) = (0, 0);
        for errno in ERRNOS {
            fuse.answers.flush.store(errno, SeqCst);
            let flushes = fuse.answers.flushes.load(SeqCst);
            let (file, number) = open(&fuse);
            let mut close = ring.close(Fd::new(file));
            let polled = poll_once(&mut close);
            drop(close);
            if polled.is_ready() {
                at_once += 1;
                continue;
            }
            until(&ring, "it is flushed", || fuse.answers.flushes.load(SeqCst) > flushes).await;
            until(&ring, "it is closed", || name(number).as_ref() != Some(&fuse.path())).await;
            let victim = take(number);
            until(&ring, "it has ended", || ring.snapshot().orphans == 0).await;
            assert_eq!(fuse.answers.flushes.load(SeqCst), flushes + 1);
            if let Some(victim) = victim {
                assert!(is_open(number), "{errno}: a file of somebody else was closed");
                victims += 1;
                drop(victim);
            }
        }
        assert!(victims > 0 || at_once == ERRNOS.len(), "{victims} numbers, {at_once} at once");
    });
}

fn a_close_that_a_ring_refuses_gives_the_handle_back<E: Exec>() {
    let _alone = alone();
    with_built::<E>(of_the_kernel().entries(8).iopoll(true), async |ring| {
        let (near, _far) = UnixStream::pair().unwrap();
        let number = near.as_raw_fd();
        let error = ring.close(Fd::new(near)).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP), "{error}");
        let back = error.into_buffer().unwrap();
        assert_eq!(back.as_fd().as_raw_fd(), number);
        assert!(is_open(number));
    });
}

fn a_chain_ends_with_a_close<E: Exec>() {
    with_warm_ring::<E>(async |ring| {
        let (reader, writer) = std::io::pipe().unwrap();
        let (fd, mut far) = (Fd::new(writer.try_clone().unwrap()), writer);
        let write = ring.write_owned(&fd, b"whole".to_vec());
        let (write, close) = write.then(ring.close(Fd::new(reader))).await;
        assert_eq!(write.unwrap().0, 5);
        close.unwrap();
        let gone = std::io::Write::write(&mut far, b"x").unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::BrokenPipe, "it is closed");
    });
}

fn a_chain_that_fails_leaves_its_close_undone<E: Exec>() {
    with_warm_ring::<E>(async |ring| {
        let (reader, writer) = std::io::pipe().unwrap();
        let number = reader.as_raw_fd();
        // It is written to the end that is read from.
        let wrong = Fd::new(reader.try_clone().unwrap());
        let write = ring.write_owned(&wrong, b"none".to_vec());
        let (write, close) = write.then(ring.close(Fd::new(reader))).await;
        must_fail(write, libc::EBADF);
        let back = close.unwrap_err().into_buffer().unwrap();
        assert_eq!(back.as_fd().as_raw_fd(), number);
        assert!(is_open(number));
        ring.close(back).await.unwrap();
        drop(writer);
    });
}

fn nothing_follows_a_close<E: Exec>() {
    with_warm_ring::<E>(async |ring| {
        let (near, _far) = UnixStream::pair().unwrap();
        let number = near.as_raw_fd();
        let (close, nop) = ring.close(Fd::new(near)).then(ring.nop()).await;
        let back = must_fail(close, libc::EINVAL).unwrap();
        assert_eq!(nop.unwrap_err().raw_os_error(), Some(libc::EINVAL));
        assert!(is_open(number));
        drop(back);
    });
}

fn a_dropped_chain_closes_once<E: Exec>() {
    with_warm_ring::<E>(async |ring| {
        for (polls, fails) in [(0, false), (0, true), (1, false), (1, true), (2, false), (2, true)]
        {
            let (near, far) = UnixStream::pair().unwrap();
            if fails {
                drop(far);
            }
            let number = near.as_raw_fd();
            let socket = name(number);
            let fd = Fd::new(near.try_clone().unwrap());
            let send = ring.send(&fd, b"x".to_vec());
            let mut chain = send.then(ring.close(Fd::new(near)));
            for _ in 0..polls {
                if poll_once(&mut chain).is_ready() {
                    break;
                }
            }
            drop(chain);
            until(&ring, "it is closed", || name(number) != socket).await;
            let victim = take(number);
            until(&ring, "it has ended", || ring.snapshot().orphans == 0).await;
            assert!(victim.is_none() || is_open(number));
        }
    });
}
