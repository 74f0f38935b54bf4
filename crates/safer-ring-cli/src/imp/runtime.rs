//! Safer-Ring's own runtime: a task for each flow, on one thread, or on several in the mt scenarios.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use safer_ring::runtime::{self, JoinHandle};
use safer_ring::{Fd, Local, OwnedBuffer, Ring, Runtime};

use super::flows::{self, Race};
use super::lane::{Lane, merge_all};
use super::{Context, Family, Imp, RingKind, Workload, lanes};
use crate::bench::alloc::own_allocations;
use crate::bench::plan::{Kind, MESSAGE, Scenario};
use crate::data::{Blocks, Offsets};
use crate::load::Load;
use crate::num::count;

pub(crate) static RUNTIME: Imp = Imp {
    name: "safer-ring/runtime",
    what: "tasks of safer_ring::Runtime on one thread, on a thread for each worker in mt scenarios; batches as local",
    family: Family::Ours,
    ring: Some(RingKind { name: "safer-ring/runtime", describe }),
    absent_from: |_| None,
    build,
};

fn describe() -> io::Result<String> {
    Ok(Runtime::new()?.ring().features().to_string())
}

fn build(scenario: &'static Scenario, context: &Context) -> io::Result<Box<dyn Workload>> {
    let threads = if scenario.multi_thread && !context.single_thread { context.workers } else { 1 };
    let ring = Ring::builder().entries(scenario.depth.next_power_of_two().max(64)).local();
    let base = Base(Runtime::builder().threads(threads).ring(ring).build()?);
    match scenario.kind {
        Kind::Nop => Ok(Box::new(Nops { base, scenario })),
        Kind::ReadCached | Kind::ReadDirect | Kind::WriteDirect => {
            let (file, blocks) = context.file(scenario)?;
            let buffers = flows::buffers(scenario, lanes(scenario))?;
            Ok(Box::new(Files { base, scenario, file, blocks, buffers }))
        }
        Kind::Echo => Ok(Box::new(Echo::new(base, scenario, context)?)),
        Kind::Drop => Ok(Box::new(Drops { base, race: Some(Race::new(scenario)?) })),
    }
}

struct Base(Runtime);

impl Base {
    /// Runs a future as a task of the calling thread.
    fn run<T: 'static>(
        &self,
        flow: impl Future<Output = io::Result<T>> + 'static,
    ) -> io::Result<T> {
        self.finish(self.0.spawn(flow))
    }

    fn finish<T>(&self, task: JoinHandle<io::Result<T>>) -> io::Result<T> {
        self.0.block_on(task)?
    }

    /// The calls of all threads.
    fn enters(&self) -> Option<u64> {
        let handle = self.0.handle();
        let ask = |thread| handle.spawn_on(thread, || async { runtime::ring().snapshot().enters });
        let answers = (0..handle.threads()).map(|thread| self.0.block_on(ask(thread).ok()?).ok());
        answers.sum()
    }

    fn setup(&self) -> Option<String> {
        Some(self.0.ring().features().to_string())
    }
}

struct Nops {
    base: Base,
    scenario: &'static Scenario,
}

impl Workload for Nops {
    fn run(&mut self, ops: u64, _slice: u64) -> io::Result<Lane> {
        let ring = self.base.0.ring().clone();
        let lane = Lane::of_one_thread(self.scenario.sample_every(), ops);
        if self.scenario.is_batch() {
            self.base.run(flows::nop_batches(ring, lanes(self.scenario), ops, lane))
        } else {
            self.base.run(flows::nops(ring, ops, lane))
        }
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
    file: Arc<File>,
    blocks: Blocks,
    buffers: Vec<OwnedBuffer>,
}

/// One flow on the thread that it is called on: a handle of a local ring does not leave its thread.
async fn flow(
    file: Arc<File>,
    writes: bool,
    buffer: OwnedBuffer,
    offsets: Offsets,
    work: (u64, Lane),
) -> io::Result<(Lane, OwnedBuffer)> {
    let (ring, file) = (runtime::ring(), handle(&file)?);
    if writes {
        flows::writes(ring, file, buffer, offsets, work).await
    } else {
        flows::reads(ring, file, buffer, offsets, work).await
    }
}

fn handle(file: &File) -> io::Result<Fd<Local>> {
    Ok(Fd::new(file.as_fd().try_clone_to_owned()?))
}

impl Files {
    fn batches(&mut self, ops: u64, slice: u64) -> io::Result<Lane> {
        let offsets =
            (0..u64::from(self.scenario.depth)).map(|n| self.blocks.lane(n, slice)).collect();
        let lane = Lane::of_one_thread(self.scenario.sample_every(), ops);
        let (ring, buffers) = (self.base.0.ring().clone(), std::mem::take(&mut self.buffers));
        let flow = flows::read_batches(ring, handle(&self.file)?, buffers, offsets, (ops, lane));
        let (lane, buffers) = self.base.run(flow)?;
        self.buffers = buffers;
        Ok(lane)
    }

    fn side_by_side(&mut self, ops: u64, slice: u64) -> io::Result<Lane> {
        let share = ops / u64::from(self.scenario.depth);
        let (runtime, every) = (self.base.0.handle(), self.scenario.sample_every());
        let writes = self.scenario.kind == Kind::WriteDirect;
        let mut tasks = Vec::with_capacity(self.buffers.len());
        for (number, buffer) in self.buffers.drain(..).enumerate() {
            let thread = number % runtime.threads();
            let lane = match (number, self.scenario.multi_thread) {
                (0, false) => Lane::of_one_thread(every, share),
                _ => Lane::new(every, share, number == 0),
            };
            let (file, offsets) = (Arc::clone(&self.file), self.blocks.lane(count(number), slice));
            let make = move || flow(file, writes, buffer, offsets, (share, lane));
            tasks.push(runtime.spawn_on(thread, make)?);
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
        if self.scenario.is_batch() {
            self.batches(ops, slice)
        } else {
            self.side_by_side(ops, slice)
        }
    }

    fn enters(&self) -> Option<u64> {
        self.base.enters()
    }

    fn setup(&self) -> Option<String> {
        self.base.setup()
    }
}

/// How far a slice of echoes has come: the tasks and who waits for them are on one thread.
#[derive(Default)]
struct Served {
    bytes: Cell<u64>,
    half: Cell<Option<u64>>,
    target: Cell<u64>,
    failure: Cell<Option<io::Error>>,
    waiter: RefCell<Option<Waker>>,
}

impl Served {
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
        if self.bytes.get() >= self.target.get() {
            self.wake();
        }
    }

    fn fail(&self, error: io::Error) {
        self.failure.set(Some(error));
        self.wake();
    }

    fn wake(&self) {
        let waiter = self.waiter.borrow_mut().take();
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }

    async fn finished(&self) -> io::Result<()> {
        poll_fn(|context| {
            if let Some(error) = self.failure.take() {
                return Poll::Ready(Err(error));
            }
            if self.bytes.get() >= self.target.get() {
                return Poll::Ready(Ok(()));
            }
            *self.waiter.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}

/// An echo server with one task per connection.
struct Echo {
    base: Base,
    served: Rc<Served>,
    load: Load,
}

impl Echo {
    fn new(base: Base, scenario: &Scenario, context: &Context) -> io::Result<Self> {
        let (streams, load) = Load::start(&context.exe, scenario.depth)?;
        let served = Rc::new(Served::default());
        for stream in streams {
            let (ring, served) = (base.0.ring().clone(), Rc::clone(&served));
            drop(base.0.spawn(async move {
                let tell = Rc::clone(&served);
                let flow = flows::echo(ring, Fd::new(stream), move |bytes| tell.add(bytes));
                if let Err(error) = flow.await {
                    served.fail(error);
                }
            }));
        }
        Ok(Self { base, served, load })
    }
}

impl Workload for Echo {
    fn run(&mut self, ops: u64, _slice: u64) -> io::Result<Lane> {
        self.served.begin(ops * count(MESSAGE));
        self.load.order(ops)?;
        self.base.0.block_on(self.served.finished())?;
        let end = own_allocations();
        Ok(Lane::of_server(self.load.report()?, self.served.half.get(), Some(end)))
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
    race: Option<Race<Local>>,
}

impl Workload for Drops {
    fn run(&mut self, ops: u64, _slice: u64) -> io::Result<Lane> {
        let race = self.race.take().ok_or(io::ErrorKind::NotConnected)?;
        let ring = self.base.0.ring().clone();
        let flow = flows::races(ring, race, (ops, Lane::of_one_thread(16, ops)));
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
