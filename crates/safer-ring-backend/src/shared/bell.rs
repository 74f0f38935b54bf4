//! The bell of a shared ring's kernel ring, for the listener that decides who hears it.

use std::sync::Arc;

use super::SharedCell;
use crate::listener::Bell;
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
