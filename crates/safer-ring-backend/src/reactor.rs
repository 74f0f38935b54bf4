//! The one thread of the process that reaps the shared rings nobody else is reaping.
//!
//! * It sleeps in epoll, on the bells of all kernel rings ([`listener`](crate::listener)), but for those that a runtime
//!   hears. A bell is signalled only for completions that nobody is about to find, so what ends inside of a system call
//!   wakes nobody; and nothing has to be told to epoll when an operation has to wait.
//! * It looks after the bells that runtimes hear: soon at first, then once a second, as long as anything happens
//!   there; a runtime that does not hear loses its bell to the reactor, which has that of a quiet ring as well.
//! * It knows the rings weakly; one whose handles are all gone but which has work in flight is kept here
//!   until its last completion.
//! * It is started with the first shared ring and lives as long as the process; without work it uses no
//!   CPU. A forked child has none, and its parent's rings refuse work there (invariant 15); a ring that
//!   the child makes starts one of its own.

use std::collections::HashMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno as OsErrno;
use safer_ring_buf::sync::{AtomicBool, ForkMutex, ForkMutexGuard, Ordering};
use safer_ring_sys::{Errno, fork};

use crate::listener::Hearing;
use crate::shared::SharedCell;
use crate::wake::{new_eventfd, os_errno};

/// How often a ring is tried again that could not hand its work over for lack of kernel resources.
const RETRY: Duration = Duration::from_millis(1);
/// The first look after runtimes that listen, the longest time between two looks, and the time to a second look where
/// the first found something that was not heard.
const FIRST_LOOK: Duration = Duration::from_millis(16);
const LONGEST_LOOK: Duration = Duration::from_millis(1024);
const SECOND_LOOK: Duration = Duration::from_millis(64);
const EVENTS: usize = 64;
/// How a bell that the reactor hears is watched: each signal is an event.
const HEARD: EventFlags = EventFlags::IN.union(EventFlags::ET);
/// The epoll data of the bell; rings count from 1.
const BELL: u64 = 0;

/// The reactor as the rings hold it.
#[derive(Debug)]
pub(crate) struct Reactor {
    epoll: OwnedFd,
    bell: OwnedFd,
    known: ForkMutex<Known>,
    rest: Rest,
}

#[derive(Debug, Default)]
struct Known {
    cells: HashMap<u64, Weak<SharedCell>>,
    /// Without handles, with work in flight.
    kept: HashMap<u64, Arc<SharedCell>>,
    retries: Vec<Weak<SharedCell>>,
}

static REACTOR: ForkMutex<Option<(u32, Arc<Reactor>)>> = ForkMutex::new(None);

fn lock<T: Default>(mutex: &ForkMutex<T>) -> ForkMutexGuard<'_, T> {
    mutex.lock()
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
    let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(os_errno)?;
    let bell = new_eventfd()?;
    epoll::add(&epoll, &bell, EventData::new_u64(BELL), EventFlags::IN).map_err(os_errno)?;
    let reactor =
        Arc::new(Reactor { epoll, bell, known: ForkMutex::default(), rest: Rest::new(true) });
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
    pub(crate) fn register(&self, cell: &Arc<SharedCell>) -> Result<(), Errno> {
        let data = EventData::new_u64(cell.id());
        if let Some(bell) = cell.bell() {
            epoll::add(&self.epoll, bell, data, HEARD).map_err(os_errno)?;
        }
        lock(&self.known).cells.insert(cell.id(), Arc::downgrade(cell));
        Ok(())
    }

    /// Whether the reactor hears a ring's bell. A bell that was signalled before is heard at once.
    pub(crate) fn hear(&self, cell: &SharedCell, heard: bool) {
        let flags = if heard { HEARD } else { EventFlags::empty() };
        if let Some(bell) = cell.bell() {
            // Fails only where the ring has just ended: a bell is registered until then.
            let _ = epoll::modify(&self.epoll, bell, EventData::new_u64(cell.id()), flags);
        }
    }

    /// One turn of the ring soon, whether or not it is announced.
    #[cold]
    pub(crate) fn retry(&self, cell: &Arc<SharedCell>) {
        lock(&self.known).retries.push(Arc::downgrade(cell));
        self.ring();
    }

    /// Something is in flight that a runtime hears of: to be called after that can be seen.
    #[inline]
    pub(crate) fn stay_awake(&self) {
        if self.rest.disturb() {
            self.ring();
        }
    }

    #[cold]
    fn ring(&self) {
        // A full counter (EAGAIN) wakes as well as a written one.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    /// Keeps a ring without handles until [`Reactor::forget`].
    pub(crate) fn keep(&self, cell: &Arc<SharedCell>) {
        lock(&self.known).kept.insert(cell.id(), Arc::clone(cell));
    }

    /// The ring is about to close.
    pub(crate) fn forget(&self, id: u64, bell: BorrowedFd<'_>) {
        let _ = epoll::delete(&self.epoll, bell);
        let mut known = lock(&self.known);
        known.cells.remove(&id);
        let kept = known.kept.remove(&id);
        drop(known);
        drop(kept);
    }

    fn run(&self) {
        let mut events = Vec::with_capacity(EVENTS);
        let mut due = Vec::with_capacity(EVENTS);
        let mut rounds = Rounds::default();
        let mut retry = false;
        loop {
            events.clear();
            let limit = if retry { Some(RETRY) } else { rounds.wait() };
            let limit = limit.map(|limit| Timespec {
                tv_sec: limit.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: limit.subsec_nanos().into(),
            });
            let spare = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.epoll, spare, limit.as_ref()) {
                Ok(_) | Err(OsErrno::INTR) => {}
                // Only a closed or wrong descriptor is left, and this thread owns it.
                Err(_) => return,
            }
            retry = self.turn(&events, &mut due);
            if rounds.is_due(self.rest.is_on()) {
                let worst = self.look_after(&mut due, rounds.is_long());
                rounds.end(worst);
            }
        }
    }

    /// Looks at each ring that a runtime hears; gives the worst that was found.
    fn look_after(&self, due: &mut Vec<Arc<SharedCell>>, is_long: bool) -> Hearing {
        self.rest.before_look();
        due.extend(lock(&self.known).cells.values().filter_map(Weak::upgrade));
        let mut worst = Hearing::Idle;
        for cell in due.drain(..) {
            worst = worst.max(cell.check(is_long));
        }
        self.rest.after_look(worst);
        worst
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
            cell.turn();
        }
        !lock(&self.known).retries.is_empty()
    }
}

/// Whether nothing is in flight that a runtime should hear of: who changes that rings the bell.
#[derive(Debug)]
pub(crate) struct Rest(AtomicBool);

impl Rest {
    pub(crate) fn new(on: bool) -> Self {
        Self(AtomicBool::new(on))
    }

    pub(crate) fn is_on(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Something has come into flight, which can be seen by now: tells whether the reactor is to be woken.
    #[inline]
    pub(crate) fn disturb(&self) -> bool {
        self.0.load(Ordering::SeqCst) && self.0.swap(false, Ordering::SeqCst)
    }

    /// Before the rings are looked at: what comes into flight behind the look rings.
    pub(crate) fn before_look(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub(crate) fn after_look(&self, worst: Hearing) {
        if worst != Hearing::Idle {
            self.0.store(false, Ordering::SeqCst);
        }
    }
}

/// When to look after the runtimes.
#[derive(Debug, Default)]
struct Rounds {
    /// The next look, and the time from the last one to it. `None`: there is nothing to look after.
    next: Option<(Instant, Duration)>,
}

impl Rounds {
    fn wait(&self) -> Option<Duration> {
        self.next.map(|(at, _)| at.saturating_duration_since(Instant::now()))
    }

    /// Whether a look is due; one is planned where there was none and there is something to look after.
    fn is_due(&mut self, rests: bool) -> bool {
        match self.next {
            Some((at, _)) => at <= Instant::now(),
            None => {
                if !rests {
                    self.next = Some((Instant::now() + FIRST_LOOK, FIRST_LOOK));
                }
                false
            }
        }
    }

    /// Whether the last look was as long ago as it ever is.
    fn is_long(&self) -> bool {
        self.next.is_some_and(|(_, pause)| pause >= LONGEST_LOOK)
    }

    /// After a look: the more often nothing was wrong, the later the next.
    fn end(&mut self, found: Hearing) {
        let pause = match (found, self.next) {
            (Hearing::Idle, _) => None,
            (Hearing::Late | Hearing::Deaf, _) => Some(SECOND_LOOK),
            (Hearing::Quiet | Hearing::Good, last) => {
                Some(last.map_or(FIRST_LOOK, |(_, pause)| (2 * pause).min(LONGEST_LOOK)))
            }
        };
        self.next = pause.map(|pause| (Instant::now() + pause, pause));
    }
}
