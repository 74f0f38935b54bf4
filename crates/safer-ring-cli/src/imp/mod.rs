//! The implementations that are compared, behind one trait.

mod flows;
pub(crate) mod lane;
pub(crate) mod local;
pub(crate) mod raw;
pub(crate) mod raw_net;
pub(crate) mod raw_registered;
pub(crate) mod shared;
pub(crate) mod stdlib;
pub(crate) mod tally;
pub(crate) mod tokio;

use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use crate::bench::plan::{Imp, Kind, Scenario};
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

/// Prepares one implementation of one scenario.
pub(crate) fn build(
    imp: Imp,
    scenario: &'static Scenario,
    context: &Context,
) -> io::Result<Box<dyn Workload>> {
    match imp {
        Imp::Raw => match scenario.kind {
            Kind::Echo => raw_net::echo(scenario, context, false),
            Kind::Drop => raw_net::drop_race(scenario, false),
            _ => raw::build(scenario, context),
        },
        Imp::RawRegistered => match scenario.kind {
            Kind::Echo => raw_net::echo(scenario, context, true),
            Kind::Drop => raw_net::drop_race(scenario, true),
            _ => raw_registered::build(scenario, context),
        },
        Imp::Std => stdlib::build(scenario, context),
        Imp::Tokio => tokio::build(scenario, context),
        Imp::Local => local::build(scenario, context),
        Imp::Shared => shared::build(scenario, context, scenario.is_batch()),
        Imp::SharedTasks => shared::build(scenario, context, false),
    }
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
