//! `io_destroy(2)`.

use crate::aio::{in_fork, returned, waiting_poll};
use crate::env::{Env, Try, seen};
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

pub(crate) const PROBES: &[Probe] = &[
    p("io_destroy/EINVAL/zero", "the context 0", Fails("EINVAL"), |_| returned(raw::io_destroy(0))),
    p("io_destroy/EINVAL/unmapped", "all bits", Fails("EINVAL"), |_| {
        returned(raw::io_destroy(u64::MAX))
    }),
    p("io_destroy/EINVAL/no-context", "the address of something else", Fails("EINVAL"), |env| {
        returned(raw::io_destroy(env.buffer().get()))
    }),
    p("io_destroy/EINVAL/twice", "a second time", Fails("EINVAL"), |env| {
        let context = env.context(1)?;
        let _ = raw::io_destroy(context);
        returned(raw::io_destroy(context))
    }),
    p("io_destroy/EINVAL/forked-child", "in a forked child", Fails("EINVAL"), |env| {
        let context = env.context(1)?;
        in_fork(|| Observed::Returned(raw::io_destroy(context)))
    }),
    p("io_destroy/return", "an unused context", Gives(0), |env| {
        returned(raw::io_destroy(env.context(1)?))
    }),
    p("io_destroy/return", "from another thread", Gives(0), |env| {
        let context = env.context(1)?;
        let thread = std::thread::spawn(move || raw::io_destroy(context));
        match thread.join() {
            Ok(outcome) => returned(outcome),
            Err(_) => Err(Observed::Unavailable("the thread panicked".to_owned())),
        }
    }),
    p("io_destroy/polls-cancelled", "a poll waits in it", Gives(0), |env| {
        let context = env.context(1)?;
        let (poll, _, _) = waiting_poll(env)?;
        env.put(0, &poll);
        let submitted = raw::io_submit(context, 1, env.pointers(0));
        if submitted != Ok(1) {
            return returned(submitted);
        }
        returned(raw::io_destroy(context))
    }),
    p("io_destroy/handle-ends", "io_submit to it", Fails("EINVAL"), |env| {
        let context = env.context(1)?;
        let _ = raw::io_destroy(context);
        returned(raw::io_submit(context, 0, Address::NULL))
    }),
    p("io_destroy/handle-ends", "io_getevents of it", Fails("EINVAL"), |env| {
        let context = env.context(1)?;
        let _ = raw::io_destroy(context);
        returned(raw::io_getevents(context, 0, 0, Address::NULL, env.time(0, 0)))
    }),
    p("io_destroy/others-stay", "another context lives on", Seen, |env| {
        let (first, second) = (env.context(1)?, env.context(1)?);
        let _ = raw::io_destroy(first);
        let result = raw::io_submit(second, 0, Address::NULL);
        seen(result == Ok(0), format!("io_submit to it gives {result:?}"))
    }),
];
