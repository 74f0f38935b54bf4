//! Registered memory by hand.
//!
//! # Safety
//! As in the other tests: memory of the test, which lives until the last completion.
//!
//! Tests: an_operation_lies_in_the_slot_that_it_names
#![allow(unsafe_code, reason = "submissions by hand")]

use super::*;

const FAULT: i32 = -libc::EFAULT;

/// A ring with a pipe that has eight bytes in it, and a table of four places.
fn stage() -> (Kernel, RawFd) {
    let (mut kernel, reader, writer) = kernel();
    let mut sent = *b"12345678";
    take(&mut kernel, &submission(1, WRITE, writer, &mut sent));
    assert_eq!(next(&mut kernel), Some((1, 8)));
    assert_eq!(kernel.make_slots(0, 4), Ok(()));
    (kernel, reader)
}

fn fill(kernel: &mut Kernel, slot: u16, memory: &[u8]) -> Result<(), Errno> {
    kernel.fill_slot(0, slot, memory.as_ptr().addr(), memory.len())
}

fn empty(kernel: &mut Kernel, slot: u16) -> Result<(), Errno> {
    kernel.fill_slot(0, slot, 0, 0)
}

/// Hands an operation over, and does not run it.
fn name(kernel: &mut Kernel, submission: &Submission, slot: u16) {
    // SAFETY: the memory is a local of the test.
    unsafe { kernel.take(0, submission, Some(slot)) };
}

#[test]
fn an_operation_lies_in_the_slot_that_it_names() {
    let (mut kernel, reader) = stage();
    let mut memory = [0; 8];
    assert_eq!(fill(&mut kernel, 2, &memory[1..7]), Ok(()));
    // Slot, from, to, result.
    for (user_data, slot, range, res) in [
        (1, 2, 1..4, 3),
        (2, 2, 5..7, 2),
        (3, 2, 0..3, FAULT),
        (4, 2, 6..8, FAULT),
        (5, 1, 1..4, FAULT),
        (6, 4, 1..4, FAULT),
        (7, 2, 7..7, 0),
        (8, 2, 1..7, 3),
    ] {
        name(&mut kernel, &submission(user_data, READ, reader, &mut memory[range]), slot);
        kernel.run();
        assert_eq!(next(&mut kernel), Some((user_data, res)));
    }
    assert_eq!(&memory[1..4], b"678");
    let wrong = ["which is empty", "which is empty", "where its memory", "where its memory"];
    assert_eq!(kernel.findings.len(), wrong.len(), "{:?}", kernel.findings);
    for wrong in wrong {
        assert!(kernel.findings.iter().any(|finding| finding.contains(wrong)));
    }
}

#[test]
fn what_has_been_taken_does_not_need_its_slot_any_more() {
    let (mut kernel, reader) = stage();
    let mut memory = [0; 8];
    assert_eq!(fill(&mut kernel, 0, &memory), Ok(()));
    kernel.config.delay = 1000;
    for (user_data, range, link) in [(1, 4..8, true), (2, 0..4, false)] {
        let read = submission(user_data, READ, reader, &mut memory[range]);
        name(&mut kernel, &Submission { link, ..read }, 0);
    }
    kernel.end_chain(0);
    assert_eq!(empty(&mut kernel, 0), Ok(()));
    for ms in 1..9 {
        kernel.go_to(ms * 1_000_000);
        kernel.run();
    }
    // The second member of the chain looks for it when it begins.
    assert_eq!((next(&mut kernel), next(&mut kernel)), (Some((1, 4)), Some((2, FAULT))));
    assert_eq!(&memory[4..], b"1234");
    assert_eq!(kernel.findings.len(), 1, "{:?}", kernel.findings);
}

#[test]
fn slots_are_filled_once_and_apart() {
    let (mut kernel, _reader) = stage();
    let memory = [0; 8];
    assert_eq!(fill(&mut kernel, 0, &memory[..4]), Ok(()));
    assert_eq!(fill(&mut kernel, 1, &memory[4..]), Ok(()));
    assert_eq!(empty(&mut kernel, 1), Ok(()));
    assert_eq!(empty(&mut kernel, 1), Ok(()), "it is empty already");
    assert_eq!(fill(&mut kernel, 1, &memory[4..6]), Ok(()));
    assert_eq!(kernel.findings, [""; 0]);
    // Another ring is another table.
    assert_eq!(kernel.add_ring(64), 1);
    assert_eq!(kernel.make_slots(1, 1), Ok(()));
    assert_eq!(kernel.fill_slot(1, 0, memory.as_ptr().addr(), 8), Ok(()));
    assert_eq!(kernel.findings, [""; 0]);
    assert_eq!(fill(&mut kernel, 1, &memory[6..]), Ok(()));
    assert_eq!(fill(&mut kernel, 2, &memory[3..4]), Ok(()));
    let findings =
        ["slot 1 of ring 0 is filled twice", "slot 2 of ring 0 has memory of another one"];
    assert_eq!(kernel.findings, findings);
}

#[test]
fn registering_fails_as_a_kernel_says() {
    let (mut kernel, _reader) = stage();
    let memory = [0; 8];
    assert_eq!(kernel.make_slots(0, 4), Err(Errno::BUSY));
    assert_eq!(kernel.add_ring(64), 1);
    assert_eq!(kernel.fill_slot(1, 0, 4096, 1), Err(Errno::NXIO), "it has no table");
    for count in [0, (1 << 14) + 1] {
        assert_eq!(kernel.make_slots(1, count), Err(Errno::INVAL));
    }
    assert_eq!(fill(&mut kernel, 4, &memory), Err(Errno::INVAL));
    for (start, len) in [(0, 8), (4096, 0), (4096, (1 << 30) + 1)] {
        assert_eq!(kernel.fill_slot(0, 0, start, len), Err(Errno::FAULT));
    }
    kernel.config.refused_registrations = 1000;
    assert_eq!(kernel.make_slots(1, 4), Err(Errno::NOMEM));
    assert_eq!(fill(&mut kernel, 0, &memory), Err(Errno::NOMEM));
    assert_eq!(empty(&mut kernel, 0), Ok(()), "that needs no memory");
    kernel.config.refused_registrations = 0;
    kernel.config.interrupts = 1000;
    for _ in 0..3 {
        assert_eq!(empty(&mut kernel, 0), Err(Errno::INTR));
        assert_eq!(empty(&mut kernel, 0), Ok(()), "made again, it ends");
    }
    assert_eq!(kernel.findings, [""; 0]);
}

#[test]
fn a_table_goes_with_its_ring() {
    let (mut kernel, reader) = stage();
    let mut memory = [0; 8];
    assert_eq!(fill(&mut kernel, 0, &memory), Ok(()));
    kernel.end_ring(0);
    name(&mut kernel, &submission(1, READ, reader, &mut memory), 0);
    kernel.run();
    assert_eq!(next(&mut kernel), Some((1, FAULT)));
}

#[test]
fn a_ring_that_waits_does_not_wait_for_what_another_one_is_told() {
    let (mut kernel, _reader) = stage();
    assert_eq!(kernel.add_ring(64), 1);
    take(&mut kernel, &submission(1, Op::Nop, -1, &mut []));
    // Nobody takes it in: it stays due.
    assert_eq!((kernel.next_event(), kernel.next_event_of(0)), (Some(0), Some(0)));
    assert_eq!(kernel.next_event_of(1), None);
}
