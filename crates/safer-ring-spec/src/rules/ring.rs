//! The three system calls of `io_uring(7)`.

use super::aio::{rule, unreadable, unwritable};
use super::call::{Call, RingEnter, RingRegister, RingSetup};
use super::facts::{Facts, File, Kind};
use super::{Answer, Place, Rule};

const IOPOLL: u32 = 1;
const SQPOLL: u32 = 1 << 1;
const SQ_AFF: u32 = 1 << 2;
const CQSIZE: u32 = 1 << 3;
const CLAMP: u32 = 1 << 4;
const ATTACH_WQ: u32 = 1 << 5;
const R_DISABLED: u32 = 1 << 6;
const COOP_TASKRUN: u32 = 1 << 8;
const TASKRUN_FLAG: u32 = 1 << 9;
const SQE128: u32 = 1 << 10;
const CQE32: u32 = 1 << 11;
const SINGLE_ISSUER: u32 = 1 << 12;
const DEFER_TASKRUN: u32 = 1 << 13;
const NO_MMAP: u32 = 1 << 14;
const REGISTERED_FD_ONLY: u32 = 1 << 15;
const NO_SQARRAY: u32 = 1 << 16;
const HYBRID_IOPOLL: u32 = 1 << 17;
const CQE_MIXED: u32 = 1 << 18;
const SQE_MIXED: u32 = 1 << 19;
const SQ_REWIND: u32 = 1 << 20;

/// First kernel of each flag, from `CQSIZE` on.
const SINCE: &[(u32, (u16, u16))] = &[
    (R_DISABLED, (5, 10)),
    (1 << 7, (5, 18)),
    (COOP_TASKRUN, (5, 19)),
    (TASKRUN_FLAG, (5, 19)),
    (SQE128, (5, 19)),
    (CQE32, (5, 19)),
    (SINGLE_ISSUER, (6, 0)),
    (DEFER_TASKRUN, (6, 1)),
    (NO_MMAP, (6, 5)),
    (REGISTERED_FD_ONLY, (6, 5)),
    (NO_SQARRAY, (6, 6)),
    (HYBRID_IOPOLL, (6, 13)),
    (CQE_MIXED, (6, 18)),
    (SQE_MIXED, (6, 19)),
    (SQ_REWIND, (7, 0)),
];

const MAX_ENTRIES: u32 = 32_768;
const MAX_CQ_ENTRIES: u32 = 65_536;

fn setup(call: &Call, test: impl FnOnce(&RingSetup) -> Answer) -> Answer {
    match call {
        Call::RingSetup(setup) => test(setup),
        _ => Answer::Open,
    }
}

/// A rule about flags alone.
fn flags(call: &Call, wrong: impl FnOnce(u32) -> bool) -> Answer {
    setup(call, |setup| Answer::of(wrong(setup.flags), String::new))
}

pub(super) const SETUP: &[Rule] = &[
    rule!(
        "io_uring_setup/ENOSYS/config",
        "the kernel must have io_uring",
        "use a kernel with CONFIG_IO_URING, of 5.6 or later, and a seccomp profile that does not hide it",
        |_, facts| match facts.kernel {
            Some(kernel) if kernel < (5, 1) => Answer::Broken("and this one is too old".to_owned()),
            _ => Answer::Open,
        }
    ),
    rule!(
        "io_uring_setup/EPERM/disabled",
        "io_uring must be allowed for this process",
        "check `sysctl kernel.io_uring_disabled` (0 allows it) and the container's seccomp profile",
        |_, facts| match facts.io_uring_disabled {
            Some(2) => Answer::Broken("and kernel.io_uring_disabled is 2".to_owned()),
            // A filter does not show before it is met.
            _ => Answer::Open,
        }
    ),
    rule!(
        "io_uring_setup/EFAULT/params",
        "the parameters must be memory of the program",
        "pass the address of a struct io_uring_params",
        |call, _| setup(call, |setup| unreadable(setup.params.memory))
    ),
    rule!(
        "io_uring_setup/EINVAL/reserved",
        "the reserved fields of the parameters must be 0",
        "set the whole structure to zero before it is filled in",
        |call, _| setup(call, |setup| Answer::of(setup.reserved_set, String::new))
    ),
    rule!(
        "io_uring_setup/EINVAL/flags-unknown",
        "the flags must be those that this kernel knows",
        "leave out what the kernel does not have",
        unknown_setup_flags
    ),
    rule!(
        "io_uring_setup/EINVAL/rewind",
        "SQ_REWIND needs NO_SQARRAY, and excludes SQPOLL",
        "set NO_SQARRAY too, or leave SQ_REWIND out",
        |call, _| flags(call, |f| f & SQ_REWIND != 0 && (f & NO_SQARRAY == 0 || f & SQPOLL != 0))
    ),
    rule!(
        "io_uring_setup/EINVAL/registered-fd-only",
        "REGISTERED_FD_ONLY needs NO_MMAP",
        "set both or none",
        |call, _| flags(call, |f| f & REGISTERED_FD_ONLY != 0 && f & NO_MMAP == 0)
    ),
    rule!(
        "io_uring_setup/EINVAL/entries-zero",
        "entries must be at least 1",
        "ask for a power of two, for as many as are submitted at a time",
        |call, _| setup(call, |setup| Answer::of(setup.entries == 0, String::new))
    ),
    rule!(
        "io_uring_setup/EINVAL/entries-too-many",
        "entries must be at most 32,768, without CLAMP",
        "ask for fewer, or set CLAMP",
        |call, _| setup(call, |setup| {
            let wrong = setup.entries > MAX_ENTRIES && setup.flags & CLAMP == 0;
            Answer::of(wrong, || format!("not {}", setup.entries))
        })
    ),
    rule!(
        "io_uring_setup/EINVAL/cq-entries-zero",
        "with CQSIZE, cq_entries must be at least 1",
        "set cq_entries, or leave CQSIZE out for twice the entries",
        |call, _| setup(call, |setup| {
            Answer::of(setup.flags & CQSIZE != 0 && setup.cq_entries == 0, String::new)
        })
    ),
    rule!(
        "io_uring_setup/EINVAL/cq-entries-too-many",
        "cq_entries must be at most 65,536, without CLAMP",
        "ask for fewer, or set CLAMP",
        |call, _| setup(call, |setup| {
            let sized = setup.flags & (CQSIZE | CLAMP) == CQSIZE;
            let wrong = sized && setup.cq_entries > MAX_CQ_ENTRIES;
            Answer::of(wrong, || format!("not {}", setup.cq_entries))
        })
    ),
    rule!(
        "io_uring_setup/EINVAL/cq-below-sq",
        "cq_entries must not be less than entries, both rounded up to powers of two",
        "ask for more completions, or fewer entries",
        cq_below_sq
    ),
    rule!(
        "io_uring_setup/EINVAL/sqpoll-taskrun",
        "SQPOLL excludes COOP_TASKRUN, TASKRUN_FLAG and DEFER_TASKRUN",
        "leave SQPOLL or the others out",
        |call, _| flags(call, |f| f & SQPOLL != 0
            && f & (COOP_TASKRUN | TASKRUN_FLAG | DEFER_TASKRUN) != 0)
    ),
    rule!(
        "io_uring_setup/EINVAL/taskrun-flag",
        "TASKRUN_FLAG needs COOP_TASKRUN or DEFER_TASKRUN",
        "set one of them, or leave it out",
        |call, _| flags(call, |f| f & TASKRUN_FLAG != 0 && f & (COOP_TASKRUN | DEFER_TASKRUN) == 0)
    ),
    rule!(
        "io_uring_setup/EINVAL/defer-single-issuer",
        "DEFER_TASKRUN needs SINGLE_ISSUER",
        "set both or none",
        |call, _| flags(call, |f| f & DEFER_TASKRUN != 0 && f & SINGLE_ISSUER == 0)
    ),
    rule!(
        "io_uring_setup/EINVAL/hybrid-iopoll",
        "HYBRID_IOPOLL needs IOPOLL",
        "set both or none",
        |call, _| flags(call, |f| f & HYBRID_IOPOLL != 0 && f & IOPOLL == 0)
    ),
    rule!(
        "io_uring_setup/EINVAL/cqe-sizes",
        "CQE32 and CQE_MIXED exclude each other",
        "leave one of them out",
        |call, _| flags(call, |f| f & CQE32 != 0 && f & CQE_MIXED != 0)
    ),
    rule!(
        "io_uring_setup/EINVAL/sqe-sizes",
        "SQE128 and SQE_MIXED exclude each other",
        "leave one of them out",
        |call, _| flags(call, |f| f & SQE128 != 0 && f & SQE_MIXED != 0)
    ),
    rule!(
        "io_uring_setup/EINVAL/aff-without-sqpoll",
        "SQ_AFF needs SQPOLL",
        "set both or none",
        |call, _| flags(call, |f| f & SQ_AFF != 0 && f & SQPOLL == 0)
    ),
    rule!(
        "io_uring_setup/ENOMEM/memlock",
        "the queues must fit into the locked memory that the process may have",
        "raise RLIMIT_MEMLOCK (`ulimit -l`) or ask for fewer entries",
        no_room_for_queues
    ),
    rule!(
        "io_uring_setup/ENXIO/attach",
        "with ATTACH_WQ, wq_fd must be an open descriptor",
        "pass the ring whose threads shall be shared, or leave ATTACH_WQ out",
        |call, facts| attached(call, facts, |file| Answer::known(
            file.open.map(|open| !open),
            String::new
        ))
    ),
    rule!(
        "io_uring_setup/EINVAL/attach",
        "with ATTACH_WQ, wq_fd must be a ring",
        "pass the ring whose threads shall be shared, or leave ATTACH_WQ out",
        |call, facts| attached(call, facts, |file| Answer::known(
            file.kind.map(|kind| kind != Kind::Ring),
            String::new
        ))
    ),
    rule!(
        "io_uring_setup/EINVAL/sq-cpu",
        "with SQ_AFF, sq_thread_cpu must be a CPU that is online",
        "pass another CPU, or leave SQ_AFF out",
        |call, facts| setup(call, |setup| {
            let both = SQ_AFF | SQPOLL;
            if setup.flags & both != both {
                return Answer::Kept;
            }
            match facts.cpus {
                Some(cpus) if setup.sq_thread_cpu >= cpus => {
                    Answer::Broken(format!("not {}", setup.sq_thread_cpu))
                }
                _ => Answer::Open,
            }
        })
    ),
    rule!(
        "io_uring_setup/EFAULT/no-mmap",
        "with NO_MMAP, the queues must be memory of the program",
        "pass their addresses in sq_off.user_addr and cq_off.user_addr",
        |call, _| setup(call, |setup| if setup.flags & NO_MMAP == 0 {
            Answer::Kept
        } else {
            Answer::Open
        })
    ),
    rule!(
        "io_uring_setup/EFAULT/params-read-only",
        "the parameters must be writable",
        "pass the address of a struct io_uring_params",
        |call, _| setup(call, |setup| unwritable(setup.params.memory))
    ),
    rule!(
        "io_uring_setup/EMFILE/nofile",
        "a ring is a descriptor of this process",
        "raise RLIMIT_NOFILE (`ulimit -n`) or close descriptors",
        |call, facts| setup(call, |setup| {
            let (Some(limit), Some(next)) = (facts.nofile, facts.next_fd) else {
                return Answer::Open;
            };
            if setup.flags & REGISTERED_FD_ONLY != 0 {
                return Answer::Kept;
            }
            Answer::of(next >= limit, || format!("and the limit of {limit} is reached"))
        })
    ),
    rule!(
        "io_uring_setup/ENFILE/file-max",
        "the machine must have room for one more open file",
        "raise fs.file-max",
        |_, _| Answer::Open
    ),
];

fn unknown_setup_flags(call: &Call, facts: &Facts) -> Answer {
    setup(call, |setup| {
        let beyond = setup.flags & !((SQ_REWIND << 1) - 1);
        let strange = |flags: u32| Answer::Broken(format!("{flags:#x} is not known"));
        match facts.kernel {
            _ if beyond >= 1 << 28 => strange(beyond),
            None => if setup.flags == 0 { Answer::Kept } else { Answer::Open },
            Some(kernel) => {
                let newer = SINCE.iter().filter(|(_, since)| kernel < *since);
                let newer = newer.fold(0, |all, (flag, _)| all | flag) & setup.flags;
                match newer | beyond {
                    0 => Answer::Kept,
                    // A kernel to come may know more, and one of a distribution may have taken one over.
                    found if kernel < (6, 2) => strange(found),
                    _ => Answer::Open,
                }
            }
        }
    })
}

fn cq_below_sq(call: &Call, _: &Facts) -> Answer {
    setup(call, |setup| {
        if setup.flags & CQSIZE == 0 || setup.entries == 0 || setup.cq_entries == 0 {
            return Answer::Kept;
        }
        let sq = setup.entries.min(MAX_ENTRIES).next_power_of_two();
        let cq = setup.cq_entries.min(MAX_CQ_ENTRIES).next_power_of_two();
        Answer::of(cq < sq, || format!("not {cq} and {sq}"))
    })
}

/// Bytes of the queues, each in whole pages: `None` of flags that change the sizes.
pub(super) fn queue_bytes(setup: &RingSetup, page: u64) -> Option<u64> {
    if setup.entries == 0 || setup.flags & (NO_MMAP | SQE128 | CQE32 | NO_SQARRAY | SQE_MIXED | CQE_MIXED) != 0 {
        return None;
    }
    let sq = u64::from(setup.entries.min(MAX_ENTRIES).next_power_of_two());
    let cq = if setup.flags & CQSIZE == 0 {
        sq.saturating_mul(2)
    } else {
        u64::from(setup.cq_entries.clamp(1, MAX_CQ_ENTRIES).next_power_of_two())
    };
    let rings = 64 + cq.saturating_mul(16) + sq.saturating_mul(4);
    let pages = rings.div_ceil(page) + sq.saturating_mul(64).div_ceil(page);
    Some(pages.saturating_mul(page))
}

fn no_room_for_queues(call: &Call, facts: &Facts) -> Answer {
    setup(call, |setup| {
        // The queues counted until 5.11, and count again since 6.14.
        let counts = facts.kernel.map(|kernel| !((5, 12)..(6, 14)).contains(&kernel));
        if facts.ipc_lock == Some(true) || facts.memlock == Some(u64::MAX) || counts == Some(false) {
            return Answer::Open;
        }
        let (Some(page), Some(limit)) = (facts.page_size, facts.memlock) else {
            return Answer::Open;
        };
        let needed = queue_bytes(setup, page);
        let (Some(needed), Some(true), Some(false)) = (needed, counts, facts.ipc_lock) else {
            return Answer::Open;
        };
        if needed <= limit {
            // What the user has locked elsewhere counts too.
            return Answer::Open;
        }
        Answer::Broken(format!(
            "and {} entries need {} KiB, the limit is {} KiB",
            setup.entries,
            needed / 1024,
            limit / 1024
        ))
    })
}

fn attached(call: &Call, facts: &Facts, test: impl FnOnce(&File) -> Answer) -> Answer {
    setup(call, |setup| {
        if setup.flags & ATTACH_WQ == 0 {
            return Answer::Kept;
        }
        test(&facts.file(setup.wq_fd))
    })
}

/// Flags of `io_uring_enter(2)` that all kernels since 5.1 know, and those to come.
const ENTER_GETEVENTS: u32 = 1;
const ENTER_EXT_ARG: u32 = 1 << 3;
const ENTER_REGISTERED_RING: u32 = 1 << 4;
const ENTER_EXT_ARG_REG: u32 = 1 << 6;
const ENTER_SINCE: &[(u32, (u16, u16))] = &[
    (1 << 2, (5, 10)),
    (ENTER_EXT_ARG, (5, 11)),
    (ENTER_REGISTERED_RING, (5, 18)),
    (1 << 5, (6, 12)),
    (ENTER_EXT_ARG_REG, (6, 13)),
    (1 << 7, (6, 15)),
];

fn enter(call: &Call, test: impl FnOnce(&RingEnter) -> Answer) -> Answer {
    match call {
        Call::RingEnter(enter) => test(enter),
        _ => Answer::Open,
    }
}

/// What is known about the ring of a call; of a registered one, nothing.
fn ring_file(call: &Call, facts: &Facts) -> File {
    let fd = match call {
        Call::RingEnter(enter) if enter.flags & ENTER_REGISTERED_RING == 0 => enter.fd,
        Call::RingRegister(register) if register.opcode & REGISTERED_RING == 0 => register.fd,
        _ => return File::default(),
    };
    u32::try_from(fd).map_or(File::CLOSED, |fd| facts.file(fd))
}

pub(super) const ENTER: &[Rule] = &[
    rule!(
        "io_uring_enter/EINVAL/flags-unknown",
        "the flags must be those that this kernel knows",
        "leave out what the kernel does not have",
        |call, facts| enter(call, |call| {
            let beyond = call.flags & !0xff;
            if beyond >= 1 << 16 {
                return Answer::Broken(format!("{beyond:#x} is not known"));
            }
            let Some(kernel) = facts.kernel else {
                return if call.flags & !3 == 0 { Answer::Kept } else { Answer::Open };
            };
            let newer = ENTER_SINCE.iter().filter(|(_, since)| kernel < *since);
            let newer = newer.fold(0, |all, (flag, _)| all | flag) & call.flags;
            if newer | beyond == 0 { Answer::Kept } else { Answer::Open }
        })
    ),
    rule!(
        "io_uring_enter/EINVAL/registered-index",
        "a registered ring is one of 16",
        "use the index that IORING_REGISTER_RING_FDS gave to this thread",
        |call, _| enter(call, |call| {
            if call.flags & ENTER_REGISTERED_RING == 0 {
                return Answer::Kept;
            }
            match u32::try_from(call.fd) {
                Ok(0..16) => Answer::Open,
                _ => Answer::Broken(format!("not {}", call.fd)),
            }
        })
    ),
    rule!(
        "io_uring_enter/EBADF/fd",
        "the ring must be an open descriptor",
        "keep the ring open",
        |call, facts| Answer::known(ring_file(call, facts).open.map(|open| !open), String::new)
    ),
    rule!(
        "io_uring_enter/EOPNOTSUPP/not-a-ring",
        "the descriptor must be a ring",
        "pass what io_uring_setup(2) gave",
        |call, facts| Answer::known(
            ring_file(call, facts).kind.map(|kind| kind != Kind::Ring),
            String::new
        )
    ),
    rule!(
        "io_uring_enter/EBADFD/disabled",
        "the ring must be enabled",
        "call io_uring_register(2) with IORING_REGISTER_ENABLE_RINGS",
        |_, facts| Answer::known(facts.ring.disabled, String::new)
    ),
    rule!(
        "io_uring_enter/EEXIST/other-thread",
        "a ring with SINGLE_ISSUER takes entries of the thread that made or enabled it only",
        "use the ring on that thread, or make it without SINGLE_ISSUER",
        |call, facts| enter(call, |call| {
            let Some(flags) = facts.ring.flags else { return Answer::Open };
            let submits = call.to_submit > 0
                || (flags & DEFER_TASKRUN != 0 && call.flags & ENTER_GETEVENTS != 0);
            if flags & SINGLE_ISSUER == 0 || flags & SQPOLL != 0 || !submits {
                return Answer::Kept;
            }
            Answer::known(facts.ring.own_thread.map(|own| !own), String::new)
        })
    ),
    rule!(
        "io_uring_enter/EINVAL/ext-arg-size",
        "with EXT_ARG, the size of the argument must be 24",
        "pass a struct io_uring_getevents_arg",
        |call, facts| enter(call, |call| {
            let both = ENTER_GETEVENTS | ENTER_EXT_ARG;
            if call.flags & both != both || call.flags & ENTER_EXT_ARG_REG != 0 {
                return Answer::Kept;
            }
            if call.argsz == 24 {
                return Answer::Kept;
            }
            waits(call, facts, || Answer::Broken(format!("not {}", call.argsz)))
        })
    ),
    rule!(
        "io_uring_enter/EFAULT/ext-arg",
        "with EXT_ARG, the argument must be memory of the program",
        "pass a struct io_uring_getevents_arg",
        |call, facts| enter(call, |call| {
            let both = ENTER_GETEVENTS | ENTER_EXT_ARG;
            if call.flags & both != both || call.flags & ENTER_EXT_ARG_REG != 0 {
                return Answer::Kept;
            }
            waits(call, facts, || unreadable(call.arg.memory))
        })
    ),
    rule!(
        "io_uring_enter/EINVAL/sigmask-size",
        "the size of a signal mask must be 8",
        "pass the size of the kernel's sigset_t, not that of the C library",
        |call, facts| enter(call, |call| {
            let both = ENTER_GETEVENTS | ENTER_EXT_ARG;
            let mask = call.flags & both == ENTER_GETEVENTS && !call.arg.is_null();
            if !mask || call.argsz == 8 {
                return Answer::Kept;
            }
            waits(call, facts, || Answer::Broken(format!("not {}", call.argsz)))
        })
    ),
    rule!(
        "io_uring_enter/EFAULT/sigmask",
        "a signal mask must be memory of the program",
        "pass its address, or null",
        |call, facts| enter(call, |call| {
            let both = ENTER_GETEVENTS | ENTER_EXT_ARG;
            let mask = call.flags & both == ENTER_GETEVENTS && !call.arg.is_null();
            if mask { waits(call, facts, || unreadable(call.arg.memory)) } else { Answer::Kept }
        })
    ),
    rule!(
        "io_uring_enter/EBUSY/overflow",
        "completions must be fetched before more is submitted",
        "fetch completions, and submit again",
        |_, _| Answer::Open
    ),
    rule!(
        "io_uring_enter/EAGAIN/memory",
        "the kernel must have memory for the requests",
        "fetch completions, and submit again",
        |_, _| Answer::Open
    ),
    rule!(
        "io_uring_enter/EINTR/signal",
        "a signal ends the wait",
        "call again with what is left of the time",
        |call, _| enter(call, |call| if call.flags & ENTER_GETEVENTS == 0 {
            Answer::Kept
        } else {
            Answer::Open
        })
    ),
    rule!(
        "io_uring_enter/ETIME/timeout",
        "the time limit is over",
        "",
        |call, _| enter(call, |call| if call.flags & ENTER_EXT_ARG == 0 {
            Answer::Kept
        } else {
            Answer::Open
        })
    ),
];

/// What is only looked at when the call gets as far as waiting: entries that are submitted decide the result before.
fn waits(call: &RingEnter, facts: &Facts, test: impl FnOnce() -> Answer) -> Answer {
    let polled = facts.ring.flags.is_none_or(|flags| flags & IOPOLL != 0);
    if call.to_submit > 0 || polled { Answer::Open } else { test() }
}

const REGISTERED_RING: u32 = 1 << 31;
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
    register(call, |call| {
        if operations.contains(&call.operation()) { test(call) } else { Answer::Kept }
    })
}

pub(super) const REGISTER: &[Rule] = &[
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
        |call, _| among(call, &[0, 2, 4, 7], |call| unreadable(call.arg.memory))
    ),
    rule!(
        "io_uring_register/EBADF/file",
        "each registered descriptor must be open, or -1 for an empty place, and no ring",
        "open them first",
        |call, _| among(call, &[2, 4, 7], |_| Answer::Open)
    ),
    rule!(
        "io_uring_register/EINVAL/eventfd-kind",
        "the descriptor must be an eventfd",
        "make one with eventfd(2)",
        |call, _| among(call, &[4, 7], |_| Answer::Open)
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
        |call, _| among(call, &[6, 13, 14, 15, 16, 20, 22, 23, 24, 25, 30, 33, 34], |_| Answer::Open)
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
                (Some(bytes), Some(limit), Some(false)) if bytes > limit => Answer::Broken(format!(
                    "and {} KiB are to be locked, the limit is {} KiB",
                    bytes.div_ceil(1024),
                    limit / 1024
                )),
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
