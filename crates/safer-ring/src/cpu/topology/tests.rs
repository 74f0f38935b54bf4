//! Trees as kernels show them.

use super::super::Placement;
use super::*;

/// Files of a tree with their text.
type Tree<'a> = &'a [(&'a str, &'a str)];

fn read(tree: Tree<'_>, allowed: Option<&[u32]>) -> Topology {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in tree {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let allowed = allowed.map(|allowed| allowed.iter().copied().map(CpuId).collect());
    Topology::read_from(root.path(), allowed)
}

fn cpus(node: &Node) -> Vec<u32> {
    node.cpus().iter().map(|cpu| cpu.get()).collect()
}

fn order(plan: &Placement) -> Vec<Vec<u32>> {
    plan.iter().map(|seat| seat.cpus().iter().map(|cpu| cpu.get()).collect()).collect()
}

/// One node, two CPUs.
const ONE: Tree<'_> = &[
    ("cpu/online", "0-1\n"),
    ("cpu/cpu0/topology/core_cpus_list", "0\n"),
    ("cpu/cpu1/topology/core_cpus_list", "1\n"),
    ("node/online", "0\n"),
    ("node/node0/cpulist", "0-1\n"),
    ("node/node0/distance", "10\n"),
    (
        "node/node0/meminfo",
        "Node 0 MemTotal:        8150832 kB\nNode 0 MemFree:         5042912 kB\n",
    ),
];

/// A virtual machine of two nodes.
const TWO: Tree<'_> = &[
    ("cpu/online", "0-3\n"),
    ("cpu/cpu0/topology/core_cpus_list", "0\n"),
    ("cpu/cpu1/topology/core_cpus_list", "1\n"),
    ("cpu/cpu2/topology/core_cpus_list", "2\n"),
    ("cpu/cpu3/topology/core_cpus_list", "3\n"),
    ("node/online", "0-1\n"),
    ("node/node0/cpulist", "0-1\n"),
    ("node/node0/distance", "10 21\n"),
    ("node/node0/meminfo", "Node 0 MemTotal:         991260 kB\n"),
    ("node/node1/cpulist", "2-3\n"),
    ("node/node1/distance", "21 10\n"),
    ("node/node1/meminfo", "Node 1 MemTotal:         1008320 kB\n"),
];

/// Two sockets with two cores of two threads each, numbered as Intel's are: siblings four apart. Names of Linux 5.1.
const THREADS: Tree<'_> = &[
    ("cpu/online", "0-7\n"),
    ("cpu/cpu0/topology/thread_siblings_list", "0,4\n"),
    ("cpu/cpu1/topology/thread_siblings_list", "1,5\n"),
    ("cpu/cpu2/topology/thread_siblings_list", "2,6\n"),
    ("cpu/cpu3/topology/thread_siblings_list", "3,7\n"),
    ("cpu/cpu4/topology/thread_siblings_list", "0,4\n"),
    ("cpu/cpu5/topology/thread_siblings_list", "1,5\n"),
    ("cpu/cpu6/topology/thread_siblings_list", "2,6\n"),
    ("cpu/cpu7/topology/thread_siblings_list", "3,7\n"),
    ("node/online", "0-1\n"),
    ("node/node0/cpulist", "0,2,4,6\n"),
    ("node/node0/distance", "10 20\n"),
    ("node/node1/cpulist", "1,3,5,7\n"),
    ("node/node1/distance", "20 10\n"),
];

/// Node 1 has no memory, node 4 no CPU (memory behind a bus), and the numbers have a gap.
const UNEVEN: Tree<'_> = &[
    ("cpu/online", "0-3\n"),
    ("node/online", "0-1,4\n"),
    ("node/has_memory", "0,4\n"),
    ("node/node0/cpulist", "0-1\n"),
    ("node/node0/distance", "10 21 40\n"),
    ("node/node0/meminfo", "Node 0 MemTotal:         1000 kB\n"),
    ("node/node1/cpulist", "2-3\n"),
    ("node/node1/distance", "21 10 40\n"),
    ("node/node1/meminfo", "Node 1 MemTotal:               0 kB\n"),
    ("node/node4/cpulist", "\n"),
    ("node/node4/distance", "40 40 10\n"),
    ("node/node4/meminfo", "Node 4 MemTotal:         2000 kB\n"),
];

#[test]
fn one_node() {
    let topology = read(ONE, Some(&[0, 1]));
    assert_eq!((topology.nodes().len(), topology.source()), (1, TopologySource::Sysfs));
    let node = topology.node_of(CpuId::new(1)).unwrap();
    assert_eq!((node.id(), cpus(node)), (NodeId::new(0), vec![0, 1]));
    assert_eq!(node.memory(), Some(8_150_832 * 1024));
    assert_eq!(node.distances(), [(NodeId::new(0), 10)]);
    assert!(topology.node_of(CpuId::new(2)).is_none() && topology.node(NodeId::new(1)).is_none());
    assert_eq!(order(&Placement::per_core(&topology)), [[0], [1]]);
}

#[test]
fn two_nodes() {
    let topology = read(TWO, Some(&[0, 1, 2, 3]));
    let nodes: Vec<_> = topology.nodes().iter().map(|node| (node.id().get(), cpus(node))).collect();
    assert_eq!(nodes, [(0, vec![0, 1]), (1, vec![2, 3])]);
    let node = topology.node(NodeId::new(1)).unwrap();
    assert_eq!(node.distances(), [(NodeId::new(0), 21), (NodeId::new(1), 10)]);
    assert_eq!(order(&Placement::per_core(&topology)), [[0], [1], [2], [3]]);
    assert_eq!(order(&Placement::per_node(&topology)), [[0, 1], [2, 3]]);
}

#[test]
fn whole_cores_come_before_their_second_threads() {
    let topology = read(THREADS, Some(&[0, 1, 2, 3, 4, 5, 6, 7]));
    let plan = Placement::per_core(&topology);
    let one_each = [[0], [2], [1], [3], [4], [6], [5], [7]];
    assert_eq!(order(&plan), one_each);
    let cpu = topology.cpus().find(|cpu| cpu.id == CpuId::new(5)).unwrap();
    assert_eq!((cpu.node, cpu.core, cpu.thread), (NodeId::new(1), CpuId::new(1), 1));
    assert_eq!(plan.seat(8), plan.seat(0), "more threads than places begin again");
    // In a container that has the second threads only, each of them is a whole core.
    let second = read(THREADS, Some(&[4, 5, 1]));
    assert_eq!(order(&Placement::per_core(&second)), [[4], [1], [5]]);
}

#[test]
fn nodes_without_memory_or_without_cpus() {
    let topology = read(UNEVEN, Some(&[0, 1, 2, 3]));
    let memory: Vec<_> =
        topology.nodes().iter().map(|node| (node.id().get(), node.memory())).collect();
    assert_eq!(memory, [(0, Some(1_024_000)), (1, Some(0)), (4, Some(2_048_000))]);
    let far = topology.node(NodeId::new(4)).unwrap();
    assert!(far.cpus().is_empty());
    assert_eq!(far.distances(), [(NodeId::new(0), 40), (NodeId::new(1), 40), (NodeId::new(4), 10)]);
    assert_eq!(order(&Placement::per_node(&topology)), [[0, 1], [2, 3]]);
    // Without files about cores each CPU is one.
    assert_eq!(order(&Placement::per_core(&topology)), [[0], [1], [2], [3]]);
}

#[test]
fn what_is_offline_or_not_allowed_is_left_out() {
    let mut tree = TWO.to_vec();
    tree[0] = ("cpu/online", "0-2\n");
    // sysfs of a container shows the whole machine.
    let topology = read(&tree, Some(&[1, 2, 3]));
    assert_eq!(cpus(&topology.nodes()[0]), [1]);
    assert_eq!(cpus(&topology.nodes()[1]), [2]);
    assert_eq!(order(&Placement::per_core(&topology)), [[1], [2]]);
    // Where the kernel does not say what is allowed, all that is online is taken.
    assert_eq!(order(&Placement::per_core(&read(&tree, None))), [[0], [1], [2]]);
}

#[test]
fn without_a_directory_of_nodes_there_is_one() {
    let topology = read(&[("cpu/online", "0-1\n")], Some(&[0, 1]));
    assert_eq!((topology.nodes().len(), topology.source()), (1, TopologySource::OneNode));
    assert_eq!((cpus(&topology.nodes()[0]), topology.nodes()[0].memory()), (vec![0, 1], None));
    // No sysfs at all.
    assert_eq!(order(&Placement::per_core(&read(&[], Some(&[3, 7])))), [[3], [7]]);
    assert_eq!(order(&Placement::per_core(&read(&[], None))), [[0]]);
}

#[test]
fn damaged_files_are_as_missing_ones() {
    let tree = [
        ("cpu/online", "0-4294967295\n"),
        ("node/online", "0,1\n"),
        ("node/node0/cpulist", "0-x\n"),
        ("node/node1/cpulist", "3-2,1\n"),
        ("node/node1/distance", "ten\n"),
        ("node/node1/meminfo", "MemTotal: much\n"),
    ];
    let topology = read(&tree, Some(&[0, 1]));
    assert_eq!(topology.nodes().len(), 1);
    // CPU 0 is on no node that could be read; it is not lost.
    assert_eq!(cpus(&topology.nodes()[0]), [0, 1]);
    assert_eq!((topology.nodes()[0].memory(), topology.nodes()[0].distances()), (None, &[][..]));
}

#[test]
fn this_machine_has_the_cpu_that_this_test_runs_on() {
    let topology = Topology::read();
    let cpu = super::super::current_cpu().unwrap();
    let node = topology.node_of(cpu).unwrap();
    assert!(topology.cpus().any(|known| known.id == cpu && known.node == node.id()));
    let allowed = super::super::allowed_cpus().unwrap();
    assert_eq!(topology.cpus().count(), allowed.len());
}
