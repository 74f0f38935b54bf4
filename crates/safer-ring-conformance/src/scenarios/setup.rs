//! How rings are made, and what they say of themselves.

use std::time::Duration;

use safer_ring::cpu::{RingPlacement, Topology, Wish, current_cpu};
use safer_ring::sys::{opcode, setup};
use safer_ring::{
    Address, BackendChoice, Builder, Mode, OwnedBuffer, RingOf, SetupError, SocketKind,
};

use crate::env::{Env, Observed, Verdict, seen};
use crate::environments::Tag;
use crate::kit::{plain, yes};
use crate::scenario::{Expect, Need, Scenario, row};

const POLLED: &str = "`sqpoll`, `iopoll`, `wide_completions`, `wide_entries`";
const WORKERS: &str = "`io_wq_workers`, `without_opcodes`, `without_setup_flags`";

const CONFLICT: &[(Tag, Expect)] =
    &[(Tag::Fallback, Expect::Differs { seen: "conflict", row: POLLED })];

pub(super) const TABLE: &[Scenario] = &[
    row!(Setup, a_ring_of_no_entries_is_refused, [], "entries").needs(Need::Builder),
    row!(Setup, a_ring_of_too_many_entries_is_refused, [], "entries").needs(Need::Builder),
    row!(Setup, fewer_completions_than_entries_are_refused, [], "conflict").needs(Need::Builder),
    row!(Setup, many_entries_can_be_had, [Nop], "at least 1024: yes, nop ok").needs(Need::Builder),
    row!(Setup, sqpoll_is_a_mode_of_io_uring, [], "made, SQPOLL: yes")
        .needs(Need::Builder)
        .but(CONFLICT),
    row!(Setup, iopoll_is_a_mode_of_io_uring, [], "made, IOPOLL: yes").needs(Need::Builder).but(&[
        (Tag::Fallback, Expect::Differs { seen: "conflict", row: POLLED }),
        (Tag::Sqpoll, Expect::Skip("SQPOLL and IOPOLL together are for disks alone")),
    ]),
    row!(Setup, limits_of_workers_are_taken, [Nop], "made, nop ok")
        .needs(Need::Builder)
        .but(&[(Tag::Fallback, Expect::Differs { seen: "made, nop ok", row: WORKERS })]),
    row!(Setup, absent_opcodes_run_as_system_calls, [Socket], "ok, plain calls: 1")
        .needs(Need::Builder)
        .but(&[(Tag::Fallback, Expect::Differs { seen: "ok, plain calls: 0", row: WORKERS })]),
    row!(Setup, absent_flags_are_absent, [Nop], "COOP: no, nop ok")
        .needs(Need::Builder)
        .but(&[(Tag::Fallback, Expect::Differs { seen: "COOP: no, nop ok", row: WORKERS })]),
    row!(Setup, restricted_rings_say_so, [Nop], "restricted: yes, nop ok")
        .needs(Need::Builder)
        .but(&[(
            Tag::Fallback,
            Expect::Differs { seen: "restricted: no, nop ok", row: "`restricted`" },
        )]),
    row!(Setup, pages_and_workers_of_a_node, [Nop], "pages: done, workers: done, nop ok")
        .needs(Need::Builder)
        .but(&[(
            Tag::Fallback,
            Expect::Differs { seen: "pages: done, workers: not asked, nop ok", row: "`node`" },
        )]),
    row!(Setup, names_are_counted_where_a_thread_does_them, [Statx], "threaded: 0")
        .but(&[(Tag::Fallback, Expect::Differs { seen: "threaded: 1", row: "`Snapshot`" })]),
    row!(Setup, direct_reads_are_counted_where_aio_does_them, [Read], "aio: 0, threaded: 0")
        .needs(Need::DirectIo)
        .but(&[
            (Tag::WithoutAio, Expect::Differs { seen: "aio: 0, threaded: 1", row: "`Snapshot`" }),
            (Tag::Fallback, Expect::Differs { seen: "aio: 1, threaded: 0", row: "`Snapshot`" }),
        ]),
    row!(Setup, a_ring_says_what_runs_it, [], "report and features agree: yes"),
    row!(Setup, auto_gives_a_ring_that_works, [Nop], "ok").needs(Need::Builder),
];

/// What became of a builder: the ring, or the error in a word.
fn made<M: Mode>(builder: Builder<M>) -> Result<RingOf<M>, String> {
    builder.build().map_err(|error| match error {
        SetupError::Entries { .. } => "entries".to_owned(),
        SetupError::Conflict { .. } => "conflict".to_owned(),
        other => other.to_string(),
    })
}

async fn nop<M: Mode>(env: &Env<M>, ring: &RingOf<M>) -> String {
    plain(&env.drive(ring, ring.nop()).await)
}

fn refused<M: Mode>(builder: Builder<M>) -> Verdict {
    match made(builder) {
        Ok(ring) => seen!("made: {}", ring.features()),
        Err(word) => seen!("{word}"),
    }
}

async fn a_ring_of_no_entries_is_refused<M: Mode>(env: &Env<M>) -> Verdict {
    refused(env.builder()?.entries(0))
}

async fn a_ring_of_too_many_entries_is_refused<M: Mode>(env: &Env<M>) -> Verdict {
    refused(env.builder()?.entries(32_769))
}

async fn fewer_completions_than_entries_are_refused<M: Mode>(env: &Env<M>) -> Verdict {
    refused(env.builder()?.entries(8).completions(4))
}

async fn many_entries_can_be_had<M: Mode>(env: &Env<M>) -> Verdict {
    match made(env.builder()?.entries(1024)) {
        Err(word) => seen!("{word}"),
        Ok(ring) => {
            let enough = ring.features().entries >= 1024;
            seen!("at least 1024: {}, nop {}", yes(enough), nop(env, &ring).await)
        }
    }
}

async fn sqpoll_is_a_mode_of_io_uring<M: Mode>(env: &Env<M>) -> Verdict {
    match made(env.builder()?.sqpoll(Duration::from_millis(1))) {
        Err(word) => seen!("{word}"),
        Ok(ring) => seen!("made, SQPOLL: {}", yes(ring.features().has_setup_flag(setup::SQPOLL))),
    }
}

async fn iopoll_is_a_mode_of_io_uring<M: Mode>(env: &Env<M>) -> Verdict {
    match made(env.builder()?.iopoll(true)) {
        Err(word) => seen!("{word}"),
        Ok(ring) => seen!("made, IOPOLL: {}", yes(ring.features().has_setup_flag(setup::IOPOLL))),
    }
}

async fn limits_of_workers_are_taken<M: Mode>(env: &Env<M>) -> Verdict {
    match made(env.builder()?.io_wq_workers(2, 2)) {
        Err(word) if word.contains("5.15") => Ok(Observed::Skipped(word)),
        Err(word) => seen!("{word}"),
        Ok(ring) => seen!("made, nop {}", nop(env, &ring).await),
    }
}

async fn absent_opcodes_run_as_system_calls<M: Mode>(env: &Env<M>) -> Verdict {
    let ring = made(env.builder()?.without_opcodes(&[opcode::SOCKET]))?;
    let like = Address::from("127.0.0.1:0".parse::<std::net::SocketAddr>()?);
    let made = env.drive(&ring, ring.socket(&like, SocketKind::Stream)).await;
    seen!("{}, plain calls: {}", plain(&made), ring.snapshot().plain_calls)
}

async fn absent_flags_are_absent<M: Mode>(env: &Env<M>) -> Verdict {
    let ring = made(env.builder()?.without_setup_flags(setup::COOP_TASKRUN))?;
    let has = ring.features().has_setup_flag(setup::COOP_TASKRUN);
    seen!("COOP: {}, nop {}", yes(has), nop(env, &ring).await)
}

async fn restricted_rings_say_so<M: Mode>(env: &Env<M>) -> Verdict {
    let ring = made(env.builder()?.restricted(true))?;
    let restricted = ring.features().restricted;
    seen!("restricted: {}, nop {}", yes(restricted), nop(env, &ring).await)
}

async fn pages_and_workers_of_a_node<M: Mode>(env: &Env<M>) -> Verdict {
    let topology = Topology::read();
    let Some(node) = topology.node_of(current_cpu()?) else {
        return Ok(Observed::Skipped("no node has this CPU".to_owned()));
    };
    let ring = made(env.builder()?.node(node))?;
    let RingPlacement { cpu, workers, .. } = ring.features().placement;
    if let Wish::Refused { step, errno } = workers {
        return Ok(Observed::Skipped(format!("{step}: {errno}")));
    }
    seen!("pages: {cpu}, workers: {workers}, nop {}", nop(env, &ring).await)
}

async fn names_are_counted_where_a_thread_does_them<M: Mode>(env: &Env<M>) -> Verdict {
    let path = env.file_at("file", b"").await?;
    let before = env.ring().snapshot().threaded;
    env.ring().statx(path).await?;
    seen!("threaded: {}", env.ring().snapshot().threaded - before)
}

async fn direct_reads_are_counted_where_aio_does_them<M: Mode>(env: &Env<M>) -> Verdict {
    let file = match env.direct(4096)? {
        Ok(file) => file,
        Err(why) => return Ok(Observed::Skipped(why)),
    };
    env.ring().read_at_owned(&file, OwnedBuffer::aligned(4096, 4096)?, 0).await?;
    let now = env.ring().snapshot();
    seen!("aio: {}, threaded: {}", now.aio, now.threaded)
}

async fn a_ring_says_what_runs_it<M: Mode>(env: &Env<M>) -> Verdict {
    let ring = env.ring();
    let agree = ring.report().backend == Some(ring.features().backend);
    seen!("report and features agree: {}", yes(agree))
}

async fn auto_gives_a_ring_that_works<M: Mode>(env: &Env<M>) -> Verdict {
    let ring = made(env.builder()?.backend(BackendChoice::Auto))?;
    seen!("{}", nop(env, &ring).await)
}
