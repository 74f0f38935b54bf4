//! What of the operations in flight can be told by looking at them.

use std::os::fd::RawFd;

use safer_ring_core::CURSOR;

use super::calls::Call;
use super::kernel::{Flight, Kernel, On, State};
use crate::payload::{DONTWAIT, WAITALL};

impl Kernel {
    /// What is in flight, in the order in which it came, for reports.
    pub(super) fn in_flight(&self) -> Vec<String> {
        let line = |flight: &Flight| {
            let state = match flight.state {
                State::Linked => "waits for its chain",
                State::Scheduled(_) => "has not begun",
                State::Waiting => "waits",
                State::Held(_) => "is held",
                State::Done(..) => "has ended",
            };
            format!("ring {} #{} {}{}: {state}", flight.ring, flight.id, flight.name, On(flight.fd))
        };
        self.flights.values().map(line).collect()
    }

    /// Writes in flight that have not begun.
    pub(super) fn writes_in_flight(&self) -> Vec<(RawFd, u64, Vec<u8>)> {
        let write = |flight: &Flight| match (&flight.call, &flight.state) {
            (Call::Write { offset }, State::Scheduled(_) | State::Held(_)) => {
                Some((flight.fd, *offset, flight.lent.bytes()))
            }
            _ => None,
        };
        self.flights.values().filter_map(write).collect()
    }
}

impl Flight {
    pub(super) fn is_timer(&self) -> bool {
        matches!(self.call, Call::Timer)
    }

    pub(super) fn is_cancel(&self) -> bool {
        matches!(self.call, Call::Cancel { .. })
    }

    /// Whether it is a multishot receive that picks buffers.
    pub(super) fn is_armed(&self) -> bool {
        let ended = matches!(self.state, State::Done(..));
        matches!(self.call, Call::RecvMulti { .. }) && !ended
    }

    /// Whether a result ends its chain: an error, and less than was asked for (io_uring_enter(2), `IOSQE_IO_LINK`).
    pub(super) fn breaks_with(&self, res: i32) -> bool {
        let Ok(moved) = usize::try_from(res) else { return true };
        let waits_for_all = |flags: u32| flags & WAITALL != 0;
        let wanted = match &self.call {
            Call::Read { .. } | Call::Write { .. } => self.lent.room(),
            Call::Recv { flags, .. } | Call::Send { flags, .. } if waits_for_all(*flags) => {
                self.lent.room()
            }
            Call::Splice { len, .. } | Call::Tee { len } => usize::try_from(*len).unwrap_or(0),
            _ => 0,
        };
        moved < wanted
    }
}

impl Call {
    /// Whether the kernel may have it in no place where a cancellation looks: with a thread of its own or on the way to it,
    /// or between the two tries of what waits for a peer.
    pub(super) fn may_be_on_its_way(&self) -> bool {
        match self {
            Call::Read { offset } | Call::Write { offset } => *offset == CURSOR,
            Call::Recv { flags, .. } | Call::Send { flags, .. } => flags & DONTWAIT == 0,
            Call::Accept { .. }
            | Call::Connect { .. }
            | Call::Open { .. }
            | Call::Splice { .. }
            | Call::Tee { .. } => true,
            _ => false,
        }
    }
}
