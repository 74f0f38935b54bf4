//! `io_getevents(2)`.

use crate::aio::{in_fork, read, returned};
use crate::env::{Command, Env, Try, seen};
use crate::expect::Expect::{Fails, Gives, Seen};
use crate::expect::Observed;
use crate::memory::Address;
use crate::probes::Probe;
use crate::raw;

const fn p(
    statement: &'static str,
    case: &'static str,
    expect: crate::Expect,
    run: fn(&Env) -> Try,
) -> Probe {
    Probe::new(statement, case, expect, run)
}

/// Fetches from a context without events.
fn empty(env: &Env, min: i64, nr: i64, events: Address, timeout: Address) -> Try {
    let context = env.context(8)?;
    returned(raw::io_getevents(context, min, nr, events, timeout))
}

/// A context with events of reads: they end during the submission, as the data are in memory.
fn ready(env: &Env, count: usize) -> Try<u64> {
    let context = env.context(8)?;
    for index in 0..count {
        let data = u64::try_from(index).unwrap_or_default().saturating_add(70);
        env.put(index, &Command { data, ..read(env)? });
    }
    let wanted = i64::try_from(count).unwrap_or_default();
    match raw::io_submit(context, wanted, env.pointers(0)) {
        Ok(taken) if taken == wanted => Ok(context),
        other => Err(Observed::Returned(other)),
    }
}

/// Fetches from a context with this many events.
fn from_ready(env: &Env, count: usize, min: i64, nr: i64, timeout: Address) -> Try {
    let context = ready(env, count)?;
    returned(raw::io_getevents(context, min, nr, env.events(), timeout))
}

/// The first event, of one read.
fn event(env: &Env) -> Try<(u64, u64, i64, i64)> {
    let context = ready(env, 1)?;
    match raw::io_getevents(context, 1, 1, env.events(), Address::NULL) {
        Ok(1) => Ok(env.event(0)),
        other => Err(Observed::Returned(other)),
    }
}

/// Tries to fetch to a wrong address, then to a right one.
fn twice(env: &Env, wrong: Address) -> Try<(raw::Outcome, raw::Outcome)> {
    let context = ready(env, 1)?;
    let first = raw::io_getevents(context, 1, 1, wrong, env.time(5, 0));
    Ok((first, raw::io_getevents(context, 1, 1, env.events(), env.time(5, 0))))
}

pub(crate) const PROBES: &[Probe] = &[
    p("io_getevents/EFAULT/timeout", "memory that cannot be touched", Fails("EFAULT"), |env| {
        empty(env, 0, 1, env.events(), env.memory.forbidden())
    }),
    p("io_getevents/EFAULT/timeout", "an address of the kernel", Fails("EFAULT"), |env| {
        empty(env, 0, 1, env.events(), Address::KERNEL)
    }),
    p("io_getevents/EFAULT/timeout", "is seen before the context", Fails("EFAULT"), |env| {
        returned(raw::io_getevents(0, 0, 1, env.events(), Address::KERNEL))
    }),
    p("io_getevents/EINVAL/zero", "the context 0", Fails("EINVAL"), |env| {
        returned(raw::io_getevents(0, 0, 1, env.events(), env.time(0, 0)))
    }),
    p("io_getevents/EINVAL/unmapped", "all bits", Fails("EINVAL"), |env| {
        returned(raw::io_getevents(u64::MAX, 0, 1, env.events(), env.time(0, 0)))
    }),
    p("io_getevents/EINVAL/unmapped", "memory of zeros", Fails("EINVAL"), |env| {
        returned(raw::io_getevents(env.buffer().get(), 0, 1, env.events(), env.time(0, 0)))
    }),
    p(
        "io_getevents/EINVAL/forked-child",
        "the parent's context, in a child",
        Fails("EINVAL"),
        |env| {
            let context = env.context(1)?;
            let events = env.events();
            in_fork(|| Observed::Returned(raw::io_getevents(context, 0, 0, events, Address::NULL)))
        },
    ),
    p("io_getevents/EINVAL/min-negative", "-1", Fails("EINVAL"), |env| {
        empty(env, -1, 1, env.events(), env.time(0, 0))
    }),
    p("io_getevents/EINVAL/min-negative", "the least number", Fails("EINVAL"), |env| {
        empty(env, i64::MIN, 1, env.events(), env.time(0, 0))
    }),
    p("io_getevents/EINVAL/min-above-nr", "2 of 1", Fails("EINVAL"), |env| {
        empty(env, 2, 1, env.events(), env.time(0, 0))
    }),
    p("io_getevents/EINVAL/nr-negative", "0 of -1", Fails("EINVAL"), |env| {
        empty(env, 0, -1, env.events(), env.time(0, 0))
    }),
    p("io_getevents/EINVAL/min-above-nr", "1 of 0", Fails("EINVAL"), |env| {
        empty(env, 1, 0, env.events(), env.time(0, 0))
    }),
    p("io_getevents/EINVAL/min-above-nr", "the largest number of 1", Fails("EINVAL"), |env| {
        empty(env, i64::MAX, 1, env.events(), env.time(0, 0))
    }),
    p("io_getevents/EFAULT/events", "a null pointer", Fails("EFAULT"), |env| {
        twice(env, Address::NULL).map(|(first, _)| Observed::Returned(first))
    }),
    p("io_getevents/EFAULT/events", "memory that cannot be touched", Fails("EFAULT"), |env| {
        twice(env, env.memory.forbidden()).map(|(first, _)| Observed::Returned(first))
    }),
    p("io_getevents/EFAULT/events", "read-only memory", Fails("EFAULT"), |env| {
        twice(env, env.memory.read_only()).map(|(first, _)| Observed::Returned(first))
    }),
    p("io_getevents/EFAULT/events", "nobody looks without an event", Gives(0), |env| {
        empty(env, 0, 1, Address::NULL, env.time(0, 0))
    }),
    p("io_getevents/kept-on-efault", "the event stays after EFAULT", Gives(1), |env| {
        twice(env, Address::NULL).map(|(_, second)| Observed::Returned(second))
    }),
    p("io_getevents/EINTR/signal", "a timer during the wait", Fails("EINTR"), |env| {
        let context = env.context(1)?;
        raw::hear_alarms();
        // Again and again, in case that the first comes before the wait.
        let at = env.argument();
        for (field, value) in [(0, 0), (8, 5000), (16, 0), (24, 5000)] {
            env.memory.put_u64(at.saturating_add(field), value);
        }
        let _ = raw::setitimer(0, env.argument_address(), Address::NULL);
        returned(raw::io_getevents(context, 1, 1, env.events(), Address::NULL))
    }),
    p("io_getevents/zero-timeout", "no time and no events", Gives(0), |env| {
        empty(env, 1, 1, env.events(), env.time(0, 0))
    }),
    p("io_getevents/timeout-over", "the time is over", Gives(0), |env| {
        empty(env, 1, 1, env.events(), env.time(0, 1_000_000))
    }),
    p("io_getevents/zero-nr", "no room", Gives(0), |env| {
        empty(env, 0, 0, Address::NULL, env.time(0, 0))
    }),
    p("io_getevents/negative-timeout", "a timer ends it, and no limit", Fails("EINTR"), |env| {
        let context = env.context(1)?;
        raw::hear_alarms();
        let at = env.argument();
        for (field, value) in [(0, 0), (8, 5000), (16, 0), (24, 5000)] {
            env.memory.put_u64(at.saturating_add(field), value);
        }
        let _ = raw::setitimer(0, env.argument_address(), Address::NULL);
        returned(raw::io_getevents(context, 1, 1, env.events(), env.time(-1, 0)))
    }),
    p("io_getevents/return", "one event, no time limit", Gives(1), |env| {
        from_ready(env, 1, 1, 1, Address::NULL)
    }),
    p("io_getevents/at-most-nr", "three events, room for two", Gives(2), |env| {
        from_ready(env, 3, 1, 2, env.time(5, 0))
    }),
    p("io_getevents/return", "three events, room for eight", Gives(3), |env| {
        from_ready(env, 3, 3, 8, env.time(5, 0))
    }),
    p("io_getevents/timeout-over", "one event, two wanted, after the time", Gives(1), |env| {
        from_ready(env, 1, 2, 2, env.time(0, 1_000_000))
    }),
    p("io_getevents/zero-timeout", "no minimum takes what there is", Gives(1), |env| {
        from_ready(env, 1, 0, 8, env.time(0, 0))
    }),
    p("io_getevents/large-nanoseconds", "two billion nanoseconds", Gives(1), |env| {
        from_ready(env, 1, 1, 1, env.time(0, 2_000_000_000))
    }),
    p("io_getevents/negative-timeout", "a negative time, with an event", Gives(1), |env| {
        from_ready(env, 1, 1, 1, env.time(-1, 0))
    }),
    p("io_getevents/event-data", "data is aio_data", Seen, |env| {
        let (data, ..) = event(env)?;
        seen(data == 70, format!("{data}, not 70"))
    }),
    p("io_getevents/event-data", "obj is the address of the iocb", Seen, |env| {
        let (_, obj, ..) = event(env)?;
        seen(obj == env.iocb(0).get(), format!("{obj:#x}"))
    }),
    p("io_getevents/event-data", "res is the number of bytes", Seen, |env| {
        let (_, _, res, _) = event(env)?;
        seen(res == 512, format!("{res}"))
    }),
    p("io_getevents/event-data", "res2 is 0", Seen, |env| {
        let (_, _, _, res2) = event(env)?;
        seen(res2 == 0, format!("{res2}"))
    }),
    p("io_getevents/consumes", "an event is fetched once", Gives(0), |env| {
        let context = ready(env, 1)?;
        let _ = raw::io_getevents(context, 1, 1, env.events(), env.time(5, 0));
        returned(raw::io_getevents(context, 0, 1, env.events(), env.time(0, 0)))
    }),
];
