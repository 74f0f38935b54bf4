//! The standard library: positional reads and writes on threads, epoll for sockets.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use rustix::event::epoll;

use super::lane::{Lane, merge_all};
use super::{
    Context, Family, Imp, NOTHING_OUTSIDE, Pairs, Workload, check_message, closed, cores, lanes,
    message, race,
};
use crate::bench::alloc::allocations;
use crate::bench::plan::{Kind, MESSAGE, Scenario};
use crate::data::{Aligned, BLOCK, Blocks, check, mark};
use crate::load::Load;
use crate::num::count;

pub(crate) static STD: Imp = Imp {
    name: "std",
    what: "pread and pwrite on threads (page cache: one a core, direct: one per operation); epoll for sockets",
    family: Family::Traditional,
    ring: None,
    absent_from: |scenario| (scenario.kind == Kind::Nop).then_some(NOTHING_OUTSIDE),
    build,
};

fn build(scenario: &'static Scenario, context: &Context) -> io::Result<Box<dyn Workload>> {
    match scenario.kind {
        Kind::Nop => Err(io::Error::from(io::ErrorKind::Unsupported)),
        Kind::ReadCached | Kind::ReadDirect | Kind::WriteDirect => {
            let (file, blocks) = context.file(scenario)?;
            Ok(Box::new(Files::new(scenario, &file, blocks, threads(scenario))?))
        }
        Kind::Echo => Ok(Box::new(Echo::new(scenario, context)?)),
        Kind::Drop => Ok(Box::new(Drops::new(scenario)?)),
    }
}

/// Threads that keep a scenario's operations going: from the page cache the processors are what limits.
pub(super) fn threads(scenario: &Scenario) -> usize {
    if scenario.is_direct() { lanes(scenario) } else { cores().min(lanes(scenario)) }
}

/// One operation of a file scenario, as a system call.
pub(super) fn perform(file: &File, buffer: &mut Aligned, at: u64, write: bool) -> io::Result<()> {
    let size = buffer.bytes().len();
    if write {
        mark(buffer.bytes_mut(), at / count(BLOCK));
        let n = file.write_at(buffer.bytes(), at)?;
        return if n == size { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) };
    }
    let n = file.read_at(buffer.bytes_mut(), at)?;
    check(buffer.bytes().get(..n).unwrap_or_default(), size, at)
}

/// What one thread does in every slice.
struct Worker {
    scenario: &'static Scenario,
    file: Arc<File>,
    blocks: Blocks,
    buffer: Aligned,
    number: u64,
}

impl Worker {
    fn slice(&mut self, ops: u64, slice: u64) -> io::Result<Lane> {
        let mut offsets = self.blocks.lane(self.number, slice);
        let mut lane = Lane::new(self.scenario.sample_every(), ops, self.number == 0);
        let write = self.scenario.kind == Kind::WriteDirect;
        for _ in 0..ops {
            let started = lane.start();
            perform(&self.file, &mut self.buffer, offsets.next(), write)?;
            lane.stop(started, 1);
        }
        Ok(lane)
    }
}

/// A thread that waits for slices; it ends when its order channel closes.
struct Thread {
    orders: Sender<(u64, u64)>,
    results: Receiver<io::Result<Lane>>,
    handle: JoinHandle<()>,
}

impl Thread {
    fn start(mut worker: Worker) -> io::Result<Self> {
        let (orders, incoming) = channel();
        let (outgoing, results) = channel();
        let handle =
            std::thread::Builder::new().name("std worker".to_owned()).spawn(move || {
                for (ops, slice) in incoming {
                    if outgoing.send(worker.slice(ops, slice)).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self { orders, results, handle })
    }
}

struct Files {
    own: Worker,
    others: Vec<Thread>,
}

impl Files {
    fn new(
        scenario: &'static Scenario,
        file: &Arc<File>,
        blocks: Blocks,
        threads: usize,
    ) -> io::Result<Self> {
        let worker = |number| {
            let (file, buffer) = (Arc::clone(file), Aligned::new(blocks.size));
            Worker { scenario, file, blocks, buffer, number }
        };
        let others =
            (1..count(threads)).map(|n| Thread::start(worker(n))).collect::<Result<_, _>>()?;
        Ok(Self { own: worker(0), others })
    }
}

impl Workload for Files {
    fn run(&mut self, ops: u64, slice: u64) -> io::Result<Lane> {
        let workers = count(self.others.len()) + 1;
        let (share, rest) = (ops / workers, ops % workers);
        for thread in &self.others {
            thread.orders.send((share, slice)).map_err(io::Error::other)?;
        }
        let own = self.own.slice(share + rest, slice);
        let others: Vec<_> = self.others.iter().map(|thread| thread.results.recv()).collect();
        let mut all = vec![own?];
        for lane in others {
            all.push(lane.map_err(io::Error::other)??);
        }
        Ok(merge_all(all))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        for thread in self.others.drain(..) {
            drop(thread.orders);
            let _ = thread.handle.join();
        }
    }
}

fn watch<S: AsFd>(sockets: &[S]) -> io::Result<OwnedFd> {
    let readiness = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (number, socket) in (0..).zip(sockets) {
        epoll::add(&readiness, socket, epoll::EventData::new_u64(number), epoll::EventFlags::IN)?;
    }
    Ok(readiness)
}

fn wait(readiness: &OwnedFd, events: &mut Vec<epoll::Event>) -> io::Result<()> {
    events.clear();
    match epoll::wait(readiness, rustix::buffer::spare_capacity(events), None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

fn number_of(event: &epoll::Event) -> usize {
    usize::try_from(event.data.u64()).unwrap_or(usize::MAX)
}

/// An echo server on one thread: level-triggered epoll, one read and one write per message.
struct Echo {
    streams: Vec<TcpStream>,
    readiness: OwnedFd,
    events: Vec<epoll::Event>,
    load: Load,
}

impl Echo {
    fn new(scenario: &Scenario, context: &Context) -> io::Result<Self> {
        let (streams, load) = Load::start(&context.exe, scenario.depth)?;
        for stream in &streams {
            stream.set_nonblocking(true)?;
        }
        let readiness = watch(&streams)?;
        Ok(Self { streams, readiness, events: Vec::with_capacity(256), load })
    }

    fn serve(&mut self) -> io::Result<u64> {
        let mut bytes = 0;
        let mut buffer = [0; MESSAGE];
        wait(&self.readiness, &mut self.events)?;
        for event in &self.events {
            let Some(mut stream) = self.streams.get(number_of(event)) else { continue };
            match stream.read(&mut buffer) {
                Ok(0) => return Err(closed()),
                Ok(n) => {
                    stream.write_all(buffer.get(..n).unwrap_or_default())?;
                    bytes += count(n);
                }
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(bytes)
    }
}

impl Workload for Echo {
    fn run(&mut self, ops: u64, _slice: u64) -> io::Result<Lane> {
        self.load.order(ops)?;
        let (target, mut bytes, mut half) = (ops * count(MESSAGE), 0, None);
        while bytes < target {
            bytes += self.serve()?;
            if bytes >= target / 2 {
                half.get_or_insert_with(allocations);
            }
        }
        let end = allocations();
        Ok(Lane::of_server(self.load.report()?, half, Some(end)))
    }
}

/// Readiness has nothing to cancel: wait until one of the sockets is readable, read that one.
struct Drops {
    near: Vec<UnixStream>,
    far: Vec<UnixStream>,
    readiness: OwnedFd,
    events: Vec<epoll::Event>,
    step: u64,
}

impl Drops {
    fn new(scenario: &Scenario) -> io::Result<Self> {
        let Pairs { near, far } = Pairs::new(scenario)?;
        for socket in &near {
            socket.set_nonblocking(true)?;
        }
        let readiness = watch(&near)?;
        Ok(Self { near, far, readiness, events: Vec::with_capacity(64), step: 0 })
    }

    fn one_step(&mut self) -> io::Result<()> {
        let (_, ready) = race(self.step, self.near.len());
        let mut peer = self.far.get(ready).ok_or(io::ErrorKind::NotFound)?;
        peer.write_all(&message(self.step))?;
        let mut buffer = [0; MESSAGE];
        wait(&self.readiness, &mut self.events)?;
        for event in &self.events {
            let mut socket = self.near.get(number_of(event)).ok_or(io::ErrorKind::NotFound)?;
            let n = socket.read(&mut buffer)?;
            check_message(buffer.get(..n).unwrap_or_default(), self.step)?;
        }
        self.step += 1;
        Ok(())
    }
}

impl Workload for Drops {
    fn run(&mut self, ops: u64, _slice: u64) -> io::Result<Lane> {
        let mut lane = Lane::new(16, ops, true);
        for _ in 0..ops {
            let started = lane.start();
            self.one_step()?;
            lane.stop(started, 1);
        }
        Ok(lane)
    }
}
