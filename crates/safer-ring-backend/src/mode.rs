//! The two ways to hold a driver.

use std::cell::RefMut;
use std::ops::DerefMut;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use safer_ring_buf::PoolMemory;

use crate::config::Config;
use crate::detect::Report;
use crate::driver::{Driver, Snapshot};
use crate::error::{Failure, SetupError};
use crate::fd::{Guard, LocalHandle, SharedHandle};
use crate::features::Features;
use crate::local::LocalCell;
use crate::shared::{SharedCell, SharedHeld, SharedRing, budget};
use crate::sim::World;

/// What a plain call was made for, in place of an entry of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(unnameable_types, reason = "part of a sealed trait")]
pub enum PlainCall {
    /// A send, which has ended.
    Send,
    /// A read at an offset, which has ended.
    Read,
    /// A receive, in place of one that would wait in a ring.
    Receive,
}

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
    /// Access to the driver.
    type Held<'a>: DerefMut<Target = Driver<Self::Guard>>;
    /// What keeps the ring open until an operation is in its table.
    type Hold;
    /// Whether an operation is handed to the kernel when it is first polled, rather than when its
    /// thread next waits.
    const INLINE: bool;

    /// Makes a ring.
    fn open(config: Config) -> Result<Self::Ring, SetupError>;
    /// The kernel ring for an operation that starts on this thread.
    fn cell(ring: Self::Ring) -> Result<(Self::Cell, Self::Hold), Failure>;
    /// The kernel ring that an operation lives in, if it is still there.
    #[doc(hidden)]
    fn find(home: &<Self::Guard as Guard>::Home) -> Option<Self::Cell>;
    /// The driver, for as long as this lives. `None` if the ring has ended. Ends in [`Mode::leave`].
    fn enter(cell: &Self::Cell) -> Option<Self::Held<'_>>;
    /// Gives the driver back, and does what must be done outside of it.
    fn leave(cell: &Self::Cell, held: Self::Held<'_>);
    /// Whether [`Mode::leave`] would only give the driver back. Then it may be dropped instead.
    #[doc(hidden)]
    fn is_quiet(held: &Self::Held<'_>) -> bool;
    /// After an operation may have ended inside of the driver: does what its descriptor, if it went there, left to be done.
    #[doc(hidden)]
    #[inline(always)]
    fn tidy(_: &Self::Cell) {}
    /// [`Mode::enter`], some work, [`Mode::leave`].
    fn with<T>(cell: &Self::Cell, work: impl FnOnce(&mut Driver<Self::Guard>) -> T) -> Option<T> {
        let mut held = Self::enter(cell)?;
        let result = work(&mut held);
        Self::leave(cell, held);
        Some(result)
    }
    /// Whether an operation that has ended as it was handed over may say so now. If not, the task gives way
    /// ([`give_way`](crate::give_way)), and is told in its next poll. A world has its own order of turns: always, there.
    #[doc(hidden)]
    #[inline(always)]
    fn goes_on(_: &Self::Cell) -> bool {
        true
    }
    /// The same of what may be there without one.
    #[doc(hidden)]
    #[inline(always)]
    fn goes_on_outside(_: &Self::Ring) -> bool {
        true
    }
    /// Whether the next operation may have to give way. Who does not wait for what it begins gives way before that.
    #[doc(hidden)]
    #[inline(always)]
    fn must_give_way(_: &Self::Ring) -> bool {
        false
    }
    /// Something has to wait, so others have their turn.
    #[doc(hidden)]
    #[inline(always)]
    fn waits() {}
    /// Makes sure that somebody will reap the completion of an operation that is now pending.
    fn park(driver: &mut Driver<Self::Guard>, cell: &Self::Cell);
    /// Whether an operation that nothing is handed over with may be this plain call.
    #[doc(hidden)]
    fn calls_plainly(ring: &Self::Ring, call: PlainCall) -> bool;
    /// Whether this process made the ring; asked where that decides what is done without it.
    #[doc(hidden)]
    #[inline(always)]
    fn is_ours(_: &Self::Ring) -> bool {
        true
    }
    /// Counts such a call: of an operation that has ended in it, or of a stream of receives that was told what arrived.
    #[doc(hidden)]
    fn count_plain(ring: &Self::Ring, call: PlainCall);
    /// The kernel rings that there are now.
    #[doc(hidden)]
    fn cells(ring: &Self::Ring) -> Vec<Self::Cell>;
    /// From now on kernel rings that are made register this memory, or no longer.
    #[doc(hidden)]
    fn keep_memory(ring: &Self::Ring, memory: &PoolMemory, keep: bool);
    /// The ring that a kernel ring belongs to, if it is still open.
    #[doc(hidden)]
    fn ring_of(cell: &Self::Cell) -> Option<Self::Ring>;
    /// What the ring can do.
    fn features(ring: &Self::Ring) -> &Features;
    /// The simulated world that it is in, if it is in one.
    #[doc(hidden)]
    fn world(ring: &Self::Ring) -> Option<&World>;
    /// Which backend it has, and why.
    fn report(ring: &Self::Ring) -> &Report;
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
    type Guard = Rc<LocalHandle>;
    type Ring = Rc<LocalCell>;
    type Cell = Rc<LocalCell>;
    type Held<'a> = RefMut<'a, Driver<Self::Guard>>;
    type Hold = ();
    const INLINE: bool = false;

    fn open(config: Config) -> Result<Self::Ring, SetupError> {
        LocalCell::open(&config)
    }

    fn find(home: &Weak<LocalCell>) -> Option<Self::Cell> {
        home.upgrade()
    }

    #[inline(always)]
    fn cell(ring: Self::Ring) -> Result<(Self::Cell, ()), Failure> {
        Ok((ring, ()))
    }

    #[inline(always)]
    fn enter(cell: &Self::Cell) -> Option<Self::Held<'_>> {
        Some(cell.enter())
    }

    #[inline(always)]
    fn leave(cell: &Self::Cell, held: Self::Held<'_>) {
        cell.leave(held);
    }

    #[inline(always)]
    fn is_quiet(held: &Self::Held<'_>) -> bool {
        !held.has_aftermath()
    }

    #[inline(always)]
    fn tidy(cell: &Self::Cell) {
        cell.tidy();
    }

    #[inline]
    fn park(_: &mut Driver<Self::Guard>, _: &Self::Cell) {}

    #[inline(always)]
    fn calls_plainly(ring: &Self::Ring, call: PlainCall) -> bool {
        ring.calls_plainly(call)
    }

    #[inline(always)]
    fn count_plain(ring: &Self::Ring, call: PlainCall) {
        ring.count_plain(call);
    }

    fn cells(ring: &Self::Ring) -> Vec<Self::Cell> {
        vec![ring.clone()]
    }

    fn keep_memory(_: &Self::Ring, _: &PoolMemory, _: bool) {}

    fn ring_of(cell: &Self::Cell) -> Option<Self::Ring> {
        Some(cell.clone())
    }

    fn features(ring: &Self::Ring) -> &Features {
        ring.features()
    }

    fn world(ring: &Self::Ring) -> Option<&World> {
        ring.world()
    }

    fn report(ring: &Self::Ring) -> &Report {
        ring.report()
    }

    fn snapshot(ring: &Self::Ring) -> Snapshot {
        ring.snapshot()
    }
}

impl Mode for Shared {
    type Guard = Arc<SharedHandle>;
    type Ring = Arc<SharedRing>;
    type Cell = Arc<SharedCell>;
    type Held<'a> = SharedHeld<'a>;
    /// The last handle closes the ring.
    type Hold = Arc<SharedRing>;
    const INLINE: bool = true;

    fn open(config: Config) -> Result<Self::Ring, SetupError> {
        SharedRing::open(config)
    }

    fn find(home: &std::sync::Weak<SharedCell>) -> Option<Self::Cell> {
        home.upgrade()
    }

    #[inline(always)]
    fn cell(ring: Self::Ring) -> Result<(Self::Cell, Self::Ring), Failure> {
        Ok((ring.cell()?, ring))
    }

    #[inline(always)]
    fn enter(cell: &Self::Cell) -> Option<Self::Held<'_>> {
        cell.enter()
    }

    #[inline(always)]
    fn leave(cell: &Self::Cell, held: Self::Held<'_>) {
        cell.leave(held);
    }

    #[inline(always)]
    fn is_quiet(held: &Self::Held<'_>) -> bool {
        held.is_quiet()
    }

    #[inline(always)]
    fn goes_on(cell: &Self::Cell) -> bool {
        cell.goes_on()
    }

    #[inline(always)]
    fn goes_on_outside(ring: &Self::Ring) -> bool {
        ring.world().is_some() || budget::take_or_refresh()
    }

    #[inline(always)]
    fn must_give_way(ring: &Self::Ring) -> bool {
        ring.world().is_none() && budget::is_spent()
    }

    #[inline(always)]
    fn waits() {
        budget::refresh();
    }

    #[inline]
    fn park(driver: &mut Driver<Self::Guard>, cell: &Self::Cell) {
        cell.park(driver);
    }

    #[inline(always)]
    fn calls_plainly(ring: &Self::Ring, _: PlainCall) -> bool {
        ring.calls_plainly()
    }

    #[inline(always)]
    fn is_ours(ring: &Self::Ring) -> bool {
        ring.is_ours()
    }

    #[inline]
    fn count_plain(ring: &Self::Ring, call: PlainCall) {
        ring.count_plain(call);
    }

    fn cells(ring: &Self::Ring) -> Vec<Self::Cell> {
        ring.cells()
    }

    fn keep_memory(ring: &Self::Ring, memory: &PoolMemory, keep: bool) {
        ring.keep_memory(memory, keep);
    }

    fn ring_of(cell: &Self::Cell) -> Option<Self::Ring> {
        cell.ring()
    }

    fn features(ring: &Self::Ring) -> &Features {
        ring.features()
    }

    fn world(ring: &Self::Ring) -> Option<&World> {
        ring.world()
    }

    fn report(ring: &Self::Ring) -> &Report {
        ring.report()
    }

    fn snapshot(ring: &Self::Ring) -> Snapshot {
        ring.snapshot()
    }
}
