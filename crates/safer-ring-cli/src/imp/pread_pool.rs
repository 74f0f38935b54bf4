//! A pool of threads behind a channel, as programs write it: a task sends its read and awaits the answer.

use std::fs::File;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use ::tokio::runtime::Runtime;
use ::tokio::sync::oneshot;

use super::lane::Lane;
use super::stdlib::{perform, threads};
use super::tokio::{runtime, side_by_side};
use super::{Context, Family, Imp, Workload, lanes, only_multi_thread};
use crate::bench::plan::Scenario;
use crate::data::{Aligned, Blocks, Offsets, check};

pub(crate) static PREAD_POOL: Imp = Imp {
    name: "pread-pool",
    what: "tokio tasks that send their reads over a channel to threads (page cache: one a core, direct: one per task), which pread",
    family: Family::Traditional,
    ring: None,
    absent_from: only_multi_thread,
    build,
};

fn build(scenario: &'static Scenario, context: &Context) -> io::Result<Box<dyn Workload>> {
    let (file, blocks) = context.file(scenario)?;
    let buffers = (0..lanes(scenario)).map(|_| Aligned::new(blocks.size)).collect();
    let (runtime, pool) = (runtime(context)?, Pool::start(&file, threads(scenario))?);
    Ok(Box::new(Files { runtime, pool, scenario, blocks, buffers }))
}

/// A read at an offset, with the memory for it.
struct Job {
    at: u64,
    buffer: Aligned,
    answer: oneshot::Sender<io::Result<Aligned>>,
}

struct Pool {
    /// Present until the pool is dropped; its threads end when every sender is gone.
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    fn start(file: &Arc<File>, threads: usize) -> io::Result<Self> {
        let (jobs, incoming) = channel();
        let incoming = Arc::new(Mutex::new(incoming));
        let mut pool = Self { jobs: Some(jobs), threads: Vec::new() };
        for _ in 0..threads {
            let (file, incoming) = (Arc::clone(file), Arc::clone(&incoming));
            let thread = std::thread::Builder::new().name("pread pool".to_owned());
            pool.threads.push(thread.spawn(move || serve(&file, &incoming))?);
        }
        Ok(pool)
    }
}

/// Performs reads until nobody can send one.
fn serve(file: &File, incoming: &Mutex<Receiver<Job>>) {
    // The lock is held for the wait, and let go for the read.
    let next = || incoming.lock().ok()?.recv().ok();
    while let Some(Job { at, mut buffer, answer }) = next() {
        let result = perform(file, &mut buffer, at, false).map(|()| buffer);
        // A task that does not wait any more needs no answer.
        let _ = answer.send(result);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

async fn reads(
    jobs: Option<Sender<Job>>,
    mut buffer: Aligned,
    mut offsets: Offsets,
    (ops, mut lane): (u64, Lane),
) -> io::Result<(Lane, Aligned)> {
    let jobs = jobs.ok_or(io::ErrorKind::NotConnected)?;
    for _ in 0..ops {
        let (at, started) = (offsets.next(), lane.start());
        let (answer, result) = oneshot::channel();
        jobs.send(Job { at, buffer, answer }).map_err(io::Error::other)?;
        buffer = result.await.map_err(io::Error::other)??;
        // Checked again on this side: a pool can mix up its answers.
        check(buffer.bytes(), buffer.bytes().len(), at)?;
        lane.stop(started, 1);
    }
    Ok((lane, buffer))
}

/// The runtime goes before the pool: its tasks hold senders.
struct Files {
    runtime: Runtime,
    pool: Pool,
    scenario: &'static Scenario,
    blocks: Blocks,
    buffers: Vec<Aligned>,
}

impl Workload for Files {
    fn run(&mut self, ops: u64, slice: u64) -> io::Result<Lane> {
        let (blocks, jobs) = (self.blocks, &self.pool.jobs);
        let flow =
            |buffer, number, work| reads(jobs.clone(), buffer, blocks.lane(number, slice), work);
        side_by_side(&self.runtime, self.scenario, &mut self.buffers, ops, flow)
    }
}
