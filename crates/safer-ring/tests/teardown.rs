//! Ends at bad moments: of rings, threads, runtimes, processes and descriptors, with work in flight; and wakers that use
//! the ring.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::any::TypeId;
use std::cell::RefCell;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::process::Command;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use common::alone::{alone, describe_descriptors, descriptors};
use common::net::{poll_once, settled, shared, unix_pair, until};
use common::tracked::Morgue;
use common::{
    Exec, OnLocal, OnPollster, OnTokio, deadline, direct_file, everywhere, failure, with_ring,
    within_deadline,
};
use safer_ring::local::Ring as LocalRing;
use safer_ring::{Failure, Fd, Local, Mode, RingOf, Shared, SocketKind};

everywhere! {
    direct_reads_of_a_dropped_ring_write_nothing_after_their_buffers_are_released,
    direct_reads_that_outlive_their_ring_keep_their_buffers,
    a_descriptor_without_handles_stays_open_for_its_operations,
    a_close_beside_a_live_receive_is_refused_and_disturbs_nothing,
    a_ring_dropped_beside_a_forgotten_receive_releases_nothing,
    a_listener_outlives_the_ring_of_a_kept_accept_and_frees_its_port_with_its_last_handle,
    a_hundred_thousand_receives_dropped_in_turn_leave_one_for_each_socket,
    receives_dropped_at_once_leave_one_for_each_socket,
}

/// Looks again and again, without a ring, until `done`.
fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + deadline() / 2;
    while !done() {
        assert!(Instant::now() < end, "{what}: not so");
        thread::sleep(Duration::from_millis(1));
    }
}

/// For less a ring of one thread does not leave anything behind: about half of what it waits.
const PATIENCE: Duration = Duration::from_millis(100);

/// Drops what holds a ring that reads from a disk, and waits until the memory of its reads is released. A ring of one thread
/// waits 0.2 seconds for them, and then leaks it: so it is with a disk that is slow, or has much to do.
fn drop_and_release<E: Exec, T>(last: T, morgue: &Morgue) {
    let start = Instant::now();
    drop(last);
    let waited = start.elapsed();
    if TypeId::of::<E::M>() == TypeId::of::<Local>() {
        assert!(morgue.alive() == 0 || waited > PATIENCE, "not released, after {waited:?}");
    } else {
        eventually("all are released", || morgue.alive() == 0);
    }
}

const BLOCK: usize = 1 << 20;

fn direct_reads_of_a_dropped_ring_write_nothing_after_their_buffers_are_released<E: Exec>() {
    let file = direct_file(BLOCK);
    for _ in 0..10 {
        let morgue = Morgue::new();
        let ring = E::builder(safer_ring::Ring::builder().entries(8)).build().unwrap();
        E::run(&ring, async {
            let mut reads: Vec<_> =
                (0..2).map(|_| ring.read_at_owned(&file, morgue.buffer(BLOCK), 0)).collect();
            for read in &mut reads {
                let _ = poll_once(read).is_pending();
            }
            // Handed over, and not waited for.
            ring.nop().await.unwrap();
        });
        drop_and_release::<E, _>(ring, &morgue);
        // What is written from here on is not meant for them.
        let other = E::builder(safer_ring::Ring::builder().entries(8)).build().unwrap();
        E::run(&other, other.timeout(Duration::from_millis(10))).unwrap();
        morgue.assert_untouched();
    }
}

fn direct_reads_that_outlive_their_ring_keep_their_buffers<E: Exec>() {
    let file = direct_file(BLOCK);
    for _ in 0..10 {
        let morgue = Morgue::new();
        let ring = E::builder(safer_ring::Ring::builder().entries(8)).build().unwrap();
        let mut reads: Vec<_> =
            (0..2).map(|_| ring.read_at_owned(&file, morgue.buffer(BLOCK), 0)).collect();
        let ended = E::run(&ring, async {
            let ended =
                reads.iter_mut().map(|read| usize::from(poll_once(read).is_ready())).sum::<usize>();
            ring.nop().await.unwrap();
            ended
        });
        drop(ring);
        assert_eq!(morgue.alive(), 2 - ended, "the futures own them");
        drop_and_release::<E, _>(reads, &morgue);
        thread::sleep(Duration::from_millis(10));
        morgue.assert_untouched();
    }
}

fn a_descriptor_without_handles_stays_open_for_its_operations<E: Exec>() {
    // More operations than entries: some wait in the queue.
    with_ring::<E>(2, async |ring| {
        let mut all = Vec::new();
        for byte in 0..20u8 {
            let (near, far) = UnixStream::pair().unwrap();
            let near = Fd::new(near);
            let number = near.as_fd().as_raw_fd();
            let mut receive = ring.recv(&near, vec![0; 4]);
            assert!(poll_once(&mut receive).is_pending());
            drop(near);
            all.push((byte, number, receive, far));
        }
        let opened: Vec<_> = (0..50).map(|_| File::open("/dev/null").unwrap()).collect();
        for (_, number, ..) in &all {
            let taken = opened.iter().any(|file| file.as_raw_fd() == *number);
            assert!(!taken, "descriptor {number} was closed under its operation");
        }
        ring.nop().await.unwrap();
        for (byte, _, receive, mut far) in all {
            far.write_all(&[byte]).unwrap();
            assert_eq!(receive.await.unwrap().1, [byte]);
            // That was the last that held it.
            far.set_nonblocking(true).unwrap();
            until(&ring, "it is closed", || matches!(far.read(&mut [0; 1]), Ok(0))).await;
        }
    });
}

fn a_close_beside_a_live_receive_is_refused_and_disturbs_nothing<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        for handed_over in [false, true] {
            let (near, mut far) = UnixStream::pair().unwrap();
            let near = Fd::new(near);
            let mut receive = ring.recv(&near, vec![0; 4]);
            assert!(poll_once(&mut receive).is_pending());
            if handed_over {
                ring.nop().await.unwrap();
            }
            let error = ring.close(near).await.unwrap_err();
            assert_eq!(failure(&error.error), Some(Failure::Busy { others: 1 }), "{error}");
            drop(error);
            far.write_all(b"live").unwrap();
            assert_eq!(receive.await.unwrap().1, b"live");
        }
    });
}

fn a_ring_dropped_beside_a_forgotten_receive_releases_nothing<E: Exec>() {
    let morgue = Morgue::new();
    let (near, far) = UnixStream::pair().unwrap();
    let near: Fd<E::M> = Fd::new(near);
    let ring = E::builder(safer_ring::Ring::builder().entries(8)).build().unwrap();
    E::run(&ring, async {
        for _ in 0..4 {
            let mut receive = ring.recv(&near, morgue.buffer(4096));
            assert!(poll_once(&mut receive).is_pending());
            std::mem::forget(receive);
        }
        ring.nop().await.unwrap();
    });
    drop(ring);
    drop(near);
    // The kernel may still write for them; a second ring has the time to see it.
    let other = E::builder(safer_ring::Ring::builder().entries(8)).build().unwrap();
    E::run(&other, async {
        let far: Fd<E::M> = Fd::new(far);
        other.send(&far, vec![9; 4096]).await.unwrap();
        other.timeout(Duration::from_millis(50)).await.unwrap();
        drop(far);
        other.timeout(Duration::from_millis(50)).await.unwrap();
    });
    assert_eq!((morgue.alive(), morgue.released()), (4, 0));
    morgue.assert_untouched();
}

fn a_listener_outlives_the_ring_of_a_kept_accept_and_frees_its_port_with_its_last_handle<
    E: Exec,
>() {
    for ring_first in [true, false] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let listener: Fd<E::M> = Fd::new(listener);
        let ring = E::builder(safer_ring::Ring::builder().entries(8)).build().unwrap();
        E::run(&ring, async {
            let mut accept = ring.accept(&listener);
            assert!(poll_once(&mut accept).is_pending());
            drop(accept);
            ring.nop().await.unwrap();
            assert_eq!(ring.snapshot().kept, 1);
        });
        if ring_first {
            drop(ring);
            eventually("the ring lets go of it", || listener.holders() == 1);
            let client = TcpStream::connect(address).unwrap();
            let other = E::builder(safer_ring::Ring::builder().entries(8)).build().unwrap();
            let (_server, peer) = E::run(&other, other.accept(&listener)).unwrap();
            assert_eq!(peer.and_then(|peer| peer.ip()), Some(client.local_addr().unwrap()));
            assert!(TcpListener::bind(address).is_err(), "a handle is left");
            drop(listener);
        } else {
            drop((listener, ring));
        }
        eventually("the port is free", || TcpListener::bind(address).is_ok());
    }
}

const SOCKETS: usize = 64;

/// In flight at most, when each socket has one dropped receive: the ring has a watch on its bell, and a timer.
fn bound<M: Mode>(ring: &RingOf<M>) -> u64 {
    u64::try_from(SOCKETS).unwrap() + 2 * ring.snapshot().rings
}

fn a_hundred_thousand_receives_dropped_in_turn_leave_one_for_each_socket<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let morgue = Morgue::new();
        let pairs: Vec<_> = (0..SOCKETS).map(|_| unix_pair::<E::M>()).collect();
        for at in 0..100_000 {
            let mut receive = ring.recv(&pairs[at % SOCKETS].0, morgue.buffer(16));
            assert!(poll_once(&mut receive).is_pending());
            drop(receive);
            if at % 1000 == 0 {
                ring.nop().await.unwrap();
            }
        }
        settled(&ring).await;
        let now = ring.snapshot();
        assert!(now.in_flight <= bound(&ring), "{now:?}");
        assert!(morgue.alive() <= SOCKETS, "{}", morgue.alive());
        for (near, far) in &pairs {
            ring.send(far, b"x".to_vec()).await.unwrap();
            assert_eq!(ring.recv(near, vec![0; 4]).await.unwrap().1, b"x");
        }
        drop(pairs);
        until(&ring, "all are released", || morgue.alive() == 0).await;
        morgue.assert_untouched();
    });
}

fn receives_dropped_at_once_leave_one_for_each_socket<E: Exec>() {
    // Entries enough that the kernel finds what is to be cancelled: it has a hash table of that size.
    with_ring::<E>(4096, async |ring| {
        // In debug builds a hundred thousand take long.
        let count = if cfg!(debug_assertions) { 20_000 } else { 100_000 };
        let pairs: Vec<_> = (0..SOCKETS).map(|_| unix_pair::<E::M>()).collect();
        let mut receives: Vec<_> =
            (0..count).map(|at| ring.recv(&pairs[at % SOCKETS].0, vec![0; 16])).collect();
        assert!(receives.iter_mut().all(|receive| poll_once(receive).is_pending()));
        ring.nop().await.unwrap();
        drop(receives);
        let end = Instant::now() + deadline() / 2;
        while ring.snapshot().in_flight > bound(&ring) {
            assert!(Instant::now() < end, "few are left: {:?}", ring.snapshot());
            // Not looked at all the time: to count so many takes long in debug builds.
            ring.timeout(Duration::from_millis(100)).await.unwrap();
        }
        for (near, far) in &pairs {
            ring.send(far, b"x".to_vec()).await.unwrap();
            assert_eq!(ring.recv(near, vec![0; 4]).await.unwrap().1, b"x");
        }
    });
}

/// A waker that does something with the ring, once.
struct Shot(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Wake for Shot {
    fn wake(self: Arc<Self>) {
        let action = self.0.lock().unwrap().take();
        action.into_iter().for_each(|action| action());
    }
}

fn shot(action: impl FnOnce() + Send + 'static) -> Waker {
    Waker::from(Arc::new(Shot(Mutex::new(Some(Box::new(action))))))
}

thread_local! {
    static ACTION: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

/// The same with what must stay on its thread.
struct OwnShot;

impl Wake for OwnShot {
    fn wake(self: Arc<Self>) {
        let action = ACTION.take();
        action.into_iter().for_each(|action| action());
    }
}

fn own_shot(action: impl FnOnce() + 'static) -> Waker {
    ACTION.set(Some(Box::new(action)));
    Waker::from(Arc::new(OwnShot))
}

#[track_caller]
fn pending<F: Future + Unpin>(future: &mut F, waker: &Waker) {
    assert!(Pin::new(future).poll(&mut Context::from_waker(waker)).is_pending());
}

#[test]
fn a_waker_starts_operations_on_a_shared_ring() {
    within_deadline(|| {
        let ring = shared(8);
        for round in 0..50u8 {
            let ((a, b), (c, d)) = (unix_pair(), unix_pair());
            let (started, starts) = mpsc::channel();
            let again = ring.clone();
            let waker = shot(move || {
                let mut receive = again.recv(&c, vec![0; 4]);
                assert!(poll_once(&mut receive).is_pending());
                let (n, _) = pollster::block_on(again.send(&c, vec![round])).unwrap();
                started.send((n, receive)).unwrap();
            });
            let mut first = ring.recv(&a, vec![0; 4]);
            pending(&mut first, &waker);
            pollster::block_on(ring.send(&b, b"x".to_vec())).unwrap();
            // The waker is fired on this thread, unless the reactor is faster: what it starts has the same kernel ring here.
            pollster::block_on(ring.nop()).unwrap();
            let (n, second) = starts.recv_timeout(deadline() / 2).unwrap();
            assert_eq!(n, 1);
            pollster::block_on(async {
                assert_eq!(first.await.unwrap().1, b"x");
                assert_eq!(ring.recv(&d, vec![0; 4]).await.unwrap().1, [round]);
                ring.send(&d, vec![!round]).await.unwrap();
                assert_eq!(second.await.unwrap().1, [!round]);
            });
        }
    });
}

#[test]
fn a_waker_starts_operations_on_a_local_ring() {
    within_deadline(|| {
        let ring = LocalRing::new(8).unwrap();
        for round in 0..50u8 {
            let ((a, b), (c, d)) = (unix_pair(), unix_pair());
            let (started, starts) = mpsc::channel();
            let again = ring.clone();
            let waker = own_shot(move || {
                let mut receive = again.recv(&c, vec![0; 4]);
                assert!(poll_once(&mut receive).is_pending());
                // Runs the ring, inside of a turn of it.
                let (n, _) = again.block_on(again.send(&c, vec![round])).unwrap();
                started.send((n, receive)).unwrap();
            });
            ring.block_on(async {
                let mut first = ring.recv(&a, vec![0; 4]);
                pending(&mut first, &waker);
                ring.send(&b, b"x".to_vec()).await.unwrap();
                let mut second = None;
                until(&ring, "the waker ran", || {
                    second = second.take().or(starts.try_recv().ok());
                    second.is_some()
                })
                .await;
                let (n, second) = second.unwrap();
                assert_eq!(n, 1);
                assert_eq!(first.await.unwrap().1, b"x");
                assert_eq!(ring.recv(&d, vec![0; 4]).await.unwrap().1, [round]);
                ring.send(&d, vec![!round]).await.unwrap();
                assert_eq!(second.await.unwrap().1, [!round]);
            });
        }
    });
}

#[test]
fn a_waker_drops_operations_of_a_shared_ring() {
    within_deadline(|| {
        let ring = shared(8);
        let morgue = Morgue::new();
        for _ in 0..50 {
            let ((a, b), (c, d)) = (unix_pair(), unix_pair());
            let mut kept = ring.recv(&c, morgue.buffer(16));
            let mut sleep = ring.timeout(Duration::from_secs(1000));
            let mut poll = ring.poll(&d, safer_ring::Interest::PRIORITY);
            assert!(poll_once(&mut kept).is_pending());
            assert!(poll_once(&mut sleep).is_pending());
            assert!(poll_once(&mut poll).is_pending());
            let (fired, fires) = mpsc::channel();
            let waker = shot(move || {
                drop((kept, sleep, poll));
                fired.send(()).unwrap();
            });
            let mut first = ring.recv(&a, vec![0; 4]);
            pending(&mut first, &waker);
            pollster::block_on(ring.send(&b, b"x".to_vec())).unwrap();
            fires.recv_timeout(deadline() / 2).unwrap();
            pollster::block_on(async {
                assert_eq!(first.await.unwrap().1, b"x");
                settled(&ring).await;
                assert_eq!(ring.snapshot().kept, 1);
                ring.send(&d, b"kept".to_vec()).await.unwrap();
                assert_eq!(ring.recv(&c, vec![0; 16]).await.unwrap().1, b"kept");
            });
        }
        assert_eq!((morgue.alive(), morgue.released()), (0, 50));
        morgue.assert_untouched();
    });
}

#[test]
fn a_waker_drops_operations_of_a_local_ring() {
    within_deadline(|| {
        let ring = LocalRing::new(8).unwrap();
        let morgue = Morgue::new();
        for _ in 0..50 {
            let ((a, b), (c, d)) = (unix_pair(), unix_pair());
            ring.block_on(async {
                let mut kept = ring.recv(&c, morgue.buffer(16));
                let mut sleep = ring.timeout(Duration::from_secs(1000));
                let mut poll = ring.poll(&d, safer_ring::Interest::PRIORITY);
                assert!(poll_once(&mut kept).is_pending());
                assert!(poll_once(&mut sleep).is_pending());
                assert!(poll_once(&mut poll).is_pending());
                let (fired, fires) = mpsc::channel();
                let waker = own_shot(move || {
                    drop((kept, sleep, poll));
                    fired.send(()).unwrap();
                });
                let mut first = ring.recv(&a, vec![0; 4]);
                pending(&mut first, &waker);
                ring.send(&b, b"x".to_vec()).await.unwrap();
                until(&ring, "the waker ran", || fires.try_recv().is_ok()).await;
                assert_eq!(first.await.unwrap().1, b"x");
                settled(&ring).await;
                assert_eq!(ring.snapshot().kept, 1);
                ring.send(&d, b"kept".to_vec()).await.unwrap();
                assert_eq!(ring.recv(&c, vec![0; 16]).await.unwrap().1, b"kept");
            });
        }
        assert_eq!((morgue.alive(), morgue.released()), (0, 50));
        morgue.assert_untouched();
    });
}

/// An address where a connect ends at once, fails at once, or waits; and what has to live for that.
fn targets() -> [(SocketAddr, Option<TcpListener>, Option<TcpStream>); 3] {
    let listening = TcpListener::bind("127.0.0.1:0").unwrap();
    let refused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let full = TcpListener::bind("127.0.0.1:0").unwrap();
    // listen(2) again sets the length of the queue.
    rustix::net::listen(&full, 0).unwrap();
    let address = full.local_addr().unwrap();
    let queued = TcpStream::connect(address).unwrap();
    [
        (listening.local_addr().unwrap(), Some(listening), None),
        (refused, None, None),
        (address, Some(full), Some(queued)),
    ]
}

fn dropped_connects<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let targets = targets();
        ring.timeout(Duration::from_millis(1)).await.unwrap();
        let before = descriptors();
        for _ in 0..5 {
            for (address, listener, queued) in &targets {
                for handle_first in [true, false] {
                    let like = (*address).into();
                    let socket = ring.socket(&like, SocketKind::Stream).await.unwrap();
                    let other = socket.clone();
                    let mut connect = ring.connect(&socket, *address);
                    let ended = poll_once(&mut connect).is_ready();
                    ring.nop().await.unwrap();
                    assert!(queued.is_none() || (!ended && ring.snapshot().in_flight > 0));
                    drop(socket);
                    if handle_first {
                        drop(other);
                        drop(connect);
                    } else {
                        drop(connect);
                        settled(&ring).await;
                        assert_eq!(ring.snapshot().orphans, 0);
                        assert_eq!(descriptors(), before + 1, "a handle is left");
                        drop(other);
                    }
                    until(&ring, "the socket is closed", || descriptors() == before).await;
                    if let (Some(listener), None) = (listener, queued) {
                        // Those that were established before they were closed leave the queue.
                        listener.set_nonblocking(true).unwrap();
                        while listener.accept().is_ok() {}
                    }
                }
            }
        }
        assert_eq!(ring.snapshot().adopted_fds, 0);
    });
}

#[test]
fn a_dropped_connect_leaves_no_socket_behind() {
    alone("a_dropped_connect_leaves_no_socket_behind", || {
        dropped_connects::<OnLocal>();
        dropped_connects::<OnPollster>();
        dropped_connects::<OnTokio>();
    });
}

#[test]
fn what_a_thread_leaves_in_flight_goes_on_after_its_end() {
    within_deadline(|| {
        let ring = shared(16);
        for round in 0..50u8 {
            let (a, b) = unix_pair();
            let (reader, mut writer) = std::io::pipe().unwrap();
            let reader = Fd::new(reader);
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let listener = Fd::new(listener);
            let of_thread = ring.clone();
            let (receive, accept, read) = thread::spawn(move || {
                let mut receive = of_thread.recv(&a, vec![0; 4]);
                let mut accept = of_thread.accept(&listener);
                let mut read = of_thread.read_owned(&reader, vec![0; 4]);
                assert!(poll_once(&mut receive).is_pending());
                assert!(poll_once(&mut accept).is_pending());
                assert!(poll_once(&mut read).is_pending());
                (receive, accept, read)
            })
            .join()
            .unwrap();
            if round % 2 == 0 {
                // So that the kernel is done with the thread's end, most of the time.
                thread::sleep(Duration::from_millis(1));
            }
            pollster::block_on(ring.send(&b, vec![round])).unwrap();
            writer.write_all(&[round]).unwrap();
            let client = TcpStream::connect(address).unwrap();
            assert_eq!(pollster::block_on(receive).unwrap().1, [round]);
            assert_eq!(pollster::block_on(read).unwrap().1, [round]);
            let (_server, peer) = pollster::block_on(accept).unwrap();
            assert_eq!(peer.and_then(|peer| peer.ip()), Some(client.local_addr().unwrap()));
        }
        assert_eq!(ring.snapshot().cancel_requests, 0);
    });
}

#[test]
fn what_a_thread_has_dropped_is_kept_after_its_end() {
    within_deadline(|| {
        let ring = shared(16);
        let morgue = Morgue::new();
        for round in 0..50u8 {
            let (a, b) = unix_pair();
            let (reader, mut writer) = std::io::pipe().unwrap();
            let reader = Fd::new(reader);
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let listener = Fd::new(listener);
            thread::scope(|scope| {
                let thread = scope.spawn(|| {
                    assert!(poll_once(&mut ring.recv(&a, morgue.buffer(16))).is_pending());
                    assert!(poll_once(&mut ring.accept(&listener)).is_pending());
                    let mut read = ring.read_owned(&reader, morgue.buffer(16));
                    assert!(poll_once(&mut read).is_pending());
                });
                thread.join().unwrap();
            });
            if round % 2 == 0 {
                thread::sleep(Duration::from_millis(1));
            }
            pollster::block_on(async {
                let adopted = ring.snapshot().adopted_bytes;
                ring.send(&b, vec![round; 3]).await.unwrap();
                writer.write_all(&[round; 5]).unwrap();
                let client = TcpStream::connect(address).unwrap();
                assert_eq!(ring.recv(&a, vec![0; 16]).await.unwrap().1, [round; 3]);
                assert_eq!(ring.read_owned(&reader, vec![0; 16]).await.unwrap().1, [round; 5]);
                let (_server, peer) = ring.accept(&listener).await.unwrap();
                assert_eq!(peer.and_then(|peer| peer.ip()), Some(client.local_addr().unwrap()));
                assert_eq!(ring.snapshot().adopted_bytes, adopted + 8, "they took it in");
            });
        }
        assert_eq!(ring.snapshot().adopted_connections, 50);
        until_released(&morgue);
    });
}

fn until_released(morgue: &Morgue) {
    eventually("all are released", || morgue.alive() == 0);
    morgue.assert_untouched();
}

/// A FIFO without other ends: opened for both, so that opening it does not wait.
fn fifo() -> File {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fifo");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    File::options().read(true).write(true).open(&path).unwrap()
}

#[test]
fn a_runtime_ends_beside_reads_of_a_fifo() {
    type End = fn(tokio::runtime::Runtime);
    let ends: [End; 4] = [
        drop,
        |runtime| runtime.shutdown_timeout(Duration::ZERO),
        |runtime| runtime.shutdown_timeout(Duration::from_secs(5)),
        tokio::runtime::Runtime::shutdown_background,
    ];
    alone("a_runtime_ends_beside_reads_of_a_fifo", move || {
        let morgue = Morgue::new();
        let before = {
            let ring = shared(16);
            pollster::block_on(ring.nop()).unwrap();
            drop(ring);
            descriptors()
        };
        for end in ends {
            let ring = shared(16);
            let file = fifo();
            let mut writer = file.try_clone().unwrap();
            let fifo = Fd::new(file);
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
            runtime.block_on(async {
                let (waits, all_wait) = mpsc::channel();
                for _ in 0..4 {
                    let (ring, fifo, waits) = (ring.clone(), fifo.clone(), waits.clone());
                    let buffer = morgue.buffer(64);
                    tokio::spawn(async move {
                        let mut read = ring.read_owned(&fifo, buffer);
                        assert!(poll_once(&mut read).is_pending());
                        waits.send(()).unwrap();
                        read.await
                    });
                }
                (0..4).for_each(|_| all_wait.recv().unwrap());
            });
            end(runtime);
            // Its tasks may end a moment after it.
            eventually("the tasks are gone", || fifo.handles() == 1);
            pollster::block_on(async {
                let mut got = Vec::new();
                writer.write_all(b"one, ").unwrap();
                got.extend(ring.read_owned(&fifo, vec![0; 64]).await.unwrap().1);
                writer.write_all(b"two").unwrap();
                while got.len() < 8 {
                    got.extend(ring.read_owned(&fifo, vec![0; 64]).await.unwrap().1);
                }
                assert_eq!(got, b"one, two");
            });
            drop((fifo, writer, ring));
            until_released(&morgue);
            eventually("nothing is left open", || {
                descriptors() == before || {
                    eprintln!("{:#?}", describe_descriptors());
                    false
                }
            });
        }
    });
}

thread_local! {
    /// Ends in the destructors of its thread.
    static OF_THREAD: RefCell<Vec<Box<dyn std::any::Any>>> = const { RefCell::new(Vec::new()) };
}

/// Work that ends soon, late and never, with its owners and without them; what is given must be kept.
fn leave_in_flight<M: Mode>(ring: &RingOf<M>) -> Vec<Box<dyn std::any::Any>> {
    let (near, far) = unix_pair::<M>();
    let (kept, other) = unix_pair::<M>();
    let listener: Fd<M> = Fd::new(TcpListener::bind("127.0.0.1:0").unwrap());
    let file = direct_file::<M>(BLOCK);
    assert!(poll_once(&mut ring.recv(&kept, vec![0; 64])).is_pending());
    assert!(poll_once(&mut ring.accept(&listener)).is_pending());
    let mut receive = ring.recv(&near, vec![0; 64]);
    let mut sleep = ring.timeout(Duration::from_secs(1000));
    let mut read = ring.read_at_owned(&file, vec![0; BLOCK], 0);
    let mut send = ring.send(&far, vec![0; 4 * BLOCK]);
    assert!(poll_once(&mut receive).is_pending());
    assert!(poll_once(&mut sleep).is_pending());
    let _ = poll_once(&mut read).is_pending();
    let _ = poll_once(&mut send).is_pending();
    // Nobody closes this one, and so nothing but a cancellation ends what waits for it.
    std::mem::forget(near);
    vec![
        Box::new((receive, sleep, read, send)),
        Box::new((far, kept, other, listener, file, ring.clone())),
    ]
}

const WAY: &str = "SAFER_RING_TEST_EXIT";

/// Runs this test in a process that leaves on its way `way`, and wants it to have done so at its end.
fn exits_with(way: &str, name: &str) {
    let child = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--test-threads=1", "--nocapture"])
        .env(WAY, way)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn();
    let mut child = child.unwrap();
    let end = Instant::now() + deadline() * 2 / 3;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            child.kill().unwrap();
        }
        thread::sleep(Duration::from_millis(1));
    }
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{way}: {}\n{said}\n{complaints}", output.status);
    assert!(said.contains("leaves now"), "{way}: {said}");
    assert!(!complaints.contains("panicked"), "{way}: {complaints}");
}

#[test]
fn a_process_exits_with_work_in_flight() {
    const NAME: &str = "a_process_exits_with_work_in_flight";
    let Some(way) = std::env::var_os(WAY) else {
        return within_deadline(|| {
            for way in ["local", "shared", "both in thread-locals", "shared, of another thread"] {
                exits_with(way, NAME);
            }
        });
    };
    let way = way.into_string().unwrap();
    let mut left = Vec::new();
    if way.contains("local") || way.contains("both") {
        let ring = LocalRing::new(8).unwrap();
        left.extend(leave_in_flight(&ring));
        ring.block_on(ring.nop()).unwrap();
        let now = ring.snapshot();
        assert!(now.kept == 2 && now.in_flight >= 3, "{now:?}");
    }
    if way.contains("shared") || way.contains("both") {
        let ring = shared(8);
        if way.contains("another") {
            let other = ring.clone();
            thread::spawn(move || std::mem::forget(leave_in_flight::<Shared>(&other)))
                .join()
                .unwrap();
        } else {
            left.extend(leave_in_flight(&ring));
        }
        pollster::block_on(ring.nop()).unwrap();
        let now = ring.snapshot();
        assert!(now.kept == 2 && now.in_flight >= 3, "{now:?}");
        left.push(Box::new(ring));
    }
    println!("leaves now");
    if way.contains("thread-locals") {
        OF_THREAD.set(left);
    }
    std::process::exit(0);
}
