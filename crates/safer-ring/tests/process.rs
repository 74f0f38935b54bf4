//! A ring and its process: signals and fork(2). Each test has a process of its own.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests"
)]

mod common;

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use common::alone::alone;
use common::child::in_child;
use common::net::{poll_once, shared, unix_pair};
use common::{Exec, OnLocal, OnPollster, OnTokio, failure, pattern, with_ring};
use futures_util::future::{join, join_all};
use safer_ring::{BufferPool, Ended, Failure, Fd, Mode, RingOf, local};

static SIGNALS: AtomicU64 = AtomicU64::new(0);

extern "C" fn count_signal(_: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

/// Lets `signal` interrupt system calls: a handler without `SA_RESTART`.
fn interrupt_on(signal: libc::c_int) {
    // SAFETY: a structure of numbers; zeroes are an empty mask and no flags.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(libc::c_int) = count_signal;
    action.sa_sigaction = handler as usize;
    // SAFETY: the handler only counts.
    assert_eq!(unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) }, 0);
}

/// Members that a thread of the kernel does, and members that wait for a peer.
async fn chains<M: Mode>(ring: &RingOf<M>, bytes: &[u8]) {
    let log = Fd::new(tempfile::tempfile().unwrap());
    let (a, b) = unix_pair();
    for (chunk, turn) in bytes.chunks(1000).zip(0..10) {
        let write = ring.write_at_owned(&log, chunk.to_vec(), 1000 * turn);
        let read = ring.read_at_owned(&log, vec![0; 1000], 1000 * turn);
        let logged = write.then(ring.fdatasync(&log)).then(read);
        let answered = ring.recv(&a, vec![0; 4]).then(ring.send(&a, b"pong".to_vec()));
        let asked = async {
            ring.send(&b, b"ping".to_vec()).await.unwrap();
            ring.recv(&b, vec![0; 4]).await.unwrap().1
        };
        let (((written, synced), read), ((got, sent), answer)) =
            join(logged, join(answered, asked)).await;
        assert_eq!(written.unwrap().0, 1000);
        synced.unwrap();
        assert!(read.unwrap().1 == chunk);
        assert_eq!((got.unwrap().1, answer), (b"ping".to_vec(), b"pong".to_vec()));
        assert_eq!(sent.unwrap().0, 4);
    }
}

fn work_under_signals<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = Fd::new(tempfile::tempfile().unwrap());
        let bytes = pattern(50_000);
        for _ in 0..30 {
            let (a, b) = unix_pair();
            let sleep = async {
                let started = Instant::now();
                ring.timeout(Duration::from_millis(10)).await.unwrap();
                assert!(started.elapsed() >= Duration::from_millis(10), "a timer ended early");
            };
            let disk = async {
                let writes = bytes
                    .chunks(1000)
                    .zip(0..)
                    .map(|(chunk, at)| ring.write_at_owned(&file, chunk.to_vec(), 1000 * at));
                for written in join_all(writes).await {
                    assert_eq!(written.unwrap().0, 1000);
                }
                ring.fsync(&file).await.unwrap();
                let (_, read) = ring.read_at_owned(&file, vec![0; 50_000], 0).await.unwrap();
                assert!(read == bytes);
            };
            let talk = async {
                for _ in 0..20 {
                    let (got, sent) =
                        join(ring.recv(&a, vec![0; 4]), ring.send(&b, b"ping".to_vec())).await;
                    sent.unwrap();
                    assert_eq!(got.unwrap().1, b"ping");
                }
            };
            join(sleep, join(disk, join(talk, chains(&ring, &bytes)))).await;
        }
    });
}

#[test]
fn a_storm_of_signals_fails_nothing_and_ends_no_timer_early() {
    alone("a_storm_of_signals_fails_nothing_and_ends_no_timer_early", || {
        interrupt_on(libc::SIGALRM);
        interrupt_on(libc::SIGUSR1);
        let every = libc::timeval { tv_sec: 0, tv_usec: 300 };
        let timer = libc::itimerval { it_interval: every, it_value: every };
        // SAFETY: reads one `itimerval`.
        let set =
            unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
        assert_eq!(set, 0);
        for body in [
            work_under_signals::<OnLocal>,
            work_under_signals::<OnPollster>,
            work_under_signals::<OnTokio>,
        ] {
            let over = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let worker = std::thread::spawn(body);
                let target = std::os::unix::thread::JoinHandleExt::as_pthread_t(&worker);
                let over = &over;
                let storm = scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        // SAFETY: the thread is joined after this one has ended.
                        unsafe { libc::pthread_kill(target, libc::SIGUSR1) };
                        std::thread::sleep(Duration::from_micros(100));
                    }
                });
                while !worker.is_finished() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                over.store(true, Ordering::Relaxed);
                storm.join().unwrap();
                worker.join().unwrap();
            });
        }
        assert!(SIGNALS.load(Ordering::Relaxed) > 100);
    });
}

/// Whether an operation was refused because the ring is the parent's.
fn refused(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::Unsupported && failure(error) == Some(Failure::Forked)
}

#[test]
fn a_forked_child_is_refused_and_disturbs_nothing() {
    alone("a_forked_child_is_refused_and_disturbs_nothing", || {
        let of_thread = local::Ring::new(8).unwrap();
        let of_all = shared(8);
        let (idle, (c, d)) = (shared(8), unix_pair());
        let ((a, b), (x, y)) = (unix_pair(), unix_pair());
        pollster::block_on(idle.nop()).unwrap();
        let mut local_wait = of_thread.recv(&a, vec![0; 4]);
        let mut shared_wait = of_all.recv(&x, vec![0; 4]);
        let mut sleep = of_all.timeout(Duration::from_millis(300));
        of_thread.block_on(async {
            assert!(poll_once(&mut local_wait).is_pending());
            of_thread.nop().await.unwrap();
        });
        assert!(poll_once(&mut shared_wait).is_pending());
        assert!(poll_once(&mut sleep).is_pending());
        // The ring's thread goes back to sleep.
        std::thread::sleep(Duration::from_millis(50));

        let mut rings = Some((of_thread, of_all, idle));
        let mut waits = Some((local_wait, shared_wait, sleep));
        let status = in_child(|| {
            let (of_thread, of_all, idle) = rings.take().unwrap();
            let (mut local_wait, shared_wait, sleep) = waits.take().unwrap();
            let Err(error) = of_thread.block_on(of_thread.nop()) else { return 1 };
            if !refused(&error) {
                return 2;
            }
            let Err(error) = of_thread.block_on(of_thread.send(&b, b"kept".to_vec())) else {
                return 20;
            };
            if !refused(&error.error) || error.into_buffer() != b"kept" {
                return 21;
            }
            let Err(error) = pollster::block_on(of_all.nop()) else { return 3 };
            if !refused(&error) {
                return 4;
            }
            let Err(error) = pollster::block_on(of_all.send(&y, b"kept".to_vec())) else {
                return 5;
            };
            if error.into_buffer() != b"kept" {
                return 6;
            }
            // What the parent waits for ends here as refused, with this process's copy of the buffer.
            if !of_all.operations().is_empty() {
                return 13;
            }
            let Err(error) = of_thread.block_on(&mut local_wait) else { return 14 };
            if !refused(&error.error) || error.into_buffer() != [0; 4] {
                return 15;
            }
            let Ended::Completed(Err(error)) = pollster::block_on(shared_wait.cancel()) else {
                return 16;
            };
            if !refused(&error.error) || error.into_buffer() != [0; 4] {
                return 17;
            }
            let Err(error) = pollster::block_on(sleep) else { return 18 };
            if !refused(&error) {
                return 19;
            }
            drop(local_wait);
            drop((of_thread, of_all, idle));
            // Rings of the child's own work.
            let Ok(own) = local::Ring::new(8) else { return 8 };
            if own.block_on(own.nop()).is_err() {
                return 9;
            }
            let Ok(own) = RingOf::<safer_ring::Shared>::new(8) else { return 10 };
            let (reader, mut writer) = std::io::pipe().unwrap();
            let reader = Fd::new(reader);
            let mut reading = own.read_owned(&reader, vec![0; 4]);
            if poll_once(&mut reading).is_ready() {
                return 11;
            }
            writer.write_all(b"own").unwrap();
            let Ok((3, _)) = pollster::block_on(reading) else { return 12 };
            0
        });
        assert_eq!(status, 0, "the step of the child that went wrong");

        let (of_thread, of_all, idle) = rings.take().unwrap();
        let (local_wait, shared_wait, sleep) = waits.take().unwrap();
        of_thread.block_on(async {
            let (got, sent) = join(local_wait, of_thread.send(&b, b"x".to_vec())).await;
            sent.unwrap();
            assert_eq!(got.unwrap().1, b"x");
        });
        let peer: std::os::unix::net::UnixStream = y.duplicate().unwrap().into();
        (&peer).write_all(b"y").unwrap();
        assert_eq!(pollster::block_on(shared_wait).unwrap().1, b"y");
        pollster::block_on(sleep).unwrap();
        let mut last = idle.recv(&c, vec![0; 4]);
        assert!(poll_once(&mut last).is_pending());
        let peer: std::os::unix::net::UnixStream = d.duplicate().unwrap().into();
        let thread = std::thread::spawn(move || pollster::block_on(last));
        std::thread::sleep(Duration::from_millis(20));
        (&peer).write_all(b"z").unwrap();
        assert_eq!(thread.join().unwrap().unwrap().1, b"z");
        for snapshot in [of_thread.snapshot(), of_all.snapshot(), idle.snapshot()] {
            assert_eq!((snapshot.stale_completions, snapshot.cancel_requests), (0, 0));
        }
    });
}

#[cfg(feature = "runtime")]
#[test]
fn a_runtime_in_a_forked_child_ends_and_disturbs_nothing() {
    use safer_ring::{Runtime, runtime};

    alone("a_runtime_in_a_forked_child_ends_and_disturbs_nothing", || {
        let runtime = Runtime::builder().threads(2).build().unwrap();
        let park = || runtime::sleep(Duration::from_secs(600));
        let tasks = [0, 1].map(|thread| runtime.handle().spawn_on(thread, park).unwrap());
        // Both threads have gone to sleep.
        runtime.block_on(runtime::sleep(Duration::from_millis(50)));
        let mut both = Some((runtime, tasks));
        let status = in_child(|| {
            let (runtime, tasks) = both.take().unwrap();
            let (started, time) = (Instant::now(), Duration::from_millis(20));
            let never = std::future::pending::<()>();
            if runtime.block_on(async { runtime::timeout(time, never).await }).is_ok() {
                return 1;
            }
            if started.elapsed() < time {
                return 2;
            }
            drop((runtime, tasks));
            0
        });
        assert_eq!(status, 0, "the step of the child that went wrong");
        let (runtime, tasks) = both.take().unwrap();
        let there = runtime.handle().spawn_on(1, || async { runtime::ring().nop().await });
        runtime.block_on(there.unwrap()).unwrap().unwrap();
        assert!(tasks.iter().all(|task| !task.is_finished()));
        let report = runtime.shutdown(Instant::now() + Duration::from_secs(10));
        assert!(report.is_complete(), "{report}");
    });
}

/// Threads that use what `work` captures, again and again, while `body` runs.
fn beside(work: Vec<Box<dyn Fn() + Send>>, body: impl FnOnce()) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for work in work {
            let over = &over;
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    work();
                }
            });
        }
        body();
        over.store(true, Ordering::Relaxed);
    });
}

/// [`in_child`], which is ended by a signal if it hangs.
fn in_child_that_ends(child: impl FnOnce() -> i32) -> i32 {
    in_child(|| {
        // SAFETY: takes no pointer.
        unsafe { libc::alarm(20) };
        child()
    })
}

#[test]
fn a_child_that_drops_all_it_has_does_not_wait_for_threads_that_it_has_not() {
    alone("a_child_that_drops_all_it_has_does_not_wait_for_threads_that_it_has_not", || {
        let (of_all, of_thread) = (shared(8), local::Ring::new(8).unwrap());
        let (near, far): (Fd, Fd) = unix_pair();
        let pool = BufferPool::new(8, 64);
        let mut wait = of_all.recv(&near, vec![0; 4]);
        assert!(poll_once(&mut wait).is_pending());
        let mut sleep = of_all.timeout(Duration::from_secs(600));
        assert!(poll_once(&mut sleep).is_pending());
        // The receive of one more, which has no owner, is on the list of its descriptor.
        let (kept, _peer): (Fd, Fd) = unix_pair();
        let mut orphan = of_all.recv(&kept, vec![0; 4]);
        assert!(poll_once(&mut orphan).is_pending());
        drop(orphan);

        let (looks, opens) = (of_all.clone(), of_all.clone());
        let (unreads, takes) = (kept.clone(), pool.clone());
        let work: Vec<Box<dyn Fn() + Send>> = vec![
            Box::new(move || assert!(looks.snapshot().rings > 0)),
            Box::new(move || unreads.drop_kept()),
            Box::new(move || drop(takes.take())),
            // Threads that come and go, and rings: the lists of both.
            Box::new(move || {
                let ring = opens.clone();
                std::thread::spawn(move || pollster::block_on(ring.nop()).unwrap()).join().unwrap();
                pollster::block_on(shared(2).nop()).unwrap();
            }),
        ];
        let mut all = Some((wait, sleep, kept, pool.take(), pool, of_thread));
        let mut rings = Some(of_all);
        beside(work, || {
            for round in 0..150 {
                let status = in_child_that_ends(|| {
                    let (mut wait, sleep, kept, buffer, pool, of_thread) = all.take().unwrap();
                    let of_all = rings.take().unwrap();
                    // Where a lost thread was inside of its kernel ring, the buffer is lost, and the future cannot end.
                    match poll_once(&mut wait) {
                        Poll::Ready(Err(error)) if refused(&error.error) => {}
                        Poll::Ready(_) => return 1,
                        Poll::Pending => {}
                    }
                    let Err(error) = pollster::block_on(of_all.nop()) else { return 2 };
                    if !refused(&error) {
                        return 3;
                    }
                    let _ = of_all.snapshot();
                    drop((wait, sleep, buffer, kept));
                    drop(pool.take());
                    drop((pool, of_thread, of_all));
                    let Ok(own) = RingOf::<safer_ring::Shared>::new(2) else { return 4 };
                    if pollster::block_on(own.nop()).is_err() {
                        return 5;
                    }
                    0
                });
                assert_eq!(status, 0, "the step of the child that went wrong, round {round}");
            }
        });
        let (wait, .., pool, _) = all.take().unwrap();
        pollster::block_on(rings.take().unwrap().send(&far, b"x".to_vec())).unwrap();
        assert_eq!(pollster::block_on(wait).unwrap().1, b"x");
        assert_eq!(pool.stats().taken, 0);
    });
}

#[test]
fn the_end_of_a_child_does_not_wait_for_threads_that_it_has_not() {
    alone("the_end_of_a_child_does_not_wait_for_threads_that_it_has_not", || {
        let ring = shared(8);
        // A seat of this thread, which the end of a process drops.
        pollster::block_on(ring.nop()).unwrap();
        let looks = ring.clone();
        beside(vec![Box::new(move || assert!(looks.snapshot().rings > 0))], || {
            for _ in 0..150 {
                // SAFETY: what runs at the end of the thread is this library's; no other thread prints or exits.
                let status = in_child_that_ends(|| unsafe { libc::exit(0) });
                assert_eq!(status, 0);
            }
        });
    });
}
