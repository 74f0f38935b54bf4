//! The implementations that are compared, behind one trait.

mod flows;
pub(crate) mod lane;
pub(crate) mod local;
mod pread_pool;
pub(crate) mod raw;
pub(crate) mod raw_multishot;
mod raw_net;
pub(crate) mod raw_registered;
mod raw_threads;
pub(crate) mod runtime;
pub(crate) mod shared;
pub(crate) mod stdlib;
mod tally;
pub(crate) mod tokio;
mod tokio_fs;

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use crate::bench::plan::Scenario;
use crate::data::{Blocks, Data};
use crate::num::index;
use lane::Lane;

/// One implementation of one scenario, ready to run.
pub(crate) trait Workload {
    /// Performs `ops` operations, a multiple of the scenario's depth. `slice` selects the offsets.
    fn run(&mut self, ops: u64, slice: u64) -> io::Result<Lane>;

    /// `io_uring_enter(2)` calls so far, where they are counted.
    fn enters(&self) -> Option<u64> {
        None
    }

    /// Flags the ring was set up with, where there is one.
    fn setup(&self) -> Option<String> {
        None
    }
}

/// What implementations need to know about the run they are part of.
#[derive(Debug)]
pub(crate) struct Context {
    /// Present when a scenario needs it.
    pub(crate) data: Option<Data>,
    /// This program, for the load processes.
    pub(crate) exe: PathBuf,
    /// Runtimes keep to the calling thread: under a simulator other threads would blur the count.
    pub(crate) single_thread: bool,
    /// Worker threads, where there are several.
    pub(crate) workers: usize,
}

impl Context {
    /// The file a file scenario works on.
    pub(crate) fn file(&self, scenario: &Scenario) -> io::Result<(Arc<File>, Blocks)> {
        let data = self.data.as_ref().ok_or_else(|| io::Error::other("no data file was made"))?;
        let file = if scenario.is_direct() {
            data.direct.clone().map_err(|why| io::Error::new(io::ErrorKind::Unsupported, why))?
        } else {
            Arc::clone(&data.buffered)
        };
        Ok((file, Blocks::new(scenario.block, data.bytes)))
    }
}

/// On which side of the comparison an implementation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// io_uring without the library in between.
    Raw,
    /// What programs use without io_uring.
    Traditional,
    /// This project.
    Ours,
}

/// A kind of ring, and what a ring of it is set up with here, or why there is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingKind {
    pub(crate) name: &'static str,
    pub(crate) describe: fn() -> io::Result<String>,
}

/// Who does the work. Its file says everything about an implementation; [`ALL`] is the only list of them.
pub(crate) struct Imp {
    pub(crate) name: &'static str,
    /// One line on how it works.
    pub(crate) what: &'static str,
    pub(crate) family: Family,
    /// What it cannot run without.
    pub(crate) ring: Option<RingKind>,
    /// Why it has nothing to show in a scenario; `None` when it does.
    pub(crate) absent_from: fn(&Scenario) -> Option<&'static str>,
    /// Prepares it for a scenario.
    pub(crate) build: fn(&'static Scenario, &Context) -> io::Result<Box<dyn Workload>>,
}

impl PartialEq for Imp {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Debug for Imp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Every implementation, in the order of the rows.
pub(crate) static ALL: [&Imp; 13] = [
    &raw::RAW,
    &raw_registered::RAW_REGISTERED,
    &raw_multishot::RAW_MULTISHOT,
    &stdlib::STD,
    &tokio::TOKIO,
    &tokio_fs::TOKIO_FS,
    &pread_pool::PREAD_POOL,
    &local::LOCAL,
    &local::REGISTERED,
    &runtime::RUNTIME,
    &shared::SHARED,
    &shared::SHARED_TASKS,
    &local::FALLBACK,
];

/// An implementation by name, or a message that lists the names.
pub(crate) fn parse_imp(name: &str) -> Result<&'static Imp, String> {
    ALL.into_iter().find(|imp| imp.name == name).ok_or_else(|| {
        let names = ALL.map(|imp| imp.name);
        format!("there is no implementation of that name; there are: {}", names.join(", "))
    })
}

/// The reason of implementations without a ring for having no `nop` row.
const NOTHING_OUTSIDE: &str = "there is no kernel operation that does nothing outside a ring";

/// For implementations that only the multi-thread reads are about.
fn only_multi_thread(scenario: &Scenario) -> Option<&'static str> {
    (!scenario.multi_thread).then_some("it is there for the mt scenarios")
}

/// CPUs this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Worker threads of the runtimes and of the raw loops in mt scenarios: one for each CPU, and two on one CPU, because
/// one worker would not be a multi-thread runtime.
pub(crate) fn default_workers() -> usize {
    cores().max(2)
}

/// Connected socket pairs; a message written into `far` is received on `near`.
#[derive(Debug)]
pub(crate) struct Pairs {
    pub(crate) near: Vec<UnixStream>,
    pub(crate) far: Vec<UnixStream>,
}

impl Pairs {
    pub(crate) fn new(scenario: &Scenario) -> io::Result<Self> {
        let (mut near, mut far) = (Vec::new(), Vec::new());
        for _ in 0..scenario.depth {
            let (one, other) = UnixStream::pair()?;
            near.push(one);
            far.push(other);
        }
        Ok(Self { near, far })
    }
}

/// Turns of a pair of sockets for each one in which the quiet socket has the message.
const TURNS: usize = 16;

/// The sockets of one step of the drop scenario: the receive on the first loses against the one on the second. One half
/// of the sockets is busy, the other quiet, as a connection beside its control channel: a quiet one gets a message, and
/// its busy one none, in one turn of [`TURNS`], so what was dropped is issued again and again before it is needed.
#[inline]
pub(crate) fn race(step: u64, sockets: usize) -> (usize, usize) {
    let (step, half) = (usize::try_from(step).unwrap_or(0), (sockets / 2).max(1));
    let (quiet, busy) = (step % half, half + step % half);
    if step / half % TURNS == TURNS - 1 { (busy, quiet) } else { (quiet, busy) }
}

/// The message of one step.
#[inline]
pub(crate) fn message(step: u64) -> [u8; crate::bench::plan::MESSAGE] {
    let mut bytes = [0; crate::bench::plan::MESSAGE];
    crate::data::mark(&mut bytes, step);
    bytes
}

/// Checks that the bytes received in a step are the ones sent in it: a message lost to a dropped receive shows here.
#[inline]
pub(crate) fn check_message(received: &[u8], step: u64) -> io::Result<()> {
    if received == message(step) { Ok(()) } else { Err(lost(received.len(), step)) }
}

#[cold]
fn lost(got: usize, step: u64) -> io::Error {
    io::Error::other(format!("step {step}: received {got} bytes that are not the message sent"))
}

/// An echo peer that closed in the middle of a run.
#[cold]
pub(crate) fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the load process closed a connection")
}

/// How many lanes a scenario has, as a length.
pub(crate) fn lanes(scenario: &Scenario) -> usize {
    index(scenario.depth)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::plan::SCENARIOS;

    #[test]
    fn names_are_found_and_unknown_ones_list_them() {
        for imp in ALL {
            assert_eq!(parse_imp(imp.name), Ok(imp));
        }
        assert!(parse_imp("rawest").unwrap_err().contains("safer-ring/local"));
    }

    #[test]
    fn every_scenario_has_a_baseline_and_every_ring_that_fits() {
        for scenario in &SCENARIOS {
            let present = |imp: &Imp| (imp.absent_from)(scenario).is_none();
            for imp in [&raw::RAW, &shared::SHARED, &runtime::RUNTIME] {
                assert!(present(imp), "{}, {imp:?}", scenario.name);
            }
            assert_eq!(present(&local::LOCAL), !scenario.multi_thread, "{}", scenario.name);
            let registers = scenario.uses_file() && !scenario.multi_thread;
            assert_eq!(present(&local::REGISTERED), registers, "{}", scenario.name);
        }
    }

    #[test]
    fn multi_thread_reads_are_compared_with_all_that_programs_use() {
        for scenario in SCENARIOS.iter().filter(|s| s.multi_thread) {
            for imp in [&stdlib::STD, &tokio::TOKIO, &tokio_fs::TOKIO_FS, &pread_pool::PREAD_POOL] {
                assert_eq!((imp.absent_from)(scenario), None, "{}, {imp:?}", scenario.name);
            }
        }
    }

    #[test]
    fn every_implementation_performs_as_many_operations_as_it_is_asked_for() {
        let dir = std::env::current_dir().unwrap();
        let data = Data::create(Some(&dir), 8 << 20).unwrap();
        let exe = std::env::current_exe().unwrap();
        let context = Context { data: Some(data), exe, single_thread: false, workers: 3 };
        // Direct operations are timed one and all, so the latencies tell how many there were.
        for scenario in SCENARIOS.iter().filter(|s| s.is_direct()) {
            if let Err(error) = context.file(scenario) {
                eprintln!("skipped: {error}");
                return;
            }
            for imp in ALL.into_iter().filter(|imp| (imp.absent_from)(scenario).is_none()) {
                if let Some(Err(error)) = imp.ring.map(|ring| (ring.describe)()) {
                    eprintln!("skipped: {imp:?}: {error}");
                    continue;
                }
                let mut work = match (imp.build)(scenario, &context) {
                    Ok(work) => work,
                    Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                        eprintln!("skipped: {}, {imp:?}: {error}", scenario.name);
                        continue;
                    }
                    Err(error) => panic!("{}, {imp:?}: {error}", scenario.name),
                };
                let ops = scenario.round_ops(64);
                for slice in 0..2 {
                    let lane = work.run(ops, slice).unwrap();
                    let seen: u64 = lane.histogram.filled().map(|(_, n)| n).sum();
                    assert_eq!(seen, ops, "{}, {imp:?}", scenario.name);
                }
            }
        }
    }
}
