//! Where the threads of a runtime run, and what became of the plan.

use std::fmt;
use std::marker::PhantomData;

use safer_ring_backend::RingPlacement;

use crate::cpu::{Applied, CpuId, Node, Placement, Seat, Topology, allowed_cpus, pin_to_cpus};
use crate::local;

/// Where a thread of a runtime is: [`Runtime::placements`](super::Runtime::placements).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThreadPlacement {
    /// What became of its [`Seat`]; `None` if there was no plan, and the thread was left where it was.
    pub seat: Option<Applied>,
    /// Where its ring was made, and whether the kernel's worker threads stay on the node. Nothing was asked for without a
    /// plan, or if the thread could not be pinned.
    pub ring: RingPlacement,
}

impl ThreadPlacement {
    /// Whether something that was asked for was refused. The values say what, and why.
    pub fn is_refused(&self) -> bool {
        let seat = self.seat.as_ref().is_some_and(|seat| seat.pinned.is_err());
        seat || self.ring.cpu.is_refused() || self.ring.workers.is_refused()
    }
}

impl fmt::Display for ThreadPlacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.seat {
            None => f.write_str("not pinned")?,
            Some(Applied { pinned: Err(error), .. }) => write!(f, "not pinned: {error}")?,
            Some(Applied { cpus, .. }) => {
                f.write_str("on CPU")?;
                for cpu in cpus {
                    write!(f, " {cpu}")?;
                }
            }
        }
        if let Some(node) = self.ring.node {
            write!(f, ", ring made on node {node}")?;
        }
        write!(f, ", ring {}, workers {}", self.ring.cpu, self.ring.workers)
    }
}

/// A placement with what it needs to be carried out by several threads.
#[derive(Debug)]
pub(super) struct Plan {
    placement: Placement,
    /// Read before a thread is pinned, which sees its own CPUs only. For seats that were made without one.
    topology: Option<Topology>,
}

impl Plan {
    pub(super) fn new(placement: Placement) -> Self {
        let is_needed = placement.iter().any(|seat| seat.home().is_none());
        Self { placement, topology: is_needed.then(Topology::read) }
    }

    /// Pins the calling thread, which is this one of the runtime, and says how its ring is to be made.
    pub(super) fn take_seat(&self, thread: usize, ring: local::Builder) -> Seated {
        let Some(seat) = self.placement.seat(thread) else {
            return Seated { applied: None, ring };
        };
        let applied = seat.apply();
        let ring = match self.home(&seat) {
            // A thread that is elsewhere has its ring there, and what the program asked for goes before.
            Some(node) if applied.pinned.is_ok() && !ring.is_placed() => ring.node(node),
            _ => ring,
        };
        Seated { applied: Some(applied), ring }
    }

    fn home<'a>(&'a self, seat: &'a Seat) -> Option<&'a Node> {
        let known = || self.topology.as_ref()?.node_of(*seat.cpus().first()?);
        seat.home().or_else(known)
    }
}

/// A thread that is where the plan wants it, if that was allowed.
pub(super) struct Seated {
    pub(super) applied: Option<Applied>,
    pub(super) ring: local::Builder,
}

/// The CPUs on which the calling thread might run before it became a part of the runtime. Dropping this puts them back.
#[derive(Debug)]
pub(super) struct CallerCpus {
    before: Vec<CpuId>,
    since: Vec<CpuId>,
    /// It speaks of one thread.
    stays: PhantomData<*const ()>,
}

impl CallerCpus {
    /// To be called before the thread takes its seat.
    pub(super) fn note() -> Self {
        // Where the kernel does not tell there is nothing to put back.
        let before = allowed_cpus().unwrap_or_default();
        Self { since: before.clone(), before, stays: PhantomData }
    }

    /// To be called after it.
    pub(super) fn seated(&mut self) {
        self.since = allowed_cpus().unwrap_or_default();
    }
}

impl Drop for CallerCpus {
    fn drop(&mut self) {
        // Somebody else may have pinned the thread meanwhile: that holds.
        let is_ours = allowed_cpus().is_ok_and(|now| now == self.since);
        if is_ours && self.since != self.before {
            // CPUs that went offline since are left out; a refusal leaves it pinned, which harms nothing.
            let _ = pin_to_cpus(&self.before);
        }
    }
}
