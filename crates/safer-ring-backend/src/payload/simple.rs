//! Operations that lend no memory.
//!
//! # Safety
//! Their leases are empty but for that of a close, which owns the descriptor until somebody is about to close it; it is
//! boxed, and looked at and unboxed as the type it was boxed as.
//!
//! Tests: close_reports_and_a_shared_descriptor_is_given_back, a_close_that_never_starts_still_closes,
//! no_errno_of_a_close_that_was_handed_over_gives_the_descriptor_back
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
            let state = CloseState { fd, begun: false };
            Ok(Request::new(Op::Close { fd }, Lease::from_box(Box::new(state)), ()))
        }
        Err(fd) => Err(Err(OpError::new(Failure::Busy { others: others.max(1) }, Some(fd)))),
    }
}

/// The handle comes back if it is still open.
type CloseOutput<M> = Result<(), OpError<Option<Fd<M>>>>;

/// The descriptor until a kernel is asked to close it: whoever drops this before closes it.
///
/// What close(2) answers says nothing about the descriptor. It is given up before the file is told (`->flush`), and what
/// the file says to that is the answer: with FUSE and with file systems of a network, any errno, those too by which a ring
/// says that it has not even tried. Closing its number again would close a file of somebody else. So what counts is
/// whether the kernel had the entry. A ring is given no close that it would refuse (`setup::refused`), a close in the kernel
/// is not cancelled, and is no member of a chain there. What is left is a worker of the kernel that does not come to
/// it, since there is none or its thread ends (`ECANCELED`): then a descriptor is lost, and nobody else's is closed.
struct CloseState {
    /// Of an owned descriptor; -1 if it has a new owner.
    fd: RawFd,
    /// Handed over: closed, or about to be.
    begun: bool,
}

impl Drop for CloseState {
    fn drop(&mut self) {
        if self.fd >= 0 && !self.begun {
            // SAFETY: `close` made the number of an owned descriptor; it is taken out (leaving -1) by whoever
            // owns it again, and nobody was asked to close it.
            drop(unsafe { adopt(self.fd) });
        }
    }
}

/// The descriptor of a close goes to the kernel, or, if `begun` is false, the kernel has not seen it after all.
///
/// # Safety
/// `state` is the memory of an [`Op::Close`] that has not ended, and nobody else looks at it.
pub(crate) unsafe fn hand_over_close(state: *mut u8, begun: bool) {
    // SAFETY: `close` boxed this type, the only memory of such an operation.
    let state = unsafe { &mut *state.cast::<CloseState>() };
    state.begun = begun;
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

    /// `ECANCELED` of a member that the kernel knows as a close could be the word of its file.
    const AFTER_CHAIN: bool = true;

    fn alone(_: Op, lease: &Lease) -> Op {
        // SAFETY: `close` boxed this type, and the kernel has nothing of it.
        let state = unsafe { &*lease.ptr().cast::<CloseState>() };
        Op::Close { fd: state.fd }
    }

    unsafe fn finish(lease: Lease, (): (), done: Done) -> Self::Output {
        // SAFETY: `close` boxed this type.
        let mut state = unsafe { lease.into_box::<CloseState>() };
        let Err(failure) = done.result else { return Ok(()) };
        if state.begun {
            return Err(OpError::new(failure, None));
        }
        let fd = std::mem::replace(&mut state.fd, -1);
        // SAFETY: `close` made the number of an owned descriptor, and nobody was asked to close it.
        let open = Fd::over(unsafe { adopt(fd) });
        Err(OpError::new(failure, Some(open)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::fd::{AsRawFd as _, OwnedFd};
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::Local;
    use crate::payload::More;
    use crate::request::Resources;

    type Closing = Resources<<Local as Mode>::Guard>;

    /// What is lent for the closing of a socket, its number, and the other end.
    fn closing() -> (Closing, RawFd, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        far.set_nonblocking(true).unwrap();
        let number = near.as_raw_fd();
        let (_, resources, ()) = close::<Local>(Fd::new(near)).unwrap().into_parts();
        (ManuallyDrop::into_inner(resources), number, far)
    }

    fn is_open(mut far: &UnixStream) -> bool {
        far.read(&mut [0]).is_err()
    }

    /// The kernel closes it, and somebody else gets its number.
    fn handed_over(resources: &Closing, number: RawFd) -> (OwnedFd, UnixStream) {
        // SAFETY: the memory of a close, here as in the backend.
        unsafe { hand_over_close(resources.lease.ptr(), true) };
        let (other, far) = UnixStream::pair().unwrap();
        far.set_nonblocking(true).unwrap();
        // SAFETY: dup3(2) takes no pointer. The number is that of `resources`, which have given it up.
        let taken = unsafe { libc::dup3(other.as_raw_fd(), number, libc::O_CLOEXEC) };
        assert_eq!(taken, number);
        // SAFETY: a descriptor of its own from now on.
        (unsafe { crate::adopt::adopt_real(taken) }, far)
    }

    fn finished(resources: Closing, errno: i32) -> CloseOutput<Local> {
        let errno = Errno::from_raw_os_error(errno).unwrap();
        let done = Done { result: Err(Failure::Os(errno)), flags: 0, more: More::default() };
        crate::payload::finish::<Close<Local>>(resources.lease, (), done)
    }

    #[test]
    fn no_errno_of_a_close_that_was_handed_over_gives_the_descriptor_back() {
        for errno in 1..=133 {
            let (resources, number, _far) = closing();
            let (victim, far) = handed_over(&resources, number);
            if errno % 2 == 0 {
                // Nobody waits for it any more.
                drop(resources);
            } else {
                let error = finished(resources, errno).unwrap_err();
                assert!(error.buffer.is_none(), "a handle on a file of somebody else");
            }
            assert!(is_open(&far), "errno {errno} has closed it twice");
            drop(victim);
        }
    }

    #[test]
    fn a_close_that_the_kernel_has_not_seen_keeps_the_descriptor() {
        for takes_back in [false, true] {
            let (resources, _, far) = closing();
            if takes_back {
                // SAFETY: the memory of a close.
                unsafe { hand_over_close(resources.lease.ptr(), true) };
                // SAFETY: likewise.
                unsafe { hand_over_close(resources.lease.ptr(), false) };
            }
            let back = finished(resources, 125).unwrap_err().into_buffer().unwrap();
            assert!(is_open(&far));
            drop(back);
            assert!(!is_open(&far));
            let (resources, _, far) = closing();
            drop(resources);
            assert!(!is_open(&far));
        }
    }
}
