//! Probes of Linux AIO.

pub(crate) mod cancel;
pub(crate) mod destroy;
pub(crate) mod files;
pub(crate) mod getevents;
pub(crate) mod life;
pub(crate) mod refused;
pub(crate) mod results;
pub(crate) mod setup;
pub(crate) mod several;

use crate::child::{self, Ended};
use crate::env::{Command, Env, Try};
use crate::expect::Observed;
use crate::memory::Address;
use crate::raw::Outcome;

pub(crate) const PREAD: u16 = 0;
pub(crate) const PWRITE: u16 = 1;
pub(crate) const FSYNC: u16 = 2;
pub(crate) const FDSYNC: u16 = 3;
pub(crate) const POLL: u16 = 5;
pub(crate) const PREADV: u16 = 7;
pub(crate) const PWRITEV: u16 = 8;
pub(crate) const RESFD: u32 = 1;
pub(crate) const IOPRIO: u32 = 2;

/// The result of a call.
pub(crate) fn returned(outcome: Outcome) -> Try {
    Ok(Observed::Returned(outcome))
}

/// A read of 512 bytes of the data.
pub(crate) fn read(env: &Env) -> Try<Command> {
    Ok(Command {
        opcode: PREAD,
        fd: env.data()?,
        buf: env.buffer(),
        nbytes: 512,
        ..Command::default()
    })
}

/// A poll that waits, of a pipe whose ends are given too.
pub(crate) fn waiting_poll(env: &Env) -> Try<(Command, i32, i32)> {
    let (reader, writer) = env.pipe(0)?;
    Ok((poll(reader), reader, writer))
}

pub(crate) fn poll(fd: i32) -> Command {
    Command { opcode: POLL, fd, buf: Address::low(1), ..Command::default() }
}

/// Does something in a forked child of the probe, and gives what it has seen.
pub(crate) fn in_fork(probe: impl FnOnce() -> Observed) -> Try {
    match child::run(std::time::Duration::from_secs(10), || probe().encode()) {
        Ok(Ended::Said(line)) => Ok(Observed::decode(&line).unwrap_or(Observed::Unavailable(line))),
        other => Err(Observed::Unavailable(format!("no answer of a second child: {other:?}"))),
    }
}
