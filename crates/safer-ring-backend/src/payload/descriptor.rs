//! Operations that make descriptors, and the ones that give a socket its addresses.
//!
//! # Safety
//! A result of open, accept or socket is a new descriptor without an owner; `finish` sees it once and owns
//! it. The states of pipe and accept are boxed, and unboxed as the type they were boxed as.
//!
//! Tests: accept_gives_the_peer_and_is_close_on_exec, a_late_open_is_closed_and_counted, a_pipe_carries_bytes
#![allow(unsafe_code, reason = "adopting new descriptors, unboxing operation states")]

use std::io;
use std::marker::PhantomData;
use std::mem::offset_of;
use std::os::fd::{IntoRawFd, RawFd};

use safer_ring_buf::Lease;
use safer_ring_core::Op;

use super::path::{PathState, RawOpenHow};
use super::simple::Plain;
use super::{Done, Payload, sealed::Sealed};
use crate::addr::{Address, RawAddress};
use crate::adopt::adopt;
use crate::fd::Fd;
use crate::mode::Mode;
use crate::request::{Made, Request};
use crate::stream::{Item, Load, Sides};

/// `SOCK_CLOEXEC` and `O_CLOEXEC`: every descriptor this library makes closes on exec.
const CLOEXEC: u32 = 0o2_000_000;

/// Gives an open file.
#[derive(Debug)]
pub struct OpenFd<M>(PhantomData<fn() -> M>);
/// Gives a new socket.
#[derive(Debug)]
pub struct Socket<M>(PhantomData<fn() -> M>);
/// Gives a connection and the address of its peer.
#[derive(Debug)]
pub struct Accept<M>(PhantomData<fn() -> M>);
/// Gives the two ends of a pipe.
#[derive(Debug)]
pub struct PipeEnds<M>(PhantomData<fn() -> M>);

impl<M> Sealed for OpenFd<M> {}
impl<M> Sealed for Socket<M> {}
impl<M> Sealed for Accept<M> {}
impl<M> Sealed for PipeEnds<M> {}

/// openat(2), relative to `dir` or to the working directory.
///
/// # Errors
/// The output of the operation, if the path has a zero byte in it.
pub fn open<M: Mode>(
    dir: Option<&Fd<M>>,
    path: &std::path::Path,
    flags: u32,
    mode: u32,
) -> Made<M, OpenFd<M>> {
    let state = PathState::one(path).map_err(Err)?;
    let op = Op::OpenAt { flags: flags | CLOEXEC, mode };
    Ok(super::path::at(Request::new(op, state.lease(), ()), dir))
}

/// openat2(2).
///
/// # Errors
/// The output of the operation, if the path has a zero byte in it.
pub fn openat2<M: Mode>(
    dir: Option<&Fd<M>>,
    path: &std::path::Path,
    flags: u64,
    mode: u64,
    resolve: u64,
) -> Made<M, OpenFd<M>> {
    let how = RawOpenHow { flags: flags | u64::from(CLOEXEC), mode, resolve };
    let state = PathState::with(path, how).map_err(Err)?;
    let (lease, aux) = state.lease_with_extra();
    Ok(super::path::at(Request::new(Op::OpenAt2 { aux }, lease, ()), dir))
}

/// socket(2).
pub fn socket<M: Mode>(domain: u32, kind: u32, protocol: u32) -> Request<M::Guard, Socket<M>> {
    let op = Op::Socket { domain, kind: kind | CLOEXEC, protocol };
    Request::new(op, Lease::empty(), ())
}

/// accept4(2) with `SOCK_CLOEXEC`.
pub fn accept<M: Mode>(fd: &Fd<M>) -> Request<M::Guard, Accept<M>> {
    let lease = Lease::from_box(Box::new(RawAddress::room()));
    let aux = super::offset_address(&lease, offset_of!(RawAddress, len));
    Request::new(Op::Accept { flags: CLOEXEC, aux }, lease, ()).on(fd.guard())
}

/// connect(2).
///
/// # Errors
/// The output of the operation, if the address is too long.
pub fn connect<M: Mode>(fd: &Fd<M>, address: &Address) -> Made<M, Plain> {
    let raw = RawAddress::encode(address).map_err(Err)?;
    let op = Op::Connect { len: raw.len };
    Ok(Request::new(op, Lease::from_box(Box::new(raw)), ()).on(fd.guard()))
}

/// bind(2).
///
/// # Errors
/// The output of the operation, if the address is too long.
pub fn bind<M: Mode>(fd: &Fd<M>, address: &Address) -> Made<M, Plain> {
    let raw = RawAddress::encode(address).map_err(Err)?;
    let op = Op::Bind { len: raw.len };
    Ok(Request::new(op, Lease::from_box(Box::new(raw)), ()).on(fd.guard()))
}

/// pipe2(2) with `O_CLOEXEC`.
pub fn pipe<M: Mode>(flags: u32) -> Request<M::Guard, PipeEnds<M>> {
    let lease = Lease::from_box(Box::new(PipeState { ends: [-1, -1] }));
    Request::new(Op::Pipe { flags: flags | CLOEXEC }, lease, ())
}

/// Where the kernel writes the ends of a new pipe; whoever drops this first owns them.
#[repr(C)]
struct PipeState {
    ends: [RawFd; 2],
}

impl Drop for PipeState {
    fn drop(&mut self) {
        for end in self.ends {
            if end >= 0 {
                // SAFETY: the kernel wrote this number as a new descriptor, and `finish` takes it out
                // (leaving -1) if it owns it.
                drop(unsafe { adopt(end) });
            }
        }
    }
}

/// Owns the descriptor that is the result.
///
/// # Safety
/// The result is that of an operation that makes a descriptor, seen for the first time.
unsafe fn new_fd<M: Mode>(done: Done) -> io::Result<Fd<M>> {
    let number = done.result?.cast_signed();
    // SAFETY: by this function's contract.
    Ok(Fd::over(unsafe { adopt(number) }))
}

impl<M: Mode> Payload for OpenFd<M> {
    type Rest = ();
    type Output = io::Result<Fd<M>>;

    super::lends_nothing!();

    unsafe fn finish(_: Lease, (): (), done: Done) -> Self::Output {
        // SAFETY: the request was an open.
        unsafe { new_fd(done) }
    }
}

impl<M: Mode> Payload for Socket<M> {
    type Rest = ();
    type Output = io::Result<Fd<M>>;

    super::lends_nothing!();

    unsafe fn finish(_: Lease, (): (), done: Done) -> Self::Output {
        // SAFETY: the request was a socket.
        unsafe { new_fd(done) }
    }
}

impl<M: Mode> Payload for Accept<M> {
    type Rest = ();
    type Output = io::Result<(Fd<M>, Option<Address>)>;

    super::lends_nothing!();

    const ACCEPTS: bool = true;

    const ASKS: Sides = Sides::TAKES;

    fn receive(lease: &mut Lease, (): &(), _: &Op, item: &mut Item) -> u32 {
        let Load::Connection(fd, address) =
            std::mem::replace(&mut item.load, Load::Own(Vec::new()))
        else {
            return 0;
        };
        // SAFETY: the address came in the lease of an accept, which is a boxed `RawAddress`; any bytes are a valid one.
        let address = unsafe { address.into_box::<RawAddress>() };
        // SAFETY: so is this lease, of an accept that has not begun.
        unsafe { lease.ptr().cast::<RawAddress>().write(*address) };
        // `finish` owns it by its number.
        fd.into_raw_fd().cast_unsigned()
    }

    unsafe fn finish(lease: Lease, (): (), done: Done) -> Self::Output {
        // SAFETY: `accept` boxed a `RawAddress`; any bytes are a valid one.
        let address = unsafe { lease.into_box::<RawAddress>() };
        // SAFETY: the request was an accept.
        let fd = unsafe { new_fd(done) }?;
        Ok((fd, address.decode()))
    }
}

impl<M: Mode> Payload for PipeEnds<M> {
    type Rest = ();
    type Output = io::Result<(Fd<M>, Fd<M>)>;

    super::lends_nothing!();

    unsafe fn finish(lease: Lease, (): (), done: Done) -> Self::Output {
        // SAFETY: `pipe` boxed a `PipeState`; any bytes are a valid one.
        let mut state = unsafe { lease.into_box::<PipeState>() };
        done.result?;
        let [reader, writer] = std::mem::replace(&mut state.ends, [-1, -1]);
        // SAFETY: pipe2(2) has succeeded and written two new descriptors, taken out here.
        let reader = Fd::over(unsafe { adopt(reader) });
        // SAFETY: as above.
        let writer = Fd::over(unsafe { adopt(writer) });
        Ok((reader, writer))
    }
}
