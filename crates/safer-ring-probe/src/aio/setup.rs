//! `io_setup(2)`.

use crate::aio::returned;
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

fn at(nr: u32, address: Address) -> Try {
    returned(raw::io_setup(nr, address))
}

/// A number of `/proc/sys/fs`.
fn system(name: &str) -> Try<u64> {
    let text = std::fs::read_to_string(format!("/proc/sys/fs/{name}")).unwrap_or_default();
    text.trim().parse().map_err(|_| Observed::Unavailable(format!("fs.{name} cannot be read")))
}

pub(crate) const PROBES: &[Probe] = &[
    p("io_setup/EFAULT/unreadable", "a null pointer", Fails("EFAULT"), |_| at(1, Address::NULL)),
    p("io_setup/EFAULT/unreadable", "memory that cannot be touched", Fails("EFAULT"), |env| {
        at(1, env.memory.forbidden())
    }),
    p("io_setup/EFAULT/unreadable", "an address of the kernel", Fails("EFAULT"), |_| {
        at(1, Address::KERNEL)
    }),
    p("io_setup/EFAULT/unreadable", "is seen before a number of 0", Fails("EFAULT"), |_| {
        at(0, Address::NULL)
    }),
    p("io_setup/EINVAL/handle-not-zero", "the context is 1", Fails("EINVAL"), |env| {
        at(1, env.context_word(1))
    }),
    p(
        "io_setup/EINVAL/handle-not-zero",
        "the context is one that exists",
        Fails("EINVAL"),
        |env| {
            let context = env.context(1)?;
            at(1, env.context_word(context))
        },
    ),
    p("io_setup/EINVAL/no-events", "no events", Fails("EINVAL"), |env| at(0, env.context_word(0))),
    p("io_setup/EINVAL/too-many", "one above 4,194,304", Fails("EINVAL"), |env| {
        at(4_194_305, env.context_word(0))
    }),
    p("io_setup/EINVAL/too-many", "all bits", Fails("EINVAL"), |env| {
        at(u32::MAX, env.context_word(0))
    }),
    p("io_setup/EAGAIN/above-limit", "one more than the limit", Fails("EAGAIN"), |env| {
        let limit = system("aio-max-nr")?;
        match u32::try_from(limit.saturating_add(1)) {
            Ok(nr @ ..4_194_304) => at(nr, env.context_word(0)),
            _ => Err(Observed::Unavailable("the limit is above what one context has".to_owned())),
        }
    }),
    p("io_setup/EAGAIN/wraps-to-zero", "2^31, which doubled is 0", Fails("EAGAIN"), |env| {
        at(1 << 31, env.context_word(0))
    }),
    p("io_setup/EAGAIN/limit-used-up", "more than the machine has left", Fails("EAGAIN"), |env| {
        env.context(128)?;
        let limit = system("aio-max-nr")?;
        match u32::try_from(limit.saturating_sub(64)) {
            Ok(nr @ 1..4_194_304) => at(nr, env.context_word(0)),
            _ => Err(Observed::Unavailable("the limit is above what one context has".to_owned())),
        }
    }),
    p("io_setup/ENOMEM/no-memory", "no address space left", Fails("ENOMEM"), |env| {
        env.limit(libc::RLIMIT_AS, 4096)?;
        at(1024, env.context_word(0))
    }),
    p("io_setup/EFAULT/read-only", "a context in read-only memory", Fails("EFAULT"), |env| {
        at(1, env.memory.read_only())
    }),
    p("io_setup/return", "one event", Gives(0), |env| at(1, env.context_word(0))),
    p("io_setup/return", "the context is not 0 afterwards", Seen, |env| {
        let context = env.context(1)?;
        seen(context != 0, format!("it is {context:#x}"))
    }),
    p("io_setup/several", "two contexts have different numbers", Seen, |env| {
        let (first, second) = (env.context(1)?, env.context(1)?);
        seen(first != second, format!("{first:#x} and {second:#x}"))
    }),
    p("io_setup/return", "the context stays 0 after an error", Seen, |env| {
        let result = raw::io_setup(0, env.context_word(0));
        let value = env.context_value();
        seen(result.is_err() && value == 0, format!("{result:?} and {value:#x}"))
    }),
    p("io_setup/counted", "fs.aio-nr covers what was asked for", Seen, |env| {
        env.context(777)?;
        let used = system("aio-nr")?;
        seen(used >= 777, format!("it is {used}"))
    }),
];
