//! Sends that a plain call has begun.

use std::io::Read;
use std::mem::ManuallyDrop;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use safer_ring_buf::IoBuf;
use safer_ring_core::{Key, Op};

use crate::config::Config;
use crate::driver::Driver;
use crate::fd::{Guard, SharedHandle};
use crate::payload::WAITALL;
use crate::request::Resources;
use crate::uring::{RingBackend, may_call_plainly};

const ALL: Op = Op::Send { flags: WAITALL };

type OfThreads = Driver<Arc<SharedHandle>, RingBackend>;

fn driver(backend: RingBackend) -> OfThreads {
    Driver::new(backend, 8).unwrap()
}

fn of_the_kernel() -> OfThreads {
    driver(RingBackend::with_bell(&Config::new(8)).unwrap().0)
}

/// What is lent for a send of ten bytes.
fn lent(fd: &Arc<SharedHandle>) -> ManuallyDrop<Resources<Arc<SharedHandle>>> {
    let lease = b"0123456789".to_vec().lend().0;
    ManuallyDrop::new(Resources { lease, fd: Some(Arc::clone(fd)), other: None })
}

/// A send for all of its bytes.
fn send(driver: &mut OfThreads, fd: &Arc<SharedHandle>) -> Key {
    let submitted = driver.submit(ALL, lent(fd), None);
    submitted.unwrap_or_else(|_| panic!("refused"))
}

/// The same, four bytes of which have been sent. `None` if it is given back.
fn send_rest(driver: &mut OfThreads, fd: &Arc<SharedHandle>) -> Option<Key> {
    let submitted = driver.submit_begun(ALL, lent(fd), 4);
    submitted.map_err(|back| drop(ManuallyDrop::into_inner(back))).ok()
}

fn pair() -> (Arc<SharedHandle>, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    (Arc::<SharedHandle>::of(OwnedFd::from(near).into()), far)
}

/// The result, once it is there.
fn end(driver: &mut OfThreads, key: Key) -> i32 {
    driver.flush();
    while !driver.poll(key, std::task::Waker::noop()) {
        driver.wait(None);
    }
    driver.table.take(key).map(|(_, _, completion)| completion.res).unwrap()
}

#[test]
fn a_send_goes_on_behind_what_was_sent_and_the_next_begins_at_its_start() {
    let mut driver = of_the_kernel();
    let (near, mut far) = pair();
    let Some(key) = send_rest(&mut driver, &near) else {
        println!("skipped: before kernel 6.0 no plain call begins a send");
        assert!(!may_call_plainly(driver.backend().features()));
        return;
    };
    assert_eq!(end(&mut driver, key), 10, "with what was sent before");
    let key = send(&mut driver, &near);
    assert_eq!(end(&mut driver, key), 10);
    let mut got = [0; 16];
    far.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"4567890123456789");
}

#[test]
fn no_send_goes_on_where_it_would_have_to_wait_in_the_table() {
    let mut driver = of_the_kernel();
    let (near, _far) = pair();
    let room = driver.backend().features().entries;
    for _ in 0..=room {
        send(&mut driver, &near);
    }
    assert!(send_rest(&mut driver, &near).is_none(), "{room} entries are queued, and one waits");
}

#[test]
fn no_send_goes_on_in_the_fallback() {
    let (backend, _bell) = RingBackend::fallback_with_bell(&Config::new(8)).unwrap();
    assert!(!may_call_plainly(backend.features()));
    assert!(send_rest(&mut driver(backend), &pair().0).is_none());
}
