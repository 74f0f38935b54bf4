//! The simulated kernel by itself, with submissions made by hand.
//!
//! # Safety
//! Each submission lends memory of the test, which lives until its last completion.
//!
//! Tests: memory_that_is_used_too_early_is_found, results_that_are_used_too_early_are_found
#![allow(unsafe_code, reason = "submissions by hand")]

use std::os::fd::RawFd;
use std::ptr;

use safer_ring_core::{CURSOR, Op};
use safer_ring_sys::{Cqe, Errno};

use super::Config;
use super::kernel::Kernel;
use crate::backend::Submission;

mod ends;
mod multishot;
mod registered;

fn kernel() -> (Kernel, RawFd, RawFd) {
    let mut kernel = Kernel::new(&Config::calm(1));
    assert_eq!(kernel.add_ring(64), 0);
    let (reader, writer) = kernel.open_pipe(0).unwrap();
    (kernel, reader, writer)
}

fn submission(user_data: u64, op: Op, fd: RawFd, memory: &mut [u8]) -> Submission {
    Submission {
        user_data,
        op,
        fd,
        other: -1,
        ptr: memory.as_mut_ptr(),
        init: memory.len(),
        capacity: memory.len(),
        link: false,
        begun: 0,
        poll_first: None,
        class: None,
    }
}

fn take(kernel: &mut Kernel, submission: &Submission) {
    // SAFETY: the memory is a local of the test.
    unsafe { kernel.take(0, submission, None) };
    kernel.run();
}

fn next(kernel: &mut Kernel) -> Option<(u64, i32)> {
    kernel.next_completion(0).map(|Cqe { user_data, res, .. }| (user_data, res))
}

const READ: Op = Op::Read { offset: CURSOR };
const WRITE: Op = Op::Write { offset: CURSOR };

#[test]
fn memory_that_is_used_too_early_is_found() {
    for guilty in [false, true] {
        let (mut kernel, reader, writer) = kernel();
        let mut memory = *b"before..";
        let place = memory.as_mut_ptr();
        take(&mut kernel, &submission(1, READ, reader, &mut memory));
        // SAFETY: the test's own memory.
        assert_eq!(unsafe { place.read() }, 0xa5, "a read in flight has nobody's bytes");
        assert_eq!(next(&mut kernel), None);
        if guilty {
            // SAFETY: as above.
            unsafe { place.write(7) };
        }
        let mut sent = *b"abc";
        take(&mut kernel, &submission(2, WRITE, writer, &mut sent));
        let first = next(&mut kernel);
        assert_eq!((first, next(&mut kernel)), (Some((2, 3)), Some((1, 3))));
        assert_eq!(kernel.findings.len(), usize::from(guilty), "{:?}", kernel.findings);
        if !guilty {
            assert_eq!(&memory, b"abcore..", "its bytes, and what was behind them");
        }
    }
}

#[test]
fn results_that_are_used_too_early_are_found() {
    let slow = Config { delay: 1000, ..Config::calm(1) };
    for (guilty, fails) in [(false, false), (true, false), (false, true)] {
        let mut kernel = Kernel::new(&slow);
        assert_eq!(kernel.add_ring(64), 0);
        let file = kernel.open_path(-1, b"/tmp/x", (0o102, 0o600), 0).unwrap();
        let server = kernel.open_socket(2, 1, 0).unwrap();
        kernel.listen(server, 1).unwrap();
        let (mut ends, mut stat, mut path) = ([7u8; 8], [7u8; 256], *b"\0");
        let (mut address, mut room) = ([7u8; 28], 28u32);
        let aux = crate::payload::address(stat.as_mut_ptr());
        let statx = Op::Statx { flags: 0x1000, mask: 0xfff, aux };
        let aux = crate::payload::address((&raw mut room).cast());
        let accept = Op::Accept { flags: 0, aux };
        take(&mut kernel, &submission(1, Op::Pipe { flags: 0 }, -1, &mut ends));
        take(&mut kernel, &submission(2, statx, file, &mut path));
        take(&mut kernel, &submission(3, accept, server, &mut address));
        let places = [ends.as_mut_ptr(), stat.as_mut_ptr(), address.as_mut_ptr()];
        for place in places {
            // SAFETY: the test's own memory.
            assert_eq!(unsafe { place.read() }, 0xa5, "nobody's result");
            if guilty {
                // SAFETY: as above.
                unsafe { place.write(9) };
            }
        }
        if fails {
            kernel.crash();
        }
        kernel.take_cancel(0, 4, 3);
        kernel.go_to(1_000_000_000);
        kernel.run();
        let mut told = Vec::new();
        while let Some(ended) = next(&mut kernel) {
            told.push(ended);
        }
        assert_eq!(kernel.findings.len(), if guilty { 3 } else { 0 }, "{:?}", kernel.findings);
        assert_eq!(told.len(), 4);
        if !guilty {
            assert_eq!((address, room), ([7; 28], 28), "it was cancelled");
            assert_eq!((ends == [7; 8], stat == [7; 256]), (fails, fails), "{told:?}");
        }
    }
}

#[test]
fn a_write_whose_memory_changes_on_the_way_is_found() {
    let (mut kernel, _reader, writer) = kernel();
    let mut memory = vec![1u8; 70_000];
    let place = memory.as_mut_ptr();
    take(&mut kernel, &submission(1, WRITE, writer, &mut memory));
    assert_eq!(next(&mut kernel), Some((1, 65_536)), "as much as the pipe holds");
    take(&mut kernel, &submission(2, WRITE, writer, &mut memory));
    // SAFETY: the test's own memory.
    unsafe { place.write(2) };
    kernel.end_all(Errno::IO);
    assert_eq!(next(&mut kernel), Some((2, -5)));
    assert!(kernel.findings[0].contains("a write in flight"), "{:?}", kernel.findings);
}

#[test]
fn a_read_leaves_the_rest_of_its_buffer_alone() {
    let (mut kernel, reader, _writer) = kernel();
    let mut memory = *b"as it was";
    take(&mut kernel, &submission(1, READ, reader, &mut memory));
    kernel.take_cancel(0, 2, 1);
    kernel.run();
    let ends = [next(&mut kernel), next(&mut kernel), next(&mut kernel)];
    assert_eq!(ends, [Some((1, -125)), Some((2, 0)), None]);
    assert_eq!(&memory, b"as it was");
    kernel.take_cancel(0, 3, 1);
    kernel.run();
    assert_eq!(next(&mut kernel), Some((3, -2)), "it is gone");
    let nothing = Submission {
        ptr: ptr::null_mut(),
        init: 0,
        capacity: 0,
        ..submission(4, Op::Raw, -1, &mut [])
    };
    take(&mut kernel, &nothing);
    assert_eq!(next(&mut kernel), Some((4, -Errno::OPNOTSUPP.raw_os_error())));
}

#[test]
fn a_chain_goes_on_after_success_and_ends_after_less() {
    let (mut kernel, reader, writer) = kernel();
    let (mut one, mut two, mut room) = (*b"ab", *b"cd", [0; 3]);
    for (user_data, op, fd, memory, link) in [
        (1, WRITE, writer, &mut one[..], true),
        (2, READ, reader, &mut room[..], true),
        (3, WRITE, writer, &mut two[..], false),
    ] {
        let member = Submission { link, ..submission(user_data, op, fd, memory) };
        // SAFETY: the memory is a local of the test.
        unsafe { kernel.take(0, &member, None) };
        assert_eq!(kernel.in_chain(0), link);
    }
    kernel.run();
    let canceled = -Errno::CANCELED.raw_os_error();
    let ends = [next(&mut kernel), next(&mut kernel), next(&mut kernel)];
    assert_eq!(ends, [Some((1, 2)), Some((2, 2)), Some((3, canceled))]);
}
