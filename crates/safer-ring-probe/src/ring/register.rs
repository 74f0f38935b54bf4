//! `io_uring_register(2)`: the call itself, and operations without tables.

use crate::env::{Env, Try};
use crate::expect::Expect::{Fails, Gives, OneOf, Succeeds};
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

/// Registers something with a plain ring.
fn plain(env: &Env, operation: u32, arg: Address, nr: u32) -> Try {
    returned(raw::ring_register(ring(env, 0)?, operation, arg, nr))
}

/// The same with an argument of these words; the ring is made first, as its parameters lie there.
fn with(env: &Env, operation: u32, argument: &[u32], nr: u32) -> Try {
    let fd = ring(env, 0)?;
    returned(raw::ring_register(fd, operation, words(env, argument), nr))
}

pub(crate) const PROBES: &[Probe] = &[
    p("io_uring_register/EINVAL/opcode", "200", Fails("EINVAL"), |env| {
        plain(env, 200, Address::NULL, 0)
    }),
    p("io_uring_register/EINVAL/opcode", "all bits but the first", Fails("EINVAL"), |env| {
        plain(env, 0x7fff_ffff, Address::NULL, 0)
    }),
    p("io_uring_register/EINVAL/opcode", "is seen before the descriptor", Fails("EINVAL"), |env| {
        returned(raw::ring_register(env.closed()?, 200, Address::NULL, 0))
    }),
    p("io_uring_register/EINVAL/no-fd", "an operation with a ring", Fails("EINVAL"), |_| {
        returned(raw::ring_register(-1, 0, Address::NULL, 0))
    })
    .since(6, 13),
    p("io_uring_register/EBADF/closed", "a closed descriptor", Fails("EBADF"), |env| {
        returned(raw::ring_register(env.closed()?, 1, Address::NULL, 0))
    }),
    p("io_uring_register/EBADF/closed", "-2", Fails("EBADF"), |_| {
        returned(raw::ring_register(-2, 1, Address::NULL, 0))
    }),
    p("io_uring_register/EOPNOTSUPP/no-ring", "a regular file", Fails("EOPNOTSUPP"), |env| {
        returned(raw::ring_register(env.data()?, 1, Address::NULL, 0))
    }),
    p("io_uring_register/EOPNOTSUPP/no-ring", "an eventfd", Fails("EOPNOTSUPP"), |env| {
        returned(raw::ring_register(env.eventfd()?, 1, Address::NULL, 0))
    }),
    p("io_uring_register/EEXIST/other-thread", "with SINGLE_ISSUER", Fails("EEXIST"), |env| {
        let fd = ring(env, SINGLE_ISSUER)?;
        elsewhere(move || raw::ring_register(fd, 1, Address::NULL, 0))
    })
    .since(6, 0),
    p(
        "io_uring_register/EEXIST/other-thread",
        "of a plain ring it is right",
        Fails("ENXIO"),
        |env| {
            let fd = ring(env, 0)?;
            elsewhere(move || raw::ring_register(fd, 1, Address::NULL, 0))
        },
    ),
    p("io_uring_register/EACCES/restricted", "what no restriction names", Fails("EACCES"), |env| {
        let fd = ring(env, R_DISABLED)?;
        // REGISTER_OP of ENABLE_RINGS alone.
        let restriction = u32::from_ne_bytes([0, 0, 12, 0]);
        let arg = words(env, &[restriction, 0, 0, 0]);
        let restricted = raw::ring_register(fd, 11, arg, 1);
        if restricted.is_err() {
            return returned(restricted);
        }
        let enabled = raw::ring_register(fd, 12, Address::NULL, 0);
        if enabled.is_err() {
            return returned(enabled);
        }
        returned(raw::ring_register(fd, 9, Address::NULL, 0))
    }),
    p(
        "io_uring_register/EINVAL/unregister-buffers",
        "UNREGISTER_BUFFERS with a number",
        Fails("EINVAL"),
        |env| plain(env, 1, Address::NULL, 1),
    ),
    p(
        "io_uring_register/EINVAL/no-argument",
        "UNREGISTER_FILES with an address",
        Fails("EINVAL"),
        |env| plain(env, 3, env.argument_address(), 0),
    ),
    p(
        "io_uring_register/EINVAL/no-argument",
        "UNREGISTER_EVENTFD with a number",
        Fails("EINVAL"),
        |env| plain(env, 5, Address::NULL, 1),
    ),
    p(
        "io_uring_register/EINVAL/personality",
        "PERSONALITY with a number",
        Fails("EINVAL"),
        |env| plain(env, 9, Address::NULL, 1),
    ),
    p(
        "io_uring_register/EINVAL/no-argument",
        "ENABLE_RINGS with a number",
        Fails("EINVAL"),
        |env| plain(env, 12, Address::NULL, 1),
    ),
    p(
        "io_uring_register/EINVAL/no-argument",
        "UNREGISTER_IOWQ_AFF with a number",
        Fails("EINVAL"),
        |env| plain(env, 18, Address::NULL, 1),
    ),
    p(
        "io_uring_register/EBADFD/enable",
        "ENABLE_RINGS of a ring that is",
        Fails("EBADFD"),
        |env| plain(env, 12, Address::NULL, 0),
    ),
    p("io_uring_register/EBADFD/enable", "ENABLE_RINGS twice", Fails("EBADFD"), |env| {
        let fd = ring(env, R_DISABLED)?;
        let _ = raw::ring_register(fd, 12, Address::NULL, 0);
        returned(raw::ring_register(fd, 12, Address::NULL, 0))
    }),
    p(
        "io_uring_register/EBADFD/restrictions",
        "RESTRICTIONS of a ring that is",
        Fails("EBADFD"),
        |env| with(env, 11, &[0, 0, 0, 0], 1),
    ),
    p("io_uring_register/return", "ENABLE_RINGS", Gives(0), |env| {
        returned(raw::ring_register(ring(env, R_DISABLED)?, 12, Address::NULL, 0))
    }),
    p("io_uring_register/EINVAL/probe-count", "257 operations", Fails("EINVAL"), |env| {
        plain(env, 8, env.buffer(), 257)
    }),
    p("io_uring_register/EINVAL/probe-null", "a null pointer", Fails("EINVAL"), |env| {
        plain(env, 8, Address::NULL, 1)
    }),
    p(
        "io_uring_register/EINVAL/probe-not-zero",
        "something in the structure",
        Fails("EINVAL"),
        |env| with(env, 8, &[1, 0, 0, 0], 0),
    ),
    p("io_uring_register/return", "PROBE", Gives(0), |env| plain(env, 8, env.buffer(), 64)),
    p("io_uring_register/personality-number", "PERSONALITY gives a number", Succeeds, |env| {
        plain(env, 9, Address::NULL, 0)
    }),
    p(
        "io_uring_register/EINVAL/unregister-personality",
        "a number that none has",
        Fails("EINVAL"),
        |env| plain(env, 10, Address::NULL, 7),
    ),
    p("io_uring_register/EINVAL/max-workers", "one limit", Fails("EINVAL"), |env| {
        with(env, 19, &[0, 0], 1)
    }),
    p("io_uring_register/EINVAL/max-workers", "a null pointer", Fails("EINVAL"), |env| {
        plain(env, 19, Address::NULL, 2)
    }),
    p("io_uring_register/EINVAL/max-workers", "2^31", Fails("EINVAL"), |env| {
        with(env, 19, &[1 << 31, 0], 2)
    }),
    p("io_uring_register/return", "IOWQ_MAX_WORKERS", Gives(0), |env| with(env, 19, &[0, 0], 2)),
    p("io_uring_register/EINVAL/ring-fds", "0", Fails("EINVAL"), |env| with(env, 20, &[0; 4], 0)),
    p("io_uring_register/EINVAL/ring-fds", "17", Fails("EINVAL"), |env| with(env, 20, &[0; 4], 17)),
    p("io_uring_register/EINVAL/ring-fds", "0 to remove", Fails("EINVAL"), |env| {
        with(env, 21, &[0; 4], 0)
    }),
    p(
        "io_uring_register/EINVAL/reserved",
        "RING_FDS with a reserved word",
        Fails("EINVAL"),
        |env| with(env, 20, &[u32::MAX, 1, 0, 0], 1),
    ),
    p("io_uring_register/return", "RING_FDS", Gives(1), |env| {
        let fd = ring(env, 0)?;
        let arg = words(env, &[u32::MAX, 0, fd.unsigned_abs(), 0]);
        returned(raw::ring_register(fd, 20, arg, 1))
    })
    .since(5, 18),
    p("io_uring_register/EINVAL/one-argument", "SYNC_CANCEL with 2", Fails("EINVAL"), |env| {
        with(env, 24, &[0; 16], 2)
    })
    .since(6, 0),
    p("io_uring_register/EINVAL/one-argument", "SYNC_CANCEL with null", Fails("EINVAL"), |env| {
        plain(env, 24, Address::NULL, 1)
    })
    .since(6, 0),
    p(
        "io_uring_register/EINVAL/sync-cancel",
        "SYNC_CANCEL with unknown flags",
        Fails("EINVAL"),
        |env| {
            let mut argument = [0; 16];
            argument[3] = 1 << 31;
            with(env, 24, &argument, 1)
        },
    )
    .since(6, 0),
    p("io_uring_register/ENOENT/sync-cancel", "SYNC_CANCEL of nothing", Fails("ENOENT"), |env| {
        // No time limit, and no request with this number.
        let argument =
            [77, 0, 0, 0, u32::MAX, u32::MAX, u32::MAX, u32::MAX, 0, 0, 0, 0, 0, 0, 0, 0];
        with(env, 24, &argument, 1)
    })
    .since(6, 0),
    p("io_uring_register/EINVAL/one-argument", "RESIZE_RINGS with 0", Fails("EINVAL"), |env| {
        with(env, 33, &[0; 30], 0)
    }),
    p("io_uring_register/EINVAL/resize", "a plain ring", Fails("EINVAL"), |env| {
        with(env, 33, &[16], 1)
    }),
    p("io_uring_register/EINVAL/resize", "with DEFER_TASKRUN it is right", Gives(0), |env| {
        let fd = ring(env, SINGLE_ISSUER | DEFER_TASKRUN)?;
        let mut argument = [0; 30];
        argument[0] = 16;
        returned(raw::ring_register(fd, 33, words(env, &argument), 1))
    })
    .since(6, 13),
    p("io_uring_register/EINVAL/clock", "a clock that does not exist", Fails("EINVAL"), |env| {
        with(env, 29, &[99, 0, 0, 0], 0)
    })
    .since(6, 12),
    p("io_uring_register/return", "CLOCK", Gives(0), |env| with(env, 29, &[1, 0, 0, 0], 0))
        .since(6, 12),
    p(
        "io_uring_register/EINVAL/workers-affinity",
        "a null pointer",
        OneOf(&[Fails("EINVAL"), Fails("EFAULT")]),
        |env| plain(env, 17, Address::NULL, 8),
    ),
];
