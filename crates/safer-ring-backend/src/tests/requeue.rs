//! Operations that come back into the queue, and sleeps that must not begin while one is there.
//!
//! # Safety
//! Makes a timer's descriptor.
//!
//! Tests: a_clock_that_was_set_is_news
#![allow(unsafe_code, reason = "timerfd_create(2)")]

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::Duration;

use safer_ring_core::{CURSOR, Key, Op, PAUSE, Tag};
use safer_ring_sys::Errno;

use super::memory::{Answer, driver};
use super::{Count, begin, clean_up, lent, result, submit, submit_linked, waker};
use crate::fd::Guard;

#[test]
fn an_interrupted_operation_is_tried_again() {
    let (mut driver, kernel) = driver(8);
    let (key, released) = begin(&mut driver, Op::Read { offset: 0 });
    for _ in 0..3 {
        driver.flush();
        let name = *kernel.borrow().operations().last().unwrap();
        kernel.borrow_mut().post(name, -4);
        driver.look();
        assert_eq!(result(&mut driver, key), None);
        assert_eq!(released.get(), 0);
    }
    driver.flush();
    assert_eq!(kernel.borrow().operations().len(), 4);
    assert_eq!(driver.snapshot().requeued, 3);
}

/// Of a file, not of a signal: the call in which it was handed over ends.
#[test]
fn an_interruption_without_end_is_told_in_the_end() {
    let (mut driver, kernel) = driver(8);
    for errno in [-4, -125] {
        kernel.borrow_mut().always_immediate = Some(errno);
        let (key, released) = begin(&mut driver, Op::Read { offset: 0 });
        driver.flush();
        assert_eq!(result(&mut driver, key), Some(errno));
        assert_eq!(released.get(), 1);
    }
    assert!(driver.snapshot().requeued > 4, "a signal or two change nothing");
}

#[test]
fn a_descriptor_that_only_says_that_it_is_ready_is_waited_for_in_pauses() {
    let (mut driver, kernel) = driver(8);
    let (key, _) = begin(&mut driver, Op::SendMsg { flags: 0 });
    let (mut polls, mut pauses) = (0, Vec::new());
    while pauses.len() < 8 {
        driver.flush();
        let entry = *kernel.borrow().taken.last().unwrap();
        let answer = match entry.poll_first {
            None => -11,
            Some(word) if word & PAUSE != 0 => {
                pauses.push(word & !PAUSE);
                -62
            }
            Some(_) => {
                polls += 1;
                4
            }
        };
        kernel.borrow_mut().post(entry.user_data, answer);
        driver.look();
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 32, 32]);
    assert!(polls > 8, "a race or two cost no pause");
    driver.flush();
    let name = kernel.borrow().taken.last().unwrap().user_data;
    kernel.borrow_mut().post(name, 5);
    driver.look();
    assert_eq!(result(&mut driver, key), Some(5));
}

/// A timer that says once that the clock was set, and another that does not.
#[test]
fn a_clock_that_was_set_is_news() {
    const CANCEL_ON_SET: i32 = 1 << 1;
    for (flags, told) in [(libc::TFD_TIMER_ABSTIME | CANCEL_ON_SET, true), (0, false)] {
        // SAFETY: timerfd_create(2) takes no pointer.
        let number = unsafe { libc::timerfd_create(libc::CLOCK_REALTIME, libc::TFD_CLOEXEC) };
        assert!(number >= 0);
        // SAFETY: made right now, with no other owner.
        let timer = unsafe { OwnedFd::from_raw_fd(number) };
        let never = libc::timespec { tv_sec: 1 << 40, tv_nsec: 0 };
        let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let when = libc::itimerspec { it_interval: zero, it_value: never };
        let null = std::ptr::null_mut();
        // SAFETY: one value on this stack, read during the call.
        let set = unsafe { libc::timerfd_settime(timer.as_raw_fd(), flags, &raw const when, null) };
        assert_eq!(set, 0);
        let (mut driver, kernel) = driver(8);
        let mut resources = lent(&Count::default());
        resources.fd = Some(Guard::of(timer.into()));
        let key = submit(&mut driver, Op::Read { offset: CURSOR }, resources);
        driver.flush();
        let name = kernel.borrow().operations()[0];
        kernel.borrow_mut().post(name, -125);
        driver.look();
        assert_eq!(result(&mut driver, key), told.then_some(-125));
    }
}

#[test]
fn a_descriptor_that_does_not_block_is_waited_for() {
    let (mut driver, kernel) = driver(8);
    let (key, _) = begin(&mut driver, Op::Recv { flags: 0 });
    driver.flush();
    let name = kernel.borrow().operations()[0];
    kernel.borrow_mut().post(name, -11);
    driver.look();
    driver.flush();
    let poll = *kernel.borrow().taken.last().unwrap();
    assert_eq!(poll.poll_first, Some(1), "a poll goes first");
    kernel.borrow_mut().post(poll.user_data, 1);
    driver.look();
    driver.flush();
    let again = *kernel.borrow().taken.last().unwrap();
    assert_eq!(again.poll_first, None);
    kernel.borrow_mut().post(again.user_data, 9);
    driver.look();
    assert_eq!(result(&mut driver, key), Some(9));
}

#[test]
fn an_immediate_answer_ends_the_operation_without_the_kernel() {
    let (mut driver, kernel) = driver(8);
    kernel.borrow_mut().immediate.extend([5, -9]);
    let (first, _) = begin(&mut driver, Op::Shutdown { how: 0 });
    let (second, _) = begin(&mut driver, Op::Shutdown { how: 0 });
    driver.flush();
    assert_eq!(result(&mut driver, first), Some(5));
    assert_eq!(result(&mut driver, second), Some(-9));
    assert_eq!(kernel.borrow().enters, 0);
    assert_eq!(driver.snapshot().plain_calls, 2);
    assert!(driver.is_idle());
}

#[test]
fn an_immediate_answer_that_was_interrupted_is_tried_again_at_once() {
    let (mut driver, kernel) = driver(8);
    kernel.borrow_mut().immediate.extend([-4, -4, 0]);
    let (key, _) = begin(&mut driver, Op::Ftruncate { len: 1 });
    driver.flush();
    assert_eq!(result(&mut driver, key), Some(0));
    kernel.borrow_mut().immediate.extend([-4, 0]);
    let (key, _) = begin(&mut driver, Op::Ftruncate { len: 1 });
    let woken = Count::default();
    assert!(!driver.poll(key, &waker(&woken)));
    driver.wait(None);
    clean_up(&mut driver);
    assert_eq!(woken.get(), 1, "a sleep has not swallowed it");
    assert_eq!(result(&mut driver, key), Some(0));
}

#[test]
fn more_immediate_answers_than_may_be_in_flight_are_all_given() {
    let (mut driver, kernel) = driver(4);
    kernel.borrow_mut().always_immediate = Some(3);
    let operations: Vec<_> =
        (0..100).map(|_| begin(&mut driver, Op::Shutdown { how: 0 })).collect();
    driver.flush();
    for (key, released) in &operations {
        assert_eq!(result(&mut driver, *key), Some(3));
        assert_eq!(released.get(), 1);
    }
    assert!(driver.is_idle());
}

#[test]
fn an_operation_that_comes_back_during_a_refusal_is_not_slept_over() {
    let (mut driver, kernel) = driver(8);
    let (key, _) = begin(&mut driver, Op::Read { offset: 0 });
    driver.flush();
    let name = kernel.borrow().operations()[0];
    // The call that waits is refused while the completion "interrupted" is there. The next call would
    // sleep although the operation is queued again.
    let refusal = Answer::PostAndRefuse(name, -4, Errno::BUSY);
    kernel.borrow_mut().answers.push_back(refusal);
    driver.wait(None);
    driver.flush();
    assert_eq!(kernel.borrow().operations().len(), 2, "it was handed over again");
    let again = kernel.borrow().operations()[1];
    kernel.borrow_mut().post(again, 1);
    driver.wait(None);
    assert_eq!(result(&mut driver, key), Some(1));
}

#[test]
fn the_bell_that_rings_during_a_refusal_is_not_slept_over() {
    let (mut driver, kernel) = driver(8);
    let (_key, _) = begin(&mut driver, Op::Read { offset: CURSOR });
    driver.flush();
    driver.table.expect_internal();
    let bell = Key::new(0, 1).user_data(Tag::Wake);
    let refusal = Answer::PostAndRefuse(bell, 1, Errno::AGAIN);
    kernel.borrow_mut().answers.push_back(refusal);
    driver.wait(None);
    assert!(driver.take_rung(), "the wait is over and the bell was heard");
}

#[test]
fn a_dropped_operation_that_ends_during_a_refusal_is_released_before_a_sleep() {
    let (mut driver, kernel) = driver(8);
    let (key, released) = begin(&mut driver, Op::Nop);
    driver.flush();
    driver.orphan(key);
    let name = kernel.borrow().operations()[0];
    let refusal = Answer::PostAndRefuse(name, 0, Errno::BUSY);
    kernel.borrow_mut().answers.push_back(refusal);
    driver.wait(None);
    clean_up(&mut driver);
    assert_eq!(released.get(), 1);
}

#[test]
fn the_waker_of_a_batch_is_handed_out_with_that_of_its_last_member() {
    let (mut driver, kernel) = driver(8);
    let (key, _) = begin(&mut driver, Op::Nop);
    let group = driver.table.group();
    driver.table.join(group, key);
    let (member, batch) = (Count::default(), Count::default());
    assert!(!driver.poll(key, &waker(&member)));
    driver.flush();
    assert!(!driver.table.poll_group(group, &waker(&batch)));
    let name = kernel.borrow().operations()[0];
    kernel.borrow_mut().post(name, 0);
    // Another operation on the same thread takes the completion in, in passing.
    let (_other, _) = begin(&mut driver, Op::Nop);
    driver.flush();
    clean_up(&mut driver);
    assert_eq!((member.get(), batch.get()), (1, 1));
}

#[test]
fn members_of_a_chain_go_out_together_or_not_yet() {
    let (mut driver, kernel) = driver(4);
    for _ in 0..3 {
        begin(&mut driver, Op::Nop);
    }
    kernel.borrow_mut().always = Some(Errno::AGAIN);
    driver.flush();
    let chain: Vec<Key> = [2, 1, 0]
        .into_iter()
        .map(|following| submit_linked(&mut driver, lent(&Count::default()), following))
        .collect();
    driver.flush();
    assert_eq!(kernel.borrow().queued.len(), 3, "one place is free, the chain needs three");
    kernel.borrow_mut().always = None;
    driver.flush();
    let taken = kernel.borrow().taken.clone();
    let links: Vec<bool> = taken.iter().map(|entry| entry.link).collect();
    assert_eq!(links, [false, false, false, true, true, false]);
    assert_eq!(chain.len(), 3);
}

#[test]
fn a_wait_with_a_limit_ends_without_a_completion() {
    let (mut driver, kernel) = driver(8);
    let (key, _) = begin(&mut driver, Op::Read { offset: CURSOR });
    driver.wait(Some(Duration::from_millis(1)));
    assert_eq!(kernel.borrow().taken.len(), 1);
    assert_eq!(result(&mut driver, key), None);
}
