//! Reads and writes through a ring: what their completions say.

use super::aio::{misaligned, rule, within_page};
use super::call::{Call, Transfer};
use super::facts::{Facts, File, Kind};
use super::{Answer, Place, Rule};

const RWF_NOWAIT: u32 = 8;

fn transfer(call: &Call, facts: &Facts, test: impl FnOnce(&Transfer, &File) -> Answer) -> Answer {
    let Call::RingTransfer(transfer) = call else { return Answer::Open };
    let file = u32::try_from(transfer.fd).map_or(File::CLOSED, |fd| facts.file(fd));
    test(transfer, &file)
}

fn direct(call: &Call, facts: &Facts, test: impl FnOnce(&Transfer, &File) -> Answer) -> Answer {
    transfer(call, facts, |transfer, file| match file.direct {
        Some(false) => Answer::Kept,
        None => Answer::Open,
        Some(true) if !transfer.write && file.ends_before(transfer.offset) => Answer::Open,
        Some(true) => test(transfer, file),
    })
}

pub(super) const RULES: &[Rule] = &[
    rule!(
        Result,
        "io_uring_enter/EBADF/transfer-closed",
        "a read or write needs an open descriptor",
        "keep the file open until the operation has begun",
        |call, facts| transfer(call, facts, |_, file| Answer::known(
            file.open.map(|open| !open),
            String::new
        ))
    ),
    rule!(
        Result,
        "io_uring_enter/EBADF/not-readable",
        "a read needs a file that is open for reading",
        "open it with O_RDONLY or O_RDWR",
        |call, facts| transfer(call, facts, |call, file| if call.write {
            Answer::Kept
        } else {
            Answer::known(file.readable.map(|yes| !yes), String::new)
        })
    ),
    rule!(
        Result,
        "io_uring_enter/EBADF/not-writable",
        "a write needs a file that is open for writing",
        "open it with O_WRONLY or O_RDWR",
        |call, facts| transfer(call, facts, |call, file| if call.write {
            Answer::known(file.writable.map(|yes| !yes), String::new)
        } else {
            Answer::Kept
        })
    ),
    rule!(
        Result,
        "io_uring_enter/EINVAL/no-operation",
        "the file must have reads or writes",
        "some special files have none",
        |call, facts| transfer(call, facts, |_, file| match file.kind {
            Some(Kind::Pipe | Kind::Socket | Kind::Block | Kind::Eventfd) => Answer::Kept,
            Some(Kind::Regular) if file.data == Some(true) => Answer::Kept,
            _ => Answer::Open,
        })
    ),
    rule!(
        Result,
        "io_uring_enter/EISDIR/directory",
        "a directory cannot be read or written as a file",
        "use getdents64(2), for which there is no operation",
        |call, facts| transfer(call, facts, |_, file| Answer::known(
            file.kind.map(|kind| kind == Kind::Directory),
            String::new
        ))
    ),
    rule!(
        Result,
        "io_uring_enter/EINVAL/direct-memory",
        "direct I/O needs an aligned buffer",
        "allocate the buffer with the alignment of the device (`stx_dio_mem_align` of statx(2))",
        |call, facts| direct(call, facts, |call, file| {
            let answer = misaligned(call.buf.address, file.memory_align, "the buffer");
            within_page(call.buf.address, call.len, facts, answer)
        })
    ),
    rule!(
        Result,
        "io_uring_enter/EINVAL/direct-length",
        "direct I/O needs an aligned length",
        "use multiples of the block size (`stx_dio_offset_align` of statx(2))",
        |call, facts| direct(call, facts, |call, file| {
            misaligned(call.len, file.offset_align, "the length")
        })
    ),
    rule!(
        Result,
        "io_uring_enter/EINVAL/direct-offset",
        "direct I/O needs an aligned offset",
        "use multiples of the block size (`stx_dio_offset_align` of statx(2))",
        |call, facts| direct(call, facts, |call, file| if call.offset == -1 {
            Answer::Open
        } else {
            misaligned(call.offset.unsigned_abs(), file.offset_align, "the offset")
        })
    ),
    rule!(
        Result,
        "io_uring_enter/EOPNOTSUPP/rw-flags",
        "the flags of a read or write must be those that this kernel and this file know",
        "leave out what they do not have",
        |call, facts| transfer(call, facts, |call, _| if call.rw_flags == 0 {
            Answer::Kept
        } else if call.rw_flags & 0xffff_0000 != 0 {
            Answer::Broken(format!("not {:#x}", call.rw_flags))
        } else {
            Answer::Open
        })
    ),
    rule!(
        Result,
        "io_uring_enter/EAGAIN/transfer-nowait",
        "RWF_NOWAIT and O_NONBLOCK give up where the operation would have to wait",
        "submit it again without the flag, or wait for the descriptor with a poll",
        |call, facts| transfer(call, facts, |call, file| {
            let waits = matches!(file.kind, Some(Kind::Regular)) && call.rw_flags & RWF_NOWAIT == 0;
            if waits { Answer::Kept } else { Answer::Open }
        })
    ),
    rule!(
        Result,
        "io_uring_enter/ESPIPE/socket-offset",
        "a socket has no offsets: it takes 0, or -1 for the position",
        "use 0, or recv(2) and send(2)",
        |call, facts| transfer(call, facts, |call, file| match file.kind {
            _ if matches!(call.offset, 0 | -1) => Answer::Kept,
            Some(Kind::Socket) => Answer::Broken(String::new()),
            Some(_) => Answer::Kept,
            None => Answer::Open,
        })
    ),
    rule!(
        Result,
        "io_uring_enter/EFAULT/buffer",
        "the buffer must be memory of the program",
        "keep the buffer until the completion",
        |call, facts| transfer(call, facts, |call, _| if call.len == 0 {
            Answer::Kept
        } else {
            Answer::Open
        })
    ),
];
