//! Operations that lend no memory.
//!
//! # Safety
//! Their leases are empty. One block: a descriptor that was to be closed and was not has an owner again.
//!
//! Tests: close_reports_and_a_shared_descriptor_is_given_back
#![allow(unsafe_code, reason = "implements the unsafe Payload::finish; adopts a descriptor")]

use std::io;
use std::marker::PhantomData;
use std::os::fd::{IntoRawFd, RawFd};
use std::time::Duration;

use safer_ring_buf::Lease;
use safer_ring_core::{Key, Op};
use safer_ring_sys::Errno;

use super::{Done, Payload, sealed::Sealed};
use crate::adopt::adopt;
use crate::driver::Driver;
use crate::error::{Failure, OpError};
use crate::fd::{Fd, Guard};
use crate::mode::Mode;
use crate::request::{Request, Resources};

/// Gives nothing but success.
#[derive(Debug)]
pub struct Unit(());

/// Gives a number of bytes.
#[derive(Debug)]
pub struct Count(());

/// Gives the events that are there.
#[derive(Debug)]
pub struct PollEvents(());

/// Ends after a time.
#[derive(Debug)]
pub struct Sleep(());

/// Closes a descriptor.
#[derive(Debug)]
pub struct Close<M>(PhantomData<fn() -> M>);

impl Sealed for Unit {}
impl Sealed for Count {}
impl Sealed for PollEvents {}
impl Sealed for Sleep {}
impl<M> Sealed for Close<M> {}

type UnitRequest<M> = Request<<M as Mode>::Guard, Unit>;
type CountRequest<M> = Request<<M as Mode>::Guard, Count>;

fn plain<K, P: Payload<Rest = ()>>(op: Op) -> Request<K, P> {
    Request::new(op, Lease::empty(), ())
}

/// Does nothing, in the kernel.
#[inline]
pub fn nop<M: Mode>() -> UnitRequest<M> {
    plain(Op::Nop)
}

/// fsync(2), or fdatasync(2) with `datasync`.
pub fn fsync<M: Mode>(fd: &Fd<M>, datasync: bool) -> UnitRequest<M> {
    plain(Op::Fsync { datasync }).on(fd.guard())
}

/// fallocate(2).
pub fn fallocate<M: Mode>(fd: &Fd<M>, mode: u32, offset: u64, len: u64) -> UnitRequest<M> {
    plain(Op::Fallocate { mode, offset, len }).on(fd.guard())
}

/// ftruncate(2).
pub fn ftruncate<M: Mode>(fd: &Fd<M>, len: u64) -> UnitRequest<M> {
    plain(Op::Ftruncate { len }).on(fd.guard())
}

/// shutdown(2); `how` as there.
pub fn shutdown<M: Mode>(fd: &Fd<M>, how: u32) -> UnitRequest<M> {
    plain(Op::Shutdown { how }).on(fd.guard())
}

/// listen(2).
pub fn listen<M: Mode>(fd: &Fd<M>, backlog: u32) -> UnitRequest<M> {
    plain(Op::Listen { backlog }).on(fd.guard())
}

/// splice(2); `u64::MAX` as an offset is the file's cursor or a pipe.
pub fn splice<M: Mode>(
    from: &Fd<M>,
    offset_in: u64,
    to: &Fd<M>,
    offset_out: u64,
    len: u32,
    flags: u32,
) -> CountRequest<M> {
    plain(Op::Splice { offset_in, offset_out, len, flags }).on(from.guard()).and(to.guard())
}

/// tee(2).
pub fn tee<M: Mode>(from: &Fd<M>, to: &Fd<M>, len: u32, flags: u32) -> CountRequest<M> {
    plain(Op::Tee { len, flags }).on(from.guard()).and(to.guard())
}

/// poll(2) for one descriptor.
pub fn poll<M: Mode>(fd: &Fd<M>, events: u32) -> Request<M::Guard, PollEvents> {
    plain(Op::Poll { events }).on(fd.guard())
}

/// Ends after `after`.
pub fn timeout<M: Mode>(after: Duration) -> Request<M::Guard, Sleep> {
    Request::new(Op::Timeout, Lease::empty(), after)
}

/// close(2).
///
/// # Errors
/// The output of the operation, with the handle in it, if another handle or operation shares the descriptor.
pub fn close<M: Mode>(fd: Fd<M>) -> Result<Request<M::Guard, Close<M>>, CloseOutput<M>> {
    let others = fd.holders().saturating_sub(1);
    match fd.try_into_owned() {
        Ok(owned) => {
            let fd = owned.into_raw_fd();
            Ok(Request::new(Op::Close { fd }, Lease::empty(), fd))
        }
        Err(fd) => Err(Err(OpError::new(Failure::Busy { others: others.max(1) }, Some(fd)))),
    }
}

/// The handle comes back if it is still open.
type CloseOutput<M> = Result<(), OpError<Option<Fd<M>>>>;

/// Whether close(2) was not run: the kernel gives a descriptor up even if closing reports an error, so these
/// are the answers that come from before it.
pub(crate) fn close_did_not_run(errno: Errno) -> bool {
    matches!(errno, Errno::CANCELED | Errno::INVAL | Errno::OPNOTSUPP | Errno::ACCESS)
}

impl Payload for Unit {
    type Rest = ();
    type Output = io::Result<()>;

    #[inline]
    unsafe fn finish(_: Lease, (): (), done: Done) -> Self::Output {
        done.result.map(drop).map_err(Into::into)
    }
}

impl Payload for Count {
    type Rest = ();
    type Output = io::Result<usize>;

    unsafe fn finish(_: Lease, (): (), done: Done) -> Self::Output {
        done.result.map(super::bytes).map_err(Into::into)
    }
}

impl Payload for PollEvents {
    type Rest = ();
    type Output = io::Result<u32>;

    unsafe fn finish(_: Lease, (): (), done: Done) -> Self::Output {
        done.result.map_err(Into::into)
    }
}

impl Payload for Sleep {
    type Rest = Duration;
    type Output = io::Result<()>;

    #[allow(private_interfaces, reason = "as in the trait")]
    fn submit<K: Guard>(
        driver: &mut Driver<K>,
        _: Op,
        resources: Resources<K>,
        after: &Duration,
        following: u16,
    ) -> Result<Key, (Failure, Resources<K>)> {
        if following > 0 {
            // A timer of the ring is no submission entry, so nothing can be linked to it.
            return Err((Failure::Os(Errno::INVAL), resources));
        }
        driver.submit_timer(resources, *after)
    }

    unsafe fn finish(_: Lease, _: Duration, done: Done) -> Self::Output {
        match done.result {
            Ok(_) | Err(Failure::Os(Errno::TIME)) => Ok(()),
            Err(failure) => Err(failure.into()),
        }
    }
}

impl<M: Mode> Payload for Close<M> {
    type Rest = RawFd;
    type Output = CloseOutput<M>;

    unsafe fn finish(_: Lease, fd: RawFd, done: Done) -> Self::Output {
        let failure = match done.result {
            Ok(_) => return Ok(()),
            Err(failure) => failure,
        };
        let gone = matches!(failure, Failure::Os(errno) if !close_did_not_run(errno));
        let open = if gone {
            None
        } else {
            // SAFETY: `close` made the number of an owned descriptor, and nobody has closed it.
            Some(Fd::new(unsafe { adopt(fd) }))
        };
        Err(OpError::new(failure, open))
    }
}
