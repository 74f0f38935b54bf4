//! A ring for any thread: one kernel ring for each thread that submits.
//!
//! * A thread's kernel ring is made at its first operation and given back when the thread ends; the next
//!   new thread takes it over. There are at most `max_rings`; more threads than that share them.
//! * Each kernel ring sits behind its own lock, which its thread takes nearly alone.
//! * An operation is submitted by the thread that first polls it, in one `io_uring_enter`, and the
//!   completion queue is looked at in the same breath: what the kernel completes inline is ready at once.
//! * What is still pending is reaped by whoever takes the lock next, or by who hears the ring's bell: the poller of the
//!   tokio runtime that the thread belongs to, or the process's one reactor thread
//!   ([`listener`](crate::listener)). The bell is silent inside of system calls, so inline completions wake nobody.
//! * When the last handle on the ring is dropped, a kernel ring without work is closed at once; one with
//!   work is kept by the reactor until its last completion, and what only waits for a next receive is cancelled.

mod bell;
pub(crate) mod budget;
mod cells;
mod plain_calls;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use safer_ring_buf::sync::{ForkMutex, ForkMutexGuard};
use safer_ring_sys::fork;

use crate::backend::Backend;
use crate::closer;
use crate::config::Config;
use crate::detect::{self, Report};
use crate::driver::{Aftermath, Driver, Nudge, Snapshot};
use crate::error::{Failure, SetupError};
use crate::fd::SharedHandle;
use crate::features::Features;
use crate::listener::Listener;
use crate::notes;
use crate::plain::Permit;
use crate::reactor::{self, Reactor};
use crate::runtime::{self, Watcher};
use crate::sim::{Home, World};
use crate::uring::RingBackend;
use crate::wake::conclude;
use cells::Cells;
use plain_calls::PlainCalls;

type SharedDriver = Driver<Arc<SharedHandle>>;

/// Most of [`State::spares`] that are kept.
const SPARES: usize = 4;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A set of kernel rings, one for each submitting thread.
pub struct SharedRing {
    id: u64,
    config: Config,
    features: Features,
    report: Report,
    /// The process that made it.
    epoch: u32,
    /// Whether operations of it may be plain calls.
    permit: Permit,
    cells: ForkMutex<Cells>,
    next_shared: AtomicUsize,
}

/// One kernel ring of a [`SharedRing`].
pub struct SharedCell {
    id: u64,
    /// `None` in a simulation, where the world takes the rings in turn.
    reactor: Option<Arc<Reactor>>,
    world: Option<Home>,
    /// Set once, when the cell joins its ring.
    ring: OnceLock<Weak<SharedRing>>,
    listener: Listener<Watcher>,
    plain: PlainCalls,
    /// The kernel ring was closed on another thread than the one whose table has a place for it.
    left: AtomicBool,
    /// The process that made it: in a child only its lock may be used, and its memory.
    epoch: u32,
    state: ForkMutex<State>,
}

#[derive(Default)]
struct State {
    /// `None` once the ring is closed and its last operation has ended; and in a forked child, if another thread of the parent
    /// was inside of it at the fork.
    driver: Option<SharedDriver>,
    /// Signalled for completions that nobody is about to find. There as long as the driver is.
    bell: Option<Arc<OwnedFd>>,
    closing: bool,
    /// Empty ones whose allocations are used again; several, for threads that are outside at a time.
    spares: Vec<Aftermath<Arc<SharedHandle>>>,
}

/// The driver of a cell, under its lock.
pub struct SharedHeld<'a> {
    state: ForkMutexGuard<'a, State>,
}

impl Deref for SharedHeld<'_> {
    type Target = SharedDriver;

    #[inline(always)]
    fn deref(&self) -> &SharedDriver {
        match &self.state.driver {
            Some(driver) => driver,
            None => unreachable!("`enter` has seen it, and only `after` takes it"),
        }
    }
}

impl DerefMut for SharedHeld<'_> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut SharedDriver {
        match &mut self.state.driver {
            Some(driver) => driver,
            None => unreachable!("`enter` has seen it, and only `after` takes it"),
        }
    }
}

impl SharedHeld<'_> {
    /// Whether [`SharedCell::leave`] would do nothing but drop it.
    #[inline(always)]
    pub(crate) fn is_quiet(&self) -> bool {
        let work = self.must_listen()
            || self.wants_timer()
            || self.is_unheard()
            || self.has_aftermath()
            || self.state.closing;
        !work
    }
}

impl fmt::Debug for SharedHeld<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedHeld")
    }
}

/// What a thread knows of the rings it has used.
struct Seat {
    ring_id: u64,
    ring: Weak<SharedRing>,
    cell: Arc<SharedCell>,
    /// The kernel ring's place in the thread's table of rings.
    index: Option<RawFd>,
}

impl Seat {
    /// The place that a kernel ring has left which another thread has closed.
    fn left_index(&self) -> Option<RawFd> {
        self.index.filter(|_| self.cell.left.load(Ordering::Acquire))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if !self.cell.is_ours() {
            return;
        }
        // The thread ends, or has seen the end of the ring: its kernel ring is free for another one.
        if let Some(driver) = &mut lock(&self.cell.state).driver {
            driver.backend_mut().unregister_own_fd();
        }
        if let Some(ring) = self.ring.upgrade() {
            lock(&ring.cells).free.push(Arc::clone(&self.cell));
        }
    }
}

thread_local! {
    static SEATS: RefCell<Vec<Seat>> = const { RefCell::new(Vec::new()) };
}

fn lock<T: Default>(mutex: &ForkMutex<T>) -> ForkMutexGuard<'_, T> {
    // A panic under the lock can only be one of a foreign waker's `clone`; the table is sound then.
    mutex.lock()
}

impl SharedRing {
    pub(crate) fn open(config: Config) -> Result<Arc<Self>, SetupError> {
        let (cell, features, report) = SharedCell::open(&config)?;
        notes::decided(&report);
        notes::opened(&features);
        let ring = Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            epoch: fork::current(),
            permit: Permit::of(&features),
            features,
            report,
            config,
            cells: ForkMutex::default(),
            next_shared: AtomicUsize::new(0),
        });
        {
            let mut cells = lock(&ring.cells);
            ring.join(&mut cells, &cell);
            cells.free.push(cell);
        }
        Ok(ring)
    }

    pub(crate) fn features(&self) -> &Features {
        &self.features
    }

    pub(crate) fn world(&self) -> Option<&World> {
        self.config.world.as_ref()
    }

    pub(crate) fn report(&self) -> &Report {
        &self.report
    }

    /// Whether this process made it; a forked child must not use it (invariant 15).
    #[inline]
    pub(crate) fn is_ours(&self) -> bool {
        fork::current() == self.epoch
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let cells = self.cells();
        let mut sum = Snapshot::default();
        for cell in cells {
            if let Some(driver) = &lock(&cell.state).driver {
                sum += driver.snapshot();
            }
            cell.plain.add_to(&mut sum);
        }
        sum
    }

    /// The kernel ring of the calling thread.
    #[inline]
    pub(crate) fn cell(self: &Arc<Self>) -> Result<Arc<SharedCell>, Failure> {
        let seated = SEATS.try_with(|seats| {
            let seats = seats.try_borrow().ok()?;
            let seat = seats.iter().find(|seat| seat.ring_id == self.id)?;
            Some(Arc::clone(&seat.cell))
        });
        match seated {
            Ok(Some(cell)) => Ok(cell),
            _ => self.take_seat(),
        }
    }

    #[cold]
    fn take_seat(self: &Arc<Self>) -> Result<Arc<SharedCell>, Failure> {
        if !self.is_ours() {
            return Err(Failure::Forked);
        }
        let cell = self.find_cell()?;
        let index = lock(&cell.state).driver.as_mut().and_then(|driver| {
            driver.backend_mut().register_own_fd();
            driver.backend_mut().adopt_thread(&self.config);
            driver.backend().own_index()
        });
        let (ring, own) = (Arc::downgrade(self), Arc::clone(&cell));
        let seat = Seat { ring_id: self.id, ring, cell: own, index };
        // Old seats are dropped outside the borrow: they lock their ring.
        let mut stale = Vec::new();
        let seated = SEATS.try_with(|seats| {
            if let Ok(mut seats) = seats.try_borrow_mut() {
                stale.extend(seats.extract_if(.., |seat| seat.ring.strong_count() == 0));
                seats.push(seat);
            }
        });
        // An error: the thread is on its way out and cannot keep a seat; dropping it freed the ring.
        let _ = seated;
        for left in stale.iter().filter_map(Seat::left_index) {
            if let Some(driver) = &lock(&cell.state).driver {
                driver.backend().free_index(left);
            }
        }
        Ok(cell)
    }

    /// The kernel rings that there are now.
    pub(crate) fn cells(&self) -> Vec<Arc<SharedCell>> {
        lock(&self.cells).all.clone()
    }

    fn join(self: &Arc<Self>, cells: &mut Cells, cell: &Arc<SharedCell>) {
        // Joined once, right after it was made.
        let _ = cell.ring.set(Arc::downgrade(self));
        cells.register_with(cell);
        cells.all.push(Arc::clone(cell));
    }

    fn find_cell(self: &Arc<Self>) -> Result<Arc<SharedCell>, Failure> {
        let mut cells = lock(&self.cells);
        if let Some(cell) = cells.free.pop() {
            return Ok(cell);
        }
        if cells.all.len() < self.config.max_rings {
            match SharedCell::open(&self.config) {
                Ok((cell, features, _)) => {
                    self.join(&mut cells, &cell);
                    // Whoever is told may use the ring.
                    drop(cells);
                    notes::opened(&features);
                    return Ok(cell);
                }
                // Short of descriptors or memory now: share a ring that exists.
                Err(_) if !cells.all.is_empty() => {}
                Err(error) => {
                    return Err(error.errno().map_or(Failure::Exhausted, Failure::Os));
                }
            }
        }
        let turn = self.next_shared.fetch_add(1, Ordering::Relaxed);
        cells.all.get(turn % cells.all.len().max(1)).cloned().ok_or(Failure::Exhausted)
    }
}

impl Drop for SharedRing {
    fn drop(&mut self) {
        for cell in self.cells.get_mut().map(std::mem::take).unwrap_or_default().all {
            cell.close();
        }
    }
}

impl fmt::Debug for SharedRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedRing").field("features", &self.features).finish_non_exhaustive()
    }
}

impl fmt::Debug for SharedCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedCell").field("id", &self.id).finish_non_exhaustive()
    }
}

impl SharedCell {
    fn open(config: &Config) -> Result<(Arc<Self>, Features, Report), SetupError> {
        let ((backend, bell), report) = match &config.world {
            Some(world) => ((RingBackend::simulated(config, world)?, None), Report::simulated()),
            None => {
                let ((backend, bell), report) = detect::decide(
                    config,
                    || RingBackend::with_bell(config),
                    || RingBackend::fallback_with_bell(config),
                )?;
                ((backend, Some(bell)), report)
            }
        };
        let features = backend.features().clone();
        let limit = |errno| SetupError::Limit { errno };
        let reactor = match config.world {
            Some(_) => None,
            None => Some(reactor::start().map_err(limit)?),
        };
        let world = config.world.as_ref().map(World::home);
        let driver = Driver::new(backend, features.entries).map_err(limit)?;
        let bell = bell.map(Arc::new);
        // Made now: else the first time that two threads are outside at once, which may be late, allocates.
        let spares = (0..SPARES).map(|_| Aftermath::prepared(8)).collect();
        let state = State { driver: Some(driver), bell, closing: false, spares };
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let (ring, state) = (OnceLock::new(), ForkMutex::new(state));
        let epoch = fork::current();
        let listener = Listener::default();
        let left = AtomicBool::new(false);
        let plain = PlainCalls::default();
        let cell = Arc::new(Self { id, reactor, world, ring, listener, plain, left, epoch, state });
        if let Some(driver) = &mut lock(&cell.state).driver {
            driver.set_home(Arc::downgrade(&cell));
        }
        if let Some(reactor) = &cell.reactor {
            reactor.register(&cell).map_err(limit)?;
        }
        if let Some(world) = &config.world {
            world.add_shared(&cell);
        }
        Ok((cell, features, report))
    }

    fn is_ours(&self) -> bool {
        fork::current() == self.epoch
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// What is signalled for completions that nobody is about to find; `None` when the ring has ended.
    pub(crate) fn bell(&self) -> Option<Arc<OwnedFd>> {
        lock(&self.state).bell.clone()
    }

    /// The ring it belongs to, if that is still open.
    pub(crate) fn ring(&self) -> Option<Arc<SharedRing>> {
        self.ring.get()?.upgrade()
    }

    #[inline(always)]
    pub(crate) fn enter(&self) -> Option<SharedHeld<'_>> {
        let state = lock(&self.state);
        state.driver.is_some().then_some(SharedHeld { state })
    }

    #[inline(always)]
    pub(crate) fn leave(self: &Arc<Self>, mut held: SharedHeld<'_>) {
        if held.must_listen() || held.wants_timer() {
            self.listen(&mut held);
        }
        let unheard = held.take_unheard();
        if held.has_aftermath() || held.state.closing {
            self.after(held.state);
        } else {
            drop(held);
        }
        if unheard {
            self.find_listener();
        }
    }

    /// Whatever ends from now on is heard of: by whoever watches this ring, or by its kernel timer.
    fn listen(self: &Arc<Self>, held: &mut SharedHeld<'_>) {
        if !self.is_ours() {
            return;
        }
        // Again while what is handed over ends at once.
        loop {
            if held.wants_timer() {
                held.arm_timer();
                held.flush();
                if held.backend().pending() > 0 {
                    // The kernel takes nothing now.
                    self.retry();
                    held.forget_timer();
                }
            }
            let came = held.must_listen() && held.listen();
            if !came && !held.wants_timer() {
                return;
            }
        }
    }

    fn with<T>(self: &Arc<Self>, work: impl FnOnce(&mut SharedDriver) -> T) -> Option<T> {
        let mut held = self.enter()?;
        let result = work(&mut held);
        self.leave(held);
        Some(result)
    }

    /// Outside the lock: wakers and destructors may use the ring.
    #[cold]
    fn after(&self, mut state: ForkMutexGuard<'_, State>) {
        let spare = state.spares.pop().unwrap_or_default();
        let Some(driver) = state.driver.as_mut() else { return };
        let mut aftermath = driver.aftermath(spare);
        let over =
            state.closing && self.is_ours() && state.driver.as_ref().is_some_and(Driver::is_over);
        let ended = if over { state.driver.take() } else { None };
        let bell = if over { state.bell.take() } else { None };
        drop(state);
        if let Some(driver) = &ended {
            // On the thread itself the end of the ring frees the place.
            self.left.store(driver.backend().own_index().is_none(), Ordering::Release);
            match (&self.reactor, &bell, &self.world) {
                (Some(reactor), Some(bell), _) => reactor.forget(self.id, bell.as_fd()),
                (_, _, Some(world)) => world.forget(self.id),
                _ => {}
            }
            self.listener.end();
        }
        drop(ended);
        let Aftermath { wakers, dead, retired, nudges, notes } = &mut aftermath;
        if !dead.is_empty() && self.world.is_none() {
            closer::hand_over(dead);
        }
        for nudge in nudges.drain(..) {
            self.nudge_elsewhere(&nudge);
        }
        notes.tell();
        conclude(dead, retired, wakers);
        let mut state = lock(&self.state);
        if state.spares.len() < SPARES {
            state.spares.push(aftermath);
        }
    }

    /// Something arrived for a dropped receive, or is to arrive for a multishot one, while a live one waits in a kernel ring
    /// of another thread.
    #[cold]
    fn nudge_elsewhere(&self, Nudge { fd, all }: &Nudge<Arc<SharedHandle>>) {
        let Some(ring) = self.ring() else { return };
        // One by one, so that nothing is allocated and no two locks are held.
        let cell_at = |at| lock(&ring.cells).all.get(at).cloned();
        for cell in (0..).map_while(cell_at).filter(|cell| cell.id != self.id) {
            let found = cell.with(|driver| {
                let found = driver.nudge(fd);
                while *all && driver.nudge(fd) {}
                driver.flush();
                found
            });
            if found == Some(true) && !all {
                return;
            }
        }
    }

    /// Whether what has ended as it was handed over may say so now ([`budget`]). A world has its own order of turns.
    #[inline(always)]
    pub(crate) fn goes_on(&self) -> bool {
        self.world.is_some() || budget::take_or_refresh()
    }

    /// Called with something pending, by who waits for it: it is heard of where that thread's runtime polls, else in the
    /// reactor, unless somebody takes it in first.
    #[inline]
    pub(crate) fn park(self: &Arc<Self>, driver: &mut SharedDriver) {
        if self.world.is_none() && self.listener.is_wrong_here(runtime::word_here) {
            driver.set_unheard();
        }
        self.rest(driver);
    }

    /// The same without a say in who hears of it.
    #[inline]
    fn rest(self: &Arc<Self>, driver: &mut SharedDriver) {
        // In a child the queues are not there to look at.
        if !self.is_ours() {
            return;
        }
        driver.arm_timer();
        driver.flush();
        let backend = driver.backend();
        if (backend.pending() > 0 && !backend.has_sqpoll()) || backend.must_poll() {
            self.retry();
        }
        if self.listener.is_runtime() {
            self.stay_awake();
        }
    }

    /// One turn of the ring soon. A world takes all of them in turn anyway.
    fn retry(self: &Arc<Self>) {
        if let Some(reactor) = self.reactor.as_ref().filter(|_| self.is_ours()) {
            reactor.retry(self);
        }
    }

    #[inline]
    fn stay_awake(&self) {
        if let Some(reactor) = &self.reactor {
            reactor.stay_awake();
        }
    }

    /// The reactor saw the ring become readable (or retries it): takes in what is there.
    pub(crate) fn turn(self: &Arc<Self>) {
        self.with(|driver| {
            if driver.backend().must_poll() {
                driver.look();
            } else {
                driver.take_in();
            }
            if !driver.is_idle() {
                self.rest(driver);
            }
        });
    }

    /// One round of a simulation: as [`LocalCell::round`](crate::LocalCell).
    pub(crate) fn round(self: &Arc<Self>) -> (Option<u64>, bool) {
        self.turn();
        self.with(|driver| (driver.next_deadline(), driver.has_queued())).unwrap_or_default()
    }

    /// The last handle is gone: close now if nothing is in flight, else when nothing is.
    fn close(self: &Arc<Self>) {
        if !self.is_ours() {
            // A forked child: its parent's ring is watched and reaped by the parent.
            return;
        }
        lock(&self.state).closing = true;
        self.with(|driver| {
            driver.close();
            if !driver.is_idle() {
                match (&self.reactor, &self.world) {
                    (Some(reactor), _) => reactor.keep(self),
                    (None, Some(world)) => world.keep(self),
                    (None, None) => {}
                }
                self.rest(driver);
            }
        });
    }
}
