//! What each kind of operation lends to the kernel, and what it makes of the result.
//!
//! A constructor here pairs an [`Op`] with a lease that fits it; `finish` of the same type takes the lease
//! apart again. The two stand side by side in one file, so that the pair can be checked at a glance.
//!
//! # Safety
//! Declares the unsafe `Payload::finish` and has its one call.
//!
//! Tests: read_and_write_return_the_buffer
#![allow(unsafe_code, reason = "declares Payload::finish and calls it")]

mod buffer;
mod descriptor;
mod flags;
mod kept;
mod message;
mod path;
mod raw;
mod simple;
mod vectored;

use std::io;
use std::mem::ManuallyDrop;

use safer_ring_buf::Lease;
use safer_ring_core::{Completion, Group, Key, Op};
use safer_ring_sys::Errno;

pub use buffer::{Read, Write, read, recv, recv_with, send, send_with, write};
pub use descriptor::{
    Accept, OpenFd, PipeEnds, Socket, accept, bind, connect, open, openat2, pipe, socket,
};
pub(crate) use flags::{DONTWAIT, ERRQUEUE, NOSIGNAL, OOB};
pub use flags::{PEEK, WAITALL};
pub(crate) use kept::{advance, appends, given, keeps_rest, load};
pub(crate) use message::message_bytes;
pub use message::{Control, ControlMessage, Received, RecvMsg, SendMsg, recv_msg, send_msg};
pub use path::{FileType, Metadata, PathOp, Stat, link, mkdir, rename, statx, symlink, unlink};
pub(crate) use raw::sanitize;
pub use raw::{Raw, RawCompletion, RawOutput, raw, raw_refused, raw_wide};
pub(crate) use simple::hand_over_close;
pub use simple::{
    Close, Count, Plain, PollEvents, Settled, Sleep, Unit, close, fallocate, fsync, ftruncate,
    listen, nop, poll, shutdown, splice, tee, timeout,
};
pub use vectored::{
    Lists, ReadVectored, WriteVectored, read_vectored, send_vectored, write_vectored,
};

use crate::asked::Asked;
use crate::driver::{Driver, Refused};
use crate::error::{Failure, OpError};
use crate::fd::Guard;
use crate::mode::PlainCall;
use crate::request::Resources;
use crate::stream::{Item, Sides};

/// How an operation ended.
#[derive(Debug)]
pub struct Done {
    /// The result of the system call, or what went wrong.
    pub(crate) result: Result<u32, Failure>,
    /// Flags of the last completion.
    pub(crate) flags: u32,
    /// Only raw operations keep it.
    pub(crate) more: More,
}

/// The completions of an operation, beyond the result and the flags of the last one.
#[derive(Debug, Default)]
pub(crate) struct More {
    /// Those before the last one, in order, each with its second half.
    pub(crate) earlier: Vec<(Completion, [u64; 2])>,
    /// The second half of the last one; zero on a ring whose completions have none.
    pub(crate) last_half: [u64; 2],
}

/// A kind of operation. Sealed: its constructors are functions of this module.
#[allow(private_interfaces, reason = "the driver's types are no part of the public contract")]
pub trait Payload: sealed::Sealed + Sized + 'static {
    /// What stays in the future while the rest is lent.
    type Rest: 'static;
    /// What awaiting it gives.
    type Output: 'static;

    /// Whether it wants the completions before the last one.
    #[doc(hidden)]
    const KEEPS_ALL: bool = false;

    /// Whether it can be a member of a chain.
    #[doc(hidden)]
    const LINKS: bool = true;

    /// Whether it takes connections.
    #[doc(hidden)]
    const ACCEPTS: bool = false;

    /// The plain call that it may be tried as ([`crate::plain::call`]).
    #[doc(hidden)]
    const PLAIN: Option<PlainCall> = None;

    /// Whether it runs by itself when a chain has come to its end: it can be the last member, and a no-op is in its place.
    #[doc(hidden)]
    const AFTER_CHAIN: bool = false;

    /// What runs in place of `op`, the no-op.
    #[doc(hidden)]
    fn alone(op: Op, _lease: &Lease) -> Op {
        op
    }

    /// What comes back when it was cancelled: the buffer or buffers, or nothing.
    type Lent: 'static;

    /// The sides of its descriptors' streams of which it must ask first.
    #[doc(hidden)]
    const ASKS: Sides = Sides::NONE;

    /// Puts what arrived for a future that is gone into the memory of this operation, and gives its result. For
    /// operations that take something in.
    #[doc(hidden)]
    fn receive(_lease: &mut Lease, _rest: &Self::Rest, _op: &Op, _item: &mut Item) -> u32 {
        0
    }

    /// The output again, or what was lent if the operation was cancelled.
    #[doc(hidden)]
    fn unless_cancelled(output: Self::Output) -> Result<Self::Output, Self::Lent>;

    /// The output of a failed operation.
    #[doc(hidden)]
    fn failed(failure: Failure, lent: Self::Lent) -> Self::Output;

    /// Takes a note of what a failed operation has asked for along in its output.
    #[doc(hidden)]
    fn note(_output: &mut Self::Output, _asked: Asked) {}

    /// Puts it into the table, and into a group if there is one. There are operations that are not like any other.
    #[doc(hidden)]
    #[inline(always)]
    fn submit<K: Guard>(
        driver: &mut Driver<K>,
        op: Op,
        resources: ManuallyDrop<Resources<K>>,
        _rest: &Self::Rest,
        group: Option<Group>,
    ) -> Result<Key, Refused<K>> {
        driver.submit(op, resources, group)
    }

    /// Bytes that it has to move for a chain to go on; `None` if it moves none.
    #[doc(hidden)]
    fn wanted(_op: &Op, _lease: &Lease, _rest: &Self::Rest) -> Option<u32> {
        None
    }

    /// Makes the output.
    ///
    /// # Safety
    /// `lease` and `rest` come from one constructor of this payload, and the kernel is done with the memory.
    #[doc(hidden)]
    unsafe fn finish(lease: Lease, rest: Self::Rest, done: Done) -> Self::Output;
}

pub(crate) mod sealed {
    #[allow(unnameable_types, reason = "sealed: nobody else implements what asks for it")]
    pub trait Sealed {}
}

/// Lets the payload make its output.
#[inline(always)]
pub(crate) fn finish<P: Payload>(lease: Lease, rest: P::Rest, done: Done) -> P::Output {
    // SAFETY: a `Request` keeps op, lease and rest of one constructor together, and the table has given the
    // lease out: after its final completion, or without ever showing it to the kernel (invariant 3).
    unsafe { P::finish(lease, rest, done) }
}

/// The output of an operation that never reached the kernel.
#[cold]
pub(crate) fn refuse<K: Guard, P: Payload>(refused: Refused<K>, rest: P::Rest) -> P::Output {
    let Refused { failure, resources } = refused;
    let done = Done { result: Err(failure), flags: 0, more: More::default() };
    finish::<P>(resources.lease, rest, done)
}

/// The output of an operation that took its result from what its descriptor keeps.
#[cold]
pub(crate) fn served<K: Guard, P: Payload>(
    resources: Resources<K>,
    rest: P::Rest,
    result: Result<u32, Failure>,
) -> P::Output {
    finish::<P>(resources.lease, rest, Done { result, flags: 0, more: More::default() })
}

/// Whether an error says that the operation was cancelled.
fn is_cancelled(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::CANCELED.raw_os_error())
}

/// [`Payload::unless_cancelled`] for operations with buffers.
fn unless_cancelled<T, B>(output: Result<T, OpError<B>>) -> Result<Result<T, OpError<B>>, B> {
    match output {
        Err(failed) if is_cancelled(&failed.error) => Err(failed.buffer),
        other => Ok(other),
    }
}

/// [`Payload::unless_cancelled`] for operations without.
fn unless_cancelled_plain<T>(output: io::Result<T>) -> Result<io::Result<T>, ()> {
    match output {
        Err(error) if is_cancelled(&error) => Err(()),
        other => Ok(other),
    }
}

/// [`Payload::Lent`] and what goes with it, of operations that give what was lent back in an [`OpError`].
macro_rules! gives_back {
    ($lent:ty) => {
        type Lent = $lent;

        fn unless_cancelled(output: Self::Output) -> Result<Self::Output, $lent> {
            super::unless_cancelled(output)
        }

        fn failed(failure: crate::error::Failure, lent: $lent) -> Self::Output {
            Err(OpError::new(failure, lent))
        }

        #[allow(private_interfaces, reason = "as in the trait")]
        fn note(output: &mut Self::Output, asked: crate::asked::Asked) {
            if let Err(failed) = output {
                failed.note(asked);
            }
        }
    };
}
use gives_back;

/// [`Payload::Lent`] and what goes with it, of operations that lend nothing that comes back.
macro_rules! lends_nothing {
    () => {
        type Lent = ();

        fn unless_cancelled(output: Self::Output) -> Result<Self::Output, ()> {
            super::unless_cancelled_plain(output)
        }

        fn failed(failure: crate::error::Failure, (): ()) -> Self::Output {
            Err(failure.into())
        }
    };
}
use lends_nothing;

/// An address as the kernel wants it.
#[inline]
#[expect(
    clippy::as_conversions,
    reason = "a pointer's address as a 64-bit word; all targets have 64 bits"
)]
pub(crate) fn address(pointer: *const u8) -> u64 {
    pointer.expose_provenance() as u64
}

/// The address `offset` bytes into a boxed operation state.
fn offset_address(lease: &Lease, offset: usize) -> u64 {
    address(lease.ptr().wrapping_add(offset))
}

/// A count of bytes as a completion would give it.
fn count(bytes: usize) -> u32 {
    crate::uring::transfer(bytes)
}

/// A count of bytes from a completion.
#[inline]
pub(crate) fn bytes(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
