//! Operations as plain system calls: for kernels that have no opcode for them, and where they cost less than the ring's
//! own call.
//!
//! Only calls that do not wait for anybody are here: they take as long as the same opcode would take
//! inside `io_uring_enter`. Those that are made often are made by number: the C library makes of each a place where a thread
//! may be ended, at the price of a fifth of a submission.
//!
//! # Safety
//! Each call reads or writes only what the submission lent for exactly this call; the contract of
//! `Backend::submit` holds for its length.
//!
//! Tests: operations_without_an_opcode_run_as_plain_calls
#![allow(unsafe_code, reason = "system calls with pointers to lent memory")]

use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use safer_ring_buf::{IoBuf, IoBufMut, Lease, PooledBuffer};
use safer_ring_core::{CURSOR, Op};
use safer_ring_sys::{Errno, fork, opcode};

use crate::backend::Submission;
use crate::driver::{failed_output, output_of};
use crate::engine::Class;
use crate::error::Failure;
use crate::fd::Guard as _;
use crate::features::Features;
use crate::mode::Mode;
use crate::payload::{Done, More, NOSIGNAL, Payload, WAITALL, bytes};
use crate::request::Resources;
use crate::uring::{may_call_plainly, transfer};

/// Opcodes that a ring can do without: [`perform`] has all of their operations.
pub(crate) const OPCODES: [u8; 11] = [
    opcode::SOCKET,
    opcode::BIND,
    opcode::LISTEN,
    opcode::SHUTDOWN,
    opcode::PIPE,
    opcode::FTRUNCATE,
    opcode::RENAMEAT,
    opcode::UNLINKAT,
    opcode::MKDIRAT,
    opcode::SYMLINKAT,
    opcode::LINKAT,
];

/// Runs the operation and returns its result as a completion would, or `None` if it has no plain form
/// that is sure not to wait.
///
/// # Safety
/// As `Backend::submit`, for the length of the call.
pub(crate) unsafe fn perform(s: &Submission) -> Option<i32> {
    let path = s.ptr.cast_const().cast::<libc::c_char>();
    let dir = if s.fd < 0 { libc::AT_FDCWD } else { s.fd };
    let other_dir = if s.other < 0 { libc::AT_FDCWD } else { s.other };
    let result = match s.op {
        Op::Socket { domain, kind, protocol } => {
            // SAFETY: socket(2) takes no pointer.
            unsafe {
                libc::socket(domain.cast_signed(), kind.cast_signed(), protocol.cast_signed())
            }
        }
        Op::Bind { len } => {
            // SAFETY: `ptr` is a socket address of `len` bytes (`payload::address`).
            unsafe { libc::bind(s.fd, path.cast(), len) }
        }
        Op::Listen { backlog } => {
            // SAFETY: listen(2) takes no pointer.
            unsafe { libc::listen(s.fd, backlog.cast_signed()) }
        }
        Op::Shutdown { how } => {
            // SAFETY: shutdown(2) takes no pointer.
            unsafe { libc::shutdown(s.fd, how.cast_signed()) }
        }
        Op::Pipe { flags } => {
            // SAFETY: `ptr` is room for two descriptors (`payload::pipe`).
            unsafe { libc::pipe2(s.ptr.cast(), flags.cast_signed()) }
        }
        Op::Ftruncate { len } => match i64::try_from(len) {
            // SAFETY: ftruncate(2) takes no pointer.
            Ok(len) => unsafe { libc::ftruncate(s.fd, len) },
            Err(_) => return Some(-Errno::INVAL.raw_os_error()),
        },
        Op::RenameAt { flags, aux } => {
            // SAFETY: `ptr` and `aux` are paths that end in a zero byte (`payload::path`).
            unsafe { libc::renameat2(dir, path, other_dir, pointer(aux), flags) }
        }
        Op::UnlinkAt { flags } => {
            // SAFETY: `ptr` is a path that ends in a zero byte.
            unsafe { libc::unlinkat(dir, path, flags.cast_signed()) }
        }
        Op::MkdirAt { mode } => {
            // SAFETY: `ptr` is a path that ends in a zero byte.
            unsafe { libc::mkdirat(dir, path, mode) }
        }
        Op::SymlinkAt { aux } => {
            // SAFETY: `ptr` and `aux` are paths that end in a zero byte.
            unsafe { libc::symlinkat(path, dir, pointer(aux)) }
        }
        Op::LinkAt { flags, aux } => {
            // SAFETY: `ptr` and `aux` are paths that end in a zero byte.
            unsafe { libc::linkat(dir, path, other_dir, pointer(aux), flags.cast_signed()) }
        }
        _ => return None,
    };
    Some(if result < 0 { -Errno::last().raw_os_error() } else { result })
}

/// Receives into a buffer what is there: recv(2) that does not wait.
///
/// # Errors
/// Its errors, `EAGAIN` where nothing is there, with the buffer as it was.
pub(crate) fn receive(
    fd: BorrowedFd<'_>,
    buffer: PooledBuffer,
) -> Result<PooledBuffer, (Errno, PooledBuffer)> {
    let (lease, rest) = buffer.lend();
    let (ptr, room) = (lease.ptr(), lease.capacity());
    // SAFETY: the lease has room for so many bytes, and nobody else uses them.
    let count = unsafe {
        let (fd, flags) = (fd.as_raw_fd(), libc::MSG_DONTWAIT);
        libc::syscall(libc::SYS_recvfrom, fd, ptr, room, flags, 0_usize, 0_usize)
    };
    let Ok(count) = usize::try_from(count) else {
        let errno = Errno::last();
        // SAFETY: both come from the call above, and nothing was written.
        return Err((errno, unsafe { PooledBuffer::reclaim(lease, rest) }));
    };
    // SAFETY: both come from the call above; recv(2) has filled so many bytes from the start.
    Ok(unsafe { PooledBuffer::reclaim_filled(lease, rest, count) })
}

/// Whether the operations of a ring may be plain calls first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Permit {
    /// [`fork::current`] of the process that may make them; 0 if none may.
    epoch: u32,
}

impl Permit {
    pub(crate) fn of(features: &Features) -> Self {
        Self { epoch: if may_call_plainly(features) { fork::current() } else { 0 } }
    }

    /// Not in a forked child, which is refused, and has the epoch 0 as well.
    #[inline(always)]
    pub(crate) fn holds(self) -> bool {
        self.epoch != 0 && self.epoch == fork::current()
    }
}

/// What became of an operation that was tried as a plain call.
#[derive(Debug)]
pub(crate) enum Plainly {
    /// It is the ring's, as if nothing had been tried.
    No,
    /// So many bytes of a send that is for all of its bytes have been sent: the ring is to go on behind them.
    Begun(u32),
    Ended(Result<u32, Errno>),
}

/// [`at_once`] of a request that has not been given to its ring, where that may be.
#[inline(always)]
pub(crate) fn call<M: Mode, P: Payload>(
    ring: &M::Ring,
    op: Op,
    resources: &Resources<M::Guard>,
) -> Plainly {
    let Resources { lease, fd: Some(fd), .. } = resources else { return Plainly::No };
    let Some(call) = P::PLAIN else { return Plainly::No };
    if !M::calls_plainly(ring, call) {
        return Plainly::No;
    }
    // SAFETY: a `Request` pairs each op with memory of the right kind, which nobody else uses (invariant 4), and `fd` keeps the
    // descriptor open; both outlive the call.
    let went = unsafe { at_once(op, fd.raw(), fd.class(), lease) };
    if matches!(went, Plainly::Ended(_)) {
        M::count_plain(ring, call);
    }
    went
}

/// The output of an operation that has ended in a plain call.
#[inline]
pub(crate) fn ended<M: Mode, P: Payload>(
    op: Op,
    resources: ManuallyDrop<Resources<M::Guard>>,
    rest: P::Rest,
    result: Result<u32, Errno>,
) -> P::Output {
    let done = Done { result: result.map_err(Failure::Os), flags: 0, more: More::default() };
    if done.result.is_err() {
        return failed_output::<M::Guard, P>(resources, rest, done, Some(op));
    }
    output_of::<M::Guard, P>(resources, rest, done)
}

/// Tries an operation that nothing is handed over with as a plain call, which costs less than an `enter` then. What it cannot do at
/// once is the ring's.
///
/// # Safety
/// As `Backend::submit`, for the length of the call.
#[inline(never)]
unsafe fn at_once(op: Op, fd: RawFd, class: &Class, lease: &Lease) -> Plainly {
    match op {
        // SAFETY: the contract is the same.
        Op::Send { flags } => unsafe { send(flags, fd, lease) },
        Op::Read { offset } if offset != CURSOR && class.reads_plainly(fd) => {
            // SAFETY: the contract is the same.
            match unsafe { read(offset, fd, lease) } {
                Ok(count) if count == transfer(lease.capacity()) => {
                    return Plainly::Ended(Ok(count));
                }
                // The end of the file, or of what is in memory: the ring tells which. So it does for errors.
                Ok(_) | Err(Errno::AGAIN) => class.read_missed(),
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => class.no_nowait(false),
                Err(_) => {}
            }
            Plainly::No
        }
        _ => Plainly::No,
    }
}

/// Sends what can be sent at once: send(2) that neither waits nor raises a signal.
///
/// # Safety
/// As `Backend::submit`, for the length of the call.
#[inline]
unsafe fn send(flags: u32, fd: RawFd, lease: &Lease) -> Plainly {
    const PLAIN: u32 = WAITALL | NOSIGNAL;
    const AT_ONCE: u32 = NOSIGNAL | libc::MSG_DONTWAIT.cast_unsigned();
    if flags & !PLAIN != 0 {
        return Plainly::No;
    }
    let len = transfer(lease.init_len());
    // SAFETY: so many bytes are lent, and initialised.
    let sent = unsafe {
        let (ptr, len) = (lease.ptr(), bytes(len));
        libc::syscall(libc::SYS_sendto, fd, ptr, len, AT_ONCE, 0_usize, 0_usize)
    };
    match u32::try_from(sent).map_err(|_| Errno::last()) {
        Ok(sent) if sent < len && flags & WAITALL != 0 => Plainly::Begun(sent),
        Err(Errno::AGAIN | Errno::INTR) => Plainly::No,
        // A filter of system calls may refuse this one and not those of io_uring. Nothing was sent: the ring finds out.
        Err(Errno::PERM | Errno::ACCESS | Errno::NOSYS) => Plainly::No,
        ended => Plainly::Ended(ended),
    }
}

/// Reads what is in memory: preadv2(2) that does not wait for a disk.
///
/// # Errors
/// `EAGAIN` where it would wait, `EOPNOTSUPP` where a file cannot tell.
///
/// # Safety
/// As `Backend::submit`, for the length of the call.
#[inline]
unsafe fn read(offset: u64, fd: RawFd, lease: &Lease) -> Result<u32, Errno> {
    let len = bytes(transfer(lease.capacity()));
    let vector = libc::iovec { iov_base: lease.ptr().cast(), iov_len: len };
    // SAFETY: so many bytes are lent. The upper half of the offset is in the lower one's word on 64-bit systems.
    let read = unsafe {
        libc::syscall(
            libc::SYS_preadv2,
            fd,
            &raw const vector,
            1_usize,
            offset,
            0_usize,
            libc::RWF_NOWAIT,
        )
    };
    u32::try_from(read).map_err(|_| Errno::last())
}

/// An address that was taken with `expose_provenance` as a pointer again.
#[expect(clippy::as_conversions, reason = "all targets have 64-bit addresses")]
pub(crate) fn pointer(address: u64) -> *const libc::c_char {
    std::ptr::with_exposed_provenance(address as usize)
}

/// Waits until `fd` is readable, or `limit` is over (`ETIME`).
pub(crate) fn wait_readable(fd: BorrowedFd<'_>, limit: Duration) -> Result<(), Errno> {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let timeout = i32::try_from(limit.as_millis().saturating_add(1)).unwrap_or(i32::MAX);
    // SAFETY: one pollfd, on this stack, for the length of the call.
    match unsafe { libc::poll(&raw mut poll, 1, timeout) } {
        0 => Err(Errno::TIME),
        result if result < 0 => Err(Errno::last()),
        _ => Ok(()),
    }
}
