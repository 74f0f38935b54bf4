//! The end of a runtime: what is dropped where, what is reported, and what outlives it.
#![cfg(feature = "runtime")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::cell::RefCell;
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use common::alone::{alone, describe_descriptors, descriptors};
use common::net::unix_pair;
use common::within_deadline;
use safer_ring::runtime::{self, SpawnError};
use safer_ring::{Runtime, local};

fn two_threads() -> Runtime {
    Runtime::builder().threads(2).build().unwrap()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(100)
}

fn later() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

/// Tells where it is dropped.
struct Tells(Arc<Mutex<Vec<Option<usize>>>>);

impl Drop for Tells {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(runtime::thread_index());
    }
}

#[test]
fn a_shutdown_drops_the_tasks_of_every_thread_on_their_thread() {
    within_deadline(|| {
        let runtime = two_threads();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut handles = Vec::new();
        for thread in [0, 1] {
            for kind in 0..3 {
                let tells = Tells(Arc::clone(&seen));
                let make = move || async move {
                    let _tells = tells;
                    let (a, _b) = unix_pair();
                    match kind {
                        0 => drop(runtime::ring().recv(&a, vec![0; 8]).await),
                        1 => runtime::sleep(Duration::from_secs(600)).await,
                        _ => loop {
                            runtime::yield_now().await;
                        },
                    }
                };
                handles.push(runtime.handle().spawn_on(thread, make).unwrap());
            }
        }
        runtime.block_on(runtime_sleep());
        let handle = runtime.handle();
        let report = runtime.shutdown(later());
        assert!(report.is_complete(), "{report}");
        let tasks: Vec<_> =
            report.threads().iter().map(|t| (t.thread(), t.cancelled_tasks())).collect();
        assert_eq!(tasks, [(0, 3), (1, 3)]);
        let mut seen = seen.lock().unwrap().clone();
        seen.sort_unstable();
        assert_eq!(seen, [Some(0), Some(0), Some(0), Some(1), Some(1), Some(1)]);
        for task in handles {
            assert!(pollster::block_on(task).unwrap_err().is_cancelled());
        }
        assert_eq!(handle.spawn_on(1, || async {}).unwrap_err(), SpawnError::Ended);
        assert_eq!(handle.spawn_on(0, || async {}).unwrap_err(), SpawnError::Ended);
    });
}

async fn runtime_sleep() {
    runtime::sleep(Duration::from_millis(20)).await;
}

#[test]
fn a_shutdown_waits_for_sends_that_go_on_and_names_those_that_do_not_end() {
    within_deadline(|| {
        let runtime = two_threads();
        let (mut reads, full) = std::os::unix::net::UnixStream::pair().unwrap();
        let task = runtime.handle().spawn_on(1, move || async move {
            let fd = local::Fd::new(full);
            loop {
                // Until it does not fit: nobody reads.
                runtime::ring().send(&fd, vec![0; 1 << 20]).await.unwrap();
            }
        });
        runtime.block_on(runtime_sleep());
        let report = runtime.shutdown(soon());
        assert!(!report.is_complete(), "{report:?}");
        let thread = &report.threads()[1];
        assert!(thread.has_ended() && thread.cancelled_tasks() == 1);
        assert_eq!(thread.left().left()[0].name, "send", "{report}");
        assert!(
            report.to_string().contains("thread 1: 1 tasks cancelled, 1 operation"),
            "{report}"
        );
        assert!(pollster::block_on(task.unwrap()).unwrap_err().is_cancelled());
        use std::io::Read;
        assert!(reads.read(&mut [0; 16]).unwrap() > 0);
    });
}

#[test]
fn a_thread_that_does_not_return_is_named_and_left() {
    within_deadline(|| {
        let runtime = Runtime::builder().threads(3).build().unwrap();
        let (release, released) = mpsc::channel::<()>();
        let stuck = runtime.handle().spawn_on(2, move || async move {
            // An error: the test is over.
            let _ = released.recv();
        });
        let report = runtime.shutdown(soon());
        let ended: Vec<_> = report.threads().iter().map(|thread| thread.has_ended()).collect();
        assert_eq!(ended, [true, true, false]);
        assert!(
            !report.is_complete() && report.to_string().contains("does not return"),
            "{report}"
        );
        drop((release, stuck));
    });
}

#[test]
fn dropping_a_runtime_with_tasks_in_flight_leaves_nothing_behind() {
    alone("dropping_a_runtime_with_tasks_in_flight_leaves_nothing_behind", || {
        let once = || {
            let runtime = two_threads();
            for thread in [0, 1] {
                let task = runtime.handle().spawn_on(thread, || async {
                    let (a, b) = unix_pair();
                    let (c, d): (local::Fd, local::Fd) = unix_pair();
                    let inner = runtime::spawn(async move {
                        runtime::ring().recv(&c, vec![0; 64]).await.unwrap();
                        drop(d);
                    });
                    runtime::ring().recv(&a, vec![0; 64]).await.unwrap();
                    drop((b, inner));
                });
                drop(task.unwrap());
            }
            runtime.block_on(runtime_sleep());
        };
        once();
        let (before, threads) = (descriptors(), count_threads());
        for _ in 0..10 {
            once();
        }
        assert_eq!(descriptors(), before, "{:#?}", describe_descriptors());
        assert_threads(threads);
    });
}

fn count_threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

/// The kernel lists a thread for a moment after it was joined.
#[track_caller]
fn assert_threads(expected: usize) {
    let patience = Instant::now() + Duration::from_secs(5);
    while count_threads() != expected && Instant::now() < patience {
        std::thread::yield_now();
    }
    assert_eq!(count_threads(), expected);
}

#[test]
fn a_runtime_that_did_not_come_about_leaves_nothing_behind() {
    alone("a_runtime_that_did_not_come_about_leaves_nothing_behind", || {
        let (before, threads) = (descriptors(), count_threads());
        for bad in [0, 2] {
            let hook = move |thread| assert!(thread != bad, "on purpose");
            let builder = Runtime::builder().threads(3).on_thread_start(hook);
            let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| builder.build()));
            assert!(!matches!(made, Ok(Ok(_))));
            assert_eq!(descriptors(), before, "{:#?}", describe_descriptors());
            assert_threads(threads);
        }
    });
}

#[test]
fn a_runtime_after_another_works_and_two_at_once() {
    within_deadline(|| {
        for _ in 0..3 {
            let (first, second) = (two_threads(), two_threads());
            let to_second = second.handle();
            let answer = first.block_on(async {
                let there = to_second.spawn_on(1, || async {
                    runtime::ring().nop().await.unwrap();
                    runtime::thread_index()
                });
                there.unwrap().await.unwrap()
            });
            assert_eq!(answer, Some(1));
            drop(first);
            second.block_on(runtime_sleep());
        }
    });
}

#[test]
fn wakers_outlive_the_runtime_and_the_thread() {
    within_deadline(|| {
        let wakers = Arc::new(Mutex::new(Vec::<Waker>::new()));
        let runtime = two_threads();
        for thread in [0, 1] {
            let wakers = Arc::clone(&wakers);
            let task = runtime.handle().spawn_on(thread, move || {
                // Not for another thread's hands.
                let local = Rc::new(RefCell::new(0));
                poll_fn(move |cx| {
                    *local.borrow_mut() += 1;
                    wakers.lock().unwrap().push(cx.waker().clone());
                    Poll::<()>::Pending
                })
            });
            drop(task.unwrap());
        }
        runtime.block_on(async {
            let wakers = Arc::clone(&wakers);
            poll_fn(move |cx| {
                wakers.lock().unwrap().push(cx.waker().clone());
                Poll::Ready(())
            })
            .await;
            runtime_sleep().await;
        });
        assert!(runtime.shutdown(later()).is_complete());
        assert_eq!(wakers.lock().unwrap().len(), 3);
        for waker in wakers.lock().unwrap().drain(..) {
            waker.wake_by_ref();
            thread::spawn(move || waker.wake()).join().unwrap();
        }
    });
}

#[test]
fn a_runtime_that_is_dropped_while_others_wake_its_tasks_drops_each_once_on_its_thread() {
    const TASKS: usize = 50;
    struct Counted(Arc<AtomicUsize>, thread::ThreadId);
    impl Drop for Counted {
        fn drop(&mut self) {
            assert_eq!(thread::current().id(), self.1);
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    within_deadline(|| {
        for _ in 0..20 {
            let runtime = two_threads();
            let (wakers, dropped) = (Arc::new(Mutex::new(Vec::new())), Arc::default());
            for number in 0..TASKS {
                let (wakers, dropped) = (Arc::clone(&wakers), Arc::clone(&dropped));
                let task = runtime.handle().spawn_on(number % 2, move || {
                    let counted = Counted(dropped, thread::current().id());
                    poll_fn(move |cx| {
                        let _ = &counted;
                        wakers.lock().unwrap().push(cx.waker().clone());
                        Poll::<()>::Pending
                    })
                });
                drop(task.unwrap());
            }
            let over = Arc::new(AtomicBool::new(false));
            let waking: Vec<_> = (0..2)
                .map(|_| {
                    let (wakers, over) = (Arc::clone(&wakers), Arc::clone(&over));
                    thread::spawn(move || {
                        while !over.load(Ordering::Relaxed) {
                            // Taken out, so that some are the last of their task.
                            let waker: Option<Waker> = wakers.lock().unwrap().pop();
                            if let Some(waker) = waker {
                                waker.wake();
                            }
                        }
                    })
                })
                .collect();
            runtime.block_on(runtime::sleep(Duration::from_millis(2)));
            let report = runtime.shutdown(later());
            assert!(report.is_complete(), "{report}");
            over.store(true, Ordering::Relaxed);
            waking.into_iter().for_each(|thread| thread.join().unwrap());
            assert_eq!(dropped.load(Ordering::SeqCst), TASKS);
        }
    });
}

#[test]
fn tasks_started_by_destructors_at_the_end_are_cancelled() {
    struct Once(mpsc::Sender<bool>);
    impl Drop for Once {
        fn drop(&mut self) {
            let task = runtime::try_spawn(pending::<()>()).unwrap();
            self.0.send(task.is_finished()).unwrap();
        }
    }
    within_deadline(|| {
        let (sender, receiver) = mpsc::channel();
        let runtime = Runtime::new().unwrap();
        let once = Once(sender);
        drop(runtime.spawn(async move {
            let _once = once;
            pending::<()>().await;
        }));
        runtime.block_on(runtime::yield_now());
        assert!(runtime.shutdown(later()).is_complete());
        assert!(receiver.recv().unwrap(), "it is cancelled at once");
    });
}

#[test]
fn a_panic_in_block_on_leaves_a_runtime_that_works() {
    within_deadline(|| {
        let runtime = two_threads();
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime.block_on(async {
                runtime::ring().nop().await.unwrap();
                panic!("on purpose");
            })
        }));
        assert!(caught.is_err());
        assert_eq!(runtime::thread_index(), None);
        let task = runtime.handle().spawn_on(1, || async { 1 }).unwrap();
        assert_eq!(runtime.block_on(task).unwrap(), 1);
        assert!(runtime.shutdown(later()).is_complete());
    });
}
