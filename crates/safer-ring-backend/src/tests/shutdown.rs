//! Dropping a driver with work in flight.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use safer_ring_core::{CURSOR, Op};
use safer_ring_sys::Errno;

use super::memory::{Answer, driver};
use super::{Count, Guarded, begin, lent, submit, submit_timer};
use crate::config::Config;
use crate::driver::Driver;
use crate::fd::Guard;
use crate::request::Resources;
use crate::uring::RingBackend;

fn uring() -> Driver<Guarded, RingBackend> {
    let backend = RingBackend::new(&Config::new(8)).unwrap();
    Driver::new(backend, 8).unwrap()
}

/// A pipe that nobody writes to, and resources that read from it.
fn silent(released: &Count) -> (Guarded, std::io::PipeWriter, Resources<Guarded>) {
    let (reader, writer) = std::io::pipe().unwrap();
    let fd = Guarded::of(OwnedFd::from(reader).into());
    let mut resources = lent(released);
    resources.fd = Some(Rc::clone(&fd));
    (fd, writer, resources)
}

#[test]
fn a_dropped_driver_cancels_what_never_ends_and_releases_it() {
    for orphaned in [false, true] {
        let mut driver = uring();
        let released = Count::default();
        let (fd, _writer, resources) = silent(&released);
        let key = submit(&mut driver, Op::Read { offset: CURSOR }, resources);
        driver.flush();
        if orphaned {
            driver.orphan(key);
        }
        assert_eq!((released.get(), Rc::strong_count(&fd)), (0, 2));
        drop(driver);
        assert_eq!((released.get(), Rc::strong_count(&fd)), (1, 1));
    }
}

#[test]
fn a_dropped_driver_releases_what_it_never_handed_over() {
    let mut driver = uring();
    let released = Count::default();
    for _ in 0..100 {
        let (_, _, resources) = silent(&released);
        submit(&mut driver, Op::Read { offset: CURSOR }, resources);
    }
    drop(driver);
    assert_eq!(released.get(), 100);
}

#[test]
fn a_dropped_driver_takes_its_timers_along() {
    let mut driver = uring();
    let released = Count::default();
    for minutes in [3, 2, 1] {
        submit_timer(&mut driver, lent(&released), Duration::from_secs(60 * minutes));
        driver.arm_timer();
        driver.flush();
    }
    drop(driver);
    assert_eq!(released.get(), 3);
}

#[test]
fn a_kernel_that_never_answers_keeps_the_memory_and_the_descriptors() {
    let (mut driver, kernel) = driver(4);
    let released = Count::default();
    let mut guards = Vec::new();
    for _ in 0..3 {
        let (fd, _, resources) = silent(&released);
        submit(&mut driver, Op::Read { offset: CURSOR }, resources);
        guards.push(fd);
    }
    driver.flush();
    assert_eq!(kernel.borrow().taken.len(), 3);
    drop(driver);
    assert_eq!(released.get(), 0, "the kernel may still write there");
    for fd in &guards {
        assert_eq!(Rc::strong_count(fd), 2, "the kernel may still use the number");
    }
    let cancelled = kernel.borrow().taken.iter().filter(|entry| entry.target.is_some()).count();
    assert_eq!(cancelled, 3, "each was asked to end");
    assert!(kernel.borrow().enters < 100, "{} calls", kernel.borrow().enters);
}

#[test]
fn a_kernel_that_refuses_everything_keeps_what_it_may_have_seen() {
    for errno in [Errno::AGAIN, Errno::NOMEM] {
        let (mut driver, kernel) = driver(4);
        let (_, seen) = begin(&mut driver, Op::Nop);
        driver.flush();
        kernel.borrow_mut().always = Some(errno);
        let (_, staged) = begin(&mut driver, Op::Nop);
        driver.stage();
        drop(driver);
        assert_eq!((seen.get(), staged.get()), (0, 0), "{errno}");
        assert!(kernel.borrow().enters < 1000, "{} calls", kernel.borrow().enters);
    }
}

#[test]
fn a_broken_ring_keeps_only_what_the_kernel_has() {
    let (mut driver, kernel) = driver(4);
    let (_, seen) = begin(&mut driver, Op::Nop);
    driver.flush();
    kernel.borrow_mut().always = Some(Errno::PERM);
    let unseen: Vec<Count> = (0..20).map(|_| begin(&mut driver, Op::Nop).1).collect();
    drop(driver);
    assert_eq!(seen.get(), 0);
    for released in unseen {
        assert_eq!(released.get(), 1);
    }
}

#[test]
fn a_completion_that_arrives_while_the_driver_is_dropped_releases_the_memory() {
    let (mut driver, kernel) = driver(4);
    let (_, released) = begin(&mut driver, Op::Nop);
    driver.flush();
    let name = kernel.borrow().operations()[0];
    let late = Answer::PostAndRefuse(name, 0, Errno::AGAIN);
    kernel.borrow_mut().answers.push_back(Answer::Refuse(Errno::INTR));
    kernel.borrow_mut().answers.push_back(late);
    drop(driver);
    assert_eq!(released.get(), 1);
}

#[test]
fn an_ended_operation_that_nobody_took_is_released_with_its_driver() {
    let (mut driver, kernel) = driver(4);
    let (_, released) = begin(&mut driver, Op::Nop);
    driver.flush();
    let name = kernel.borrow().operations()[0];
    kernel.borrow_mut().post(name, 0);
    driver.look();
    assert_eq!(released.get(), 0);
    drop(driver);
    assert_eq!(released.get(), 1);
}
