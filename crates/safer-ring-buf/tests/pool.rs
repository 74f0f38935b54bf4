//! The pool: order of service, cancellation, threads.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]

mod support;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Wake, Waker};
use std::thread::{self, Thread};

use safer_ring_buf::{Acquire, AllocError, BufferPool, IoBuf, PooledBuffer};

/// Counts how often it is woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Bell {
    fn rung(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll(future: &mut Acquire, bell: &Arc<Bell>) -> Poll<PooledBuffer> {
    let waker = Waker::from(Arc::clone(bell));
    Pin::new(future).poll(&mut Context::from_waker(&waker))
}

fn ready(poll: Poll<PooledBuffer>) -> PooledBuffer {
    match poll {
        Poll::Ready(buffer) => buffer,
        Poll::Pending => panic!("still waiting"),
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on(mut future: Acquire) -> PooledBuffer {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match Pin::new(&mut future).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(buffer) => return buffer,
            Poll::Pending => thread::park(),
        }
    }
}

#[test]
fn buffers_are_bounded_and_come_back() {
    let pool = BufferPool::new(2, 32);
    assert_eq!(pool.stats().available, 2);
    let (mut one, two) = (pool.take().unwrap(), pool.take().unwrap());
    assert!(pool.take().is_none());
    assert_eq!((one.len(), one.capacity(), one.align()), (0, 32, 1));
    assert_eq!(one.extend_from_slice(&[7; 40]), 32);
    let address = one.as_ptr();
    drop(one);
    let mut again = pool.clone().take().unwrap();
    assert_eq!(again.as_ptr(), address, "the memory is used again");
    assert!(again.is_empty());
    assert_eq!((again.resize(32), &again[..]), (32, [0; 32].as_slice()), "without what was in it");
    again.give();
    two.give();
    let stats = pool.stats();
    assert_eq!((stats.capacity, stats.available, stats.taken, stats.high_water), (2, 2, 0, 2));
    assert_eq!((stats.waits, pool.buffer_size()), (0, 32));
}

#[test]
fn aligned_buffers() {
    let pool = BufferPool::aligned(3, 100, 512).unwrap();
    let buffers: Vec<_> = (0..3).map(|_| pool.take().unwrap()).collect();
    for buffer in &buffers {
        assert_eq!((buffer.as_ptr().addr() % 512, buffer.align()), (0, 512));
    }
    assert_eq!(BufferPool::aligned(1, 8, 7).unwrap_err(), AllocError::Align);
    assert_eq!(BufferPool::aligned(1, usize::MAX, 1).unwrap_err(), AllocError::TooLarge);
    assert!(BufferPool::new(0, 8).take().is_none());
}

#[test]
fn lent_buffers_come_back_by_themselves() {
    let pool = BufferPool::new(1, 8);
    let (lease, ()) = pool.take().unwrap().lend();
    assert!(pool.take().is_none());
    thread::spawn(move || drop(lease)).join().unwrap();
    let (n, buffer) = support::read(pool.take().unwrap(), b"abc");
    assert_eq!((n, &buffer[..]), (3, b"abc".as_slice()));
    drop(buffer);
    support::orphan(pool.take().unwrap().slice(..0));
    assert_eq!(pool.stats().available, 1);
}

#[test]
fn who_waits_is_served_in_order_and_nobody_overtakes() {
    let pool = BufferPool::new(1, 8);
    let buffer = pool.take().unwrap();
    let bells: [Arc<Bell>; 3] = Default::default();
    let mut futures = [pool.acquire(), pool.acquire(), pool.acquire()];
    for (future, bell) in futures.iter_mut().zip(&bells) {
        assert!(poll(future, bell).is_pending());
    }
    drop(buffer);
    assert_eq!(bells.each_ref().map(|bell| bell.rung()), [1, 0, 0]);
    assert!(pool.take().is_none(), "the buffer is the first waiter's");
    assert!(poll(&mut pool.acquire(), &bells[2]).is_pending());
    assert!(poll(&mut futures[1], &bells[1]).is_pending(), "a spurious poll gets nothing");
    let buffer = ready(poll(&mut futures[0], &bells[0]));
    drop(buffer);
    assert_eq!(bells.each_ref().map(|bell| bell.rung()), [1, 1, 0]);
    drop(ready(poll(&mut futures[1], &bells[1])));
    drop(ready(poll(&mut futures[2], &bells[2])));
    let stats = pool.stats();
    assert_eq!((stats.available, stats.waits, stats.high_water), (1, 4, 1));
}

#[test]
fn a_waiter_that_goes_away_passes_its_buffer_on() {
    let pool = BufferPool::new(1, 8);
    let buffer = pool.take().unwrap();
    let bells: [Arc<Bell>; 3] = Default::default();
    let mut futures = Vec::from([pool.acquire(), pool.acquire(), pool.acquire()]);
    for (future, bell) in futures.iter_mut().zip(&bells) {
        assert!(poll(future, bell).is_pending());
    }
    drop(futures.remove(1));
    drop(buffer);
    assert_eq!(bells.each_ref().map(|bell| bell.rung()), [1, 0, 0]);
    drop(futures.remove(0)); // woken, and dropped before it ran
    assert_eq!(bells.each_ref().map(|bell| bell.rung()), [1, 0, 1]);
    drop(ready(poll(&mut futures[0], &bells[2])));
    assert_eq!(pool.stats().available, 1);

    let buffer = pool.take().unwrap();
    let mut last = pool.acquire();
    assert!(poll(&mut last, &bells[0]).is_pending());
    drop(buffer);
    drop(last);
    assert_eq!(pool.stats().available, 1, "with nobody waiting it is free");
    drop(pool.acquire());
}

#[test]
fn the_latest_waker_is_woken() {
    let pool = BufferPool::new(1, 8);
    let buffer = pool.take().unwrap();
    let (old, new) = (Arc::new(Bell::default()), Arc::new(Bell::default()));
    let mut future = pool.acquire();
    assert!(poll(&mut future, &old).is_pending());
    assert!(poll(&mut future, &old).is_pending());
    assert!(poll(&mut future, &new).is_pending());
    assert_eq!(Arc::strong_count(&old), 1, "the old waker is let go");
    drop(buffer);
    assert_eq!((old.rung(), new.rung()), (0, 1));
    // The buffer is there although a third waker asks.
    ready(poll(&mut future, &old));
    assert_eq!(pool.stats().waits, 1);
}

#[test]
fn a_waker_may_panic() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker's panic");
        }
    }
    let pool = BufferPool::new(1, 8);
    let buffer = pool.take().unwrap();
    let mut future = pool.acquire();
    let waker = Waker::from(Arc::new(Panics));
    assert!(Pin::new(&mut future).poll(&mut Context::from_waker(&waker)).is_pending());
    assert!(catch_unwind(AssertUnwindSafe(|| drop(buffer))).is_ok(), "not the dropper's panic");
    drop(ready(poll(&mut future, &Arc::default())));
    assert_eq!(pool.stats().available, 1, "the buffer was not lost with the panic");
}

#[test]
fn a_waker_may_use_the_pool() {
    struct Reenters(BufferPool);
    impl Wake for Reenters {
        fn wake(self: Arc<Self>) {
            assert_eq!(self.0.stats().capacity, 1);
        }
    }
    impl Drop for Reenters {
        fn drop(&mut self) {
            assert!(self.0.stats().taken <= 1);
        }
    }
    let pool = BufferPool::new(1, 8);
    let buffer = pool.take().unwrap();
    let mut future = pool.acquire();
    for _ in 0..3 {
        let waker = Waker::from(Arc::new(Reenters(pool.clone())));
        assert!(Pin::new(&mut future).poll(&mut Context::from_waker(&waker)).is_pending());
    }
    drop(buffer);
    let mut other = pool.acquire();
    let waker = Waker::from(Arc::new(Reenters(pool.clone())));
    assert!(Pin::new(&mut other).poll(&mut Context::from_waker(&waker)).is_pending());
    drop(waker);
    drop(other); // drops the last copy of its waker
    drop(future);
    assert_eq!(pool.stats().available, 1);
}

thread_local! {
    /// What the next clone of `meddling_waker` gives back.
    static HELD: RefCell<Option<PooledBuffer>> = const { RefCell::new(None) };
}

/// A waker whose `clone` returns a buffer to the pool: a return at the worst moment, at each run.
fn meddling_waker() -> Waker {
    fn raw() -> RawWaker {
        static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, |_| {}, |_| {}, |_| {});
        RawWaker::new(std::ptr::null(), &VTABLE)
    }
    fn clone(_: *const ()) -> RawWaker {
        drop(HELD.take());
        raw()
    }
    // SAFETY: the functions use no data and may be called on any thread.
    unsafe { Waker::from_raw(raw()) }
}

#[test]
fn a_return_between_two_looks_is_seen() {
    let pool = BufferPool::new(1, 8);
    let waker = meddling_waker();
    let mut cx = Context::from_waker(&waker);

    HELD.set(pool.take());
    let mut first = pool.acquire();
    let buffer = ready(Pin::new(&mut first).poll(&mut cx));
    assert_eq!(pool.stats().waits, 0, "it did not have to wait");

    let (mut second, bell) = (pool.acquire(), Arc::default());
    assert!(poll(&mut second, &bell).is_pending());
    HELD.set(Some(buffer));
    drop(ready(Pin::new(&mut second).poll(&mut cx)));
    assert_eq!(pool.stats().available, 1);
}

#[test]
fn buffers_outlive_their_pool() {
    let pool = BufferPool::new(2, 8);
    let (mut buffer, other) = (pool.take().unwrap(), pool.take().unwrap());
    let (lease, ()) = other.lend();
    drop(pool);
    assert_eq!(buffer.extend_from_slice(b"alive"), 5);
    assert_eq!(support::write(buffer).0, b"alive");
    drop(lease);
}

#[test]
fn several_buffers_at_a_time() {
    let pool = BufferPool::new(4, 8);
    let used = pool.take().unwrap();
    let place = used.as_ptr();
    used.give();
    let mut buffers = Vec::new();
    pool.take_many(3, &mut buffers);
    assert_eq!(buffers.len(), 3);
    assert!(buffers.iter().all(|buffer| buffer.is_empty() && buffer.capacity() == 8));
    assert_eq!(buffers[0].as_ptr(), place, "what was used before comes first");
    pool.take_many(3, &mut buffers);
    assert_eq!(buffers.len(), 4, "as many as there are");
    assert_eq!((pool.stats().taken, pool.stats().high_water), (4, 4));
    pool.take_many(1, &mut buffers);
    assert_eq!(buffers.len(), 4);
    drop(buffers);
    assert_eq!((pool.stats().taken, pool.stats().available), (0, 4));
}

#[test]
fn a_contiguous_pool_is_one_piece() {
    let pool = BufferPool::contiguous(3, 100, 64).unwrap();
    let memory = pool.memory().unwrap();
    assert_eq!((memory.len(), memory.stride()), (384, 128));
    let mut buffers = Vec::new();
    pool.take_many(4, &mut buffers);
    assert_eq!(buffers.len(), 3, "and no more");
    let start = memory.start().addr();
    for (n, buffer) in buffers.iter_mut().enumerate() {
        assert_eq!(buffer.as_ptr().addr(), start + 128 * n);
        assert_eq!((buffer.capacity(), buffer.align()), (100, 64));
        assert_eq!(buffer.resize(100), 100);
        buffer.fill(n as u8);
    }
    assert!(buffers.iter().enumerate().all(|(n, buffer)| buffer.iter().all(|b| *b == n as u8)));
    drop(pool);
    assert!(!memory.is_over());
    assert_eq!(memory.taken(), 3);
    let last = buffers.pop().unwrap();
    drop(buffers);
    assert!(!memory.is_over());
    assert_eq!(last[99], 2, "it lives as long as its last buffer");
    drop(last);
    assert!(memory.is_over());

    assert!(BufferPool::new(1, 8).memory().is_none());
    assert_eq!(BufferPool::contiguous(1, 8, 3).unwrap_err(), AllocError::Align);
    assert_eq!(BufferPool::contiguous(2, usize::MAX / 2, 1).unwrap_err(), AllocError::TooLarge);
    let empty = BufferPool::contiguous(2, 0, 8).unwrap();
    assert_eq!(empty.take().unwrap().capacity(), 0);
}

#[test]
fn a_clone_keeps_the_pool() {
    let pool = BufferPool::new(1, 8);
    let other = pool.clone();
    let buffer = pool.take().unwrap();
    let place = buffer.as_ptr();
    drop(pool);
    drop(buffer);
    assert_eq!(other.take().unwrap().as_ptr(), place);
}

#[test]
fn a_waiting_future_keeps_the_pool() {
    let pool = BufferPool::new(1, 8);
    let buffer = pool.take().unwrap();
    let mut future = pool.acquire();
    assert!(poll(&mut future, &Arc::default()).is_pending());
    drop(pool);
    drop(buffer);
    assert_eq!(ready(poll(&mut future, &Arc::default())).capacity(), 8);
}

/// Many threads, few buffers, and futures that are dropped at every stage: each thread must get all its turns (a lost
/// wake-up would hang it), no two threads may have the same memory, and in the end all buffers are back.
#[test]
fn torture() {
    const THREADS: u8 = 6;
    const ROUNDS: usize = 2000;
    let pool = BufferPool::new(2, 16);
    let workers: Vec<_> = (0..THREADS)
        .map(|id| {
            let pool = pool.clone();
            thread::spawn(move || {
                let mut random = u64::from(id) + 1;
                for _ in 0..ROUNDS {
                    random =
                        random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    let choice = random >> 61;
                    if choice < 2 {
                        let mut given_up = pool.acquire();
                        let _ = poll(&mut given_up, &Arc::default());
                        thread::yield_now();
                        continue;
                    }
                    let mut buffer = block_on(pool.acquire());
                    assert_eq!(buffer.extend_from_slice(&[id; 16]), 16);
                    thread::yield_now();
                    assert_eq!(&buffer[..], [id; 16], "two owners of one buffer");
                    match choice {
                        2 => drop(buffer.lend()),
                        3 => drop(support::write(buffer)),
                        _ => drop(buffer),
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
    let stats = pool.stats();
    assert_eq!((stats.available, stats.taken), (2, 0));
    assert!(stats.high_water <= 2, "never more than there may be");
}
