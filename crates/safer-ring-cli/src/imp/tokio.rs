//! tokio on a multi-thread runtime: `spawn_blocking` for files, `tokio::net` for sockets.

use std::fs::File;
use std::io;
use std::sync::Arc;

use ::tokio::io::{AsyncReadExt, AsyncWriteExt};
use ::tokio::net::{TcpStream, UnixStream};
use ::tokio::runtime::{Builder, Runtime};

use super::lane::{Lane, merge_all};
use super::stdlib::perform;
use super::tally::Tally;
use super::{
    Context, Family, Imp, NOTHING_OUTSIDE, Pairs, Workload, check_message, closed, lanes, message,
    race,
};
use crate::bench::plan::{Kind, MESSAGE, Scenario};
use crate::data::{Aligned, Blocks};
use crate::load::Load;
use crate::num::count;

pub(crate) static TOKIO: Imp = Imp {
    name: "tokio",
    what: "multi-thread tokio runtime: spawn_blocking and pread or pwrite for files, tokio::net for sockets",
    family: Family::Traditional,
    ring: None,
    absent_from: |scenario| (scenario.kind == Kind::Nop).then_some(NOTHING_OUTSIDE),
    build,
};

fn build(scenario: &'static Scenario, context: &Context) -> io::Result<Box<dyn Workload>> {
    let runtime = runtime(context)?;
    match scenario.kind {
        Kind::Nop => Err(io::Error::from(io::ErrorKind::Unsupported)),
        Kind::ReadCached | Kind::ReadDirect | Kind::WriteDirect => {
            let (file, blocks) = context.file(scenario)?;
            let buffers = (0..lanes(scenario)).map(|_| Aligned::new(blocks.size)).collect();
            Ok(Box::new(Files { runtime, scenario, file, blocks, buffers }))
        }
        Kind::Echo => Ok(Box::new(Echo::new(runtime, scenario, context)?)),
        Kind::Drop => Ok(Box::new(Drops::new(runtime, scenario)?)),
    }
}

/// The runtime that the rows of tokio and of the shared ring run on, the same for all of them.
pub(super) fn runtime(context: &Context) -> io::Result<Runtime> {
    let mut builder = if context.single_thread {
        Builder::new_current_thread()
    } else {
        Builder::new_multi_thread()
    };
    builder.worker_threads(context.workers).enable_all().build()
}

struct Files {
    runtime: Runtime,
    scenario: &'static Scenario,
    file: Arc<File>,
    blocks: Blocks,
    buffers: Vec<Aligned>,
}

async fn blocking_loop(
    file: Arc<File>,
    mut buffer: Aligned,
    mut offsets: crate::data::Offsets,
    write: bool,
    (ops, mut lane): (u64, Lane),
) -> io::Result<(Lane, Aligned)> {
    for _ in 0..ops {
        let (file, at, started) = (Arc::clone(&file), offsets.next(), lane.start());
        let work = move || perform(&file, &mut buffer, at, write).map(|()| buffer);
        buffer = ::tokio::task::spawn_blocking(work).await.map_err(io::Error::other)??;
        lane.stop(started, 1);
    }
    Ok((lane, buffer))
}

impl Workload for Files {
    fn run(&mut self, ops: u64, slice: u64) -> io::Result<Lane> {
        let (blocks, file) = (self.blocks, Arc::clone(&self.file));
        let write = self.scenario.kind == Kind::WriteDirect;
        let flow = |buffer, number, work| {
            blocking_loop(Arc::clone(&file), buffer, blocks.lane(number, slice), write, work)
        };
        side_by_side(&self.runtime, self.scenario, &mut self.buffers, ops, flow)
    }
}

/// Runs a task for each of `states`, which is given its state, its number, and its share of the operations with a lane.
/// Afterwards the states are back.
pub(super) fn side_by_side<S: Send + 'static, F>(
    runtime: &Runtime,
    scenario: &Scenario,
    states: &mut Vec<S>,
    ops: u64,
    flow: impl Fn(S, u64, (u64, Lane)) -> F,
) -> io::Result<Lane>
where
    F: Future<Output = io::Result<(Lane, S)>> + Send + 'static,
{
    let share = ops / count(states.len());
    let mut tasks = Vec::with_capacity(states.len());
    for (number, state) in (0..).zip(states.drain(..)) {
        let lane = Lane::new(scenario.sample_every(), share, number == 0);
        tasks.push(runtime.spawn(flow(state, number, (share, lane))));
    }
    let mut all = Vec::with_capacity(tasks.len());
    for task in tasks {
        let (lane, state) = runtime.block_on(task).map_err(io::Error::other)??;
        all.push(lane);
        states.push(state);
    }
    Ok(merge_all(all))
}

/// An echo server with one task per connection.
struct Echo {
    tally: Arc<Tally>,
    load: Load,
    // Dropped last of what uses the connections, which live in its tasks.
    runtime: Runtime,
}

async fn echo_loop(mut stream: TcpStream, tally: &Tally) -> io::Result<()> {
    let mut buffer = [0; MESSAGE];
    loop {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            return Err(closed());
        }
        stream.write_all(buffer.get(..n).unwrap_or_default()).await?;
        tally.add(count(n));
    }
}

impl Echo {
    fn new(runtime: Runtime, scenario: &Scenario, context: &Context) -> io::Result<Self> {
        let (streams, load) = Load::start(&context.exe, scenario.depth)?;
        let tally = Arc::new(Tally::default());
        for stream in streams {
            stream.set_nonblocking(true)?;
            let _context = runtime.enter();
            let (stream, tally) = (TcpStream::from_std(stream)?, Arc::clone(&tally));
            runtime.spawn(async move {
                if let Err(error) = echo_loop(stream, &tally).await {
                    tally.fail(error);
                }
            });
        }
        Ok(Self { tally, load, runtime })
    }
}

impl Workload for Echo {
    fn run(&mut self, ops: u64, _slice: u64) -> io::Result<Lane> {
        self.tally.begin(ops * count(MESSAGE));
        self.load.order(ops)?;
        self.runtime.block_on(self.tally.finished())?;
        Ok(self.tally.lane(self.load.report()?))
    }
}

/// The race as tokio users write it: `select!` over two receives.
struct Drops {
    sockets: Option<Sockets>,
    runtime: Runtime,
}

struct Sockets {
    near: Vec<UnixStream>,
    far: Vec<std::os::unix::net::UnixStream>,
    step: u64,
}

impl Drops {
    fn new(runtime: Runtime, scenario: &Scenario) -> io::Result<Self> {
        let pairs = Pairs::new(scenario)?;
        let mut near = Vec::new();
        for socket in pairs.near {
            socket.set_nonblocking(true)?;
            let _context = runtime.enter();
            near.push(UnixStream::from_std(socket)?);
        }
        Ok(Self { sockets: Some(Sockets { near, far: pairs.far, step: 0 }), runtime })
    }
}

/// Waits for either socket; the one that is not ready is let go.
async fn race_step(sockets: &mut Sockets) -> io::Result<()> {
    let Sockets { near, far, step } = sockets;
    let (idle, ready) = race(*step, near.len());
    let peer = far.get(ready).ok_or(io::ErrorKind::NotFound)?;
    io::Write::write_all(&mut &*peer, &message(*step))?;
    let [idle, ready] = near.get_disjoint_mut([idle, ready]).map_err(io::Error::other)?;
    let (mut unused, mut buffer) = ([0; MESSAGE], [0; MESSAGE]);
    let n = ::tokio::select! {
        biased;
        _ = idle.read(&mut unused) => return Err(io::Error::other("a receive finished without a message")),
        n = ready.read(&mut buffer) => n?,
    };
    check_message(buffer.get(..n).unwrap_or_default(), *step)?;
    *step += 1;
    Ok(())
}

async fn race_loop(mut sockets: Sockets, ops: u64) -> io::Result<(Lane, Sockets)> {
    let mut lane = Lane::new(16, ops, true);
    for _ in 0..ops {
        let started = lane.start();
        race_step(&mut sockets).await?;
        lane.stop(started, 1);
    }
    Ok((lane, sockets))
}

impl Workload for Drops {
    fn run(&mut self, ops: u64, _slice: u64) -> io::Result<Lane> {
        let sockets = self.sockets.take().ok_or(io::ErrorKind::NotConnected)?;
        let task = self.runtime.spawn(race_loop(sockets, ops));
        let (lane, sockets) = self.runtime.block_on(task).map_err(io::Error::other)??;
        self.sockets = Some(sockets);
        Ok(lane)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_have_the_workers_that_are_reported() {
        let exe = std::env::current_exe().unwrap();
        let mut context = Context { data: None, exe, single_thread: false, workers: 3 };
        assert_eq!(runtime(&context).unwrap().metrics().num_workers(), 3);
        context.workers = crate::imp::default_workers();
        assert!(runtime(&context).unwrap().metrics().num_workers() >= 2);
    }
}
