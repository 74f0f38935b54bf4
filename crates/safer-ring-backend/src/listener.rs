//! Who hears of the completions of a shared ring's kernel ring.
//!
//! Each kernel ring signals an eventfd, its bell, for completions that nobody inside of a system call is about to find.
//! The bell is in the epoll of the process's [reactor](crate::reactor) thread; with the feature `tokio`, and where the
//! thread that waits belongs to a tokio runtime, it is in the runtime's own poller in its place. Then the worker that
//! sleeps there takes the completions in and wakes the tasks from inside of the runtime, and no other thread is involved.
//!
//! * The bell is edge-triggered and never read: each signal is an event. A bell that is put into a poller after it was
//!   signalled is an event at once, so changing pollers loses none.
//! * Changes of who hears are made one at a time, the reactor's part included: of two that meet, the one could have put
//!   the bell into a poller for which the other takes it from the reactor, and then drop that poller's hold.
//! * A runtime that ends wakes whoever waits in its poller; the bell goes back to the reactor then.
//! * A runtime whose threads are all blocked hears nothing. Tokio's own sockets stand still then, but a task may block on
//!   an operation of this ring, and nobody could end it. The reactor looks now and then
//!   ([`Listener::check`]), and takes the bell of a runtime that does not hear it.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock;
use crate::runtime::{self, Watcher};

/// How long a runtime that did not hear is left alone.
const SHUN_MS: u32 = 60_000;

/// Who hears a bell, as a word that is read without a lock: one of these, or the word of a [`runtime::Kind`].
mod who {
    pub(super) const REACTOR: u8 = 0;
    /// The reactor, because a runtime did not, for some time ([`SHUN_MS`](super::SHUN_MS)).
    pub(super) const REACTOR_FOR_NOW: u8 = 1;
    /// The reactor, because the runtime takes no descriptors.
    pub(super) const REACTOR_FOR_GOOD: u8 = 2;
}

/// What the reactor's look at a ring has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hearing {
    /// Nothing is to be heard of by a runtime.
    Idle,
    /// Something is in flight.
    Good,
    /// Something has been announced, and not been taken in yet.
    Late,
    /// That was so the last time too.
    Deaf,
}

/// Why the reactor hears a bell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The thread belongs to no runtime, or its runtime has ended.
    NoRuntime,
    /// The runtime takes no descriptors.
    Refused,
    /// The runtime did not hear.
    Deaf,
}

/// Where a bell is heard.
#[derive(Debug, Default)]
pub(crate) struct Listener {
    /// One of [`who`]; written in a [`Change`].
    who: AtomicU8,
    watcher: Mutex<Option<Arc<Watcher>>>,
    /// Since when a runtime is left alone.
    shunned_ms: AtomicU32,
    /// Completions that had been taken in at the reactor's last look, plus one, if that found some waiting.
    late: AtomicU64,
}

impl Listener {
    /// Begins a change of who hears: there is one at a time.
    pub(crate) fn change(&self) -> Change<'_> {
        let watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        Change { listener: self, watcher }
    }

    /// Whether the calling thread, which leaves something in flight, should find another listener.
    #[inline]
    pub(crate) fn is_wrong_here(&self) -> bool {
        match self.who.load(Ordering::Relaxed) {
            who::REACTOR => runtime::here().is_some(),
            who::REACTOR_FOR_NOW => {
                let since = self.shunned_ms.load(Ordering::Relaxed);
                clock::coarse_ms().wrapping_sub(since) >= SHUN_MS && runtime::here().is_some()
            }
            who::REACTOR_FOR_GOOD => false,
            kind => runtime::here().is_none_or(|here| here.word() != kind),
        }
    }

    /// Whether a runtime hears it.
    #[inline]
    pub(crate) fn is_runtime(&self) -> bool {
        self.who.load(Ordering::Relaxed) > who::REACTOR_FOR_GOOD
    }

    /// The reactor's look: with something in flight, and with completions waiting, after so many were taken in.
    pub(crate) fn check(&self, in_flight: bool, waiting: bool, taken_in: u64) -> Hearing {
        if !self.is_runtime() || !in_flight {
            return Hearing::Idle;
        }
        if !waiting {
            self.late.store(0, Ordering::Relaxed);
            return Hearing::Good;
        }
        if self.late.swap(taken_in + 1, Ordering::Relaxed) == taken_in + 1 {
            Hearing::Deaf
        } else {
            Hearing::Late
        }
    }
}

/// A change of who hears, while no other one is made.
#[derive(Debug)]
pub(crate) struct Change<'a> {
    listener: &'a Listener,
    watcher: MutexGuard<'a, Option<Arc<Watcher>>>,
}

impl Change<'_> {
    /// Whether this is the watcher that hears.
    pub(crate) fn is_heard_by(&self, watcher: &Arc<Watcher>) -> bool {
        self.watcher.as_ref().is_some_and(|held| Arc::ptr_eq(held, watcher))
    }

    /// From now on a runtime hears it. Gives the one that did before, for the caller to drop outside of all locks.
    pub(crate) fn give_to_runtime(mut self, watcher: Arc<Watcher>) -> Option<Arc<Watcher>> {
        self.listener.who.store(watcher.word(), Ordering::Relaxed);
        self.watcher.replace(watcher)
    }

    /// From now on the reactor hears it. Gives the watcher that did before, for the caller to drop outside of all locks.
    pub(crate) fn give_to_reactor(mut self, why: Why) -> Option<Arc<Watcher>> {
        let who = match why {
            Why::NoRuntime => who::REACTOR,
            Why::Refused => who::REACTOR_FOR_GOOD,
            Why::Deaf => {
                self.listener.shunned_ms.store(clock::coarse_ms(), Ordering::Relaxed);
                who::REACTOR_FOR_NOW
            }
        };
        self.listener.who.store(who, Ordering::Relaxed);
        self.watcher.take()
    }
}
