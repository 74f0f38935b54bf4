//! Placement on two nodes. `cargo xtask vm numa` runs this where there are two; elsewhere what needs them says that it is
//! skipped.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a filter as containers have; tests"
)]

use std::fs;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use safer_ring::cpu::{
    self, CpuId, MemoryPlacement, Node, NodeId, Placement, Topology, TopologySource, Wish,
};
use safer_ring::sys::{Errno, numa};
use safer_ring::{Mode, Ring, RingOf, Runtime, local, runtime};

/// Runs `body` on a thread of its own (it is pinned to and fro) if there are two nodes.
fn on_two_nodes(body: impl FnOnce(&Topology, &[Node; 2]) + Send + 'static) {
    let topology = Topology::read();
    let Ok(nodes) = <[Node; 2]>::try_from(topology.nodes().to_vec()) else {
        let expected = std::env::var_os("SAFER_RING_GUEST").is_some();
        assert!(!expected, "the guest was started with two nodes: {topology:?}");
        return println!("skipped: {} node(s) here, not two", topology.nodes().len());
    };
    std::thread::spawn(move || body(&topology, &nodes)).join().unwrap();
}

/// The system calls that Docker's default profile answers with `EPERM`, unless the container has `CAP_SYS_NICE`.
const DOCKER: [libc::c_long; 4] =
    [libc::SYS_get_mempolicy, libc::SYS_set_mempolicy, libc::SYS_mbind, libc::SYS_move_pages];

/// From now on the calling thread gets `EPERM` for these system calls: seccomp(2), without `TSYNC`.
fn forbid(calls: &[libc::c_long]) {
    let step = |code: u32, k: u32, jf: u8| libc::sock_filter {
        code: code.try_into().unwrap(),
        jt: 0,
        jf,
        k,
    };
    let answer = |k| step(libc::BPF_RET | libc::BPF_K, k, 0);
    // The number of the call is the first word of what a filter sees.
    let mut program = vec![step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0)];
    for call in calls {
        let number = u32::try_from(*call).unwrap();
        program.push(step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, number, 1));
        program.push(answer(libc::SECCOMP_RET_ERRNO | u32::try_from(libc::EPERM).unwrap()));
    }
    program.push(answer(libc::SECCOMP_RET_ALLOW));
    let len = program.len().try_into().unwrap();
    let filter = libc::sock_fprog { len, filter: program.as_mut_ptr() };
    // SAFETY: numbers only (prctl(2)).
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    let mode = libc::SECCOMP_MODE_FILTER;
    // SAFETY: the kernel copies the filter, whose length is that of the list, during the call (seccomp(2)).
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const filter, 0, 0) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

/// Addresses of the mappings of io_uring that this process has.
fn ring_mappings() -> Vec<usize> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let rings = maps.lines().filter(|line| line.contains("anon_inode:[io_uring]"));
    rings.map(|line| usize::from_str_radix(line.split('-').next().unwrap(), 16).unwrap()).collect()
}

/// The nodes of the first page of each mapping of a ring that `make` makes.
fn nodes_of_ring<R>(make: impl FnOnce() -> R) -> (R, Vec<NodeId>) {
    let before = ring_mappings();
    let ring = make();
    let new: Vec<usize> =
        ring_mappings().into_iter().filter(|start| !before.contains(start)).collect();
    assert!(!new.is_empty(), "the ring's pages are mapped");
    let node =
        |start: usize| NodeId::new(numa::node_of(std::ptr::without_provenance(start)).unwrap());
    (ring, new.into_iter().map(node).collect())
}

/// The lists of CPUs of the worker threads that the kernel made for the calling thread.
fn cpus_of_workers() -> Vec<String> {
    let own = fs::read_link("/proc/thread-self").unwrap();
    let own = own.file_name().unwrap().to_str().unwrap().to_owned();
    let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let read = |task: &PathBuf, name: &str| fs::read_to_string(task.join(name)).unwrap_or_default();
    tasks
        .filter(|task| read(task, "comm").trim() == format!("iou-wrk-{own}"))
        .filter_map(|task| {
            let status = read(&task, "status");
            let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
            Some(line.trim().to_owned())
        })
        .collect()
}

#[test]
fn the_topology_is_that_of_the_machine() {
    on_two_nodes(|topology, nodes| {
        assert_eq!(topology.source(), TopologySource::Sysfs);
        let numbers = |node: &Node| node.cpus().iter().map(|cpu| cpu.get()).collect::<Vec<_>>();
        assert_eq!((numbers(&nodes[0]), numbers(&nodes[1])), (vec![0, 1], vec![2, 3]));
        assert_eq!(nodes[0].distances(), [(NodeId::new(0), 10), (NodeId::new(1), 21)]);
        for node in nodes {
            assert!(node.memory().unwrap() > 100 << 20, "{node:?}");
        }
        let order: Vec<_> = Placement::per_core(topology).iter().map(|seat| seat.node()).collect();
        assert_eq!(order.len(), 4);
    });
}

#[test]
fn a_pinned_thread_is_where_it_was_sent() {
    on_two_nodes(|topology, nodes| {
        for (index, seat) in Placement::per_core(topology).iter().enumerate() {
            let applied = seat.apply();
            assert_eq!(applied.pinned, Ok(()));
            assert_eq!(applied.node, seat.node());
            assert_eq!(cpu::current_cpu().unwrap(), seat.cpus()[0], "seat {index}");
            assert_eq!(cpu::allowed_cpus().unwrap(), seat.cpus());
        }
        for node in nodes {
            cpu::pin_to_node(node).unwrap();
            assert_eq!(cpu::current_node().unwrap(), node.id());
        }
        assert!(cpu::pin_to_core(CpuId::new(4)).is_err());
        assert_eq!(cpu::current_node().unwrap(), nodes[1].id(), "a refusal moves nothing");
    });
}

#[test]
fn ring_pages_are_on_the_node_asked_for_and_the_thread_goes_back() {
    on_two_nodes(|_, nodes| {
        for (here, there) in [(&nodes[0], &nodes[1]), (&nodes[1], &nodes[0])] {
            cpu::pin_to_core(here.cpus()[1]).unwrap();
            let before = numa::policy().unwrap();
            let (ring, found) =
                nodes_of_ring(|| Ring::builder().local().entries(512).node(there).build().unwrap());
            assert!(found.iter().all(|node| *node == there.id()), "{found:?}");
            assert_eq!(ring.features().placement.cpu, Wish::Done);
            assert_eq!(ring.features().placement.node, Some(there.id().get()));
            let (_ring, found) =
                nodes_of_ring(|| Ring::builder().local().cpu(there.cpus()[0]).build().unwrap());
            assert!(found.iter().all(|node| *node == there.id()), "{found:?}");
            // Without a wish they are where the thread is.
            let (_ring, found) = nodes_of_ring(|| local::Ring::new(64).unwrap());
            assert!(found.iter().all(|node| *node == here.id()), "{found:?}");
            assert_eq!(cpu::allowed_cpus().unwrap(), [here.cpus()[1]]);
            assert_eq!(numa::policy().unwrap(), before);
        }
    });
}

#[test]
fn a_ring_is_on_its_node_whatever_the_policy_of_the_thread() {
    on_two_nodes(|_, nodes| {
        let mine = numa::Policy::prefer(nodes[0].id().get());
        numa::set_policy(&mine).unwrap();
        let (_ring, found) = nodes_of_ring(|| {
            Ring::builder().local().entries(4096).node(&nodes[1]).build().unwrap()
        });
        assert!(found.iter().all(|node| *node == nodes[1].id()), "{found:?}");
        assert_eq!(numa::policy().unwrap(), mine);
    });
}

#[test]
fn pool_buffers_are_on_the_node_asked_for() {
    on_two_nodes(|_, nodes| {
        for (here, there) in [(&nodes[0], &nodes[1]), (&nodes[1], &nodes[0])] {
            cpu::pin_to_node(here).unwrap();
            let (pool, placed) = there.pool(16, 10_000).unwrap();
            assert_eq!(placed, MemoryPlacement::Preferred { node: there.id().get() });
            let mut taken: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
            assert_eq!(taken.len(), 16);
            for buffer in &mut taken {
                // Written here: the pages exist already, so this moves none.
                assert_eq!(buffer.resize(10_000), 10_000);
                assert_eq!(cpu::pages_by_node(buffer).unwrap(), [(there.id(), 3)]);
                let asked = numa::node_of(buffer.as_ptr()).unwrap();
                assert_eq!(asked, there.id().get(), "get_mempolicy agrees with move_pages");
            }
            let (mut buffer, _) = there.buffer(1 << 20).unwrap();
            buffer.resize(1 << 20);
            assert_eq!(cpu::pages_by_node(&buffer).unwrap(), [(there.id(), 256)]);
            // The control: an ordinary buffer is where it is written.
            let ordinary = vec![1u8; 1 << 20];
            let spread = cpu::pages_by_node(&ordinary).unwrap();
            assert!(
                spread.iter().any(|(node, pages)| *node == here.id() && *pages > 200),
                "{spread:?}"
            );
        }
    });
}

/// Runs a splice, which the kernel always gives to a worker.
async fn make_workers<M: Mode>(ring: &RingOf<M>) {
    let (from, into) = ring.pipe(safer_ring::PipeOptions::Stream).await.unwrap();
    let (end, out) = ring.pipe(safer_ring::PipeOptions::Stream).await.unwrap();
    ring.write_owned(&into, "four").await.unwrap();
    let flags = safer_ring::SpliceFlags::NONE;
    let moved = ring.splice(&from, None, &out, None, 4, flags).await.unwrap();
    assert_eq!(moved, 4);
    assert_eq!(ring.read_owned(&end, Vec::with_capacity(4)).await.unwrap().1, b"four");
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future of a shared ring on this thread.
fn wait_for(future: impl Future<Output = ()>) {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    while future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        std::thread::park();
    }
}

#[test]
fn workers_stay_on_the_node_asked_for() {
    on_two_nodes(|_, nodes| {
        for node in nodes.clone() {
            // A thread has its workers for as long as it lives.
            let run = move || {
                let ring = Ring::builder().local().node(&node).build().unwrap();
                assert_eq!(ring.features().placement.workers, Wish::Done);
                ring.block_on(make_workers(&ring));
                let expected = format!("{}-{}", node.cpus()[0], node.cpus()[1]);
                let found = cpus_of_workers();
                assert!(!found.is_empty(), "a splice runs on a worker");
                assert!(found.iter().all(|cpus| *cpus == expected), "{found:?}");
            };
            std::thread::spawn(run).join().unwrap();
        }
        // A shared ring: this thread makes it, another one submits.
        let (ring, expected) = (Ring::builder().node(&nodes[1]).build().unwrap(), "2-3");
        let run = move || {
            wait_for(make_workers(&ring));
            let found = cpus_of_workers();
            assert!(!found.is_empty() && found.iter().all(|cpus| cpus == expected), "{found:?}");
        };
        std::thread::spawn(run).join().unwrap();
        // The control: without a wish they run anywhere, or on the node of the thread (6.1), which is the other one.
        // Not on this thread, which has made a ring with a wish.
        let first = nodes[0].clone();
        let run = move || {
            cpu::pin_to_node(&first).unwrap();
            let ring = local::Ring::new(8).unwrap();
            ring.block_on(make_workers(&ring));
            let found = cpus_of_workers();
            assert!(!found.is_empty() && found.iter().all(|cpus| cpus != "2-3"), "{found:?}");
        };
        std::thread::spawn(run).join().unwrap();
    });
}

/// A buffer of a pool that the thread's own node has made, with the pages that it has.
async fn look_from_inside(node: Node) -> (NodeId, Vec<(NodeId, usize)>, Vec<String>) {
    let (pool, placed) = node.pool(4, 8192).unwrap();
    assert_eq!(placed, MemoryPlacement::Preferred { node: node.id().get() });
    let mut buffer = pool.take().unwrap();
    buffer.resize(8192);
    make_workers(&runtime::ring()).await;
    (cpu::current_node().unwrap(), cpu::pages_by_node(&buffer).unwrap(), cpus_of_workers())
}

#[test]
fn a_runtime_has_threads_rings_workers_and_pools_on_their_nodes() {
    on_two_nodes(|topology, nodes| {
        let plan = Placement::per_core(topology);
        let of = |thread: usize| &nodes[thread / 2];
        let (runtime, found) = nodes_of_ring(|| {
            let builder = Runtime::builder().threads(4).placement(plan);
            builder.ring(Ring::builder().local().entries(512)).build().unwrap()
        });
        // Two threads on each node, and each ring has as many mappings as any other.
        let on_first = found.iter().filter(|node| **node == nodes[0].id()).count();
        assert_eq!((found.len() % 4, on_first * 2), (0, found.len()), "{found:?}");
        let handle = runtime.handle();
        for thread in 0..4 {
            let node = of(thread).clone();
            let expected = format!("{}-{}", node.cpus()[0], node.cpus()[1]);
            let place = &runtime.placements()[thread];
            assert_eq!(place.ring.node, Some(node.id().get()), "thread {thread}: {place}");
            assert!(!place.is_refused(), "thread {thread}: {place}");
            let pages = [(node.id(), 2)];
            let task = handle.spawn_on(thread, || look_from_inside(node)).unwrap();
            let (on, found, workers) = runtime.block_on(task).unwrap();
            assert_eq!((on, &found[..]), (of(thread).id(), &pages[..]), "thread {thread}");
            assert!(!workers.is_empty(), "a splice runs on a worker");
            // The node's, or on 7.3 the one of them that the thread is pinned to.
            let one = |cpus: &String| of(thread).cpus().iter().any(|cpu| *cpus == cpu.to_string());
            let inside = workers.iter().all(|cpus| *cpus == expected || one(cpus));
            assert!(inside, "thread {thread}: {workers:?}");
        }
    });
}

#[test]
fn each_thread_of_a_runtime_has_the_pages_of_its_ring_on_its_node() {
    on_two_nodes(|_, nodes| {
        // One thread at a time, so that it is known whose mappings these are.
        for (here, there) in [(&nodes[0], &nodes[1]), (&nodes[1], &nodes[0])] {
            cpu::pin_to_node(here).unwrap();
            let plan = Placement::explicit([there.cpus()[1]]);
            let (runtime, found) =
                nodes_of_ring(|| Runtime::builder().placement(plan).build().unwrap());
            assert!(found.iter().all(|node| *node == there.id()), "{found:?}");
            assert_eq!(runtime.placements()[0].ring.workers, Wish::NotAsked);
            drop(runtime);
            assert_eq!(cpu::allowed_cpus().unwrap(), here.cpus());
        }
    });
}

#[test]
fn where_the_policy_is_forbidden_the_first_touch_places_the_memory() {
    for node in Topology::read().nodes().iter().filter(|node| !node.cpus().is_empty()) {
        let (node, id) = (node.clone(), node.id());
        let confined = std::thread::spawn(move || {
            forbid(&DOCKER);
            let before = cpu::allowed_cpus().unwrap();
            let (mut buffer, placed) = node.buffer(100_000).unwrap();
            let why = MemoryPlacement::FirstTouch { node: id.get(), errno: Errno::PERM };
            assert_eq!(placed, why);
            assert_eq!(placed.node(), Some(id.get()));
            assert_eq!(cpu::allowed_cpus().unwrap(), before, "the thread is back");
            assert_eq!(buffer.resize(100_000), 100_000);
            let refused = cpu::pages_by_node(&buffer).unwrap_err();
            assert_eq!(refused.errno(), Errno::PERM);
            assert!(refused.to_string().contains("seccomp"), "{refused}");
            // The ring goes to the node all the same: pinning is allowed.
            let ring = Ring::builder().local().node(&node).build().unwrap();
            assert_eq!(ring.features().placement.cpu, Wish::Done);
            buffer
        });
        let buffer = confined.join().unwrap();
        match cpu::pages_by_node(&buffer) {
            Ok(found) => assert_eq!(found, [(id, 25)]),
            Err(error) => println!("skipped: where the pages are: {error}"),
        }
    }
}

#[test]
fn where_everything_is_forbidden_rings_and_buffers_work_and_say_why() {
    let confined = || {
        let node = Topology::read().nodes()[0].clone();
        // Else the thread may be where it is wanted already, and there is nothing to ask for.
        let elsewhere = node.cpus()[0];
        let must_move = cpu::allowed_cpus().unwrap() != [elsewhere];
        forbid(&[&DOCKER[..], &[libc::SYS_sched_setaffinity]].concat());
        let applied = Placement::explicit([elsewhere]).seat(0).unwrap().apply();
        assert_eq!(applied.pinned.map_err(|error| error.errno()), Err(Errno::PERM));
        let ring = Ring::builder().local().cpu(elsewhere).build().unwrap();
        if must_move {
            let refused = Wish::Refused { step: "sched_setaffinity", errno: Errno::PERM };
            assert_eq!(ring.features().placement.cpu, refused);
            assert!(ring.features().to_string().contains("cpu not placed: sched_setaffinity"));
        }
        ring.block_on(ring.nop()).unwrap();
        let (pool, placed) = node.pool(2, 5000).unwrap();
        if cpu::allowed_cpus().unwrap().len() > node.cpus().len() {
            assert_eq!(placed.node(), None, "{placed}");
        }
        assert_eq!(pool.take().unwrap().resize(5000), 5000);
    };
    std::thread::spawn(confined).join().unwrap();
}

#[test]
fn a_machine_of_any_shape_can_be_planned_pinned_and_put_back() {
    let run = || {
        let (topology, before) = (Topology::read(), cpu::allowed_cpus().unwrap());
        let plan = Placement::per_core(&topology);
        assert_eq!(plan.len(), before.len());
        for seat in &plan {
            let applied = seat.apply();
            assert_eq!((applied.pinned, applied.node), (Ok(()), seat.node()));
            assert_eq!(cpu::current_cpu().unwrap(), seat.cpus()[0]);
        }
        assert_eq!(Placement::per_node(&topology).len(), topology.nodes().len());
        cpu::pin_to_cpus(&before).unwrap();
        assert_eq!(cpu::allowed_cpus().unwrap(), before);
        let absent = cpu::pin_to_core(CpuId::new(60_000)).unwrap_err();
        assert_eq!(absent.errno(), Errno::INVAL);
        assert!(absent.to_string().contains("allowed_cpus"), "{absent}");
        assert_eq!(cpu::allowed_cpus().unwrap(), before);
        let (ring, node) = (Ring::builder().node(&topology.nodes()[0]), &topology.nodes()[0]);
        let ring = ring.build().unwrap();
        let placement = ring.features().placement;
        assert_eq!((placement.cpu, placement.workers), (Wish::Done, Wish::Done));
        assert_eq!(placement.node, Some(node.id().get()));
        assert_eq!(Ring::new(8).unwrap().features().placement.cpu, Wish::NotAsked);
    };
    std::thread::spawn(run).join().unwrap();
}
