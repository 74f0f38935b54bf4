//! The submission and completion queues: two ring buffers shared with the kernel.
//!
//! Head and tail are free-running `u32`: they wrap around, so only their difference (wrapping) means
//! anything, and a comparison with `<` would be wrong after 2^32 entries. Each index has one writer:
//! the program moves the SQ tail and the CQ head, the kernel the other two.
//!
//! A queue works over any memory with the right layout, so that a test can be the kernel.
//!
//! # Safety
//! The queues are shared with the kernel through raw pointers. Whoever makes a queue promises that
//! the memory is valid ([`SubmissionQueue::from_raw_parts`], [`CompletionQueue::from_raw_parts`]);
//! inside, every slot is computed from an index masked to the size of the queue, and an entry is
//! read or written only while its index belongs to the program.
//!
//! Tests: submissions_cross_the_wrap_in_order, completions_cross_the_wrap_in_order, a_broken_kernel_cannot_make_it_read_outside,
//! full_empty_and_unpublished, ring_indices_wrap
#![allow(unsafe_code, reason = "memory shared with the kernel")]

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering, fence};

use crate::uapi::cqe::{Cqe, Cqe32};
use crate::uapi::flags::{cq_ring, cqe_flags, sq_ring, sqe_flags};
use crate::uapi::index;
use crate::uapi::opcode;
use crate::uapi::sqe::{Sqe, Sqe128};

/// The submission queue has no free entry.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct SqFull;

impl core::fmt::Display for SqFull {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the submission queue is full")
    }
}

impl core::error::Error for SqFull {}

/// Why an entry of 128 bytes was not taken.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Push128Error {
    /// Not enough free entries.
    Full,
    /// The ring has neither `SQE128` nor `SQE_MIXED`.
    SmallEntries,
}

impl core::fmt::Display for Push128Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Push128Error::Full => "the submission queue is full",
            Push128Error::SmallEntries => "the ring has no entries of 128 bytes",
        })
    }
}

impl core::error::Error for Push128Error {}

/// Sizes of the entries of a queue.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// 64-byte submissions, 16-byte completions.
    Small,
    /// 128-byte submissions (`SQE128`), 32-byte completions (`CQE32`).
    Large,
    /// Small entries, of which a large one takes two (`SQE_MIXED`, `CQE_MIXED`).
    Mixed,
}

/// The parts of a submission queue.
#[derive(Copy, Clone, Debug)]
pub struct SqParts {
    /// Moved by the kernel.
    pub head: NonNull<AtomicU32>,
    /// Moved by the program.
    pub tail: NonNull<AtomicU32>,
    /// Bits of [`sq_ring`], set by the kernel.
    pub flags: NonNull<AtomicU32>,
    /// Counted by the kernel.
    pub dropped: NonNull<AtomicU32>,
    /// Entry of each index; `None` with `NO_SQARRAY`.
    pub array: Option<NonNull<u32>>,
    /// The entries.
    pub entries: NonNull<Sqe>,
    /// Their number, a power of two.
    pub count: u32,
    /// Their sizes.
    pub layout: Layout,
    /// Each batch starts at entry 0, and head and tail stay untouched (`SQ_REWIND`).
    pub rewind: bool,
}

/// The submission queue.
#[derive(Debug)]
pub struct SubmissionQueue {
    parts: SqParts,
    /// Index after the last pushed entry; ahead of the shared tail until [`publish`](Self::publish).
    tail: u32,
    mask: u32,
    /// Where the room ends that was there when the kernel's head was last read. Room only grows behind our back, so up
    /// to here nobody need read it again.
    limit: u32,
}

// SAFETY: the memory is valid from any thread (contract of `from_raw_parts`), and `&mut` makes the
// program's side the work of one thread at a time.
unsafe impl Send for SubmissionQueue {}

impl SubmissionQueue {
    /// A queue over existing memory.
    ///
    /// # Safety
    /// All pointers are aligned, valid for reads and writes from every thread for the life of the
    /// queue, and belong to one ring: `count` (a power of two) entries of the size of `layout`, and
    /// `count` words in `array`. Nobody else moves the tail or writes to unconsumed entries.
    #[must_use]
    pub unsafe fn from_raw_parts(parts: SqParts) -> SubmissionQueue {
        if let Some(array) = parts.array {
            for at in 0..parts.count {
                // SAFETY: `at < count`, the length of the array (contract).
                let place = unsafe { array.add(index(at)) };
                // SAFETY: inside the array; the kernel reads it only below a published tail.
                unsafe { place.write(at) };
            }
        }
        let mask = parts.count.wrapping_sub(1);
        let mut queue = SubmissionQueue { parts, tail: 0, mask, limit: 0 };
        if !parts.rewind {
            queue.tail = queue.shared(parts.tail).load(Ordering::Relaxed);
        }
        queue.limit = queue.tail;
        queue
    }

    #[inline]
    fn shared(&self, word: NonNull<AtomicU32>) -> &AtomicU32 {
        // SAFETY: only called with words of `parts`, valid and aligned for the life of the queue
        // (contract of `from_raw_parts`) and accessed as atomics by both sides.
        unsafe { word.as_ref() }
    }

    /// Number of entries.
    #[inline]
    #[must_use]
    pub fn count(&self) -> u32 {
        self.parts.count
    }

    /// Entries pushed and not yet consumed by the kernel.
    #[inline]
    #[must_use]
    pub fn pending(&self) -> u32 {
        if self.parts.rewind {
            return self.tail;
        }
        self.tail.wrapping_sub(self.shared(self.parts.head).load(Ordering::Acquire))
    }

    /// Free entries.
    #[inline]
    #[must_use]
    pub fn room(&self) -> u32 {
        // A kernel that moved the head past the tail would be broken: no room, rather than a lie.
        self.parts.count.saturating_sub(self.pending())
    }

    /// Whether there is a free entry: [`room`](Self::room) is not 0. Reads what the kernel shares only when what was
    /// free at the last look is used up.
    #[inline(always)]
    pub fn has_room(&mut self) -> bool {
        // Behind the limit too: the other ways to push go by `room`, and pass it.
        self.limit.wrapping_sub(self.tail).cast_signed() > 0 || self.look()
    }

    #[cold]
    #[inline(never)]
    fn look(&mut self) -> bool {
        let room = self.room();
        self.limit = self.tail.wrapping_add(room);
        room > 0
    }

    /// Copies an entry into the queue; [`publish`](Self::publish) makes it visible.
    ///
    /// # Errors
    /// [`SqFull`], and the queue is as before.
    ///
    /// # Safety
    /// As [`Uring::push`](crate::Uring::push).
    #[inline]
    pub unsafe fn push(&mut self, sqe: &Sqe) -> Result<(), SqFull> {
        if self.room() == 0 {
            return Err(SqFull);
        }
        if self.parts.layout == Layout::Large {
            self.write_large(&Sqe128 { sqe: *sqe, cmd: [0; 64] });
        } else {
            self.write_small(sqe);
        }
        Ok(())
    }

    /// [`push`](Self::push) into a queue that has room, as [`has_room`](Self::has_room) has just told, and whose entries
    /// have 64 bytes. Without room nothing is pushed in a debug build, and in a release build an entry that waits is
    /// overwritten: the kernel then runs this one twice or not at all. Gives the entry, which can be changed until the queue is
    /// published.
    ///
    /// # Safety
    /// As [`Uring::push`](crate::Uring::push), there is room, and the layout is not [`Layout::Large`].
    #[inline(always)]
    pub unsafe fn push_in_room(&mut self, sqe: &Sqe) -> &mut Sqe {
        debug_assert!(self.room() > 0, "the caller has looked");
        debug_assert!(self.parts.layout != Layout::Large, "the caller knows");
        let mut place = self.write_small(sqe);
        // SAFETY: written just now, inside the entries. It is not published, so it is this side's alone, as long as the borrow
        // of the queue lasts.
        unsafe { place.as_mut() }
    }

    /// Counts an entry without writing it, which leaves what was there: nothing that a kernel should see.
    pub(crate) fn push_place(&mut self) -> Result<(), SqFull> {
        if self.room() == 0 {
            return Err(SqFull);
        }
        self.tail = self.tail.wrapping_add(1);
        Ok(())
    }

    /// [`push`](Self::push) of an entry of 128 bytes. In a mixed queue it takes two entries, and one
    /// more (a no-op without a completion) when it would wrap around.
    ///
    /// # Errors
    /// See [`Push128Error`]; the queue is as before.
    ///
    /// # Safety
    /// As [`Uring::push`](crate::Uring::push).
    pub unsafe fn push128(&mut self, sqe: &Sqe128) -> Result<(), Push128Error> {
        let last = self.tail & self.mask == self.mask;
        let needed = match self.parts.layout {
            Layout::Small => return Err(Push128Error::SmallEntries),
            Layout::Large => 1,
            Layout::Mixed => 2 + u32::from(last),
        };
        if self.room() < needed {
            return Err(Push128Error::Full);
        }
        self.limit = self.tail.wrapping_add(needed);
        if self.parts.layout == Layout::Large {
            self.write_large(sqe);
            return Ok(());
        }
        if last {
            let flags = sqe_flags::CQE_SKIP_SUCCESS;
            self.write_small(&Sqe { opcode: opcode::NOP, flags, ..Sqe::default() });
        }
        let (first, second) = split(sqe);
        self.write_small(&first);
        self.write_small(&second);
        Ok(())
    }

    /// Writes the next entry of a queue of small entries. There is room.
    #[inline(always)]
    fn write_small(&mut self, sqe: &Sqe) -> NonNull<Sqe> {
        let slot = index(self.tail & self.mask);
        // SAFETY: the masked index is below `count`, and there are `count` entries (contract).
        let place = unsafe { self.parts.entries.add(slot) };
        // SAFETY: inside the entries; the kernel has consumed this one (there is room) and looks at
        // it again only after the tail is published.
        unsafe { place.write(*sqe) };
        self.tail = self.tail.wrapping_add(1);
        place
    }

    /// Writes the next entry of a queue of large entries. There is room.
    #[cold]
    fn write_large(&mut self, sqe: &Sqe128) {
        let slot = index(self.tail & self.mask);
        // SAFETY: as in `write_small`, with entries of 128 bytes.
        let place = unsafe { self.parts.entries.cast::<Sqe128>().add(slot) };
        // SAFETY: as in `write_small`.
        unsafe { place.write(*sqe) };
        self.tail = self.tail.wrapping_add(1);
    }

    /// Makes every pushed entry visible to the kernel.
    #[inline]
    pub fn publish(&mut self) {
        if !self.parts.rewind {
            // Release: the entries are written before the tail that covers them.
            self.shared(self.parts.tail).store(self.tail, Ordering::Release);
        }
    }

    /// [`publish`](Self::publish), and what is [`pending`](Self::pending) then.
    #[inline(always)]
    pub(crate) fn publish_all(&mut self) -> u32 {
        if self.parts.rewind {
            return self.tail;
        }
        self.shared(self.parts.tail).store(self.tail, Ordering::Release);
        self.tail.wrapping_sub(self.shared(self.parts.head).load(Ordering::Acquire))
    }

    /// Takes back the entry that was pushed last and that the kernel has not consumed. Only for queues of
    /// small entries without a thread that polls them, where the kernel looks only while it is entered.
    pub fn take_back(&mut self) -> Option<Sqe> {
        if self.parts.layout != Layout::Small || self.pending() == 0 {
            return None;
        }
        self.tail = self.tail.wrapping_sub(1);
        let slot = index(self.tail & self.mask);
        // SAFETY: the masked index is below `count`, and there are `count` entries (contract).
        let place = unsafe { self.parts.entries.add(slot) };
        // SAFETY: inside the entries, initialised by `push`, and nobody writes to it.
        let entry = unsafe { place.read() };
        self.publish();
        Some(entry)
    }

    /// Tells a rewinding queue that the kernel consumed its first `consumed` entries; the rest move
    /// to the front. Other queues learn it from the shared head.
    #[inline]
    pub fn consumed(&mut self, consumed: u32) {
        if self.parts.rewind {
            self.rewind(consumed);
        }
    }

    #[cold]
    fn rewind(&mut self, consumed: u32) {
        let rest = self.tail.saturating_sub(consumed);
        let width = if self.parts.layout == Layout::Large { 2 } else { 1 };
        let (from, length) = (index(self.tail - rest) * width, index(rest) * width);
        // SAFETY: `tail <= count`, so the source begins inside the entries or at their end.
        let source = unsafe { self.parts.entries.add(from) };
        // SAFETY: source and destination lie inside the entries and may overlap; the kernel does
        // not look at entries between two calls.
        unsafe { source.copy_to(self.parts.entries, length) };
        self.tail = rest;
    }

    /// The flags of the kernel, bits of [`sq_ring`].
    #[inline]
    #[must_use]
    pub fn flags(&self) -> u32 {
        self.shared(self.parts.flags).load(Ordering::Relaxed)
    }

    /// Whether the SQ thread sleeps and must be woken to see what was published before.
    #[inline]
    #[must_use]
    pub fn needs_wakeup(&self) -> bool {
        // The thread sets its flag and then looks at the tail; we publish the tail and then look at
        // the flag. Only a full fence between the two keeps both from seeing the old value.
        fence(Ordering::SeqCst);
        self.flags() & sq_ring::NEED_WAKEUP != 0
    }

    /// Entries the kernel refused to read because their index was invalid.
    #[must_use]
    pub fn dropped(&self) -> u32 {
        self.shared(self.parts.dropped).load(Ordering::Relaxed)
    }
}

/// The two halves of a large entry, as small ones.
fn split(sqe: &Sqe128) -> (Sqe, Sqe) {
    // SAFETY: both are plain data without padding or invalid values, 64 bytes each.
    let second = unsafe { core::mem::transmute::<[u8; 64], Sqe>(sqe.cmd) };
    (sqe.sqe, second)
}

/// The parts of a completion queue.
#[derive(Copy, Clone, Debug)]
pub struct CqParts {
    /// Moved by the program.
    pub head: NonNull<AtomicU32>,
    /// Moved by the kernel.
    pub tail: NonNull<AtomicU32>,
    /// Counted by the kernel.
    pub overflow: NonNull<AtomicU32>,
    /// Bits of [`cq_ring`], set by the program; `None` before Linux 5.8.
    pub flags: Option<NonNull<AtomicU32>>,
    /// The entries.
    pub entries: NonNull<Cqe>,
    /// Their number, a power of two.
    pub count: u32,
    /// Their sizes.
    pub layout: Layout,
}

/// The completion queue.
#[derive(Debug)]
pub struct CompletionQueue {
    parts: CqParts,
    head: u32,
    mask: u32,
    /// Bytes of an entry, as a shift.
    shift: u32,
}

// SAFETY: as for `SubmissionQueue`.
unsafe impl Send for CompletionQueue {}

impl CompletionQueue {
    /// A queue over existing memory.
    ///
    /// # Safety
    /// All pointers are aligned, valid for reads and writes from every thread for the life of the
    /// queue, and belong to one ring: `count` (a power of two) initialised entries of the size of
    /// `layout`. Nobody else moves the head, and nobody writes to entries between head and tail.
    #[must_use]
    pub unsafe fn from_raw_parts(parts: CqParts) -> CompletionQueue {
        let shift = if parts.layout == Layout::Large { 5 } else { 4 };
        let mask = parts.count.wrapping_sub(1);
        let mut queue = CompletionQueue { parts, head: 0, mask, shift };
        queue.head = queue.shared(parts.head).load(Ordering::Relaxed);
        queue
    }

    #[inline]
    fn shared(&self, word: NonNull<AtomicU32>) -> &AtomicU32 {
        // SAFETY: only called with words of `parts`, valid and aligned for the life of the queue
        // (contract of `from_raw_parts`) and accessed as atomics by both sides.
        unsafe { word.as_ref() }
    }

    /// Number of entries.
    #[inline]
    #[must_use]
    pub fn count(&self) -> u32 {
        self.parts.count
    }

    /// Entries that wait to be reaped: in a mixed queue, halves. More than [`count`](Self::count)
    /// means that the kernel has overwritten entries: mixed queues of Linux 6.18 to 7.2 do that
    /// when they overflow.
    #[inline]
    #[must_use]
    pub fn ready(&self) -> u32 {
        // Acquire: the entries were written before the tail that covers them.
        self.shared(self.parts.tail).load(Ordering::Acquire).wrapping_sub(self.head)
    }

    /// Completions that did not fit into the queue and, without `FEAT_NODROP`, were lost.
    #[must_use]
    pub fn overflowed(&self) -> u32 {
        self.shared(self.parts.overflow).load(Ordering::Relaxed)
    }

    /// Whether completions are kept from signalling the registered eventfd
    /// ([`register_eventfd`](crate::Uring::register_eventfd)). A plain store: what the kernel posts at the same time may
    /// still go by the old word. Gives whether the kernel has the word (5.8).
    #[inline]
    pub fn set_silent(&self, silent: bool) -> bool {
        let Some(flags) = self.parts.flags else { return false };
        let word = if silent { cq_ring::EVENTFD_DISABLED } else { 0 };
        self.shared(flags).store(word, Ordering::Relaxed);
        true
    }

    /// The next completion, which stays in the queue. Fillers are passed over.
    #[must_use]
    pub fn peek(&self) -> Option<Cqe> {
        let ready = self.ready().min(self.parts.count);
        (0..ready)
            .map(|ahead| self.small(self.head.wrapping_add(ahead)))
            .find(|cqe| cqe.flags & cqe_flags::SKIP == 0)
    }

    /// The next completion; fillers are passed over. The head is published before this returns. Of a
    /// 32-byte completion the first half is kept.
    #[inline(always)]
    pub fn pop(&mut self) -> Option<Cqe> {
        loop {
            // Acquire: the entry was written before the tail that covers it.
            if self.shared(self.parts.tail).load(Ordering::Acquire) == self.head {
                return None;
            }
            let cqe = self.small(self.head);
            let common = cqe.flags & (cqe_flags::SKIP | cqe_flags::F_32) == 0;
            self.advance(if common { 1 } else { self.entries_of(cqe.flags) });
            if common || cqe.flags & cqe_flags::SKIP == 0 {
                return Some(cqe);
            }
        }
    }

    /// [`pop`](Self::pop) of a queue of [`Layout::Small`], where each entry is a completion of 16 bytes. In another queue it
    /// gives halves and fillers as if they were completions.
    #[inline(always)]
    pub fn pop_small(&mut self) -> Option<Cqe> {
        debug_assert!(self.parts.layout == Layout::Small, "the caller knows");
        // Acquire: as in `pop`.
        if self.shared(self.parts.tail).load(Ordering::Acquire) == self.head {
            return None;
        }
        // SAFETY: the masked index is below `count`, and there are at least `count` times 16 bytes (contract).
        let place = unsafe { self.parts.entries.add(index(self.head & self.mask)) };
        // SAFETY: as in `small`.
        let cqe = unsafe { place.read() };
        self.advance(1);
        Some(cqe)
    }

    /// [`pop`](Self::pop) with both halves; the second is zero where there is none.
    pub fn pop32(&mut self) -> Option<Cqe32> {
        let mut room = [Cqe32::default()];
        let filled = self.reap32(&mut room);
        room.into_iter().take(filled).next()
    }

    /// How many entries a completion with these flags takes.
    #[cold]
    #[inline(never)]
    fn entries_of(&self, flags: u32) -> u32 {
        1 + u32::from(flags & cqe_flags::F_32 != 0 && self.parts.layout == Layout::Mixed)
    }

    #[inline(always)]
    fn advance(&mut self, entries: u32) {
        self.head = self.head.wrapping_add(entries);
        // Release: the entries are read before the kernel may overwrite them.
        self.shared(self.parts.head).store(self.head, Ordering::Release);
    }

    /// Moves completions into `out` and returns how many; fillers are left out. The head is
    /// published before this returns. Of a 32-byte completion the first half is kept.
    #[inline]
    pub fn reap(&mut self, out: &mut [Cqe]) -> usize {
        let ready = self.ready().min(self.parts.count);
        if ready == 0 {
            return 0;
        }
        if self.parts.layout == Layout::Small {
            return self.take_small(ready, out);
        }
        self.take(ready, out, |queue, at, left| {
            let (cqe, entries) = queue.any(at, left);
            (cqe.cqe, entries)
        })
    }

    /// [`take`](Self::take) for the common queue, whose entries are all alike.
    #[inline]
    fn take_small(&mut self, ready: u32, out: &mut [Cqe]) -> usize {
        let (end, mut at, mut filled) = (self.head.wrapping_add(ready), self.head, 0);
        while let Some(place) = out.get_mut(filled) {
            if at == end {
                break;
            }
            // SAFETY: the masked index is below `count`, and there are `count` entries (contract).
            let entry = unsafe { self.parts.entries.add(index(at & self.mask)) };
            // SAFETY: inside the entries, initialised, and not written by the kernel before the head
            // has passed it.
            *place = unsafe { entry.read() };
            at = at.wrapping_add(1);
            filled += usize::from(place.flags & cqe_flags::SKIP == 0);
        }
        self.head = at;
        // Release: the entries are read before the kernel may overwrite them.
        self.shared(self.parts.head).store(at, Ordering::Release);
        filled
    }

    /// [`reap`](Self::reap) with both halves; the second is zero where there is none.
    pub fn reap32(&mut self, out: &mut [Cqe32]) -> usize {
        let ready = self.ready().min(self.parts.count);
        self.take(ready, out, CompletionQueue::any)
    }

    /// Moves entries out with `read`, which gets an index and the number of entries from there on,
    /// and says how many it used.
    #[inline]
    fn take<T: Entry>(
        &mut self,
        ready: u32,
        out: &mut [T],
        read: impl Fn(&CompletionQueue, u32, u32) -> (T, u32),
    ) -> usize {
        let (mut used, mut filled) = (0, 0);
        'out: for place in out {
            loop {
                if used == ready {
                    break 'out;
                }
                let (entry, entries) = read(self, self.head.wrapping_add(used), ready - used);
                used += entries;
                if entry.flags() & cqe_flags::SKIP == 0 {
                    *place = entry;
                    filled += 1;
                    break;
                }
            }
        }
        self.head = self.head.wrapping_add(used);
        // Release: the entries are read before the kernel may overwrite them.
        self.shared(self.parts.head).store(self.head, Ordering::Release);
        filled
    }

    /// The (first half of the) entry at a free-running index between head and tail.
    #[inline(always)]
    fn small(&self, at: u32) -> Cqe {
        let offset = index(at & self.mask) << self.shift;
        // SAFETY: the masked index is below `count`, and there are `count` entries of one or two times
        // 16 bytes (contract), as `shift` says.
        let place = unsafe { self.parts.entries.byte_add(offset) };
        // SAFETY: inside the entries, initialised, and not written by the kernel before the head
        // has passed it.
        unsafe { place.read() }
    }

    /// The entry at `at` in full, with `left` entries to the tail, and how many entries it takes.
    fn any(&self, at: u32, left: u32) -> (Cqe32, u32) {
        let cqe = self.small(at);
        match self.parts.layout {
            Layout::Large => {
                let slot = index(at & self.mask);
                // SAFETY: as in `small`, with entries of 32 bytes.
                let place = unsafe { self.parts.entries.cast::<Cqe32>().add(slot) };
                // SAFETY: as in `small`.
                (unsafe { place.read() }, 1)
            }
            // The kernel never lets a large entry wrap around or end beyond the tail. If it did,
            // the masked index still reads inside the entries.
            Layout::Mixed if cqe.flags & cqe_flags::F_32 != 0 && left > 1 => {
                let second = self.small(at.wrapping_add(1));
                (Cqe32 { cqe, big: words(second) }, 2)
            }
            Layout::Small | Layout::Mixed => (Cqe32 { cqe, big: [0; 2] }, 1),
        }
    }
}

/// The bytes of the second half of a large completion.
fn words(half: Cqe) -> [u64; 2] {
    // SAFETY: both are plain data without padding or invalid values, 16 bytes each.
    unsafe { core::mem::transmute::<Cqe, [u64; 2]>(half) }
}

/// What [`CompletionQueue::take`] moves.
trait Entry {
    fn flags(&self) -> u32;
}

impl Entry for Cqe {
    #[inline]
    fn flags(&self) -> u32 {
        self.flags
    }
}

impl Entry for Cqe32 {
    #[inline]
    fn flags(&self) -> u32 {
        self.cqe.flags
    }
}
