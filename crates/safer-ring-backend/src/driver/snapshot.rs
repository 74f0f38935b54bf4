//! What a ring tells about itself.

use std::fmt;
use std::os::fd::RawFd;
use std::time::Duration;

use safer_ring_core::Phase;

/// An operation that the kernel has, or that waits to be handed to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InFlight {
    /// What it does: `"read"`, `"accept"`.
    pub name: &'static str,
    /// How long ago it was started, to a few milliseconds.
    pub age: Duration,
    /// The number of the descriptor that it works on.
    pub fd: Option<RawFd>,
    /// Whether the kernel has it.
    pub phase: Phase,
    /// Its future is gone.
    pub orphaned: bool,
    /// Its cancellation was asked.
    pub cancelling: bool,
}

impl fmt::Display for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.age.as_secs() {
            0 => write!(f, "{} ms: {}", self.age.as_millis(), self.name)?,
            seconds => write!(f, "{seconds} s: {}", self.name)?,
        }
        match self.fd {
            Some(fd) => write!(f, " on fd {fd}"),
            None => Ok(()),
        }
    }
}

/// What a ring is doing and has done. All figures after `oldest` only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Kernel rings.
    pub rings: u64,
    /// Completions that the kernel owes or will owe for what is in the submission queue, those of cancellations and
    /// of the ring's own operations included.
    pub in_flight: u64,
    /// Operations that wait for a place in the queue.
    pub queued: u64,
    /// Operations in flight whose future is gone, kept ones included.
    pub orphans: u64,
    /// Those of them that stay armed for the next operation of their kind.
    pub kept: u64,
    /// Files that a ring of one thread has registered, since they are read and written often (`IOSQE_FIXED_FILE`).
    pub registered_files: u64,
    /// The operation that was started first of those in flight or queued. Timers do not count.
    pub oldest: Option<InFlight>,
    /// Operations accepted, timers included. A timer that is dropped leaves without an end: it counts here, and neither in
    /// `completed` nor in `cancelled`. So does any other that is dropped while it waits in the queue and is to be cancelled.
    pub submitted: u64,
    /// Operations that ended.
    pub completed: u64,
    /// Operations that ended with `ECANCELED`.
    pub cancelled: u64,
    /// Cancellations asked for.
    pub cancel_requests: u64,
    /// Cancellations that came too late: the operation had its result.
    pub cancel_races: u64,
    /// Operations whose future was dropped before they ended.
    pub orphaned: u64,
    /// Descriptors that arrived after their future was gone, and were closed.
    pub adopted_fds: u64,
    /// Connections that arrived for a dropped accept, and were kept for the next one.
    pub adopted_connections: u64,
    /// Bytes that arrived for a dropped receive, and were kept for the next one.
    pub adopted_bytes: u64,
    /// Operations that were put back after `EINTR` or `EAGAIN`.
    pub requeued: u64,
    /// Completions that belonged to nothing: stale, duplicate or unknown.
    pub stale_completions: u64,
    /// Calls of `io_uring_enter`; of the fallback: turns of the same kind.
    pub enters: u64,
    /// Calls of `io_uring_enter` that the kernel refused for lack of resources.
    pub enter_refusals: u64,
    /// Operations run as a plain system call: since the kernel has no opcode for them, or since it costs less (sends and
    /// reads that nothing else is handed over with); and buffers that a stream of receives has taken by one,
    /// when a runtime told it that something had arrived.
    pub plain_calls: u64,
    /// Reads and writes that named registered memory (`READ_FIXED`, `WRITE_FIXED`).
    pub registered_buffers: u64,
    /// Operations of the fallback that a thread ran, since they may wait for a disk or a name.
    pub threaded: u64,
    /// Operations of the fallback that went to Linux AIO.
    pub aio: u64,
}

impl Snapshot {
    /// Operations that have ended in plain calls, which no table has seen.
    pub(crate) fn add_plain_operations(&mut self, ended: u64) {
        self.submitted += ended;
        self.completed += ended;
        self.plain_calls += ended;
    }
}

impl std::ops::AddAssign for Snapshot {
    fn add_assign(&mut self, o: Self) {
        self.rings += o.rings;
        self.in_flight += o.in_flight;
        self.queued += o.queued;
        self.orphans += o.orphans;
        self.kept += o.kept;
        let age = |oldest: &Option<InFlight>| oldest.map(|oldest| oldest.age);
        if age(&o.oldest) > age(&self.oldest) {
            self.oldest = o.oldest;
        }
        self.submitted += o.submitted;
        self.completed += o.completed;
        self.cancelled += o.cancelled;
        self.cancel_requests += o.cancel_requests;
        self.cancel_races += o.cancel_races;
        self.orphaned += o.orphaned;
        self.adopted_fds += o.adopted_fds;
        self.adopted_connections += o.adopted_connections;
        self.adopted_bytes += o.adopted_bytes;
        self.requeued += o.requeued;
        self.stale_completions += o.stale_completions;
        self.enters += o.enters;
        self.enter_refusals += o.enter_refusals;
        self.plain_calls += o.plain_calls;
        self.registered_buffers += o.registered_buffers;
        self.registered_files += o.registered_files;
        self.threaded += o.threaded;
        self.aio += o.aio;
    }
}
