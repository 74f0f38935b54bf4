//! The baseline of the multi-thread reads: the raw loop once on each worker thread, each with a ring of its own and its
//! share of the lanes in flight. Nothing is shared between the threads.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::lane::{Lane, merge_all};
use super::raw::Files;
use super::{Context, Workload, lanes};
use crate::bench::plan::Scenario;
use crate::num::count;

/// What a thread says after a slice: its observations, and its counter of enters.
type Answer = io::Result<(Lane, Option<u64>)>;

/// A thread with a loop of its own. It ends when its order channel closes.
struct Thread {
    orders: SyncSender<(u64, u64)>,
    answers: Receiver<Answer>,
    handle: JoinHandle<()>,
    /// How many lanes it has.
    lanes: u64,
    enters: Option<u64>,
    setup: Option<String>,
}

impl Thread {
    /// Starts a thread and waits until its loop is ready. The ring is made on the thread that submits to it, which
    /// `IORING_SETUP_SINGLE_ISSUER` asks for.
    fn start(
        lanes: u64,
        make: impl FnOnce() -> io::Result<Files> + Send + 'static,
    ) -> io::Result<Self> {
        // Bounded channels have their memory from the start: a slice allocates nothing.
        let (orders, incoming) = sync_channel::<(u64, u64)>(1);
        let (outgoing, answers) = sync_channel(1);
        let (ready, readiness) = sync_channel(1);
        let body = move || match make() {
            Ok(files) => {
                // The other side takes both or is gone, which ends the loop as well.
                let _ = ready.send(Ok((files.enters(), files.setup())));
                serve(files, &incoming, &outgoing);
            }
            Err(error) => drop(ready.send(Err(error))),
        };
        let handle = std::thread::Builder::new().name("raw worker".to_owned()).spawn(body)?;
        let (enters, setup) = readiness.recv().map_err(io::Error::other)??;
        Ok(Self { orders, answers, handle, lanes, enters, setup })
    }
}

fn serve(mut files: Files, orders: &Receiver<(u64, u64)>, answers: &SyncSender<Answer>) {
    while let Ok((ops, slice)) = orders.recv() {
        let lane = files.run(ops, slice);
        if answers.send(lane.map(|lane| (lane, files.enters()))).is_err() {
            return;
        }
    }
}

struct Threads {
    all: Vec<Thread>,
    depth: u64,
}

impl Workload for Threads {
    fn run(&mut self, ops: u64, slice: u64) -> io::Result<Lane> {
        for thread in &self.all {
            let share = ops / self.depth * thread.lanes;
            thread.orders.send((share, slice)).map_err(io::Error::other)?;
        }
        let mut all = Vec::with_capacity(self.all.len());
        for thread in &mut self.all {
            let (lane, enters) = thread.answers.recv().map_err(io::Error::other)??;
            thread.enters = enters;
            all.push(lane);
        }
        Ok(merge_all(all))
    }

    fn enters(&self) -> Option<u64> {
        self.all.iter().map(|thread| thread.enters).sum()
    }

    fn setup(&self) -> Option<String> {
        self.all.first().and_then(|thread| thread.setup.clone())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        for thread in self.all.drain(..) {
            drop((thread.orders, thread.answers));
            let _ = thread.handle.join();
        }
    }
}

pub(super) fn build(
    scenario: &'static Scenario,
    context: &Context,
) -> io::Result<Box<dyn Workload>> {
    let (file, blocks) = context.file(scenario)?;
    let mut threads = Threads { all: Vec::new(), depth: u64::from(scenario.depth) };
    for (first, lanes) in shares(lanes(scenario), context.workers) {
        let target = (Arc::clone(&file), blocks);
        let make = move || Files::share(scenario, target, (count(first), lanes));
        threads.all.push(Thread::start(count(lanes), make)?);
    }
    Ok(Box::new(threads))
}

/// Divides lanes evenly over threads: the first lane and the number of lanes of each thread that gets any.
fn shares(lanes: usize, threads: usize) -> impl Iterator<Item = (usize, usize)> {
    let threads = threads.clamp(1, lanes.max(1));
    let bound = move |n| lanes * n / threads;
    (0..threads).map(move |n| (bound(n), bound(n + 1) - bound(n)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lane_is_on_one_thread_and_no_thread_is_without() {
        for lanes in 1..40 {
            for threads in 1..12 {
                let all: Vec<_> = shares(lanes, threads).collect();
                assert_eq!(all.len(), threads.min(lanes));
                let mut next = 0;
                for (first, n) in all {
                    assert_eq!(first, next);
                    assert!(n >= 1);
                    next += n;
                }
                assert_eq!(next, lanes);
            }
        }
    }
}
