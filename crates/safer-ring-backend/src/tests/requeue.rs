//! Operations that come back into the queue, and sleeps that must not begin while one is there.

use std::time::Duration;

use safer_ring_core::{CURSOR, Key, Op, Tag};
use safer_ring_sys::Errno;

use super::memory::{Answer, driver};
use super::{Count, begin, clean_up, lent, result, submit_linked, waker};

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
