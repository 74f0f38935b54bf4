//! Where the threads of a runtime run.
#![cfg(feature = "runtime")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::sync::{Arc, Mutex};

use common::within_deadline;
use safer_ring::cpu::{self, CpuId, Placement, Topology, Wish};
use safer_ring::runtime::StartError;
use safer_ring::{BackendKind, Ring, Runtime, runtime};

/// The CPUs on which each thread of a runtime may run, as the threads themselves see it, and where they are.
fn seen(runtime: &Runtime) -> Vec<(Vec<CpuId>, CpuId)> {
    let look = || async {
        // So that the ring works, too.
        runtime::ring().nop().await.unwrap();
        (cpu::allowed_cpus().unwrap(), cpu::current_cpu().unwrap())
    };
    let handle = runtime.handle();
    let threads = 0..handle.threads();
    let tasks: Vec<_> = threads.map(|thread| handle.spawn_on(thread, look).unwrap()).collect();
    runtime.block_on(async {
        let mut seen = Vec::new();
        for task in tasks {
            seen.push(task.await.unwrap());
        }
        seen
    })
}

#[test]
fn each_thread_runs_where_the_plan_puts_it_and_the_caller_goes_back() {
    within_deadline(|| {
        let before = cpu::allowed_cpus().unwrap();
        let topology = Topology::read();
        let plan = Placement::per_core(&topology);
        let in_hook = Arc::new(Mutex::new(vec![Vec::new(); plan.len()]));
        let hears = Arc::clone(&in_hook);
        let builder = Runtime::builder().threads(plan.len()).placement(plan.clone());
        let builder = builder.on_thread_start(move |thread| {
            hears.lock().unwrap()[thread] = cpu::allowed_cpus().unwrap();
        });
        for ends_by_shutdown in [false, true] {
            let runtime = builder.clone().build().unwrap();
            assert_eq!(runtime.placements().len(), plan.len());
            assert_eq!(runtime.handle().placements(), runtime.placements());
            let hook = std::mem::replace(&mut *in_hook.lock().unwrap(), vec![vec![]; plan.len()]);
            for (thread, (allowed, on)) in seen(&runtime).into_iter().enumerate() {
                let (seat, place) = (plan.seat(thread).unwrap(), &runtime.placements()[thread]);
                assert_eq!((&allowed[..], on), (seat.cpus(), seat.cpus()[0]), "thread {thread}");
                assert_eq!(hook[thread], allowed, "the hook runs on the thread's place");
                let applied = place.seat.clone().unwrap();
                assert_eq!((applied.pinned, applied.node), (Ok(()), seat.node()));
                // The fallback has no workers.
                let kernel = runtime.ring().features().backend == BackendKind::IoUring;
                let workers = if kernel { Wish::Done } else { Wish::NotAsked };
                assert_eq!((place.ring.cpu, place.ring.workers), (Wish::Done, workers));
                assert_eq!(place.ring.node.map(cpu::NodeId::new), seat.node());
                assert!(!place.is_refused(), "{place}");
            }
            assert_eq!(cpu::allowed_cpus().unwrap(), plan.seat(0).unwrap().cpus());
            if ends_by_shutdown {
                runtime.shutdown(std::time::Instant::now());
            } else {
                drop(runtime);
            }
            assert_eq!(
                cpu::allowed_cpus().unwrap(),
                before,
                "the calling thread has its CPUs back"
            );
        }
    });
}

#[test]
fn with_more_threads_than_seats_the_plan_begins_again() {
    within_deadline(|| {
        let last = *cpu::allowed_cpus().unwrap().last().unwrap();
        let plan = Placement::explicit([last]);
        let runtime = Runtime::builder().threads(3).placement(plan).build().unwrap();
        assert_eq!(seen(&runtime), vec![(vec![last], last); 3]);
        // The node of a CPU that was named is looked up.
        let node = runtime.placements()[2].ring.node.unwrap();
        assert_eq!(Topology::read().node_of(last).unwrap().id().get(), node);
    });
}

#[test]
fn a_refused_pin_is_a_value_with_its_reason_and_the_runtime_works() {
    within_deadline(|| {
        let before = cpu::allowed_cpus().unwrap();
        let last = *before.last().unwrap();
        let plan = Placement::explicit([CpuId::new(60_000), last]);
        let runtime = Runtime::builder().threads(3).placement(plan).build().unwrap();
        let seen = seen(&runtime);
        assert_eq!((&seen[0].0, &seen[2].0), (&before, &before), "left where they were");
        assert_eq!(seen[1], (vec![last], last));
        let places = runtime.placements();
        let refused = places[0].seat.clone().unwrap().pinned.unwrap_err();
        assert_eq!(refused.errno(), safer_ring::sys::Errno::INVAL);
        assert_eq!(places[0].ring.workers, Wish::NotAsked);
        let refusals: Vec<bool> = places.iter().map(|place| place.is_refused()).collect();
        assert_eq!(refusals, [true, false, true]);
        assert!(places[2].to_string().contains("not pinned: sched_setaffinity"), "{}", places[2]);
    });
}

#[test]
fn without_a_plan_nothing_is_asked_and_nobody_is_moved() {
    within_deadline(|| {
        let before = cpu::allowed_cpus().unwrap();
        let runtime = Runtime::builder().threads(2).build().unwrap();
        for place in runtime.placements() {
            assert_eq!((&place.seat, place.ring.cpu), (&None, Wish::NotAsked));
        }
        assert!(seen(&runtime).iter().all(|(allowed, _)| *allowed == before));
    });
}

#[test]
fn a_caller_that_is_pinned_anew_meanwhile_stays_there() {
    within_deadline(|| {
        let cpus = cpu::allowed_cpus().unwrap();
        let (first, last) = (cpus[0], *cpus.last().unwrap());
        let plan = Placement::explicit([first]);
        let runtime = Runtime::builder().placement(plan).build().unwrap();
        if first == last {
            return println!("skipped: one CPU");
        }
        cpu::pin_to_core(last).unwrap();
        drop(runtime);
        assert_eq!(cpu::allowed_cpus().unwrap(), [last]);
    });
}

#[test]
fn a_runtime_that_does_not_come_about_leaves_the_caller_where_it_was() {
    within_deadline(|| {
        let before = cpu::allowed_cpus().unwrap();
        let plan = Placement::explicit([before[0]]);
        // More entries than the kernel takes; only thread 0 is there to fail.
        let ring = Ring::builder().entries(1 << 20).local();
        let failed = Runtime::builder().ring(ring).placement(plan).build();
        assert!(matches!(failed, Err(StartError::Ring { thread: 0, .. })), "{failed:?}");
        assert_eq!(cpu::allowed_cpus().unwrap(), before);
    });
}

#[test]
fn what_the_ring_was_told_goes_before_the_plan() {
    within_deadline(|| {
        let cpus = cpu::allowed_cpus().unwrap();
        let (first, last) = (cpus[0], *cpus.last().unwrap());
        let ring = Ring::builder().local().cpu(last);
        let plan = Placement::explicit([first]);
        let runtime = Runtime::builder().ring(ring).placement(plan).build().unwrap();
        assert_eq!(seen(&runtime), [(vec![first], first)]);
        let place = runtime.placements()[0].ring;
        assert_eq!((place.cpu, place.workers), (Wish::Done, Wish::NotAsked));
    });
}
