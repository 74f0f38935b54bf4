//! What goes wrong, how often, and how long things take.

use safer_ring_sys::Errno;

use super::calls::Call;
use super::kernel::{Flight, Kernel};
use crate::clock;

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
    pub(super) fn start_delay(&mut self, call: &Call) -> u64 {
        let disk = matches!(
            call,
            Call::Read { .. } | Call::Write { .. } | Call::Fsync | Call::Fallocate { .. }
        );
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

    /// The error that an operation suffers in place of being done.
    pub(super) fn fault_of(&mut self, flight: &Flight) -> Option<Errno> {
        if flight.is_timer() || matches!(flight.call, Call::Close { .. } | Call::Poll { .. }) {
            return None;
        }
        if flight.sent > 0 || !flight.gathered.is_empty() {
            return None;
        }
        // connect(2) that was interrupted goes on, and a second try says so: the library does not make it.
        let restarts = !matches!(flight.call, Call::Connect { .. } | Call::Unknown);
        if restarts && self.rng.chance(self.config.interrupts) {
            return Some(if self.rng.chance(500) { Errno::CANCELED } else { Errno::INTR });
        }
        if !self.rng.chance(self.config.errors) {
            return None;
        }
        let errno = self.rng.pick(plausible(&flight.call))?;
        if let (Call::Fsync, Errno::IO) = (&flight.call, errno) {
            self.lose_unsynced(flight.fd);
        }
        Some(errno)
    }

    /// How many of `len` bytes a transfer moves.
    pub(super) fn portion(&mut self, len: usize) -> usize {
        if len > 1 && self.rng.chance(self.config.short) { 1 + self.rng.index(len) } else { len }
    }
}

/// Errors that a manual page has for a call, and that come from outside of the program.
fn plausible(call: &Call) -> &'static [Errno] {
    match call {
        Call::Read { .. } => &[Errno::IO, Errno::NOMEM],
        Call::Write { .. } => &[Errno::IO, Errno::NOSPC, Errno::DQUOT],
        Call::Fsync => &[Errno::IO, Errno::NOSPC],
        Call::Fallocate { .. } | Call::Ftruncate { .. } => &[Errno::IO, Errno::NOSPC],
        Call::Open { .. } => &[Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::IO],
        Call::Statx { .. } => &[Errno::NOMEM, Errno::IO],
        Call::Rename { .. }
        | Call::Unlink { .. }
        | Call::Mkdir { .. }
        | Call::Symlink { .. }
        | Call::Link { .. } => &[Errno::IO, Errno::NOSPC, Errno::NOMEM],
        Call::Recv { .. } | Call::Send { .. } => &[Errno::NOBUFS, Errno::NOMEM],
        Call::RecvMulti { .. } => &[Errno::NOMEM],
        Call::Accept { .. } => &[Errno::MFILE, Errno::NFILE, Errno::CONNABORTED],
        Call::Connect { .. } => &[Errno::TIMEDOUT, Errno::CONNREFUSED, Errno::NETUNREACH],
        Call::Socket { .. } | Call::Pipe { .. } => &[Errno::MFILE, Errno::NFILE, Errno::NOMEM],
        Call::Splice { .. } | Call::Tee { .. } => &[Errno::NOMEM],
        Call::Bind { .. } | Call::Listen { .. } => &[Errno::ADDRINUSE],
        Call::Nop
        | Call::Timer
        | Call::Cancel { .. }
        | Call::Close { .. }
        | Call::Shutdown { .. }
        | Call::Poll { .. }
        | Call::Unknown => &[],
    }
}
