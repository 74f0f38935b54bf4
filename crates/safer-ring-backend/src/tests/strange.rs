//! Completions that should not be: stale, doubled, unknown, out of order.

use safer_ring_core::{CURSOR, Key, Op, Tag};

use super::memory::driver;
use super::{begin, clean_up, result, take};

#[test]
fn a_duplicate_completion_does_not_complete_twice() {
    let (mut driver, kernel) = driver(8);
    let (key, released) = begin(&mut driver, Op::Nop);
    driver.flush();
    let name = kernel.borrow().operations()[0];
    kernel.borrow_mut().post(name, 7);
    kernel.borrow_mut().post(name, 8);
    driver.wait(None);
    assert_eq!(driver.snapshot().stale_completions, 1);
    assert_eq!((driver.snapshot().completed, driver.snapshot().in_flight), (1, 0));
    let (resources, res) = take(&mut driver, key).unwrap();
    assert_eq!(res, 7, "the first one counts");
    kernel.borrow_mut().post(name, 9);
    driver.look();
    assert!(take(&mut driver, key).is_none());
    assert_eq!(driver.snapshot().stale_completions, 2);
    assert_eq!(released.get(), 0, "the owner has it");
    drop(resources);
    assert_eq!(released.get(), 1);
}

#[test]
fn a_stale_completion_of_a_reused_slot_is_ignored_and_counted() {
    let (mut driver, kernel) = driver(8);
    let (first, _) = begin(&mut driver, Op::Nop);
    driver.flush();
    let old = kernel.borrow().operations()[0];
    kernel.borrow_mut().post(old, 1);
    driver.look();
    assert_eq!(result(&mut driver, first), Some(1));
    let (second, released) = begin(&mut driver, Op::Read { offset: CURSOR });
    assert_eq!(first.index(), second.index(), "the slot is used again");
    driver.flush();
    for _ in 0..3 {
        kernel.borrow_mut().post(old, 2);
        kernel.borrow_mut().post_more(old, 2);
    }
    driver.look();
    assert_eq!(result(&mut driver, second), None, "the stranger ended nothing");
    assert_eq!((driver.snapshot().stale_completions, driver.snapshot().in_flight), (6, 1));
    assert_eq!(released.get(), 0);
    let new = kernel.borrow().operations()[1];
    kernel.borrow_mut().post(new, 3);
    driver.look();
    assert_eq!(result(&mut driver, second), Some(3));
    assert_eq!(released.get(), 1);
}

#[test]
fn unknown_completions_are_counted_and_change_nothing() {
    let (mut driver, kernel) = driver(8);
    let (key, released) = begin(&mut driver, Op::Nop);
    driver.flush();
    let name = kernel.borrow().operations()[0];
    let strangers = [
        0,
        u64::MAX,
        name | 0xf,
        name & !0xf,
        Key::new(key.index(), key.generation() + 1).user_data(Tag::Operation),
        Key::new(key.index() + 1, 0).user_data(Tag::Operation),
        Key::new(u32::MAX, 0).user_data(Tag::Operation),
        key.user_data(Tag::Cancel),
        Key::new(u32::MAX, 9).user_data(Tag::Cancel),
    ];
    for stranger in strangers {
        kernel.borrow_mut().post(stranger, 0);
        kernel.borrow_mut().post(stranger, -4);
    }
    // The driver's own tags are known, but none of its own operations is out.
    kernel.borrow_mut().post(Key::new(0, 1).user_data(Tag::Timer), -62);
    kernel.borrow_mut().post(Key::new(u32::MAX, 1).user_data(Tag::Timer), -62);
    kernel.borrow_mut().post(Key::new(5, 1).user_data(Tag::Wake), 1);
    driver.look();
    assert_eq!(driver.snapshot().stale_completions, u64::try_from(2 * strangers.len()).unwrap());
    assert_eq!((driver.snapshot().in_flight, driver.snapshot().completed), (1, 0));
    assert_eq!(released.get(), 0);
    kernel.borrow_mut().post(name, 5);
    driver.look();
    assert_eq!(result(&mut driver, key), Some(5));
    assert_eq!(driver.snapshot().in_flight, 0);
}

#[test]
fn completions_in_any_order_reach_their_own_operation() {
    let (mut driver, kernel) = driver(64);
    let operations: Vec<_> = (0..50).map(|_| begin(&mut driver, Op::Nop)).collect();
    driver.flush();
    let names = kernel.borrow().operations();
    assert_eq!(names.len(), 50);
    for (at, name) in names.iter().enumerate().rev() {
        kernel.borrow_mut().post(*name, i32::try_from(at).unwrap());
    }
    driver.wait(None);
    for (at, (key, released)) in operations.iter().enumerate() {
        assert_eq!(result(&mut driver, *key), Some(i32::try_from(at).unwrap()));
        assert_eq!(released.get(), 1);
    }
}

#[test]
fn more_completions_than_fit_into_one_look_are_all_taken() {
    let (mut driver, kernel) = driver(512);
    let operations: Vec<_> = (0..300).map(|_| begin(&mut driver, Op::Nop)).collect();
    driver.flush();
    let names = kernel.borrow().operations();
    for name in &names {
        kernel.borrow_mut().post(*name, 1);
        kernel.borrow_mut().post(*name, 2);
    }
    driver.look();
    assert!(kernel.borrow().completions.is_empty());
    assert_eq!(driver.snapshot().stale_completions, 300);
    for (key, _) in &operations {
        assert_eq!(result(&mut driver, *key), Some(1));
    }
    clean_up(&mut driver);
    assert!(driver.is_idle());
}

#[test]
fn a_completion_of_a_dropped_owner_releases_once() {
    let (mut driver, kernel) = driver(8);
    let (key, released) = begin(&mut driver, Op::Read { offset: CURSOR });
    driver.flush();
    let name = kernel.borrow().operations()[0];
    driver.orphan(key);
    driver.orphan(key);
    driver.flush();
    clean_up(&mut driver);
    assert_eq!(released.get(), 0, "the kernel still has it");
    let cancel = *kernel.borrow().taken.last().unwrap();
    assert_eq!(cancel.target, Some(name));
    kernel.borrow_mut().post(cancel.user_data, 0);
    driver.look();
    clean_up(&mut driver);
    assert_eq!(released.get(), 0, "the end of the cancellation is not the end of the operation");
    for _ in 0..2 {
        kernel.borrow_mut().post(name, -125);
        kernel.borrow_mut().post(cancel.user_data, 0);
    }
    driver.look();
    clean_up(&mut driver);
    assert_eq!(released.get(), 1);
    assert_eq!(driver.snapshot().stale_completions, 3);
    assert!(driver.is_idle());
}
