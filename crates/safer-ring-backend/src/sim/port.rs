//! One ring's side of a simulated kernel: entries in, completions out.
//!
//! # Safety
//! Keeps submissions between `submit` and the `enter` that takes them, under the contract of `Backend::submit`.
//!
//! Tests: files_keep_what_was_written
#![allow(unsafe_code, reason = "hands on the contract of Backend::submit")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use safer_ring_sys::{Errno, OtherSide};

use super::faults::Entry;
use super::kernel::{Kernel, Machine};
use super::multishot::Shelf;
use crate::backend::{Submission, Wait};
use crate::clock;
use crate::engine::Post;

/// How long a program that waits for what never comes lets a thread of this machine sleep at a time.
const HOPELESS: Duration = Duration::from_millis(1);

#[derive(Debug)]
enum Queued {
    /// With the slot that it names its memory by.
    Operation(Submission, Option<u16>),
    Cancel {
        user_data: u64,
        target: u64,
    },
    Timer {
        user_data: u64,
        after: Duration,
    },
}

/// The kernel as one ring sees it.
#[derive(Debug)]
pub(crate) struct Port {
    ring: usize,
    machine: Arc<Machine>,
    post: Post,
    queued: VecDeque<Queued>,
}

// SAFETY: the pointers in submissions lead to lent memory, valid from any thread (contract of `Backend::submit`).
unsafe impl Send for Port {}

impl Port {
    pub(super) fn new(machine: Arc<Machine>, other: OtherSide) -> Self {
        let ring = machine.lock().add_ring(super::narrow(other.completions().into()));
        Self { ring, machine, post: Post::new(other), queued: VecDeque::new() }
    }

    /// A group of buffers for its receives.
    pub(crate) fn shelf(&self, number: u16) -> Shelf {
        Shelf::new(&self.machine, self.ring, number)
    }

    /// Gives it a table of so many places for registered memory, all empty.
    pub(crate) fn make_slots(&self, count: u32) -> Result<(), Errno> {
        self.machine.lock().make_slots(self.ring, count)
    }

    /// Registers `len` bytes at an address in a slot; none at 0 empty it. Nothing is read there, or written, by that.
    pub(crate) fn fill_slot(&self, slot: u16, start: usize, len: usize) -> Result<(), Errno> {
        self.machine.lock().fill_slot(self.ring, slot, start, len)
    }

    /// # Safety
    /// As `Backend::submit`.
    pub(crate) unsafe fn submit(&mut self, submission: &Submission, slot: Option<u16>) {
        self.queued.push_back(Queued::Operation(*submission, slot));
    }

    pub(crate) fn cancel(&mut self, user_data: u64, target: u64) {
        self.queued.push_back(Queued::Cancel { user_data, target });
    }

    pub(crate) fn timer(&mut self, user_data: u64, after: Duration) {
        self.queued.push_back(Queued::Timer { user_data, after });
    }

    /// Takes back what was queued last; gives its name.
    pub(crate) fn retract(&mut self) -> Option<u64> {
        self.queued.pop_back().map(|queued| match queued {
            Queued::Operation(submission, _) => submission.user_data,
            Queued::Cancel { user_data, .. } | Queued::Timer { user_data, .. } => user_data,
        })
    }

    /// Takes what is queued, or some of it, or none, and waits as told.
    ///
    /// # Errors
    /// Those that the seed wants; `ETIME` when the time is over.
    pub(crate) fn enter(&mut self, wait: Wait) -> Result<(), Errno> {
        let machine = Arc::clone(&self.machine);
        let mut kernel = machine.lock();
        let entries = self.queued.len();
        let entry = kernel.entry(entries);
        match entry {
            Entry::Refused(errno) => {
                kernel.note(format_args!("ring {} enters: {errno}, nothing taken", self.ring));
                return Err(errno);
            }
            Entry::Part(count) => self.take(&mut kernel, count),
            Entry::Whole | Entry::Failed(_) => self.take(&mut kernel, entries),
        }
        kernel.run();
        self.collect(&mut kernel);
        if let Entry::Failed(errno) = entry {
            kernel.note(format_args!("ring {} enters: {errno}, all taken", self.ring));
            return Err(errno);
        }
        let limit = match wait {
            Wait::No | Wait::Fresh => return Ok(()),
            Wait::One => u64::MAX,
            Wait::For(limit) => kernel.now().saturating_add(clock::ns(limit)),
        };
        let ended = self.wait(&mut kernel, limit);
        drop(kernel);
        if ended == Err(Errno::INTR) {
            // Only something outside of the world can go on here.
            std::thread::sleep(HOPELESS);
        }
        ended
    }

    /// Lets time go by until there is a completion.
    fn wait(&mut self, kernel: &mut Kernel, limit: u64) -> Result<(), Errno> {
        // Who waits gets what was held back first.
        self.post.refill_held();
        while !self.post.has_unread() {
            match kernel.next_event_of(self.ring) {
                Some(next) if next <= limit => kernel.go_to(next),
                None if limit == u64::MAX => return Err(Errno::INTR),
                _ => {
                    kernel.go_to(limit);
                    return Err(Errno::TIME);
                }
            }
            kernel.run();
            self.collect(kernel);
        }
        Ok(())
    }

    /// Takes the first so many entries, and the rest of a chain that would be torn.
    fn take(&mut self, kernel: &mut Kernel, count: usize) {
        let mut taken = 0;
        while taken < count || (taken > 0 && kernel.in_chain(self.ring)) {
            match self.queued.pop_front() {
                None => break,
                Some(Queued::Operation(submission, slot)) => {
                    // SAFETY: the copy of what one call of `submit` got, whose promise holds until the last completion.
                    unsafe { kernel.take(self.ring, &submission, slot) };
                }
                Some(Queued::Cancel { user_data, target }) => {
                    kernel.take_cancel(self.ring, user_data, target);
                }
                Some(Queued::Timer { user_data, after }) => {
                    kernel.take_timer(self.ring, user_data, after);
                }
            }
            taken += 1;
        }
        kernel.end_chain(self.ring);
        self.post.consume_some(u32::try_from(taken).unwrap_or(u32::MAX));
    }

    /// Posts the completions that are due, or some of them.
    fn collect(&mut self, kernel: &mut Kernel) {
        let mut left = kernel.batch();
        while left > 0
            && let Some(cqe) = kernel.next_completion(self.ring)
        {
            let held = self.post.is_holding();
            if !held && kernel.overflows() {
                self.post.hold(cqe);
            } else {
                self.post.post_entry(cqe);
            }
            if !held && self.post.is_holding() {
                kernel.note(format_args!("ring {} overflows", self.ring));
            }
            left -= 1;
        }
        if left == 0 && kernel.has_due(self.ring) {
            kernel.note(format_args!("ring {} is given a part of what has ended", self.ring));
        }
    }

    /// Takes in what has ended.
    pub(crate) fn gather(&mut self) {
        let machine = Arc::clone(&self.machine);
        let mut kernel = machine.lock();
        kernel.run();
        self.collect(&mut kernel);
    }

    pub(crate) fn refill(&mut self) {
        self.post.refill();
    }

    pub(crate) fn has_news(&self) -> bool {
        self.post.has_unread() || self.machine.lock().has_due(self.ring)
    }

    pub(crate) fn now_ns(&self) -> u64 {
        self.machine.lock().now()
    }

    pub(crate) fn coarse_ms(&self) -> u32 {
        let [.., a, b, c, d] = (self.now_ns() / 1_000_000).to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    /// Lets time go by.
    pub(crate) fn pause(&mut self, pause: Duration) {
        let mut kernel = self.machine.lock();
        let now = kernel.now();
        kernel.go_to(now.saturating_add(clock::ns(pause)));
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.machine.lock().end_ring(self.ring);
    }
}
