//! The same program in every kind of executor, and what executors do to a ring.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests"
)]

mod common;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use common::alone::{alone, cpu_time};
use common::net::{poll_once, settled, shared, unix_pair, until};
use common::{Exec, OnLocal, OnPollster, OnTokio, pattern, with_built, within_deadline};
use futures_util::future::{join, join_all};
use futures_util::stream::{FuturesUnordered, StreamExt};
use safer_ring::{Address, Fd, IoBuf, Local, Mode, OpenOptions, Ring, RingOf, SocketKind, local};

/// Files, sockets and timers, concurrently.
async fn program<M: Mode>(ring: RingOf<M>) {
    let work = join(files(&ring), echo(&ring));
    let started = Instant::now();
    let sleep = async {
        ring.timeout(Duration::from_millis(20)).await.unwrap();
        assert!(started.elapsed() >= Duration::from_millis(20), "a timer does not end early");
    };
    join(work, sleep).await;
}

async fn files<M: Mode>(ring: &RingOf<M>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let options = OpenOptions::new().read(true).write(true).create_new(true);
    let file = ring.open(&path, &options).await.unwrap();
    let bytes = pattern(100_000);
    let writes = bytes
        .chunks(10_000)
        .enumerate()
        .map(|(at, chunk)| ring.write_at_owned(&file, chunk.to_vec(), at as u64 * 10_000));
    for written in join_all(writes).await {
        assert_eq!(written.unwrap().0, 10_000);
    }
    ring.fsync(&file).await.unwrap();
    let mut reads: FuturesUnordered<_> = (0..10)
        .map(|at| {
            let read = ring.read_at_owned(&file, vec![0; 10_000], at * 10_000);
            async move { (at, read.await.unwrap().1) }
        })
        .collect();
    while let Some((at, read)) = reads.next().await {
        assert_eq!(read, bytes[at as usize * 10_000..][..10_000]);
    }
    drop(reads);
    ring.close(file).await.unwrap();
    ring.unlink(&path).await.unwrap();
}

async fn echo<M: Mode>(ring: &RingOf<M>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let listener = Fd::new(listener);
    let server = async {
        for _ in 0..10 {
            let (socket, _) = ring.accept(&listener).await.unwrap();
            let (n, bytes) = ring.recv(&socket, vec![0; 100]).await.unwrap();
            assert_eq!(ring.send(&socket, bytes).await.unwrap().0, n);
        }
    };
    let clients = join_all((0..10u8).map(|id| async move {
        let socket = ring.socket(&Address::from(target), SocketKind::Stream).await.unwrap();
        ring.connect(&socket, target).await.unwrap();
        ring.send(&socket, vec![id; 50]).await.unwrap();
        assert_eq!(ring.recv(&socket, vec![0; 100]).await.unwrap().1, [id; 50]);
    }));
    join(server, clients).await;
}

fn tokio_threads(threads: usize) -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(threads).enable_all().build().unwrap()
}

#[test]
fn the_program_runs_under_pollster() {
    within_deadline(|| pollster::block_on(program(shared(16))));
}

#[test]
fn the_program_runs_in_a_local_block_on() {
    within_deadline(|| {
        let ring = local::Ring::new(16).unwrap();
        ring.block_on(program(ring.clone()));
    });
}

#[test]
fn the_program_runs_as_spawned_tasks_of_multi_thread_tokio() {
    within_deadline(|| {
        let ring = shared(16);
        tokio_threads(4).block_on(async {
            let tasks: Vec<_> = (0..8).map(|_| tokio::spawn(program(ring.clone()))).collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
    });
}

#[test]
fn the_program_runs_in_current_thread_tokio() {
    within_deadline(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let ring = shared(16);
            let tasks: Vec<_> = (0..4).map(|_| tokio::spawn(program(ring.clone()))).collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
    });
}

#[test]
fn the_program_runs_in_smol() {
    within_deadline(|| {
        smol::block_on(async {
            let ring = shared(16);
            let tasks: Vec<_> = (0..4).map(|_| smol::spawn(program(ring.clone()))).collect();
            for task in tasks {
                task.await;
            }
        });
    });
}

#[test]
fn the_program_runs_many_times_over_in_one_local_block_on() {
    within_deadline(|| {
        let ring = local::Ring::new(16).unwrap();
        ring.block_on(join_all((0..8).map(|_| program(ring.clone()))));
    });
}

#[test]
fn futures_move_between_threads_while_in_flight() {
    within_deadline(|| {
        let ring = shared(16);
        let (a, b) = unix_pair();
        for round in 0..200u8 {
            let mut receiving = ring.recv(&a, vec![0; 4]);
            assert!(poll_once(&mut receiving).is_pending());
            let other = std::thread::spawn(move || pollster::block_on(receiving));
            pollster::block_on(ring.send(&b, vec![round])).unwrap();
            assert_eq!(other.join().unwrap().unwrap().1, [round]);
        }
    });
}

#[test]
fn an_operation_outlives_the_thread_that_started_it() {
    within_deadline(|| {
        let ring = shared(16);
        for round in 0..50u8 {
            let (a, b) = unix_pair();
            let (reader, mut writer) = std::io::pipe().unwrap();
            let reader = Fd::new(reader);
            let of_thread = ring.clone();
            let (receiving, reading, sleeping) = std::thread::spawn(move || {
                let mut receiving = of_thread.recv(&a, vec![0; 4]);
                let mut reading = of_thread.read_owned(&reader, vec![0; 4]);
                let mut sleeping = of_thread.timeout(Duration::from_millis(2));
                assert!(poll_once(&mut receiving).is_pending());
                assert!(poll_once(&mut reading).is_pending());
                assert!(poll_once(&mut sleeping).is_pending());
                (receiving, reading, sleeping)
            })
            .join()
            .unwrap();
            // Joined, but the kernel may still be at work on the thread's end.
            if round % 2 == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
            pollster::block_on(sleeping).unwrap();
            pollster::block_on(ring.send(&b, vec![round])).unwrap();
            writer.write_all(&[round]).unwrap();
            assert_eq!(pollster::block_on(receiving).unwrap().1, [round]);
            assert_eq!(pollster::block_on(reading).unwrap().1, [round]);
        }
    });
}

#[test]
fn a_chain_outlives_the_thread_that_started_it() {
    within_deadline(|| {
        let ring = shared(16);
        let mut again = 0;
        for round in 0..50u8 {
            let ((a, b), (c, d)) = (unix_pair(), unix_pair());
            let of_thread = ring.clone();
            let mut chain = std::thread::spawn(move || {
                let nothing = of_thread.nop();
                let receive = of_thread.recv(&a, vec![0; 4]);
                let mut chain = nothing
                    .then(receive)
                    .then(of_thread.send(&c, vec![round]))
                    .then(of_thread.nop());
                assert!(poll_once(&mut chain).is_pending());
                chain
            })
            .join()
            .unwrap();
            if round % 2 == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
            // Perhaps on the ring that the chain is in.
            pollster::block_on(ring.nop()).unwrap();
            assert!(poll_once(&mut chain).is_pending());
            pollster::block_on(ring.send(&b, vec![round])).unwrap();
            let (((nothing, received), sent), last) = pollster::block_on(chain);
            nothing.unwrap();
            assert_eq!(received.unwrap().1, [round]);
            assert_eq!(sent.unwrap().0, 1);
            last.unwrap();
            assert_eq!(pollster::block_on(ring.recv(&d, vec![0; 4])).unwrap().1, [round]);
            again = ring.snapshot().requeued;
        }
        println!("{again} operations were tried again");
    });
}

#[test]
fn threads_that_come_and_go_reuse_their_rings() {
    within_deadline(|| {
        let ring = shared(8);
        for _ in 0..100 {
            let ring = ring.clone();
            std::thread::spawn(move || pollster::block_on(ring.nop()).unwrap()).join().unwrap();
        }
        assert_eq!(ring.snapshot().rings, 1);
        assert_eq!(ring.snapshot().completed, 100);
    });
}

#[test]
fn more_threads_than_rings_share_them() {
    within_deadline(|| {
        let ring = Ring::builder().entries(8).max_rings(2).build().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..12 {
                scope.spawn(|| {
                    pollster::block_on(async {
                        for _ in 0..20 {
                            echo(&ring).await;
                        }
                    });
                });
            }
        });
        assert_eq!(ring.snapshot().rings, 2);
    });
}

#[test]
fn a_ring_survives_the_runtime_it_was_used_in() {
    within_deadline(|| {
        let ring = shared(16);
        let (a, b) = unix_pair();
        for round in 0..10u8 {
            let runtime = tokio_threads(2);
            runtime.block_on(async {
                tokio::spawn(program(ring.clone())).await.unwrap();
                // Still waiting when the runtime ends.
                let receiving = ring.recv(&a, vec![0; 4]);
                let (polled, is_polled) = mpsc::channel();
                tokio::spawn(async move {
                    let mut receiving = receiving;
                    let pending = poll_once(&mut receiving).is_pending();
                    polled.send(pending).unwrap();
                    receiving.await
                });
                assert!(is_polled.recv().unwrap());
            });
            drop(runtime);
            pollster::block_on(async {
                settled(&ring).await;
                ring.send(&b, vec![round]).await.unwrap();
                assert_eq!(ring.recv(&a, vec![0; 4]).await.unwrap().1, [round]);
            });
        }
    });
}

#[test]
fn aborted_tasks_leave_the_ring_usable() {
    within_deadline(|| {
        let ring = shared(16);
        tokio_threads(2).block_on(async {
            let (a, b) = unix_pair();
            for _ in 0..10 {
                let tasks: Vec<_> = (0..50)
                    .map(|_| {
                        let (ring, a) = (ring.clone(), a.clone());
                        tokio::spawn(async move { ring.recv(&a, vec![0; 4]).await })
                    })
                    .collect();
                tokio::task::yield_now().await;
                for task in tasks {
                    task.abort();
                    assert!(task.await.unwrap_err().is_cancelled());
                }
                settled(&ring).await;
            }
            ring.send(&b, b"x".to_vec()).await.unwrap();
            assert_eq!(ring.recv(&a, vec![0; 4]).await.unwrap().1, b"x");
        });
    });
}

#[test]
fn a_ring_works_from_a_pool_of_blocking_threads() {
    within_deadline(|| {
        let ring = shared(16);
        tokio_threads(2).block_on(async {
            let tasks: Vec<_> = (0..20)
                .map(|_| {
                    let ring = ring.clone();
                    tokio::task::spawn_blocking(move || pollster::block_on(program(ring)))
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
    });
}

#[test]
fn wakes_from_another_thread_reach_a_sleeping_local_ring() {
    within_deadline(|| {
        let ring = local::Ring::new(8).unwrap();
        let (ask, asked) = mpsc::channel::<tokio::sync::oneshot::Sender<u32>>();
        let other = std::thread::spawn(move || {
            for (number, reply) in (0..).zip(asked) {
                reply.send(number).unwrap();
            }
        });
        ring.block_on(async {
            for number in 0..10_000 {
                let (reply, answer) = tokio::sync::oneshot::channel();
                ask.send(reply).unwrap();
                assert_eq!(answer.await.unwrap(), number);
                if number % 100 == 0 {
                    ring.nop().await.unwrap();
                }
            }
        });
        drop(ask);
        other.join().unwrap();
    });
}

#[test]
fn messages_from_many_threads_reach_a_local_ring() {
    within_deadline(|| {
        let ring = local::Ring::new(8).unwrap();
        let (sender, mut receiver) = tokio::sync::mpsc::channel(4);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let sender = sender.clone();
                std::thread::spawn(move || {
                    for _ in 0..2500u32 {
                        sender.blocking_send(()).unwrap();
                    }
                })
            })
            .collect();
        drop(sender);
        let received = ring.block_on(async {
            let mut count = 0;
            while receiver.recv().await.is_some() {
                count += 1;
            }
            count
        });
        assert_eq!(received, 10_000);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn local_block_ons_nest() {
    within_deadline(|| {
        let ring = local::Ring::new(8).unwrap();
        let (a, b) = unix_pair();
        let inner = ring.clone();
        ring.block_on(async {
            let mut outer = ring.recv(&a, vec![0; 4]);
            assert!(poll_once(&mut outer).is_pending());
            for _ in 0..3 {
                inner.block_on(async {
                    inner.timeout(Duration::from_millis(1)).await.unwrap();
                    let deeper = inner.clone();
                    deeper.block_on(async { deeper.nop().await.unwrap() });
                });
            }
            // What the outer one waits for ends inside of the inner one.
            let waiting = async { outer.await.unwrap().1 };
            let nested = async {
                inner.block_on(async {
                    inner.send(&b, b"x".to_vec()).await.unwrap();
                    inner.timeout(Duration::from_millis(1)).await.unwrap();
                });
            };
            let (got, ()) = join(waiting, nested).await;
            assert_eq!(got, b"x");
        });
    });
}

#[test]
fn a_wake_of_the_outer_block_on_is_not_lost_in_an_inner_one() {
    within_deadline(|| {
        let ring = local::Ring::new(8).unwrap();
        for _ in 0..200 {
            let (reply, answer) = tokio::sync::oneshot::channel();
            let (a, b) = unix_pair::<Local>();
            ring.block_on(async {
                let mut answer = pin!(answer);
                let waits =
                    std::future::poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx).is_pending()));
                assert!(waits.await);
                let mut received = ring.recv(&a, vec![0; 4]);
                let waits = std::future::poll_fn(|cx| {
                    Poll::Ready(pin!(&mut received).poll(cx).is_pending())
                });
                assert!(waits.await);
                let thread = std::thread::spawn(move || reply.send(7).unwrap());
                ring.block_on(async {
                    ring.send(&b, b"x".to_vec()).await.unwrap();
                    ring.nop().await.unwrap();
                });
                thread.join().unwrap();
                assert_eq!(answer.await.unwrap(), 7);
                assert_eq!(received.await.unwrap().1, b"x");
            });
        }
    });
}

#[test]
fn a_panic_in_a_local_block_on_leaves_the_ring_usable() {
    within_deadline(|| {
        let ring = local::Ring::new(8).unwrap();
        let (a, b) = unix_pair();
        let mut kept = ring.recv(&a, vec![0; 4]);
        let inner = ring.clone();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            ring.block_on(async {
                assert!(poll_once(&mut kept).is_pending());
                inner.nop().await.unwrap();
                let _ = join(&mut kept, async { panic!("on purpose") }).await;
            });
        }));
        assert!(panicked.is_err());
        ring.block_on(async {
            let (got, sent) = join(kept, ring.send(&b, b"x".to_vec())).await;
            sent.unwrap();
            assert_eq!(got.unwrap().1, b"x");
        });
        ring.block_on(program(ring.clone()));
    });
}

#[test]
fn a_self_waking_future_does_not_keep_the_kernel_out() {
    within_deadline(|| {
        let ring = local::Ring::new(8).unwrap();
        ring.block_on(async {
            let over = AtomicBool::new(false);
            let busy = std::future::poll_fn(|cx| {
                cx.waker().wake_by_ref();
                if over.load(Ordering::Relaxed) { Poll::Ready(()) } else { Poll::Pending }
            });
            let work = async {
                ring.timeout(Duration::from_millis(1)).await.unwrap();
                files(&ring).await;
                over.store(true, Ordering::Relaxed);
            };
            join(busy, work).await;
        });
    });
}

#[test]
fn ten_thousand_operations_through_eight_entries() {
    fn body<E: Exec>() {
        let builder = Ring::builder().entries(8).completions(16);
        with_built::<E>(builder, async |ring| {
            // All at once, each with its own result.
            let file = Fd::new(tempfile::tempfile().unwrap());
            let writes = (0..10_000u32).map(|number| {
                let write = ring.write_at_owned(
                    &file,
                    number.to_ne_bytes().to_vec(),
                    4 * u64::from(number),
                );
                async move { write.await.unwrap().0 }
            });
            assert!(join_all(writes).await.into_iter().all(|n| n == 4));
            let reads = (0..10_000u32).map(|number| {
                let read = ring.read_at_owned(&file, vec![0; 4], 4 * u64::from(number));
                async move { read.await.unwrap().1 }
            });
            for (number, bytes) in (0..10_000u32).zip(join_all(reads).await) {
                assert_eq!(bytes, number.to_ne_bytes());
            }
            let now = ring.snapshot();
            assert_eq!((now.queued, now.stale_completions), (0, 0));
            assert_eq!(now.completed, now.submitted);
        });
    }
    within_deadline(body::<OnLocal>);
    within_deadline(body::<OnPollster>);
    within_deadline(body::<OnTokio>);
}

#[test]
fn parked_receives_do_not_block_the_others() {
    fn body<E: Exec>() {
        with_built::<E>(Ring::builder().entries(8), async |ring| {
            let (a, b) = unix_pair();
            let mut parked: Vec<_> = (0..500).map(|_| ring.recv(&a, vec![0; 1])).collect();
            for receive in &mut parked {
                assert!(poll_once(receive).is_pending());
            }
            files(&ring).await;
            ring.send(&b, pattern(500)).await.unwrap();
            let mut got: Vec<u8> =
                join_all(parked).await.into_iter().map(|got| got.unwrap().1[0]).collect();
            let mut sent = pattern(500);
            got.sort_unstable();
            sent.sort_unstable();
            assert_eq!(got, sent);
        });
    }
    within_deadline(body::<OnLocal>);
    within_deadline(body::<OnPollster>);
    within_deadline(body::<OnTokio>);
}

#[test]
fn the_last_waker_is_the_one_that_is_woken() {
    struct Count(AtomicU32);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    within_deadline(|| {
        let ring = shared(8);
        let (a, b) = unix_pair();
        let (first, last) =
            (Arc::new(Count(AtomicU32::new(0))), Arc::new(Count(AtomicU32::new(0))));
        let mut receiving = pin!(ring.recv(&a, vec![0; 4]));
        for count in [&first, &last] {
            let waker = Waker::from(Arc::clone(count));
            let mut context = Context::from_waker(&waker);
            assert!(receiving.as_mut().poll(&mut context).is_pending());
        }
        pollster::block_on(async {
            ring.send(&b, b"x".to_vec()).await.unwrap();
            until(&ring, "the last waker is woken", || last.0.load(Ordering::SeqCst) > 0).await;
        });
        assert_eq!((first.0.load(Ordering::SeqCst), last.0.load(Ordering::SeqCst)), (0, 1));
        assert_eq!(Arc::strong_count(&first), 1, "the first waker is not kept");
        assert_eq!(pollster::block_on(receiving).unwrap().1, b"x");
    });
}

/// CPU time that the process uses in two seconds in which nothing happens.
fn idle_time(ring: &Ring) -> Duration {
    let before = cpu_time();
    std::thread::sleep(Duration::from_secs(2));
    assert!(ring.snapshot().in_flight >= 100);
    cpu_time() - before
}

const IDLE_LIMIT: Duration = Duration::from_millis(50);

#[test]
fn waiting_uses_no_cpu_in_a_local_ring() {
    alone("waiting_uses_no_cpu_in_a_local_ring", || {
        let ring = local::Ring::new(16).unwrap();
        let (a, _b) = unix_pair();
        ring.block_on(async {
            let mut parked: Vec<_> = (0..100).map(|_| ring.recv(&a, vec![0; 4])).collect();
            assert!(parked.iter_mut().all(|receive| poll_once(receive).is_pending()));
            ring.nop().await.unwrap();
            let before = cpu_time();
            ring.timeout(Duration::from_secs(2)).await.unwrap();
            let used = cpu_time() - before;
            assert!(ring.snapshot().in_flight >= 100);
            assert!(used < IDLE_LIMIT, "{used:?}");
        });
    });
}

#[test]
fn waiting_uses_no_cpu_in_a_shared_ring() {
    alone("waiting_uses_no_cpu_in_a_shared_ring", || {
        let ring = shared(16);
        let (a, b) = unix_pair();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (ring, a) = (ring.clone(), a.clone());
                std::thread::spawn(move || {
                    let parked = (0..25).map(|_| ring.recv(&a, vec![0; 1]));
                    pollster::block_on(join_all(parked))
                })
            })
            .collect();
        pollster::block_on(until(&ring, "all wait", || ring.snapshot().in_flight >= 100));
        let used = idle_time(&ring);
        assert!(used < IDLE_LIMIT, "{used:?}");
        pollster::block_on(ring.send(&b, vec![0; 100])).unwrap();
        threads.into_iter().for_each(|thread| drop(thread.join().unwrap()));
    });
}

#[test]
fn waiting_uses_no_cpu_in_tokio() {
    alone("waiting_uses_no_cpu_in_tokio", || {
        let ring = shared(16);
        let (a, b) = unix_pair();
        tokio_threads(2).block_on(async {
            let tasks: Vec<_> = (0..100)
                .map(|_| {
                    let (ring, a) = (ring.clone(), a.clone());
                    tokio::spawn(async move { ring.recv(&a, vec![0; 1]).await.unwrap() })
                })
                .collect();
            until(&ring, "all wait", || ring.snapshot().in_flight >= 100).await;
            let used = idle_time(&ring);
            assert!(used < IDLE_LIMIT, "{used:?}");
            ring.send(&b, vec![0; 100]).await.unwrap();
            for task in tasks {
                task.await.unwrap();
            }
        });
    });
}

#[test]
fn a_borrowed_file_stays_open_as_long_as_an_operation_needs_it() {
    within_deadline(|| {
        let ring = shared(8);
        let (reader, writer) = std::io::pipe().unwrap();
        let (reader, writer) = (Fd::new(reader), Fd::new(writer));
        let mut reading = ring.read_owned(&reader, vec![0; 4]);
        assert!(poll_once(&mut reading).is_pending());
        drop(reader);
        let write = ring.write_owned(&writer, b"text".to_vec().slice(1..));
        drop(writer);
        assert_eq!(pollster::block_on(write).unwrap().0, 3);
        assert_eq!(pollster::block_on(reading).unwrap().1, b"ext");
        let (mut reader, writer) = std::io::pipe().unwrap();
        drop(ring.write_owned(&Fd::new(writer), b"never polled".to_vec()));
        assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0);
    });
}
