//! `io_uring_setup(2)`, by the kernel's behaviour.

use super::aio::{rule, unreadable, unwritable};
use super::call::{Call, RingSetup};
use super::facts::{Facts, File, Kind};
use super::{Answer, Place, Rule};

pub(super) const IOPOLL: u32 = 1;
pub(super) const SQPOLL: u32 = 1 << 1;
const SQ_AFF: u32 = 1 << 2;
const CQSIZE: u32 = 1 << 3;
const CLAMP: u32 = 1 << 4;
const ATTACH_WQ: u32 = 1 << 5;
const R_DISABLED: u32 = 1 << 6;
const COOP_TASKRUN: u32 = 1 << 8;
const TASKRUN_FLAG: u32 = 1 << 9;
const SQE128: u32 = 1 << 10;
const CQE32: u32 = 1 << 11;
pub(super) const SINGLE_ISSUER: u32 = 1 << 12;
pub(super) const DEFER_TASKRUN: u32 = 1 << 13;
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
            None => {
                if setup.flags == 0 {
                    Answer::Kept
                } else {
                    Answer::Open
                }
            }
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
    if setup.entries == 0
        || setup.flags & (NO_MMAP | SQE128 | CQE32 | NO_SQARRAY | SQE_MIXED | CQE_MIXED) != 0
    {
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
        // The queues counted until 5.11, and again from 6.14 on; 7.3 was seen to let them pass.
        let between = |kernel| ((5, 12)..(6, 14)).contains(&kernel) || kernel > (6, 18);
        let counts = facts.kernel.map(|kernel| !between(kernel));
        if facts.ipc_lock == Some(true) || facts.memlock == Some(u64::MAX) || counts == Some(false)
        {
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
