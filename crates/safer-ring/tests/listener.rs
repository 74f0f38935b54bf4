//! Who hears of the completions of a shared ring in a program on tokio: the runtime's own poller, and the reactor's thread
//! wherever that poller is not there, or does not hear.
#![cfg(feature = "tokio")]
#![allow(unsafe_code, clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use common::alone::{alone, descriptors};
use common::naps::{assert_it_sleeps, naps_of_the_reactor};
use common::net::{shared, unix_pair};
use common::within_deadline;
use safer_ring::{Fd, Ring};
use tokio::runtime::{Builder, Runtime};

fn workers(number: usize) -> Runtime {
    Builder::new_multi_thread().worker_threads(number).enable_all().build().unwrap()
}

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// A receive that has to wait, and whose bytes come from a thread that knows no ring.
async fn wait_for_a_thread(ring: &Ring, number: u8) {
    let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
    let near = Fd::new(near);
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(5));
        std::io::Write::write_all(&mut &far, &[number]).unwrap();
    });
    assert_eq!(ring.recv(&near, vec![0; 4]).await.unwrap().1, [number]);
    thread.join().unwrap();
}

/// The same from a task that does not know the executor.
fn blocking_wait(ring: &Ring, number: u8) {
    pollster::block_on(wait_for_a_thread(ring, number));
}

/// Two tasks that send each other a byte, so that each receive has to wait.
async fn ping_pong(ring: Ring, rounds: usize) {
    let (a, b) = unix_pair::<safer_ring::Shared>();
    let other = ring.clone();
    let echo = tokio::spawn(async move {
        for _ in 0..rounds {
            let (n, buffer) = other.recv(&b, vec![0; 1]).await.unwrap();
            assert_eq!(n, 1);
            other.send(&b, buffer).await.unwrap();
        }
    });
    let mut buffer = vec![7];
    for _ in 0..rounds {
        buffer = ring.send(&a, buffer).await.unwrap().1;
        buffer = ring.recv(&a, buffer).await.unwrap().1;
    }
    echo.await.unwrap();
}

#[test]
fn the_runtime_hears_and_the_reactor_sleeps() {
    alone("the_runtime_hears_and_the_reactor_sleeps", || {
        for (name, runtime) in [("two workers", workers(2)), ("one thread", current_thread())] {
            assert_it_sleeps(name, |begin| {
                let ring = shared(8);
                // A task each, so that every worker has left something in flight.
                let again = ring.clone();
                runtime.block_on(async { tokio::spawn(ping_pong(again, 100)).await.unwrap() });
                begin();
                runtime.block_on(async { tokio::spawn(ping_pong(ring, 2000)).await.unwrap() });
            });
        }
    });
}

#[test]
fn a_worker_that_blocks_on_an_operation_is_not_stuck() {
    within_deadline(|| {
        let ring = shared(8);
        let runtime = workers(1);
        let again = ring.clone();
        runtime.block_on(async { tokio::spawn(ping_pong(again, 10)).await.unwrap() });
        // The only worker sleeps elsewhere: nobody is in the runtime's poller.
        let again = ring.clone();
        runtime.block_on(async {
            tokio::spawn(async move { blocking_wait(&again, 1) }).await.unwrap()
        });
        // From now on the reactor hears at once; the program goes on as before.
        runtime.block_on(async { tokio::spawn(ping_pong(ring, 10)).await.unwrap() });
    });
}

/// Until the reactor has stopped to look after the runtimes.
fn wait_for_quiet() {
    let mut naps = naps_of_the_reactor();
    // Longer than the longest time between two looks.
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(1500));
        let now = naps_of_the_reactor();
        if now == naps {
            return;
        }
        naps = now;
    }
    panic!("it looks and looks");
}

#[test]
fn a_quiet_ring_is_heard_by_the_reactor_until_something_waits_again() {
    alone("a_quiet_ring_is_heard_by_the_reactor_until_something_waits_again", || {
        let (ring, runtime) = (shared(8), workers(1));
        assert_it_sleeps("one worker", |begin| {
            let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
            let again = ring.clone();
            let waits = runtime.spawn(async move { again.recv(&Fd::new(near), vec![0; 4]).await });
            wait_for_quiet();
            // The only worker sleeps elsewhere: nobody is in the runtime's poller.
            let again = ring.clone();
            let blocks = runtime.spawn(async move {
                let before = again.snapshot().completed;
                std::io::Write::write_all(&mut &far, &[1]).unwrap();
                while again.snapshot().completed == before {
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            runtime.block_on(blocks).unwrap();
            assert_eq!(runtime.block_on(waits).unwrap().unwrap().1, [1]);
            // And the runtime has it back.
            let again = ring.clone();
            runtime.block_on(async { tokio::spawn(ping_pong(again, 100)).await.unwrap() });
            begin();
            let again = ring.clone();
            runtime.block_on(async { tokio::spawn(ping_pong(again, 2000)).await.unwrap() });
        });
    });
}

#[test]
fn a_runtime_that_nobody_runs_does_not_keep_completions() {
    within_deadline(|| {
        let ring = shared(8);
        let runtime = current_thread();
        runtime.block_on(wait_for_a_thread(&ring, 1));
        {
            let _inside = runtime.enter();
            blocking_wait(&ring, 2);
        }
        blocking_wait(&ring, 3);
        let other = current_thread();
        other.block_on(wait_for_a_thread(&ring, 4));
        runtime.block_on(wait_for_a_thread(&ring, 5));
    });
}

#[test]
fn a_runtime_that_ends_gives_the_rings_back() {
    within_deadline(|| {
        let ring = shared(8);
        let (near, far) = unix_pair::<safer_ring::Shared>();
        let runtime = workers(2);
        // Begun on a worker, awaited after the runtime has gone.
        let (again, handle) = (ring.clone(), near.clone());
        let (sender, receiver) = std::sync::mpsc::channel();
        runtime.spawn(async move {
            let mut receive = again.recv(&handle, vec![0; 4]);
            assert!(common::net::poll_once(&mut receive).is_pending());
            sender.send(receive).unwrap();
        });
        let receive = receiver.recv().unwrap();
        drop(runtime);
        pollster::block_on(ring.send(&far, vec![9])).unwrap();
        assert_eq!(pollster::block_on(receive).unwrap().1, [9]);
        for number in 0..3 {
            let runtime = workers(2);
            let again = ring.clone();
            runtime.block_on(async move {
                tokio::spawn(async move { wait_for_a_thread(&again, number).await }).await.unwrap();
            });
            runtime.shutdown_background();
            blocking_wait(&ring, number);
        }
    });
}

#[test]
fn threads_of_the_blocking_pool_use_a_ring() {
    within_deadline(|| {
        let ring = shared(8);
        let runtime = workers(2);
        runtime.block_on(async {
            let calls: Vec<_> = (0..8)
                .map(|number| {
                    let ring = ring.clone();
                    tokio::task::spawn_blocking(move || blocking_wait(&ring, number))
                })
                .collect();
            for call in calls {
                call.await.unwrap();
            }
            tokio::spawn(ping_pong(ring.clone(), 10)).await.unwrap();
        });
    });
}

#[test]
fn a_runtime_without_io_is_served_all_the_same() {
    // In a process of its own: tokio says by a panic that it has no I/O, which is caught, but printed.
    alone("a_runtime_without_io_is_served_all_the_same", || {
        let ring = shared(8);
        let runtime = Builder::new_multi_thread().worker_threads(2).build().unwrap();
        for number in 0..3 {
            let again = ring.clone();
            runtime.block_on(async move {
                tokio::spawn(async move { wait_for_a_thread(&again, number).await }).await.unwrap();
            });
        }
        let with_io = workers(2);
        with_io.block_on(async { tokio::spawn(ping_pong(ring, 10)).await.unwrap() });
    });
}

#[test]
fn rings_leave_no_descriptor_in_a_runtime() {
    alone("rings_leave_no_descriptor_in_a_runtime", || {
        let runtime = workers(2);
        let once = |count: usize| {
            for _ in 0..count {
                let ring = shared(8);
                runtime.block_on(async { tokio::spawn(ping_pong(ring, 20)).await.unwrap() });
            }
        };
        once(3);
        let before = descriptors();
        once(20);
        // The kernel rings of the last ones may still be closing.
        let mut left = descriptors();
        for _ in 0..1000 {
            if left <= before {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
            left = descriptors();
        }
        assert!(left <= before, "{left} descriptors, {before} before");
    });
}

#[test]
fn a_panicking_waker_does_not_end_the_poller_of_the_runtime() {
    struct Panics;
    impl std::task::Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("on purpose");
        }
    }
    /// Whether it waits.
    fn poll_with(future: &mut (impl Future + Unpin), waker: Arc<Panics>) -> bool {
        let waker = std::task::Waker::from(waker);
        let mut context = std::task::Context::from_waker(&waker);
        std::pin::Pin::new(future).poll(&mut context).is_pending()
    }
    within_deadline(|| {
        let ring = shared(8);
        let runtime = workers(1);
        runtime.block_on(async {
            tokio::spawn(async move {
                let (near, far) = unix_pair::<safer_ring::Shared>();
                let mut receive = ring.recv(&near, vec![0; 4]);
                assert!(poll_with(&mut receive, Arc::new(Panics)));
                let far = std::os::unix::net::UnixStream::from(far.try_into_owned().unwrap());
                // Nobody uses the ring meanwhile: the poller takes the completion in, and wakes.
                std::io::Write::write_all(&mut &far, &[5]).unwrap();
                while ring.snapshot().completed == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                assert_eq!(receive.await.unwrap().1, [5]);
                ping_pong(ring, 10).await;
            })
            .await
            .unwrap();
        });
    });
}

/// One kernel ring that threads inside and outside of the runtime take turns to wait in, each with another idea of who
/// should hear of it.
#[test]
fn changes_of_who_hears_that_meet_lose_no_completion() {
    within_deadline(|| {
        let ring = Ring::builder().entries(8).max_rings(1).build().unwrap();
        let runtime = workers(2);
        let outside: Vec<_> = (0..2)
            .map(|_| {
                let ring = ring.clone();
                std::thread::spawn(move || {
                    for _ in 0..2000 {
                        pollster::block_on(ring.timeout(Duration::from_micros(20))).unwrap();
                    }
                })
            })
            .collect();
        let inside: Vec<_> = (0..4).map(|_| runtime.spawn(ping_pong(ring.clone(), 2000))).collect();
        for task in inside {
            runtime.block_on(task).unwrap();
        }
        for thread in outside {
            thread.join().unwrap();
        }
    });
}
