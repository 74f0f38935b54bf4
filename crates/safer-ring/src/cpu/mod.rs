//! CPUs and memory nodes: what there is, where a thread runs, and where memory is.
//!
//! On a machine with several NUMA nodes, memory of another node is slower to reach. Three things help: threads that stay
//! on their CPUs ([`pin_to_core`], [`Placement`]), rings that are made there ([`Builder::node`](crate::Builder::node)),
//! and buffers with pages of that node ([`Node::buffer`], [`Node::pool`]). With one node all of it works and changes
//! nothing. The repository's `docs/GUIDE-placement.md` is the chapter on it.
//!
//! ```
//! use safer_ring::cpu::{self, Topology};
//! use safer_ring::Ring;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let topology = Topology::read();
//! let node = topology.node_of(cpu::current_cpu()?).ok_or("this CPU was taken offline just now")?;
//! let ring = Ring::builder().local().node(node).build()?;
//! let (pool, placed) = node.pool(64, 16 * 1024)?;
//! println!("{}; the pool is {placed}", ring.features());
//! # let _ = pool;
//! # Ok(()) }
//! ```
//!
//! # What is a wish, and what is an order
//! A ring or a buffer is made in any case, and a value says what became of the wish:
//! [`RingPlacement`], [`MemoryPlacement`]. [`pin_to_core`] and its relatives were asked for
//! explicitly: they give an error with the reason.

mod plan;
mod topology;

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use safer_ring_backend::memory_on;
use safer_ring_backend::sys::Errno;
use safer_ring_backend::sys::numa::{self, Mask};
pub use safer_ring_backend::{MemoryPlacement, RingPlacement, Wish};

pub use plan::{Applied, Placement, Seat};
pub use topology::{Cpu, Node, Topology, TopologySource};

use crate::{AllocError, BufferPool, OwnedBuffer};

/// The number of a logical CPU, as in `/sys/devices/system/cpu/cpuN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuId(u32);

/// The number of a NUMA node, as in `/sys/devices/system/node/nodeN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

macro_rules! number {
    ($name:ident) => {
        impl $name {
            /// This number, whether or not there is such a one.
            #[must_use]
            pub const fn new(number: u32) -> Self {
                Self(number)
            }

            /// The number.
            #[must_use]
            pub const fn get(self) -> u32 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(CpuId);
number!(NodeId);

/// Why a thread could not be pinned, or a question about CPUs and nodes not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaceError {
    step: &'static str,
    errno: Errno,
}

impl PlaceError {
    pub(crate) fn new(step: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| Self { step, errno }
    }

    /// The kernel's answer.
    #[must_use]
    pub fn errno(&self) -> Errno {
        self.errno
    }

    fn advice(&self) -> &'static str {
        match (self.errno, self.step) {
            (Errno::INVAL, "sched_setaffinity") => {
                "; none of the CPUs is online and allowed by the cpuset of this process (`allowed_cpus` lists those that are)"
            }
            (Errno::PERM, _) => {
                "; a seccomp filter forbids the call (Docker's default does so with the memory policy, unless \
                 the container has CAP_SYS_NICE)"
            }
            (Errno::NOSYS, _) => {
                "; the kernel has no NUMA support, or a seccomp filter hides the call"
            }
            _ => "",
        }
    }
}

impl fmt::Display for PlaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}{}", self.step, self.errno, self.advice())
    }
}

impl std::error::Error for PlaceError {}

impl From<PlaceError> for io::Error {
    fn from(error: PlaceError) -> Self {
        Self::new(Self::from(error.errno).kind(), error)
    }
}

/// The CPU that this thread runs on: `getcpu(2)`. A thread that is not pinned may be elsewhere right after.
///
/// # Errors
/// `EPERM` or `ENOSYS` where a seccomp filter forbids it.
pub fn current_cpu() -> Result<CpuId, PlaceError> {
    numa::here().map(|(cpu, _)| CpuId(cpu)).map_err(PlaceError::new("getcpu"))
}

/// The node of the CPU that this thread runs on: `getcpu(2)`. 0 where the kernel has no NUMA support.
///
/// # Errors
/// As [`current_cpu`].
pub fn current_node() -> Result<NodeId, PlaceError> {
    numa::here().map(|(_, node)| NodeId(node)).map_err(PlaceError::new("getcpu"))
}

/// The CPUs that this thread may run on, ascending: `sched_getaffinity(2)`. Those that are offline, or outside the
/// cpuset of a container, are not among them.
///
/// # Errors
/// `EPERM` or `ENOSYS` where a seccomp filter forbids it.
pub fn allowed_cpus() -> Result<Vec<CpuId>, PlaceError> {
    let mask = numa::affinity().map_err(PlaceError::new("sched_getaffinity"))?;
    Ok(mask.iter().map(CpuId).collect())
}

/// Lets this thread run on one CPU only, from now on: `sched_setaffinity(2)`. Threads that it starts later inherit that.
/// [`pin_to_cpus`] with the answer of [`allowed_cpus`] undoes it.
///
/// # Errors
/// `EINVAL` if there is no such CPU, if it is offline, or outside the cpuset; `EPERM` where a filter forbids it.
/// The thread then stays where it was.
pub fn pin_to_core(cpu: CpuId) -> Result<(), PlaceError> {
    pin_to_cpus(&[cpu])
}

/// Lets this thread run on the CPUs of a node only; see [`pin_to_core`].
///
/// # Errors
/// As [`pin_to_core`]; `EINVAL` also for a node without CPUs.
pub fn pin_to_node(node: &Node) -> Result<(), PlaceError> {
    pin_to_cpus(node.cpus())
}

/// Lets this thread run on these CPUs only; see [`pin_to_core`]. Those that are not there are left out.
///
/// # Errors
/// As [`pin_to_core`], if none is left.
pub fn pin_to_cpus(cpus: &[CpuId]) -> Result<(), PlaceError> {
    numa::set_affinity(&mask(cpus)).map_err(PlaceError::new("sched_setaffinity"))
}

/// On which nodes the pages of `bytes` are, with the number of pages on each: `move_pages(2)` without a move. Pages that
/// were never written are left out.
///
/// # Errors
/// `ENOSYS` in a kernel without NUMA, `EPERM` where a filter forbids it (containers often do).
pub fn pages_by_node(bytes: &[u8]) -> Result<Vec<(NodeId, usize)>, PlaceError> {
    let page = numa::page_size();
    let range = bytes.as_ptr_range();
    // The first page begins before the bytes. Addresses only: nothing is read there.
    let first = range.start.wrapping_sub(range.start.addr() % page);
    let count = (range.end.addr() - first.addr()).div_ceil(page);
    let pages: Vec<*const u8> = (0..count).map(|n| first.wrapping_add(n * page)).collect();
    let mut found = BTreeMap::new();
    for node in numa::nodes_of(&pages).map_err(PlaceError::new("move_pages"))? {
        if let Ok(node) = u32::try_from(node) {
            *found.entry(NodeId(node)).or_insert(0) += 1;
        }
    }
    Ok(found.into_iter().collect())
}

pub(crate) fn mask(cpus: &[CpuId]) -> Mask {
    Mask::of(cpus.iter().map(|cpu| cpu.0))
}

impl Node {
    /// An empty buffer with room for `size` bytes, in whole pages that come from this node while it has room: mbind(2)
    /// with `MPOL_PREFERRED`, else by writing to them first on a CPU of the node. The pages exist when this returns.
    ///
    /// It is for long-lived buffers: each costs three system calls, and at least a page.
    ///
    /// # Errors
    /// Only if the size is too large or if there is no memory. What became of the wish is the second value.
    pub fn buffer(&self, size: usize) -> Result<(OwnedBuffer, MemoryPlacement), AllocError> {
        let (mut pieces, placed) = memory_on(self.id().0, &mask(self.cpus()), 1, size)?;
        Ok((pieces.pop().map(OwnedBuffer::from).unwrap_or_default(), placed))
    }

    /// A pool of `count` buffers with room for `size` bytes each, made now, in one mapping, as [`Node::buffer`] makes one.
    /// Each has whole pages of its own.
    ///
    /// # Errors
    /// As [`Node::buffer`].
    pub fn pool(
        &self,
        count: usize,
        size: usize,
    ) -> Result<(BufferPool, MemoryPlacement), AllocError> {
        let (pieces, placed) = memory_on(self.id().0, &mask(self.cpus()), count, size)?;
        if size == 0 {
            return Ok((BufferPool::new(count, 0), placed));
        }
        Ok((BufferPool::of_foreign(size, pieces)?, placed))
    }
}
