//! Operations that are ended, missed, or outlive their ring.
//!
//! # Safety
//! The memory of each operation is the test's, and lives until it ends.
//!
//! Tests: a_read_that_outlives_its_ring_fills_its_memory, memory_that_is_freed_with_its_ring_is_found
#![allow(unsafe_code, reason = "a kernel by hand")]

use super::*;

const LONG: u64 = 3_600_000_000_000;

/// A file with this in it.
fn file(kernel: &mut Kernel, bytes: &[u8]) -> RawFd {
    let fd = kernel.file_in_memory(b"file").unwrap();
    let mut bytes = bytes.to_vec();
    take(kernel, &submission(90, Op::Write { offset: 0 }, fd, &mut bytes));
    assert_eq!(next(kernel), Some((90, i32::try_from(bytes.len()).unwrap())));
    fd
}

/// Lets everything end that is going to.
fn later(kernel: &mut Kernel) {
    let now = kernel.now();
    kernel.go_to(now + LONG);
    kernel.run();
}

#[test]
fn a_read_that_outlives_its_ring_fills_its_memory() {
    for (slow_disk, late) in [(1000, 0), (0, 1000), (0, 0)] {
        let (mut kernel, ..) = kernel();
        let fd = file(&mut kernel, b"bytes");
        (kernel.config.slow_disk, kernel.config.late) = (slow_disk, late);
        let mut memory = *b".......";
        let place = memory.as_mut_ptr();
        take(&mut kernel, &submission(1, Op::Read { offset: 0 }, fd, &mut memory));
        kernel.end_ring(0);
        // SAFETY: the test's own memory.
        assert_eq!(unsafe { place.read() }, 0xa5, "closing it is no barrier");
        assert_eq!(kernel.in_flight().len(), 1);
        later(&mut kernel);
        assert_eq!(&memory, b"bytes..");
        assert_eq!((kernel.findings.len(), kernel.in_flight().len()), (0, 0));
        assert_eq!(next(&mut kernel), None, "nobody is told");
    }
}

#[test]
fn memory_that_is_freed_with_its_ring_is_found() {
    for waits in [false, true] {
        let (mut kernel, reader, _writer) = kernel();
        let fd = file(&mut kernel, b"bytes");
        let mut memory = [0; 8];
        let place = memory.as_mut_ptr();
        let read = if waits { (READ, reader) } else { (Op::Read { offset: 0 }, fd) };
        take(&mut kernel, &submission(1, read.0, read.1, &mut memory));
        kernel.end_ring(0);
        // SAFETY: the test's own memory. Whoever gets it next uses it.
        unsafe { place.write(1) };
        later(&mut kernel);
        assert_eq!(kernel.findings.len(), 1);
        assert!(kernel.findings[0].contains("outlived ring 0"), "{:?}", kernel.findings);
    }
}

#[test]
fn a_write_that_outlives_its_ring_reaches_its_file() {
    let (mut kernel, ..) = kernel();
    let fd = file(&mut kernel, b"old");
    kernel.config.slow_disk = 1000;
    let mut memory = *b"new";
    take(&mut kernel, &submission(1, Op::Write { offset: 0 }, fd, &mut memory));
    take(&mut kernel, &submission(2, Op::Fsync { datasync: false }, fd, &mut []));
    kernel.end_ring(0);
    later(&mut kernel);
    kernel.config.slow_disk = 0;
    assert_eq!(kernel.add_ring(64), 1);
    let mut back = [0; 3];
    let read = submission(1, Op::Read { offset: 0 }, fd, &mut back);
    // SAFETY: the memory is a local of the test.
    unsafe { kernel.take(1, &read, None) };
    kernel.run();
    assert!(kernel.next_completion(1).is_some_and(|cqe| cqe.res == 3));
    assert_eq!(&back, b"new");
}

#[test]
fn a_cancellation_misses_what_is_on_its_way_and_finds_it_in_the_end() {
    let (mut kernel, reader, _writer) = kernel();
    kernel.config.missed_cancels = 1000;
    let mut memory = [0; 8];
    take(&mut kernel, &submission(1, READ, reader, &mut memory));
    let mut missed = 0;
    loop {
        kernel.take_cancel(0, 9, 1);
        kernel.run();
        let told = [next(&mut kernel), next(&mut kernel)];
        if told == [Some((9, -2)), None] {
            missed += 1;
            continue;
        }
        assert_eq!(told, [Some((1, -125)), Some((9, 0))]);
        break;
    }
    assert!(missed > 1, "{missed}");
}

#[test]
fn members_of_chains_and_polls_are_not_missed() {
    let (mut kernel, reader, _writer) = kernel();
    kernel.config.missed_cancels = 1000;
    let (mut memory, mut other) = ([0; 8], [0; 8]);
    let first = Submission { link: true, ..submission(1, READ, reader, &mut memory) };
    take(&mut kernel, &first);
    take(&mut kernel, &submission(2, READ, reader, &mut other));
    kernel.end_chain(0);
    take(&mut kernel, &submission(3, Op::Poll { events: 1 }, reader, &mut []));
    for (target, answer) in [(3, [(3, -125), (9, 0)]), (1, [(1, -125), (2, -125)])] {
        kernel.take_cancel(0, 9, target);
        kernel.run();
        assert_eq!([next(&mut kernel), next(&mut kernel)], answer.map(Some));
    }
    assert_eq!(next(&mut kernel), Some((9, 0)));
}
