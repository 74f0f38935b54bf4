//! `io_submit(2)`: what becomes of commands that were taken.

use crate::aio::{PREADV, PWRITE, PWRITEV, RESFD, poll, read, returned, waiting_poll};
use crate::env::{Command, Env, Try, result_of, seen, unavailable};
use crate::expect::Expect::{EventFails, EventGives, Seen};
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

/// A read, changed.
fn changed(env: &Env, change: impl FnOnce(&mut Command)) -> Try {
    let mut command = read(env)?;
    change(&mut command);
    env.submit(&command)
}

/// Submits one command; gives the context.
fn submitted(env: &Env, command: &Command) -> Try<u64> {
    let context = env.context(8)?;
    env.put(0, command);
    match raw::io_submit(context, 1, env.pointers(0)) {
        Ok(1) => Ok(context),
        other => Err(Observed::Returned(other)),
    }
}

/// An event with POLLIN, and perhaps with what was not asked for.
fn readable(event: &Observed) -> Try {
    seen(matches!(event, Observed::Event(Ok(bits)) if bits & 1 == 1), event.to_string())
}

fn tell(writer: i32, env: &Env) -> Try<()> {
    raw::write(writer, env.buffer(), 1).map(drop).map_err(|errno| unavailable("a write", errno))
}

pub(crate) const PROBES: &[Probe] = &[
    p("io_submit/result-bytes", "a read", EventGives(512), |env| changed(env, |_| {})),
    p("io_submit/reads", "the bytes are those of the file", Seen, |env| {
        let result = changed(env, |c| c.offset = 10)?;
        let bytes: [u8; 4] = env.memory.get(env.page.saturating_mul(12));
        seen(bytes == [10, 11, 12, 13], format!("{result}; {bytes:?}"))
    }),
    p("io_submit/read-short", "a read over the end is short", EventGives(36), |env| {
        changed(env, |c| c.offset = 65_500)
    }),
    p("io_submit/read-at-end", "a read at the end", EventGives(0), |env| {
        changed(env, |c| c.offset = 65_536)
    }),
    p("io_submit/read-nothing", "a read of nothing", EventGives(0), |env| {
        changed(env, |c| c.nbytes = 0)
    }),
    p("io_submit/writes", "a write", EventGives(512), |env| {
        let fd = env.scratch(libc::O_RDWR)?;
        changed(env, |c| (c.opcode, c.fd) = (PWRITE, fd))
    }),
    p("io_submit/writes", "what was written can be read", Seen, |env| {
        let fd = env.scratch(libc::O_RDWR)?;
        env.memory.put(env.page.saturating_mul(12), b"written");
        let result = changed(env, |c| (c.opcode, c.fd, c.nbytes, c.offset) = (PWRITE, fd, 7, 3))?;
        let again = raw::pread(fd, env.argument_address(), 7, 3);
        let bytes: [u8; 7] = env.memory.get(env.argument());
        seen(&bytes == b"written", format!("{result}; then {again:?}"))
    }),
    p("io_submit/rwf-append", "RWF_APPEND writes to the end", Seen, |env| {
        let fd = env.scratch(libc::O_RDWR)?;
        raw::ftruncate(fd, 1000).map_err(|errno| unavailable("ftruncate", errno))?;
        let result = changed(env, |c| (c.opcode, c.fd, c.rw_flags) = (PWRITE, fd, 0x10))?;
        let end = raw::pread(fd, env.argument_address(), 1, 1511);
        seen(end == Ok(1), format!("{result}; the byte at 1511: {end:?}"))
    }),
    p("io_submit/rwf-dsync", "RWF_DSYNC", EventGives(512), |env| {
        let fd = env.scratch(libc::O_RDWR)?;
        changed(env, |c| (c.opcode, c.fd, c.rw_flags) = (PWRITE, fd, 2))
    }),
    p("io_submit/result-bytes", "a read into two buffers", EventGives(48), |env| {
        env.put_vector(0, env.buffer(), 16);
        env.put_vector(1, env.argument_address(), 32);
        changed(env, |c| (c.opcode, c.buf, c.nbytes) = (PREADV, env.vectors(), 2))
    }),
    p("io_submit/result-bytes", "a write of two buffers", EventGives(48), |env| {
        let fd = env.scratch(libc::O_RDWR)?;
        env.put_vector(0, env.buffer(), 16);
        env.put_vector(1, env.argument_address(), 32);
        changed(env, |c| (c.opcode, c.fd, c.buf, c.nbytes) = (PWRITEV, fd, env.vectors(), 2))
    }),
    p("io_submit/no-vectors", "no buffers", EventGives(0), |env| {
        changed(env, |c| (c.opcode, c.buf, c.nbytes) = (PREADV, env.vectors(), 0))
    }),
    p(
        "io_submit/EFAULT/buffer-unmapped",
        "memory that cannot be touched",
        EventFails("EFAULT"),
        |env| changed(env, |c| c.buf = env.memory.forbidden()),
    ),
    p(
        "io_submit/EFAULT/buffer-read-only",
        "a read into read-only memory",
        EventFails("EFAULT"),
        |env| changed(env, |c| c.buf = env.memory.read_only()),
    ),
    p("io_submit/EFAULT/buffer-unmapped", "a null pointer", EventFails("EFAULT"), |env| {
        changed(env, |c| c.buf = Address::NULL)
    }),
    p("io_submit/read-nothing", "a null pointer of no bytes", EventGives(0), |env| {
        changed(env, |c| (c.buf, c.nbytes) = (Address::NULL, 0))
    }),
    p(
        "io_submit/EFAULT/buffer-unmapped",
        "a write from memory that cannot be touched",
        EventFails("EFAULT"),
        |env| {
            let fd = env.scratch(libc::O_RDWR)?;
            changed(env, |c| (c.opcode, c.fd, c.buf) = (PWRITE, fd, env.memory.forbidden()))
        },
    ),
    p("io_submit/read-at-end", "at the end of the file nobody looks", EventGives(0), |env| {
        changed(env, |c| (c.buf, c.offset) = (env.memory.forbidden(), 65_536))
    }),
    p("io_submit/poll-ready", "a pipe with a byte", EventGives(1), |env| {
        let (command, _, writer) = waiting_poll(env)?;
        tell(writer, env)?;
        // POLLIN, and POLLRDNORM only if asked for.
        env.submit(&command)
    }),
    p("io_submit/poll-later", "a byte that comes later", Seen, |env| {
        let (command, _, writer) = waiting_poll(env)?;
        let context = submitted(env, &command)?;
        tell(writer, env)?;
        readable(&env.fetch(context))
    }),
    p("io_submit/poll-regular-file", "a regular file is always ready", EventGives(1), |env| {
        env.submit(&poll(env.data()?))
    }),
    p("io_submit/poll-hangup", "hanging up shows without being asked for", Seen, |env| {
        let (command, _, writer) = waiting_poll(env)?;
        let context = submitted(env, &command)?;
        let _ = raw::close(writer);
        let event = env.fetch(context);
        let hung = matches!(event, Observed::Event(Ok(bits)) if bits & 0x10 != 0);
        seen(hung, event.to_string())
    }),
    p("io_submit/poll-once", "one event for each poll", Seen, |env| {
        let (command, _, writer) = waiting_poll(env)?;
        tell(writer, env)?;
        let context = submitted(env, &command)?;
        let first = env.fetch(context);
        let more = raw::io_getevents(context, 0, 8, env.events(), env.time(0, 0));
        seen(more == Ok(0), format!("{first}; then {more:?}"))
    }),
    p("io_submit/eventfd", "the counter goes up by 1", Seen, |env| {
        let eventfd = env.eventfd()?;
        let result = changed(env, |c| (c.flags, c.resfd) = (RESFD, eventfd))?;
        let read = raw::read(eventfd, env.argument_address(), 8);
        let count = env.memory.get_u64(env.argument());
        seen(read == Ok(8) && count == 1, format!("{result}; then {read:?}, {count}"))
    }),
    p("io_submit/eventfd", "not without the flag", Seen, |env| {
        let eventfd = env.eventfd()?;
        let result = changed(env, |c| c.resfd = eventfd)?;
        let read = raw::read(eventfd, env.argument_address(), 8);
        seen(read.is_err(), format!("{result}; then {read:?}"))
    }),
    p("io_submit/iocb-copied", "the structure may be overwritten", Seen, |env| {
        let (command, _, writer) = waiting_poll(env)?;
        let context = submitted(env, &Command { data: 5, ..command })?;
        env.put(0, &Command { opcode: 99, data: 6, ..Command::default() });
        tell(writer, env)?;
        let event = env.fetch(context);
        let (data, _, res, _) = env.event(0);
        seen(data == 5 && res & 1 == 1, format!("{event}, data {data}"))
    }),
    p("io_submit/holds-file", "the descriptor may be closed", Seen, |env| {
        let (command, reader, writer) = waiting_poll(env)?;
        let context = submitted(env, &command)?;
        let _ = raw::close(reader);
        tell(writer, env)?;
        readable(&env.fetch(context))
    }),
    p("io_submit/EPIPE/no-reader", "a pipe that nobody reads", EventFails("EPIPE"), |env| {
        let (reader, writer) = env.pipe(0)?;
        let _ = raw::close(reader);
        changed(env, |c| (c.opcode, c.fd) = (PWRITE, writer))
    }),
    p("io_setup/any-thread", "another thread may fetch", Seen, |env| {
        let context = submitted(env, &read(env)?)?;
        let (events, time) = (env.events(), env.time(5, 0));
        let thread = std::thread::spawn(move || raw::io_getevents(context, 1, 1, events, time));
        let result = thread.join().map_err(|_| Observed::Unavailable("it panicked".to_owned()))?;
        let (_, _, res, _) = env.event(0);
        seen(result == Ok(1) && result_of(res) == Ok(512), format!("{result:?}, {res}"))
    }),
    p("io_submit/nr-capped", "more than the context holds", Seen, |env| {
        // Each of these ends at once, and has its event in the ring.
        let context = env.context(1)?;
        for index in 0..64 {
            env.put(index, &read(env)?);
        }
        let result = raw::io_submit(context, 64, env.pointers(0));
        match result {
            Ok(count) => seen((1..=64).contains(&count), format!("{count} of 64")),
            Err(_) => returned(result),
        }
    }),
];
