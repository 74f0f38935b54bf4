//! From an operation to a submission entry: one exhaustive match.

use std::time::Duration;

use safer_ring_core::{Op, PAUSE};
use safer_ring_sys::{Sqe, Timespec, opcode, recvsend, sqe_flags};

use crate::backend::Submission;
use crate::engine::Class;
use crate::payload::{DONTWAIT, address};

/// The most that one read or write moves: `MAX_RW_COUNT` of read(2).
pub(crate) const MAX_TRANSFER: u32 = 0x7fff_f000;

/// The same, as a length of memory.
const MAX_LEN: usize = 0x7fff_f000;

pub(super) const POLLIN: u32 = 1;
const AT_FDCWD: i32 = -100;
const FSYNC_DATASYNC: u32 = 1;

/// A length for a submission entry; the rest of a longer buffer is left, as read(2) does.
#[inline(always)]
pub(crate) fn transfer(len: usize) -> u32 {
    let len = len.min(MAX_LEN);
    #[expect(clippy::as_conversions, reason = "at most MAX_TRANSFER, by the line above")]
    let len = len as u32;
    len
}

/// Poll events as `poll32_events` wants them: the half-words are swapped on big-endian machines.
pub(super) fn poll_word(events: u32) -> u32 {
    if cfg!(target_endian = "big") { events.rotate_left(16) } else { events }
}

/// The flags of a send. A datagram that finds no room is not to wait in the kernel: its bytes are copied before that is known, and
/// when there is room the kernel sends what is left of them, an empty datagram (seen on 6.18). So it comes back, and
/// is handed over anew when the socket can be written to.
#[inline(always)]
fn sending(s: &Submission, flags: u32) -> u32 {
    let datagram = Class::of(s).is_some_and(|class| class.is_datagram(s.fd));
    if datagram { flags | DONTWAIT } else { flags }
}

/// The opcodes of [`hot`].
pub(super) const HOT: [u8; 5] =
    [opcode::NOP, opcode::READ, opcode::WRITE, opcode::RECV, opcode::SEND];

/// The entry of one of the few operations that are worth a short way.
#[inline(always)]
pub(super) fn hot(s: &Submission) -> Option<Sqe> {
    let (opcode, off, len, op_flags) = match s.op {
        Op::Read { offset } => (opcode::READ, offset, transfer(s.capacity), 0),
        Op::Write { offset } => (opcode::WRITE, offset, transfer(s.init), 0),
        Op::Recv { flags } => (opcode::RECV, 0, transfer(s.capacity), flags),
        Op::Send { flags } => (opcode::SEND, 0, transfer(s.init), sending(s, flags)),
        Op::Nop => (opcode::NOP, 0, 0, 0),
        _ => return None,
    };
    Some(Sqe {
        opcode,
        flags: if s.link { sqe_flags::IO_LINK } else { 0 },
        fd: s.fd,
        off,
        addr: address(s.ptr),
        len,
        op_flags,
        user_data: s.user_data,
        ..Sqe::default()
    })
}

/// The entry of any operation.
pub(super) fn prepare(s: &Submission) -> Sqe {
    let mut sqe = match s.poll_first {
        None => hot(s).unwrap_or_else(|| {
            let base = Sqe { fd: s.fd, addr: address(s.ptr), ..Sqe::default() };
            other_operation(s, base)
        }),
        Some(word) if word & PAUSE != 0 => Sqe {
            opcode: opcode::TIMEOUT,
            fd: -1,
            addr: pause_address(word),
            len: 1,
            ..Sqe::default()
        },
        Some(events) => Sqe {
            opcode: opcode::POLL_ADD,
            fd: s.fd,
            op_flags: poll_word(events),
            ..Sqe::default()
        },
    };
    sqe.user_data = s.user_data;
    if s.link {
        sqe.flags |= sqe_flags::IO_LINK;
    }
    sqe
}

/// How long a pause in place of poll events is.
pub(super) fn pause_of(poll_first: Option<u32>) -> Option<Duration> {
    let word = poll_first.filter(|word| word & PAUSE != 0)?;
    Some(Duration::from_millis(u64::from(word & !PAUSE)))
}

/// The kernel reads it when it takes the entry, which may be later than anything on this stack lives: 2^n milliseconds.
fn pause_address(word: u32) -> u64 {
    const fn milliseconds(count: i64) -> Timespec {
        Timespec { tv_sec: 0, tv_nsec: count * 1_000_000 }
    }
    static PAUSES: [Timespec; 6] = [
        milliseconds(1),
        milliseconds(2),
        milliseconds(4),
        milliseconds(8),
        milliseconds(16),
        milliseconds(32),
    ];
    let power = (word & !PAUSE).max(1).ilog2();
    let [.., longest] = &PAUSES;
    let pause = PAUSES.get(crate::payload::bytes(power)).unwrap_or(longest);
    address((&raw const *pause).cast())
}

#[inline(never)]
fn other_operation(s: &Submission, base: Sqe) -> Sqe {
    match s.op {
        // Hot, and not seen here.
        Op::Nop | Op::Read { .. } | Op::Write { .. } | Op::Recv { .. } | Op::Send { .. } => nop(),
        Op::ReadVectored { offset, count } => {
            Sqe { opcode: opcode::READV, off: offset, len: count, ..base }
        }
        Op::WriteVectored { offset, count } => {
            Sqe { opcode: opcode::WRITEV, off: offset, len: count, ..base }
        }
        Op::RecvMulti { group } => Sqe {
            opcode: opcode::RECV,
            flags: sqe_flags::BUFFER_SELECT,
            ioprio: recvsend::RECV_MULTISHOT,
            addr: 0,
            buf_index: group,
            ..base
        },
        Op::RecvMsg { flags } => Sqe { opcode: opcode::RECVMSG, len: 1, op_flags: flags, ..base },
        Op::SendMsg { flags } => {
            Sqe { opcode: opcode::SENDMSG, len: 1, op_flags: sending(s, flags), ..base }
        }
        Op::Accept { flags, aux } => {
            Sqe { opcode: opcode::ACCEPT, off: aux, op_flags: flags, ..base }
        }
        Op::Connect { len } => Sqe { opcode: opcode::CONNECT, off: u64::from(len), ..base },
        Op::Bind { len } => Sqe { opcode: opcode::BIND, off: u64::from(len), ..base },
        Op::Listen { backlog } => Sqe { opcode: opcode::LISTEN, len: backlog, addr: 0, ..base },
        Op::Shutdown { how } => Sqe { opcode: opcode::SHUTDOWN, len: how, addr: 0, ..base },
        Op::Socket { domain, kind, protocol } => Sqe {
            opcode: opcode::SOCKET,
            fd: domain.cast_signed(),
            off: u64::from(kind),
            len: protocol,
            ..Sqe::default()
        },
        Op::Pipe { flags } => Sqe { opcode: opcode::PIPE, fd: 0, op_flags: flags, ..base },
        Op::Poll { events } => {
            Sqe { opcode: opcode::POLL_ADD, op_flags: poll_word(events), addr: 0, ..base }
        }
        // Ends by the table's deadlines; if it is submitted all the same it does nothing.
        Op::Timeout => nop(),
        // The caller reads the entry that the user prepared.
        Op::Raw => nop(),
        Op::OpenAt { .. }
        | Op::OpenAt2 { .. }
        | Op::Close { .. }
        | Op::Statx { .. }
        | Op::Fsync { .. }
        | Op::Fallocate { .. }
        | Op::Ftruncate { .. }
        | Op::RenameAt { .. }
        | Op::LinkAt { .. }
        | Op::UnlinkAt { .. }
        | Op::MkdirAt { .. }
        | Op::SymlinkAt { .. }
        | Op::Splice { .. }
        | Op::Tee { .. } => file_operation(s, base),
    }
}

fn file_operation(s: &Submission, base: Sqe) -> Sqe {
    let at = Sqe { fd: if s.fd < 0 { AT_FDCWD } else { s.fd }, ..base };
    match s.op {
        Op::OpenAt { flags, mode } => {
            Sqe { opcode: opcode::OPENAT, len: mode, op_flags: flags, ..at }
        }
        Op::OpenAt2 { aux } => Sqe { opcode: opcode::OPENAT2, off: aux, len: OPEN_HOW, ..at },
        Op::Close { fd } => Sqe { opcode: opcode::CLOSE, fd, ..Sqe::default() },
        Op::Statx { flags, mask, aux } => {
            Sqe { opcode: opcode::STATX, off: aux, len: mask, op_flags: flags, ..at }
        }
        Op::Fsync { datasync } => Sqe {
            opcode: opcode::FSYNC,
            addr: 0,
            op_flags: if datasync { FSYNC_DATASYNC } else { 0 },
            ..base
        },
        // The kernel takes the length in the address field and the mode in the length field.
        Op::Fallocate { mode, offset, len } => {
            Sqe { opcode: opcode::FALLOCATE, off: offset, addr: len, len: mode, ..base }
        }
        Op::Ftruncate { len } => Sqe { opcode: opcode::FTRUNCATE, off: len, addr: 0, ..base },
        // Second directory in `len`, second path in `off`.
        Op::RenameAt { flags, aux } => {
            Sqe { opcode: opcode::RENAMEAT, off: aux, len: other_dir(s), op_flags: flags, ..at }
        }
        Op::LinkAt { flags, aux } => {
            Sqe { opcode: opcode::LINKAT, off: aux, len: other_dir(s), op_flags: flags, ..at }
        }
        Op::UnlinkAt { flags } => Sqe { opcode: opcode::UNLINKAT, op_flags: flags, ..at },
        Op::MkdirAt { mode } => Sqe { opcode: opcode::MKDIRAT, len: mode, ..at },
        Op::SymlinkAt { aux } => Sqe { opcode: opcode::SYMLINKAT, off: aux, ..at },
        // The entry's descriptor is the destination; the source is a field of its own.
        Op::Splice { offset_in, offset_out, len, flags } => Sqe {
            opcode: opcode::SPLICE,
            fd: s.other,
            off: offset_out,
            addr: offset_in,
            len: len.min(MAX_TRANSFER),
            op_flags: flags,
            file_index: s.fd.cast_unsigned(),
            ..Sqe::default()
        },
        Op::Tee { len, flags } => Sqe {
            opcode: opcode::TEE,
            fd: s.other,
            len: len.min(MAX_TRANSFER),
            op_flags: flags,
            file_index: s.fd.cast_unsigned(),
            ..Sqe::default()
        },
        // Handled by the two functions above, which call this one for the rest only.
        Op::Nop
        | Op::Read { .. }
        | Op::Write { .. }
        | Op::ReadVectored { .. }
        | Op::WriteVectored { .. }
        | Op::Recv { .. }
        | Op::RecvMulti { .. }
        | Op::Send { .. }
        | Op::RecvMsg { .. }
        | Op::SendMsg { .. }
        | Op::Accept { .. }
        | Op::Connect { .. }
        | Op::Bind { .. }
        | Op::Listen { .. }
        | Op::Shutdown { .. }
        | Op::Socket { .. }
        | Op::Pipe { .. }
        | Op::Poll { .. }
        | Op::Timeout
        | Op::Raw => nop(),
    }
}

fn nop() -> Sqe {
    Sqe { opcode: opcode::NOP, fd: -1, ..Sqe::default() }
}

/// `sizeof(struct open_how)`, as openat2(2) wants it.
const OPEN_HOW: u32 = 24;

fn other_dir(s: &Submission) -> u32 {
    (if s.other < 0 { AT_FDCWD } else { s.other }).cast_unsigned()
}
