//! `io_uring_register(2)`: tables of buffers and files, eventfds, rings of buffers.

use crate::env::{Env, Try};
use crate::expect::Expect::{Fails, Gives, Succeeds};
use crate::memory::Address;
use crate::probes::Probe;
use crate::raw;
use crate::ring::{halves, returned, ring, words};

const fn p(
    statement: &'static str,
    case: &'static str,
    expect: crate::Expect,
    run: fn(&Env) -> Try,
) -> Probe {
    Probe::new(statement, case, expect, run)
}

const BUFFERS: u32 = 0;
const FILES: u32 = 2;
const EVENTFD: u32 = 4;
const FILES_UPDATE: u32 = 6;
const PBUF_RING: u32 = 22;
const UNREGISTER_PBUF_RING: u32 = 23;

/// Registers one buffer with a new ring.
fn buffer(env: &Env, base: Address, length: u64) -> Try {
    env.put_vector(0, base, length);
    returned(raw::ring_register(ring(env, 0)?, BUFFERS, env.vectors(), 1))
}

/// A ring with one registered buffer.
fn with_buffer(env: &Env) -> Try<i32> {
    env.put_vector(0, env.buffer(), 4096);
    let fd = ring(env, 0)?;
    match raw::ring_register(fd, BUFFERS, env.vectors(), 1) {
        Ok(_) => Ok(fd),
        failed => Err(crate::Observed::Returned(failed)),
    }
}

/// Registers these files with a new ring.
fn files(env: &Env, fds: &[i32]) -> Try {
    let fd = ring(env, 0)?;
    register_files(env, fd, fds)
}

fn register_files(env: &Env, ring: i32, fds: &[i32]) -> Try {
    let list: Vec<u32> = fds.iter().map(|fd| u32::from_ne_bytes(fd.to_ne_bytes())).collect();
    let count = u32::try_from(fds.len()).unwrap_or_default();
    returned(raw::ring_register(ring, FILES, words(env, &list), count))
}

fn eventfd(env: &Env, fd: i32, count: u32) -> Try {
    let ring = ring(env, 0)?;
    let arg = words(env, &[u32::from_ne_bytes(fd.to_ne_bytes())]);
    returned(raw::ring_register(ring, EVENTFD, arg, count))
}

/// Registers a ring of buffers: its place, entries, group, flags, and the first reserved word.
fn buffers_ring(
    env: &Env,
    ring: i32,
    place: Address,
    entries: u32,
    group: u16,
    flags: u16,
    reserved: u32,
) -> Try {
    let [low, high] = halves(place);
    let [a, b] = group.to_ne_bytes();
    let [c, d] = flags.to_ne_bytes();
    let both = u32::from_ne_bytes([a, b, c, d]);
    let arg = words(env, &[low, high, entries, both, 0, reserved, 0, 0, 0, 0]);
    returned(raw::ring_register(ring, PBUF_RING, arg, 1))
}

/// An update of registered files: offset, reserved word, count.
fn update(env: &Env, ring: i32, offset: u32, reserved: u32, count: u32) -> Try {
    env.memory.put_u32(env.argument().saturating_add(64), u32::MAX);
    let [low, high] = halves(env.memory.at(env.argument().saturating_add(64)));
    let arg = words(env, &[offset, reserved, low, high]);
    returned(raw::ring_register(ring, FILES_UPDATE, arg, count))
}

/// A ring with two places for files, both empty.
fn with_files(env: &Env) -> Try<i32> {
    let fd = ring(env, 0)?;
    match register_files(env, fd, &[-1, -1])? {
        crate::Observed::Returned(Ok(_)) => Ok(fd),
        failed => Err(failed),
    }
}

pub(crate) const PROBES: &[Probe] = &[
    p("io_uring_register/EFAULT/buffers-array", "buffers", Fails("EFAULT"), |env| {
        returned(raw::ring_register(ring(env, 0)?, BUFFERS, Address::NULL, 1))
    }),
    p("io_uring_register/EFAULT/files-array", "files", Fails("EFAULT"), |env| {
        returned(raw::ring_register(ring(env, 0)?, FILES, Address::NULL, 1))
    }),
    p("io_uring_register/EBUSY/buffers", "a second time", Fails("EBUSY"), |env| {
        let fd = with_buffer(env)?;
        returned(raw::ring_register(fd, BUFFERS, env.vectors(), 1))
    }),
    p("io_uring_register/EBUSY/files", "a second time", Fails("EBUSY"), |env| {
        let fd = with_files(env)?;
        register_files(env, fd, &[-1])
    }),
    p("io_uring_register/EINVAL/no-buffers", "0", Fails("EINVAL"), |env| {
        returned(raw::ring_register(ring(env, 0)?, BUFFERS, env.vectors(), 0))
    }),
    p("io_uring_register/EINVAL/too-many-buffers", "16,385", Fails("EINVAL"), |env| {
        returned(raw::ring_register(ring(env, 0)?, BUFFERS, env.vectors(), 16_385))
    }),
    p("io_uring_register/EINVAL/no-files", "0", Fails("EINVAL"), |env| files(env, &[])),
    p("io_uring_register/EMFILE/files", "more than RLIMIT_NOFILE", Fails("EMFILE"), |env| {
        let fd = ring(env, 0)?;
        env.limit(libc::RLIMIT_NOFILE, 16)?;
        returned(raw::ring_register(fd, FILES, env.buffer(), 17))
    }),
    p("io_uring_register/EMFILE/files", "1,048,577", Fails("EMFILE"), |env| {
        returned(raw::ring_register(ring(env, 0)?, FILES, env.buffer(), 1_048_577))
    }),
    p(
        "io_uring_register/ENXIO/unregister-buffers",
        "UNREGISTER_BUFFERS without any",
        Fails("ENXIO"),
        |env| returned(raw::ring_register(ring(env, 0)?, 1, Address::NULL, 0)),
    ),
    p(
        "io_uring_register/ENXIO/unregister-files",
        "UNREGISTER_FILES without any",
        Fails("ENXIO"),
        |env| returned(raw::ring_register(ring(env, 0)?, 3, Address::NULL, 0)),
    ),
    p("io_uring_register/ENXIO/files-update", "FILES_UPDATE without any", Fails("ENXIO"), |env| {
        let fd = ring(env, 0)?;
        update(env, fd, 0, 0, 1)
    }),
    p("io_uring_register/EINVAL/eventfd-count", "0", Fails("EINVAL"), |env| {
        eventfd(env, env.eventfd()?, 0)
    }),
    p("io_uring_register/EINVAL/eventfd-count", "2", Fails("EINVAL"), |env| {
        eventfd(env, env.eventfd()?, 2)
    }),
    p("io_uring_register/EBADF/eventfd", "the eventfd -1", Fails("EBADF"), |env| {
        eventfd(env, -1, 1)
    }),
    p("io_uring_register/EINVAL/eventfd", "a regular file", Fails("EINVAL"), |env| {
        eventfd(env, env.data()?, 1)
    }),
    p("io_uring_register/EBUSY/eventfd", "a second time", Fails("EBUSY"), |env| {
        let fd = ring(env, 0)?;
        let arg = words(env, &[env.eventfd()?.unsigned_abs()]);
        let _ = raw::ring_register(fd, EVENTFD, arg, 1);
        returned(raw::ring_register(fd, EVENTFD, arg, 1))
    }),
    p("io_uring_register/ENXIO/unregister-eventfd", "without any", Fails("ENXIO"), |env| {
        returned(raw::ring_register(ring(env, 0)?, 5, Address::NULL, 0))
    }),
    p("io_uring_register/EFAULT/buffers-array", "buffers nowhere", Fails("EFAULT"), |env| {
        returned(raw::ring_register(ring(env, 0)?, BUFFERS, env.memory.forbidden(), 1))
    }),
    p("io_uring_register/EFAULT/files-array", "files nowhere", Fails("EFAULT"), |env| {
        returned(raw::ring_register(ring(env, 0)?, FILES, env.memory.forbidden(), 1))
    }),
    p("io_uring_register/EFAULT/eventfd", "an eventfd nowhere", Fails("EFAULT"), |env| {
        returned(raw::ring_register(ring(env, 0)?, EVENTFD, Address::KERNEL, 1))
    }),
    p("io_uring_register/EBADF/files", "a closed descriptor", Fails("EBADF"), |env| {
        files(env, &[i32::MAX])
    }),
    p("io_uring_register/EBADF/files-ring", "a ring", Fails("EBADF"), |env| {
        let fd = ring(env, 0)?;
        register_files(env, fd, &[fd])
    }),
    p("io_uring_register/return", "files", Gives(0), |env| files(env, &[env.data()?, -1])),
    p("io_uring_register/return", "buffers", Gives(0), |env| buffer(env, env.buffer(), 8192)),
    p("io_uring_register/return", "removing buffers", Gives(0), |env| {
        returned(raw::ring_register(with_buffer(env)?, 1, Address::NULL, 0))
    }),
    p("io_uring_register/return", "an eventfd", Gives(0), |env| eventfd(env, env.eventfd()?, 1)),
    p(
        "io_uring_register/EFAULT/buffer-unmapped",
        "memory that cannot be touched",
        Fails("EFAULT"),
        |env| buffer(env, env.memory.forbidden(), 4096),
    ),
    p("io_uring_register/EFAULT/buffer-unmapped", "read-only memory", Fails("EFAULT"), |env| {
        buffer(env, env.memory.read_only(), 4096)
    }),
    p("io_uring_register/EFAULT/buffer-too-large", "more than 1 GiB", Fails("EFAULT"), |env| {
        buffer(env, env.buffer(), (1 << 30) + 1)
    }),
    p("io_uring_register/EFAULT/buffer-unmapped", "null with a length", Fails("EFAULT"), |env| {
        buffer(env, Address::NULL, 4096)
    }),
    p(
        "io_uring_register/ENOMEM/buffers",
        "64 KiB with a limit of 32 KiB",
        Fails("ENOMEM"),
        |env| {
            // Whether the limit counts is settled when the ring is made.
            env.drop_privileges()?;
            env.limit(libc::RLIMIT_MEMLOCK, 32_768)?;
            let fd = ring(env, 0)?;
            env.put_vector(0, env.buffer(), 65_536);
            returned(raw::ring_register(fd, BUFFERS, env.vectors(), 1))
        },
    ),
    p("io_uring_register/EINVAL/resource-size", "FILES2 of 31 bytes", Fails("EINVAL"), |env| {
        returned(raw::ring_register(ring(env, 0)?, 13, env.buffer(), 31))
    }),
    p("io_uring_register/EINVAL/resource-size", "BUFFERS2 of 0 bytes", Fails("EINVAL"), |env| {
        returned(raw::ring_register(ring(env, 0)?, 15, env.buffer(), 0))
    }),
    p("io_uring_register/EINVAL/reserved", "FILES2 with a reserved word", Fails("EINVAL"), |env| {
        let fd = ring(env, 0)?;
        returned(raw::ring_register(fd, 13, words(env, &[4, 1, 1, 0, 0, 0, 0, 0]), 32))
    }),
    p("io_uring_register/EINVAL/reserved", "FILES2 with unknown flags", Fails("EINVAL"), |env| {
        let fd = ring(env, 0)?;
        returned(raw::ring_register(fd, 13, words(env, &[4, 2, 0, 0, 0, 0, 0, 0]), 32))
    }),
    p("io_uring_register/return", "FILES2, four empty places", Gives(0), |env| {
        let fd = ring(env, 0)?;
        returned(raw::ring_register(fd, 13, words(env, &[4, 1, 0, 0, 0, 0, 0, 0]), 32))
    })
    .since(5, 13),
    p("io_uring_register/return", "BUFFERS2, four empty places", Gives(0), |env| {
        let fd = ring(env, 0)?;
        returned(raw::ring_register(fd, 15, words(env, &[4, 1, 0, 0, 0, 0, 0, 0]), 32))
    })
    .since(5, 13),
    p("io_uring_register/EINVAL/files-update", "after the last place", Fails("EINVAL"), |env| {
        let fd = with_files(env)?;
        update(env, fd, 2, 0, 1)
    }),
    p(
        "io_uring_register/EOVERFLOW/update-range",
        "an offset that wraps",
        Fails("EOVERFLOW"),
        |env| {
            let fd = with_files(env)?;
            update(env, fd, u32::MAX, 0, 1)
        },
    ),
    p(
        "io_uring_register/EINVAL/reserved",
        "FILES_UPDATE with a reserved word",
        Fails("EINVAL"),
        |env| {
            let fd = with_files(env)?;
            update(env, fd, 0, 1, 1)
        },
    ),
    p("io_uring_register/EINVAL/files-update", "no files", Fails("EINVAL"), |env| {
        let fd = with_files(env)?;
        update(env, fd, 0, 0, 0)
    }),
    p("io_uring_register/files-update-count", "FILES_UPDATE gives a count", Gives(1), |env| {
        let fd = with_files(env)?;
        update(env, fd, 0, 0, 1)
    }),
    p("io_uring_register/EINVAL/one-argument", "PBUF_RING with 2", Fails("EINVAL"), |env| {
        returned(raw::ring_register(ring(env, 0)?, PBUF_RING, env.buffer(), 2))
    }),
    p("io_uring_register/EINVAL/pbuf-size", "3", Fails("EINVAL"), |env| {
        buffers_ring(env, ring(env, 0)?, env.buffer(), 3, 0, 0, 0)
    }),
    p("io_uring_register/EINVAL/pbuf-too-large", "65,536", Fails("EINVAL"), |env| {
        buffers_ring(env, ring(env, 0)?, env.buffer(), 65_536, 0, 0, 0)
    }),
    p("io_uring_register/EINVAL/pbuf-size", "0", Fails("EINVAL"), |env| {
        buffers_ring(env, ring(env, 0)?, env.buffer(), 0, 0, 0, 0)
    }),
    p("io_uring_register/EFAULT/pbuf-place", "a null pointer", Fails("EFAULT"), |env| {
        buffers_ring(env, ring(env, 0)?, Address::NULL, 8, 0, 0, 0)
    })
    .since(5, 19),
    p(
        "io_uring_register/EINVAL/pbuf-alignment",
        "not at the start of a page",
        Fails("EINVAL"),
        |env| {
            buffers_ring(
                env,
                ring(env, 0)?,
                env.memory.at(env.page.saturating_mul(12).saturating_add(64)),
                8,
                0,
                0,
                0,
            )
        },
    ),
    p(
        "io_uring_register/EINVAL/pbuf-reserved",
        "PBUF_RING with a reserved word",
        Fails("EINVAL"),
        |env| buffers_ring(env, ring(env, 0)?, env.buffer(), 8, 0, 0, 1),
    ),
    p(
        "io_uring_register/EINVAL/reserved",
        "PBUF_RING with unknown flags",
        Fails("EINVAL"),
        |env| buffers_ring(env, ring(env, 0)?, env.buffer(), 8, 0, 0x8000, 0),
    ),
    p("io_uring_register/EEXIST/pbuf", "a second time", Fails("EEXIST"), |env| {
        let fd = ring(env, 0)?;
        let _ = buffers_ring(env, fd, env.buffer(), 8, 5, 0, 0)?;
        buffers_ring(env, fd, env.buffer(), 8, 5, 0, 0)
    })
    .since(5, 19),
    p("io_uring_register/return", "a ring of buffers", Succeeds, |env| {
        buffers_ring(env, ring(env, 0)?, env.buffer(), 8, 5, 0, 0)
    })
    .since(5, 19),
    p(
        "io_uring_register/ENOENT/unregister-pbuf",
        "UNREGISTER_PBUF_RING of no group",
        Fails("ENOENT"),
        |env| {
            let fd = ring(env, 0)?;
            returned(raw::ring_register(
                fd,
                UNREGISTER_PBUF_RING,
                words(env, &[0, 0, 0, 9, 0, 0, 0, 0, 0, 0]),
                1,
            ))
        },
    )
    .since(5, 19),
    p("io_uring_register/ENOENT/pbuf-status", "PBUF_STATUS of no group", Fails("ENOENT"), |env| {
        let fd = ring(env, 0)?;
        returned(raw::ring_register(fd, 26, words(env, &[9, 0, 0, 0, 0, 0, 0, 0, 0, 0]), 1))
    })
    .since(6, 8),
];
