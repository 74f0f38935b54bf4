//! `io_submit(2)`: what is wrong with the call or with the structure.

use crate::aio::{
    FDSYNC, FSYNC, IOPRIO, PREADV, PWRITE, RESFD, in_fork, read, returned, waiting_poll,
};
use crate::env::{Command, Env, Try, seen};
use crate::expect::Expect::{EventGives, Fails, Gives, Seen};
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

/// Submits from this array of pointers.
fn from(env: &Env, nr: i64, array: Address) -> Try {
    let context = env.context(8)?;
    returned(raw::io_submit(context, nr, array))
}

/// Submits a read whose structure is at this address.
fn placed(env: &Env, place: Address) -> Try {
    env.put(0, &read(env)?);
    env.put_pointer(0, place);
    from(env, 1, env.pointers(0))
}

/// Submits a read, changed.
fn changed(env: &Env, change: impl FnOnce(&mut Command)) -> Try {
    let mut command = read(env)?;
    change(&mut command);
    env.submit(&command)
}

/// Submits a sync of a file, changed.
fn sync(env: &Env, opcode: u16, change: impl FnOnce(&mut Command)) -> Try {
    let mut command = Command { opcode, fd: env.data()?, ..Command::default() };
    change(&mut command);
    env.submit(&command)
}

/// Submits a poll, changed.
fn polled(env: &Env, change: impl FnOnce(&mut Command)) -> Try {
    let (mut command, _, _) = waiting_poll(env)?;
    change(&mut command);
    env.submit(&command)
}

/// With a priority of this class and level.
fn priority(env: &Env, class: u16, level: u16) -> Try {
    let [low, high] = (class << 13 | level).to_le_bytes();
    changed(env, |command| {
        command.flags = IOPRIO;
        command.reqprio = i16::from_le_bytes([low, high]);
    })
}

/// Fills a context with polls until one is refused: how many went in, and how it ended.
fn fill(env: &Env, context: u64) -> Try<(u32, raw::Outcome)> {
    let (poll, _, _) = waiting_poll(env)?;
    env.put(0, &poll);
    for count in 0..100_000 {
        let outcome = raw::io_submit(context, 1, env.pointers(0));
        if outcome != Ok(1) {
            return Ok((count, outcome));
        }
    }
    Err(Observed::Unavailable("100,000 polls do not fill the context".to_owned()))
}

pub(crate) const CALL: &[Probe] = &[
    p("io_submit/EINVAL/nr-negative", "-1", Fails("EINVAL"), |env| from(env, -1, env.pointers(0))),
    p("io_submit/EINVAL/nr-negative", "the least number", Fails("EINVAL"), |env| {
        from(env, i64::MIN, env.pointers(0))
    }),
    p("io_submit/EINVAL/nr-negative", "with a null array", Fails("EINVAL"), |env| {
        from(env, -1, Address::NULL)
    }),
    p("io_submit/nr-zero", "nr is 0", Gives(0), |env| from(env, 0, env.pointers(0))),
    p("io_submit/nr-zero", "nr is 0 and the array null", Gives(0), |env| {
        from(env, 0, Address::NULL)
    }),
    p("io_submit/EINVAL/context-zero", "the context 0", Fails("EINVAL"), |env| {
        returned(raw::io_submit(0, 1, env.pointers(0)))
    }),
    p("io_submit/nr-zero-no-context", "the context 0, with nr 0", Fails("EINVAL"), |_| {
        returned(raw::io_submit(0, 0, Address::NULL))
    }),
    p("io_submit/EINVAL/context-unmapped", "all bits", Fails("EINVAL"), |env| {
        returned(raw::io_submit(u64::MAX, 1, env.pointers(0)))
    }),
    p("io_submit/EINVAL/context-foreign", "memory of zeros", Fails("EINVAL"), |env| {
        returned(raw::io_submit(env.buffer().get(), 1, env.pointers(0)))
    }),
    p(
        "io_submit/EINVAL/context-destroyed",
        "a context that was destroyed",
        Fails("EINVAL"),
        |env| {
            let context = env.context(1)?;
            let _ = raw::io_destroy(context);
            returned(raw::io_submit(context, 1, env.pointers(0)))
        },
    ),
    p(
        "io_submit/EINVAL/forked-child",
        "the parent's context, in a child",
        Fails("EINVAL"),
        |env| {
            let context = env.context(1)?;
            env.put(0, &read(env)?);
            in_fork(|| Observed::Returned(raw::io_submit(context, 1, Address::LAST)))
        },
    ),
    p("io_submit/EFAULT/array", "a null array", Fails("EFAULT"), |env| from(env, 1, Address::NULL)),
    p("io_submit/EFAULT/array", "memory that cannot be touched", Fails("EFAULT"), |env| {
        from(env, 1, env.memory.forbidden())
    }),
    p("io_submit/EFAULT/array", "an address of the kernel", Fails("EFAULT"), |env| {
        from(env, 1, Address::KERNEL)
    }),
    p("io_submit/EFAULT/iocb", "a null pointer in the array", Fails("EFAULT"), |env| {
        placed(env, Address::NULL)
    }),
    p("io_submit/EFAULT/iocb", "memory that cannot be touched", Fails("EFAULT"), |env| {
        placed(env, env.memory.forbidden())
    }),
    p("io_submit/EFAULT/iocb", "an address of the kernel", Fails("EFAULT"), |env| {
        placed(env, Address::KERNEL)
    }),
    p("io_submit/EFAULT/key", "the structure is in read-only memory", Fails("EFAULT"), |env| {
        // It is zeros there: a read from descriptor 0, which has to be open.
        let spare = env.data()?;
        if spare != 0 && raw::fstat(0, env.argument_address()).is_err() {
            return Err(Observed::Unavailable("descriptor 0 is not open".to_owned()));
        }
        placed(env, env.memory.read_only())
    }),
    p("io_submit/key-written", "aio_key is 77 before", Seen, |env| {
        let context = env.context(1)?;
        env.put(0, &Command { key: 77, ..read(env)? });
        let result = raw::io_submit(context, 1, env.pointers(0));
        let key = env.key_of(0);
        seen(result == Ok(1) && key == 0, format!("{result:?}, and it is {key} afterwards"))
    }),
    p("io_submit/EAGAIN/no-slot", "polls until the context is full", Fails("EAGAIN"), |env| {
        let context = env.context(4)?;
        fill(env, context).map(|(_, outcome)| Observed::Returned(outcome))
    }),
    p("io_setup/room", "as many as were asked for go in", Seen, |env| {
        let context = env.context(100)?;
        let (count, _) = fill(env, context)?;
        seen(count >= 100, format!("{count} of 100"))
    }),
    p("io_getevents/frees-slots", "fetching an event makes room", Gives(1), |env| {
        let context = env.context(4)?;
        let (mut poll, _, writer) = waiting_poll(env)?;
        // One that ends at once; then as many as fit.
        raw::write(writer, env.buffer(), 1).map_err(|e| Observed::Unavailable(format!("{e}")))?;
        poll.buf = Address::low(1);
        env.put(0, &poll);
        let first = raw::io_submit(context, 1, env.pointers(0));
        if first != Ok(1) {
            return returned(first);
        }
        let _ = fill(env, context)?;
        let fetched = env.fetch(context);
        if !matches!(fetched, Observed::Event(_)) {
            return Ok(fetched);
        }
        returned(raw::io_submit(context, 1, env.pointers(0)))
    }),
    p("io_submit/partial", "the second of three is wrong", Gives(1), |env| {
        env.put(0, &read(env)?);
        env.put(1, &Command { opcode: 99, ..read(env)? });
        env.put(2, &read(env)?);
        from(env, 3, env.pointers(0))
    }),
    p("io_submit/only-what-is-reached", "the second pointer is null", Gives(1), |env| {
        env.put(0, &read(env)?);
        env.put_pointer(1, Address::NULL);
        from(env, 2, env.pointers(0))
    }),
    p("io_submit/return", "all of three are right", Gives(3), |env| {
        for index in 0..3 {
            env.put(index, &read(env)?);
        }
        from(env, 3, env.pointers(0))
    }),
    p("io_submit/return", "the first is wrong, the second right", Fails("EINVAL"), |env| {
        env.put(0, &Command { opcode: 99, ..read(env)? });
        env.put(1, &read(env)?);
        from(env, 2, env.pointers(0))
    }),
    p(
        "io_submit/partial-then-error",
        "what was refused shows as the first",
        Fails("EBADF"),
        |env| {
            let context = env.context(8)?;
            env.put(0, &read(env)?);
            env.put(1, &Command { fd: -1, ..read(env)? });
            let first = raw::io_submit(context, 2, env.pointers(0));
            if first != Ok(1) {
                return returned(first);
            }
            returned(raw::io_submit(context, 1, env.pointers(1)))
        },
    ),
];

pub(crate) const FIELDS: &[Probe] = &[
    p("io_submit/EINVAL/reserved2", "1", Fails("EINVAL"), |env| changed(env, |c| c.reserved2 = 1)),
    p("io_submit/EINVAL/reserved2", "all bits", Fails("EINVAL"), |env| {
        changed(env, |c| c.reserved2 = u64::MAX)
    }),
    p("io_submit/EINVAL/reserved2", "is seen before a closed descriptor", Fails("EINVAL"), |env| {
        changed(env, |c| (c.reserved2, c.fd) = (1, -1))
    }),
    p("io_submit/EINVAL/nbytes-overflow", "the sign bit", Fails("EINVAL"), |env| {
        changed(env, |c| c.nbytes = 1 << 63)
    }),
    p("io_submit/EINVAL/nbytes-overflow", "all bits", Fails("EINVAL"), |env| {
        changed(env, |c| c.nbytes = u64::MAX)
    }),
    p(
        "io_submit/EINVAL/nbytes-overflow",
        "is seen before a closed descriptor",
        Fails("EINVAL"),
        |env| changed(env, |c| (c.nbytes, c.fd) = (u64::MAX, -1)),
    ),
    p("io_submit/EBADF/not-open", "-1", Fails("EBADF"), |env| changed(env, |c| c.fd = -1)),
    p("io_submit/EBADF/not-open", "a closed descriptor", Fails("EBADF"), |env| {
        let command = read(env)?;
        let _ = raw::close(command.fd);
        env.submit(&command)
    }),
    p("io_submit/EBADF/not-open", "2,147,483,647", Fails("EBADF"), |env| {
        changed(env, |c| c.fd = i32::MAX)
    }),
    p("io_submit/EBADF/path-only", "one that is open for its path only", Fails("EBADF"), |env| {
        let path = env.open("data", libc::O_PATH)?;
        changed(env, |c| c.fd = path)
    }),
    p("io_submit/EBADF/not-open", "is seen before an unknown command", Fails("EBADF"), |env| {
        changed(env, |c| (c.fd, c.opcode) = (-1, 99))
    }),
    p("io_submit/EBADF/not-open", "of a sync", Fails("EBADF"), |env| {
        sync(env, FSYNC, |c| c.fd = -1)
    }),
    p("io_submit/EBADF/not-open", "of a poll", Fails("EBADF"), |env| polled(env, |c| c.fd = -1)),
    p("io_submit/EBADF/resfd", "-1", Fails("EBADF"), |env| {
        changed(env, |c| (c.flags, c.resfd) = (RESFD, -1))
    }),
    p("io_submit/EBADF/resfd", "a closed descriptor", Fails("EBADF"), |env| {
        let command = read(env)?;
        let resfd = env.closed()?;
        env.submit(&Command { flags: RESFD, resfd, ..command })
    }),
    p("io_submit/unused-fields", "an eventfd without its flag", EventGives(512), |env| {
        changed(env, |c| c.resfd = -1)
    }),
    p("io_submit/EINVAL/resfd-not-eventfd", "a regular file", Fails("EINVAL"), |env| {
        let fd = env.data()?;
        changed(env, |c| (c.flags, c.resfd) = (RESFD, fd))
    }),
    p("io_submit/EINVAL/resfd-not-eventfd", "a pipe", Fails("EINVAL"), |env| {
        let (_, writer) = env.pipe(0)?;
        changed(env, |c| (c.flags, c.resfd) = (RESFD, writer))
    }),
    p("io_submit/EBADF/resfd", "is seen before an unknown command", Fails("EBADF"), |env| {
        changed(env, |c| (c.flags, c.resfd, c.opcode) = (RESFD, -1, 99))
    }),
    p("io_submit/EINVAL/preadx", "4, once PREADX", Fails("EINVAL"), |env| {
        changed(env, |c| c.opcode = 4)
    }),
    p("io_submit/EINVAL/noop", "6, NOOP", Fails("EINVAL"), |env| changed(env, |c| c.opcode = 6)),
    p("io_submit/EINVAL/opcode", "9, after the last", Fails("EINVAL"), |env| {
        changed(env, |c| c.opcode = 9)
    }),
    p("io_submit/EINVAL/opcode", "all bits", Fails("EINVAL"), |env| {
        changed(env, |c| c.opcode = u16::MAX)
    }),
    p("io_submit/EINVAL/fsync-buffer", "a buffer", Fails("EINVAL"), |env| {
        sync(env, FSYNC, |c| c.buf = Address::low(1))
    }),
    p("io_submit/EINVAL/fsync-length", "a length", Fails("EINVAL"), |env| {
        sync(env, FSYNC, |c| c.nbytes = 1)
    }),
    p("io_submit/EINVAL/fsync-offset", "an offset", Fails("EINVAL"), |env| {
        sync(env, FSYNC, |c| c.offset = 1)
    }),
    p("io_submit/EINVAL/fsync-rw-flags", "flags", Fails("EINVAL"), |env| {
        sync(env, FSYNC, |c| c.rw_flags = 2)
    }),
    p("io_submit/EINVAL/fsync-buffer", "a buffer, data only", Fails("EINVAL"), |env| {
        sync(env, FDSYNC, |c| c.buf = Address::low(1))
    }),
    p("io_submit/EINVAL/fsync-length", "a length, data only", Fails("EINVAL"), |env| {
        sync(env, FDSYNC, |c| c.nbytes = 1)
    }),
    p("io_submit/EINVAL/fsync-offset", "an offset, data only", Fails("EINVAL"), |env| {
        sync(env, FDSYNC, |c| c.offset = 1)
    }),
    p("io_submit/EINVAL/fsync-rw-flags", "flags, data only", Fails("EINVAL"), |env| {
        sync(env, FDSYNC, |c| c.rw_flags = 2)
    }),
    p("io_submit/EINVAL/poll-events", "bit 16", Fails("EINVAL"), |env| {
        polled(env, |c| c.buf = env.buffer())
    }),
    p("io_submit/EINVAL/poll-length", "a length", Fails("EINVAL"), |env| {
        polled(env, |c| c.nbytes = 1)
    }),
    p("io_submit/EINVAL/poll-offset", "an offset", Fails("EINVAL"), |env| {
        polled(env, |c| c.offset = 1)
    }),
    p("io_submit/EINVAL/poll-rw-flags", "flags", Fails("EINVAL"), |env| {
        polled(env, |c| c.rw_flags = 1)
    }),
    p("io_submit/EPERM/ioprio-realtime", "without privileges", Fails("EPERM"), |env| {
        let command = Command { flags: IOPRIO, reqprio: 1 << 13, ..read(env)? };
        env.drop_privileges()?;
        env.submit(&command)
    }),
    p("io_submit/unused-fields", "a priority without its flag", EventGives(512), |env| {
        let command = Command { reqprio: 1 << 13, ..read(env)? };
        env.drop_privileges()?;
        env.submit(&command)
    }),
    p(
        "io_submit/EPERM/ioprio-realtime",
        "best effort needs no privilege",
        EventGives(512),
        |env| {
            let command = Command { flags: IOPRIO, reqprio: 2 << 13 | 4, ..read(env)? };
            env.drop_privileges()?;
            env.submit(&command)
        },
    ),
    p("io_submit/EINVAL/ioprio-class", "class 4", Fails("EINVAL"), |env| priority(env, 4, 0)),
    p("io_submit/EINVAL/ioprio-class", "class 7", Fails("EINVAL"), |env| priority(env, 7, 0)),
    p("io_submit/EINVAL/ioprio-class", "no class, with a level", Fails("EINVAL"), |env| {
        priority(env, 0, 1)
    }),
    p("io_submit/EINVAL/ioprio-class", "no class and no level are right", EventGives(512), |env| {
        priority(env, 0, 0)
    }),
    p("io_submit/EINVAL/ioprio-class", "idle is right", EventGives(512), |env| priority(env, 3, 0)),
    p("io_submit/EOPNOTSUPP/rw-flags", "bit 31", Fails("EOPNOTSUPP"), |env| {
        changed(env, |c| c.rw_flags = 1 << 31)
    }),
    p("io_submit/EOPNOTSUPP/rw-flags", "bit 16", Fails("EOPNOTSUPP"), |env| {
        changed(env, |c| c.rw_flags = 1 << 16)
    }),
    p("io_submit/EOPNOTSUPP/rw-flags", "all bits", Fails("EOPNOTSUPP"), |env| {
        changed(env, |c| c.rw_flags = u32::MAX)
    }),
    p(
        "io_submit/EOPNOTSUPP/rw-flags",
        "is seen before the mode of the file",
        Fails("EOPNOTSUPP"),
        |env| changed(env, |c| (c.opcode, c.rw_flags) = (PWRITE, 1 << 31)),
    ),
    p("io_submit/EOPNOTSUPP/atomic-read", "a read", Fails("EOPNOTSUPP"), |env| {
        changed(env, |c| c.rw_flags = 0x40)
    }),
    p("io_submit/EINVAL/append-and-noappend", "both", Fails("EINVAL"), |env| {
        let fd = env.scratch(libc::O_RDWR)?;
        changed(env, |c| (c.opcode, c.fd, c.rw_flags) = (PWRITE, fd, 0x30))
    })
    .since(6, 9),
    p("io_submit/EINVAL/too-many-vectors", "1025 buffers", Fails("EINVAL"), |env| {
        vectored(env, env.vectors(), 1025)
    }),
    p("io_submit/EINVAL/too-many-vectors", "1024 buffers are right", EventGives(0), |env| {
        vectored(env, env.vectors(), 1024)
    }),
    p("io_submit/EINVAL/too-many-vectors", "of 2^32 the lower half counts", EventGives(0), |env| {
        vectored(env, env.vectors(), 1 << 32)
    }),
    p("io_submit/EFAULT/vectors", "a null array", Fails("EFAULT"), |env| {
        vectored(env, Address::NULL, 1)
    }),
    p("io_submit/EFAULT/vectors", "memory that cannot be touched", Fails("EFAULT"), |env| {
        vectored(env, env.memory.forbidden(), 2)
    }),
    p("io_submit/EFAULT/vectors", "an address of the kernel", Fails("EFAULT"), |env| {
        vectored(env, Address::KERNEL, 2)
    }),
    p("io_submit/EINVAL/vector-length", "the sign bit", Fails("EINVAL"), |env| {
        env.put_vector(0, env.buffer(), 1 << 63);
        vectored(env, env.vectors(), 1)
    }),
    p("io_submit/EINVAL/vector-length", "of the second buffer", Fails("EINVAL"), |env| {
        env.put_vector(0, env.buffer(), 16);
        env.put_vector(1, env.buffer(), u64::MAX);
        vectored(env, env.vectors(), 2)
    }),
    p("io_submit/EFAULT/buffer-of-kernel", "an address of the kernel", Fails("EFAULT"), |env| {
        changed(env, |c| c.buf = Address::KERNEL)
    }),
    p("io_submit/EFAULT/buffer-of-kernel", "the end of all addresses", Fails("EFAULT"), |env| {
        changed(env, |c| c.buf = Address::LAST)
    }),
    p("io_submit/EFAULT/vector-of-kernel", "in an array", Fails("EFAULT"), |env| {
        env.put_vector(0, Address::KERNEL, 16);
        vectored(env, env.vectors(), 1)
    }),
    p("io_submit/EINVAL/offset-negative", "-1", Fails("EINVAL"), |env| {
        changed(env, |c| c.offset = -1)
    }),
    p("io_submit/EINVAL/offset-negative", "the least number", Fails("EINVAL"), |env| {
        changed(env, |c| c.offset = i64::MIN)
    }),
    p("io_submit/EINVAL/offset-negative", "of a write", Fails("EINVAL"), |env| {
        let fd = env.scratch(libc::O_RDWR)?;
        changed(env, |c| (c.opcode, c.fd, c.offset) = (PWRITE, fd, -1))
    }),
    p("io_submit/EINVAL/offset-negative", "of a pipe", Fails("EINVAL"), |env| {
        let (reader, _) = env.pipe(libc::O_NONBLOCK)?;
        changed(env, |c| (c.fd, c.offset) = (reader, -1))
    }),
    p("io_submit/EINVAL/offset-overflow", "the largest offset", Fails("EINVAL"), |env| {
        changed(env, |c| c.offset = i64::MAX)
    }),
    p("io_submit/EINVAL/offset-overflow", "by one byte", Fails("EINVAL"), |env| {
        changed(env, |c| c.offset = i64::MAX - 511)
    }),
    p(
        "io_submit/EINVAL/offset-overflow",
        "up to the largest offset is right",
        EventGives(0),
        |env| changed(env, |c| c.offset = i64::MAX - 512),
    ),
    p("io_submit/unknown-aio-flags", "unknown aio_flags do nothing", EventGives(512), |env| {
        changed(env, |c| c.flags = 0xffff_fffc)
    }),
];

/// A vectored read of the data.
fn vectored(env: &Env, array: Address, count: u64) -> Try {
    changed(env, |c| (c.opcode, c.buf, c.nbytes) = (PREADV, array, count))
}
