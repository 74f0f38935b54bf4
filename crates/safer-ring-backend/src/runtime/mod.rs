//! A kernel ring's bell in the poller of a runtime: tokio's, or smol's (`async-io`); without a feature for one, in none.

#[cfg(feature = "smol")]
mod smol;
#[cfg(feature = "tokio")]
mod tokio;
#[cfg(not(feature = "tokio"))]
mod untold;

use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Weak};
use std::task::{Context, Wake, Waker};

use safer_ring_sys::fork;

#[cfg(feature = "tokio")]
pub(crate) use self::tokio::{Arrived, task_of};
#[cfg(not(feature = "tokio"))]
pub(crate) use self::untold::{Arrived, task_of};
use crate::listener;
use crate::shared::SharedCell;

/// Which runtime the calling thread has that can hear, as far as it can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    #[cfg(feature = "tokio")]
    Tokio,
    #[cfg(feature = "smol")]
    Smol,
}

impl Kind {
    /// Above all words that stand for the reactor.
    #[inline]
    fn word(self) -> u8 {
        match self {
            #[cfg(feature = "tokio")]
            Self::Tokio => 16,
            #[cfg(feature = "smol")]
            Self::Smol => 17,
        }
    }
}

/// A bell, as a poller holds it: its number stays the same until the poller has let it go.
#[cfg_attr(
    not(any(feature = "tokio", feature = "smol")),
    allow(dead_code, reason = "no poller to put it into")
)]
#[derive(Debug)]
struct Bell(Arc<OwnedFd>);

impl AsRawFd for Bell {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What a forked child leaves as it is: a poller is shared with the parent, whose place in it a child must not give up, and its
/// locks may be held by threads that are not there.
#[cfg_attr(
    not(any(feature = "tokio", feature = "smol")),
    allow(dead_code, reason = "no poller to put anything into")
)]
#[derive(Debug)]
struct Ours<T> {
    value: Option<T>,
    epoch: u32,
}

impl<T> Ours<T> {
    fn new(value: T) -> Self {
        Self { value: Some(value), epoch: fork::current() }
    }
}

impl<T> Deref for Ours<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        match &self.value {
            Some(value) => value,
            None => unreachable!("only the drop takes it"),
        }
    }
}

impl<T> Drop for Ours<T> {
    fn drop(&mut self) {
        if fork::current() != self.epoch {
            std::mem::forget(self.value.take());
        }
    }
}

/// Where a bell is.
#[derive(Debug)]
enum Place {
    #[cfg(feature = "tokio")]
    Tokio(tokio::Place),
    #[cfg(feature = "smol")]
    Smol(smol::Place),
}

impl Place {
    /// In the poller of the calling thread's runtime. `None` if there is no such, or it takes nothing.
    #[cfg_attr(
        not(any(feature = "tokio", feature = "smol")),
        expect(unused_variables, reason = "no poller to put it into")
    )]
    fn find(bell: &Arc<OwnedFd>) -> Option<Self> {
        match here()? {
            #[cfg(feature = "tokio")]
            Kind::Tokio => tokio::Place::new(Bell(Arc::clone(bell))).map(Self::Tokio),
            #[cfg(feature = "smol")]
            Kind::Smol => smol::Place::new(Bell(Arc::clone(bell))).map(Self::Smol),
        }
    }

    /// Waits for the next signal: those that came before need no answer any more. Tells whether the runtime lives.
    #[cfg_attr(
        not(any(feature = "tokio", feature = "smol")),
        expect(unused_variables, reason = "there is no place")
    )]
    fn arm(&self, context: &mut Context<'_>) -> bool {
        match *self {
            #[cfg(feature = "tokio")]
            Self::Tokio(ref place) => place.arm(context),
            #[cfg(feature = "smol")]
            Self::Smol(ref place) => place.arm(context),
        }
    }
}

/// The runtime of the calling thread.
#[inline]
fn here() -> Option<Kind> {
    #[cfg(feature = "tokio")]
    if tokio::is_here() {
        return Some(Kind::Tokio);
    }
    // Its poller serves every thread.
    #[cfg(feature = "smol")]
    return Some(Kind::Smol);
    #[cfg(not(feature = "smol"))]
    None
}

/// [`Kind::word`] of the runtime of the calling thread.
#[inline]
pub(crate) fn word_here() -> Option<u8> {
    here().map(Kind::word)
}

/// A bell in the poller of a runtime, and who is woken.
#[derive(Debug)]
pub(crate) struct Watcher {
    place: Ours<Place>,
    waker: Waker,
}

/// What the poller wakes: it leads back without keeping anything alive, since the poller keeps it.
struct Ear {
    cell: Weak<SharedCell>,
    watcher: Weak<Watcher>,
}

impl Watcher {
    /// Puts a bell into the poller of the calling thread's runtime. `None` if there is no such, or it takes nothing.
    pub(crate) fn new(cell: &Arc<SharedCell>, bell: &Arc<OwnedFd>) -> Option<Arc<Self>> {
        let place = Place::find(bell)?;
        Some(Arc::new_cyclic(|watcher| {
            let ear = Ear { cell: Arc::downgrade(cell), watcher: Weak::clone(watcher) };
            Self { place: Ours::new(place), waker: Waker::from(Arc::new(ear)) }
        }))
    }

    /// Waits for the next signal: those that came before need no answer any more. Tells whether the runtime lives.
    pub(crate) fn arm(&self) -> bool {
        self.place.arm(&mut Context::from_waker(&self.waker))
    }
}

impl listener::Ear for Watcher {
    fn word(&self) -> u8 {
        match *self.place {
            #[cfg(feature = "tokio")]
            Place::Tokio(_) => Kind::Tokio.word(),
            #[cfg(feature = "smol")]
            Place::Smol(_) => Kind::Smol.word(),
        }
    }

    fn is_here(&self) -> bool {
        match *self.place {
            #[cfg(feature = "tokio")]
            Place::Tokio(ref place) => place.is_here(),
            // There is one poller for the process.
            #[cfg(feature = "smol")]
            Place::Smol(_) => here() == Some(Kind::Smol),
        }
    }
}

impl Wake for Ear {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    /// On the thread that polls for the runtime, outside of the runtime's locks.
    fn wake_by_ref(self: &Arc<Self>) {
        let (Some(cell), Some(watcher)) = (self.cell.upgrade(), self.watcher.upgrade()) else {
            return;
        };
        // In this order: a signal after this is an event of its own.
        let alive = watcher.arm();
        if !alive {
            cell.lose_runtime(&watcher);
        }
        cell.turn();
    }
}
