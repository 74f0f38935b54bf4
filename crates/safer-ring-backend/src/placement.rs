//! On which CPUs a ring is made, where its workers run, and on which node memory is.
//!
//! Ring pages are taken from the node of the CPU that the making thread runs on, so the thread goes there for the length
//! of the set-up. Placement is a preference: a ring or a buffer is made in any case, and what was refused is kept.
//!
//! # Safety
//! Mapped pages become buffers: each buffer gets whole pages of its own, and its origin unmaps exactly these.
//!
//! Tests: memory_on_a_node_is_whole_and_freed, memory_on_a_node_goes_back_to_the_system, pool_buffers_are_on_the_node_asked_for
#![allow(unsafe_code, reason = "turns mapped pages into buffers")]

use std::fmt;
use std::ptr::NonNull;

use safer_ring_buf::{AllocError, ForeignMemory, Origin};
use safer_ring_sys::numa::{self, Mask, Pages, Policy};
use safer_ring_sys::{Errno, Uring};

/// Where a ring is wanted; see `safer_ring::Builder`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The CPU on which the ring is made.
    pub cpu: Option<u32>,
    /// The node that its pages shall come from.
    pub node: Option<u32>,
    /// The CPUs of the node that the thread may use: its workers run on them, and the ring is made there without `cpu`.
    pub node_cpus: Mask,
}

impl Place {
    /// Where the making thread goes.
    fn cpus(&self) -> Option<Mask> {
        match self.cpu {
            Some(cpu) => Some(Mask::of([cpu])),
            None => self.workers().cloned(),
        }
    }

    /// Where the kernel's worker threads stay.
    pub(crate) fn workers(&self) -> Option<&Mask> {
        (!self.node_cpus.is_empty()).then_some(&self.node_cpus)
    }
}

/// What became of one wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wish {
    /// Nobody asked.
    NotAsked,
    /// It was done.
    Done,
    /// It was refused, and left as it would have been without.
    Refused {
        /// The system call, in words.
        step: &'static str,
        /// The kernel's answer.
        errno: Errno,
    },
}

impl Wish {
    fn of(step: &'static str, result: Result<(), Errno>) -> Wish {
        match result {
            Ok(()) => Wish::Done,
            Err(errno) => Wish::Refused { step, errno },
        }
    }

    /// Whether somebody asked, and it was refused.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(self, Wish::Refused { .. })
    }
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wish::NotAsked => f.write_str("not asked"),
            Wish::Done => f.write_str("done"),
            Wish::Refused { step, errno } => write!(f, "{step}: {errno}"),
        }
    }
}

/// Where a kernel ring was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RingPlacement {
    /// Making the ring on the CPUs that were asked for, from whose node its pages then come.
    pub cpu: Wish,
    /// Keeping the kernel's worker threads on the CPUs that were asked for.
    pub workers: Wish,
    /// The node that the making thread ran on during the set-up, if the kernel told.
    pub node: Option<u32>,
}

impl RingPlacement {
    /// Nobody asked for anything.
    pub(crate) const NONE: RingPlacement =
        RingPlacement { cpu: Wish::NotAsked, workers: Wish::NotAsked, node: None };
}

/// The calling thread on other CPUs, with another memory policy; both are put back when this is dropped.
#[derive(Debug)]
pub(crate) struct Visit {
    affinity: Option<Mask>,
    policy: Option<Policy>,
}

impl Visit {
    /// Goes to `cpus`, unless the thread runs on none but these already.
    fn to_cpus(cpus: &Mask) -> (Visit, Result<(), Errno>) {
        let mut visit = Visit { affinity: None, policy: None };
        let result = numa::affinity().and_then(|before| {
            if before.is_subset(cpus) && !before.is_empty() {
                return Ok(());
            }
            numa::set_affinity(cpus)?;
            visit.affinity = Some(before);
            Ok(())
        });
        (visit, result)
    }

    /// Lets new pages come from `node`, also where the thread's own policy says otherwise.
    fn prefer(&mut self, node: u32) -> Result<(), Errno> {
        let before = numa::policy()?;
        numa::set_policy(&Policy::prefer(node))?;
        self.policy = Some(before);
        Ok(())
    }

    /// Goes where a ring is to be made.
    pub(crate) fn of(place: &Place) -> (Visit, RingPlacement) {
        let mut placement = RingPlacement::NONE;
        let mut visit = Visit { affinity: None, policy: None };
        let cpus = place.cpus();
        if let Some(cpus) = &cpus {
            let (there, result) = Visit::to_cpus(cpus);
            visit = there;
            placement.cpu = Wish::of("sched_setaffinity", result);
        }
        if let Some(node) = place.node {
            // Being there is enough for most threads; this is for those with a policy of their own.
            let _ = visit.prefer(node);
        }
        if cpus.is_some() || place.node.is_some() {
            placement.node = numa::here().ok().map(|(_, node)| node);
        }
        (visit, placement)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        // Both were in force a moment ago. If the CPUs went offline since, the kernel has already widened the affinity.
        if let Some(policy) = &self.policy {
            let _ = numa::set_policy(policy);
        }
        if let Some(affinity) = &self.affinity {
            let _ = numa::set_affinity(affinity);
        }
    }
}

/// Keeps the worker threads that the kernel makes for the calling thread on the CPUs asked for.
pub(crate) fn place_workers(ring: &Uring, place: &Place) -> Wish {
    match place.workers() {
        None => Wish::NotAsked,
        Some(cpus) => {
            let result = ring.register_iowq_affinity(&cpus.to_bytes());
            Wish::of("IORING_REGISTER_IOWQ_AFF (kernel 5.14)", result)
        }
    }
}

/// Where the pages of a buffer are, or why they are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemoryPlacement {
    /// The kernel was told: the pages are on the node as far as it had room when they were made.
    Preferred {
        /// The node.
        node: u32,
    },
    /// The kernel did not let itself be told (`EPERM` in a default Docker container). The pages were first written by a
    /// thread on a CPU of the node, which has the same effect unless the thread's memory policy says otherwise.
    FirstTouch {
        /// The node.
        node: u32,
        /// The answer of mbind(2).
        errno: Errno,
    },
    /// Neither was possible. The memory is good, and is where the system put it.
    NotPlaced {
        /// The answer of mbind(2).
        policy: Errno,
        /// The answer of sched_setaffinity(2); `None` if the node has no CPU that this thread may run on.
        affinity: Option<Errno>,
    },
}

impl MemoryPlacement {
    /// The node on which the pages are, as far as it had room.
    #[must_use]
    pub fn node(&self) -> Option<u32> {
        match self {
            Self::Preferred { node } | Self::FirstTouch { node, .. } => Some(*node),
            Self::NotPlaced { .. } => None,
        }
    }
}

impl fmt::Display for MemoryPlacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Preferred { node } => write!(f, "on node {node}"),
            Self::FirstTouch { node, errno } => {
                write!(f, "on node {node} by first touch; mbind: {errno}")
            }
            Self::NotPlaced { policy, affinity: None } => {
                write!(f, "anywhere: the node has no CPU to run on; mbind: {policy}")
            }
            Self::NotPlaced { policy, affinity: Some(errno) } => {
                write!(f, "anywhere; mbind: {policy}; sched_setaffinity: {errno}")
            }
        }
    }
}

/// `count` pieces of `size` bytes, each in pages of its own, that come from `node` while it has room. `cpus` are those of
/// the node that the calling thread may run on.
///
/// # Errors
/// If the sum is too large, or if there is no memory.
pub fn memory_on(
    node: u32,
    cpus: &Mask,
    count: usize,
    size: usize,
) -> Result<(Vec<ForeignMemory>, MemoryPlacement), AllocError> {
    let page = numa::page_size();
    let step = size.max(1).checked_next_multiple_of(page).ok_or(AllocError::TooLarge)?;
    let length = step.checked_mul(count.max(1)).ok_or(AllocError::TooLarge)?;
    if isize::try_from(length).is_err() {
        return Err(AllocError::TooLarge);
    }
    let mut pages = Pages::new(length).map_err(|_| AllocError::OutOfMemory)?;
    let placement = match pages.prefer(node) {
        Ok(()) => {
            pages.touch();
            MemoryPlacement::Preferred { node }
        }
        Err(errno) => touch_from(&mut pages, node, cpus, errno),
    };
    if size == 0 || count == 0 {
        return Ok((Vec::new(), placement));
    }
    let start = pages.into_raw();
    let pieces = (0..count).map(|piece| {
        // SAFETY: `piece` is below `count`, so the offset is inside the mapping.
        let ptr = unsafe { start.add(piece * step) };
        // SAFETY: `size` bytes of mapped memory, aligned to a page, in `step` bytes of whole pages that no other piece
        // has; `unmap_piece` unmaps exactly these.
        unsafe { ForeignMemory::new(ptr, size, &MAPPED) }
    });
    Ok((pieces.collect(), placement))
}

fn touch_from(pages: &mut Pages, node: u32, cpus: &Mask, policy: Errno) -> MemoryPlacement {
    if cpus.is_empty() {
        pages.touch();
        return MemoryPlacement::NotPlaced { policy, affinity: None };
    }
    let (visit, result) = Visit::to_cpus(cpus);
    pages.touch();
    drop(visit);
    match result {
        Ok(()) => MemoryPlacement::FirstTouch { node, errno: policy },
        Err(errno) => MemoryPlacement::NotPlaced { policy, affinity: Some(errno) },
    }
}

/// The smallest page of any Linux: what every mapping is aligned to.
const SMALLEST_PAGE: usize = 4096;

// SAFETY: `unmap_piece` is a system call: any thread, and it does not unwind. It is called once for each piece.
static MAPPED: Origin = unsafe { Origin::new(SMALLEST_PAGE, unmap_piece) };

/// # Safety
/// A piece that [`memory_on`] made, with its size; not used again.
unsafe fn unmap_piece(ptr: NonNull<u8>, size: usize) {
    let length = size.next_multiple_of(numa::page_size());
    // SAFETY: the whole pages of one piece (`memory_on`), once (contract).
    unsafe { numa::unmap(ptr, length) };
}

#[cfg(test)]
mod tests {
    use safer_ring_buf::{BufferPool, OwnedBuffer};

    use super::*;

    #[test]
    fn memory_on_a_node_is_whole_and_freed() {
        let (node, cpus) = (numa::here().unwrap().1, numa::affinity().unwrap());
        for size in [1, 4096, 4097, 100_000] {
            let (pieces, placement) = memory_on(node, &cpus, 3, size).unwrap();
            assert_eq!(placement.node(), Some(node), "{placement}");
            let mut buffers: Vec<_> = pieces.into_iter().map(OwnedBuffer::from).collect();
            for buffer in &mut buffers {
                assert_eq!((buffer.capacity(), buffer.resize(size)), (size, size));
                assert_eq!(buffer.as_ptr().addr() % 4096, 0);
            }
            if matches!(placement, MemoryPlacement::Preferred { .. }) {
                assert!(buffers.iter().all(|buffer| numa::node_of(buffer.as_ptr()) == Ok(node)));
            }
            // In the middle, so that the mapping is cut.
            drop(buffers.swap_remove(1));
            assert!(buffers.iter().all(|buffer| buffer.iter().all(|byte| *byte == 0)));
        }
    }

    fn resident_pages() -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse().unwrap()
    }

    #[test]
    fn memory_on_a_node_goes_back_to_the_system() {
        let (node, cpus) = (numa::here().unwrap().1, numa::affinity().unwrap());
        let before = resident_pages();
        for _ in 0..64 {
            let (pieces, _) = memory_on(node, &cpus, 3, 2_000_000).unwrap();
            assert_eq!(pieces.len(), 3);
        }
        // 384 MB were written; a third of that left behind would be seen beside what other tests need.
        let grown = resident_pages().saturating_sub(before) * numa::page_size();
        assert!(grown < 100_000_000, "{grown} bytes");
    }

    #[test]
    fn memory_without_bytes_is_none_and_absurd_sizes_are_errors() {
        let cpus = Mask::default();
        for (count, size) in [(0, 4096), (3, 0)] {
            assert!(memory_on(0, &cpus, count, size).unwrap().0.is_empty());
        }
        for (count, size) in [(1, usize::MAX), (usize::MAX, 4096), (2, isize::MAX.unsigned_abs())] {
            assert_eq!(memory_on(0, &cpus, count, size).unwrap_err(), AllocError::TooLarge);
        }
    }

    #[test]
    fn a_node_that_is_not_there_gives_memory_and_the_reasons() {
        let absent = Mask::of([9_000]);
        let (pieces, placement) = memory_on(1_000, &absent, 1, 10).unwrap();
        let MemoryPlacement::NotPlaced { affinity: Some(affinity), .. } = placement else {
            panic!("{placement:?}");
        };
        assert_eq!((affinity, placement.node()), (Errno::INVAL, None));
        let pool = BufferPool::of_foreign(10, pieces).unwrap();
        assert_eq!(pool.take().unwrap().extend_from_slice(b"still good"), 10);
    }

    #[test]
    fn a_visit_is_undone() {
        let visit = || {
            let before = numa::affinity().unwrap();
            let one = Mask::of([before.iter().last().unwrap()]);
            let node = numa::here().unwrap().1;
            let place =
                Place { cpu: one.iter().next(), node: Some(node), node_cpus: before.clone() };
            let policy = numa::policy();
            let (visit, placement) = Visit::of(&place);
            assert_eq!(placement.cpu, Wish::Done);
            assert_eq!(numa::affinity().unwrap(), one);
            if policy.is_ok() {
                assert_eq!(numa::policy().unwrap(), Policy::prefer(node));
            }
            drop(visit);
            assert_eq!((numa::affinity().unwrap(), numa::policy()), (before, policy));
            let absent = Place { cpu: Some(9_000), ..Place::default() };
            assert!(Visit::of(&absent).1.cpu.is_refused());
        };
        std::thread::spawn(visit).join().unwrap();
    }
}
