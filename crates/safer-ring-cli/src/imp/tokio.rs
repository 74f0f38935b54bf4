//! tokio on a multi-thread runtime with two workers: `spawn_blocking` for files, `tokio::net` for sockets.

use std::fs::File;
use std::io;
use std::sync::Arc;

use ::tokio::io::{AsyncReadExt, AsyncWriteExt};
use ::tokio::net::{TcpStream, UnixStream};
use ::tokio::runtime::{Builder, Runtime};

use super::lane::{Lane, merge_all};
use super::stdlib::perform;
use super::tally::Tally;
use super::{Context, Pairs, Workload, check_message, closed, lanes, message, race};
use crate::bench::plan::{Kind, MESSAGE, Scenario};
use crate::data::{Aligned, Blocks};
use crate::load::Load;
use crate::num::count;

pub(super) fn build(
    scenario: &'static Scenario,
    context: &Context,
) -> io::Result<Box<dyn Workload>> {
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

/// The runtime that tokio's and the shared ring's rows run on.
pub(super) fn runtime(context: &Context) -> io::Result<Runtime> {
    let mut builder = if context.single_thread {
        Builder::new_current_thread()
    } else {
        Builder::new_multi_thread()
    };
    builder.worker_threads(2).enable_all().build()
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
        let share = ops / count(self.buffers.len());
        let write = self.scenario.kind == Kind::WriteDirect;
        let mut tasks = Vec::with_capacity(self.buffers.len());
        for (number, buffer) in (0..).zip(self.buffers.drain(..)) {
            let lane = Lane::new(self.scenario.sample_every(), share, number == 0);
            let offsets = self.blocks.lane(number, slice);
            let file = Arc::clone(&self.file);
            tasks.push(self.runtime.spawn(blocking_loop(
                file,
                buffer,
                offsets,
                write,
                (share, lane),
            )));
        }
        let mut all = Vec::with_capacity(tasks.len());
        for task in tasks {
            let (lane, buffer) = self.runtime.block_on(task).map_err(io::Error::other)??;
            all.push(lane);
            self.buffers.push(buffer);
        }
        Ok(merge_all(all))
    }
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
