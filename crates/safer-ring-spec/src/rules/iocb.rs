//! What the rules of `io_submit(2)` ask of a command.

use super::Answer;
use super::call::{Call, IoSubmit, Iocb};
use super::facts::{Facts, File, Kind};

pub(super) const PREAD: u16 = 0;
pub(super) const PWRITE: u16 = 1;
pub(super) const FSYNC: u16 = 2;
pub(super) const FDSYNC: u16 = 3;
pub(super) const POLL: u16 = 5;
pub(super) const PREADV: u16 = 7;
pub(super) const PWRITEV: u16 = 8;

pub(super) const FLAG_RESFD: u32 = 1;
pub(super) const FLAG_IOPRIO: u32 = 2;

pub(super) const RWF_NOWAIT: u32 = 8;
pub(super) const RWF_APPEND: u32 = 0x10;
pub(super) const RWF_NOAPPEND: u32 = 0x20;
pub(super) const RWF_ATOMIC: u32 = 0x40;

/// What one `read(2)` moves at most, with pages of 4 KiB.
pub(super) const MAX_TRANSFER: u64 = 0x7fff_f000;

pub(super) fn submit(call: &Call) -> Option<&IoSubmit> {
    match call {
        Call::IoSubmit(submit) => Some(submit),
        _ => None,
    }
}

/// A rule about the first command. Without any commands there is nothing to break.
pub(super) fn first(call: &Call, test: impl FnOnce(&Iocb) -> Answer) -> Answer {
    let Some(submit) = submit(call) else { return Answer::Open };
    if submit.nr <= 0 {
        return Answer::Kept;
    }
    submit.iocbs.first().map_or(Answer::Open, test)
}

/// A rule about reads and writes alone.
pub(super) fn transfer(call: &Call, test: impl FnOnce(&Iocb) -> Answer) -> Answer {
    first(call, |iocb| if iocb.is_transfer() { test(iocb) } else { Answer::Kept })
}

impl Iocb {
    pub(super) fn is_read(&self) -> bool {
        matches!(self.opcode, PREAD | PREADV)
    }

    pub(super) fn is_write(&self) -> bool {
        matches!(self.opcode, PWRITE | PWRITEV)
    }

    pub(super) fn is_transfer(&self) -> bool {
        self.is_read() || self.is_write()
    }

    pub(super) fn is_vectored(&self) -> bool {
        matches!(self.opcode, PREADV | PWRITEV)
    }

    pub(super) fn is_sync(&self) -> bool {
        matches!(self.opcode, FSYNC | FDSYNC)
    }

    /// How many buffers a vectored command has: the kernel looks at 32 bits of the number.
    pub(super) fn segments(&self) -> u64 {
        self.nbytes & 0xffff_ffff
    }
}

pub(super) fn resfd(call: &Call, facts: &Facts, test: impl FnOnce(File, u32) -> Answer) -> Answer {
    first(call, |iocb| {
        if iocb.flags & FLAG_RESFD == 0 {
            return Answer::Kept;
        }
        test(facts.file(iocb.resfd), iocb.resfd)
    })
}

/// A rule about the class and the level of a priority.
pub(super) fn ioprio(call: &Call, test: impl FnOnce(u16, u16) -> Answer) -> Answer {
    transfer(call, |iocb| {
        if iocb.flags & FLAG_IOPRIO == 0 {
            return Answer::Kept;
        }
        let [low, high] = iocb.reqprio.to_le_bytes();
        let bits = u16::from_le_bytes([low, high]);
        test(bits >> 13, bits & 0x1fff)
    })
}

pub(super) fn unknown_flags(call: &Call, facts: &Facts) -> Answer {
    transfer(call, |iocb| {
        let known = match facts.kernel {
            None => 0x3f,
            Some(kernel) => [(0x20, (6, 9)), (0x40, (6, 11)), (0x80, (6, 14)), (0x100, (6, 18))]
                .into_iter()
                .filter(|(_, since)| kernel >= *since)
                .fold(0x1f, |all, (flag, _)| all | flag),
        };
        let strange = iocb.rw_flags & !known;
        // The lower half may be taken by kernels to come.
        if strange & 0xffff_0000 != 0 || (strange != 0 && facts.kernel.is_some_and(|k| k < (6, 9)))
        {
            return Answer::Broken(format!("{strange:#x} is not known"));
        }
        if strange == 0 { Answer::Kept } else { Answer::Open }
    })
}

pub(super) fn unsyncable(call: &Call, facts: &Facts) -> Answer {
    first(call, |iocb| {
        if !iocb.is_sync() {
            return Answer::Kept;
        }
        match facts.file(iocb.fildes).kind {
            Some(Kind::Pipe | Kind::Socket | Kind::Eventfd | Kind::Epoll) => {
                Answer::Broken("this one cannot".to_owned())
            }
            Some(Kind::Block) => Answer::Kept,
            Some(Kind::Regular) if facts.file(iocb.fildes).data == Some(true) => Answer::Kept,
            _ => Answer::Open,
        }
    })
}

pub(super) fn without_operation(iocb: &Iocb, file: &File) -> Answer {
    match file.kind {
        Some(Kind::Directory) => Answer::Broken("and a directory has none".to_owned()),
        Some(Kind::Epoll) => Answer::Broken("and an epoll descriptor has none".to_owned()),
        Some(Kind::Eventfd) if iocb.is_write() => {
            Answer::Broken("and an eventfd has no such writes".to_owned())
        }
        Some(Kind::Pipe | Kind::Socket | Kind::Block | Kind::Eventfd) => Answer::Kept,
        Some(Kind::Regular) if file.data == Some(true) => Answer::Kept,
        // Files of /proc and /sys are regular files, and some have neither.
        _ => Answer::Open,
    }
}

/// An error of files whose offsets are signed, as almost all are.
pub(super) fn ordinary(file: File, found: impl FnOnce() -> String) -> Answer {
    match file.kind {
        Some(Kind::Regular | Kind::Directory | Kind::Pipe | Kind::Socket | Kind::Block) => {
            Answer::Broken(found())
        }
        _ => Answer::Open,
    }
}

/// The upper half of the addresses is the kernel's on all machines with 64 bits.
pub(super) fn beyond_programs(call: &Call, _: &Facts) -> Answer {
    transfer(call, |iocb| {
        if iocb.is_vectored() {
            return Answer::Open;
        }
        let end = iocb.buf.checked_add(iocb.nbytes.min(MAX_TRANSFER));
        Answer::of(end.is_none_or(|end| end > 1 << 63), || format!("not at {:#x}", iocb.buf))
    })
}

/// A rule about reads and writes with `O_DIRECT` that are not vectored.
pub(super) fn direct(
    call: &Call,
    facts: &Facts,
    test: impl FnOnce(&Iocb, &File) -> Answer,
) -> Answer {
    transfer(call, |iocb| {
        let file = facts.file(iocb.fildes);
        match file.direct {
            Some(false) => Answer::Kept,
            None => Answer::Open,
            Some(true) if iocb.is_vectored() => Answer::Open,
            Some(true) if iocb.is_read() && file.ends_before(iocb.offset) => Answer::Open,
            Some(true) => test(iocb, &file),
        }
    })
}

/// A descriptor as a program thinks of it.
pub(super) fn signed(fd: u32) -> i32 {
    i32::from_ne_bytes(fd.to_ne_bytes())
}
