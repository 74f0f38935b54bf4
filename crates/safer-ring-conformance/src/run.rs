//! Running scenarios, each on a thread of its own.

use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::task::Poll;
use std::time::Duration;

use safer_ring::sim::{self, World};
use safer_ring::{Builder, Fd, Local, Mode, Ring, SetupError, Shared};

use crate::env::{Env, Flavour, MakeIn, Observed, RECORD, Verdict};
use crate::environments::{Environment, Tag};
use crate::kit::{block_on, poll_once};
use crate::scenario::{Expect, Run, Scenario};

/// A scenario that is not over by then hangs. Generous, for machines that are emulated.
const LIMIT: Duration = Duration::from_secs(20);

/// What came of a scenario in an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What was to be seen was seen.
    Passed,
    /// It makes no sense there, or the machine cannot show it.
    Skipped(String),
    /// Something else was seen, or it went wrong.
    Failed {
        /// What was to be seen.
        expected: String,
        /// What was seen.
        seen: String,
    },
}

/// A scenario, an environment, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The scenario.
    pub scenario: &'static str,
    /// What came of it.
    pub outcome: Outcome,
}

/// Runs the scenarios that `wanted` picks in an environment. `directory` is for files; nothing is left in it.
///
/// # Errors
/// Why the machine cannot give the environment.
pub fn run_all(
    scenarios: &[Scenario],
    environment: &'static Environment,
    directory: &Path,
) -> Result<Vec<Finding>, String> {
    environment.check()?;
    let finding = |scenario: &Scenario| Finding {
        scenario: scenario.name,
        outcome: run_one(*scenario, environment, directory),
    };
    Ok(scenarios.iter().map(finding).collect())
}

/// Runs one scenario in an environment that the machine can give.
pub fn run_one(scenario: Scenario, environment: &'static Environment, directory: &Path) -> Outcome {
    let expected = match scenario.expected(environment) {
        None => scenario.seen,
        Some(Expect::Differs { seen, .. } | Expect::Otherwise { seen, .. }) => seen,
        Some(Expect::Skip(why)) => return Outcome::Skipped(why.to_owned()),
    };
    let failed = |seen: String| Outcome::Failed { expected: expected.to_owned(), seen };
    match watched(scenario, environment, directory) {
        Ok(Observed::Seen(seen)) if seen == expected => Outcome::Passed,
        Ok(Observed::Seen(seen)) => failed(seen),
        // Told apart from what the table says of every machine.
        Ok(Observed::Skipped(why)) => Outcome::Skipped(format!("on this machine: {why}")),
        Err(trouble) => failed(format!("could not be carried out: {trouble}")),
    }
}

/// On a thread of its own, which is left behind if it hangs.
fn watched(
    scenario: Scenario,
    environment: &'static Environment,
    directory: &Path,
) -> Result<Observed, String> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let directory = directory.join(format!("conformance-{}-{count}", std::process::id()));
    let (done, over) = channel();
    let work = move || {
        let verdict = carry_out(scenario, environment, &directory);
        // The receiver is gone only after the limit.
        let _ = done.send(verdict.map_err(|trouble| trouble.to_string()));
    };
    let thread = std::thread::Builder::new().name(scenario.name.to_owned()).spawn(work);
    let thread = thread.map_err(|error| error.to_string())?;
    let limit = if environment.is(Tag::Faulty) { LIMIT * SEEDS } else { LIMIT };
    match over.recv_timeout(limit) {
        Ok(verdict) => {
            // It has nothing left to do but to end.
            drop(thread);
            verdict
        }
        Err(RecvTimeoutError::Timeout) => Err(format!("it hangs: not over after {limit:?}")),
        Err(RecvTimeoutError::Disconnected) => Err("it panicked".to_owned()),
    }
}

fn carry_out(scenario: Scenario, environment: &'static Environment, directory: &Path) -> Verdict {
    if environment.is(Tag::Sim) {
        return simulated(scenario, environment);
    }
    if environment.is(Tag::Local) {
        let make = Box::new(|| environment.builder().local());
        with_ring(&Env::new(make, LOCAL, directory)?, scenario.body.local, environment)
    } else {
        let make = Box::new(|| environment.builder());
        with_ring(&Env::new(make, SHARED, directory)?, scenario.body.shared, environment)
    }
}

/// Of the choices that a calm world has left: when what is in flight ends.
const SEED: u64 = 1;
/// Worlds in which a scenario is carried out where there are faults.
const SEEDS: u32 = 10;

/// In worlds of its own, in each of which the same must be seen. What a world finds is a failure.
fn simulated(scenario: Scenario, environment: &'static Environment) -> Verdict {
    if !environment.is(Tag::Faulty) {
        return in_world(scenario, environment, World::new(sim::Config::calm(SEED)));
    }
    let mut seen = None;
    for seed in 0..u64::from(SEEDS) {
        let verdict = in_world(scenario, environment, World::new(faulty(seed)));
        let now = verdict.map_err(|trouble| format!("seed {seed}: {trouble}"))?;
        match (&seen, now) {
            (None, now) => seen = Some(now),
            (Some(Observed::Seen(before)), Observed::Seen(now)) if *before != now => {
                return Err(format!("seed {seed}: {now}, and before that: {before}").into());
            }
            _ => {}
        }
    }
    seen.ok_or_else(|| "there are no seeds".into())
}

/// What may go wrong without anybody being told. How much one call moves, and how a multishot receive cuts what arrives, is a
/// result: both are as in a calm world.
fn faulty(seed: u64) -> sim::Config {
    let calm = sim::Config::calm(seed);
    sim::Config {
        short: calm.short,
        multishot_ends: calm.multishot_ends,
        // A ring that is dropped waits longer than that for what it has in flight.
        slowest_disk: Duration::from_millis(50),
        ..sim::Config::new(seed)
    }
}

fn in_world(scenario: Scenario, environment: &'static Environment, world: World) -> Verdict {
    let tiny = environment.is(Tag::Tiny);
    let verdict = if environment.is(Tag::Local) {
        let make: MakeIn<Local> =
            if tiny { |world| world.local_ring_with(1, 1) } else { World::local_ring };
        let env = Env::in_world(world.clone(), make, world.local_ring()?)?;
        with_ring(&env, scenario.body.local, environment)
    } else {
        let make: MakeIn<Shared> = if tiny { |world| world.ring_with(1, 1) } else { World::ring };
        let env = Env::in_world(world.clone(), make, world.ring()?)?;
        with_ring(&env, scenario.body.shared, environment)
    };
    match world.findings().as_slice() {
        [] => verdict,
        found => Err(format!("the simulation has found: {}", found.join("; ")).into()),
    }
}

const LOCAL: Flavour<Local> =
    Flavour { drive: |ring, future| ring.block_on(future), across: None, records: None };
const SHARED: Flavour<Shared> =
    Flavour { drive: |_, future| block_on(future), across: Some(across), records: Some(records) };

/// Writes of a thread that are started before the first of them is awaited.
const AHEAD: usize = 16;

fn records(
    builder: Builder<Shared>,
    to: &Fd,
    threads: usize,
    each: usize,
) -> Result<(usize, u64), SetupError> {
    let ring = &builder.entries(1).max_rings(1).build()?;
    // They begin together, or the first would be done before the last is there.
    let begin = &Barrier::new(threads);
    let written = std::thread::scope(|scope| {
        let work = |thread: usize| {
            move || {
                begin.wait();
                let numbers: Vec<usize> = (thread * each..(thread + 1) * each).collect();
                numbers.chunks(AHEAD).map(|lot| record_all(ring, to, lot)).sum::<usize>()
            }
        };
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(work(thread))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(0)).sum()
    });
    Ok((written, ring.snapshot().stale_completions))
}

/// Writes a record for each number, all begun before the first is awaited; how many were written whole.
fn record_all(ring: &Ring, to: &Fd, numbers: &[usize]) -> usize {
    let record = |number: &usize| u32::try_from(*number).unwrap_or(u32::MAX).to_ne_bytes().to_vec();
    let mut writes: Vec<_> =
        numbers.iter().map(|number| ring.write_owned(to, record(number))).collect();
    let early: Vec<_> = writes.iter_mut().map(poll_once).collect();
    let ends = writes.into_iter().zip(early).map(|(write, early)| match early {
        Poll::Ready(end) => end,
        Poll::Pending => block_on(write),
    });
    ends.filter(|end| matches!(end, Ok((RECORD, _)))).count()
}

fn across(ring: &Ring, threads: usize, each: usize) -> usize {
    std::thread::scope(|scope| {
        let work = || {
            block_on(async {
                let mut ended = 0;
                for _ in 0..each {
                    ended += usize::from(ring.nop().await.is_ok());
                }
                ended
            })
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(0)).sum()
    })
}

fn with_ring<M: Mode>(env: &Env<M>, body: Run<M>, environment: &'static Environment) -> Verdict {
    let features = env.ring().features();
    if !environment.fits(features) {
        return Err(format!("the ring is not one of {}: {features}", environment.name).into());
    }
    env.run(body(env))?
}
