//! The life of a context: what `io_setup(2)` makes, and what `io_destroy(2)` and others end.

use std::os::unix::process::CommandExt;
use std::process::{Command as Program, Stdio};
use std::time::Duration;

use crate::aio::{PREAD, RESFD, in_fork, poll, read, returned, waiting_poll};
use crate::child;
use crate::env::{Command, Env, Try, seen, unavailable};
use crate::expect::Expect::{Fails, Gives, Seen};
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

/// The mappings of this process whose name begins so.
fn mapped(name: &str) -> Vec<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let lines =
        maps.lines().filter(|line| line.ends_with(name) || line.contains(&format!("{name} ")));
    lines.map(str::to_owned).collect()
}

/// A word of the ring of a context.
fn ring_word(context: u64, index: u64) -> Try<u32> {
    let at = context.saturating_add(index.saturating_mul(4));
    let mut bytes = [0u8; 4];
    let memory = std::fs::File::open("/proc/self/mem");
    let read =
        memory.and_then(|file| std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, at));
    read.map_err(|error| Observed::Unavailable(format!("the ring cannot be read: {error}")))?;
    Ok(u32::from_ne_bytes(bytes))
}

/// `fs.aio-nr`.
fn counted() -> Try<u64> {
    let text = std::fs::read_to_string("/proc/sys/fs/aio-nr").unwrap_or_default();
    text.trim().parse().map_err(|_| Observed::Unavailable("fs.aio-nr cannot be read".to_owned()))
}

/// A context in which a poll of a pipe waits, with the ends.
fn waiting(env: &Env) -> Try<(u64, i32, i32)> {
    let context = env.context(8)?;
    let (command, reader, writer) = waiting_poll(env)?;
    env.put(0, &command);
    match raw::io_submit(context, 1, env.pointers(0)) {
        Ok(1) => Ok((context, reader, writer)),
        other => Err(Observed::Returned(other)),
    }
}

/// Waits on another thread until a context is destroyed.
fn woken(env: &Env) -> Try {
    let context = env.context(8)?;
    let events = env.events();
    let waiter =
        std::thread::spawn(move || raw::io_getevents(context, 1, 1, events, Address::NULL));
    // If it has not begun to wait, it finds no context, with the same answer.
    while !waiter.is_finished() && !mapped("/[aio]").is_empty() {
        let _ = raw::io_destroy(context);
    }
    match waiter.join() {
        Ok(outcome) => returned(outcome),
        Err(_) => Err(Observed::Unavailable("the thread panicked".to_owned())),
    }
}

/// Makes a context, becomes another program, and looks at the mappings of that.
fn after_exec(env: &Env) -> Try {
    let name = env.scratch_name();
    let file = std::fs::File::create(&name)
        .map_err(|error| Observed::Unavailable(format!("no file: {error}")))?;
    let context = env.context(8)?;
    env.memory.share().map_err(|errno| unavailable("sharing", errno))?;
    let ended = child::run(Duration::from_secs(10), || {
        // The context of the child, which has none of its parent.
        let _ = env.context(8);
        let error = Program::new("cat").arg("/proc/self/maps").stdout(Stdio::from(file)).exec();
        format!("{error}")
    });
    if let Ok(child::Ended::Said(error)) = ended {
        return Err(Observed::Unavailable(format!("no program to become: {error}")));
    }
    let maps = std::fs::read_to_string(&name).unwrap_or_default();
    seen(
        !maps.is_empty() && !maps.contains("[aio]"),
        format!("{context:#x}; {} bytes of mappings", maps.len()),
    )
}

pub(crate) const PROBES: &[Probe] = &[
    p("io_setup/handle-works", "a read", Seen, |env| {
        let event = env.submit(&read(env)?)?;
        seen(event == Observed::Event(Ok(512)), event.to_string())
    }),
    p("io_setup/begins-empty", "without waiting", Gives(0), |env| {
        returned(raw::io_getevents(env.context(4)?, 0, 4, env.events(), env.time(0, 0)))
    }),
    p("io_setup/mapped", "the handle is in the mappings", Seen, |env| {
        let context = env.context(4)?;
        let start = format!("{context:x}-");
        let maps = mapped("/[aio]");
        seen(maps.iter().any(|line| line.starts_with(&start)), format!("{context:#x} in {maps:?}"))
    }),
    p("io_setup/failure-not-counted", "the context is in read-only memory", Seen, |env| {
        // Others may make and destroy contexts meanwhile; the number is a rare one.
        let nr = 54_321u32;
        let before = counted()?;
        let result = raw::io_setup(nr, env.memory.read_only());
        // It comes back a little later.
        for _ in 0..200 {
            if counted()? < before.saturating_add(u64::from(nr)) {
                return seen(result.is_err(), format!("{result:?}"));
            }
            std::thread::yield_now();
            std::thread::sleep(Duration::from_millis(5));
        }
        seen(false, format!("{before} before, {} after", counted()?))
    }),
    p("io_setup/doubled", "at least twice", Seen, |env| {
        let slots = ring_word(env.context(1000)?, 1)?;
        seen(slots >= 2000, format!("{slots} slots for 1000"))
    }),
    p("io_setup/doubled", "at least eight for each CPU", Seen, |env| {
        let slots = ring_word(env.context(1)?, 1)?;
        let cpus = u32::try_from(raw::sysconf(libc::_SC_NPROCESSORS_CONF)).unwrap_or(1);
        seen(
            slots >= cpus.saturating_mul(8).saturating_sub(1),
            format!("{slots} slots, {cpus} CPUs"),
        )
    }),
    p("io_setup/ring-header", "number, features and length", Seen, |env| {
        let context = env.context(4)?;
        let (magic, features, length) =
            (ring_word(context, 4)?, ring_word(context, 6)?, ring_word(context, 7)?);
        let right = magic == 0xa10a_10a1 && features == 0 && length == 32;
        seen(right, format!("{magic:#x}, {features}, {length}"))
    }),
    p("io_setup/not-after-fork", "io_submit of nothing in a child", Fails("EINVAL"), |env| {
        let context = env.context(1)?;
        in_fork(|| Observed::Returned(raw::io_submit(context, 0, Address::NULL)))
    }),
    p("io_setup/gone-after-exec", "the mappings of another program", Seen, after_exec),
    p("io_destroy/unmapped", "the mapping is gone", Seen, |env| {
        let context = env.context(1)?;
        let before = mapped("/[aio]").len();
        let _ = raw::io_destroy(context);
        let after = mapped("/[aio]").len();
        seen((before, after) == (1, 0), format!("{before} before, {after} after"))
    }),
    p("io_destroy/counted-back", "what it took comes back", Seen, |env| {
        let context = env.context(54_321)?;
        let before = counted()?;
        let _ = raw::io_destroy(context);
        for _ in 0..200 {
            if counted()? <= before.saturating_sub(50_000) {
                return seen(true, "it does");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        seen(false, format!("{before} before, {} after", counted()?))
    }),
    p("io_destroy/files-released", "the last reader of a pipe goes", Seen, |env| {
        let (context, reader, writer) = waiting(env)?;
        let _ = raw::close(reader);
        let _ = raw::io_destroy(context);
        // Without readers a pipe is in the state of an error.
        let other = env.context(4)?;
        env.put(0, &poll(writer));
        let _ = raw::io_submit(other, 1, env.pointers(0));
        let event = env.fetch(other);
        seen(matches!(event, Observed::Event(Ok(bits)) if bits & 8 != 0), event.to_string())
    }),
    p("io_destroy/waits", "a direct read has ended", Seen, |env| {
        let (fd, ..) = env.direct()?;
        let context = env.context(1)?;
        let command =
            Command { opcode: PREAD, fd, buf: env.buffer(), nbytes: 4096, ..Command::default() };
        env.put(0, &command);
        let submitted = raw::io_submit(context, 1, env.pointers(0));
        let destroyed = raw::io_destroy(context);
        let bytes: [u8; 4] = env.memory.get(env.page.saturating_mul(12));
        seen(bytes == [0, 1, 2, 3], format!("{submitted:?}, {destroyed:?}, {bytes:?}"))
    }),
    p("io_destroy/events-lost", "an event that was there", Fails("EINVAL"), |env| {
        let context = env.context(1)?;
        env.put(0, &read(env)?);
        let _ = raw::io_submit(context, 1, env.pointers(0));
        let _ = raw::io_destroy(context);
        returned(raw::io_getevents(context, 1, 1, env.events(), env.time(0, 0)))
    }),
    p("io_destroy/wakes-waiters", "a thread that waits", Fails("EINVAL"), woken),
    p("io_getevents/EINVAL/destroyed-meanwhile", "by another thread", Fails("EINVAL"), woken),
    p("io_getevents/EINVAL/destroyed", "asking afterwards", Fails("EINVAL"), |env| {
        let context = env.context(1)?;
        let _ = raw::io_destroy(context);
        returned(raw::io_getevents(context, 0, 1, env.events(), env.time(0, 0)))
    }),
    p("io_destroy/room-for-another", "a new one takes commands", Seen, |env| {
        let _ = raw::io_destroy(env.context(1)?);
        let event = env.submit(&read(env)?)?;
        seen(event == Observed::Event(Ok(512)), event.to_string())
    }),
    p("io_cancel/EINVAL/unmapped", "all bits", Fails("EINVAL"), |env| {
        env.put(0, &Command::default());
        returned(raw::io_cancel(u64::MAX, env.iocb(0), env.events()))
    }),
    p("io_cancel/EINVAL/forked-child", "a poll of the parent", Fails("EINVAL"), |env| {
        let (context, ..) = waiting(env)?;
        let (iocb, events) = (env.iocb(0), env.events());
        // The memory of the probe is not handed down; that of the parent's iocb is wanted.
        env.memory.share().map_err(|errno| unavailable("sharing", errno))?;
        in_fork(move || Observed::Returned(raw::io_cancel(context, iocb, events)))
    }),
    p(
        "io_cancel/EINVAL/not-cancellable",
        "a read that has ended inside of the call",
        Fails("EINVAL"),
        |env| {
            let context = env.context(8)?;
            env.put(0, &read(env)?);
            let _ = raw::io_submit(context, 1, env.pointers(0));
            returned(raw::io_cancel(context, env.iocb(0), env.events()))
        },
    ),
    p(
        "io_cancel/EINVAL/not-cancellable",
        "a direct read that was just submitted",
        Fails("EINVAL"),
        |env| {
            let (fd, ..) = env.direct()?;
            let context = env.context(8)?;
            env.put(
                0,
                &Command {
                    opcode: PREAD,
                    fd,
                    buf: env.buffer(),
                    nbytes: 65_536,
                    ..Command::default()
                },
            );
            let _ = raw::io_submit(context, 1, env.pointers(0));
            returned(raw::io_cancel(context, env.iocb(0), env.events()))
        },
    ),
    p("io_cancel/EINVAL/sync", "a sync that was just submitted", Fails("EINVAL"), |env| {
        let context = env.context(8)?;
        env.put(0, &Command { opcode: 2, fd: env.data()?, ..Command::default() });
        let _ = raw::io_submit(context, 1, env.pointers(0));
        returned(raw::io_cancel(context, env.iocb(0), env.events()))
    }),
    p("io_cancel/return", "a poll that waits", Fails("EINPROGRESS"), |env| {
        let (context, ..) = waiting(env)?;
        returned(raw::io_cancel(context, env.iocb(0), env.events()))
    }),
    p("io_cancel/contents-ignored", "overwritten but for the key", Fails("EINPROGRESS"), |env| {
        let (context, ..) = waiting(env)?;
        env.put(0, &Command { opcode: 99, fd: -1, reserved2: 7, ..Command::default() });
        returned(raw::io_cancel(context, env.iocb(0), env.events()))
    }),
    p("io_cancel/eventfd-signalled", "of a poll", Seen, |env| {
        let context = env.context(8)?;
        let (command, ..) = waiting_poll(env)?;
        let eventfd = env.eventfd()?;
        env.put(0, &Command { flags: RESFD, resfd: eventfd, ..command });
        let _ = raw::io_submit(context, 1, env.pointers(0));
        let _ = raw::io_cancel(context, env.iocb(0), Address::NULL);
        let event = env.fetch(context);
        let read = raw::read(eventfd, env.argument_address(), 8);
        seen(read == Ok(8), format!("{event}; then {read:?}"))
    }),
    p("io_cancel/failure-changes-nothing", "the poll still ends when it is ready", Seen, |env| {
        let (context, _, writer) = waiting(env)?;
        env.put(1, &Command::default());
        let failed = raw::io_cancel(context, env.iocb(1), env.events());
        let _ = raw::write(writer, env.buffer(), 1);
        let event = env.fetch(context);
        let ready = matches!(event, Observed::Event(Ok(bits)) if bits & 1 == 1);
        seen(failed.is_err() && ready, format!("{failed:?}; then {event}"))
    }),
    p("io_cancel/one-at-a-time", "two polls from one address", Seen, |env| {
        let (context, ..) = waiting(env)?;
        let second = raw::io_submit(context, 1, env.pointers(0));
        let first = raw::io_cancel(context, env.iocb(0), Address::NULL);
        let event = env.fetch(context);
        let more = raw::io_getevents(context, 0, 1, env.events(), env.time(0, 0));
        seen(second == Ok(1) && more == Ok(0), format!("{first:?}, {event}, then {more:?}"))
    }),
];
