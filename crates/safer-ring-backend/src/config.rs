//! What a ring is asked to be.

use std::time::Duration;

use crate::error::SetupError;
use crate::placement::Place;
use crate::sim::World;

/// The largest submission queue a kernel makes: `io_uring_setup(2)`.
pub const MAX_ENTRIES: u32 = 32_768;

/// A kernel thread that polls the submission queue (`IORING_SETUP_SQPOLL`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sqpoll {
    /// How long the thread spins without work before it sleeps; millisecond resolution.
    pub idle: Duration,
    /// The CPU it is bound to, if any.
    pub cpu: Option<u32>,
}

/// What runs the operations of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BackendKind {
    /// A ring of the kernel: `io_uring(7)`.
    IoUring,
    /// Readiness by `epoll(7)`, Linux AIO and a pool of threads.
    Fallback,
    /// A kernel in this program's memory: [`crate::sim`]. Rings of it are made by their world only.
    Sim,
}

/// Which backend a ring may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BackendChoice {
    /// io_uring if it can be had and works, else the fallback. The environment variable `SAFER_RING_BACKEND` can say
    /// otherwise: `io_uring`, `fallback`, or `auto` for this.
    #[default]
    Auto,
    /// This one or none, whatever the environment says.
    Only(BackendKind),
}

/// What the fallback may use besides `epoll(7)` and threads, which do whatever these do not. For tests, which force each
/// part, and for comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FallbackParts {
    /// Linux AIO, for files opened with `O_DIRECT` and for flushes; `io_submit(2)`.
    pub aio: bool,
    /// `RWF_NOWAIT`, for files and pipes; `preadv2(2)`, kernel 4.14.
    pub nowait: bool,
}

impl Default for FallbackParts {
    fn default() -> Self {
        Self { aio: true, nowait: true }
    }
}

/// Everything that shapes a ring. `safer_ring::Builder` is its public face.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What may run the operations.
    pub backend: BackendChoice,
    /// Whether [`BackendChoice::Auto`] falls back for want of descriptors or memory too.
    pub fallback_when_exhausted: bool,
    /// Submission entries, 1 to 32768; the kernel rounds up to a power of two.
    pub entries: u32,
    /// Completion entries, if not twice the submission entries and at least 1024.
    pub completions: Option<u32>,
    /// Submission by a kernel thread.
    pub sqpoll: Option<Sqpoll>,
    /// Busy-polled completions: `O_DIRECT` files on devices with poll queues only.
    pub iopoll: bool,
    /// Completions of 32 bytes, whose second half raw entries get.
    pub wide_completions: bool,
    /// Submissions of 128 bytes, whose second half raw entries fill.
    pub wide_entries: bool,
    /// Most worker threads of the kernel: bounded (files) and unbounded (everything else).
    pub io_wq_limits: Option<[u32; 2]>,
    /// Let the kernel refuse each opcode that this library does not use itself.
    pub restricted: bool,
    /// Setup flags never to use, for comparisons and for tests of the ladder.
    pub without_setup_flags: u32,
    /// Opcodes to treat as absent, for tests of the plain system calls in their place.
    pub without_opcodes: Vec<u8>,
    /// What the fallback may use.
    pub fallback_parts: FallbackParts,
    /// Most kernel rings that a shared ring makes; more threads than this share them.
    pub max_rings: usize,
    /// Where each kernel ring is made, and where its workers run.
    pub place: Place,
    /// The simulated kernel that a ring of [`BackendKind::Sim`] belongs to.
    pub world: Option<World>,
}

impl Config {
    /// The defaults, with `entries` submission entries.
    pub fn new(entries: u32) -> Self {
        Self {
            backend: BackendChoice::Auto,
            fallback_when_exhausted: false,
            entries,
            completions: None,
            sqpoll: None,
            iopoll: false,
            wide_completions: false,
            wide_entries: false,
            io_wq_limits: None,
            restricted: false,
            without_setup_flags: 0,
            without_opcodes: Vec::new(),
            fallback_parts: FallbackParts::default(),
            max_rings: 64,
            place: Place::default(),
            world: None,
        }
    }

    /// Whether it asks for a mode of io_uring that no other backend has, nor each kernel.
    pub(crate) fn has_mode(&self) -> bool {
        self.sqpoll.is_some() || self.iopoll || self.wide_completions || self.wide_entries
    }

    /// Refuses what no kernel could grant, before any system call.
    pub(crate) fn check(&self) -> Result<(), SetupError> {
        if self.entries == 0 || self.entries > MAX_ENTRIES {
            return Err(SetupError::Entries { asked: self.entries });
        }
        if let Some(completions) = self.completions
            && (completions < self.entries || completions > 2 * MAX_ENTRIES)
        {
            return Err(SetupError::Conflict {
                what: "a ring needs at least as many completion entries as submission entries, and at most 65536",
            });
        }
        if self.backend == BackendChoice::Only(BackendKind::Sim) && self.world.is_none() {
            return Err(SetupError::Conflict {
                what: "a simulated ring is made by its world: `sim::World::ring`",
            });
        }
        if self.max_rings == 0 {
            return Err(SetupError::Conflict {
                what: "a shared ring needs at least one kernel ring",
            });
        }
        Ok(())
    }
}
