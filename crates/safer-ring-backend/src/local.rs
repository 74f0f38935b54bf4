//! A ring of one thread.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::backend::Backend;
use crate::config::Config;
use crate::driver::{Aftermath, Driver, Snapshot};
use crate::error::SetupError;
use crate::features::Features;
use crate::uring::{Purpose, UringBackend};
use crate::wake::{Doorbell, LocalWake, fire};

/// How often a future may be polled in a row before the ring is looked at.
const POLLS_PER_LOOK: u32 = 32;

type LocalDriver = Driver<Rc<OwnedFd>>;

/// The driver of a [`Local`](crate::Local) ring.
pub struct LocalCell {
    driver: RefCell<LocalDriver>,
    /// An empty aftermath whose allocations are reused.
    spare: RefCell<Aftermath<Rc<OwnedFd>>>,
    features: Features,
    bell: Arc<Doorbell>,
    /// Whether the ring watches the bell.
    bell_armed: Cell<bool>,
    /// Polling rings cannot watch anything.
    can_watch: bool,
}

impl LocalCell {
    pub(crate) fn open(config: &Config) -> Result<Self, SetupError> {
        let mut backend = UringBackend::new(config, Purpose::OneThread)?;
        backend.register_own_fd();
        let features = backend.features().clone();
        let limit = |errno| SetupError::Limit { errno };
        let driver = Driver::new(backend, features.completions, features.entries).map_err(limit)?;
        Ok(Self {
            driver: RefCell::new(driver),
            spare: RefCell::default(),
            features,
            bell: Doorbell::new().map_err(limit)?,
            bell_armed: Cell::new(false),
            can_watch: !config.iopoll,
        })
    }

    pub(crate) fn features(&self) -> &Features {
        &self.features
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.driver.borrow().snapshot()
    }

    #[inline]
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut LocalDriver) -> T) -> T {
        let mut driver = self.driver.borrow_mut();
        let result = work(&mut driver);
        if driver.has_aftermath() {
            let spare = self.spare.take();
            let aftermath = driver.aftermath(spare);
            drop(driver);
            self.clean_up(aftermath);
        }
        result
    }

    /// Outside the borrow: wakers and destructors may use the ring.
    fn clean_up(&self, mut aftermath: Aftermath<Rc<OwnedFd>>) {
        aftermath.dead.clear();
        aftermath.retired.clear();
        fire(&mut aftermath.wakers);
        *self.spare.borrow_mut() = aftermath;
    }

    /// Runs `future` to its end on this thread, sleeping in the ring while it waits.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let wake = LocalWake::new(Arc::clone(&self.bell));
        let waker = Waker::from(Arc::clone(&wake));
        let mut context = Context::from_waker(&waker);
        let mut polls = 0;
        loop {
            if !wake.take() {
                polls = 0;
                self.turn();
                continue;
            }
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            polls += 1;
            if polls == POLLS_PER_LOOK {
                // A future that keeps waking itself must not keep the kernel out.
                polls = 0;
                self.with(Driver::look);
            }
        }
    }

    /// Hands over what is queued, sleeps until a completion, and wakes who waited for it.
    fn turn(&self) {
        let bell = self.bell.fd();
        self.with(|driver| {
            if self.can_watch && !self.bell_armed.get() {
                if driver.backend().room() == 0 {
                    driver.flush();
                }
                self.bell_armed.set(driver.arm_wake(bell));
            }
            driver.wait(None);
            if driver.take_rung() {
                self.bell_armed.set(false);
                self.bell.hush();
            }
        });
    }
}

impl fmt::Debug for LocalCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalCell").field("features", &self.features).finish_non_exhaustive()
    }
}
