//! A ring of one thread.

mod plain_calls;

use std::cell::{Cell, RefCell, RefMut};
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::rc::{self, Rc};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::backend::Backend;
use crate::config::Config;
use crate::detect::{self, Report};
use crate::driver::{Aftermath, Driver, Snapshot};
use crate::error::SetupError;
use crate::fd::LocalHandle;
use crate::features::Features;
use crate::notes;
use crate::sim::World;
use crate::uring::RingBackend;
use crate::wake::{Doorbell, LocalWake, conclude};
use plain_calls::PlainCalls;

/// How often a future may be polled in a row before the ring is looked at.
const POLLS_PER_LOOK: u32 = 32;

/// How long a ring sleeps that could not watch its bell.
const UNWATCHED_LIMIT: Duration = Duration::from_millis(10);

/// Tasks that run beside the future of a [`LocalCell::run`].
pub trait Tasks {
    /// Runs some of those that are ready. Tells how many, and whether more are ready.
    fn run(&self) -> (u32, bool);

    /// Whether the thread may sleep, since nothing is ready. If so, whoever makes something ready from another thread
    /// rings the bell from now on, until [`Tasks::run`] is called again.
    fn rest(&self) -> bool;
}

struct NoTasks;

impl Tasks for NoTasks {
    #[inline(always)]
    fn run(&self) -> (u32, bool) {
        (0, false)
    }

    #[inline(always)]
    fn rest(&self) -> bool {
        true
    }
}

type LocalDriver = Driver<Rc<LocalHandle>>;

thread_local! {
    /// The rings of this thread that register files, by the number of their table.
    static TABLES: RefCell<Vec<(u32, rc::Weak<LocalCell>)>> = const { RefCell::new(Vec::new()) };
}

/// A file leaves its place in the table of a ring, since its descriptor goes.
#[cold]
pub(crate) fn unregister_file(table: u32, place: u32) {
    let found = TABLES.try_with(|tables| {
        let tables = tables.borrow();
        tables.iter().find(|(number, _)| *number == table).and_then(|(_, cell)| cell.upgrade())
    });
    // A ring that has ended holds no file.
    if let Ok(Some(cell)) = found {
        cell.unregister_file(place);
    }
}

/// The driver of a [`Local`](crate::Local) ring.
pub struct LocalCell {
    driver: RefCell<LocalDriver>,
    /// An empty aftermath whose allocations are reused.
    spare: RefCell<Aftermath<Rc<LocalHandle>>>,
    features: Features,
    report: Report,
    bell: Arc<Doorbell>,
    /// Whether the ring watches the bell.
    bell_armed: Cell<bool>,
    /// Polling rings cannot watch anything.
    can_watch: bool,
    world: Option<World>,
    /// Places of files that went while the driver was in use.
    left: RefCell<Vec<u32>>,
    plain: PlainCalls,
}

impl LocalCell {
    pub(crate) fn open(config: &Config) -> Result<Rc<Self>, SetupError> {
        let (mut backend, report) = match &config.world {
            Some(world) => (RingBackend::simulated(config, world)?, Report::simulated()),
            None => detect::decide(
                config,
                || RingBackend::new(config),
                || RingBackend::fallback(config),
            )?,
        };
        backend.register_own_fd();
        let can_watch = !backend.must_poll() && backend.has_bell();
        let features = backend.features().clone();
        let limit = |errno| SetupError::Limit { errno };
        let driver = Driver::new(backend, features.entries).map_err(limit)?;
        notes::decided(&report);
        notes::opened(&features);
        let cell = Rc::new(Self {
            driver: RefCell::new(driver),
            spare: RefCell::default(),
            plain: PlainCalls::new(&features),
            features,
            report,
            bell: Doorbell::new().map_err(limit)?,
            bell_armed: Cell::new(false),
            can_watch,
            world: config.world.clone(),
            left: RefCell::default(),
        });
        if let Some(table) = cell.driver.borrow().backend().file_table() {
            let own = (table, Rc::downgrade(&cell));
            // An error: the thread is on its way out; then a file stays registered until the ring ends.
            let _ = TABLES.try_with(|tables| {
                let mut tables = tables.borrow_mut();
                tables.retain(|(_, cell)| cell.strong_count() > 0);
                tables.push(own);
            });
        }
        cell.driver.borrow_mut().set_home(Rc::downgrade(&cell));
        if let Some(world) = &config.world {
            world.add_local(&cell);
        }
        Ok(cell)
    }

    pub(crate) fn features(&self) -> &Features {
        &self.features
    }

    pub(crate) fn world(&self) -> Option<&World> {
        self.world.as_ref()
    }

    pub(crate) fn report(&self) -> &Report {
        &self.report
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut sum = self.driver.borrow().snapshot();
        self.plain.add_to(&mut sum);
        sum
    }

    #[inline(always)]
    pub(crate) fn enter(&self) -> RefMut<'_, LocalDriver> {
        self.driver.borrow_mut()
    }

    #[inline(always)]
    pub(crate) fn leave(&self, driver: RefMut<'_, LocalDriver>) {
        if driver.has_aftermath() {
            self.clean_up(driver);
        }
    }

    #[inline(always)]
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut LocalDriver) -> T) -> T {
        let mut driver = self.enter();
        let result = work(&mut driver);
        self.leave(driver);
        result
    }

    /// Outside the borrow: wakers and destructors may use the ring.
    #[inline(never)]
    fn clean_up(&self, mut driver: RefMut<'_, LocalDriver>) {
        let mut aftermath = driver.aftermath(self.spare.take());
        drop(driver);
        let Aftermath { wakers, dead, retired, nudges, notes } = &mut aftermath;
        // A local ring has no other threads.
        nudges.clear();
        notes.tell();
        conclude(dead, retired, wakers);
        *self.spare.borrow_mut() = aftermath;
    }

    /// What another thread rings to end the sleep of this one.
    pub fn bell(&self) -> Arc<Doorbell> {
        Arc::clone(&self.bell)
    }

    /// Runs `future` to its end on this thread, sleeping in the ring while it waits.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.run(future, &NoTasks)
    }

    /// [`LocalCell::block_on`], with tasks beside the future. The thread sleeps when neither has anything to do.
    ///
    /// Until then nothing is handed to the kernel, so all that they start goes in one call; but for a look at the ring
    /// after some polls, since a future that keeps waking itself must not keep the kernel out.
    pub fn run<F: Future>(&self, future: F, tasks: &impl Tasks) -> F::Output {
        let mut future = pin!(future);
        let wake = LocalWake::new(Arc::clone(&self.bell));
        let waker = Waker::from(Arc::clone(&wake));
        let mut context = Context::from_waker(&waker);
        let outer = self.with(|driver| driver.set_root(Some(waker.clone())));
        let mut polls = 0;
        let mut woken = wake.take();
        loop {
            if woken {
                if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                    self.with(|driver| driver.set_root(outer));
                    return output;
                }
                polls += 1;
            }
            let (polled, more) = tasks.run();
            polls += polled;
            woken = wake.take();
            if woken || more {
                if polls >= POLLS_PER_LOOK {
                    polls = 0;
                    woken |= self.look();
                }
            } else if tasks.rest() {
                polls = 0;
                woken = self.turn();
            }
        }
    }

    /// Hands over what is queued and takes in what is there. Tells whether the running `block_on` was woken.
    fn look(&self) -> bool {
        self.plain.refresh();
        self.with(|driver| {
            driver.look();
            self.heed_bell(driver);
            driver.take_root_woken()
        })
    }

    fn unregister_file(&self, place: u32) {
        match self.driver.try_borrow_mut() {
            Ok(mut driver) => driver.backend_mut().unregister_file(place),
            // The handle went inside of it.
            Err(_) => self.left.borrow_mut().push(place),
        }
    }

    /// Does what [`LocalCell::unregister_file`] could not.
    #[inline(always)]
    pub(crate) fn tidy(&self) {
        if !self.left.borrow().is_empty() {
            self.unregister_left();
        }
    }

    #[cold]
    fn unregister_left(&self) {
        self.left.take().into_iter().for_each(|place| self.unregister_file(place));
    }

    /// One round of a simulation: [`LocalCell::look`], when the next deadline of the table is, and whether something has
    /// not been handed over.
    pub(crate) fn round(&self) -> (Option<u64>, bool) {
        self.with(|driver| {
            driver.look();
            (driver.next_deadline(), driver.has_queued())
        })
    }

    /// Hands over what is queued, sleeps until a completion, and wakes who waited for it. Tells whether the
    /// running `block_on` is one of them.
    fn turn(&self) -> bool {
        self.tidy();
        self.plain.refresh();
        self.with(|driver| {
            if !self.bell_armed.get() {
                self.arm_bell(driver);
            }
            // Unwatched for lack of room in the ring: look again soon, since nobody could end the sleep.
            let limit = (!self.bell_armed.get() && self.can_watch).then_some(UNWATCHED_LIMIT);
            driver.wait(limit);
            self.heed_bell(driver);
            driver.take_root_woken()
        })
    }

    /// If the bell was heard, it must be hushed and watched again before the next sleep, or its next ring is
    /// lost. Between this and the sleep the caller looks at its flags: what rang before is seen there.
    #[inline]
    fn heed_bell(&self, driver: &mut LocalDriver) {
        if driver.take_rung() {
            self.bell_armed.set(false);
            self.bell.hush();
        }
    }

    #[cold]
    fn arm_bell(&self, driver: &mut LocalDriver) {
        if self.can_watch {
            if driver.backend().room() == 0 {
                driver.flush();
            }
            self.bell_armed.set(driver.arm_wake(self.bell.fd()));
        }
    }
}

impl fmt::Debug for LocalCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalCell").field("features", &self.features).finish_non_exhaustive()
    }
}
