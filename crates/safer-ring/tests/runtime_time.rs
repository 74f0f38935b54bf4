//! Timers of a runtime.
#![cfg(feature = "runtime")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::cell::RefCell;
use std::future::{pending, ready};
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::net::{poll_once, unix_pair};
use common::{slowness, within_deadline};
use futures_util::future::join_all;
use safer_ring::Runtime;
use safer_ring::runtime::{self, MissedTicks};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn run<F: Future>(body: impl FnOnce() -> F + Send + 'static) {
    within_deadline(|| {
        Runtime::new().unwrap().block_on(async { body().await });
    });
}

#[test]
fn sleeps_end_in_the_order_of_their_deadlines_and_never_early() {
    run(|| async {
        let order = Rc::new(RefCell::new(Vec::new()));
        let start = Instant::now();
        // So far apart that none is due before all have begun.
        let tasks = [30, 10, 20].map(|after| {
            let after = after * u64::from(slowness());
            let order = Rc::clone(&order);
            runtime::spawn(async move {
                runtime::sleep_until(start + ms(after)).await;
                assert!(start.elapsed() >= ms(after));
                order.borrow_mut().push(after);
            })
        });
        join_all(tasks).await.into_iter().for_each(Result::unwrap);
        runtime::sleep_until(start).await;
        assert!(order.borrow().is_sorted() && order.borrow().len() == 3);
    });
}

#[test]
fn a_hundred_thousand_sleeps_cost_no_submission() {
    const SLEEPS: usize = 100_000;
    run(|| async {
        let ring = runtime::ring();
        ring.nop().await.unwrap();
        let before = ring.snapshot();
        let mut sleeps: Vec<_> =
            (0..SLEEPS).map(|_| runtime::sleep(Duration::from_secs(600))).collect();
        assert!(sleeps.iter_mut().all(|sleep| poll_once(sleep).is_pending()));
        let tasks: Vec<_> = (0..1_000).map(|_| runtime::spawn(runtime::sleep(ms(5)))).collect();
        join_all(tasks).await.into_iter().for_each(Result::unwrap);
        let armed = ring.snapshot();
        drop(sleeps);
        runtime::sleep(ms(1)).await;
        let after = ring.snapshot();
        // The bell alone is in flight.
        assert!(armed.in_flight <= 1 && after.in_flight <= 1, "{armed:?} {after:?}");
        // Waits of the thread, which the many shared.
        assert!(after.enters - before.enters < 1_000, "{before:?} {after:?}");
        assert_eq!(after.cancel_requests, before.cancel_requests);
    });
}

#[test]
fn a_timeout_ends_what_takes_too_long_and_nothing_else() {
    run(|| async {
        let late = runtime::timeout(ms(5), pending::<()>()).await.unwrap_err();
        assert_eq!(std::io::Error::from(late).kind(), std::io::ErrorKind::TimedOut);
        assert_eq!(runtime::timeout(ms(5_000), ready(3)).await.unwrap(), 3);
        assert_eq!(runtime::timeout(Duration::ZERO, ready(3)).await.unwrap(), 3);
        assert!(runtime::timeout_at(Instant::now(), pending::<()>()).await.is_err());
        assert_eq!(runtime::timeout(Duration::MAX, ready(3)).await.unwrap(), 3);
        // What a dropped receive takes in is there for the next.
        let ((a, b), ring) = (unix_pair(), runtime::ring());
        runtime::timeout(ms(5), ring.recv(&a, vec![0; 8])).await.unwrap_err();
        ring.send(&b, b"kept".to_vec()).await.unwrap();
        assert_eq!(ring.recv(&a, vec![0; 8]).await.unwrap().1, b"kept");
    });
}

#[test]
fn a_sleep_can_be_set_anew() {
    run(|| async {
        let mut sleep = runtime::sleep(Duration::from_secs(600));
        assert!(poll_once(&mut sleep).is_pending());
        assert!(!sleep.is_elapsed());
        let deadline = Instant::now() + ms(5);
        sleep.reset(deadline);
        assert_eq!(sleep.deadline(), Some(deadline));
        (&mut sleep).await;
        assert!(Instant::now() >= deadline && sleep.is_elapsed());
    });
}

#[test]
fn an_interval_ticks_at_equal_distances() {
    run(|| async {
        let mut ticks = runtime::interval(ms(3));
        let first = ticks.tick().await;
        for number in 1..5 {
            let tick = ticks.tick().await;
            assert_eq!(tick, first + number * ms(3));
            assert!(Instant::now() >= tick);
        }
    });
}

#[test]
fn missed_ticks_are_made_up_for_delayed_or_left_out() {
    run(|| async {
        let period = ms(4);
        let late = async |missed| {
            let asked = Instant::now();
            let start = asked.checked_sub(10 * period).unwrap();
            let mut ticks = runtime::interval_at(start, period).missed_ticks(missed);
            assert_eq!(ticks.tick().await, start, "the first is due in any case");
            (start, asked, ticks.tick().await)
        };
        let (start, _, second) = late(MissedTicks::Burst).await;
        assert_eq!(second, start + period);
        let (_, asked, second) = late(MissedTicks::Delay).await;
        assert!(second >= asked + period);
        let (start, asked, second) = late(MissedTicks::Skip).await;
        assert!(second > asked);
        assert_eq!(second.duration_since(start).as_nanos() % period.as_nanos(), 0);
    });
}
