//! What happens at a time: the driver's timers, and what is tried again. One timerfd for all of it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use safer_ring_sys::Errno;

use crate::clock;
use crate::wake::os_errno;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alarm {
    /// A timer of the driver, which ends with `ETIME`.
    Timer(u64),
    /// An operation is tried again.
    Retry(u64),
    /// A descriptor is watched again.
    Watch(RawFd),
}

/// Those that are set. There are few: one timer for each deadline that is the next, and rare second tries.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    set: Vec<(u64, Alarm)>,
    timer: Option<OwnedFd>,
    /// What the timerfd is set to.
    armed: Option<u64>,
}

impl Alarms {
    /// The timerfd, and whether it was made by this call.
    pub(super) fn open(&mut self) -> Result<(BorrowedFd<'_>, bool), Errno> {
        let fresh = self.timer.is_none();
        let timer = match self.timer.take() {
            Some(timer) => timer,
            None => {
                let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
                rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags).map_err(os_errno)?
            }
        };
        let timer: &OwnedFd = self.timer.insert(timer);
        Ok((timer.as_fd(), fresh))
    }

    /// Sets one, `after` from now, unless it is set already. [`Alarms::open`] has worked.
    pub(super) fn set(&mut self, after: Duration, alarm: Alarm) {
        if self.set.iter().any(|(_, other)| *other == alarm) {
            return;
        }
        self.set.push((clock::now_ns().saturating_add(clock::ns(after)), alarm));
        self.arm();
    }

    /// Takes one back.
    pub(super) fn cancel(&mut self, alarm: Alarm) -> bool {
        let found = self.set.iter().position(|(_, other)| *other == alarm);
        found.map(|at| self.set.swap_remove(at)).is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// Moves those that are due to `due`, and sets the timerfd for the rest.
    pub(super) fn take_due(&mut self, due: &mut Vec<Alarm>) {
        self.armed = None;
        let now = clock::now_ns();
        let taken = self.set.extract_if(.., |(deadline, _)| *deadline <= now);
        due.extend(taken.map(|(_, alarm)| alarm));
        self.arm();
    }

    fn arm(&mut self) {
        let Some(next) = self.set.iter().map(|(deadline, _)| *deadline).min() else { return };
        if self.armed.is_some_and(|armed| armed <= next) {
            return;
        }
        let Some(timer) = &self.timer else { return };
        // 0 would turn it off.
        let left = next.saturating_sub(clock::now_ns()).max(1);
        let seconds = i64::try_from(left / 1_000_000_000).unwrap_or(i64::MAX);
        let nanos = i64::try_from(left % 1_000_000_000).unwrap_or(0);
        let nothing = Timespec { tv_sec: 0, tv_nsec: 0 };
        let time = Itimerspec {
            it_interval: nothing,
            it_value: Timespec { tv_sec: seconds, tv_nsec: nanos },
        };
        // A valid time and a timerfd: it cannot fail.
        let _ = rustix::time::timerfd_settime(timer, TimerfdTimerFlags::empty(), &time);
        self.armed = Some(next);
    }
}
