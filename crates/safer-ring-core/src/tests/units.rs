//! Single facts that the scripts do not reach.

use std::collections::BTreeSet;
use std::mem::ManuallyDrop;
use std::vec::Vec;

use crate::slot::{MOST_TRIES, Slot};
use crate::{
    CURSOR, Key, Limits, OnDrop, Op, Orphaned, Outcome, PAUSE, Polled, Staged, Table, Tag, limits,
};

fn table() -> Table<u32> {
    Table::new(Limits::for_ring(8, 16))
}

fn word(staged: Option<Staged<'_, u32>>) -> u64 {
    match staged {
        Some(Staged::Operation { user_data, .. } | Staged::Cancel { user_data, .. }) => user_data,
        None => panic!("nothing to stage"),
    }
}

#[test]
fn slots_are_compact() {
    assert!(size_of::<Slot<()>>() <= 88, "{}", size_of::<Slot<()>>());
    assert!(size_of::<Key>() == 8 && size_of::<Op>() <= 32);
}

#[test]
fn a_slot_is_used_again_before_the_table_grows() {
    let mut table = table();
    let mut seen = BTreeSet::new();
    for _ in 0..100 {
        let key = table.insert(Op::Nop, 0).unwrap();
        assert_eq!(key.index(), 0);
        assert!(seen.insert(key.generation()), "a generation came twice");
        let word = word(table.stage(1));
        assert!(matches!(table.complete(word, 0, 0), Outcome::Wake(None)));
        assert!(table.take(key).is_some());
    }
    assert_eq!(table.slots.len(), 1);
}

#[test]
fn what_an_operation_was_is_known_until_another_has_its_slot() {
    let mut table = table();
    let read = Op::Read { offset: 7 };
    let key = table.insert(read, 0).unwrap();
    assert_eq!(table.left(key), None, "it is still there");
    let word = word(table.stage(1));
    assert!(matches!(table.complete(word, -22, 0), Outcome::Wake(None)));
    assert_eq!(table.left(key), None, "nobody has taken it");
    assert!(table.take_result(key).is_some());
    assert_eq!(table.left(key), Some(read));
    let other = table.insert(Op::Raw, 0).unwrap();
    assert_eq!((other.index(), table.left(key)), (key.index(), None));
    assert!(matches!(table.orphan(other), Orphaned::NotSubmitted(0)));
    assert_eq!((table.left(key), table.left(other)), (None, Some(Op::Raw)));
    assert_eq!(table.left(Key::new(9, 0)), None, "there is no such slot");
}

#[test]
fn only_a_success_is_taken_as_one() {
    let mut table = table();
    let key = table.insert(Op::Nop, 0).unwrap();
    let first = word(table.stage(1));
    assert!(table.take_success(key).is_none(), "it is in flight");
    assert!(matches!(table.complete(first, -22, 0), Outcome::Wake(None)));
    assert!(table.take_success(key).is_none(), "it has failed");
    let (_, completion) = table.take_result(key).expect("it is still there");
    assert_eq!(completion.res, -22);
    let key = table.insert(Op::Nop, 0).unwrap();
    let second = word(table.stage(1));
    assert!(matches!(table.complete(second, i32::MAX, 4), Outcome::Wake(None)));
    let (_, count, flags) = table.take_success(key).expect("it has succeeded");
    assert_eq!((count, flags), (0x7fff_ffff, 4));
    assert!(table.take_success(key).is_none(), "it has gone");
}

#[test]
fn the_generation_wraps_without_touching_the_tag() {
    let mut table = table();
    let key = table.insert(Op::Raw, 0).unwrap();
    assert!(matches!(table.orphan(key), Orphaned::NotSubmitted(0)));
    table.slots[0].stamp = Key::new(0, u32::MAX).stamp();
    for generation in [0x0fff_ffff, 0, 1] {
        let key = table.insert(Op::Raw, 0).unwrap();
        assert_eq!(key.generation(), generation);
        assert_eq!(key.user_data(Tag::Operation) & 15, 1);
        assert!(matches!(table.orphan(key), Orphaned::NotSubmitted(0)));
    }
}

#[test]
fn odd_limits_are_put_right() {
    let zero = Limits { max_slots: 0, max_in_flight: 0, max_chain: 0 }.normalised();
    assert_eq!(zero, Limits { max_slots: 1, max_in_flight: 2, max_chain: 1 });
    assert_eq!(zero.operations(), 1);
    let huge = Limits { max_slots: u32::MAX, max_in_flight: u32::MAX, max_chain: u32::MAX };
    let huge = huge.normalised();
    assert_eq!(huge.max_slots, limits::MAX_SLOTS);
    assert_eq!(huge.max_chain, limits::MAX_CHAIN);
    assert!(huge.operations() < huge.max_in_flight);
    assert_eq!(Limits::for_ring(256, 512).operations(), 480);
    assert_eq!(Limits::for_ring(4096, 64).max_chain, 60);
}

#[test]
fn what_has_no_room_comes_back() {
    let mut table = Table::new(Limits { max_slots: 2, max_in_flight: 8, max_chain: 4 });
    assert!(!table.reserve(3) && table.reserve(2));
    assert_eq!(table.insert_linked(Op::Nop, 7, 2, None), Err((Op::Nop, 7)));
    table.insert(Op::Nop, 1).unwrap();
    table.insert(Op::Nop, 2).unwrap();
    assert_eq!(table.insert(Op::Nop, 3), Err((Op::Nop, 3)));
    assert_eq!(table.insert_deadline(Op::Timeout, 4, 0), Err((Op::Timeout, 4)));
    assert_eq!(table.stats().inserted, 2);
}

#[test]
fn a_timer_does_not_take_the_slot_promised_to_a_chain() {
    let mut table = Table::new(Limits { max_slots: 3, max_in_flight: 8, max_chain: 4 });
    table.insert_linked(Op::Nop, 0, 1, None).unwrap();
    table.insert_deadline(Op::Timeout, 1, 5).unwrap();
    assert!(table.insert_deadline(Op::Timeout, 2, 5).is_err());
    table.insert_linked(Op::Nop, 3, 0, None).unwrap();
}

#[test]
fn timers_and_operations_do_not_take_each_others_way() {
    let mut table = table();
    assert_eq!(table.insert(Op::Timeout, 1), Err((Op::Timeout, 1)));
    assert_eq!(table.insert_linked(Op::Timeout, 1, 0, None), Err((Op::Timeout, 1)));
    assert_eq!(table.insert_deadline(Op::Nop, 1, 5), Err((Op::Nop, 1)));
    assert!(table.is_empty());
}

#[test]
fn a_chain_is_inserted_in_order_and_not_longer_than_allowed() {
    let mut table = table();
    assert!(table.insert_linked(Op::Nop, 0, 8, None).is_err(), "nine members in a ring of eight");
    table.insert_linked(Op::Nop, 0, 3, None).unwrap();
    assert!(table.insert_linked(Op::Nop, 1, 3, None).is_err());
    assert!(table.insert_linked(Op::Nop, 1, 1, None).is_err());
    assert!(table.insert(Op::Nop, 1).is_err(), "it would come between the members");
    assert!(!table.reserve(1));
    assert!(table.stage(8).is_none(), "the chain is not complete");
    for following in (0..3).rev() {
        table.insert_linked(Op::Nop, 1, following, None).unwrap();
    }
    let mut links = Vec::new();
    while let Some(Staged::Operation { link, .. }) = table.stage(8) {
        links.push(link);
    }
    assert_eq!(links, [true, true, true, false]);
}

#[test]
fn a_member_that_leaves_ends_those_behind_it() {
    let mut table = table();
    let keys: Vec<Key> = (0u16..4)
        .map(|n| table.insert_linked(Op::Raw, u32::from(n), 3 - n, None).unwrap())
        .collect();
    assert!(matches!(table.orphan(keys[2]), Orphaned::NotSubmitted(2)));
    let (_, last, completion) = table.take(keys[3]).unwrap();
    assert_eq!((last, completion.res), (3, -125));
    let mut staged = Vec::new();
    while let Some(Staged::Operation { key, link, .. }) = table.stage(8) {
        staged.push((key, link));
    }
    assert_eq!(staged, [(keys[0], true), (keys[1], false)]);
}

/// A write that was asked for happens, however far it had come when its owner left.
#[test]
fn what_is_to_finish_runs_from_the_queue_without_its_owner() {
    let mut table = table();
    let write = table.insert(Op::Write { offset: 0 }, 1).unwrap();
    let read = table.insert(Op::Read { offset: 0 }, 2).unwrap();
    assert!(matches!(table.orphan(write), Orphaned::Running { cancelled: false }));
    assert!(matches!(table.orphan(read), Orphaned::NotSubmitted(2)));
    assert!(matches!(table.orphan(write), Orphaned::Unknown));
    assert_eq!((table.orphans(), table.queued()), (1, 1));
    let word = word(table.stage(8));
    assert_eq!(word, write.user_data(Tag::Operation));
    assert!(table.complete_plain(word, 512, 0).is_none(), "nobody to wake");
    let outcome = table.complete_other(word, 512, 0);
    assert!(matches!(outcome, Outcome::Release { resources: 1, completion, .. }
        if completion.res == 512));
    assert!(table.is_empty() && table.orphans() == 0);
}

#[test]
fn a_write_that_was_put_back_runs_without_its_owner() {
    let mut table = table();
    let key = table.insert(Op::Write { offset: CURSOR }, 1).unwrap();
    let word = word(table.stage(8));
    assert!(matches!(table.complete(word, -11, 0), Outcome::Requeued));
    assert!(matches!(table.orphan(key), Orphaned::Running { cancelled: false }));
    let staged = table.stage(8);
    assert!(matches!(staged, Some(Staged::Operation { poll_first: Some(4), .. })));
    assert!(matches!(table.complete(word, 4, 0), Outcome::Requeued));
    assert!(table.stage(8).is_some());
    assert!(matches!(table.complete(word, 8, 0), Outcome::Release { resources: 1, .. }));
}

/// All of a chain goes on when an owner leaves a member that is to finish.
#[test]
fn a_member_that_is_to_finish_does_not_leave_its_chain() {
    let mut table = table();
    let first = table.insert_linked(Op::Write { offset: 0 }, 0, 1, None).unwrap();
    let second = table.insert_linked(Op::Fsync { datasync: true }, 1, 0, None).unwrap();
    assert!(matches!(table.orphan(first), Orphaned::Running { cancelled: false }));
    let mut staged = Vec::new();
    while let Some(Staged::Operation { key, link, .. }) = table.stage(8) {
        staged.push((key, link));
    }
    assert_eq!(staged, [(first, true), (second, false)]);
}

#[test]
fn a_queued_orphan_ends_when_everything_is_cancelled() {
    let mut table = table();
    let key = table.insert(Op::Write { offset: 0 }, 1).unwrap();
    assert!(matches!(table.orphan(key), Orphaned::Running { cancelled: false }));
    assert_eq!((table.cancel_all(), table.queued()), (0, 0));
    let outcome = table.expire(0);
    assert!(matches!(outcome, Some(Outcome::Release { resources: 1, completion, .. })
        if completion.res == -125));
    assert!(table.is_empty());
}

/// The thread that submitted it has ended, and the kernel has given it up.
#[test]
fn a_cancellation_nobody_asked_for_is_not_a_result() {
    let mut table = table();
    for op in [Op::Recv { flags: 0 }, Op::Write { offset: 0 }] {
        let key = table.insert(op, 0).unwrap();
        let word = word(table.stage(8));
        assert!(matches!(table.complete(word, -125, 0), Outcome::Requeued));
        assert!(table.stage(8).is_some());
        assert!(table.cancel(key));
        assert!(matches!(table.complete(word, -125, 0), Outcome::Wake(None)));
        assert_eq!(table.take(key).unwrap().2.res, -125);
    }
    let key = table.insert(Op::Close { fd: 3 }, 0).unwrap();
    let word = word(table.stage(8));
    assert!(matches!(table.complete(word, -125, 0), Outcome::Wake(None)), "never closed twice");
    assert!(table.is_done(key));
}

/// `-ECANCELED` of a close may be the word of its file, so that nobody could tell whether the descriptor is open.
#[test]
fn a_close_in_the_kernel_is_not_recalled() {
    let mut table = table();
    let key = table.insert(Op::Close { fd: 3 }, 0).unwrap();
    let word = word(table.stage(8));
    assert!(table.cancel(key));
    assert_eq!(table.cancel_all(), 0);
    assert!(table.stage(8).is_none(), "no request");
    assert!(matches!(table.complete(word, 0, 0), Outcome::Wake(None)));
    assert_eq!(table.take(key).unwrap().2.res, 0);
    let key = table.insert(Op::Close { fd: 3 }, 0).unwrap();
    assert!(table.cancel(key), "in the queue it ends at once");
    assert!(table.is_done(key));
}

/// Its poll is given up as well; the operation itself is tried again, and may be polled for again.
#[test]
fn a_poll_that_the_kernel_gave_up_does_not_end_the_operation() {
    let mut table = table();
    let key = table.insert(Op::Recv { flags: 0 }, 0).unwrap();
    let word = key.user_data(Tag::Operation);
    for _ in 0..3 {
        assert!(matches!(table.stage(8), Some(Staged::Operation { poll_first: None, .. })));
        assert!(matches!(table.complete(word, -11, 0), Outcome::Requeued));
        assert!(matches!(table.stage(8), Some(Staged::Operation { poll_first: Some(_), .. })));
        assert!(matches!(table.complete(word, -125, 0), Outcome::Requeued));
    }
    assert!(table.stage(8).is_some());
    assert!(matches!(table.complete_plain(word, 5, 0), Some(None)));
}

/// A signal is over soon; a file that always says so means it.
#[test]
fn an_interruption_that_comes_again_and_again_is_the_result() {
    let mut table = table();
    for (op, errno) in [
        (Op::Read { offset: 0 }, -4),
        (Op::Read { offset: 0 }, -125),
        (Op::Recv { flags: 0 }, -125),
        (Op::Fsync { datasync: false }, -4),
    ] {
        let key = table.insert(op, 0).unwrap();
        let word = key.user_data(Tag::Operation);
        for _ in 0..MOST_TRIES {
            assert!(matches!(table.stage(8), Some(Staged::Operation { poll_first: None, .. })));
            assert!(matches!(table.complete(word, errno, 0), Outcome::Requeued));
        }
        assert!(table.stage(8).is_some());
        assert!(matches!(table.complete(word, errno, 0), Outcome::Wake(None)));
        assert_eq!(table.take(key).unwrap().2.res, errno);
    }
    // The next in the slot begins anew.
    let key = table.insert(Op::Read { offset: 0 }, 0).unwrap();
    assert!(table.stage(8).is_some());
    let word = key.user_data(Tag::Operation);
    assert!(matches!(table.complete(word, -4, 0), Outcome::Requeued));
}

#[test]
fn what_a_file_says_once_is_believed() {
    let mut table = table();
    let key = table.insert(Op::Read { offset: CURSOR }, 0).unwrap();
    let word = word(table.stage(8));
    table.believe(key);
    assert!(matches!(table.complete(word, -125, 0), Outcome::Wake(None)));
    assert_eq!(table.take(key).unwrap().2.res, -125);
}

/// It polls as ready, and is not: the pauses between grow, and the peer may take its time.
#[test]
fn a_descriptor_that_is_never_ready_though_it_says_so_is_waited_for_in_pauses() {
    let mut table = table();
    let key = table.insert(Op::Send { flags: 0 }, 0).unwrap();
    let word = key.user_data(Tag::Operation);
    let mut firsts = Vec::new();
    for _ in 0..40_000 {
        assert!(matches!(table.stage(8), Some(Staged::Operation { poll_first: None, .. })));
        assert!(matches!(table.complete(word, -11, 0), Outcome::Requeued));
        let Some(Staged::Operation { poll_first: Some(first), .. }) = table.stage(8) else {
            panic!("something goes first");
        };
        let res = if first & PAUSE == 0 { 4 } else { -62 };
        assert!(matches!(table.complete(word, res, 0), Outcome::Requeued));
        firsts.push(first);
    }
    let ms = |milliseconds| PAUSE | milliseconds;
    assert_eq!(
        firsts[..14],
        [4, ms(1), 4, ms(2), 4, ms(4), 4, ms(8), 4, ms(16), 4, ms(32), 4, ms(32)]
    );
    assert!(firsts.iter().skip(12).step_by(2).all(|first| *first == 4));
    assert!(firsts.iter().skip(13).step_by(2).all(|first| *first == ms(32)));
    // In a pause it is cancelled like any other.
    assert!(table.stage(8).is_some());
    assert!(matches!(table.complete(word, 1, 0), Outcome::Wake(None)));
}

#[test]
fn nothing_overtakes_on_the_short_way() {
    let mut table = Table::new(Limits { max_slots: 4, max_in_flight: 3, max_chain: 2 });
    assert!(table.may_go_at_once());
    let raw = table.insert_in_flight(Op::Raw, ManuallyDrop::new(0), None).unwrap();
    assert_eq!((table.in_flight(), table.queued(), table.has_queued()), (1, 0, false));
    let head = table.insert_linked(Op::Raw, 1, 1, None).unwrap();
    assert!(!table.may_go_at_once() && !table.make_room(), "a chain is being inserted");
    assert!(matches!(table.orphan(head), Orphaned::NotSubmitted(1)));
    assert!(table.may_go_at_once() && table.make_room());
    assert!(table.cancel(raw));
    assert!(table.has_queued() && !table.may_go_at_once(), "a request to cancel waits");
    assert!(matches!(table.stage(1), Some(Staged::Cancel { .. })));
    assert_eq!(table.in_flight(), 2);
    assert!(!table.may_go_at_once(), "the ring is full");
    assert!(table.make_room(), "the table is not");
}

#[test]
fn what_finds_no_room_on_the_short_way_is_leaked() {
    let mut table = Table::new(Limits { max_slots: 1, max_in_flight: 8, max_chain: 1 });
    let mut tokens = (0..3).map(|n| ManuallyDrop::new(super::world::Token(n)));
    let mut token = || tokens.next().unwrap();
    assert!(table.make_room());
    let first = table.insert_into_room(Op::Nop, token());
    assert!(!table.make_room() && !table.may_go_at_once());
    let none = table.insert_into_room(Op::Nop, token());
    assert!(table.get(none).is_none() && !table.cancel(none));
    assert!(table.insert_in_flight(Op::Nop, token(), None).is_none());
    assert_eq!((table.len(), table.in_flight(), table.queued()), (1, 0, 1));
    assert_eq!(super::world::take_dropped(), []);
    let (_, first) = table.get(first).unwrap();
    assert_eq!(first.0, 0);
}

#[test]
fn what_comes_back_does_not_get_into_an_open_chain() {
    let mut table = table();
    let other = table.insert(Op::Fsync { datasync: false }, 0).unwrap();
    let word = word(table.stage(8));
    let head = table.insert_linked(Op::Nop, 1, 1, None).unwrap();
    assert!(matches!(table.complete(word, -4, 0), Outcome::Requeued));
    let tail = table.insert_linked(Op::Nop, 2, 0, None).unwrap();
    let mut staged = Vec::new();
    while let Some(Staged::Operation { key, .. }) = table.stage(8) {
        staged.push(key);
    }
    assert_eq!(staged, [other, head, tail]);
}

/// The front of a chain is in the kernel, which expects the rest: it cannot be taken back.
#[test]
fn a_member_whose_front_is_staged_stays() {
    let mut table = table();
    table.insert_linked(Op::Nop, 0, 2, None).unwrap();
    let second = table.insert_linked(Op::Recv { flags: 2 }, 1, 1, None).unwrap();
    let third = table.insert_linked(Op::Recv { flags: 2 }, 2, 0, None).unwrap();
    assert!(table.stage(3).is_some());
    assert!(matches!(table.orphan(second), Orphaned::Running { cancelled: true }));
    assert!(table.cancel(third));
    assert!(!table.is_done(third));
    let mut staged = Vec::new();
    while let Some(next) = table.stage(8) {
        staged.push(matches!(next, Staged::Cancel { .. }));
    }
    assert_eq!(staged, [false, false, true, true]);
}

#[test]
fn a_full_ring_still_takes_requests_to_cancel() {
    let mut table = Table::new(Limits { max_slots: 64, max_in_flight: 4, max_chain: 2 });
    let keys: Vec<Key> =
        (0..10).map(|n| table.insert(Op::Accept { flags: 0, aux: 0 }, n).unwrap()).collect();
    let mut staged = 0;
    while table.stage(8).is_some() {
        staged += 1;
    }
    assert_eq!((staged, table.in_flight(), table.queued()), (3, 3, 7));
    for key in &keys {
        assert!(table.cancel(*key));
    }
    assert_eq!((table.cancels_queued(), table.queued()), (3, 0));
    assert!(matches!(table.stage(8), Some(Staged::Cancel { .. })));
    assert!(table.stage(8).is_none(), "the completion queue is full now");
    assert_eq!(table.in_flight(), 4);
    let first = keys[0].user_data(Tag::Cancel);
    assert!(matches!(table.complete(first, 0, 0), Outcome::CancelDone));
    assert!(matches!(table.stage(8), Some(Staged::Cancel { .. })));
}

#[test]
fn cancel_all_asks_again() {
    let mut table = table();
    let key = table.insert(Op::Recv { flags: 0 }, 0).unwrap();
    word(table.stage(1));
    for _ in 0..3 {
        assert_eq!(table.cancel_all(), 1);
        assert_eq!(table.cancel_all(), 1, "one request at a time");
        let word = word(table.stage(1));
        assert_eq!(word, key.user_data(Tag::Cancel));
        // The request came before the kernel could find its target.
        assert!(matches!(table.complete(word, -2, 0), Outcome::CancelDone));
    }
    assert_eq!(table.stats().cancel_requested, 1);
}

#[test]
fn a_request_to_cancel_that_found_nothing_is_made_again() {
    // As often as the kernel may be between two tries, and no more.
    let open = Op::OpenAt { flags: 0, mode: 0 };
    let (connect, read) = (Op::Connect { len: 16 }, |offset| Op::Read { offset });
    for (op, times) in [(connect, 65_537), (open, 65_537), (read(CURSOR), 257), (read(7), 1)] {
        let mut table = table();
        let key = table.insert(op, 0).unwrap();
        word(table.stage(1));
        assert!(table.cancel(key));
        let mut asked = 0;
        while let Some(Staged::Cancel { .. }) = table.stage(1) {
            asked += 1;
            let answer = table.complete(key.user_data(Tag::Cancel), -2, 0);
            assert!(matches!(answer, Outcome::CancelDone));
        }
        assert_eq!((asked, table.stats().cancel_requested), (times, 1), "{op:?}");
        // Another answer is an answer: it was found, and ends or does not.
        drop(table.complete(key.user_data(Tag::Operation), -125, 0));
        assert_eq!(table.in_flight(), 0);
    }
    let mut table = table();
    let key = table.insert(Op::Accept { flags: 0, aux: 0 }, 0).unwrap();
    word(table.stage(1));
    table.cancel(key);
    word(table.stage(1));
    let answer = table.complete(key.user_data(Tag::Cancel), -114, 0);
    assert!(matches!(answer, Outcome::CancelDone));
    assert!(table.stage(1).is_none());
}

/// Linux 6.1 takes work off its list before a request to cancel can find it with the thread. An open of a FIFO of which
/// that was said went on to wait for ever.
#[test]
fn the_cancellation_of_an_open_that_found_nothing_is_made_again() {
    let open = Op::OpenAt { flags: 0, mode: 0 };
    let splice = Op::Splice { offset_in: CURSOR, offset_out: CURSOR, len: 1, flags: 0 };
    for op in [open, Op::OpenAt2 { aux: 0 }, splice, Op::Raw] {
        let mut table = table();
        let key = table.insert(op, 0).unwrap();
        word(table.stage(1));
        assert!(table.cancel(key));
        word(table.stage(1));
        drop(table.complete(key.user_data(Tag::Cancel), -2, 0));
        assert!(matches!(table.stage(1), Some(Staged::Cancel { .. })), "{op:?}");
        drop(table.complete(key.user_data(Tag::Cancel), -114, 0));
        assert!(table.stage(1).is_none());
        drop(table.complete(key.user_data(Tag::Operation), -512, 0));
        assert!(table.in_flight() == 0, "{op:?}");
    }
}

#[test]
fn what_the_kernel_tells_itself_of_an_interruption_is_one() {
    let open = Op::OpenAt { flags: 0, mode: 0 };
    for number in -516..=-512 {
        let mut table = table();
        let key = table.insert(open, 0).unwrap();
        word(table.stage(1));
        assert!(matches!(
            table.complete(key.user_data(Tag::Operation), number, 0),
            Outcome::Requeued
        ));
        word(table.stage(1));
        table.cancel(key);
        drop(table.complete(key.user_data(Tag::Operation), number, 0));
        assert_eq!(table.take(key).map(|(_, _, completion)| completion.res), Some(-125));
        let raw = table.insert(Op::Raw, 0).unwrap();
        word(table.stage(1));
        drop(table.complete(raw.user_data(Tag::Operation), number, 0));
        assert_eq!(table.take(raw).map(|(_, _, completion)| completion.res), Some(number));
    }
}

#[test]
fn a_connect_that_its_cancellation_interrupted_is_cancelled() {
    for (asked, res) in [(true, -125), (false, -4)] {
        let mut table = table();
        let key = table.insert(Op::Connect { len: 16 }, 0).unwrap();
        word(table.stage(1));
        if asked {
            table.cancel(key);
        }
        drop(table.complete(key.user_data(Tag::Operation), -4, 0));
        assert_eq!(table.take(key).map(|(_, _, completion)| completion.res), Some(res));
    }
}

#[test]
fn a_message_from_another_ring_does_not_count() {
    let mut table = table();
    table.expect_internal();
    let wake = Key::new(0, 1).user_data(Tag::Wake);
    assert!(matches!(table.complete(wake, 1, 2), Outcome::Internal { tag: Tag::Wake, .. }));
    assert_eq!(table.in_flight(), 1, "F_MORE: the wake-up stays armed");
    assert!(matches!(table.complete(wake, 1, 0), Outcome::Internal { tag: Tag::Wake, .. }));
    assert_eq!(table.in_flight(), 0);
    assert!(matches!(table.complete(wake, 1, 0), Outcome::Internal { tag: Tag::Wake, .. }));
    assert_eq!(table.in_flight(), 0);
    table.internal_done();
    assert_eq!(table.in_flight(), 0);
}

#[test]
fn an_old_group_is_done_and_has_no_members() {
    let mut table = table();
    let waker = super::world::waker(0);
    let old = table.group();
    table.drop_group(old);
    let new = table.group();
    assert_ne!(old, new);
    let key = table.insert(Op::Nop, 0).unwrap();
    table.join(old, key);
    assert!(table.poll_group(old, &waker) && table.poll_group(new, &waker));
    table.join(new, key);
    table.join(new, key);
    assert!(!table.poll_group(new, &waker));
    table.drop_group(old);
    let word = word(table.stage(1));
    let outcome = table.complete(word, 0, 0);
    assert!(matches!(outcome, Outcome::Wake(Some(fired)) if fired.will_wake(&waker)));
    assert!(table.poll_group(new, &waker));
}

#[test]
fn a_poll_that_fails_is_not_repeated_for_ever() {
    let mut table = table();
    let key = table.insert(Op::Read { offset: CURSOR }, 0).unwrap();
    let word = key.user_data(Tag::Operation);
    assert!(table.stage(1).is_some());
    assert!(matches!(table.complete(word, -11, 0), Outcome::Requeued));
    let staged = table.stage(1);
    assert!(matches!(staged, Some(Staged::Operation { poll_first: Some(1), .. })));
    assert!(matches!(table.complete(word, -1, 0), Outcome::Requeued), "EPERM: cannot be polled");
    let staged = table.stage(1);
    assert!(matches!(staged, Some(Staged::Operation { poll_first: None, .. })));
    assert!(matches!(table.complete(word, -11, 0), Outcome::Wake(None)));
    assert_eq!(table.take(key).unwrap().2.res, -11);
}

#[test]
fn a_notification_does_not_replace_the_result() {
    let mut table = table();
    let key = table.insert(Op::Raw, 0).unwrap();
    let word = word(table.stage(1));
    assert!(matches!(table.complete(word, 4096, 2), Outcome::More { .. }));
    assert!(!table.is_done(key));
    assert!(matches!(table.complete(word, 0, 8), Outcome::Wake(None)));
    assert_eq!(table.take(key).unwrap().2.res, 4096);
}

#[test]
fn abandon_leaves_nothing_to_take() {
    let mut table = table();
    let key = table.insert(Op::Nop, 0).unwrap();
    let word = word(table.stage(1));
    assert!(matches!(table.complete(word, 0, 0), Outcome::Wake(None)));
    table.abandon();
    assert!(table.take(key).is_none() && table.get(key).is_none());
}

#[test]
fn unknown_names_are_unknown() {
    let mut table = table();
    let forged = Key::new(3, 0);
    let waker = super::world::waker(0);
    assert_eq!(table.poll(forged, &waker), Polled::Unknown);
    assert!(!table.cancel(forged) && !table.is_done(forged) && table.take(forged).is_none());
    let left = table.insert(Op::Raw, 0).map(|key| table.orphan(key));
    assert!(matches!(left, Ok(Orphaned::NotSubmitted(0))));
    let free = Key::new(0, 1);
    assert_eq!(table.poll(free, &waker), Polled::Unknown, "a free slot has no operation");
    assert!(!table.cancel(free) && table.get(free).is_none() && table.state(free).is_none());
    assert!(matches!(table.orphan(free), Orphaned::Unknown));
    assert!(matches!(table.complete(free.user_data(Tag::Operation), 0, 0), Outcome::Ignored));
}

#[test]
fn operations_say_what_becomes_of_them() {
    let dropped = |op: Op| op.on_drop();
    assert_eq!(dropped(Op::Read { offset: 0 }), OnDrop::Cancel);
    assert_eq!(dropped(Op::Write { offset: 0 }), OnDrop::Finish);
    assert_eq!(dropped(Op::Read { offset: CURSOR }), OnDrop::Keep);
    assert_eq!(dropped(Op::Recv { flags: 0 }), OnDrop::Keep);
    assert_eq!(dropped(Op::Recv { flags: 0x100 }), OnDrop::Cancel, "MSG_WAITALL");
    assert_eq!(dropped(Op::Accept { flags: 0, aux: 0 }), OnDrop::Keep);
    assert_eq!(dropped(Op::Connect { len: 16 }), OnDrop::Cancel);
    assert_eq!(dropped(Op::Close { fd: 0 }), OnDrop::Finish);
    assert!(!Op::Close { fd: 0 }.restarts() && !Op::Raw.restarts());
    assert!(Op::Write { offset: 0 }.restarts());
    assert!(Op::Socket { domain: 0, kind: 0, protocol: 0 }.creates_descriptor());
    assert!(!Op::Pipe { flags: 0 }.creates_descriptor() && Op::Pipe { flags: 0 }.creates_pair());
    assert_eq!(Op::Read { offset: CURSOR }.poll_events(), Some(1));
    assert_eq!(Op::Read { offset: 0 }.poll_events(), None);
    assert_eq!(Op::WriteVectored { offset: CURSOR, count: 1 }.poll_events(), Some(4));
    assert_eq!(Op::Connect { len: 16 }.poll_events(), None);
    assert_eq!(Op::Recv { flags: 0x40 }.poll_events(), None, "MSG_DONTWAIT asks for EAGAIN");
    assert_eq!(Op::RecvMsg { flags: 0x2000 }.poll_events(), None, "MSG_ERRQUEUE never waits");
    assert_eq!(Op::SendMsg { flags: 0x40 }.poll_events(), None);
}
