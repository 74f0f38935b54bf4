//! What goes wrong, how often, and how long things take.

use std::os::fd::RawFd;

use safer_ring_core::CURSOR;
use safer_ring_sys::Errno;

use super::calls::Call;
use super::errnos::{Subject, breaking, breaks, plausible};
use super::files::Kind;
use super::kernel::{Flight, Kernel};
use crate::clock;
use crate::payload::DONTWAIT;

/// What one `enter` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// Takes everything.
    Whole,
    /// Fails before it has taken anything.
    Refused(Errno),
    /// Fails when it has taken everything.
    Failed(Errno),
    /// Takes so many.
    Part(usize),
}

impl Kernel {
    /// What the next `enter` with so many entries does.
    pub(super) fn entry(&mut self, entries: usize) -> Entry {
        let config = self.config.clone();
        if self.rng.chance(config.refused_enters) {
            return Entry::Refused(self.enter_errno());
        }
        if self.rng.chance(config.failed_enters) {
            return Entry::Failed(self.enter_errno());
        }
        if entries > 1 && self.rng.chance(config.partial_enters) {
            return Entry::Part(self.rng.index(entries));
        }
        Entry::Whole
    }

    fn enter_errno(&mut self) -> Errno {
        let all = [Errno::AGAIN, Errno::BUSY, Errno::INTR, Errno::NOMEM];
        self.rng.pick(&all).unwrap_or(Errno::AGAIN)
    }

    /// How many completions one look is given.
    pub(super) fn batch(&mut self) -> usize {
        if self.rng.chance(self.config.batched) { 1 + self.rng.index(3) } else { usize::MAX }
    }

    /// Whether the next completion finds the queue full, whatever room there is.
    pub(super) fn overflows(&mut self) -> bool {
        self.rng.chance(self.config.overflows)
    }

    /// A time up to the longest delay.
    pub(super) fn any_delay(&mut self) -> u64 {
        let longest = clock::ns(self.config.longest_delay);
        self.rng.below(longest.saturating_add(1))
    }

    pub(super) fn any_start_delay(&mut self) -> u64 {
        if self.rng.chance(self.config.delay) { self.any_delay() } else { 0 }
    }

    /// How long it takes until an operation begins.
    pub(super) fn start_delay(&mut self, call: &Call, (fd, other): (RawFd, RawFd)) -> u64 {
        let disk = self.config.slow_disk > 0 && self.subject(call, fd, other) == Subject::Disk;
        if disk && self.rng.chance(self.config.slow_disk) {
            let slowest = clock::ns(self.config.slowest_disk);
            return self.rng.below(slowest.saturating_add(1));
        }
        self.any_start_delay()
    }

    /// How long it takes until its completion is posted.
    pub(super) fn end_delay(&mut self, flight: &Flight) -> u64 {
        let prompt = flight.is_timer() || !self.rng.chance(self.config.late);
        if prompt { 0 } else { self.any_delay() }
    }

    /// The error that an operation suffers in place of being done, after what such an error does besides.
    pub(super) fn fault_of(&mut self, flight: &Flight) -> Option<Errno> {
        if flight.is_timer() || matches!(flight.call, Call::Poll { .. }) {
            return None;
        }
        if flight.sent > 0 || !flight.gathered.is_empty() {
            return None;
        }
        // connect(2) that was interrupted goes on, and a second try says so: the library does not make it. A close that was
        // interrupted has closed.
        let restarts =
            !matches!(flight.call, Call::Connect { .. } | Call::Close { .. } | Call::Unknown);
        if restarts && self.rng.chance(self.config.interrupts) {
            return Some(if self.rng.chance(500) { Errno::CANCELED } else { Errno::INTR });
        }
        if self.may_be_put_off(flight) && self.rng.chance(self.config.not_now) {
            return Some(Errno::AGAIN);
        }
        let subject = self.subject(&flight.call, flight.fd, flight.other);
        let errno = if subject == Subject::Tcp && self.rng.chance(self.config.breaks) {
            self.rng.pick(breaking(&flight.call))?
        } else if self.rng.chance(self.config.errors) {
            self.rng.pick(plausible(&flight.call, subject))?
        } else {
            return None;
        };
        self.suffer(flight, errno);
        Some(errno)
    }

    /// Whether a kernel says `EAGAIN` of an operation that nobody has asked not to wait: where it would poll.
    fn may_be_put_off(&self, flight: &Flight) -> bool {
        let waits = match flight.call {
            Call::Read { offset } | Call::Write { offset } => offset == CURSOR,
            Call::Recv { flags, .. } | Call::Send { flags, .. } => flags & DONTWAIT == 0,
            Call::RecvMulti { .. } => !flight.many.begun,
            Call::Accept { .. } => true,
            _ => false,
        };
        // The wrong end of a pipe is refused before anything else.
        let wrong = match self.opened(flight.fd).map(|open| open.kind) {
            Ok(Kind::PipeReader(_)) => matches!(flight.call, Call::Write { .. }),
            Ok(Kind::PipeWriter(_)) => matches!(flight.call, Call::Read { .. }),
            _ => false,
        };
        waits && !wrong && !matches!(self.subject_of(flight.fd), Subject::Disk | Subject::Nothing)
    }

    /// What an error does beside being told: the rest of what was to be done may be done in part, or is lost.
    pub(super) fn suffer(&mut self, flight: &Flight, errno: Errno) {
        let fd = flight.fd;
        match (&flight.call, self.subject(&flight.call, fd, flight.other)) {
            (Call::Fsync, Subject::Disk) => self.fail_sync(fd),
            (Call::Write { offset }, Subject::Disk) => self.fail_write(flight, *offset, errno),
            (Call::Close { fd }, subject) => {
                if subject == Subject::Disk && self.writes(*fd) {
                    self.fail_sync(*fd);
                }
                // Whatever it tells, close(2) has closed.
                let _ = self.close(*fd);
            }
            (Call::Accept { .. }, Subject::Tcp) if errno == Errno::CONNABORTED => self.abort(fd),
            (call, Subject::Tcp) if breaks(errno) && !matches!(call, Call::Connect { .. }) => {
                let receives =
                    matches!(call, Call::Read { .. } | Call::Recv { .. } | Call::RecvMulti { .. });
                if let Ok(Kind::Socket(id)) = self.opened(fd).map(|open| open.kind) {
                    self.break_connection(id, errno, receives);
                }
            }
            _ => {}
        }
    }

    /// How many of `len` bytes a transfer moves.
    pub(super) fn portion(&mut self, len: usize) -> usize {
        if len > 1 && self.rng.chance(self.config.short) { 1 + self.rng.index(len) } else { len }
    }
}
