//! Operations that may wait for a disk or a name, as the pool's threads run them.
//!
//! # Safety
//! Each call reads or writes only what the submission lent; the contract of `Backend::submit` holds until the
//! operation's completion is posted, which comes after the call.
//!
//! Tests: an_extending_direct_write_goes_to_a_thread, every_name_is_served_by_a_thread
#![allow(unsafe_code, reason = "system calls with pointers to lent memory")]

use safer_ring_core::Op;
use safer_ring_sys::Errno;

use super::attempt::{further, max_transfer, vectored_call, whole};
use super::vectors::{Vectors, advance};
use crate::backend::Submission;
use crate::plain;

/// `sizeof(struct open_how)`, as openat2(2) wants it.
const OPEN_HOW: usize = 24;

/// Runs the operation to its end; `progress` bytes of it are done. Gives its result.
///
/// # Safety
/// As `Backend::submit`, for the length of the call.
pub(super) unsafe fn perform(s: &Submission, progress: u32) -> i32 {
    let path = s.ptr.cast_const().cast::<libc::c_char>();
    let dir = if s.fd < 0 { libc::AT_FDCWD } else { s.fd };
    let code: i64 = match s.op {
        // SAFETY: the caller's promise, here and in the two below.
        Op::Read { offset } => return unsafe { one(s, offset, s.capacity, progress, false) },
        // SAFETY: as above.
        Op::Write { offset } => return unsafe { one(s, offset, s.init, progress, true) },
        Op::ReadVectored { offset, count } | Op::WriteVectored { offset, count } => {
            let write = matches!(s.op, Op::WriteVectored { .. });
            // SAFETY: `ptr` leads to `count` vectors over lent memory (`payload::vectored`).
            let mut vectors = unsafe { Vectors::new(s.ptr, count) };
            // SAFETY: the caller's promise.
            return unsafe { transfer(s, offset, vectors.rest(0), progress, write) };
        }
        Op::OpenAt { flags, mode } => {
            // SAFETY: `ptr` is a path that ends in a zero byte.
            unsafe { libc::openat(dir, path, flags.cast_signed(), mode) }.into()
        }
        Op::OpenAt2 { aux } => {
            let how = plain::pointer(aux);
            // SAFETY: `ptr` is a path that ends in a zero byte, `aux` an `open_how` (`payload::descriptor`).
            unsafe { libc::syscall(libc::SYS_openat2, dir, path, how, OPEN_HOW) }
        }
        Op::Statx { flags, mask, aux } => {
            let room = plain::pointer(aux).cast_mut().cast();
            // SAFETY: `ptr` is a path that ends in a zero byte, `aux` room for a `statx` (`payload::path`).
            unsafe { libc::statx(dir, path, flags.cast_signed(), mask, room) }.into()
        }
        // SAFETY: fsync(2) and fdatasync(2) take no pointer.
        Op::Fsync { datasync: false } => unsafe { libc::fsync(s.fd) }.into(),
        // SAFETY: as above.
        Op::Fsync { datasync: true } => unsafe { libc::fdatasync(s.fd) }.into(),
        Op::Fallocate { mode, offset, len } => {
            let (Ok(offset), Ok(len)) = (i64::try_from(offset), i64::try_from(len)) else {
                return -Errno::INVAL.raw_os_error();
            };
            // SAFETY: fallocate(2) takes no pointer.
            unsafe { libc::fallocate(s.fd, mode.cast_signed(), offset, len) }.into()
        }
        // SAFETY: the caller's promise.
        Op::Splice { .. } | Op::Tee { .. } => unsafe { splice(s) },
        _ => {
            // SAFETY: the caller's promise.
            let done = unsafe { plain::perform(s) };
            return done.unwrap_or(-Errno::OPNOTSUPP.raw_os_error());
        }
    };
    if code < 0 { -Errno::last().raw_os_error() } else { i32::try_from(code).unwrap_or(i32::MAX) }
}

/// # Safety
/// As [`perform`].
unsafe fn one(s: &Submission, offset: u64, len: usize, progress: u32, write: bool) -> i32 {
    let (iov_base, iov_len) = (s.ptr.cast(), len.min(max_transfer()));
    let mut vector = [libc::iovec { iov_base, iov_len }];
    // SAFETY: one vector over the lent memory.
    unsafe { transfer(s, offset, &mut vector, progress, write) }
}

/// The rest behind `progress` bytes, in one call.
///
/// # Safety
/// As [`perform`], with vectors over the lent memory.
unsafe fn transfer(
    s: &Submission,
    offset: u64,
    vectors: &mut [libc::iovec],
    progress: u32,
    write: bool,
) -> i32 {
    let done = usize::try_from(progress).unwrap_or(usize::MAX);
    let rest = advance(vectors, done);
    // SAFETY: the vectors are over lent memory (caller).
    match unsafe { vectored_call(s.fd, rest, further(offset, done), 0, write) } {
        Ok(more) => whole(done + more),
        Err(_) if done > 0 => whole(done),
        Err(errno) => -errno.raw_os_error(),
    }
}

/// # Safety
/// As [`perform`].
unsafe fn splice(s: &Submission) -> i64 {
    // The pipe's side must not wait: both were ready, and whoever was faster makes this one wait again.
    const NONBLOCK: u32 = libc::SPLICE_F_NONBLOCK;
    let moved = match s.op {
        Op::Splice { offset_in, offset_out, len, flags } => {
            let (mut from, mut to) = (offset_in.cast_signed(), offset_out.cast_signed());
            let place = |at: &mut i64| if *at < 0 { std::ptr::null_mut() } else { &raw mut *at };
            let (from, to, len) = (place(&mut from), place(&mut to), to_len(len));
            // SAFETY: both offsets are on this stack, or null.
            unsafe { libc::splice(s.fd, from, s.other, to, len, flags | NONBLOCK) }
        }
        Op::Tee { len, flags } => {
            // SAFETY: tee(2) takes no pointer.
            unsafe { libc::tee(s.fd, s.other, to_len(len), flags | NONBLOCK) }
        }
        _ => return -1,
    };
    i64::try_from(moved).unwrap_or(-1)
}

fn to_len(len: u32) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX).min(max_transfer())
}
