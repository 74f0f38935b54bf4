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
use std::time::{Duration, Instant};

use common::alone::alone;
use common::child::in_child;
use common::net::{poll_once, shared, unix_pair};
use common::{Exec, OnLocal, OnPollster, OnTokio, failure, pattern, with_ring};
use futures_util::future::{join, join_all};
use safer_ring::{Ended, Failure, Fd, RingOf, local};

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
            join(sleep, join(disk, talk)).await;
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
