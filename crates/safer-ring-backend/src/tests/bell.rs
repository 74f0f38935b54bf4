//! Wake-ups from other threads for a thread that sleeps in its ring.

use std::future::poll_fn;
use std::sync::mpsc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use crate::config::Config;
use crate::local::LocalCell;

/// Runs `work` on a thread of its own and fails if it hangs.
fn in_time(work: impl FnOnce() + Send + 'static) {
    let (done, ended) = mpsc::channel();
    let worker = thread::spawn(move || {
        work();
        done.send(()).unwrap();
    });
    match ended.recv_timeout(Duration::from_secs(30)) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("a wake-up was lost"),
        _ => worker.join().unwrap(),
    }
}

#[test]
fn a_bell_that_is_heard_between_two_polls_rings_again() {
    in_time(|| {
        let ring = LocalCell::open(&Config::new(8)).unwrap();
        let timer = ring.with(|driver| {
            let after = Duration::from_millis(5);
            super::submit_timer(driver, super::lent(&super::Count::default()), after)
        });
        let mut polls = 0;
        ring.block_on(poll_fn(|context| {
            let waker = context.waker().clone();
            if polls == 0 {
                // The bell is watched in the first sleep; what ends that sleep is not the bell.
                if !ring.with(|driver| driver.poll(timer, &waker)) {
                    return Poll::Pending;
                }
                // A foreign wake-up, taken in while this future keeps waking itself.
                thread::spawn(move || waker.wake()).join().unwrap();
                assert_eq!(ring.snapshot().in_flight, 1, "the bell is watched");
            }
            polls += 1;
            if polls < 100 {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            if polls == 100 {
                assert_eq!(ring.snapshot().in_flight, 0, "the bell was heard");
                let waker = context.waker().clone();
                // The last poll before a sleep, which only the next foreign wake-up can end.
                thread::spawn(move || {
                    thread::sleep(Duration::from_millis(100));
                    waker.wake();
                });
                return Poll::Pending;
            }
            Poll::Ready(())
        }));
    });
}

#[test]
fn a_bell_that_is_heard_while_something_is_handed_over_rings_again() {
    in_time(|| {
        let ring = LocalCell::open(&Config::new(8)).unwrap();
        let timer = ring.with(|driver| {
            let after = Duration::from_millis(5);
            super::submit_timer(driver, super::lent(&super::Count::default()), after)
        });
        let mut polls = 0;
        ring.block_on(poll_fn(|context| {
            let waker = context.waker().clone();
            if polls == 0 && !ring.with(|driver| driver.poll(timer, &waker)) {
                // The bell is watched from this sleep on.
                return Poll::Pending;
            }
            polls += 1;
            match polls {
                1 => {
                    thread::spawn(move || waker.wake()).join().unwrap();
                    ring.with(|driver| {
                        let (key, _) = super::begin(driver, safer_ring_core::Op::Nop);
                        driver.flush();
                        assert_eq!(super::result(driver, key), Some(0));
                        assert_eq!(driver.snapshot().in_flight, 0, "the bell was heard");
                    });
                    Poll::Pending
                }
                2 => {
                    thread::spawn(move || {
                        thread::sleep(Duration::from_millis(100));
                        waker.wake();
                    });
                    Poll::Pending
                }
                _ => Poll::Ready(()),
            }
        }));
    });
}

#[test]
fn each_of_many_foreign_wake_ups_ends_a_sleep() {
    in_time(|| {
        let ring = LocalCell::open(&Config::new(8)).unwrap();
        let (ask, asked) = mpsc::channel::<std::task::Waker>();
        let helper = thread::spawn(move || asked.iter().for_each(std::task::Waker::wake));
        let mut polls = 0;
        ring.block_on(poll_fn(|context| {
            polls += 1;
            if polls > 2_000 {
                return Poll::Ready(());
            }
            ask.send(context.waker().clone()).unwrap();
            Poll::Pending
        }));
        drop(ask);
        helper.join().unwrap();
    });
}
