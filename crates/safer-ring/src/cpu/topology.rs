//! What the machine has, as sysfs tells: `Documentation/ABI/stable/sysfs-devices-node`, and `sysfs-devices-system-cpu`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use safer_ring_backend::sys::numa;

use super::{CpuId, NodeId};

/// The CPUs and nodes that this process may use.
///
/// A picture of the moment it was read: CPUs and memory come and go, and a container's cpuset can be changed from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    nodes: Vec<Node>,
    threads: BTreeMap<CpuId, (CpuId, u32)>,
    source: TopologySource,
}

/// Where the knowledge about nodes is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopologySource {
    /// The kernel's directory of nodes.
    Sysfs,
    /// There is no such directory (a kernel without NUMA, or sysfs is not mounted): all CPUs are taken for one node, 0.
    OneNode,
}

/// A NUMA node: CPUs and the memory beside them. Either may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    id: NodeId,
    cpus: Vec<CpuId>,
    memory: Option<u64>,
    distances: Vec<(NodeId, u32)>,
}

/// A logical CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cpu {
    /// Its number.
    pub id: CpuId,
    /// The node it belongs to.
    pub node: NodeId,
    /// The first CPU of its physical core that this process may use; `id` itself if that is the one.
    pub core: CpuId,
    /// Which of the usable hardware threads of its core it is, from 0.
    pub thread: u32,
}

impl Topology {
    /// Reads it from `/sys/devices/system`. CPUs that are offline or that this thread may not run on are left out. What
    /// cannot be read is left out too: without anything there is one node with the CPUs that the thread may run on.
    #[must_use]
    pub fn read() -> Topology {
        let allowed = numa::affinity().ok().map(|mask| mask.iter().map(CpuId).collect());
        Topology::read_from(Path::new("/sys/devices/system"), allowed)
    }

    /// `allowed` is `None` if the kernel did not say.
    pub(super) fn read_from(system: &Path, allowed: Option<BTreeSet<CpuId>>) -> Topology {
        let online = list(&system.join("cpu/online")).map(|cpus| cpus.into_iter().map(CpuId));
        let online: Option<BTreeSet<CpuId>> = online.map(Iterator::collect);
        let usable: BTreeSet<CpuId> = match (allowed, online) {
            (Some(allowed), Some(online)) if !allowed.is_disjoint(&online) => {
                allowed.intersection(&online).copied().collect()
            }
            (Some(allowed), _) => allowed,
            (None, Some(online)) => online,
            (None, None) => BTreeSet::from([CpuId(0)]),
        };
        let mut nodes = read_nodes(&system.join("node"), &usable);
        let source = if nodes.is_empty() { TopologySource::OneNode } else { TopologySource::Sysfs };
        let known: BTreeSet<CpuId> = nodes.iter().flat_map(|node| node.cpus.clone()).collect();
        let rest: Vec<CpuId> = usable.difference(&known).copied().collect();
        match nodes.first_mut() {
            // A CPU that came online in between: better on some node than lost.
            Some(first) => {
                first.cpus.extend(rest);
                first.cpus.sort_unstable();
            }
            None => nodes.push(Node {
                id: NodeId(0),
                cpus: rest,
                memory: None,
                distances: vec![(NodeId(0), LOCAL_DISTANCE)],
            }),
        }
        let threads = usable.iter().map(|cpu| (*cpu, core_of(system, *cpu, &usable))).collect();
        Topology { nodes, threads, source }
    }

    /// The nodes, ascending; never empty. Nodes without CPUs (memory only) and without memory are among them.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node with this number.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// The node that a CPU belongs to; `None` if this process may not use it.
    #[must_use]
    pub fn node_of(&self, cpu: CpuId) -> Option<&Node> {
        self.nodes.iter().find(|node| node.cpus.contains(&cpu))
    }

    /// The CPUs, node by node, ascending in each.
    pub fn cpus(&self) -> impl Iterator<Item = Cpu> + '_ {
        self.nodes.iter().flat_map(move |node| {
            node.cpus.iter().map(move |id| {
                let (core, thread) = self.threads.get(id).copied().unwrap_or((*id, 0));
                Cpu { id: *id, node: node.id, core, thread }
            })
        })
    }

    /// Where the knowledge about nodes is from.
    #[must_use]
    pub fn source(&self) -> TopologySource {
        self.source
    }
}

impl Node {
    /// Its number.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Its CPUs that this process may use, ascending. Empty for a node of memory alone.
    #[must_use]
    pub fn cpus(&self) -> &[CpuId] {
        &self.cpus
    }

    /// Its memory in bytes, used or not; `None` if unknown.
    #[must_use]
    pub fn memory(&self) -> Option<u64> {
        self.memory
    }

    /// How far the nodes are from this one, as the firmware says: 10 is itself, 20 takes about twice as long.
    #[must_use]
    pub fn distances(&self) -> &[(NodeId, u32)] {
        &self.distances
    }
}

/// The distance of a node to itself (ACPI).
const LOCAL_DISTANCE: u32 = 10;

fn read_nodes(directory: &Path, usable: &BTreeSet<CpuId>) -> Vec<Node> {
    let numbers = list(&directory.join("online")).unwrap_or_default();
    let node = |number: &u32| {
        let own = directory.join(format!("node{number}"));
        let cpus = list(&own.join("cpulist"))?.into_iter().map(CpuId);
        let distances = read(&own.join("distance")).unwrap_or_default();
        let distances = distances.split_whitespace().map_while(|word| word.parse().ok());
        Some(Node {
            id: NodeId(*number),
            cpus: cpus.filter(|cpu| usable.contains(cpu)).collect(),
            memory: memory(&own.join("meminfo")),
            // One column for each node that is online, in their order.
            distances: numbers.iter().copied().map(NodeId).zip(distances).collect(),
        })
    };
    numbers.iter().filter_map(node).collect()
}

/// `Node 0 MemTotal:       16316412 kB`
fn memory(path: &Path) -> Option<u64> {
    let text = read(path)?;
    let line = text.lines().find(|line| line.contains("MemTotal:"))?;
    let number = line.split_whitespace().nth(3)?;
    number.parse::<u64>().ok()?.checked_mul(1024)
}

/// The first usable CPU of the same physical core, and the place among them.
fn core_of(system: &Path, cpu: CpuId, usable: &BTreeSet<CpuId>) -> (CpuId, u32) {
    let own = system.join(format!("cpu/cpu{cpu}/topology"));
    // The second is the name before Linux 5.2.
    let siblings =
        list(&own.join("core_cpus_list")).or_else(|| list(&own.join("thread_siblings_list")));
    let mut siblings: Vec<CpuId> = siblings
        .unwrap_or_default()
        .into_iter()
        .map(CpuId)
        .filter(|cpu| usable.contains(cpu))
        .collect();
    siblings.sort_unstable();
    let place = siblings.iter().position(|sibling| *sibling == cpu);
    match (siblings.first(), place.and_then(|place| u32::try_from(place).ok())) {
        (Some(first), Some(place)) => (*first, place),
        _ => (cpu, 0),
    }
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// A list as the kernel prints them: `0-3,8,10-11`. `None` if it cannot be read.
fn list(path: &Path) -> Option<Vec<u32>> {
    parse_list(read(path)?.trim())
}

/// The highest number that a list may have; the kernel's own limit is far below.
const MOST: u32 = 65_535;

fn parse_list(text: &str) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    for range in text.split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if last > MOST {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

#[cfg(test)]
mod tests;
