//! What the poller tells, and what follows from it.

use std::os::fd::RawFd;
use std::time::Duration;

use safer_ring_core::Op;
use safer_ring_sys::Errno;

use super::alarms::Alarm;
use super::attempt::{self, Attempt, IN, OUT};
use super::class::Kind;
use super::poller::{EVENTS, Event, own};
use super::steps::wanted;
use super::waits::{self, Entry, Line, Place};
use super::{ERR, Engine, HUP, RDHUP};

/// Until a descriptor that only reports an error is watched again.
const MUCH_LATER: Duration = Duration::from_millis(10);

impl Engine {
    /// Looks at the poller, at most so long.
    pub(super) fn look(&mut self, limit: Option<Duration>) -> Result<(), Errno> {
        let mut limit = limit;
        let mut events = std::mem::take(&mut self.scratch.events);
        let looked = loop {
            if let Err(errno) = self.poller.wait(&mut events, limit) {
                break Err(errno);
            }
            for event in events.iter().copied() {
                self.hear(event);
            }
            self.settle();
            if events.len() < EVENTS {
                break Ok(());
            }
            limit = Some(Duration::ZERO);
        };
        events.clear();
        self.scratch.events = events;
        looked
    }

    fn hear(&mut self, event: Event) {
        match event.data {
            own::WAKE => {
                if let Some(user_data) = self.wake.take() {
                    self.post.post(user_data, IN.cast_signed());
                }
            }
            own::POOL => self.hear_results(|engine, results| engine.inbox.take(results)),
            own::DISK => self.hear_results(|engine, results| engine.disk.reap(results)),
            own::TIMER => self.hear_alarms(),
            fd => {
                if let Ok(fd) = RawFd::try_from(fd) {
                    self.hear_descriptor(fd, event.events);
                }
            }
        }
    }

    fn hear_results(&mut self, take: impl FnOnce(&mut Self, &mut Vec<(u64, i32)>)) {
        let mut results = std::mem::take(&mut self.scratch.results);
        take(self, &mut results);
        for (user_data, result) in results.drain(..) {
            let Some(entry) = self.waits.find(user_data) else { continue };
            let index = waits::slot(user_data);
            let again = -Errno::AGAIN.raw_os_error();
            match (entry.place, entry.submission.op) {
                // The disk would have to wait for something else than data.
                (Place::Disk, _) if result == again => self.give_to_pool(index),
                // Somebody else was faster; both ends are waited for once more.
                (Place::Pool, Op::Splice { flags, .. } | Op::Tee { flags, .. })
                    if result == again && flags & libc::SPLICE_F_NONBLOCK == 0 =>
                {
                    self.retry(index);
                }
                _ => self.finish(index, result),
            }
        }
        self.scratch.results = results;
    }

    fn hear_alarms(&mut self) {
        let mut due = std::mem::take(&mut self.scratch.alarms);
        self.alarms.take_due(&mut due);
        for alarm in due.drain(..) {
            match alarm {
                Alarm::Timer(user_data) => {
                    self.post.post(user_data, -Errno::TIME.raw_os_error());
                }
                Alarm::Retry(user_data) => {
                    let waits = |entry: &mut Entry| entry.place == Place::Later;
                    if self.waits.find(user_data).is_some_and(waits) {
                        self.retry(waits::slot(user_data));
                    }
                }
                Alarm::Watch(fd) => self.arm(fd),
            }
        }
        self.scratch.alarms = due;
    }

    fn hear_descriptor(&mut self, fd: RawFd, events: u32) {
        let Some(watched) = self.waits.watched(fd) else { return };
        (watched.armed, watched.dry) = (0, false);
        let mut moved = self.hear_polls(fd, events);
        if events & (IN | RDHUP | HUP | ERR) != 0 {
            moved |= self.pump(fd, Line::In, events & RDHUP != 0);
        }
        if events & (OUT | HUP | ERR) != 0 {
            moved |= self.pump(fd, Line::Out, false);
        }
        if !moved && events & (ERR | HUP) != 0 && self.open_alarms().is_ok() {
            // A level that stays, of which nobody here can make use: watched again at once, it would be told of at once.
            self.alarms.set(MUCH_LATER, Alarm::Watch(fd));
        } else {
            self.arm(fd);
        }
    }

    fn hear_polls(&mut self, fd: RawFd, events: u32) -> bool {
        let mut moved = false;
        let mut next = self.waits.first(fd, Line::Poll);
        while let Some(index) = next {
            next = self.waits.behind(index);
            let asked = self.waits.get(index).map_or(0, |entry| wanted(&entry.submission));
            let found = events & (asked | ERR | HUP);
            if found != 0 {
                self.waits.unlink(index);
                self.finish(index, found.cast_signed());
                moved = true;
            }
        }
        moved
    }

    /// Tries those in a queue, in order, as long as they end; `closed` tells that nothing more can arrive. Tells whether
    /// any did.
    fn pump(&mut self, fd: RawFd, line: Line, closed: bool) -> bool {
        let mut moved = false;
        while let Some(index) = self.waits.first(fd, line) {
            let mut came = self.try_again(index);
            if closed && came == Attempt::Wait(IN) && self.is_datagram(index) {
                // Where a receive waits, recv(2) says that it was shut down; where it must not wait, EAGAIN all the same.
                came = Attempt::Done(0);
            }
            let same = match came {
                Attempt::Wait(events) => (events == IN) == (line == Line::In),
                _ => false,
            };
            if same {
                break;
            }
            self.waits.unlink(index);
            self.follow_up(index, came);
            moved = true;
        }
        moved
    }

    fn is_datagram(&mut self, index: u32) -> bool {
        self.waits.get(index).is_some_and(|entry| {
            matches!(attempt::kind(&entry.submission), Kind::Datagram | Kind::Socket)
        })
    }
}
