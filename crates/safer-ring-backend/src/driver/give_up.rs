//! Ending what dropped futures have left on a descriptor: at once, or when it has taken too long.

use std::time::Duration;

use safer_ring_buf::Lease;
use safer_ring_core::{Key, Op};

use super::Driver;
use crate::backend::Backend;
use crate::clock;
use crate::fd::Guard;
use crate::request::Resources;

/// A send without an owner that is to end in time.
#[derive(Debug)]
pub(super) struct Watch {
    giver: Key,
    /// The timer; `None` once the time is over.
    timer: Option<Key>,
}

impl Watch {
    /// Whether the time is over.
    pub(super) fn is_over(&self) -> bool {
        self.timer.is_none()
    }

    /// The same, of the rest of a send that has ended short.
    pub(super) fn of(self, giver: Key) -> Self {
        Self { giver, ..self }
    }
}

impl<K: Guard, B: Backend> Driver<K, B> {
    /// Cancels all that has no owner on `fd`.
    pub(crate) fn give_up(&mut self, fd: &K) {
        let of_it = |other: &Option<K>| other.as_ref().is_some_and(|other| other.raw() == fd.raw());
        let left: Vec<Key> = self
            .table
            .iter()
            .filter(|(_, _, state, resources)| {
                state.orphaned && (of_it(&resources.fd) || of_it(&resources.other))
            })
            .map(|(key, ..)| key)
            .collect();
        for key in left {
            self.cancel(key);
        }
    }

    /// A send without an owner is to end within this time. It is the time of all of it, however many steps it takes.
    pub(super) fn watch(&mut self, giver: Key, limit: Duration) {
        let deadline = self.backend.now_ns().saturating_add(clock::ns(limit));
        // Nothing of the descriptor's, which the timer is not to keep open.
        let nothing = Resources { lease: Lease::empty(), fd: None, other: None };
        let timer = self.table.insert_deadline(Op::Timeout, nothing, deadline).ok();
        if timer.is_none() {
            // Without a timer the time is over now.
            self.table.cancel(giver);
        }
        self.watches.push(Watch { giver, timer });
        // Whoever leaves the driver arms the kernel's.
        self.timer_ended = true;
    }

    /// Cancels the sends whose time is over.
    #[cold]
    pub(super) fn end_overdue(&mut self) {
        let Self { table, watches, .. } = self;
        for watch in watches {
            let Some(timer) = watch.timer.filter(|timer| table.result(*timer).is_some()) else {
                continue;
            };
            drop(table.take(timer));
            watch.timer = None;
            table.cancel(watch.giver);
            self.timer_ended = true;
        }
    }

    /// The watch of a send that has ended.
    pub(super) fn take_watch(&mut self, giver: Key) -> Option<Watch> {
        let at = self.watches.iter().position(|watch| watch.giver == giver)?;
        Some(self.watches.swap_remove(at))
    }

    /// Takes its timer away.
    pub(super) fn end_watch(&mut self, watch: Option<Watch>) {
        if let Some(timer) = watch.and_then(|watch| watch.timer) {
            drop(self.table.orphan(timer));
        }
    }
}
