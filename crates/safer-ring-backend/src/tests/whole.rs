//! `MSG_WAITALL` in steps, as on a kernel before 6.1.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use safer_ring_buf::IoBuf;
use safer_ring_core::{Key, Op};

use super::{Guarded, result, submit};
use crate::config::Config;
use crate::driver::Driver;
use crate::fd::Guard;
use crate::payload::WAITALL;
use crate::request::Resources;
use crate::uring::RingBackend;

/// A driver that receives ten bytes, and who sends them.
fn receiving() -> (Driver<Guarded, RingBackend>, Key, UnixStream) {
    let backend = RingBackend::new(&Config::new(8)).unwrap().with_steps();
    let mut driver = Driver::new(backend, 8).unwrap();
    let (near, far) = UnixStream::pair().unwrap();
    let (lease, _) = Vec::<u8>::with_capacity(10).lend();
    let fd = Some(Guarded::of(OwnedFd::from(near).into()));
    let resources = Resources { lease, fd, other: None };
    let key = submit(&mut driver, Op::Recv { flags: WAITALL }, resources);
    driver.flush();
    (driver, key, far)
}

#[test]
fn a_receive_for_all_in_steps_waits_for_all() {
    let (mut driver, key, mut far) = receiving();
    for part in ["one", "two", "four"] {
        assert_eq!(result(&mut driver, key), None, "before {part}");
        far.write_all(part.as_bytes()).unwrap();
        driver.wait(None);
    }
    while !driver.poll(key, std::task::Waker::noop()) {
        driver.wait(None);
    }
    assert_eq!(result(&mut driver, key), Some(10));
    let snapshot = driver.snapshot();
    assert_eq!((snapshot.in_flight, snapshot.stale_completions), (0, 0));
}

#[test]
fn the_part_of_a_receive_for_all_in_steps_survives_its_cancellation() {
    let (mut driver, key, mut far) = receiving();
    far.write_all(b"part").unwrap();
    // The first step is over then, and the second waits.
    driver.wait(None);
    assert_eq!(result(&mut driver, key), None);
    driver.table.cancel(key);
    while !driver.poll(key, std::task::Waker::noop()) {
        driver.flush();
        driver.wait(None);
    }
    assert_eq!(result(&mut driver, key), Some(4));
    assert_eq!(driver.snapshot().stale_completions, 0);
}
