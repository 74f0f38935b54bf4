//! Entries for the kernel itself.
//!
//! # Safety
//! Each entry is a no-op, a poll or a read, whose descriptor is given beside it and whose memory is what it keeps.
//!
//! Each environment runs them, in a test that a macro makes of its name.
//!
//! Tests: every_environment_has_a_test
#![allow(unsafe_code, reason = "the escape hatch of the library is unsafe")]

use std::os::fd::{AsFd as _, AsRawFd as _};

use safer_ring::sys::{Sqe, opcode};
use safer_ring::{Mode, RawOutput};

use crate::env::{Env, Verdict, seen};
use crate::environments::Tag;
use crate::kit::{ended, start, text, turn, word};
use crate::scenario::{Expect, Need, Scenario, row};

const ROW: &str = "`Ring::raw`";
const IN_A_WORLD: (Tag, Expect) = (
    Tag::Sim,
    Expect::Otherwise { seen: "EOPNOTSUPP, kept: yes", why: "docs/SIMULATION.md: not simulated" },
);
const REFUSED: &[(Tag, Expect)] =
    &[(Tag::Fallback, Expect::Differs { seen: "EOPNOTSUPP, kept: yes", row: ROW }), IN_A_WORLD];
const NOTHING: &[(Tag, Expect)] =
    &[(Tag::Fallback, Expect::Skip("such an entry is refused at once there"))];

pub(super) const TABLE: &[Scenario] = &[
    row!(Success, a_raw_entry_runs, [Raw], "0, kept: yes").but(REFUSED),
    row!(Success, a_raw_read_fills_what_it_keeps, [Raw], "5, kept: bytes")
        .needs(Need::Raw)
        .but(NOTHING),
    row!(Error, a_raw_entry_that_nobody_knows, [Raw], "EINVAL, kept: yes").but(REFUSED),
    row!(Error, a_raw_entry_that_the_library_does_not_use, [Raw], "EBADF, kept: yes").but(&[
        (Tag::Fallback, Expect::Differs { seen: "EOPNOTSUPP, kept: yes", row: ROW }),
        IN_A_WORLD,
        (
            Tag::Restricted,
            Expect::Otherwise { seen: "EACCES, kept: yes", why: "the kernel refuses it" },
        ),
    ]),
    row!(Cancel, a_raw_poll_is_cancelled, [Raw], "cancelled, kept: yes")
        .needs(Need::Raw)
        .but(NOTHING),
    row!(Drop, a_dropped_raw_poll_ends, [Raw], "left: 0").needs(Need::Raw).but(NOTHING),
];

fn told(output: &RawOutput<&'static str>) -> String {
    let result = match &output.result {
        Ok(result) => result.to_string(),
        Err(error) => word(error),
    };
    format!("{result}, kept: {}", output.keep)
}

async fn a_raw_entry_runs<M: Mode>(env: &Env<M>) -> Verdict {
    let entry = Sqe { opcode: opcode::NOP, ..Sqe::default() };
    // SAFETY: a no-op, without memory or descriptor.
    let output = unsafe { env.ring().raw(entry, None, "yes") }.await;
    seen!("{}", told(&output))
}

async fn a_raw_read_fills_what_it_keeps<M: Mode>(env: &Env<M>) -> Verdict {
    let (reader, writer) = env.pipe().await?;
    env.ring().write_owned(&writer, "bytes").await?;
    let mut room = vec![0_u8; 5];
    let entry = Sqe {
        opcode: opcode::READ,
        fd: reader.as_fd().as_raw_fd(),
        addr: safer_ring::sys::address(room.as_mut_ptr().cast_const()),
        len: 5,
        off: u64::MAX,
        ..Sqe::default()
    };
    // SAFETY: five bytes of a vector that is kept and stays where it is when it moves; the descriptor is given.
    let output = unsafe { env.ring().raw(entry, Some(&reader), room) }.await;
    seen!("{}, kept: {}", output.result?, text(&output.keep))
}

async fn a_raw_entry_that_nobody_knows<M: Mode>(env: &Env<M>) -> Verdict {
    let entry = Sqe { opcode: 250, ..Sqe::default() };
    // SAFETY: no kernel knows it; without memory or descriptor.
    let output = unsafe { env.ring().raw(entry, None, "yes") }.await;
    seen!("{}", told(&output))
}

async fn a_raw_entry_that_the_library_does_not_use<M: Mode>(env: &Env<M>) -> Verdict {
    let entry = Sqe { opcode: opcode::SYNC_FILE_RANGE, fd: -1, ..Sqe::default() };
    // SAFETY: a descriptor that nobody has, and no memory.
    let output = unsafe { env.ring().raw(entry, None, "yes") }.await;
    seen!("{}", told(&output))
}

fn poll_entry(fd: i32) -> Sqe {
    Sqe { opcode: opcode::POLL_ADD, fd, op_flags: 1, ..Sqe::default() }
}

async fn a_raw_poll_is_cancelled<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, _far) = env.stream().await?;
    let entry = poll_entry(near.as_fd().as_raw_fd());
    // SAFETY: a poll, without memory; the descriptor is given.
    let mut poll = unsafe { env.ring().raw(entry, Some(&near), "yes") };
    start(&mut poll)?;
    turn(env.ring()).await?;
    match poll.cancel().await {
        safer_ring::Ended::Cancelled(kept) => seen!("cancelled, kept: {kept}"),
        safer_ring::Ended::Completed(output) => seen!("completed {}", told(&output)),
    }
}

async fn a_dropped_raw_poll_ends<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, _far) = env.stream().await?;
    let entry = poll_entry(near.as_fd().as_raw_fd());
    // SAFETY: a poll, without memory; the descriptor is given.
    let mut poll = unsafe { env.ring().raw(entry, Some(&near), ()) };
    start(&mut poll)?;
    turn(env.ring()).await?;
    drop(poll);
    ended(env.ring()).await?;
    seen!("left: {}", env.ring().operations().len())
}
