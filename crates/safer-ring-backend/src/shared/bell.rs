//! The bell of a shared ring's kernel ring, for the listener that decides who hears it.

use std::sync::Arc;

use super::SharedCell;
use crate::listener::Bell;
use crate::runtime::{self, Watcher};

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
