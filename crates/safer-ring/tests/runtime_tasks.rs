//! Tasks of a runtime: where they run, how they end, and who hears of it.
#![cfg(feature = "runtime")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use common::net::unix_pair;
use common::within_deadline;
use futures_util::future::{FutureExt, join, join_all};
use safer_ring::runtime::{self, Handle, SpawnError};
use safer_ring::{Runtime, local};

fn two_threads() -> Runtime {
    Runtime::builder().threads(2).build().unwrap()
}

/// Sends a word when it is dropped, with the number of the thread it is dropped on.
struct Tells(mpsc::Sender<Option<usize>>);

impl Drop for Tells {
    fn drop(&mut self) {
        let _ = self.0.send(runtime::thread_index());
    }
}

#[test]
fn a_task_gives_its_result_and_may_hold_what_is_not_send() {
    within_deadline(|| {
        let runtime = Runtime::new().unwrap();
        let count = Rc::new(Cell::new(0));
        let sum = runtime.block_on(async {
            let tasks: Vec<_> = (0..100)
                .map(|number| {
                    let count = Rc::clone(&count);
                    runtime::spawn(async move {
                        runtime::ring().nop().await.unwrap();
                        count.set(count.get() + 1);
                        number
                    })
                })
                .collect();
            join_all(tasks).await.into_iter().map(Result::unwrap).sum::<i32>()
        });
        assert_eq!((sum, count.get()), (4950, 100));
    });
}

#[test]
fn tasks_outlive_the_block_on_that_started_them() {
    within_deadline(|| {
        let runtime = Runtime::new().unwrap();
        let early = runtime.spawn(async { 1 });
        let task =
            runtime.block_on(std::future::ready(()).map(|()| runtime::spawn(runtime::yield_now())));
        runtime.block_on(task).unwrap();
        assert_eq!(runtime.block_on(early).unwrap(), 1);
    });
}

#[test]
fn a_future_that_is_not_send_is_made_and_dropped_on_its_thread() {
    within_deadline(|| {
        let runtime = two_threads();
        let handle = runtime.handle();
        let (sender, receiver) = mpsc::channel();
        let task = handle.spawn_on(1, move || {
            let made_on = runtime::thread_index();
            let local = Rc::new(RefCell::new(Tells(sender)));
            async move {
                runtime::ring().nop().await.unwrap();
                drop(local);
                (made_on, runtime::thread_index())
            }
        });
        let task = task.unwrap();
        assert_eq!(runtime.block_on(task).unwrap(), (Some(1), Some(1)));
        assert_eq!(receiver.recv().unwrap(), Some(1));
        assert_eq!(runtime::thread_index(), None);
    });
}

#[test]
fn a_handle_starts_tasks_from_a_thread_outside() {
    within_deadline(|| {
        let runtime = two_threads();
        let handle = runtime.handle();
        let from_outside = thread::spawn(move || {
            let task = handle.spawn_on(1, || async { 7 }).unwrap();
            // Any executor can await it.
            pollster::block_on(task).unwrap()
        });
        assert_eq!(from_outside.join().unwrap(), 7);
    });
}

#[test]
fn a_thread_that_does_not_exist_is_an_error() {
    let runtime = Runtime::new().unwrap();
    let error = runtime.handle().spawn_on(1, || async {}).unwrap_err();
    assert_eq!(error, SpawnError::NoThread { thread: 1, threads: 1 });
    assert_eq!(runtime::try_spawn(async {}).unwrap_err(), SpawnError::NotInRuntime);
    assert!(runtime::try_ring().is_none() && Handle::try_current().is_none());
    assert!(Runtime::builder().threads(0).build().is_err());
    let polling = safer_ring::Ring::builder().iopoll(true).local();
    assert!(Runtime::builder().ring(polling).build().is_err());
}

#[test]
fn a_hook_that_panics_on_another_thread_is_an_error_of_the_builder() {
    within_deadline(|| {
        let hook = |thread| assert!(thread != 2, "on purpose");
        let error = Runtime::builder().threads(3).on_thread_start(hook).build().unwrap_err();
        assert!(matches!(error, runtime::StartError::Panicked { thread: 2 }), "{error}");
    });
}

#[test]
fn the_hook_runs_on_every_thread_before_its_ring_is_made() {
    within_deadline(|| {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sees = Arc::clone(&seen);
        let hook = move |thread| {
            let name = thread::current().name().unwrap_or_default().to_owned();
            sees.lock().unwrap().push((thread, name, runtime::try_ring().is_none()));
        };
        let builder = Runtime::builder().threads(3).thread_name("crew").stack_size(1 << 20);
        drop(builder.on_thread_start(hook).build().unwrap());
        let mut seen = seen.lock().unwrap().clone();
        seen.sort();
        assert_eq!(seen.iter().map(|seen| seen.0).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!((seen[1].1.as_str(), seen[2].1.as_str()), ("crew-1", "crew-2"));
        assert!(seen.iter().all(|seen| seen.2));
    });
}

#[test]
fn a_panicking_task_tells_its_handle_and_leaves_its_thread_alone() {
    within_deadline(|| {
        let runtime = two_threads();
        let handle = runtime.handle();
        runtime.block_on(async {
            let here = runtime::spawn(async { std::panic::panic_any(7_u32) }).await;
            let payload = here.unwrap_err().try_into_panic().unwrap();
            assert_eq!(payload.downcast_ref::<u32>(), Some(&7));
            let there = handle.spawn_on(1, || async { panic!("on purpose") }).unwrap();
            let error = there.await.unwrap_err();
            assert!(error.is_panic() && error.to_string().contains("on purpose"), "{error}");
            let made = || -> std::future::Ready<()> { panic!("on purpose") };
            assert!(handle.spawn_on(1, made).unwrap().await.unwrap_err().is_panic());
            let blocking = runtime::spawn_blocking(|| panic!("on purpose"));
            assert!(blocking.await.unwrap_err().is_panic());
            assert_eq!(handle.spawn_on(1, || async { 1 }).unwrap().await.unwrap(), 1);
        });
    });
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(thread::panicking(), "a destructor that panics, on purpose");
    }
}

#[test]
fn destructors_that_panic_harm_nobody_else() {
    within_deadline(|| {
        let runtime = two_threads();
        let handle = runtime.handle();
        runtime.block_on(async {
            // In the future, in an aborted future, in a result that nobody takes.
            let bomb = Bomb;
            runtime::spawn(async move {
                let _bomb = bomb;
            })
            .await
            .unwrap_err();
            let bomb = Bomb;
            let aborted = runtime::spawn(async move {
                let _bomb = bomb;
                pending::<()>().await;
            });
            runtime::yield_now().await;
            aborted.abort();
            assert!(aborted.await.unwrap_err().is_cancelled());
            drop(handle.spawn_on(1, || async { Bomb }).unwrap());
            drop(runtime::spawn(async { Bomb }));
            runtime::yield_now().await;
            assert_eq!(handle.spawn_on(1, || async { 1 }).unwrap().await.unwrap(), 1);
            let bomb = Bomb;
            drop(runtime::spawn(async move {
                let _bomb = bomb;
                pending::<()>().await;
            }));
        });
        let report = runtime.shutdown(Instant::now() + Duration::from_secs(5));
        assert!(report.is_complete(), "{report}");
    });
}

#[test]
fn an_aborted_task_is_dropped_on_its_thread() {
    within_deadline(|| {
        let runtime = two_threads();
        let handle = runtime.handle();
        let (sender, receiver) = mpsc::channel();
        for thread in [0, 1] {
            let sender = sender.clone();
            let begun = Arc::new(AtomicBool::new(false));
            let begins = Arc::clone(&begun);
            let task = handle.spawn_on(thread, move || {
                let (a, b) = unix_pair();
                async move {
                    let _tells = Tells(sender);
                    begins.store(true, Ordering::SeqCst);
                    runtime::ring().recv(&a, vec![0; 8]).await.unwrap();
                    drop(b);
                }
            });
            let task = task.unwrap();
            let abort = task.abort_handle();
            runtime.block_on(async {
                // One that is aborted before it began has nothing that tells.
                while !begun.load(Ordering::SeqCst) {
                    runtime::sleep(Duration::from_millis(5)).await;
                }
                assert!(!abort.is_finished());
                thread::spawn(move || abort.abort()).join().unwrap();
                assert!(task.await.unwrap_err().is_cancelled());
            });
            assert_eq!(receiver.recv().unwrap(), Some(thread));
        }
    });
}

#[test]
fn aborting_a_task_that_has_ended_keeps_its_result() {
    within_deadline(|| {
        Runtime::new().unwrap().block_on(async {
            let task = runtime::spawn(async { 5 });
            runtime::yield_now().await;
            assert!(task.is_finished());
            task.abort();
            assert_eq!(task.await.unwrap(), 5);
        });
    });
}

#[test]
fn a_task_aborted_before_it_began_never_runs() {
    within_deadline(|| {
        let runtime = Runtime::new().unwrap();
        let made = Arc::new(AtomicBool::new(false));
        let makes = Arc::clone(&made);
        let task = runtime.handle().spawn_on(0, move || {
            makes.store(true, Ordering::SeqCst);
            pending::<()>()
        });
        let task = task.unwrap();
        task.abort();
        assert!(runtime.block_on(task).unwrap_err().is_cancelled());
        assert!(!made.load(Ordering::SeqCst));
    });
}

#[test]
fn a_task_that_always_wakes_itself_starves_nobody() {
    within_deadline(|| {
        let runtime = two_threads();
        let handle = runtime.handle();
        let over = Arc::new(AtomicBool::new(false));
        let spin = |over: Arc<AtomicBool>| {
            poll_fn(move |cx| {
                cx.waker().wake_by_ref();
                if over.load(Ordering::Relaxed) { Poll::Ready(()) } else { Poll::Pending }
            })
        };
        let spinners: Vec<_> = [0, 1]
            .map(|thread| {
                let over = Arc::clone(&over);
                handle.spawn_on(thread, move || spin(over)).unwrap()
            })
            .into();
        runtime.block_on(async {
            let (a, b) = unix_pair();
            let ring = runtime::ring();
            for _ in 0..50 {
                // Its own operations, its own timers, and letters to and from the other one.
                let (got, sent) =
                    join(ring.recv(&a, vec![0; 4]), ring.send(&b, b"ping".to_vec())).await;
                assert_eq!((got.unwrap().0, sent.unwrap().0), (4, 4));
                runtime::sleep(Duration::from_micros(100)).await;
                let there = || async { runtime::ring().nop().await };
                handle.spawn_on(1, there).unwrap().await.unwrap().unwrap();
            }
            over.store(true, Ordering::Relaxed);
            join_all(spinners).await.into_iter().for_each(Result::unwrap);
        });
    });
}

#[test]
fn a_hundred_thousand_wakes_between_threads_are_all_heard() {
    let rounds = 50_000 / common::slowness();
    within_deadline(move || {
        let runtime = two_threads();
        let handle = runtime.handle();
        let (ping, pinged) = async_channel::bounded::<u32>(1);
        let (pong, ponged) = async_channel::bounded::<u32>(1);
        let echo = handle.spawn_on(1, move || async move {
            let mut last = 0;
            while let Ok(number) = pinged.recv().await {
                last = number;
                pong.send(number).await.unwrap();
            }
            last
        });
        let echo = echo.unwrap();
        // As a task and as the future of `block_on`: they have different wakers.
        runtime.block_on(async move {
            let task = runtime::spawn(async move {
                for number in 0..rounds / 2 {
                    ping.send(number).await.unwrap();
                    assert_eq!(ponged.recv().await.unwrap(), number);
                }
                (ping, ponged)
            });
            let (ping, ponged) = task.await.unwrap();
            for number in rounds / 2..rounds {
                ping.send(number).await.unwrap();
                assert_eq!(ponged.recv().await.unwrap(), number);
            }
            drop(ping);
            assert_eq!(echo.await.unwrap(), rounds - 1);
        });
    });
}

#[test]
fn wakes_from_many_threads_outside_are_all_heard() {
    const SENDERS: u32 = 4;
    const EACH: u32 = 5_000;
    within_deadline(|| {
        let runtime = two_threads();
        let (sender, receiver) = flume::bounded::<u32>(2);
        let senders: Vec<_> = (0..SENDERS)
            .map(|_| {
                let sender = sender.clone();
                thread::spawn(move || (0..EACH).for_each(|number| sender.send(number).unwrap()))
            })
            .collect();
        drop(sender);
        let take = |receiver: flume::Receiver<u32>| async move {
            let ring = runtime::ring();
            let mut count = 0;
            while receiver.recv_async().await.is_ok() {
                count += 1;
                // Wakes meet every state of the thread, also that in which it hands operations over.
                if count % 3 == 0 {
                    ring.nop().await.unwrap();
                }
            }
            count
        };
        let there = receiver.clone();
        let there = runtime.handle().spawn_on(1, move || take(there)).unwrap();
        let here = runtime.spawn(take(receiver));
        let (here, there) = runtime.block_on(join(here, there));
        assert_eq!(here.unwrap() + there.unwrap(), SENDERS * EACH);
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    });
}

#[test]
fn channels_of_other_crates_work_between_threads() {
    within_deadline(|| {
        let runtime = two_threads();
        let (sender, receiver) = tokio::sync::mpsc::channel::<String>(4);
        let (answer, answered) = tokio::sync::oneshot::channel::<usize>();
        let task = runtime.handle().spawn_on(1, move || async move {
            let mut receiver = receiver;
            let mut all = 0;
            while let Some(text) = receiver.recv().await {
                all += text.len();
            }
            answer.send(all).unwrap();
        });
        runtime.block_on(async {
            for _ in 0..100 {
                sender.send("four".into()).await.unwrap();
            }
            drop(sender);
            assert_eq!(answered.await.unwrap(), 400);
            task.unwrap().await.unwrap();
        });
    });
}

#[test]
fn a_nested_block_on_runs_the_tasks_and_comes_back() {
    within_deadline(|| {
        let runtime = Rc::new(Runtime::new().unwrap());
        let inner = Rc::clone(&runtime);
        let other = Runtime::new().unwrap();
        let task = runtime.spawn(async move {
            let helper = runtime::spawn(async { runtime::ring().nop().await });
            inner.block_on(helper).unwrap().unwrap();
            let outer = runtime::ring();
            other.block_on(async { runtime::ring().nop().await }).unwrap();
            outer.nop().await.unwrap();
        });
        runtime.block_on(task).unwrap();
    });
}

#[test]
fn tasks_take_turns() {
    within_deadline(|| {
        let order = Rc::new(RefCell::new(Vec::new()));
        Runtime::new().unwrap().block_on(async {
            let tasks = (0..3).map(|task| {
                let order = Rc::clone(&order);
                runtime::spawn(async move {
                    for round in 0..3 {
                        order.borrow_mut().push((round, task));
                        runtime::yield_now().await;
                    }
                })
            });
            join_all(tasks.collect::<Vec<_>>()).await.into_iter().for_each(Result::unwrap);
        });
        let wanted: Vec<_> =
            (0..3).flat_map(|round| (0..3).map(move |task| (round, task))).collect();
        assert_eq!(*order.borrow(), wanted);
    });
}

#[test]
fn what_many_tasks_start_goes_to_the_kernel_in_one_call() {
    const TASKS: u64 = 60;
    within_deadline(|| {
        let runtime = Runtime::new().unwrap();
        let ring: local::Ring = runtime.ring().clone();
        runtime.block_on(async {
            let before = ring.snapshot();
            let tasks: Vec<_> = (0..TASKS)
                .map(|_| {
                    let ring = ring.clone();
                    runtime::spawn(async move { ring.nop().await })
                })
                .collect();
            for task in join_all(tasks).await {
                task.unwrap().unwrap();
            }
            let after = ring.snapshot();
            assert_eq!(after.submitted - before.submitted, TASKS);
            assert!(after.enters - before.enters <= 3, "{before:?} {after:?}");
        });
    });
}

#[test]
fn wakes_on_the_own_thread_cost_no_system_call() {
    const TURNS: u64 = 6_400;
    within_deadline(|| {
        let runtime = Runtime::new().unwrap();
        let ring = runtime.ring().clone();
        runtime.block_on(async {
            let before = ring.snapshot().enters;
            let turns = || async {
                for _ in 0..TURNS / 64 {
                    runtime::yield_now().await;
                }
            };
            let tasks: Vec<_> = (0..64).map(|_| runtime::spawn(turns())).collect();
            join_all(tasks).await.into_iter().for_each(Result::unwrap);
            let enters = ring.snapshot().enters - before;
            // The looks at the ring.
            assert!(enters <= TURNS / 32 + 4, "{enters}");
        });
    });
}

#[test]
fn a_waker_that_panics_takes_no_thread_down() {
    struct Panics;
    impl std::task::Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker that panics, on purpose");
        }
    }
    within_deadline(|| {
        let runtime = two_threads();
        let handle = runtime.handle();
        let woken = handle.spawn_on(1, || async {
            let waker = Waker::from(Arc::new(Panics));
            let mut nop = pin!(runtime::ring().nop());
            assert!(nop.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            runtime::sleep(Duration::from_millis(1)).await;
            nop.await
        });
        assert!(runtime.block_on(woken.unwrap()).unwrap().is_ok());
        let after = handle.spawn_on(1, || async { runtime::ring().nop().await });
        assert!(runtime.block_on(after.unwrap()).unwrap().is_ok());
        assert!(runtime.shutdown(Instant::now() + Duration::from_secs(10)).is_complete());
    });
}

#[test]
fn a_handle_that_is_polled_by_hand_wakes_the_last_waker() {
    struct Count(AtomicU32);
    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    within_deadline(|| {
        let runtime = Runtime::new().unwrap();
        let mut task = pin!(runtime.spawn(async {}));
        let count = Arc::new(Count(AtomicU32::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        assert!(task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert!(task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        runtime.block_on(runtime::yield_now());
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert!(task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
    });
}
