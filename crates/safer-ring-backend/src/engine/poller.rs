//! epoll(7) and timerfd, in the form that the engine needs.
//!
//! # Safety
//! The calls fill arrays and read structures on the caller's stack, whose lengths are passed along.
//!
//! Tests: a_wait_ends_after_its_time_and_not_before
#![allow(unsafe_code, reason = "epoll_pwait2(2), which libraries do not offer")]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno as OsErrno;
use safer_ring_sys::Errno;

use crate::wake::os_errno;

/// Events that are taken at a time.
pub(super) const EVENTS: usize = 64;

/// What is polled for the engine itself; descriptors have their number.
pub(super) mod own {
    pub(in super::super) const WAKE: u64 = u64::MAX;
    pub(in super::super) const POOL: u64 = u64::MAX - 1;
    pub(in super::super) const DISK: u64 = u64::MAX - 2;
    pub(in super::super) const TIMER: u64 = u64::MAX - 3;
}

/// One event: whose, and what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    pub(super) data: u64,
    pub(super) events: u32,
}

/// A poller of its own.
#[derive(Debug)]
pub(crate) struct Poller {
    epoll: OwnedFd,
    /// The kernel has no `epoll_pwait2` (5.11), or a filter hides it.
    coarse: bool,
}

impl Poller {
    pub(crate) fn new() -> Result<Self, Errno> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(os_errno)?;
        Ok(Self { epoll, coarse: false })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Watches one of the engine's own descriptors. Edge-triggered, so nobody has to read it.
    pub(super) fn add_own(&self, fd: BorrowedFd<'_>, data: u64) -> Result<(), Errno> {
        let flags = EventFlags::IN | EventFlags::ET;
        epoll::add(&self.epoll, fd, EventData::new_u64(data), flags).map_err(os_errno)
    }

    /// One event of `events`, the next time that any of them holds, which may be now.
    ///
    /// `known` says whether the descriptor is thought to be registered; it is corrected.
    pub(super) fn arm(
        &self,
        fd: BorrowedFd<'_>,
        data: u64,
        events: u32,
        known: &mut bool,
    ) -> Result<(), Errno> {
        let flags = EventFlags::from_bits_retain(events) | EventFlags::ONESHOT;
        let data = EventData::new_u64(data);
        // A number can have been closed and given to another file since.
        for _ in 0..2 {
            let done = if *known {
                epoll::modify(&self.epoll, fd, data, flags)
            } else {
                epoll::add(&self.epoll, fd, data, flags)
            };
            match done {
                Ok(()) => {
                    *known = true;
                    return Ok(());
                }
                Err(OsErrno::NOENT) if *known => *known = false,
                Err(OsErrno::EXIST) if !*known => *known = true,
                Err(other) => {
                    *known = false;
                    return Err(os_errno(other));
                }
            }
        }
        Err(Errno::BUSY)
    }

    /// Waits for events, at most so long; `None` is for ever.
    pub(super) fn wait(
        &mut self,
        events: &mut Vec<Event>,
        limit: Option<Duration>,
    ) -> Result<(), Errno> {
        events.clear();
        let mut raw = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        let count = self.wait_raw(&mut raw, limit)?;
        let found = raw.iter().take(count);
        events.extend(found.map(|event| Event { data: event.u64, events: event.events }));
        Ok(())
    }

    fn wait_raw(
        &mut self,
        raw: &mut [libc::epoll_event; EVENTS],
        limit: Option<Duration>,
    ) -> Result<usize, Errno> {
        let (epoll, most) = (self.epoll.as_raw_fd(), 64);
        let fine = limit.is_some_and(|limit| !limit.is_zero()) && !self.coarse;
        let result = if fine {
            let limit = limit.unwrap_or_default();
            let time = libc::timespec {
                tv_sec: limit.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: limit.subsec_nanos().into(),
            };
            let none = std::ptr::null::<libc::c_void>();
            // SAFETY: an array of 64 events and a time on this stack; no signal mask.
            unsafe {
                libc::syscall(
                    libc::SYS_epoll_pwait2,
                    epoll,
                    raw.as_mut_ptr(),
                    most,
                    &raw const time,
                    none,
                    0usize,
                )
            }
        } else {
            let millis = limit.map_or(-1, coarse_ms);
            // SAFETY: an array of 64 events on this stack.
            unsafe { libc::epoll_wait(epoll, raw.as_mut_ptr(), most, millis) }.into()
        };
        match usize::try_from(result) {
            Ok(count) => Ok(count),
            Err(_) => match Errno::last() {
                Errno::NOSYS | Errno::PERM if fine => {
                    self.coarse = true;
                    self.wait_raw(raw, limit)
                }
                errno => Err(errno),
            },
        }
    }
}

/// Not shorter than asked.
fn coarse_ms(limit: Duration) -> i32 {
    let nanos = limit.as_nanos();
    i32::try_from(nanos.div_ceil(1_000_000)).unwrap_or(i32::MAX)
}

/// Which of `events` hold for `fd` now, with errors and hang-ups. 0 if none.
pub(super) fn ready_now(fd: RawFd, events: u32) -> u32 {
    let events = i16::try_from(events & 0x7fff).unwrap_or(i16::MAX);
    let mut poll = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: one pollfd, on this stack.
    let count = unsafe { libc::poll(&raw mut poll, 1, 0) };
    if count > 0 { u32::from(poll.revents.cast_unsigned()) } else { 0 }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_wait_ends_after_its_time_and_not_before() {
        for coarse in [false, true] {
            let mut poller = Poller { coarse, ..Poller::new().unwrap() };
            let mut events = Vec::new();
            for limit in [0, 300, 2_700].map(Duration::from_micros) {
                let start = Instant::now();
                poller.wait(&mut events, Some(limit)).unwrap();
                assert!(events.is_empty() && start.elapsed() >= limit);
            }
        }
    }
}
