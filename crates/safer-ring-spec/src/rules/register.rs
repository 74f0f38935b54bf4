//! `io_uring_register(2)`, by the kernel's behaviour.

use super::aio::{rule, unreadable};
use super::call::{Call, Memory, RingRegister};
use super::enter::ring_file;
use super::facts::Kind;
use super::ring_setup::{DEFER_TASKRUN, SINGLE_ISSUER};
use super::{Answer, Place, Rule};

pub(super) const REGISTERED_RING: u32 = 1 << 31;
const REGISTER_SINCE: &[(u32, (u16, u16))] = &[
    (24, (6, 0)),
    (25, (6, 0)),
    (26, (6, 8)),
    (27, (6, 9)),
    (28, (6, 9)),
    (29, (6, 12)),
    (30, (6, 12)),
    (31, (6, 13)),
    (32, (6, 15)),
    (33, (6, 13)),
    (34, (6, 13)),
    (35, (6, 18)),
    (36, (6, 19)),
    (37, (7, 0)),
];

fn register(call: &Call, test: impl FnOnce(&RingRegister) -> Answer) -> Answer {
    match call {
        Call::RingRegister(register) => test(register),
        _ => Answer::Open,
    }
}

impl RingRegister {
    /// The operation, without the bit that says that the ring is a registered one.
    fn operation(&self) -> u32 {
        self.opcode & !REGISTERED_RING
    }

    /// Operations of the kernel as a whole, for which the descriptor is -1.
    fn is_blind(&self) -> bool {
        matches!(self.operation(), 31 | 35 | 11 | 37)
    }
}

/// Operations that take no argument.
fn bare(operation: u32) -> bool {
    matches!(operation, 1 | 3 | 5 | 9 | 12 | 18)
}

/// A rule about one of some operations.
fn among(call: &Call, operations: &[u32], test: impl FnOnce(&RingRegister) -> Answer) -> Answer {
    register(
        call,
        |call| {
            if operations.contains(&call.operation()) { test(call) } else { Answer::Kept }
        },
    )
}

pub(super) const RULES: &[Rule] = &[
    rule!(
        "io_uring_register/EINVAL/opcode",
        "the operation must be one that this kernel knows",
        "ask for what the kernel has with IORING_REGISTER_QUERY or io_uring_setup(2)",
        |call, facts| register(call, |call| {
            let operation = call.operation();
            if operation >= 64 {
                return Answer::Broken(format!("not {operation}"));
            }
            match facts.kernel {
                Some(kernel) if operation < 38 => {
                    let newer = REGISTER_SINCE.iter().find(|(number, _)| *number == operation);
                    if newer.is_none_or(|(_, since)| kernel >= *since) && kernel >= (6, 0) {
                        Answer::Kept
                    } else {
                        Answer::Open
                    }
                }
                _ => Answer::Open,
            }
        })
    ),
    rule!(
        "io_uring_register/EINVAL/blind",
        "the descriptor -1 is for operations without a ring",
        "pass a ring",
        |call, _| register(call, |call| {
            if call.fd != -1 || call.opcode & REGISTERED_RING != 0 {
                return Answer::Kept;
            }
            // Before 6.13 there was no such operation, and the answer was EBADF.
            if call.is_blind() { Answer::Kept } else { Answer::Open }
        })
    ),
    rule!(
        "io_uring_register/EBADF/fd",
        "the ring must be an open descriptor",
        "keep the ring open",
        |call, facts| register(call, |inner| if inner.fd == -1 {
            Answer::Open
        } else {
            Answer::known(ring_file(call, facts).open.map(|open| !open), String::new)
        })
    ),
    rule!(
        "io_uring_register/EOPNOTSUPP/not-a-ring",
        "the descriptor must be a ring",
        "pass what io_uring_setup(2) gave",
        |call, facts| Answer::known(
            ring_file(call, facts).kind.map(|kind| kind != Kind::Ring),
            String::new
        )
    ),
    rule!(
        "io_uring_register/EEXIST/other-thread",
        "a ring with SINGLE_ISSUER is changed by the thread that made or enabled it only",
        "register on that thread",
        |_, facts| match facts.ring.flags {
            Some(flags) if flags & SINGLE_ISSUER == 0 => Answer::Kept,
            None => Answer::Open,
            _ => Answer::known(facts.ring.own_thread.map(|own| !own), String::new),
        }
    ),
    rule!(
        "io_uring_register/EACCES/restricted",
        "a ring with restrictions allows the operations that they name",
        "allow the operation before the ring is enabled",
        |_, _| Answer::Open
    ),
    rule!(
        "io_uring_register/EINVAL/no-argument",
        "this operation takes no argument",
        "pass null and 0",
        |call, _| register(call, |call| {
            let wrong = bare(call.operation()) && (!call.arg.is_null() || call.nr_args != 0);
            Answer::of(wrong, String::new)
        })
    ),
    rule!(
        "io_uring_register/EFAULT/null",
        "buffers and files are given as an array",
        "pass its address",
        |call, _| among(call, &[0, 2], |call| Answer::of(call.arg.is_null(), String::new))
    ),
    rule!(
        "io_uring_register/EBUSY/buffers",
        "a ring has one table of buffers",
        "unregister the old one first",
        |call, facts| among(call, &[0, 15], |_| Answer::known(facts.ring.buffers, String::new))
    ),
    rule!(
        "io_uring_register/EBUSY/files",
        "a ring has one table of files",
        "unregister the old one first",
        |call, facts| among(call, &[2, 13], |_| Answer::known(facts.ring.files, String::new))
    ),
    rule!(
        "io_uring_register/EINVAL/buffers-count",
        "there must be 1 to 16,384 buffers",
        "register fewer, larger ones",
        |call, _| among(call, &[0], |call| Answer::of(
            !(1..=16_384).contains(&call.nr_args),
            || format!("not {}", call.nr_args)
        ))
    ),
    rule!(
        "io_uring_register/EINVAL/files-count",
        "there must be at least 1 file",
        "pass the number of descriptors in the array",
        |call, _| among(call, &[2], |call| Answer::of(call.nr_args == 0, String::new))
    ),
    rule!(
        "io_uring_register/EMFILE/files-count",
        "there may be as many registered files as descriptors, and no more than 1,048,576",
        "raise RLIMIT_NOFILE (`ulimit -n`), or register fewer",
        |call, facts| among(call, &[2], |call| {
            let count = u64::from(call.nr_args);
            if count > 1_048_576 {
                return Answer::Broken(format!("not {count}"));
            }
            let over = facts.nofile.map(|limit| count > limit);
            Answer::known(over, || format!("and {count} are above the limit of descriptors"))
        })
    ),
    rule!(
        "io_uring_register/ENXIO/buffers",
        "there must be registered buffers",
        "register them first",
        |call, facts| among(call, &[1, 16], |_| Answer::known(
            facts.ring.buffers.map(|there| !there),
            String::new
        ))
    ),
    rule!(
        "io_uring_register/ENXIO/files",
        "there must be registered files",
        "register them first",
        |call, facts| among(call, &[3], |_| Answer::known(
            facts.ring.files.map(|there| !there),
            String::new
        ))
    ),
    rule!(
        "io_uring_register/EINVAL/eventfd-count",
        "there is one eventfd",
        "pass its address and 1",
        |call, _| among(call, &[4, 7], |call| Answer::of(call.nr_args != 1, String::new))
    ),
    rule!(
        "io_uring_register/EBUSY/eventfd",
        "a ring has one eventfd",
        "unregister the old one first",
        |call, facts| among(call, &[4, 7], |call| match facts.ring.eventfd {
            Some(false) => Answer::Kept,
            // The descriptor is read before.
            Some(true) if matches!(unreadable(call.arg.memory), Answer::Kept) => {
                Answer::Broken(String::new())
            }
            _ => Answer::Open,
        })
    ),
    rule!(
        "io_uring_register/ENXIO/eventfd",
        "there must be an eventfd",
        "register it first",
        |call, facts| among(call, &[5], |_| Answer::known(
            facts.ring.eventfd.map(|there| !there),
            String::new
        ))
    ),
    rule!(
        "io_uring_register/EFAULT/argument",
        "the argument must be memory of the program",
        "pass its address, and keep it during the call",
        |call, _| register(call, |call| match call.operation() {
            0 | 2 | 4 | 7 => unreadable(call.arg.memory),
            operation if bare(operation) => Answer::Kept,
            // Where it is looked at differs, and some of it is written.
            _ => match call.arg.memory {
                Memory::Writable => Answer::Kept,
                _ => Answer::Open,
            },
        })
    ),
    rule!(
        "io_uring_register/EBADF/file",
        "each registered descriptor must be open, or -1 for an empty place, and no ring",
        "open them first",
        |call, _| among(call, &[2, 4, 6, 7, 14, 20], |_| Answer::Open)
    ),
    rule!(
        "io_uring_register/EINVAL/eventfd-kind",
        "the descriptor must be an eventfd",
        "make one with eventfd(2)",
        |call, _| among(call, &[4, 7], |_| Answer::Open)
    ),
    rule!(
        "io_uring_register/EOPNOTSUPP/ring-fds",
        "what is registered as a ring must be one",
        "pass what io_uring_setup(2) gave",
        |call, _| among(call, &[20], |_| Answer::Open)
    ),
    rule!(
        "io_uring_register/EINVAL/probe-count",
        "a probe has an argument for at most 256 operations",
        "pass a struct io_uring_probe with room for 256",
        |call, _| among(call, &[8], |call| Answer::of(
            call.nr_args > 256 || call.arg.is_null(),
            String::new
        ))
    ),
    rule!(
        "io_uring_register/EINVAL/personality",
        "the number must be that of a registered personality",
        "unregister each of them once",
        |call, _| among(call, &[10], |_| Answer::Open)
    ),
    rule!(
        "io_uring_register/EBADFD/enabled",
        "the ring must be disabled still",
        "make it with R_DISABLED, and enable it once",
        |call, facts| among(call, &[12, 11], |call| if call.fd == -1 {
            Answer::Open
        } else {
            Answer::known(facts.ring.disabled.map(|disabled| !disabled), String::new)
        })
    ),
    rule!(
        "io_uring_register/EINVAL/resource-size",
        "the size of the structure must be 32",
        "pass a struct io_uring_rsrc_register and its size",
        |call, _| among(call, &[13, 15], |call| Answer::of(call.nr_args != 32, || format!(
            "not {}",
            call.nr_args
        )))
    ),
    rule!(
        "io_uring_register/EINVAL/one-argument",
        "this operation has one argument",
        "pass its address and 1",
        |call, _| among(call, &[22, 23, 24, 33, 34], |call| Answer::of(
            call.nr_args != 1 || call.arg.is_null(),
            String::new
        ))
    ),
    rule!(
        "io_uring_register/EINVAL/workers",
        "there are two limits of workers",
        "pass an array of two numbers: of bounded and of unbounded workers",
        |call, _| among(call, &[19], |call| Answer::of(
            call.nr_args != 2 || call.arg.is_null(),
            String::new
        ))
    ),
    rule!(
        "io_uring_register/EINVAL/ring-fds-count",
        "there must be 1 to 16 rings",
        "a thread has room for 16 registered rings",
        |call, _| among(call, &[20, 21], |call| Answer::of(
            !(1..=16).contains(&call.nr_args),
            || format!("not {}", call.nr_args)
        ))
    ),
    rule!(
        "io_uring_register/EINVAL/reserved",
        "reserved fields and unknown flags of the argument must be 0",
        "set the whole structure to zero before it is filled in",
        |call, _| among(call, &[6, 13, 14, 15, 16, 20, 22, 23, 24, 25, 30, 33, 34], |_| {
            Answer::Open
        })
    ),
    rule!(
        "io_uring_register/EFAULT/buffer",
        "each buffer must be writable memory of the program, and at most 1 GiB",
        "register memory that stays mapped, in parts",
        |call, _| among(call, &[0, 15, 16], |_| Answer::Open)
    ),
    rule!(
        "io_uring_register/ENOMEM/memlock",
        "registered buffers must fit into the locked memory that the process may have",
        "raise RLIMIT_MEMLOCK (`ulimit -l`) or register less",
        |call, facts| among(call, &[0, 15], |call| {
            if facts.ipc_lock == Some(true) {
                return Answer::Open;
            }
            match (call.bytes, facts.memlock, facts.ipc_lock) {
                (Some(bytes), Some(limit), Some(false)) if bytes > limit => {
                    Answer::Broken(format!(
                        "and {} KiB are to be locked, the limit is {} KiB",
                        bytes.div_ceil(1024),
                        limit / 1024
                    ))
                }
                _ => Answer::Open,
            }
        })
    ),
    rule!(
        "io_uring_register/ENOENT/unknown",
        "what is to be removed or cancelled must be there",
        "it may have ended by itself",
        |call, _| among(call, &[23, 24, 26], |_| Answer::Open)
    ),
    rule!(
        "io_uring_register/EEXIST/group",
        "a group of buffers has one ring of buffers",
        "use another number, or unregister the old one first",
        |call, _| among(call, &[22], |_| Answer::Open)
    ),
    rule!(
        "io_uring_register/EINVAL/resize-defer",
        "queues are resized of rings with DEFER_TASKRUN only",
        "make the ring with DEFER_TASKRUN and SINGLE_ISSUER",
        |call, facts| among(call, &[33], |_| Answer::known(
            facts.ring.flags.map(|flags| flags & DEFER_TASKRUN == 0),
            String::new
        ))
    ),
];
