//! Safer-Ring as an addition to a program that exists: `RingOf<Shared>` on multi-thread tokio, futures spawned as usual.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use ::tokio::runtime::Runtime;
use ::tokio::task::JoinHandle;
use safer_ring::{Fd, OwnedBuffer, RingOf, Shared};

use super::flows::{self, Race};
use super::lane::{Lane, merge_all};
use super::tally::Tally;
use super::tokio::runtime;
use super::{Context, Family, Imp, RingKind, Workload, lanes};
use crate::bench::plan::{Kind, MESSAGE, Scenario};
use crate::data::Blocks;
use crate::load::Load;
use crate::num::count;

pub(crate) static SHARED: Imp = Imp {
    name: "safer-ring/shared",
    what: "RingOf<Shared> on a multi-thread tokio runtime; batches from one task",
    family: Family::Ours,
    ring: Some(RING),
    absent_from: |_| None,
    build: |scenario, context| build(scenario, context, scenario.is_batch()),
};

pub(crate) static SHARED_TASKS: Imp = Imp {
    name: "safer-ring/shared-tasks",
    what: "the same with one task per operation in flight in place of a batch",
    family: Family::Ours,
    ring: Some(RING),
    absent_from: |scenario| {
        (!scenario.is_batch())
            .then_some("safer-ring/shared has one task per operation in flight here already")
    },
    build: |scenario, context| build(scenario, context, false),
};

const RING: RingKind = RingKind { name: "safer-ring/shared", describe };

fn describe() -> io::Result<String> {
    Ok(RingOf::<Shared>::new(64)?.features().to_string())
}

fn build(
    scenario: &'static Scenario,
    context: &Context,
    batched: bool,
) -> io::Result<Box<dyn Workload>> {
    let base = Base {
        ring: RingOf::<Shared>::new(scenario.depth.next_power_of_two().max(64))?,
        runtime: runtime(context)?,
    };
    match scenario.kind {
        Kind::Nop => Ok(Box::new(Nops { base, scenario, batched })),
        Kind::ReadCached | Kind::ReadDirect | Kind::WriteDirect => {
            let (file, blocks) = context.file(scenario)?;
            let buffers = flows::buffers(scenario, lanes(scenario))?;
            Ok(Box::new(Files { base, scenario, batched, file: handle(&file)?, blocks, buffers }))
        }
        Kind::Echo => Ok(Box::new(Echo::new(base, scenario, context)?)),
        Kind::Drop => Ok(Box::new(Drops { base, race: Some(Race::new(scenario)?) })),
    }
}

fn handle(file: &File) -> io::Result<Fd<Shared>> {
    Ok(Fd::new(file.as_fd().try_clone_to_owned()?))
}

/// The runtime goes first: its tasks use the ring.
struct Base {
    runtime: Runtime,
    ring: RingOf<Shared>,
}

impl Base {
    /// Runs a future as a task of the runtime.
    fn run<T: Send + 'static>(
        &self,
        flow: impl Future<Output = io::Result<T>> + Send + 'static,
    ) -> io::Result<T> {
        self.finish(self.runtime.spawn(flow))
    }

    fn finish<T>(&self, task: JoinHandle<io::Result<T>>) -> io::Result<T> {
        self.runtime.block_on(task).map_err(io::Error::other)?
    }

    fn enters(&self) -> Option<u64> {
        Some(self.ring.snapshot().enters)
    }

    fn setup(&self) -> Option<String> {
        Some(self.ring.features().to_string())
    }
}

struct Nops {
    base: Base,
    scenario: &'static Scenario,
    batched: bool,
}

impl Workload for Nops {
    fn run(&mut self, ops: u64, _slice: u64) -> io::Result<Lane> {
        let every = self.scenario.sample_every();
        if self.batched {
            let lane = Lane::new(every, ops, true);
            let flow = flows::nop_batches(self.base.ring.clone(), lanes(self.scenario), ops, lane);
            return self.base.run(flow);
        }
        let share = ops / u64::from(self.scenario.depth);
        let mut tasks = Vec::with_capacity(lanes(self.scenario));
        for number in 0..self.scenario.depth {
            let lane = Lane::new(every, share, number == 0);
            tasks.push(self.base.runtime.spawn(flows::nops(self.base.ring.clone(), share, lane)));
        }
        let mut all = Vec::with_capacity(tasks.len());
        for task in tasks {
            all.push(self.base.finish(task)?);
        }
        Ok(merge_all(all))
    }

    fn enters(&self) -> Option<u64> {
        self.base.enters()
    }

    fn setup(&self) -> Option<String> {
        self.base.setup()
    }
}

struct Files {
    base: Base,
    scenario: &'static Scenario,
    batched: bool,
    file: Fd<Shared>,
    blocks: Blocks,
    buffers: Vec<OwnedBuffer>,
}

impl Files {
    fn batches(&mut self, ops: u64, slice: u64) -> io::Result<Lane> {
        let offsets =
            (0..u64::from(self.scenario.depth)).map(|n| self.blocks.lane(n, slice)).collect();
        let lane = Lane::new(self.scenario.sample_every(), ops, true);
        let (ring, buffers) = (self.base.ring.clone(), std::mem::take(&mut self.buffers));
        let flow = flows::read_batches(ring, self.file.clone(), buffers, offsets, (ops, lane));
        let (lane, buffers) = self.base.run(flow)?;
        self.buffers = buffers;
        Ok(lane)
    }

    fn side_by_side(&mut self, ops: u64, slice: u64) -> io::Result<Lane> {
        let share = ops / u64::from(self.scenario.depth);
        let mut tasks = Vec::with_capacity(self.buffers.len());
        for (number, buffer) in (0..).zip(self.buffers.drain(..)) {
            let lane = Lane::new(self.scenario.sample_every(), share, number == 0);
            let offsets = self.blocks.lane(number, slice);
            let (ring, file) = (self.base.ring.clone(), self.file.clone());
            tasks.push(if self.scenario.kind == Kind::WriteDirect {
                self.base.runtime.spawn(flows::writes(ring, file, buffer, offsets, (share, lane)))
            } else {
                self.base.runtime.spawn(flows::reads(ring, file, buffer, offsets, (share, lane)))
            });
        }
        let mut all = Vec::with_capacity(tasks.len());
        for task in tasks {
            let (lane, buffer) = self.base.finish(task)?;
            all.push(lane);
            self.buffers.push(buffer);
        }
        Ok(merge_all(all))
    }
}

impl Workload for Files {
    fn run(&mut self, ops: u64, slice: u64) -> io::Result<Lane> {
        if self.batched { self.batches(ops, slice) } else { self.side_by_side(ops, slice) }
    }

    fn enters(&self) -> Option<u64> {
        self.base.enters()
    }

    fn setup(&self) -> Option<String> {
        self.base.setup()
    }
}

/// An echo server with one task per connection.
struct Echo {
    base: Base,
    tally: Arc<Tally>,
    load: Load,
}

impl Echo {
    fn new(base: Base, scenario: &Scenario, context: &Context) -> io::Result<Self> {
        let (streams, load) = Load::start(&context.exe, scenario.depth)?;
        let tally = Arc::new(Tally::default());
        for stream in streams {
            let (ring, tally) = (base.ring.clone(), Arc::clone(&tally));
            base.runtime.spawn(async move {
                let served = Arc::clone(&tally);
                if let Err(error) =
                    flows::echo(ring, Fd::new(stream), move |bytes| served.add(bytes)).await
                {
                    tally.fail(error);
                }
            });
        }
        Ok(Self { base, tally, load })
    }
}

impl Workload for Echo {
    fn run(&mut self, ops: u64, _slice: u64) -> io::Result<Lane> {
        self.tally.begin(ops * count(MESSAGE));
        self.load.order(ops)?;
        self.base.runtime.block_on(self.tally.finished())?;
        Ok(self.tally.lane(self.load.report()?))
    }

    fn enters(&self) -> Option<u64> {
        self.base.enters()
    }

    fn setup(&self) -> Option<String> {
        self.base.setup()
    }
}

struct Drops {
    base: Base,
    race: Option<Race<Shared>>,
}

impl Workload for Drops {
    fn run(&mut self, ops: u64, _slice: u64) -> io::Result<Lane> {
        let race = self.race.take().ok_or(io::ErrorKind::NotConnected)?;
        let flow = flows::races(self.base.ring.clone(), race, (ops, Lane::new(16, ops, true)));
        let (lane, race) = self.base.run(flow)?;
        self.race = Some(race);
        Ok(lane)
    }

    fn enters(&self) -> Option<u64> {
        self.base.enters()
    }

    fn setup(&self) -> Option<String> {
        self.base.setup()
    }
}
