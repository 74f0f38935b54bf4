//! Probes of io_uring.

pub(crate) mod behaviour;
pub(crate) mod enter;
pub(crate) mod operations;
pub(crate) mod register;
pub(crate) mod resources;
pub(crate) mod setup;
pub(crate) mod tables;
pub(crate) mod transfer;

use crate::env::{Env, Try, unavailable};
use crate::expect::Observed;
use crate::memory::Address;
use crate::raw::{self, Outcome};

pub(crate) const R_DISABLED: u32 = 1 << 6;
pub(crate) const SINGLE_ISSUER: u32 = 1 << 12;
pub(crate) const DEFER_TASKRUN: u32 = 1 << 13;

/// Fields of `struct io_uring_params`.
pub(crate) const CQ_ENTRIES: usize = 4;
pub(crate) const SQ_THREAD_CPU: usize = 12;
pub(crate) const WQ_FD: usize = 24;

/// Makes a ring with these flags and fields; gives what the call gave.
pub(crate) fn make(env: &Env, entries: u32, flags: u32, fields: &[(usize, u32)]) -> Outcome {
    let at = env.argument();
    env.memory.put(at, &[0; 120]);
    env.memory.put_u32(at.saturating_add(8), flags);
    for (field, value) in fields {
        env.memory.put_u32(at.saturating_add(*field), *value);
    }
    raw::ring_setup(entries, env.argument_address())
}

/// A ring of eight entries.
pub(crate) fn ring(env: &Env, flags: u32) -> Try<i32> {
    let fd = make(env, 8, flags, &[]).map_err(|errno| unavailable("such a ring", errno))?;
    Ok(i32::try_from(fd).unwrap_or(-1))
}

/// The result of a call.
pub(crate) fn returned(outcome: Outcome) -> Try {
    Ok(Observed::Returned(outcome))
}

/// Writes numbers to where the argument goes, and gives its address.
pub(crate) fn words(env: &Env, words: &[u32]) -> Address {
    let mut at = env.argument();
    for word in words {
        env.memory.put_u32(at, *word);
        at = at.saturating_add(4);
    }
    env.argument_address()
}

/// The two halves of an address, as they lie in memory.
pub(crate) fn halves(address: Address) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = address.get().to_ne_bytes();
    [u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h])]
}

/// Does something on another thread.
pub(crate) fn elsewhere(call: impl FnOnce() -> Outcome + Send + 'static) -> Try {
    match std::thread::spawn(call).join() {
        Ok(outcome) => returned(outcome),
        Err(_) => Err(Observed::Unavailable("the thread panicked".to_owned())),
    }
}
