//! Reads and writes with many buffers.
//!
//! # Safety
//! As in `buffer`: the list of buffers is reclaimed from the lease that was made of it.
//!
//! Tests: vectored_reads_and_writes_keep_the_order
#![allow(unsafe_code, reason = "reclaiming buffers from leases")]

use std::io;
use std::marker::PhantomData;

use safer_ring_buf::{IoBuf, IoBufMut, Lease, Vectored, VectoredRest};
use safer_ring_core::Op;

use super::flags::{self, NOSIGNAL, WAITALL};
use super::kept::scatter;
use super::message;
use super::{Done, Payload, sealed::Sealed};
use crate::error::OpError;
use crate::fd::Fd;
use crate::mode::Mode;
use crate::request::{Made, Request};
use crate::stream::{Item, Sides};
use crate::uring::transfer;

/// Fills buffers one after the other.
#[derive(Debug)]
pub struct ReadVectored<B>(PhantomData<fn() -> B>);

/// Sends buffers one after the other.
#[derive(Debug)]
pub struct WriteVectored<B>(PhantomData<fn() -> B>);

impl<B> Sealed for ReadVectored<B> {}
impl<B> Sealed for WriteVectored<B> {}

/// The buffers' own rests, and their total length.
#[derive(Debug)]
pub struct Lists<B: IoBuf> {
    rest: VectoredRest<B>,
    total: u32,
    /// The list is in the state of a message.
    message: bool,
}

type Output<B> = Result<(usize, Vec<B>), OpError<Vec<B>>>;

fn too_many<B>(buffers: Vec<B>) -> Output<B> {
    let error = io::Error::new(
        io::ErrorKind::InvalidInput,
        format!(
            "{} buffers in one vectored operation; the limit is {}",
            buffers.len(),
            safer_ring_buf::MAX_BUFFERS
        ),
    );
    Err(OpError::new(error, buffers))
}

/// readv(2) or preadv(2).
///
/// # Errors
/// The output of the operation, if there are more than 1024 buffers.
pub fn read_vectored<M: Mode, B: IoBufMut>(
    fd: &Fd<M>,
    buffers: Vec<B>,
    offset: u64,
) -> Made<M, ReadVectored<B>> {
    let total = transfer(Vectored::total_capacity(&buffers).unwrap_or(usize::MAX));
    let (lease, count, rest) = Vectored::lend_for_read(buffers).map_err(too_many)?;
    let op = Op::ReadVectored { offset, count };
    Ok(Request::new(op, lease, Lists { rest, total, message: false }).on(fd.guard()))
}

/// writev(2) or pwritev(2).
///
/// # Errors
/// The output of the operation, if there are more than 1024 buffers.
pub fn write_vectored<M: Mode, B: IoBuf>(
    fd: &Fd<M>,
    buffers: Vec<B>,
    offset: u64,
) -> Made<M, WriteVectored<B>> {
    let total = transfer(Vectored::total_init(&buffers).unwrap_or(usize::MAX));
    let (lease, count, rest) = Vectored::lend_for_write(buffers).map_err(too_many)?;
    let op = Op::WriteVectored { offset, count };
    Ok(Request::new(op, lease, Lists { rest, total, message: false }).on(fd.guard()))
}

/// sendmsg(2) of many buffers, always with `MSG_NOSIGNAL`: a closed peer is an error, not a signal.
///
/// # Errors
/// The output of the operation, if there are more than 1024 buffers, and for flags that an operation cannot have.
pub fn send_vectored<M: Mode, B: IoBuf>(
    fd: &Fd<M>,
    buffers: Vec<B>,
    flags: u32,
) -> Made<M, WriteVectored<B>> {
    let buffers = flags::of_send(flags, buffers).map_err(Err)?;
    let total = transfer(Vectored::total_init(&buffers).unwrap_or(usize::MAX));
    let (list, count, rest) = Vectored::lend_for_write(buffers).map_err(too_many)?;
    let op = Op::SendMsg { flags: flags | NOSIGNAL };
    let lists = Lists { rest, total, message: true };
    Ok(Request::new(op, message::of_list(list, count), lists).on(fd.guard()))
}

impl<B: IoBufMut> Payload for ReadVectored<B> {
    type Rest = Lists<B>;
    type Output = Output<B>;

    super::gives_back!(Vec<B>);

    const ASKS: Sides = Sides::TAKES;

    fn receive(lease: &mut Lease, _: &Self::Rest, op: &Op, item: &mut Item) -> u32 {
        let Op::ReadVectored { count, .. } = *op else { return 0 };
        super::count(scatter(lease, count, item.bytes()))
    }

    fn wanted(_: &Op, _: &Lease, rest: &Self::Rest) -> Option<u32> {
        Some(rest.total)
    }

    unsafe fn finish(lease: Lease, rest: Self::Rest, done: Done) -> Self::Output {
        match done.result {
            Ok(count) => {
                let count = super::bytes(count.min(rest.total));
                // SAFETY: the lease is of these buffers (contract); the kernel filled `count` bytes in order.
                Ok((count, unsafe { Vectored::reclaim_filled(lease, rest.rest, count) }))
            }
            Err(failure) => {
                // SAFETY: the lease is of these buffers (contract).
                Err(OpError::new(failure, unsafe { Vectored::reclaim(lease, rest.rest) }))
            }
        }
    }
}

impl<B: IoBuf> Payload for WriteVectored<B> {
    type Rest = Lists<B>;
    type Output = Output<B>;

    super::gives_back!(Vec<B>);

    const ASKS: Sides = Sides::GIVES;

    fn wanted(op: &Op, _: &Lease, rest: &Self::Rest) -> Option<u32> {
        let goes_on = matches!(op, Op::SendMsg { flags } if flags & WAITALL == 0);
        (!goes_on).then_some(rest.total)
    }

    unsafe fn finish(lease: Lease, rest: Self::Rest, done: Done) -> Self::Output {
        let lease = if rest.message { message::into_list(lease) } else { lease };
        // SAFETY: the lease is of these buffers (contract).
        let buffers = unsafe { Vectored::reclaim(lease, rest.rest) };
        match done.result {
            Ok(count) => Ok((super::bytes(count), buffers)),
            Err(failure) => Err(OpError::new(failure, buffers)),
        }
    }
}
