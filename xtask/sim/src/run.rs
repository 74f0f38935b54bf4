//! One script in its world, and what must be so afterwards.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use safer_ring::sim::{JoinHandle, World};
use safer_ring::{BufferPool, Mode, RingOf};

use crate::script::{Kind, Script};
use crate::{accepts, cursor, files, names, streams, talks};

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

/// Figures of runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) hash: u64,
    operations: u64,
    orphaned: u64,
    cancels: u64,
    races: u64,
    requeued: u64,
    stale: u64,
    refusals: u64,
    /// Pieces that multishot receives have brought, as far as the traces go back.
    pub(crate) pieces: usize,
    /// Multishot receives that ended without being asked to, or found no buffer.
    pub(crate) ends: usize,
    /// Operations that named registered memory.
    pub(crate) named: u64,
    /// Times that memory was registered, as far as the traces go back, and that it was refused.
    pub(crate) registered: usize,
    pub(crate) unregistered: usize,
    pub(crate) refused: usize,
    simulated: Duration,
}

impl Totals {
    pub(crate) fn add(&mut self, other: &Totals) {
        self.operations += other.operations;
        self.orphaned += other.orphaned;
        self.cancels += other.cancels;
        self.races += other.races;
        self.requeued += other.requeued;
        self.stale += other.stale;
        self.refusals += other.refusals;
        self.pieces += other.pieces;
        self.ends += other.ends;
        self.named += other.named;
        self.registered += other.registered;
        self.unregistered += other.unregistered;
        self.refused += other.refused;
        self.simulated += other.simulated;
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} operations, {} of dropped futures, {} cancellations, {} of them too late, {} tried again, {} completions \
             of nothing, {} refused enters, {} pieces of multishot receives, {} of these that ended early, memory registered {} times and \
             {} times not any more, refused {} times, named {} times, {} s simulated",
            self.operations,
            self.orphaned,
            self.cancels,
            self.races,
            self.requeued,
            self.stale,
            self.refusals,
            self.pieces,
            self.ends,
            self.registered,
            self.unregistered,
            self.refused,
            self.named,
            self.simulated.as_secs(),
        )
    }
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
    let ended = world.block_on(lanes(first, Rc::new(script.clone())));
    ended.map_err(|stuck| stuck.to_string())??;
    // Whatever was dropped ends, and what stays armed goes with the last handle of its descriptor.
    let quiet = world.block_on(async { ring.timeout(Duration::from_secs(60)).await });
    quiet.map_err(|stuck| stuck.to_string())?.map_err(|error| error.to_string())?;
    let end = ring.snapshot();
    let trace = world.trace();
    let lines = |is: fn(&str) -> bool| trace.iter().filter(|line| is(line)).count();
    let totals = Totals {
        hash: world.trace_hash(),
        operations: end.completed,
        orphaned: end.orphaned,
        cancels: end.cancel_requests,
        races: end.cancel_races,
        requeued: end.requeued,
        stale: end.stale_completions,
        refusals: end.enter_refusals,
        pieces: lines(|line| line.contains("recv multishot = ") && line.contains(" in buffer ")),
        ends: lines(|line| line.contains(", unasked") || line.contains("recv multishot = -105")),
        named: end.registered_buffers,
        registered: lines(|line| line.contains(" bytes in slot ") && !line.contains(": ")),
        unregistered: lines(|line| line.contains(" registers nothing ") && !line.contains(": ")),
        refused: lines(|line| line.contains(" registers ") && line.contains("ENOMEM")),
        simulated: world.now(),
    };
    if end.queued > 0 || end.orphans > 0 {
        return Err(format!(
            "something is left: {:?}; {:?}",
            ring.operations(),
            world.operations()
        ));
    }
    drop(ring);
    let (taken, open) = (pool.stats().taken, world.descriptors());
    if taken > 0 {
        return Err(format!("{taken} buffers did not come back"));
    }
    if open > 0 {
        return Err(format!("{open} descriptors were not closed"));
    }
    if let Some(finding) = world.findings().first() {
        return Err(finding.clone());
    }
    Ok(totals)
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
        }
    }
    for lane in running {
        lane.await?;
    }
    Ok(())
}
