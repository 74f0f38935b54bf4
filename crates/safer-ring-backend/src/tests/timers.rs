//! Waits that end because time passes.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use safer_ring_core::{CURSOR, Op};
use safer_ring_sys::Errno;

use super::faulty::{Chances, Fault, Faulty};
use super::{Count, Guarded, clean_up, lent, result, submit, submit_timer, waker};
use crate::backend::Backend;
use crate::config::Config;
use crate::driver::Driver;
use crate::fd::Guard;
use crate::uring::RingBackend;

const LENGTH: Duration = Duration::from_millis(30);

fn uring() -> RingBackend {
    RingBackend::new(&Config::new(8)).unwrap()
}

/// A driver with a read that never ends; the other end of its pipe comes along.
fn busy<B: Backend>(backend: B) -> (Driver<Guarded, B>, std::io::PipeWriter) {
    let mut driver = Driver::new(backend, 8).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut resources = lent(&Count::default());
    resources.fd = Some(Guarded::of(OwnedFd::from(reader).into()));
    submit(&mut driver, Op::Read { offset: CURSOR }, resources);
    driver.flush();
    (driver, writer)
}

/// Waits for a timer next to an operation that never ends.
fn sleeps<B: Backend>(backend: B) {
    let (mut driver, _writer) = busy(backend);
    let begun = Instant::now();
    let (woken, released) = (Count::default(), Count::default());
    let key = submit_timer(&mut driver, lent(&released), LENGTH);
    assert!(!driver.poll(key, &waker(&woken)));
    let mut turns = 0;
    while woken.get() == 0 {
        driver.wait(None);
        clean_up(&mut driver);
        turns += 1;
        assert!(turns < 10_000, "the wait returns and nothing happens");
    }
    assert!(begun.elapsed() >= LENGTH, "not early");
    assert_eq!(result(&mut driver, key), Some(-libc::ETIME));
    assert_eq!(released.get(), 1);
    assert_eq!(driver.snapshot().in_flight, 1, "the read goes on");
}

#[test]
fn a_timer_ends_a_wait() {
    sleeps(uring());
    // As before kernel 5.11, whose enter takes no limit.
    sleeps(uring().without_timed_waits());
}

#[test]
fn a_timer_ends_a_wait_that_is_interrupted_and_refused() {
    let (faulty, plan) = Faulty::new(uring(), Chances::None);
    let faults = [
        Fault::Before(Errno::INTR),
        Fault::After(Errno::INTR),
        Fault::Before(Errno::AGAIN),
        Fault::After(Errno::BUSY),
        Fault::Before(Errno::NOMEM),
        Fault::After(Errno::TIME),
    ];
    plan.borrow_mut().next.extend(faults);
    sleeps(faulty);
    assert!(plan.borrow().next.is_empty());
}

#[test]
fn timers_end_whatever_the_order_of_submission() {
    let (mut driver, _writer) = busy(uring());
    let begin = |driver: &mut Driver<Guarded, RingBackend>, after| {
        submit_timer(driver, lent(&Count::default()), Duration::from_millis(after))
    };
    let keys = [40, 5, 20, 0].map(|after| begin(&mut driver, after));
    let far = begin(&mut driver, 3_600_000);
    let mut order = Vec::new();
    while order.len() < keys.len() {
        driver.wait(None);
        clean_up(&mut driver);
        for (at, key) in keys.iter().enumerate() {
            if result(&mut driver, *key).is_some() {
                order.push(at);
            }
        }
    }
    assert_eq!(result(&mut driver, far), None);
    order.sort_unstable();
    assert_eq!(order, [0, 1, 2, 3]);
    driver.orphan(far);
    clean_up(&mut driver);
}

#[test]
fn a_timer_ends_while_somebody_changes_wakers_all_the_time() {
    let mut driver = Driver::new(uring(), 8).unwrap();
    let (reader, _writer) = std::io::pipe().unwrap();
    let mut resources = lent(&Count::default());
    resources.fd = Some(Guarded::of(OwnedFd::from(reader).into()));
    let other = submit(&mut driver, Op::Read { offset: CURSOR }, resources);
    let woken = Count::default();
    let key = submit_timer(&mut driver, lent(&Count::default()), Duration::from_millis(5));
    assert!(!driver.poll(key, &waker(&woken)));
    let limit = Instant::now() + Duration::from_secs(30);
    while woken.get() == 0 {
        assert!(Instant::now() < limit, "the timer is never looked at");
        // A waker that is replaced has to be dropped, and is handed out before the timers.
        assert!(!driver.poll(other, &waker(&Count::default())));
        driver.look();
        clean_up(&mut driver);
    }
    assert_eq!(result(&mut driver, key), Some(-libc::ETIME));
}

#[test]
fn a_kernel_timer_announces_a_deadline_to_who_polls_the_descriptor() {
    let (mut driver, _writer) = busy(RingBackend::with_bell(&Config::new(8)).unwrap().0);
    let woken = Count::default();
    let key = submit_timer(&mut driver, lent(&Count::default()), LENGTH);
    assert!(!driver.poll(key, &waker(&woken)));
    driver.arm_timer();
    driver.arm_timer();
    driver.flush();
    assert_eq!(driver.snapshot().in_flight, 2, "the read and one timer");
    while woken.get() == 0 {
        let fd = driver.backend().fd();
        let mut poll = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
        let limit = rustix::event::Timespec { tv_sec: 30, tv_nsec: 0 };
        let ready = rustix::event::poll(&mut poll, Some(&limit)).unwrap();
        assert_eq!(ready, 1, "the ring has not become readable");
        driver.look();
        if driver.table.next_deadline().is_some() {
            driver.arm_timer();
            driver.flush();
        }
        clean_up(&mut driver);
    }
    assert_eq!(result(&mut driver, key), Some(-libc::ETIME));
    assert_eq!(driver.snapshot().in_flight, 1);
}
