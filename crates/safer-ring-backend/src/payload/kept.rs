//! What a descriptor keeps for its next operation, taken out of one operation's memory and put into another's.
//!
//! # Safety
//! Looks into the memory of an operation that has ended, or has not begun, through the type that its constructor
//! put there; `Op` tells which.
//!
//! Tests: a_dropped_vectored_receive_keeps_its_bytes, a_dropped_vectored_send_runs_to_its_end,
//! a_dropped_vectored_write_sends_everything
#![allow(unsafe_code, reason = "reads and changes the vectors that an operation lent")]

use std::slice;

use rustix::fs::OFlags;
use safer_ring_buf::{IoVec, Lease};
use safer_ring_core::Op;

use super::message;
use crate::beside::sockopt;
use crate::fd::Guard;
use crate::sim;
use crate::stream::Load;

/// What arrived in `lease` for a receive whose owner is gone: `count` bytes.
pub(crate) fn load(op: &Op, lease: Lease, count: usize) -> Load {
    match *op {
        Op::RecvMsg { .. } => Load::Message(lease, count),
        Op::ReadVectored { count: vectors, .. } => {
            Load::Own(gather(vectors_of(&lease, vectors), count))
        }
        _ => Load::Lent(lease, count),
    }
}

/// The vectors of a vectored operation.
pub(super) fn vectors_of(lease: &Lease, count: u32) -> &[IoVec] {
    let count = super::bytes(count);
    if count == 0 {
        return &[];
    }
    // SAFETY: `read_vectored`, `write_vectored` and `send_vectored` lend an array of so many vectors at this address, which
    // is theirs until the lease is dropped; the kernel only reads it.
    unsafe { slice::from_raw_parts(lease.ptr().cast::<IoVec>(), count) }
}

/// The first `count` bytes behind the vectors, in order.
fn gather(vectors: &[IoVec], mut count: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(count);
    for vector in vectors {
        let len = vector.len.min(count);
        if len > 0 {
            // SAFETY: the kernel has filled the vectors in order with `count` bytes in all (readv(2)), and is done.
            bytes.extend_from_slice(unsafe { slice::from_raw_parts(vector.base, len) });
        }
        count -= len;
    }
    bytes
}

/// Puts bytes where the vectors lead, in order; tells how many fitted.
pub(super) fn scatter(lease: &Lease, vectors: u32, mut bytes: &[u8]) -> usize {
    let before = bytes.len();
    for vector in vectors_of(lease, vectors) {
        let (now, later) = bytes.split_at(vector.len.min(bytes.len()));
        fill(vector.base, now);
        bytes = later;
    }
    before - bytes.len()
}

/// Copies into memory that an operation has lent and the kernel does not have; the caller sees to the length.
pub(super) fn fill(to: *mut u8, bytes: &[u8]) {
    if !bytes.is_empty() {
        // SAFETY: both callers and `Lease` see to so many writable bytes at `to`, which belong to an operation that has
        // not begun; what has arrived is in other memory.
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
    }
}

/// Bytes that a write or send was to move; `None` for what moves none.
pub(crate) fn given(op: &Op, lease: &Lease) -> Option<usize> {
    match *op {
        Op::Write { .. } | Op::Send { .. } => Some(lease.init_len()),
        Op::WriteVectored { count, .. } => {
            Some(vectors_of(lease, count).iter().map(|vector| vector.len).sum())
        }
        Op::SendMsg { .. } => Some(message::unsent(lease)),
        _ => None,
    }
}

/// Makes a write or send begin behind the `moved` bytes that it has moved. Its owner is gone, so nobody will ask for
/// the memory as it was.
pub(crate) fn advance(op: &Op, lease: &mut Lease, moved: usize) {
    match *op {
        Op::WriteVectored { count, .. } => advance_vectors(lease, count, moved),
        Op::SendMsg { .. } => message::advance(lease, moved),
        _ => lease.skip(moved),
    }
}

/// [`advance`] for the vectors in `lease`.
pub(super) fn advance_vectors(lease: &Lease, count: u32, mut moved: usize) {
    let vectors = lease.ptr().cast::<IoVec>();
    for at in 0..super::bytes(count) {
        // SAFETY: as in `vectors_of`; the operation has ended, so the kernel reads none of them.
        let vector = unsafe { &mut *vectors.wrapping_add(at) };
        let passed = vector.len.min(moved);
        vector.base = vector.base.wrapping_add(passed);
        vector.len -= passed;
        moved -= passed;
    }
}

/// Whether the file appends: then the rest of a short write could land behind somebody else's bytes.
pub(crate) fn appends(fd: &impl Guard) -> bool {
    if let Some(known) = sim::look(fd.raw()) {
        return known.appends;
    }
    rustix::fs::fcntl_getfl(fd).is_ok_and(|flags| flags.contains(OFlags::APPEND))
}

/// Whether what a receive leaves of it stays: not on a socket with messages, where the rest of one is gone.
pub(crate) fn keeps_rest(fd: &impl Guard) -> bool {
    if let Some(known) = sim::look(fd.raw()) {
        return !known.messages;
    }
    !sockopt::has_messages(fd)
}
