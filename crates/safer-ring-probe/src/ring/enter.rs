//! `io_uring_enter(2)`: the call itself.

use crate::env::{Env, Try};
use crate::expect::Expect::{Fails, Gives};
use crate::expect::Observed;
use crate::memory::Address;
use crate::probes::Probe;
use crate::raw;
use crate::ring::{DEFER_TASKRUN, R_DISABLED, SINGLE_ISSUER, elsewhere, returned, ring, words};

const fn p(
    statement: &'static str,
    case: &'static str,
    expect: crate::Expect,
    run: fn(&Env) -> Try,
) -> Probe {
    Probe::new(statement, case, expect, run)
}

const GETEVENTS: u32 = 1;
const EXT_ARG: u32 = 1 << 3;
const REGISTERED_RING: u32 = 1 << 4;

/// Enters a ring of no special kind, without submitting or waiting.
fn enter(env: &Env, flags: u32, arg: Address, size: u64) -> Try {
    returned(raw::ring_enter(ring(env, 0)?, 0, 0, flags, arg, size))
}

fn on(fd: i32, flags: u32) -> Try {
    returned(raw::ring_enter(fd, 0, 0, flags, Address::NULL, 0))
}

/// Waits for a completion that does not come, for a millisecond.
fn limited(env: &Env, wait: u32) -> Try {
    let fd = ring(env, 0)?;
    let [low, high] = crate::ring::halves(env.time(0, 1_000_000));
    let arg = words(env, &[0, 0, 0, 0, low, high]);
    returned(raw::ring_enter(fd, 0, wait, GETEVENTS | EXT_ARG, arg, 24))
}

pub(crate) const PROBES: &[Probe] = &[
    p("io_uring_enter/EINVAL/unknown-flag", "bit 31", Fails("EINVAL"), |env| {
        enter(env, 1 << 31, Address::NULL, 0)
    }),
    p("io_uring_enter/EINVAL/unknown-flag", "bit 16", Fails("EINVAL"), |env| {
        enter(env, 1 << 16, Address::NULL, 0)
    }),
    p(
        "io_uring_enter/EINVAL/unknown-flag",
        "is seen before the descriptor",
        Fails("EINVAL"),
        |_| on(-1, u32::MAX),
    ),
    p("io_uring_enter/EINVAL/registered-ring", "the index 16", Fails("EINVAL"), |_| {
        on(16, REGISTERED_RING)
    }),
    p("io_uring_enter/EINVAL/registered-ring", "-1", Fails("EINVAL"), |_| on(-1, REGISTERED_RING)),
    p("io_uring_enter/EBADF/closed", "-1", Fails("EBADF"), |_| on(-1, 0)),
    p("io_uring_enter/EBADF/closed", "a closed descriptor", Fails("EBADF"), |env| {
        on(env.closed()?, 0)
    }),
    p("io_uring_enter/EBADF/closed", "one that is open for its path only", Fails("EBADF"), |env| {
        on(env.open("data", libc::O_PATH)?, 0)
    }),
    p("io_uring_enter/EOPNOTSUPP/no-ring", "a regular file", Fails("EOPNOTSUPP"), |env| {
        on(env.data()?, 0)
    }),
    p("io_uring_enter/EOPNOTSUPP/no-ring", "a pipe", Fails("EOPNOTSUPP"), |env| {
        on(env.pipe(0)?.0, 0)
    }),
    p("io_uring_enter/EOPNOTSUPP/no-ring", "an eventfd", Fails("EOPNOTSUPP"), |env| {
        on(env.eventfd()?, 0)
    }),
    p("io_uring_enter/EBADFD/disabled", "a ring that was not enabled", Fails("EBADFD"), |env| {
        on(ring(env, R_DISABLED)?, 0)
    }),
    p("io_uring_enter/EBADFD/disabled", "enabled, it is right", Gives(0), |env| {
        let fd = ring(env, R_DISABLED)?;
        let _ = raw::ring_register(fd, 12, Address::NULL, 0);
        on(fd, 0)
    }),
    p("io_uring_enter/EEXIST/submit", "submitting on another thread", Fails("EEXIST"), |env| {
        let fd = ring(env, SINGLE_ISSUER)?;
        elsewhere(move || raw::ring_enter(fd, 1, 0, 0, Address::NULL, 0))
    })
    .since(6, 0),
    p(
        "io_uring_enter/EEXIST/wait",
        "waiting on another thread, with DEFER_TASKRUN",
        Fails("EEXIST"),
        |env| {
            let fd = ring(env, SINGLE_ISSUER | DEFER_TASKRUN)?;
            elsewhere(move || raw::ring_enter(fd, 0, 0, GETEVENTS, Address::NULL, 0))
        },
    )
    .since(6, 1),
    p("io_uring_enter/EEXIST/submit", "of a plain ring it is right", Gives(0), |env| {
        let fd = ring(env, 0)?;
        elsewhere(move || raw::ring_enter(fd, 1, 0, 0, Address::NULL, 0))
    }),
    p("io_uring_enter/EINVAL/argument-size", "0", Fails("EINVAL"), |env| {
        enter(env, GETEVENTS | EXT_ARG, env.argument_address(), 0)
    }),
    p("io_uring_enter/EINVAL/argument-size", "25", Fails("EINVAL"), |env| {
        enter(env, GETEVENTS | EXT_ARG, env.argument_address(), 25)
    }),
    p(
        "io_uring_enter/EINVAL/argument-size",
        "is seen before the address",
        Fails("EINVAL"),
        |env| enter(env, GETEVENTS | EXT_ARG, Address::KERNEL, 8),
    ),
    p("io_uring_enter/EFAULT/argument", "memory that cannot be touched", Fails("EFAULT"), |env| {
        enter(env, GETEVENTS | EXT_ARG, env.memory.forbidden(), 24)
    }),
    p("io_uring_enter/EFAULT/argument", "a null pointer", Fails("EFAULT"), |env| {
        enter(env, GETEVENTS | EXT_ARG, Address::NULL, 24)
    }),
    p("io_uring_enter/EFAULT/timeout", "a time limit nowhere", Fails("EFAULT"), |env| {
        let fd = ring(env, 0)?;
        let [low, high] = crate::ring::halves(env.memory.forbidden());
        let arg = words(env, &[0, 0, 0, 0, low, high]);
        returned(raw::ring_enter(fd, 0, 1, GETEVENTS | EXT_ARG, arg, 24))
    }),
    p("io_uring_enter/EINVAL/mask-size", "16", Fails("EINVAL"), |env| {
        let fd = ring(env, 0)?;
        returned(raw::ring_enter(fd, 0, 1, GETEVENTS, env.buffer(), 16))
    }),
    p("io_uring_enter/EINVAL/mask-size", "128, that of the C library", Fails("EINVAL"), |env| {
        let fd = ring(env, 0)?;
        returned(raw::ring_enter(fd, 0, 1, GETEVENTS, env.buffer(), 128))
    }),
    p("io_uring_enter/EFAULT/mask", "memory that cannot be touched", Fails("EFAULT"), |env| {
        let fd = ring(env, 0)?;
        returned(raw::ring_enter(fd, 0, 1, GETEVENTS, env.memory.forbidden(), 8))
    }),
    p("io_uring_enter/ETIME/timeout", "nothing completes", Fails("ETIME"), |env| limited(env, 1)),
    p("io_uring_enter/nothing-to-submit", "nothing is waited for", Gives(0), |env| limited(env, 0)),
    p("io_uring_enter/EINTR/signal", "a timer during the wait", Fails("EINTR"), |env| {
        let fd = ring(env, 0)?;
        raw::hear_alarms();
        let at = env.argument();
        for (field, value) in [(0, 0), (8, 5000), (16, 0), (24, 5000)] {
            env.memory.put_u64(at.saturating_add(field), value);
        }
        let _ = raw::setitimer(0, env.argument_address(), Address::NULL);
        returned(raw::ring_enter(fd, 0, 1, GETEVENTS, Address::NULL, 0))
    }),
    p("io_uring_enter/nothing-to-submit", "nothing to do", Gives(0), |env| {
        enter(env, 0, Address::NULL, 0)
    }),
    p("io_uring_enter/more-than-queued", "more than is in the queue", Gives(0), |env| {
        let fd = ring(env, 0)?;
        returned(raw::ring_enter(fd, 1000, 0, 0, Address::NULL, 0))
    }),
    p(
        "io_uring_enter/unused-argument",
        "without GETEVENTS the argument does not count",
        Gives(0),
        |env| enter(env, 0, Address::KERNEL, 3),
    ),
    p("io_uring_enter/forked-child", "in a forked child too", Gives(0), |env| {
        let fd = ring(env, 0)?;
        crate::aio::in_fork(|| Observed::Returned(raw::ring_enter(fd, 0, 0, 0, Address::NULL, 0)))
    }),
];
