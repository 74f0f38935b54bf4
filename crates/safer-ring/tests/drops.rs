//! Dropping: futures, buffers, rings. What counts descriptors runs in a process of its own.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests"
)]

mod common;

use std::io::{PipeWriter, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use common::alone::{alone, describe_descriptors, descriptors};
use common::net::{poll_once, settled, shared, unix_pair, until};
use common::tracked::{Morgue, Tracked};
use common::{
    Exec, OnLocal, OnPollster, OnTokio, deadline, direct_file, of_the_kernel, slowness, with_built,
    with_ring, within_deadline,
};
use safer_ring::local::Ring as LocalRing;
use safer_ring::{
    Address, Fd, Interest, Local, Mode, OpenOptions, PipeOptions, Ring, RingOf, Shared, SocketKind,
};

common::everywhere! {
    a_future_dropped_before_its_first_poll_releases_its_buffer_at_once,
    a_future_dropped_in_flight_releases_its_buffer_after_the_last_completion,
    a_dropped_write_still_happens,
    forgotten_futures_keep_their_buffers,
    a_handle_dropped_after_its_end_releases_its_buffer,
    a_panicking_waker_does_not_silence_those_after_it,
}

/// Numbers that look random and are the same in every run (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit
    }
}

/// What the random operations work on.
struct Stage<M: Mode> {
    ring: RingOf<M>,
    morgue: Arc<Morgue>,
    pipe: Fd<M>,
    writer: PipeWriter,
    socket: Fd<M>,
    peer: UnixStream,
    file: Fd<M>,
    sink: Fd<M>,
    listener: Fd<M>,
    target: SocketAddr,
    connections: u32,
}

type Boxed = Pin<Box<dyn Future<Output = ()>>>;

fn boxed<T>(future: impl Future<Output = T> + 'static) -> Boxed {
    Box::pin(async move { drop(future.await) })
}

impl<M: Mode> Stage<M> {
    fn new(ring: RingOf<M>) -> Self {
        let (pipe, writer) = std::io::pipe().unwrap();
        let (socket, peer) = UnixStream::pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        Self {
            ring,
            morgue: Morgue::new(),
            pipe: Fd::new(pipe),
            writer,
            socket: Fd::new(socket),
            peer,
            file: direct_file(1 << 20),
            sink: Fd::new(std::fs::File::options().write(true).open("/dev/null").unwrap()),
            listener: Fd::new(listener),
            target,
            connections: 0,
        }
    }

    fn buffer(&self) -> Tracked {
        self.morgue.buffer(4096)
    }

    /// An operation, and whether it ends by itself.
    fn operation(&self, random: &mut Random) -> (Boxed, bool) {
        let ring = &self.ring;
        let at = 4096 * random.below(256);
        match random.below(14) {
            0 => (boxed(ring.read_owned(&self.pipe, self.buffer())), false),
            1 => (boxed(ring.recv(&self.socket, self.buffer())), false),
            2 => (boxed(ring.recv_msg(&self.socket, self.buffer(), 64)), false),
            3 => (boxed(ring.accept(&self.listener)), false),
            4 => (boxed(ring.poll(&self.pipe, Interest::PRIORITY)), false),
            5 => (boxed(ring.timeout(Duration::from_secs(1000))), false),
            6 => (boxed(ring.read_vectored(&self.pipe, vec![self.buffer(), self.buffer()])), false),
            7 => (boxed(ring.read_at_owned(&self.file, self.buffer(), at)), true),
            8 => (boxed(ring.open("/proc/self/exe", &OpenOptions::new().read(true))), true),
            9 => (boxed(ring.write_owned(&self.sink, self.buffer())), true),
            10 => (boxed(ring.timeout(Duration::from_micros(random.below(500)))), true),
            11 => (boxed(ring.pipe(PipeOptions::Stream)), true),
            12 => {
                let like = Address::from(self.target);
                (boxed(ring.socket(&like, SocketKind::Stream)), true)
            }
            _ => (boxed(ring.statx("/proc/self/exe")), true),
        }
    }

    /// Something happens outside, so that operations end while they are dropped.
    fn disturb(&mut self, random: &mut Random) {
        match random.below(3) {
            0 => self.writer.write_all(b"x").unwrap(),
            1 => self.peer.write_all(b"x").unwrap(),
            _ if self.connections < 100 => {
                self.connections += 1;
                drop(TcpStream::connect(self.target).unwrap());
            }
            _ => {
                // So that the queue of the listener does not fill up.
                self.connections = 0;
                let listener = TcpListener::from(self.listener.duplicate().unwrap());
                listener.set_nonblocking(true).unwrap();
                while listener.accept().is_ok() {}
            }
        }
    }
}

async fn random_drops<M: Mode>(mut stage: Stage<M>, seed: u64) {
    let mut random = Random(seed);
    let mut waiting: Vec<(Boxed, bool)> = Vec::new();
    for _ in 0..10_000 {
        let (mut future, ends) = stage.operation(&mut random);
        // Some are dropped before they are polled.
        if random.below(10) > 0 && poll_once(&mut future).is_pending() {
            waiting.push((future, ends));
        }
        if random.below(4) == 0 {
            stage.disturb(&mut random);
        }
        if random.below(8) == 0 {
            stage.ring.nop().await.unwrap();
        }
        if waiting.len() > 500 || random.below(50) == 0 {
            for _ in 0..random.below(1 + waiting.len() as u64) {
                let which = random.below(waiting.len() as u64) as usize;
                let (future, ends) = waiting.swap_remove(which);
                if ends && random.below(2) == 0 {
                    future.await;
                }
            }
        }
    }
    drop(waiting);
    settled(&stage.ring).await;
    // With the last handles goes what is kept for them.
    let (ring, morgue) = (stage.ring.clone(), Arc::clone(&stage.morgue));
    drop(stage);
    settled(&ring).await;
    until(&ring, "every buffer is released", || morgue.alive() == 0).await;
    assert!(morgue.released() > 4000, "{}", morgue.released());
    morgue.assert_untouched();
    let now = ring.snapshot();
    assert_eq!((now.stale_completions, now.queued, now.orphans), (0, 0, 0), "{now:?}");
    assert!(now.orphaned > 500, "{now:?}");
}

fn random_drops_in<E: Exec>() {
    let seeds = [1, 0xDEAD_BEEF, 0x5EED];
    for seed in seeds.into_iter().take(if slowness() > 1 { 1 } else { 3 }) {
        // The first ring of a process leaves what all of them share: its reactor.
        with_ring::<E>(8, async |ring| ring.nop().await.unwrap());
        let before = descriptors();
        with_built::<E>(Ring::builder().entries(32), async |ring| {
            random_drops(Stage::new(ring), seed).await;
        });
        // A shared ring that had work in flight closes in the background.
        let end = Instant::now() + deadline() / 2;
        while descriptors() != before {
            assert!(Instant::now() < end, "was {before}: {:#?}", describe_descriptors());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn random_drops_lose_nothing_on_a_local_ring() {
    alone("random_drops_lose_nothing_on_a_local_ring", random_drops_in::<OnLocal>);
}

#[test]
fn random_drops_lose_nothing_on_a_shared_ring() {
    alone("random_drops_lose_nothing_on_a_shared_ring", random_drops_in::<OnPollster>);
}

#[test]
fn random_drops_lose_nothing_in_tokio() {
    alone("random_drops_lose_nothing_in_tokio", random_drops_in::<OnTokio>);
}

#[test]
fn a_late_open_is_closed_and_counted() {
    fn body<E: Exec>() {
        with_ring::<E>(8, async |ring| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let target = listener.local_addr().unwrap();
            let listener = Fd::new(listener);
            ring.timeout(Duration::from_millis(1)).await.unwrap();
            let before = descriptors();

            // Results that nobody has looked at.
            let mut batch = ring.batch();
            let options = OpenOptions::new().read(true);
            let opened = batch.add(ring.open("/proc/self/exe", &options));
            let socket = batch.add(ring.socket(&target.into(), SocketKind::Stream));
            let pipe = batch.add(ring.pipe(PipeOptions::Stream));
            batch.submit().await;
            assert_eq!(descriptors(), before + 4);
            drop((opened, socket, pipe));
            assert_eq!(descriptors(), before);
            assert_eq!(ring.snapshot().adopted_fds, 4);

            let mut accepting = ring.accept(&listener);
            assert!(poll_once(&mut accepting).is_pending());
            ring.nop().await.unwrap();
            let ended = ring.snapshot().completed;
            let client = TcpStream::connect(target).unwrap();
            until(&ring, "the connection is accepted", || ring.snapshot().completed > ended + 1)
                .await;
            drop(accepting);
            drop(client);
            assert_eq!(descriptors(), before + 1, "kept for the next accept");
            drop(listener);
            assert_eq!(descriptors(), before - 1);
            let now = ring.snapshot();
            assert_eq!((now.adopted_fds, now.adopted_connections), (4, 1));
        });
    }
    alone("a_late_open_is_closed_and_counted", || {
        body::<OnLocal>();
        body::<OnPollster>();
        body::<OnTokio>();
    });
}

fn a_future_dropped_before_its_first_poll_releases_its_buffer_at_once<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let morgue = Morgue::new();
        let (a, _b) = unix_pair();
        drop(ring.recv(&a, morgue.buffer(10)));
        drop(ring.write_owned(&a, morgue.buffer(10)));
        drop(ring.read_vectored(&a, vec![morgue.buffer(10), morgue.buffer(10)]));
        drop(ring.recv(&a, morgue.buffer(10)).then(ring.send(&a, morgue.buffer(10))));
        assert_eq!((morgue.alive(), morgue.released()), (0, 6));
        assert_eq!(ring.snapshot().submitted, 0);
    });
}

fn a_future_dropped_in_flight_releases_its_buffer_after_the_last_completion<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let morgue = Morgue::new();
        let file = direct_file(1 << 20);
        for _ in 0..50 {
            let (a, b) = unix_pair();
            let mut direct = ring.read_at_owned(&file, morgue.buffer(1 << 20), 0);
            let mut waiting = ring.recv(&a, morgue.buffer(4096));
            let _ = poll_once(&mut direct).is_pending();
            assert!(poll_once(&mut waiting).is_pending());
            ring.nop().await.unwrap();
            drop((direct, waiting));
            // Arrives too late for the receive, or just in time for it: either way not after its release.
            ring.send(&b, vec![9; 4096]).await.unwrap();
            settled(&ring).await;
            drop((a, b));
            until(&ring, "released", || morgue.alive() == 0).await;
        }
        morgue.assert_untouched();
    });
}

fn a_dropped_write_still_happens<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let morgue = Morgue::new();
        let file = Fd::new(tempfile::tempfile().unwrap());
        let mut members = Vec::new();
        let mut batch = ring.batch();
        for at in 0..20u8 {
            let mut buffer = morgue.buffer(100);
            buffer.fill(at);
            members.push(batch.add(ring.write_at_owned(&file, buffer, 100 * u64::from(at))));
        }
        // Submitted, and not awaited by anybody.
        let _ = poll_once(&mut batch.submit());
        ring.nop().await.unwrap();
        drop(members);
        settled(&ring).await;
        until(&ring, "released", || morgue.alive() == 0).await;
        let (_, bytes) = ring.read_at_owned(&file, vec![0; 2000], 0).await.unwrap();
        let expected: Vec<u8> = (0..20).flat_map(|at| [at; 100]).collect();
        assert_eq!(bytes, expected);
    });
}

fn forgotten_futures_keep_their_buffers<E: Exec>() {
    let morgue = Morgue::new();
    with_ring::<E>(8, async |ring| {
        let (a, b) = unix_pair();
        for _ in 0..20 {
            let mut waiting = ring.recv(&a, morgue.buffer(4096));
            assert!(poll_once(&mut waiting).is_pending());
            std::mem::forget(waiting);
        }
        ring.nop().await.unwrap();
        // The kernel writes into buffers that nobody will ever ask for.
        for _ in 0..10 {
            ring.send(&b, vec![9; 4096]).await.unwrap();
        }
        until(&ring, "ten are filled", || ring.snapshot().in_flight <= 12).await;
        assert_eq!((morgue.alive(), morgue.released()), (20, 0));
    });
    morgue.assert_untouched();
}

fn a_handle_dropped_after_its_end_releases_its_buffer<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let morgue = Morgue::new();
        let (a, b) = unix_pair();
        let mut waiting = ring.recv(&a, morgue.buffer(10));
        assert!(poll_once(&mut waiting).is_pending());
        ring.nop().await.unwrap();
        let before = ring.snapshot().completed;
        ring.send(&b, b"x".to_vec()).await.unwrap();
        until(&ring, "it has ended", || ring.snapshot().completed >= before + 2).await;
        assert_eq!(morgue.alive(), 1);
        drop(waiting);
        assert_eq!(morgue.alive(), 1, "kept for the next receive");
        assert_eq!(ring.recv(&a, vec![0; 10]).await.unwrap().1, b"x");
        assert_eq!(morgue.alive(), 0);
    });
}

/// Starts what ends at once, soon and never, and drops the ring; with the futures still there, or not.
fn drop_ring<M: Mode>(ring: RingOf<M>, morgue: &Arc<Morgue>, futures_first: bool) {
    let (never, peer) = unix_pair();
    let (empty, writer) = std::io::pipe().unwrap();
    let empty = Fd::new(empty);
    let file = direct_file(1 << 20);
    let mut futures: Vec<Boxed> = Vec::new();
    for _ in 0..8 {
        futures.push(boxed(ring.recv(&never, morgue.buffer(4096))));
        futures.push(boxed(ring.read_owned(&empty, morgue.buffer(4096))));
        futures.push(boxed(ring.read_at_owned(&file, morgue.buffer(1 << 20), 0)));
        futures.push(boxed(ring.timeout(Duration::from_secs(1000))));
    }
    for future in &mut futures {
        let _ = poll_once(future).is_pending();
    }
    if futures_first {
        drop(futures);
        drop(ring);
    } else {
        drop(ring);
        drop(futures);
    }
    drop((peer, writer));
}

#[test]
fn dropping_a_ring_with_work_in_flight_releases_everything() {
    alone("dropping_a_ring_with_work_in_flight_releases_everything", || {
        drop((shared(8), LocalRing::new(8).unwrap()));
        let before = descriptors();
        let morgue = Morgue::new();
        for futures_first in [true, false, true, false] {
            drop_ring(LocalRing::new(8).unwrap(), &morgue, futures_first);
            // On the spot: its thread has nothing else that could do it later.
            assert_eq!(morgue.alive(), 0);
            assert_eq!(descriptors(), before, "{:#?}", describe_descriptors());

            drop_ring(shared(8), &morgue, futures_first);
            let end = Instant::now() + deadline() / 2;
            while morgue.alive() > 0 || descriptors() != before {
                assert!(Instant::now() < end, "{} {:#?}", morgue.alive(), describe_descriptors());
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        morgue.assert_untouched();
    });
}

#[test]
fn a_local_ring_dropped_in_the_middle_of_direct_reads_frees_nothing_too_early() {
    within_deadline(|| {
        let morgue = Morgue::new();
        let file = direct_file(1 << 20);
        // All that was released is looked at in each round.
        for _ in 0..20 / slowness() {
            let ring = LocalRing::new(8).unwrap();
            let other = LocalRing::new(8).unwrap();
            ring.block_on(async {
                let mut reads: Vec<_> =
                    (0..4).map(|_| ring.read_at_owned(&file, morgue.buffer(1 << 20), 0)).collect();
                for read in &mut reads {
                    assert!(poll_once(read).is_pending());
                }
                ring.nop().await.unwrap();
                std::mem::forget(reads.pop());
            });
            drop(ring);
            other.block_on(other.nop()).unwrap();
            morgue.assert_untouched();
        }
    });
}

struct Bomb;

impl Wake for Bomb {
    fn wake(self: Arc<Self>) {
        panic!("a waker that panics, on purpose");
    }
}

fn poll_with_bomb<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    let waker = Waker::from(Arc::new(Bomb));
    Pin::new(future).poll(&mut Context::from_waker(&waker))
}

#[test]
fn a_panicking_waker_does_not_stop_the_others() {
    within_deadline(|| {
        let ring = shared(64);
        let (a, b) = unix_pair();
        let mut bombs: Vec<_> = (0..10).map(|_| ring.recv(&a, vec![0; 1])).collect();
        assert!(bombs.iter_mut().all(|bomb| poll_with_bomb(bomb).is_pending()));
        let threads: Vec<_> = (0..10)
            .map(|_| {
                let receive = ring.recv(&a, vec![0; 1]);
                std::thread::spawn(move || pollster::block_on(receive).unwrap().0)
            })
            .collect();
        while ring.snapshot().in_flight < 20 {
            std::thread::yield_now();
        }
        // All of them end at once.
        drop(b);
        for thread in threads {
            assert_eq!(thread.join().unwrap(), 0);
        }
        for bomb in bombs {
            assert_eq!(pollster::block_on(bomb).unwrap().0, 0);
        }
        pollster::block_on(ring.nop()).unwrap();
    });
    within_deadline(|| {
        let ring = LocalRing::new(64).unwrap();
        let (a, b) = unix_pair();
        let mut bombs: Vec<_> = (0..10).map(|_| ring.recv(&a, vec![0; 1])).collect();
        assert!(bombs.iter_mut().all(|bomb| poll_with_bomb(bomb).is_pending()));
        let mut others: Vec<_> = (0..10).map(|_| ring.recv(&a, vec![0; 1])).collect();
        let mut b = Some(b);
        let mut over = 0;
        // It fires the wakers, and has no part in their panics.
        ring.block_on(std::future::poll_fn(|cx| {
            let done = others.iter_mut().filter_map(|other| {
                matches!(Pin::new(other).poll(cx), Poll::Ready(Ok((0, _)))).then_some(())
            });
            over += done.count();
            if over == 10 {
                return Poll::Ready(());
            }
            drop(b.take());
            Poll::Pending
        }));
        ring.block_on(async {
            for receive in bombs {
                assert_eq!(receive.await.unwrap().0, 0);
            }
            ring.nop().await.unwrap();
        });
    });
}

/// A buffer whose release panics.
struct Fuse(Option<Tracked>);

impl Drop for Fuse {
    fn drop(&mut self) {
        drop(self.0.take());
        panic!("a buffer whose release panics, on purpose");
    }
}

#[test]
fn a_panicking_release_of_a_buffer_does_not_stop_the_others() {
    fn start<M: Mode>(ring: &RingOf<M>, fd: &Fd<M>, fuse: Fuse) -> Boxed {
        let entry = safer_ring::sys::Sqe {
            opcode: safer_ring::sys::opcode::POLL_ADD,
            fd: std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(fd)),
            op_flags: 1,
            ..Default::default()
        };
        // SAFETY: the entry points to nothing, and its descriptor is that of `fd`.
        boxed(unsafe { ring.raw(entry, Some(fd), fuse) })
    }
    within_deadline(|| {
        let ring: RingOf<Shared> = of_the_kernel().entries(64).build().unwrap();
        let morgue = Morgue::new();
        let (a, b) = unix_pair();
        let mut fuses: Vec<_> =
            (0..10).map(|_| start(&ring, &a, Fuse(Some(morgue.buffer(1))))).collect();
        assert!(fuses.iter_mut().all(|fuse| poll_once(fuse).is_pending()));
        let receive = ring.recv(&a, vec![0; 1]);
        let thread = std::thread::spawn(move || pollster::block_on(receive).unwrap().0);
        while ring.snapshot().in_flight < 11 {
            std::thread::yield_now();
        }
        // Dropping them cancels them; what they kept is released by whoever reaps the end, and none of them panics for it.
        drop(fuses);
        drop(b);
        assert_eq!(thread.join().unwrap(), 0);
        pollster::block_on(settled(&ring));
        pollster::block_on(until(&ring, "all are released", || morgue.alive() == 0));
        assert_eq!(morgue.released(), 10);
    });
    within_deadline(|| {
        let ring: RingOf<Local> = of_the_kernel().local().entries(64).build().unwrap();
        let morgue = Morgue::new();
        let (a, b) = unix_pair();
        let mut receive = ring.recv(&a, vec![0; 1]);
        let mut fuses: Vec<_> =
            (0..10).map(|_| start(&ring, &a, Fuse(Some(morgue.buffer(1))))).collect();
        ring.block_on(async {
            assert!(poll_once(&mut receive).is_pending());
            assert!(fuses.iter_mut().all(|fuse| poll_once(fuse).is_pending()));
            ring.nop().await.unwrap();
        });
        drop(fuses);
        drop(b);
        while morgue.alive() > 0 {
            ring.block_on(ring.timeout(Duration::from_millis(1))).unwrap();
        }
        assert_eq!(ring.block_on(receive).unwrap().0, 0);
    });
}

/// All of them are fired by one thread, after one look at the completions.
fn a_panicking_waker_does_not_silence_those_after_it<E: Exec>() {
    struct Flag(AtomicBool);
    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let ring = E::builder(Ring::builder().entries(64)).build().unwrap();
    let (a, b) = unix_pair::<E::M>();
    let mut receives = Vec::new();
    let mut flags = Vec::new();
    for _ in 0..10 {
        let mut bomb = ring.recv(&a, vec![0; 1]);
        assert!(poll_with_bomb(&mut bomb).is_pending());
        let (mut receive, flag) =
            (ring.recv(&a, vec![0; 1]), Arc::new(Flag(AtomicBool::new(false))));
        let waker = Waker::from(Arc::clone(&flag));
        assert!(Pin::new(&mut receive).poll(&mut Context::from_waker(&waker)).is_pending());
        receives.extend([bomb, receive]);
        flags.push(flag);
    }
    // They are the kernel's before they end.
    E::run(&ring, async { ring.nop().await.unwrap() });
    drop(b);
    let end = Instant::now() + deadline() / 2;
    while !flags.iter().all(|flag| flag.0.load(Ordering::SeqCst)) {
        assert!(Instant::now() < end, "{} are silent", flags.len());
        E::run(&ring, async { ring.timeout(Duration::from_millis(1)).await }).unwrap();
    }
}
