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
//!   ([`Listener::check`]), and takes the bell of a runtime that does not hear it. Its place in that runtime's poller stays,
//!   for when the runtime is given the bell again: such a change allocates nothing, and until then a signal that the
//!   runtime hears all the same is taken in by who comes first.
//! * A ring in which nothing has ended for a second is heard by the reactor in the same way, which need not look then. The
//!   next operation that has to wait gives the bell back.

use std::sync::Arc;

use safer_ring_buf::sync::{AtomicU8, AtomicU32, AtomicU64, Lock, LockGuard, Ordering};

use crate::clock;

/// How long a runtime that did not hear is left alone.
const SHUN_MS: u32 = 60_000;

/// Who hears a bell, as a word that is read without a lock: one of these, or the [`Ear::word`] of a runtime.
mod who {
    pub(super) const REACTOR: u8 = 0;
    /// The reactor, because a runtime did not, for some time ([`SHUN_MS`](super::SHUN_MS)).
    pub(super) const REACTOR_FOR_NOW: u8 = 1;
    /// The reactor, because nothing happens; the runtime may hear it as well.
    pub(super) const REACTOR_IN_QUIET: u8 = 2;
    /// The reactor, because the runtime takes no descriptors.
    pub(super) const REACTOR_FOR_GOOD: u8 = 3;
}

/// What the reactor's look at a ring has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hearing {
    /// Nothing is to be heard of by a runtime.
    Idle,
    /// Something is in flight, and has been for long.
    Quiet,
    /// Something is in flight.
    Good,
    /// Something has been announced, and not been taken in yet.
    Late,
    /// That was so the last time too.
    Deaf,
}

/// Why the reactor hears a bell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// The thread belongs to no runtime, or its runtime has ended.
    NoRuntime,
    /// The runtime takes no descriptors.
    Refused,
    /// The runtime did not hear.
    Deaf,
    /// There is nothing to hear.
    Quiet,
}

impl Why {
    /// Whether the runtime's place is kept for when it is given the bell again.
    fn keeps_place(self) -> bool {
        matches!(self, Self::Deaf | Self::Quiet)
    }
}

/// A bell in the poller of a runtime.
pub(crate) trait Ear {
    /// Which kind of runtime it is: a word above those of [`who`].
    fn word(&self) -> u8;

    /// Whether it is the calling thread's.
    fn is_here(&self) -> bool;
}

/// A ring's bell, and the pollers that can hear it.
pub(crate) trait Bell {
    type Ear: Ear;

    /// Whether there is still something to hear.
    fn is_there(&self) -> bool;

    /// [`Ear::word`] of the calling thread's runtime, if it has one.
    fn here(&self) -> Option<u8>;

    /// Puts the bell into the poller of the calling thread's runtime. `None` if there is no such, or it takes nothing.
    fn enter_runtime(&self) -> Option<Arc<Self::Ear>>;

    /// Whether the reactor hears the bell from now on. What was signalled before is heard at once.
    fn reactor_hears(&self, heard: bool);
}

/// What there is at one of the reactor's looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub(crate) in_flight: bool,
    /// Completions, to be taken in.
    pub(crate) waiting: bool,
    /// So many have been, ever.
    pub(crate) taken_in: u64,
    /// Whether the last one was long ago.
    pub(crate) is_long: bool,
}

/// Where a bell is heard.
#[derive(Debug)]
pub(crate) struct Listener<E> {
    /// One of [`who`]; written in a [`Change`].
    who: AtomicU8,
    ear: Lock<Option<Arc<E>>>,
    /// Since when a runtime is left alone.
    shunned_ms: AtomicU32,
    /// Completions that had been taken in at the reactor's last look, plus one, if that found some waiting.
    late: AtomicU64,
    /// Those at the last look that found none waiting.
    taken_in: AtomicU64,
}

impl<E> Default for Listener<E> {
    fn default() -> Self {
        Self {
            who: AtomicU8::new(who::REACTOR),
            ear: Lock::new(None),
            shunned_ms: AtomicU32::new(0),
            late: AtomicU64::new(0),
            taken_in: AtomicU64::new(0),
        }
    }
}

impl<E: Ear> Listener<E> {
    /// Another listener: the runtime of the calling thread, if it has one, else the reactor. Gives the runtime's, which is
    /// to be armed.
    pub(crate) fn find(&self, bell: &impl Bell<Ear = E>) -> Option<Arc<E>> {
        let change = self.change();
        // Another thread may have made this change, and the ring may have ended.
        if !bell.is_there() || !self.is_wrong_here(|| bell.here()) {
            return None;
        }
        let Some(ear) = change.kept_here().or_else(|| bell.enter_runtime()) else {
            let why = if bell.here().is_some() { Why::Refused } else { Why::NoRuntime };
            change.hand_to_reactor(bell, why);
            return None;
        };
        bell.reactor_hears(false);
        // Dropped behind the change.
        let before = change.give_to_runtime(Arc::clone(&ear));
        drop(before);
        Some(ear)
    }

    /// The runtime of `ear` has ended.
    pub(crate) fn lose(&self, bell: &impl Bell<Ear = E>, ear: &Arc<E>) {
        let change = self.change();
        if change.is_heard_by(ear) {
            change.hand_to_reactor(bell, Why::NoRuntime);
        }
    }

    /// The runtime does not hear it: it is left alone for some time.
    pub(crate) fn shun(&self, bell: &impl Bell<Ear = E>) {
        self.change().hand_to_reactor(bell, Why::Deaf);
    }

    /// Nothing happens: the reactor hears it too, until something has to wait again.
    pub(crate) fn rest(&self, bell: &impl Bell<Ear = E>) {
        self.change().hand_to_reactor(bell, Why::Quiet);
    }

    /// The ring has ended: nobody hears it.
    pub(crate) fn end(&self) {
        let before = self.change().give_to_reactor(Why::NoRuntime);
        drop(before);
    }

    /// Begins a change of who hears: there is one at a time.
    fn change(&self) -> Change<'_, E> {
        Change { listener: self, ear: self.ear.lock() }
    }

    /// Whether the calling thread, which leaves something in flight, should find another listener.
    #[inline]
    pub(crate) fn is_wrong_here(&self, here: impl Fn() -> Option<u8>) -> bool {
        match self.who.load(Ordering::Relaxed) {
            who::REACTOR | who::REACTOR_IN_QUIET => here().is_some(),
            who::REACTOR_FOR_NOW => {
                let since = self.shunned_ms.load(Ordering::Relaxed);
                clock::coarse_ms().wrapping_sub(since) >= SHUN_MS && here().is_some()
            }
            who::REACTOR_FOR_GOOD => false,
            kind => here() != Some(kind),
        }
    }

    /// Whether a runtime hears it.
    #[inline]
    pub(crate) fn is_runtime(&self) -> bool {
        self.who.load(Ordering::Relaxed) > who::REACTOR_FOR_GOOD
    }

    /// The reactor's look.
    pub(crate) fn check(&self, Look { in_flight, waiting, taken_in, is_long }: Look) -> Hearing {
        if !self.is_runtime() || !in_flight {
            return Hearing::Idle;
        }
        if !waiting {
            self.late.store(0, Ordering::Relaxed);
            let still = self.taken_in.swap(taken_in, Ordering::Relaxed) == taken_in;
            return if still && is_long { Hearing::Quiet } else { Hearing::Good };
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
struct Change<'a, E> {
    listener: &'a Listener<E>,
    ear: LockGuard<'a, Option<Arc<E>>>,
}

impl<E: Ear> Change<'_, E> {
    /// Whether this is the one that hears.
    fn is_heard_by(&self, ear: &Arc<E>) -> bool {
        self.ear.as_ref().is_some_and(|held| Arc::ptr_eq(held, ear))
    }

    /// What a runtime that was left alone has kept, if it is the calling thread's.
    fn kept_here(&self) -> Option<Arc<E>> {
        self.ear.as_ref().filter(|ear| ear.is_here()).cloned()
    }

    /// From now on the reactor hears it.
    fn hand_to_reactor(self, bell: &impl Bell<Ear = E>, why: Why) {
        bell.reactor_hears(true);
        // Dropped behind the change.
        let before = self.give_to_reactor(why);
        drop(before);
    }

    /// From now on a runtime hears it. Gives the one that did before, for the caller to drop outside of all locks.
    fn give_to_runtime(mut self, ear: Arc<E>) -> Option<Arc<E>> {
        self.listener.who.store(ear.word(), Ordering::Relaxed);
        self.ear.replace(ear)
    }

    /// From now on the reactor hears it. Gives the runtime that did before, for the caller to drop outside of all locks, but
    /// for one that keeps its place.
    fn give_to_reactor(mut self, why: Why) -> Option<Arc<E>> {
        let who = match why {
            Why::NoRuntime => who::REACTOR,
            Why::Refused => who::REACTOR_FOR_GOOD,
            Why::Deaf => {
                self.listener.shunned_ms.store(clock::coarse_ms(), Ordering::Relaxed);
                who::REACTOR_FOR_NOW
            }
            Why::Quiet => who::REACTOR_IN_QUIET,
        };
        self.listener.who.store(who, Ordering::Relaxed);
        if why.keeps_place() { None } else { self.ear.take() }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[derive(Debug)]
    struct Entry {
        runtime: u8,
    }

    thread_local! {
        static HERE: Cell<u8> = const { Cell::new(0) };
    }

    impl Ear for Entry {
        fn word(&self) -> u8 {
            16
        }

        fn is_here(&self) -> bool {
            HERE.get() == self.runtime
        }
    }

    /// Counts what is put into pollers; a thread of runtime [`HERE`], of which all are of one kind.
    #[derive(Default)]
    struct Counted {
        entered: Cell<u32>,
        reactor_hears: Cell<bool>,
    }

    impl Bell for Counted {
        type Ear = Entry;

        fn is_there(&self) -> bool {
            true
        }

        fn here(&self) -> Option<u8> {
            Some(16)
        }

        fn enter_runtime(&self) -> Option<Arc<Entry>> {
            self.entered.set(self.entered.get() + 1);
            Some(Arc::new(Entry { runtime: HERE.get() }))
        }

        fn reactor_hears(&self, heard: bool) {
            self.reactor_hears.set(heard);
        }
    }

    /// As if the time were over.
    fn forgive(listener: &Listener<Entry>) {
        let long_ago = clock::coarse_ms().wrapping_sub(SHUN_MS);
        listener.shunned_ms.store(long_ago, Ordering::Relaxed);
    }

    #[test]
    fn a_runtime_that_was_left_alone_gets_the_bell_back_without_an_allocation() {
        let (listener, bell) = (Listener::default(), Counted::default());
        let first = listener.find(&bell).unwrap();
        for _ in 0..3 {
            listener.shun(&bell);
            assert!(bell.reactor_hears.get() && !listener.is_runtime());
            assert!(listener.find(&bell).is_none(), "it is left alone for a minute");
            forgive(&listener);
            let again = listener.find(&bell).unwrap();
            assert!(Arc::ptr_eq(&first, &again), "its place has been kept");
            assert!(!bell.reactor_hears.get() && listener.is_runtime());
        }
        assert_eq!(bell.entered.get(), 1);
    }

    #[test]
    fn a_ring_where_nothing_happens_is_heard_by_the_reactor_until_something_waits_again() {
        let (listener, bell) = (Listener::default(), Counted::default());
        let first = listener.find(&bell).unwrap();
        let look = Look { in_flight: true, waiting: false, taken_in: 7, is_long: true };
        assert_eq!(listener.check(look), Hearing::Good, "some have been taken in since the last");
        assert_eq!(listener.check(Look { is_long: false, ..look }), Hearing::Good);
        assert_eq!(listener.check(Look { taken_in: 8, ..look }), Hearing::Good);
        assert_eq!(listener.check(Look { taken_in: 8, ..look }), Hearing::Quiet);
        listener.rest(&bell);
        assert!(bell.reactor_hears.get() && !listener.is_runtime());
        assert_eq!(listener.check(look), Hearing::Idle, "no look is needed");
        assert!(Arc::ptr_eq(&first, &listener.find(&bell).unwrap()), "its place has been kept");
        assert!(!bell.reactor_hears.get() && listener.is_runtime());
    }

    #[test]
    fn another_runtime_does_not_get_the_place_of_one_that_was_left_alone() {
        let (listener, bell) = (Listener::default(), Counted::default());
        let first = listener.find(&bell).unwrap();
        listener.shun(&bell);
        forgive(&listener);
        HERE.set(1);
        let second = listener.find(&bell).unwrap();
        assert_eq!((second.runtime, bell.entered.get()), (1, 2));
        assert_eq!(Arc::strong_count(&first), 1, "the other place is given up");
    }

    #[test]
    fn a_runtime_that_ends_while_it_is_left_alone_gives_up_its_place() {
        let (listener, bell) = (Listener::default(), Counted::default());
        let ear = listener.find(&bell).unwrap();
        listener.shun(&bell);
        listener.lose(&bell, &ear);
        assert_eq!(Arc::strong_count(&ear), 1);
        assert!(bell.reactor_hears.get());
    }
}
