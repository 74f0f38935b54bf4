//! Safer-Ring on one thread: `RingOf<Local>` driven by its own `block_on`.

use std::cell::Cell;
use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use futures_util::stream::{FuturesUnordered, Stream};
use safer_ring::{BackendChoice, BackendKind, BufferPool, Fd, Local, Ring, RingOf};

use super::flows::{self, Block, Race};
use super::lane::{Lane, merge_all};
use super::{Context, Family, Imp, RingKind, Workload, lanes};
use crate::bench::alloc::own_allocations;
use crate::bench::plan::{Kind, MESSAGE, Scenario};
use crate::data::{BLOCK, Blocks};
use crate::load::Load;
use crate::num::count;

pub(crate) static LOCAL: Imp = Imp {
    name: "safer-ring/local",
    what: "RingOf<Local> on one thread, driven by its own block_on",
    family: Family::Ours,
    ring: Some(RING),
    absent_from: |scenario| scenario.multi_thread.then_some("a local ring belongs to one thread"),
    build,
};

pub(crate) static REGISTERED: Imp = Imp {
    name: "safer-ring/registered",
    what: "the same with buffers of a pool that is registered with the ring",
    family: Family::Ours,
    ring: Some(RING),
    absent_from: |scenario| match scenario.kind {
        Kind::Nop => Some("a no-operation has no buffer to register"),
        Kind::Echo | Kind::Drop => Some("only transfers at an offset name registered memory"),
        _ => (LOCAL.absent_from)(scenario),
    },
    build: build_registered,
};

const RING: RingKind = RingKind { name: "safer-ring/local", describe };

pub(crate) static FALLBACK: Imp = Imp {
    name: "safer-ring/fallback",
    what: "the same without io_uring: epoll, Linux AIO, threads",
    family: Family::Ours,
    ring: None,
    absent_from: LOCAL.absent_from,
    build: |scenario, context| {
        let fallback = BackendChoice::Only(BackendKind::Fallback);
        let ring = Ring::builder().backend(fallback).entries(entries(scenario)).local();
        build_on(ring.build()?, scenario, context)
    },
};

fn describe() -> io::Result<String> {
    Ok(RingOf::<Local>::new(64)?.features().to_string())
}

fn build(scenario: &'static Scenario, context: &Context) -> io::Result<Box<dyn Workload>> {
    build_on(RingOf::<Local>::new(entries(scenario))?, scenario, context)
}

fn entries(scenario: &Scenario) -> u32 {
    scenario.depth.next_power_of_two().max(64)
}

fn build_on(
    ring: RingOf<Local>,
    scenario: &'static Scenario,
    context: &Context,
) -> io::Result<Box<dyn Workload>> {
    match scenario.kind {
        Kind::Nop => Ok(Box::new(Nops { ring, scenario })),
        Kind::ReadCached | Kind::ReadDirect | Kind::WriteDirect => {
            let buffers = flows::buffers(scenario, lanes(scenario))?;
            files(ring, scenario, context, buffers)
        }
        Kind::Echo => echo(ring, scenario, context),
        Kind::Drop => Ok(Box::new(Drops { ring, race: Some(Race::new(scenario)?) })),
    }
}

fn build_registered(
    scenario: &'static Scenario,
    context: &Context,
) -> io::Result<Box<dyn Workload>> {
    let ring = RingOf::<Local>::new(entries(scenario))?;
    let pool =
        BufferPool::contiguous(lanes(scenario), scenario.block, BLOCK).map_err(io::Error::other)?;
    // Whatever the reason is: the row is absent, and says it.
    ring.register_buffers(&pool)
        .map_err(|error| io::Error::new(io::ErrorKind::Unsupported, error))?;
    let mut buffers = Vec::new();
    pool.take_many(lanes(scenario), &mut buffers);
    for buffer in &mut buffers {
        buffer.resize(scenario.block);
    }
    // The ring keeps the memory of the pool, and so does each of its buffers.
    files(ring, scenario, context, buffers)
}

fn files<B: Block>(
    ring: RingOf<Local>,
    scenario: &'static Scenario,
    context: &Context,
    buffers: Vec<B>,
) -> io::Result<Box<dyn Workload>> {
    let (file, blocks) = context.file(scenario)?;
    Ok(Box::new(Files { ring, scenario, file: handle(&file)?, blocks, buffers }))
}

fn handle(file: &File) -> io::Result<Fd<Local>> {
    Ok(Fd::new(file.as_fd().try_clone_to_owned()?))
}

struct Nops {
    ring: RingOf<Local>,
    scenario: &'static Scenario,
}

impl Workload for Nops {
    fn run(&mut self, ops: u64, _slice: u64) -> io::Result<Lane> {
        let (ring, lane) =
            (self.ring.clone(), Lane::of_one_thread(self.scenario.sample_every(), ops));
        if self.scenario.is_batch() {
            self.ring.block_on(flows::nop_batches(ring, lanes(self.scenario), ops, lane))
        } else {
            self.ring.block_on(flows::nops(ring, ops, lane))
        }
    }

    fn enters(&self) -> Option<u64> {
        Some(self.ring.snapshot().enters)
    }

    fn setup(&self) -> Option<String> {
        Some(self.ring.features().to_string())
    }
}

struct Files<B> {
    ring: RingOf<Local>,
    scenario: &'static Scenario,
    file: Fd<Local>,
    blocks: Blocks,
    buffers: Vec<B>,
}

type Task<T> = Pin<Box<dyn Future<Output = io::Result<T>>>>;

impl<B: Block> Files<B> {
    fn batches(&mut self, ops: u64, slice: u64) -> io::Result<Lane> {
        let offsets =
            (0..u64::from(self.scenario.depth)).map(|n| self.blocks.lane(n, slice)).collect();
        let lane = Lane::of_one_thread(self.scenario.sample_every(), ops);
        let buffers = std::mem::take(&mut self.buffers);
        let flow = flows::read_batches(
            self.ring.clone(),
            self.file.clone(),
            buffers,
            offsets,
            (ops, lane),
        );
        let (lane, buffers) = self.ring.block_on(flow)?;
        self.buffers = buffers;
        Ok(lane)
    }

    fn side_by_side(&mut self, ops: u64, slice: u64) -> io::Result<Lane> {
        let share = ops / u64::from(self.scenario.depth);
        let mut tasks: FuturesUnordered<Task<(Lane, B)>> = FuturesUnordered::new();
        for (number, buffer) in (0..).zip(self.buffers.drain(..)) {
            let lane = if number == 0 {
                Lane::of_one_thread(self.scenario.sample_every(), share)
            } else {
                Lane::new(self.scenario.sample_every(), share, false)
            };
            let (ring, file, offsets) =
                (self.ring.clone(), self.file.clone(), self.blocks.lane(number, slice));
            tasks.push(if self.scenario.kind == Kind::WriteDirect {
                Box::pin(flows::writes(ring, file, buffer, offsets, (share, lane)))
            } else {
                Box::pin(flows::reads(ring, file, buffer, offsets, (share, lane)))
            });
        }
        let mut all = Vec::with_capacity(tasks.len());
        let buffers = &mut self.buffers;
        self.ring.block_on(poll_fn(|context| {
            loop {
                match Pin::new(&mut tasks).poll_next(context) {
                    Poll::Ready(Some(Ok((lane, buffer)))) => {
                        all.push(lane);
                        buffers.push(buffer);
                    }
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                    Poll::Ready(None) => return Poll::Ready(Ok(())),
                    Poll::Pending => return Poll::Pending,
                }
            }
        }))?;
        Ok(merge_all(all))
    }

    fn one_by_one(&mut self, ops: u64, slice: u64) -> io::Result<Lane> {
        let lane = Lane::of_one_thread(self.scenario.sample_every(), ops);
        let buffer = self.buffers.pop().ok_or(io::ErrorKind::NotFound)?;
        let (ring, file, offsets) =
            (self.ring.clone(), self.file.clone(), self.blocks.lane(0, slice));
        let (lane, buffer) =
            self.ring.block_on(flows::reads(ring, file, buffer, offsets, (ops, lane)))?;
        self.buffers.push(buffer);
        Ok(lane)
    }
}

impl<B: Block> Workload for Files<B> {
    fn run(&mut self, ops: u64, slice: u64) -> io::Result<Lane> {
        if self.scenario.is_batch() {
            self.batches(ops, slice)
        } else if self.scenario.depth == 1 {
            self.one_by_one(ops, slice)
        } else {
            self.side_by_side(ops, slice)
        }
    }

    fn enters(&self) -> Option<u64> {
        Some(self.ring.snapshot().enters)
    }

    fn setup(&self) -> Option<String> {
        Some(self.ring.features().to_string())
    }
}

/// How far a slice of echoes has come; the server's tasks and its owner are on one thread.
#[derive(Default)]
struct Progress {
    bytes: Cell<u64>,
    half: Cell<Option<u64>>,
    target: Cell<u64>,
}

impl Progress {
    fn begin(&self, target: u64) {
        self.bytes.set(0);
        self.half.set(None);
        self.target.set(target);
    }

    #[inline]
    fn add(&self, bytes: u64) {
        self.bytes.set(self.bytes.get() + bytes);
        if self.half.get().is_none() && self.bytes.get() >= self.target.get() / 2 {
            self.half.set(Some(own_allocations()));
        }
    }

    fn is_complete(&self) -> bool {
        self.bytes.get() >= self.target.get()
    }
}

/// An echo server with one task per connection.
struct Echo<F> {
    ring: RingOf<Local>,
    tasks: FuturesUnordered<F>,
    progress: Rc<Progress>,
    load: Load,
}

fn echo(
    ring: RingOf<Local>,
    scenario: &Scenario,
    context: &Context,
) -> io::Result<Box<dyn Workload>> {
    let (streams, load) = Load::start(&context.exe, scenario.depth)?;
    let progress = Rc::new(Progress::default());
    let serve = |stream| {
        let served = Rc::clone(&progress);
        flows::echo(ring.clone(), Fd::new(stream), move |bytes| served.add(bytes))
    };
    let tasks: FuturesUnordered<_> = streams.into_iter().map(serve).collect();
    Ok(Box::new(Echo { tasks, progress, load, ring }))
}

impl<F: Future<Output = io::Result<()>>> Workload for Echo<F> {
    fn run(&mut self, ops: u64, _slice: u64) -> io::Result<Lane> {
        self.progress.begin(ops * count(MESSAGE));
        self.load.order(ops)?;
        let (tasks, progress) = (&mut self.tasks, &self.progress);
        self.ring.block_on(poll_fn(|context| {
            match Pin::new(&mut *tasks).poll_next(context) {
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(_) => return Poll::Ready(Err(super::closed())),
                Poll::Pending if progress.is_complete() => return Poll::Ready(Ok(())),
                Poll::Pending => {}
            }
            Poll::Pending
        }))?;
        let end = own_allocations();
        Ok(Lane::of_server(self.load.report()?, self.progress.half.get(), Some(end)))
    }

    fn enters(&self) -> Option<u64> {
        Some(self.ring.snapshot().enters)
    }

    fn setup(&self) -> Option<String> {
        Some(self.ring.features().to_string())
    }
}

struct Drops {
    ring: RingOf<Local>,
    race: Option<Race<Local>>,
}

impl Workload for Drops {
    fn run(&mut self, ops: u64, _slice: u64) -> io::Result<Lane> {
        let race = self.race.take().ok_or(io::ErrorKind::NotConnected)?;
        let flow = flows::races(self.ring.clone(), race, (ops, Lane::of_one_thread(16, ops)));
        let (lane, race) = self.ring.block_on(flow)?;
        self.race = Some(race);
        Ok(lane)
    }

    fn enters(&self) -> Option<u64> {
        Some(self.ring.snapshot().enters)
    }

    fn setup(&self) -> Option<String> {
        Some(self.ring.features().to_string())
    }
}
