//! `io_submit(2)`, by the kernel's behaviour.

use super::aio::{dead, misaligned, rule, unreadable, unwritable, within_page};
use super::facts::Kind;
use super::iocb::{
    MAX_TRANSFER, POLL, RWF_APPEND, RWF_ATOMIC, RWF_NOAPPEND, RWF_NOWAIT, beyond_programs, direct,
    first, ioprio, ordinary, resfd, signed, submit, transfer, unknown_flags, unsyncable,
    without_operation,
};
use super::{Answer, Place, Rule};

pub(super) const RULES: &[Rule] = &[
    rule!(
        "io_submit/EINVAL/nr-negative",
        "nr must not be negative",
        "pass the number of pointers in the array",
        |call, _| submit(call).map_or(Answer::Open, |submit| Answer::of(
            submit.nr < 0,
            || format!("not {}", submit.nr)
        ))
    ),
    rule!(
        "io_submit/EINVAL/ctx",
        "the context must be one of this process that has not been destroyed",
        "a forked child makes contexts of its own",
        dead
    ),
    rule!(
        "io_submit/EFAULT/iocbpp",
        "the array of pointers must be memory of the program",
        "pass the address of an array of `nr` pointers to iocbs",
        |call, _| submit(call).map_or(Answer::Open, |submit| if submit.nr == 0 {
            Answer::Kept
        } else {
            unreadable(submit.array.memory)
        })
    ),
    rule!(
        "io_submit/EFAULT/iocb",
        "each pointer in the array must be to an iocb",
        "the structures must exist during the call",
        |call, _| first(call, |iocb| unreadable(iocb.place.memory))
    ),
    rule!(
        "io_submit/EINVAL/reserved2",
        "aio_reserved2 must be 0",
        "set the whole structure to zero before it is filled in",
        |call, _| first(call, |iocb| Answer::of(iocb.reserved2 != 0, || format!(
            "not {:#x}",
            iocb.reserved2
        )))
    ),
    rule!(
        "io_submit/EINVAL/nbytes-overflow",
        "aio_nbytes must be at most the largest ssize_t",
        "pass the length of the buffer, in bytes",
        |call, _| first(call, |iocb| Answer::of(iocb.nbytes > 0x7fff_ffff_ffff_ffff, || format!(
            "not {:#x}",
            iocb.nbytes
        )))
    ),
    rule!(
        "io_submit/EAGAIN/slots",
        "the context must have room for the command",
        "fetch events first, or make the context with more",
        |call, facts| first(call, |_| Answer::known(
            facts.context.room.map(|room| room == 0),
            || { "it is full".to_owned() }
        ))
    ),
    rule!(
        "io_submit/EBADF/fildes",
        "aio_fildes must be an open descriptor",
        "keep the file open until the command has been submitted",
        |call, facts| first(call, |iocb| {
            let open = facts.file(iocb.fildes).open;
            Answer::known(open.map(|open| !open), || format!("{} is not", signed(iocb.fildes)))
        })
    ),
    rule!(
        "io_submit/EBADF/resfd",
        "aio_resfd must be an open descriptor",
        "keep the eventfd open, or leave IOCB_FLAG_RESFD out",
        |call, facts| resfd(call, facts, |file, fd| {
            Answer::known(file.open.map(|open| !open), || format!("{} is not", signed(fd)))
        })
    ),
    rule!(
        "io_submit/EINVAL/resfd",
        "aio_resfd must be an eventfd",
        "make one with eventfd(2), or leave IOCB_FLAG_RESFD out",
        |call, facts| resfd(call, facts, |file, fd| {
            let wrong = file.kind.map(|kind| kind != Kind::Eventfd);
            Answer::known(wrong, || format!("{} is not", signed(fd)))
        })
    ),
    rule!(
        "io_submit/EFAULT/aio-key",
        "the iocb must be writable: the kernel sets aio_key",
        "do not keep iocbs in constants",
        |call, _| first(call, |iocb| unwritable(iocb.place.memory))
    ),
    rule!(
        "io_submit/EINVAL/opcode",
        "aio_lio_opcode must be a command that this kernel knows",
        "use PREAD 0, PWRITE 1, FSYNC 2, FDSYNC 3, POLL 5, PREADV 7 or PWRITEV 8; NOOP exists in the header only",
        |call, _| first(call, |iocb| {
            let known = iocb.is_transfer() || iocb.is_sync() || iocb.opcode == POLL;
            Answer::of(!known, || format!("not {}", iocb.opcode))
        })
    ),
    rule!(
        "io_submit/EINVAL/fsync-fields",
        "FSYNC and FDSYNC take no buffer, length, offset or flags",
        "set aio_buf, aio_nbytes, aio_offset and aio_rw_flags to 0",
        |call, _| first(call, |iocb| {
            let set = iocb.buf != 0 || iocb.nbytes != 0 || iocb.offset != 0 || iocb.rw_flags != 0;
            Answer::of(iocb.is_sync() && set, String::new)
        })
    ),
    rule!(
        "io_submit/EINVAL/fsync-unsupported",
        "FSYNC and FDSYNC need a file that can be synced",
        "sync regular files and block devices only",
        unsyncable
    ),
    rule!(
        "io_submit/EINVAL/poll-events",
        "the events of a POLL are 16 bits of aio_buf",
        "pass events as in poll(2)",
        |call, _| first(call, |iocb| Answer::of(
            iocb.opcode == POLL && iocb.buf > 0xffff,
            || format!("not {:#x}", iocb.buf)
        ))
    ),
    rule!(
        "io_submit/EINVAL/poll-fields",
        "POLL takes no length, offset or flags",
        "set aio_nbytes, aio_offset and aio_rw_flags to 0",
        |call, _| first(call, |iocb| {
            let set = iocb.nbytes != 0 || iocb.offset != 0 || iocb.rw_flags != 0;
            Answer::of(iocb.opcode == POLL && set, String::new)
        })
    ),
    rule!(
        "io_submit/EPERM/ioprio-rt",
        "a real-time priority needs CAP_SYS_NICE or CAP_SYS_ADMIN",
        "use the best-effort class (2)",
        |call, facts| ioprio(call, |class, _| {
            if class != 1 {
                return Answer::Kept;
            }
            Answer::known(facts.nice.map(|nice| !nice), || "the process has neither".to_owned())
        })
    ),
    rule!(
        "io_submit/EINVAL/ioprio-class",
        "aio_reqprio must be a priority of ioprio_set(2): class none 0, real-time 1, best-effort 2 or idle 3",
        "put the class into bits 13 to 15 and the level, 0 to 7, below; class none has no level",
        |call, _| ioprio(call, |class, level| {
            Answer::of(class > 3 || (class == 0 && level & 7 != 0), || {
                format!("not class {class}, level {level}")
            })
        })
    ),
    rule!(
        "io_submit/EOPNOTSUPP/rw-flags-unknown",
        "aio_rw_flags must be flags that this kernel knows",
        "leave out what the kernel does not have",
        unknown_flags
    ),
    rule!(
        "io_submit/EOPNOTSUPP/nowait-unsupported",
        "RWF_NOWAIT needs a file that can tell whether it would wait",
        "leave the flag out, and use a thread",
        |call, facts| transfer(call, |iocb| {
            if iocb.rw_flags & RWF_NOWAIT == 0 {
                return Answer::Kept;
            }
            match facts.file(iocb.fildes).kind {
                // Of a file it depends on the file system.
                Some(Kind::Epoll) => Answer::Broken(String::new()),
                _ => Answer::Open,
            }
        })
    ),
    rule!(
        "io_submit/EOPNOTSUPP/atomic-read",
        "RWF_ATOMIC is a flag of writes",
        "leave the flag out",
        // Before 6.11 the flag is unknown, with the same answer.
        |call, _| transfer(call, |iocb| {
            Answer::of(iocb.rw_flags & RWF_ATOMIC != 0 && iocb.is_read(), String::new)
        })
    ),
    rule!(
        "io_submit/EOPNOTSUPP/file",
        "RWF_ATOMIC and RWF_DONTCACHE need a file system that has them",
        "leave the flag out",
        |call, _| transfer(call, |iocb| if iocb.rw_flags & 0xc0 == 0 {
            Answer::Kept
        } else {
            Answer::Open
        })
    ),
    rule!(
        "io_submit/EINVAL/append-conflict",
        "RWF_APPEND and RWF_NOAPPEND exclude each other",
        "leave one of them out",
        |call, _| transfer(call, |iocb| {
            let both = RWF_APPEND | RWF_NOAPPEND;
            Answer::of(iocb.rw_flags & both == both, String::new)
        })
    ),
    rule!(
        "io_submit/EPERM/noappend",
        "RWF_NOAPPEND is not for files that may only grow",
        "leave the flag out, or clear the attribute (`chattr -a`)",
        |call, facts| transfer(call, |iocb| {
            if iocb.rw_flags & RWF_NOAPPEND == 0 {
                return Answer::Kept;
            }
            Answer::known(facts.file(iocb.fildes).append_only, String::new)
        })
    ),
    rule!(
        "io_submit/EBADF/not-readable",
        "a read needs a file that is open for reading",
        "open it with O_RDONLY or O_RDWR",
        |call, facts| first(call, |iocb| {
            if !iocb.is_read() {
                return Answer::Kept;
            }
            let readable = facts.file(iocb.fildes).readable;
            Answer::known(readable.map(|readable| !readable), String::new)
        })
    ),
    rule!(
        "io_submit/EBADF/not-writable",
        "a write needs a file that is open for writing",
        "open it with O_WRONLY or O_RDWR",
        |call, facts| first(call, |iocb| {
            if !iocb.is_write() {
                return Answer::Kept;
            }
            let writable = facts.file(iocb.fildes).writable;
            Answer::known(writable.map(|writable| !writable), String::new)
        })
    ),
    rule!(
        "io_submit/EINVAL/no-operation",
        "the file must have reads or writes of this kind",
        "directories, epoll and some devices have none; an eventfd is written with write(2)",
        |call, facts| transfer(call, |iocb| without_operation(iocb, &facts.file(iocb.fildes)))
    ),
    rule!(
        "io_submit/EINVAL/iovec-count",
        "a vectored command has at most 1024 buffers",
        "aio_nbytes is the number of entries of the array; split the command",
        |call, _| transfer(call, |iocb| Answer::of(
            iocb.is_vectored() && iocb.segments() > 1024,
            || format!("not {}", iocb.segments())
        ))
    ),
    rule!(
        "io_submit/EFAULT/iovec",
        "the array of buffers must be memory of the program",
        "pass the address of an array of aio_nbytes iovecs",
        |call, _| transfer(call, |iocb| if iocb.is_vectored() && iocb.segments() > 0 {
            unreadable(iocb.memory)
        } else {
            Answer::Kept
        })
    ),
    rule!(
        "io_submit/EINVAL/iovec-length",
        "no buffer of a vectored command may be longer than the largest ssize_t",
        "check iov_len of each entry",
        |call, _| transfer(call, |iocb| if iocb.is_vectored() && iocb.segments() > 0 {
            Answer::Open
        } else {
            Answer::Kept
        })
    ),
    rule!(
        "io_submit/EFAULT/buffer-range",
        "the buffer must be within the addresses of programs",
        "pass the address of the buffer in aio_buf",
        beyond_programs
    ),
    rule!(
        "io_submit/EINVAL/offset-negative",
        "aio_offset must not be negative",
        "AIO has no current position: pass the offset",
        |call, facts| transfer(call, |iocb| {
            if iocb.offset >= 0 {
                return Answer::Kept;
            }
            ordinary(facts.file(iocb.fildes), || format!("not {}", iocb.offset))
        })
    ),
    rule!(
        "io_submit/EINVAL/offset-overflow",
        "aio_offset plus the length must be at most the largest file offset",
        "check the offset",
        |call, facts| transfer(call, |iocb| {
            let length = i64::try_from(iocb.nbytes.min(MAX_TRANSFER)).unwrap_or(i64::MAX);
            let over = iocb.offset >= 0 && iocb.offset.checked_add(length).is_none();
            match (over, iocb.is_vectored()) {
                // The lengths are in the array.
                (_, true) if iocb.offset > i64::MAX - 0x7fff_f000 => Answer::Open,
                (false, _) | (_, true) => Answer::Kept,
                (true, false) => ordinary(facts.file(iocb.fildes), String::new),
            }
        })
    ),
    rule!(
        "io_submit/EOVERFLOW/unsigned-offset",
        "of a file with unsigned offsets, aio_offset plus the length must not pass the last of them",
        "check the offset",
        |call, facts| transfer(call, |iocb| match facts.file(iocb.fildes).kind {
            Some(Kind::Character | Kind::Other) | None if iocb.offset < 0 => Answer::Open,
            _ => Answer::Kept,
        })
    ),
    rule!(
        Result,
        "io_submit/EINVAL/direct-memory",
        "direct I/O needs an aligned buffer",
        "allocate the buffer with the alignment of the device (`stx_dio_mem_align` of statx(2))",
        |call, facts| direct(call, facts, |iocb, file| {
            within_page(
                iocb.buf,
                iocb.nbytes,
                facts,
                misaligned(iocb.buf, file.memory_align, "the buffer"),
            )
        })
    ),
    rule!(
        Result,
        "io_submit/EINVAL/direct-length",
        "direct I/O needs an aligned length",
        "use multiples of the block size (`stx_dio_offset_align` of statx(2))",
        |call, facts| direct(call, facts, |iocb, file| misaligned(
            iocb.nbytes,
            file.offset_align,
            "the length"
        ))
    ),
    rule!(
        Result,
        "io_submit/EINVAL/direct-offset",
        "direct I/O needs an aligned offset",
        "use multiples of the block size (`stx_dio_offset_align` of statx(2))",
        |call, facts| direct(call, facts, |iocb, file| {
            misaligned(iocb.offset.unsigned_abs(), file.offset_align, "the offset")
        })
    ),
    rule!(
        Result,
        "io_submit/EINVAL/eventfd-length",
        "a read of an eventfd takes 8 bytes",
        "pass a buffer of 8 bytes",
        |call, facts| transfer(call, |iocb| match facts.file(iocb.fildes).kind {
            Some(Kind::Eventfd) if !iocb.is_vectored() => {
                Answer::of(iocb.is_read() && iocb.nbytes < 8, || format!("not {}", iocb.nbytes))
            }
            Some(Kind::Eventfd) | None => Answer::Open,
            Some(_) => Answer::Kept,
        })
    ),
    rule!(
        Result,
        "io_submit/EFAULT/buffer",
        "the buffer must be memory of the program",
        "keep the buffer until its event has been fetched",
        |call, _| first(call, |iocb| match iocb.memory {
            _ if !iocb.is_transfer() || iocb.is_vectored() || iocb.nbytes == 0 => Answer::Kept,
            // At the end of a file nothing is moved, and nothing looked at.
            _ => Answer::Open,
        })
    ),
    rule!(
        Result,
        "io_submit/EAGAIN/nowait",
        "RWF_NOWAIT and O_NONBLOCK give up where the command would have to wait",
        "submit it again without the flag, or from a thread",
        |call, facts| transfer(call, |iocb| {
            let regular = facts.file(iocb.fildes).kind == Some(Kind::Regular);
            if regular && iocb.rw_flags & RWF_NOWAIT == 0 { Answer::Kept } else { Answer::Open }
        })
    ),
    rule!(
        Result,
        "io_submit/ESPIPE/socket-offset",
        "a socket has no offsets: aio_offset must be 0",
        "set it to 0",
        |call, facts| transfer(call, |iocb| match facts.file(iocb.fildes).kind {
            Some(Kind::Socket) => Answer::of(iocb.offset != 0, String::new),
            Some(_) => Answer::Kept,
            None => Answer::Open,
        })
    ),
    rule!(
        "io_submit/ENOMEM/allocation",
        "the kernel must have memory for the command",
        "raise the memory limit of the container",
        |call, _| first(call, |_| Answer::Open)
    ),
];
