//! `io_submit(2)` and `io_getevents(2)`: several commands, several threads, and what is left as it was.

use crate::aio::{FSYNC, PREADV, PWRITE, RESFD, in_fork, poll, read, returned, waiting_poll};
use crate::env::{Command, Env, Try, result_of, seen, unavailable};
use crate::expect::Expect::{EventFails, EventGives, Fails, Gives, Seen};
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

/// Submits so many from 0 on, which must all be taken.
fn taken(env: &Env, context: u64, count: i64) -> Try<()> {
    match raw::io_submit(context, count, env.pointers(0)) {
        Ok(done) if done == count => Ok(()),
        other => Err(Observed::Returned(other)),
    }
}

/// Fetches so many events within five seconds.
fn fetched(env: &Env, context: u64, count: i64) -> Try<()> {
    match raw::io_getevents(context, count, count, env.events(), env.time(5, 0)) {
        Ok(done) if done == count => Ok(()),
        other => Err(Observed::Returned(other)),
    }
}

/// A new file of this content.
fn file(env: &Env, flags: i32, content: &[u8]) -> Try<i32> {
    let fd = env.scratch(flags)?;
    env.memory.put(env.argument(), content);
    let length = u64::try_from(content.len()).unwrap_or_default();
    raw::write(fd, env.argument_address(), length).map_err(|errno| unavailable("a file", errno))?;
    Ok(fd)
}

/// A write of three bytes.
fn write3(env: &Env, fd: i32, offset: i64, rw_flags: u32) -> Command {
    env.memory.put(env.page.saturating_mul(12), b"new");
    Command {
        opcode: PWRITE,
        fd,
        buf: env.buffer(),
        nbytes: 3,
        offset,
        rw_flags,
        ..Command::default()
    }
}

/// What a file of at most eight bytes has.
fn content(env: &Env, fd: i32) -> (Result<i64, safer_ring_sys::Errno>, [u8; 8]) {
    env.memory.put(env.argument(), &[0; 8]);
    let length = raw::pread(fd, env.argument_address(), 8, 0);
    (length, env.memory.get(env.argument()))
}

/// Reads an empty pipe while a timer interrupts.
fn interrupted(env: &Env) -> Try {
    let (reader, _) = env.pipe(0)?;
    raw::hear_alarms();
    let at = env.argument();
    for (field, value) in [(0, 0), (8, 5000), (16, 0), (24, 5000)] {
        env.memory.put_u64(at.saturating_add(field), value);
    }
    let context = env.context(1)?;
    env.put(0, &Command { fd: reader, ..read(env)? });
    let _ = raw::setitimer(0, env.argument_address(), Address::NULL);
    let result = raw::io_submit(context, 1, env.pointers(0));
    for field in [0, 8, 16, 24] {
        env.memory.put_u64(at.saturating_add(field), 0);
    }
    let _ = raw::setitimer(0, env.argument_address(), Address::NULL);
    if result == Ok(1) { Ok(env.fetch(context)) } else { returned(result) }
}

/// Submits and fetches on two threads at a time: how many events each has got.
fn shared(env: &Env) -> Try {
    let context = env.context(64)?;
    env.put(0, &read(env)?);
    let pointers = env.pointers(0);
    let submit = move || (0..16).filter(|_| raw::io_submit(context, 1, pointers) == Ok(1)).count();
    let (first, second) = (std::thread::spawn(submit), std::thread::spawn(submit));
    let counts = (first.join().unwrap_or(0), second.join().unwrap_or(0));
    let (events, time) = (env.events(), env.time(0, 0));
    let fetch = move |place: Address| {
        let mut sum = 0;
        while let Ok(count @ 1..) = raw::io_getevents(context, 1, 2, place, time) {
            sum += count;
        }
        sum
    };
    let other = env.vectors();
    let (first, second) =
        (std::thread::spawn(move || fetch(events)), std::thread::spawn(move || fetch(other)));
    let sum = first.join().unwrap_or(0).saturating_add(second.join().unwrap_or(0));
    seen(counts == (16, 16) && sum == 32, format!("{counts:?} were taken, {sum} events came"))
}

/// A write of a whole file that is one limit too far.
fn too_large(env: &Env) -> Try {
    let fd = env.scratch(libc::O_RDWR)?;
    env.limit(libc::RLIMIT_FSIZE, 4096)?;
    raw::ignore_file_limit();
    env.submit(&write3(env, fd, 8192, 0))
}

/// Writes to a file system of one page, which is mounted for this process alone, a page after the first.
fn full(env: &Env) -> Try {
    let fail = |errno| unavailable("a small file system", errno);
    raw::unshare(libc::CLONE_NEWNS).map_err(fail)?;
    let at = env.argument();
    let text = |offset: usize, text: &str| {
        env.memory.put(at.saturating_add(offset), text.as_bytes());
        env.memory.put(at.saturating_add(offset).saturating_add(text.len()), &[0]);
        env.memory.at(at.saturating_add(offset))
    };
    let (root, kind, size) = (text(0, "/"), text(8, "tmpfs"), text(32, "size=1"));
    let private = libc::MS_REC | libc::MS_PRIVATE;
    raw::mount(Address::NULL, root, Address::NULL, private, Address::NULL).map_err(fail)?;
    raw::mount(kind, env.path("."), kind, 0, size).map_err(fail)?;
    let fd = env.scratch(libc::O_RDWR)?;
    let page = i64::try_from(env.page).unwrap_or(i64::MAX);
    let first = env.submit(&write3(env, fd, 0, 0))?;
    match env.submit(&write3(env, fd, page, 0))? {
        Observed::Event(Ok(_)) => Err(Observed::Unavailable(format!("it has more room: {first}"))),
        other => Ok(other),
    }
}

/// With a capability alone it would take more to show; root has both.
fn real_time(env: &Env) -> Try {
    if raw::user() != 0 {
        return Err(Observed::Unavailable("it takes the capability".to_owned()));
    }
    env.submit(&Command { flags: 2, reqprio: 1 << 13, ..read(env)? })
}

pub(crate) const PROBES: &[Probe] = &[
    p("io_submit/key-written-on-refusal", "of a command that does not exist", Seen, |env| {
        let context = env.context(1)?;
        env.put(0, &Command { key: 77, opcode: 99, ..read(env)? });
        let result = raw::io_submit(context, 1, env.pointers(0));
        let key = env.key_of(0);
        seen(result.is_err() && key == 0, format!("{result:?}, {key}"))
    }),
    p("io_submit/key-ignored", "77 before", EventGives(512), |env| {
        env.submit(&Command { key: 77, ..read(env)? })
    }),
    p(
        "io_submit/refusal-frees-slot",
        "ten thousand refusals, then a read",
        EventGives(512),
        |env| {
            let context = env.context(1)?;
            env.put(0, &Command { opcode: 99, ..read(env)? });
            for _ in 0..10_000 {
                let _ = raw::io_submit(context, 1, env.pointers(0));
            }
            env.put(0, &read(env)?);
            Ok(env.submit_in(context))
        },
    ),
    p("io_submit/eventfd-not-on-refusal", "of a command that does not exist", Seen, |env| {
        let eventfd = env.eventfd()?;
        let refused =
            env.submit(&Command { opcode: 99, flags: RESFD, resfd: eventfd, ..read(env)? })?;
        let read = raw::read(eventfd, env.argument_address(), 8);
        seen(read.is_err(), format!("{refused}; then {read:?}"))
    }),
    p("io_submit/position-stays", "after a read", Seen, |env| {
        let command = read(env)?;
        let event = env.submit(&Command { offset: 100, ..command })?;
        let byte = raw::read(command.fd, env.argument_address(), 1);
        let [first] = env.memory.get(env.argument());
        seen(byte == Ok(1) && first == 0, format!("{event}; then the byte {first}"))
    }),
    p("io_submit/vectors-copied", "the array is overwritten before a pipe is read", Seen, |env| {
        let (reader, writer) = env.pipe(libc::O_NONBLOCK)?;
        env.memory.put(env.argument(), b"bytes");
        let _ = raw::write(writer, env.argument_address(), 5);
        env.put_vector(0, env.buffer(), 5);
        let context = env.context(1)?;
        let command = Command {
            opcode: PREADV,
            fd: reader,
            buf: env.vectors(),
            nbytes: 1,
            ..Command::default()
        };
        env.put(0, &command);
        taken(env, context, 1)?;
        env.put_vector(0, Address::KERNEL, 5);
        let event = env.fetch(context);
        let bytes: [u8; 5] = env.memory.get(env.page.saturating_mul(12));
        seen(&bytes == b"bytes", event.to_string())
    }),
    p("io_submit/vectors-in-order", "two buffers", Seen, |env| {
        env.put_vector(0, env.argument_address(), 3);
        env.put_vector(1, env.buffer(), 3);
        let command = Command { opcode: PREADV, buf: env.vectors(), nbytes: 2, ..read(env)? };
        let event = env.submit(&command)?;
        let (first, second): ([u8; 3], [u8; 3]) =
            (env.memory.get(env.argument()), env.memory.get(env.page.saturating_mul(12)));
        seen((first, second) == ([0, 1, 2], [3, 4, 5]), format!("{event}; {first:?}, {second:?}"))
    }),
    p("io_submit/one-event-each", "three commands", Seen, |env| {
        let context = env.context(8)?;
        for index in 0..3 {
            env.put(index, &read(env)?);
        }
        taken(env, context, 3)?;
        fetched(env, context, 3)?;
        let more = raw::io_getevents(context, 0, 8, env.events(), env.time(0, 0));
        seen(more == Ok(0), format!("then {more:?}"))
    }),
    p("io_submit/same-block-twice", "one pointer in two places", Gives(2), |env| {
        let context = env.context(8)?;
        env.put(0, &read(env)?);
        env.put_pointer(1, env.iocb(0));
        taken(env, context, 2)?;
        returned(raw::io_getevents(context, 2, 2, env.events(), env.time(5, 0)))
    }),
    p("io_submit/several-threads", "two submit, two fetch", Seen, shared),
    p("io_getevents/one-receiver", "two threads share 32 events", Seen, shared),
    p("io_submit/append-ignores-offset", "O_APPEND", Seen, |env| {
        file(env, libc::O_RDWR, b"old")?;
        let fd = env.scratch(libc::O_RDWR | libc::O_APPEND)?;
        let event = env.submit(&write3(env, fd, 0, 0))?;
        let (length, bytes) = content(env, fd);
        seen(&bytes == b"oldnew\0\0", format!("{event}; {length:?} bytes"))
    }),
    p("io_submit/rwf-hipri", "a read", EventGives(512), |env| {
        env.submit(&Command { rw_flags: 1, ..read(env)? })
    }),
    p("io_submit/cached-read-ends-inside", "the event is there at once", Gives(1), |env| {
        let context = env.context(1)?;
        let command = read(env)?;
        let _ = raw::pread(command.fd, env.buffer(), 4096, 0);
        env.put(0, &command);
        taken(env, context, 1)?;
        returned(raw::io_getevents(context, 0, 1, env.events(), env.time(0, 0)))
    }),
    p("io_submit/fsync-directory", "the directory of the probes", EventGives(0), |env| {
        let fd = env.open(".", libc::O_RDONLY | libc::O_DIRECTORY)?;
        env.submit(&Command { opcode: FSYNC, fd, ..Command::default() })
    }),
    p("io_submit/outlives-thread", "a poll", Seen, |env| {
        let context = env.context(1)?;
        let (command, _, writer) = waiting_poll(env)?;
        env.put(0, &command);
        let pointers = env.pointers(0);
        let submitted = std::thread::spawn(move || raw::io_submit(context, 1, pointers)).join();
        let _ = raw::write(writer, env.buffer(), 1);
        let event = env.fetch(context);
        let ready = matches!(event, Observed::Event(Ok(bits)) if bits & 1 == 1);
        seen(ready, format!("{submitted:?}; {event}"))
    }),
    p("io_submit/read-and-write", "of one file, in one call", Seen, |env| {
        let fd = file(env, libc::O_RDWR, b"12345678")?;
        let context = env.context(8)?;
        env.put(0, &write3(env, fd, 0, 0));
        env.put(1, &Command { fd, buf: env.vectors(), nbytes: 8, ..read(env)? });
        taken(env, context, 2)?;
        fetched(env, context, 2)?;
        let results = (result_of(env.event(0).2), result_of(env.event(1).2));
        seen(results.0.is_ok() && results.1.is_ok(), format!("{results:?}"))
    }),
    p("io_submit/EFBIG/limit", "a write beyond 4096 bytes", EventFails("EFBIG"), too_large),
    p("io_submit/ENOSPC/full", "a file system of one page", EventFails("ENOSPC"), full),
    p("io_submit/EINTR/pipe", "a timer", EventFails("EINTR"), interrupted),
    p("io_submit/EOPNOTSUPP/noappend-unknown", "RWF_NOAPPEND", Fails("EOPNOTSUPP"), |env| {
        let fd = env.scratch(libc::O_RDWR)?;
        env.submit(&write3(env, fd, 0, 0x20))
    })
    .until(6, 9),
    p("io_submit/capability/sys-admin", "root", EventGives(512), real_time),
    p("io_submit/capability/sys-nice", "root", EventGives(512), real_time),
    p("io_getevents/failures-are-events", "a buffer that cannot be touched", Gives(1), |env| {
        let context = env.context(1)?;
        env.put(0, &Command { buf: env.memory.forbidden(), ..read(env)? });
        taken(env, context, 1)?;
        returned(raw::io_getevents(context, 1, 1, env.events(), env.time(5, 0)))
    }),
    p("io_getevents/order", "a poll that is ready before one that was first", Seen, |env| {
        let context = env.context(8)?;
        let (first, _, first_writer) = waiting_poll(env)?;
        let (second, _, second_writer) = waiting_poll(env)?;
        env.put(0, &Command { data: 1, ..first });
        env.put(1, &Command { data: 2, ..second });
        taken(env, context, 2)?;
        let _ = raw::write(second_writer, env.buffer(), 1);
        // One after the other: the first to be ready has ended when its event can be fetched by another thread.
        let _ = raw::io_getevents(context, 0, 0, Address::NULL, env.time(0, 0));
        let _ = raw::write(first_writer, env.buffer(), 1);
        fetched(env, context, 2)?;
        let order = (env.event(0).0, env.event(1).0);
        seen(order == (2, 1), format!("{order:?}"))
    }),
    p("io_getevents/stops-at-minimum", "one of a read and a poll that waits", Gives(1), |env| {
        let context = env.context(8)?;
        env.put(0, &read(env)?);
        env.put(1, &waiting_poll(env)?.0);
        taken(env, context, 2)?;
        returned(raw::io_getevents(context, 1, 8, env.events(), env.time(5, 0)))
    }),
    p("io_getevents/timeout-read-only", "zeros in read-only memory", Gives(0), |env| {
        returned(raw::io_getevents(env.context(1)?, 1, 1, env.events(), env.memory.read_only()))
    }),
    p("io_getevents/waits", "until another process writes", Gives(1), |env| {
        let context = env.context(1)?;
        let (command, _, writer) = waiting_poll(env)?;
        env.put(0, &command);
        taken(env, context, 1)?;
        let buffer = env.buffer();
        env.memory.share().map_err(|errno| unavailable("sharing", errno))?;
        in_fork(move || Observed::Returned(raw::write(writer, buffer, 1)))?;
        returned(raw::io_getevents(context, 1, 1, env.events(), Address::NULL))
    }),
    p("io_getevents/zero-minimum", "no time limit, no events", Gives(0), |env| {
        let context = env.context(1)?;
        env.put(0, &poll(env.pipe(0)?.0));
        taken(env, context, 1)?;
        returned(raw::io_getevents(context, 0, 1, env.events(), Address::NULL))
    }),
];
