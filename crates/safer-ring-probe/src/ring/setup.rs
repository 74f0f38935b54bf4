//! `io_uring_setup(2)`.

use crate::env::{Env, Try, seen};
use crate::expect::Expect::{Fails, Seen, Succeeds};
use crate::memory::Address;
use crate::probes::Probe;
use crate::raw;
use crate::ring::{CQ_ENTRIES, SQ_THREAD_CPU, WQ_FD, make, returned, ring};

const fn p(
    statement: &'static str,
    case: &'static str,
    expect: crate::Expect,
    run: fn(&Env) -> Try,
) -> Probe {
    Probe::new(statement, case, expect, run)
}

/// Makes a ring of eight entries with these flags.
fn with(env: &Env, flags: u32) -> Try {
    returned(make(env, 8, flags, &[]))
}

fn sized(env: &Env, entries: u32, flags: u32, completions: u32) -> Try {
    returned(make(env, entries, flags, &[(CQ_ENTRIES, completions)]))
}

/// What the kernel wrote to a field after making a ring.
fn written(env: &Env, entries: u32, flags: u32, field: usize, wanted: u32) -> Try {
    let made = make(env, entries, flags, &[]);
    if made.is_err() {
        return returned(made);
    }
    let found = env.memory.get_u32(env.argument().saturating_add(field));
    seen(found == wanted, format!("{found}, not {wanted}"))
}

/// Without privileges, and with this limit of locked memory.
fn locked(env: &Env, limit: u64, entries: u32) -> Try {
    env.drop_privileges()?;
    env.limit(libc::RLIMIT_MEMLOCK, limit)?;
    returned(make(env, entries, 0, &[]))
}

const IOPOLL: u32 = 1;
const SQPOLL: u32 = 1 << 1;
const SQ_AFF: u32 = 1 << 2;
const CQSIZE: u32 = 1 << 3;
const CLAMP: u32 = 1 << 4;
const ATTACH_WQ: u32 = 1 << 5;
const COOP: u32 = 1 << 8;
const TASKRUN_FLAG: u32 = 1 << 9;
const SQE128: u32 = 1 << 10;
const CQE32: u32 = 1 << 11;
const SINGLE: u32 = 1 << 12;
const DEFER: u32 = 1 << 13;
const NO_MMAP: u32 = 1 << 14;
const REGISTERED_FD_ONLY: u32 = 1 << 15;
const NO_SQARRAY: u32 = 1 << 16;
const HYBRID: u32 = 1 << 17;
const CQE_MIXED: u32 = 1 << 18;
const SQE_MIXED: u32 = 1 << 19;
const SQ_REWIND: u32 = 1 << 20;

pub(crate) const PROBES: &[Probe] = &[
    p("io_uring_setup/EFAULT/params", "a null pointer", Fails("EFAULT"), |_| {
        returned(raw::ring_setup(8, Address::NULL))
    }),
    p("io_uring_setup/EFAULT/params", "memory that cannot be touched", Fails("EFAULT"), |env| {
        returned(raw::ring_setup(8, env.memory.forbidden()))
    }),
    p("io_uring_setup/EFAULT/params", "is seen before a number of 0", Fails("EFAULT"), |_| {
        returned(raw::ring_setup(0, Address::KERNEL))
    }),
    p("io_uring_setup/EFAULT/params-read-only", "read-only memory", Fails("EFAULT"), |env| {
        returned(raw::ring_setup(8, env.memory.read_only()))
    }),
    p("io_uring_setup/EINVAL/reserved", "the first word", Fails("EINVAL"), |env| {
        returned(make(env, 8, 0, &[(28, 1)]))
    }),
    p("io_uring_setup/EINVAL/reserved", "the last word", Fails("EINVAL"), |env| {
        returned(make(env, 8, 0, &[(36, 1)]))
    }),
    p("io_uring_setup/EINVAL/unknown-flag", "bit 31", Fails("EINVAL"), |env| with(env, 1 << 31)),
    p("io_uring_setup/EINVAL/unknown-flag", "bit 28", Fails("EINVAL"), |env| with(env, 1 << 28)),
    p("io_uring_setup/EINVAL/unknown-flag", "all bits", Fails("EINVAL"), |env| with(env, u32::MAX)),
    p("io_uring_setup/EINVAL/rewind-with-index", "without NO_SQARRAY", Fails("EINVAL"), |env| {
        with(env, SQ_REWIND)
    }),
    p("io_uring_setup/EINVAL/rewind-and-sqpoll", "with SQPOLL", Fails("EINVAL"), |env| {
        with(env, SQ_REWIND | NO_SQARRAY | SQPOLL)
    }),
    p(
        "io_uring_setup/EINVAL/registered-only-with-mmap",
        "without NO_MMAP",
        Fails("EINVAL"),
        |env| with(env, REGISTERED_FD_ONLY),
    ),
    p("io_uring_setup/EINVAL/no-entries", "0", Fails("EINVAL"), |env| sized(env, 0, 0, 0)),
    p("io_uring_setup/EINVAL/no-entries", "0 with CLAMP", Fails("EINVAL"), |env| {
        sized(env, 0, CLAMP, 0)
    }),
    p("io_uring_setup/EINVAL/too-many-entries", "32,769", Fails("EINVAL"), |env| {
        sized(env, 32_769, 0, 0)
    }),
    p("io_uring_setup/EINVAL/too-many-entries", "all bits", Fails("EINVAL"), |env| {
        sized(env, u32::MAX, 0, 0)
    }),
    p("io_uring_setup/clamped", "CLAMP makes it right", Succeeds, |env| {
        sized(env, u32::MAX, CLAMP, 0)
    }),
    p("io_uring_setup/EINVAL/no-completions", "0", Fails("EINVAL"), |env| sized(env, 8, CQSIZE, 0)),
    p("io_uring_setup/EINVAL/too-many-completions", "65,537", Fails("EINVAL"), |env| {
        sized(env, 8, CQSIZE, 65_537)
    }),
    p("io_uring_setup/clamped", "CLAMP for completions", Succeeds, |env| {
        sized(env, 8, CQSIZE | CLAMP, 65_537)
    }),
    p("io_uring_setup/EINVAL/fewer-completions", "4 for 8", Fails("EINVAL"), |env| {
        sized(env, 8, CQSIZE, 4)
    }),
    p("io_uring_setup/EINVAL/fewer-completions", "5 for 8 is rounded up to 8", Succeeds, |env| {
        sized(env, 8, CQSIZE, 5)
    }),
    p("io_uring_setup/EINVAL/sqpoll-and-coop", "COOP_TASKRUN", Fails("EINVAL"), |env| {
        with(env, SQPOLL | COOP)
    }),
    p("io_uring_setup/EINVAL/sqpoll-and-defer", "DEFER_TASKRUN", Fails("EINVAL"), |env| {
        with(env, SQPOLL | DEFER | SINGLE)
    }),
    p("io_uring_setup/EINVAL/taskrun-flag-alone", "alone", Fails("EINVAL"), |env| {
        with(env, TASKRUN_FLAG)
    }),
    p(
        "io_uring_setup/EINVAL/taskrun-flag-alone",
        "with COOP_TASKRUN it is right",
        Succeeds,
        |env| with(env, TASKRUN_FLAG | COOP),
    )
    .since(5, 19),
    p("io_uring_setup/EINVAL/defer-without-single-issuer", "alone", Fails("EINVAL"), |env| {
        with(env, DEFER)
    }),
    p("io_uring_setup/EINVAL/defer-without-single-issuer", "both are right", Succeeds, |env| {
        with(env, DEFER | SINGLE)
    })
    .since(6, 1),
    p("io_uring_setup/EINVAL/hybrid-without-iopoll", "alone", Fails("EINVAL"), |env| {
        with(env, HYBRID)
    }),
    p("io_uring_setup/EINVAL/hybrid-without-iopoll", "both are right", Succeeds, |env| {
        with(env, HYBRID | IOPOLL)
    })
    .since(6, 13),
    p("io_uring_setup/EINVAL/mixed-and-large-completions", "both", Fails("EINVAL"), |env| {
        with(env, CQE32 | CQE_MIXED)
    }),
    p("io_uring_setup/EINVAL/mixed-and-large-submissions", "both", Fails("EINVAL"), |env| {
        with(env, SQE128 | SQE_MIXED)
    }),
    p("io_uring_setup/EINVAL/affinity-without-thread", "alone", Fails("EINVAL"), |env| {
        with(env, SQ_AFF)
    }),
    p("io_uring_setup/EINVAL/no-such-cpu", "4,000,000", Fails("EINVAL"), |env| {
        returned(make(env, 8, SQPOLL | SQ_AFF, &[(SQ_THREAD_CPU, 4_000_000)]))
    }),
    p("io_uring_setup/ENOMEM/memlock", "no locked memory", Fails("ENOMEM"), |env| {
        locked(env, 0, 8)
    })
    .since(6, 14)
    .until(7, 3),
    p("io_uring_setup/ENOMEM/memlock", "64 KiB, for 2048 entries", Fails("ENOMEM"), |env| {
        locked(env, 65_536, 2048)
    })
    .since(6, 14)
    .until(7, 3),
    p("io_uring_setup/queues-not-counted", "no locked memory", Succeeds, |env| locked(env, 0, 8))
        .since(7, 3),
    p("io_uring_setup/queues-not-counted", "64 KiB, for 2048 entries", Succeeds, |env| {
        locked(env, 65_536, 2048)
    })
    .since(7, 3),
    p("io_uring_setup/queues-were-not-counted", "no locked memory", Succeeds, |env| {
        locked(env, 0, 8)
    })
    .since(5, 12)
    .until(6, 14),
    p("io_uring_setup/queues-were-not-counted", "64 KiB, for 2048 entries", Succeeds, |env| {
        locked(env, 65_536, 2048)
    })
    .since(5, 12)
    .until(6, 14),
    p("io_uring_setup/ENXIO/attach-to-nothing", "-1", Fails("ENXIO"), |env| {
        returned(make(env, 8, ATTACH_WQ, &[(WQ_FD, u32::MAX)]))
    }),
    p("io_uring_setup/ENXIO/attach-to-nothing", "a closed descriptor", Fails("ENXIO"), |env| {
        let closed = env.closed()?.unsigned_abs();
        returned(make(env, 8, ATTACH_WQ, &[(WQ_FD, closed)]))
    }),
    p("io_uring_setup/EINVAL/attach-to-no-ring", "a regular file", Fails("EINVAL"), |env| {
        let data = env.data()?.unsigned_abs();
        returned(make(env, 8, ATTACH_WQ, &[(WQ_FD, data)]))
    }),
    p("io_uring_setup/EINVAL/attach-to-no-ring", "a ring is right", Succeeds, |env| {
        let other = ring(env, 0)?.unsigned_abs();
        returned(make(env, 8, ATTACH_WQ, &[(WQ_FD, other)]))
    }),
    p("io_uring_setup/EFAULT/no-mmap", "queues nowhere", Fails("EFAULT"), |env| {
        let [low, high] = crate::ring::halves(Address::KERNEL);
        let both = [(72, low), (76, high), (112, low), (116, high)];
        returned(make(env, 8, NO_MMAP, &both))
    })
    .since(6, 5),
    p("io_uring_setup/EMFILE/descriptors", "no descriptor is left", Fails("EMFILE"), |env| {
        env.limit(libc::RLIMIT_NOFILE, 0)?;
        with(env, 0)
    }),
    p("io_uring_setup/return", "one entry", Succeeds, |env| sized(env, 1, 0, 0)),
    p("io_uring_setup/return", "32,768 entries", Succeeds, |env| sized(env, 32_768, 0, 0)),
    p("io_uring_setup/close-on-exec", "it is closed on exec", Seen, |env| {
        let fd = ring(env, 0)?;
        let flags = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
        let flags = flags.lines().find_map(|line| line.strip_prefix("flags:")).unwrap_or_default();
        let bits = u32::from_str_radix(flags.trim(), 8).unwrap_or_default();
        let wanted = libc::O_CLOEXEC.unsigned_abs();
        seen(bits & wanted == wanted, format!("flags {flags}"))
    }),
    p("io_uring_setup/rounded-up", "5 entries become 8", Seen, |env| written(env, 5, 0, 0, 8)),
    p("io_uring_setup/twice-the-completions", "twice as many completions", Seen, |env| {
        written(env, 8, 0, CQ_ENTRIES, 16)
    }),
    p("io_uring_setup/clamped", "CLAMP stops at 32,768", Seen, |env| {
        written(env, 40_000, CLAMP, 0, 32_768)
    }),
    p("io_uring_setup/params-written", "features are told", Seen, |env| {
        ring(env, 0)?;
        let features = env.memory.get_u32(env.argument().saturating_add(20));
        // NODROP, which Linux has had since 5.5.
        seen(features & 2 != 0, format!("{features:#x}"))
    }),
];
