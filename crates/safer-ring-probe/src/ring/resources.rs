//! `io_uring_register(2)`: what registered things do, and those that belong to two rings.

use safer_ring_sys::opcode;

use crate::env::{Env, Try, seen};
use crate::expect::Expect::{EventGives, Fails, Gives, Seen};
use crate::expect::Observed;
use crate::memory::Address;
use crate::probes::Probe;
use crate::queue::{Entry, Queue};
use crate::raw;
use crate::ring::{DEFER_TASKRUN, R_DISABLED, SINGLE_ISSUER, halves, returned, ring, words};

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

fn bits(fd: i32) -> u32 {
    u32::from_ne_bytes(fd.to_ne_bytes())
}

/// Registers one buffer.
fn buffer(env: &Env, fd: i32, base: Address, length: u64) -> raw::Outcome {
    env.put_vector(0, base, length);
    raw::ring_register(fd, 0, env.vectors(), 1)
}

/// Clones the buffers of another ring.
fn clone(env: &Env, fd: i32, from: i32) -> Try {
    returned(raw::ring_register(fd, 30, words(env, &[bits(from), 0, 0, 0, 0, 0, 0, 0]), 1))
}

/// Updates one buffer at a place.
fn update_buffer(env: &Env, fd: i32, place: u32) -> Try {
    env.put_vector(0, env.buffer(), 4096);
    let [low, high] = halves(env.vectors());
    returned(raw::ring_register(fd, 16, words(env, &[place, 0, low, high, 0, 0, 1, 0]), 32))
}

/// Restricts a ring to these: opcode and value of each.
fn restrict(env: &Env, fd: i32, kind: u8) -> raw::Outcome {
    let first = u32::from_ne_bytes([kind, 0, 0, 0]);
    raw::ring_register(fd, 11, words(env, &[first, 0, 0, 0]), 1)
}

/// Registers a region of one page of the program, with these flags.
fn region(env: &Env, fd: i32, flags: u32) -> raw::Outcome {
    let at = env.argument().saturating_add(256);
    let page = u64::try_from(env.page).unwrap_or_default();
    env.memory.put(at, &[0; 64]);
    env.memory.put_u64(at, env.buffer().get());
    env.memory.put_u64(at.saturating_add(8), page);
    env.memory.put_u32(at.saturating_add(16), 1);
    let [low, high] = halves(env.memory.at(at));
    raw::ring_register(fd, 34, words(env, &[low, high, flags, 0, 0, 0, 0, 0]), 1)
}

/// Files of a ring with queues: the data and an empty place.
fn files(env: &Env, queue: &Queue, fd: i32) -> raw::Outcome {
    raw::ring_register(queue.fd(), 2, words(env, &[bits(fd), u32::MAX]), 2)
}

/// A request for zero-copy receive whose structure is all zeros.
fn zcrx(env: &Env, fd: i32) -> Try {
    env.memory.put(env.argument(), &[0; 128]);
    returned(raw::ring_register(fd, 32, env.argument_address(), 1))
}

/// A cancellation of everything, without a time limit.
fn cancel_all(env: &Env, fd: i32) -> raw::Outcome {
    let mut argument = [0; 16];
    // ALL and ANY; no time limit is -1 twice.
    argument[3] = 1 | 4;
    argument[4..8].copy_from_slice(&[u32::MAX; 4]);
    raw::ring_register(fd, 24, words(env, &argument), 1)
}

pub(crate) const PROBES: &[Probe] = &[
    p("io_uring_register/EBADF/files-update", "a closed descriptor", Fails("EBADF"), |env| {
        let queue = Queue::new(4, 0)?;
        let _ = files(env, &queue, env.data()?);
        env.memory.put_u32(env.argument().saturating_add(64), 1_000_000);
        let [low, high] = halves(env.memory.at(env.argument().saturating_add(64)));
        returned(raw::ring_register(queue.fd(), 6, words(env, &[1, 0, low, high]), 1))
    }),
    p("io_uring_register/EBUSY/clone-buffers", "both have some", Fails("EBUSY"), |env| {
        let (first, second) = (ring(env, 0)?, ring(env, 0)?);
        let _ = buffer(env, first, env.buffer(), 4096);
        let _ = buffer(env, second, env.buffer(), 4096);
        clone(env, second, first)
    })
    .since(6, 12),
    p("io_uring_register/ENXIO/clone-buffers", "neither has any", Fails("ENXIO"), |env| {
        let (first, second) = (ring(env, 0)?, ring(env, 0)?);
        clone(env, second, first)
    })
    .since(6, 12),
    p("io_uring_register/EBUSY/mem-region", "a second time", Fails("EBUSY"), |env| {
        let fd = ring(env, 0)?;
        let first = region(env, fd, 0);
        if first.is_err() {
            return seen(false, format!("the first time: {first:?}"));
        }
        returned(region(env, fd, 0))
    })
    .since(6, 13),
    p(
        "io_uring_register/EINVAL/mem-region",
        "for waiting, on an enabled ring",
        Fails("EINVAL"),
        |env| returned(region(env, ring(env, 0)?, 1)),
    )
    .since(6, 13),
    p("io_uring_register/EINVAL/mem-region", "on a disabled ring it is right", Gives(0), |env| {
        returned(region(env, ring(env, R_DISABLED)?, 1))
    })
    .since(6, 13),
    p("io_uring_register/EBUSY/restrictions", "a second time", Fails("EBUSY"), |env| {
        let fd = ring(env, R_DISABLED)?;
        let first = restrict(env, fd, 1);
        if first.is_err() {
            return seen(false, format!("the first time: {first:?}"));
        }
        returned(restrict(env, fd, 1))
    }),
    p("io_uring_register/EINVAL/restrictions", "the kind 99", Fails("EINVAL"), |env| {
        returned(restrict(env, ring(env, R_DISABLED)?, 99))
    }),
    p(
        "io_uring_register/EFAULT/buffer-empty",
        "an address and no length",
        Fails("EFAULT"),
        |env| returned(buffer(env, ring(env, 0)?, env.buffer(), 0)),
    ),
    p("io_uring_register/ENXIO/buffers-update", "no buffers", Fails("ENXIO"), |env| {
        update_buffer(env, ring(env, 0)?, 0)
    }),
    p("io_uring_register/EINVAL/buffers-update", "the second of one", Fails("EINVAL"), |env| {
        let fd = ring(env, 0)?;
        let _ = buffer(env, fd, env.buffer(), 4096);
        update_buffer(env, fd, 1)
    }),
    p("io_uring_register/EINVAL/file-alloc-range", "three of two", Fails("EINVAL"), |env| {
        let queue = Queue::new(4, 0)?;
        let _ = files(env, &queue, env.data()?);
        returned(raw::ring_register(queue.fd(), 25, words(env, &[0, 3, 0, 0]), 0))
    }),
    p("io_uring_register/EPERM/zcrx", "without the capability", Fails("EPERM"), |env| {
        let fd = ring(env, DEFER_TASKRUN | SINGLE_ISSUER | 1 << 11)?;
        env.drop_privileges()?;
        zcrx(env, fd)
    })
    .since(6, 15),
    p("io_uring_register/EINVAL/zcrx", "a plain ring", Fails("EINVAL"), |env| {
        if raw::user() != 0 {
            return Err(Observed::Unavailable("it takes the capability".to_owned()));
        }
        zcrx(env, ring(env, 0)?)
    })
    .since(6, 15),
    p("io_uring_register/buffers-work", "READ_FIXED", EventGives(512), |env| {
        let mut queue = Queue::new(4, 0)?;
        let _ = buffer(env, queue.fd(), env.buffer(), 4096);
        queue.run(&Entry {
            buffer: env.buffer(),
            length: 512,
            ..on(opcode::READ_FIXED, env.data()?)
        })
    }),
    p(
        "io_uring_register/files-work",
        "a read after the descriptor was closed",
        EventGives(8),
        |env| {
            let mut queue = Queue::new(4, 0)?;
            let fd = env.data()?;
            let _ = files(env, &queue, fd);
            let _ = raw::close(fd);
            queue.run(&Entry { flags: 1, buffer: env.buffer(), length: 8, ..on(opcode::READ, 0) })
        },
    ),
    p("io_uring_register/files-sparse", "two empty places", Gives(0), |env| {
        let queue = Queue::new(4, 0)?;
        returned(files(env, &queue, -1))
    }),
    p("io_uring_register/eventfd-signals", "one NOP", Seen, |env| {
        let mut queue = Queue::new(4, 0)?;
        let eventfd = env.eventfd()?;
        let _ = raw::ring_register(queue.fd(), 4, words(env, &[bits(eventfd)]), 1);
        let ran = queue.run(&on(opcode::NOP, -1))?;
        let read = raw::read(eventfd, env.argument_address(), 8);
        seen(
            read == Ok(8) && env.memory.get_u64(env.argument()) >= 1,
            format!("{ran}; then {read:?}"),
        )
    }),
    p("io_uring_register/enabled", "a NOP afterwards", EventGives(0), |_| {
        let mut queue = Queue::new(4, R_DISABLED)?;
        let _ = raw::ring_register(queue.fd(), 12, Address::NULL, 0);
        queue.run(&on(opcode::NOP, -1))
    }),
    p("io_uring_register/max-workers-old", "the numbers come back", Seen, |env| {
        let fd = ring(env, 0)?;
        let _ = raw::ring_register(fd, 19, words(env, &[3, 5]), 2);
        let again = raw::ring_register(fd, 19, words(env, &[0, 0]), 2);
        let old = (
            env.memory.get_u32(env.argument()),
            env.memory.get_u32(env.argument().saturating_add(4)),
        );
        let third = raw::ring_register(fd, 19, words(env, &[0, 0]), 2);
        let kept = env.memory.get_u32(env.argument());
        seen(old == (3, 5) && kept == 3, format!("{again:?}, {old:?}; then {third:?}, {kept}"))
    }),
    p("io_uring_register/msg-ring-arrives", "from no ring", Seen, |env| {
        let mut queue = Queue::new(4, 0)?;
        let mut message = [0; 16];
        // MSG_RING, the ring, the result, the word.
        message[0] = u32::from_ne_bytes([40, 0, 0, 0]);
        message[1] = bits(queue.fd());
        message[2] = 0x55;
        message[6] = 7;
        let sent = raw::ring_register(-1, 31, words(env, &message), 1);
        let _ = queue.enter(1);
        let found = queue.next();
        seen(
            found.is_some_and(|(word, res, _)| word == 0x55 && res == Ok(7)),
            format!("{sent:?}, {found:?}"),
        )
    })
    .since(6, 13),
    p("io_uring_register/probe-answers", "NOP is there", Seen, |env| {
        let fd = ring(env, 0)?;
        env.memory.put(env.argument(), &[0; 1024]);
        let outcome = raw::ring_register(fd, 8, env.argument_address(), 100);
        let [last, count, ..]: [u8; 4] = env.memory.get(env.argument());
        let [op, _, supported, _]: [u8; 4] = env.memory.get(env.argument().saturating_add(16));
        seen(
            last > 30 && count > 30 && op == 0 && supported & 1 == 1,
            format!("{outcome:?}, {last}, {count}"),
        )
    }),
    p("io_uring_register/query-answers", "operations", Seen, |env| {
        // A header, then room for 48 bytes.
        let data = env.argument().saturating_add(64);
        env.memory.put(env.argument(), &[0; 128]);
        env.memory.put_u64(env.argument().saturating_add(8), env.memory.at(data).get());
        env.memory.put_u32(env.argument().saturating_add(20), 48);
        let outcome = raw::ring_register(-1, 35, env.argument_address(), 0);
        let operations = env.memory.get_u32(data);
        seen(outcome == Ok(0) && operations > 40, format!("{outcome:?}, {operations} operations"))
    })
    .since(6, 18),
    p("io_uring_register/ring-fds-work", "entering by its place", Gives(0), |env| {
        let fd = ring(env, 0)?;
        let arg = words(env, &[u32::MAX, 0, bits(fd), 0]);
        let _ = raw::ring_register(fd, 20, arg, 1);
        let place = i32::try_from(env.memory.get_u32(env.argument())).unwrap_or(-1);
        returned(raw::ring_enter(place, 0, 0, 1 << 4, Address::NULL, 0))
    })
    .since(5, 18),
    p("io_uring_register/EOPNOTSUPP/ring-fds", "a file", Fails("EOPNOTSUPP"), |env| {
        let (fd, data) = (ring(env, 0)?, env.data()?);
        returned(raw::ring_register(fd, 20, words(env, &[u32::MAX, 0, bits(data), 0]), 1))
    })
    .since(5, 18),
    p("io_uring_register/sync-cancel-ends", "a read of an empty pipe", Seen, |env| {
        let mut queue = Queue::new(4, 0)?;
        queue.push(&Entry {
            buffer: env.buffer(),
            length: 8,
            ..on(opcode::READ, env.pipe(0)?.0)
        })?;
        let _ = queue.submit();
        let cancelled = cancel_all(env, queue.fd());
        let _ = queue.enter(1);
        let found = queue.next();
        let right = matches!(found, Some((_, Err(errno), _)) if errno.name() == Some("ECANCELED"));
        seen(right, format!("{cancelled:?}, {found:?}"))
    })
    .since(6, 0),
    p("io_uring_register/sync-cancel-nothing", "of everything", Gives(0), |env| {
        returned(cancel_all(env, ring(env, 0)?))
    })
    .since(6, 0),
];
