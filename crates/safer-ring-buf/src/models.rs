//! The pool, as it is, in every interleaving that the memory model allows. `cargo xtask loom` runs them.
//!
//! What they do not show: reference counts, which are those of the standard library, and with them the end of a pool
//! whose buffers are elsewhere; memory, which the checker does not watch. At most three preemptions in a run.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::Notify;
use loom::thread;

use crate::{BufferPool, PooledBuffer};

struct Sleeper(Notify);

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }
}

fn sleeper() -> Arc<Sleeper> {
    Arc::new(Sleeper(Notify::new()))
}

/// A wake-up that is lost is a sleep that never ends, which the checker reports.
fn acquire(pool: &BufferPool) -> PooledBuffer {
    let sleeper = sleeper();
    let waker = Waker::from(Arc::clone(&sleeper));
    let mut acquire = pin!(pool.acquire());
    loop {
        if let Poll::Ready(buffer) = acquire.as_mut().poll(&mut Context::from_waker(&waker)) {
            return buffer;
        }
        sleeper.0.wait();
    }
}

fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

#[test]
fn a_buffer_that_comes_back_reaches_each_who_waits() {
    check(|| {
        let pool = BufferPool::new(1, 8);
        let buffer = pool.take().unwrap();
        let waiting: Vec<_> = (0..2)
            .map(|_| {
                let pool = pool.clone();
                thread::spawn(move || drop(acquire(&pool)))
            })
            .collect();
        drop(buffer);
        for waiter in waiting {
            waiter.join().unwrap();
        }
        assert_eq!(pool.stats().available, 1);
    });
}

#[test]
fn a_waiter_that_leaves_passes_on_what_it_was_given() {
    check(|| {
        let pool = BufferPool::new(1, 8);
        let buffer = pool.take().unwrap();
        let leaving = {
            let pool = pool.clone();
            thread::spawn(move || {
                let waker = Waker::from(sleeper());
                let mut future = Box::pin(pool.acquire());
                drop(future.as_mut().poll(&mut Context::from_waker(&waker)));
            })
        };
        let staying = {
            let pool = pool.clone();
            thread::spawn(move || drop(acquire(&pool)))
        };
        drop(buffer);
        leaving.join().unwrap();
        staying.join().unwrap();
        assert_eq!(pool.stats().taken, 0);
    });
}

#[test]
fn a_pool_never_lends_more_than_it_has() {
    check(|| {
        let pool = BufferPool::new(1, 8);
        let other = pool.clone();
        let taking = thread::spawn(move || other.take());
        let mine = pool.take();
        let theirs = taking.join().unwrap();
        assert_eq!(u32::from(mine.is_some()) + u32::from(theirs.is_some()), 1);
    });
}
