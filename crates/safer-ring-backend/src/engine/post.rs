//! Completions on their way to the driver: into the completion queue, and beside it when that is full.

use std::collections::VecDeque;

use safer_ring_sys::{Cqe, OtherSide, sq_ring};

/// The completion queue as the engine sees it.
#[derive(Debug)]
pub(crate) struct Post {
    other: OtherSide,
    /// Those that did not fit. While there are any, the queue's flags say so (`IORING_SQ_CQ_OVERFLOW`).
    held: VecDeque<Cqe>,
}

impl Post {
    pub(crate) fn new(other: OtherSide) -> Self {
        Self { other, held: VecDeque::new() }
    }

    #[inline]
    pub(crate) fn post(&mut self, user_data: u64, res: i32) {
        self.post_entry(Cqe { user_data, res, flags: 0 });
    }

    /// One with flags.
    #[inline]
    pub(crate) fn post_entry(&mut self, cqe: Cqe) {
        if !self.held.is_empty() {
            self.held.push_back(cqe);
        } else if let Err(cqe) = self.other.post(cqe) {
            self.hold(cqe);
        }
    }

    /// Keeps one beside the queue, as if that was full.
    #[cold]
    pub(crate) fn hold(&mut self, cqe: Cqe) {
        self.held.push_back(cqe);
        self.other.set_flags(sq_ring::CQ_OVERFLOW);
    }

    /// Moves what was held back into the queue, as far as there is room.
    pub(crate) fn refill(&mut self) {
        while let Some(cqe) = self.held.front() {
            if self.other.post(*cqe).is_err() {
                return;
            }
            self.held.pop_front();
        }
        self.other.set_flags(0);
    }

    /// Whether there are completions beside the queue.
    pub(crate) fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// [`Post::refill`], if there is anything to move.
    pub(crate) fn refill_held(&mut self) {
        if self.is_holding() {
            self.refill();
        }
    }

    /// Gives the places of what was submitted back.
    #[inline]
    pub(crate) fn consume(&mut self) {
        self.other.consume();
    }

    /// The same for the first `count` of them.
    pub(crate) fn consume_some(&mut self, count: u32) {
        self.other.consume_some(count);
    }

    /// Whether the driver has something to pop.
    #[inline]
    pub(crate) fn has_unread(&self) -> bool {
        self.other.unread() > 0
    }
}
