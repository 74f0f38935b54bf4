//! Kernel timers and the wake descriptor: submissions of the driver's own.

use std::os::fd::RawFd;
use std::time::Duration;

use safer_ring_core::{Key, Tag};

use super::Driver;
use crate::backend::Backend;
use crate::fd::Guard;
use crate::uring::RingBackend;

/// The least time for a timer of the kernel: what is due sooner, or soon after, ends with it, where each would cost a turn. As much
/// as the kernel's own for threads that sleep (prctl(2), `PR_SET_TIMERSLACK`).
const SLACK_NS: u64 = 50_000;

impl<K: Guard> Driver<K, RingBackend> {
    /// Makes sure the kernel posts a completion when the table's next deadline is due: for waiters
    /// that sleep in a poller, which knows nothing of the deadlines.
    pub(crate) fn arm_timer(&mut self) {
        self.timer_ended = false;
        let Some(deadline) = self.table.next_deadline() else { return };
        if self.timers.iter().flatten().any(|(_, armed)| *armed <= deadline) {
            return;
        }
        if self.backend.room() == 0 {
            self.flush();
            if self.backend.room() == 0 {
                // The kernel takes nothing now; whoever tries again arms it.
                self.timer_ended = true;
                return;
            }
        }
        let left = deadline.saturating_sub(self.backend.now_ns());
        let left = if self.backend.is_simulated() { left } else { left.max(SLACK_NS) };
        let free = self.timers.iter().position(Option::is_none);
        let index = free.unwrap_or(self.timers.len());
        let left = Duration::from_nanos(left);
        let timer = Some((RingBackend::timespec(left), deadline));
        match self.timers.get_mut(index) {
            Some(slot) => *slot = timer,
            None => self.timers.push(timer),
        }
        let name = timer_name(u32::try_from(index).unwrap_or(u32::MAX));
        if let Some(Some((lease, _))) = self.timers.get(index) {
            self.table.expect_internal();
            self.backend.push_timer(name, lease, left);
        }
    }

    /// Whether a timer's completion was reaped by somebody who has not armed the next one since.
    #[inline(always)]
    pub(crate) fn wants_timer(&self) -> bool {
        self.timer_ended
    }

    /// Somebody else will look at it: whoever was asked to try again.
    #[cold]
    pub(crate) fn forget_timer(&mut self) {
        self.timer_ended = false;
    }

    /// Makes sure a completion is posted when `fd` becomes readable, unless that is armed already.
    pub(crate) fn arm_wake(&mut self, fd: RawFd) -> bool {
        if self.backend.room() == 0 {
            return false;
        }
        self.table.expect_internal();
        self.backend.push_poll(Key::new(0, 1).user_data(Tag::Wake), fd);
        true
    }
}

impl<K: Guard, B: Backend> Driver<K, B> {
    pub(super) fn cancel_timers(&mut self) {
        for index in 0..self.timers.len() {
            if self.timers.get(index).is_some_and(Option::is_some) && self.backend.room() > 0 {
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                self.table.expect_internal();
                let cancel = Key::new(index, 2).user_data(Tag::Timer);
                self.backend.cancel(cancel, timer_name(index));
            }
        }
    }
}

/// The name of the armed timer with this index; its cancellation has generation 2.
fn timer_name(index: u32) -> u64 {
    Key::new(index, 1).user_data(Tag::Timer)
}
