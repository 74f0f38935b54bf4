//! `io_cancel(2)`.

use crate::aio::{read, returned, waiting_poll};
use crate::env::{Command, Env, Try, seen};
use crate::expect::Expect::{EventGives, Fails, Seen};
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

/// A context in which a poll waits.
fn waiting(env: &Env) -> Try<u64> {
    let context = env.context(8)?;
    let (poll, _, _) = waiting_poll(env)?;
    env.put(0, &Command { data: 9, ..poll });
    match raw::io_submit(context, 1, env.pointers(0)) {
        Ok(1) => Ok(context),
        other => Err(Observed::Returned(other)),
    }
}

/// Cancels something that was never submitted.
fn absent(env: &Env, place: Address) -> Try {
    let context = env.context(1)?;
    returned(raw::io_cancel(context, place, env.events()))
}

pub(crate) const PROBES: &[Probe] = &[
    p("io_cancel/EFAULT/iocb", "a null pointer", Fails("EFAULT"), |env| absent(env, Address::NULL)),
    p("io_cancel/EFAULT/iocb", "memory that cannot be touched", Fails("EFAULT"), |env| {
        absent(env, env.memory.forbidden())
    }),
    p("io_cancel/EFAULT/iocb", "an address of the kernel", Fails("EFAULT"), |env| {
        absent(env, Address::KERNEL)
    }),
    p("io_cancel/EFAULT/iocb", "is seen before the context", Fails("EFAULT"), |env| {
        returned(raw::io_cancel(0, Address::NULL, env.events()))
    }),
    p("io_cancel/EINVAL/key", "1", Fails("EINVAL"), |env| {
        let context = waiting(env)?;
        env.put(0, &Command { key: 1, ..Command::default() });
        returned(raw::io_cancel(context, env.iocb(0), env.events()))
    }),
    p("io_cancel/EINVAL/zero", "the context 0", Fails("EINVAL"), |env| {
        env.put(0, &Command::default());
        returned(raw::io_cancel(0, env.iocb(0), env.events()))
    }),
    p("io_cancel/EINVAL/other-context", "another context", Fails("EINVAL"), |env| {
        waiting(env)?;
        let other = env.context(1)?;
        returned(raw::io_cancel(other, env.iocb(0), env.events()))
    }),
    p("io_cancel/EINVAL/destroyed", "a context that was destroyed", Fails("EINVAL"), |env| {
        let context = waiting(env)?;
        let _ = raw::io_destroy(context);
        returned(raw::io_cancel(context, env.iocb(0), env.events()))
    }),
    p("io_cancel/EINVAL/never-submitted", "never submitted", Fails("EINVAL"), |env| {
        env.put(0, &Command::default());
        absent(env, env.iocb(0))
    }),
    p("io_cancel/by-address", "a copy of the iocb elsewhere", Fails("EINVAL"), |env| {
        let context = waiting(env)?;
        env.put(1, &Command::default());
        returned(raw::io_cancel(context, env.iocb(1), env.events()))
    }),
    p("io_cancel/EINVAL/ended", "a read that has ended", Fails("EINVAL"), |env| {
        let context = env.context(1)?;
        env.put(0, &read(env)?);
        let _ = raw::io_submit(context, 1, env.pointers(0));
        returned(raw::io_cancel(context, env.iocb(0), env.events()))
    }),
    p("io_cancel/EINVAL/twice", "a second time", Fails("EINVAL"), |env| {
        let context = waiting(env)?;
        let _ = raw::io_cancel(context, env.iocb(0), env.events());
        returned(raw::io_cancel(context, env.iocb(0), env.events()))
    }),
    p("io_cancel/EINPROGRESS/poll", "a poll that waits", Fails("EINPROGRESS"), |env| {
        let context = waiting(env)?;
        returned(raw::io_cancel(context, env.iocb(0), env.events()))
    }),
    p("io_cancel/result-unused", "a null result", Fails("EINPROGRESS"), |env| {
        let context = waiting(env)?;
        returned(raw::io_cancel(context, env.iocb(0), Address::NULL))
    }),
    p("io_cancel/event-comes", "the event comes, with 0", EventGives(0), |env| {
        let context = waiting(env)?;
        let _ = raw::io_cancel(context, env.iocb(0), Address::NULL);
        Ok(env.fetch(context))
    }),
    p("io_cancel/event-comes", "it has the data of the command", Seen, |env| {
        let context = waiting(env)?;
        let _ = raw::io_cancel(context, env.iocb(0), Address::NULL);
        let event = env.fetch(context);
        let (data, ..) = env.event(0);
        seen(data == 9, format!("{event}, data {data}"))
    }),
];
