//! CPUs and memory nodes: the affinity of the calling thread, and on which node pages are.
//!
//! No part of `io_uring(7)`: it is here because the calls need `unsafe`, and because the masks may have more bits than
//! the fixed sets of other libraries hold (the kernel answers `EINVAL` to a mask shorter than its own).
//!
//! # Safety
//! The system calls read or write masks and arrays that live for the length of the call, and are told their true
//! lengths. [`Pages`] owns the range it has mapped; nothing else unmaps it.
//!
//! Tests: affinity_is_read_set_and_restored, a_policy_is_set_and_read_back, pages_are_zero_and_know_their_node
#![allow(unsafe_code, reason = "system calls, and a mapping")]

use core::ffi::c_void;
use core::ptr::{self, NonNull};

use crate::Errno;

/// Bits of the first mask that is tried. `sched_getaffinity(2)` refuses masks shorter than the kernel's.
const FIRST_BITS: usize = 1024;
/// The longest mask that is tried: eight times what the largest Linux configuration has.
const MOST_BITS: usize = 1 << 16;
const WORD_BITS: usize = 64;
/// Node masks of the kernel have at most 1024 bits (`MAX_NUMNODES`); it takes longer ones too, if the rest is zero.
const NODE_BITS: usize = 1024;
// include/uapi/linux/mempolicy.h; libc has the modes only.
const MPOL_F_NODE: libc::c_int = 1 << 0;
const MPOL_F_ADDR: libc::c_int = 1 << 1;

/// A set of small numbers (CPUs or nodes), laid out as the kernel's masks on 64-bit machines.
#[derive(Clone, Debug, Default)]
pub struct Mask {
    words: Vec<u64>,
}

impl Mask {
    /// The set of these numbers. Those of 65536 and above are left out: no kernel has them.
    #[must_use]
    pub fn of(numbers: impl IntoIterator<Item = u32>) -> Mask {
        let mut mask = Mask::default();
        for number in numbers {
            mask.insert(number);
        }
        mask
    }

    fn insert(&mut self, number: u32) {
        let number = crate::uapi::index(number);
        if number >= MOST_BITS {
            return;
        }
        let (word, bit) = (number / WORD_BITS, number % WORD_BITS);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        if let Some(word) = self.words.get_mut(word) {
            *word |= 1 << bit;
        }
    }

    /// Whether a number is in the set.
    #[must_use]
    pub fn contains(&self, number: u32) -> bool {
        let number = crate::uapi::index(number);
        let word = self.words.get(number / WORD_BITS).copied().unwrap_or(0);
        word & (1 << (number % WORD_BITS)) != 0
    }

    /// The numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let bits = u32::try_from(self.words.len() * WORD_BITS).unwrap_or(u32::MAX);
        (0..bits).filter(|number| self.contains(*number))
    }

    /// Whether there is no number in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Whether each number is in `other` too.
    #[must_use]
    pub fn is_subset(&self, other: &Mask) -> bool {
        self.iter().all(|number| other.contains(number))
    }

    /// The numbers that both have.
    #[must_use]
    pub fn and(&self, other: &Mask) -> Mask {
        Mask { words: self.words.iter().zip(&other.words).map(|(a, b)| a & b).collect() }
    }

    /// The bytes that the kernel reads, lowest number first.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    fn bytes(&self) -> usize {
        self.words.len() * size_of::<u64>()
    }
}

impl PartialEq for Mask {
    /// The same numbers, however long the masks are.
    fn eq(&self, other: &Mask) -> bool {
        self.is_subset(other) && other.is_subset(self)
    }
}

impl Eq for Mask {}

fn done(result: libc::c_long) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_| Errno::last())
}

/// The CPUs that the calling thread may run on: `sched_getaffinity(2)`. Offline CPUs are not among them.
///
/// # Errors
/// `EPERM` or `ENOSYS` where a filter forbids it.
pub fn affinity() -> Result<Mask, Errno> {
    let mut bits = FIRST_BITS;
    loop {
        let mut mask = Mask { words: vec![0; bits / WORD_BITS] };
        // SAFETY: the kernel writes at most the given number of bytes, which the mask has (sched_setaffinity(2)).
        let result = unsafe {
            libc::syscall(libc::SYS_sched_getaffinity, 0, mask.bytes(), mask.words.as_mut_ptr())
        };
        match done(result) {
            Ok(_) => return Ok(mask),
            Err(Errno::INVAL) if bits < MOST_BITS => bits *= 2,
            Err(errno) => return Err(errno),
        }
    }
}

/// Lets the calling thread run on these CPUs only, from now on: `sched_setaffinity(2)`. The kernel moves it at once.
///
/// # Errors
/// `EINVAL` if none of them is online and allowed by the cpuset, `EPERM` where a filter forbids it.
pub fn set_affinity(mask: &Mask) -> Result<(), Errno> {
    // SAFETY: the kernel reads the given number of bytes, which the mask has.
    let result =
        unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, mask.bytes(), mask.words.as_ptr()) };
    done(result).map(drop)
}

/// The CPU that the calling thread runs on, and its node: `getcpu(2)`. It may be another one right after.
///
/// # Errors
/// `EPERM` or `ENOSYS` where a filter forbids it.
pub fn here() -> Result<(u32, u32), Errno> {
    let (mut cpu, mut node) = (0u32, 0u32);
    let unused = ptr::null_mut::<c_void>();
    // SAFETY: the kernel writes the two words; the third argument is not used since Linux 2.6.24.
    let result = unsafe { libc::syscall(libc::SYS_getcpu, &raw mut cpu, &raw mut node, unused) };
    done(result).map(|_| (cpu, node))
}

/// Where the calling thread's new pages go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// `MPOL_*`, with mode flags; 0 is the default: the node of the CPU that touches the page first.
    pub mode: i32,
    /// The nodes that the mode speaks of.
    pub nodes: Mask,
}

impl Policy {
    /// Pages come from `node` while it has room, then from others (`MPOL_PREFERRED`).
    #[must_use]
    pub fn prefer(node: u32) -> Policy {
        Policy { mode: libc::MPOL_PREFERRED, nodes: Mask::of([node]) }
    }
}

/// The memory policy of the calling thread: `get_mempolicy(2)`.
///
/// # Errors
/// `ENOSYS` in a kernel without NUMA, `EPERM` in a container whose filter forbids it (Docker's default).
pub fn policy() -> Result<Policy, Errno> {
    let mut mode: libc::c_int = 0;
    let mut nodes = Mask { words: vec![0; NODE_BITS / WORD_BITS] };
    let (mask, none) = (nodes.words.as_mut_ptr(), ptr::null_mut::<c_void>());
    // SAFETY: the kernel writes one int and a mask of the given number of bits, which `nodes` has.
    let result = unsafe {
        libc::syscall(libc::SYS_get_mempolicy, &raw mut mode, mask, NODE_BITS, none, 0usize)
    };
    done(result).map(|_| Policy { mode, nodes })
}

/// Sets the memory policy of the calling thread: `set_mempolicy(2)`. Pages that exist stay where they are.
///
/// # Errors
/// `EINVAL` for a node that is not there or not allowed; else as [`policy`].
pub fn set_policy(policy: &Policy) -> Result<(), Errno> {
    let (mask, bits) = node_mask(&policy.nodes);
    // SAFETY: the kernel reads a mask of the given number of bits, or none for a null pointer.
    let result = unsafe { libc::syscall(libc::SYS_set_mempolicy, policy.mode, mask, bits) };
    done(result).map(drop)
}

/// A mask as the memory system calls take it. They read one bit less than they are told.
fn node_mask(nodes: &Mask) -> (*const u64, usize) {
    if nodes.is_empty() {
        return (ptr::null(), 0);
    }
    (nodes.words.as_ptr(), nodes.words.len() * WORD_BITS + 1)
}

/// The node of the page at an address of this process: `get_mempolicy(2)` with `MPOL_F_NODE | MPOL_F_ADDR`. A page
/// that is not there yet is made by the question, as by a read.
///
/// # Errors
/// `EFAULT` if nothing is mapped there; else as [`policy`].
pub fn node_of(address: *const u8) -> Result<u32, Errno> {
    let mut node: libc::c_int = -1;
    let flags = MPOL_F_NODE | MPOL_F_ADDR;
    let (none, address) = (ptr::null_mut::<u64>(), address.addr());
    // SAFETY: the kernel writes one int. It looks the address up itself and answers EFAULT where nothing is mapped.
    let result = unsafe {
        libc::syscall(libc::SYS_get_mempolicy, &raw mut node, none, 0usize, address, flags)
    };
    done(result)?;
    u32::try_from(node).map_err(|_| Errno::RANGE)
}

/// The nodes of pages of this process, in the order of `addresses`: `move_pages(2)` without a move. A page that is not
/// there has a negative error number, `-ENOENT`.
///
/// # Errors
/// `ENOSYS` in a kernel without NUMA, `EPERM` where a filter forbids it.
pub fn nodes_of(addresses: &[*const u8]) -> Result<Vec<i32>, Errno> {
    let mut status = vec![-libc::ENOENT; addresses.len()];
    let (count, nowhere) = (addresses.len(), ptr::null::<libc::c_int>());
    let (pages, found) = (addresses.as_ptr(), status.as_mut_ptr());
    // SAFETY: the kernel reads `count` addresses and writes `count` ints; without target nodes it moves nothing.
    let result = unsafe { libc::syscall(libc::SYS_move_pages, 0, count, pages, nowhere, found, 0) };
    done(result).map(|_| status)
}

/// The size of a page in bytes.
#[must_use]
pub fn page_size() -> usize {
    // SAFETY: a question without memory.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// Whole pages of new, private, zeroed memory, which a forked child gets a copy of. Unmapped when dropped.
#[derive(Debug)]
pub struct Pages {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: a mapping belongs to the process, not to a thread, and `Pages` gives out only raw pointers.
unsafe impl Send for Pages {}

impl Pages {
    /// Maps `length` bytes, a multiple of the page size and not 0.
    ///
    /// # Errors
    /// `ENOMEM`; `EINVAL` for another length.
    pub fn new(length: usize) -> Result<Pages, Errno> {
        if !length.is_multiple_of(page_size()) {
            return Err(Errno::INVAL);
        }
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice replaces nothing.
        let start = unsafe { libc::mmap(ptr::null_mut(), length, access, kind, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let start = NonNull::new(start.cast::<u8>()).ok_or(Errno::FAULT)?;
        Ok(Pages { start, length })
    }

    /// The pages come from `node` while it has room, whoever touches them first: `mbind(2)`, `MPOL_PREFERRED`.
    ///
    /// # Errors
    /// `EINVAL` for a node that is not there or not allowed; else as [`policy`].
    pub fn prefer(&self, node: u32) -> Result<(), Errno> {
        let nodes = Mask::of([node]);
        let (mask, bits) = node_mask(&nodes);
        let (start, mode) = (self.start.as_ptr(), libc::MPOL_PREFERRED);
        // SAFETY: the range is this mapping; the kernel reads a mask of the given number of bits.
        let result =
            unsafe { libc::syscall(libc::SYS_mbind, start, self.length, mode, mask, bits, 0) };
        done(result).map(drop)
    }

    /// Makes every page exist, by writing a zero into each.
    pub fn touch(&mut self) {
        for offset in (0..self.length).step_by(page_size()) {
            // SAFETY: inside the mapping, which is one allocation.
            let place = unsafe { self.start.add(offset) };
            // SAFETY: mapped and writable, and nobody else has it: `&mut self`. Volatile, so that it is done now.
            unsafe { place.write_volatile(0) };
        }
    }

    /// Gives up the ownership: the pages from here to the length are the caller's, to be given to [`unmap`] in one
    /// piece or several.
    #[must_use]
    pub fn into_raw(self) -> NonNull<u8> {
        core::mem::ManuallyDrop::new(self).start
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the range is this mapping's own; the pointers given out end with `self`.
        unsafe { unmap(self.start, self.length) };
    }
}

/// Unmaps pages that came from [`Pages::into_raw`]. Where the kernel cannot split a mapping for lack of memory
/// (`ENOMEM`, see `munmap(2)`), they stay mapped.
///
/// # Safety
/// The range is part of what one `into_raw` gave, in whole pages, unmapped once and not used again.
pub unsafe fn unmap(start: NonNull<u8>, length: usize) {
    // SAFETY: the caller's promise.
    unsafe { libc::munmap(start.as_ptr().cast(), length) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_a_set() {
        let mask = Mask::of([1, 63, 64, 4095, u32::MAX]);
        assert_eq!(mask.iter().collect::<Vec<_>>(), [1, 63, 64, 4095]);
        assert!(mask.contains(64) && !mask.contains(65) && !mask.contains(u32::MAX));
        assert!(Mask::of([64]).is_subset(&mask) && !Mask::of([2]).is_subset(&mask));
        assert_eq!(mask.and(&Mask::of([0, 1, 64])), Mask::of([1, 64]));
        assert!(Mask::default().is_empty() && !mask.is_empty());
        assert_eq!(Mask::of([9]).to_bytes(), [0, 2, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn affinity_is_read_set_and_restored() {
        // On a thread of its own, which ends with its affinity.
        let run = || {
            let before = affinity().unwrap();
            let one = before.iter().last().unwrap();
            set_affinity(&Mask::of([one])).unwrap();
            assert_eq!(affinity().unwrap(), Mask::of([one]));
            assert_eq!(here().unwrap().0, one);
            set_affinity(&before).unwrap();
            assert_eq!(affinity().unwrap(), before);
            assert_eq!(set_affinity(&Mask::of([9999])), Err(Errno::INVAL));
            assert_eq!(set_affinity(&Mask::default()), Err(Errno::INVAL));
        };
        std::thread::spawn(run).join().unwrap();
    }

    #[test]
    fn a_policy_is_set_and_read_back() {
        let run = || {
            let before = match policy() {
                Ok(policy) => policy,
                Err(errno) => return println!("skipped: get_mempolicy: {errno}"),
            };
            let node = here().unwrap().1;
            set_policy(&Policy::prefer(node)).unwrap();
            assert_eq!(policy().unwrap(), Policy::prefer(node));
            assert_eq!(set_policy(&Policy::prefer(1000)), Err(Errno::INVAL));
            set_policy(&before).unwrap();
            assert_eq!(policy().unwrap(), before);
        };
        std::thread::spawn(run).join().unwrap();
    }

    #[test]
    fn pages_are_zero_and_know_their_node() {
        let (page, node) = (page_size(), here().unwrap().1);
        assert_eq!(Pages::new(page + 1).unwrap_err(), Errno::INVAL);
        assert_eq!(Pages::new(0).unwrap_err(), Errno::INVAL);
        let mut pages = Pages::new(3 * page).unwrap();
        let preferred = pages.prefer(node);
        if let Ok(nodes) = nodes_of(&[pages.start.as_ptr()]) {
            assert!(nodes[0] < 0, "not touched: {nodes:?}");
        }
        pages.touch();
        let start = pages.into_raw();
        let addresses: Vec<*const u8> =
            (0..3).map(|n| start.as_ptr().wrapping_add(n * page).cast_const()).collect();
        match preferred {
            Ok(()) => {
                assert_eq!(node_of(addresses[2]), Ok(node));
                assert_eq!(nodes_of(&addresses).unwrap(), [i32::try_from(node).unwrap(); 3]);
            }
            Err(errno) => println!("skipped: mbind: {errno}"),
        }
        // SAFETY: one page into a mapping of three.
        let rest = unsafe { start.add(page) };
        // SAFETY: the last two pages of what `into_raw` gave, not used again.
        unsafe { unmap(rest, 2 * page) };
        // SAFETY: the first page is still mapped, zeroed, and nobody else has it.
        assert_eq!(unsafe { start.read() }, 0);
        // SAFETY: the page at `start`, not used again.
        unsafe { unmap(start, page) };
    }
}
