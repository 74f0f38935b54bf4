//! The handle on a world, and what of the library runs in it.

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use safer_ring_sys::{Errno, OtherSide};

use super::config::Config;
use super::disk::Damage;
use super::exec;
use super::kernel::{Kernel, Machine};
use super::paths::Walk;
use super::port::Port;
use super::tree::Node;
use super::{narrow, number};
use crate::local::LocalCell;
use crate::shared::SharedCell;

/// A simulated kernel, with its clock, its files and everything that is open in it.
///
/// A handle: cloning it makes another one of the same world. What is made in a world works in that world only.
#[derive(Clone)]
pub struct World {
    inner: Arc<Inner>,
}

struct Inner {
    machine: Arc<Machine>,
    rings: Mutex<Rings>,
}

#[derive(Default)]
struct Rings {
    shared: Vec<Weak<SharedCell>>,
    /// Those without handles that have something in flight.
    kept: Vec<Arc<SharedCell>>,
}

/// The way back from a ring to its world.
#[derive(Clone)]
pub(crate) struct Home {
    inner: Weak<Inner>,
}

fn lock(rings: &Mutex<Rings>) -> MutexGuard<'_, Rings> {
    rings.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Home {
    /// A ring without handles lives on until nothing of it is in flight.
    pub(crate) fn keep(&self, cell: &Arc<SharedCell>) {
        if let Some(inner) = self.inner.upgrade() {
            lock(&inner.rings).kept.push(Arc::clone(cell));
        }
    }

    /// Nothing of the ring is in flight any more.
    pub(crate) fn forget(&self, id: u64) {
        if let Some(inner) = self.inner.upgrade() {
            let mut rings = lock(&inner.rings);
            let gone: Vec<_> = rings.kept.extract_if(.., |cell| cell.id() == id).collect();
            drop(rings);
            drop(gone);
        }
    }
}

impl World {
    /// A new world: `/` and `/tmp` are empty directories, nothing is open, the clock stands at 0.
    pub fn new(config: Config) -> Self {
        let machine = number::place(|| Kernel::new(&config));
        Self { inner: Arc::new(Inner { machine, rings: Mutex::default() }) }
    }

    /// The seed that it was made with.
    pub fn seed(&self) -> u64 {
        self.kernel().config.seed
    }

    /// The world's clock: how long it has existed.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.kernel().now())
    }

    /// [`World::now`] as a point in time, for what takes one.
    pub fn instant(&self) -> Instant {
        crate::beside::in_world(self)
    }

    /// Tells the addresses of a host, for look-ups of its name. `localhost` is known.
    pub fn add_host(&self, name: impl Into<String>, addresses: Vec<IpAddr>) {
        self.kernel().hosts.insert(name.into(), addresses);
    }

    /// A number below `limit` (0 if that is 0), from the seed: for a program's own choices.
    pub fn random(&self, limit: u64) -> u64 {
        self.kernel().rng.below(limit)
    }

    /// The last lines of what has happened: [`Config::trace_lines`] of them.
    pub fn trace(&self) -> Vec<String> {
        self.kernel().trace()
    }

    /// A number for all that has happened. Two runs of one program with one seed have the same.
    pub fn trace_hash(&self) -> u64 {
        self.kernel().hash()
    }

    /// A line of the program's own in the trace.
    pub fn note(&self, line: impl fmt::Display) {
        self.kernel().note(format_args!("program: {line}"));
    }

    /// What was found to be wrong: memory that was used while an operation had it, descriptors that were closed twice.
    /// [`World::block_on`] gives it as an error too.
    pub fn findings(&self) -> Vec<String> {
        self.kernel().findings.clone()
    }

    /// Descriptors that are open.
    pub fn descriptors(&self) -> usize {
        self.kernel().descriptors()
    }

    /// What is in flight, a line each.
    pub fn operations(&self) -> Vec<String> {
        self.kernel().in_flight()
    }

    /// Changes what goes wrong, from now on. The seed stays.
    pub fn reconfigure(&self, change: impl FnOnce(&mut Config)) {
        change(&mut self.kernel().config);
    }

    /// The power goes, and comes back.
    ///
    /// What was not synced is lost in part: of a file, any of the sectors of 512 bytes that were written since its last
    /// sync; of the names, all changes from some point on that no sync of their directory has made safe. Operations in
    /// flight end with `EIO`, as does everything on a descriptor that was open. What is opened from now on is what was left.
    pub fn crash(&self) {
        self.kernel().crash();
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
    ) -> std::io::Result<()> {
        let mut kernel = self.kernel();
        let id = kernel.find_path(-1, path.as_ref().as_os_str().as_bytes(), Walk::TO_TARGET)?;
        Ok(kernel.damage(id, narrow(range.start)..narrow(range.end), damage)?)
    }

    /// Resets the connection of a stream, as a machine between two others does: whichever end uses it next is told
    /// (`ECONNRESET`), and some of what was sent and not received is lost.
    ///
    /// # Errors
    /// `ENOTCONN`: it has no connection, or none any more. `ENOTSOCK`; `EBADF` if it is not of this world; `EIO` if it was
    /// open when the power went.
    pub fn reset(&self, stream: &impl AsFd) -> std::io::Result<()> {
        let fd = stream.as_fd().as_raw_fd();
        if !number::is_of(fd, self.place()) {
            return Err(Errno::BADF.into());
        }
        Ok(self.kernel().reset(fd)?)
    }

    /// The bytes of a file, as a read would give them, without an operation. For checks.
    ///
    /// # Errors
    /// `ENOENT` and the others of path_resolution(7); `EISDIR`; `EIO` where they cannot be read.
    pub fn read_file(&self, path: impl AsRef<Path>) -> std::io::Result<Vec<u8>> {
        let mut kernel = self.kernel();
        let id = kernel.find_path(-1, path.as_ref().as_os_str().as_bytes(), Walk::TO_TARGET)?;
        let content = kernel.tree.content(id)?;
        let size = content.now.len();
        if content.readable(0, size)? < size {
            return Err(Errno::IO.into());
        }
        Ok(content.now.clone())
    }

    /// The names in a directory, in order, without an operation. For checks, and since there is no operation for it.
    ///
    /// # Errors
    /// `ENOENT` and the others of path_resolution(7); `ENOTDIR`.
    pub fn list(&self, path: impl AsRef<Path>) -> std::io::Result<Vec<std::ffi::OsString>> {
        let kernel = self.kernel();
        let id = kernel.find_path(-1, path.as_ref().as_os_str().as_bytes(), Walk::TO_TARGET)?;
        if !matches!(kernel.tree.inodes.get(&id).map(|inode| &inode.node), Some(Node::Dir(_))) {
            return Err(Errno::NOTDIR.into());
        }
        let name = |name: Vec<u8>| std::os::unix::ffi::OsStringExt::from_vec(name);
        Ok(kernel.list(id)?.into_keys().map(name).collect())
    }

    pub(crate) fn kernel(&self) -> MutexGuard<'_, Kernel> {
        self.inner.machine.lock()
    }

    /// Whether rings that are made now have multishot receives.
    pub(crate) fn has_multishot(&self) -> bool {
        self.kernel().config.multishot
    }

    /// Its place among the worlds of this process.
    pub(super) fn place(&self) -> usize {
        self.inner.machine.place
    }

    /// A ring's side of this kernel.
    pub(crate) fn port(&self, other: OtherSide) -> Port {
        Port::new(Arc::clone(&self.inner.machine), other)
    }

    pub(crate) fn home(&self) -> Home {
        Home { inner: Arc::downgrade(&self.inner) }
    }

    pub(crate) fn add_shared(&self, cell: &Arc<SharedCell>) {
        lock(&self.inner.rings).shared.push(Arc::downgrade(cell));
    }

    pub(crate) fn add_local(&self, cell: &Rc<LocalCell>) {
        exec::add_local(self.place(), cell);
    }

    /// The shared rings that are there.
    pub(super) fn shared_rings(&self) -> Vec<Arc<SharedCell>> {
        let mut rings = lock(&self.inner.rings);
        rings.shared.retain(|cell| cell.strong_count() > 0);
        rings.shared.iter().filter_map(Weak::upgrade).collect()
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

impl Eq for World {}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("seed", &self.seed()).field("now", &self.now()).finish()
    }
}
