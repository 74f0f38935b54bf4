//! `io_uring_enter(2)`: errors of operations, as their completions tell them.

use safer_ring_sys::opcode;

use crate::env::{Env, Try, seen, unavailable};
use crate::expect::Expect::{EventFails, Seen};
use crate::expect::Observed;
use crate::memory::Address;
use crate::probes::Probe;
use crate::queue::{Entry, Queue, run};
use crate::raw;
use crate::ring::{R_DISABLED, words};

const fn p(
    statement: &'static str,
    case: &'static str,
    expect: crate::Expect,
    run: fn(&Env) -> Try,
) -> Probe {
    Probe::new(statement, case, expect, run)
}

/// A request of this operation on this descriptor.
fn on(opcode: u8, fd: i32) -> Entry {
    Entry { opcode, fd, ..Entry::default() }
}

/// A path in the directory of the probes, at a place of its own.
fn path(env: &Env, name: &str) -> Address {
    env.path(name)
}

/// A path that lies where arguments lie.
fn second_path(env: &Env, name: &str) -> Address {
    let from: Vec<u8> = env.full_path(name);
    env.memory.put(env.argument(), &from);
    env.argument_address()
}

/// A socket for TCP over the loopback, which may be missing.
fn tcp() -> Try<i32> {
    let fd = raw::socket(libc::AF_INET, libc::SOCK_STREAM, 0);
    fd.map(|fd| i32::try_from(fd).unwrap_or(-1)).map_err(|errno| unavailable("a TCP socket", errno))
}

/// `127.0.0.1` and this port, in the order of the network.
fn loopback(env: &Env, port: [u8; 2]) -> Address {
    let [low, high] = u16::try_from(libc::AF_INET).unwrap_or_default().to_ne_bytes();
    let bytes = [low, high, port[0], port[1], 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    env.memory.put(env.argument(), &bytes);
    env.argument_address()
}

/// The port of a socket that is bound to one.
fn bound(env: &Env, fd: i32) -> Try<[u8; 2]> {
    let name = loopback(env, [0, 0]);
    raw::bind(fd, name, 16).map_err(|errno| unavailable("an address", errno))?;
    let length = env.argument().saturating_add(64);
    env.memory.put_u32(length, 16);
    raw::getsockname(fd, name, env.memory.at(length))
        .map_err(|errno| unavailable("a name", errno))?;
    Ok(env.memory.get(env.argument().saturating_add(2)))
}

/// Runs several requests; all must give this error.
fn all_give(entries: &[Entry], name: &str) -> Try {
    for entry in entries {
        let observed = run(*entry)?;
        let right = matches!(observed, Observed::Event(Err(errno)) if errno.name() == Some(name));
        if !right {
            return seen(false, format!("operation {}: {observed}", entry.opcode));
        }
    }
    seen(true, format!("all give {name}"))
}

/// A read of an empty pipe, and a second request.
fn beside_a_read(env: &Env, second: Entry) -> Try<Vec<(u64, Result<i64, safer_ring_sys::Errno>)>> {
    let (reader, _) = env.pipe(0)?;
    let mut queue = Queue::new(8, 0)?;
    let read = Entry { buffer: env.buffer(), length: 1, name: 1, ..on(opcode::READ, reader) };
    queue.all(&[read, Entry { name: 2, ..second }])
}

/// A name that nothing has, as the address of a cancellation: below 64 KiB.
const NOBODY: Address = Address::low(0x7777);

pub(crate) const PROBES: &[Probe] = &[
    p(
        "io_uring_enter/EACCES/restricted",
        "a read where NOP is allowed",
        EventFails("EACCES"),
        |env| {
            let mut queue = Queue::new(4, R_DISABLED)?;
            // SQE_OP of NOP alone.
            let restriction = u32::from_ne_bytes([1, 0, 0, 0]);
            let arg = words(env, &[restriction, 0, 0, 0]);
            let restricted = raw::ring_register(queue.fd(), 11, arg, 1);
            let enabled = raw::ring_register(queue.fd(), 12, Address::NULL, 0);
            if restricted.and(enabled).is_err() {
                return Ok(Observed::Returned(restricted.and(enabled)));
            }
            queue.run(&on(opcode::READ, env.data()?))
        },
    ),
    p(
        "io_uring_enter/EADDRINUSE/bind",
        "an address that is taken",
        EventFails("EADDRINUSE"),
        |env| {
            let (first, second) = (tcp()?, tcp()?);
            let port = bound(env, first)?;
            run(Entry { buffer: loopback(env, port), offset: 16, ..on(opcode::BIND, second) })
        },
    )
    .since(6, 11),
    p("io_uring_enter/EAFNOSUPPORT/socket", "the family 99", EventFails("EAFNOSUPPORT"), |_| {
        run(Entry { offset: 1, ..on(opcode::SOCKET, 99) })
    })
    .since(5, 19),
    p("io_uring_enter/EAGAIN/dontwait", "an empty socket", EventFails("EAGAIN"), |env| {
        let wait = libc::MSG_DONTWAIT.unsigned_abs();
        run(Entry {
            buffer: env.buffer(),
            length: 8,
            rw_flags: wait,
            ..on(opcode::RECV, env.sockets()?.0)
        })
    }),
    p("io_uring_enter/EBADF/close", "a closed descriptor", EventFails("EBADF"), |_| {
        run(on(opcode::CLOSE, 1_000_000))
    }),
    p("io_uring_enter/EBADF/close-ring", "the ring itself", EventFails("EBADF"), |_| {
        let mut queue = Queue::new(4, 0)?;
        let fd = queue.fd();
        queue.run(&on(opcode::CLOSE, fd))
    }),
    p("io_uring_enter/EBADF/fallocate", "a file open for reading", EventFails("EBADF"), |env| {
        run(Entry { buffer: Address::low(4096), ..on(opcode::FALLOCATE, env.data()?) })
    }),
    p("io_uring_enter/EBADF/fixed-file", "no files are registered", EventFails("EBADF"), |env| {
        run(Entry { flags: 1, buffer: env.buffer(), length: 8, ..on(opcode::READ, 0) })
    }),
    p("io_uring_enter/ECANCELED/cancelled", "a read of an empty pipe", Seen, |env| {
        let cancel = Entry { buffer: Address::low(1), ..on(opcode::ASYNC_CANCEL, -1) };
        let found = beside_a_read(env, cancel)?;
        let read = found.iter().find(|(name, _)| *name == 1).map(|(_, result)| *result);
        let right = matches!(read, Some(Err(errno)) if errno.name() == Some("ECANCELED"));
        seen(right, format!("{found:?}"))
    }),
    p("io_uring_enter/cancel-both-complete", "a read of an empty pipe", Seen, |env| {
        let cancel = Entry { buffer: Address::low(1), ..on(opcode::ASYNC_CANCEL, -1) };
        let found = beside_a_read(env, cancel)?;
        let cancelled = found.iter().find(|(name, _)| *name == 2).map(|(_, result)| *result);
        seen(found.len() == 2 && cancelled == Some(Ok(0)), format!("{found:?}"))
    }),
    p("io_uring_enter/cancel-any", "one read", Seen, |env| {
        // ALL and ANY.
        let cancel = Entry { rw_flags: 1 | 4, ..on(opcode::ASYNC_CANCEL, -1) };
        let found = beside_a_read(env, cancel)?;
        let cancelled = found.iter().find(|(name, _)| *name == 2).map(|(_, result)| *result);
        seen(cancelled == Some(Ok(1)), format!("{found:?}"))
    })
    .since(5, 19),
    p("io_uring_enter/ECANCELED/chain", "behind a read of nothing open", Seen, |_| {
        let mut queue = Queue::new(8, 0)?;
        let first = Entry { flags: 4, name: 1, ..on(opcode::READ, 1_000_000) };
        let found = queue.all(&[first, Entry { name: 2, ..on(opcode::NOP, -1) }])?;
        let second = found.iter().find(|(name, _)| *name == 2).map(|(_, result)| *result);
        let right = matches!(second, Some(Err(errno)) if errno.name() == Some("ECANCELED"));
        seen(right, format!("{found:?}"))
    }),
    p(
        "io_uring_enter/ECONNREFUSED/connect",
        "a port that nobody listens on",
        EventFails("ECONNREFUSED"),
        |env| {
            let (first, second) = (tcp()?, tcp()?);
            let port = bound(env, first)?;
            run(Entry { buffer: loopback(env, port), offset: 16, ..on(opcode::CONNECT, second) })
        },
    ),
    p("io_uring_enter/EEXIST/names", "the name of the data", Seen, |env| {
        let data = path(env, "data");
        let other = second_path(env, "data");
        let at = libc::AT_FDCWD;
        let directory = Entry { buffer: data, length: 0o700, ..on(opcode::MKDIRAT, at) };
        let symbolic = Entry { buffer: other, offset: data.get(), ..on(opcode::SYMLINKAT, at) };
        let to = u32::from_ne_bytes(at.to_ne_bytes());
        let link =
            Entry { buffer: other, offset: data.get(), length: to, ..on(opcode::LINKAT, at) };
        all_give(&[directory, symbolic, link], "EEXIST")
    })
    .since(5, 15),
    p(
        "io_uring_enter/EFAULT/fixed-buffer",
        "no buffers are registered",
        EventFails("EFAULT"),
        |env| run(Entry { buffer: env.buffer(), length: 8, ..on(opcode::READ_FIXED, env.data()?) }),
    ),
    p("io_uring_enter/EFAULT/path", "memory that cannot be touched", EventFails("EFAULT"), |env| {
        run(Entry { buffer: env.memory.forbidden(), ..on(opcode::OPENAT, libc::AT_FDCWD) })
    }),
    p(
        "io_uring_enter/EFAULT/timeout-value",
        "memory that cannot be touched",
        EventFails("EFAULT"),
        |env| run(Entry { buffer: env.memory.forbidden(), length: 1, ..on(opcode::TIMEOUT, -1) }),
    ),
    p(
        "io_uring_enter/EFAULT/vectors",
        "memory that cannot be touched",
        EventFails("EFAULT"),
        |env| {
            run(Entry {
                buffer: env.memory.forbidden(),
                length: 1,
                ..on(opcode::READV, env.data()?)
            })
        },
    ),
    p(
        "io_uring_enter/EINVAL/accept",
        "a socket that does not listen",
        EventFails("EINVAL"),
        |_| run(on(opcode::ACCEPT, tcp()?)),
    ),
    p("io_uring_enter/EINVAL/cancel-flags", "bit 31", EventFails("EINVAL"), |_| {
        run(Entry { rw_flags: 1 << 31, ..on(opcode::ASYNC_CANCEL, -1) })
    }),
    p("io_uring_enter/EINVAL/entry-flag", "bit 7", EventFails("EINVAL"), |_| {
        run(Entry { flags: 1 << 7, ..on(opcode::NOP, -1) })
    }),
    p("io_uring_enter/EINVAL/fsync-flags", "bit 31", EventFails("EINVAL"), |env| {
        run(Entry { rw_flags: 1 << 31, ..on(opcode::FSYNC, env.data()?) })
    }),
    p("io_uring_enter/EINVAL/fsync-pipe", "a pipe", EventFails("EINVAL"), |env| {
        run(on(opcode::FSYNC, env.pipe(0)?.0))
    }),
    p("io_uring_enter/EINVAL/ftruncate", "a file open for reading", EventFails("EINVAL"), |env| {
        run(Entry { offset: 10, ..on(opcode::FTRUNCATE, env.data()?) })
    })
    .since(6, 9),
    p("io_uring_enter/EINVAL/iopoll", "a time limit", EventFails("EINVAL"), |env| {
        let mut queue = Queue::new(4, 1)?;
        queue.push(&Entry { buffer: env.time(0, 0), length: 1, ..on(opcode::TIMEOUT, -1) })?;
        let _ = queue.submit();
        Ok(queue
            .next()
            .map_or(Observed::Seen(false, "no completion".to_owned()), |(_, result, _)| {
                Observed::Event(result)
            }))
    }),
    p("io_uring_enter/EOPNOTSUPP/iopoll", "a pipe", EventFails("EOPNOTSUPP"), |env| {
        let mut queue = Queue::new(4, 1)?;
        queue.push(&Entry {
            buffer: env.buffer(),
            length: 8,
            ..on(opcode::READ, env.pipe(0)?.0)
        })?;
        let _ = queue.submit();
        Ok(queue
            .next()
            .map_or(Observed::Seen(false, "no completion".to_owned()), |(_, result, _)| {
                Observed::Event(result)
            }))
    }),
    p("io_uring_enter/EINVAL/offset", "-2", EventFails("EINVAL"), |env| {
        let offset = u64::MAX - 1;
        run(Entry { buffer: env.buffer(), length: 8, offset, ..on(opcode::READ, env.data()?) })
    }),
    p("io_uring_enter/EINVAL/openat2-size", "23", EventFails("EINVAL"), |env| {
        let name = path(env, "data");
        let how = env.argument_address().get();
        run(Entry { buffer: name, length: 23, offset: how, ..on(opcode::OPENAT2, libc::AT_FDCWD) })
    }),
    p("io_uring_enter/EINVAL/personality", "77", EventFails("EINVAL"), |_| {
        run(Entry { personality: 77, ..on(opcode::NOP, -1) })
    }),
    p("io_uring_enter/EINVAL/pipe-flags", "bit 30", EventFails("EINVAL"), |env| {
        run(Entry { buffer: env.argument_address(), rw_flags: 1 << 30, ..on(opcode::PIPE, 0) })
    })
    .since(6, 16),
    p("io_uring_enter/EINVAL/splice", "between two files", EventFails("EINVAL"), |env| {
        let (from, to) = (env.data()?, env.scratch(libc::O_RDWR)?);
        run(Entry { length: 8, file_index: from.unsigned_abs(), ..on(opcode::SPLICE, to) })
    }),
    p("io_uring_enter/EINVAL/tee", "from a file", EventFails("EINVAL"), |env| {
        let (from, to) = (env.data()?, env.pipe(0)?.1);
        run(Entry { length: 8, file_index: from.unsigned_abs(), ..on(opcode::TEE, to) })
    }),
    p("io_uring_enter/EINVAL/timeout-flags", "bit 31", EventFails("EINVAL"), |env| {
        run(Entry {
            buffer: env.time(0, 0),
            length: 1,
            rw_flags: 1 << 31,
            ..on(opcode::TIMEOUT, -1)
        })
    }),
    p("io_uring_enter/EINVAL/timeout-length", "2", EventFails("EINVAL"), |env| {
        run(Entry { buffer: env.time(0, 0), length: 2, ..on(opcode::TIMEOUT, -1) })
    }),
    p("io_uring_enter/EINVAL/timeout-immediate", "no nanoseconds", EventFails("EINVAL"), |_| {
        run(Entry { length: 1, rw_flags: 0x80, ..on(opcode::TIMEOUT, -1) })
    })
    .until(7, 1),
    p("io_uring_enter/EISDIR/unlink", "a directory", EventFails("EISDIR"), |env| {
        let name = format!("directory-{}", std::process::id());
        let _ = std::fs::create_dir(env.named(&name));
        run(Entry { buffer: path(env, &name), ..on(opcode::UNLINKAT, libc::AT_FDCWD) })
    }),
    p("io_uring_enter/ENOBUFS/recv", "a group without buffers", EventFails("ENOBUFS"), |env| {
        let (socket, other) = env.sockets()?;
        let _ = raw::write(other, env.buffer(), 1);
        run(Entry { flags: 1 << 5, length: 8, index: 9, ..on(opcode::RECV, socket) })
    }),
    p("io_uring_enter/ENOENT/cancel", "a name that nothing has", EventFails("ENOENT"), |_| {
        run(Entry { buffer: NOBODY, ..on(opcode::ASYNC_CANCEL, -1) })
    }),
    p("io_uring_enter/ENOENT/paths", "a name that is none", Seen, |env| {
        let (none, other) = (path(env, "nothing"), second_path(env, "nothing-else"));
        let at = libc::AT_FDCWD;
        let open = Entry { buffer: none, ..on(opcode::OPENAT, at) };
        let stat = Entry {
            buffer: none,
            offset: env.buffer().get(),
            length: 0x7ff,
            ..on(opcode::STATX, at)
        };
        let unlink = Entry { buffer: none, ..on(opcode::UNLINKAT, at) };
        let to = u32::from_ne_bytes(at.to_ne_bytes());
        let rename =
            Entry { buffer: none, offset: other.get(), length: to, ..on(opcode::RENAMEAT, at) };
        all_give(&[open, stat, unlink, rename], "ENOENT")
    }),
    p(
        "io_uring_enter/ENOTCONN/recv",
        "a socket that is not connected",
        EventFails("ENOTCONN"),
        |env| run(Entry { buffer: env.buffer(), length: 8, ..on(opcode::RECV, tcp()?) }),
    ),
    p("io_uring_enter/ENOTSOCK/socket-operations", "a regular file", Seen, |env| {
        let fd = env.data()?;
        let name = loopback(env, [0, 9]);
        let connect = Entry { buffer: name, offset: 16, ..on(opcode::CONNECT, fd) };
        let send = Entry { buffer: env.buffer(), length: 8, ..on(opcode::SEND, fd) };
        let receive = Entry { buffer: env.buffer(), length: 8, ..on(opcode::RECV, fd) };
        let entries = [on(opcode::ACCEPT, fd), connect, send, receive, on(opcode::SHUTDOWN, fd)];
        all_give(&entries, "ENOTSOCK")
    }),
    p("io_uring_enter/EOPNOTSUPP/buffer-select", "NOP", EventFails("EOPNOTSUPP"), |_| {
        run(Entry { flags: 1 << 5, ..on(opcode::NOP, -1) })
    }),
    p("io_uring_enter/EPIPE/send", "the other end is closed", EventFails("EPIPE"), |env| {
        let (socket, other) = env.sockets()?;
        let _ = raw::close(other);
        run(Entry { buffer: env.buffer(), length: 8, ..on(opcode::SEND, socket) })
    }),
    p("io_uring_enter/ETIME/timer", "a millisecond", EventFails("ETIME"), |env| {
        run(Entry { buffer: env.time(0, 1_000_000), length: 1, ..on(opcode::TIMEOUT, -1) })
    }),
];
