//! A kernel in memory, driven by a seed: the whole library on it, for tests of programs.
//!
//! A [`World`] has files, pipes, sockets and a clock. Its rings are [`Ring`]s like any other, with the same table,
//! driver and futures, and whatever their kernel does is drawn from the seed: which operation ends when and how, what is cut
//! short, what fails, what a crash leaves of a file. A run is a function of the seed and of the program, so a failure has a
//! number.
//!
//! ```
//! use safer_ring::OpenOptions;
//! use safer_ring::sim::{Config, World};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! for seed in 0..20 {
//!     let world = World::new(Config::new(seed));
//!     let ring = world.ring()?;
//!     world.block_on(async {
//!         let options = OpenOptions::new().write(true).create(true);
//!         let file = ring.open("/tmp/log", &options).await?;
//!         let mut line = b"one line\n".to_vec();
//!         let mut at = 0;
//!         while !line.is_empty() {
//!             let (n, back) = ring.write_at_owned(&file, line, at).await?; // may be short
//!             (line, at) = (back[n..].to_vec(), at + n as u64);
//!         }
//!         ring.fsync(&file).await
//!     })??;
//!     assert_eq!(world.read_file("/tmp/log")?, b"one line\n", "seed {seed}");
//! }
//! # Ok(()) }
//! ```
//!
//! # What is simulated
//! * Files, directories, hard and symbolic links; cursors, `O_APPEND`, `O_TMPFILE`, `O_DSYNC`, holes; renames of all kinds;
//!   syncs, and what a [crash](World::crash) leaves without them.
//! * Pipes; stream sockets and datagrams by IP address and by Unix name, with connections, queues, ends and resets;
//!   multishot receives, into buffers that the ring has lent; registered memory; polls, splice and tee; chains, batches, cancellation, deadlines.
//! * What the types of [`net`](crate::net), [`fs`](crate::fs) and [`pipe`](crate::pipe) ask beside the ring: options and addresses
//!   of sockets, cursors, second descriptors, names of hosts, entries of directories. A program that uses them runs as it is.
//! * Time: timeouts, deadlines, draining and ages are by the world's clock, which jumps to the next event when every task
//!   waits. [`Ring::now`](crate::RingOf::now) tells it.
//!
//! # What is not
//! * [`Ring::raw`](crate::RingOf::raw), control messages, `SOCK_SEQPACKET`, out-of-band data, `O_PATH`, `RESOLVE_IN_ROOT`:
//!   `EOPNOTSUPP` or `EPROTONOSUPPORT`. Permissions, owners and the alignment of `O_DIRECT`: not looked at.
//! * [`Fd::duplicate`](crate::Fd::duplicate) and `into_std`: the numbers of simulated descriptors are not the kernel's. There is
//!   [`Fd::try_clone`](crate::Fd::try_clone).
//! * Threads, and so the runtime with its timers. Shared rings work, on the thread that runs the world.
//!
//! # Dropping
//! A [`World`] is a handle. Rings and descriptors keep their kernel alive.

use std::ffi::OsString;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::ops::Range;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use safer_ring_backend::{BackendChoice, BackendKind, Config as RingConfig, Mode, SetupError, sim};

use crate::{Ring, RingOf, local};

pub use safer_ring_backend::sim::{Calls, Config, Damage, Fault, Injected, JoinHandle, Stuck};
pub use safer_ring_backend::sys::Errno;

/// Places in the submission queue of a ring that is not asked to have others.
const ENTRIES: u32 = 64;

/// A simulated kernel, with its clock, its files and everything that is open in it. A handle: cloning it makes another one of
/// the same world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct World {
    inner: sim::World,
}

impl World {
    /// A new world: `/` and `/tmp` are empty directories, nothing is open, the clock stands at 0. No system call.
    pub fn new(config: Config) -> Self {
        Self { inner: sim::World::new(config) }
    }

    fn make<M: Mode>(
        &self,
        entries: u32,
        completions: Option<u32>,
    ) -> Result<RingOf<M>, SetupError> {
        RingOf::with_config(RingConfig {
            backend: BackendChoice::Only(BackendKind::Sim),
            world: Some(self.inner.clone()),
            completions,
            ..RingConfig::new(entries)
        })
    }

    /// A ring of this world for [`World::block_on`].
    ///
    /// # Errors
    /// [`SetupError::Limit`]: a ring is memory and one eventfd of the machine, which nobody uses.
    pub fn ring(&self) -> Result<Ring, SetupError> {
        self.make(ENTRIES, None)
    }

    /// [`World::ring`] with so many places in its queues; with few of them they are full all the time.
    ///
    /// # Errors
    /// As [`World::ring`]; those of a [`Builder`](crate::Builder) for sizes that cannot be.
    pub fn ring_with(&self, entries: u32, completions: u32) -> Result<Ring, SetupError> {
        self.make(entries, Some(completions))
    }

    /// A local ring of this world. It is driven by [`World::block_on`] on the thread that made it, or by its own
    /// [`block_on`](RingOf::block_on), which lets time go by too but runs no tasks, and waits for ever for what never comes.
    ///
    /// # Errors
    /// As [`World::ring`].
    pub fn local_ring(&self) -> Result<local::Ring, SetupError> {
        self.make(ENTRIES, None)
    }

    /// [`World::local_ring`] with so many places in its queues.
    ///
    /// # Errors
    /// As [`World::ring_with`].
    pub fn local_ring_with(
        &self,
        entries: u32,
        completions: u32,
    ) -> Result<local::Ring, SetupError> {
        self.make(entries, Some(completions))
    }

    /// Runs a future, with the tasks and rings of this world, until it has ended. Which task runs next is drawn from the seed;
    /// when all wait, the clock jumps to what happens next. Tasks that have not ended then are dropped, as by a program
    /// that ends.
    ///
    /// # Errors
    /// [`Stuck`]: nothing will ever happen, something was found, or the power has gone by a [`Fault`]. The future is dropped
    /// then, as are the tasks.
    pub fn block_on<F: Future>(&self, future: F) -> Result<F::Output, Stuck> {
        self.inner.block_on(future)
    }

    /// [`World::block_on`] for so many steps, polls of tasks and rounds of the kernel. Then the future and the tasks are
    /// dropped wherever they are, and the answer is `None`. With [`World::crash`] behind it: a machine that loses its power
    /// at any moment. `None` too if the power goes by a [`Fault`] meanwhile.
    ///
    /// # Errors
    /// As [`World::block_on`].
    pub fn run_steps<F: Future>(&self, steps: u64, future: F) -> Result<Option<F::Output>, Stuck> {
        self.inner.run_steps(steps, future)
    }

    /// Starts a task on this thread, which [`World::block_on`] runs. [`JoinHandle::abort`] drops it wherever it is.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
    {
        self.inner.spawn(future)
    }

    /// The power goes, and comes back.
    ///
    /// What was not synced is lost in part: of a file, any of the sectors of 512 bytes that were written since its last
    /// sync; of the names, all changes from some point on that no sync of their directory has made safe. Operations in
    /// flight end with `EIO`, as does everything on a descriptor that was open. What is opened from now on is what was left.
    pub fn crash(&self) {
        self.inner.crash();
    }

    /// Asks for something to go wrong at a place and a time of the test's choice, beside what the seed draws: the second sync of
    /// a file fails, the power goes with the third write, an operation is held until it is released. Of several faults that
    /// are for one operation, the one that was asked for first happens; all of them count it.
    ///
    /// ```
    /// use safer_ring::sim::{Calls, Config, Errno, Fault, World};
    /// use safer_ring::fs::File;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let world = World::new(Config::calm(1));
    /// let ring = world.ring()?;
    /// let second = world.inject(Fault::error(Calls::Sync, Errno::IO).path("/log").nth(2))?;
    /// let failed = world.block_on(async {
    ///     let log = File::create(&ring, "/log").await?;
    ///     log.sync_all().await?;
    ///     log.write_all("record").await.map_err(|failed| failed.error)?;
    ///     Ok::<_, std::io::Error>(log.sync_all().await.is_err())
    /// })??;
    /// assert_eq!((failed, second.hits()), (true, 1));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `EBADF`: the descriptor of the fault is not of this world. `EIO`: it was open when the power went.
    pub fn inject(&self, fault: Fault) -> io::Result<Injected> {
        self.inner.inject(fault)
    }

    /// Resets the connection of a stream, as a machine between two others does: whichever end uses it next is told
    /// (`ECONNRESET`), and some of what was sent and not received is lost.
    ///
    /// # Errors
    /// `ENOTCONN`: it has no connection, or none any more. `ENOTSOCK`; `EBADF` if it is not of this world; `EIO` if it was
    /// open when the power went.
    pub fn reset(&self, stream: &impl AsFd) -> io::Result<()> {
        self.inner.reset(stream)
    }

    /// Damages bytes of a file on the disk, which nobody notices before they are read: `EIO`, or other bytes than were
    /// written. [`Damage::Unreadable`] is of whole sectors of 512 bytes, those that the range touches. What has been written and
    /// not synced is in memory, and bits of it do not rot.
    ///
    /// # Errors
    /// `EINVAL`: the range is empty, or goes beyond the end of the file. `ENOENT` and the others of path_resolution(7);
    /// `EISDIR`.
    pub fn damage(
        &self,
        path: impl AsRef<Path>,
        range: Range<u64>,
        damage: Damage,
    ) -> io::Result<()> {
        self.inner.damage(path, range, damage)
    }

    /// The world's clock: how long it has existed.
    pub fn now(&self) -> Duration {
        self.inner.now()
    }

    /// [`World::now`] as a point in time, for what takes one: [`RingOf::now`] of its rings.
    pub fn instant(&self) -> Instant {
        self.inner.instant()
    }

    /// Tells the addresses of a host, for look-ups of its name by the types of [`net`](crate::net). `localhost` is known.
    pub fn add_host(&self, name: impl Into<String>, addresses: impl IntoIterator<Item = IpAddr>) {
        self.inner.add_host(name, addresses.into_iter().collect());
    }

    /// The seed that it was made with.
    pub fn seed(&self) -> u64 {
        self.inner.seed()
    }

    /// A number below `limit` (0 if that is 0), from the seed: for a program's own choices.
    pub fn random(&self, limit: u64) -> u64 {
        self.inner.random(limit)
    }

    /// The last lines of what has happened: [`Config::trace_lines`] of them.
    pub fn trace(&self) -> Vec<String> {
        self.inner.trace()
    }

    /// A number for all that has happened. Two runs of one program with one seed have the same.
    pub fn trace_hash(&self) -> u64 {
        self.inner.trace_hash()
    }

    /// A line of the program's own in the trace.
    pub fn note(&self, line: impl fmt::Display) {
        self.inner.note(line);
    }

    /// What was found to be wrong: memory that was used while an operation had it, descriptors that were closed twice.
    /// [`World::block_on`] gives it as an error too.
    pub fn findings(&self) -> Vec<String> {
        self.inner.findings()
    }

    /// Descriptors that are open.
    pub fn descriptors(&self) -> usize {
        self.inner.descriptors()
    }

    /// What is in flight, a line each.
    pub fn operations(&self) -> Vec<String> {
        self.inner.operations()
    }

    /// Changes what goes wrong, from now on: a disk that is full later. The seed stays.
    pub fn reconfigure(&self, change: impl FnOnce(&mut Config)) {
        self.inner.reconfigure(change);
    }

    /// The bytes of a file, as a read would give them, without an operation: for checks.
    ///
    /// # Errors
    /// `ENOENT` and the others of path_resolution(7); `EISDIR`; `EIO` where they cannot be read.
    pub fn read_file(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        self.inner.read_file(path)
    }

    /// The names in a directory, in order, without an operation: for checks.
    ///
    /// # Errors
    /// `ENOENT` and the others of path_resolution(7); `ENOTDIR`.
    pub fn list(&self, path: impl AsRef<Path>) -> io::Result<Vec<OsString>> {
        self.inner.list(path)
    }
}
