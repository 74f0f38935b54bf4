//! Operations that lend no memory.
//!
//! # Safety
//! Their leases are empty but for that of a close, which owns the descriptor until the kernel has closed it; it is
//! boxed, and unboxed as the type it was boxed as.
//!
//! Tests: close_reports_and_a_shared_descriptor_is_given_back, a_close_that_never_starts_still_closes
#![allow(unsafe_code, reason = "implements the unsafe Payload::finish; adopts a descriptor")]

use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::os::fd::{IntoRawFd, RawFd};
use std::time::Duration;

use safer_ring_buf::Lease;
use safer_ring_core::{Group, Key, Op};
use safer_ring_sys::Errno;

use super::{Done, Payload, sealed::Sealed};
use crate::adopt::adopt;
use crate::driver::{Driver, Refused};
use crate::error::{Failure, OpError};
use crate::fd::{Fd, Guard};
use crate::mode::Mode;
use crate::request::{Made, Request, Resources};
use crate::stream::Sides;
use crate::uring::MAX_TRANSFER;

/// Gives nothing but success, and lends nothing.
#[derive(Debug)]
pub struct Unit(());

/// Gives nothing but success, and lends a path or an address.
#[derive(Debug)]
pub struct Plain(());

/// Gives nothing but success, after all that was written before it.
#[derive(Debug)]
pub struct Settled(());

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
impl Sealed for Plain {}
impl Sealed for Settled {}
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
pub fn fsync<M: Mode>(fd: &Fd<M>, datasync: bool) -> Request<M::Guard, Settled> {
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
pub fn shutdown<M: Mode>(fd: &Fd<M>, how: u32) -> Request<M::Guard, Settled> {
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
pub fn close<M: Mode>(fd: Fd<M>) -> Made<M, Close<M>> {
    if let Some(failure) = fd.take_failure() {
        return Err(Err(OpError::new(failure, Some(fd))));
    }
    let others = fd.holders().saturating_sub(1);
    match fd.try_into_closable() {
        Ok(owned) => {
            let fd = owned.into_raw_fd();
            Ok(Request::new(Op::Close { fd }, Lease::from_box(Box::new(CloseState { fd })), ()))
        }
        Err(fd) => Err(Err(OpError::new(Failure::Busy { others: others.max(1) }, Some(fd)))),
    }
}

/// The handle comes back if it is still open.
type CloseOutput<M> = Result<(), OpError<Option<Fd<M>>>>;

/// The descriptor until it is closed: whoever drops this before the kernel has closed it closes it.
struct CloseState {
    fd: RawFd,
}

impl Drop for CloseState {
    fn drop(&mut self) {
        if self.fd >= 0 {
            // SAFETY: `close` made the number of an owned descriptor; it is taken out (leaving -1) by whoever
            // learns that it is closed or owns it again.
            drop(unsafe { adopt(self.fd) });
        }
    }
}

/// Ends a close that nobody waits for any more.
///
/// # Safety
/// `lease` is that of a close, and `result` that of its completion.
pub(crate) unsafe fn bury_close(lease: Lease, result: i32) {
    // SAFETY: `close` boxed this type.
    let mut state = unsafe { lease.into_box::<CloseState>() };
    if !Errno::from_result(result).is_err_and(close_did_not_run) {
        state.fd = -1;
    }
}

/// Whether close(2) was not run: the kernel gives a descriptor up even if closing reports an error, so these
/// are the answers that come from before it.
fn close_did_not_run(errno: Errno) -> bool {
    matches!(errno, Errno::CANCELED | Errno::INVAL | Errno::OPNOTSUPP | Errno::ACCESS)
}

impl Payload for Unit {
    type Rest = ();
    type Output = io::Result<()>;

    super::lends_nothing!();

    #[inline(always)]
    unsafe fn finish(lease: Lease, (): (), done: Done) -> Self::Output {
        // An empty lease: `plain` makes no other. Dropping it is a call for nothing.
        std::mem::forget(lease);
        done.result.map(drop).map_err(Into::into)
    }
}

impl Payload for Plain {
    type Rest = ();
    type Output = io::Result<()>;

    super::lends_nothing!();

    unsafe fn finish(_: Lease, (): (), done: Done) -> Self::Output {
        done.result.map(drop).map_err(Into::into)
    }
}

impl Payload for Settled {
    type Rest = ();
    type Output = io::Result<()>;

    super::lends_nothing!();

    const ASKS: Sides = Sides::GIVES;

    unsafe fn finish(_: Lease, (): (), done: Done) -> Self::Output {
        done.result.map(drop).map_err(Into::into)
    }
}

impl Payload for Count {
    type Rest = ();
    type Output = io::Result<usize>;

    super::lends_nothing!();

    const ASKS: Sides = Sides::BOTH;

    fn wanted(op: &Op, _: &Lease, (): &()) -> Option<u32> {
        match op {
            Op::Splice { len, .. } | Op::Tee { len, .. } => Some((*len).min(MAX_TRANSFER)),
            _ => None,
        }
    }

    unsafe fn finish(_: Lease, (): (), done: Done) -> Self::Output {
        done.result.map(super::bytes).map_err(Into::into)
    }
}

impl Payload for PollEvents {
    type Rest = ();
    type Output = io::Result<u32>;

    super::lends_nothing!();

    const ASKS: Sides = Sides::TAKES;

    unsafe fn finish(_: Lease, (): (), done: Done) -> Self::Output {
        done.result.map_err(Into::into)
    }
}

impl Payload for Sleep {
    type Rest = Duration;
    type Output = io::Result<()>;

    super::lends_nothing!();

    /// A timer of the ring is no submission entry, so nothing can be linked to it.
    const LINKS: bool = false;

    #[allow(private_interfaces, reason = "as in the trait")]
    fn submit<K: Guard>(
        driver: &mut Driver<K>,
        _: Op,
        resources: ManuallyDrop<Resources<K>>,
        after: &Duration,
        group: Option<Group>,
    ) -> Result<Key, Refused<K>> {
        let key = driver.submit_timer(resources, *after)?;
        if let Some(group) = group {
            driver.table.join_new(group, key);
        }
        Ok(key)
    }

    unsafe fn finish(_: Lease, _: Duration, done: Done) -> Self::Output {
        match done.result {
            Ok(_) | Err(Failure::Os(Errno::TIME)) => Ok(()),
            Err(failure) => Err(failure.into()),
        }
    }
}

impl<M: Mode> Payload for Close<M> {
    type Rest = ();
    type Output = CloseOutput<M>;

    super::gives_back!(Option<Fd<M>>);

    unsafe fn finish(lease: Lease, (): (), done: Done) -> Self::Output {
        // SAFETY: `close` boxed this type.
        let mut state = unsafe { lease.into_box::<CloseState>() };
        let fd = std::mem::replace(&mut state.fd, -1);
        let failure = match done.result {
            Ok(_) => return Ok(()),
            Err(failure) => failure,
        };
        let gone = matches!(failure, Failure::Os(errno) if !close_did_not_run(errno));
        let open = if gone {
            None
        } else {
            // SAFETY: `close` made the number of an owned descriptor, and nobody has closed it.
            Some(Fd::over(unsafe { adopt(fd) }))
        };
        Err(OpError::new(failure, open))
    }
}
