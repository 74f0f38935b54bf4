//! Reads and writes with one buffer.
//!
//! # Safety
//! `finish` reclaims a buffer from its lease: both come from the same constructor (`Payload::finish`), and
//! the kernel has written the number of bytes that it reports (read(2), recv(2)).
//!
//! Tests: read_and_write_return_the_buffer, a_failed_read_returns_the_buffer_unchanged
#![allow(unsafe_code, reason = "reclaiming buffers from leases")]

use std::marker::PhantomData;
use std::mem::ManuallyDrop;

use safer_ring_buf::{IoBuf, IoBufMut, Lease};
use safer_ring_core::{CURSOR, Group, Key, Op};

use super::flags::{self, NOSIGNAL, WAITALL};
use super::kept::fill;
use super::{Done, Payload, sealed::Sealed};
use crate::driver::{Driver, Refused};
use crate::error::OpError;
use crate::fd::{Fd, Guard};
use crate::mode::{Mode, PlainCall};
use crate::request::{Made, Request, Resources};
use crate::stream::{Item, Sides};
use crate::uring::transfer;

/// Fills a buffer.
#[derive(Debug)]
pub struct Read<B>(PhantomData<fn() -> B>);

/// Sends a buffer.
#[derive(Debug)]
pub struct Write<B>(PhantomData<fn() -> B>);

impl<B> Sealed for Read<B> {}
impl<B> Sealed for Write<B> {}

type ReadRequest<M, B> = Request<<M as Mode>::Guard, Read<B>>;
type WriteRequest<M, B> = Request<<M as Mode>::Guard, Write<B>>;

/// read(2) or pread(2); `safer_ring_core::CURSOR` as the offset is the file's cursor.
#[inline]
pub fn read<M: Mode, B: IoBufMut>(fd: &Fd<M>, buffer: B, offset: u64) -> ReadRequest<M, B> {
    let (lease, rest) = buffer.lend();
    Request::new(Op::Read { offset }, lease, rest).on(fd.guard())
}

/// recv(2).
#[inline]
pub fn recv<M: Mode, B: IoBufMut>(fd: &Fd<M>, buffer: B) -> ReadRequest<M, B> {
    let (lease, rest) = buffer.lend();
    Request::new(Op::Recv { flags: 0 }, lease, rest).on(fd.guard())
}

/// recv(2) with flags.
///
/// # Errors
/// The output of the operation, for flags that an operation cannot have.
#[inline]
pub fn recv_with<M: Mode, B: IoBufMut>(fd: &Fd<M>, buffer: B, flags: u32) -> Made<M, Read<B>> {
    let (lease, rest) = flags::of_receive(flags, buffer).map_err(Err)?.lend();
    Ok(Request::new(Op::Recv { flags }, lease, rest).on(fd.guard()))
}

/// write(2) or pwrite(2).
#[inline]
pub fn write<M: Mode, B: IoBuf>(fd: &Fd<M>, buffer: B, offset: u64) -> WriteRequest<M, B> {
    let (lease, rest) = buffer.lend();
    Request::new(Op::Write { offset }, lease, rest).on(fd.guard())
}

/// send(2), always with `MSG_NOSIGNAL`: a closed peer is an error, not a signal.
#[inline]
pub fn send<M: Mode, B: IoBuf>(fd: &Fd<M>, buffer: B) -> WriteRequest<M, B> {
    let (lease, rest) = buffer.lend();
    Request::new(Op::Send { flags: NOSIGNAL }, lease, rest).on(fd.guard())
}

/// [`send`] with flags of send(2).
///
/// # Errors
/// The output of the operation, for flags that an operation cannot have.
#[inline]
pub fn send_with<M: Mode, B: IoBuf>(fd: &Fd<M>, buffer: B, flags: u32) -> Made<M, Write<B>> {
    let (lease, rest) = flags::of_send(flags, buffer).map_err(Err)?.lend();
    Ok(Request::new(Op::Send { flags: flags | NOSIGNAL }, lease, rest).on(fd.guard()))
}

/// Whether a short transfer ends a chain: that of a file does, that of a socket only if all was asked for.
fn ends_short(op: &Op) -> bool {
    match op {
        Op::Read { .. } | Op::Write { .. } => true,
        Op::Recv { flags } | Op::Send { flags } => flags & WAITALL != 0,
        _ => false,
    }
}

impl<B: IoBufMut> Payload for Read<B> {
    type Rest = B::Rest;
    type Output = Result<(usize, B), OpError<B>>;

    super::gives_back!(B);

    const ASKS: Sides = Sides::TAKES;
    const PLAIN: Option<PlainCall> = Some(PlainCall::Read);

    /// Told apart here, each is copied and described as what it is, with its unused bytes left out, not as any operation.
    #[allow(private_interfaces, reason = "as in the trait")]
    #[inline(always)]
    fn submit<K: Guard>(
        driver: &mut Driver<K>,
        op: Op,
        resources: ManuallyDrop<Resources<K>>,
        _: &B::Rest,
        group: Option<Group>,
    ) -> Result<Key, Refused<K>> {
        debug_assert!(matches!(op, Op::Read { .. } | Op::Recv { .. }), "the constructors above");
        let (flags, offset) = match op {
            Op::Recv { flags } => (Some(flags), CURSOR),
            Op::Read { offset } => (None, offset),
            _ => (None, CURSOR),
        };
        match flags {
            Some(flags) => driver.submit(Op::Recv { flags }, resources, group),
            None => driver.submit(Op::Read { offset }, resources, group),
        }
    }

    fn wanted(op: &Op, lease: &Lease, _: &B::Rest) -> Option<u32> {
        ends_short(op).then(|| transfer(lease.capacity()))
    }

    fn receive(lease: &mut Lease, _: &B::Rest, _: &Op, item: &mut Item) -> u32 {
        let bytes = item.bytes();
        let count = lease.capacity().min(bytes.len());
        fill(lease.ptr(), bytes.get(..count).unwrap_or_default());
        super::count(count)
    }

    #[inline(always)]
    unsafe fn finish(lease: Lease, rest: B::Rest, done: Done) -> Self::Output {
        match done.result {
            Ok(count) => {
                let count = super::bytes(count).min(lease.capacity());
                // SAFETY: the lease is of a `B` (contract), and the kernel wrote `count` bytes of it.
                Ok((count, unsafe { B::reclaim_filled(lease, rest, count) }))
            }
            Err(failure) => {
                // SAFETY: the lease is of a `B` (contract).
                Err(OpError::new(failure, unsafe { B::reclaim(lease, rest) }))
            }
        }
    }
}

impl<B: IoBuf> Payload for Write<B> {
    type Rest = B::Rest;
    type Output = Result<(usize, B), OpError<B>>;

    super::gives_back!(B);

    const ASKS: Sides = Sides::GIVES;
    const PLAIN: Option<PlainCall> = Some(PlainCall::Send);

    /// As for [`Read`].
    #[allow(private_interfaces, reason = "as in the trait")]
    #[inline(always)]
    fn submit<K: Guard>(
        driver: &mut Driver<K>,
        op: Op,
        resources: ManuallyDrop<Resources<K>>,
        _: &B::Rest,
        group: Option<Group>,
    ) -> Result<Key, Refused<K>> {
        debug_assert!(matches!(op, Op::Write { .. } | Op::Send { .. }), "the constructors above");
        let (flags, offset) = match op {
            Op::Send { flags } => (Some(flags), CURSOR),
            Op::Write { offset } => (None, offset),
            _ => (None, CURSOR),
        };
        match flags {
            Some(flags) => driver.submit(Op::Send { flags }, resources, group),
            None => driver.submit(Op::Write { offset }, resources, group),
        }
    }

    fn wanted(op: &Op, lease: &Lease, _: &B::Rest) -> Option<u32> {
        ends_short(op).then(|| transfer(lease.init_len()))
    }

    #[inline(always)]
    unsafe fn finish(lease: Lease, rest: B::Rest, done: Done) -> Self::Output {
        // SAFETY: the lease is of a `B` (contract).
        let buffer = unsafe { B::reclaim(lease, rest) };
        match done.result {
            Ok(count) => Ok((super::bytes(count), buffer)),
            Err(failure) => Err(OpError::new(failure, buffer)),
        }
    }
}
