//! The two ways to hold a driver.

use std::rc::Rc;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::config::Config;
use crate::driver::{Driver, Snapshot};
use crate::error::{Failure, SetupError};
use crate::fd::Guard;
use crate::features::Features;
use crate::local::LocalCell;
use crate::shared::{SharedCell, SharedRing};

mod sealed {
    #[allow(unnameable_types, reason = "sealed: nobody else implements what asks for it")]
    pub trait Sealed {}
    impl Sealed for super::Local {}
    impl Sealed for super::Shared {}
}

/// How a ring is held: [`Local`] or [`Shared`]. Sealed.
pub trait Mode: sealed::Sealed + Sized + 'static {
    /// What keeps a descriptor alive.
    type Guard: Guard;
    /// The ring as its users hold it.
    type Ring: Clone + 'static;
    /// The one kernel ring that an operation lives in.
    type Cell: Clone + 'static;
    /// Whether an operation is handed to the kernel when it is first polled, rather than when its
    /// thread next waits.
    const INLINE: bool;

    /// Makes a ring.
    fn open(config: Config) -> Result<Self::Ring, SetupError>;
    /// The kernel ring for an operation that starts on this thread.
    fn cell(ring: Self::Ring) -> Result<Self::Cell, Failure>;
    /// Works on the driver, then does what must be done outside of it. `None` if the ring has ended.
    fn with<T>(
        cell: &Self::Cell,
        work: impl FnOnce(&mut Driver<Self::Guard>) -> T,
    ) -> Option<T>;
    /// Makes sure that somebody will reap the completion of an operation that is now pending.
    fn park(driver: &mut Driver<Self::Guard>, cell: &Self::Cell);
    /// What the ring can do.
    fn features(ring: &Self::Ring) -> &Features;
    /// The figures of all its kernel rings.
    fn snapshot(ring: &Self::Ring) -> Snapshot;
}

/// One thread, no locks, no atomics. Futures and handles stay on the thread of the ring.
#[derive(Clone, Copy, Debug)]
pub enum Local {}

/// Any thread: one kernel ring for each thread that submits; futures are `Send`.
#[derive(Clone, Copy, Debug)]
pub enum Shared {}

impl Mode for Local {
    type Guard = Rc<OwnedFd>;
    type Ring = Rc<LocalCell>;
    type Cell = Rc<LocalCell>;
    const INLINE: bool = false;

    fn open(config: Config) -> Result<Self::Ring, SetupError> {
        LocalCell::open(&config).map(Rc::new)
    }

    #[inline]
    fn cell(ring: Self::Ring) -> Result<Self::Cell, Failure> {
        Ok(ring)
    }

    #[inline]
    fn with<T>(
        cell: &Self::Cell,
        work: impl FnOnce(&mut Driver<Self::Guard>) -> T,
    ) -> Option<T> {
        Some(cell.with(work))
    }

    #[inline]
    fn park(_: &mut Driver<Self::Guard>, _: &Self::Cell) {}

    fn features(ring: &Self::Ring) -> &Features {
        ring.features()
    }

    fn snapshot(ring: &Self::Ring) -> Snapshot {
        ring.snapshot()
    }
}

impl Mode for Shared {
    type Guard = Arc<OwnedFd>;
    type Ring = Arc<SharedRing>;
    type Cell = Arc<SharedCell>;
    const INLINE: bool = true;

    fn open(config: Config) -> Result<Self::Ring, SetupError> {
        SharedRing::open(config)
    }

    #[inline]
    fn cell(ring: Self::Ring) -> Result<Self::Cell, Failure> {
        ring.cell()
    }

    #[inline]
    fn with<T>(
        cell: &Self::Cell,
        work: impl FnOnce(&mut Driver<Self::Guard>) -> T,
    ) -> Option<T> {
        cell.with(work)
    }

    #[inline]
    fn park(driver: &mut Driver<Self::Guard>, cell: &Self::Cell) {
        cell.park(driver);
    }

    fn features(ring: &Self::Ring) -> &Features {
        ring.features()
    }

    fn snapshot(ring: &Self::Ring) -> Snapshot {
        ring.snapshot()
    }
}
