//! A ring of one thread.

use std::cell::{Cell, RefCell, RefMut};
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::backend::Backend;
use crate::config::Config;
use crate::driver::{Aftermath, Driver, Snapshot};
use crate::error::SetupError;
use crate::fd::LocalHandle;
use crate::features::Features;
use crate::notes;
use crate::uring::{Purpose, UringBackend};
use crate::wake::{Doorbell, LocalWake, conclude};

/// How often a future may be polled in a row before the ring is looked at.
const POLLS_PER_LOOK: u32 = 32;

type LocalDriver = Driver<Rc<LocalHandle>>;

/// The driver of a [`Local`](crate::Local) ring.
pub struct LocalCell {
    driver: RefCell<LocalDriver>,
    /// An empty aftermath whose allocations are reused.
    spare: RefCell<Aftermath<Rc<LocalHandle>>>,
    features: Features,
    bell: Arc<Doorbell>,
    /// Whether the ring watches the bell.
    bell_armed: Cell<bool>,
    /// Polling rings cannot watch anything.
    can_watch: bool,
}

impl LocalCell {
    pub(crate) fn open(config: &Config) -> Result<Rc<Self>, SetupError> {
        let mut backend = UringBackend::new(config, Purpose::OneThread)?;
        backend.register_own_fd();
        let features = backend.features().clone();
        let limit = |errno| SetupError::Limit { errno };
        let driver = Driver::new(backend, features.entries).map_err(limit)?;
        notes::opened(&features);
        let cell = Rc::new(Self {
            driver: RefCell::new(driver),
            spare: RefCell::default(),
            features,
            bell: Doorbell::new().map_err(limit)?,
            bell_armed: Cell::new(false),
            can_watch: !config.iopoll,
        });
        cell.driver.borrow_mut().set_home(Rc::downgrade(&cell));
        Ok(cell)
    }

    pub(crate) fn features(&self) -> &Features {
        &self.features
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.driver.borrow().snapshot()
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

    /// Runs `future` to its end on this thread, sleeping in the ring while it waits.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let wake = LocalWake::new(Arc::clone(&self.bell));
        let waker = Waker::from(Arc::clone(&wake));
        let mut context = Context::from_waker(&waker);
        let outer = self.with(|driver| driver.set_root(Some(waker.clone())));
        let mut polls = 0;
        let mut woken = true;
        loop {
            if !(wake.take() || woken) {
                polls = 0;
                woken = self.turn();
                continue;
            }
            woken = false;
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                self.with(|driver| driver.set_root(outer));
                return output;
            }
            polls += 1;
            if polls == POLLS_PER_LOOK {
                // A future that keeps waking itself must not keep the kernel out.
                polls = 0;
                woken = self.with(|driver| {
                    driver.look();
                    self.heed_bell(driver);
                    driver.take_root_woken()
                });
            }
        }
    }

    /// Hands over what is queued, sleeps until a completion, and wakes who waited for it. Tells whether the
    /// running `block_on` is one of them.
    fn turn(&self) -> bool {
        self.with(|driver| {
            if !self.bell_armed.get() {
                self.arm_bell(driver);
            }
            driver.wait(None);
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
