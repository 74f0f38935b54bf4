//! Ends that an operation does not come to by itself: it is cancelled, its ring goes, the power goes.
//!
//! A ring that is closed is no barrier. What it has left behind goes on: a file is read and written as if somebody waited for
//! it, the rest ends, and the memory of all of it is looked at, and written to, at a later time. Who has freed it by then is
//! found.

use safer_ring_sys::Errno;

use super::calls::Call;
use super::files::Kind;
use super::kernel::{Effect, Flight, Kernel, State};
use super::multishot::Many;

/// How often a cancellation misses the same operation. The library asks more often than that.
const MISSES: u8 = 9;

impl Kernel {
    /// Ends an operation before it is done; a part of a transfer is a transfer.
    pub(super) fn interrupt(&mut self, flight: Flight) {
        let errno = if self.rng.chance(500) { Errno::INTR } else { Errno::CANCELED };
        let effect = match (flight.gathered.len(), flight.sent) {
            (0, 0) => Effect::error(errno),
            (0, sent) => Effect::of(super::result(sent)),
            (count, _) => {
                Effect { data: flight.gathered.clone(), ..Effect::of(super::result(count)) }
            }
        };
        self.finish(flight, effect);
    }

    /// The answer to a cancellation.
    pub(super) fn cancel(&mut self, ring: usize, target: u64) -> i32 {
        let live = |flight: &&Flight| {
            let ended = matches!(flight.state, State::Done(..));
            flight.ring == ring && flight.user_data == target && !ended
        };
        let found = self.flights.values().find(live).map(|flight| (flight.id, flight.is_timer()));
        let Some((id, timer)) = found else { return -Errno::NOENT.raw_os_error() };
        if self.is_missed(id) {
            self.note(format_args!("#{id} is missed by its cancellation"));
            return -Errno::NOENT.raw_os_error();
        }
        if !timer && self.rng.chance(self.config.late_cancels) {
            let due = self.now().saturating_add(self.any_delay());
            if let Some(flight) = self.flights.get_mut(&id) {
                flight.interrupted = true;
                if matches!(flight.state, State::Waiting) {
                    flight.state = State::Scheduled(due);
                }
            }
            self.note(format_args!("#{id} is cancelled too late"));
            return -Errno::ALREADY.raw_os_error();
        }
        self.note(format_args!("#{id} is cancelled"));
        if let Some(flight) = self.flights.remove(&id) {
            let kept = (flight.gathered.len(), flight.sent) != (0, 0);
            if kept {
                self.interrupt(flight);
            } else {
                self.finish(flight, Effect::error(Errno::CANCELED));
            }
        }
        0
    }

    /// Whether an operation is on its way from one place of the kernel to another, where no cancellation finds it.
    fn is_missed(&mut self, id: u64) -> bool {
        if self.config.missed_cancels == 0 {
            return false;
        }
        let moves = self.flights.get(&id).is_some_and(|flight| {
            !flight.chained && flight.missed < MISSES && flight.call.may_be_on_its_way()
        });
        let missed = moves && self.rng.chance(self.config.missed_cancels);
        if missed && let Some(flight) = self.flights.get_mut(&id) {
            flight.missed += 1;
        }
        missed
    }

    /// Everything in flight ends with this error, whatever it is: the power is gone.
    pub(super) fn end_all(&mut self, errno: Errno) {
        let live = self.flights.values().filter(|flight| {
            !matches!(flight.state, State::Done(..)) && !flight.is_timer() && !flight.is_cancel()
        });
        let live: Vec<u64> = live.map(|flight| flight.id).collect();
        for id in live {
            if let Some(mut flight) = self.flights.remove(&id) {
                flight.next = None;
                self.finish(flight, Effect::error(errno));
            }
        }
    }

    /// The ring is gone. Nobody hears any more of what is in flight, and its memory is the kernel's for good.
    pub(super) fn end_ring(&mut self, ring: usize) {
        let all = std::mem::take(&mut self.flights);
        let (mine, others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(_, flight)| flight.ring == ring);
        self.flights.extend(others);
        let left: Vec<Flight> = mine
            .into_iter()
            .map(|(_, flight)| flight)
            .filter(|flight| !flight.is_timer() && !flight.is_cancel())
            .collect();
        let operations = left.iter().filter(|flight| !flight.many.more).count();
        self.note(format_args!("ring {ring} closed; left behind: {operations}"));
        let spares = self.bury_ring(ring);
        // What an armed receive could have picked is in its hands too.
        if let Some(armed) = left.iter().find(|flight| flight.is_armed()) {
            for lent in spares {
                let spare = self.part_of(armed, lent, Many::default(), State::Waiting);
                self.bequeath(spare);
            }
        }
        left.into_iter().for_each(|flight| self.bequeath(flight));
    }

    /// Keeps what a ring has left behind, until its memory was looked at.
    fn bequeath(&mut self, mut flight: Flight) {
        flight.next = None;
        self.has_remains = true;
        let later = self.now().saturating_add(self.any_delay());
        let on_disk = matches!(flight.call, Call::Read { .. } | Call::Write { .. })
            && self.opened(flight.fd).is_ok_and(|open| matches!(open.kind, Kind::Node(_)));
        flight.state = match flight.state {
            State::Done(due, order, effect) => State::Done(due.max(later), order, effect),
            State::Scheduled(due) if on_disk => State::Scheduled(due),
            _ => State::Done(later, 0, Effect::error(Errno::CANCELED)),
        };
        self.flights.insert(flight.id, flight);
    }

    /// Ends what rings that are gone have left behind and is due.
    pub(super) fn settle_remains(&mut self) {
        if !self.has_remains {
            return;
        }
        let due: Vec<u64> = self
            .flights
            .values()
            .filter(|flight| {
                let is_due = matches!(flight.state, State::Done(due, ..) if due <= self.now());
                is_due && self.is_gone(flight.ring)
            })
            .map(|flight| flight.id)
            .collect();
        for id in due {
            let Some(flight) = self.flights.remove(&id) else { continue };
            let State::Done(_, _, effect) = &flight.state else { continue };
            let (ring, name) = (flight.ring, flight.name);
            match flight.lent.settle(&effect.data, &effect.extra) {
                Ok(()) => self.note(format_args!("#{id} {name} ends, and ring {ring} is gone")),
                Err(finding) => self.find(format!("#{id} {name} outlived ring {ring}: {finding}")),
            }
        }
        self.has_remains = self.flights.values().any(|flight| self.is_gone(flight.ring));
    }
}
