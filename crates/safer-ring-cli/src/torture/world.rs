//! What all lanes of a run share: when to stop, what went wrong, who is doing what, the buffers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use safer_ring::{BufferPool, PooledBuffer, Snapshot};

use super::pattern::{Kind, Wrong};
use super::tally::{Scenario, Tally};
use super::trail::Trail;

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Something that must not happen has happened.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// Where: the lane and its present work.
    pub(crate) place: String,
    pub(crate) what: String,
    pub(crate) damage: Damage,
}

/// What a failure does to the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    Lost(u64),
    Duplicated(u64),
    Leaked(u64),
    /// Wrong contents, an unexpected error, no progress.
    Other,
}

/// One run in one mode.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) seed: u64,
    /// How long a lane may go without progress.
    pub(crate) patience: Duration,
    pub(crate) tally: Tally,
    pub(crate) pools: Pools,
    /// The ring's figures, as they were a moment ago.
    pub(crate) snapshot: Mutex<Snapshot>,
    stop: AtomicBool,
    failure: Mutex<Option<Failure>>,
    lanes: Mutex<Vec<Arc<Status>>>,
}

impl World {
    pub(crate) fn new(seed: u64, patience: Duration) -> Result<Self, String> {
        Ok(Self {
            seed,
            patience,
            tally: Tally::new(),
            pools: Pools::new()?,
            snapshot: Mutex::default(),
            stop: AtomicBool::new(false),
            failure: Mutex::default(),
            lanes: Mutex::default(),
        })
    }

    /// Lanes bring what they do to an end.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// The first failure ends the run: lanes that leave their work because of it would only add its consequences.
    pub(crate) fn fail(&self, place: &Status, what: impl Into<String>, damage: Damage) {
        let failure = Failure { place: place.describe(), what: what.into(), damage };
        lock(&self.failure).get_or_insert(failure);
        self.stop();
    }

    /// Wrong bytes in a stream.
    pub(crate) fn fail_bytes(&self, place: &Status, stream: u64, who: &str, wrong: &Wrong) {
        let damage = match wrong.kind {
            Kind::Lost(n) => Damage::Lost(n),
            Kind::Repeated(n) => Damage::Duplicated(n),
            Kind::Foreign => Damage::Other,
        };
        let trail = place.trail.around(stream, wrong.offset);
        self.fail(place, format!("{who}: {wrong}{trail}"), damage);
    }

    pub(crate) fn failure(&self) -> Option<Failure> {
        lock(&self.failure).clone()
    }

    pub(crate) fn failed(&self) -> bool {
        self.stopping() && lock(&self.failure).is_some()
    }

    /// A new lane, watched from now on.
    pub(crate) fn lane(&self, scenario: Scenario, name: String) -> Arc<Status> {
        let status = Arc::new(Status {
            scenario,
            name,
            beats: AtomicU64::new(0),
            active: AtomicBool::new(true),
            doing: Mutex::default(),
            trail: Trail::default(),
        });
        lock(&self.lanes).push(Arc::clone(&status));
        status
    }

    pub(crate) fn lanes(&self) -> Vec<Arc<Status>> {
        lock(&self.lanes).clone()
    }

    /// Whether every lane has come to its end.
    pub(crate) fn all_done(&self) -> bool {
        lock(&self.lanes).iter().all(|lane| !lane.active())
    }
}

/// What a lane shows to the watchdog.
#[derive(Debug)]
pub(crate) struct Status {
    pub(crate) scenario: Scenario,
    pub(crate) name: String,
    beats: AtomicU64,
    active: AtomicBool,
    doing: Mutex<String>,
    pub(crate) trail: Trail,
}

impl Status {
    /// Something got done: bytes arrived, a block was verified. Drops alone are no progress.
    pub(crate) fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    pub(crate) fn begin(&self, doing: String) {
        *lock(&self.doing) = doing;
        self.beat();
    }

    pub(crate) fn finish(&self) {
        self.active.store(false, Ordering::Release);
    }

    pub(crate) fn active(&self) -> bool {
        self.active.load(Ordering::Acquire)
    }

    pub(crate) fn describe(&self) -> String {
        format!("{}: {}", self.name, lock(&self.doing))
    }
}

/// Buffers of a few sizes, each counted by its pool; their number bounds the memory.
#[derive(Debug)]
pub(crate) struct Pools {
    sizes: [BufferPool; 3],
    aligned: BufferPool,
}

/// Bytes of the largest stream buffer.
pub(crate) const LARGEST: usize = 65_536;
/// Bytes of a buffer for direct I/O.
pub(crate) const ALIGNED: usize = 16_384;

impl Pools {
    fn new() -> Result<Self, String> {
        let pool = |count, size, align| {
            BufferPool::aligned(count, size, align).map_err(|error| error.to_string())
        };
        Ok(Self {
            sizes: [pool(2048, 512, 1)?, pool(1024, 4096, 1)?, pool(256, LARGEST, 1)?],
            aligned: pool(512, ALIGNED, 4096)?,
        })
    }

    /// A buffer with room for so many bytes, if one is free.
    pub(crate) fn take(&self, room: usize) -> Option<PooledBuffer> {
        self.sizes.iter().find(|pool| pool.buffer_size() >= room)?.take()
    }

    /// A buffer for direct I/O, if one is free.
    pub(crate) fn take_aligned(&self) -> Option<PooledBuffer> {
        self.aligned.take()
    }

    /// Buffers that are not in their pool.
    pub(crate) fn out(&self) -> usize {
        self.sizes.iter().chain([&self.aligned]).map(|pool| pool.stats().taken).sum()
    }
}
