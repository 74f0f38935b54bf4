//! `io_submit(2)`: what the file has to do with it.

use crate::aio::{FDSYNC, FSYNC, PREADV, PWRITE, PWRITEV, read};
use crate::env::{Command, Env, Try, unavailable};
use crate::expect::Expect::{EventFails, EventGives, Fails};
use crate::expect::Observed;
use crate::memory::Address;
use crate::probes::Probe;
use crate::raw;

const fn p(
    statement: &'static str,
    case: &'static str,
    expect: crate::Expect,
    run: fn(&Env) -> Try,
) -> Probe {
    Probe::new(statement, case, expect, run)
}

/// Reads or writes another file.
fn on(env: &Env, fd: i32, opcode: u16, rw_flags: u32) -> Try {
    let mut command = Command { opcode, fd, rw_flags, ..read(env)? };
    if matches!(opcode, FSYNC | FDSYNC) {
        (command.buf, command.nbytes) = (Address::NULL, 0);
    }
    if matches!(opcode, PREADV | PWRITEV) {
        env.put_vector(0, env.buffer(), 512);
        (command.buf, command.nbytes) = (env.vectors(), 1);
    }
    env.submit(&command)
}

const NOWAIT: u32 = 8;
const NOAPPEND: u32 = 0x20;

/// `FS_IOC_SETFLAGS`, of machines with the common encoding, and the attribute.
const SET_FLAGS: u32 = 0x4008_6602;
const APPEND_ONLY: u32 = 0x20;

/// A write to a file that may only grow.
fn append_only(env: &Env, rw_flags: u32) -> Try {
    let fd = env.scratch(libc::O_WRONLY)?;
    let attribute = |value: u32| {
        env.memory.put_u32(env.argument(), value);
        raw::ioctl_flags(fd, SET_FLAGS, env.argument_address())
    };
    attribute(APPEND_ONLY).map_err(|errno| unavailable("the attribute", errno))?;
    let grown = env.scratch(libc::O_WRONLY | libc::O_APPEND);
    let result = grown.and_then(|grown| on(env, grown, PWRITE, rw_flags));
    // Without this the directory of the probes could not be removed.
    attribute(0).map_err(|errno| unavailable("clearing the attribute", errno))?;
    result
}

pub(crate) const PROBES: &[Probe] = &[
    p("io_submit/EBADF/not-readable", "a file open for writing", Fails("EBADF"), |env| {
        on(env, env.scratch(libc::O_WRONLY)?, 0, 0)
    }),
    p("io_submit/EBADF/not-readable", "a vectored read", Fails("EBADF"), |env| {
        on(env, env.scratch(libc::O_WRONLY)?, PREADV, 0)
    }),
    p("io_submit/EBADF/not-readable", "the write end of a pipe", Fails("EBADF"), |env| {
        on(env, env.pipe(0)?.1, 0, 0)
    }),
    p("io_submit/EBADF/not-writable", "a file open for reading", Fails("EBADF"), |env| {
        on(env, env.data()?, PWRITE, 0)
    }),
    p("io_submit/EBADF/not-writable", "a vectored write", Fails("EBADF"), |env| {
        on(env, env.data()?, PWRITEV, 0)
    }),
    p("io_submit/EBADF/not-writable", "the read end of a pipe", Fails("EBADF"), |env| {
        on(env, env.pipe(0)?.0, PWRITE, 0)
    }),
    p("io_submit/EBADF/not-writable", "a directory", Fails("EBADF"), |env| {
        on(env, env.open(".", libc::O_RDONLY | libc::O_DIRECTORY)?, PWRITE, 0)
    }),
    p("io_submit/EINVAL/no-read", "a directory", Fails("EINVAL"), |env| {
        on(env, env.open(".", libc::O_RDONLY | libc::O_DIRECTORY)?, 0, 0)
    }),
    p("io_submit/EINVAL/no-read", "epoll, read", Fails("EINVAL"), |env| {
        on(env, env.epoll()?, 0, 0)
    }),
    p("io_submit/EINVAL/no-write", "epoll, written", Fails("EINVAL"), |env| {
        on(env, env.epoll()?, PWRITE, 0)
    }),
    p("io_submit/EINVAL/no-write", "an eventfd, written", Fails("EINVAL"), |env| {
        on(env, env.eventfd()?, PWRITE, 0)
    }),
    p("io_submit/EINVAL/no-read", "the memory of a process", Fails("EINVAL"), |env| {
        on(env, env.open("/proc/self/mem", libc::O_RDONLY)?, 0, 0)
    }),
    p("io_submit/EINVAL/fsync-none", "a pipe", Fails("EINVAL"), |env| {
        on(env, env.pipe(0)?.0, FSYNC, 0)
    }),
    p("io_submit/EINVAL/fsync-none", "a socket", Fails("EINVAL"), |env| {
        on(env, env.sockets()?.0, FSYNC, 0)
    }),
    p("io_submit/EINVAL/fsync-none", "an eventfd", Fails("EINVAL"), |env| {
        on(env, env.eventfd()?, FSYNC, 0)
    }),
    p("io_submit/EINVAL/fsync-none", "epoll, data only", Fails("EINVAL"), |env| {
        on(env, env.epoll()?, FDSYNC, 0)
    }),
    p("io_submit/fsync", "a file open for reading", EventGives(0), |env| {
        on(env, env.data()?, FSYNC, 0)
    }),
    p("io_submit/fsync", "data only", EventGives(0), |env| {
        on(env, env.scratch(libc::O_RDWR)?, FDSYNC, 0)
    }),
    p("io_submit/fsync", "a file in memory", EventGives(0), |env| on(env, env.memfd()?, FSYNC, 0)),
    p("io_submit/EOPNOTSUPP/nowait", "epoll", Fails("EOPNOTSUPP"), |env| {
        on(env, env.epoll()?, 0, NOWAIT)
    }),
    p("io_submit/EOPNOTSUPP/nowait", "a file of proc", Fails("EOPNOTSUPP"), |env| {
        on(env, env.open("/proc/self/status", libc::O_RDONLY)?, 0, NOWAIT)
    }),
    p(
        "io_submit/EOPNOTSUPP/atomic-write",
        "RWF_ATOMIC of a file in memory",
        Fails("EOPNOTSUPP"),
        |env| on(env, env.memfd()?, PWRITE, 0x40),
    ),
    p(
        "io_submit/EOPNOTSUPP/dontcache",
        "RWF_DONTCACHE of a file in memory",
        Fails("EOPNOTSUPP"),
        |env| on(env, env.memfd()?, PWRITE, 0x80),
    ),
    p("io_submit/EOPNOTSUPP/atomic-write", "RWF_ATOMIC of a pipe", Fails("EOPNOTSUPP"), |env| {
        on(env, env.pipe(0)?.1, PWRITE, 0x40)
    }),
    p("io_submit/EPERM/noappend", "a file that may only grow", Fails("EPERM"), |env| {
        append_only(env, NOAPPEND)
    })
    .since(6, 9),
    p("io_submit/EPERM/noappend", "without the flag it grows", EventGives(512), |env| {
        append_only(env, 0)
    }),
    p("io_submit/EAGAIN/nowait-pipe", "an empty pipe", EventFails("EAGAIN"), |env| {
        on(env, env.pipe(0)?.0, 0, NOWAIT)
    })
    .since(6, 4),
    p("io_submit/EOPNOTSUPP/nowait-pipe", "an empty pipe", Fails("EOPNOTSUPP"), |env| {
        on(env, env.pipe(0)?.0, 0, NOWAIT)
    })
    .until(6, 4),
    p(
        "io_submit/EAGAIN/nonblocking-pipe",
        "an empty pipe with O_NONBLOCK",
        EventFails("EAGAIN"),
        |env| on(env, env.pipe(libc::O_NONBLOCK)?.0, 0, 0),
    ),
    p("io_submit/EAGAIN/nowait-socket", "an empty socket", EventFails("EAGAIN"), |env| {
        on(env, env.sockets()?.0, 0, NOWAIT)
    })
    .since(6, 5),
    p("io_submit/EOPNOTSUPP/nowait-socket", "an empty socket", Fails("EOPNOTSUPP"), |env| {
        on(env, env.sockets()?.0, 0, NOWAIT)
    })
    .until(6, 5),
    p("io_submit/EAGAIN/nonblocking-pipe", "an eventfd of 0", EventFails("EAGAIN"), |env| {
        on(env, env.eventfd()?, 0, 0)
    }),
    p("io_submit/EINVAL/eventfd-length", "7 bytes", EventFails("EINVAL"), |env| {
        env.submit(&Command { fd: env.eventfd()?, nbytes: 7, ..read(env)? })
    }),
    p("io_submit/ESPIPE/socket-offset", "a socket at offset 1", EventFails("ESPIPE"), |env| {
        let (socket, _) = env.sockets()?;
        env.submit(&Command { fd: socket, offset: 1, ..read(env)? })
    }),
    p(
        "io_submit/EINVAL/direct-memory",
        "a buffer at +1, over the end of a page",
        EventFails("EINVAL"),
        |env| {
            let (fd, ..) = env.direct()?;
            let buf = env.memory.at(env.page.saturating_mul(12).saturating_add(1));
            env.submit(&Command { fd, buf, nbytes: 65_536, ..read(env)? })
        },
    ),
    p("io_submit/EINVAL/direct-length", "a length of one byte", EventFails("EINVAL"), |env| {
        let (fd, _, _) = env.direct()?;
        env.submit(&Command { fd, nbytes: 1, ..read(env)? })
    }),
    p("io_submit/EINVAL/direct-offset", "an offset of 1", EventFails("EINVAL"), |env| {
        let (fd, _, offset) = env.direct()?;
        env.submit(&Command { fd, offset: 1, nbytes: u64::from(offset), ..read(env)? })
    }),
    p("io_submit/result-bytes", "an aligned read", EventGives(4096), |env| {
        let (fd, _, offset) = env.direct()?;
        if offset > 4096 {
            return Err(Observed::Unavailable("blocks of more than 4 KiB".to_owned()));
        }
        env.submit(&Command { fd, nbytes: 4096, ..read(env)? })
    }),
];
