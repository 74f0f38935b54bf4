//! The driver against kernels that misbehave: refuse, delay, reorder, repeat and invent.

#[cfg(safer_ring_loom)]
mod announce;
mod begun;
mod bell;
mod faults;
mod faulty;
mod fuzz;
mod left;
mod memory;
mod messages;
#[cfg(safer_ring_loom)]
mod models;
mod requeue;
mod shutdown;
mod strange;
mod timers;
mod whole;
mod wide;
mod wrap;

use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use safer_ring_buf::Lease;
use safer_ring_core::{Key, Op};

use crate::backend::Backend;
use crate::driver::Driver;
use crate::fd::LocalHandle;
use crate::request::Resources;

type Guarded = Rc<LocalHandle>;

/// Counts how often something happened.
#[derive(Clone, Debug, Default)]
struct Count(Arc<AtomicU32>);

impl Count {
    fn get(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Lent memory that counts its release.
struct Token {
    _bytes: [u8; 64],
    released: Count,
}

impl Drop for Token {
    fn drop(&mut self) {
        self.released.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Resources whose release is counted.
fn lent(released: &Count) -> Resources<Guarded> {
    let token = Token { _bytes: [0; 64], released: released.clone() };
    Resources { lease: Lease::from_box(Box::new(token)), fd: None, other: None }
}

fn submit<B: Backend>(
    driver: &mut Driver<Guarded, B>,
    op: Op,
    resources: Resources<Guarded>,
) -> Key {
    let resources = ManuallyDrop::new(resources);
    driver.submit(op, resources, None).unwrap_or_else(|_| panic!("{op:?} was refused"))
}

fn submit_linked<B: Backend>(
    driver: &mut Driver<Guarded, B>,
    resources: Resources<Guarded>,
    following: u16,
) -> Key {
    let resources = ManuallyDrop::new(resources);
    driver.submit_linked(Op::Nop, resources, following, None).unwrap_or_else(|_| panic!("refused"))
}

fn submit_timer<B: Backend>(
    driver: &mut Driver<Guarded, B>,
    resources: Resources<Guarded>,
    after: Duration,
) -> Key {
    let resources = ManuallyDrop::new(resources);
    driver.submit_timer(resources, after).unwrap_or_else(|_| panic!("a timer was refused"))
}

/// What an operation that has ended gives back.
fn take<B: Backend>(
    driver: &mut Driver<Guarded, B>,
    key: Key,
) -> Option<(Resources<Guarded>, i32)> {
    driver.table.take(key).map(|(_, resources, completion)| (resources, completion.res))
}

/// Submits an operation on counted memory.
fn begin<B: Backend>(driver: &mut Driver<Guarded, B>, op: Op) -> (Key, Count) {
    let released = Count::default();
    (submit(driver, op, lent(&released)), released)
}

fn waker(count: &Count) -> Waker {
    Waker::from(Arc::new(count.clone()))
}

/// Does what the wrapper of a driver does outside its lock.
fn clean_up<B: Backend>(driver: &mut Driver<Guarded, B>) {
    let mut aftermath = driver.aftermath(Default::default());
    aftermath.dead.clear();
    aftermath.retired.clear();
    crate::wake::conclude(&mut aftermath.dead, &mut aftermath.retired, &mut aftermath.wakers);
}

/// The result of an operation that has ended.
fn result<B: Backend>(driver: &mut Driver<Guarded, B>, key: Key) -> Option<i32> {
    if !driver.poll(key, Waker::noop()) {
        return None;
    }
    take(driver, key).map(|(_, res)| res)
}

/// Numbers that look random and are the same in each run (splitmix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }
}
