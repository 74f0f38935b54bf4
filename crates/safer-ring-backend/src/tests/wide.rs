//! Completions of 32 bytes: who gets the second half.

use safer_ring_core::{CURSOR, Op};

use super::memory::driver;
use super::{begin, take};

#[test]
fn each_completion_of_a_raw_operation_has_its_second_half() {
    let (mut driver, kernel) = driver(8);
    let (key, released) = begin(&mut driver, Op::Raw);
    let (other, _) = begin(&mut driver, Op::Raw);
    driver.flush();
    let (first, second) = (kernel.borrow().operations()[0], kernel.borrow().operations()[1]);
    let mut state = kernel.borrow_mut();
    state.halves = Some([[1, 2], [30, 40], [3, 4], [5, 6]].into());
    state.post_more(first, 10);
    state.post(second, 20);
    state.post_more(first, 11);
    state.post(first, 12);
    drop(state);
    driver.look();
    let more = driver.take_more(key);
    let halves: Vec<_> =
        more.earlier.iter().map(|(completion, half)| (completion.res, *half)).collect();
    assert_eq!(halves, [(10, [1, 2]), (11, [3, 4])]);
    assert_eq!((more.last_half, driver.take_more(other).last_half), ([5, 6], [30, 40]));
    let (resources, res) = take(&mut driver, key).unwrap();
    assert_eq!(res, 12);
    drop(resources);
    assert_eq!(released.get(), 1);
    assert_eq!(driver.take_more(key).last_half, [0; 2], "taken once");
}

#[test]
fn what_is_no_raw_operation_keeps_no_second_half() {
    let (mut driver, kernel) = driver(8);
    let (key, _) = begin(&mut driver, Op::Read { offset: CURSOR });
    driver.flush();
    let name = kernel.borrow().operations()[0];
    kernel.borrow_mut().halves = Some([[1, 2]].into());
    kernel.borrow_mut().post(name, 3);
    driver.look();
    assert_eq!(driver.take_more(key).last_half, [0; 2]);
    assert_eq!(take(&mut driver, key).unwrap().1, 3);
}

#[test]
fn nothing_is_kept_of_a_raw_operation_whose_owner_is_gone() {
    let (mut driver, kernel) = driver(8);
    let (late, released) = begin(&mut driver, Op::Raw);
    let (early, _) = begin(&mut driver, Op::Raw);
    driver.flush();
    let (first, second) = (kernel.borrow().operations()[0], kernel.borrow().operations()[1]);
    kernel.borrow_mut().halves = Some([[1, 2], [3, 4], [5, 6]].into());
    // One ends before its owner goes, the other one after that.
    kernel.borrow_mut().post(second, 0);
    driver.look();
    driver.orphan(early);
    driver.orphan(late);
    kernel.borrow_mut().post_more(first, 0);
    kernel.borrow_mut().post(first, 0);
    driver.look();
    for key in [late, early] {
        let more = driver.take_more(key);
        assert_eq!((more.earlier.len(), more.last_half), (0, [0; 2]));
    }
    assert_eq!(released.get(), 0, "buried, until the aftermath");
    driver.flush();
}

#[test]
fn a_doubled_last_completion_changes_no_second_half() {
    let (mut driver, kernel) = driver(8);
    let (key, _) = begin(&mut driver, Op::Raw);
    driver.flush();
    let name = kernel.borrow().operations()[0];
    kernel.borrow_mut().halves = Some([[1, 2], [3, 4]].into());
    kernel.borrow_mut().post(name, 0);
    kernel.borrow_mut().post(name, 1);
    driver.look();
    assert_eq!(driver.take_more(key).last_half, [1, 2]);
    assert_eq!(take(&mut driver, key).unwrap().1, 0);
}
