//! One script in its world, and what must be so afterwards.

use std::fmt;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use safer_ring::sim::{Config, JoinHandle, World};
use safer_ring::{BufferPool, Mode, RingOf};

use crate::journal::{self, Safe};
use crate::script::{End, Kind, Script};
use crate::totals::{Totals, What};
use crate::{accepts, chains, cursor, files, flows, names, storm, streams, talks};

/// In which everything ends that was begun.
const LONG: Duration = Duration::from_secs(7200);

/// How a lane ended.
pub(crate) type Verdict = Result<(), String>;

/// What a lane works with.
pub(crate) struct Lane<M: Mode> {
    pub(crate) number: usize,
    pub(crate) world: World,
    pub(crate) ring: RingOf<M>,
    pub(crate) pool: BufferPool,
}

impl<M: Mode> Clone for Lane<M> {
    fn clone(&self) -> Self {
        let Self { number, world, ring, pool } = self;
        Self { number: *number, world: world.clone(), ring: ring.clone(), pool: pool.clone() }
    }
}

impl<M: Mode> Lane<M> {
    /// An error of this lane.
    pub(crate) fn wrong(&self, what: impl fmt::Display) -> String {
        format!("lane {}: {what}", self.number)
    }

    /// Lets time go by.
    pub(crate) async fn pause(&self, us: u32) -> Verdict {
        let pause = self.ring.timeout(Duration::from_micros(u64::from(us))).await;
        pause.map_err(|error| self.wrong(format_args!("a timer: {error}")))
    }
}

/// The byte at a place of what a lane sends.
pub(crate) fn byte(lane: usize, place: usize) -> u8 {
    let mixed = place.wrapping_mul(0x9e37_79b1).rotate_left(11) ^ lane.wrapping_mul(0x85eb_ca6b);
    mixed.to_le_bytes().iter().fold(0, |sum: u8, byte| sum.wrapping_mul(31).wrapping_add(*byte))
}

/// So many bytes from a place on.
pub(crate) fn bytes(lane: usize, place: usize, len: usize) -> Vec<u8> {
    (place..place + len).map(|place| byte(lane, place)).collect()
}

/// What went wrong.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) what: String,
    pub(crate) trace: Vec<String>,
}

/// Runs a script.
pub(crate) fn run(script: &Script) -> Result<Totals, Failure> {
    let world = World::new(script.config.clone());
    let (entries, completions) = (script.entries, script.completions);
    let checked = catch_unwind(AssertUnwindSafe(|| {
        if script.local {
            let ring = world.local_ring_with(entries, completions);
            within(&world, ring.map_err(|error| error.to_string())?, script)
        } else {
            let ring = world.ring_with(entries, completions);
            within(&world, ring.map_err(|error| error.to_string())?, script)
        }
    }));
    let result = checked.unwrap_or_else(|panic| Err(format!("panic: {}", text_of(&*panic))));
    result.map_err(|what| Failure { what, trace: world.trace() })
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("without a text").to_owned()
}

fn within<M: Mode>(world: &World, ring: RingOf<M>, script: &Script) -> Result<Totals, String> {
    let pool = BufferPool::new(32, 2048);
    let first = Lane { number: 0, world: world.clone(), ring: ring.clone(), pool: pool.clone() };
    let mut totals = Totals::default();
    let all = Rc::new(script.clone());
    let left = match script.end {
        End::Whole => {
            world.block_on(lanes(first, all)).map_err(|stuck| stuck.to_string())??;
            quiet(world, ring, script, &mut totals)?;
            0
        }
        End::Torn(steps) => {
            let ended = world.run_steps(steps, lanes(first, all));
            ended.map_err(|stuck| stuck.to_string())?.unwrap_or(Ok(()))?;
            tear(world, ring)?
        }
        End::Crash(steps) => {
            crash(world, first, all, steps)?;
            quiet(world, ring, script, &mut totals)?;
            0
        }
    };
    totals.hash = world.trace_hash();
    totals.count_lines(&world.trace());
    totals.lasted(world.now());
    let (taken, open) = (pool.stats().taken, world.descriptors());
    if taken > left {
        return Err(format!("{taken} buffers did not come back"));
    }
    if open > 0 && left == 0 {
        return Err(format!("{open} descriptors were not closed"));
    }
    if let Some(finding) = world.findings().first() {
        return Err(finding.clone());
    }
    Ok(totals)
}

/// Whatever was dropped ends, and what stays armed goes with the last handle of its descriptor.
fn quiet<M: Mode>(world: &World, ring: RingOf<M>, script: &Script, totals: &mut Totals) -> Verdict {
    let drains = script.seed.is_multiple_of(2);
    let waits = async {
        if !drains {
            let long = ring.timeout(LONG).await;
            return long.map_err(|error| error.to_string());
        }
        let drained = ring.drain(ring.now() + LONG).await;
        world.note("drained");
        if drained.is_complete() { Ok(()) } else { Err(drained.to_string()) }
    };
    world.block_on(waits).map_err(|stuck| stuck.to_string())??;
    let end = ring.snapshot();
    for (what, count) in [
        (What::Operations, end.completed),
        (What::Orphans, end.orphaned),
        (What::Cancels, end.cancel_requests),
        (What::LateCancels, end.cancel_races),
        (What::Again, end.requeued),
        (What::Strangers, end.stale_completions),
        (What::Refusals, end.enter_refusals),
        (What::Named, end.registered_buffers),
    ] {
        totals.count(what, count);
    }
    if end.queued > 0 || end.orphans > 0 {
        let (its, worlds) = (ring.operations(), world.operations());
        return Err(format!("something is left: {its:?}; {worlds:?}"));
    }
    Ok(())
}

/// Drops a ring with whatever is in flight, and lets that end. Tells how much of it the ring has left behind: its buffers never
/// come back.
fn tear<M: Mode>(world: &World, ring: RingOf<M>) -> Result<usize, String> {
    if !world.operations().is_empty() {
        world.note("the ring goes");
    }
    drop(ring);
    let other = world.local_ring().map_err(|error| error.to_string())?;
    let long = async { other.timeout(LONG).await };
    let waited = world.block_on(long).map_err(|stuck| stuck.to_string())?;
    waited.map_err(|error| error.to_string())?;
    if let [first, ..] = world.operations().as_slice() {
        return Err(format!("an operation of a ring that is gone does not end: {first}"));
    }
    let trace = world.trace();
    let left = trace.iter().rev().find_map(|line| line.split_once("ring 0 closed; left behind: "));
    let (_, left) = left.ok_or("the ring was not closed")?;
    left.parse().map_err(|_| format!("left behind: {left}"))
}

/// Takes the power away, and looks at what is left.
fn crash<M: Mode>(world: &World, first: Lane<M>, script: Rc<Script>, steps: u64) -> Verdict {
    let books: Vec<Rc<Safe>> = script.lanes.iter().map(|_| Rc::default()).collect();
    let mut weather = None;
    world.reconfigure(|config| weather = Some(mem::replace(config, Config::calm(0))));
    let made = world.block_on(journal::make_directories(&first.ring, books.len()));
    made.map_err(|stuck| stuck.to_string())?.map_err(|error| error.to_string())?;
    world.reconfigure(|config| *config = weather.take().unwrap_or_else(|| config.clone()));
    let runs = async {
        let mut running: Vec<JoinHandle<Verdict>> = Vec::new();
        for (number, safe) in books.iter().enumerate() {
            let lane = Lane { number, ..first.clone() };
            running.push(world.spawn(journal::run(lane, script.acts(number), Rc::clone(safe))));
        }
        for lane in running {
            lane.await?;
        }
        Verdict::Ok(())
    };
    let ended = world.run_steps(steps, runs).map_err(|stuck| stuck.to_string())?;
    ended.unwrap_or(Ok(()))?;
    drop(first);
    world.crash();
    for (number, safe) in books.iter().enumerate() {
        journal::check(world, number, safe)?;
    }
    Ok(())
}

/// All lanes at once.
async fn lanes<M: Mode>(first: Lane<M>, script: Rc<Script>) -> Verdict {
    let mut running: Vec<JoinHandle<Verdict>> = Vec::new();
    for (number, kind) in script.lanes.iter().copied().enumerate() {
        let lane = Lane { number, ..first.clone() };
        let acts = script.acts(number);
        let world = first.world.clone();
        match kind {
            Kind::Pipe | Kind::Tcp | Kind::Unix | Kind::Datagram => {
                running.extend(streams::start(lane, kind, acts).await?);
            }
            Kind::Accepts => running.extend(accepts::start(lane, acts).await?),
            Kind::File => running.push(world.spawn(files::run(lane, acts))),
            Kind::Talks => running.extend(talks::start(lane, acts).await?),
            Kind::Cursor => running.push(world.spawn(cursor::run(lane, acts))),
            Kind::Names => running.push(world.spawn(names::run(lane, acts))),
            Kind::Chains => running.push(world.spawn(chains::run(lane, acts))),
            Kind::Flow => running.extend(flows::start(lane, acts).await?),
            Kind::StormPipe | Kind::StormTcp | Kind::StormFile | Kind::StormTable => {
                running.extend(storm::start(lane, kind, acts).await?);
            }
            // Of a world that loses its power, see `crash`.
            Kind::Journal => {}
        }
    }
    for lane in running {
        lane.await?;
    }
    Ok(())
}
