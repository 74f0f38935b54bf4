//! A bounded set of buffers of one size that are used again and again.
//!
//! Who waits is served in order: a buffer that comes back while somebody waits is handed to the first in the queue and
//! never lies in the free list, so nobody overtakes. A waiter that goes away passes on what it was given.
//! Wakers are cloned, dropped and woken outside the lock: they are other people's code.
//!
//! A buffer that is out keeps the pool's state alive by a plain count, which costs less than a weak one that must be asked
//! each time; so the end of a pool is the end of its last handle, and these are counted by themselves.

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::filled_buffer::filled_buffer;
use crate::foreign::ForeignMemory;
use crate::memory::{AllocError, Filled, RawBuf, Slab};
use crate::quiet::quietly;
use crate::sync::{AtomicU64, Lock, LockGuard, Ordering};

/// A pool of at most `count` buffers of one size, allocated when they are first needed. Clones are the same pool.
///
/// A buffer goes back when it is dropped, on whatever thread; so does one that is lent to an operation whose owner is gone,
/// after the final completion. Buffers that return after the last handle to the pool was dropped are freed.
///
/// A forked child has a pool of its own with the same buffers; one of whose lock another thread held at the fork has none left there.
pub struct BufferPool {
    shared: Arc<Shared>,
}

struct Shared {
    count: usize,
    size: usize,
    align: usize,
    /// Pools and waiters: who may still take a buffer.
    handles: AtomicU64,
    state: Lock<State>,
    /// What all buffers are parts of. It goes with the last of them, since each keeps this alive.
    slab: Option<Slab>,
}

#[derive(Default)]
struct State {
    /// The last handle has gone.
    closed: bool,
    free: Vec<RawBuf>,
    /// Buffers that were ever allocated; never more than `count`.
    created: usize,
    /// Buffers with a user, or handed to a waiter.
    taken: usize,
    /// In the order of their tickets. Not empty only while no buffer is free.
    waiting: VecDeque<(Ticket, Waker)>,
    /// Buffers handed to waiters that have not run yet, in the order of their tickets.
    served: VecDeque<(Ticket, RawBuf)>,
    next_ticket: Ticket,
    waits: u64,
    high_water: usize,
}

type Ticket = u64;

/// Where a buffer comes from. Memory is allocated outside the lock.
enum Claim {
    Reuse(RawBuf),
    Allocate,
}

/// A snapshot of a pool, in buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// The most buffers the pool may have.
    pub capacity: usize,
    /// Buffers that can be taken now.
    pub available: usize,
    /// Buffers in use, with those handed to a waiter that has not run yet.
    pub taken: usize,
    /// How many times [`BufferPool::acquire`] had to wait.
    pub waits: u64,
    /// The most buffers that were in use at one time.
    pub high_water: usize,
}

impl State {
    /// For a forked child that cannot know which buffers are free: all are in use, and one that comes back is freed.
    fn lost(count: usize) -> Self {
        Self { closed: true, created: count, taken: count, ..Self::default() }
    }

    fn claim(&mut self, count: usize) -> Option<Claim> {
        let claim = match self.free.pop() {
            Some(raw) => Claim::Reuse(raw),
            None if self.created < count => {
                self.created += 1;
                Claim::Allocate
            }
            None => return None,
        };
        self.taken += 1;
        self.high_water = self.high_water.max(self.taken);
        Some(claim)
    }

    /// Takes a buffer back, for the first waiter or for the free list. The waker is to be woken outside the lock.
    fn give(&mut self, raw: RawBuf) -> Option<Waker> {
        match self.waiting.pop_front() {
            Some((ticket, waker)) => {
                self.served.push_back((ticket, raw));
                Some(waker)
            }
            None => {
                self.taken -= 1;
                self.free.push(raw);
                None
            }
        }
    }

    fn enqueue(&mut self, waker: Waker) -> Ticket {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waits += 1;
        self.waiting.push_back((ticket, waker));
        ticket
    }

    /// The buffer this waiter was handed, if it was.
    fn collect(&mut self, ticket: Ticket) -> Option<RawBuf> {
        let position = self.served.binary_search_by_key(&ticket, |(ticket, _)| *ticket).ok()?;
        self.served.remove(position).map(|(_, raw)| raw)
    }

    fn waiting_position(&self, ticket: Ticket) -> Option<usize> {
        self.waiting.binary_search_by_key(&ticket, |(ticket, _)| *ticket).ok()
    }
}

impl Shared {
    fn lock(&self) -> LockGuard<'_, State> {
        // Nothing panics while the lock is held, except for lack of memory: each change is complete or not begun.
        self.state.lock_or(|| State::lost(self.count))
    }

    fn give(&self, raw: RawBuf) {
        let mut state = self.lock();
        if state.closed {
            state.taken -= 1;
            // Freed outside the lock.
            drop(state);
            return drop(raw);
        }
        let waker = state.give(raw);
        drop(state);
        if let Some(waker) = waker {
            quietly(|| waker.wake());
        }
    }

    fn fulfil(self: &Arc<Shared>, claim: Claim) -> PooledBuffer {
        let raw = match claim {
            Claim::Reuse(raw) => raw,
            Claim::Allocate => RawBuf::allocate_or_abort(self.size, self.align, false),
        };
        self.lend(raw)
    }

    fn lend(self: &Arc<Shared>, raw: RawBuf) -> PooledBuffer {
        PooledBuffer { filled: Filled::empty(Loan { raw, home: Arc::clone(self) }) }
    }
}

impl BufferPool {
    /// A pool of `count` buffers of `size` bytes each. With a `count` of zero it never has a buffer.
    ///
    /// # Panics
    ///
    /// If `size` exceeds `isize::MAX`; [`aligned`](BufferPool::aligned) with the alignment 1 gives an error.
    #[must_use]
    #[track_caller]
    pub fn new(count: usize, size: usize) -> BufferPool {
        match BufferPool::aligned(count, size, 1) {
            Ok(pool) => pool,
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`new`](BufferPool::new), with buffers at addresses that are multiples of `align`, for `O_DIRECT`.
    ///
    /// # Errors
    ///
    /// If `align` is not a power of two, or if the size is too large.
    pub fn aligned(count: usize, size: usize, align: usize) -> Result<BufferPool, AllocError> {
        RawBuf::check(size, align)?;
        Ok(BufferPool::of(count, size, align, State::default(), None))
    }

    /// A pool of exactly these buffers, each of `size` bytes: it allocates nothing.
    ///
    /// # Errors
    ///
    /// [`AllocError::TooLarge`] if one of them has fewer bytes.
    pub fn of_foreign(size: usize, memory: Vec<ForeignMemory>) -> Result<BufferPool, AllocError> {
        if memory.iter().any(|memory| memory.capacity() < size) {
            return Err(AllocError::TooLarge);
        }
        let free: Vec<RawBuf> = memory.into_iter().map(ForeignMemory::into_raw).collect();
        let count = free.len();
        // The alignment is for buffers that are allocated, and there will be none.
        let state = State { free, created: count, ..State::default() };
        Ok(BufferPool::of(count, size, 1, state, None))
    }

    /// As [`aligned`](BufferPool::aligned), with all buffers in one piece of memory, which is allocated at once and freed when
    /// the pool and all its buffers are gone: what can be registered with a ring. The system gives it pages when they are
    /// first touched, or registered.
    ///
    /// # Errors
    ///
    /// If `align` is not a power of two, or if there is not so much memory.
    pub fn contiguous(count: usize, size: usize, align: usize) -> Result<BufferPool, AllocError> {
        let (slab, mut free) = Slab::cut(count, size, align)?;
        // The last one is taken first.
        free.reverse();
        let state = State { free, created: count, ..State::default() };
        Ok(BufferPool::of(count, size, align, state, Some(slab)))
    }

    fn of(count: usize, size: usize, align: usize, state: State, slab: Option<Slab>) -> BufferPool {
        let (handles, state) = (AtomicU64::new(1), Lock::new(state));
        BufferPool { shared: Arc::new(Shared { count, size, align, handles, state, slab }) }
    }

    /// The memory of a [`contiguous`](BufferPool::contiguous) pool; `None` of any other.
    #[must_use]
    pub fn memory(&self) -> Option<PoolMemory> {
        self.shared.slab.as_ref()?;
        Some(PoolMemory { shared: Arc::clone(&self.shared) })
    }

    /// An empty buffer, if one is free. `None` if all are in use.
    ///
    /// Without memory for a new buffer the process aborts, as with `Vec`.
    #[must_use]
    pub fn take(&self) -> Option<PooledBuffer> {
        let claim = self.shared.lock().claim(self.shared.count);
        claim.map(|claim| self.shared.fulfil(claim))
    }

    /// Empty buffers, `count` of them or as many as are free, behind what is in `into`: for who needs several at a time, since
    /// the pool is locked once for those that were used before.
    ///
    /// Without memory for a new buffer the process aborts, as with `Vec`.
    pub fn take_many(&self, count: usize, into: &mut Vec<PooledBuffer>) {
        into.reserve(count);
        let before = into.len();
        let mut state = self.shared.lock();
        let reused = count.min(state.free.len());
        let rest = state.free.len() - reused;
        into.extend(state.free.drain(rest..).rev().map(|raw| self.shared.lend(raw)));
        state.taken += reused;
        state.high_water = state.high_water.max(state.taken);
        drop(state);
        while into.len() - before < count {
            let Some(buffer) = self.take() else { break };
            into.push(buffer);
        }
    }

    /// An empty buffer, as soon as one is free. Who waits longest is served first.
    ///
    /// The future may be dropped at any time: a buffer it was handed goes to the next in the queue.
    pub fn acquire(&self) -> Acquire {
        Acquire { pool: self.clone(), ticket: None }
    }

    /// Size of each buffer in bytes.
    #[must_use]
    pub fn buffer_size(&self) -> usize {
        self.shared.size
    }

    /// How the pool is used at this moment.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        let state = self.shared.lock();
        PoolStats {
            capacity: self.shared.count,
            available: self.shared.count - state.taken,
            taken: state.taken,
            waits: state.waits,
            high_water: state.high_water,
        }
    }
}

impl Clone for BufferPool {
    fn clone(&self) -> BufferPool {
        // Nothing is read by this; who gives the clone to another thread orders the two.
        self.shared.handles.fetch_add(1, Ordering::Relaxed);
        BufferPool { shared: Arc::clone(&self.shared) }
    }
}

impl Drop for BufferPool {
    fn drop(&mut self) {
        if self.shared.handles.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        let mut state = self.shared.lock();
        state.closed = true;
        let free = mem::take(&mut state.free);
        drop(state);
        drop(free);
    }
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferPool")
            .field("size", &self.shared.size)
            .field("align", &self.shared.align)
            .field("stats", &self.stats())
            .finish()
    }
}

/// The memory of a [`BufferPool::contiguous`], which stays allocated while this is there. It is no handle of the pool.
#[derive(Clone)]
pub struct PoolMemory {
    shared: Arc<Shared>,
}

impl PoolMemory {
    /// Its first byte; dangling if there is none. The bytes are those of buffers, and not for the holder of this to use.
    #[must_use]
    pub fn start(&self) -> *mut u8 {
        self.shared.slab.as_ref().map_or(std::ptr::null_mut(), Slab::start)
    }

    /// Number of bytes, all buffers together.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a length of memory, not of a collection")]
    pub fn len(&self) -> usize {
        self.shared.slab.as_ref().map_or(0, Slab::len)
    }

    /// From one buffer to the next, in bytes.
    #[must_use]
    pub fn stride(&self) -> usize {
        self.shared.slab.as_ref().map_or(0, Slab::stride)
    }

    /// Buffers that are in use at this moment.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.shared.lock().taken
    }

    /// Whether no buffer will be used any more: the pool is gone, and all its buffers.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let state = self.shared.lock();
        state.closed && state.taken == 0
    }
}

impl PartialEq for PoolMemory {
    fn eq(&self, other: &PoolMemory) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Eq for PoolMemory {}

impl fmt::Debug for PoolMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolMemory").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// Future of [`BufferPool::acquire`]. Polled again after it was ready, it waits for another buffer.
#[must_use = "futures do nothing unless they are polled"]
pub struct Acquire {
    pool: BufferPool,
    /// Place in the queue, once there is one.
    ticket: Option<Ticket>,
}

impl Acquire {
    fn poll_first(&mut self, cx: &Context<'_>) -> Poll<PooledBuffer> {
        let claim = self.pool.shared.lock().claim(self.pool.shared.count);
        if let Some(claim) = claim {
            return Poll::Ready(self.pool.shared.fulfil(claim));
        }
        let waker = cx.waker().clone();
        let mut state = self.pool.shared.lock();
        match state.claim(self.pool.shared.count) {
            Some(claim) => {
                drop(state);
                Poll::Ready(self.pool.shared.fulfil(claim))
            }
            None => {
                self.ticket = Some(state.enqueue(waker));
                Poll::Pending
            }
        }
    }

    fn poll_again(&mut self, ticket: Ticket, cx: &Context<'_>) -> Poll<PooledBuffer> {
        let mut state = self.pool.shared.lock();
        let mut raw = state.collect(ticket);
        if raw.is_none() {
            let position = state.waiting_position(ticket);
            let known = position.and_then(|position| state.waiting.get(position));
            if known.is_some_and(|(_, known)| known.will_wake(cx.waker())) {
                return Poll::Pending;
            }
            drop(state);
            let mut waker = cx.waker().clone();
            state = self.pool.shared.lock();
            raw = state.collect(ticket);
            if raw.is_none()
                && let Some(position) = state.waiting_position(ticket)
                && let Some((_, known)) = state.waiting.get_mut(position)
            {
                mem::swap(known, &mut waker);
            }
            // The old waker is dropped after the lock.
            drop(state);
            drop(waker);
        } else {
            drop(state);
        }
        match raw {
            Some(raw) => {
                self.ticket = None;
                Poll::Ready(self.pool.shared.lend(raw))
            }
            None => Poll::Pending,
        }
    }
}

impl Future for Acquire {
    type Output = PooledBuffer;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<PooledBuffer> {
        let this = self.get_mut();
        match this.ticket {
            None => this.poll_first(cx),
            Some(ticket) => this.poll_again(ticket, cx),
        }
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut state = self.pool.shared.lock();
        let served = state.collect(ticket);
        let waiting =
            state.waiting_position(ticket).and_then(|position| state.waiting.remove(position));
        let next = served.and_then(|raw| state.give(raw));
        drop(state);
        drop(waiting);
        if let Some(next) = next {
            quietly(|| next.wake());
        }
    }
}

impl fmt::Debug for Acquire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire").field("waiting", &self.ticket.is_some()).finish()
    }
}

/// A buffer of a [`BufferPool`], to which it returns when it is dropped.
///
/// It is taken empty, and what an earlier user wrote cannot be seen.
pub struct PooledBuffer {
    filled: Filled<Loan>,
}

impl PooledBuffer {
    /// Gives the buffer back to its pool, as dropping it does.
    pub fn give(self) {
        drop(self);
    }
}

filled_buffer!(PooledBuffer, Loan);

impl fmt::Debug for PooledBuffer {
    /// Lengths only: the bytes may be many, and secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledBuffer")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .field("align", &self.align())
            .finish()
    }
}

/// The memory of a pooled buffer: what is left of it while it is lent. Dropping it gives the memory back.
pub(crate) struct Loan {
    raw: RawBuf,
    home: Arc<Shared>,
}

impl Loan {
    #[inline]
    pub(crate) fn raw(&self) -> &RawBuf {
        &self.raw
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.home.give(mem::take(&mut self.raw));
    }
}

#[cfg(all(test, not(safer_ring_loom)))]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_panic_under_the_lock_does_no_harm() {
        let pool = BufferPool::new(1, 8);
        let buffer = pool.take();
        let shared = Arc::clone(&pool.shared);
        let holder = thread::spawn(move || {
            let _state = shared.lock();
            panic!("while the lock is held");
        });
        assert!(holder.join().is_err());
        assert!(pool.take().is_none());
        drop(buffer);
        assert!(pool.take().is_some());
        assert_eq!(pool.stats().available, 1);
    }
}
