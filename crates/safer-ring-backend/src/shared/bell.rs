//! The bell of a shared ring's kernel ring, for the listener that decides who hears it.

use std::sync::Arc;

use super::{SharedCell, lock};
use crate::backend::Backend as _;
use crate::listener::{Bell, Hearing, Look};
use crate::runtime::{self, Watcher};

impl SharedCell {
    /// Another listener: the runtime of the calling thread, if it has one, else the reactor. Outside of the lock, since
    /// a runtime may answer at once.
    #[cold]
    pub(super) fn find_listener(self: &Arc<Self>) {
        if !self.is_ours() {
            return;
        }
        let Some(watcher) = self.listener.find(self) else { return };
        self.stay_awake();
        let alive = watcher.arm();
        if !alive {
            self.lose_runtime(&watcher);
        }
        // What was signalled before it was armed is not heard of again.
        self.turn();
    }

    /// The runtime of `watcher` has ended.
    pub(crate) fn lose_runtime(self: &Arc<Self>, watcher: &Arc<Watcher>) {
        if self.is_ours() {
            self.listener.lose(self, watcher);
        }
    }

    /// The reactor looks whether a runtime that listens hears: what it does not is taken in here, and from now on.
    pub(crate) fn check(self: &Arc<Self>, is_long: bool) -> Hearing {
        let hearing = {
            let state = lock(&self.state);
            let Some(driver) = &state.driver else { return Hearing::Idle };
            let (in_flight, waiting) = (driver.is_busy(), driver.backend().has_news());
            self.listener.check(Look { in_flight, waiting, taken_in: driver.taken_in(), is_long })
        };
        match hearing {
            Hearing::Deaf => {
                self.listener.shun(self);
                self.turn();
            }
            Hearing::Quiet => {
                self.listener.rest(self);
                // From now on there is nothing to look after.
                return Hearing::Idle;
            }
            _ => {}
        }
        hearing
    }

    fn hear(&self, heard: bool) {
        if let Some(reactor) = &self.reactor {
            reactor.hear(self, heard);
        }
    }
}

impl Bell for Arc<SharedCell> {
    type Ear = Watcher;

    fn is_there(&self) -> bool {
        self.bell().is_some()
    }

    fn here(&self) -> Option<u8> {
        runtime::word_here()
    }

    fn enter_runtime(&self) -> Option<Arc<Watcher>> {
        Watcher::new(self, &self.bell()?)
    }

    fn reactor_hears(&self, heard: bool) {
        self.hear(heard);
    }
}
