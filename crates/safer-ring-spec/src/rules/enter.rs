//! `io_uring_enter(2)`, by the kernel's behaviour.

use super::aio::{rule, unreadable};
use super::call::{Call, Memory, RingEnter};
use super::facts::{Facts, File, Kind};
use super::register::REGISTERED_RING;
use super::ring_setup::{DEFER_TASKRUN, IOPOLL, SINGLE_ISSUER, SQPOLL};
use super::{Answer, Place, Rule};

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
pub(super) fn ring_file(call: &Call, facts: &Facts) -> File {
    let fd = match call {
        Call::RingEnter(enter) if enter.flags & ENTER_REGISTERED_RING == 0 => enter.fd,
        Call::RingRegister(register) if register.opcode & REGISTERED_RING == 0 => register.fd,
        _ => return File::default(),
    };
    u32::try_from(fd).map_or(File::CLOSED, |fd| facts.file(fd))
}

pub(super) const RULES: &[Rule] = &[
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
        |call, _| enter(call, |call| {
            let both = ENTER_GETEVENTS | ENTER_EXT_ARG;
            let mask = call.flags & both == ENTER_GETEVENTS && !call.arg.is_null();
            if !mask || call.argsz == 8 || call.min_complete == 0 {
                return Answer::Kept;
            }
            // With enough completions it is not looked at.
            Answer::Open
        })
    ),
    rule!(
        "io_uring_enter/EFAULT/sigmask",
        "a signal mask must be memory of the program",
        "pass its address, or null",
        |call, _| enter(call, |call| {
            let both = ENTER_GETEVENTS | ENTER_EXT_ARG;
            let mask = call.flags & both == ENTER_GETEVENTS && !call.arg.is_null();
            let good = matches!(call.arg.memory, Memory::Writable | Memory::ReadOnly);
            if mask && call.min_complete > 0 && !good { Answer::Open } else { Answer::Kept }
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
    rule!("io_uring_enter/ETIME/timeout", "the time limit is over", "", |call, _| enter(
        call,
        |call| if call.flags & ENTER_EXT_ARG == 0 { Answer::Kept } else { Answer::Open }
    )),
];

/// What is only looked at when the call gets as far as waiting: entries that are submitted decide the result before.
fn waits(call: &RingEnter, facts: &Facts, test: impl FnOnce() -> Answer) -> Answer {
    let polled = facts.ring.flags.is_none_or(|flags| flags & IOPOLL != 0);
    if call.to_submit > 0 || polled { Answer::Open } else { test() }
}
