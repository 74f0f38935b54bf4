//! `io_uring_setup(2)` and `io_uring_enter(2)`: what a ring does.

use safer_ring_sys::opcode;

use crate::env::{Env, Try, seen, unavailable};
use crate::expect::Expect::{EventGives, Fails, Gives, Seen, Succeeds};
use crate::expect::Observed;
use crate::memory::Address;
use crate::probes::Probe;
use crate::queue::{Entry, Queue};
use crate::raw;
use crate::ring::{DEFER_TASKRUN, R_DISABLED, SINGLE_ISSUER, make, returned, ring};

const fn p(
    statement: &'static str,
    case: &'static str,
    expect: crate::Expect,
    run: fn(&Env) -> Try,
) -> Probe {
    Probe::new(statement, case, expect, run)
}

fn on(opcode: u8, fd: i32) -> Entry {
    Entry { opcode, fd, ..Entry::default() }
}

fn nop(name: u64) -> Entry {
    Entry { name, ..on(opcode::NOP, -1) }
}

fn read(env: &Env, fd: i32) -> Entry {
    Entry { buffer: env.buffer(), length: 8, ..on(opcode::READ, fd) }
}

/// Two NOPs behind something malformed: what the call gave, what is left, how many completions there are.
fn malformed(flags: u32) -> Try<(raw::Outcome, u32, u32)> {
    let mut queue = Queue::new(8, flags)?;
    for entry in [nop(1), Entry { opcode: 200, name: 2, ..on(200, -1) }, nop(3), nop(4)] {
        queue.push(&entry)?;
    }
    let outcome = queue.submit();
    Ok((outcome, queue.pending(), queue.ready()))
}

/// A pipe with one byte.
fn filled(env: &Env) -> Try<(i32, i32)> {
    let (reader, writer) = env.pipe(0)?;
    raw::write(writer, env.buffer(), 1).map_err(|errno| unavailable("a write", errno))?;
    Ok((reader, writer))
}

/// Installs a filter that answers `EPERM` to one system call.
fn forbidden(env: &Env) -> Try {
    let number = u32::try_from(libc::SYS_io_uring_setup).unwrap_or_default();
    // Load the number; if it is this one, EPERM; else allow. Each: code, jumps, value.
    let program: [(u16, u8, u8, u32); 4] = [
        (0x20, 0, 0, 0),
        (0x15, 0, 1, number),
        (0x06, 0, 0, 0x0005_0001),
        (0x06, 0, 0, 0x7fff_0000),
    ];
    let mut at = env.argument().saturating_add(16);
    let first = env.memory.at(at);
    for (code, yes, no, value) in program {
        let [a, b] = code.to_ne_bytes();
        env.memory.put(at, &[a, b, yes, no]);
        env.memory.put_u32(at.saturating_add(4), value);
        at = at.saturating_add(8);
    }
    env.memory.put_u64(env.argument(), 4);
    env.memory.put_u64(env.argument().saturating_add(8), first.get());
    if cfg!(target_endian = "big") {
        return Err(Observed::Unavailable("the filter is for little-endian machines".to_owned()));
    }
    raw::no_new_privileges().map_err(|errno| unavailable("a filter", errno))?;
    raw::seccomp(1, 0, env.argument_address()).map_err(|errno| unavailable("a filter", errno))?;
    returned(make(env, 8, 0, &[]))
}

/// `kernel.io_uring_disabled`, which this does not change.
fn switched_off(env: &Env) -> Try {
    let value = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    match value.trim() {
        "2" => returned(make(env, 8, 0, &[])),
        "1" => {
            env.drop_privileges()?;
            returned(make(env, 8, 0, &[]))
        }
        _ => Err(Observed::Unavailable("kernel.io_uring_disabled is not set here".to_owned())),
    }
}

/// With the capability, and no locked memory allowed.
fn unlimited(env: &Env) -> Try<i32> {
    if raw::user() != 0 {
        return Err(Observed::Unavailable("it takes the capability".to_owned()));
    }
    env.limit(libc::RLIMIT_MEMLOCK, 0)?;
    ring(env, 0)
}

pub(crate) const PROBES: &[Probe] = &[
    p("io_uring_setup/EPERM/filter", "a filter that answers EPERM", Fails("EPERM"), forbidden),
    p("io_uring_setup/EPERM/disabled", "where it is set", Fails("EPERM"), switched_off),
    p(
        "io_uring_setup/capability/sys-admin",
        "where kernel.io_uring_disabled is 1",
        Succeeds,
        |env| {
            let value =
                std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
            if value.trim() != "1" || raw::user() != 0 {
                return Err(Observed::Unavailable("it takes root, and a setting of 1".to_owned()));
            }
            returned(make(env, 8, 0, &[]))
        },
    ),
    p("io_uring_setup/capability/ipc-lock", "no locked memory allowed", Seen, |env| {
        unlimited(env)?;
        seen(true, "a ring is made")
    }),
    p("io_uring_register/capability/ipc-lock", "no locked memory allowed", Gives(0), |env| {
        let fd = unlimited(env)?;
        env.put_vector(0, env.buffer(), 65_536);
        returned(raw::ring_register(fd, 0, env.vectors(), 1))
    }),
    p("io_uring_setup/begins-empty", "no completion is there", Seen, |_| {
        let queue = Queue::new(8, 0)?;
        seen(
            (queue.pending(), queue.ready()) == (0, 0),
            format!("{} and {}", queue.pending(), queue.ready()),
        )
    }),
    p("io_uring_setup/disabled-ring", "then enabled", Gives(1), |_| {
        let mut queue = Queue::new(8, R_DISABLED)?;
        queue.push(&nop(1))?;
        let before = queue.submit();
        if before.is_ok() {
            return seen(false, format!("it took {before:?} before"));
        }
        let _ = raw::ring_register(queue.fd(), 12, Address::NULL, 0);
        returned(queue.submit())
    }),
    p("io_uring_setup/no-sqarray", "the offset of the index is 0", Seen, |_| {
        let mut queue = Queue::new(8, 1 << 16)?;
        let offset = queue.params().sq_off.array;
        let ran = queue.run(&nop(1))?;
        seen(offset == 0 && ran == Observed::Event(Ok(0)), format!("{offset}; {ran}"))
    })
    .since(6, 6),
    p("io_uring_setup/single-mmap", "the queues work", EventGives(0), |_| {
        let mut queue = Queue::new(8, 0)?;
        if queue.params().features & 1 == 0 {
            return Err(Observed::Unavailable("the feature is not there".to_owned()));
        }
        queue.run(&nop(1))
    }),
    p("io_uring_setup/nodrop", "20 completions, room for 4", Gives(20), |_| {
        let mut queue = Queue::new(2, 0)?;
        for round in 0..10 {
            queue.push(&nop(round))?;
            queue.push(&nop(round))?;
            let _ = queue.submit();
        }
        let mut count = 0;
        for _ in 0..20 {
            let _ = queue.enter(0);
            while queue.next().is_some() {
                count += 1;
            }
        }
        returned(Ok(count))
    }),
    p(
        "io_uring_setup/submit-stable",
        "the array of vectors is overwritten",
        EventGives(1),
        |env| {
            let (reader, writer) = env.pipe(0)?;
            env.put_vector(0, env.buffer(), 8);
            let mut queue = Queue::new(8, 0)?;
            queue.push(&Entry { buffer: env.vectors(), length: 1, ..on(opcode::READV, reader) })?;
            let _ = queue.submit();
            env.put_vector(0, Address::KERNEL, 8);
            let _ = raw::write(writer, env.buffer(), 1);
            let _ = queue.enter(1);
            Ok(queue
                .next()
                .map_or(Observed::Seen(false, "nothing came".to_owned()), |c| Observed::Event(c.1)))
        },
    ),
    p("io_uring_enter/EBADF/registered-ring", "an empty place", Fails("EBADF"), |env| {
        let fd = ring(env, 0)?;
        let arg = crate::ring::words(env, &[u32::MAX, 0, fd.unsigned_abs(), 0]);
        let _ = raw::ring_register(fd, 20, arg, 1);
        returned(raw::ring_enter(15, 0, 0, 1 << 4, Address::NULL, 0))
    })
    .since(5, 18),
    p("io_uring_enter/return", "three NOPs", Gives(3), |_| {
        let mut queue = Queue::new(8, 0)?;
        for name in 1..4 {
            queue.push(&nop(name))?;
        }
        returned(queue.enter(3))
    }),
    p("io_uring_enter/head-moves", "three NOPs", Seen, |_| {
        let mut queue = Queue::new(8, 0)?;
        for name in 1..4 {
            queue.push(&nop(name))?;
        }
        let (before, outcome) = (queue.pending(), queue.submit());
        seen(
            (before, queue.pending()) == (3, 0),
            format!("{before}, {outcome:?}, {}", queue.pending()),
        )
    }),
    p("io_uring_enter/tail-moves", "three NOPs", Seen, |_| {
        let mut queue = Queue::new(8, 0)?;
        for name in 1..4 {
            queue.push(&nop(name))?;
        }
        let _ = queue.enter(3);
        seen(queue.ready() == 3, format!("{} are there", queue.ready()))
    }),
    p("io_uring_enter/malformed-is-counted", "the second of four", Seen, |_| {
        let (outcome, _, ready) = malformed(0)?;
        seen(outcome == Ok(2) && ready == 2, format!("{outcome:?}, {ready} completions"))
    }),
    p("io_uring_enter/stops-behind-malformed", "two of four stay", Seen, |_| {
        let (outcome, left, _) = malformed(0)?;
        seen(left == 2, format!("{outcome:?}, {left} left"))
    }),
    p("io_uring_enter/submit-all", "none of four stays", Seen, |_| {
        let (outcome, left, _) = malformed(1 << 7)?;
        seen(outcome == Ok(4) && left == 0, format!("{outcome:?}, {left} left"))
    }),
    p(
        "io_uring_enter/holds-file",
        "a pipe whose reader is closed meanwhile",
        EventGives(1),
        |env| {
            let (reader, writer) = env.pipe(0)?;
            let mut queue = Queue::new(8, 0)?;
            queue.push(&read(env, reader))?;
            let _ = queue.submit();
            let _ = raw::close(reader);
            let _ = raw::write(writer, env.buffer(), 1);
            let _ = queue.enter(1);
            Ok(queue
                .next()
                .map_or(Observed::Seen(false, "nothing came".to_owned()), |c| Observed::Event(c.1)))
        },
    ),
    p("io_uring_enter/cursor", "two reads at -1, one at 100", Seen, |env| {
        let fd = env.data()?;
        let mut queue = Queue::new(8, 0)?;
        let at = |offset: u64| Entry { offset, ..read(env, fd) };
        let first = queue.run(&at(u64::MAX))?;
        let other = queue.run(&at(100))?;
        let second = queue.run(&at(u64::MAX))?;
        let bytes: [u8; 2] = env.memory.get(env.page.saturating_mul(12));
        seen(bytes == [8, 9], format!("{first}, {other}, {second}: {bytes:?}"))
    }),
    p("io_uring_enter/waits", "two of two", Seen, |env| {
        let (reader, writer) = env.pipe(0)?;
        let mut queue = Queue::new(8, 0)?;
        queue.push(&read(env, reader))?;
        queue.push(&nop(2))?;
        let _ = queue.submit();
        let buffer = env.buffer();
        let thread = std::thread::spawn(move || raw::write(writer, buffer, 1));
        let outcome = queue.enter(2);
        let _ = thread.join();
        seen(queue.ready() == 2, format!("{outcome:?}, {} are there", queue.ready()))
    }),
    p("io_uring_enter/minimum-capped", "a thousand of four", Gives(4), |_| {
        let mut queue = Queue::new(4, 0)?;
        // Two times four fill the completion queue of eight.
        for name in 0..4 {
            queue.push(&nop(name))?;
        }
        let _ = queue.submit();
        for name in 0..4 {
            queue.push(&nop(name))?;
        }
        returned(queue.enter(1000))
    }),
    p("io_uring_enter/user-data", "a word", Seen, |_| {
        let mut queue = Queue::new(4, 0)?;
        let found = queue.all(&[nop(0x0123_4567_89ab_cdef)])?;
        seen(
            found.first().map(|(name, _)| *name) == Some(0x0123_4567_89ab_cdef),
            format!("{found:?}"),
        )
    }),
    p("io_uring_enter/recv-end", "the other end is closed", EventGives(0), |env| {
        let (socket, other) = env.sockets()?;
        let _ = raw::close(other);
        Queue::new(4, 0)?.run(&Entry {
            buffer: env.buffer(),
            length: 8,
            ..on(opcode::RECV, socket)
        })
    }),
    p("io_uring_enter/timeout-count", "one NOP", Seen, |env| {
        let mut queue = Queue::new(8, 0)?;
        let timer = Entry {
            buffer: env.time(60, 0),
            length: 1,
            offset: 1,
            name: 1,
            ..on(opcode::TIMEOUT, -1)
        };
        let found = queue.all(&[timer, nop(2)])?;
        let ended = found.iter().find(|(name, _)| *name == 1).map(|(_, result)| *result);
        seen(ended == Some(Ok(0)), format!("{found:?}"))
    }),
    p("io_uring_enter/chain-in-order", "a write, then a read of the same byte", Seen, |env| {
        let (reader, writer) = env.pipe(0)?;
        let mut queue = Queue::new(8, 0)?;
        let write = Entry {
            flags: 4,
            buffer: env.argument_address(),
            length: 1,
            name: 1,
            ..on(opcode::WRITE, writer)
        };
        let found = queue.all(&[write, Entry { length: 1, name: 2, ..read(env, reader) }])?;
        seen(found == [(1, Ok(1)), (2, Ok(1))], format!("{found:?}"))
    }),
    p("io_uring_enter/skip-success", "a silent NOP, then another", Seen, |_| {
        let mut queue = Queue::new(8, 0)?;
        queue.push(&Entry { flags: 1 << 6, ..nop(1) })?;
        queue.push(&nop(2))?;
        let outcome = queue.enter(1);
        let first = queue.next();
        let right = first.is_some_and(|(name, ..)| name == 2) && queue.next().is_none();
        seen(right, format!("{outcome:?}, {first:?}"))
    })
    .since(5, 17),
    p("io_uring_enter/poll-ready", "a pipe with a byte", EventGives(1), |env| {
        Queue::new(4, 0)?.run(&Entry { rw_flags: 1, ..on(opcode::POLL_ADD, filled(env)?.0) })
    }),
    p("io_uring_enter/poll-multishot", "a pipe with a byte", Seen, |env| {
        let mut queue = Queue::new(4, 0)?;
        queue.push(&Entry { rw_flags: 1, length: 1, ..on(opcode::POLL_ADD, filled(env)?.0) })?;
        let _ = queue.enter(1);
        let first = queue.next();
        seen(first.is_some_and(|(_, _, flags)| flags & 2 != 0), format!("{first:?}"))
    }),
    p("io_uring_enter/descriptors", "of an opened file", Seen, |env| {
        let mut queue = Queue::new(4, 0)?;
        let found = queue
            .all(&[Entry { buffer: env.path("data"), ..on(opcode::OPENAT, libc::AT_FDCWD) }])?;
        let Some((_, Ok(fd))) = found.first() else { return seen(false, format!("{found:?}")) };
        let read = raw::pread(i32::try_from(*fd).unwrap_or(-1), env.buffer(), 8, 0);
        seen(read == Ok(8), format!("{found:?}; then {read:?}"))
    }),
    p("io_uring_enter/deferred", "a read of a pipe", Seen, |env| {
        let mut queue = Queue::new(4, DEFER_TASKRUN | SINGLE_ISSUER)?;
        let (reader, writer) = env.pipe(0)?;
        queue.push(&read(env, reader))?;
        let _ = queue.submit();
        let _ = raw::write(writer, env.buffer(), 1);
        let before = queue.ready();
        let _ = queue.enter(1);
        seen((before, queue.ready()) == (0, 1), format!("{before}, then {}", queue.ready()))
    })
    .since(6, 1),
];
