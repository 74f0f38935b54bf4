//! Answers of the kernel that mean something else than they seem to: an errno of the file where one of the ring is expected.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests; setsockopt(2)"
)]

mod common;

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use common::alone::alone;
use common::fuse::Fuse;
use common::net::{ended, poll_once, until};
use common::seccomp::{self, Calls, Deed};
use common::{Exec, everywhere, must_fail, of_the_kernel, with_built, with_ring};
use rustix::net::SendFlags;
use safer_ring::{Address, Control, ControlMessage, Ended, Fd, Mode, RingOf};

everywhere! {
    a_handle_in_the_error_of_a_close_is_open,
    a_dropped_close_closes_once,
    a_close_that_a_ring_refuses_gives_the_handle_back,
    a_chain_ends_with_a_close,
    a_chain_that_fails_leaves_its_close_undone,
    nothing_follows_a_close,
    a_dropped_chain_closes_once,
    an_error_of_a_file_is_told_although_it_looks_like_an_interruption,
    a_receiver_that_is_full_is_waited_for,
    a_datagram_for_a_full_receiver_is_not_sent_empty,
    the_process_in_a_message_is_owned_and_closed_with_a_dropped_one,
}

/// A filter that refuses send(2) and not io_uring: a send goes through the ring, once.
#[test]
fn a_send_that_a_filter_refuses_as_a_call_is_made_by_the_ring() {
    alone("a_send_that_a_filter_refuses_as_a_call_is_made_by_the_ring", || {
        let Ok(ring) = of_the_kernel().entries(8).build() else {
            return eprintln!("skipped: no io_uring here");
        };
        for errno in [libc::EPERM, libc::ENOSYS, libc::EACCES] {
            let ring = ring.clone();
            let sends = move || {
                seccomp::install(Calls::Send, Deed::Errno(errno));
                let (near, mut far) = UnixStream::pair().unwrap();
                let refused = rustix::net::send(&near, b"x", rustix::net::SendFlags::empty());
                assert_eq!(refused.unwrap_err().raw_os_error(), errno, "the filter works");
                let fd = Fd::new(near);
                let (sent, _) = pollster::block_on(ring.send(&fd, b"once".to_vec())).unwrap();
                assert_eq!(sent, 4);
                drop(fd);
                let mut got = Vec::new();
                far.read_to_end(&mut got).unwrap();
                assert_eq!(got, b"once");
            };
            // A filter is the thread's, and a ring has an entry for each.
            thread::spawn(sends).join().unwrap();
        }
    });
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
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A ring of eight entries, which has opened what it needs.
fn with_warm_ring<E: Exec>(body: impl AsyncFnOnce(RingOf<E::M>)) {
    let _alone = one_at_a_time();
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

/// What became of the number of a close that was begun and dropped.
#[derive(PartialEq)]
enum Dropped {
    /// It had ended in its first poll.
    AtOnce,
    /// It was taken here, and nobody has closed it again.
    Taken,
    /// Another thread was faster.
    Elsewhere,
}

async fn drop_a_close<M: Mode>(ring: &RingOf<M>, fuse: &Fuse, errno: i32) -> Dropped {
    fuse.answers.flush.store(errno, SeqCst);
    let flushes = fuse.answers.flushes.load(SeqCst);
    let (file, number) = open(fuse);
    let mut close = ring.close(Fd::new(file));
    let polled = poll_once(&mut close);
    drop(close);
    if polled.is_ready() {
        return Dropped::AtOnce;
    }
    until(ring, "it is flushed", || fuse.answers.flushes.load(SeqCst) > flushes).await;
    until(ring, "it is closed", || name(number).as_ref() != Some(&fuse.path())).await;
    let victim = take(number);
    until(ring, "it has ended", || ring.snapshot().orphans == 0).await;
    assert_eq!(fuse.answers.flushes.load(SeqCst), flushes + 1);
    if victim.is_none() {
        return Dropped::Elsewhere;
    }
    assert!(is_open(number), "{errno}: a file of somebody else was closed");
    Dropped::Taken
}

fn a_dropped_close_closes_once<E: Exec>() {
    const ROUNDS: usize = 25;

    let Some(fuse) = Fuse::mount() else { return };
    with_warm_ring::<E>(async |ring| {
        // Another thread may take a number first, and of closes that end at once one in many gives way: then once more.
        for _ in 0..ROUNDS {
            let mut all = Vec::new();
            for errno in ERRNOS {
                all.push(drop_a_close(&ring, &fuse, errno).await);
            }
            if all.contains(&Dropped::Taken) || all.iter().all(|one| *one == Dropped::AtOnce) {
                return;
            }
        }
        panic!("in {ROUNDS} rounds no number was taken, and not all have ended at once");
    });
}

fn a_close_that_a_ring_refuses_gives_the_handle_back<E: Exec>() {
    let _alone = one_at_a_time();
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
        let gone = far.write(b"x").unwrap_err();
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

fn an_error_of_a_file_is_told_although_it_looks_like_an_interruption<E: Exec>() {
    let Some(fuse) = Fuse::mount() else { return };
    with_warm_ring::<E>(async |ring| {
        for errno in [libc::ECANCELED, libc::EINTR] {
            fuse.answers.read.store(errno, SeqCst);
            let before = fuse.answers.reads.load(SeqCst);
            let fd = Fd::new(File::open(fuse.path()).unwrap());
            let read = ring.read_at_owned(&fd, b"kept".to_vec(), 0);
            assert_eq!(must_fail(read.await, errno), b"kept");
            assert!(fuse.answers.reads.load(SeqCst) > before + 1, "a signal is no error");
        }
        fuse.answers.read.store(0, SeqCst);
        let fd = Fd::new(File::open(fuse.path()).unwrap());
        assert_eq!(ring.read_at_owned(&fd, vec![0; 8], 0).await.unwrap().0, 0);
    });
}

/// A socket without a peer is ready to send, and cannot: nothing tells of room in the queue of a receiver that the
/// message names.
fn a_receiver_that_is_full_is_waited_for<E: Exec>() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    with_warm_ring::<E>(async |ring| {
        let receiver = UnixDatagram::bind(&path).unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        sender.set_nonblocking(true).unwrap();
        while sender.send_to(b"x", &path).is_ok() {}
        let fd = Fd::new(sender);
        let address = Address::from(SocketAddr::from_pathname(&path).unwrap());
        let send = || ring.send_msg(&fd, b"late".to_vec(), Some(&address), Control::new());
        let mut cancelled = send();
        assert!(poll_once(&mut cancelled).is_pending(), "its first poll ends");
        let mut late = send();
        assert!(poll_once(&mut late).is_pending());
        for _ in 0..20 {
            ring.timeout(Duration::from_millis(1)).await.unwrap();
        }
        assert!(matches!(cancelled.cancel().await, Ended::Cancelled(buffer) if buffer == b"late"));
        receiver.recv(&mut [0; 8]).unwrap();
        assert_eq!(late.await.unwrap().0, 4);
        receiver.set_nonblocking(true).unwrap();
        let (mut last, mut buffer) = (0, [0; 8]);
        while let Ok(count) = receiver.recv(&mut buffer) {
            last = count;
        }
        assert_eq!(buffer[..last], *b"late");
    });
}

/// The kernel copies a datagram before it looks for room, and where it waits for that itself, what it sends then is empty.
fn a_datagram_for_a_full_receiver_is_not_sent_empty<E: Exec>() {
    let directory = tempfile::tempdir().unwrap();
    with_warm_ring::<E>(async |ring| {
        let mut number = 0;
        for connected in [false, true] {
            for nonblocking in [false, true] {
                number += 1;
                let path = directory.path().join(format!("socket {number}"));
                let receiver = UnixDatagram::bind(&path).unwrap();
                let sender = UnixDatagram::unbound().unwrap();
                sender.set_nonblocking(true).unwrap();
                let mut waiting = 0;
                while sender.send_to(b"x", &path).is_ok() {
                    waiting += 1;
                }
                if connected {
                    sender.connect(&path).unwrap();
                }
                sender.set_nonblocking(nonblocking).unwrap();
                let fd = Fd::new(sender);
                let address = Address::from(SocketAddr::from_pathname(&path).unwrap());
                let address = (!connected).then_some(&address);
                let mut late = ring.send_msg(&fd, b"late".to_vec(), address, Control::new());
                assert!(poll_once(&mut late).is_pending());
                // The kernel would be waiting by now.
                ring.timeout(Duration::from_millis(5)).await.unwrap();
                let mut buffer = [0; 8];
                for _ in 0..waiting {
                    assert_eq!(receiver.recv(&mut buffer).unwrap(), 1);
                }
                assert_eq!(late.await.unwrap().0, 4, "{connected} {nonblocking}");
                assert_eq!(receiver.recv(&mut buffer).unwrap(), 4);
                if !connected {
                    continue;
                }
                waiting = 0;
                while rustix::net::send(&fd, b"x", SendFlags::DONTWAIT).is_ok() {
                    waiting += 1;
                }
                let mut late = ring.send(&fd, b"later".to_vec());
                assert!(poll_once(&mut late).is_pending());
                ring.timeout(Duration::from_millis(5)).await.unwrap();
                for _ in 0..waiting {
                    assert_eq!(receiver.recv(&mut buffer).unwrap(), 1);
                }
                assert_eq!(late.await.unwrap().0, 5, "{nonblocking}");
                assert_eq!(receiver.recv(&mut buffer).unwrap(), 5);
            }
        }
    });
}

/// `SO_PASSPIDFD` brings a descriptor with each message.
fn the_process_in_a_message_is_owned_and_closed_with_a_dropped_one<E: Exec>() {
    with_warm_ring::<E>(async |ring| {
        let (near, mut far) = UnixStream::pair().unwrap();
        if !passes_pidfds(&near) {
            return println!("skipped: no SO_PASSPIDFD before kernel 6.5");
        }
        let near = Fd::new(near);
        far.write_all(b"x").unwrap();
        let got = ring.recv_msg(&near, vec![0; 8], 64).await.unwrap();
        assert_eq!(got.count, 1);
        let [ControlMessage::PidFd(process)] = &got.control[..] else { panic!("{got:?}") };
        let name = name(process.as_raw_fd()).unwrap();
        assert!(name.to_string_lossy().contains("pidfd"), "{name:?}");
        drop(got);
        let before = pidfds();
        for _ in 0..5 {
            let (near, mut far) = UnixStream::pair().unwrap();
            assert!(passes_pidfds(&near));
            let near = Fd::new(near);
            let mut dropped = ring.recv_msg(&near, vec![0; 8], 64);
            assert!(poll_once(&mut dropped).is_pending());
            drop(dropped);
            far.write_all(b"x").unwrap();
            until(&ring, "it has arrived", || near.kept_bytes() == 1).await;
            // It goes with the handle.
        }
        ended(&ring).await;
        assert_eq!(pidfds(), before, "descriptors have leaked");
    });
}

fn pidfds() -> usize {
    let all = std::fs::read_dir("/proc/self/fd").unwrap();
    let names = all.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    names.filter(|name| name.to_string_lossy().contains("pidfd")).count()
}

/// Sets `SO_PASSPIDFD`; tells whether the kernel has it.
fn passes_pidfds(socket: &UnixStream) -> bool {
    const SO_PASSPIDFD: i32 = 76;
    let on = 1_i32;
    let (fd, level, value) = (socket.as_raw_fd(), libc::SOL_SOCKET, (&raw const on).cast());
    // SAFETY: four bytes on this stack, read during the call.
    unsafe { libc::setsockopt(fd, level, SO_PASSPIDFD, value, 4) == 0 }
}
