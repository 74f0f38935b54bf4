//! Linux AIO, `fs/aio.c` of the kernel by its behaviour.

use super::call::{Call, IoCancel, IoGetevents, IoSetup, IoSubmit, Iocb, Memory};
use super::facts::{Facts, File, Kind};
use super::{Answer, Place, Rule};

const PREAD: u16 = 0;
const PWRITE: u16 = 1;
const FSYNC: u16 = 2;
const FDSYNC: u16 = 3;
const POLL: u16 = 5;
const PREADV: u16 = 7;
const PWRITEV: u16 = 8;

const FLAG_RESFD: u32 = 1;
const FLAG_IOPRIO: u32 = 2;

const RWF_NOWAIT: u32 = 8;
const RWF_APPEND: u32 = 0x10;
const RWF_NOAPPEND: u32 = 0x20;
const RWF_ATOMIC: u32 = 0x40;

/// What one `read(2)` moves at most, with pages of 4 KiB.
const MAX_TRANSFER: u64 = 0x7fff_f000;

/// A rule that shows as the result of the call.
macro_rules! rule {
    ($statement:literal, $text:literal, $fix:literal, $test:expr) => {
        rule!(Return, $statement, $text, $fix, $test)
    };
    ($place:ident, $statement:literal, $text:literal, $fix:literal, $test:expr) => {
        Rule {
            id: $statement,
            errno: $crate::rules::errno_of($statement),
            place: Place::$place,
            text: $text,
            fix: $fix,
            test: $test,
        }
    };
}
pub(super) use rule;

fn setup(call: &Call) -> Option<&IoSetup> {
    match call {
        Call::IoSetup(setup) => Some(setup),
        _ => None,
    }
}

fn of_setup(call: &Call, test: impl FnOnce(&IoSetup) -> Answer) -> Answer {
    setup(call).map_or(Answer::Open, test)
}

/// Whether the kernel fails to read there.
pub(super) fn unreadable(memory: Memory) -> Answer {
    match memory {
        Memory::Writable | Memory::ReadOnly => Answer::Kept,
        Memory::Unmapped => Answer::Broken(String::new()),
        Memory::Unknown => Answer::Open,
    }
}

/// Whether the kernel fails to write there.
pub(super) fn unwritable(memory: Memory) -> Answer {
    match memory {
        Memory::Writable => Answer::Kept,
        Memory::ReadOnly => Answer::Broken("it is read-only".to_owned()),
        Memory::Unmapped => Answer::Broken(String::new()),
        Memory::Unknown => Answer::Open,
    }
}

pub(super) const SETUP: &[Rule] = &[
    rule!(
        "io_setup/EFAULT/ctxp",
        "the address for the context must be memory of the program",
        "pass the address of an `aio_context_t`",
        |call, _| of_setup(call, |setup| unreadable(setup.result.memory))
    ),
    rule!(
        "io_setup/EINVAL/ctx-not-zero",
        "the `aio_context_t` must be 0 before the call",
        "set it to 0, and make each context in a variable of its own",
        |call, _| of_setup(call, |setup| Answer::of(setup.value != 0, || format!(
            "it is {:#x}",
            setup.value
        )))
    ),
    rule!(
        "io_setup/EINVAL/nr-zero",
        "nr_events must be at least 1",
        "ask for as many as shall be in flight at a time",
        |call, _| of_setup(call, |setup| Answer::of(setup.nr_events == 0, String::new))
    ),
    rule!(
        "io_setup/EINVAL/nr-too-many",
        "nr_events must be at most 4,194,304",
        "ask for fewer, or make several contexts",
        too_many_events
    ),
    rule!(
        "io_setup/EAGAIN/aio-max-nr",
        "nr_events must be within fs.aio-max-nr",
        "raise the limit on the host (`sysctl fs.aio-max-nr=1048576`) or ask for fewer",
        |call, facts| of_setup(call, |setup| {
            let over = facts.aio_max_nr.map(|limit| u64::from(setup.nr_events) > limit);
            Answer::known(over, || {
                let limit = facts.aio_max_nr.unwrap_or_default();
                format!("{} are asked for and the limit is {limit}", setup.nr_events)
            })
        })
    ),
    rule!(
        "io_setup/ENOMEM/ring",
        "there must be memory for the ring of events, and address space to map it",
        "raise RLIMIT_AS or the memory limit of the container, or ask for fewer",
        |_, _| Answer::Open
    ),
    rule!(
        "io_setup/EAGAIN/aio-nr",
        "what all contexts of the machine have must stay within fs.aio-max-nr",
        "raise the limit on the host (`sysctl fs.aio-max-nr=1048576`), or destroy contexts that are not needed",
        no_share_left
    ),
    rule!(
        "io_setup/EFAULT/ctxp-read-only",
        "the address for the context must be writable",
        "pass the address of an `aio_context_t`",
        |call, _| of_setup(call, |setup| unwritable(setup.result.memory))
    ),
];

/// The kernel doubles the number, in 32 bits, after raising it to four for each CPU.
fn too_many_events(call: &Call, facts: &Facts) -> Answer {
    of_setup(call, |setup| {
        let cpus = facts.cpus.unwrap_or(1);
        let ring = setup.nr_events.max(cpus.saturating_mul(4)).wrapping_mul(2);
        Answer::of(ring > 8_388_608, || format!("not {}", setup.nr_events))
    })
}

fn no_share_left(call: &Call, facts: &Facts) -> Answer {
    of_setup(call, |setup| {
        let (Some(limit), Some(used)) = (facts.aio_max_nr, facts.aio_nr) else {
            return Answer::Open;
        };
        // Others make and destroy contexts all the time.
        let asked = u64::from(setup.nr_events);
        if used.saturating_add(asked) <= limit {
            return Answer::Open;
        }
        Answer::Broken(format!("{used} of {limit} are taken and {asked} are asked for"))
    })
}

fn dead(_: &Call, facts: &Facts) -> Answer {
    Answer::known(facts.context.alive.map(|alive| !alive), String::new)
}

pub(super) const DESTROY: &[Rule] = &[rule!(
    "io_destroy/EINVAL/ctx",
    "the context must be one of this process that has not been destroyed",
    "destroy each context once, in the process that made it",
    dead
)];

fn submit(call: &Call) -> Option<&IoSubmit> {
    match call {
        Call::IoSubmit(submit) => Some(submit),
        _ => None,
    }
}

/// A rule about the first command. Without any commands there is nothing to break.
fn first(call: &Call, test: impl FnOnce(&Iocb) -> Answer) -> Answer {
    let Some(submit) = submit(call) else { return Answer::Open };
    if submit.nr <= 0 {
        return Answer::Kept;
    }
    submit.iocbs.first().map_or(Answer::Open, test)
}

/// A rule about reads and writes alone.
fn transfer(call: &Call, test: impl FnOnce(&Iocb) -> Answer) -> Answer {
    first(call, |iocb| if iocb.is_transfer() { test(iocb) } else { Answer::Kept })
}

impl Iocb {
    fn is_read(&self) -> bool {
        matches!(self.opcode, PREAD | PREADV)
    }

    fn is_write(&self) -> bool {
        matches!(self.opcode, PWRITE | PWRITEV)
    }

    fn is_transfer(&self) -> bool {
        self.is_read() || self.is_write()
    }

    fn is_vectored(&self) -> bool {
        matches!(self.opcode, PREADV | PWRITEV)
    }

    fn is_sync(&self) -> bool {
        matches!(self.opcode, FSYNC | FDSYNC)
    }

    /// How many buffers a vectored command has: the kernel looks at 32 bits of the number.
    fn segments(&self) -> u64 {
        self.nbytes & 0xffff_ffff
    }
}

pub(super) const SUBMIT: &[Rule] = &[
    rule!(
        "io_submit/EINVAL/nr-negative",
        "nr must not be negative",
        "pass the number of pointers in the array",
        |call, _| submit(call).map_or(Answer::Open, |submit| Answer::of(submit.nr < 0, || format!(
            "not {}",
            submit.nr
        )))
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
            within_page(iocb.buf, iocb.nbytes, facts, misaligned(iocb.buf, file.memory_align, "the buffer"))
        })
    ),
    rule!(
        Result,
        "io_submit/EINVAL/direct-length",
        "direct I/O needs an aligned length",
        "use multiples of the block size (`stx_dio_offset_align` of statx(2))",
        |call, facts| direct(call, facts, |iocb, file| misaligned(iocb.nbytes, file.offset_align, "the length"))
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
        "RWF_NOWAIT gives up where the command would have to wait",
        "submit it again without the flag, or from a thread",
        |call, _| transfer(call, |iocb| if iocb.rw_flags & RWF_NOWAIT == 0 {
            Answer::Kept
        } else {
            Answer::Open
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

fn resfd(call: &Call, facts: &Facts, test: impl FnOnce(File, u32) -> Answer) -> Answer {
    first(call, |iocb| {
        if iocb.flags & FLAG_RESFD == 0 {
            return Answer::Kept;
        }
        test(facts.file(iocb.resfd), iocb.resfd)
    })
}

/// A rule about the class and the level of a priority.
fn ioprio(call: &Call, test: impl FnOnce(u16, u16) -> Answer) -> Answer {
    transfer(call, |iocb| {
        if iocb.flags & FLAG_IOPRIO == 0 {
            return Answer::Kept;
        }
        let [low, high] = iocb.reqprio.to_le_bytes();
        let bits = u16::from_le_bytes([low, high]);
        test(bits >> 13, bits & 0x1fff)
    })
}

fn unknown_flags(call: &Call, facts: &Facts) -> Answer {
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
        if strange & 0xffff_0000 != 0 || (strange != 0 && facts.kernel.is_some_and(|k| k < (6, 9))) {
            return Answer::Broken(format!("{strange:#x} is not known"));
        }
        if strange == 0 { Answer::Kept } else { Answer::Open }
    })
}

fn unsyncable(call: &Call, facts: &Facts) -> Answer {
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

fn without_operation(iocb: &Iocb, file: &File) -> Answer {
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
fn ordinary(file: File, found: impl FnOnce() -> String) -> Answer {
    match file.kind {
        Some(Kind::Regular | Kind::Directory | Kind::Pipe | Kind::Socket | Kind::Block) => {
            Answer::Broken(found())
        }
        _ => Answer::Open,
    }
}

/// The upper half of the addresses is the kernel's on all machines with 64 bits.
fn beyond_programs(call: &Call, _: &Facts) -> Answer {
    transfer(call, |iocb| {
        if iocb.is_vectored() {
            return Answer::Open;
        }
        let end = iocb.buf.checked_add(iocb.nbytes.min(MAX_TRANSFER));
        Answer::of(end.is_none_or(|end| end > 1 << 63), || format!("not at {:#x}", iocb.buf))
    })
}

/// A rule about reads and writes with `O_DIRECT` that are not vectored.
fn direct(call: &Call, facts: &Facts, test: impl FnOnce(&Iocb, &File) -> Answer) -> Answer {
    transfer(call, |iocb| {
        let file = facts.file(iocb.fildes);
        match file.direct {
            Some(false) => Answer::Kept,
            None => Answer::Open,
            Some(true) if iocb.is_vectored() => Answer::Open,
            Some(true) => test(iocb, &file),
        }
    })
}

/// Whether `value` is no multiple of `align`. A file system may answer misaligned I/O from its cache instead.
pub(super) fn misaligned(value: u64, align: Option<u32>, what: &str) -> Answer {
    match align.map(u64::from) {
        None | Some(0) => Answer::Open,
        Some(align) if value.is_multiple_of(align) => Answer::Kept,
        Some(align) => {
            let rest = value % align;
            Answer::Broken(format!("of {align} bytes, and {what} is at +{rest}"))
        }
    }
}

/// Inside of one page, kernels since about 6.18 take any address: there an answer of "broken" is left open.
pub(super) fn within_page(address: u64, length: u64, facts: &Facts, answer: Answer) -> Answer {
    let page = facts.page_size.unwrap_or(4096).max(1);
    let inside = (address % page).saturating_add(length) <= page;
    if inside && matches!(answer, Answer::Broken(_)) { Answer::Open } else { answer }
}

/// A descriptor as a program thinks of it.
fn signed(fd: u32) -> i32 {
    i32::from_ne_bytes(fd.to_ne_bytes())
}

fn getevents(call: &Call, test: impl FnOnce(&IoGetevents) -> Answer) -> Answer {
    match call {
        Call::IoGetevents(getevents) => test(getevents),
        _ => Answer::Open,
    }
}

pub(super) const GETEVENTS: &[Rule] = &[
    rule!(
        "io_getevents/EFAULT/timeout",
        "the time limit must be memory of the program, or null",
        "pass the address of a timespec",
        |call, _| getevents(call, |call| if call.timeout.is_null() {
            Answer::Kept
        } else {
            unreadable(call.timeout.memory)
        })
    ),
    rule!(
        "io_getevents/EINVAL/ctx",
        "the context must be one of this process that has not been destroyed",
        "a forked child makes contexts of its own",
        dead
    ),
    rule!(
        "io_getevents/EINVAL/min-negative",
        "min_nr must not be negative",
        "pass 0 to fetch without waiting",
        |call, _| getevents(call, |call| Answer::of(call.min_nr < 0, || format!(
            "not {}",
            call.min_nr
        )))
    ),
    rule!(
        "io_getevents/EINVAL/min-above-nr",
        "min_nr must be at most nr",
        "wait for no more events than there is room for",
        |call, _| getevents(call, |call| Answer::of(call.min_nr > call.nr, || format!(
            "not {} of {}",
            call.min_nr, call.nr
        )))
    ),
    rule!(
        "io_getevents/EFAULT/events",
        "the array of events must be writable memory of the program",
        "pass the address of an array of nr events; the events stay and can be fetched",
        |call, facts| getevents(call, |call| {
            if call.nr == 0 || facts.context.ready == Some(0) {
                return Answer::Kept;
            }
            match facts.context.ready {
                Some(_) => unwritable(call.events.memory),
                None => Answer::Open,
            }
        })
    ),
    rule!(
        "io_getevents/EINTR/signal",
        "a signal ends the wait before the first event",
        "call again with what is left of the time",
        |call, facts| getevents(call, |call| {
            let waits = call.min_nr > 0 && facts.context.ready.is_none_or(|ready| ready == 0);
            if waits { Answer::Open } else { Answer::Kept }
        })
    ),
];

fn cancel(call: &Call, test: impl FnOnce(&IoCancel) -> Answer) -> Answer {
    match call {
        Call::IoCancel(cancel) => test(cancel),
        _ => Answer::Open,
    }
}

pub(super) const CANCEL: &[Rule] = &[
    rule!(
        "io_cancel/EFAULT/iocb",
        "the iocb must be memory of the program",
        "keep the structure where it was submitted until its event has been fetched",
        |call, _| cancel(call, |call| unreadable(call.place.memory))
    ),
    rule!(
        "io_cancel/EINVAL/key",
        "aio_key must be what the kernel wrote there, 0",
        "do not change the structure while its command is in flight",
        |call, _| cancel(call, |call| Answer::of(call.key != 0, || format!("not {}", call.key)))
    ),
    rule!(
        "io_cancel/EINVAL/ctx",
        "the context must be one of this process that has not been destroyed",
        "cancel in the context that has the command",
        dead
    ),
    rule!(
        "io_cancel/EINVAL/not-found",
        "the command must be in flight and one that can be cancelled",
        "only polls can be cancelled; wait for the event of everything else",
        |call, _| cancel(call, |call| Answer::known(
            call.waiting.map(|waiting| !waiting),
            String::new
        ))
    ),
];
