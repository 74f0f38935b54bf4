//! A driver on real queues over plain memory, whose indices are about to wrap around.
//!
//! # Safety
//! Implements the unsafe trait over `SubmissionQueue` and `CompletionQueue`. The shared words and entries are
//! on the heap, owned by the backend next to the queues, and one thread uses them.
//!
//! Tests: ring_indices_wrap
#![allow(unsafe_code, reason = "queues over the test's own memory; implements Backend")]

use std::cell::UnsafeCell;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use safer_ring_core::Op;
use safer_ring_sys::queue::{CompletionQueue, CqParts, Layout, SqParts, SubmissionQueue};
use safer_ring_sys::{Cqe, Errno, Sqe, opcode};

use super::{Dice, begin, clean_up, result};
use crate::backend::{Backend, Submission, Submitted, Wait};
use crate::driver::Driver;

const START: u32 = u32::MAX - 8;
const ENTRIES: u32 = 8;
const COMPLETIONS: u32 = 16;

/// Both queues as the kernel sees them.
struct Shared {
    sq_head: AtomicU32,
    sq_tail: AtomicU32,
    cq_head: AtomicU32,
    cq_tail: AtomicU32,
    unused: AtomicU32,
    array: Vec<UnsafeCell<u32>>,
    sqes: Vec<UnsafeCell<Sqe>>,
    cqes: Vec<UnsafeCell<Cqe>>,
}

impl Shared {
    fn new() -> Box<Self> {
        Box::new(Self {
            sq_head: AtomicU32::new(START),
            sq_tail: AtomicU32::new(START),
            cq_head: AtomicU32::new(START),
            cq_tail: AtomicU32::new(START),
            unused: AtomicU32::new(0),
            array: (0..ENTRIES).map(|_| UnsafeCell::new(0)).collect(),
            sqes: (0..ENTRIES).map(|_| UnsafeCell::new(Sqe::default())).collect(),
            cqes: (0..COMPLETIONS).map(|_| UnsafeCell::new(Cqe::default())).collect(),
        })
    }

    fn sqe(&self, at: u32) -> Sqe {
        let place = &self.array[usize::try_from(at % ENTRIES).unwrap()];
        // SAFETY: one thread; the queue keeps no reference between two calls.
        let slot = unsafe { *place.get() };
        let place = &self.sqes[usize::try_from(slot).unwrap()];
        // SAFETY: as above.
        unsafe { *place.get() }
    }

    fn is_full(&self) -> bool {
        let tail = self.cq_tail.load(Ordering::Relaxed);
        tail.wrapping_sub(self.cq_head.load(Ordering::Acquire)) == COMPLETIONS
    }

    fn post(&self, cqe: Cqe) {
        let tail = self.cq_tail.load(Ordering::Relaxed);
        let place = &self.cqes[usize::try_from(tail % COMPLETIONS).unwrap()];
        // SAFETY: as in `sqe`; the entry is between tail and head, so the queue does not look at it.
        unsafe { *place.get() = cqe };
        self.cq_tail.store(tail.wrapping_add(1), Ordering::Release);
    }
}

/// A kernel that completes no-ops with the number of the entry: some of them late, never more than there is
/// room for.
struct Heap {
    sq: SubmissionQueue,
    cq: CompletionQueue,
    shared: Box<Shared>,
    dice: Dice,
    late: Vec<u64>,
    published: u32,
}

fn first<T>(cells: &[UnsafeCell<T>]) -> NonNull<T> {
    NonNull::new(cells.as_ptr().cast_mut().cast()).unwrap()
}

impl Heap {
    fn new() -> Self {
        let shared = Shared::new();
        let sq = SqParts {
            head: NonNull::from(&shared.sq_head),
            tail: NonNull::from(&shared.sq_tail),
            flags: NonNull::from(&shared.unused),
            dropped: NonNull::from(&shared.unused),
            array: Some(first(&shared.array)),
            entries: first(&shared.sqes),
            count: ENTRIES,
            layout: Layout::Small,
            rewind: false,
        };
        let cq = CqParts {
            head: NonNull::from(&shared.cq_head),
            tail: NonNull::from(&shared.cq_tail),
            overflow: NonNull::from(&shared.unused),
            flags: None,
            entries: first(&shared.cqes),
            count: COMPLETIONS,
            layout: Layout::Small,
        };
        // SAFETY: the parts are on the heap and live as long as this backend, which uses them on one thread.
        let sq = unsafe { SubmissionQueue::from_raw_parts(sq) };
        // SAFETY: as above.
        let cq = unsafe { CompletionQueue::from_raw_parts(cq) };
        Self { sq, cq, shared, dice: Dice(9), late: Vec::new(), published: 0 }
    }

    fn push(&mut self, sqe: &Sqe) {
        // SAFETY: the kernel is this file and follows no address.
        unsafe { self.sq.push(sqe) }.unwrap();
    }
}

// SAFETY: the queues keep the order and the count of what is pushed; no lent memory is touched; each entry
// is completed once.
unsafe impl Backend for Heap {
    fn room(&self) -> u32 {
        self.sq.room()
    }

    unsafe fn submit(&mut self, submission: &Submission) -> Submitted {
        let user_data = submission.user_data;
        self.push(&Sqe { opcode: opcode::NOP, user_data, ..Sqe::default() });
        Submitted::Queued
    }

    fn cancel(&mut self, user_data: u64, target: u64) {
        let opcode = opcode::ASYNC_CANCEL;
        self.push(&Sqe { opcode, addr: target, user_data, ..Sqe::default() });
    }

    fn enter(&mut self, wait: Wait) -> Result<(), Errno> {
        self.sq.publish();
        if self.dice.one_in(5) {
            return Err(Errno::AGAIN);
        }
        let mut head = self.shared.sq_head.load(Ordering::Relaxed);
        let mut limit = self.dice.below(10);
        while head != self.shared.sq_tail.load(Ordering::Acquire) && limit > 0 {
            let sqe = self.shared.sqe(head);
            assert_eq!(sqe.opcode, opcode::NOP);
            self.late.push(sqe.user_data);
            head = head.wrapping_add(1);
            self.shared.sq_head.store(head, Ordering::Release);
            limit -= 1;
        }
        while !self.late.is_empty()
            && !self.shared.is_full()
            && (!matches!(wait, Wait::No | Wait::Fresh) || self.dice.one_in(2))
        {
            let length = u64::try_from(self.late.len()).unwrap();
            let at = usize::try_from(self.dice.below(length)).unwrap();
            let user_data = self.late.swap_remove(at);
            self.published += 1;
            let res = i32::try_from(user_data >> 32).unwrap();
            self.shared.post(Cqe { user_data, res, flags: 0 });
        }
        Ok(())
    }

    fn pop(&mut self) -> Option<Cqe> {
        self.cq.pop()
    }

    fn pending(&self) -> u32 {
        self.sq.pending()
    }

    fn ready(&self) -> bool {
        self.cq.ready() > 0
    }

    fn retract(&mut self, each: &mut dyn FnMut(u64)) {
        while let Some(entry) = self.sq.take_back() {
            each(entry.user_data);
        }
    }
}

#[test]
fn ring_indices_wrap() {
    let mut driver = Driver::new(Heap::new(), ENTRIES).unwrap();
    let (mut begun, mut ended) = (0, 0);
    let mut live = Vec::new();
    let mut turns = 0;
    while ended < 1000 {
        turns += 1;
        assert!(turns < 100_000, "{begun} begun, {ended} ended: {driver:?}");
        while begun < 1000 && live.len() < 30 {
            live.push(begin(&mut driver, Op::Nop));
            begun += 1;
        }
        match turns % 3 {
            0 => driver.flush(),
            1 => driver.look(),
            _ => driver.wait(None),
        }
        clean_up(&mut driver);
        live.retain(|(key, released)| match result(&mut driver, *key) {
            Some(res) => {
                assert_eq!(res, i32::try_from(key.index()).unwrap(), "its own completion");
                assert_eq!(released.get(), 1);
                ended += 1;
                false
            }
            None => {
                assert_eq!(released.get(), 0);
                true
            }
        });
    }
    let heap = driver.backend();
    assert_eq!(heap.published, 1000);
    let words =
        [&heap.shared.sq_head, &heap.shared.sq_tail, &heap.shared.cq_head, &heap.shared.cq_tail];
    for word in words {
        assert_eq!(word.load(Ordering::Relaxed), START.wrapping_add(1000));
    }
    assert_eq!(driver.snapshot().stale_completions, 0);
    assert!(driver.is_idle());
}
