//! Which thread runs where.

use std::sync::Arc;

use super::{CpuId, Node, NodeId, PlaceError, Topology, current_node, pin_to_cpus};

/// A plan: the CPUs for each thread of a program that has one thread for each core, or one for each node.
///
/// It holds numbers only, and nothing happens before a thread applies its [`Seat`].
///
/// ```
/// use safer_ring::cpu::{Placement, Topology};
///
/// let plan = Placement::per_core(&Topology::read());
/// let threads: Vec<_> = (0..2)
///     .map(|index| {
///         let seat = plan.seat(index);
///         std::thread::spawn(move || seat.map(|seat| seat.apply()))
///     })
///     .collect();
/// for thread in threads {
///     println!("{:?}", thread.join().unwrap());
/// }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    seats: Vec<Seat>,
}

/// Where one thread runs: on one CPU, or on any of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    cpus: Vec<CpuId>,
    /// The node that they belong to, as the topology saw it.
    home: Option<Arc<Node>>,
}

/// What became of a [`Seat`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// The CPUs that were asked for.
    pub cpus: Vec<CpuId>,
    /// Whether the thread runs on these only, or why not: then it runs where it did before.
    pub pinned: Result<(), PlaceError>,
    /// The node that the thread runs on now, if the kernel tells.
    pub node: Option<NodeId>,
}

impl Placement {
    /// One thread for each CPU that this process may use: first one for each physical core, node by node, then their
    /// other hardware threads in the same order. Programs with fewer threads than CPUs so get whole cores.
    #[must_use]
    pub fn per_core(topology: &Topology) -> Placement {
        let mut cpus: Vec<_> = topology.cpus().collect();
        cpus.sort_by_key(|cpu| (cpu.thread, cpu.node, cpu.id));
        let homes: Vec<_> = topology.nodes().iter().cloned().map(Arc::new).collect();
        let home = |id| homes.iter().find(|node| node.id() == id).cloned();
        let seats = cpus.iter().map(|cpu| Seat { cpus: vec![cpu.id], home: home(cpu.node) });
        Placement { seats: seats.collect() }
    }

    /// One thread for each node that has CPUs, on any of them.
    #[must_use]
    pub fn per_node(topology: &Topology) -> Placement {
        let nodes = topology.nodes().iter().filter(|node| !node.cpus().is_empty());
        let seat =
            |node: &Node| Seat { cpus: node.cpus().to_vec(), home: Some(Arc::new(node.clone())) };
        Placement { seats: nodes.map(seat).collect() }
    }

    /// One thread for each of these CPUs, in this order. They are not checked before a thread goes there.
    #[must_use]
    pub fn explicit(cpus: impl IntoIterator<Item = CpuId>) -> Placement {
        let seats = cpus.into_iter().map(|cpu| Seat { cpus: vec![cpu], home: None });
        Placement { seats: seats.collect() }
    }

    /// How many threads have a place of their own.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seats.len()
    }

    /// Whether the plan is empty, as [`Placement::default`] is: threads are left where they are.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// The place of the thread with this index. With more threads than places it begins again. `None` if the plan is empty.
    #[must_use]
    pub fn seat(&self, index: usize) -> Option<Seat> {
        self.seats.get(index.checked_rem(self.seats.len())?).cloned()
    }

    /// The places in order, each once.
    pub fn iter(&self) -> std::slice::Iter<'_, Seat> {
        self.seats.iter()
    }
}

impl<'a> IntoIterator for &'a Placement {
    type Item = &'a Seat;
    type IntoIter = std::slice::Iter<'a, Seat>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Seat {
    /// The CPUs, ascending.
    #[must_use]
    pub fn cpus(&self) -> &[CpuId] {
        &self.cpus
    }

    /// The node of the CPUs, if the plan was made from a [`Topology`].
    #[must_use]
    pub fn node(&self) -> Option<NodeId> {
        self.home.as_ref().map(|node| node.id())
    }

    /// That node, with all its CPUs.
    #[cfg(feature = "runtime")]
    pub(crate) fn home(&self) -> Option<&Node> {
        self.home.as_deref()
    }

    /// Pins the calling thread there. It is a wish: if it is refused the thread goes on as before, and the reason is in the
    /// answer. Make the thread's ring and buffers after this.
    pub fn apply(&self) -> Applied {
        let pinned = pin_to_cpus(&self.cpus);
        Applied { cpus: self.cpus.clone(), pinned, node: current_node().ok() }
    }
}
