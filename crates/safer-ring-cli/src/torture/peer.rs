//! The other sides: plain threads with blocking descriptors, which know nothing of rings.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::net::Shutdown;
use tokio::sync::oneshot;

use super::dice::Dice;
use super::pattern;
use super::tally::Count;
use super::world::{LARGEST, Status, World};
use crate::num::count;

type Job = Box<dyn FnOnce() + Send>;

/// A thread that does one job after the other.
#[derive(Debug)]
pub(crate) struct Peer {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Peer {
    pub(crate) fn start(name: &str) -> io::Result<Self> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .stack_size(256 << 10)
            .spawn(move || inbox.into_iter().for_each(|job| job()))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Gives the thread a job; the answer is an error if the thread has died.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (answer, receiver) = oneshot::channel();
        if let Some(jobs) = &self.jobs {
            // Without a thread the answer is dropped, which the receiver sees.
            let _ = jobs.send(Box::new(move || drop(answer.send(job()))));
        }
        receiver
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What a peer needs to know of its lane.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    pub(crate) world: Arc<World>,
    pub(crate) status: Arc<Status>,
    /// Number of the stream, for its pattern and for the choices.
    pub(crate) stream: u64,
}

impl Post {
    pub(crate) fn dice(&self, role: u64) -> Dice {
        Dice::new(&[self.world.seed, self.stream, role])
    }
}

/// A total that its writer has not announced yet.
pub(crate) const UNKNOWN: u64 = u64::MAX;

/// What a peer shall write, and how it ends.
#[derive(Clone, Debug)]
pub(crate) struct WritePlan {
    pub(crate) bytes: u64,
    /// Writes all of them even if the run is about to stop.
    pub(crate) whole: bool,
    pub(crate) end: Option<Shutdown>,
    /// Announced when all is written and before the end.
    pub(crate) total: Arc<AtomicU64>,
}

/// Writes a stream in bursts, drips and pauses; gives the error that ended it early.
pub(crate) fn write_stream(post: &Post, end: &OwnedFd, plan: &WritePlan) -> Option<io::Error> {
    let mut dice = post.dice(1);
    let mut chunk = vec![0; LARGEST];
    let mut offset = 0;
    let mut error = None;
    while offset < plan.bytes && (plan.whole || !post.world.stopping()) {
        let left = usize::try_from(plan.bytes - offset).unwrap_or(LARGEST);
        let len = dice.bytes(left.min(LARGEST));
        let Some(bytes) = chunk.get_mut(..len) else { break };
        pattern::fill(bytes, post.stream, offset);
        match rustix::io::write(end, bytes) {
            Ok(n) => offset += count(n),
            Err(rustix::io::Errno::INTR) => {}
            Err(refused) => {
                error = Some(refused.into());
                break;
            }
        }
        idle(&mut dice);
    }
    plan.total.store(offset, Ordering::Release);
    if let Some(how) = plan.end {
        // A peer that has closed already leaves nothing to shut down.
        let _ = rustix::net::shutdown(end, how);
    }
    error
}

/// Reads a stream to its end and verifies it: how many bytes there were, and the error in place of an end.
pub(crate) fn read_stream(post: &Post, end: &OwnedFd) -> (u64, Option<io::Error>) {
    let mut dice = post.dice(2);
    let mut chunk = vec![0; LARGEST];
    let mut offset = 0;
    loop {
        let room = dice.bytes(LARGEST).max(dice.bytes(LARGEST));
        let Some(bytes) = chunk.get_mut(..room) else { return (offset, None) };
        match rustix::io::read(end, &mut *bytes) {
            Ok(0) => return (offset, None),
            Ok(n) => {
                let bytes = bytes.get(..n).unwrap_or_default();
                if let Err(wrong) = pattern::check(bytes, post.stream, offset) {
                    post.world.fail_bytes(
                        &post.status,
                        post.stream,
                        "received by the peer",
                        &wrong,
                    );
                    return (offset, None);
                }
                offset += count(n);
                post.world.tally.count(post.status.scenario, Count::BytesVerified, count(n));
                post.status.beat();
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return (offset, Some(error.into())),
        }
        if dice.one_in(4) {
            idle(&mut dice);
        }
    }
}

/// Does nothing for a while, or not at all.
pub(crate) fn idle(dice: &mut Dice) {
    match dice.below(16) {
        0..6 => {}
        6..8 => thread::yield_now(),
        8..15 => thread::sleep(dice.pause(800)),
        _ => thread::sleep(dice.pause(6000)),
    }
}

/// Waits until a condition holds, which others bring about; gives up when the run has failed.
pub(crate) fn wait_for(post: &Post, done: impl Fn() -> bool) -> bool {
    while !done() {
        if post.world.failed() {
            return false;
        }
        thread::sleep(Duration::from_micros(100));
    }
    true
}
