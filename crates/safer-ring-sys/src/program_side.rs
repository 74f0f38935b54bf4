//! Queues in plain memory: what is on their other side is this program and not the kernel.
//!
//! The ring of [`Uring::in_memory`] looks like any other to those who push and pop. [`OtherSide`] is what the kernel would
//! be: it sees what was pushed, and posts completions.
//!
//! # Safety
//! The other side writes completions through raw pointers into a mapping that it owns a share of. An entry is written
//! only while its index belongs to this side: behind the head that the ring has published.
//!
//! Tests: a_ring_in_memory_is_full_and_empty_and_wraps
#![allow(unsafe_code, reason = "queues shared through raw pointers")]

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::mmap::Mapping;
use crate::uapi::cqe::Cqe;
use crate::uapi::index;
use crate::uapi::setup::{CqOffsets, Params, SqOffsets};
use crate::uapi::sqe::Sqe;
use crate::{Errno, Uring, feat, setup};

/// The words of the rings, one cache line each.
const LINE: u32 = 64;
const SQ_HEAD: u32 = 0;
const SQ_TAIL: u32 = LINE;
const SQ_FLAGS: u32 = 2 * LINE;
const SQ_DROPPED: u32 = 3 * LINE;
const CQ_HEAD: u32 = 4 * LINE;
const CQ_TAIL: u32 = 5 * LINE;
const CQ_OVERFLOW: u32 = 6 * LINE;
const CQES: u32 = 7 * LINE;

/// What the kernel would be for a ring of [`Uring::in_memory`].
#[derive(Debug)]
pub struct OtherSide {
    sq_head: NonNull<AtomicU32>,
    sq_tail: NonNull<AtomicU32>,
    sq_flags: NonNull<AtomicU32>,
    cq_head: NonNull<AtomicU32>,
    cq_tail: NonNull<AtomicU32>,
    cqes: NonNull<Cqe>,
    count: u32,
    tail: u32,
    /// Keeps the memory.
    _rings: Arc<Mapping>,
}

// SAFETY: the memory is valid from any thread, and `&mut` makes this side the work of one thread at a time.
unsafe impl Send for OtherSide {}

impl OtherSide {
    fn word(&self, word: NonNull<AtomicU32>) -> &AtomicU32 {
        // SAFETY: a word of `rings`, which lives as long as `self`, accessed as an atomic by both sides.
        unsafe { word.as_ref() }
    }

    /// Takes all entries that were published, whatever they say. Tells how many.
    pub fn consume(&mut self) -> u32 {
        let tail = self.word(self.sq_tail).load(Ordering::Acquire);
        let head = self.word(self.sq_head).load(Ordering::Relaxed);
        // Release: what was read of the entries was read before. Nobody else writes the head.
        self.word(self.sq_head).store(tail, Ordering::Release);
        tail.wrapping_sub(head)
    }

    /// Takes the first `count` of the entries that were published, or all if there are fewer. Tells how many.
    pub fn consume_some(&mut self, count: u32) -> u32 {
        let tail = self.word(self.sq_tail).load(Ordering::Acquire);
        let head = self.word(self.sq_head).load(Ordering::Relaxed);
        let taken = tail.wrapping_sub(head).min(count);
        // As in `consume`.
        self.word(self.sq_head).store(head.wrapping_add(taken), Ordering::Release);
        taken
    }

    /// Completions that the queue has room for.
    #[must_use]
    pub fn completions(&self) -> u32 {
        self.count
    }

    /// Completions that were posted and not popped.
    #[inline]
    #[must_use]
    pub fn unread(&self) -> u32 {
        self.tail.wrapping_sub(self.word(self.cq_head).load(Ordering::Acquire))
    }

    /// Posts a completion.
    ///
    /// # Errors
    /// The queue is full; the completion is given back.
    #[inline]
    pub fn post(&mut self, cqe: Cqe) -> Result<(), Cqe> {
        // Acquire: the entry was read before the head that gives it back.
        if self.unread() >= self.count {
            return Err(cqe);
        }
        // SAFETY: the masked index is below `count`, the number of entries.
        let place = unsafe { self.cqes.add(index(self.tail & (self.count - 1))) };
        // SAFETY: inside the mapping, and not between head and tail, so nobody reads it.
        unsafe { place.write(cqe) };
        self.tail = self.tail.wrapping_add(1);
        self.word(self.cq_tail).store(self.tail, Ordering::Release);
        Ok(())
    }

    /// Sets the flags of the SQ ring, bits of [`sq_ring`](crate::sq_ring).
    pub fn set_flags(&mut self, flags: u32) {
        self.word(self.sq_flags).store(flags, Ordering::Relaxed);
    }
}

/// What such a ring is made of.
pub(crate) struct InMemory {
    pub(crate) params: Params,
    pub(crate) rings: Arc<Mapping>,
    pub(crate) entries: Mapping,
}

impl InMemory {
    /// Memory for so many entries, both rounded up to a power of two.
    pub(crate) fn new(entries: u32, completions: u32) -> Result<(Self, OtherSide), Errno> {
        let power = |count: u32| count.checked_next_power_of_two().ok_or(Errno::INVAL);
        let (sq_entries, cq_entries) = (power(entries)?, power(completions)?);
        let cqes = index(cq_entries).checked_mul(size_of::<Cqe>()).ok_or(Errno::INVAL)?;
        let rings = Arc::new(Mapping::anonymous(index(CQES) + cqes)?);
        let entries = Mapping::anonymous(index(sq_entries) * size_of::<Sqe>())?;
        let params = Params {
            sq_entries,
            cq_entries,
            flags: setup::NO_SQARRAY,
            features: feat::SINGLE_MMAP | feat::NODROP | feat::SUBMIT_STABLE | feat::RW_CUR_POS,
            sq_off: SqOffsets {
                head: SQ_HEAD,
                tail: SQ_TAIL,
                flags: SQ_FLAGS,
                dropped: SQ_DROPPED,
                ..SqOffsets::default()
            },
            cq_off: CqOffsets {
                head: CQ_HEAD,
                tail: CQ_TAIL,
                overflow: CQ_OVERFLOW,
                cqes: CQES,
                ..CqOffsets::default()
            },
            ..Params::default()
        };
        let word = |at| rings.at::<AtomicU32>(at, 1).ok_or(Errno::FAULT);
        let other = OtherSide {
            sq_head: word(SQ_HEAD)?,
            sq_tail: word(SQ_TAIL)?,
            sq_flags: word(SQ_FLAGS)?,
            cq_head: word(CQ_HEAD)?,
            cq_tail: word(CQ_TAIL)?,
            cqes: rings.at(CQES, cq_entries).ok_or(Errno::FAULT)?,
            count: cq_entries,
            tail: 0,
            _rings: Arc::clone(&rings),
        };
        Ok((Self { params, rings, entries }, other))
    }
}

impl Uring {
    /// A ring whose other side is in this program. `fd` is what [`AsFd`](std::os::fd::AsFd) gives: something that is
    /// readable when there is work for the other side. [`Uring::enter`] fails (`EOPNOTSUPP`).
    ///
    /// # Errors
    /// `EINVAL` for counts that are 0 or have no power of two above them; `ENOMEM`.
    pub fn in_memory(
        entries: u32,
        completions: u32,
        fd: OwnedFd,
    ) -> Result<(Uring, OtherSide), Errno> {
        if entries == 0 || completions == 0 {
            return Err(Errno::INVAL);
        }
        let (memory, other) = InMemory::new(entries, completions)?;
        Ok((Uring::over(memory, fd)?, other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_in_memory_is_full_and_empty_and_wraps() {
        let fd = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let (mut ring, mut other) = Uring::in_memory(3, 4, fd).unwrap();
        assert_eq!((ring.sq_entries(), ring.cq_entries()), (4, 4));
        for round in 0..10u64 {
            for _ in 0..4 {
                ring.push_place().unwrap();
            }
            assert_eq!((ring.sq_room(), ring.sq_pending()), (0, 4));
            ring.push_place().unwrap_err();
            assert_eq!(other.consume(), 0, "not published");
            ring.publish();
            assert_eq!((other.consume_some(1), other.consume_some(0)), (1, 0));
            assert_eq!((ring.sq_room(), ring.sq_pending()), (1, 3));
            assert_eq!((other.consume_some(2), other.consume()), (2, 1));
            assert_eq!((ring.sq_room(), ring.sq_pending()), (4, 0));
            assert!(ring.pop().is_none());
            for at in 0..4 {
                other.post(Cqe { user_data: round * 4 + at, ..Cqe::default() }).unwrap();
            }
            other.post(Cqe::default()).unwrap_err();
            for at in 0..4 {
                assert_eq!(ring.pop().unwrap().user_data, round * 4 + at);
            }
            assert!(ring.pop().is_none());
        }
        other.set_flags(crate::sq_ring::CQ_OVERFLOW);
        assert_eq!(ring.sq_flags(), crate::sq_ring::CQ_OVERFLOW);
        assert_eq!(ring.enter(0, 0, None).unwrap_err(), Errno::OPNOTSUPP);
    }
}
