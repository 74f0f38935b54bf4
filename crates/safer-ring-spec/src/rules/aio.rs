//! Linux AIO, `fs/aio.c` of the kernel by its behaviour; its submission is in `submit.rs`.

use super::call::{Call, IoCancel, IoGetevents, IoSetup, Memory};
use super::facts::Facts;
use super::{Answer, Place, Rule};

/// A rule that shows as the result of the call.
macro_rules! rule {
    ($statement:literal, $text:literal, $fix:literal, $test:expr) => {
        rule!(Return, $statement, $text, $fix, $test)
    };
    ($place:ident, $statement:literal, $text:literal, $fix:literal, $test:expr) => {
        Rule {
            id: $statement,
            errno: $crate::rules::errno_of($statement),
            place: Place::$place,
            text: $text,
            fix: $fix,
            test: $test,
        }
    };
}
pub(super) use rule;

fn setup(call: &Call) -> Option<&IoSetup> {
    match call {
        Call::IoSetup(setup) => Some(setup),
        _ => None,
    }
}

fn of_setup(call: &Call, test: impl FnOnce(&IoSetup) -> Answer) -> Answer {
    setup(call).map_or(Answer::Open, test)
}

/// Whether the kernel fails to read there.
pub(super) fn unreadable(memory: Memory) -> Answer {
    match memory {
        Memory::Writable | Memory::ReadOnly => Answer::Kept,
        Memory::Unmapped => Answer::Broken(String::new()),
        Memory::Unknown => Answer::Open,
    }
}

/// Whether the kernel fails to write there.
pub(super) fn unwritable(memory: Memory) -> Answer {
    match memory {
        Memory::Writable => Answer::Kept,
        Memory::ReadOnly => Answer::Broken("it is read-only".to_owned()),
        Memory::Unmapped => Answer::Broken(String::new()),
        Memory::Unknown => Answer::Open,
    }
}

pub(super) const SETUP: &[Rule] = &[
    rule!(
        "io_setup/EFAULT/ctxp",
        "the address for the context must be memory of the program",
        "pass the address of an `aio_context_t`",
        |call, _| of_setup(call, |setup| unreadable(setup.result.memory))
    ),
    rule!(
        "io_setup/EINVAL/ctx-not-zero",
        "the `aio_context_t` must be 0 before the call",
        "set it to 0, and make each context in a variable of its own",
        |call, _| of_setup(call, |setup| Answer::of(setup.value != 0, || format!(
            "it is {:#x}",
            setup.value
        )))
    ),
    rule!(
        "io_setup/EINVAL/nr-zero",
        "nr_events must be at least 1",
        "ask for as many as shall be in flight at a time",
        |call, _| of_setup(call, |setup| Answer::of(setup.nr_events == 0, String::new))
    ),
    rule!(
        "io_setup/EINVAL/nr-too-many",
        "nr_events must be at most 4,194,304",
        "ask for fewer, or make several contexts",
        too_many_events
    ),
    rule!(
        "io_setup/EAGAIN/aio-max-nr",
        "nr_events must be within fs.aio-max-nr",
        "raise the limit on the host (`sysctl fs.aio-max-nr=1048576`) or ask for fewer",
        |call, facts| of_setup(call, |setup| {
            let over = facts.aio_max_nr.map(|limit| u64::from(setup.nr_events) > limit);
            Answer::known(over, || {
                let limit = facts.aio_max_nr.unwrap_or_default();
                format!("{} are asked for and the limit is {limit}", setup.nr_events)
            })
        })
    ),
    rule!(
        "io_setup/ENOMEM/ring",
        "there must be memory for the ring of events, and address space to map it",
        "raise RLIMIT_AS or the memory limit of the container, or ask for fewer",
        |_, _| Answer::Open
    ),
    rule!(
        "io_setup/EAGAIN/aio-nr",
        "what all contexts of the machine have must stay within fs.aio-max-nr",
        "raise the limit on the host (`sysctl fs.aio-max-nr=1048576`), or destroy contexts that are not needed",
        no_share_left
    ),
    rule!(
        "io_setup/EFAULT/ctxp-read-only",
        "the address for the context must be writable",
        "pass the address of an `aio_context_t`",
        |call, _| of_setup(call, |setup| unwritable(setup.result.memory))
    ),
];

/// The kernel doubles the number, in 32 bits, after raising it to four for each CPU.
fn too_many_events(call: &Call, facts: &Facts) -> Answer {
    of_setup(call, |setup| {
        let cpus = facts.cpus.unwrap_or(1);
        let ring = setup.nr_events.max(cpus.saturating_mul(4)).wrapping_mul(2);
        Answer::of(ring > 8_388_608, || format!("not {}", setup.nr_events))
    })
}

fn no_share_left(call: &Call, facts: &Facts) -> Answer {
    of_setup(call, |setup| {
        let (Some(limit), Some(used)) = (facts.aio_max_nr, facts.aio_nr) else {
            return Answer::Open;
        };
        // Others make and destroy contexts all the time.
        let asked = u64::from(setup.nr_events);
        if used.saturating_add(asked) <= limit {
            return Answer::Open;
        }
        Answer::Broken(format!("{used} of {limit} are taken and {asked} are asked for"))
    })
}

pub(super) fn dead(_: &Call, facts: &Facts) -> Answer {
    Answer::known(facts.context.alive.map(|alive| !alive), String::new)
}

pub(super) const DESTROY: &[Rule] = &[rule!(
    "io_destroy/EINVAL/ctx",
    "the context must be one of this process that has not been destroyed",
    "destroy each context once, in the process that made it",
    dead
)];

/// Whether `value` is no multiple of `align`. A file system may answer misaligned I/O from its cache instead.
pub(super) fn misaligned(value: u64, align: Option<u32>, what: &str) -> Answer {
    match align.map(u64::from) {
        None | Some(0) => Answer::Open,
        Some(align) if value.is_multiple_of(align) => Answer::Kept,
        Some(align) => {
            let rest = value % align;
            Answer::Broken(format!("of {align} bytes, and {what} is at +{rest}"))
        }
    }
}

/// Inside of one page, kernels since about 6.18 take any address: there an answer of "broken" is left open.
pub(super) fn within_page(address: u64, length: u64, facts: &Facts, answer: Answer) -> Answer {
    let page = facts.page_size.unwrap_or(4096).max(1);
    let inside = (address % page).saturating_add(length) <= page;
    if inside && matches!(answer, Answer::Broken(_)) { Answer::Open } else { answer }
}

fn getevents(call: &Call, test: impl FnOnce(&IoGetevents) -> Answer) -> Answer {
    match call {
        Call::IoGetevents(getevents) => test(getevents),
        _ => Answer::Open,
    }
}

pub(super) const GETEVENTS: &[Rule] = &[
    rule!(
        "io_getevents/EFAULT/timeout",
        "the time limit must be memory of the program, or null",
        "pass the address of a timespec",
        |call, _| getevents(call, |call| if call.timeout.is_null() {
            Answer::Kept
        } else {
            unreadable(call.timeout.memory)
        })
    ),
    rule!(
        "io_getevents/EINVAL/ctx",
        "the context must be one of this process that has not been destroyed",
        "a forked child makes contexts of its own",
        dead
    ),
    rule!(
        "io_getevents/EINVAL/min-negative",
        "min_nr must not be negative",
        "pass 0 to fetch without waiting",
        |call, _| getevents(call, |call| Answer::of(call.min_nr < 0, || format!(
            "not {}",
            call.min_nr
        )))
    ),
    rule!(
        "io_getevents/EINVAL/min-above-nr",
        "min_nr must be at most nr",
        "wait for no more events than there is room for",
        |call, _| getevents(call, |call| Answer::of(call.min_nr > call.nr, || format!(
            "not {} of {}",
            call.min_nr, call.nr
        )))
    ),
    rule!(
        "io_getevents/EFAULT/events",
        "the array of events must be writable memory of the program",
        "pass the address of an array of nr events; the events stay and can be fetched",
        |call, facts| getevents(call, |call| {
            if call.nr == 0 || facts.context.ready == Some(0) {
                return Answer::Kept;
            }
            match facts.context.ready {
                Some(_) => unwritable(call.events.memory),
                None => Answer::Open,
            }
        })
    ),
    rule!(
        "io_getevents/EINTR/signal",
        "a signal ends the wait before the first event",
        "call again with what is left of the time",
        |call, facts| getevents(call, |call| {
            let waits = call.min_nr > 0 && facts.context.ready.is_none_or(|ready| ready == 0);
            if waits { Answer::Open } else { Answer::Kept }
        })
    ),
];

fn cancel(call: &Call, test: impl FnOnce(&IoCancel) -> Answer) -> Answer {
    match call {
        Call::IoCancel(cancel) => test(cancel),
        _ => Answer::Open,
    }
}

pub(super) const CANCEL: &[Rule] = &[
    rule!(
        "io_cancel/EFAULT/iocb",
        "the iocb must be memory of the program",
        "keep the structure where it was submitted until its event has been fetched",
        |call, _| cancel(call, |call| unreadable(call.place.memory))
    ),
    rule!(
        "io_cancel/EINVAL/key",
        "aio_key must be what the kernel wrote there, 0",
        "do not change the structure while its command is in flight",
        |call, _| cancel(call, |call| Answer::of(call.key != 0, || format!("not {}", call.key)))
    ),
    rule!(
        "io_cancel/EINVAL/ctx",
        "the context must be one of this process that has not been destroyed",
        "cancel in the context that has the command",
        dead
    ),
    rule!(
        "io_cancel/EINVAL/not-found",
        "the command must be in flight and one that can be cancelled",
        "only polls can be cancelled; wait for the event of everything else",
        |call, _| cancel(call, |call| Answer::known(
            call.waiting.map(|waiting| !waiting),
            String::new
        ))
    ),
];
