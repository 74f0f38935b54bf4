//! Wakers that panic, and who must not feel it.
#![allow(unsafe_code, clippy::unwrap_used, reason = "tests")]

mod common;

use std::future::Future;
use std::io::Write as _;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use common::net::{ended, poll_once, shared};
use common::{deadline, within_deadline};
use safer_ring::{BufferPool, Fd, Interest, Mode, RingOf};

struct Bomb;

impl Wake for Bomb {
    fn wake(self: Arc<Self>) {
        panic!("a waker that panics, on purpose");
    }
}

/// Takes its time, so that more ends meanwhile.
struct Slow;

impl Wake for Slow {
    fn wake(self: Arc<Self>) {
        thread::sleep(Duration::from_millis(200));
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn poll_with<F: Future + Unpin>(
    future: &mut F,
    waker: Arc<impl Wake + Send + Sync + 'static>,
) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(&Waker::from(waker)))
}

fn pair<M: Mode>() -> (Fd<M>, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    (Fd::new(near), far)
}

fn quiet<T>(work: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(work)).expect("the panic of somebody else's waker")
}

/// Dropping hands a cancellation over, finds that the other receive has ended, and fires its waker.
#[test]
fn a_drop_does_not_panic_for_the_waker_of_another_future() {
    within_deadline(|| {
        for _ in 0..300 {
            let ring = shared(16);
            let ((near, mut far), (other, _far)) = (pair(), pair());
            let mut bomb = ring.recv(&near, vec![0; 16]);
            assert!(poll_with(&mut bomb, Arc::new(Bomb)).is_pending());
            let mut poll = ring.poll(&other, Interest::READABLE);
            assert!(poll_once(&mut poll).is_pending());
            far.write_all(b"x").unwrap();
            quiet(move || drop(poll));
        }
    });
}

/// The first poll of a receive fires the waker of another; what the receive takes in afterwards is in nobody's hands if that
/// panic makes the poll forget what it has begun.
#[test]
fn a_panic_of_another_waker_in_a_first_poll_loses_no_bytes() {
    within_deadline(|| {
        for _ in 0..300 {
            let ring = shared(16);
            let ((near, mut far), (other, mut source)) = (pair(), pair());
            let mut bomb = ring.recv(&near, vec![0; 16]);
            assert!(poll_with(&mut bomb, Arc::new(Bomb)).is_pending());
            let mut first = ring.recv(&other, vec![0; 16]);
            far.write_all(b"x").unwrap();
            assert!(quiet(|| poll_once(&mut first)).is_pending());
            drop(first);
            source.write_all(b"data").unwrap();
            assert_eq!(pollster::block_on(ring.recv(&other, vec![0; 16])).unwrap().1, b"data");
        }
    });
}

/// A receive that was dropped takes in what another kernel ring waits for, and looks into that one; what it fires there
/// must not keep it from firing its own.
#[test]
fn a_panic_in_one_kernel_ring_does_not_silence_the_wakers_of_another() {
    /// Holds a kernel ring of its own: begins what `begin` says, and does not look until it is told to end.
    fn hold<F: Future + Unpin>(
        begin: impl FnOnce() -> F + Send + 'static,
        spin: bool,
    ) -> (thread::JoinHandle<()>, Arc<AtomicBool>) {
        let end = Arc::new(AtomicBool::new(false));
        let (begun, has_begun) = mpsc::channel();
        let told = Arc::clone(&end);
        let thread = thread::spawn(move || {
            let futures = begin();
            begun.send(()).unwrap();
            while !told.load(Ordering::Relaxed) {
                if spin { std::hint::spin_loop() } else { thread::sleep(Duration::from_millis(1)) }
            }
            std::mem::forget(futures);
        });
        has_begun.recv().unwrap();
        (thread, end)
    }
    within_deadline(|| {
        let ring = shared(16);
        let ((fd, mut far), (own, mut own_far)) = (pair(), pair());
        let ((blown, mut blown_far), (slow, mut slow_far)) = (pair(), pair());
        let (other, shares) = (ring.clone(), fd.clone());
        let (first, end_first) = hold(
            move || {
                let mut waits = other.recv(&shares, vec![0; 8]);
                assert!(poll_once(&mut waits).is_pending());
                let mut bomb = other.recv(&blown, vec![0; 8]);
                assert!(poll_with(&mut bomb, Arc::new(Bomb)).is_pending());
                futures_util::future::join(waits, bomb)
            },
            true,
        );
        let other = ring.clone();
        let (second, end_second) = hold(
            move || {
                let mut slows = other.recv(&slow, vec![0; 8]);
                assert!(poll_with(&mut slows, Arc::new(Slow)).is_pending());
                slows
            },
            false,
        );
        let flag = Arc::new(Flag(AtomicBool::new(false)));
        let mut own_receive = ring.recv(&own, vec![0; 8]);
        assert!(poll_with(&mut own_receive, Arc::clone(&flag)).is_pending());
        let mut dropped = ring.recv(&fd, vec![0; 8]);
        assert!(poll_once(&mut dropped).is_pending());
        drop(dropped);
        // The reactor is held up for a while, and finds the others together.
        slow_far.write_all(b"x").unwrap();
        thread::sleep(Duration::from_millis(50));
        for stream in [&mut own_far, &mut far, &mut blown_far] {
            stream.write_all(b"x").unwrap();
        }
        let latest = Instant::now() + deadline() / 2;
        while !flag.0.load(Ordering::SeqCst) {
            assert!(Instant::now() < latest, "it has ended and its waker was never fired");
            thread::sleep(Duration::from_millis(1));
        }
        assert!(poll_once(&mut own_receive).is_ready());
        for (thread, end) in [(first, end_first), (second, end_second)] {
            end.store(true, Ordering::Relaxed);
            thread.join().unwrap();
        }
    });
}

/// What a descriptor keeps goes with its last handle, which may wake who waits for a buffer of the pool.
fn a_handle_closes_its_descriptor_although_a_waker_panics_in<M: Mode>(
    ring: &RingOf<M>,
    run: impl Fn(&RingOf<M>),
) {
    let pool = BufferPool::new(1, 64);
    let (near, mut far) = pair::<M>();
    let number = near.as_fd().as_raw_fd();
    let mut receive = ring.recv(&near, pool.take().unwrap());
    assert!(poll_once(&mut receive).is_pending());
    drop(receive);
    far.write_all(b"x").unwrap();
    run(ring);
    assert_eq!(near.kept_bytes(), 1);
    let mut next = pool.acquire();
    assert!(poll_with(&mut next, Arc::new(Bomb)).is_pending());
    quiet(|| drop(near));
    run(ring);
    // SAFETY: asks for flags of a number, which need not be that of a descriptor.
    assert!(unsafe { libc::fcntl(number, libc::F_GETFD) } < 0, "the descriptor has leaked");
    assert!(poll_once(&mut next).is_ready());
}

#[test]
fn a_handle_closes_its_descriptor_although_a_waker_panics() {
    const NAME: &str = "a_handle_closes_its_descriptor_although_a_waker_panics";
    common::alone::alone(NAME, || {
        a_handle_closes_its_descriptor_although_a_waker_panics_in(&shared(16), |ring| {
            pollster::block_on(ended(ring));
        });
        let local = safer_ring::local::Ring::new(16).unwrap();
        a_handle_closes_its_descriptor_although_a_waker_panics_in(&local, |ring| {
            ring.block_on(ended(ring));
        });
    });
}
