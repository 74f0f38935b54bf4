//! The queues over plain memory, with the test as the kernel and the indices about to wrap around.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests"
)]

use std::cell::UnsafeCell;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use safer_ring_sys::queue::{
    CompletionQueue, CqParts, Layout, Push128Error, SqFull, SqParts, SubmissionQueue,
};
use safer_ring_sys::{Cqe, Cqe32, Sqe, Sqe128, cqe_flags, opcode, sq_ring, sqe_flags};

const START: u32 = u32::MAX - 8;

/// The kernel's side of a submission queue.
struct SqKernel {
    head: AtomicU32,
    tail: AtomicU32,
    flags: AtomicU32,
    dropped: AtomicU32,
    array: Vec<UnsafeCell<u32>>,
    entries: Vec<UnsafeCell<Sqe>>,
    mask: u32,
}

impl SqKernel {
    fn new(count: u32, layout: Layout) -> SqKernel {
        let slots = if layout == Layout::Large { 2 * count } else { count };
        SqKernel {
            head: AtomicU32::new(START),
            tail: AtomicU32::new(START),
            flags: AtomicU32::new(0),
            dropped: AtomicU32::new(0),
            array: (0..count).map(|_| UnsafeCell::new(0xdead)).collect(),
            entries: (0..slots).map(|_| UnsafeCell::new(Sqe::default())).collect(),
            mask: count - 1,
        }
    }

    fn queue(&self, layout: Layout, rewind: bool) -> SubmissionQueue {
        let parts = SqParts {
            head: NonNull::from(&self.head),
            tail: NonNull::from(&self.tail),
            flags: NonNull::from(&self.flags),
            dropped: NonNull::from(&self.dropped),
            array: Some(NonNull::new(self.array.as_ptr().cast_mut().cast()).unwrap()),
            entries: NonNull::new(self.entries.as_ptr().cast_mut().cast()).unwrap(),
            count: self.mask + 1,
            layout,
            rewind,
        };
        // SAFETY: every test keeps the kernel alive longer than the queue, on one thread.
        unsafe { SubmissionQueue::from_raw_parts(parts) }
    }

    fn slot(&self, at: u32) -> Sqe {
        // SAFETY: one thread; the queue holds no reference to an entry between two calls.
        unsafe { *self.entries[at as usize].get() }
    }

    /// Consumes one published entry.
    fn consume(&self) -> Option<Sqe> {
        let head = self.head.load(Ordering::Relaxed);
        if head == self.tail.load(Ordering::Acquire) {
            return None;
        }
        // SAFETY: as in `slot`.
        let slot = unsafe { *self.array[(head & self.mask) as usize].get() };
        self.head.store(head.wrapping_add(1), Ordering::Release);
        Some(self.slot(slot))
    }
}

fn push(queue: &mut SubmissionQueue, user_data: u64) -> Result<(), SqFull> {
    // SAFETY: the kernel is this test and follows no address.
    unsafe { queue.push(&Sqe { user_data, ..Sqe::default() }) }
}

#[test]
fn submissions_cross_the_wrap_in_order() {
    let kernel = SqKernel::new(8, Layout::Small);
    let mut queue = kernel.queue(Layout::Small, false);
    let (mut pushed, mut consumed) = (0_u64, 0_u64);
    for round in 0..3000_u32 {
        let batch = round % 9;
        for _ in 0..batch {
            if queue.room() == 0 {
                assert_eq!(push(&mut queue, u64::MAX), Err(SqFull));
                break;
            }
            push(&mut queue, pushed).unwrap();
            pushed += 1;
        }
        assert_eq!(u64::from(queue.pending()), pushed - consumed);
        assert_eq!(queue.room() + queue.pending(), 8);
        queue.publish();
        for _ in 0..(round % 5) {
            let Some(sqe) = kernel.consume() else { break };
            assert_eq!(sqe.user_data, consumed);
            consumed += 1;
        }
    }
    assert!(consumed > 4000, "{consumed}");
    let end = kernel.tail.load(Ordering::Relaxed);
    assert!(end < START, "the indices have wrapped around");
}

#[test]
fn full_empty_and_unpublished() {
    let kernel = SqKernel::new(4, Layout::Small);
    let mut queue = kernel.queue(Layout::Small, false);
    assert_eq!((queue.room(), queue.pending()), (4, 0));
    for at in 0..4 {
        push(&mut queue, at).unwrap();
    }
    assert_eq!(push(&mut queue, 4), Err(SqFull));
    assert!(kernel.consume().is_none(), "nothing is visible before it is published");
    queue.publish();
    for at in 0..4 {
        assert_eq!(kernel.consume().unwrap().user_data, at);
    }
    assert!(kernel.consume().is_none());
    assert_eq!((queue.room(), queue.pending()), (4, 0));
}

#[test]
fn what_was_published_is_not_touched_before_the_kernel_has_taken_it() {
    // A kernel reads an entry when it likes, and with SQPOLL that is later.
    let kernel = SqKernel::new(4, Layout::Small);
    let mut queue = kernel.queue(Layout::Small, false);
    for number in 0..4 {
        push(&mut queue, number).unwrap();
    }
    queue.publish();
    let entries = || [0, 1, 2, 3].map(|at| kernel.slot(at).user_data);
    let published = entries();
    assert_eq!(push(&mut queue, 4), Err(SqFull));
    queue.publish();
    assert_eq!(entries(), published);
    // One place is free, and only that one is written.
    let taken = kernel.consume().unwrap().user_data;
    push(&mut queue, 5).unwrap();
    queue.publish();
    let changed: Vec<(u64, u64)> =
        published.into_iter().zip(entries()).filter(|(before, now)| before != now).collect();
    assert_eq!(changed, [(taken, 5)]);
    for number in [1, 2, 3, 5] {
        assert_eq!(kernel.consume().map(|sqe| sqe.user_data), Some(number));
    }
}

#[test]
fn what_the_kernel_has_taken_is_not_taken_back() {
    let kernel = SqKernel::new(4, Layout::Small);
    let mut queue = kernel.queue(Layout::Small, false);
    for number in 0..3 {
        assert_eq!(push(&mut queue, number), Ok(()));
    }
    queue.publish();
    assert_eq!(kernel.consume().map(|sqe| sqe.user_data), Some(0));
    assert_eq!(queue.take_back().map(|sqe| sqe.user_data), Some(2));
    assert_eq!(queue.take_back().map(|sqe| sqe.user_data), Some(1));
    assert_eq!(queue.take_back(), None);
    assert_eq!(kernel.consume(), None);
    assert_eq!(queue.pending(), 0);
}

#[test]
fn entries_pushed_after_asking_for_room_leave_none_behind() {
    let kernel = SqKernel::new(4, Layout::Small);
    let mut queue = kernel.queue(Layout::Small, false);
    for at in 0..4 {
        assert!(queue.has_room());
        push(&mut queue, at).unwrap();
    }
    assert!(!queue.has_room());
    queue.publish();
    for at in 0..2 {
        assert_eq!(kernel.consume().unwrap().user_data, at);
    }
    // As much as `room` says, with no question in between.
    assert_eq!(queue.room(), 2);
    for user_data in 4..6 {
        let sqe = Sqe { user_data, ..Sqe::default() };
        // SAFETY: the kernel is this test and follows no address; there is room for two.
        unsafe { queue.push_in_room(&sqe) };
    }
    assert_eq!((queue.room(), queue.has_room()), (0, false));
    queue.publish();
    assert_eq!(kernel.consume().unwrap().user_data, 2);
    assert!(queue.has_room() && queue.take_back().is_some() && queue.has_room());
    assert_eq!(queue.room(), 2);
}

#[test]
fn flags_of_the_kernel_are_seen() {
    let kernel = SqKernel::new(4, Layout::Small);
    let queue = kernel.queue(Layout::Small, false);
    assert!(!queue.needs_wakeup());
    kernel.flags.store(sq_ring::NEED_WAKEUP | sq_ring::CQ_OVERFLOW, Ordering::Relaxed);
    assert!(queue.needs_wakeup());
    assert_eq!(queue.flags(), 3);
    kernel.dropped.store(7, Ordering::Relaxed);
    assert_eq!(queue.dropped(), 7);
}

fn large(user_data: u64, fill: u8) -> Sqe128 {
    Sqe128 { sqe: Sqe { user_data, ..Sqe::default() }, cmd: [fill; 64] }
}

#[test]
fn large_entries_keep_both_halves() {
    let kernel = SqKernel::new(2, Layout::Large);
    let mut queue = kernel.queue(Layout::Large, false);
    let filled = u64::from_ne_bytes([9; 8]);
    // START is odd: the first entry is slot 1, the second wraps to slot 0.
    // SAFETY: the kernel is this test and follows no address.
    unsafe { queue.push128(&large(1, 9)) }.unwrap();
    push(&mut queue, 2).unwrap();
    // SAFETY: as above.
    assert_eq!(unsafe { queue.push128(&large(3, 9)) }, Err(Push128Error::Full));
    assert_eq!((kernel.slot(2).user_data, kernel.slot(3).addr3), (1, filled));
    assert_eq!((kernel.slot(0).user_data, kernel.slot(1)), (2, Sqe::default()));
    queue.publish();
    kernel.head.store(START.wrapping_add(1), Ordering::Release);
    push(&mut queue, 4).unwrap();
    let cleared = (kernel.slot(2).user_data, kernel.slot(3));
    assert_eq!(cleared, (4, Sqe::default()), "nothing of the old entry is left");

    let kernel = SqKernel::new(2, Layout::Small);
    let mut queue = kernel.queue(Layout::Small, false);
    // SAFETY: as above.
    assert_eq!(unsafe { queue.push128(&large(1, 9)) }, Err(Push128Error::SmallEntries));
    assert_eq!(queue.pending(), 0);
}

#[test]
fn a_large_entry_of_a_mixed_queue_never_wraps() {
    let kernel = SqKernel::new(4, Layout::Mixed);
    let mut queue = kernel.queue(Layout::Mixed, false);
    // START & 3 is 3: the last slot, so a filler comes first.
    // SAFETY: the kernel is this test and follows no address.
    unsafe { queue.push128(&large(5, 7)) }.unwrap();
    assert_eq!(queue.pending(), 3);
    // SAFETY: as above. One free entry is not enough.
    assert_eq!(unsafe { queue.push128(&large(6, 7)) }, Err(Push128Error::Full));
    push(&mut queue, 8).unwrap();
    queue.publish();
    let filler = kernel.consume().unwrap();
    assert_eq!((filler.opcode, filler.flags), (opcode::NOP, sqe_flags::CQE_SKIP_SUCCESS));
    assert_eq!(kernel.consume().unwrap().user_data, 5);
    assert_eq!(kernel.consume().unwrap().user_data, u64::from_ne_bytes([7; 8]));
    assert_eq!(kernel.consume().unwrap().user_data, 8);
    // At slot 3 again, two entries are free: the filler takes one, so it does not fit.
    for _ in 0..2 {
        push(&mut queue, 0).unwrap();
        push(&mut queue, 0).unwrap();
        queue.publish();
        kernel.head.store(kernel.tail.load(Ordering::Relaxed).wrapping_sub(2), Ordering::Release);
    }
    assert_eq!(queue.room(), 2);
    // SAFETY: as above.
    assert_eq!(unsafe { queue.push128(&large(6, 7)) }, Err(Push128Error::Full));
    assert_eq!(queue.pending(), 2);
    while kernel.consume().is_some() {}
    // With nothing pending there is room for filler and entry.
    // SAFETY: as above.
    unsafe { queue.push128(&large(6, 7)) }.unwrap();
    assert_eq!(queue.pending(), 3);
}

#[test]
fn a_rewinding_queue_starts_over_and_keeps_the_rest() {
    for layout in [Layout::Small, Layout::Large] {
        let kernel = SqKernel::new(4, layout);
        let mut queue = kernel.queue(layout, true);
        let width = if layout == Layout::Large { 2 } else { 1 };
        for at in 10..14 {
            push(&mut queue, at).unwrap();
        }
        assert_eq!((queue.room(), queue.pending()), (0, 4));
        assert_eq!(push(&mut queue, 99), Err(SqFull));
        queue.publish();
        assert_eq!(kernel.tail.load(Ordering::Relaxed), START, "the tail is not touched");
        queue.consumed(1);
        assert_eq!((queue.room(), queue.pending()), (1, 3));
        let front: Vec<u64> = (0..3).map(|at| kernel.slot(at * width).user_data).collect();
        assert_eq!(front, [11, 12, 13]);
        queue.consumed(3);
        push(&mut queue, 20).unwrap();
        assert_eq!((kernel.slot(0).user_data, queue.pending()), (20, 1));
    }
}

/// The kernel's side of a completion queue.
struct CqKernel {
    head: AtomicU32,
    tail: AtomicU32,
    overflow: AtomicU32,
    entries: Vec<UnsafeCell<Cqe>>,
    mask: u32,
    width: u32,
}

impl CqKernel {
    fn new(count: u32, layout: Layout) -> CqKernel {
        let width = if layout == Layout::Large { 2 } else { 1 };
        CqKernel {
            head: AtomicU32::new(START),
            tail: AtomicU32::new(START),
            overflow: AtomicU32::new(0),
            entries: (0..count * width).map(|_| UnsafeCell::new(Cqe::default())).collect(),
            mask: count - 1,
            width,
        }
    }

    fn queue(&self, layout: Layout) -> CompletionQueue {
        let parts = CqParts {
            head: NonNull::from(&self.head),
            tail: NonNull::from(&self.tail),
            overflow: NonNull::from(&self.overflow),
            flags: None,
            entries: NonNull::new(self.entries.as_ptr().cast_mut().cast()).unwrap(),
            count: self.mask + 1,
            layout,
        };
        // SAFETY: every test keeps the kernel alive longer than the queue, on one thread.
        unsafe { CompletionQueue::from_raw_parts(parts) }
    }

    /// Posts halves, which a real kernel makes of one or two of them; false if there is no room.
    fn post(&self, cqe: Cqe, second: Option<Cqe>) -> bool {
        let tail = self.tail.load(Ordering::Relaxed);
        let needed = if self.width == 1 && second.is_some() { 2 } else { 1 };
        if tail.wrapping_sub(self.head.load(Ordering::Acquire)) + needed > self.mask + 1 {
            return false;
        }
        let place = |at: u32, half: Cqe| {
            // SAFETY: one thread; the queue holds no reference to an entry between two calls.
            unsafe { *self.entries[at as usize].get() = half }
        };
        let slot = (tail & self.mask) * self.width;
        place(slot, cqe);
        if let Some(second) = second {
            assert!(needed == 1 || tail & self.mask != self.mask, "the kernel does not wrap");
            place(slot + 1, second);
        }
        self.tail.store(tail.wrapping_add(needed), Ordering::Release);
        true
    }
}

fn cqe(user_data: u64) -> Cqe {
    Cqe { user_data, res: -5, flags: 0 }
}

fn half(a: u64, b: u64) -> Cqe {
    Cqe { user_data: a, res: b as u32 as i32, flags: (b >> 32) as u32 }
}

#[test]
fn completions_cross_the_wrap_in_order() {
    let kernel = CqKernel::new(8, Layout::Small);
    let mut queue = kernel.queue(Layout::Small);
    let (mut posted, mut reaped) = (0_u64, 0_u64);
    let mut out = [Cqe::default(); 5];
    for round in 0..4000_u64 {
        for _ in 0..(round % 4) {
            posted += u64::from(kernel.post(cqe(posted), None));
        }
        assert_eq!(u64::from(queue.ready()), posted - reaped);
        assert_eq!(queue.peek().map(|cqe| cqe.user_data), (posted > reaped).then_some(reaped));
        let room = (round % 6) as usize;
        let got = queue.reap(&mut out[..room]);
        assert_eq!(got, room.min((posted - reaped) as usize));
        for one in &out[..got] {
            assert_eq!(*one, cqe(reaped));
            reaped += 1;
        }
        assert_eq!(kernel.head.load(Ordering::Relaxed), START.wrapping_add(reaped as u32));
    }
    assert!(reaped > 4000, "{reaped}");
}

#[test]
fn a_completion_that_was_given_out_has_left_its_place() {
    let kernel = CqKernel::new(2, Layout::Small);
    let mut queue = kernel.queue(Layout::Small);
    for number in 0..10 {
        assert!(kernel.post(cqe(number), None));
        assert_eq!(queue.pop(), Some(cqe(number)));
        // Before anything else is done with it: a waker may start operations whose completions need the place.
        let given_out = START.wrapping_add(number as u32 + 1);
        assert_eq!(kernel.head.load(Ordering::Relaxed), given_out);
        assert_eq!(queue.pop(), None);
    }
}

#[test]
fn an_empty_queue_and_no_room_change_nothing() {
    let kernel = CqKernel::new(4, Layout::Small);
    let mut queue = kernel.queue(Layout::Small);
    let mut out = [Cqe::default(); 4];
    assert_eq!((queue.reap(&mut out), queue.peek()), (0, None));
    assert!(kernel.post(cqe(1), None));
    assert_eq!(queue.reap(&mut []), 0);
    assert_eq!((queue.ready(), queue.reap(&mut out)), (1, 1));
    kernel.overflow.store(3, Ordering::Relaxed);
    assert_eq!(queue.overflowed(), 3);
}

#[test]
fn fillers_are_left_out() {
    let kernel = CqKernel::new(8, Layout::Small);
    let mut queue = kernel.queue(Layout::Small);
    let filler = Cqe { flags: cqe_flags::SKIP, ..Cqe::default() };
    for one in [filler, cqe(1), filler, filler, cqe(2), filler] {
        assert!(kernel.post(one, None));
    }
    assert_eq!(queue.peek(), Some(cqe(1)));
    let mut out = [Cqe::default(); 8];
    assert_eq!(queue.reap(&mut out), 2);
    assert_eq!(out[..2], [cqe(1), cqe(2)]);
    assert_eq!(queue.ready(), 0, "the filler at the end is consumed too");
    assert!(kernel.post(filler, None));
    assert_eq!((queue.peek(), queue.reap(&mut out), queue.ready()), (None, 0, 0));
}

#[test]
fn large_completions_keep_both_halves() {
    let kernel = CqKernel::new(4, Layout::Large);
    let mut queue = kernel.queue(Layout::Large);
    let mut posted = 0;
    let mut out = [Cqe32::default(); 3];
    for _ in 0..1000 {
        while kernel.post(cqe(posted), Some(half(posted + 1, posted + 2))) {
            posted += 1;
        }
        assert_eq!(queue.reap32(&mut out), 3);
        for one in out {
            let n = one.cqe.user_data;
            assert_eq!(one, Cqe32 { cqe: cqe(n), big: [n + 1, n + 2] });
        }
        let mut last = [Cqe::default()];
        assert_eq!(queue.reap(&mut last), 1);
        assert_eq!(last[0], cqe(posted - 1));
    }
    assert_eq!(posted, 4000);
}

#[test]
fn a_mixed_queue_has_both_sizes() {
    let kernel = CqKernel::new(4, Layout::Mixed);
    let mut queue = kernel.queue(Layout::Mixed);
    let big = |user_data| Cqe { flags: cqe_flags::F_32, ..cqe(user_data) };
    let filler = Cqe { flags: cqe_flags::SKIP, ..Cqe::default() };
    // START is in the last slot, where the kernel puts a filler before a large completion.
    assert!(kernel.post(filler, None));
    assert!(kernel.post(big(1), Some(half(11, 12))));
    assert!(kernel.post(cqe(2), None));
    assert_eq!(queue.ready(), 4);
    let mut out = [Cqe32::default(); 4];
    assert_eq!(queue.reap32(&mut out), 2);
    assert_eq!(out[0], Cqe32 { cqe: big(1), big: [11, 12] });
    assert_eq!(out[1], Cqe32 { cqe: cqe(2), big: [0, 0] });
    assert_eq!(queue.ready(), 0);

    // The same through the small view: two entries are consumed, one half is kept.
    assert!(kernel.post(filler, None));
    assert!(kernel.post(big(3), Some(half(u64::MAX, u64::MAX))));
    let mut out = [Cqe::default(); 4];
    assert_eq!((queue.reap(&mut out), out[0], queue.ready()), (1, big(3), 0));
}

#[test]
fn a_broken_kernel_cannot_make_it_read_outside() {
    let kernel = CqKernel::new(4, Layout::Mixed);
    let mut queue = kernel.queue(Layout::Mixed);
    // A large completion in the last slot, and a tail further ahead than there are entries.
    assert!(kernel.post(Cqe { flags: cqe_flags::F_32, ..cqe(1) }, None));
    kernel.tail.store(START.wrapping_add(5), Ordering::Release);
    assert_eq!(queue.ready(), 5, "more than the queue holds: the caller can tell");
    let mut out = [Cqe32::default(); 8];
    assert_eq!(queue.reap32(&mut out), 3, "four entries, of which one takes two");
    assert_eq!(queue.ready(), 1);
    // A large completion whose second half is not there.
    let kernel = CqKernel::new(4, Layout::Mixed);
    let mut queue = kernel.queue(Layout::Mixed);
    assert!(kernel.post(Cqe { flags: cqe_flags::F_32, ..cqe(1) }, None));
    assert_eq!((queue.reap32(&mut out), queue.ready()), (1, 0));
}
