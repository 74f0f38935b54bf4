//! A message that waits for the next receive, looked at (`MSG_PEEK`) and then received.
//!
//! # Safety
//! Receives into the memory of an operation, as a kernel would.
//!
//! Tests: who_looks_leaves_the_control_data_to_who_receives
#![allow(unsafe_code, reason = "recvmsg(2)")]

use std::io::{Read as _, Write as _};
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;

use safer_ring_buf::Lease;
use safer_ring_core::Op;

use crate::payload::{
    Control, ControlMessage, Done, More, PEEK, Payload as _, Received, RecvMsg, SendMsg, finish,
    recv_msg, send_msg,
};
use crate::stream::{Item, Load};
use crate::{Fd, Local};

/// What a receive lends.
fn lent(near: &Fd<Local>, flags: u32) -> (Op, Lease) {
    let request = recv_msg(near, Box::new([0_u8; 8]), 64, flags).unwrap_or_else(|_| panic!());
    let (op, resources, ()) = request.into_parts();
    (op, ManuallyDrop::into_inner(resources).lease)
}

/// A receive of this kind gets what is kept.
fn take(near: &Fd<Local>, flags: u32, item: &mut Item) -> Received<Box<[u8; 8]>> {
    let (op, mut lease) = lent(near, flags);
    let count = RecvMsg::<Box<[u8; 8]>>::receive(&mut lease, &(), &op, item);
    let done = Done { result: Ok(count), flags: 0, more: More::default() };
    finish::<RecvMsg<Box<[u8; 8]>>>(lease, (), done).unwrap()
}

/// Writes by way of the descriptor that came with a message.
fn use_it(message: &Received<Box<[u8; 8]>>, far: &mut UnixStream) {
    assert_eq!(message.buffer[..message.count], *b"with");
    let [ControlMessage::Descriptors(descriptors)] = &message.control[..] else {
        panic!("no descriptors: {message:?}");
    };
    let [descriptor] = &descriptors[..] else { panic!("{message:?}") };
    UnixStream::from(descriptor.try_clone().unwrap()).write_all(b"!").unwrap();
    let mut got = [0];
    far.read_exact(&mut got).unwrap();
}

#[test]
fn who_looks_leaves_the_control_data_to_who_receives() {
    let (near, far) = UnixStream::pair().unwrap();
    let (passed, mut other) = UnixStream::pair().unwrap();
    let near: Fd<Local> = Fd::new(near);
    let mut control = Control::new();
    control.descriptors(&[&passed]).unwrap();
    drop(passed);
    let sends: Fd<Local> = Fd::new(far);
    let request = send_msg(&sends, b"with".to_vec(), None, control, 0).unwrap_or_else(|_| panic!());
    let (_, resources, rest) = request.into_parts();
    // SAFETY: the memory of a message to be sent.
    let sent = unsafe { libc::sendmsg(raw(&sends), resources.lease.ptr().cast(), 0) };
    assert_eq!(sent, 4);
    let done = Done { result: Ok(4), flags: 0, more: More::default() };
    let resources = ManuallyDrop::into_inner(resources);
    finish::<SendMsg<Vec<u8>>>(resources.lease, rest, done).unwrap();
    let (_, lease) = lent(&near, 0);
    // SAFETY: the memory of a message to be received.
    let count = unsafe { libc::recvmsg(raw(&near), lease.ptr().cast(), libc::MSG_CMSG_CLOEXEC) };
    let mut item = Item::new(Load::Message(lease, usize::try_from(count).unwrap()));
    for _ in 0..2 {
        use_it(&take(&near, PEEK, &mut item), &mut other);
    }
    use_it(&take(&near, 0, &mut item), &mut other);
    // Each has closed its own.
    drop(item);
    assert_eq!(other.read(&mut [0]).unwrap(), 0);
}

fn raw(fd: &Fd<Local>) -> i32 {
    std::os::fd::AsFd::as_fd(fd).as_raw_fd()
}
