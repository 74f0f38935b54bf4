//! Faults that a test asks for by name: which operations, the how manyth of them, and what becomes of it.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use safer_ring_sys::Errno;

use super::calls::Call;
use super::files::Kind;
use super::kernel::{Effect, Flight, Kernel, State};
use super::paths::{Last, Walk};
use super::world::World;

/// Operations that a [`Fault`] can be for, by what they do; how the library asks for it does not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Calls {
    /// Whatever has a descriptor or a path, but for polls.
    Any,
    /// Reads and receives.
    Read,
    /// Writes and sends.
    Write,
    /// `fsync` and `fdatasync`.
    Sync,
    /// Opening a file or directory, or making one to open it.
    Open,
    /// Closing, where that is an operation. A handle that is dropped closes without one.
    Close,
    /// Renames.
    Rename,
    /// Removing names of files and directories.
    Remove,
    /// Making directories, links and symbolic links.
    Link,
    /// `statx`.
    Status,
    /// `ftruncate` and `fallocate`.
    Resize,
    /// Connecting a socket.
    Connect,
    /// Accepting connections.
    Accept,
    /// `bind` and `listen`.
    Bind,
    /// Ending a direction of a connection.
    Shutdown,
}

impl Calls {
    fn of(call: &Call) -> Option<Self> {
        Some(match call {
            Call::Read { .. } | Call::Recv { .. } | Call::RecvMulti { .. } => Self::Read,
            Call::Write { .. } | Call::Send { .. } => Self::Write,
            Call::Fsync => Self::Sync,
            Call::Open { .. } => Self::Open,
            Call::Close { .. } => Self::Close,
            Call::Rename { .. } => Self::Rename,
            Call::Unlink { .. } => Self::Remove,
            Call::Mkdir { .. } | Call::Symlink { .. } | Call::Link { .. } => Self::Link,
            Call::Statx { .. } => Self::Status,
            Call::Ftruncate { .. } | Call::Fallocate { .. } => Self::Resize,
            Call::Connect { .. } => Self::Connect,
            Call::Accept { .. } => Self::Accept,
            Call::Bind { .. } | Call::Listen { .. } => Self::Bind,
            Call::Shutdown { .. } => Self::Shutdown,
            Call::Splice { .. } | Call::Tee { .. } => Self::Any,
            _ => return None,
        })
    }
}

/// What becomes of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Fails(Errno),
    IsHeld,
    /// The power goes while it is under way.
    Crashes,
    /// It is done, and then the power goes.
    CrashesAfter,
}

/// Where an operation is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Anywhere,
    Path(PathBuf),
    Descriptor(RawFd),
}

/// Something that goes wrong at a place and a time that a test names, for [`World::inject`].
///
/// ```
/// use safer_ring_backend::sim::{Calls, Config, Fault, World};
/// use safer_ring_backend::sys::Errno;
///
/// # fn main() -> std::io::Result<()> {
/// let world = World::new(Config::calm(1));
/// let second = world.inject(Fault::error(Calls::Sync, Errno::IO).path("/log").nth(2))?;
/// // .. the program ..
/// assert_eq!((second.seen(), second.hits()), (0, 0), "nothing was synced");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    calls: Calls,
    place: Place,
    first: u64,
    times: u64,
    then: Then,
}

impl Fault {
    fn new(calls: Calls, then: Then) -> Self {
        Self { calls, place: Place::Anywhere, first: 1, times: 1, then }
    }

    /// The operation ends with an error, and has done nothing but what [`Config::errors`](super::Config::errors) says: a sync
    /// that fails loses what it should have written, a reset breaks the connection for its peer too, a close has closed.
    pub fn error(calls: Calls, errno: Errno) -> Self {
        Self::new(calls, Then::Fails(errno))
    }

    /// The operation does not begin until [`Injected::release`]. It can be cancelled meanwhile, as one that waits.
    pub fn hold(calls: Calls) -> Self {
        Self::new(calls, Then::IsHeld)
    }

    /// The power goes while the operation is under way. Of a write, any sectors have reached the disk; others have not been
    /// done. Whatever [`World::block_on`] runs ends there, with [`Stuck::Crashed`](super::Stuck::Crashed).
    pub fn crash(calls: Calls) -> Self {
        Self::new(calls, Then::Crashes)
    }

    /// The power goes when the operation has been done. The program may be told that it was, and does no more than that. If it
    /// waits for something, the power goes while it does.
    pub fn crash_after(calls: Calls) -> Self {
        Self::new(calls, Then::CrashesAfter)
    }

    /// Only operations on what this path names when they begin, and on the name itself: opening, renaming it or another one
    /// to it, removing it.
    #[must_use]
    pub fn path(mut self, path: impl AsRef<Path>) -> Self {
        self.place = Place::Path(path.as_ref().to_owned());
        self
    }

    /// Only operations on the file or socket that this descriptor leads to, by whichever descriptor they come.
    #[must_use]
    pub fn on(mut self, fd: &impl AsFd) -> Self {
        self.place = Place::Descriptor(fd.as_fd().as_raw_fd());
        self
    }

    /// The `n`th of these operations from now on is the first that it is for; the first one is 1, as is 0. They are counted as
    /// they begin; one that the library tries again, since it was interrupted or put off, counts once.
    #[must_use]
    pub fn nth(mut self, n: u64) -> Self {
        self.first = n.max(1);
        self
    }

    /// It is for so many of them in a row, in place of one: `u64::MAX` is all from there on.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }
}

/// A fault that a world has. Dropping this leaves it there.
#[derive(Clone)]
pub struct Injected {
    world: World,
    at: usize,
}

impl Injected {
    fn look<T: Default>(&self, what: impl FnOnce(&Entry) -> T) -> T {
        self.world.kernel().injected.all.get(self.at).map(what).unwrap_or_default()
    }

    /// Operations that it could have been for, so far.
    pub fn seen(&self) -> u64 {
        self.look(|entry| entry.seen)
    }

    /// Operations that it was for, so far. A test that has asked for a fault looks whether there was one.
    pub fn hits(&self) -> u64 {
        self.look(|entry| entry.hits)
    }

    /// Ends it. What it holds begins now.
    pub fn release(&self) {
        self.world.kernel().release(self.at);
    }
}

impl fmt::Debug for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seen, hits) = (self.seen(), self.hits());
        f.debug_struct("Injected").field("seen", &seen).field("hits", &hits).finish()
    }
}

#[derive(Debug)]
struct Entry {
    fault: Fault,
    /// What the descriptor led to.
    kind: Option<Kind>,
    seen: u64,
    hits: u64,
    over: bool,
}

/// The faults of a world, and what has come of them.
#[derive(Debug, Default)]
pub(super) struct Injections {
    all: Vec<Entry>,
    /// Somebody runs a program in this world, and stops when the power goes.
    pub(super) watched: bool,
    /// It went. What the program does before it is stopped does not happen.
    pub(super) down: bool,
}

impl World {
    /// Asks for something to go wrong, beside what [`Config`](super::Config) draws from the seed. Of several faults that are
    /// for one operation, the one that was asked for first happens; all of them count it.
    ///
    /// # Errors
    /// `EBADF`: the descriptor of the fault is not of this world. `EIO`: it was open when the power went.
    pub fn inject(&self, fault: Fault) -> std::io::Result<Injected> {
        let mut kernel = self.kernel();
        let kind = match fault.place {
            Place::Descriptor(fd) if super::number::is_of(fd, self.place()) => {
                Some(kernel.opened(fd)?.kind)
            }
            Place::Descriptor(_) => return Err(Errno::BADF.into()),
            _ => None,
        };
        let at = kernel.injected.all.len();
        kernel.injected.all.push(Entry { fault, kind, seen: 0, hits: 0, over: false });
        drop(kernel);
        Ok(Injected { world: self.clone(), at })
    }
}

impl Kernel {
    /// An operation begins: as faults say, or as ever.
    pub(super) fn begin(&mut self, mut flight: Flight) {
        if self.injected.down && !flight.is_timer() {
            return self.finish(flight, Effect::error(Errno::IO));
        }
        match self.fault_for(&flight) {
            None => self.attempt(flight),
            Some((_, Then::Fails(errno))) => {
                self.note(format_args!("#{} {} is to fail: {errno}", flight.id, flight.name));
                self.suffer(&flight, errno);
                self.finish(flight, Effect::error(errno));
            }
            Some((at, Then::IsHeld)) => {
                self.note(format_args!("#{} {} is held", flight.id, flight.name));
                flight.state = State::Held(at);
                self.flights.insert(flight.id, flight);
            }
            Some((_, Then::Crashes)) => {
                flight.state = State::Scheduled(self.now());
                self.flights.insert(flight.id, flight);
                self.go_down();
            }
            Some((_, Then::CrashesAfter)) => {
                self.attempt(flight);
                self.go_down();
            }
        }
    }

    fn go_down(&mut self) {
        self.crash();
        self.injected.down = self.injected.watched;
    }

    /// What a fault makes of an operation, and which one.
    fn fault_for(&mut self, flight: &Flight) -> Option<(usize, Then)> {
        let kind = Calls::of(&flight.call)?;
        let concerned: Vec<usize> = (0..self.injected.all.len())
            .filter(|at| {
                self.injected.all.get(*at).is_some_and(|entry| {
                    let calls = entry.fault.calls;
                    !entry.over
                        && (calls == Calls::Any || calls == kind)
                        && self.concerns(entry, flight)
                })
            })
            .collect();
        let mut chosen = None;
        for at in concerned {
            let Some(entry) = self.injected.all.get_mut(at) else { continue };
            entry.seen += 1;
            let since = entry.seen.checked_sub(entry.fault.first);
            let due = since.is_some_and(|since| since < entry.fault.times);
            if due && chosen.is_none() {
                entry.hits += 1;
                chosen = Some((at, entry.fault.then));
            }
        }
        chosen
    }

    fn concerns(&self, entry: &Entry, flight: &Flight) -> bool {
        let fd = if let Call::Close { fd } = flight.call { fd } else { flight.fd };
        let kinds = || {
            let both = [fd, flight.other].into_iter();
            both.filter_map(|fd| self.opened(fd).ok().map(|open| open.kind))
        };
        match &entry.fault.place {
            Place::Anywhere => true,
            Place::Descriptor(_) => {
                names_of(&flight.call).is_empty() && kinds().any(|kind| Some(kind) == entry.kind)
            }
            Place::Path(path) => {
                let path = path.as_os_str().as_bytes();
                let names = names_of(&flight.call);
                if names.is_empty() {
                    let id = self.find_path(-1, path, Walk::TO_TARGET).ok();
                    return id.is_some_and(|id| kinds().any(|kind| kind == Kind::Node(id)));
                }
                names.iter().any(|name| self.is_same(flight.fd, name, path))
            }
        }
    }

    /// Whether two paths, the first of them from a directory on, are of one name or of one file.
    fn is_same(&self, dir: RawFd, one: &[u8], other: &[u8]) -> bool {
        let targets =
            (self.find_path(dir, one, Walk::TO_TARGET), self.find_path(-1, other, Walk::TO_TARGET));
        if let (Ok(one), Ok(other)) = targets {
            return one == other;
        }
        let names = (self.walk(dir, one, Walk::TO_NAME), self.walk(-1, other, Walk::TO_NAME));
        let (Ok(one), Ok(other)) = names else { return false };
        one.last == Last::Name
            && (one.dir, &one.name, one.last) == (other.dir, &other.name, other.last)
    }

    fn release(&mut self, at: usize) {
        if let Some(entry) = self.injected.all.get_mut(at) {
            entry.over = true;
        }
        let now = self.now();
        for flight in self.flights.values_mut() {
            if matches!(flight.state, State::Held(by) if by == at) {
                flight.state = State::Scheduled(now);
            }
        }
    }

    /// Sockets and pipes are gone with the power, and faults that were for one of them.
    pub(super) fn forget_faults(&mut self) {
        for entry in &mut self.injected.all {
            entry.over |= entry.kind.is_some_and(|kind| !matches!(kind, Kind::Node(_)));
        }
    }
}

/// The paths that a call names something by.
fn names_of(call: &Call) -> Vec<&[u8]> {
    match call {
        Call::Statx { path, .. } if path.is_empty() => Vec::new(),
        Call::Open { path, .. }
        | Call::Statx { path, .. }
        | Call::Unlink { path, .. }
        | Call::Mkdir { path, .. }
        | Call::Symlink { path, .. } => vec![path],
        Call::Rename { from, to, .. } | Call::Link { from, to } => vec![from, to],
        _ => Vec::new(),
    }
}
