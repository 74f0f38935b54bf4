//! `io_uring_enter(2)`: what completions of reads and writes say.

use crate::env::{Env, Try};
use crate::expect::Expect::{EventFails, EventGives, OneOf};
use crate::memory::Address;
use crate::probes::Probe;
use crate::queue::{Entry, run};

const fn p(
    statement: &'static str,
    case: &'static str,
    expect: crate::Expect,
    run: fn(&Env) -> Try,
) -> Probe {
    Probe::new(statement, case, expect, run)
}

const READ: u8 = 22;
const WRITE: u8 = 23;
const NOP: u8 = 0;

/// A read of 512 bytes of the data.
fn read(env: &Env) -> Try<Entry> {
    Ok(Entry {
        opcode: READ,
        fd: env.data()?,
        buffer: env.buffer(),
        length: 512,
        ..Entry::default()
    })
}

pub(crate) const PROBES: &[Probe] = &[
    p("io_uring_enter/EBADF/read", "a closed descriptor", EventFails("EBADF"), |env| {
        run(Entry { fd: 1_000_000, ..read(env)? })
    }),
    p("io_uring_enter/EBADF/read", "-1", EventFails("EBADF"), |env| {
        run(Entry { fd: -1, ..read(env)? })
    }),
    p("io_uring_enter/EBADF/not-readable", "a file open for writing", EventFails("EBADF"), |env| {
        run(Entry { fd: env.scratch(libc::O_WRONLY)?, ..read(env)? })
    }),
    p("io_uring_enter/EBADF/not-writable", "a file open for reading", EventFails("EBADF"), |env| {
        run(Entry { opcode: WRITE, ..read(env)? })
    }),
    p("io_uring_enter/ESPIPE/socket-offset", "offset 1", EventFails("ESPIPE"), |env| {
        let (fd, _) = env.sockets()?;
        run(Entry { fd, offset: 1, ..read(env)? })
    }),
    p("io_uring_enter/EINVAL/no-operation", "a file of namespaces", EventFails("EINVAL"), |env| {
        run(Entry { fd: env.open("/proc/self/ns/mnt", libc::O_RDONLY)?, ..read(env)? })
    }),
    p("io_uring_enter/EISDIR/read", "a directory", EventFails("EISDIR"), |env| {
        run(Entry { fd: env.open(".", libc::O_RDONLY | libc::O_DIRECTORY)?, ..read(env)? })
    }),
    p("io_uring_enter/EINVAL/direct-length", "one byte", EventFails("EINVAL"), |env| {
        let (fd, _, _) = env.direct()?;
        run(Entry { fd, length: 1, ..read(env)? })
    }),
    p("io_uring_enter/EINVAL/direct-offset", "an offset of 1", EventFails("EINVAL"), |env| {
        let (fd, _, _) = env.direct()?;
        run(Entry { fd, offset: 1, length: 4096, ..read(env)? })
    }),
    p(
        "io_uring_enter/EINVAL/direct-memory",
        "a buffer at +1, over the end of a page",
        EventFails("EINVAL"),
        |env| {
            let (fd, _, _) = env.direct()?;
            let buffer = env.memory.at(env.page.saturating_mul(12).saturating_add(1));
            run(Entry { fd, buffer, length: 65_536, ..read(env)? })
        },
    ),
    p("io_uring_enter/EOPNOTSUPP/rw-flags", "bit 31", OneOf(FLAGS), |env| {
        run(Entry { rw_flags: 1 << 31, ..read(env)? })
    }),
    p(
        "io_uring_enter/EAGAIN/nowait",
        "an empty pipe with RWF_NOWAIT",
        EventFails("EAGAIN"),
        |env| run(Entry { fd: env.pipe(0)?.0, rw_flags: 8, ..read(env)? }),
    )
    .since(6, 4),
    p(
        "io_uring_enter/EOPNOTSUPP/nowait-pipe",
        "an empty pipe with RWF_NOWAIT",
        EventFails("EOPNOTSUPP"),
        |env| run(Entry { fd: env.pipe(0)?.0, rw_flags: 8, ..read(env)? }),
    )
    .until(6, 4),
    p("io_uring_enter/EFAULT/read", "memory that cannot be touched", EventFails("EFAULT"), |env| {
        run(Entry { buffer: env.memory.forbidden(), ..read(env)? })
    }),
    p("io_uring_enter/EFAULT/read", "read-only memory", EventFails("EFAULT"), |env| {
        run(Entry { buffer: env.memory.read_only(), ..read(env)? })
    }),
    p("io_uring_enter/EFAULT/read", "an address of the kernel", EventFails("EFAULT"), |env| {
        run(Entry { buffer: Address::KERNEL, ..read(env)? })
    }),
    p("io_uring_enter/result-bytes", "a read", EventGives(512), |env| run(read(env)?)),
    p("io_uring_enter/result-bytes", "a write", EventGives(512), |env| {
        run(Entry { opcode: WRITE, fd: env.scratch(libc::O_RDWR)?, ..read(env)? })
    }),
    p("io_uring_enter/read-at-end", "at the end of the file", EventGives(0), |env| {
        run(Entry { offset: 65_536, ..read(env)? })
    }),
    p("io_uring_enter/nop", "nothing at all", EventGives(0), |env| {
        run(Entry { opcode: NOP, fd: -1, buffer: Address::NULL, length: 0, ..read(env)? })
    }),
    p(
        "io_uring_enter/EINVAL/opcode",
        "an operation that does not exist",
        EventFails("EINVAL"),
        |env| run(Entry { opcode: 200, ..read(env)? }),
    ),
];

const FLAGS: &[crate::Expect] = &[EventFails("EOPNOTSUPP"), EventFails("EINVAL")];
