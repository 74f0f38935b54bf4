//! Rings of the real kernel: set-up, submission, completion, waiting.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests"
)]

mod common;

use std::os::fd::AsRawFd;
use std::time::Duration;

use common::{complete, kernel_is, make, nop, ring};
use safer_ring_sys::probe::query_opcodes;
use safer_ring_sys::{
    Cqe, Cqe32, Errno, Params, Push128Error, SqFull, Sqe, Sqe128, Timespec, Uring, cqe_flags,
    enter, feat, nop as nop_flags, opcode, setup, sq_ring,
};

fn push(ring: &mut Uring, sqe: &Sqe) -> Result<(), SqFull> {
    // SAFETY: the entries of these tests name no memory.
    unsafe { ring.push(sqe) }
}

/// Every combination of the flags that change how a ring works, as far as the host accepts it.
/// Which it must accept follows from the kernel's own answer, not from what this crate thinks.
#[test]
fn nops_complete_under_every_combination_of_flags() {
    let Some(_) = ring(1, 0) else { return };
    let known = query_opcodes().map_or(0, |answer| answer.ring_setup_flags);
    let free = [
        setup::IOPOLL,
        setup::HYBRID_IOPOLL,
        setup::COOP_TASKRUN,
        setup::TASKRUN_FLAG,
        setup::SQE128,
        setup::CQE32,
        setup::SINGLE_ISSUER,
        setup::DEFER_TASKRUN,
        setup::NO_SQARRAY,
        setup::SUBMIT_ALL,
        setup::CQE_MIXED,
        setup::SQE_MIXED,
        setup::SQ_REWIND,
    ];
    let (mut accepted, mut refused) = (0, 0);
    for choice in 0..(1_u32 << free.len()) {
        let flags = free.iter().enumerate().fold(0, |flags, (bit, flag)| {
            if choice >> bit & 1 == 1 { flags | flag } else { flags }
        });
        match make(8, flags) {
            Ok(mut ring) => {
                accepted += 1;
                round_trips(&mut ring, flags);
            }
            Err(errno) => {
                assert_eq!(errno, Errno::INVAL, "{flags:#x}");
                let valid = is_valid(flags) && u64::from(flags) & !known == 0;
                assert!(known == 0 || !valid, "{flags:#x} is a valid combination");
                refused += 1;
            }
        }
    }
    eprintln!("{accepted} combinations accepted, {refused} refused");
    assert!(accepted > 0);
}

/// The rules of `io_uring_setup(2)` for the flags used above.
fn is_valid(flags: u32) -> bool {
    let has = |flag| flags & flag != 0;
    (!has(setup::TASKRUN_FLAG) || has(setup::COOP_TASKRUN) || has(setup::DEFER_TASKRUN))
        && (!has(setup::DEFER_TASKRUN) || has(setup::SINGLE_ISSUER))
        && !(has(setup::CQE32) && has(setup::CQE_MIXED))
        && !(has(setup::SQE128) && has(setup::SQE_MIXED))
        && (!has(setup::HYBRID_IOPOLL) || has(setup::IOPOLL))
        && (!has(setup::SQ_REWIND) || has(setup::NO_SQARRAY))
}

fn round_trips(ring: &mut Uring, flags: u32) {
    assert_eq!((ring.sq_entries(), ring.setup_flags()), (8, flags));
    let large = flags & (setup::CQE32 | setup::CQE_MIXED) != 0;
    let mut user_data = 1;
    for batch in [1, 8, 3, 8, 5, 2] {
        let first = user_data;
        for _ in 0..batch {
            push(ring, &nop(user_data)).unwrap();
            user_data += 1;
        }
        assert_eq!((ring.sq_pending(), ring.sq_room()), (batch, 8 - batch), "{flags:#x}");
        assert_eq!(ring.enter(batch, enter::GETEVENTS, None), Ok(batch), "{flags:#x}");
        assert_eq!(ring.sq_pending(), 0);
        let got = complete(ring, batch as usize);
        let expected: Vec<u64> = (first..user_data).collect();
        assert_eq!(got.iter().map(|cqe| cqe.user_data).collect::<Vec<_>>(), expected);
        let refused = flags & setup::IOPOLL != 0 && !kernel_is(6, 1);
        let res = if refused { -Errno::INVAL.raw_os_error() } else { 0 };
        assert!(got.iter().all(|cqe| cqe.res == res), "{flags:#x} {got:?}");
        if large {
            large_completion(ring, flags);
        }
    }
    for _ in 0..8 {
        push(ring, &nop(1)).unwrap();
    }
    assert_eq!(push(ring, &nop(1)), Err(SqFull));
    assert_eq!(complete(ring, 8).len(), 8);
    assert_eq!((ring.cq_ready(), ring.cq_overflowed(), ring.sq_dropped()), (0, 0, 0));
}

fn large_completion(ring: &mut Uring, flags: u32) {
    // The flag of NOP is as old as CQE_MIXED; before, a CQE32 ring gives zeroes or the values.
    let echo = query_opcodes().is_ok();
    let (off, addr) = (0x1111_2222_3333_4444, 0x5555_6666_7777_8888);
    let op_flags = if echo { nop_flags::CQE32 } else { 0 };
    push(ring, &Sqe { off, addr, op_flags, ..nop(77) }).unwrap();
    ring.enter(1, enter::GETEVENTS, None).unwrap();
    let mut out = [Cqe32::default(); 4];
    assert_eq!(ring.reap32(&mut out), 1, "{flags:#x}");
    assert_eq!((out[0].cqe.user_data, out[0].cqe.res), (77, 0));
    if echo {
        assert_eq!(out[0].big, [off, addr], "{flags:#x}");
        let marked = out[0].cqe.flags & cqe_flags::F_32 != 0;
        assert_eq!(marked, flags & setup::CQE_MIXED != 0, "{flags:#x}");
    }
}

#[test]
fn a_polling_thread_takes_submissions_without_a_call() {
    let Some(_) = ring(1, 0) else { return };
    let optional = [0, setup::SQE128, setup::CQE32, setup::SINGLE_ISSUER, setup::NO_SQARRAY];
    for flags in optional {
        match make(8, setup::SQPOLL | flags) {
            Ok(mut ring) => polled(&mut ring),
            Err(errno) => assert!(flags != 0 && errno == Errno::INVAL, "{flags:#x}: {errno}"),
        }
    }
}

fn polled(ring: &mut Uring) {
    for round in 0..30_u64 {
        for at in 0..8 {
            // The thread completes requests before it gives their entries back.
            while push(ring, &nop(round * 8 + at)).is_err() {
                ring.enter(0, enter::SQ_WAIT, None).unwrap();
            }
        }
        // Wakes the thread when it sleeps, else makes no call.
        ring.enter(0, 0, None).unwrap();
        let got = complete(ring, 8);
        assert_eq!(got[7].user_data, round * 8 + 7);
        if round % 10 == 9 {
            while !ring.needs_wakeup() {
                std::thread::sleep(Duration::from_millis(1));
            }
            assert_eq!(ring.enter(0, 0, None), Ok(0), "nothing to do, nobody to wake");
            // Time for a thread that was woken by mistake to show it; it stays awake for 10 ms.
            std::thread::sleep(Duration::from_millis(3));
            assert_ne!(ring.sq_flags() & sq_ring::NEED_WAKEUP, 0, "the thread still sleeps");
        }
    }
}

#[test]
fn entries_of_128_bytes() {
    if !kernel_is(5, 19) {
        return eprintln!("SKIPPED: SQE128 needs Linux 5.19");
    }
    let Some(mut ring) = ring(4, setup::SQE128) else { return };
    let mut entry = Sqe128 { sqe: nop(5), ..Sqe128::default() };
    entry.cmd[63] = 1;
    for _ in 0..20 {
        // SAFETY: a NOP names no memory.
        unsafe { ring.push128(&entry) }.unwrap();
        assert_eq!(complete(&mut ring, 1)[0].user_data, 5);
    }
    let mut small = make(4, 0).unwrap();
    // SAFETY: as above.
    assert_eq!(unsafe { small.push128(&entry) }, Err(Push128Error::SmallEntries));
}

#[test]
fn mixed_submissions() {
    let Some(_) = ring(1, 0) else { return };
    let mut ring = match make(4, setup::SQE_MIXED) {
        Ok(ring) => ring,
        Err(errno) => {
            assert_eq!(errno, Errno::INVAL);
            return eprintln!("SKIPPED: SQE_MIXED needs Linux 6.19");
        }
    };
    for round in 0..40 {
        push(&mut ring, &nop(round)).unwrap();
        let entry = Sqe128 {
            sqe: Sqe { opcode: opcode::NOP128, user_data: 1000 + round, ..Sqe::default() },
            cmd: [0; 64],
        };
        // SAFETY: a NOP names no memory.
        let large = unsafe { ring.push128(&entry) };
        let expected = if large.is_ok() { 2 } else { 1 };
        let got = complete(&mut ring, expected);
        assert!(got.iter().all(|cqe| cqe.res == 0), "{got:?}");
        assert_eq!((got.len(), ring.sq_pending(), ring.cq_ready()), (expected, 0, 0));
    }
}

#[test]
fn a_time_limit_ends_the_wait() {
    let Some(mut ring) = ring(4, 0) else { return };
    if ring.features() & feat::EXT_ARG == 0 {
        let wait = Timespec::default();
        return assert_eq!(ring.enter(1, enter::GETEVENTS, Some(&wait)), Err(Errno::OPNOTSUPP));
    }
    let wait = Timespec::from(Duration::from_millis(2));
    assert_eq!(ring.enter(1, enter::GETEVENTS, Some(&wait)), Err(Errno::TIME));
    // What was submitted is reported; the limit is not an error then.
    push(&mut ring, &nop(1)).unwrap();
    assert_eq!(ring.enter(2, enter::GETEVENTS, Some(&wait)), Ok(1));
    assert_eq!(complete(&mut ring, 1).len(), 1);
    if ring.features() & feat::MIN_TIMEOUT != 0 {
        push(&mut ring, &nop(2)).unwrap();
        let long = Timespec::from(Duration::from_secs(60));
        assert_eq!(ring.enter_min_wait(2, enter::GETEVENTS, Some(&long), 1000), Ok(1));
        assert_eq!(complete(&mut ring, 1)[0].user_data, 2);
    }
}

#[test]
fn a_refused_request_ends_the_batch_and_the_rest_stays_pending() {
    let Some(mut ring) = ring(8, 0) else { return };
    push(&mut ring, &nop(1)).unwrap();
    push(&mut ring, &Sqe { opcode: 255, ..nop(2) }).unwrap();
    push(&mut ring, &nop(3)).unwrap();
    assert_eq!(ring.enter(0, 0, None), Ok(2));
    assert_eq!(ring.sq_pending(), 1);
    assert_eq!(ring.enter(0, 0, None), Ok(1), "what was not consumed is submitted again");
    // Older kernels report the refusal first.
    let mut got = complete(&mut ring, 3);
    got.sort_by_key(|cqe| cqe.user_data);
    let res: Vec<i32> = got.iter().map(|cqe| cqe.res).collect();
    assert_eq!(res, [0, -22, 0]);
}

#[test]
fn completions_that_do_not_fit_wait_in_the_kernel() {
    let Some(mut ring) = ring(4, 0) else { return };
    if ring.features() & feat::NODROP == 0 {
        return eprintln!("SKIPPED: before Linux 5.5 they are lost");
    }
    let total = ring.cq_entries() + 8;
    for user_data in 0..u64::from(total) {
        push(&mut ring, &nop(user_data)).unwrap();
        assert_eq!(ring.enter(0, 0, None), Ok(1));
    }
    assert_eq!(ring.cq_ready(), ring.cq_entries());
    assert_ne!(ring.sq_flags() & sq_ring::CQ_OVERFLOW, 0);
    let mut seen = Vec::new();
    let mut out = [Cqe::default(); 3];
    while seen.len() < total as usize {
        let got = ring.reap(&mut out);
        seen.extend(out[..got].iter().map(|cqe| cqe.user_data));
        if got == 0 {
            assert_ne!(ring.sq_flags() & sq_ring::CQ_OVERFLOW, 0);
            ring.enter(0, enter::GETEVENTS, None).unwrap();
        }
    }
    assert_eq!(seen, (0..u64::from(total)).collect::<Vec<_>>());
    ring.enter(0, enter::GETEVENTS, None).unwrap();
    assert_eq!((ring.sq_flags() & sq_ring::CQ_OVERFLOW, ring.cq_ready()), (0, 0));
}

#[test]
fn peeking_does_not_consume() {
    let Some(mut ring) = ring(4, 0) else { return };
    assert_eq!(ring.peek(), None);
    push(&mut ring, &nop(9)).unwrap();
    ring.enter(1, enter::GETEVENTS, None).unwrap();
    for _ in 0..3 {
        assert_eq!((ring.peek().unwrap().user_data, ring.cq_ready()), (9, 1));
    }
    assert_eq!(complete(&mut ring, 1)[0].user_data, 9);
}

#[test]
fn a_ring_can_move_to_another_thread() {
    let Some(mut ring) = ring(4, 0) else { return };
    push(&mut ring, &nop(1)).unwrap();
    let mut ring = std::thread::spawn(move || {
        assert_eq!(complete(&mut ring, 1)[0].user_data, 1);
        push(&mut ring, &nop(2)).unwrap();
        ring
    })
    .join()
    .unwrap();
    assert_eq!(complete(&mut ring, 1)[0].user_data, 2);
}

#[test]
fn sizes_are_rounded_and_clamped() {
    let Some(_) = ring(1, 0) else { return };
    let clamped = Uring::new(u32::MAX, Params { flags: setup::CLAMP, ..Params::default() });
    match clamped {
        Ok(ring) => assert_eq!(ring.sq_entries(), 32768),
        Err(errno) => assert_eq!(errno, Errno::NOMEM),
    }
    let params = Params { flags: setup::CQSIZE, cq_entries: 100, ..Params::default() };
    let ring = Uring::new(5, params).unwrap();
    assert_eq!((ring.sq_entries(), ring.cq_entries()), (8, 128));
}

#[test]
fn reserved_fields_of_the_caller_are_ignored() {
    let Some(_) = ring(1, 0) else { return };
    let params = Params { resv: [1, 2, 3], features: 99, sq_entries: 7, ..Params::default() };
    let ring = Uring::new(4, params).unwrap();
    assert_eq!(ring.params().resv, [0; 3]);
    assert_eq!(ring.features(), ring.params().features);
    assert!(ring.as_raw_fd() >= 0);
}
