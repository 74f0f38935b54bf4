//! The one thread of the process that reaps the shared rings nobody else is reaping.
//!
//! * It sleeps in epoll. A ring is watched only while it has something pending, and for one event at a
//!   time (`EPOLLONESHOT`); whoever leaves something pending watches it again. `EPOLL_CTL_MOD` looks at the
//!   ring once more, so a completion that came in between is seen. Watching takes no lock of the reactor.
//! * It knows the rings weakly; one whose handles are all gone but which has work in flight is kept here
//!   until its last completion.
//! * It is started with the first shared ring and lives as long as the process; without work it uses no
//!   CPU. A forked child has none, and its parent's rings refuse work there (invariant 15); a ring that
//!   the child makes starts one of its own.

use std::collections::HashMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno as OsErrno;
use safer_ring_sys::{Errno, fork};

use crate::shared::SharedCell;

/// How often a ring is tried again that could not hand its work over for lack of kernel resources.
const RETRY: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
const EVENTS: usize = 64;
/// The epoll data of the bell; rings count from 1.
const BELL: u64 = 0;

/// The reactor as the rings hold it.
#[derive(Debug)]
pub(crate) struct Reactor {
    epoll: OwnedFd,
    bell: OwnedFd,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    cells: HashMap<u64, Weak<SharedCell>>,
    /// Without handles, with work in flight.
    kept: HashMap<u64, Arc<SharedCell>>,
    retries: Vec<Weak<SharedCell>>,
}

static REACTOR: Mutex<Option<(u32, Arc<Reactor>)>> = Mutex::new(None);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn errno(e: OsErrno) -> Errno {
    Errno::from_raw_os_error(e.raw_os_error()).unwrap_or(Errno::IO)
}

/// The reactor of this process, started if it is not running.
pub(crate) fn start() -> Result<Arc<Reactor>, Errno> {
    let epoch = fork::arm()?;
    let mut running = lock(&REACTOR);
    if let Some((owner, reactor)) = &*running
        && *owner == epoch
    {
        return Ok(Arc::clone(reactor));
    }
    let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(errno)?;
    let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(errno)?;
    epoll::add(&epoll, &bell, EventData::new_u64(BELL), EventFlags::IN).map_err(errno)?;
    let reactor = Arc::new(Reactor { epoll, bell, known: Mutex::default() });
    let own = Arc::clone(&reactor);
    std::thread::Builder::new().name("safer-ring".into()).spawn(move || own.run()).map_err(
        |e| {
            Errno::from_raw_os_error(e.raw_os_error().unwrap_or(libc::EAGAIN))
                .unwrap_or(Errno::AGAIN)
        },
    )?;
    // A parent's reactor belongs to the parent: neither its descriptors nor its rings are touched.
    std::mem::forget(running.replace((epoch, Arc::clone(&reactor))));
    Ok(reactor)
}

impl Reactor {
    /// Makes a ring known, not yet watched.
    pub(crate) fn register(&self, cell: &Arc<SharedCell>, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        let data = EventData::new_u64(cell.id());
        epoll::add(&self.epoll, fd, data, EventFlags::ONESHOT).map_err(errno)?;
        lock(&self.known).cells.insert(cell.id(), Arc::downgrade(cell));
        Ok(())
    }

    /// One turn of the ring when it becomes readable next, or now if it is.
    #[inline]
    pub(crate) fn watch(&self, id: u64, fd: BorrowedFd<'_>) {
        // Cannot fail: the ring is registered until its descriptor closes.
        let watched = epoll::modify(
            &self.epoll,
            fd,
            EventData::new_u64(id),
            EventFlags::IN | EventFlags::ONESHOT,
        );
        debug_assert!(watched.is_ok(), "a registered ring can be watched: {watched:?}");
    }

    /// One turn of the ring soon, whether or not it becomes readable.
    #[cold]
    pub(crate) fn retry(&self, cell: &Arc<SharedCell>) {
        lock(&self.known).retries.push(Arc::downgrade(cell));
        // A full counter (EAGAIN) wakes as well as a written one.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    /// Keeps a ring without handles until [`Reactor::forget`].
    pub(crate) fn keep(&self, cell: &Arc<SharedCell>) {
        lock(&self.known).kept.insert(cell.id(), Arc::clone(cell));
    }

    /// The ring is about to close.
    pub(crate) fn forget(&self, id: u64, fd: BorrowedFd<'_>) {
        let _ = epoll::delete(&self.epoll, fd);
        let mut known = lock(&self.known);
        known.cells.remove(&id);
        let kept = known.kept.remove(&id);
        drop(known);
        drop(kept);
    }

    fn run(&self) {
        let mut events = Vec::with_capacity(EVENTS);
        let mut due = Vec::with_capacity(EVENTS);
        let mut retry = false;
        loop {
            events.clear();
            let limit = if retry { Some(&RETRY) } else { None };
            let spare = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.epoll, spare, limit) {
                Ok(_) | Err(OsErrno::INTR) => {}
                // Only a closed or wrong descriptor is left, and this thread owns it.
                Err(_) => return,
            }
            retry = self.turn(&events, &mut due);
        }
    }

    /// Turns the rings that are readable or due for another try; says whether some are tried again.
    ///
    /// `due` is empty before and after: its memory is used again.
    fn turn(&self, events: &[Event], due: &mut Vec<Arc<SharedCell>>) -> bool {
        {
            let mut known = lock(&self.known);
            for event in events {
                let id = event.data.u64();
                if id == BELL {
                    let mut count = [0; 8];
                    let _ = rustix::io::read(&self.bell, &mut count);
                } else if let Some(cell) = known.cells.get(&id).and_then(Weak::upgrade) {
                    due.push(cell);
                }
            }
            due.extend(known.retries.drain(..).filter_map(|cell| cell.upgrade()));
        }
        for cell in due.drain(..) {
            // A panic is a foreign waker's; the other rings must go on.
            drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| cell.turn())));
        }
        !lock(&self.known).retries.is_empty()
    }
}
