//! Any submission entry: the way to an operation that this library does not have.
//!
//! # Safety
//! The contract is the caller's ([`raw`]). The state is boxed with the entry first, where the backend reads it,
//! and unboxed as the type it was boxed as.
//!
//! Tests: a_raw_entry_runs_and_gives_back_what_it_kept, a_raw_multishot_delivers_all_its_completions
#![allow(unsafe_code, reason = "the escape hatch, and unboxing operation states")]

use std::io;
use std::marker::PhantomData;

use safer_ring_buf::Lease;
use safer_ring_core::Op;
use safer_ring_sys::{Sqe, Sqe128};

use super::{Done, Payload, sealed::Sealed};
use crate::error::Failure;
use crate::fd::Fd;
use crate::mode::Mode;
use crate::request::Request;

/// Runs a submission entry.
#[derive(Debug)]
pub struct Raw<T>(PhantomData<fn() -> T>);

impl<T> Sealed for Raw<T> {}

/// What a raw operation gave.
#[derive(Debug)]
#[non_exhaustive]
pub struct RawOutput<T> {
    /// The result of the last completion.
    pub result: io::Result<u32>,
    /// The flags of the last completion (`IORING_CQE_F_*`).
    pub flags: u32,
    /// The second half of the last completion; zero unless the ring was made with
    /// [`Config::wide_completions`](crate::Config::wide_completions) and the operation fills it.
    pub second_half: [u64; 2],
    /// The completions before it (multishot, zero-copy sends), in order.
    pub earlier: Vec<RawCompletion>,
    /// What was kept for it.
    pub keep: T,
}

/// A completion of a raw operation before its last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RawCompletion {
    /// Its result: negative for an error.
    pub result: i32,
    /// Its flags (`IORING_CQE_F_*`).
    pub flags: u32,
    /// Its second half, as [`RawOutput::second_half`].
    pub second_half: [u64; 2],
}

/// The entry stays first: the backend reads it there.
#[repr(C)]
struct RawState<T> {
    entry: Sqe128,
    keep: T,
}

/// An operation from a submission entry. `user_data`, the link flags and
/// `CQE_SKIP_SUCCESS` are set by the library.
///
/// # Safety
/// Until the last completion:
/// * all memory that `entry` points to is owned by `keep`, does not move when `keep` moves, and is touched by nobody
///   else;
/// * a descriptor number in `entry` is that of `fd`, which is kept open; other numbers in it are the caller's care;
/// * dropping the future cancels the operation and drops `keep` after the last completion; a descriptor or
///   a provided buffer in a completion that nobody takes is lost.
pub unsafe fn raw<M: Mode, T: Send + 'static>(
    entry: Sqe,
    fd: Option<&Fd<M>>,
    keep: T,
) -> Request<M::Guard, Raw<T>> {
    // SAFETY: the contract is the same; the second half points to nothing.
    unsafe { raw_wide(Sqe128 { sqe: entry, ..Sqe128::default() }, fd, keep) }
}

/// [`raw`] of an entry of 128 bytes. A ring without [`Config::wide_entries`](crate::Config::wide_entries) leaves its second
/// half out.
///
/// # Safety
/// That of [`raw`], for both halves.
pub unsafe fn raw_wide<M: Mode, T: Send + 'static>(
    entry: Sqe128,
    fd: Option<&Fd<M>>,
    keep: T,
) -> Request<M::Guard, Raw<T>> {
    let request = Request::new(Op::Raw, Lease::from_box(Box::new(RawState { entry, keep })), ());
    super::path::at(request, fd)
}

/// The output of an entry that never reached the kernel.
pub fn raw_refused<T>(error: io::Error, keep: T) -> RawOutput<T> {
    RawOutput { result: Err(error), flags: 0, second_half: [0; 2], earlier: Vec::new(), keep }
}

impl<T: Send + 'static> Payload for Raw<T> {
    type Rest = ();
    type Output = RawOutput<T>;
    type Lent = T;
    const KEEPS_ALL: bool = true;

    fn unless_cancelled(output: Self::Output) -> Result<Self::Output, T> {
        match &output.result {
            Err(error) if super::is_cancelled(error) && output.earlier.is_empty() => {
                Err(output.keep)
            }
            _ => Ok(output),
        }
    }

    fn failed(failure: Failure, keep: T) -> Self::Output {
        raw_refused(failure.into(), keep)
    }

    unsafe fn finish(lease: Lease, (): (), done: Done) -> Self::Output {
        // SAFETY: `raw` boxed this type; what the kernel wrote into it is by the contract of `raw` valid.
        let state = unsafe { lease.into_box::<RawState<T>>() };
        let earlier = done.more.earlier.iter().map(|(completion, second_half)| RawCompletion {
            result: completion.res,
            flags: completion.flags,
            second_half: *second_half,
        });
        RawOutput {
            result: done.result.map_err(io::Error::from),
            flags: done.flags,
            second_half: done.more.last_half,
            earlier: earlier.collect(),
            keep: state.keep,
        }
    }
}

/// For the entry's link flags: those are the table's to set.
pub(crate) fn sanitize(mut entry: Sqe, user_data: u64, link: bool) -> Sqe {
    use safer_ring_sys::sqe_flags::{CQE_SKIP_SUCCESS, IO_HARDLINK, IO_LINK};
    entry.flags &= !(IO_LINK | IO_HARDLINK | CQE_SKIP_SUCCESS);
    if link {
        entry.flags |= IO_LINK;
    }
    entry.user_data = user_data;
    entry
}
