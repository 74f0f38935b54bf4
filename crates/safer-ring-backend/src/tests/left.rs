//! What waits in the table after a turn: nothing that the kernel could have, since nobody else may have a reason to come.

use safer_ring_core::{Key, Op};
use safer_ring_sys::Errno;

use super::memory::{Answer, Kernel, driver};
use super::{Count, begin, lent, submit_linked};
use crate::driver::Driver;

/// A connect that the kernel has, and whose cancellation it has not been asked yet.
fn connecting(entries: u32) -> (Driver<super::Guarded, super::memory::Memory>, Kernel, Key) {
    let (mut driver, kernel) = driver(entries);
    let (key, _) = begin(&mut driver, Op::Connect { len: 16 });
    driver.flush();
    assert_eq!(kernel.borrow().operations().len(), 1);
    (driver, kernel, key)
}

fn cancellations(kernel: &Kernel) -> usize {
    kernel.borrow().taken.iter().filter(|entry| entry.target.is_some()).count()
}

/// The thread comes by. Tells whether there is something to take in.
fn take_all(kernel: &Kernel) -> bool {
    let mut state = kernel.borrow_mut();
    let all = state.queued.len();
    state.take(all);
    !state.completions.is_empty()
}

/// Found with SQPOLL: the second request stayed in the table, and the connect in the kernel, until something else came up.
#[test]
fn a_cancellation_that_finds_nothing_is_asked_again_in_the_same_turn() {
    let (mut driver, kernel, key) = connecting(8);
    kernel.borrow_mut().fruitless = 3;
    driver.cancel(key);
    driver.flush();
    assert!(!driver.has_queued(), "nobody else would hand it over");
    assert_eq!(cancellations(&kernel), 4, "three that found nothing, and the one that did");
}

#[test]
fn a_cancellation_that_finds_nothing_is_asked_again_where_a_thread_takes_it() {
    // Taken before it is looked at, during the call, behind it, and only after the turn.
    let ways: [(&[usize], usize); 4] = [(&[], 0), (&[0, 0], 1), (&[0, 1], 0), (&[0, 0, 1], 0)];
    for (seen, during) in ways {
        let (mut driver, kernel, key) = connecting(8);
        kernel.borrow_mut().polling = Some(seen.iter().copied().collect());
        kernel.borrow_mut().answers.push_back(Answer::Take(during));
        kernel.borrow_mut().fruitless = 3;
        driver.cancel(key);
        driver.flush();
        // What the thread answers after the turn is announced, and then taken in.
        while take_all(&kernel) {
            driver.take_in();
        }
        assert!(!driver.has_queued(), "{seen:?}");
        assert_eq!(cancellations(&kernel), 4, "{seen:?}");
    }
}

/// The call that waits is refused while the answer "found nothing" is there. The next call would sleep although the
/// cancellation is to be asked again.
#[test]
fn a_cancellation_that_comes_back_during_a_refusal_is_not_slept_over() {
    let (mut driver, kernel, key) = connecting(8);
    driver.cancel(key);
    driver.flush();
    let name = kernel.borrow().taken.last().unwrap().user_data;
    let refusal = Answer::PostAndRefuse(name, -2, Errno::BUSY);
    kernel.borrow_mut().answers.push_back(refusal);
    driver.wait(None);
    driver.flush();
    assert_eq!(cancellations(&kernel), 2);
}

/// The thread takes entries between two looks at the queue: how many it has taken must not be mistaken for how many it
/// will take. Found with SQPOLL on a busy machine: nothing that was still queued was handed over any more.
#[test]
fn what_waits_behind_a_full_queue_goes_whenever_the_polling_thread_makes_room() {
    let ways: [&[usize]; 6] = [&[], &[4], &[1], &[0, 1], &[1, 0, 1, 0], &[0, 0, 0, 4, 0, 0, 4]];
    for seen in ways {
        let (mut driver, kernel) = driver(4);
        kernel.borrow_mut().polling = Some(seen.iter().copied().collect());
        for _ in 0..7 {
            begin(&mut driver, Op::Recv { flags: 0 });
        }
        driver.flush();
        assert_eq!(driver.table.queued(), 0, "{seen:?}: none of them ends by itself");
    }
}

#[test]
fn a_chain_waits_for_a_polling_thread_to_make_room_for_all_of_it() {
    let (mut driver, kernel) = driver(4);
    begin(&mut driver, Op::Recv { flags: 0 });
    kernel.borrow_mut().polling = Some([0, 0, 0, 0].into());
    driver.flush();
    for following in [3, 2, 1, 0] {
        submit_linked(&mut driver, lent(&Count::default()), following);
    }
    driver.flush();
    assert_eq!(driver.table.queued(), 0, "there was room for three");
}
